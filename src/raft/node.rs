//! This process's groups, the log database they share and its flusher; and what other nodes ask of them.

use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher, RandomState};
use std::io;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::impls::BasicNode;
use openraft::raft::AppendEntriesResponse;
use openraft::{Config, Raft, SnapshotPolicy};
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::applier::{Applier, Progress, SnapshotData};
use super::distant::{DistantGroup, LeaderHint, Members};
use super::encoding::{LogId, NodeId, Snapshot, SnapshotMeta, Types, decode_position};
use super::flusher::Flusher;
use super::group::Group;
use super::log_store::LogStore;
use super::peers::Peers;
use super::transport::{Alone, Ask, Message, Peer, Transport};
use super::wire::{self, Answer, Change};
use super::{ProposeError, StateMachine};
use crate::model::ShardId;
use crate::storage::{LogDb, StorageError};

/// Entries in one append to the log: what one group can put under one sync.
const APPEND_ENTRIES_MAX: u64 = 1024;

/// How long a founder leaves it to those before it to begin a group, for each of them.
const FOUND_AFTER: Duration = Duration::from_millis(1_500);

/// Name of the node's number in `raftdb`.
const NODE_ID: &str = "node_id";
/// Folder inside that of `raftdb`: files on their way to other nodes and from them.
const SCRATCH_FOLDER: &str = "transfers";

/// How groups run.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Proposals of one group under way; more are refused.
    pub queue_entries_max: usize,
    /// Bytes of proposals of one group under way; more are refused. Also the largest proposal.
    pub queue_bytes_max: usize,
    /// Entries after which a group's state machine is flushed and its log purged. Bounds the replay of a restart.
    pub snapshot_entries: u64,
    /// The same in bytes of commands.
    pub snapshot_bytes: u64,
    /// Bytes of entries behind the last flush that a group of several nodes keeps for those that are behind: sending them
    /// is cheaper than sending the state.
    pub log_kept_bytes: u64,
    /// How long a group may take to recover when it starts.
    pub start_timeout: Duration,
}

/// Why a group did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The log or the state machine could not be read or written, or contradict each other.
    #[error(transparent)]
    Storage(StorageError),
    /// A group of this shard runs already.
    #[error("the group of shard {shard} runs already")]
    Running {
        /// Whose group.
        shard: ShardId,
    },
    /// The group did not come to lead and recover.
    #[error("the group of shard {shard} did not start: {what}")]
    Failed {
        /// Whose group.
        shard: ShardId,
        /// What went wrong.
        what: String,
    },
}

/// How a group begins that this node has no log of.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Start {
    /// With these nodes as its voters, this one among them; as its lone voter if there are none.
    Found(Vec<Peer>),
    /// Without anything: another one begins it, or its leader, on another node, makes this one a member.
    Wait,
    /// Without anything, and not for the first time perhaps: what the leader sends first may name members that are none any
    /// more, this node among them.
    Join,
}

/// Why a peer's question has no answer.
#[derive(Debug, thiserror::Error)]
pub enum AnswerError {
    /// The group does not run here.
    #[error("the group of shard {shard} does not run here")]
    NoGroup {
        /// Whose group.
        shard: ShardId,
    },
    /// It stopped.
    #[error("the group of shard {shard} has stopped")]
    Stopped {
        /// Whose group.
        shard: ShardId,
    },
    /// The question is not one of this version.
    #[error(transparent)]
    Malformed(#[from] io::Error),
}

/// This process's part in all groups.
pub struct Node {
    logs: Arc<LogDb>,
    settings: Settings,
    transport: Arc<dyn Transport>,
    scratch: PathBuf,
    state: Mutex<State>,
}

/// Held for moments only, never across an await.
#[derive(Default)]
struct State {
    /// Started with the first group.
    flusher: Option<Arc<Flusher>>,
    node_id: Option<NodeId>,
    groups: BTreeMap<ShardId, Running>,
    /// Groups that are being opened.
    opening: BTreeSet<ShardId>,
}

/// Keeps a group from being opened twice at the same time.
struct Reserved<'a> {
    state: &'a Mutex<State>,
    shard: ShardId,
}

