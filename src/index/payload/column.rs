//! What each slot has: the way from a slot to its values.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use crate::distance::{Loop, widest};

const WORD_BITS: usize = 64;

/// Distinct values per slot. One value is stored in place, several beside.
#[derive(Debug)]
pub(super) struct Column<T> {
    /// By slot; meaningful where `ones` has the slot.
    values: Vec<T>,
    /// A bit per slot: it has exactly one value.
    ones: Vec<u64>,
    /// Slots with several values, at least two each.
    many: BTreeMap<u32, Box<[T]>>,
}

impl<T: Copy + Default + PartialEq> Column<T> {
    pub(super) fn new() -> Column<T> {
        Column { values: Vec::new(), ones: Vec::new(), many: BTreeMap::new() }
    }

    /// Gives `slot`, which has no values, these distinct ones.
    pub(super) fn put(&mut self, slot: u32, values: &[T]) {
        match values {
            [] => {}
            [value] => {
                let at = slot as usize;
                if at >= self.values.len() {
                    self.values.resize(at + 1, T::default());
                    self.ones.resize(self.values.len().div_ceil(WORD_BITS), 0);
                }
                if let (Some(cell), Some(word)) = (self.values.get_mut(at), self.ones.get_mut(at / WORD_BITS)) {
                    *cell = *value;
                    *word |= 1 << (at % WORD_BITS);
                }
            }
            several => {
                self.many.insert(slot, several.into());
            }
        }
    }

    /// Takes the values of `slot` away.
    pub(super) fn take(&mut self, slot: u32) -> Vec<T> {
        let values = self.get(slot).to_vec();
        match values.len() {
            0 => {}
            1 => {
                let at = slot as usize;
                if let Some(word) = self.ones.get_mut(at / WORD_BITS) {
                    *word &= !(1 << (at % WORD_BITS));
                }
            }
            _ => {
                self.many.remove(&slot);
            }
        }
        values
    }

    /// The values of `slot`, in the order they were given.
    pub(super) fn get(&self, slot: u32) -> &[T] {
        let at = slot as usize;
        let is_one = self.ones.get(at / WORD_BITS).is_some_and(|word| word >> (at % WORD_BITS) & 1 == 1);
        if is_one {
            self.values.get(at..=at).unwrap_or_default()
        } else {
            self.many.get(&slot).map_or(&[], |values| values)
        }
    }

    /// Shows every value of every slot.
    pub(super) fn each(&self, mut show: impl FnMut(T)) {
        for (ones, values) in self.ones.iter().zip(self.values.chunks(WORD_BITS)) {
            for (bit, value) in values.iter().enumerate() {
                if ones >> bit & 1 == 1 {
                    show(*value);
                }
            }
        }
        self.many.values().flatten().for_each(|value| show(*value));
    }

    /// Slots with values, ascending.
    pub(super) fn slots(&self) -> impl Iterator<Item = u32> {
        let end = self.many.last_key_value().map_or(0, |(slot, _)| *slot + 1).max(self.values.len() as u32);
        (0..end).filter(|slot| !self.get(*slot).is_empty())
    }

    /// Puts what `change` makes of each value in its place. `None` as soon as it makes nothing of one.
    pub(super) fn change(&mut self, change: impl Fn(T) -> Option<T>) -> Option<()> {
        for (i, ones) in self.ones.iter().enumerate() {
            let values = self.values.iter_mut().skip(i * WORD_BITS).take(WORD_BITS).enumerate();
            for (_, value) in values.filter(|(bit, _)| ones >> bit & 1 == 1) {
                *value = change(*value)?;
            }
        }
        for value in self.many.values_mut().flat_map(|values| values.iter_mut()) {
            *value = change(*value)?;
        }
        Some(())
    }

    /// Slots with several values.
    pub(super) fn several(&self) -> impl Iterator<Item = (u32, &[T])> {
        self.many.iter().map(|(slot, values)| (*slot, &**values))
    }

    /// Slots below this may have values in place.
    pub(super) fn len(&self) -> usize {
        self.values.len()
    }

    /// Slots with some value that passes.
    pub(super) fn scan(&self, passes: impl Fn(T) -> bool) -> RoaringBitmap {
        let bytes = widest(Scan { column: self, passes: &passes });
        let mut found = RoaringBitmap::from_lsb0_bytes(0, &bytes);
        let several = self.several().filter(|(_, values)| values.iter().any(|value| passes(*value)));
        found.extend(several.map(|(slot, _)| slot));
        found
    }

    pub(super) fn memory_bytes(&self) -> usize {
        let many: usize = self.many.values().map(|values| size_of_val(&**values) + 32).sum();
        self.values.capacity() * size_of::<T>() + self.ones.capacity() * size_of::<u64>() + many
    }
}

/// Which slots have one value that passes, as the bytes of a bitmap.
struct Scan<'a, T, F> {
    column: &'a Column<T>,
    passes: &'a F,
}

impl<T: Copy, F: Fn(T) -> bool> Loop for Scan<'_, T, F> {
    type Output = Vec<u8>;

    #[inline(always)]
    fn run(self) -> Vec<u8> {
        let Scan { column, passes } = self;
        let mut bytes = Vec::with_capacity(column.ones.len() * size_of::<u64>());
        for (ones, values) in column.ones.iter().zip(column.values.chunks(WORD_BITS)) {
            let mut word = 0;
            if *ones != 0 {
                for (bit, value) in values.iter().enumerate() {
                    word |= u64::from(passes(*value)) << bit;
                }
            }
            bytes.extend((word & ones).to_le_bytes());
        }
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_come_back_and_are_scanned() {
        let mut column = Column::new();
        column.put(3, &[7_u64]);
        column.put(70, &[1, 9]);
        column.put(200, &[8]);
        column.put(5, &[]);
        assert_eq!((column.get(3), column.get(70), column.get(4)), ([7].as_slice(), [1, 9].as_slice(), [].as_slice()));
        assert_eq!(column.scan(|value| value >= 8).iter().collect::<Vec<_>>(), [70, 200]);
        assert_eq!(column.scan(|value| value < 8).iter().collect::<Vec<_>>(), [3, 70]);
        assert_eq!((column.take(200), column.take(70), column.take(1)), (vec![8], vec![1, 9], vec![]));
        assert_eq!(column.scan(|_| true).iter().collect::<Vec<_>>(), [3]);
    }
}
