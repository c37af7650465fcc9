//! Points as answers show them (PROTOCOL sections 2.1 and 5).

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::ser::{SerializeMap, SerializeStruct};
use serde::{Serialize, Serializer};

use super::schemas::{any_of, list, map, object, object_with, schema};
use super::shapes::{Id, Key, KeyOut};
use crate::model::collection::ShardKey;
use crate::model::query::OrderValue;
use crate::model::{NamedVectors, Payload, PointId, Record, ScoredPoint, Vector};
use crate::service::{WriteAck, WriteStatus};

/// A number, or a UUID as lowercase hyphenated text.
pub(super) struct IdOut(pub PointId);

impl Serialize for IdOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            PointId::Num(num) => serializer.serialize_u64(num),
            PointId::Uuid(_) => serializer.collect_str(&self.0),
        }
    }
}

impl JsonSchema for IdOut {
    fn schema_name() -> Cow<'static, str> {
        Id::schema_name()
    }
    fn schema_id() -> Cow<'static, str> {
        Id::schema_id()
    }
    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        Id::json_schema(schemas)
    }
}

/// A bare list when the unnamed vector is the only one, else a map.
struct VectorsOut<'a>(&'a NamedVectors);

impl Serialize for VectorsOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.len() == 1
            && let Some(vector) = self.0.get("")
        {
            return VectorOut(vector).serialize(serializer);
        }
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, vector) in self.0 {
            map.serialize_entry(name, &VectorOut(vector))?;
        }
        map.end()
    }
}

schema!(VectorsOut<'_>, "VectorsOutput", schemas => {
    let vector = schemas.subschema_for::<VectorOut<'_>>();
    any_of([vector.clone(), map(vector)])
});

/// A list of numbers, a list of such rows, or indices and values.
struct VectorOut<'a>(&'a Vector);

impl Serialize for VectorOut<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self.0 {
            Vector::Dense(values) => values.serialize(serializer),
            Vector::Multi(vector) => serializer.collect_seq(vector.rows()),
            Vector::Sparse(vector) => {
                let mut out = serializer.serialize_struct("SparseVector", 2)?;
                out.serialize_field("indices", vector.indices())?;
                out.serialize_field("values", vector.values())?;
                out.end()
            }
        }
    }
}

schema!(VectorOut<'_>, "VectorOutput", schemas => any_of([
    list(schemas.subschema_for::<f32>()),
    list(list(schemas.subschema_for::<f32>())),
    object([("indices", schemas.subschema_for::<Vec<u32>>()), ("values", schemas.subschema_for::<Vec<f32>>())]),
]));

/// The members a point has beside its id when they were asked for.
fn selected_schemas(schemas: &mut SchemaGenerator) -> [(&'static str, Schema); 4] {
    [
        ("payload", map(json_schema!(true))),
        ("vector", schemas.subschema_for::<VectorsOut<'_>>()),
        ("shard_key", schemas.subschema_for::<Key>()),
        ("order_value", json_schema!({ "type": "number" })),
    ]
}

/// A record; what was not asked for is left out.
pub(super) struct RecordOut(pub Record);

impl Serialize for RecordOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("Record", 4)?;
        out.serialize_field("id", &IdOut(self.0.id))?;
        serialize_selected::<S>(&mut out, &self.0.payload, &self.0.vectors)?;
        serialize_key::<S>(&mut out, &self.0.shard_key)?;
        serialize_order_value::<S>(&mut out, self.0.order_value)?;
        out.end()
    }
}

schema!(RecordOut, "Record", schemas => {
    object_with([("id", schemas.subschema_for::<Id>())], selected_schemas(schemas))
});

/// A hit; what was not asked for is left out.
pub(super) struct ScoredPointOut(pub ScoredPoint);

impl Serialize for ScoredPointOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut out = serializer.serialize_struct("ScoredPoint", 7)?;
        out.serialize_field("id", &IdOut(self.0.id))?;
        out.serialize_field("version", &self.0.version)?;
        out.serialize_field("score", &self.0.score)?;
        serialize_selected::<S>(&mut out, &self.0.payload, &self.0.vectors)?;
        serialize_key::<S>(&mut out, &self.0.shard_key)?;
        serialize_order_value::<S>(&mut out, self.0.order_value)?;
        out.end()
    }
}

schema!(ScoredPointOut, "ScoredPoint", schemas => object_with(
    [
        ("id", schemas.subschema_for::<Id>()),
        ("version", schemas.subschema_for::<u64>()),
        ("score", schemas.subschema_for::<f32>()),
    ],
    selected_schemas(schemas),
));

fn serialize_order_value<S: Serializer>(
    out: &mut S::SerializeStruct,
    value: Option<OrderValue>,
) -> Result<(), S::Error> {
    match value {
        Some(OrderValue::Integer(value)) => out.serialize_field("order_value", &value),
        Some(OrderValue::Float(value)) => out.serialize_field("order_value", &value),
        None => out.skip_field("order_value"),
    }
}

fn serialize_selected<S: Serializer>(
    out: &mut S::SerializeStruct,
    payload: &Option<Payload>,
    vectors: &Option<NamedVectors>,
) -> Result<(), S::Error> {
    match payload {
        Some(payload) => out.serialize_field("payload", &payload.0)?,
        None => out.skip_field("payload")?,
    }
    match vectors {
        Some(vectors) => out.serialize_field("vector", &VectorsOut(vectors)),
        None => out.skip_field("vector"),
    }
}

fn serialize_key<S: Serializer>(out: &mut S::SerializeStruct, key: &Option<ShardKey>) -> Result<(), S::Error> {
    match key {
        Some(key) => out.serialize_field("shard_key", &KeyOut(key.clone())),
        None => out.skip_field("shard_key"),
    }
}

/// The answer to a write.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpdateResult")]
pub(super) struct UpdateOut {
    operation_id: u64,
    status: StatusOut,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "UpdateStatus")]
#[serde(rename_all = "snake_case")]
enum StatusOut {
    Completed,
    Acknowledged,
    WaitTimeout,
}

impl From<WriteAck> for UpdateOut {
    fn from(ack: WriteAck) -> UpdateOut {
        let status = match ack.status {
            WriteStatus::Completed => StatusOut::Completed,
            WriteStatus::Acknowledged => StatusOut::Acknowledged,
            WriteStatus::WaitTimeout => StatusOut::WaitTimeout,
        };
        UpdateOut { operation_id: ack.operation_id, status }
    }
}