impl<'a> Reserved<'a> {
    fn take(state: &'a Mutex<State>, shard: ShardId) -> Result<Reserved<'a>, StartError> {
        let mut locked = state.lock();
        if locked.groups.contains_key(&shard) || !locked.opening.insert(shard) {
            return Err(StartError::Running { shard });
        }
        drop(locked);
        Ok(Reserved { state, shard })
    }
}

impl Drop for Reserved<'_> {
    fn drop(&mut self) {
        self.state.lock().opening.remove(&self.shard);
    }
}

struct Running {
    group: Group,
    machine: Arc<dyn StateMachine>,
    snapshots: JoinHandle<()>,
    /// Ends when everything that used the group's storage is dropped.
    released: mpsc::Receiver<()>,
}

impl Node {
    /// A node without groups over `logs`, and without peers.
    pub fn new(logs: Arc<LogDb>, settings: Settings) -> Node {
        Node::connected(logs, settings, Arc::new(Alone))
    }

    /// A node without groups over `logs`, with peers.
    pub fn connected(logs: Arc<LogDb>, settings: Settings, transport: Arc<dyn Transport>) -> Node {
        let scratch = logs.folder().join(SCRATCH_FOLDER);
        match std::fs::remove_dir_all(&scratch) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                tracing::warn!(%error, "files of transfers that were cut off cannot be removed");
            }
            _ => {}
        }
        Node { logs, settings, transport, scratch, state: Mutex::default() }
    }

    /// Opens the group of `shard`, or creates it with this node as the lone voter. A lone voter is returned once it leads and
    /// has applied all it had committed before (recovery done); a group of several at once, and it finds its leader.
    pub async fn start_group(&self, shard: ShardId, machine: Arc<dyn StateMachine>) -> Result<Group, StartError> {
        self.open_group(shard, machine, Start::Found(Vec::new())).await
    }

    /// Opens the group of `shard`, or begins it with these nodes as its voters, this one among them. Each of them does so,
    /// with the same ones (addresses included), and none once any of them has left the group: so who calls it must know that
    /// as of now. The first of them begins at once, the others only if nobody has begun by then: they would only compete.
    pub async fn found_group(
        &self,
        shard: ShardId,
        machine: Arc<dyn StateMachine>,
        founders: Vec<Peer>,
    ) -> Result<Group, StartError> {
        let rank = founders.iter().position(|peer| self.id().is_ok_and(|own| own == peer.id)).unwrap_or(0);
        if rank == 0 {
            return self.open_group(shard, machine, Start::Found(founders)).await;
        }
        let group = self.open_group(shard, machine, Start::Wait).await?;
        let raft = group.raft.clone();
        tokio::spawn(async move {
            tokio::time::sleep(FOUND_AFTER * u32::try_from(rank).unwrap_or(u32::MAX)).await;
            // Refused if somebody has begun, or the group has stopped: then there is nothing to do.
            let _ = raft.initialize(members(founders)).await;
        });
        Ok(group)
    }

    /// Opens the group of `shard`, or this node's part of it, which is empty until the group's leader on another node makes
    /// this one a member.
    pub async fn join_group(&self, shard: ShardId, machine: Arc<dyn StateMachine>) -> Result<Group, StartError> {
        self.open_group(shard, machine, Start::Join).await
    }

    async fn open_group(
        &self,
        shard: ShardId,
        machine: Arc<dyn StateMachine>,
        start: Start,
    ) -> Result<Group, StartError> {
        let failed = |what: String| StartError::Failed { shard, what };
        let _reserved = Reserved::take(&self.state, shard)?;
        let (node_id, flusher) = self.identity_and_flusher(shard)?;
        let (in_use, released) = mpsc::channel(1);
        if start == Start::Join && self.is_blank(shard).map_err(StartError::Storage)? {
            self.mark_joining(shard).map_err(StartError::Storage)?;
        }
        let is_joining = self.logs.node_entry(&joining(shard)).map_err(StartError::Storage)?.is_some();
        let progress = Arc::new(Progress::new(self.settings.snapshot_entries, self.settings.snapshot_bytes));
        let applier = Applier::new(machine.clone(), progress.clone(), in_use.clone())
            .map_err(|error| failed(error.to_string()))?;
        if let Some(applied) = applier.applied_index() {
            // Nothing is applied without a leader's vote. A node that has lost its own could vote twice.
            if self.logs.vote(shard).map_err(StartError::Storage)?.is_none() {
                let what = format!("shard {shard} has a state and no vote: its log is lost");
                return Err(StartError::Storage(self.logs.damaged(what)));
            }
            // With other voters an entry may be applied before it is synced here. They have it, and send it again.
            if applier.is_lone_voter(node_id) && !is_joining {
                self.logs.check_reaches(shard, applied).map_err(StartError::Storage)?;
            }
        }
        let peers = Peers {
            shard,
            transport: self.transport.clone(),
            machine: machine.clone(),
            progress: progress.clone(),
            in_use: in_use.downgrade(),
            scratch: self.scratch.clone(),
        };
        let log_store = LogStore {
            shard,
            logs: self.logs.clone(),
            flusher: flusher.clone(),
            progress: progress.clone(),
            _in_use: in_use,
        };
        let config = self.config(shard, is_joining).map_err(failed)?;
        let raft =
            Raft::new(node_id, config, peers, log_store, applier).await.map_err(|error| failed(error.to_string()))?;
        let is_alone = Arc::new(AtomicBool::new(false));
        let group = Group {
            shard,
            node_id,
            raft: raft.clone(),
            logs: self.logs.clone(),
            flusher,
            progress: progress.clone(),
            transport: self.transport.clone(),
            is_alone: is_alone.clone(),
            is_joining: Arc::new(AtomicBool::new(is_joining)),
            heard: Arc::default(),
            queue_entries: Arc::new(Semaphore::new(self.settings.queue_entries_max)),
            queue_bytes: Arc::new(Semaphore::new(self.settings.queue_bytes_max)),
        };
        let snapshots = tokio::spawn(trigger_snapshots(group.clone(), self.settings.log_kept_bytes));
        let running = Running { group: group.clone(), machine, snapshots, released };
        match begin(&raft, node_id, start, is_joining, self.settings.start_timeout).await {
            Ok(is_lone_voter) => is_alone.store(is_lone_voter, Ordering::Release),
            Err(what) => {
                running.stop().await;
                return Err(failed(what));
            }
        }
        self.state.lock().groups.insert(shard, running);
        Ok(group)
    }

    /// Whether this node has nothing of the group.
    fn is_blank(&self, shard: ShardId) -> Result<bool, StorageError> {
        Ok(self.logs.bounds(shard).indexes.is_empty() && self.logs.vote(shard)?.is_none())
    }

    fn mark_joining(&self, shard: ShardId) -> Result<(), StorageError> {
        self.logs.put_node_entry(&joining(shard), &[])?;
        self.logs.sync()
    }

    /// The group of `shard` on other nodes.
    pub fn distant_group(&self, shard: ShardId, members: Members, leader: LeaderHint) -> DistantGroup {
        DistantGroup::new(shard, self.transport.clone(), members, leader)
    }

    /// Answers what another node asks of a group here.
    pub async fn answer(&self, message: Message) -> Result<Vec<u8>, AnswerError> {
        let Message { shard, ask, body } = message;
        let group = self.group(shard)?;
        let raft = &group.raft;
        let answer = match ask {
            Ask::Append | Ask::Beat => {
                let append = wire::decode_append(&body)?;
                let (term, committed) = (append.vote.leader_id.term, append.leader_commit);
                let response = running(shard, raft.append_entries(append).await)?;
                if matches!(response, AppendEntriesResponse::Success | AppendEntriesResponse::PartialSuccess(_)) {
                    group.note_heard();
                    if group.is_joining.load(Ordering::Acquire) {
                        end_joining(&group, term, committed).await;
                    }
                }
                wire::encode(&response)
            }
            Ask::Vote => wire::encode(&running(shard, raft.vote(wire::decode(&body)?).await)?),
            Ask::PreVote => wire::encode(&running(shard, raft.pre_vote(wire::decode(&body)?).await)?),
            Ask::Lead => {
                let request = wire::decode::<wire::Lead>(&body)?.into_request();
                let told = raft.handle_transfer_leader(request).await;
                wire::encode(&told.map_err(|_| AnswerError::Stopped { shard })?)
            }
            Ask::Propose => wire::encode_proposed(match self.is_behind(shard) {
                true => Err(ProposeError::QueueFull { shard }),
                false => group.propose_here(body).await,
            }),
            Ask::ReadIndex => wire::encode(&group.read_index().await.map_err(wire::Refusal::from)),
            Ask::Change => {
                let change = wire::decode::<Change>(&body)?;
                let outcome: Answer<()> = group.change_here(change).await.map_err(wire::Refusal::from);
                wire::encode(&outcome)
            }
        };
        Ok(answer?)
    }

    /// Whether the group's state machine asks writers to wait.
    fn is_behind(&self, shard: ShardId) -> bool {
        let machine = self.state.lock().groups.get(&shard).map(|running| running.machine.clone());
        machine.is_some_and(|machine| machine.is_behind())
    }

    /// Where the files of a snapshot for the group of `shard`, which must run here, are received.
    pub fn receiving_folder(&self, shard: ShardId) -> io::Result<TempDir> {
        let group = self.group(shard).map_err(io::Error::other)?;
        if group.is_stopped() {
            return Err(io::Error::other(AnswerError::Stopped { shard }));
        }
        let full = |error: StorageError| io::Error::new(io::ErrorKind::StorageFull, error.to_string());
        self.logs.check_room().map_err(full)?;
        std::fs::create_dir_all(&self.scratch)?;
        tempfile::tempdir_in(&self.scratch)
    }

    /// Puts the state in `files`, which another node's group sent with `head`, in the place of that of the group here.
    pub async fn install_snapshot(&self, shard: ShardId, head: &[u8], files: TempDir) -> Result<Vec<u8>, AnswerError> {
        let (vote, position) = wire::decode_snapshot_head(head)?;
        let (last_log_id, last_membership) = decode_position(&position)?;
        if last_log_id.is_some_and(|last| last.leader_id.term > vote.leader_id.term) {
            let what = "a snapshot is newer than the vote of who sends it";
            return Err(AnswerError::Malformed(io::Error::new(io::ErrorKind::InvalidData, what)));
        }
        let meta = SnapshotMeta { last_log_id, last_membership };
        let snapshot = Snapshot { meta, snapshot: SnapshotData::Files(files) };
        let installed = self.group(shard)?.raft.install_full_snapshot(vote, snapshot).await;
        Ok(wire::encode(&installed.map_err(|_| AnswerError::Stopped { shard })?.vote)?)
    }

    fn group(&self, shard: ShardId) -> Result<Group, AnswerError> {
        let state = self.state.lock();
        state.groups.get(&shard).map(|running| running.group.clone()).ok_or(AnswerError::NoGroup { shard })
    }

    /// Stops the group and removes its log. The state machine's own storage is its owner's to remove.
    pub async fn remove_group(&self, shard: ShardId) -> Result<(), StorageError> {
        let running = self.state.lock().groups.remove(&shard);
        if let Some(running) = running {
            running.stop().await;
        }
        let logs = self.logs.clone();
        let remove = move || {
            logs.remove(shard)?;
            logs.remove_node_entry(&joining(shard))
        };
        run_blocking(&self.logs, remove).await
    }

    /// Stops every group and flushes its state machine. Returns the first error, after having tried them all.
    pub async fn shutdown(&self) -> Result<(), StorageError> {
        let groups = std::mem::take(&mut self.state.lock().groups);
        let stops = groups.into_values().map(|running| async {
            let machine = running.machine.clone();
            running.stop().await;
            run_blocking(&self.logs, move || machine.flush()).await
        });
        let outcome = futures::future::join_all(stops).await.into_iter().collect();
        self.state.lock().flusher = None;
        outcome
    }

    /// This node's id: chosen at random once, and kept.
    pub fn id(&self) -> Result<u64, StartError> {
        self.id_of(&mut self.state.lock())
    }

    fn id_of(&self, state: &mut State) -> Result<NodeId, StartError> {
        match state.node_id {
            Some(node_id) => Ok(node_id),
            None => Ok(*state.node_id.insert(node_id(&self.logs).map_err(StartError::Storage)?)),
        }
    }

    fn identity_and_flusher(&self, shard: ShardId) -> Result<(NodeId, Arc<Flusher>), StartError> {
        let mut state = self.state.lock();
        let flusher = match &state.flusher {
            Some(flusher) => flusher.clone(),
            None => {
                let flusher = Flusher::start(self.logs.clone())
                    .map_err(|error| StartError::Failed { shard, what: error.to_string() })?;
                state.flusher.insert(Arc::new(flusher)).clone()
            }
        };
        Ok((self.id_of(&mut state)?, flusher))
    }

    fn config(&self, shard: ShardId, is_joining: bool) -> Result<Arc<Config>, String> {
        let config = Config {
            enable_elect: !is_joining,
            cluster_name: format!("shard {shard}"),
            heartbeat_interval: 150,
            heartbeat_min_interval: Some(0),
            // A follower waits for the longest of these before it believes that there is no leader, then for one of its own.
            election_timeout_min: 750,
            election_timeout_max: 1_250,
            enable_pre_vote: Some(true),
            // The stored state may be older than what was served before a crash; a new term commits the whole log
            // before anything is served.
            enable_leader_restore: Some(false),
            snapshot_policy: SnapshotPolicy::Never,
            // What is purged behind a snapshot is decided here (see `purgeable`).
            max_in_snapshot_log_to_keep: u64::MAX,
            // Each part of a transfer has a limit; the whole takes as long as it takes.
            install_snapshot_timeout: 24 * 3_600_000,
            max_append_entries: Some(APPEND_ENTRIES_MAX),
            api_batch_capacity: APPEND_ENTRIES_MAX,
            api_channel_size: Some(self.settings.queue_entries_max as u64 + 64),
            ..Config::default()
        };
        config.validate().map(Arc::new).map_err(|error| error.to_string())
    }
}

