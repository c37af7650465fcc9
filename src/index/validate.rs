//! The index's invariants, executed.

use super::rows::Rows;
use super::vector_index::VectorIndex;
use crate::model::{Metric, Slot};

/// An invariant that does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BrokenIndex {
    /// A row points at a slot that is not linked.
    #[error("slot {} points at slot {} on level {level}, which is not linked", from.0, to.0)]
    DeadEnd {
        /// Whose row.
        from: Slot,
        /// What it points at.
        to: Slot,
        /// On which level.
        level: usize,
    },
    /// A row names a slot twice, or its own.
    #[error("the row of slot {} on level {level} is not a set of other slots", slot.0)]
    NotASet {
        /// Whose row.
        slot: Slot,
        /// On which level.
        level: usize,
    },
    /// The entry point is not linked.
    #[error("the entry point, slot {}, is not linked", slot.0)]
    Entry {
        /// The entry point.
        slot: Slot,
    },
    /// More linked live slots cannot be reached than pruning explains.
    #[error("{unreachable} of {linked} slots cannot be reached")]
    Unreachable {
        /// Linked live slots without a way from the entry point.
        unreachable: usize,
        /// Linked live slots.
        linked: usize,
    },
}

/// Pruning may cut off one slot in this many; they are found again by the next sweep.
const UNREACHABLE_ONE_IN: usize = 500;
/// The same under the dot product and under max_sim, which are no metrics: short vectors are nobody's nearest, and few
/// lead to them.
const UNREACHABLE_ONE_IN_DOT: usize = 20;

impl<R: Rows> VectorIndex<R> {
    /// Checks the graph. For tests, while no other thread works on the index.
    pub fn validate(&self) -> Result<(), BrokenIndex> {
        let Some(graph) = &self.graph else { return Ok(()) };
        let linked: std::collections::BTreeSet<Slot> = self.agenda.lock().linked().collect();
        if let Some(entry) = graph.entry().filter(|entry| !linked.contains(&entry.slot)) {
            return Err(BrokenIndex::Entry { slot: entry.slot });
        }
        for slot in (0..self.slots.bound() as u32).map(Slot) {
            for level in 0..=graph.level(slot) {
                let mut neighbors: Vec<Slot> = graph.neighbors(slot, level).collect();
                if let Some(to) = neighbors.iter().find(|to| !linked.contains(*to)) {
                    return Err(BrokenIndex::DeadEnd { from: slot, to: *to, level });
                }
                neighbors.push(slot);
                neighbors.sort_unstable();
                if neighbors.windows(2).any(|pair| pair[0] == pair[1]) {
                    return Err(BrokenIndex::NotASet { slot, level });
                }
            }
        }
        let reached = self.reached(graph);
        let live: Vec<Slot> = linked.into_iter().filter(|slot| self.live.contains(*slot)).collect();
        let unreachable = live.iter().filter(|slot| !reached.contains(**slot)).count();
        let is_dot = self.params.metric == Metric::Dot;
        let one_in = if is_dot || !R::IS_SYMMETRIC { UNREACHABLE_ONE_IN_DOT } else { UNREACHABLE_ONE_IN };
        if unreachable > live.len() / one_in {
            return Err(BrokenIndex::Unreachable { unreachable, linked: live.len() });
        }
        Ok(())
    }
}
