//! The reads a query is made of; each is answered by every shard in part.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::formula::{self, Candidate, FormulaError};
use super::resolve::{Core, Resolved};
use crate::index::{CodeUse, Stop};
use crate::model::formula::Formula;
use crate::model::query::{Direction, OrderBy, OrderValue, SearchOptions};
use crate::model::{Filter, Metric, Path, PointId, PointVersion, ScoredPoint, Vector, VectorName};
use crate::service::merge::{Cut, Page, ScoredHit, first_ids, ranked};
use crate::service::scatter::{Fetch, Found, Nothing, ReadKind, Scattered, ShardRead};
use crate::shard::{Among, Hit, Nearest, Rank, ReadError, Scoring, Shard, TextSearch, TextStats};

use super::run::Dress;

/// One level: the best of the collection, or of some points of it.
#[derive(Serialize, Deserialize)]
pub(in crate::service) struct LevelRead {
    #[serde(serialize_with = "write_shared", deserialize_with = "read_shared")]
    pub(super) core: Arc<Core>,
    /// The points a level with prefetches works on; each once.
    #[serde(serialize_with = "write_points", deserialize_with = "read_points")]
    pub(super) among: Option<Arc<[PointId]>>,
    /// How many of the best are wanted.
    pub(super) wanted: usize,
}

fn write_shared<S: Serializer>(core: &Arc<Core>, out: S) -> Result<S::Ok, S::Error> {
    (**core).serialize(out)
}

fn read_shared<'de, D: Deserializer<'de>>(input: D) -> Result<Arc<Core>, D::Error> {
    Core::deserialize(input).map(Arc::new)
}

fn write_points<S: Serializer>(points: &Option<Arc<[PointId]>>, out: S) -> Result<S::Ok, S::Error> {
    points.as_deref().serialize(out)
}

fn read_points<'de, D: Deserializer<'de>>(input: D) -> Result<Option<Arc<[PointId]>>, D::Error> {
    Ok(Option::<Vec<PointId>>::deserialize(input)?.map(Arc::from))
}

/// What one shard found.
#[derive(Serialize, Deserialize)]
pub(in crate::service) enum Part {
    Ids(Vec<PointId>),
    Hits(Vec<Hit>),
    Ordered(Vec<(OrderValue, PointId)>),
    /// With a random key each.
    Sampled(Vec<(u64, PointId)>),
    Texts(Vec<(PointId, f32)>),
}

fn code_use(options: &SearchOptions) -> CodeUse {
    CodeUse {
        is_ignored: options.ignores_codes,
        rescores: options.rescores.unwrap_or(true),
        oversampling: options.oversampling.unwrap_or(1.0),
    }
}

impl LevelRead {
    /// A search for a vector, as the shard takes it.
    fn nearest<'a>(&'a self, vector: &'a Vector) -> Nearest<'a> {
        let core = &*self.core;
        Nearest {
            using: &core.using,
            vector,
            // What prefetches found is not asked again: their filters may have widened this one (PROTOCOL section 10.4).
            filter: core.filter.as_ref().filter(|_| self.among.is_none()),
            k: self.wanted,
            ef: core.options.ef,
            exact: core.options.exact,
            indexed_only: core.options.indexed_only,
            codes: code_use(&core.options),
        }
    }

    fn is_quick(&self, shard: &Shard) -> bool {
        match &self.core.ranking {
            Resolved::Nearest(vector) if self.among.is_none() => shard.is_quick(&self.nearest(vector)),
            _ => false,
        }
    }

    fn search(&self, shard: &Shard, stop: &Stop) -> Result<Part, ReadError> {
        let core = &*self.core;
        let among = self.among.as_deref();
        // What prefetches found is not asked again: their filters may have widened this one (PROTOCOL section 10.4).
        let filter = core.filter.as_ref().filter(|_| among.is_none());
        match &core.ranking {
            Resolved::Nearest(vector) | Resolved::Mmr { query: vector, .. } if among.is_none() => {
                shard.search(&self.nearest(vector), stop).map(|found| Part::Hits(found.hits))
            }
            Resolved::Nearest(vector) | Resolved::Mmr { query: vector, .. } => {
                self.rank(shard, &Scoring::Nearest(vector.clone()), core.metric, stop)
            }
            Resolved::Custom(scoring) => self.rank(shard, scoring, Metric::Dot, stop),
            Resolved::OrderBy(order) => shard.order_by(order, filter, among, self.wanted, stop).map(Part::Ordered),
            Resolved::Text { key, stats, k, b } => {
                let search = TextSearch { key, stats, k: *k, b: *b, filter, among, limit: self.wanted };
                shard.text_search(&search, stop).map(Part::Texts)
            }
            Resolved::Sample => {
                let ids = match among {
                    Some(ids) => shard.present(ids),
                    None => shard.matching_ids(filter, stop)?,
                };
                Ok(Part::Sampled(sampled(ids, self.wanted)))
            }
            // Fusion and formulas are worked out from their sources.
            Resolved::ById | Resolved::Fusion(_) | Resolved::Formula(_) => match among {
                Some(ids) => Ok(Part::Ids(shard.present(ids))),
                None => shard.scroll(None, self.wanted, filter, stop).map(Part::Ids),
            },
        }
    }

