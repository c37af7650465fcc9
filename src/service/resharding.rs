//! Another number of shards for a collection, or for one of its keys, while it is read and written (`cluster::resharding` has
//! the phases, `shard::transit` what the shards' logs say of it).
//!
//! Whoever leads a parent passes it on: copies what it holds to the children, then what changes, closes it once all parents
//! are ready, copies what changed last, and says so. It proposes to the children as anybody would, wherever they are.
//!
//! Invariants:
//! - Nothing is lost: what a parent acknowledged before it was closed is in the children before they take its place, and what
//!   comes later it refuses. A refused write is done by the shards that took its place, at most once for every point.
//! - A read that meets a closed parent makes sure that the children have not taken its place before it began.
//! - A parent is opened only by who knows that the resharding, or the round, that it was closed for is given up.

use std::collections::BTreeSet;
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt, TryStreamExt};
use parking_lot::Mutex;

use super::collections::SHARDS_PER_COLLECTION_MAX;
use super::errors::from_propose;
use super::seat::{Seat, View};
use super::shards::RunningShard;
use super::{Error, Service, before};
use crate::cluster::{Collection, MetaChange, MetaCommand, MetaState, Resharding, ReshardingCommand, ShardPlace};
use crate::model::collection::ShardKey;
use crate::model::ids::SlotRange;
use crate::model::{PointId, ShardId};
use crate::raft::ProposeError;
use crate::shard::{Closed, Feed, Outcome, Shard, TransitCommand, encode_feed, encode_transit, rerouted};
use crate::storage::StorageError;

/// Points that are read at once.
const COPY_POINTS_MAX: usize = 256;
/// What an entry of a child's log may take, unless a single point takes more.
const FEED_BYTES_MAX: usize = 1 << 20;
/// Entries under way at the same time, of one parent.
const FEEDS_AT_ONCE_MAX: usize = 4;
/// A parent is ready once no more points have changed while the last ones were copied.
const FEW_CHANGES_MAX: usize = 1_000;
/// Copies of changes after which it is ready in any case: it is written to faster than that gets less.
const CHANGE_COPIES_MAX: usize = 20;
/// How long a child may take to apply what is brought, at first, and at most: each time it takes longer, twice as long is waited.
/// Its group may have gone to other nodes, or wait for members that could not be reached when it was asked.
const PATIENCE_MIN: Duration = Duration::from_secs(2);
const PATIENCE_MAX: Duration = Duration::from_secs(60);
/// How long a leader waits before it looks at its parents again.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
/// How long to wait before a child that takes nothing now is asked again.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How long a write to a closed shard waits before it looks again, unless the cluster's state changes.
const CLOSED_LOOK: Duration = Duration::from_millis(20);
/// The same where looking is asking another node, at the cost of an entry in the shard's log.
const CLOSED_LOOK_THERE: Duration = Duration::from_millis(500);
/// How long a write without a deadline waits for shards that are being replaced.
pub(super) const CLOSED_MAX: Duration = Duration::from_secs(60);
/// How long parents stay closed while others cannot follow.
const POSTPONE_AFTER: Duration = Duration::from_secs(10);
/// How long a call that failed waits to learn whether its shards are elsewhere by now.
const KNOW_MAX: Duration = Duration::from_secs(1);
/// For how long calls are begun anew whose shards are elsewhere by now.
pub(super) const AGAIN_MAX: Duration = Duration::from_secs(5);

/// How many shards there are to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardCount {
    /// One more than there are.
    Up,
    /// One less.
    Down,
    /// So many.
    To(u32),
}

/// A resharding that is under way.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReshardingReport {
    /// Whose shards; `None`: the collection has no keys.
    pub key: Option<ShardKey>,
    /// How many shards there are.
    pub from: usize,
    /// The numbers of the shards that are to be there instead.
    pub to: Vec<u64>,
    /// The node that should lead the first of those.
    pub node: Option<u64>,
    /// Of how many shards the content has been copied.
    pub copied: usize,
    /// How many have been closed and passed on.
    pub passed_on: usize,
}

