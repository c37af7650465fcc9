//! The checks both transports make while they turn a request into the model (PROTOCOL sections 2, 6, 7, 10, 18).
//!
//! A conversion goes through the whole request and notes what it finds in [`Findings`]; [`Findings::finish`] then
//! answers with one error: all failed fields together (422), else the first refusal (400, 501). Functions here return
//! [`Checked`]: `Err(Noted)` means that the reason has been noted.
//!
//! It deliberately does not check what needs the collection: vector names, dimensions and finite numbers are the
//! service's.

use std::collections::HashSet;
use std::fmt;
use std::time::{Duration, Instant};

use super::inference::Models;
use super::status::{ApiError, Failure};
use crate::model::collection::{
    CollectionConfig, CollectionConfigDiff, CollectionName, DIM_MAX, DIM_MIN, HnswConfigDiff, NameError, NewVector,
    OptimizersConfigDiff, StrictModeConfig, VectorParams, WalConfigDiff,
};
use crate::model::collection::{HNSW_EF_CONSTRUCT_MAX, HNSW_M_MAX};
use crate::model::datetime::Timestamp;
use crate::model::filter::{FieldCondition, MinShould, Predicate};
use crate::model::geo::{GeoError, GeoPoint, GeoPolygon, GeoRadius};
use crate::model::{Condition, MultiVector, NamedVectors, Path, Payload, SparseVector, Vector};

/// Filters nest at most this deep; evaluation recurses once per level.
pub const FILTER_DEPTH_MAX: usize = 32;
/// Prefetches inside each other (PROTOCOL section 10.2).
pub const PREFETCH_DEPTH_MAX: usize = 64;
/// Levels of a payload, counting a `key` path it is set at: below the 128 at which stored JSON would not parse again.
pub const PAYLOAD_DEPTH_MAX: usize = 100;
/// Shards of one collection: each is a Raft group with an index of its own.
pub const SHARD_NUMBER_MAX: u32 = 256;
/// A vector's name, bytes.
pub const VECTOR_NAME_BYTES_MAX: usize = 200;

/// What gRPC calls the place of its fields.
pub const GRPC_BODY: &str = "body";

/// The reason has been noted in [`Findings`].
#[derive(Debug)]
pub struct Noted(());

/// A value, or a note why there is none.
pub type Checked<T> = Result<T, Noted>;

/// What is wrong with a request.
#[derive(Debug, Default)]
pub struct Findings {
    failures: Vec<Failure>,
    refusal: Option<Refusal>,
    models: Models,
}

/// An error that is not about one field.
#[derive(Debug)]
enum Refusal {
    Error(ApiError),
    /// A text that does not say what it should; each transport has its own prefix for it.
    Malformed(String),
}

impl Findings {
    /// Nothing is wrong yet.
    pub fn new() -> Findings {
        Findings::default()
    }

    /// What the request's texts are turned into vectors by.
    pub fn models(&mut self) -> &mut Models {
        &mut self.models
    }

    /// Notes a failed field.
    pub fn invalid<T>(&mut self, at: At<'_>, message: impl Into<String>) -> Checked<T> {
        self.failures.push(Failure::new(at.to_string(), message));
        Err(Noted(()))
    }

    /// Notes an error that is not about one field. The first one stands; failed fields go before it.
    pub fn refuse<T>(&mut self, error: ApiError) -> Checked<T> {
        self.refusal.get_or_insert(Refusal::Error(error));
        Err(Noted(()))
    }

    /// Notes a value that cannot be read as what it should be, such as a path or a datetime. As [`Findings::refuse`].
    pub fn malformed<T>(&mut self, what: impl fmt::Display) -> Checked<T> {
        self.refusal.get_or_insert_with(|| Refusal::Malformed(what.to_string()));
        Err(Noted(()))
    }

    /// Notes a part of the protocol that this version lacks, by name.
    pub fn unimplemented<T>(&mut self, what: impl fmt::Display) -> Checked<T> {
        self.refuse(ApiError::unimplemented(what))
    }

    /// Refuses `what` when it was given.
    pub fn absent<T>(&mut self, given: &Option<T>, what: impl fmt::Display) -> Checked<()> {
        match given {
            None => Ok(()),
            Some(_) => self.unimplemented(what),
        }
    }

