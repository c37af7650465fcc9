//! Opening a shard, and the checkpoints that make it quick.
//!
//! A checkpoint is a folder `checkpoint-STAMP` with a file per graph and, written last, the slot table: a folder
//! without one was never finished. It may be older or newer than the store. Each slot's point and the version of its
//! vectors are compared with the store's head of that point: equal means the slot, its vector and its links still
//! belong together; everything else is placed anew and goes to the tail. So a checkpoint that is stale, damaged or
//! missing costs time and nothing else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::{Mutex, RwLock};

use super::column::{Column, VectorSettings};
use super::dropped::{Dropped, Sweep};
use super::field_set::FieldSet;
use super::{Place, Replaced, Shard, ShardSettings};
use crate::index::payload::{FieldIndex, FieldSpec};
use crate::index::{CheckpointError, Restoring, SLOT_COUNT_MAX, Slots, VectorIndex};
use crate::model::{PointId, PointVersion, Slot, Vector, VectorName};
use crate::storage::{PointHead, ShardStore, StorageError};

const PREFIX: &str = "checkpoint-";
const SLOTS_FILE: &str = "slots";

/// A column while its shard is being opened.
enum Opening {
    Restored(Box<Restoring>),
    New(Column),
}

impl Opening {
    fn put(&self, slot: Slot, vector: &Vector) {
        match (self, vector) {
            (Opening::Restored(index), Vector::Dense(values)) if values.len() == index.params().dim => {
                index.put(slot, values);
            }
            // Of a vector of the same name that was dropped.
            (Opening::Restored(_), _) => {}
            (Opening::New(column), _) => column.put(slot, vector),
        }
    }

    fn finish(self) -> Column {
        match self {
            Opening::Restored(index) => Column::Dense(Arc::new(index.finish())),
            Opening::New(column) => column,
        }
    }
}

impl Shard {
    /// Opens the shard as `store` holds it. The log behind [`Shard::position`] is applied by whoever owns it.
    pub fn open(store: ShardStore, settings: ShardSettings) -> Result<Shard, StorageError> {
        let dir = settings.index_dir;
        fs::create_dir_all(&dir).map_err(|error| storage_error(&dir, &error))?;
        let stamps = stamps(&dir).map_err(|error| storage_error(&dir, &error))?;
        let mut rebuilt = Vec::new();
        let newest = stamps.last().map(|stamp| (folder(&dir, *stamp), *stamp));
        let slots = newest.as_ref().and_then(|(folder, stamp)| {
            Slots::load(&folder.join(SLOTS_FILE), *stamp).map_err(|error| rebuilt.push(error)).ok()
        });
        let is_restored = slots.is_some();
        let slots = Arc::new(slots.unwrap_or_default());
        let mut opening = BTreeMap::new();
        for (name, settings) in &settings.vectors {
            let restored = newest.as_ref().filter(|_| is_restored).and_then(|(folder, stamp)| {
                let VectorSettings::Dense(params) = settings else { return None };
                let path = folder.join(graph_file(name));
                let loaded = VectorIndex::load(slots.clone(), *params, &path, *stamp);
                loaded.map_err(|error| rebuilt.push(error)).ok().map(Box::new)
            });
            let new = || Opening::New(Column::new(&slots, settings));
            opening.insert(name.clone(), restored.map_or_else(new, Opening::Restored));
        }
        let specs = settings.fields.into_iter().map(|(path, kind)| Arc::new(FieldSpec::new(path, kind)));
        let mut fields: Vec<FieldIndex> = specs.map(FieldIndex::new).collect();
        let dropped = Dropped::load(&store)?;
        let Placed { ids, applied_index, unplaced, sweep } =
            place_all(&store, &slots, &opening, &dropped, &mut fields)?;
        let present = ids.values().map(|place| place.slot.0).collect();
        let columns = opening.into_iter().map(|(name, column)| (name, column.finish())).collect();
        if is_restored {
            slots.settle();
        }
        Ok(Shard {
            store,
            writer: Mutex::new(()),
            slots,
            columns: RwLock::new(columns),
            dropped: RwLock::new(dropped),
            unplaced: Mutex::new(unplaced),
            sweep: Mutex::new(sweep),
            fields: RwLock::new(FieldSet::new(present, fields)),
            field_builder: Mutex::new(()),
            ids: RwLock::new(ids),
            applied_index: AtomicU64::new(applied_index),
            replaced: Replaced::default(),
            scratch: Mutex::default(),
            index_dir: dir,
            last_stamp: Mutex::new(stamps.last().copied().unwrap_or_default()),
            rebuilt,
        })
    }

    /// Why parts of the index had to be built anew when the shard was opened; empty if the checkpoint served.
    pub fn rebuilt(&self) -> &[CheckpointError] {
        &self.rebuilt
    }

    /// Writes a checkpoint and removes older ones. Changes and searches go on meanwhile.
    pub fn checkpoint(&self) -> Result<(), StorageError> {
        let mut last_stamp = self.last_stamp.lock();
        let stamp = *last_stamp + 1;
        let target = folder(&self.index_dir, stamp);
        let written = self.write_checkpoint(&target, stamp).and_then(|()| {
            *last_stamp = stamp;
            for old in stamps(&self.index_dir)?.into_iter().filter(|old| *old != stamp) {
                fs::remove_dir_all(folder(&self.index_dir, old))?;
            }
            Ok(())
        });
        written.map_err(|error| {
            if *last_stamp != stamp {
                // What is left of it has no slot table, so it is ignored even if it cannot be removed.
                let _ = fs::remove_dir_all(&target);
            }
            storage_error(&target, &error)
        })
    }

