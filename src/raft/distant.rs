//! A group that does not run here: what its members are asked, wherever its leader is.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
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
    members: Vec<Peer>,
    /// Who led when it was last asked.
    leader: LeaderHint,
}

/// Who led a group when it was last asked; shared by all that ask.
pub type LeaderHint = Arc<Mutex<Option<u64>>>;

impl DistantGroup {
    /// The group of `shard` on these nodes, in the order in which they are asked while none is known to lead.
    pub(super) fn new(
        shard: ShardId,
        transport: Arc<dyn Transport>,
        members: Vec<Peer>,
        leader: LeaderHint,
    ) -> DistantGroup {
        DistantGroup { shard, transport, members, leader }
    }

    /// As [`super::Group::propose`].
    pub async fn propose(&self, command: Vec<u8>) -> Result<Proposed, ProposeError> {
        let command = &command;
        self.at_leader(|peer| {
            Box::pin(async move {
                let answer = self.ask(peer, Ask::Propose, command.clone(), PROPOSE_MAX).await?;
                wire::decode_proposed(&answer, self.shard).unwrap_or_else(|error| Err(self.unknown(error)))
            })
        })
        .await
    }

    /// Up to where a read on any member must have applied the log to see every write acknowledged before the call.
    pub async fn read_index(&self) -> Result<u64, ProposeError> {
        self.at_leader(|peer| {
            Box::pin(async move {
                // A question without effect: whatever went wrong, another may be asked.
                let answer = self.ask(peer, Ask::ReadIndex, Vec::new(), ROUND_MAX).await.map_err(|_| self.no_leader())?;
                let index: Answer<u64> = wire::decode(&answer).map_err(|_| self.no_leader())?;
                index.map_err(|refusal| match refusal.into_error(self.shard) {
                    ProposeError::Unavailable { .. } => self.no_leader(),
                    other => other,
                })
            })
        })
        .await
    }

    /// Asks one after the other until one leads, again and again for a while.
    async fn at_leader<'a, T>(
        &'a self,
        ask: impl Fn(&'a Peer) -> BoxFuture<'a, Result<T, ProposeError>>,
    ) -> Result<T, ProposeError> {
        let until = Instant::now() + LEADER_WAIT_MAX;
        loop {
            let hint = *self.leader.lock();
            let (first, others): (Vec<&Peer>, Vec<&Peer>) =
                self.members.iter().partition(|peer| Some(peer.id) == hint);
            for peer in first.into_iter().chain(others) {
                match ask(peer).await {
                    Err(ProposeError::NoLeader { .. }) => {}
                    outcome => {
                        *self.leader.lock() = Some(peer.id);
                        return outcome;
                    }
                }
            }
            *self.leader.lock() = None;
            if Instant::now() >= until {
                return Err(self.no_leader());
            }
            tokio::time::sleep(LEADER_LOOK).await;
        }
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
