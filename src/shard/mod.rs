//! One shard: the deterministic state machine over `storage` and `index`.
//!
//! Invariants:
//! - Same log, same points: [`Shard::apply`] reads no clock, no environment and no randomness, and its result depends
//!   on the stored points and the command alone, never on the index.
//! - What is in memory (`ids`, slots, indexes) mirrors what is in `store`; it changes after the batch is written.
//! - One writer: `writer` is held by apply, reconfigure and nothing else. Readers take `ids` and `columns` for the
//!   moment of a look-up only. Lock order: `writer`, `columns`, `fields`, `ids`. `ids` and the field indexes change
//!   together, under the write lock of `fields`.
//! - Every point has exactly one live slot, shared by all its vectors.
//!
//! What it deliberately does not do: know Raft, collections, routing or the wire, and normalise or check vectors
//! (the service has done both before the command was proposed).

mod apply;
mod checkpoint;
mod column;
mod command;
mod dump;
mod field_set;
mod fields;
pub mod filter;
mod plan;
mod read;
mod replaced;
mod score;

use std::collections::{BTreeMap, HashMap};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use crate::index::{CheckpointError, Scratch, Slots};
use crate::model::field_index::FieldIndexKind;
use crate::model::{Path, PointId, PointVersion, Slot, VectorName};
use crate::storage::ShardStore;
use column::Column;
use field_set::FieldSet;
use replaced::Replaced;

pub use crate::index::payload::WordStats as TextStats;
pub use apply::Entry;
pub use column::VectorSettings;
pub(crate) use command::decode_command;
pub use command::{Outcome, encode_command};
pub use fields::TextSearch;
pub use read::{Found, Hit, Nearest, ReadError, sort_hits};
pub use score::{Among, Inspected, Rank, Scoring, similarity};

/// How a shard is set up.
#[derive(Clone, Debug)]
pub struct ShardSettings {
    pub vectors: BTreeMap<VectorName, VectorSettings>,
    /// The field indexes, by what they are of.
    pub fields: BTreeMap<Path, FieldIndexKind>,
    /// Folder of this shard's checkpoints; created when missing.
    pub index_dir: PathBuf,
}

/// Figures of a shard.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
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
    columns: RwLock<BTreeMap<VectorName, Column>>,
    /// Read for the evaluation of a filter's indexed conditions, written for a batch's changes or a step of building:
    /// milliseconds at most. One lock for all indexes, so that a filter over several of them sees one moment.
    fields: RwLock<FieldSet>,
    /// Held by the thread that builds a field index.
    field_builder: Mutex<()>,
    ids: RwLock<HashMap<PointId, Place>>,
    applied_index: AtomicU64,
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
    /// The vectors of this name.
    fn column(&self, name: &str) -> Option<Column> {
        self.columns.read().get(name).cloned()
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

    /// Lends the calling thread to index building and repair for about `budget` vectors per index.
    /// Returns how many were done; 0 means there is nothing to do.
    pub fn index_work(&self, budget: usize) -> usize {
        let columns = self.all_columns();
        let fields = self.build_fields(budget);
        fields + self.with_scratch(|scratch| columns.iter().map(|column| column.work(scratch, budget)).sum::<usize>())
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
        drop(ids);
        self.validate_fields()
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

    /// Adopts changed settings. New names get empty columns, those that are not named any more go. A vector whose M or
    /// efConstruction changed gets a new graph, built from its live vectors while the exact scan answers; one whose kind
    /// or size changed is another vector and begins empty.
    pub fn reconfigure(&self, vectors: &BTreeMap<VectorName, VectorSettings>) {
        let _writer = self.writer.lock();
        self.columns.write().retain(|name, _| vectors.contains_key(name));
        for (name, settings) in vectors {
            let old = self.column(name);
            if old.as_ref().is_some_and(|old| old.settings() == *settings) {
                continue;
            }
            let new = Column::new(&self.slots, settings);
            if let Some(old) = old {
                let pin = self.slots.pin();
                for slot in self.slots.live().iter() {
                    if let Some(vector) = old.vector(&pin, slot) {
                        new.put(slot, &vector);
                    }
                }
            }
            self.columns.write().insert(name.clone(), new);
        }
    }
}

#[cfg(test)]
mod field_tests;
#[cfg(test)]
mod tests;
