//! What leaders do so that every group comes to have the members it should have, and what the leader of the `meta` group
//! plans: new shards get places, what nodes that are away or gone held is replaced, new nodes get their share.
//!
//! The plans are pure ([`Planner`]) and go into the log; whoever leads a group takes the steps there ([`next_step`]). Both look
//! again whenever something changed, and now and then, so that nothing that failed is left undone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::time::MissedTickBehavior;

use super::shards::{RunningShard, Shards};
use super::{Error, errors};
use crate::cluster::{
    ClusterNode, GroupView, LayoutCommand, Meta, MetaChange, MetaCommand, MetaState, NodeId, Planner, SiteState, Step,
    next_step, outcome_from_reply,
};
use crate::model::ShardId;
use crate::raft::{Change, Group, Peer, ProposeError};

/// How many nodes have a vote in the `meta` group; the others follow it.
const META_VOTERS_MAX: usize = 5;
/// How often leaders look at their groups, unless something changes.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);
/// How long one step may take before the leader looks again.
const STEP_MAX: Duration = Duration::from_secs(30);
/// Replicas that come at the same time, on all nodes: each takes a whole state over the network.
const MOVES_AT_ONCE_MAX: usize = 8;
/// A node that has not been heard of for this long gets no new shards for now.
const ANSWERS_WITHIN: Duration = Duration::from_secs(2);
/// How long a new leader waits for the first sign of a node: a few heartbeats.
const FIRST_HEARD_MAX: Duration = Duration::from_millis(600);
/// A node that was away is back when it has been heard of within this time.
const BACK_WITHIN: Duration = Duration::from_secs(3);

/// What a leader works with.
pub(super) struct Leading {
    pub(super) id: NodeId,
    pub(super) meta: Arc<Meta>,
    pub(super) meta_group: Group,
    pub(super) shards: Arc<Shards>,
    /// How long a node may be silent before its replicas are replaced.
    pub(super) replace_after: Duration,
    pub(super) planned: Mutex<Planned>,
}

/// What the leader of the `meta` group remembers between two looks.
#[derive(Default)]
pub(super) struct Planned {
    /// In which it leads that group.
    term: Option<u64>,
    /// Since when it knows of each node in that term.
    known_since: BTreeMap<NodeId, Instant>,
    /// The state in which there was nothing to plan.
    nothing_in: Option<Arc<MetaState>>,
}

/// Something that is done by one at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Job {
    Plan,
    MetaGroup,
    Shard(ShardId),
}

impl Leading {
    /// Never ends. Dropping it leaves what is under way for the next leader to end.
    pub(super) async fn run(self: Arc<Leading>) {
        let mut changes = self.meta.changes();
        let mut looks = tokio::time::interval_at(tokio::time::Instant::now(), LOOK_INTERVAL);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // One group that does not answer keeps no other waiting.
        let mut busy: BTreeSet<Job> = BTreeSet::new();
        let mut under_way: FuturesUnordered<BoxFuture<'_, Job>> = FuturesUnordered::new();
        loop {
            tokio::select! {
                Some(done) = under_way.next(), if !under_way.is_empty() => {
                    busy.remove(&done);
                    continue;
                }
                _ = looks.tick() => {}
                changed = changes.changed() => if changed.is_err() { return },
            }
            for (job, work) in self.jobs() {
                if busy.insert(job) {
                    under_way.push(work);
                }
            }
        }
    }

