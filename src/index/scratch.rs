//! What one thread needs while it searches or builds, kept between calls so that neither allocates.

use super::codes::CodeRoom;
use super::nearest::{Nearest, Pool};
use super::rows::QueryRoom;
use super::sparse::SparseScratch;
use crate::model::Slot;

/// One thread's working memory, usable with any index. Grows to what the largest call needed.
#[derive(Debug, Default)]
pub struct Scratch {
    /// What queries are made in.
    pub(super) query: QueryRoom,
    /// What codes are made in.
    pub(super) code: CodeRoom,
    pub(super) visited: Visited,
    pub(super) pool: Pool,
    pub(super) nearest: Nearest,
    /// The nearest by their codes.
    pub(super) estimated: Nearest,
    pub(super) sparse: SparseScratch,
    /// Slots to be scored together, and their distances.
    pub(super) fresh: Vec<Slot>,
    /// Neighbors of a slot that are members of a filter.
    pub(super) members: Vec<Slot>,
    /// Slots whose neighbors may be looked at.
    pub(super) bridges: Vec<Slot>,
    pub(super) distances: Vec<f32>,
    /// Neighbors chosen for each level of a slot being inserted.
    pub(super) chosen: Vec<Vec<Slot>>,
}

impl Scratch {
    /// Working memory that has not grown yet.
    pub fn new() -> Scratch {
        Scratch::default()
    }
}

/// The slots a walk has seen. One bit each, and a log of them, so that emptying costs what the walk saw.
#[derive(Debug, Default)]
pub(super) struct Visited {
    words: Vec<u64>,
    log: Vec<Slot>,
}

impl Visited {
    /// Empties the set.
    pub(super) fn clear(&mut self) {
        for slot in self.log.drain(..) {
            self.words[slot.index() / 64] = 0;
        }
    }

    /// Makes room for the slots below `bound`, so that insertions seldom grow.
    pub(super) fn reserve(&mut self, bound: usize) {
        if self.words.len() * 64 < bound {
            self.words.resize(bound.div_ceil(64), 0);
        }
    }

    /// The 64 slots from `64 * i`.
    #[inline]
    pub(super) fn word(&self, i: usize) -> u64 {
        self.words.get(i).copied().unwrap_or(0)
    }

    /// Puts `slot` in. Was it absent?
    #[inline]
    pub(super) fn insert(&mut self, slot: Slot) -> bool {
        let before = self.len();
        self.insert_all(std::iter::once(slot), 1);
        self.len() > before
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.log.len()
    }

    /// Those that were put in when there were `len` already, in their order.
    pub(super) fn since(&self, len: usize) -> &[Slot] {
        &self.log[len..]
    }

    /// Puts `slots` in, which are at most `most`.
    ///
    /// About half of a walk's slots are absent, which no branch prediction foresees: so there is no branch.
    #[inline]
    pub(super) fn insert_all(&mut self, slots: impl Iterator<Item = Slot>, most: usize) {
        let start = self.log.len();
        self.log.resize(start + most, Slot(0));
        let mut end = start;
        for slot in slots {
            let (at, bit) = (slot.index() / 64, 1 << (slot.index() % 64));
            if at >= self.words.len() {
                self.words.resize(at + 1, 0);
            }
            self.log[end] = slot;
            end += usize::from(self.words[at] & bit == 0);
            self.words[at] |= bit;
        }
        self.log.truncate(end);
    }
}
