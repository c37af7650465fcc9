//! A group that does not run here: what its members are asked, wherever its leader is.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::time::Instant;

use super::group::{LEADER_LOOK, LEADER_WAIT_MAX, PROPOSE_MAX, ROUND_MAX};
use super::transport::{Ask, Message, Peer, Transport, TransportError};
use super::wire::{self, Answer};
use super::{ProposeError, Proposed};
use crate::model::ShardId;

/// A cheap handle on one group of other nodes.
#[derive(Clone)]
pub struct DistantGroup {
    shard: ShardId,
    transport: Arc<dyn Transport>,
    members: Members,
    /// Who led when it was last asked.
    leader: LeaderHint,
}

/// Who belongs to a group as of now, in the order in which they are asked while none is known to lead: it may change while one
/// of them is looked for that does.
pub type Members = Arc<dyn Fn() -> Vec<Peer> + Send + Sync>;

/// Who led a group when it was last asked; shared by all that ask.
pub type LeaderHint = Arc<Mutex<Option<u64>>>;

impl DistantGroup {
    /// The group of `shard` on these nodes.
    pub(super) fn new(
        shard: ShardId,
        transport: Arc<dyn Transport>,
        members: Members,
        leader: LeaderHint,
    ) -> DistantGroup {
        DistantGroup { shard, transport, members, leader }
    }

    /// As [`super::Group::propose`].
    pub async fn propose(&self, command: Vec<u8>) -> Result<Proposed, ProposeError> {
        let until = Instant::now() + LEADER_WAIT_MAX;
        loop {
            let leader = match self.known_leader() {
                Some(leader) => leader,
                // Whoever does not lead may take long to say so: a question without effect finds out first.
                None => self.find_leader(until).await?.0,
            };
            let proposed = match self.ask(&leader, Ask::Propose, command.clone(), PROPOSE_MAX).await {
                Ok(answer) => {
                    wire::decode_proposed(&answer, self.shard).unwrap_or_else(|error| Err(self.unknown(error)))
                }
                Err(error) => Err(error),
            };
            match proposed {
                // Certainly not taken.
                Err(ProposeError::NoLeader { .. } | ProposeError::Unavailable { .. }) if Instant::now() < until => {
                    self.forget(&leader);
                    tokio::time::sleep(LEADER_LOOK).await;
                }
                Err(error @ (ProposeError::Unknown { .. } | ProposeError::Unavailable { .. })) => {
                    self.forget(&leader);
                    return Err(error);
                }
                outcome => return outcome,
            }
        }
    }

    /// Up to where a read on any member must have applied the log to see every write acknowledged before the call.
    pub async fn read_index(&self) -> Result<u64, ProposeError> {
        if let Some(leader) = self.known_leader() {
            match self.index_of(&leader).await {
                Ok(index) => return Ok(index),
                Err(_) => self.forget(&leader),
            }
        }
        Ok(self.find_leader(Instant::now() + LEADER_WAIT_MAX).await?.1)
    }

    fn known_leader(&self) -> Option<Peer> {
        let leader = *self.leader.lock();
        (self.members)().into_iter().find(|peer| Some(peer.id) == leader)
    }

    fn forget(&self, leader: &Peer) {
        let mut known = self.leader.lock();
        if *known == Some(leader.id) {
            *known = None;
        }
    }

    /// Asks all members at once who leads, again and again for a while; with the index a read needs.
    async fn find_leader(&self, until: Instant) -> Result<(Peer, u64), ProposeError> {
        loop {
            let members = (self.members)();
            let mut asked: FuturesUnordered<_> = members.into_iter().map(|peer| self.index_from(peer)).collect();
            while let Some(answer) = asked.next().await {
                if let Ok((peer, index)) = answer {
                    *self.leader.lock() = Some(peer.id);
                    return Ok((peer, index));
                }
            }
            // Without members here or anywhere: the group is gone, or on the asking node by now.
            if Instant::now() >= until || (self.members)().is_empty() {
                return Err(self.no_leader());
            }
            tokio::time::sleep(LEADER_LOOK).await;
        }
    }

    async fn index_from(&self, peer: Peer) -> Result<(Peer, u64), ProposeError> {
        let index = self.index_of(&peer).await?;
        Ok((peer, index))
    }

    /// What `peer` answers as the leader.
    async fn index_of(&self, peer: &Peer) -> Result<u64, ProposeError> {
        let answer = self.ask(peer, Ask::ReadIndex, Vec::new(), ROUND_MAX).await?;
        let index: Answer<u64> = wire::decode(&answer).map_err(|error| self.unknown(error))?;
        index.map_err(|refusal| refusal.into_error(self.shard))
    }

    async fn ask(&self, to: &Peer, ask: Ask, body: Vec<u8>, within: Duration) -> Result<Vec<u8>, ProposeError> {
        let message = Message { shard: self.shard, ask, body };
        self.transport.ask(to, message, within).await.map_err(|error| match error {
            TransportError::Unreachable { .. } => self.no_leader(),
            TransportError::NoAnswer { .. } => self.unknown(error),
        })
    }

    fn no_leader(&self) -> ProposeError {
        ProposeError::NoLeader { shard: self.shard }
    }

    fn unknown(&self, why: impl ToString) -> ProposeError {
        ProposeError::Unknown { shard: self.shard, why: why.to_string() }
    }
}
