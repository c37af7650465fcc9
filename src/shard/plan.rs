//! From a filter to the exact set of matching slots.
//!
//! Conditions with a field index become sets; has_id, has_vector and slice are asked only of the slots that are left.
//! What comes out are two sets: slots that match for sure, and slots that may. The payloads decide about the difference,
//! by the whole filter, so every point is judged by one version of its payload. Without any index the difference is
//! everything, and the payloads are scanned.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::Arc;

use roaring::RoaringBitmap;

use super::column::Column;
use super::field_set::FieldSet;
use super::filter::{CompiledFilter, PointView, TextFields, ValueTest, without_last_each};
use super::{ReadError, Shard, named};
use crate::index::payload::{Answer, FieldIndex};
use crate::index::{Bitmap, Pin, Stop};
use crate::model::filter::{FieldCondition, FieldQuestion, MinShould, Predicate};
use crate::model::payload::Segment;
use crate::model::{Condition, Filter, Path, Payload, PointId, Slot, VectorName};

/// Points between two looks at the stop flag.
const POINTS_PER_STOP_CHECK: usize = 1_024;
/// Payloads read at once.
const PAYLOADS_AT_ONCE: usize = 256;
/// A point picked out of the store costs as much as this many in a scan.
const SCANNED_PER_PICKED: u64 = 4;
/// Passing a point in the order of ids costs as much as putting this many candidates in order.
const PICKED_PER_WALKED: u64 = 16;

/// How far a walk in the order of ids came.
enum Walked {
    /// To the end, or to where nothing more is wanted.
    Done,
    /// What follows, this one included, is left.
    To(Option<PointId>),
}

/// What the indexes know of which slots match, as of one moment.
pub(super) struct Bounds {
    /// These match.
    pub(super) lower: RoaringBitmap,
    /// No others match. Holds `lower`.
    pub(super) upper: RoaringBitmap,
    /// Slots that had a point.
    pub(super) present: RoaringBitmap,
}

impl Bounds {
    /// The indexes have decided everything.
    pub(super) fn is_exact(&self) -> bool {
        self.lower.len() == self.upper.len()
    }
}

/// What is known of one condition among the slots asked about. What an index has as it is needed is borrowed from it:
/// of a large shard every copied set costs as much as finding it.
pub(super) struct Known<'f> {
    /// No others satisfy it.
    upper: Cow<'f, RoaringBitmap>,
    /// These satisfy it; among `upper`. Absent: all of `upper` do.
    lower: Option<Cow<'f, RoaringBitmap>>,
}

impl<'f> Known<'f> {
    fn exact(slots: RoaringBitmap) -> Known<'f> {
        Known { upper: Cow::Owned(slots), lower: None }
    }

    fn nothing(within: &RoaringBitmap) -> Known<'f> {
        Known { upper: Cow::Owned(within.clone()), lower: Some(Cow::Owned(RoaringBitmap::new())) }
    }

    fn between(lower: RoaringBitmap, upper: RoaringBitmap) -> Known<'f> {
        if lower.len() == upper.len() {
            return Known::exact(upper);
        }
        Known { upper: Cow::Owned(upper), lower: Some(Cow::Owned(lower)) }
    }

    pub(super) fn upper(&self) -> &RoaringBitmap {
        &self.upper
    }

    pub(super) fn lower(&self) -> &RoaringBitmap {
        self.lower.as_ref().unwrap_or(&self.upper)
    }

    /// Both, where `other` was asked about no more than `self` leaves open.
    fn and(self, other: Known<'f>) -> Known<'f> {
        let lower = match self.lower {
            None => other.lower,
            Some(lower) => Some(Cow::Owned(lower.as_ref() & other.lower())),
        };
        Known { upper: other.upper, lower }
    }

    /// One of the two.
    fn or(self, other: &Known<'f>) -> Known<'f> {
        let lower = match (&self.lower, &other.lower) {
            (None, None) => None,
            _ => Some(Cow::Owned(self.lower() | other.lower())),
        };
        Known { upper: joined_sets(self.upper, other.upper()), lower }
    }

    /// This, and not `other`.
    fn but_not(self, other: &Known<'f>) -> Known<'f> {
        let lower = match (&self.lower, &other.lower) {
            (None, None) => None,
            _ => Some(Cow::Owned(self.lower() - other.upper())),
        };
        Known { upper: without(self.upper, other.lower()), lower }
    }
}

fn joined_sets<'f>(a: Cow<'f, RoaringBitmap>, b: &RoaringBitmap) -> Cow<'f, RoaringBitmap> {
    Cow::Owned(match a {
        Cow::Borrowed(a) => a | b,
        Cow::Owned(a) => a | b,
    })
}

