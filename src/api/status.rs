//! Errors as the wire shows them: one table of kinds to HTTP statuses and gRPC codes, and every text, written once.

use super::auth::Denied;
use super::strict;
use crate::model::collection::VectorClash;
use crate::service;

/// The title both transports report; clients compare it.
pub const TITLE: &str = "qdrant - vector search engine";
/// Of a read's answer: `shard=index,...`, up to where the logs of the shards it read had been applied.
pub(super) const APPLIED_INDEX_HEADER: &str = "quiver-applied-index";

/// The protocol version both transports report. Clients 1.18 to 1.20 accept it silently.
pub const PROTOCOL_VERSION: &str = "1.19.0";

/// Seconds after which a shed request may be tried again.
pub type RetryAfterS = u32;

/// Kinds of failure (CLIENTS: status codes).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// 400, INVALID_ARGUMENT.
    BadInput,
    /// 422, INVALID_ARGUMENT.
    Validation,
    /// 404, NOT_FOUND.
    NotFound,
    /// 409, ALREADY_EXISTS.
    AlreadyExists,
    /// 401, UNAUTHENTICATED.
    Unauthenticated,
    /// 403, PERMISSION_DENIED.
    Forbidden,
    /// 408, DEADLINE_EXCEEDED.
    Timeout,
    /// 413, RESOURCE_EXHAUSTED.
    TooLarge,
    /// 429, RESOURCE_EXHAUSTED, with a retry hint.
    Overloaded,
    /// 500, INTERNAL.
    Unexpected,
    /// 501, UNIMPLEMENTED.
    Unimplemented,
    /// 503, UNAVAILABLE.
    Unavailable,
    /// 400, DATA_LOSS.
    DataLoss,
    /// 507, RESOURCE_EXHAUSTED.
    OutOfDisk,
}

/// A failure on its way to a client.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ApiError {
    /// Decides the status code.
    pub kind: Kind,
    /// Complete, with the protocol's prefix.
    pub text: String,
    /// When a refusal of load may be tried again.
    pub retry_after_s: Option<RetryAfterS>,
}

impl ApiError {
    fn new(kind: Kind, text: String) -> ApiError {
        ApiError { kind, text, retry_after_s: None }
    }
    /// `Wrong input: ...`.
    pub fn wrong_input(text: impl std::fmt::Display) -> ApiError {
        ApiError::new(Kind::BadInput, format!("Wrong input: {text}"))
    }
    /// `Bad request: ...`.
    pub fn bad_request(text: impl std::fmt::Display) -> ApiError {
        ApiError::new(Kind::BadInput, format!("Bad request: {text}"))
    }
    /// Text as it is, class bad input (`Format error in JSON body: ...`, `Deserialize error in ...`).
    pub fn malformed(text: impl std::fmt::Display) -> ApiError {
        ApiError::new(Kind::BadInput, text.to_string())
    }
    /// Field validation. `place` is `JSON body`, `body` (gRPC), `path parameters` or `query parameters`.
    pub fn validation(place: &str, failures: &[Failure]) -> ApiError {
        let list: Vec<String> = failures.iter().map(|f| format!("{}: {}", f.path, f.message)).collect();
        ApiError::new(Kind::Validation, format!("Validation error in {place}: [{}]", list.join("; ")))
    }
    /// `Not found: ...`.
    pub fn not_found(text: impl std::fmt::Display) -> ApiError {
        ApiError::new(Kind::NotFound, format!("Not found: {text}"))
    }
    /// A part of the protocol this version lacks, by name.
    pub fn unimplemented(what: impl std::fmt::Display) -> ApiError {
        ApiError::new(Kind::Unimplemented, format!("Not implemented: {what}"))
    }
    /// `Timeout: ...`.
    pub fn timeout(text: impl std::fmt::Display) -> ApiError {
        ApiError::new(Kind::Timeout, format!("Timeout: {text}"))
    }
    /// `Service internal error: ...`.
    pub fn internal(text: impl std::fmt::Display) -> ApiError {
        ApiError::new(Kind::Unexpected, format!("Service internal error: {text}"))
    }
    /// 413.
    pub fn too_large(bytes_max: usize) -> ApiError {
        ApiError::new(Kind::TooLarge, format!("Payload too large: a request may have up to {bytes_max} bytes"))
    }

    /// The HTTP status code.
    pub fn http_status(&self) -> u16 {
        match self.kind {
            Kind::BadInput | Kind::DataLoss => 400,
            Kind::Validation => 422,
            Kind::NotFound => 404,
            Kind::AlreadyExists => 409,
            Kind::Unauthenticated => 401,
            Kind::Forbidden => 403,
            Kind::Timeout => 408,
            Kind::TooLarge => 413,
            Kind::Overloaded => 429,
            Kind::Unexpected => 500,
            Kind::Unimplemented => 501,
            Kind::Unavailable => 503,
            Kind::OutOfDisk => 507,
        }
    }
}

