//! `kvdb`: the points of every shard of this node. The truth that vector indexes are rebuilt from.
//!
//! Invariants:
//! - The WAL is off: the Raft log is the WAL. What is not flushed yet is applied again from the log after a crash.
//! - One apply is one [`ShardBatch`]: effects and position reach RocksDB as one atomic write, and because flushes are
//!   atomic over all column families, disk never holds one without the other.
//! - A point exists if and only if it has a head; its payload and vectors have keys of their own so that reading one
//!   never reads the others.
//!
//! What it deliberately does not do: know collections, validate points, or lock writers out (one thread applies).

mod dump;

use std::collections::{BTreeMap, BTreeSet};
use std::marker::PhantomData;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::{Condvar, Mutex};
use rocksdb::{Cache, DBCompressionType, DBRawIterator, FlushOptions, Snapshot, WriteBatch};

use super::error::StorageError;
use super::keys;
use super::rocks::{DbSettings, Rocks, Schema, bounds, common_options, family_options};
use super::values::{self, Flaw, PointHead};
use crate::model::{NamedVectors, Payload, PointId, ShardId, Vector, VectorName};

const IDS: &str = "ids";
const PAYLOADS: &str = "payloads";
const VECTORS: &str = "vectors";
const META: &str = "meta";
const FAMILIES: [&str; 4] = [IDS, PAYLOADS, VECTORS, META];

/// Vectors of at least this many bytes go to blob files, so that compaction does not rewrite them.
const BLOB_BYTES_MIN: u64 = 1024;

const ADVICE: &str = "Stop the node, move its whole data folder away and restore it from a snapshot, or start it empty \
                      and load the points again";

/// All points of a node. A cheap handle.
#[derive(Clone)]
pub struct PointDb {
    store: Arc<Store>,
}

struct Store {
    rocks: Rocks,
    flushes: Mutex<Flushes>,
    flushed: Condvar,
    /// The shards that are at their second place. As stored.
    seconds: Mutex<BTreeSet<ShardId>>,
    /// The places that handles are on. An entry goes after what its place held, if that was left, is gone.
    places: Mutex<BTreeMap<ShardId, Weak<Place>>>,
    /// Rung when an entry goes.
    vacated: Condvar,
}

/// Flushes are numbered by their start. `succeeded` is the highest number that finished well.
#[derive(Default)]
struct Flushes {
    started: u64,
    succeeded: u64,
    is_running: bool,
}

impl PointDb {
    /// Opens the database in `folder`, creating it if there is none.
    pub fn open(folder: &Path, settings: &DbSettings) -> Result<PointDb, StorageError> {
        let cache = Cache::new_lru_cache(settings.block_cache_bytes);
        let mut options = common_options();
        options.set_atomic_flush(true);
        let families = FAMILIES.map(|name| {
            let mut family = family_options(settings, &cache, name == IDS || name == PAYLOADS);
            if name == VECTORS {
                // Floats hardly compress.
                family.set_compression_type(DBCompressionType::None);
                family.set_enable_blob_files(true);
                family.set_min_blob_size(BLOB_BYTES_MIN);
                family.set_enable_blob_gc(true);
            } else {
                family.set_compression_type(DBCompressionType::Lz4);
            }
            (name, family)
        });
        let schema = Schema { families: families.into(), options, damaged_advice: ADVICE };
        let rocks = Rocks::open(folder, settings, schema)?;
        let store = Store {
            rocks,
            flushes: Mutex::default(),
            flushed: Condvar::new(),
            seconds: Mutex::default(),
            places: Mutex::default(),
            vacated: Condvar::new(),
        };
        *store.seconds.lock() = store.stored_seconds()?;
        store.sweep_places()?;
        Ok(PointDb { store: Arc::new(store) })
    }

    /// The points of one shard.
    pub fn shard(&self, id: ShardId) -> ShardStore {
        let is_second = self.store.seconds.lock().contains(&id);
        ShardStore::at(&self.store, id, if is_second { keys::second_place(id) } else { id })
    }

    /// The shards that have a position here, ascending.
    pub fn shards(&self) -> Result<Vec<ShardId>, StorageError> {
        let places: BTreeSet<ShardId> =
            self.store.stored_places()?.into_iter().map(|place| keys::shard_at(place).0).collect();
        Ok(places.into_iter().collect())
    }

