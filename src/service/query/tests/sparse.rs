//! Sparse vectors, their IDF, and texts (PROTOCOL section 13).

use super::*;
use crate::model::query::{ContextPair, Fusion, IdfCorpus, MatrixRequest, RecommendStrategy, SearchOptions};

/// `s` and `idf` alike: 1 has index 1, 2 has 1 and 2, 3 has 2 twice as heavy, 4 has 3; 5 has neither.
fn documents() -> Vec<Point> {
    let of = |id, entries: &[(u32, f32)]| {
        point(id, &[("s", sparse(entries)), ("idf", sparse(entries)), ("", dense([id as f32, 0.0]))], json!({"n": id}))
    };
    vec![
        of(1, &[(1, 1.0)]),
        of(2, &[(1, 1.0), (2, 1.0)]),
        of(3, &[(2, 2.0)]),
        of(4, &[(3, 1.0)]),
        point(5, &[("", dense([5.0, 0.0]))], json!({"n": 5})),
    ]
}

fn near(entries: &[(u32, f32)], using: &str) -> QueryLevel {
    nearest(vector(sparse(entries))).using(using)
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_1_a_search_finds_what_shares_an_index() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, documents()).await;
        let query = || near(&[(1, 1.0), (2, -1.0)], "s");
        check(&fixture.run(query()).await, &[(1, 1.0), (2, 0.0), (3, -2.0)]);
        check(&fixture.run(query().above(0.0)).await, &[(1, 1.0)]);
        assert!(fixture.run(near(&[], "s")).await.is_empty());
        assert!(fixture.run(near(&[(7, 1.0)], "s")).await.is_empty());
        // Rescoring finds what a search would.
        check(&fixture.run(query().over([level(Ranking::ById)])).await, &[(1, 1.0), (2, 0.0), (3, -2.0)]);
        assert!(fixture.run(near(&[], "s").over([level(Ranking::ById)])).await.is_empty());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s11_without_an_index_in_common_other_scores_count_zero() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, documents()).await;
        let one = || vector(sparse(&[(1, 1.0)]));
        let two = || vector(sparse(&[(2, -1.0)]));
        let recommend =
            |strategy| level(Ranking::Recommend { positive: vec![one()], negative: vec![two()], strategy }).using("s");
        check(&fixture.run(recommend(RecommendStrategy::SumScores)).await, &[(3, 2.0), (2, 2.0), (1, 1.0), (4, 0.0)]);
        // Of equals neither is better: 0 against 0 is the negative side's, -1/2.
        check(
            &fixture.run(recommend(RecommendStrategy::BestScore)).await,
            &[(2, 0.75), (1, 0.75), (3, 0.5), (4, -0.5)],
        );
        let context = vec![ContextPair { positive: one(), negative: two() }];
        let discover = level(Ranking::Discover { target: one(), context }).using("s");
        check(&fixture.run(discover).await, &[(2, 1.75), (1, 1.75), (3, 1.5), (4, 0.5)]);
        // The mean is a search again: what shares no index is not found.
        check(&fixture.run(recommend(RecommendStrategy::AverageVector)).await, &[(2, 3.0), (3, 2.0), (1, 2.0)]);
        let positive = vec![one(), vector(sparse(&[(3, 4.0)]))];
        let mean = Ranking::Recommend { positive, negative: vec![], strategy: RecommendStrategy::AverageVector };
        check(&fixture.run(level(mean).using("s")).await, &[(4, 2.0), (2, 0.5), (1, 0.5)]);
    }
}

fn with_corpus(level: QueryLevel, corpus: IdfCorpus) -> QueryLevel {
    QueryLevel { options: SearchOptions { idf: Some(corpus), ..SearchOptions::default() }, ..level }
}

