//! The way from a value to the slots that have it.

use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::column::Column;

/// Slots that have one value. Most values of many fields are unique, so one slot needs no set.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Posting {
    One(u32),
    Many(RoaringBitmap),
}

impl Posting {
    fn insert(&mut self, slot: u32) {
        match self {
            Posting::One(one) if *one == slot => {}
            Posting::One(one) => *self = Posting::Many([*one, slot].into_iter().collect()),
            Posting::Many(slots) => {
                slots.insert(slot);
            }
        }
    }

    /// As `insert`, of a slot that is not below those that are in.
    fn append(&mut self, slot: u32) {
        match self {
            Posting::Many(slots) => {
                if slots.is_empty() {
                    *self = Posting::One(slot);
                } else {
                    // Refused if it is in already.
                    let _ = slots.try_push(slot);
                }
            }
            Posting::One(_) => self.insert(slot),
        }
    }

    /// Takes `slot` out. Is nothing left?
    fn remove(&mut self, slot: u32) -> bool {
        match self {
            Posting::One(one) => *one == slot,
            Posting::Many(slots) => {
                slots.remove(slot);
                slots.is_empty()
            }
        }
    }

    pub(super) fn len(&self) -> u64 {
        match self {
            Posting::One(_) => 1,
            Posting::Many(slots) => slots.len(),
        }
    }

    /// The slots among `within`.
    pub(super) fn within(&self, within: &RoaringBitmap) -> RoaringBitmap {
        match self {
            Posting::One(slot) => std::iter::once(*slot).filter(|slot| within.contains(*slot)).collect(),
            Posting::Many(slots) => slots & within,
        }
    }

    /// How many of the slots are among `within`.
    pub(super) fn len_within(&self, within: &RoaringBitmap) -> u64 {
        match self {
            Posting::One(slot) => u64::from(within.contains(*slot)),
            Posting::Many(slots) => slots.intersection_len(within),
        }
    }

    fn memory_bytes(&self) -> usize {
        match self {
            Posting::One(_) => 0,
            Posting::Many(slots) => slots.serialized_size() + 32,
        }
    }
}

/// The slots of all of `postings`.
///
/// Single slots are collected and put in sorted: a set per unique value and a union of them would cost far more.
pub(super) fn union<'a>(postings: impl Iterator<Item = &'a Posting>) -> RoaringBitmap {
    let mut union = RoaringBitmap::new();
    let mut singles = Vec::new();
    for posting in postings {
        match posting {
            Posting::One(slot) => singles.push(*slot),
            Posting::Many(slots) => union |= slots,
        }
    }
    singles.sort_unstable();
    union.extend(singles);
    union
}

/// Values with their slots. Every value has a small number while some slot has it.
#[derive(Debug)]
pub(super) struct Dictionary<K> {
    numbers: BTreeMap<K, u32>,
    /// By number; `None` where the number is free.
    entries: Vec<Option<(K, Posting)>>,
    free: Vec<u32>,
}

impl<K: Ord + Clone> Dictionary<K> {
    pub(super) fn new() -> Dictionary<K> {
        Dictionary { numbers: BTreeMap::new(), entries: Vec::new(), free: Vec::new() }
    }

