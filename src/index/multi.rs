//! One named multivector of one shard.

use std::sync::Arc;

use super::bitmap::slots_of_word;
use super::nearest::Candidate;
use super::scratch::Scratch;
use super::search::{Cost, Found, SearchParams};
use super::shelf::Shelf;
use super::slots::{Pin, Slots};
use super::stop::{Stop, Stopped};
use super::vector_index::{IndexMemory, IndexParams};
use crate::distance::{Distances, max_sim_distance};
use crate::model::{MultiVector, Slot};

/// The index of one multivector of one shard.
#[derive(Debug)]
pub struct MultiIndex {
    params: IndexParams,
    kernel: Distances,
    vectors: Shelf<MultiVector>,
}

impl MultiIndex {
    /// An empty index over the slots of its shard.
    pub fn new(slots: Arc<Slots>, params: IndexParams) -> MultiIndex {
        MultiIndex { params, kernel: Distances::new(params.metric), vectors: Shelf::new(slots) }
    }

    /// What the index was made for.
    pub fn params(&self) -> &IndexParams {
        &self.params
    }

    /// What it takes of memory. Looks at every vector.
    pub fn memory(&self) -> IndexMemory {
        let vector_bytes = self.vectors.memory_bytes(|vector| size_of_val(vector.values())) as u64;
        IndexMemory { vector_bytes, link_bytes: 0 }
    }

    /// Stores the vector of a slot just allocated. It is found by every search that begins after the return.
    ///
    /// # Panics
    /// If the rows have another length than `dim`, or the slot has a vector already.
    pub fn put(&self, slot: Slot, vector: MultiVector) {
        assert_eq!(vector.dim(), self.params.dim);
        self.vectors.put(slot, vector);
    }

    /// Makes `slot` dead for every search that begins after the return. Was it live?
    pub fn remove(&self, slot: Slot) -> bool {
        self.vectors.remove(slot)
    }

    /// The vector of a slot, none if it has none here or is dead.
    pub fn vector(&self, pin: &Pin<'_>, slot: Slot) -> Option<MultiVector> {
        self.vectors.get(pin, slot).cloned()
    }

    /// Whether the slot has a vector here and is live.
    pub fn has(&self, slot: Slot) -> bool {
        self.vectors.live().contains(slot)
    }

    /// max_sim of `query` and the vector of a slot, with its sign turned; none if it has none here or is dead.
    ///
    /// # Panics
    /// If the query's rows have another length than `dim`.
    pub fn distance(&self, pin: &Pin<'_>, query: &MultiVector, slot: Slot) -> Option<f32> {
        self.vectors.get(pin, slot).map(|vector| max_sim_distance(&self.kernel, query, vector))
    }

    /// Vectors that may be found.
    pub fn live_len(&self) -> usize {
        self.vectors.live().count()
    }

    /// Does up to `budget` units of work and returns how many were done: 0 means there is nothing to do now.
    pub fn work(&self, scratch: &mut Scratch, budget: usize) -> usize {
        let _ = (scratch, budget);
        0
    }

    /// Vectors that are found without a scan.
    pub fn indexed_len(&self) -> usize {
        0
    }

    /// Vectors that wait for the index and are scanned meanwhile.
    pub fn tail_len(&self) -> usize {
        0
    }

    /// The `k` live vectors nearest to `query` by max_sim.
    ///
    /// # Panics
    /// If the query's rows have another length than `dim`.
    pub fn search(
        &self,
        pin: &Pin<'_>,
        scratch: &mut Scratch,
        query: &MultiVector,
        params: &SearchParams<'_>,
        stop: &Stop,
    ) -> Result<Found, Stopped> {
        let mut cost = Cost::default();
        scratch.nearest.start(params.k);
        for (i, word) in self.vectors.live().words(self.vectors.slots().bound()) {
            stop.poll()?;
            for slot in slots_of_word(i, params.filter.map_or(word, |filter| word & filter.word(i))) {
                if let Some(distance) = self.distance(pin, query, slot) {
                    cost.distances += 1;
                    scratch.nearest.offer(Candidate::new(distance, slot, true));
                }
            }
        }
        let hits = scratch.nearest.finish().iter().map(|hit| (hit.slot(), hit.distance())).collect();
        Ok(Found { hits, cost })
    }
}