    /// Makes everything written so far durable, of all shards. Callers that wait at the same time share one flush.
    pub fn flush(&self) -> Result<(), StorageError> {
        self.store.flush()
    }

    /// Refuses with [`StorageError::OutOfDisk`] while less than the reserve is free.
    pub fn check_room(&self) -> Result<(), StorageError> {
        self.store.rocks.check_room()
    }

    /// A node-level entry.
    pub fn node_entry(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.store.bytes(META, &keys::point_node_entry(name))
    }

    /// Sets a node-level entry. Durable after the next [`PointDb::flush`].
    pub fn put_node_entry(&self, name: &str, value: &[u8]) -> Result<(), StorageError> {
        let mut batch = WriteBatch::default();
        batch.put_cf(self.store.rocks.family(META), keys::point_node_entry(name), values::encode_bytes(value));
        self.store.write(batch)
    }
}

impl Store {
    /// All places that have a position, ascending.
    fn stored_places(&self) -> Result<Vec<ShardId>, StorageError> {
        let (start, end) = keys::positions_range();
        let raw = self.rocks.range(META, start, end);
        let decode = |key: &[u8], _: &[u8]| keys::shard_from_position_key(key).ok_or(Flaw::Shape("a strange key"));
        Scan { raw, rocks: &self.rocks, family: META, decode, is_done: false, of: PhantomData }.collect()
    }

    fn stored_seconds(&self) -> Result<BTreeSet<ShardId>, StorageError> {
        let (start, end) = keys::second_entries_range();
        let raw = self.rocks.range(META, start, end);
        let decode = |key: &[u8], _: &[u8]| keys::shard_from_second_entry(key).ok_or(Flaw::Shape("a strange key"));
        Scan { raw, rocks: &self.rocks, family: META, decode, is_done: false, of: PhantomData }.collect()
    }

    /// Empties the places that a shard was about to move to, or had moved from, when the process ended.
    fn sweep_places(&self) -> Result<(), StorageError> {
        let shards: BTreeSet<ShardId> =
            self.stored_places()?.into_iter().map(|place| keys::shard_at(place).0).collect();
        for shard in shards {
            let is_second = self.seconds.lock().contains(&shard);
            let other = if is_second { shard } else { keys::second_place(shard) };
            if self.has_any(other)? {
                self.write(self.deletion_of_all(&[other]))?;
            }
        }
        Ok(())
    }

    /// Whether there is anything at a place.
    fn has_any(&self, place: ShardId) -> Result<bool, StorageError> {
        for family in FAMILIES {
            for (start, end) in ranges(place, family) {
                let raw = self.rocks.range(family, start, end);
                if raw.valid() {
                    return Ok(true);
                }
                raw.status().map_err(|error| self.rocks.error(&error))?;
            }
        }
        Ok(false)
    }

    fn deletion_of_all(&self, places: &[ShardId]) -> WriteBatch {
        let mut batch = WriteBatch::default();
        for family in FAMILIES {
            for (start, end) in places.iter().flat_map(|place| ranges(*place, family)) {
                batch.delete_range_cf(self.rocks.family(family), start, end);
            }
        }
        batch
    }

    fn write(&self, batch: WriteBatch) -> Result<(), StorageError> {
        self.rocks.db.write_without_wal(batch).map_err(|error| self.rocks.error(&error))
    }

    fn flush(&self) -> Result<(), StorageError> {
        let mut flushes = self.flushes.lock();
        // A flush under way may have missed the caller's last write; only one that starts from now on counts.
        let wanted = flushes.started + 1;
        loop {
            if flushes.succeeded >= wanted {
                return Ok(());
            }
            if !flushes.is_running {
                break;
            }
            self.flushed.wait(&mut flushes);
        }
        flushes.started += 1;
        flushes.is_running = true;
        let number = flushes.started;
        drop(flushes);
        let families = FAMILIES.map(|name| self.rocks.family(name));
        let mut options = FlushOptions::default();
        options.set_wait(true);
        let outcome = self.rocks.db.flush_cfs_opt(&families, &options).map_err(|error| self.rocks.error(&error));
        let mut flushes = self.flushes.lock();
        flushes.is_running = false;
        if outcome.is_ok() {
            flushes.succeeded = number;
        }
        self.flushed.notify_all();
        outcome
    }

    fn bytes(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.rocks.value(family, key)?.map(|stored| self.decode(family, key, &stored, bytes_from_stored)).transpose()
    }

