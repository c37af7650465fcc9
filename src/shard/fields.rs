//! Field indexes: how they come and go, how they are built while the shard serves, and the reads that need one: points in
//! the order of a field, counts of its values, BM25 over its text.
//!
//! Building: an index is registered under the writer's lock and gets every change from then on. The points that were
//! stored before are taken in by steps, in id order, each from a view of its own: what a step selected counts only if
//! the point's version is still the one that was read, else a change has brought the newer payload already.

use std::cmp::Ordering;
use std::collections::BTreeMap;

use roaring::RoaringBitmap;

use super::field_set::FieldSet;
use super::filter::CompiledFilter;
use super::plan::check;
use super::{ReadError, Shard};
use crate::index::payload::{Bm25Scoring, FieldIndex, FieldValues, Order, WordStats};
use crate::index::{Bitmap, Pin, Stop};
use crate::model::field_index::FieldIndexKind;
use crate::model::query::{Direction, FacetHit, OrderBy, OrderValue};
use crate::model::{Filter, Path, PointId, Slot};
use crate::storage::StorageError;

/// Points an index takes in per step; the write lock is held while they are put.
const BUILD_POINTS_MAX: usize = 128;

/// A text query (PROTOCOL section 13.4).
#[derive(Clone, Copy, Debug)]
pub struct TextSearch<'a> {
    /// A field with a text index that was made with `scoring`.
    pub key: &'a Path,
    /// Of all shards, for the same query text; it names the tokens looked for.
    pub stats: &'a WordStats,
    /// Saturation of a token's frequency.
    pub k: f32,
    /// Weight of a text's length, 0 to 1.
    pub b: f32,
    pub filter: Option<&'a Filter>,
    /// Results are among these ids, if given.
    pub among: Option<&'a [PointId]>,
    /// May be huge: nothing is allocated by it.
    pub limit: usize,
}

/// One complete field index.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldStatus {
    pub kind: FieldIndexKind,
    /// Points with at least one value of the index's kind.
    pub point_count: u64,
}

impl Shard {
    /// Makes these the field indexes: those that are not named go, those that are new or have other parameters are built
    /// by [`Shard::index_work`]; until one is complete, the one it replaces answers.
    pub fn reconfigure_fields(&self, wanted: &BTreeMap<Path, FieldIndexKind>) {
        let _writer = self.writer.lock();
        let gone = self.fields.write().configure(wanted);
        // Freeing an index takes a while; nobody waits for it here.
        drop(gone);
    }

    /// The complete field indexes.
    pub fn fields(&self) -> BTreeMap<Path, FieldStatus> {
        let fields = self.fields.read();
        let status =
            |index: &FieldIndex| FieldStatus { kind: index.spec().kind.clone(), point_count: index.point_count() };
        fields.ready().map(|index| (index.spec().path.clone(), status(index))).collect()
    }

    /// Bytes of memory that each complete field index takes, roughly. Looks at every value.
    pub fn field_bytes(&self) -> BTreeMap<Path, u64> {
        let fields = self.fields.read();
        fields.ready().map(|index| (index.spec().path.clone(), index.memory_bytes() as u64)).collect()
    }

    /// Whether there is a complete index of this kind for `path`.
    pub fn has_field_index(&self, path: &Path, kind: &FieldIndexKind) -> bool {
        self.fields.read().index(path).is_some_and(|index| index.spec().kind == *kind)
    }

    /// Lends the calling thread to an index that is being built, for about `budget` points. Returns how many were taken
    /// in; 0 means there is nothing to do, or another thread does it.
    pub(super) fn build_fields(&self, budget: usize) -> usize {
        let Some(_builder) = self.field_builder.try_lock() else { return 0 };
        let mut done = 0;
        while done < budget {
            match self.build_step() {
                Ok(Some(points)) => done += points.max(1),
                Ok(None) => break,
                // The next step reads it again, and whoever reads the store otherwise reports it.
                Err(_) => break,
            }
        }
        done
    }

    /// `None`: no index waits. Otherwise the points taken in.
    fn build_step(&self) -> Result<Option<usize>, StorageError> {
        let Some(step) = self.fields.read().next_build() else { return Ok(None) };
        let view = self.store.view();
        let is_new = |id: &PointId| Some(*id) > step.last;
        let mut selected: Vec<(PointId, u64, FieldValues)> = Vec::new();
        let mut payloads = view.iter_payloads(step.last);
        // One more: the first may be the last of the step before.
        for head in view.iter_heads(step.last).take(BUILD_POINTS_MAX + 1) {
            let (id, head) = head?;
            let Some(stored) = payloads.next() else { break };
            let (of, payload) = stored?;
            // Every point has a payload, so that the two run side by side.
            if of == id && is_new(&id) {
                selected.push((id, head.version, step.spec.select(&payload)));
            }
        }
        let last = selected.last().map(|(id, _, _)| *id);
        let count = selected.len();
        let mut fields = self.fields.write();
        let Some(last) = last else {
            let replaced = fields.finish_build(&step.spec);
            drop(fields);
            drop(replaced);
            return Ok(Some(0));
        };
        let ids = self.ids.read();
        let current = selected.into_iter().filter_map(|(id, version, values)| {
            let place = ids.get(&id).filter(|place| place.version == version)?;
            Some((place.slot, values))
        });
        let stored = current.collect();
        drop(ids);
        fields.build(&step.spec, stored, Some(last));
        Ok(Some(count))
    }

