//! Tests of one value of a payload.

use serde_json::Value;

use super::words;
use crate::model::datetime::Timestamp;
use crate::model::filter::{Match, Range};
use crate::model::geo::{GeoArea, GeoBox, GeoPoint, GeoRadius};

/// A predicate on one value, ready to be asked. Values of another type than the test's fail it.
pub(super) enum ValueTest<'a> {
    Bool(bool),
    Integer(i64),
    Keyword(&'a str),
    /// Sorted.
    IntegerIn(Vec<i64>),
    /// Sorted.
    KeywordIn(Vec<&'a str>),
    /// Of any value but null that the test inside fails.
    NotNullAndNot(Box<ValueTest<'a>>),
    /// Words as `words::of_query` gives them, here and below.
    AllWords(Vec<String>),
    SomeWord(Vec<String>),
    Phrase(Vec<String>),
    Prefix(&'a str),
    Substring(&'a str),
    /// Of numbers.
    Range(&'a Range<f64>),
    /// Of strings that read as a datetime.
    DatetimeRange(&'a Range<Timestamp>),
    /// Of objects with numbers `lon` and `lat`, here and below.
    Radius(&'a GeoRadius),
    Box(&'a GeoBox),
    Area(GeoArea),
}

impl<'a> ValueTest<'a> {
    pub(super) fn matching(operand: &'a Match) -> ValueTest<'a> {
        match operand {
            Match::Bool(operand) => ValueTest::Bool(*operand),
            Match::Integer(operand) => ValueTest::Integer(*operand),
            Match::Keyword(operand) => ValueTest::Keyword(operand),
            Match::AnyInteger(list) => ValueTest::integer_in(list),
            Match::AnyKeyword(list) => ValueTest::keyword_in(list),
            Match::ExceptInteger(list) => ValueTest::NotNullAndNot(Box::new(ValueTest::integer_in(list))),
            Match::ExceptKeyword(list) => ValueTest::NotNullAndNot(Box::new(ValueTest::keyword_in(list))),
            Match::Text(query) => ValueTest::AllWords(words::of_query(query)),
            Match::TextAny(query) => ValueTest::SomeWord(words::of_query(query)),
            Match::Phrase(query) => ValueTest::Phrase(words::of_query(query)),
            Match::Prefix(operand) => ValueTest::Prefix(operand),
            Match::Substring(operand) => ValueTest::Substring(operand),
        }
    }

    fn integer_in(list: &[i64]) -> ValueTest<'a> {
        let mut sorted = list.to_vec();
        sorted.sort_unstable();
        ValueTest::IntegerIn(sorted)
    }

    fn keyword_in(list: &'a [String]) -> ValueTest<'a> {
        let mut sorted: Vec<&str> = list.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        ValueTest::KeywordIn(sorted)
    }

    pub(super) fn passes(&self, value: &Value) -> bool {
        let of_integer = |is_so: &dyn Fn(&i64) -> bool| value.as_i64().is_some_and(|number| is_so(&number));
        let of_text = |is_so: &dyn Fn(&str) -> bool| value.as_str().is_some_and(is_so);
        let of_place = |is_so: &dyn Fn(&GeoPoint) -> bool| place(value).is_some_and(|place| is_so(&place));
        match self {
            ValueTest::Bool(operand) => value.as_bool() == Some(*operand),
            ValueTest::Integer(operand) => of_integer(&|number| number == operand),
            ValueTest::Keyword(operand) => of_text(&|text| text == *operand),
            ValueTest::IntegerIn(sorted) => of_integer(&|number| sorted.binary_search(number).is_ok()),
            ValueTest::KeywordIn(sorted) => of_text(&|text| sorted.binary_search(&text).is_ok()),
            ValueTest::NotNullAndNot(test) => !value.is_null() && !test.passes(value),
            ValueTest::AllWords(query) => of_text(&|text| words::has_all(text, query)),
            ValueTest::SomeWord(query) => of_text(&|text| words::has_any(text, query)),
            ValueTest::Phrase(query) => of_text(&|text| words::has_phrase(text, query)),
            ValueTest::Prefix(operand) => of_text(&|text| text.starts_with(operand)),
            ValueTest::Substring(operand) => of_text(&|text| text.contains(operand)),
            ValueTest::Range(range) => value.as_f64().is_some_and(|number| range.contains(&number)),
            ValueTest::DatetimeRange(range) => {
                of_text(&|text| Timestamp::parse(text).is_some_and(|instant| range.contains(&instant)))
            }
            ValueTest::Radius(radius) => of_place(&|place| radius.contains(place)),
            ValueTest::Box(bounds) => of_place(&|place| bounds.contains(place)),
            ValueTest::Area(area) => of_place(&|place| area.contains(place)),
        }
    }
}

/// Stored places are taken as they are: what is off the globe is merely far from everything.
fn place(value: &Value) -> Option<GeoPoint> {
    let object = value.as_object()?;
    Some(GeoPoint { lon: object.get("lon")?.as_f64()?, lat: object.get("lat")?.as_f64()? })
}