    /// The one answer: `value` if nothing was noted. `place` is `JSON body`, [`GRPC_BODY`], `query parameters` or
    /// `path parameters`.
    pub fn finish<T>(self, place: &str, value: Checked<T>) -> Result<T, ApiError> {
        if !self.failures.is_empty() {
            return Err(ApiError::validation(place, &self.failures));
        }
        match (self.refusal, value) {
            (Some(Refusal::Error(error)), _) => Err(error),
            (Some(Refusal::Malformed(what)), _) if place == GRPC_BODY => Err(ApiError::wrong_input(what)),
            (Some(Refusal::Malformed(what)), _) => {
                Err(ApiError::malformed(format_args!("Format error in {place}: {what}")))
            }
            (None, Ok(value)) => Ok(value),
            (None, Err(Noted(()))) => Err(ApiError::bad_request("the request was refused")),
        }
    }
}

/// Converts every item, also after a bad one, so that all bad siblings are reported together.
pub fn each<T, U>(
    items: impl IntoIterator<Item = T>,
    mut convert: impl FnMut(usize, T) -> Checked<U>,
) -> Checked<Vec<U>> {
    let items = items.into_iter();
    let mut converted = Vec::with_capacity(items.size_hint().0);
    let mut noted = Ok(());
    for (i, item) in items.enumerate() {
        match convert(i, item) {
            Ok(item) => converted.push(item),
            Err(note) => noted = Err(note),
        }
    }
    noted.map(|()| converted)
}

/// Where in a request a value stands; printed as `points[0].vector.?.indices`. Costs nothing until it is printed.
#[derive(Clone, Copy, Debug)]
pub enum At<'a> {
    /// The request itself.
    Root,
    /// A named field.
    Field(&'a At<'a>, &'static str),
    /// An element of a list.
    Item(&'a At<'a>, usize),
    /// A member of a map whose keys are the user's.
    Member(&'a At<'a>),
}

impl<'a> At<'a> {
    /// The field `name` of what stands here.
    pub fn field(&'a self, name: &'static str) -> At<'a> {
        At::Field(self, name)
    }
    /// The element at `index` of the list that stands here.
    pub fn item(&'a self, index: usize) -> At<'a> {
        At::Item(self, index)
    }
    /// A member of the map that stands here.
    pub fn member(&'a self) -> At<'a> {
        At::Member(self)
    }
}

impl fmt::Display for At<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (parent, name) = match self {
            At::Root => return Ok(()),
            At::Item(parent, index) => return write!(f, "{parent}[{index}]"),
            At::Field(parent, name) => (parent, *name),
            At::Member(parent) => (parent, "?"),
        };
        match parent {
            At::Root => f.write_str(name),
            _ => write!(f, "{parent}.{name}"),
        }
    }
}

/// `value V invalid, must be MIN or larger`.
pub fn at_least<T: PartialOrd + fmt::Debug>(found: &mut Findings, at: At<'_>, value: T, min: T) -> Checked<T> {
    if value >= min {
        return Ok(value);
    }
    found.invalid(at, format!("value {value:?} invalid, must be {min:?} or larger"))
}

/// `value V invalid, must be MAX or smaller`.
pub fn at_most<T: PartialOrd + fmt::Debug>(found: &mut Findings, at: At<'_>, value: T, max: T) -> Checked<T> {
    if value <= max {
        return Ok(value);
    }
    found.invalid(at, format!("value {value:?} invalid, must be {max:?} or smaller"))
}

/// `value V invalid, must be from MIN to MAX`.
pub fn within<T: PartialOrd + fmt::Debug>(found: &mut Findings, at: At<'_>, value: T, min: T, max: T) -> Checked<T> {
    if value >= min && value <= max {
        return Ok(value);
    }
    found.invalid(at, format!("value {value:?} invalid, must be from {min:?} to {max:?}"))
}

/// The share of values a scalar code covers: from 0.5 to 1.
pub fn quantile(found: &mut Findings, at: At<'_>, quantile: f64) -> Checked<f64> {
    within(found, at.field("quantile"), quantile, 0.5, 1.0)
}

