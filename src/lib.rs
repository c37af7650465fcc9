//! Quiver: a vector database. Rooms in reading order; a room uses only rooms above it (see ARCHITECTURE.md).

pub mod model;
pub mod distance;
pub mod text;
pub mod index;
pub mod storage;
pub mod shard;
pub mod raft;
pub mod peer;
pub mod cluster;
pub mod service;
pub mod api;
pub mod server;
pub mod bench;
pub mod admin;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