fn ln(x: f32) -> f32 {
    x.ln()
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_2_weights_are_multiplied_with_the_rarity_of_their_index() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, documents()).await;
        // Four documents, indices 1 and 2 in two of them: ln(2.5 / 2.5 + 1).
        let both = || near(&[(1, 1.0), (2, 1.0)], "idf");
        check(&fixture.run(both()).await, &[(3, 2.0 * ln(2.0)), (2, 2.0 * ln(2.0)), (1, ln(2.0))]);
        // Index 3 in one: ln(3.5 / 1.5 + 1). What is nowhere weighs, and finds, nothing.
        let rare = || near(&[(3, 2.0), (9, 5.0)], "idf");
        check(&fixture.run(rare()).await, &[(4, 2.0 * ln(10.0 / 3.0))]);
        // Whatever the filter, and inside trees.
        check(&fixture.run(rare().among(must(is("n", 4)))).await, &[(4, 2.0 * ln(10.0 / 3.0))]);
        let fused = level(Ranking::Fusion(Fusion::Rrf { k: 2, weights: None })).over([both().above(1.0)]);
        check(&fixture.run(fused).await, &[(3, 0.5), (2, 1.0 / 3.0)]);
        check(&fixture.run(both().over([level(Ranking::ById).limit(2)])).await, &[(2, 2.0 * ln(2.0)), (1, ln(2.0))]);
        // In every kind of query.
        let sum = Ranking::Recommend {
            positive: vec![vector(sparse(&[(3, 1.0)]))],
            negative: vec![vector(sparse(&[(1, 1.0)]))],
            strategy: RecommendStrategy::SumScores,
        };
        check(
            &fixture.run(level(sum).using("idf")).await,
            &[(4, ln(10.0 / 3.0)), (3, 0.0), (2, -ln(2.0)), (1, -ln(2.0))],
        );
        let by_point = nearest(by_id(4)).using("idf");
        assert!(fixture.run(by_point).await.is_empty());
        // A deleted point counts no more: three documents, index 2 in one.
        let op = PointOp::Delete { select: crate::model::PointSelector::Ids(vec![PointId::Num(3)]) };
        let wait = crate::service::WriteOptions { wait: true, deadline: None };
        fixture.service.write("c", op, wait).await.unwrap();
        check(&fixture.run(near(&[(2, 1.0)], "idf")).await, &[(2, ln(2.5 / 1.5 + 1.0))]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_2_a_corpus_is_counted_apart_from_the_filter() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, documents()).await;
        let query = || near(&[(1, 1.0), (2, 1.0)], "idf");
        // 1 and 4: index 1 in one of two, ln 2; index 2 in none, ln(2.5 / 0.5 + 1). 5 has no such vector.
        let corpus = || IdfCorpus::Filter(must(has_id([1, 4, 5])));
        let want = [(3, 2.0 * ln(6.0)), (2, ln(2.0) + ln(6.0)), (1, ln(2.0))];
        check(&fixture.run(with_corpus(query(), corpus())).await, &want);
        check(&fixture.run(with_corpus(query(), corpus()).among(must(is("n", 2)))).await, &want[1..2]);
        check(&fixture.run(with_corpus(query(), IdfCorpus::Global)).await, &fixture.run(query()).await);
        let nothing = IdfCorpus::Filter(must(has_id([])));
        check(
            &fixture.run(with_corpus(query(), nothing)).await,
            &[(3, 2.0 * ln(2.0)), (2, 2.0 * ln(2.0)), (1, ln(2.0))],
        );
        for without in [near(&[(1, 1.0)], "s"), upwards()] {
            let name = without.using.clone();
            let failure = fixture.failure(with_corpus(without, IdfCorpus::Global)).await;
            assert!(matches!(&failure, Error::IdfNotPossible { name: of } if *of == name), "{failure:?}");
        }
        let root = upwards().over([with_corpus(upwards(), IdfCorpus::Global)]);
        assert!(matches!(fixture.failure(root).await, Error::IdfNotPossible { .. }));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_4_texts_are_ranked_by_bm25() {
    for shard_number in SHARD_NUMBERS {
        let of = |id, text: &str| point(id, &[("", dense([id as f32, 0.0]))], json!({"text": text}));
        let points = vec![of(1, "red fish"), of(2, "blue blue fish, red"), of(3, "a boat"), of(4, ""), of(5, "fish")];
        let fixture = Fixture::new(shard_number, points).await;
        let ask = |query: &str| level(Ranking::Text { query: query.to_owned(), k: 1.2, b: 0.75 }).using("text");
        // Four texts with tokens, 9 tokens in all; `blue` is in one, `red` in two.
        let average = 9.0 / 4.0;
        let norm = |len: f32| 1.2 * (0.25 + 0.75 * len / average);
        let blue = ln(3.5 / 1.5 + 1.0) * 2.0 * 2.2 / (2.0 + norm(4.0));
        let red = |len: f32| ln(2.5 / 2.5 + 1.0) * 2.2 / (1.0 + norm(len));
        let want = [(2, blue + red(4.0)), (1, red(2.0))];
        let got = fixture.run(ask("Red blue red")).await;
        check(&got, &want);
        check(&fixture.run(ask("red blue").above(got[1].1)).await, &want[..1]);
        check(&fixture.page(ask("red blue").limit(1), 1).await, &want[1..]);
        // The filter leaves the counts as they are; prefetches bound what is found; and it can be one.
        check(&fixture.run(ask("red blue").among(must(has_id([1, 3])))).await, &want[1..]);
        check(&fixture.run(ask("red blue").over([downwards().limit(1)])).await, &want[1..]);
        check(&fixture.run(upwards().over([ask("red blue")])).await, &[(2, 2.0), (1, 1.0)]);
        let flat = level(Ranking::Text { query: "red".to_owned(), k: 0.0, b: 0.0 }).using("text");
        check(&fixture.run(flat).await, &[(1, ln(2.0)), (2, ln(2.0))]);
        assert!(fixture.run(ask("green")).await.is_empty() && fixture.run(ask("")).await.is_empty());
        let failure = fixture.failure(ask("red").using("n")).await;
        assert!(matches!(&failure, Error::NoScoringIndex { key } if key.to_string() == "n"), "{failure:?}");
        assert!(matches!(fixture.failure(ask("red").using("")).await, Error::TextFieldNeeded));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s13_2_a_matrix_is_weighted_as_a_search_is() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, documents()).await;
        let request = MatrixRequest { sample: 10, limit: 9, filter: None, using: "idf".to_owned() };
        let matrix = fixture.service.matrix("c", request, READ).await.unwrap();
        assert_eq!(matrix.ids, [1, 2, 3, 4].map(PointId::Num));
        // Indices 1 and 2 are in two of four documents each.
        let weight = 2.0_f32.ln();
        let want = [vec![(1, weight)], vec![(2, 2.0 * weight), (0, weight)], vec![(1, 2.0 * weight)], vec![]];
        assert_eq!(matrix.rows.len(), want.len());
        for (row, want) in matrix.rows.iter().zip(want) {
            assert_eq!(row.len(), want.len(), "{row:?}");
            for (cell, want) in row.iter().zip(want) {
                assert!(cell.0 == want.0 && (cell.1 - want.1).abs() < 1e-5, "{row:?}");
            }
        }
    }
}
