//! One named sparse vector of one shard: its vectors, posting lists over them, and an exact search.
//!
//! Slots are cut into windows. The posting lists of one window ([`Postings`]) are never changed: `work` builds them anew
//! from the window's vectors and puts them in place of the old ones. A vector that is in none yet is in the tail, which
//! every search compares one by one.
//!
//! A search goes from window to window and scores each by MaxScore (Turtle and Flood 1995) with the maxima of that window
//! (the blocks of Ding and Suel 2011, aligned across lists as in Mallia et al. 2021): lists whose maxima together cannot
//! lift a vector over the k-th best product found so far only complete vectors that other lists have found, and a window
//! whose lists all together cannot is passed over. Nothing is left out: the maxima are of weight times query weight, so
//! negative weights are bounded as well, and a bound decides only when it is decisive in spite of rounding.
//!
//! Invariants:
//! - A live slot is in the tail or in its window's posting lists. It enters the tail before it is live and leaves it
//!   after the lists that hold it are in place; a search reads first who is live, then the tail, then the lists, and
//!   takes slots of the tail from there only. So lists may hold dead slots and earlier lives of slots in the tail.
//! - `put` and `remove` are called by one thread (the one that applies the log); everything else by any.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use parking_lot::{Mutex, RwLock};

use super::arena::prefetch;
use super::bitmap::{Bitmap, LiveBits, slots_of_word};
use super::nearest::{Candidate, Nearest};
use super::postings::{List, Postings, WINDOW_SLOTS};
use super::scratch::Scratch;
use super::search::{Cost, Found};
use super::shelf::Shelf;
use super::slots::{Pin, Slots};
use super::stop::{Stop, Stopped};
use super::vector_index::IndexMemory;
use crate::distance::sparse_dot;
use crate::model::{Slot, SparseVector};

pub(super) const WINDOW_WORDS: usize = WINDOW_SLOTS / 64;
/// A window is built anew when one in so many of its vectors is in the tail or dead: what the tail costs a search
/// against what building costs a write.
const STALE_SHARE: usize = 16;
/// Every vector put pays for so many put into lists when nothing is due: what is left in the tail once writes pause is
/// at most a window's slots by this number, and writes pay for at most a constant each.
const CREDIT_PER_PUT: usize = 8;
/// Comparing two vectors costs about as much as so many postings.
const POSTINGS_PER_VECTOR: u64 = 256;
/// One in so many vectors that are put into posting lists counts as a unit of work: they take about that part of the
/// time that linking a vector into a graph takes.
const VECTORS_PER_UNIT: usize = 16;

/// What is asked of a sparse index.
#[derive(Clone, Copy, Debug)]
pub struct SparseParams<'a> {
    /// Results wanted. Any number: nothing is allocated by it.
    pub k: usize,
    /// Leave out what is not in the posting lists yet.
    pub indexed_only: bool,
    /// Only these slots.
    pub filter: Option<&'a Bitmap>,
}

/// How many vectors a count was made over, and how many of them have each index.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SparseCounts {
    /// Vectors.
    pub vectors: u64,
    /// By the place of the index in the question.
    pub having: Vec<u64>,
}

/// The index of one sparse vector of one shard.
#[derive(Debug)]
pub struct SparseIndex {
    pub(super) vectors: Shelf<SparseVector>,
    /// Live and in no posting list yet. Members may be dead for a moment.
    pub(super) tail: LiveBits,
    /// The posting lists of each window. Locked for the moment of a look-up or an exchange.
    pub(super) windows: RwLock<Vec<Arc<Postings>>>,
    /// How many live vectors have each index. Locked for the moment of a change or a look-up.
    pub(super) spread: RwLock<HashMap<u32, u32>>,
    /// Taken once per put, remove and window built, never by a search.
    pub(super) agenda: Mutex<Agenda>,
}

#[derive(Debug, Default)]
pub(super) struct Agenda {
    pub(super) standings: Vec<Standing>,
    due: VecDeque<usize>,
    /// Vectors that may be put into lists of windows that are not due.
    credit: usize,
}

/// How well the posting lists of a window mirror it.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Standing {
    pub(super) listed: usize,
    /// Listed and dead.
    pub(super) dead: usize,
    pub(super) tail: usize,
    /// In the queue, or being built.
    pub(super) is_due: bool,
}

