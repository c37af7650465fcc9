//! `raftdb`: the logs, votes and purge marks of every Raft group of this node.
//!
//! Invariants:
//! - What is appended is readable at once and durable after the next [`LogDb::sync`]; one sync covers all shards.
//! - A shard's log is one unbroken run of indexes that starts right behind its purge mark; checked entry by entry,
//!   with checksums, when the database is opened and again on every read.
//! - After a failed sync nothing more is accepted until the database is reopened: the kernel may have dropped the
//!   pages it could not write, so a later sync that succeeds proves nothing.
//! - Damage before the tail of the write-ahead log refuses to open. Only an incomplete last record, which was never
//!   acknowledged, is dropped.
//!
//! What it deliberately does not do: know what an entry, a vote or a log id is, or run the thread that syncs.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use rocksdb::{Cache, DBCompressionType, DBRecoveryMode, WriteBatch};

use super::error::StorageError;
use super::keys;
use super::rocks::{DbSettings, Rocks, Schema, common_options, family_options};
use super::values::{self, Flaw};
use crate::model::ShardId;

const LOG: &str = "log";
const META: &str = "meta";

const RECORD_VOTE: u8 = 1;
const RECORD_PURGED: u8 = 2;

const ADVICE: &str = "Entries of acknowledged writes may be missing, so the node must not start with it: stop it, keep \
                      the folder for inspection, and restore the whole data folder from a snapshot or a healthy \
                      replica";

/// Bytes of write-ahead log files before the oldest memtable is written out to free them.
const WAL_BYTES_MAX: u64 = 128 << 20;

/// One log entry's index and opaque bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogRecord {
    /// The log index.
    pub index: u64,
    /// As they were appended.
    pub bytes: Vec<u8>,
}

/// Which entries of a shard are in its log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LogBounds {
    /// First index present to one past the last; empty at the index right behind the purge mark if there is none.
    pub indexes: Range<u64>,
    /// Bytes of the entries present, as they were appended.
    pub bytes: u64,
}

/// All Raft logs of a node.
pub struct LogDb {
    rocks: Rocks,
    /// Remembered so that no read has to skip the tombstones of purged entries. Held only for moments, never across
    /// a call into RocksDB.
    logs: Mutex<BTreeMap<ShardId, LogBounds>>,
    failure: OnceLock<String>,
    sync_count: AtomicU64,
    #[cfg(test)]
    fails_next_sync: std::sync::atomic::AtomicBool,
}

impl LogDb {
    /// Opens the database in `folder`, creating it if there is none, and verifies every entry.
    pub fn open(folder: &Path, settings: &DbSettings) -> Result<LogDb, StorageError> {
        let cache = Cache::new_lru_cache(settings.block_cache_bytes);
        let mut options = common_options();
        options.set_wal_recovery_mode(DBRecoveryMode::TolerateCorruptedTailRecords);
        options.set_track_and_verify_wals_in_manifest(true);
        options.set_max_total_wal_size(WAL_BYTES_MAX);
        let families = [LOG, META].map(|name| {
            let mut family = family_options(settings, &cache, name == META);
            family.set_compression_type(DBCompressionType::None);
            (name, family)
        });
        let schema = Schema { families: families.into(), options, damaged_advice: ADVICE };
        let rocks = Rocks::open(folder, settings, schema)?;
        let logs = Mutex::new(verified_logs(&rocks)?);
        Ok(LogDb {
            rocks,
            logs,
            failure: OnceLock::new(),
            sync_count: AtomicU64::new(0),
            #[cfg(test)]
            fails_next_sync: std::sync::atomic::AtomicBool::new(false),
        })
    }

    /// The shards that have a log, a vote or a purge mark here, ascending.
    pub fn shards(&self) -> Vec<ShardId> {
        self.logs.lock().keys().copied().collect()
    }

    /// Which entries of `shard` are present.
    pub fn bounds(&self, shard: ShardId) -> LogBounds {
        self.logs.lock().get(&shard).cloned().unwrap_or_default()
    }

