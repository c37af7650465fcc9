//! One field index: what its path selects in every point of a shard, ready to answer conditions.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;

use roaring::RoaringBitmap;
use uuid::Uuid;

use super::dictionary::{Lookup, Posting, union};
use super::ordered::{self, Key, Ordered};
use super::places::Places;
use super::selection::{FieldSpec, FieldValues, Values, is_plain};
use super::words::{Bm25Scoring, WordStats, Words};
use crate::model::datetime::Timestamp;
use crate::model::field_index::FieldIndexKind;
use crate::model::filter::{Match, Predicate, Range, ValuesCount};
use crate::model::query::{Direction, FacetHit, FacetValue, OrderValue, StartFrom};
use crate::model::{Payload, Slot};

/// A field index of one shard.
///
/// It answers each condition as evaluating it on the payload would, but for words of texts, which follow the index's
/// parameters. Where the payload has values of another kind than the index's it says that it is not sure of them.
pub struct FieldIndex {
    pub(super) spec: Arc<FieldSpec>,
    pub(super) kind: Kind,
    /// For each length of a selected value, the slots with such a value.
    pub(super) lengths: BTreeMap<u64, RoaringBitmap>,
    /// Slots with a selected value that is null or has a null.
    pub(super) nulls: RoaringBitmap,
    /// Slots with an element that is neither null nor of the index's kind.
    pub(super) others: RoaringBitmap,
    /// Slots with a value of the index's kind.
    pub(super) indexed: RoaringBitmap,
}

pub(super) enum Kind {
    Keyword(Lookup<Arc<str>>),
    /// At least one of the two.
    Integer {
        lookup: Option<Lookup<i64>>,
        ordered: Option<Ordered>,
    },
    Float(Ordered),
    Bool(Lookup<bool>),
    Datetime(Ordered),
    Uuid(Lookup<Uuid>),
    Geo(Places),
    Text(Words),
}

/// What an index knows of a condition.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Answer {
    /// These satisfy it.
    pub sure: RoaringBitmap,
    /// These may or may not, unless they are among `sure`: their payloads decide. No other satisfies it.
    pub unsure: RoaringBitmap,
}

/// A field's values in order.
#[derive(Clone, Copy)]
pub struct Order<'a> {
    ordered: &'a Ordered,
    of: OrderOf,
}

#[derive(Clone, Copy)]
enum OrderOf {
    Integers,
    Floats,
    Instants,
}

impl FieldIndex {
    /// An index of no points.
    pub fn new(spec: Arc<FieldSpec>) -> FieldIndex {
        let kind = match &spec.kind {
            FieldIndexKind::Keyword(_) => Kind::Keyword(Lookup::new()),
            FieldIndexKind::Integer(params) => {
                let has_range = params.range.unwrap_or(true);
                Kind::Integer {
                    lookup: (params.lookup.unwrap_or(true) || !has_range).then(Lookup::new),
                    ordered: has_range.then(Ordered::new),
                }
            }
            FieldIndexKind::Float => Kind::Float(Ordered::new()),
            FieldIndexKind::Geo => Kind::Geo(Places::new()),
            FieldIndexKind::Text(params) => {
                Kind::Text(Words::new(params.phrase_matching == Some(true) || params.scoring == Some(true)))
            }
            FieldIndexKind::Bool => Kind::Bool(Lookup::new()),
            FieldIndexKind::Datetime => Kind::Datetime(Ordered::new()),
            FieldIndexKind::Uuid => Kind::Uuid(Lookup::new()),
        };
        FieldIndex {
            spec,
            kind,
            lengths: BTreeMap::new(),
            nulls: RoaringBitmap::new(),
            others: RoaringBitmap::new(),
            indexed: RoaringBitmap::new(),
        }
    }

    /// What it is for.
    pub fn spec(&self) -> &Arc<FieldSpec> {
        &self.spec
    }

    /// Points with at least one value of the index's kind.
    pub fn point_count(&self) -> u64 {
        self.indexed.len()
    }

