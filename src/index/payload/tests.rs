//! Field indexes against evaluating the same conditions on the payloads they were made of.

use proptest::prelude::*;
use serde_json::{Value, json};

use super::*;
use crate::model::datetime::Timestamp;
use crate::model::field_index::{FieldIndexKind, IntegerParams, KeywordParams, TextParams};
use crate::model::filter::{FieldCondition, FieldQuestion, Match, Predicate, Range, ValuesCount};
use crate::model::geo::{GeoBox, GeoPoint, GeoPolygon, GeoRadius};
use crate::model::query::{Direction, FacetValue, OrderValue, StartFrom};
use crate::model::{Condition, Filter, Path, Payload, PointId, Slot};
use crate::shard::filter::{CompiledFilter, PointView, TextFields};
use roaring::RoaringBitmap;
use std::sync::Arc;

fn kinds() -> Vec<FieldIndexKind> {
    let integer = |lookup, range| FieldIndexKind::Integer(IntegerParams { lookup, range });
    let text = |phrase_matching, scoring| {
        FieldIndexKind::Text(TextParams { phrase_matching, scoring, ..TextParams::default() })
    };
    vec![
        FieldIndexKind::Keyword(KeywordParams::default()),
        integer(None, None),
        integer(Some(false), None),
        integer(None, Some(false)),
        FieldIndexKind::Float,
        FieldIndexKind::Geo,
        text(None, None),
        text(Some(true), None),
        text(Some(false), Some(true)),
        FieldIndexKind::Bool,
        FieldIndexKind::Datetime,
        FieldIndexKind::Uuid,
    ]
}

const UUIDS: [&str; 3] = [
    "67e55044-10b1-426f-9247-bb680e5fe0c8",
    "67E55044-10B1-426F-9247-BB680E5FE0C8",
    "00000000-0000-0000-0000-000000000001",
];
const DATES: [&str; 4] = ["2024-02-29", "2024-02-29T00:00:00Z", "2023-01-01 10:00", "1969-12-31T23:59:59.5Z"];
const TEXTS: [&str; 6] = ["red", "Red fox", "fox red fox", "re", "", "the red"];

fn any_text() -> impl Strategy<Value = String> {
    let words = prop::collection::vec(prop::sample::select(vec!["red", "fox", "Fox", "the", "a-b"]), 0..4);
    prop_oneof![
        prop::sample::select([UUIDS.as_slice(), &DATES, &TEXTS].concat()).prop_map(str::to_owned),
        words.prop_map(|words| words.join(" ")),
    ]
}

fn any_degrees() -> impl Strategy<Value = f64> {
    prop_oneof![(-4..=4_i32).prop_map(|n| f64::from(n) * 22.5), Just(500.0), Just(0.001)]
}

fn any_scalar() -> impl Strategy<Value = Value> {
    prop_oneof![
        1 => Just(Value::Null),
        2 => any::<bool>().prop_map(Value::from),
        4 => (-3..4_i64).prop_map(Value::from),
        1 => prop::sample::select(vec![json!(i64::MIN), json!(i64::MAX), json!(u64::MAX), json!(9_007_199_254_740_993_i64)]),
        3 => (-6..7_i32).prop_map(|n| json!(f64::from(n) / 2.0)),
        6 => any_text().prop_map(Value::from),
        3 => (any_degrees(), any_degrees()).prop_map(|(lon, lat)| json!({"lon": lon, "lat": lat})),
        1 => Just(json!({"a": 1})),
        1 => Just(json!({"lon": "x", "lat": 1})),
    ]
}

fn any_value() -> impl Strategy<Value = Value> {
    let flat = prop_oneof![2 => any_scalar(), 1 => prop::collection::vec(any_scalar(), 0..4).prop_map(Value::from)];
    prop_oneof![8 => flat.clone(), 1 => prop::collection::vec(flat, 0..3).prop_map(Value::from)]
}

/// `v`: the value; sometimes it is missing.
fn any_payload() -> impl Strategy<Value = Payload> {
    prop::option::weighted(0.9, any_value()).prop_map(|value| {
        let of = |value: Value| json!({"v": value, "w": [{"v": value}, {"v": 1}]});
        match value.map_or_else(|| json!({}), of) {
            Value::Object(map) => Payload(map),
            _ => unreachable!(),
        }
    })
}

