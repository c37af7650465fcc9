//! Queries in: what a level ranks by, the levels around it, groups and matrices (PROTOCOL sections 9.5 to 17).

use super::filter::{condition_from_wire, filter_if_given, geo_point, timestamp_from_wire};
use super::pb::{self, query::Variant};
use super::point::{required, with_payload_from_wire, with_vectors_from_wire};
use super::shard_key::keys_from_wire;
use super::value::value_from_wire;
use super::vector::{example_from_wire, target_from_wire};
use crate::api::checks::{self, At, Checked, Findings, each};
use crate::api::levels::{self, LevelParts};
use crate::api::status::ApiError;
use crate::model::formula::{Decay, Expression, Formula};
use crate::model::query::{
    ContextPair, Fusion, Group, GroupId, GroupsRequest, IdfCorpus, LookupFrom, Matrix, MatrixRequest, OrderBy,
    OrderValue, QueryLevel, QueryRequest, Ranking, RecommendStrategy, RelevanceFeedback, SearchOptions, StartFrom,
    Target, WithLookup,
};
use crate::model::{PayloadSelector, Vector};

/// Results of a level that does not say how many.
pub(super) const LIMIT_DEFAULT: u64 = 10;
/// Hits per group of a query that does not say how many.
const GROUP_SIZE_DEFAULT: u64 = 3;
const MATRIX_SAMPLE_DEFAULT: u64 = 10;
const MATRIX_LIMIT_DEFAULT: u64 = 3;

/// What a level ranks by.
fn ranking(found: &mut Findings, at: At<'_>, wire: pb::Query) -> Checked<Ranking> {
    match required(found, at, wire.variant)? {
        Variant::Nearest(nearest) => target_from_wire(found, at.field("nearest"), nearest).map(Ranking::Nearest),
        Variant::NearestWithMmr(wire) => {
            let at = at.field("nearest_with_mmr");
            let target = input(found, at.field("nearest"), wire.nearest);
            let mmr = wire.mmr.unwrap_or_default();
            let limit = mmr.candidates_limit.map(u64::from);
            let mmr = levels::mmr(found, at.field("mmr"), mmr.diversity, limit);
            Ok(Ranking::Mmr { target: target?, mmr: mmr? })
        }
        Variant::Recommend(wire) => {
            let at = at.field("recommend");
            let strategy = strategy(found, at, wire.strategy);
            let positive = inputs(found, at.field("positive"), wire.positive);
            let negative = inputs(found, at.field("negative"), wire.negative);
            levels::recommend(found, at, positive?, negative?, strategy?)
        }
        Variant::Discover(wire) => {
            let at = at.field("discover");
            let target = input(found, at.field("target"), wire.target);
            let context = pairs(found, at.field("context"), wire.context.unwrap_or_default().pairs);
            Ok(Ranking::Discover { target: target?, context: context? })
        }
        Variant::Context(wire) => match pairs(found, at.field("context"), wire.pairs)? {
            pairs if pairs.is_empty() => found.invalid(at.field("context"), "context pairs must be non-empty"),
            pairs => Ok(Ranking::Context(pairs)),
        },
        Variant::RelevanceFeedback(wire) => {
            let at = at.field("relevance_feedback");
            let target = input(found, at.field("target"), wire.target);
            let list = at.field("feedback");
            let feedback = each(wire.feedback, |i, item| {
                Ok((input(found, list.item(i).field("example"), item.example)?, item.score))
            });
            let strategy = required(found, at.field("strategy"), wire.strategy.and_then(|wire| wire.variant));
            let pb::feedback_strategy::Variant::Naive(pb::NaiveFeedbackStrategy { a, b, c }) = strategy?;
            let feedback = RelevanceFeedback { target: target?, feedback: feedback?, a, b, c };
            levels::relevance_feedback(found, at, feedback)
        }
        Variant::OrderBy(wire) => order_by(found, at.field("order_by"), wire).map(Ranking::OrderBy),
        Variant::Fusion(wire) => match pb::Fusion::try_from(wire) {
            Ok(pb::Fusion::Rrf) => levels::rrf(found, at.field("fusion"), None, None).map(Ranking::Fusion),
            Ok(pb::Fusion::Dbsf) => Ok(Ranking::Fusion(Fusion::Dbsf)),
            Err(_) => found.invalid(at.field("fusion"), format!("value {wire} invalid, unknown")),
        },
        Variant::Rrf(wire) => {
            let weights = Some(wire.weights).filter(|weights| !weights.is_empty());
            levels::rrf(found, at.field("rrf"), wire.k.map(u64::from), weights).map(Ranking::Fusion)
        }
        Variant::Sample(wire) => match pb::Sample::try_from(wire) {
            Ok(pb::Sample::Random) => Ok(Ranking::Sample),
            Err(_) => found.invalid(at.field("sample"), format!("value {wire} invalid, unknown")),
        },
        Variant::Formula(wire) => formula(found, at.field("formula"), wire).map(Ranking::Formula),
        Variant::Text(wire) => {
            let pb::TextQuery { query, scoring } = wire;
            let (k, b) = match scoring {
                Some(pb::text_query::Scoring::Bm25(bm25)) => (bm25.k, bm25.b),
                None => (None, None),
            };
            levels::text(found, at.field("text").field("bm25"), query, k, b)
        }
    }
}