/// One thread's working memory of a sparse search.
#[derive(Debug, Default)]
pub(super) struct SparseScratch {
    /// Per slot of a window, what the lists read so far add up to.
    sums: Option<Box<[f32; WINDOW_SLOTS]>>,
    /// Slots of a window that may be among the nearest.
    found: Vec<u64>,
    eligible: Vec<u64>,
}

/// A list of the window being searched, with the query's weight and the bounds of their products.
struct Term<'a> {
    list: List<'a>,
    weight: f32,
    /// The largest product, 0 at least: a vector may lack the index.
    gain_max: f64,
    /// The largest absolute product.
    size_max: f64,
}

impl SparseIndex {
    /// An empty index over the slots of its shard.
    pub fn new(slots: Arc<Slots>) -> SparseIndex {
        SparseIndex {
            vectors: Shelf::new(slots),
            tail: LiveBits::new(),
            windows: RwLock::default(),
            spread: RwLock::default(),
            agenda: Mutex::default(),
        }
    }

    /// What it takes of memory. Looks at every vector.
    pub fn memory(&self) -> IndexMemory {
        let of_vector = |vector: &SparseVector| size_of_val(vector.indices()) + size_of_val(vector.values());
        let vector_bytes = self.vectors.memory_bytes(of_vector) as u64;
        let lists: usize = self.windows.read().iter().map(|window| window.memory_bytes()).sum();
        let counts = self.spread.read().capacity() * size_of::<(u32, u32)>();
        IndexMemory { vector_bytes, link_bytes: (lists + counts) as u64, ..IndexMemory::default() }
    }

    /// Stores the vector of a slot just allocated. It is found by every search that begins after the return.
    ///
    /// # Panics
    /// If the slot has had a vector in its life.
    pub fn put(&self, slot: Slot, vector: SparseVector) {
        let mut spread = self.spread.write();
        vector.indices().iter().for_each(|index| *spread.entry(*index).or_default() += 1);
        drop(spread);
        self.tail.grow_to(slot);
        self.tail.set(slot);
        self.vectors.put(slot, vector);
        let mut agenda = self.agenda.lock();
        agenda.standing(slot).tail += 1;
        agenda.credit = agenda.credit.saturating_add(CREDIT_PER_PUT);
        agenda.look_at(window_of(slot));
    }

    /// Makes `slot` dead for every search that begins after the return. Was it live?
    pub fn remove(&self, slot: Slot) -> bool {
        let pin = self.vectors.slots().pin();
        let Some(vector) = self.vectors.get(&pin, slot) else { return false };
        let mut spread = self.spread.write();
        for index in vector.indices() {
            if let Some(count) = spread.get_mut(index) {
                *count -= 1;
                if *count == 0 {
                    spread.remove(index);
                }
            }
        }
        drop(spread);
        self.vectors.remove(slot);
        let mut agenda = self.agenda.lock();
        match self.tail.clear(slot) {
            true => agenda.standing(slot).tail = agenda.standing(slot).tail.saturating_sub(1),
            false => agenda.standing(slot).dead += 1,
        }
        agenda.look_at(window_of(slot));
        true
    }

