//! Snapshots of collections (PROTOCOL section 19): one file each, written without stopping writes.
//!
//! Layout of a file: `QVRSNAP` and a format version (8 bytes), then blocks: kind (1 byte), length and CRC-32 (4 bytes
//! each, little-endian), content. The first block is the collection's configuration; then come, shard by shard, upserts
//! in the form in which they enter a shard's log; the last one says how many points there are. A file without it was cut
//! off.
//!
//! - A snapshot holds each shard as it stood at one log index.
//! - A file is written under another name and renamed when it is whole and synced.
//! - Recovery goes through the log like every write: the points are proposed to the groups of a new collection, and one
//!   entry of the `meta` group puts that in the place of the old one. Until then the old one answers; a recovery that
//!   was cut off is swept away at the next start.
//!
//! Not built: custom sharding, snapshots of single shards and of the whole node, S3.

use std::fs::{self, File};
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::collections::{View, now};
use super::errors::from_read;
use super::{Error, Service};
use crate::cluster::MetaCommand;
use crate::index::Stop;
use crate::model::collection::{CollectionConfig, CollectionName, ShardingMethod};
use crate::model::write::UpsertMode;
use crate::model::{Point, PointOp};
use crate::shard::{ReadError, encode_command};

const MAGIC: &[u8; 8] = b"QVRSNAP\x01";
const SUFFIX: &str = ".snapshot";
const PART_SUFFIX: &str = ".part";
const CHECKSUM_SUFFIX: &str = ".checksum";

/// Points per block. With their vectors they stay far below what a group's queue holds.
const BLOCK_POINTS_MAX: usize = 128;
/// A block that claims to be longer is damage.
const BLOCK_BYTES_MAX: u32 = 512 << 20;

const KIND_HEADER: u8 = 1;
const KIND_COMMAND: u8 = 2;
const KIND_END: u8 = 3;

/// A snapshot that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotDescription {
    /// Of the file.
    pub name: String,
    /// Of its last change.
    pub created_at: Option<SystemTime>,
    /// Bytes.
    pub size: u64,
    /// SHA-256, lowercase hexadecimal.
    pub checksum: Option<String>,
}

/// What is said of the collection.
#[derive(Serialize, Deserialize)]
struct Header {
    config: CollectionConfig,
    shard_count: u32,
}

/// What is said at the end.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct End {
    point_count: u64,
}

/// Why a snapshot cannot be written or read.
#[derive(Debug, thiserror::Error)]
enum SnapshotError {
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error("the file is no snapshot, or damaged: {0}")]
    Damaged(&'static str),
}

impl From<SnapshotError> for Error {
    fn from(error: SnapshotError) -> Error {
        match error {
            SnapshotError::Read(error) => from_read(error, "a snapshot"),
            SnapshotError::Io(error) => Error::SnapshotFailed { why: error.to_string() },
            SnapshotError::Damaged(_) => Error::SnapshotDamaged { why: error.to_string() },
        }
    }
}

impl Service {
    /// Writes a snapshot of the collection; it is listed once it is whole.
    pub async fn create_snapshot(&self, collection: &str) -> Result<SnapshotDescription, Error> {
        let _inside = self.running.gate.enter()?;
        let view = self.view(collection).await?;
        refuse_custom_sharding(&view.collection.config)?;
        self.barrier(
            &view,
            super::ReadOptions { consistency: super::Consistency::Linearizable, deadline: None, timeout_s: None },
        )
        .await?;
        let folder = self.snapshots_folder(&view.collection.name);
        let written = tokio::task::spawn_blocking(move || write_snapshot(&view, &folder)).await;
        written.map_err(|panic| Error::SnapshotFailed { why: panic.to_string() })?.map_err(Error::from)
    }

    /// The snapshots of the collection, by name.
    pub async fn snapshots(&self, collection: &str) -> Result<Vec<SnapshotDescription>, Error> {
        let folder = self.snapshots_folder(&self.collection(collection)?.name);
        let listed = tokio::task::spawn_blocking(move || list(&folder)).await;
        listed.map_err(|panic| Error::SnapshotFailed { why: panic.to_string() })?.map_err(|error| failed(&error))
    }

    /// False: there was none of this name.
    pub async fn delete_snapshot(&self, collection: &str, snapshot: &str) -> Result<bool, Error> {
        let Some(path) = self.snapshot_path(collection, snapshot)? else { return Ok(false) };
        let deleted = tokio::task::spawn_blocking(move || {
            fs::remove_file(&path)?;
            match fs::remove_file(checksum_path(&path)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                _ => Ok(()),
            }
        });
        deleted
            .await
            .map_err(|panic| Error::SnapshotFailed { why: panic.to_string() })?
            .map_err(|error| failed(&error))?;
        Ok(true)
    }