impl Service {
    /// Lets a collection, or a key of one with custom sharding, come to have another number of shards. Returns when that is
    /// agreed on; it is done in the background.
    ///
    /// # Errors
    /// One is under way already; there are so many shards already; none would be left, or too many; the key does not fit.
    pub async fn start_resharding(
        &self,
        collection: &str,
        key: Option<ShardKey>,
        count: ShardCount,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let _inside = self.running.gate.enter()?;
        before(deadline, "starting a resharding", async {
            let known = self.collection_now(collection).await?;
            let is_custom = known.is_custom_sharded();
            if key.is_some() != is_custom {
                return Err(Error::ReshardingKey { is_custom });
            }
            let shards = match &key {
                None => known.shards.len(),
                Some(key) => known.shard_keys.get(key).ok_or(Error::ShardKeyNotFound { key: key.clone() })?.len(),
            };
            // Fewer than `SHARDS_PER_COLLECTION_MAX`.
            let now = shards as u32;
            let shard_count = match count {
                ShardCount::Up => now + 1,
                ShardCount::Down => now.saturating_sub(1),
                ShardCount::To(count) => count,
            };
            if shard_count == 0 {
                return Err(Error::NoShardsLeft);
            }
            let others = known.shards.len().saturating_sub(shards);
            if others.saturating_add(shard_count as usize) > SHARDS_PER_COLLECTION_MAX as usize {
                let what = format!("more than {SHARDS_PER_COLLECTION_MAX} shards in one collection");
                return Err(Error::Unimplemented { what });
            }
            let start = ReshardingCommand::Start { collection: known.name.clone(), key, shard_count };
            self.change_meta(&MetaCommand::Reshard(start)).await?;
            self.settle_everywhere().await
        })
        .await
    }

    /// Gives a resharding up: the collection keeps the shards it has.
    pub async fn abort_resharding(&self, collection: &str, deadline: Option<Instant>) -> Result<(), Error> {
        let _inside = self.running.gate.enter()?;
        before(deadline, "aborting a resharding", async {
            let known = self.collection_now(collection).await?;
            let id = known.resharding.as_ref().ok_or(Error::NoResharding)?.id;
            self.change_meta(&MetaCommand::Reshard(ReshardingCommand::Abort { id })).await?;
            self.settle_everywhere().await
        })
        .await
    }

    /// Waits until the resharding that is under way is over; it ends by itself.
    pub async fn finish_resharding(&self, collection: &str, deadline: Option<Instant>) -> Result<(), Error> {
        let _inside = self.running.gate.enter()?;
        before(deadline, "waiting for a resharding", async {
            let known = self.collection_now(collection).await?;
            let resharding = known.resharding.as_ref().ok_or(Error::NoResharding)?;
            let now = || {
                let state = self.running.meta.state();
                state.collections().find(|one| one.created_index == known.created_index).cloned()
            };
            let goes_on = |one: &Collection| one.resharding.as_ref().is_some_and(|other| other.id == resharding.id);
            let mut changes = self.running.meta.changes();
            while now().is_some_and(|one| goes_on(&one)) {
                let gone = || Error::Unavailable { why: "the server is shutting down".to_owned() };
                changes.changed().await.map_err(|_| gone())?;
            }
            let is_done = now().is_some_and(|one| resharding.children.iter().all(|child| one.shards.contains(child)));
            self.settle().await?;
            if is_done { Ok(()) } else { Err(Error::NoResharding) }
        })
        .await
    }

    /// The resharding of a collection that is under way.
    pub fn resharding(&self, collection: &str) -> Result<Option<ReshardingReport>, Error> {
        let known = self.collection(collection)?;
        let state = self.running.meta.state();
        let node =
            |shards: &[ShardId]| shards.first().and_then(|first| state.layout().replicas(*first).first()).copied();
        Ok(known.resharding.as_ref().map(|one| ReshardingReport {
            key: one.key.clone(),
            from: one.parents.len(),
            to: one.children.iter().map(|child| known.shard_number(*child)).collect(),
            node: node(&one.children),
            copied: one.ready.len(),
            passed_on: one.passed_on.len(),
        }))
    }

