//! Rules of PROTOCOL section 7 one by one, then the golden cases of `tests/oracle/filter_cases.py`.

use serde_json::{Map, Value, json};

use super::*;
use crate::model::PayloadSelector;
use crate::model::datetime::Timestamp;
use crate::model::filter::{Match, MinShould, Predicate, Range};
use crate::model::geo::{GeoBox, GeoPoint, GeoPolygon, GeoRadius};

/// The wire's JSON of a filter, as far as the tests write it; anything else panics.
fn filter(json: &Value) -> Filter {
    let object = json.as_object().unwrap();
    for clause in object.keys() {
        assert!(["must", "should", "must_not", "min_should"].contains(&clause.as_str()), "{clause}");
    }
    let conditions = |json: &Value| match json {
        Value::Null => Vec::new(),
        Value::Array(list) => list.iter().map(condition).collect(),
        single => vec![condition(single)],
    };
    let min_should = json.get("min_should").filter(|clause| !clause.is_null()).map(|clause| MinShould {
        conditions: conditions(&clause["conditions"]),
        min_count: usize::try_from(clause["min_count"].as_u64().unwrap()).unwrap(),
    });
    Filter {
        must: conditions(&json["must"]),
        should: conditions(&json["should"]),
        must_not: conditions(&json["must_not"]),
        min_should,
    }
}

fn condition(json: &Value) -> Condition {
    let object = json.as_object().unwrap();
    if object.contains_key("key") {
        return Condition::Field(FieldCondition { key: path(&json["key"]), predicates: predicates(object) });
    }
    let (kind, operand) = object.iter().next().unwrap();
    match kind.as_str() {
        "is_empty" => Condition::IsEmpty(path(&operand["key"])),
        "is_null" => Condition::IsNull(path(&operand["key"])),
        "has_id" => Condition::HasId(operand.as_array().unwrap().iter().map(id).collect()),
        "has_vector" => Condition::HasVector(text(operand)),
        "nested" => Condition::Nested { key: path(&operand["key"]), filter: Box::new(filter(&operand["filter"])) },
        "slice" => {
            Condition::Slice { total: operand["total"].as_u64().unwrap(), index: operand["index"].as_u64().unwrap() }
        }
        _ => Condition::Filter(Box::new(filter(json))),
    }
}

fn predicates(field: &Map<String, Value>) -> Vec<Predicate> {
    let predicate = |(kind, operand): (&String, &Value)| {
        Some(match kind.as_str() {
            "key" => return None,
            "match" => Predicate::Match(match_operand(operand)),
            "range" if operand.as_object().unwrap().values().any(Value::is_string) => {
                Predicate::DatetimeRange(range(operand, |bound| Timestamp::parse(bound.as_str().unwrap()).unwrap()))
            }
            "range" => Predicate::Range(range(operand, |bound| bound.as_f64().unwrap())),
            "geo_radius" => Predicate::GeoRadius(GeoRadius {
                center: place(&operand["center"]),
                radius_m: operand["radius"].as_f64().unwrap(),
            }),
            "geo_bounding_box" => Predicate::GeoBox(GeoBox {
                top_left: place(&operand["top_left"]),
                bottom_right: place(&operand["bottom_right"]),
            }),
            "geo_polygon" => {
                let ring = |json: &Value| json["points"].as_array().unwrap().iter().map(place).collect();
                let interiors = operand["interiors"].as_array().into_iter().flatten().map(ring).collect();
                Predicate::GeoPolygon(GeoPolygon::new(ring(&operand["exterior"]), interiors).unwrap())
            }
            "values_count" => {
                let Range { lt, lte, gt, gte } = range(operand, |bound| bound.as_u64().unwrap());
                Predicate::ValuesCount(ValuesCount { lt, lte, gt, gte })
            }
            "is_empty" => Predicate::IsEmpty(operand.as_bool().unwrap()),
            "is_null" => Predicate::IsNull(operand.as_bool().unwrap()),
            unknown => panic!("{unknown}"),
        })
    };
    field.iter().filter_map(predicate).collect()
}

