//! Collections and aliases: changes of the `meta` group, and reports.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use serde::{Deserialize, Serialize};

use super::errors::from_propose;
use super::leading::{place, propose};
use super::scatter::{ReadKind, ShardRead};
use super::seat::View;
use super::shards::NotRunning;
use super::{
    Alias, CollectionReport, CollectionStatus, Consistency, Error, FieldReport, MemoryUsage, ReadOptions, Service,
    ShardReport, before,
};
use crate::cluster::{Collection, MetaChange, MetaCommand};
use crate::index::{Stop, UNCODED_DIM_MAX};
use crate::model::collection::{
    AliasAction, CollectionConfigDiff, CollectionName, Datatype, HnswConfigDiff, VectorParams, WalConfigDiff, defaults,
};
use crate::model::datetime::Timestamp;
use crate::model::field_index::{FieldIndexKind, FieldIndexSchema};
use crate::model::{CollectionConfig, Metric, Path, VectorName};
use crate::shard::{ReadError, Shard, ShardStatus};

/// Shards of one collection: each is a group with a log and indexes of its own.
pub(super) const SHARDS_PER_COLLECTION_MAX: u32 = 256;

/// A node that has heard of the others within this time knows every change that was answered: who changes something waits as
/// long for those that do not answer.
pub(super) const IN_TOUCH_MAX: Duration = Duration::from_secs(1);
/// How long new shards wait for the leader of the `meta` group to place them.
const PLACED_MAX: Duration = Duration::from_secs(1);

impl Service {
    /// Creates a collection; it is usable when this returns. `Error::CollectionExists` when the name is taken.
    ///
    /// Cancel safe: a creation that was proposed is completed.
    pub async fn create_collection(
        &self,
        name: CollectionName,
        config: CollectionConfig,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let _inside = self.running.gate.enter()?;
        if config.shard_number > SHARDS_PER_COLLECTION_MAX {
            return Err(Error::Unimplemented { what: format!("shard_number above {SHARDS_PER_COLLECTION_MAX}") });
        }
        before(deadline, "creating a collection", async {
            let command = MetaCommand::CreateCollection { name: name.clone(), config, created_at: now() };
            let (created_index, _) = self.change_meta(&command).await?;
            let created = self.running.meta.state().collection(name.as_str()).cloned();
            // Deleted again by another call already: this one did what it was asked for.
            let Some(collection) = created.filter(|collection| collection.created_index == created_index) else {
                return Ok(());
            };
            self.settle_everywhere().await?;
            let Err(NotRunning::Failed(error)) = self.seats(&collection) else { return Ok(()) };
            // A collection that could not be opened is not left behind to fail every call.
            let undo =
                MetaCommand::DeleteCollection { name: collection.name.clone(), created_index: Some(created_index) };
            self.change_meta(&undo).await?;
            self.settle_everywhere().await?;
            Err(error)
        })
        .await
    }

    /// Changes settings. Accepts an alias, as every method below does.
    pub async fn update_collection(
        &self,
        name: &str,
        diff: CollectionConfigDiff,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let _inside = self.running.gate.enter()?;
        before(deadline, "updating a collection", async {
            let changes_limits = diff.strict_mode.is_some();
            self.change_meta(&MetaCommand::UpdateCollection { name: name.to_owned(), diff }).await?;
            if changes_limits && let Ok(collection) = self.collection(name) {
                self.running.rate_limits.forget(collection.created_index);
            }
            self.settle_everywhere().await
        })
        .await
    }

    /// False when there was none. Drops its aliases. Its data is gone when this returns.
    pub async fn delete_collection(&self, name: &str, deadline: Option<Instant>) -> Result<bool, Error> {
        let _inside = self.running.gate.enter()?;
        before(deadline, "deleting a collection", async {
            if let Ok(collection) = self.collection(name) {
                self.running.rate_limits.forget(collection.created_index);
            }
            let command = MetaCommand::DeleteCollection { name: name.to_owned(), created_index: None };
            let (_, change) = self.change_meta(&command).await?;
            self.settle_everywhere().await?;
            Ok(change == MetaChange::Deleted(true))
        })
        .await
    }

