//! A collection's configuration, as the `meta` group keeps it and as `info` echoes it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use half::f16;
use serde::{Deserialize, Serialize};

use super::field_index::{FieldIndexKind, FieldIndexSchema, TextParams};
use super::payload::{Path, Payload};
use super::vector::{Incarnation, Metric, VectorName, stored_name};

/// A collection's checked name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CollectionName(String);

/// The name has a wrong length or a forbidden character.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NameError {
    /// Not 1 to 255 characters long.
    #[error("a name has 1 to {max} characters, this one has {length}")]
    Length { length: usize, max: usize },
    /// Holds one of `< > : " / \ | ? *`, NUL or 0x1F.
    #[error("a name may not contain {0:?}")]
    Character(char),
}

const NAME_CHARS_MAX: usize = 255;
const NAME_CHARS_FORBIDDEN: [char; 11] = ['<', '>', ':', '"', '/', '\\', '|', '?', '*', '\0', '\u{1F}'];

impl CollectionName {
    /// Checks length and characters.
    pub fn new(name: &str) -> Result<CollectionName, NameError> {
        let length = name.chars().count();
        if length == 0 || length > NAME_CHARS_MAX {
            return Err(NameError::Length { length, max: NAME_CHARS_MAX });
        }
        match name.chars().find(|c| NAME_CHARS_FORBIDDEN.contains(c)) {
            Some(c) => Err(NameError::Character(c)),
            None => Ok(CollectionName(name.to_owned())),
        }
    }

    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The name of a collection that is still being filled from a snapshot: no caller's name can be one, and it is never
    /// listed.
    pub fn restoring(token: &str) -> CollectionName {
        CollectionName(format!("{RESTORING}{token}"))
    }

    /// Whether `name` is one of [`CollectionName::restoring`] whose token begins so.
    pub fn is_restoring_by(name: &str, token_start: &str) -> bool {
        name.strip_prefix(RESTORING).is_some_and(|token| token.starts_with(token_start))
    }

    /// Whether `name` is one of [`CollectionName::restoring`].
    pub fn is_restoring(name: &str) -> bool {
        name.starts_with(RESTORING)
    }
}

/// NUL is forbidden in names.
const RESTORING: &str = "\0restoring-";

impl fmt::Display for CollectionName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Smallest and largest dimension of a dense vector.
pub const DIM_MIN: u64 = 1;
/// See [`DIM_MIN`].
pub const DIM_MAX: u64 = 65_536;
/// Neighbors per level above 0. Twice this many 4-byte links are kept per vector.
pub const HNSW_M_MAX: u64 = 512;
/// Beam width while building.
pub const HNSW_EF_CONSTRUCT_MAX: u64 = 65_536;

/// Graph settings that were given; absent ones fall back to the collection's, then to the defaults.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HnswConfigDiff {
    /// Neighbors kept per level above 0 (the paper's M); 0 switches the graph off.
    pub m: Option<u64>,
    /// Beam width while building.
    pub ef_construct: Option<u64>,
    /// Echoed. Kilobytes of vectors under which the peer scans; our planner measures instead.
    pub full_scan_threshold: Option<u64>,
    /// Threads that build; 0 means all cores.
    pub max_indexing_threads: Option<u64>,
    /// Echoed; the graph lives in memory in this version.
    pub on_disk: Option<bool>,
    /// Echoed; per-tenant graphs come with the query-language issue.
    pub payload_m: Option<u64>,
    /// Echoed.
    pub inline_storage: Option<bool>,
    /// Echoed, as `on_disk` is.
    pub memory: Option<Memory>,
}

/// Optimizer settings that were given. Only `indexing_threshold` has a meaning here; the rest is echoed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct OptimizersConfigDiff {
    pub deleted_threshold: Option<f64>,
    pub vacuum_min_vector_number: Option<u64>,
    pub default_segment_number: Option<u64>,
    pub max_segment_size: Option<u64>,
    pub memmap_threshold: Option<u64>,
    /// The status is green while no more than this many kilobytes of vectors wait for the graph.
    pub indexing_threshold: Option<u64>,
    pub flush_interval_sec: Option<u64>,
    pub max_optimization_threads: Option<u64>,
}

/// Write-ahead log settings that were given; echoed (the Raft log is the write-ahead log).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct WalConfigDiff {
    pub wal_capacity_mb: Option<u64>,
    pub wal_segments_ahead: Option<u64>,
    pub wal_retain_closed: Option<u64>,
}

