//! One Raft group, as the rest of the program uses it.

use std::sync::Arc;

use openraft::Raft;
use openraft::async_runtime::WatchReceiver;
use openraft::error::{ClientWriteError, RaftError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::applier::{Applier, Progress};
use super::encoding::{Command, Types};
use super::flusher::Flusher;
use super::{ProposeError, Proposed};
use crate::model::ShardId;
use crate::storage::{LogDb, StorageError};

/// A cheap handle on one group.
#[derive(Clone)]
pub struct Group {
    pub(super) shard: ShardId,
    pub(super) raft: Raft<Types, Applier>,
    pub(super) logs: Arc<LogDb>,
    pub(super) flusher: Arc<Flusher>,
    pub(super) progress: Arc<Progress>,
    /// One permit per proposal under way.
    pub(super) queue_entries: Arc<Semaphore>,
    /// One permit per byte of proposals under way.
    pub(super) queue_bytes: Arc<Semaphore>,
}

/// Where a group stands. Indexes are `None` in an empty log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// Whose group.
    pub shard: ShardId,
    /// Raft's term.
    pub term: u64,
    /// The last entry in the log.
    pub last_log_index: Option<u64>,
    /// The last entry a majority has synced.
    pub committed: Option<u64>,
    /// The last entry the state machine has.
    pub applied: Option<u64>,
    /// Everything up to here is flushed by the state machine.
    pub flushed: Option<u64>,
    /// Everything up to here is removed from the log.
    pub purged: Option<u64>,
    /// Leads and runs.
    pub is_leader: bool,
    /// Bytes of the entries in the log.
    pub log_bytes: u64,
}

impl Group {
    /// Whose group this is.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Resolves when the command is committed and applied here. Dropping the future does not withdraw it.
    pub async fn propose(&self, command: Vec<u8>) -> Result<Proposed, ProposeError> {
        self.check_writable()?;
        let entry_permit = self.permit(&self.queue_entries, 1)?;
        let byte_permit = self.permit(&self.queue_bytes, command.len())?;
        let (raft, shard) = (self.raft.clone(), self.shard);
        // A task of its own: the proposal goes on, and keeps its share of the queue, when the caller stops waiting.
        let task = tokio::spawn(async move {
            let _under_way = (entry_permit, byte_permit);
            raft.client_write(Command(command)).await
        });
        match task.await {
            Ok(Ok(written)) => Ok(Proposed { index: written.log_id.index, reply: written.data.0 }),
            Ok(Err(RaftError::APIError(ClientWriteError::ForwardToLeader(_)))) => {
                Err(ProposeError::Unavailable { shard, why: "it has no leader here" })
            }
            Ok(Err(error)) => Err(ProposeError::Unknown { shard, why: error.to_string() }),
            Err(error) => Err(ProposeError::Unknown { shard, why: error.to_string() }),
        }
    }

    /// After this returns, a local read sees every write acknowledged before the call.
    ///
    /// Free for a lone voter: no other node can lead, [`Group::propose`] answers only after applying here, and the
    /// group was handed out only after it had recovered. So all that is left to check is that it still leads.
    pub async fn read_barrier(&self) -> Result<(), ProposeError> {
        self.check_leads()
    }

    /// Where the group stands now.
    pub fn status(&self) -> GroupStatus {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        GroupStatus {
            shard: self.shard,
            term: metrics.current_term,
            last_log_index: metrics.last_log_index,
            committed: metrics.cluster_committed.map(|log_id| log_id.index),
            applied: metrics.last_applied.map(|log_id| log_id.index),
            flushed: metrics.snapshot.map(|log_id| log_id.index),
            purged: metrics.purged.map(|log_id| log_id.index),
            is_leader: metrics.running_state.is_ok() && metrics.state.is_leader(),
            log_bytes: self.logs.bounds(self.shard).bytes,
        }
    }

    fn check_leads(&self) -> Result<(), ProposeError> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let why = match (&metrics.running_state, metrics.state.is_leader()) {
            (Ok(()), true) => return Ok(()),
            (Ok(()), false) => "it has no leader here",
            (Err(_), _) => "it has stopped",
        };
        Err(ProposeError::Unavailable { shard: self.shard, why })
    }

    /// Everything that can refuse a proposal before it exists.
    fn check_writable(&self) -> Result<(), ProposeError> {
        if let Some(failure) = self.flusher.failure() {
            tracing::debug!(shard = %self.shard, error = %failure, "refusing a proposal after a failed sync");
            let why = "the log could not be synced; the node must be restarted";
            return Err(ProposeError::Unavailable { shard: self.shard, why });
        }
        self.check_leads()?;
        self.logs.check_room().map_err(|error| ProposeError::Storage(Arc::new(error)))?;
        if self.progress.is_out_of_disk() {
            let path = self.logs.folder().to_owned();
            return Err(ProposeError::Storage(Arc::new(StorageError::OutOfDisk { path })));
        }
        Ok(())
    }

    fn permit(&self, queue: &Arc<Semaphore>, count: usize) -> Result<OwnedSemaphorePermit, ProposeError> {
        let full = || ProposeError::QueueFull { shard: self.shard };
        let count = u32::try_from(count).map_err(|_| full())?;
        queue.clone().try_acquire_many_owned(count).map_err(|_| full())
    }
}
