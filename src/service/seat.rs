//! The shards of a collection as one call reaches them: on this node, or on others.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::Service;
use super::shards::{NotRunning, RunningShard};
use crate::cluster::{ClusterNode, Collection, MetaState, NodeId, ShardPlace, SiteState, shard_of_slot};
use crate::model::ShardId;
use crate::model::collection::ShardKey;
use crate::raft::{DistantGroup, LeaderHint, Peer, ProposeError, Proposed};

/// Shards whose leaders are remembered; some bytes each, and forgotten they cost a question.
const HINTS_MAX: usize = 65_536;

/// A collection with its shards, as one call sees it from beginning to end.
#[derive(Clone)]
pub(super) struct View {
    pub(super) collection: Arc<Collection>,
    /// All of them, or those of some shard keys; in the collection's order.
    pub(super) shards: Arc<[Seat]>,
}

/// A shard as a call reaches it.
#[derive(Clone)]
pub(super) enum Seat {
    /// On this node.
    Here(Arc<RunningShard>),
    /// On others.
    There(Arc<DistantShard>),
}

/// A shard that this node holds no replica of that counts.
pub(super) struct DistantShard {
    pub(super) id: ShardId,
    pub(super) place: ShardPlace,
    pub(super) group: DistantGroup,
    /// Who is asked, in this order.
    pub(super) replicas: Vec<Peer>,
    /// Up to where whoever answers must have applied the log; 0: as it stands.
    pub(super) at_least: AtomicU64,
}

impl Seat {
    pub(super) fn id(&self) -> ShardId {
        match self {
            Seat::Here(running) => running.id,
            Seat::There(distant) => distant.id,
        }
    }

    /// What it holds of its collection.
    pub(super) fn place(&self) -> &ShardPlace {
        match self {
            Seat::Here(running) => &running.place,
            Seat::There(distant) => &distant.place,
        }
    }

    pub(super) fn here(&self) -> Option<&Arc<RunningShard>> {
        match self {
            Seat::Here(running) => Some(running),
            Seat::There(_) => None,
        }
    }

    /// Whether ids of this hash slot are kept there.
    pub(super) fn owns(&self, hash_slot: u64) -> bool {
        shard_of_slot(hash_slot, self.place().range_count) == self.place().range
    }

    /// Waits until reads of this call see every write acknowledged before it.
    pub(super) async fn barrier(&self) -> Result<(), ProposeError> {
        match self {
            Seat::Here(running) => running.group.read_barrier().await,
            // Rare, and large.
            Seat::There(distant) => {
                Box::pin(async {
                    let index = distant.group.read_index().await?;
                    distant.at_least.fetch_max(index, Ordering::AcqRel);
                    Ok(())
                })
                .await
            }
        }
    }

    /// Proposes a command to the shard's group, wherever it is.
    pub(super) async fn propose(&self, command: Vec<u8>) -> Result<Proposed, ProposeError> {
        match self {
            Seat::Here(running) => running.group.propose(command).await,
            Seat::There(distant) => Box::pin(distant.group.propose(command)).await,
        }
    }
}

impl View {
    /// The one shard it consists of, if that is on this node.
    pub(super) fn one_here(&self) -> Option<&Arc<RunningShard>> {
        match &*self.shards {
            [seat] => seat.here(),
            _ => None,
        }
    }

    /// The shards on this node.
    pub(super) fn here(&self) -> impl Iterator<Item = &Arc<RunningShard>> {
        self.shards.iter().filter_map(Seat::here)
    }

    /// The keys of the shards, in their order.
    pub(super) fn keys(&self) -> Vec<Option<ShardKey>> {
        self.shards.iter().map(|seat| seat.place().key.clone()).collect()
    }
}

impl Service {
    /// The shards of `collection`, in its order.
    pub(super) fn seats(&self, collection: &Collection) -> Result<Arc<[Seat]>, NotRunning> {
        collection.shards.iter().map(|id| self.seat(collection, *id)).collect()
    }

    /// One shard of `collection`, which may be one that is to take another's place.
    pub(super) fn seat(&self, collection: &Collection, id: ShardId) -> Result<Seat, NotRunning> {
        let table = self.running.shards.table();
        let running = table.running.get(&id);
        if let Some(running) = running.filter(|running| running.group.counts()) {
            return Ok(Seat::Here(Arc::clone(running)));
        }
        let (own, state) = (self.running.node_id, self.running.meta.state());
        if running.is_none() && !table.failed.contains_key(&id) && !state.layout().founders(id, own).is_empty() {
            // It begins on this node, too, which may be the one that will lead it.
            return Err(NotRunning::NotStarted);
        }
        match (self.distant(collection, id), running, table.failed.get(&id)) {
            (Some(distant), ..) => Ok(Seat::There(Arc::new(distant))),
            (None, Some(running), _) => Ok(Seat::Here(Arc::clone(running))),
            (None, None, Some(error)) => Err(NotRunning::Failed(error.clone())),
            (None, None, None) => Err(NotRunning::NotStarted),
        }
    }

    fn leader_hint(&self, id: ShardId) -> LeaderHint {
        let mut hints = self.running.leader_hints.lock();
        if hints.len() > HINTS_MAX && !hints.contains_key(&id) {
            hints.clear();
        }
        Arc::clone(hints.entry(id).or_default())
    }

    /// The shard on other nodes, if there are any that hold it.
    fn distant(&self, collection: &Collection, id: ShardId) -> Option<DistantShard> {
        let own = self.running.node_id;
        let replicas = holders(&self.running.meta.state(), id, own);
        if replicas.is_empty() {
            return None;
        }
        let meta = Arc::clone(&self.running.meta);
        let members = Arc::new(move || holders(&meta.state(), id, own));
        let group = self.running.node.distant_group(id, members, self.leader_hint(id));
        Some(DistantShard { id, place: collection.place(id)?, group, replicas, at_least: AtomicU64::new(0) })
    }
}

/// The other nodes that hold a shard: those of this node's zone first, of these any.
fn holders(state: &MetaState, id: ShardId, own: NodeId) -> Vec<Peer> {
    let layout = state.layout();
    let zone = layout.nodes().get(&own).and_then(|node| node.site.zone.as_deref());
    let leaving = layout.leaving(id);
    let holders = layout.replicas(id).iter().chain(&leaving).filter(|node| **node != own);
    let known = holders.filter_map(|node| layout.nodes().get(node).map(|known| (*node, known)));
    let rank = |(id, node): (NodeId, &ClusterNode)| {
        let is_far = zone.is_some() && node.site.zone.as_deref() != zone;
        (node.site.state == SiteState::Away, is_far, fastrand::u32(..), id)
    };
    let mut ranked: Vec<_> = known.filter(|(_, node)| node.site.state != SiteState::Lost).map(rank).collect();
    ranked.sort_unstable();
    // Where they are stands in the address book.
    ranked.into_iter().map(|(.., id)| Peer { id, address: String::new() }).collect()
}
