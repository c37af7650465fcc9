//! The walk: greedy descent through the upper levels, beam search on one (algorithms 2 and 5 of arXiv 1603.09320).
//!
//! Distances are estimates where the query is one of codes.
//!
//! Per expanded slot: gather the neighbors not seen yet, ask for their codes at once so that the cache misses overlap,
//! score them in one batch, offer them to the pool. Searches and insertions share it.

use super::bitmap::{Bitmap, slots_of_word};
use super::graph::Graph;
use super::nearest::Candidate;
use super::rows::Rows;
use super::scratch::Scratch;
use super::search::Cost;
use super::slots::Pin;
use super::stop::{Stop, Stopped};
use super::vector_index::VectorIndex;
use crate::model::Slot;

/// Slots whose neighbors are scored together. While a hop waits for its codes the next is waited for too: at equal recall a
/// fifth more queries per second where a code is a cache line (GloVe 50), a twentieth where it is thirteen.
const EXPANDED_AT_ONCE: usize = 2;

/// One query on its way through one graph.
pub(super) struct Walk<'a, R: Rows> {
    pub(super) index: &'a VectorIndex<R>,
    pub(super) graph: &'a Graph,
    pub(super) pin: &'a Pin<'a>,
    pub(super) query: R::Query<'a>,
    pub(super) stop: &'a Stop,
}

/// How a walk over one level ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// Nothing nearer can be reached.
    Nearest,
    /// More distances than allowed were computed.
    OverLimit,
    /// Fewer of the candidates than expected may be results.
    TooSparse,
}

/// When a walk over one level is given up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Limits {
    /// Distances computed, about.
    pub(super) distance_max: u64,
    /// Share of eligible candidates.
    pub(super) share_min: f64,
}

impl Limits {
    pub(super) const NONE: Limits = Limits { distance_max: u64::MAX, share_min: 0.0 };
}

