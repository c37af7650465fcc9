//! The nodes and where shards are, as an operator sees and changes them.

use std::collections::BTreeSet;
use std::time::Instant;

use super::distant::Members;
use super::errors::from_propose;
use super::leading::propose;
use super::{Error, Service, before};
use crate::cluster::{Collection, LayoutCommand, MetaCommand, NodeId, SiteState};
use crate::model::ShardId;
use crate::model::collection::ShardKey;

/// The cluster as one of its nodes knows it.
#[derive(Clone, Debug)]
pub struct ClusterReport {
    /// All that belong to it, by number.
    pub nodes: Vec<NodeReport>,
    /// Of the `meta` group: Raft's term.
    pub term: u64,
    /// Of the `meta` group: the last entry a majority has synced, as far as this node knows.
    pub commit: u64,
    /// Of the `meta` group: entries that are committed and not applied here yet.
    pub pending: u64,
    /// Who leads the `meta` group, if that is known.
    pub leader: Option<NodeId>,
    /// Whether this node has a vote in the `meta` group.
    pub is_voter: bool,
}

/// A node.
#[derive(Clone, Debug)]
pub struct NodeReport {
    /// Its number.
    pub id: NodeId,
    /// Where the others find it.
    pub address: String,
    /// Nodes of one zone fail together.
    pub zone: Option<String>,
    /// Whether it may hold replicas.
    pub state: SiteState,
    /// Replicas it should hold, and those that go away from it but still count.
    pub replica_count: usize,
    /// Shards it should lead.
    pub led_count: usize,
}

/// Where a shard's replicas are.
#[derive(Clone, Debug)]
pub struct ShardLayout {
    /// Its number in the collection.
    pub number: u64,
    /// With custom sharding.
    pub key: Option<ShardKey>,
    /// Where they are and where they should be; the first should lead.
    pub replicas: Vec<ReplicaReport>,
    /// Who leads, as far as this node knows: it does if it holds a replica.
    pub leader: Option<NodeId>,
    /// If this node holds one: what it has.
    pub local: Option<LocalReplica>,
}

/// What this node has of a shard.
#[derive(Clone, Debug)]
pub struct LocalReplica {
    /// Exact.
    pub point_count: u64,
    /// The last log entry that has been applied.
    pub applied_index: u64,
}

/// One replica.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplicaReport {
    /// On which node.
    pub node: NodeId,
    /// How it stands.
    pub state: ReplicaState,
}

/// How a replica stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReplicaState {
    /// It counts.
    Active,
    /// It is being filled.
    Partial,
    /// It should come, and nothing has begun.
    Initializing,
    /// It counts, and is about to go.
    Leaving,
    /// Its node has not been heard of for long, or is lost.
    Dead,
}

/// A replica on its way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransferReport {
    /// Whose place it takes, or who has what it gets.
    pub from: NodeId,
    /// Where it goes.
    pub to: NodeId,
    /// `from` keeps its replica.
    pub keeps_source: bool,
}

impl ShardLayout {
    /// The replicas that are on their way, each for one that leaves if there is one.
    pub fn transfers(&self) -> Vec<TransferReport> {
        let in_state = |states: &[ReplicaState]| -> Vec<NodeId> {
            self.replicas.iter().filter(|one| states.contains(&one.state)).map(|one| one.node).collect()
        };
        let coming = in_state(&[ReplicaState::Partial, ReplicaState::Initializing]);
        let mut leaving = in_state(&[ReplicaState::Leaving]).into_iter();
        let source = self.leader.or_else(|| in_state(&[ReplicaState::Active]).first().copied());
        let transfer = |to| {
            let left = leaving.next();
            Some(TransferReport { from: left.or(source)?, to, keeps_source: left.is_none() })
        };
        coming.into_iter().filter_map(transfer).collect()
    }
}

impl Service {
    /// The cluster, if this node belongs to one.
    pub fn cluster_report(&self) -> Option<ClusterReport> {
        if !self.running.membership.is_of_cluster() {
            return None;
        }
        let state = self.running.meta.state();
        let layout = state.layout();
        let (status, members) = (self.running.meta_group.status(), self.running.meta_group.members());
        let held = |id: NodeId| layout.placement().keys().filter(|shard| layout.keeps(**shard, id)).count();
        let led = |id: NodeId| layout.placement().values().filter(|replicas| replicas.first() == Some(&id)).count();
        let nodes = layout.nodes().iter().map(|(id, node)| NodeReport {
            id: *id,
            address: node.address.clone(),
            zone: node.site.zone.clone(),
            state: node.site.state,
            replica_count: held(*id),
            led_count: led(*id),
        });
        let (commit, applied) = (status.committed.unwrap_or(0), status.applied.unwrap_or(0));
        Some(ClusterReport {
            nodes: nodes.collect(),
            term: status.term,
            commit,
            pending: commit.saturating_sub(applied),
            leader: members.leader,
            is_voter: members.voters.contains_key(&self.running.node_id),
        })
    }