    /// Names, sorted.
    pub fn collections(&self) -> Vec<String> {
        let state = self.running.meta.state();
        let names = state.collections().map(|collection| collection.name.clone());
        names.filter(|name| !CollectionName::is_restoring(name)).collect()
    }

    /// Whether there is a collection or an alias of this name.
    pub fn collection_exists(&self, name: &str) -> bool {
        self.running.meta.state().collection(name).is_some()
    }

    /// The collection's configuration and figures.
    pub async fn collection_report(&self, name: &str) -> Result<CollectionReport, Error> {
        let (collection, figures) = match self.view(name).await {
            Ok(view) => {
                let figures = self.ask_all(&view, Figures, NOW).await.unwrap_or_default();
                (view.collection, figures)
            }
            Err(Error::CollectionNotFound { name }) => return Err(Error::CollectionNotFound { name }),
            // A collection whose shard failed is reported, not hidden.
            Err(_) => (self.collection(name)?, Vec::new()),
        };
        let mut report = CollectionReport {
            name: collection.name.clone(),
            status: CollectionStatus::Red,
            point_count: 0,
            indexed_vector_count: 0,
            tail_vector_count: 0,
            shard_count: collection.shards.len(),
            shards: Vec::with_capacity(figures.len()),
            fields: fields(&collection.config, &figures),
            created_at: collection.created_at,
            warnings: warnings(&collection.config),
            config: collection.config.clone(),
        };
        // With custom sharding there may be none yet.
        let is_whole = figures.len() == collection.shards.len();
        for (shard, figures) in collection.shards.iter().zip(figures) {
            let status = figures.status;
            report.point_count += status.point_count;
            report.indexed_vector_count += status.indexed_vector_count;
            report.tail_vector_count += status.tail_vector_count;
            report.shards.push(ShardReport {
                id: collection.shard_number(*shard),
                key: collection.place(*shard).and_then(|place| place.key),
                point_count: status.point_count,
                applied_index: status.applied_index,
                indexed_vector_count: status.indexed_vector_count,
                tail_vector_count: status.tail_vector_count,
            });
        }
        if is_whole {
            report.status = traffic_light(&collection.config, report.tail_vector_count);
        }
        Ok(report)
    }

    /// What of the collection takes memory.
    pub async fn memory_usage(&self, name: &str, deadline: Option<Instant>) -> Result<MemoryUsage, Error> {
        let _inside = self.running.gate.enter()?;
        let view = before(deadline, "waiting for the collection", self.view(name)).await?;
        let options = ReadOptions { deadline, ..NOW };
        let parts = self.ask_all(&view, MemoryRead, options).await?;
        let mut usage = MemoryUsage::default();
        for part in parts {
            for (name, vector_bytes, graph_bytes) in part.vectors {
                *usage.vectors.entry(name.clone()).or_default() += vector_bytes;
                *usage.graphs.entry(name).or_default() += graph_bytes;
            }
            for (path, bytes) in part.fields {
                *usage.fields.entry(path).or_default() += bytes;
            }
        }
        Ok(usage)
    }

    /// Applies all of `actions` in order, or none.
    pub async fn update_aliases(&self, actions: Vec<AliasAction>, deadline: Option<Instant>) -> Result<(), Error> {
        let _inside = self.running.gate.enter()?;
        before(deadline, "updating aliases", async {
            self.change_meta(&MetaCommand::UpdateAliases { actions }).await?;
            self.tell_others().await;
            Ok(())
        })
        .await
    }

    /// All aliases, sorted.
    pub fn aliases(&self) -> Vec<Alias> {
        let state = self.running.meta.state();
        let aliases = state.aliases();
        aliases
            .map(|(alias, collection)| Alias { alias: alias.to_owned(), collection: collection.to_owned() })
            .collect()
    }

    /// The aliases of one collection, sorted.
    pub fn collection_aliases(&self, name: &str) -> Result<Vec<Alias>, Error> {
        let collection = self.collection(name)?;
        Ok(self.aliases().into_iter().filter(|alias| alias.collection == collection.name).collect())
    }

