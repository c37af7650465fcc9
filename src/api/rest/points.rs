//! Changes of points (PROTOCOL section 6). Every change is one body type that turns into one operation, alone or in a
//! batch.

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::call::BodyCall;
use super::envelope::{Envelope, answer_with_usage};
use super::filter::{self, FilterBody};
use super::records::UpdateOut;
use super::selectors::paths;
use super::shapes::{Id, Keys, ids, shard_keys};
use super::vectors::{OneVector, PointVectors, VectorLists};
use crate::api::checks::{self, At, Checked, Findings};
use crate::api::inference::Purpose;
use crate::api::status::ApiError;
use crate::model::write::{self, UpsertMode};
use crate::model::{NamedVectors, Path, Payload, Point, PointOp, PointSelector};
use crate::service::Scope;

/// A body that asks for one change of points.
pub(super) trait Change: DeserializeOwned + Send + 'static {
    /// The checked change. `at` is where the body stands.
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<PointOp>;

    /// Takes out the shard keys it is meant for.
    fn take_keys(&mut self) -> Option<Keys>;
}

/// Answers any of the changes.
pub(super) async fn write<C: Change>(BodyCall { call, mut body }: BodyCall<String, C>) -> Envelope<UpdateOut> {
    let options = call.write_options()?;
    let scope = Scope::keyed(&call.path, shard_keys(body.take_keys()));
    let (op, usage) = call.converted(move |found| body.convert(found, At::Root)).await?;
    let ack = call.within_limit(call.rest.service.write(scope, op, options)).await??;
    answer_with_usage(call.started, UpdateOut::from(ack), &usage)
}

/// Answers a batch of changes.
pub(super) async fn write_batch(BodyCall { call, mut body }: BodyCall<String, Batch>) -> Envelope<Vec<UpdateOut>> {
    let options = call.write_options()?;
    let keys = body.operations.iter_mut().map(|operation| shard_keys(operation.take_keys())).collect();
    let scope = Scope::each(&call.path, keys);
    let (ops, usage) = call.converted(|found| body.convert(found)).await?;
    let acks = call.within_limit(call.rest.service.write_batch(scope, ops, options)).await??;
    answer_with_usage(call.started, acks.into_iter().map(UpdateOut::from).collect(), &usage)
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "PointOperations")]
pub(super) struct Batch {
    operations: Vec<Operation>,
}

impl Batch {
    pub(super) fn convert(self, found: &mut Findings) -> Checked<Vec<PointOp>> {
        let root = At::Root;
        let at = root.field("operations");
        checks::each(self.operations, |i, operation| operation.convert(found, at.item(i)))
    }
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "PointOperation")]
#[serde(rename_all = "snake_case")]
enum Operation {
    Upsert(Upsert),
    Delete(Delete),
    UpdateVectors(UpdateVectors),
    DeleteVectors(DeleteVectors),
    SetPayload(SetPayload),
    OverwritePayload(OverwritePayload),
    DeletePayload(DeletePayload),
    ClearPayload(ClearPayload),
}

impl Operation {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<PointOp> {
        match self {
            Operation::Upsert(body) => body.convert(found, at.field("upsert")),
            Operation::Delete(body) => body.convert(found, at.field("delete")),
            Operation::UpdateVectors(body) => body.convert(found, at.field("update_vectors")),
            Operation::DeleteVectors(body) => body.convert(found, at.field("delete_vectors")),
            Operation::SetPayload(body) => body.convert(found, at.field("set_payload")),
            Operation::OverwritePayload(body) => body.convert(found, at.field("overwrite_payload")),
            Operation::DeletePayload(body) => body.convert(found, at.field("delete_payload")),
            Operation::ClearPayload(body) => body.convert(found, at.field("clear_payload")),
        }
    }

    fn take_keys(&mut self) -> Option<Keys> {
        match self {
            Operation::Upsert(body) => body.take_keys(),
            Operation::Delete(body) => body.take_keys(),
            Operation::UpdateVectors(body) => body.take_keys(),
            Operation::DeleteVectors(body) => body.take_keys(),
            Operation::SetPayload(body) => body.take_keys(),
            Operation::OverwritePayload(body) => body.take_keys(),
            Operation::DeletePayload(body) => body.take_keys(),
            Operation::ClearPayload(body) => body.take_keys(),
        }
    }
}

