//! What the process says of itself: banner, health, metrics, telemetry.

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::{Value, json};

use super::Rest;
use super::call::Call;
use super::config;
use super::envelope::{Answer, success};
use crate::api::status::{PROTOCOL_VERSION, TITLE};
use crate::service::Error;

/// Clients compare the title and read the version: no envelope.
pub(super) async fn banner() -> Json<Value> {
    Json(json!({ "title": TITLE, "version": PROTOCOL_VERSION }))
}

pub(super) async fn healthz() -> &'static str {
    "healthz check passed"
}

pub(super) async fn livez() -> &'static str {
    "livez check passed"
}

pub(super) async fn readyz(State(rest): State<Rest>) -> (StatusCode, &'static str) {
    if (rest.settings.is_ready)() {
        (StatusCode::OK, "all shards are ready")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "not ready: recovering or going down")
    }
}

pub(super) async fn metrics(State(rest): State<Rest>) -> Response {
    let content_type = (header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8");
    ([content_type], (rest.settings.metrics)()).into_response()
}

pub(super) async fn telemetry(call: Call<()>) -> Answer {
    let is_anonymous = call.params.anonymize == Some(true);
    let service = &call.rest.service;
    let mut collections = Vec::new();
    for name in service.collections() {
        let report = match service.collection_report(&name).await {
            Ok(report) => report,
            // Deleted since it was listed.
            Err(Error::CollectionNotFound { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        let mut collection = json!({
            "vectors": report.indexed_vector_count + report.tail_vector_count,
            "points": report.point_count,
            "optimizers_status": "ok",
            "params": config::params(&report.config),
        });
        if !is_anonymous && let Some(members) = collection.as_object_mut() {
            members.insert("name".to_owned(), json!(report.name));
        }
        collections.push(collection);
    }
    let settings = &call.rest.settings;
    let started_at = jiff::Timestamp::try_from(settings.started_at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let telemetry = json!({
        "id": settings.node_id,
        "app": {
            "name": env!("CARGO_PKG_NAME"),
            "version": PROTOCOL_VERSION,
            "build": env!("CARGO_PKG_VERSION"),
            "startup": started_at.to_string(),
            "uptime_s": settings.started_at.elapsed().unwrap_or_default().as_secs(),
        },
        "collections": { "number_of_collections": collections.len(), "collections": collections },
    });
    success(call.started, &telemetry)
}
