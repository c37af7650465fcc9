//! The texts of strict mode and of rate limits (PROTOCOL section 21).

use crate::service::{RateExceeded, RetryLater, Violation};

/// Bytes of what the protocol calls a megabyte.
const MEGABYTE: f32 = 1024.0 * 1024.0;

/// What is wrong and what to do about it.
pub(super) fn text(violation: Violation) -> String {
    let (what, help) = described(violation);
    match help {
        Some(help) => format!("{what}. Help: {help}"),
        None => what,
    }
}

fn described(violation: Violation) -> (String, Option<String>) {
    use Violation as V;
    let filter_help = "Create an index for this key or use a different filter.";
    let formula_help = "Create an index for this key or use a different formula expression.";
    let group_help = "Create an index supporting `match` for this key.";
    match violation {
        V::Above { name, value, limit } => above(name, value, limit),
        V::Oversampling { value, limit } => above("oversampling", value, limit),
        V::Exact => with_help("Exact search disabled!".to_owned(), "Set exact=false."),
        V::NoGraph { using, has_tenant_filter } => no_graph(&using, has_tenant_filter),
        V::FilterUnindexed { key, kinds } => with_help(unindexed(key, &kinds), filter_help),
        V::FormulaUnindexed { key, kinds } => with_help(unindexed(key, &kinds), formula_help),
        V::GroupUnindexed { key } => with_help(format!("Index required but not found for \"{key}\""), group_help),
        V::GroupIndexKind { key, kind } => {
            with_help(format!("Index of type \"{kind}\" found for \"{key}\""), group_help)
        }
        V::Conditions { count, limit } => with_help(
            format!("Filter condition limit reached ({count} > {limit})"),
            "Reduce the amount of conditions of your filter.",
        ),
        V::ConditionSize { size, limit } => {
            with_help(format!("Condition size limit reached ({size} > {limit})"), "Reduce the size of your condition.")
        }
        V::Substring { key } => with_help(
            format!(
                "Substring matching is not allowed, used for \"{key}\": it scans every value of the field, with or \
                 without an index"
            ),
            "Use a prefix match or a full-text match instead.",
        ),
        V::FieldIndexes { limit } => with_help(
            format!("Collection already has the maximum number of payload indices ({limit})"),
            "Please delete an existing index before creating a new one.",
        ),
        V::Points { limit } => (format!("Max points count limit of {limit} reached!"), None),
        V::VectorBytes { limit } => {
            (format!("Max vector storage size limit of {}MB reached!", limit as f32 / MEGABYTE), None)
        }
        V::PayloadBytes { limit } => {
            (format!("Max payload storage size limit of {}MB reached!", limit as f32 / MEGABYTE), None)
        }
        V::MultiVectorRows { name, limit, got } => {
            (format!("Multivector '{name}' has a limit of {limit} vectors, but {got} were provided!"), None)
        }
        V::SparseVectorLength { name, limit, got } => {
            (format!("Sparse vector '{name}' has a limit of {limit} indices, but {got} were provided!"), None)
        }
    }
}

fn with_help(what: String, help: &str) -> (String, Option<String>) {
    (what, Some(help.to_owned()))
}

fn above<T: std::fmt::Display>(name: &str, value: T, limit: T) -> (String, Option<String>) {
    let what = format!("Limit exceeded {value} > {limit} for \"{name}\"");
    (what, Some(format!("Reduce the \"{name}\" parameter to or below {limit}.")))
}

fn no_graph(using: &str, has_tenant_filter: bool) -> (String, Option<String>) {
    let on = if using.is_empty() { String::new() } else { format!(" on '{using}'") };
    if has_tenant_filter {
        let why = "vector indexing is disabled (hnsw_config.m = 0 and hnsw_config.payload_m = 0)";
        let help = "Enable vector indexing, use a prefetch query with indexed vectors or enable strict mode \
                    `search_allow_exact` option";
        return with_help(format!("Request is forbidden{on} because {why}"), help);
    }
    let why = "global vector indexing is disabled (hnsw_config.m = 0)";
    let help =
        "Use tenant-specific filter, enable global vector indexing or enable strict mode `search_allow_exact` option";
    with_help(format!("Request is forbidden{on} because {why}"), help)
}

fn unindexed(key: impl std::fmt::Display, kinds: &[&str]) -> String {
    let kinds = kinds.join(", ");
    format!("Index required but not found for \"{key}\" of one of the following types: [{kinds}]")
}

