//! One named vector of a shard, whatever its kind.
//!
//! A column takes vectors of its own kind and size only, and passes over others. The service has seen to it that there are
//! none: a vector of another kind or size has another stored name.

use std::path::Path;
use std::sync::Arc;

use crate::distance::sparse_dot;
use crate::index::{
    DenseIndex, Found, IndexMemory, IndexParams, MultiIndex, Originals, Pin, Scratch, SearchParams, Slots, SparseIndex,
    SparseParams, Stop, Stopped,
};
use crate::model::vector::normalize_rows;
use crate::model::{Metric, Slot, Vector};

/// One vector of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum VectorSettings {
    Dense(IndexParams),
    Multi(IndexParams),
    Sparse,
    /// Compared by direction, stored with the length they came with.
    UnscaledDense(IndexParams),
    /// As [`VectorSettings::UnscaledDense`], row by row.
    UnscaledMulti(IndexParams),
}

/// The vectors of one name, and their index.
#[derive(Clone, Debug)]
pub(super) enum Column {
    Dense(Arc<DenseIndex>),
    Sparse(Arc<SparseIndex>),
    Multi(Arc<MultiIndex>),
    /// The vectors scaled to length 1 in a column of their own, where they are searched, and as they came.
    Unscaled(Box<Column>, Arc<Originals>),
}

impl Column {
    /// An empty column over the shard's slots. What it keeps on disk is in files in `folder`.
    pub(super) fn new(slots: &Arc<Slots>, settings: &VectorSettings, folder: &Path) -> Column {
        let unscaled = |scaled: VectorSettings| {
            Column::Unscaled(Box::new(Column::new(slots, &scaled, folder)), Arc::new(Originals::new(Arc::clone(slots))))
        };
        let slots = Arc::clone(slots);
        match settings {
            VectorSettings::UnscaledDense(params) => unscaled(VectorSettings::Dense(*params)),
            VectorSettings::UnscaledMulti(params) => unscaled(VectorSettings::Multi(*params)),
            VectorSettings::Dense(params) => Column::Dense(Arc::new(DenseIndex::new(slots, *params, Some(folder)))),
            VectorSettings::Multi(params) => Column::Multi(Arc::new(MultiIndex::new(slots, *params, None))),
            VectorSettings::Sparse => Column::Sparse(Arc::new(SparseIndex::new(slots))),
        }
    }

    /// What it was made for.
    pub(super) fn settings(&self) -> VectorSettings {
        match self {
            Column::Dense(index) => VectorSettings::Dense(*index.params()),
            Column::Multi(index) => VectorSettings::Multi(*index.params()),
            Column::Sparse(_) => VectorSettings::Sparse,
            Column::Unscaled(scaled, _) => match scaled.settings() {
                VectorSettings::Dense(params) => VectorSettings::UnscaledDense(params),
                VectorSettings::Multi(params) => VectorSettings::UnscaledMulti(params),
                other => other,
            },
        }
    }

    /// Whether `vector` is of the column's kind and size.
    pub(super) fn fits(&self, vector: &Vector) -> bool {
        match (self, vector) {
            (Column::Dense(index), Vector::Dense(values)) => values.len() == index.params().dim,
            (Column::Multi(index), Vector::Multi(vector)) => vector.dim() == index.params().dim,
            (Column::Sparse(_), Vector::Sparse(_)) => true,
            (Column::Unscaled(scaled, _), vector) => scaled.fits(vector),
            _ => false,
        }
    }

    /// Stores the vector of a slot just allocated, if it fits. It is found by every search that begins after the return.
    pub(super) fn put(&self, slot: Slot, vector: &Vector) {
        if !self.fits(vector) {
            return;
        }
        match (self, vector) {
            (Column::Dense(index), Vector::Dense(values)) => index.put(slot, values),
            (Column::Multi(index), Vector::Multi(vector)) => index.put(slot, vector),
            (Column::Sparse(index), Vector::Sparse(vector)) => index.put(slot, vector.clone()),
            (Column::Unscaled(scaled, originals), vector) => {
                originals.put(slot, vector.clone());
                let mut unit = vector.clone();
                normalize_rows(&mut unit);
                scaled.put(slot, &unit);
            }
            _ => {}
        }
    }