    /// The vector of a slot, none if it has none here or is dead.
    pub fn vector<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> Option<&'a SparseVector> {
        self.vectors.get(pin, slot)
    }

    /// Whether the slot has a vector here and is live.
    pub fn has(&self, slot: Slot) -> bool {
        self.vectors.live().contains(slot)
    }

    /// Vectors that may be found.
    pub fn live_len(&self) -> usize {
        self.vectors.live().count()
    }

    /// Vectors in posting lists.
    pub fn indexed_len(&self) -> usize {
        self.live_len().saturating_sub(self.tail_len())
    }

    /// Vectors that are in no posting list yet and are compared one by one meanwhile. A few may stay so.
    pub fn tail_len(&self) -> usize {
        self.tail.count()
    }

    /// Builds posting lists of about `budget` units and returns how many were done: 0 means there is nothing to do now.
    /// Any number of threads may work at once.
    pub fn work(&self, budget: usize) -> usize {
        let mut done = 0;
        while done < budget {
            let Some(window) = self.agenda.lock().next() else { break };
            done += 1 + self.build(window) / VECTORS_PER_UNIT;
        }
        done
    }

    /// Builds the posting lists of a window; how many vectors they hold.
    fn build(&self, window: usize) -> usize {
        // Until the pin is dropped no slot begins a new life, so what is read here is what is taken out of the tail.
        let pin = self.vectors.slots().pin();
        let members: Vec<(Slot, &SparseVector)> = self
            .live_words(window)
            .flat_map(|(i, word)| slots_of_word(i, word))
            .filter_map(|slot| Some((slot, self.vectors.get(&pin, slot)?)))
            .collect();
        let postings = Arc::new(Postings::new(members.iter().copied()));
        let mut windows = self.windows.write();
        if windows.len() <= window {
            windows.resize_with(window + 1, Arc::default);
        }
        windows[window] = postings;
        drop(windows);
        let mut agenda = self.agenda.lock();
        members.iter().for_each(|(slot, _)| _ = self.tail.clear(*slot));
        let tail = (0..WINDOW_WORDS).map(|i| self.tail.word(window * WINDOW_WORDS + i).count_ones() as usize).sum();
        let dead = members.iter().filter(|(slot, _)| !self.has(*slot)).count();
        if let Some(standing) = agenda.standings.get_mut(window) {
            *standing = Standing { listed: members.len(), dead, tail, is_due: false };
        }
        agenda.look_at(window);
        members.len()
    }

    /// The words of a window that have live slots, with their places among all words.
    fn live_words(&self, window: usize) -> impl Iterator<Item = (usize, u64)> + '_ {
        let words = window * WINDOW_WORDS..(window + 1) * WINDOW_WORDS;
        words.map(|i| (i, self.vectors.live().word(i))).filter(|(_, word)| *word != 0)
    }

    /// The `k` vectors of largest dot product with `query` among those that share an index with it (PROTOCOL section
    /// 13.1), exactly. Distances are the products with their sign turned.
    pub fn search(
        &self,
        pin: &Pin<'_>,
        scratch: &mut Scratch,
        query: &SparseVector,
        params: &SparseParams<'_>,
        stop: &Stop,
    ) -> Result<Found, Stopped> {
        scratch.nearest.start(params.k);
        let mut cost = Cost::default();
        if params.k > 0 && !query.is_empty() {
            let search = Search { index: self, pin, query, params, stop };
            match params.filter.filter(|filter| self.prefers_scan(query, filter)) {
                Some(filter) => search.scan(&mut scratch.nearest, filter, &mut cost)?,
                None => {
                    for window in 0..self.vectors.slots().bound().div_ceil(WINDOW_SLOTS) {
                        stop.poll()?;
                        search.window(window, &mut scratch.nearest, &mut scratch.sparse, &mut cost);
                    }
                }
            }
        }
        let hits = scratch.nearest.finish().iter().map(|hit| (hit.slot(), hit.distance())).collect();
        Ok(Found { hits, cost })
    }

    /// Whether so few slots pass the filter that comparing each is cheaper than reading the query's lists.
    fn prefers_scan(&self, query: &SparseVector, filter: &Bitmap) -> bool {
        let spread = self.spread.read();
        let postings: u64 = query.indices().iter().filter_map(|index| spread.get(index)).map(|n| u64::from(*n)).sum();
        filter.count() as u64 * POSTINGS_PER_VECTOR <= postings
    }

    /// Over how many vectors (in `corpus`, if given) `indices` are spread: the N and df of PROTOCOL section 13.2.
    pub fn counts(
        &self,
        pin: &Pin<'_>,
        indices: &[u32],
        corpus: Option<&Bitmap>,
        stop: &Stop,
    ) -> Result<SparseCounts, Stopped> {
        let Some(corpus) = corpus else {
            let spread = self.spread.read();
            let having = indices.iter().map(|index| spread.get(index).map_or(0, |count| u64::from(*count)));
            return Ok(SparseCounts { vectors: self.live_len() as u64, having: having.collect() });
        };
        let mut counts = SparseCounts { vectors: 0, having: vec![0; indices.len()] };
        for window in 0..self.vectors.slots().bound().div_ceil(WINDOW_SLOTS) {
            stop.poll()?;
            let mut listed = [0; WINDOW_WORDS];
            for (i, word) in self.live_words(window) {
                let tail = self.tail.word(i);
                let word = word & corpus.word(i);
                listed[i % WINDOW_WORDS] = word & !tail;
                counts.vectors += u64::from(word.count_ones());
                for vector in slots_of_word(i, word & tail).filter_map(|slot| self.vectors.get(pin, slot)) {
                    for (having, index) in counts.having.iter_mut().zip(indices) {
                        *having += u64::from(vector.indices().binary_search(index).is_ok());
                    }
                }
            }
            let Some(postings) = self.postings(window).filter(|_| listed.iter().any(|word| *word != 0)) else {
                continue;
            };
            for (having, index) in counts.having.iter_mut().zip(indices) {
                let Some(list) = postings.list(*index) else { continue };
                let members = list.places.iter().filter(|place| is_in(&listed, **place));
                *having += members.count() as u64;
            }
        }
        Ok(counts)
    }

    pub(super) fn postings(&self, window: usize) -> Option<Arc<Postings>> {
        self.windows.read().get(window).cloned()
    }
}

