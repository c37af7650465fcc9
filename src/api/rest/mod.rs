//! REST: routes, the layers around them, and what they share (PROTOCOL, CLIENTS sections 1 and 3).
//!
//! A request passes: path normalisation, CORS, (de)compression, metrics, panic guard, keys, routing, then one handler,
//! which reads the body, converts it to the model once, asks the service and writes the envelope.
//!
//! It deliberately knows no rule of the database: those live in `service` (what needs a collection) and `api::checks`.

mod absent;
mod call;
mod cluster;
mod collections;
mod config;
mod envelope;
mod fields;
mod filter;
mod formula;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod groups;
mod layers;
mod openapi;
mod operation;
mod points;
mod process;
mod quantization;
mod query;
mod reads;
mod records;
mod reports;
mod schemas;
mod selectors;
mod shapes;
mod snapshots;
mod strict;
mod vectors;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::extract::DefaultBodyLimit;
use axum::http::{Method, StatusCode};
use schemars::SchemaGenerator;
use tokio::sync::Semaphore;

use self::operation::{Answers, Operation, Plain};
use super::auth::Keys;
use crate::service::Service;

/// Default of [`RestSettings::request_bytes_max`].
pub const REQUEST_BYTES_MAX_DEFAULT: usize = 32 * 1024 * 1024;

/// How the REST transport is run.
pub struct RestSettings {
    /// Largest body of a request, bytes, after decompression.
    pub request_bytes_max: usize,
    /// For a body to arrive, and for whatever the request gives no `timeout` for.
    pub request_timeout: Duration,
    /// Calls handled at once, over all connections; more are refused with a hint when to retry.
    pub in_flight_max: usize,
    /// Who may call.
    pub keys: Keys,
    /// Whether pages of any origin may call.
    pub is_cors_enabled: bool,
    /// The metrics in Prometheus' text format.
    pub metrics: Arc<dyn Fn() -> String + Send + Sync>,
    /// Whether `/readyz` succeeds: recovered, and not draining.
    pub is_ready: Arc<dyn Fn() -> bool + Send + Sync>,
    /// An id of this node that survives restarts.
    pub node_id: String,
    /// When the process started.
    pub started_at: SystemTime,
}

const GET: Method = Method::GET;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;
const PATCH: Method = Method::PATCH;
const DELETE: Method = Method::DELETE;

/// What every handler has at hand.
#[derive(Clone)]
struct Rest {
    service: Service,
    settings: Arc<RestSettings>,
    /// One permit per call that may be handled.
    room: Arc<Semaphore>,
}

/// The REST API of `service`.
pub fn router(service: Service, settings: RestSettings) -> Router {
    let room = Arc::new(Semaphore::new(settings.in_flight_max.min(Semaphore::MAX_PERMITS)));
    let rest = Rest { service, settings: Arc::new(settings), room };
    let routes = absent::add_routes(routes(operations())).fallback(nowhere).method_not_allowed_fallback(nowhere);
    layers::around(routes, rest)
}

/// What exists nowhere in the protocol has no envelope.
async fn nowhere() -> StatusCode {
    StatusCode::NOT_FOUND
}

/// Query parameters of writes, of reads, and of what only has a time limit.
const WRITE: &[&str] = &["wait", "ordering", "timeout"];
const READ: &[&str] = &["consistency", "timeout"];
const TIMED: &[&str] = &["timeout"];

/// Everything that is served: the router and the document are both made from this.
fn operations() -> Vec<Operation> {
    let sections = [
        ("Service", service_operations()),
        ("Collections", collection_operations()),
        ("Aliases", alias_operations()),
        ("Indexes", index_operations()),
        ("Points", point_operations()),
        ("Search", search_operations()),
        ("Snapshots", snapshot_operations()),
        ("Cluster", cluster_operations()),
    ];
    sections.into_iter().flat_map(|(tag, operations)| operations.into_iter().map(|one| one.tag(tag))).collect()
}

/// The routes of `operations`.
fn routes(operations: Vec<Operation>) -> Router<Rest> {
    operations.into_iter().fold(Router::new(), |routes, operation| {
        let (path, route) = operation.into_route();
        routes.route(path, route)
    })
}