/// One dense or multi vector of a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorParams {
    /// [`DIM_MIN`] to [`DIM_MAX`].
    pub dim: u64,
    pub metric: Metric,
    pub hnsw: Option<HnswConfigDiff>,
    /// Vectors are in files that are mapped, of which memory holds what is in use.
    pub on_disk: Option<bool>,
    /// The precision values are stored in. Absent: float32.
    pub datatype: Option<Datatype>,
    /// Each point has rows of `dim` numbers, compared by max_sim.
    pub is_multi: bool,
    /// The codes walks compare. Absent: the collection's.
    pub quantization: Option<QuantizationConfig>,
    /// Decides before `on_disk`.
    pub memory: Option<Memory>,
}

/// The precision the values of a vector are stored in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Datatype {
    #[default]
    Float32,
    Float16,
    /// 0 to 255; other values are cut off and rounded toward zero.
    Uint8,
}

impl Datatype {
    /// The number that is stored for `value`.
    pub fn rounded(self, value: f32) -> f32 {
        match self {
            Datatype::Float32 => value,
            Datatype::Float16 => f16::from_f32(value).to_f32(),
            // The cast rounds toward zero and stops at the ends.
            Datatype::Uint8 => f32::from(value as u8),
        }
    }
}

/// Where data are kept. What is not pinned is in files, and in memory as far as it is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Memory {
    Cold,
    Cached,
    Pinned,
}

/// Codes a vector is searched with, as the protocol names them. There are codes of 8, 4 and 1 bits per number; what asks for
/// others gets the next longer ones.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum QuantizationConfig {
    Scalar {
        quantile: Option<f64>,
        always_ram: Option<bool>,
        memory: Option<Memory>,
    },
    Product {
        compression: CompressionRatio,
        always_ram: Option<bool>,
        memory: Option<Memory>,
    },
    Binary {
        always_ram: Option<bool>,
        encoding: Option<BinaryEncoding>,
        query_encoding: Option<BinaryQueryEncoding>,
        memory: Option<Memory>,
    },
    Turbo {
        always_ram: Option<bool>,
        bits: Option<TurboBits>,
        memory: Option<Memory>,
    },
}

/// How many times smaller than the vector its product code is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CompressionRatio {
    X4,
    X8,
    X16,
    X32,
    X64,
}

/// Bits per number of a binary code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BinaryEncoding {
    OneBit,
    TwoBits,
    OneAndHalfBits,
}

/// What a query becomes before it is compared with binary codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum BinaryQueryEncoding {
    Default,
    Binary,
    Scalar4Bits,
    Scalar8Bits,
}

/// Bits per number of a turbo code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TurboBits {
    Bits1,
    Bits1_5,
    Bits2,
    Bits4,
    Bits8,
}

/// A change of the codes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum QuantizationChange {
    /// None any more.
    Disabled,
    /// These, in place of the old ones.
    Set(QuantizationConfig),
}

impl QuantizationConfig {
    /// Bits per number of the codes that serve it.
    pub fn bits(&self) -> u32 {
        match self {
            QuantizationConfig::Scalar { .. } => 8,
            QuantizationConfig::Product { compression, .. } => match compression {
                CompressionRatio::X4 => 8,
                CompressionRatio::X8 | CompressionRatio::X16 => 4,
                CompressionRatio::X32 | CompressionRatio::X64 => 1,
            },
            QuantizationConfig::Binary { encoding, .. } => match encoding {
                None | Some(BinaryEncoding::OneBit) => 1,
                Some(BinaryEncoding::TwoBits | BinaryEncoding::OneAndHalfBits) => 4,
            },
            QuantizationConfig::Turbo { bits, .. } => match bits {
                Some(TurboBits::Bits8) => 8,
                None | Some(TurboBits::Bits4 | TurboBits::Bits2 | TurboBits::Bits1_5) => 4,
                Some(TurboBits::Bits1) => 1,
            },
        }
    }

    /// Whether codes may leave memory where vectors are on disk.
    pub fn is_on_disk(&self) -> bool {
        let (QuantizationConfig::Scalar { always_ram, memory, .. }
        | QuantizationConfig::Product { always_ram, memory, .. }
        | QuantizationConfig::Binary { always_ram, memory, .. }
        | QuantizationConfig::Turbo { always_ram, memory, .. }) = self;
        memory.map_or(*always_ram == Some(false), |memory| memory != Memory::Pinned)
    }
}

