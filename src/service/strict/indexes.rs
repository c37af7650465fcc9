//! Which field index a condition or an expression needs, and whether the collection has it. Pure.

use std::collections::BTreeMap;

use crate::model::field_index::{FieldIndexKind, FieldIndexSchema};
use crate::model::filter::{FieldCondition, Filter, Match, Predicate};
use crate::model::formula::{Expression, Formula, Variable};
use crate::model::payload::Segment;
use crate::model::{Condition, Path, PointId};

/// The field indexes of a collection.
pub(super) type FieldIndexes = BTreeMap<Path, FieldIndexSchema>;

/// What a field index can do for a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Capability {
    IntegerLookup,
    IntegerRange,
    Keyword,
    KeywordPrefix,
    Float,
    Text,
    TextPhrase,
    Bool,
    Uuid,
    Datetime,
    Geo,
}

/// All of them: any index tells whether a field is empty.
const ANY: [Capability; 11] = [
    Capability::IntegerLookup,
    Capability::IntegerRange,
    Capability::Keyword,
    Capability::KeywordPrefix,
    Capability::Float,
    Capability::Text,
    Capability::TextPhrase,
    Capability::Bool,
    Capability::Uuid,
    Capability::Datetime,
    Capability::Geo,
];

impl Capability {
    /// The kind of index that has it.
    fn kind(self) -> &'static str {
        match self {
            Capability::IntegerLookup | Capability::IntegerRange => "integer",
            Capability::Keyword | Capability::KeywordPrefix => "keyword",
            Capability::Float => "float",
            Capability::Text | Capability::TextPhrase => "text",
            Capability::Bool => "bool",
            Capability::Uuid => "uuid",
            Capability::Datetime => "datetime",
            Capability::Geo => "geo",
        }
    }

    fn is_of(self, kind: &FieldIndexKind) -> bool {
        match kind {
            FieldIndexKind::Keyword(params) => match self {
                Capability::KeywordPrefix => params.prefix == Some(true),
                other => other == Capability::Keyword,
            },
            FieldIndexKind::Integer(params) => match self {
                Capability::IntegerLookup => params.lookup != Some(false),
                Capability::IntegerRange => params.range != Some(false),
                _ => false,
            },
            FieldIndexKind::Text(params) => match self {
                Capability::TextPhrase => params.phrase_matching == Some(true),
                other => other == Capability::Text,
            },
            FieldIndexKind::Float => self == Capability::Float,
            FieldIndexKind::Bool => self == Capability::Bool,
            FieldIndexKind::Uuid => self == Capability::Uuid,
            FieldIndexKind::Datetime => self == Capability::Datetime,
            FieldIndexKind::Geo => self == Capability::Geo,
        }
    }
}

/// A key, and the sorted kinds of index of which it has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Missing {
    pub(super) key: Path,
    pub(super) kinds: Vec<&'static str>,
}

/// The first key of `filter` that lacks an index.
pub(super) fn missing_in_filter(indexes: &FieldIndexes, filter: &Filter) -> Option<Missing> {
    missing_below(indexes, None, filter)
}

/// The first key of `formula` that lacks an index.
pub(super) fn missing_in_formula(indexes: &FieldIndexes, formula: &Formula) -> Option<Missing> {
    missing_in_expression(indexes, &formula.expression)
}

/// Every condition of `filter` itself, of whatever clause.
pub(super) fn conditions(filter: &Filter) -> impl Iterator<Item = &Condition> {
    let min_should = filter.min_should.iter().flat_map(|clause| &clause.conditions);
    filter.must.iter().chain(&filter.must_not).chain(&filter.should).chain(min_should)
}

/// The keys of the field conditions of `filter` and of the filters in it, nested ones aside.
pub(super) fn keys(filter: &Filter) -> Vec<&Path> {
    let of_each = conditions(filter).flat_map(|condition| match condition {
        Condition::Field(field) => vec![&field.key],
        Condition::IsEmpty(key) | Condition::IsNull(key) => vec![key],
        Condition::Filter(inner) => keys(inner),
        _ => Vec::new(),
    });
    of_each.collect()
}

fn missing_below(indexes: &FieldIndexes, prefix: Option<&Path>, filter: &Filter) -> Option<Missing> {
    conditions(filter).find_map(|condition| missing_in_condition(indexes, prefix, condition))
}

fn missing_in_condition(indexes: &FieldIndexes, prefix: Option<&Path>, condition: &Condition) -> Option<Missing> {
    match condition {
        Condition::Field(field) => missing(indexes, joined(prefix, &field.key), &needed(field)),
        Condition::IsEmpty(key) | Condition::IsNull(key) => missing(indexes, joined(prefix, key), &ANY),
        Condition::Filter(filter) => missing_below(indexes, prefix, filter),
        Condition::Nested { key, filter } => {
            let mut each = key.clone();
            if each.rest.last() != Some(&Segment::Each) {
                each.rest.push(Segment::Each);
            }
            missing_below(indexes, Some(&joined(prefix, &each)), filter)
        }
        Condition::HasId(_) | Condition::HasVector(_) | Condition::Slice { .. } => None,
    }
}

