//! Reads: barrier, one job per shard on the search pool, and what the shards found put together.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::collections::View;
use super::errors::{from_propose, from_read};
use super::merge::{ScoredHit, first_ids};
use super::query::in_order;
use super::shards::RunningShard;
use super::{Consistency, Error, ReadOptions, Scope, ScrollPage, Service, before};
use crate::index::Stop;
use crate::model::query::{OrderValue, ScrollRequest};
use crate::model::{Filter, PayloadSelector, PointId, Record, VectorSelector};
use crate::shard::{ReadError, Shard};

/// Points fetched between two looks at the stop flag.
const FETCH_POINTS_MAX: usize = 256;

/// A read that every shard answers in part.
pub(super) trait Scattered: Send + Sync + 'static {
    /// Names the read in errors.
    const WHAT: &'static str;
    type Part: Send + 'static;
    type Whole: Send + 'static;

    /// Whether that is over sooner than another thread would begin it.
    fn is_quick(&self, _shard: &Shard) -> bool {
        false
    }

    /// What one shard finds.
    fn part(&self, shard: &Shard, stop: &Stop) -> Result<Self::Part, ReadError>;

    /// The answer from what all `shards` found, in their order.
    fn whole(
        &self,
        shards: &[Arc<RunningShard>],
        parts: Vec<Self::Part>,
        stop: &Stop,
    ) -> Result<Self::Whole, ReadError>;
}

impl Service {
    /// In the order of `ids`; duplicates once; unknown ids left out.
    pub async fn retrieve(
        &self,
        scope: impl Into<Scope>,
        ids: Vec<PointId>,
        with_payload: PayloadSelector,
        with_vectors: VectorSelector,
        options: ReadOptions,
    ) -> Result<Vec<Record>, Error> {
        const WHAT: &str = "retrieving points";
        let _inside = self.running.gate.enter()?;
        let view = self.read_view(scope.into(), options).await?;
        self.admit_retrieve(&view, ids.len(), options)?;
        self.barrier(&view, options).await?;
        let shards = Arc::clone(&view.shards);
        let job = move |stop: &Stop| {
            let mut seen = HashSet::with_capacity(ids.len());
            let ids: Vec<PointId> = ids.into_iter().filter(|id| seen.insert(*id)).collect();
            fetch(&shards, &ids, &with_payload, &with_vectors, stop).map_err(|error| from_read(error, WHAT))
        };
        self.running.pool.run(WHAT, options.deadline, job).await
    }

    /// One page in ascending id order.
    pub async fn scroll(
        &self,
        scope: impl Into<Scope>,
        request: ScrollRequest,
        options: ReadOptions,
    ) -> Result<ScrollPage, Error> {
        let _inside = self.running.gate.enter()?;
        let view = self.read_view(scope.into(), options).await?;
        self.admit_scroll(&view, &request, options)?;
        self.barrier(&view, options).await?;
        self.gather_one(&view, request, options).await
    }

    /// Exact, always.
    pub async fn count(
        &self,
        scope: impl Into<Scope>,
        filter: Option<Filter>,
        options: ReadOptions,
    ) -> Result<u64, Error> {
        let _inside = self.running.gate.enter()?;
        let view = self.read_view(scope.into(), options).await?;
        self.admit_count(&view, filter.as_ref(), options)?;
        self.barrier(&view, options).await?;
        self.gather_one(&view, Count { filter }, options).await
    }

    /// The shards one read goes to.
    pub(super) async fn read_view(&self, scope: Scope, options: ReadOptions) -> Result<View, Error> {
        self.view_for(&scope.collection, options).await?.read_by(scope.selector(0))
    }

    /// All shards of the collection, waited for as long as the read may take.
    pub(super) async fn view_for(&self, collection: &str, options: ReadOptions) -> Result<View, Error> {
        before(options.deadline, "waiting for the collection", self.view(collection)).await
    }

    /// As [`Service::gather`], for one read.
    pub(super) async fn gather_one<R: Scattered>(
        &self,
        view: &View,
        read: R,
        options: ReadOptions,
    ) -> Result<R::Whole, Error> {
        let wholes = self.gather(view, vec![read], options).await?;
        wholes.into_iter().next().ok_or_else(|| Error::Unavailable { why: format!("{} has no answer", R::WHAT) })
    }

