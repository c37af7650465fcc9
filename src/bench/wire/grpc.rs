//! The requests over gRPC, by the generated clients.

use std::time::Duration;

use serde_json::{Map, Value};
use tonic::Request;
use tonic::metadata::{Ascii, MetadataValue};
use tonic::transport::{Channel, Endpoint};

use super::filter::{FilterError, wire_from_json};
use super::{Light, Point, Question, Shape, State, Title, Wire};
use crate::api::grpc::pb::collections_client::CollectionsClient;
use crate::api::grpc::pb::point_id::PointIdOptions;
use crate::api::grpc::pb::points_client::PointsClient;
use crate::api::grpc::pb::quantization_config::Quantization as WireQuantization;
use crate::api::grpc::pb::value::Kind;
use crate::api::grpc::pb::{self, CollectionStatus};
use crate::bench::failure::CallError;
use crate::bench::flags::{Datatype, FieldIndex, FieldKind, Metric, Quantization, Target};

/// Largest answer taken, bytes: a batch of searches with a large limit is well below.
const ANSWER_BYTES_MAX: usize = 256 << 20;

#[derive(Clone)]
pub(in crate::bench) struct Client {
    channel: Channel,
    key: Option<MetadataValue<Ascii>>,
    collection: String,
}

/// One search or a batch of them, as messages.
pub(in crate::bench) enum Search {
    One(Box<pb::QueryPoints>),
    Batch(pb::QueryBatchPoints),
}

impl Client {
    /// Waits until the server answers the connection.
    pub(in crate::bench) async fn connect(url: &str, target: &Target) -> Result<Client, CallError> {
        let timeout = Duration::from_secs(target.timeout);
        let key = target.api_key.as_deref().map(MetadataValue::try_from).transpose().map_err(|_| CallError::Key)?;
        let endpoint = Endpoint::from_shared(url.to_owned()).map_err(CallError::Connection)?;
        let channel =
            endpoint.connect_timeout(timeout).timeout(timeout).connect().await.map_err(CallError::Connection)?;
        Ok(Client { channel, key, collection: target.collection.clone() })
    }

    fn points(&self) -> PointsClient<Channel> {
        PointsClient::new(self.channel.clone()).max_decoding_message_size(ANSWER_BYTES_MAX)
    }

    fn collections(&self) -> CollectionsClient<Channel> {
        CollectionsClient::new(self.channel.clone())
    }

    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        if let Some(key) = &self.key {
            request.metadata_mut().insert("api-key", key.clone());
        }
        request
    }

    fn query(&self, question: &Question, vector: &[f32]) -> Result<pb::QueryPoints, FilterError> {
        let dense = pb::DenseVector { data: vector.to_vec() };
        let nearest = pb::VectorInput { variant: Some(pb::vector_input::Variant::Dense(dense)) };
        Ok(pb::QueryPoints {
            collection_name: self.collection.clone(),
            query: Some(pb::Query { variant: Some(pb::query::Variant::Nearest(nearest)) }),
            filter: question.filter.as_ref().map(wire_from_json).transpose()?,
            params: Some(pb::SearchParams {
                hnsw_ef: question.ef,
                exact: question.is_exact.then_some(true),
                ..Default::default()
            }),
            limit: Some(question.limit as u64),
            ..Default::default()
        })
    }
}

impl Wire for Client {
    type Search = Search;

    async fn title(&self) -> Result<Title, CallError> {
        let mut client = pb::qdrant_client::QdrantClient::new(self.channel.clone());
        let reply = client.health_check(self.request(pb::HealthCheckRequest {})).await?.into_inner();
        Ok(Title { title: reply.title, version: reply.version })
    }

    async fn exists(&self) -> Result<bool, CallError> {
        let wire = pb::CollectionExistsRequest { collection_name: self.collection.clone() };
        let answer = self.collections().collection_exists(self.request(wire)).await?.into_inner();
        Ok(answer.result.ok_or(CallError::Incomplete("result"))?.exists)
    }

    async fn delete(&self) -> Result<(), CallError> {
        let wire = pb::DeleteCollection { collection_name: self.collection.clone(), ..Default::default() };
        self.collections().delete(self.request(wire)).await?;
        Ok(())
    }

    async fn create(&self, shape: &Shape) -> Result<(), CallError> {
        let mut wire = wire_from_shape(shape);
        wire.collection_name.clone_from(&self.collection);
        self.collections().create(self.request(wire)).await?;
        Ok(())
    }

    async fn create_index(&self, index: &FieldIndex) -> Result<(), CallError> {
        let kind = match index.kind {
            FieldKind::Keyword => pb::FieldType::Keyword,
            FieldKind::Integer => pb::FieldType::Integer,
            FieldKind::Float => pb::FieldType::Float,
            FieldKind::Bool => pb::FieldType::Bool,
        };
        let wire = pb::CreateFieldIndexCollection {
            collection_name: self.collection.clone(),
            wait: Some(true),
            field_name: index.field.clone(),
            field_type: Some(kind.into()),
            ..Default::default()
        };
        self.points().create_field_index(self.request(wire)).await?;
        Ok(())
    }

