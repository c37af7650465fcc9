//! Reads in: query, search, scroll, count, retrieve (PROTOCOL sections 9, 10, 17, 20).

use super::call::Times;
use super::filter::filter_if_given;
use super::levels::{self, LIMIT_DEFAULT};
use super::pb;
use super::point::{
    consistency_from_wire, id_from_wire, ids_from_wire, with_payload_from_wire, with_vectors_from_wire,
};
use super::shard_key::keys_from_wire;
use crate::api::checks::{self, At, Checked, Findings, each};
use crate::api::schema;
use crate::api::status::ApiError;
use crate::model::collection::ShardKeySelector;
use crate::model::query::{FacetRequest, GroupsRequest, MatrixRequest, ScrollRequest};
use crate::model::{Filter, PayloadSelector, PointId, QueryRequest, VectorSelector};
use crate::service::{ReadOptions, Scope};

/// A read, to be run as `options` say.
#[derive(Debug)]
pub(super) struct Read<T> {
    pub(super) scope: Scope,
    pub(super) request: T,
    pub(super) options: ReadOptions,
}

/// A retrieve by id.
#[derive(Debug)]
pub(super) struct Get {
    pub(super) ids: Vec<PointId>,
    pub(super) with_payload: PayloadSelector,
    pub(super) with_vectors: VectorSelector,
}

/// The fields every read has.
struct ReadParts {
    collection: String,
    consistency: Option<pb::ReadConsistency>,
    timeout: Option<u64>,
    times: Times,
}

/// The shard keys a request is meant for.
type Keys = Option<ShardKeySelector>;

impl ReadParts {
    fn read<T>(self, found: &mut Findings, keys: Checked<Keys>, request: Checked<T>) -> Checked<Read<T>> {
        let options = self.options(found);
        Ok(Read { scope: Scope::keyed(self.collection, keys?), request: request?, options: options? })
    }

    fn read_batch<T>(self, found: &mut Findings, keyed: Checked<Vec<(Keys, T)>>) -> Checked<Read<Vec<T>>> {
        let options = self.options(found);
        let (keys, request) = keyed?.into_iter().unzip();
        Ok(Read { scope: Scope::each(self.collection, keys), request, options: options? })
    }

    fn options(&self, found: &mut Findings) -> Checked<ReadOptions> {
        let consistency = consistency_from_wire(found, self.consistency);
        let deadline = checks::deadline(found, At::Root.field("timeout"), self.times.started, self.timeout);
        Ok(ReadOptions {
            consistency: consistency?,
            deadline: deadline?.or(self.times.latest),
            timeout_s: self.timeout,
        })
    }
}

/// Takes the fields every read has out of a message.
macro_rules! read_parts {
    ($wire:ident, $times:ident) => {
        ReadParts {
            collection: std::mem::take(&mut $wire.collection_name),
            consistency: $wire.read_consistency.take(),
            timeout: $wire.timeout.take(),
            times: $times,
        }
    };
}

pub(super) fn query(found: &mut Findings, mut wire: pb::QueryPoints, times: Times) -> Checked<Read<QueryRequest>> {
    let parts = read_parts!(wire, times);
    let keys = keys_from_wire(found, At::Root, wire.shard_key_selector.take());
    let request = levels::query(found, At::Root, wire);
    parts.read(found, keys, request)
}

/// All queries run under the batch's own consistency and deadline.
pub(super) fn query_batch(
    found: &mut Findings,
    mut wire: pb::QueryBatchPoints,
    times: Times,
) -> Checked<Read<Vec<QueryRequest>>> {
    let at = At::Root.field("query_points");
    let requests = each(wire.query_points, |i, mut query| {
        same_collection(found, at.item(i), &wire.collection_name, &query.collection_name)?;
        let keys = keys_from_wire(found, at.item(i), query.shard_key_selector.take());
        let request = levels::query(found, at.item(i), query);
        Ok((keys?, request?))
    });
    read_parts!(wire, times).read_batch(found, requests)
}

pub(super) fn search(found: &mut Findings, mut wire: pb::SearchPoints, times: Times) -> Checked<Read<QueryRequest>> {
    let parts = read_parts!(wire, times);
    let keys = keys_from_wire(found, At::Root, wire.shard_key_selector.take());
    let request = levels::search(found, At::Root, wire);
    parts.read(found, keys, request)
}

