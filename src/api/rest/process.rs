//! What the process says of itself: banner, health, metrics, telemetry.

use std::collections::BTreeMap;

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Rest;
use super::call::{Call, malformed_in};
use super::config::{self, ConfigOut, ParamsOut};
use super::envelope::{Answer, Envelope, answer};
use super::shapes::KeyOut;
use crate::api::status::{PROTOCOL_VERSION, TITLE};
use crate::model::CollectionConfig;
use crate::service::{CollectionReport, CollectionStatus, Error};

/// Clients compare the title and read the version: no envelope.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "VersionInfo")]
pub(super) struct Banner {
    title: &'static str,
    version: &'static str,
}

pub(super) async fn banner() -> Json<Banner> {
    Json(Banner { title: TITLE, version: PROTOCOL_VERSION })
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

/// Of Prometheus' text format.
pub(super) const METRICS_CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// How metrics are shown. A `timeout` is read and has no effect: they are always at hand.
#[derive(Deserialize)]
pub(super) struct MetricsParams {
    anonymize: Option<bool>,
    per_collection: Option<bool>,
}

pub(super) async fn metrics(State(rest): State<Rest>, params: Result<Query<MetricsParams>, QueryRejection>) -> Answer {
    let Query(params) = params.map_err(|rejection| malformed_in("query parameters", rejection.body_text()))?;
    let text = (rest.settings.metrics)();
    let text = match (params.per_collection.unwrap_or(true), params.anonymize.unwrap_or(false)) {
        (true, false) => text,
        (true, true) => with_collections(&text, |number| Some(number.to_string())),
        (false, _) => with_collections(&text, |_| None),
    };
    Ok(([(header::CONTENT_TYPE, METRICS_CONTENT_TYPE)], text).into_response())
}

/// `text` with other names of collections: `rename` is given the number of one. Lines of those without are left out.
fn with_collections(text: &str, rename: impl Fn(usize) -> Option<String>) -> String {
    const LABEL: &str = "collection=\"";
    let mut numbers = BTreeMap::new();
    let mut shown = String::with_capacity(text.len());
    for line in text.lines() {
        let labelled = line.split_once(LABEL).and_then(|(before, rest)| {
            let end = end_of_label(rest)?;
            Some((before, rest.get(..end)?, rest.get(end..)?))
        });
        match labelled {
            Some((before, name, after)) => {
                let next = numbers.len();
                let number = *numbers.entry(name).or_insert(next);
                let Some(name) = rename(number) else { continue };
                shown.extend([before, LABEL, &name, after]);
            }
            None => shown.push_str(line),
        }
        shown.push('\n');
    }
    shown
}

/// Where the quote stands that ends a label's value; a backslash takes the next character's meaning.
fn end_of_label(text: &str) -> Option<usize> {
    let mut is_escaped = false;
    text.char_indices().find_map(|(at, c)| {
        let ends = c == '"' && !is_escaped;
        is_escaped = c == '\\' && !is_escaped;
        ends.then_some(at)
    })
}

/// What the process says of itself. Levels of detail: 0 the process, 1 its collections, 2 their settings and shards.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "TelemetryData")]
pub(super) struct Telemetry {
    id: String,
    app: App,
    collections: CollectionsTelemetry,
    #[serde(skip_serializing_if = "Option::is_none")]
    cluster: Option<ClusterTelemetry>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "AppBuildTelemetry")]
struct App {
    name: &'static str,
    /// Of the protocol.
    version: &'static str,
    /// Of this server.
    build: &'static str,
    startup: String,
    uptime_s: u64,
}

#[derive(Serialize, JsonSchema)]
struct CollectionsTelemetry {
    number_of_collections: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    collections: Option<Vec<CollectionTelemetry>>,
}

#[derive(Serialize, JsonSchema)]
struct ClusterTelemetry {
    enabled: bool,
}

#[derive(Serialize, JsonSchema)]
#[serde(untagged)]
enum CollectionTelemetry {
    Full(FullTelemetry),
    Aggregated(AggregatedTelemetry),
}

