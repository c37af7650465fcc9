//! Filters on the wire (PROTOCOL section 7). Unknown keys are errors here, everywhere else they are ignored.
//!
//! A condition is read as one flat object of all keys a condition may have and told apart afterwards: nothing is
//! buffered, whatever the nesting.

use std::collections::BTreeSet;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::schemas::{any_of, closed, nullable, object, object_with, schema};
use super::shapes::{Id, OneOrMany};
use crate::api::checks::{self, At, Checked, Findings};
use crate::model::filter::{Match, MinShould, Predicate, Range, ValuesCount};
use crate::model::geo::{GeoBox, GeoPoint};
use crate::model::{Condition, Filter};

/// A filter.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "Filter")]
#[serde(deny_unknown_fields)]
pub(super) struct FilterBody {
    must: Option<OneOrMany<ConditionBody>>,
    should: Option<OneOrMany<ConditionBody>>,
    must_not: Option<OneOrMany<ConditionBody>>,
    min_should: Option<MinShouldBody>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "MinShould")]
#[serde(deny_unknown_fields)]
struct MinShouldBody {
    conditions: Vec<ConditionBody>,
    min_count: u64,
}

/// Any condition.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ConditionBody {
    // A filter inside a filter. `{}` is one, too.
    must: Option<OneOrMany<ConditionBody>>,
    should: Option<OneOrMany<ConditionBody>>,
    must_not: Option<OneOrMany<ConditionBody>>,
    min_should: Option<Box<MinShouldBody>>,
    // A condition on a field.
    key: Option<String>,
    #[serde(rename = "match")]
    match_: Option<MatchBody>,
    range: Option<RangeBody>,
    geo_radius: Option<GeoRadiusBody>,
    geo_bounding_box: Option<GeoBoxBody>,
    geo_polygon: Option<GeoPolygonBody>,
    values_count: Option<ValuesCountBody>,
    // Of a field when a bool, a condition of their own when they name a key.
    is_empty: Option<Absence>,
    is_null: Option<Absence>,
    // The others.
    has_id: Option<Vec<Id>>,
    has_vector: Option<String>,
    nested: Option<Box<NestedBody>>,
    slice: Option<SliceBody>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Nested")]
#[serde(deny_unknown_fields)]
struct NestedBody {
    key: String,
    filter: FilterBody,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Slice")]
#[serde(deny_unknown_fields)]
struct SliceBody {
    total: u64,
    index: u64,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct MatchBody {
    value: Option<Scalar>,
    any: Option<Vec<Scalar>>,
    except: Option<Vec<Scalar>>,
    text: Option<String>,
    text_any: Option<String>,
    phrase: Option<String>,
    prefix: Option<String>,
    substring: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RangeBody {
    lt: Option<Bound>,
    lte: Option<Bound>,
    gt: Option<Bound>,
    gte: Option<Bound>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ValuesCount")]
#[serde(deny_unknown_fields)]
struct ValuesCountBody {
    lt: Option<u64>,
    lte: Option<u64>,
    gt: Option<u64>,
    gte: Option<u64>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "GeoPoint")]
#[serde(deny_unknown_fields)]
struct GeoPointBody {
    lon: f64,
    lat: f64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "GeoRadius")]
#[serde(deny_unknown_fields)]
struct GeoRadiusBody {
    center: GeoPointBody,
    radius: f64,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "GeoBoundingBox")]
#[serde(deny_unknown_fields)]
struct GeoBoxBody {
    top_left: GeoPointBody,
    bottom_right: GeoPointBody,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "GeoPolygon")]
#[serde(deny_unknown_fields)]
struct GeoPolygonBody {
    exterior: GeoRingBody,
    interiors: Option<Vec<GeoRingBody>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "GeoLineString")]
#[serde(deny_unknown_fields)]
struct GeoRingBody {
    points: Vec<GeoPointBody>,
}