    /// Makes the slot's vector dead for every search that begins after the return. Was there one?
    pub(super) fn remove(&self, slot: Slot) -> bool {
        match self {
            Column::Dense(index) => index.remove(slot),
            Column::Sparse(index) => index.remove(slot),
            Column::Multi(index) => index.remove(slot),
            Column::Unscaled(scaled, originals) => {
                let was_there = scaled.remove(slot);
                originals.remove(slot);
                was_there
            }
        }
    }

    /// Whether the slot has a vector here.
    pub(super) fn has(&self, slot: Slot) -> bool {
        match self {
            Column::Dense(index) => index.has(slot),
            Column::Sparse(index) => index.has(slot),
            Column::Multi(index) => index.has(slot),
            Column::Unscaled(scaled, _) => scaled.has(slot),
        }
    }

    /// The vector of a slot.
    pub(super) fn vector(&self, pin: &Pin<'_>, slot: Slot) -> Option<Vector> {
        match self {
            Column::Dense(index) => index.vector(pin, slot).map(|values| Vector::Dense(values.into_owned())),
            Column::Sparse(index) => index.vector(pin, slot).cloned().map(Vector::Sparse),
            Column::Multi(index) => index.vector(pin, slot).map(|vector| Vector::Multi(vector.into_owned())),
            Column::Unscaled(_, originals) => originals.vector(pin, slot).cloned(),
        }
    }

    /// Whether the slot's vector is exactly `vector`.
    pub(super) fn holds(&self, pin: &Pin<'_>, slot: Slot, vector: Option<&Vector>) -> bool {
        match (self, vector) {
            (Column::Dense(index), _) => index.vector(pin, slot).as_deref() == vector.and_then(Vector::as_dense),
            (Column::Sparse(index), Some(Vector::Sparse(vector))) => index.vector(pin, slot) == Some(vector),
            (Column::Unscaled(_, originals), vector) => originals.vector(pin, slot) == vector,
            _ => self.vector(pin, slot).as_ref() == vector,
        }
    }

    /// The internal similarity of PROTOCOL section 3.1 between `query` and the vector of a slot: larger is closer
    /// whatever the metric; sparse vectors that share no index have 0. `None`: the slot has no vector here, or the query
    /// is of another kind or size.
    pub(super) fn similarity(&self, pin: &Pin<'_>, query: &Vector, slot: Slot) -> Option<f32> {
        if !self.fits(query) {
            return None;
        }
        match (self, query) {
            (Column::Dense(index), Vector::Dense(query)) => index.distance(pin, query, slot).map(similarity),
            (Column::Sparse(index), Vector::Sparse(query)) => {
                index.vector(pin, slot).map(|vector| sparse_dot(query, vector).unwrap_or(0.0))
            }
            (Column::Multi(index), Vector::Multi(query)) => index.distance(pin, query, slot).map(similarity),
            (Column::Unscaled(scaled, _), query) => scaled.similarity(pin, query, slot),
            _ => None,
        }
    }

    /// The nearest vectors to `query`, as distances (the similarity with its sign turned). A query of another kind or
    /// size finds nothing. Of sparse vectors only those that share an index with the query are found (section 13.1).
    pub(super) fn search(
        &self,
        pin: &Pin<'_>,
        scratch: &mut Scratch,
        query: &Vector,
        params: &SearchParams<'_>,
        stop: &Stop,
    ) -> Result<Found, Stopped> {
        if !self.fits(query) {
            return Ok(Found::default());
        }
        match (self, query) {
            (Column::Dense(index), Vector::Dense(query)) => index.search(pin, scratch, query, params, stop),
            (Column::Multi(index), Vector::Multi(query)) => index.search(pin, scratch, query, params, stop),
            (Column::Sparse(index), Vector::Sparse(query)) => {
                let params = SparseParams { k: params.k, indexed_only: params.indexed_only, filter: params.filter };
                index.search(pin, scratch, query, &params, stop)
            }
            (Column::Unscaled(scaled, _), query) => scaled.search(pin, scratch, query, params, stop),
            _ => Ok(Found::default()),
        }
    }

