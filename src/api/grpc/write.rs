//! Changes of points in (PROTOCOL section 6).

// Deprecated forms of batch operations are still served.
#![allow(deprecated)]

use super::call::Times;
use super::filter::filter_if_given;
use super::pb::{self, points_update_operation as batch};
use super::point::{choice_from_wire, point_vectors_from_wire, points_from_wire, required, selector_from_wire};
use super::shard_key::keys_from_wire;
use super::value::payload_from_wire;
use crate::api::checks::{self, At, Checked, Findings, each};
use crate::model::collection::ShardKeySelector;
use crate::model::write::UpsertMode;
use crate::model::{Path, Payload, PointOp};
use crate::service::{Scope, WriteAck, WriteOptions, WriteStatus};
use std::collections::BTreeMap;

/// A change of points, to be answered as `options` say.
#[derive(Debug)]
pub(super) struct Write<T> {
    pub(super) scope: Scope,
    pub(super) change: T,
    pub(super) options: WriteOptions,
}

/// The fields every write has.
struct WriteParts {
    collection: String,
    wait: Option<bool>,
    ordering: Option<pb::WriteOrdering>,
    timeout: Option<u64>,
    times: Times,
}

/// A change with the shard keys it is meant for.
type Keyed = (Option<ShardKeySelector>, PointOp);

impl WriteParts {
    fn write(self, found: &mut Findings, keyed: Checked<Keyed>) -> Checked<Write<PointOp>> {
        let options = self.options(found);
        let (keys, change) = keyed?;
        Ok(Write { scope: Scope::keyed(self.collection, keys), change, options: options? })
    }

    fn write_batch(self, found: &mut Findings, keyed: Checked<Vec<Keyed>>) -> Checked<Write<Vec<PointOp>>> {
        let options = self.options(found);
        let (keys, change) = keyed?.into_iter().unzip();
        Ok(Write { scope: Scope::each(self.collection, keys), change, options: options? })
    }