fn any_range<T: std::fmt::Debug + Copy + 'static>(
    bound: impl Strategy<Value = T> + Clone + 'static,
) -> BoxedStrategy<Range<T>> {
    let bound = prop::option::weighted(0.5, bound);
    prop::array::uniform4(bound).prop_map(|[lt, lte, gt, gte]| Range { lt, lte, gt, gte }).boxed()
}

fn any_place() -> impl Strategy<Value = GeoPoint> {
    (-4..=4_i32, -4..=4_i32).prop_map(|(lon, lat)| GeoPoint { lon: f64::from(lon) * 22.5, lat: f64::from(lat) * 22.5 })
}

fn any_predicate() -> impl Strategy<Value = Predicate> {
    let integers = prop::collection::vec(prop_oneof![-3..4_i64, Just(9_007_199_254_740_992)], 0..4);
    let texts = || prop::collection::vec(any_text(), 0..4);
    let matching = prop_oneof![
        any::<bool>().prop_map(Match::Bool),
        (-3..4_i64).prop_map(Match::Integer),
        any_text().prop_map(Match::Keyword),
        integers.clone().prop_map(Match::AnyInteger),
        texts().prop_map(Match::AnyKeyword),
        integers.prop_map(Match::ExceptInteger),
        texts().prop_map(Match::ExceptKeyword),
        any_text().prop_map(Match::Text),
        any_text().prop_map(Match::TextAny),
        any_text().prop_map(Match::Phrase),
        any_text().prop_map(|text| Match::Prefix(text.chars().take(2).collect())),
        any_text().prop_map(|text| Match::Substring(text.chars().skip(1).take(3).collect())),
    ];
    let number = prop_oneof![(-6..7_i32).prop_map(|n| f64::from(n) / 2.0), Just(9.3e18)];
    let instant = prop::sample::select(DATES.to_vec()).prop_map(|text| Timestamp::parse(text).unwrap());
    let bound = prop::option::of(0..4_u64);
    prop_oneof![
        10 => matching.prop_map(Predicate::Match),
        3 => any_range(number).prop_map(Predicate::Range),
        3 => any_range(instant).prop_map(Predicate::DatetimeRange),
        1 => (any_place(), 0.0..9e6).prop_map(|(center, radius_m)| Predicate::GeoRadius(GeoRadius { center, radius_m })),
        1 => (any_place(), any_place()).prop_map(|(top_left, bottom_right)| Predicate::GeoBox(GeoBox { top_left, bottom_right })),
        1 => (any_place(), any_place(), any_place()).prop_map(|(a, b, c)| {
            Predicate::GeoPolygon(GeoPolygon::new(vec![a, b, c, a], vec![]).unwrap())
        }),
        2 => prop::array::uniform4(bound).prop_map(|[lt, lte, gt, gte]| Predicate::ValuesCount(ValuesCount { lt, lte, gt, gte })),
        1 => any::<bool>().prop_map(Predicate::IsEmpty),
        1 => any::<bool>().prop_map(Predicate::IsNull),
    ]
}

fn paths() -> [Path; 4] {
    ["v", "v[]", "w[].v", "v[0]"].map(|path| path.parse().unwrap())
}

struct Fixture {
    index: FieldIndex,
    texts: TextFields,
    payloads: Vec<Option<Payload>>,
}

impl Fixture {
    /// An index after `changes`: at each slot a payload, or nothing.
    fn new(kind: FieldIndexKind, path: &Path, changes: &[(u32, Option<Payload>)]) -> Fixture {
        let spec = Arc::new(FieldSpec::new(path.clone(), kind));
        let mut index = FieldIndex::new(Arc::clone(&spec));
        let mut payloads = vec![None; 16];
        for (nth, (slot, payload)) in changes.iter().enumerate() {
            // Half of them go through a checkpoint on their way: it must make no difference.
            if changes.len().is_multiple_of(2) && nth == changes.len() / 2 {
                index = super::checkpoint::restored(&index, 16);
            }
            payloads[*slot as usize].clone_from(payload);
            match payload {
                Some(payload) => {
                    let values = spec.select(payload);
                    index.put(Slot(*slot), values);
                }
                None => index.remove(Slot(*slot)),
            }
        }
        Fixture { index, texts: TextFields::new([spec]), payloads }
    }

    fn present(&self) -> RoaringBitmap {
        (0..).zip(&self.payloads).filter(|(_, payload)| payload.is_some()).map(|(slot, _)| slot).collect()
    }

