//! One named vector of one shard: its vectors, what of them is linked into the graph, and what still has to be done.
//!
//! A slot's stages here: absent; in the tail (put, searched by scan); being linked; linked (searched through the
//! graph); absent again once the repair after its removal has left no link to it. Whether it may be found is one bit
//! beside the stage: it is set by `put` and cleared by `remove`, at once.
//!
//! Invariants:
//! - A live slot is in the tail, or linked, or both: it leaves the tail after it was linked. A search reads the tail
//!   first and walks the graph after, so a slot that moves meanwhile is not missed.
//! - A vector is written once per life of its slot, before the slot's live bit is set; a slot begins a new life only
//!   when no pin can know the old one. So vectors are read without locks.
//! - `put` and `remove` are called by one thread (the one that applies the log); everything else by any.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::arena::Arena;
use super::bitmap::{Bitmap, LiveBits};
use super::graph::{Entry, Graph};
use super::repair::Sweep;
use super::scratch::Scratch;
use super::slots::{Pin, Slots};
use crate::distance::Distances;
use crate::model::{Metric, Slot};

/// What an index is made for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct IndexParams {
    /// Numbers per vector, 1 to 65,536.
    pub dim: usize,
    /// How vectors are compared.
    pub metric: Metric,
    /// Neighbors per level above 0, twice as many on level 0: the HNSW paper's M. 0: no graph, every search scans.
    pub m: usize,
    /// Candidates kept while a slot's neighbors are looked for: the paper's efConstruction.
    pub ef_construction: usize,
}

/// Bytes of memory an index has allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexMemory {
    /// For the vectors themselves.
    pub vector_bytes: u64,
    /// For what finds them: links or posting lists.
    pub link_bytes: u64,
}

/// The index of one named vector of one shard.
#[derive(Debug)]
pub struct VectorIndex {
    pub(super) slots: Arc<Slots>,
    pub(super) params: IndexParams,
    pub(super) kernel: Distances,
    /// Rows padded with zeros to whole cache lines.
    vectors: Arena<f32>,
    /// None when `m` is 0.
    pub(super) graph: Option<Graph>,
    /// May be found.
    pub(super) live: LiveBits,
    /// Not, or not well, linked yet: scanned by searches. Members may be dead for a moment.
    pub(super) tail: LiveBits,
    /// Linked or being linked, but dead: the graph may still lead there.
    dead_len: AtomicUsize,
    /// Short sections: taken once per put, remove and unit of work, never by a search. Lock order: this one, then the
    /// graph's entry lock or the slot table's. Rows are locked while none of these is taken.
    pub(super) agenda: Mutex<Agenda>,
}

/// The work to be done and where each slot stands.
#[derive(Debug, Default)]
pub(super) struct Agenda {
    stages: Vec<Standing>,
    /// Slots to be linked, oldest first. An entry whose slot is not `Tail` any more is void.
    to_link: VecDeque<Slot>,
    /// Dead linked slots no sweep has taken on yet.
    to_repair: Vec<Slot>,
    pub(super) sweep: Option<Arc<Sweep>>,
}

#[derive(Clone, Copy, Debug, Default)]
struct Standing {
    stage: Stage,
    /// The life of the slot ([`Slots`]) its vector was put in.
    life: u32,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Stage {
    #[default]
    Absent,
    Tail,
    /// Linked, but found to be unreachable: in the tail until it is linked again.
    TailAgain,
    Linking,
    Linked,
}

/// One thing a lent thread can do.
enum Task {
    Link(Slot),
    Sweep(Arc<Sweep>),
}

impl VectorIndex {
    /// An empty index over the slots of its shard.
    pub fn new(slots: Arc<Slots>, params: IndexParams) -> VectorIndex {
        VectorIndex::with_kernel(slots, params, Distances::new(params.metric))
    }

    /// # Panics
    /// If the kernel is not one of the parameters' metric.
    pub(super) fn with_kernel(slots: Arc<Slots>, params: IndexParams, kernel: Distances) -> VectorIndex {
        assert_eq!(kernel.metric(), params.metric);
        VectorIndex {
            slots,
            params,
            kernel,
            vectors: Arena::new(params.dim.next_multiple_of(16)),
            graph: (params.m > 0).then(|| Graph::new(params.m)),
            live: LiveBits::new(),
            tail: LiveBits::new(),
            dead_len: AtomicUsize::new(0),
            agenda: Mutex::new(Agenda::default()),
        }
    }

