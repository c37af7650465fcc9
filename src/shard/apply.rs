//! Changes. A run of committed commands becomes one storage batch, then the memory follows.
//!
//! An [`Edit`] overlays the stored points with what the run has changed so far, so that a later command of the same run
//! sees the earlier ones. Nothing is visible to readers before the batch is written.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::command::{Command, TextIndexes, decode};
use super::dropped::{DROPPED_ENTRY, Dropped};
use super::field_set::FieldChange;
use super::filter::{CompiledFilter, PointView, TextFields, has_words, needs_vectors};
use super::transit::{Feed, Refused, TRANSIT_ENTRY, Transit, TransitCommand, refused};
use super::{Outcome, Place, ReadError, Shard};
use crate::index::payload::FieldSpec;
use crate::index::{Pin, SLOT_COUNT_MAX, Stop};
use crate::model::field_index::FieldIndexKind;
use crate::model::ids::SlotRange;
use crate::model::payload::Path;
use crate::model::write::{PointVectors, UpsertMode};
use crate::model::{
    Filter, NamedVectors, Payload, Point, PointId, PointOp, PointSelector, PointVersion, ShardId, Slot, VectorName,
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
        let mut edit = Edit {
            shard: self,
            texts: TextFields::default(),
            pending: BTreeMap::new(),
            dropped: self.dropped.read().clone(),
            has_drops: false,
            transit: self.transit.read().clone(),
            within: Vec::new(),
            is_settled: self.is_settled(),
        };
        let mut outcomes = Vec::with_capacity(entries.len());
        for entry in entries {
            if let Some(command) = entry.command {
                outcomes.push(match decode(command).map_err(|what| self.damaged_entry(entry.index, &what))? {
                    Command::Points(op, texts) => {
                        edit.texts = fields_of(texts);
                        edit.apply_if_open(op, entry.index)?
                    }
                    Command::Transit(command) => edit.pass(command, entry.index)?,
                    Command::Feed(source, token, feed) => edit.feed(source, token, feed, entry.index)?,
                    Command::Dropped(counts) => {
                        for (name, count) in counts {
                            let is_news = edit.dropped.raise(&name, count);
                            edit.note_drops(is_news);
                        }
                        Outcome::default()
                    }
                });
            }
        }
        edit.write(position)?;
        if let Some(last) = entries.last() {
            self.applied_index.store(last.index, Ordering::Release);
        }
        Ok(outcomes)
    }
}

/// The text indexes of an entry, ready to be asked.
fn fields_of(texts: TextIndexes) -> TextFields {
    let spec = |(path, params)| Arc::new(FieldSpec::new(path, FieldIndexKind::Text(params)));
    TextFields::new(texts.into_iter().map(spec))
}

struct Edit<'a> {
    shard: &'a Shard,
    /// What conditions on words follow: the text indexes that the present entry came with. Those that the shard has are
    /// no part of its log: another replica may have others, and so may this one when it applies the entry again.
    texts: TextFields,
    /// Ordered, so that equal logs write equal batches.
    pending: BTreeMap<PointId, Pending>,
    /// As of the entries applied so far.
    dropped: Dropped,
    /// Whether this run has changed `dropped`.
    has_drops: bool,
    /// As of the entries applied so far.
    transit: Transit,
    /// A filter selects only points that are in all these ranges.
    within: Vec<SlotRange>,
    /// Whether the columns tell what the store would: which vectors a point has, and what they are. Otherwise the store is
    /// asked, so that the result depends on the log alone.
    is_settled: bool,
}

