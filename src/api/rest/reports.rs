//! What a collection's index threads do, and what takes memory (CLIENTS section 1.1).
//!
//! Where the peer has segments, there are shards here: each has one graph per vector, and a tail of what is not linked
//! yet. Linking the tail is the one kind of optimization; it is always running where there is a tail, so nothing is
//! ever queued, and no history of what is done is kept.

use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::call::Call;
use super::envelope::{Envelope, answer};
use crate::model::datetime::Timestamp;
use crate::service::{ShardReport, UnindexedField};

/// The name of the one optimization there is.
const LINKING: &str = "linking";

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OptimizationsResponse")]
pub(super) struct Optimizations {
    summary: Summary,
    running: Vec<Optimization>,
    /// With `with=queued`: always empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    queued: Option<Vec<Segment>>,
    /// With `with=completed`: always empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    completed: Option<Vec<Optimization>>,
    /// With `with=idle_segments`: the shards without a tail.
    #[serde(skip_serializing_if = "Option::is_none")]
    idle_segments: Option<Vec<Segment>>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OptimizationsSummary")]
struct Summary {
    queued_optimizations: usize,
    queued_segments: usize,
    queued_points: u64,
    idle_segments: usize,
}

#[derive(Serialize, JsonSchema)]
struct Optimization {
    uuid: Uuid16,
    optimizer: &'static str,
    status: &'static str,
    segments: Vec<Segment>,
    progress: Progress,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "OptimizationSegmentInfo")]
struct Segment {
    uuid: Uuid16,
    points_count: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ProgressTree")]
struct Progress {
    name: &'static str,
    /// Vectors linked.
    done: u64,
    /// Vectors there are.
    total: u64,
}

/// A UUID as text.
#[derive(Clone, Serialize, JsonSchema)]
#[serde(transparent)]
struct Uuid16(#[schemars(extend("format" = "uuid"))] String);

/// One shard always has the same: it is made of when its collection was created and its number there.
fn uuid(created_at: Timestamp, shard: &ShardReport) -> Uuid16 {
    Uuid16(Uuid::from_u64_pair(created_at.0.cast_unsigned(), shard.id).to_string())
}

pub(super) async fn optimizations(call: Call<String>) -> Envelope<Optimizations> {
    let report = call.rest.service.collection_report(&call.path).await?;
    let asked: Vec<&str> = call.params.with.as_deref().unwrap_or("").split(',').map(str::trim).collect();
    let segment =
        |shard: &ShardReport| Segment { uuid: uuid(report.created_at, shard), points_count: shard.point_count };
    let (running, idle): (Vec<&ShardReport>, Vec<&ShardReport>) =
        report.shards.iter().partition(|shard| shard.tail_vector_count > 0);
    let optimization = |shard: &&ShardReport| Optimization {
        uuid: uuid(report.created_at, shard),
        optimizer: LINKING,
        status: "optimizing",
        segments: vec![segment(shard)],
        progress: Progress {
            name: LINKING,
            done: shard.indexed_vector_count,
            total: shard.indexed_vector_count + shard.tail_vector_count,
        },
    };
    let answered = Optimizations {
        summary: Summary { queued_optimizations: 0, queued_segments: 0, queued_points: 0, idle_segments: idle.len() },
        running: running.iter().map(optimization).collect(),
        queued: asked.contains(&"queued").then(Vec::new),
        completed: asked.contains(&"completed").then(Vec::new),
        idle_segments: asked.contains(&"idle_segments").then(|| idle.into_iter().map(segment).collect()),
    };
    answer(call.started, answered)
}

/// What could be set up better.
#[derive(Serialize, JsonSchema)]
pub(super) struct Issues {
    issues: Vec<Issue>,
}

#[derive(Serialize, JsonSchema)]
struct Issue {
    id: String,
    description: String,
    solution: Solution,
    timestamp: String,
    related_collection: String,
}

/// What to do about an issue.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IssueSolution")]
#[serde(rename_all = "snake_case")]
enum Solution {
    /// One request; any one of them if there are several.
    Immediate(Vec<Action>),
}

/// A request that solves an issue.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IssueAction")]
struct Action {
    message: String,
    method: &'static str,
    uri: String,
    body: IndexBody,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "IssueActionBody")]
struct IndexBody {
    field_name: String,
    field_schema: &'static str,
}

impl From<UnindexedField> for Issue {
    fn from(field: UnindexedField) -> Issue {
        let UnindexedField { collection, key, kinds, noted_at } = field;
        let action = |kind: &'static str| Action {
            message: format!("Index the field by type {kind}"),
            method: "PUT",
            uri: format!("/collections/{collection}/index"),
            body: IndexBody { field_name: key.to_string(), field_schema: kind },
        };
        Issue {
            id: format!("UNINDEXED_FIELD/{collection}/{key}"),
            description: format!(
                "Requests filter collection `{collection}` by `{key}`, which has no index that can answer: the payloads \
                 of its points are read"
            ),
            solution: Solution::Immediate(kinds.into_iter().map(action).collect()),
            timestamp: jiff::Timestamp::from_microsecond(noted_at.0).unwrap_or(jiff::Timestamp::UNIX_EPOCH).to_string(),
            related_collection: collection,
        }
    }
}

pub(super) async fn issues(call: Call<()>) -> Envelope<Issues> {
    let fields = call.rest.service.unindexed_fields()?;
    answer(call.started, Issues { issues: fields.into_iter().map(Issue::from).collect() })
}

pub(super) async fn clear_issues(call: Call<()>) -> Envelope<bool> {
    call.rest.service.forget_unindexed_fields()?;
    answer(call.started, true)
}

/// What takes memory, in bytes. What the shards of a node share (caches, memtables) is nobody's and not here.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "CollectionMemory")]
pub(super) struct Memory {
    total_bytes: u64,
    components: Vec<Component>,
}

/// One part of a collection.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MemoryComponent")]
struct Component {
    kind: Kind,
    /// Of the vector or the field.
    name: String,
    memory_bytes: u64,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MemoryComponentKind")]
#[serde(rename_all = "snake_case")]
enum Kind {
    PayloadIndex,
    Vectors,
    VectorIndex,
}

pub(super) async fn memory(call: Call<String>) -> Envelope<Memory> {
    let deadline = call.deadline()?;
    let usage = call.rest.service.memory_usage(&call.path, deadline).await?;
    let part = |kind: fn() -> Kind, (name, bytes): (String, u64)| Component { kind: kind(), name, memory_bytes: bytes };
    let fields = usage.fields.into_iter().map(|(path, bytes)| part(|| Kind::PayloadIndex, (path.to_string(), bytes)));
    let vectors = usage.vectors.into_iter().map(|vector| part(|| Kind::Vectors, vector));
    let graphs = usage.graphs.into_iter().map(|graph| part(|| Kind::VectorIndex, graph));
    let components: Vec<Component> = vectors.chain(graphs).chain(fields).collect();
    let total_bytes = components.iter().map(|component| component.memory_bytes).sum();
    answer(call.started, Memory { total_bytes, components })
}