    /// Runs a read, and again if it failed and the cluster's state had changed meanwhile: shards may have been replaced, or
    /// have gone to other nodes.
    pub(super) async fn current<T, F>(&self, collection: &str, read: impl Fn() -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<T, Error>>,
    {
        let until = Instant::now() + AGAIN_MAX;
        loop {
            let before = self.running.meta.state();
            match read().await {
                Err(error @ Error::Unavailable { .. }) => {
                    let is_known = before.collection(collection).is_some() && self.has_moved_on(&before).await;
                    if !is_known || Instant::now() >= until {
                        return Err(error);
                    }
                    self.settle().await?;
                }
                answer => return answer,
            }
        }
    }

    /// Whether the cluster's state is not that any more. Another node may have seen it first.
    async fn has_moved_on(&self, before: &Arc<MetaState>) -> bool {
        let barrier = tokio::time::timeout(KNOW_MAX, self.running.meta_group.read_barrier());
        matches!(barrier.await, Ok(Ok(()))) && !Arc::ptr_eq(before, &self.running.meta.state())
    }

    /// Makes sure that these shards, if they are closed, were still the collection's when this was called: then nothing that
    /// they lack has been acknowledged before.
    pub(super) async fn check_not_replaced<'a>(
        &self,
        shards: impl Iterator<Item = &'a Arc<RunningShard>>,
    ) -> Result<(), Error> {
        let closed: Vec<ShardId> =
            shards.filter(|shard| shard.shard().closed().is_some()).map(|shard| shard.id).collect();
        if closed.is_empty() {
            return Ok(());
        }
        self.running.meta_group.read_barrier().await.map_err(from_propose)?;
        let state = self.running.meta.state();
        let is_current = |shard: &ShardId| state.collections().any(|one| one.shards.contains(shard));
        match closed.iter().find(|shard| !is_current(shard)) {
            None => Ok(()),
            Some(shard) => Err(Error::Unavailable { why: format!("shard {shard} has been replaced") }),
        }
    }

    /// Where commands go that `seat` refused because it is closed: to the same one once it is open again, or to those that
    /// took its place. `until` then it is waited.
    pub(super) async fn after_closed(
        &self,
        view: &View,
        seat: &Seat,
        commands: Vec<Vec<u8>>,
        until: Instant,
    ) -> Result<Vec<(Seat, Vec<Vec<u8>>)>, Error> {
        let mut changes = self.running.meta.changes();
        loop {
            let wait = if seat.here().is_some() { CLOSED_LOOK } else { CLOSED_LOOK_THERE };
            let has_changed = tokio::time::timeout(wait, changes.changed()).await.is_ok();
            let state = self.running.meta.state();
            let same = |one: &&Arc<Collection>| one.created_index == view.collection.created_index;
            let Some(collection) = state.collections().find(same) else {
                return Err(Error::CollectionNotFound { name: view.collection.name.clone() });
            };
            if !collection.shards.contains(&seat.id()) {
                return self.instead_of(collection, seat, &commands).await;
            }
            if Instant::now() >= until {
                return Err(Error::Unavailable { why: format!("shard {} is being replaced", seat.id()) });
            }
            // It may be on another node by now.
            match self.seat(collection, seat.id()) {
                Ok(Seat::Here(running)) if running.shard().closed().is_none() => {
                    return Ok(vec![(Seat::Here(running), commands)]);
                }
                Ok(Seat::There(distant)) if !has_changed => return Ok(vec![(Seat::There(distant), commands)]),
                _ => {}
            }
        }
    }

    /// Where commands go that certainly have not been applied, for this reason: to the same shard where it is by now, or to
    /// those that took its place. `before`: the cluster's state when they were sent.
    pub(super) async fn after_failure(
        &self,
        view: &View,
        (seat, commands): (&Seat, Vec<Vec<u8>>),
        before: &Arc<MetaState>,
        why: Error,
    ) -> Result<Vec<(Seat, Vec<Vec<u8>>)>, Error> {
        if !self.has_moved_on(before).await {
            return Err(why);
        }
        self.settle().await?;
        let state = self.running.meta.state();
        let same = |one: &&Arc<Collection>| one.created_index == view.collection.created_index;
        let Some(collection) = state.collections().find(same) else { return Err(why) };
        if !collection.shards.contains(&seat.id()) {
            return self.instead_of(collection, seat, &commands).await;
        }
        let again = self.seat(collection, seat.id()).map_err(|_| why)?;
        Ok(vec![(again, commands)])
    }

