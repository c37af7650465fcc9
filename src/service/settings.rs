//! What a service is opened with, and why it could not be.

use std::path::PathBuf;
use std::time::Duration;

use super::snapshots::{SnapshotPlace, UrlRules};
use crate::peer::JoinError;
use crate::raft::StartError;
use crate::storage::StorageError;

/// How a service runs. Validated by whoever read the configuration.
#[derive(Clone, Debug)]
pub struct ServiceSettings {
    /// Everything the node keeps lies here; created when missing.
    pub storage_path: PathBuf,
    /// Snapshots lie here, a folder per collection; created when needed. With a bucket only unfinished ones do.
    pub snapshots_path: PathBuf,
    /// Where finished snapshots are kept.
    pub snapshots_place: SnapshotPlace,
    /// Which snapshots from elsewhere may be recovered; `None`: none.
    pub url_recovery: Option<UrlRules>,
    /// Threads that run reads. At least 1.
    pub search_threads: usize,
    /// Requests that may wait for a search thread; further ones are refused. At least 1.
    pub search_queue_max: usize,
    /// Threads that build indexes. At least 1.
    pub index_threads: usize,
    /// Vectors of one shard that may wait for its graphs before writers have to.
    pub tail_vectors_max: u64,
    /// Shortest time between two checkpoints of one shard's indexes.
    pub checkpoint_interval: Duration,
    /// Writes are refused while the device has fewer free bytes.
    pub disk_reserve_bytes: u64,
    /// Bytes of each of the two databases' block caches.
    pub block_cache_bytes: usize,
    /// Bytes of one memtable.
    pub memtable_bytes: usize,
}

/// Why a service could not be opened.
#[derive(Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields name themselves")]
pub enum OpenError {
    /// Another process has the folder open.
    #[error("{} is in use by another process; stop it, or choose another storage path", path.display())]
    InUse { path: PathBuf },
    /// The folder cannot be created, locked or written.
    #[error("{} cannot be used: {source}", path.display())]
    Folder { path: PathBuf, source: std::io::Error },
    #[error("a thread cannot be started: {0}")]
    Thread(std::io::Error),
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Group(#[from] StartError),
    #[error(transparent)]
    Join(JoinError),
    /// All nodes of the list wait, and none of them is the first one.
    #[error(
        "no node founds the cluster: the first of `cluster.bootstrap` is the one that does, and its `cluster.uri` must be \
         spelled as in that list"
    )]
    NobodyFounds,
    /// A node that has collections of its own cannot become a part of another cluster.
    #[error("this node has data of its own; start it without `bootstrap`, or with an empty storage path")]
    OwnData,
}
