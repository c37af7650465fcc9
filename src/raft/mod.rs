//! Raft groups over `storage`. The only room that names openraft.
//!
//! A group replicates opaque commands to a [`StateMachine`]; it knows neither points nor collections.
//!
//! The way of one proposal: [`Group::propose`] checks free space and the queue's bounds; openraft's core takes all
//! proposals that wait and appends them at once ([`log_store`]); the node's one flusher thread syncs the log of all
//! groups together ([`flusher`]); the core commits; the applier hands whole runs of entries to the state machine on a
//! blocking thread ([`applier`]) and answers.
//!
//! Invariants:
//! - A proposal is answered only after its entry is synced on a majority and applied here.
//! - A log is purged only behind a finished flush of the state machine: the log is the state machine's write-ahead
//!   log.
//! - After a failed sync a group takes nothing more until the node is reopened.
//! - A full disk is refused before anything is appended, because openraft takes a storage error as the group's end;
//!   the reserve lets what is under way finish.
//! - Every replica takes proposals and reads. What only the leader can do is asked of it ([`wire`]), again when it has
//!   moved, but never when the first attempt may have had an effect.
//! - A snapshot that was received takes the place of the state at once or not at all.
//!
//! What it deliberately does not do: know how bytes reach another node ([`Transport`]), and decide who the members of a
//! group are.

mod applier;
mod distant;
mod encoding;
mod flusher;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod group;
mod log_store;
mod node;
mod peers;
mod shard_machine;
mod transport;
mod wire;

pub use distant::{DistantGroup, LeaderHint, Members};
pub use group::{Group, GroupMembers, GroupStatus};
pub use node::{AnswerError, Node, Settings, StartError, node_id};
pub use transport::{Ask, Message, Peer, Transport, TransportError};
pub use wire::Change;

use std::borrow::Cow;
use std::path::Path;
use std::sync::Arc;

use crate::model::ShardId;
use crate::storage::StorageError;

/// Where a state machine stands: the last applied log id and membership, encoded by this room, opaque to others.
/// Stored by the state machine in the same atomic batch as the entries' effects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position(pub Vec<u8>);

/// One committed log entry.
pub struct Committed<'a> {
    /// The log index: the shard-local sequence number of the change.
    pub index: u64,
    /// The proposed bytes; `None` for entries of Raft's own (blank, membership), which only move the position.
    pub command: Option<&'a [u8]>,
}

/// What a group drives. `apply` is called from one blocking thread at a time; `flush` may run beside it.
pub trait StateMachine: Send + Sync + 'static {
    /// Applies `entries` in order and stores `position` in the same atomic batch. Deterministic: same log, same state.
    /// Returns one reply per entry that has a command, in order. After an error nothing of `entries` has taken effect;
    /// after [`StorageError::OutOfDisk`] the same entries are applied again once there is room.
    fn apply(&self, entries: &[Committed<'_>], position: &Position) -> Result<Vec<Vec<u8>>, StorageError>;
    /// The position of the stored state; `None` before the first apply.
    fn position(&self) -> Result<Option<Position>, StorageError>;
    /// Makes everything applied so far durable (an atomic flush); only then may the log behind it be purged.
    fn flush(&self) -> Result<(), StorageError>;
    /// Whether writers of other nodes should come back later. Those of this node ask for themselves.
    fn is_behind(&self) -> bool {
        false
    }
    /// Writes the state as it is at one moment into the empty `folder`, as files. Returns its position. May run beside
    /// `apply`.
    fn export(&self, folder: &Path) -> Result<Position, StorageError>;
    /// Puts the state that `folder` holds, which stands at `position`, in the place of this one, durably: all of it or,
    /// after an error or a crash, nothing.
    fn import(&self, folder: &Path, position: &Position) -> Result<(), StorageError>;
}

/// Why a proposal has no reply.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// Not accepted, certainly not applied: no leader was found in time. May be retried.
    #[error("the group of shard {shard} has no leader now")]
    NoLeader {
        /// Whose group.
        shard: ShardId,
    },
    /// Not accepted, certainly not applied: the group stopped. May be retried.
    #[error("the group of shard {shard} takes no proposals now: {why}")]
    Unavailable {
        /// Whose group.
        shard: ShardId,
        /// Reads on from "takes no proposals now:".
        why: Cow<'static, str>,
    },
    /// Not accepted, certainly not applied: more proposals are under way than the group takes. May be retried.
    #[error("the group of shard {shard} has a full queue")]
    QueueFull {
        /// Whose group.
        shard: ShardId,
    },
    /// The log or the state machine has no room. Certainly not applied.
    #[error(transparent)]
    Storage(Arc<StorageError>),
    /// The group stopped while the proposal was under way: it may or may not have been applied.
    #[error("the outcome of a write to shard {shard} is unknown: {why}")]
    Unknown {
        /// Whose group.
        shard: ShardId,
        /// What ended it.
        why: String,
    },
}

/// A proposal's fate.
#[derive(Clone, Debug)]
pub struct Proposed {
    /// Log index of the entry.
    pub index: u64,
    /// What [`StateMachine::apply`] returned for it.
    pub reply: Vec<u8>,
}

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
pub(crate) mod tests;
