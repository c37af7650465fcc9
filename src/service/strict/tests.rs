//! Each limit of section 21, just kept and just broken.

use std::collections::BTreeSet;

use super::*;
use crate::model::collection::{HnswConfigDiff, VectorParams, VectorsConfig};
use crate::model::field_index::{FieldIndexSchema, IntegerParams, KeywordParams, PlacementParams, TextParams};
use crate::model::filter::{FieldCondition, MinShould, Range, ValuesCount};
use crate::model::formula::{Expression, Formula, Variable};
use crate::model::geo::{GeoPoint, GeoRadius};
use crate::model::query::{ContextPair, Mmr, RelevanceFeedback};
use crate::model::write::{PointVectors, UpsertMode};
use crate::model::{Metric, MultiVector, Payload, Point, PointId, SparseVector};

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

fn schema(kind: FieldIndexKind) -> FieldIndexSchema {
    FieldIndexSchema { kind, is_object: false, placement: PlacementParams::default() }
}

/// One unnamed vector of four numbers, and these field indexes.
fn config(indexes: &[(&str, FieldIndexKind)]) -> CollectionConfig {
    let vectors =
        VectorsConfig { is_single: true, by_name: [(VectorName::new(), VectorParams::new(4, Metric::Dot))].into() };
    let field_indexes = indexes.iter().map(|(key, kind)| (path(key), schema(kind.clone()))).collect();
    CollectionConfig { field_indexes, ..CollectionConfig::new(vectors) }
}

fn must(conditions: Vec<Condition>) -> Filter {
    Filter { must: conditions, ..Filter::default() }
}

fn field(key: &str, predicate: Predicate) -> Condition {
    Condition::Field(FieldCondition { key: path(key), predicates: vec![predicate] })
}

fn keyword(text: &str) -> Predicate {
    Predicate::Match(Match::Keyword(text.to_owned()))
}

fn nearest() -> QueryLevel {
    QueryLevel::new(Ranking::Nearest(Target::Vector(Vector::Dense(vec![1.0; 4]))), 10)
}

fn filtered(filter: Filter) -> QueryLevel {
    QueryLevel { filter: Some(filter), ..nearest() }
}

fn check(limits: StrictModeConfig, level: &QueryLevel) -> Result<(), Violation> {
    let config = config(&[]);
    Strict { limits: &limits, config: &config }.level(level, level.limit)
}

/// What filtering by `condition` violates in a collection with `indexes`, where unindexed filtering is forbidden.
fn unindexed(indexes: &[(&str, FieldIndexKind)], condition: Condition) -> Result<(), Violation> {
    let limits = StrictModeConfig { unindexed_filtering_retrieve: Some(false), ..StrictModeConfig::default() };
    let config = config(indexes);
    Strict { limits: &limits, config: &config }.level(&filtered(must(vec![condition])), 10)
}