fn without<'f>(a: Cow<'f, RoaringBitmap>, b: &RoaringBitmap) -> Cow<'f, RoaringBitmap> {
    Cow::Owned(match a {
        Cow::Borrowed(a) => a - b,
        Cow::Owned(a) => a - b,
    })
}

/// What a filter is evaluated with.
struct Planner<'a> {
    shard: &'a Shard,
    fields: &'a FieldSet,
    columns: &'a BTreeMap<VectorName, Column>,
    stop: &'a Stop,
}

impl Shard {
    /// What the indexes know of `filter`. The pin keeps the slots' points until the caller has decided about the rest.
    pub(super) fn bounds(&self, pin: &Pin<'_>, filter: &Filter, stop: &Stop) -> Result<Bounds, ReadError> {
        let columns = self.columns.read().clone();
        let fields = self.fields.read();
        self.bounds_in(&fields, &columns, pin, filter, stop)
    }

    /// As [`Shard::bounds`], for who holds the set already, and read the columns before.
    pub(super) fn bounds_in(
        &self,
        fields: &FieldSet,
        columns: &BTreeMap<VectorName, Column>,
        _pin: &Pin<'_>,
        filter: &Filter,
        stop: &Stop,
    ) -> Result<Bounds, ReadError> {
        let planner = Planner { shard: self, fields, columns, stop };
        let known = planner.filter(filter, fields.present())?;
        let lower = known.lower().clone();
        Ok(Bounds { lower, upper: known.upper.into_owned(), present: fields.present().clone() })
    }

    /// How many points match, if the indexes alone decide it. The pin is as for [`Shard::bounds`].
    pub(super) fn count_by_indexes(
        &self,
        _pin: &Pin<'_>,
        filter: &Filter,
        stop: &Stop,
    ) -> Result<Option<u64>, ReadError> {
        let columns = self.columns.read().clone();
        let fields = self.fields.read();
        if let Some(count) = count_of_one(&fields, filter) {
            return Ok(Some(count));
        }
        let planner = Planner { shard: self, fields: &fields, columns: &columns, stop };
        let known = planner.filter(filter, fields.present())?;
        Ok(known.lower.is_none().then(|| known.upper.len()))
    }

    /// The slots that match: those sure to, and those whose payloads say so. The pin is the one of the bounds.
    pub(super) fn decided(
        &self,
        bounds: Bounds,
        _pin: &Pin<'_>,
        filter: &Filter,
        stop: &Stop,
    ) -> Result<RoaringBitmap, ReadError> {
        let mut open = &bounds.upper - &bounds.lower;
        let mut matching = bounds.lower;
        if open.is_empty() {
            return Ok(matching);
        }
        let texts = self.fields.read().texts();
        let condition = CompiledFilter::with_texts(filter, &texts);
        if condition.needs_payload() && open.len() > self.ids.read().len() as u64 / SCANNED_PER_PICKED {
            let view = self.store.view();
            for (seen, stored) in view.iter_payloads(None).enumerate() {
                check(stop, seen)?;
                let (id, payload) = stored?;
                let Some(place) = self.place_of(id) else { continue };
                if open.remove(place.slot.0) && self.holds_for(&condition, id, &payload) {
                    matching.insert(place.slot.0);
                }
            }
            // What is left was moved or deleted meanwhile.
        }
        let slots: Vec<Slot> = open.iter().map(Slot).collect();
        for chunk in slots.chunks(PAYLOADS_AT_ONCE) {
            stop.poll()?;
            let mut points: Vec<(PointId, Slot)> =
                chunk.iter().filter_map(|slot| Some((self.slots.get(*slot)?.0, *slot))).collect();
            points.sort_unstable();
            self.each_passing(&condition, &points, &mut |_, slot| {
                matching.insert(slot.0);
                true
            })?;
        }
        Ok(matching)
    }

