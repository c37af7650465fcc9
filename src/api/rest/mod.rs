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
mod points;
mod process;
mod quantization;
mod query;
mod reads;
mod records;
mod selectors;
mod shapes;
mod snapshots;
mod strict;
mod vectors;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::http::StatusCode;
use axum::routing::{delete, get, post, put};
use tokio::sync::Semaphore;

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
    let routes = absent::add_routes(routes()).fallback(nowhere).method_not_allowed_fallback(nowhere);
    layers::around(routes, rest)
}

/// What exists nowhere in the protocol has no envelope.
async fn nowhere() -> StatusCode {
    StatusCode::NOT_FOUND
}

fn routes() -> Router<Rest> {
    Router::new()
        .route("/", get(process::banner))
        .route("/healthz", get(process::healthz))
        .route("/livez", get(process::livez))
        .route("/readyz", get(process::readyz))
        .route("/metrics", get(process::metrics))
        .route("/telemetry", get(process::telemetry))
        .route("/collections", get(collections::list))
        .route(
            "/collections/{name}",
            get(collections::info).put(collections::create).patch(collections::update).delete(collections::delete),
        )
        .route("/cluster", get(cluster::status))
        .route("/collections/{name}/cluster", get(cluster::collection_cluster).post(cluster::update_cluster))
        .route("/collections/{name}/shards", get(cluster::shard_keys).put(cluster::create_shard_key))
        .route("/collections/{name}/shards/delete", post(cluster::delete_shard_key))
        .route("/collections/{name}/exists", get(collections::exists))
        .route("/collections/{name}/aliases", get(collections::collection_aliases))
        .route("/collections/aliases", post(collections::update_aliases))
        .route("/aliases", get(collections::aliases))
        .route("/collections/{name}/index", put(fields::create))
        .route("/collections/{name}/index/{field}", delete(fields::delete))
        .route("/collections/{name}/facet", post(fields::facet))
        .route("/collections/{name}/points", put(points::write::<points::Upsert>).post(reads::retrieve))
        .route("/collections/{name}/points/{id}", get(reads::retrieve_one))
        .route("/collections/{name}/points/delete", post(points::write::<points::Delete>))
        .route("/collections/{name}/points/vectors", put(points::write::<points::UpdateVectors>))
        .route("/collections/{name}/points/vectors/delete", post(points::write::<points::DeleteVectors>))
        .route(
            "/collections/{name}/points/payload",
            post(points::write::<points::SetPayload>).put(points::write::<points::OverwritePayload>),
        )
        .route("/collections/{name}/points/payload/delete", post(points::write::<points::DeletePayload>))
        .route("/collections/{name}/points/payload/clear", post(points::write::<points::ClearPayload>))
        .route("/collections/{name}/points/batch", post(points::write_batch))
        .route("/collections/{name}/snapshots", get(snapshots::list).post(snapshots::create))
        .route("/collections/{name}/snapshots/{snapshot}", get(snapshots::download).delete(snapshots::delete))
        .route("/collections/{name}/snapshots/recover", put(snapshots::recover))
        // A file is written to disk as it arrives, however large it is.
        .route(
            "/collections/{name}/snapshots/upload",
            post(snapshots::upload).layer(axum::extract::DefaultBodyLimit::disable()),
        )
        .route("/collections/{name}/points/scroll", post(reads::scroll))
        .route("/collections/{name}/points/count", post(reads::count))
        .route("/collections/{name}/points/query", post(reads::query))
        .route("/collections/{name}/points/query/batch", post(reads::query_batch))
        .route("/collections/{name}/points/query/groups", post(groups::groups::<groups::QueryGroups>))
        .route("/collections/{name}/points/search", post(reads::old::<reads::Search>))
        .route("/collections/{name}/points/search/batch", post(reads::old_batch::<reads::Search>))
        .route("/collections/{name}/points/search/groups", post(groups::groups::<groups::SearchGroups>))
        .route("/collections/{name}/points/search/matrix/pairs", post(groups::matrix_pairs))
        .route("/collections/{name}/points/search/matrix/offsets", post(groups::matrix_offsets))
        .route("/collections/{name}/points/recommend", post(reads::old::<groups::Recommend>))
        .route("/collections/{name}/points/recommend/batch", post(reads::old_batch::<groups::Recommend>))
        .route("/collections/{name}/points/recommend/groups", post(groups::groups::<groups::RecommendGroups>))
        .route("/collections/{name}/points/discover", post(reads::old::<groups::Discover>))
        .route("/collections/{name}/points/discover/batch", post(reads::old_batch::<groups::Discover>))
}