    async fn instead_of(
        &self,
        collection: &Collection,
        seat: &Seat,
        commands: &[Vec<u8>],
    ) -> Result<Vec<(Seat, Vec<Vec<u8>>)>, Error> {
        let gone = |why: String| Error::Unavailable { why: format!("shard {}: {why}", seat.id()) };
        let view = self.view(&collection.name).await?;
        if view.collection.created_index != collection.created_index {
            return Err(Error::CollectionNotFound { name: collection.name.clone() });
        }
        let of_key = view.shards.iter().filter(|other| other.place().key == seat.place().key);
        let seats: Vec<Seat> = of_key.cloned().collect();
        let ranges: Vec<SlotRange> = seats.iter().map(|seat| range(seat.place())).collect();
        if ranges.is_empty() {
            return Err(gone("its shard key has been deleted".to_owned()));
        }
        let mut parts: Vec<Vec<Vec<u8>>> = vec![Vec::new(); seats.len()];
        for command in commands {
            for (place, command) in rerouted(command, range(seat.place()), &ranges).map_err(gone)? {
                parts.get_mut(place).into_iter().for_each(|part| part.push(command.clone()));
            }
        }
        Ok(seats.into_iter().zip(parts).filter(|(_, commands)| !commands.is_empty()).collect())
    }

    /// Passes the parents on that are led here, for as long as the service runs.
    pub(super) fn follow_reshardings(&self) {
        let weak = Arc::downgrade(&self.running);
        let (meta, shards) = (Arc::clone(&self.running.meta), Arc::clone(&self.running.shards));
        let mut changes = meta.changes();
        self.running.membership.spawn(async move {
            let mut busy: BTreeSet<ShardId> = BTreeSet::new();
            let mut under_way: FuturesUnordered<BoxFuture<'static, ShardId>> = FuturesUnordered::new();
            loop {
                tokio::select! {
                    Some(done) = under_way.next(), if !under_way.is_empty() => {
                        busy.remove(&done);
                    }
                    () = tokio::time::sleep(LOOK_INTERVAL) => {}
                    changed = changes.changed() => if changed.is_err() { return },
                }
                // Nearly always: then the service is not held, which its owner may want to be the last to do.
                let state = meta.state();
                let is_closed = |running: &Arc<RunningShard>| running.shard().closed().is_some();
                if state.collections().all(|one| one.resharding.is_none())
                    && !shards.table().running.values().any(is_closed)
                {
                    continue;
                }
                let Some(running) = weak.upgrade() else { return };
                let service = Service { running };
                for (shard, work) in service.to_pass_on() {
                    if busy.insert(shard) {
                        under_way.push(work);
                    }
                }
            }
        });
    }

