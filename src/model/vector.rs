//! Vectors and how they are compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A vector's name inside a collection; `""` is the unnamed one.
pub type VectorName = String;

/// The vectors a point has, by name. Names that are absent are vectors the point lacks.
pub type NamedVectors = BTreeMap<VectorName, Vector>;

/// Which of the vectors that had a name one after the other is meant: how many of them were dropped before it.
pub type Incarnation = u64;

/// Between name and incarnation. Forbidden in names.
const INCARNATION_MARK: char = '\0';

/// What a vector goes by in a shard's log and in `kvdb`. A vector that is added after another one of its name was dropped
/// has another stored name, so no entry and no stored bytes of the one can be taken for the other's.
pub fn stored_name(name: &str, incarnation: Incarnation) -> VectorName {
    match incarnation {
        0 => name.to_owned(),
        _ => format!("{name}{INCARNATION_MARK}{incarnation}"),
    }
}

/// The name and the incarnation in a [`stored_name`].
pub fn split_stored_name(stored: &str) -> (&str, Incarnation) {
    let split = stored.split_once(INCARNATION_MARK).and_then(|(name, text)| Some((name, text.parse().ok()?)));
    split.unwrap_or((stored, 0))
}

/// How two dense vectors are compared (the protocol's four).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Metric {
    /// Dot product of L2-normalised vectors; normalised once, before the write is proposed.
    Cosine,
    /// Dot product.
    Dot,
    /// Euclidean distance.
    Euclid,
    /// Sum of absolute differences.
    Manhattan,
}

impl Metric {
    /// Whether the shown score grows with closeness (PROTOCOL section 3.1).
    pub fn is_larger_better(self) -> bool {
        matches!(self, Metric::Cosine | Metric::Dot)
    }
}

/// One vector's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Vector {
    /// `dim` finite numbers.
    Dense(Vec<f32>),
    /// Weights at some of 2^32 indices.
    Sparse(SparseVector),
    /// Rows of `dim` finite numbers, compared by max_sim.
    Multi(MultiVector),
}

impl Vector {
    /// The numbers of a dense vector.
    pub fn as_dense(&self) -> Option<&[f32]> {
        match self {
            Vector::Dense(values) => Some(values),
            Vector::Sparse(_) | Vector::Multi(_) => None,
        }
    }
}

/// A sparse vector: indices strictly ascending, one value each. May be empty.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "(Vec<u32>, Vec<f32>)")]
pub struct SparseVector {
    indices: Vec<u32>,
    values: Vec<f32>,
}

/// Bytes that claim to be a vector are none: they may come from a file that somebody made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum VectorError {
    #[error("a sparse vector's indices must be strictly ascending, with one value each")]
    Sparse,
    #[error("a multivector needs whole rows of at least one number")]
    Multi,
}

impl TryFrom<(Vec<u32>, Vec<f32>)> for SparseVector {
    type Error = VectorError;

    fn try_from((indices, values): (Vec<u32>, Vec<f32>)) -> Result<SparseVector, VectorError> {
        let is_sound = indices.len() == values.len() && indices.is_sorted_by(|a, b| a < b);
        if is_sound { Ok(SparseVector { indices, values }) } else { Err(VectorError::Sparse) }
    }
}

impl SparseVector {
    /// Sorts by index. `None`: an index occurs twice.
    pub fn new(mut entries: Vec<(u32, f32)>) -> Option<SparseVector> {
        entries.sort_unstable_by_key(|(index, _)| *index);
        let is_unique = entries.iter().zip(entries.iter().skip(1)).all(|(a, b)| a.0 < b.0);
        let (indices, values) = entries.into_iter().unzip();
        is_unique.then_some(SparseVector { indices, values })
    }

    /// Whether it is one that [`SparseVector::new`] makes; others can only come from bytes of unknown origin.
    pub fn is_sound(&self) -> bool {
        let is_ascending = self.indices.iter().zip(self.indices.iter().skip(1)).all(|(a, b)| a < b);
        is_ascending && self.indices.len() == self.values.len()
    }

