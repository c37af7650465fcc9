//! Whether a point passes a filter (PROTOCOL section 7), decided on its id, its payload and the names of its vectors.
//!
//! A [`CompiledFilter`] is made once per query: the words of its text conditions are split and lowercased, its lists
//! sorted, its polygons built. Evaluation then borrows from the payload and allocates nothing but the lowercase form
//! of words that are not ASCII.
//!
//! The recursion is as deep as the filter, which the wire bounds.
//!
//! Text conditions on a field with a text index follow that index's parameters ([`TextFields`]); on other fields they
//! are about whole words, in any case.
//!
//! What it deliberately does not do: use field indexes. They give the same answers, only sooner.

mod value;
mod words;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde_json::{Map, Value};

pub(super) use self::value::ValueTest;
use crate::index::payload::FieldSpec;
use crate::model::filter::{FieldCondition, FieldQuestion, Match, Predicate, ValuesCount};
use crate::model::payload::{Path, Segment};
use crate::model::{Condition, Filter, Payload, PointId};

/// What a filter sees of a point.
pub struct PointView<'a> {
    /// The point's own id.
    pub id: PointId,
    /// Only looked at if [`CompiledFilter::needs_payload`].
    pub payload: &'a Payload,
    /// Only called if [`CompiledFilter::needs_vectors`].
    pub has_vector: &'a dyn Fn(&str) -> bool,
}

/// The fields of a shard that have a text index.
#[derive(Clone, Default)]
pub struct TextFields(BTreeMap<Path, Arc<FieldSpec>>);

impl TextFields {
    /// Those of `indexes` that are text indexes.
    pub fn new(indexes: impl IntoIterator<Item = Arc<FieldSpec>>) -> TextFields {
        let texts = indexes.into_iter().filter(|spec| spec.tokenizer().is_some());
        TextFields(texts.map(|spec| (spec.path.clone(), spec)).collect())
    }

    /// Whether words are taken from the same fields in the same way.
    pub fn are_as(&self, other: &TextFields) -> bool {
        let mut pairs = self.0.values().zip(other.0.values());
        self.0.len() == other.0.len()
            && pairs.all(|(ours, theirs)| ours.path == theirs.path && ours.kind == theirs.kind)
    }

    fn of(&self, path: &Path) -> Option<&FieldSpec> {
        self.0.get(path).map(AsRef::as_ref)
    }
}

static NO_TEXT_FIELDS: TextFields = TextFields(BTreeMap::new());

/// A filter made ready to be asked about many points.
pub struct CompiledFilter<'a> {
    clauses: Clauses<'a>,
    needs_payload: bool,
    needs_vectors: bool,
}

impl<'a> CompiledFilter<'a> {
    /// Prepares `filter` for points none of whose fields has a text index.
    pub fn new(filter: &'a Filter) -> CompiledFilter<'a> {
        CompiledFilter::with_texts(filter, &NO_TEXT_FIELDS)
    }

    /// Prepares `filter` for the points of a shard with these text indexes.
    pub fn with_texts(filter: &'a Filter, texts: &'a TextFields) -> CompiledFilter<'a> {
        CompiledFilter {
            clauses: Clauses::new(filter, &Scope { texts, inside: None }),
            needs_payload: needs_payload(filter),
            needs_vectors: needs_vectors(filter),
        }
    }

    /// Whether the point passes.
    pub fn matches(&self, point: &PointView<'_>) -> bool {
        self.clauses.hold(&Subject { point: Some(point), object: &point.payload.0 })
    }

    /// Whether some condition looks at the payload; if none does, any payload will do.
    pub fn needs_payload(&self) -> bool {
        self.needs_payload
    }

    /// Whether some condition asks which vectors the point has.
    pub fn needs_vectors(&self) -> bool {
        self.needs_vectors
    }
}

/// Whether one point passes; for many points make a [`CompiledFilter`].
pub fn matches(filter: &Filter, point: &PointView<'_>) -> bool {
    CompiledFilter::new(filter).matches(point)
}

/// Whether some condition looks at the payload.
pub fn needs_payload(filter: &Filter) -> bool {
    any_condition(filter, &|condition| {
        matches!(
            condition,
            Condition::Field(_) | Condition::IsEmpty(_) | Condition::IsNull(_) | Condition::Nested { .. }
        )
    })
}

