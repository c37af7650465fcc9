//! Use cases in model terms: collections, points, query. Knows no wire.
//!
//! Invariants:
//! - Validation that needs the collection (vector names, dimensions, finiteness) happens here, before anything is
//!   proposed: an acknowledged write cannot fail later.
//! - What runs follows what the `meta` group says; one thread (`topology`) sees to that.
//! - Reads that cost CPU run on the search pool, index work on index threads, never on the async workers.
//! - No lock is held across an await.
//!
//! What it deliberately does not do: speak a protocol.

mod advice;
mod background;
mod checks;
mod cluster;
mod collections;
mod distant;
mod error;
mod errors;
mod fields;
mod gate;
mod leading;
mod lock;
mod merge;
mod nodes;
mod pool;
mod query;
mod read;
mod resharding;
mod scatter;
mod scope;
mod seat;
mod seen;
mod settings;
mod shard_keys;
mod shards;
mod snapshots;
mod strict;
mod topology;
mod vector_names;
mod write;

pub use crate::cluster::SiteState;
pub use advice::UnindexedField;
pub use cluster::ClusterSettings;
pub use error::Error;
pub use nodes::{ClusterReport, LocalReplica, NodeReport, ReplicaReport, ReplicaState, ShardLayout, TransferReport};
pub use query::FormulaError;
#[cfg(any(test, fuzzing))]
pub(crate) use query::{Candidate, evaluate, needs_payload};
pub use resharding::{ReshardingReport, ShardCount};
pub use scope::Scope;
pub use seen::with_applied_indexes;
pub use settings::{OpenError, ServiceSettings};
pub use shard_keys::NewShardKey;
pub use snapshots::{
    AllowedHost, AllowedHostError, Receiving, S3Settings, SnapshotBody, SnapshotDescription, SnapshotPlace,
    SnapshotSource, SnapshotsOf, StartupRecovery, UrlRules,
};
pub use strict::{RateExceeded, RetryLater, Violation};

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crate::cluster::{META_GROUP, Meta};
use crate::model::collection::ShardKey;
use crate::model::datetime::Timestamp;
use crate::model::field_index::FieldIndexSchema;
use crate::model::{CollectionConfig, Path, PointId, Record, ShardId, VectorName};
use crate::raft::{self, Group, LeaderHint, Node};
use crate::storage::{DbSettings, LogDb, PointDb};
use parking_lot::Mutex;

use advice::Advice;
use background::Background;
use cluster::{Membership, Passport};
use gate::Gate;
use lock::FolderLock;
use pool::SearchPool;
use shards::Shards;
use snapshots::SnapshotStore;
use strict::RateLimits;
use topology::{Topology, TopologyHandle};

/// How a write is answered.
#[derive(Clone, Copy, Debug)]
pub struct WriteOptions {
    /// `true`: failures of the apply step (unknown ids) are reported and the answer says `completed`.
    pub wait: bool,
    /// After this a waited write is answered [`WriteStatus::WaitTimeout`]; it may still take effect.
    pub deadline: Option<Instant>,
}

/// What a write's answer says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteStatus {
    /// Durable and visible.
    Completed,
    /// Durable (`wait` was false).
    Acknowledged,
    /// The deadline passed first; the write may or may not take effect.
    WaitTimeout,
}

/// A write's answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct WriteAck {
    /// Log index of the write on (the last of) its shards.
    pub operation_id: u64,
    /// How far it got.
    pub status: WriteStatus,
}

/// How fresh a read must be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Consistency {
    /// Sees every write acknowledged before the read began.
    Linearizable,
    /// Any replica as it stands.
    Any,
}

/// How a read is run.
#[derive(Clone, Copy, Debug)]
pub struct ReadOptions {
    /// How fresh it must be.
    pub consistency: Consistency,
    /// After this the read stops and fails with [`Error::Timeout`].
    pub deadline: Option<Instant>,
    /// Seconds, if the request itself set its deadline.
    pub timeout_s: Option<u64>,
}

