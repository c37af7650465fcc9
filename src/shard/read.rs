//! Reads of one shard: points by id, pages of ids, counts, and the nearest points under a filter.
//!
//! A filter is evaluated to the exact set of matching slots first (`plan`); the index then knows how many there are and
//! chooses its own plan by that.

use std::cmp;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{Ordering, fence};

use serde::{Deserialize, Serialize};

use super::column::Column;
use super::plan::bitmap_of;
use super::{Place, Shard};
use crate::index::{Bitmap, CodeUse, Cost, Pin, SearchParams, SparseCounts, Stop, Stopped};
use crate::model::vector::split_stored_name;
use crate::model::{
    Condition, Filter, Metric, NamedVectors, Path, Payload, PayloadSelector, PointId, PointVersion, Record, Slot,
    Vector, VectorName, VectorSelector,
};
use crate::storage::StorageError;

/// Why a read has no answer.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// Its [`Stop`] was raised: the deadline passed or the caller left.
    #[error("the read was stopped")]
    Stopped,
    #[error("the field {key} has no index with ranges")]
    NoRangeIndex { key: Path },
    #[error("the field {key} has no index by value")]
    NoFacetIndex { key: Path },
    #[error("the field {key} has no text index with scoring")]
    NoScoringIndex { key: Path },
    #[error(transparent)]
    Storage(#[from] StorageError),
}

impl From<Stopped> for ReadError {
    fn from(_: Stopped) -> ReadError {
        ReadError::Stopped
    }
}

/// The nearest points to a vector.
#[derive(Clone, Copy, Debug)]
pub struct Nearest<'a> {
    /// Name of the vector that is compared.
    pub using: &'a str,
    /// Of the kind and size of the vector it is compared with, else nothing is found; normalised for cosine, weighted
    /// for IDF.
    pub vector: &'a Vector,
    pub filter: Option<&'a Filter>,
    /// May be huge: nothing is allocated by it.
    pub k: usize,
    /// Beam width; absent: as wide as the build's.
    pub ef: Option<usize>,
    pub exact: bool,
    /// Leave out what is not in the graph yet.
    pub indexed_only: bool,
    /// What codes are used for.
    pub codes: CodeUse,
}

/// One point found.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Hit {
    pub id: PointId,
    pub version: PointVersion,
    /// Smaller is closer.
    pub distance: f32,
}

/// What a search found, and what it cost.
#[derive(Clone, Debug, Default)]
pub struct Found {
    /// Closest first; ties in the protocol's order (PROTOCOL section 3.2). At most `k`, each id once.
    pub hits: Vec<Hit>,
    pub cost: Cost,
}

/// An index orders equal distances by slot, the protocol by id: so many hits beyond those asked for are fetched while
/// they are as far away as the last one. Of more points at one distance, slots decide which ones are found.
const SPARES_MAX: usize = 1024;

/// With more ids to leave out than this, they are part of the filter's bitmap rather than of `k`.
const EXCLUDED_IDS_MAX: usize = 256;

fn is_chosen(select: &VectorSelector, name: &str) -> bool {
    match select {
        VectorSelector::None => false,
        VectorSelector::All => true,
        VectorSelector::Names(names) => names.iter().any(|chosen| chosen == name),
    }
}

impl Shard {
    /// The points of `ids` that exist, in that order; each as it was at one moment.
    pub fn get(
        &self,
        ids: &[PointId],
        with_payload: &PayloadSelector,
        with_vectors: &VectorSelector,
    ) -> Result<Vec<Record>, StorageError> {
        let before = self.change_clock.load(Ordering::Acquire);
        let records = self.get_fast(ids, with_payload, with_vectors)?;
        // What was read before this must not be read after it.
        fence(Ordering::Acquire);
        let is_still = before.is_multiple_of(2) && self.change_clock.load(Ordering::Relaxed) == before;
        if is_still || *with_vectors == VectorSelector::None {
            return Ok(records);
        }
        self.get_stored(ids, with_payload, with_vectors)
    }

    /// Payloads from the store, vectors from memory: of one moment if nothing has changed meanwhile.
    fn get_fast(
        &self,
        ids: &[PointId],
        with_payload: &PayloadSelector,
        with_vectors: &VectorSelector,
    ) -> Result<Vec<Record>, StorageError> {
        let pin = self.slots.pin();
        let places: Vec<(PointId, Slot)> = {
            let known = self.ids.read();
            ids.iter().filter_map(|id| known.get(id).map(|place| (*id, place.slot))).collect()
        };
        let payloads: Vec<Option<Option<Payload>>> = match with_payload {
            PayloadSelector::None => vec![Some(None); places.len()],
            _ => {
                let present: Vec<PointId> = places.iter().map(|(id, _)| *id).collect();
                let stored = self.store.payloads(&present)?;
                stored.into_iter().map(|payload| payload.map(|payload| with_payload.select(payload))).collect()
            }
        };
        // A point without a payload in the store has been deleted meanwhile.
        let there = places.into_iter().zip(payloads).filter_map(|(place, payload)| Some((place, payload?)));
        let record = |((id, slot), payload)| Record {
            id,
            payload,
            vectors: self.select_vectors(&pin, slot, with_vectors),
            order_value: None,
            shard_key: None,
        };
        Ok(there.map(record).collect())
    }