/// Whether some condition asks which vectors the point has. Inside `nested` the answer is always no.
pub fn needs_vectors(filter: &Filter) -> bool {
    any_condition(filter, &|condition| matches!(condition, Condition::HasVector(_)))
}

/// Whether `is_so` of some condition that is asked about the point itself, not about an element inside it.
fn any_condition(filter: &Filter, is_so: &dyn Fn(&Condition) -> bool) -> bool {
    let min_should = filter.min_should.iter().flat_map(|min_should| &min_should.conditions);
    filter.must.iter().chain(&filter.should).chain(&filter.must_not).chain(min_should).any(|condition| {
        is_so(condition) || matches!(condition, Condition::Filter(inner) if any_condition(inner, is_so))
    })
}

/// Whether some condition, at whatever depth, is about words: those follow the field's text index.
pub fn has_words(filter: &Filter) -> bool {
    let min_should = filter.min_should.iter().flat_map(|min_should| &min_should.conditions);
    filter.must.iter().chain(&filter.should).chain(&filter.must_not).chain(min_should).any(
        |condition| match condition {
            Condition::Field(field) => field.predicates.iter().any(is_about_words),
            Condition::Nested { filter, .. } | Condition::Filter(filter) => has_words(filter),
            _ => false,
        },
    )
}

fn is_about_words(predicate: &Predicate) -> bool {
    matches!(predicate, Predicate::Match(Match::Text(_) | Match::TextAny(_) | Match::Phrase(_)))
}

/// What conditions are asked about: a point, or an object inside a point's payload.
struct Subject<'s> {
    /// `None` inside `nested`, where conditions on id and vectors never hold.
    point: Option<&'s PointView<'s>>,
    object: &'s Map<String, Value>,
}

/// Where conditions stand.
struct Scope<'a> {
    texts: &'a TextFields,
    /// The path of the elements that conditions inside `nested` are about.
    inside: Option<Path>,
}

impl<'a> Scope<'a> {
    /// `key` as a path from the payload's root.
    fn whole(&self, key: &Path) -> Path {
        let Some(inside) = &self.inside else { return key.clone() };
        let mut whole = inside.clone();
        whole.rest.push(Segment::Key(key.first.clone()));
        whole.rest.extend(key.rest.iter().cloned());
        whole
    }

    fn text_index(&self, key: &Path) -> Option<&'a FieldSpec> {
        if self.texts.0.is_empty() { None } else { self.texts.of(&self.whole(key)) }
    }
}

/// `key[]` and `key` are equal where elements of an array are taken: the path without it.
pub(super) fn without_last_each(key: &Path) -> Path {
    let mut key = key.clone();
    if key.rest.last() == Some(&Segment::Each) {
        key.rest.pop();
    }
    key
}

struct Clauses<'a> {
    must: Vec<Check<'a>>,
    should: Vec<Check<'a>>,
    must_not: Vec<Check<'a>>,
    min_should: Option<(Vec<Check<'a>>, usize)>,
}

impl<'a> Clauses<'a> {
    fn new(filter: &'a Filter, scope: &Scope<'a>) -> Clauses<'a> {
        let checks = |conditions: &'a [Condition]| -> Vec<Check<'a>> {
            conditions.iter().map(|condition| Check::new(condition, scope)).collect()
        };
        Clauses {
            must: checks(&filter.must),
            should: checks(&filter.should),
            must_not: checks(&filter.must_not),
            min_should: filter.min_should.as_ref().map(|clause| (checks(&clause.conditions), clause.min_count)),
        }
    }

    fn hold(&self, subject: &Subject<'_>) -> bool {
        let holds = |check: &Check<'_>| check.holds(subject);
        self.must.iter().all(holds)
            && !self.must_not.iter().any(holds)
            && (self.should.is_empty() || self.should.iter().any(holds))
            && self.min_should.as_ref().is_none_or(|(checks, min_count)| {
                checks.iter().filter(|check| holds(check)).take(*min_count).count() == *min_count
            })
    }
}