    fn rank(&self, shard: &Shard, scoring: &Scoring, order: Metric, stop: &Stop) -> Result<Part, ReadError> {
        let among = match &self.among {
            Some(ids) => Among::Ids(ids),
            None => Among::Filter(self.core.filter.as_ref()),
        };
        let rank = Rank { using: &self.core.using, scoring, among, k: self.wanted, order };
        shard.rank(&rank, stop).map(|found| Part::Hits(found.hits))
    }

    /// The best of what all shards found; at most as many as wanted.
    fn best_of(&self, parts: Vec<Part>) -> Vec<ScoredHit> {
        let places = if parts.len() > 1 { places(&parts) } else { HashMap::new() };
        let mut hits = self.best(parts);
        for hit in &mut hits {
            hit.place = places.get(&hit.id).copied().unwrap_or(0);
        }
        hits
    }

    fn best(&self, parts: Vec<Part>) -> Vec<ScoredHit> {
        let (mut ids, mut hits, mut ordered, mut samples, mut texts) = (vec![], vec![], vec![], vec![], vec![]);
        for part in parts {
            match part {
                Part::Ids(part) => ids.push(part),
                Part::Hits(part) => hits.push(part),
                Part::Ordered(part) => ordered.extend(part),
                Part::Sampled(part) => samples.extend(part),
                Part::Texts(part) => texts.extend(part),
            }
        }
        let core = &*self.core;
        let page = Page { offset: 0, limit: self.wanted };
        match &core.ranking {
            Resolved::OrderBy(order) => {
                in_order(order, &mut ordered);
                ordered.dedup();
                ordered.truncate(self.wanted);
                let hit = |(value, id)| ScoredHit { order_value: Some(value), ..ScoredHit::by_id(id) };
                ordered.into_iter().map(hit).collect()
            }
            Resolved::Sample => {
                samples.sort_unstable();
                let mut seen = HashSet::new();
                samples.retain(|(_, id)| seen.insert(*id));
                samples.truncate(self.wanted);
                samples.into_iter().map(|(_, id)| ScoredHit::by_id(id)).collect()
            }
            Resolved::Text { .. } => {
                texts.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
                let above = |score: f32| core.score_threshold.is_none_or(|threshold| score > threshold);
                let mut seen = HashSet::new();
                let once = texts.into_iter().filter(|(id, _)| seen.insert(*id));
                let kept = once.take_while(|(_, score)| above(*score)).take(self.wanted);
                kept.map(|(id, score)| ScoredHit { score, ..ScoredHit::by_id(id) }).collect()
            }
            Resolved::ById | Resolved::Fusion(_) | Resolved::Formula(_) => {
                first_ids(ids, self.wanted).into_iter().map(ScoredHit::by_id).collect()
            }
            ranking => {
                let is_custom = matches!(ranking, Resolved::Custom(_));
                let metric = if is_custom { Metric::Dot } else { core.metric };
                let cut = core.score_threshold.map(|threshold| Cut { threshold, metric: core.metric });
                ranked(metric, hits, cut, page)
            }
        }
    }
}

/// The part each point is from: of those that hold its id the one where it is closest, else the first.
fn places(parts: &[Part]) -> HashMap<PointId, usize> {
    let mut closest: HashMap<PointId, (f32, usize)> = HashMap::new();
    let mut see = |id: PointId, distance: f32, place: usize| {
        let known = closest.entry(id).or_insert((distance, place));
        if distance.total_cmp(&known.0).is_lt() {
            *known = (distance, place);
        }
    };
    for (place, part) in parts.iter().enumerate() {
        match part {
            Part::Ids(ids) => ids.iter().for_each(|id| see(*id, 0.0, place)),
            Part::Hits(hits) => hits.iter().for_each(|hit| see(hit.id, hit.distance, place)),
            Part::Ordered(ordered) => ordered.iter().for_each(|(_, id)| see(*id, 0.0, place)),
            Part::Sampled(samples) => samples.iter().for_each(|(_, id)| see(*id, 0.0, place)),
            Part::Texts(texts) => texts.iter().for_each(|(id, score)| see(*id, -score, place)),
        }
    }
    closest.into_iter().map(|(id, (_, place))| (id, place)).collect()
}

