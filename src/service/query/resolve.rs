//! From a request to levels that can be run: points become their vectors, filters reach the levels below, averages
//! become one vector, query weights get their IDF.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Plan;
use super::reads::{CorpusCounts, TextCounts};
use crate::model::collection::Modifier;
use crate::model::formula::Formula;
use crate::model::query::{
    ContextPair, Fusion, IdfCorpus, LookupFrom, Mmr, OrderBy, QueryLevel, QueryRequest, Ranking, RecommendStrategy,
    SearchOptions, Target,
};
use crate::model::{
    Filter, Metric, MultiVector, PayloadSelector, PointId, Record, SparseVector, Vector, VectorName, VectorSelector,
};
use crate::service::checks::{check_shape, check_vector};
use crate::service::merge::Page;
use crate::service::read::RecordsRead;
use crate::service::seat::View;
use crate::service::{Error, ReadOptions, Service};
use crate::shard::{Scoring, TextStats};

/// One level, ready to be run.
#[derive(Clone)]
pub(super) struct Level {
    pub(super) sources: Vec<Level>,
    pub(super) core: Arc<Core>,
}

/// A level but for its sources.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Core {
    pub(super) ranking: Resolved,
    /// The vector that is compared.
    pub(super) using: VectorName,
    /// Of that vector: decides where a threshold cuts.
    pub(super) metric: Metric,
    /// With those of the levels above.
    pub(super) filter: Option<Filter>,
    pub(super) options: SearchOptions,
    pub(super) score_threshold: Option<f32>,
    pub(super) limit: usize,
}

/// What a level ranks by, without points that would have to be looked up.
#[derive(Clone, Serialize, Deserialize)]
pub(super) enum Resolved {
    ById,
    Nearest(Vector),
    Mmr { query: Vector, mmr: Mmr },
    Custom(Scoring),
    OrderBy(OrderBy),
    Fusion(Fusion),
    Sample,
    Formula(Formula),
    Text { key: crate::model::Path, stats: TextStats, k: f32, b: f32 },
}

/// A vector to be read before the query that needs it can run.
struct Lookup {
    view: View,
    id: PointId,
    name: VectorName,
}

impl Lookup {
    /// Whether both can be read at once.
    fn is_beside(&self, other: &Lookup) -> bool {
        self.name == other.name && Arc::ptr_eq(&self.view.shards, &other.view.shards)
    }
}

impl Service {
    /// Checks and resolves every request.
    pub(super) async fn plans(
        &self,
        view: &View,
        requests: Vec<QueryRequest>,
        options: ReadOptions,
    ) -> Result<Vec<Plan>, Error> {
        let mut plans = Vec::with_capacity(requests.len());
        for request in requests {
            let QueryRequest { root, offset, with_payload, with_vectors } = request;
            let page = Page { offset, limit: root.limit };
            let root = self.resolved(view, root, options).await?;
            plans.push(Plan { root, page, with_payload, with_vectors });
        }
        Ok(plans)
    }

    /// The tree under `root`.
    pub(super) async fn resolved(&self, view: &View, root: QueryLevel, options: ReadOptions) -> Result<Level, Error> {
        let mut lookups = Vec::new();
        let mut excluded = BTreeSet::new();
        self.collect_lookups(view, &root, options, &mut lookups, &mut excluded).await?;
        let found = self.look_up(lookups, options).await?;
        // A point that is searched by is not an answer, at whatever level it stands (PROTOCOL section 10.3).
        let filter = (!excluded.is_empty()).then(|| Filter::default().excluding(excluded));
        let mut resolving = Resolving { view, found: found.into_iter() };
        let mut level = resolving.level(root, filter)?;
        self.count_corpora(view, &mut level, options).await?;
        Ok(level)
    }

