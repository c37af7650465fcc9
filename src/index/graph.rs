//! The HNSW graph's links: who points to whom on which level (Malkov and Yashunin, arXiv 1603.09320).
//!
//! A row holds the neighbors of one slot on one level, `2 m` on level 0 and `m` above, as numbers one larger than the
//! slot; zero is a hole, and holes may be anywhere. Writers of a row take its lock; readers take none.
//!
//! Why a reader needs no lock: each cell is an atomic whose every value is the name of a slot that was linked when it
//! was written, so whatever mixture of an old and a new row a reader sees, each name is good by itself. Rewrites leave
//! retained neighbors in their cells, so no reader misses one. A name a reader found stays good while the reader is
//! pinned ([`super::slots`]). A cell is written with release and read with acquire order: the vector and the rows of
//! the slot it names, written before, are seen by whoever reads the name.
//!
//! Invariants:
//! - A link is written under its row's lock after its target was seen live under that lock. So once a slot is dead, a
//!   pass over all rows that takes each lock finds every link to it ([`super::repair`]).
//! - A slot's level is a function of the slot, so a reused slot reuses its rows.

use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::arena::Arena;
use super::bitmap::LiveBits;
use crate::model::Slot;

/// Levels above this hold less than one slot in any shard; keeps rows of one slot few.
const LEVEL_MAX: usize = 15;
const LOCK_COUNT: usize = 1024;
const LEVEL_SEED: u64 = 0x5175_6976_6572_0001;

#[derive(Debug)]
pub(super) struct Graph {
    /// Neighbors kept per level above 0: the paper's M. Level 0 keeps twice as many.
    pub(super) m: usize,
    level_0: Arena<AtomicU32>,
    /// Per slot: one more than the number of its first row in `upper`; zero for slots of level 0.
    upper_at: Arena<AtomicU32>,
    /// Rows of level 1, 2, ... of one slot follow each other.
    upper: Arena<AtomicU32>,
    upper_len: AtomicU32,
    /// Level + 1 in the upper half, slot in the lower; zero while the graph is empty.
    entry: AtomicU64,
    entry_lock: Mutex<()>,
    /// Locks of rows, by slot. One at a time is held, by writers only; sections are one row long.
    locks: Box<[Mutex<()>]>,
}

/// Where searches begin: a slot and its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) slot: Slot,
    pub(super) level: usize,
}

impl Graph {
    /// # Panics
    /// If `m` is 0: such an index has no graph.
    pub(super) fn new(m: usize) -> Graph {
        assert_ne!(m, 0);
        Graph {
            m,
            level_0: Arena::new(2 * m),
            upper_at: Arena::new(1),
            upper: Arena::new(m),
            upper_len: AtomicU32::new(0),
            entry: AtomicU64::new(0),
            entry_lock: Mutex::new(()),
            locks: (0..LOCK_COUNT).map(|_| Mutex::new(())).collect(),
        }
    }

    /// Makes the rows of `slot`, empty. By one thread at a time, before any other names the slot.
    pub(super) fn grow_to(&self, slot: Slot) {
        self.level_0.grow_to(slot.0);
        self.upper_at.grow_to(slot.0);
        let level = self.level(slot);
        let at = &self.upper_at.grown(slot.0)[0];
        if level > 0 && at.load(Ordering::Acquire) == 0 {
            let first = self.upper_len.fetch_add(level as u32, Ordering::Relaxed);
            self.upper.grow_to(first + level as u32 - 1);
            at.store(first + 1, Ordering::Release);
        }
    }

    /// Bytes allocated for links.
    pub(super) fn allocated_bytes(&self) -> usize {
        self.level_0.allocated_bytes() + self.upper_at.allocated_bytes() + self.upper.allocated_bytes()
    }

