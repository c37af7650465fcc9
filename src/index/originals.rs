//! Vectors as they came, beside an index that holds them scaled: bytes compared by direction would all be 0 at length 1.

use std::sync::Arc;

use super::shelf::Shelf;
use super::slots::{Pin, Slots};
use crate::model::{Slot, Vector};

/// At most one vector per slot. What is found and what is live is the index's to say: a vector is put here before it is
/// put there, and removed after.
#[derive(Debug)]
pub struct Originals {
    vectors: Shelf<Vector>,
}

impl Originals {
    /// None yet, over the slots of a shard.
    pub fn new(slots: Arc<Slots>) -> Originals {
        Originals { vectors: Shelf::new(slots) }
    }

    /// Keeps the vector of a slot just allocated.
    ///
    /// # Panics
    /// If the slot has a vector already.
    pub fn put(&self, slot: Slot, vector: Vector) {
        self.vectors.put(slot, vector);
    }

    /// Hides the vector of a slot.
    pub fn remove(&self, slot: Slot) {
        self.vectors.remove(slot);
    }

    /// Bytes allocated for them. Looks at every one.
    pub fn memory_bytes(&self) -> u64 {
        let of_vector = |vector: &Vector| match vector {
            Vector::Dense(values) => size_of_val(values.as_slice()),
            Vector::Multi(vector) => size_of_val(vector.values()),
            Vector::Sparse(vector) => size_of_val(vector.indices()) + size_of_val(vector.values()),
        };
        self.vectors.memory_bytes(of_vector) as u64
    }

    /// The vector of a slot.
    pub fn vector<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> Option<&'a Vector> {
        self.vectors.get(pin, slot)
    }
}
