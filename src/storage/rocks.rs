//! What both databases share: opening a folder with its format version, free space, and RocksDB's errors as ours.

use std::fs::{self, File};
use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rocksdb::{
    BlockBasedOptions, Cache, ColumnFamily, DB, DBRawIterator, DEFAULT_COLUMN_FAMILY_NAME, ErrorKind, Options,
    ReadOptions,
};

use super::error::StorageError;
use super::values::{FORMAT_VERSION, Flaw};

/// How a database is opened.
#[derive(Clone, Copy, Debug)]
pub struct DbSettings {
    /// Bytes of the block cache.
    pub block_cache_bytes: usize,
    /// Bytes one memtable takes before it is written out; each column family has up to three.
    pub memtable_bytes: usize,
    /// Writes are refused while fewer bytes are free on the device, so that work under way, flushes and compactions
    /// still find room.
    pub reserve_bytes: u64,
}

/// Holds the format version as text; written once, after the database beside it was created.
const VERSION_FILE: &str = "format_version";
const DB_FOLDER: &str = "db";

/// One open RocksDB in its folder.
pub(super) struct Rocks {
    pub(super) db: DB,
    folder: PathBuf,
    reserve_bytes: u64,
    damaged_advice: &'static str,
}

/// What differs between the two databases.
pub(super) struct Schema {
    /// Column families and the options that differ from the common ones.
    pub(super) families: Vec<(&'static str, Options)>,
    pub(super) options: Options,
    /// What to do when stored bytes are damaged.
    pub(super) damaged_advice: &'static str,
}

/// Options both databases want; the caller adds its own.
pub(super) fn common_options() -> Options {
    let mut options = Options::default();
    options.set_paranoid_checks(true);
    options.set_max_open_files(512);
    options.set_max_background_jobs(2);
    options.set_keep_log_file_num(4);
    options.set_max_log_file_size(4 << 20);
    options.set_stats_dump_period_sec(0);
    options
}

/// Options of one column family, with a Bloom filter over whole keys if point reads go to it.
pub(super) fn family_options(settings: &DbSettings, cache: &Cache, has_bloom: bool) -> Options {
    let mut table = BlockBasedOptions::default();
    table.set_block_cache(cache);
    table.set_block_size(16 << 10);
    if has_bloom {
        table.set_bloom_filter(10.0, false);
    }
    let mut options = Options::default();
    options.set_block_based_table_factory(&table);
    options.set_write_buffer_size(settings.memtable_bytes);
    options.set_max_write_buffer_number(3);
    options
}

impl Rocks {
    /// Opens the database in `folder`, creating both if there is nothing yet.
    pub(super) fn open(folder: &Path, settings: &DbSettings, mut schema: Schema) -> Result<Rocks, StorageError> {
        let advice = schema.damaged_advice;
        let db_folder = folder.join(DB_FOLDER);
        fs::create_dir_all(&db_folder).map_err(|error| from_io(folder, &error))?;
        let is_new = !is_version_known(folder, advice)?;
        // Only a folder that was never completed may be created in place: a vanished CURRENT must not look like
        // an empty database.
        schema.options.create_if_missing(is_new);
        schema.options.create_missing_column_families(is_new);
        // RocksDB insists on a default family and sizes the space it allocates ahead for the write-ahead log by it.
        let mut unused = Options::default();
        unused.set_write_buffer_size(settings.memtable_bytes);
        schema.families.push((DEFAULT_COLUMN_FAMILY_NAME, unused));
        let db = DB::open_cf_with_opts(&schema.options, &db_folder, schema.families)
            .map_err(|error| from_open(&db_folder, &error, advice))?;
        let rocks = Rocks { db, folder: db_folder, reserve_bytes: settings.reserve_bytes, damaged_advice: advice };
        if is_new {
            if rocks.db.latest_sequence_number() > 0 {
                let path = folder.join(VERSION_FILE);
                return Err(StorageError::Damaged { path, what: "the file is missing".to_owned(), advice });
            }
            write_version(folder).map_err(|error| from_io(folder, &error))?;
        }
        Ok(rocks)
    }

    /// The folder RocksDB writes to.
    pub(super) fn folder(&self) -> &Path {
        &self.folder
    }

    /// A column family of the schema this database was opened with.
    pub(super) fn family(&self, name: &'static str) -> &ColumnFamily {
        match self.db.cf_handle(name) {
            Some(family) => family,
            None => unreachable!("column family {name} was opened with the database"),
        }
    }

    /// Refuses while the device has less free than the reserve.
    pub(super) fn check_room(&self) -> Result<(), StorageError> {
        let free = free_bytes(&self.folder).map_err(|error| from_io(&self.folder, &error))?;
        if free < self.reserve_bytes {
            return Err(StorageError::OutOfDisk { path: self.folder.clone() });
        }
        Ok(())
    }

    /// A RocksDB error as the branch someone takes.
    pub(super) fn error(&self, error: &rocksdb::Error) -> StorageError {
        from_rocks(&self.folder, error, self.damaged_advice)
    }

