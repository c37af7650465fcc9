//! What a write or a query must satisfy against its collection, and how a write becomes log entries. Pure.
//!
//! Invariants:
//! - Everything that can be wrong with a write's vectors is found here, before anything is proposed.
//! - A proposed operation names each id once and vectors by their stored names, its cosine vectors are normalised, and its entry holds about
//!   [`ENTRY_BYTES_MAX`] at most, unless one point alone is larger.
//!
//! What it deliberately does not do: ask whether ids exist (only the shard can tell, when the entry is applied).

use std::collections::{BTreeMap, HashMap, HashSet};

use super::Error;
use crate::cluster::shard_of;
use crate::model::collection::Datatype;
use crate::model::vector::normalize;
use crate::model::write::{PointVectors, UpsertMode};
use crate::model::{
    CollectionConfig, Filter, Metric, MultiVector, NamedVectors, Point, PointId, PointOp, PointSelector, Vector,
    VectorName, VectorParams,
};
use crate::shard::encode_command;

/// Aim for a log entry's size in bytes: what is appended, synced and sent in one piece (RELIABILITY section 2.6).
pub(super) const ENTRY_BYTES_MAX: usize = 1 << 20;
/// Ids of one entry of an operation that names ids: at 17 bytes each about half of [`ENTRY_BYTES_MAX`].
const ENTRY_IDS_MAX: usize = 32_768;

/// One checked write, split by shard.
#[derive(Debug, Default, PartialEq)]
pub(super) struct WritePlan {
    /// Commands to propose, in order, by the shard's place in the collection.
    pub(super) commands: BTreeMap<usize, Vec<Vec<u8>>>,
    /// Ids whose absence is an error, in the request's order (PROTOCOL section 6.2).
    pub(super) must_exist: Vec<PointId>,
}

impl WritePlan {
    /// Checks `op` against the collection's vectors and splits it over `shard_count` shards.
    pub(super) fn new(config: &CollectionConfig, shard_count: usize, op: PointOp) -> Result<WritePlan, Error> {
        let mut plan = WritePlan::default();
        match op {
            PointOp::Upsert { mut points, mode, update_filter } => {
                for point in &mut points {
                    check_vectors(config, &mut point.vectors)?;
                    name_for_log(config, &mut point.vectors);
                }
                for (shard, points) in by_shard(last_wins(points), shard_count, |point| point.id) {
                    let commands = plan.commands.entry(shard).or_default();
                    push_upserts(commands, Upsert { points, mode, update_filter: update_filter.clone() });
                }
            }
            PointOp::UpdateVectors { mut points, update_filter } => {
                for point in &mut points {
                    check_vectors(config, &mut point.vectors)?;
                    name_for_log(config, &mut point.vectors);
                }
                let points = merged(points);
                plan.must_exist = points.iter().map(|point| point.id).collect();
                for (shard, points) in by_shard(points, shard_count, |point| point.id) {
                    let commands = plan.commands.entry(shard).or_default();
                    push_updates(commands, points, update_filter.as_ref());
                }
            }
            PointOp::Delete { select } => plan.select(select, false, shard_count, &|select| PointOp::Delete { select }),
            PointOp::DeleteVectors { select, names } => {
                if let Some(name) = names.iter().find(|name| !config.has_vector(name)) {
                    return Err(Error::VectorNameUnknown { name: name.clone() });
                }
                let names: Vec<VectorName> = names.iter().map(|name| config.stored_name(name)).collect();
                plan.select(select, true, shard_count, &|select| PointOp::DeleteVectors {
                    select,
                    names: names.clone(),
                });
            }
            PointOp::SetPayload { select, payload, key } => plan.select(select, true, shard_count, &|select| {
                PointOp::SetPayload { select, payload: payload.clone(), key: key.clone() }
            }),
            PointOp::OverwritePayload { select, payload, key } => plan.select(select, true, shard_count, &|select| {
                PointOp::OverwritePayload { select, payload: payload.clone(), key: key.clone() }
            }),
            PointOp::DeletePayload { select, keys } => {
                plan.select(select, true, shard_count, &|select| PointOp::DeletePayload { select, keys: keys.clone() })
            }
            PointOp::ClearPayload { select } => {
                plan.select(select, true, shard_count, &|select| PointOp::ClearPayload { select });
            }
        }
        Ok(plan)
    }

