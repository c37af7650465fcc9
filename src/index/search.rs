//! Searching: the walk through the graph, the exact scan, and the choice between them.
//!
//! Recall does not collapse: a filter's members are counted before, few are scanned, a walk that has scored more than
//! the filter holds, or that ends with too few results, is finished by scanning the members. So a filtered search costs
//! at most about twice a scan.

use super::bitmap::{Bitmap, slots_of_word};
use super::codes::CodeRoom;
use super::graph::Graph;
use super::nearest::Candidate;
use super::rows::Rows;
use super::scratch::Scratch;
use super::slots::Pin;
use super::stop::{Stop, Stopped};
use super::vector_index::VectorIndex;
use super::walk::{Ended, Walk};
use crate::model::Slot;

/// What is asked for.
#[derive(Clone, Copy, Debug)]
pub struct SearchParams<'a> {
    /// Results wanted. Any number: nothing is allocated by it.
    pub k: usize,
    /// Candidates the walk keeps: the paper's ef. Raised to `k`.
    pub ef: usize,
    /// Scan instead of walking: the true nearest.
    pub exact: bool,
    /// Leave out what is still in the tail.
    pub indexed_only: bool,
    /// Only these slots.
    pub filter: Option<&'a Bitmap>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// At most `k`, nearest first; equal distances by slot.
    pub hits: Vec<(Slot, f32)>,
    /// What it cost.
    pub cost: Cost,
}

/// What a search cost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cost {
    /// Slots whose neighbors were looked at.
    pub visited: u64,
    /// Distances that were computed.
    pub distances: u64,
}

/// Slots scored between two looks at the stop flag.
const SCAN_BATCH: usize = 1024;

impl<R: Rows> VectorIndex<R> {
    /// The `k` nearest live vectors to `query`.
    ///
    /// A slot that is live from the search's begin to its end and still in the tail at its begin is compared exactly;
    /// with `exact` every slot is. A slot removed before the begin is never returned.
    ///
    /// # Panics
    /// If the query, or a row of it, has another length than `dim`, or the pin is not one of this shard's slots.
    pub fn search(
        &self,
        pin: &Pin<'_>,
        scratch: &mut Scratch,
        query: &R::Vector,
        params: &SearchParams<'_>,
        stop: &Stop,
    ) -> Result<Found, Stopped> {
        assert!(pin.is_of(&self.slots));
        assert!(self.rows.fits(query));
        let mut room = std::mem::take(&mut scratch.query);
        let found = Search { index: self, pin, query: self.rows.query(query, &mut room), params, stop }.run(scratch);
        scratch.query = room;
        found
    }
}

struct Search<'a, R: Rows> {
    index: &'a VectorIndex<R>,
    pin: &'a Pin<'a>,
    query: R::Query<'a>,
    params: &'a SearchParams<'a>,
    stop: &'a Stop,
}

/// Which slots a scan covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Range {
    All,
    Linked,
    Tail,
}

impl<'a, R: Rows> Search<'a, R> {
    fn run(&self, scratch: &mut Scratch) -> Result<Found, Stopped> {
        let index = self.index;
        let live = self.index.live.count();
        let eligible = self.params.filter.map_or(live, |filter| filter.count().min(live));
        // For planning only: meanwhile there may become more, and the hits are cut at `k`, not here.
        let k = self.params.k.min(eligible);
        let mut cost = Cost::default();
        scratch.nearest.start(self.params.k);
        scratch.visited.clear();
        let is_answered = match &index.graph {
            Some(graph) if !self.params.exact && !self.prefers_scan(k, eligible) => {
                self.walk(graph, scratch, k, eligible, &mut cost)?
            }
            _ => false,
        };
        if !is_answered {
            scratch.nearest.start(self.params.k);
            let hides_tail = self.params.indexed_only && self.index.graph.is_some();
            let range = if hides_tail { Range::Linked } else { Range::All };
            self.scan(scratch, range, &mut cost)?;
        }
        let hits = scratch.nearest.finish().iter().map(|hit| (hit.slot(), hit.distance())).collect();
        Ok(Found { hits, cost })
    }

    /// A walk for `ef` of `eligible` slots among all linked ones scores about `ef * m / 2 * linked / eligible` of them,
    /// each a cache miss; a scan scores the eligible ones in the order of memory, for a part of the price each.
    fn prefers_scan(&self, k: usize, eligible: usize) -> bool {
        let ef = self.params.ef.max(k) as f64;
        let linked = self.index.indexed_len() as f64;
        (eligible as f64).powi(2) <= R::SCANNED_PER_WALKED / 2.0 * ef * self.index.params.m as f64 * linked
    }

