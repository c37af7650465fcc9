//! Filters in JSON, each against its exact error or its model form.

use super::*;
use crate::api::rest::call::parse;
use crate::api::status::ApiError;
use crate::model::PointId;
use crate::model::filter::FieldCondition;
use crate::model::geo::{GeoPolygon, GeoRadius};

fn read(json: &str) -> Result<Filter, ApiError> {
    let body: FilterBody = parse(json.as_bytes())?;
    let mut found = Findings::new();
    let root = At::Root;
    let filter = body.convert(&mut found, root.field("filter"));
    found.finish("JSON body", filter)
}

fn refusal(json: &str) -> (u16, String) {
    let error = read(json).expect_err(json);
    (error.http_status(), error.text)
}

/// The only condition of `{"must": JSON}`.
fn one(json: &str) -> Condition {
    let filter = read(&format!("{{\"must\": {json}}}")).unwrap_or_else(|error| panic!("{json}: {}", error.text));
    assert_eq!(filter.must.len(), 1);
    filter.must.into_iter().next().unwrap()
}

fn field(json: &str) -> Predicate {
    match one(json) {
        Condition::Field(FieldCondition { key, mut predicates }) => {
            assert_eq!(key.to_string(), "a.b");
            assert_eq!(predicates.len(), 1);
            predicates.remove(0)
        }
        other => panic!("{json} became {other:?}"),
    }
}

