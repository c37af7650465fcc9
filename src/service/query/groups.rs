//! Hits grouped by a field (PROTOCOL section 16), and distance matrices (section 9.5).
//!
//! A query without prefetches is asked for more and more of its best until there are enough groups; what else belongs to
//! those that are not full is then found by a filter on the field, again by more and more. A query with prefetches is
//! asked once: its candidates are bounded.

use std::collections::hash_map::Entry;
use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use serde_json::Value;

use super::reads::{CorpusCounts, DressRead, LevelRead};
use super::resolve::{Core, Level, Resolved, check_name, idf, weighted};
use super::run::{Dress, is_unscaled};
use crate::distance::{score_from_distance, sparse_dot};
use crate::index::Stop;
use crate::model::collection::Modifier;
use crate::model::filter::{FieldCondition, Match, Predicate};
use crate::model::query::{
    Group, GroupId, GroupsRequest, Matrix, MatrixRequest, QueryLevel, SearchOptions, WithLookup,
};
use crate::model::vector::normalize_rows;
use crate::model::{
    Condition, Filter, Metric, Path, PayloadSelector, PointId, Record, ScoredPoint, Vector, VectorSelector,
};
use crate::service::errors::from_read;
use crate::service::merge::{Page, ScoredHit};
use crate::service::read::RecordsRead;
use crate::service::scatter::{Fetch, Found, Nothing, Scattered};
use crate::service::seat::View;
use crate::service::{Error, ReadOptions, Scope, Service};
use crate::shard::{ReadError, similarity};

/// Candidates of each prefetch of a grouped query: its own limit would leave most groups empty.
const PREFETCH_CANDIDATES_MIN: usize = 10_000;
/// Best hits a query without prefetches is first asked for.
const HITS_FIRST: usize = 64;
/// How much more it is asked for each time.
const GROWTH: usize = 4;
/// Diversifying compares every candidate with every picked one.
const MMR_HITS_MAX: usize = 1_000;
/// Points whose payload is in memory at once.
const KEYS_POINTS_MAX: usize = 1_024;

/// What a matrix's comparing is called.
const MATRIX: &str = "computing a distance matrix";

/// A group with its hits, best first.
type Members = (GroupId, Vec<ScoredHit>);
/// Hits with the groups each is in; hits that are in none are left out.
type Keyed = Vec<(ScoredHit, Vec<GroupId>)>;

impl Service {
    /// At most as many groups as the root's limit, ordered by their best hits.
    pub async fn query_groups(
        &self,
        scope: impl Into<Scope>,
        request: GroupsRequest,
        options: ReadOptions,
    ) -> Result<Vec<Group>, Error> {
        let _inside = self.running.gate.enter()?;
        let scope = &scope.into();
        self.current(&scope.collection, || self.groups_once(scope, request.clone(), options)).await
    }

    async fn groups_once(
        &self,
        scope: &Scope,
        mut request: GroupsRequest,
        options: ReadOptions,
    ) -> Result<Vec<Group>, Error> {
        let view = self.read_view(scope.clone(), options).await?;
        self.admit_groups(&view, &request, options)?;
        let lookup = match &request.with_lookup {
            Some(lookup) => Some((self.view_for(&lookup.collection, options).await?, lookup.clone())),
            None => None,
        };
        self.barrier(&view, options).await?;
        let group_count = request.root.limit;
        request.root.prefetch.iter_mut().for_each(widen);
        let level = self.resolved(&view, request.root, options).await?;
        let grouping = Grouping { path: request.group_by, group_count, group_size: request.group_size };
        let groups = self.grouped(&view, level, &grouping, options).await?;

        let hits: Vec<ScoredHit> = groups.iter().flat_map(|(_, hits)| hits.iter().copied()).collect();
        let dress = Dress { with_payload: request.with_payload, with_vectors: request.with_vectors };
        let shown = self.gather_one(&view, DressRead { hits, dress }, options).await?;
        let shown: HashMap<PointId, ScoredPoint> = shown.into_iter().map(|point| (point.id, point)).collect();
        let lookups = match lookup {
            Some((view, lookup)) => self.look_up_groups(&view, lookup, &groups, options).await?,
            None => HashMap::new(),
        };
        let groups = groups.into_iter().map(|(id, hits)| {
            // Ordered by a field, a point may stand in its groups with different values.
            let dressed = |hit: &ScoredHit| {
                let ScoredPoint { payload, vectors, .. } = shown.get(&hit.id).cloned()?;
                Some(ScoredPoint { payload, vectors, ..hit.bare() })
            };
            let hits = hits.iter().filter_map(dressed).collect();
            let lookup = point_of(&id).and_then(|point| lookups.get(&point).cloned());
            Group { id, hits, lookup }
        });
        Ok(groups.collect())
    }