    /// A dictionary of `keys`, of which none has a slot yet, and for each the number it got. A key that is there twice is
    /// one. [`Dictionary::append`] is to be called for every key.
    pub(super) fn with_keys(keys: Vec<K>) -> (Dictionary<K>, Vec<u32>) {
        let mut sorted: Vec<(K, usize)> = keys.into_iter().zip(0..).collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(&b.0));
        let mut numbers = vec![0; sorted.len()];
        let mut entries: Vec<Option<(K, Posting)>> = Vec::with_capacity(sorted.len());
        for (key, place) in sorted {
            if entries.last().is_none_or(|last| last.as_ref().is_none_or(|(last, _)| *last != key)) {
                entries.push(Some((key, Posting::Many(RoaringBitmap::new()))));
            }
            if let Some(number) = numbers.get_mut(place) {
                *number = (entries.len() - 1) as u32;
            }
        }
        let by_key = entries.iter().flatten().map(|(key, _)| key.clone()).zip(0..).collect();
        (Dictionary { numbers: by_key, entries, free: Vec::new() }, numbers)
    }

    /// Notes that `slot` has the value of this number. Slots come in ascending order.
    pub(super) fn append(&mut self, number: u32, slot: u32) {
        if let Some(Some((_, posting))) = self.entries.get_mut(number as usize) {
            posting.append(slot);
        }
    }

    /// Forgets the keys that got no slot.
    pub(super) fn forget_unused(&mut self) {
        for (entry, number) in self.entries.iter_mut().zip(0..) {
            if let Some((key, _)) = entry.take_if(|(_, posting)| posting.len() == 0) {
                self.numbers.remove(&key);
                self.free.push(number);
            }
        }
    }

    /// Notes that `slot` has `key`; the number of `key`.
    pub(super) fn add(&mut self, key: K, slot: u32) -> u32 {
        if let Some(number) = self.numbers.get(&key) {
            if let Some(Some((_, posting))) = self.entries.get_mut(*number as usize) {
                posting.insert(slot);
            }
            return *number;
        }
        let entry = Some((key.clone(), Posting::One(slot)));
        let number = match self.free.pop() {
            Some(number) => {
                if let Some(place) = self.entries.get_mut(number as usize) {
                    *place = entry;
                }
                number
            }
            None => {
                self.entries.push(entry);
                (self.entries.len() - 1) as u32
            }
        };
        self.numbers.insert(key, number);
        number
    }

    /// Notes that `slot` no longer has the value of this number.
    pub(super) fn drop(&mut self, number: u32, slot: u32) {
        let Some(entry) = self.entries.get_mut(number as usize) else { return };
        if entry.as_mut().is_some_and(|(_, posting)| posting.remove(slot))
            && let Some((key, _)) = entry.take()
        {
            self.numbers.remove(&key);
            self.free.push(number);
        }
    }

    pub(super) fn key(&self, number: u32) -> Option<&K> {
        self.entries.get(number as usize)?.as_ref().map(|(key, _)| key)
    }

    pub(super) fn number<Q: Ord + ?Sized>(&self, key: &Q) -> Option<u32>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.numbers.get(key).copied()
    }

    pub(super) fn posting_of(&self, number: u32) -> Option<&Posting> {
        self.entries.get(number as usize)?.as_ref().map(|(_, posting)| posting)
    }

    pub(super) fn posting<Q: Ord + ?Sized>(&self, key: &Q) -> Option<&Posting>
    where
        K: std::borrow::Borrow<Q>,
    {
        self.posting_of(self.number(key)?)
    }

    /// Values with their slots, in the order of their numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &Posting)> {
        self.entries.iter().flatten().map(|(key, posting)| (key, posting))
    }

    /// Values with their numbers.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (&K, u32)> {
        self.entries.iter().zip(0..).filter_map(|(entry, number)| Some((&entry.as_ref()?.0, number)))
    }

    /// Values from `first` on, ascending, with their slots.
    pub(super) fn iter_from<'a, Q: Ord + ?Sized>(
        &'a self,
        first: &Q,
    ) -> impl Iterator<Item = (&'a K, &'a Posting)> + use<'a, Q, K>
    where
        K: std::borrow::Borrow<Q>,
    {
        use std::ops::Bound::{Included, Unbounded};
        let numbers = self.numbers.range::<Q, _>((Included(first), Unbounded));
        numbers.filter_map(|(key, number)| Some((key, self.posting_of(*number)?)))
    }

    /// Distinct values.
    pub(super) fn len(&self) -> usize {
        self.numbers.len()
    }

    /// Numbers given out so far are below this.
    pub(super) fn number_bound(&self) -> usize {
        self.entries.len()
    }

    /// `key_bytes`: what a key holds outside itself.
    pub(super) fn memory_bytes(&self, key_bytes: impl Fn(&K) -> usize) -> usize {
        let entries: usize = self.iter().map(|(key, posting)| key_bytes(key) + posting.memory_bytes()).sum();
        let fixed = self.entries.capacity() * size_of::<Option<(K, Posting)>>();
        entries + fixed + self.numbers.len() * (size_of::<K>() + size_of::<u32>()) * 3 / 2
    }
}

/// A dictionary and the way back.
#[derive(Debug)]
pub(super) struct Lookup<K> {
    pub(super) dictionary: Dictionary<K>,
    column: Column<u32>,
}