    /// The vectors, in their order; read together where they are in one place.
    async fn look_up(&self, lookups: Vec<Lookup>, options: ReadOptions) -> Result<Vec<Vector>, Error> {
        let mut found: Vec<(usize, HashMap<PointId, Record>)> = Vec::new();
        for (number, lookup) in lookups.iter().enumerate() {
            let is_same = |(first, _): &&(usize, _)| lookups.get(*first).is_some_and(|first| first.is_beside(lookup));
            if found.iter().any(|known| is_same(&known)) {
                continue;
            }
            let ids = lookups.iter().filter(|other| other.is_beside(lookup)).map(|other| other.id).collect();
            let with_vectors = VectorSelector::Names(vec![lookup.name.clone()]);
            let read = RecordsRead { ids, with_payload: PayloadSelector::None, with_vectors };
            let records = self.gather_one(&lookup.view, read, options).await?;
            found.push((number, records.into_iter().map(|record| (record.id, record)).collect()));
        }
        let vector = |lookup: &Lookup| {
            let (id, name) = (lookup.id, &lookup.name);
            let is_same = |(first, _): &&(usize, _)| lookups.get(*first).is_some_and(|first| first.is_beside(lookup));
            let records = found.iter().find(is_same).map(|(_, records)| records);
            let record = records.and_then(|records| records.get(&id)).ok_or(Error::PointNotFound { id })?;
            let vectors = record.vectors.as_ref();
            let missing = || Error::VectorNotFound { id, name: name.clone() };
            vectors.and_then(|vectors| vectors.get(name)).cloned().ok_or_else(missing)
        };
        lookups.iter().map(vector).collect()
    }

    /// What is to be looked up, in the order in which [`Resolving`] meets it.
    async fn collect_lookups(
        &self,
        view: &View,
        level: &QueryLevel,
        options: ReadOptions,
        lookups: &mut Vec<Lookup>,
        excluded: &mut BTreeSet<PointId>,
    ) -> Result<(), Error> {
        let ids: Vec<PointId> = targets(&level.ranking).into_iter().filter_map(id_of).collect();
        if !ids.is_empty() {
            let (elsewhere, name) = self.lookup_place(view, level, options).await?;
            let is_searched = elsewhere.collection.created_index == view.collection.created_index;
            for id in ids {
                if is_searched {
                    excluded.insert(id);
                }
                lookups.push(Lookup { view: elsewhere.clone(), id, name: name.clone() });
            }
        }
        for source in &level.prefetch {
            Box::pin(self.collect_lookups(view, source, options, lookups, excluded)).await?;
        }
        Ok(())
    }

    /// The collection and the vector in which a level's points are looked up.
    async fn lookup_place(
        &self,
        view: &View,
        level: &QueryLevel,
        options: ReadOptions,
    ) -> Result<(View, VectorName), Error> {
        let Some(LookupFrom { collection, vector, shard_keys }) = &level.lookup_from else {
            check_name(view, &level.using)?;
            return Ok((view.clone(), level.using.clone()));
        };
        let elsewhere = match self.view_for(collection, options).await {
            Err(Error::CollectionNotFound { name }) => return Err(Error::LookupNotFound { name }),
            found => found?.read_by(shard_keys.as_ref())?,
        };
        let name = vector.as_ref().unwrap_or(&level.using);
        check_name(&elsewhere, name)?;
        if elsewhere.collection.created_index != view.collection.created_index {
            self.barrier(&elsewhere, options).await?;
        }
        Ok((elsewhere, name.clone()))
    }

    /// Counts what IDF weights and BM25 scores need to know of the whole collection, level by level.
    async fn count_corpora(&self, view: &View, level: &mut Level, options: ReadOptions) -> Result<(), Error> {
        let core = Arc::make_mut(&mut level.core);
        let sparse = view.collection.config.sparse_vector(&core.using);
        let has_idf = sparse.is_some_and(|params| params.modifier == Some(Modifier::Idf));
        if core.options.idf.is_some() && !has_idf && is_of_vector(&core.ranking) {
            return Err(Error::IdfNotPossible { name: core.using.clone() });
        }
        if has_idf {
            let mut indices: Vec<u32> = Vec::new();
            for_each_sparse(&mut core.ranking, &mut |vector| indices.extend(vector.indices()));
            indices.sort_unstable();
            indices.dedup();
            if !indices.is_empty() {
                let corpus = match &core.options.idf {
                    Some(IdfCorpus::Filter(filter)) => Some(filter.clone()),
                    Some(IdfCorpus::Global) | None => None,
                };
                let counts = CorpusCounts { using: core.using.clone(), indices: indices.clone(), corpus };
                let (point_count, frequencies) = self.gather_one(view, counts, options).await?;
                let weights: HashMap<u32, f32> =
                    indices.into_iter().zip(frequencies).map(|(index, df)| (index, idf(point_count, df))).collect();
                for_each_sparse(&mut core.ranking, &mut |vector| *vector = weighted(vector, &weights));
            }
        }
        if let Resolved::Text { key, stats, .. } = &mut core.ranking {
            let query = std::mem::take(stats).frequencies.into_keys().next().unwrap_or_default();
            *stats = self.gather_one(view, TextCounts { key: key.clone(), query }, options).await?;
        }
        for source in &mut level.sources {
            Box::pin(self.count_corpora(view, source, options)).await?;
        }
        Ok(())
    }
}