    /// Where the snapshot of this name lies, if there is one. Names lead nowhere but into the collection's folder.
    pub fn snapshot_path(&self, collection: &str, snapshot: &str) -> Result<Option<PathBuf>, Error> {
        let folder = self.snapshots_folder(&self.collection(collection)?.name);
        let is_plain = snapshot.ends_with(SUFFIX) && !snapshot.contains(['/', '\\', '\0']);
        let path = folder.join(snapshot);
        let is_file = is_plain && fs::symlink_metadata(&path).is_ok_and(|found| found.is_file());
        Ok(is_file.then_some(path))
    }

    /// A file inside the snapshots folder, from a `file://` address or a path.
    pub fn local_snapshot(&self, location: &str) -> Result<PathBuf, Error> {
        let outside = || Error::SnapshotLocation { location: location.to_owned() };
        let path = location.strip_prefix("file://").unwrap_or(location);
        let root = fs::canonicalize(&self.running.snapshots_path).map_err(|_| outside())?;
        let path = fs::canonicalize(path).map_err(|_| outside())?;
        if path.starts_with(&root) && path.is_file() { Ok(path) } else { Err(outside()) }
    }

    /// A new file for an upload; whoever opens it removes it.
    pub fn upload_path(&self) -> Result<PathBuf, Error> {
        let folder = self.running.snapshots_path.join("tmp");
        fs::create_dir_all(&folder).map_err(|error| failed(&error))?;
        Ok(folder.join(format!("{}{PART_SUFFIX}", Uuid::new_v4())))
    }

    /// Puts the snapshot's content in the place of the collection's, which is created if there is none.
    /// `checksum`: SHA-256 the file must have.
    ///
    /// Not cancel safe in effect: a recovery that was begun goes on in the log, or is swept away.
    pub async fn recover_snapshot(
        &self,
        name: CollectionName,
        path: PathBuf,
        checksum: Option<String>,
    ) -> Result<(), Error> {
        let _inside = self.running.gate.enter()?;
        let target = match self.collection(name.as_str()) {
            Ok(collection) => collection.name.clone(),
            Err(_) => name.as_str().to_owned(),
        };
        let checked = path.clone();
        let header = tokio::task::spawn_blocking(move || check_snapshot(&checked, checksum.as_deref())).await;
        let header = header.map_err(|panic| Error::SnapshotFailed { why: panic.to_string() })??;
        refuse_custom_sharding(&header.config)?;
        let temporary = CollectionName::restoring(&Uuid::new_v4().simple().to_string());
        let create =
            MetaCommand::CreateCollection { name: temporary.clone(), config: header.config, created_at: now() };
        self.change_meta(&create).await?;
        let filled = self.fill(&temporary, path).await;
        let command = match &filled {
            Ok(()) => MetaCommand::ReplaceCollection { from: temporary.as_str().to_owned(), to: target },
            Err(_) => MetaCommand::DeleteCollection { name: temporary.as_str().to_owned(), created_index: None },
        };
        let changed = self.change_meta(&command).await;
        self.running.topology.settle().await?;
        filled?;
        changed.map(|_| ())
    }

    async fn fill(&self, temporary: &CollectionName, path: PathBuf) -> Result<(), Error> {
        self.running.topology.settle().await?;
        let view = self.view(temporary.as_str()).await?;
        // One block waits while one is proposed.
        let (sender, mut blocks) = tokio::sync::mpsc::channel::<(u32, Vec<u8>)>(1);
        let reading = tokio::task::spawn_blocking(move || {
            read_snapshot(&path, &mut |shard, command| {
                // The receiver is gone when a proposal failed: its error is the one that counts.
                sender.blocking_send((shard, command)).map_err(|_| SnapshotError::Damaged("given up"))
            })
        });
        while let Some((shard, command)) = blocks.recv().await {
            let running = view.shards.get(shard as usize);
            let running = running.ok_or(Error::SnapshotDamaged { why: "a shard beyond their number".to_owned() })?;
            self.wait_for_index(running, None).await?;
            self.propose(running, vec![command]).await?;
        }
        reading.await.map_err(|panic| Error::SnapshotFailed { why: panic.to_string() })??;
        Ok(())
    }