    /// The live slots whose points match; all of them without a filter. The pin was taken before: as long as it lives a
    /// slot names its point.
    pub(super) fn matching(&self, pin: &Pin<'_>, filter: Option<&Filter>, stop: &Stop) -> Result<Bitmap, ReadError> {
        match filter.filter(|filter| !filter.is_empty()) {
            Some(filter) => self.matching_slots(pin, filter, stop),
            None => Ok(self.slots.live()),
        }
    }

    /// The ids that match, ascending.
    pub fn matching_ids(&self, filter: Option<&Filter>, stop: &Stop) -> Result<Vec<PointId>, ReadError> {
        self.scroll(None, usize::MAX, filter, stop)
    }

    /// Up to `limit` pairs of a value of the field and a point that has it, in order of (value, id), both ascending or
    /// both descending. A point occurs once per distinct value, and not at all without one. `among`: only these ids.
    ///
    /// [`ReadError::NoRangeIndex`] unless the field has an index with ranges.
    pub fn order_by(
        &self,
        order: &OrderBy,
        filter: Option<&Filter>,
        among: Option<&[PointId]>,
        limit: usize,
        stop: &Stop,
    ) -> Result<Vec<(OrderValue, PointId)>, ReadError> {
        let missing = || ReadError::NoRangeIndex { key: order.key.clone() };
        self.with_selected(filter, among, stop, |fields, selected| {
            let values = fields.index(&order.key).and_then(FieldIndex::order).ok_or_else(missing)?;
            self.in_order(&values, order, selected, limit, stop)
        })
    }

    fn in_order(
        &self,
        values: &Order<'_>,
        order: &OrderBy,
        selected: Option<&RoaringBitmap>,
        limit: usize,
        stop: &Stop,
    ) -> Result<Vec<(OrderValue, PointId)>, ReadError> {
        /// Putting a slot's values in order costs as much as passing this many pairs that are in order.
        const PASSED_PER_SORTED: usize = 8;
        let Some(keys) = values.keys(order.direction, order.start_from) else { return Ok(Vec::new()) };
        let in_direction = |a: &(u64, PointId), b: &(u64, PointId)| match order.direction {
            Direction::Asc => a.cmp(b),
            Direction::Desc => b.cmp(a),
        };
        let id = |slot: Slot| self.slots.get(slot).map(|(id, _)| id);
        // Walked first even if few are selected: spread over all values, they soon fill a page.
        let few = selected.filter(|few| few.len() as usize <= values.len_of(&keys) / PASSED_PER_SORTED);
        let passed_max = few.map_or(usize::MAX, |few| few.len() as usize);
        let mut found: Vec<(u64, PointId)> = Vec::new();
        let mut is_complete = true;
        // Slots of one value come in no order of ids: a value is taken in whole before the limit counts.
        let mut value_start = 0;
        for (seen, (key, slot)) in values.iter(&keys, order.direction).enumerate() {
            check(stop, seen)?;
            if found.last().is_some_and(|(last, _)| *last != key) {
                if found.len() >= limit {
                    break;
                }
                sort_from(&mut found, value_start, in_direction);
                value_start = found.len();
            }
            if seen == passed_max {
                is_complete = false;
                break;
            }
            if selected.is_none_or(|selected| selected.contains(slot.0)) {
                found.extend(id(slot).map(|id| (key, id)));
            }
        }
        if let Some(few) = few.filter(|_| !is_complete) {
            found.clear();
            value_start = 0;
            for (seen, slot) in few.iter().map(Slot).enumerate() {
                check(stop, seen)?;
                let of_slot = values.keys_of(slot).iter().filter(|key| keys.contains(key));
                found.extend(of_slot.filter_map(|key| Some((*key, id(slot)?))));
            }
            if found.len() > limit {
                found.select_nth_unstable_by(limit, in_direction);
                found.truncate(limit);
            }
        }
        sort_from(&mut found, value_start, in_direction);
        found.truncate(limit);
        Ok(found.into_iter().map(|(key, id)| (values.value(key), id)).collect())
    }