fn service_operations() -> Vec<Operation> {
    let text = Answers::Content("text/plain; charset=utf-8");
    let metrics = Answers::Content(process::METRICS_CONTENT_TYPE);
    let banner = Answers::Bare(SchemaGenerator::subschema_for::<process::Banner>);
    let document = Answers::Content("application/json");
    vec![
        Operation::new(GET, "/", "root", "Name and version", Plain(banner, process::banner)),
        Operation::new(GET, "/healthz", "healthz", "Whether the process runs", Plain(text, process::healthz)),
        Operation::new(GET, "/livez", "livez", "Whether the process runs", Plain(text, process::livez)),
        Operation::new(GET, "/readyz", "readyz", "Whether requests are served", Plain(text, process::readyz))
            .statuses(&[503]),
        Operation::new(GET, "/openapi.json", "openapi", "This document", Plain(document, openapi::serve)),
        Operation::new(GET, "/metrics", "metrics", "Metrics for Prometheus", Plain(metrics, process::metrics))
            .query(&["anonymize", "per_collection", "timeout"])
            .statuses(&[400]),
        Operation::new(GET, "/telemetry", "telemetry", "What the process says of itself", process::telemetry).query(&[
            "anonymize",
            "details_level",
            "per_collection",
            "timeout",
        ]),
        Operation::new(GET, "/issues", "get_issues", "What could be set up better", reports::issues),
        Operation::new(DELETE, "/issues", "clear_issues", "Forget the issues found so far", reports::clear_issues),
    ]
}

fn collection_operations() -> Vec<Operation> {
    const ONE: &str = "/collections/{name}";
    const VECTOR: &str = "/collections/{name}/vectors/{vector}";
    vec![
        Operation::new(GET, "/collections", "get_collections", "All collections", collections::list),
        Operation::new(GET, ONE, "get_collection", "Settings and state of a collection", collections::info),
        Operation::new(PUT, ONE, "create_collection", "Create a collection", collections::create)
            .query(TIMED)
            .statuses(&[409, 501]),
        Operation::new(PATCH, ONE, "update_collection", "Change settings of a collection", collections::update)
            .query(TIMED)
            .statuses(&[501]),
        Operation::new(DELETE, ONE, "delete_collection", "Delete a collection", collections::delete).query(TIMED),
        Operation::new(
            GET,
            "/collections/{name}/exists",
            "collection_exists",
            "Whether a collection exists",
            collections::exists,
        ),
        Operation::new(
            GET,
            "/collections/{name}/optimizations",
            "get_optimizations",
            "What the index threads do",
            reports::optimizations,
        )
        .query(&["with", "completed_limit"]),
        Operation::new(GET, "/collections/{name}/memory", "get_memory", "What takes memory", reports::memory)
            .query(TIMED),
        Operation::new(PUT, VECTOR, "create_vector_name", "Add a vector to a collection", collections::create_vector)
            .query(WRITE),
        Operation::new(DELETE, VECTOR, "delete_vector_name", "Drop a vector", collections::delete_vector).query(WRITE),
    ]
}

fn alias_operations() -> Vec<Operation> {
    vec![
        Operation::new(
            POST,
            "/collections/aliases",
            "update_aliases",
            "Create, delete and rename aliases, all or nothing",
            collections::update_aliases,
        )
        .query(TIMED)
        .statuses(&[404]),
        Operation::new(GET, "/aliases", "get_aliases", "All aliases", collections::aliases),
        Operation::new(
            GET,
            "/collections/{name}/aliases",
            "get_collection_aliases",
            "Aliases of a collection",
            collections::collection_aliases,
        ),
    ]
}

fn index_operations() -> Vec<Operation> {
    vec![
        Operation::new(
            PUT,
            "/collections/{name}/index",
            "create_field_index",
            "Index a field of the payload",
            fields::create,
        )
        .query(WRITE)
        .statuses(&[501]),
        Operation::new(
            DELETE,
            "/collections/{name}/index/{field}",
            "delete_field_index",
            "Drop the index of a field",
            fields::delete,
        )
        .query(WRITE),
    ]
}

