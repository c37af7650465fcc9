//! The posting lists of one window of slots: for every index the slots that have it, with their weights. Built once,
//! never changed.
//!
//! As bytes, little-endian: how many indices and how many entries there are (`u32` each), the indices and where the list
//! of each begins (`u32` each), the places (`u16` each), the weights (`f32` each).

use std::ops::Range;

use super::bitmap::Bitmap;
use super::file::array;
use crate::model::{Slot, SparseVector};

/// Slots per window. The sums of one window stay in the processor's first cache.
pub(super) const WINDOW_SLOTS: usize = 1 << 13;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Postings {
    /// One per index, ascending; one more, of no index, for the end of the last list.
    heads: Vec<Head>,
    /// By the leading bits of an index, the first head that has these or more; one more for the end of the last. Indices
    /// are words' numbers or their hashes, so buckets hold about one each, and finding a list is two cache misses where a
    /// binary search was seven.
    buckets: Vec<u32>,
    /// Trailing bits of an index that its bucket leaves out.
    shift: u32,
    /// Slots as numbers inside the window, ascending in each list.
    places: Vec<u16>,
    values: Vec<f32>,
}

/// One list: whose it is, where it begins, its largest and smallest weight.
#[derive(Clone, Copy, Debug)]
struct Head {
    index: u32,
    start: u32,
    max: f32,
    min: f32,
}

/// The slots of a window that have one index.
#[derive(Clone, Copy, Debug)]
pub(super) struct List<'a> {
    /// Slots as numbers inside the window, ascending.
    pub(super) places: &'a [u16],
    /// Their weights.
    pub(super) values: &'a [f32],
    /// The largest weight.
    pub(super) max: f32,
    /// The smallest weight.
    pub(super) min: f32,
}

