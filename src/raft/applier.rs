//! One group's state machine, as openraft wants it: runs of committed entries become one [`StateMachine::apply`] each,
//! and openraft's "snapshot" is a finished [`StateMachine::flush`] with the position it is sure to cover. Files are made of
//! it only when a follower needs them.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::stream::{Stream, TryStreamExt};
use openraft::storage::{ApplyResponder, EntryResponder, RaftStateMachine};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::{Notify, mpsc};

use super::encoding::{self, Command, Entry, LogId, Members, NodeId, Reply, Snapshot, SnapshotMeta, Types};
use super::log_store::io_error;
use super::{Committed, Position, StateMachine};
use crate::storage::StorageError;

/// Entries in one apply: bounds the memory of the batch that the state machine writes atomically.
const APPLY_ENTRIES_MAX: usize = 1024;
/// Bytes of commands in one apply, unless a single one is larger.
const APPLY_BYTES_MAX: usize = 4 << 20;
/// How often a full disk is tried again. RocksDB takes a second to give up each flush that was asked for while it has
/// no room, and looks for room only between them, so asking more often would keep it from recovering.
const ROOM_RETRY: Duration = Duration::from_secs(2);

/// What the group, its applier and its snapshot builds know of each other.
pub(super) struct Progress {
    snapshot_entries: u64,
    snapshot_bytes: u64,
    entries_since_snapshot: AtomicU64,
    bytes_since_snapshot: AtomicU64,
    /// Rung when enough was applied for another snapshot.
    pub(super) snapshot_due: Notify,
    /// The state machine had no room; proposals are refused until a retry succeeds.
    is_out_of_disk: AtomicBool,
    is_stopping: AtomicBool,
    /// The last finished flush. Held for moments only.
    flushed: Mutex<Option<SnapshotMeta>>,
    /// For each state that is on its way to another node: up to where openraft believes it to reach. Held for moments only.
    sending: Mutex<Vec<u64>>,
}

/// A state is on its way.
pub(super) struct Sending {
    progress: Arc<Progress>,
    from: u64,
}

impl Drop for Sending {
    fn drop(&mut self) {
        let mut sending = self.progress.sending.lock();
        if let Some(place) = sending.iter().position(|from| *from == self.from) {
            sending.swap_remove(place);
        }
    }
}

impl Progress {
    /// A snapshot is due after so many entries or bytes of commands.
    pub(super) fn new(snapshot_entries: u64, snapshot_bytes: u64) -> Progress {
        Progress {
            snapshot_entries,
            snapshot_bytes,
            entries_since_snapshot: AtomicU64::new(0),
            bytes_since_snapshot: AtomicU64::new(0),
            snapshot_due: Notify::new(),
            is_out_of_disk: AtomicBool::new(false),
            is_stopping: AtomicBool::new(false),
            flushed: Mutex::new(None),
            sending: Mutex::default(),
        }
    }

    /// Notes that a state is on its way which reaches up to `from`, until the answer is dropped.
    pub(super) fn send(self: &Arc<Progress>, from: u64) -> Sending {
        self.sending.lock().push(from);
        Sending { progress: Arc::clone(self), from }
    }

    /// The least that any state on its way reaches up to.
    pub(super) fn sent_from(&self) -> Option<u64> {
        self.sending.lock().iter().min().copied()
    }

    /// Notes a finished flush, unless a later one is known.
    fn note_flushed(&self, meta: SnapshotMeta) {
        let mut flushed = self.flushed.lock();
        if flushed.as_ref().is_none_or(|known| known.last_log_id <= meta.last_log_id) {
            *flushed = Some(meta);
        }
    }

    /// Whether the state machine waits for room.
    pub(super) fn is_out_of_disk(&self) -> bool {
        self.is_out_of_disk.load(Ordering::Relaxed)
    }

