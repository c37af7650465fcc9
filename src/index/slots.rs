//! The slot table of one shard: which version of which point lives at which slot, and when a slot may be used again.
//!
//! A slot's life: [`Slots::allocate`] hands it out live; every [`super::VectorIndex`] that gets a vector for it *holds*
//! it; [`Slots::retire`] makes it dead; each index lets go once nothing of its graph points there any more; when the
//! last hold is gone the slot waits until every search that was running is over, and is handed out again.
//!
//! Invariants:
//! - While a [`Pin`] lives, no slot that was held at its start changes its identity: what a search finds still names
//!   the point it found when the pin is dropped.
//! - Pins never wait, and new pins never delay reuse: waiting counts generations, not searches. A slot freed in epoch
//!   `e` is reused from epoch `e + 2` on, and an epoch ends when the pins of the one before it are gone, while new pins
//!   join the current one. (Epoch-based reclamation with two open generations.)
//! - One writer allocates and retires (the thread that applies the log); any thread may pin, read and release.
//!
//! What it deliberately does not do: map ids to slots (the shard's storage does), or know vectors.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::Mutex;
use uuid::Uuid;

use super::arena::Arena;
use super::bitmap::{Bitmap, LiveBits};
use crate::model::{PointId, PointVersion, Slot};

/// Slots a shard can hand out; two bits of a `u32` are the graph walk's.
pub const SLOT_COUNT_MAX: u32 = 1 << 30;

/// Every slot the index can number is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("all {SLOT_COUNT_MAX} slots of the shard are in use")]
pub struct SlotsFull;

/// The slot table. Shared by the shard and its vector indexes.
#[derive(Debug)]
pub struct Slots {
    /// Per slot: the id's two halves, then the version with the id's kind in the lowest bit.
    entries: Arena<AtomicU64>,
    /// Per slot: how many still need it, and how often it has been handed out.
    holds: Arena<AtomicU32>,
    live: LiveBits,
    next: AtomicU32,
    epoch: AtomicU64,
    /// Pins of the current epoch and of the one before, by parity.
    pins: [AtomicU64; 2],
    /// Short sections; taken by the writer, by whoever releases, never by a search.
    idle: Mutex<Idle>,
}

#[derive(Debug, Default)]
struct Idle {
    free: Vec<Slot>,
    /// Not needed any more since the epoch named, ascending.
    waiting: VecDeque<(u64, Slot)>,
    /// Slots below this are held by a load until it is settled.
    loading: usize,
}

const HOLDS: usize = 0;
const LIVES: usize = 1;

/// A search in progress: while it lives no slot changes its identity. Cheap to take, never waits.
#[derive(Debug)]
pub struct Pin<'a> {
    slots: &'a Slots,
    epoch: u64,
}

impl Default for Slots {
    fn default() -> Self {
        Slots::new()
    }
}

impl Slots {
    /// An empty table.
    pub fn new() -> Slots {
        Slots {
            entries: Arena::new(3),
            holds: Arena::new(2),
            live: LiveBits::new(),
            next: AtomicU32::new(0),
            epoch: AtomicU64::new(0),
            pins: [AtomicU64::new(0), AtomicU64::new(0)],
            idle: Mutex::new(Idle::default()),
        }
    }

    /// A live slot for one version of a point's vectors; freed ones are used first. For the writer only.
    pub fn allocate(&self, id: PointId, vectors_version: PointVersion) -> Result<Slot, SlotsFull> {
        let slot = match self.take_free() {
            Some(slot) => slot,
            None => self.extend()?,
        };
        self.write_entry(slot, id, vectors_version);
        let cells = self.holds.grown(slot.0);
        cells[HOLDS].store(1, Ordering::SeqCst);
        cells[LIVES].fetch_add(1, Ordering::SeqCst);
        self.live.set(slot);
        Ok(slot)
    }

    fn take_free(&self) -> Option<Slot> {
        let mut idle = self.idle.lock();
        if idle.free.is_empty() && !idle.waiting.is_empty() {
            self.advance();
            self.advance();
            let epoch = self.epoch.load(Ordering::SeqCst);
            while idle.waiting.front().is_some_and(|(since, _)| since + 2 <= epoch) {
                let slot = idle.waiting.pop_front().map(|(_, slot)| slot);
                idle.free.extend(slot);
            }
        }
        idle.free.pop()
    }