#[test]
fn protocol_7_1_clauses_are_one_object_or_a_list_and_null_is_absent() {
    let condition = Condition::HasVector("v".into());
    let one = read(r#"{"must": {"has_vector": "v"}}"#).unwrap();
    let list = read(r#"{"must": [{"has_vector": "v"}], "should": null, "min_should": null}"#).unwrap();
    assert_eq!(one, Filter { must: vec![condition.clone()], ..Filter::default() });
    assert_eq!(list, one);
    for empty in ["{}", r#"{"must": []}"#, r#"{"must": null, "should": [], "must_not": []}"#] {
        assert!(read(empty).unwrap().is_empty(), "{empty}");
    }
    let all = r#"{"must": [{"has_vector": "v"}], "should": {"has_vector": "v"}, "must_not": [{"has_vector": "v"}],
        "min_should": {"conditions": [{"has_vector": "v"}], "min_count": 1}}"#;
    assert_eq!(
        read(all).unwrap(),
        Filter {
            must: vec![condition.clone()],
            should: vec![condition.clone()],
            must_not: vec![condition.clone()],
            min_should: Some(MinShould { conditions: vec![condition], min_count: 1 }),
        }
    );
}

#[test]
fn protocol_7_1_unknown_keys_are_errors() {
    for json in [
        r#"{"musst": []}"#,
        r#"{"must": [{"has_vector": "v", "extra": 1}]}"#,
        r#"{"must": [{"key": "a", "match": {"value": 1, "boost": 2}}]}"#,
        r#"{"must": [{"key": "a", "range": {"lt": 1, "below": 2}}]}"#,
        r#"{"must": [{"nested": {"key": "a", "filter": {}, "x": 1}}]}"#,
        r#"{"must": [{"is_empty": {"key": "a", "x": 1}}]}"#,
        r#"{"min_should": {"conditions": [], "min_count": 1, "x": 1}}"#,
    ] {
        let (status, text) = refusal(json);
        assert_eq!(status, 400, "{text}");
        assert!(text.starts_with("Format error in JSON body: unknown field `"), "{text}");
    }
}

#[test]
fn protocol_7_2_min_count_is_at_least_1() {
    assert_eq!(
        refusal(r#"{"min_should": {"conditions": [], "min_count": 0}}"#),
        (
            422,
            "Validation error in JSON body: [filter.min_should.min_count: min_count must be greater than 0]".to_owned()
        )
    );
    assert_eq!(refusal(r#"{"min_should": {"conditions": [], "min_count": -1}}"#).0, 400);
}

#[test]
fn protocol_7_3_kinds_of_conditions() {
    let path = |text: &str| text.parse().unwrap();
    assert_eq!(one(r#"{"is_empty": {"key": "a.b"}}"#), Condition::IsEmpty(path("a.b")));
    assert_eq!(one(r#"{"is_null": {"key": "a[]"}}"#), Condition::IsNull(path("a[]")));
    assert_eq!(
        one(r#"{"has_id": [7, "00000000000000000000000000000001", 7]}"#),
        Condition::HasId(
            [PointId::Num(7), PointId::from_uuid_text("00000000-0000-0000-0000-000000000001").unwrap()].into()
        )
    );
    assert_eq!(one(r#"{"has_id": []}"#), Condition::HasId([].into()));
    assert_eq!(one(r#"{"has_vector": ""}"#), Condition::HasVector(String::new()));
    assert_eq!(one(r#"{"slice": {"total": 3, "index": 2}}"#), Condition::Slice { total: 3, index: 2 });
    let inner = Filter { must: vec![Condition::HasVector("v".into())], ..Filter::default() };
    assert_eq!(
        one(r#"{"nested": {"key": "a[]", "filter": {"must": {"has_vector": "v"}}}}"#),
        Condition::Nested { key: path("a[]"), filter: Box::new(inner.clone()) }
    );
    assert_eq!(one(r#"{"must": [{"has_vector": "v"}]}"#), Condition::Filter(Box::new(inner)));
    assert_eq!(one("{}"), Condition::Filter(Box::default()));
}

#[test]
fn protocol_7_3_a_condition_of_two_kinds_or_none_is_refused() {
    let two = "Format error in JSON body: filter.must[0]: keys of several kinds of conditions in one object";
    for json in [
        r#"{"must": {"has_id": [], "has_vector": "v"}}"#,
        r#"{"must": {"key": "a", "match": {"value": 1}, "must": []}}"#,
        r#"{"must": {"key": "a", "is_empty": {"key": "a"}}}"#,
    ] {
        assert_eq!(refusal(json), (400, two.to_owned()), "{json}");
    }
    assert_eq!(
        refusal(r#"{"must": {"match": {"value": 1}}}"#).1,
        "Format error in JSON body: filter.must[0]: a condition on a field lacks its `key`"
    );
    assert_eq!(
        refusal(r#"{"must": [{"key": "a"}, {"key": "b", "match": null}]}"#),
        (
            422,
            "Validation error in JSON body: [filter.must[0]: At least one field condition must be specified; \
             filter.must[1]: At least one field condition must be specified]"
                .to_owned()
        )
    );
    assert_eq!(refusal(r#"{"must": [3]}"#).0, 400);
    assert_eq!(refusal(r#"{"must": 3}"#).0, 400);
    assert_eq!(refusal(r#"{"must": {"has_id": 3}}"#).0, 400);
}

#[test]
fn protocol_7_6_match() {
    let of = |json: &str| match field(&format!("{{\"key\": \"a.b\", \"match\": {json}}}")) {
        Predicate::Match(found) => found,
        other => panic!("{json} became {other:?}"),
    };
    assert_eq!(of(r#"{"value": true}"#), Match::Bool(true));
    assert_eq!(of(r#"{"value": -3}"#), Match::Integer(-3));
    assert_eq!(of(r#"{"value": "x"}"#), Match::Keyword("x".into()));
    assert_eq!(of(r#"{"any": [1, 2]}"#), Match::AnyInteger(vec![1, 2]));
    assert_eq!(of(r#"{"any": ["a"], "except": null}"#), Match::AnyKeyword(vec!["a".into()]));
    assert_eq!(of(r#"{"any": []}"#), Match::AnyKeyword(vec![]));
    assert_eq!(of(r#"{"except": [1]}"#), Match::ExceptInteger(vec![1]));
    assert_eq!(of(r#"{"except": []}"#), Match::ExceptKeyword(vec![]));
    assert_eq!(of(r#"{"text": "t"}"#), Match::Text("t".into()));
    assert_eq!(of(r#"{"text_any": "t"}"#), Match::TextAny("t".into()));
    assert_eq!(of(r#"{"phrase": "t"}"#), Match::Phrase("t".into()));
    assert_eq!(of(r#"{"prefix": "t"}"#), Match::Prefix("t".into()));
    assert_eq!(of(r#"{"substring": "t"}"#), Match::Substring("t".into()));

    let refused = |json: &str| refusal(&format!("{{\"must\": {{\"key\": \"a\", \"match\": {json}}}}}"));
    for json in [r#"{"value": 1.0}"#, r#"{"value": [1]}"#, r#"{"value": 9223372036854775808}"#, r#"{"any": "x"}"#] {
        assert_eq!(refused(json).0, 400, "{json}");
    }
    for json in [r#"{"any": [1, "a"]}"#, r#"{"except": [true]}"#, r#"{"any": [1, true]}"#] {
        let text = "Format error in JSON body: filter.must[0].match: a list must hold strings only or integers only";
        assert_eq!(refused(json), (400, text.to_owned()), "{json}");
    }
    for json in ["{}", r#"{"value": 1, "text": "t"}"#] {
        assert!(refused(json).1.contains("filter.must[0].match: a match needs exactly one of"), "{json}");
    }
}

#[test]
fn protocol_7_7_ranges_of_numbers_or_of_datetimes() {
    let of = |json: &str| field(&format!("{{\"key\": \"a.b\", \"range\": {json}}}"));
    let none = Range { lt: None, lte: None, gt: None, gte: None };
    assert_eq!(
        of(r#"{"lt": 1, "gte": -0.5, "gt": null}"#),
        Predicate::Range(Range { lt: Some(1.0), gte: Some(-0.5), ..none })
    );
    assert_eq!(of("{}"), Predicate::Range(none));
    let day = crate::model::datetime::Timestamp::parse("2024-02-03T00:00:00Z").unwrap();
    assert_eq!(
        of(r#"{"lte": "2024-02-03"}"#),
        Predicate::DatetimeRange(Range { lt: None, lte: Some(day), gt: None, gte: None })
    );
    let refused = |json: &str| refusal(&format!("{{\"must\": {{\"key\": \"a\", \"range\": {json}}}}}"));
    assert_eq!(
        refused(r#"{"lt": 1, "gt": "2024-02-03"}"#),
        (
            400,
            "Format error in JSON body: filter.must[0].range: the bounds of a range must be numbers only or datetimes \
             only"
                .to_owned()
        )
    );
    assert_eq!(refused(r#"{"lt": "soon"}"#), (400, "Format error in JSON body: `soon` is not a datetime".to_owned()));
    assert_eq!(refused(r#"{"lt": true}"#).0, 400);
    assert_eq!(refused(r#"{"lt": 1e400}"#).0, 400);
}

#[test]
fn protocol_7_9_geo() {
    let berlin = GeoPoint::new(13.4, 52.5).unwrap();
    assert_eq!(
        field(r#"{"key": "a.b", "geo_radius": {"center": {"lon": 13.4, "lat": 52.5}, "radius": 1000}}"#),
        Predicate::GeoRadius(GeoRadius { center: berlin, radius_m: 1000.0 })
    );
    assert_eq!(
        field(
            r#"{"key": "a.b", "geo_bounding_box":
                {"top_left": {"lon": 13.4, "lat": 52.5}, "bottom_right": {"lon": 13.4, "lat": 52.5}}}"#
        ),
        Predicate::GeoBox(GeoBox { top_left: berlin, bottom_right: berlin })
    );
    let ring =
        r#"{"points": [{"lon": 0, "lat": 0}, {"lon": 0, "lat": 1}, {"lon": 1, "lat": 1}, {"lon": 0, "lat": 0}]}"#;
    let points = [(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0)].map(|(lon, lat)| GeoPoint::new(lon, lat).unwrap());
    assert_eq!(
        field(&format!(r#"{{"key": "a.b", "geo_polygon": {{"exterior": {ring}, "interiors": null}}}}"#)),
        Predicate::GeoPolygon(GeoPolygon::new(points.to_vec(), vec![]).unwrap())
    );
    let (status, text) = refusal(
        r#"{"must": {"key": "a", "geo_bounding_box":
            {"top_left": {"lon": 181, "lat": 0}, "bottom_right": {"lon": 0, "lat": -91}}}}"#,
    );
    assert_eq!(status, 422);
    assert!(text.starts_with("Validation error in JSON body: [filter.must[0].geo_bounding_box.top_left: "), "{text}");
    assert!(text.contains("; filter.must[0].geo_bounding_box.bottom_right: "), "both are named: {text}");
    assert_eq!(
        refusal(r#"{"must": {"key": "a", "geo_radius": {"center": {"lon": 1, "lat": 1}, "radius": -1}}}"#),
        (
            422,
            "Validation error in JSON body: [filter.must[0].geo_radius.radius: value -1.0 invalid, must be 0.0 or \
             larger]"
                .to_owned()
        )
    );
    let open =
        r#"{"points": [{"lon": 0, "lat": 0}, {"lon": 0, "lat": 1}, {"lon": 1, "lat": 1}, {"lon": 1, "lat": 0}]}"#;
    for ring in [open, r#"{"points": [{"lon": 0, "lat": 0}]}"#, r#"{"points": []}"#] {
        let (status, text) = refusal(&format!(r#"{{"must": {{"key": "a", "geo_polygon": {{"exterior": {ring}}}}}}}"#));
        assert_eq!(status, 422);
        assert!(text.starts_with("Validation error in JSON body: [filter.must[0].geo_polygon: "), "{text}");
    }
}

#[test]
fn protocol_7_10_and_11_counts_and_absence() {
    assert_eq!(
        field(r#"{"key": "a.b", "values_count": {"gte": 2}}"#),
        Predicate::ValuesCount(ValuesCount { lt: None, lte: None, gt: None, gte: Some(2) })
    );
    assert_eq!(field(r#"{"key": "a.b", "is_empty": true}"#), Predicate::IsEmpty(true));
    assert_eq!(field(r#"{"key": "a.b", "is_null": false}"#), Predicate::IsNull(false));
    assert_eq!(refusal(r#"{"must": {"key": "a", "values_count": {"gte": -1}}}"#).0, 400);
    assert_eq!(refusal(r#"{"must": {"is_empty": ["a"]}}"#).0, 400);
}

#[test]
fn protocol_7_13_slices() {
    assert_eq!(
        refusal(r#"{"must": {"slice": {"total": 0, "index": 0}}}"#),
        (400, "Format error in JSON body: slice: `total` must be 1 or larger".to_owned())
    );
    assert_eq!(
        refusal(r#"{"must": {"slice": {"total": 3, "index": 3}}}"#),
        (
            422,
            "Validation error in JSON body: [filter.must[0].slice.index: value 3 invalid, must be 2 or smaller]"
                .to_owned()
        )
    );
}

#[test]
fn bad_paths_are_refused() {
    for key in ["", "a..b", "a[x]", "a\\u0000"] {
        let (status, text) = refusal(&format!(r#"{{"must": {{"key": "{key}", "is_empty": true}}}}"#));
        assert_eq!(status, 400);
        assert!(text.starts_with("Format error in JSON body: Invalid JSON path: `"), "{text}");
    }
}

/// `levels` filters inside each other.
fn tower(levels: usize, open: &str, close: &str) -> String {
    format!("{}{{}}{}", open.repeat(levels - 1), close.repeat(levels - 1))
}

#[test]
fn filters_nest_32_levels() {
    let too_deep = (400, "Wrong input: filters nest deeper than 32 levels".to_owned());
    for (open, close) in
        [(r#"{"must": ["#, "]}"), (r#"{"must": "#, "}"), (r#"{"must": {"nested": {"key": "a", "filter": "#, "}}}")]
    {
        assert!(read(&tower(32, open, close)).is_ok());
        assert_eq!(refusal(&tower(33, open, close)), too_deep);
    }
    // Deeper than the parser goes: its own error, whatever the depth.
    for levels in [100, 127, 128, 1_000, 100_000] {
        let (status, text) = refusal(&tower(levels, r#"{"must": ["#, "]}"));
        assert_eq!(status, 400, "{levels}: {text}");
        let (status, text) = refusal(&tower(levels, r#"{"must": "#, "}"));
        assert_eq!(status, 400, "{levels}: {text}");
    }
}
