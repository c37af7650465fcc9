//! The nodes of the cluster and which of them hold which shards, as they should be: pure, decided by the log.
//!
//! What a group's members really are is the group's affair; its leader brings them to what stands here.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::placement::{NodeId, Placement, Planner, Site, SiteState};
use super::state::Refusal;
use crate::model::ShardId;

/// A node of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterNode {
    /// Where it listens for the others.
    pub address: String,
    /// Its zone, and whether it may hold replicas.
    pub site: Site,
}

/// A change of the layout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields name themselves")]
pub enum LayoutCommand {
    /// Gives the cluster its name, unless it has one.
    Found { cluster: String },
    /// A node comes, or tells where it is now. Another one of the same address has lost its data: it is that one's machine.
    Join { id: NodeId, address: String, zone: Option<String> },
    /// Refused unless the node is in state `from`, as it was when that was decided.
    SetState { id: NodeId, from: SiteState, state: SiteState },
    /// A node that is lost or holds nothing is no part of the cluster any more, and never comes back under this number.
    Forget { id: NodeId },
    /// New shards get their places. One that has some already keeps them.
    Begin { places: Placement },
    /// A shard's replicas should be elsewhere. Refused unless they are as they were when that was planned.
    Place { shard: ShardId, from: Vec<NodeId>, to: Vec<NodeId> },
    /// The shard's group has no such member any more.
    Left { shard: ShardId, id: NodeId },
    /// A node should lead nothing until it joins again, as it does when it starts.
    Rest { id: NodeId },
    /// Replicas should be spread anew.
    Uneven,
    /// They are spread evenly.
    Even,
}

/// The nodes and what they should hold.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Layout {
    /// Names the cluster: a node of another one is no node of this one.
    cluster: Option<String>,
    nodes: BTreeMap<NodeId, ClusterNode>,
    /// Nodes that were forgotten.
    forgotten: BTreeSet<NodeId>,
    replicas: Placement,
    /// The members each shard's group began with, while all of them are members: of these, one that has no log begins it like
    /// the others did. Once one has left, those that never came could make a majority of their own: then, and on any other
    /// node, a replica waits for the group to take it in.
    founders: BTreeMap<ShardId, BTreeSet<NodeId>>,
    /// Nodes that should not hold a shard any more and whose group may still count on them.
    leaving: BTreeMap<ShardId, BTreeSet<NodeId>>,
    /// Nodes that should lead nothing, because they are about to stop.
    resting: BTreeSet<NodeId>,
    /// A node has come, or come back, since replicas were spread evenly.
    is_uneven: bool,
}

impl Layout {
    /// The cluster's name.
    pub fn cluster(&self) -> Option<&str> {
        self.cluster.as_deref()
    }

    /// By number.
    pub fn nodes(&self) -> &BTreeMap<NodeId, ClusterNode> {
        &self.nodes
    }

    /// The nodes that should hold a shard; the first should lead it.
    pub fn replicas(&self, shard: ShardId) -> &[NodeId] {
        self.replicas.get(&shard).map_or(&[], Vec::as_slice)
    }

    /// The nodes that should not hold a shard any more and whose group may still count on them.
    pub fn leaving(&self, shard: ShardId) -> BTreeSet<NodeId> {
        self.leaving.get(&shard).cloned().unwrap_or_default()
    }

    /// Whether a node keeps what it has of a shard: it should hold it, or the group may still count on it.
    pub fn keeps(&self, shard: ShardId, node: NodeId) -> bool {
        let is_leaving = || self.leaving.get(&shard).is_some_and(|leaving| leaving.contains(&node));
        self.replicas(shard).contains(&node) || is_leaving()
    }

    /// Whether a node should lead nothing.
    pub fn is_resting(&self, node: NodeId) -> bool {
        self.resting.contains(&node)
    }

    /// Whether replicas should be spread anew.
    pub fn is_uneven(&self) -> bool {
        self.is_uneven
    }