/// A condition, ready to be asked.
enum Check<'a> {
    Field { key: &'a Path, test: FieldTest<'a> },
    HasId(&'a BTreeSet<PointId>),
    HasVector(&'a str),
    Nested { key: Path, clauses: Clauses<'a> },
    Slice { total: u64, index: u64 },
    Clauses(Clauses<'a>),
}

impl<'a> Check<'a> {
    fn new(condition: &'a Condition, scope: &Scope<'a>) -> Check<'a> {
        match condition {
            Condition::Field(field) => {
                Check::Field { key: &field.key, test: FieldTest::new(field, scope.text_index(&field.key)) }
            }
            Condition::IsEmpty(key) => Check::Field { key, test: FieldTest::Empty(true) },
            Condition::IsNull(key) => Check::Field { key, test: FieldTest::Null(true) },
            Condition::HasId(ids) => Check::HasId(ids),
            Condition::HasVector(name) => Check::HasVector(name),
            Condition::Nested { key, filter } => {
                let key = without_last_each(key);
                let mut inside = scope.whole(&key);
                inside.rest.push(Segment::Each);
                let scope = Scope { texts: scope.texts, inside: Some(inside) };
                Check::Nested { key, clauses: Clauses::new(filter, &scope) }
            }
            Condition::Slice { total, index } => Check::Slice { total: *total, index: *index },
            Condition::Filter(filter) => Check::Clauses(Clauses::new(filter, scope)),
        }
    }

    fn holds(&self, subject: &Subject<'_>) -> bool {
        let of_point = |is_so: &dyn Fn(&PointView<'_>) -> bool| subject.point.is_some_and(is_so);
        match self {
            Check::Field { key, test } => test.holds(key, subject.object),
            Check::HasId(ids) => of_point(&|point| ids.contains(&point.id)),
            Check::HasVector(name) => of_point(&|point| (point.has_vector)(name)),
            Check::Nested { key, clauses } => key.any(subject.object, &mut |value| {
                let elements = value.as_array().into_iter().flatten().filter_map(Value::as_object);
                elements.into_iter().any(|object| clauses.hold(&Subject { point: None, object }))
            }),
            Check::Slice { total, index } => {
                of_point(&|point| point.id.stable_hash().checked_rem(*total) == Some(*index))
            }
            Check::Clauses(clauses) => clauses.hold(subject),
        }
    }
}

/// What is asked about the values a path selects.
enum FieldTest<'a> {
    /// Of some selected value, arrays counting their elements; 0 when nothing is selected.
    Count(&'a ValuesCount),
    Empty(bool),
    Null(bool),
    /// One of these tests of some selected value or, if that is an array, of some element.
    Some(Vec<ValueTest<'a>>),
}

impl<'a> FieldTest<'a> {
    /// `text_index`: of the field asked about, if it has one.
    fn new(field: &'a FieldCondition, text_index: Option<&'a FieldSpec>) -> FieldTest<'a> {
        match field.question() {
            FieldQuestion::Count(bounds) => FieldTest::Count(bounds),
            FieldQuestion::Empty(want) => FieldTest::Empty(want),
            FieldQuestion::Null(want) => FieldTest::Null(want),
            FieldQuestion::Any(predicates) => {
                let tests = predicates.into_iter().filter_map(|predicate| ValueTest::new(predicate, text_index));
                FieldTest::Some(tests.collect())
            }
        }
    }

    fn holds(&self, key: &Path, object: &Map<String, Value>) -> bool {
        match self {
            FieldTest::Count(bounds) => {
                let mut nothing_selected = true;
                let some = key.any(object, &mut |value| {
                    nothing_selected = false;
                    bounds.contains(count(value))
                });
                some || nothing_selected && bounds.contains(0)
            }
            FieldTest::Empty(want) => key.any(object, &mut |value| !is_empty(value)) != *want,
            FieldTest::Null(want) => key.any(object, &mut is_null) == *want,
            FieldTest::Some(tests) => {
                let passes = |value: &Value| tests.iter().any(|test| test.passes(value));
                key.any(object, &mut |value| match value {
                    Value::Array(elements) => elements.iter().any(passes),
                    value => passes(value),
                })
            }
        }
    }
}

fn count(value: &Value) -> u64 {
    match value {
        Value::Null => 0,
        Value::Array(elements) => elements.len() as u64,
        _ => 1,
    }
}

fn is_empty(value: &Value) -> bool {
    count(value) == 0
}

fn is_null(value: &Value) -> bool {
    value.is_null() || value.as_array().is_some_and(|elements| elements.iter().any(Value::is_null))
}

#[cfg(test)]
mod tests;
