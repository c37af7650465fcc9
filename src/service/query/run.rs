//! Running a resolved tree, from its leaves to the root (PROTOCOL section 10.4).

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use super::reads::{DressRead, FormulaRead, LevelRead, PlainRead};
use super::resolve::{Level, Resolved};
use super::{Plan, fusion, mmr};
use crate::index::Stop;
use crate::model::query::Mmr;
use crate::model::vector::normalize_rows;
use crate::model::{PayloadSelector, PointId, Record, ScoredPoint, Vector, VectorParams, VectorSelector};
use crate::service::merge::{Page, ScoredHit};
use crate::service::scatter::{Fetch, FetchOf, Found, Nothing, Scattered};
use crate::service::seat::View;
use crate::service::{Error, ReadOptions, Service};
use crate::shard::{ReadError, similarity};

/// What of a hit is shown.
#[derive(Clone)]
pub(in crate::service) struct Dress {
    pub(in crate::service) with_payload: PayloadSelector,
    pub(in crate::service) with_vectors: VectorSelector,
}

impl Dress {
    /// Nothing but ids, versions and scores.
    pub(in crate::service) fn is_bare(&self) -> bool {
        self.with_payload == PayloadSelector::None && self.with_vectors == VectorSelector::None
    }

    /// What is read of `hits`.
    pub(in crate::service) fn fetch(&self, hits: &[ScoredHit]) -> Option<Fetch> {
        let of = || FetchOf::Hits(hits.iter().map(|hit| (hit.place, hit.id)).collect());
        let (with_payload, with_vectors) = (&self.with_payload, &self.with_vectors);
        (!self.is_bare()).then(|| Fetch {
            of: of(),
            with_payload: with_payload.clone(),
            with_vectors: with_vectors.clone(),
        })
    }

    /// Attaches payload and vectors. A point that was deleted since it was found is left out.
    pub(in crate::service) fn dressed(&self, hits: Vec<ScoredHit>, found: &Found) -> Vec<ScoredPoint> {
        if self.is_bare() {
            let bare = |hit: ScoredHit| ScoredPoint { shard_key: found.key(hit.place), ..hit.bare() };
            return hits.into_iter().map(bare).collect();
        }
        let dressed = hits.into_iter().filter_map(|hit| {
            // Cloned: ordered by a field, a point may be shown more than once.
            let Record { payload, vectors, shard_key, .. } = found.at(hit.place, hit.id)?.clone();
            Some(ScoredPoint { payload, vectors, shard_key, ..hit.bare() })
        });
        dressed.collect()
    }
}

type Running<'a> = Pin<Box<dyn Future<Output = Result<Vec<ScoredHit>, Error>> + Send + 'a>>;

impl Service {
    pub(super) async fn run_plans(
        &self,
        view: &View,
        plans: Vec<Plan>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredPoint>>, Error> {
        // The usual batch is of plain searches: they go to the pool together.
        if plans.iter().all(|plan| plan.root.is_plain()) {
            let reads = plans.into_iter().map(|Plan { root, page, with_payload, with_vectors }| PlainRead {
                level: Arc::new(LevelRead { core: root.core, among: None, wanted: page.needed() }),
                page,
                dress: Dress { with_payload, with_vectors },
            });
            return self.gather(view, reads.collect(), options).await;
        }
        let running = plans.into_iter().map(|plan| async move {
            let Plan { root, page, with_payload, with_vectors } = plan;
            let hits = page.cut(self.run_level(view, &root, page, options).await?);
            self.gather_one(view, DressRead { hits, dress: Dress { with_payload, with_vectors } }, options).await
        });
        futures::future::try_join_all(running).await
    }

    /// The best of a level, at most as many as the page needs.
    pub(super) fn run_level<'a>(
        &'a self,
        view: &'a View,
        level: &'a Level,
        page: Page,
        options: ReadOptions,
    ) -> Running<'a> {
        Box::pin(async move {
            let wanted = page.needed();
            if let Resolved::Mmr { query, mmr } = &level.core.ranking {
                return self.run_mmr(view, level, (query, *mmr), page, options).await;
            }
            if level.sources.is_empty() {
                let read = LevelRead { core: Arc::clone(&level.core), among: None, wanted };
                return self.gather_one(view, read, options).await;
            }
            let lists = self.run_sources(view, level, options).await?;
            let at_least = |hits: Vec<ScoredHit>| -> Vec<ScoredHit> {
                let passes = |hit: &ScoredHit| level.core.score_threshold.is_none_or(|least| hit.score >= least);
                hits.into_iter().filter(passes).take(wanted).collect()
            };
            match &level.core.ranking {
                Resolved::Fusion(fusion) => Ok(at_least(fusion::fuse(fusion, &lists))),
                Resolved::Formula(formula) => {
                    let mut scores: HashMap<PointId, Vec<Option<f32>>> = HashMap::new();
                    for (number, list) in lists.iter().enumerate() {
                        for hit in list {
                            let of_point = scores.entry(hit.id).or_insert_with(|| vec![None; lists.len()]);
                            if let Some(score) = of_point.get_mut(number) {
                                *score = Some(hit.score);
                            }
                        }
                    }
                    let read = FormulaRead { formula: formula.clone(), scores };
                    let hits = self.gather_one(view, read, options).await?.map_err(Error::Formula)?;
                    Ok(at_least(hits))
                }
                _ => {
                    let among = Some(union(&lists));
                    let read = LevelRead { core: Arc::clone(&level.core), among, wanted };
                    self.gather_one(view, read, options).await
                }
            }
        })
    }

    /// The results of a level's prefetches, each as long as its own limit.
    async fn run_sources(
        &self,
        view: &View,
        level: &Level,
        options: ReadOptions,
    ) -> Result<Vec<Vec<ScoredHit>>, Error> {
        let running = level.sources.iter().map(|source| {
            let page = Page { offset: 0, limit: source.core.limit };
            self.run_level(view, source, page, options)
        });
        futures::future::try_join_all(running).await
    }

    async fn run_mmr(
        &self,
        view: &View,
        level: &Level,
        (query, mmr): (&Vector, Mmr),
        page: Page,
        options: ReadOptions,
    ) -> Result<Vec<ScoredHit>, Error> {
        let among = match level.sources.is_empty() {
            true => None,
            false => Some(union(&self.run_sources(view, level, options).await?)),
        };
        let wanted = mmr.candidates_limit.unwrap_or(page.limit);
        let read = LevelRead { core: Arc::clone(&level.core), among, wanted };
        let candidates = self.gather_one(view, read, options).await?;
        if candidates.len() < 2 {
            return Ok(candidates);
        }
        let read = MmrRead {
            candidates,
            query: query.clone(),
            using: level.core.using.clone(),
            metric: level.core.metric,
            is_unscaled: is_unscaled(view, &level.core.using),
            lambda: 1.0 - mmr.diversity,
            count: page.needed(),
        };
        self.gather_one(view, read, options).await
    }
}

