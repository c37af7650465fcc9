//! The vector index of one shard: slots, arenas, the HNSW graph (over dense vectors or over multivectors), the exact
//! scan, posting lists and field indexes.
//!
//! Invariants:
//! - Derived state: never replicated, always rebuildable from `storage`; nothing is acknowledged because of it.
//! - Readers are never blocked: not by an insertion, not by a removal, not by a checkpoint.
//! - A vector is found from the moment [`VectorIndex::put`] returns: until it is linked into the graph it is in the
//!   tail, which every search scans exactly.
//! - Smaller distance is closer, everywhere.
//! - No thread of its own: whoever owns the index lends threads to [`VectorIndex::work`].
//!
//! What it deliberately does not do: know point ids' payloads or filters (it takes a bitmap of slots), or the disk
//! layout of points.

// An `expect` in this room states an invariant between the arenas; no input and no file can break one.
#![allow(clippy::expect_used)]

mod arena;
mod bitmap;
mod checkpoint;
mod codes;
mod dense_rows;
mod file;
mod graph;
mod insert;
mod multi_rows;
mod nearest;
mod originals;
pub mod payload;
mod postings;
mod repair;
mod rotation;
mod rows;
mod scratch;
mod search;
mod shelf;
mod slots;
mod sparse;
mod sparse_checkpoint;
mod stop;
mod storage;
mod validate;
mod vector_index;
mod walk;

pub use bitmap::Bitmap;
pub use checkpoint::Restoring;
pub use codes::{CodeQuery, CodeRoom};
pub use dense_rows::{DenseQuery, DenseRows, UNCODED_DIM_MAX};
pub use file::{CheckpointError, FileKind};
pub use multi_rows::{MultiQuery, MultiRows};
pub use originals::Originals;
pub use rows::{QueryRoom, Rows, RowsMemory};
pub use scratch::Scratch;
pub use search::{CodeUse, Cost, Found, SearchParams};
pub use slots::{Pin, SLOT_COUNT_MAX, Slots, SlotsFull};
pub use sparse::{SparseCounts, SparseIndex, SparseParams};
pub use sparse_checkpoint::RestoringSparse;
pub use stop::{Stop, Stopped};
pub use storage::VectorStorage;
pub use validate::BrokenIndex;
pub use vector_index::{DenseIndex, IndexMemory, IndexParams, MultiIndex, VectorIndex};

#[cfg(test)]
mod multi_tests;
#[cfg(test)]
mod storage_tests;
#[cfg(test)]
mod tests;
