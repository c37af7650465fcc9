//! A point and what reads return of it.

use serde::{Deserialize, Serialize};

use super::collection::ShardKey;
use super::ids::{PointId, PointVersion};
use super::payload::Payload;
use super::query::OrderValue;
use super::vector::NamedVectors;

/// The unit users write: id, vectors, payload.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    pub id: PointId,
    pub vectors: NamedVectors,
    pub payload: Payload,
}

/// A point as a read returns it: only what the selectors asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    pub id: PointId,
    /// `None` when the selector asked for no payload.
    pub payload: Option<Payload>,
    /// `None` when the selector asked for no vectors.
    pub vectors: Option<NamedVectors>,
    /// What it was ordered by, if it was.
    pub order_value: Option<OrderValue>,
    /// Of the shard that holds it, in a collection with custom sharding.
    pub shard_key: Option<ShardKey>,
}

/// A search hit as the wire shows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ScoredPoint {
    pub id: PointId,
    pub version: PointVersion,
    /// The shown score (PROTOCOL: internal similarity, table), not the internal distance.
    pub score: f32,
    pub payload: Option<Payload>,
    pub vectors: Option<NamedVectors>,
    /// What it was ordered by, if it was.
    pub order_value: Option<OrderValue>,
    /// Of the shard that holds it, in a collection with custom sharding.
    pub shard_key: Option<ShardKey>,
}
