//! Plans, the layout and the steps of leaders together, in a simulated cluster: nodes come, stop, come back, lose their disks,
//! are drained and removed, replicas are moved by hand, steps and plans are lost on their way. Groups are modelled: who has a
//! vote, up to where each node has the log, what was acknowledged. A seed is a run; a failure names it.
//!
//! Whatever happens, every majority of a group's voters must hold what was acknowledged; and once nothing happens any more,
//! every shard must have all its replicas where they should be.

use super::*;
use crate::cluster::SiteState::{Away, Draining, Lost, Up};
use crate::model::collection::{CollectionName, VectorParams, VectorsConfig};
use crate::model::datetime::Timestamp;
use crate::model::{CollectionConfig, Metric};

const SEEDS: u64 = 200;
const EVENTS: u64 = 400;
/// Log entries of one write: more than a learner may lack to be taken for caught up.
const WRITE: u64 = 1_000;
/// Looks until all must be where it should be.
const QUIET_MAX: u64 = 3_000;
/// Looks after which a silent node is away.
const AWAY_AFTER: u64 = 20;

#[derive(Default)]
struct SimulatedGroup {
    voters: BTreeSet<NodeId>,
    learners: BTreeSet<NodeId>,
    leader: Option<NodeId>,
    acknowledged: u64,
}

#[derive(Default)]
struct SimulatedNode {
    is_up: bool,
    /// When it last was.
    seen_at: u64,
    /// Of each shard it has: up to where it has the log.
    logs: BTreeMap<ShardId, u64>,
}

struct World {
    seed: u64,
    rng: fastrand::Rng,
    state: MetaState,
    index: u64,
    now: u64,
    nodes: BTreeMap<NodeId, SimulatedNode>,
    groups: BTreeMap<ShardId, SimulatedGroup>,
    next_node: NodeId,
    /// Nodes whose disks are gone, or that were removed.
    gone: BTreeSet<NodeId>,
}

impl World {
    fn new(seed: u64) -> World {
        let rng = fastrand::Rng::with_seed(seed);
        let mut world = World {
            seed,
            rng,
            state: MetaState::default(),
            index: 0,
            now: 0,
            nodes: BTreeMap::new(),
            groups: BTreeMap::new(),
            next_node: 1,
            gone: BTreeSet::new(),
        };
        (0..3).for_each(|_| world.join(None));
        world
    }

    fn change(&mut self, command: MetaCommand) -> bool {
        self.index += 1;
        self.state.apply(self.index, command).is_ok()
    }

    fn change_layout(&mut self, command: LayoutCommand) -> bool {
        self.change(MetaCommand::Layout(command))
    }

    /// A new node, at the address of another one that lost its disk, or at one of its own.
    fn join(&mut self, at: Option<NodeId>) {
        let id = self.next_node;
        self.next_node += 1;
        let address = at.and_then(|at| Some(self.state.layout().nodes().get(&at)?.address.clone()));
        let address = address.unwrap_or_else(|| format!("node-{id}"));
        let zone = self.rng.bool().then(|| format!("zone-{}", self.rng.u8(0..3)));
        self.change_layout(LayoutCommand::Join { id, address, zone });
        self.nodes.insert(id, SimulatedNode { is_up: true, seen_at: self.now, logs: BTreeMap::new() });
    }

    fn any_node(&mut self) -> Option<NodeId> {
        let known: Vec<NodeId> = self.nodes.keys().copied().collect();
        self.rng.choice(known)
    }

    fn any_shard(&mut self) -> Option<ShardId> {
        let known: Vec<ShardId> = self.groups.keys().copied().collect();
        self.rng.choice(known)
    }

    /// Whether a node answers for a group: it is up and has its log.
    fn runs(&self, node: NodeId, shard: ShardId) -> bool {
        self.nodes.get(&node).is_some_and(|node| node.is_up && node.logs.contains_key(&shard))
    }

