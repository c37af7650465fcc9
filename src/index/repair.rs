//! Repair after removals: a sweep over all rows that leaves no link to the removed slots.
//!
//! A removed slot stays in the graph, led through but never returned, until the removed ones are worth a sweep. The
//! sweep gives each row that pointed at removed slots what they pointed at instead (through any number of removed ones,
//! to the live border), as far as the heuristic finds it diverse (consolidation as in FreshDiskANN, arXiv 2105.09613,
//! with HNSW's selection). Afterwards live slots that cannot be reached from the entry point any more go back to the
//! tail, where every search finds them, and are linked again.
//!
//! Why no link is left: the slots of a sweep were dead before it began, links are only written to slots seen live under
//! the row's lock, and the sweep edits every row that may hold one under that lock. Rows made later never held one.
//!
//! Any number of threads take part; whoever finishes the last piece ends the sweep.

use std::sync::atomic::{AtomicUsize, Ordering};

use super::bitmap::Bitmap;
use super::graph::{Entry, Graph};
use super::nearest::Candidate;
use super::rows::Rows;
use super::scratch::Scratch;
use super::slots::Pin;
use super::vector_index::{Agenda, VectorIndex};
use crate::model::Slot;

/// Rows of one piece of a sweep.
const PIECE: usize = 128;
/// Removed slots looked through for the replacement of the links of one row.
const DEAD_STEPS_MAX: usize = 256;
/// Replacements weighed for one row.
const REPLACEMENTS_MAX: usize = 128;

/// One pass over the rows.
#[derive(Debug)]
pub(super) struct Sweep {
    /// The removed slots this sweep ends the life of.
    slots: Vec<Slot>,
    is_swept: Bitmap,
    /// Slots from here on were put later and cannot have linked to those of the sweep.
    bound: usize,
    next: AtomicUsize,
    /// Rows that were not finished yet.
    unfinished: AtomicUsize,
}

impl Sweep {
    /// Is there a piece nobody has taken?
    pub(super) fn has_more(&self) -> bool {
        self.next.load(Ordering::Relaxed) < self.bound
    }
}

impl<R: Rows> VectorIndex<R> {
    /// Begins a sweep for what the agenda has to repair.
    pub(super) fn start_sweep(&self, agenda: &mut Agenda) -> Sweep {
        let slots = agenda.take_repairs();
        let bound = agenda.bound();
        let mut is_swept = Bitmap::new(bound);
        for slot in &slots {
            is_swept.set(*slot);
        }
        if let Some(graph) = &self.graph {
            graph.move_entry(|entry| match entry {
                Some(entry) if is_swept.contains(entry.slot) => {
                    let live = agenda.linked().filter(|slot| self.live.contains(*slot));
                    live.map(|slot| Entry { slot, level: graph.level(slot) }).max_by_key(|entry| entry.level)
                }
                kept => kept,
            });
        }
        Sweep { slots, is_swept, bound, next: AtomicUsize::new(0), unfinished: AtomicUsize::new(bound) }
    }

    /// Does one piece of a sweep, and ends the sweep with its last.
    pub(super) fn sweep_some(&self, graph: &Graph, pin: &Pin<'_>, scratch: &mut Scratch, sweep: &Sweep) {
        let begin = sweep.next.fetch_add(PIECE, Ordering::Relaxed);
        let end = sweep.bound.min(begin + PIECE);
        if begin >= end {
            return;
        }
        for slot in (begin..end).map(|slot| Slot(slot as u32)) {
            if sweep.is_swept.contains(slot) {
                continue;
            }
            for level in 0..=graph.level(slot) {
                self.repair_row(graph, pin, scratch, (slot, level), &sweep.is_swept);
            }
        }
        if sweep.unfinished.fetch_sub(end - begin, Ordering::AcqRel) == end - begin {
            self.end_sweep(graph, sweep);
        }
    }

    fn repair_row(
        &self,
        graph: &Graph,
        pin: &Pin<'_>,
        scratch: &mut Scratch,
        (owner, level): (Slot, usize),
        is_swept: &Bitmap,
    ) {
        let is_lost = |slot: Slot| is_swept.contains(slot);
        let lost_count = graph.neighbors(owner, level).filter(|slot| is_lost(*slot)).count();
        let added = if lost_count > 0 && self.live.contains(owner) {
            self.replacements(graph, pin, scratch, (owner, level), lost_count)
        } else {
            Vec::new()
        };
        // Locked even when no lost link was seen: a writer that saw its target live may be writing it just now.
        let row = graph.edit(owner, level, &self.live);
        row.drop_where(is_lost);
        for slot in &added {
            row.push(*slot);
        }
        drop(row);
        for slot in added {
            self.link_back(graph, pin, scratch, (slot, level), owner);
        }
    }

    /// What the dead neighbors of a row lead to, as far as it is diverse beside the neighbors that stay.
    fn replacements(
        &self,
        graph: &Graph,
        pin: &Pin<'_>,
        scratch: &mut Scratch,
        (owner, level): (Slot, usize),
        lost_count: usize,
    ) -> Vec<Slot> {
        scratch.visited.clear();
        scratch.visited.insert(owner);
        let mut kept = Vec::with_capacity(graph.degree_max(level));
        let mut dead = Vec::new();
        for slot in graph.neighbors(owner, level) {
            scratch.visited.insert(slot);
            if self.live.contains(slot) { kept.push(slot) } else { dead.push(slot) }
        }
        scratch.fresh.clear();
        let mut step = 0;
        while step < dead.len().min(DEAD_STEPS_MAX) && scratch.fresh.len() < REPLACEMENTS_MAX {
            for slot in graph.neighbors(dead[step], level) {
                if scratch.visited.insert(slot) {
                    if self.live.contains(slot) { scratch.fresh.push(slot) } else { dead.push(slot) }
                }
            }
            step += 1;
        }
        self.score(pin, self.rows.probe_of(pin, owner), &scratch.fresh, &mut scratch.distances);
        let scored = scratch.fresh.iter().zip(&scratch.distances);
        let mut candidates: Vec<Candidate> = scored.map(|(slot, d)| Candidate::new(*d, *slot, true)).collect();
        candidates.sort_unstable();
        let kept_count = kept.len();
        let count = graph.degree_max(level).min(kept_count + lost_count.max(self.params.m.saturating_sub(kept_count)));
        self.select(pin, candidates.into_iter(), count, &mut kept);
        kept.split_off(kept_count)
    }

    fn end_sweep(&self, graph: &Graph, sweep: &Sweep) {
        for slot in &sweep.slots {
            graph.clear(*slot);
        }
        let mut linked = Bitmap::new(sweep.bound);
        for slot in self.agenda.lock().linked() {
            linked.set(slot);
        }
        let reached = self.reached(graph);
        let unreachable = linked.iter().filter(|slot| self.live.contains(*slot) && !reached.contains(*slot));
        self.finish_repair(&sweep.slots, unreachable);
    }

    /// Every slot that links on level 0 lead to from the entry point.
    pub(super) fn reached(&self, graph: &Graph) -> Bitmap {
        let mut reached = Bitmap::new(self.slots.bound());
        let mut open: Vec<Slot> = graph.entry().map(|entry| entry.slot).into_iter().collect();
        for slot in &open {
            reached.set(*slot);
        }
        while let Some(slot) = open.pop() {
            open.extend(graph.neighbors(slot, 0).filter(|neighbor| reached.set(*neighbor)));
        }
        reached
    }
}
