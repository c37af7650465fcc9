//! Collections' settings in and reports out (PROTOCOL section 18).

// Deprecated fields are still what most clients send.
#![allow(deprecated)]

use std::collections::BTreeMap;
use std::time::Instant;

use super::call::Times;
use super::fields::{wire_from_field, write_options};
use super::pb::create_vector_name_request::VectorConfig;
use super::pb::{self, alias_operations::Action, max_optimization_threads, vectors_config, vectors_config_diff};
use super::point::{choice_from_wire, required};
use super::quantization::{quantization_change, quantization_from_wire, wire_from_quantization};
use super::shard_key::{key_from_wire, wire_from_key};
use super::strict::{strict_mode_from_wire, wire_from_strict_mode};
use super::value::{payload_from_wire, wire_from_payload};
use crate::api::checks::{self, At, Checked, Findings, each};
use crate::model::collection::{
    AliasAction, CollectionConfig, CollectionConfigDiff, CollectionName, Datatype, HnswConfigDiff, Memory, Modifier,
    NewVector, OptimizersConfigDiff, ShardingMethod, SparseIndexParams, SparseVectorParams, StrictModeConfig,
    VectorParams, VectorParamsDiff, VectorsConfig, WalConfigDiff, defaults,
};
use crate::model::datetime::Timestamp;
use crate::model::{Metric, Payload, VectorName};
use crate::service::{
    Alias, CollectionReport, CollectionStatus, NewShardKey, ReplicaState, ReshardingReport, ShardLayout, WriteOptions,
};

/// A field of several messages.
const QUANTIZATION: &str = "quantization_config";

/// A collection to be created.
#[derive(Debug)]
pub(super) struct Create {
    pub(super) name: CollectionName,
    pub(super) config: CollectionConfig,
    pub(super) deadline: Option<Instant>,
}

/// A change of a collection's settings.
#[derive(Debug)]
pub(super) struct Update {
    pub(super) collection: String,
    pub(super) diff: CollectionConfigDiff,
    pub(super) deadline: Option<Instant>,
}

/// A vector to be added to a collection.
#[derive(Debug)]
pub(super) struct CreateVector {
    pub(super) collection: String,
    pub(super) name: VectorName,
    pub(super) vector: NewVector,
    pub(super) options: WriteOptions,
}

pub(super) fn create_vector(
    found: &mut Findings,
    wire: pb::CreateVectorNameRequest,
    times: Times,
) -> Checked<CreateVector> {
    let options = write_options(found, wire.wait, wire.ordering, wire.timeout, times);
    let name = wire.vector_name;
    let (at, vector) = match required(found, At::Root.field("vector_config"), wire.vector_config)? {
        VectorConfig::DenseConfig(dense) => {
            let params = pb::VectorParams {
                size: dense.size,
                distance: dense.distance,
                multivector_config: dense.multivector_config,
                datatype: dense.datatype,
                ..Default::default()
            };
            let at = At::Root.field("dense_config");
            (at, NewVector::Dense(vector_params(found, at, params)?))
        }
        VectorConfig::SparseConfig(sparse) => {
            // A datatype that is not given leaves the index without settings.
            let index = sparse
                .datatype
                .map(|datatype| pb::SparseIndexConfig { datatype: Some(datatype), ..Default::default() });
            let params = pb::SparseVectorParams { index, modifier: sparse.modifier };
            let at = At::Root.field("sparse_config");
            (at, NewVector::Sparse(sparse_params(found, at, params)?))
        }
    };
    checks::new_vector(found, At::Root.field("vector_name"), at, &name, &vector)?;
    Ok(CreateVector { collection: wire.collection_name, name, vector, options: options? })
}

pub(super) fn create(found: &mut Findings, wire: pb::CreateCollection, times: Times) -> Checked<Create> {
    let payload_memory = payload_memory(found, At::Root.field("payload"), wire.payload);
    let id_tracker_memory = id_tracker_memory(found, At::Root.field("id_tracker"), wire.id_tracker);
    let name = checks::name(found, At::Root.field("collection_name"), &wire.collection_name);
    let deadline = checks::deadline(found, At::Root.field("timeout"), times.started, wire.timeout);
    let vectors = vectors_config(found, At::Root.field("vectors_config"), wire.vectors_config);
    let hnsw = hnsw_config(found, At::Root.field("hnsw_config"), wire.hnsw_config);
    let optimizers = optimizers_config(found, At::Root.field("optimizers_config"), wire.optimizers_config);
    let metadata = metadata(found, wire.metadata);
    let strict_mode = strict_mode(found, wire.strict_mode_config);
    let sparse = sparse_vectors(found, At::Root.field("sparse_vectors_config"), wire.sparse_vectors_config);
    let sharding_method = sharding_method(found, wire.sharding_method);
    let at = At::Root.field(QUANTIZATION);
    let quantization = wire.quantization_config.map(|wire| quantization_from_wire(found, at, wire)).transpose();
    let config = CollectionConfig {
        sparse_vectors: sparse?,
        shard_number: wire.shard_number.unwrap_or(1),
        replication_factor: wire.replication_factor.unwrap_or(1),
        write_consistency_factor: wire.write_consistency_factor.unwrap_or(1),
        read_fan_out_factor: None,
        on_disk_payload: wire.on_disk_payload.unwrap_or(true),
        payload_memory: payload_memory?,
        id_tracker_memory: id_tracker_memory?,
        hnsw: hnsw?,
        optimizers: optimizers?,
        wal: wire.wal_config.map(wal_config).unwrap_or_default(),
        metadata: metadata?,
        strict_mode: strict_mode?,
        sharding_method: sharding_method?,
        quantization: quantization?,
        ..CollectionConfig::new(vectors?)
    };
    checks::collection_config(found, &config)?;
    Ok(Create { name: name?, config, deadline: deadline?.or(times.latest) })
}

