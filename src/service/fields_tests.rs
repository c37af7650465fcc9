//! Field indexes through the service: on one shard and on several.

use serde_json::json;

use super::super::tests::{Fixture, NO_WAIT, READ, WAIT, by_ids, num, payload, scroll_all, upsert};
use super::*;
use crate::model::field_index::{IntegerParams, KeywordParams, PlacementParams, TextParams};
use crate::model::filter::{FieldCondition, Match, Predicate};
use crate::model::query::{Direction, OrderBy, OrderValue, ScrollRequest, StartFrom};
use crate::model::{Condition, Filter, Metric, NamedVectors, PayloadSelector, Point, PointId, PointOp};

fn schema(kind: FieldIndexKind) -> FieldIndexSchema {
    FieldIndexSchema { kind, is_object: false, placement: PlacementParams::default() }
}

fn keyword() -> FieldIndexKind {
    FieldIndexKind::Keyword(KeywordParams::default())
}

fn integer() -> FieldIndexKind {
    FieldIndexKind::Integer(IntegerParams::default())
}

fn path(text: &str) -> Path {
    text.parse().unwrap()
}

/// 60 points: a colour, a number, and two numbers.
async fn filled(shard_number: u32) -> Fixture {
    let fixture = Fixture::with(shard_number, 2, Metric::Dot).await;
    let point = |id: u64| {
        let colour = ["red", "green", "blue", "red"][id as usize % 4];
        Point {
            id: PointId::Num(id),
            vectors: NamedVectors::new(),
            payload: payload(json!({"colour": colour, "n": id / 2, "several": [id, 100 + id]})),
        }
    };
    fixture.upsert((0..60).map(point).collect()).await;
    fixture
}

impl Fixture {
    async fn index(&self, field: &str, kind: FieldIndexKind) {
        let ack = self.service.create_field_index("c", path(field), schema(kind), WAIT).await.unwrap();
        assert_eq!(ack.status, WriteStatus::Completed);
    }

    async fn points_of(&self, field: &str) -> Option<u64> {
        let report = self.service.collection_report("c").await.unwrap();
        report.fields.get(&path(field)).map(|field| field.point_count)
    }

    async fn ordered(&self, request: ScrollRequest) -> Vec<(OrderValue, u64)> {
        let page = self.service.scroll("c", request, READ).await.unwrap();
        assert_eq!(page.next_offset, None);
        page.points.iter().map(|record| (record.order_value.unwrap(), num(record.id))).collect()
    }

    async fn facet(&self, request: FacetRequest) -> Result<Vec<(FacetValue, u64)>, Error> {
        let hits = self.service.facet("c", request, READ).await?;
        Ok(hits.into_iter().map(|hit| (hit.value, hit.count)).collect())
    }
}

fn order(key: &str, direction: Direction, start_from: Option<StartFrom>) -> ScrollRequest {
    ScrollRequest { order_by: Some(OrderBy { key: path(key), direction, start_from }), limit: 5, ..scroll_all() }
}