impl QuantizationChange {
    /// What is in force after it.
    fn applied(&self) -> Option<QuantizationConfig> {
        match self {
            QuantizationChange::Disabled => None,
            QuantizationChange::Set(config) => Some(config.clone()),
        }
    }
}

/// One sparse vector of a collection.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SparseVectorParams {
    /// Absent: none.
    pub modifier: Option<Modifier>,
    /// Echoed.
    pub index: Option<SparseIndexParams>,
}

impl SparseVectorParams {
    /// The precision its index keeps weights in, if one was given.
    pub fn datatype(&self) -> Option<Datatype> {
        self.index.and_then(|index| index.datatype)
    }
}

/// A vector to be added to a collection.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum NewVector {
    /// One vector, or rows, per point.
    Dense(VectorParams),
    Sparse(SparseVectorParams),
}

/// Why a vector cannot be added: there is another one of its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VectorClash {
    /// A dense one with another space.
    OtherDense,
    /// A sparse one with another space.
    OtherSparse,
    /// A dense vector is, where a sparse one is to be.
    IsDense,
    /// A sparse vector is, where a dense one is to be.
    IsSparse,
}

/// What query weights of a sparse vector are multiplied with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Modifier {
    None,
    /// PROTOCOL section 13.2.
    Idf,
}

/// Echoed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct SparseIndexParams {
    pub full_scan_threshold: Option<u64>,
    pub on_disk: Option<bool>,
    pub datatype: Option<Datatype>,
    pub memory: Option<Memory>,
}

impl SparseIndexParams {
    /// `self` with the fields `newer` gives replaced.
    pub fn merged(self, newer: SparseIndexParams) -> SparseIndexParams {
        SparseIndexParams {
            full_scan_threshold: newer.full_scan_threshold.or(self.full_scan_threshold),
            on_disk: newer.on_disk.or(self.on_disk),
            datatype: newer.datatype.or(self.datatype),
            memory: newer.memory.or(self.memory),
        }
    }
}

/// How a collection's points are spread over its shards.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum ShardingMethod {
    Auto,
    /// By the shard key each write names.
    Custom,
}

/// Names a set of shards of a collection with custom sharding.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum ShardKey {
    Number(u64),
    Keyword(String),
}

impl fmt::Display for ShardKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ShardKey::Number(number) => write!(f, "{number}"),
            ShardKey::Keyword(text) => write!(f, "\"{text}\""),
        }
    }
}

/// The shards of a collection with custom sharding that a request is meant for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ShardKeySelector {
    /// Those of these keys; at least one.
    Keys(Vec<ShardKey>),
    /// Those of `target`, or as long as there is no such key those of `fallback`.
    WithFallback { target: ShardKey, fallback: ShardKey },
}

/// Limits that a collection enforces (PROTOCOL section 21). `None`: not set.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StrictModeConfig {
    /// Nothing else has an effect unless this is true.
    pub enabled: Option<bool>,
    pub max_query_limit: Option<u64>,
    /// Seconds.
    pub max_timeout: Option<u64>,
    pub unindexed_filtering_retrieve: Option<bool>,
    pub unindexed_filtering_update: Option<bool>,
    pub search_max_hnsw_ef: Option<u64>,
    pub search_allow_exact: Option<bool>,
    pub search_max_oversampling: Option<f64>,
    pub upsert_max_batchsize: Option<u64>,
    pub search_max_batchsize: Option<u64>,
    pub max_collection_vector_size_bytes: Option<u64>,
    pub max_collection_payload_size_bytes: Option<u64>,
    /// Operations per minute.
    pub read_rate_limit: Option<u64>,
    /// Operations per minute.
    pub write_rate_limit: Option<u64>,
    pub max_points_count: Option<u64>,
    pub filter_max_conditions: Option<u64>,
    pub condition_max_size: Option<u64>,
    pub max_payload_index_count: Option<u64>,
    /// Rows per multi vector, by vector name.
    pub multivector_max_vectors: Option<BTreeMap<VectorName, Option<u64>>>,
    /// Entries per sparse vector, by vector name.
    pub sparse_max_length: Option<BTreeMap<VectorName, Option<u64>>>,
}

/// The dense vectors of a collection, and in which of the protocol's two forms they were declared.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VectorsConfig {
    /// Declared as one bare object: echoed so.
    pub is_single: bool,
    pub by_name: BTreeMap<VectorName, VectorParams>,
}

