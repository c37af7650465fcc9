//! The one thread that starts and removes shards, so that what runs follows what the `meta` group says.
//!
//! Invariants:
//! - Nobody else starts, reconfigures or removes a shard: two requests never meet over one shard's files.
//! - Data of a shard that the `meta` group does not name is removed, also what a crash left half removed.
//! - A shard that cannot be opened fails its collection and no other.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use parking_lot::Mutex;
use tokio::runtime::Handle;
use tokio::sync::{mpsc, oneshot};

use super::Error;
use super::background::Background;
use super::errors::{from_propose, from_start, from_storage};
use super::shards::{RunningShard, ShardTable, Shards};
use crate::cluster::{Collection, META_GROUP, Meta};
use crate::distance::CodeBits;
use crate::index::{IndexParams, VectorStorage};
use crate::model::collection::{QuantizationConfig, VectorParams};
use crate::model::field_index::FieldIndexKind;
use crate::model::{CollectionConfig, Path, ShardId, VectorName};
use crate::raft::{Group, Node, Peer};
use crate::shard::{Replica, ShardSettings, VectorSettings, encode_dropped};
use crate::storage::{LogDb, PointDb, StorageError};

/// Folder of the indexes' checkpoints, one folder per shard.
const INDEX_FOLDER: &str = "index";
/// Shards opened at the same time: each reads a checkpoint and holds a core.
const OPEN_AT_ONCE_MAX: usize = 4;
/// For a shard's log to take an entry: everything else the thread is asked for waits meanwhile.
const TELL_DROPS_MAX: Duration = Duration::from_secs(10);
/// A shard that could not be started is tried again after this.
const RETRY_AFTER: Duration = Duration::from_secs(4);
/// How long a shard answers whose place others have taken.
const RETIRED_FOR: Duration = Duration::from_secs(2);
/// How long calls that hold shards which are to be removed are waited for.
const READERS_MAX: Duration = Duration::from_secs(2);
const READERS_LOOK: Duration = Duration::from_millis(2);
/// Requests that may wait for the thread; senders beyond wait.
const REQUESTS_MAX: usize = 1_024;

/// What the thread is asked for.
enum Request {
    /// Let what runs follow what the `meta` group says now.
    Settle(oneshot::Sender<()>),
    /// Flush and stop everything.
    Shutdown(oneshot::Sender<Result<(), StorageError>>),
}

/// What the thread works with.
pub(super) struct Topology {
    pub(super) runtime: Handle,
    pub(super) node: Arc<Node>,
    pub(super) node_id: u64,
    pub(super) meta_group: Group,
    pub(super) logs: Arc<LogDb>,
    pub(super) points: PointDb,
    pub(super) storage_path: PathBuf,
    pub(super) meta: Arc<Meta>,
    pub(super) shards: Arc<Shards>,
    pub(super) background: Arc<Background>,
    pub(super) tail_vectors_max: u64,
    /// When shards were last tried to be started.
    pub(super) tried: Mutex<BTreeMap<ShardId, Instant>>,
    /// Since when shards are there that others have taken the place of.
    pub(super) retired: Mutex<BTreeMap<ShardId, Instant>>,
}

/// Asks the thread; it ends when the last of these is dropped.
#[derive(Clone)]
pub(super) struct TopologyHandle {
    requests: mpsc::Sender<Request>,
}

impl TopologyHandle {
    /// Starts the thread.
    pub(super) fn start(topology: Topology) -> std::io::Result<TopologyHandle> {
        let (requests, inbox) = mpsc::channel(REQUESTS_MAX);
        std::thread::Builder::new().name("topology".to_owned()).spawn(move || topology.run(inbox))?;
        Ok(TopologyHandle { requests })
    }

    /// Returns when every shard the `meta` group named at the time of the call runs or has failed, and every other is
    /// gone. Cancel safe: the work goes on.
    pub(super) async fn settle(&self) -> Result<(), Error> {
        self.ask(Request::Settle).await
    }

