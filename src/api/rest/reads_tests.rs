//! Bodies of reads, each against its exact error or its model form.

use super::*;
use crate::api::rest::call::parse;
use crate::model::collection::{ShardKey, ShardKeySelector};
use crate::model::formula::{Decay, Expression, Variable};
use crate::model::query::{
    ContextPair, Direction, Fusion, IdfCorpus, LookupFrom, Mmr, OrderBy, QueryLevel, QueryRequest, Ranking,
    RecommendStrategy, RelevanceFeedback, SearchOptions, StartFrom, Target,
};
use crate::model::{SparseVector, Vector};
use crate::text::{Bm25, Bm25Options};

fn read_as<B: Into<QueryBody> + serde::de::DeserializeOwned>(
    json: &str,
    place: &'static str,
) -> Result<QueryRequest, ApiError> {
    let body: B = parse(json.as_bytes())?;
    let root = At::Root;
    from_body(|found| body.into().convert(found, root.field(place)))
}

fn read(json: &str) -> Result<QueryRequest, ApiError> {
    read_as::<QueryBody>(json, "internal")
}

fn read_old(json: &str) -> Result<QueryRequest, ApiError> {
    read_as::<Search>(json, "search_request")
}

fn refusal(json: &str) -> (u16, String) {
    let error = read(json).expect_err(json);
    (error.http_status(), error.text)
}

fn nearest(values: &[f32]) -> Ranking {
    Ranking::Nearest(Target::Vector(Vector::Dense(values.to_vec())))
}