    /// Appends entries with consecutive indexes behind the last one. Readable on return, durable after a sync.
    pub fn append(&self, shard: ShardId, records: &[LogRecord]) -> Result<(), StorageError> {
        let Some(first) = records.first() else { return Ok(()) };
        self.check_usable()?;
        let mut bounds = self.bounds(shard);
        if bounds.indexes.is_empty() && bounds.indexes.start == 0 {
            // A log without a purge mark may begin anywhere: openraft's do at 0.
            bounds.indexes = first.index..first.index;
        }
        let mut batch = WriteBatch::default();
        for record in records {
            assert_eq!(record.index, bounds.indexes.end, "the log of shard {shard} must stay without a hole");
            let value = values::encode_sealed(record.index, &record.bytes);
            batch.put_cf(self.rocks.family(LOG), keys::log_entry(shard, record.index), value);
            bounds.indexes.end += 1;
            bounds.bytes += record.bytes.len() as u64;
        }
        self.write(batch)?;
        self.logs.lock().insert(shard, bounds);
        Ok(())
    }

    /// Entries of `indexes` that are present, in order; stops early once `bytes_max` is reached, but not before the
    /// first entry.
    pub fn read(&self, shard: ShardId, indexes: Range<u64>, bytes_max: u64) -> Result<Vec<LogRecord>, StorageError> {
        let present = self.bounds(shard).indexes;
        let (start, end) = (indexes.start.max(present.start), indexes.end.min(present.end));
        let mut records = Vec::new();
        if start >= end {
            return Ok(records);
        }
        let mut raw = self.rocks.range(LOG, keys::log_entry(shard, start), keys::log_entry(shard, end));
        let mut bytes_left = bytes_max;
        for index in start..end {
            let Some((key, stored)) = raw.item() else {
                raw.status().map_err(|error| self.rocks.error(&error))?;
                return Err(missing_entry(&self.rocks, shard, index));
            };
            if keys::log_entry_from_key(key) != Some((shard, index)) {
                return Err(missing_entry(&self.rocks, shard, index));
            }
            let bytes = values::decode_sealed(index, stored).map_err(|flaw| self.rocks.flaw(LOG, key, flaw))?;
            records.push(LogRecord { index, bytes: bytes.to_vec() });
            bytes_left = bytes_left.saturating_sub(bytes.len() as u64);
            if bytes_left == 0 {
                break;
            }
            raw.next();
        }
        Ok(records)
    }

    /// Removes the entries from `index` on: they conflicted with the leader's.
    pub fn truncate_from(&self, shard: ShardId, index: u64) -> Result<(), StorageError> {
        self.check_usable()?;
        let mut bounds = self.bounds(shard);
        let cut = index.max(bounds.indexes.start)..bounds.indexes.end;
        if cut.is_empty() {
            return Ok(());
        }
        let removed_bytes = self.bytes_of(shard, cut.clone())?;
        let mut batch = WriteBatch::default();
        for index in cut.clone() {
            batch.delete_cf(self.rocks.family(LOG), keys::log_entry(shard, index));
        }
        self.write(batch)?;
        bounds.indexes.end = cut.start;
        bounds.bytes = bounds.bytes.saturating_sub(removed_bytes);
        self.logs.lock().insert(shard, bounds);
        Ok(())
    }

    /// Removes the entries up to and including `upto` and remembers `mark` (the log id of `upto`) in the same step.
    pub fn purge(&self, shard: ShardId, upto: u64, mark: &[u8]) -> Result<(), StorageError> {
        self.check_usable()?;
        let mut bounds = self.bounds(shard);
        let first = upto + 1;
        let cut = bounds.indexes.start..first.min(bounds.indexes.end);
        let removed_bytes = self.bytes_of(shard, cut.clone())?;
        let mut batch = WriteBatch::default();
        // Point deletes on purpose: range tombstones slow every read of the log until they are compacted away.
        for index in cut {
            batch.delete_cf(self.rocks.family(LOG), keys::log_entry(shard, index));
        }
        let mut record = upto.to_le_bytes().to_vec();
        record.extend_from_slice(mark);
        let key = keys::log_record(shard, RECORD_PURGED);
        batch.put_cf(self.rocks.family(META), key, values::encode_sealed(0, &record));
        self.write(batch)?;
        bounds.indexes = first.max(bounds.indexes.start)..first.max(bounds.indexes.end);
        bounds.bytes = bounds.bytes.saturating_sub(removed_bytes);
        self.logs.lock().insert(shard, bounds);
        Ok(())
    }

