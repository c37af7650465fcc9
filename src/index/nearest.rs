//! Candidates as single numbers, and the two collections of them a search keeps.
//!
//! A candidate is a `u64`: the distance in its upper half, made so that smaller numbers are smaller distances, and the
//! slot below it with two bits for the walk. Comparing candidates is comparing integers, and equal distances have one
//! order (by slot), so a search is repeatable.

use crate::model::Slot;

/// Set once the walk has followed a candidate's links.
const EXPANDED: u64 = 1;
/// Set for a candidate that may be a result: live, and in the filter if there is one.
const ELIGIBLE: u64 = 2;
const SLOT_SHIFT: u32 = 2;

/// A distance and a slot below 2^30, ordered by distance, then slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Candidate(u64);

impl Candidate {
    #[inline]
    pub(super) fn new(distance: f32, slot: Slot, eligible: bool) -> Candidate {
        let bits = distance.to_bits();
        // Negative floats order backwards and below the positive ones.
        let ordered = if bits >> 31 == 1 { !bits } else { bits | 1 << 31 };
        let flags = if eligible { ELIGIBLE } else { 0 };
        Candidate(u64::from(ordered) << 32 | u64::from(slot.0) << SLOT_SHIFT | flags)
    }

    #[inline]
    pub(super) fn slot(self) -> Slot {
        Slot(self.0 as u32 >> SLOT_SHIFT)
    }

    #[inline]
    pub(super) fn distance(self) -> f32 {
        let ordered = (self.0 >> 32) as u32;
        f32::from_bits(if ordered >> 31 == 1 { ordered & !(1 << 31) } else { !ordered })
    }

    #[inline]
    pub(super) fn is_eligible(self) -> bool {
        self.0 & ELIGIBLE != 0
    }
}

/// The `k` nearest of a stream. Grows with what it is given, never with `k`.
#[derive(Debug, Default)]
pub(super) struct Nearest {
    kept: Vec<Candidate>,
    k: usize,
    /// Nothing beyond this can be among the nearest; none while fewer than `k` were seen.
    bound: Option<Candidate>,
}

impl Nearest {
    pub(super) fn start(&mut self, k: usize) {
        self.kept.clear();
        self.k = k;
        self.bound = None;
    }

    #[inline]
    pub(super) fn offer(&mut self, candidate: Candidate) {
        if self.bound.is_some_and(|bound| candidate >= bound) {
            return;
        }
        self.kept.push(candidate);
        if self.kept.len() >= self.k.saturating_mul(2).max(64) {
            self.shrink();
        }
    }

    fn shrink(&mut self) {
        if self.k == 0 {
            self.kept.clear();
        } else if self.kept.len() > self.k {
            let (_, bound, _) = self.kept.select_nth_unstable(self.k - 1);
            self.bound = Some(*bound);
            self.kept.truncate(self.k);
        }
    }

    /// The largest distance kept, once `k` are: what is farther cannot be among the nearest.
    pub(super) fn worst(&mut self) -> Option<f32> {
        self.shrink();
        if self.bound.is_none() && self.kept.len() == self.k {
            self.bound = self.kept.iter().max().copied();
        }
        self.worst_seen()
    }

    /// As [`Nearest::worst`], as of the last time it was found out.
    #[inline]
    pub(super) fn worst_seen(&self) -> Option<f32> {
        self.bound.map(Candidate::distance)
    }

    /// The nearest, ascending.
    pub(super) fn finish(&mut self) -> &[Candidate] {
        self.shrink();
        self.kept.sort_unstable();
        &self.kept
    }
}

/// The walk's pool: sorted candidates with a cursor at the first whose links have not been followed.
///
/// It is as long as it takes to hold `ef` eligible candidates; those that may not be results (dead, or outside the
/// filter) are kept for navigation as far as the `ef`-th eligible one and do not count.
#[derive(Debug, Default)]
pub(super) struct Pool {
    sorted: Vec<Candidate>,
    cursor: usize,
    ef: usize,
    eligible: usize,
}

impl Pool {
    pub(super) fn start(&mut self, ef: usize) {
        self.sorted.clear();
        self.cursor = 0;
        self.ef = ef.max(1);
        self.eligible = 0;
    }

    /// Holds these, sorted and eligible, and nothing else.
    pub(super) fn fill(&mut self, sorted: &[Candidate]) {
        self.start(sorted.len());
        self.sorted.extend_from_slice(sorted);
        self.eligible = sorted.len();
    }

    /// Takes a candidate that is not in the pool yet, if it is near enough.
    pub(super) fn offer(&mut self, candidate: Candidate) {
        self.offer_all(&[candidate.slot()], &[candidate.distance()], |_| candidate.is_eligible());
    }

    /// Takes those of a batch that are near enough; none of them is in the pool yet.
    #[inline]
    pub(super) fn offer_all(&mut self, slots: &[Slot], distances: &[f32], is_eligible: impl Fn(Slot) -> bool) {
        const BATCH: usize = 64;
        for (slots, distances) in slots.chunks(BATCH).zip(distances.chunks(BATCH)) {
            // Few are near enough once the pool is full, and which cannot be foreseen: they are picked without a branch.
            let worst = if self.eligible >= self.ef { self.sorted.last() } else { None };
            let worst = worst.map_or(f32::INFINITY, |last| last.distance());
            let (mut picked, mut count) = ([Candidate(0); BATCH], 0);
            for (slot, distance) in slots.iter().zip(distances) {
                picked[count] = Candidate::new(*distance, *slot, false);
                count += usize::from(*distance <= worst);
            }
            let picked = &mut picked[..count];
            for candidate in &mut *picked {
                if is_eligible(candidate.slot()) {
                    candidate.0 |= ELIGIBLE;
                    self.eligible += 1;
                }
            }
            picked.sort_unstable();
            self.merge(picked);
            self.trim();
        }
    }