/// One failed field: path with dots and `[i]`, `?` for a map member; message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Where the field stands.
    pub path: String,
    /// What is wrong with it.
    pub message: String,
}

impl Failure {
    /// A failure of the field at `path`.
    pub fn new(path: impl Into<String>, message: impl Into<String>) -> Failure {
        Failure { path: path.into(), message: message.into() }
    }
}

impl From<Denied> for ApiError {
    fn from(denied: Denied) -> ApiError {
        match denied {
            Denied::KeyMissing => ApiError::new(
                Kind::Unauthenticated,
                "Must provide an API key or an Authorization bearer token".to_owned(),
            ),
            Denied::KeyUnknown => ApiError::new(Kind::Unauthenticated, "Invalid API key or JWT".to_owned()),
            Denied::ReadOnly => {
                ApiError::new(Kind::Forbidden, "Forbidden: this key may read, not write or manage".to_owned())
            }
        }
    }
}

impl From<service::Error> for ApiError {
    fn from(error: service::Error) -> ApiError {
        use service::Error as E;
        match error {
            E::CollectionNotFound { name } => ApiError::not_found(format_args!("Collection `{name}` doesn't exist!")),
            E::LookupNotFound { name } => ApiError::not_found(format_args!("Collection {name} not found")),
            E::CollectionExists { name } => {
                ApiError::new(Kind::AlreadyExists, format!("Wrong input: Collection `{name}` already exists!"))
            }
            E::NameTaken { name } => ApiError::wrong_input(format_args!(
                "Can't use `{name}`: an alias or a collection of this name already exists"
            )),
            E::AliasNotFound { alias } => ApiError::not_found(format_args!("Alias {alias} does not exists!")),
            E::PointNotFound { id } => ApiError::not_found(format_args!("No point with id {id} found")),
            E::VectorNotFound { id, name } => {
                ApiError::not_found(format_args!("Vector with name \"{name}\" for point {id} not found"))
            }
            E::VectorNameUnknown { name } => {
                ApiError::wrong_input(format_args!("Not existing vector name error: {name}"))
            }
            E::VectorExists { name, clash } => ApiError::wrong_input(match clash {
                VectorClash::OtherDense => format!("Vector `{name}` already exists with a different configuration"),
                VectorClash::OtherSparse => {
                    format!("Sparse vector `{name}` already exists with a different configuration")
                }
                VectorClash::IsSparse => format!("Vector `{name}` already exists as a sparse vector"),
                VectorClash::IsDense => format!("Vector `{name}` already exists as a dense vector"),
            }),
            E::VectorIsOnlyOne => ApiError::wrong_input(
                "Cannot delete the unnamed vector when it is the only dense vector in the collection",
            ),
            E::WrongDim { want, got } => {
                ApiError::wrong_input(format_args!("Vector dimension error: expected dim: {want}, got {got}"))
            }
            E::SparseMismatch => ApiError::wrong_input("Conversion between sparse and regular vectors failed"),
            E::MultiMismatch => ApiError::wrong_input("Conversion between multi and regular vectors failed"),
            E::NotFinite { name } => {
                ApiError::wrong_input(format_args!("Vector `{name}` holds NaN or an infinite number"))
            }
            E::NoRangeIndex { key } => ApiError::wrong_input(format_args!(
                "No range index for `order_by` key: `{key}`. Please create one to use `order_by`. \
                 Integer (with `range`), float and datetime indexes have ranges"
            )),
            E::NoFacetIndex { key } => ApiError::wrong_input(format_args!(
                "No appropriate index for faceting: `{key}`. Please create one to facet on this field. \
                 Keyword, integer (with `lookup`), uuid and bool indexes count values"
            )),
            E::NoScoringIndex { key } => ApiError::wrong_input(format_args!(
                "No text index with `scoring` on `{key}`. Please create one to rank by its text"
            )),
            E::IdfNotPossible { name } => ApiError::bad_request(format_args!(
                "search param `idf` requires a sparse vector with the `idf` modifier, `{name}` is none"
            )),
            E::WrongWeightCount { got, expected } => ApiError::bad_request(format_args!(
                "Number of weights in RRF should match number of pre-fetches: got {got}, expected {expected}"
            )),
            E::TextFieldNeeded => {
                ApiError::bad_request("A text query needs `using` to name a payload field with a text index")
            }
            E::Formula(error) => ApiError::bad_request(error),
            E::SnapshotFailed { why } => ApiError::internal(format_args!("snapshot failed: {why}")),
            E::SnapshotDamaged { why } => ApiError::bad_request(why),
            E::ChecksumMismatch { found, wanted } => ApiError::new(
                Kind::DataLoss,
                format!("Bad request: Snapshot checksum mismatch: expected {wanted}, got {found}"),
            ),
            E::SnapshotMismatch { why } => ApiError::bad_request(format_args!("The snapshot does not fit: {why}")),
            E::SnapshotUrl { why } => ApiError::bad_request(format_args!("Invalid snapshot location: {why}")),
            E::UrlRefused { why } => ApiError::new(
                Kind::Forbidden,
                format!(
                    "Forbidden: {why} (service.enable_snapshot_url_recovery, \
                     storage.snapshots_config.url_recovery.allowed_hosts)"
                ),
            ),
            E::SnapshotDownload { url, why } => {
                ApiError::bad_request(format_args!("Failed to download snapshot from {url}: {why}"))
            }
            E::ShardNotFound { number } => ApiError::not_found(format_args!("Shard {number} not found")),
            E::NodeNotFound { id } => ApiError::not_found(format_args!("Peer {id} not found")),
            E::ReplicaNotFound { number, node } => {
                ApiError::bad_request(format_args!("Shard {number} has no replica on peer {node}"))
            }
            E::ReplicaExists { number, node } => {
                ApiError::bad_request(format_args!("Shard {number} has a replica on peer {node} already"))
            }
            E::LastReplica { number } => {
                ApiError::bad_request(format_args!("Shard {number} must have at least one replica"))
            }
            E::ReshardingUnderWay { name } => {
                ApiError::bad_request(format_args!("Collection {name} is being resharded already"))
            }
            E::NoResharding => ApiError::bad_request("No resharding is in progress"),
            E::ReshardingKey { is_custom: true } => {
                ApiError::bad_request("Shard key must be specified: the collection has custom sharding")
            }
            E::ReshardingKey { is_custom: false } => {
                ApiError::bad_request("Shard key must not be specified: the collection has no custom sharding")
            }
            E::ShardsAsWanted { count } => ApiError::bad_request(format_args!("There are {count} shards already")),
            E::NoShardsLeft => ApiError::bad_request("The last shard cannot be removed"),
            E::TransferNotFound { number, from, to } => ApiError::not_found(format_args!(
                "Shard {number} is not being transferred from peer {from} to peer {to}"
            )),
            E::NodeHoldsReplicas { id } => ApiError::bad_request(format_args!(
                "Cannot remove peer {id} as there are shards on it: drain it first, or use force"
            )),
            E::SnapshotLocation { location } => ApiError::bad_request(format_args!(
                "Snapshot file {location} is not in the snapshots folder, or does not exist"
            )),
            E::ShardKeyNotFound { key } => ApiError::wrong_input(format_args!("Shard key {key} not found")),
            E::ShardKeyNeeded => ApiError::wrong_input("Shard key not specified"),
            E::ShardKeyExists { key } => ApiError::bad_request(format_args!("Shard key {key} already exists")),
            E::NoShardKeys { key, is_delete } => {
                let what = if is_delete { "removed" } else { "created" };
                let text = format_args!("Shard Key {key} cannot be {what} with Auto sharding method");
                ApiError::bad_request(text)
            }
            E::UnknownNodes { key, nodes } => {
                ApiError::bad_request(format_args!("Shard Key {key} placement contains unknown peers: {nodes:?}"))
            }
            E::Unimplemented { what } => ApiError::unimplemented(what),
            E::Timeout { what } => ApiError::timeout(what),
            E::Overloaded { what, retry_after_s } => ApiError {
                kind: Kind::Overloaded,
                text: format!("Rate limiting exceeded: {what}. Retry after {retry_after_s}s"),
                retry_after_s: Some(retry_after_s),
            },
            E::Strict(violation) => ApiError::bad_request(strict::text(violation)),
            E::RateExceeded(exceeded) => ApiError {
                kind: Kind::Overloaded,
                text: format!("Rate limiting exceeded: {}", strict::rate_text(exceeded)),
                retry_after_s: exceeded.retry.map(|retry| retry.after_s),
            },
            E::OutOfDisk { source } => ApiError::new(
                Kind::OutOfDisk,
                format!("No space left on device: writes are refused, reads go on: {source}"),
            ),
            E::Unavailable { why } => ApiError::new(Kind::Unavailable, format!("Service unavailable: {why}")),
            E::OutcomeUnknown { why } => {
                ApiError::internal(format_args!("the outcome of this write is unknown: {why}"))
            }
            E::Storage { source } => ApiError::internal(source),
        }
    }
}
