//! Queries: targets resolved, shards searched, hits merged, and fetched what is shown.

use std::collections::HashMap;
use std::sync::Arc;

use super::checks::check_vector;
use super::collections::View;
use super::errors::from_storage;
use super::merge::{Page, ScoredHit, first_ids, ranked};
use super::read::{Scattered, fetch};
use super::shards::RunningShard;
use super::{Error, ReadOptions, Service};
use crate::cluster::shard_of;
use crate::index::Stop;
use crate::model::query::{QueryLevel, QueryRequest, Ranking, SearchOptions, Target};
use crate::model::{Filter, Metric, PayloadSelector, PointId, Record, ScoredPoint, Vector, VectorName, VectorSelector};
use crate::shard::{Hit, Nearest, ReadError, Shard};

/// Every point that a query without a ranking returns has this score and version (PROTOCOL section 10.1).
const SCORE_BY_ID: f32 = 1.0;
const VERSION_BY_ID: u64 = 0;

/// A query whose target is a vector of the collection.
struct Resolved {
    ranking: ResolvedRanking,
    filter: Option<Filter>,
    options: SearchOptions,
    page: Page,
    score_threshold: Option<f32>,
    with_payload: PayloadSelector,
    with_vectors: VectorSelector,
}

enum ResolvedRanking {
    ById,
    Nearest { vector: Vector, using: VectorName, metric: Metric },
}

/// A vector to be read before the query that needs it can run.
struct Lookup {
    view: View,
    id: PointId,
    name: VectorName,
    /// The point is in the searched collection, so it is left out of the answer.
    is_searched: bool,
}

struct LookedUp {
    vector: Vec<f32>,
    is_searched: bool,
}

impl Service {
    /// The best points of one query.
    pub async fn query(
        &self,
        collection: &str,
        request: QueryRequest,
        options: ReadOptions,
    ) -> Result<Vec<ScoredPoint>, Error> {
        let answers = self.query_batch(collection, vec![request], options).await?;
        Ok(answers.into_iter().flatten().collect())
    }

