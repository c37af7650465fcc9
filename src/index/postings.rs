//! The posting lists of one window of slots: for every index the slots that have it, with their weights. Built once,
//! never changed.

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
        postings.starts.push(postings.places.len() as u32);
        postings.indices.shrink_to_fit();
        postings.starts.shrink_to_fit();
        postings.bounds.shrink_to_fit();
        postings.places.shrink_to_fit();
        postings.values.shrink_to_fit();
        postings
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