    /// What evaluating the payloads says.
    fn want(&self, condition: &FieldCondition) -> RoaringBitmap {
        let filter = Filter { must: vec![Condition::Field(condition.clone())], ..Filter::default() };
        let compiled = CompiledFilter::with_texts(&filter, &self.texts);
        let passes =
            |payload: &Payload| compiled.matches(&PointView { id: PointId::Num(0), payload, has_vector: &|_| false });
        (0..).zip(&self.payloads).filter(|(_, p)| p.as_ref().is_some_and(passes)).map(|(slot, _)| slot).collect()
    }
}

/// Whether a text passes alone, as a payload's only value.
fn text_passes(condition: &FieldCondition, text: &str) -> bool {
    let alone = FieldCondition { key: "v".parse().unwrap(), predicates: condition.predicates.clone() };
    let filter = Filter { must: vec![Condition::Field(alone)], ..Filter::default() };
    let Value::Object(map) = json!({"v": text}) else { unreachable!() };
    CompiledFilter::new(&filter).matches(&PointView {
        id: PointId::Num(0),
        payload: &Payload(map),
        has_vector: &|_| false,
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn s7_16_an_index_answers_as_the_payload_does(
        changes in prop::collection::vec((0..16_u32, prop::option::weighted(0.85, any_payload())), 1..40),
        predicates in prop::collection::vec(any_predicate(), 20),
        left_out in 0..16_u32,
    ) {
        for kind in kinds() {
            for path in paths() {
                let fixture = Fixture::new(kind.clone(), &path, &changes);
                let mut within = fixture.present();
                within.remove(left_out);
                for predicate in &predicates {
                    let condition = FieldCondition { key: path.clone(), predicates: vec![predicate.clone()] };
                    let want = fixture.want(&condition) & &within;
                    let index = &fixture.index;
                    match condition.question() {
                        FieldQuestion::Count(bounds) => prop_assert_eq!(index.with_count(bounds, &within), want),
                        FieldQuestion::Empty(so) => {
                            let empty = index.empty(&within);
                            prop_assert_eq!(if so { empty } else { &within - empty }, want);
                        }
                        FieldQuestion::Null(so) => {
                            let null = index.null(&within);
                            prop_assert_eq!(if so { null } else { &within - null }, want);
                        }
                        FieldQuestion::Any(_) => {
                            let answer = index.passing(predicate, &within, &|text| text_passes(&condition, text));
                            let max = index.passing_max(predicate);
                            prop_assert!(answer.sure.is_subset(&want), "{kind:?} {predicate:?}: {answer:?}, not {want:?}");
                            let found = &answer.sure | &answer.unsure;
                            prop_assert!(want.is_subset(&found), "{kind:?} {predicate:?}: {answer:?}, not {want:?}");
                            prop_assert!(found.is_subset(&within), "{kind:?} {predicate:?}");
                            prop_assert!(answer.sure.len() <= max, "{kind:?} {predicate:?}: {answer:?} over {max}");
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn values_come_back_as_they_were_put(
        changes in prop::collection::vec((0..16_u32, prop::option::weighted(0.85, any_payload())), 1..40),
    ) {
        for kind in kinds() {
            let fixture = Fixture::new(kind.clone(), &"v".parse().unwrap(), &changes);
            let mut again = FieldIndex::new(Arc::clone(fixture.index.spec()));
            for slot in (0..16).map(Slot) {
                again.put(slot, fixture.index.values_of(slot));
            }
            for slot in (0..16).map(Slot) {
                prop_assert!(fixture.index.holds(slot, fixture.payloads[slot.index()].as_ref()), "{kind:?}");
                prop_assert!(again.holds(slot, fixture.payloads[slot.index()].as_ref()), "{kind:?}");
            }
            prop_assert_eq!(again.point_count(), fixture.index.point_count());
            prop_assert_eq!(again.facet(None, usize::MAX), fixture.index.facet(None, usize::MAX));
        }
    }

    #[test]
    fn s9_4_facets_count_points_once_per_value(
        changes in prop::collection::vec((0..16_u32, prop::option::weighted(0.85, any_payload())), 1..40),
        within in prop::collection::btree_set(0..16_u32, 0..16),
    ) {
        let within: RoaringBitmap = within.into_iter().collect();
        for kind in kinds() {
            let fixture = Fixture::new(kind.clone(), &"v".parse().unwrap(), &changes);
            for within in [None, Some(&within)] {
                let Some(hits) = fixture.index.facet(within, usize::MAX) else { continue };
                let mut counts = std::collections::BTreeMap::<FacetValue, u64>::new();
                for (slot, payload) in (0..).zip(&fixture.payloads) {
                    let Some(value) = payload.as_ref().and_then(|payload| payload.0.get("v")) else { continue };
                    if within.is_some_and(|within| !within.contains(slot)) {
                        continue;
                    }
                    let elements = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                    let values = elements.iter().filter_map(|element| match &kind {
                        FieldIndexKind::Keyword(_) => element.as_str().map(|text| FacetValue::Text(text.to_owned())),
                        FieldIndexKind::Uuid => {
                            let uuid = uuid::Uuid::parse_str(element.as_str()?).ok()?;
                            Some(FacetValue::Text(uuid.to_string()))
                        }
                        FieldIndexKind::Integer(_) => element.as_i64().map(FacetValue::Integer),
                        _ => element.as_bool().map(FacetValue::Bool),
                    });
                    for value in values.collect::<std::collections::BTreeSet<_>>() {
                        *counts.entry(value).or_default() += 1;
                    }
                }
                let got: Vec<(FacetValue, u64)> = hits.into_iter().map(|hit| (hit.value, hit.count)).collect();
                prop_assert_eq!(got, counts.into_iter().collect::<Vec<_>>(), "{:?}", kind);
            }
        }
    }

    #[test]
    fn s9_2_values_in_order(
        changes in prop::collection::vec((0..16_u32, prop::option::weighted(0.85, any_payload())), 1..40),
        start in prop::option::of(-5..5_i32),
        is_asc in any::<bool>(),
    ) {
        let direction = if is_asc { Direction::Asc } else { Direction::Desc };
        let start = start.map(|start| f64::from(start) / 2.0);
        for kind in [FieldIndexKind::Integer(IntegerParams::default()), FieldIndexKind::Float] {
            let fixture = Fixture::new(kind.clone(), &"v".parse().unwrap(), &changes);
            let order = fixture.index.order().unwrap();
            let keys = order.keys(direction, start.map(StartFrom::Float));
            let number = |value: OrderValue| match value {
                OrderValue::Integer(value) => value as f64,
                OrderValue::Float(value) => value,
            };
            let found = keys.iter().flat_map(|keys| order.iter(keys, direction));
            let found: Vec<(f64, u32)> = found.map(|(key, slot)| (number(order.value(key)), slot.0)).collect();
            let mut want = Vec::new();
            for (slot, payload) in (0_u32..).zip(&fixture.payloads) {
                let Some(value) = payload.as_ref().and_then(|payload| payload.0.get("v")) else { continue };
                let elements = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                let values = elements.iter().filter_map(|element| match &kind {
                    FieldIndexKind::Float => element.as_f64(),
                    _ => element.as_i64().map(|value| value as f64),
                });
                let is_from = |value: f64| start.is_none_or(|start| if is_asc { value >= start } else { value <= start });
                want.extend(values.filter(|value| is_from(*value)).map(|value| (value + 0.0, slot)));
            }
            want.sort_by(|a, b| a.partial_cmp(b).unwrap());
            want.dedup();
            if !is_asc {
                want.reverse();
            }
            prop_assert_eq!(found, want);
        }
    }
}

#[test]
fn s8_points_with_an_indexable_value_are_counted() {
    let payloads = [
        json!({"v": "red"}),
        json!({"v": 1}),
        json!({"v": 1.5}),
        json!({"v": true}),
        json!({"v": null}),
        json!({"v": []}),
        json!({"v": ["2024-01-01", 3]}),
        json!({"v": UUIDS[1]}),
        json!({"v": {"lon": 1, "lat": 2}}),
        json!({"v": {"lon": 1, "lat": 200}}),
        json!({}),
        json!({"v": u64::MAX}),
    ];
    let changes: Vec<(u32, Option<Payload>)> = (0..)
        .zip(payloads)
        .map(|(slot, payload)| match payload {
            Value::Object(map) => (slot, Some(Payload(map))),
            _ => unreachable!(),
        })
        .collect();
    let counts =
        kinds().into_iter().map(|kind| Fixture::new(kind, &"v".parse().unwrap(), &changes).index.point_count());
    assert_eq!(counts.collect::<Vec<_>>(), [3, 2, 2, 2, 4, 1, 3, 3, 3, 1, 1, 1]);
}