/// Upsert, as a list of points or as parallel lists.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "UpsertPoints")]
pub(super) struct Upsert {
    points: Option<Vec<PointBody>>,
    batch: Option<PointLists>,
    update_filter: Option<FilterBody>,
    update_mode: Option<Mode>,
    shard_key: Option<Keys>,
}

#[derive(Clone, Copy, Deserialize, JsonSchema)]
#[schemars(rename = "UpdateMode")]
#[serde(rename_all = "snake_case")]
enum Mode {
    Upsert,
    InsertOnly,
    UpdateOnly,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Point")]
struct PointBody {
    id: Id,
    #[serde(alias = "vectors")]
    vector: PointVectors,
    payload: Option<Map<String, Value>>,
}

#[derive(Deserialize, JsonSchema)]
struct PointLists {
    ids: Vec<Id>,
    vectors: VectorLists,
    payloads: Option<Vec<Option<Map<String, Value>>>>,
}

impl Change for Upsert {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<PointOp> {
        let points = match (self.points, self.batch) {
            (Some(points), _) => {
                let at = at.field("points");
                checks::each(points, |i, point| point.convert(found, at.item(i)))
            }
            (None, Some(lists)) => lists.convert(found, at.field("batch")),
            (None, None) => found.malformed("one of `points` and `batch` is needed"),
        };
        let update_filter = filter::filter(found, at.field("update_filter"), self.update_filter);
        let points = points?;
        checks::not_empty(found, &points)?;
        let mode = match self.update_mode {
            None | Some(Mode::Upsert) => UpsertMode::Upsert,
            Some(Mode::InsertOnly) => UpsertMode::InsertOnly,
            Some(Mode::UpdateOnly) => UpsertMode::UpdateOnly,
        };
        Ok(PointOp::Upsert { points, mode, update_filter: update_filter? })
    }

    fn take_keys(&mut self) -> Option<Keys> {
        self.shard_key.take()
    }
}

impl PointBody {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<Point> {
        let vectors = self.vector.convert(found, at.field("vector"))?;
        Ok(Point { id: self.id.0, vectors, payload: Payload(self.payload.unwrap_or_default()) })
    }
}

impl PointLists {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<Vec<Point>> {
        let PointLists { ids, vectors, payloads } = self;
        let count = ids.len();
        let vectors = named_lists(vectors);
        let wrong_length = vectors.iter().map(|(_, list)| list.len()).find(|length| *length != count);
        if let Some(length) = wrong_length {
            return found.invalid(at, format!("number of ids and vectors must be equal ({count} != {length})"));
        }
        if let Some(payloads) = payloads.as_ref().filter(|payloads| payloads.len() != count) {
            let length = payloads.len();
            return found.invalid(at, format!("number of ids and payloads must be equal ({count} != {length})"));
        }
        let mut points: Vec<Point> = ids
            .into_iter()
            .map(|Id(id)| Point { id, vectors: NamedVectors::new(), payload: Payload::default() })
            .collect();
        for (point, payload) in points.iter_mut().zip(payloads.into_iter().flatten()) {
            point.payload = Payload(payload.unwrap_or_default());
        }
        let at = at.field("vectors");
        for (name, list) in vectors {
            let list = checks::each(list, |i, vector| vector.convert(found, at.item(i), Purpose::Store))?;
            for (point, vector) in points.iter_mut().zip(list) {
                point.vectors.insert(name.clone(), vector);
            }
        }
        Ok(points)
    }
}

fn named_lists(lists: VectorLists) -> Vec<(String, Vec<OneVector>)> {
    match lists {
        VectorLists::Bare(list) => vec![(String::new(), list)],
        VectorLists::Named(lists) => lists,
    }
}

/// The points a change touches: ids go before a filter.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "PointSelection")]
struct Selection {
    points: Option<Vec<Id>>,
    filter: Option<FilterBody>,
    shard_key: Option<Keys>,
}

impl Selection {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<PointSelector> {
        match (self.points, self.filter) {
            (Some(points), _) => {
                checks::not_empty(found, &points)?;
                Ok(PointSelector::Ids(ids(points)))
            }
            (None, Some(filter)) => filter.convert(found, at.field("filter")).map(PointSelector::Filter),
            (None, None) => found.refuse(ApiError::bad_request("No filter or points provided")),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "DeletePoints")]
#[serde(transparent)]
pub(super) struct Delete(Selection);

impl Change for Delete {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<PointOp> {
        self.0.convert(found, at).map(|select| PointOp::Delete { select })
    }

