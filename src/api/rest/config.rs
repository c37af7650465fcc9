//! Settings of collections on the wire: as they are given, and as `info` echoes them (PROTOCOL section 18, CLIENTS
//! sections 3.6 and 3.7).

use std::collections::BTreeMap;

use schemars::{JsonSchema, json_schema};
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::fields;
use super::quantization::{Quantization, QuantizationDiff, quantization_out};
use super::schemas::{any_of, list, map, nullable, object as object_of, object_with, schema};
use super::strict::StrictMode;
use crate::api::checks::{self, At, Checked, Findings};
use crate::model::collection::{
    self, CollectionConfig, CollectionConfigDiff, Datatype, HnswConfigDiff, Memory, Modifier, NewVector,
    OptimizersConfigDiff, SparseIndexParams, SparseVectorParams, StrictModeConfig, VectorParams, VectorParamsDiff,
    VectorsConfig, WalConfigDiff, defaults,
};
use crate::model::{Metric, Payload};
use crate::service::{CollectionReport, CollectionStatus};

/// Settings of a new collection.
#[derive(Deserialize, JsonSchema)]
pub(super) struct CreateCollection {
    #[schemars(with = "Option<VectorsShape>")]
    vectors: Option<Map<String, Value>>,
    sparse_vectors: Option<BTreeMap<String, SparseBody>>,
    shard_number: Option<u32>,
    sharding_method: Option<ShardingMethod>,
    replication_factor: Option<u32>,
    write_consistency_factor: Option<u32>,
    on_disk_payload: Option<bool>,
    payload: Option<PlacementBody>,
    id_tracker: Option<PlacementBody>,
    hnsw_config: Option<HnswConfig>,
    wal_config: Option<WalConfig>,
    #[serde(alias = "optimizer_config")]
    optimizers_config: Option<OptimizersConfig>,
    quantization_config: Option<Quantization>,
    strict_mode_config: Option<StrictMode>,
    #[schemars(with = "Option<Value>")]
    init_from: Option<IgnoredAny>,
    metadata: Option<Map<String, Value>>,
}

/// A change of a collection's settings.
#[derive(Deserialize, JsonSchema)]
pub(super) struct UpdateCollection {
    vectors: Option<BTreeMap<String, VectorDiff>>,
    sparse_vectors: Option<BTreeMap<String, SparseBody>>,
    params: Option<ParamsDiff>,
    hnsw_config: Option<HnswConfig>,
    #[serde(alias = "optimizer_config")]
    optimizers_config: Option<OptimizersConfig>,
    quantization_config: Option<QuantizationDiff>,
    strict_mode_config: Option<StrictMode>,
    metadata: Option<Map<String, Value>>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "CollectionParamsDiff")]
struct ParamsDiff {
    replication_factor: Option<u32>,
    write_consistency_factor: Option<u32>,
    read_fan_out_factor: Option<u32>,
    read_fan_out_delay_ms: Option<u64>,
    on_disk_payload: Option<bool>,
    payload: Option<PlacementBody>,
    id_tracker: Option<PlacementBody>,
}

/// Where something is kept.
#[derive(Default, Deserialize, JsonSchema)]
#[schemars(rename = "Placement")]
struct PlacementBody {
    memory: Option<Placement>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "VectorParams")]
struct VectorBody {
    size: u64,
    distance: Distance,
    hnsw_config: Option<HnswConfig>,
    quantization_config: Option<Quantization>,
    on_disk: Option<bool>,
    memory: Option<Placement>,
    datatype: Option<Precision>,
    multivector_config: Option<MultiBody>,
}

/// A vector to be added to a collection: one of the two.
#[derive(Deserialize, JsonSchema)]
pub(super) struct CreateVector {
    dense: Option<NewDense>,
    sparse: Option<NewSparse>,
}

/// What cannot be changed later.
#[derive(Deserialize, JsonSchema)]
struct NewDense {
    size: u64,
    distance: Distance,
    datatype: Option<Precision>,
    multivector_config: Option<MultiBody>,
}

/// What cannot be changed later.
#[derive(Deserialize, JsonSchema)]
struct NewSparse {
    modifier: Option<QueryModifier>,
    datatype: Option<Precision>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "MultivectorConfig")]