    /// What there may be to do now.
    fn jobs(&self) -> Vec<(Job, BoxFuture<'_, Job>)> {
        let mut jobs: Vec<(Job, BoxFuture<'_, Job>)> = Vec::new();
        if self.meta_group.status().is_leader {
            jobs.push((Job::MetaGroup, Box::pin(self.lead_meta())));
            jobs.push((Job::Plan, Box::pin(self.plan())));
        } else {
            *self.planned.lock() = Planned::default();
        }
        let table = self.shards.table();
        for shard in table.running.values().filter(|shard| shard.group.status().is_leader) {
            jobs.push((Job::Shard(shard.id), Box::pin(self.lead(Arc::clone(shard)))));
        }
        jobs
    }

    async fn lead_meta(&self) -> Job {
        let state = self.meta.state();
        let there = state.layout().nodes().iter().filter(|(_, node)| node.site.state != SiteState::Lost);
        // Whoever leads goes on to, unless it is about to stop; who is away has no vote where another can have it.
        let rank = |(id, node): (&NodeId, &ClusterNode)| {
            (state.layout().is_resting(*id), *id != self.id, node.site.state == SiteState::Away, *id)
        };
        let mut wanted: Vec<_> = there.map(rank).collect();
        wanted.sort_unstable();
        let wanted: Vec<NodeId> = wanted.into_iter().map(|(.., id)| id).collect();
        self.step(&self.meta_group, &wanted, META_VOTERS_MAX).await;
        Job::MetaGroup
    }

    async fn lead(&self, shard: Arc<RunningShard>) -> Job {
        let state = self.meta.state();
        let layout = state.layout();
        let mut wanted = layout.replicas(shard.id).to_vec();
        if wanted.is_empty() {
            // Others have taken its place.
            return Job::Shard(shard.id);
        }
        wanted.sort_by_key(|id| layout.is_resting(*id));
        self.step(&shard.group, &wanted, usize::MAX).await;
        self.report_left(shard.id, &shard.group).await;
        Job::Shard(shard.id)
    }

    /// Takes the next step, if there is one, as far as it goes.
    async fn step(&self, group: &Group, wanted: &[NodeId], voters_max: usize) {
        let Some(step) = next_step(&view(group, self.id), wanted, voters_max) else { return };
        let change = match step {
            Step::AddLearner(id) => {
                let state = self.meta.state();
                let address = state.layout().nodes().get(&id).map(|node| node.address.clone()).unwrap_or_default();
                Change::AddLearner(Peer { id, address })
            }
            Step::SetVoters(voters) => Change::SetVoters(voters),
            Step::RemoveLearner(id) => Change::RemoveLearner(id),
            Step::Lead(id) => Change::Lead(id),
        };
        let shard = group.shard();
        tracing::info!(%shard, ?change, "a group changes");
        match tokio::time::timeout(STEP_MAX, group.change_here(change)).await {
            // Another one leads by now, and sees for itself.
            Ok(Ok(()) | Err(ProposeError::NoLeader { .. })) => {}
            Ok(Err(error)) => tracing::warn!(%shard, %error, "a group could not be changed; it is tried again"),
            Err(_) => tracing::warn!(%shard, "a change of a group takes long; it is looked at again"),
        }
    }

    /// Says which nodes do not belong to the group any more, so that they can remove what they have of it.
    async fn report_left(&self, shard: ShardId, group: &Group) {
        let members = group.members();
        let state = self.meta.state();
        let leaving = state.layout().leaving(shard);
        let is_member = |id: &NodeId| members.voters.contains_key(id) || members.learners.contains_key(id);
        if members.next_voters.is_some() {
            return;
        }
        for id in leaving.iter().copied().filter(|id| !is_member(id)) {
            let left = MetaCommand::Layout(LayoutCommand::Left { shard, id });
            if let Err(error) = propose(&self.meta_group, &left).await {
                tracing::warn!(%shard, %error, "a node that left a group cannot be told of yet");
            }
        }
    }

    async fn plan(&self) -> Job {
        if let Err(error) = self.try_plan().await {
            tracing::warn!(%error, "a plan could not be agreed on; it is made again");
        }
        Job::Plan
    }

    async fn try_plan(&self) -> Result<(), Error> {
        self.note_presence().await?;
        let state = self.meta.state();
        let is_old = |planned: &Planned| planned.nothing_in.as_ref().is_some_and(|known| Arc::ptr_eq(known, &state));
        if is_old(&self.planned.lock()) {
            return Ok(());
        }
        // New shards do not begin on nodes that do not answer, while there are others.
        let hearing = self.hearing();
        let is_unplaced = |shard: &ShardId| state.layout().replicas(*shard).is_empty();
        let has_new = state.collections().flat_map(|one| one.all_shards()).any(|shard| is_unplaced(&shard));
        if has_new && state.layout().nodes().keys().any(|id| hearing.is_open(*id)) {
            return Ok(());
        }
        let answers = |id: NodeId| hearing.answers(id, ANSWERS_WITHIN);
        if place(&state, &self.meta_group, &answers).await? {
            return Ok(());
        }
        let commands = plan(&state);
        if commands.is_empty() {
            self.planned.lock().nothing_in = Some(state);
        }
        for command in commands {
            tracing::info!(?command, "a plan");
            propose(&self.meta_group, &MetaCommand::Layout(command)).await?;
        }
        Ok(())
    }

    /// Says which nodes have not been heard of for long, and which are back.
    async fn note_presence(&self) -> Result<(), Error> {
        let hearing = self.hearing();
        let state = self.meta.state();
        for (id, node) in state.layout().nodes().iter().filter(|(id, _)| **id != self.id) {
            let silent = hearing.silent(*id);
            let (from, now) = match node.site.state {
                SiteState::Up if silent > self.replace_after => (SiteState::Up, SiteState::Away),
                SiteState::Away if hearing.answers(*id, BACK_WITHIN) => (SiteState::Away, SiteState::Up),
                _ => continue,
            };
            tracing::warn!(node = id, silent_s = silent.as_secs(), state = ?now, "a node is seen otherwise");
            let change = LayoutCommand::SetState { id: *id, from, state: now };
            propose(&self.meta_group, &MetaCommand::Layout(change)).await?;
        }
        Ok(())
    }

    /// What this node has heard of the others since it leads.
    fn hearing(&self) -> Hearing {
        let term = self.meta_group.status().term;
        let mut planned = self.planned.lock();
        if planned.term != Some(term) {
            *planned = Planned { term: Some(term), ..Planned::default() };
        }
        let state = self.meta.state();
        let nodes = state.layout().nodes();
        planned.known_since.retain(|id, _| nodes.contains_key(id));
        for id in nodes.keys() {
            planned.known_since.entry(*id).or_insert_with(Instant::now);
        }
        let known_for = planned.known_since.iter().map(|(id, since)| (*id, since.elapsed())).collect();
        Hearing { own: self.id, heard: self.meta_group.members().heard, known_for }
    }
}

/// What a leader has heard of the other nodes since it leads.
struct Hearing {
    own: NodeId,
    /// How long ago.
    heard: BTreeMap<NodeId, Duration>,
    /// For how long this leader has known that they are there.
    known_for: BTreeMap<NodeId, Duration>,
}

impl Hearing {
    /// How long a node has been silent, as far as this leader can know.
    fn silent(&self, id: NodeId) -> Duration {
        let known_for = || self.known_for.get(&id).copied().unwrap_or_default();
        self.heard.get(&id).copied().unwrap_or_else(known_for)
    }