    /// Groups with the hits that are shown of each.
    async fn grouped(
        &self,
        view: &View,
        mut level: Level,
        grouping: &Grouping,
        options: ReadOptions,
    ) -> Result<Vec<Members>, Error> {
        let wanted = grouping.group_count.saturating_mul(grouping.group_size);
        let is_growing =
            level.sources.is_empty() && !matches!(level.core.ranking, Resolved::Mmr { .. } | Resolved::Sample);
        if !is_growing {
            let take = if matches!(level.core.ranking, Resolved::Mmr { .. }) {
                wanted.saturating_mul(GROWTH).min(MMR_HITS_MAX)
            } else {
                usize::MAX
            };
            let found = self.keyed(view, &level, take, grouping, options).await?;
            return Ok(grouping.groups(&found.hits));
        }
        let mut take = wanted.max(HITS_FIRST);
        let mut groups = loop {
            let found = self.keyed(view, &level, take, grouping, options).await?;
            let groups = grouping.groups(&found.hits);
            if found.count < take {
                return Ok(groups);
            }
            if groups.len() >= grouping.group_count {
                break groups;
            }
            take = take.saturating_mul(GROWTH);
        };
        // The groups are known; the other hits of those that are not full come further down.
        let own = level.core.filter.clone().unwrap_or_default();
        loop {
            let short: Vec<GroupId> =
                groups.iter().filter(|(_, hits)| hits.len() < grouping.group_size).map(|(id, _)| id.clone()).collect();
            if short.is_empty() {
                return Ok(groups);
            }
            Arc::make_mut(&mut level.core).filter = Some(own.clone().merged(in_groups(&grouping.path, &short)));
            let found = self.keyed(view, &level, take, grouping, options).await?;
            grouping.fill(&mut groups, &short, &found.hits);
            if found.count < take {
                return Ok(groups);
            }
            take = take.saturating_mul(GROWTH);
        }
    }

    async fn keyed(
        &self,
        view: &View,
        level: &Level,
        take: usize,
        grouping: &Grouping,
        options: ReadOptions,
    ) -> Result<Keys, Error> {
        let hits = self.run_level(view, level, Page { offset: 0, limit: take }, options).await?;
        let count = hits.len();
        let mut keyed = Vec::new();
        for chunk in hits.chunks(KEYS_POINTS_MAX) {
            let read = KeysRead { hits: chunk.to_vec(), path: grouping.path.clone() };
            keyed.extend(self.gather_one(view, read, options).await?);
        }
        Ok(Keys { hits: keyed, count })
    }

    async fn look_up_groups(
        &self,
        view: &View,
        lookup: WithLookup,
        groups: &[Members],
        options: ReadOptions,
    ) -> Result<HashMap<PointId, Record>, Error> {
        self.barrier(view, options).await?;
        let mut ids: Vec<PointId> = groups.iter().filter_map(|(id, _)| point_of(id)).collect();
        ids.sort_unstable();
        ids.dedup();
        let (with_payload, with_vectors) = (lookup.with_payload, lookup.with_vectors);
        let records = self.gather_one(view, RecordsRead { ids, with_payload, with_vectors }, options).await?;
        Ok(records.into_iter().map(|record| (record.id, record)).collect())
    }

    /// Distances among a random sample of the points that match and have the vector.
    pub async fn matrix(
        &self,
        scope: impl Into<Scope>,
        request: MatrixRequest,
        options: ReadOptions,
    ) -> Result<Matrix, Error> {
        let _inside = self.running.gate.enter()?;
        let scope = &scope.into();
        self.current(&scope.collection, || self.matrix_once(scope, request.clone(), options)).await
    }

