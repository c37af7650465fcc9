//! From the members a group has to those it should have, one step at a time: pure. The group's leader takes the steps.
//!
//! A step never makes the group smaller than it was before all that should be there are voters: redundancy does not drop.
//! Whatever goes wrong between two steps, the next one is found from what is there then.

use std::collections::{BTreeMap, BTreeSet};

use super::placement::NodeId;

/// A learner this close behind the leader, in entries, is as good as caught up: what is left comes while it becomes a voter.
const LAG_MAX: u64 = 128;

/// A group as its leader sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupView {
    /// The leader, which sees it so.
    pub leader: NodeId,
    /// Have a vote.
    pub voters: BTreeSet<NodeId>,
    /// Have the log and no vote.
    pub learners: BTreeSet<NodeId>,
    /// Up to where each has the log.
    pub matched: BTreeMap<NodeId, u64>,
    /// The last entry of the leader's log.
    pub last_index: u64,
    /// While a change of voters is under way: the voters there will be.
    pub next_voters: Option<BTreeSet<NodeId>>,
}

/// What the leader does next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Replicates to this node.
    AddLearner(NodeId),
    /// Makes these the voters.
    SetVoters(BTreeSet<NodeId>),
    /// Replicates to this node, which has no vote, no more.
    RemoveLearner(NodeId),
    /// Lets this voter lead.
    Lead(NodeId),
}

impl GroupView {
    fn is_close(&self, node: NodeId) -> bool {
        node == self.leader || self.matched.get(&node).is_some_and(|matched| matched + LAG_MAX >= self.last_index)
    }
}