    /// Shows each point that passes as it is stored now, until `show` returns false. Returns whether it did.
    fn each_passing(
        &self,
        condition: &CompiledFilter<'_>,
        points: &[(PointId, Slot)],
        show: &mut dyn FnMut(PointId, Slot) -> bool,
    ) -> Result<bool, ReadError> {
        let mut payloads = Vec::new().into_iter();
        if condition.needs_payload() {
            let ids: Vec<PointId> = points.iter().map(|(id, _)| *id).collect();
            payloads = self.store.payloads(&ids)?.into_iter();
        }
        let no_payload = Payload::default();
        for (id, slot) in points {
            let stored = payloads.next();
            let payload = match &stored {
                // Deleted meanwhile.
                Some(None) => continue,
                Some(Some(payload)) => payload,
                None if self.place_of(*id).is_none() => continue,
                None => &no_payload,
            };
            if self.holds_for(condition, *id, payload) && !show(*id, *slot) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Shows every matching id to `show`, ascending from `from` on, until it returns false.
    pub(super) fn visit(
        &self,
        from: Option<PointId>,
        filter: Option<&Filter>,
        stop: &Stop,
        show: &mut dyn FnMut(PointId) -> bool,
    ) -> Result<(), ReadError> {
        let Some(filter) = filter.filter(|filter| !filter.is_empty()) else {
            for (seen, head) in self.store.view().iter_heads(from).enumerate() {
                check(stop, seen)?;
                if !show(head?.0) {
                    break;
                }
            }
            return Ok(());
        };
        let pin = self.slots.pin();
        let bounds = self.bounds(&pin, filter, stop)?;
        let texts = self.fields.read().texts();
        let condition = CompiledFilter::with_texts(filter, &texts);
        if bounds.upper.len() > bounds.present.len() / SCANNED_PER_PICKED {
            return self.visit_many(&bounds, &condition, from, stop, show);
        }
        // A page is soon full if the matching points are spread over all. If it is not, the walk has cost little beside
        // what putting all candidates in order costs.
        let walk_max = bounds.upper.len() / PICKED_PER_WALKED;
        match self.visit_first(&bounds, &condition, from, walk_max, stop, show)? {
            Walked::Done => Ok(()),
            Walked::To(last) => self.visit_few(&bounds, &condition, last, stop, show),
        }
    }

    /// Walks over the first `walk_max` points in order.
    fn visit_first(
        &self,
        bounds: &Bounds,
        condition: &CompiledFilter<'_>,
        from: Option<PointId>,
        walk_max: u64,
        stop: &Stop,
        show: &mut dyn FnMut(PointId) -> bool,
    ) -> Result<Walked, ReadError> {
        if walk_max == 0 {
            return Ok(Walked::To(from));
        }
        let view = self.store.view();
        for (seen, head) in (0..).zip(view.iter_heads(from)) {
            check(stop, seen)?;
            let (id, _) = head?;
            if seen as u64 == walk_max {
                return Ok(Walked::To(Some(id)));
            }
            let Some(place) = self.place_of(id) else { continue };
            let slot = place.slot.0;
            // A point that has come, or moved, since the bounds were drawn is judged anew.
            let is_open = bounds.upper.contains(slot) || !bounds.present.contains(slot);
            let passes = bounds.lower.contains(slot) || is_open && self.passes(condition, id)?;
            if passes && !show(id) {
                return Ok(Walked::Done);
            }
        }
        Ok(Walked::Done)
    }

    /// Puts the few candidates in order, then decides about one after another.
    fn visit_few(
        &self,
        bounds: &Bounds,
        condition: &CompiledFilter<'_>,
        from: Option<PointId>,
        stop: &Stop,
        show: &mut dyn FnMut(PointId) -> bool,
    ) -> Result<(), ReadError> {
        let point = |slot: u32| Some((self.slots.get(Slot(slot))?.0, Slot(slot)));
        let mut points: Vec<(PointId, Slot)> = bounds.upper.iter().filter_map(point).collect();
        points.retain(|(id, _)| Some(*id) >= from);
        points.sort_unstable();
        let mut left = points.as_slice();
        // A page is often short: the first reads are small, so that few are for nothing.
        let mut at_once = 16;
        while !left.is_empty() {
            stop.poll()?;
            let (chunk, rest) = left.split_at(at_once.min(left.len()));
            left = rest;
            at_once = (at_once * 2).min(PAYLOADS_AT_ONCE);
            let is_open = |(_, slot): &&(PointId, Slot)| !bounds.lower.contains(slot.0);
            let open: Vec<(PointId, Slot)> = chunk.iter().filter(is_open).copied().collect();
            let mut passing = Vec::new();
            self.each_passing(condition, &open, &mut |id, _| {
                passing.push(id);
                true
            })?;
            let sure = chunk.iter().filter(|(_, slot)| bounds.lower.contains(slot.0)).map(|(id, _)| *id);
            passing.extend(sure);
            passing.sort_unstable();
            for id in passing {
                if !show(id) {
                    return Ok(());
                }
            }
        }
        Ok(())
    }

    /// Walks over all points in order.
    fn visit_many(
        &self,
        bounds: &Bounds,
        condition: &CompiledFilter<'_>,
        from: Option<PointId>,
        stop: &Stop,
        show: &mut dyn FnMut(PointId) -> bool,
    ) -> Result<(), ReadError> {
        let view = self.store.view();
        // A point that has come, or moved, since the bounds were drawn is judged anew.
        let is_sure = |slot: Slot| bounds.lower.contains(slot.0);
        let is_open = |slot: Slot| bounds.upper.contains(slot.0) || !bounds.present.contains(slot.0);
        let open_share = (bounds.upper.len() - bounds.lower.len()) * SCANNED_PER_PICKED;
        if condition.needs_payload() && open_share > bounds.upper.len() {
            for (seen, stored) in view.iter_payloads(from).enumerate() {
                check(stop, seen)?;
                let (id, payload) = stored?;
                let Some(place) = self.place_of(id) else { continue };
                let passes = is_sure(place.slot) || is_open(place.slot) && self.holds_for(condition, id, &payload);
                if passes && !show(id) {
                    break;
                }
            }
            return Ok(());
        }
        for (seen, head) in view.iter_heads(from).enumerate() {
            check(stop, seen)?;
            let (id, _) = head?;
            let Some(place) = self.place_of(id) else { continue };
            let passes = is_sure(place.slot) || is_open(place.slot) && self.passes(condition, id)?;
            if passes && !show(id) {
                break;
            }
        }
        Ok(())
    }

    /// Whether the point, which exists, passes as it is stored now.
    pub(super) fn passes(&self, condition: &CompiledFilter<'_>, id: PointId) -> Result<bool, ReadError> {
        let stored = if condition.needs_payload() { self.store.payload(&id)? } else { None };
        Ok(self.holds_for(condition, id, &stored.unwrap_or_default()))
    }

    pub(super) fn holds_for(&self, condition: &CompiledFilter<'_>, id: PointId, payload: &Payload) -> bool {
        condition.matches(&PointView { id, payload, has_vector: &|name| self.has_vector(id, name) })
    }

    /// Whether the point, which exists, passes the filter as it is stored now.
    pub(super) fn matches(&self, filter: Option<&Filter>, id: PointId) -> Result<bool, ReadError> {
        match filter.filter(|filter| !filter.is_empty()) {
            Some(filter) => self.passes(&CompiledFilter::with_texts(filter, &self.text_fields()), id),
            None => Ok(true),
        }
    }

    /// The parameters that text conditions follow now.
    pub(super) fn text_fields(&self) -> Arc<TextFields> {
        self.fields.read().texts()
    }
}

impl<'a> Planner<'a> {
    /// What is known of `filter` among `within`.
    fn filter(&self, filter: &Filter, within: &RoaringBitmap) -> Result<Known<'a>, ReadError> {
        // `None`: all of `within`, which is not copied before it has to be.
        let mut known: Option<Known<'a>> = None;
        let mut must: Vec<&Condition> = filter.must.iter().collect();
        // What leaves the least first: the others are then asked about few.
        must.sort_by_cached_key(|condition| self.size_max(condition));
        for condition in must {
            let left = known.as_ref().map_or(within, Known::upper);
            if left.is_empty() {
                return Ok(known.unwrap_or_else(|| Known::exact(RoaringBitmap::new())));
            }
            let of_one = self.condition(condition, left)?;
            known = Some(and(known, of_one));
        }
        let left = known.as_ref().map_or(within, Known::upper);
        let mut any: Option<Known<'a>> = None;
        for condition in &filter.should {
            let of_one = self.condition(condition, left)?;
            any = Some(match any {
                None => of_one,
                Some(any) => any.or(&of_one),
            });
        }
        if let Some(any) = any {
            known = Some(and(known, any));
        }
        if let Some(MinShould { conditions, min_count }) = &filter.min_should {
            let left = known.as_ref().map_or(within, Known::upper);
            let of_each: Result<Vec<Known<'a>>, ReadError> =
                conditions.iter().map(|condition| self.condition(condition, left)).collect();
            let of_each = of_each?;
            let upper = at_least(*min_count, of_each.iter().map(Known::upper)) & left;
            let enough = if of_each.iter().all(|of_one| of_one.lower.is_none()) {
                Known::exact(upper)
            } else {
                let lower = at_least(*min_count, of_each.iter().map(Known::lower)) & left;
                Known::between(lower, upper)
            };
            known = Some(and(known, enough));
        }
        for condition in &filter.must_not {
            let left = known.as_ref().map_or(within, Known::upper);
            if left.is_empty() {
                break;
            }
            let of_one = self.condition(condition, left)?;
            known = Some(match known {
                Some(known) => known.but_not(&of_one),
                None => Known::between(within - of_one.upper(), within - of_one.lower()),
            });
        }
        Ok(known.unwrap_or_else(|| self.all(within)))
    }

    /// All of `within`.
    fn all(&self, within: &RoaringBitmap) -> Known<'a> {
        let present = self.fields.present();
        let upper = if std::ptr::eq(present, within) { Cow::Borrowed(present) } else { Cow::Owned(within.clone()) };
        Known { upper, lower: None }
    }