    /// Waits until every shard has applied what was acknowledged before this call.
    pub(super) async fn barrier(&self, view: &View, options: ReadOptions) -> Result<(), Error> {
        if options.consistency == Consistency::Any {
            return Ok(());
        }
        let barriers = view.shards.iter().map(|shard| shard.group.read_barrier());
        let passed = before(options.deadline, "waiting for earlier writes", async {
            futures::future::try_join_all(barriers).await.map_err(from_propose).map(|_| ())
        });
        passed.await.map_err(|error| match error {
            Error::Unavailable { .. } if self.is_gone(view) => {
                Error::CollectionNotFound { name: view.collection.name.clone() }
            }
            other => other,
        })
    }

    /// Runs `reads` on the pool, or one that is quick here, answers in their order. With one shard a read is one job from beginning to end.
    pub(super) async fn gather<R: Scattered>(
        &self,
        view: &View,
        reads: Vec<R>,
        options: ReadOptions,
    ) -> Result<Vec<R::Whole>, Error> {
        let pool = &self.running.pool;
        let reads: Vec<Arc<R>> = reads.into_iter().map(Arc::new).collect();
        if view.shards.len() == 1 {
            let jobs = reads.iter().map(|read| {
                let (read, shards) = (Arc::clone(read), Arc::clone(&view.shards));
                move |stop: &Stop| {
                    let parts: Result<Vec<R::Part>, ReadError> =
                        shards.iter().map(|running| read.part(&running.shard(), stop)).collect();
                    let whole = parts.and_then(|parts| read.whole(&shards, parts, stop));
                    whole.map_err(|error| from_read(error, R::WHAT))
                }
            });
            if let ([read], Some(running)) = (reads.as_slice(), view.shards.first())
                && read.is_quick(&running.shard())
            {
                return pool.run_here(R::WHAT, options.deadline, jobs);
            }
            return pool.run_all(R::WHAT, options.deadline, jobs.collect()).await;
        }
        let jobs = reads.iter().flat_map(|read| {
            view.shards.iter().map(|running| {
                let (read, shard) = (Arc::clone(read), running.shard());
                move |stop: &Stop| read.part(&shard, stop).map_err(|error| from_read(error, R::WHAT))
            })
        });
        let mut parts = pool.run_all(R::WHAT, options.deadline, jobs.collect()).await?.into_iter();
        let jobs = reads.iter().map(|read| {
            let (read, shards) = (Arc::clone(read), Arc::clone(&view.shards));
            let parts: Vec<R::Part> = parts.by_ref().take(shards.len()).collect();
            move |stop: &Stop| read.whole(&shards, parts, stop).map_err(|error| from_read(error, R::WHAT))
        });
        pool.run_all(R::WHAT, options.deadline, jobs.collect()).await
    }
}

/// The points of `ids` that exist, in that order. No id occurs twice in `ids`; one that stands under several shard keys
/// is found once, in the first of `shards` that holds it.
pub(super) fn fetch(
    shards: &[Arc<RunningShard>],
    ids: &[PointId],
    with_payload: &PayloadSelector,
    with_vectors: &VectorSelector,
    stop: &Stop,
) -> Result<Vec<Record>, ReadError> {
    let hashed: Vec<(PointId, u64)> = ids.iter().map(|id| (*id, id.hash_slot())).collect();
    let mut found: HashMap<PointId, Record> = HashMap::with_capacity(ids.len());
    for running in shards {
        let is_here = |(id, slot): &(PointId, u64)| running.owns(*slot) && !found.contains_key(id);
        let of_shard: Vec<PointId> = hashed.iter().filter(|hashed| is_here(hashed)).map(|(id, _)| *id).collect();
        let records = get(running, &of_shard, with_payload, with_vectors, stop)?;
        found.extend(records.into_iter().map(|record| (record.id, record)));
    }
    Ok(ids.iter().filter_map(|id| found.remove(id)).collect())
}

/// The records of `hits` that still exist, each from the shard it was found in, by that shard's place and the id.
pub(super) fn fetch_hits(
    shards: &[Arc<RunningShard>],
    hits: &[ScoredHit],
    with_payload: &PayloadSelector,
    with_vectors: &VectorSelector,
    stop: &Stop,
) -> Result<HashMap<(usize, PointId), Record>, ReadError> {
    let mut seen = HashSet::with_capacity(hits.len());
    let mut of_shards: Vec<Vec<PointId>> = vec![Vec::new(); shards.len()];
    for hit in hits {
        if let Some(of_shard) = of_shards.get_mut(hit.place)
            && seen.insert((hit.place, hit.id))
        {
            of_shard.push(hit.id);
        }
    }
    let mut found = HashMap::with_capacity(hits.len());
    for (place, (running, ids)) in shards.iter().zip(of_shards).enumerate() {
        let records = get(running, &ids, with_payload, with_vectors, stop)?;
        found.extend(records.into_iter().map(|record| ((place, record.id), record)));
    }
    Ok(found)
}