    /// The mark of the last purge.
    pub fn purge_mark(&self, shard: ShardId) -> Result<Option<Vec<u8>>, StorageError> {
        let record = self.sealed(&keys::log_record(shard, RECORD_PURGED))?;
        Ok(record.map(|mut record| record.split_off(PURGED_INDEX_LEN.min(record.len()))))
    }

    /// Replaces the vote. Durable after a sync.
    pub fn put_vote(&self, shard: ShardId, vote: &[u8]) -> Result<(), StorageError> {
        self.put_sealed(keys::log_record(shard, RECORD_VOTE), vote)?;
        self.logs.lock().entry(shard).or_default();
        Ok(())
    }

    /// The last vote.
    pub fn vote(&self, shard: ShardId) -> Result<Option<Vec<u8>>, StorageError> {
        self.sealed(&keys::log_record(shard, RECORD_VOTE))
    }

    /// Replaces a node-level entry. Durable after a sync.
    pub fn put_node_entry(&self, name: &str, value: &[u8]) -> Result<(), StorageError> {
        self.put_sealed(keys::log_node_entry(name), value)
    }

    /// A node-level entry.
    pub fn node_entry(&self, name: &str) -> Result<Option<Vec<u8>>, StorageError> {
        self.sealed(&keys::log_node_entry(name))
    }

    /// Removes a node-level entry; one that is not there is no error.
    pub fn remove_node_entry(&self, name: &str) -> Result<(), StorageError> {
        self.check_usable()?;
        let mut batch = WriteBatch::default();
        batch.delete_cf(self.rocks.family(META), keys::log_node_entry(name));
        self.write(batch)
    }

    /// Removes a shard's log, vote and purge mark as one atomic step.
    pub fn remove(&self, shard: ShardId) -> Result<(), StorageError> {
        self.check_usable()?;
        let mut batch = WriteBatch::default();
        for index in self.bounds(shard).indexes {
            batch.delete_cf(self.rocks.family(LOG), keys::log_entry(shard, index));
        }
        for record in [RECORD_VOTE, RECORD_PURGED] {
            batch.delete_cf(self.rocks.family(META), keys::log_record(shard, record));
        }
        self.write(batch)?;
        self.logs.lock().remove(&shard);
        Ok(())
    }