    /// Ends waits for room.
    pub(super) fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
    }

    fn count_applied(&self, entries: u64, bytes: u64) {
        let entries = self.entries_since_snapshot.fetch_add(entries, Ordering::Relaxed) + entries;
        let bytes = self.bytes_since_snapshot.fetch_add(bytes, Ordering::Relaxed) + bytes;
        if entries >= self.snapshot_entries || bytes >= self.snapshot_bytes {
            self.entries_since_snapshot.store(0, Ordering::Relaxed);
            self.bytes_since_snapshot.store(0, Ordering::Relaxed);
            self.snapshot_due.notify_one();
        }
    }

    /// Repeats `attempt` while the disk is full. The state machine promises that a failed attempt had no effect.
    pub(super) async fn once_there_is_room<T, F>(&self, mut attempt: impl FnMut() -> F) -> io::Result<T>
    where
        F: Future<Output = io::Result<Result<T, StorageError>>>,
    {
        loop {
            match attempt().await? {
                Ok(value) => {
                    self.is_out_of_disk.store(false, Ordering::Relaxed);
                    return Ok(value);
                }
                Err(error @ StorageError::OutOfDisk { .. }) => {
                    if self.is_stopping.load(Ordering::Relaxed) {
                        return Err(io_error(error));
                    }
                    if !self.is_out_of_disk.swap(true, Ordering::Relaxed) {
                        tracing::error!(%error, "writes are refused until there is room");
                    }
                    tokio::time::sleep(ROOM_RETRY).await;
                }
                Err(error) => return Err(io_error(error)),
            }
        }
    }
}

/// A state: the one that a group's state machine has, or another one in files.
pub(super) enum SnapshotData {
    Live(Arc<dyn StateMachine>),
    Files(TempDir),
}

impl SnapshotData {
    /// As files, which stand at `position`.
    fn into_files(self, position: &Position) -> Result<TempDir, StorageError> {
        let machine = match self {
            SnapshotData::Files(files) => return Ok(files),
            SnapshotData::Live(machine) => machine,
        };
        let failed = |what: String| StorageError::Failed { path: std::env::temp_dir(), what };
        let files = tempfile::tempdir().map_err(|error| failed(error.to_string()))?;
        if machine.export(files.path())? != *position {
            return Err(failed("the state has moved on since the snapshot".to_owned()));
        }
        Ok(files)
    }
}

/// The adapter. Owned by openraft's state machine task.
pub(super) struct Applier {
    machine: Arc<dyn StateMachine>,
    progress: Arc<Progress>,
    applied: Option<LogId>,
    members: Members,
    in_use: mpsc::Sender<()>,
}

impl Applier {
    /// Starts where `machine` stands.
    pub(super) fn new(
        machine: Arc<dyn StateMachine>,
        progress: Arc<Progress>,
        in_use: mpsc::Sender<()>,
    ) -> io::Result<Applier> {
        let (applied, members) = match machine.position().map_err(io_error)? {
            Some(position) => encoding::decode_position(&position)?,
            None => (None, Members::default()),
        };
        Ok(Applier { machine, progress, applied, members, in_use })
    }

    /// Index of the last entry the state machine has; `None` before the first.
    pub(super) fn applied_index(&self) -> Option<u64> {
        self.applied.map(|applied| applied.index)
    }

    /// Whether the state machine knows of no other voter.
    pub(super) fn is_lone_voter(&self, node_id: NodeId) -> bool {
        self.members.membership().voter_ids().eq([node_id])
    }

    async fn apply_run(&mut self, run: Run) -> io::Result<()> {
        let Some(last) = run.entries.last() else { return Ok(()) };
        let applied = last.log_id;
        let membership = run.entries.iter().rev().find_map(|entry| match &entry.payload {
            EntryPayload::Membership(membership) => Some(Members::new(Some(entry.log_id), membership.clone())),
            _ => None,
        });
        let members = membership.unwrap_or_else(|| self.members.clone());
        let position = Arc::new(encoding::encode_position(Some(&applied), &members)?);
        let (entry_count, byte_count) = (run.entries.len() as u64, run.bytes as u64);
        let entries = Arc::new(run.entries);

        let attempt = || {
            let (machine, entries, position) = (self.machine.clone(), entries.clone(), position.clone());
            let task = tokio::task::spawn_blocking(move || {
                let committed: Vec<Committed<'_>> = entries.iter().map(committed_from_entry).collect();
                machine.apply(&committed, &position)
            });
            async move { task.await.map_err(io_error) }
        };
        let mut replies = self.progress.once_there_is_room(attempt).await?.into_iter();

        self.applied = Some(applied);
        self.members = members;
        for (entry, responder) in entries.iter().zip(run.responders) {
            let reply = match &entry.payload {
                EntryPayload::Normal(_) => {
                    replies.next().ok_or_else(|| io::Error::other("the state machine returned too few replies"))?
                }
                _ => Vec::new(),
            };
            if let Some(responder) = responder {
                responder.send(Reply(reply));
            }
        }
        self.progress.count_applied(entry_count, byte_count);
        Ok(())
    }
}