    /// Takes in what [`FieldSpec::select`] found in the payload of the point at `slot`, in place of what was there.
    pub fn put(&mut self, slot: Slot, values: FieldValues) {
        self.remove(slot);
        let Slot(slot) = slot;
        if values.is_indexed() {
            self.indexed.insert(slot);
        }
        for length in &values.lengths {
            self.lengths.entry(*length).or_default().insert(slot);
        }
        if values.has_null {
            self.nulls.insert(slot);
        }
        if values.has_other {
            self.others.insert(slot);
        }
        let float_keys = |all: Vec<f64>| all.into_iter().map(ordered::key_of_float).collect();
        match (&mut self.kind, values.values) {
            (Kind::Keyword(lookup), Values::Keywords(all)) => lookup.put(slot, all),
            (Kind::Integer { lookup, ordered }, Values::Integers(all)) => {
                if let Some(ordered) = ordered {
                    ordered.put(slot, all.iter().copied().map(ordered::key_of_integer).collect());
                }
                if let Some(lookup) = lookup {
                    lookup.put(slot, all);
                }
            }
            (Kind::Float(ordered), Values::Floats(all)) => ordered.put(slot, float_keys(all)),
            (Kind::Bool(lookup), Values::Bools(all)) => lookup.put(slot, all),
            (Kind::Datetime(ordered), Values::Instants(all)) => {
                ordered.put(slot, all.into_iter().map(|Timestamp(micros)| ordered::key_of_integer(micros)).collect());
            }
            (Kind::Uuid(lookup), Values::Uuids(all)) => lookup.put(slot, all),
            (Kind::Geo(places), Values::Places(all)) => places.put(slot, &all),
            (Kind::Text(words), Values::Texts(all)) => words.put(slot, &all),
            _ => unreachable!("values were selected by the spec of an index of another kind"),
        }
    }

    /// Forgets what is at `slot`.
    pub fn remove(&mut self, slot: Slot) {
        let Slot(slot) = slot;
        self.lengths.retain(|_, slots| {
            slots.remove(slot);
            !slots.is_empty()
        });
        self.nulls.remove(slot);
        self.others.remove(slot);
        if !self.indexed.remove(slot) {
            return;
        }
        match &mut self.kind {
            Kind::Keyword(lookup) => lookup.remove(slot),
            Kind::Integer { lookup, ordered } => {
                if let Some(lookup) = lookup {
                    lookup.remove(slot);
                }
                if let Some(ordered) = ordered {
                    ordered.remove(slot);
                }
            }
            Kind::Float(ordered) | Kind::Datetime(ordered) => ordered.remove(slot),
            Kind::Bool(lookup) => lookup.remove(slot),
            Kind::Uuid(lookup) => lookup.remove(slot),
            Kind::Geo(places) => places.remove(slot),
            Kind::Text(words) => words.remove(slot),
        }
    }

    /// What was put at `slot`, up to the order and the repetition of values that make no difference to the index.
    pub fn values_of(&self, slot: Slot) -> FieldValues {
        let Slot(slot) = slot;
        let integers = |ordered: &Ordered| ordered.keys_of(slot).iter().copied().map(ordered::integer_of_key).collect();
        let values = match &self.kind {
            Kind::Keyword(lookup) => Values::Keywords(lookup.keys_of(slot).cloned().collect()),
            Kind::Integer { lookup: Some(lookup), .. } => Values::Integers(lookup.keys_of(slot).copied().collect()),
            Kind::Integer { ordered: Some(ordered), .. } => Values::Integers(integers(ordered)),
            Kind::Integer { .. } => unreachable!("an integer index has a lookup or an order"),
            Kind::Float(ordered) => {
                Values::Floats(ordered.keys_of(slot).iter().copied().map(ordered::float_of_key).collect())
            }
            Kind::Bool(lookup) => Values::Bools(lookup.keys_of(slot).copied().collect()),
            Kind::Datetime(ordered) => {
                let instants: Vec<i64> = integers(ordered);
                Values::Instants(instants.into_iter().map(Timestamp).collect())
            }
            Kind::Uuid(lookup) => Values::Uuids(lookup.keys_of(slot).copied().collect()),
            Kind::Geo(places) => Values::Places(places.places_of(slot).collect()),
            Kind::Text(words) => Values::Texts(words.texts_of(slot)),
        };
        FieldValues {
            lengths: self.lengths.iter().filter(|(_, slots)| slots.contains(slot)).map(|(length, _)| *length).collect(),
            has_null: self.nulls.contains(slot),
            has_other: self.others.contains(slot),
            values,
        }
    }

