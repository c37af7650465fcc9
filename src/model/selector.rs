//! What of a point a read returns.

use serde::{Deserialize, Serialize};

use super::payload::Path;
use super::vector::VectorName;

/// Which part of the payload a read returns (`with_payload`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PayloadSelector {
    /// The payload is absent from the answer.
    None,
    /// All of it.
    All,
    /// Only these paths; an empty list returns `{}`.
    Include(Vec<Path>),
    /// All but these paths.
    Exclude(Vec<Path>),
}

/// Which vectors a read returns (`with_vector`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VectorSelector {
    /// The vectors are absent from the answer.
    None,
    /// All the point has.
    All,
    /// These, where the point has them. Unknown names are left out.
    Names(Vec<VectorName>),
}