pub(super) fn update(found: &mut Findings, wire: pb::UpdateCollection, times: Times) -> Checked<Update> {
    let params = wire.params.unwrap_or_default();
    let in_params = At::Root.field("params");
    let payload_memory = payload_memory(found, in_params.field("payload"), params.payload);
    let id_tracker_memory = id_tracker_memory(found, in_params.field("id_tracker"), params.id_tracker);
    let sparse = sparse_vectors(found, At::Root.field("sparse_vectors_config"), wire.sparse_vectors_config);
    let deadline = checks::deadline(found, At::Root.field("timeout"), times.started, wire.timeout);
    let vectors = vectors_config_diff(found, At::Root.field("vectors_config"), wire.vectors_config);
    let hnsw = hnsw_config(found, At::Root.field("hnsw_config"), wire.hnsw_config);
    let optimizers = optimizers_config(found, At::Root.field("optimizers_config"), wire.optimizers_config);
    let metadata = metadata(found, wire.metadata);
    let strict_mode = strict_mode(found, wire.strict_mode_config);
    let at = At::Root.field(QUANTIZATION);
    let quantization = wire.quantization_config.map(|wire| quantization_change(found, at, wire)).transpose();
    let diff = CollectionConfigDiff {
        vectors: vectors?,
        sparse_vectors: sparse?.unwrap_or_default(),
        hnsw: hnsw?,
        optimizers: optimizers?,
        replication_factor: params.replication_factor,
        write_consistency_factor: params.write_consistency_factor,
        read_fan_out_factor: params.read_fan_out_factor,
        read_fan_out_delay_ms: params.read_fan_out_delay_ms,
        on_disk_payload: params.on_disk_payload,
        payload_memory: payload_memory?,
        id_tracker_memory: id_tracker_memory?,
        metadata: metadata?,
        strict_mode: strict_mode?,
        quantization: quantization?,
    };
    checks::collection_config_diff(found, &diff)?;
    Ok(Update { collection: wire.collection_name, diff, deadline: deadline?.or(times.latest) })
}

/// The changes, in order, and until when they may take.
pub(super) fn aliases(
    found: &mut Findings,
    wire: pb::ChangeAliases,
    times: Times,
) -> Checked<(Vec<AliasAction>, Option<Instant>)> {
    let at = At::Root.field("actions");
    let actions = each(wire.actions, |i, wire| {
        let at = at.item(i);
        Ok(match required(found, at, wire.action)? {
            Action::CreateAlias(wire) => {
                checks::name(found, at.field("create_alias").field("alias_name"), &wire.alias_name)?;
                AliasAction::Create { alias: wire.alias_name, collection: wire.collection_name }
            }
            Action::RenameAlias(wire) => {
                checks::name(found, at.field("rename_alias").field("new_alias_name"), &wire.new_alias_name)?;
                AliasAction::Rename { from: wire.old_alias_name, to: wire.new_alias_name }
            }
            Action::DeleteAlias(wire) => AliasAction::Delete { alias: wire.alias_name },
        })
    });
    let deadline = checks::deadline(found, At::Root.field("timeout"), times.started, wire.timeout);
    Ok((actions?, deadline?.or(times.latest)))
}

fn strict_mode(found: &mut Findings, wire: Option<pb::StrictModeConfig>) -> Checked<Option<StrictModeConfig>> {
    wire.map(|wire| strict_mode_from_wire(found, At::Root.field("strict_mode_config"), wire)).transpose()
}

/// Where payloads are kept: never pinned.
fn payload_memory(found: &mut Findings, at: At<'_>, wire: Option<pb::PayloadStorageParams>) -> Checked<Option<Memory>> {
    let at = at.field("memory");
    match placement(found, at, wire.and_then(|params| params.memory))? {
        Some(Memory::Pinned) => found.invalid(at, "`pinned` is not supported for payload storage"),
        memory => Ok(memory),
    }
}

fn id_tracker_memory(found: &mut Findings, at: At<'_>, wire: Option<pb::IdTrackerParams>) -> Checked<Option<Memory>> {
    placement(found, at.field("memory"), wire.and_then(|params| params.memory))
}

fn sharding_method(found: &mut Findings, wire: Option<i32>) -> Checked<Option<ShardingMethod>> {
    let Some(wire) = wire else { return Ok(None) };
    Ok(Some(match choice_from_wire(found, At::Root.field("sharding_method"), wire)? {
        pb::ShardingMethod::Auto => ShardingMethod::Auto,
        pb::ShardingMethod::Custom => ShardingMethod::Custom,
    }))
}

/// A new shard key, as it is created alone or among a collection's cluster operations.
pub(super) fn shard_key(found: &mut Findings, at: At<'_>, wire: Option<pb::CreateShardKey>) -> Checked<NewShardKey> {
    let wire = required(found, at, wire)?;
    let key = key_from_wire(found, at.field("shard_key"), wire.shard_key);
    let shard_count =
        wire.shards_number.map(|count| checks::at_least(found, at.field("shards_number"), count, 1)).transpose();
    let replicas = wire
        .replication_factor
        .map(|count| checks::at_least(found, at.field("replication_factor"), count, 1))
        .transpose();
    // Every shard is active from the start.
    let state = match wire.initial_state {
        None => Ok(pb::ReplicaState::Active),
        Some(state) => choice_from_wire(found, at.field("initial_state"), state),
    };
    match state? {
        pb::ReplicaState::Active => {}
        other => return found.unimplemented(format_args!("initial_state: {}", other.as_str_name())),
    }
    let (shard_count, replication_factor) = (shard_count?, replicas?);
    Ok(NewShardKey { key: key?, shard_count, replication_factor, placement: wire.placement })
}

/// Where a collection's shards are.
pub(super) fn wire_from_shards(
    layouts: Vec<ShardLayout>,
    resharding: Option<ReshardingReport>,
    node_id: u64,
) -> pb::CollectionClusterInfoResponse {
    let number = |layout: &ShardLayout| u32::try_from(layout.number).unwrap_or(u32::MAX);
    let key = |layout: &ShardLayout| layout.key.clone().map(wire_from_key);
    let mut wire =
        pb::CollectionClusterInfoResponse { peer_id: node_id, shard_count: layouts.len() as u64, ..Default::default() };
    wire.resharding_operations.extend(resharding.map(|report| pb::ReshardingInfo {
        shard_id: report.to.first().map_or(0, |number| u32::try_from(*number).unwrap_or(u32::MAX)),
        peer_id: report.node.unwrap_or(node_id),
        direction: match report.to.len() > report.from {
            true => pb::ReshardingDirection::Up.into(),
            false => pb::ReshardingDirection::Down.into(),
        },
        shard_key: report.key.map(wire_from_key),
    }));
    for layout in &layouts {
        let transfers = layout.transfers().into_iter().map(|transfer| pb::ShardTransferInfo {
            shard_id: number(layout),
            to_shard_id: None,
            from: transfer.from,
            to: transfer.to,
            sync: transfer.keeps_source,
        });
        wire.shard_transfers.extend(transfers);
        for replica in &layout.replicas {
            let (shard_id, shard_key, state) = (number(layout), key(layout), wire_from_replica_state(replica.state));
            match layout.local.as_ref().filter(|_| replica.node == node_id) {
                Some(local) => wire.local_shards.push(pb::LocalShardInfo {
                    shard_id,
                    points_count: local.point_count,
                    state: state.into(),
                    shard_key,
                }),
                None => wire.remote_shards.push(pb::RemoteShardInfo {
                    shard_id,
                    peer_id: replica.node,
                    state: state.into(),
                    shard_key,
                }),
            }
        }
    }
    wire
}