    async fn upsert(&self, points: &[Point<'_>], wait: bool) -> Result<(), CallError> {
        let wire = pb::UpsertPoints {
            collection_name: self.collection.clone(),
            wait: Some(wait),
            points: points.iter().map(wire_from_point).collect(),
            ..Default::default()
        };
        self.points().upsert(self.request(wire)).await?;
        Ok(())
    }

    async fn state(&self) -> Result<State, CallError> {
        let wire = pb::GetCollectionInfoRequest { collection_name: self.collection.clone() };
        let answer = self.collections().get(self.request(wire)).await?.into_inner();
        let info = answer.result.ok_or(CallError::Incomplete("result"))?;
        let light = match info.status() {
            CollectionStatus::Green => Light::Green,
            CollectionStatus::Red => Light::Red,
            _ => Light::Other,
        };
        Ok(State {
            light,
            point_count: info.points_count.unwrap_or(0),
            indexed_vector_count: info.indexed_vectors_count.unwrap_or(0),
        })
    }

    fn prepare(&self, question: &Question, vectors: &[&[f32]]) -> Result<Search, FilterError> {
        if let [vector] = vectors {
            return Ok(Search::One(Box::new(self.query(question, vector)?)));
        }
        let queries = vectors.iter().map(|vector| self.query(question, vector)).collect::<Result<_, _>>()?;
        let collection_name = self.collection.clone();
        Ok(Search::Batch(pb::QueryBatchPoints { collection_name, query_points: queries, ..Default::default() }))
    }

    async fn search(&self, search: &Search) -> Result<Vec<Vec<u64>>, CallError> {
        match search {
            Search::One(wire) => {
                let answer = self.points().query(self.request(wire.as_ref().clone())).await?.into_inner();
                Ok(vec![ids(answer.result)])
            }
            Search::Batch(wire) => {
                let answer = self.points().query_batch(self.request(wire.clone())).await?.into_inner();
                Ok(answer.result.into_iter().map(|batch| ids(batch.result)).collect())
            }
        }
    }
}

fn ids(hits: Vec<pb::ScoredPoint>) -> Vec<u64> {
    let id = |hit: pb::ScoredPoint| match hit.id?.point_id_options? {
        PointIdOptions::Num(id) => Some(id),
        PointIdOptions::Uuid(_) => None,
    };
    hits.into_iter().filter_map(id).collect()
}

fn wire_from_shape(shape: &Shape) -> pb::CreateCollection {
    let distance = match shape.metric {
        Metric::Cosine => pb::Distance::Cosine,
        Metric::Dot => pb::Distance::Dot,
        Metric::Euclid => pb::Distance::Euclid,
        Metric::Manhattan => pb::Distance::Manhattan,
    };
    let datatype = shape.datatype.map(|datatype| match datatype {
        Datatype::Float32 => pb::Datatype::Float32,
        Datatype::Float16 => pb::Datatype::Float16,
        Datatype::Uint8 => pb::Datatype::Uint8,
    });
    let params = pb::VectorParams {
        size: shape.dim as u64,
        distance: distance.into(),
        datatype: datatype.map(Into::into),
        ..Default::default()
    };
    let quantization = shape.quantization.map(|quantization| match quantization {
        Quantization::Scalar => WireQuantization::Scalar(pb::ScalarQuantization {
            r#type: pb::QuantizationType::Int8.into(),
            ..Default::default()
        }),
        Quantization::Binary => WireQuantization::Binary(pb::BinaryQuantization::default()),
    });
    let hnsw = pb::HnswConfigDiff { m: shape.m, ef_construct: shape.ef_construct, ..Default::default() };
    pb::CreateCollection {
        hnsw_config: Some(hnsw),
        shard_number: shape.shards,
        vectors_config: Some(pb::VectorsConfig { config: Some(pb::vectors_config::Config::Params(params)) }),
        quantization_config: quantization.map(|of| pb::QuantizationConfig { quantization: Some(of) }),
        ..Default::default()
    }
}

fn wire_from_point(point: &Point<'_>) -> pb::PointStruct {
    let dense = pb::DenseVector { data: point.vector.to_vec() };
    let vector = pb::Vector { vector: Some(pb::vector::Vector::Dense(dense)), ..Default::default() };
    pb::PointStruct {
        id: Some(pb::PointId { point_id_options: Some(PointIdOptions::Num(point.id)) }),
        payload: wire_from_object(&point.payload),
        vectors: Some(pb::Vectors { vectors_options: Some(pb::vectors::VectorsOptions::Vector(vector)) }),
    }
}

fn wire_from_object(object: &Map<String, Value>) -> std::collections::BTreeMap<String, pb::Value> {
    object.iter().map(|(key, value)| (key.clone(), wire_from_value(value))).collect()
}

fn wire_from_value(value: &Value) -> pb::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(pb::NullValue::NullValue.into()),
        Value::Bool(boolean) => Kind::BoolValue(*boolean),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Kind::IntegerValue(integer),
            // Every JSON number has a nearest double.
            None => Kind::DoubleValue(number.as_f64().unwrap_or_default()),
        },
        Value::String(text) => Kind::StringValue(text.clone()),
        Value::Array(items) => Kind::ListValue(pb::ListValue { values: items.iter().map(wire_from_value).collect() }),
        Value::Object(fields) => Kind::StructValue(pb::Struct { fields: wire_from_object(fields) }),
    };
    pb::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn payloads_keep_their_kinds() {
        let payload = json!({"a": 1, "b": 1.5, "c": "x", "d": [true, null], "e": {"f": u64::MAX}});
        let wire = wire_from_object(payload.as_object().unwrap());
        let kind = |key: &str| wire[key].kind.clone().unwrap();
        assert_eq!(kind("a"), Kind::IntegerValue(1));
        assert_eq!(kind("b"), Kind::DoubleValue(1.5));
        assert_eq!(kind("c"), Kind::StringValue("x".to_owned()));
        let Kind::ListValue(list) = kind("d") else { panic!("{:?}", kind("d")) };
        assert_eq!(list.values[0].kind, Some(Kind::BoolValue(true)));
        assert_eq!(list.values[1].kind, Some(Kind::NullValue(0)));
        let Kind::StructValue(inner) = kind("e") else { panic!("{:?}", kind("e")) };
        assert_eq!(inner.fields["f"].kind, Some(Kind::DoubleValue(u64::MAX as f64)));
    }
}