    /// Sweeps away what recoveries that were cut off left behind.
    pub(super) async fn sweep_recoveries(&self) -> Result<(), Error> {
        let state = self.running.meta.state();
        let left: Vec<String> = state
            .collections()
            .filter(|collection| CollectionName::is_restoring(&collection.name))
            .map(|collection| collection.name.clone())
            .collect();
        for name in &left {
            self.change_meta(&MetaCommand::DeleteCollection { name: name.clone(), created_index: None }).await?;
        }
        if !left.is_empty() {
            self.running.topology.settle().await?;
        }
        Ok(())
    }

    fn snapshots_folder(&self, collection: &str) -> PathBuf {
        self.running.snapshots_path.join(collection)
    }
}

fn refuse_custom_sharding(config: &CollectionConfig) -> Result<(), Error> {
    match config.sharding_method {
        Some(ShardingMethod::Custom) => {
            Err(Error::Unimplemented { what: "snapshots of collections with custom sharding".to_owned() })
        }
        _ => Ok(()),
    }
}

fn failed(error: &io::Error) -> Error {
    Error::SnapshotFailed { why: error.to_string() }
}

fn checksum_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(CHECKSUM_SUFFIX);
    PathBuf::from(name)
}

fn list(folder: &Path) -> io::Result<Vec<SnapshotDescription>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut found = Vec::new();
    for entry in entries {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.ends_with(SUFFIX) && entry.file_type()?.is_file() {
            found.push(describe(&entry.path(), name)?);
        }
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn describe(path: &Path, name: String) -> io::Result<SnapshotDescription> {
    let metadata = fs::metadata(path)?;
    let checksum = fs::read_to_string(checksum_path(path)).ok().map(|text| text.trim().to_owned());
    Ok(SnapshotDescription { name, created_at: metadata.modified().ok(), size: metadata.len(), checksum })
}

/// Removes its file unless it was kept.
struct Part {
    path: PathBuf,
    is_kept: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        if !self.is_kept {
            let _ = fs::remove_file(&self.path);
        }
    }
}

fn write_snapshot(view: &View, folder: &Path) -> Result<SnapshotDescription, SnapshotError> {
    fs::create_dir_all(folder)?;
    let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let token = Uuid::new_v4().simple().to_string();
    let name = format!("{}-{seconds}-{token}{SUFFIX}", view.collection.name);
    let path = folder.join(&name);
    let mut part = Part { path: folder.join(format!("{name}{PART_SUFFIX}")), is_kept: false };
    let mut out = Hashing { inner: BufWriter::new(File::create(&part.path)?), digest: Sha256::new() };
    out.write_all(MAGIC)?;
    let header = Header { config: view.collection.config.clone(), shard_count: view.shards.len() as u32 };
    write_block(&mut out, KIND_HEADER, &[&encoded(&header)])?;
    let names = view.collection.config.stored_names();
    let mut point_count = 0;
    for (number, running) in view.shards.iter().enumerate() {
        let number = (number as u32).to_le_bytes();
        let mut points: Vec<Point> = Vec::with_capacity(BLOCK_POINTS_MAX);
        let mut write = |points: &mut Vec<Point>, out: &mut Hashing<BufWriter<File>>| {
            point_count += points.len() as u64;
            let op = PointOp::Upsert { points: std::mem::take(points), mode: UpsertMode::Upsert, update_filter: None };
            write_block(out, KIND_COMMAND, &[&number, &encode_command(&op)])
        };
        running.shard.dump::<SnapshotError>(&names, &Stop::default(), &mut |point| {
            points.push(point);
            if points.len() == BLOCK_POINTS_MAX { Ok(write(&mut points, &mut out)?) } else { Ok(()) }
        })?;
        if !points.is_empty() {
            write(&mut points, &mut out)?;
        }
    }
    write_block(&mut out, KIND_END, &[&encoded(&End { point_count })])?;
    let Hashing { inner, digest } = out;
    inner.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    let checksum = hex(&digest.finalize());
    fs::write(checksum_path(&path), &checksum)?;
    fs::rename(&part.path, &path)?;
    part.is_kept = true;
    File::open(folder)?.sync_all()?;
    Ok(describe(&path, name)?)
}

/// Counts what passes into a digest.
struct Hashing<W> {
    inner: W,
    digest: Sha256,
}

impl<W: Write> Write for Hashing<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.inner.write(bytes)?;
        self.digest.update(bytes.get(..written).unwrap_or_default());
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