    async fn matrix_once(&self, scope: &Scope, request: MatrixRequest, options: ReadOptions) -> Result<Matrix, Error> {
        let view = self.read_view(scope.clone(), options).await?;
        check_name(&view, &request.using)?;
        self.admit_matrix(&view, &request, options)?;
        self.barrier(&view, options).await?;
        let MatrixRequest { sample, limit, filter, using } = request;
        let has_vector = Filter { must: vec![Condition::HasVector(using.clone())], ..Filter::default() };
        let by_name = &view.collection.config.vectors.by_name;
        let metric = by_name.get(&using).map_or(Metric::Dot, |params| params.metric);
        let core = Core {
            ranking: Resolved::Sample,
            using: using.clone(),
            metric,
            filter: Some(filter.unwrap_or_default().merged(has_vector)),
            options: SearchOptions::default(),
            score_threshold: None,
            limit: sample,
        };
        let sampled = LevelRead { core: Arc::new(core), among: None, wanted: sample };
        let mut ids: Vec<PointId> =
            self.gather_one(&view, sampled, options).await?.into_iter().map(|hit| hit.id).collect();
        if ids.len() < 2 {
            return Ok(Matrix::default());
        }
        ids.sort_unstable();
        let sparse = view.collection.config.sparse_vector(&using);
        let has_idf = sparse.is_some_and(|params| params.modifier == Some(Modifier::Idf));
        let is_unscaled = is_unscaled(&view, &using);
        let with_vectors = VectorSelector::Names(vec![using.clone()]);
        let read = RecordsRead { ids, with_payload: PayloadSelector::None, with_vectors };
        let records = self.gather_one(&view, read, options).await?;
        let mut points: Vec<(PointId, Vector)> =
            records.into_iter().filter_map(|record| Some((record.id, record.vectors?.remove(&using)?))).collect();
        if is_unscaled {
            points.iter_mut().for_each(|(_, vector)| normalize_rows(vector));
        }
        let weights = match has_idf {
            true => Some(self.idf_weights(&view, &points, using, options).await?),
            false => None,
        };
        let job = move |stop: &Stop| {
            compared(&points, metric, weights.as_ref(), limit, stop).map_err(|error| from_read(error, MATRIX))
        };
        self.running.pool.run(MATRIX, options.deadline, job).await
    }

    /// The IDF weights of all indices of `points`, over the whole collection.
    async fn idf_weights(
        &self,
        view: &View,
        points: &[(PointId, Vector)],
        using: String,
        options: ReadOptions,
    ) -> Result<HashMap<u32, f32>, Error> {
        let sparse = points.iter().filter_map(|(_, vector)| match vector {
            Vector::Sparse(sparse) => Some(sparse),
            _ => None,
        });
        let indices: BTreeSet<u32> = sparse.flat_map(|sparse| sparse.indices().iter().copied()).collect();
        let indices: Vec<u32> = indices.into_iter().collect();
        let read = CorpusCounts { using, indices: indices.clone(), corpus: None };
        let (point_count, frequencies) = self.gather_one(view, read, options).await?;
        Ok(indices.into_iter().zip(frequencies).map(|(index, df)| (index, idf(point_count, df))).collect())
    }
}

/// Raises the limits of a level's prefetches and its own.
fn widen(level: &mut QueryLevel) {
    level.limit = level.limit.max(PREFETCH_CANDIDATES_MIN);
    level.prefetch.iter_mut().for_each(widen);
}

/// What a group's id is as a point's.
fn point_of(id: &GroupId) -> Option<PointId> {
    match id {
        GroupId::Unsigned(num) => Some(PointId::Num(*num)),
        GroupId::Negative(_) => None,
        GroupId::Text(text) => PointId::from_uuid_text(text).ok(),
    }
}

/// Points whose field has one of these values.
fn in_groups(path: &Path, ids: &[GroupId]) -> Filter {
    let (mut integers, mut texts) = (Vec::new(), Vec::new());
    let mut is_beyond = false;
    for id in ids {
        match id {
            GroupId::Negative(value) => integers.push(*value),
            GroupId::Unsigned(value) => match i64::try_from(*value) {
                Ok(value) => integers.push(value),
                Err(_) => is_beyond = true,
            },
            GroupId::Text(text) => texts.push(text.clone()),
        }
    }
    // No condition can name integers beyond 64 signed bits: then nothing is left out.
    if is_beyond {
        return Filter::default();
    }
    let field =
        |operand| Condition::Field(FieldCondition { key: path.clone(), predicates: vec![Predicate::Match(operand)] });
    let alternatives = vec![field(Match::AnyInteger(integers)), field(Match::AnyKeyword(texts))];
    // A filter of its own: alternatives beside others would widen them.
    let inside = Filter { should: alternatives, ..Filter::default() };
    Filter { must: vec![Condition::Filter(Box::new(inside))], ..Filter::default() }
}

struct Keys {
    hits: Keyed,
    /// Hits the query had, also those in no group.
    count: usize,
}

struct Grouping {
    path: Path,
    group_count: usize,
    group_size: usize,
}