    fn log(&self, node: NodeId, shard: ShardId) -> Option<u64> {
        self.nodes.get(&node).and_then(|node| node.logs.get(&shard)).copied()
    }

    fn majority_runs(&self, voters: &BTreeSet<NodeId>, shard: ShardId) -> bool {
        voters.iter().filter(|node| self.runs(**node, shard)).count() > voters.len() / 2
    }

    /// Whether every majority of the group's voters has what was acknowledged.
    fn is_safe(&self, shard: ShardId, without: Option<NodeId>) -> bool {
        let Some(group) = self.groups.get(&shard).filter(|group| group.acknowledged > 0) else { return true };
        let has = |node: &&NodeId| {
            Some(**node) != without && self.log(**node, shard).is_some_and(|log| log >= group.acknowledged)
        };
        let lacking = group.voters.len() - group.voters.iter().filter(has).count();
        lacking < group.voters.len() / 2 + 1
    }

    fn event(&mut self) {
        match self.rng.u8(0..100) {
            0..8 => {
                let name = CollectionName::new(&format!("c{}", self.index)).unwrap();
                let by_name = [(String::new(), VectorParams::new(4, Metric::Dot))].into();
                let config = CollectionConfig {
                    shard_number: self.rng.u32(1..4),
                    replication_factor: self.rng.u32(1..5),
                    ..CollectionConfig::new(VectorsConfig { is_single: true, by_name })
                };
                if self.groups.len() < 40 {
                    self.change(MetaCommand::CreateCollection { name, config, created_at: Timestamp(0) });
                }
            }
            8..10 => {
                let names: Vec<String> = self.state.collections().map(|one| one.name.clone()).collect();
                if let Some(name) = self.rng.choice(names) {
                    self.change(MetaCommand::DeleteCollection { name, created_index: None });
                }
            }
            10..14 if self.nodes.len() < 9 => self.join(None),
            14..34 => {
                if let Some(node) = self.any_node().and_then(|id| self.nodes.get_mut(&id)) {
                    node.is_up = !node.is_up;
                }
            }
            34..38 => self.lose_a_disk(),
            38..42 => self.set_state(Up, Draining),
            42..46 => self.set_state(Draining, Up),
            46..52 => {
                // Not forced: what is refused must not harm, and neither must what is not.
                if let Some(id) = self.any_node()
                    && self.change_layout(LayoutCommand::Forget { id })
                {
                    self.gone.insert(id);
                }
            }
            52..60 => self.move_one(),
            60..64 => {
                if let Some(id) = self.any_node() {
                    self.change_layout(LayoutCommand::Rest { id });
                }
            }
            64..66 => _ = self.change_layout(LayoutCommand::Uneven),
            _ => {}
        }
    }

    fn set_state(&mut self, from: SiteState, state: SiteState) {
        if let Some(id) = self.any_node() {
            self.change_layout(LayoutCommand::SetState { id, from, state });
        }
    }

    /// Unless a group would have no majority left: disks fail of minorities only.
    fn lose_a_disk(&mut self) {
        let Some(id) = self.any_node() else { return };
        let is_survived = |(shard, group): (&ShardId, &SimulatedGroup)| {
            let left = group.voters.iter().filter(|voter| **voter != id && self.log(**voter, *shard).is_some()).count();
            !group.voters.contains(&id) || (left > group.voters.len() / 2 && self.is_safe(*shard, Some(id)))
        };
        // Nor one that has not begun yet.
        let layout = self.state.layout();
        let begins = |shard: &ShardId| !self.groups.contains_key(shard) && !layout.founders(*shard, id).is_empty();
        if self.groups.iter().all(is_survived) && !layout.placement().keys().any(begins) {
            self.nodes.remove(&id);
            self.gone.insert(id);
            self.join(Some(id));
        }
    }

