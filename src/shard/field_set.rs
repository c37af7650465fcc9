//! The field indexes of a shard as one set: what changes together, and what is seen together.
//!
//! Invariants:
//! - Under the set's lock every point has exactly one slot in `present` and in each ready index, and what an index has
//!   at that slot is what the point's payload holds as of one version of it. Ids and slots of points change under its
//!   write lock only, so whoever reads the set sees ids, slots and all indexes as of one moment: a filter over several
//!   indexes never mixes two versions of a point.
//! - An index that is being built gets every change from the moment it is registered; what was stored before comes from
//!   the builder. It answers nothing before it is complete.

use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::filter::TextFields;
use crate::index::payload::{FieldIndex, FieldSpec, FieldValues};
use crate::model::field_index::FieldIndexKind;
use crate::model::{Path, PointId, Slot};

/// See the head of this file.
#[derive(Default)]
pub(super) struct FieldSet {
    /// Slots that have a point.
    present: RoaringBitmap,
    ready: BTreeMap<Path, FieldIndex>,
    building: BTreeMap<Path, Building>,
    /// The ready text indexes; replaced when they change.
    texts: Arc<TextFields>,
}

/// An index that does not have all points yet.
struct Building {
    index: FieldIndex,
    /// Points up to this one have been taken in.
    last: Option<PointId>,
}

/// What a change of one point does to the indexes.
pub(super) enum FieldChange {
    None,
    Remove(Slot),
    /// The payload is as it was, the slot is not.
    Move {
        from: Slot,
        to: Slot,
    },
    /// Values by the specs of the change, at `slot`; `old` was the point's slot before.
    Put {
        slot: Slot,
        old: Option<Slot>,
        values: Vec<Option<FieldValues>>,
    },
}

/// A step of building an index.
pub(super) struct BuildStep {
    pub(super) spec: Arc<FieldSpec>,
    /// Points after this one are to be taken in.
    pub(super) last: Option<PointId>,
}

impl FieldSet {
    /// A set with ready indexes.
    pub(super) fn new(present: RoaringBitmap, ready: Vec<FieldIndex>) -> FieldSet {
        let ready = ready.into_iter().map(|index| (index.spec().path.clone(), index)).collect();
        let mut set = FieldSet { present, ready, ..FieldSet::default() };
        set.note_texts();
        set
    }

    /// Slots that have a point.
    pub(super) fn present(&self) -> &RoaringBitmap {
        &self.present
    }

    /// The index of this path, if it is complete.
    pub(super) fn index(&self, path: &Path) -> Option<&FieldIndex> {
        self.ready.get(path)
    }

    pub(super) fn ready(&self) -> impl Iterator<Item = &FieldIndex> {
        self.ready.values()
    }

    /// The parameters that text conditions follow.
    pub(super) fn texts(&self) -> Arc<TextFields> {
        Arc::clone(&self.texts)
    }

    /// What changes must be selected for: complete indexes, and after them those being built.
    pub(super) fn specs(&self) -> (Vec<Arc<FieldSpec>>, Vec<Arc<FieldSpec>>) {
        let spec = |index: &FieldIndex| Arc::clone(index.spec());
        (self.ready.values().map(spec).collect(), self.building.values().map(|of| spec(&of.index)).collect())
    }

    /// Applies `changes`, whose values are by `specs`. An index of another spec is left alone.
    pub(super) fn change(&mut self, specs: &[Arc<FieldSpec>], changes: &mut [FieldChange]) {
        for (nth, spec) in specs.iter().enumerate() {
            let Some(index) = self.index_of(spec) else { continue };
            for change in changes.iter_mut() {
                match change {
                    FieldChange::None => {}
                    FieldChange::Remove(slot) => index.remove(*slot),
                    FieldChange::Move { from, to } => {
                        let values = index.values_of(*from);
                        index.remove(*from);
                        index.put(*to, values);
                    }
                    FieldChange::Put { slot, old, values } => {
                        if let Some(old) = old {
                            index.remove(*old);
                        }
                        if let Some(values) = values.get_mut(nth).and_then(Option::take) {
                            index.put(*slot, values);
                        }
                    }
                }
            }
        }
    }

