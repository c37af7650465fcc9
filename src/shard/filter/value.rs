//! Tests of one value of a payload.

use serde_json::Value;

use super::words;
use crate::index::payload::FieldSpec;
use crate::model::datetime::Timestamp;
use crate::model::filter::{Match, Predicate, Range};
use crate::model::geo::{GeoArea, GeoBox, GeoPoint, GeoRadius};

/// A predicate on one value, ready to be asked. Values of another type than the test's fail it.
pub(in crate::shard) enum ValueTest<'a> {
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
    /// Tokens as the field's text index makes them, here and below.
    AllTokens(&'a FieldSpec, Vec<String>),
    SomeToken(&'a FieldSpec, Vec<String>),
    TokenPhrase(&'a FieldSpec, Vec<String>),
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
    /// The test of an element; `None` for predicates on whole values. `text_index`: of the field, if it has one.
    pub(in crate::shard) fn new(predicate: &'a Predicate, text_index: Option<&'a FieldSpec>) -> Option<ValueTest<'a>> {
        Some(match predicate {
            Predicate::Match(operand) => ValueTest::matching(operand, text_index),
            Predicate::Range(range) => ValueTest::Range(range),
            Predicate::DatetimeRange(range) => ValueTest::DatetimeRange(range),
            Predicate::GeoRadius(radius) => ValueTest::Radius(radius),
            Predicate::GeoBox(bounds) => ValueTest::Box(bounds),
            Predicate::GeoPolygon(polygon) => ValueTest::Area(polygon.area()),
            Predicate::ValuesCount(_) | Predicate::IsEmpty(_) | Predicate::IsNull(_) => return None,
        })
    }

    fn matching(operand: &'a Match, text_index: Option<&'a FieldSpec>) -> ValueTest<'a> {
        let indexed = text_index.and_then(|spec| Some((spec, spec.tokenizer()?)));
        match operand {
            Match::Bool(operand) => ValueTest::Bool(*operand),
            Match::Integer(operand) => ValueTest::Integer(*operand),
            Match::Keyword(operand) => ValueTest::Keyword(operand),
            Match::AnyInteger(list) => ValueTest::integer_in(list),
            Match::AnyKeyword(list) => ValueTest::keyword_in(list),
            Match::ExceptInteger(list) => ValueTest::NotNullAndNot(Box::new(ValueTest::integer_in(list))),
            Match::ExceptKeyword(list) => ValueTest::NotNullAndNot(Box::new(ValueTest::keyword_in(list))),
            Match::Text(query) => match indexed {
                Some((spec, tokenizer)) => ValueTest::AllTokens(spec, tokenizer.query(query)),
                None => ValueTest::AllWords(words::of_query(query)),
            },
            Match::TextAny(query) => match indexed {
                Some((spec, tokenizer)) => ValueTest::SomeToken(spec, tokenizer.query(query)),
                None => ValueTest::SomeWord(words::of_query(query)),
            },
            Match::Phrase(query) => match indexed.filter(|(spec, _)| spec.has_phrases()) {
                // As a document: a phrase is a piece of one, also where queries are tokenised in another way.
                Some((spec, tokenizer)) => ValueTest::TokenPhrase(spec, tokenizer.document(query)),
                None => ValueTest::Phrase(words::of_query(query)),
            },
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

    pub(in crate::shard) fn passes(&self, value: &Value) -> bool {
        let of_integer = |is_so: &dyn Fn(&i64) -> bool| value.as_i64().is_some_and(|number| is_so(&number));
        let of_place = |is_so: &dyn Fn(&GeoPoint) -> bool| place(value).is_some_and(|place| is_so(&place));
        match self {
            ValueTest::Bool(operand) => value.as_bool() == Some(*operand),
            ValueTest::Integer(operand) => of_integer(&|number| number == operand),
            ValueTest::IntegerIn(sorted) => of_integer(&|number| sorted.binary_search(number).is_ok()),
            ValueTest::NotNullAndNot(test) => !value.is_null() && !test.passes(value),
            ValueTest::Range(range) => value.as_f64().is_some_and(|number| range.contains(&number)),
            ValueTest::Radius(radius) => of_place(&|place| radius.contains(place)),
            ValueTest::Box(bounds) => of_place(&|place| bounds.contains(place)),
            ValueTest::Area(area) => of_place(&|place| area.contains(place)),
            _ => value.as_str().is_some_and(|text| self.passes_text(text)),
        }
    }

    /// Whether a string passes.
    pub(in crate::shard) fn passes_text(&self, text: &str) -> bool {
        let document =
            |spec: &FieldSpec| spec.tokenizer().map(|tokenizer| tokenizer.document(text)).unwrap_or_default();
        match self {
            ValueTest::Keyword(operand) => text == *operand,
            ValueTest::KeywordIn(sorted) => sorted.binary_search(&text).is_ok(),
            ValueTest::NotNullAndNot(test) => !test.passes_text(text),
            ValueTest::AllWords(query) => words::has_all(text, query),
            ValueTest::SomeWord(query) => words::has_any(text, query),
            ValueTest::Phrase(query) => words::has_phrase(text, query),
            ValueTest::AllTokens(spec, query) => {
                let tokens = document(spec);
                !query.is_empty() && query.iter().all(|token| tokens.contains(token))
            }
            ValueTest::SomeToken(spec, query) => document(spec).iter().any(|token| query.contains(token)),
            ValueTest::TokenPhrase(spec, query) => {
                !query.is_empty() && document(spec).windows(query.len()).any(|window| window == query)
            }
            ValueTest::Prefix(operand) => text.starts_with(operand),
            ValueTest::Substring(operand) => text.contains(operand),
            ValueTest::DatetimeRange(range) => Timestamp::parse(text).is_some_and(|instant| range.contains(&instant)),
            ValueTest::Bool(_)
            | ValueTest::Integer(_)
            | ValueTest::IntegerIn(_)
            | ValueTest::Range(_)
            | ValueTest::Radius(_)
            | ValueTest::Box(_)
            | ValueTest::Area(_) => false,
        }
    }
}

/// Stored places are taken as they are: what is off the globe is merely far from everything.
fn place(value: &Value) -> Option<GeoPoint> {
    let object = value.as_object()?;
    Some(GeoPoint { lon: object.get("lon")?.as_f64()?, lat: object.get("lat")?.as_f64()? })
}