    /// At most as many slots satisfy `condition`; what no index limits comes after what one does, and what is asked of
    /// each slot comes last.
    fn size_max(&self, condition: &Condition) -> u64 {
        let all = self.fields.present().len();
        match condition {
            Condition::HasId(ids) => ids.len() as u64,
            Condition::Field(field) => {
                let Some(index) = self.fields.index(&field.key) else { return all + 1 };
                match field.question() {
                    FieldQuestion::Any(predicates) => {
                        predicates.into_iter().map(|predicate| index.passing_max(predicate)).sum::<u64>().min(all)
                    }
                    _ => all,
                }
            }
            Condition::IsEmpty(_) | Condition::IsNull(_) => all,
            Condition::Filter(filter) => filter.must.iter().map(|inner| self.size_max(inner)).min().unwrap_or(all),
            Condition::Nested { .. } => all,
            Condition::HasVector(_) | Condition::Slice { .. } => all + 2,
        }
    }

    /// What is known of `condition` among `within`.
    fn condition(&self, condition: &Condition, within: &RoaringBitmap) -> Result<Known<'a>, ReadError> {
        self.stop.poll()?;
        let point = |slot: u32| self.shard.slots.get(Slot(slot)).map(|(id, _)| id);
        Ok(match condition {
            Condition::Field(field) => match self.fields.index(&field.key) {
                Some(index) => {
                    // Asked about all points, a set that the index has is the answer.
                    let is_all = std::ptr::eq(within, self.fields.present());
                    match one_predicate(field).and_then(|predicate| index.posting(predicate)).filter(|_| is_all) {
                        Some(slots) => Known { upper: Cow::Borrowed(slots), lower: None },
                        None => field_known(index, field, within),
                    }
                }
                None => Known::nothing(within),
            },
            Condition::IsEmpty(key) => match self.fields.index(key) {
                Some(index) => Known::exact(index.empty(within)),
                None => Known::nothing(within),
            },
            Condition::IsNull(key) => match self.fields.index(key) {
                Some(index) => Known::exact(index.null(within)),
                None => Known::nothing(within),
            },
            Condition::HasId(ids) => {
                let places = self.shard.ids.read();
                let slots = ids.iter().filter_map(|id| places.get(id)).map(|place| place.slot.0);
                Known::exact(slots.filter(|slot| within.contains(*slot)).collect())
            }
            Condition::HasVector(name) => {
                let column = named(self.columns, name);
                let has_one = |slot: u32| column.is_some_and(|column| column.has(Slot(slot)));
                Known::exact(within.iter().filter(|slot| has_one(*slot)).collect())
            }
            Condition::Slice { total, index } => {
                let is_in = |id: PointId| id.stable_hash().checked_rem(*total) == Some(*index);
                Known::exact(within.iter().filter(|slot| point(*slot).is_some_and(is_in)).collect())
            }
            Condition::Nested { key, filter } => {
                Known::between(RoaringBitmap::new(), self.nested_upper(&each(key), filter, within))
            }
            Condition::Filter(filter) => self.filter(filter, within)?,
        })
    }

    /// Slots among `within` outside of which no element at `inside` passes `filter`. What an element passes alone, the
    /// elements together have some value for; more than that is not known of them.
    fn nested_upper(&self, inside: &Path, filter: &Filter, within: &RoaringBitmap) -> RoaringBitmap {
        let mut upper = within.clone();
        for condition in &filter.must {
            upper = self.element_upper(inside, condition, &upper);
        }
        if !filter.should.is_empty() {
            let each = filter.should.iter().map(|condition| self.element_upper(inside, condition, &upper));
            upper = each.fold(RoaringBitmap::new(), |any, of_one| any | of_one);
        }
        upper
    }

    fn element_upper(&self, inside: &Path, condition: &Condition, within: &RoaringBitmap) -> RoaringBitmap {
        match condition {
            Condition::Field(field) => {
                let Some(index) = self.fields.index(&joined(inside, &field.key)) else { return within.clone() };
                match field.question() {
                    // An element without the field satisfies these, and others may have it.
                    FieldQuestion::Count(bounds) if bounds.contains(0) => within.clone(),
                    FieldQuestion::Empty(true) | FieldQuestion::Null(false) => within.clone(),
                    _ => field_known(index, field, within).upper.into_owned(),
                }
            }
            Condition::IsNull(key) => match self.fields.index(&joined(inside, key)) {
                Some(index) => index.null(within),
                None => within.clone(),
            },
            Condition::Nested { key, filter } => self.nested_upper(&each(&joined(inside, key)), filter, within),
            Condition::Filter(filter) => self.nested_upper(inside, filter, within),
            // Never so inside an element.
            Condition::HasId(_) | Condition::HasVector(_) | Condition::Slice { .. } => RoaringBitmap::new(),
            Condition::IsEmpty(_) => within.clone(),
        }
    }
}