impl Edit<'_> {
    /// The run has met an entry that says which vectors are dropped.
    fn note_drops(&mut self, is_news: bool) {
        self.has_drops |= is_news;
        self.is_settled &= !is_news;
    }

    /// Passes over vectors that were dropped before this entry.
    fn admit(&mut self, vectors: &mut NamedVectors) {
        for stored in vectors.keys() {
            let is_news = self.dropped.meet(stored);
            self.note_drops(is_news);
        }
        self.keep_live(vectors);
    }

    fn keep_live(&self, vectors: &mut NamedVectors) {
        vectors.retain(|stored, _| self.dropped.is_live(stored));
    }

    fn apply_if_open(&mut self, op: PointOp, version: PointVersion) -> Result<Outcome, StorageError> {
        match self.transit.closed {
            None => self.apply(op, version),
            Some(_) => Ok(refused(Refused::Closed)),
        }
    }

    fn pass(&mut self, command: TransitCommand, version: PointVersion) -> Result<Outcome, StorageError> {
        match command {
            TransitCommand::Close(by) => self.transit.close(by),
            TransitCommand::Open(by) => self.transit.open(by),
            TransitCommand::Attach { source, share, claim, round, token, after } => {
                let mut transit = std::mem::take(&mut self.transit);
                let outcome = transit
                    .attach((source, share), claim, (round, token, after), || !self.has_any(|id| share.owns(id)));
                self.transit = transit;
                return Ok(outcome);
            }
            TransitCommand::Within(ranges, texts, op) => {
                self.texts = fields_of(texts);
                self.within = ranges;
                let outcome = self.apply_if_open(op, version);
                self.within = Vec::new();
                return outcome;
            }
        }
        Ok(Outcome::default())
    }

    /// What another shard had becomes this one's.
    fn feed(
        &mut self,
        source: ShardId,
        token: u64,
        feed: Feed,
        version: PointVersion,
    ) -> Result<Outcome, StorageError> {
        if feed == Feed::Seal {
            return Ok(self.transit.seal(source, token));
        }
        let (share, began_empty) = match self.transit.fed_by(source, token) {
            Ok(known) => known,
            Err(outcome) => return Ok(outcome),
        };
        let (points, gone) = match feed {
            Feed::Changes(points, gone) => (points, gone),
            Feed::Span { after, upto, points } => {
                let brought: BTreeSet<PointId> = points.iter().map(|point| point.id).collect();
                let is_stale = |id: &PointId| {
                    after.is_none_or(|after| *id > after)
                        && upto.is_none_or(|upto| *id <= upto)
                        && share.owns(*id)
                        && !brought.contains(id)
                };
                // Without anybody who brought some before there are none.
                let stale = if began_empty {
                    Vec::new()
                } else {
                    self.ids_of(after, upto)?.into_iter().filter(is_stale).collect()
                };
                (points, stale)
            }
            Feed::Seal => (Vec::new(), Vec::new()),
        };
        self.pending.extend(gone.into_iter().map(|id| (id, Pending::Deleted)));
        self.upsert(points, UpsertMode::Upsert, None, version)
    }

    /// The ids from `after` to `upto`, these included.
    fn ids_of(&self, after: Option<PointId>, upto: Option<PointId>) -> Result<BTreeSet<PointId>, StorageError> {
        let mut ids = BTreeSet::new();
        for head in self.shard.store.view().iter_heads(after) {
            let (id, _) = head?;
            if upto.is_some_and(|upto| id > upto) {
                break;
            }
            ids.insert(id);
        }
        ids.extend(self.pending.keys());
        Ok(ids.into_iter().filter(|id| self.exists(id)).collect())
    }

    fn has_any(&self, is_meant: impl Fn(PointId) -> bool) -> bool {
        self.all_ids().any(is_meant)
    }

    /// In no order.
    fn all_ids(&self) -> impl Iterator<Item = PointId> + use<> {
        let stored: Vec<PointId> =
            self.shard.ids.read().keys().copied().filter(|id| !self.pending.contains_key(id)).collect();
        let pending = self.pending.iter().filter(|(_, pending)| matches!(pending, Pending::Live(_)));
        let pending: Vec<PointId> = pending.map(|(id, _)| *id).collect();
        stored.into_iter().chain(pending)
    }

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
                Ok(Outcome { changed, ..Outcome::default() })
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
        let texts = self.texts.clone();
        let condition = update_filter.map(|filter| CompiledFilter::with_texts(filter, &texts));
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
                let Point { id, mut vectors, payload } = point;
                self.admit(&mut vectors);
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
        let texts = self.texts.clone();
        let condition = update_filter.map(|filter| CompiledFilter::with_texts(filter, &texts));
        let mut outcome = Outcome::default();
        for PointVectors { id, mut vectors } in points {
            if !self.exists(&id) {
                outcome.missing.push(id);
                continue;
            }
            if let Some(condition) = &condition
                && !self.matches(condition, id)?
            {
                continue;
            }
            self.admit(&mut vectors);
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
        Ok(Outcome { missing: selected.missing, changed, refused: None })
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
        Ok(Outcome { missing: selected.missing, changed, refused: None })
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
        let mut vectors = match self.pending.get(&id) {
            Some(Pending::Live(PendingPoint { vectors: Some(vectors), .. })) => vectors.clone(),
            _ => self.shard.store.vectors(&id)?,
        };
        self.keep_live(&mut vectors);
        Ok(vectors)
    }

    /// Whether the point, which exists, has a vector of this name, as a client names it.
    fn has_vector(&self, id: PointId, name: &str) -> Result<bool, StorageError> {
        let stored = self.dropped.stored_name(name);
        Ok(match self.pending.get(&id) {
            Some(Pending::Live(PendingPoint { vectors: Some(vectors), .. })) => vectors.contains_key(&stored),
            _ if self.is_settled => self.shard.has_vector(id, name),
            _ => self.shard.store.vector(&id, &stored)?.is_some(),
        })
    }

    fn matches(&self, condition: &CompiledFilter<'_>, id: PointId) -> Result<bool, StorageError> {
        let payload = if condition.needs_payload() { self.payload(id)? } else { Payload::default() };
        let failed = Cell::new(None);
        let has_vector = |name: &str| {
            self.has_vector(id, name).unwrap_or_else(|error| {
                failed.set(Some(error));
                false
            })
        };
        let matches = condition.matches(&PointView { id, payload: &payload, has_vector: &has_vector });
        match failed.into_inner() {
            Some(error) => Err(error),
            None => Ok(matches),
        }
    }

    fn select(&self, select: &PointSelector) -> Result<Selected, StorageError> {
        match select {
            PointSelector::Ids(ids) => {
                // An id named twice is one point.
                let mut seen = BTreeSet::new();
                let (present, missing) = ids.iter().filter(|id| seen.insert(**id)).partition(|id| self.exists(id));
                Ok(Selected { present, missing })
            }
            PointSelector::Filter(filter) => {
                let mut present = self.matching(filter)?;
                present.retain(|id| self.within.iter().all(|range| range.owns(*id)));
                Ok(Selected { present, missing: Vec::new() })
            }
        }
    }

    /// Ids that match, in id order: the order of the log's effects must not depend on a hash map.
    fn matching(&self, filter: &Filter) -> Result<Vec<PointId>, StorageError> {
        let condition = CompiledFilter::with_texts(filter, &self.texts);
        if !self.is_settled && needs_vectors(filter) {
            return self.matching_one_by_one(&condition);
        }
        if !has_words(filter) {
            return self.matching_by_indexes(filter, &condition);
        }
        // The shard's own text indexes help if they are the entry's, from before they are asked until after.
        let texts = self.shard.text_fields();
        if texts.are_as(&self.texts) {
            let matching = self.matching_by_indexes(filter, &condition)?;
            if Arc::ptr_eq(&texts, &self.shard.text_fields()) {
                return Ok(matching);
            }
        }
        self.matching_one_by_one(&condition)
    }

    /// As [`Edit::matching`], with the help of the shard's field indexes.
    fn matching_by_indexes(
        &self,
        filter: &Filter,
        condition: &CompiledFilter<'_>,
    ) -> Result<Vec<PointId>, StorageError> {
        let pin = self.shard.slots.pin();
        let (stop, slots) = (Stop::new(), &self.shard.slots);
        let bounds = self.shard.bounds(&pin, filter, &stop).map_err(never_stopped)?;
        // What this run has changed is judged by itself, below.
        let stored = self.shard.decided(bounds, &pin, filter, &stop).map_err(never_stopped)?;
        let stored = stored.iter().filter_map(|slot| slots.get(Slot(slot))).map(|(id, _)| id);
        let mut matching: BTreeSet<PointId> = stored.filter(|id| !self.pending.contains_key(id)).collect();
        for id in self.pending.keys() {
            if self.exists(id) && self.matches(condition, *id)? {
                matching.insert(*id);
            }
        }
        Ok(matching.into_iter().collect())
    }

    /// As [`Edit::matching`], without columns and indexes.
    fn matching_one_by_one(&self, condition: &CompiledFilter<'_>) -> Result<Vec<PointId>, StorageError> {
        let stored = self.shard.ids.read().keys().copied().collect::<Vec<PointId>>();
        let ids: BTreeSet<PointId> = stored.into_iter().chain(self.pending.keys().copied()).collect();
        let mut matching = Vec::new();
        for id in ids {
            if self.exists(&id) && self.matches(condition, id)? {
                matching.push(id);
            }
        }
        Ok(matching)
    }

    /// Whether the stored vectors of the point at `place` are exactly `vectors`.
    fn holds(&self, pin: &Pin<'_>, id: PointId, place: Place, vectors: &NamedVectors) -> Result<bool, StorageError> {
        if self.is_settled {
            return Ok(self.shard.holds(pin, place.slot, vectors));
        }
        let mut stored = self.shard.store.vectors(&id)?;
        self.keep_live(&mut stored);
        Ok(stored == *vectors)
    }

    /// Stored names of the vectors that the point at `place` has in the store, dropped ones included.
    fn stored_names(&self, id: PointId, place: Place) -> Result<Vec<VectorName>, StorageError> {
        match self.is_settled {
            true => Ok(self.shard.stored_names(place.slot)),
            false => Ok(self.shard.store.vectors(&id)?.into_keys().collect()),
        }
    }

    /// Writes everything in one batch, then lets the memory follow.
    fn write(mut self, position: &[u8]) -> Result<(), StorageError> {
        let (shard, pending) = (self.shard, std::mem::take(&mut self.pending));
        shard.check_slots(pending.len())?;
        let pin = shard.slots.pin();
        let changed = if shard.watched.lock().is_on() { pending.keys().copied().collect() } else { Vec::new() };
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
                    let mut vectors = point.vectors;
                    // A later entry of the run may have dropped some of them.
                    vectors.iter_mut().for_each(|vectors| self.keep_live(vectors));
                    // Vectors that are what they were keep their slot and their place in the graph.
                    if let (Some(place), Some(new)) = (place, &vectors)
                        && self.holds(&pin, id, place, new)?
                    {
                        vectors = None;
                    }
                    let vectors_version = match (&vectors, place) {
                        (None, Some(place)) => shard.vectors_version(place.slot),
                        _ => point.version,
                    };
                    batch.put_head(&id, &PointHead { version: point.version, vectors_version });
                    if let Some(new) = &vectors {
                        for stored in place.map_or(Ok(Vec::new()), |at| self.stored_names(id, at))? {
                            if !new.contains_key(&stored) {
                                batch.delete_vector(&id, &stored);
                            }
                        }
                        batch.put_vectors(&id, new);
                    }
                    let (version, payload) = (point.version, point.payload);
                    follow.push(match (vectors, place) {
                        (None, Some(place)) => Follow::Touch { id, place: Place { version, ..place }, payload },
                        (vectors, place) => Follow::Put {
                            id,
                            version,
                            vectors: vectors.unwrap_or_default(),
                            payload,
                            old: place.map(|at| at.slot),
                        },
                    });
                }
            }
        }
        if self.has_drops {
            batch.put_entry(DROPPED_ENTRY, &self.dropped.encode());
        }
        let has_passed = *shard.transit.read() != self.transit;
        if has_passed {
            batch.put_entry(TRANSIT_ENTRY, &self.transit.encode());
        }
        batch.set_position(position);
        let changing = (!follow.is_empty()).then(|| Changing::begin(&shard.change_clock));
        shard.store.commit(batch)?;
        shard.follow(follow)?;
        drop(changing);
        if self.has_drops {
            shard.adopt_drops(self.dropped);
        }
        shard.watched.lock().note(changed);
        if has_passed {
            *shard.transit.write() = self.transit;
        }
        Ok(())
    }
}