    /// Whether `slot` has what `payload` holds; nothing at all without one. For tests.
    pub fn holds(&self, slot: Slot, payload: Option<&Payload>) -> bool {
        let want = payload.map_or_else(|| FieldValues::none(&self.spec.kind), |payload| self.spec.select(payload));
        let keeps_order = matches!(&self.kind, Kind::Text(words) if words.keeps_order());
        self.values_of(slot).normal(keeps_order) == want.normal(keeps_order)
    }

    /// Slots among `within` with a selected value of a length within `bounds`; nothing selected has length 0.
    pub fn with_count(&self, bounds: &ValuesCount, within: &RoaringBitmap) -> RoaringBitmap {
        let of_length = self.lengths.iter().filter(|(length, _)| bounds.contains(**length));
        let mut found = of_length.fold(RoaringBitmap::new(), |found, (_, slots)| found | (slots & within));
        if bounds.contains(0) {
            found |= self.lengths.values().fold(within.clone(), |left, slots| left - slots);
        }
        found
    }

    /// Slots among `within` where everything selected is null or `[]`, or nothing is.
    pub fn empty(&self, within: &RoaringBitmap) -> RoaringBitmap {
        let filled = self.lengths.iter().filter(|(length, _)| **length > 0);
        filled.fold(within.clone(), |left, (_, slots)| left - slots)
    }

    /// Slots among `within` with a selected value that is null or has a null.
    pub fn null(&self, within: &RoaringBitmap) -> RoaringBitmap {
        &self.nulls & within
    }

    /// Slots among `within` with an element that passes `predicate`, which is none of those on whole values.
    /// `passes` tells whether a text does, for where a condition is best asked of each distinct text.
    pub fn passing(&self, predicate: &Predicate, within: &RoaringBitmap, passes: &dyn Fn(&str) -> bool) -> Answer {
        match &self.kind {
            Kind::Keyword(lookup) => self.keyword(lookup, predicate, within, passes),
            Kind::Integer { lookup, ordered } => self.integer(lookup.as_ref(), ordered.as_ref(), predicate, within),
            Kind::Float(ordered) => self.float(ordered, predicate, within),
            Kind::Bool(lookup) => match predicate {
                Predicate::Match(Match::Bool(value)) => Answer::sure(lookup.any_of([value].into_iter()) & within),
                Predicate::Match(Match::ExceptInteger(_) | Match::ExceptKeyword(_)) => self.all_but_others(within),
                _ => self.only_others(within),
            },
            Kind::Datetime(ordered) => self.datetime(ordered, predicate, within),
            Kind::Uuid(lookup) => self.uuid(lookup, predicate, within),
            Kind::Geo(places) => match predicate {
                Predicate::GeoRadius(radius) => self.with_others(places.in_radius(radius, within), within),
                Predicate::GeoBox(bounds) => self.with_others(places.in_box(bounds, within), within),
                Predicate::GeoPolygon(polygon) => self.with_others(places.in_polygon(polygon, within), within),
                Predicate::Match(Match::ExceptInteger(_) | Match::ExceptKeyword(_)) => self.all_but_others(within),
                _ => self.only_others(within),
            },
            Kind::Text(words) => self.text(words, predicate, within),
        }
    }