impl Level {
    /// One read answers it.
    fn is_plain(&self) -> bool {
        self.sources.is_empty() && !matches!(self.core.ranking, Resolved::Mmr { .. })
    }
}

/// The points of all lists, each once, in the order of first sight.
fn union(lists: &[Vec<ScoredHit>]) -> Arc<[PointId]> {
    let mut seen = HashSet::new();
    lists.iter().flatten().map(|hit| hit.id).filter(|id| seen.insert(*id)).collect()
}

/// Whether vectors of this name are read with another length than they are compared with.
pub(super) fn is_unscaled(view: &View, using: &str) -> bool {
    view.collection.config.vectors.by_name.get(using).is_some_and(VectorParams::keeps_length)
}

/// Diversifies candidates.
struct MmrRead {
    candidates: Vec<ScoredHit>,
    query: Vector,
    using: String,
    metric: crate::model::Metric,
    is_unscaled: bool,
    lambda: f32,
    count: usize,
}

impl Scattered for MmrRead {
    const WHAT: &'static str = "diversifying";
    type Asked = Nothing;
    type Merged = ();
    type Whole = Vec<ScoredHit>;

    fn asked(_read: &Arc<Self>) -> Option<Arc<Nothing>> {
        None
    }

    fn merged(&self, _parts: Vec<()>) {}

    fn fetch(&self, (): &()) -> Option<Fetch> {
        let with_vectors = VectorSelector::Names(vec![self.using.clone()]);
        Dress { with_payload: PayloadSelector::None, with_vectors }.fetch(&self.candidates)
    }

    fn whole(&self, (): (), mut found: Found, _stop: &Stop) -> Result<Vec<ScoredHit>, ReadError> {
        let mut vector_of =
            |hit: &ScoredHit| found.take_at(hit.place, hit.id)?.vectors.unwrap_or_default().remove(&self.using);
        let mut candidates: Vec<(ScoredHit, Vector)> =
            self.candidates.iter().filter_map(|hit| Some((*hit, vector_of(hit)?))).collect();
        if self.is_unscaled {
            candidates.iter_mut().for_each(|(_, vector)| normalize_rows(vector));
        }
        let of = |a: &Vector, b: &Vector| similarity(self.metric, a, b).unwrap_or(0.0);
        let relevance: Vec<f32> = candidates.iter().map(|(_, vector)| of(&self.query, vector)).collect();
        let between = |a: usize, b: usize| match (candidates.get(a), candidates.get(b)) {
            (Some((_, a)), Some((_, b))) => of(a, b),
            _ => 0.0,
        };
        let picked = mmr::pick(&relevance, between, self.lambda, self.count);
        Ok(picked.into_iter().filter_map(|place| Some(candidates.get(place)?.0)).collect())
    }
}
