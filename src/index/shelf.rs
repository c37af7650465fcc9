//! Values of any shape by slot, read without locks: what sparse and multi vectors are kept in.
//!
//! Invariants:
//! - A value is put once per life of its slot, before the slot's live bit here is set. A slot begins a new life only
//!   when no pin can know the old one, so a value read under a pin stays where it is while the pin lives.
//! - `put` and `remove` are called by one thread (the one that applies the log); everything else by any.
//!
//! A removed value's memory is freed when its slot is used again, not before: a search may still read it.

use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use super::arena::{Arena, prefetch};
use super::bitmap::LiveBits;
use super::slots::{Pin, Slots};
use crate::model::Slot;

/// At most one value per live slot.
#[derive(Debug)]
pub(super) struct Shelf<T> {
    slots: Arc<Slots>,
    values: Arena<AtomicPtr<T>>,
    /// The life of the slot its value was put in.
    lives: Arena<AtomicU32>,
    live: LiveBits,
    /// One more than the largest slot that ever had a value.
    bound: AtomicU32,
    owned: PhantomData<Box<T>>,
}

impl<T: Send + Sync> Shelf<T> {
    pub(super) fn new(slots: Arc<Slots>) -> Shelf<T> {
        let (values, lives) = (Arena::new(1), Arena::new(1));
        Shelf { slots, values, lives, live: LiveBits::new(), bound: AtomicU32::new(0), owned: PhantomData }
    }

    /// Makes room for the value of `slot`.
    fn grow_to(&self, slot: Slot) {
        self.values.grow_to(slot.0);
        self.lives.grow_to(slot.0);
        self.live.grow_to(slot);
        self.bound.fetch_max(slot.0 + 1, Ordering::SeqCst);
    }

    /// Keeps the value of a slot just allocated.
    ///
    /// # Panics
    /// If the slot had a value in its life.
    pub(super) fn put(&self, slot: Slot, value: T) {
        self.grow_to(slot);
        let life = self.slots.lives(slot);
        let before = self.lives.grown(slot.0)[0].swap(life, Ordering::SeqCst);
        assert!(before < life, "slot {} already has a value in its life {life}", slot.0);
        let new = Box::into_raw(Box::new(value));
        let old = self.values.grown(slot.0)[0].swap(new, Ordering::SeqCst);
        if !old.is_null() {
            // SAFETY: it came from `Box::into_raw` and has just been taken out. Nobody reads it: a reader saw the live
            // bit of the slot's old life while pinned, and `Slots` began the new life (checked above) after every pin
            // of that time was dropped.
            drop(unsafe { Box::from_raw(old) });
        }
        self.live.set(slot);
    }

    /// Hides the value of `slot` from every reader that begins after the return. Was there one?
    pub(super) fn remove(&self, slot: Slot) -> bool {
        self.live.clear(slot)
    }

    /// The value of a live slot.
    ///
    /// # Panics
    /// If the pin is not one of this shelf's slots.
    #[inline]
    pub(super) fn get<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> Option<&'a T> {
        debug_assert!(pin.is_of(&self.slots));
        if !self.live.contains(slot) {
            return None;
        }
        self.kept(pin, slot)
    }

    /// The value of a slot that was seen live under `pin`.
    #[inline]
    pub(super) fn kept<'a>(&'a self, _pin: &'a Pin<'_>, slot: Slot) -> Option<&'a T> {
        let value = self.values.row(slot.0)?[0].load(Ordering::SeqCst);
        // SAFETY: null or from `Box::into_raw`. It was put before the live bit that was seen under the pin, and is
        // freed only in the slot's next life, which does not begin while the pin lives.
        unsafe { value.as_ref() }
    }

    /// Bytes allocated for the values and to find them, by what one value takes beside itself. Looks at every value.
    pub(super) fn memory_bytes(&self, bytes_of: impl Fn(&T) -> usize) -> usize {
        let pin = self.slots.pin();
        let live = self.live.snapshot(self.bound.load(Ordering::SeqCst) as usize);
        let values = live.iter().filter_map(|slot| self.get(&pin, slot));
        let value_bytes: usize = values.map(|value| size_of::<T>() + bytes_of(value)).sum();
        self.values.allocated_bytes() + self.lives.allocated_bytes() + value_bytes
    }

    /// Asks for the value of `slot`, but not for what it points to, ahead of its use.
    #[inline]
    pub(super) fn prefetch(&self, slot: Slot) {
        if let Some(cell) = self.values.row(slot.0) {
            prefetch(cell[0].load(Ordering::Relaxed).cast(), 1);
        }
    }

    /// The slots that have a value.
    pub(super) fn live(&self) -> &LiveBits {
        &self.live
    }

    pub(super) fn slots(&self) -> &Arc<Slots> {
        &self.slots
    }
}

impl<T> Drop for Shelf<T> {
    fn drop(&mut self) {
        for slot in 0..*self.bound.get_mut() {
            let value = self.values.row(slot).map(|cell| cell[0].swap(std::ptr::null_mut(), Ordering::SeqCst));
            if let Some(value) = value.filter(|value| !value.is_null()) {
                // SAFETY: it came from `Box::into_raw`; nobody else has the shelf, and the cell was emptied.
                drop(unsafe { Box::from_raw(value) });
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::PointId;

    #[test]
    fn a_value_lives_as_long_as_its_slot_and_the_pins_that_saw_it() {
        let slots = Arc::new(Slots::new());
        let shelf = Shelf::new(Arc::clone(&slots));
        let value = Arc::new(7);
        let slot = slots.allocate(PointId::Num(1), 1).unwrap();
        shelf.put(slot, Arc::clone(&value));
        let pin = slots.pin();
        let seen = shelf.get(&pin, slot).unwrap();
        assert!(shelf.remove(slot) && !shelf.remove(slot));
        slots.retire(slot);
        assert!(shelf.get(&pin, slot).is_none());
        let other = slots.allocate(PointId::Num(2), 2).unwrap();
        shelf.put(other, Arc::clone(&value));
        assert_eq!((**seen, Arc::strong_count(&value)), (7, 3));
        drop(pin);
        let again = slots.allocate(PointId::Num(3), 3).unwrap();
        assert_eq!(again, slot);
        assert!(shelf.get(&slots.pin(), again).is_none(), "the slot's new point has no value");
        shelf.put(again, Arc::clone(&value));
        assert_eq!(Arc::strong_count(&value), 3);
        drop(shelf);
        assert_eq!(Arc::strong_count(&value), 1);
    }

    #[test]
    fn readers_never_see_a_value_of_another_life() {
        let slots = Arc::new(Slots::new());
        let shelf: Shelf<Vec<u64>> = Shelf::new(Arc::clone(&slots));
        let done = std::sync::atomic::AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    let pin = slots.pin();
                    for slot in (0..8).map(Slot) {
                        if let Some(value) = shelf.get(&pin, slot) {
                            assert!(value.iter().all(|n| *n == value[0]));
                            assert_eq!(slots.get(slot), Some((PointId::Num(value[0]), 1)));
                        }
                    }
                }
            });
            let rounds = if cfg!(miri) { 100 } else { 20_000 };
            for round in 0..rounds {
                let slot = slots.allocate(PointId::Num(round), 1).unwrap();
                shelf.put(slot, vec![round; 4]);
                shelf.remove(slot);
                slots.retire(slot);
            }
            done.store(true, Ordering::Relaxed);
        });
    }
}