    fn decode<T>(
        &self,
        family: &'static str,
        key: &[u8],
        stored: &[u8],
        decode: fn(&[u8]) -> Result<T, Flaw>,
    ) -> Result<T, StorageError> {
        decode(stored).map_err(|flaw| self.rocks.flaw(family, key, flaw))
    }
}

/// Where the keys of a place are in a column family.
fn ranges(place: ShardId, family: &str) -> Vec<(Vec<u8>, Vec<u8>)> {
    match family {
        META => vec![keys::position_range(place), keys::shard_entries_range(place)],
        _ => vec![keys::shard_range(place, None)],
    }
}

fn bytes_from_stored(stored: &[u8]) -> Result<Vec<u8>, Flaw> {
    values::decode_bytes(stored).map(<[u8]>::to_vec)
}

fn payload_from_stored(stored: &[u8]) -> Result<Payload, Flaw> {
    Payload::from_json(values::decode_bytes(stored)?).map_err(|_| Flaw::Shape("a payload is not a JSON object"))
}

/// One shard's points. A cheap handle; reads see the latest committed batch.
///
/// A shard has two places, so that what another node sent can be taken in beside what is there and then take its place in
/// one step. A handle stays with the place it was made for.
#[derive(Clone)]
pub struct ShardStore {
    id: ShardId,
    /// What the keys of this place begin with.
    prefix: ShardId,
    store: Arc<Store>,
    place: Arc<Place>,
}

/// Kept by all handles on a place.
struct Place {
    prefix: ShardId,
    store: Arc<Store>,
    /// The shard is elsewhere now: what is here goes with the last handle.
    is_left: AtomicBool,
}

impl Drop for Place {
    fn drop(&mut self) {
        if self.is_left.load(Ordering::Acquire)
            && let Err(error) = self.store.write(self.store.deletion_of_all(&[self.prefix]))
        {
            tracing::warn!(%error, "what a shard was before cannot be removed; the next start does it");
        }
        self.store.places.lock().remove(&self.prefix);
        self.store.vacated.notify_all();
    }
}

impl ShardStore {
    /// A handle on a place. Waits while the place is being emptied.
    fn at(store: &Arc<Store>, id: ShardId, prefix: ShardId) -> ShardStore {
        let mut places = store.places.lock();
        let place = loop {
            match places.get(&prefix).map(Weak::upgrade) {
                Some(Some(place)) => break place,
                // Its last handle is gone, and it is not yet.
                Some(None) => store.vacated.wait(&mut places),
                None => {
                    let place = Place { prefix, store: Arc::clone(store), is_left: AtomicBool::new(false) };
                    let place = Arc::new(place);
                    places.insert(prefix, Arc::downgrade(&place));
                    break place;
                }
            }
        };
        drop(places);
        ShardStore { id, prefix, store: Arc::clone(store), place }
    }

    /// Whose points these are.
    pub fn shard(&self) -> ShardId {
        self.id
    }

    /// Whether this is the shard's second place.
    pub fn is_second(&self) -> bool {
        self.prefix != self.id
    }

    /// The shard's other place, empty. Waits for those that still read there.
    pub fn other_place(&self) -> Result<ShardStore, StorageError> {
        let other = if self.is_second() { self.id } else { keys::second_place(self.id) };
        let mut places = self.store.places.lock();
        while places.contains_key(&other) {
            self.store.vacated.wait(&mut places);
        }
        drop(places);
        self.store.write(self.store.deletion_of_all(&[other]))?;
        Ok(ShardStore::at(&self.store, self.id, other))
    }

    /// Makes `other` the place of the shard, durably: all of it or, after a crash, nothing. What is here goes with the last
    /// handle on it.
    pub fn move_to(&self, other: &ShardStore) -> Result<(), StorageError> {
        assert_eq!(self.id, other.id, "a shard moves between its own places");
        self.write_second(other.is_second())?;
        // Flushes are atomic over everything written before, so the entry is on disk with all that it names.
        if let Err(error) = self.store.flush() {
            // Else a later flush would lead to a place that is given up.
            self.write_second(self.is_second())?;
            return Err(error);
        }
        let mut seconds = self.store.seconds.lock();
        if other.is_second() {
            seconds.insert(self.id)
        } else {
            seconds.remove(&self.id)
        };
        self.place.is_left.store(true, Ordering::Release);
        Ok(())
    }

