//! One Raft group, as the rest of the program uses it: the same on every replica, whoever leads.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use openraft::async_runtime::WatchReceiver;
use openraft::error::{ClientWriteError, LinearizableReadError, RaftError};
use openraft::impls::BasicNode;
use openraft::metrics::{RaftMetrics, WaitError};
use openraft::raft::ReadPolicy;
use openraft::{ChangeMembers, Instant as _, Raft};
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Instant;

use super::applier::{Applier, Progress};
use super::encoding::{Command, NodeId, Types};
use super::flusher::Flusher;
use super::transport::{Ask, Message, Peer, Transport, TransportError};
use super::wire::{self, Answer, Change};
use super::{ProposeError, Proposed};
use crate::model::ShardId;
use crate::storage::{LogDb, StorageError};

/// How long a call waits for a leader: longer than two elections that go badly.
pub(super) const LEADER_WAIT_MAX: Duration = Duration::from_secs(10);
/// How often it looks again, at least.
pub(super) const LEADER_LOOK: Duration = Duration::from_millis(50);
/// How long the leader may take for a command. Who waits less drops the call.
pub(super) const PROPOSE_MAX: Duration = Duration::from_secs(60);
/// How long a round of heartbeats, or an answer to a small question, may take.
pub(super) const ROUND_MAX: Duration = Duration::from_secs(2);
/// How long a replica may be behind the leader before a read is refused there.
const CATCH_UP_MAX: Duration = Duration::from_secs(10);

/// A cheap handle on one group.
#[derive(Clone)]
pub struct Group {
    pub(super) shard: ShardId,
    pub(super) node_id: NodeId,
    pub(super) raft: Raft<Types, Applier>,
    pub(super) logs: Arc<LogDb>,
    pub(super) flusher: Arc<Flusher>,
    pub(super) progress: Arc<Progress>,
    pub(super) transport: Arc<dyn Transport>,
    /// No other node can lead: this one is the only voter, and only it can change that. Cleared before it does.
    pub(super) is_alone: Arc<AtomicBool>,
    /// It is not known yet that this node has a vote: what its log says of that may be long past.
    pub(super) is_joining: Arc<AtomicBool>,
    /// When this node last heard of a leader that it follows. Held for moments only.
    pub(super) heard: Arc<Mutex<Option<Instant>>>,
    /// One permit per proposal under way.
    pub(super) queue_entries: Arc<Semaphore>,
    /// One permit per byte of proposals under way.
    pub(super) queue_bytes: Arc<Semaphore>,
}

/// Where a group stands on this node. Indexes are `None` in an empty log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupStatus {
    /// Whose group.
    pub shard: ShardId,
    /// Raft's term.
    pub term: u64,
    /// The last entry in the log.
    pub last_log_index: Option<u64>,
    /// The last entry a majority has synced, as far as this replica knows.
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

/// Who belongs to a group, as this replica knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupMembers {
    /// Who leads, if that is known.
    pub leader: Option<u64>,
    /// Have a vote, by number.
    pub voters: BTreeMap<u64, Peer>,
    /// Have the log and no vote, by number.
    pub learners: BTreeMap<u64, Peer>,
    /// On the leader: up to where each member has the log.
    pub matched: BTreeMap<u64, u64>,
    /// On the leader: how long ago each other member was heard of.
    pub heard: BTreeMap<u64, Duration>,
    /// While a change of voters is under way: the voters there will be.
    pub next_voters: Option<BTreeSet<u64>>,
}

impl Group {
    /// Whose group this is.
    pub fn shard(&self) -> ShardId {
        self.shard
    }