/// Robertson and Spärck Jones' weight, never below 0 (PROTOCOL section 13.2).
pub(super) fn idf(point_count: u64, frequency: u64) -> f32 {
    let (n, df) = (point_count as f32, frequency as f32);
    ((n - df + 0.5) / (df + 0.5) + 1.0).ln()
}

/// `vector` with each value times its index's weight.
pub(super) fn weighted(vector: &SparseVector, weights: &HashMap<u32, f32>) -> SparseVector {
    let entries = vector.iter().map(|(index, value)| (index, value * weights.get(&index).copied().unwrap_or(1.0)));
    SparseVector::new(entries.collect()).unwrap_or_default()
}

/// Whether the level compares vectors.
fn is_of_vector(ranking: &Resolved) -> bool {
    matches!(ranking, Resolved::Nearest(_) | Resolved::Mmr { .. } | Resolved::Custom(_))
}

/// Shows every sparse vector of a ranking to `change`.
fn for_each_sparse(ranking: &mut Resolved, change: &mut dyn FnMut(&mut SparseVector)) {
    let mut each = |vector: &mut Vector| {
        if let Vector::Sparse(vector) = vector {
            change(vector);
        }
    };
    match ranking {
        Resolved::Nearest(query) | Resolved::Mmr { query, .. } => each(query),
        Resolved::Custom(scoring) => match scoring {
            Scoring::Nearest(query) => each(query),
            Scoring::BestScore { positive, negative } | Scoring::SumScores { positive, negative } => {
                positive.iter_mut().chain(negative).for_each(each);
            }
            Scoring::Discover { target, pairs } => {
                each(target);
                pairs.iter_mut().flat_map(|(positive, negative)| [positive, negative]).for_each(each);
            }
            Scoring::Context { pairs } => {
                pairs.iter_mut().flat_map(|(positive, negative)| [positive, negative]).for_each(each);
            }
            Scoring::Feedback { target, examples, .. } => {
                each(target);
                examples.iter_mut().for_each(each);
            }
        },
        _ => {}
    }
}

pub(super) fn check_name(view: &View, name: &str) -> Result<(), Error> {
    match view.collection.config.has_vector(name) {
        true => Ok(()),
        false => Err(Error::VectorNameUnknown { name: name.to_owned() }),
    }
}

fn id_of(target: &Target) -> Option<PointId> {
    match target {
        Target::Point(id) => Some(*id),
        Target::Vector(_) => None,
    }
}

/// Every target of a ranking, in the order in which [`Resolving`] takes them.
fn targets(ranking: &Ranking) -> Vec<&Target> {
    match ranking {
        Ranking::Nearest(target) | Ranking::Mmr { target, .. } => vec![target],
        Ranking::Recommend { positive, negative, .. } => positive.iter().chain(negative).collect(),
        Ranking::Discover { target, context } => {
            let pairs = context.iter().flat_map(|pair| [&pair.positive, &pair.negative]);
            std::iter::once(target).chain(pairs).collect()
        }
        Ranking::Context(context) => context.iter().flat_map(|pair| [&pair.positive, &pair.negative]).collect(),
        Ranking::RelevanceFeedback(feedback) => {
            let examples = feedback.feedback.iter().map(|(example, _)| example);
            std::iter::once(&feedback.target).chain(examples).collect()
        }
        _ => Vec::new(),
    }
}

/// Goes through a tree with the vectors that were looked up for it.
struct Resolving<'a, I> {
    view: &'a View,
    found: I,
}