/// Entries that are applied together, and who waits for each.
#[derive(Default)]
struct Run {
    entries: Vec<Entry>,
    responders: Vec<Option<ApplyResponder<Types>>>,
    bytes: usize,
}

impl Run {
    fn push(&mut self, (entry, responder): EntryResponder<Types>) {
        self.bytes += command(&entry).map_or(0, <[u8]>::len);
        self.entries.push(entry);
        self.responders.push(responder);
    }

    fn is_full(&self) -> bool {
        self.entries.len() >= APPLY_ENTRIES_MAX || self.bytes >= APPLY_BYTES_MAX
    }
}

fn command(entry: &Entry) -> Option<&[u8]> {
    match &entry.payload {
        EntryPayload::Normal(Command(command)) => Some(command),
        _ => None,
    }
}

fn committed_from_entry(entry: &Entry) -> Committed<'_> {
    Committed { index: entry.log_id.index, command: command(entry) }
}

impl RaftStateMachine<Types> for Applier {
    type SnapshotData = SnapshotData;
    type SnapshotBuilder = FlushBuilder;

    async fn applied_state(&mut self) -> io::Result<(Option<LogId>, Members)> {
        Ok((self.applied, self.members.clone()))
    }

    async fn apply<Strm>(&mut self, mut entries: Strm) -> io::Result<()>
    where
        Strm: Stream<Item = io::Result<EntryResponder<Types>>> + Unpin + OptionalSend,
    {
        let mut run = Run::default();
        while let Some(entry) = entries.try_next().await? {
            run.push(entry);
            if run.is_full() {
                self.apply_run(std::mem::take(&mut run)).await?;
            }
        }
        self.apply_run(run).await
    }

    async fn get_snapshot_builder(&mut self) -> FlushBuilder {
        FlushBuilder {
            machine: self.machine.clone(),
            progress: self.progress.clone(),
            // Taken before the flush starts, so the flush covers it.
            covered: SnapshotMeta { last_log_id: self.applied, last_membership: self.members.clone() },
            _in_use: self.in_use.clone(),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotData) -> io::Result<()> {
        let position = Arc::new(encoding::encode_position(meta.last_log_id.as_ref(), &meta.last_membership)?);
        let of_files = Arc::clone(&position);
        let files = tokio::task::spawn_blocking(move || snapshot.into_files(&of_files)).await.map_err(io_error)?;
        let files = Arc::new(files.map_err(io_error)?);
        let attempt = || {
            let (machine, files, position) = (Arc::clone(&self.machine), Arc::clone(&files), Arc::clone(&position));
            let task = tokio::task::spawn_blocking(move || machine.import(files.path(), &position));
            async move { task.await.map_err(io_error) }
        };
        self.progress.once_there_is_room(attempt).await?;
        self.applied = meta.last_log_id;
        self.members = meta.last_membership.clone();
        self.progress.note_flushed(meta.clone());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> io::Result<Option<Snapshot>> {
        let flushed = self.progress.flushed.lock().clone();
        Ok(flushed.map(|meta| Snapshot { meta, snapshot: SnapshotData::Live(Arc::clone(&self.machine)) }))
    }
}

/// Flushes the state machine and records what that covers.
pub(super) struct FlushBuilder {
    machine: Arc<dyn StateMachine>,
    progress: Arc<Progress>,
    covered: SnapshotMeta,
    _in_use: mpsc::Sender<()>,
}

impl RaftSnapshotBuilder<Types> for FlushBuilder {
    type SnapshotData = SnapshotData;

    async fn build_snapshot(&mut self) -> io::Result<Snapshot> {
        let attempt = || {
            let machine = self.machine.clone();
            let task = tokio::task::spawn_blocking(move || machine.flush());
            async move { task.await.map_err(io_error) }
        };
        self.progress.once_there_is_room(attempt).await?;
        self.progress.note_flushed(self.covered.clone());
        Ok(Snapshot { meta: self.covered.clone(), snapshot: SnapshotData::Live(Arc::clone(&self.machine)) })
    }
}