    /// What the index was made for.
    pub fn params(&self) -> &IndexParams {
        &self.params
    }

    /// What it takes of memory.
    pub fn memory(&self) -> IndexMemory {
        IndexMemory {
            vector_bytes: self.vectors.allocated_bytes() as u64,
            link_bytes: self.graph.as_ref().map_or(0, Graph::allocated_bytes) as u64,
        }
    }

    /// Stores the vector of a slot just allocated. It is found by every search that begins after the return.
    ///
    /// # Panics
    /// If the vector has another length than `dim`, or the slot has a vector already.
    pub fn put(&self, slot: Slot, vector: &[f32]) {
        assert_eq!(vector.len(), self.params.dim);
        let mut agenda = self.agenda.lock();
        let life = self.slots.lives(slot);
        let standing = agenda.standing(slot);
        assert!(standing.life < life, "slot {} already has a vector in its life {life}", slot.0);
        // A slot whose links a checkpoint brought back is linked and held before it has its vector.
        let is_linked = standing.stage == Stage::Linked;
        if !is_linked {
            self.slots.hold(slot);
        }
        self.live.grow_to(slot);
        self.tail.grow_to(slot);
        self.write_vector(slot, vector);
        self.live.set(slot);
        let stage = match &self.graph {
            Some(graph) if !is_linked => {
                graph.grow_to(slot);
                self.tail.set(slot);
                agenda.to_link.push_back(slot);
                Stage::Tail
            }
            _ => Stage::Linked,
        };
        *agenda.standing(slot) = Standing { stage, life };
    }

    /// For a slot in a new life, under the agenda's lock.
    fn write_vector(&self, slot: Slot, vector: &[f32]) {
        self.vectors.grow_to(slot.0);
        let row = self.vectors.grown_ptr(slot.0);
        // SAFETY: the row has at least `dim` cells. Nobody reads it: a reader knows a slot through its live bit or a
        // link while pinned, both went before the slot's last life ended, and `Slots` began this life after every pin
        // of that time was dropped (`put` has checked that the life is new). Writers are excluded by the lock.
        unsafe { std::ptr::copy_nonoverlapping(vector.as_ptr(), row, vector.len()) };
    }

    /// Makes `slot` dead for every search that begins after the return, and queues the repair around it. Was it live?
    pub fn remove(&self, slot: Slot) -> bool {
        let mut agenda = self.agenda.lock();
        if !self.live.clear(slot) {
            return false;
        }
        if self.graph.is_none() {
            agenda.standing(slot).stage = Stage::Absent;
            self.slots.release(slot);
            return true;
        }
        self.tail.clear(slot);
        match agenda.standing(slot).stage {
            Stage::Absent => {}
            Stage::Tail => {
                agenda.standing(slot).stage = Stage::Absent;
                self.slots.release(slot);
            }
            Stage::TailAgain | Stage::Linked => {
                agenda.standing(slot).stage = Stage::Linked;
                self.dead_len.fetch_add(1, Ordering::SeqCst);
                agenda.to_repair.push(slot);
            }
            // Whoever links it finds it dead and queues it.
            Stage::Linking => {
                self.dead_len.fetch_add(1, Ordering::SeqCst);
            }
        }
        true
    }

    /// Does up to `budget` units of work (a unit links one slot, or looks for dead links in a few rows) and returns how
    /// many were done: 0 means there is nothing to do now. Any number of threads may work at once.
    pub fn work(&self, scratch: &mut Scratch, budget: usize) -> usize {
        let Some(graph) = &self.graph else { return 0 };
        let mut done = 0;
        while done < budget {
            // Linking and repairing take turns, so that neither waits for the other to end.
            let Some(task) = self.next_task(done % 2 == 0) else { break };
            let pin = self.slots.pin();
            match task {
                Task::Link(slot) => {
                    self.link(graph, &pin, scratch, slot);
                    self.finish_link(slot);
                }
                Task::Sweep(sweep) => self.sweep_some(graph, &pin, scratch, &sweep),
            }
            done += 1;
        }
        done
    }

