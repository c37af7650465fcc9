//! From an HTTP request to a call: its collection, its query parameters, its body.
//!
//! The body is read within a size and a time limit, after decompression, and parsed once, straight into its type.
//! Bodies that take long to parse are parsed off Tokio's workers.

use std::num::NonZeroU64;
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::{FromRequest, FromRequestParts, Path, Query, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, header};
use futures::StreamExt;
use schemars::{JsonSchema, json_schema};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::sync::OwnedSemaphorePermit;

use super::Rest;
use super::envelope::Usage;
use super::schemas::{any_of, schema};
use crate::api::checks::{self, At, Checked, Findings};
use crate::api::convert;
use crate::api::status::{ApiError, RetryAfterS};
use crate::service::{Consistency, Error, ReadOptions, WriteOptions};

/// Bodies above this are parsed on a blocking thread: some milliseconds of work.
const PARSE_INLINE_BYTES_MAX: usize = 256 * 1024;
/// A body that is too large is still read up to this many times the limit, so that the client gets to see the answer.
const DRAIN_FACTOR: usize = 2;

/// A refused call may be tried again after this.
const RETRY_AFTER_S: RetryAfterS = 1;

/// A request without a body.
pub(super) struct Call<P> {
    pub rest: Rest,
    pub started: Instant,
    /// What the path names: the collection, and where there is one the point.
    pub path: P,
    pub params: Params,
    /// Of the body, decompressed; 0 without one.
    body_bytes: usize,
    /// The call's place among those handled at once.
    _place: OwnedSemaphorePermit,
}

/// A request with a JSON body.
pub(super) struct BodyCall<P, B> {
    pub call: Call<P>,
    pub body: B,
}

/// The query parameters of all operations; each uses some (CLIENTS section 3.5).
#[derive(Debug, Default, Deserialize, JsonSchema)]
pub(super) struct Params {
    /// Whether to answer only when the change is visible.
    wait: Option<bool>,
    /// How strictly the write is ordered among others.
    ordering: Option<Ordering>,
    /// Seconds after which the request is given up.
    #[schemars(range(min = 1))]
    timeout: Option<u64>,
    /// How fresh a read must be: a number of replicas, or which.
    #[schemars(with = "Option<ConsistencyShape>")]
    consistency: Option<String>,
    /// Whether a node is removed with what it holds.
    pub force: Option<bool>,
    /// Whether names are left out.
    pub anonymize: Option<bool>,
    /// How much is told, from 0 on.
    pub details_level: Option<u64>,
    /// Whether figures are told of each collection.
    pub per_collection: Option<bool>,
    /// What else is told: a list of words between commas.
    pub with: Option<String>,
    /// How many completed works are told. None is: no history is kept.
    #[serde(rename = "completed_limit")]
    _completed_limit: Option<u64>,
}

/// The schema of `consistency`.
struct ConsistencyShape;

schema!(ConsistencyShape, "ReadConsistency", _ => any_of([
    json_schema!({ "type": "integer", "format": "uint64", "minimum": 1 }),
    json_schema!({ "type": "string", "enum": ["majority", "quorum", "all"] }),
]));

/// Accepted and without effect: writes of a shard are always ordered.
#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "WriteOrdering")]
#[serde(rename_all = "snake_case")]
enum Ordering {
    Weak,
    Medium,
    Strong,
}

impl Params {
    /// Of work on snapshots: answered when it is done, unless told otherwise.
    pub(super) fn waits_unless_told(&self) -> bool {
        self.wait.unwrap_or(true)
    }

    fn deadline(&self, started: Instant) -> Result<Option<Instant>, ApiError> {
        let mut found = Findings::new();
        let deadline = checks::deadline(&mut found, At::Root.field("timeout"), started, self.timeout);
        found.finish("query parameters", deadline)
    }

    fn consistency(&self) -> Result<Consistency, ApiError> {
        match self.consistency.as_deref() {
            None | Some("" | "majority" | "quorum" | "all") => Ok(Consistency::Linearizable),
            Some(text) => match text.parse::<NonZeroU64>() {
                Ok(_) => Ok(Consistency::Any),
                Err(_) => {
                    let what = "is neither a positive number nor one of majority, quorum, all";
                    Err(malformed_in("query parameters", format_args!("consistency: `{text}` {what}")))
                }
            },
        }
    }
}

impl<P> Call<P> {
    /// How a write is answered. `None` as its deadline leaves the wait to [`Call::within_limit`].
    pub(super) fn write_options(&self) -> Result<WriteOptions, ApiError> {
        // Parsed so that a wrong one is refused.
        let _: Option<Ordering> = self.params.ordering;
        let deadline = self.params.deadline(self.started)?;
        Ok(WriteOptions { wait: self.params.wait.unwrap_or(false), deadline })
    }

    /// How a read is run.
    pub(super) fn read_options(&self) -> Result<ReadOptions, ApiError> {
        Ok(ReadOptions {
            consistency: self.params.consistency()?,
            deadline: self.deadline()?,
            timeout_s: self.params.timeout,
        })
    }

    /// The request's `timeout`, else the server's.
    pub(super) fn deadline(&self) -> Result<Option<Instant>, ApiError> {
        let deadline = self.params.deadline(self.started)?;
        Ok(deadline.or_else(|| self.started.checked_add(self.rest.settings.request_timeout)))
    }

