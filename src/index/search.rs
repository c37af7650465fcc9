//! Searching: the walk through the graph, the exact scan, and the choice between them.
//!
//! Recall does not collapse: a filter's members are counted before, few are scanned, a walk that has scored more than
//! the filter holds, or that ends with too few results, is finished by scanning the members. So a filtered search costs
//! at most about twice a scan.

use super::bitmap::{BLOCK_WORDS, Bitmap, Block, slots_of_word};
use super::codes::CodeRoom;
use super::graph::Graph;
use super::nearest::Candidate;
use super::rows::Rows;
use super::scratch::Scratch;
use super::slots::Pin;
use super::stop::{Stop, Stopped};
use super::vector_index::VectorIndex;
use super::walk::{Ended, Limits, Walk};
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
    /// What codes are used for.
    pub codes: CodeUse,
}

/// What a search uses codes for, where there are any.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CodeUse {
    /// Nothing: vectors are compared all the way.
    pub is_ignored: bool,
    /// The distances of what is found are those of the vectors, and it is chosen by them. Else both are the codes'.
    pub rescores: bool,
    /// So many times `k` of those that codes take for the nearest are compared as vectors at least: 1 or more.
    pub oversampling: f64,
}

impl Default for CodeUse {
    fn default() -> CodeUse {
        CodeUse { is_ignored: false, rescores: true, oversampling: 1.0 }
    }
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

/// From this share of members on, a walk may pass through all slots.
const PLAIN_SHARE: f64 = 0.08;
/// From this share on it does.
const ALWAYS_PLAIN_SHARE: f64 = 0.25;
/// Of the candidates that a search keeps beyond its results, a walk that passes through all slots keeps so many members: the
/// share of members to this power. (GloVe 50, a tenth: recall 0.991 at 0.65, 0.989 at 0.7; fashion-mnist 0.997.)
const PLAIN_POWER: f64 = 0.65;
/// Slots scored between two looks at the stop flag.
const SCAN_BATCH: usize = 1024;

impl<R: Rows> VectorIndex<R> {
    /// Whether a search without a filter takes some tens of microseconds at most: less than it takes to hand it to another
    /// thread.
    pub fn is_quick(&self, params: &SearchParams<'_>) -> bool {
        const DISTANCES_MAX: usize = 2_048;
        const BYTES_MAX: usize = 512 << 10;
        let ef = params.ef.max(params.k);
        let walked = match &self.graph {
            Some(_) if !params.exact => ef.saturating_mul(self.params.m).min(self.indexed_len()),
            _ => self.live_len(),
        };
        let distances = walked + self.tail_len();
        let bytes = walked.saturating_mul(self.rows.walked_bytes()) + self.tail_len() * self.params.dim * 4;
        params.filter.is_none() && distances <= DISTANCES_MAX && bytes <= BYTES_MAX
    }

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

/// How a filtered search goes about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Plan {
    /// Compares all members.
    Scan,
    /// Walks through all slots and keeps members.
    Plain,
    /// Walks among members.
    Members,
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
        /// Vectors in memory that fill so little are compared before a query's code is made, and those it takes for the
        /// nearest are.
        const UNCODED_BYTES_MAX: usize = 256 << 10;
        let (mut plan, has_codes) = (self.plan(k, eligible, true), self.has_codes());
        let params = &self.index.params;
        let vector_bytes = eligible.saturating_mul(params.dim * size_of::<f32>());
        let is_cheap = vector_bytes <= UNCODED_BYTES_MAX && !params.storage.vectors_on_disk;
        if plan == Plan::Scan && (!has_codes || (self.params.codes.rescores && is_cheap)) {
            return Ok(false);
        }
        let query = self.index.rows.probe(self.query, has_codes, room);
        let walk = Walk { index: self.index, graph, pin: self.pin, query, stop: self.stop };
        // The tail first: what leaves it meanwhile is in the graph, and has a code, before the rest is searched. What has
        // been compared here is marked as visited, so it is not found again.
        self.scan_tail(scratch, cost)?;
        while plan != Plan::Scan {
            let Some(ended) = self.walk(&walk, scratch, plan, (k, eligible), cost)? else {
                return Ok(self.index.indexed_len() == 0);
            };
            if ended == Ended::Nearest {
                self.rescore(&walk, scratch, k, cost);
                if scratch.nearest.finish().len() >= k {
                    return Ok(true);
                }
            }
            plan = if ended == Ended::TooSparse { self.plan(k, eligible, false) } else { Plan::Scan };
            scratch.nearest.start(self.params.k);
            scratch.visited.clear();
            self.scan_tail(scratch, cost)?;
        }
        if !has_codes {
            return Ok(false);
        }
        self.scan_codes(&walk, scratch, k, cost)?;
        Ok(true)
    }

