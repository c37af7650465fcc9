//! Bytes on disk. The only room that names RocksDB.
//!
//! Two databases per node (DESIGN decision 4): [`LogDb`] (`raftdb`: every group's log and vote, WAL on, one flusher
//! shares each fsync) and [`PointDb`] (`kvdb`: points, WAL off, atomic flush, the applied position in the same batch).
//!
//! Invariants:
//! - Every stored value begins with a format version byte; a newer one is refused, never guessed at.
//! - Bytes from disk are checked while they are decoded: what does not fit is [`StorageError::Damaged`], never a panic.
//! - Iterators are bounded on both sides, so that no shard's scan walks another shard's keys or tombstones.
//!
//! What it deliberately does not do: know Raft (log entries, votes and positions are opaque bytes), start threads
//! (RocksDB has its own), or decide when to flush (`raft` does).

pub mod error;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod keys;
mod log_db;
mod point_db;
mod rocks;
mod values;

pub use error::StorageError;
pub use log_db::{LogBounds, LogDb, LogRecord};
pub use point_db::{PointDb, ReadView, ShardBatch, ShardStore};
pub use rocks::{DbSettings, free_bytes};
pub use values::PointHead;