    /// What there is to do for the shards that are led here.
    fn to_pass_on(&self) -> Vec<(ShardId, BoxFuture<'static, ShardId>)> {
        // In this order: the state is at least as new.
        let known = self.running.meta_group.applied_index();
        let state = self.running.meta.state();
        let mut work: Vec<(ShardId, BoxFuture<'static, ShardId>)> = Vec::new();
        let reshardings = state.collections().filter_map(|one| one.resharding.as_ref());
        let parents: BTreeSet<ShardId> = reshardings.flat_map(|one| one.parents.iter().copied()).collect();
        for running in self.running.shards.table().running.values() {
            let is_concerned = parents.contains(&running.id) || running.shard().closed().is_some();
            if !is_concerned || !running.group.status().is_leader {
                continue;
            }
            let (id, running) = (running.id, Arc::clone(running));
            let Some(collection) = state.collections().find(|one| one.shards.contains(&id)) else { continue };
            let resharding = collection.resharding.as_ref().filter(|one| one.parents.contains(&id));
            match (resharding, running.shard().closed()) {
                (Some(one), _) if !one.passed_on.contains(&id) => {
                    let service = self.clone();
                    let resharding = one.id;
                    work.push((id, Box::pin(async move {
                        if let Err(why) = service.pass_on(resharding, running).await {
                            tracing::info!(shard = %id, %why, "this node stops passing a shard on, or begins anew");
                            tokio::time::sleep(AGAIN_AFTER).await;
                        }
                        id
                    })));
                }
                // What it was closed for has been given up: this node knows of all that was decided after it began.
                (None, Some(closed)) if closed.resharding <= known => work.push((id, Box::pin(async move {
                    let by = Closed { round: u32::MAX, ..closed };
                    let open = encode_transit(&TransitCommand::Open(by));
                    if let Err(error) = running.group.propose(open).await {
                        tracing::warn!(shard = %id, %error, "a shard that is to be opened stays closed; it is tried again");
                        tokio::time::sleep(AGAIN_AFTER).await;
                    }
                    id
                }))),
                _ => {}
            }
        }
        work
    }

    async fn pass_on(&self, id: u64, running: Arc<RunningShard>) -> Result<(), Ended> {
        let shard = running.shard();
        let parent = running.id;
        let claim = MetaCommand::Reshard(ReshardingCommand::Claim { id, parent });
        let claim = match self.change_meta(&claim).await {
            Ok((_, MetaChange::ReshardingClaimed(claim))) => claim,
            Ok(_) => return Err(Ended::Over),
            Err(error) => return Err(Ended::Failed(error.to_string())),
        };
        // The children run on their nodes before the first entry comes.
        self.settle_everywhere().await.map_err(|error| Ended::Failed(error.to_string()))?;
        let Some((collection, now)) = resharding_now(self, id) else { return Ok(()) };
        let share = range(&running.place);
        let child = |shard: ShardId| Some(Child::new(shard, range(&collection.place(shard)?)));
        let children =
            now.children.iter().filter_map(|shard| child(*shard)).filter(|child| child.range.overlaps(&share));
        let watcher = shard.watch();
        let passing = Passing {
            service: self.clone(),
            id,
            share,
            children: children.collect(),
            running,
            shard: Arc::clone(&shard),
            watcher,
            claim,
            round: Mutex::new(now.round),
            patience: Mutex::new(PATIENCE_MIN),
        };
        // What is waited for may never come once the resharding is over.
        let outcome = tokio::select! {
            outcome = passing.run() => outcome,
            () = passing.until_over() => Err(Ended::Over),
        };
        shard.unwatch(watcher);
        outcome
    }
}

pub(super) fn range(place: &ShardPlace) -> SlotRange {
    // There are at most `SHARDS_PER_COLLECTION_MAX`.
    SlotRange { number: place.range as u32, count: place.range_count as u32 }
}

fn resharding_now(service: &Service, id: u64) -> Option<(Arc<Collection>, Resharding)> {
    let state = service.running.meta.state();
    let found = state.collections().find(|one| one.resharding.as_ref().is_some_and(|one| one.id == id));
    found.and_then(|one| Some((Arc::clone(one), one.resharding.clone()?)))
}

/// Why a parent is not passed on by this leader, or not any more.
#[derive(Debug, thiserror::Error)]
enum Ended {
    #[error("the resharding is over, or another node leads")]
    Over,
    #[error("another one brings the points by now")]
    Superseded,
    #[error("{0}")]
    Failed(String),
}

impl From<StorageError> for Ended {
    fn from(error: StorageError) -> Ended {
        Ended::Failed(error.to_string())
    }
}

/// A shard that is being filled.
struct Child {
    id: ShardId,
    range: SlotRange,
    /// What this bringer's entries are marked with. Replaced when the fate of one is unknown: what may still arrive of the old
    /// mark has no effect then.
    token: AtomicU64,
    /// Held while it is replaced.
    renewing: tokio::sync::Mutex<()>,
}

impl Child {
    fn new(id: ShardId, range: SlotRange) -> Child {
        Child { id, range, token: AtomicU64::new(fastrand::u64(..)), renewing: tokio::sync::Mutex::default() }
    }
}

/// A parent that this node passes on.
struct Passing {
    service: Service,
    id: u64,
    running: Arc<RunningShard>,
    /// The parent as it was when this began: what is received in its place is another one.
    shard: Arc<Shard>,
    /// What it holds.
    share: SlotRange,
    children: Vec<Child>,
    watcher: u64,
    /// By which all that is said and sent counts.
    claim: u64,
    /// What the children have been told.
    round: Mutex<u32>,
    /// How long a child may take.
    patience: Mutex<Duration>,
}

impl Passing {
    async fn run(&self) -> Result<(), Ended> {
        let (parent, id) = (self.running.id, self.id);
        tracing::info!(shard = %parent, "a shard is being passed on");
        let round = *self.round.lock();
        self.open_again(round).await;
        for child in &self.children {
            self.attach(child, round, None).await?;
        }
        self.copy_all().await?;
        let mut copies = 0;
        let mut closed_since: Option<(u32, Instant)> = None;
        loop {
            let now = self.now()?;
            closed_since = closed_since.filter(|(round, _)| *round == now.round);
            if closed_since.is_some_and(|(_, since)| since.elapsed() >= POSTPONE_AFTER) {
                tracing::warn!(shard = %parent, "other shards cannot follow: all are opened again");
                self.report(ReshardingCommand::Postpone { id, round: now.round }).await?;
                tokio::time::sleep(LOOK_INTERVAL).await;
                continue;
            }
            if now.passed_on.contains(&parent) {
                tokio::time::sleep(LOOK_INTERVAL).await;
                continue;
            }
            let (round, told) = (now.round, *self.round.lock());
            if round != told {
                // What was sealed is open again, once it is known to be reached.
                self.open_again(round).await;
                for child in &self.children {
                    self.attach(child, round, Some(child.token.load(Ordering::Acquire))).await?;
                }
                *self.round.lock() = round;
            }
            let by = Closed { resharding: id, round };
            self.open_again(round).await;
            if now.is_closing() && self.shard.closed().is_none() {
                self.tell_parent(TransitCommand::Close(by)).await;
                closed_since.get_or_insert((round, Instant::now()));
            }
            let is_closed = now.is_closing() && self.shard.closed() == Some(by);
            let changed = self.shard.take_changed(self.watcher).ok_or(Ended::Superseded)?;
            let count = changed.len();
            self.copy(changed).await?;
            copies += 1;
            if is_closed {
                for child in &self.children {
                    self.feed(child, &Feed::Seal).await?;
                }
                self.report(ReshardingCommand::PassedOn { id, round, parent, claim: self.claim }).await?;
            } else if !now.ready.contains(&parent) && (count <= FEW_CHANGES_MAX || copies >= CHANGE_COPIES_MAX) {
                self.report(ReshardingCommand::Ready { id, round, parent, claim: self.claim }).await?;
            } else if count <= FEW_CHANGES_MAX {
                let mut changes = self.service.running.meta.changes();
                let _ = tokio::time::timeout(LOOK_INTERVAL, changes.changed()).await;
            }
        }
    }