    /// The highest level of `slot`: geometric with factor 1/m as in the paper, drawn from a hash of the slot.
    pub(super) fn level(&self, slot: Slot) -> usize {
        let mut hash = (u64::from(slot.0) ^ LEVEL_SEED).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        hash = (hash ^ (hash >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        hash = (hash ^ (hash >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        hash ^= hash >> 31;
        let uniform = ((hash >> 11) as f64 + 1.0) / (1u64 << 53) as f64;
        let level = -uniform.ln() / (self.m.max(2) as f64).ln();
        (level as usize).min(LEVEL_MAX)
    }

    /// Most neighbors of a row on `level`.
    pub(super) fn degree_max(&self, level: usize) -> usize {
        if level == 0 { 2 * self.m } else { self.m }
    }

    #[inline]
    fn row(&self, slot: Slot, level: usize) -> &[AtomicU32] {
        let row = match level {
            0 => self.level_0.row(slot.0),
            _ => self
                .upper_at
                .row(slot.0)
                .and_then(|at| at[0].load(Ordering::Acquire).checked_sub(1))
                .filter(|_| level <= self.level(slot))
                .and_then(|first| self.upper.row(first + level as u32 - 1)),
        };
        row.unwrap_or(&[])
    }

    /// The neighbors of `slot` on `level` as they are now.
    #[inline]
    pub(super) fn neighbors(&self, slot: Slot, level: usize) -> impl Iterator<Item = Slot> + '_ {
        self.row(slot, level).iter().filter_map(|cell| cell.load(Ordering::Acquire).checked_sub(1).map(Slot))
    }

    /// Asks for the level 0 row of `slot` ahead of its use.
    #[inline]
    pub(super) fn prefetch(&self, slot: Slot) {
        self.level_0.prefetch(slot.0, (2 * self.m).div_ceil(16));
    }

    /// Locks the row of `slot` on `level` for writing.
    pub(super) fn edit<'a>(&'a self, slot: Slot, level: usize, live: &'a LiveBits) -> RowEdit<'a> {
        RowEdit { lock: self.locks[slot.index() % LOCK_COUNT].lock(), row: self.row(slot, level), live }
    }

    /// Fills a row as it was, for a graph nobody uses yet. Neighbors beyond the row's length are dropped.
    pub(super) fn restore(&self, slot: Slot, level: usize, neighbors: &[Slot]) {
        for (cell, neighbor) in self.row(slot, level).iter().zip(neighbors.iter().filter(|other| **other != slot)) {
            cell.store(neighbor.0 + 1, Ordering::Release);
        }
    }

    /// Empties every row of `slot`.
    pub(super) fn clear(&self, slot: Slot) {
        let _lock = self.locks[slot.index() % LOCK_COUNT].lock();
        for level in 0..=self.level(slot) {
            for cell in self.row(slot, level) {
                cell.store(0, Ordering::Release);
            }
        }
    }

    pub(super) fn entry(&self) -> Option<Entry> {
        let packed = self.entry.load(Ordering::Acquire);
        let level = (packed >> 32).checked_sub(1)?;
        Some(Entry { slot: Slot(packed as u32), level: level as usize })
    }

    /// Moves the entry point to what `choose` makes of the present one. One mover at a time.
    pub(super) fn move_entry(&self, choose: impl FnOnce(Option<Entry>) -> Option<Entry>) {
        let _lock = self.entry_lock.lock();
        let packed = choose(self.entry()).map_or(0, |entry| (entry.level as u64 + 1) << 32 | u64::from(entry.slot.0));
        self.entry.store(packed, Ordering::Release);
    }
}

/// A row locked for writing.
pub(super) struct RowEdit<'a> {
    #[expect(dead_code, reason = "held, not read")]
    lock: MutexGuard<'a, ()>,
    row: &'a [AtomicU32],
    live: &'a LiveBits,
}

impl RowEdit<'_> {
    pub(super) fn neighbors(&self) -> impl Iterator<Item = Slot> + '_ {
        self.row.iter().filter_map(|cell| cell.load(Ordering::Relaxed).checked_sub(1).map(Slot))
    }

    /// Puts `target` into a hole unless it is there already or dead. False if the row is full.
    pub(super) fn push(&self, target: Slot) -> bool {
        if self.neighbors().any(|neighbor| neighbor == target) || !self.live.contains(target) {
            return true;
        }
        match self.row.iter().find(|cell| cell.load(Ordering::Relaxed) == 0) {
            Some(hole) => {
                hole.store(target.0 + 1, Ordering::Release);
                true
            }
            None => false,
        }
    }

    /// Removes the neighbors for which `is_dropped`.
    pub(super) fn drop_where(&self, is_dropped: impl Fn(Slot) -> bool) {
        for cell in self.row {
            if cell.load(Ordering::Relaxed).checked_sub(1).is_some_and(|slot| is_dropped(Slot(slot))) {
                cell.store(0, Ordering::Release);
            }
        }
    }

    /// Makes `targets` the neighbors. Those that were there stay in their cells; new ones must be live.
    pub(super) fn replace(&self, targets: &[Slot]) {
        let mut added = targets
            .iter()
            .filter(|target| !self.neighbors().any(|neighbor| neighbor == **target) && self.live.contains(**target))
            .copied()
            .collect::<Vec<_>>()
            .into_iter();
        for cell in self.row {
            let is_kept = cell.load(Ordering::Relaxed).checked_sub(1).is_some_and(|slot| targets.contains(&Slot(slot)));
            if !is_kept {
                cell.store(added.next().map_or(0, |slot| slot.0 + 1), Ordering::Release);
            }
        }
    }
}