    /// Whether such a search is over sooner than another thread would begin it.
    pub(super) fn is_quick(&self, params: &SearchParams<'_>) -> bool {
        match self {
            Column::Dense(index) => index.is_quick(params),
            Column::Multi(_) | Column::Sparse(_) => false,
            Column::Unscaled(scaled, _) => scaled.is_quick(params),
        }
    }

    /// The distance by which [`Column::search`] would find the slot; `None` if it would not.
    pub(super) fn distance(&self, pin: &Pin<'_>, query: &Vector, slot: Slot) -> Option<f32> {
        match (self, query) {
            (Column::Sparse(index), Vector::Sparse(query)) => {
                index.vector(pin, slot).and_then(|vector| sparse_dot(query, vector)).map(|product| 0.0 - product)
            }
            _ => self.similarity(pin, query, slot).map(|similarity| 0.0 - similarity),
        }
    }

    /// What its vectors and what leads to them take.
    pub(super) fn memory(&self) -> IndexMemory {
        match self {
            Column::Dense(index) => index.memory(),
            Column::Sparse(index) => index.memory(),
            Column::Multi(index) => index.memory(),
            Column::Unscaled(scaled, originals) => {
                let memory = scaled.memory();
                IndexMemory { vector_bytes: memory.vector_bytes + originals.memory_bytes(), ..memory }
            }
        }
    }

    /// Lends the calling thread to the index for about `budget` units; how many were done.
    pub(super) fn work(&self, scratch: &mut Scratch, budget: usize) -> usize {
        match self {
            Column::Dense(index) => index.work(scratch, budget),
            Column::Sparse(index) => index.work(budget),
            Column::Multi(index) => index.work(scratch, budget),
            Column::Unscaled(scaled, _) => scaled.work(scratch, budget),
        }
    }

    /// Beam width of a search that names none.
    pub(super) fn default_ef(&self) -> usize {
        match self {
            Column::Dense(index) => index.params().ef_construction,
            Column::Multi(index) => index.params().ef_construction,
            Column::Sparse(_) => 0,
            Column::Unscaled(scaled, _) => scaled.default_ef(),
        }
    }

    /// How its distances are shown and its ties ordered: as dot products where it is sparse (PROTOCOL section 3.1).
    pub(super) fn metric(&self) -> Metric {
        match self {
            Column::Dense(index) => index.params().metric,
            Column::Multi(index) => index.params().metric,
            Column::Sparse(_) => Metric::Dot,
            Column::Unscaled(scaled, _) => scaled.metric(),
        }
    }

    /// Vectors that are found without a scan. Without a graph nothing is indexed, though nothing waits either.
    pub(super) fn indexed_len(&self) -> usize {
        match self {
            Column::Dense(index) if index.params().m == 0 => 0,
            Column::Multi(index) if index.params().m == 0 => 0,
            Column::Dense(index) => index.indexed_len(),
            Column::Multi(index) => index.indexed_len(),
            Column::Sparse(index) => index.indexed_len(),
            Column::Unscaled(scaled, _) => scaled.indexed_len(),
        }
    }

    /// Vectors that wait for their index and are scanned meanwhile.
    pub(super) fn tail_len(&self) -> usize {
        match self {
            Column::Dense(index) => index.tail_len(),
            Column::Multi(index) => index.tail_len(),
            Column::Sparse(index) => index.tail_len(),
            Column::Unscaled(scaled, _) => scaled.tail_len(),
        }
    }
}

fn similarity(distance: f32) -> f32 {
    0.0 - distance
}
