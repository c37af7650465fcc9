//! The envelope around every answer (CLIENTS section 3.3).

use std::time::Instant;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use crate::api::status::{ApiError, Kind};

/// What a handler returns.
pub(super) type Answer = Result<Response, ApiError>;

#[derive(Serialize)]
struct Success<'a, T> {
    result: &'a T,
    status: &'static str,
    /// Seconds.
    time: f64,
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
    let envelope = Success { result, status: "ok", time: started.elapsed().as_secs_f64() };
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