fn encoded(value: &impl Serialize) -> Vec<u8> {
    // Writing to a growing vector cannot fail, and the types have no unserialisable state.
    postcard::to_stdvec(value).unwrap_or_default()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn write_block(out: &mut impl Write, kind: u8, parts: &[&[u8]]) -> io::Result<()> {
    let length: usize = parts.iter().map(|part| part.len()).sum();
    let length = u32::try_from(length).map_err(|_| io::Error::other("a block of more than 4 GiB"))?;
    let mut crc = crc32fast::Hasher::new();
    crc.update(&[kind]);
    parts.iter().for_each(|part| crc.update(part));
    out.write_all(&[kind])?;
    out.write_all(&length.to_le_bytes())?;
    out.write_all(&crc.finalize().to_le_bytes())?;
    parts.iter().try_for_each(|part| out.write_all(part))
}

/// The next block's kind and content.
fn read_block(input: &mut impl Read) -> Result<(u8, Vec<u8>), SnapshotError> {
    let cut_off = |error: io::Error| match error.kind() {
        io::ErrorKind::UnexpectedEof => SnapshotError::Damaged("it ends too early"),
        _ => SnapshotError::Io(error),
    };
    let mut kind = [0];
    let (mut length, mut crc) = ([0; 4], [0; 4]);
    input.read_exact(&mut kind).map_err(cut_off)?;
    input.read_exact(&mut length).map_err(cut_off)?;
    input.read_exact(&mut crc).map_err(cut_off)?;
    let length = u32::from_le_bytes(length);
    if length > BLOCK_BYTES_MAX {
        return Err(SnapshotError::Damaged("a block is too long"));
    }
    // Grows with what is there, not with what a damaged length claims.
    let mut content = Vec::new();
    input.take(u64::from(length)).read_to_end(&mut content).map_err(cut_off)?;
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&kind);
    hasher.update(&content);
    if content.len() != length as usize || hasher.finalize() != u32::from_le_bytes(crc) {
        return Err(SnapshotError::Damaged("a block's checksum is wrong"));
    }
    Ok((kind[0], content))
}

/// Reads the whole file, so that nothing of a damaged one is recovered.
fn check_snapshot(path: &Path, checksum: Option<&str>) -> Result<Header, Error> {
    if let Some(wanted) = checksum {
        let mut digest = Sha256::new();
        let mut input = File::open(path).map_err(|error| failed(&error))?;
        let mut buffer = vec![0; 1 << 20];
        loop {
            let count = input.read(&mut buffer).map_err(|error| failed(&error))?;
            if count == 0 {
                break;
            }
            digest.update(buffer.get(..count).unwrap_or_default());
        }
        let found = hex(&digest.finalize());
        if !found.eq_ignore_ascii_case(wanted) {
            return Err(Error::ChecksumMismatch { found, wanted: wanted.to_owned() });
        }
    }
    Ok(read_snapshot(path, &mut |_, _| Ok(()))?)
}

/// Shows every command with the number of its shard.
fn read_snapshot(
    path: &Path,
    show: &mut dyn FnMut(u32, Vec<u8>) -> Result<(), SnapshotError>,
) -> Result<Header, SnapshotError> {
    let mut input = BufReader::new(File::open(path)?);
    let mut magic = [0; 8];
    input.read_exact(&mut magic).map_err(|_| SnapshotError::Damaged("it is too short"))?;
    if magic != *MAGIC {
        return Err(SnapshotError::Damaged("it does not begin as one, or is of a later version"));
    }
    let (KIND_HEADER, header) = read_block(&mut input)? else {
        return Err(SnapshotError::Damaged("it has no header"));
    };
    let header: Header =
        postcard::from_bytes(&header).map_err(|_| SnapshotError::Damaged("its header is not readable"))?;
    if header.shard_count != header.config.shard_number {
        return Err(SnapshotError::Damaged("its number of shards is not the collection's"));
    }
    let mut point_count = 0;
    loop {
        let (kind, content) = read_block(&mut input)?;
        match kind {
            KIND_COMMAND => {
                let (number, command) =
                    content.split_first_chunk::<4>().ok_or(SnapshotError::Damaged("a block is too short"))?;
                let number = u32::from_le_bytes(*number);
                let op = crate::shard::decode_command(command)
                    .map_err(|_| SnapshotError::Damaged("a block holds no points"))?;
                let PointOp::Upsert { points, .. } = op else {
                    return Err(SnapshotError::Damaged("a block holds no points"));
                };
                if number >= header.shard_count {
                    return Err(SnapshotError::Damaged("a block is of a shard beyond their number"));
                }
                point_count += points.len() as u64;
                show(number, command.to_vec())?;
            }
            KIND_END => {
                let end: End =
                    postcard::from_bytes(&content).map_err(|_| SnapshotError::Damaged("its end is not readable"))?;
                if end != (End { point_count }) {
                    return Err(SnapshotError::Damaged("points are missing"));
                }
                return Ok(header);
            }
            _ => return Err(SnapshotError::Damaged("a block of unknown kind")),
        }
    }
}