/// One page of a scroll.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrollPage {
    /// In ascending id order.
    pub points: Vec<Record>,
    /// First id of the next page, if there is one.
    pub next_offset: Option<PointId>,
}

/// Traffic light of a collection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CollectionStatus {
    /// No more vectors than `indexing_threshold` wait for the graph.
    Green,
    /// The graph is being built.
    Yellow,
    /// A shard failed.
    Red,
}

/// What `info` reports.
#[derive(Clone, Debug)]
pub struct CollectionReport {
    /// Its own name, also when it was asked for by an alias.
    pub name: String,
    /// Its traffic light.
    pub status: CollectionStatus,
    /// As it was created and updated.
    pub config: CollectionConfig,
    /// Exact.
    pub point_count: u64,
    /// Vectors in the graphs.
    pub indexed_vector_count: u64,
    /// Vectors waiting for the graphs.
    pub tail_vector_count: u64,
    /// How many shards it has.
    pub shard_count: usize,
    /// In the order of their ranges of hash slots; empty when one failed.
    pub shards: Vec<ShardReport>,
    /// Those that were asked for; one that is being built counts the points of the shards that have it.
    pub fields: BTreeMap<Path, FieldReport>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Settings that were accepted and have no effect in this version.
    pub warnings: Vec<String>,
}

/// A field index of a report.
#[derive(Clone, Debug)]
pub struct FieldReport {
    /// As it was asked for.
    pub schema: FieldIndexSchema,
    /// Points with a value of the index's kind; exact.
    pub point_count: u64,
}

/// One shard of a report.
#[derive(Clone, Debug)]
pub struct ShardReport {
    /// Its number in the collection, never given out twice there.
    pub id: u64,
    /// With custom sharding.
    pub key: Option<ShardKey>,
    /// Exact.
    pub point_count: u64,
    /// Log index of the last applied command.
    pub applied_index: u64,
    /// Vectors in the graphs.
    pub indexed_vector_count: u64,
    /// Vectors waiting for the graphs.
    pub tail_vector_count: u64,
}

/// What of a collection takes memory, in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemoryUsage {
    /// By vector.
    pub vectors: BTreeMap<VectorName, u64>,
    /// What finds them: links and posting lists.
    pub graphs: BTreeMap<VectorName, u64>,
    /// The field indexes.
    pub fields: BTreeMap<Path, u64>,
}

/// An alias and its target.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alias {
    /// The other name.
    pub alias: String,
    /// The collection's own name.
    pub collection: String,
}

/// How often a node that is behind looks whether it still is, and after what time it serves what it has.
const CATCH_UP_LOOK: Duration = Duration::from_millis(200);
const CATCH_UP_MAX: Duration = Duration::from_secs(60);
/// A node that has not heard of the others for this long does not serve well.
const OUT_OF_TOUCH_MIN: Duration = Duration::from_secs(3);

/// How long a shutdown waits for calls under way.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// How every group runs.
const GROUP_SETTINGS: raft::Settings = raft::Settings {
    queue_entries_max: 1_024,
    // Above the largest request body, whose one point may be one entry.
    queue_bytes_max: 128 << 20,
    // Bound what a restart applies again: about a second of work.
    snapshot_entries: 10_000,
    snapshot_bytes: 32 << 20,
    log_kept_bytes: 64 << 20,
    start_timeout: Duration::from_secs(600),
};

/// The database, as the transports see it. Cheap to clone.
#[derive(Clone)]
pub struct Service {
    running: Arc<Running>,
}

/// What an open service consists of.
struct Running {
    gate: Arc<Gate>,
    meta: Arc<Meta>,
    meta_group: Group,
    /// This node's, unique on the cluster and kept over restarts.
    node_id: u64,
    node: Arc<Node>,
    /// By shard on other nodes. Held for moments only.
    leader_hints: Mutex<BTreeMap<ShardId, LeaderHint>>,
    shards: Arc<Shards>,
    pool: SearchPool,
    background: Arc<Background>,
    topology: TopologyHandle,
    membership: Arc<Membership>,
    rate_limits: RateLimits,
    advice: Advice,
    tail_vectors_max: u64,
    /// This node has had what the others have, once.
    caught_up: AtomicBool,
    snapshots: SnapshotStore,
    /// Dropped last: the databases are closed by then.
    _lock: FolderLock,
}