fn match_operand(json: &Value) -> Match {
    let (kind, operand) = json.as_object().unwrap().iter().next().unwrap();
    let list = operand.as_array();
    let integers = || list.unwrap().iter().map(|element| element.as_i64().unwrap()).collect();
    let keywords = || list.unwrap().iter().map(text).collect();
    let of_integers = list.is_some_and(|list| list.first().is_some_and(Value::is_i64));
    match kind.as_str() {
        "value" => match operand {
            Value::Bool(operand) => Match::Bool(*operand),
            Value::Number(operand) => Match::Integer(operand.as_i64().unwrap()),
            operand => Match::Keyword(text(operand)),
        },
        "any" if of_integers => Match::AnyInteger(integers()),
        "any" => Match::AnyKeyword(keywords()),
        "except" if of_integers => Match::ExceptInteger(integers()),
        "except" => Match::ExceptKeyword(keywords()),
        "text" => Match::Text(text(operand)),
        "text_any" => Match::TextAny(text(operand)),
        "phrase" => Match::Phrase(text(operand)),
        "prefix" => Match::Prefix(text(operand)),
        "substring" => Match::Substring(text(operand)),
        unknown => panic!("{unknown}"),
    }
}

fn range<T>(json: &Value, bound: impl Fn(&Value) -> T) -> Range<T> {
    let of = |name: &str| json.get(name).filter(|value| !value.is_null()).map(&bound);
    Range { lt: of("lt"), lte: of("lte"), gt: of("gt"), gte: of("gte") }
}

fn place(json: &Value) -> GeoPoint {
    GeoPoint::new(json["lon"].as_f64().unwrap(), json["lat"].as_f64().unwrap()).unwrap()
}

fn path(json: &Value) -> Path {
    json.as_str().unwrap().parse().unwrap()
}

fn text(json: &Value) -> String {
    json.as_str().unwrap().to_owned()
}

fn id(json: &Value) -> PointId {
    match json {
        Value::Number(num) => PointId::Num(num.as_u64().unwrap()),
        uuid => PointId::from_uuid_text(uuid.as_str().unwrap()).unwrap(),
    }
}

fn payload(json: &Value) -> Payload {
    Payload(json.as_object().unwrap().clone())
}

/// Whether point 1, with the vectors `""` and `v`, passes.
fn passes(json: &Value, of: &Value) -> bool {
    let view = PointView { id: PointId::Num(1), payload: &payload(of), has_vector: &|name| ["", "v"].contains(&name) };
    matches(&filter(json), &view)
}

/// Whether a point passes `{must: condition}`.
fn holds(condition: Value, of: Value) -> bool {
    passes(&json!({"must": condition}), &of)
}

const ALWAYS: &str = r#"{"has_id": [1]}"#;
const NEVER: &str = r#"{"has_id": []}"#;

fn always() -> Value {
    serde_json::from_str(ALWAYS).unwrap()
}

fn never() -> Value {
    serde_json::from_str(NEVER).unwrap()
}

#[test]
fn s7_1_clauses_and_together() {
    for (json, want) in [
        (json!({}), true),
        (json!({"must": [], "should": [], "must_not": []}), true),
        (json!({"must": [always(), never()]}), false),
        (json!({"must": [always()], "should": [never(), always()], "must_not": [never()]}), true),
        (json!({"must": [always()], "should": [never()]}), false),
        (json!({"should": [always()], "must_not": [always()]}), false),
        (json!({"must": {"should": [never(), {"must_not": never()}]}}), true),
    ] {
        assert_eq!(passes(&json, &json!({})), want, "{json}");
    }
}

#[test]
fn s7_2_min_should_counts() {
    for (min_count, want) in [(1, true), (2, true), (3, false), (9, false)] {
        let json = json!({"min_should": {"conditions": [always(), never(), always()], "min_count": min_count}});
        assert_eq!(passes(&json, &json!({})), want, "{min_count}");
    }
}