impl Running {
    /// Returns once nothing of the group touches storage any more.
    async fn stop(mut self) {
        self.group.progress.stop();
        self.snapshots.abort();
        if let Err(error) = self.group.raft.shutdown().await {
            tracing::error!(shard = %self.group.shard, %error, "the group's task failed while stopping");
        }
        while self.released.recv().await.is_some() {}
    }
}

/// What the group answered, unless it has stopped.
fn running<T>(shard: ShardId, outcome: Result<T, openraft::error::RaftError<Types>>) -> Result<T, AnswerError> {
    outcome.map_err(|_| AnswerError::Stopped { shard })
}

/// Name in `raftdb` of the mark of a group that this node joins.
fn joining(shard: ShardId) -> String {
    format!("joining {shard}")
}

/// Lets this node stand for election once it is known to have a vote: whatever its log says before that may be long past. A
/// node that was a group's only member, left, and comes back would elect itself when it reads of its first membership.
///
/// Known is what the log says once it reaches as far as `committed`, which the leader of `term` had committed when it sent this:
/// an entry of its own term, before which it may not know what others have committed.
async fn end_joining(group: &Group, term: u64, committed: Option<LogId>) {
    let Some(committed) = committed.filter(|committed| committed.leader_id.term == term) else { return };
    if group.status().last_log_index < Some(committed.index) || !group.has_vote() {
        return;
    }
    let (logs, entry) = (group.logs.clone(), joining(group.shard));
    // Durable first: a lone voter that believed after a crash that it still joins would wait for a leader for ever.
    let removed = run_blocking(&group.logs, move || {
        logs.remove_node_entry(&entry)?;
        logs.sync()
    });
    match removed.await {
        Ok(()) => {
            group.is_joining.store(false, Ordering::Release);
            group.raft.runtime_config().elect(true);
        }
        Err(error) => tracing::warn!(shard = %group.shard, %error, "it cannot be noted that this node counts"),
    }
}

