//! Filters: a tree of conditions on id, payload and vectors (PROTOCOL section 7).
//!
//! These types are already checked: paths parse, ranges hold finite or absent bounds, polygons are closed, a field
//! condition has a predicate. Evaluation lives in `shard::filter`.

use std::cell::Cell;
use std::collections::BTreeSet;

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};

use super::datetime::Timestamp;
use super::geo::{GeoBox, GeoPolygon, GeoRadius};
use super::ids::PointId;
use super::payload::Path;
use super::vector::VectorName;

/// All clauses AND together; an empty clause is no constraint.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Filter {
    /// All must hold.
    pub must: Vec<Condition>,
    /// At least one must hold, if there are any.
    pub should: Vec<Condition>,
    /// None may hold.
    pub must_not: Vec<Condition>,
    /// At least `min_count` of `conditions` must hold.
    pub min_should: Option<MinShould>,
}

/// See [`Filter::min_should`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MinShould {
    /// What is counted.
    pub conditions: Vec<Condition>,
    /// At least 1.
    pub min_count: usize,
}

/// One condition of a filter.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Condition {
    /// A predicate on the values selected by a path.
    Field(FieldCondition),
    /// All selected values are null or `[]`, or nothing is selected.
    IsEmpty(Path),
    /// Some selected value is null or an array containing null; a missing field is not null.
    IsNull(Path),
    /// The id is one of these.
    HasId(BTreeSet<PointId>),
    /// The point has this vector.
    HasVector(VectorName),
    /// Some object element of the array at `key` passes `filter` alone, paths relative to the element.
    Nested {
        /// Leads to an array of objects; a final `[]` makes no difference.
        key: Path,
        /// What an element must pass.
        #[serde(deserialize_with = "inner_filter")]
        filter: Box<Filter>,
    },
    /// `stable_hash(id) % total == index`.
    Slice {
        /// Slices there are, at least 1.
        total: u64,
        /// The one meant, below `total`.
        index: u64,
    },
    /// A filter inside a filter.
    Filter(#[serde(deserialize_with = "inner_filter")] Box<Filter>),
}

/// Filters inside each other that are read from bytes. The wire lets in fewer; bytes may come from a file that somebody
/// made, and reading recurses once per level.
const DEPTH_READ_MAX: u32 = 64;

/// A filter inside another one, if it is not too deep inside.
fn inner_filter<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Box<Filter>, D::Error> {
    thread_local! {
        static DEPTH: Cell<u32> = const { Cell::new(0) };
    }
    let depth = DEPTH.get();
    if depth == DEPTH_READ_MAX {
        return Err(D::Error::custom(format_args!("filters are nested more than {DEPTH_READ_MAX} levels deep")));
    }
    DEPTH.set(depth + 1);
    let filter = Filter::deserialize(deserializer);
    DEPTH.set(depth);
    filter.map(Box::new)
}

/// `key` and the predicates given for it, at least one.
///
/// With several: `values_count` beats `is_empty` beats `is_null`; the others are OR-ed on the same value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldCondition {
    /// Leads to the values.
    pub key: Path,
    /// As given, in any order.
    pub predicates: Vec<Predicate>,
}

/// What a [`FieldCondition`] comes down to.
#[derive(Clone, Debug, PartialEq)]
pub enum FieldQuestion<'a> {
    /// Has some selected value a length within these bounds? Nothing selected has length 0.
    Count(&'a ValuesCount),
    /// Is it so, or not so, that everything selected is null or `[]`, or nothing is?
    Empty(bool),
    /// Is it so, or not so, that some selected value is null or has a null?
    Null(bool),
    /// Does some element pass one of these?
    Any(Vec<&'a Predicate>),
}

impl FieldCondition {
    /// The strongest kind of predicate given decides alone.
    pub fn question(&self) -> FieldQuestion<'_> {
        let (mut count, mut empty, mut null, mut others) = (None, None, None, Vec::new());
        for predicate in &self.predicates {
            match predicate {
                Predicate::ValuesCount(bounds) => count = Some(bounds),
                Predicate::IsEmpty(want) => empty = Some(*want),
                Predicate::IsNull(want) => null = Some(*want),
                other => others.push(other),
            }
        }
        match (count, empty, null) {
            (Some(bounds), _, _) => FieldQuestion::Count(bounds),
            (_, Some(want), _) => FieldQuestion::Empty(want),
            (_, _, Some(want)) => FieldQuestion::Null(want),
            _ => FieldQuestion::Any(others),
        }
    }
}