    /// At least as many slots as [`FieldIndex::passing`] would find, without finding them.
    pub fn passing_max(&self, predicate: &Predicate) -> u64 {
        let any = self.indexed.union_len(&self.others);
        let known = match (&self.kind, predicate) {
            (Kind::Keyword(lookup), Predicate::Match(Match::Keyword(value))) => {
                lookup.dictionary.posting(value.as_str()).map_or(0, |posting| posting.len())
            }
            (Kind::Keyword(lookup), Predicate::Match(Match::AnyKeyword(list))) => {
                let len = |value: &String| lookup.dictionary.posting(value.as_str()).map_or(0, |posting| posting.len());
                list.iter().map(len).sum()
            }
            (Kind::Integer { lookup: Some(lookup), .. }, Predicate::Match(Match::Integer(value))) => {
                lookup.dictionary.posting(value).map_or(0, |posting| posting.len())
            }
            (Kind::Bool(lookup), Predicate::Match(Match::Bool(value))) => {
                lookup.dictionary.posting(value).map_or(0, |posting| posting.len())
            }
            (Kind::Uuid(lookup), Predicate::Match(Match::Keyword(value))) => {
                let uuid = Uuid::try_parse(value).ok();
                let len = uuid.and_then(|uuid| lookup.dictionary.posting(&uuid)).map_or(0, |posting| posting.len());
                len + self.others.len()
            }
            (Kind::Integer { ordered: Some(ordered), .. }, Predicate::Range(range)) => {
                ordered::keys_of_integers(range).map_or(0, |keys| ordered.len_of(&keys) as u64) + self.others.len()
            }
            (Kind::Float(ordered), Predicate::Range(range)) => {
                ordered::keys_of_floats(range).map_or(0, |keys| ordered.len_of(&keys) as u64)
            }
            (Kind::Datetime(ordered), Predicate::DatetimeRange(range)) => {
                ordered::keys_of_instants(range).map_or(0, |keys| ordered.len_of(&keys) as u64)
            }
            (Kind::Text(words), Predicate::Match(Match::Text(query))) => words.len_of_all(&self.query_tokens(query)),
            _ => any,
        };
        known.min(any)
    }

    /// The slots that pass, where the index has them as one set and is sure of all.
    pub fn posting(&self, predicate: &Predicate) -> Option<&RoaringBitmap> {
        let posting = match (&self.kind, predicate) {
            (Kind::Keyword(lookup), Predicate::Match(Match::Keyword(value))) => {
                lookup.dictionary.posting(value.as_str())
            }
            (Kind::Integer { lookup: Some(lookup), .. }, Predicate::Match(Match::Integer(value))) => {
                lookup.dictionary.posting(value)
            }
            (Kind::Bool(lookup), Predicate::Match(Match::Bool(value))) => lookup.dictionary.posting(value),
            _ => None,
        };
        match posting {
            Some(Posting::Many(slots)) => Some(slots),
            _ => None,
        }
    }

    /// How many slots pass, where the index is sure of it without finding them.
    pub fn passing_len(&self, predicate: &Predicate) -> Option<u64> {
        if let Some(slots) = self.posting(predicate) {
            return Some(slots.len());
        }
        let in_range = |ordered: &Ordered, keys: Option<RangeInclusive<Key>>| match keys {
            None => Some(0),
            // A slot with two values in the range counts once.
            Some(keys) => ordered.is_single().then(|| ordered.len_of(&keys) as u64),
        };
        match (&self.kind, predicate) {
            // Other kinds of numbers are not in this index.
            (Kind::Integer { ordered: Some(ordered), .. }, Predicate::Range(range)) if self.others.is_empty() => {
                in_range(ordered, ordered::keys_of_integers(range))
            }
            (Kind::Float(ordered), Predicate::Range(range)) => in_range(ordered, ordered::keys_of_floats(range)),
            (Kind::Datetime(ordered), Predicate::DatetimeRange(range)) => {
                in_range(ordered, ordered::keys_of_instants(range))
            }
            _ => None,
        }
    }

    /// Only elements of other kinds can pass.
    fn only_others(&self, within: &RoaringBitmap) -> Answer {
        self.with_others(RoaringBitmap::new(), within)
    }

    /// `sure` passes; elements of other kinds may.
    fn with_others(&self, sure: RoaringBitmap, within: &RoaringBitmap) -> Answer {
        Answer { sure, unsure: &self.others & within }
    }

    /// Every element of the index's kind passes; those of other kinds may.
    fn all_but_others(&self, within: &RoaringBitmap) -> Answer {
        self.with_others(&self.indexed & within, within)
    }