    /// Makes everything written so far durable, of all shards. Blocks for as long as the device takes.
    pub fn sync(&self) -> Result<(), StorageError> {
        self.check_usable()?;
        #[cfg(test)]
        if self.fails_next_sync.load(Ordering::Relaxed) {
            let _ = self.failure.set("told to fail".to_owned());
            return self.check_usable();
        }
        self.rocks.db.flush_wal(true).map_err(|error| {
            let _ = self.failure.set(error.as_ref().to_owned());
            self.rocks.error(&error)
        })?;
        self.sync_count.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    /// Makes the next sync fail as a broken device would.
    #[cfg(test)]
    pub(crate) fn fail_next_sync(&self) {
        self.fails_next_sync.store(true, Ordering::Relaxed);
    }

    /// Syncs since the database was opened.
    pub fn sync_count(&self) -> u64 {
        self.sync_count.load(Ordering::Relaxed)
    }

    /// Refuses with [`StorageError::OutOfDisk`] while less than the reserve is free.
    pub fn check_room(&self) -> Result<(), StorageError> {
        self.rocks.check_room()
    }

    /// Refuses if the log of `shard` ends before `index`, of which something durable was made: entries are missing.
    pub fn check_reaches(&self, shard: ShardId, index: u64) -> Result<(), StorageError> {
        let end = self.bounds(shard).indexes.end;
        if index >= end {
            return Err(self.damaged(format!("the log of shard {shard} ends before {end}, but {index} was applied")));
        }
        Ok(())
    }

    /// The error for stored bytes that contradict each other.
    pub fn damaged(&self, what: String) -> StorageError {
        self.rocks.damaged(what)
    }

    /// Where the database is.
    pub fn folder(&self) -> &Path {
        self.rocks.folder()
    }

    fn check_usable(&self) -> Result<(), StorageError> {
        match self.failure.get() {
            Some(what) => Err(StorageError::Failed { path: self.rocks.folder().to_owned(), what: what.clone() }),
            None => Ok(()),
        }
    }

    fn write(&self, batch: WriteBatch) -> Result<(), StorageError> {
        self.rocks.db.write(batch).map_err(|error| self.rocks.error(&error))
    }

    fn put_sealed(&self, key: Vec<u8>, bytes: &[u8]) -> Result<(), StorageError> {
        self.check_usable()?;
        let mut batch = WriteBatch::default();
        batch.put_cf(self.rocks.family(META), key, values::encode_sealed(0, bytes));
        self.write(batch)
    }

    fn sealed(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        let Some(stored) = self.rocks.value(META, key)? else { return Ok(None) };
        let bytes = values::decode_sealed(0, &stored).map_err(|flaw| self.rocks.flaw(META, key, flaw))?;
        Ok(Some(bytes.to_vec()))
    }

    fn bytes_of(&self, shard: ShardId, indexes: Range<u64>) -> Result<u64, StorageError> {
        if indexes.is_empty() {
            return Ok(0);
        }
        if indexes == self.bounds(shard).indexes {
            return Ok(self.bounds(shard).bytes);
        }
        let (start, end) = (keys::log_entry(shard, indexes.start), keys::log_entry(shard, indexes.end));
        let mut raw = self.rocks.range(LOG, start, end);
        let mut bytes = 0;
        while let Some(stored) = raw.value() {
            bytes += values::sealed_len(stored);
            raw.next();
        }
        raw.status().map_err(|error| self.rocks.error(&error))?;
        Ok(bytes)
    }
}

const PURGED_INDEX_LEN: usize = 8;

fn missing_entry(rocks: &Rocks, shard: ShardId, index: u64) -> StorageError {
    rocks.damaged(format!("the log of shard {shard} lacks entry {index}"))
}

/// Reads every record and entry once: checksums fit, and each shard's indexes follow each other from its purge mark.
fn verified_logs(rocks: &Rocks) -> Result<BTreeMap<ShardId, LogBounds>, StorageError> {
    let mut logs: BTreeMap<ShardId, LogBounds> = BTreeMap::new();
    let (start, end) = keys::log_records_range();
    let mut raw = rocks.range(META, start, end);
    while let Some((key, stored)) = raw.item() {
        let flaw = |flaw| rocks.flaw(META, key, flaw);
        let (shard, record) = keys::log_record_from_key(key).ok_or_else(|| flaw(Flaw::Shape("a strange key")))?;
        let bytes = values::decode_sealed(0, stored).map_err(flaw)?;
        let bounds = logs.entry(shard).or_default();
        if record == RECORD_PURGED {
            let (index, _) = bytes.split_first_chunk().ok_or_else(|| flaw(Flaw::Shape("a purge mark is too short")))?;
            let first = u64::from_le_bytes(*index).saturating_add(1);
            bounds.indexes = first..first;
        }
        raw.next();
    }
    raw.status().map_err(|error| rocks.error(&error))?;

    let mut raw = rocks.db.raw_iterator_cf(rocks.family(LOG));
    raw.seek_to_first();
    while let Some((key, stored)) = raw.item() {
        let flaw = |flaw| rocks.flaw(LOG, key, flaw);
        let (shard, index) = keys::log_entry_from_key(key).ok_or_else(|| flaw(Flaw::Shape("a strange key")))?;
        let bytes = values::decode_sealed(index, stored).map_err(flaw)?;
        let bounds = logs.entry(shard).or_default();
        if bounds.indexes.is_empty() && bounds.indexes.start == 0 {
            bounds.indexes = index..index;
        }
        if index != bounds.indexes.end {
            return Err(missing_entry(rocks, shard, bounds.indexes.end));
        }
        bounds.indexes.end += 1;
        bounds.bytes += bytes.len() as u64;
        raw.next();
    }
    raw.status().map_err(|error| rocks.error(&error))?;
    Ok(logs)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings() -> DbSettings {
        DbSettings { block_cache_bytes: 1 << 20, memtable_bytes: 1 << 20, reserve_bytes: 0 }
    }

    fn records(indexes: Range<u64>) -> Vec<LogRecord> {
        indexes.map(|index| LogRecord { index, bytes: format!("entry {index}").into_bytes() }).collect()
    }

    const A: ShardId = ShardId(1);
    const B: ShardId = ShardId(2);

    #[test]
    fn logs_stand_beside_each_other_and_survive_a_restart() {
        let folder = tempfile::tempdir().unwrap();
        let db = LogDb::open(folder.path(), &settings()).unwrap();
        db.append(A, &records(0..10)).unwrap();
        db.append(B, &records(0..3)).unwrap();
        db.append(A, &records(10..12)).unwrap();
        db.truncate_from(B, 1).unwrap();
        db.purge(A, 4, b"mark").unwrap();
        db.put_vote(B, b"vote").unwrap();
        db.put_node_entry("node_id", b"7").unwrap();
        db.sync().unwrap();
        let check = |db: &LogDb| {
            assert_eq!(db.shards(), [A, B]);
            assert_eq!(db.bounds(A), LogBounds { indexes: 5..12, bytes: 5 * 7 + 2 * 8 });
            assert_eq!(db.bounds(B), LogBounds { indexes: 0..1, bytes: 7 });
            assert_eq!(db.read(A, 0..u64::MAX, u64::MAX).unwrap(), records(5..12));
            assert_eq!(db.read(A, 6..8, u64::MAX).unwrap(), records(6..8));
            assert_eq!(db.read(B, 0..9, u64::MAX).unwrap(), records(0..1));
            assert_eq!(db.purge_mark(A).unwrap().unwrap(), b"mark");
            assert_eq!(db.purge_mark(B).unwrap(), None);
            assert_eq!(db.vote(B).unwrap().unwrap(), b"vote");
            assert_eq!(db.vote(A).unwrap(), None);
            assert_eq!(db.node_entry("node_id").unwrap().unwrap(), b"7");
        };
        check(&db);
        assert_eq!(db.sync_count(), 1);
        drop(db);
        let db = LogDb::open(folder.path(), &settings()).unwrap();
        check(&db);
        db.remove(A).unwrap();
        db.append(B, &records(1..2)).unwrap();
        drop(db);
        let db = LogDb::open(folder.path(), &settings()).unwrap();
        assert_eq!(db.shards(), [B]);
        assert_eq!(db.bounds(B).indexes, 0..2);
        assert_eq!(db.purge_mark(A).unwrap(), None);
    }

    #[test]
    fn a_read_stops_at_its_byte_limit_but_returns_one_entry_at_least() {
        let folder = tempfile::tempdir().unwrap();
        let db = LogDb::open(folder.path(), &settings()).unwrap();
        db.append(A, &records(0..10)).unwrap();
        assert_eq!(db.read(A, 2..10, 0).unwrap(), records(2..3));
        assert_eq!(db.read(A, 2..10, 8).unwrap(), records(2..4));
    }

    #[test]
    fn a_purge_may_go_past_the_end_and_the_log_goes_on_behind_it() {
        let folder = tempfile::tempdir().unwrap();
        let db = LogDb::open(folder.path(), &settings()).unwrap();
        db.append(A, &records(0..3)).unwrap();
        db.purge(A, 9, b"mark").unwrap();
        assert_eq!(db.bounds(A), LogBounds { indexes: 10..10, bytes: 0 });
        db.append(A, &records(10..12)).unwrap();
        drop(db);
        let db = LogDb::open(folder.path(), &settings()).unwrap();
        assert_eq!(db.bounds(A).indexes, 10..12);
    }

    #[test]
    #[should_panic(expected = "without a hole")]
    fn a_hole_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let db = LogDb::open(folder.path(), &settings()).unwrap();
        db.append(A, &records(0..3)).unwrap();
        let _ = db.append(A, &records(4..5));
    }

