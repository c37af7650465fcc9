//! One shard: the deterministic state machine over `storage` and `index`.
//!
//! Invariants:
//! - Same log, same points: [`Shard::apply`] reads no clock, no environment and no randomness, and its result depends
//!   on the stored points and the command alone, never on the index.
//! - What is in memory (`ids`, slots, indexes) mirrors what is in `store`; it changes after the batch is written.
//! - One writer: `writer` is held by apply, reconfigure and nothing else. Readers take `ids` and `columns` for the
//!   moment of a look-up only. Lock order: `writer`, `sweep`, `columns`, `dropped`, `unplaced`, `fields`, `ids`. `ids`
//!   and the field indexes change together, under the write lock of `fields`.
//! - Inside, vectors go by their stored names (see `dropped`); reads name them as clients do.
//! - Every point has exactly one live slot, shared by all its vectors.
//!
//! What it deliberately does not do: know Raft, collections, routing or the wire, and normalise or check vectors
//! (the service has done both before the command was proposed).

mod apply;
mod checkpoint;
mod column;
mod command;
mod dropped;
mod dump;
mod field_set;
mod fields;
pub mod filter;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod plan;
mod read;
mod replaced;
mod replica;
mod score;
mod transit;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use serde::{Deserialize, Serialize};

use crate::index::{CheckpointError, IndexMemory, Scratch, Slots};
use crate::model::field_index::FieldIndexKind;
use crate::model::vector::split_stored_name;
use crate::model::{NamedVectors, Path, PointId, PointVersion, Slot, VectorName};
use crate::storage::{ShardStore, StorageError};
use column::Column;
use dropped::{Dropped, Sweep};
use field_set::FieldSet;
use replaced::Replaced;
use transit::{Transit, Watched};

pub use crate::index::payload::WordStats as TextStats;
pub use apply::Entry;
pub use column::VectorSettings;
#[cfg(any(test, fuzzing))]
pub(crate) use command::decode_command;
pub(crate) use command::decode_plain_upsert;
pub use command::{
    Outcome, TextIndexes, encode_command, encode_command_with_texts, encode_dropped, encode_feed, encode_transit,
    rerouted,
};
pub use fields::TextSearch;
pub use read::{Found, Hit, Nearest, ReadError, sort_hits};
pub use replica::Replica;
pub use score::{Among, Inspected, Rank, Scoring, similarity};
pub use transit::{Closed, Feed, Refused, TransitCommand};

/// How a shard is set up.
#[derive(Clone, Debug, PartialEq)]
pub struct ShardSettings {
    /// By stored name; of each name one at most.
    pub vectors: BTreeMap<VectorName, VectorSettings>,
    /// The field indexes, by what they are of.
    pub fields: BTreeMap<Path, FieldIndexKind>,
    /// Folder of this shard's checkpoints; created when missing.
    pub index_dir: PathBuf,
}

/// Figures of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardStatus {
    pub point_count: u64,
    /// Vectors in the graphs.
    pub indexed_vector_count: u64,
    /// Vectors that wait for the graphs and are scanned meanwhile.
    pub tail_vector_count: u64,
    /// Log index of the last applied command.
    pub applied_index: u64,
}

/// Where a point is and when it last changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Place {
    slot: Slot,
    version: PointVersion,
}

/// One replica of one shard. Shared through `Arc`; all methods take `&self`.
pub struct Shard {
    store: ShardStore,
    /// Serialises changes. Held while a batch is written, so never taken by a reader.
    writer: Mutex<()>,
    slots: Arc<Slots>,
    /// By stored name; of each name one at most.
    columns: RwLock<BTreeMap<VectorName, Column>>,
    /// As of the last applied command. Changed under `writer` only.
    dropped: RwLock<Dropped>,
    /// Stored names of vectors that are stored, live, and in no column: the log is ahead of the settings, which have not
    /// named them yet or do not any more. Changed under `writer` only.
    unplaced: Mutex<BTreeSet<VectorName>>,
    /// As of the last applied command. Changed under `writer` only.
    transit: RwLock<Transit>,
    /// Held for moments only; changed under `writer`, but by its watcher.
    watched: Mutex<Watched>,
    /// Held for a step of some hundred keys.
    sweep: Mutex<Sweep>,
    /// Read for the evaluation of a filter's indexed conditions, written for a batch's changes or a step of building:
    /// milliseconds at most. One lock for all indexes, so that a filter over several of them sees one moment.
    fields: RwLock<FieldSet>,
    /// Held by the thread that builds a field index.
    field_builder: Mutex<()>,
    ids: RwLock<HashMap<PointId, Place>>,
    applied_index: AtomicU64,
    /// Odd while a batch is written and the memory follows it: then one point may be new in the store and old in memory.
    change_clock: AtomicU64,
    /// Changed points that the field indexes' files of the newest checkpoint lack.
    field_changes: AtomicU64,
    replaced: Replaced,
    /// Scratch of threads that came and went; at most as many as ran at once.
    scratch: Mutex<Vec<Scratch>>,
    index_dir: PathBuf,
    /// Of the newest checkpoint. Held while one is written: one at a time.
    last_stamp: Mutex<u64>,
    rebuilt: Vec<CheckpointError>,
}

