//! Changes of points: checked whole, split by shard, proposed, answered.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use super::checks::WritePlan;
use super::errors::from_propose;
use super::resharding::{AGAIN_MAX, CLOSED_MAX};
use super::seat::{Seat, View};
use super::shards::RunningShard;
use super::{Error, Scope, Service, WriteAck, WriteOptions, WriteStatus, before};
use crate::model::{PointId, PointOp};
use crate::shard::Outcome;

/// How long a write without a deadline waits for the index to catch up before it is refused.
const INDEX_WAIT_MAX: Duration = Duration::from_secs(60);
/// Seconds after which a write refused for that may be tried again.
const INDEX_RETRY_AFTER_S: u32 = 5;

/// Of a write whose deadline passed first.
pub(super) const TIMED_OUT: WriteAck = WriteAck { operation_id: 0, status: WriteStatus::WaitTimeout };

/// What applying a write came to.
struct Applied {
    /// Log index on the last of its shards.
    operation_id: u64,
    missing: HashSet<PointId>,
}

/// What proposing some commands to one shard came to.
#[derive(Default)]
pub(super) struct ProposedAll {
    /// How many were applied.
    pub(super) count: usize,
    /// Log index of the last of them.
    index: u64,
    /// Ids that were missing.
    missing: Vec<PointId>,
    /// Why the next one was certainly not applied; `None`: the shard refuses changes.
    pub(super) failed: Option<Error>,
}

impl Service {
    /// Applies one change. Cancel safe, as [`Service::write_batch`].
    pub async fn write(&self, scope: impl Into<Scope>, op: PointOp, options: WriteOptions) -> Result<WriteAck, Error> {
        let acks = self.write_batch(scope, vec![op], options).await?;
        acks.into_iter().next().ok_or_else(|| Error::OutcomeUnknown { why: "the write has no answer".to_owned() })
    }

    /// Validates all, then applies in order; when one fails while applying, earlier ones stay.
    ///
    /// Cancel safe: the write goes on in a task of its own, so a caller that hangs up leaves none half done.
    pub async fn write_batch(
        &self,
        scope: impl Into<Scope>,
        ops: Vec<PointOp>,
        options: WriteOptions,
    ) -> Result<Vec<WriteAck>, Error> {
        let (service, scope) = (self.clone(), scope.into());
        let write = async move { service.write_all(&scope, ops, options).await };
        match tokio::spawn(write).await {
            Ok(acks) => acks,
            Err(stopped) => Err(Error::OutcomeUnknown { why: stopped.to_string() }),
        }
    }

    async fn write_all(&self, scope: &Scope, ops: Vec<PointOp>, options: WriteOptions) -> Result<Vec<WriteAck>, Error> {
        let _inside = self.running.gate.enter()?;
        let admitted = async {
            let view = self.view(&scope.collection).await?;
            self.admit_writes(&view, &ops).await?;
            Ok(view)
        };
        let view = match before(options.deadline, "admitting a write", admitted).await {
            // Nothing has been proposed; the caller's time is up all the same.
            Err(Error::Timeout { .. }) => return Ok(vec![TIMED_OUT; ops.len()]),
            view => view?,
        };
        let mut plans = Vec::with_capacity(ops.len());
        for (place, op) in ops.into_iter().enumerate() {
            plans.push(planned(view.written_by(scope.selector(place))?, op)?);
        }
        let mut acks: Vec<WriteAck> = Vec::new();
        for targets in plans {
            acks.push(self.apply_all(targets, options).await?);
        }
        Ok(acks)
    }

    /// Applies one change to the shards of every key it is meant for, also after it failed for one.
    async fn apply_all(&self, targets: Vec<(View, WritePlan)>, options: WriteOptions) -> Result<WriteAck, Error> {
        let mut answer = Ok(TIMED_OUT);
        for (view, plan) in targets {
            // Past the deadline the rest is not even proposed.
            let ack = match options.deadline {
                Some(deadline) if deadline <= Instant::now() => Ok(TIMED_OUT),
                _ => self.apply(&view, plan, options).await,
            };
            answer = answer.and(ack);
        }
        answer
    }