/// Store and memory differ while this lives.
struct Changing<'a>(&'a AtomicU64);

impl Changing<'_> {
    fn begin(clock: &AtomicU64) -> Changing<'_> {
        clock.fetch_add(1, Ordering::AcqRel);
        Changing(clock)
    }
}

impl Drop for Changing<'_> {
    fn drop(&mut self) {
        self.0.fetch_add(1, Ordering::AcqRel);
    }
}

/// A point whose new vectors, if any, have their slot.
struct Placed {
    id: PointId,
    /// Where it was; the same as `new` if the vectors are as they were.
    old: Option<Slot>,
    /// Where it is, unless it was deleted.
    new: Option<Place>,
    payload: Option<Payload>,
}

/// Ids an operation touches: those the shard holds, those it does not.
struct Selected {
    present: Vec<PointId>,
    missing: Vec<PointId>,
}

/// What the memory does after the batch is written. Payloads are `None` where they are as they were.
enum Follow {
    Remove { id: PointId, slot: Slot },
    Touch { id: PointId, place: Place, payload: Option<Payload> },
    Put { id: PointId, version: PointVersion, vectors: NamedVectors, payload: Option<Payload>, old: Option<Slot> },
}

/// A stop that nobody raises.
fn never_stopped(error: ReadError) -> StorageError {
    match error {
        ReadError::Storage(error) => error,
        other => unreachable!("a filter was evaluated without a stop, and failed: {other}"),
    }
}

