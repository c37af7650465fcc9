//! Opening a shard, and the checkpoints that make it quick.
//!
//! A checkpoint is a folder `checkpoint-STAMP` with a file per graph, per sparse vector and per field index and, written
//! last, the slot table: a folder without one was never finished. It may be older or newer than the store. Each slot's
//! point and the version of its vectors are compared with the store's head of that point: equal means the slot, its
//! vector, its links and its postings still belong together; everything else is placed anew and goes to the tail. A
//! change of a payload keeps the slot, so what a field index has of a slot counts only if the point's own version is the
//! stored one, too; else its payload is read. So a checkpoint that is stale, damaged or missing costs time and nothing
//! else.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fmt::Write;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};

use super::column::{Column, VectorSettings};
use super::dropped::{Dropped, Sweep};
use super::field_set::FieldSet;
use super::transit::Transit;
use super::{Place, Replaced, Shard, ShardSettings};
use crate::index::payload::{FieldIndex, FieldSpec, FieldWriter, PIECE_SLOTS, RestoringField};
use crate::index::{
    CheckpointError, DenseIndex, DenseRows, MultiIndex, MultiRows, Restoring, RestoringSparse, SLOT_COUNT_MAX, Slots,
    SparseIndex,
};
use crate::model::{PointId, PointVersion, Slot, Vector, VectorName};
use crate::storage::{PointHead, ShardStore, StorageError};

const PREFIX: &str = "checkpoint-";
const SLOTS_FILE: &str = "slots";
/// Payloads read at once for field indexes that have most points already.
const PAYLOADS_MAX: usize = 256;
/// Reading a point's payload into the field indexes takes about this part of the time that linking a vector takes.
const POINTS_PER_UNIT: u64 = 16;

/// A column while its shard is being opened.
enum Opening {
    Dense(Box<Restoring<DenseRows>>),
    Multi(Box<Restoring<MultiRows>>),
    Sparse(Box<RestoringSparse>),
    New(Column),
}

impl Opening {
    /// The column of `settings`, from its file in the checkpoint's `folder` in `index_dir`, if there is one.
    fn load(
        slots: &Arc<Slots>,
        settings: &VectorSettings,
        (index_dir, folder): (&Path, &Path),
        name: &str,
        stamp: u64,
    ) -> Result<Opening, CheckpointError> {
        let slots_of = || Arc::clone(slots);
        Ok(match settings {
            VectorSettings::Dense(params) => {
                let path = folder.join(file("graph", name));
                Opening::Dense(Box::new(DenseIndex::load(slots_of(), *params, Some(index_dir), &path, stamp)?))
            }
            VectorSettings::Sparse => {
                let path = folder.join(file("sparse", name));
                Opening::Sparse(Box::new(SparseIndex::load(slots_of(), &path, stamp, name)?))
            }
            VectorSettings::Multi(params) => {
                let path = folder.join(file("graph", name));
                Opening::Multi(Box::new(MultiIndex::load(slots_of(), *params, None, &path, stamp)?))
            }
            // Scaled vectors are built anew from the store.
            VectorSettings::UnscaledDense(_) | VectorSettings::UnscaledMulti(_) => {
                Opening::New(Column::new(slots, settings, index_dir))
            }
        })
    }

    fn put(&mut self, slot: Slot, vector: Vector) {
        match (self, vector) {
            (Opening::Dense(index), Vector::Dense(values)) if values.len() == index.params().dim => {
                index.put(slot, &values);
            }
            (Opening::Multi(index), Vector::Multi(vector)) if vector.dim() == index.params().dim => {
                index.put(slot, &vector);
            }
            (Opening::Sparse(index), Vector::Sparse(vector)) => index.put(slot, vector),
            // Of a vector of the same name that was dropped.
            (Opening::Dense(_) | Opening::Multi(_) | Opening::Sparse(_), _) => {}
            (Opening::New(column), vector) => column.put(slot, &vector),
        }
    }