    fn write_checkpoint(&self, target: &Path, stamp: u64) -> io::Result<()> {
        fs::create_dir_all(target)?;
        // One pin for all files: no slot changes its identity between them.
        let pin = self.slots.pin();
        for (name, column) in self.columns.read().clone() {
            // Posting lists, rows of multivectors and scaled vectors are built anew from the store.
            if let Column::Dense(index) = column {
                index.write_checkpoint(&pin, &target.join(graph_file(&name)), stamp)?;
            }
        }
        self.slots.write_checkpoint(&pin, &target.join(SLOTS_FILE), stamp)?;
        fs::File::open(&self.index_dir)?.sync_all()
    }

    /// Where the stored state stands in the log, as the log's owner encoded it.
    pub fn position(&self) -> Result<Option<Vec<u8>>, StorageError> {
        self.store.position()
    }

    /// Makes everything applied so far durable.
    pub fn flush(&self) -> Result<(), StorageError> {
        self.store.flush()
    }
}

/// What the store holds.
#[derive(Default)]
struct Placed {
    ids: HashMap<PointId, Place>,
    /// The highest version stored.
    applied_index: u64,
    /// Live vectors without a column.
    unplaced: BTreeSet<VectorName>,
    /// Due if there are bytes of dropped vectors.
    sweep: Sweep,
}

/// Gives every stored point its slot of the checkpoint, or a new one, puts it into the columns and the field indexes, and
/// retires the slots no point claimed.
fn place_all(
    store: &ShardStore,
    slots: &Slots,
    columns: &BTreeMap<VectorName, Opening>,
    dropped: &Dropped,
    fields: &mut [FieldIndex],
) -> Result<Placed, StorageError> {
    let kept = |slot: Slot| slots.get(slot).map(|(id, version)| (id, (slot, version)));
    let mut unclaimed: HashMap<PointId, (Slot, PointVersion)> = slots.live().iter().filter_map(kept).collect();
    let mut placed = Placed { ids: HashMap::with_capacity(unclaimed.len()), ..Placed::default() };
    let view = store.view();
    // Heads, vectors and payloads are all in id order, so one pass over each suffices.
    let mut stored_vectors = view.iter_vectors().peekable();
    let mut stored_payloads = (!fields.is_empty()).then(|| view.iter_payloads(None).peekable());
    for head in view.iter_heads(None) {
        let (id, PointHead { version, vectors_version }) = head?;
        let slot = match unclaimed.remove(&id) {
            Some((slot, of)) if of == vectors_version => slot,
            stale => {
                if let Some((slot, _)) = stale {
                    slots.retire(slot);
                }
                slots.allocate(id, vectors_version).map_err(|error| StorageError::Failed {
                    path: PathBuf::from("kvdb"),
                    what: format!("shard {} holds too many points: {error} ({SLOT_COUNT_MAX})", store.shard()),
                })?
            }
        };
        while let Some(next) = stored_vectors.next_if(|next| !matches!(next, Ok((of, _, _)) if *of != id)) {
            let (_, stored, vector) = next?;
            match columns.get(&stored) {
                _ if !dropped.is_live(&stored) => placed.sweep.begin_anew(),
                Some(column) => column.put(slot, &vector),
                None => {
                    placed.unplaced.insert(stored);
                }
            }
        }
        if let Some(stored) = &mut stored_payloads {
            while let Some(next) = stored.next_if(|next| !matches!(next, Ok((of, _)) if *of > id)) {
                let (of, payload) = next?;
                if of == id {
                    fields.iter_mut().for_each(|index| index.put(slot, index.spec().select(&payload)));
                }
            }
        }
        placed.ids.insert(id, Place { slot, version });
        placed.applied_index = placed.applied_index.max(version);
    }
    for (slot, _) in unclaimed.into_values() {
        slots.retire(slot);
    }
    Ok(placed)
}

fn folder(index_dir: &Path, stamp: u64) -> PathBuf {
    index_dir.join(format!("{PREFIX}{stamp}"))
}

/// Stamps of the checkpoints in `index_dir`, ascending.
fn stamps(index_dir: &Path) -> io::Result<Vec<u64>> {
    let mut stamps = Vec::new();
    for entry in fs::read_dir(index_dir)? {
        let name = entry?.file_name();
        stamps.extend(
            name.to_str().and_then(|name| name.strip_prefix(PREFIX)).and_then(|stamp| stamp.parse::<u64>().ok()),
        );
    }
    stamps.sort_unstable();
    Ok(stamps)
}

/// Vector names may hold any character and be longer than a file's name, so the file is named by their bytes' hex, cut,
/// and their checksum. Two names in one file would cost recall until the next build, never an answer.
fn graph_file(name: &str) -> String {
    const BYTES_MAX: usize = 64;
    let hex = name.bytes().take(BYTES_MAX).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    format!("graph-{hex}-{:08x}", crc32fast::hash(name.as_bytes()))
}

fn storage_error(path: &Path, error: &io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::StorageFull => StorageError::OutOfDisk { path: path.to_owned() },
        _ => StorageError::Failed { path: path.to_owned(), what: error.to_string() },
    }
}
