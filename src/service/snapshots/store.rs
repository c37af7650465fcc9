//! Where snapshots are kept: a folder of this machine or a bucket. And where files are while they are not whole.
//!
//! Layout, of folders and of keys alike: those of a collection lie in `<collection>/`, those of a shard in
//! `<collection>/shards/<number>/`, those of the node at the top; beside each a `.checksum`. Unfinished files lie in
//! `tmp/<node id>/`, which is emptied at start: two servers that share a folder do not sweep each other's.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use futures::StreamExt;
use futures::stream::BoxStream;
use sha2::{Digest, Sha256};
use tokio::runtime::Handle;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::task::JoinHandle;
use tokio_util::io::ReaderStream;
use uuid::Uuid;

use super::create::Source;
use super::format::{Written, hex};
use super::s3::{Bucket, S3Settings};
use super::url::UrlRules;
use super::{SnapshotDescription, SnapshotError, joined};
use crate::service::Error;
use crate::storage::{StorageError, free_bytes};

pub(super) const SUFFIX: &str = ".snapshot";
pub(super) const CHECKSUM_SUFFIX: &str = ".checksum";
const PART_SUFFIX: &str = ".part";
/// Of unfinished files; no collection's folder has this name.
const WORK_FOLDER: &str = "tmp";

/// A file's name, bytes: what file systems allow.
const NAME_BYTES_MAX: usize = 255;
/// Of a collection's name in a snapshot's: leaves room for the rest.
const READABLE_CHARS_MAX: usize = 100;
/// A collection with a longer name has a folder of another name.
const FOLDER_BYTES_MAX: usize = 200;

/// Snapshots written, read or recovered at once: each holds a thread, and most of them a read view of the database.
const AT_ONCE_MAX: usize = 4;
/// Calls that may wait for one of these; further ones are told to come back.
const WAITING_MAX: usize = 64;
const RETRY_AFTER_S: u32 = 5;

/// Bytes that pass from one side to the other in one piece.
const CHUNK_BYTES: usize = 256 << 10;
/// Pieces between the two sides.
const CHUNKS_MAX: usize = 4;
/// Who takes nothing for so long is gone: what is made for them holds a read view.
const IDLE_MAX: Duration = Duration::from_secs(60);
/// Between two looks at the room that is left on the device.
const ROOM_CHECK_BYTES: u64 = 32 << 20;

/// Where finished snapshots are kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotPlace {
    /// In the snapshots folder.
    Local,
    /// In a bucket.
    S3(S3Settings),
}

/// A snapshot's bytes, as they come.
pub struct SnapshotBody {
    /// Of the file.
    pub name: String,
    /// Absent: it is made while it is read.
    pub size: Option<u64>,
    /// An error ends it: what came before is no snapshot.
    pub chunks: BoxStream<'static, io::Result<Vec<u8>>>,
}

/// The snapshots of one collection, one shard or the node: the way to them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shelf {
    /// Folders below the root; plain names.
    pub(super) way: Vec<String>,
    /// Begins the names of its snapshots.
    readable: String,
}

impl Shelf {
    pub(super) fn collection(name: &str) -> Shelf {
        Shelf { way: vec![folder_name(name)], readable: readable(name) }
    }

    pub(super) fn shard(collection: &str, number: u64) -> Shelf {
        let way = vec![folder_name(collection), "shards".to_owned(), number.to_string()];
        Shelf { way, readable: format!("{}-shard-{number}", readable(collection)) }
    }

    pub(super) fn node() -> Shelf {
        Shelf { way: Vec::new(), readable: "full-snapshot".to_owned() }
    }

    /// Of a snapshot that is made now; no other has it.
    pub(super) fn new_name(&self) -> String {
        let seconds = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        format!("{}-{seconds}-{}{SUFFIX}", self.readable, Uuid::new_v4().simple())
    }
}

/// What is left of a collection's name that is safe in every file system, key and header.
fn readable(name: &str) -> String {
    let safe = |c: char| if c.is_ascii_alphanumeric() || c == '-' || c == '_' { c } else { '_' };
    name.chars().take(READABLE_CHARS_MAX).map(safe).collect()
}

/// The folder of a collection: its name, unless that is no folder's, or that of another purpose.
fn folder_name(collection: &str) -> String {
    let is_taken = collection.starts_with(['.', '~']) || collection == WORK_FOLDER;
    if is_taken || collection.len() > FOLDER_BYTES_MAX || collection.contains(['/', '\\', '\0']) {
        return format!("~{}", hex(&Sha256::digest(collection)));
    }
    collection.to_owned()
}