    /// All from the store at one moment.
    fn get_stored(
        &self,
        ids: &[PointId],
        with_payload: &PayloadSelector,
        with_vectors: &VectorSelector,
    ) -> Result<Vec<Record>, StorageError> {
        let columns: BTreeSet<VectorName> = self.columns.read().keys().cloned().collect();
        let view = self.store.view();
        let mut records = Vec::with_capacity(ids.len());
        for id in ids {
            let Some((payload, stored)) = view.point(id)? else { continue };
            let shown = stored.into_iter().filter(|(stored, _)| columns.contains(stored));
            let named = shown.map(|(stored, vector)| (split_stored_name(&stored).0.to_owned(), vector));
            let vectors = match with_vectors {
                VectorSelector::None => None,
                select => Some(named.filter(|(name, _)| is_chosen(select, name)).collect()),
            };
            let payload = with_payload.select(payload);
            records.push(Record { id: *id, payload, vectors, order_value: None, shard_key: None });
        }
        Ok(records)
    }

    fn select_vectors(&self, pin: &Pin<'_>, slot: Slot, select: &VectorSelector) -> Option<NamedVectors> {
        if *select == VectorSelector::None {
            return None;
        }
        let columns = self.columns.read();
        let named = columns.iter().map(|(stored, column)| (split_stored_name(stored).0, column));
        let chosen = named.filter(|(name, _)| is_chosen(select, name));
        Some(chosen.filter_map(|(name, column)| Some((name.to_owned(), column.vector(pin, slot)?))).collect())
    }

    /// Up to `limit` matching ids in ascending order, from `from` on (inclusive; it need not exist).
    pub fn scroll(
        &self,
        from: Option<PointId>,
        limit: usize,
        filter: Option<&Filter>,
        stop: &Stop,
    ) -> Result<Vec<PointId>, ReadError> {
        let mut page = Vec::new();
        self.visit(from, filter, stop, &mut |id| {
            page.push(id);
            page.len() < limit
        })?;
        Ok(page)
    }

    /// How many points match.
    pub fn count(&self, filter: Option<&Filter>, stop: &Stop) -> Result<u64, ReadError> {
        let Some(filter) = filter.filter(|filter| !filter.is_empty()) else {
            return Ok(self.ids.read().len() as u64);
        };
        let pin = self.slots.pin();
        if let Some(count) = self.count_by_indexes(&pin, filter, stop)? {
            return Ok(count);
        }
        let bounds = self.bounds(&pin, filter, stop)?;
        Ok(self.decided(bounds, &pin, filter, stop)?.len())
    }

    pub(super) fn place_of(&self, id: PointId) -> Option<Place> {
        self.ids.read().get(&id).copied()
    }

    /// Whether [`Shard::search`] is over sooner than another thread would begin it, and needs to wait for nobody now.
    pub fn is_quick(&self, query: &Nearest<'_>) -> bool {
        let Some(column) = self.column(query.using) else { return true };
        let params = SearchParams {
            k: query.k,
            ef: query.ef.unwrap_or(column.default_ef()),
            exact: query.exact,
            indexed_only: query.indexed_only,
            filter: None,
            codes: query.codes,
        };
        query.filter.is_none_or(Filter::is_empty) && column.is_quick(&params) && self.ids.try_read().is_some()
    }

    /// The nearest points. A name the shard has no vector for finds nothing.
    pub fn search(&self, query: &Nearest<'_>, stop: &Stop) -> Result<Found, ReadError> {
        let Some(column) = self.column(query.using) else { return Ok(Found::default()) };
        let pin = self.slots.pin();
        let mark = self.replaced.mark();
        let plan = self.plan(&pin, query.filter, stop)?;
        let k = query.k.saturating_add(plan.excluded.len());
        let mut spare = 1;
        let found = loop {
            let params = SearchParams {
                k: k.saturating_add(spare),
                ef: query.ef.unwrap_or(column.default_ef()),
                exact: query.exact,
                indexed_only: query.indexed_only,
                filter: plan.matching.as_ref(),
                codes: query.codes,
            };
            let found = self.with_scratch(|scratch| column.search(&pin, scratch, query.vector, &params, stop))?;
            if found.hits.len() < params.k || !is_cut_among_equals(&found.hits, k) || spare >= SPARES_MAX {
                break found;
            }
            spare = (spare * 8).min(SPARES_MAX);
        };
        let mut hits: BTreeMap<PointId, (PointVersion, f32)> = BTreeMap::new();
        for (slot, distance) in found.hits {
            if let Some((id, vectors_version)) = self.slots.get(slot) {
                // Both slots of a point that was replaced meanwhile may be here; the newer one counts.
                let newest = hits.entry(id).or_insert((vectors_version, distance));
                if newest.0 < vectors_version {
                    *newest = (vectors_version, distance);
                }
            }
        }
        for id in self.replaced.since(mark) {
            hits.remove(&id);
            let slot = self.place_of(id).map(|place| place.slot);
            let distance = slot.and_then(|slot| column.distance(&pin, query.vector, slot));
            if let (Some(slot), Some(distance)) = (slot, distance)
                && self.matches(plan.rest.as_ref(), id)?
            {
                hits.insert(id, (self.vectors_version(slot), distance));
            }
        }
        let ids = self.ids.read();
        let mut hits: Vec<Hit> = hits
            .into_iter()
            .filter(|(id, _)| !plan.excluded.contains(id))
            .map(|(id, (vectors_version, distance))| {
                // A point deleted while the search ran was there when it began.
                let version = ids.get(&id).map_or(vectors_version, |place| place.version);
                Hit { id, version, distance }
            })
            .collect();
        drop(ids);
        sort_hits(&mut hits, column.metric());
        hits.truncate(query.k);
        Ok(Found { hits, cost: found.cost })
    }