impl Postings {
    /// The lists of `members`, all of one window, each slot once.
    pub(super) fn new<'a>(members: impl Iterator<Item = (Slot, &'a SparseVector)>) -> Postings {
        let mut entries: Vec<(u64, f32)> = Vec::new();
        for (slot, vector) in members {
            let place = (slot.index() % WINDOW_SLOTS) as u64;
            entries.extend(vector.iter().map(|(index, value)| (u64::from(index) << 16 | place, value)));
        }
        entries.sort_unstable_by_key(|(key, _)| *key);
        let mut postings = Postings::default();
        for (key, value) in entries {
            let (index, place) = ((key >> 16) as u32, key as u16);
            match postings.heads.last_mut().filter(|head| head.index == index) {
                Some(head) => (head.max, head.min) = (head.max.max(value), head.min.min(value)),
                None => {
                    let start = postings.places.len() as u32;
                    postings.heads.push(Head { index, start, max: value, min: value });
                }
            }
            postings.places.push(place);
            postings.values.push(value);
        }
        postings.finish();
        postings
    }

    /// Ends the last list and makes the buckets.
    fn finish(&mut self) {
        let index_max = self.heads.last().map_or(0, |head| head.index);
        let bits_wanted = self.heads.len().checked_ilog2().unwrap_or(0);
        self.shift = (u32::BITS - index_max.leading_zeros()).saturating_sub(bits_wanted + 1);
        let bucket_count = (index_max >> self.shift) + 1;
        let mut at = 0;
        self.buckets = Vec::with_capacity(bucket_count as usize + 1);
        for bucket in 0..bucket_count {
            at += self.heads[at..].iter().take_while(|head| head.index >> self.shift < bucket).count();
            self.buckets.push(at as u32);
        }
        self.buckets.push(self.heads.len() as u32);
        self.heads.push(Head { index: 0, start: self.places.len() as u32, max: 0.0, min: 0.0 });
        self.heads.shrink_to_fit();
        self.places.shrink_to_fit();
        self.values.shrink_to_fit();
    }

    /// The heads, each with its list's entries.
    fn ranges(&self) -> impl Iterator<Item = (&Head, Range<usize>)> {
        self.heads
            .iter()
            .zip(self.heads.iter().skip(1))
            .map(|(head, next)| (head, head.start as usize..next.start as usize))
    }

    /// The indices, ascending, with the slots (as numbers inside the window) that have each.
    pub(super) fn lists(&self) -> impl Iterator<Item = (u32, &[u16])> {
        self.ranges().map(|(head, entries)| (head.index, &self.places[entries]))
    }

    /// As bytes, with the slots of `members` (places in the window) only.
    pub(super) fn encode(&self, members: &Bitmap) -> Vec<u8> {
        let (mut indices, mut starts, mut kept) = (Vec::new(), Vec::new(), Vec::new());
        for (head, entries) in self.ranges() {
            let start = kept.len();
            kept.extend(entries.filter(|entry| members.contains(Slot(u32::from(self.places[*entry])))));
            if kept.len() > start {
                indices.push(head.index);
                starts.push(start as u32);
            }
        }
        let mut bytes = Vec::with_capacity(8 + 8 * indices.len() + 6 * kept.len());
        for word in [indices.len() as u32, kept.len() as u32].iter().chain(&indices).chain(&starts) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        kept.iter().for_each(|entry| bytes.extend_from_slice(&self.places[*entry].to_le_bytes()));
        kept.iter().for_each(|entry| bytes.extend_from_slice(&self.values[*entry].to_le_bytes()));
        bytes
    }

    /// Reads what [`Postings::encode`] wrote. `None`: these are not the lists of a window.
    pub(super) fn decode(bytes: &[u8]) -> Option<Postings> {
        let (counts, bytes) = bytes.split_first_chunk::<8>()?;
        let index_count = u32::from_le_bytes(array(&counts[..4])) as usize;
        let entry_count = u32::from_le_bytes(array(&counts[4..])) as usize;
        let (indices, bytes) = bytes.split_at_checked(index_count.checked_mul(4)?)?;
        let (starts, bytes) = bytes.split_at_checked(index_count * 4)?;
        let (places, values) = bytes.split_at_checked(entry_count.checked_mul(2)?)?;
        if values.len() != entry_count * 4 {
            return None;
        }
        let words =
            |bytes: &[u8]| -> Vec<u32> { bytes.chunks_exact(4).map(|word| u32::from_le_bytes(array(word))).collect() };
        let (indices, starts) = (words(indices), words(starts));
        let places: Vec<u16> = places.chunks_exact(2).map(|place| u16::from_le_bytes(array(place))).collect();
        let values: Vec<f32> = values.chunks_exact(4).map(|value| f32::from_le_bytes(array(value))).collect();
        let is_ascending = |words: &[u32]| words.is_sorted_by(|a, b| a < b);
        // No list is empty, so where they begin ascends, too.
        if !is_ascending(&indices) || !is_ascending(&starts) || starts.first().is_some_and(|first| *first != 0) {
            return None;
        }
        if indices.is_empty() != places.is_empty() {
            return None;
        }
        let ends = starts.iter().skip(1).map(|start| *start as usize).chain([entry_count]);
        let mut heads = Vec::with_capacity(index_count + 1);
        for ((index, start), end) in indices.iter().zip(&starts).zip(ends) {
            let list = *start as usize..end;
            let (places, values) = (places.get(list.clone())?, values.get(list)?);
            let is_in_window = places.last().is_some_and(|place| usize::from(*place) < WINDOW_SLOTS);
            if !is_in_window || !places.is_sorted_by(|a, b| a < b) {
                return None;
            }
            let max = values.iter().copied().reduce(f32::max)?;
            let min = values.iter().copied().reduce(f32::min)?;
            heads.push(Head { index: *index, start: *start, max, min });
        }
        let mut postings = Postings { heads, places, values, ..Postings::default() };
        postings.finish();
        Some(postings)
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        let Postings { heads, buckets, shift: _, places, values } = self;
        size_of_val(heads.as_slice())
            + size_of_val(buckets.as_slice())
            + size_of_val(places.as_slice())
            + size_of_val(values.as_slice())
    }

    /// The slots that have `index`; none if there are none.
    pub(super) fn list(&self, index: u32) -> Option<List<'_>> {
        let bucket = (index >> self.shift) as usize;
        let [first, end] = self.buckets.get(bucket..=bucket + 1)? else { return None };
        let heads = &self.heads[*first as usize..*end as usize];
        let at = *first as usize + heads.binary_search_by_key(&index, |head| head.index).ok()?;
        let head = &self.heads[at];
        let range = head.start as usize..self.heads[at + 1].start as usize;
        Some(List { places: &self.places[range.clone()], values: &self.values[range], max: head.max, min: head.min })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;

    #[test]
    fn lists_are_complete_ordered_and_bounded() {
        let a = SparseVector::new(vec![(7, 1.0), (u32::MAX, -2.0)]).unwrap();
        let b = SparseVector::new(vec![(7, -3.0), (0, 4.0)]).unwrap();
        let slot = |place: usize| Slot((WINDOW_SLOTS * 5 + place) as u32);
        let postings = Postings::new([(slot(WINDOW_SLOTS - 1), &a), (slot(0), &b)].into_iter());
        let list =
            |index| postings.list(index).map(|list| (list.places.to_vec(), list.values.to_vec(), list.max, list.min));
        assert_eq!(list(7), Some((vec![0, WINDOW_SLOTS as u16 - 1], vec![-3.0, 1.0], 1.0, -3.0)));
        assert_eq!(list(0), Some((vec![0], vec![4.0], 4.0, 4.0)));
        assert_eq!(list(u32::MAX), Some((vec![WINDOW_SLOTS as u16 - 1], vec![-2.0], -2.0, -2.0)));
        assert_eq!(list(8), None);
        assert_eq!(Postings::default().list(0).map(|list| list.max), None);
    }

    proptest! {
        /// However indices lie, a list is found where a map has it, also after encoding and decoding.
        #[test]
        fn lists_are_found_however_indices_lie(
            vectors in prop::collection::vec(
                prop::collection::btree_map(
                    prop_oneof![0..40u32, any::<u32>(), (u32::MAX - 40)..=u32::MAX, (1u32 << 20)..(1 << 20) + 9],
                    -2..3i8,
                    0..8,
                ),
                0..12,
            ),
            asked in prop::collection::vec(prop_oneof![0..50u32, any::<u32>(), (u32::MAX - 50)..=u32::MAX], 20),
        ) {
            let vectors: Vec<SparseVector> = vectors
                .iter()
                .map(|of| SparseVector::new(of.iter().map(|(index, weight)| (*index, f32::from(*weight))).collect()).unwrap())
                .collect();
            let members = || vectors.iter().enumerate().map(|(place, vector)| (Slot(place as u32), vector));
            let mut map: BTreeMap<u32, Vec<(u16, f32)>> = BTreeMap::new();
            for (slot, vector) in members() {
                vector.iter().for_each(|(index, weight)| map.entry(index).or_default().push((slot.0 as u16, weight)));
            }
            let postings = Postings::new(members());
            let mut all = Bitmap::new(WINDOW_SLOTS);
            (0..vectors.len()).for_each(|place| _ = all.set(Slot(place as u32)));
            let decoded = Postings::decode(&postings.encode(&all)).unwrap();
            for index in asked.iter().chain(map.keys()) {
                for postings in [&postings, &decoded] {
                    let got = postings.list(*index).map(|list| {
                        let entries: Vec<(u16, f32)> = list.places.iter().copied().zip(list.values.iter().copied()).collect();
                        let max = entries.iter().map(|entry| entry.1).reduce(f32::max);
                        let min = entries.iter().map(|entry| entry.1).reduce(f32::min);
                        assert_eq!((Some(list.max), Some(list.min)), (max, min));
                        entries
                    });
                    prop_assert_eq!(got.as_ref(), map.get(index));
                }
            }
            prop_assert!(postings.lists().map(|(index, _)| index).eq(map.keys().copied()));
        }
    }
}
