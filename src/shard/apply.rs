//! Changes. A run of committed commands becomes one storage batch, then the memory follows.
//!
//! An [`Edit`] overlays the stored points with what the run has changed so far, so that a later command of the same run
//! sees the earlier ones. Nothing is visible to readers before the batch is written.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::atomic::Ordering;

use super::command::decode_command;
use super::filter::{self, CompiledFilter, PointView};
use super::{Outcome, Place, Shard};
use crate::index::{Pin, SLOT_COUNT_MAX};
use crate::model::payload::Path;
use crate::model::write::{PointVectors, UpsertMode};
use crate::model::{
    Filter, NamedVectors, Payload, Point, PointId, PointOp, PointSelector, PointVersion, Slot, VectorName,
};
use crate::storage::{PointHead, StorageError};

/// One committed entry of the shard's log.
pub struct Entry<'a> {
    /// Log index: becomes the version of the points it changes.
    pub index: u64,
    /// `None`: an entry of Raft's own.
    pub command: Option<&'a [u8]>,
}

/// What a run of commands has made of one point.
enum Pending {
    Deleted,
    Live(PendingPoint),
}

/// `None` fields are as stored.
struct PendingPoint {
    version: PointVersion,
    vectors: Option<NamedVectors>,
    payload: Option<Payload>,
}

impl Shard {
    /// Applies `entries` in order and stores `position` with their effects in one atomic batch.
    ///
    /// Returns one outcome per entry with a command. A command that cannot be decoded is damage, not bad input.
    pub fn apply(&self, entries: &[Entry<'_>], position: &[u8]) -> Result<Vec<Outcome>, StorageError> {
        let _writer = self.writer.lock();
        let mut edit = Edit { shard: self, pending: BTreeMap::new() };
        let mut outcomes = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(command) = entry.command {
                let op = decode_command(command).map_err(|what| self.damaged_entry(entry.index, &what))?;
                outcomes.push(edit.apply(op, entry.index)?);
            }
        }
        edit.write(position)?;
        if let Some(last) = entries.last() {
            self.applied_index.store(last.index, Ordering::Release);
        }
        Ok(outcomes)
    }
}

struct Edit<'a> {
    shard: &'a Shard,
    /// Ordered, so that equal logs write equal batches.
    pending: BTreeMap<PointId, Pending>,
}