fn input(found: &mut Findings, at: At<'_>, wire: Option<pb::VectorInput>) -> Checked<Target> {
    let wire = required(found, at, wire)?;
    target_from_wire(found, at, wire)
}

fn inputs(found: &mut Findings, at: At<'_>, wire: Vec<pb::VectorInput>) -> Checked<Vec<Target>> {
    each(wire, |i, input| target_from_wire(found, at.item(i), input))
}

fn pairs(found: &mut Findings, at: At<'_>, wire: Vec<pb::ContextInputPair>) -> Checked<Vec<ContextPair>> {
    each(wire, |i, pair| {
        let at = at.item(i);
        let positive = input(found, at.field("positive"), pair.positive);
        let negative = input(found, at.field("negative"), pair.negative);
        Ok(ContextPair { positive: positive?, negative: negative? })
    })
}

fn strategy(found: &mut Findings, at: At<'_>, wire: Option<i32>) -> Checked<RecommendStrategy> {
    match wire.map(pb::RecommendStrategy::try_from) {
        None | Some(Ok(pb::RecommendStrategy::AverageVector)) => Ok(RecommendStrategy::AverageVector),
        Some(Ok(pb::RecommendStrategy::BestScore)) => Ok(RecommendStrategy::BestScore),
        Some(Ok(pb::RecommendStrategy::SumScores)) => Ok(RecommendStrategy::SumScores),
        Some(Err(_)) => found.invalid(at.field("strategy"), "value invalid, unknown"),
    }
}

/// An order by a field.
pub(super) fn order_by(found: &mut Findings, at: At<'_>, wire: pb::OrderBy) -> Checked<OrderBy> {
    use pb::start_from::Value;
    let start_from = match wire.start_from.and_then(|start| start.value) {
        None => None,
        Some(Value::Integer(value)) => Some(StartFrom::Integer(value)),
        Some(Value::Float(value)) => Some(StartFrom::Float(value)),
        Some(Value::Timestamp(value)) => {
            let instant = timestamp_from_wire(found, at.field("start_from"), value)?;
            Some(StartFrom::Datetime(instant))
        }
        Some(Value::Datetime(text)) => Some(StartFrom::Datetime(checks::datetime(found, &text)?)),
    };
    let is_descending = match wire.direction.map(pb::Direction::try_from) {
        None | Some(Ok(pb::Direction::Asc)) => false,
        Some(Ok(pb::Direction::Desc)) => true,
        Some(Err(_)) => return found.invalid(at.field("direction"), "value invalid, unknown"),
    };
    levels::order_by(found, &wire.key, is_descending, start_from)
}

fn formula(found: &mut Findings, at: At<'_>, wire: pb::Formula) -> Checked<Formula> {
    let given = required(found, at.field("expression"), wire.expression)?;
    let expression = expression(found, at.field("expression"), given);
    let defaults =
        each(wire.defaults, |_, (name, value)| Ok((levels::variable(found, &name)?, value_from_wire(found, value)?)));
    Ok(Formula { expression: expression?, defaults: defaults? })
}