#[test]
fn s7_4_precedence_of_predicates() {
    // A count decides alone, then emptiness, then nullness; the others are alternatives on one value.
    let of = json!({"a": [1, 2], "n": null});
    assert!(holds(
        json!({"key": "a", "values_count": {"gte": 2}, "is_empty": true, "match": {"value": 9}}),
        of.clone()
    ));
    assert!(!holds(
        json!({"key": "a", "values_count": {"gte": 3}, "is_empty": false, "match": {"value": 1}}),
        of.clone()
    ));
    assert!(holds(json!({"key": "n", "is_empty": true, "is_null": false}), of.clone()));
    assert!(!holds(json!({"key": "a", "is_null": true, "match": {"value": 1}}), of.clone()));
    assert!(holds(json!({"key": "a", "match": {"value": 9}, "range": {"gt": 1}}), of.clone()));
    assert!(!holds(json!({"key": "a", "match": {"value": 9}, "range": {"gt": 2}}), of));
}

#[test]
fn s7_5_any_value_but_bounds_on_one() {
    let of = json!({"a": [1, 10], "b": [[5]]});
    assert!(!holds(json!({"key": "a", "range": {"gt": 2, "lt": 9}}), of.clone()));
    assert!(holds(json!({"key": "a[]", "range": {"gt": 2, "lt": 11}}), of.clone()));
    // Arrays unwrap one level.
    assert!(!holds(json!({"key": "b", "match": {"value": 5}}), of.clone()));
    assert!(holds(json!({"key": "b[]", "match": {"value": 5}}), of.clone()));
    assert!(!holds(json!({"key": "missing", "range": {}}), of));
}

#[test]
fn s7_6_value_is_of_the_same_json_type() {
    let of = json!({"t": true, "i": 1, "f": 1.0, "s": "1", "min": i64::MIN, "huge": u64::MAX});
    for (key, operand, want) in [
        ("t", json!(true), true),
        ("t", json!(1), false),
        ("i", json!(1), true),
        ("i", json!(true), false),
        ("i", json!("1"), false),
        ("f", json!(1), false),
        ("s", json!("1"), true),
        ("s", json!(1), false),
        ("min", json!(i64::MIN), true),
        ("huge", json!(-1), false),
    ] {
        assert_eq!(holds(json!({"key": key, "match": {"value": operand}}), of.clone()), want, "{key} {operand}");
    }
}

#[test]
fn s7_6_any() {
    let of = json!({"i": [7, "x"], "s": "b"});
    assert!(holds(json!({"key": "i", "match": {"any": [9, 7, 8]}}), of.clone()));
    assert!(holds(json!({"key": "i", "match": {"any": ["y", "x"]}}), of.clone()));
    assert!(holds(json!({"key": "s", "match": {"any": ["c", "b", "a"]}}), of.clone()));
    assert!(!holds(json!({"key": "s", "match": {"any": ["c", "a"]}}), of.clone()));
    assert!(!holds(json!({"key": "s", "match": {"any": []}}), of));
}

#[test]
fn s7_6_except_ignores_null() {
    let of = json!({"n": null, "e": [], "s": "a", "i": 1, "f": 1.0, "l": ["a", "b"], "nn": [null], "o": {}});
    for (key, list, want) in [
        ("missing", json!([]), false),
        ("n", json!([]), false),
        ("n", json!(["a"]), false),
        ("nn", json!([]), false),
        ("e", json!([]), false),
        ("s", json!([]), true),
        ("s", json!(["a"]), false),
        ("s", json!(["b"]), true),
        ("s", json!([1]), true),
        ("i", json!([2, 1]), false),
        ("f", json!([1]), true),
        ("l", json!(["a"]), true),
        ("l", json!(["b", "a"]), false),
        ("o", json!(["a"]), true),
    ] {
        assert_eq!(holds(json!({"key": key, "match": {"except": list}}), of.clone()), want, "{key} {list}");
    }
}

