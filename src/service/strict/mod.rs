//! Strict mode: limits of a collection that calls are checked against before they run (PROTOCOL section 21).
//!
//! Invariants:
//! - Nothing is checked unless the collection's strict mode is enabled.
//! - A refused call has changed nothing and has taken no token from a rate limit.
//! - Limits on sizes are checked against estimates, and only when something is written; so they may be passed by what
//!   arrives at the same time.
//!
//! What it deliberately does not do: limit what the server itself needs, such as the pool's queue.

mod indexes;
mod rate;
#[cfg(test)]
mod tests;
mod violation;

pub(super) use rate::RateLimits;
pub use violation::{RateExceeded, RetryLater, Violation};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::read::Count;
use super::scatter::{ReadKind, ShardRead};
use super::seat::View;
use super::{Consistency, Error, ReadOptions, Service};
use crate::index::Stop;
use crate::model::collection::{CollectionConfig, Datatype, StrictModeConfig};
use crate::model::field_index::{FieldIndexKind, FieldIndexSchema};
use crate::model::filter::{Match, Predicate};
use crate::model::query::{
    FacetRequest, GroupsRequest, IdfCorpus, MatrixRequest, QueryLevel, QueryRequest, Ranking, RecommendStrategy,
    ScrollRequest, SearchOptions, Target,
};
use crate::model::{
    Condition, Filter, NamedVectors, Path, PayloadSelector, PointOp, PointSelector, Vector, VectorName, VectorSelector,
};
use crate::shard::{ReadError, Shard};
use indexes::{Missing, conditions, missing_in_filter, missing_in_formula};
use rate::Wanted;

/// Points of a shard that its sizes are estimated from.
const SAMPLE_POINTS: usize = 256;

/// How what limits need is read.
const ESTIMATE: ReadOptions = ReadOptions { consistency: Consistency::Any, deadline: None, timeout_s: None };

/// A collection's limits, and the settings they are checked against.
#[derive(Clone, Copy)]
struct Strict<'a> {
    limits: &'a StrictModeConfig,
    config: &'a CollectionConfig,
}

/// What a collection holds, estimated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub(super) struct Sizes {
    points: u64,
    vector_bytes: u64,
    payload_bytes: u64,
}

impl View {
    /// `None`: strict mode is off.
    fn strict(&self) -> Option<Strict<'_>> {
        let config = &self.collection.config;
        config.strict_limits().map(|limits| Strict { limits, config })
    }
}

/// The first field of `filter` that lacks an index, and the names of the types that could answer, sorted.
pub(super) fn missing_index(
    indexes: &BTreeMap<Path, FieldIndexSchema>,
    filter: &Filter,
) -> Option<(Path, Vec<&'static str>)> {
    missing_in_filter(indexes, filter).map(|Missing { key, kinds }| (key, kinds))
}