    /// Where the shards of a collection are, in its order. Who belongs to the group of a shard that has no replica here is
    /// asked of those that hold one.
    pub async fn shard_layouts(&self, collection: &str) -> Result<Vec<ShardLayout>, Error> {
        let collection = self.collection_now(collection).await?;
        let layouts = collection.shards.iter().map(|shard| self.shard_layout(&collection, *shard));
        Ok(futures::future::join_all(layouts).await)
    }

    async fn shard_layout(&self, collection: &Collection, shard: ShardId) -> ShardLayout {
        let state = self.running.meta.state();
        let layout = state.layout();
        let (wanted, leaving) = (layout.replicas(shard), layout.leaving(shard));
        let running = self.running.shards.table().running.get(&shard).cloned();
        let holders: Vec<NodeId> = wanted.iter().copied().chain(leaving.iter().copied()).collect();
        let others: Vec<NodeId> = holders.iter().copied().filter(|node| *node != self.running.node_id).collect();
        let members = match running.as_ref().filter(|running| running.group.counts()) {
            Some(running) => Some(Members::of(&running.group)),
            None => self.members_of(shard, &others).await,
        };
        let is_gone = |node: &NodeId| {
            let state = layout.nodes().get(node).map(|node| node.site.state);
            matches!(state, None | Some(SiteState::Away | SiteState::Lost))
        };
        let replica = |node: NodeId| {
            let state = match &members {
                _ if is_gone(&node) => ReplicaState::Dead,
                _ if leaving.contains(&node) => ReplicaState::Leaving,
                Some(members) if members.voters.contains(&node) => ReplicaState::Active,
                Some(members) if members.learners.contains(&node) => ReplicaState::Partial,
                _ => ReplicaState::Initializing,
            };
            ReplicaReport { node, state }
        };
        let local = running.map(|running| running.shard().status());
        ShardLayout {
            number: collection.shard_number(shard),
            key: collection.place(shard).and_then(|place| place.key),
            replicas: holders.into_iter().map(replica).collect(),
            leader: members.as_ref().and_then(|members| members.leader),
            local: local
                .map(|status| LocalReplica { point_count: status.point_count, applied_index: status.applied_index }),
        }
    }

    /// Lets a replica go from one node to another. Returns when that is agreed on; it is done in the background.
    pub async fn move_replica(
        &self,
        collection: &str,
        number: u64,
        (from, to): (NodeId, NodeId),
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        self.place_shard(collection, number, deadline, |replicas| {
            self.known_node(to)?;
            let place =
                replicas.iter().position(|node| *node == from).ok_or(Error::ReplicaNotFound { number, node: from })?;
            if replicas.contains(&to) {
                return Err(Error::ReplicaExists { number, node: to });
            }
            Ok(replicas.iter().enumerate().map(|(at, node)| if at == place { to } else { *node }).collect())
        })
        .await
    }

    /// Gives a shard one more replica. As [`Service::move_replica`].
    pub async fn add_replica(
        &self,
        collection: &str,
        number: u64,
        (from, to): (NodeId, NodeId),
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        self.place_shard(collection, number, deadline, |replicas| {
            self.known_node(to)?;
            if !replicas.contains(&from) {
                return Err(Error::ReplicaNotFound { number, node: from });
            }
            if replicas.contains(&to) {
                return Err(Error::ReplicaExists { number, node: to });
            }
            Ok(replicas.iter().copied().chain([to]).collect())
        })
        .await
    }

    /// Takes a replica of a shard away. One below the collection's replication factor comes back, where there is room.
    pub async fn drop_replica(
        &self,
        collection: &str,
        number: u64,
        node: NodeId,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        self.place_shard(collection, number, deadline, |replicas| {
            if !replicas.contains(&node) {
                return Err(Error::ReplicaNotFound { number, node });
            }
            if replicas.len() == 1 {
                return Err(Error::LastReplica { number });
            }
            Ok(replicas.iter().copied().filter(|other| *other != node).collect())
        })
        .await
    }

    /// Takes a move or an addition back that has not been completed.
    pub async fn abort_transfer(
        &self,
        collection: &str,
        number: u64,
        (from, to): (NodeId, NodeId),
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        self.check_transfer(collection, number, (from, to)).await?;
        self.place_shard(collection, number, deadline, |replicas| {
            let mut replicas: Vec<NodeId> = replicas.iter().copied().filter(|node| *node != to).collect();
            if !replicas.contains(&from) {
                replicas.push(from);
            }
            Ok(replicas)
        })
        .await
    }

    /// Whether a replica is on its way there. The group's leader keeps on filling it whatever happens.
    pub async fn check_transfer(
        &self,
        collection: &str,
        number: u64,
        (from, to): (NodeId, NodeId),
    ) -> Result<(), Error> {
        let layouts = self.shard_layouts(collection).await?;
        let layout = layouts.iter().find(|layout| layout.number == number).ok_or(Error::ShardNotFound { number })?;
        let state = |node: NodeId| layout.replicas.iter().find(|one| one.node == node).map(|one| one.state);
        let is_coming = matches!(state(to), Some(ReplicaState::Partial | ReplicaState::Initializing));
        let is_source = matches!(state(from), Some(ReplicaState::Active | ReplicaState::Leaving));
        match is_coming && is_source {
            true => Ok(()),
            false => Err(Error::TransferNotFound { number, from, to }),
        }
    }

