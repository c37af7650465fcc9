//! Reads: nearest-neighbour queries, scroll, count.

use super::filter::Filter;
use super::ids::PointId;
use super::selector::{PayloadSelector, VectorSelector};
use super::vector::{Vector, VectorName};

/// What a query compares points with.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// This vector. Checked against the collection's dimension by the service.
    Vector(Vector),
    /// The vector of this point, which is left out of the answer.
    Point(PointId),
}

/// Where a `Target::Point` is looked up when not in the searched collection and vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupFrom {
    pub collection: String,
    pub vector: Option<VectorName>,
}

/// What a query ranks by.
#[derive(Clone, Debug, PartialEq)]
pub enum Ranking {
    /// Ascending id, score 1.0, version 0 (a query request without `query`).
    ById,
    /// Distance to the target on vector `using`.
    Nearest { target: Target, using: VectorName, lookup_from: Option<LookupFrom> },
}

/// How a search is run (the protocol's `params`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SearchOptions {
    /// Beam width. Absent: the index decides (at least `k`).
    pub ef: Option<usize>,
    /// Compare with every point.
    pub exact: bool,
    /// Leave out what is not in the graph yet.
    pub indexed_only: bool,
}

/// One query of a collection. `limit` is at least 1 and may be huge: nothing is allocated by it.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryRequest {
    pub ranking: Ranking,
    pub filter: Option<Filter>,
    pub options: SearchOptions,
    pub limit: usize,
    pub offset: usize,
    pub score_threshold: Option<f32>,
    pub with_payload: PayloadSelector,
    pub with_vectors: VectorSelector,
}

/// Points in ascending id order.
#[derive(Clone, Debug, PartialEq)]
pub struct ScrollRequest {
    /// First id, inclusive; it need not exist.
    pub offset: Option<PointId>,
    /// At least 1.
    pub limit: usize,
    pub filter: Option<Filter>,
    pub with_payload: PayloadSelector,
    pub with_vectors: VectorSelector,
}