fn point_operations() -> Vec<Operation> {
    use points::{
        ClearPayload, Delete, DeletePayload, DeleteVectors, OverwritePayload, SetPayload, UpdateVectors, Upsert, write,
    };
    const POINTS: &str = "/collections/{name}/points";
    const ONE: &str = "/collections/{name}/points/{id}";
    const DELETE_POINTS: &str = "/collections/{name}/points/delete";
    const VECTORS: &str = "/collections/{name}/points/vectors";
    const DELETE_VECTORS: &str = "/collections/{name}/points/vectors/delete";
    const PAYLOAD: &str = "/collections/{name}/points/payload";
    const DELETE_PAYLOAD: &str = "/collections/{name}/points/payload/delete";
    const CLEAR_PAYLOAD: &str = "/collections/{name}/points/payload/clear";
    const BATCH: &str = "/collections/{name}/points/batch";
    const SCROLL: &str = "/collections/{name}/points/scroll";
    const COUNT: &str = "/collections/{name}/points/count";
    let writes = [
        Operation::new(PUT, POINTS, "upsert_points", "Insert or replace points", write::<Upsert>)
            .statuses(WITH_INFERENCE),
        Operation::new(POST, DELETE_POINTS, "delete_points", "Delete points", write::<Delete>),
        Operation::new(PUT, VECTORS, "update_vectors", "Replace vectors of points", write::<UpdateVectors>)
            .statuses(WITH_INFERENCE),
        Operation::new(POST, DELETE_VECTORS, "delete_vectors", "Delete vectors of points", write::<DeleteVectors>),
        Operation::new(POST, PAYLOAD, "set_payload", "Set members of payloads", write::<SetPayload>),
        Operation::new(PUT, PAYLOAD, "overwrite_payload", "Replace payloads", write::<OverwritePayload>),
        Operation::new(POST, DELETE_PAYLOAD, "delete_payload", "Delete members of payloads", write::<DeletePayload>),
        Operation::new(POST, CLEAR_PAYLOAD, "clear_payload", "Delete payloads", write::<ClearPayload>),
        Operation::new(POST, BATCH, "batch_update", "Several changes of points", points::write_batch)
            .statuses(WITH_INFERENCE),
    ];
    let reads = [
        Operation::new(POST, POINTS, "get_points", "Points by their ids", reads::retrieve).query(READ),
        Operation::new(GET, ONE, "get_point", "A point by its id", reads::retrieve_one).query(READ),
        Operation::new(POST, SCROLL, "scroll_points", "A page of points", reads::scroll).query(READ),
        Operation::new(POST, COUNT, "count_points", "How many points there are", reads::count).query(READ),
        Operation::new(
            POST,
            "/collections/{name}/facet",
            "facet",
            "How many points have each value of a field",
            fields::facet,
        )
        .query(READ),
    ];
    writes.into_iter().map(|write| write.query(WRITE)).chain(reads).collect()
}

/// Of operations with vectors: a model that is not served answers 500, as the protocol has it.
const WITH_INFERENCE: &[u16] = &[500, 501];