fn colour_is(colour: &str) -> Filter {
    let predicates = vec![Predicate::Match(Match::Keyword(colour.to_owned()))];
    Filter { must: vec![Condition::Field(FieldCondition { key: path("colour"), predicates })], ..Filter::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_a_waited_index_is_complete_and_counts_its_points() {
    for shard_number in [1, 3] {
        let fixture = filled(shard_number).await;
        fixture.index("colour", keyword()).await;
        assert_eq!(fixture.points_of("colour").await, Some(60));
        fixture.index("colour", integer()).await;
        assert_eq!(fixture.points_of("colour").await, Some(0), "no colour is an integer");
        fixture.index("n", integer()).await;
        fixture.service.write("c", PointOp::Delete { select: by_ids(&[3, 4]) }, WAIT).await.unwrap();
        assert_eq!(fixture.points_of("n").await, Some(58));
        let ack = fixture.service.delete_field_index("c", path("n"), WAIT).await.unwrap();
        assert_eq!(ack.status, WriteStatus::Completed);
        assert_eq!(fixture.points_of("n").await, None);
        fixture.service.delete_field_index("c", path("unknown"), NO_WAIT).await.unwrap();
        let missing = fixture.service.create_field_index("none", path("n"), schema(integer()), WAIT).await;
        assert!(matches!(missing, Err(Error::CollectionNotFound { .. })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_indexes_outlive_a_restart_and_a_crash() {
    let fixture = filled(2).await;
    fixture.index("colour", keyword()).await;
    fixture.index("n", integer()).await;
    for fixture in [fixture.crashed().await, fixture.reopen().await] {
        assert_eq!((fixture.points_of("colour").await, fixture.points_of("n").await), (Some(60), Some(60)));
        let request = FacetRequest { key: path("colour"), limit: 1, filter: None };
        assert_eq!(fixture.facet(request).await.unwrap(), [(FacetValue::Text("red".into()), 30)]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_2_ordered_pages_are_merged_over_shards() {
    for shard_number in [1, 3] {
        let fixture = filled(shard_number).await;
        let missing = fixture.service.scroll("c", order("n", Direction::Asc, None), READ).await;
        assert!(matches!(missing, Err(Error::NoRangeIndex { .. })));
        fixture.index("n", integer()).await;
        fixture.index("several", integer()).await;
        let pairs = |expected: [(i64, u64); 5]| expected.map(|(value, id)| (OrderValue::Integer(value), id)).to_vec();
        let first = fixture.ordered(order("n", Direction::Asc, None)).await;
        assert_eq!(first, pairs([(0, 0), (0, 1), (1, 2), (1, 3), (2, 4)]));
        let last = fixture.ordered(order("n", Direction::Desc, Some(StartFrom::Integer(20)))).await;
        assert_eq!(last, pairs([(20, 41), (20, 40), (19, 39), (19, 38), (18, 37)]));
        let blue = ScrollRequest { filter: Some(colour_is("blue")), ..order("n", Direction::Asc, None) };
        assert_eq!(fixture.ordered(blue).await, pairs([(1, 2), (3, 6), (5, 10), (7, 14), (9, 18)]));
        // Every value of a point counts: 58, 59, then 100 of point 0.
        let several = fixture.ordered(order("several", Direction::Asc, Some(StartFrom::Float(57.5)))).await;
        assert_eq!(several, pairs([(58, 58), (59, 59), (100, 0), (101, 1), (102, 2)]));
        let all = ScrollRequest { limit: 1_000, ..order("several", Direction::Desc, None) };
        assert_eq!(fixture.ordered(all).await.len(), 120);
        let with_payload = ScrollRequest { with_payload: PayloadSelector::All, ..order("n", Direction::Asc, None) };
        let page = fixture.service.scroll("c", with_payload, READ).await.unwrap();
        assert_eq!(page.points[2].payload.as_ref().unwrap().0["n"], json!(1));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_4_facets_are_merged_over_shards_before_the_limit() {
    for shard_number in [1, 4] {
        let fixture = filled(shard_number).await;
        let request = |limit, filter| FacetRequest { key: path("colour"), limit, filter };
        assert!(matches!(fixture.facet(request(10, None)).await, Err(Error::NoFacetIndex { .. })));
        fixture.index("colour", keyword()).await;
        let text = |text: &str| FacetValue::Text(text.to_owned());
        let all = fixture.facet(request(10, None)).await.unwrap();
        assert_eq!(all, [(text("red"), 30), (text("blue"), 15), (text("green"), 15)]);
        assert_eq!(fixture.facet(request(2, None)).await.unwrap(), all[..2]);
        let blue = fixture.facet(request(10, Some(colour_is("blue")))).await.unwrap();
        assert_eq!(blue, [(text("blue"), 15)]);
        fixture.index("colour", FieldIndexKind::Text(TextParams::default())).await;
        assert!(matches!(fixture.facet(request(10, None)).await, Err(Error::NoFacetIndex { .. })));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_an_index_built_beside_writes_misses_none() {
    let fixture = filled(2).await;
    let writes = async {
        for round in 0..20_u64 {
            let point = |id: u64| Point {
                id: PointId::Num(id),
                vectors: NamedVectors::new(),
                payload: payload(json!({"colour": "red", "n": 1_000 + id})),
            };
            let points = (round * 5..round * 5 + 10).map(point).collect();
            fixture.service.write("c", upsert(points), NO_WAIT).await.unwrap();
        }
    };
    let building = async {
        for field in ["n", "colour", "several"] {
            fixture.index(field, if field == "colour" { keyword() } else { integer() }).await;
        }
    };
    tokio::join!(writes, building);
    // 0 to 104 were written; 100 and more only here, with a number and no list.
    assert_eq!((fixture.points_of("n").await, fixture.points_of("colour").await), (Some(105), Some(105)));
    assert_eq!(fixture.points_of("several").await, Some(0));
    let all = ScrollRequest { limit: 1_000, ..order("n", Direction::Asc, None) };
    let ordered = fixture.ordered(all).await;
    assert_eq!(ordered, (0..105).map(|id| (OrderValue::Integer(1_000 + id), id as u64)).collect::<Vec<_>>());
}