/// One that is about to go still counts.
fn wire_from_replica_state(state: ReplicaState) -> pb::ReplicaState {
    match state {
        ReplicaState::Active | ReplicaState::Leaving => pb::ReplicaState::Active,
        ReplicaState::Partial => pb::ReplicaState::Partial,
        ReplicaState::Initializing => pb::ReplicaState::Initializing,
        ReplicaState::Dead => pb::ReplicaState::Dead,
    }
}

fn wire_from_timestamp(at: Timestamp) -> prost_types::Timestamp {
    const MICROS: i64 = 1_000_000;
    let nanos = at.0.rem_euclid(MICROS) * 1_000;
    prost_types::Timestamp { seconds: at.0.div_euclid(MICROS), nanos: i32::try_from(nanos).unwrap_or(0) }
}

/// An empty map cannot be told from an absent one.
fn metadata(found: &mut Findings, wire: BTreeMap<String, pb::Value>) -> Checked<Option<Payload>> {
    if wire.is_empty() {
        return Ok(None);
    }
    payload_from_wire(found, wire).map(Some)
}

fn vectors_config(found: &mut Findings, at: At<'_>, wire: Option<pb::VectorsConfig>) -> Checked<VectorsConfig> {
    match wire.and_then(|config| config.config) {
        // A collection may have no dense vectors at all.
        None => Ok(VectorsConfig { is_single: false, by_name: BTreeMap::new() }),
        Some(vectors_config::Config::Params(params)) => {
            let params = vector_params(found, at.field("params"), params)?;
            Ok(VectorsConfig { is_single: true, by_name: BTreeMap::from([(VectorName::new(), params)]) })
        }
        Some(vectors_config::Config::ParamsMap(params)) => {
            let at = at.field("params_map");
            let by_name = each(params.map, |_, (name, params)| Ok((name, vector_params(found, at.member(), params)?)))?;
            Ok(VectorsConfig { is_single: false, by_name: by_name.into_iter().collect() })
        }
    }
}

fn vector_params(found: &mut Findings, at: At<'_>, wire: pb::VectorParams) -> Checked<VectorParams> {
    let in_quantization = at.field(QUANTIZATION);
    let quantization = wire.quantization_config.map(|wire| quantization_from_wire(found, in_quantization, wire));
    let memory = vector_memory(found, at, wire.memory);
    let datatype = datatype(found, at.field("datatype"), wire.datatype);
    let multi = wire.multivector_config.map(|config| {
        // The only choice there is.
        choice_from_wire::<pb::MultiVectorComparator>(found, at.field("multivector_config"), config.comparator)
    });
    let is_multi = multi.transpose().map(|comparator| comparator.is_some());
    let metric = match choice_from_wire(found, at.field("distance"), wire.distance) {
        Ok(pb::Distance::Cosine) => Ok(Metric::Cosine),
        Ok(pb::Distance::Euclid) => Ok(Metric::Euclid),
        Ok(pb::Distance::Dot) => Ok(Metric::Dot),
        Ok(pb::Distance::Manhattan) => Ok(Metric::Manhattan),
        Ok(pb::Distance::UnknownDistance) => found.invalid(at.field("distance"), "must be specified"),
        Err(noted) => Err(noted),
    };
    let at_hnsw = at.field("hnsw_config");
    let hnsw = wire.hnsw_config.map(|wire| hnsw_config(found, at_hnsw, Some(wire))).transpose();
    Ok(VectorParams {
        quantization: quantization.transpose()?,
        hnsw: hnsw?,
        on_disk: wire.on_disk,
        datatype: datatype?,
        is_multi: is_multi?,
        memory: memory?,
        ..VectorParams::new(wire.size, metric?)
    })
}

/// The default is what is not given.
fn datatype(found: &mut Findings, at: At<'_>, wire: Option<i32>) -> Checked<Option<Datatype>> {
    let Some(wire) = wire else { return Ok(None) };
    Ok(match choice_from_wire(found, at, wire)? {
        pb::Datatype::Default => None,
        pb::Datatype::Float32 => Some(Datatype::Float32),
        pb::Datatype::Float16 => Some(Datatype::Float16),
        pb::Datatype::Uint8 => Some(Datatype::Uint8),
        other => return found.unimplemented(format_args!("datatype: {}", other.as_str_name())),
    })
}

/// Where vectors are kept: never pinned.
fn vector_memory(found: &mut Findings, at: At<'_>, wire: Option<i32>) -> Checked<Option<Memory>> {
    match placement(found, at.field("memory"), wire)? {
        Some(Memory::Pinned) => found.invalid(at.field("memory"), "`pinned` is not supported"),
        placement => Ok(placement),
    }
}

pub(super) fn placement(found: &mut Findings, at: At<'_>, wire: Option<i32>) -> Checked<Option<Memory>> {
    let Some(wire) = wire else { return Ok(None) };
    Ok(match choice_from_wire(found, at, wire)? {
        pb::Memory::Unknown => None,
        pb::Memory::Cold => Some(Memory::Cold),
        pb::Memory::Cached => Some(Memory::Cached),
        pb::Memory::Pinned => Some(Memory::Pinned),
    })
}

/// An empty map cannot be told from an absent one.
fn sparse_vectors(
    found: &mut Findings,
    at: At<'_>,
    wire: Option<pb::SparseVectorConfig>,
) -> Checked<Option<BTreeMap<VectorName, SparseVectorParams>>> {
    let Some(wire) = wire.filter(|wire| !wire.map.is_empty()) else { return Ok(None) };
    let at = at.field("map");
    let by_name = each(wire.map, |_, (name, params)| Ok((name, sparse_params(found, at.member(), params)?)))?;
    Ok(Some(by_name.into_iter().collect()))
}

fn sparse_params(found: &mut Findings, at: At<'_>, wire: pb::SparseVectorParams) -> Checked<SparseVectorParams> {
    let modifier = match wire.modifier {
        None => None,
        Some(wire) => Some(match choice_from_wire(found, at.field("modifier"), wire)? {
            pb::Modifier::None => Modifier::None,
            pb::Modifier::Idf => Modifier::Idf,
        }),
    };
    let index = match wire.index {
        None => None,
        Some(wire) => {
            let at = at.field("index");
            Some(SparseIndexParams {
                full_scan_threshold: wire.full_scan_threshold,
                on_disk: wire.on_disk,
                datatype: datatype(found, at.field("datatype"), wire.datatype)?,
                memory: placement(found, at.field("memory"), wire.memory)?,
            })
        }
    };
    Ok(SparseVectorParams { modifier, index })
}