    /// Flushes every group, writes every index's checkpoint, stops the groups. Once that is done, again does nothing.
    pub(super) async fn shutdown(&self) -> Result<(), Error> {
        match self.ask(Request::Shutdown).await {
            Ok(result) => result.map_err(from_storage),
            Err(_) => Ok(()),
        }
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Error> {
        let gone = || Error::Unavailable { why: "the server is shutting down".to_owned() };
        let (done, answer) = oneshot::channel();
        self.requests.send(request(done)).await.map_err(|_| gone())?;
        answer.await.map_err(|_| gone())
    }
}

impl Topology {
    fn run(self, mut inbox: mpsc::Receiver<Request>) {
        while let Some(request) = inbox.blocking_recv() {
            // Askers that left no longer listen.
            match request {
                Request::Settle(done) => {
                    self.settle();
                    let _ = done.send(());
                }
                Request::Shutdown(done) => {
                    let result = self.shutdown();
                    // The databases' handles of this thread are gone when the asker goes on.
                    drop(self);
                    let _ = done.send(result);
                    return;
                }
            }
        }
    }

    fn settle(&self) {
        let index = self.meta_group.applied_index();
        let state = self.meta.state();
        let all = || state.collections().flat_map(|one| one.all_shards().map(move |id| (id, Arc::clone(one))));
        let layout = state.layout();
        // What has no place yet is nobody's to remove.
        let kept =
            all().map(|(id, _)| id).filter(|id| layout.replicas(*id).is_empty() || layout.keeps(*id, self.node_id));
        let mut kept: BTreeSet<ShardId> = kept.collect();
        kept.extend(self.retiring(&kept));
        self.remove_orphans(&kept);
        let wanted = all().filter(|(id, _)| layout.keeps(*id, self.node_id)).collect();
        self.start_missing(&wanted);
        self.reconfigure(&wanted);
        self.shards.set_settled_index(index);
    }

    /// Shards that others have taken the place of just now: they go on refusing what still comes for them.
    fn retiring(&self, kept: &BTreeSet<ShardId>) -> BTreeSet<ShardId> {
        let table = self.shards.table();
        let is_replaced =
            |(id, running): &(&ShardId, &Arc<RunningShard>)| !kept.contains(*id) && running.shard().closed().is_some();
        let replaced: BTreeSet<ShardId> = table.running.iter().filter(is_replaced).map(|(id, _)| *id).collect();
        let mut retired = self.retired.lock();
        retired.retain(|id, _| replaced.contains(id));
        let is_new = |id: &ShardId| retired.entry(*id).or_insert_with(Instant::now).elapsed() < RETIRED_FOR;
        let retiring: BTreeSet<ShardId> = replaced.into_iter().filter(is_new).collect();
        self.shards.set_retiring(!retiring.is_empty());
        retiring
    }

    fn remove_orphans(&self, kept: &BTreeSet<ShardId>) {
        let mut table = ShardTable::clone(&self.shards.table());
        let mut orphans: BTreeSet<ShardId> = table.running.keys().copied().collect();
        orphans.extend(self.logs.shards());
        match self.points.shards() {
            Ok(ids) => orphans.extend(ids),
            Err(error) => tracing::error!(%error, "the stored shards cannot be listed"),
        }
        orphans.retain(|id| *id != META_GROUP && !kept.contains(id));
        table.failed.retain(|id, _| kept.contains(id));
        let stopped: BTreeMap<ShardId, Arc<RunningShard>> =
            orphans.iter().filter_map(|id| table.running.remove(id).map(|shard| (*id, shard))).collect();
        // No new call finds them from here on; those under way get the errors of a stopped group.
        self.shards.publish(table);
        let until = Instant::now() + READERS_MAX;
        for id in orphans {
            if let Err(error) = self.remove(id, stopped.get(&id), until) {
                tracing::error!(shard = id.0, %error, "a removed shard's data cannot be deleted; it is tried again later");
            } else {
                tracing::info!(shard = id.0, "removed a shard that belongs to no collection");
            }
        }
    }

    fn remove(&self, id: ShardId, running: Option<&Arc<RunningShard>>, until: Instant) -> Result<(), StorageError> {
        self.runtime.block_on(self.node.remove_group(id))?;
        let delete = || Replica::delete_all(&self.points.shard(id), &self.index_folder(id));
        match running {
            Some(shard) => {
                wait_for_readers(shard, until);
                shard.remove_with(delete)
            }
            None => delete(),
        }
    }

