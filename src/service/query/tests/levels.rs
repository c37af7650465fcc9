//! Levels: resolving, prefetches, fusion, formulas, diversity, orders (PROTOCOL sections 10, 12, 14 and 15).

use std::collections::BTreeSet;

use super::*;
use crate::model::collection::AliasAction;
use crate::model::formula::{Expression, Formula, Variable};
use crate::model::geo::GeoPoint;
use crate::model::query::{Direction, Fusion, LookupFrom, Mmr, OrderBy, StartFrom};
use crate::service::FormulaError;

fn rrf() -> QueryLevel {
    level(Ranking::Fusion(Fusion::Rrf { k: 2, weights: None }))
}

fn formula(expression: Expression) -> QueryLevel {
    level(Ranking::Formula(Formula { expression, defaults: Vec::new() }))
}

fn score(number: usize) -> Expression {
    Expression::Variable(Variable::Score(number))
}

fn key(path: &str) -> Expression {
    Expression::Variable(Variable::Payload(path.parse().unwrap()))
}

fn by(key: &str, direction: Direction, start_from: Option<StartFrom>) -> QueryLevel {
    level(Ranking::OrderBy(OrderBy { key: key.parse().unwrap(), direction, start_from }))
}

fn lookup(level: QueryLevel, collection: &str, vector: Option<&str>) -> QueryLevel {
    let from = LookupFrom { collection: collection.to_owned(), vector: vector.map(str::to_owned), shard_keys: None };
    QueryLevel { lookup_from: Some(from), ..level }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_3_points_searched_by_are_excluded_at_every_level() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, line(5)).await;
        // The list of the other prefetch lacks it too.
        let root = rrf().over([nearest(by_id(2)), upwards().limit(2), downwards().limit(2)]);
        assert_eq!(fixture.ids(root).await.into_iter().collect::<BTreeSet<_>>(), [1, 3, 4, 5].into());
        // However deep it stands, and the leaf's own limit counts without it.
        let leaf = nearest(by_id(5)).limit(2);
        let root = upwards().over([downwards().over([leaf, nearest(by_id(4)).limit(2)])]);
        check(&fixture.run(root).await, &[(3, 3.0), (2, 2.0)]);
        // All kinds of queries by points.
        let recommend = level(Ranking::Recommend {
            positive: vec![by_id(5), vector(dense([1.0, 0.0]))],
            negative: vec![by_id(1)],
            strategy: crate::model::query::RecommendStrategy::SumScores,
        });
        // At 4: 20 + 4 - 4.
        check(&fixture.run(recommend).await, &[(4, 20.0), (3, 15.0), (2, 10.0)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_3_points_of_other_collections_stay() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, line(3)).await;
        fixture.create("other", 2).await;
        fixture.put("other", vec![point(2, &[("d", dense([-1.0, 0.0])), ("", dense([1.0, 0.0]))], json!({}))]).await;
        let alias = AliasAction::Create { alias: "same".into(), collection: "c".into() };
        fixture.service.update_aliases(vec![alias], None).await.unwrap();
        let leaf = |collection: &str, vector| lookup(nearest(by_id(2)), collection, vector);
        // Each level looks up where it says.
        check(&fixture.run(upwards().over([leaf("other", Some("d")).limit(2)])).await, &[(2, 2.0), (1, 1.0)]);
        check(&fixture.run(upwards().over([leaf("other", None).limit(2)])).await, &[(3, 3.0), (2, 2.0)]);
        check(&fixture.run(upwards().over([leaf("same", None)])).await, &[(3, 3.0), (1, 1.0)]);

        let failure = async |level: QueryLevel| fixture.failure(upwards().over([level])).await;
        assert!(matches!(failure(nearest(by_id(9))).await, Error::PointNotFound { id: PointId::Num(9) }));
        let lacks = failure(leaf("other", Some("e"))).await;
        assert!(matches!(&lacks, Error::VectorNotFound { id: PointId::Num(2), name } if name == "e"), "{lacks:?}");
        let unknown = failure(leaf("other", Some("zz"))).await;
        assert!(matches!(&unknown, Error::VectorNameUnknown { name } if name == "zz"), "{unknown:?}");
        let missing = failure(leaf("nope", None)).await;
        assert!(matches!(&missing, Error::LookupNotFound { name } if name == "nope"), "{missing:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_2_vectors_of_any_level_are_checked() {
    let fixture = Fixture::new(2, line(2)).await;
    let failure = async |level: QueryLevel| fixture.failure(upwards().over([level])).await;
    let short = nearest(vector(Vector::Dense(vec![1.0])));
    assert!(matches!(failure(short.clone()).await, Error::WrongDim { want: 2, got: 1 }));
    assert!(matches!(failure(short.using("zz")).await, Error::VectorNameUnknown { name } if name == "zz"));
    assert!(matches!(failure(upwards().using("s")).await, Error::SparseMismatch));
    let of_sparse = nearest(vector(sparse(&[(1, 1.0)])));
    assert!(matches!(failure(of_sparse).await, Error::SparseMismatch));
    let nan = nearest(vector(dense([f32::NAN, 0.0])));
    assert!(matches!(failure(nan).await, Error::NotFinite { .. }));
    let nan = nearest(vector(sparse(&[(1, f32::INFINITY)]))).using("s");
    assert!(matches!(failure(nan).await, Error::NotFinite { name } if name == "s"));
    let unequal = Fusion::Rrf { k: 2, weights: Some(vec![1.0]) };
    let unequal = level(Ranking::Fusion(unequal)).over([upwards(), downwards()]);
    assert!(matches!(fixture.failure(unequal).await, Error::WrongWeightCount { got: 1, expected: 2 }));
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_4_filters_reach_the_leaves_before_their_limits() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, line(6)).await;
        let leaf = || level(Ranking::ById).limit(2);
        assert_eq!(fixture.ids(upwards().over([leaf()])).await, [2, 1]);
        let root = upwards().among(must(has_id([3, 4, 5]))).over([leaf()]);
        assert_eq!(fixture.ids(root.clone()).await, [4, 3]);
        let middle = downwards().among(must(has_id([4, 5, 6]))).over([leaf().limit(3)]);
        assert_eq!(fixture.ids(root.over([middle])).await, [5, 4]);
        // Alternatives of two levels widen each other, and are not asked again of what was found.
        let root = upwards().among(should(has_id([3]))).over([leaf().among(should(is("n", 6)))]);
        assert_eq!(fixture.ids(root).await, [6, 3]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_4_inner_levels_work_on_the_union_of_their_sources() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, line(9)).await;
        let sources = || [upwards().limit(2), downwards().limit(3), upwards().limit(1)];
        check(&fixture.run(upwards().over(sources())).await, &[(9, 9.0), (8, 8.0), (3, 3.0), (2, 2.0), (1, 1.0)]);
        // Limit, offset and threshold of the root.
        check(&fixture.page(upwards().limit(2).over(sources()), 1).await, &[(8, 8.0), (3, 3.0)]);
        check(&fixture.run(upwards().above(2.0).over(sources())).await, &[(9, 9.0), (8, 8.0), (3, 3.0)]);
        assert!(fixture.page(upwards().over(sources()), 5).await.is_empty());
        // Those of an inner level: 9 and 8 are left of it.
        let inner = upwards().limit(2).over(sources());
        check(&fixture.run(downwards().over([inner])).await, &[(8, -8.0), (9, -9.0)]);
        let inner = upwards().above(8.0).over(sources());
        check(&fixture.run(downwards().over([inner])).await, &[(9, -9.0)]);
        // A point that lacks the vector is not found by it.
        fixture.put("c", vec![point(1, &[("e", dense([0.0, 3.0]))], json!({})), point(7, &[], json!({}))]).await;
        let root = nearest(vector(dense([0.0, 0.0]))).using("e").over([level(Ranking::ById)]);
        check(&fixture.run(root).await, &[(1, 3.0)]);
        assert!(fixture.run(upwards().over([upwards().among(must(has_id([77])))])).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_4_levels_nest_to_the_depth_of_the_protocol() {
    let fixture = Fixture::new(3, line(70)).await;
    let mut root = upwards().limit(70);
    for kept in (6..70).rev() {
        root = upwards().limit(kept).over([root]);
    }
    assert_eq!(fixture.ids(root).await, [70, 69, 68, 67, 66, 65]);
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_4_payload_and_vectors_are_attached_to_what_a_tree_returns() {
    let fixture = Fixture::new(3, line(4)).await;
    let root = rrf().limit(1).over([upwards().over([upwards()]), downwards()]);
    let bare = fixture.hits(request(root.clone(), 1)).await.unwrap();
    assert!(bare.iter().all(|hit| hit.payload.is_none() && hit.vectors.is_none() && hit.version > 0));
    let request = QueryRequest {
        with_payload: PayloadSelector::All,
        with_vectors: VectorSelector::Names(vec![String::new()]),
        ..request(root, 1)
    };
    let hits = fixture.hits(request).await.unwrap();
    assert_eq!(hits.len(), 1);
    let of_point = line(4).into_iter().find(|point| point.id == hits[0].id).unwrap();
    assert_eq!(
        (hits[0].payload.as_ref(), hits[0].vectors.as_ref()),
        (Some(&of_point.payload), Some(&of_point.vectors))
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_5_a_batch_of_trees_keeps_its_order() {
    let fixture = Fixture::new(3, line(5)).await;
    let trees = [rrf().over([upwards().limit(1)]), upwards().limit(2), downwards().limit(1).over([upwards().limit(2)])];
    let requests = trees.into_iter().map(|root| request(root, 0)).collect();
    let answers = fixture.service.query_batch("c", requests, READ).await.unwrap();
    let answers: Vec<Vec<(u64, f32)>> = answers.iter().map(|hits| shown(hits)).collect();
    check(&answers[0], &[(5, 0.5)]);
    check(&answers[1], &[(5, 5.0), (4, 4.0)]);
    check(&answers[2], &[(4, -4.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_fusion_works_on_the_lists_of_its_prefetches() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, line(4)).await;
        let lists = || [upwards().limit(3), downwards().limit(3)];
        // 4: 1/2, 3: 1/3 + 1/4, 2: 1/4 + 1/3, 1: 1/2.
        let seven = 7.0 / 12.0;
        let want = [(3, seven), (2, seven), (4, 0.5), (1, 0.5)];
        check(&fixture.run(rrf().over(lists())).await, &want);
        check(&fixture.page(rrf().limit(2).over(lists()), 1).await, &want[1..3]);
        // What equals the threshold stays.
        check(&fixture.run(rrf().above(0.5).over(lists())).await, &want);
        check(&fixture.run(rrf().above(0.51).over(lists())).await, &want[..2]);
        let weighed = Fusion::Rrf { k: 2, weights: Some(vec![2.0, 0.0]) };
        let weighed = level(Ranking::Fusion(weighed)).over(lists());
        // Position p of the first list: 1 / ((p + 1) / 2 + 1).
        check(&fixture.run(weighed).await, &[(4, 2.0 / 3.0), (3, 0.5), (2, 0.4), (1, 0.0)]);
        // Means 3 and -2, deviations 1.
        let dbsf = || level(Ranking::Fusion(Fusion::Dbsf));
        let (two, five) = (2.0 / 3.0, 5.0 / 6.0);
        check(&fixture.run(dbsf().over(lists())).await, &[(3, five), (2, five), (4, two), (1, two)]);
        // Inside a tree, with a limit of its own.
        check(&fixture.run(upwards().over([rrf().limit(2).over(lists())])).await, &[(3, 3.0), (2, 2.0)]);
        // Lists without a score are in the order of their ids.
        let ids = rrf().over([level(Ranking::ById).limit(2)]);
        check(&fixture.run(ids).await, &[(1, 0.5), (2, 1.0 / 3.0)]);
        assert!(fixture.run(rrf().over([upwards().among(must(has_id([])))])).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s12_dbsf_takes_distances_as_they_are_shown() {
    let points = (1..=3).map(|id| point(id, &[("e", dense([id as f32, 0.0]))], json!({}))).collect();
    let fixture = Fixture::new(2, points).await;
    let far = nearest(vector(dense([0.0, 0.0]))).using("e");
    // Distances 1, 2, 3; the largest wins although it is the farthest.
    check(
        &fixture.run(level(Ranking::Fusion(Fusion::Dbsf)).over([far])).await,
        &[(3, 2.0 / 3.0), (2, 0.5), (1, 1.0 / 3.0)],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_formulas_rescore_the_union() {
    for shard_number in SHARD_NUMBERS {
        let mut points = line(4);
        points[1].payload.0.insert("place".to_owned(), json!({"lon": 13.0, "lat": 52.0}));
        points.push(point(5, &[], json!({"n": 5})));
        let fixture = Fixture::new(shard_number, points).await;
        let lists = || [upwards().limit(2), downwards().limit(2)];
        // A score that is missing is 0.
        let both =
            Expression::Sum(vec![score(0), score(1), Expression::Mult(vec![key("n"), Expression::Constant(10.0)])]);
        let want = [(4, 44.0), (3, 33.0), (2, 18.0), (1, 9.0)];
        check(&fixture.run(formula(both.clone()).over(lists())).await, &want);
        check(&fixture.page(formula(both.clone()).limit(1).over(lists()), 2).await, &want[2..3]);
        check(&fixture.run(formula(both.clone()).above(18.0).over(lists())).await, &want[..3]);
        check(
            &fixture.run(downwards().over([formula(both.clone()).limit(2).over(lists())])).await,
            &[(3, -3.0), (4, -4.0)],
        );
        // Or its default.
        let defaults = vec![(Variable::Score(1), json!(-100.0))];
        let defaulted = level(Ranking::Formula(Formula { expression: both, defaults }));
        check(&fixture.run(defaulted.over(lists())).await, &[(2, 18.0), (1, 9.0), (4, -56.0), (3, -67.0)]);
        // Conditions are those of filters: on ids, vectors and payloads.
        let condition = |condition| Expression::Condition(Box::new(condition));
        let sum = Expression::Sum(vec![
            Expression::Mult(vec![Expression::Constant(4.0), condition(has_id([1, 5]))]),
            Expression::Mult(vec![Expression::Constant(2.0), condition(Condition::HasVector(String::new()))]),
            condition(is("n", 2)),
        ]);
        let all = || [level(Ranking::ById)];
        check(&fixture.run(formula(sum).over(all())).await, &[(1, 6.0), (5, 4.0), (2, 3.0), (4, 2.0), (3, 2.0)]);
        let origin = GeoPoint::new(13.0, 52.0).unwrap();
        let away = Expression::GeoDistance { origin, to: "place".parse().unwrap() };
        check(&fixture.run(formula(away.clone()).over([upwards().among(must(has_id([2])))])).await, &[(2, 0.0)]);
        let missing = fixture.failure(formula(away).over(all())).await;
        assert!(
            matches!(&missing, Error::Formula(FormulaError::Missing { variable }) if variable == "place"),
            "{missing:?}"
        );
        let root = Expression::Sqrt(Box::new(score(0)));
        let root = fixture.failure(formula(root).over([downwards()])).await;
        assert!(matches!(root, Error::Formula(FormulaError::NotFinite { .. })), "{root:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s14_scores_of_distances_are_the_shown_ones() {
    let fixture = Fixture::new(2, vec![point(1, &[("e", dense([3.0, 4.0]))], json!({}))]).await;
    let away = nearest(vector(dense([0.0, 0.0]))).using("e");
    check(&fixture.run(formula(score(0)).over([away])).await, &[(1, 5.0)]);
}

fn mmr(query: [f32; 2], diversity: f32, candidates_limit: Option<usize>) -> QueryLevel {
    level(Ranking::Mmr { target: vector(dense(query)), mmr: Mmr { diversity, candidates_limit } })
}

#[tokio::test(flavor = "multi_thread")]
async fn s15_mmr_picks_what_is_near_and_different() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(
            shard_number,
            vec![
                point(1, &[("", dense([3.0, 0.0]))], json!({})),
                point(2, &[("", dense([3.0, 0.0]))], json!({})),
                point(3, &[("", dense([0.0, 5.0]))], json!({})),
                point(4, &[("d", dense([9.0, 9.0]))], json!({})),
            ],
        )
        .await;
        // Candidates 2, 1, 3 with 6, 6, 5: of the equal first ones the last is taken; its double has 3 - 4.5.
        check(&fixture.run(mmr([2.0, 1.0], 0.5, None)).await, &[(1, 6.0), (3, 5.0), (2, 6.0)]);
        check(&fixture.run(mmr([2.0, 1.0], 0.0, None)).await, &[(1, 6.0), (2, 6.0), (3, 5.0)]);
        // The request's limit bounds the candidates, unless another is given.
        check(&fixture.run(mmr([2.0, 1.0], 0.5, None).limit(2)).await, &[(1, 6.0), (2, 6.0)]);
        check(&fixture.run(mmr([2.0, 1.0], 0.5, Some(3)).limit(2)).await, &[(1, 6.0), (3, 5.0)]);
        check(&fixture.page(mmr([2.0, 1.0], 0.5, Some(3)).limit(2), 1).await, &[(3, 5.0), (2, 6.0)]);
        check(&fixture.run(mmr([2.0, 1.0], 0.5, None).above(5.0)).await, &[(1, 6.0), (2, 6.0)]);
        check(&fixture.run(mmr([2.0, 1.0], 0.5, None).among(must(has_id([2, 3])))).await, &[(2, 6.0), (3, 5.0)]);
        check(&fixture.run(mmr([2.0, 1.0], 0.5, None).among(must(has_id([2])))).await, &[(2, 6.0)]);
        // After prefetches the candidates are theirs; inside a tree it is a list in its order.
        let two = nearest(vector(dense([1.0, 0.0]))).limit(2);
        check(&fixture.run(mmr([2.0, 1.0], 0.5, None).over([two])).await, &[(1, 6.0), (2, 6.0)]);
        let fused = rrf().over([mmr([2.0, 1.0], 0.5, None)]);
        check(&fixture.run(fused).await, &[(1, 0.5), (3, 1.0 / 3.0), (2, 0.25)]);
        let hits = fixture.hits(request(mmr([2.0, 1.0], 0.5, None), 0)).await.unwrap();
        assert!(hits.iter().all(|hit| hit.vectors.is_none() && hit.payload.is_none()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s15_mmr_on_distances_and_on_other_kinds_of_vectors() {
    for shard_number in SHARD_NUMBERS {
        let at = |id, x: f32| {
            point(
                id,
                &[("e", dense([x, 0.0])), ("s", sparse(&[(id as u32 / 2, x)])), ("m", multi(&[[x, 0.0]]))],
                json!({}),
            )
        };
        let fixture = Fixture::new(shard_number, vec![at(2, 1.0), at(3, 1.5), at(4, -3.0)]).await;
        let of = |target: Vector, using: &str| {
            let mmr = Mmr { diversity: 0.5, candidates_limit: None };
            level(Ranking::Mmr { target: vector(target), mmr }).using(using)
        };
        // Similarities to 0 are -1, -2.25, -9. After 2: 3 has (-2.25 + 0.25) / 2, 4 has (-9 + 16) / 2.
        check(&fixture.run(of(dense([0.0, 0.0]), "e")).await, &[(2, 1.0), (4, 3.0), (3, 1.5)]);
        // Indices 1, 1, 2; similarities 1, 1.5, 3 (query -1 at 2). First 4; then 3 with 0.75 before 2 with 0.5.
        check(&fixture.run(of(sparse(&[(1, 1.0), (2, -1.0)]), "s")).await, &[(4, 3.0), (3, 1.5), (2, 1.0)]);
        // 3 first; then 2 has (1 - 1.5) / 2 and 4 has (-3 + 4.5) / 2.
        check(&fixture.run(of(multi(&[[1.0, 0.0]]), "m")).await, &[(3, 1.5), (4, -3.0), (2, 1.0)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_1_orders_by_a_field() {
    for shard_number in SHARD_NUMBERS {
        let mut points: Vec<Point> =
            [30, 10, 20, 10].iter().zip(1..).map(|(n, id)| point(id, &[], json!({"n": n}))).collect();
        points.push(point(5, &[("", dense([1.0, 0.0]))], json!({"n": [40, 5], "at": "1970-01-01T00:00:02Z"})));
        points.push(point(6, &[], json!({"other": 1})));
        let fixture = Fixture::new(shard_number, points).await;
        let hits = fixture.hits(request(by("n", Direction::Asc, None), 0)).await.unwrap();
        let ordered = |hits: &[ScoredPoint]| -> Vec<(u64, OrderValue)> {
            assert!(hits.iter().all(|hit| hit.score == 1.0 && hit.version == 0));
            hits.iter().map(|hit| (num(hit.id), hit.order_value.unwrap())).collect()
        };
        let n = OrderValue::Integer;
        let want = [(5, n(5)), (2, n(10)), (4, n(10)), (3, n(20)), (1, n(30)), (5, n(40))];
        assert_eq!(ordered(&hits), want);
        let mut backwards = want;
        backwards.reverse();
        let page = fixture.hits(request(by("n", Direction::Desc, None).limit(3), 2)).await.unwrap();
        assert_eq!(ordered(&page), backwards[2..5]);
        let from = by("n", Direction::Asc, Some(StartFrom::Integer(20))).among(must(has_id([1, 2, 3])));
        assert_eq!(ordered(&fixture.hits(request(from, 0)).await.unwrap()), want[3..5]);
        let at = fixture.hits(request(by("at", Direction::Asc, None), 0)).await.unwrap();
        assert_eq!(ordered(&at), [(5, microseconds("1970-01-01T00:00:02Z"))]);
        // Of what prefetches found; and as one itself: a point counts where it stands first.
        let among = by("n", Direction::Desc, None).over([level(Ranking::ById).limit(3)]);
        assert_eq!(fixture.ids(among).await, [1, 3, 2]);
        let fused = rrf().over([by("n", Direction::Asc, None).limit(3)]);
        check(&fixture.run(fused).await, &[(5, 0.5), (2, 1.0 / 3.0), (4, 0.25)]);
        let missing = fixture.failure(by("other", Direction::Asc, None)).await;
        assert!(matches!(&missing, Error::NoRangeIndex { key } if key.to_string() == "other"), "{missing:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_1_samples_are_random_points_each_once() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, line(12)).await;
        let sample = || level(Ranking::Sample);
        let mut seen: BTreeMap<u64, usize> = BTreeMap::new();
        let mut orders = BTreeSet::new();
        for _ in 0..100 {
            let hits = fixture.hits(request(sample().limit(6).among(must(has_id(1..=9))), 0)).await.unwrap();
            assert!(hits.iter().all(|hit| hit.score == 1.0 && hit.version == 0));
            let ids: Vec<u64> = hits.iter().map(|hit| num(hit.id)).collect();
            assert_eq!(ids.iter().collect::<BTreeSet<_>>().len(), 6);
            ids.iter().for_each(|id| *seen.entry(*id).or_default() += 1);
            orders.insert(ids);
        }
        // Each of nine is in two of three samples: fewer than 30 of 100 is more than seven deviations off.
        assert_eq!(seen.keys().copied().collect::<Vec<_>>(), (1..=9).collect::<Vec<_>>());
        assert!(seen.values().all(|times| (30..=97).contains(times)), "{seen:?}");
        assert!(orders.len() > 50, "{} orders", orders.len());
        let all: BTreeSet<u64> = fixture.ids(sample().limit(100)).await.into_iter().collect();
        assert_eq!(all, (1..=12).collect());
        // A threshold says nothing about points without a score; a prefetch says which there are.
        let mut among = fixture.ids(sample().above(5.0).over([upwards().limit(2), downwards().limit(1)])).await;
        among.sort_unstable();
        assert_eq!(among, [1, 11, 12]);
    }
}