/// The points of `ids` that one shard holds, in that order.
fn get(
    running: &RunningShard,
    ids: &[PointId],
    with_payload: &PayloadSelector,
    with_vectors: &VectorSelector,
    stop: &Stop,
) -> Result<Vec<Record>, ReadError> {
    let mut records = Vec::with_capacity(ids.len());
    for chunk in ids.chunks(FETCH_POINTS_MAX) {
        if stop.is_raised() {
            return Err(ReadError::Stopped);
        }
        let found = running.shard().get(chunk, with_payload, with_vectors)?;
        records.extend(found.into_iter().map(|record| Record { shard_key: running.place.key.clone(), ..record }));
    }
    Ok(records)
}

/// What one shard has of a page.
pub(super) enum ScrollPart {
    Ids(Vec<PointId>),
    Ordered(Vec<(OrderValue, PointId)>),
}

impl Scattered for ScrollRequest {
    const WHAT: &'static str = "scroll";
    type Part = ScrollPart;
    type Whole = ScrollPage;

    fn part(&self, shard: &Shard, stop: &Stop) -> Result<ScrollPart, ReadError> {
        let filter = self.filter.as_ref();
        match &self.order_by {
            Some(order) => shard.order_by(order, filter, None, self.limit, stop).map(ScrollPart::Ordered),
            // One more than shown: the first of the next page.
            None => shard.scroll(self.offset, self.limit.saturating_add(1), filter, stop).map(ScrollPart::Ids),
        }
    }

    fn whole(
        &self,
        shards: &[Arc<RunningShard>],
        parts: Vec<ScrollPart>,
        stop: &Stop,
    ) -> Result<ScrollPage, ReadError> {
        let (mut pages, mut ordered) = (Vec::new(), Vec::new());
        // With custom sharding a point of this id may stand in two shards: pages by id show the first.
        let mut places: HashMap<PointId, usize> = HashMap::new();
        for (place, part) in parts.into_iter().enumerate() {
            match part {
                ScrollPart::Ids(ids) => {
                    for id in &ids {
                        places.entry(*id).or_insert(place);
                    }
                    pages.push(ids);
                }
                ScrollPart::Ordered(part) => ordered.extend(part),
            }
        }
        if let Some(order) = &self.order_by {
            in_order(order, &mut ordered);
            ordered.truncate(self.limit);
            let points = ordered_records(self, shards, ordered, stop)?;
            return Ok(ScrollPage { points, next_offset: None });
        }
        let mut ids = first_ids(pages, self.limit.saturating_add(1));
        let next_offset = ids.get(self.limit).copied();
        ids.truncate(self.limit);
        let place = |id: &PointId| places.get(id).copied().unwrap_or(0);
        let hits: Vec<ScoredHit> =
            ids.into_iter().map(|id| ScoredHit { place: place(&id), ..ScoredHit::by_id(id) }).collect();
        let mut records = fetch_hits(shards, &hits, &self.with_payload, &self.with_vectors, stop)?;
        let points = hits.iter().filter_map(|hit| records.remove(&(hit.place, hit.id))).collect();
        Ok(ScrollPage { points, next_offset })
    }
}

/// The points of `ordered`, each as often as it has a value there.
fn ordered_records(
    request: &ScrollRequest,
    shards: &[Arc<RunningShard>],
    ordered: Vec<(OrderValue, PointId)>,
    stop: &Stop,
) -> Result<Vec<Record>, ReadError> {
    let mut seen = HashSet::with_capacity(ordered.len());
    let ids: Vec<PointId> = ordered.iter().map(|(_, id)| *id).filter(|id| seen.insert(*id)).collect();
    let records = fetch(shards, &ids, &request.with_payload, &request.with_vectors, stop)?;
    let records: HashMap<PointId, Record> = records.into_iter().map(|record| (record.id, record)).collect();
    let record = |(value, id)| Some(Record { order_value: Some(value), ..records.get(&id)?.clone() });
    Ok(ordered.into_iter().filter_map(record).collect())
}

struct Count {
    filter: Option<Filter>,
}

impl Scattered for Count {
    const WHAT: &'static str = "count";
    type Part = u64;
    type Whole = u64;

    fn part(&self, shard: &Shard, stop: &Stop) -> Result<u64, ReadError> {
        shard.count(self.filter.as_ref(), stop)
    }

    fn whole(&self, _shards: &[Arc<RunningShard>], parts: Vec<u64>, _stop: &Stop) -> Result<u64, ReadError> {
        Ok(parts.into_iter().sum())
    }
}