    fn start_missing(&self, wanted: &BTreeMap<ShardId, Arc<Collection>>) {
        let mut table = ShardTable::clone(&self.shards.table());
        let mut tried = self.tried.lock();
        tried.retain(|id, _| wanted.contains_key(id));
        // What failed just now would only fail again, and keep all others waiting.
        let is_due = |id: &ShardId| tried.get(id).is_none_or(|at: &Instant| at.elapsed() >= RETRY_AFTER);
        let is_missing =
            |id: &ShardId| !table.running.contains_key(id) && (!table.failed.contains_key(id) || is_due(id));
        let missing: Vec<_> = wanted.iter().filter(|(id, _)| is_missing(id)).collect();
        tried.extend(missing.iter().map(|(id, _)| (**id, Instant::now())));
        drop(tried);
        // As of now: once a founder of a group has left it, the others must not begin it anew.
        let is_new = |(id, _): &&(&ShardId, &Arc<Collection>)| !self.logs.shards().contains(*id);
        let known = match missing.iter().any(|one| is_new(&one)) {
            true => self.runtime.block_on(self.meta_group.read_barrier()).map_err(from_propose),
            false => Ok(()),
        };
        let starts = missing.into_iter().map(|(id, collection)| self.start(*id, collection, &known));
        let starts = futures::stream::iter(starts);
        let started: Vec<_> = self.runtime.block_on(starts.buffer_unordered(OPEN_AT_ONCE_MAX).collect());
        if started.is_empty() {
            return;
        }
        for (id, result) in started {
            match result {
                Ok(shard) => {
                    table.failed.remove(&id);
                    table.running.insert(id, Arc::new(shard));
                }
                Err(error) => {
                    tracing::error!(shard = id.0, %error, "a shard cannot be started");
                    table.failed.insert(id, error);
                }
            }
        }
        self.shards.publish(table);
        self.background.wake();
    }

    async fn start(
        &self,
        id: ShardId,
        collection: &Collection,
        known: &Result<(), Error>,
    ) -> (ShardId, Result<RunningShard, Error>) {
        (id, self.try_start(id, collection, known).await)
    }

    /// `known`: whether this node knows all that the `meta` group has decided.
    async fn try_start(
        &self,
        id: ShardId,
        collection: &Collection,
        known: &Result<(), Error>,
    ) -> Result<RunningShard, Error> {
        let place = collection
            .place(id)
            .ok_or_else(|| Error::Unavailable { why: format!("shard {id} is not one of its collection") })?;
        let settings = self.settings(id, collection);
        let store = self.points.shard(id);
        // Not kept alive by what it works for.
        let background = Arc::downgrade(&self.background);
        let on_change = Box::new(move || background.upgrade().iter().for_each(|background| background.wake()));
        let opened = tokio::task::spawn_blocking(move || Replica::open(store, settings, on_change)).await;
        let replica = match opened {
            Ok(replica) => Arc::new(replica.map_err(from_storage)?.with_tail_max(self.tail_vectors_max)),
            Err(_) => return Err(Error::Unavailable { why: format!("opening shard {id} failed unexpectedly") }),
        };
        for reason in replica.shard().rebuilt() {
            tracing::warn!(shard = id.0, %reason, "a part of the index is built anew");
        }
        let group = self.open_group(id, Arc::clone(&replica), known).await?;
        let running = RunningShard::new(id, place, replica, group);
        tell_drops(&running, collection).await;
        Ok(running)
    }

    /// The shard's group: as this node has it, or begun with those it is to begin with, or empty until it is taken in.
    async fn open_group(&self, id: ShardId, replica: Arc<Replica>, known: &Result<(), Error>) -> Result<Group, Error> {
        if self.logs.shards().contains(&id) {
            return self.node.start_group(id, replica).await.map_err(from_start);
        }
        known.clone()?;
        let founders = self.meta.state().layout().founders(id, self.node_id);
        let peers = founders.into_iter().map(|id| Peer { id, address: String::new() }).collect::<Vec<_>>();
        let group = match peers.is_empty() {
            true => self.node.join_group(id, replica).await,
            false => self.node.found_group(id, replica, peers).await,
        };
        group.map_err(from_start)
    }

    /// Tells the indexes about changed graph settings.
    fn reconfigure(&self, wanted: &BTreeMap<ShardId, Arc<Collection>>) {
        let table = self.shards.table();
        let mut told = Vec::new();
        for (id, running) in &table.running {
            let Some(collection) = wanted.get(id) else { continue };
            // After the shard's columns, so that no read sees what the log does not know any more.
            told.push(tell_drops(running, collection));
            if let Err(error) = running.replica.reconfigure(self.settings(*id, collection)) {
                tracing::error!(shard = id.0, %error, "changed vectors cannot be filled; it is tried again later");
            }
        }
        self.runtime.block_on(futures::future::join_all(told));
    }

