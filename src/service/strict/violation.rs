//! What strict mode refuses (PROTOCOL section 21), as branches. Its texts are in `api/strict.rs`.

use crate::model::{Path, VectorName};

/// One broken limit of a collection in strict mode.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("strict mode: {self:?}")]
#[allow(missing_docs, reason = "the fields name themselves")]
pub enum Violation {
    /// A number is above its limit; `name` as the protocol spells it in errors.
    Above {
        name: &'static str,
        value: u64,
        limit: u64,
    },
    Oversampling {
        value: f64,
        limit: f64,
    },
    Exact,
    /// The vector has no graph that the query could walk. With a tenant's filter: neither one per tenant.
    NoGraph {
        using: VectorName,
        has_tenant_filter: bool,
    },
    /// A filter's key has no index of one of these kinds, which are sorted.
    FilterUnindexed {
        key: Path,
        kinds: Vec<&'static str>,
    },
    /// As [`Violation::FilterUnindexed`], in a formula.
    FormulaUnindexed {
        key: Path,
        kinds: Vec<&'static str>,
    },
    GroupUnindexed {
        key: Path,
    },
    /// The index of the field that is grouped by has no values to match; `kind` capitalised.
    GroupIndexKind {
        key: Path,
        kind: &'static str,
    },
    Conditions {
        count: u64,
        limit: u64,
    },
    ConditionSize {
        size: u64,
        limit: u64,
    },
    /// Looks at every value of a field whatever index it has.
    Substring {
        key: Path,
    },
    FieldIndexes {
        limit: u64,
    },
    Points {
        limit: u64,
    },
    VectorBytes {
        limit: u64,
    },
    PayloadBytes {
        limit: u64,
    },
    MultiVectorRows {
        name: VectorName,
        limit: u64,
        got: u64,
    },
    SparseVectorLength {
        name: VectorName,
        limit: u64,
        got: u64,
    },
}

/// A call beyond a collection's rate limit.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error("rate limit: {self:?}")]
pub struct RateExceeded {
    /// Whether writes were counted, else reads.
    pub is_write: bool,
    /// Tokens the call needs.
    pub cost: u64,
    /// `None`: more than the bucket ever holds.
    pub retry: Option<RetryLater>,
}

/// When a call beyond the rate limit may come again.
#[derive(Clone, Copy, Debug, PartialEq)]
#[allow(missing_docs, reason = "the fields name themselves")]
pub struct RetryLater {
    pub available_tokens: f64,
    /// Whole seconds until there are enough, rounded up.
    pub after_s: u32,
}