    /// How many shards have a replica that is about to go, and can: those that are to have the shard are there, and so is a
    /// majority of all that count.
    pub fn moving(&self) -> usize {
        let is_there = |node: &&NodeId| {
            let state = self.nodes.get(node).map(|node| node.site.state);
            matches!(state, Some(SiteState::Up | SiteState::Draining))
        };
        let can_move = |(shard, leaving): &(&ShardId, &BTreeSet<NodeId>)| {
            let replicas = self.replicas(**shard);
            let counted = replicas.len() + leaving.len();
            let there = replicas.iter().chain(*leaving).filter(is_there).count();
            !leaving.is_empty() && replicas.iter().all(|node| is_there(&node)) && 2 * there > counted
        };
        self.leaving.iter().filter(can_move).count()
    }

    /// Whether a node should hold a replica, or a group may still count on it.
    pub fn is_counted_on(&self, node: NodeId) -> bool {
        self.replicas.values().any(|nodes| nodes.contains(&node))
            || self.leaving.values().any(|nodes| nodes.contains(&node))
    }

    /// The replicas of all shards.
    pub fn placement(&self) -> &Placement {
        &self.replicas
    }

    /// Who begins the shard's group with whom, if this node has no log of it, those that should lead it first; empty if it is
    /// to wait.
    pub fn founders(&self, shard: ShardId, node: NodeId) -> Vec<NodeId> {
        let Some(founders) = self.founders.get(&shard).filter(|founders| founders.contains(&node)) else {
            return Vec::new();
        };
        let mut founders: Vec<NodeId> = founders.iter().copied().collect();
        let rank = |node: &NodeId| self.replicas(shard).iter().position(|replica| replica == node);
        founders.sort_by_key(|node| rank(node).unwrap_or(usize::MAX));
        founders
    }

    /// As the planner sees them.
    pub fn sites(&self) -> BTreeMap<NodeId, Site> {
        self.nodes.iter().map(|(id, node)| (*id, node.site.clone())).collect()
    }

    pub(super) fn apply(&mut self, command: LayoutCommand) -> Result<(), Refusal> {
        match command {
            LayoutCommand::Found { cluster } => _ = self.cluster.get_or_insert(cluster),
            LayoutCommand::Join { id, address, zone } => self.join(id, address, zone)?,
            LayoutCommand::SetState { id, from, state } => {
                let site = &mut self.known(id)?.site;
                if site.state != from {
                    return Err(Refusal::NodeChanged { id });
                }
                site.state = state;
                self.is_uneven |= state == SiteState::Up;
            }
            LayoutCommand::Rest { id } => {
                self.known(id)?;
                self.resting.insert(id);
            }
            LayoutCommand::Uneven => self.is_uneven = true,
            LayoutCommand::Even => self.is_uneven = false,
            LayoutCommand::Forget { id } => self.forget(id)?,
            LayoutCommand::Place { shard, from, to } => self.place(shard, &from, to)?,
            LayoutCommand::Begin { places } => self.begin(places),
            LayoutCommand::Left { shard, id } => {
                self.founders.remove(&shard);
                if let Some(leaving) = self.leaving.get_mut(&shard) {
                    leaving.remove(&id);
                }
            }
        }
        Ok(())
    }

    fn known(&mut self, id: NodeId) -> Result<&mut ClusterNode, Refusal> {
        self.nodes.get_mut(&id).ok_or(Refusal::NodeUnknown { id })
    }

    fn join(&mut self, id: NodeId, address: String, zone: Option<String>) -> Result<(), Refusal> {
        if self.forgotten.contains(&id) {
            return Err(Refusal::NodeForgotten { id });
        }
        for (other, node) in &mut self.nodes {
            if *other != id && !address.is_empty() && node.address == address {
                node.site.state = SiteState::Lost;
                // It is nobody's any more: two nodes are never found at one place.
                node.address.clear();
            }
        }
        self.resting.remove(&id);
        self.is_uneven |= !self.nodes.contains_key(&id) && !self.replicas.is_empty();
        let state = self.nodes.get(&id).map_or(SiteState::Up, |node| node.site.state);
        self.nodes.insert(id, ClusterNode { address, site: Site { zone, state } });
        Ok(())
    }

