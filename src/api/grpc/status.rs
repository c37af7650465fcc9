//! Errors as gRPC carries them (CLIENTS section 3.4). The texts are those of `api::status`.

use tonic::metadata::MetadataValue;
use tonic::{Code, Status};

use super::call::Times;
use super::pb;
use crate::api::checks::{Checked, Findings, GRPC_BODY};
use crate::api::convert;
use crate::api::inference::Tokens;
use crate::api::status::{ApiError, Kind};
use crate::service;

/// Trailing metadata of a refusal that may be retried: whole seconds to wait.
const RETRY_AFTER: &str = "retry-after";

/// The status a failure is answered with.
pub fn grpc_status(error: ApiError) -> Status {
    let code = match error.kind {
        Kind::BadInput | Kind::Validation => Code::InvalidArgument,
        Kind::NotFound => Code::NotFound,
        Kind::AlreadyExists => Code::AlreadyExists,
        Kind::Unauthenticated => Code::Unauthenticated,
        Kind::Forbidden => Code::PermissionDenied,
        Kind::Timeout => Code::DeadlineExceeded,
        Kind::DataLoss => Code::DataLoss,
        Kind::TooLarge | Kind::Overloaded | Kind::OutOfDisk => Code::ResourceExhausted,
        Kind::Unexpected => Code::Internal,
        Kind::Unimplemented => Code::Unimplemented,
        Kind::Unavailable => Code::Unavailable,
    };
    let mut status = Status::new(code, error.text);
    if let Some(seconds) = error.retry_after_s {
        status.metadata_mut().insert(RETRY_AFTER, MetadataValue::from(seconds));
    }
    status
}

/// The status a failed use case is answered with.
pub(super) fn failed(error: service::Error) -> Status {
    grpc_status(error.into())
}

/// Turns a request into the model, or into the one error that says all that is wrong with it.
pub(super) fn checked<T>(convert: impl FnOnce(&mut Findings) -> Checked<T>) -> Result<T, Status> {
    let mut found = Findings::new();
    let value = convert(&mut found);
    found.finish(GRPC_BODY, value).map_err(grpc_status)
}

/// As [`checked`], of a message with vectors: off the workers if it is large, and with what computing vectors took.
pub(super) async fn converted<M: prost::Message + 'static, T: Send + 'static>(
    message: M,
    times: Times,
    convert: fn(&mut Findings, M, Times) -> Checked<T>,
) -> Result<(T, Option<pb::Usage>), Status> {
    let bytes = message.encoded_len();
    let converted = convert::converted(bytes, GRPC_BODY, move |found| convert(found, message, times)).await;
    let (value, tokens) = converted.map_err(grpc_status)?;
    Ok((value, usage(tokens)))
}

/// None when nothing was computed.
fn usage(tokens: Tokens) -> Option<pb::Usage> {
    let models = tokens.into_iter().map(|(name, tokens)| (name, pb::ModelUsage { tokens })).collect();
    let inference = Some(pb::InferenceUsage { models }).filter(|usage| !usage.models.is_empty())?;
    Some(pb::Usage { hardware: None, inference: Some(inference) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::service::Error;

    #[test]
    fn clients_3_4_each_kind_has_its_code() {
        let cases = [
            (Kind::BadInput, Code::InvalidArgument),
            (Kind::Validation, Code::InvalidArgument),
            (Kind::NotFound, Code::NotFound),
            (Kind::AlreadyExists, Code::AlreadyExists),
            (Kind::Unauthenticated, Code::Unauthenticated),
            (Kind::Forbidden, Code::PermissionDenied),
            (Kind::Timeout, Code::DeadlineExceeded),
            (Kind::TooLarge, Code::ResourceExhausted),
            (Kind::Overloaded, Code::ResourceExhausted),
            (Kind::Unexpected, Code::Internal),
            (Kind::Unimplemented, Code::Unimplemented),
            (Kind::Unavailable, Code::Unavailable),
            (Kind::OutOfDisk, Code::ResourceExhausted),
        ];
        for (kind, code) in cases {
            let status = grpc_status(ApiError { kind, text: "text".to_owned(), retry_after_s: None });
            assert_eq!((status.code(), status.message()), (code, "text"), "{kind:?}");
            assert!(status.metadata().is_empty());
        }
    }

    #[test]
    fn a_shed_request_says_when_to_come_back() {
        let status = grpc_status(Error::Overloaded { what: "searches", retry_after_s: 3 }.into());
        assert_eq!(status.code(), Code::ResourceExhausted);
        assert_eq!(status.metadata().get("retry-after").unwrap(), "3");
    }
}