/// (value, id), both ascending or both descending.
pub(in crate::service) fn in_order(order: &OrderBy, found: &mut [(OrderValue, PointId)]) {
    found.sort_by(|a, b| {
        let ascending = a.0.total_cmp(&b.0).then(a.1.cmp(&b.1));
        if order.direction == Direction::Asc { ascending } else { ascending.reverse() }
    });
}

/// `wanted` random ones of `ids` at most, each with its random key: those with the smallest keys of all shards are a
/// uniform sample of all.
fn sampled(ids: Vec<PointId>, wanted: usize) -> Vec<(u64, PointId)> {
    let mut keyed: Vec<(u64, PointId)> = ids.into_iter().map(|id| (fastrand::u64(..), id)).collect();
    keyed.sort_unstable();
    keyed.truncate(wanted);
    keyed
}

impl ShardRead for LevelRead {
    const WHAT: &'static str = "search";
    const KIND: ReadKind = ReadKind::Level;
    type Part = Part;

    fn part(&self, shard: &Shard, stop: &Stop) -> Result<Part, ReadError> {
        self.search(shard, stop)
    }
}

impl Scattered for LevelRead {
    const WHAT: &'static str = "search";
    type Asked = LevelRead;
    type Merged = Vec<ScoredHit>;
    type Whole = Vec<ScoredHit>;

    fn asked(read: &Arc<Self>) -> Option<Arc<LevelRead>> {
        Some(Arc::clone(read))
    }

    fn merged(&self, parts: Vec<Part>) -> Vec<ScoredHit> {
        self.best_of(parts)
    }

    fn whole(&self, hits: Vec<ScoredHit>, _found: Found, _stop: &Stop) -> Result<Vec<ScoredHit>, ReadError> {
        Ok(hits)
    }
}

/// A whole query without prefetches: found, cut and dressed in one go.
pub(super) struct PlainRead {
    pub(super) level: Arc<LevelRead>,
    pub(super) page: Page,
    pub(super) dress: Dress,
}

impl Scattered for PlainRead {
    const WHAT: &'static str = "search";
    type Asked = LevelRead;
    type Merged = Vec<ScoredHit>;
    type Whole = Vec<ScoredPoint>;

    fn asked(read: &Arc<Self>) -> Option<Arc<LevelRead>> {
        Some(Arc::clone(&read.level))
    }

    fn is_quick(&self, shard: &Shard) -> bool {
        self.dress.is_bare() && self.level.is_quick(shard)
    }

    fn merged(&self, parts: Vec<Part>) -> Vec<ScoredHit> {
        self.page.cut(self.level.best_of(parts))
    }

    fn fetch(&self, hits: &Vec<ScoredHit>) -> Option<Fetch> {
        self.dress.fetch(hits)
    }

    fn whole(&self, hits: Vec<ScoredHit>, found: Found, _stop: &Stop) -> Result<Vec<ScoredPoint>, ReadError> {
        Ok(self.dress.dressed(hits, &found))
    }
}

/// Payloads and vectors for hits that have been found.
pub(super) struct DressRead {
    pub(super) hits: Vec<ScoredHit>,
    pub(super) dress: Dress,
}

impl Scattered for DressRead {
    const WHAT: &'static str = "search";
    type Asked = Nothing;
    type Merged = ();
    type Whole = Vec<ScoredPoint>;

    fn asked(_read: &Arc<Self>) -> Option<Arc<Nothing>> {
        None
    }

    fn merged(&self, _parts: Vec<()>) {}

    fn fetch(&self, (): &()) -> Option<Fetch> {
        self.dress.fetch(&self.hits)
    }

    fn whole(&self, (): (), found: Found, _stop: &Stop) -> Result<Vec<ScoredPoint>, ReadError> {
        Ok(self.dress.dressed(self.hits.clone(), &found))
    }
}

/// A formula over the union of what the prefetches found.
#[derive(Serialize, Deserialize)]
pub(in crate::service) struct FormulaRead {
    pub(super) formula: Formula,
    /// Per candidate: its score in each prefetch.
    pub(super) scores: HashMap<PointId, Vec<Option<f32>>>,
}

/// A candidate that has a score.
#[derive(Serialize, Deserialize)]
pub(in crate::service) struct Rescored {
    id: PointId,
    version: PointVersion,
    score: f32,
}

impl ShardRead for FormulaRead {
    const WHAT: &'static str = "rescoring by a formula";
    const KIND: ReadKind = ReadKind::Formula;
    type Part = Result<Vec<Rescored>, FormulaError>;

    fn part(&self, shard: &Shard, stop: &Stop) -> Result<Self::Part, ReadError> {
        let mut ids: Vec<PointId> = self.scores.keys().copied().collect();
        ids.sort_unstable();
        let mut hits = Vec::with_capacity(ids.len());
        let mut failure = None;
        shard.inspect(&ids, formula::needs_payload(&self.formula.expression), stop, &mut |point| {
            let scores = self.scores.get(&point.id).map_or(&[][..], Vec::as_slice);
            let candidate = Candidate { scores, payload: point.payload, holds: point.holds };
            match formula::evaluate(&self.formula, &candidate) {
                Ok(score) => hits.push(Rescored { id: point.id, version: point.version, score }),
                Err(error) => failure = Some(error),
            }
            failure.is_none()
        })?;
        Ok(failure.map_or(Ok(hits), Err))
    }
}

