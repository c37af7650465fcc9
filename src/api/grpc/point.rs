//! Ids, points and selectors in; points and hits out (PROTOCOL sections 1, 2, 5, 20).

use super::filter::filter_from_wire;
use super::levels::wire_from_order_value;
use super::pb::{
    self, point_id::PointIdOptions, points_selector::PointsSelectorOneOf, read_consistency,
    with_payload_selector as with_payload, with_vectors_selector as with_vectors,
};
use super::shard_key::wire_from_key;
use super::value::{payload_from_wire, wire_from_payload};
use super::vector::{vectors_from_wire, wire_from_vectors};
use crate::api::checks::{self, At, Checked, Findings, each};
use crate::api::status::ApiError;
use crate::model::write::PointVectors;
use crate::model::{PayloadSelector, Point, PointId, PointSelector, Record, ScoredPoint, VectorSelector};
use crate::service::Consistency;

/// A message the protocol requires.
pub(super) fn required<T>(found: &mut Findings, at: At<'_>, wire: Option<T>) -> Checked<T> {
    match wire {
        Some(wire) => Ok(wire),
        None => found.refuse(ApiError::wrong_input(format_args!("`{at}` is required"))),
    }
}

/// An enumeration's value.
pub(super) fn choice_from_wire<T: TryFrom<i32>>(found: &mut Findings, at: At<'_>, wire: i32) -> Checked<T> {
    match T::try_from(wire) {
        Ok(choice) => Ok(choice),
        Err(_) => found.invalid(at, format!("value {wire} invalid, unknown")),
    }
}

/// An id.
pub(super) fn id_from_wire(found: &mut Findings, wire: Option<pb::PointId>) -> Checked<PointId> {
    match wire.and_then(|id| id.point_id_options) {
        Some(PointIdOptions::Num(num)) => Ok(PointId::Num(num)),
        Some(PointIdOptions::Uuid(text)) => match PointId::from_uuid_text(&text) {
            Ok(id) => Ok(id),
            Err(_) => found.refuse(ApiError::wrong_input(format_args!("Unable to parse UUID: {text}"))),
        },
        None => found.refuse(ApiError::wrong_input("a point id is neither a number nor a UUID")),
    }
}

/// A list of ids.
pub(super) fn ids_from_wire(found: &mut Findings, wire: Vec<pb::PointId>) -> Checked<Vec<PointId>> {
    wire.into_iter().map(|id| id_from_wire(found, Some(id))).collect()
}

/// An id of an answer.
pub(super) fn wire_from_id(id: PointId) -> pb::PointId {
    let options = match id {
        PointId::Num(num) => PointIdOptions::Num(num),
        PointId::Uuid(_) => PointIdOptions::Uuid(id.to_string()),
    };
    pb::PointId { point_id_options: Some(options) }
}

/// The points of an upsert.
pub(super) fn points_from_wire(found: &mut Findings, at: At<'_>, wire: Vec<pb::PointStruct>) -> Checked<Vec<Point>> {
    checks::not_empty(found, &wire)?;
    each(wire, |i, wire| {
        let at = at.item(i);
        let id = id_from_wire(found, wire.id);
        let vectors = vectors_from_wire(found, at.field("vectors"), wire.vectors);
        let payload = payload_from_wire(found, wire.payload)
            .and_then(|payload| checks::payload_depth(found, &payload, None).map(|()| payload));
        Ok(Point { id: id?, vectors: vectors?, payload: payload? })
    })
}

/// The points of an update of vectors.
pub(super) fn point_vectors_from_wire(
    found: &mut Findings,
    at: At<'_>,
    wire: Vec<pb::PointVectors>,
) -> Checked<Vec<PointVectors>> {
    if wire.is_empty() {
        return found.invalid(at, "must specify points to update");
    }
    each(wire, |i, wire| {
        let at = at.item(i);
        let id = id_from_wire(found, wire.id);
        let vectors = vectors_from_wire(found, at.field("vectors"), wire.vectors)?;
        checks::vectors_to_update(found, at.field("vectors"), &vectors)?;
        Ok(PointVectors { id: id?, vectors })
    })
}