    /// Puts sorted candidates where they belong, from the last on: what lies behind a place moves once.
    #[inline]
    fn merge(&mut self, picked: &[Candidate]) {
        let mut end = self.sorted.len();
        self.sorted.resize(end + picked.len(), Candidate(0));
        for (before, candidate) in picked.iter().enumerate().rev() {
            let at = self.sorted[..end].partition_point(|kept| kept < candidate);
            self.sorted.copy_within(at..end, at + before + 1);
            self.sorted[at + before] = *candidate;
            end = at;
        }
        self.cursor = self.cursor.min(end);
    }

    /// Drops whatever lies beyond the `ef`-th eligible candidate.
    #[inline]
    fn trim(&mut self) {
        if self.eligible < self.ef {
            return;
        }
        while let Some(last) = self.sorted.last() {
            if last.is_eligible() {
                if self.eligible <= self.ef {
                    break;
                }
                self.eligible -= 1;
            }
            self.sorted.pop();
        }
    }

    /// The nearest candidate whose links have not been followed, marked as followed.
    #[inline]
    pub(super) fn expand(&mut self) -> Option<Slot> {
        let candidate = self.sorted.get_mut(self.cursor)?;
        candidate.0 |= EXPANDED;
        let slot = candidate.slot();
        while self.sorted.get(self.cursor).is_some_and(|next| next.0 & EXPANDED != 0) {
            self.cursor += 1;
        }
        Some(slot)
    }

    /// The candidates that `expand` would return now, at most `count`.
    #[inline]
    pub(super) fn upcoming(&self, count: usize) -> impl Iterator<Item = Slot> {
        let next = self.sorted[self.cursor..].iter().filter(|candidate| candidate.0 & EXPANDED == 0);
        next.map(|candidate| candidate.slot()).take(count)
    }

    /// How many of the candidates are eligible.
    #[inline]
    pub(super) fn eligible_share(&self) -> f64 {
        self.eligible as f64 / self.sorted.len().max(1) as f64
    }

    /// Every candidate, nearest first.
    pub(super) fn sorted(&self) -> &[Candidate] {
        &self.sorted
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn candidates_order_by_distance_then_slot() {
        let distances = [f32::NEG_INFINITY, -3.5, -1e-30, 0.0, 1e-30, 2.0, f32::MAX, f32::INFINITY];
        let candidates: Vec<_> = distances.iter().map(|d| Candidate::new(*d, Slot((1 << 30) - 1), true)).collect();
        assert!(candidates.is_sorted());
        for (candidate, distance) in candidates.iter().zip(distances) {
            assert_eq!((candidate.distance(), candidate.slot()), (distance, Slot((1 << 30) - 1)));
        }
        assert!(Candidate::new(1.0, Slot(3), true) < Candidate::new(1.0, Slot(4), false));
    }

    #[test]
    fn the_worst_of_the_nearest_is_known_once_there_are_k() {
        let mut nearest = Nearest::default();
        nearest.start(3);
        for (distance, worst) in [(5.0, None), (1.0, None), (3.0, Some(5.0)), (9.0, Some(5.0)), (2.0, Some(3.0))] {
            nearest.offer(Candidate::new(distance, Slot(0), true));
            assert_eq!(nearest.worst(), worst);
        }
        assert_eq!(nearest.finish().len(), 3);
    }

    #[test]
    fn nearest_keeps_the_k_smallest_whatever_the_order() {
        for k in [0, 1, 7, 64, 1_000, usize::MAX] {
            let mut nearest = Nearest::default();
            nearest.start(k);
            let slots: Vec<u32> = (0..500u32).map(|i| i * 7_919 % 500).collect();
            for slot in &slots {
                nearest.offer(Candidate::new((*slot / 3) as f32, Slot(*slot), true));
            }
            let got: Vec<u32> = nearest.finish().iter().map(|candidate| candidate.slot().0).collect();
            assert_eq!(got, (0..500).take(k).collect::<Vec<u32>>());
        }
    }

    #[test]
    fn pool_holds_ef_eligible_candidates_and_those_between() {
        let mut pool = Pool::default();
        pool.start(2);
        for (distance, eligible) in [(5.0, true), (1.0, false), (3.0, false), (4.0, true), (6.0, false)] {
            pool.offer(Candidate::new(distance, Slot(distance as u32), eligible));
        }
        let slots = |pool: &Pool| pool.sorted().iter().map(|c| c.slot().0).collect::<Vec<_>>();
        assert_eq!(slots(&pool), [1, 3, 4, 5]);
        assert_eq!(pool.expand(), Some(Slot(1)));
        pool.offer(Candidate::new(2.0, Slot(2), true));
        assert_eq!(slots(&pool), [1, 2, 3, 4], "5 is beyond the second eligible one");
        assert_eq!(
            (pool.upcoming(1).collect::<Vec<_>>(), pool.expand(), pool.expand()),
            (vec![Slot(2)], Some(Slot(2)), Some(Slot(3)))
        );
        pool.offer(Candidate::new(0.5, Slot(0), true));
        assert_eq!(slots(&pool), [0, 1, 2]);
        assert_eq!((pool.expand(), pool.expand()), (Some(Slot(0)), None));
    }
}