/// Asks for a snapshot each time enough was applied, and for the log behind it to be purged. Ends with the group.
async fn trigger_snapshots(group: Group, log_kept_bytes: u64) {
    let mut flushed = group.status().flushed;
    loop {
        group.progress.snapshot_due.notified().await;
        if group.raft.trigger().snapshot().await.is_err() {
            return;
        }
        let wait = group.raft.wait(None);
        let built = wait.metrics(|metrics| metrics.snapshot.map(|at| at.index) > flushed, "a snapshot");
        let Ok(metrics) = built.await else { return };
        flushed = metrics.snapshot.map(|at| at.index);
        if let Some(upto) = purgeable(&group, flushed, log_kept_bytes)
            && group.raft.trigger().purge_log(upto).await.is_err()
        {
            return;
        }
    }
}

/// The last entry that nobody needs: all that is flushed if there is no other node; otherwise what all others have too, or
/// what lies so far back that the state is sooner sent than the log. What follows a state that is on its way is kept: who
/// gets that goes on from there.
fn purgeable(group: &Group, flushed: Option<u64>, log_kept_bytes: u64) -> Option<u64> {
    let flushed = flushed?;
    let members = group.members();
    let others = members.voters.keys().chain(members.learners.keys()).filter(|id| **id != group.node_id);
    let Some(slowest) = others.map(|id| members.matched.get(id).copied().unwrap_or(0)).min() else {
        return Some(flushed);
    };
    let kept = group.logs.bounds(group.shard);
    let count = kept.indexes.end - kept.indexes.start;
    let affordable = (u128::from(log_kept_bytes) * u128::from(count) / u128::from(kept.bytes.max(1))) as u64;
    let upto = flushed.min(kept.indexes.end.saturating_sub(affordable.max(1)).max(slowest));
    let upto = group.progress.sent_from().map_or(upto, |from| upto.min(from));
    (upto >= kept.indexes.start).then_some(upto)
}