impl<R: Rows> Walk<'_, R> {
    /// Greedily from the entry point to the nearest slot that steps on levels above `level` reach. None if the graph is
    /// empty.
    pub(super) fn descend(&self, scratch: &mut Scratch, level: usize, cost: &mut Cost) -> Option<Candidate> {
        let entry = self.graph.entry()?;
        let mut nearest = Candidate::new(self.distance(entry.slot), entry.slot, false);
        cost.distances += 1;
        for level in (level + 1..=entry.level).rev() {
            loop {
                scratch.fresh.clear();
                for slot in self.graph.neighbors(nearest.slot(), level) {
                    self.index.rows.prefetch(self.query, slot);
                    scratch.fresh.push(slot);
                }
                self.score(scratch, cost);
                cost.visited += 1;
                let scored = scratch.fresh.iter().zip(&scratch.distances);
                let best = scored.map(|(slot, distance)| Candidate::new(*distance, *slot, false)).min();
                match best.filter(|best| *best < nearest) {
                    Some(best) => nearest = best,
                    None => break,
                }
            }
        }
        Some(nearest)
    }

    /// Fills the pool with the candidates nearest to the query on `level`, from what the pool holds at the start (all
    /// of it marked as visited).
    #[inline]
    pub(super) fn walk_level(
        &self,
        scratch: &mut Scratch,
        (level, limits): (usize, Limits),
        is_eligible: impl Fn(Slot) -> bool,
        cost: &mut Cost,
    ) -> Result<Ended, Stopped> {
        /// Slots expanded before the share of those that are eligible says something.
        const SETTLED: u64 = 32;
        let distance_max = cost.distances.saturating_add(limits.distance_max);
        let settled = cost.visited + SETTLED;
        scratch.visited.reserve(self.index.slots.bound());
        while let Some(slot) = scratch.pool.expand() {
            self.stop.poll()?;
            cost.visited += 1;
            let Scratch { visited, pool, distances, .. } = &mut *scratch;
            let before = visited.len();
            visited.insert_all(self.graph.neighbors(slot, level), self.graph.degree_max(level));
            for _ in 1..EXPANDED_AT_ONCE {
                let Some(slot) = pool.expand() else { break };
                cost.visited += 1;
                visited.insert_all(self.graph.neighbors(slot, level), self.graph.degree_max(level));
            }
            let fresh = visited.since(before);
            fresh.iter().for_each(|neighbor| self.index.rows.prefetch(self.query, *neighbor));
            pool.upcoming(EXPANDED_AT_ONCE).for_each(|slot| self.graph.prefetch(slot));
            self.index.score(self.pin, self.query, fresh, distances);
            cost.distances += fresh.len() as u64;
            pool.offer_all(fresh, distances, &is_eligible);
            if cost.distances > distance_max {
                return Ok(Ended::OverLimit);
            }
            if cost.visited > settled && pool.eligible_share() < limits.share_min {
                return Ok(Ended::TooSparse);
            }
        }
        Ok(Ended::Nearest)
    }

    /// Offers a few members of `filter`, spread over all slots: a walk among members only may not reach every region of
    /// them.
    pub(super) fn seed(&self, scratch: &mut Scratch, filter: &Bitmap, cost: &mut Cost) {
        const SEED_COUNT: usize = 8;
        let words = filter.bound().div_ceil(u64::BITS as usize);
        scratch.fresh.clear();
        for part in 0..SEED_COUNT {
            let mut range = part * words / SEED_COUNT..(part + 1) * words / SEED_COUNT;
            let linked = |i: usize| {
                filter.word(i) & self.index.live.word(i) & self.index.encoded.word(i) & !self.index.tail.word(i)
            };
            let Some(i) = range.find(|i| linked(*i) != 0) else { continue };
            for slot in slots_of_word(i, linked(i)).take(1) {
                if scratch.visited.insert(slot) {
                    scratch.fresh.push(slot);
                }
            }
        }
        self.score(scratch, cost);
        scratch.pool.offer_all(&scratch.fresh, &scratch.distances, |_| true);
    }

    /// As [`Walk::walk_level`] on level 0, among members of a filter that has a small `share` of all slots: only they are
    /// scored. The neighbors of a slot that are no members are bridges, whose own neighbors are looked at until there are
    /// enough (the blind two-hop step of NaviX, arXiv 2506.23397, and ACORN-1, arXiv 2403.04871).
    pub(super) fn walk_members(
        &self,
        scratch: &mut Scratch,
        filter: &Bitmap,
        (share, distance_max): (f64, u64),
        cost: &mut Cost,
    ) -> Result<Ended, Stopped> {
        let distance_max = cost.distances.saturating_add(distance_max);
        let enough = self.graph.degree_max(0);
        // Rows that are about to be read: each has this share of members.
        let bridges_ahead = (1.0 / share.max(0.01)).ceil() as usize + 1;
        scratch.visited.reserve(self.index.slots.bound());
        while let Some(slot) = scratch.pool.expand() {
            self.stop.poll()?;
            cost.visited += 1;
            let Scratch { visited, pool, distances, members, bridges, fresh: others, .. } = &mut *scratch;
            let before = visited.len();
            let mut take = |members: &[Slot]| {
                let known = visited.len();
                visited.insert_all(members.iter().copied(), members.len());
                visited.since(known).iter().for_each(|slot| self.index.rows.prefetch(self.query, *slot));
                visited.len() - before
            };
            self.split_row(slot, filter, members, bridges);
            let mut taken = take(members);
            bridges.iter().take(bridges_ahead).for_each(|bridge| self.graph.prefetch(*bridge));
            for (i, bridge) in bridges.iter().enumerate() {
                if taken >= enough {
                    break;
                }
                if let Some(ahead) = bridges.get(i + bridges_ahead) {
                    self.graph.prefetch(*ahead);
                }
                self.split_row(*bridge, filter, members, others);
                taken = take(members);
            }
            pool.upcoming(EXPANDED_AT_ONCE).for_each(|slot| self.graph.prefetch(slot));
            let fresh = visited.since(before);
            self.index.score(self.pin, self.query, fresh, distances);
            cost.distances += fresh.len() as u64;
            pool.offer_all(fresh, distances, |slot| self.index.live.contains(slot));
            if cost.distances > distance_max {
                return Ok(Ended::OverLimit);
            }
        }
        Ok(Ended::Nearest)
    }

    /// Puts the neighbors of a slot on level 0 into `members` and `others`. As in [`super::scratch::Visited::insert_all`] no
    /// branch depends on which they are.
    #[inline]
    fn split_row(&self, slot: Slot, filter: &Bitmap, members: &mut Vec<Slot>, others: &mut Vec<Slot>) {
        let most = self.graph.degree_max(0);
        members.clear();
        members.resize(most, Slot(0));
        others.resize(most, Slot(0));
        let (mut member_count, mut other_count) = (0, 0);
        for neighbor in self.graph.neighbors(slot, 0) {
            let is_member = filter.contains(neighbor);
            members[member_count] = neighbor;
            others[other_count] = neighbor;
            member_count += usize::from(is_member);
            other_count += usize::from(!is_member);
        }
        members.truncate(member_count);
        others.truncate(other_count);
    }

    #[inline]
    fn score(&self, scratch: &mut Scratch, cost: &mut Cost) {
        self.index.score(self.pin, self.query, &scratch.fresh, &mut scratch.distances);
        cost.distances += scratch.fresh.len() as u64;
    }

    pub(super) fn distance(&self, slot: Slot) -> f32 {
        let mut distance = [0.0];
        self.index.rows.score(self.pin, self.query, &[slot], &mut distance);
        distance[0]
    }
}