    fn move_one(&mut self) {
        let (Some(shard), Some(to)) = (self.any_shard(), self.any_node()) else { return };
        let from = self.state.layout().replicas(shard).to_vec();
        let mut moved = from.clone();
        match self.rng.u8(0..3) {
            0 if moved.len() > 1 => _ = moved.pop(),
            1 => moved.push(to),
            _ => moved.iter_mut().take(1).for_each(|first| *first = to),
        }
        moved.dedup();
        let distinct: BTreeSet<NodeId> = moved.iter().copied().collect();
        if distinct.len() == moved.len() {
            self.change_layout(LayoutCommand::Place { shard, from, to: moved });
        }
    }

    /// What nodes, leaders and planners do between two events. `luck`: of a hundred steps so many succeed.
    fn look(&mut self, luck: u8) {
        self.now += 1;
        self.nodes_follow();
        let shards: Vec<ShardId> = self.groups.keys().copied().collect();
        for shard in shards {
            self.elect(shard);
            self.write(shard);
            if self.rng.u8(0..100) < luck {
                self.lead(shard);
            }
        }
        if self.rng.u8(0..100) < luck {
            self.plan();
        }
    }

    fn nodes_follow(&mut self) {
        let layout = Arc::clone(self.state.layout());
        let shards: BTreeSet<ShardId> = self.state.collections().flat_map(|one| one.shards.iter().copied()).collect();
        self.groups.retain(|shard, _| shards.contains(shard));
        let now = self.now;
        for (id, node) in &mut self.nodes {
            if node.is_up {
                node.seen_at = now;
                node.logs.retain(|shard, _| shards.contains(shard) && layout.keeps(*shard, *id));
                for shard in shards.iter().filter(|shard| layout.keeps(**shard, *id)) {
                    if node.logs.contains_key(shard) {
                        continue;
                    }
                    // It begins the group with the others, or waits for the group to take it in.
                    let founders = layout.founders(*shard, *id);
                    if !founders.is_empty() {
                        self.groups.entry(*shard).or_insert_with(|| SimulatedGroup {
                            voters: founders.iter().copied().collect(),
                            ..SimulatedGroup::default()
                        });
                    }
                    node.logs.insert(*shard, 0);
                }
                if layout.is_resting(*id) && self.rng.u8(0..10) == 0 {
                    node.is_up = false;
                }
            } else if self.rng.u8(0..40) == 0 {
                node.is_up = true;
            }
        }
        // Who starts again says so.
        let resting: Vec<NodeId> = self.nodes.keys().copied().filter(|id| layout.is_resting(*id)).collect();
        for id in resting {
            if self.nodes[&id].is_up
                && let Some(node) = layout.nodes().get(&id)
                && self.rng.u8(0..10) == 0
            {
                let (address, zone) = (node.address.clone(), node.site.zone.clone());
                self.change_layout(LayoutCommand::Join { id, address, zone });
            }
        }
    }

    fn elect(&mut self, shard: ShardId) {
        let group = &self.groups[&shard];
        let has_leader = group.leader.is_some_and(|id| group.voters.contains(&id) && self.runs(id, shard));
        let leader = match has_leader && self.majority_runs(&group.voters, shard) {
            true => group.leader,
            false if !self.majority_runs(&group.voters, shard) => None,
            // Of those that run, one whose log no other one's is ahead of.
            false => {
                let running = group.voters.iter().filter(|id| self.runs(**id, shard));
                let elected = running.max_by_key(|id| self.log(**id, shard)).copied();
                let log = elected.and_then(|id| self.log(id, shard)).unwrap_or(0);
                assert!(
                    log >= group.acknowledged,
                    "seed {}: the leader of shard {shard} has {log} of {}",
                    self.seed,
                    group.acknowledged
                );
                elected
            }
        };
        self.groups.get_mut(&shard).unwrap().leader = leader;
    }