schema!(ConditionBody, "Condition", schemas => any_of([
    schemas.subschema_for::<FilterBody>(),
    field_schema(schemas),
    closed(object([("is_empty", schemas.subschema_for::<KeyBody>())])),
    closed(object([("is_null", schemas.subschema_for::<KeyBody>())])),
    closed(object([("has_id", schemas.subschema_for::<Vec<Id>>())])),
    closed(object([("has_vector", schemas.subschema_for::<String>())])),
    closed(object([("nested", schemas.subschema_for::<NestedBody>())])),
    closed(object([("slice", schemas.subschema_for::<SliceBody>())])),
]));

/// A condition on a field: its key, and what is asked of its values.
fn field_schema(schemas: &mut SchemaGenerator) -> Schema {
    let mut schema = closed(object_with(
        [("key", schemas.subschema_for::<String>())],
        [
            ("match", nullable(schemas.subschema_for::<MatchBody>())),
            ("range", nullable(schemas.subschema_for::<RangeBody>())),
            ("geo_radius", nullable(schemas.subschema_for::<GeoRadiusBody>())),
            ("geo_bounding_box", nullable(schemas.subschema_for::<GeoBoxBody>())),
            ("geo_polygon", nullable(schemas.subschema_for::<GeoPolygonBody>())),
            ("values_count", nullable(schemas.subschema_for::<ValuesCountBody>())),
            ("is_empty", nullable(schemas.subschema_for::<bool>())),
            ("is_null", nullable(schemas.subschema_for::<bool>())),
        ],
    ));
    schema.insert("minProperties".to_owned(), 2.into());
    schema
}

schema!(MatchBody, "Match", schemas => {
    let any = any_of([
        schemas.subschema_for::<Vec<String>>(),
        schemas.subschema_for::<Vec<i64>>(),
    ]);
    let text = schemas.subschema_for::<String>();
    any_of([
        closed(object([("value", schemas.subschema_for::<Scalar>())])),
        closed(object([("any", any.clone())])),
        closed(object([("except", any)])),
        closed(object([("text", text.clone())])),
        closed(object([("text_any", text.clone())])),
        closed(object([("phrase", text.clone())])),
        closed(object([("prefix", text.clone())])),
        closed(object([("substring", text)])),
    ])
});

schema!(RangeBody, "Range", _ => {
    let of = |bound: Schema| {
        let bound = nullable(bound);
        closed(object_with([], [("lt", bound.clone()), ("lte", bound.clone()), ("gt", bound.clone()), ("gte", bound)]))
    };
    any_of([
        of(json_schema!({ "type": "number", "format": "double" })),
        of(json_schema!({ "type": "string", "format": "date-time" })),
    ])
});

schema!(Scalar, "MatchValue", schemas => any_of([
    schemas.subschema_for::<String>(),
    schemas.subschema_for::<i64>(),
    schemas.subschema_for::<bool>(),
]));

/// What `match` compares with; floats are refused.
#[derive(Debug)]
enum Scalar {
    Bool(bool),
    Integer(i64),
    Text(String),
}