impl Service {
    /// Checks queries that run together.
    pub(super) fn admit_queries(
        &self,
        view: &View,
        requests: &[QueryRequest],
        options: ReadOptions,
    ) -> Result<(), Error> {
        requests.iter().for_each(|request| self.note_level(view, &request.root));
        let check = |strict: Strict<'_>| {
            if requests.len() > 1 {
                strict.at_most("search batch size", requests.len() as u64, strict.limits.search_max_batchsize)?;
            }
            requests.iter().try_for_each(|request| strict.level(&request.root, request.root.limit))
        };
        self.admit_read(view, options, check, || requests.iter().map(|request| level_cost(&request.root, 0)).sum())
    }

    pub(super) fn admit_groups(&self, view: &View, request: &GroupsRequest, options: ReadOptions) -> Result<(), Error> {
        self.note_level(view, &request.root);
        let check = |strict: Strict<'_>| {
            strict.level(&request.root, request.root.limit.saturating_mul(request.group_size))?;
            strict.group_by(&request.group_by)
        };
        self.admit_read(view, options, check, || level_cost(&request.root, 0))
    }

    pub(super) fn admit_scroll(&self, view: &View, request: &ScrollRequest, options: ReadOptions) -> Result<(), Error> {
        self.admit_listing(view, Some(request.limit), request.filter.as_ref(), options)
    }

    pub(super) fn admit_facet(&self, view: &View, request: &FacetRequest, options: ReadOptions) -> Result<(), Error> {
        self.admit_listing(view, Some(request.limit), request.filter.as_ref(), options)
    }

    pub(super) fn admit_matrix(&self, view: &View, request: &MatrixRequest, options: ReadOptions) -> Result<(), Error> {
        let limit = request.limit.saturating_mul(request.sample);
        self.admit_listing(view, Some(limit), request.filter.as_ref(), options)
    }

    pub(super) fn admit_count(&self, view: &View, filter: Option<&Filter>, options: ReadOptions) -> Result<(), Error> {
        self.admit_listing(view, None, filter, options)
    }

    pub(super) fn admit_retrieve(&self, view: &View, id_count: usize, options: ReadOptions) -> Result<(), Error> {
        self.admit_read(view, options, |_| Ok(()), || id_count as u64)
    }

    /// A read that is limited in number, if at all, and goes through a filter.
    fn admit_listing(
        &self,
        view: &View,
        limit: Option<usize>,
        filter: Option<&Filter>,
        options: ReadOptions,
    ) -> Result<(), Error> {
        self.note_filter(view, filter);
        let check = |strict: Strict<'_>| {
            if let Some(limit) = limit {
                strict.at_most("limit", limit as u64, strict.limits.max_query_limit)?;
            }
            strict.filter(filter, strict.limits.unindexed_filtering_retrieve)
        };
        self.admit_read(view, options, check, || 1 + condition_count(filter))
    }

    fn admit_read(
        &self,
        view: &View,
        options: ReadOptions,
        check: impl FnOnce(Strict<'_>) -> Result<(), Violation>,
        cost: impl FnOnce() -> u64,
    ) -> Result<(), Error> {
        let Some(strict) = view.strict() else { return Ok(()) };
        let timeout_s = options.timeout_s.unwrap_or(0);
        strict.at_most("timeout", timeout_s, strict.limits.max_timeout).map_err(Error::Strict)?;
        check(strict).map_err(Error::Strict)?;
        self.take_tokens(view, false, strict.limits.read_rate_limit, cost)
    }

    fn take_tokens(
        &self,
        view: &View,
        is_write: bool,
        limit: Option<u64>,
        cost: impl FnOnce() -> u64,
    ) -> Result<(), Error> {
        let cost = if limit.is_some() { cost() } else { 0 };
        let wanted = Wanted { collection: view.collection.created_index, is_write, limit, cost };
        self.running.rate_limits.take(wanted).map_err(Error::RateExceeded)
    }

    /// Checks changes that are written together.
    pub(super) async fn admit_writes(&self, view: &View, ops: &[PointOp]) -> Result<(), Error> {
        let Some(strict) = view.strict() else { return Ok(()) };
        ops.iter().try_for_each(|op| strict.op(op)).map_err(Error::Strict)?;
        if ops.iter().any(|op| strict.is_size_limited(op)) {
            let sizes = self.sizes(view).await?;
            ops.iter().try_for_each(|op| strict.sizes(op, sizes)).map_err(Error::Strict)?;
        }
        let limit = strict.limits.write_rate_limit;
        let mut cost = 0;
        if limit.is_some() {
            for op in ops {
                cost += self.affected_points(view, op).await?.max(1);
            }
        }
        self.take_tokens(view, true, limit, || cost)
    }

    /// Checks the making of a field index.
    pub(super) fn admit_field_index(&self, view: &View, key: &Path) -> Result<(), Error> {
        let Some(strict) = view.strict() else { return Ok(()) };
        let indexes = &strict.config.field_indexes;
        if let Some(limit) = strict.limits.max_payload_index_count
            && indexes.len() as u64 >= limit
            && !indexes.contains_key(key)
        {
            return Err(Error::Strict(Violation::FieldIndexes { limit }));
        }
        Ok(())
    }

    async fn sizes(&self, view: &View) -> Result<Sizes, Error> {
        let datatypes: BTreeMap<VectorName, Datatype> = view
            .collection
            .config
            .vectors
            .by_name
            .iter()
            .filter_map(|(name, params)| Some((name.clone(), params.datatype?)))
            .collect();
        let parts = self.ask_all(view, SizesRead { datatypes }, ESTIMATE).await?;
        Ok(parts.into_iter().fold(Sizes::default(), |sum, part| Sizes {
            points: sum.points + part.points,
            vector_bytes: sum.vector_bytes + part.vector_bytes,
            payload_bytes: sum.payload_bytes + part.payload_bytes,
        }))
    }

    /// Points an operation will touch: those it names, or about as many as its filter matches.
    async fn affected_points(&self, view: &View, op: &PointOp) -> Result<u64, Error> {
        let filter = match op {
            PointOp::Upsert { points, .. } => return Ok(points.len() as u64),
            PointOp::UpdateVectors { points, .. } => return Ok(points.len() as u64),
            other => match selector(other) {
                Some(PointSelector::Filter(filter)) => filter.clone(),
                Some(PointSelector::Ids(ids)) => return Ok(ids.len() as u64),
                None => return Ok(0),
            },
        };
        let is_indexed = missing_in_filter(&view.collection.config.field_indexes, &filter).is_none();
        // Counting by a filter without an index would cost as much as the write.
        let counted = Count { filter: Some(filter.clone()).filter(|_| is_indexed && !filter.is_empty()) };
        let points = self.gather_one(view, counted, ESTIMATE).await?;
        Ok(if is_indexed || filter.is_empty() { points } else { points / 2 })
    }
}