    /// Nothing is known but that there must be an element that is not null.
    fn any(&self, within: &RoaringBitmap) -> Answer {
        Answer { sure: RoaringBitmap::new(), unsure: (&self.indexed | &self.others) & within }
    }

    fn keyword(
        &self,
        lookup: &Lookup<Arc<str>>,
        predicate: &Predicate,
        within: &RoaringBitmap,
        passes: &dyn Fn(&str) -> bool,
    ) -> Answer {
        match predicate {
            Predicate::Match(Match::Keyword(value)) => {
                let posting = lookup.dictionary.posting(value.as_str());
                Answer::sure(posting.map(|posting| posting.within(within)).unwrap_or_default())
            }
            Predicate::Match(Match::AnyKeyword(list)) => {
                Answer::sure(lookup.any_of(list.iter().map(String::as_str)) & within)
            }
            // Whatever is not a text is not in the list.
            Predicate::Match(Match::ExceptKeyword(list)) => {
                let other = lookup.other_than(list.iter().map(String::as_str), &self.indexed);
                Answer::sure((other | &self.others) & within)
            }
            Predicate::Match(Match::ExceptInteger(_)) => self.all_but_others(within),
            Predicate::Match(Match::Prefix(prefix)) => {
                let from = lookup.dictionary.iter_from(prefix.as_str());
                let postings = from.take_while(|(key, _)| key.starts_with(prefix.as_str()));
                Answer::sure(union(postings.map(|(_, posting)| posting)) & within)
            }
            Predicate::Match(Match::Text(_) | Match::TextAny(_) | Match::Phrase(_) | Match::Substring(_))
            | Predicate::DatetimeRange(_) => {
                let passing = lookup.dictionary.iter().filter(|(key, _)| passes(key));
                Answer::sure(union(passing.map(|(_, posting)| posting)) & within)
            }
            _ => self.only_others(within),
        }
    }

    fn integer(
        &self,
        lookup: Option<&Lookup<i64>>,
        ordered: Option<&Ordered>,
        predicate: &Predicate,
        within: &RoaringBitmap,
    ) -> Answer {
        let any_of = |list: &[i64]| match (lookup, ordered) {
            (Some(lookup), _) => lookup.any_of(list.iter()) & within,
            (None, Some(ordered)) => {
                let keys = list.iter().map(|value| ordered::key_of_integer(*value));
                keys.fold(RoaringBitmap::new(), |found, key| found | ordered.range(&(key..=key), within))
            }
            (None, None) => unreachable!("an integer index has a lookup or an order"),
        };
        match predicate {
            Predicate::Match(Match::Integer(value)) => Answer::sure(any_of(&[*value])),
            Predicate::Match(Match::AnyInteger(list)) => Answer::sure(any_of(list)),
            Predicate::Match(Match::ExceptInteger(list)) => match lookup {
                // Whatever is no integer is not in the list.
                Some(lookup) => Answer::sure((lookup.other_than(list.iter(), &self.indexed) | &self.others) & within),
                None => self.any(within),
            },
            Predicate::Match(Match::ExceptKeyword(_)) => self.all_but_others(within),
            Predicate::Range(range) => {
                let Some(keys) = ordered::keys_of_integers(range) else { return self.only_others(within) };
                let sure = match (ordered, lookup) {
                    (Some(ordered), _) => ordered.range(&keys, within),
                    (None, Some(lookup)) => {
                        let from = lookup.dictionary.iter_from(&ordered::integer_of_key(*keys.start()));
                        let postings = from.take_while(|(value, _)| ordered::key_of_integer(**value) <= *keys.end());
                        union(postings.map(|(_, posting)| posting)) & within
                    }
                    (None, None) => unreachable!("an integer index has a lookup or an order"),
                };
                self.with_others(sure, within)
            }
            _ => self.only_others(within),
        }
    }