    async fn apply(&self, view: &View, mut plan: WritePlan, options: WriteOptions) -> Result<WriteAck, Error> {
        let commands = std::mem::take(&mut plan.commands);
        let apply = async {
            for place in commands.keys() {
                // The leader of a shard elsewhere refuses while its index is behind.
                if let Some(shard) = view.shards.get(*place).and_then(Seat::here) {
                    self.wait_for_index(shard, options.deadline).await?;
                }
            }
            let seat = |place: usize| view.shards.get(place).cloned();
            let mut parts: Vec<(Seat, Vec<Vec<u8>>)> =
                commands.into_iter().filter_map(|(place, commands)| Some((seat(place)?, commands))).collect();
            let mut applied = Applied { operation_id: 0, missing: HashSet::new() };
            // More than once only if shards are being replaced by others, or go to other nodes.
            let (until, closed_until) = (Instant::now() + AGAIN_MAX, Instant::now() + CLOSED_MAX);
            while !parts.is_empty() {
                let before = self.running.meta.state();
                let proposals = parts.iter().map(|(seat, commands)| self.propose(seat, commands));
                // All are awaited: what has been proposed to the other shards is not left half told.
                let results = futures::future::join_all(proposals).await;
                let mut refused = Vec::new();
                for ((seat, mut commands), result) in parts.into_iter().zip(results) {
                    let done = result?;
                    applied.operation_id = if done.count > 0 { done.index } else { applied.operation_id };
                    applied.missing.extend(done.missing);
                    commands.drain(..done.count.min(commands.len()));
                    if !commands.is_empty() {
                        refused.push((seat, commands, done.failed));
                    }
                }
                parts = Vec::new();
                for (seat, commands, failed) in refused {
                    parts.extend(match failed {
                        None => self.after_closed(view, &seat, commands, closed_until).await?,
                        Some(why) if Instant::now() >= until => return Err(why),
                        Some(why) => self.after_failure(view, (&seat, commands), &before, why).await?,
                    });
                }
            }
            Ok(applied)
        };
        let applied = match options.deadline {
            None => apply.await,
            Some(deadline) => match tokio::time::timeout_at(deadline.into(), apply).await {
                Ok(applied) => applied,
                Err(_) => return Ok(TIMED_OUT),
            },
        };
        let applied = applied.map_err(|error| match error {
            Error::Unavailable { .. } | Error::OutcomeUnknown { .. } if self.is_gone(view) => {
                Error::CollectionNotFound { name: view.collection.name.clone() }
            }
            other => other,
        })?;
        if !options.wait {
            return Ok(WriteAck { operation_id: applied.operation_id, status: WriteStatus::Acknowledged });
        }
        match plan.first_missing(&applied.missing) {
            Some(id) => Err(Error::PointNotFound { id }),
            None => Ok(WriteAck { operation_id: applied.operation_id, status: WriteStatus::Completed }),
        }
    }

    /// Proposes `commands` in order, up to the first that certainly is not applied: the shard is not reached, or refuses it
    /// because it is being replaced.
    pub(super) async fn propose(&self, shard: &Seat, commands: &[Vec<u8>]) -> Result<ProposedAll, Error> {
        let mut all = ProposedAll::default();
        for command in commands {
            let result = shard.propose(command.clone()).await;
            let outcome = if result.is_ok() { "applied" } else { "failed" };
            metrics::counter!("quiver_proposals_total", "outcome" => outcome).increment(1);
            let proposed = match result.map_err(from_propose) {
                Ok(proposed) => proposed,
                Err(error @ Error::Unavailable { .. }) => {
                    all.failed = Some(error);
                    break;
                }
                Err(error) => return Err(error),
            };
            let outcome = Outcome::decode(&proposed.reply)
                .ok_or_else(|| Error::OutcomeUnknown { why: "the shard's reply is not readable".to_owned() })?;
            if outcome.refused.is_some() {
                break;
            }
            all.index = proposed.index;
            all.missing.extend(outcome.missing);
            all.count += 1;
        }
        Ok(all)
    }

    /// Back-pressure: waits while more vectors wait for the shard's graphs than memory and search times allow for.
    pub(super) async fn wait_for_index(&self, shard: &RunningShard, deadline: Option<Instant>) -> Result<(), Error> {
        let longest = Instant::now() + INDEX_WAIT_MAX;
        let until = deadline.map_or(longest, |deadline| deadline.min(longest));
        loop {
            let progressed = shard.progressed();
            tokio::pin!(progressed);
            // Registered before the tail is measured, so that no progress in between is missed.
            progressed.as_mut().enable();
            let is_behind = shard.shard().status().tail_vector_count > self.running.tail_vectors_max;
            if !is_behind || !shard.may_have_index_work() {
                return Ok(());
            }
            if tokio::time::timeout_at(until.into(), progressed).await.is_err() {
                // Nothing has been proposed yet: certainly not applied.
                return Err(Error::Overloaded {
                    what: "the index is behind the writes",
                    retry_after_s: INDEX_RETRY_AFTER_S,
                });
            }
        }
    }
}

/// `op`, checked and split over the shards of each target.
fn planned(mut targets: Vec<View>, op: PointOp) -> Result<Vec<(View, WritePlan)>, Error> {
    let plan = |view: View, op: PointOp| {
        let plan = WritePlan::new(&view.collection.config, view.shards.len(), op)?;
        Ok((view, plan))
    };
    let Some(last) = targets.pop() else { return Ok(Vec::new()) };
    let mut plans: Vec<(View, WritePlan)> =
        targets.into_iter().map(|view| plan(view, op.clone())).collect::<Result<_, Error>>()?;
    plans.push(plan(last, op)?);
    Ok(plans)
}