    pub(super) fn collection(&self, name: &str) -> Result<Arc<Collection>, Error> {
        let state = self.running.meta.state();
        state.collection(name).cloned().ok_or_else(|| Error::CollectionNotFound { name: name.to_owned() })
    }

    /// The collection of this name or alias with its shards; waits while they are being started.
    pub(super) async fn view(&self, name: &str) -> Result<View, Error> {
        for is_settled in [false, true] {
            let collection = self.collection_now(name).await?;
            match self.seats(&collection) {
                Ok(shards) => return Ok(View { collection, shards }),
                Err(NotRunning::Failed(error)) => return Err(error),
                Err(NotRunning::NotStarted) if is_settled => break,
                Err(NotRunning::NotStarted) => self.settle().await?,
            }
        }
        Err(Error::Unavailable { why: format!("collection {name} is being created or deleted") })
    }

    /// The collection of this name or alias as of now, whichever node changed it last. A node that is in touch with the
    /// others has been told of every change before that was answered ([`Service::tell_others`]); any other asks.
    pub(super) async fn collection_now(&self, name: &str) -> Result<Arc<Collection>, Error> {
        let is_told = self.running.meta_group.in_touch().is_some_and(|ago| ago < IN_TOUCH_MAX);
        match self.collection(name) {
            Ok(known) if is_told => Ok(known),
            _ => {
                self.running.meta_group.read_barrier().await.map_err(from_propose)?;
                self.collection(name)
            }
        }
    }

    /// Lets what runs follow what the `meta` group says; shards without places get some first.
    pub(super) async fn settle(&self) -> Result<(), Error> {
        if let Err(error) = self.wait_for_places().await {
            // The leader of the `meta` group sees to it.
            tracing::warn!(%error, "new shards have no places yet");
        }
        self.running.topology.settle().await
    }

    /// Waits until the leader of the `meta` group, which knows best who is there, has placed all shards; does so itself after
    /// a while.
    async fn wait_for_places(&self) -> Result<(), Error> {
        let (meta, group) = (&self.running.meta, &self.running.meta_group);
        let is_placed = || {
            let state = meta.state();
            let layout = state.layout();
            state.collections().flat_map(|one| one.all_shards()).all(|shard| !layout.replicas(shard).is_empty())
        };
        if !self.running.membership.is_alone() {
            let mut changes = meta.changes();
            let placed = changes.wait_for(|_| is_placed());
            if tokio::time::timeout(PLACED_MAX, placed).await.is_ok() {
                return Ok(());
            }
        }
        place(&meta.state(), group, &|_| true).await.map(|_| ())
    }

    /// As [`Service::settle`], on every node that can be reached: who was answered finds the change wherever it asks next.
    pub(super) async fn settle_everywhere(&self) -> Result<(), Error> {
        self.settle().await?;
        self.tell_others().await;
        Ok(())
    }

    /// Whether the collection of `view` is there no more.
    pub(super) fn is_gone(&self, view: &View) -> bool {
        let state = self.running.meta.state();
        let current = state.collection(&view.collection.name);
        current.is_none_or(|current| current.created_index != view.collection.created_index)
    }

    /// Proposes `command` and returns its log index and what it did.
    pub(super) async fn change_meta(&self, command: &MetaCommand) -> Result<(u64, MetaChange), Error> {
        propose(&self.running.meta_group, command).await
    }
}

/// The field indexes that were asked for, with what the shards' indexes hold.
fn fields(config: &CollectionConfig, shards: &[ShardFigures]) -> BTreeMap<Path, FieldReport> {
    let report = |schema: &FieldIndexSchema| FieldReport { schema: schema.clone(), point_count: 0 };
    let mut reports: BTreeMap<Path, FieldReport> =
        config.field_indexes.iter().map(|(path, schema)| (path.clone(), report(schema))).collect();
    for (path, kind, point_count) in shards.iter().flat_map(|figures| &figures.fields) {
        if let Some(report) = reports.get_mut(path).filter(|report| report.schema.kind == *kind) {
            report.point_count += point_count;
        }
    }
    reports
}