    fn float(&self, ordered: &Ordered, predicate: &Predicate, within: &RoaringBitmap) -> Answer {
        // An integer and the float next to it are one key: the payload tells them apart.
        let equal = |list: &[i64]| {
            let keys = list.iter().map(|value| ordered::key_of_float(*value as f64));
            Answer {
                sure: RoaringBitmap::new(),
                unsure: keys.fold(RoaringBitmap::new(), |found, key| found | ordered.range(&(key..=key), within)),
            }
        };
        match predicate {
            Predicate::Range(range) => {
                let keys = ordered::keys_of_floats(range);
                Answer::sure(keys.map(|keys| ordered.range(&keys, within)).unwrap_or_default())
            }
            Predicate::Match(Match::Integer(value)) => equal(&[*value]),
            Predicate::Match(Match::AnyInteger(list)) => equal(list),
            Predicate::Match(Match::ExceptInteger(_)) => self.any(within),
            Predicate::Match(Match::ExceptKeyword(_)) => self.all_but_others(within),
            _ => self.only_others(within),
        }
    }

    fn datetime(&self, ordered: &Ordered, predicate: &Predicate, within: &RoaringBitmap) -> Answer {
        let one_of = |texts: &[String]| {
            // The same text is the same instant; the payload tells other texts of it apart.
            let keys = texts.iter().filter_map(|text| Timestamp::parse(text));
            let keys = keys.map(|Timestamp(micros)| ordered::key_of_integer(micros));
            let equal = keys.fold(RoaringBitmap::new(), |found, key| found | ordered.range(&(key..=key), within));
            Answer { sure: RoaringBitmap::new(), unsure: equal | (&self.others & within) }
        };
        match predicate {
            Predicate::DatetimeRange(range) => {
                let keys = ordered::keys_of_instants(range);
                Answer::sure(keys.map(|keys| ordered.range(&keys, within)).unwrap_or_default())
            }
            Predicate::Match(Match::Keyword(text)) => one_of(std::slice::from_ref(text)),
            Predicate::Match(Match::AnyKeyword(list)) => one_of(list),
            Predicate::Match(Match::ExceptInteger(_)) => self.all_but_others(within),
            Predicate::Match(Match::Bool(_) | Match::Integer(_) | Match::AnyInteger(_))
            | Predicate::Range(_)
            | Predicate::GeoRadius(_)
            | Predicate::GeoBox(_)
            | Predicate::GeoPolygon(_) => self.only_others(within),
            _ => self.any(within),
        }
    }

    fn uuid(&self, lookup: &Lookup<Uuid>, predicate: &Predicate, within: &RoaringBitmap) -> Answer {
        // Slots among the others may have a UUID that is spelled in another way, so nothing is sure of them.
        let apart = |found: RoaringBitmap| self.with_others((found & within) - &self.others, within);
        let plain = |texts: &[String]| -> Vec<Uuid> {
            let parsed = texts.iter().filter_map(|text| Some((text, Uuid::try_parse(text).ok()?)));
            parsed.filter(|(text, uuid)| is_plain(uuid, text)).map(|(_, uuid)| uuid).collect()
        };
        match predicate {
            Predicate::Match(Match::Keyword(text)) => apart(lookup.any_of(plain(std::slice::from_ref(text)).iter())),
            Predicate::Match(Match::AnyKeyword(list)) => apart(lookup.any_of(plain(list).iter())),
            Predicate::Match(Match::ExceptKeyword(list)) => apart(lookup.other_than(plain(list).iter(), &self.indexed)),
            Predicate::Match(Match::ExceptInteger(_)) => self.all_but_others(within),
            Predicate::Match(Match::Bool(_) | Match::Integer(_) | Match::AnyInteger(_))
            | Predicate::Range(_)
            | Predicate::DatetimeRange(_)
            | Predicate::GeoRadius(_)
            | Predicate::GeoBox(_)
            | Predicate::GeoPolygon(_) => self.only_others(within),
            _ => self.any(within),
        }
    }