struct MultiBody {
    #[serde(rename = "comparator")]
    _comparator: Comparator,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "MultivectorComparator")]
#[serde(rename_all = "snake_case")]
enum Comparator {
    MaxSim,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[schemars(rename = "Datatype")]
#[serde(rename_all = "snake_case")]
enum Precision {
    Float32,
    Float16,
    Uint8,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[schemars(rename = "Memory")]
#[serde(rename_all = "snake_case")]
pub(super) enum Placement {
    Cold,
    Cached,
    Pinned,
}

#[derive(Default, Deserialize, JsonSchema)]
#[schemars(rename = "SparseVectorParams")]
struct SparseBody {
    index: Option<SparseIndexBody>,
    modifier: Option<QueryModifier>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "SparseIndexParams")]
struct SparseIndexBody {
    full_scan_threshold: Option<u64>,
    on_disk: Option<bool>,
    datatype: Option<Precision>,
    memory: Option<Placement>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[schemars(rename = "Modifier")]
#[serde(rename_all = "snake_case")]
enum QueryModifier {
    None,
    Idf,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "VectorParamsDiff")]
struct VectorDiff {
    hnsw_config: Option<HnswConfig>,
    quantization_config: Option<QuantizationDiff>,
    on_disk: Option<bool>,
    memory: Option<Placement>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
enum Distance {
    Cosine,
    Dot,
    Euclid,
    Manhattan,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ShardingMethod {
    Auto,
    Custom,
}

#[derive(Default, Deserialize, JsonSchema)]
#[schemars(rename = "HnswConfigDiff")]
struct HnswConfig {
    m: Option<u64>,
    ef_construct: Option<u64>,
    full_scan_threshold: Option<u64>,
    max_indexing_threads: Option<u64>,
    on_disk: Option<bool>,
    payload_m: Option<u64>,
    inline_storage: Option<bool>,
    memory: Option<Placement>,
}

#[derive(Default, Deserialize, JsonSchema)]
#[schemars(rename = "OptimizersConfigDiff")]
struct OptimizersConfig {
    deleted_threshold: Option<f64>,
    vacuum_min_vector_number: Option<u64>,
    default_segment_number: Option<u64>,
    max_segment_size: Option<u64>,
    memmap_threshold: Option<u64>,
    indexing_threshold: Option<u64>,
    flush_interval_sec: Option<u64>,
    max_optimization_threads: Option<Threads>,
}

/// A number, or `auto`.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "MaxOptimizationThreads")]
#[serde(untagged, expecting = "expected a number of threads or \"auto\"")]
enum Threads {
    Number(u64),
    Word(AutoWord),
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "MaxOptimizationThreadsSetting")]
#[serde(rename_all = "snake_case")]
enum AutoWord {
    Auto,
}

#[derive(Default, Deserialize, JsonSchema)]
#[schemars(rename = "WalConfigDiff")]
struct WalConfig {
    wal_capacity_mb: Option<u64>,
    wal_segments_ahead: Option<u64>,
    wal_retain_closed: Option<u64>,
}

/// The schema of one vector's parameters, or of a map of them.
struct VectorsShape;

schema!(VectorsShape, "VectorsConfig", schemas => {
    let params = schemas.subschema_for::<VectorBody>();
    any_of([params.clone(), map(nullable(params))])
});

impl CreateCollection {
    pub(super) fn convert(self, found: &mut Findings) -> Checked<CollectionConfig> {
        let root = At::Root;
        found.absent(&self.init_from, "init_from")?;
        let payload_memory = payload_memory(found, root.field("payload"), self.payload);
        let vectors = vectors_config(found, root.field("vectors"), self.vectors);
        let strict_mode = strict_mode(found, self.strict_mode_config);
        let at = root.field("quantization_config");
        let quantization = self.quantization_config.map(|given| given.convert(found, at)).transpose();
        let config = CollectionConfig {
            shard_number: self.shard_number.unwrap_or(1),
            replication_factor: self.replication_factor.unwrap_or(1),
            write_consistency_factor: self.write_consistency_factor.unwrap_or(1),
            read_fan_out_factor: None,
            on_disk_payload: self.on_disk_payload.unwrap_or(true),
            payload_memory: payload_memory?,
            id_tracker_memory: memory_of(self.id_tracker),
            hnsw: self.hnsw_config.unwrap_or_default().convert(),
            optimizers: self.optimizers_config.unwrap_or_default().convert(),
            wal: self.wal_config.unwrap_or_default().convert(),
            metadata: self.metadata.map(Payload),
            strict_mode: strict_mode?,
            quantization: quantization?,
            sparse_vectors: self
                .sparse_vectors
                .filter(|sparse| !sparse.is_empty())
                .map(|sparse| sparse.into_iter().map(|(name, params)| (name, params.convert())).collect()),
            sharding_method: self.sharding_method.map(|method| match method {
                ShardingMethod::Auto => collection::ShardingMethod::Auto,
                ShardingMethod::Custom => collection::ShardingMethod::Custom,
            }),
            ..CollectionConfig::new(vectors?)
        };
        checks::collection_config(found, &config)?;
        Ok(config)
    }
}

impl UpdateCollection {
    pub(super) fn convert(self, found: &mut Findings) -> Checked<CollectionConfigDiff> {
        let at = At::Root;
        let at = at.field("quantization_config");
        let quantization = self.quantization_config.map(|given| given.convert(found, at)).transpose()?;
        let vectors =
            checks::each(self.vectors.unwrap_or_default(), |_, (name, diff)| Ok((name, diff.convert(found)?)))?;
        let mut diff = CollectionConfigDiff {
            vectors: vectors.into_iter().collect(),
            sparse_vectors: self
                .sparse_vectors
                .into_iter()
                .flatten()
                .map(|(name, params)| (name, params.convert()))
                .collect(),
            hnsw: self.hnsw_config.unwrap_or_default().convert(),
            optimizers: self.optimizers_config.unwrap_or_default().convert(),
            metadata: self.metadata.map(Payload),
            strict_mode: strict_mode(found, self.strict_mode_config)?,
            quantization,
            ..CollectionConfigDiff::default()
        };
        if let Some(params) = self.params {
            let root = At::Root;
            let at = root.field("params");
            diff.payload_memory = payload_memory(found, at.field("payload"), params.payload)?;
            diff.id_tracker_memory = memory_of(params.id_tracker);
            diff.read_fan_out_delay_ms = params.read_fan_out_delay_ms;
            diff.replication_factor = params.replication_factor;
            diff.write_consistency_factor = params.write_consistency_factor;
            diff.read_fan_out_factor = params.read_fan_out_factor;
            diff.on_disk_payload = params.on_disk_payload;
        }
        checks::collection_config_diff(found, &diff)?;
        Ok(diff)
    }
}

fn memory_of(given: Option<PlacementBody>) -> Option<Memory> {
    given.and_then(|given| given.memory).map(Placement::convert)
}

/// Where payloads are kept; never pinned.
fn payload_memory(found: &mut Findings, at: At<'_>, given: Option<PlacementBody>) -> Checked<Option<Memory>> {
    match memory_of(given) {
        Some(Memory::Pinned) => found.invalid(at.field("memory"), "`pinned` is not supported for payload storage"),
        memory => Ok(memory),
    }
}

fn strict_mode(found: &mut Findings, given: Option<StrictMode>) -> Checked<Option<StrictModeConfig>> {
    given.map(|given| given.convert(found, At::Root.field("strict_mode_config"))).transpose()
}

/// One vector, if the object has a vector's own keys, else a map of them. Null members are absent.
fn vectors_config(found: &mut Findings, at: At<'_>, given: Option<Map<String, Value>>) -> Checked<VectorsConfig> {
    let given = given.unwrap_or_default();
    let is_own = |key: &str| given.get(key).is_some_and(|value| !value.is_object() && !value.is_null());
    if is_own("size") || is_own("distance") {
        let params = vector_params(found, at, Value::Object(given))?;
        return Ok(VectorsConfig { is_single: true, by_name: BTreeMap::from([(String::new(), params)]) });
    }
    let members = given.into_iter().filter(|(_, params)| !params.is_null());
    let members = checks::each(members, |_, (name, params)| Ok((name, vector_params(found, at.member(), params)?)))?;
    Ok(VectorsConfig { is_single: false, by_name: members.into_iter().collect() })
}

fn vector_params(found: &mut Findings, at: At<'_>, given: Value) -> Checked<VectorParams> {
    let body: VectorBody = match serde_json::from_value(given) {
        Ok(body) => body,
        Err(error) => return found.malformed(format_args!("{at}: {error}")),
    };
    let in_quantization = at.field("quantization_config");
    let quantization = body.quantization_config.map(|given| given.convert(found, in_quantization)).transpose()?;
    let memory = dense_memory(found, at.field("memory"), body.memory)?;
    Ok(VectorParams {
        hnsw: body.hnsw_config.map(HnswConfig::convert),
        on_disk: body.on_disk,
        datatype: body.datatype.map(Precision::convert),
        is_multi: body.multivector_config.is_some(),
        memory,
        quantization,
        ..VectorParams::new(body.size, body.distance.convert())
    })
}

impl CreateVector {
    /// The settings of the vector `name`.
    pub(super) fn convert(self, found: &mut Findings, name: &str) -> Checked<NewVector> {
        let root = At::Root;
        let (at, vector) = match (self.dense, self.sparse) {
            (Some(dense), None) => (root.field("dense"), NewVector::Dense(dense.convert())),
            (None, Some(sparse)) => (root.field("sparse"), NewVector::Sparse(sparse.convert())),
            _ => return found.malformed("expected either `dense` or `sparse`"),
        };
        checks::new_vector(found, root.field("vector_name"), at, name, &vector)?;
        Ok(vector)
    }
}

impl NewDense {
    fn convert(self) -> VectorParams {
        VectorParams {
            datatype: self.datatype.map(Precision::convert),
            is_multi: self.multivector_config.is_some(),
            ..VectorParams::new(self.size, self.distance.convert())
        }
    }
}

impl NewSparse {
    fn convert(self) -> SparseVectorParams {
        let datatype = self.datatype.map(Precision::convert);
        SparseVectorParams {
            modifier: self.modifier.map(QueryModifier::convert),
            index: datatype.map(|datatype| SparseIndexParams { datatype: Some(datatype), ..Default::default() }),
        }
    }
}

impl Distance {
    fn convert(self) -> Metric {
        match self {
            Distance::Cosine => Metric::Cosine,
            Distance::Dot => Metric::Dot,
            Distance::Euclid => Metric::Euclid,
            Distance::Manhattan => Metric::Manhattan,
        }
    }
}

impl QueryModifier {
    fn convert(self) -> Modifier {
        match self {
            QueryModifier::None => Modifier::None,
            QueryModifier::Idf => Modifier::Idf,
        }
    }
}

impl VectorDiff {
    fn convert(self, found: &mut Findings) -> Checked<VectorParamsDiff> {
        let root = At::Root;
        let at = root.field("vectors");
        let at = at.member();
        let in_quantization = at.field("quantization_config");
        let quantization = self.quantization_config.map(|given| given.convert(found, in_quantization)).transpose()?;
        let memory = dense_memory(found, at.field("memory"), self.memory)?;
        let hnsw = self.hnsw_config.unwrap_or_default().convert();
        Ok(VectorParamsDiff { hnsw, on_disk: self.on_disk, quantization, memory })
    }
}

/// Where dense vectors are kept; never pinned.
fn dense_memory(found: &mut Findings, at: At<'_>, given: Option<Placement>) -> Checked<Option<Memory>> {
    match given {
        Some(Placement::Pinned) => found.invalid(at, "`pinned` is not supported for dense vectors"),
        _ => Ok(given.map(Placement::convert)),
    }
}

impl SparseBody {
    fn convert(self) -> SparseVectorParams {
        let index = |index: SparseIndexBody| SparseIndexParams {
            full_scan_threshold: index.full_scan_threshold,
            on_disk: index.on_disk,
            datatype: index.datatype.map(Precision::convert),
            memory: index.memory.map(Placement::convert),
        };
        SparseVectorParams { modifier: self.modifier.map(QueryModifier::convert), index: self.index.map(index) }
    }
}

impl Precision {
    fn convert(self) -> Datatype {
        match self {
            Precision::Float32 => Datatype::Float32,
            Precision::Float16 => Datatype::Float16,
            Precision::Uint8 => Datatype::Uint8,
        }
    }
}

impl Placement {
    pub(super) fn convert(self) -> Memory {
        match self {
            Placement::Cold => Memory::Cold,
            Placement::Cached => Memory::Cached,
            Placement::Pinned => Memory::Pinned,
        }
    }
}

impl HnswConfig {
    fn convert(self) -> HnswConfigDiff {
        HnswConfigDiff {
            m: self.m,
            ef_construct: self.ef_construct,
            full_scan_threshold: self.full_scan_threshold,
            max_indexing_threads: self.max_indexing_threads,
            on_disk: self.on_disk,
            payload_m: self.payload_m,
            inline_storage: self.inline_storage,
            memory: self.memory.map(Placement::convert),
        }
    }
}

impl OptimizersConfig {
    fn convert(self) -> OptimizersConfigDiff {
        OptimizersConfigDiff {
            deleted_threshold: self.deleted_threshold,
            vacuum_min_vector_number: self.vacuum_min_vector_number,
            default_segment_number: self.default_segment_number,
            max_segment_size: self.max_segment_size,
            memmap_threshold: self.memmap_threshold,
            indexing_threshold: self.indexing_threshold,
            flush_interval_sec: self.flush_interval_sec,
            max_optimization_threads: self.max_optimization_threads.and_then(|threads| match threads {
                Threads::Number(count) => Some(count),
                Threads::Word(AutoWord::Auto) => None,
            }),
        }
    }
}

impl WalConfig {
    fn convert(self) -> WalConfigDiff {
        WalConfigDiff {
            wal_capacity_mb: self.wal_capacity_mb,
            wal_segments_ahead: self.wal_segments_ahead,
            wal_retain_closed: self.wal_retain_closed,
        }
    }
}

/// What `info` answers with.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct CollectionInfo(pub Value);

schema!(CollectionInfo, "CollectionInfo", schemas => object_with(
    [
        ("status", json_schema!({ "type": "string", "enum": ["green", "yellow", "red"] })),
        ("optimizer_status", any_of([
            json_schema!({ "type": "string", "enum": ["ok"] }),
            object_of([("error", schemas.subschema_for::<String>())]),
        ])),
        ("indexed_vectors_count", schemas.subschema_for::<u64>()),
        ("points_count", schemas.subschema_for::<u64>()),
        ("segments_count", schemas.subschema_for::<u64>()),
        ("config", schemas.subschema_for::<ConfigOut>()),
        ("payload_schema", map(schemas.subschema_for::<fields::FieldOut>())),
        ("update_queue", object_of([("length", schemas.subschema_for::<u64>())])),
    ],
    [
        ("warnings", list(object_of([("message", schemas.subschema_for::<String>())]))),
        ("created_at", json_schema!({ "type": "string", "format": "date-time" })),
    ],
));

/// A collection's settings as they are shown.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct ConfigOut(Value);

schema!(ConfigOut, "CollectionConfig", schemas => object_with(
    [
        ("params", schemas.subschema_for::<ParamsOut>()),
        ("hnsw_config", schemas.subschema_for::<HnswConfig>()),
        ("optimizer_config", schemas.subschema_for::<OptimizersConfig>()),
        ("wal_config", schemas.subschema_for::<WalConfig>()),
        ("quantization_config", nullable(schemas.subschema_for::<Quantization>())),
    ],
    [
        ("strict_mode_config", schemas.subschema_for::<StrictMode>()),
        ("metadata", map(json_schema!(true))),
    ],
));

/// The `params` of a collection's settings as they are shown.
#[derive(Serialize)]
#[serde(transparent)]
pub(super) struct ParamsOut(Value);

schema!(ParamsOut, "CollectionParams", schemas => object_with(
    [
        ("vectors", schemas.subschema_for::<VectorsShape>()),
        ("shard_number", schemas.subschema_for::<u32>()),
        ("replication_factor", schemas.subschema_for::<u32>()),
        ("write_consistency_factor", schemas.subschema_for::<u32>()),
        ("on_disk_payload", schemas.subschema_for::<bool>()),
    ],
    [
        ("sparse_vectors", map(schemas.subschema_for::<SparseBody>())),
        ("sharding_method", schemas.subschema_for::<ShardingMethod>()),
        ("read_fan_out_factor", schemas.subschema_for::<u32>()),
    ],
));

/// The settings of a collection.
pub(super) fn config_out(given: &CollectionConfig) -> ConfigOut {
    ConfigOut(config(given))
}

/// The `params` of a collection.
pub(super) fn params_out(given: &CollectionConfig) -> ParamsOut {
    ParamsOut(params(given))
}

/// A collection as `info` shows it: settings of a vector as they were given, those of the collection in full.
pub(super) fn info(report: &CollectionReport) -> Value {
    let (status, optimizer_status) = match report.status {
        CollectionStatus::Green => ("green", json!("ok")),
        CollectionStatus::Yellow => ("yellow", json!("ok")),
        CollectionStatus::Red => ("red", json!({ "error": "a shard failed" })),
    };
    let warnings: Vec<Value> = report.warnings.iter().map(|message| json!({ "message": message })).collect();
    object([
        ("status", some(status)),
        ("optimizer_status", some(optimizer_status)),
        ("warnings", (!warnings.is_empty()).then(|| json!(warnings))),
        ("indexed_vectors_count", some(report.indexed_vector_count)),
        ("points_count", some(report.point_count)),
        ("segments_count", some(report.shards.len())),
        ("config", some(config(&report.config))),
        ("payload_schema", some(payload_schema(report))),
        ("update_queue", some(json!({ "length": report.tail_vector_count }))),
        (
            "created_at",
            jiff::Timestamp::from_microsecond(report.created_at.0).ok().map(|at| Value::from(at.to_string())),
        ),
    ])
}

fn payload_schema(report: &CollectionReport) -> Map<String, Value> {
    report.fields.iter().map(|(path, field)| (path.to_string(), fields::info(field))).collect()
}

fn config(config: &CollectionConfig) -> Value {
    let hnsw = HnswConfigDiff {
        m: Some(defaults::HNSW_M),
        ef_construct: Some(defaults::HNSW_EF_CONSTRUCT),
        full_scan_threshold: Some(defaults::HNSW_FULL_SCAN_THRESHOLD_KB),
        max_indexing_threads: Some(defaults::HNSW_MAX_INDEXING_THREADS),
        ..HnswConfigDiff::default()
    };
    let (optimizers, wal) = (&config.optimizers, &config.wal);
    object([
        ("params", some(params(config))),
        ("hnsw_config", some(hnsw_config(&hnsw.merged(config.hnsw)))),
        (
            "optimizer_config",
            some(json!({
                "deleted_threshold": optimizers.deleted_threshold.unwrap_or(defaults::DELETED_THRESHOLD),
                "vacuum_min_vector_number":
                    optimizers.vacuum_min_vector_number.unwrap_or(defaults::VACUUM_MIN_VECTOR_NUMBER),
                "default_segment_number": optimizers.default_segment_number.unwrap_or(defaults::DEFAULT_SEGMENT_NUMBER),
                "max_segment_size": optimizers.max_segment_size,
                "memmap_threshold": optimizers.memmap_threshold,
                "indexing_threshold": optimizers.indexing_threshold.unwrap_or(defaults::INDEXING_THRESHOLD_KB),
                "flush_interval_sec": optimizers.flush_interval_sec.unwrap_or(defaults::FLUSH_INTERVAL_SEC),
                "max_optimization_threads": optimizers.max_optimization_threads,
            })),
        ),
        (
            "wal_config",
            some(json!({
                "wal_capacity_mb": wal.wal_capacity_mb.unwrap_or(defaults::WAL_CAPACITY_MB),
                "wal_segments_ahead": wal.wal_segments_ahead.unwrap_or(defaults::WAL_SEGMENTS_AHEAD),
                "wal_retain_closed": wal.wal_retain_closed.unwrap_or(defaults::WAL_RETAIN_CLOSED),
            })),
        ),
        ("quantization_config", some(config.quantization.as_ref().map(quantization_out))),
        (
            "strict_mode_config",
            config.strict_mode.as_ref().and_then(|strict| serde_json::to_value(StrictMode::from(strict)).ok()),
        ),
        ("metadata", config.metadata.as_ref().map(|metadata| Value::Object(metadata.0.clone()))),
    ])
}

/// The `params` of a collection's configuration.
fn params(config: &CollectionConfig) -> Value {
    let vectors = match config.vectors.by_name.get("") {
        Some(params) if config.vectors.is_single => vector_out(params),
        _ => config.vectors.by_name.iter().map(|(name, params)| (name.clone(), vector_out(params))).collect(),
    };
    object([
        ("vectors", some(vectors)),
        (
            "sparse_vectors",
            config
                .sparse_vectors
                .as_ref()
                .map(|sparse| sparse.iter().map(|(name, params)| (name.clone(), sparse_out(params))).collect()),
        ),
        ("shard_number", some(config.shard_number)),
        (
            "sharding_method",
            config.sharding_method.map(|method| match method {
                collection::ShardingMethod::Auto => Value::from("auto"),
                collection::ShardingMethod::Custom => Value::from("custom"),
            }),
        ),
        ("replication_factor", some(config.replication_factor)),
        ("write_consistency_factor", some(config.write_consistency_factor)),
        ("read_fan_out_factor", config.read_fan_out_factor.map(Value::from)),
        ("read_fan_out_delay_ms", config.read_fan_out_delay_ms.map(Value::from)),
        ("on_disk_payload", some(config.on_disk_payload)),
        ("payload", config.payload_memory.map(|memory| json!({ "memory": memory_out(memory) }))),
        ("id_tracker", config.id_tracker_memory.map(|memory| json!({ "memory": memory_out(memory) }))),
    ])
}

fn vector_out(params: &VectorParams) -> Value {
    let distance = match params.metric {
        Metric::Cosine => "Cosine",
        Metric::Dot => "Dot",
        Metric::Euclid => "Euclid",
        Metric::Manhattan => "Manhattan",
    };
    object([
        ("size", some(params.dim)),
        ("distance", some(distance)),
        ("hnsw_config", params.hnsw.as_ref().map(hnsw_config)),
        ("on_disk", params.on_disk.map(Value::from)),
        ("datatype", params.datatype.map(datatype_out)),
        ("memory", params.memory.map(memory_out)),
        ("quantization_config", params.quantization.as_ref().map(quantization_out)),
        ("multivector_config", params.is_multi.then(|| json!({ "comparator": "max_sim" }))),
    ])
}

fn sparse_out(params: &SparseVectorParams) -> Value {
    let modifier = |modifier| match modifier {
        Modifier::None => Value::from("none"),
        Modifier::Idf => Value::from("idf"),
    };
    let index = |index: SparseIndexParams| {
        object([
            ("full_scan_threshold", index.full_scan_threshold.map(Value::from)),
            ("on_disk", index.on_disk.map(Value::from)),
            ("datatype", index.datatype.map(datatype_out)),
            ("memory", index.memory.map(memory_out)),
        ])
    };
    object([("index", params.index.map(index)), ("modifier", params.modifier.map(modifier))])
}

fn datatype_out(datatype: Datatype) -> Value {
    Value::from(match datatype {
        Datatype::Float32 => "float32",
        Datatype::Float16 => "float16",
        Datatype::Uint8 => "uint8",
    })
}

pub(super) fn memory_out(memory: Memory) -> Value {
    Value::from(match memory {
        Memory::Cold => "cold",
        Memory::Cached => "cached",
        Memory::Pinned => "pinned",
    })
}

fn hnsw_config(diff: &HnswConfigDiff) -> Value {
    object([
        ("m", diff.m.map(Value::from)),
        ("ef_construct", diff.ef_construct.map(Value::from)),
        ("full_scan_threshold", diff.full_scan_threshold.map(Value::from)),
        ("max_indexing_threads", diff.max_indexing_threads.map(Value::from)),
        ("on_disk", diff.on_disk.map(Value::from)),
        ("payload_m", diff.payload_m.map(Value::from)),
        ("inline_storage", diff.inline_storage.map(Value::from)),
        ("memory", diff.memory.map(memory_out)),
    ])
}

/// An object of the members that are there.
pub(super) fn object<const N: usize>(members: [(&str, Option<Value>); N]) -> Value {
    members.into_iter().filter_map(|(name, value)| Some((name.to_owned(), value?))).collect()
}

pub(super) fn some(value: impl Into<Value>) -> Option<Value> {
    Some(value.into())
}

#[cfg(test)]
#[path = "config_tests.rs"]
mod tests;