    /// What the database says on opening after `damage` was done to its folder.
    fn opened_after(write: impl Fn(&LogDb), damage: impl Fn(&Path)) -> Result<LogDb, StorageError> {
        let folder = tempfile::tempdir().unwrap();
        let db = LogDb::open(folder.path(), &settings()).unwrap();
        write(&db);
        db.sync().unwrap();
        drop(db);
        damage(&folder.path().join("db"));
        LogDb::open(folder.path(), &settings())
    }

    fn files(folder: &Path, is_wanted: impl Fn(&str) -> bool) -> Vec<std::path::PathBuf> {
        let mut files: Vec<_> = std::fs::read_dir(folder)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .filter(|path| is_wanted(path.file_name().unwrap().to_str().unwrap()))
            .collect();
        files.sort();
        assert!(!files.is_empty());
        files
    }

    fn flip(path: &Path, at: usize) {
        let mut bytes = std::fs::read(path).unwrap();
        bytes[at] ^= 0x10;
        std::fs::write(path, bytes).unwrap();
    }

    fn assert_damaged(outcome: Result<LogDb, StorageError>) {
        match outcome {
            Err(StorageError::Damaged { path, advice, .. }) => {
                assert!(path.to_str().unwrap().contains("/db"), "{path:?}");
                assert!(advice.contains("restore"));
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("opened"),
        }
    }

    #[test]
    fn a_damaged_wal_before_its_tail_refuses_to_open() {
        let write = |db: &LogDb| db.append(A, &records(0..50)).and_then(|()| db.append(A, &records(50..60))).unwrap();
        assert_damaged(opened_after(write, |db| flip(&files(db, |name| name.ends_with(".log"))[0], 200)));
    }

    #[test]
    fn a_torn_tail_is_dropped() {
        let write = |db: &LogDb| db.append(A, &records(0..50)).and_then(|()| db.append(A, &records(50..60))).unwrap();
        let tear = |db: &Path| {
            let path = &files(db, |name| name.ends_with(".log"))[0];
            let length = std::fs::metadata(path).unwrap().len();
            std::fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length - 5).unwrap();
        };
        assert_eq!(opened_after(write, tear).unwrap().bounds(A).indexes, 0..50);
    }