    /// A value that does not decode.
    pub(super) fn flaw(&self, family: &str, key: &[u8], flaw: Flaw) -> StorageError {
        match flaw {
            Flaw::Version(found) => {
                StorageError::FormatVersion { path: self.folder.clone(), found, supported: FORMAT_VERSION }
            }
            Flaw::Shape(what) => self.damaged(format!("{what} (column family {family}, key {})", hex(key))),
        }
    }

    /// Stored bytes contradict each other.
    pub(super) fn damaged(&self, what: String) -> StorageError {
        StorageError::Damaged { path: self.folder.clone(), what, advice: self.damaged_advice }
    }

    /// The stored value of `key`.
    pub(super) fn value(&self, family: &'static str, key: &[u8]) -> Result<Option<Vec<u8>>, StorageError> {
        self.db.get_cf(self.family(family), key).map_err(|error| self.error(&error))
    }

    /// An iterator over `start..end` of a column family, on its first entry.
    pub(super) fn range(&self, family: &'static str, start: Vec<u8>, end: Vec<u8>) -> DBRawIterator<'_> {
        let mut raw = self.db.raw_iterator_cf_opt(self.family(family), bounds(start, end));
        raw.seek_to_first();
        raw
    }
}

/// Read options of a scan over `start..end`.
pub(super) fn bounds(start: Vec<u8>, end: Vec<u8>) -> ReadOptions {
    let mut options = ReadOptions::default();
    options.set_iterate_range(start..end);
    options.set_total_order_seek(true);
    options
}

/// Whether the version file is there; refuses a version this program does not know.
fn is_version_known(folder: &Path, advice: &'static str) -> Result<bool, StorageError> {
    let path = folder.join(VERSION_FILE);
    let text = match fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(from_io(&path, &error)),
    };
    match text.trim().parse::<u8>() {
        Ok(FORMAT_VERSION) => Ok(true),
        Ok(found) if found > FORMAT_VERSION => {
            Err(StorageError::FormatVersion { path, found, supported: FORMAT_VERSION })
        }
        _ => Err(StorageError::Damaged { path, what: format!("it says {:?}", text.trim()), advice }),
    }
}

/// Whole or not at all, also after a power cut: a synced temporary file is renamed, then the folder is synced.
fn write_version(folder: &Path) -> io::Result<()> {
    let temporary = folder.join("format_version.new");
    let mut file = File::create(&temporary)?;
    writeln!(file, "{FORMAT_VERSION}")?;
    file.sync_all()?;
    fs::rename(&temporary, folder.join(VERSION_FILE))?;
    File::open(folder)?.sync_all()
}

/// Bytes an unprivileged process may still write on the device of `path`.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = std::ffi::CString::new(path.as_os_str().as_bytes())?;
    let mut stat = MaybeUninit::<libc::statvfs>::uninit();
    // SAFETY: `path` is NUL-terminated and `stat` is valid for writes for the length of the call.
    if unsafe { libc::statvfs(path.as_ptr(), stat.as_mut_ptr()) } != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: statvfs returned 0, so it has filled the structure.
    let stat = unsafe { stat.assume_init() };
    Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// An error of the system's as the branch someone takes.
pub(super) fn from_io(path: &Path, error: &io::Error) -> StorageError {
    if error.kind() == io::ErrorKind::StorageFull {
        StorageError::OutOfDisk { path: path.to_owned() }
    } else {
        StorageError::Failed { path: path.to_owned(), what: error.to_string() }
    }
}

/// While opening, a file that is missing or cut short is damage as well.
fn from_open(folder: &Path, error: &rocksdb::Error, advice: &'static str) -> StorageError {
    let message: &str = error.as_ref();
    let is_missing = message.contains("No such file or directory") || message.contains("does not exist");
    if is_missing {
        let path = file_in_message(folder, message);
        return StorageError::Damaged { path, what: message.to_owned(), advice };
    }
    from_rocks(folder, error, advice)
}

fn from_rocks(folder: &Path, error: &rocksdb::Error, advice: &'static str) -> StorageError {
    let message: &str = error.as_ref();
    // RocksDB's texts for ENOSPC: the system's own, and its own while a background write waits for room.
    if message.contains("No space left on device") || message.contains("Space limit reached") {
        return StorageError::OutOfDisk { path: folder.to_owned() };
    }
    let path = file_in_message(folder, message);
    match error.kind() {
        ErrorKind::Corruption => StorageError::Damaged { path, what: message.to_owned(), advice },
        _ => StorageError::Failed { path, what: message.to_owned() },
    }
}

/// The file of `folder` that a RocksDB message names, or the folder.
fn file_in_message(folder: &Path, message: &str) -> PathBuf {
    let Some(start) = folder.to_str().and_then(|prefix| message.find(&format!("{prefix}/"))) else {
        return folder.to_owned();
    };
    let name = message.get(start..).unwrap_or_default();
    let end = name.find([' ', ':', ',', ';', '\'', '"']).unwrap_or(name.len());
    PathBuf::from(name.get(..end).unwrap_or_default().trim_end_matches('.'))
}