/// As whoever is asked has it.
const NOW: ReadOptions = ReadOptions { consistency: Consistency::Any, deadline: None, timeout_s: None };

/// What a shard holds, in figures.
#[derive(Serialize, Deserialize)]
pub(super) struct Figures;

#[derive(Serialize, Deserialize)]
pub(super) struct ShardFigures {
    status: ShardStatus,
    fields: Vec<(Path, FieldIndexKind, u64)>,
}

impl ShardRead for Figures {
    const WHAT: &'static str = "counting";
    const KIND: ReadKind = ReadKind::Figures;
    type Part = ShardFigures;

    fn part(&self, shard: &Shard, _stop: &Stop) -> Result<ShardFigures, ReadError> {
        let fields = shard.fields().into_iter().map(|(path, status)| (path, status.kind, status.point_count));
        Ok(ShardFigures { status: shard.status(), fields: fields.collect() })
    }
}

/// What of a shard takes memory.
#[derive(Serialize, Deserialize)]
pub(super) struct MemoryRead;

#[derive(Serialize, Deserialize)]
pub(super) struct ShardMemory {
    /// Bytes of each vector's values, and of what finds them.
    vectors: Vec<(VectorName, u64, u64)>,
    fields: Vec<(Path, u64)>,
}

impl ShardRead for MemoryRead {
    const WHAT: &'static str = "measuring memory";
    const KIND: ReadKind = ReadKind::Memory;
    type Part = ShardMemory;

    fn part(&self, shard: &Shard, _stop: &Stop) -> Result<ShardMemory, ReadError> {
        let vectors = shard.vector_memory().into_iter();
        let vectors = vectors.map(|(name, memory)| (name, memory.vector_bytes, memory.code_bytes + memory.link_bytes));
        Ok(ShardMemory { vectors: vectors.collect(), fields: shard.field_bytes().into_iter().collect() })
    }
}

/// By this node's clock.
pub(super) fn now() -> Timestamp {
    let since_epoch = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since_epoch.as_micros()).unwrap_or(i64::MAX))
}

/// Green while what waits for the graphs is no larger than `indexing_threshold` allows.
fn traffic_light(config: &CollectionConfig, tail_vector_count: u64) -> CollectionStatus {
    // The tail is not counted by name: the widest vector stands for all.
    let dim_max = config.vectors.by_name.values().map(|params| params.dim).max().unwrap_or(0);
    let tail_bytes = tail_vector_count.saturating_mul(dim_max * size_of::<f32>() as u64);
    let threshold_kb = config.optimizers.indexing_threshold.unwrap_or(defaults::INDEXING_THRESHOLD_KB);
    if tail_bytes <= threshold_kb.saturating_mul(1024) { CollectionStatus::Green } else { CollectionStatus::Yellow }
}

