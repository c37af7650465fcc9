//! The operations of the protocol that this version lacks: each answers 501 with its name (CLIENTS section 1.1).

use axum::Router;
use axum::http::Method;
use axum::routing::{MethodFilter, MethodRouter, on};

use super::Rest;
use crate::api::status::ApiError;

/// Path, and per method the operation's name.
type AbsentRoute = (&'static str, &'static [(Method, &'static str)]);

const GET: Method = Method::GET;
const PUT: Method = Method::PUT;
const POST: Method = Method::POST;

const ABSENT: &[AbsentRoute] = &[
    ("/quotas", &[(GET, "get quotas"), (PUT, "update quotas")]),
    ("/logger", &[(GET, "get logger configuration"), (POST, "update logger configuration")]),
    ("/stacktrace", &[(GET, "get stack trace")]),
    ("/profiler/slow_requests", &[(GET, "get slow requests")]),
    ("/audit/logs", &[(GET, "get audit log")]),
    ("/dashboard", &[(GET, "dashboard")]),
    ("/dashboard/{*file}", &[(GET, "dashboard")]),
    ("/cluster/telemetry", &[(GET, "cluster telemetry")]),
    ("/collections/{name}/debugger", &[(GET, "get debug state"), (PUT, "update debug state")]),
    ("/collections/{name}/shards/{shard}/snapshot/partial/create", &[(POST, "create partial shard snapshot")]),
    ("/collections/{name}/shards/{shard}/snapshot/partial/recover", &[(POST, "recover partial shard snapshot")]),
    (
        "/collections/{name}/shards/{shard}/snapshot/partial/recover_from",
        &[(POST, "recover partial shard snapshot from peer")],
    ),
    ("/collections/{name}/shards/{shard}/snapshot/partial/manifest", &[(GET, "get partial shard snapshot manifest")]),
];

/// `routes` and those that answer 501.
pub(super) fn add_routes(routes: Router<Rest>) -> Router<Rest> {
    ABSENT.iter().fold(routes, |routes, (path, operations)| {
        let methods = operations.iter().fold(MethodRouter::new(), |methods, (method, operation)| {
            let refuse = move || async move { ApiError::unimplemented(operation) };
            match MethodFilter::try_from(method.clone()) {
                Ok(filter) => methods.merge(on(filter, refuse)),
                Err(_) => methods,
            }
        });
        routes.route(path, methods)
    })
}