    fn write(&mut self, shard: ShardId) {
        let group = &self.groups[&shard];
        let Some(leader) = group.leader else { return };
        let last = group.acknowledged.max(self.log(leader, shard).unwrap_or(0)) + WRITE;
        let members: Vec<NodeId> = group.voters.union(&group.learners).copied().collect();
        for id in members {
            if self.runs(id, shard) && (id == leader || self.rng.u8(0..10) < 8) {
                self.nodes.get_mut(&id).unwrap().logs.insert(shard, last);
            }
        }
        let group = &self.groups[&shard];
        let have = group.voters.iter().filter(|id| self.log(**id, shard) == Some(last)).count();
        if have > group.voters.len() / 2 {
            self.groups.get_mut(&shard).unwrap().acknowledged = last;
        }
    }

    fn lead(&mut self, shard: ShardId) {
        let group = &self.groups[&shard];
        let Some(leader) = group.leader else { return };
        let layout = Arc::clone(self.state.layout());
        let mut wanted = layout.replicas(shard).to_vec();
        wanted.sort_by_key(|id| layout.is_resting(*id));
        let members = group.voters.union(&group.learners);
        let view = GroupView {
            leader,
            voters: group.voters.clone(),
            learners: group.learners.clone(),
            matched: members.filter_map(|id| Some((*id, self.log(*id, shard)?))).collect(),
            last_index: self.log(leader, shard).unwrap_or(0),
            next_voters: None,
        };
        match next_step(&view, &wanted, usize::MAX) {
            Some(Step::AddLearner(id)) => _ = self.groups.get_mut(&shard).unwrap().learners.insert(id),
            Some(Step::RemoveLearner(id)) => _ = self.groups.get_mut(&shard).unwrap().learners.remove(&id),
            Some(Step::Lead(id)) if self.runs(id, shard) && self.log(id, shard) >= Some(group.acknowledged) => {
                self.groups.get_mut(&shard).unwrap().leader = Some(id);
            }
            Some(Step::SetVoters(voters)) => {
                let is_possible = self.majority_runs(&voters, shard) && self.majority_runs(&group.voters, shard);
                if is_possible {
                    // It is an entry behind all others, and a majority of both sets has it.
                    let last = self.log(leader, shard).unwrap_or(0);
                    let old = group.voters.clone();
                    for id in voters.union(&old).copied().collect::<Vec<_>>() {
                        if self.runs(id, shard) {
                            self.nodes.get_mut(&id).unwrap().logs.insert(shard, last);
                        }
                    }
                    let group = self.groups.get_mut(&shard).unwrap();
                    group.acknowledged = last;
                    group.learners.retain(|id| !voters.contains(id));
                    group.voters = voters;
                }
            }
            _ => {}
        }
        let group = &self.groups[&shard];
        let is_member = |id: &NodeId| group.voters.contains(id) || group.learners.contains(id);
        let left: Vec<NodeId> = layout.leaving(shard).into_iter().filter(|id| !is_member(id)).collect();
        for id in left {
            self.change_layout(LayoutCommand::Left { shard, id });
        }
    }

    fn plan(&mut self) {
        let layout = Arc::clone(self.state.layout());
        let silent = |world: &World, id: NodeId| world.nodes.get(&id).map_or(u64::MAX, |node| world.now - node.seen_at);
        for (id, node) in layout.nodes() {
            let (from, state) = match node.site.state {
                Up if silent(self, *id) > AWAY_AFTER => (Up, Away),
                Away if silent(self, *id) == 0 => (Away, Up),
                _ => continue,
            };
            self.change_layout(LayoutCommand::SetState { id: *id, from, state });
        }
        let shards: Vec<(ShardId, usize)> = self
            .state
            .collections()
            .flat_map(|one| one.shards.iter().map(|shard| (*shard, one.config.replication_factor as usize)))
            .collect();
        let answering: BTreeSet<NodeId> = self.nodes.keys().copied().filter(|id| silent(self, *id) == 0).collect();
        let places = self.state.layout().plan(shards, &|id| answering.contains(&id));
        if !places.is_empty() {
            self.change_layout(LayoutCommand::Begin { places });
            return;
        }
        for command in super::plan(&self.state) {
            if let LayoutCommand::Forget { id } = command {
                self.gone.insert(id);
            }
            self.change_layout(command);
        }
    }

