//! A collection's shards, or those of one of its keys, on their way to another number of shards.
//!
//! The new shards, the children, stand beside the old ones, the parents, until they hold all there is. Two phases: every
//! parent's content is copied to the children while writes go on, and its changes after it; once all parents are *ready*,
//! each of them is closed by an entry of its own log, and what it changed last goes to the children: it is *passed on*. With
//! the last parent the children take the parents' place, in the same log entry.
//!
//! Who passes a parent on may fail at any time, and with it is lost what it knew of changes that were not copied yet. Then
//! the parent is copied again, in the next *round*; what was closed for an earlier round is opened, and closed again.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::state::Refusal;
use crate::model::ShardId;
use crate::model::collection::ShardKey;

/// A resharding that is under way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resharding {
    /// Log index of its start; tells it from every other one.
    pub id: u64,
    /// The key whose shards they are; `None`: all shards of a collection without keys.
    pub key: Option<ShardKey>,
    /// In the order of their ranges of hash slots.
    pub parents: Vec<ShardId>,
    /// In the order of their ranges of hash slots.
    pub children: Vec<ShardId>,
    /// From 0.
    pub round: u32,
    /// Parents whose content has been copied, but for what is changing.
    pub ready: BTreeSet<ShardId>,
    /// Parents that are closed and whose content the children have whole, in this round.
    pub passed_on: BTreeSet<ShardId>,
}

/// A change of a resharding, by its id.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields name themselves")]
pub enum ReshardingCommand {
    /// `collection` may be an alias. `shard_count` is at least 1.
    Start { collection: String, key: Option<ShardKey>, shard_count: u32 },
    /// What has been copied of `parent` is lost track of: it is copied again. Meant for this round only.
    Restart { id: u64, round: u32, parent: ShardId },
    /// `parent` has been copied.
    Ready { id: u64, round: u32, parent: ShardId },
    /// `parent` is closed, and the children have all of it.
    PassedOn { id: u64, round: u32, parent: ShardId },
    /// The parents stay, the children go.
    Abort { id: u64 },
}

impl Resharding {
    /// Whether all parents are ready: they are being closed.
    pub fn is_closing(&self) -> bool {
        self.ready.len() == self.parents.len()
    }

    /// Whether the children have everything.
    pub(super) fn is_over(&self) -> bool {
        self.passed_on.len() == self.parents.len()
    }

    /// Applies all but a start and an abort.
    pub(super) fn change(&mut self, command: &ReshardingCommand) -> Result<(), Refusal> {
        use ReshardingCommand as Command;
        let (Command::Restart { round, parent, .. }
        | Command::Ready { round, parent, .. }
        | Command::PassedOn { round, parent, .. }) = command
        else {
            return Ok(());
        };
        if *round != self.round || !self.parents.contains(parent) {
            return Err(Refusal::ReshardingChanged { id: self.id });
        }
        match command {
            Command::Restart { .. } => {
                self.round += 1;
                self.ready.remove(parent);
                self.passed_on.clear();
            }
            Command::Ready { .. } => _ = self.ready.insert(*parent),
            _ if self.is_closing() => _ = self.passed_on.insert(*parent),
            _ => return Err(Refusal::ReshardingChanged { id: self.id }),
        }
        Ok(())
    }
}