impl Shard {
    fn damaged_entry(&self, index: u64, what: &str) -> StorageError {
        StorageError::Damaged {
            path: PathBuf::from("raftdb"),
            what: format!("entry {index} of shard {} holds no command: {what}", self.store.shard()),
            advice: "Start a program that is at least as new as the one that wrote it, or restore the data folder",
        }
    }

    /// Lets the memory follow a batch: new slots are live first, then ids and field indexes change as one, then old
    /// slots die. A search may meet both slots of a point (it keeps one hit per id) but never neither.
    fn follow(&self, steps: Vec<Follow>) -> Result<(), StorageError> {
        let (ready, building) = self.fields.read().specs();
        let placed: Vec<Placed> = steps.into_iter().map(|step| self.place_step(step)).collect();
        let mut changes: Vec<FieldChange> =
            placed.iter().map(|placed| self.field_change(placed, &ready, false)).collect::<Result<_, _>>()?;
        // An index that is being built has not met every point: it cannot move what it may not have.
        let mut later_changes: Vec<FieldChange> =
            placed.iter().map(|placed| self.field_change(placed, &building, true)).collect::<Result<_, _>>()?;
        {
            let mut fields = self.fields.write();
            let mut ids = self.ids.write();
            for Placed { id, old, new, .. } in &placed {
                let old_slot = old.filter(|old| new.is_none_or(|new| new.slot != *old));
                fields.place(old_slot, new.map(|place| place.slot));
                match new {
                    Some(place) => ids.insert(*id, *place),
                    None => ids.remove(id),
                };
                if let (Some(_), Some(_)) = (old_slot, new) {
                    self.replaced.push(*id);
                }
            }
            fields.change(&ready, &mut changes);
            self.field_changes.fetch_add(if ready.is_empty() { 0 } else { placed.len() as u64 }, Ordering::AcqRel);
            fields.change(&building, &mut later_changes);
        }
        for Placed { old, new, .. } in placed {
            if let Some(old) = old
                && new.is_none_or(|new| new.slot != old)
            {
                self.retire(old);
            }
        }
        Ok(())
    }

