//! Values in order: ranges, and slots in the order of their values.
//!
//! A value is a `u64` key whose order is the value's; see [`Key`].

use std::ops::RangeInclusive;

use roaring::RoaringBitmap;

use super::column::Column;
use crate::model::datetime::Timestamp;
use crate::model::filter::Range;

/// A value as a number whose order is the values' order.
pub(super) type Key = u64;

const SIGN: u64 = 1 << 63;

pub(super) fn key_of_integer(value: i64) -> Key {
    value.cast_unsigned() ^ SIGN
}

pub(super) fn integer_of_key(key: Key) -> i64 {
    (key ^ SIGN).cast_signed()
}

/// Both zeros are one value: no range and no order tells them apart.
pub(super) fn key_of_float(value: f64) -> Key {
    let bits = if value == 0.0 { 0 } else { value.to_bits() };
    if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

pub(super) fn float_of_key(key: Key) -> f64 {
    f64::from_bits(if key & SIGN == 0 { !key } else { key ^ SIGN })
}

/// The keys of the integers that `range` holds, as floating-point numbers.
pub(super) fn keys_of_integers(range: &Range<f64>) -> Option<RangeInclusive<Key>> {
    // Rounding to a float keeps the order, so each bound divides the integers in two.
    let first = |is_beyond: &dyn Fn(f64) -> bool| first_key(|key| is_beyond(integer_of_key(key) as f64));
    let mut keys = Bounds::new();
    if let Some(bound) = range.gt {
        keys.from(first(&|value| value > bound)?);
    }
    if let Some(bound) = range.gte {
        keys.from(first(&|value| value >= bound)?);
    }
    if let Some(bound) = range.lt {
        keys.below(first(&|value| value >= bound))?;
    }
    if let Some(bound) = range.lte {
        keys.below(first(&|value| value > bound))?;
    }
    keys.finish()
}

/// The keys of the floats that `range` holds.
pub(super) fn keys_of_floats(range: &Range<f64>) -> Option<RangeInclusive<Key>> {
    keys_of(range, |bound| key_of_float(*bound))
}

/// The keys of the instants that `range` holds.
pub(super) fn keys_of_instants(range: &Range<Timestamp>) -> Option<RangeInclusive<Key>> {
    keys_of(range, |bound| key_of_integer(bound.0))
}

fn keys_of<T>(range: &Range<T>, key: impl Fn(&T) -> Key) -> Option<RangeInclusive<Key>> {
    let mut keys = Bounds::new();
    if let Some(bound) = &range.gt {
        keys.from(key(bound).checked_add(1)?);
    }
    if let Some(bound) = &range.gte {
        keys.from(key(bound));
    }
    if let Some(bound) = &range.lt {
        keys.below(Some(key(bound)))?;
    }
    if let Some(bound) = &range.lte {
        keys.below(key(bound).checked_add(1))?;
    }
    keys.finish()
}

struct Bounds {
    first: Key,
    last: Key,
}

impl Bounds {
    fn new() -> Bounds {
        Bounds { first: 0, last: Key::MAX }
    }

    fn from(&mut self, first: Key) {
        self.first = self.first.max(first);
    }

    /// Keys below `end`; none: no bound. `None`: nothing is below.
    fn below(&mut self, end: Option<Key>) -> Option<()> {
        if let Some(end) = end {
            self.last = self.last.min(end.checked_sub(1)?);
        }
        Some(())
    }

    fn finish(self) -> Option<RangeInclusive<Key>> {
        (self.first <= self.last).then_some(self.first..=self.last)
    }
}

/// The first key that is beyond a bound, if any is.
fn first_key(is_beyond: impl Fn(Key) -> bool) -> Option<Key> {
    if !is_beyond(Key::MAX) {
        return None;
    }
    let (mut low, mut high) = (0, Key::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        if is_beyond(middle) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Some(low)
}

/// Entries of a block. Small enough to be moved at an insertion, large enough that there are few blocks.
const BLOCK_ENTRIES_MAX: usize = 512;

/// Pairs of key and slot, ascending, in blocks that are split when full.
#[derive(Debug, Default)]
struct Pairs {
    /// None is empty.
    blocks: Vec<Vec<(Key, u32)>>,
}

/// A place between two pairs.
#[derive(Clone, Copy)]
struct Seek {
    block: usize,
    entry: usize,
}

impl Pairs {
    /// The place before the first pair that is not below `pair`.
    fn seek(&self, pair: (Key, u32)) -> Seek {
        let block = self.blocks.partition_point(|block| block.last().is_some_and(|last| *last < pair));
        let entry = self.blocks.get(block).map_or(0, |entries| entries.partition_point(|entry| *entry < pair));
        Seek { block, entry }
    }

    fn insert(&mut self, pair: (Key, u32)) {
        let mut at = self.seek(pair);
        if at.block == self.blocks.len() {
            // Beyond all: at the end of the last block, which keeps ascending loads dense.
            match self.blocks.last() {
                Some(last) if last.len() < BLOCK_ENTRIES_MAX => {
                    at = Seek { block: self.blocks.len() - 1, entry: last.len() };
                }
                _ => self.blocks.push(Vec::new()),
            }
        }
        let Some(block) = self.blocks.get_mut(at.block) else { return };
        block.insert(at.entry, pair);
        if block.len() > BLOCK_ENTRIES_MAX {
            let upper = block.split_off(BLOCK_ENTRIES_MAX / 2);
            self.blocks.insert(at.block + 1, upper);
        }
    }

    fn remove(&mut self, pair: (Key, u32)) {
        let at = self.seek(pair);
        let Some(block) = self.blocks.get_mut(at.block) else { return };
        if block.get(at.entry) == Some(&pair) {
            block.remove(at.entry);
            if block.is_empty() {
                self.blocks.remove(at.block);
            }
        }
    }

    /// Pairs with a key in `keys`, ascending; to be read from either end.
    fn range(&self, keys: &RangeInclusive<Key>) -> impl DoubleEndedIterator<Item = (Key, u32)> + use<'_> {
        let (from, to) = (self.seek((*keys.start(), 0)), self.end_of(*keys.end()));
        let last = (to.block + 1).min(self.blocks.len());
        let blocks = self.blocks.get(from.block..last).unwrap_or_default().iter().enumerate();
        blocks.flat_map(move |(nth, block)| {
            let first = if nth == 0 { from.entry } else { 0 };
            let end = if from.block + nth == to.block { to.entry } else { block.len() };
            block.get(first..end).unwrap_or_default().iter().copied()
        })
    }

    /// The place after the last pair with this key.
    fn end_of(&self, key: Key) -> Seek {
        match key.checked_add(1) {
            Some(next) => self.seek((next, 0)),
            None => Seek { block: self.blocks.len(), entry: 0 },
        }
    }

    /// How many pairs have a key in `keys`; looks at blocks, not at pairs.
    fn len_of(&self, keys: &RangeInclusive<Key>) -> usize {
        let (from, to) = (self.seek((*keys.start(), 0)), self.end_of(*keys.end()));
        let whole: usize = self.blocks.get(from.block..to.block).unwrap_or_default().iter().map(Vec::len).sum();
        (whole + to.entry).saturating_sub(from.entry)
    }

    fn memory_bytes(&self) -> usize {
        let blocks: usize = self.blocks.iter().map(|block| block.capacity() * size_of::<(Key, u32)>()).sum();
        blocks + self.blocks.capacity() * size_of::<Vec<(Key, u32)>>()
    }
}

/// Slots by their values' order, and the values of each slot.
#[derive(Debug)]
pub(super) struct Ordered {
    pairs: Pairs,
    column: Column<Key>,
}

impl Ordered {
    pub(super) fn new() -> Ordered {
        Ordered { pairs: Pairs::default(), column: Column::new() }
    }

    /// What `column` has: ascending keys, each once in a slot.
    pub(super) fn restore(column: Column<Key>) -> Ordered {
        let of_slot = |slot| column.get(slot).iter().map(move |key| (*key, slot));
        let mut pairs: Vec<(Key, u32)> = column.slots().flat_map(of_slot).collect();
        pairs.sort_unstable();
        let blocks = pairs.chunks(BLOCK_ENTRIES_MAX).map(<[_]>::to_vec).collect();
        Ordered { pairs: Pairs { blocks }, column }
    }

    /// Gives `slot`, which has none, these values. Equal ones count once.
    pub(super) fn put(&mut self, slot: u32, mut keys: Vec<Key>) {
        keys.sort_unstable();
        keys.dedup();
        for key in &keys {
            self.pairs.insert((*key, slot));
        }
        self.column.put(slot, &keys);
    }

    pub(super) fn remove(&mut self, slot: u32) {
        for key in self.column.take(slot) {
            self.pairs.remove((key, slot));
        }
    }

    /// Ascending.
    pub(super) fn keys_of(&self, slot: u32) -> &[Key] {
        self.column.get(slot)
    }

    /// How many pairs of value and slot lie in `keys`.
    pub(super) fn len_of(&self, keys: &RangeInclusive<Key>) -> usize {
        self.pairs.len_of(keys)
    }

    /// No slot has several values.
    pub(super) fn is_single(&self) -> bool {
        self.column.several().next().is_none()
    }

    /// Slots among `within` with a value in `keys`: from the pairs if they are few, from `within` if that has few, else
    /// by a scan of the column.
    pub(super) fn range(&self, keys: &RangeInclusive<Key>, within: &RoaringBitmap) -> RoaringBitmap {
        /// A pair or a slot picked out costs as much as this many values scanned.
        const SCANNED_PER_PICKED: usize = 16;
        let (pairs, slots) = (self.len_of(keys), usize::try_from(within.len()).unwrap_or(usize::MAX));
        let picked_max = self.column.len() / SCANNED_PER_PICKED;
        if slots.min(pairs) == 0 {
            RoaringBitmap::new()
        } else if slots <= pairs && slots <= picked_max {
            let has_one = |slot: &u32| self.column.get(*slot).iter().any(|key| keys.contains(key));
            // Ascending, as the set they are of.
            RoaringBitmap::from_sorted_iter(within.iter().filter(has_one)).unwrap_or_default()
        } else if pairs <= picked_max {
            let mut found: Vec<u32> = self.pairs.range(keys).map(|(_, slot)| slot).collect();
            found.sort_unstable();
            found.into_iter().collect::<RoaringBitmap>() & within
        } else {
            let (first, width) = (*keys.start(), keys.end() - keys.start());
            self.column.scan(|key| key.wrapping_sub(first) <= width) & within
        }
    }

    /// Pairs of value and slot in `keys`, ascending; to be read from either end.
    pub(super) fn iter(&self, keys: &RangeInclusive<Key>) -> impl DoubleEndedIterator<Item = (Key, u32)> + use<'_> {
        self.pairs.range(keys)
    }

    pub(super) fn memory_bytes(&self) -> usize {
        self.pairs.memory_bytes() + self.column.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    #[test]
    fn keys_keep_the_order_of_values() {
        let integers = [i64::MIN, -2, -1, 0, 1, i64::MAX];
        assert!(integers.windows(2).all(|pair| key_of_integer(pair[0]) < key_of_integer(pair[1])));
        assert!(integers.iter().all(|value| integer_of_key(key_of_integer(*value)) == *value));
        let floats = [f64::MIN, -1.5, -f64::MIN_POSITIVE, 0.0, 1e-300, 1.5, f64::MAX];
        assert!(floats.windows(2).all(|pair| key_of_float(pair[0]) < key_of_float(pair[1])));
        assert!(floats.iter().all(|value| float_of_key(key_of_float(*value)) == *value));
        assert_eq!(key_of_float(-0.0), key_of_float(0.0));
    }

    fn range(bounds: &[Option<f64>; 4]) -> Range<f64> {
        let [lt, lte, gt, gte] = *bounds;
        Range { lt, lte, gt, gte }
    }

    fn any_bounds() -> impl Strategy<Value = [Option<f64>; 4]> {
        let bound = prop_oneof![
            3 => Just(None),
            4 => (-5..5_i32).prop_map(|n| Some(f64::from(n) / 2.0)),
            1 => prop::sample::select(vec![1e300, -1e300, 9_223_372_036_854_775_807.0, 9_007_199_254_740_993.0]).prop_map(Some),
        ];
        prop::array::uniform4(bound)
    }

    fn any_integer() -> impl Strategy<Value = i64> {
        prop_oneof![-4..4_i64, prop::sample::select(vec![i64::MIN, i64::MAX, i64::MAX - 500, (1 << 53) + 1, 1 << 53])]
    }

    proptest! {
        #[test]
        fn s7_7_ranges_of_keys_hold_what_the_range_holds(bounds in any_bounds(), integer in any_integer(), half in -9..9_i32) {
            let range = range(&bounds);
            let has = |keys: Option<RangeInclusive<Key>>, key| keys.is_some_and(|keys| keys.contains(&key));
            prop_assert_eq!(has(keys_of_integers(&range), key_of_integer(integer)), range.contains(&(integer as f64)));
            let float = f64::from(half) / 2.0;
            prop_assert_eq!(has(keys_of_floats(&range), key_of_float(float)), range.contains(&float));
        }

        #[test]
        fn pairs_are_an_ordered_set(ops in prop::collection::vec((any::<bool>(), 0..40_u64, 0..60_u32), 0..3_000), first in 0..40_u64, more in 0..40_u64) {
            let (mut pairs, mut set) = (Pairs::default(), BTreeSet::new());
            for (is_put, key, slot) in ops {
                if is_put && set.insert((key, slot)) {
                    pairs.insert((key, slot));
                } else if !is_put {
                    set.remove(&(key, slot));
                    pairs.remove((key, slot));
                }
            }
            prop_assert!(pairs.blocks.iter().all(|block| !block.is_empty() && block.len() <= BLOCK_ENTRIES_MAX));
            for keys in [first..=first + more, 0..=Key::MAX, 50..=60, first..=first] {
                let want: Vec<_> = set.range((*keys.start(), 0)..=(*keys.end(), u32::MAX)).copied().collect();
                prop_assert_eq!(pairs.range(&keys).collect::<Vec<_>>(), want.clone());
                prop_assert_eq!(pairs.range(&keys).rev().collect::<Vec<_>>(), want.iter().rev().copied().collect::<Vec<_>>());
                prop_assert_eq!(pairs.len_of(&keys), want.len());
            }
        }
    }

    #[test]
    fn all_three_ways_through_a_range_agree() {
        let mut ordered = Ordered::new();
        for slot in 0..1_000_u32 {
            ordered.put(slot, vec![u64::from(slot) % 100, 1_000 + u64::from(slot)]);
        }
        let all: RoaringBitmap = (0..1_000).collect();
        let few: RoaringBitmap = [1, 7, 107, 999].into_iter().collect();
        let slots = |ordered: &Ordered, keys, within| ordered.range(&keys, within).iter().collect::<Vec<_>>();
        assert_eq!(slots(&ordered, 7..=7, &all), (0..10).map(|n| n * 100 + 7).collect::<Vec<_>>());
        assert_eq!(slots(&ordered, 0..=99, &few), [1, 7, 107, 999]);
        assert_eq!(slots(&ordered, 7..=7, &few), [7, 107]);
        assert_eq!(slots(&ordered, 1_005..=1_900, &all).len(), 896);
        ordered.remove(7);
        assert_eq!(slots(&ordered, 7..=7, &few), [107]);
        assert_eq!(slots(&ordered, 2_000..=3_000, &all), [] as [u32; 0]);
    }
}