/// How large a shard is, estimated from some of its points.
#[derive(Serialize, Deserialize)]
pub(super) struct SizesRead {
    datatypes: BTreeMap<VectorName, Datatype>,
}

impl ShardRead for SizesRead {
    const WHAT: &'static str = "estimating sizes";
    const KIND: ReadKind = ReadKind::Sizes;
    type Part = Sizes;

    fn part(&self, shard: &Shard, stop: &Stop) -> Result<Sizes, ReadError> {
        let points = shard.status().point_count;
        let sample = shard.scroll(None, SAMPLE_POINTS, None, stop)?;
        let records = shard.get(&sample, &PayloadSelector::All, &VectorSelector::All)?;
        let (mut vector_bytes, mut payload_bytes) = (0, 0);
        for record in &records {
            vector_bytes += record.vectors.as_ref().map_or(0, |vectors| bytes_of(vectors, &self.datatypes));
            payload_bytes += record.payload.as_ref().map_or(0, |payload| payload.to_json().len() as u64);
        }
        let scaled = |bytes: u64| match records.len() as u64 {
            0 => 0,
            seen => (u128::from(bytes) * u128::from(points) / u128::from(seen)) as u64,
        };
        Ok(Sizes { points, vector_bytes: scaled(vector_bytes), payload_bytes: scaled(payload_bytes) })
    }
}

fn bytes_of(vectors: &NamedVectors, datatypes: &BTreeMap<VectorName, Datatype>) -> u64 {
    let value_bytes = |name: &str| match datatypes.get(name) {
        Some(Datatype::Uint8) => 1,
        Some(Datatype::Float16) => 2,
        Some(Datatype::Float32) | None => 4,
    };
    let bytes = |(name, vector): (&VectorName, &Vector)| match vector {
        Vector::Dense(values) => values.len() * value_bytes(name),
        Vector::Multi(rows) => rows.values().len() * value_bytes(name),
        Vector::Sparse(sparse) => sparse.len() * (size_of::<u32>() + size_of::<f32>()),
    };
    vectors.iter().map(bytes).sum::<usize>() as u64
}