/// Settings that were given and have no effect in this version.
fn warnings(config: &CollectionConfig) -> Vec<String> {
    let mut warnings = Vec::new();
    let mut warn = |is_given: bool, what: &str, why: &str| {
        if is_given {
            warnings.push(format!("{what} has no effect: {why}"));
        }
    };
    for (name, params) in &config.vectors.by_name {
        let of = if name.is_empty() { String::new() } else { format!(" of vector `{name}`") };
        let in_memory = if params.is_multi {
            Some("multivectors are kept in memory")
        } else if params.keeps_length() {
            Some("bytes under Cosine are kept in memory, scaled")
        } else {
            None
        };
        warn(params.is_on_disk() && in_memory.is_some(), &format!("on_disk{of}"), in_memory.unwrap_or_default());
        let uncoded = uncoded(config, params);
        let is_quantized = config.quantization_of(params).is_some() && uncoded.is_some();
        warn(is_quantized, &format!("quantization_config{of}"), uncoded.unwrap_or_default());
        warn_of_hnsw(&mut warn, params.hnsw.unwrap_or_default(), &of);
    }
    for (name, params) in config.sparse_vectors.iter().flatten() {
        let index = params.index.unwrap_or_default();
        let why = "posting lists are kept in memory, at full precision";
        let is_given = index.on_disk == Some(true) || index.memory.is_some();
        warn(is_given, &format!("the placement of sparse vector `{name}`"), why);
        let is_short = index.datatype.is_some_and(|datatype| datatype != Datatype::Float32);
        warn(is_short, &format!("index.datatype of sparse vector `{name}`"), why);
        let chooses = "each search measures whether a scan is cheaper";
        let threshold = format!("index.full_scan_threshold of sparse vector `{name}`");
        warn(index.full_scan_threshold.is_some(), &threshold, chooses);
    }
    warn_of_hnsw(&mut warn, config.hnsw, "");
    let optimizers = &config.optimizers;
    let segments = "there are no segments to optimize";
    warn(optimizers.deleted_threshold.is_some(), "optimizers_config.deleted_threshold", segments);
    warn(optimizers.vacuum_min_vector_number.is_some(), "optimizers_config.vacuum_min_vector_number", segments);
    warn(optimizers.default_segment_number.is_some(), "optimizers_config.default_segment_number", segments);
    warn(optimizers.max_segment_size.is_some(), "optimizers_config.max_segment_size", segments);
    warn(optimizers.memmap_threshold.is_some(), "optimizers_config.memmap_threshold", segments);
    warn(optimizers.max_optimization_threads.is_some(), "optimizers_config.max_optimization_threads", segments);
    let every_write = "every write is synced before it is acknowledged";
    warn(optimizers.flush_interval_sec.is_some(), "optimizers_config.flush_interval_sec", every_write);
    warn(config.wal != WalConfigDiff::default(), "wal_config", "the Raft log is the write-ahead log");
    warn(config.write_consistency_factor > 1, "write_consistency_factor", "a majority acknowledges every write");
    let asked_anew = "a replica that does not answer soon is not waited for";
    warn(config.read_fan_out_factor.is_some(), "read_fan_out_factor", asked_anew);
    warn(config.read_fan_out_delay_ms.is_some(), "read_fan_out_delay_ms", asked_anew);
    let cached = "payloads are read from disk through a cache of fixed size";
    warn(config.payload_memory.is_some(), "payload.memory", cached);
    warn(config.id_tracker_memory.is_some(), "id_tracker.memory", "ids are kept in memory");
    warnings
}

/// Why searches compare the vectors themselves, if they do.
fn uncoded(config: &CollectionConfig, params: &VectorParams) -> Option<&'static str> {
    if params.is_multi {
        Some("multivectors are compared as they are")
    } else if params.datatype == Some(Datatype::Uint8) && matches!(params.metric, Metric::Euclid | Metric::Dot) {
        Some("bytes are compared as they are")
    } else if params.metric == Metric::Manhattan {
        Some("codes keep no Manhattan distances")
    } else if params.dim as usize <= UNCODED_DIM_MAX {
        Some("so short vectors are compared as they are")
    } else if config.hnsw_params(params).m == 0 {
        Some("without a graph vectors are compared as they are")
    } else {
        None
    }
}

fn warn_of_hnsw(warn: &mut impl FnMut(bool, &str, &str), hnsw: HnswConfigDiff, of: &str) {
    warn(hnsw.on_disk == Some(true), &format!("hnsw_config.on_disk{of}"), "the graph is kept in memory");
    warn(hnsw.memory.is_some(), &format!("hnsw_config.memory{of}"), "the graph is kept in memory");
    warn(hnsw.payload_m.is_some(), &format!("hnsw_config.payload_m{of}"), "there are no graphs per tenant");
    warn(hnsw.inline_storage == Some(true), &format!("hnsw_config.inline_storage{of}"), "the graph is kept in memory");
    warn(
        hnsw.max_indexing_threads.is_some_and(|threads| threads > 0),
        &format!("hnsw_config.max_indexing_threads{of}"),
        "all collections share the server's index threads",
    );
    warn(
        hnsw.full_scan_threshold.is_some(),
        &format!("hnsw_config.full_scan_threshold{of}"),
        "each search measures whether a scan is cheaper",
    );
}
