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

use std::borrow::Cow;
use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;

use super::bitmap::{Bitmap, LiveBits};
use super::codes::CodeRoom;
use super::dense_rows::DenseRows;
use super::graph::{Entry, Graph};
use super::multi_rows::MultiRows;
use super::repair::Sweep;
use super::rows::{Rows, RowsMemory};
use super::scratch::Scratch;
use super::slots::{Pin, Slots};
use super::storage::VectorStorage;
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
    /// How the vectors are kept. Multivectors are kept as they are, in memory.
    pub storage: VectorStorage,
}

/// Bytes of memory an index has allocated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IndexMemory {
    /// For the vectors themselves.
    pub vector_bytes: u64,
    /// For codes of them.
    pub code_bytes: u64,
    /// For what finds them: links or posting lists.
    pub link_bytes: u64,
    /// Of files that vectors and codes are in.
    pub file_bytes: u64,
}

/// The index of one dense vector of one shard.
pub type DenseIndex = VectorIndex<DenseRows>;

/// The index of one multivector of one shard.
pub type MultiIndex = VectorIndex<MultiRows>;

/// The index of one named vector of one shard.
#[derive(Debug)]
pub struct VectorIndex<R> {
    pub(super) slots: Arc<Slots>,
    pub(super) params: IndexParams,
    pub(super) rows: R,
    /// None when `m` is 0.
    pub(super) graph: Option<Graph>,
    /// May be found.
    pub(super) live: LiveBits,
    /// Encoded in this life; meaningless where there are no codes. Cleared before the slot is live again.
    pub(super) encoded: LiveBits,
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
    /// With the stage it was in.
    Link(Slot, Stage),
    Sweep(Arc<Sweep>),
}

impl<R: Rows> VectorIndex<R> {
    /// An empty index over the slots of its shard. What it keeps on disk is in files without names in `folder`; if none is
    /// given, or the device has no room, it is in memory.
    pub fn new(slots: Arc<Slots>, params: IndexParams, folder: Option<&Path>) -> VectorIndex<R> {
        VectorIndex::with_kernel(slots, params, Distances::new(params.metric), folder)
    }

    /// # Panics
    /// If the kernel is not one of the parameters' metric.
    pub(super) fn with_kernel(
        slots: Arc<Slots>,
        params: IndexParams,
        kernel: Distances,
        folder: Option<&Path>,
    ) -> VectorIndex<R> {
        assert_eq!(kernel.metric(), params.metric);
        VectorIndex {
            rows: R::new(&slots, &params, kernel, folder),
            slots,
            params,
            graph: (params.m > 0).then(|| Graph::new(params.m)),
            live: LiveBits::new(),
            encoded: LiveBits::new(),
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
        let RowsMemory { vector_bytes, code_bytes, file_bytes } = self.rows.memory();
        IndexMemory {
            vector_bytes: vector_bytes as u64,
            code_bytes: code_bytes as u64,
            file_bytes: file_bytes as u64,
            link_bytes: self.graph.as_ref().map_or(0, Graph::allocated_bytes) as u64,
        }
    }

    /// Stores the vector of a slot just allocated. It is found by every search that begins after the return.
    ///
    /// # Panics
    /// If the vector, or a row of it, has another length than `dim`, or the slot has a vector already.
    pub fn put(&self, slot: Slot, vector: &R::Vector) {
        assert!(self.rows.fits(vector));
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
        self.encoded.grow_to(slot);
        self.encoded.clear(slot);
        self.rows.write(slot, vector);
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
                Task::Link(slot, stage) => {
                    match stage {
                        Stage::TailAgain => self.link(graph, &pin, scratch, slot),
                        _ => self.link_first(graph, &pin, scratch, slot),
                    }
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
            let stage = agenda.standing(slot).stage;
            if matches!(stage, Stage::Tail | Stage::TailAgain) {
                agenda.standing(slot).stage = Stage::Linking;
                return Some(Task::Link(slot, stage));
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

    /// Makes the code of a slot that no link names in this life yet.
    pub(super) fn encode(&self, pin: &Pin<'_>, slot: Slot, room: &mut CodeRoom) {
        self.rows.encode(pin, slot, || self.sample(), room);
        self.encoded.grow_to(slot);
        self.encoded.set(slot);
    }

    /// Encodes the slots a checkpoint brought back, once their vectors are there too.
    pub(super) fn encode_linked(&self) {
        let mut room = CodeRoom::default();
        let pin = self.slots.pin();
        let agenda = self.agenda.lock();
        for slot in agenda.linked() {
            self.encode(&pin, slot, &mut room);
        }
    }

    /// Ends a load: linked slots that have no vector are dead, and wait for repair like removed ones. Until then walks
    /// lead through them, so each stands where the first neighbor stands that has a vector.
    pub(super) fn bury_lost(&self) {
        let Some(graph) = &self.graph else { return };
        let mut agenda = self.agenda.lock();
        let lost: Vec<Slot> = agenda.linked().filter(|slot| !self.live.contains(*slot)).collect();
        let pin = self.slots.pin();
        for slot in &lost {
            let neighbor = graph.neighbors(*slot, 0).find(|neighbor| self.live.contains(*neighbor));
            self.rows.write_stand_in(&pin, *slot, neighbor);
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
    pub fn vector<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> Option<Cow<'a, R::Vector>> {
        assert!(pin.is_of(&self.slots));
        self.live.contains(slot).then(|| self.rows.vector(pin, slot))
    }

    /// The distance from `query` to the vector of a slot, none if it has none here or is dead.
    ///
    /// # Panics
    /// If the query, or a row of it, has another length than `dim`, or the pin is not one of this shard's slots.
    pub fn distance(&self, pin: &Pin<'_>, query: &R::Vector, slot: Slot) -> Option<f32> {
        self.vector(pin, slot).map(|vector| self.rows.distance(query, &vector))
    }

    /// Whether the slot has a vector here and is live.
    pub fn has(&self, slot: Slot) -> bool {
        self.live.contains(slot)
    }

    /// Distances from `query` to `slots`, into `out`.
    #[inline]
    pub(super) fn score(&self, pin: &Pin<'_>, query: R::Query<'_>, slots: &[Slot], out: &mut Vec<f32>) {
        out.resize(slots.len(), 0.0);
        self.rows.score(pin, query, slots, out);
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