    /// Resolves when the command is committed and applied on the leader, which is asked if it is another node. Waits a while
    /// for a leader if there is none. Dropping the future does not withdraw it.
    pub async fn propose(&self, command: Vec<u8>) -> Result<Proposed, ProposeError> {
        if self.is_alone() {
            return self.propose_here(command).await;
        }
        let command = &command;
        // Boxed: it is the rare way, and large.
        Box::pin(self.at_leader(
            || self.propose_here(command.clone()),
            |leader| async move {
                let answer = self.ask(&leader, Ask::Propose, command.clone(), PROPOSE_MAX).await?;
                wire::decode_proposed(&answer, self.shard).unwrap_or_else(|error| Err(self.unknown(error)))
            },
        ))
        .await
    }

    /// As [`Group::propose`] on the leader; [`ProposeError::NoLeader`] elsewhere.
    pub(super) async fn propose_here(&self, command: Vec<u8>) -> Result<Proposed, ProposeError> {
        self.check_writable()?;
        let entry_permit = self.permit(&self.queue_entries, 1)?;
        let byte_permit = self.permit(&self.queue_bytes, command.len())?;
        let raft = self.raft.clone();
        // A task of its own: the proposal goes on, and keeps its share of the queue, when the caller stops waiting.
        let task = tokio::spawn(async move {
            let _under_way = (entry_permit, byte_permit);
            raft.client_write(Command(command)).await
        });
        match task.await {
            Ok(Ok(written)) => Ok(Proposed { index: written.log_id.index, reply: written.data.0 }),
            Ok(Err(error)) => Err(self.refused(error)),
            Err(error) => Err(self.unknown(error)),
        }
    }

    /// After this returns, a local read sees every write acknowledged before the call.
    ///
    /// Free for a lone voter: no other node can lead, [`Group::propose`] answers only after applying here, and the
    /// group was handed out only after it had recovered. So all that is left to check is that it still leads. Otherwise a
    /// round of heartbeats confirms the leader, whichever node it is; reads that wait at the same time share one.
    pub async fn read_barrier(&self) -> Result<(), ProposeError> {
        if self.is_alone() {
            return self.check_leads();
        }
        let index = self.at_leader(
            || self.read_index(),
            |leader| async move {
                let answer = self.ask(&leader, Ask::ReadIndex, Vec::new(), ROUND_MAX).await;
                // A question without effect: whatever went wrong, it may be asked again.
                let answer = answer.map_err(|_| self.no_leader())?;
                let index: Answer<u64> = wire::decode(&answer).map_err(|_| self.no_leader())?;
                index.map_err(|refusal| refusal.into_error(self.shard))
            },
        );
        let index = Box::pin(index).await?;
        self.wait_applied(index).await
    }

    /// After this returns, a local read sees what the entry of this index did.
    pub async fn wait_applied(&self, index: u64) -> Result<(), ProposeError> {
        let applied = self.raft.wait(Some(CATCH_UP_MAX)).applied_index_at_least(Some(index), "a read").await;
        applied.map(|_| ()).map_err(|error| match error {
            WaitError::Timeout(..) => self.unavailable("this replica is behind its leader"),
            WaitError::ShuttingDown => self.unavailable("it has stopped"),
        })
    }

    /// Up to where a read must have applied the log to see every write acknowledged before the call.
    /// [`ProposeError::NoLeader`] elsewhere than on the leader.
    pub(super) async fn read_index(&self) -> Result<u64, ProposeError> {
        match tokio::time::timeout(ROUND_MAX, self.raft.get_read_log_id(ReadPolicy::ReadIndex)).await {
            Ok(Ok((read_log_id, _))) => Ok(read_log_id.index()),
            Ok(Err(RaftError::Fatal(_))) => Err(self.unavailable("it has stopped")),
            Ok(Err(RaftError::APIError(
                LinearizableReadError::ForwardToLeader(_) | LinearizableReadError::QuorumNotEnough(_),
            )))
            | Err(_) => Err(self.no_leader()),
        }
    }