    fn check(&self) {
        for (shard, group) in &self.groups {
            let logs: Vec<_> = group.voters.iter().map(|voter| (*voter, self.log(*voter, *shard))).collect();
            let layout = self.state.layout();
            assert!(
                self.is_safe(*shard, None),
                "seed {}, look {}: shard {shard} may lose {}: voters have {logs:?}, {:?} wanted, {:?} leaving",
                self.seed,
                self.now,
                group.acknowledged,
                layout.replicas(*shard),
                layout.leaving(*shard),
            );
        }
    }

    /// Whether all is where it should be.
    fn is_quiet(&self) -> Result<(), String> {
        let layout = self.state.layout();
        let up = layout.nodes().values().filter(|node| node.site.state == Up).count();
        for collection in self.state.collections() {
            for shard in &collection.shards {
                let replicas: BTreeSet<NodeId> = layout.replicas(*shard).iter().copied().collect();
                let on_up =
                    replicas.iter().filter(|id| layout.nodes().get(id).is_some_and(|node| node.site.state == Up));
                let least = (collection.config.replication_factor as usize).min(up);
                let Some(group) = self.groups.get(shard) else { return Err(format!("{shard} has no group")) };
                if on_up.count() < least || group.voters != replicas || !layout.leaving(*shard).is_empty() {
                    let leaving = layout.leaving(*shard);
                    return Err(format!("{shard}: {replicas:?} wanted, {:?} there, {leaving:?} leaving", group.voters));
                }
            }
        }
        if layout.nodes().values().any(|node| matches!(node.site.state, Away)) {
            return Err("nodes are away".to_owned());
        }
        Ok(())
    }
}

/// Runs a seed; a summary of where it ended.
fn run(seed: u64) -> String {
    let mut world = World::new(seed);
    for _ in 0..EVENTS {
        world.event();
        let looks = world.rng.u8(0..4);
        for _ in 0..looks {
            world.look(70);
            world.check();
        }
    }
    // Nothing happens any more: all that have a disk are up, and none is drained.
    let mut last = Ok(());
    for _ in 0..QUIET_MAX {
        world.nodes.values_mut().for_each(|node| node.is_up = true);
        let draining: Vec<NodeId> = world
            .state
            .layout()
            .nodes()
            .iter()
            .filter(|(_, node)| node.site.state == Draining)
            .map(|(id, _)| *id)
            .collect();
        for id in draining {
            world.change_layout(LayoutCommand::SetState { id, from: Draining, state: Up });
        }
        world.look(100);
        world.check();
        last = world.is_quiet();
        if last.is_ok() && !world.state.layout().is_uneven() {
            break;
        }
    }
    if let Err(why) = last {
        let lost: Vec<NodeId> = world.gone.iter().copied().collect();
        panic!("seed {seed} does not come to rest: {why}; gone: {lost:?}");
    }
    let layout = world.state.layout();
    format!(
        "{:?} {:?} {:?}",
        layout.nodes().keys(),
        layout.placement(),
        world.state.layout().nodes().values().map(|node| node.site.state == Lost).collect::<Vec<_>>()
    )
}

#[test]
fn two_hundred_simulated_clusters_lose_nothing_and_come_to_rest() {
    let given = std::env::var("QUIVER_SIMULATION_SEED").ok().map(|seed| seed.parse::<u64>().unwrap());
    let seeds = given.map_or(1..SEEDS + 1, |seed| seed..seed + 1);
    for seed in seeds {
        run(seed);
    }
}

#[test]
fn a_seed_is_a_run() {
    assert_eq!(run(7), run(7));
    assert_ne!(run(7), run(8));
}