    fn shutdown(&self) -> Result<(), StorageError> {
        self.background.stop();
        for (id, shard) in &self.shards.table().running {
            if shard.unsaved().0 > 0
                && let Err(error) = shard.checkpoint()
            {
                tracing::warn!(shard = id.0, %error, "the last checkpoint of the index failed; the next start repeats its work");
            }
        }
        let result = self.runtime.block_on(self.node.shutdown());
        self.shards.publish(ShardTable::default());
        result
    }

    /// What the shards of this collection are told.
    fn settings(&self, id: ShardId, collection: &Collection) -> ShardSettings {
        ShardSettings {
            vectors: vector_settings(&collection.config),
            fields: field_settings(&collection.config),
            index_dir: self.index_folder(id),
        }
    }

    fn index_folder(&self, id: ShardId) -> PathBuf {
        self.storage_path.join(INDEX_FOLDER).join(id.to_string())
    }
}

/// Waits until no call holds the shard any more, whose group has stopped: a read that finds it gone has to begin anew.
fn wait_for_readers(shard: &Arc<RunningShard>, until: Instant) {
    // The caller's own, and no other.
    while Arc::strong_count(shard) > 1 && Instant::now() < until {
        std::thread::park_timeout(READERS_LOOK);
    }
}

/// Tells a shard's log which vectors of the collection have been dropped, unless it knows (see `shard::dropped`). What
/// fails is tried again the next time, and until then the vectors are gone from every read all the same.
async fn tell_drops(running: &RunningShard, collection: &Collection) {
    let dropped = &collection.config.dropped_vectors;
    if !running.shard().lacks_drops(dropped) {
        return;
    }
    let proposed = tokio::time::timeout(TELL_DROPS_MAX, running.group.propose(encode_dropped(dropped))).await;
    let why = match proposed {
        Ok(Ok(_)) => return,
        Ok(Err(error)) => error.to_string(),
        Err(_) => format!("not confirmed within {} s", TELL_DROPS_MAX.as_secs()),
    };
    tracing::error!(shard = running.id.0, error = why, "dropped vectors are not in the shard's log yet");
}

/// The field indexes the shards of a collection with this configuration are told to have.
fn field_settings(config: &CollectionConfig) -> BTreeMap<Path, FieldIndexKind> {
    config.field_indexes.iter().map(|(path, schema)| (path.clone(), schema.kind.clone())).collect()
}

/// How vectors are kept.
fn vector_storage(config: &CollectionConfig, params: &VectorParams) -> VectorStorage {
    // Neither multivectors nor what is scaled for the index are kept in any other way.
    if params.is_multi {
        return VectorStorage::default();
    }
    let quantization = config.quantization_of(params);
    let codes = match quantization.map(QuantizationConfig::bits) {
        Some(1) => CodeBits::One,
        Some(4) => CodeBits::Four,
        _ => CodeBits::Eight,
    };
    VectorStorage {
        datatype: params.datatype.filter(|_| !params.keeps_length()).unwrap_or_default(),
        codes,
        vectors_on_disk: params.is_on_disk(),
        codes_on_disk: params.is_on_disk() && quantization.is_some_and(QuantizationConfig::is_on_disk),
    }
}

/// What the shards of a collection with this configuration are told, by stored name.
fn vector_settings(config: &CollectionConfig) -> BTreeMap<VectorName, VectorSettings> {
    let graphs = config.vectors.by_name.iter().map(|(name, params)| {
        let hnsw = config.hnsw_params(params);
        let graph = IndexParams {
            dim: params.dim as usize,
            metric: params.metric,
            m: hnsw.m,
            ef_construction: hnsw.ef_construction,
            storage: vector_storage(config, params),
        };
        let settings = match (params.is_multi, params.keeps_length()) {
            (false, false) => VectorSettings::Dense(graph),
            (true, false) => VectorSettings::Multi(graph),
            (false, true) => VectorSettings::UnscaledDense(graph),
            (true, true) => VectorSettings::UnscaledMulti(graph),
        };
        (config.stored_name(name), settings)
    });
    let sparse =
        config.sparse_vectors.iter().flatten().map(|(name, _)| (config.stored_name(name), VectorSettings::Sparse));
    graphs.chain(sparse).collect()
}
