//! Where the vectors of an index are and how they are compared: all in which dense vectors and multivectors differ.

use std::borrow::Cow;
use std::fmt::Debug;
use std::path::Path;
use std::sync::Arc;

use super::codes::CodeRoom;
use super::file::FileKind;
use super::slots::{Pin, Slots};
use super::vector_index::IndexParams;
use crate::distance::Distances;
use crate::model::Slot;

/// Vectors by slot.
///
/// A vector is written at the start of a life of its slot, before the slot is named by a live bit or a link, and never
/// again in that life. Whoever reads one has seen its slot live or linked under the pin.
pub trait Rows: Debug + Send + Sync + Sized {
    /// What is stored of a slot.
    type Vector: ?Sized + ToOwned;
    /// What others are compared with, ready for the kernel: the vector, or a code of it.
    type Query<'a>: Copy
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

    /// None yet. What is kept on disk is in files in `folder`, if one is given.
    fn new(slots: &Arc<Slots>, params: &IndexParams, kernel: Distances, folder: Option<&Path>) -> Self;

    /// Whether `vector` has the size of this index's.
    fn fits(&self, vector: &Self::Vector) -> bool;

    /// Stores the vector of a slot in a new life. By one thread at a time.
    fn write(&self, slot: Slot, vector: &Self::Vector);

    /// Stores something in a new life of a slot that lost its vector and only leads walks on: what `neighbor` has, if
    /// there is one.
    fn write_stand_in(&self, pin: &Pin<'_>, slot: Slot, neighbor: Option<Slot>);

    /// The vector of a slot.
    fn vector<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> Cow<'a, Self::Vector>;

    /// A vector from outside as a query whose distances are exact; `room` is memory to be used again.
    fn query<'a>(&'a self, vector: &'a Self::Vector, room: &'a mut QueryRoom) -> Self::Query<'a>;

    /// Makes what a walk needs of a slot whose vector is written. By one thread at a time per slot, at the start of a life
    /// of the slot, before a link names it. `sample` gives slots that have vectors.
    fn encode(&self, pin: &Pin<'_>, slot: Slot, sample: impl FnOnce() -> Vec<Slot>, room: &mut CodeRoom);

    /// Whether walks compare codes, whose distances are estimates.
    fn has_codes(&self) -> bool;

    /// A query of codes, if there are any and `by_codes` asks for it; `room` is memory to be used again.
    fn probe<'a: 'b, 'b>(&'a self, query: Self::Query<'a>, by_codes: bool, room: &'b mut CodeRoom) -> Self::Query<'b>;

    /// The vector of an encoded slot as a query of codes fine enough to choose links by, or of vectors. Distances may
    /// differ from those of [`Rows::probe`] by a factor, the same for all.
    fn probe_of<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> Self::Query<'a>;

    /// The vector of an encoded slot as a query of codes for a walk, where that is too coarse to choose links by.
    fn coarse_probe_of<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot, room: &'a mut CodeRoom) -> Option<Self::Query<'a>>;

    /// The same query of codes, of all that they are, if a walk compares a part of them.
    fn fine_probe<'a>(&'a self, probe: Self::Query<'a>) -> Option<Self::Query<'a>>;

    /// How many of those that codes take for the nearest are looked at for each that is wanted.
    fn candidates_per_hit(&self) -> usize;

    /// Bytes that a walk reads for a distance, about.
    fn walked_bytes(&self) -> usize;

    /// What looking through a row of links for members of a filter costs in distances of a scan.
    fn scanned_per_row_of_links(&self) -> f64;

    /// Distances from `query` to `slots`, which are encoded if it is one of codes; `out` is as long as these.
    fn score(&self, pin: &Pin<'_>, query: Self::Query<'_>, slots: &[Slot], out: &mut [f32]);

    /// Distances from the vectors of `from` to that of `to`, as those of [`Rows::probe_of`]; `out` is as long as `from`.
    fn score_to(&self, pin: &Pin<'_>, from: &[Slot], to: Slot, out: &mut [f32]);

    /// The distance from one vector to another, by the same kernel.
    fn distance(&self, query: &Self::Vector, vector: &Self::Vector) -> f32;

    /// Asks for what [`Rows::score`] reads of `slot` ahead of its use.
    fn prefetch(&self, query: Self::Query<'_>, slot: Slot);

    /// What it takes.
    fn memory(&self) -> RowsMemory;
}

/// Memory to make a query in.
#[derive(Debug, Default)]
pub struct QueryRoom {
    pub(super) padded: Vec<f32>,
    pub(super) code: CodeRoom,
}

/// Bytes allocated for vectors and their codes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RowsMemory {
    /// Of memory, for vectors.
    pub vector_bytes: usize,
    /// Of memory, for codes.
    pub code_bytes: usize,
    /// Of files, for both.
    pub file_bytes: usize,
}