impl Grouping {
    /// The groups of `hits` in the order of their best hits.
    fn groups(&self, hits: &Keyed) -> Vec<Members> {
        let mut places: HashMap<&GroupId, usize> = HashMap::new();
        let mut groups: Vec<Members> = Vec::new();
        for (hit, ids) in hits {
            for id in ids {
                let next = groups.len();
                let place = *places.entry(id).or_insert(next);
                if place == next && next < self.group_count {
                    groups.push((id.clone(), Vec::new()));
                }
                if let Some((_, members)) = groups.get_mut(place) {
                    self.add(members, hit);
                }
            }
        }
        groups
    }

    /// Finds the hits of the groups `short` anew among `hits`, which are all in one of these.
    fn fill(&self, groups: &mut [Members], short: &[GroupId], hits: &Keyed) {
        let short: HashSet<&GroupId> = short.iter().collect();
        let mut members_of: HashMap<&GroupId, Vec<ScoredHit>> = HashMap::new();
        for (hit, ids) in hits {
            for id in ids.iter().filter(|id| short.contains(id)) {
                self.add(members_of.entry(id).or_default(), hit);
            }
        }
        for (id, members) in groups {
            // What the points were when the groups were chosen still counts if they have left since.
            if let Some(found) = members_of.remove(id).filter(|found| found.len() > members.len()) {
                *members = found;
            }
        }
    }

    /// A point that is ordered by a field may come more than once; its first place counts.
    fn add(&self, members: &mut Vec<ScoredHit>, hit: &ScoredHit) {
        if members.len() < self.group_size && members.iter().all(|member| member.id != hit.id) {
            members.push(*hit);
        }
    }
}

/// The groups a point with this payload is in, each once: none when a value is neither a text nor an integer.
fn groups_of(path: &Path, payload: &serde_json::Map<String, Value>) -> Vec<GroupId> {
    let mut groups = Vec::new();
    let mut take = |value: &Value| -> bool {
        let id = match value {
            Value::String(text) => GroupId::Text(text.clone()),
            Value::Number(number) => match (number.as_u64(), number.as_i64()) {
                (Some(value), _) => GroupId::Unsigned(value),
                (None, Some(value)) => GroupId::Negative(value),
                (None, None) => return false,
            },
            _ => return false,
        };
        if !groups.contains(&id) {
            groups.push(id);
        }
        true
    };
    // Stops at the first value that cannot be a group's id.
    let is_other = path.any(payload, &mut |value| match value {
        Value::Array(elements) => !elements.iter().all(&mut take),
        value => !take(value),
    });
    if is_other { Vec::new() } else { groups }
}

/// Reads which groups hits are in.
struct KeysRead {
    hits: Vec<ScoredHit>,
    path: Path,
}

impl Scattered for KeysRead {
    const WHAT: &'static str = "grouping";
    type Asked = Nothing;
    type Merged = ();
    type Whole = Keyed;

    fn asked(_read: &Arc<Self>) -> Option<Arc<Nothing>> {
        None
    }

    fn merged(&self, _parts: Vec<()>) {}

    fn fetch(&self, (): &()) -> Option<Fetch> {
        Dress { with_payload: PayloadSelector::All, with_vectors: VectorSelector::None }.fetch(&self.hits)
    }

    fn whole(&self, (): (), found: Found, _stop: &Stop) -> Result<Keyed, ReadError> {
        // Ordered by a field, a point may come more than once.
        let mut known: HashMap<(usize, PointId), Vec<GroupId>> = HashMap::new();
        let groups = |hit: &ScoredHit| {
            let payload = found.at(hit.place, hit.id)?.payload.as_ref()?;
            Some(groups_of(&self.path, &payload.0)).filter(|groups| !groups.is_empty())
        };
        let keyed = self.hits.iter().filter_map(|hit| {
            let groups = match known.entry((hit.place, hit.id)) {
                Entry::Occupied(known) => known.get().clone(),
                Entry::Vacant(new) => new.insert(groups(hit)?).clone(),
            };
            Some((*hit, groups))
        });
        Ok(keyed.collect())
    }
}

/// Of two vectors of which one is found by a search for the other: sparse ones that share no index are not (PROTOCOL
/// section 13.1).
fn found_similarity(metric: Metric, a: &Vector, b: &Vector) -> Option<f32> {
    match (a, b) {
        (Vector::Sparse(a), Vector::Sparse(b)) => sparse_dot(a, b),
        _ => similarity(metric, a, b),
    }
}