fn vectors_config_diff(
    found: &mut Findings,
    at: At<'_>,
    wire: Option<pb::VectorsConfigDiff>,
) -> Checked<BTreeMap<VectorName, VectorParamsDiff>> {
    match wire.and_then(|config| config.config) {
        None => Ok(BTreeMap::new()),
        Some(vectors_config_diff::Config::Params(params)) => {
            Ok(BTreeMap::from([(VectorName::new(), vector_params_diff(found, at.field("params"), params)?)]))
        }
        Some(vectors_config_diff::Config::ParamsMap(params)) => {
            let at = at.field("params_map");
            let changes =
                each(params.map, |_, (name, params)| Ok((name, vector_params_diff(found, at.member(), params)?)))?;
            Ok(changes.into_iter().collect())
        }
    }
}

fn vector_params_diff(found: &mut Findings, at: At<'_>, wire: pb::VectorParamsDiff) -> Checked<VectorParamsDiff> {
    let in_quantization = at.field(QUANTIZATION);
    let quantization = wire.quantization_config.map(|wire| quantization_change(found, in_quantization, wire));
    let memory = vector_memory(found, at, wire.memory);
    let hnsw = hnsw_config(found, at.field("hnsw_config"), wire.hnsw_config);
    Ok(VectorParamsDiff {
        hnsw: hnsw?,
        on_disk: wire.on_disk,
        quantization: quantization.transpose()?,
        memory: memory?,
    })
}

fn hnsw_config(found: &mut Findings, at: At<'_>, wire: Option<pb::HnswConfigDiff>) -> Checked<HnswConfigDiff> {
    let wire = wire.unwrap_or_default();
    Ok(HnswConfigDiff {
        memory: placement(found, at.field("memory"), wire.memory)?,
        m: wire.m,
        ef_construct: wire.ef_construct,
        full_scan_threshold: wire.full_scan_threshold,
        max_indexing_threads: wire.max_indexing_threads,
        on_disk: wire.on_disk,
        payload_m: wire.payload_m,
        inline_storage: wire.inline_storage,
    })
}

fn optimizers_config(
    found: &mut Findings,
    at: At<'_>,
    wire: Option<pb::OptimizersConfigDiff>,
) -> Checked<OptimizersConfigDiff> {
    let wire = wire.unwrap_or_default();
    found.absent(&wire.prevent_unoptimized.filter(|prevent| *prevent), "prevent_unoptimized")?;
    let threads = match wire.max_optimization_threads.and_then(|threads| threads.variant) {
        None => wire.deprecated_max_optimization_threads,
        Some(max_optimization_threads::Variant::Value(threads)) => Some(threads),
        // The only choice is "auto", which is the default.
        Some(max_optimization_threads::Variant::Setting(setting)) => {
            let at = at.field("max_optimization_threads");
            choice_from_wire::<max_optimization_threads::Setting>(found, at, setting)?;
            None
        }
    };
    Ok(OptimizersConfigDiff {
        deleted_threshold: wire.deleted_threshold,
        vacuum_min_vector_number: wire.vacuum_min_vector_number,
        default_segment_number: wire.default_segment_number,
        max_segment_size: wire.max_segment_size,
        memmap_threshold: wire.memmap_threshold,
        indexing_threshold: wire.indexing_threshold,
        flush_interval_sec: wire.flush_interval_sec,
        max_optimization_threads: threads,
    })
}

fn wal_config(wire: pb::WalConfigDiff) -> WalConfigDiff {
    WalConfigDiff {
        wal_capacity_mb: wire.wal_capacity_mb,
        wal_segments_ahead: wire.wal_segments_ahead,
        wal_retain_closed: wire.wal_retain_closed,
    }
}

/// What `Get` reports.
pub(super) fn wire_from_report(report: CollectionReport) -> pb::CollectionInfo {
    let (status, error) = match report.status {
        CollectionStatus::Green => (pb::CollectionStatus::Green, ""),
        CollectionStatus::Yellow => (pb::CollectionStatus::Yellow, ""),
        CollectionStatus::Red => (pb::CollectionStatus::Red, "a shard failed"),
    };
    let fields = report.fields.into_iter();
    let payload_schema = fields.map(|(path, field)| (path.to_string(), wire_from_field(field))).collect();
    let config = report.config;
    let metadata = config.metadata.clone();
    pb::CollectionInfo {
        status: status as i32,
        optimizer_status: Some(pb::OptimizerStatus { ok: error.is_empty(), error: error.to_owned() }),
        // One index per shard and vector: the nearest thing to the peer's segments.
        segments_count: report.shards.len() as u64,
        config: Some(pb::CollectionConfig {
            hnsw_config: Some(wire_from_hnsw(full_hnsw(config.hnsw))),
            optimizer_config: Some(wire_from_optimizers(config.optimizers)),
            wal_config: Some(wire_from_wal(config.wal)),
            quantization_config: config.quantization.clone().map(wire_from_quantization),
            strict_mode_config: config.strict_mode.clone().map(wire_from_strict_mode),
            metadata: wire_from_payload(metadata),
            params: Some(wire_from_params(config)),
        }),
        payload_schema,
        points_count: Some(report.point_count),
        indexed_vectors_count: Some(report.indexed_vector_count),
        warnings: report.warnings.into_iter().map(|message| pb::CollectionWarning { message }).collect(),
        update_queue: Some(pb::UpdateQueueInfo { length: report.tail_vector_count, deferred_points: None }),
        created_at: Some(wire_from_timestamp(report.created_at)),
    }
}

fn wire_from_params(config: CollectionConfig) -> pb::CollectionParams {
    pb::CollectionParams {
        shard_number: config.shard_number,
        on_disk_payload: config.on_disk_payload,
        vectors_config: Some(wire_from_vectors_config(config.vectors)),
        sparse_vectors_config: config.sparse_vectors.map(|sparse| pb::SparseVectorConfig {
            map: sparse.into_iter().map(|(name, params)| (name, wire_from_sparse_params(params))).collect(),
        }),
        replication_factor: Some(config.replication_factor),
        write_consistency_factor: Some(config.write_consistency_factor),
        read_fan_out_factor: config.read_fan_out_factor,
        read_fan_out_delay_ms: config.read_fan_out_delay_ms,
        payload: config
            .payload_memory
            .map(|memory| pb::PayloadStorageParams { memory: Some(wire_from_memory(memory) as i32) }),
        id_tracker: config
            .id_tracker_memory
            .map(|memory| pb::IdTrackerParams { memory: Some(wire_from_memory(memory) as i32) }),
        sharding_method: config.sharding_method.map(|method| match method {
            ShardingMethod::Auto => pb::ShardingMethod::Auto as i32,
            ShardingMethod::Custom => pb::ShardingMethod::Custom as i32,
        }),
    }
}