#[test]
fn s7_6_text_conditions_take_strings_only_and_one_element() {
    let of = json!({"s": "Red hot Chili", "l": ["red hot", "chili", 5], "i": 5});
    for (key, operand, want) in [
        ("s", json!({"text": "chili RED"}), true),
        ("s", json!({"text": "chil"}), false),
        ("l", json!({"text": "red chili"}), false),
        ("l", json!({"text_any": "blue chili"}), true),
        ("l", json!({"phrase": "hot chili"}), false),
        ("s", json!({"phrase": "hot chili"}), true),
        ("i", json!({"text": "5"}), false),
        ("s", json!({"prefix": "Red h"}), true),
        ("s", json!({"prefix": "red"}), false),
        ("s", json!({"prefix": ""}), true),
        ("i", json!({"prefix": ""}), false),
        ("l", json!({"substring": "hil"}), true),
        ("l", json!({"substring": "HIL"}), false),
        ("i", json!({"substring": ""}), false),
    ] {
        assert_eq!(holds(json!({"key": key, "match": operand}), of.clone()), want, "{key} {operand}");
    }
}

#[test]
fn s7_7_ranges_of_numbers_and_of_datetimes() {
    let of = json!({"f": 1.5, "i": 2, "t": true, "s": "2", "d": "2024-05-01 12:00", "bad": "2024-05"});
    for (key, bounds, want) in [
        ("f", json!({"gt": 1, "lt": 2, "gte": null}), true),
        ("i", json!({"gte": 2, "lte": 2}), true),
        ("i", json!({"gt": 2}), false),
        ("i", json!({"lt": 2}), false),
        ("t", json!({"gte": 0}), false),
        ("s", json!({"gte": 0}), false),
        ("d", json!({"gte": 0}), false),
        ("d", json!({"gte": "2024-05-01T14:00:00+02:00", "lte": "2024-05-01T12:00:00Z"}), true),
        ("d", json!({"gt": "2024-05-01T12:00:00Z"}), false),
        ("bad", json!({"gt": "1970-01-01"}), false),
        ("i", json!({"gt": "1970-01-01"}), false),
    ] {
        assert_eq!(holds(json!({"key": key, "range": bounds}), of.clone()), want, "{key} {bounds}");
    }
}

#[test]
fn s7_9_places() {
    let here = json!({"lon": 13.4, "lat": 52.5});
    let of =
        json!({"p": here, "l": [{"lon": 0, "lat": 0}, here], "bad": {"lon": "13.4", "lat": 52.5}, "half": {"lon": 1}});
    let near = json!({"center": {"lon": 13.41, "lat": 52.51}, "radius": 2000.0});
    for (key, want) in [("p", true), ("l", true), ("l[0]", false), ("bad", false), ("half", false), ("p.lon", false)] {
        assert_eq!(holds(json!({"key": key, "geo_radius": near}), of.clone()), want, "{key}");
    }
}

#[test]
fn s7_10_values_count() {
    let of = json!({"l": [1, [2, 3], null], "e": [], "n": null, "o": {"x": 1}, "s": "abc"});
    for (key, count) in [("l", 3), ("e", 0), ("n", 0), ("o", 1), ("s", 1), ("missing", 0), ("o.y", 0), ("l[1]", 2)] {
        assert!(holds(json!({"key": key, "values_count": {"gte": count, "lte": count}}), of.clone()), "{key}");
    }
    // Each of the values `l[]` selects is counted alone.
    assert!(holds(json!({"key": "l[]", "values_count": {"gt": 1, "lt": 3}}), of.clone()));
    assert!(!holds(json!({"key": "l[]", "values_count": {"gt": 2}}), of));
}

#[test]
fn s7_11_empty_and_null() {
    let of = json!({"n": null, "e": [], "nn": [null], "s": "", "l": [{"x": null}, {"x": []}, {}], "m": [{"x": 1}, {}]});
    for (key, empty, null) in [
        ("missing", true, false),
        ("n", true, true),
        ("e", true, false),
        ("nn", false, true),
        ("s", false, false),
        ("l[].x", true, true),
        ("m[].x", false, false),
        ("nn[]", true, true),
    ] {
        assert_eq!(holds(json!({"is_empty": {"key": key}}), of.clone()), empty, "is_empty {key}");
        assert_eq!(holds(json!({"is_null": {"key": key}}), of.clone()), null, "is_null {key}");
        for want in [true, false] {
            assert_eq!(
                holds(json!({"key": key, "is_empty": want}), of.clone()),
                empty == want,
                "{key} is_empty {want}"
            );
            assert_eq!(holds(json!({"key": key, "is_null": want}), of.clone()), null == want, "{key} is_null {want}");
        }
    }
}

