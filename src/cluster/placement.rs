//! Which nodes hold the replicas of which shard: pure, so that a plan can be looked at before it is carried out.
//!
//! The first node of a shard's list is the one that should lead it. A plan never takes a replica away without putting
//! another in its place: carrying it out adds first and removes then.
//!
//! Goals, in this order: replicas of a shard on different nodes, in as many zones as there are; on every node about as many
//! replicas, and about as many shards to lead; as few moves as that takes.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::model::ShardId;

/// A node's number.
pub type NodeId = u64;

/// A node as the planner sees it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Site {
    /// Nodes of one zone fail together.
    pub zone: Option<String>,
    /// Whether it may hold replicas.
    pub state: SiteState,
}

/// Whether a node may hold replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SiteState {
    /// It holds replicas and gets new ones.
    Up,
    /// It gets no new ones, and gives away those it has.
    Draining,
    /// It is gone for good: what it held is replaced from the others.
    Lost,
    /// It has not been heard of for a time: it gets no new ones, and those it has are replaced where others can take them.
    Away,
}

/// The replicas of each shard.
pub type Placement = BTreeMap<ShardId, Vec<NodeId>>;

/// A replica that goes from one node to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Move {
    /// Of which shard.
    pub shard: ShardId,
    /// Leaves, after `to` has everything.
    pub from: NodeId,
    /// Comes.
    pub to: NodeId,
}

/// Plans from what there is; each answer counts for the next.
pub struct Planner<'a> {
    sites: &'a BTreeMap<NodeId, Site>,
    placement: Placement,
    /// The shards with a replica on each node that is up, by node.
    held: BTreeMap<NodeId, BTreeSet<ShardId>>,
    /// How many shards each node is the first of.
    led: BTreeMap<NodeId, usize>,
    /// The nodes that are up by how many replicas they hold and how many shards they lead.
    by_load: BTreeSet<(usize, usize, NodeId)>,
}