/// Recurses as deep as the decoder of the message allowed.
fn expression(found: &mut Findings, at: At<'_>, wire: pb::Expression) -> Checked<Expression> {
    use pb::expression::Variant as E;
    let mut boxed = |wire: Option<Box<pb::Expression>>| -> Checked<Box<Expression>> {
        let wire = required(found, at, wire)?;
        expression(found, at, *wire).map(Box::new)
    };
    Ok(match wire.variant {
        Some(E::Constant(value)) => Expression::Constant(f64::from(value)),
        Some(E::Variable(name)) => Expression::Variable(levels::variable(found, &name)?),
        Some(E::Condition(wire)) => Expression::Condition(Box::new(condition_from_wire(found, at, wire)?)),
        Some(E::GeoDistance(wire)) => {
            let origin = geo_point(found, at.field("origin"), wire.origin)?;
            Expression::GeoDistance { origin, to: checks::path(found, &wire.to)? }
        }
        Some(E::Datetime(text)) => Expression::Datetime(checks::datetime(found, &text)?),
        Some(E::DatetimeKey(key)) => Expression::DatetimeKey(checks::path(found, &key)?),
        Some(E::Mult(wire)) => Expression::Mult(expressions(found, at.field("mult"), wire.mult)?),
        Some(E::Sum(wire)) => Expression::Sum(expressions(found, at.field("sum"), wire.sum)?),
        Some(E::Max(wire)) => {
            let operands = expressions(found, at.field("max"), wire.max)?;
            Expression::Max(levels::operands(found, "max", operands)?)
        }
        Some(E::Min(wire)) => {
            let operands = expressions(found, at.field("min"), wire.min)?;
            Expression::Min(levels::operands(found, "min", operands)?)
        }
        Some(E::Div(wire)) => {
            let by_zero_default = wire.by_zero_default.map(f64::from);
            Expression::Div { left: boxed(wire.left)?, right: boxed(wire.right)?, by_zero_default }
        }
        Some(E::Pow(wire)) => Expression::Pow { base: boxed(wire.base)?, exponent: boxed(wire.exponent)? },
        Some(E::Neg(wire)) => Expression::Neg(boxed(Some(wire))?),
        Some(E::Abs(wire)) => Expression::Abs(boxed(Some(wire))?),
        Some(E::Sqrt(wire)) => Expression::Sqrt(boxed(Some(wire))?),
        Some(E::Exp(wire)) => Expression::Exp(boxed(Some(wire))?),
        Some(E::Log10(wire)) => Expression::Log10(boxed(Some(wire))?),
        Some(E::Ln(wire)) => Expression::Ln(boxed(Some(wire))?),
        Some(E::Acosh(wire)) => Expression::Acosh(boxed(Some(wire))?),
        Some(E::LinDecay(wire)) => decay(found, at.field("lin_decay"), Decay::Linear, *wire)?,
        Some(E::ExpDecay(wire)) => decay(found, at.field("exp_decay"), Decay::Exponential, *wire)?,
        Some(E::GaussDecay(wire)) => decay(found, at.field("gauss_decay"), Decay::Gaussian, *wire)?,
        None => return found.refuse(ApiError::wrong_input(format_args!("`{at}` holds no expression"))),
    })
}

fn expressions(found: &mut Findings, at: At<'_>, wire: Vec<pb::Expression>) -> Checked<Vec<Expression>> {
    each(wire, |i, operand| expression(found, at.item(i), operand))
}

fn decay(found: &mut Findings, at: At<'_>, kind: Decay, wire: pb::DecayParamsExpression) -> Checked<Expression> {
    let x = required(found, at.field("x"), wire.x)?;
    let x = expression(found, at.field("x"), *x);
    let target = wire.target.map(|target| expression(found, at.field("target"), *target)).transpose();
    levels::decay(found, kind, x?, target?, (wire.scale.map(f64::from), wire.midpoint.map(f64::from)))
}

/// Where points are looked up.
fn lookup_from(found: &mut Findings, wire: Option<pb::LookupLocation>) -> Checked<Option<LookupFrom>> {
    let Some(wire) = wire else { return Ok(None) };
    let shard_keys = keys_from_wire(found, At::Root.field("lookup_from"), wire.shard_key_selector)?;
    Ok(Some(LookupFrom { collection: wire.collection_name, vector: wire.vector_name, shard_keys }))
}