#[derive(Serialize, JsonSchema)]
struct AggregatedTelemetry {
    #[serde(skip_serializing_if = "Option::is_none")]
    name: Option<String>,
    vectors: u64,
    points: u64,
    optimizers_status: OptimizersStatus,
    params: ParamsOut,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum OptimizersStatus {
    Ok,
    Error(String),
}

#[derive(Serialize, JsonSchema)]
struct FullTelemetry {
    /// The collection's name, or its number in the list.
    id: String,
    config: ConfigOut,
    shards: Vec<ShardTelemetry>,
    transfers: [(); 0],
    resharding: [(); 0],
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ReplicaSetTelemetry")]
struct ShardTelemetry {
    id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<KeyOut>,
    local: LocalShardTelemetry,
    remote: [(); 0],
    replicate_states: BTreeMap<String, &'static str>,
}

#[derive(Serialize, JsonSchema)]
struct LocalShardTelemetry {
    /// The last applied command.
    applied_index: u64,
    /// Vectors in the graphs.
    total_optimized_points: u64,
    num_points: u64,
    num_vectors: u64,
}

pub(super) async fn telemetry(call: Call<()>) -> Envelope<Telemetry> {
    let is_anonymous = call.params.anonymize == Some(true);
    let level = call.params.details_level.unwrap_or(0);
    // The figures of each collection: from level 1 on, unless the caller says otherwise.
    let shows_collections = level > 0 && call.params.per_collection != Some(false);
    let service = &call.rest.service;
    let names = service.collections();
    let mut collections = Vec::new();
    for (number, name) in names.iter().enumerate().filter(|_| shows_collections) {
        let mut report = match service.collection_report(name).await {
            Ok(report) => report,
            // Deleted since it was listed.
            Err(Error::CollectionNotFound { .. }) => continue,
            Err(error) => return Err(error.into()),
        };
        if is_anonymous {
            anonymize(&mut report, number);
        }
        collections.push(match level {
            1 => CollectionTelemetry::Aggregated(aggregated(&report, is_anonymous)),
            _ => CollectionTelemetry::Full(full(report, service.node_id())),
        });
    }
    let settings = &call.rest.settings;
    let started_at = jiff::Timestamp::try_from(settings.started_at).unwrap_or(jiff::Timestamp::UNIX_EPOCH);
    let telemetry = Telemetry {
        id: if is_anonymous { uuid::Uuid::nil().to_string() } else { settings.node_id.clone() },
        app: App {
            name: env!("CARGO_PKG_NAME"),
            version: PROTOCOL_VERSION,
            build: env!("CARGO_PKG_VERSION"),
            startup: started_at.to_string(),
            uptime_s: settings.started_at.elapsed().unwrap_or_default().as_secs(),
        },
        collections: CollectionsTelemetry {
            number_of_collections: names.len(),
            collections: shows_collections.then_some(collections),
        },
        cluster: (level > 0).then_some(ClusterTelemetry { enabled: false }),
    };
    answer(call.started, telemetry)
}

/// Leaves out every text that is the user's.
fn anonymize(report: &mut CollectionReport, number: usize) {
    report.name = number.to_string();
    let CollectionConfig { vectors, sparse_vectors, metadata, strict_mode, .. } = &mut report.config;
    *metadata = None;
    if let Some(strict) = strict_mode {
        strict.multivector_max_vectors = None;
        strict.sparse_max_length = None;
    }
    let named = std::mem::take(&mut vectors.by_name).into_iter().enumerate();
    vectors.by_name = named
        .map(|(number, (name, params))| (if name.is_empty() { name } else { number.to_string() }, params))
        .collect();
    *sparse_vectors = sparse_vectors
        .take()
        .map(|sparse| sparse.into_values().enumerate().map(|(number, params)| (number.to_string(), params)).collect());
    for shard in &mut report.shards {
        shard.key = None;
    }
}

fn aggregated(report: &CollectionReport, is_anonymous: bool) -> AggregatedTelemetry {
    AggregatedTelemetry {
        name: (!is_anonymous).then(|| report.name.clone()),
        vectors: report.indexed_vector_count + report.tail_vector_count,
        points: report.point_count,
        optimizers_status: match report.status {
            CollectionStatus::Green | CollectionStatus::Yellow => OptimizersStatus::Ok,
            CollectionStatus::Red => OptimizersStatus::Error("a shard failed".to_owned()),
        },
        params: config::params_out(&report.config),
    }
}

fn full(report: CollectionReport, node_id: u64) -> FullTelemetry {
    let shards = report.shards.into_iter().map(|shard| ShardTelemetry {
        id: shard.id,
        key: shard.key.map(KeyOut),
        local: LocalShardTelemetry {
            applied_index: shard.applied_index,
            total_optimized_points: shard.indexed_vector_count,
            num_points: shard.point_count,
            num_vectors: shard.indexed_vector_count + shard.tail_vector_count,
        },
        remote: [],
        replicate_states: BTreeMap::from([(node_id.to_string(), "Active")]),
    });
    FullTelemetry {
        id: report.name,
        config: config::config_out(&report.config),
        shards: shards.collect(),
        transfers: [],
        resharding: [],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_1_1_metrics_without_the_names_of_collections() {
        let text = "# TYPE points gauge\npoints{collection=\"a\\\"b\",x=\"1\"} 1\npoints{collection=\"c\"} 2\nup 1\n";
        assert_eq!(
            with_collections(text, |number| Some(number.to_string())),
            "# TYPE points gauge\npoints{collection=\"0\",x=\"1\"} 1\npoints{collection=\"1\"} 2\nup 1\n"
        );
        assert_eq!(with_collections(text, |_| None), "# TYPE points gauge\nup 1\n");
    }
}