    fn write_second(&self, is_second: bool) -> Result<(), StorageError> {
        let (key, mut batch) = (keys::second_entry(self.id), WriteBatch::default());
        let family = self.store.rocks.family(META);
        if is_second {
            batch.put_cf(family, key, values::encode_bytes(&[]))
        } else {
            batch.delete_cf(family, key)
        }
        self.store.write(batch)
    }

    /// The head of a point; `None` if there is no such point.
    pub fn head(&self, id: &PointId) -> Result<Option<PointHead>, StorageError> {
        self.one(IDS, id, values::decode_head)
    }

    /// Heads in the order of `ids`.
    pub fn heads(&self, ids: &[PointId]) -> Result<Vec<Option<PointHead>>, StorageError> {
        self.many(IDS, ids, values::decode_head)
    }

    /// The payload of a point; `None` if there is no such point.
    pub fn payload(&self, id: &PointId) -> Result<Option<Payload>, StorageError> {
        self.one(PAYLOADS, id, payload_from_stored)
    }

    /// Payloads in the order of `ids`.
    pub fn payloads(&self, ids: &[PointId]) -> Result<Vec<Option<Payload>>, StorageError> {
        self.many(PAYLOADS, ids, payload_from_stored)
    }

    /// One vector of a point; `None` if the point lacks it.
    pub fn vector(&self, id: &PointId, name: &str) -> Result<Option<Vector>, StorageError> {
        let key = keys::vector(self.prefix, id, name);
        let stored = self.store.rocks.value(VECTORS, &key)?;
        stored.map(|stored| self.store.decode(VECTORS, &key, &stored, values::decode_vector)).transpose()
    }

    /// All vectors of a point; empty if it has none or does not exist.
    pub fn vectors(&self, id: &PointId) -> Result<NamedVectors, StorageError> {
        let (start, end) = keys::vectors_range(self.prefix, id);
        let raw = self.store.rocks.range(VECTORS, start, end);
        let scan = Scan {
            raw,
            rocks: &self.store.rocks,
            family: VECTORS,
            decode: decode_vector,
            is_done: false,
            of: PhantomData,
        };
        scan.map(|item| item.map(|(_, name, vector)| (name, vector))).collect()
    }

    /// The stored position; `None` before the first apply.
    pub fn position(&self) -> Result<Option<Vec<u8>>, StorageError> {
        self.store.bytes(META, &keys::position(self.prefix))
    }

    /// A shard-level entry, as [`ShardBatch::put_entry`] wrote it.
    pub fn entry(&self, name: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.store.bytes(META, &keys::shard_entry(self.prefix, name))
    }

    /// All shard-level entries, by name.
    pub fn entries(&self) -> Result<BTreeMap<Vec<u8>, Vec<u8>>, StorageError> {
        let (start, end) = keys::shard_entries_range(self.prefix);
        let raw = self.store.rocks.range(META, start, end);
        let decode = |key: &[u8], stored: &[u8]| {
            let name = keys::name_from_shard_entry_key(key).ok_or(Flaw::Shape("a strange key"))?;
            Ok((name.to_vec(), bytes_from_stored(stored)?))
        };
        Scan { raw, rocks: &self.store.rocks, family: META, decode, is_done: false, of: PhantomData }.collect()
    }