/// Which points a write touches: ids, at least one, or a filter.
pub(super) fn selector_from_wire(
    found: &mut Findings,
    at: At<'_>,
    wire: Option<pb::PointsSelector>,
) -> Checked<PointSelector> {
    match wire.and_then(|selector| selector.points_selector_one_of) {
        Some(PointsSelectorOneOf::Points(list)) => {
            checks::not_empty(found, &list.ids)?;
            ids_from_wire(found, list.ids).map(PointSelector::Ids)
        }
        Some(PointsSelectorOneOf::Filter(filter)) => {
            filter_from_wire(found, at.field("filter"), filter).map(PointSelector::Filter)
        }
        None => found.refuse(ApiError::bad_request("No filter or points provided")),
    }
}

/// Which part of the payload a read returns; `absent` when the request does not say.
pub(super) fn with_payload_from_wire(
    found: &mut Findings,
    wire: Option<pb::WithPayloadSelector>,
    absent: PayloadSelector,
) -> Checked<PayloadSelector> {
    let Some(wire) = wire else { return Ok(absent) };
    let mut paths =
        |fields: Vec<String>| fields.iter().map(|field| checks::path(found, field)).collect::<Checked<Vec<_>>>();
    match wire.selector_options {
        Some(with_payload::SelectorOptions::Enable(true)) => Ok(PayloadSelector::All),
        Some(with_payload::SelectorOptions::Enable(false)) => Ok(PayloadSelector::None),
        Some(with_payload::SelectorOptions::Include(list)) => paths(list.fields).map(PayloadSelector::Include),
        Some(with_payload::SelectorOptions::Exclude(list)) => paths(list.fields).map(PayloadSelector::Exclude),
        None => found.refuse(ApiError::wrong_input("`with_payload` selects nothing")),
    }
}

/// Which vectors a read returns; none when the request does not say.
pub(super) fn with_vectors_from_wire(
    found: &mut Findings,
    wire: Option<pb::WithVectorsSelector>,
) -> Checked<VectorSelector> {
    let Some(wire) = wire else { return Ok(VectorSelector::None) };
    match wire.selector_options {
        Some(with_vectors::SelectorOptions::Enable(true)) => Ok(VectorSelector::All),
        Some(with_vectors::SelectorOptions::Enable(false)) => Ok(VectorSelector::None),
        Some(with_vectors::SelectorOptions::Include(list)) => Ok(VectorSelector::Names(list.names)),
        None => found.refuse(ApiError::wrong_input("`with_vectors` selects nothing")),
    }
}

/// How fresh a read must be.
pub(super) fn consistency_from_wire(found: &mut Findings, wire: Option<pb::ReadConsistency>) -> Checked<Consistency> {
    let at = At::Root.field("read_consistency");
    match wire.and_then(|consistency| consistency.value) {
        None => Ok(Consistency::Linearizable),
        Some(read_consistency::Value::Type(kind)) => {
            choice_from_wire::<pb::ReadConsistencyType>(found, at.field("type"), kind)
                .map(|_| Consistency::Linearizable)
        }
        Some(read_consistency::Value::Factor(factor)) => {
            checks::at_least(found, at.field("factor"), factor, 1).map(|_| Consistency::Any)
        }
    }
}

/// A point of a retrieve or a scroll.
pub(super) fn wire_from_record(record: Record) -> pb::RetrievedPoint {
    pb::RetrievedPoint {
        id: Some(wire_from_id(record.id)),
        payload: wire_from_payload(record.payload),
        vectors: record.vectors.map(wire_from_vectors),
        shard_key: record.shard_key.map(wire_from_key),
        order_value: record.order_value.map(wire_from_order_value),
    }
}