impl Strict<'_> {
    fn at_most(&self, name: &'static str, value: u64, limit: Option<u64>) -> Result<(), Violation> {
        match limit {
            Some(limit) if value > limit => Err(Violation::Above { name, value, limit }),
            _ => Ok(()),
        }
    }

    /// One level of a query and those below. `limit` is what it may return at most.
    fn level(&self, level: &QueryLevel, limit: usize) -> Result<(), Violation> {
        level.prefetch.iter().try_for_each(|source| self.level(source, source.limit))?;
        if level.prefetch.is_empty() {
            self.graph(level)?;
        }
        if let Ranking::Formula(formula) = &level.ranking
            && self.limits.unindexed_filtering_retrieve == Some(false)
            && let Some(Missing { key, kinds }) = missing_in_formula(&self.config.field_indexes, formula)
        {
            return Err(Violation::FormulaUnindexed { key, kinds });
        }
        self.at_most("limit", limit as u64, self.limits.max_query_limit)?;
        self.filter(level.filter.as_ref(), self.limits.unindexed_filtering_retrieve)?;
        self.options(&level.options)
    }

    fn options(&self, options: &SearchOptions) -> Result<(), Violation> {
        if let (Some(value), Some(limit)) = (options.oversampling, self.limits.search_max_oversampling)
            && value > limit
        {
            return Err(Violation::Oversampling { value, limit });
        }
        self.at_most("hnsw_ef", options.ef.unwrap_or(0) as u64, self.limits.search_max_hnsw_ef)?;
        if let Some(IdfCorpus::Filter(corpus)) = &options.idf {
            self.filter(Some(corpus), self.limits.unindexed_filtering_retrieve)?;
        }
        match options.exact && self.limits.search_allow_exact == Some(false) {
            true => Err(Violation::Exact),
            false => Ok(()),
        }
    }

    /// Where exact searches are forbidden, a dense vector must have a graph, or one per tenant and a tenant be named.
    fn graph(&self, level: &QueryLevel) -> Result<(), Violation> {
        let compares_vectors = matches!(
            level.ranking,
            Ranking::Nearest(_)
                | Ranking::Mmr { .. }
                | Ranking::Recommend { .. }
                | Ranking::Discover { .. }
                | Ranking::Context(_)
                | Ranking::RelevanceFeedback(_)
        );
        if !compares_vectors || self.limits.search_allow_exact != Some(false) {
            return Ok(());
        }
        let Some(params) = self.config.vectors.by_name.get(&level.using) else { return Ok(()) };
        if self.config.hnsw_params(params).m > 0 {
            return Ok(());
        }
        let is_tenant = |key: &Path| {
            self.config.field_indexes.get(key).is_some_and(|schema| schema.placement.is_tenant == Some(true))
        };
        let has_tenant_filter =
            level.filter.as_ref().is_some_and(|filter| indexes::keys(filter).into_iter().any(is_tenant));
        let payload_m = params.hnsw.and_then(|hnsw| hnsw.payload_m).or(self.config.hnsw.payload_m).unwrap_or(0);
        if has_tenant_filter && payload_m > 0 {
            return Ok(());
        }
        Err(Violation::NoGraph { using: level.using.clone(), has_tenant_filter })
    }

    /// `unindexed`: whether keys without an index may be filtered by.
    fn filter(&self, filter: Option<&Filter>, unindexed: Option<bool>) -> Result<(), Violation> {
        let Some(filter) = filter else { return Ok(()) };
        if let Some(key) = substring_key(filter) {
            return Err(Violation::Substring { key: key.clone() });
        }
        let count = condition_count(Some(filter));
        if let Some(limit) = self.limits.filter_max_conditions
            && count > limit
        {
            return Err(Violation::Conditions { count, limit });
        }
        let size = condition_size(filter);
        if let Some(limit) = self.limits.condition_max_size
            && size > limit
        {
            return Err(Violation::ConditionSize { size, limit });
        }
        if unindexed == Some(false)
            && let Some(Missing { key, kinds }) = missing_in_filter(&self.config.field_indexes, filter)
        {
            return Err(Violation::FilterUnindexed { key, kinds });
        }
        Ok(())
    }

    /// Grouping needs an index whose values can be matched.
    fn group_by(&self, key: &Path) -> Result<(), Violation> {
        if self.limits.unindexed_filtering_retrieve != Some(false) {
            return Ok(());
        }
        let Some(schema) = self.config.field_indexes.get(key) else {
            return Err(Violation::GroupUnindexed { key: key.clone() });
        };
        let kind = match &schema.kind {
            FieldIndexKind::Keyword(_) | FieldIndexKind::Uuid | FieldIndexKind::Bool => return Ok(()),
            FieldIndexKind::Integer(params) if params.lookup != Some(false) => return Ok(()),
            FieldIndexKind::Integer(_) => "Integer",
            FieldIndexKind::Float => "Float",
            FieldIndexKind::Geo => "Geo",
            FieldIndexKind::Text(_) => "Text",
            FieldIndexKind::Datetime => "Datetime",
        };
        Err(Violation::GroupIndexKind { key: key.clone(), kind })
    }

    /// What can be said of a change without looking at what is stored.
    fn op(&self, op: &PointOp) -> Result<(), Violation> {
        let batch = self.limits.upsert_max_batchsize;
        let filter = match op {
            PointOp::Upsert { points, update_filter, .. } => {
                self.at_most("upsert limit", points.len() as u64, batch)?;
                points.iter().try_for_each(|point| self.vectors(&point.vectors))?;
                update_filter.as_ref()
            }
            PointOp::UpdateVectors { points, update_filter } => {
                self.at_most("update limit", points.len() as u64, batch)?;
                points.iter().try_for_each(|point| self.vectors(&point.vectors))?;
                update_filter.as_ref()
            }
            other => match selector(other) {
                Some(PointSelector::Filter(filter)) => Some(filter),
                _ => None,
            },
        };
        self.filter(filter, self.limits.unindexed_filtering_update)
    }

    fn vectors(&self, vectors: &NamedVectors) -> Result<(), Violation> {
        let limit_of = |limits: &Option<BTreeMap<VectorName, Option<u64>>>, name: &VectorName| {
            limits.as_ref().and_then(|limits| limits.get(name).copied().flatten())
        };
        for (name, vector) in vectors {
            let (limit, got) = match vector {
                Vector::Dense(_) => continue,
                Vector::Multi(rows) => (limit_of(&self.limits.multivector_max_vectors, name), rows.rows().len() as u64),
                Vector::Sparse(sparse) => (limit_of(&self.limits.sparse_max_length, name), sparse.len() as u64),
            };
            let Some(limit) = limit.filter(|limit| got > *limit) else { continue };
            let name = name.clone();
            return Err(match vector {
                Vector::Sparse(_) => Violation::SparseVectorLength { name, limit, got },
                _ => Violation::MultiVectorRows { name, limit, got },
            });
        }
        Ok(())
    }

    /// Whether the collection's sizes decide about the operation.
    fn is_size_limited(&self, op: &PointOp) -> bool {
        let StrictModeConfig {
            max_points_count,
            max_collection_vector_size_bytes,
            max_collection_payload_size_bytes,
            ..
        } = self.limits;
        match op {
            PointOp::Upsert { .. } | PointOp::UpdateVectors { .. } => {
                max_points_count.is_some()
                    || max_collection_vector_size_bytes.is_some()
                    || max_collection_payload_size_bytes.is_some()
            }
            PointOp::SetPayload { .. } | PointOp::OverwritePayload { .. } => {
                max_collection_payload_size_bytes.is_some()
            }
            _ => false,
        }
    }

    fn sizes(&self, op: &PointOp, sizes: Sizes) -> Result<(), Violation> {
        let full = |size: u64, limit: Option<u64>| limit.filter(|limit| size >= *limit);
        let adds_vectors = matches!(op, PointOp::Upsert { .. } | PointOp::UpdateVectors { .. });
        if !self.is_size_limited(op) {
            return Ok(());
        }
        if adds_vectors {
            if let Some(limit) = full(sizes.vector_bytes, self.limits.max_collection_vector_size_bytes) {
                return Err(Violation::VectorBytes { limit });
            }
            if let Some(limit) = full(sizes.points, self.limits.max_points_count) {
                return Err(Violation::Points { limit });
            }
        }
        match full(sizes.payload_bytes, self.limits.max_collection_payload_size_bytes) {
            Some(limit) => Err(Violation::PayloadBytes { limit }),
            None => Ok(()),
        }
    }
}