struct Search<'a> {
    index: &'a SparseIndex,
    pin: &'a Pin<'a>,
    query: &'a SparseVector,
    params: &'a SparseParams<'a>,
    stop: &'a Stop,
}

impl Search<'_> {
    /// Compares every slot of the filter.
    fn scan(&self, nearest: &mut Nearest, filter: &Bitmap, cost: &mut Cost) -> Result<(), Stopped> {
        for (scanned, slot) in filter.iter().enumerate() {
            if scanned % WINDOW_SLOTS == 0 {
                self.stop.poll()?;
            }
            if self.index.has(slot) && !(self.params.indexed_only && self.index.tail.contains(slot)) {
                self.compare(nearest, slot, cost);
            }
        }
        Ok(())
    }

    fn compare(&self, nearest: &mut Nearest, slot: Slot, cost: &mut Cost) {
        cost.distances += 1;
        if let Some(product) = self.index.vectors.get(self.pin, slot).and_then(|of| sparse_dot(self.query, of)) {
            nearest.offer(Candidate::new(0.0 - product, slot, true));
        }
    }

    fn window(&self, window: usize, nearest: &mut Nearest, scratch: &mut SparseScratch, cost: &mut Cost) {
        let SparseScratch { sums, found, eligible } = scratch;
        eligible.clear();
        eligible.resize(WINDOW_WORDS, 0);
        let mut is_empty = true;
        for (i, word) in self.index.live_words(window) {
            let word = self.params.filter.map_or(word, |filter| word & filter.word(i));
            let tail = self.index.tail.word(i);
            eligible[i % WINDOW_WORDS] = word & !tail;
            is_empty &= word & !tail == 0;
            if !self.params.indexed_only {
                slots_of_word(i, word & tail).for_each(|slot| self.compare(nearest, slot, cost));
            }
        }
        if is_empty {
            return;
        }
        let Some(postings) = self.index.postings(window) else { return };
        let terms: Vec<Term<'_>> =
            self.query.iter().filter_map(|(index, weight)| Some(Term::new(postings.list(index)?, weight))).collect();
        // Each product and each sum is off by at most half a unit in the last place of what it adds up to.
        let size_max: f64 = terms.iter().map(|term| term.size_max).sum();
        let slack = size_max * (terms.len() + 2) as f64 * f64::from(f32::EPSILON);
        // What a product must reach to be among the nearest. One at most 0 rules nothing out.
        let needed = nearest.worst().map(|distance| f64::from(0.0 - distance) - slack).filter(|needed| *needed > 0.0);
        let plan = Plan::new(terms, needed);
        if plan.read.is_empty() {
            return;
        }
        let sums = sums.get_or_insert_with(|| Box::new([0.0; WINDOW_SLOTS]));
        sums.fill(0.0);
        found.clear();
        found.resize(WINDOW_WORDS, 0);
        cost.distances += add_all(&plan.read, sums);
        match needed {
            // Then a vector without a product is ruled out by its sum of 0.
            Some(needed) => mark_reaching(&sums[..], (needed - plan.spared_gain) as f32, found),
            None => plan.read.iter().for_each(|term| term.mark(found)),
        }
        found.iter_mut().zip(eligible.iter()).for_each(|(word, eligible)| *word &= eligible);
        let spared_len: u64 = plan.spared.iter().map(|term| term.list.places.len() as u64).sum();
        let found_len = found.iter().map(|word| u64::from(word.count_ones())).sum::<u64>();
        let completes = spared_len > 0 && spared_len < found_len * POSTINGS_PER_VECTOR;
        if let Some(needed) = needed.filter(|_| completes) {
            cost.distances += add_all(&plan.spared, sums);
            eligible.copy_from_slice(found);
            found.fill(0);
            mark_reaching(&sums[..], needed as f32, found);
            found.iter_mut().zip(eligible.iter()).for_each(|(word, eligible)| *word &= eligible);
        }
        let found = || found.iter().enumerate().flat_map(|(i, word)| slots_of_word(window * WINDOW_WORDS + i, *word));
        if plan.spared.is_empty() {
            // The lists were added in the order in which `sparse_dot` adds, so the sums are its results.
            for slot in found() {
                let sum = sums[slot.index() % WINDOW_SLOTS];
                let product = if sum.is_nan() { f32::NEG_INFINITY } else { sum };
                nearest.offer(Candidate::new(0.0 - product, slot, true));
            }
            return;
        }
        let missing = if completes { slack } else { slack + plan.spared_gain };
        for slot in found() {
            let sum_max = f64::from(sums[slot.index() % WINDOW_SLOTS]) + missing;
            if !nearest.worst_seen().is_some_and(|distance| sum_max < f64::from(0.0 - distance)) {
                self.compare(nearest, slot, cost);
            }
        }
    }
}