#[test]
fn s7_12_nested_checks_each_element_alone() {
    let of = json!({"d": [{"a": 1, "b": 2}, {"a": 2, "b": 1}, 3], "o": {"a": 1}, "g": [{"d": [{"a": 7}]}]});
    let both =
        |a: i32, b: i32| json!({"must": [{"key": "a", "match": {"value": a}}, {"key": "b", "match": {"value": b}}]});
    for (key, inner, want) in [
        ("d", both(1, 2), true),
        ("d[]", both(2, 1), true),
        ("d", both(1, 1), false),
        ("d", json!({}), true),
        ("o", json!({}), false),
        ("missing", json!({}), false),
        ("g[].d", json!({"must": {"key": "a", "match": {"value": 7}}}), true),
        ("g", json!({"must": {"nested": {"key": "d", "filter": {"must": {"key": "a", "match": {"value": 7}}}}}}), true),
        ("d", json!({"must": {"has_id": [1]}}), false),
        ("d", json!({"must": {"has_vector": "v"}}), false),
        ("d", json!({"must": {"slice": {"total": 1, "index": 0}}}), false),
        ("d", json!({"must_not": {"has_id": [1]}}), true),
    ] {
        assert_eq!(holds(json!({"nested": {"key": key, "filter": inner}}), of.clone()), want, "{key} {inner}");
    }
}

#[test]
fn s7_13_slices_part_the_ids() {
    for total in [1, 3, 7] {
        for num in 0..50 {
            let view = PointView { id: PointId::Num(num), payload: &Payload::default(), has_vector: &|_| false };
            let in_slices = (0..total)
                .filter(|index| matches(&filter(&json!({"must": {"slice": {"total": total, "index": index}}})), &view));
            assert_eq!(in_slices.count(), 1, "{num} of {total}");
        }
    }
}

#[test]
fn s7_14_ids_and_vectors() {
    assert!(!holds(json!({"has_id": []}), json!({})));
    assert!(holds(json!({"has_id": [3, 1]}), json!({})));
    assert!(!holds(json!({"has_id": ["00000000-0000-0000-0000-000000000001"]}), json!({})));
    assert!(holds(json!({"has_vector": "v"}), json!({})) && holds(json!({"has_vector": ""}), json!({})));
    assert!(!holds(json!({"has_vector": "w"}), json!({})));
}

#[test]
fn a_hundred_levels_of_filters_and_of_nested() {
    let (mut filters, mut nested) = (always(), json!({"is_empty": {"key": "b"}}));
    let mut of = json!({});
    for _ in 0..100 {
        filters = json!({"must": [filters]});
        nested = json!({"nested": {"key": "a", "filter": {"must": nested}}});
        of = json!({"a": [of]});
    }
    assert!(holds(filters, json!({})));
    assert!(holds(nested.clone(), of.clone()));
    assert!(!holds(nested, of["a"][0].clone()));
}

#[test]
fn payload_and_vectors_are_asked_for_only_when_needed() {
    for (json, payload, vectors) in [
        (json!({}), false, false),
        (json!({"must": [{"has_id": [1]}, {"slice": {"total": 2, "index": 0}}]}), false, false),
        (json!({"should": [{"must_not": {"has_vector": "v"}}]}), false, true),
        (json!({"must_not": [{"must": {"is_null": {"key": "a"}}}]}), true, false),
        (json!({"min_should": {"conditions": [{"key": "a", "is_empty": true}], "min_count": 1}}), true, false),
        (json!({"must": {"nested": {"key": "a", "filter": {"must": {"has_vector": "v"}}}}}), true, false),
    ] {
        let filter = filter(&json);
        assert_eq!((needs_payload(&filter), needs_vectors(&filter)), (payload, vectors), "{json}");
        let compiled = CompiledFilter::new(&filter);
        assert_eq!((compiled.needs_payload(), compiled.needs_vectors()), (payload, vectors), "{json}");
    }
}

