//! The wire: REST (axum) and gRPC (tonic), converted to and from `model` once, here and nowhere else.

pub mod auth;
pub mod checks;
pub mod convert;
pub mod grpc;
pub mod inference;
pub mod levels;
pub mod rest;
mod schema;
pub mod status;
pub mod times;
mod strict;