fn needs(key: &str, kinds: &[&'static str]) -> Result<(), Violation> {
    Err(Violation::FilterUnindexed { key: path(key), kinds: kinds.to_vec() })
}

#[test]
fn s21_max_query_limit_holds_at_every_level() {
    let limits = |limit| StrictModeConfig { max_query_limit: Some(limit), ..StrictModeConfig::default() };
    assert_eq!(check(limits(10), &nearest()), Ok(()));
    let above = Err(Violation::Above { name: "limit", value: 10, limit: 9 });
    assert_eq!(check(limits(9), &nearest()), above);
    let outer = QueryLevel { prefetch: vec![nearest()], ..QueryLevel::new(Ranking::ById, 3) };
    assert_eq!(check(limits(9), &outer), above, "a prefetch counts alone");
    assert_eq!(check(limits(10), &outer), Ok(()));
    let huge = QueryLevel { limit: usize::MAX, ..nearest() };
    assert!(check(limits(u64::MAX), &huge).is_ok());
}

#[test]
fn s21_search_parameters() {
    let limits = StrictModeConfig {
        search_max_hnsw_ef: Some(5),
        search_max_oversampling: Some(1.5),
        search_allow_exact: Some(false),
        ..StrictModeConfig::default()
    };
    let with = |options| check(limits.clone(), &QueryLevel { options, ..nearest() });
    assert_eq!(with(SearchOptions { ef: Some(5), oversampling: Some(1.5), ..SearchOptions::default() }), Ok(()));
    let above = Err(Violation::Above { name: "hnsw_ef", value: 6, limit: 5 });
    assert_eq!(with(SearchOptions { ef: Some(6), ..SearchOptions::default() }), above);
    let above = Err(Violation::Oversampling { value: 2.0, limit: 1.5 });
    assert_eq!(with(SearchOptions { oversampling: Some(2.0), ..SearchOptions::default() }), above);
    assert_eq!(with(SearchOptions { exact: true, ..SearchOptions::default() }), Err(Violation::Exact));
    let allowed = StrictModeConfig { search_allow_exact: Some(true), ..limits.clone() };
    let exact = QueryLevel { options: SearchOptions { exact: true, ..SearchOptions::default() }, ..nearest() };
    assert_eq!(check(allowed, &exact), Ok(()));
}

#[test]
fn s21_a_vector_without_a_graph_is_an_exact_search_unless_a_tenant_has_one() {
    let limits = StrictModeConfig { search_allow_exact: Some(false), ..StrictModeConfig::default() };
    let tenant = FieldIndexSchema {
        placement: PlacementParams { is_tenant: Some(true), ..PlacementParams::default() },
        ..schema(FieldIndexKind::Keyword(KeywordParams::default()))
    };
    let check = |hnsw: HnswConfigDiff, level: &QueryLevel| {
        let mut config = config(&[]);
        config.field_indexes.insert(path("tenant"), tenant.clone());
        if let Some(params) = config.vectors.by_name.get_mut("") {
            params.hnsw = Some(hnsw);
        }
        Strict { limits: &limits, config: &config }.level(level, level.limit)
    };
    let hnsw = |m, payload_m| HnswConfigDiff { m: Some(m), payload_m, ..HnswConfigDiff::default() };
    let refused = |has_tenant_filter| Err(Violation::NoGraph { using: String::new(), has_tenant_filter });
    let of_tenant = filtered(must(vec![field("tenant", keyword("a"))]));
    let inside = filtered(must(vec![Condition::Filter(Box::new(must(vec![field("tenant", keyword("a"))])))]));
    assert_eq!(check(hnsw(1, None), &nearest()), Ok(()));
    assert_eq!(check(hnsw(0, None), &nearest()), refused(false));
    assert_eq!(check(hnsw(0, Some(16)), &nearest()), refused(false));
    assert_eq!(check(hnsw(0, Some(16)), &filtered(must(vec![field("other", keyword("a"))]))), refused(false));
    assert_eq!(check(hnsw(0, Some(16)), &of_tenant), Ok(()));
    assert_eq!(check(hnsw(0, Some(16)), &inside), Ok(()));
    assert_eq!(check(hnsw(0, None), &of_tenant), refused(true));
    assert_eq!(check(hnsw(0, Some(0)), &of_tenant), refused(true));
    let sparse = QueryLevel { using: "sparse".to_owned(), ..nearest() };
    assert_eq!(check(hnsw(0, None), &sparse), Ok(()), "sparse vectors need no graph");
    let rescoring = QueryLevel { prefetch: vec![QueryLevel::new(Ranking::ById, 5)], ..nearest() };
    assert_eq!(check(hnsw(0, None), &rescoring), Ok(()), "what was prefetched is not searched");
    assert_eq!(check(hnsw(0, None), &QueryLevel::new(Ranking::Sample, 5)), Ok(()));
    let inner = QueryLevel { prefetch: vec![nearest()], ..QueryLevel::new(Ranking::ById, 5) };
    assert_eq!(check(hnsw(0, None), &inner), refused(false));
}

#[test]
fn s21_each_condition_needs_its_kind_of_index() {
    let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>();
    let range = Range { lt: None, lte: None, gt: Some(1.0), gte: None };
    let dates = Range { lt: None, lte: None, gt: None, gte: None };
    let circle = GeoRadius { center: GeoPoint::new(0.0, 0.0).unwrap(), radius_m: 1.0 };
    let every = ["bool", "datetime", "float", "geo", "integer", "keyword", "text", "uuid"];
    let cases: Vec<(Predicate, &[&'static str])> = vec![
        (keyword("a"), &["keyword"]),
        (keyword(uuid), &["keyword", "uuid"]),
        (Predicate::Match(Match::Bool(true)), &["bool"]),
        (Predicate::Match(Match::Integer(1)), &["integer"]),
        (Predicate::Match(Match::AnyInteger(vec![1])), &["integer"]),
        (Predicate::Match(Match::ExceptInteger(vec![1])), &["integer"]),
        (Predicate::Match(Match::AnyKeyword(texts(&["a", uuid]))), &["keyword"]),
        (Predicate::Match(Match::ExceptKeyword(texts(&[uuid]))), &["keyword", "uuid"]),
        (Predicate::Match(Match::Text("a".to_owned())), &["text"]),
        (Predicate::Match(Match::TextAny("a".to_owned())), &["text"]),
        (Predicate::Match(Match::Phrase("a".to_owned())), &["text"]),
        (Predicate::Match(Match::Prefix("a".to_owned())), &["keyword"]),
        (Predicate::Range(range), &["float", "integer"]),
        (Predicate::DatetimeRange(dates), &["datetime"]),
        (Predicate::GeoRadius(circle), &["geo"]),
        (Predicate::ValuesCount(ValuesCount { lt: None, lte: None, gt: None, gte: Some(1) }), &every),
        (Predicate::IsEmpty(true), &every),
        (Predicate::IsNull(false), &every),
    ];
    for (predicate, kinds) in cases {
        assert_eq!(unindexed(&[], field("k", predicate.clone())), needs("k", kinds), "{predicate:?}");
    }
    assert_eq!(unindexed(&[], Condition::IsEmpty(path("k"))), needs("k", &every));
    assert_eq!(unindexed(&[], Condition::IsNull(path("k"))), needs("k", &every));
    for condition in [
        Condition::HasId(BTreeSet::new()),
        Condition::HasVector("v".to_owned()),
        Condition::Slice { total: 2, index: 1 },
        field("k", Predicate::Match(Match::AnyKeyword(vec![]))),
        field("k", Predicate::Match(Match::ExceptInteger(vec![]))),
    ] {
        assert_eq!(unindexed(&[], condition.clone()), Ok(()), "{condition:?}");
    }
}

#[test]
fn s21_an_index_serves_what_it_was_made_for() {
    let integer = |lookup, range| FieldIndexKind::Integer(IntegerParams { lookup, range });
    let plain = FieldIndexKind::Keyword(KeywordParams::default());
    let prefix = FieldIndexKind::Keyword(KeywordParams { prefix: Some(true) });
    let text = |phrase_matching| FieldIndexKind::Text(TextParams { phrase_matching, ..TextParams::default() });
    let one = || Predicate::Match(Match::Integer(1));
    let above = || Predicate::Range(Range { lt: None, lte: None, gt: Some(1.0), gte: None });
    let starts = || Predicate::Match(Match::Prefix("a".to_owned()));
    let phrase = || Predicate::Match(Match::Phrase("a b".to_owned()));
    let words = || Predicate::Match(Match::Text("a b".to_owned()));
    let served = [
        (plain.clone(), keyword("a")),
        (prefix.clone(), keyword("a")),
        (prefix, starts()),
        (integer(None, None), one()),
        (integer(None, None), above()),
        (integer(Some(true), Some(false)), one()),
        (FieldIndexKind::Float, above()),
        (text(None), words()),
        (text(Some(true)), phrase()),
        (FieldIndexKind::Uuid, keyword("67e55044-10b1-426f-9247-bb680e5fe0c8")),
        (FieldIndexKind::Bool, Predicate::IsEmpty(true)),
    ];
    for (kind, predicate) in served {
        assert_eq!(unindexed(&[("k", kind.clone())], field("k", predicate.clone())), Ok(()), "{kind:?} {predicate:?}");
    }
    let unserved = [
        (plain.clone(), starts()),
        (integer(Some(false), None), one()),
        (integer(None, Some(false)), above()),
        (text(None), phrase()),
        (plain.clone(), words()),
        (FieldIndexKind::Float, one()),
    ];
    for (kind, predicate) in unserved {
        let result = unindexed(&[("k", kind.clone())], field("k", predicate.clone()));
        assert!(matches!(result, Err(Violation::FilterUnindexed { .. })), "{kind:?} {predicate:?}");
    }
    assert_eq!(unindexed(&[("other", plain)], field("k", keyword("a"))), needs("k", &["keyword"]));
}

#[test]
fn s21_filters_are_looked_through_to_the_end() {
    let unknown = || field("u", keyword("a"));
    let known = [("k", FieldIndexKind::Keyword(KeywordParams::default()))];
    let inside = |filter: Filter| unindexed(&known, Condition::Filter(Box::new(filter)));
    assert_eq!(inside(must(vec![field("k", keyword("a"))])), Ok(()));
    for filter in [
        Filter { should: vec![unknown()], ..Filter::default() },
        Filter { must_not: vec![unknown()], ..Filter::default() },
        Filter { min_should: Some(MinShould { conditions: vec![unknown()], min_count: 1 }), ..Filter::default() },
    ] {
        assert_eq!(inside(filter), needs("u", &["keyword"]));
    }
    let nested = |key: &str| Condition::Nested { key: path(key), filter: Box::new(must(vec![unknown()])) };
    let outer = |key: &str| Condition::Nested { key: path(key), filter: Box::new(must(vec![nested("in")])) };
    assert_eq!(unindexed(&known, nested("a.b")), needs("a.b[].u", &["keyword"]));
    assert_eq!(unindexed(&known, outer("out[]")), needs("out[].in[].u", &["keyword"]));
    let indexed = [("out[].in[].u", FieldIndexKind::Keyword(KeywordParams::default()))];
    assert_eq!(unindexed(&indexed, outer("out")), Ok(()));
    let corpus = IdfCorpus::Filter(must(vec![unknown()]));
    let level = QueryLevel { options: SearchOptions { idf: Some(corpus), ..SearchOptions::default() }, ..nearest() };
    let limits = StrictModeConfig { unindexed_filtering_retrieve: Some(false), ..StrictModeConfig::default() };
    assert_eq!(check(limits.clone(), &level), needs("u", &["keyword"]), "an IDF corpus counts too");
    let allowed = StrictModeConfig { unindexed_filtering_retrieve: Some(true), ..limits };
    assert_eq!(check(allowed, &level), Ok(()));
}

#[test]
fn s21_formulas_and_groups_need_indexes() {
    let limits = StrictModeConfig { unindexed_filtering_retrieve: Some(false), ..StrictModeConfig::default() };
    let formula = |expression| {
        let formula = Formula { expression, defaults: Vec::new() };
        let level = QueryLevel { prefetch: vec![nearest()], ..QueryLevel::new(Ranking::Formula(formula), 10) };
        let config = config(&[("n", FieldIndexKind::Float)]);
        Strict { limits: &limits, config: &config }.level(&level, 10)
    };
    let variable = |key: &str| Expression::Variable(Variable::Payload(path(key)));
    let missing =
        |key: &str, kinds: &[&'static str]| Err(Violation::FormulaUnindexed { key: path(key), kinds: kinds.to_vec() });
    let score = Expression::Variable(Variable::Score(0));
    assert_eq!(formula(Expression::Sum(vec![score.clone(), variable("n")])), Ok(()));
    assert_eq!(formula(Expression::Mult(vec![score, variable("u")])), missing("u", &["float", "integer"]));
    let power =
        |base: Expression| Expression::Pow { base: Box::new(Expression::Constant(2.0)), exponent: Box::new(base) };
    assert_eq!(formula(power(Expression::Neg(Box::new(variable("u"))))), missing("u", &["float", "integer"]));
    assert_eq!(formula(Expression::DatetimeKey(path("d"))), missing("d", &["datetime"]));
    let origin = GeoPoint::new(0.0, 0.0).unwrap();
    assert_eq!(formula(Expression::GeoDistance { origin, to: path("g") }), missing("g", &["geo"]));
    let condition = Expression::Condition(Box::new(field("c", keyword("a"))));
    assert_eq!(formula(condition), missing("c", &["keyword"]));

    let groups = |key: &str| {
        let integer = IntegerParams { lookup: Some(false), range: None };
        let config = config(&[
            ("k", FieldIndexKind::Keyword(KeywordParams::default())),
            ("g", FieldIndexKind::Geo),
            ("i", FieldIndexKind::Integer(integer)),
        ]);
        Strict { limits: &limits, config: &config }.group_by(&path(key))
    };
    assert_eq!(groups("k"), Ok(()));
    assert_eq!(groups("g"), Err(Violation::GroupIndexKind { key: path("g"), kind: "Geo" }));
    assert_eq!(groups("i"), Err(Violation::GroupIndexKind { key: path("i"), kind: "Integer" }));
    assert_eq!(groups("u"), Err(Violation::GroupUnindexed { key: path("u") }));
}

#[test]
fn s21_conditions_are_counted_and_measured_at_every_depth() {
    let ints = |count: i64| field("p", Predicate::Match(Match::AnyInteger((0..count).collect())));
    let inner = || must(vec![ints(2), ints(3)]);
    let filter = must(vec![
        ints(1),
        Condition::Filter(Box::new(inner())),
        Condition::Nested { key: path("a"), filter: Box::new(inner()) },
    ]);
    assert_eq!(condition_count(Some(&filter)), 5);
    let limits = |conditions, size| StrictModeConfig {
        filter_max_conditions: Some(conditions),
        condition_max_size: Some(size),
        ..StrictModeConfig::default()
    };
    assert_eq!(check(limits(5, 3), &filtered(filter.clone())), Ok(()));
    assert_eq!(check(limits(4, 3), &filtered(filter.clone())), Err(Violation::Conditions { count: 5, limit: 4 }));
    assert_eq!(check(limits(5, 2), &filtered(filter)), Err(Violation::ConditionSize { size: 3, limit: 2 }));
    let ids = Condition::HasId((0..4).map(PointId::Num).collect());
    assert_eq!(check(limits(5, 3), &filtered(must(vec![ids]))), Err(Violation::ConditionSize { size: 4, limit: 3 }));
    let substring = field("s", Predicate::Match(Match::Substring("x".to_owned())));
    let nested = Condition::Nested { key: path("a"), filter: Box::new(must(vec![substring])) };
    let want = Err(Violation::Substring { key: path("s") });
    assert_eq!(check(StrictModeConfig::default(), &filtered(must(vec![nested]))), want);
}

fn upsert(vectors: NamedVectors, count: u64) -> PointOp {
    let point = |id| Point { id: PointId::Num(id), vectors: vectors.clone(), payload: Payload::default() };
    PointOp::Upsert { points: (0..count).map(point).collect(), mode: UpsertMode::Upsert, update_filter: None }
}

#[test]
fn s21_writes_are_limited_in_number_length_and_filter() {
    let config = config(&[]);
    let limits = StrictModeConfig {
        upsert_max_batchsize: Some(2),
        unindexed_filtering_update: Some(false),
        multivector_max_vectors: Some([("m".to_owned(), Some(2)), ("free".to_owned(), None)].into()),
        sparse_max_length: Some([("s".to_owned(), Some(1))].into()),
        ..StrictModeConfig::default()
    };
    let check = |op: PointOp| Strict { limits: &limits, config: &config }.op(&op);
    assert_eq!(check(upsert(NamedVectors::new(), 2)), Ok(()));
    let above = |name| Err(Violation::Above { name, value: 3, limit: 2 });
    assert_eq!(check(upsert(NamedVectors::new(), 3)), above("upsert limit"));
    let update = |count| PointOp::UpdateVectors {
        points: (0..count).map(|id| PointVectors { id: PointId::Num(id), vectors: NamedVectors::new() }).collect(),
        update_filter: None,
    };
    assert_eq!((check(update(2)), check(update(3))), (Ok(()), above("update limit")));

    let rows = |name: &str, rows: usize| {
        let vector = MultiVector::new(2, vec![1.0; 2 * rows]).unwrap();
        upsert([(name.to_owned(), Vector::Multi(vector))].into(), 1)
    };
    assert_eq!((check(rows("m", 2)), check(rows("free", 9)), check(rows("other", 9))), (Ok(()), Ok(()), Ok(())));
    assert_eq!(check(rows("m", 3)), Err(Violation::MultiVectorRows { name: "m".to_owned(), limit: 2, got: 3 }));
    let entries = |count: u32| {
        let vector = SparseVector::new((0..count).map(|index| (index, 1.0)).collect()).unwrap();
        upsert([("s".to_owned(), Vector::Sparse(vector))].into(), 1)
    };
    assert_eq!(check(entries(1)), Ok(()));
    assert_eq!(check(entries(2)), Err(Violation::SparseVectorLength { name: "s".to_owned(), limit: 1, got: 2 }));

    let filter = must(vec![field("u", keyword("a"))]);
    let want = needs("u", &["keyword"]);
    assert_eq!(check(PointOp::Delete { select: PointSelector::Filter(filter.clone()) }), want);
    assert_eq!(check(PointOp::ClearPayload { select: PointSelector::Filter(filter.clone()) }), want);
    let conditional = PointOp::Upsert { points: vec![], mode: UpsertMode::Upsert, update_filter: Some(filter) };
    assert_eq!(check(conditional), want);
    assert_eq!(check(PointOp::Delete { select: PointSelector::Ids(vec![PointId::Num(1)]) }), Ok(()));
}

#[test]
fn s21_a_full_collection_takes_no_more_but_can_be_emptied() {
    let config = config(&[]);
    let set = PointOp::SetPayload {
        select: PointSelector::Ids(vec![PointId::Num(1)]),
        payload: Payload::default(),
        key: None,
    };
    let delete = PointOp::Delete { select: PointSelector::Filter(Filter::default()) };
    let sizes = Sizes { points: 10, vector_bytes: 160, payload_bytes: 50 };
    let check = |limits: StrictModeConfig, op: &PointOp| Strict { limits: &limits, config: &config }.sizes(op, sizes);
    let none = StrictModeConfig::default;
    let cases = [
        (StrictModeConfig { max_points_count: Some(10), ..none() }, Violation::Points { limit: 10 }),
        (
            StrictModeConfig { max_collection_vector_size_bytes: Some(160), ..none() },
            Violation::VectorBytes { limit: 160 },
        ),
        (
            StrictModeConfig { max_collection_payload_size_bytes: Some(50), ..none() },
            Violation::PayloadBytes { limit: 50 },
        ),
    ];
    for (limits, violation) in cases {
        assert_eq!(check(limits.clone(), &upsert(NamedVectors::new(), 1)), Err(violation.clone()));
        assert_eq!(check(limits.clone(), &delete), Ok(()));
        let sets = matches!(violation, Violation::PayloadBytes { .. });
        assert_eq!(check(limits, &set), if sets { Err(violation) } else { Ok(()) });
    }
    let room = StrictModeConfig {
        max_points_count: Some(11),
        max_collection_vector_size_bytes: Some(161),
        max_collection_payload_size_bytes: Some(51),
        ..none()
    };
    assert_eq!(check(room, &upsert(NamedVectors::new(), 100)), Ok(()), "checked against what is there");
}

#[test]
fn s21_the_cost_of_a_read() {
    let vector = || Target::Vector(Vector::Dense(vec![1.0]));
    let rows = || Target::Vector(Vector::Multi(MultiVector::new(1, vec![1.0; 3]).unwrap()));
    let pair = || ContextPair { positive: vector(), negative: Target::Point(PointId::Num(1)) };
    let recommend = |strategy| Ranking::Recommend {
        positive: vec![vector(), vector(), rows()],
        negative: vec![vector()],
        strategy,
    };
    let feedback = RelevanceFeedback { target: vector(), feedback: vec![(rows(), 1.0)], a: 1.0, b: 1.0, c: 1.0 };
    let cases = [
        (Ranking::ById, 1),
        (Ranking::Sample, 1),
        (Ranking::Nearest(vector()), 1),
        (Ranking::Nearest(rows()), 3),
        (Ranking::Mmr { target: rows(), mmr: Mmr { diversity: 0.5, candidates_limit: None } }, 3),
        (recommend(RecommendStrategy::AverageVector), 1),
        (recommend(RecommendStrategy::BestScore), 6),
        (recommend(RecommendStrategy::SumScores), 6),
        (Ranking::Discover { target: vector(), context: vec![pair(), pair()] }, 5),
        (Ranking::Context(vec![pair()]), 2),
        (Ranking::RelevanceFeedback(feedback), 4),
    ];
    for (ranking, cost) in cases {
        let level = QueryLevel::new(ranking, 10);
        assert_eq!(level_cost(&level, 0), cost, "{:?}", level.ranking);
    }
    let two = || must(vec![field("a", keyword("x")), field("b", keyword("y"))]);
    assert_eq!(level_cost(&filtered(two()), 0), 3);
    let leaf = QueryLevel::new(Ranking::Nearest(rows()), 10);
    let middle = QueryLevel { prefetch: vec![leaf.clone()], ..filtered(two()) };
    let root = QueryLevel { prefetch: vec![middle, leaf], ..filtered(two()) };
    assert_eq!(level_cost(&root, 0), (3 + 4) + (3 + 2), "leaves, with the filters of the levels above");
}
