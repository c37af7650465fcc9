//! Reads in: query, search, scroll, count, retrieve (PROTOCOL sections 9, 10, 17, 20).

use super::call::Times;
use super::filter::filter_if_given;
use super::pb::{self, query::Variant};
use super::point::{
    consistency_from_wire, id_from_wire, ids_from_wire, required, with_payload_from_wire, with_vectors_from_wire,
};
use super::vector::target_from_wire;
use super::write::SHARD_KEY;
use crate::api::checks::{self, At, Checked, Findings, QueryKind, QuerySetting, RankingParts, each};
use crate::api::status::ApiError;
use crate::model::query::{LookupFrom, QueryLevel, ScrollRequest, SearchOptions, Target};
use crate::model::{Filter, PayloadSelector, PointId, QueryRequest, VectorSelector};
use crate::service::ReadOptions;

/// Results of a query or a scroll that does not say how many.
const LIMIT_DEFAULT: u64 = 10;

/// A read, to be run as `options` say.
#[derive(Debug)]
pub(super) struct Read<T> {
    pub(super) collection: String,
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

impl ReadParts {
    fn read<T>(self, found: &mut Findings, request: Checked<T>) -> Checked<Read<T>> {
        let consistency = consistency_from_wire(found, self.consistency);
        let deadline = checks::deadline(found, At::Root.field("timeout"), self.times.started, self.timeout);
        let options = ReadOptions {
            consistency: consistency?,
            deadline: deadline?.or(self.times.latest),
            timeout_s: self.timeout,
        };
        Ok(Read { collection: self.collection, request: request?, options })
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
    let request = query_request(found, At::Root, wire);
    parts.read(found, request)
}

/// All queries run under the batch's own consistency and deadline.
pub(super) fn query_batch(
    found: &mut Findings,
    mut wire: pb::QueryBatchPoints,
    times: Times,
) -> Checked<Read<Vec<QueryRequest>>> {
    let at = At::Root.field("query_points");
    let requests = each(wire.query_points, |i, query| {
        same_collection(found, at.item(i), &wire.collection_name, &query.collection_name)?;
        query_request(found, at.item(i), query)
    });
    read_parts!(wire, times).read(found, requests)
}

pub(super) fn search(found: &mut Findings, mut wire: pb::SearchPoints, times: Times) -> Checked<Read<QueryRequest>> {
    let parts = read_parts!(wire, times);
    let request = search_request(found, At::Root, wire);
    parts.read(found, request)
}

/// All searches run under the batch's own consistency and deadline.
pub(super) fn search_batch(
    found: &mut Findings,
    mut wire: pb::SearchBatchPoints,
    times: Times,
) -> Checked<Read<Vec<QueryRequest>>> {
    let at = At::Root.field("search_points");
    let requests = each(wire.search_points, |i, search| {
        same_collection(found, at.item(i), &wire.collection_name, &search.collection_name)?;
        search_request(found, at.item(i), search)
    });
    read_parts!(wire, times).read(found, requests)
}

pub(super) fn scroll(found: &mut Findings, mut wire: pb::ScrollPoints, times: Times) -> Checked<Read<ScrollRequest>> {
    let shard_key = found.absent(&wire.shard_key_selector, SHARD_KEY);
    let order_by = found.absent(&wire.order_by, "order_by");
    let offset = wire.offset.map(|id| id_from_wire(found, Some(id))).transpose();
    let limit = checks::limit(found, At::Root.field("limit"), wire.limit.map_or(LIMIT_DEFAULT, u64::from));
    let filter = filter_if_given(found, At::Root.field("filter"), wire.filter);
    let with_payload = with_payload_from_wire(found, wire.with_payload, PayloadSelector::All);
    let with_vectors = with_vectors_from_wire(found, wire.with_vectors);
    let request = shard_key.and(order_by).and_then(|()| {
        Ok(ScrollRequest {
            offset: offset?,
            limit: limit?,
            filter: filter?,
            order_by: None,
            with_payload: with_payload?,
            with_vectors: with_vectors?,
        })
    });
    read_parts!(wire, times).read(found, request)
}

/// A count is always exact.
pub(super) fn count(found: &mut Findings, mut wire: pb::CountPoints, times: Times) -> Checked<Read<Option<Filter>>> {
    let shard_key = found.absent(&wire.shard_key_selector, SHARD_KEY);
    let filter = filter_if_given(found, At::Root.field("filter"), wire.filter);
    read_parts!(wire, times).read(found, shard_key.and(filter))
}

pub(super) fn get(found: &mut Findings, mut wire: pb::GetPoints, times: Times) -> Checked<Read<Get>> {
    let shard_key = found.absent(&wire.shard_key_selector, SHARD_KEY);
    let ids = ids_from_wire(found, wire.ids);
    let with_payload = with_payload_from_wire(found, wire.with_payload, PayloadSelector::None);
    let with_vectors = with_vectors_from_wire(found, wire.with_vectors);
    let request =
        shard_key.and_then(|()| Ok(Get { ids: ids?, with_payload: with_payload?, with_vectors: with_vectors? }));
    read_parts!(wire, times).read(found, request)
}

/// An entry of a batch may repeat the batch's collection, not name another one.
fn same_collection(found: &mut Findings, at: At<'_>, batch: &str, entry: &str) -> Checked<()> {
    if entry.is_empty() || entry == batch {
        return Ok(());
    }
    found.refuse(ApiError::bad_request(format_args!("`{at}` names collection `{entry}`, its batch `{batch}`")))
}

fn query_request(found: &mut Findings, at: At<'_>, wire: pb::QueryPoints) -> Checked<QueryRequest> {
    let shard_key = found.absent(&wire.shard_key_selector, SHARD_KEY);
    let depth = depth(&wire.prefetch);
    let prefetch = checks::prefetch_depth(found, depth);
    let setting = QuerySetting {
        has_prefetch: depth > 0,
        using: wire.using.as_deref(),
        has_score_threshold: wire.score_threshold.is_some(),
    };
    let target = match wire.query {
        None if depth > 0 => checks::prefetch(found, false),
        None => Ok(None),
        Some(query) => target(found, at.field("query"), query, setting).map(Some),
    };
    let lookup_from = wire.lookup_from.map(|lookup| lookup_from(found, lookup)).transpose();
    let offset = checks::count_from_u64(wire.offset.unwrap_or(0));
    let limit = checks::limit(found, at.field("limit"), wire.limit.unwrap_or(LIMIT_DEFAULT));
    let filter = filter_if_given(found, at.field("filter"), wire.filter);
    let options = search_options(found, at.field("params"), wire.params);
    let with_payload = with_payload_from_wire(found, wire.with_payload, PayloadSelector::None);
    let with_vectors = with_vectors_from_wire(found, wire.with_vectors);
    shard_key.and(prefetch)?;
    let (using, score_threshold) = (wire.using, wire.score_threshold);
    let parts = RankingParts { target: target?, score_threshold };
    let root = QueryLevel {
        prefetch: Vec::new(),
        ranking: checks::ranking(found, parts)?,
        using: using.unwrap_or_default(),
        lookup_from: lookup_from?,
        filter: filter?,
        options: options?,
        score_threshold,
        limit: limit?,
    };
    Ok(QueryRequest { root, offset, with_payload: with_payload?, with_vectors: with_vectors? })
}

fn search_request(found: &mut Findings, at: At<'_>, wire: pb::SearchPoints) -> Checked<QueryRequest> {
    let shard_key = found.absent(&wire.shard_key_selector, SHARD_KEY);
    let vector = match wire.sparse_indices {
        Some(indices) => checks::sparse(found, at, &indices.data, wire.vector.len()),
        None => checks::dense(found, at.field("vector"), wire.vector),
    };
    let limit = checks::limit(found, at.field("limit"), wire.limit);
    let filter = filter_if_given(found, at.field("filter"), wire.filter);
    let options = search_options(found, at.field("params"), wire.params);
    let with_payload = with_payload_from_wire(found, wire.with_payload, PayloadSelector::None);
    let with_vectors = with_vectors_from_wire(found, wire.with_vectors);
    shard_key?;
    let score_threshold = wire.score_threshold;
    let parts = RankingParts { target: Some(Target::Vector(vector?)), score_threshold };
    let root = QueryLevel {
        prefetch: Vec::new(),
        ranking: checks::ranking(found, parts)?,
        using: wire.vector_name.unwrap_or_default(),
        lookup_from: None,
        filter: filter?,
        options: options?,
        score_threshold,
        limit: limit?,
    };
    Ok(QueryRequest {
        root,
        offset: checks::count_from_u64(wire.offset.unwrap_or(0)),
        with_payload: with_payload?,
        with_vectors: with_vectors?,
    })
}

/// Levels of prefetches inside each other; 0 when there are none.
fn depth(prefetches: &[pb::PrefetchQuery]) -> usize {
    prefetches.iter().map(|one| 1 + depth(&one.prefetch)).max().unwrap_or(0)
}

fn target(found: &mut Findings, at: At<'_>, wire: pb::Query, setting: QuerySetting<'_>) -> Checked<Target> {
    let kind = match required(found, at, wire.variant)? {
        Variant::Nearest(_) if setting.has_prefetch => return checks::prefetch(found, true),
        Variant::Nearest(nearest) => return target_from_wire(found, at.field("nearest"), nearest),
        Variant::Text(_) => return found.unimplemented("query: text"),
        Variant::NearestWithMmr(_) => QueryKind::Mmr,
        Variant::Recommend(_) => QueryKind::Recommend,
        Variant::Discover(_) => QueryKind::Discover,
        Variant::Context(_) => QueryKind::Context,
        Variant::OrderBy(_) => QueryKind::OrderBy,
        Variant::Fusion(_) | Variant::Rrf(_) => QueryKind::Fusion,
        Variant::Sample(_) => QueryKind::Sample,
        Variant::Formula(_) => QueryKind::Formula,
        Variant::RelevanceFeedback(_) => QueryKind::RelevanceFeedback,
    };
    checks::query_kind(found, kind, setting)
}

fn lookup_from(found: &mut Findings, wire: pb::LookupLocation) -> Checked<LookupFrom> {
    found.absent(&wire.shard_key_selector, SHARD_KEY)?;
    Ok(LookupFrom { collection: wire.collection_name, vector: wire.vector_name })
}

fn search_options(found: &mut Findings, at: At<'_>, wire: Option<pb::SearchParams>) -> Checked<SearchOptions> {
    let Some(wire) = wire else { return Ok(SearchOptions::default()) };
    let lacking = [
        found.absent(&wire.quantization, "params.quantization"),
        found.absent(&wire.acorn, "params.acorn"),
        found.absent(&wire.idf, "params.idf"),
    ];
    let ef = checks::hnsw_ef(found, at.field("hnsw_ef"), wire.hnsw_ef);
    lacking.into_iter().collect::<Checked<()>>()?;
    Ok(SearchOptions {
        ef: ef?,
        exact: wire.exact.unwrap_or(false),
        indexed_only: wire.indexed_only.unwrap_or(false),
        idf: None,
        oversampling: None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::*;
    use crate::api::grpc::pb::{point_id::PointIdOptions, vector_input};
    use crate::model::Vector;
    use crate::model::query::Ranking;
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
        let lookup_from = Some(LookupFrom { collection: "other".to_owned(), vector: Some("w".to_owned()) });
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
        let want = "Bad request: A query of kind fusion needs prefetches to work on.";
        assert_eq!(read(fusion()), Err(want.to_owned()));
        let want = "Bad request: Fusion queries cannot be combined with the 'using' field.";
        assert_eq!(read(pb::QueryPoints { using: Some("v".to_owned()), ..fusion() }), Err(want.to_owned()));
        let order_by = variant(Variant::OrderBy(pb::OrderBy::default()));
        let wire = pb::QueryPoints { query: order_by, score_threshold: Some(1.0), ..Default::default() };
        let want = "Bad request: Can't use score_threshold with an order_by query.";
        assert_eq!(read(wire), Err(want.to_owned()));
        let deep = |depth| {
            (1..depth).fold(pb::PrefetchQuery::default(), |inner, _| pb::PrefetchQuery {
                prefetch: vec![inner],
                ..Default::default()
            })
        };
        let nested =
            |depth| pb::QueryPoints { prefetch: vec![deep(depth)], query: nearest(&[1.0]), ..Default::default() };
        assert_eq!(read(nested(64)), Err("Not implemented: prefetch".to_owned()));
        assert_eq!(read(nested(65)), Err("Bad request: prefetches depth 65 exceeds max depth 64".to_owned()));
    }

    #[test]
    fn what_is_not_built_is_named() {
        let queries = [
            (Variant::NearestWithMmr(Default::default()), "query: mmr"),
            (Variant::Recommend(Default::default()), "query: recommend"),
            (Variant::Discover(Default::default()), "query: discover"),
            (Variant::Context(Default::default()), "query: context"),
            (Variant::OrderBy(Default::default()), "query: order_by"),
            (Variant::Fusion(0), "query: fusion"),
            (Variant::Rrf(Default::default()), "query: fusion"),
            (Variant::Sample(0), "query: sample"),
            (Variant::Formula(Default::default()), "query: formula"),
            (Variant::RelevanceFeedback(Default::default()), "query: relevance_feedback"),
            (Variant::Text(Default::default()), "query: text"),
        ];
        let params = |params| pb::QueryPoints { params: Some(params), ..Default::default() };
        let quantization = Some(pb::QuantizationSearchParams::default());
        let others = [
            (params(pb::SearchParams { quantization, ..Default::default() }), "params.quantization"),
            (params(pb::SearchParams { acorn: Some(Default::default()), ..Default::default() }), "params.acorn"),
            (params(pb::SearchParams { idf: Some(Default::default()), ..Default::default() }), "params.idf"),
            (
                pb::QueryPoints { prefetch: vec![Default::default()], query: nearest(&[1.0]), ..Default::default() },
                "prefetch",
            ),
            (pb::QueryPoints { shard_key_selector: Some(Default::default()), ..Default::default() }, SHARD_KEY),
        ];
        let prefetch = vec![pb::PrefetchQuery::default()];
        let queries = queries.into_iter().map(|(query, what)| {
            (pb::QueryPoints { query: variant(query), prefetch: prefetch.clone(), ..Default::default() }, what)
        });
        for (wire, what) in queries.chain(others) {
            assert_eq!(read(wire), Err(format!("Not implemented: {what}")));
        }
        let wire = pb::ScrollPoints { order_by: Some(pb::OrderBy::default()), ..Default::default() };
        assert_eq!(run(|found| scroll(found, wire, times())).unwrap_err(), "Not implemented: order_by");
        let sparse_indices = Some(pb::SparseIndices { data: vec![1] });
        let wire = pb::SearchPoints { vector: vec![1.0], limit: 1, sparse_indices, ..Default::default() };
        assert_eq!(run(|found| search(found, wire, times())).unwrap_err(), "Not implemented: sparse vectors");
    }

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