    fn next_task(&self, prefers_link: bool) -> Option<Task> {
        let mut agenda = self.agenda.lock();
        if agenda.sweep.is_none() && self.is_repair_due(&agenda) {
            agenda.sweep = Some(Arc::new(self.start_sweep(&mut agenda)));
        }
        let sweep = agenda.sweep.as_ref().filter(|sweep| sweep.has_more()).cloned();
        if let Some(sweep) = sweep.filter(|_| !prefers_link || agenda.to_link.is_empty()) {
            return Some(Task::Sweep(sweep));
        }
        while let Some(slot) = agenda.to_link.pop_front() {
            if matches!(agenda.standing(slot).stage, Stage::Tail | Stage::TailAgain) {
                agenda.standing(slot).stage = Stage::Linking;
                return Some(Task::Link(slot));
            }
        }
        agenda.sweep.as_ref().filter(|sweep| sweep.has_more()).cloned().map(Task::Sweep)
    }

    fn finish_link(&self, slot: Slot) {
        let mut agenda = self.agenda.lock();
        agenda.standing(slot).stage = Stage::Linked;
        self.tail.clear(slot);
        if !self.live.contains(slot) {
            agenda.to_repair.push(slot);
        }
    }

    /// A sweep reads every row, so it waits until the dead are worth it: one in 64.
    fn is_repair_due(&self, agenda: &Agenda) -> bool {
        !agenda.to_repair.is_empty() && agenda.to_repair.len() * 64 >= self.live.count()
    }

    /// Ends the life of slots no link points at any more, here.
    pub(super) fn finish_repair(&self, repaired: &[Slot], unreachable: impl Iterator<Item = Slot>) {
        let mut agenda = self.agenda.lock();
        for slot in repaired {
            agenda.standing(*slot).stage = Stage::Absent;
            self.slots.release(*slot);
        }
        self.dead_len.fetch_sub(repaired.len(), Ordering::SeqCst);
        for slot in unreachable {
            if agenda.standing(slot).stage == Stage::Linked && self.live.contains(slot) {
                agenda.standing(slot).stage = Stage::TailAgain;
                self.tail.set(slot);
                agenda.to_link.push_back(slot);
            }
        }
        agenda.sweep = None;
    }

    /// Takes over the links a checkpoint brought back: their slots are linked, and wait for their vectors.
    pub(super) fn claim_linked(&self, linked: &Bitmap, entry: Option<Entry>) {
        let Some(graph) = &self.graph else { return };
        let mut agenda = self.agenda.lock();
        for slot in linked.iter() {
            self.slots.hold(slot);
            agenda.standing(slot).stage = Stage::Linked;
        }
        let is_good = |entry: &Entry| linked.contains(entry.slot) && entry.level == graph.level(entry.slot);
        let highest = || {
            let entries = linked.iter().map(|slot| Entry { slot, level: graph.level(slot) });
            entries.max_by_key(|entry| entry.level)
        };
        graph.move_entry(|_| entry.filter(is_good).or_else(highest));
    }

    /// Ends a load: linked slots that have no vector are dead, and wait for repair like removed ones. Until then walks
    /// lead through them, so each stands where the first neighbor stands that has a vector.
    pub(super) fn bury_lost(&self) {
        let Some(graph) = &self.graph else { return };
        let mut agenda = self.agenda.lock();
        let lost: Vec<Slot> = agenda.linked().filter(|slot| !self.live.contains(*slot)).collect();
        let pin = self.slots.pin();
        let mut vector = vec![0.0; self.params.dim];
        for slot in &lost {
            match graph.neighbors(*slot, 0).find(|neighbor| self.live.contains(*neighbor)) {
                Some(neighbor) => vector.copy_from_slice(&self.row(&pin, neighbor)[..self.params.dim]),
                None => vector.fill(0.0),
            }
            self.write_vector(*slot, &vector);
            agenda.standing(*slot).life = self.slots.lives(*slot);
        }
        self.dead_len.fetch_add(lost.len(), Ordering::SeqCst);
        agenda.to_repair.extend(lost);
    }

    /// Vectors that may be found.
    pub fn live_len(&self) -> usize {
        self.live.count()
    }

    /// Vectors that searches still scan because they are not linked yet.
    pub fn tail_len(&self) -> usize {
        self.tail.count()
    }

    /// Vectors searched through the graph (through scans, if there is no graph).
    pub fn indexed_len(&self) -> usize {
        self.live.count().saturating_sub(self.tail.count())
    }

    /// Removed vectors the graph may still lead through.
    pub fn repair_len(&self) -> usize {
        self.dead_len.load(Ordering::SeqCst)
    }