/// The cases of this kind, each a list.
fn golden(kind: &str) -> Vec<Vec<Value>> {
    let text = match std::env::var("FILTER_CASES") {
        Ok(file) => std::fs::read_to_string(file).unwrap(),
        Err(_) => include_str!("../../../tests/oracle/filter_cases.json").to_owned(),
    };
    let mut kinds: Map<String, Value> = serde_json::from_str(&text).unwrap();
    let cases: Vec<Vec<Value>> = serde_json::from_value(kinds.remove(kind).unwrap()).unwrap();
    assert!(cases.len() >= 64, "{kind}: {}", cases.len());
    cases
}

#[test]
fn golden_filters() {
    let points = golden("points");
    let payloads: Vec<Payload> = points.iter().map(|point| payload(&point[2])).collect();
    for case in golden("filters") {
        let filter = filter(&case[0]);
        let compiled = CompiledFilter::new(&filter);
        for ((point, payload), want) in points.iter().zip(&payloads).zip(text(&case[1]).bytes()) {
            let has_vector = |name: &str| point[1].as_array().unwrap().iter().any(|vector| vector == name);
            let nothing = Payload::default();
            let view = PointView {
                id: id(&point[0]),
                payload: if compiled.needs_payload() { payload } else { &nothing },
                has_vector: if compiled.needs_vectors() { &has_vector } else { &|_| panic!("asked for vectors") },
            };
            assert_eq!(compiled.matches(&view), want == b'1', "{} of {point:?}", case[0]);
        }
    }
}

#[test]
fn golden_selections() {
    for case in golden("get") {
        let mut selected = Vec::new();
        path(&case[1]).any(case[0].as_object().unwrap(), &mut |value| {
            selected.push(value.clone());
            false
        });
        assert_eq!(Value::Array(selected), case[2], "{} of {}", case[1], case[0]);
    }
}

#[test]
fn golden_edits() {
    for case in golden("merge") {
        let (mut result, changes) = (payload(&case[0]), payload(&case[2]));
        match &case[1] {
            Value::Null => result.merge(&changes),
            at => result.merge_at(&path(at), &changes),
        }
        assert_eq!(Value::Object(result.0), case[3], "{} into {} at {}", case[2], case[0], case[1]);
    }
    for case in golden("remove") {
        let mut result = payload(&case[0]);
        result.remove_at(&path(&case[1]));
        assert_eq!(Value::Object(result.0), case[2], "{} of {}", case[1], case[0]);
    }
}

#[test]
fn golden_selectors() {
    for (kind, selector) in [
        ("include", PayloadSelector::Include as fn(Vec<Path>) -> PayloadSelector),
        ("exclude", PayloadSelector::Exclude),
    ] {
        for case in golden(kind) {
            let selector = selector(case[1].as_array().unwrap().iter().map(path).collect());
            let selected = selector.select(payload(&case[0])).unwrap();
            assert_eq!(Value::Object(selected.0), case[2], "{kind} {} of {}", case[1], case[0]);
        }
    }
}

#[test]
fn golden_paths() {
    for case in golden("paths") {
        let parsed = text(&case[0]).parse::<Path>().ok();
        let segments = parsed.as_ref().map(|path| {
            let rest = path.rest.iter().map(|segment| match segment {
                Segment::Key(key) => json!(key),
                Segment::Index(index) => json!(index),
                Segment::Each => Value::Null,
            });
            Value::Array(std::iter::once(json!(path.first)).chain(rest).collect())
        });
        assert_eq!(segments.unwrap_or_default(), case[1], "{}", case[0]);
        if let Some(path) = parsed {
            assert_eq!(path.to_string().parse(), Ok(path));
        }
    }
}

#[test]
fn golden_datetimes() {
    for case in golden("datetimes") {
        let parsed = Timestamp::parse(&text(&case[0])).map(|Timestamp(micros)| micros);
        assert_eq!(parsed, case[1].as_i64(), "{}", case[0]);
    }
}
