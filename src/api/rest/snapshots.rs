//! Snapshots of collections, shards and the node (PROTOCOL section 19): made, listed, fetched, deleted, recovered.

use axum::body::Body;
use axum::extract::{Multipart, Query};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::call::{BodyCall, Call};
use super::envelope::{Answer, accepted, success};
use super::reads::from_body;
use crate::api::checks::{self, At};
use crate::api::status::ApiError;
use crate::api::times;
use crate::model::collection::CollectionName;
use crate::service::{Error, Service, SnapshotBody, SnapshotDescription, SnapshotSource, SnapshotsOf};

/// What a path names: a collection or one of its shards, or neither, and a snapshot where there is one.
#[derive(Deserialize)]
pub(super) struct Named {
    name: Option<String>,
    shard: Option<u64>,
    snapshot: Option<String>,
}

impl Named {
    fn of(&self) -> SnapshotsOf {
        match (&self.name, self.shard) {
            (None, _) => SnapshotsOf::Node,
            (Some(name), None) => SnapshotsOf::Collection(name.clone()),
            (Some(name), Some(shard)) => SnapshotsOf::Shard(name.clone(), shard),
        }
    }

    fn snapshot(&self) -> &str {
        self.snapshot.as_deref().unwrap_or_default()
    }
}

/// A snapshot as it is listed.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SnapshotDescription")]
pub(super) struct SnapshotOut {
    name: String,
    creation_time: Option<String>,
    size: u64,
    checksum: Option<String>,
}

impl From<SnapshotDescription> for SnapshotOut {
    fn from(snapshot: SnapshotDescription) -> SnapshotOut {
        let SnapshotDescription { name, created_at, size, checksum } = snapshot;
        SnapshotOut { name, creation_time: created_at.and_then(times::without_zone), size, checksum }
    }
}

/// Runs `work` to its end even when the caller leaves, and waits for it unless told not to.
async fn finish<T, F>(call: &Call<Named>, work: F) -> Result<Option<T>, ApiError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let task = tokio::spawn(async move {
        let outcome = work.await;
        if let Err(error) = &outcome {
            tracing::warn!(%error, "snapshot work failed");
        }
        outcome
    });
    if !call.params.waits_unless_told() {
        return Ok(None);
    }
    match task.await {
        Ok(outcome) => Ok(Some(outcome?)),
        Err(error) => Err(ApiError::internal(error)),
    }
}

pub(super) async fn create(call: Call<Named>) -> Answer {
    let (service, of): (Service, SnapshotsOf) = (call.rest.service.clone(), call.path.of());
    // Of what is not there no work is begun.
    service.check_snapshots_of(&of)?;
    match finish(&call, async move { service.create_snapshot(&of).await }).await? {
        Some(snapshot) => success(call.started, &SnapshotOut::from(snapshot)),
        None => accepted(call.started),
    }
}

pub(super) async fn list(call: Call<Named>) -> Answer {
    let snapshots = call.rest.service.snapshots(&call.path.of()).await?;
    success(call.started, &snapshots.into_iter().map(SnapshotOut::from).collect::<Vec<_>>())
}

fn missing(name: &str) -> ApiError {
    ApiError::not_found(format_args!("Snapshot {name} not found"))
}

pub(super) async fn delete(call: Call<Named>) -> Answer {
    let (service, of) = (call.rest.service.clone(), call.path.of());
    let name = call.path.snapshot().to_owned();
    match finish(&call, async move { service.delete_snapshot(&of, &name).await }).await? {
        Some(true) => success(call.started, &true),
        Some(false) => Err(missing(call.path.snapshot())),
        None => accepted(call.started),
    }
}

pub(super) async fn download(call: Call<Named>) -> Answer {
    let name = call.path.snapshot();
    let found = call.rest.service.open_snapshot(&call.path.of(), name).await?;
    Ok(streamed(found.ok_or_else(|| missing(name))?))
}

/// The shard's content as it is now, made while it is sent.
pub(super) async fn stream(call: Call<(String, u64)>) -> Answer {
    let (collection, shard) = &call.path;
    Ok(streamed(call.rest.service.stream_shard_snapshot(collection, *shard).await?))
}

fn streamed(SnapshotBody { name, size, chunks }: SnapshotBody) -> Response {
    let mut response = Response::new(Body::from_stream(chunks));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    if let Some(size) = size {
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from(size));
    }
    let quoted = name.replace('"', "'");
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{quoted}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    response.into_response()
}

/// Accepted: with one node there is one copy.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "SnapshotPriority")]
#[serde(rename_all = "snake_case")]
enum Priority {
    NoSync,
    Snapshot,
    Replica,
    ShardTransfer,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "SnapshotRecover")]
pub(super) struct Recover {
    location: String,
    #[serde(rename = "priority")]
    _priority: Option<Priority>,
    checksum: Option<String>,
    api_key: Option<String>,
}

/// What is recovered into; all that can be said before the file is there has been checked.
enum Target {
    Collection(CollectionName),
    Shard(String, u64),
}

fn target(service: &Service, named: &Named) -> Result<Target, ApiError> {
    let name = named.name.clone().unwrap_or_default();
    match named.shard {
        Some(shard) => {
            service.check_shard(&name, shard)?;
            Ok(Target::Shard(name, shard))
        }
        None => {
            from_body(|found| checks::name(found, At::Root.field("collection_name"), &name)).map(Target::Collection)
        }
    }
}

async fn recover_from(call: &Call<Named>, target: Target, source: SnapshotSource, checksum: Option<String>) -> Answer {
    let service = call.rest.service.clone();
    let work = async move {
        match target {
            Target::Collection(name) => service.recover_collection(name, source, checksum).await,
            Target::Shard(name, shard) => service.recover_shard(&name, shard, source, checksum).await,
        }
    };
    match finish(call, work).await? {
        Some(()) => success(call.started, &true),
        None => accepted(call.started),
    }
}

pub(super) async fn recover(BodyCall { call, body }: BodyCall<Named, Recover>) -> Answer {
    let target = target(&call.rest.service, &call.path)?;
    let source = call.rest.service.locate_snapshot(&body.location, body.api_key.as_deref())?;
    recover_from(&call, target, source, body.checksum).await
}

/// What an upload says beside its file.
#[derive(Deserialize)]
pub(super) struct UploadParams {
    #[serde(rename = "priority")]
    _priority: Option<Priority>,
    checksum: Option<String>,
}

/// The keys were checked before this was called: nothing is written for a caller who may not.
pub(super) async fn upload(call: Call<Named>, Query(params): Query<UploadParams>, mut form: Multipart) -> Answer {
    let target = target(&call.rest.service, &call.path)?;
    let malformed = |error: axum::extract::multipart::MultipartError| {
        ApiError::malformed(format_args!("Format error in multipart body: {}", error.body_text()))
    };
    let idle_max = call.rest.settings.request_timeout;
    let stalled = |_| ApiError::timeout("the snapshot did not arrive in time");
    loop {
        let field = tokio::time::timeout(idle_max, form.next_field()).await.map_err(stalled)?.map_err(malformed)?;
        let Some(mut field) = field else {
            return Err(ApiError::malformed("Format error in multipart body: a file named `snapshot` is needed"));
        };
        if field.name() != Some("snapshot") {
            continue;
        }
        let mut receiving = call.rest.service.receive_snapshot()?;
        while let Some(bytes) = tokio::time::timeout(idle_max, field.next()).await.map_err(stalled)? {
            receiving.write(bytes.map_err(malformed)?.into()).await?;
        }
        return recover_from(&call, target, receiving.into(), params.checksum).await;
    }
}
