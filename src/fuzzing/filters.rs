//! Filters: from JSON to whether a point passes, directly and by field indexes.

use uuid::Uuid;

use super::{payloads, split};
use crate::api;
use crate::model::field_index::{FieldIndexKind, IntegerParams, KeywordParams, TextParams, TokenizerKind};
use crate::model::filter::MinShould;
use crate::model::{Condition, Filter, Payload, PointId, PointOp, PointSelector};
use crate::shard::filter::{CompiledFilter, PointView};
use crate::shard::{self, encode_command};

/// Conditions looked at one by one; each is asked of an index of every kind.
const CONDITIONS_MAX: usize = 6;

/// Input: a filter as REST has it, and a payload or a list of them.
pub fn filters(data: &[u8]) {
    let Some([filter, points]) = split(data) else { return };
    let Some(filter) = api::rest::fuzzing::filter(filter.as_bytes()) else { return };
    let op = PointOp::Delete { select: PointSelector::Filter(filter.clone()) };
    assert_eq!(shard::decode_command(&encode_command(&op)).as_ref(), Ok(&op), "a filter survives the log");
    let Some(points) = payloads(points) else { return };
    for (payload, number) in points.iter().zip(0..) {
        one_point(&filter, payload, number);
    }
    let mut conditions = Vec::new();
    collect(&filter, &mut conditions);
    for condition in conditions.into_iter().take(CONDITIONS_MAX) {
        for kind in kinds() {
            shard::fuzzing::index_agrees(condition, kind, &points);
        }
    }
}

/// Whether the point passes; `number` decides what it is beside its payload.
fn passes(filter: &Filter, payload: &Payload, number: u64) -> bool {
    let id =
        if number.is_multiple_of(2) { PointId::Num(number) } else { PointId::Uuid(Uuid::from_u64_pair(number, 7)) };
    let has_vector = |name: &str| (name.len() as u64).is_multiple_of(2) == number.is_multiple_of(2);
    CompiledFilter::new(filter).matches(&PointView { id, payload, has_vector: &has_vector })
}

/// Any way to say the same gives the same answer.
fn one_point(filter: &Filter, payload: &Payload, number: u64) {
    let passes = |filter: &Filter| passes(filter, payload, number);
    let answer = passes(filter);
    assert_eq!(passes(filter), answer, "asked twice");
    assert_eq!(passes(&filter.clone().merged(Filter::default())), answer, "merged with nothing");
    assert_eq!(passes(&Filter::default().merged(filter.clone())), answer, "nothing merged with it");
    let itself = || Condition::Filter(Box::new(filter.clone()));
    assert_eq!(passes(&Filter { must: vec![itself()], ..Filter::default() }), answer, "as a condition");
    assert_eq!(passes(&Filter { should: vec![itself()], ..Filter::default() }), answer, "as an alternative");
    assert_eq!(passes(&Filter { must_not: vec![itself()], ..Filter::default() }), !answer, "as an exception");
    let twice = MinShould { conditions: vec![itself(), itself()], min_count: 2 };
    assert_eq!(passes(&Filter { min_should: Some(twice), ..Filter::default() }), answer, "twice of two");

    let alone = |condition: &Condition| passes(&Filter { must: vec![condition.clone()], ..Filter::default() });
    let by_clauses = filter.must.iter().all(alone)
        && (filter.should.is_empty() || filter.should.iter().any(alone))
        && !filter.must_not.iter().any(alone)
        && filter.min_should.as_ref().is_none_or(|MinShould { conditions, min_count }| {
            conditions.iter().filter(|condition| alone(condition)).count() >= *min_count
        });
    assert_eq!(by_clauses, answer, "clause by clause");

    let compiled = CompiledFilter::new(filter);
    if !compiled.needs_payload() {
        assert_eq!(self::passes(filter, &Payload::default(), number), answer, "it does not look at the payload");
    }
}

/// Conditions on the point's own fields, wherever they stand.
fn collect<'a>(filter: &'a Filter, found: &mut Vec<&'a Condition>) {
    let min_should = filter.min_should.iter().flat_map(|clause| &clause.conditions);
    for condition in filter.must.iter().chain(&filter.should).chain(&filter.must_not).chain(min_should) {
        match condition {
            Condition::Filter(inner) => collect(inner, found),
            Condition::Field(_) | Condition::IsEmpty(_) | Condition::IsNull(_) => found.push(condition),
            _ => {}
        }
    }
}

fn kinds() -> impl Iterator<Item = FieldIndexKind> {
    let integer = |lookup, range| FieldIndexKind::Integer(IntegerParams { lookup: Some(lookup), range: Some(range) });
    let text = |tokenizer, phrase| {
        FieldIndexKind::Text(TextParams {
            tokenizer: Some(tokenizer),
            phrase_matching: Some(phrase),
            ..TextParams::default()
        })
    };
    [
        FieldIndexKind::Keyword(KeywordParams { prefix: Some(true) }),
        FieldIndexKind::Keyword(KeywordParams { prefix: None }),
        integer(true, true),
        integer(true, false),
        integer(false, true),
        FieldIndexKind::Float,
        FieldIndexKind::Bool,
        FieldIndexKind::Datetime,
        FieldIndexKind::Uuid,
        FieldIndexKind::Geo,
        text(TokenizerKind::Word, true),
        text(TokenizerKind::Prefix, false),
    ]
    .into_iter()
}