    /// The resharding, while this leader has to do with it.
    fn now(&self) -> Result<Resharding, Ended> {
        let is_here = self.running.group.status().is_leader && Arc::ptr_eq(&self.shard, &self.running.shard());
        let is_open = self.service.running.gate.is_open();
        let now = resharding_now(&self.service, self.id).filter(|_| is_here && is_open);
        now.map(|(_, resharding)| resharding).ok_or(Ended::Over)
    }

    /// What is said of a child that takes too long; the next time it is given longer.
    fn late(&self, shard: ShardId) -> ProposeError {
        let mut patience = self.patience.lock();
        *patience = patience.saturating_mul(2).min(PATIENCE_MAX);
        ProposeError::Unknown { shard, why: "it takes long".to_owned() }
    }

    /// Returns once this leader has no more to do with it.
    async fn until_over(&self) {
        while self.now().is_ok() {
            tokio::time::sleep(LOOK_INTERVAL).await;
        }
    }

    async fn report(&self, command: ReshardingCommand) -> Result<(), Ended> {
        match self.service.change_meta(&MetaCommand::Reshard(command)).await {
            Ok((_, MetaChange::ReshardingChanged)) => Ok(()),
            Ok(_) => Err(Ended::Over),
            // It may have been said all the same, or this node's state is old: it tells in a moment.
            Err(_) => {
                tokio::time::sleep(AGAIN_AFTER).await;
                let now = self.now()?;
                let counts = now.claims.get(&self.running.id) == Some(&self.claim);
                if counts { Ok(()) } else { Err(Ended::Superseded) }
            }
        }
    }

