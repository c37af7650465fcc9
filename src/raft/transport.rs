//! What groups send to their other replicas, and who brings it there.
//!
//! This room makes the messages and answers them ([`super::Node::answer`]); the bytes mean nothing to whoever carries them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};

use crate::model::ShardId;

/// A node as the members of a group know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Peer {
    /// The node's number.
    pub id: u64,
    /// Where it listens for peers, as it was told when the node was made a member.
    pub address: String,
}

/// What a message asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Takes entries into the log.
    Append,
    /// The same without entries: small, and not to be kept waiting by large ones.
    Beat,
    /// A vote.
    Vote,
    /// Whether there would be a vote.
    PreVote,
    /// To lead from now on.
    Lead,
    /// Of the leader: takes a command.
    Propose,
    /// Of the leader: up to where a read must have applied the log.
    ReadIndex,
    /// Of the leader: changes the members.
    Change,
}

/// One question to a group.
#[derive(Clone, Debug)]
pub struct Message {
    /// Whose group.
    pub shard: ShardId,
    /// What is asked for.
    pub ask: Ask,
    /// In the form of this room.
    pub body: Vec<u8>,
}

/// Why a message has no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TransportError {
    /// Certainly not delivered.
    #[error("node {node} cannot be reached: {why}")]
    Unreachable {
        /// Its number.
        node: u64,
        /// What went wrong.
        why: String,
    },
    /// It may have been delivered and done.
    #[error("node {node} did not answer: {why}")]
    NoAnswer {
        /// Its number.
        node: u64,
        /// What went wrong.
        why: String,
    },
}

/// Brings messages to other nodes.
///
/// Messages of one group to one node may overtake each other; none is delivered twice.
pub trait Transport: Send + Sync + 'static {
    /// The answer of the group on node `to`. Gives up `within` that time. Dropping the future does not withdraw it.
    fn ask(&self, to: &Peer, message: Message, within: Duration)
    -> BoxFuture<'static, Result<Vec<u8>, TransportError>>;

    /// Brings the files of `folder`, which has no folders in it, to node `to` and has them installed
    /// ([`super::Node::install_snapshot`]). Takes as long as it takes; dropping the future stops it.
    fn send_snapshot(
        &self,
        to: &Peer,
        shard: ShardId,
        head: Vec<u8>,
        folder: Arc<Path>,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>>;
}

/// The transport of a node without peers.
pub(super) struct Alone;

impl Alone {
    fn unreachable(to: &Peer) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        let error = TransportError::Unreachable { node: to.id, why: "this node has no peers".to_owned() };
        Box::pin(std::future::ready(Err(error)))
    }
}

impl Transport for Alone {
    fn ask(
        &self,
        to: &Peer,
        _message: Message,
        _within: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        Alone::unreachable(to)
    }

    fn send_snapshot(
        &self,
        to: &Peer,
        _shard: ShardId,
        _head: Vec<u8>,
        _folder: Arc<Path>,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        Alone::unreachable(to)
    }
}