    /// A consistent view for scans: later commits do not show in it. Short-lived, as it keeps old versions on disk.
    pub fn view(&self) -> ReadView<'_> {
        ReadView { store: self, snapshot: self.store.rocks.db.snapshot() }
    }

    /// An empty batch. Its reads see its own writes.
    pub fn batch(&self) -> ShardBatch {
        ShardBatch { store: self.clone(), pending: BTreeMap::new() }
    }

    /// Writes a batch as one atomic step. Visible at once, durable after the next flush.
    pub fn commit(&self, batch: ShardBatch) -> Result<(), StorageError> {
        assert_eq!(batch.store.prefix, self.prefix, "a batch is committed to the shard it was made for");
        let mut out = WriteBatch::default();
        for ((family, key), value) in batch.pending {
            match value {
                Some(value) => out.put_cf(self.store.rocks.family(family), key, value),
                None => out.delete_cf(self.store.rocks.family(family), key),
            }
        }
        self.store.write(out)
    }

    /// Makes everything written so far durable, of all shards of the node. Callers that wait at the same time share
    /// one flush.
    pub fn flush(&self) -> Result<(), StorageError> {
        self.store.flush()
    }

    /// Looks at the keys of about `keys_max` vectors from point `from` on and removes those whose name `is_gone`. Returns
    /// the point to go on from; `None`: there is nothing beyond. May run beside a writer that writes no such names.
    pub fn remove_vectors(
        &self,
        from: Option<PointId>,
        keys_max: usize,
        is_gone: &dyn Fn(&str) -> bool,
    ) -> Result<Option<PointId>, StorageError> {
        let rocks = &self.store.rocks;
        let (start, end) = keys::shard_range(self.prefix, from.as_ref());
        let mut raw = rocks.range(VECTORS, start, end);
        let mut batch = WriteBatch::default();
        let mut seen = 0;
        let mut last = from;
        let mut next = None;
        while let Some(key) = raw.key() {
            let flaw = || rocks.flaw(VECTORS, key, Flaw::Shape("a key is no point id with a vector name"));
            let (id, name) = keys::vector_from_key(key).ok_or_else(flaw)?;
            // A point is looked at as a whole.
            if seen >= keys_max && last != Some(id) {
                next = Some(id);
                break;
            }
            if is_gone(name) {
                batch.delete_cf(rocks.family(VECTORS), key);
            }
            last = Some(id);
            seen += 1;
            raw.next();
        }
        raw.status().map_err(|error| rocks.error(&error))?;
        if !batch.is_empty() {
            self.store.write(batch)?;
        }
        Ok(next)
    }

    /// Removes everything of the shard, at both of its places, its position and entries included, as one atomic
    /// step.
    pub fn delete_all(&self) -> Result<(), StorageError> {
        let mut batch = self.store.deletion_of_all(&[self.id, keys::second_place(self.id)]);
        batch.delete_cf(self.store.rocks.family(META), keys::second_entry(self.id));
        self.store.write(batch)?;
        self.store.seconds.lock().remove(&self.id);
        Ok(())
    }

    fn one<T>(
        &self,
        family: &'static str,
        id: &PointId,
        decode: fn(&[u8]) -> Result<T, Flaw>,
    ) -> Result<Option<T>, StorageError> {
        let key = keys::point(self.prefix, id);
        let stored = self.store.rocks.value(family, &key)?;
        stored.map(|stored| self.store.decode(family, &key, &stored, decode)).transpose()
    }

    fn many<T>(
        &self,
        family: &'static str,
        ids: &[PointId],
        decode: fn(&[u8]) -> Result<T, Flaw>,
    ) -> Result<Vec<Option<T>>, StorageError> {
        let rocks = &self.store.rocks;
        let keys: Vec<Vec<u8>> = ids.iter().map(|id| keys::point(self.prefix, id)).collect();
        let found = rocks.db.batched_multi_get_cf(rocks.family(family), &keys, false);
        let decode_one = |(key, found): (&Vec<u8>, Result<Option<rocksdb::DBPinnableSlice<'_>>, rocksdb::Error>)| {
            let stored = found.map_err(|error| rocks.error(&error))?;
            stored.map(|stored| self.store.decode(family, key, &stored, decode)).transpose()
        };
        keys.iter().zip(found).map(decode_one).collect()
    }
}

/// Changes of one shard, not yet written. Reads through it see its own writes over the committed state.
pub struct ShardBatch {
    store: ShardStore,
    /// By column family and key: the stored bytes, or `None` for a deletion.
    pending: BTreeMap<(&'static str, Vec<u8>), Option<Vec<u8>>>,
}

impl ShardBatch {
    /// As [`ShardStore::head`].
    pub fn head(&self, id: &PointId) -> Result<Option<PointHead>, StorageError> {
        self.read(IDS, keys::point(self.store.prefix, id), values::decode_head)
    }

    /// As [`ShardStore::payload`].
    pub fn payload(&self, id: &PointId) -> Result<Option<Payload>, StorageError> {
        self.read(PAYLOADS, keys::point(self.store.prefix, id), payload_from_stored)
    }

    /// As [`ShardStore::vector`].
    pub fn vector(&self, id: &PointId, name: &str) -> Result<Option<Vector>, StorageError> {
        self.read(VECTORS, keys::vector(self.store.prefix, id, name), values::decode_vector)
    }