    /// Enough to fill memtables, so that there are sorted tables and closed write-ahead logs.
    fn write_much(db: &LogDb) {
        for start in (0..4_000).step_by(100) {
            let records: Vec<LogRecord> =
                (start..start + 100).map(|index| LogRecord { index, bytes: vec![index as u8; 1_000] }).collect();
            db.append(A, &records).unwrap();
        }
        db.put_vote(A, b"vote").unwrap();
    }

    #[test]
    fn damaged_tables_and_manifests_refuse_to_open() {
        assert_damaged(opened_after(write_much, |db| {
            let path = &files(db, |name| name.ends_with(".sst"))[0];
            flip(path, 5_000);
        }));
        assert_damaged(opened_after(write_much, |db| {
            let path = &files(db, |name| name.starts_with("MANIFEST"))[0];
            flip(path, 60);
        }));
    }

    #[test]
    fn missing_files_refuse_to_open() {
        let remove = |suffix: &'static str, prefix: &'static str| {
            move |db: &Path| {
                let found = files(db, |name| name.ends_with(suffix) && name.starts_with(prefix));
                std::fs::remove_file(&found[0]).unwrap();
            }
        };
        assert_damaged(opened_after(write_much, remove(".sst", "")));
        assert_damaged(opened_after(write_much, remove("", "MANIFEST")));
        assert_damaged(opened_after(write_much, remove("", "CURRENT")));
    }

    #[test]
    fn a_vanished_or_newer_version_file_refuses_to_open() {
        let outcome = opened_after(write_much, |db| std::fs::remove_file(db.with_file_name("format_version")).unwrap());
        assert!(matches!(outcome, Err(StorageError::Damaged { path, .. }) if path.ends_with("format_version")));
        let outcome = opened_after(write_much, |db| std::fs::write(db.with_file_name("format_version"), "2").unwrap());
        assert!(matches!(outcome, Err(StorageError::FormatVersion { found: 2, supported: 1, .. })));
    }

    #[test]
    fn a_reserve_that_is_not_free_refuses_writes() {
        let folder = tempfile::tempdir().unwrap();
        let settings = DbSettings { reserve_bytes: u64::MAX, ..settings() };
        let db = LogDb::open(folder.path(), &settings).unwrap();
        assert!(matches!(db.check_room(), Err(StorageError::OutOfDisk { .. })));
    }
}