impl<K: Ord + Clone> Lookup<K> {
    pub(super) fn new() -> Lookup<K> {
        Lookup { dictionary: Dictionary::new(), column: Column::new() }
    }

    /// A lookup of what `column` has: places in `keys`. `None`: it has others.
    pub(super) fn restore(keys: Vec<K>, mut column: Column<u32>) -> Option<Lookup<K>> {
        let (mut dictionary, numbers) = Dictionary::with_keys(keys);
        column.change(|place| numbers.get(place as usize).copied())?;
        for slot in column.slots() {
            column.get(slot).iter().for_each(|number| dictionary.append(*number, slot));
        }
        dictionary.forget_unused();
        Some(Lookup { dictionary, column })
    }

    /// Gives `slot`, which has none, these values. Equal ones count once.
    pub(super) fn put(&mut self, slot: u32, keys: impl IntoIterator<Item = K>) {
        let mut numbers = Vec::new();
        for key in keys {
            let number = self.dictionary.add(key, slot);
            if !numbers.contains(&number) {
                numbers.push(number);
            }
        }
        self.column.put(slot, &numbers);
    }

    /// Takes the values of `slot` away.
    pub(super) fn remove(&mut self, slot: u32) {
        for number in self.column.take(slot) {
            self.dictionary.drop(number, slot);
        }
    }

    pub(super) fn numbers_of(&self, slot: u32) -> &[u32] {
        self.column.get(slot)
    }

    pub(super) fn keys_of(&self, slot: u32) -> impl Iterator<Item = &K> {
        self.column.get(slot).iter().filter_map(|number| self.dictionary.key(*number))
    }