/// A predicate on one value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Predicate {
    /// Equality, membership or words.
    Match(Match),
    /// Of integers and floats.
    Range(Range<f64>),
    /// Of strings that read as a datetime.
    DatetimeRange(Range<Timestamp>),
    /// Of objects with numbers `lon` and `lat`.
    GeoRadius(GeoRadius),
    /// As [`Predicate::GeoRadius`].
    GeoBox(GeoBox),
    /// As [`Predicate::GeoRadius`].
    GeoPolygon(GeoPolygon),
    /// Of the value as a whole, arrays not unwrapped.
    ValuesCount(ValuesCount),
    /// The field form: compare emptiness with this.
    IsEmpty(bool),
    /// The field form: compare nullness with this.
    IsNull(bool),
}

/// `match` conditions.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Match {
    /// This bool.
    Bool(bool),
    /// This integer; floats never match.
    Integer(i64),
    /// This string, byte by byte.
    Keyword(String),
    /// One of these integers.
    AnyInteger(Vec<i64>),
    /// One of these strings.
    AnyKeyword(Vec<String>),
    /// True for a non-null value not in the list; values of another type satisfy it.
    ExceptInteger(Vec<i64>),
    /// As [`Match::ExceptInteger`].
    ExceptKeyword(Vec<String>),
    /// All word tokens of the query occur (no text index: both sides word-tokenised and lowercased).
    Text(String),
    /// At least one word token occurs.
    TextAny(String),
    /// The word tokens occur consecutively, in order.
    Phrase(String),
    /// Byte-wise, case-sensitive starts-with.
    Prefix(String),
    /// Byte-wise, case-sensitive contains.
    Substring(String),
}

/// Bounds that must all hold for one value. Absent bounds are no constraint.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Range<T> {
    /// Below this.
    pub lt: Option<T>,
    /// At most this.
    pub lte: Option<T>,
    /// Above this.
    pub gt: Option<T>,
    /// At least this.
    pub gte: Option<T>,
}

impl<T: PartialOrd> Range<T> {
    /// Whether all bounds hold for `value`.
    pub fn contains(&self, value: &T) -> bool {
        self.lt.as_ref().is_none_or(|bound| value < bound)
            && self.lte.as_ref().is_none_or(|bound| value <= bound)
            && self.gt.as_ref().is_none_or(|bound| value > bound)
            && self.gte.as_ref().is_none_or(|bound| value >= bound)
    }
}

/// Bounds on the number of values: an array counts its elements, null 0, anything else 1, a missing field 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ValuesCount {
    /// Below this.
    pub lt: Option<u64>,
    /// At most this.
    pub lte: Option<u64>,
    /// Above this.
    pub gt: Option<u64>,
    /// At least this.
    pub gte: Option<u64>,
}

impl ValuesCount {
    /// Whether all bounds hold for `count`.
    pub fn contains(&self, count: u64) -> bool {
        let ValuesCount { lt, lte, gt, gte } = *self;
        Range { lt, lte, gt, gte }.contains(&count)
    }
}

impl Filter {
    /// No clause constrains anything: matches every point.
    pub fn is_empty(&self) -> bool {
        self.must.is_empty() && self.should.is_empty() && self.must_not.is_empty() && self.min_should.is_none()
    }

    /// What must hold for both (PROTOCOL section 7.15): clauses are joined, so alternatives widen; of two `min_should`
    /// the larger count stands.
    pub fn merged(mut self, other: Filter) -> Filter {
        self.must.extend(other.must);
        self.should.extend(other.should);
        self.must_not.extend(other.must_not);
        self.min_should = match (self.min_should, other.min_should) {
            (Some(mut mine), Some(others)) => {
                mine.conditions.extend(others.conditions);
                mine.min_count = mine.min_count.max(others.min_count);
                Some(mine)
            }
            (mine, others) => mine.or(others),
        };
        self
    }

    /// `self` with the points of `ids` left out.
    pub fn excluding(mut self, ids: impl IntoIterator<Item = PointId>) -> Filter {
        self.must_not.push(Condition::HasId(ids.into_iter().collect()));
        self
    }
}