fn wire_from_vectors_config(vectors: VectorsConfig) -> pb::VectorsConfig {
    let mut map: BTreeMap<VectorName, pb::VectorParams> =
        vectors.by_name.into_iter().map(|(name, params)| (name, wire_from_vector_params(params))).collect();
    let config = match (vectors.is_single, map.pop_first()) {
        (true, Some((_, params))) => vectors_config::Config::Params(params),
        (_, first) => {
            map.extend(first);
            vectors_config::Config::ParamsMap(pb::VectorParamsMap { map })
        }
    };
    pb::VectorsConfig { config: Some(config) }
}

fn wire_from_vector_params(params: VectorParams) -> pb::VectorParams {
    let distance = match params.metric {
        Metric::Cosine => pb::Distance::Cosine,
        Metric::Dot => pb::Distance::Dot,
        Metric::Euclid => pb::Distance::Euclid,
        Metric::Manhattan => pb::Distance::Manhattan,
    };
    pb::VectorParams {
        size: params.dim,
        distance: distance as i32,
        hnsw_config: params.hnsw.map(wire_from_hnsw),
        on_disk: params.on_disk,
        datatype: params.datatype.map(|datatype| wire_from_datatype(datatype) as i32),
        multivector_config: params
            .is_multi
            .then_some(pb::MultiVectorConfig { comparator: pb::MultiVectorComparator::MaxSim as i32 }),
        memory: params.memory.map(|memory| wire_from_memory(memory) as i32),
        quantization_config: params.quantization.map(wire_from_quantization),
    }
}

fn wire_from_sparse_params(params: SparseVectorParams) -> pb::SparseVectorParams {
    let modifier = |modifier| match modifier {
        Modifier::None => pb::Modifier::None as i32,
        Modifier::Idf => pb::Modifier::Idf as i32,
    };
    pb::SparseVectorParams {
        index: params.index.map(|index| pb::SparseIndexConfig {
            full_scan_threshold: index.full_scan_threshold,
            on_disk: index.on_disk,
            datatype: index.datatype.map(|datatype| wire_from_datatype(datatype) as i32),
            memory: index.memory.map(|memory| wire_from_memory(memory) as i32),
        }),
        modifier: params.modifier.map(modifier),
    }
}

fn wire_from_datatype(datatype: Datatype) -> pb::Datatype {
    match datatype {
        Datatype::Float32 => pb::Datatype::Float32,
        Datatype::Float16 => pb::Datatype::Float16,
        Datatype::Uint8 => pb::Datatype::Uint8,
    }
}

pub(super) fn wire_from_memory(memory: Memory) -> pb::Memory {
    match memory {
        Memory::Cold => pb::Memory::Cold,
        Memory::Cached => pb::Memory::Cached,
        Memory::Pinned => pb::Memory::Pinned,
    }
}

/// `given` with the defaults the protocol echoes (CLIENTS section 3.7).
fn full_hnsw(given: HnswConfigDiff) -> HnswConfigDiff {
    let shown = HnswConfigDiff {
        m: Some(defaults::HNSW_M),
        ef_construct: Some(defaults::HNSW_EF_CONSTRUCT),
        full_scan_threshold: Some(defaults::HNSW_FULL_SCAN_THRESHOLD_KB),
        max_indexing_threads: Some(defaults::HNSW_MAX_INDEXING_THREADS),
        ..HnswConfigDiff::default()
    };
    shown.merged(given)
}

fn wire_from_hnsw(hnsw: HnswConfigDiff) -> pb::HnswConfigDiff {
    pb::HnswConfigDiff {
        m: hnsw.m,
        ef_construct: hnsw.ef_construct,
        full_scan_threshold: hnsw.full_scan_threshold,
        max_indexing_threads: hnsw.max_indexing_threads,
        on_disk: hnsw.on_disk,
        payload_m: hnsw.payload_m,
        inline_storage: hnsw.inline_storage,
        memory: hnsw.memory.map(|memory| wire_from_memory(memory) as i32),
    }
}

fn wire_from_optimizers(given: OptimizersConfigDiff) -> pb::OptimizersConfigDiff {
    let shown = OptimizersConfigDiff {
        deleted_threshold: Some(defaults::DELETED_THRESHOLD),
        vacuum_min_vector_number: Some(defaults::VACUUM_MIN_VECTOR_NUMBER),
        default_segment_number: Some(defaults::DEFAULT_SEGMENT_NUMBER),
        indexing_threshold: Some(defaults::INDEXING_THRESHOLD_KB),
        flush_interval_sec: Some(defaults::FLUSH_INTERVAL_SEC),
        ..OptimizersConfigDiff::default()
    };
    let shown = shown.merged(given);
    pb::OptimizersConfigDiff {
        deleted_threshold: shown.deleted_threshold,
        vacuum_min_vector_number: shown.vacuum_min_vector_number,
        default_segment_number: shown.default_segment_number,
        max_segment_size: shown.max_segment_size,
        memmap_threshold: shown.memmap_threshold,
        indexing_threshold: shown.indexing_threshold,
        flush_interval_sec: shown.flush_interval_sec,
        deprecated_max_optimization_threads: shown.max_optimization_threads,
        max_optimization_threads: shown.max_optimization_threads.map(|threads| pb::MaxOptimizationThreads {
            variant: Some(max_optimization_threads::Variant::Value(threads)),
        }),
        prevent_unoptimized: None,
    }
}

fn wire_from_wal(wal: WalConfigDiff) -> pb::WalConfigDiff {
    pb::WalConfigDiff {
        wal_capacity_mb: Some(wal.wal_capacity_mb.unwrap_or(defaults::WAL_CAPACITY_MB)),
        wal_segments_ahead: Some(wal.wal_segments_ahead.unwrap_or(defaults::WAL_SEGMENTS_AHEAD)),
        wal_retain_closed: Some(wal.wal_retain_closed.unwrap_or(defaults::WAL_RETAIN_CLOSED)),
    }
}