/// Without the prefix of its class.
pub(super) fn rate_text(exceeded: RateExceeded) -> String {
    let RateExceeded { is_write, cost, retry } = exceeded;
    let which = if is_write { "Write" } else { "Read" };
    match retry {
        None => format!(
            "{which} rate limit exceeded, request larger than rate limiter capacity, please try to split your request"
        ),
        Some(RetryLater { available_tokens, after_s }) => format!(
            "{which} rate limit exceeded: Operation requires {cost} tokens but only {available_tokens:.1} were \
             available. Retry after {after_s}s"
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::status::ApiError;
    use crate::service::Error;

    #[test]
    fn s21_every_violation_has_its_text() {
        let key = || "a.b".parse().unwrap();
        let name = || "v".to_owned();
        let cases = [
            (
                Violation::Above { name: "limit", value: 30, limit: 15 },
                "Limit exceeded 30 > 15 for \"limit\". Help: Reduce the \"limit\" parameter to or below 15.",
            ),
            (
                Violation::Oversampling { value: 2.5, limit: 1.9 },
                "Limit exceeded 2.5 > 1.9 for \"oversampling\". Help: Reduce the \"oversampling\" parameter to or \
                 below 1.9.",
            ),
            (Violation::Exact, "Exact search disabled!. Help: Set exact=false."),
            (
                Violation::NoGraph { using: String::new(), has_tenant_filter: false },
                "Request is forbidden because global vector indexing is disabled (hnsw_config.m = 0). Help: Use \
                 tenant-specific filter, enable global vector indexing or enable strict mode `search_allow_exact` option",
            ),
            (
                Violation::NoGraph { using: name(), has_tenant_filter: true },
                "Request is forbidden on 'v' because vector indexing is disabled (hnsw_config.m = 0 and \
                 hnsw_config.payload_m = 0). Help: Enable vector indexing, use a prefetch query with indexed vectors or \
                 enable strict mode `search_allow_exact` option",
            ),
            (
                Violation::FilterUnindexed { key: key(), kinds: vec!["keyword", "uuid"] },
                "Index required but not found for \"a.b\" of one of the following types: [keyword, uuid]. Help: Create \
                 an index for this key or use a different filter.",
            ),
            (
                Violation::FormulaUnindexed { key: key(), kinds: vec!["geo"] },
                "Index required but not found for \"a.b\" of one of the following types: [geo]. Help: Create an index \
                 for this key or use a different formula expression.",
            ),
            (
                Violation::GroupUnindexed { key: key() },
                "Index required but not found for \"a.b\". Help: Create an index supporting `match` for this key.",
            ),
            (
                Violation::GroupIndexKind { key: key(), kind: "Geo" },
                "Index of type \"Geo\" found for \"a.b\". Help: Create an index supporting `match` for this key.",
            ),
            (
                Violation::Conditions { count: 6, limit: 5 },
                "Filter condition limit reached (6 > 5). Help: Reduce the amount of conditions of your filter.",
            ),
            (
                Violation::ConditionSize { size: 6, limit: 5 },
                "Condition size limit reached (6 > 5). Help: Reduce the size of your condition.",
            ),
            (
                Violation::Substring { key: key() },
                "Substring matching is not allowed, used for \"a.b\": it scans every value of the field, with or \
                 without an index. Help: Use a prefix match or a full-text match instead.",
            ),
            (
                Violation::FieldIndexes { limit: 3 },
                "Collection already has the maximum number of payload indices (3). Help: Please delete an existing \
                 index before creating a new one.",
            ),
            (Violation::Points { limit: 10 }, "Max points count limit of 10 reached!"),
            (Violation::VectorBytes { limit: 1 << 20 }, "Max vector storage size limit of 1MB reached!"),
            (Violation::PayloadBytes { limit: 3 << 19 }, "Max payload storage size limit of 1.5MB reached!"),
            (
                Violation::MultiVectorRows { name: name(), limit: 5, got: 6 },
                "Multivector 'v' has a limit of 5 vectors, but 6 were provided!",
            ),
            (
                Violation::SparseVectorLength { name: name(), limit: 4, got: 6 },
                "Sparse vector 'v' has a limit of 4 indices, but 6 were provided!",
            ),
        ];
        for (violation, want) in cases {
            let error = ApiError::from(Error::Strict(violation));
            assert_eq!((error.http_status(), error.text), (400, format!("Bad request: {want}")));
        }
    }

    #[test]
    fn s21_a_rate_limit_says_when_to_come_again_unless_that_is_never() {
        let retry = Some(RetryLater { available_tokens: 2.46, after_s: 37 });
        let error = ApiError::from(Error::RateExceeded(RateExceeded { is_write: false, cost: 4, retry }));
        assert_eq!((error.http_status(), error.retry_after_s), (429, Some(37)));
        let want = "Rate limiting exceeded: Read rate limit exceeded: Operation requires 4 tokens but only 2.5 were \
                    available. Retry after 37s";
        assert_eq!(error.text, want);
        let error = ApiError::from(Error::RateExceeded(RateExceeded { is_write: true, cost: 4, retry: None }));
        assert_eq!((error.http_status(), error.retry_after_s), (429, None));
        let want = "Rate limiting exceeded: Write rate limit exceeded, request larger than rate limiter capacity, \
                    please try to split your request";
        assert_eq!(error.text, want);
    }
}
