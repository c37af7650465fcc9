//! A collection's shards, or those of one of its keys, on their way to another number of shards.
//!
//! The new shards, the children, stand beside the old ones, the parents, until they hold all there is. Two phases: every
//! parent's content is copied to the children while writes go on, and its changes after it; once all parents are *ready*,
//! each of them is closed by an entry of its own log, and what it changed last goes to the children: it is *passed on*. With
//! the last parent the children take the parents' place, in the same log entry.
//!
//! Who passes a parent on claims that first. It may fail at any time, and with it is lost what it knew of changes that were not
//! copied yet: whoever claims the parent next copies it again, and nothing that an earlier one says or sends counts any more.
//! If parents may have been closed by then, the next *round* begins: what was closed for an earlier one is opened, and closed
//! again. So it is, too, when closing takes long, because another parent cannot follow.

use std::collections::{BTreeMap, BTreeSet};

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
    /// How often a parent was claimed.
    pub claim_count: u64,
    /// The claim of each parent that counts: the last one, numbered from 1.
    pub claims: BTreeMap<ShardId, u64>,
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
    /// Somebody else copies `parent` from now on, from the start.
    Claim { id: u64, parent: ShardId },
    /// `parent` has been copied, under this claim.
    Ready { id: u64, round: u32, parent: ShardId, claim: u64 },
    /// `parent` is closed, and the children have all of it.
    PassedOn { id: u64, round: u32, parent: ShardId, claim: u64 },
    /// Closing takes too long: all parents are opened, and closed once all are ready again.
    Postpone { id: u64, round: u32 },
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

    /// Applies all but a start and an abort. The number of the claim, if it is one.
    pub(super) fn change(&mut self, command: &ReshardingCommand) -> Result<Option<u64>, Refusal> {
        use ReshardingCommand as Command;
        let changed = Err(Refusal::ReshardingChanged { id: self.id });
        let is_claimed = |parent: &ShardId, claim: u64| self.claims.get(parent) == Some(&claim);
        match command {
            Command::Claim { parent, .. } if self.parents.contains(parent) => {
                self.claim_count += 1;
                self.claims.insert(*parent, self.claim_count);
                if self.ready.remove(parent) {
                    self.begin_round();
                }
                return Ok(Some(self.claim_count));
            }
            Command::Ready { round, parent, claim, .. } if *round == self.round && is_claimed(parent, *claim) => {
                self.ready.insert(*parent);
            }
            Command::PassedOn { round, parent, claim, .. }
                if *round == self.round && is_claimed(parent, *claim) && self.is_closing() =>
            {
                self.passed_on.insert(*parent);
            }
            Command::Postpone { round, .. } if *round == self.round => {
                self.ready.clear();
                self.begin_round();
            }
            _ => return changed,
        }
        Ok(None)
    }

    fn begin_round(&mut self) {
        self.round += 1;
        self.passed_on.clear();
    }
}