    /// Slots with one of `keys`.
    pub(super) fn any_of<'q, Q: Ord + ?Sized + 'q>(&self, keys: impl Iterator<Item = &'q Q>) -> RoaringBitmap
    where
        K: std::borrow::Borrow<Q>,
    {
        union(keys.filter_map(|key| self.dictionary.posting(key)))
    }

    /// Slots among `indexed` with a value that is none of `keys`.
    pub(super) fn other_than<'q, Q: Ord + ?Sized + 'q>(
        &self,
        keys: impl Iterator<Item = &'q Q>,
        indexed: &RoaringBitmap,
    ) -> RoaringBitmap
    where
        K: std::borrow::Borrow<Q>,
    {
        let numbers: Vec<u32> = keys.filter_map(|key| self.dictionary.number(key)).collect();
        let mut other = indexed - union(numbers.iter().filter_map(|number| self.dictionary.posting_of(*number)));
        let several = self.column.several().filter(|(_, of_slot)| of_slot.iter().any(|n| !numbers.contains(n)));
        other.extend(several.map(|(slot, _)| slot));
        other
    }

    /// Values with how many slots (among `within`) have them: the `values_max` that most have, of equals the smaller, in
    /// any order. Values that no slot has are left out.
    pub(super) fn most(&self, within: Option<&RoaringBitmap>, values_max: usize) -> Vec<(&K, u64)> {
        let mut counts = self.counts(within);
        counts.retain(|(_, count)| *count > 0);
        if values_max == 0 {
            return Vec::new();
        }
        if counts.len() > values_max {
            // By counts alone first: keys lie far apart, and most of them need not be looked at.
            let mut by_count: Vec<u32> = counts.iter().map(|(_, count)| *count).collect();
            let (_, least, _) = by_count.select_nth_unstable_by(values_max - 1, |a, b| b.cmp(a));
            let least = *least;
            let mut equals: Vec<(u32, u32)> = counts.iter().filter(|(_, count)| *count == least).copied().collect();
            counts.retain(|(_, count)| *count > least);
            let left = values_max - counts.len();
            if equals.len() > left {
                equals.select_nth_unstable_by(left, |a, b| self.dictionary.key(a.0).cmp(&self.dictionary.key(b.0)));
                equals.truncate(left);
            }
            counts.extend(equals);
        }
        let keyed = counts.into_iter().filter_map(|(number, count)| Some((self.dictionary.key(number)?, count.into())));
        keyed.collect()
    }

    /// Numbers of values, ascending, with how many slots (among `within`) have them.
    fn counts(&self, within: Option<&RoaringBitmap>) -> Vec<(u32, u32)> {
        /// A posting costs as much as looking at this many slots: it lies apart, and is intersected with a large set.
        const SLOTS_PER_POSTING: u64 = 64;
        let values = self.dictionary.len() as u64;
        let slots = within.map_or(self.column.len() as u64, RoaringBitmap::len);
        if slots / SLOTS_PER_POSTING > values {
            let numbers = 0..self.dictionary.number_bound() as u32;
            let postings = numbers.filter_map(|number| Some((number, self.dictionary.posting_of(number)?)));
            // There are at most as many slots as a `u32` counts.
            return match within {
                None => postings.map(|(number, posting)| (number, posting.len() as u32)).collect(),
                Some(within) => postings.map(|(number, posting)| (number, posting.len_within(within) as u32)).collect(),
            };
        }
        let mut counts = vec![0_u32; self.dictionary.number_bound()];
        let count = |number: u32| {
            if let Some(count) = counts.get_mut(number as usize) {
                *count += 1;
            }
        };
        match within {
            Some(within) => within.iter().flat_map(|slot| self.column.get(slot)).copied().for_each(count),
            None => self.column.each(count),
        }
        (0..).zip(counts).collect()
    }

    pub(super) fn memory_bytes(&self, key_bytes: impl Fn(&K) -> usize) -> usize {
        self.dictionary.memory_bytes(key_bytes) + self.column.memory_bytes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn slots(bitmap: &RoaringBitmap) -> Vec<u32> {
        bitmap.iter().collect()
    }

    #[test]
    fn values_are_numbered_anew_when_nobody_has_them() {
        let mut lookup = Lookup::new();
        lookup.put(1, ["a", "b", "a"]);
        lookup.put(2, ["b"]);
        assert_eq!(lookup.keys_of(1).collect::<Vec<_>>(), [&"a", &"b"]);
        assert_eq!(lookup.dictionary.posting("b").map(Posting::len), Some(2));
        lookup.remove(1);
        assert_eq!((lookup.dictionary.posting("a"), lookup.dictionary.len()), (None, 1));
        lookup.put(3, ["c"]);
        assert_eq!(lookup.dictionary.number_bound(), 2, "the number of a is used again");
        assert_eq!(slots(&lookup.any_of(["b", "c", "x"].into_iter())), [2, 3]);
    }

    #[test]
    fn other_than_looks_at_each_value_of_a_slot() {
        let mut lookup = Lookup::new();
        lookup.put(1, [5]);
        lookup.put(2, [5, 6]);
        lookup.put(3, [6, 7]);
        lookup.put(4, [8]);
        let indexed = (1..=4).collect();
        assert_eq!(slots(&lookup.other_than([5].iter(), &indexed)), [2, 3, 4]);
        assert_eq!(slots(&lookup.other_than([5, 6].iter(), &indexed)), [3, 4]);
        assert_eq!(slots(&lookup.other_than([].iter(), &indexed)), [1, 2, 3, 4]);
    }

    #[test]
    fn both_ways_of_counting_agree() {
        let mut lookup = Lookup::new();
        for slot in 0..2_000_u32 {
            lookup.put(slot, [slot % 3, slot % 7]);
        }
        let most = |within: Option<&RoaringBitmap>, values_max: usize| -> Vec<(u32, u64)> {
            let mut counts: Vec<_> = lookup.most(within, values_max).into_iter().map(|(k, n)| (*k, n)).collect();
            counts.sort_unstable();
            counts
        };
        let counted = |within: &RoaringBitmap| most(Some(within), usize::MAX);
        let (many, few): (RoaringBitmap, RoaringBitmap) = ((0..2_000).collect(), (0..21).collect());
        assert_eq!(counted(&many), most(None, usize::MAX));
        assert_eq!(most(Some(&few), 4), [(0, 9), (1, 9), (2, 9), (3, 3)], "of equals the smaller");
        assert_eq!(most(Some(&few), 2), [(0, 9), (1, 9)]);
        assert_eq!(most(Some(&few), 0), []);
        // Of 21 slots: a third is 0, 1, 2 each by the first value; a seventh 0..7 by the second; both at once counts once.
        assert_eq!(counted(&few), [(0, 9), (1, 9), (2, 9), (3, 3), (4, 3), (5, 3), (6, 3)]);
    }
}