    fn known_node(&self, id: NodeId) -> Result<(), Error> {
        self.node_state(id).map(|_| ())
    }

    async fn place_shard(
        &self,
        collection: &str,
        number: u64,
        deadline: Option<Instant>,
        change: impl Fn(&[NodeId]) -> Result<Vec<NodeId>, Error>,
    ) -> Result<(), Error> {
        let _inside = self.running.gate.enter()?;
        before(deadline, "changing a shard's replicas", async {
            self.know_now().await?;
            let shard = self.collection(collection)?.shard_numbered(number).ok_or(Error::ShardNotFound { number })?;
            let from = self.running.meta.state().layout().replicas(shard).to_vec();
            let to = change(&from)?;
            self.change_layout(LayoutCommand::Place { shard, from, to }).await
        })
        .await
    }

    async fn change_layout(&self, command: LayoutCommand) -> Result<(), Error> {
        propose(&self.running.meta_group, &MetaCommand::Layout(command)).await.map(|_| ())
    }

    /// Returns once this node knows all that was decided before.
    async fn know_now(&self) -> Result<(), Error> {
        self.running.meta_group.read_barrier().await.map_err(from_propose)
    }

    fn node_state(&self, id: NodeId) -> Result<SiteState, Error> {
        let state = self.running.meta.state();
        state.layout().nodes().get(&id).map(|node| node.site.state).ok_or(Error::NodeNotFound { id })
    }

    /// Lets a node be drained of its replicas, or hold some again.
    pub async fn drain_node(&self, id: NodeId, drains: bool, deadline: Option<Instant>) -> Result<(), Error> {
        let _inside = self.running.gate.enter()?;
        let state = if drains { SiteState::Draining } else { SiteState::Up };
        before(deadline, "draining a node", async {
            self.know_now().await?;
            match self.node_state(id)? {
                from if from == state => Ok(()),
                // Another one has its place, or what it held is replaced already.
                SiteState::Lost => Err(Error::NodeNotFound { id }),
                from => self.change_layout(LayoutCommand::SetState { id, from, state }).await,
            }
        })
        .await
    }

    /// Removes a node from the cluster for good; one that leads hands over. One that holds replicas only if it `is_forced`: what it held is replaced from
    /// the others, and a shard that had no other replica stays lost.
    pub async fn remove_node(&self, id: NodeId, is_forced: bool, deadline: Option<Instant>) -> Result<(), Error> {
        let _inside = self.running.gate.enter()?;
        before(deadline, "removing a node", async {
            self.know_now().await?;
            let from = self.node_state(id)?;
            if is_forced {
                self.change_layout(LayoutCommand::SetState { id, from, state: SiteState::Lost }).await?;
            }
            self.change_layout(LayoutCommand::Forget { id }).await
        })
        .await
    }

    /// Lets replicas be spread evenly over the nodes, in the background.
    pub async fn rebalance(&self, deadline: Option<Instant>) -> Result<(), Error> {
        let _inside = self.running.gate.enter()?;
        before(deadline, "rebalancing", self.change_layout(LayoutCommand::Uneven)).await
    }

    /// Brings what runs here to what the cluster says now.
    pub async fn catch_up(&self, deadline: Option<Instant>) -> Result<(), Error> {
        let _inside = self.running.gate.enter()?;
        before(deadline, "catching up", async {
            self.know_now().await?;
            self.settle().await
        })
        .await
    }

    /// Lets others lead what they can until this node starts again. How many groups it still leads.
    pub async fn hand_over(&self) -> Result<usize, Error> {
        let _inside = self.running.gate.enter()?;
        Ok(self.running.membership.hand_over(&self.running.shards).await)
    }

    /// The replicas that should be here.
    pub(super) fn own_shards(&self) -> BTreeSet<ShardId> {
        let state = self.running.meta.state();
        let (placement, own) = (state.layout().placement(), self.running.node_id);
        placement.iter().filter(|(_, nodes)| nodes.contains(&own)).map(|(shard, _)| *shard).collect()
    }

    /// Which of these replicas, that should be here, have not caught up with the others of their groups yet, or are not there
    /// yet. One that failed to open is reported elsewhere.
    pub(super) async fn behind(&self, shards: &BTreeSet<ShardId>) -> BTreeSet<ShardId> {
        let table = self.running.shards.table();
        let wanted = self.own_shards();
        let left = shards.iter().copied().filter(|shard| wanted.contains(shard) && !table.failed.contains_key(shard));
        let looks = left.map(|shard| {
            let running = table.running.get(&shard).cloned();
            async move {
                let is_there = match running {
                    Some(running) => running.group.read_barrier().await.is_ok() && running.group.counts(),
                    None => false,
                };
                (shard, is_there)
            }
        });
        let looked = futures::future::join_all(looks).await;
        looked.into_iter().filter(|(_, is_there)| !is_there).map(|(shard, _)| shard).collect()
    }
}
