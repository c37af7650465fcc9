//! One named sparse vector of one shard.

use std::collections::HashMap;
use std::sync::Arc;

use super::bitmap::{Bitmap, slots_of_word};
use super::nearest::Candidate;
use super::scratch::Scratch;
use super::search::{Cost, Found};
use super::shelf::Shelf;
use super::slots::{Pin, Slots};
use super::stop::{Stop, Stopped};
use crate::distance::sparse_dot;
use crate::model::{Slot, SparseVector};

/// What is asked of a sparse index.
#[derive(Clone, Copy, Debug)]
pub struct SparseParams<'a> {
    /// Results wanted. Any number: nothing is allocated by it.
    pub k: usize,
    /// Leave out what is not in the posting lists yet.
    pub indexed_only: bool,
    /// Only these slots.
    pub filter: Option<&'a Bitmap>,
}

/// The index of one sparse vector of one shard.
#[derive(Debug)]
pub struct SparseIndex {
    vectors: Shelf<SparseVector>,
}

/// How many vectors a count was made over, and how many of them have each index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SparseCounts {
    /// Vectors.
    pub vectors: u64,
    /// By the place of the index in the question.
    pub having: Vec<u64>,
}

impl SparseIndex {
    /// An empty index over the slots of its shard.
    pub fn new(slots: Arc<Slots>) -> SparseIndex {
        SparseIndex { vectors: Shelf::new(slots) }
    }

    /// Stores the vector of a slot just allocated. It is found by every search that begins after the return.
    ///
    /// # Panics
    /// If the slot has a vector already.
    pub fn put(&self, slot: Slot, vector: SparseVector) {
        self.vectors.put(slot, vector);
    }

    /// Makes `slot` dead for every search that begins after the return. Was it live?
    pub fn remove(&self, slot: Slot) -> bool {
        self.vectors.remove(slot)
    }

    /// The vector of a slot, none if it has none here or is dead.
    pub fn vector<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> Option<&'a SparseVector> {
        self.vectors.get(pin, slot)
    }

    /// Whether the slot has a vector here and is live.
    pub fn has(&self, slot: Slot) -> bool {
        self.vectors.live().contains(slot)
    }

    /// Vectors that may be found.
    pub fn live_len(&self) -> usize {
        self.vectors.live().count()
    }

    /// Does up to `budget` units of work and returns how many were done: 0 means there is nothing to do now.
    pub fn work(&self, budget: usize) -> usize {
        let _ = budget;
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

    /// The `k` vectors of largest dot product with `query` among those that share an index with it (PROTOCOL section
    /// 13.1), exactly. Distances are the products with their sign turned.
    pub fn search(
        &self,
        pin: &Pin<'_>,
        scratch: &mut Scratch,
        query: &SparseVector,
        params: &SparseParams<'_>,
        stop: &Stop,
    ) -> Result<Found, Stopped> {
        let mut cost = Cost::default();
        scratch.nearest.start(params.k);
        for (i, word) in self.vectors.live().words(self.vectors.slots().bound()) {
            stop.poll()?;
            for slot in slots_of_word(i, params.filter.map_or(word, |filter| word & filter.word(i))) {
                cost.distances += 1;
                let product = self.vectors.get(pin, slot).and_then(|vector| sparse_dot(query, vector));
                if let Some(product) = product {
                    scratch.nearest.offer(Candidate::new(0.0 - product, slot, true));
                }
            }
        }
        let hits = scratch.nearest.finish().iter().map(|hit| (hit.slot(), hit.distance())).collect();
        Ok(Found { hits, cost })
    }

    /// Over how many vectors (in `corpus`, if given) `indices` are spread: the N and df of PROTOCOL section 13.2.
    pub fn counts(
        &self,
        pin: &Pin<'_>,
        indices: &[u32],
        corpus: Option<&Bitmap>,
        stop: &Stop,
    ) -> Result<SparseCounts, Stopped> {
        let mut places: HashMap<u32, Vec<usize>> = HashMap::new();
        indices.iter().enumerate().for_each(|(place, index)| places.entry(*index).or_default().push(place));
        let mut counts = SparseCounts { vectors: 0, having: vec![0; indices.len()] };
        for (i, word) in self.vectors.live().words(self.vectors.slots().bound()) {
            stop.poll()?;
            for slot in slots_of_word(i, corpus.map_or(word, |corpus| word & corpus.word(i))) {
                let Some(vector) = self.vectors.get(pin, slot) else { continue };
                counts.vectors += 1;
                for place in vector.indices().iter().filter_map(|index| places.get(index)).flatten() {
                    counts.having[*place] += 1;
                }
            }
        }
        Ok(counts)
    }
}