/// Settings a collection was created with. `None` means not given.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectionConfig {
    pub vectors: VectorsConfig,
    /// At least 1.
    pub shard_number: u32,
    /// At least 1.
    pub replication_factor: u32,
    /// At least 1. Echoed: every write is acknowledged by a majority of its shard's voters, whatever this says.
    pub write_consistency_factor: u32,
    pub read_fan_out_factor: Option<u32>,
    /// Echoed.
    pub read_fan_out_delay_ms: Option<u64>,
    pub on_disk_payload: bool,
    /// Echoed; never pinned.
    pub payload_memory: Option<Memory>,
    /// Echoed.
    pub id_tracker_memory: Option<Memory>,
    pub hnsw: HnswConfigDiff,
    pub optimizers: OptimizersConfigDiff,
    pub wal: WalConfigDiff,
    pub metadata: Option<Payload>,
    /// No name is in `vectors`, none is empty. `None`: not given.
    pub sparse_vectors: Option<BTreeMap<VectorName, SparseVectorParams>>,
    /// Echoed.
    pub quantization: Option<QuantizationConfig>,
    pub strict_mode: Option<StrictModeConfig>,
    pub sharding_method: Option<ShardingMethod>,
    pub field_indexes: BTreeMap<Path, FieldIndexSchema>,
    /// How many vectors of each name have been dropped; names of which none was are absent.
    pub dropped_vectors: BTreeMap<VectorName, Incarnation>,
}

/// A change of a collection's settings; `None` leaves a setting as it is.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CollectionConfigDiff {
    /// Changes per dense vector, by name.
    pub vectors: BTreeMap<VectorName, VectorParamsDiff>,
    /// Changes per sparse vector, by name: what is given replaces what was, in `index` setting by setting.
    pub sparse_vectors: BTreeMap<VectorName, SparseVectorParams>,
    pub hnsw: HnswConfigDiff,
    pub optimizers: OptimizersConfigDiff,
    pub replication_factor: Option<u32>,
    pub write_consistency_factor: Option<u32>,
    pub read_fan_out_factor: Option<u32>,
    pub read_fan_out_delay_ms: Option<u64>,
    pub on_disk_payload: Option<bool>,
    pub payload_memory: Option<Memory>,
    pub id_tracker_memory: Option<Memory>,
    /// Merged key by key; null removes a key.
    pub metadata: Option<Payload>,
    /// Merged setting by setting; none can be unset.
    pub strict_mode: Option<StrictModeConfig>,
    pub quantization: Option<QuantizationChange>,
}

/// A change of one vector's settings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct VectorParamsDiff {
    pub hnsw: HnswConfigDiff,
    pub on_disk: Option<bool>,
    pub quantization: Option<QuantizationChange>,
    pub memory: Option<Memory>,
}

/// The graph settings in force for a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HnswParams {
    /// The paper's M; level 0 keeps 2 M. 0 switches the graph off.
    pub m: usize,
    pub ef_construction: usize,
}

/// Defaults the protocol echoes (CLIENTS: defaults).
pub mod defaults {
    pub const HNSW_M: u64 = 16;
    pub const HNSW_EF_CONSTRUCT: u64 = 100;
    pub const HNSW_FULL_SCAN_THRESHOLD_KB: u64 = 10_000;
    pub const HNSW_MAX_INDEXING_THREADS: u64 = 0;
    pub const DELETED_THRESHOLD: f64 = 0.2;
    pub const VACUUM_MIN_VECTOR_NUMBER: u64 = 1_000;
    pub const DEFAULT_SEGMENT_NUMBER: u64 = 0;
    pub const INDEXING_THRESHOLD_KB: u64 = 10_000;
    pub const FLUSH_INTERVAL_SEC: u64 = 5;
    pub const WAL_CAPACITY_MB: u64 = 32;
    pub const WAL_SEGMENTS_AHEAD: u64 = 0;
    pub const WAL_RETAIN_CLOSED: u64 = 1;
}