    /// Opens the parent if it was closed for an earlier round, or for what was given up. A later round may have begun that this
    /// node has not heard of yet.
    async fn open_again(&self, round: u32) {
        let now = Closed { resharding: self.id, round };
        if let Some(closed) = self.shard.closed().filter(|closed| *closed < now) {
            self.tell_parent(TransitCommand::Open(earlier(closed, self.id))).await;
        }
    }

    /// Whether that has been done shows in the parent.
    async fn tell_parent(&self, command: TransitCommand) {
        if let Err(error) = self.running.group.propose(encode_transit(&command)).await {
            tracing::warn!(shard = %self.running.id, %error, "a shard could not be closed or opened; it is tried again");
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }

    async fn copy_all(&self) -> Result<(), Ended> {
        let shard = Arc::clone(&self.shard);
        let ids = blocking(move || Ok(shard.all_ids())).await?;
        let chunks: Vec<Vec<PointId>> = match ids.is_empty() {
            true => vec![Vec::new()],
            false => ids.chunks(COPY_POINTS_MAX).map(<[PointId]>::to_vec).collect(),
        };
        let lasts: Vec<Option<PointId>> = chunks.iter().map(|chunk| chunk.last().copied()).collect();
        let count = chunks.len();
        let spans = chunks.into_iter().enumerate().map(|(number, ids)| {
            let after = number.checked_sub(1).and_then(|before| lasts.get(before).copied().flatten());
            let upto = lasts.get(number).copied().flatten().filter(|_| number + 1 < count);
            async move {
                let shard = Arc::clone(&self.shard);
                // What has been deleted since is among the changes.
                let (points, _) = blocking(move || shard.stored(&ids)).await?;
                for child in &self.children {
                    let points = points.iter().filter(|point| child.range.owns(point.id)).cloned().collect();
                    self.feed(child, &Feed::Span { after, upto, points }).await?;
                }
                Ok::<(), Ended>(())
            }
        });
        let spans: Vec<_> = spans.collect();
        futures::stream::iter(spans).buffer_unordered(FEEDS_AT_ONCE_MAX).try_collect().await
    }

    /// Copies the present state of these points; each is named once.
    async fn copy(&self, ids: Vec<PointId>) -> Result<(), Ended> {
        let chunks: Vec<Vec<PointId>> = ids.chunks(COPY_POINTS_MAX).map(<[PointId]>::to_vec).collect();
        let copies = chunks.into_iter().map(|ids| async move {
            let shard = Arc::clone(&self.shard);
            let (points, gone) = blocking(move || shard.stored(&ids)).await?;
            for child in &self.children {
                let points: Vec<_> = points.iter().filter(|point| child.range.owns(point.id)).cloned().collect();
                let gone: Vec<_> = gone.iter().copied().filter(|id| child.range.owns(*id)).collect();
                if !points.is_empty() || !gone.is_empty() {
                    self.feed(child, &Feed::Changes(points, gone)).await?;
                }
            }
            Ok::<(), Ended>(())
        });
        let copies: Vec<_> = copies.collect();
        futures::stream::iter(copies).buffer_unordered(FEEDS_AT_ONCE_MAX).try_collect().await
    }

    /// Returns once the child has it.
    async fn feed(&self, child: &Child, feed: &Feed) -> Result<(), Ended> {
        let mut parts = vec![feed.clone()];
        while let Some(part) = parts.pop() {
            let token = child.token.load(Ordering::Acquire);
            let command = encode_feed(self.running.id, token, &part);
            if command.len() > FEED_BYTES_MAX
                && let Some((first, second)) = halves(&part)
            {
                parts.extend([second, first]);
                continue;
            }
            match self.propose(child, command).await? {
                Some(Outcome { refused: None, .. }) => {}
                Some(_) => {
                    // Another part's fate may have been unknown meanwhile.
                    let _renewing = child.renewing.lock().await;
                    match child.token.load(Ordering::Acquire) == token {
                        true => return Err(Ended::Superseded),
                        false => parts.push(part),
                    }
                }
                None => {
                    self.renew(child, token).await?;
                    parts.push(part);
                }
            }
        }
        Ok(())
    }

    /// Gives the child another token, so that nothing marked with this one has an effect any more.
    async fn renew(&self, child: &Child, token: u64) -> Result<(), Ended> {
        let _renewing = child.renewing.lock().await;
        if child.token.load(Ordering::Acquire) == token {
            let round = *self.round.lock();
            let new = fastrand::u64(..);
            self.attach_as(child, round, new, Some(token)).await?;
            child.token.store(new, Ordering::Release);
        }
        Ok(())
    }

    async fn attach(&self, child: &Child, round: u32, after: Option<u64>) -> Result<(), Ended> {
        self.attach_as(child, round, child.token.load(Ordering::Acquire), after).await
    }

    async fn attach_as(&self, child: &Child, round: u32, token: u64, after: Option<u64>) -> Result<(), Ended> {
        let (source, share, claim) = (self.running.id, self.share, self.claim);
        let attach = TransitCommand::Attach { source, share, claim, round, token, after };
        loop {
            match self.propose(child, encode_transit(&attach)).await? {
                Some(Outcome { refused: None, .. }) => return Ok(()),
                Some(_) => return Err(Ended::Superseded),
                // Twice is as good as once.
                None => {}
            }
        }
    }

    /// `None`: it may or may not have been applied, now or later.
    async fn propose(&self, child: &Child, command: Vec<u8>) -> Result<Option<Outcome>, Ended> {
        loop {
            self.now()?;
            let collection = resharding_now(&self.service, self.id).ok_or(Ended::Over)?.0;
            if let Ok(seat) = self.service.seat(&collection, child.id) {
                if let Some(running) = seat.here() {
                    // The graphs of a child on another node keep up as its leader says.
                    let until = Some(Instant::now() + PATIENCE_MIN);
                    let _ = self.service.wait_for_index(running, until).await;
                }
                let patience = *self.patience.lock();
                let proposed = tokio::time::timeout(patience, seat.propose(command.clone()));
                tracing::debug!(shard = %child.id, is_here = seat.here().is_some(), bytes = command.len(), "bringing");
                match proposed.await.unwrap_or_else(|_| Err(self.late(child.id))) {
                    Ok(proposed) => {
                        let outcome = Outcome::decode(&proposed.reply);
                        return outcome.map(Some).ok_or_else(|| Ended::Failed("an unreadable reply".to_owned()));
                    }
                    Err(error @ ProposeError::Unknown { .. }) => {
                        tracing::info!(shard = %child.id, %error, "what was brought is brought again");
                        return Ok(None);
                    }
                    // Certainly not applied.
                    Err(error) => tracing::debug!(shard = %child.id, %error, "a child takes nothing now"),
                }
            }
            tokio::time::sleep(AGAIN_AFTER).await;
        }
    }
}

/// What takes back that a shard was closed before the resharding `id` came to where it is.
fn earlier(closed: Closed, id: u64) -> Closed {
    if closed.resharding == id { closed } else { Closed { round: u32::MAX, ..closed } }
}

/// The same in two parts. `None`: there is one point at most.
fn halves(feed: &Feed) -> Option<(Feed, Feed)> {
    match feed {
        Feed::Span { after, upto, points } if points.len() > 1 => {
            let (first, second) = points.split_at(points.len() / 2);
            let middle = first.last().map(|point| point.id);
            let first = Feed::Span { after: *after, upto: middle, points: first.to_vec() };
            Some((first, Feed::Span { after: middle, upto: *upto, points: second.to_vec() }))
        }
        Feed::Changes(points, gone) if points.len() > 1 => {
            let (first, second) = points.split_at(points.len() / 2);
            Some((Feed::Changes(first.to_vec(), gone.clone()), Feed::Changes(second.to_vec(), Vec::new())))
        }
        _ => None,
    }
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, Ended> {
    match tokio::task::spawn_blocking(work).await {
        Ok(done) => Ok(done?),
        Err(error) => Err(Ended::Failed(error.to_string())),
    }
}
