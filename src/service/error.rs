//! What can go wrong in a use case, as branches someone takes. Their text is written once, in `api/status.rs`.

use std::sync::Arc;

use super::query::FormulaError;
use super::strict::{RateExceeded, Violation};
use crate::model::collection::{ShardKey, VectorClash};
use crate::model::{Path, PointId};
use crate::storage::StorageError;

/// A failed use case.
#[derive(Clone, Debug, thiserror::Error)]
#[allow(missing_docs, reason = "the fields name themselves")]
pub enum Error {
    #[error("collection {name} not found")]
    CollectionNotFound { name: String },
    /// The collection in which a query's points are to be looked up.
    #[error("collection {name}, to look up in, not found")]
    LookupNotFound { name: String },
    #[error("collection {name} exists")]
    CollectionExists { name: String },
    /// A new collection's name is an alias already, or a new alias's name is a collection.
    #[error("{name} is taken")]
    NameTaken { name: String },
    #[error("alias {alias} not found")]
    AliasNotFound { alias: String },
    /// No point with this id.
    #[error("point {id} not found")]
    PointNotFound { id: PointId },
    /// The point exists and lacks this vector.
    #[error("point {id} has no vector {name}")]
    VectorNotFound { id: PointId, name: String },
    /// The collection has no vector of this name.
    #[error("vector name {name} unknown")]
    VectorNameUnknown { name: String },
    /// There is another vector of the name.
    #[error("vector {name} exists")]
    VectorExists { name: String, clash: VectorClash },
    /// The unnamed vector of a collection that was declared with one bare vector cannot go.
    #[error("the only vector")]
    VectorIsOnlyOne,
    #[error("want dimension {want}, got {got}")]
    WrongDim { want: usize, got: usize },
    /// A sparse vector where none is, or another one where a sparse one is.
    #[error("sparse and other vectors are not one another")]
    SparseMismatch,
    /// Rows where one vector is.
    #[error("rows are not one vector")]
    MultiMismatch,
    /// A NaN or an infinity.
    #[error("vector {name} holds a number that is not finite")]
    NotFinite { name: String },
    /// Ordering needs an index with ranges.
    #[error("field {key} has no index with ranges")]
    NoRangeIndex { key: Path },
    /// Counting values needs an index by value.
    #[error("field {key} has no index by value")]
    NoFacetIndex { key: Path },
    /// A text query needs a text index that was made with `scoring`.
    #[error("field {key} has no text index with scoring")]
    NoScoringIndex { key: Path },
    /// `params.idf` on a vector without the IDF modifier.
    #[error("vector {name} has no IDF modifier")]
    IdfNotPossible { name: String },
    /// Weights of a fusion and prefetches must be as many.
    #[error("{got} weights for {expected} prefetches")]
    WrongWeightCount { got: usize, expected: usize },
    /// A text query names its field by `using`.
    #[error("a text query needs a field")]
    TextFieldNeeded,
    #[error(transparent)]
    Formula(FormulaError),
    /// A snapshot could not be written or read; nothing was changed.
    #[error("snapshot failed: {why}")]
    SnapshotFailed { why: String },
    /// The file is no snapshot, or not a whole one.
    #[error("snapshot damaged: {why}")]
    SnapshotDamaged { why: String },
    /// The file is another one than was asked for.
    #[error("checksum {found}, wanted {wanted}")]
    ChecksumMismatch { found: String, wanted: String },
    /// What is in the file is not what is to be recovered from it.
    #[error("snapshot does not fit: {why}")]
    SnapshotMismatch { why: String },
    /// The address of a snapshot is none.
    #[error("not the address of a snapshot: {why}")]
    SnapshotUrl { why: String },
    /// The server's settings do not let it ask this address.
    #[error("not asked for a snapshot: {why}")]
    UrlRefused { why: String },
    /// The address did not answer with a snapshot.
    #[error("no snapshot from {url}: {why}")]
    SnapshotDownload { url: String, why: String },
    /// The collection has no shard of this number.
    #[error("shard {number} not found")]
    ShardNotFound { number: u64 },
    /// The cluster has no node of this number.
    #[error("node {id} is not part of the cluster")]
    NodeNotFound { id: u64 },
    /// The shard has no replica on this node.
    #[error("shard {number} has no replica on node {node}")]
    ReplicaNotFound { number: u64, node: u64 },
    /// The shard has a replica on this node already.
    #[error("shard {number} has a replica on node {node}")]
    ReplicaExists { number: u64, node: u64 },
    /// Without it the shard's points would be gone.
    #[error("shard {number} has one replica")]
    LastReplica { number: u64 },
    /// One at a time.
    #[error("collection {name} is being resharded")]
    ReshardingUnderWay { name: String },
    /// None is under way, or it was given up.
    #[error("no resharding is under way")]
    NoResharding,
    /// A key where there are none, or none where there are.
    #[error("resharding needs a shard key with custom sharding, and none otherwise")]
    ReshardingKey { is_custom: bool },
    /// There is nothing to do.
    #[error("there are {count} shards already")]
    ShardsAsWanted { count: u32 },
    /// A collection has one shard at least.
    #[error("no shard would be left")]
    NoShardsLeft,
    /// No replica is on its way there.
    #[error("shard {number} is not on its way from node {from} to node {to}")]
    TransferNotFound { number: u64, from: u64, to: u64 },
    /// It still holds replicas.
    #[error("node {id} holds replicas")]
    NodeHoldsReplicas { id: u64 },
    /// No file inside the snapshots folder.
    #[error("no snapshot at {location}")]
    SnapshotLocation { location: String },
    /// The collection has no shards of this key.
    #[error("shard key {key} not found")]
    ShardKeyNotFound { key: ShardKey },
    #[error("shard key {key} exists")]
    ShardKeyExists { key: ShardKey },
    /// A write to a collection with custom sharding names no key.
    #[error("a shard key is needed")]
    ShardKeyNeeded,
    /// The collection has no custom sharding, so its keys can be neither created nor deleted.
    #[error("no shard keys, so not {key}")]
    NoShardKeys { key: ShardKey, is_delete: bool },
    /// Shards of a new key cannot be placed on nodes that do not exist.
    #[error("nodes {nodes:?} unknown")]
    UnknownNodes { key: ShardKey, nodes: Vec<u64> },
    /// A part of the protocol that this version lacks.
    #[error("{what} is not implemented")]
    Unimplemented { what: String },
    /// The deadline passed.
    #[error("timed out: {what}")]
    Timeout { what: &'static str },
    /// A bounded queue is full; retry.
    #[error("overloaded: {what}")]
    Overloaded { what: &'static str, retry_after_s: u32 },
    /// A limit of the collection's strict mode.
    #[error(transparent)]
    Strict(Violation),
    /// Too many reads or writes per minute.
    #[error(transparent)]
    RateExceeded(RateExceeded),
    /// No space left; reads go on.
    #[error("out of disk")]
    OutOfDisk { source: Arc<StorageError> },
    /// The process is going down, or the group has no leader; retry elsewhere.
    #[error("unavailable: {why}")]
    Unavailable { why: String },
    /// The write may or may not take effect.
    #[error("outcome unknown: {why}")]
    OutcomeUnknown { why: String },
    #[error("storage failed")]
    Storage { source: Arc<StorageError> },
}
