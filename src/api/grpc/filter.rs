//! Filters in (PROTOCOL section 7). Depth is capped; nothing is evaluated here.

use super::pb::{self, condition::ConditionOneOf, r#match::MatchValue};
use super::point::{ids_from_wire, required};
use crate::api::checks::{self, At, Checked, Findings, each};
use crate::api::status::ApiError;
use crate::model::datetime::Timestamp;
use crate::model::filter::{Match, MinShould, Predicate, Range, ValuesCount};
use crate::model::geo::{GeoBox, GeoPoint, GeoPolygon, GeoRadius};
use crate::model::{Condition, Filter};

/// A filter. An empty message matches every point.
pub(super) fn filter_from_wire(found: &mut Findings, at: At<'_>, wire: pb::Filter) -> Checked<Filter> {
    filter_at_depth(found, at, wire, 1)
}

/// An optional filter.
pub(super) fn filter_if_given(found: &mut Findings, at: At<'_>, wire: Option<pb::Filter>) -> Checked<Option<Filter>> {
    wire.map(|wire| filter_from_wire(found, at, wire)).transpose()
}

fn filter_at_depth(found: &mut Findings, at: At<'_>, wire: pb::Filter, depth: usize) -> Checked<Filter> {
    checks::filter_depth(found, depth)?;
    let must = conditions(found, at.field("must"), wire.must, depth);
    let should = conditions(found, at.field("should"), wire.should, depth);
    let must_not = conditions(found, at.field("must_not"), wire.must_not, depth);
    let min_should = wire.min_should.map(|wire| min_should(found, at.field("min_should"), wire, depth)).transpose();
    Ok(Filter { must: must?, should: should?, must_not: must_not?, min_should: min_should? })
}

fn conditions(found: &mut Findings, at: At<'_>, wire: Vec<pb::Condition>, depth: usize) -> Checked<Vec<Condition>> {
    each(wire, |i, wire| condition(found, at.item(i), wire, depth))
}

fn min_should(found: &mut Findings, at: At<'_>, wire: pb::MinShould, depth: usize) -> Checked<MinShould> {
    let conditions = conditions(found, at.field("conditions"), wire.conditions, depth)?;
    checks::min_should(found, at, conditions, wire.min_count)
}

/// One condition of a formula.
pub(super) fn condition_from_wire(found: &mut Findings, at: At<'_>, wire: pb::Condition) -> Checked<Condition> {
    condition(found, at, wire, 0)
}

/// A condition of a filter that stands at `depth`.
fn condition(found: &mut Findings, at: At<'_>, wire: pb::Condition, depth: usize) -> Checked<Condition> {
    match wire.condition_one_of {
        Some(ConditionOneOf::Field(wire)) => field(found, at.field("field"), wire),
        Some(ConditionOneOf::IsEmpty(wire)) => checks::path(found, &wire.key).map(Condition::IsEmpty),
        Some(ConditionOneOf::IsNull(wire)) => checks::path(found, &wire.key).map(Condition::IsNull),
        Some(ConditionOneOf::HasId(wire)) => {
            ids_from_wire(found, wire.has_id).map(|ids| Condition::HasId(ids.into_iter().collect()))
        }
        Some(ConditionOneOf::HasVector(wire)) => Ok(Condition::HasVector(wire.has_vector)),
        Some(ConditionOneOf::Slice(wire)) => {
            checks::slice(found, at.field("slice"), u64::from(wire.total), u64::from(wire.index))
        }
        Some(ConditionOneOf::Nested(wire)) => {
            let key = checks::path(found, &wire.key);
            let at = at.field("nested");
            let filter = required(found, at.field("filter"), wire.filter)
                .and_then(|wire| filter_at_depth(found, at.field("filter"), wire, depth + 1));
            Ok(Condition::Nested { key: key?, filter: Box::new(filter?) })
        }
        Some(ConditionOneOf::Filter(wire)) => filter_at_depth(found, at.field("filter"), wire, depth + 1)
            .map(|filter| Condition::Filter(Box::new(filter))),
        None => found.refuse(ApiError::wrong_input(format_args!("`{at}` holds no condition"))),
    }
}

fn field(found: &mut Findings, at: At<'_>, wire: pb::FieldCondition) -> Checked<Condition> {
    let given = [
        wire.r#match.map(|wire| match_from_wire(found, at.field("match"), wire).map(Predicate::Match)),
        wire.range.map(|wire| range(found, at.field("range"), wire).map(Predicate::Range)),
        wire.datetime_range
            .map(|wire| datetime_range(found, at.field("datetime_range"), wire).map(Predicate::DatetimeRange)),
        wire.geo_radius.map(|wire| geo_radius(found, at.field("geo_radius"), wire).map(Predicate::GeoRadius)),
        wire.geo_bounding_box.map(|wire| geo_box(found, at.field("geo_bounding_box"), wire).map(Predicate::GeoBox)),
        wire.geo_polygon.map(|wire| geo_polygon(found, at.field("geo_polygon"), wire).map(Predicate::GeoPolygon)),
        wire.values_count.map(|wire| Ok(Predicate::ValuesCount(values_count(wire)))),
        wire.is_empty.map(|wire| Ok(Predicate::IsEmpty(wire))),
        wire.is_null.map(|wire| Ok(Predicate::IsNull(wire))),
    ];
    let predicates = given.into_iter().flatten().collect::<Checked<Vec<_>>>()?;
    checks::field_condition(found, at, &wire.key, predicates)
}

fn match_from_wire(found: &mut Findings, at: At<'_>, wire: pb::Match) -> Checked<Match> {
    Ok(match wire.match_value {
        Some(MatchValue::Keyword(value)) => Match::Keyword(value),
        Some(MatchValue::Integer(value)) => Match::Integer(value),
        Some(MatchValue::Boolean(value)) => Match::Bool(value),
        Some(MatchValue::Text(value)) => Match::Text(value),
        Some(MatchValue::TextAny(value)) => Match::TextAny(value),
        Some(MatchValue::Phrase(value)) => Match::Phrase(value),
        Some(MatchValue::Prefix(value)) => Match::Prefix(value),
        Some(MatchValue::Substring(value)) => Match::Substring(value),
        Some(MatchValue::Keywords(values)) => Match::AnyKeyword(values.strings),
        Some(MatchValue::Integers(values)) => Match::AnyInteger(values.integers),
        Some(MatchValue::ExceptKeywords(values)) => Match::ExceptKeyword(values.strings),
        Some(MatchValue::ExceptIntegers(values)) => Match::ExceptInteger(values.integers),
        None => return found.refuse(ApiError::wrong_input(format_args!("`{at}` holds no value"))),
    })
}

fn range(found: &mut Findings, at: At<'_>, wire: pb::Range) -> Checked<Range<f64>> {
    // An infinity is a bound like any other; NaN compares with nothing.
    let mut bound = |name, bound: Option<f64>| match bound {
        Some(bound) if bound.is_nan() => found.invalid(at.field(name), "value NaN invalid, must be a number"),
        bound => Ok(bound),
    };
    let (lt, lte) = (bound("lt", wire.lt), bound("lte", wire.lte));
    let (gt, gte) = (bound("gt", wire.gt), bound("gte", wire.gte));
    Ok(Range { lt: lt?, lte: lte?, gt: gt?, gte: gte? })
}

fn datetime_range(found: &mut Findings, at: At<'_>, wire: pb::DatetimeRange) -> Checked<Range<Timestamp>> {
    let mut bound = |name, bound: Option<prost_types::Timestamp>| {
        bound.map(|bound| timestamp_from_wire(found, at.field(name), bound)).transpose()
    };
    let (lt, lte) = (bound("lt", wire.lt), bound("lte", wire.lte));
    let (gt, gte) = (bound("gt", wire.gt), bound("gte", wire.gte));
    Ok(Range { lt: lt?, lte: lte?, gt: gt?, gte: gte? })
}

/// Floors to microseconds.
pub(super) fn timestamp_from_wire(
    found: &mut Findings,
    at: At<'_>,
    wire: prost_types::Timestamp,
) -> Checked<Timestamp> {
    let nanos = checks::within(found, at.field("nanos"), wire.nanos, 0, 999_999_999)?;
    match wire.seconds.checked_mul(1_000_000).and_then(|micros| micros.checked_add(i64::from(nanos / 1_000))) {
        Some(micros) => Ok(Timestamp(micros)),
        None => found.invalid(at.field("seconds"), format!("value {} invalid, out of range", wire.seconds)),
    }
}

pub(super) fn geo_point(found: &mut Findings, at: At<'_>, wire: Option<pb::GeoPoint>) -> Checked<GeoPoint> {
    let wire = required(found, at, wire)?;
    checks::geo_point(found, at, wire.lon, wire.lat)
}

fn geo_radius(found: &mut Findings, at: At<'_>, wire: pb::GeoRadius) -> Checked<GeoRadius> {
    let center = geo_point(found, at.field("center"), wire.center)?;
    checks::geo_radius(found, at, center, f64::from(wire.radius))
}

fn geo_box(found: &mut Findings, at: At<'_>, wire: pb::GeoBoundingBox) -> Checked<GeoBox> {
    let top_left = geo_point(found, at.field("top_left"), wire.top_left);
    let bottom_right = geo_point(found, at.field("bottom_right"), wire.bottom_right);
    Ok(GeoBox { top_left: top_left?, bottom_right: bottom_right? })
}

fn geo_polygon(found: &mut Findings, at: At<'_>, wire: pb::GeoPolygon) -> Checked<GeoPolygon> {
    let exterior =
        required(found, at.field("exterior"), wire.exterior).and_then(|line| ring(found, at.field("exterior"), line));
    let interiors = at.field("interiors");
    let interiors = each(wire.interiors, |i, line| ring(found, interiors.item(i), line));
    checks::geo_polygon(found, at, exterior?, interiors?)
}

fn ring(found: &mut Findings, at: At<'_>, wire: pb::GeoLineString) -> Checked<Vec<GeoPoint>> {
    let at = at.field("points");
    each(wire.points, |i, point| geo_point(found, at.item(i), Some(point)))
}

fn values_count(wire: pb::ValuesCount) -> ValuesCount {
    ValuesCount { lt: wire.lt, lte: wire.lte, gt: wire.gt, gte: wire.gte }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::api::grpc::pb::point_id::PointIdOptions;
    use crate::model::filter::FieldCondition;
    use crate::model::{Path, PointId};

    fn read(wire: pb::Filter) -> Result<Filter, String> {
        let mut found = Findings::new();
        let value = filter_from_wire(&mut found, At::Root.field("filter"), wire);
        found.finish("body", value).map_err(|error| error.text)
    }

    /// The one condition of a `must`.
    fn one(condition: ConditionOneOf) -> Result<Condition, String> {
        let must = vec![pb::Condition { condition_one_of: Some(condition) }];
        read(pb::Filter { must, ..Default::default() }).map(|mut filter| filter.must.remove(0))
    }

    fn field(condition: pb::FieldCondition) -> Result<Vec<Predicate>, String> {
        let condition = pb::FieldCondition { key: "a.b[]".to_owned(), ..condition };
        one(ConditionOneOf::Field(condition)).map(|condition| match condition {
            Condition::Field(FieldCondition { key, predicates }) => {
                assert_eq!(key, path("a.b[]"));
                predicates
            }
            other => panic!("{other:?}"),
        })
    }

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    fn has_vector(name: &str) -> pb::Condition {
        let condition = pb::HasVectorCondition { has_vector: name.to_owned() };
        pb::Condition { condition_one_of: Some(ConditionOneOf::HasVector(condition)) }
    }

    fn point(lon: f64, lat: f64) -> Option<pb::GeoPoint> {
        Some(pb::GeoPoint { lon, lat })
    }

    #[test]
    fn protocol_20_an_empty_filter_matches_everything() {
        assert_eq!(read(pb::Filter::default()), Ok(Filter::default()));
        assert!(read(pb::Filter::default()).unwrap().is_empty());
    }

    #[test]
    fn each_clause_lands_in_its_place() {
        let filter = read(pb::Filter {
            must: vec![has_vector("a")],
            should: vec![has_vector("b"), has_vector("c")],
            must_not: vec![has_vector("d")],
            min_should: Some(pb::MinShould { conditions: vec![has_vector("e")], min_count: u64::MAX }),
        });
        let named = |name: &str| Condition::HasVector(name.to_owned());
        let want = Filter {
            must: vec![named("a")],
            should: vec![named("b"), named("c")],
            must_not: vec![named("d")],
            min_should: Some(MinShould { conditions: vec![named("e")], min_count: usize::MAX }),
        };
        assert_eq!(filter, Ok(want));
    }

    #[test]
    fn protocol_7_3_each_condition_kind() {
        let id = |options| pb::PointId { point_id_options: Some(options) };
        let uuid = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        let ids = vec![id(PointIdOptions::Num(u64::MAX)), id(PointIdOptions::Uuid(uuid.to_owned()))];
        let want = BTreeSet::from([PointId::Num(u64::MAX), PointId::from_uuid_text(uuid).unwrap()]);
        assert_eq!(one(ConditionOneOf::HasId(pb::HasIdCondition { has_id: ids })), Ok(Condition::HasId(want)));
        assert_eq!(
            one(ConditionOneOf::HasId(pb::HasIdCondition { has_id: vec![] })),
            Ok(Condition::HasId(BTreeSet::new()))
        );
        assert_eq!(
            one(ConditionOneOf::IsEmpty(pb::IsEmptyCondition { key: "a".to_owned() })),
            Ok(Condition::IsEmpty(path("a")))
        );
        assert_eq!(
            one(ConditionOneOf::IsNull(pb::IsNullCondition { key: "a".to_owned() })),
            Ok(Condition::IsNull(path("a")))
        );
        assert_eq!(
            one(ConditionOneOf::Slice(pb::SliceCondition { total: 4, index: 3 })),
            Ok(Condition::Slice { total: 4, index: 3 })
        );
        let inner = || pb::Filter { must: vec![has_vector("v")], ..Default::default() };
        let want = Box::new(Filter { must: vec![Condition::HasVector("v".to_owned())], ..Filter::default() });
        assert_eq!(one(ConditionOneOf::Filter(inner())), Ok(Condition::Filter(want.clone())));
        assert_eq!(
            one(ConditionOneOf::Nested(pb::NestedCondition { key: "a[]".to_owned(), filter: Some(inner()) })),
            Ok(Condition::Nested { key: path("a[]"), filter: want })
        );
    }

    #[test]
    fn protocol_20_each_match_kind() {
        let text = || "x".to_owned();
        let strings = || pb::RepeatedStrings { strings: vec!["x".to_owned(), "y".to_owned()] };
        let integers = || pb::RepeatedIntegers { integers: vec![1, i64::MIN] };
        let both = || vec!["x".to_owned(), "y".to_owned()];
        let cases = [
            (MatchValue::Keyword(text()), Match::Keyword(text())),
            (MatchValue::Integer(-7), Match::Integer(-7)),
            (MatchValue::Boolean(false), Match::Bool(false)),
            (MatchValue::Text(text()), Match::Text(text())),
            (MatchValue::TextAny(text()), Match::TextAny(text())),
            (MatchValue::Phrase(text()), Match::Phrase(text())),
            (MatchValue::Prefix(text()), Match::Prefix(text())),
            (MatchValue::Substring(text()), Match::Substring(text())),
            (MatchValue::Keywords(strings()), Match::AnyKeyword(both())),
            (MatchValue::ExceptKeywords(strings()), Match::ExceptKeyword(both())),
            (MatchValue::Integers(integers()), Match::AnyInteger(vec![1, i64::MIN])),
            (MatchValue::ExceptIntegers(integers()), Match::ExceptInteger(vec![1, i64::MIN])),
        ];
        for (wire, want) in cases {
            let wire =
                pb::FieldCondition { r#match: Some(pb::Match { match_value: Some(wire) }), ..Default::default() };
            assert_eq!(field(wire), Ok(vec![Predicate::Match(want)]));
        }
        let empty = pb::FieldCondition { r#match: Some(pb::Match { match_value: None }), ..Default::default() };
        assert_eq!(field(empty), Err("Wrong input: `filter.must[0].field.match` holds no value".to_owned()));
    }

    #[test]
    fn ranges_keep_each_bound() {
        let wire = pb::Range { lt: Some(1.0), gt: Some(2.0), gte: Some(f64::NEG_INFINITY), lte: None };
        let want = Range { lt: Some(1.0), gt: Some(2.0), gte: Some(f64::NEG_INFINITY), lte: None };
        let range = |range| field(pb::FieldCondition { range: Some(range), ..Default::default() });
        assert_eq!(range(wire), Ok(vec![Predicate::Range(want)]));
        let wire = pb::Range { lte: Some(f64::NAN), gt: Some(f64::NAN), ..Default::default() };
        let want = "Validation error in body: [filter.must[0].field.range.lte: value NaN invalid, must be a number; \
                    filter.must[0].field.range.gt: value NaN invalid, must be a number]";
        assert_eq!(range(wire), Err(want.to_owned()));

        let count = pb::ValuesCount { lt: Some(u64::MAX), gt: None, gte: Some(0), lte: Some(3) };
        let want = ValuesCount { lt: Some(u64::MAX), gt: None, gte: Some(0), lte: Some(3) };
        let count = pb::FieldCondition { values_count: Some(count), ..Default::default() };
        assert_eq!(field(count), Ok(vec![Predicate::ValuesCount(want)]));
    }

    #[test]
    fn protocol_7_8_timestamps_floor_to_microseconds() {
        let stamp = |seconds, nanos| Some(prost_types::Timestamp { seconds, nanos });
        let range = |range| field(pb::FieldCondition { datetime_range: Some(range), ..Default::default() });
        let wire = pb::DatetimeRange { lt: stamp(2, 1_999), lte: None, gt: stamp(-1, 999_999_999), gte: stamp(0, 0) };
        let want =
            Range { lt: Some(Timestamp(2_000_001)), lte: None, gt: Some(Timestamp(-1)), gte: Some(Timestamp(0)) };
        assert_eq!(range(wire), Ok(vec![Predicate::DatetimeRange(want)]));
        for (bad, path) in [(stamp(i64::MAX, 0), "seconds"), (stamp(i64::MIN, 0), "seconds"), (stamp(0, -1), "nanos")] {
            let error = range(pb::DatetimeRange { lt: bad, ..Default::default() }).unwrap_err();
            let want = format!("Validation error in body: [filter.must[0].field.datetime_range.lt.{path}: value ");
            assert!(error.starts_with(&want), "{error}");
        }
    }

    #[test]
    fn protocol_7_9_shapes() {
        let read = |condition| field(condition);
        let circle = pb::GeoRadius { center: point(13.0, 52.0), radius: 1500.0 };
        let want = GeoRadius { center: GeoPoint { lon: 13.0, lat: 52.0 }, radius_m: 1500.0 };
        let circle = pb::FieldCondition { geo_radius: Some(circle), ..Default::default() };
        assert_eq!(read(circle), Ok(vec![Predicate::GeoRadius(want)]));

        let shape = pb::GeoBoundingBox { top_left: point(1.0, 4.0), bottom_right: point(3.0, 2.0) };
        let want = GeoBox { top_left: GeoPoint { lon: 1.0, lat: 4.0 }, bottom_right: GeoPoint { lon: 3.0, lat: 2.0 } };
        let shape = pb::FieldCondition { geo_bounding_box: Some(shape), ..Default::default() };
        assert_eq!(read(shape), Ok(vec![Predicate::GeoBox(want)]));

        let line = |points: &[(f64, f64)]| pb::GeoLineString {
            points: points.iter().map(|(lon, lat)| pb::GeoPoint { lon: *lon, lat: *lat }).collect(),
        };
        let closed = [(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (0.0, 0.0)];
        let polygon = |exterior, interiors| {
            let polygon = pb::GeoPolygon { exterior, interiors };
            read(pb::FieldCondition { geo_polygon: Some(polygon), ..Default::default() })
        };
        let ring: Vec<GeoPoint> = closed.iter().map(|(lon, lat)| GeoPoint { lon: *lon, lat: *lat }).collect();
        let want = GeoPolygon { exterior: ring.clone(), interiors: vec![ring] };
        assert_eq!(polygon(Some(line(&closed)), vec![line(&closed)]), Ok(vec![Predicate::GeoPolygon(want)]));

        for bad in [
            polygon(Some(line(&closed[..3])), vec![]),
            polygon(Some(line(&[(0.0, 0.0), (4.0, 0.0), (4.0, 4.0), (1.0, 1.0)])), vec![]),
            polygon(Some(line(&[(0.0, 91.0), (4.0, 0.0), (4.0, 4.0), (0.0, 91.0)])), vec![]),
        ] {
            let error = bad.unwrap_err();
            assert!(error.starts_with("Validation error in body: [filter.must[0].field.geo_polygon"), "{error}");
        }
        assert_eq!(
            polygon(None, vec![]),
            Err("Wrong input: `filter.must[0].field.geo_polygon.exterior` is required".to_owned())
        );
        for radius in [-1.0, f32::NAN] {
            let circle = pb::GeoRadius { center: point(0.0, 0.0), radius };
            let error = read(pb::FieldCondition { geo_radius: Some(circle), ..Default::default() }).unwrap_err();
            assert!(error.contains("geo_radius.radius: value"), "{error}");
        }
    }

    #[test]
    fn field_forms_and_several_predicates() {
        let wire = pb::FieldCondition { is_empty: Some(true), is_null: Some(false), ..Default::default() };
        assert_eq!(field(wire), Ok(vec![Predicate::IsEmpty(true), Predicate::IsNull(false)]));
    }

    #[test]
    fn protocol_7_errors_name_their_place() {
        let none = |path| Err(format!("Wrong input: `{path}` holds no condition"));
        let wire = pb::Filter { must_not: vec![pb::Condition::default()], ..Default::default() };
        assert_eq!(read(wire), none("filter.must_not[0]"));
        let nested = pb::NestedCondition { key: "a".to_owned(), filter: None };
        let want = "Wrong input: `filter.must[0].nested.filter` is required";
        assert_eq!(one(ConditionOneOf::Nested(nested)), Err(want.to_owned()));
        let want = "Validation error in body: [filter.must[0].field: At least one field condition must be specified]";
        assert_eq!(field(pb::FieldCondition::default()), Err(want.to_owned()));
        let min_should = Some(pb::MinShould { conditions: vec![], min_count: 0 });
        let want = "Validation error in body: [filter.min_should.min_count: min_count must be greater than 0]";
        assert_eq!(read(pb::Filter { min_should, ..Default::default() }), Err(want.to_owned()));
        let want = "Validation error in body: [filter.must[0].slice.index: value 4 invalid, must be 3 or smaller]";
        assert_eq!(one(ConditionOneOf::Slice(pb::SliceCondition { total: 4, index: 4 })), Err(want.to_owned()));
        let is_null = ConditionOneOf::IsNull(pb::IsNullCondition { key: "a[".to_owned() });
        assert_eq!(one(is_null), Err("Wrong input: Invalid JSON path: `a[`".to_owned()));
    }

    #[test]
    fn filters_nest_to_the_limit_and_no_further() {
        let nested = |depth| {
            (1..depth).fold(pb::Filter::default(), |inner, _| pb::Filter {
                must: vec![pb::Condition { condition_one_of: Some(ConditionOneOf::Filter(inner)) }],
                ..Default::default()
            })
        };
        assert!(read(nested(checks::FILTER_DEPTH_MAX)).is_ok());
        let error = read(nested(checks::FILTER_DEPTH_MAX + 1)).unwrap_err();
        assert_eq!(error, "Wrong input: filters nest deeper than 32 levels");
    }
}