/// All searches run under the batch's own consistency and deadline.
pub(super) fn search_batch(
    found: &mut Findings,
    mut wire: pb::SearchBatchPoints,
    times: Times,
) -> Checked<Read<Vec<QueryRequest>>> {
    let at = At::Root.field("search_points");
    let requests = each(wire.search_points, |i, mut search| {
        same_collection(found, at.item(i), &wire.collection_name, &search.collection_name)?;
        let keys = keys_from_wire(found, at.item(i), search.shard_key_selector.take());
        let request = levels::search(found, at.item(i), search);
        Ok((keys?, request?))
    });
    read_parts!(wire, times).read_batch(found, requests)
}

/// A read whose message is converted by `levels`.
macro_rules! level_read {
    ($name:ident, $wire:ty, $request:ty) => {
        pub(super) fn $name(found: &mut Findings, mut wire: $wire, times: Times) -> Checked<Read<$request>> {
            let parts = read_parts!(wire, times);
            let keys = keys_from_wire(found, At::Root, wire.shard_key_selector.take());
            let request = levels::$name(found, At::Root, wire);
            parts.read(found, keys, request)
        }
    };
}

level_read!(recommend, pb::RecommendPoints, QueryRequest);
level_read!(discover, pb::DiscoverPoints, QueryRequest);
level_read!(query_groups, pb::QueryPointGroups, GroupsRequest);
level_read!(search_groups, pb::SearchPointGroups, GroupsRequest);
level_read!(recommend_groups, pb::RecommendPointGroups, GroupsRequest);
level_read!(matrix, pb::SearchMatrixPoints, MatrixRequest);

/// All recommendations run under the batch's own consistency and deadline.
pub(super) fn recommend_batch(
    found: &mut Findings,
    mut wire: pb::RecommendBatchPoints,
    times: Times,
) -> Checked<Read<Vec<QueryRequest>>> {
    let at = At::Root.field("recommend_points");
    let requests = each(wire.recommend_points, |i, mut entry| {
        same_collection(found, at.item(i), &wire.collection_name, &entry.collection_name)?;
        let keys = keys_from_wire(found, at.item(i), entry.shard_key_selector.take());
        let request = levels::recommend(found, at.item(i), entry);
        Ok((keys?, request?))
    });
    read_parts!(wire, times).read_batch(found, requests)
}

/// All discoveries run under the batch's own consistency and deadline.
pub(super) fn discover_batch(
    found: &mut Findings,
    mut wire: pb::DiscoverBatchPoints,
    times: Times,
) -> Checked<Read<Vec<QueryRequest>>> {
    let at = At::Root.field("discover_points");
    let requests = each(wire.discover_points, |i, mut entry| {
        same_collection(found, at.item(i), &wire.collection_name, &entry.collection_name)?;
        let keys = keys_from_wire(found, at.item(i), entry.shard_key_selector.take());
        let request = levels::discover(found, at.item(i), entry);
        Ok((keys?, request?))
    });
    read_parts!(wire, times).read_batch(found, requests)
}

pub(super) fn scroll(found: &mut Findings, mut wire: pb::ScrollPoints, times: Times) -> Checked<Read<ScrollRequest>> {
    let keys = keys_from_wire(found, At::Root, wire.shard_key_selector.take());
    let no_offset = schema::no_offset_with_order(found, wire.offset.is_some(), wire.order_by.is_some());
    let order_by = wire.order_by.map(|order| levels::order_by(found, At::Root.field("order_by"), order)).transpose();
    let offset = wire.offset.map(|id| id_from_wire(found, Some(id))).transpose();
    let limit = checks::limit(found, At::Root.field("limit"), wire.limit.map_or(LIMIT_DEFAULT, u64::from));
    let filter = filter_if_given(found, At::Root.field("filter"), wire.filter);
    let with_payload = with_payload_from_wire(found, wire.with_payload, PayloadSelector::All);
    let with_vectors = with_vectors_from_wire(found, wire.with_vectors);
    let request = no_offset.and_then(|()| {
        Ok(ScrollRequest {
            offset: offset?,
            limit: limit?,
            filter: filter?,
            order_by: order_by?,
            with_payload: with_payload?,
            with_vectors: with_vectors?,
        })
    });
    read_parts!(wire, times).read(found, keys, request)
}

/// A count is always exact.
pub(super) fn count(found: &mut Findings, mut wire: pb::CountPoints, times: Times) -> Checked<Read<Option<Filter>>> {
    let keys = keys_from_wire(found, At::Root, wire.shard_key_selector.take());
    let filter = filter_if_given(found, At::Root.field("filter"), wire.filter);
    read_parts!(wire, times).read(found, keys, filter)
}

