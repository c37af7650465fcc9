//! Scores made of several similarities (PROTOCOL section 11).

use super::*;
use crate::model::collection::{Datatype, NewVector};
use crate::model::query::{ContextPair, RecommendStrategy, RelevanceFeedback};
use crate::service::WriteOptions;

fn recommend(positive: Vec<Target>, negative: Vec<Target>, strategy: RecommendStrategy) -> QueryLevel {
    level(Ranking::Recommend { positive, negative, strategy })
}

fn pair(positive: Target, negative: Target) -> ContextPair {
    ContextPair { positive, negative }
}

fn ssig(x: f32) -> f32 {
    0.5 * (x / (1.0 + x.abs()) + 1.0)
}

/// `x` on the first axis of every vector: 1 to 4 at 1, 2, -1 and -2.
fn axis() -> Vec<Point> {
    let at = |(id, x): (u64, f32)| {
        let row = dense([x, 0.0]);
        point(id, &[("", row.clone()), ("e", row.clone()), ("man", row), ("m", multi(&[[x, 0.0]]))], json!({"n": id}))
    };
    [(1, 1.0), (2, 2.0), (3, -1.0), (4, -2.0)].into_iter().map(at).chain([point(5, &[], json!({}))]).collect()
}

fn x(x: f32) -> Target {
    vector(dense([x, 0.0]))
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_average_vector_is_a_search_by_the_mean() {
    use RecommendStrategy::AverageVector;
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, axis()).await;
        // (1 + 3) / 2.
        check(
            &fixture.run(recommend(vec![x(1.0), x(3.0)], vec![], AverageVector)).await,
            &[(2, 4.0), (1, 2.0), (3, -2.0), (4, -4.0)],
        );
        // Twice the mean less the mean of the negatives: 2 * 2 - (2 + 4) / 2 = 1; shown as distances.
        let euclid = recommend(vec![x(2.0)], vec![x(2.0), x(4.0)], AverageVector).using("e");
        check(&fixture.run(euclid).await, &[(1, 0.0), (2, 1.0), (3, 2.0), (4, 3.0)]);
        // Points are left out: 2 * 2 - -1 = 5.
        check(&fixture.run(recommend(vec![by_id(2)], vec![by_id(3)], AverageVector)).await, &[(1, 5.0), (4, -10.0)]);
        // The threshold is that of a search.
        check(&fixture.run(recommend(vec![x(1.0)], vec![], AverageVector).above(1.0)).await, &[(2, 2.0)]);
        // Rows of all positives and those of the negatives turned around: 2 x - x - 0.
        let rows = recommend(
            vec![vector(multi(&[[2.0, 0.0]]))],
            vec![vector(multi(&[[1.0, 0.0], [0.0, 1.0]]))],
            AverageVector,
        );
        check(&fixture.run(rows.using("m")).await, &[(2, 2.0), (1, 1.0), (3, -1.0), (4, -2.0)]);
        // A dense vector is one row.
        let one = recommend(vec![x(2.0), vector(multi(&[[1.0, 0.0]]))], vec![], AverageVector).using("m");
        check(&fixture.run(one).await, &[(2, 6.0), (1, 3.0), (3, -3.0), (4, -6.0)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_averages_are_of_vectors_as_given_and_stored() {
    let at = |id, values| point(id, &[("cos", dense(values))], json!({}));
    let fixture = Fixture::new(2, vec![at(1, [3.0, 4.0]), at(2, [1.0, 0.0]), at(3, [0.0, 7.0])]).await;
    let average = |positive, negative| recommend(positive, negative, RecommendStrategy::AverageVector).using("cos");
    // Stored as (0.6, 0.8); with (3, -0.8): mean (1.8, 0).
    let root = average(vec![by_id(1), vector(dense([3.0, -0.8]))], vec![]);
    check(&fixture.run(root).await, &[(2, 1.0), (3, 0.0)]);
    let failure =
        fixture.failure(average(vec![vector(dense([1.0, 1.0])), vector(Vector::Dense(vec![1.0]))], vec![])).await;
    assert!(matches!(failure, Error::WrongDim { want: 2, got: 1 }), "{failure:?}");
    let failure = fixture.failure(average(vec![vector(dense([1.0, 1.0])), vector(sparse(&[]))], vec![])).await;
    assert!(matches!(failure, Error::SparseMismatch), "{failure:?}");
    let failure = fixture.failure(average(vec![vector(dense([1.0, f32::NAN]))], vec![])).await;
    assert!(matches!(failure, Error::NotFinite { .. }), "{failure:?}");
    let unknown = average(vec![vector(dense([1.0, 1.0]))], vec![]).using("zz");
    assert!(matches!(fixture.failure(unknown).await, Error::VectorNameUnknown { .. }));
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_best_score() {
    use RecommendStrategy::BestScore;
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, axis()).await;
        let root = || recommend(vec![x(1.0), x(3.0)], vec![x(-2.0)], BestScore);
        // At 2: 6 against -4. At -2: -2 against 4.
        let want = [(2, ssig(6.0)), (1, ssig(3.0)), (3, -ssig(2.0)), (4, -ssig(4.0))];
        check(&fixture.run(root()).await, &want);
        check(&fixture.run(root().above(-ssig(2.0))).await, &want[..2]);
        check(&fixture.page(root().limit(1), 1).await, &want[1..2]);
        // With negatives only.
        let lone = recommend(vec![], vec![x(1.0)], BestScore);
        check(&fixture.run(lone).await, &[(4, -ssig(-2.0)), (3, -ssig(-1.0)), (1, -ssig(1.0)), (2, -ssig(2.0))]);
        // Raw scores, larger is better, whatever the metric: -(2 - 2)^2 and so on.
        let euclid = recommend(vec![x(2.0)], vec![], BestScore).using("e");
        let of = |distance: f32| ssig(-distance * distance);
        check(&fixture.run(euclid.clone()).await, &[(2, of(0.0)), (1, of(1.0)), (3, of(3.0)), (4, of(4.0))]);
        // Such a list is cut in the direction of its metric (section 3.3): from the first that is not below.
        assert!(fixture.run(euclid.clone().above(0.2)).await.is_empty());
        assert_eq!(fixture.run(euclid.above(0.6)).await.len(), 4);
        let manhattan = recommend(vec![x(2.0)], vec![], BestScore).using("man");
        check(&fixture.run(manhattan).await, &[(2, ssig(0.0)), (1, ssig(-1.0)), (3, ssig(-3.0)), (4, ssig(-4.0))]);
        let rows = recommend(vec![vector(multi(&[[1.0, 0.0], [3.0, 0.0]]))], vec![], BestScore).using("m");
        check(&fixture.run(rows).await, &[(2, ssig(8.0)), (1, ssig(4.0)), (3, ssig(-4.0)), (4, ssig(-8.0))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_sum_scores() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, axis()).await;
        let sum = |positive, negative| recommend(positive, negative, RecommendStrategy::SumScores);
        check(&fixture.run(sum(vec![x(1.0), x(3.0)], vec![x(1.0)])).await, &[(2, 6.0), (1, 3.0), (3, -3.0), (4, -6.0)]);
        check(&fixture.run(sum(vec![], vec![by_id(1)])).await, &[(4, 2.0), (3, 1.0), (2, -2.0)]);
        // Equal scores: the larger id first. Filters and prefetches bound what is compared.
        check(
            &fixture.run(sum(vec![vector(dense([0.0, 1.0]))], vec![])).await,
            &[(4, 0.0), (3, 0.0), (2, 0.0), (1, 0.0)],
        );
        check(&fixture.run(sum(vec![x(1.0)], vec![]).among(must(is("n", 3)))).await, &[(3, -1.0)]);
        let two = nearest(x(-1.0)).limit(2);
        check(&fixture.run(sum(vec![x(1.0)], vec![]).over([two])).await, &[(3, -1.0), (4, -2.0)]);
        let euclid = sum(vec![x(1.0)], vec![x(2.0)]).using("e");
        // At x: -(x - 1)^2 + (x - 2)^2 = 3 - 2 x; the larger is better, also where the metric is a distance.
        check(&fixture.run(euclid).await, &[(4, 7.0), (3, 5.0), (1, 1.0), (2, -1.0)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_discover_and_context() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, axis()).await;
        let pairs = || vec![pair(x(2.0), x(1.0)), pair(x(3.0), x(-1.0)), pair(x(1.0), x(1.0))];
        let discover = |context| level(Ranking::Discover { target: x(0.5), context });
        check(
            &fixture.run(discover(pairs())).await,
            &[(2, 2.0 + ssig(1.0)), (1, 2.0 + ssig(0.5)), (3, -2.0 + ssig(-0.5)), (4, -2.0 + ssig(-1.0))],
        );
        check(
            &fixture.run(discover(vec![])).await,
            &[(2, ssig(1.0)), (1, ssig(0.5)), (3, ssig(-0.5)), (4, ssig(-1.0))],
        );
        // Differences x and 4 x: 0 where they are above 0, else x / (1 + |x|).
        let context = || level(Ranking::Context(pairs()[..2].to_vec()));
        let want = [(2, 0.0), (1, 0.0), (3, -0.5 - 0.8), (4, -2.0 / 3.0 - 8.0 / 9.0)];
        check(&fixture.run(context()).await, &want);
        check(&fixture.run(context().above(-1.4)).await, &want[..3]);
        let by_points = level(Ranking::Discover { target: by_id(2), context: vec![pair(by_id(1), by_id(4))] });
        check(&fixture.run(by_points).await, &[(3, -1.0 + ssig(-2.0))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_relevance_feedback() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, axis()).await;
        let feedback = |feedback| {
            level(Ranking::RelevanceFeedback(RelevanceFeedback { target: x(1.0), feedback, a: 0.5, b: 2.0, c: 3.0 }))
        };
        // Pairs by score: (1, 0) with 0.5, (1, 2) with 0.5; equal scores make none. Each weighs 0.25 * 3.
        // At x: x / 2 + 0.75 * ((2x - x) + (2x - -x)) = 3.5 x.
        let root = feedback(vec![(x(1.0), 0.5), (x(2.0), 1.0), (x(-1.0), 0.5)]);
        check(&fixture.run(root).await, &[(2, 7.0), (1, 3.5), (3, -3.5), (4, -7.0)]);
        let lone = feedback(vec![(by_id(2), 0.5)]);
        check(&fixture.run(lone).await, &[(1, 0.5), (3, -0.5), (4, -1.0)]);
    }
}

/// At length 1 nothing would be left of bytes.
#[tokio::test(flavor = "multi_thread")]
async fn s2_3_bytes_are_compared_by_direction_and_come_back_as_they_were() {
    let wait = WriteOptions { wait: true, deadline: None };
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, vec![]).await;
        let bytes = VectorParams { datatype: Some(Datatype::Uint8), ..VectorParams::new(2, Metric::Cosine) };
        let rows = VectorParams { is_multi: true, ..bytes.clone() };
        for (name, params) in [("b", bytes), ("rows", rows)] {
            let new = NewVector::Dense(params);
            fixture.service.create_vector("c", name.to_owned(), new, wait).await.unwrap();
        }
        let multi = |values: [f32; 2]| Vector::Multi(MultiVector::new(2, [values, [0.0, 9.0]].concat()).unwrap());
        let put = async |id: u64, values: [f32; 2]| {
            let points = vec![point(id, &[("b", dense(values)), ("rows", multi(values))], json!({}))];
            let op = PointOp::Upsert { points, mode: UpsertMode::Upsert, update_filter: None };
            fixture.service.write("c", op, wait).await.unwrap();
        };
        put(1, [30.0, 40.0]).await;
        put(2, [3.0, 4.0]).await;
        put(3, [200.0, 0.0]).await;
        let right = || vector(dense([5.0, 0.0]));
        let read = async |id: u64, name: &str| {
            let (payload, vectors) = (PayloadSelector::None, VectorSelector::Names(vec![name.to_owned()]));
            let found = fixture.service.retrieve("c", vec![PointId::Num(id)], payload, vectors, READ).await.unwrap();
            found.into_iter().next().unwrap().vectors.unwrap().remove(name).unwrap()
        };
        for name in ["b", "rows"] {
            check(&fixture.run(nearest(right()).using(name)).await, &[(3, 1.0), (2, 0.6), (1, 0.6)]);
        }
        check(&fixture.run(nearest(Target::Point(PointId::Num(2))).using("b")).await, &[(1, 1.0), (3, 0.6)]);
        let positive = vec![right()];
        let summed = Ranking::Recommend { positive, negative: vec![], strategy: RecommendStrategy::SumScores };
        check(&fixture.run(level(summed).using("b")).await, &[(3, 1.0), (2, 0.6), (1, 0.6)]);
        // The same direction and another length is another vector.
        put(2, [6.0, 8.0]).await;
        assert_eq!((read(2, "b").await, read(2, "rows").await), (dense([6.0, 8.0]), multi([6.0, 8.0])));
        check(&fixture.run(nearest(right()).using("b")).await, &[(3, 1.0), (2, 0.6), (1, 0.6)]);
        for running in fixture.service.view("c").await.unwrap().here() {
            running.shard().validate().unwrap();
        }
    }
}
