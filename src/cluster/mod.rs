//! Where things live: which collections, aliases and shards there are, and which shard an id belongs to.
//!
//! Invariants:
//! - The `meta` group's log decides: two creates of one name, a create against a new alias, a delete against an update.
//!   Every check that such a race can spoil is made in [`MetaState::apply`], which is pure.
//! - A shard id is never given out twice, so data of a deleted collection can never be taken for a new one's.
//! - Readers of the state never wait for a writer.
//! - Where replicas should be is part of the state ([`Layout`]); plans ([`Planner`]) are pure, and what was planned from
//!   an older state is refused.
//!
//! What it deliberately does not do: open or remove the shards the state names (the service does).

mod layout;
mod meta;
mod placement;
mod reconcile;
mod resharding;
mod routing;
mod state;

pub use layout::{ClusterNode, Layout, LayoutCommand};
pub use meta::{Meta, outcome_from_reply};
pub use placement::{Move, NodeId, Placement, Planner, Site, SiteState};
pub use reconcile::{GroupView, Step, next_step};
pub use resharding::{Resharding, ReshardingCommand};
pub use routing::{shard_of, shard_of_slot};
pub use state::{Collection, MetaChange, MetaCommand, MetaOutcome, MetaState, Refusal, ShardPlace};

use crate::model::ShardId;

/// The group whose state machine is [`Meta`].
pub const META_GROUP: ShardId = ShardId(0);