/// An alias of an answer.
pub(super) fn wire_from_alias(alias: Alias) -> pb::AliasDescription {
    pb::AliasDescription { alias_name: alias.alias, collection_name: alias.collection }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::json;

    use super::*;
    use crate::api::grpc::pb::value::Kind;
    use crate::service::ShardReport;

    fn run<T>(convert: impl FnOnce(&mut Findings) -> Checked<T>) -> Result<T, String> {
        let mut found = Findings::new();
        let value = convert(&mut found);
        found.finish("body", value).map_err(|error| error.text)
    }

    fn times() -> Times {
        let started = Instant::now();
        Times { started, latest: Some(started + Duration::from_secs(60)) }
    }

    fn read(wire: pb::CreateCollection) -> Result<CollectionConfig, String> {
        run(|found| create(found, wire, times())).map(|create| create.config)
    }

    fn single(params: pb::VectorParams) -> pb::CreateCollection {
        let vectors_config = Some(pb::VectorsConfig { config: Some(vectors_config::Config::Params(params)) });
        pb::CreateCollection { collection_name: "c".to_owned(), vectors_config, ..Default::default() }
    }

    fn params(size: u64, distance: pb::Distance) -> pb::VectorParams {
        pb::VectorParams { size, distance: distance as i32, ..Default::default() }
    }

    fn plain(vectors: VectorsConfig) -> CollectionConfig {
        CollectionConfig::new(vectors)
    }

    fn unnamed(dim: u64, metric: Metric) -> VectorsConfig {
        let params = VectorParams::new(dim, metric);
        VectorsConfig { is_single: true, by_name: BTreeMap::from([(String::new(), params)]) }
    }

    #[test]
    fn protocol_18_a_collection_of_each_metric_and_of_no_vector() {
        for (distance, metric) in [
            (pb::Distance::Cosine, Metric::Cosine),
            (pb::Distance::Euclid, Metric::Euclid),
            (pb::Distance::Dot, Metric::Dot),
            (pb::Distance::Manhattan, Metric::Manhattan),
        ] {
            assert_eq!(read(single(params(4, distance))), Ok(plain(unnamed(4, metric))));
        }
        let none = VectorsConfig { is_single: false, by_name: BTreeMap::new() };
        let wire = pb::CreateCollection { collection_name: "c".to_owned(), ..Default::default() };
        assert_eq!(read(wire), Ok(plain(none)));
    }

    #[test]
    fn every_setting_is_read() {
        let hnsw = |m| pb::HnswConfigDiff {
            m: Some(m),
            ef_construct: Some(50),
            full_scan_threshold: Some(1),
            max_indexing_threads: Some(2),
            on_disk: Some(true),
            payload_m: Some(3),
            inline_storage: Some(true),
            memory: Some(pb::Memory::Cached as i32),
        };
        let want_hnsw = |m| HnswConfigDiff {
            m: Some(m),
            ef_construct: Some(50),
            full_scan_threshold: Some(1),
            max_indexing_threads: Some(2),
            on_disk: Some(true),
            payload_m: Some(3),
            inline_storage: Some(true),
            memory: Some(Memory::Cached),
        };
        let vector = pb::VectorParams {
            hnsw_config: Some(hnsw(8)),
            on_disk: Some(false),
            datatype: Some(pb::Datatype::Default as i32),
            ..params(2, pb::Distance::Dot)
        };
        let map = BTreeMap::from([("v".to_owned(), vector), (String::new(), params(3, pb::Distance::Cosine))]);
        let config = vectors_config::Config::ParamsMap(pb::VectorParamsMap { map });
        let threads = max_optimization_threads::Variant::Value(4);
        let wire = pb::CreateCollection {
            collection_name: "c".to_owned(),
            vectors_config: Some(pb::VectorsConfig { config: Some(config) }),
            hnsw_config: Some(hnsw(0)),
            wal_config: Some(pb::WalConfigDiff {
                wal_capacity_mb: Some(1),
                wal_segments_ahead: Some(2),
                wal_retain_closed: Some(3),
            }),
            optimizers_config: Some(pb::OptimizersConfigDiff {
                deleted_threshold: Some(0.5),
                vacuum_min_vector_number: Some(100),
                default_segment_number: Some(3),
                max_segment_size: Some(4),
                memmap_threshold: Some(5),
                indexing_threshold: Some(6),
                flush_interval_sec: Some(7),
                max_optimization_threads: Some(pb::MaxOptimizationThreads { variant: Some(threads) }),
                ..Default::default()
            }),
            shard_number: Some(2),
            replication_factor: Some(3),
            write_consistency_factor: Some(2),
            on_disk_payload: Some(false),
            sharding_method: Some(pb::ShardingMethod::Auto as i32),
            sparse_vectors_config: Some(pb::SparseVectorConfig::default()),
            strict_mode_config: Some(pb::StrictModeConfig { enabled: Some(false), ..Default::default() }),
            metadata: BTreeMap::from([("a".to_owned(), pb::Value { kind: Some(Kind::IntegerValue(1)) })]),
            timeout: Some(5),
            ..Default::default()
        };
        let vector =
            VectorParams { hnsw: Some(want_hnsw(8)), on_disk: Some(false), ..VectorParams::new(2, Metric::Dot) };
        let other = VectorParams::new(3, Metric::Cosine);
        let vectors = VectorsConfig {
            is_single: false,
            by_name: BTreeMap::from([("v".to_owned(), vector), (String::new(), other)]),
        };
        let want = CollectionConfig {
            shard_number: 2,
            replication_factor: 3,
            write_consistency_factor: 2,
            read_fan_out_factor: None,
            on_disk_payload: false,
            hnsw: want_hnsw(0),
            optimizers: OptimizersConfigDiff {
                deleted_threshold: Some(0.5),
                vacuum_min_vector_number: Some(100),
                default_segment_number: Some(3),
                max_segment_size: Some(4),
                memmap_threshold: Some(5),
                indexing_threshold: Some(6),
                flush_interval_sec: Some(7),
                max_optimization_threads: Some(4),
            },
            wal: WalConfigDiff { wal_capacity_mb: Some(1), wal_segments_ahead: Some(2), wal_retain_closed: Some(3) },
            metadata: Some(Payload(json!({"a": 1}).as_object().unwrap().clone())),
            strict_mode: Some(StrictModeConfig { enabled: Some(false), ..StrictModeConfig::default() }),
            sharding_method: Some(ShardingMethod::Auto),
            ..CollectionConfig::new(vectors)
        };
        let times = times();
        let read = run(|found| create(found, wire, times)).unwrap();
        assert_eq!(read.config, want);
        assert_eq!(read.name.as_str(), "c");
        assert_eq!(read.deadline, Some(times.started + Duration::from_secs(5)));
    }

    #[test]
    fn protocol_18_errors() {
        let invalid = |text: &str| Err(format!("Validation error in body: [{text}]"));
        for size in [0, 65_537] {
            let text = format!("vectors.size: value {size} invalid, must be from 1 to 65536");
            assert_eq!(read(single(params(size, pb::Distance::Dot))), invalid(&text));
        }
        let unknown = "vectors_config.params.distance: must be specified";
        assert_eq!(read(single(params(4, pb::Distance::UnknownDistance))), invalid(unknown));
        let bad = pb::VectorParams { size: 4, distance: 9, ..Default::default() };
        assert_eq!(read(single(bad)), invalid("vectors_config.params.distance: value 9 invalid, unknown"));
        let pinned = pb::VectorParams { memory: Some(pb::Memory::Pinned as i32), ..params(4, pb::Distance::Dot) };
        assert_eq!(read(single(pinned)), invalid("vectors_config.params.memory: `pinned` is not supported"));
        for name in ["", "a/b"] {
            let wire =
                pb::CreateCollection { collection_name: name.to_owned(), ..single(params(4, pb::Distance::Dot)) };
            let error = read(wire).unwrap_err();
            assert!(error.starts_with("Validation error in body: [collection_name: "), "{error}");
        }
        let good = || single(params(4, pb::Distance::Dot));
        let numbers = [
            (pb::CreateCollection { shard_number: Some(0), ..good() }, "shard_number"),
            (pb::CreateCollection { replication_factor: Some(0), ..good() }, "replication_factor"),
            (pb::CreateCollection { write_consistency_factor: Some(0), ..good() }, "write_consistency_factor"),
            (pb::CreateCollection { timeout: Some(0), ..good() }, "timeout"),
        ];
        for (wire, path) in numbers {
            let error = read(wire).unwrap_err();
            assert!(error.starts_with(&format!("Validation error in body: [{path}: value 0 invalid")), "{error}");
        }
    }

    #[test]
    fn what_is_not_built_is_named() {
        let good = || single(params(4, pb::Distance::Dot));
        let vector = |change: fn(&mut pb::VectorParams)| {
            let mut params = params(4, pb::Distance::Dot);
            change(&mut params);
            single(params)
        };
        let unoptimized = pb::OptimizersConfigDiff { prevent_unoptimized: Some(true), ..Default::default() };
        let cases = [
            (vector(|params| params.datatype = Some(pb::Datatype::Turbo4 as i32)), "datatype: Turbo4"),
            (pb::CreateCollection { optimizers_config: Some(unoptimized), ..good() }, "prevent_unoptimized"),
        ];
        for (wire, what) in cases {
            assert_eq!(read(wire), Err(format!("Not implemented: {what}")));
        }
    }

    #[test]
    fn protocol_18_where_data_are_kept_is_echoed_and_changed() {
        let kept = |memory: pb::Memory| Some(memory as i32);
        let wire = pb::CreateCollection {
            hnsw_config: Some(pb::HnswConfigDiff { memory: kept(pb::Memory::Cold), ..Default::default() }),
            payload: Some(pb::PayloadStorageParams { memory: kept(pb::Memory::Cached) }),
            id_tracker: Some(pb::IdTrackerParams { memory: kept(pb::Memory::Pinned) }),
            sparse_vectors_config: Some(pb::SparseVectorConfig {
                map: [("s".to_owned(), pb::SparseVectorParams::default())].into(),
            }),
            ..single(params(4, pb::Distance::Dot))
        };
        let mut config = read(wire).unwrap();
        assert_eq!(wire_from_hnsw(full_hnsw(config.hnsw)).memory, kept(pb::Memory::Cold));
        let shown = wire_from_params(config.clone());
        assert_eq!(shown.payload.unwrap().memory, kept(pb::Memory::Cached));
        assert_eq!(shown.id_tracker.unwrap().memory, kept(pb::Memory::Pinned));
        let index = pb::SparseIndexConfig { memory: kept(pb::Memory::Pinned), ..Default::default() };
        let sparse = pb::SparseVectorParams { index: Some(index), modifier: Some(pb::Modifier::Idf as i32) };
        let wire = pb::UpdateCollection {
            collection_name: "c".to_owned(),
            params: Some(pb::CollectionParamsDiff {
                payload: Some(pb::PayloadStorageParams { memory: kept(pb::Memory::Cold) }),
                read_fan_out_delay_ms: Some(7),
                ..Default::default()
            }),
            sparse_vectors_config: Some(pb::SparseVectorConfig { map: [("s".to_owned(), sparse)].into() }),
            ..Default::default()
        };
        config.apply(&run(|found| update(found, wire, times())).unwrap().diff);
        let shown = wire_from_params(config);
        assert_eq!((shown.payload.unwrap().memory, shown.read_fan_out_delay_ms), (kept(pb::Memory::Cold), Some(7)));
        assert_eq!(shown.sparse_vectors_config.unwrap().map["s"], sparse);
        let payload = Some(pb::PayloadStorageParams { memory: kept(pb::Memory::Pinned) });
        let refused = read(pb::CreateCollection { payload, ..single(params(4, pb::Distance::Dot)) }).unwrap_err();
        assert!(refused.contains("payload.memory: `pinned` is not supported for payload storage"), "{refused}");
    }

    #[test]
    fn protocol_18_a_vector_to_be_added() {
        let read = |name: &str, vector_config| {
            let (collection_name, vector_name) = ("c".to_owned(), name.to_owned());
            let wire =
                pb::CreateVectorNameRequest { collection_name, vector_name, vector_config, ..Default::default() };
            run(|found| create_vector(found, wire, times())).map(|create| create.vector)
        };
        let dense = |size| pb::DenseVectorCreationConfig {
            size,
            distance: pb::Distance::Cosine as i32,
            multivector_config: Some(pb::MultiVectorConfig::default()),
            datatype: Some(pb::Datatype::Float16 as i32),
        };
        let want =
            VectorParams { is_multi: true, datatype: Some(Datatype::Float16), ..VectorParams::new(3, Metric::Cosine) };
        assert_eq!(read("v", Some(VectorConfig::DenseConfig(dense(3)))), Ok(NewVector::Dense(want)));
        let sparse = pb::SparseVectorCreationConfig { modifier: Some(pb::Modifier::Idf as i32), datatype: None };
        let want = SparseVectorParams { modifier: Some(Modifier::Idf), index: None };
        assert_eq!(read("s", Some(VectorConfig::SparseConfig(sparse))), Ok(NewVector::Sparse(want)));
        assert!(read("v", None).unwrap_err().contains("vector_config"));
        let refused = read("v", Some(VectorConfig::DenseConfig(dense(0)))).unwrap_err();
        assert!(refused.contains("dense_config.size: value 0 invalid, must be from 1 to 65536"), "{refused}");
        assert!(read("", Some(VectorConfig::SparseConfig(sparse))).unwrap_err().contains("name cannot be empty"));
    }

    #[test]
    fn a_change_of_settings() {
        let change = pb::VectorParamsDiff {
            hnsw_config: Some(pb::HnswConfigDiff { m: Some(4), ..Default::default() }),
            on_disk: Some(true),
            ..Default::default()
        };
        let map = BTreeMap::from([(String::new(), change)]);
        let config = vectors_config_diff::Config::ParamsMap(pb::VectorParamsDiffMap { map });
        let wire = pb::UpdateCollection {
            collection_name: "c".to_owned(),
            vectors_config: Some(pb::VectorsConfigDiff { config: Some(config) }),
            params: Some(pb::CollectionParamsDiff {
                replication_factor: Some(2),
                write_consistency_factor: Some(1),
                on_disk_payload: Some(false),
                read_fan_out_factor: Some(3),
                ..Default::default()
            }),
            metadata: BTreeMap::from([("a".to_owned(), pb::Value { kind: None })]),
            ..Default::default()
        };
        let vector = VectorParamsDiff {
            hnsw: HnswConfigDiff { m: Some(4), ..HnswConfigDiff::default() },
            on_disk: Some(true),
            ..Default::default()
        };
        let want = CollectionConfigDiff {
            vectors: BTreeMap::from([(String::new(), vector)]),
            replication_factor: Some(2),
            write_consistency_factor: Some(1),
            read_fan_out_factor: Some(3),
            on_disk_payload: Some(false),
            metadata: Some(Payload(json!({"a": null}).as_object().unwrap().clone())),
            ..CollectionConfigDiff::default()
        };
        let times = times();
        let read = run(|found| update(found, wire, times)).unwrap();
        assert_eq!((read.collection.as_str(), read.diff, read.deadline), ("c", want, times.latest));
        let params = Some(pb::CollectionParamsDiff { replication_factor: Some(0), ..Default::default() });
        let wire = pb::UpdateCollection { params, ..Default::default() };
        assert_eq!(
            run(|found| update(found, wire, times)).unwrap_err(),
            "Validation error in body: [params.replication_factor: value 0 invalid, must be 1 or larger]"
        );
    }

    #[test]
    fn alias_actions_keep_their_order() {
        let create = |alias: &str| {
            let action = pb::CreateAlias { collection_name: "c".to_owned(), alias_name: alias.to_owned() };
            pb::AliasOperations { action: Some(Action::CreateAlias(action)) }
        };
        let rename = pb::RenameAlias { old_alias_name: "a".to_owned(), new_alias_name: "b".to_owned() };
        let delete = pb::DeleteAlias { alias_name: "b".to_owned() };
        let actions = vec![
            create("a"),
            pb::AliasOperations { action: Some(Action::RenameAlias(rename)) },
            pb::AliasOperations { action: Some(Action::DeleteAlias(delete)) },
        ];
        let read = |actions| run(|found| aliases(found, pb::ChangeAliases { actions, timeout: None }, times()));
        let want = vec![
            AliasAction::Create { alias: "a".to_owned(), collection: "c".to_owned() },
            AliasAction::Rename { from: "a".to_owned(), to: "b".to_owned() },
            AliasAction::Delete { alias: "b".to_owned() },
        ];
        assert_eq!(read(actions).map(|(actions, _)| actions), Ok(want));
        let missing = "Wrong input: `actions[0]` is required";
        assert_eq!(read(vec![pb::AliasOperations { action: None }]).unwrap_err(), missing);
        let error = read(vec![create("a"), create("")]).unwrap_err();
        assert!(error.starts_with("Validation error in body: [actions[1].create_alias.alias_name: "), "{error}");
    }

    #[test]
    fn clients_3_7_a_report_shows_defaults_and_echoes_a_vectors_own_settings() {
        let report = |config, status| {
            wire_from_report(CollectionReport {
                name: "c".to_owned(),
                status,
                config,
                point_count: 6,
                indexed_vector_count: 4,
                tail_vector_count: 2,
                shard_count: 1,
                shards: vec![ShardReport {
                    id: 0,
                    key: None,
                    point_count: 6,
                    applied_index: 9,
                    indexed_vector_count: 6,
                    tail_vector_count: 0,
                }],
                fields: BTreeMap::new(),
                created_at: Timestamp(1_500_000),
                warnings: vec!["w".to_owned()],
            })
        };
        let info = report(plain(unnamed(4, Metric::Euclid)), CollectionStatus::Green);
        assert_eq!(info.status, pb::CollectionStatus::Green as i32);
        assert_eq!(info.optimizer_status, Some(pb::OptimizerStatus { ok: true, error: String::new() }));
        assert_eq!((info.points_count, info.indexed_vectors_count, info.segments_count), (Some(6), Some(4), 1));
        assert_eq!(info.created_at, Some(prost_types::Timestamp { seconds: 1, nanos: 500_000_000 }));
        assert_eq!(info.update_queue, Some(pb::UpdateQueueInfo { length: 2, deferred_points: None }));
        assert_eq!(info.warnings, [pb::CollectionWarning { message: "w".to_owned() }]);
        let config = info.config.unwrap();
        let hnsw = config.hnsw_config.unwrap();
        assert_eq!((hnsw.m, hnsw.ef_construct, hnsw.full_scan_threshold), (Some(16), Some(100), Some(10_000)));
        assert_eq!((hnsw.max_indexing_threads, hnsw.on_disk, hnsw.payload_m), (Some(0), None, None));
        let optimizers = config.optimizer_config.unwrap();
        assert_eq!((optimizers.deleted_threshold, optimizers.vacuum_min_vector_number), (Some(0.2), Some(1000)));
        assert_eq!((optimizers.indexing_threshold, optimizers.flush_interval_sec), (Some(10_000), Some(5)));
        assert_eq!((optimizers.default_segment_number, optimizers.max_optimization_threads), (Some(0), None));
        let wal = config.wal_config.unwrap();
        assert_eq!((wal.wal_capacity_mb, wal.wal_segments_ahead, wal.wal_retain_closed), (Some(32), Some(0), Some(1)));
        let shown = config.params.unwrap();
        assert_eq!((shown.shard_number, shown.replication_factor, shown.on_disk_payload), (1, Some(1), true));
        let vectors = shown.vectors_config.unwrap().config;
        assert_eq!(vectors, Some(vectors_config::Config::Params(params(4, pb::Distance::Euclid))));

        // A map stays a map, also of the unnamed vector alone.
        let vectors = VectorsConfig { is_single: false, ..unnamed(4, Metric::Dot) };
        let info = report(plain(vectors), CollectionStatus::Red);
        assert!(!info.optimizer_status.unwrap().ok);
        let vectors = info.config.unwrap().params.unwrap().vectors_config.unwrap().config;
        let map = BTreeMap::from([(String::new(), params(4, pb::Distance::Dot))]);
        assert_eq!(vectors, Some(vectors_config::Config::ParamsMap(pb::VectorParamsMap { map })));
    }
}