/// The points an operation that selects them touches.
fn selector(op: &PointOp) -> Option<&PointSelector> {
    match op {
        PointOp::Upsert { .. } | PointOp::UpdateVectors { .. } => None,
        PointOp::Delete { select }
        | PointOp::DeleteVectors { select, .. }
        | PointOp::SetPayload { select, .. }
        | PointOp::OverwritePayload { select, .. }
        | PointOp::DeletePayload { select, .. }
        | PointOp::ClearPayload { select } => Some(select),
    }
}

/// Conditions that are no filters themselves, at any depth.
fn condition_count(filter: Option<&Filter>) -> u64 {
    let count = |condition: &Condition| match condition {
        Condition::Filter(inner) | Condition::Nested { filter: inner, .. } => condition_count(Some(inner)),
        _ => 1,
    };
    filter.into_iter().flat_map(conditions).map(count).sum()
}

/// The longest list of a condition.
fn condition_size(filter: &Filter) -> u64 {
    let predicate_size = |predicate: &Predicate| match predicate {
        Predicate::Match(Match::AnyInteger(values) | Match::ExceptInteger(values)) => values.len(),
        Predicate::Match(Match::AnyKeyword(values) | Match::ExceptKeyword(values)) => values.len(),
        _ => 0,
    };
    let size = |condition: &Condition| match condition {
        Condition::Field(field) => field.predicates.iter().map(predicate_size).max().unwrap_or(0) as u64,
        Condition::HasId(ids) => ids.len() as u64,
        Condition::Filter(inner) | Condition::Nested { filter: inner, .. } => condition_size(inner),
        _ => 0,
    };
    conditions(filter).map(size).max().unwrap_or(0)
}