fn and<'f>(known: Option<Known<'f>>, other: Known<'f>) -> Known<'f> {
    match known {
        Some(known) => known.and(other),
        None => other,
    }
}

/// The one predicate of a condition that has no other and is about elements.
fn one_predicate(field: &FieldCondition) -> Option<&Predicate> {
    match field.predicates.as_slice() {
        [Predicate::ValuesCount(_) | Predicate::IsEmpty(_) | Predicate::IsNull(_)] => None,
        [one] => Some(one),
        _ => None,
    }
}

/// How many points match a filter of one condition, if the index knows without finding them.
fn count_of_one(fields: &FieldSet, filter: &Filter) -> Option<u64> {
    let Filter { must, should, must_not, min_should: None } = filter else { return None };
    let (([Condition::Field(field)], [], []) | ([], [Condition::Field(field)], [])) =
        (must.as_slice(), should.as_slice(), must_not.as_slice())
    else {
        return None;
    };
    fields.index(&field.key)?.passing_len(one_predicate(field)?)
}

/// What `index` knows of a condition on its field.
pub(super) fn field_known<'f>(index: &FieldIndex, field: &FieldCondition, within: &RoaringBitmap) -> Known<'f> {
    let or_not = |slots: RoaringBitmap, want: bool| Known::exact(if want { slots } else { within - slots });
    match field.question() {
        FieldQuestion::Count(bounds) => Known::exact(index.with_count(bounds, within)),
        FieldQuestion::Empty(want) => or_not(index.empty(within), want),
        FieldQuestion::Null(want) => or_not(index.null(within), want),
        FieldQuestion::Any(predicates) => {
            let answers = predicates.into_iter().map(|predicate| passing(index, predicate, within));
            let all = answers.reduce(|all, one| Answer { sure: all.sure | one.sure, unsure: all.unsure | one.unsure });
            let Answer { sure, unsure } = all.unwrap_or_default();
            if unsure.is_empty() {
                return Known::exact(sure);
            }
            let upper = &sure | unsure;
            Known::between(sure, upper)
        }
    }
}