/// Whether a caller's text is the name of a snapshot, and no way to anywhere else.
pub(super) fn is_name(name: &str) -> bool {
    let is_plain = !name.contains(['/', '\\']) && !name.contains(char::is_control) && !name.starts_with('.');
    is_plain && name.ends_with(SUFFIX) && name.len() <= NAME_BYTES_MAX
}

/// Finished and unfinished snapshots, and who may work on them.
pub(crate) struct SnapshotStore {
    root: PathBuf,
    work: PathBuf,
    place: Place,
    /// `None`: nothing is recovered from elsewhere.
    pub(super) url_rules: Option<UrlRules>,
    /// Bytes of the device that stay free.
    reserve_bytes: u64,
    turns: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

enum Place {
    Local,
    S3(Bucket),
}

impl SnapshotStore {
    /// Sweeps away what this node left unfinished.
    pub(crate) fn open(
        root: PathBuf,
        place: SnapshotPlace,
        url_rules: Option<UrlRules>,
        reserve_bytes: u64,
        node_id: u64,
    ) -> io::Result<SnapshotStore> {
        let work = root.join(WORK_FOLDER).join(node_id.to_string());
        match fs::remove_dir_all(&work) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // HTTP clients come without a provider of cryptography. A second call changes nothing.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let place = match place {
            SnapshotPlace::Local => Place::Local,
            SnapshotPlace::S3(settings) => Place::S3(Bucket::open(&settings).map_err(io::Error::other)?),
        };
        let turns = Arc::new(Semaphore::new(AT_ONCE_MAX));
        let waiting = Arc::new(Semaphore::new(WAITING_MAX));
        Ok(SnapshotStore { root, work, place, url_rules, reserve_bytes, turns, waiting })
    }

    /// Waits until there is room for one more piece of work, which lasts as long as what is returned.
    pub(super) async fn turn(&self) -> Result<OwnedSemaphorePermit, Error> {
        let busy = || Error::Overloaded { what: "too many snapshots under way", retry_after_s: RETRY_AFTER_S };
        let _waiting = Arc::clone(&self.waiting).try_acquire_owned().map_err(|_| busy())?;
        Arc::clone(&self.turns).acquire_owned().await.map_err(|_| busy())
    }

    /// Writes `source` into the place.
    pub(super) async fn save(&self, shelf: &Shelf, source: Source) -> Result<SnapshotDescription, Error> {
        let name = shelf.new_name();
        match &self.place {
            Place::Local => {
                let folder = self.folder(shelf);
                let part = self.new_part().map_err(super::failed)?;
                joined(tokio::task::spawn_blocking(move || save_in_folder(&source, part, &folder, name)).await)
            }
            Place::S3(bucket) => {
                let (out, mut chunks) = ChunkWriter::new();
                let writing = tokio::task::spawn_blocking(move || source.write(out).and_then(ChunkWriter::finish));
                let checksum = async move { Ok(joined(writing.await)?.checksum) };
                bucket.save(shelf, &name, &mut chunks, checksum).await
            }
        }
    }

    pub(super) async fn list(&self, shelf: &Shelf) -> Result<Vec<SnapshotDescription>, Error> {
        match &self.place {
            Place::Local => {
                let folder = self.folder(shelf);
                joined(tokio::task::spawn_blocking(move || list(&folder).map_err(SnapshotError::from)).await)
            }
            Place::S3(bucket) => Ok(bucket.list(shelf).await?),
        }
    }

    /// False: there is none of this name.
    pub(super) async fn delete(&self, shelf: &Shelf, name: &str) -> Result<bool, Error> {
        match &self.place {
            Place::Local => {
                let Some(path) = self.path(shelf, name) else { return Ok(false) };
                let delete = move || {
                    fs::remove_file(&path)?;
                    match fs::remove_file(checksum_path(&path)) {
                        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(SnapshotError::from(error)),
                        _ => Ok(true),
                    }
                };
                joined(tokio::task::spawn_blocking(delete).await)
            }
            Place::S3(bucket) => Ok(bucket.delete(shelf, name).await?),
        }
    }