impl Edit<'_> {
    fn apply(&mut self, op: PointOp, version: PointVersion) -> Result<Outcome, StorageError> {
        match op {
            PointOp::Upsert { points, mode, update_filter } => {
                self.upsert(points, mode, update_filter.as_ref(), version)
            }
            PointOp::Delete { select } => {
                let selected = self.select(&select)?;
                let changed = selected.present.len() as u64;
                for id in selected.present {
                    self.pending.insert(id, Pending::Deleted);
                }
                Ok(Outcome { missing: Vec::new(), changed })
            }
            PointOp::UpdateVectors { points, update_filter } => {
                self.update_vectors(points, update_filter.as_ref(), version)
            }
            PointOp::DeleteVectors { select, names } => self.delete_vectors(&select, &names, version),
            PointOp::SetPayload { select, payload, key } => self.edit_payload(&select, version, |old| match &key {
                None => old.merge(&payload),
                Some(path) => old.merge_at(path, &payload),
            }),
            PointOp::OverwritePayload { select, payload, key } => {
                self.edit_payload(&select, version, |old| match &key {
                    None => *old = payload.clone(),
                    Some(path) => old.replace_at(path, &payload),
                })
            }
            PointOp::DeletePayload { select, keys } => {
                self.edit_payload(&select, version, |old| keys.iter().for_each(|key: &Path| old.remove_at(key)))
            }
            PointOp::ClearPayload { select } => self.edit_payload(&select, version, |old| *old = Payload::default()),
        }
    }

    fn upsert(
        &mut self,
        points: Vec<Point>,
        mode: UpsertMode,
        update_filter: Option<&Filter>,
        version: PointVersion,
    ) -> Result<Outcome, StorageError> {
        let condition = update_filter.map(CompiledFilter::new);
        let mut outcome = Outcome::default();
        for point in points {
            let may_write = match (self.exists(&point.id), mode) {
                (true, UpsertMode::InsertOnly) | (false, UpsertMode::UpdateOnly) => false,
                (true, _) => match &condition {
                    Some(condition) => self.matches(condition, point.id)?,
                    None => true,
                },
                (false, _) => true,
            };
            if may_write {
                let Point { id, vectors, payload } = point;
                let pending = PendingPoint { version, vectors: Some(vectors), payload: Some(payload) };
                self.pending.insert(id, Pending::Live(pending));
                outcome.changed += 1;
            }
        }
        Ok(outcome)
    }

    fn update_vectors(
        &mut self,
        points: Vec<PointVectors>,
        update_filter: Option<&Filter>,
        version: PointVersion,
    ) -> Result<Outcome, StorageError> {
        let condition = update_filter.map(CompiledFilter::new);
        let mut outcome = Outcome::default();
        for PointVectors { id, vectors } in points {
            if !self.exists(&id) {
                outcome.missing.push(id);
                continue;
            }
            if let Some(condition) = &condition
                && !self.matches(condition, id)?
            {
                continue;
            }
            let mut merged = self.vectors(id)?;
            merged.extend(vectors);
            self.change(id, version).vectors = Some(merged);
            outcome.changed += 1;
        }
        Ok(outcome)
    }

    fn delete_vectors(
        &mut self,
        select: &PointSelector,
        names: &[VectorName],
        version: PointVersion,
    ) -> Result<Outcome, StorageError> {
        let selected = self.select(select)?;
        let mut changed = 0;
        for id in selected.present {
            let mut vectors = self.vectors(id)?;
            let before = vectors.len();
            vectors.retain(|name, _| !names.contains(name));
            if vectors.len() != before {
                self.change(id, version).vectors = Some(vectors);
                changed += 1;
            }
        }
        Ok(Outcome { missing: selected.missing, changed })
    }

    fn edit_payload(
        &mut self,
        select: &PointSelector,
        version: PointVersion,
        edit: impl Fn(&mut Payload),
    ) -> Result<Outcome, StorageError> {
        let selected = self.select(select)?;
        let changed = selected.present.len() as u64;
        for id in selected.present {
            let mut payload = self.payload(id)?;
            edit(&mut payload);
            self.change(id, version).payload = Some(payload);
        }
        Ok(Outcome { missing: selected.missing, changed })
    }

    /// The pending state of an existing point, for a change at `version`.
    fn change(&mut self, id: PointId, version: PointVersion) -> &mut PendingPoint {
        let fresh = || Pending::Live(PendingPoint { version, vectors: None, payload: None });
        let pending = self.pending.entry(id).or_insert_with(fresh);
        if matches!(pending, Pending::Deleted) {
            *pending = fresh();
        }
        match pending {
            Pending::Live(point) => {
                point.version = version;
                point
            }
            Pending::Deleted => unreachable!("replaced by a live one above"),
        }
    }

    fn exists(&self, id: &PointId) -> bool {
        match self.pending.get(id) {
            Some(Pending::Live(_)) => true,
            Some(Pending::Deleted) => false,
            None => self.shard.ids.read().contains_key(id),
        }
    }

    /// The payload as this run sees it. The point exists.
    fn payload(&self, id: PointId) -> Result<Payload, StorageError> {
        match self.pending.get(&id) {
            Some(Pending::Live(PendingPoint { payload: Some(payload), .. })) => Ok(payload.clone()),
            _ => Ok(self.shard.store.payload(&id)?.unwrap_or_default()),
        }
    }

    /// The vectors as this run sees them. The point exists.
    fn vectors(&self, id: PointId) -> Result<NamedVectors, StorageError> {
        match self.pending.get(&id) {
            Some(Pending::Live(PendingPoint { vectors: Some(vectors), .. })) => Ok(vectors.clone()),
            _ => self.shard.store.vectors(&id),
        }
    }

    fn has_vector(&self, id: PointId, name: &str) -> bool {
        match self.pending.get(&id) {
            Some(Pending::Live(PendingPoint { vectors: Some(vectors), .. })) => vectors.contains_key(name),
            _ => self.shard.has_vector(id, name),
        }
    }

    fn matches(&self, condition: &CompiledFilter<'_>, id: PointId) -> Result<bool, StorageError> {
        let payload = if condition.needs_payload() { self.payload(id)? } else { Payload::default() };
        Ok(condition.matches(&PointView { id, payload: &payload, has_vector: &|name| self.has_vector(id, name) }))
    }

    fn select(&self, select: &PointSelector) -> Result<Selected, StorageError> {
        match select {
            PointSelector::Ids(ids) => {
                // An id named twice is one point.
                let mut seen = BTreeSet::new();
                let (present, missing) = ids.iter().filter(|id| seen.insert(**id)).partition(|id| self.exists(id));
                Ok(Selected { present, missing })
            }
            PointSelector::Filter(filter) => Ok(Selected { present: self.matching(filter)?, missing: Vec::new() }),
        }
    }

    /// Ids that match, in id order: the order of the log's effects must not depend on a hash map.
    fn matching(&self, filter: &Filter) -> Result<Vec<PointId>, StorageError> {
        let condition = CompiledFilter::new(filter);
        let mut candidates: BTreeSet<PointId> = match filter::id_candidates(filter) {
            Some(ids) => ids,
            None => self.shard.ids.read().keys().copied().collect(),
        };
        candidates.extend(self.pending.keys().copied());
        let mut matching = Vec::new();
        for id in candidates {
            if self.exists(&id) && self.matches(&condition, id)? {
                matching.push(id);
            }
        }
        Ok(matching)
    }

    /// Writes everything in one batch, then lets the memory follow.
    fn write(self, position: &[u8]) -> Result<(), StorageError> {
        let Edit { shard, pending } = self;
        shard.check_slots(pending.len())?;
        let pin = shard.slots.pin();
        let mut batch = shard.store.batch();
        let mut follow = Vec::with_capacity(pending.len());
        for (id, pending) in pending {
            let place = shard.ids.read().get(&id).copied();
            match (pending, place) {
                (Pending::Deleted, None) => {}
                (Pending::Deleted, Some(place)) => {
                    batch.delete_point(&id)?;
                    follow.push(Follow::Remove { id, slot: place.slot });
                }
                (Pending::Live(point), place) => {
                    if let Some(payload) = &point.payload {
                        batch.put_payload(&id, payload);
                    }
                    // Vectors that are what they were keep their slot and their place in the graph.
                    let vectors = point.vectors.filter(|new| !place.is_some_and(|at| shard.holds(&pin, at.slot, new)));
                    let vectors_version = match (&vectors, place) {
                        (None, Some(place)) => shard.vectors_version(place.slot),
                        _ => point.version,
                    };
                    batch.put_head(&id, &PointHead { version: point.version, vectors_version });
                    if let Some(new) = &vectors {
                        for name in place.map(|at| shard.vector_names(at.slot)).unwrap_or_default() {
                            if !new.contains_key(&name) {
                                batch.delete_vector(&id, &name);
                            }
                        }
                        batch.put_vectors(&id, new);
                    }
                    follow.push(match (vectors, place) {
                        (None, Some(place)) => Follow::Touch { id, place: Place { version: point.version, ..place } },
                        (vectors, place) => Follow::Put {
                            id,
                            version: point.version,
                            vectors: vectors.unwrap_or_default(),
                            old: place.map(|at| at.slot),
                        },
                    });
                }
            }
        }
        batch.set_position(position);
        shard.store.commit(batch)?;
        for step in follow {
            shard.follow(step);
        }
        Ok(())
    }
}