/// `params` of a search.
fn options(found: &mut Findings, at: At<'_>, wire: Option<pb::SearchParams>) -> Checked<SearchOptions> {
    let Some(wire) = wire else { return Ok(SearchOptions::default()) };
    let ef = checks::hnsw_ef(found, at.field("hnsw_ef"), wire.hnsw_ef);
    let quantization = wire.quantization.unwrap_or_default();
    let oversampling = levels::oversampling(found, at.field("quantization"), quantization.oversampling);
    let selectivity = match wire.acorn.and_then(|acorn| acorn.max_selectivity) {
        None => Ok(0.0),
        Some(share) => checks::within(found, at.field("acorn").field("max_selectivity"), share, 0.0, 1.0),
    };
    let idf = match wire.idf {
        None => Ok(None),
        Some(pb::IdfParams { corpus: None }) => Ok(Some(IdfCorpus::Global)),
        Some(pb::IdfParams { corpus }) => filter_if_given(found, at.field("idf").field("corpus"), corpus)
            .map(|filter| Some(filter.map_or(IdfCorpus::Global, IdfCorpus::Filter))),
    };
    selectivity?;
    Ok(SearchOptions {
        ef: ef?,
        exact: wire.exact.unwrap_or(false),
        indexed_only: wire.indexed_only.unwrap_or(false),
        idf: idf?,
        oversampling: oversampling?,
        ignores_codes: quantization.ignore.unwrap_or(false),
        rescores: quantization.rescore,
    })
}

/// A level as every message spells it.
struct LevelWire {
    prefetch: Vec<pb::PrefetchQuery>,
    ranking: Checked<Option<Ranking>>,
    using: Option<String>,
    filter: Option<pb::Filter>,
    params: Option<pb::SearchParams>,
    score_threshold: Option<f32>,
    limit: u64,
    lookup_from: Option<pb::LookupLocation>,
}

fn depth(prefetches: &[pb::PrefetchQuery]) -> usize {
    prefetches.iter().map(|one| 1 + depth(&one.prefetch)).max().unwrap_or(0)
}

fn level(found: &mut Findings, at: At<'_>, wire: LevelWire) -> Checked<QueryLevel> {
    checks::prefetch_depth(found, depth(&wire.prefetch))?;
    let at_prefetch = at.field("prefetch");
    let prefetch = each(wire.prefetch, |i, source| {
        let at = at_prefetch.item(i);
        let ranking = source.query.map(|query| ranking(found, at.field("query"), query)).transpose();
        let wire = LevelWire {
            prefetch: source.prefetch,
            ranking,
            using: source.using,
            filter: source.filter,
            params: source.params,
            score_threshold: source.score_threshold,
            limit: source.limit.unwrap_or(LIMIT_DEFAULT),
            lookup_from: source.lookup_from,
        };
        level(found, at, wire)
    });
    let lookup_from = lookup_from(found, wire.lookup_from);
    let filter = filter_if_given(found, at.field("filter"), wire.filter);
    let options = options(found, at.field("params"), wire.params);
    let limit = checks::limit(found, at.field("limit"), wire.limit);
    let parts = LevelParts {
        prefetch: prefetch?,
        ranking: wire.ranking?,
        using: wire.using,
        lookup_from: lookup_from?,
        filter: filter?,
        options: options?,
        score_threshold: wire.score_threshold,
        limit: limit?,
    };
    levels::level(found, parts)
}

/// What of a hit is shown, and from where on.
struct ShownWire {
    offset: Option<u64>,
    with_payload: Option<pb::WithPayloadSelector>,
    with_vectors: Option<pb::WithVectorsSelector>,
}

fn request(found: &mut Findings, root: Checked<QueryLevel>, wire: ShownWire) -> Checked<QueryRequest> {
    let with_payload = with_payload_from_wire(found, wire.with_payload, PayloadSelector::None);
    let with_vectors = with_vectors_from_wire(found, wire.with_vectors);
    Ok(QueryRequest {
        root: root?,
        offset: checks::count_from_u64(wire.offset.unwrap_or(0)),
        with_payload: with_payload?,
        with_vectors: with_vectors?,
    })
}