/// A hit of a search.
pub(super) fn wire_from_hit(hit: ScoredPoint) -> pb::ScoredPoint {
    pb::ScoredPoint {
        id: Some(wire_from_id(hit.id)),
        payload: wire_from_payload(hit.payload),
        score: hit.score,
        version: hit.version,
        vectors: hit.vectors.map(wire_from_vectors),
        shard_key: hit.shard_key.map(wire_from_key),
        order_value: hit.order_value.map(wire_from_order_value),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::{NamedVectors, Payload, Vector};

    const UUID: &str = "67e55044-10b1-426f-9247-bb680e5fe0c8";

    fn run<T>(convert: impl FnOnce(&mut Findings) -> Checked<T>) -> Result<T, String> {
        let mut found = Findings::new();
        let value = convert(&mut found);
        found.finish("body", value).map_err(|error| error.text)
    }

    fn num(num: u64) -> pb::PointId {
        pb::PointId { point_id_options: Some(PointIdOptions::Num(num)) }
    }

    fn uuid(text: &str) -> pb::PointId {
        pb::PointId { point_id_options: Some(PointIdOptions::Uuid(text.to_owned())) }
    }

    #[test]
    fn protocol_1_ids_in_all_forms_and_out_in_one() {
        let read = |id| run(|found| id_from_wire(found, id));
        assert_eq!(read(Some(num(u64::MAX))), Ok(PointId::Num(u64::MAX)));
        let id = PointId::from_uuid_text(UUID).unwrap();
        for text in [UUID, "67E5504410B1426F9247BB680E5FE0C8", "{67e55044-10b1-426f-9247-bb680e5fe0c8}"] {
            assert_eq!(read(Some(uuid(text))), Ok(id));
        }
        assert_eq!(wire_from_id(id), uuid(UUID));
        assert_eq!(wire_from_id(PointId::Num(7)), num(7));
        assert_eq!(read(Some(uuid("7"))), Err("Wrong input: Unable to parse UUID: 7".to_owned()));
        let none = "Wrong input: a point id is neither a number nor a UUID";
        assert_eq!(read(None), Err(none.to_owned()));
        assert_eq!(read(Some(pb::PointId::default())), Err(none.to_owned()));
    }

    #[test]
    fn points_are_read_whole_and_all_failures_together() {
        let at = At::Root.field("points");
        let vector = |data: &[f32]| {
            let dense = pb::vector::Vector::Dense(pb::DenseVector { data: data.to_vec() });
            let vector = pb::Vector { vector: Some(dense), ..Default::default() };
            Some(pb::Vectors { vectors_options: Some(pb::vectors::VectorsOptions::Vector(vector)) })
        };
        let point = |id, data: &[f32]| pb::PointStruct { id, vectors: vector(data), ..Default::default() };
        let read = |points| run(|found| points_from_wire(found, at, points));
        let vectors = NamedVectors::from([(String::new(), Vector::Dense(vec![1.0]))]);
        let want = Point { id: PointId::Num(1), vectors, payload: Payload::default() };
        assert_eq!(read(vec![point(Some(num(1)), &[1.0])]), Ok(vec![want]));
        assert_eq!(read(vec![]), Err("Bad request: Empty update request".to_owned()));
        let want = "Validation error in body: [points[0].vectors.vector.data: dense vector must not be empty; \
                    points[2].vectors.vector.data: dense vector must not be empty]";
        let points = vec![point(Some(num(1)), &[]), point(None, &[1.0]), point(Some(num(2)), &[])];
        assert_eq!(read(points), Err(want.to_owned()));
    }

    #[test]
    fn protocol_5_payload_selectors() {
        use with_payload::SelectorOptions as Options;
        let read = |wire, absent| run(|found| with_payload_from_wire(found, wire, absent));
        let options = |options| Some(pb::WithPayloadSelector { selector_options: Some(options) });
        let fields = || vec!["a.b".to_owned()];
        let paths = || vec!["a.b".parse().unwrap()];
        assert_eq!(read(None, PayloadSelector::None), Ok(PayloadSelector::None));
        assert_eq!(read(None, PayloadSelector::All), Ok(PayloadSelector::All));
        assert_eq!(read(options(Options::Enable(true)), PayloadSelector::None), Ok(PayloadSelector::All));
        assert_eq!(read(options(Options::Enable(false)), PayloadSelector::All), Ok(PayloadSelector::None));
        let include = Options::Include(pb::PayloadIncludeSelector { fields: fields() });
        assert_eq!(read(options(include), PayloadSelector::None), Ok(PayloadSelector::Include(paths())));
        let exclude = Options::Exclude(pb::PayloadExcludeSelector { fields: fields() });
        assert_eq!(read(options(exclude), PayloadSelector::None), Ok(PayloadSelector::Exclude(paths())));
        let empty = Some(pb::WithPayloadSelector { selector_options: None });
        assert_eq!(read(empty, PayloadSelector::All), Err("Wrong input: `with_payload` selects nothing".to_owned()));
        let bad = Options::Include(pb::PayloadIncludeSelector { fields: vec!["a..b".to_owned()] });
        assert_eq!(read(options(bad), PayloadSelector::All), Err("Wrong input: Invalid JSON path: `a..b`".to_owned()));
    }

    #[test]
    fn protocol_5_vector_selectors() {
        use with_vectors::SelectorOptions as Options;
        let read = |wire| run(|found| with_vectors_from_wire(found, wire));
        let options = |options| Some(pb::WithVectorsSelector { selector_options: Some(options) });
        let names = || vec![String::new(), "a".to_owned()];
        assert_eq!(read(None), Ok(VectorSelector::None));
        assert_eq!(read(options(Options::Enable(true))), Ok(VectorSelector::All));
        assert_eq!(read(options(Options::Enable(false))), Ok(VectorSelector::None));
        let include = Options::Include(pb::VectorsSelector { names: names() });
        assert_eq!(read(options(include)), Ok(VectorSelector::Names(names())));
    }

    #[test]
    fn consistency_levels() {
        use read_consistency::Value;
        let read = |value| run(|found| consistency_from_wire(found, Some(pb::ReadConsistency { value: Some(value) })));
        assert_eq!(run(|found| consistency_from_wire(found, None)), Ok(Consistency::Linearizable));
        for kind in 0..3 {
            assert_eq!(read(Value::Type(kind)), Ok(Consistency::Linearizable));
        }
        assert_eq!(read(Value::Factor(2)), Ok(Consistency::Any));
        let want = "Validation error in body: [read_consistency.factor: value 0 invalid, must be 1 or larger]";
        assert_eq!(read(Value::Factor(0)), Err(want.to_owned()));
        let want = "Validation error in body: [read_consistency.type: value 9 invalid, unknown]";
        assert_eq!(read(Value::Type(9)), Err(want.to_owned()));
    }

    #[test]
    fn hits_and_records_carry_what_was_asked_for() {
        let payload = Payload(json!({"a": 1}).as_object().unwrap().clone());
        let hit = wire_from_hit(ScoredPoint {
            id: PointId::Num(3),
            version: 9,
            score: 0.5,
            payload: Some(payload),
            vectors: None,
            order_value: None,
            shard_key: None,
        });
        assert_eq!((hit.id, hit.version, hit.score, hit.vectors), (Some(num(3)), 9, 0.5, None));
        assert_eq!(hit.payload.len(), 1);
        let record = wire_from_record(Record {
            id: PointId::Num(3),
            payload: None,
            vectors: Some(NamedVectors::new()),
            order_value: None,
            shard_key: None,
        });
        assert!(record.payload.is_empty());
        assert!(record.vectors.is_some());
    }
}