/// Ids an operation touches: those the shard holds, those it does not.
struct Selected {
    present: Vec<PointId>,
    missing: Vec<PointId>,
}

/// What the memory does after the batch is written.
enum Follow {
    Remove { id: PointId, slot: Slot },
    Touch { id: PointId, place: Place },
    Put { id: PointId, version: PointVersion, vectors: NamedVectors, old: Option<Slot> },
}

impl Shard {
    fn damaged_entry(&self, index: u64, what: &str) -> StorageError {
        StorageError::Damaged {
            path: PathBuf::from("raftdb"),
            what: format!("entry {index} of shard {} holds no command: {what}", self.store.shard()),
            advice: "Start a program that is at least as new as the one that wrote it, or restore the data folder",
        }
    }

    fn follow(&self, step: Follow) {
        match step {
            Follow::Remove { id, slot } => {
                self.ids.write().remove(&id);
                self.retire(slot);
            }
            Follow::Touch { id, place } => {
                self.ids.write().insert(id, place);
            }
            Follow::Put { id, version, vectors, old } => {
                let slot = self.place(id, version, &vectors);
                // The new slot is live before the old one is dead: a search may meet both (it keeps one hit per id)
                // but never neither.
                self.ids.write().insert(id, Place { slot, version });
                if let Some(old) = old {
                    self.replaced.push(id);
                    self.retire(old);
                }
            }
        }
    }