/// A query.
pub(super) fn query(found: &mut Findings, at: At<'_>, wire: pb::QueryPoints) -> Checked<QueryRequest> {
    let ranking = wire.query.map(|query| ranking(found, at.field("query"), query)).transpose();
    let root = LevelWire {
        prefetch: wire.prefetch,
        ranking,
        using: wire.using,
        filter: wire.filter,
        params: wire.params,
        score_threshold: wire.score_threshold,
        limit: wire.limit.unwrap_or(LIMIT_DEFAULT),
        lookup_from: wire.lookup_from,
    };
    let root = level(found, at, root);
    let shown = ShownWire { offset: wire.offset, with_payload: wire.with_payload, with_vectors: wire.with_vectors };
    request(found, root, shown)
}

/// The old search.
pub(super) fn search(found: &mut Findings, at: At<'_>, wire: pb::SearchPoints) -> Checked<QueryRequest> {
    let vector = flat_vector(found, at, wire.vector, wire.sparse_indices);
    let root = LevelWire {
        prefetch: Vec::new(),
        ranking: vector.map(|vector| Some(Ranking::Nearest(Target::Vector(vector)))),
        using: wire.vector_name,
        filter: wire.filter,
        params: wire.params,
        score_threshold: wire.score_threshold,
        limit: wire.limit,
        lookup_from: None,
    };
    let root = level(found, at, root);
    let shown = ShownWire { offset: wire.offset, with_payload: wire.with_payload, with_vectors: wire.with_vectors };
    request(found, root, shown)
}

fn flat_vector(
    found: &mut Findings,
    at: At<'_>,
    values: Vec<f32>,
    indices: Option<pb::SparseIndices>,
) -> Checked<Vector> {
    match indices {
        Some(indices) => super::vector::sparse_from_wire(found, at, indices.data, values),
        None => checks::dense(found, at.field("vector"), values),
    }
}

/// Ids, then vectors.
fn examples(found: &mut Findings, at: At<'_>, ids: Vec<pb::PointId>, vectors: Vec<pb::Vector>) -> Checked<Vec<Target>> {
    let ids = each(ids, |_, id| super::point::id_from_wire(found, Some(id)).map(Target::Point));
    let vectors = each(vectors, |i, vector| example_from_wire(found, at.item(i), vector));
    Ok(ids?.into_iter().chain(vectors?).collect())
}

/// The old recommend.
pub(super) fn recommend(found: &mut Findings, at: At<'_>, wire: pb::RecommendPoints) -> Checked<QueryRequest> {
    let strategy = strategy(found, at, wire.strategy);
    let positive = examples(found, at.field("positive_vectors"), wire.positive, wire.positive_vectors);
    let negative = examples(found, at.field("negative_vectors"), wire.negative, wire.negative_vectors);
    let ranking = match (positive, negative, strategy) {
        (Ok(positive), Ok(negative), Ok(strategy)) => {
            levels::old_recommend(found, at, positive, negative, strategy).map(Some)
        }
        (Err(noted), _, _) | (_, Err(noted), _) | (_, _, Err(noted)) => Err(noted),
    };
    let root = LevelWire {
        prefetch: Vec::new(),
        ranking,
        using: wire.using,
        filter: wire.filter,
        params: wire.params,
        score_threshold: wire.score_threshold,
        limit: wire.limit,
        lookup_from: wire.lookup_from,
    };
    let root = level(found, at, root);
    let shown = ShownWire { offset: wire.offset, with_payload: wire.with_payload, with_vectors: wire.with_vectors };
    request(found, root, shown)
}