/// The lists of a window, parted as MaxScore does.
struct Plan<'a> {
    /// Read first, in the order of the query.
    read: Vec<Term<'a>>,
    /// Cannot lift a vector that no other list names to what is needed.
    spared: Vec<Term<'a>>,
    /// The most that the spared lists together add.
    spared_gain: f64,
}

impl<'a> Plan<'a> {
    fn new(terms: Vec<Term<'a>>, needed: Option<f64>) -> Plan<'a> {
        let mut plan = Plan { read: Vec::new(), spared: Vec::new(), spared_gain: 0.0 };
        let mut by_gain: Vec<usize> = (0..terms.len()).collect();
        by_gain.sort_by(|a, b| terms[*a].gain_max.total_cmp(&terms[*b].gain_max));
        let mut is_spared = vec![false; terms.len()];
        for place in by_gain {
            let gain = plan.spared_gain + terms[place].gain_max;
            // A gain that is not a number is not below, and spares nothing.
            if !needed.is_some_and(|needed| gain < needed) {
                break;
            }
            plan.spared_gain = gain;
            is_spared[place] = true;
        }
        for (term, is_spared) in terms.into_iter().zip(is_spared) {
            if is_spared { plan.spared.push(term) } else { plan.read.push(term) }
        }
        plan
    }
}

/// Adds the products of the lists in their order; how many.
fn add_all(terms: &[Term<'_>], sums: &mut [f32; WINDOW_SLOTS]) -> u64 {
    /// Lists are short: what the processor would fetch ahead by itself comes when a list is at its end.
    const LINES_AHEAD: usize = 8;
    for (at, term) in terms.iter().enumerate() {
        if let Some(next) = terms.get(at + 1) {
            let lines = |bytes: usize| bytes.div_ceil(64).min(LINES_AHEAD);
            prefetch(next.list.places.as_ptr().cast(), lines(size_of_val(next.list.places)));
            prefetch(next.list.values.as_ptr().cast(), lines(size_of_val(next.list.values)));
        }
        term.add_to(sums);
    }
    terms.iter().map(|term| term.list.places.len() as u64).sum()
}

/// Marks the places whose sum is at least `needed`, or is not a number.
#[allow(clippy::neg_cmp_op_on_partial_ord, reason = "what is not a number is to be marked, in one comparison")]
fn mark_reaching(sums: &[f32], needed: f32, found: &mut [u64]) {
    // The next number below: the conversion may have rounded up.
    let needed = needed.next_down();
    for (word, sums) in found.iter_mut().zip(sums.chunks_exact(64)) {
        for (bit, sum) in sums.iter().enumerate() {
            *word |= u64::from(!(*sum < needed)) << bit;
        }
    }
}

impl<'a> Term<'a> {
    fn new(list: List<'a>, weight: f32) -> Term<'a> {
        let ends = [f64::from(weight * list.max), f64::from(weight * list.min)];
        let gain_max = ends[0].max(ends[1]).max(0.0);
        Term { list, weight, gain_max, size_max: ends[0].abs().max(ends[1].abs()) }
    }

    /// Adds the products of the list to the sums of the slots it names.
    fn add_to(&self, sums: &mut [f32; WINDOW_SLOTS]) {
        for (place, value) in self.list.places.iter().zip(self.list.values) {
            // Places are below the window's length; the remainder tells the compiler so.
            sums[usize::from(*place) % WINDOW_SLOTS] += self.weight * value;
        }
    }

    /// Marks the slots the list names.
    fn mark(&self, found: &mut [u64]) {
        for place in self.list.places {
            found[usize::from(*place) / 64] |= 1 << (*place % 64);
        }
    }
}

impl Agenda {
    fn standing(&mut self, slot: Slot) -> &mut Standing {
        let window = window_of(slot);
        if window >= self.standings.len() {
            self.standings.resize(window + 1, Standing::default());
        }
        &mut self.standings[window]
    }

    /// The window to be built next: what is due, else the one with most in its tail, if it is paid for.
    fn next(&mut self) -> Option<usize> {
        if let Some(window) = self.due.pop_front() {
            return Some(window);
        }
        if self.credit < WINDOW_SLOTS {
            return None;
        }
        let idle = self.standings.iter_mut().enumerate().filter(|(_, standing)| standing.tail > 0 && !standing.is_due);
        let (window, standing) = idle.max_by_key(|(_, standing)| standing.tail)?;
        standing.is_due = true;
        self.credit -= WINDOW_SLOTS;
        Some(window)
    }

    /// Queues the window if its lists are stale enough.
    pub(super) fn look_at(&mut self, window: usize) {
        let Some(standing) = self.standings.get_mut(window) else { return };
        let stale = standing.tail + standing.dead;
        if !standing.is_due && stale > 0 && stale * STALE_SHARE >= standing.listed {
            standing.is_due = true;
            self.due.push_back(window);
        }
    }
}

fn window_of(slot: Slot) -> usize {
    slot.index() / WINDOW_SLOTS
}

fn is_in(words: &[u64], place: u16) -> bool {
    words[usize::from(place) / 64] >> (place % 64) & 1 == 1
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;
    use crate::model::PointId;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};

    pub(in crate::index) fn sparse(entries: &[(u32, f32)]) -> SparseVector {
        SparseVector::new(entries.to_vec()).unwrap()
    }

    pub(in crate::index) struct Fixture {
        pub(in crate::index) slots: Arc<Slots>,
        pub(in crate::index) index: SparseIndex,
        pub(in crate::index) live: BTreeMap<Slot, SparseVector>,
    }

    impl Fixture {
        pub(in crate::index) fn new() -> Fixture {
            let slots = Arc::new(Slots::new());
            Fixture { index: SparseIndex::new(Arc::clone(&slots)), slots, live: BTreeMap::new() }
        }

        pub(in crate::index) fn put(&mut self, vector: &SparseVector) -> Slot {
            let slot = self.slots.allocate(PointId::Num(0), 1).unwrap();
            self.index.put(slot, vector.clone());
            self.live.insert(slot, vector.clone());
            slot
        }

        pub(in crate::index) fn remove(&mut self, slot: Slot) {
            assert!(self.index.remove(slot) && !self.index.remove(slot));
            self.slots.retire(slot);
            self.live.remove(&slot);
        }

        fn search(&self, query: &SparseVector, params: &SparseParams<'_>) -> Vec<(Slot, f32)> {
            let pin = self.slots.pin();
            self.index.search(&pin, &mut Scratch::new(), query, params, &Stop::new()).unwrap().hits
        }

        /// What a search must find, by comparing everything.
        fn nearest(&self, query: &SparseVector, k: usize, filter: Option<&Bitmap>) -> Vec<(Slot, f32)> {
            let eligible = self.live.iter().filter(|(slot, _)| filter.is_none_or(|filter| filter.contains(**slot)));
            let mut all: Vec<(Slot, f32)> =
                eligible.filter_map(|(slot, vector)| Some((*slot, 0.0 - sparse_dot(query, vector)?))).collect();
            all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
            all.truncate(k);
            all
        }

        pub(in crate::index) fn check(&self, query: &SparseVector, k: usize, filter: Option<&Bitmap>) {
            let got = self.search(query, &SparseParams { k, indexed_only: false, filter });
            assert_eq!(got, self.nearest(query, k, filter), "k {k}");
        }
    }

    #[test]
    fn s13_1_only_vectors_that_share_an_index_are_found_whatever_their_product() {
        let mut of = Fixture::new();
        let vectors = [sparse(&[(1, 1.0), (2, -5.0)]), sparse(&[(3, 1.0)]), sparse(&[]), sparse(&[(2, 0.0), (9, 1.0)])];
        vectors.iter().for_each(|vector| _ = of.put(vector));
        for _ in 0..2 {
            let params = SparseParams { k: 10, indexed_only: false, filter: None };
            let slots =
                |query: &[(u32, f32)]| of.search(&sparse(query), &params).iter().map(|hit| hit.0.0).collect::<Vec<_>>();
            assert_eq!(slots(&[(2, 1.0)]), [3, 0]);
            assert_eq!(slots(&[(2, -1.0), (3, 2.0)]), [0, 1, 3]);
            assert_eq!(slots(&[(4, 1.0)]), [0u32; 0]);
            assert_eq!(slots(&[]), [0u32; 0]);
            while of.index.work(1) > 0 {}
            assert_eq!((of.index.tail_len(), of.index.indexed_len()), (0, 4));
        }
    }

    #[test]
    fn indexed_only_leaves_out_the_tail() {
        let mut of = Fixture::new();
        (0..100).for_each(|_| _ = of.put(&sparse(&[(1, 1.0)])));
        let count = |of: &Fixture| {
            of.search(&sparse(&[(1, 1.0)]), &SparseParams { k: 1_000, indexed_only: true, filter: None }).len()
        };
        assert_eq!(count(&of), 0);
        while of.index.work(1) > 0 {}
        assert_eq!(count(&of), 100);
        of.put(&sparse(&[(1, 1.0)]));
        assert_eq!((count(&of), of.index.tail_len()), (100, 1));
        let mut only_the_last = Bitmap::new(101);
        only_the_last.set(Slot(100));
        let params = SparseParams { k: 5, indexed_only: true, filter: Some(&only_the_last) };
        assert!(of.search(&sparse(&[(1, 1.0)]), &params).is_empty());
    }

    #[test]
    fn a_window_whose_bounds_rule_it_out_is_passed_over() {
        let mut of = Fixture::new();
        let good = sparse(&[(1, 10.0), (2, 10.0)]);
        (0..50).for_each(|_| _ = of.put(&good));
        (0..3 * WINDOW_SLOTS).for_each(|n| _ = of.put(&sparse(&[(1 + n as u32 % 2, 1.0)])));
        while of.index.work(1) > 0 {}
        let params = SparseParams { k: 5, indexed_only: false, filter: None };
        let query = sparse(&[(1, 1.0), (2, 1.0)]);
        let found = of.index.search(&of.slots.pin(), &mut Scratch::new(), &query, &params, &Stop::new()).unwrap();
        assert_eq!(found.hits, of.nearest(&query, 5, None));
        assert!(found.cost.distances < 2 * WINDOW_SLOTS as u64, "{:?}", found.cost);
    }

    /// Deterministic numbers (xorshift64*).
    pub(in crate::index) struct Rng(pub(in crate::index) u64);
    impl Rng {
        pub(in crate::index) fn below(&mut self, n: u64) -> u64 {
            self.0 ^= self.0 >> 12;
            self.0 ^= self.0 << 25;
            self.0 ^= self.0 >> 27;
            self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) % n
        }
        /// Frequent and rare indices, as words have them.
        pub(in crate::index) fn vector(&mut self, len: u64, has_negative: bool) -> SparseVector {
            let entries: BTreeMap<u32, f32> = (0..self.below(len + 1))
                .map(|_| {
                    let index = self.below(400) * self.below(400) / 400;
                    let weight = self.below(1_000) as f32 / 250.0 - if has_negative { 2.0 } else { 0.0 };
                    (index as u32, weight)
                })
                .collect();
            sparse(&entries.into_iter().collect::<Vec<_>>())
        }
    }

    #[test]
    fn searches_over_many_windows_are_exact() {
        for (seed, has_negative) in [(1, false), (2, true)] {
            let mut rng = Rng(seed);
            let mut of = Fixture::new();
            let count = if cfg!(miri) { 500 } else { 3 * WINDOW_SLOTS };
            for n in 0..count {
                let vector = rng.vector(30, has_negative);
                let slot = of.put(&vector);
                if rng.below(5) == 0 {
                    of.remove(slot);
                }
                if n % 3_000 == 0 {
                    of.index.work(1);
                }
            }
            for _ in 0..2 {
                for k in [1, 10, 100, usize::MAX] {
                    for _ in 0..8 {
                        let query = rng.vector(40, has_negative);
                        of.check(&query, k, None);
                        let mut filter = Bitmap::new(of.slots.bound());
                        let share = 1 + rng.below(3) * 40;
                        (0..of.slots.bound())
                            .filter(|_| rng.below(share) == 0)
                            .for_each(|n| _ = filter.set(Slot(n as u32)));
                        of.check(&query, k, Some(&filter));
                        let indices: Vec<u32> = (0..20).map(|_| rng.below(400) as u32).collect();
                        for corpus in [None, Some(&filter)] {
                            let chosen: Vec<&SparseVector> = of
                                .live
                                .iter()
                                .filter(|(slot, _)| corpus.is_none_or(|corpus| corpus.contains(**slot)))
                                .map(|(_, vector)| vector)
                                .collect();
                            let having =
                                |index: &u32| chosen.iter().filter(|of| of.indices().contains(index)).count() as u64;
                            let want = SparseCounts {
                                vectors: chosen.len() as u64,
                                having: indices.iter().map(having).collect(),
                            };
                            assert_eq!(of.index.counts(&of.slots.pin(), &indices, corpus, &Stop::new()).unwrap(), want);
                        }
                    }
                }
                while of.index.work(1) > 0 {}
            }
        }
    }

    proptest! {
        /// Any mix of puts, removals and work, any weights: what comparing everything gives.
        #[test]
        fn searches_agree_with_comparing_everything(
            steps in prop::collection::vec((0..4u8, prop::collection::btree_map(0..8u32, -3..4i8, 0..5)), 0..80),
            query in prop::collection::btree_map(0..8u32, -3..4i8, 0..5),
            k in 0..12usize,
            share in 1..4u32,
        ) {
            let vector = |entries: &BTreeMap<u32, i8>| {
                sparse(&entries.iter().map(|(index, weight)| (*index, f32::from(*weight))).collect::<Vec<_>>())
            };
            let mut of = Fixture::new();
            for (step, entries) in &steps {
                match step {
                    0 => drop(of.index.work(1)),
                    1 => if let Some(slot) = of.live.keys().nth(entries.len()).copied() { of.remove(slot) },
                    _ => drop(of.put(&vector(entries))),
                }
            }
            of.check(&vector(&query), k, None);
            let mut filter = Bitmap::new(of.slots.bound());
            (0..of.slots.bound() as u32).filter(|n| n % share == 0).for_each(|n| _ = filter.set(Slot(n)));
            of.check(&vector(&query), k, Some(&filter));
        }
    }

    #[test]
    fn searches_beside_changes_see_every_vector_that_stays() {
        let slots = Arc::new(Slots::new());
        let index = SparseIndex::new(Arc::clone(&slots));
        let stays: Vec<Slot> = (0..100)
            .map(|n| {
                let slot = slots.allocate(PointId::Num(n), 1).unwrap();
                index.put(slot, sparse(&[(1, 1.0 + n as f32)]));
                slot
            })
            .collect();
        let done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !done.load(Ordering::Relaxed) {
                    if index.work(1) == 0 {
                        std::thread::yield_now();
                    }
                }
            });
            scope.spawn(|| {
                let mut scratch = Scratch::new();
                while !done.load(Ordering::Relaxed) {
                    let pin = slots.pin();
                    let params = SparseParams { k: 100, indexed_only: false, filter: None };
                    let query = sparse(&[(1, 1.0), (2, 0.5)]);
                    let hits = index.search(&pin, &mut scratch, &query, &params, &Stop::new()).unwrap().hits;
                    assert_eq!(hits.iter().filter(|(slot, _)| stays.contains(slot)).count(), 100, "{hits:?}");
                }
            });
            let rounds = if cfg!(miri) { 50 } else { 20_000 };
            for round in 0..rounds {
                let slot = slots.allocate(PointId::Num(1_000 + round), 1).unwrap();
                index.put(slot, sparse(&[(2, 0.5), (3 + round as u32, 9.0)]));
                assert!(index.remove(slot));
                slots.retire(slot);
            }
            done.store(true, Ordering::Relaxed);
        });
        assert_eq!(index.counts(&slots.pin(), &[1, 2], None, &Stop::new()).unwrap().having, [100, 0]);
    }
}