impl Service {
    /// Opens the node's data and returns once every collection is served. Must be called on a multi-thread runtime.
    pub async fn open(settings: ServiceSettings) -> Result<Service, OpenError> {
        Service::open_in(settings, None).await
    }

    /// As [`Service::open`], as a part of a cluster, which is founded if there is none: waits until the cluster has taken
    /// this node in.
    pub async fn open_in_cluster(settings: ServiceSettings, cluster: ClusterSettings) -> Result<Service, OpenError> {
        Service::open_in(settings, Some(cluster)).await
    }

    async fn open_in(settings: ServiceSettings, cluster: Option<ClusterSettings>) -> Result<Service, OpenError> {
        let folder = settings.storage_path.clone();
        let db_settings = DbSettings {
            block_cache_bytes: settings.block_cache_bytes,
            memtable_bytes: settings.memtable_bytes,
            reserve_bytes: settings.disk_reserve_bytes,
        };
        let opened = tokio::task::spawn_blocking(move || open_databases(folder, db_settings)).await;
        let (lock, logs, points) = opened.map_err(|panic| OpenError::Thread(std::io::Error::other(panic)))??;

        let node_id = raft::node_id(&logs)?;
        let cluster = match cluster {
            None => None,
            Some(cluster) => {
                let passport = Passport::get(&logs, node_id, &cluster).await?;
                Some((cluster, passport))
            }
        };
        let node = Arc::new(match &cluster {
            None => Node::new(Arc::clone(&logs), GROUP_SETTINGS),
            Some((_, passport)) => {
                Node::connected(Arc::clone(&logs), GROUP_SETTINGS, Arc::clone(&passport.clients) as _)
            }
        });
        let meta = Arc::new(Meta::open(points.shard(META_GROUP))?);
        let meta_group = match cluster.as_ref().is_some_and(|(_, passport)| passport.is_newcomer) {
            true => node.join_group(META_GROUP, Arc::clone(&meta) as _).await?,
            false => node.start_group(META_GROUP, Arc::clone(&meta) as _).await?,
        };
        let is_of_cluster = cluster.is_some();
        let membership = Membership::begin(&node, node_id, (&meta, &meta_group), cluster).await?;
        let snapshots = open_snapshots(&settings, node_id)?;
        let shards = Arc::new(Shards::default());
        let background = Background::start(settings.index_threads, settings.checkpoint_interval, &shards, &meta)
            .map_err(OpenError::Thread)?;
        let background = Arc::new(background);
        let topology = TopologyHandle::start(Topology {
            runtime: tokio::runtime::Handle::current(),
            node: Arc::clone(&node),
            node_id,
            meta_group: meta_group.clone(),
            logs,
            points,
            storage_path: settings.storage_path,
            meta: Arc::clone(&meta),
            shards: Arc::clone(&shards),
            background: Arc::clone(&background),
            tail_vectors_max: settings.tail_vectors_max,
            tried: Mutex::default(),
            retired: Mutex::default(),
        })
        .map_err(OpenError::Thread)?;
        let pool = SearchPool::new(settings.search_threads, settings.search_queue_max).map_err(OpenError::Thread)?;
        let gate = Arc::new(Gate::default());
        let tail_vectors_max = settings.tail_vectors_max;
        let running = Running {
            gate,
            meta,
            meta_group,
            node_id,
            node,
            leader_hints: Mutex::default(),
            shards,
            pool,
            background,
            topology,
            membership,
            rate_limits: RateLimits::default(),
            advice: Advice::default(),
            tail_vectors_max,
            caught_up: AtomicBool::new(!is_of_cluster),
            snapshots,
            _lock: lock,
        };
        let service = Service { running: Arc::new(running) };
        service.running.membership.open_desk(&service);
        service.settle().await.map_err(|error| OpenError::Thread(std::io::Error::other(error)))?;
        service.running.membership.follow(&service.running.shards, &service.running.topology);
        service.follow_reshardings();
        if let Err(error) = service.sweep_recoveries().await {
            tracing::warn!(%error, "what a recovery that was cut off left behind is still there; the next start removes it");
        }
        if is_of_cluster {
            service.watch_readiness();
        }
        Ok(service)
    }