    fn begin(&mut self, places: Placement) {
        let is_known = |nodes: &[NodeId]| !nodes.is_empty() && nodes.iter().all(|node| self.nodes.contains_key(node));
        let new: Vec<(ShardId, Vec<NodeId>)> =
            places.into_iter().filter(|(shard, nodes)| !self.replicas.contains_key(shard) && is_known(nodes)).collect();
        for (shard, nodes) in new {
            self.founders.insert(shard, nodes.iter().copied().collect());
            self.replicas.insert(shard, nodes);
        }
    }

    fn place(&mut self, shard: ShardId, from: &[NodeId], to: Vec<NodeId>) -> Result<(), Refusal> {
        let is_known = !to.is_empty() && to.iter().all(|node| self.nodes.contains_key(node));
        let Some(replicas) = self.replicas.get_mut(&shard).filter(|replicas| is_known && *replicas == from) else {
            return Err(Refusal::PlanOutdated { shard });
        };
        let leaving = self.leaving.entry(shard).or_default();
        leaving.extend(from);
        leaving.retain(|node| !to.contains(node));
        *replicas = to;
        Ok(())
    }

    fn forget(&mut self, id: NodeId) -> Result<(), Refusal> {
        let is_lost = self.known(id)?.site.state == SiteState::Lost;
        let held = self.replicas.iter().find(|(_, replicas)| replicas.contains(&id));
        let held = held.map(|(shard, _)| *shard);
        // Its group may still count on it, and on nothing else.
        let left = self.leaving.iter().find(|(_, nodes)| nodes.contains(&id)).map(|(shard, _)| *shard);
        if let Some(shard) = held.or(left).filter(|_| !is_lost) {
            return Err(Refusal::NodeHoldsShard { id, shard });
        }
        self.nodes.remove(&id);
        self.resting.remove(&id);
        self.forgotten.insert(id);
        self.leaving.values_mut().for_each(|nodes| _ = nodes.remove(&id));
        // What it alone held stays its own: nobody has it, and a plan cannot say otherwise.
        for replicas in self.replicas.values_mut().filter(|replicas| replicas.len() > 1) {
            replicas.retain(|node| *node != id);
        }
        Ok(())
    }

    /// Forgets shards that are gone.
    pub(super) fn follow(&mut self, shards: &BTreeSet<ShardId>) {
        self.replicas.retain(|shard, _| shards.contains(shard));
        self.founders.retain(|shard, _| shards.contains(shard));
        self.leaving.retain(|shard, nodes| shards.contains(shard) && !nodes.is_empty());
    }