impl<'de> Deserialize<'de> for Scalar {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ScalarVisitor;
        impl Visitor<'_> for ScalarVisitor {
            type Value = Scalar;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a string, an integer or a bool")
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Scalar, E> {
                Ok(Scalar::Bool(value))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Scalar, E> {
                Ok(Scalar::Integer(value))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Scalar, E> {
                i64::try_from(value)
                    .map(Scalar::Integer)
                    .map_err(|_| E::custom(format_args!("integer `{value}` does not fit into 64 signed bits")))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Scalar, E> {
                Ok(Scalar::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(ScalarVisitor)
    }
}

/// A bound of a range: of numbers, or as text of datetimes.
#[derive(Debug)]
enum Bound {
    Number(f64),
    Text(String),
}

impl<'de> Deserialize<'de> for Bound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct BoundVisitor;
        impl Visitor<'_> for BoundVisitor {
            type Value = Bound;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a datetime")
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Bound, E> {
                Ok(Bound::Number(value))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Bound, E> {
                Ok(Bound::Number(value as f64))
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Bound, E> {
                Ok(Bound::Number(value as f64))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Bound, E> {
                Ok(Bound::Text(text.to_owned()))
            }
        }
        deserializer.deserialize_any(BoundVisitor)
    }
}

/// `is_empty` and `is_null`: `{key}`, or beside a `key` a bool.
#[derive(Debug)]
enum Absence {
    OfKey(String),
    Is(bool),
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "PayloadField")]
#[serde(deny_unknown_fields)]
struct KeyBody {
    key: String,
}

impl<'de> Deserialize<'de> for Absence {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct AbsenceVisitor;
        impl<'de> Visitor<'de> for AbsenceVisitor {
            type Value = Absence;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object with a `key`, or a bool")
            }
            fn visit_bool<E: Error>(self, value: bool) -> Result<Absence, E> {
                Ok(Absence::Is(value))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Absence, A::Error> {
                KeyBody::deserialize(MapAccessDeserializer::new(map)).map(|KeyBody { key }| Absence::OfKey(key))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<Absence, A::Error> {
                Err(A::Error::invalid_type(serde::de::Unexpected::Seq, &self))
            }
        }
        deserializer.deserialize_any(AbsenceVisitor)
    }
}

impl FilterBody {
    /// The checked filter. `at` is where it stands.
    pub(super) fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<Filter> {
        self.convert_at_depth(found, at, 1)
    }

    fn convert_at_depth(self, found: &mut Findings, at: At<'_>, depth: usize) -> Checked<Filter> {
        checks::filter_depth(found, depth)?;
        let must = clause(found, at.field("must"), self.must, depth);
        let should = clause(found, at.field("should"), self.should, depth);
        let must_not = clause(found, at.field("must_not"), self.must_not, depth);
        let min_should = match self.min_should {
            None => Ok(None),
            Some(body) => body.convert(found, at.field("min_should"), depth).map(Some),
        };
        Ok(Filter { must: must?, should: should?, must_not: must_not?, min_should: min_should? })
    }
}

/// A filter that may be absent.
pub(super) fn filter(found: &mut Findings, at: At<'_>, body: Option<FilterBody>) -> Checked<Option<Filter>> {
    body.map(|body| body.convert(found, at)).transpose()
}

/// One condition of a formula.
pub(super) fn condition(found: &mut Findings, at: At<'_>, given: Value) -> Checked<Condition> {
    match ConditionBody::deserialize(given) {
        Ok(body) => body.convert(found, at, 0),
        Err(error) => found.malformed(format_args!("{at}: {error}")),
    }
}

fn clause(
    found: &mut Findings,
    at: At<'_>,
    conditions: Option<OneOrMany<ConditionBody>>,
    depth: usize,
) -> Checked<Vec<Condition>> {
    let OneOrMany(conditions) = conditions.unwrap_or(OneOrMany(Vec::new()));
    checks::each(conditions, |i, condition| condition.convert(found, at.item(i), depth))
}

impl MinShouldBody {
    fn convert(self, found: &mut Findings, at: At<'_>, depth: usize) -> Checked<MinShould> {
        let conditions_at = at.field("conditions");
        let conditions =
            checks::each(self.conditions, |i, condition| condition.convert(found, conditions_at.item(i), depth))?;
        checks::min_should(found, at, conditions, self.min_count)
    }
}

impl ConditionBody {
    fn convert(self, found: &mut Findings, at: At<'_>, depth: usize) -> Checked<Condition> {
        let is_filter =
            self.must.is_some() || self.should.is_some() || self.must_not.is_some() || self.min_should.is_some();
        let is_field_predicate = self.match_.is_some()
            || self.range.is_some()
            || self.geo_radius.is_some()
            || self.geo_bounding_box.is_some()
            || self.geo_polygon.is_some()
            || self.values_count.is_some()
            || matches!(self.is_empty, Some(Absence::Is(_)))
            || matches!(self.is_null, Some(Absence::Is(_)));
        let kinds = [
            is_filter,
            self.key.is_some(),
            matches!(self.is_empty, Some(Absence::OfKey(_))),
            matches!(self.is_null, Some(Absence::OfKey(_))),
            self.has_id.is_some(),
            self.has_vector.is_some(),
            self.nested.is_some(),
            self.slice.is_some(),
        ];
        if kinds.into_iter().filter(|is_given| *is_given).count() > 1 {
            return malformed(found, at, "keys of several kinds of conditions in one object");
        }
        if is_field_predicate && self.key.is_none() {
            return malformed(found, at, "a condition on a field lacks its `key`");
        }
        match self {
            ConditionBody { key: Some(_), .. } => self.convert_field(found, at),
            ConditionBody { is_empty: Some(Absence::OfKey(key)), .. } => {
                checks::path(found, &key).map(Condition::IsEmpty)
            }
            ConditionBody { is_null: Some(Absence::OfKey(key)), .. } => {
                checks::path(found, &key).map(Condition::IsNull)
            }
            ConditionBody { has_id: Some(ids), .. } => {
                Ok(Condition::HasId(ids.into_iter().map(|Id(id)| id).collect::<BTreeSet<_>>()))
            }
            ConditionBody { has_vector: Some(name), .. } => Ok(Condition::HasVector(name)),
            ConditionBody { nested: Some(nested), .. } => {
                let at = at.field("nested");
                let filter = nested.filter.convert_at_depth(found, at.field("filter"), depth + 1);
                let key = checks::path(found, &nested.key);
                Ok(Condition::Nested { key: key?, filter: Box::new(filter?) })
            }
            ConditionBody { slice: Some(SliceBody { total, index }), .. } => {
                checks::slice(found, at.field("slice"), total, index)
            }
            ConditionBody { must, should, must_not, min_should, .. } => {
                let body = FilterBody { must, should, must_not, min_should: min_should.map(|body| *body) };
                let filter = body.convert_at_depth(found, at, depth + 1)?;
                Ok(Condition::Filter(Box::new(filter)))
            }
        }
    }

    fn convert_field(self, found: &mut Findings, at: At<'_>) -> Checked<Condition> {
        let mut predicates = Vec::new();
        if let Some(body) = self.match_ {
            predicates.push(body.convert(found, at.field("match")).map(Predicate::Match));
        }
        if let Some(body) = self.range {
            predicates.push(body.convert(found, at.field("range")));
        }
        if let Some(GeoRadiusBody { center, radius }) = self.geo_radius {
            let at = at.field("geo_radius");
            let center = center.convert(found, at.field("center"));
            let circle = center.and_then(|center| checks::geo_radius(found, at, center, radius));
            predicates.push(circle.map(Predicate::GeoRadius));
        }
        if let Some(GeoBoxBody { top_left, bottom_right }) = self.geo_bounding_box {
            let at = at.field("geo_bounding_box");
            let top_left = top_left.convert(found, at.field("top_left"));
            let bottom_right = bottom_right.convert(found, at.field("bottom_right"));
            predicates.push(top_left.and_then(|top_left| {
                bottom_right.map(|bottom_right| Predicate::GeoBox(GeoBox { top_left, bottom_right }))
            }));
        }
        if let Some(body) = self.geo_polygon {
            predicates.push(body.convert(found, at.field("geo_polygon")));
        }
        if let Some(ValuesCountBody { lt, lte, gt, gte }) = self.values_count {
            predicates.push(Ok(Predicate::ValuesCount(ValuesCount { lt, lte, gt, gte })));
        }
        if let Some(Absence::Is(is_empty)) = self.is_empty {
            predicates.push(Ok(Predicate::IsEmpty(is_empty)));
        }
        if let Some(Absence::Is(is_null)) = self.is_null {
            predicates.push(Ok(Predicate::IsNull(is_null)));
        }
        let predicates = predicates.into_iter().collect::<Checked<Vec<_>>>()?;
        checks::field_condition(found, at, &self.key.unwrap_or_default(), predicates)
    }
}

impl MatchBody {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<Match> {
        let MatchBody { value, any, except, text, text_any, phrase, prefix, substring } = self;
        let value = value.map(|value| match value {
            Scalar::Bool(value) => Match::Bool(value),
            Scalar::Integer(value) => Match::Integer(value),
            Scalar::Text(value) => Match::Keyword(value),
        });
        let any = any.map(|list| one_type(found, at, list)).transpose()?.map(|list| match list {
            ScalarList::Integers(list) => Match::AnyInteger(list),
            ScalarList::Texts(list) => Match::AnyKeyword(list),
        });
        let except = except.map(|list| one_type(found, at, list)).transpose()?.map(|list| match list {
            ScalarList::Integers(list) => Match::ExceptInteger(list),
            ScalarList::Texts(list) => Match::ExceptKeyword(list),
        });
        let given = [
            value,
            any,
            except,
            text.map(Match::Text),
            text_any.map(Match::TextAny),
            phrase.map(Match::Phrase),
            prefix.map(Match::Prefix),
            substring.map(Match::Substring),
        ];
        let mut given = given.into_iter().flatten();
        match (given.next(), given.next()) {
            (Some(one), None) => Ok(one),
            _ => malformed(
                found,
                at,
                "a match needs exactly one of value, any, except, text, text_any, phrase, prefix, substring",
            ),
        }
    }
}

/// A list whose elements have one type; an empty one matches like a list of texts.
enum ScalarList {
    Integers(Vec<i64>),
    Texts(Vec<String>),
}

fn one_type(found: &mut Findings, at: At<'_>, list: Vec<Scalar>) -> Checked<ScalarList> {
    let (mut integers, mut texts, mut bools) = (Vec::new(), Vec::new(), 0);
    for scalar in list {
        match scalar {
            Scalar::Integer(value) => integers.push(value),
            Scalar::Text(value) => texts.push(value),
            Scalar::Bool(_) => bools += 1,
        }
    }
    match (integers.is_empty(), texts.is_empty(), bools) {
        (true, _, 0) => Ok(ScalarList::Texts(texts)),
        (false, true, 0) => Ok(ScalarList::Integers(integers)),
        _ => malformed(found, at, "a list must hold strings only or integers only"),
    }
}

impl RangeBody {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<Predicate> {
        let bounds = [self.lt, self.lte, self.gt, self.gte];
        let numbers = bounds.iter().flatten().filter(|bound| matches!(bound, Bound::Number(_))).count();
        let texts = bounds.iter().flatten().count() - numbers;
        if numbers > 0 && texts > 0 {
            return malformed(found, at, "the bounds of a range must be numbers only or datetimes only");
        }
        if texts == 0 {
            let [lt, lte, gt, gte] = bounds.map(|bound| match bound {
                Some(Bound::Number(value)) => Some(value),
                _ => None,
            });
            return Ok(Predicate::Range(Range { lt, lte, gt, gte }));
        }
        let [lt, lte, gt, gte] = bounds.map(|bound| match bound {
            Some(Bound::Text(text)) => checks::datetime(found, &text).map(Some),
            _ => Ok(None),
        });
        Ok(Predicate::DatetimeRange(Range { lt: lt?, lte: lte?, gt: gt?, gte: gte? }))
    }
}

impl GeoPointBody {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<GeoPoint> {
        checks::geo_point(found, at, self.lon, self.lat)
    }
}

impl GeoRingBody {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<Vec<GeoPoint>> {
        let at = at.field("points");
        checks::each(self.points, |i, point| point.convert(found, at.item(i)))
    }
}

impl GeoPolygonBody {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<Predicate> {
        let exterior = self.exterior.convert(found, at.field("exterior"));
        let interiors_at = at.field("interiors");
        let interiors =
            checks::each(self.interiors.unwrap_or_default(), |i, ring| ring.convert(found, interiors_at.item(i)));
        checks::geo_polygon(found, at, exterior?, interiors?).map(Predicate::GeoPolygon)
    }
}

fn malformed<T>(found: &mut Findings, at: At<'_>, what: &str) -> Checked<T> {
    found.malformed(format_args!("{at}: {what}"))
}

#[cfg(test)]
#[path = "filter_tests.rs"]
mod tests;
