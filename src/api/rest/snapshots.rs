//! Snapshots of collections (PROTOCOL section 19): made, listed, fetched, deleted, recovered.

use std::path::PathBuf;

use axum::body::Body;
use axum::extract::{Multipart, Query};
use axum::http::{HeaderValue, header};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::fs::File;
use tokio::io::AsyncWriteExt;
use tokio_util::io::ReaderStream;

use super::call::{BodyCall, Call};
use super::envelope::{Answer, accepted, success};
use super::reads::from_body;
use crate::api::checks::{self, At};
use crate::api::status::ApiError;
use crate::api::times;
use crate::model::collection::CollectionName;
use crate::service::{Service, SnapshotDescription};

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
async fn finish<T, F>(call: &Call<String>, work: F) -> Result<Option<T>, ApiError>
where
    T: Send + 'static,
    F: Future<Output = Result<T, crate::service::Error>> + Send + 'static,
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

pub(super) async fn create(call: Call<String>) -> Answer {
    let (service, name): (Service, String) = (call.rest.service.clone(), call.path.clone());
    match finish(&call, async move { service.create_snapshot(&name).await }).await? {
        Some(snapshot) => success(call.started, &SnapshotOut::from(snapshot)),
        None => accepted(call.started),
    }
}

pub(super) async fn list(call: Call<String>) -> Answer {
    let snapshots = call.rest.service.snapshots(&call.path).await?;
    success(call.started, &snapshots.into_iter().map(SnapshotOut::from).collect::<Vec<_>>())
}

fn missing(name: &str) -> ApiError {
    ApiError::not_found(format_args!("Snapshot {name} not found"))
}

pub(super) async fn delete(call: Call<(String, String)>) -> Answer {
    let (collection, snapshot) = &call.path;
    match call.rest.service.delete_snapshot(collection, snapshot).await? {
        true => success(call.started, &true),
        false => Err(missing(snapshot)),
    }
}

pub(super) async fn download(call: Call<(String, String)>) -> Answer {
    let (collection, snapshot) = &call.path;
    let path = call.rest.service.snapshot_path(collection, snapshot)?.ok_or_else(|| missing(snapshot))?;
    let file = File::open(&path).await.map_err(ApiError::internal)?;
    let length = file.metadata().await.map_err(ApiError::internal)?.len();
    let mut response = Response::new(Body::from_stream(ReaderStream::with_capacity(file, 1 << 18)));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
    headers.insert(header::CONTENT_LENGTH, HeaderValue::from(length));
    if let Ok(disposition) = HeaderValue::from_str(&format!("attachment; filename=\"{snapshot}\"")) {
        headers.insert(header::CONTENT_DISPOSITION, disposition);
    }
    Ok(response.into_response())
}

/// Accepted: with one node there is one copy.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "SnapshotPriority")]
#[serde(rename_all = "snake_case")]
enum Priority {
    NoSync,
    Snapshot,
    Replica,
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "SnapshotRecover")]
pub(super) struct Recover {
    location: String,
    #[serde(rename = "priority")]
    _priority: Option<Priority>,
    checksum: Option<String>,
    #[serde(rename = "api_key")]
    _api_key: Option<String>,
}

fn target(name: &str) -> Result<CollectionName, ApiError> {
    from_body(|found| checks::name(found, At::Root.field("collection_name"), name))
}

pub(super) async fn recover(BodyCall { call, body }: BodyCall<String, Recover>) -> Answer {
    let name = target(&call.path)?;
    let service = call.rest.service.clone();
    if body.location.starts_with("http://") || body.location.starts_with("https://") {
        return Err(ApiError::unimplemented("recover from a URL"));
    }
    let path = service.local_snapshot(&body.location)?;
    let work = async move { service.recover_snapshot(name, path, body.checksum).await };
    match finish(&call, work).await? {
        Some(()) => success(call.started, &true),
        None => accepted(call.started),
    }
}

/// What an upload says beside its file.
#[derive(Deserialize)]
pub(super) struct UploadParams {
    #[serde(rename = "priority")]
    _priority: Option<Priority>,
    checksum: Option<String>,
}

/// An uploaded file; removed when dropped.
struct Uploaded(PathBuf);

impl Drop for Uploaded {
    fn drop(&mut self) {
        // What cannot be removed now is swept with the folder.
        let _ = std::fs::remove_file(&self.0);
    }
}

pub(super) async fn upload(call: Call<String>, Query(params): Query<UploadParams>, mut form: Multipart) -> Answer {
    let name = target(&call.path)?;
    let service = call.rest.service.clone();
    let malformed = |error: axum::extract::multipart::MultipartError| {
        ApiError::malformed(format_args!("Format error in multipart body: {}", error.body_text()))
    };
    let uploaded = Uploaded(service.upload_path()?);
    let mut is_there = false;
    while let Some(mut field) = form.next_field().await.map_err(malformed)? {
        if field.name() != Some("snapshot") {
            continue;
        }
        let mut file = File::create(&uploaded.0).await.map_err(ApiError::internal)?;
        while let Some(bytes) = field.next().await {
            file.write_all(&bytes.map_err(malformed)?).await.map_err(ApiError::internal)?;
        }
        file.flush().await.map_err(ApiError::internal)?;
        is_there = true;
    }
    if !is_there {
        return Err(ApiError::malformed("Format error in multipart body: a file named `snapshot` is needed"));
    }
    let work = async move {
        // Kept until the recovery is over.
        let Uploaded(path) = &uploaded;
        service.recover_snapshot(name, path.clone(), params.checksum).await
    };
    match finish(&call, work).await? {
        Some(()) => success(call.started, &true),
        None => accepted(call.started),
    }
}