    fn options(&self, found: &mut Findings) -> Checked<WriteOptions> {
        // Every write is ordered by its shard's log, so the weakest ordering is already strong.
        let ordering = self.ordering.map_or(Ok(()), |ordering| {
            choice_from_wire::<pb::WriteOrderingType>(found, At::Root.field("ordering"), ordering.r#type).map(drop)
        });
        let deadline = checks::deadline(found, At::Root.field("timeout"), self.times.started, self.timeout);
        ordering?;
        Ok(WriteOptions { wait: self.wait.unwrap_or(false), deadline: deadline? })
    }
}

/// Takes the fields every write has out of a message.
macro_rules! write_parts {
    ($wire:ident, $times:ident) => {
        WriteParts {
            collection: $wire.collection_name,
            wait: $wire.wait,
            ordering: $wire.ordering,
            timeout: $wire.timeout,
            times: $times,
        }
    };
}

pub(super) fn upsert(found: &mut Findings, wire: pb::UpsertPoints, times: Times) -> Checked<Write<PointOp>> {
    let list = batch::PointStructList {
        points: wire.points,
        shard_key_selector: wire.shard_key_selector,
        update_filter: wire.update_filter,
        update_mode: wire.update_mode,
    };
    let op = upsert_op(found, At::Root, list);
    write_parts!(wire, times).write(found, op)
}

pub(super) fn delete(found: &mut Findings, wire: pb::DeletePoints, times: Times) -> Checked<Write<PointOp>> {
    let points = batch::DeletePoints { points: wire.points, shard_key_selector: wire.shard_key_selector };
    let op = delete_op(found, At::Root, points);
    write_parts!(wire, times).write(found, op)
}

pub(super) fn update_vectors(
    found: &mut Findings,
    wire: pb::UpdatePointVectors,
    times: Times,
) -> Checked<Write<PointOp>> {
    let update = batch::UpdateVectors {
        points: wire.points,
        shard_key_selector: wire.shard_key_selector,
        update_filter: wire.update_filter,
    };
    let op = update_vectors_op(found, At::Root, update);
    write_parts!(wire, times).write(found, op)
}

pub(super) fn delete_vectors(
    found: &mut Findings,
    wire: pb::DeletePointVectors,
    times: Times,
) -> Checked<Write<PointOp>> {
    let vectors = batch::DeleteVectors {
        points_selector: wire.points_selector,
        vectors: wire.vectors,
        shard_key_selector: wire.shard_key_selector,
    };
    let op = delete_vectors_op(found, At::Root, vectors);
    write_parts!(wire, times).write(found, op)
}

pub(super) fn set_payload(found: &mut Findings, wire: pb::SetPayloadPoints, times: Times) -> Checked<Write<PointOp>> {
    let set = batch::SetPayload {
        payload: wire.payload,
        points_selector: wire.points_selector,
        shard_key_selector: wire.shard_key_selector,
        key: wire.key,
    };
    let op = set_payload_op(found, At::Root, set);
    write_parts!(wire, times).write(found, op)
}

pub(super) fn overwrite_payload(
    found: &mut Findings,
    wire: pb::SetPayloadPoints,
    times: Times,
) -> Checked<Write<PointOp>> {
    let overwrite = batch::OverwritePayload {
        payload: wire.payload,
        points_selector: wire.points_selector,
        shard_key_selector: wire.shard_key_selector,
        key: wire.key,
    };
    let op = overwrite_payload_op(found, At::Root, overwrite);
    write_parts!(wire, times).write(found, op)
}

pub(super) fn delete_payload(
    found: &mut Findings,
    wire: pb::DeletePayloadPoints,
    times: Times,
) -> Checked<Write<PointOp>> {
    let delete = batch::DeletePayload {
        keys: wire.keys,
        points_selector: wire.points_selector,
        shard_key_selector: wire.shard_key_selector,
    };
    let op = delete_payload_op(found, At::Root, delete);
    write_parts!(wire, times).write(found, op)
}

pub(super) fn clear_payload(
    found: &mut Findings,
    wire: pb::ClearPayloadPoints,
    times: Times,
) -> Checked<Write<PointOp>> {
    let clear = batch::ClearPayload { points: wire.points, shard_key_selector: wire.shard_key_selector };
    let op = clear_payload_op(found, At::Root, clear);
    write_parts!(wire, times).write(found, op)
}

pub(super) fn update_batch(
    found: &mut Findings,
    wire: pb::UpdateBatchPoints,
    times: Times,
) -> Checked<Write<Vec<PointOp>>> {
    let at = At::Root.field("operations");
    let ops = each(wire.operations, |i, wire| {
        let at = at.item(i);
        let operation = required(found, at, wire.operation)?;
        batch_op(found, at, operation)
    });
    write_parts!(wire, times).write_batch(found, ops)
}

fn batch_op(found: &mut Findings, at: At<'_>, operation: batch::Operation) -> Checked<Keyed> {
    use batch::Operation as Op;
    match operation {
        Op::Upsert(wire) => upsert_op(found, at.field("upsert"), wire),
        Op::DeletePoints(wire) => delete_op(found, at.field("delete_points"), wire),
        Op::DeleteDeprecated(points) => {
            let wire = batch::DeletePoints { points: Some(points), shard_key_selector: None };
            delete_op(found, at.field("delete_deprecated"), wire)
        }
        Op::SetPayload(wire) => set_payload_op(found, at.field("set_payload"), wire),
        Op::OverwritePayload(wire) => overwrite_payload_op(found, at.field("overwrite_payload"), wire),
        Op::DeletePayload(wire) => delete_payload_op(found, at.field("delete_payload"), wire),
        Op::ClearPayload(wire) => clear_payload_op(found, at.field("clear_payload"), wire),
        Op::ClearPayloadDeprecated(points) => {
            let wire = batch::ClearPayload { points: Some(points), shard_key_selector: None };
            clear_payload_op(found, at.field("clear_payload_deprecated"), wire)
        }
        Op::UpdateVectors(wire) => update_vectors_op(found, at.field("update_vectors"), wire),
        Op::DeleteVectors(wire) => delete_vectors_op(found, at.field("delete_vectors"), wire),
    }
}

fn upsert_op(found: &mut Findings, at: At<'_>, wire: batch::PointStructList) -> Checked<Keyed> {
    let shard_keys = keys_from_wire(found, at, wire.shard_key_selector);
    let mode = match wire.update_mode {
        None => Ok(pb::UpdateMode::Upsert),
        Some(mode) => choice_from_wire(found, at.field("update_mode"), mode),
    };
    let update_filter = filter_if_given(found, at.field("update_filter"), wire.update_filter);
    let points = points_from_wire(found, at.field("points"), wire.points);
    let mode = match mode? {
        pb::UpdateMode::Upsert => UpsertMode::Upsert,
        pb::UpdateMode::InsertOnly => UpsertMode::InsertOnly,
        pb::UpdateMode::UpdateOnly => UpsertMode::UpdateOnly,
    };
    Ok((shard_keys?, PointOp::Upsert { points: points?, mode, update_filter: update_filter? }))
}

fn delete_op(found: &mut Findings, at: At<'_>, wire: batch::DeletePoints) -> Checked<Keyed> {
    let shard_keys = keys_from_wire(found, at, wire.shard_key_selector);
    let select = selector_from_wire(found, at.field("points"), wire.points)?;
    Ok((shard_keys?, PointOp::Delete { select }))
}

fn update_vectors_op(found: &mut Findings, at: At<'_>, wire: batch::UpdateVectors) -> Checked<Keyed> {
    let shard_keys = keys_from_wire(found, at, wire.shard_key_selector);
    let update_filter = filter_if_given(found, at.field("update_filter"), wire.update_filter);
    let points = point_vectors_from_wire(found, at.field("points"), wire.points);
    Ok((shard_keys?, PointOp::UpdateVectors { points: points?, update_filter: update_filter? }))
}

fn delete_vectors_op(found: &mut Findings, at: At<'_>, wire: batch::DeleteVectors) -> Checked<Keyed> {
    let shard_keys = keys_from_wire(found, at, wire.shard_key_selector);
    let select = selector_from_wire(found, at.field("points_selector"), wire.points_selector);
    let names = wire.vectors.unwrap_or_default().names;
    if names.is_empty() {
        return found.invalid(at.field("vectors"), "must specify vector names to delete");
    }
    Ok((shard_keys?, PointOp::DeleteVectors { select: select?, names }))
}

fn set_payload_op(found: &mut Findings, at: At<'_>, wire: batch::SetPayload) -> Checked<Keyed> {
    let shard_keys = keys_from_wire(found, at, wire.shard_key_selector);
    let select = selector_from_wire(found, at.field("points_selector"), wire.points_selector);
    let (payload, key) = payload_at(found, wire.payload, wire.key)?;
    Ok((shard_keys?, PointOp::SetPayload { select: select?, payload, key }))
}

fn overwrite_payload_op(found: &mut Findings, at: At<'_>, wire: batch::OverwritePayload) -> Checked<Keyed> {
    let shard_keys = keys_from_wire(found, at, wire.shard_key_selector);
    let select = selector_from_wire(found, at.field("points_selector"), wire.points_selector);
    let (payload, key) = payload_at(found, wire.payload, wire.key)?;
    Ok((shard_keys?, PointOp::OverwritePayload { select: select?, payload, key }))
}

fn delete_payload_op(found: &mut Findings, at: At<'_>, wire: batch::DeletePayload) -> Checked<Keyed> {
    let shard_keys = keys_from_wire(found, at, wire.shard_key_selector);
    let select = selector_from_wire(found, at.field("points_selector"), wire.points_selector);
    let keys = each(wire.keys, |_, key| checks::path(found, &key));
    Ok((shard_keys?, PointOp::DeletePayload { select: select?, keys: keys? }))
}

fn clear_payload_op(found: &mut Findings, at: At<'_>, wire: batch::ClearPayload) -> Checked<Keyed> {
    let shard_keys = keys_from_wire(found, at, wire.shard_key_selector);
    let select = selector_from_wire(found, at.field("points"), wire.points)?;
    Ok((shard_keys?, PointOp::ClearPayload { select }))
}

/// A payload and the path it is set at.
fn payload_at(
    found: &mut Findings,
    payload: BTreeMap<String, pb::Value>,
    key: Option<String>,
) -> Checked<(Payload, Option<Path>)> {
    let key = key.map(|key| checks::path(found, &key)).transpose();
    let payload = payload_from_wire(found, payload)?;
    let key = key?;
    checks::payload_depth(found, &payload, key.as_ref())?;
    Ok((payload, key))
}

/// The answer to one change.
pub(super) fn wire_from_ack(ack: WriteAck) -> pb::UpdateResult {
    let status = match ack.status {
        WriteStatus::Acknowledged => pb::UpdateStatus::Acknowledged,
        WriteStatus::Completed => pb::UpdateStatus::Completed,
        WriteStatus::WaitTimeout => pb::UpdateStatus::WaitTimeout,
    };
    pb::UpdateResult { operation_id: Some(ack.operation_id), status: status as i32 }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use serde_json::json;

    use super::*;
    use crate::api::grpc::pb::{point_id::PointIdOptions, points_selector::PointsSelectorOneOf, value::Kind};
    use crate::model::collection::ShardKey;
    use crate::model::write::PointVectors;
    use crate::model::{Filter, NamedVectors, Point, PointId, PointSelector, Vector};

    fn run<T>(convert: impl FnOnce(&mut Findings) -> Checked<T>) -> Result<T, String> {
        let mut found = Findings::new();
        let value = convert(&mut found);
        found.finish("body", value).map_err(|error| error.text)
    }

    fn times() -> Times {
        let started = Instant::now();
        Times { started, latest: Some(started + Duration::from_secs(60)) }
    }

    fn id(num: u64) -> pb::PointId {
        pb::PointId { point_id_options: Some(PointIdOptions::Num(num)) }
    }

    fn points(ids: &[u64]) -> Option<pb::PointsSelector> {
        let list = pb::PointsIdsList { ids: ids.iter().copied().map(id).collect() };
        Some(pb::PointsSelector { points_selector_one_of: Some(PointsSelectorOneOf::Points(list)) })
    }

    fn everything() -> Option<pb::PointsSelector> {
        let filter = PointsSelectorOneOf::Filter(pb::Filter::default());
        Some(pb::PointsSelector { points_selector_one_of: Some(filter) })
    }

    fn vectors(data: &[f32]) -> Option<pb::Vectors> {
        let vector = pb::Vector { data: data.to_vec(), ..Default::default() };
        Some(pb::Vectors { vectors_options: Some(pb::vectors::VectorsOptions::Vector(vector)) })
    }

    fn point(num: u64) -> pb::PointStruct {
        pb::PointStruct { id: Some(id(num)), vectors: vectors(&[1.0]), ..Default::default() }
    }

    fn unnamed(data: &[f32]) -> NamedVectors {
        NamedVectors::from([(String::new(), Vector::Dense(data.to_vec()))])
    }

    fn wire_payload() -> BTreeMap<String, pb::Value> {
        BTreeMap::from([("a".to_owned(), pb::Value { kind: Some(Kind::IntegerValue(1)) })])
    }

    fn payload() -> Payload {
        Payload(json!({"a": 1}).as_object().unwrap().clone())
    }

    fn ids(nums: &[u64]) -> PointSelector {
        PointSelector::Ids(nums.iter().copied().map(PointId::Num).collect())
    }

    fn shard_key() -> Option<pb::ShardKeySelector> {
        let key = pb::shard_key::Key::Keyword("k".to_owned());
        Some(pb::ShardKeySelector { shard_keys: vec![pb::ShardKey { key: Some(key) }], fallback: None })
    }

    #[test]
    fn protocol_20_absent_wait_is_false_and_timeouts_become_deadlines() {
        let times = times();
        let read = |wait, timeout| {
            let wire = pb::DeletePoints { wait, timeout, points: everything(), ..Default::default() };
            run(|found| delete(found, wire, times)).map(|write| (write.options.wait, write.options.deadline))
        };
        assert_eq!(read(None, None), Ok((false, None)));
        assert_eq!(read(Some(true), Some(3)), Ok((true, Some(times.started + Duration::from_secs(3)))));
        assert_eq!(read(None, Some(u64::MAX)), Ok((false, None)));
        let want = "Validation error in body: [timeout: value 0 invalid, must be 1 or larger]";
        assert_eq!(read(None, Some(0)), Err(want.to_owned()));
        let ordering = Some(pb::WriteOrdering { r#type: 3 });
        let wire = pb::DeletePoints { ordering, points: everything(), ..Default::default() };
        let want = "Validation error in body: [ordering: value 3 invalid, unknown]";
        assert_eq!(run(|found| delete(found, wire, times)).unwrap_err(), want);
    }

    #[test]
    fn upsert_with_filter_and_mode() {
        let read = |update_mode| {
            let wire = pb::UpsertPoints {
                collection_name: "c".to_owned(),
                points: vec![point(1)],
                update_filter: Some(pb::Filter::default()),
                update_mode,
                ..Default::default()
            };
            run(|found| upsert(found, wire, times())).map(|write| {
                assert_eq!(write.scope, Scope::keyed("c", None));
                write.change
            })
        };
        let want = |mode| {
            let point = Point { id: PointId::Num(1), vectors: unnamed(&[1.0]), payload: Payload::default() };
            Ok(PointOp::Upsert { points: vec![point], mode, update_filter: Some(Filter::default()) })
        };
        assert_eq!(read(None), want(UpsertMode::Upsert));
        assert_eq!(read(Some(0)), want(UpsertMode::Upsert));
        assert_eq!(read(Some(1)), want(UpsertMode::InsertOnly));
        assert_eq!(read(Some(2)), want(UpsertMode::UpdateOnly));
        let want = "Validation error in body: [update_mode: value 3 invalid, unknown]";
        assert_eq!(read(Some(3)), Err(want.to_owned()));
    }

    #[test]
    fn each_change_of_a_batch_equals_its_own_method() {
        use batch::Operation as Op;
        let times = times();
        let keys = || vec!["a.b".to_owned()];
        let names = || Some(pb::VectorsSelector { names: vec!["v".to_owned()] });
        let vectors_of = || vec![pb::PointVectors { id: Some(id(1)), vectors: vectors(&[2.0]) }];
        let set = || pb::SetPayloadPoints {
            payload: wire_payload(),
            points_selector: points(&[1]),
            key: Some("k".to_owned()),
            ..Default::default()
        };
        let methods = vec![
            run(|found| upsert(found, pb::UpsertPoints { points: vec![point(1)], ..Default::default() }, times)),
            run(|found| delete(found, pb::DeletePoints { points: points(&[1, 2]), ..Default::default() }, times)),
            run(|found| delete(found, pb::DeletePoints { points: everything(), ..Default::default() }, times)),
            run(|found| set_payload(found, set(), times)),
            run(|found| overwrite_payload(found, set(), times)),
            run(|found| {
                let points_selector = points(&[1]);
                delete_payload(
                    found,
                    pb::DeletePayloadPoints { keys: keys(), points_selector, ..Default::default() },
                    times,
                )
            }),
            run(|found| {
                clear_payload(found, pb::ClearPayloadPoints { points: points(&[1]), ..Default::default() }, times)
            }),
            run(|found| {
                clear_payload(found, pb::ClearPayloadPoints { points: points(&[1]), ..Default::default() }, times)
            }),
            run(|found| {
                update_vectors(found, pb::UpdatePointVectors { points: vectors_of(), ..Default::default() }, times)
            }),
            run(|found| {
                let points_selector = points(&[1]);
                let wire = pb::DeletePointVectors { points_selector, vectors: names(), ..Default::default() };
                delete_vectors(found, wire, times)
            }),
        ];
        let methods: Vec<PointOp> = methods.into_iter().map(|write| write.unwrap().change).collect();
        let key = || Some("k".parse().unwrap());
        let want = vec![
            PointOp::Upsert {
                points: vec![Point { id: PointId::Num(1), vectors: unnamed(&[1.0]), payload: Payload::default() }],
                mode: UpsertMode::Upsert,
                update_filter: None,
            },
            PointOp::Delete { select: ids(&[1, 2]) },
            PointOp::Delete { select: PointSelector::Filter(Filter::default()) },
            PointOp::SetPayload { select: ids(&[1]), payload: payload(), key: key() },
            PointOp::OverwritePayload { select: ids(&[1]), payload: payload(), key: key() },
            PointOp::DeletePayload { select: ids(&[1]), keys: vec!["a.b".parse().unwrap()] },
            PointOp::ClearPayload { select: ids(&[1]) },
            PointOp::ClearPayload { select: ids(&[1]) },
            PointOp::UpdateVectors {
                points: vec![PointVectors { id: PointId::Num(1), vectors: unnamed(&[2.0]) }],
                update_filter: None,
            },
            PointOp::DeleteVectors { select: ids(&[1]), names: vec!["v".to_owned()] },
        ];
        assert_eq!(methods, want);

        let operations = vec![
            Op::Upsert(batch::PointStructList { points: vec![point(1)], ..Default::default() }),
            Op::DeletePoints(batch::DeletePoints { points: points(&[1, 2]), ..Default::default() }),
            Op::DeleteDeprecated(everything().unwrap()),
            Op::SetPayload(batch::SetPayload {
                payload: wire_payload(),
                points_selector: points(&[1]),
                key: Some("k".to_owned()),
                ..Default::default()
            }),
            Op::OverwritePayload(batch::OverwritePayload {
                payload: wire_payload(),
                points_selector: points(&[1]),
                key: Some("k".to_owned()),
                ..Default::default()
            }),
            Op::DeletePayload(batch::DeletePayload {
                keys: keys(),
                points_selector: points(&[1]),
                ..Default::default()
            }),
            Op::ClearPayload(batch::ClearPayload { points: points(&[1]), ..Default::default() }),
            Op::ClearPayloadDeprecated(points(&[1]).unwrap()),
            Op::UpdateVectors(batch::UpdateVectors { points: vectors_of(), ..Default::default() }),
            Op::DeleteVectors(batch::DeleteVectors {
                points_selector: points(&[1]),
                vectors: names(),
                ..Default::default()
            }),
        ];
        let operations =
            operations.into_iter().map(|operation| pb::PointsUpdateOperation { operation: Some(operation) }).collect();
        let wire = pb::UpdateBatchPoints { operations, ..Default::default() };
        assert_eq!(run(|found| update_batch(found, wire, times)).unwrap().change, want);
    }

    #[test]
    fn protocol_6_2_errors() {
        let deleted = |points| {
            let wire = pb::DeletePoints { points, ..Default::default() };
            run(|found| delete(found, wire, times())).unwrap_err()
        };
        assert_eq!(deleted(points(&[])), "Bad request: Empty update request");
        assert_eq!(deleted(None), "Bad request: No filter or points provided");
        assert_eq!(deleted(Some(pb::PointsSelector::default())), "Bad request: No filter or points provided");

        let updated = |points| {
            let wire = pb::UpdatePointVectors { points, ..Default::default() };
            run(|found| update_vectors(found, wire, times())).unwrap_err()
        };
        assert_eq!(updated(vec![]), "Validation error in body: [points: must specify points to update]");
        assert_eq!(
            updated(vec![pb::PointVectors { id: Some(id(1)), vectors: None }]),
            "Validation error in body: [points[0].vectors: must specify vectors to update for point]"
        );

        let wire = pb::DeletePointVectors { points_selector: points(&[1]), ..Default::default() };
        assert_eq!(
            run(|found| delete_vectors(found, wire, times())).unwrap_err(),
            "Validation error in body: [vectors: must specify vector names to delete]"
        );

        let wire = pb::UpdateBatchPoints { operations: vec![Default::default()], ..Default::default() };
        assert_eq!(
            run(|found| update_batch(found, wire, times())).unwrap_err(),
            "Wrong input: `operations[0]` is required"
        );
        let key = Some("[".to_owned());
        let wire = pb::SetPayloadPoints { points_selector: points(&[1]), key, ..Default::default() };
        assert_eq!(run(|found| set_payload(found, wire, times())).unwrap_err(), "Wrong input: Invalid JSON path: `[`");
    }

    #[test]
    fn s18_every_change_may_name_shard_keys() {
        let writes = [
            run(|found| {
                let wire =
                    pb::UpsertPoints { points: vec![point(1)], shard_key_selector: shard_key(), ..Default::default() };
                upsert(found, wire, times())
            }),
            run(|found| {
                let wire =
                    pb::DeletePoints { points: points(&[1]), shard_key_selector: shard_key(), ..Default::default() };
                delete(found, wire, times())
            }),
            run(|found| {
                let vectors = vec![pb::PointVectors { id: Some(id(1)), vectors: vectors(&[2.0]) }];
                let wire =
                    pb::UpdatePointVectors { points: vectors, shard_key_selector: shard_key(), ..Default::default() };
                update_vectors(found, wire, times())
            }),
            run(|found| {
                let names = Some(pb::VectorsSelector { names: vec!["v".to_owned()] });
                let wire = pb::DeletePointVectors {
                    points_selector: points(&[1]),
                    vectors: names,
                    shard_key_selector: shard_key(),
                    ..Default::default()
                };
                delete_vectors(found, wire, times())
            }),
            run(|found| {
                let wire = pb::SetPayloadPoints {
                    points_selector: points(&[1]),
                    shard_key_selector: shard_key(),
                    ..Default::default()
                };
                set_payload(found, wire, times())
            }),
            run(|found| {
                let wire = pb::SetPayloadPoints {
                    points_selector: points(&[1]),
                    shard_key_selector: shard_key(),
                    ..Default::default()
                };
                overwrite_payload(found, wire, times())
            }),
            run(|found| {
                let wire = pb::DeletePayloadPoints {
                    points_selector: points(&[1]),
                    shard_key_selector: shard_key(),
                    ..Default::default()
                };
                delete_payload(found, wire, times())
            }),
            run(|found| {
                let wire = pb::ClearPayloadPoints {
                    points: points(&[1]),
                    shard_key_selector: shard_key(),
                    ..Default::default()
                };
                clear_payload(found, wire, times())
            }),
        ];
        let keys = || Some(ShardKeySelector::Keys(vec![ShardKey::Keyword("k".to_owned())]));
        for write in writes {
            assert_eq!(write.unwrap().scope, Scope::keyed("", keys()));
        }
        let entry = |shard_key_selector| pb::PointsUpdateOperation {
            operation: Some(batch::Operation::DeletePoints(batch::DeletePoints {
                points: points(&[1]),
                shard_key_selector,
            })),
        };
        let operations = vec![entry(shard_key()), entry(None)];
        let wire = pb::UpdateBatchPoints { collection_name: "c".to_owned(), operations, ..Default::default() };
        let read = run(|found| update_batch(found, wire, times())).unwrap();
        assert_eq!(read.scope, Scope::each("c", vec![keys(), None]));
    }

    #[test]
    fn protocol_20_update_status_numbers() {
        let number = |status| {
            let result = wire_from_ack(WriteAck { operation_id: 7, status });
            assert_eq!(result.operation_id, Some(7));
            result.status
        };
        assert_eq!(number(WriteStatus::Acknowledged), 1);
        assert_eq!(number(WriteStatus::Completed), 2);
        assert_eq!(number(WriteStatus::WaitTimeout), 4);
    }
}