    /// As [`ShardStore::vectors`].
    pub fn vectors(&self, id: &PointId) -> Result<NamedVectors, StorageError> {
        let mut vectors = self.store.vectors(id)?;
        let (start, end) = keys::vectors_range(self.store.prefix, id);
        for ((_, key), value) in self.pending.range((VECTORS, start)..(VECTORS, end)) {
            let flaw = |flaw| self.store.store.rocks.flaw(VECTORS, key, flaw);
            let (_, name) = keys::vector_from_key(key).ok_or_else(|| flaw(Flaw::Shape("a strange key")))?;
            match value {
                Some(stored) => vectors.insert(name.to_owned(), values::decode_vector(stored).map_err(flaw)?),
                None => vectors.remove(name),
            };
        }
        Ok(vectors)
    }

    /// As [`ShardStore::entry`].
    pub fn entry(&self, name: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.read(META, keys::shard_entry(self.store.prefix, name), bytes_from_stored)
    }

    /// Sets the head of a point, which makes it exist.
    pub fn put_head(&mut self, id: &PointId, head: &PointHead) {
        self.put(IDS, keys::point(self.store.prefix, id), values::encode_head(head));
    }

    /// Sets the whole payload of a point.
    pub fn put_payload(&mut self, id: &PointId, payload: &Payload) {
        self.put(PAYLOADS, keys::point(self.store.prefix, id), values::encode_bytes(&payload.to_json()));
    }

    /// Sets one vector of a point.
    pub fn put_vector(&mut self, id: &PointId, name: &str, vector: &Vector) {
        self.put(VECTORS, keys::vector(self.store.prefix, id, name), values::encode_vector(vector));
    }

    /// Sets these vectors of a point and leaves its others alone.
    pub fn put_vectors(&mut self, id: &PointId, vectors: &NamedVectors) {
        for (name, vector) in vectors {
            self.put_vector(id, name, vector);
        }
    }

    /// Removes one vector of a point, if it has it.
    pub fn delete_vector(&mut self, id: &PointId, name: &str) {
        self.delete(VECTORS, keys::vector(self.store.prefix, id, name));
    }

    /// Removes all vectors of a point.
    pub fn delete_vectors(&mut self, id: &PointId) -> Result<(), StorageError> {
        for name in self.vectors(id)?.into_keys() {
            self.delete_vector(id, &name);
        }
        Ok(())
    }

    /// Removes a point: head, payload and all vectors.
    pub fn delete_point(&mut self, id: &PointId) -> Result<(), StorageError> {
        self.delete_vectors(id)?;
        self.delete(IDS, keys::point(self.store.prefix, id));
        self.delete(PAYLOADS, keys::point(self.store.prefix, id));
        Ok(())
    }

    /// Sets a shard-level entry: opaque bytes that belong to the shard but to no point.
    pub fn put_entry(&mut self, name: &[u8], value: &[u8]) {
        self.put(META, keys::shard_entry(self.store.prefix, name), values::encode_bytes(value));
    }

    /// Removes a shard-level entry.
    pub fn delete_entry(&mut self, name: &[u8]) {
        self.delete(META, keys::shard_entry(self.store.prefix, name));
    }

    /// Sets the position the shard has reached with this batch.
    pub fn set_position(&mut self, position: &[u8]) {
        self.put(META, keys::position(self.store.prefix), values::encode_bytes(position));
    }

    fn put(&mut self, family: &'static str, key: Vec<u8>, value: Vec<u8>) {
        self.pending.insert((family, key), Some(value));
    }

    fn delete(&mut self, family: &'static str, key: Vec<u8>) {
        self.pending.insert((family, key), None);
    }

    fn read<T>(
        &self,
        family: &'static str,
        key: Vec<u8>,
        decode: fn(&[u8]) -> Result<T, Flaw>,
    ) -> Result<Option<T>, StorageError> {
        let lookup = (family, key);
        let stored = match self.pending.get(&lookup) {
            Some(pending) => pending.clone(),
            None => self.store.store.rocks.value(family, &lookup.1)?,
        };
        stored.map(|stored| self.store.store.decode(family, &lookup.1, &stored, decode)).transpose()
    }
}

/// One shard as it stood when the view was made.
pub struct ReadView<'a> {
    store: &'a ShardStore,
    snapshot: Snapshot<'a>,
}

