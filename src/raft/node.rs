//! This process's groups, the log database they share and its flusher.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::Arc;
use std::time::Duration;

use openraft::impls::BasicNode;
use openraft::{Config, Raft, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinHandle;

use super::StateMachine;
use super::applier::{Applier, Progress};
use super::encoding::NodeId;
use super::flusher::Flusher;
use super::group::Group;
use super::log_store::LogStore;
use super::peers::NoPeers;
use crate::model::ShardId;
use crate::storage::{LogDb, StorageError};

/// Entries in one append to the log: what one group can put under one sync.
const APPEND_ENTRIES_MAX: u64 = 1024;

/// Name of the node's number in `raftdb`.
const NODE_ID: &str = "node_id";

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

/// This process's part in all groups.
pub struct Node {
    logs: Arc<LogDb>,
    settings: Settings,
    state: Mutex<State>,
}

/// Held for moments only, never across an await.
#[derive(Default)]
struct State {
    /// Started with the first group.
    flusher: Option<Arc<Flusher>>,
    node_id: Option<NodeId>,
    groups: BTreeMap<ShardId, Running>,
}

struct Running {
    group: Group,
    machine: Arc<dyn StateMachine>,
    snapshots: JoinHandle<()>,
    /// Ends when everything that used the group's storage is dropped.
    released: mpsc::Receiver<()>,
}

impl Node {
    /// A node without groups over `logs`.
    pub fn new(logs: Arc<LogDb>, settings: Settings) -> Node {
        Node { logs, settings, state: Mutex::default() }
    }

    /// Opens or creates the group of `shard` with this node as the lone voter; returns once it leads and has applied
    /// all it had committed before (recovery done).
    pub async fn start_group(&self, shard: ShardId, machine: Arc<dyn StateMachine>) -> Result<Group, StartError> {
        let failed = |what: String| StartError::Failed { shard, what };
        if self.state.lock().groups.contains_key(&shard) {
            return Err(StartError::Running { shard });
        }
        let (node_id, flusher) = self.identity_and_flusher(shard)?;
        let (in_use, released) = mpsc::channel(1);
        let progress = Arc::new(Progress::new(self.settings.snapshot_entries, self.settings.snapshot_bytes));
        let applier = Applier::new(machine.clone(), progress.clone(), in_use.clone())
            .map_err(|error| failed(error.to_string()))?;
        if let Some(applied) = applier.applied_index() {
            self.logs.check_reaches(shard, applied).map_err(StartError::Storage)?;
        }
        let log_store = LogStore {
            shard,
            logs: self.logs.clone(),
            flusher: flusher.clone(),
            progress: progress.clone(),
            _in_use: in_use,
        };
        let config = self.config(shard).map_err(failed)?;
        let raft =
            Raft::new(node_id, config, NoPeers, log_store, applier).await.map_err(|error| failed(error.to_string()))?;
        let group = Group {
            shard,
            raft: raft.clone(),
            logs: self.logs.clone(),
            flusher,
            progress: progress.clone(),
            queue_entries: Arc::new(Semaphore::new(self.settings.queue_entries_max)),
            queue_bytes: Arc::new(Semaphore::new(self.settings.queue_bytes_max)),
        };
        let snapshots = tokio::spawn(trigger_snapshots(raft.clone(), progress));
        let running = Running { group: group.clone(), machine, snapshots, released };
        if let Err(what) = lead_and_recover(&raft, node_id, self.settings.start_timeout).await {
            running.stop().await;
            return Err(failed(what));
        }
        let twin = self.state.lock().groups.insert(shard, running);
        assert!(twin.is_none(), "shard {shard} was started twice at the same time");
        Ok(group)
    }

    /// Stops the group and removes its log. The state machine's own storage is its owner's to remove.
    pub async fn remove_group(&self, shard: ShardId) -> Result<(), StorageError> {
        let running = self.state.lock().groups.remove(&shard);
        if let Some(running) = running {
            running.stop().await;
        }
        let logs = self.logs.clone();
        run_blocking(&self.logs, move || logs.remove(shard)).await
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
            None => Ok(*state.node_id.insert(stored_node_id(&self.logs).map_err(StartError::Storage)?)),
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

    fn config(&self, shard: ShardId) -> Result<Arc<Config>, String> {
        let config = Config {
            cluster_name: format!("shard {shard}"),
            heartbeat_interval: 150,
            heartbeat_min_interval: Some(0),
            election_timeout_min: 1_000,
            election_timeout_max: 2_000,
            enable_pre_vote: Some(true),
            // The stored state may be older than what was served before a crash; a new term commits the whole log
            // before anything is served.
            enable_leader_restore: Some(false),
            snapshot_policy: SnapshotPolicy::Never,
            max_in_snapshot_log_to_keep: 0,
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

/// Asks for a snapshot each time enough was applied. Ends with the group.
async fn trigger_snapshots(raft: Raft<super::encoding::Types, Applier>, progress: Arc<Progress>) {
    loop {
        progress.snapshot_due.notified().await;
        if raft.trigger().snapshot().await.is_err() {
            return;
        }
    }
}

async fn lead_and_recover(
    raft: &Raft<super::encoding::Types, Applier>,
    node_id: NodeId,
    timeout: Duration,
) -> Result<(), String> {
    let is_initialized = raft.is_initialized().await.map_err(|error| error.to_string())?;
    if is_initialized {
        // A lone voter need not wait for its election timeout.
        raft.trigger().elect(false).await.map_err(|error| error.to_string())?;
    } else {
        let members = BTreeMap::from([(node_id, BasicNode::default())]);
        raft.initialize(members).await.map_err(|error| error.to_string())?;
    }
    raft.wait_for_recovery(Some(timeout)).await.map_err(|error| error.to_string())?;
    Ok(())
}

/// The node's number; chosen and made durable at the first boot.
fn stored_node_id(logs: &LogDb) -> Result<NodeId, StorageError> {
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
