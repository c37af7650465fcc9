//! Where the vectors of an index are and how they are compared: all in which dense vectors and multivectors differ.

use std::fmt::Debug;
use std::sync::Arc;

use super::arena::Arena;
use super::codes::{CodeRoom, Codes};
use super::file::FileKind;
use super::shelf::Shelf;
use super::slots::{Pin, Slots};
use super::vector_index::IndexParams;
use crate::distance::{CodeBits, Distances, max_sim_distance};
use crate::model::{Metric, MultiVector, Slot};

/// Vectors by slot.
///
/// A vector is written at the start of a life of its slot, before the slot is named by a live bit or a link, and never
/// again in that life. Whoever reads one has seen its slot live or linked under the pin.
pub trait Rows: Debug + Send + Sync + Sized {
    /// What is stored of a slot.
    type Vector: ?Sized;
    /// What others are compared with, ready for the kernel.
    type Query<'a>: Copy
    where
        Self: 'a;
    /// What a walk compares slots with: perhaps a code of the query.
    type Probe<'a>: Copy
    where
        Self: 'a;

    /// Chosen neighbors that a candidate is compared with at once: more where a comparison is cheap beside a branch.
    const DIVERSE_BATCH: usize;
    /// Whether the way back is as long.
    const IS_SYMMETRIC: bool;
    /// What a distance on a walk, a cache miss, costs in distances of a scan, which come in the order of memory.
    const SCANNED_PER_WALKED: f64;
    /// The kind of a graph over these rows.
    const FILE: FileKind;

    /// None yet.
    fn new(slots: &Arc<Slots>, params: &IndexParams, kernel: Distances) -> Self;

    /// Whether `vector` has the size of this index's.
    fn fits(&self, vector: &Self::Vector) -> bool;

    /// Stores the vector of a slot in a new life. By one thread at a time.
    fn write(&self, slot: Slot, vector: &Self::Vector);

    /// Stores something in a new life of a slot that lost its vector and only leads walks on: what `neighbor` has, if
    /// there is one.
    fn write_stand_in(&self, pin: &Pin<'_>, slot: Slot, neighbor: Option<Slot>);

    /// The vector of a slot.
    fn vector<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> &'a Self::Vector;

    /// A vector from outside as a query; `room` is memory to be used again.
    fn query<'a>(&'a self, vector: &'a Self::Vector, room: &'a mut Vec<f32>) -> Self::Query<'a>;

    /// Makes what a walk needs of a slot whose vector is written. By one thread at a time per slot, at the start of a life
    /// of the slot, before a link names it. `sample` gives slots that have vectors.
    fn encode(&self, pin: &Pin<'_>, slot: Slot, sample: impl FnOnce() -> Vec<Slot>, room: &mut CodeRoom);

    /// A query as what a walk needs; `room` is memory to be used again.
    fn probe<'a: 'b, 'b>(&'a self, query: Self::Query<'a>, room: &'b mut CodeRoom) -> Self::Probe<'b>;

    /// The vector of an encoded slot as what a walk needs. Its estimates may differ from those of [`Rows::probe`] by a
    /// factor, the same for all.
    fn probe_of<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> Self::Probe<'a>;

    /// Whether estimates are the distances.
    fn is_exact(&self) -> bool;

    /// What looking through a row of links for members of a filter costs in distances of a scan.
    fn scanned_per_row_of_links(&self) -> f64;

    /// Distances from `query` to `slots`; `out` is as long as these.
    fn score(&self, pin: &Pin<'_>, query: Self::Query<'_>, slots: &[Slot], out: &mut [f32]);

    /// Distances from `probe` to encoded slots, about; `out` is as long as these.
    fn estimate(&self, pin: &Pin<'_>, probe: Self::Probe<'_>, slots: &[Slot], out: &mut [f32]);

    /// Distances from the vectors of `from` to that of `to`, as those of [`Rows::probe_of`]; `out` is as long as `from`.
    fn estimate_to(&self, pin: &Pin<'_>, from: &[Slot], to: Slot, out: &mut [f32]);

    /// The distance from one vector to another, by the same kernel.
    fn distance(&self, query: &Self::Vector, vector: &Self::Vector) -> f32;

    /// Asks for the vector of `slot` ahead of its use.
    fn prefetch(&self, slot: Slot);

    /// Asks for what [`Rows::estimate`] reads of `slot` ahead of its use.
    fn prefetch_code(&self, slot: Slot);

    /// Bytes allocated for vectors.
    fn memory_bytes(&self) -> usize;

    /// Bytes allocated for codes of them.
    fn code_bytes(&self) -> usize;
}

/// Dense vectors: rows of an arena, and beside them their codes, if the metric allows any and they are shorter. Rows that
/// have no codes are what walks read: they are padded with zeros to whole cache lines. A query is as long as a row.
#[derive(Debug)]
pub struct DenseRows {
    dim: usize,
    kernel: Distances,
    vectors: Arena<f32>,
    codes: Option<Codes>,
}

/// What walks over dense vectors compare with.
#[derive(Clone, Copy, Debug)]
pub enum DenseProbe<'a> {
    /// As long as a row.
    Exact(&'a [f32]),
    /// A code.
    Code(&'a [u8]),
}

impl DenseRows {
    #[inline]
    fn row<'a>(&'a self, _pin: &'a Pin<'_>, slot: Slot) -> &'a [f32] {
        let row = self.vectors.grown_ptr(slot.0);
        // SAFETY: the row is an allocated, initialised run of `width` numbers. It is written only at the start of a
        // life of its slot, before the slot is named by a live bit or a link (which are read in acquire order), and
        // again only in its next life, which does not begin while the pin lives.
        unsafe { std::slice::from_raw_parts(row, self.vectors.width()) }
    }