    fn take_keys(&mut self) -> Option<Keys> {
        self.0.shard_key.take()
    }
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct UpdateVectors {
    points: Vec<PointVectorsBody>,
    update_filter: Option<FilterBody>,
    shard_key: Option<Keys>,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "PointVectors")]
struct PointVectorsBody {
    id: Id,
    #[serde(alias = "vectors")]
    vector: PointVectors,
}

impl Change for UpdateVectors {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<PointOp> {
        let points_at = at.field("points");
        if self.points.is_empty() {
            return found.invalid(points_at, "must specify points to update");
        }
        let points = checks::each(self.points, |i, point| {
            let at = points_at.item(i);
            let at = at.field("vector");
            let vectors = point.vector.convert(found, at)?;
            checks::vectors_to_update(found, at, &vectors)?;
            Ok(write::PointVectors { id: point.id.0, vectors })
        });
        let update_filter = filter::filter(found, at.field("update_filter"), self.update_filter);
        Ok(PointOp::UpdateVectors { points: points?, update_filter: update_filter? })
    }

    fn take_keys(&mut self) -> Option<Keys> {
        self.shard_key.take()
    }
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteVectors {
    vector: Vec<String>,
    points: Option<Vec<Id>>,
    filter: Option<FilterBody>,
    shard_key: Option<Keys>,
}

impl Change for DeleteVectors {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<PointOp> {
        if self.vector.is_empty() {
            return found.invalid(at.field("vector"), "must specify vector names to delete");
        }
        let selection = Selection { points: self.points, filter: self.filter, shard_key: None };
        let select = selection.convert(found, at)?;
        Ok(PointOp::DeleteVectors { select, names: self.vector })
    }

    fn take_keys(&mut self) -> Option<Keys> {
        self.shard_key.take()
    }
}

/// A payload to set or to overwrite with.
#[derive(Deserialize, JsonSchema)]
struct PayloadChange {
    payload: Map<String, Value>,
    key: Option<String>,
    points: Option<Vec<Id>>,
    filter: Option<FilterBody>,
    shard_key: Option<Keys>,
}

impl PayloadChange {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<(PointSelector, Payload, Option<Path>)> {
        let key = self.key.map(|key| checks::path(found, &key)).transpose();
        let selection = Selection { points: self.points, filter: self.filter, shard_key: None };
        let select = selection.convert(found, at);
        let (payload, key) = (Payload(self.payload), key?);
        checks::payload_depth(found, &payload, key.as_ref())?;
        Ok((select?, payload, key))
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct SetPayload(PayloadChange);

impl Change for SetPayload {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<PointOp> {
        let (select, payload, key) = self.0.convert(found, at)?;
        Ok(PointOp::SetPayload { select, payload, key })
    }

    fn take_keys(&mut self) -> Option<Keys> {
        self.0.shard_key.take()
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct OverwritePayload(PayloadChange);

impl Change for OverwritePayload {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<PointOp> {
        let (select, payload, key) = self.0.convert(found, at)?;
        Ok(PointOp::OverwritePayload { select, payload, key })
    }

    fn take_keys(&mut self) -> Option<Keys> {
        self.0.shard_key.take()
    }
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct DeletePayload {
    keys: Vec<String>,
    points: Option<Vec<Id>>,
    filter: Option<FilterBody>,
    shard_key: Option<Keys>,
}

impl Change for DeletePayload {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<PointOp> {
        let keys = paths(found, self.keys);
        let selection = Selection { points: self.points, filter: self.filter, shard_key: None };
        let select = selection.convert(found, at);
        Ok(PointOp::DeletePayload { select: select?, keys: keys? })
    }

    fn take_keys(&mut self) -> Option<Keys> {
        self.shard_key.take()
    }
}

#[derive(Deserialize, JsonSchema)]
#[serde(transparent)]
pub(super) struct ClearPayload(Selection);

impl Change for ClearPayload {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<PointOp> {
        self.0.convert(found, at).map(|select| PointOp::ClearPayload { select })
    }

    fn take_keys(&mut self) -> Option<Keys> {
        self.0.shard_key.take()
    }
}

#[cfg(test)]
#[path = "points_tests.rs"]
mod tests;