    fn has_codes(&self) -> bool {
        self.index.rows.has_codes() && !self.params.codes.is_ignored
    }

    /// How many of those that codes take for the nearest are compared as vectors at least.
    fn rescored_min(&self, k: usize) -> usize {
        ((k as f64 * self.params.codes.oversampling).ceil() as usize).max(k)
    }

    /// Candidates a walk keeps: the paper's ef.
    fn ef(&self, k: usize) -> usize {
        if self.has_codes() { self.params.ef.max(self.rescored_min(k)) } else { self.params.ef.max(k) }
    }

    fn scan_tail(&self, scratch: &mut Scratch, cost: &mut Cost) -> Result<(), Stopped> {
        if self.params.indexed_only || self.index.tail.count() == 0 {
            return Ok(());
        }
        self.scan(scratch, Range::Tail, cost)
    }

    /// The cheapest way to the eligible slots. A scan takes them in the order of memory. A walk scores three quarters of
    /// `ef * m` slots, each a cache miss, and more the fewer of them are eligible; one among members no more, or if they are
    /// few all neighbors of `ef` slots, but looks for them in the rows of as many others as hold them.
    fn plan(&self, k: usize, eligible: usize, may_be_plain: bool) -> Plan {
        let (ef, m) = (self.ef(k) as f64, self.index.params.m as f64);
        let share = self.share(eligible);
        let scan = eligible as f64;
        let scored = 0.75 * ef * m * R::SCANNED_PER_WALKED;
        let plain = scored * share.powf(PLAIN_POWER - 1.0);
        let rows = ef * self.index.rows.scanned_per_row_of_links() / share;
        let is_plain = may_be_plain && share >= PLAIN_SHARE && (share >= ALWAYS_PLAIN_SHARE || plain <= scored + rows);
        let walked = if is_plain { plain } else { 2.0 * ef * m * R::SCANNED_PER_WALKED + rows };
        if scan <= walked.min(self.index.indexed_len() as f64) {
            Plan::Scan
        } else if is_plain {
            Plan::Plain
        } else {
            Plan::Members
        }
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
        plan: Plan,
        (k, eligible): (usize, usize),
        cost: &mut Cost,
    ) -> Result<Option<Ended>, Stopped> {
        let Some(start) = walk.descend(scratch, 0, cost) else { return Ok(None) };
        let share = self.share(eligible);
        // To hold as many members as a search without a filter holds candidates, a walk would look at more of the graph
        // than the same recall takes.
        let more = (self.ef(k) - k) as f64 * if plan == Plan::Plain { share.powf(PLAIN_POWER) } else { 1.0 };
        scratch.pool.start(k.saturating_add(more.ceil() as usize));
        // A start in the tail has been compared already; here it only leads on.
        let is_new = scratch.visited.insert(start.slot());
        let is_eligible = is_new && self.is_eligible(start.slot());
        scratch.pool.offer(Candidate::new(start.distance(), start.slot(), is_eligible));
        let Some(filter) = self.params.filter else {
            return if self.index.repair_len() == 0 {
                walk.walk_level(scratch, (0, Limits::NONE), |_| true, cost).map(Some)
            } else {
                walk.walk_level(scratch, (0, Limits::NONE), |slot| self.index.live.contains(slot), cost).map(Some)
            };
        };
        let distance_max = eligible as u64;
        if plan == Plan::Plain {
            // Where members are rarer than elsewhere, a walk that passes through all slots would go far for them.
            let limits = Limits { distance_max, share_min: share / 4.0 };
            return walk.walk_level(scratch, (0, limits), |slot| self.is_eligible(slot), cost).map(Some);
        }
        walk.seed(scratch, filter, cost);
        walk.walk_members(scratch, filter, (share, distance_max), cost).map(Some)
    }