    #[inline]
    fn score_in_batches<const BATCH: usize>(&self, pin: &Pin<'_>, query: &[f32], slots: &[Slot], out: &mut [f32]) {
        for (slots, out) in slots.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let mut rows: [&[f32]; BATCH] = [&[]; BATCH];
            for (row, slot) in rows.iter_mut().zip(slots) {
                *row = self.row(pin, *slot);
            }
            self.kernel.distances(query, &rows[..slots.len()], out);
        }
    }
}

impl Rows for DenseRows {
    type Vector = [f32];
    type Query<'a> = &'a [f32];
    type Probe<'a> = DenseProbe<'a>;

    const DIVERSE_BATCH: usize = 8;
    const IS_SYMMETRIC: bool = true;
    const SCANNED_PER_WALKED: f64 = 4.0;
    const FILE: FileKind = FileKind::Graph;

    fn new(_slots: &Arc<Slots>, params: &IndexParams, kernel: Distances) -> DenseRows {
        /// A row of so few numbers is one cache line, as its code would be.
        const UNCODED_DIM_MAX: usize = 16;
        let is_coded = params.m > 0 && params.dim > UNCODED_DIM_MAX && params.metric != Metric::Manhattan;
        DenseRows {
            dim: params.dim,
            kernel,
            vectors: if is_coded { Arena::packed(params.dim) } else { Arena::new(params.dim.next_multiple_of(16)) },
            codes: is_coded.then(|| Codes::new(params.dim, params.metric, CodeBits::Eight)),
        }
    }

    fn fits(&self, vector: &[f32]) -> bool {
        vector.len() == self.dim
    }

    fn write(&self, slot: Slot, vector: &[f32]) {
        assert!(self.fits(vector));
        self.vectors.grow_to(slot.0);
        let row = self.vectors.grown_ptr(slot.0);
        // SAFETY: the row has at least `dim` cells. Nobody reads it: a reader knows a slot through its live bit or a
        // link while pinned, both went before the slot's last life ended, and `Slots` began this life after every pin
        // of that time was dropped. Two writers exclude each other.
        unsafe { std::ptr::copy_nonoverlapping(vector.as_ptr(), row, vector.len()) };
    }

    fn write_stand_in(&self, pin: &Pin<'_>, slot: Slot, neighbor: Option<Slot>) {
        match neighbor {
            Some(neighbor) => self.write(slot, self.vector(pin, neighbor)),
            None => self.write(slot, &vec![0.0; self.dim]),
        }
    }

