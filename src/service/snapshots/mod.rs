//! Snapshots of collections, of single shards and of the whole node (PROTOCOL section 19): one file each.
//!
//! Reading order: `format` (the bytes), `store` (where they are kept, and unfinished files), `s3`, `create`, `url`
//! (from elsewhere, and from where not), `recover`.
//!
//! Invariants:
//! - A snapshot holds each shard as it stood at one log index; writes go on while it is made.
//! - It is listed once it is whole and synced; what was left unfinished by a crash is swept away at the next start.
//! - Names and locations lead nowhere but into the place of the snapshots.
//! - A file is read through and checked before anything of it is recovered.
//! - Recovery goes through the log like every write: the points are proposed to the groups of a new collection, and one
//!   entry of the `meta` group puts that, or one shard of it, in the place of the old one. Until then the old one
//!   answers; a recovery that was cut off is swept away at the next start.
//! - Memory does not grow with a snapshot: it passes in blocks, through queues of a few of them.

mod create;
mod format;
mod recover;
mod s3;
mod store;
#[cfg(test)]
mod tests;
mod url;

pub use recover::{SnapshotSource, StartupRecovery};
pub use s3::S3Settings;
pub use store::{Receiving, SnapshotBody, SnapshotPlace};
pub use url::{AllowedHost, AllowedHostError, UrlRules};

pub(super) use store::SnapshotStore;

use std::io;
use std::time::SystemTime;

use super::errors::from_read;
use super::{Error, Service};
use crate::model::PointId;
use crate::shard::ReadError;
use crate::storage::StorageError;
use store::Shelf;

/// A snapshot that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotDescription {
    /// Of the file.
    pub name: String,
    /// Of its last change.
    pub created_at: Option<SystemTime>,
    /// Bytes.
    pub size: u64,
    /// SHA-256, lowercase hexadecimal.
    pub checksum: Option<String>,
}

/// What snapshots are of. Collections may be named by an alias.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotsOf {
    /// A collection.
    Collection(String),
    /// One shard of a collection, by its number there.
    Shard(String, u64),
    /// The node: all collections and aliases.
    Node,
}

/// Why a snapshot cannot be written or read.
#[derive(Debug, thiserror::Error)]
enum SnapshotError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    Bucket(#[from] object_store::Error),
    #[error("the file is no snapshot, or damaged: {0}")]
    Damaged(&'static str),
    #[error("the snapshot has format {found}; this version reads format 2")]
    Format { found: u8 },
    #[error("the snapshot is damaged: the vectors of point {id} do not fit its collection")]
    Vectors { id: PointId },
    #[error("collection {name} was changed or deleted while its snapshot was made; try again")]
    Gone { name: String },
}

impl From<SnapshotError> for Error {
    fn from(error: SnapshotError) -> Error {
        match error {
            SnapshotError::Read(error) => from_read(error, "a snapshot"),
            SnapshotError::Io(error) => failed(error),
            SnapshotError::Bucket(_) => Error::SnapshotFailed { why: error.to_string() },
            SnapshotError::Damaged(_) | SnapshotError::Format { .. } | SnapshotError::Vectors { .. } => {
                Error::SnapshotDamaged { why: error.to_string() }
            }
            SnapshotError::Gone { .. } => Error::Unavailable { why: error.to_string() },
        }
    }
}

/// A full device has an error of its own.
fn failed(error: io::Error) -> Error {
    let full = error.get_ref().and_then(|inner| inner.downcast_ref::<StorageError>());
    match full {
        Some(StorageError::OutOfDisk { path }) => out_of_disk(path),
        _ if error.kind() == io::ErrorKind::StorageFull => out_of_disk(std::path::Path::new("the snapshots")),
        _ => Error::SnapshotFailed { why: error.to_string() },
    }
}

fn out_of_disk(path: &std::path::Path) -> Error {
    Error::OutOfDisk { source: std::sync::Arc::new(StorageError::OutOfDisk { path: path.to_owned() }) }
}

/// What a thread or a task came to.
fn joined<T, E>(outcome: Result<Result<T, E>, tokio::task::JoinError>) -> Result<T, Error>
where
    Error: From<E>,
{
    outcome.map_err(|panic| Error::SnapshotFailed { why: panic.to_string() })?.map_err(Error::from)
}

impl Service {
    /// The snapshots, by name.
    pub async fn snapshots(&self, of: &SnapshotsOf) -> Result<Vec<SnapshotDescription>, Error> {
        self.running.snapshots.list(&self.shelf(of)?).await
    }

    /// False: there was none of this name.
    pub async fn delete_snapshot(&self, of: &SnapshotsOf, name: &str) -> Result<bool, Error> {
        self.running.snapshots.delete(&self.shelf(of)?, name).await
    }

    /// The snapshot of this name, if there is one.
    pub async fn open_snapshot(&self, of: &SnapshotsOf, name: &str) -> Result<Option<SnapshotBody>, Error> {
        self.running.snapshots.open_one(&self.shelf(of)?, name).await
    }

    /// Fails unless there is what snapshots are wanted of.
    pub fn check_snapshots_of(&self, of: &SnapshotsOf) -> Result<(), Error> {
        self.shelf(of).map(|_| ())
    }

    fn shelf(&self, of: &SnapshotsOf) -> Result<Shelf, Error> {
        match of {
            SnapshotsOf::Collection(name) => Ok(Shelf::collection(&self.collection(name)?.name)),
            SnapshotsOf::Shard(name, number) => {
                let collection = self.collection(name)?;
                collection.shard_numbered(*number).ok_or(Error::ShardNotFound { number: *number })?;
                Ok(Shelf::shard(&collection.name, *number))
            }
            SnapshotsOf::Node => Ok(Shelf::node()),
        }
    }
}