    /// Whether a node was heard of within this time.
    fn answers(&self, id: NodeId, within: Duration) -> bool {
        id == self.own || self.heard.get(&id).is_some_and(|ago| *ago < within)
    }

    /// Whether it is too early to tell whether a node answers.
    fn is_open(&self, id: NodeId) -> bool {
        id != self.own && !self.heard.contains_key(&id) && self.silent(id) < FIRST_HEARD_MAX
    }
}

/// What is to be changed of where replicas are, as far as it may begin now; empty if all is well or on its way.
fn plan(state: &MetaState) -> Vec<LayoutCommand> {
    let layout = state.layout();
    let factors: BTreeMap<ShardId, usize> = state
        .collections()
        .flat_map(|one| one.all_shards().map(move |shard| (shard, one.replication_factor(shard))))
        .collect();
    let sites = layout.sites();
    let mut planner = Planner::new(&sites, layout.placement().clone());
    let room = MOVES_AT_ONCE_MAX.saturating_sub(layout.moving());
    // A node that should give a shard away has it until others do.
    let is_there =
        |node: &NodeId| sites.get(node).is_some_and(|site| matches!(site.state, SiteState::Up | SiteState::Draining));
    let is_held = |shard| layout.leaving(shard).iter().any(is_there);
    let mut changed = planner.repair(|shard| factors.get(&shard).copied().unwrap_or(1), is_held, room);
    // A node that another one took the place of, and that nobody counts on any more.
    let replaced = layout.nodes().iter().filter(|(id, node)| {
        let is_replaced = node.site.state == SiteState::Lost && node.address.is_empty();
        is_replaced && !layout.is_counted_on(**id)
    });
    if changed.is_empty()
        && let Some((id, _)) = replaced.into_iter().next()
    {
        return vec![LayoutCommand::Forget { id: *id }];
    }
    // What makes up for a loss goes first; the rest waits until nothing moves.
    // Whoever copies a shard's points to others would have to begin anew.
    let is_resharding = state.collections().any(|one| one.resharding.is_some());
    if changed.is_empty() && layout.moving() == 0 && !is_resharding {
        if layout.is_uneven() {
            changed = planner.rebalance(room).into_iter().map(|one| one.shard).collect();
            changed.sort_unstable();
            changed.dedup();
            if changed.is_empty() {
                return vec![LayoutCommand::Even];
            }
        } else {
            changed = planner.balance_leaders();
        }
    }
    let place = |shard: ShardId| LayoutCommand::Place {
        shard,
        from: layout.replicas(shard).to_vec(),
        to: planner.placement().get(&shard).cloned().unwrap_or_default(),
    };
    changed.into_iter().map(place).collect()
}

/// Gives shards that have no places some, on nodes that answer if there are any. False: there are no such shards.
pub(super) async fn place(
    state: &MetaState,
    meta_group: &Group,
    answers: &(dyn Fn(NodeId) -> bool + Sync),
) -> Result<bool, Error> {
    let shards = state
        .collections()
        .flat_map(|collection| collection.all_shards().map(move |shard| (shard, collection.replication_factor(shard))));
    let places = state.layout().plan(shards, answers);
    if places.is_empty() {
        return Ok(false);
    }
    propose(meta_group, &MetaCommand::Layout(LayoutCommand::Begin { places })).await.map(|_| true)
}

/// A group as [`next_step`] takes it.
pub(super) fn view(group: &Group, leader: NodeId) -> GroupView {
    let (members, status) = (group.members(), group.status());
    GroupView {
        leader,
        voters: members.voters.keys().copied().collect(),
        learners: members.learners.keys().copied().collect(),
        matched: members.matched,
        last_index: status.last_log_index.unwrap_or(0),
        next_voters: members.next_voters,
    }
}

/// Proposes a change of the state, and waits until this node knows of it. The change's log index, and what it did.
pub(super) async fn propose(group: &Group, command: &MetaCommand) -> Result<(u64, MetaChange), Error> {
    let proposed = group.propose(command.encode()).await.map_err(errors::from_propose)?;
    let unreadable = || Error::OutcomeUnknown { why: "the meta group's reply is not readable".to_owned() };
    let outcome = outcome_from_reply(&proposed.reply).ok_or_else(unreadable)?;
    let change = outcome.map_err(errors::from_refusal)?;
    // It is done, whatever this node comes to know of it.
    let unseen = |error: ProposeError| Error::OutcomeUnknown { why: format!("it is done, but not here yet: {error}") };
    group.wait_applied(proposed.index).await.map_err(unseen)?;
    Ok((proposed.index, change))
}

#[cfg(test)]
#[path = "leading_tests.rs"]
mod tests;