    fn text(&self, words: &Words, predicate: &Predicate, within: &RoaringBitmap) -> Answer {
        let with_same_words = |texts: &[String]| {
            // Equal texts have equal tokens; the payload tells which are equal.
            let of_one = |text: &String| {
                let tokens = self.document_tokens(text);
                if tokens.is_empty() { &self.indexed & within } else { words.with_all(&tokens, within) }
            };
            let unsure = texts.iter().map(of_one).fold(RoaringBitmap::new(), |found, slots| found | slots);
            Answer { sure: RoaringBitmap::new(), unsure }
        };
        match predicate {
            Predicate::Match(Match::Text(query)) => Answer::sure(words.with_all(&self.query_tokens(query), within)),
            Predicate::Match(Match::TextAny(query)) => Answer::sure(words.with_any(&self.query_tokens(query), within)),
            Predicate::Match(Match::Phrase(query)) if self.spec.has_phrases() => {
                Answer::sure(words.with_phrase(&self.document_tokens(query), within))
            }
            Predicate::Match(Match::Keyword(text)) => with_same_words(std::slice::from_ref(text)),
            Predicate::Match(Match::AnyKeyword(list)) => with_same_words(list),
            Predicate::Match(Match::Phrase(_) | Match::Prefix(_) | Match::Substring(_))
            | Predicate::DatetimeRange(_) => Answer { sure: RoaringBitmap::new(), unsure: &self.indexed & within },
            Predicate::Match(Match::ExceptKeyword(_)) => self.any(within),
            Predicate::Match(Match::ExceptInteger(_)) => self.all_but_others(within),
            _ => self.only_others(within),
        }
    }

    fn query_tokens(&self, text: &str) -> Vec<String> {
        self.spec.tokenizer().map(|tokenizer| tokenizer.query(text)).unwrap_or_default()
    }

    fn document_tokens(&self, text: &str) -> Vec<String> {
        self.spec.tokenizer().map(|tokenizer| tokenizer.document(text)).unwrap_or_default()
    }

    /// How many points (among `within`) have each value, by value ascending: of at most `values_max` values those that
    /// most points have, and of equals the smaller. `None`: not an index by value.
    pub fn facet(&self, within: Option<&RoaringBitmap>, values_max: usize) -> Option<Vec<FacetHit>> {
        fn hits<K: Ord + Clone>(counts: Vec<(&K, u64)>, value: impl Fn(&K) -> FacetValue) -> Vec<FacetHit> {
            counts.into_iter().map(|(key, count)| FacetHit { value: value(key), count }).collect()
        }
        let mut hits = match &self.kind {
            Kind::Keyword(lookup) => {
                hits(lookup.most(within, values_max), |key| FacetValue::Text(key.as_ref().to_owned()))
            }
            Kind::Integer { lookup: Some(lookup), .. } if self.has_lookup() => {
                hits(lookup.most(within, values_max), |key| FacetValue::Integer(*key))
            }
            Kind::Bool(lookup) => hits(lookup.most(within, values_max), |key| FacetValue::Bool(*key)),
            Kind::Uuid(lookup) => {
                hits(lookup.most(within, values_max), |key| FacetValue::Text(key.as_hyphenated().to_string()))
            }
            _ => return None,
        };
        hits.sort_unstable_by(|a, b| a.value.cmp(&b.value));
        Some(hits)
    }

    /// Whether an integer index was asked to find values.
    fn has_lookup(&self) -> bool {
        matches!(&self.spec.kind, FieldIndexKind::Integer(params) if params.lookup.unwrap_or(true))
    }