    /// Changes the members, on the leader, wherever that is. Resolves when the change is committed; a new learner may still
    /// be behind then.
    pub async fn change(&self, change: Change) -> Result<(), ProposeError> {
        self.at_leader(
            || self.change_here(change.clone()),
            |leader| {
                let body = wire::encode(&change);
                async move {
                    let body = body.map_err(|error| self.unavailable(error.to_string()))?;
                    let answer = self.ask(&leader, Ask::Change, body, PROPOSE_MAX).await?;
                    let answer: Answer<()> = wire::decode(&answer).map_err(|error| self.unknown(error))?;
                    answer.map_err(|refusal| refusal.into_error(self.shard))
                }
            },
        )
        .await
    }

    /// As [`Group::change`], if this node leads; [`ProposeError::NoLeader`] otherwise: what was planned from one leader's view
    /// is not carried out by another.
    pub async fn change_here(&self, change: Change) -> Result<(), ProposeError> {
        self.check_leads()?;
        // From the moment another node may have a vote, reads must ask.
        self.is_alone.store(false, Ordering::Release);
        let changed = match change {
            Change::AddLearner(peer) => self.raft.add_learner(peer.id, BasicNode::new(peer.address), false).await,
            Change::SetVoters(voters) => self.raft.change_membership(voters, false).await,
            Change::RemoveLearner(id) => {
                self.raft.change_membership(ChangeMembers::RemoveNodes([id].into()), false).await
            }
            // openraft stops writing while it hands over, and goes on only once another node leads.
            Change::Lead(to) if to == self.node_id || !self.members().voters.contains_key(&to) => {
                return Err(self.unavailable(format!("node {to} is not another voter")));
            }
            Change::Lead(to) => {
                let told = self.raft.trigger().transfer_leader(to).await;
                return told.map_err(|_| self.unavailable("it has stopped"));
            }
        };
        changed.map(|_| ()).map_err(|error| self.refused(error))
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

    /// Who belongs to the group.
    pub fn members(&self) -> GroupMembers {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let membership = metrics.membership_config.membership();
        let voter_ids: Vec<NodeId> = membership.voter_ids().collect();
        let peer = |(id, node): (&NodeId, &BasicNode)| (*id, Peer { id: *id, address: node.addr.clone() });
        let (voters, learners) = membership.nodes().map(peer).partition(|(id, _)| voter_ids.contains(id));
        let matched = metrics.replication.iter().flatten();
        let joint = membership.get_joint_config();
        let heard = metrics.heartbeat.iter().flatten();
        GroupMembers {
            leader: metrics.current_leader,
            voters,
            learners,
            matched: matched.filter_map(|(id, log_id)| Some((*id, log_id.as_ref()?.index))).collect(),
            heard: heard.filter_map(|(id, at)| Some((*id, at.as_ref()?.elapsed()))).collect(),
            next_voters: joint.split_first().and_then(|(_, rest)| rest.last()).cloned(),
        }
    }

    /// Whether this node counts: it has a vote, and the group runs. The state of one that has none may be anything.
    pub fn counts(&self) -> bool {
        if self.is_alone() {
            return !self.is_stopped();
        }
        !self.is_joining.load(Ordering::Acquire) && self.has_vote() && !self.is_stopped()
    }

    /// How long ago this node knew that it belongs to a majority: it heard of the leader, or leads and heard of the others.
    /// `None`: it never has.
    pub fn in_touch(&self) -> Option<Duration> {
        if self.is_alone() {
            return Some(Duration::ZERO);
        }
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        let is_only_voter = || metrics.membership_config.membership().voter_ids().eq([self.node_id]);
        match metrics.state.is_leader() {
            // It needs nobody's word, and openraft notes only that of others.
            true if is_only_voter() => Some(Duration::ZERO),
            true => metrics.last_quorum_acked.map(|at| at.elapsed()),
            false => self.heard.lock().map(|at| at.elapsed()),
        }
    }

    pub(super) fn note_heard(&self) {
        *self.heard.lock() = Some(Instant::now());
    }

    /// Whether this node has a vote, as far as its log says.
    pub(super) fn has_vote(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        metrics.membership_config.membership().voter_ids().any(|id| id == self.node_id)
    }

    /// The last entry that has been applied here; 0 if there is none.
    pub fn applied_index(&self) -> u64 {
        self.raft.metrics().borrow_watched().last_applied.map_or(0, |log_id| log_id.index)
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.raft.metrics().borrow_watched().running_state.is_err()
    }

    pub(super) fn is_alone(&self) -> bool {
        self.is_alone.load(Ordering::Acquire)
    }

    /// Does something on the leader: again while none is known, or none that can be reached, or it has moved.
    async fn at_leader<T, H, R>(&self, here: impl Fn() -> H, there: impl Fn(Peer) -> R) -> Result<T, ProposeError>
    where
        H: Future<Output = Result<T, ProposeError>>,
        R: Future<Output = Result<T, ProposeError>>,
    {
        let until = Instant::now() + LEADER_WAIT_MAX;
        loop {
            let leader = self.leader()?;
            let asked = leader.as_ref().map(|leader| leader.id);
            let outcome = match leader {
                Some(leader) if leader.id == self.node_id => here().await,
                Some(leader) => there(leader).await,
                None => Err(self.no_leader()),
            };
            if !matches!(outcome, Err(ProposeError::NoLeader { .. })) || Instant::now() >= until {
                return outcome;
            }
            let is_news =
                |metrics: &RaftMetrics<Types>| metrics.current_leader.is_some() && metrics.current_leader != asked;
            // The same one may be asked again after a while.
            let _ = self.raft.wait(Some(LEADER_LOOK)).metrics(is_news, "a leader").await;
        }
    }

    /// Who leads, as far as this replica knows.
    fn leader(&self) -> Result<Option<Peer>, ProposeError> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        if metrics.running_state.is_err() {
            return Err(self.unavailable("it has stopped"));
        }
        let Some(id) = metrics.current_leader else { return Ok(None) };
        let node = metrics.membership_config.membership().get_node(&id);
        Ok(node.map(|node| Peer { id, address: node.addr.clone() }))
    }