    /// For each value of the field, by value ascending: how many matching points have it; values without any are left
    /// out. Of more than `values_max` values those that most points have, and of equals the smaller.
    ///
    /// [`ReadError::NoFacetIndex`] unless the field has an index by value.
    pub fn facet(
        &self,
        key: &Path,
        filter: Option<&Filter>,
        values_max: usize,
        stop: &Stop,
    ) -> Result<Vec<FacetHit>, ReadError> {
        self.with_selected(filter, None, stop, |fields, selected| {
            let hits = fields.index(key).and_then(|index| index.facet(selected, values_max));
            hits.ok_or_else(|| ReadError::NoFacetIndex { key: key.clone() })
        })
    }

    /// What scoring `query` needs to know of this shard.
    ///
    /// [`ReadError::NoScoringIndex`] unless the field has a text index that was made with `scoring`.
    pub fn text_stats(&self, key: &Path, query: &str) -> Result<WordStats, ReadError> {
        let fields = self.fields.read();
        let stats = fields.index(key).and_then(|index| index.word_stats(query));
        stats.ok_or_else(|| ReadError::NoScoringIndex { key: key.clone() })
    }

    /// The best texts, by score descending, then id ascending; only scores above 0.
    ///
    /// Fails as [`Shard::text_stats`] does.
    pub fn text_search(&self, search: &TextSearch<'_>, stop: &Stop) -> Result<Vec<(PointId, f32)>, ReadError> {
        self.with_selected(search.filter, search.among, stop, |fields, selected| {
            let scoring = Bm25Scoring { stats: search.stats, k: search.k, b: search.b };
            let within = selected.unwrap_or(fields.present());
            let scores = fields.index(search.key).and_then(|index| index.scores(&scoring, within));
            let scores = scores.ok_or_else(|| ReadError::NoScoringIndex { key: search.key.clone() })?;
            let above = scores.into_iter().filter(|(_, score)| *score > 0.0);
            let mut found: Vec<(PointId, f32)> =
                above.filter_map(|(slot, score)| Some((self.slots.get(slot)?.0, score))).collect();
            let best_first = |a: &(PointId, f32), b: &(PointId, f32)| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0));
            if found.len() > search.limit {
                found.select_nth_unstable_by(search.limit, best_first);
                found.truncate(search.limit);
            }
            found.sort_unstable_by(best_first);
            Ok(found)
        })
    }

    /// Runs `read` on the field indexes with the slots that match and are among `among`; `None`: all are. What the
    /// indexes decide alone is decided in the same moment that `read` sees.
    fn with_selected<T>(
        &self,
        filter: Option<&Filter>,
        among: Option<&[PointId]>,
        stop: &Stop,
        read: impl FnOnce(&FieldSet, Option<&RoaringBitmap>) -> Result<T, ReadError>,
    ) -> Result<T, ReadError> {
        let pin = self.slots.pin();
        let columns = self.columns.read().clone();
        let mark = self.replaced.mark();
        let filter = filter.filter(|filter| !filter.is_empty());
        let mut fields = self.fields.read();
        let mut selected = None;
        if let Some(filter) = filter {
            let bounds = self.bounds_in(&fields, &columns, &pin, filter, stop)?;
            selected = Some(if bounds.is_exact() {
                bounds.lower
            } else {
                // Payloads are read without holding the indexes.
                drop(fields);
                let decided = self.decided(bounds, &pin, filter, stop)?;
                fields = self.fields.read();
                self.moved(decided, &fields, filter, mark)?
            });
        }
        if let Some(among) = among {
            let slots = self.slots_of(among);
            selected = Some(match selected {
                Some(selected) => selected & slots,
                None => slots,
            });
        }
        read(&fields, selected.as_ref())
    }

    fn slots_of(&self, ids: &[PointId]) -> RoaringBitmap {
        let places = self.ids.read();
        ids.iter().filter_map(|id| places.get(id)).map(|place| place.slot.0).collect()
    }

    /// `matching` as of now: points that were replaced since `mark` are judged anew and found at their new slots.
    fn moved(
        &self,
        mut matching: RoaringBitmap,
        fields: &FieldSet,
        filter: &Filter,
        mark: u64,
    ) -> Result<RoaringBitmap, ReadError> {
        let texts = fields.texts();
        let condition = CompiledFilter::with_texts(filter, &texts);
        matching &= fields.present();
        for id in self.replaced.since(mark) {
            let Some(place) = self.place_of(id) else { continue };
            if self.passes(&condition, id)? {
                matching.insert(place.slot.0);
            } else {
                matching.remove(place.slot.0);
            }
        }
        Ok(matching)
    }
}

fn sort_from(
    found: &mut [(u64, PointId)],
    start: usize,
    compare: impl Fn(&(u64, PointId), &(u64, PointId)) -> Ordering,
) {
    found.get_mut(start..).unwrap_or_default().sort_unstable_by(compare);
}