    /// Results in the order of `requests`; one bad entry fails the call.
    pub async fn query_batch(
        &self,
        collection: &str,
        requests: Vec<QueryRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredPoint>>, Error> {
        let _inside = self.running.gate.enter()?;
        let view = self.view(collection).await?;
        self.barrier(&view, options).await?;
        let queries = self.resolve_all(&view, requests, options).await?;
        self.gather(&view, queries, options).await
    }

    /// Checks every request, then reads the vectors of the points that some name as their target.
    async fn resolve_all(
        &self,
        view: &View,
        requests: Vec<QueryRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Resolved>, Error> {
        let mut lookups = Vec::new();
        for request in &requests {
            lookups.extend(self.lookup_of(view, request, options).await?);
        }
        let mut vectors = self.look_up(lookups, options).await?.into_iter();
        requests.into_iter().map(|request| resolve(view, request, &mut vectors)).collect()
    }

    /// What `request` needs looked up, if anything (PROTOCOL section 10.3).
    async fn lookup_of(
        &self,
        view: &View,
        request: &QueryRequest,
        options: ReadOptions,
    ) -> Result<Option<Lookup>, Error> {
        let QueryLevel { ranking, using, lookup_from, .. } = &request.root;
        let Ranking::Nearest(target) = ranking else { return Ok(None) };
        check_name(view, using)?;
        let Target::Point(id) = target else { return Ok(None) };
        let Some(from) = lookup_from else {
            return Ok(Some(Lookup { view: view.clone(), id: *id, name: using.clone(), is_searched: true }));
        };
        let elsewhere = self.view(&from.collection).await?;
        let name = from.vector.as_ref().unwrap_or(using);
        check_name(&elsewhere, name)?;
        let is_searched = elsewhere.collection.created_index == view.collection.created_index;
        if !is_searched {
            self.barrier(&elsewhere, options).await?;
        }
        Ok(Some(Lookup { view: elsewhere, id: *id, name: name.clone(), is_searched }))
    }

    /// The vectors of `lookups`, in order.
    async fn look_up(&self, lookups: Vec<Lookup>, options: ReadOptions) -> Result<Vec<LookedUp>, Error> {
        let jobs = lookups.into_iter().map(|lookup| move |_: &Stop| lookup.run());
        self.running.pool.run_all("looking up a query's point", options.deadline, jobs.collect()).await
    }
}

impl Lookup {
    fn run(self) -> Result<LookedUp, Error> {
        let Lookup { view, id, name, is_searched } = self;
        let missing = || Error::PointNotFound { id };
        let running = view.shards.get(shard_of(id, view.shards.len())).ok_or_else(missing)?;
        let select = VectorSelector::Names(vec![name.clone()]);
        let records = running.shard.get(&[id], &PayloadSelector::None, &select).map_err(from_storage)?;
        let record = records.into_iter().next().ok_or_else(missing)?;
        match record.vectors.unwrap_or_default().remove(&name) {
            Some(Vector::Dense(vector)) => Ok(LookedUp { vector, is_searched }),
            Some(_) => Err(not_built()),
            None => Err(Error::VectorNotFound { id, name }),
        }
    }
}

fn check_name(view: &View, name: &str) -> Result<(), Error> {
    match view.collection.config.vectors.by_name.contains_key(name) {
        true => Ok(()),
        false => Err(Error::VectorNameUnknown { name: name.to_owned() }),
    }
}

/// `request` with its target checked. `looked_up` yields the vector of each target that is a point, in order.
fn resolve(
    view: &View,
    request: QueryRequest,
    looked_up: &mut impl Iterator<Item = LookedUp>,
) -> Result<Resolved, Error> {
    let QueryLevel { ranking, using, mut filter, options, score_threshold, limit, .. } = request.root;
    let ranking = match ranking {
        Ranking::ById => ResolvedRanking::ById,
        Ranking::Nearest(target) => {
            let mut vector = match target {
                Target::Vector(Vector::Dense(values)) => values,
                Target::Vector(_) => return Err(not_built()),
                Target::Point(id) => {
                    let LookedUp { vector, is_searched } = looked_up.next().ok_or(Error::PointNotFound { id })?;
                    if is_searched {
                        filter = Some(filter.unwrap_or_default().excluding([id]));
                    }
                    vector
                }
            };
            let vectors = &view.collection.config.vectors;
            check_vector(vectors, &using, &mut vector)?;
            let metric = vectors.by_name.get(&using).map_or(Metric::Dot, |params| params.metric);
            ResolvedRanking::Nearest { vector: Vector::Dense(vector), using, metric }
        }
        _ => return Err(not_built()),
    };
    Ok(Resolved {
        ranking,
        filter,
        options,
        page: Page { offset: request.offset, limit },
        score_threshold,
        with_payload: request.with_payload,
        with_vectors: request.with_vectors,
    })
}

/// The transports refuse it by name.
fn not_built() -> Error {
    Error::Unavailable { why: "this query is not built yet".to_owned() }
}

/// What one shard found.
enum Found {
    Ids(Vec<PointId>),
    Hits(Vec<Hit>),
}

impl Scattered for Resolved {
    const WHAT: &'static str = "search";
    type Part = Found;
    type Whole = Vec<ScoredPoint>;

    fn part(&self, shard: &Shard, stop: &Stop) -> Result<Found, ReadError> {
        match &self.ranking {
            ResolvedRanking::ById => shard.scroll(None, self.page.needed(), self.filter.as_ref(), stop).map(Found::Ids),
            ResolvedRanking::Nearest { vector, using, .. } => {
                let nearest = Nearest {
                    using,
                    vector,
                    filter: self.filter.as_ref(),
                    k: self.page.needed(),
                    ef: self.options.ef,
                    exact: self.options.exact,
                    indexed_only: self.options.indexed_only,
                };
                shard.search(&nearest, stop).map(|found| Found::Hits(found.hits))
            }
        }
    }

    fn whole(
        &self,
        shards: &[Arc<RunningShard>],
        parts: Vec<Found>,
        stop: &Stop,
    ) -> Result<Vec<ScoredPoint>, ReadError> {
        let (mut ids, mut hits) = (Vec::new(), Vec::new());
        for part in parts {
            match part {
                Found::Ids(part) => ids.push(part),
                Found::Hits(part) => hits.push(part),
            }
        }
        let shown: Vec<ScoredHit> = match &self.ranking {
            ResolvedRanking::ById => {
                let ids = self.page.cut(first_ids(ids, self.page.needed()));
                ids.into_iter().map(|id| ScoredHit { id, version: VERSION_BY_ID, score: SCORE_BY_ID }).collect()
            }
            ResolvedRanking::Nearest { metric, .. } => ranked(*metric, hits, self.score_threshold, self.page),
        };
        self.dress(shards, shown, stop)
    }
}

impl Resolved {
    /// Attaches payload and vectors. A point that was deleted since it was found is left out.
    fn dress(
        &self,
        shards: &[Arc<RunningShard>],
        hits: Vec<ScoredHit>,
        stop: &Stop,
    ) -> Result<Vec<ScoredPoint>, ReadError> {
        let bare = |hit: ScoredHit| ScoredPoint {
            id: hit.id,
            version: hit.version,
            score: hit.score,
            payload: None,
            vectors: None,
            order_value: None,
            shard_key: None,
        };
        if self.with_payload == PayloadSelector::None && self.with_vectors == VectorSelector::None {
            return Ok(hits.into_iter().map(bare).collect());
        }
        let ids: Vec<PointId> = hits.iter().map(|hit| hit.id).collect();
        let records = fetch(shards, &ids, &self.with_payload, &self.with_vectors, stop)?;
        let mut records: HashMap<PointId, Record> = records.into_iter().map(|record| (record.id, record)).collect();
        let dressed = hits.into_iter().filter_map(|hit| {
            let Record { payload, vectors, .. } = records.remove(&hit.id)?;
            Some(ScoredPoint { payload, vectors, ..bare(hit) })
        });
        Ok(dressed.collect())
    }
}