fn search_operations() -> Vec<Operation> {
    use groups::{Discover, QueryGroups, Recommend, RecommendGroups, SearchGroups, groups};
    use reads::{Search, old, old_batch};
    const QUERY: &str = "/collections/{name}/points/query";
    const QUERY_BATCH: &str = "/collections/{name}/points/query/batch";
    const QUERY_GROUPS: &str = "/collections/{name}/points/query/groups";
    const PAIRS: &str = "/collections/{name}/points/search/matrix/pairs";
    const OFFSETS: &str = "/collections/{name}/points/search/matrix/offsets";
    const SEARCH: &str = "/collections/{name}/points/search";
    const SEARCH_BATCH: &str = "/collections/{name}/points/search/batch";
    const SEARCH_GROUPS: &str = "/collections/{name}/points/search/groups";
    const RECOMMEND: &str = "/collections/{name}/points/recommend";
    const RECOMMEND_BATCH: &str = "/collections/{name}/points/recommend/batch";
    const RECOMMEND_GROUPS: &str = "/collections/{name}/points/recommend/groups";
    const DISCOVER: &str = "/collections/{name}/points/discover";
    const DISCOVER_BATCH: &str = "/collections/{name}/points/discover/batch";
    let current = [
        Operation::new(POST, QUERY, "query_points", "Points by a query", reads::query),
        Operation::new(POST, QUERY_BATCH, "query_batch_points", "Several queries", reads::query_batch),
        Operation::new(POST, QUERY_GROUPS, "query_points_groups", "Groups of points", groups::<QueryGroups>),
        Operation::new(POST, PAIRS, "search_matrix_pairs", "Distances in a sample, as pairs", groups::matrix_pairs),
        Operation::new(POST, OFFSETS, "search_matrix_offsets", "Distances in a sample", groups::matrix_offsets),
    ];
    let old = [
        Operation::new(POST, SEARCH, "search_points", "Nearest points", old::<Search>),
        Operation::new(POST, SEARCH_BATCH, "search_batch_points", "Several searches", old_batch::<Search>),
        Operation::new(POST, SEARCH_GROUPS, "search_point_groups", "Groups of nearest", groups::<SearchGroups>),
        Operation::new(POST, RECOMMEND, "recommend_points", "Points like others", old::<Recommend>),
        Operation::new(POST, RECOMMEND_BATCH, "recommend_batch_points", "Several", old_batch::<Recommend>),
        Operation::new(POST, RECOMMEND_GROUPS, "recommend_point_groups", "Groups", groups::<RecommendGroups>),
        Operation::new(POST, DISCOVER, "discover_points", "Points between others", old::<Discover>),
        Operation::new(POST, DISCOVER_BATCH, "discover_batch_points", "Several", old_batch::<Discover>),
    ];
    let all = current.into_iter().chain(old.into_iter().map(Operation::deprecated));
    all.map(|one| one.query(READ).statuses(WITH_INFERENCE)).collect()
}