    /// Refuses a batch that could need more slots than there are, before anything of it is written.
    fn check_slots(&self, point_count: usize) -> Result<(), StorageError> {
        if self.slots.bound() + point_count > SLOT_COUNT_MAX as usize {
            return Err(StorageError::Failed {
                path: self.index_dir.clone(),
                what: format!("shard {} has no slots left for {point_count} more points", self.store.shard()),
            });
        }
        Ok(())
    }

    /// Gives a point a slot and puts its vectors there. There is a free slot (see [`Shard::check_slots`]).
    pub(super) fn place(&self, id: PointId, vectors_version: PointVersion, vectors: &NamedVectors) -> Slot {
        let Ok(slot) = self.slots.allocate(id, vectors_version) else {
            unreachable!("the batch was refused if there were not enough slots")
        };
        let columns = self.columns.read();
        for (name, vector) in vectors {
            // A name the shard has no column for belongs to a vector that was dropped after the write was proposed.
            if let Some(column) = columns.get(name) {
                column.put(slot, vector);
            }
        }
        slot
    }

    fn retire(&self, slot: Slot) {
        for column in self.columns.read().values() {
            column.remove(slot);
        }
        self.slots.retire(slot);
    }

    /// Version of the vectors at a slot that was handed out.
    pub(super) fn vectors_version(&self, slot: Slot) -> PointVersion {
        self.slots.get(slot).map_or(0, |(_, vectors_version)| vectors_version)
    }

    /// Names of the vectors at `slot`.
    fn vector_names(&self, slot: Slot) -> Vec<VectorName> {
        let columns = self.columns.read();
        columns.iter().filter(|(_, column)| column.has(slot)).map(|(name, _)| name.clone()).collect()
    }

    /// Whether the vectors at `slot` are exactly `vectors`.
    fn holds(&self, pin: &Pin<'_>, slot: Slot, vectors: &NamedVectors) -> bool {
        self.columns.read().iter().all(|(name, column)| column.holds(pin, slot, vectors.get(name)))
    }

    pub(super) fn has_vector(&self, id: PointId, name: &str) -> bool {
        let place = self.ids.read().get(&id).copied();
        match (place, self.column(name)) {
            (Some(place), Some(column)) => column.has(place.slot),
            _ => false,
        }
    }
}