    /// Sends `op` of the listed ids to their shards, or `op` of the filter to every shard.
    fn select(
        &mut self,
        select: PointSelector,
        must_exist: bool,
        shard_count: usize,
        op: &dyn Fn(PointSelector) -> PointOp,
    ) {
        match select {
            PointSelector::Ids(ids) => {
                let mut seen = HashSet::with_capacity(ids.len());
                let ids: Vec<PointId> = ids.into_iter().filter(|id| seen.insert(*id)).collect();
                for (shard, ids) in by_shard(ids.iter().copied(), shard_count, |id| *id) {
                    let chunks = ids.chunks(ENTRY_IDS_MAX);
                    let commands = chunks.map(|ids| encode_command(&op(PointSelector::Ids(ids.to_vec()))));
                    self.commands.entry(shard).or_default().extend(commands);
                }
                if must_exist {
                    self.must_exist = ids;
                }
            }
            PointSelector::Filter(filter) => {
                let command = encode_command(&op(PointSelector::Filter(filter)));
                self.commands = (0..shard_count).map(|shard| (shard, vec![command.clone()])).collect();
            }
        }
    }

    /// The first id that must exist and is among `missing`.
    pub(super) fn first_missing(&self, missing: &HashSet<PointId>) -> Option<PointId> {
        self.must_exist.iter().copied().find(|id| missing.contains(id))
    }
}

/// From the names clients use to those of the shards' logs.
pub(super) fn name_for_log(config: &CollectionConfig, vectors: &mut NamedVectors) {
    if !config.dropped_vectors.is_empty() {
        *vectors =
            std::mem::take(vectors).into_iter().map(|(name, vector)| (config.stored_name(&name), vector)).collect();
    }
}

/// Names, kinds, dimensions and finiteness of what is to be stored; normalises cosine vectors and rounds to the precision
/// that is kept (PROTOCOL sections 2.2 and 2.3).
fn check_vectors(config: &CollectionConfig, vectors: &mut NamedVectors) -> Result<(), Error> {
    for (name, vector) in vectors {
        let params = config.vectors.by_name.get(name);
        let datatype = params.and_then(|params| params.datatype);
        // Bytes are kept as they came: scaled to length 1 nothing would be left of them.
        let keeps_length = params.is_some_and(VectorParams::keeps_length);
        check(config, name, vector, !keeps_length)?;
        if let Some(datatype) = datatype.filter(|datatype| *datatype != Datatype::Float32) {
            match vector {
                Vector::Dense(values) => round_to(datatype, name, values)?,
                Vector::Multi(vector) => vector.rows_mut().try_for_each(|row| round_to(datatype, name, row))?,
                Vector::Sparse(_) => {}
            }
        }
    }
    Ok(())
}

/// Checks vectors that were stored once, as a snapshot brings them back: of their kind, whole, and left as they are.
pub(super) fn check_stored(config: &CollectionConfig, vectors: &mut NamedVectors) -> Result<(), Error> {
    for (name, vector) in vectors {
        let is_multi = config.vectors.by_name.get(name).is_some_and(|params| params.is_multi);
        match vector {
            Vector::Sparse(sparse) if !sparse.is_sound() => return Err(Error::SparseMismatch),
            Vector::Multi(multi) if !multi.is_sound() => return Err(Error::MultiMismatch),
            Vector::Dense(_) if is_multi => return Err(Error::MultiMismatch),
            _ => check(config, name, vector, false)?,
        }
    }
    Ok(())
}

/// The numbers as they come back from storage. One that is beyond float16 is not finite there.
fn round_to(datatype: Datatype, name: &str, values: &mut [f32]) -> Result<(), Error> {
    values.iter_mut().for_each(|value| *value = datatype.rounded(*value));
    check_finite(name, values)
}

/// Checks a vector to be searched by against the collection, and normalises it for cosine. A dense vector where rows are
/// expected is one row.
pub(super) fn check_vector(config: &CollectionConfig, name: &str, vector: &mut Vector) -> Result<(), Error> {
    check(config, name, vector, true)
}

/// As [`check_vector`], but the vector stays as long as it is: what is averaged is normalised afterwards.
pub(super) fn check_shape(config: &CollectionConfig, name: &str, vector: &mut Vector) -> Result<(), Error> {
    check(config, name, vector, false)
}

fn check(config: &CollectionConfig, name: &str, vector: &mut Vector, normalises: bool) -> Result<(), Error> {
    let Some(params) = config.vectors.by_name.get(name) else {
        return match vector {
            _ if config.sparse_vector(name).is_none() => Err(Error::VectorNameUnknown { name: name.to_owned() }),
            Vector::Sparse(sparse) => check_finite(name, sparse.values()),
            Vector::Dense(_) | Vector::Multi(_) => Err(Error::SparseMismatch),
        };
    };
    if params.is_multi
        && let Vector::Dense(row) = vector
        && let Some(multi) = MultiVector::new(row.len(), std::mem::take(row))
    {
        *vector = Vector::Multi(multi);
    }
    match vector {
        Vector::Dense(row) => check_row(params, name, row, normalises),
        Vector::Multi(multi) if params.is_multi => {
            multi.rows_mut().try_for_each(|row| check_row(params, name, row, normalises))
        }
        Vector::Multi(_) => Err(Error::MultiMismatch),
        Vector::Sparse(_) => Err(Error::SparseMismatch),
    }
}