    /// Notes that the point at `old`, if any, is at `new` now, if anywhere.
    pub(super) fn place(&mut self, old: Option<Slot>, new: Option<Slot>) {
        if let Some(Slot(slot)) = old {
            self.present.remove(slot);
        }
        if let Some(Slot(slot)) = new {
            self.present.insert(slot);
        }
    }

    /// The index made by `spec`, ready or not.
    fn index_of(&mut self, spec: &Arc<FieldSpec>) -> Option<&mut FieldIndex> {
        let building = self.building.get_mut(&spec.path).map(|building| &mut building.index);
        let candidates = self.ready.get_mut(&spec.path).into_iter().chain(building);
        candidates.into_iter().find(|index| Arc::ptr_eq(index.spec(), spec))
    }

    /// Makes these the indexes of the set: those it lacks, or has with other parameters, are to be built. Returns what
    /// is gone, to be dropped without holding the set.
    pub(super) fn configure(&mut self, wanted: &BTreeMap<Path, FieldIndexKind>) -> Vec<FieldIndex> {
        let mut gone = Vec::new();
        let unwanted = |path: &Path| !wanted.contains_key(path);
        gone.extend(self.ready.extract_if(.., |path, _| unwanted(path)).map(|(_, index)| index));
        let is_stale = |path: &Path, building: &Building| wanted.get(path) != Some(&building.index.spec().kind);
        let stale = self.building.extract_if(.., |path, building| is_stale(path, building));
        gone.extend(stale.map(|(_, building)| building.index));
        for (path, kind) in wanted {
            let is_ready = self.ready.get(path).is_some_and(|index| index.spec().kind == *kind);
            if is_ready {
                // Changed, and changed back before the other one was complete.
                gone.extend(self.building.remove(path).map(|building| building.index));
            } else if !self.building.contains_key(path) {
                let index = FieldIndex::new(Arc::new(FieldSpec::new(path.clone(), kind.clone())));
                if self.present.is_empty() {
                    gone.extend(self.ready.insert(path.clone(), index));
                } else {
                    // An index with other parameters answers until this one is complete.
                    self.building.insert(path.clone(), Building { index, last: None });
                }
            }
        }
        self.note_texts();
        gone
    }

    /// What to build next, if anything.
    pub(super) fn next_build(&self) -> Option<BuildStep> {
        let building = self.building.values().next()?;
        Some(BuildStep { spec: Arc::clone(building.index.spec()), last: building.last })
    }

    /// Takes in what was stored of points up to `last`: each at the slot it still has. Returns false if the index is no
    /// longer wanted.
    pub(super) fn build(
        &mut self,
        spec: &Arc<FieldSpec>,
        stored: Vec<(Slot, FieldValues)>,
        last: Option<PointId>,
    ) -> bool {
        let Some(building) = self.building.get_mut(&spec.path) else { return false };
        if !Arc::ptr_eq(building.index.spec(), spec) {
            return false;
        }
        for (slot, values) in stored {
            building.index.put(slot, values);
        }
        building.last = last;
        true
    }

    /// All stored points are in the index made by `spec`: it answers from here on. Returns what it replaces.
    pub(super) fn finish_build(&mut self, spec: &Arc<FieldSpec>) -> Option<FieldIndex> {
        let is_it = self.building.get(&spec.path).is_some_and(|building| Arc::ptr_eq(building.index.spec(), spec));
        if !is_it {
            return None;
        }
        let built = self.building.remove(&spec.path)?;
        let replaced = self.ready.insert(spec.path.clone(), built.index);
        self.note_texts();
        replaced
    }

    fn note_texts(&mut self) {
        self.texts = Arc::new(TextFields::new(self.ready.values().map(|index| Arc::clone(index.spec()))));
    }
}