/// A number of results: at least 1, and as large as the caller likes.
pub fn limit(found: &mut Findings, at: At<'_>, value: u64) -> Checked<usize> {
    at_least(found, at, value, 1).map(count_from_u64)
}

/// `value`, or as many as this machine can count.
pub fn count_from_u64(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

/// The instant `timeout_s` whole seconds (at least 1) after `started`; `None` when not given or beyond all clocks.
pub fn deadline(
    found: &mut Findings,
    at: At<'_>,
    started: Instant,
    timeout_s: Option<u64>,
) -> Checked<Option<Instant>> {
    match timeout_s {
        None => Ok(None),
        Some(timeout_s) => {
            at_least(found, at, timeout_s, 1).map(|timeout_s| started.checked_add(Duration::from_secs(timeout_s)))
        }
    }
}

/// A new collection's name, or an alias's.
pub fn name(found: &mut Findings, at: At<'_>, text: &str) -> Checked<CollectionName> {
    if text == "." || text == ".." {
        // Clients and proxies would resolve them before they get here.
        return found.invalid(at, format!("value {text:?} invalid, must not be a relative path"));
    }
    match CollectionName::new(text) {
        Ok(name) => Ok(name),
        Err(NameError::Length { max, .. }) => {
            found.invalid(at, format!("value {text:?} invalid, must be from 1 to {max} characters"))
        }
        Err(NameError::Character(c)) => found.invalid(at, format!("collection name cannot contain {c:?} character")),
    }
}

/// The name of a vector to be created.
pub fn vector_name(found: &mut Findings, at: At<'_>, text: &str) -> Checked<()> {
    if text == "." || text == ".." {
        return found.invalid(at, format!("value {text:?} invalid, must not be a relative path"));
    }
    if text.len() > VECTOR_NAME_BYTES_MAX {
        let message = format!("value {text:?} invalid, must be at most {VECTOR_NAME_BYTES_MAX} bytes long");
        return found.invalid(at, message);
    }
    match CollectionName::new(text) {
        Err(NameError::Character(c)) => found.invalid(at, format!("vector name cannot contain {c:?} character")),
        // The empty name is the unnamed vector.
        Ok(_) | Err(NameError::Length { .. }) => Ok(()),
    }
}

/// A payload path.
pub fn path(found: &mut Findings, text: &str) -> Checked<Path> {
    match text.parse() {
        Ok(path) => Ok(path),
        Err(_) => found.malformed(format_args!("Invalid JSON path: `{text}`")),
    }
}

/// A dense vector. Its dimension and finiteness are the service's to check.
pub fn dense(found: &mut Findings, at: At<'_>, values: Vec<f32>) -> Checked<Vector> {
    if values.is_empty() {
        return found.invalid(at, "dense vector must not be empty");
    }
    Ok(Vector::Dense(values))
}

/// A multivector: rows of one length, none of them empty. `values` holds them one after the other.
pub fn multi(found: &mut Findings, at: At<'_>, values: Vec<f32>, row_lengths: &[usize]) -> Checked<Vector> {
    let first = row_lengths.first().copied().unwrap_or(0);
    if first == 0 || row_lengths.contains(&0) {
        return found.invalid(at.field("data"), "all vectors must be non-empty");
    }
    if let Some(length) = row_lengths.iter().find(|length| **length != first) {
        let message = format!("all vectors must have the same dimension, found vector with dimension {length}");
        return found.invalid(at.field("data"), message);
    }
    match MultiVector::new(first, values) {
        Some(vector) => Ok(Vector::Multi(vector)),
        None => found.invalid(at.field("data"), "the number of values is not that of whole vectors"),
    }
}

/// A multivector as its values and the number of its rows.
pub fn flat_multi(found: &mut Findings, at: At<'_>, values: Vec<f32>, row_count: u32) -> Checked<Vector> {
    let row_count = row_count as usize;
    if row_count == 0 || values.is_empty() || !values.len().is_multiple_of(row_count) {
        let message = format!("{} values are not {row_count} vectors of one dimension", values.len());
        return found.invalid(at.field("data"), message);
    }
    let row_lengths = vec![values.len() / row_count; row_count];
    multi(found, at, values, &row_lengths)
}

/// A sparse vector: each index once, one value each.
pub fn sparse(found: &mut Findings, at: At<'_>, indices: Vec<u32>, values: Vec<f32>) -> Checked<Vector> {
    let (index_count, value_count) = (indices.len(), values.len());
    let distinct: HashSet<u32> = indices.iter().copied().collect();
    let is_unique = if distinct.len() == index_count {
        Ok(())
    } else {
        found.invalid(at.field("indices"), "Validation error: must be unique [{}]")
    };
    let is_even = if value_count == index_count {
        Ok(())
    } else {
        found.invalid(at.field("values"), "Validation error: must be the same length as indices [{}]")
    };
    is_unique.and(is_even)?;
    match SparseVector::new(indices.into_iter().zip(values).collect()) {
        Some(vector) => Ok(Vector::Sparse(vector)),
        None => found.invalid(at.field("indices"), "Validation error: must be unique [{}]"),
    }
}

/// The new vectors of one point of an update: at least one.
pub fn vectors_to_update(found: &mut Findings, at: At<'_>, vectors: &NamedVectors) -> Checked<()> {
    if vectors.is_empty() {
        return found.invalid(at, "must specify vectors to update for point");
    }
    Ok(())
}

/// `payload` to be set at `key`: together not deeper than [`PAYLOAD_DEPTH_MAX`].
pub fn payload_depth(found: &mut Findings, payload: &Payload, key: Option<&Path>) -> Checked<()> {
    let deepest = payload.0.values().map(depth_of).max().unwrap_or(0);
    let depth = 1 + deepest + key.map_or(0, |key| 1 + key.rest.len());
    if depth > PAYLOAD_DEPTH_MAX {
        let text = format!("a payload may be {PAYLOAD_DEPTH_MAX} levels deep, this one is {depth}");
        return found.refuse(ApiError::wrong_input(text));
    }
    Ok(())
}

/// Levels of arrays and objects. Recurses as deep as the parser of the request allowed.
fn depth_of(value: &serde_json::Value) -> usize {
    match value {
        serde_json::Value::Array(items) => 1 + items.iter().map(depth_of).max().unwrap_or(0),
        serde_json::Value::Object(members) => 1 + members.values().map(depth_of).max().unwrap_or(0),
        _ => 0,
    }
}

/// The depth of a filter that stands `depth` levels inside others (the outermost is at 1).
pub fn filter_depth(found: &mut Findings, depth: usize) -> Checked<()> {
    if depth > FILTER_DEPTH_MAX {
        let text = format!("filters nest deeper than {FILTER_DEPTH_MAX} levels");
        return found.refuse(ApiError::wrong_input(text));
    }
    Ok(())
}

/// A field condition; at least one predicate.
pub fn field_condition(found: &mut Findings, at: At<'_>, key: &str, predicates: Vec<Predicate>) -> Checked<Condition> {
    if predicates.is_empty() {
        return found.invalid(at, "At least one field condition must be specified");
    }
    let key = path(found, key)?;
    Ok(Condition::Field(FieldCondition { key, predicates }))
}

/// `min_should`; `at` is where it stands.
pub fn min_should(found: &mut Findings, at: At<'_>, conditions: Vec<Condition>, min_count: u64) -> Checked<MinShould> {
    if min_count == 0 {
        return found.invalid(at.field("min_count"), "min_count must be greater than 0");
    }
    Ok(MinShould { conditions, min_count: count_from_u64(min_count) })
}

/// `slice`; `at` is where it stands.
pub fn slice(found: &mut Findings, at: At<'_>, total: u64, index: u64) -> Checked<Condition> {
    if total == 0 {
        return found.malformed("slice: `total` must be 1 or larger");
    }
    at_most(found, at.field("index"), index, total - 1)?;
    Ok(Condition::Slice { total, index })
}

/// A datetime bound.
pub fn datetime(found: &mut Findings, text: &str) -> Checked<Timestamp> {
    match Timestamp::parse(text) {
        Some(timestamp) => Ok(timestamp),
        None => found.malformed(format_args!("`{text}` is not a datetime")),
    }
}

/// A point on the globe.
pub fn geo_point(found: &mut Findings, at: At<'_>, lon: f64, lat: f64) -> Checked<GeoPoint> {
    GeoPoint::new(lon, lat).or_else(|error| geo_invalid(found, at, error))
}

/// A circle; `at` is where it stands.
pub fn geo_radius(found: &mut Findings, at: At<'_>, center: GeoPoint, radius_m: f64) -> Checked<GeoRadius> {
    let radius_m = at_least(found, at.field("radius"), radius_m, 0.0)?;
    Ok(GeoRadius { center, radius_m })
}

/// A polygon; `at` is where it stands.
pub fn geo_polygon(
    found: &mut Findings,
    at: At<'_>,
    exterior: Vec<GeoPoint>,
    interiors: Vec<Vec<GeoPoint>>,
) -> Checked<GeoPolygon> {
    GeoPolygon::new(exterior, interiors).or_else(|error| geo_invalid(found, at, error))
}

fn geo_invalid<T>(found: &mut Findings, at: At<'_>, error: GeoError) -> Checked<T> {
    found.invalid(at, error.to_string())
}

/// How deep prefetches stand inside each other.
pub fn prefetch_depth(found: &mut Findings, depth: usize) -> Checked<()> {
    if depth > PREFETCH_DEPTH_MAX {
        let text = format!("prefetches depth {depth} exceeds max depth {PREFETCH_DEPTH_MAX}");
        return found.refuse(ApiError::bad_request(text));
    }
    Ok(())
}

/// The beam width of a search: at least 1.
pub fn hnsw_ef(found: &mut Findings, at: At<'_>, ef: Option<u64>) -> Checked<Option<usize>> {
    ef.map(|ef| at_least(found, at, ef, 1).map(count_from_u64)).transpose()
}

/// `Bad request: Empty update request`.
pub fn not_empty<T>(found: &mut Findings, items: &[T]) -> Checked<()> {
    match items {
        [] => found.refuse(ApiError::bad_request("Empty update request")),
        _ => Ok(()),
    }
}

/// The numbers of a new collection's settings.
pub fn collection_config(found: &mut Findings, config: &CollectionConfig) -> Checked<()> {
    let root = At::Root;
    let vectors = root.field("vectors");
    let mut checks = vec![
        hnsw_config(found, root.field("hnsw_config"), &config.hnsw),
        optimizers_config(found, root.field("optimizers_config"), &config.optimizers),
        wal_config(found, root.field("wal_config"), &config.wal),
        within(found, root.field("shard_number"), config.shard_number, 1, SHARD_NUMBER_MAX).map(drop),
        at_least(found, root.field("replication_factor"), config.replication_factor, 1).map(drop),
        at_least(found, root.field("write_consistency_factor"), config.write_consistency_factor, 1).map(drop),
    ];
    for name in config.sparse_vectors.iter().flat_map(|sparse| sparse.keys()) {
        checks.push(sparse_name(found, root.field("sparse_vectors").member(), config, name));
    }
    for (name, params) in &config.vectors.by_name {
        let at = if config.vectors.is_single { vectors } else { vectors.member() };
        checks.push(vector_name(found, at, name));
        checks.push(vector_params(found, at, params));
    }
    checks.into_iter().collect()
}

/// Limits that would forbid everything are refused.
pub fn strict_mode(found: &mut Findings, at: At<'_>, config: &StrictModeConfig) -> Checked<()> {
    let limits = [
        ("max_query_limit", config.max_query_limit),
        ("max_timeout", config.max_timeout),
        ("max_collection_vector_size_bytes", config.max_collection_vector_size_bytes),
        ("read_rate_limit", config.read_rate_limit),
        ("write_rate_limit", config.write_rate_limit),
        ("max_points_count", config.max_points_count),
    ];
    let mut checks: Vec<Checked<()>> = Vec::new();
    for (name, limit) in limits {
        checks.extend(limit.map(|limit| at_least(found, at.field(name), limit, 1).map(drop)));
    }
    let (rows, lengths) = (at.field("multivector_config"), at.field("sparse_config"));
    for (limits, at, name) in [
        (&config.multivector_max_vectors, rows.member(), "max_vectors"),
        (&config.sparse_max_length, lengths.member(), "max_length"),
    ] {
        for limit in limits.iter().flat_map(|limits| limits.values().flatten()) {
            checks.push(at_least(found, at.field(name), *limit, 1).map(drop));
        }
    }
    checks.into_iter().collect()
}

/// The numbers of a change of settings.
pub fn collection_config_diff(found: &mut Findings, diff: &CollectionConfigDiff) -> Checked<()> {
    let root = At::Root;
    let (vectors, params) = (root.field("vectors"), root.field("params"));
    let mut checks = vec![
        hnsw_config(found, root.field("hnsw_config"), &diff.hnsw),
        optimizers_config(found, root.field("optimizers_config"), &diff.optimizers),
    ];
    for (name, value) in
        [("replication_factor", diff.replication_factor), ("write_consistency_factor", diff.write_consistency_factor)]
    {
        if let Some(value) = value {
            checks.push(at_least(found, params.field(name), value, 1).map(drop));
        }
    }
    for change in diff.vectors.values() {
        checks.push(hnsw_config(found, vectors.member().field("hnsw_config"), &change.hnsw));
    }
    checks.into_iter().collect()
}

/// A vector to be added to a collection: its name, which is at `at_name`, and its settings.
pub fn new_vector(found: &mut Findings, at_name: At<'_>, at: At<'_>, name: &str, vector: &NewVector) -> Checked<()> {
    let settings = match vector {
        NewVector::Dense(params) => vector_params(found, at, params),
        NewVector::Sparse(_) if name.is_empty() => {
            found.refuse(ApiError::wrong_input("Sparse vector name cannot be empty"))
        }
        NewVector::Sparse(_) => Ok(()),
    };
    vector_name(found, at_name, name).and(settings)
}

/// Dense and sparse vectors share their names; a sparse one has one.
fn sparse_name(found: &mut Findings, at: At<'_>, config: &CollectionConfig, name: &str) -> Checked<()> {
    if name.is_empty() {
        return found.refuse(ApiError::wrong_input("Sparse vector name cannot be empty"));
    }
    if config.vectors.by_name.contains_key(name) {
        return found.refuse(ApiError::wrong_input(format_args!(
            "Dense and sparse vector names must be unique - duplicate found with '{name}'"
        )));
    }
    vector_name(found, at, name)
}

fn vector_params(found: &mut Findings, at: At<'_>, params: &VectorParams) -> Checked<()> {
    let size = within(found, at.field("size"), params.dim, DIM_MIN, DIM_MAX).map(drop);
    let hnsw = hnsw_config(found, at.field("hnsw_config"), &params.hnsw.unwrap_or_default());
    size.and(hnsw)
}

fn hnsw_config(found: &mut Findings, at: At<'_>, diff: &HnswConfigDiff) -> Checked<()> {
    let m = diff.m.map_or(Ok(()), |m| at_most(found, at.field("m"), m, HNSW_M_MAX).map(drop));
    let ef_construct = match diff.ef_construct {
        None => Ok(()),
        Some(ef) if ef < 4 => at_least(found, at.field("ef_construct"), ef, 4).map(drop),
        Some(ef) => at_most(found, at.field("ef_construct"), ef, HNSW_EF_CONSTRUCT_MAX).map(drop),
    };
    m.and(ef_construct)
}

fn optimizers_config(found: &mut Findings, at: At<'_>, diff: &OptimizersConfigDiff) -> Checked<()> {
    let threshold = match diff.deleted_threshold {
        None => Ok(()),
        Some(share) => within(found, at.field("deleted_threshold"), share, 0.0, 1.0).map(drop),
    };
    let vacuum = match diff.vacuum_min_vector_number {
        None => Ok(()),
        Some(count) => at_least(found, at.field("vacuum_min_vector_number"), count, 100).map(drop),
    };
    let segment = match diff.max_segment_size {
        None => Ok(()),
        Some(size) => at_least(found, at.field("max_segment_size"), size, 1).map(drop),
    };
    threshold.and(vacuum).and(segment)
}

fn wal_config(found: &mut Findings, at: At<'_>, diff: &WalConfigDiff) -> Checked<()> {
    match diff.wal_capacity_mb {
        None => Ok(()),
        Some(capacity) => at_least(found, at.field("wal_capacity_mb"), capacity, 1).map(drop),
    }
}
