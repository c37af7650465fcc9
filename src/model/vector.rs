//! Vectors and how they are compared.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// A vector's name inside a collection; `""` is the unnamed one.
pub type VectorName = String;

/// The vectors a point has, by name. Names that are absent are vectors the point lacks.
pub type NamedVectors = BTreeMap<VectorName, Vector>;

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

/// One vector's value. Sparse and multi vectors join here with the query-language issue.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Vector {
    /// `dim` finite numbers.
    Dense(Vec<f32>),
}

impl Vector {
    /// The dense numbers.
    pub fn as_dense(&self) -> &[f32] {
        let Vector::Dense(values) = self;
        values
    }
}

/// Below this squared norm, or this close to 1, a vector is stored as it came (PROTOCOL: cosine at upload).
const NORM_SQUARED_MIN: f32 = 1.192_092_9e-7;
const NORM_SQUARED_UNIT_TOLERANCE: f32 = 1e-6;

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