fn passing(index: &FieldIndex, predicate: &Predicate, within: &RoaringBitmap) -> Answer {
    let test = ValueTest::new(predicate, Some(index.spec()));
    index.passing(predicate, within, &|text| test.as_ref().is_some_and(|test| test.passes_text(text)))
}

/// The path of the elements of the array at `key`.
fn each(key: &Path) -> Path {
    let mut key = without_last_each(key);
    key.rest.push(Segment::Each);
    key
}

/// `key` of the elements at `inside`, as a path from the payload's root.
fn joined(inside: &Path, key: &Path) -> Path {
    let mut whole = inside.clone();
    whole.rest.push(Segment::Key(key.first.clone()));
    whole.rest.extend(key.rest.iter().cloned());
    whole
}

/// Slots that are in at least `count` of `sets`.
fn at_least<'a>(count: usize, sets: impl Iterator<Item = &'a RoaringBitmap> + Clone) -> RoaringBitmap {
    let bound = sets.clone().filter_map(RoaringBitmap::max).max().map_or(0, |max| max as usize + 1);
    let mut counts = vec![0_usize; bound];
    for slot in sets.flatten() {
        if let Some(of_slot) = counts.get_mut(slot as usize) {
            *of_slot += 1;
        }
    }
    let found = (0..).zip(counts).filter(|(_, of_slot)| *of_slot >= count).map(|(slot, _)| slot);
    // A count of 0, which the wire refuses, would hold for slots of no set; the caller intersects.
    RoaringBitmap::from_sorted_iter(found).unwrap_or_default()
}

/// `slots` as searches take them, for slots below `bound`.
pub(super) fn bitmap_of(slots: &RoaringBitmap, bound: usize) -> Bitmap {
    let mut bitmap = Bitmap::new(bound);
    for slot in slots {
        bitmap.set(Slot(slot));
    }
    bitmap
}

pub(super) fn check(stop: &Stop, seen: usize) -> Result<(), ReadError> {
    if seen.is_multiple_of(POINTS_PER_STOP_CHECK) && stop.is_raised() { Err(ReadError::Stopped) } else { Ok(()) }
}
