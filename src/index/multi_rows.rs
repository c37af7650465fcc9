//! Multivectors as rows of an index.

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use super::codes::CodeRoom;
use super::file::FileKind;
use super::rows::{QueryRoom, Rows, RowsMemory};
use super::shelf::Shelf;
use super::slots::{Pin, Slots};
use super::vector_index::IndexParams;
use crate::distance::{Distances, max_sim_distance};
use crate::model::{MultiVector, Slot};

/// Multivectors: values of a shelf, compared by max_sim.
///
/// max_sim is no metric: from A to B every row of A looks for its nearest row of B, so the way back is another sum, over
/// other rows, and a vector with many rows is near to everything. The graph needs little of a metric:
/// - A walk compares one query with many slots, always in this direction, which is the search's own. So what it follows
///   is the distance that is asked for, and the best of what it meets is exact.
/// - A link from A to B is chosen by the distance from A as the query, B stored. It leads a search well if queries that
///   are near to A are near to B, which holds as far as A's rows cover the query's. Links back from B are chosen anew,
///   from B.
/// - The heuristic passes over a candidate that a chosen neighbor is nearer to than the slot is. Both distances are to
///   the candidate, as links lead to it: a short vector is near to much, but little is near to it, and judged the other
///   way round it would lose the last link that leads there.
/// - These two are sums over different numbers of rows. So a slot's own distances are the mean over its rows, and
///   vectors of two and of fifty rows prune each other by the same measure. Between the slots of one walk the factor
///   changes nothing.
#[derive(Debug)]
pub struct MultiRows {
    dim: usize,
    kernel: Distances,
    vectors: Shelf<MultiVector>,
}

/// A multivector as a query.
#[derive(Clone, Copy, Debug)]
pub struct MultiQuery<'a> {
    vector: &'a MultiVector,
    /// Distances are multiplied by this.
    factor: f32,
}

impl Rows for MultiRows {
    type Vector = MultiVector;
    type Query<'a> = MultiQuery<'a>;

    /// One comparison is hundreds of rows: the first that decides ends it.
    const DIVERSE_BATCH: usize = 1;
    const IS_SYMMETRIC: bool = false;
    /// Reading the vectors is little of the work.
    const SCANNED_PER_WALKED: f64 = 1.0;
    const FILE: FileKind = FileKind::MultiGraph;

    fn new(slots: &Arc<Slots>, params: &IndexParams, kernel: Distances, _folder: Option<&Path>) -> MultiRows {
        MultiRows { dim: params.dim, kernel, vectors: Shelf::new(Arc::clone(slots)) }
    }

    fn fits(&self, vector: &MultiVector) -> bool {
        vector.dim() == self.dim
    }

    fn write(&self, slot: Slot, vector: &MultiVector) {
        self.vectors.put(slot, vector.clone());
    }

    fn write_stand_in(&self, pin: &Pin<'_>, slot: Slot, neighbor: Option<Slot>) {
        let zero = || MultiVector::new(self.dim, vec![0.0; self.dim]).expect("one row of a size that is not 0");
        self.vectors.put(slot, neighbor.map_or_else(zero, |neighbor| self.kept(pin, neighbor).clone()));
    }

    fn vector<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> Cow<'a, MultiVector> {
        Cow::Borrowed(self.kept(pin, slot))
    }

    fn query<'a>(&'a self, vector: &'a MultiVector, _room: &'a mut QueryRoom) -> MultiQuery<'a> {
        MultiQuery { vector, factor: 1.0 }
    }

    fn encode(&self, _pin: &Pin<'_>, _slot: Slot, _sample: impl FnOnce() -> Vec<Slot>, _room: &mut CodeRoom) {}

    fn has_codes(&self) -> bool {
        false
    }

    fn probe<'a: 'b, 'b>(&'a self, query: MultiQuery<'a>, _: bool, _: &'b mut CodeRoom) -> MultiQuery<'b> {
        query
    }

    fn probe_of<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> MultiQuery<'a> {
        let vector = self.kept(pin, slot);
        MultiQuery { vector, factor: 1.0 / vector.rows().len() as f32 }
    }

    fn coarse_probe_of<'a>(&'a self, _: &'a Pin<'_>, _: Slot, _: &'a mut CodeRoom) -> Option<MultiQuery<'a>> {
        None
    }

    fn fine_probe<'a>(&'a self, _probe: MultiQuery<'a>) -> Option<MultiQuery<'a>> {
        None
    }

    fn candidates_per_hit(&self) -> usize {
        1
    }

    fn walked_bytes(&self) -> usize {
        /// Hundreds of rows.
        const MANY: usize = 1 << 17;
        MANY
    }

    fn scanned_per_row_of_links(&self) -> f64 {
        0.1
    }

    fn score(&self, pin: &Pin<'_>, query: MultiQuery<'_>, slots: &[Slot], out: &mut [f32]) {
        for (slot, out) in slots.iter().zip(out) {
            *out = self.distance(query.vector, self.kept(pin, *slot)) * query.factor;
        }
    }

    fn score_to(&self, pin: &Pin<'_>, from: &[Slot], to: Slot, out: &mut [f32]) {
        for (from, out) in from.iter().zip(out) {
            self.score(pin, self.probe_of(pin, *from), &[to], std::slice::from_mut(out));
        }
    }

    fn distance(&self, query: &MultiVector, vector: &MultiVector) -> f32 {
        max_sim_distance(&self.kernel, query, vector)
    }

    #[inline]
    fn prefetch(&self, _query: MultiQuery<'_>, slot: Slot) {
        self.vectors.prefetch(slot);
    }

    fn memory(&self) -> RowsMemory {
        let vector_bytes = self.vectors.memory_bytes(|vector| size_of_val(vector.values()));
        RowsMemory { vector_bytes, ..RowsMemory::default() }
    }
}

impl MultiRows {
    fn kept<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> &'a MultiVector {
        self.vectors.kept(pin, slot).expect("a slot that was seen live or linked has a vector")
    }
}
