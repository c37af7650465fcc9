//! The envelope around every answer (CLIENTS section 3.3).

use std::collections::BTreeMap;
use std::marker::PhantomData;
use std::time::Instant;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;

use crate::api::status::{ApiError, Kind};

/// What a handler returns whose answer has no one type.
pub(super) type Answer = Result<Response, ApiError>;

/// What a handler returns: a `T` in the envelope.
pub(super) type Envelope<T> = Result<Success<T>, ApiError>;

/// An answer that holds a `T`, written already.
pub(super) struct Success<T> {
    response: Response,
    result: PhantomData<fn() -> T>,
}

impl<T> Success<T> {
    /// The answer.
    pub(super) fn into_inner(self) -> Response {
        self.response
    }
}

#[derive(Serialize)]
struct Enveloped<'a, T> {
    result: &'a T,
    status: &'static str,
    /// Seconds.
    time: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    usage: Option<&'a Usage>,
}

/// What a call used beside time; left out when it is nothing.
#[derive(Debug, Default, Serialize, JsonSchema)]
pub(super) struct Usage {
    #[serde(skip_serializing_if = "Option::is_none")]
    inference: Option<InferenceUsage>,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
struct InferenceUsage {
    /// By the name the request gave.
    models: BTreeMap<String, ModelUsage>,
}

#[derive(Debug, Default, Serialize, JsonSchema)]
struct ModelUsage {
    tokens: u64,
}

impl Usage {
    fn is_empty(&self) -> bool {
        self.inference.is_none()
    }

    /// Of texts turned into vectors: tokens by the model's name.
    pub(super) fn of_inference(tokens: &BTreeMap<String, u64>) -> Usage {
        let models = tokens.iter().map(|(name, tokens)| (name.clone(), ModelUsage { tokens: *tokens })).collect();
        Usage { inference: (!tokens.is_empty()).then_some(InferenceUsage { models }) }
    }
}

#[derive(Serialize)]
struct Failed<'a> {
    status: FailedStatus<'a>,
    time: f64,
}

#[derive(Serialize)]
struct FailedStatus<'a> {
    error: &'a str,
}

/// `result` with the time since `started`.
pub(super) fn success<T: Serialize>(started: Instant, result: &T) -> Answer {
    write(started, result, None)
}

/// As [`success`], of one type.
pub(super) fn answer<T: Serialize>(started: Instant, result: T) -> Envelope<T> {
    write(started, &result, None).map(|response| Success { response, result: PhantomData })
}

/// As [`answer`], with what the call used.
pub(super) fn answer_with_usage<T: Serialize>(started: Instant, result: T, usage: &Usage) -> Envelope<T> {
    let usage = Some(usage).filter(|usage| !usage.is_empty());
    write(started, &result, usage).map(|response| Success { response, result: PhantomData })
}

fn write<T: Serialize>(started: Instant, result: &T, usage: Option<&Usage>) -> Answer {
    let envelope = Enveloped { result, status: "ok", time: started.elapsed().as_secs_f64(), usage };
    match serde_json::to_vec(&envelope) {
        Ok(body) => Ok(json(StatusCode::OK, body)),
        Err(error) => Err(ApiError::internal(format_args!("the answer could not be written: {error}"))),
    }
}

/// The work goes on after the answer (202).
pub(super) fn accepted(started: Instant) -> Answer {
    let body = serde_json::json!({ "status": "accepted", "time": started.elapsed().as_secs_f64() });
    Ok(json(StatusCode::ACCEPTED, body.to_string().into_bytes()))
}

fn json(status: StatusCode, body: Vec<u8>) -> Response {
    let content_type = (header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    (status, [content_type], body).into_response()
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.http_status()).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        if self.kind == Kind::Unauthenticated {
            // The one error without an envelope: clients match its plain text.
            return (status, self.text).into_response();
        }
        let envelope = Failed { status: FailedStatus { error: &self.text }, time: 0.0 };
        let mut response = json(status, serde_json::to_vec(&envelope).unwrap_or_default());
        if let Some(retry_after_s) = self.retry_after_s {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(retry_after_s));
        }
        response
    }
}