    /// The values in order. `None`: not an index with ranges.
    pub fn order(&self) -> Option<Order<'_>> {
        let (ordered, of) = match &self.kind {
            Kind::Integer { ordered: Some(ordered), .. } => (ordered, OrderOf::Integers),
            Kind::Float(ordered) => (ordered, OrderOf::Floats),
            Kind::Datetime(ordered) => (ordered, OrderOf::Instants),
            _ => return None,
        };
        Some(Order { ordered, of })
    }

    /// What scoring texts for `query` needs to know. `None`: not a text index with `scoring`.
    pub fn word_stats(&self, query: &str) -> Option<WordStats> {
        let words = self.scoring_words()?;
        let mut tokens = self.query_tokens(query);
        tokens.sort_unstable();
        tokens.dedup();
        Some(words.stats(&tokens))
    }

    /// The texts among `within` with one of the tokens of `bm25`, with their scores. `None`: not a text index with
    /// `scoring`.
    pub fn scores(&self, bm25: &Bm25Scoring<'_>, within: &RoaringBitmap) -> Option<Vec<(Slot, f32)>> {
        let mut scores = Vec::new();
        self.scoring_words()?.scores(bm25, within, |slot, score| scores.push((Slot(slot), score)));
        Some(scores)
    }

    fn scoring_words(&self) -> Option<&Words> {
        let is_scoring = self.spec.text_params().is_some_and(|params| params.scoring == Some(true));
        match &self.kind {
            Kind::Text(words) if is_scoring => Some(words),
            _ => None,
        }
    }

    /// Bytes of memory, roughly.
    pub fn memory_bytes(&self) -> usize {
        let kind = match &self.kind {
            Kind::Keyword(lookup) => lookup.memory_bytes(|key| key.len() + 16),
            Kind::Integer { lookup, ordered } => {
                lookup.as_ref().map_or(0, |lookup| lookup.memory_bytes(|_| 0))
                    + ordered.as_ref().map_or(0, Ordered::memory_bytes)
            }
            Kind::Float(ordered) | Kind::Datetime(ordered) => ordered.memory_bytes(),
            Kind::Bool(lookup) => lookup.memory_bytes(|_| 0),
            Kind::Uuid(lookup) => lookup.memory_bytes(|_| 0),
            Kind::Geo(places) => places.memory_bytes(),
            Kind::Text(words) => words.memory_bytes(),
        };
        let sets = self.lengths.values().chain([&self.nulls, &self.others, &self.indexed]);
        kind + sets.map(RoaringBitmap::serialized_size).sum::<usize>()
    }
}

impl Answer {
    fn sure(sure: RoaringBitmap) -> Answer {
        Answer { sure, unsure: RoaringBitmap::new() }
    }
}

impl<'a> Order<'a> {
    /// What lies in `direction` from `start` on, inclusive.
    pub fn keys(&self, direction: Direction, start: Option<StartFrom>) -> Option<RangeInclusive<Key>> {
        let Some(start) = start else { return Some(0..=Key::MAX) };
        let key = match (self.of, start) {
            (OrderOf::Floats, StartFrom::Integer(value) | StartFrom::Datetime(Timestamp(value))) => {
                ordered::key_of_float(value as f64)
            }
            (OrderOf::Floats, StartFrom::Float(value)) => ordered::key_of_float(value),
            (_, StartFrom::Integer(value) | StartFrom::Datetime(Timestamp(value))) => ordered::key_of_integer(value),
            (_, StartFrom::Float(value)) => {
                let bound = |is_asc: bool| (direction == Direction::Asc) == is_asc;
                return ordered::keys_of_integers(&Range {
                    lt: None,
                    lte: bound(false).then_some(value),
                    gt: None,
                    gte: bound(true).then_some(value),
                });
            }
        };
        Some(match direction {
            Direction::Asc => key..=Key::MAX,
            Direction::Desc => 0..=key,
        })
    }

    /// Pairs of a value's key and a slot that has it, in `direction`.
    pub fn iter(&self, keys: &RangeInclusive<Key>, direction: Direction) -> Box<dyn Iterator<Item = (Key, Slot)> + 'a> {
        let pairs = self.ordered.iter(keys).map(|(key, slot)| (key, Slot(slot)));
        match direction {
            Direction::Asc => Box::new(pairs),
            Direction::Desc => Box::new(pairs.rev()),
        }
    }

    /// How many pairs there are.
    pub fn len_of(&self, keys: &RangeInclusive<Key>) -> usize {
        self.ordered.len_of(keys)
    }

    /// The keys of the values at `slot`, ascending.
    pub fn keys_of(&self, Slot(slot): Slot) -> &'a [Key] {
        self.ordered.keys_of(slot)
    }

    /// The value of a key.
    pub fn value(&self, key: Key) -> OrderValue {
        match self.of {
            OrderOf::Integers | OrderOf::Instants => OrderValue::Integer(ordered::integer_of_key(key)),
            OrderOf::Floats => OrderValue::Float(ordered::float_of_key(key)),
        }
    }
}