    /// Compares the codes of all that is eligible and not visited, and the vectors of the best.
    fn scan_codes(&self, walk: &Walk<'_, R>, scratch: &mut Scratch, k: usize, cost: &mut Cost) -> Result<(), Stopped> {
        /// Codes scored together.
        const BATCH: usize = 32;
        /// Codes asked for before their turn, so that their cache misses overlap with the work on others.
        const AHEAD: usize = 64;
        /// What a code misjudges is made good by looking at more.
        const MORE: usize = 32;
        let index = self.index;
        let mut best = std::mem::take(&mut scratch.estimated);
        best.start(self.rescored_min(k).max(k.saturating_mul(index.rows.candidates_per_hit())).saturating_add(MORE));
        let mut estimate = |scratch: &mut Scratch, count: usize| {
            let Scratch { fresh, distances, .. } = scratch;
            index.score(self.pin, walk.query, &fresh[..count], distances);
            cost.distances += count as u64;
            for (slot, distance) in fresh.drain(..count).zip(&*distances) {
                best.offer(Candidate::new(*distance, slot, true));
            }
            self.stop.poll()
        };
        scratch.fresh.clear();
        let range = if self.params.indexed_only { Range::Linked } else { Range::All };
        for block in self.blocks() {
            let Some(mut words) = self.eligible(range, block) else { continue };
            let Some(encoded) = index.encoded.block(block) else { continue };
            words.iter_mut().zip(encoded).for_each(|(word, encoded)| *word &= encoded);
            for (i, word) in (block * BLOCK_WORDS..).zip(words) {
                for slot in slots_of_word(i, word & !scratch.visited.word(i)) {
                    index.rows.prefetch(walk.query, slot);
                    scratch.fresh.push(slot);
                }
                while scratch.fresh.len() >= AHEAD + BATCH {
                    estimate(scratch, BATCH)?;
                }
            }
        }
        estimate(scratch, scratch.fresh.len())?;
        scratch.pool.fill(best.finish());
        scratch.estimated = best;
        self.rescore(walk, scratch, k, cost);
        Ok(())
    }

    /// Offers what the pool holds, nearest first. Estimates are made exact in their order, until what remains could be
    /// among the `k` nearest only if its estimate were off by twice as much as any before.
    fn rescore(&self, walk: &Walk<'_, R>, scratch: &mut Scratch, k: usize, cost: &mut Cost) {
        const BATCH: usize = 16;
        /// At 1 the codes of 4 bits lose 0.0006 of recall to it on fashion-mnist, at 2 nothing.
        const SURE: f32 = 2.0;
        let by_codes = self.has_codes() && !self.params.codes.rescores;
        if let Some(fine) = walk.index.rows.fine_probe(walk.query).filter(|_| by_codes) {
            self.index.refine(self.pin, scratch, fine);
            cost.distances += scratch.pool.sorted().len() as u64;
        }
        let Scratch { pool, nearest, fresh, distances, .. } = scratch;
        let found = pool.sorted().iter().filter(|candidate| candidate.is_eligible());
        if !self.has_codes() || by_codes {
            found.for_each(|candidate| nearest.offer(*candidate));
            return;
        }
        let mut found = found.peekable();
        let rescored_min = self.rescored_min(k);
        let (mut rescored, mut error_max) = (0, 0.0f32);
        while let Some(next) = found.peek() {
            let is_beyond = |worst: f32| next.distance() - SURE * error_max > worst;
            if rescored >= rescored_min && nearest.worst().is_some_and(is_beyond) {
                break;
            }
            let mut estimates = [0.0; BATCH];
            fresh.clear();
            for (estimate, candidate) in estimates.iter_mut().zip(found.by_ref()) {
                self.index.rows.prefetch(self.query, candidate.slot());
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
        scratch.fresh.clear();
        for block in self.blocks() {
            let Some(words) = self.eligible(range, block) else { continue };
            for (i, word) in (block * BLOCK_WORDS..).zip(words) {
                for slot in slots_of_word(i, word) {
                    index.rows.prefetch(self.query, slot);
                    scratch.fresh.push(slot);
                }
                if scratch.fresh.len() >= SCAN_BATCH {
                    self.compare(scratch, range, cost)?;
                }
            }
        }
        self.compare(scratch, range, cost)
    }

    /// All blocks of slots.
    fn blocks(&self) -> std::ops::Range<usize> {
        0..self.index.slots.bound().div_ceil(BLOCK_WORDS * u64::BITS as usize)
    }

    /// The eligible slots of a block. None if there are none.
    #[inline]
    fn eligible(&self, range: Range, block: usize) -> Option<Block> {
        let index = self.index;
        let mut words = if range == Range::Tail { &index.tail } else { &index.live }.block(block)?;
        match range {
            Range::All => {}
            Range::Linked => {
                if let Some(tail) = index.tail.block(block) {
                    words.iter_mut().zip(tail).for_each(|(word, tail)| *word &= !tail);
                }
            }
            Range::Tail => words.iter_mut().zip(index.live.block(block)?).for_each(|(word, live)| *word &= live),
        }
        if let Some(filter) = self.params.filter {
            let kept = filter.block(block);
            words.iter_mut().zip(kept).for_each(|(word, kept)| *word &= kept);
            words[kept.len()..].fill(0);
        }
        Some(words)
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