fn check_row(params: &VectorParams, name: &str, row: &mut [f32], normalises: bool) -> Result<(), Error> {
    if row.len() as u64 != params.dim {
        return Err(Error::WrongDim { want: params.dim as usize, got: row.len() });
    }
    check_finite(name, row)?;
    if params.metric == Metric::Cosine && normalises {
        normalize(row);
    }
    Ok(())
}

fn check_finite(name: &str, values: &[f32]) -> Result<(), Error> {
    match values.iter().all(|value| value.is_finite()) {
        true => Ok(()),
        false => Err(Error::NotFinite { name: name.to_owned() }),
    }
}

/// The last of the points of equal id, in the order of those last ones.
fn last_wins(points: Vec<Point>) -> Vec<Point> {
    let mut seen = HashSet::with_capacity(points.len());
    let mut kept: Vec<Point> = points.into_iter().rev().filter(|point| seen.insert(point.id)).collect();
    kept.reverse();
    kept
}

/// One entry per id, in the order of first mention; of a vector given twice the later value wins.
fn merged(points: Vec<PointVectors>) -> Vec<PointVectors> {
    let mut places: HashMap<PointId, usize> = HashMap::with_capacity(points.len());
    let mut merged: Vec<PointVectors> = Vec::with_capacity(points.len());
    for point in points {
        let place = *places.entry(point.id).or_insert(merged.len());
        match merged.get_mut(place) {
            Some(earlier) => earlier.vectors.extend(point.vectors),
            None => merged.push(point),
        }
    }
    merged
}

fn by_shard<T>(
    items: impl IntoIterator<Item = T>,
    shard_count: usize,
    id_of: impl Fn(&T) -> PointId,
) -> BTreeMap<usize, Vec<T>> {
    let mut shards: BTreeMap<usize, Vec<T>> = BTreeMap::new();
    for item in items {
        shards.entry(shard_of(id_of(&item), shard_count)).or_default().push(item);
    }
    shards
}

struct Upsert {
    points: Vec<Point>,
    mode: UpsertMode,
    update_filter: Option<Filter>,
}

/// Encodes an upsert, in several entries where one would be too large. Their order is free: no id occurs twice.
fn push_upserts(commands: &mut Vec<Vec<u8>>, upsert: Upsert) {
    let Upsert { points, mode, update_filter } = upsert;
    let op = PointOp::Upsert { points, mode, update_filter };
    let command = encode_command(&op);
    let PointOp::Upsert { points, mode, update_filter } = op else { return };
    match pieces(command.len(), points.len()) {
        1 => commands.push(command),
        count => {
            for points in split(points, count) {
                push_upserts(commands, Upsert { points, mode, update_filter: update_filter.clone() });
            }
        }
    }
}

/// As [`push_upserts`], for changes of vectors.
fn push_updates(commands: &mut Vec<Vec<u8>>, points: Vec<PointVectors>, update_filter: Option<&Filter>) {
    let op = PointOp::UpdateVectors { points, update_filter: update_filter.cloned() };
    let command = encode_command(&op);
    let PointOp::UpdateVectors { points, .. } = op else { return };
    match pieces(command.len(), points.len()) {
        1 => commands.push(command),
        count => {
            for points in split(points, count) {
                push_updates(commands, points, update_filter);
            }
        }
    }
}

/// Into how many pieces an entry of this size and count of points is cut; 1: it stays whole.
fn pieces(size_bytes: usize, point_count: usize) -> usize {
    size_bytes.div_ceil(ENTRY_BYTES_MAX).min(point_count).max(1)
}

/// `items` in `count` runs of nearly equal length, in order. `count` is 1 to the number of items.
fn split<T>(items: Vec<T>, count: usize) -> Vec<Vec<T>> {
    let length = items.len().div_ceil(count);
    let mut items = items.into_iter();
    let runs = std::iter::from_fn(|| {
        let run: Vec<T> = items.by_ref().take(length).collect();
        (!run.is_empty()).then_some(run)
    });
    runs.collect()
}

#[cfg(test)]
#[path = "checks_tests.rs"]
mod tests;
