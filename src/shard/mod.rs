//! One shard: the deterministic state machine over `storage` and `index`.
//!
//! Invariants:
//! - Same log, same points: [`Shard::apply`] reads no clock, no environment and no randomness, and its result depends
//!   on the stored points and the command alone, never on the index.
//! - What is in memory (`ids`, slots, indexes) mirrors what is in `store`; it changes after the batch is written.
//! - One writer: `writer` is held by apply, reconfigure and nothing else. Readers take `ids` and `indexes` for the
//!   moment of a look-up only. Lock order: `writer`, `indexes`, `ids`.
//! - Every point has exactly one live slot, shared by all its vectors.
//!
//! What it deliberately does not do: know Raft, collections, routing or the wire, and normalise or check vectors
//! (the service has done both before the command was proposed).

mod apply;
mod checkpoint;
mod command;
mod fields;
pub mod filter;
mod read;
mod replaced;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::index::{CheckpointError, IndexParams, Scratch, Slots, VectorIndex};
use crate::model::{Metric, PointId, PointVersion, Slot, VectorName};
use crate::storage::ShardStore;
use replaced::Replaced;

pub use apply::Entry;
pub use command::{Outcome, encode_command};
pub use fields::{TextSearch, TextStats};
pub use read::{Found, Hit, Nearest, ReadError, sort_hits};

/// How a shard is set up.
#[derive(Clone, Debug)]
pub struct ShardSettings {
    pub vectors: BTreeMap<VectorName, VectorSettings>,
    /// Folder of this shard's checkpoints; created when missing.
    pub index_dir: PathBuf,
}

/// One vector of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VectorSettings {
    pub dim: usize,
    pub metric: Metric,
    /// The paper's M; 0 switches the graph off.
    pub m: usize,
    pub ef_construction: usize,
}

/// Figures of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStatus {
    pub point_count: u64,
    /// Vectors in the graphs.
    pub indexed_vector_count: u64,
    /// Vectors that wait for the graphs and are scanned meanwhile.
    pub tail_vector_count: u64,
    /// Log index of the last applied command.
    pub applied_index: u64,
}

/// Where a point is and when it last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    slot: Slot,
    version: PointVersion,
}

/// One replica of one shard. Shared through `Arc`; all methods take `&self`.
pub struct Shard {
    store: ShardStore,
    /// Serialises changes. Held while a batch is written, so never taken by a reader.
    writer: Mutex<()>,
    slots: Arc<Slots>,
    indexes: RwLock<BTreeMap<VectorName, Arc<VectorIndex>>>,
    ids: RwLock<HashMap<PointId, Place>>,
    applied_index: AtomicU64,
    replaced: Replaced,
    /// Scratch of threads that came and went; at most as many as ran at once.
    scratch: Mutex<Vec<Scratch>>,
    index_dir: PathBuf,
    /// Of the newest checkpoint. Held while one is written: one at a time.
    last_stamp: Mutex<u64>,
    rebuilt: Vec<CheckpointError>,
}

impl Shard {
    /// The vector index of this name.
    fn index(&self, name: &str) -> Option<Arc<VectorIndex>> {
        self.indexes.read().get(name).cloned()
    }

    fn all_indexes(&self) -> Vec<Arc<VectorIndex>> {
        self.indexes.read().values().cloned().collect()
    }

    /// Runs `body` with a scratch of this shard's, so that searches allocate nothing.
    fn with_scratch<T>(&self, body: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = self.scratch.lock().pop().unwrap_or_default();
        let result = body(&mut scratch);
        self.scratch.lock().push(scratch);
        result
    }

    /// Lends the calling thread to index building and repair for about `budget` vectors per index.
    /// Returns how many were done; 0 means there is nothing to do.
    pub fn index_work(&self, budget: usize) -> usize {
        let indexes = self.all_indexes();
        self.with_scratch(|scratch| indexes.iter().map(|index| index.work(scratch, budget)).sum())
    }

    /// The shard's figures.
    pub fn status(&self) -> ShardStatus {
        let indexes = self.all_indexes();
        ShardStatus {
            point_count: self.ids.read().len() as u64,
            // Without a graph nothing is indexed, though nothing waits either.
            indexed_vector_count: indexes
                .iter()
                .filter(|index| index.params().m > 0)
                .map(|index| index.indexed_len() as u64)
                .sum(),
            tail_vector_count: indexes.iter().map(|index| index.tail_len() as u64).sum(),
            applied_index: self.applied_index.load(Ordering::Acquire),
        }
    }

    /// Checks what must hold between changes; for tests.
    pub fn validate(&self) -> Result<(), String> {
        let _writer = self.writer.lock();
        let ids = self.ids.read();
        if ids.len() != self.slots.live_count() {
            return Err(format!("{} ids have {} live slots", ids.len(), self.slots.live_count()));
        }
        for (id, place) in ids.iter() {
            let of = self.slots.get(place.slot).map(|(id, _)| id);
            if !self.slots.is_live(place.slot) || of != Some(*id) {
                return Err(format!("slot {} of point {id} is {of:?}'s", place.slot.0));
            }
            let head = self.store.head(id).map_err(|error| error.to_string())?;
            let want = (place.version, self.vectors_version(place.slot));
            if head.map(|head| (head.version, head.vectors_version)) != Some(want) {
                return Err(format!("the head of point {id} is {head:?}, in memory it is {want:?}"));
            }
        }
        Ok(())
    }

    /// Adopts changed graph settings: a vector whose M or efConstruction changed gets a new graph, built from its live
    /// vectors while the exact scan answers. Dimensions and metrics never change.
    pub fn reconfigure(&self, vectors: &BTreeMap<VectorName, VectorSettings>) {
        let _writer = self.writer.lock();
        for (name, settings) in vectors {
            let Some(old) = self.index(name) else { continue };
            let params = settings.index_params();
            if *old.params() == params {
                continue;
            }
            let new = VectorIndex::new(self.slots.clone(), params);
            let pin = self.slots.pin();
            for slot in self.slots.live().iter() {
                if let Some(vector) = old.vector(&pin, slot) {
                    new.put(slot, vector);
                }
            }
            self.indexes.write().insert(name.clone(), Arc::new(new));
        }
    }
}

impl VectorSettings {
    fn index_params(&self) -> IndexParams {
        IndexParams { dim: self.dim, metric: self.metric, m: self.m, ef_construction: self.ef_construction }
    }
}

#[cfg(test)]
mod tests;