/// The next step towards `wanted`, whose first should lead; of these the first `voters_max` have a vote. None: it is there, or
/// there is something to wait for.
pub fn next_step(group: &GroupView, wanted: &[NodeId], voters_max: usize) -> Option<Step> {
    if let Some(voters) = &group.next_voters {
        // Whoever began it may be gone: it is ended before anything else.
        return Some(Step::SetVoters(voters.clone()));
    }
    if wanted.is_empty() {
        return None;
    }
    let is_member = |node: &NodeId| group.voters.contains(node) || group.learners.contains(node);
    if let Some(missing) = wanted.iter().find(|node| !is_member(node)) {
        return Some(Step::AddLearner(*missing));
    }
    let mut want_vote: BTreeSet<NodeId> = wanted.iter().copied().take(voters_max).collect();
    // Who has a vote already keeps it where another would only take its place.
    if wanted.len() > voters_max {
        let kept = wanted.iter().copied().filter(|node| group.voters.contains(node)).take(voters_max);
        let kept: BTreeSet<NodeId> = kept.collect();
        let filled = want_vote.iter().copied().filter(|node| !kept.contains(node)).take(voters_max - kept.len());
        want_vote = kept.iter().copied().chain(filled).collect();
    }
    let ready: BTreeSet<NodeId> =
        want_vote.iter().copied().filter(|node| !group.voters.contains(node) && group.is_close(*node)).collect();
    if !ready.is_empty() {
        return Some(Step::SetVoters(group.voters.union(&ready).copied().collect()));
    }
    if !want_vote.is_subset(&group.voters) {
        // Learners that are still behind.
        return None;
    }
    let best = wanted.iter().copied().find(|node| want_vote.contains(node) && group.is_close(*node));
    if !want_vote.contains(&group.leader) {
        // It hands over before it goes.
        return best.map(Step::Lead);
    }
    if group.voters != want_vote {
        return Some(Step::SetVoters(want_vote));
    }
    if let Some(stray) = group.learners.iter().find(|node| !wanted.contains(node)) {
        return Some(Step::RemoveLearner(*stray));
    }
    best.filter(|best| *best == wanted[0] && *best != group.leader).map(Step::Lead)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(voters: &[NodeId], learners: &[NodeId]) -> GroupView {
        let matched = voters.iter().chain(learners).map(|node| (*node, 1_000)).collect();
        GroupView {
            leader: voters[0],
            voters: voters.iter().copied().collect(),
            learners: learners.iter().copied().collect(),
            matched,
            last_index: 1_000,
            next_voters: None,
        }
    }

    /// What is left of the group after a step. A set of voters that leaves some out takes them out of the group.
    fn after(mut group: GroupView, step: &Step) -> GroupView {
        match step {
            Step::AddLearner(node) => {
                group.learners.insert(*node);
                group.matched.insert(*node, 0);
            }
            Step::SetVoters(voters) => {
                group.voters = voters.clone();
                group.learners.retain(|node| !voters.contains(node));
            }
            Step::RemoveLearner(node) => _ = group.learners.remove(node),
            Step::Lead(node) => group.leader = *node,
        }
        group
    }

    #[test]
    fn a_replica_moves_by_learning_voting_and_leaving() {
        let mut group = group(&[1, 2, 3], &[]);
        let wanted = [4, 2, 3];
        let mut steps = Vec::new();
        while let Some(step) = next_step(&group, &wanted, 5) {
            group = after(group, &step);
            steps.push(step);
            if group.learners.contains(&4) {
                assert_eq!(next_step(&group, &wanted, 5), None, "it is behind");
                group.matched.insert(4, 950);
            }
        }
        let (all, rest) = ([1, 2, 3, 4].into(), [2, 3, 4].into());
        assert_eq!(steps, [Step::AddLearner(4), Step::SetVoters(all), Step::Lead(4), Step::SetVoters(rest)]);
    }

    #[test]
    fn with_more_members_than_votes_those_that_have_one_keep_it() {
        let wanted = [1, 2, 3, 4, 5, 6, 7];
        let mut group = group(&[3, 4, 5, 6, 7], &[1, 2]);
        assert_eq!(next_step(&group, &wanted, 5), None);
        // One of them is to go: a learner takes its vote first.
        let step = next_step(&group, &[1, 2, 3, 4, 5, 6], 5).unwrap();
        assert_eq!(step, Step::SetVoters([1, 3, 4, 5, 6, 7].into()));
        group = after(group, &step);
        assert_eq!(next_step(&group, &[1, 2, 3, 4, 5, 6], 5), Some(Step::SetVoters([1, 3, 4, 5, 6].into())));
    }

    #[test]
    fn a_change_that_was_left_half_way_is_ended_first() {
        let half_way = GroupView { next_voters: Some([2, 3, 4].into()), ..group(&[1, 2, 3, 4], &[]) };
        assert_eq!(next_step(&half_way, &[1, 2, 3], 5), Some(Step::SetVoters([2, 3, 4].into())));
    }

    proptest! {
        #[test]
        fn every_group_gets_there_and_is_never_smaller_on_the_way(
            voters in proptest::collection::btree_set(1..9u64, 1..6),
            learners in proptest::collection::btree_set(1..9u64, 0..4),
            wanted in proptest::sample::subsequence((1..9u64).collect::<Vec<_>>(), 1..6).prop_shuffle(),
            lost_steps: u16,
        ) {
            let voters: Vec<NodeId> = voters.into_iter().collect();
            let learners: Vec<NodeId> = learners.into_iter().filter(|node| !voters.contains(node)).collect();
            let mut group = group(&voters, &learners);
            let least = voters.len().min(wanted.len());
            let mut done = false;
            for turn in 0..60 {
                let Some(step) = next_step(&group, &wanted, 5) else {
                    // All that are learning have caught up by the next look.
                    if group.matched.values().all(|matched| *matched == group.last_index) {
                        done = true;
                        break;
                    }
                    group.matched.values_mut().for_each(|matched| *matched = 1_000);
                    continue;
                };
                if let Step::Lead(to) = step {
                    prop_assert!(group.voters.contains(&to));
                }
                // Some steps fail without a trace.
                if lost_steps >> (turn % 16) & 1 == 0 || turn > 40 {
                    group = after(group, &step);
                }
                prop_assert!(group.voters.len() >= least, "{:?} on the way to {:?}", group, wanted);
                prop_assert!(group.voters.contains(&group.leader), "{:?} has put its leader out", group);
            }
            prop_assert!(done);
            prop_assert_eq!(&group.voters, &wanted.iter().copied().collect::<BTreeSet<_>>());
            prop_assert!(group.learners.is_empty());
            prop_assert_eq!(group.leader, wanted[0]);
        }
    }
}