    /// This node's id, unique on the cluster and kept over restarts.
    pub fn node_id(&self) -> u64 {
        self.running.node_id
    }

    /// Whether calls are served well: from when this node has caught up with the others, while it is in touch with them,
    /// until a shutdown begins.
    pub fn is_ready(&self) -> bool {
        let is_in_touch = || self.running.meta_group.in_touch().is_some_and(|ago| ago < OUT_OF_TOUCH_MIN);
        self.running.gate.is_open() && self.running.caught_up.load(Ordering::Acquire) && is_in_touch()
    }

    /// Notes when the replicas that should be here now have caught up. A group that has no majority is not waited for: this
    /// node cannot help it by staying away.
    fn watch_readiness(&self) {
        let weak = Arc::downgrade(&self.running);
        let mut left = self.own_shards();
        let until = Instant::now() + CATCH_UP_MAX;
        tokio::spawn(async move {
            while let Some(running) = weak.upgrade() {
                let service = Service { running };
                if !service.running.gate.is_open() {
                    return;
                }
                left = service.behind(&left).await;
                if left.is_empty() || Instant::now() >= until {
                    for shard in &left {
                        tracing::warn!(%shard, "ready without this shard: its group has no majority, or is far ahead");
                    }
                    service.running.caught_up.store(true, Ordering::Release);
                    return;
                }
                drop(service);
                tokio::time::sleep(CATCH_UP_LOOK).await;
            }
        });
    }

    /// Refuses further calls, waits for those under way, makes everything durable and writes the indexes' checkpoints.
    /// Every later call fails with [`Error::Unavailable`].
    pub async fn shutdown(&self) -> Result<(), Error> {
        let inside = self.running.gate.close(Instant::now() + DRAIN_MAX).await;
        if inside > 0 {
            tracing::warn!(calls = inside, "shutting down with calls under way");
        }
        self.running.membership.hand_over(&self.running.shards).await;
        self.running.membership.stop().await;
        let running = Arc::clone(&self.running);
        // Joins threads that finish what is queued.
        let _ = tokio::task::spawn_blocking(move || running.pool.close()).await;
        self.running.topology.shutdown().await
    }
}

fn open_snapshots(settings: &ServiceSettings, node_id: u64) -> Result<SnapshotStore, OpenError> {
    let path = settings.snapshots_path.clone();
    let (place, rules) = (settings.snapshots_place.clone(), settings.url_recovery.clone());
    SnapshotStore::open(path.clone(), place, rules, settings.disk_reserve_bytes, node_id)
        .map_err(|source| OpenError::Folder { path, source })
}

fn open_databases(folder: PathBuf, settings: DbSettings) -> Result<(FolderLock, Arc<LogDb>, PointDb), OpenError> {
    let lock = FolderLock::take(&folder)?;
    let logs = LogDb::open(&folder.join("raftdb"), &settings)?;
    let points = PointDb::open(&folder.join("kvdb"), &settings)?;
    Ok((lock, Arc::new(logs), points))
}

/// The result of `call`, or [`Error::Timeout`] when `deadline` passes first.
async fn before<T>(
    deadline: Option<Instant>,
    what: &'static str,
    call: impl Future<Output = Result<T, Error>>,
) -> Result<T, Error> {
    match deadline {
        None => call.await,
        Some(deadline) => tokio::time::timeout_at(deadline.into(), call).await.unwrap_or(Err(Error::Timeout { what })),
    }
}

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod resharding_tests;
#[cfg(test)]
mod stalled_tests;
#[cfg(test)]
mod tests;