/// Compares points with each other; for each its nearest others, at most `limit`. With `weights`, the vector one searches by
/// is weighted, as in any search (PROTOCOL section 13.2).
fn compared(
    points: &[(PointId, Vector)],
    metric: Metric,
    weights: Option<&HashMap<u32, f32>>,
    limit: usize,
    stop: &Stop,
) -> Result<Matrix, ReadError> {
    let mut rows = Vec::with_capacity(points.len());
    for (row, (_, a)) in points.iter().enumerate() {
        if stop.is_raised() {
            return Err(ReadError::Stopped);
        }
        let searched_by = match (a, weights) {
            (Vector::Sparse(sparse), Some(weights)) => &Vector::Sparse(weighted(sparse, weights)),
            _ => a,
        };
        let others = points.iter().enumerate().filter(|(column, _)| *column != row);
        let mut cells: Vec<(usize, f32)> =
            others.filter_map(|(column, (_, b))| Some((column, found_similarity(metric, searched_by, b)?))).collect();
        // Ties as in a search: the larger id first where larger scores are better.
        let by_id = |a: usize, b: usize| if metric.is_larger_better() { b.cmp(&a) } else { a.cmp(&b) };
        cells.sort_by(|a, b| b.1.total_cmp(&a.1).then(by_id(a.0, b.0)));
        cells.truncate(limit);
        let shown = cells.into_iter().map(|(column, sim)| (column, score_from_distance(metric, 0.0 - sim)));
        rows.push(shown.collect());
    }
    Ok(Matrix { ids: points.iter().map(|(id, _)| *id).collect(), rows })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn groups(payload: Value) -> Vec<GroupId> {
        groups_of(&"k".parse().unwrap(), payload.as_object().unwrap())
    }

    #[test]
    fn s16_values_that_can_be_a_groups_id() {
        let text = |text: &str| GroupId::Text(text.to_owned());
        assert_eq!(groups(json!({"k": "a"})), [text("a")]);
        assert_eq!(groups(json!({"k": 7})), [GroupId::Unsigned(7)]);
        assert_eq!(groups(json!({"k": -7})), [GroupId::Negative(-7)]);
        assert_eq!(groups(json!({"k": u64::MAX})), [GroupId::Unsigned(u64::MAX)]);
        assert_eq!(groups(json!({"k": ["a", "b", "a", 1]})), [text("a"), text("b"), GroupId::Unsigned(1)]);
        for dropped in [json!({"k": 1.5}), json!({"k": true}), json!({"k": null}), json!({"k": {}}), json!({"k": []})] {
            assert!(groups(dropped.clone()).is_empty(), "{dropped}");
        }
        assert!(groups(json!({"k": ["a", 1.5]})).is_empty());
        assert!(groups(json!({"other": 1})).is_empty());
    }

    #[test]
    fn s16_groups_stand_in_the_order_of_their_best_hits() {
        let grouping = Grouping { path: "k".parse().unwrap(), group_count: 2, group_size: 2 };
        let hit = |id| ScoredHit::by_id(PointId::Num(id));
        let id = GroupId::Unsigned;
        let hits = vec![
            (hit(1), vec![id(5)]),
            (hit(2), vec![id(6), id(5)]),
            (hit(3), vec![id(7), id(5)]),
            (hit(4), vec![id(6)]),
        ];
        assert_eq!(grouping.groups(&hits), [(id(5), vec![hit(1), hit(2)]), (id(6), vec![hit(2), hit(4)])]);
        // A point that comes twice is in a group once.
        let twice = vec![(hit(1), vec![id(5)]), (hit(1), vec![id(5)]), (hit(2), vec![id(5)])];
        assert_eq!(grouping.groups(&twice), [(id(5), vec![hit(1), hit(2)])]);
    }

    #[test]
    fn s16_groups_that_are_short_are_filled_and_full_ones_stay() {
        let grouping = Grouping { path: "k".parse().unwrap(), group_count: 2, group_size: 2 };
        let hit = |id| ScoredHit::by_id(PointId::Num(id));
        let id = GroupId::Unsigned;
        let mut groups = vec![(id(5), vec![hit(1), hit(2)]), (id(6), vec![hit(2)])];
        let hits = vec![(hit(2), vec![id(6), id(5)]), (hit(7), vec![id(5), id(6)]), (hit(8), vec![id(6)])];
        grouping.fill(&mut groups, &[id(6)], &hits);
        assert_eq!(groups, [(id(5), vec![hit(1), hit(2)]), (id(6), vec![hit(2), hit(7)])]);
    }
}