    /// The body, converted to the model off the workers if it is large.
    pub(super) async fn converted<T: Send + 'static>(
        &self,
        convert: impl FnOnce(&mut Findings) -> Checked<T> + Send + 'static,
    ) -> Result<(T, Usage), ApiError> {
        let (value, tokens) = convert::converted(self.body_bytes, "JSON body", convert).await?;
        Ok((value, Usage::of_inference(&tokens)))
    }

    /// `work`, given up after the server's time limit. A write that is given up may still take effect.
    pub(super) async fn within_limit<T>(&self, work: impl Future<Output = T>) -> Result<T, ApiError> {
        let limit = self.rest.settings.request_timeout;
        tokio::time::timeout(limit, work)
            .await
            .map_err(|_| ApiError::timeout(format_args!("the write was not confirmed within {} s", limit.as_secs())))
    }
}

/// What can be said of a request before its body has arrived.
struct Head<P> {
    started: Instant,
    path: P,
    params: Params,
}

impl<P: DeserializeOwned + Send> Head<P> {
    async fn read(parts: &mut Parts, rest: &Rest) -> Result<Head<P>, ApiError> {
        let started = Instant::now();
        let Path(path) = Path::from_request_parts(parts, rest)
            .await
            .map_err(|rejection| malformed_in("path parameters", rejection.body_text()))?;
        let Query(params) = Query::try_from_uri(&parts.uri)
            .map_err(|rejection| malformed_in("query parameters", rejection.body_text()))?;
        Ok(Head { started, path, params })
    }

    /// Begins the call, once all of its request is there: a caller that sends slowly occupies no place.
    fn begin(self, rest: &Rest) -> Result<Call<P>, ApiError> {
        let Head { started, path, params } = self;
        match Arc::clone(&rest.room).try_acquire_owned() {
            Ok(place) => Ok(Call { rest: rest.clone(), started, path, params, body_bytes: 0, _place: place }),
            Err(_) => Err(Error::Overloaded { what: "too many calls at once", retry_after_s: RETRY_AFTER_S }.into()),
        }
    }
}

impl<P: DeserializeOwned + Send> FromRequestParts<Rest> for Call<P> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, rest: &Rest) -> Result<Self, ApiError> {
        Head::read(parts, rest).await?.begin(rest)
    }
}

/// A part of the request beside its body that cannot be read.
pub(super) fn malformed_in(place: &str, text: impl std::fmt::Display) -> ApiError {
    ApiError::malformed(format_args!("Deserialize error in {place}: {text}"))
}

impl<P, B> FromRequest<Rest> for BodyCall<P, B>
where
    P: DeserializeOwned + Send,
    B: DeserializeOwned + Send + 'static,
{
    type Rejection = ApiError;

    async fn from_request(request: Request, rest: &Rest) -> Result<Self, ApiError> {
        let (mut parts, body) = request.into_parts();
        let head = Head::read(&mut parts, rest).await?;
        check_headers(&parts.headers)?;
        let settings = &rest.settings;
        let bytes = read(body, &parts.headers, settings.request_bytes_max, settings.request_timeout).await?;
        let mut call = head.begin(rest)?;
        call.body_bytes = bytes.len();
        let body = if bytes.len() <= PARSE_INLINE_BYTES_MAX {
            parse(&bytes)
        } else {
            match tokio::task::spawn_blocking(move || parse(&bytes)).await {
                Ok(body) => body,
                Err(error) => Err(ApiError::internal(format_args!("the request could not be parsed: {error}"))),
            }
        };
        Ok(BodyCall { call, body: body? })
    }
}

/// Anything that may be JSON passes: absent types, and what plain tools send.
fn check_headers(headers: &HeaderMap) -> Result<(), ApiError> {
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING)
        && encoding != "identity"
    {
        // What can be decompressed was, and lost this header.
        return Err(format_error("the content encoding is not supported; gzip is"));
    }
    let Some(content_type) = headers.get(header::CONTENT_TYPE) else { return Ok(()) };
    let essence = content_type.to_str().unwrap_or("").split(';').next().unwrap_or("").trim();
    if essence.eq_ignore_ascii_case("application/json") || essence.to_ascii_lowercase().ends_with("+json") {
        return Ok(());
    }
    Err(format_error("the content type must be application/json"))
}

fn format_error(what: impl std::fmt::Display) -> ApiError {
    ApiError::malformed(format_args!("Format error in JSON body: {what}"))
}

pub(super) fn parse<B: DeserializeOwned>(bytes: &[u8]) -> Result<B, ApiError> {
    serde_json::from_slice(bytes).map_err(format_error)
}

/// The whole body, at most `bytes_max` bytes, within `time_max`.
async fn read(body: Body, headers: &HeaderMap, bytes_max: usize, time_max: Duration) -> Result<Vec<u8>, ApiError> {
    // Of the compressed body, if it is: then only a lower bound of what will be held.
    let declared =
        headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<usize>().ok()).unwrap_or(0);
    let drained_max = bytes_max.saturating_mul(DRAIN_FACTOR);
    if declared > drained_max {
        return Err(ApiError::too_large(bytes_max));
    }
    let read = async {
        let mut bytes = Vec::with_capacity(declared.min(bytes_max));
        let mut length = 0usize;
        let mut frames = body.into_data_stream();
        while let Some(frame) = frames.next().await {
            let frame = frame.map_err(|error| format_error(format_args!("the body could not be read: {error}")))?;
            length = length.saturating_add(frame.len());
            if length > drained_max {
                break;
            }
            if length <= bytes_max {
                bytes.extend_from_slice(&frame);
            } else {
                bytes = Vec::new();
            }
        }
        if length > bytes_max { Err(ApiError::too_large(bytes_max)) } else { Ok(bytes) }
    };
    tokio::time::timeout(time_max, read)
        .await
        .unwrap_or_else(|_| Err(ApiError::timeout("the body of the request did not arrive in time")))
}