    pub(super) async fn open_one(&self, shelf: &Shelf, name: &str) -> Result<Option<SnapshotBody>, Error> {
        match &self.place {
            Place::Local => {
                let Some(path) = self.path(shelf, name) else { return Ok(None) };
                let file = tokio::fs::File::open(&path).await.map_err(super::failed)?;
                let size = file.metadata().await.map_err(super::failed)?.len();
                let chunks = ReaderStream::with_capacity(file, CHUNK_BYTES).map(|chunk| chunk.map(Vec::from)).boxed();
                Ok(Some(SnapshotBody { name: name.to_owned(), size: Some(size), chunks }))
            }
            Place::S3(bucket) => Ok(bucket.open_one(shelf, name).await?),
        }
    }

    fn folder(&self, shelf: &Shelf) -> PathBuf {
        shelf.way.iter().fold(self.root.clone(), |path, part| path.join(part))
    }

    /// Where the snapshot of this name lies, if there is one.
    fn path(&self, shelf: &Shelf, name: &str) -> Option<PathBuf> {
        let path = self.folder(shelf).join(name);
        // Not through a link: those could lead out.
        (is_name(name) && fs::symlink_metadata(&path).is_ok_and(|found| found.is_file())).then_some(path)
    }

    /// A file that lies inside the snapshots folder, from a `file://` address or a path. With a bucket the same address
    /// means the object of that name, and `s3://BUCKET/KEY` does too; the key is answered.
    pub(super) fn locate(&self, location: &str) -> Result<Located, Error> {
        let outside = || Error::SnapshotLocation { location: location.to_owned() };
        let path = location.strip_prefix("file://").unwrap_or(location);
        match &self.place {
            Place::Local => {
                let root = fs::canonicalize(&self.root).map_err(|_| outside())?;
                let path = fs::canonicalize(path).map_err(|_| outside())?;
                let is_inside = path.starts_with(&root) && !path.starts_with(root.join(WORK_FOLDER));
                if is_inside && path.is_file() { Ok(Located::File(path)) } else { Err(outside()) }
            }
            Place::S3(bucket) => {
                let inside = || Path::new(path).strip_prefix(&self.root).ok()?.to_str();
                let key = bucket.key_of_address(location).or_else(inside).ok_or_else(outside)?;
                let is_snapshot = key.rsplit('/').next().is_some_and(is_name);
                let is_plain = key.split('/').all(|part| !part.is_empty() && part != "." && part != "..");
                if is_snapshot && is_plain { Ok(Located::Object(key.to_owned())) } else { Err(outside()) }
            }
        }
    }

    /// Copies an object into an unfinished file.
    pub(super) async fn fetch(&self, key: &str) -> Result<Part, Error> {
        let Place::S3(bucket) = &self.place else {
            return Err(Error::SnapshotLocation { location: key.to_owned() });
        };
        let Some(mut chunks) = bucket.chunks(key).await? else {
            return Err(Error::SnapshotLocation { location: key.to_owned() });
        };
        let mut receiving = self.receive()?;
        while let Some(chunk) = chunks.next().await {
            receiving.write(chunk.map_err(super::failed)?).await?;
        }
        receiving.finish().await
    }

    /// A new file for what comes from elsewhere.
    pub(super) fn receive(&self) -> Result<Receiving, Error> {
        let mut part = self.new_part().map_err(super::failed)?;
        let (sender, mut chunks) = mpsc::channel::<Vec<u8>>(CHUNKS_MAX);
        let writing = tokio::task::spawn_blocking(move || {
            while let Some(chunk) = chunks.blocking_recv() {
                part.write_all(&chunk)?;
            }
            Ok(part)
        });
        Ok(Receiving { chunks: sender, writing })
    }

    fn new_part(&self) -> io::Result<Part> {
        fs::create_dir_all(&self.work)?;
        let path = self.work.join(format!("{}{PART_SUFFIX}", Uuid::new_v4()));
        let mut part = Part { file: File::create(&path)?, path, reserve_bytes: self.reserve_bytes, unchecked_bytes: 0 };
        part.check_room()?;
        Ok(part)
    }
}

/// Where a location leads.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Located {
    File(PathBuf),
    Object(String),
}

/// An unfinished file; removed when dropped, unless it was renamed by then.
pub(super) struct Part {
    file: File,
    pub(super) path: PathBuf,
    reserve_bytes: u64,
    /// Written since the room was last looked at.
    unchecked_bytes: u64,
}