impl ReadView<'_> {
    /// Points in id order, from `from` (inclusive) on.
    pub fn iter_heads(
        &self,
        from: Option<PointId>,
    ) -> impl Iterator<Item = Result<(PointId, PointHead), StorageError>> {
        self.scan(IDS, from, |key, stored| Ok((decode_id(key)?, values::decode_head(stored)?)))
    }

    /// Payloads in id order, from `from` (inclusive) on. Every point has one.
    pub fn iter_payloads(
        &self,
        from: Option<PointId>,
    ) -> impl Iterator<Item = Result<(PointId, Payload), StorageError>> {
        self.scan(PAYLOADS, from, |key, stored| Ok((decode_id(key)?, payload_from_stored(stored)?)))
    }

    /// Vectors in order of id, then name.
    pub fn iter_vectors(&self) -> impl Iterator<Item = Result<(PointId, VectorName, Vector), StorageError>> {
        self.scan(VECTORS, None, decode_vector)
    }

    /// The payload and all vectors of a point; `None` if there is no such point.
    pub fn point(&self, id: &PointId) -> Result<Option<(Payload, NamedVectors)>, StorageError> {
        let rocks = &self.store.store.rocks;
        let key = keys::point(self.store.prefix, id);
        let stored = self.snapshot.get_cf(rocks.family(PAYLOADS), &key).map_err(|error| rocks.error(&error))?;
        // Every point has one.
        let Some(stored) = stored else { return Ok(None) };
        let payload = self.store.store.decode(PAYLOADS, &key, &stored, payload_from_stored)?;
        let (start, end) = keys::vectors_range(self.store.prefix, id);
        let mut raw = self.snapshot.raw_iterator_cf_opt(rocks.family(VECTORS), bounds(start, end));
        raw.seek_to_first();
        let scan = Scan { raw, rocks, family: VECTORS, decode: decode_vector, is_done: false, of: PhantomData };
        let vectors = scan.map(|item| item.map(|(_, name, vector)| (name, vector))).collect::<Result<_, _>>()?;
        Ok(Some((payload, vectors)))
    }

    /// The position this view stands at.
    pub fn position(&self) -> Result<Option<Vec<u8>>, StorageError> {
        let rocks = &self.store.store.rocks;
        let key = keys::position(self.store.prefix);
        let stored = self.snapshot.get_cf(rocks.family(META), &key).map_err(|error| rocks.error(&error))?;
        stored.map(|stored| self.store.store.decode(META, &key, &stored, bytes_from_stored)).transpose()
    }

    fn scan<T, F>(&self, family: &'static str, from: Option<PointId>, decode: F) -> Scan<'_, T, F>
    where
        F: Fn(&[u8], &[u8]) -> Result<T, Flaw>,
    {
        let rocks = &self.store.store.rocks;
        let (start, end) = keys::shard_range(self.store.prefix, from.as_ref());
        let mut raw = self.snapshot.raw_iterator_cf_opt(rocks.family(family), bounds(start, end));
        raw.seek_to_first();
        Scan { raw, rocks, family, decode, is_done: false, of: PhantomData }
    }
}

fn decode_id(key: &[u8]) -> Result<PointId, Flaw> {
    keys::point_from_key(key).ok_or(Flaw::Shape("a key is no point id"))
}

fn decode_vector(key: &[u8], stored: &[u8]) -> Result<(PointId, VectorName, Vector), Flaw> {
    let (id, name) = keys::vector_from_key(key).ok_or(Flaw::Shape("a key is no point id with a vector name"))?;
    Ok((id, name.to_owned(), values::decode_vector(stored)?))
}

/// A lazy scan over a bounded key range. Ends after the first error.
struct Scan<'a, T, F> {
    raw: DBRawIterator<'a>,
    rocks: &'a Rocks,
    family: &'static str,
    decode: F,
    is_done: bool,
    of: PhantomData<fn() -> T>,
}

impl<T, F: Fn(&[u8], &[u8]) -> Result<T, Flaw>> Iterator for Scan<'_, T, F> {
    type Item = Result<T, StorageError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.is_done {
            return None;
        }
        let Some((key, stored)) = self.raw.item() else {
            self.is_done = true;
            return self.raw.status().err().map(|error| Err(self.rocks.error(&error)));
        };
        let item = (self.decode)(key, stored).map_err(|flaw| self.rocks.flaw(self.family, key, flaw));
        self.is_done = item.is_err();
        self.raw.next();
        Some(item)
    }
}

#[cfg(test)]
mod tests;