impl Scattered for FormulaRead {
    const WHAT: &'static str = "rescoring by a formula";
    type Asked = FormulaRead;
    type Merged = Result<Vec<ScoredHit>, FormulaError>;
    type Whole = Result<Vec<ScoredHit>, FormulaError>;

    fn asked(read: &Arc<Self>) -> Option<Arc<FormulaRead>> {
        Some(Arc::clone(read))
    }

    fn merged(&self, parts: Vec<Result<Vec<Rescored>, FormulaError>>) -> Self::Merged {
        let parts: Vec<Vec<Rescored>> = parts.into_iter().collect::<Result<_, FormulaError>>()?;
        let hit =
            |place: usize, Rescored { id, version, score }| ScoredHit { score, version, place, ..ScoredHit::by_id(id) };
        let of_shard = |(place, hits): (usize, Vec<Rescored>)| hits.into_iter().map(move |one| hit(place, one));
        let mut hits: Vec<ScoredHit> = parts.into_iter().enumerate().flat_map(of_shard).collect();
        hits.sort_by(|a, b| b.score.total_cmp(&a.score).then(b.id.cmp(&a.id)));
        let mut seen = HashSet::new();
        hits.retain(|hit| seen.insert(hit.id));
        Ok(hits)
    }

    fn whole(&self, hits: Self::Merged, _found: Found, _stop: &Stop) -> Result<Self::Whole, ReadError> {
        Ok(hits)
    }
}

/// For IDF: points of the corpus that have the vector, and for each index those of them that have it.
#[derive(Serialize, Deserialize)]
pub(in crate::service) struct CorpusCounts {
    pub(super) using: VectorName,
    pub(super) indices: Vec<u32>,
    /// Absent: all points.
    pub(super) corpus: Option<Filter>,
}

impl ShardRead for CorpusCounts {
    const WHAT: &'static str = "counting a corpus";
    const KIND: ReadKind = ReadKind::Corpus;
    type Part = (u64, Vec<u64>);

    fn part(&self, shard: &Shard, stop: &Stop) -> Result<Self::Part, ReadError> {
        let counts = shard.sparse_counts(&self.using, &self.indices, self.corpus.as_ref(), stop)?;
        Ok((counts.vectors, counts.having))
    }
}

impl Scattered for CorpusCounts {
    const WHAT: &'static str = "counting a corpus";
    type Asked = CorpusCounts;
    type Merged = (u64, Vec<u64>);
    type Whole = (u64, Vec<u64>);

    fn asked(read: &Arc<Self>) -> Option<Arc<CorpusCounts>> {
        Some(Arc::clone(read))
    }

    fn merged(&self, parts: Vec<(u64, Vec<u64>)>) -> (u64, Vec<u64>) {
        let mut point_count = 0;
        let mut frequencies = vec![0; self.indices.len()];
        for (points, of_shard) in parts {
            point_count += points;
            frequencies.iter_mut().zip(of_shard).for_each(|(sum, frequency)| *sum += frequency);
        }
        (point_count, frequencies)
    }

    fn whole(&self, counts: (u64, Vec<u64>), _found: Found, _stop: &Stop) -> Result<(u64, Vec<u64>), ReadError> {
        Ok(counts)
    }
}

/// For BM25 over a text index.
#[derive(Serialize, Deserialize)]
pub(in crate::service) struct TextCounts {
    pub(super) key: Path,
    pub(super) query: String,
}

impl ShardRead for TextCounts {
    const WHAT: &'static str = "counting a corpus";
    const KIND: ReadKind = ReadKind::Texts;
    type Part = TextStats;

    fn part(&self, shard: &Shard, _stop: &Stop) -> Result<TextStats, ReadError> {
        shard.text_stats(&self.key, &self.query)
    }
}

impl Scattered for TextCounts {
    const WHAT: &'static str = "counting a corpus";
    type Asked = TextCounts;
    type Merged = TextStats;
    type Whole = TextStats;

    fn asked(read: &Arc<Self>) -> Option<Arc<TextCounts>> {
        Some(Arc::clone(read))
    }

    fn merged(&self, parts: Vec<TextStats>) -> TextStats {
        let mut whole = TextStats::default();
        parts.into_iter().for_each(|part| whole.add(part));
        whole
    }

    fn whole(&self, stats: TextStats, _found: Found, _stop: &Stop) -> Result<TextStats, ReadError> {
        Ok(stats)
    }
}
