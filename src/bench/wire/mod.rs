//! The server as its callers see it: the few requests a measurement needs, over either transport.

pub(super) mod filter;
pub(super) mod grpc;
pub(super) mod rest;

use serde::Serialize;
use serde_json::{Map, Value};

use super::failure::CallError;
use super::flags::{Datatype, FieldIndex, Metric, Quantization};
use filter::FilterError;

/// One connection to a server, about one collection. Dropping a future gives the request up.
pub(super) trait Wire: Clone + Send + Sync + 'static {
    /// A search that is ready to be sent, any number of times.
    type Search: Send + Sync + 'static;

    /// What the server calls itself.
    fn title(&self) -> impl Future<Output = Result<Title, CallError>> + Send;

    fn exists(&self) -> impl Future<Output = Result<bool, CallError>> + Send;

    fn delete(&self) -> impl Future<Output = Result<(), CallError>> + Send;

    fn create(&self, shape: &Shape) -> impl Future<Output = Result<(), CallError>> + Send;

    fn create_index(&self, index: &FieldIndex) -> impl Future<Output = Result<(), CallError>> + Send;

    fn upsert(&self, points: &[Point<'_>], wait: bool) -> impl Future<Output = Result<(), CallError>> + Send;

    fn state(&self) -> impl Future<Output = Result<State, CallError>> + Send;

    /// One request for all of `vectors`.
    fn prepare(&self, question: &Question, vectors: &[&[f32]]) -> Result<Self::Search, FilterError>;

    /// Per vector the ids found, best first; ids that are no numbers are left out.
    fn search(&self, search: &Self::Search) -> impl Future<Output = Result<Vec<Vec<u64>>, CallError>> + Send;
}

/// A server's name and version, in its own words.
#[derive(Clone, Debug, Serialize, serde::Deserialize)]
pub(super) struct Title {
    pub(super) title: String,
    pub(super) version: String,
}

/// The collection to create; what is `None` is left to the server.
pub(super) struct Shape {
    pub(super) dim: usize,
    pub(super) metric: Metric,
    pub(super) m: Option<u64>,
    pub(super) ef_construct: Option<u64>,
    pub(super) shards: Option<u32>,
    pub(super) quantization: Option<Quantization>,
    pub(super) datatype: Option<Datatype>,
}

#[derive(Serialize)]
pub(super) struct Point<'a> {
    pub(super) id: u64,
    pub(super) vector: &'a [f32],
    #[serde(skip_serializing_if = "Map::is_empty")]
    pub(super) payload: Map<String, Value>,
}

/// How far a collection is.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct State {
    pub(super) light: Light,
    pub(super) point_count: u64,
    pub(super) indexed_vector_count: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Light {
    Green,
    Red,
    /// Work is under way, or rests.
    Other,
}

/// What is asked about every vector.
#[derive(Clone)]
pub(super) struct Question {
    pub(super) limit: usize,
    pub(super) ef: Option<u64>,
    pub(super) is_exact: bool,
    pub(super) filter: Option<Value>,
}