/// Counts of a facet are always exact.
pub(super) fn facet(found: &mut Findings, mut wire: pb::FacetCounts, times: Times) -> Checked<Read<FacetRequest>> {
    let keys = keys_from_wire(found, At::Root, wire.shard_key_selector.take());
    let key = checks::path(found, &wire.key);
    let limit = checks::limit(found, At::Root.field("limit"), wire.limit.unwrap_or(LIMIT_DEFAULT));
    let filter = filter_if_given(found, At::Root.field("filter"), wire.filter);
    let request = key.and_then(|key| Ok(FacetRequest { key, limit: limit?, filter: filter? }));
    read_parts!(wire, times).read(found, keys, request)
}

pub(super) fn get(found: &mut Findings, mut wire: pb::GetPoints, times: Times) -> Checked<Read<Get>> {
    let keys = keys_from_wire(found, At::Root, wire.shard_key_selector.take());
    let ids = ids_from_wire(found, wire.ids);
    let with_payload = with_payload_from_wire(found, wire.with_payload, PayloadSelector::None);
    let with_vectors = with_vectors_from_wire(found, wire.with_vectors);
    let request = ids.and_then(|ids| Ok(Get { ids, with_payload: with_payload?, with_vectors: with_vectors? }));
    read_parts!(wire, times).read(found, keys, request)
}