    async fn ask(&self, to: &Peer, ask: Ask, body: Vec<u8>, within: Duration) -> Result<Vec<u8>, ProposeError> {
        let message = Message { shard: self.shard, ask, body };
        self.transport.ask(to, message, within).await.map_err(|error| match error {
            TransportError::Unreachable { .. } => self.no_leader(),
            TransportError::NoAnswer { .. } => self.unknown(error),
        })
    }

    fn check_leads(&self) -> Result<(), ProposeError> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        match (&metrics.running_state, metrics.state.is_leader()) {
            (Ok(()), true) => Ok(()),
            (Ok(()), false) => Err(self.no_leader()),
            (Err(_), _) => Err(self.unavailable("it has stopped")),
        }
    }

    /// Everything that can refuse a proposal before it exists.
    fn check_writable(&self) -> Result<(), ProposeError> {
        self.check_leads()?;
        if let Some(failure) = self.flusher.failure() {
            tracing::debug!(shard = %self.shard, error = %failure, "refusing a proposal after a failed sync");
            return Err(self.unavailable("the log could not be synced; the node must be restarted"));
        }
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

    fn refused(&self, error: RaftError<Types, ClientWriteError<Types>>) -> ProposeError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(_)) => self.no_leader(),
            RaftError::APIError(ClientWriteError::ChangeMembershipError(error)) => self.unavailable(error.to_string()),
            // The entry was in the log: another leader may commit it still.
            other => self.unknown(other),
        }
    }

    fn no_leader(&self) -> ProposeError {
        ProposeError::NoLeader { shard: self.shard }
    }

    fn unavailable(&self, why: impl Into<std::borrow::Cow<'static, str>>) -> ProposeError {
        ProposeError::Unavailable { shard: self.shard, why: why.into() }
    }

    fn unknown(&self, why: impl ToString) -> ProposeError {
        ProposeError::Unknown { shard: self.shard, why: why.to_string() }
    }
}