impl<I: Iterator<Item = Vector>> Resolving<'_, I> {
    /// `above`: what the levels above filter by.
    fn level(&mut self, level: QueryLevel, above: Option<Filter>) -> Result<Level, Error> {
        let QueryLevel { prefetch, ranking, using, filter, options, score_threshold, limit, .. } = level;
        let filter = match (above, filter) {
            (Some(above), Some(own)) => Some(own.merged(above)),
            (above, own) => own.or(above),
        };
        let ranking = self.ranking(ranking, &using)?;
        if let Resolved::Fusion(Fusion::Rrf { weights: Some(weights), .. }) = &ranking
            && weights.len() != prefetch.len()
        {
            return Err(Error::WrongWeightCount { got: weights.len(), expected: prefetch.len() });
        }
        let by_name = &self.view.collection.config.vectors.by_name;
        let metric = by_name.get(&using).map_or(Metric::Dot, |params| params.metric);
        // Who has not asked for codes is not told what they say.
        let is_quantized =
            by_name.get(&using).is_some_and(|params| self.view.collection.config.quantization_of(params).is_some());
        let options = SearchOptions { rescores: options.rescores.filter(|_| is_quantized), ..options };
        let core = Core { ranking, using, metric, filter: filter.clone(), options, score_threshold, limit };
        let sources: Result<Vec<Level>, Error> =
            prefetch.into_iter().map(|source| self.level(source, filter.clone())).collect();
        Ok(Level { sources: sources?, core: Arc::new(core) })
    }

    fn ranking(&mut self, ranking: Ranking, using: &str) -> Result<Resolved, Error> {
        Ok(match ranking {
            Ranking::ById => Resolved::ById,
            Ranking::OrderBy(order) => Resolved::OrderBy(order),
            Ranking::Fusion(fusion) => Resolved::Fusion(fusion),
            Ranking::Sample => Resolved::Sample,
            Ranking::Formula(formula) => Resolved::Formula(formula),
            Ranking::Nearest(target) => Resolved::Nearest(self.checked(target, using)?),
            Ranking::Mmr { target, mmr } => Resolved::Mmr { query: self.checked(target, using)?, mmr },
            Ranking::Recommend { positive, negative, strategy: RecommendStrategy::AverageVector } => {
                // Averaged as they are; only the result is normalised.
                let positive = self.shaped_all(positive, using)?;
                let negative = self.shaped_all(negative, using)?;
                let mut average = average(&positive, &negative).ok_or(Error::SparseMismatch)?;
                check_vector(&self.view.collection.config, using, &mut average)?;
                Resolved::Nearest(average)
            }
            Ranking::Recommend { positive, negative, strategy } => {
                let positive = self.checked_all(positive, using)?;
                let negative = self.checked_all(negative, using)?;
                Resolved::Custom(match strategy {
                    RecommendStrategy::SumScores => Scoring::SumScores { positive, negative },
                    _ => Scoring::BestScore { positive, negative },
                })
            }
            Ranking::Discover { target, context } => {
                let target = self.checked(target, using)?;
                Resolved::Custom(Scoring::Discover { target, pairs: self.pairs(context, using)? })
            }
            Ranking::Context(context) => Resolved::Custom(Scoring::Context { pairs: self.pairs(context, using)? }),
            Ranking::RelevanceFeedback(feedback) => {
                let target = self.checked(feedback.target, using)?;
                let (mut examples, mut scores) = (Vec::new(), Vec::new());
                for (example, score) in feedback.feedback {
                    examples.push(self.checked(example, using)?);
                    scores.push(score);
                }
                let pairs = feedback_pairs(&scores, feedback.b, feedback.c);
                Resolved::Custom(Scoring::Feedback { target, examples, a: feedback.a, pairs })
            }
            Ranking::Text { query, k, b } => {
                let key = using.parse().map_err(|_| Error::TextFieldNeeded)?;
                // The query text travels where its tokens' counts will stand.
                let stats = TextStats { frequencies: [(query, 0)].into(), ..TextStats::default() };
                Resolved::Text { key, stats, k, b }
            }
        })
    }

    /// The vector of `target` as it was given or is stored.
    fn raw(&mut self, target: Target) -> Result<Vector, Error> {
        match target {
            Target::Vector(vector) => Ok(vector),
            Target::Point(id) => self.found.next().ok_or(Error::PointNotFound { id }),
        }
    }

    /// Checked, but with their lengths.
    fn shaped_all(&mut self, targets: Vec<Target>, using: &str) -> Result<Vec<Vector>, Error> {
        let config = &self.view.collection.config;
        let shaped = |target| {
            let mut vector = self.raw(target)?;
            check_shape(config, using, &mut vector)?;
            Ok(vector)
        };
        targets.into_iter().map(shaped).collect()
    }

    /// The vector of `target`, checked against the collection and normalised for cosine.
    fn checked(&mut self, target: Target, using: &str) -> Result<Vector, Error> {
        let mut vector = self.raw(target)?;
        check_vector(&self.view.collection.config, using, &mut vector)?;
        Ok(vector)
    }

    fn checked_all(&mut self, targets: Vec<Target>, using: &str) -> Result<Vec<Vector>, Error> {
        targets.into_iter().map(|target| self.checked(target, using)).collect()
    }

    fn pairs(&mut self, context: Vec<ContextPair>, using: &str) -> Result<Vec<(Vector, Vector)>, Error> {
        let pair =
            |ContextPair { positive, negative }| Ok((self.checked(positive, using)?, self.checked(negative, using)?));
        context.into_iter().map(pair).collect()
    }
}