/// An entry of a batch may repeat the batch's collection, not name another one.
fn same_collection(found: &mut Findings, at: At<'_>, batch: &str, entry: &str) -> Checked<()> {
    if entry.is_empty() || entry == batch {
        return Ok(());
    }
    found.refuse(ApiError::bad_request(format_args!("`{at}` names collection `{entry}`, its batch `{batch}`")))
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::api::grpc::pb::{point_id::PointIdOptions, query::Variant, vector_input};
    use crate::model::Vector;
    use crate::model::formula::{Expression, Formula, Variable};
    use crate::model::query::{
        ContextPair, Direction, Fusion, LookupFrom, Mmr, OrderBy, QueryLevel, Ranking, RecommendStrategy,
        RelevanceFeedback, SearchOptions, Target,
    };
    use crate::service::Consistency;

    fn run<T>(convert: impl FnOnce(&mut Findings) -> Checked<T>) -> Result<T, String> {
        let mut found = Findings::new();
        let value = convert(&mut found);
        found.finish("body", value).map_err(|error| error.text)
    }

    fn times() -> Times {
        let started = Instant::now();
        Times { started, latest: Some(started + Duration::from_secs(60)) }
    }

    fn read(wire: pb::QueryPoints) -> Result<QueryRequest, String> {
        run(|found| query(found, wire, times())).map(|read| read.request)
    }

    fn variant(variant: Variant) -> Option<pb::Query> {
        Some(pb::Query { variant: Some(variant) })
    }

    fn nearest(data: &[f32]) -> Option<pb::Query> {
        let dense = vector_input::Variant::Dense(pb::DenseVector { data: data.to_vec() });
        variant(Variant::Nearest(pb::VectorInput { variant: Some(dense) }))
    }

    fn near(values: &[f32]) -> Ranking {
        Ranking::Nearest(Target::Vector(Vector::Dense(values.to_vec())))
    }

    fn plain(ranking: Ranking) -> QueryRequest {
        QueryRequest {
            root: QueryLevel::new(ranking, 10),
            offset: 0,
            with_payload: PayloadSelector::None,
            with_vectors: VectorSelector::None,
        }
    }

    #[test]
    fn protocol_10_2_defaults_of_a_query() {
        assert_eq!(read(pb::QueryPoints::default()), Ok(plain(Ranking::ById)));
        assert_eq!(read(pb::QueryPoints { query: nearest(&[1.0]), ..Default::default() }), Ok(plain(near(&[1.0]))));
    }

    #[test]
    fn every_field_of_a_query_is_read() {
        let id = pb::PointId { point_id_options: Some(PointIdOptions::Num(3)) };
        let target = pb::VectorInput { variant: Some(vector_input::Variant::Id(id)) };
        let params =
            pb::SearchParams { hnsw_ef: Some(64), exact: Some(true), indexed_only: Some(true), ..Default::default() };
        let payload = pb::with_payload_selector::SelectorOptions::Enable(true);
        let vectors = pb::with_vectors_selector::SelectorOptions::Enable(true);
        let wire = pb::QueryPoints {
            query: variant(Variant::Nearest(target)),
            using: Some("v".to_owned()),
            filter: Some(pb::Filter::default()),
            params: Some(params),
            score_threshold: Some(0.5),
            limit: Some(u64::MAX),
            offset: Some(u64::MAX),
            with_payload: Some(pb::WithPayloadSelector { selector_options: Some(payload) }),
            with_vectors: Some(pb::WithVectorsSelector { selector_options: Some(vectors) }),
            lookup_from: Some(pb::LookupLocation {
                collection_name: "other".to_owned(),
                vector_name: Some("w".to_owned()),
                shard_key_selector: None,
            }),
            ..Default::default()
        };
        let lookup_from =
            Some(LookupFrom { collection: "other".to_owned(), vector: Some("w".to_owned()), shard_keys: None });
        let root = QueryLevel {
            using: "v".to_owned(),
            lookup_from,
            filter: Some(Filter::default()),
            options: SearchOptions { ef: Some(64), exact: true, indexed_only: true, ..SearchOptions::default() },
            score_threshold: Some(0.5),
            ..QueryLevel::new(Ranking::Nearest(Target::Point(PointId::Num(3))), usize::MAX)
        };
        let want = QueryRequest {
            root,
            offset: usize::MAX,
            with_payload: PayloadSelector::All,
            with_vectors: VectorSelector::All,
        };
        assert_eq!(read(wire), Ok(want));
    }

    #[test]
    fn protocol_10_2_errors() {
        let invalid = |text: &str| Err(format!("Validation error in body: [{text}]"));
        let wire = pb::QueryPoints { limit: Some(0), ..Default::default() };
        assert_eq!(read(wire), invalid("limit: value 0 invalid, must be 1 or larger"));
        let params = Some(pb::SearchParams { hnsw_ef: Some(0), ..Default::default() });
        let wire = pb::QueryPoints { params, query: nearest(&[]), ..Default::default() };
        let both = "query.nearest.data: dense vector must not be empty; \
                    params.hnsw_ef: value 0 invalid, must be 1 or larger";
        assert_eq!(read(wire), invalid(both));
        let wire = pb::QueryPoints { score_threshold: Some(1.0), ..Default::default() };
        let want = "Bad request: A query is needed to use the score_threshold. \
                    Can't have score_threshold without defining a query.";
        assert_eq!(read(wire), Err(want.to_owned()));
        let wire = pb::QueryPoints { prefetch: vec![Default::default()], ..Default::default() };
        let want =
            "Bad request: A query is needed to merge the prefetches. Can't have prefetches without defining a query.";
        assert_eq!(read(wire), Err(want.to_owned()));
        let wire = pb::QueryPoints { query: Some(pb::Query { variant: None }), ..Default::default() };
        assert_eq!(read(wire), Err("Wrong input: `query` is required".to_owned()));
        let fusion = || pb::QueryPoints { query: variant(Variant::Fusion(0)), ..Default::default() };
        let want = "Bad request: Fusion queries need prefetches: there is nothing to fuse without them.";
        assert_eq!(read(fusion()), Err(want.to_owned()));
        let want = "Bad request: Fusion queries cannot be combined with the 'using' field.";
        let prefetch = vec![pb::PrefetchQuery::default()];
        let wire = pb::QueryPoints { using: Some("v".to_owned()), prefetch, ..fusion() };
        assert_eq!(read(wire), Err(want.to_owned()));
        let order_by = variant(Variant::OrderBy(pb::OrderBy { key: "a".to_owned(), ..Default::default() }));
        let wire = pb::QueryPoints { query: order_by, score_threshold: Some(1.0), ..Default::default() };
        let want = "Bad request: Can't use score_threshold with an order_by query.";
        assert_eq!(read(wire), Err(want.to_owned()));
        let deep = |depth| {
            (1..depth).fold(pb::PrefetchQuery::default(), |inner, _| pb::PrefetchQuery {
                prefetch: vec![inner],
                query: nearest(&[1.0]),
                ..Default::default()
            })
        };
        let nested =
            |depth| pb::QueryPoints { prefetch: vec![deep(depth)], query: nearest(&[1.0]), ..Default::default() };
        assert_eq!(crate::api::levels::depth_of(&read(nested(64)).unwrap().root.prefetch), 64);
        assert_eq!(read(nested(65)), Err("Bad request: prefetches depth 65 exceeds max depth 64".to_owned()));
    }

    #[test]
    fn protocol_10_1_every_kind_of_query_is_read() {
        let id = |num| pb::VectorInput {
            variant: Some(vector_input::Variant::Id(pb::PointId { point_id_options: Some(PointIdOptions::Num(num)) })),
        };
        let point = |num| Target::Point(PointId::Num(num));
        let prefetch = || vec![pb::PrefetchQuery { query: nearest(&[2.0]), limit: Some(7), ..Default::default() }];
        let ranking = |variant: Variant| {
            let wire = pb::QueryPoints {
                query: Some(pb::Query { variant: Some(variant) }),
                prefetch: prefetch(),
                using: None,
                ..Default::default()
            };
            let root = read(wire).unwrap().root;
            let want = QueryLevel::new(near(&[2.0]), 7);
            assert_eq!(root.prefetch, [want]);
            root.ranking
        };
        let mmr = pb::NearestInputWithMmr {
            nearest: Some(id(1)),
            mmr: Some(pb::Mmr { diversity: Some(0.25), candidates_limit: Some(50) }),
        };
        let want = Ranking::Mmr { target: point(1), mmr: Mmr { diversity: 0.25, candidates_limit: Some(50) } };
        assert_eq!(ranking(Variant::NearestWithMmr(mmr)), want);
        let recommend = pb::RecommendInput {
            positive: vec![id(1)],
            negative: vec![id(2)],
            strategy: Some(pb::RecommendStrategy::SumScores as i32),
        };
        let want = Ranking::Recommend {
            positive: vec![point(1)],
            negative: vec![point(2)],
            strategy: RecommendStrategy::SumScores,
        };
        assert_eq!(ranking(Variant::Recommend(recommend)), want);
        let pair = || pb::ContextInputPair { positive: Some(id(3)), negative: Some(id(4)) };
        let pairs = || vec![ContextPair { positive: point(3), negative: point(4) }];
        let discover =
            pb::DiscoverInput { target: Some(id(1)), context: Some(pb::ContextInput { pairs: vec![pair()] }) };
        assert_eq!(ranking(Variant::Discover(discover)), Ranking::Discover { target: point(1), context: pairs() });
        assert_eq!(ranking(Variant::Context(pb::ContextInput { pairs: vec![pair()] })), Ranking::Context(pairs()));
        assert_eq!(ranking(Variant::Fusion(pb::Fusion::Dbsf as i32)), Ranking::Fusion(Fusion::Dbsf));
        let rrf = pb::Rrf { k: Some(9), weights: vec![0.5] };
        let want = Fusion::Rrf { k: 9, weights: Some(vec![0.5]) };
        assert_eq!(ranking(Variant::Rrf(rrf)), Ranking::Fusion(want));
        assert_eq!(ranking(Variant::Sample(0)), Ranking::Sample);
        let score = pb::Expression { variant: Some(pb::expression::Variant::Variable("$score".to_owned())) };
        let negative = pb::Expression { variant: Some(pb::expression::Variant::Neg(Box::new(score))) };
        let formula = pb::Formula { expression: Some(negative), ..Default::default() };
        let want = Expression::Neg(Box::new(Expression::Variable(Variable::Score(0))));
        let want = Formula { expression: want, defaults: vec![] };
        assert_eq!(ranking(Variant::Formula(formula)), Ranking::Formula(want));
        let order = pb::OrderBy { key: "a".to_owned(), direction: Some(pb::Direction::Desc as i32), start_from: None };
        let want = OrderBy { key: "a".parse().unwrap(), direction: Direction::Desc, start_from: None };
        assert_eq!(ranking(Variant::OrderBy(order)), Ranking::OrderBy(want));
        let feedback = pb::RelevanceFeedbackInput {
            target: Some(id(1)),
            feedback: vec![pb::FeedbackItem { example: Some(id(2)), score: 0.5 }],
            strategy: Some(pb::FeedbackStrategy {
                variant: Some(pb::feedback_strategy::Variant::Naive(pb::NaiveFeedbackStrategy {
                    a: 1.0,
                    b: 2.0,
                    c: 3.0,
                })),
            }),
        };
        let want = RelevanceFeedback { target: point(1), feedback: vec![(point(2), 0.5)], a: 1.0, b: 2.0, c: 3.0 };
        assert_eq!(ranking(Variant::RelevanceFeedback(feedback)), Ranking::RelevanceFeedback(want));
    }

    #[test]
    fn what_is_not_built_is_named() {}

    #[test]
    fn protocol_17_the_old_search() {
        let read = |wire| run(|found| search(found, wire, times())).map(|read| read.request);
        let wire = pb::SearchPoints {
            vector: vec![1.0],
            vector_name: Some("v".to_owned()),
            limit: 3,
            offset: Some(2),
            score_threshold: Some(0.0),
            filter: Some(pb::Filter::default()),
            ..Default::default()
        };
        let target = Target::Vector(Vector::Dense(vec![1.0]));
        let root = QueryLevel {
            using: "v".to_owned(),
            score_threshold: Some(0.0),
            filter: Some(Filter::default()),
            ..QueryLevel::new(Ranking::Nearest(target), 3)
        };
        let want = QueryRequest { root, offset: 2, ..plain(Ranking::ById) };
        assert_eq!(read(wire), Ok(want));
        let want = "Validation error in body: [vector: dense vector must not be empty; \
                    limit: value 0 invalid, must be 1 or larger]";
        assert_eq!(read(pb::SearchPoints::default()), Err(want.to_owned()));
    }

    #[test]
    fn batches_are_read_as_a_whole() {
        let entry = |name: &str, limit| pb::QueryPoints {
            collection_name: name.to_owned(),
            limit: Some(limit),
            ..Default::default()
        };
        let read = |query_points| {
            let wire = pb::QueryBatchPoints { collection_name: "c".to_owned(), query_points, ..Default::default() };
            run(|found| query_batch(found, wire, times())).map(|read| read.request)
        };
        assert_eq!(read(vec![]), Ok(vec![]));
        let limits =
            read(vec![entry("c", 1), entry("", 2)]).unwrap().iter().map(|query| query.root.limit).collect::<Vec<_>>();
        assert_eq!(limits, [1, 2]);
        let want = "Validation error in body: [query_points[0].limit: value 0 invalid, must be 1 or larger; \
                    query_points[2].limit: value 0 invalid, must be 1 or larger]";
        assert_eq!(read(vec![entry("c", 0), entry("c", 1), entry("c", 0)]), Err(want.to_owned()));
        let want = "Bad request: `query_points[1]` names collection `d`, its batch `c`";
        assert_eq!(read(vec![entry("c", 1), entry("d", 1)]), Err(want.to_owned()));
    }

    #[test]
    fn protocol_20_a_scroll_shows_payloads_and_a_get_does_not() {
        let id = |num| pb::PointId { point_id_options: Some(PointIdOptions::Num(num)) };
        let read = run(|found| scroll(found, pb::ScrollPoints::default(), times())).unwrap().request;
        let want = ScrollRequest {
            offset: None,
            limit: 10,
            filter: None,
            order_by: None,
            with_payload: PayloadSelector::All,
            with_vectors: VectorSelector::None,
        };
        assert_eq!(read, want);
        let wire = pb::ScrollPoints { offset: Some(id(4)), limit: Some(u32::MAX), ..Default::default() };
        let read = run(|found| scroll(found, wire, times())).unwrap().request;
        assert_eq!((read.offset, read.limit), (Some(PointId::Num(4)), u32::MAX as usize));
        let wire = pb::ScrollPoints { limit: Some(0), ..Default::default() };
        assert_eq!(
            run(|found| scroll(found, wire, times())).unwrap_err(),
            "Validation error in body: [limit: value 0 invalid, must be 1 or larger]"
        );
        let wire = pb::GetPoints { ids: vec![id(2), id(1)], ..Default::default() };
        let read = run(|found| get(found, wire, times())).unwrap().request;
        assert_eq!(read.ids, [PointId::Num(2), PointId::Num(1)]);
        assert_eq!((read.with_payload, read.with_vectors), (PayloadSelector::None, VectorSelector::None));
    }

    #[test]
    fn a_read_without_a_timeout_gets_the_servers() {
        let times = times();
        let read = |timeout, factor| {
            let value = Some(pb::read_consistency::Value::Factor(factor));
            let read_consistency = Some(pb::ReadConsistency { value });
            let wire = pb::CountPoints { timeout, read_consistency, ..Default::default() };
            run(|found| count(found, wire, times)).map(|read| (read.options.deadline, read.options.consistency))
        };
        assert_eq!(read(None, 1), Ok((times.latest, Consistency::Any)));
        let deadline = times.started + Duration::from_secs(100);
        assert_eq!(read(Some(100), 1), Ok((Some(deadline), Consistency::Any)));
        let want = "Validation error in body: [read_consistency.factor: value 0 invalid, must be 1 or larger; \
                    timeout: value 0 invalid, must be 1 or larger]";
        assert_eq!(read(Some(0), 0), Err(want.to_owned()));
    }
}