    /// Strictly ascending.
    pub fn indices(&self) -> &[u32] {
        &self.indices
    }

    /// In the order of the indices.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// Index and value, ascending.
    pub fn iter(&self) -> impl Iterator<Item = (u32, f32)> + '_ {
        self.indices.iter().copied().zip(self.values.iter().copied())
    }

    /// How many entries there are.
    pub fn len(&self) -> usize {
        self.indices.len()
    }

    /// Has no entry.
    pub fn is_empty(&self) -> bool {
        self.indices.is_empty()
    }
}

/// Rows of one length, row after row. At least one row.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "(usize, Vec<f32>)")]
pub struct MultiVector {
    dim: usize,
    values: Vec<f32>,
}

impl TryFrom<(usize, Vec<f32>)> for MultiVector {
    type Error = VectorError;

    fn try_from((dim, values): (usize, Vec<f32>)) -> Result<MultiVector, VectorError> {
        MultiVector::new(dim, values).ok_or(VectorError::Multi)
    }
}

impl MultiVector {
    /// `None`: `values` is not one or more whole rows of `dim` (at least 1) numbers.
    pub fn new(dim: usize, values: Vec<f32>) -> Option<MultiVector> {
        let is_whole = dim > 0 && !values.is_empty() && values.len().is_multiple_of(dim);
        is_whole.then_some(MultiVector { dim, values })
    }

    /// Whether it is one that [`MultiVector::new`] makes; others can only come from bytes of unknown origin.
    pub fn is_sound(&self) -> bool {
        self.dim > 0 && !self.values.is_empty() && self.values.len().is_multiple_of(self.dim)
    }

    /// Numbers per row.
    pub fn dim(&self) -> usize {
        self.dim
    }

    /// The rows, in order.
    pub fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> + '_ {
        self.values.chunks_exact(self.dim)
    }

    /// The rows, to be changed in place.
    pub fn rows_mut(&mut self) -> impl ExactSizeIterator<Item = &mut [f32]> + '_ {
        self.values.chunks_exact_mut(self.dim)
    }

    /// All numbers, row after row.
    pub fn values(&self) -> &[f32] {
        &self.values
    }
}

/// Below this squared norm, or this close to 1, a vector is stored as it came (PROTOCOL: cosine at upload).
const NORM_SQUARED_MIN: f32 = 1.192_092_9e-7;
const NORM_SQUARED_UNIT_TOLERANCE: f32 = 1e-6;

/// Every row of a dense or multi vector [`normalize`]d.
pub fn normalize_rows(vector: &mut Vector) {
    match vector {
        Vector::Dense(row) => normalize(row),
        Vector::Multi(multi) => multi.rows_mut().for_each(normalize),
        Vector::Sparse(_) => {}
    }
}

/// L2-normalises in f32, leaving zero-like and already-unit vectors untouched.
pub fn normalize(values: &mut [f32]) {
    let norm_squared: f32 = values.iter().map(|x| x * x).sum();
    if norm_squared < NORM_SQUARED_MIN || (norm_squared - 1.0).abs() <= NORM_SQUARED_UNIT_TOLERANCE {
        return;
    }
    let norm = norm_squared.sqrt();
    for x in values {
        *x /= norm;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_name_says_which_vector_of_the_name_is_meant() {
        for (name, incarnation, stored) in [
            ("v", 0, "v"),
            ("", 0, ""),
            ("v", 1, "v\u{0}1"),
            ("", 12, "\u{0}12"),
            ("ü 1", u64::MAX, "ü 1\u{0}18446744073709551615"),
        ] {
            assert_eq!(stored_name(name, incarnation), stored);
            assert_eq!(split_stored_name(stored), (name, incarnation));
        }
    }
}