impl Shard {
    /// The vectors of this name, as reads name them.
    fn column(&self, name: &str) -> Option<Column> {
        named(&self.columns.read(), name).cloned()
    }

    fn all_columns(&self) -> Vec<Column> {
        self.columns.read().values().cloned().collect()
    }

    /// Runs `body` with a scratch of this shard's, so that searches allocate nothing.
    fn with_scratch<T>(&self, body: impl FnOnce(&mut Scratch) -> T) -> T {
        let mut scratch = self.scratch.lock().pop().unwrap_or_default();
        let result = body(&mut scratch);
        self.scratch.lock().push(scratch);
        result
    }

    /// Keeps every change waiting while the guard lives.
    #[cfg(test)]
    pub(crate) fn hold_changes(&self) -> parking_lot::MutexGuard<'_, ()> {
        self.writer.lock()
    }

    /// Lends the calling thread to index building and repair for about `budget` vectors per index.
    /// Returns how many were done; 0 means there is nothing to do.
    pub fn index_work(&self, budget: usize) -> usize {
        let columns = self.all_columns();
        let others = self.build_fields(budget) + self.sweep_dropped(budget);
        others + self.with_scratch(|scratch| columns.iter().map(|column| column.work(scratch, budget)).sum::<usize>())
    }

    /// What each vector's index takes of memory. Looks at every sparse and every multivector.
    pub fn vector_memory(&self) -> BTreeMap<VectorName, IndexMemory> {
        let columns = self.columns.read().clone();
        columns.into_iter().map(|(name, column)| (name, column.memory())).collect()
    }

    /// How many points there are.
    pub fn point_count(&self) -> u64 {
        self.ids.read().len() as u64
    }

    /// The shard's figures.
    pub fn status(&self) -> ShardStatus {
        let columns = self.all_columns();
        ShardStatus {
            point_count: self.ids.read().len() as u64,
            indexed_vector_count: columns.iter().map(|column| column.indexed_len() as u64).sum(),
            tail_vector_count: columns.iter().map(|column| column.tail_len() as u64).sum(),
            applied_index: self.applied_index.load(Ordering::Acquire),
        }
    }

    /// Whether the columns hold all vectors that are stored and live, and no others. It is not so for the moment between
    /// a change of the collection's vectors and its arrival in the log.
    fn is_settled(&self) -> bool {
        let (columns, dropped) = (self.columns.read(), self.dropped.read());
        columns.keys().all(|stored| dropped.is_current(stored)) && self.unplaced.lock().is_empty()
    }

    /// Checks what must hold between changes; for tests.
    pub fn validate(&self) -> Result<(), String> {
        let _writer = self.writer.lock();
        let ids = self.ids.read();
        if ids.len() != self.slots.live_count() {
            return Err(format!("{} ids have {} live slots", ids.len(), self.slots.live_count()));
        }
        for (id, place) in ids.iter() {
            let of = self.slots.get(place.slot).map(|(id, _)| id);
            if !self.slots.is_live(place.slot) || of != Some(*id) {
                return Err(format!("slot {} of point {id} is {of:?}'s", place.slot.0));
            }
            let head = self.store.head(id).map_err(|error| error.to_string())?;
            let want = (place.version, self.vectors_version(place.slot));
            if head.map(|head| (head.version, head.vectors_version)) != Some(want) {
                return Err(format!("the head of point {id} is {head:?}, in memory it is {want:?}"));
            }
        }
        let places: Vec<(PointId, Slot)> = ids.iter().map(|(id, place)| (*id, place.slot)).collect();
        drop(ids);
        self.validate_columns(&places)?;
        self.validate_fields()
    }

    /// Checks that the columns hold what the store does.
    fn validate_columns(&self, places: &[(PointId, Slot)]) -> Result<(), String> {
        let pin = self.slots.pin();
        let (columns, dropped, unplaced) = (self.columns.read(), self.dropped.read(), self.unplaced.lock());
        let is_shown = |stored: &VectorName| dropped.is_current(stored) && !unplaced.contains(stored);
        for (id, slot) in places {
            let mut stored = self.store.vectors(id).map_err(|error| error.to_string())?;
            stored.retain(|name, _| is_shown(name));
            let current = columns.iter().filter(|(name, _)| is_shown(name));
            let held: NamedVectors =
                current.filter_map(|(name, column)| Some((name.clone(), column.vector(&pin, *slot)?))).collect();
            if held != stored {
                return Err(format!("point {id} has {stored:?} stored and {held:?} in memory"));
            }
        }
        Ok(())
    }

    /// Checks that every complete field index holds what the stored payloads do, and nothing else.
    fn validate_fields(&self) -> Result<(), String> {
        let fields = self.fields.read();
        let ids = self.ids.read();
        let slots: BTreeMap<Slot, PointId> = ids.iter().map(|(id, place)| (place.slot, *id)).collect();
        if !fields.present().iter().eq(slots.keys().map(|slot| slot.0)) {
            return Err(format!("the field indexes know {:?} instead of {slots:?}", fields.present()));
        }
        for index in fields.ready() {
            let path = &index.spec().path;
            for slot in (0..self.slots.bound() as u32).map(Slot) {
                let payload = match slots.get(&slot) {
                    Some(id) => self.store.payload(id).map_err(|error| error.to_string())?,
                    None => None,
                };
                if !index.holds(slot, payload.as_ref()) {
                    return Err(format!("the index of {path} is wrong about slot {} with {payload:?}", slot.0));
                }
            }
        }
        Ok(())
    }

    /// Adopts changed settings, by stored name. New names get columns, those that are not named any more go. A vector
    /// whose M or efConstruction changed gets a new graph, built from its live vectors while the exact scan answers.
    pub fn reconfigure(&self, vectors: &BTreeMap<VectorName, VectorSettings>) -> Result<(), StorageError> {
        let _writer = self.writer.lock();
        let gone: Vec<(VectorName, Column)> = {
            let mut columns = self.columns.write();
            columns.extract_if(.., |stored, _| !vectors.contains_key(stored)).collect()
        };
        let dropped = self.dropped.read().clone();
        // Until the log says that they were dropped, their vectors are the points' still.
        self.unplaced
            .lock()
            .extend(gone.into_iter().map(|(stored, _)| stored).filter(|stored| dropped.is_live(stored)));
        for (stored, settings) in vectors {
            let old = self.columns.read().get(stored).cloned();
            if old.as_ref().is_some_and(|old| old.settings() == *settings) {
                continue;
            }
            let new = Column::new(&self.slots, settings, &self.index_dir);
            if let Some(old) = old {
                let pin = self.slots.pin();
                for slot in self.slots.live().iter() {
                    if let Some(vector) = old.vector(&pin, slot) {
                        new.put(slot, &vector);
                    }
                }
            } else if self.unplaced.lock().contains(stored) {
                self.fill(stored, &new)?;
            }
            self.columns.write().insert(stored.clone(), new);
            self.unplaced.lock().remove(stored);
        }
        Ok(())
    }

    /// Puts the stored vectors of this stored name into a new column. The caller is the one writer.
    fn fill(&self, stored: &str, column: &Column) -> Result<(), StorageError> {
        for item in self.store.view().iter_vectors() {
            let (id, name, vector) = item?;
            if name == stored
                && let Some(place) = self.place_of(id)
            {
                column.put(place.slot, &vector);
            }
        }
        Ok(())
    }
}

/// The column of a vector as reads name it.
fn named<'a>(columns: &'a BTreeMap<VectorName, Column>, name: &str) -> Option<&'a Column> {
    // Few: a vector's stored name is its name unless one of that name was dropped before.
    columns
        .get(name)
        .or_else(|| columns.iter().find_map(|(stored, column)| (split_stored_name(stored).0 == name).then_some(column)))
}

#[cfg(test)]
mod dropped_tests;
#[cfg(test)]
mod field_tests;
#[cfg(test)]
mod replica_tests;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod transit_tests;