impl HnswConfigDiff {
    /// `self` with the fields `newer` gives replaced.
    pub fn merged(self, newer: HnswConfigDiff) -> HnswConfigDiff {
        HnswConfigDiff {
            m: newer.m.or(self.m),
            ef_construct: newer.ef_construct.or(self.ef_construct),
            full_scan_threshold: newer.full_scan_threshold.or(self.full_scan_threshold),
            max_indexing_threads: newer.max_indexing_threads.or(self.max_indexing_threads),
            on_disk: newer.on_disk.or(self.on_disk),
            payload_m: newer.payload_m.or(self.payload_m),
            inline_storage: newer.inline_storage.or(self.inline_storage),
            memory: newer.memory.or(self.memory),
        }
    }
}

impl OptimizersConfigDiff {
    /// `self` with the fields `newer` gives replaced.
    pub fn merged(self, newer: OptimizersConfigDiff) -> OptimizersConfigDiff {
        OptimizersConfigDiff {
            deleted_threshold: newer.deleted_threshold.or(self.deleted_threshold),
            vacuum_min_vector_number: newer.vacuum_min_vector_number.or(self.vacuum_min_vector_number),
            default_segment_number: newer.default_segment_number.or(self.default_segment_number),
            max_segment_size: newer.max_segment_size.or(self.max_segment_size),
            memmap_threshold: newer.memmap_threshold.or(self.memmap_threshold),
            indexing_threshold: newer.indexing_threshold.or(self.indexing_threshold),
            flush_interval_sec: newer.flush_interval_sec.or(self.flush_interval_sec),
            max_optimization_threads: newer.max_optimization_threads.or(self.max_optimization_threads),
        }
    }
}

impl StrictModeConfig {
    /// `self` with the settings `newer` gives replaced; limits by vector name are replaced name by name.
    pub fn merged(self, newer: StrictModeConfig) -> StrictModeConfig {
        StrictModeConfig {
            enabled: newer.enabled.or(self.enabled),
            max_query_limit: newer.max_query_limit.or(self.max_query_limit),
            max_timeout: newer.max_timeout.or(self.max_timeout),
            unindexed_filtering_retrieve: newer.unindexed_filtering_retrieve.or(self.unindexed_filtering_retrieve),
            unindexed_filtering_update: newer.unindexed_filtering_update.or(self.unindexed_filtering_update),
            search_max_hnsw_ef: newer.search_max_hnsw_ef.or(self.search_max_hnsw_ef),
            search_allow_exact: newer.search_allow_exact.or(self.search_allow_exact),
            search_max_oversampling: newer.search_max_oversampling.or(self.search_max_oversampling),
            upsert_max_batchsize: newer.upsert_max_batchsize.or(self.upsert_max_batchsize),
            search_max_batchsize: newer.search_max_batchsize.or(self.search_max_batchsize),
            max_collection_vector_size_bytes: newer
                .max_collection_vector_size_bytes
                .or(self.max_collection_vector_size_bytes),
            max_collection_payload_size_bytes: newer
                .max_collection_payload_size_bytes
                .or(self.max_collection_payload_size_bytes),
            read_rate_limit: newer.read_rate_limit.or(self.read_rate_limit),
            write_rate_limit: newer.write_rate_limit.or(self.write_rate_limit),
            max_points_count: newer.max_points_count.or(self.max_points_count),
            filter_max_conditions: newer.filter_max_conditions.or(self.filter_max_conditions),
            condition_max_size: newer.condition_max_size.or(self.condition_max_size),
            max_payload_index_count: newer.max_payload_index_count.or(self.max_payload_index_count),
            multivector_max_vectors: merged_by_name(self.multivector_max_vectors, newer.multivector_max_vectors),
            sparse_max_length: merged_by_name(self.sparse_max_length, newer.sparse_max_length),
        }
    }
}

/// Limits by vector name.
type LimitsByName = Option<BTreeMap<VectorName, Option<u64>>>;

fn merged_by_name(older: LimitsByName, newer: LimitsByName) -> LimitsByName {
    let Some(newer) = newer else { return older };
    let mut merged = older.unwrap_or_default();
    for (name, limit) in newer {
        let kept = merged.entry(name).or_default();
        *kept = limit.or(*kept);
    }
    Some(merged)
}

impl VectorParams {
    /// Vectors are stored with the length they came with, though their metric compares directions: bytes scaled to
    /// length 1 would all be 0.
    pub fn keeps_length(&self) -> bool {
        self.metric == Metric::Cosine && self.datatype == Some(Datatype::Uint8)
    }

    /// Whether vectors are in files.
    pub fn is_on_disk(&self) -> bool {
        self.memory.map_or(self.on_disk == Some(true), |memory| memory != Memory::Pinned)
    }