impl<'a> Planner<'a> {
    /// A planner that begins with `placement`.
    pub fn new(sites: &'a BTreeMap<NodeId, Site>, placement: Placement) -> Planner<'a> {
        let up = sites.iter().filter(|(_, site)| site.state == SiteState::Up).map(|(id, _)| *id);
        let held: BTreeMap<NodeId, BTreeSet<ShardId>> = up.map(|id| (id, BTreeSet::new())).collect();
        let by_load = held.keys().map(|node| (0, 0, *node)).collect();
        let mut planner = Planner { sites, placement: Placement::new(), held, led: BTreeMap::new(), by_load };
        placement.into_iter().for_each(|(shard, replicas)| planner.set(shard, replicas));
        planner
    }

    /// What has been planned so far.
    pub fn placement(&self) -> &Placement {
        &self.placement
    }

    /// Puts `count` replicas of a new shard on nodes that are up; fewer if there are fewer.
    pub fn place(&mut self, shard: ShardId, count: usize) -> &[NodeId] {
        let mut replicas = Vec::with_capacity(count);
        while replicas.len() < count
            && let Some(node) = self.best(&replicas)
        {
            replicas.push(node);
        }
        self.set(shard, replicas);
        self.lead_evenly(shard);
        self.placement.get(&shard).map_or(&[], Vec::as_slice)
    }

    /// Gives every shard as many replicas as are `wanted` of it on nodes that are up, or as many as there are of these, in
    /// place of those that are not; what nobody can take stays where it is, but for nodes that are lost. More than wanted stay.
    /// At most `moves_max` replicas come; the shards that have the fewest left come first. A shard all of whose nodes are
    /// gone waits for them, unless another node still has it (`is_held`): nobody could give it to another. The shards that
    /// changed.
    pub fn repair(
        &mut self,
        wanted: impl Fn(ShardId) -> usize,
        is_held: impl Fn(ShardId) -> bool,
        moves_max: usize,
    ) -> Vec<ShardId> {
        let state = |node: &NodeId| self.sites.get(node).map_or(SiteState::Lost, |site| site.state);
        let is_there = |node: &NodeId| matches!(state(node), SiteState::Up | SiteState::Draining);
        let mut short: Vec<(usize, usize, ShardId)> = Vec::new();
        for (shard, replicas) in &self.placement {
            let up = replicas.iter().filter(|node| self.held.contains_key(node)).count();
            let wanted = wanted(*shard).max(1);
            if (up < wanted || up < replicas.len()) && (replicas.iter().any(is_there) || is_held(*shard)) {
                short.push((up, wanted, *shard));
            }
        }
        short.sort_unstable();
        let (mut changed, mut moves) = (Vec::new(), 0);
        for (_, wanted, shard) in short {
            let before = self.placement[&shard].clone();
            let (mut replicas, mut others): (Vec<NodeId>, Vec<NodeId>) =
                before.iter().copied().partition(|node| self.held.contains_key(node));
            others.sort_by_key(|node| state(node) == SiteState::Lost);
            while replicas.len() < wanted
                && moves < moves_max
                && let Some(node) = self.best(&replicas)
            {
                replicas.push(node);
                moves += 1;
            }
            // Where there was no room, even a node that is lost stays: its place is filled by the next plan.
            let has_room = moves < moves_max;
            let kept = others.into_iter().filter(|node| !has_room || state(node) != SiteState::Lost);
            replicas.extend(kept.take(wanted.saturating_sub(replicas.len())));
            if replicas.is_empty() || replicas.iter().collect::<BTreeSet<_>>() == before.iter().collect() {
                continue;
            }
            self.set(shard, replicas);
            self.lead_evenly(shard);
            changed.push(shard);
        }
        changed
    }

    /// Moves replicas from the fullest nodes to the emptiest until no node holds two more than another, or `moves_max`
    /// have been planned.
    pub fn rebalance(&mut self, moves_max: usize) -> Vec<Move> {
        let mut moves = Vec::new();
        while moves.len() < moves_max
            && let Some(one) = self.next_move()
        {
            let mut replicas = self.placement[&one.shard].clone();
            replicas.iter_mut().filter(|node| **node == one.from).for_each(|node| *node = one.to);
            self.set(one.shard, replicas);
            moves.push(one);
        }
        moves
    }

    /// Chooses who should lead, evenly, where that is not so already. The shards whose first node changed.
    pub fn balance_leaders(&mut self) -> Vec<ShardId> {
        let shards: Vec<ShardId> = self.placement.keys().copied().collect();
        shards.into_iter().filter(|shard| self.lead_evenly(*shard)).collect()
    }

    fn next_move(&self) -> Option<Move> {
        for (most, _, from) in self.by_load.iter().rev() {
            // What cannot go to one node of a zone cannot go to another, but where that one has a replica already: one try
            // for each zone is enough.
            let mut tried = BTreeSet::new();
            for (_, _, to) in self.by_load.iter().take_while(|(least, ..)| least + 1 < *most) {
                if !tried.insert(self.zone(*to).ok_or(*to)) {
                    continue;
                }
                let moveable = self.held[from].iter().find(|shard| self.may_move(**shard, *from, *to));
                if let Some(shard) = moveable {
                    return Some(Move { shard: *shard, from: *from, to: *to });
                }
            }
        }
        None
    }

    fn zone(&self, node: NodeId) -> Option<&str> {
        self.sites.get(&node).and_then(|site| site.zone.as_deref())
    }

    /// Whether the replicas of a shard are spread as well afterwards.
    fn may_move(&self, shard: ShardId, from: NodeId, to: NodeId) -> bool {
        let replicas = &self.placement[&shard];
        let others: Vec<NodeId> = replicas.iter().copied().filter(|node| *node != from).collect();
        !replicas.contains(&to) && self.in_zone_of(to, &others) <= self.in_zone_of(from, &others)
    }

    /// The node that should get the next replica of a shard that has these.
    fn best(&self, replicas: &[NodeId]) -> Option<NodeId> {
        let mut best: Option<(usize, NodeId)> = None;
        for (_, _, node) in self.by_load.iter().filter(|(.., node)| !replicas.contains(node)) {
            let beside = self.in_zone_of(*node, replicas);
            if best.is_none_or(|(least, _)| beside < least) {
                best = Some((beside, *node));
            }
            if beside == 0 {
                break;
            }
        }
        best.map(|(_, node)| node)
    }

    /// How many of `others` are in the zone of `node`. A node without a zone is one of its own.
    fn in_zone_of(&self, node: NodeId, others: &[NodeId]) -> usize {
        match self.zone(node) {
            None => 0,
            own => others.iter().filter(|other| self.zone(**other) == own).count(),
        }
    }

    /// Puts another replica first if it leads two less.
    fn lead_evenly(&mut self, shard: ShardId) -> bool {
        let Some(replicas) = self.placement.get(&shard) else { return false };
        let led = |node: NodeId| self.led.get(&node).copied().unwrap_or_default();
        let up = replicas.iter().copied().filter(|node| self.held.contains_key(node));
        let (Some(first), Some(least)) = (replicas.first().copied(), up.min_by_key(|node| (led(*node), *node))) else {
            return false;
        };
        if self.held.contains_key(&first) && led(first) <= led(least) + 1 {
            return false;
        }
        let mut replicas = replicas.clone();
        replicas.retain(|node| *node != least);
        replicas.insert(0, least);
        self.set(shard, replicas);
        true
    }

    fn set(&mut self, shard: ShardId, replicas: Vec<NodeId>) {
        let old = self.placement.remove(&shard).unwrap_or_default();
        for (place, node) in old.iter().enumerate() {
            self.load(*node, |held, led| {
                held.remove(&shard);
                *led -= usize::from(place == 0);
            });
        }
        for (place, node) in replicas.iter().enumerate() {
            self.load(*node, |held, led| {
                held.insert(shard);
                *led += usize::from(place == 0);
            });
        }
        self.placement.insert(shard, replicas);
    }

    /// Changes what a node that is up holds and leads.
    fn load(&mut self, node: NodeId, change: impl FnOnce(&mut BTreeSet<ShardId>, &mut usize)) {
        let Some(held) = self.held.get_mut(&node) else { return };
        let led = self.led.entry(node).or_default();
        self.by_load.remove(&(held.len(), *led, node));
        change(held, led);
        self.by_load.insert((held.len(), *led, node));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sites(count: u64, zones: u64) -> BTreeMap<NodeId, Site> {
        let site = |id| Site { zone: (zones > 0).then(|| format!("z{}", id % zones)), state: SiteState::Up };
        (1..=count).map(|id| (id, site(id))).collect()
    }

    fn placed(sites: &BTreeMap<NodeId, Site>, shards: u64, count: usize) -> Placement {
        let mut planner = Planner::new(sites, Placement::new());
        (1..=shards).for_each(|shard| _ = planner.place(ShardId(shard), count));
        planner.placement().clone()
    }

    fn loads(sites: &BTreeMap<NodeId, Site>, placement: &Placement) -> BTreeMap<NodeId, (usize, usize)> {
        let mut loads: BTreeMap<NodeId, (usize, usize)> =
            sites.iter().filter(|(_, site)| site.state == SiteState::Up).map(|(id, _)| (*id, (0, 0))).collect();
        for replicas in placement.values() {
            for (place, node) in replicas.iter().enumerate() {
                if let Some((held, led)) = loads.get_mut(node) {
                    *held += 1;
                    *led += usize::from(place == 0);
                }
            }
        }
        loads
    }

    /// By how much the loads differ: replicas, shards to lead.
    fn spread(sites: &BTreeMap<NodeId, Site>, placement: &Placement) -> (usize, usize) {
        let loads = loads(sites, placement);
        let range = |of: fn(&(usize, usize)) -> usize| {
            let values = || loads.values().map(of);
            values().max().unwrap_or_default() - values().min().unwrap_or_default()
        };
        (range(|load| load.0), range(|load| load.1))
    }

    /// Different nodes, and as many zones as can be.
    fn check_spread(sites: &BTreeMap<NodeId, Site>, placement: &Placement, zones: usize) {
        for (shard, replicas) in placement {
            let nodes: BTreeSet<&NodeId> = replicas.iter().collect();
            assert_eq!(nodes.len(), replicas.len(), "{shard}: {replicas:?}");
            let in_zones: BTreeSet<_> = replicas.iter().map(|node| sites[node].zone.as_deref()).collect();
            assert!(in_zones.len() >= replicas.len().min(zones), "{shard}: {replicas:?} in {in_zones:?}");
        }
    }

    #[test]
    fn replicas_are_spread_over_nodes_and_zones() {
        let sites = sites(9, 3);
        let placement = placed(&sites, 90, 3);
        check_spread(&sites, &placement, 3);
        assert_eq!(spread(&sites, &placement), (0, 0));
        // With fewer nodes than replicas there are fewer.
        let two = self::sites(2, 0);
        assert!(placed(&two, 5, 3).values().all(|replicas| replicas.len() == 2));
        assert!(placed(&BTreeMap::new(), 1, 3)[&ShardId(1)].is_empty());
    }

    #[test]
    fn what_a_lost_node_held_is_replaced_the_rarest_first() {
        let mut sites = sites(9, 3);
        let before = placed(&sites, 90, 3);
        sites.get_mut(&1).unwrap().state = SiteState::Lost;
        sites.get_mut(&2).unwrap().state = SiteState::Lost;
        let mut planner = Planner::new(&sites, before.clone());
        let left = |shard: &ShardId| before[shard].iter().filter(|node| **node > 2).count();
        let first = planner.repair(|_| 3, |_| false, 4);
        let rarest = before.keys().map(left).min().unwrap();
        assert!(first.iter().all(|shard| left(shard) == rarest), "{first:?}");
        while !planner.repair(|_| 3, |_| false, 10).is_empty() {}
        let after = planner.placement().clone();
        assert!(after.values().all(|replicas| replicas.len() == 3 && replicas.iter().all(|node| *node > 2)));
        check_spread(&sites, &after, 3);
        let in_zone = |zone: u64| loads(&sites, &after).into_iter().filter(move |(node, _)| node % 3 == zone);
        for zone in 0..3 {
            let held: Vec<usize> = in_zone(zone).map(|(_, (held, _))| held).collect();
            assert!(held.iter().max().unwrap() - held.iter().min().unwrap() <= 2, "{held:?} in zone {zone}");
        }
        // What needed nothing was left alone.
        assert!(before.iter().all(|(shard, replicas)| left(shard) < 3 || after[shard] == *replicas));
    }

    #[test]
    fn a_shard_whose_nodes_are_all_lost_waits_for_them() {
        let mut sites = sites(4, 0);
        let before = placed(&sites, 4, 2);
        for node in &before[&ShardId(1)] {
            sites.get_mut(node).unwrap().state = SiteState::Lost;
        }
        let mut planner = Planner::new(&sites, before.clone());
        planner.repair(|_| 2, |_| false, 100);
        assert_eq!(planner.placement()[&ShardId(1)], before[&ShardId(1)]);
        // A node that should have given it away has it still.
        planner.repair(|_| 2, |shard| shard == ShardId(1), 100);
        assert!(planner.placement()[&ShardId(1)].iter().all(|node| sites[node].state == SiteState::Up));
    }

    #[test]
    fn a_new_node_gets_its_share_by_as_many_moves_as_it_takes() {
        let mut sites = sites(4, 0);
        let before = placed(&sites, 100, 3);
        sites.insert(5, Site { zone: None, state: SiteState::Up });
        let mut planner = Planner::new(&sites, before);
        let moves = planner.rebalance(1_000);
        assert_eq!(moves.len(), 300 / 5);
        assert!(moves.iter().all(|one| one.to == 5));
        planner.balance_leaders();
        let (replicas, leaders) = spread(&sites, planner.placement());
        assert!(replicas <= 1 && leaders <= 2, "{:?}", loads(&sites, planner.placement()));
        assert!(planner.rebalance(1_000).is_empty());
    }

    /// 20,000 shards with three replicas each on 200 nodes in four zones: a zone's quarter is lost, comes back as new nodes,
    /// and one node is drained.
    #[test]
    fn two_hundred_nodes_with_twenty_thousand_shards() {
        let mut sites = sites(200, 4);
        let placement = placed(&sites, 20_000, 3);
        check_spread(&sites, &placement, 3);
        assert!(spread(&sites, &placement).0 <= 2);
        let lost_count: usize = (4..=48).step_by(4).map(|node| loads(&sites, &placement)[&node].0).sum();
        for lost in (4..=48).step_by(4) {
            sites.get_mut(&lost).unwrap().state = SiteState::Lost;
        }
        let mut planner = Planner::new(&sites, placement.clone());
        planner.repair(|_| 3, |_| false, usize::MAX);
        let repaired = planner.placement().clone();
        check_spread(&sites, &repaired, 3);
        let came = |before: &Placement, after: &Placement| -> usize {
            after.iter().map(|(shard, now)| now.iter().filter(|node| !before[shard].contains(node)).count()).sum()
        };
        // What the lost nodes held came to others, and no other replica moved.
        assert_eq!(came(&placement, &repaired), lost_count);
        for new in 201..=212 {
            sites.insert(new, Site { zone: Some("z0".to_owned()), state: SiteState::Up });
        }
        sites.get_mut(&7).unwrap().state = SiteState::Draining;
        let mut planner = Planner::new(&sites, repaired.clone());
        planner.repair(|_| 3, |_| false, usize::MAX);
        planner.rebalance(usize::MAX);
        planner.balance_leaders();
        let after = planner.placement().clone();
        check_spread(&sites, &after, 3);
        assert!(after.values().all(|replicas| replicas.len() == 3 && !replicas.contains(&7)));
        assert!(spread(&sites, &after).0 <= 2, "{:?}", spread(&sites, &after));
        assert!(came(&repaired, &after) < 13 * 320, "{} replicas moved", came(&repaired, &after));
    }

    proptest! {
        #[test]
        fn plans_keep_what_they_promise(
            nodes in 1..12u64, zones in 0..4u64, shards in 0..40u64, count in 1..4usize,
            states in proptest::collection::vec(0..6u8, 12), moves_max in 0..30usize,
        ) {
            let mut sites = sites(nodes, zones);
            let before = placed(&sites, shards, count);
            for (site, state) in sites.values_mut().zip(states) {
                site.state = match state {
                    0 => SiteState::Lost,
                    1 => SiteState::Draining,
                    2 => SiteState::Away,
                    _ => SiteState::Up,
                };
            }
            let up = sites.values().filter(|site| site.state == SiteState::Up).count();
            let mut planner = Planner::new(&sites, before.clone());
            while !planner.repair(|_| count, |_| false, moves_max.max(count)).is_empty() {}
            let moved = planner.rebalance(moves_max);
            prop_assert!(moved.len() <= moves_max);
            planner.balance_leaders();
            let after = planner.placement();
            prop_assert_eq!(after.len(), before.len());
            check_spread(&sites, after, 1);
            for (shard, replicas) in after {
                let state = |node: &NodeId| sites[node].state;
                let is_gone = |node: &NodeId| matches!(state(node), SiteState::Lost | SiteState::Away);
                let on_up = replicas.iter().filter(|node| state(node) == SiteState::Up).count();
                if before[shard].iter().all(is_gone) {
                    prop_assert_eq!(replicas, &before[shard]);
                    continue;
                }
                prop_assert_eq!(on_up, count.min(up));
                prop_assert!(replicas.iter().all(|node| state(node) != SiteState::Lost));
                // Whoever is not up keeps what nobody can take.
                let others = before[shard].iter().filter(|node| !matches!(state(node), SiteState::Up | SiteState::Lost));
                prop_assert_eq!(replicas.len(), (on_up + others.count()).min(count).max(on_up));
            }
        }
    }
}