    /// Scans the tail and walks the graph. False if that did not answer the search.
    fn walk(
        &self,
        graph: &'a Graph,
        scratch: &mut Scratch,
        k: usize,
        eligible: usize,
        cost: &mut Cost,
    ) -> Result<bool, Stopped> {
        // The tail first: what leaves it meanwhile is in the graph before the walk begins. What the scan has compared
        // is marked as visited, so the walk does not find it again.
        if !self.params.indexed_only && self.index.tail.count() > 0 {
            self.scan(scratch, Range::Tail, cost)?;
        }
        let mut room = std::mem::take(&mut scratch.code);
        let ended = self.walk_with(graph, scratch, &mut room, (k, eligible), cost);
        scratch.code = room;
        let Some(ended) = ended? else { return Ok(self.index.indexed_len() == 0) };
        self.rescore(scratch, k, cost);
        Ok(ended == Ended::Nearest && scratch.nearest.finish().len() >= k)
    }

    /// None if the graph is empty.
    fn walk_with(
        &self,
        graph: &'a Graph,
        scratch: &mut Scratch,
        room: &mut CodeRoom,
        (k, eligible): (usize, usize),
        cost: &mut Cost,
    ) -> Result<Option<Ended>, Stopped> {
        let probe = self.index.rows.probe(self.query, room);
        let walk = Walk { index: self.index, graph, pin: self.pin, probe, stop: self.stop };
        let Some(start) = walk.descend(scratch, 0, cost) else { return Ok(None) };
        scratch.pool.start(self.params.ef.max(k));
        // A start in the tail has been compared already; here it only leads on.
        let is_new = scratch.visited.insert(start.slot());
        let is_eligible = is_new && self.is_eligible(start.slot());
        scratch.pool.offer(Candidate::new(start.distance(), start.slot(), is_eligible));
        let distance_max = self.params.filter.map_or(u64::MAX, |_| eligible as u64);
        let ended = if self.params.filter.is_none() && self.index.repair_len() == 0 {
            walk.walk_level(scratch, (0, distance_max), |_| true, cost)?
        } else {
            walk.walk_level(scratch, (0, distance_max), |slot| self.is_eligible(slot), cost)?
        };
        Ok(Some(ended))
    }

    /// Offers what the walk found. Estimates are made exact in their order, until what remains could be among the `k`
    /// nearest only if its estimate were off by more than any before.
    fn rescore(&self, scratch: &mut Scratch, k: usize, cost: &mut Cost) {
        const BATCH: usize = 16;
        let Scratch { pool, nearest, fresh, distances, .. } = scratch;
        let found = pool.sorted().iter().filter(|candidate| candidate.is_eligible());
        if self.index.rows.is_exact() {
            found.for_each(|candidate| nearest.offer(*candidate));
            return;
        }
        let mut found = found.peekable();
        let (mut rescored, mut error_max) = (0, 0.0f32);
        while let Some(next) = found.peek() {
            let is_beyond = |worst: f32| next.distance() - error_max > worst;
            if rescored >= k && nearest.worst().is_some_and(is_beyond) {
                break;
            }
            let mut estimates = [0.0; BATCH];
            fresh.clear();
            for (candidate, estimate) in found.by_ref().zip(&mut estimates) {
                self.index.rows.prefetch(candidate.slot());
                fresh.push(candidate.slot());
                *estimate = candidate.distance();
            }
            self.index.score(self.pin, self.query, fresh, distances);
            for ((slot, distance), estimate) in fresh.iter().zip(&*distances).zip(estimates) {
                nearest.offer(Candidate::new(*distance, *slot, true));
                error_max = error_max.max(estimate - distance);
            }
            rescored += fresh.len();
        }
        cost.distances += rescored as u64;
    }

    #[inline]
    fn is_eligible(&self, slot: Slot) -> bool {
        self.index.live.contains(slot) && self.params.filter.is_none_or(|filter| filter.contains(slot))
    }

    /// Compares every eligible slot of the range.
    fn scan(&self, scratch: &mut Scratch, range: Range, cost: &mut Cost) -> Result<(), Stopped> {
        let index = self.index;
        let words = if range == Range::Tail { &index.tail } else { &index.live };
        let eligible = |i: usize, word: u64| {
            let word = match range {
                Range::All => word,
                Range::Linked => word & !index.tail.word(i),
                Range::Tail => word & index.live.word(i),
            };
            self.params.filter.map_or(word, |filter| word & filter.word(i))
        };
        scratch.fresh.clear();
        for (i, word) in words.words(index.slots.bound()) {
            for slot in slots_of_word(i, eligible(i, word)) {
                index.rows.prefetch(slot);
                scratch.fresh.push(slot);
            }
            if scratch.fresh.len() >= SCAN_BATCH {
                self.compare(scratch, range, cost)?;
            }
        }
        self.compare(scratch, range, cost)
    }

    fn compare(&self, scratch: &mut Scratch, range: Range, cost: &mut Cost) -> Result<(), Stopped> {
        self.stop.poll()?;
        self.index.score(self.pin, self.query, &scratch.fresh, &mut scratch.distances);
        cost.distances += scratch.fresh.len() as u64;
        for (slot, distance) in scratch.fresh.iter().zip(&scratch.distances) {
            scratch.nearest.offer(Candidate::new(*distance, *slot, true));
            if range == Range::Tail {
                scratch.visited.insert(*slot);
            }
        }
        scratch.fresh.clear();
        Ok(())
    }
}