fn joined(prefix: Option<&Path>, key: &Path) -> Path {
    let Some(prefix) = prefix else { return key.clone() };
    let mut path = prefix.clone();
    path.rest.push(Segment::Key(key.first.clone()));
    path.rest.extend(key.rest.iter().cloned());
    path
}

/// Nothing is missing when nothing is needed: `any: []` matches nothing whatever is indexed.
fn missing(indexes: &FieldIndexes, key: Path, needed: &[Capability]) -> Option<Missing> {
    let is_served = |schema: &FieldIndexSchema| needed.iter().any(|capability| capability.is_of(&schema.kind));
    if needed.is_empty() || indexes.get(&key).is_some_and(is_served) {
        return None;
    }
    let mut kinds: Vec<&'static str> = needed.iter().map(|capability| capability.kind()).collect();
    kinds.sort_unstable();
    kinds.dedup();
    Some(Missing { key, kinds })
}

fn needed(field: &FieldCondition) -> Vec<Capability> {
    field.predicates.iter().flat_map(needed_by_predicate).collect()
}

fn needed_by_predicate(predicate: &Predicate) -> Vec<Capability> {
    match predicate {
        Predicate::Match(value) => needed_by_match(value),
        Predicate::Range(_) => vec![Capability::Float, Capability::IntegerRange],
        Predicate::DatetimeRange(_) => vec![Capability::Datetime],
        Predicate::GeoRadius(_) | Predicate::GeoBox(_) | Predicate::GeoPolygon(_) => vec![Capability::Geo],
        Predicate::ValuesCount(_) | Predicate::IsEmpty(_) | Predicate::IsNull(_) => ANY.to_vec(),
    }
}

fn needed_by_match(value: &Match) -> Vec<Capability> {
    match value {
        Match::Bool(_) => vec![Capability::Bool],
        Match::Integer(_) => vec![Capability::IntegerLookup],
        Match::Keyword(text) => needed_by_texts(std::slice::from_ref(text)),
        Match::AnyKeyword(texts) | Match::ExceptKeyword(texts) => needed_by_texts(texts),
        Match::AnyInteger(values) | Match::ExceptInteger(values) if values.is_empty() => Vec::new(),
        Match::AnyInteger(_) | Match::ExceptInteger(_) => vec![Capability::IntegerLookup],
        Match::Text(_) | Match::TextAny(_) => vec![Capability::Text],
        Match::Phrase(_) => vec![Capability::TextPhrase],
        Match::Prefix(_) => vec![Capability::KeywordPrefix],
        Match::Substring(_) => vec![Capability::Keyword],
    }
}

/// UUIDs may be found by either index.
fn needed_by_texts(texts: &[String]) -> Vec<Capability> {
    match texts {
        [] => Vec::new(),
        _ if texts.iter().all(|text| PointId::from_uuid_text(text).is_ok()) => {
            vec![Capability::Uuid, Capability::Keyword]
        }
        _ => vec![Capability::Keyword],
    }
}

fn missing_in_expression(indexes: &FieldIndexes, expression: &Expression) -> Option<Missing> {
    let below = |inner: &Expression| missing_in_expression(indexes, inner);
    match expression {
        Expression::Variable(Variable::Payload(key)) => {
            let numbers = [Capability::IntegerLookup, Capability::IntegerRange, Capability::Float];
            missing(indexes, key.clone(), &numbers)
        }
        Expression::Condition(condition) => missing_in_condition(indexes, None, condition),
        Expression::GeoDistance { to, .. } => missing(indexes, to.clone(), &[Capability::Geo]),
        Expression::DatetimeKey(key) => missing(indexes, key.clone(), &[Capability::Datetime]),
        Expression::Mult(inner) | Expression::Sum(inner) | Expression::Max(inner) | Expression::Min(inner) => {
            inner.iter().find_map(below)
        }
        Expression::Div { left: first, right: second, .. } | Expression::Pow { base: first, exponent: second } => {
            below(first).or_else(|| below(second))
        }
        Expression::Neg(inner)
        | Expression::Abs(inner)
        | Expression::Sqrt(inner)
        | Expression::Exp(inner)
        | Expression::Log10(inner)
        | Expression::Ln(inner)
        | Expression::Acosh(inner) => below(inner),
        Expression::Decay { x, target, .. } => below(x).or_else(|| target.as_deref().and_then(below)),
        Expression::Constant(_) | Expression::Variable(Variable::Score(_)) | Expression::Datetime(_) => None,
    }
}