    /// The vector of a slot, none if it has none here or is dead.
    ///
    /// # Panics
    /// If the pin is not one of this shard's slots.
    pub fn vector<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> Option<&'a [f32]> {
        assert!(pin.is_of(&self.slots));
        self.live.contains(slot).then(|| &self.row(pin, slot)[..self.params.dim])
    }

    /// The distance from `query` to the vector of a slot, none if it has none here or is dead.
    ///
    /// # Panics
    /// If the query has another length than `dim`, or the pin is not one of this shard's slots.
    pub fn distance(&self, pin: &Pin<'_>, query: &[f32], slot: Slot) -> Option<f32> {
        self.vector(pin, slot).map(|vector| self.kernel.distance(query, vector))
    }

    /// The distances from `query` to the vectors of `slots`, none for those that have none here or are dead.
    ///
    /// # Panics
    /// If the query has another length than `dim`, or the pin is not one of this shard's slots.
    pub fn distances(&self, pin: &Pin<'_>, query: &[f32], slots: &[Slot], out: &mut Vec<Option<f32>>) {
        assert!(pin.is_of(&self.slots));
        assert_eq!(query.len(), self.params.dim);
        let mut padded = query.to_vec();
        padded.resize(self.row_len(), 0.0);
        let live: Vec<Slot> = slots.iter().copied().filter(|slot| self.live.contains(*slot)).collect();
        live.iter().for_each(|slot| self.prefetch(*slot));
        let mut distances = Vec::new();
        self.score(pin, &padded, &live, &mut distances);
        let mut scored = live.into_iter().zip(distances).peekable();
        out.clear();
        out.extend(slots.iter().map(|slot| scored.next_if(|(of, _)| of == slot).map(|(_, distance)| distance)));
    }

    /// Whether the slot has a vector here and is live.
    pub fn has(&self, slot: Slot) -> bool {
        self.live.contains(slot)
    }

    /// The padded row of a slot that was seen live or linked under `pin`.
    #[inline]
    pub(super) fn row<'a>(&'a self, _pin: &'a Pin<'_>, slot: Slot) -> &'a [f32] {
        let row = self.vectors.grown_ptr(slot.0);
        // SAFETY: the row is an allocated, initialised run of `width` numbers. It is written only at the start of a
        // life of its slot, before the slot is named by a live bit or a link (which are read in acquire order), and
        // again only in its next life, which does not begin while the pin lives.
        unsafe { std::slice::from_raw_parts(row, self.vectors.width()) }
    }

    /// Asks for the vector of `slot` ahead of its use.
    #[inline]
    pub(super) fn prefetch(&self, slot: Slot) {
        const LINES_MAX: usize = 16;
        self.vectors.prefetch(slot.0, (self.vectors.width() / 16).min(LINES_MAX));
    }

    /// Distances from `query` (a padded row) to `slots`, into `out`.
    #[inline]
    pub(super) fn score(&self, pin: &Pin<'_>, query: &[f32], slots: &[Slot], out: &mut Vec<f32>) {
        const BATCH: usize = 32;
        out.resize(slots.len(), 0.0);
        for (slots, out) in slots.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let mut rows: [&[f32]; BATCH] = [&[]; BATCH];
            for (row, slot) in rows.iter_mut().zip(slots) {
                *row = self.row(pin, *slot);
            }
            self.kernel.distances(query, &rows[..slots.len()], out);
        }
    }

    /// Cells of a row: `dim` rounded up to whole cache lines.
    pub(super) fn row_len(&self) -> usize {
        self.vectors.width()
    }
}

impl Agenda {
    fn standing(&mut self, slot: Slot) -> &mut Standing {
        if slot.index() >= self.stages.len() {
            self.stages.resize(slot.index() + 1, Standing::default());
        }
        &mut self.stages[slot.index()]
    }

    /// The slots that are linked, live or dead.
    pub(super) fn linked(&self) -> impl Iterator<Item = Slot> + '_ {
        let is_linked = |standing: &Standing| matches!(standing.stage, Stage::Linked | Stage::TailAgain);
        (0u32..).zip(&self.stages).filter(move |(_, standing)| is_linked(standing)).map(|(slot, _)| Slot(slot))
    }

    pub(super) fn take_repairs(&mut self) -> Vec<Slot> {
        std::mem::take(&mut self.to_repair)
    }

    /// One more than the largest slot that was ever put.
    pub(super) fn bound(&self) -> usize {
        self.stages.len()
    }
}
