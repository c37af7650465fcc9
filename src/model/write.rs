//! Changes of points, as they enter the Raft log.
//!
//! Everything here has passed validation: dimensions fit, cosine vectors are normalised, ids are unique per operation.

use serde::{Deserialize, Serialize};

use super::filter::Filter;
use super::ids::PointId;
use super::payload::{Path, Payload};
use super::point::Point;
use super::vector::{NamedVectors, VectorName};

/// Which points an operation touches.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PointSelector {
    /// These ids.
    Ids(Vec<PointId>),
    /// Every point that matches.
    Filter(Filter),
}

/// What an upsert may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum UpsertMode {
    /// Insert new points, replace existing ones.
    #[default]
    Upsert,
    /// Existing points are left alone.
    InsertOnly,
    /// New points are not inserted.
    UpdateOnly,
}

/// New values of some of a point's vectors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct PointVectors {
    pub id: PointId,
    pub vectors: NamedVectors,
}

/// One change of points of one collection. Applied to one shard as one atomic step.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum PointOp {
    /// Replaces whole points. An existing point that does not match `update_filter` is left alone; new ones are inserted.
    Upsert { points: Vec<Point>, mode: UpsertMode, update_filter: Option<Filter> },
    /// Unknown ids are ignored.
    Delete { select: PointSelector },
    /// Only the given vectors change. Unknown ids are reported in the outcome, the rest is applied.
    UpdateVectors { points: Vec<PointVectors>, update_filter: Option<Filter> },
    /// Vectors the point lacks are ignored; unknown ids are reported.
    DeleteVectors { select: PointSelector, names: Vec<VectorName> },
    /// Merges (PROTOCOL: payload merge), at `key` if given. Unknown ids are reported.
    SetPayload { select: PointSelector, payload: Payload, key: Option<Path> },
    /// Replaces the payload, or with `key` what stands there.
    OverwritePayload { select: PointSelector, payload: Payload, key: Option<Path> },
    /// Removes these paths; those that lead nowhere are ignored.
    DeletePayload { select: PointSelector, keys: Vec<Path> },
    /// Payload becomes `{}`.
    ClearPayload { select: PointSelector },
}

impl PointOp {
    /// How the points are selected; `None`: they are given.
    fn selector_mut(&mut self) -> Option<&mut PointSelector> {
        match self {
            PointOp::Upsert { .. } | PointOp::UpdateVectors { .. } => None,
            PointOp::Delete { select }
            | PointOp::DeleteVectors { select, .. }
            | PointOp::SetPayload { select, .. }
            | PointOp::OverwritePayload { select, .. }
            | PointOp::DeletePayload { select, .. }
            | PointOp::ClearPayload { select } => Some(select),
        }
    }

    /// The change of those of the named points alone that are meant, if there are any. A change of all points that match a
    /// filter stays as it is.
    pub fn part(mut self, is_meant: impl Fn(PointId) -> bool) -> Option<PointOp> {
        let is_left = match &mut self {
            PointOp::Upsert { points, .. } => {
                points.retain(|point| is_meant(point.id));
                !points.is_empty()
            }
            PointOp::UpdateVectors { points, .. } => {
                points.retain(|point| is_meant(point.id));
                !points.is_empty()
            }
            other => match other.selector_mut() {
                Some(PointSelector::Ids(ids)) => {
                    ids.retain(|id| is_meant(*id));
                    !ids.is_empty()
                }
                _ => true,
            },
        };
        is_left.then_some(self)
    }

    /// Whether a filter selects the points.
    pub fn is_by_filter(&self) -> bool {
        let is_given = matches!(self, PointOp::Upsert { .. } | PointOp::UpdateVectors { .. });
        !is_given && self.filter().is_some()
    }

    /// What decides which points are changed, unless their ids do.
    pub fn filter(&self) -> Option<&Filter> {
        match self {
            PointOp::Upsert { update_filter, .. } | PointOp::UpdateVectors { update_filter, .. } => {
                update_filter.as_ref()
            }
            PointOp::Delete { select }
            | PointOp::DeleteVectors { select, .. }
            | PointOp::SetPayload { select, .. }
            | PointOp::OverwritePayload { select, .. }
            | PointOp::DeletePayload { select, .. }
            | PointOp::ClearPayload { select } => match select {
                PointSelector::Ids(_) => None,
                PointSelector::Filter(filter) => Some(filter),
            },
        }
    }
}