fn substring_key(filter: &Filter) -> Option<&Path> {
    conditions(filter).find_map(|condition| match condition {
        Condition::Field(field) => {
            let is_substring = |predicate: &Predicate| matches!(predicate, Predicate::Match(Match::Substring(_)));
            field.predicates.iter().any(is_substring).then_some(&field.key)
        }
        Condition::Filter(inner) | Condition::Nested { filter: inner, .. } => substring_key(inner),
        _ => None,
    })
}

/// Vectors that are compared and conditions that are checked, of all levels that read the collection. `above`: the
/// conditions of the levels above, which reach every level below.
fn level_cost(level: &QueryLevel, above: u64) -> u64 {
    let conditions = above + condition_count(level.filter.as_ref());
    match level.prefetch.as_slice() {
        [] => vector_count(&level.ranking) + conditions,
        sources => sources.iter().map(|source| level_cost(source, conditions)).sum(),
    }
}

/// Vectors a ranking compares points with; 1 when it compares none.
fn vector_count(ranking: &Ranking) -> u64 {
    let rows = |target: &Target| match target {
        Target::Vector(Vector::Multi(rows)) => rows.rows().len() as u64,
        _ => 1,
    };
    match ranking {
        Ranking::Nearest(target) | Ranking::Mmr { target, .. } => rows(target),
        Ranking::Recommend { strategy: RecommendStrategy::AverageVector, .. } => 1,
        Ranking::Recommend { positive, negative, .. } => positive.iter().chain(negative).map(rows).sum(),
        Ranking::Discover { target, context } => {
            rows(target) + context.iter().map(|pair| rows(&pair.positive) + rows(&pair.negative)).sum::<u64>()
        }
        Ranking::Context(context) => context.iter().map(|pair| rows(&pair.positive) + rows(&pair.negative)).sum(),
        Ranking::RelevanceFeedback(feedback) => {
            rows(&feedback.target) + feedback.feedback.iter().map(|(example, _)| rows(example)).sum::<u64>()
        }
        _ => 1,
    }
}