    /// Nothing but the size and the metric is given.
    pub fn new(dim: u64, metric: Metric) -> VectorParams {
        VectorParams {
            dim,
            metric,
            hnsw: None,
            on_disk: None,
            datatype: None,
            is_multi: false,
            quantization: None,
            memory: None,
        }
    }
}

impl CollectionConfig {
    /// Whether points of one collection are points of the other: the same vectors, each of the same kind.
    pub fn has_same_vectors(&self, other: &CollectionConfig) -> bool {
        let kind = |of: &VectorParams| (of.dim, of.metric, of.datatype.unwrap_or(Datatype::Float32), of.is_multi);
        let dense = self.vectors.by_name.iter().map(|(name, of)| (name, kind(of)));
        let sparse = self.sparse_vectors.iter().flat_map(BTreeMap::keys);
        dense.eq(other.vectors.by_name.iter().map(|(name, of)| (name, kind(of))))
            && sparse.eq(other.sparse_vectors.iter().flat_map(BTreeMap::keys))
    }

    /// Nothing but the vectors is given.
    pub fn new(vectors: VectorsConfig) -> CollectionConfig {
        CollectionConfig {
            vectors,
            shard_number: 1,
            replication_factor: 1,
            write_consistency_factor: 1,
            read_fan_out_factor: None,
            read_fan_out_delay_ms: None,
            on_disk_payload: true,
            payload_memory: None,
            id_tracker_memory: None,
            hnsw: HnswConfigDiff::default(),
            optimizers: OptimizersConfigDiff::default(),
            wal: WalConfigDiff::default(),
            metadata: None,
            sparse_vectors: None,
            quantization: None,
            strict_mode: None,
            sharding_method: None,
            field_indexes: BTreeMap::new(),
            dropped_vectors: BTreeMap::new(),
        }
    }

    /// The sparse vector of this name.
    pub fn sparse_vector(&self, name: &str) -> Option<&SparseVectorParams> {
        self.sparse_vectors.as_ref()?.get(name)
    }

    /// Whether there is a vector of this name, of whatever kind.
    pub fn has_vector(&self, name: &str) -> bool {
        self.vectors.by_name.contains_key(name) || self.sparse_vector(name).is_some()
    }

    /// What the vector of this name, which is there, goes by in the shards' logs and in `kvdb`.
    pub fn stored_name(&self, name: &str) -> VectorName {
        stored_name(name, self.dropped_vectors.get(name).copied().unwrap_or(0))
    }

    /// The fields with a text index and how each is tokenised, ascending by path.
    pub fn text_indexes(&self) -> Vec<(Path, TextParams)> {
        let text = |(path, schema): (&Path, &FieldIndexSchema)| match &schema.kind {
            FieldIndexKind::Text(params) => Some((path.clone(), params.clone())),
            _ => None,
        };
        self.field_indexes.iter().filter_map(text).collect()
    }

    /// [`CollectionConfig::stored_name`] of every vector, of whatever kind.
    pub fn stored_names(&self) -> BTreeSet<VectorName> {
        let sparse = self.sparse_vectors.iter().flat_map(|sparse| sparse.keys());
        self.vectors.by_name.keys().chain(sparse).map(|name| self.stored_name(name)).collect()
    }

    /// Adds a vector that no point has yet. One that is there already and has the same space is left as it is, with
    /// whatever settings it has by now.
    pub fn add_vector(&mut self, name: &str, new: NewVector) -> Result<(), VectorClash> {
        match new {
            NewVector::Dense(params) => {
                if let Some(old) = self.vectors.by_name.get(name) {
                    let is_same = (old.dim, old.metric, old.is_multi, old.datatype)
                        == (params.dim, params.metric, params.is_multi, params.datatype);
                    return if is_same { Ok(()) } else { Err(VectorClash::OtherDense) };
                }
                if self.sparse_vector(name).is_some() {
                    return Err(VectorClash::IsSparse);
                }
                // One bare object has room for one vector.
                self.vectors.is_single = false;
                self.vectors.by_name.insert(name.to_owned(), params);
            }
            NewVector::Sparse(params) => {
                if let Some(old) = self.sparse_vector(name) {
                    let is_same = (old.modifier, old.datatype()) == (params.modifier, params.datatype());
                    return if is_same { Ok(()) } else { Err(VectorClash::OtherSparse) };
                }
                if self.vectors.by_name.contains_key(name) {
                    return Err(VectorClash::IsDense);
                }
                self.sparse_vectors.get_or_insert_default().insert(name.to_owned(), params);
            }
        }
        Ok(())
    }

