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

/// From this share of members on, the neighbors of a slot are enough of them to go on from.
const PLAIN_SHARE: f64 = 0.4;
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
            Some(graph) if !self.params.exact => {
                let mut room = std::mem::take(&mut scratch.code);
                let is_answered = self.approximate(graph, scratch, &mut room, (k, eligible), &mut cost);
                scratch.code = room;
                is_answered?
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

    /// Scans the tail and walks the graph; where a scan is cheaper, or the walk did not end well, the codes are scanned.
    /// False if that did not answer the search.
    fn approximate(
        &self,
        graph: &'a Graph,
        scratch: &mut Scratch,
        room: &mut CodeRoom,
        (k, eligible): (usize, usize),
        cost: &mut Cost,
    ) -> Result<bool, Stopped> {
        /// So few vectors are compared before a query's code is made.
        const UNCODED_MAX: usize = 128;
        let (prefers_scan, has_codes) = (self.prefers_scan(k, eligible), !self.index.rows.is_exact());
        if prefers_scan && (!has_codes || eligible <= UNCODED_MAX) {
            return Ok(false);
        }
        let probe = self.index.rows.probe(self.query, room);
        let walk = Walk { index: self.index, graph, pin: self.pin, probe, stop: self.stop };
        // The tail first: what leaves it meanwhile is in the graph, and has a code, before the rest is searched. What has
        // been compared here is marked as visited, so it is not found again.
        self.scan_tail(scratch, cost)?;
        if !prefers_scan {
            let Some(ended) = self.walk(&walk, scratch, (k, eligible), cost)? else {
                return Ok(self.index.indexed_len() == 0);
            };
            let pool = std::mem::take(&mut scratch.pool);
            self.rescore(pool.sorted(), scratch, k, cost);
            scratch.pool = pool;
            if ended == Ended::Nearest && scratch.nearest.finish().len() >= k {
                return Ok(true);
            }
            if !has_codes {
                return Ok(false);
            }
            scratch.nearest.start(self.params.k);
            scratch.visited.clear();
            self.scan_tail(scratch, cost)?;
        }
        self.scan_codes(&walk, scratch, k, cost)?;
        Ok(true)
    }

    fn scan_tail(&self, scratch: &mut Scratch, cost: &mut Cost) -> Result<(), Stopped> {
        if self.params.indexed_only || self.index.tail.count() == 0 {
            return Ok(());
        }
        self.scan(scratch, Range::Tail, cost)
    }

    /// Whether a scan of the eligible slots, in the order of memory, costs less than a walk. That scores three quarters of
    /// `ef * m` slots, each a cache miss, and more the fewer of them are members; among few members all neighbors of `ef`
    /// slots, found in the rows of as many others as hold them.
    fn prefers_scan(&self, k: usize, eligible: usize) -> bool {
        let (ef, m) = (self.params.ef.max(k) as f64, self.index.params.m as f64);
        let share = self.share(eligible);
        let walked = if share >= PLAIN_SHARE {
            0.75 * ef * m * R::SCANNED_PER_WALKED / share
        } else {
            ef * (2.0 * m * R::SCANNED_PER_WALKED + self.index.rows.scanned_per_row_of_links() / share)
        };
        eligible as f64 <= walked.min(self.index.indexed_len() as f64)
    }

    /// How many of all slots are eligible.
    fn share(&self, eligible: usize) -> f64 {
        (eligible as f64 / self.index.live.count().max(1) as f64).clamp(f64::MIN_POSITIVE, 1.0)
    }

    /// Fills the pool from the graph. None if the graph is empty.
    fn walk(
        &self,
        walk: &Walk<'_, R>,
        scratch: &mut Scratch,
        (k, eligible): (usize, usize),
        cost: &mut Cost,
    ) -> Result<Option<Ended>, Stopped> {
        let Some(start) = walk.descend(scratch, 0, cost) else { return Ok(None) };
        let share = self.share(eligible);
        let is_plain = share >= PLAIN_SHARE;
        // To hold as many members as a search without a filter holds candidates, a walk would look at more of the graph
        // than the same recall takes.
        let ef = if is_plain { (self.params.ef as f64 * share.sqrt()).ceil() as usize } else { self.params.ef };
        scratch.pool.start(ef.max(k));
        // A start in the tail has been compared already; here it only leads on.
        let is_new = scratch.visited.insert(start.slot());
        let is_eligible = is_new && self.is_eligible(start.slot());
        scratch.pool.offer(Candidate::new(start.distance(), start.slot(), is_eligible));
        let Some(filter) = self.params.filter else {
            return if self.index.repair_len() == 0 {
                walk.walk_level(scratch, (0, u64::MAX), |_| true, cost).map(Some)
            } else {
                walk.walk_level(scratch, (0, u64::MAX), |slot| self.index.live.contains(slot), cost).map(Some)
            };
        };
        let distance_max = eligible as u64;
        if is_plain {
            return walk.walk_level(scratch, (0, distance_max), |slot| self.is_eligible(slot), cost).map(Some);
        }
        walk.seed(scratch, filter, cost);
        walk.walk_members(scratch, (share, distance_max), |slot| self.is_eligible(slot), cost).map(Some)
    }

    /// Compares the codes of all that is eligible and not visited, and the vectors of the best.
    fn scan_codes(&self, walk: &Walk<'_, R>, scratch: &mut Scratch, k: usize, cost: &mut Cost) -> Result<(), Stopped> {
        /// Codes asked for ahead of their use.
        const BATCH: usize = 128;
        /// What a code misjudges is made good by looking at more.
        const MORE: usize = 32;
        let index = self.index;
        let mut best = std::mem::take(&mut scratch.estimated);
        best.start(k.saturating_mul(2).saturating_add(MORE));
        let mut estimate = |scratch: &mut Scratch| {
            index.estimate(self.pin, walk.probe, &scratch.fresh, &mut scratch.distances);
            cost.distances += scratch.fresh.len() as u64;
            let scored = scratch.fresh.iter().zip(&scratch.distances);
            scored.for_each(|(slot, distance)| best.offer(Candidate::new(*distance, *slot, true)));
            scratch.fresh.clear();
            self.stop.poll()
        };
        scratch.fresh.clear();
        for (i, word) in index.live.words(index.slots.bound()) {
            let word = word & index.encoded.word(i) & self.params.filter.map_or(u64::MAX, |filter| filter.word(i));
            let word = if self.params.indexed_only { word & !index.tail.word(i) } else { word };
            for slot in slots_of_word(i, word).filter(|slot| !scratch.visited.contains(*slot)) {
                index.rows.prefetch_code(slot);
                scratch.fresh.push(slot);
            }
            if scratch.fresh.len() >= BATCH {
                estimate(scratch)?;
            }
        }
        estimate(scratch)?;
        self.rescore(best.finish(), scratch, k, cost);
        scratch.estimated = best;
        Ok(())
    }

    /// Offers what was found, nearest first. Estimates are made exact in their order, until what remains could be among
    /// the `k` nearest only if its estimate were off by more than any before.
    fn rescore(&self, found: &[Candidate], scratch: &mut Scratch, k: usize, cost: &mut Cost) {
        const BATCH: usize = 16;
        let Scratch { nearest, fresh, distances, .. } = scratch;
        let found = found.iter().filter(|candidate| candidate.is_eligible());
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
            for (estimate, candidate) in estimates.iter_mut().zip(found.by_ref()) {
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
        // The filter first: it is the smaller memory, and says no more often.
        self.params.filter.is_none_or(|filter| filter.contains(slot)) && self.index.live.contains(slot)
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