    /// Over how many points that have the sparse vector `using` (and match `corpus`) `indices` are spread: the N and df
    /// of PROTOCOL section 13.2, of this shard.
    pub fn sparse_counts(
        &self,
        using: &str,
        indices: &[u32],
        corpus: Option<&Filter>,
        stop: &Stop,
    ) -> Result<SparseCounts, ReadError> {
        let none = SparseCounts { vectors: 0, having: vec![0; indices.len()] };
        let Some(Column::Sparse(index)) = self.column(using) else { return Ok(none) };
        let pin = self.slots.pin();
        let matching = match corpus.filter(|corpus| !corpus.is_empty()) {
            Some(corpus) => Some(self.matching_slots(&pin, corpus, stop)?),
            None => None,
        };
        Ok(index.counts(&pin, indices, matching.as_ref(), stop)?)
    }

    /// Splits ids to leave out from the rest of the filter, and evaluates the rest to slots.
    fn plan(&self, pin: &Pin<'_>, filter: Option<&Filter>, stop: &Stop) -> Result<Plan, ReadError> {
        let mut plan = Plan::default();
        let Some(filter) = filter.filter(|filter| !filter.is_empty()) else { return Ok(plan) };
        let mut rest = filter.clone();
        rest.must_not.retain(|condition| match condition {
            Condition::HasId(ids) if plan.excluded.len() + ids.len() <= EXCLUDED_IDS_MAX => {
                plan.excluded.extend(ids);
                false
            }
            _ => true,
        });
        if !rest.is_empty() {
            plan.matching = Some(self.matching_slots(pin, &rest, stop)?);
            plan.rest = Some(rest);
        }
        Ok(plan)
    }

    /// The live slots whose points match, exactly. The pin is one that was taken before.
    pub(super) fn matching_slots(&self, pin: &Pin<'_>, filter: &Filter, stop: &Stop) -> Result<Bitmap, ReadError> {
        let bounds = self.bounds(pin, filter, stop)?;
        let matching = self.decided(bounds, pin, filter, stop)?;
        // Bounded only now: what was placed meanwhile has slots beyond the bound of before.
        Ok(bitmap_of(&matching, self.slots.bound()))
    }
}

/// How a filtered search is run.
#[derive(Default)]
struct Plan {
    /// Left out of the hits; few.
    excluded: BTreeSet<PointId>,
    /// What else a hit must pass.
    rest: Option<Filter>,
    /// The slots that pass `rest`.
    matching: Option<Bitmap>,
}

/// The last hit is as far away as the `k`-th: there may be more of them.
fn is_cut_among_equals(hits: &[(Slot, f32)], k: usize) -> bool {
    let kth = k.checked_sub(1).and_then(|at| hits.get(at));
    kth.zip(hits.last()).is_some_and(|(kth, last)| kth.1 == last.1)
}

/// PROTOCOL section 3.2: score and id are compared as one key in one direction, so among equal distances the larger id
/// comes first where larger scores are better, the smaller id where smaller scores are.
pub fn sort_hits(hits: &mut [Hit], metric: Metric) {
    hits.sort_unstable_by(|a, b| in_order(metric, a, b));
}

/// The first `k` of `hits` as [`sort_hits`] would leave them; the others need no order of their own.
pub(super) fn keep_best(hits: &mut Vec<Hit>, k: usize, metric: Metric) {
    if k < hits.len() {
        hits.select_nth_unstable_by(k, |a, b| in_order(metric, a, b));
        hits.truncate(k);
    }
    sort_hits(hits, metric);
}

fn in_order(metric: Metric, a: &Hit, b: &Hit) -> cmp::Ordering {
    let by_id = if metric.is_larger_better() { b.id.cmp(&a.id) } else { a.id.cmp(&b.id) };
    a.distance.total_cmp(&b.distance).then(by_id)
}