    fn vector<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> &'a [f32] {
        &self.row(pin, slot)[..self.dim]
    }

    fn query<'a>(&'a self, vector: &'a [f32], room: &'a mut Vec<f32>) -> &'a [f32] {
        room.clear();
        room.extend_from_slice(vector);
        room.resize(self.vectors.width(), 0.0);
        room
    }

    fn encode(&self, pin: &Pin<'_>, slot: Slot, sample: impl FnOnce() -> Vec<Slot>, room: &mut CodeRoom) {
        let Some(codes) = &self.codes else { return };
        codes.center_on(|| sample().into_iter().map(|slot| self.vector(pin, slot)));
        codes.write(slot, self.vector(pin, slot), room);
    }

    fn probe<'a: 'b, 'b>(&'a self, query: &'a [f32], room: &'b mut CodeRoom) -> DenseProbe<'b> {
        match &self.codes {
            Some(codes) => DenseProbe::Code(codes.probe(&query[..self.dim], room)),
            None => DenseProbe::Exact(query),
        }
    }

    #[inline]
    fn probe_of<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> DenseProbe<'a> {
        match self.codes.as_ref().and_then(|codes| codes.row(pin, slot)) {
            Some(code) => DenseProbe::Code(code),
            None => DenseProbe::Exact(self.row(pin, slot)),
        }
    }

    fn is_exact(&self) -> bool {
        self.codes.is_none()
    }

    fn scanned_per_row_of_links(&self) -> f64 {
        let bytes = self.codes.as_ref().map_or(self.vectors.width() * size_of::<f32>(), Codes::width);
        1.0 + 1024.0 / bytes as f64
    }

    #[inline]
    fn score(&self, pin: &Pin<'_>, query: &[f32], slots: &[Slot], out: &mut [f32]) {
        if slots.len() <= Self::DIVERSE_BATCH {
            self.score_in_batches::<{ Self::DIVERSE_BATCH }>(pin, query, slots, out);
        } else {
            self.score_in_batches::<32>(pin, query, slots, out);
        }
    }

    #[inline]
    fn estimate(&self, pin: &Pin<'_>, probe: DenseProbe<'_>, slots: &[Slot], out: &mut [f32]) {
        match (probe, &self.codes) {
            (DenseProbe::Code(code), Some(codes)) => codes.estimate(pin, code, slots, out),
            (DenseProbe::Exact(row), _) => self.score(pin, row, slots, out),
            (DenseProbe::Code(_), None) => unreachable!("a code is made by codes"),
        }
    }

    #[inline]
    fn estimate_to(&self, pin: &Pin<'_>, from: &[Slot], to: Slot, out: &mut [f32]) {
        self.estimate(pin, self.probe_of(pin, to), from, out);
    }

    fn distance(&self, query: &[f32], vector: &[f32]) -> f32 {
        self.kernel.distance(query, vector)
    }

    #[inline]
    fn prefetch(&self, slot: Slot) {
        const LINES_MAX: usize = 16;
        self.vectors.prefetch(slot.0, self.vectors.width().div_ceil(16).min(LINES_MAX));
    }

    #[inline]
    fn prefetch_code(&self, slot: Slot) {
        match &self.codes {
            Some(codes) => codes.prefetch(slot),
            None => self.prefetch(slot),
        }
    }

    fn memory_bytes(&self) -> usize {
        self.vectors.allocated_bytes()
    }

    fn code_bytes(&self) -> usize {
        self.codes.as_ref().map_or(0, Codes::memory_bytes)
    }
}

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
    type Probe<'a> = MultiQuery<'a>;

    /// One comparison is hundreds of rows: the first that decides ends it.
    const DIVERSE_BATCH: usize = 1;
    const IS_SYMMETRIC: bool = false;
    /// Reading the vectors is little of the work.
    const SCANNED_PER_WALKED: f64 = 1.0;
    const FILE: FileKind = FileKind::MultiGraph;

    fn new(slots: &Arc<Slots>, params: &IndexParams, kernel: Distances) -> MultiRows {
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
        self.vectors.put(slot, neighbor.map_or_else(zero, |neighbor| self.vector(pin, neighbor).clone()));
    }

    fn vector<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> &'a MultiVector {
        self.vectors.kept(pin, slot).expect("a slot that was seen live or linked has a vector")
    }

    fn query<'a>(&'a self, vector: &'a MultiVector, _room: &'a mut Vec<f32>) -> MultiQuery<'a> {
        MultiQuery { vector, factor: 1.0 }
    }

    fn encode(&self, _pin: &Pin<'_>, _slot: Slot, _sample: impl FnOnce() -> Vec<Slot>, _room: &mut CodeRoom) {}

    fn probe<'a: 'b, 'b>(&'a self, query: MultiQuery<'a>, _room: &'b mut CodeRoom) -> MultiQuery<'b> {
        query
    }

    fn probe_of<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> MultiQuery<'a> {
        let vector = self.vector(pin, slot);
        MultiQuery { vector, factor: 1.0 / vector.rows().len() as f32 }
    }

    fn is_exact(&self) -> bool {
        true
    }

    fn scanned_per_row_of_links(&self) -> f64 {
        0.1
    }

    fn score(&self, pin: &Pin<'_>, query: MultiQuery<'_>, slots: &[Slot], out: &mut [f32]) {
        for (slot, out) in slots.iter().zip(out) {
            *out = self.distance(query.vector, self.vector(pin, *slot)) * query.factor;
        }
    }

    fn estimate(&self, pin: &Pin<'_>, probe: MultiQuery<'_>, slots: &[Slot], out: &mut [f32]) {
        self.score(pin, probe, slots, out);
    }

    fn estimate_to(&self, pin: &Pin<'_>, from: &[Slot], to: Slot, out: &mut [f32]) {
        for (from, out) in from.iter().zip(out) {
            self.score(pin, self.probe_of(pin, *from), &[to], std::slice::from_mut(out));
        }
    }

    fn distance(&self, query: &MultiVector, vector: &MultiVector) -> f32 {
        max_sim_distance(&self.kernel, query, vector)
    }

    #[inline]
    fn prefetch(&self, slot: Slot) {
        self.vectors.prefetch(slot);
    }

    #[inline]
    fn prefetch_code(&self, slot: Slot) {
        self.prefetch(slot);
    }

    fn memory_bytes(&self) -> usize {
        self.vectors.memory_bytes(|vector| size_of_val(vector.values()))
    }

    fn code_bytes(&self) -> usize {
        0
    }
}