    fn finish(self) -> Column {
        match self {
            Opening::Dense(index) => Column::Dense(Arc::new(index.finish())),
            Opening::Multi(index) => Column::Multi(Arc::new(index.finish())),
            Opening::Sparse(index) => Column::Sparse(Arc::new(index.finish())),
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
        // A crash may have left a folder that was never finished beside the one before it.
        let finished = stamps.iter().rev().map(|stamp| (folder(&dir, *stamp), *stamp));
        let newest = finished.into_iter().find(|(folder, _)| folder.join(SLOTS_FILE).exists());
        let slots = newest.as_ref().and_then(|(folder, stamp)| {
            Slots::load(&folder.join(SLOTS_FILE), *stamp).map_err(|error| rebuilt.push(error)).ok()
        });
        let is_restored = slots.is_some();
        let slots = Arc::new(slots.unwrap_or_default());
        let mut opening = BTreeMap::new();
        for (name, settings) in &settings.vectors {
            let restored = newest.as_ref().filter(|_| is_restored).and_then(|(folder, stamp)| {
                let loaded = Opening::load(&slots, settings, (&dir, folder), name, *stamp);
                loaded.map_err(|error| rebuilt.push(error)).ok()
            });
            let new = || Opening::New(Column::new(&slots, settings, &dir));
            opening.insert(name.clone(), restored.unwrap_or_else(new));
        }
        let mut fields = Vec::with_capacity(settings.fields.len());
        for (path, kind) in settings.fields {
            let spec = Arc::new(FieldSpec::new(path, kind));
            let restored = newest.as_ref().filter(|_| is_restored).and_then(|(folder, stamp)| {
                let path = folder.join(file("field", &spec.path.to_string()));
                let loaded = RestoringField::load(Arc::clone(&spec), &path, *stamp);
                loaded.map_err(|error| rebuilt.push(error)).ok()
            });
            fields.push(restored.unwrap_or_else(|| RestoringField::new(spec)));
        }
        let dropped = Dropped::load(&store)?;
        let transit = Transit::load(&store)?;
        let Placed { ids, applied_index, unplaced, sweep, payloads_read } =
            place_all(&store, &slots, &mut opening, &dropped, &mut fields)?;
        let fields: Vec<FieldIndex> = fields.into_iter().map(RestoringField::finish).collect();
        let mut live: Vec<u32> = ids.values().map(|place| place.slot.0).collect();
        live.sort_unstable();
        let present = live.into_iter().collect();
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
            transit: RwLock::new(transit),
            watched: Mutex::default(),
            unplaced: Mutex::new(unplaced),
            sweep: Mutex::new(sweep),
            fields: RwLock::new(FieldSet::new(present, fields)),
            field_builder: Mutex::new(()),
            ids: RwLock::new(ids),
            applied_index: AtomicU64::new(applied_index),
            change_clock: AtomicU64::new(0),
            field_changes: AtomicU64::new(payloads_read),
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
        let field_changes = self.field_changes.load(Ordering::Acquire);
        let target = folder(&self.index_dir, stamp);
        let written = self.write_checkpoint(&target, stamp).and_then(|()| {
            *last_stamp = stamp;
            self.field_changes.fetch_sub(field_changes, Ordering::AcqRel);
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
            match column {
                Column::Dense(index) => index.write_checkpoint(&pin, &target.join(file("graph", &name)), stamp)?,
                Column::Sparse(index) => {
                    index.write_checkpoint(&pin, &target.join(file("sparse", &name)), stamp, &name)?
                }
                Column::Multi(index) => index.write_checkpoint(&pin, &target.join(file("graph", &name)), stamp)?,
                // Scaled vectors are built anew from the store.
                Column::Unscaled(..) => {}
            }
        }
        self.write_fields(target, stamp)?;
        self.slots.write_checkpoint(&pin, &target.join(SLOTS_FILE), stamp)?;
        fs::File::open(&self.index_dir)?.sync_all()
    }

    /// Writes the complete field indexes. Changes wait while a piece is copied, well under a millisecond; see
    /// [`FieldWriter`]. An index that is replaced or dropped meanwhile gets no file.
    fn write_fields(&self, target: &Path, stamp: u64) -> io::Result<()> {
        let bound = self.slots.bound();
        let mut writers: Vec<(Arc<FieldSpec>, FieldWriter)> = Vec::new();
        for index in self.fields.read().ready() {
            let path = target.join(file("field", &index.spec().path.to_string()));
            writers.push((Arc::clone(index.spec()), FieldWriter::create(index, &path, stamp, bound)?));
        }
        if writers.is_empty() {
            return Ok(());
        }
        for first in (0..bound).step_by(PIECE_SLOTS) {
            let slots = (first..bound.min(first + PIECE_SLOTS)).map(|slot| Slot(slot as u32));
            let fields = self.fields.read();
            let ids = self.ids.read();
            let version = |slot| {
                let place = ids.get(&self.slots.get(slot)?.0)?;
                (place.slot == slot).then_some(place.version)
            };
            let versions: Vec<Option<PointVersion>> = slots.map(version).collect();
            writers.retain_mut(|(spec, writer)| {
                let index = fields.index(&spec.path).filter(|index| Arc::ptr_eq(index.spec(), spec));
                index.map(|index| writer.take(index, Slot(first as u32), &versions)).is_some()
            });
            drop((ids, fields));
            writers.iter_mut().try_for_each(|(_, writer)| writer.write())?;
        }
        writers.into_iter().try_for_each(|(_, writer)| writer.finish())
    }

    /// What of the field indexes a restart would do again: the work in units of [`Shard::index_work`], and how much that
    /// would be of all.
    pub fn unsaved_field_work(&self) -> (u64, u64) {
        let points = if self.fields.read().ready().next().is_some() { self.ids.read().len() as u64 } else { 0 };
        (self.field_changes.load(Ordering::Acquire) / POINTS_PER_UNIT, points / POINTS_PER_UNIT)
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
    /// Points whose payloads had to be read for the field indexes.
    payloads_read: u64,
}

/// Gives every stored point its slot of the checkpoint, or a new one, puts it into the columns and, where they do not
/// have it as it is, the field indexes, and retires the slots no point claimed.
fn place_all(
    store: &ShardStore,
    slots: &Slots,
    columns: &mut BTreeMap<VectorName, Opening>,
    dropped: &Dropped,
    fields: &mut [RestoringField],
) -> Result<Placed, StorageError> {
    let kept = |slot: Slot| slots.get(slot).map(|(id, version)| (id, (slot, version)));
    let mut unclaimed: HashMap<PointId, (Slot, PointVersion)> = slots.live().iter().filter_map(kept).collect();
    let mut placed = Placed { ids: HashMap::with_capacity(unclaimed.len()), ..Placed::default() };
    let view = store.view();
    // Heads, vectors and payloads are all in id order, so one pass over each suffices. If every index has its file, few
    // payloads are wanted, and those are looked up.
    let mut stored_vectors = view.iter_vectors().peekable();
    let reads_all = fields.iter().any(|index| !index.is_restored());
    let mut stored_payloads = reads_all.then(|| view.iter_payloads(None).peekable());
    let mut wanted: Vec<(PointId, Slot)> = Vec::new();
    let mut stale: Vec<bool> = Vec::new();
    for head in view.iter_heads(None) {
        let (id, PointHead { version, vectors_version }) = head?;
        let slot = match unclaimed.remove(&id) {
            Some((slot, of)) if of == vectors_version => slot,
            other => {
                if let Some((slot, _)) = other {
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
            match columns.get_mut(&stored) {
                _ if !dropped.is_live(&stored) => placed.sweep.begin_anew(),
                Some(column) => column.put(slot, vector),
                None => {
                    placed.unplaced.insert(stored);
                }
            }
        }
        stale.clear();
        stale.extend(fields.iter_mut().map(|index| !index.keep(slot, version)));
        let is_wanted = stale.contains(&true);
        placed.payloads_read += u64::from(is_wanted);
        if let Some(stored) = &mut stored_payloads {
            while let Some(next) = stored.next_if(|next| !matches!(next, Ok((of, _)) if *of > id)) {
                let (of, payload) = next?;
                let of_point = fields.iter_mut().zip(&stale).filter(|(_, is_stale)| of == id && **is_stale);
                of_point.for_each(|(index, _)| index.put(slot, index.spec().select(&payload)));
            }
        } else if is_wanted {
            wanted.push((id, slot));
        }
        placed.ids.insert(id, Place { slot, version });
        placed.applied_index = placed.applied_index.max(version);
    }
    for wanted in wanted.chunks(PAYLOADS_MAX) {
        let of: Vec<PointId> = wanted.iter().map(|(id, _)| *id).collect();
        for ((_, slot), payload) in wanted.iter().zip(store.payloads(&of)?) {
            let payload = payload.unwrap_or_default();
            fields.iter_mut().for_each(|index| index.put(*slot, index.spec().select(&payload)));
        }
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

/// Names of vectors and paths of fields may hold any character and be longer than a file's name, so the file is named by
/// their bytes' hex, cut, and their checksum. Two names in one file would cost time until the next build, never an answer:
/// a file says what it is of as far as an answer depends on it.
fn file(prefix: &str, name: &str) -> String {
    const BYTES_MAX: usize = 64;
    let hex = name.bytes().take(BYTES_MAX).fold(String::new(), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    format!("{prefix}-{hex}-{:08x}", crc32fast::hash(name.as_bytes()))
}

fn storage_error(path: &Path, error: &io::Error) -> StorageError {
    match error.kind() {
        io::ErrorKind::StorageFull => StorageError::OutOfDisk { path: path.to_owned() },
        _ => StorageError::Failed { path: path.to_owned(), what: error.to_string() },
    }
}