    /// Puts a step's new vectors where searches find them.
    fn place_step(&self, step: Follow) -> Placed {
        match step {
            Follow::Remove { id, slot } => Placed { id, old: Some(slot), new: None, payload: None },
            Follow::Touch { id, place, payload } => Placed { id, old: Some(place.slot), new: Some(place), payload },
            Follow::Put { id, version, vectors, payload, old } => {
                let slot = self.place(id, version, &vectors);
                Placed { id, old, new: Some(Place { slot, version }), payload }
            }
        }
    }

    /// What a step means to the indexes made by `specs`. `always_selects`: also where the payload is as it was.
    fn field_change(
        &self,
        placed: &Placed,
        specs: &[Arc<FieldSpec>],
        always_selects: bool,
    ) -> Result<FieldChange, StorageError> {
        let select = |payload: &Payload, slot: Slot, old: Option<Slot>| FieldChange::Put {
            slot,
            old: old.filter(|old| *old != slot),
            values: specs.iter().map(|spec| Some(spec.select(payload))).collect(),
        };
        Ok(match (placed.old, placed.new, &placed.payload) {
            _ if specs.is_empty() => FieldChange::None,
            (Some(old), None, _) => FieldChange::Remove(old),
            (None, None, _) => FieldChange::None,
            (old, Some(new), Some(payload)) => select(payload, new.slot, old),
            (old, Some(new), None) if always_selects || old.is_none() => {
                let stored = self.store.payload(&placed.id)?.unwrap_or_default();
                select(&stored, new.slot, old)
            }
            (Some(old), Some(new), None) if old != new.slot => FieldChange::Move { from: old, to: new.slot },
            _ => FieldChange::None,
        })
    }