/// The old discover; without a target it is a context query.
pub(super) fn discover(found: &mut Findings, at: At<'_>, wire: pb::DiscoverPoints) -> Checked<QueryRequest> {
    let target = match wire.target.and_then(|target| target.target) {
        Some(pb::target_vector::Target::Single(example)) => {
            vector_example(found, at.field("target"), Some(example)).map(Some)
        }
        None => Ok(None),
    };
    let at_context = at.field("context");
    let context = each(wire.context, |i, pair| {
        let at = at_context.item(i);
        let positive = vector_example(found, at.field("positive"), pair.positive);
        let negative = vector_example(found, at.field("negative"), pair.negative);
        Ok(ContextPair { positive: positive?, negative: negative? })
    });
    let ranking = match (target, context) {
        (Ok(Some(target)), Ok(context)) => Ok(Some(Ranking::Discover { target, context })),
        (Ok(None), Ok(context)) if !context.is_empty() => Ok(Some(Ranking::Context(context))),
        (Ok(None), Ok(_)) => found.invalid(at, "target or context must be specified"),
        (Err(noted), _) | (_, Err(noted)) => Err(noted),
    };
    let root = LevelWire {
        prefetch: Vec::new(),
        ranking,
        using: wire.using,
        filter: wire.filter,
        params: wire.params,
        score_threshold: None,
        limit: wire.limit,
        lookup_from: wire.lookup_from,
    };
    let root = level(found, at, root);
    let shown = ShownWire { offset: wire.offset, with_payload: wire.with_payload, with_vectors: wire.with_vectors };
    request(found, root, shown)
}

fn vector_example(found: &mut Findings, at: At<'_>, wire: Option<pb::VectorExample>) -> Checked<Target> {
    match required(found, at, wire.and_then(|wire| wire.example))? {
        pb::vector_example::Example::Id(id) => super::point::id_from_wire(found, Some(id)).map(Target::Point),
        pb::vector_example::Example::Vector(vector) => example_from_wire(found, at, vector),
    }
}

/// How hits are grouped.
pub(super) struct GroupingWire {
    pub(super) group_by: String,
    pub(super) group_size: u64,
    pub(super) with_lookup: Option<pb::WithLookup>,
}

/// `query` with its hits in groups.
pub(super) fn grouped(
    found: &mut Findings,
    at: At<'_>,
    query: Checked<QueryRequest>,
    wire: GroupingWire,
) -> Checked<GroupsRequest> {
    let group_by = checks::path(found, &wire.group_by);
    let group_size = checks::limit(found, at.field("group_size"), wire.group_size);
    let with_lookup = wire.with_lookup.map(|wire| with_lookup(found, wire)).transpose();
    let query = query?;
    Ok(GroupsRequest {
        root: query.root,
        group_by: group_by?,
        group_size: group_size?,
        with_payload: query.with_payload,
        with_vectors: query.with_vectors,
        with_lookup: with_lookup?,
    })
}

fn with_lookup(found: &mut Findings, wire: pb::WithLookup) -> Checked<WithLookup> {
    let with_payload = with_payload_from_wire(found, wire.with_payload, PayloadSelector::All);
    let with_vectors = with_vectors_from_wire(found, wire.with_vectors);
    Ok(WithLookup { collection: wire.collection, with_payload: with_payload?, with_vectors: with_vectors? })
}

/// A query with groups.
pub(super) fn query_groups(found: &mut Findings, at: At<'_>, wire: pb::QueryPointGroups) -> Checked<GroupsRequest> {
    let grouping = GroupingWire {
        group_by: wire.group_by,
        group_size: wire.group_size.unwrap_or(GROUP_SIZE_DEFAULT),
        with_lookup: wire.with_lookup,
    };
    let inner = pb::QueryPoints {
        prefetch: wire.prefetch,
        query: wire.query,
        using: wire.using,
        filter: wire.filter,
        params: wire.params,
        score_threshold: wire.score_threshold,
        limit: wire.limit,
        with_vectors: wire.with_vectors,
        with_payload: wire.with_payload,
        lookup_from: wire.lookup_from,
        ..Default::default()
    };
    let inner = query(found, at, inner);
    grouped(found, at, inner, grouping)
}

/// The old search with groups.
pub(super) fn search_groups(found: &mut Findings, at: At<'_>, wire: pb::SearchPointGroups) -> Checked<GroupsRequest> {
    let grouping =
        GroupingWire { group_by: wire.group_by, group_size: u64::from(wire.group_size), with_lookup: wire.with_lookup };
    let inner = pb::SearchPoints {
        vector: wire.vector,
        filter: wire.filter,
        limit: u64::from(wire.limit),
        with_payload: wire.with_payload,
        params: wire.params,
        score_threshold: wire.score_threshold,
        vector_name: wire.vector_name,
        with_vectors: wire.with_vectors,
        sparse_indices: wire.sparse_indices,
        ..Default::default()
    };
    let inner = search(found, at, inner);
    grouped(found, at, inner, grouping)
}