    /// Removes a vector; false: there was none of this name.
    pub fn drop_vector(&mut self, name: &str) -> bool {
        let was_dense = self.vectors.by_name.remove(name).is_some();
        let was_sparse = self.sparse_vectors.as_mut().is_some_and(|sparse| sparse.remove(name).is_some());
        if self.sparse_vectors.as_ref().is_some_and(BTreeMap::is_empty) {
            self.sparse_vectors = None;
        }
        let existed = was_dense || was_sparse;
        if existed {
            *self.dropped_vectors.entry(name.to_owned()).or_default() += 1;
        }
        existed
    }

    /// The graph settings in force for `params`: its own, then the collection's, then the defaults.
    pub fn hnsw_params(&self, params: &VectorParams) -> HnswParams {
        let diff = self.hnsw.merged(params.hnsw.unwrap_or_default());
        HnswParams {
            m: diff.m.unwrap_or(defaults::HNSW_M) as usize,
            ef_construction: diff.ef_construct.unwrap_or(defaults::HNSW_EF_CONSTRUCT) as usize,
        }
    }

    /// The codes asked for for `params`: its own, else the collection's.
    pub fn quantization_of<'a>(&'a self, params: &'a VectorParams) -> Option<&'a QuantizationConfig> {
        params.quantization.as_ref().or(self.quantization.as_ref())
    }

    /// The limits in force: `None` unless strict mode is enabled.
    pub fn strict_limits(&self) -> Option<&StrictModeConfig> {
        self.strict_mode.as_ref().filter(|strict| strict.enabled == Some(true))
    }

    /// Applies `diff`. The vectors it names must exist (the caller has checked); others are ignored.
    pub fn apply(&mut self, diff: &CollectionConfigDiff) {
        for (name, change) in &diff.vectors {
            if let Some(params) = self.vectors.by_name.get_mut(name) {
                if change.hnsw != HnswConfigDiff::default() {
                    params.hnsw = Some(params.hnsw.unwrap_or_default().merged(change.hnsw));
                }
                params.on_disk = change.on_disk.or(params.on_disk);
                params.memory = change.memory.or(params.memory);
                if let Some(change) = &change.quantization {
                    params.quantization = change.applied();
                }
            }
        }
        for (name, newer) in &diff.sparse_vectors {
            if let Some(params) = self.sparse_vectors.as_mut().and_then(|sparse| sparse.get_mut(name)) {
                params.modifier = newer.modifier.or(params.modifier);
                params.index = match (params.index, newer.index) {
                    (Some(older), Some(newer)) => Some(older.merged(newer)),
                    (older, newer) => newer.or(older),
                };
            }
        }
        self.hnsw = self.hnsw.merged(diff.hnsw);
        self.optimizers = self.optimizers.merged(diff.optimizers);
        if let Some(change) = &diff.quantization {
            self.quantization = change.applied();
        }
        self.replication_factor = diff.replication_factor.unwrap_or(self.replication_factor);
        self.write_consistency_factor = diff.write_consistency_factor.unwrap_or(self.write_consistency_factor);
        self.read_fan_out_factor = diff.read_fan_out_factor.or(self.read_fan_out_factor);
        self.read_fan_out_delay_ms = diff.read_fan_out_delay_ms.or(self.read_fan_out_delay_ms);
        self.on_disk_payload = diff.on_disk_payload.unwrap_or(self.on_disk_payload);
        self.payload_memory = diff.payload_memory.or(self.payload_memory);
        self.id_tracker_memory = diff.id_tracker_memory.or(self.id_tracker_memory);
        if let Some(changes) = &diff.metadata {
            let mut metadata = self.metadata.take().unwrap_or_default();
            metadata.merge(changes);
            self.metadata = Some(metadata);
        }
        if let Some(newer) = &diff.strict_mode {
            self.strict_mode = Some(self.strict_mode.take().unwrap_or_default().merged(newer.clone()));
        }
    }
}

/// A change of aliases; a list of them is applied in order, all or nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum AliasAction {
    /// Points an alias, new or existing, to a collection.
    Create {
        alias: String,
        collection: String,
    },
    Delete {
        alias: String,
    },
    Rename {
        from: String,
        to: String,
    },
}