impl Part {
    fn check_room(&mut self) -> io::Result<()> {
        self.unchecked_bytes = 0;
        if free_bytes(&self.path)? < self.reserve_bytes {
            return Err(io::Error::other(StorageError::OutOfDisk { path: self.path.clone() }));
        }
        Ok(())
    }
}

impl Write for Part {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.unchecked_bytes >= ROOM_CHECK_BYTES {
            self.check_room()?;
        }
        let written = self.file.write(bytes)?;
        self.unchecked_bytes += written as u64;
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // What was renamed is not here any more; what cannot be removed now is swept at the next start.
        let _ = fs::remove_file(&self.path);
    }
}

/// A snapshot on its way in. Dropped before it is finished it leaves nothing behind.
pub struct Receiving {
    chunks: mpsc::Sender<Vec<u8>>,
    writing: JoinHandle<io::Result<Part>>,
}

impl Receiving {
    /// Appends; waits while the disk is slower than what comes.
    pub async fn write(&mut self, chunk: Vec<u8>) -> Result<(), Error> {
        if self.chunks.send(chunk).await.is_ok() {
            return Ok(());
        }
        // The writer left: its error says why.
        match (&mut self.writing).await {
            Ok(Err(error)) => Err(super::failed(error)),
            _ => Err(Error::SnapshotFailed { why: "the file cannot be written".to_owned() }),
        }
    }

    pub(super) async fn finish(self) -> Result<Part, Error> {
        let Receiving { chunks, writing } = self;
        drop(chunks);
        joined(writing.await.map(|outcome| outcome.map_err(SnapshotError::from)))
    }
}

/// Hands what is written over in pieces.
pub(super) struct ChunkWriter {
    buffer: Vec<u8>,
    chunks: mpsc::Sender<Vec<u8>>,
    runtime: Handle,
}

impl ChunkWriter {
    /// To be written to on a thread that may block. Its end is that of the pieces.
    pub(super) fn new() -> (ChunkWriter, mpsc::Receiver<Vec<u8>>) {
        let (chunks, receiver) = mpsc::channel(CHUNKS_MAX);
        (ChunkWriter { buffer: Vec::new(), chunks, runtime: Handle::current() }, receiver)
    }

    /// Hands over the rest.
    pub(super) fn finish(mut written: Written<ChunkWriter>) -> Result<Written<()>, SnapshotError> {
        written.out.hand_over()?;
        Ok(Written { out: (), size: written.size, checksum: written.checksum })
    }

    fn hand_over(&mut self) -> io::Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let chunk = std::mem::take(&mut self.buffer);
        match self.runtime.block_on(tokio::time::timeout(IDLE_MAX, self.chunks.send(chunk))) {
            Ok(Ok(())) => Ok(()),
            Ok(Err(_)) => Err(io::Error::new(io::ErrorKind::BrokenPipe, "nobody takes the snapshot any more")),
            Err(_) => Err(io::Error::new(io::ErrorKind::TimedOut, "nothing was taken for too long")),
        }
    }
}

impl Write for ChunkWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.buffer.extend_from_slice(bytes);
        if self.buffer.len() >= CHUNK_BYTES {
            self.hand_over()?;
        }
        Ok(bytes.len())
    }

    /// Does nothing: pieces are as large as they are.
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn checksum_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(CHECKSUM_SUFFIX);
    PathBuf::from(name)
}

fn save_in_folder(
    source: &Source,
    part: Part,
    folder: &Path,
    name: String,
) -> Result<SnapshotDescription, SnapshotError> {
    let Written { out, checksum, .. } = source.write(BufWriter::with_capacity(CHUNK_BYTES, part))?;
    let part = out.into_inner().map_err(io::IntoInnerError::into_error)?;
    part.file.sync_all()?;
    fs::create_dir_all(folder)?;
    let path = folder.join(&name);
    let finish = || {
        fs::write(checksum_path(&path), &checksum)?;
        fs::rename(&part.path, &path)?;
        File::open(folder)?.sync_all()
    };
    if let Err(error) = finish() {
        let _ = fs::remove_file(checksum_path(&path));
        return Err(error.into());
    }
    Ok(describe(&path, name)?)
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
        if is_name(&name) && entry.file_type()?.is_file() {
            match describe(&entry.path(), name) {
                // Deleted meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                described => found.push(described?),
            }
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