/// Paths of snapshots, and what generated clients call the operations. Those of the node are recovered at start only.
struct SnapshotPaths {
    all: &'static str,
    one: &'static str,
    /// List, create, get, delete.
    ids: [&'static str; 4],
    summaries: [&'static str; 4],
}

fn snapshot_operations() -> Vec<Operation> {
    const RECOVER: &str = "/collections/{name}/snapshots/recover";
    const UPLOAD: &str = "/collections/{name}/snapshots/upload";
    const RECOVER_SHARD: &str = "/collections/{name}/shards/{shard}/snapshots/recover";
    const UPLOAD_SHARD: &str = "/collections/{name}/shards/{shard}/snapshots/upload";
    const STREAM: &str = "/collections/{name}/shards/{shard}/snapshot";
    let kept = [
        SnapshotPaths {
            all: "/collections/{name}/snapshots",
            one: "/collections/{name}/snapshots/{snapshot}",
            ids: ["list_snapshots", "create_snapshot", "get_snapshot", "delete_snapshot"],
            summaries: [
                "Snapshots of a collection",
                "Make a snapshot of a collection",
                "Download a snapshot of a collection",
                "Delete a snapshot of a collection",
            ],
        },
        SnapshotPaths {
            all: "/collections/{name}/shards/{shard}/snapshots",
            one: "/collections/{name}/shards/{shard}/snapshots/{snapshot}",
            ids: ["list_shard_snapshots", "create_shard_snapshot", "get_shard_snapshot", "delete_shard_snapshot"],
            summaries: [
                "Snapshots of a shard",
                "Make a snapshot of a shard",
                "Download a snapshot of a shard",
                "Delete a snapshot of a shard",
            ],
        },
        SnapshotPaths {
            all: "/snapshots",
            one: "/snapshots/{snapshot}",
            ids: ["list_full_snapshots", "create_full_snapshot", "get_full_snapshot", "delete_full_snapshot"],
            summaries: [
                "Snapshots of the node",
                "Make a snapshot of the node",
                "Download a snapshot of the node",
                "Delete a snapshot of the node",
            ],
        },
    ];
    let file = Answers::Content("application/octet-stream");
    let done = Answers::Enveloped(SchemaGenerator::subschema_for::<bool>);
    let recover = |path, id, summary| {
        Operation::new(PUT, path, id, summary, Plain(done, snapshots::recover))
            .json(SchemaGenerator::subschema_for::<snapshots::Recover>)
            .query(&["wait"])
            .statuses(&[202, 403])
    };
    let upload = |path, id, summary| {
        // A file is written to disk as it arrives, however large it is.
        Operation::new(POST, path, id, summary, Plain(done, snapshots::upload))
            .file("snapshot")
            .query(&["wait"])
            .statuses(&[202])
            .around(|route| route.layer(DefaultBodyLimit::disable()))
    };
    let mut operations: Vec<Operation> = kept.into_iter().flat_map(kept_snapshots).collect();
    operations.extend([
        recover(RECOVER, "recover_from_snapshot", "Recover a collection from a snapshot"),
        upload(UPLOAD, "recover_from_uploaded_snapshot", "Recover a collection from an uploaded snapshot"),
        recover(RECOVER_SHARD, "recover_shard_from_snapshot", "Recover a shard from a snapshot"),
        upload(UPLOAD_SHARD, "recover_shard_from_uploaded_snapshot", "Recover a shard from an uploaded snapshot"),
        Operation::new(
            GET,
            STREAM,
            "stream_shard_snapshot",
            "A snapshot of a shard, made while it is sent",
            Plain(file, snapshots::stream),
        ),
    ]);
    operations
}

fn kept_snapshots(SnapshotPaths { all, one, ids, summaries }: SnapshotPaths) -> [Operation; 4] {
    let file = Answers::Content("application/octet-stream");
    let snapshot = Answers::Enveloped(SchemaGenerator::subschema_for::<snapshots::SnapshotOut>);
    let listed = Answers::Enveloped(SchemaGenerator::subschema_for::<Vec<snapshots::SnapshotOut>>);
    let done = Answers::Enveloped(SchemaGenerator::subschema_for::<bool>);
    let ([list, create, get, delete], [listing, creating, getting, deleting]) = (ids, summaries);
    [
        Operation::new(GET, all, list, listing, Plain(listed, snapshots::list)),
        Operation::new(POST, all, create, creating, Plain(snapshot, snapshots::create))
            .query(&["wait"])
            .statuses(&[202]),
        Operation::new(GET, one, get, getting, Plain(file, snapshots::download)).statuses(&[404]),
        Operation::new(DELETE, one, delete, deleting, Plain(done, snapshots::delete))
            .query(&["wait"])
            .statuses(&[202, 404]),
    ]
}

fn cluster_operations() -> Vec<Operation> {
    const CLUSTER: &str = "/collections/{name}/cluster";
    const PEER: &str = "/cluster/peer/{id}";
    const DRAIN: &str = "/cluster/peer/{id}/drain";
    const RESUME: &str = "/cluster/peer/{id}/resume";
    const SHARDS: &str = "/collections/{name}/shards";
    const DELETE_SHARDS: &str = "/collections/{name}/shards/delete";
    vec![
        Operation::new(GET, "/cluster", "cluster_status", "The cluster's state", cluster::status),
        Operation::new(POST, "/cluster/recover", "recover_current_peer", "Catch up with the cluster", cluster::recover)
            .query(TIMED),
        Operation::new(DELETE, PEER, "remove_peer", "Remove a node for good", cluster::remove_peer)
            .query(&["force", "timeout"])
            .statuses(&[404]),
        Operation::new(POST, DRAIN, "drain_peer", "Move a node's replicas elsewhere", cluster::drain_peer)
            .query(TIMED)
            .statuses(&[404]),
        Operation::new(POST, RESUME, "resume_peer", "Let a node hold replicas again", cluster::resume_peer)
            .query(TIMED)
            .statuses(&[404]),
        Operation::new(POST, "/cluster/rebalance", "rebalance", "Spread replicas evenly", cluster::rebalance)
            .query(TIMED),
        Operation::new(
            POST,
            "/cluster/handover",
            "hand_over",
            "Let others lead what this node leads",
            cluster::hand_over,
        ),
        Operation::new(GET, CLUSTER, "collection_cluster_info", "Where shards are", cluster::collection_cluster),
        Operation::new(POST, CLUSTER, "update_collection_cluster", "Change shards", cluster::update_cluster)
            .query(TIMED)
            .statuses(&[501]),
        Operation::new(GET, SHARDS, "list_shard_keys", "Shard keys of a collection", cluster::shard_keys),
        Operation::new(PUT, SHARDS, "create_shard_key", "Create a shard key", cluster::create_shard_key)
            .query(TIMED)
            .statuses(&[501]),
        Operation::new(POST, DELETE_SHARDS, "delete_shard_key", "Delete a shard key", cluster::delete_shard_key)
            .query(TIMED),
    ]
}