/// The old recommend with groups.
pub(super) fn recommend_groups(
    found: &mut Findings,
    at: At<'_>,
    wire: pb::RecommendPointGroups,
) -> Checked<GroupsRequest> {
    let grouping =
        GroupingWire { group_by: wire.group_by, group_size: u64::from(wire.group_size), with_lookup: wire.with_lookup };
    let inner = pb::RecommendPoints {
        positive: wire.positive,
        negative: wire.negative,
        filter: wire.filter,
        limit: u64::from(wire.limit),
        with_payload: wire.with_payload,
        params: wire.params,
        score_threshold: wire.score_threshold,
        using: wire.using,
        with_vectors: wire.with_vectors,
        lookup_from: wire.lookup_from,
        strategy: wire.strategy,
        positive_vectors: wire.positive_vectors,
        negative_vectors: wire.negative_vectors,
        ..Default::default()
    };
    let inner = recommend(found, at, inner);
    grouped(found, at, inner, grouping)
}

/// A distance matrix.
pub(super) fn matrix(found: &mut Findings, at: At<'_>, wire: pb::SearchMatrixPoints) -> Checked<MatrixRequest> {
    let sample = checks::at_least(found, at.field("sample"), wire.sample.unwrap_or(MATRIX_SAMPLE_DEFAULT), 2);
    let limit = checks::limit(found, at.field("limit"), wire.limit.unwrap_or(MATRIX_LIMIT_DEFAULT));
    let filter = filter_if_given(found, at.field("filter"), wire.filter);
    Ok(MatrixRequest {
        sample: checks::count_from_u64(sample?),
        limit: limit?,
        filter: filter?,
        using: wire.using.unwrap_or_default(),
    })
}

/// Groups, as they are shown.
pub(super) fn wire_from_groups(groups: Vec<Group>) -> pb::GroupsResult {
    let groups = groups.into_iter().map(|Group { id, hits, lookup }| {
        use pb::group_id::Kind;
        let kind = match id {
            GroupId::Unsigned(value) => Kind::UnsignedValue(value),
            GroupId::Negative(value) => Kind::IntegerValue(value),
            GroupId::Text(text) => Kind::StringValue(text),
        };
        pb::PointGroup {
            id: Some(pb::GroupId { kind: Some(kind) }),
            hits: hits.into_iter().map(super::point::wire_from_hit).collect(),
            lookup: lookup.map(super::point::wire_from_record),
        }
    });
    pb::GroupsResult { groups: groups.collect() }
}

/// What a point was ordered by.
pub(super) fn wire_from_order_value(value: OrderValue) -> pb::OrderValue {
    use pb::order_value::Variant as V;
    let variant = match value {
        OrderValue::Integer(value) => V::Int(value),
        OrderValue::Float(value) => V::Float(value),
    };
    pb::OrderValue { variant: Some(variant) }
}

/// A matrix as pairs.
pub(super) fn wire_from_matrix_pairs(matrix: &Matrix) -> pb::SearchMatrixPairs {
    let id = |place: usize| matrix.ids.get(place).map(|id| super::point::wire_from_id(*id));
    let pairs = matrix.rows.iter().enumerate().flat_map(|(row, cells)| {
        cells.iter().map(move |(column, score)| pb::SearchMatrixPair { a: id(row), b: id(*column), score: *score })
    });
    pb::SearchMatrixPairs { pairs: pairs.collect() }
}

/// A matrix as places in a list of ids.
pub(super) fn wire_from_matrix_offsets(matrix: &Matrix) -> pb::SearchMatrixOffsets {
    let mut offsets = pb::SearchMatrixOffsets::default();
    for (row, cells) in matrix.rows.iter().enumerate() {
        for (column, score) in cells {
            offsets.offsets_row.push(row as u64);
            offsets.offsets_col.push(*column as u64);
            offsets.scores.push(*score);
        }
    }
    offsets.ids = matrix.ids.iter().map(|id| super::point::wire_from_id(*id)).collect();
    offsets
}
