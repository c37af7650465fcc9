//! The posting lists of one window of slots: for every index the slots that have it, with their weights. Built once,
//! never changed.
//!
//! As bytes, little-endian: how many indices and how many entries there are (`u32` each), the indices and where the list
//! of each begins (`u32` each), the places (`u16` each), the weights (`f32` each).

use super::bitmap::Bitmap;
use super::file::array;
use crate::model::{Slot, SparseVector};

/// Slots per window. The sums of one window stay in the processor's first cache.
pub(super) const WINDOW_SLOTS: usize = 1 << 13;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Postings {
    /// Ascending, each once.
    indices: Vec<u32>,
    /// Where the list of each index begins; one more for the end of the last.
    starts: Vec<u32>,
    /// The largest and the smallest weight of each list.
    bounds: Vec<(f32, f32)>,
    /// Slots as numbers inside the window, ascending in each list.
    places: Vec<u16>,
    values: Vec<f32>,
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
            if postings.indices.last() != Some(&index) {
                postings.indices.push(index);
                postings.starts.push(postings.places.len() as u32);
                postings.bounds.push((value, value));
            }
            if let Some((max, min)) = postings.bounds.last_mut() {
                *max = max.max(value);
                *min = min.min(value);
            }
            postings.places.push(place);
            postings.values.push(value);
        }
        postings.finish();
        postings
    }

    /// Ends the last list.
    fn finish(&mut self) {
        let postings = self;
        postings.starts.push(postings.places.len() as u32);
        postings.indices.shrink_to_fit();
        postings.starts.shrink_to_fit();
        postings.bounds.shrink_to_fit();
        postings.places.shrink_to_fit();
        postings.values.shrink_to_fit();
    }

    /// The indices, ascending, with the slots (as numbers inside the window) that have each.
    pub(super) fn lists(&self) -> impl Iterator<Item = (u32, &[u16])> {
        let places = |ends: &[u32]| &self.places[ends[0] as usize..ends[1] as usize];
        self.indices.iter().zip(self.starts.windows(2)).map(move |(index, ends)| (*index, places(ends)))
    }

    /// As bytes, with the slots of `members` (places in the window) only.
    pub(super) fn encode(&self, members: &Bitmap) -> Vec<u8> {
        let mut kept = Postings::default();
        for (index, ends) in self.indices.iter().zip(self.starts.windows(2)) {
            let start = kept.places.len();
            for entry in ends[0] as usize..ends[1] as usize {
                if members.contains(Slot(u32::from(self.places[entry]))) {
                    kept.places.push(self.places[entry]);
                    kept.values.push(self.values[entry]);
                }
            }
            if kept.places.len() > start {
                kept.indices.push(*index);
                kept.starts.push(start as u32);
            }
        }
        kept.starts.push(kept.places.len() as u32);
        let mut bytes = Vec::with_capacity(8 + 8 * kept.indices.len() + 6 * kept.places.len());
        for word in [kept.indices.len() as u32, kept.places.len() as u32].iter().chain(&kept.indices) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        kept.starts.iter().take(kept.indices.len()).for_each(|start| bytes.extend_from_slice(&start.to_le_bytes()));
        kept.places.iter().for_each(|place| bytes.extend_from_slice(&place.to_le_bytes()));
        kept.values.iter().for_each(|value| bytes.extend_from_slice(&value.to_le_bytes()));
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
        let words = |bytes: &[u8]| bytes.chunks_exact(4).map(|word| u32::from_le_bytes(array(word))).collect();
        let mut postings = Postings {
            indices: words(indices),
            starts: words(starts),
            bounds: Vec::with_capacity(index_count),
            places: places.chunks_exact(2).map(|place| u16::from_le_bytes(array(place))).collect(),
            values: values.chunks_exact(4).map(|value| f32::from_le_bytes(array(value))).collect(),
        };
        postings.finish();
        let is_ascending = |words: &[u32]| words.is_sorted_by(|a, b| a < b);
        // No list is empty, so where they begin ascends, too.
        if !is_ascending(&postings.indices) || !is_ascending(&postings.starts) || postings.starts.first() != Some(&0) {
            return None;
        }
        for ends in postings.starts.windows(2) {
            let list = ends[0] as usize..ends[1] as usize;
            let (places, values) = (postings.places.get(list.clone())?, postings.values.get(list)?);
            let is_in_window = places.last().is_some_and(|place| usize::from(*place) < WINDOW_SLOTS);
            if !is_in_window || !places.is_sorted_by(|a, b| a < b) {
                return None;
            }
            let ends = values.iter().map(|value| (*value, *value));
            postings.bounds.extend(ends.reduce(|(max, min), (value, _)| (max.max(value), min.min(value))));
        }
        Some(postings)
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        let Postings { indices, starts, bounds, places, values } = self;
        size_of_val(indices.as_slice())
            + size_of_val(starts.as_slice())
            + size_of_val(bounds.as_slice())
            + size_of_val(places.as_slice())
            + size_of_val(values.as_slice())
    }

    /// The slots that have `index`; none if there are none.
    pub(super) fn list(&self, index: u32) -> Option<List<'_>> {
        let at = self.indices.binary_search(&index).ok()?;
        let range = self.starts[at] as usize..self.starts[at + 1] as usize;
        let (max, min) = self.bounds[at];
        Some(List { places: &self.places[range.clone()], values: &self.values[range], max, min })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