    /// Places for those of these shards that have none, each with how many replicas are wanted of it: a plan, for
    /// [`LayoutCommand::Begin`]. On nodes that answer, if there are any. Empty while there is no node.
    pub fn plan(
        &self,
        shards: impl IntoIterator<Item = (ShardId, usize)>,
        answers: &dyn Fn(NodeId) -> bool,
    ) -> Placement {
        let is_new = |(shard, _): &(ShardId, usize)| !self.replicas.contains_key(shard);
        let mut new = shards.into_iter().filter(is_new).peekable();
        if new.peek().is_none() {
            return Placement::new();
        }
        let mut sites = self.sites();
        let is_up = |(id, site): (&NodeId, &Site)| site.state == SiteState::Up && answers(*id);
        if sites.iter().any(is_up) {
            sites.retain(|id, site| is_up((id, site)));
        }
        let mut planner = Planner::new(&sites, self.replicas.clone());
        let placed = new.map(|(shard, count)| (shard, planner.place(shard, count.max(1)).to_vec()));
        placed.filter(|(_, nodes)| !nodes.is_empty()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn join(layout: &mut Layout, id: NodeId) {
        let address = format!("node-{id}:6335");
        layout.apply(LayoutCommand::Join { id, address, zone: None }).unwrap();
    }

    fn three_nodes() -> Layout {
        let mut layout = Layout::default();
        (1..=3).for_each(|id| join(&mut layout, id));
        layout
    }

    /// Lets the layout follow these shards, as the log would.
    fn follow(layout: &mut Layout, ids: std::ops::Range<u64>, count: usize) {
        let shards: BTreeSet<ShardId> = ids.map(ShardId).collect();
        layout.follow(&shards);
        let places = layout.plan(shards.iter().map(|shard| (*shard, count)), &|_| true);
        layout.apply(LayoutCommand::Begin { places }).unwrap();
    }

    #[test]
    fn shards_are_placed_when_they_and_the_first_node_are_there() {
        let mut layout = Layout::default();
        follow(&mut layout, 1..3, 3);
        assert!(layout.placement().is_empty());
        join(&mut layout, 1);
        follow(&mut layout, 1..3, 3);
        assert_eq!(layout.replicas(ShardId(1)), [1]);
        assert_eq!(layout.founders(ShardId(1), 1), [1]);
        join(&mut layout, 2);
        follow(&mut layout, 1..4, 2);
        assert_eq!(layout.replicas(ShardId(1)), [1], "what is placed stays until it is planned otherwise");
        assert_eq!(layout.founders(ShardId(3), 2), layout.replicas(ShardId(3)));
        let again = Placement::from([(ShardId(3), vec![1])]);
        layout.apply(LayoutCommand::Begin { places: again }).unwrap();
        assert_eq!(layout.replicas(ShardId(3)).len(), 2);
        follow(&mut layout, 3..4, 2);
        assert_eq!(layout.placement().len(), 1);
        assert!(layout.founders(ShardId(1), 1).is_empty());
    }

    #[test]
    fn a_node_that_left_a_group_does_not_begin_it_again() {
        let mut layout = three_nodes();
        follow(&mut layout, 1..2, 3);
        let from = layout.replicas(ShardId(1)).to_vec();
        layout.apply(LayoutCommand::Place { shard: ShardId(1), from: from.clone(), to: vec![2, 3] }).unwrap();
        assert_eq!(layout.founders(ShardId(1), 1), [2, 3, 1], "it may still be a member");
        assert!(layout.keeps(ShardId(1), 1) && layout.keeps(ShardId(1), 2) && !layout.keeps(ShardId(1), 4));
        layout.apply(LayoutCommand::Left { shard: ShardId(1), id: 1 }).unwrap();
        assert!(!layout.keeps(ShardId(1), 1));
        assert!(
            (1..=3).all(|node| layout.founders(ShardId(1), node).is_empty()),
            "two that never came would begin it anew"
        );
        let late = layout.apply(LayoutCommand::Place { shard: ShardId(1), from, to: vec![1] });
        assert_eq!(late, Err(Refusal::PlanOutdated { shard: ShardId(1) }));
        let stranger = LayoutCommand::Place { shard: ShardId(1), from: vec![2, 3], to: vec![9] };
        assert_eq!(layout.apply(stranger), Err(Refusal::PlanOutdated { shard: ShardId(1) }));
    }

    #[test]
    fn an_empty_volume_at_a_known_address_is_a_new_node_and_the_old_one_is_lost() {
        let mut layout = three_nodes();
        let address = layout.nodes()[&2].address.clone();
        layout.apply(LayoutCommand::Join { id: 7, address: address.clone(), zone: None }).unwrap();
        assert_eq!(layout.nodes()[&2].site.state, SiteState::Lost);
        assert_eq!(layout.nodes()[&7], ClusterNode { address, site: Site { zone: None, state: SiteState::Up } });
        layout.apply(LayoutCommand::Forget { id: 2 }).unwrap();
        let back = LayoutCommand::Join { id: 2, address: "elsewhere:6335".to_owned(), zone: None };
        assert_eq!(layout.apply(back), Err(Refusal::NodeForgotten { id: 2 }));
        // A node that moved is the same one.
        layout
            .apply(LayoutCommand::Join { id: 3, address: "new:6335".to_owned(), zone: Some("z".to_owned()) })
            .unwrap();
        assert_eq!(layout.nodes()[&3].address, "new:6335");
    }

    #[test]
    fn a_node_is_forgotten_once_it_holds_nothing_or_is_lost() {
        let mut layout = three_nodes();
        follow(&mut layout, 1..2, 3);
        assert_eq!(
            layout.apply(LayoutCommand::Forget { id: 2 }),
            Err(Refusal::NodeHoldsShard { id: 2, shard: ShardId(1) })
        );
        layout.apply(LayoutCommand::SetState { id: 2, from: SiteState::Up, state: SiteState::Lost }).unwrap();
        layout.apply(LayoutCommand::Forget { id: 2 }).unwrap();
        assert_eq!(layout.replicas(ShardId(1)), [1, 3]);
        assert_eq!(layout.apply(LayoutCommand::Forget { id: 2 }), Err(Refusal::NodeUnknown { id: 2 }));
        assert_eq!(
            layout.apply(LayoutCommand::SetState { id: 9, from: SiteState::Up, state: SiteState::Up }),
            Err(Refusal::NodeUnknown { id: 9 })
        );
    }

    #[test]
    fn a_node_whose_groups_still_count_on_it_is_not_forgotten() {
        let mut layout = three_nodes();
        follow(&mut layout, 1..2, 1);
        let from = layout.replicas(ShardId(1)).to_vec();
        let to = if from == [2] { vec![3] } else { vec![2] };
        layout.apply(LayoutCommand::Place { shard: ShardId(1), from: from.clone(), to }).unwrap();
        let forget = || LayoutCommand::Forget { id: from[0] };
        let held = Err(Refusal::NodeHoldsShard { id: from[0], shard: ShardId(1) });
        assert_eq!(layout.apply(forget()), held, "it has the only copy");
        layout.apply(LayoutCommand::Left { shard: ShardId(1), id: from[0] }).unwrap();
        assert_eq!(layout.apply(forget()), Ok(()));
    }

    #[test]
    fn a_state_that_was_decided_on_from_another_one_is_refused() {
        let mut layout = three_nodes();
        layout.apply(LayoutCommand::SetState { id: 1, from: SiteState::Up, state: SiteState::Draining }).unwrap();
        let away = LayoutCommand::SetState { id: 1, from: SiteState::Up, state: SiteState::Away };
        assert_eq!(layout.apply(away), Err(Refusal::NodeChanged { id: 1 }));
        assert_eq!(layout.nodes()[&1].site.state, SiteState::Draining);
    }

    #[test]
    fn a_node_that_rests_leads_again_after_its_next_start() {
        let mut layout = three_nodes();
        layout.apply(LayoutCommand::Rest { id: 2 }).unwrap();
        assert!(layout.is_resting(2) && !layout.is_resting(1));
        join(&mut layout, 2);
        assert!(!layout.is_resting(2));
        assert_eq!(layout.apply(LayoutCommand::Rest { id: 9 }), Err(Refusal::NodeUnknown { id: 9 }));
    }

    #[test]
    fn a_node_that_comes_asks_for_its_share() {
        let mut layout = three_nodes();
        assert!(!layout.is_uneven(), "there is nothing to share");
        follow(&mut layout, 1..9, 2);
        join(&mut layout, 2);
        assert!(!layout.is_uneven(), "it was there already");
        join(&mut layout, 4);
        assert!(layout.is_uneven());
        layout.apply(LayoutCommand::Even).unwrap();
        assert!(!layout.is_uneven());
        layout.apply(LayoutCommand::SetState { id: 2, from: SiteState::Up, state: SiteState::Away }).unwrap();
        assert!(!layout.is_uneven());
        layout.apply(LayoutCommand::SetState { id: 2, from: SiteState::Away, state: SiteState::Up }).unwrap();
        assert!(layout.is_uneven(), "what it held has gone to others meanwhile");
    }

    #[test]
    fn a_cluster_keeps_its_first_name() {
        let mut layout = Layout::default();
        for cluster in ["a", "b"] {
            layout.apply(LayoutCommand::Found { cluster: cluster.to_owned() }).unwrap();
        }
        assert_eq!(layout.cluster(), Some("a"));
    }
}