fn members(founders: Vec<Peer>) -> BTreeMap<NodeId, BasicNode> {
    founders.into_iter().map(|peer| (peer.id, BasicNode::new(peer.address))).collect()
}

/// Gets the group going. Whether this node is its lone voter; then it leads and has recovered.
async fn begin(
    raft: &Raft<Types, Applier>,
    node_id: NodeId,
    start: Start,
    is_joining: bool,
    timeout: Duration,
) -> Result<bool, String> {
    let is_initialized = raft.is_initialized().await.map_err(|error| error.to_string())?;
    let is_lone_voter = match (is_initialized, start) {
        (false, Start::Wait | Start::Join) => false,
        (true, _) if is_joining => false,
        (false, Start::Found(founders)) => {
            let mut members = members(founders);
            members.entry(node_id).or_default();
            let is_lone_voter = members.len() == 1;
            raft.initialize(members).await.map_err(|error| error.to_string())?;
            is_lone_voter
        }
        (true, _) => {
            let lone_voter = move |state: &openraft::RaftState<Types>| {
                state.membership_state.effective().membership().voter_ids().eq([node_id])
            };
            let is_lone_voter = raft.with_raft_state(lone_voter).await.map_err(|error| error.to_string())?;
            if is_lone_voter {
                // It need not wait for its election timeout.
                raft.trigger().elect(false).await.map_err(|error| error.to_string())?;
            }
            is_lone_voter
        }
    };
    if is_lone_voter {
        raft.wait_for_recovery(Some(timeout)).await.map_err(|error| error.to_string())?;
    }
    Ok(is_lone_voter)
}

/// The number of the node that `logs` belong to: chosen at random and made durable at the first boot, then kept.
pub fn node_id(logs: &LogDb) -> Result<NodeId, StorageError> {
    if let Some(stored) = logs.node_entry(NODE_ID)? {
        return match stored.try_into() {
            Ok(bytes) => Ok(NodeId::from_le_bytes(bytes)),
            Err(_) => Err(logs.damaged("the node's number has not 8 bytes".to_owned())),
        };
    }
    // std seeds its hash maps from the system's random numbers, which is all that is needed here. Never 0, which
    // would read as "none".
    let node_id = RandomState::new().build_hasher().finish().max(1);
    logs.put_node_entry(NODE_ID, &node_id.to_le_bytes())?;
    logs.sync()?;
    Ok(node_id)
}

async fn run_blocking(
    logs: &LogDb,
    work: impl FnOnce() -> Result<(), StorageError> + Send + 'static,
) -> Result<(), StorageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(outcome) => outcome,
        Err(error) => Err(StorageError::Failed { path: logs.folder().to_owned(), what: error.to_string() }),
    }
}