#[test]
fn s13_3_texts_become_query_weights_wherever_something_is_searched_near() {
    let weights = |text: &str| Target::Vector(Vector::Sparse(Bm25::new(&Bm25Options::default()).unwrap().query(text)));
    let (a, b) = (weights("apples apples"), weights("big bananas"));
    let queries = [
        r#"{"text": "apples apples", "model": "bm25"}"#,
        r#"{"nearest": {"text": "apples apples", "model": "bm25"}}"#,
        r#"{"nearest": {"model": "bm25", "text": "apples apples"}, "mmr": {}}"#,
        r#"{"recommend": {"positive": [{"text": "apples apples", "model": "bm25"}],
            "negative": {"text": "big bananas", "model": "bm25"}}}"#,
        r#"{"discover": {"target": {"text": "apples apples", "model": "bm25"}, "context":
            {"positive": {"text": "apples apples", "model": "bm25"},
             "negative": {"text": "big bananas", "model": "bm25"}}}}"#,
        r#"{"context": [{"positive": {"text": "apples apples", "model": "bm25"},
            "negative": {"text": "big bananas", "model": "bm25"}}]}"#,
        r#"{"relevance_feedback": {"target": {"text": "apples apples", "model": "bm25"},
            "feedback": [{"example": {"text": "big bananas", "model": "bm25"}, "score": 1}],
            "strategy": {"naive": {"a": 1, "b": 1, "c": 1}}}}"#,
    ];
    for query in queries {
        let inner = read(&format!(r#"{{"query": {query}}}"#)).unwrap_or_else(|error| panic!("{query}: {error:?}"));
        let outer = format!(r#"{{"prefetch": [{{"query": {query}, "using": "s"}}], "query": {{"fusion": "rrf"}}}}"#);
        let outer = read(&outer).unwrap_or_else(|error| panic!("{query}: {error:?}"));
        let ranking = inner.root.ranking;
        assert_eq!(outer.root.prefetch[0].ranking, ranking, "{query}");
        let targets = match ranking {
            Ranking::Nearest(target) | Ranking::Mmr { target, .. } => vec![target],
            Ranking::Recommend { positive, negative, .. } => [positive, negative].concat(),
            Ranking::Discover { target, context } => {
                context.into_iter().flat_map(|pair| [target.clone(), pair.positive, pair.negative]).collect()
            }
            Ranking::Context(context) => context.into_iter().flat_map(|pair| [pair.positive, pair.negative]).collect(),
            Ranking::RelevanceFeedback(feedback) => {
                [feedback.target].into_iter().chain(feedback.feedback.into_iter().map(|(target, _)| target)).collect()
            }
            other => panic!("{query}: {other:?}"),
        };
        assert!(targets.contains(&a) && targets.iter().all(|target| *target == a || *target == b), "{query}");
        assert_eq!(targets.contains(&b), query.contains("bananas"), "{query}");
    }
    let old = r#"{"vector": {"name": "s", "vector": {"text": "apples apples", "model": "bm25"}}, "limit": 1}"#;
    assert_eq!(read_old(old).unwrap().root.ranking, Ranking::Nearest(a));
    assert_eq!(
        refusal(r#"{"query": {"image": "x", "model": "bm25"}}"#),
        (400, "Wrong input: Only text input is supported for bm25.".to_owned())
    );
    assert_eq!(refusal(r#"{"query": {"text": "x", "model": "m"}}"#).0, 500);
}

#[test]
fn protocol_10_2_defaults() {
    let nulls = r#"{"prefetch": null, "query": null, "using": null, "filter": null, "params": null, "limit": null,
        "score_threshold": null, "offset": null, "with_payload": null, "with_vector": null, "lookup_from": null,
        "shard_key": null, "unknown": 1}"#;
    for json in ["{}", nulls, r#"{"prefetch": []}"#] {
        let want = QueryRequest {
            root: QueryLevel::new(Ranking::ById, 10),
            offset: 0,
            with_payload: PayloadSelector::None,
            with_vectors: VectorSelector::None,
        };
        assert_eq!(read(json).unwrap(), want, "{json}");
    }
}

#[test]
fn protocol_10_1_forms_of_nearest() {
    let ranking = |query: &str| read(&format!(r#"{{"query": {query}}}"#)).unwrap().root.ranking;
    assert_eq!(ranking("[1, 2.5]"), nearest(&[1.0, 2.5]));
    assert_eq!(ranking(r#"{"nearest": [1, 2.5], "mmr": null}"#), nearest(&[1.0, 2.5]));
    let by_id = |id| Ranking::Nearest(Target::Point(id));
    assert_eq!(ranking("7"), by_id(PointId::Num(7)));
    assert_eq!(ranking(r#"{"nearest": 7}"#), by_id(PointId::Num(7)));
    let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
    assert_eq!(ranking(&format!("\"{uuid}\"")), by_id(PointId::from_uuid_text(uuid).unwrap()));
    let request = read(
        r#"{"query": 1, "using": "a", "lookup_from": {"collection": "c", "vector": "b"}, "score_threshold": 0.5,
            "params": {"hnsw_ef": 64, "exact": true, "indexed_only": null}, "limit": 18446744073709551615,
            "offset": 3, "with_payload": ["x.y"], "with_vectors": ["a"]}"#,
    )
    .unwrap();
    let want = QueryLevel {
        using: "a".into(),
        lookup_from: Some(LookupFrom { collection: "c".into(), vector: Some("b".into()), shard_keys: None }),
        options: SearchOptions { ef: Some(64), exact: true, ..SearchOptions::default() },
        score_threshold: Some(0.5),
        ..QueryLevel::new(by_id(PointId::Num(1)), usize::MAX)
    };
    assert_eq!(request.root, want);
    assert_eq!(request.offset, 3);
    assert_eq!(request.with_payload, PayloadSelector::Include(vec!["x.y".parse().unwrap()]));
    assert_eq!(request.with_vectors, VectorSelector::Names(vec!["a".into()]));
}

#[test]
fn protocol_10_2_validation() {
    assert_eq!(
        refusal(r#"{"limit": 0}"#),
        (422, "Validation error in JSON body: [internal.limit: value 0 invalid, must be 1 or larger]".to_owned())
    );
    assert_eq!(
        refusal(r#"{"query": [], "limit": 0, "params": {"hnsw_ef": 0}}"#),
        (
            422,
            "Validation error in JSON body: [internal.query: dense vector must not be empty; \
             internal.params.hnsw_ef: value 0 invalid, must be 1 or larger; internal.limit: value 0 invalid, must be \
             1 or larger]"
                .to_owned()
        ),
        "several bad siblings make one answer"
    );
    assert_eq!(
        refusal(r#"{"prefetch": [{}]}"#),
        (
            400,
            "Bad request: A query is needed to merge the prefetches. Can't have prefetches without defining a query."
                .to_owned()
        )
    );
    assert_eq!(
        refusal(r#"{"score_threshold": 0.1}"#),
        (
            400,
            "Bad request: A query is needed to use the score_threshold. Can't have score_threshold without defining \
             a query."
                .to_owned()
        )
    );
    for json in [
        r#"{"query": [1], "score_threshold": 1e39}"#,
        r#"{"query": [1e39]}"#,
        r#"{"query": [1, -1e39]}"#,
        r#"{"query": "x"}"#,
        r#"{"query": -1}"#,
        r#"{"query": 1.5}"#,
        r#"{"query": true}"#,
        r#"{"query": {}}"#,
        r#"{"query": {"closest": 1}}"#,
        r#"{"query": {"nearest": true}}"#,
        r#"{"query": ["a"]}"#,
        r#"{"limit": -1}"#,
        r#"{"limit": 1.0}"#,
        r#"{"limit": 18446744073709551616}"#,
        r#"{"with_payload": 3}"#,
        r#"{"with_payload": {}}"#,
        r#"{"with_payload": {"include": [], "exclude": []}}"#,
        r#"{"with_vector": "a"}"#,
        r#"{"lookup_from": {}}"#,
    ] {
        let (status, text) = refusal(json);
        assert_eq!(status, 400, "{json}");
        assert!(text.starts_with("Format error in JSON body: "), "{json}: {text}");
    }
    assert_eq!(
        refusal(r#"{"with_payload": ["a..b"]}"#),
        (400, "Format error in JSON body: Invalid JSON path: `a..b`".to_owned())
    );
}

#[test]
fn protocol_10_2_queries_that_are_wrong_whatever_is_built() {
    let refused = |json: &str, want: &str| {
        let (status, text) = refusal(json);
        assert!(status == 400 && text.starts_with(&format!("Bad request: {want}")), "{json}: {status} {text}");
    };
    refused(r#"{"query": {"fusion": "rrf"}}"#, "Fusion queries need prefetches");
    refused(r#"{"query": {"rrf": {}}, "prefetch": []}"#, "Fusion queries need prefetches");
    refused(r#"{"query": {"formula": "$score"}}"#, "Formula queries need prefetches");
    refused(
        r#"{"query": {"fusion": "dbsf"}, "using": "a", "prefetch": {}}"#,
        "Fusion queries cannot be combined with the 'using' field.",
    );
    refused(r#"{"query": {"text": "a"}}"#, "A text query needs `using`");
    refused(r#"{"query": {"formula": {"max": []}}, "prefetch": {}}"#, "`max` needs at least one operand");
    refused(r#"{"query": {"formula": "$score[x]"}, "prefetch": {}}"#, "Invalid score pattern: $score[x]");
    assert_eq!(
        refusal(r#"{"query": {"order_by": "a"}, "score_threshold": 1}"#),
        (400, "Bad request: Can't use score_threshold with an order_by query.".to_owned())
    );
    let nested = |levels: usize| {
        format!(
            r#"{{"query": [1], "prefetch": {}{{}}{}}}"#,
            r#"{"query": [1], "prefetch": "#.repeat(levels - 1),
            "}".repeat(levels - 1)
        )
    };
    assert_eq!(crate::api::levels::depth_of(&read(&nested(64)).unwrap().root.prefetch), 64);
    assert_eq!(refusal(&nested(65)), (400, "Bad request: prefetches depth 65 exceeds max depth 64".to_owned()));
    assert_eq!(
        refusal(r#"{"query": {"indices": [1, 1], "values": [1]}}"#),
        (
            422,
            "Validation error in JSON body: [internal.query.indices: Validation error: must be unique [{}]; \
             internal.query.values: Validation error: must be the same length as indices [{}]]"
                .to_owned()
        )
    );
}

#[test]
fn protocol_10_1_every_kind_of_query_is_read() {
    let ranking = |query: &str| {
        let json = format!(r#"{{"query": {query}, "prefetch": {{"query": [2], "limit": 7}}}}"#);
        let root = read(&json).unwrap_or_else(|error| panic!("{json}: {}", error.text)).root;
        assert_eq!(root.prefetch, [QueryLevel::new(nearest(&[2.0]), 7)]);
        root.ranking
    };
    let point = |num| Target::Point(PointId::Num(num));
    let vector = |values: &[f32]| Target::Vector(Vector::Dense(values.to_vec()));
    let mmr = |diversity, candidates_limit| Ranking::Mmr { target: point(1), mmr: Mmr { diversity, candidates_limit } };
    assert_eq!(ranking(r#"{"nearest": 1, "mmr": {}}"#), mmr(0.5, None));
    assert_eq!(ranking(r#"{"nearest": 1, "mmr": {"diversity": 0.25, "candidates_limit": 9}}"#), mmr(0.25, Some(9)));
    let recommend = |positive, negative, strategy| Ranking::Recommend { positive, negative, strategy };
    assert_eq!(
        ranking(r#"{"recommend": {"positive": [1, [0.5]], "negative": null}}"#),
        recommend(vec![point(1), vector(&[0.5])], vec![], RecommendStrategy::AverageVector)
    );
    assert_eq!(
        ranking(r#"{"recommend": {"positive": [0.5, 1.5], "negative": 3, "strategy": "best_score"}}"#),
        recommend(vec![vector(&[0.5, 1.5])], vec![point(3)], RecommendStrategy::BestScore)
    );
    let pairs = vec![ContextPair { positive: point(3), negative: point(4) }];
    assert_eq!(
        ranking(r#"{"discover": {"target": 1, "context": {"positive": 3, "negative": 4}}}"#),
        Ranking::Discover { target: point(1), context: pairs.clone() }
    );
    assert_eq!(ranking(r#"{"context": [{"positive": 3, "negative": 4}]}"#), Ranking::Context(pairs));
    assert_eq!(ranking(r#"{"fusion": "rrf"}"#), Ranking::Fusion(Fusion::Rrf { k: 2, weights: None }));
    assert_eq!(ranking(r#"{"fusion": "dbsf"}"#), Ranking::Fusion(Fusion::Dbsf));
    let rrf = Fusion::Rrf { k: 60, weights: Some(vec![0.5]) };
    assert_eq!(ranking(r#"{"rrf": {"k": 60, "weights": [0.5]}}"#), Ranking::Fusion(rrf));
    assert_eq!(ranking(r#"{"sample": "random"}"#), Ranking::Sample);
    let feedback = RelevanceFeedback { target: point(1), feedback: vec![(point(2), 0.5)], a: 1.0, b: 2.0, c: 3.0 };
    assert_eq!(
        ranking(
            r#"{"relevance_feedback": {"target": 1, "feedback": [{"example": 2, "score": 0.5}],
                "strategy": {"naive": {"a": 1, "b": 2, "c": 3}}}}"#
        ),
        Ranking::RelevanceFeedback(feedback)
    );
    let order = |direction, start_from| Ranking::OrderBy(OrderBy { key: "a".parse().unwrap(), direction, start_from });
    assert_eq!(ranking(r#"{"order_by": "a"}"#), order(Direction::Asc, None));
    assert_eq!(
        ranking(r#"{"order_by": {"key": "a", "direction": "desc", "start_from": 3}}"#),
        order(Direction::Desc, Some(StartFrom::Integer(3)))
    );
    assert_eq!(
        ranking(r#"{"order_by": {"key": "a", "start_from": "1970-01-01T00:00:01Z"}}"#),
        order(Direction::Asc, Some(StartFrom::Datetime(crate::model::datetime::Timestamp(1_000_000))))
    );
    let Ranking::Formula(formula) = ranking(
        r#"{"formula": {"sum": ["$score", {"mult": [2, {"key": "a", "match": {"value": 1}}]},
            {"gauss_decay": {"x": {"datetime_key": "b"}, "scale": 5}}]}, "defaults": {"a": 1}}"#,
    ) else {
        panic!("a formula")
    };
    assert_eq!(formula.defaults.len(), 1);
    let Expression::Sum(operands) = formula.expression else { panic!("a sum") };
    assert_eq!(operands[0], Expression::Variable(Variable::Score(0)));
    assert!(matches!(&operands[1], Expression::Mult(inner) if matches!(inner[1], Expression::Condition(_))));
    assert!(matches!(operands[2], Expression::Decay { kind: Decay::Gaussian, scale: 5.0, midpoint: 0.5, .. }));
    let request = read(r#"{"query": {"text": "a b"}, "using": "body"}"#).unwrap();
    assert_eq!(request.root.ranking, Ranking::Text { query: "a b".into(), k: 1.2, b: 0.75 });
    let options = |params: &str| read(&format!(r#"{{"query": [1], "params": {params}}}"#)).unwrap().root.options;
    assert_eq!(options(r#"{"idf": "global"}"#).idf, Some(IdfCorpus::Global));
    assert!(matches!(options(r#"{"idf": {"corpus": {"must": []}}}"#).idf, Some(IdfCorpus::Filter(_))));
    assert_eq!(options(r#"{"quantization": {"rescore": true, "oversampling": 2.5}}"#).oversampling, Some(2.5));
    options(r#"{"acorn": {"enable": true, "max_selectivity": 0.4}}"#);
}

#[test]
fn clients_3_5_a_lookup_may_name_shard_keys() {
    let request = read(r#"{"query": 1, "lookup_from": {"collection": "c", "shard_key": 1}}"#).unwrap();
    let keys = Some(ShardKeySelector::Keys(vec![ShardKey::Number(1)]));
    assert_eq!(request.root.lookup_from.unwrap().shard_keys, keys);
}

#[test]
fn protocol_17_old_search() {
    let request = read_old(r#"{"vector": [1, 2], "top": 5, "with_payload": true}"#).unwrap();
    assert_eq!((request.root.ranking, request.root.limit), (nearest(&[1.0, 2.0]), 5));
    assert_eq!(request.with_payload, PayloadSelector::All);
    let request = read_old(r#"{"vector": {"name": "a", "vector": [1]}, "limit": 5, "score_threshold": 0.0}"#).unwrap();
    assert_eq!(request.root.using, "a");
    assert_eq!((request.root.ranking, request.root.score_threshold), (nearest(&[1.0]), Some(0.0)));
    let refused = |json: &str| {
        let error = read_old(json).expect_err(json);
        (error.http_status(), error.text)
    };
    assert_eq!(
        refused(r#"{"vector": [1], "limit": 0}"#),
        (422, "Validation error in JSON body: [search_request.limit: value 0 invalid, must be 1 or larger]".to_owned())
    );
    let sparse =
        read_old(r#"{"vector": {"name": "a", "vector": {"indices": [1], "values": [2]}}, "limit": 1}"#).unwrap();
    let vector = Vector::Sparse(SparseVector::new(vec![(1, 2.0)]).unwrap());
    assert_eq!(sparse.root.ranking, Ranking::Nearest(Target::Vector(vector)));
    for json in [r#"{"vector": [1]}"#, r#"{"limit": 1}"#, r#"{"vector": {"vector": [1]}, "limit": 1}"#] {
        assert_eq!(refused(json).0, 400, "a missing field: {json}");
    }
    assert_eq!(refused(r#"{"vector": [1], "limit": 1, "top": 2}"#).0, 400, "given twice");
}

#[test]
fn protocol_9_2_scroll() {
    let read = |json: &str| {
        let body: Scroll = parse(json.as_bytes())?;
        from_body(|found| body.convert(found))
    };
    assert_eq!(
        read(r#"{"offset": null}"#).unwrap(),
        ScrollRequest {
            offset: None,
            limit: 10,
            filter: None,
            order_by: None,
            with_payload: PayloadSelector::All,
            with_vectors: VectorSelector::None
        }
    );
    let request = read(r#"{"offset": 5, "limit": 7, "filter": {}, "with_payload": {"exclude": ["a"]}}"#).unwrap();
    assert_eq!((request.offset, request.limit), (Some(PointId::Num(5)), 7));
    assert_eq!(request.with_payload, PayloadSelector::Exclude(vec!["a".parse().unwrap()]));
    assert_eq!(
        read(r#"{"limit": 0}"#).unwrap_err().text,
        "Validation error in JSON body: [scroll_request.limit: value 0 invalid, must be 1 or larger]"
    );
    let ordered = read(r#"{"order_by": {"key": "a", "direction": "desc", "start_from": 3}}"#).unwrap();
    let order =
        OrderBy { key: "a".parse().unwrap(), direction: Direction::Desc, start_from: Some(StartFrom::Integer(3)) };
    assert_eq!(ordered.order_by, Some(order));
    let error = read(r#"{"order_by": "a", "offset": 4}"#).unwrap_err();
    assert_eq!(error.http_status(), 400);
    assert!(error.text.starts_with("Wrong input: Cannot use an `offset` when using `order_by`."), "{}", error.text);
}