    /// Lets the memory follow a batch that says which vectors are dropped.
    fn adopt_drops(&self, dropped: Dropped) {
        // The place of the sweep is set back before anybody can take the new list for swept.
        let mut sweep = self.sweep.lock();
        sweep.begin_anew();
        let mut current = self.dropped.write();
        self.unplaced.lock().retain(|stored| dropped.is_live(stored));
        *current = dropped;
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
        for (stored, vector) in vectors {
            match columns.get(stored) {
                Some(column) => column.put(slot, vector),
                // The settings do not name it yet, or do not any more.
                None => {
                    self.unplaced.lock().insert(stored.clone());
                }
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

    /// Stored names of the vectors at `slot`.
    fn stored_names(&self, slot: Slot) -> Vec<VectorName> {
        let columns = self.columns.read();
        columns.iter().filter(|(_, column)| column.has(slot)).map(|(name, _)| name.clone()).collect()
    }

    /// Whether the vectors at `slot` are exactly `vectors`.
    fn holds(&self, pin: &Pin<'_>, slot: Slot, vectors: &NamedVectors) -> bool {
        let columns = self.columns.read();
        vectors.keys().all(|stored| columns.contains_key(stored))
            && columns.iter().all(|(stored, column)| column.holds(pin, slot, vectors.get(stored)))
    }

    pub(super) fn has_vector(&self, id: PointId, name: &str) -> bool {
        let place = self.ids.read().get(&id).copied();
        match (place, self.column(name)) {
            (Some(place), Some(column)) => column.has(place.slot),
            _ => false,
        }
    }
}