/// Pairs of examples of which one was judged better: places, and the weight of the difference between their
/// similarities (PROTOCOL section 11, naive strategy).
fn feedback_pairs(scores: &[f32], b: f32, c: f32) -> Vec<(usize, usize, f32)> {
    let places = 0..scores.len();
    let ordered = places.clone().flat_map(|i| places.clone().map(move |j| (i, j)));
    let gain = |(i, j): (usize, usize)| {
        let difference = scores.get(i)? - scores.get(j)?;
        (difference > 0.0).then(|| (i, j, difference.powf(b) * c))
    };
    ordered.filter_map(gain).collect()
}

/// The mean of the positives, mirrored at it away from the mean of the negatives if there are any. `None`: the vectors
/// are not all of one kind and size, or there is no positive.
fn average(positive: &[Vector], negative: &[Vector]) -> Option<Vector> {
    match positive.first()? {
        Vector::Dense(_) => {
            let positive = dense_mean(positive)?;
            if negative.is_empty() {
                return Some(Vector::Dense(positive));
            }
            let negative = dense_mean(negative)?;
            let is_same = positive.len() == negative.len();
            is_same.then(|| Vector::Dense(positive.iter().zip(&negative).map(|(p, n)| p + p - n).collect()))
        }
        Vector::Sparse(_) => {
            let positive = sparse_mean(positive)?;
            if negative.is_empty() {
                return SparseVector::new(positive.into_iter().collect()).map(Vector::Sparse);
            }
            let negative = sparse_mean(negative)?;
            let indices: BTreeSet<u32> = positive.keys().chain(negative.keys()).copied().collect();
            let of = |mean: &HashMap<u32, f32>, index: u32| mean.get(&index).copied().unwrap_or(0.0);
            let mirrored = indices.into_iter().map(|index| {
                let positive = of(&positive, index);
                (index, positive + positive - of(&negative, index))
            });
            SparseVector::new(mirrored.collect()).map(Vector::Sparse)
        }
        Vector::Multi(first) => {
            let mut rows = Vec::new();
            for (vectors, sign) in [(positive, 1.0), (negative, -1.0)] {
                for vector in vectors {
                    let Vector::Multi(vector) = vector else { return None };
                    if vector.dim() != first.dim() {
                        return None;
                    }
                    rows.extend(vector.values().iter().map(|value| sign * value));
                }
            }
            MultiVector::new(first.dim(), rows).map(Vector::Multi)
        }
    }
}

fn dense_mean(vectors: &[Vector]) -> Option<Vec<f32>> {
    let mut sum: Vec<f32> = vec![0.0; vectors.first()?.as_dense()?.len()];
    for vector in vectors {
        let values = vector.as_dense()?;
        if values.len() != sum.len() {
            return None;
        }
        for (total, value) in sum.iter_mut().zip(values) {
            *total += value;
        }
    }
    let count = vectors.len() as f32;
    sum.iter_mut().for_each(|total| *total /= count);
    Some(sum)
}

fn sparse_mean(vectors: &[Vector]) -> Option<HashMap<u32, f32>> {
    let mut sum: HashMap<u32, f32> = HashMap::new();
    for vector in vectors {
        let Vector::Sparse(vector) = vector else { return None };
        for (index, value) in vector.iter() {
            *sum.entry(index).or_default() += value;
        }
    }
    let count = vectors.len() as f32;
    sum.values_mut().for_each(|total| *total /= count);
    Some(sum)
}