    /// Ends the current epoch if no pin of the one before it is left. Called under the `idle` lock, so what was
    /// released before is seen by whoever pins a later epoch.
    fn advance(&self) {
        let epoch = self.epoch.load(Ordering::SeqCst);
        if self.pins[(epoch as usize + 1) % 2].load(Ordering::SeqCst) == 0 {
            self.epoch.store(epoch + 1, Ordering::SeqCst);
        }
    }

    fn extend(&self) -> Result<Slot, SlotsFull> {
        let next = self.next.load(Ordering::SeqCst);
        if next >= SLOT_COUNT_MAX {
            return Err(SlotsFull);
        }
        self.entries.grow_to(next);
        self.holds.grow_to(next);
        self.live.grow_to(Slot(next));
        self.next.store(next + 1, Ordering::SeqCst);
        Ok(Slot(next))
    }

    fn write_entry(&self, slot: Slot, id: PointId, vectors_version: PointVersion) {
        let (high, low, kind) = match id {
            PointId::Num(num) => (0, num, 0),
            PointId::Uuid(uuid) => (uuid.as_u64_pair().0, uuid.as_u64_pair().1, 1),
        };
        let cells = self.entries.grown(slot.0);
        cells[0].store(high, Ordering::Relaxed);
        cells[1].store(low, Ordering::Relaxed);
        cells[2].store(vectors_version << 1 | kind, Ordering::Release);
    }

    /// The point that lives, or last lived, at `slot` and the version of its vectors; none for a slot never handed out.
    ///
    /// Under the pin of the search that found the slot this is the point that was found, even when it has been retired
    /// since.
    pub fn get(&self, slot: Slot) -> Option<(PointId, PointVersion)> {
        if slot.0 >= self.next.load(Ordering::SeqCst) {
            return None;
        }
        let cells = self.entries.row(slot.0)?;
        let version = cells[2].load(Ordering::Acquire);
        let (high, low) = (cells[0].load(Ordering::Relaxed), cells[1].load(Ordering::Relaxed));
        let id = if version & 1 == 0 { PointId::Num(low) } else { PointId::Uuid(Uuid::from_u64_pair(high, low)) };
        Some((id, version >> 1))
    }

    /// Makes `slot` dead. Was it live? It is handed out again once nothing needs it. For the writer only.
    pub fn retire(&self, slot: Slot) -> bool {
        let was_live = self.live.clear(slot);
        if was_live {
            self.release(slot);
        }
        was_live
    }

    /// Is `slot` live?
    pub fn is_live(&self, slot: Slot) -> bool {
        self.live.contains(slot)
    }

    /// Live slots.
    pub fn live_count(&self) -> usize {
        self.live.count()
    }

    /// The live slots as they are now.
    pub fn live(&self) -> Bitmap {
        self.live.snapshot(self.bound())
    }

    /// One more than the largest slot ever handed out.
    pub fn bound(&self) -> usize {
        self.next.load(Ordering::SeqCst) as usize
    }

    /// Keeps every slot's identity until the pin is dropped.
    pub fn pin(&self) -> Pin<'_> {
        loop {
            let epoch = self.epoch.load(Ordering::SeqCst);
            let pins = &self.pins[epoch as usize % 2];
            pins.fetch_add(1, Ordering::SeqCst);
            // Counted while the epoch still stands: from here on it ends at most once before the pin is dropped.
            if self.epoch.load(Ordering::SeqCst) == epoch {
                return Pin { slots: self, epoch };
            }
            pins.fetch_sub(1, Ordering::SeqCst);
        }
    }

    /// One more needs `slot`: it is not handed out before the matching [`Slots::release`].
    pub(super) fn hold(&self, slot: Slot) {
        let holds = &self.holds.grown(slot.0)[HOLDS];
        assert_ne!(holds.fetch_add(1, Ordering::SeqCst), 0, "slot {} is held by nobody", slot.0);
    }

    /// One less needs `slot`.
    pub(super) fn release(&self, slot: Slot) {
        let holds = &self.holds.grown(slot.0)[HOLDS];
        let before = holds.fetch_sub(1, Ordering::SeqCst);
        assert_ne!(before, 0, "slot {} is released once too often", slot.0);
        if before == 1 {
            let mut idle = self.idle.lock();
            let epoch = self.epoch.load(Ordering::SeqCst);
            idle.waiting.push_back((epoch, slot));
        }
    }

    /// How often `slot` has been handed out.
    pub(super) fn lives(&self, slot: Slot) -> u32 {
        self.holds.row(slot.0).map_or(0, |cells| cells[LIVES].load(Ordering::SeqCst))
    }

    /// Rebuilds a table from a checkpoint: `entries[i]` is slot `i`, none where no point lived.
    ///
    /// Every slot is held until [`Slots::settle`], so that the vector indexes of the same checkpoint can claim those
    /// they have links of.
    pub(super) fn from_entries(entries: impl Iterator<Item = Option<(PointId, PointVersion)>>) -> Slots {
        let slots = Slots::new();
        for entry in entries {
            let Ok(slot) = slots.extend() else { break };
            let cells = slots.holds.grown(slot.0);
            cells[LIVES].store(1, Ordering::SeqCst);
            cells[HOLDS].store(1, Ordering::SeqCst);
            if let Some((id, vectors_version)) = entry {
                cells[HOLDS].store(2, Ordering::SeqCst);
                slots.write_entry(slot, id, vectors_version);
                slots.live.set(slot);
            }
        }
        slots.idle.lock().loading = slots.bound();
        slots
    }

    /// Ends a load, once every index is loaded: slots without a point that no index claimed become free.
    pub fn settle(&self) {
        let loading = std::mem::take(&mut self.idle.lock().loading);
        for slot in (0..loading as u32).map(Slot) {
            self.release(slot);
        }
    }
}

