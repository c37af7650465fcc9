//! What could be set up better: fields that reads filter by and that have no index for it.
//!
//! Noted as reads come in, where the missing index costs something, and forgotten when the index is made, when the
//! collection is deleted, or at will.

use std::collections::BTreeMap;

use parking_lot::Mutex;

use super::collections::now;
use super::seat::View;
use super::strict::missing_index;
use super::{Error, Service};
use crate::model::datetime::Timestamp;
use crate::model::query::QueryLevel;
use crate::model::{Filter, Path};

/// With fewer points a filter is evaluated on their payloads in some milliseconds.
const POINTS_MIN: u64 = 10_000;
/// A node's notes; further fields are not noted.
const NOTES_MAX: usize = 256;

/// A field that reads filter by, without an index of any of the kinds that could answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UnindexedField {
    /// The collection's own name.
    pub collection: String,
    /// The field.
    pub key: Path,
    /// Names of index types, one of which is needed; sorted.
    pub kinds: Vec<&'static str>,
    /// When it was first noted.
    pub noted_at: Timestamp,
}

/// The notes of a node.
#[derive(Default)]
pub(super) struct Advice {
    /// By the `created_index` of the collection and the field. Held for one look-up.
    notes: Mutex<BTreeMap<(u64, Path), Note>>,
}

struct Note {
    kinds: Vec<&'static str>,
    noted_at: Timestamp,
}

impl Service {
    /// Notes the field of `filter` that lacks an index, if the collection is large enough to need one.
    pub(super) fn note_filter(&self, view: &View, filter: Option<&Filter>) {
        let indexes = &view.collection.config.field_indexes;
        let Some((key, kinds)) = filter.and_then(|filter| missing_index(indexes, filter)) else { return };
        let points: u64 = view.here().map(|running| running.shard().point_count()).sum();
        if points < POINTS_MIN {
            return;
        }
        let mut notes = self.running.advice.notes.lock();
        let is_full = notes.len() >= NOTES_MAX;
        let place = (view.collection.created_index, key);
        if !is_full || notes.contains_key(&place) {
            notes.entry(place).or_insert_with(|| Note { kinds, noted_at: now() });
        }
    }

    /// As [`Service::note_filter`], of every level of a query.
    pub(super) fn note_level(&self, view: &View, level: &QueryLevel) {
        self.note_filter(view, level.filter.as_ref());
        level.prefetch.iter().for_each(|source| self.note_level(view, source));
    }

    /// Fields that were filtered by and still lack an index, by collection and field.
    pub fn unindexed_fields(&self) -> Result<Vec<UnindexedField>, Error> {
        let _inside = self.running.gate.enter()?;
        let state = self.running.meta.state();
        let collections: BTreeMap<u64, _> =
            state.collections().map(|collection| (collection.created_index, collection)).collect();
        let mut notes = self.running.advice.notes.lock();
        notes.retain(|(collection, key), note| {
            collections.get(collection).is_some_and(|collection| {
                let index = collection.config.field_indexes.get(key);
                index.is_none_or(|schema| !note.kinds.contains(&schema.kind.name()))
            })
        });
        let mut fields: Vec<UnindexedField> = notes
            .iter()
            .filter_map(|((collection, key), note)| {
                Some(UnindexedField {
                    collection: collections.get(collection)?.name.clone(),
                    key: key.clone(),
                    kinds: note.kinds.clone(),
                    noted_at: note.noted_at,
                })
            })
            .collect();
        fields.sort_by(|a, b| (&a.collection, &a.key).cmp(&(&b.collection, &b.key)));
        Ok(fields)
    }

    /// Forgets what was noted so far.
    pub fn forget_unindexed_fields(&self) -> Result<(), Error> {
        let _inside = self.running.gate.enter()?;
        self.running.advice.notes.lock().clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{Fixture, READ, WAIT};
    use super::*;
    use crate::model::field_index::{FieldIndexKind, FieldIndexSchema, KeywordParams, PlacementParams};
    use crate::model::filter::{FieldCondition, Match, Predicate};
    use crate::model::{Condition, Metric, NamedVectors, Payload, Point, PointId};

    fn filter() -> Filter {
        let rome = Predicate::Match(Match::Keyword("Rome".to_owned()));
        let city = FieldCondition { key: "city".parse().unwrap(), predicates: vec![rome] };
        Filter { must: vec![Condition::Field(city)], ..Filter::default() }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn clients_1_1_fields_filtered_by_without_an_index_are_told_until_they_have_one() {
        let fixture = Fixture::with(1, 2, Metric::Dot).await;
        let service = &fixture.service;
        let point = |id| Point { id: PointId::Num(id), vectors: NamedVectors::new(), payload: Payload::default() };
        fixture.upsert((1..POINTS_MIN).map(point).collect()).await;
        service.count("c", Some(filter()), READ).await.unwrap();
        assert_eq!(service.unindexed_fields().unwrap(), [], "small enough");

        fixture.upsert(vec![point(POINTS_MIN)]).await;
        for _ in 0..2 {
            service.count("c", Some(filter()), READ).await.unwrap();
        }
        let told = service.unindexed_fields().unwrap();
        assert_eq!(told.len(), 1);
        assert_eq!((told[0].collection.as_str(), told[0].key.to_string()), ("c", "city".to_owned()));
        assert_eq!(told[0].kinds, ["keyword"]);
        service.forget_unindexed_fields().unwrap();
        assert_eq!(service.unindexed_fields().unwrap(), []);

        service.count("c", Some(filter()), READ).await.unwrap();
        let kind = FieldIndexKind::Keyword(KeywordParams::default());
        let schema = FieldIndexSchema { kind, is_object: false, placement: PlacementParams::default() };
        assert_eq!(service.unindexed_fields().unwrap().len(), 1);
        service.create_field_index("c", "city".parse().unwrap(), schema, WAIT).await.unwrap();
        assert_eq!(service.unindexed_fields().unwrap(), []);
    }
}