impl Pin<'_> {
    /// Is this a pin of `slots`?
    pub(super) fn is_of(&self, slots: &Slots) -> bool {
        std::ptr::eq(self.slots, slots)
    }
}

impl Drop for Pin<'_> {
    fn drop(&mut self) {
        self.slots.pins[self.epoch as usize % 2].fetch_sub(1, Ordering::SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::AtomicBool;

    #[test]
    fn entries_come_back_for_both_kinds_of_id() {
        let slots = Slots::new();
        let uuid = PointId::from_uuid_text("67e55044-10b1-426f-9247-bb680e5fe0c8").unwrap();
        let a = slots.allocate(PointId::Num(u64::MAX), 1).unwrap();
        let b = slots.allocate(uuid, u64::MAX >> 1).unwrap();
        assert_eq!(slots.get(a), Some((PointId::Num(u64::MAX), 1)));
        assert_eq!(slots.get(b), Some((uuid, u64::MAX >> 1)));
        assert_eq!(slots.get(Slot(2)), None);
        assert_eq!((slots.live_count(), slots.bound()), (2, 2));
        assert!(slots.retire(a) && !slots.retire(a));
        assert_eq!(slots.live().iter().collect::<Vec<_>>(), [b]);
    }

    #[test]
    fn a_slot_is_reused_when_nobody_holds_it_and_older_pins_are_gone() {
        let slots = Slots::new();
        let slot = slots.allocate(PointId::Num(1), 1).unwrap();
        slots.hold(slot);
        let old = slots.pin();
        slots.retire(slot);
        assert_ne!(slots.allocate(PointId::Num(2), 2).unwrap(), slot, "an index still holds it");
        slots.release(slot);
        assert_ne!(slots.allocate(PointId::Num(3), 3).unwrap(), slot, "a search may still see it");
        assert_eq!(slots.get(slot), Some((PointId::Num(1), 1)));
        drop(old);
        assert_eq!(slots.allocate(PointId::Num(4), 4).unwrap(), slot);
        assert_eq!(slots.get(slot), Some((PointId::Num(4), 4)));
    }

    #[test]
    fn overlapping_pins_do_not_starve_reuse() {
        let slots = Slots::new();
        let mut pin = slots.pin();
        for round in 0..1_000 {
            let slot = slots.allocate(PointId::Num(round), round).unwrap();
            slots.retire(slot);
            let next = slots.pin();
            drop(std::mem::replace(&mut pin, next));
        }
        assert!(slots.bound() <= 4, "{} slots for one point at a time", slots.bound());
    }

    #[test]
    fn no_slot_changes_under_a_pin() {
        let slots = Slots::new();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    while !done.load(Ordering::Relaxed) {
                        let _pin = slots.pin();
                        let seen: Vec<_> = slots.live().iter().map(|slot| (slot, slots.get(slot))).collect();
                        std::thread::yield_now();
                        for (slot, entry) in seen {
                            let again = slots.get(slot);
                            assert!(again == entry, "slot {} was {entry:?}, is {again:?}", slot.0);
                        }
                    }
                });
            }
            let mut live = VecDeque::new();
            let rounds = if cfg!(miri) { 200 } else { 50_000 };
            for round in 0..rounds {
                live.push_back(slots.allocate(PointId::Num(round), round).unwrap());
                if live.len() > 8 {
                    slots.retire(live.pop_front().unwrap());
                }
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
