//! What happens to every request around its handler.

use std::any::Any;
use std::sync::Arc;
use std::time::Instant;

use axum::Router;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, HeaderName, HeaderValue, Method, Uri, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use tower::Layer;
use tower::util::MapRequestLayer;
use tower_http::CompressionLevel;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::compression::predicate::SizeAbove;
use tower_http::cors::CorsLayer;
use tower_http::decompression::RequestDecompressionLayer;

use super::{Rest, RestSettings};
use crate::api::auth::{self, Access};
use crate::api::status::{APPLIED_INDEX_HEADER, ApiError};
use crate::service::with_applied_indexes;

const APPLIED_INDEX: HeaderName = HeaderName::from_static(APPLIED_INDEX_HEADER);

/// What metrics call the endpoint of a request that matches no route.
const NO_ENDPOINT: &str = "(none)";

/// Answers below this fit one packet: compressing them saves nothing and costs more than a search does.
const ONE_PACKET_BYTES: u64 = 1400;

/// `routes` inside all layers.
pub(super) fn around(routes: Router<Rest>, rest: Rest) -> Router {
    let settings = Arc::clone(&rest.settings);
    let is_cors_enabled = settings.is_cors_enabled;
    let mut routes = routes
        .with_state(rest)
        .layer(middleware::from_fn_with_state(settings, check_key))
        .layer(middleware::from_fn(tell_applied_indexes))
        .layer(CatchPanicLayer::custom(answer_panic))
        .layer(middleware::from_fn(measure))
        .layer(RequestDecompressionLayer::new().pass_through_unaccepted(true))
        .layer(
            CompressionLayer::new().quality(CompressionLevel::Fastest).compress_when(SizeAbove::new(ONE_PACKET_BYTES)),
        );
    if is_cors_enabled {
        routes = routes.layer(CorsLayer::permissive());
    }
    // Around the router, not inside it: routes are matched on the normal path.
    Router::new().fallback_service(MapRequestLayer::new(with_normal_path).layer(routes))
}

/// Decides on the matched route, before the body is read.
async fn check_key(State(settings): State<Arc<RestSettings>>, request: Request, next: Next) -> Response {
    let endpoint = request.extensions().get::<MatchedPath>().map(MatchedPath::as_str);
    let access = access(request.method(), endpoint);
    let key = auth::presented_key(
        text(request.headers(), "api-key"),
        text(request.headers(), header::AUTHORIZATION.as_str()),
    );
    match auth::check(&settings.keys, key, access) {
        Ok(()) => next.run(request).await,
        Err(denied) => ApiError::from(denied).into_response(),
    }
}

/// Says beside a read's answer how much of its shards' logs it saw.
async fn tell_applied_indexes(request: Request, next: Next) -> Response {
    let (mut response, indexes) = with_applied_indexes(next.run(request)).await;
    if let Some(value) = indexes.and_then(|indexes| HeaderValue::from_str(&indexes).ok()) {
        response.headers_mut().insert(APPLIED_INDEX, value);
    }
    response
}

fn text<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

/// POST routes that only read.
const READS_BY_POST: &[&str] = &[
    "/points",
    "/points/scroll",
    "/points/count",
    "/points/query",
    "/points/query/batch",
    "/points/query/groups",
    "/points/search",
    "/points/search/batch",
    "/points/search/groups",
    "/points/search/matrix/pairs",
    "/points/search/matrix/offsets",
    "/points/recommend",
    "/points/recommend/batch",
    "/points/recommend/groups",
    "/points/discover",
    "/points/discover/batch",
    "/facet",
];

/// What a matched route does (CLIENTS section 3.2).
pub(super) fn access(method: &Method, endpoint: Option<&str>) -> Access {
    let endpoint = endpoint.unwrap_or(NO_ENDPOINT);
    let is_get = method == Method::GET || method == Method::HEAD;
    match endpoint {
        "/" | "/healthz" | "/livez" | "/readyz" | "/dashboard" | "/dashboard/{*file}" if is_get => Access::Open,
        _ if is_get => Access::Read,
        _ if method == Method::POST => {
            let below = endpoint.strip_prefix("/collections/{name}").unwrap_or("");
            if READS_BY_POST.contains(&below) { Access::Read } else { Access::Write }
        }
        _ => Access::Write,
    }
}

/// Counts and times every answer by its route.
async fn measure(request: Request, next: Next) -> Response {
    let started = Instant::now();
    let method = method_label(request.method());
    let endpoint = request
        .extensions()
        .get::<MatchedPath>()
        .map_or_else(|| NO_ENDPOINT.to_owned(), |path| path.as_str().to_owned());
    let response = next.run(request).await;
    let status = response.status().as_str().to_owned();
    let labels = [("method", method.to_owned()), ("endpoint", endpoint), ("status", status)];
    metrics::counter!("rest_responses_total", &labels).increment(1);
    metrics::histogram!("rest_responses_duration_seconds", &labels).record(started.elapsed().as_secs_f64());
    response
}

/// Methods are the caller's text: only known ones become labels.
fn method_label(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::PUT => "PUT",
        Method::POST => "POST",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::HEAD => "HEAD",
        Method::OPTIONS => "OPTIONS",
        _ => "OTHER",
    }
}

/// The last resort: a broken invariant ends its request, not the process.
fn answer_panic(panic: Box<dyn Any + Send>) -> Response {
    let what = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(text), _) => text,
        (None, Some(text)) => text.as_str(),
        (None, None) => "unknown",
    };
    tracing::error!(panic = what, "a request panicked");
    ApiError::internal("the request failed unexpectedly; see the server's log").into_response()
}

fn with_normal_path(mut request: Request) -> Request {
    if let Some(path) = normal_path(request.uri().path()) {
        let path_and_query = match request.uri().query() {
            Some(query) => format!("{path}?{query}"),
            None => path,
        };
        if let Ok(uri) = path_and_query.parse::<Uri>() {
            *request.uri_mut() = uri;
        }
    }
    request
}

/// `path` without duplicate and trailing slashes; `None` when it has none.
fn normal_path(path: &str) -> Option<String> {
    let is_normal = path == "/" || (path.starts_with('/') && !path.ends_with('/') && !path.contains("//"));
    if is_normal {
        return None;
    }
    let mut normal = String::with_capacity(path.len());
    for part in path.split('/').filter(|part| !part.is_empty()) {
        normal.push('/');
        normal.push_str(part);
    }
    Some(if normal.is_empty() { "/".to_owned() } else { normal })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_panic_is_answered() {
        use axum::body::{Body, to_bytes};
        use tower::ServiceExt;
        async fn broken() -> &'static str {
            std::panic::resume_unwind(Box::new("a broken invariant"))
        }
        let routes = Router::new().route("/", axum::routing::get(broken)).layer(CatchPanicLayer::custom(answer_panic));
        let answer = routes.oneshot(Request::new(Body::empty())).await.unwrap();
        assert_eq!(answer.status(), 500);
        assert_eq!(
            to_bytes(answer.into_body(), 1_000).await.unwrap(),
            "{\"status\":{\"error\":\"Service internal error: the request failed unexpectedly; see the server's log\"},\
             \"time\":0.0}"
        );
    }

    #[test]
    fn clients_3_1_slashes_are_normalised() {
        let cases = [
            ("/", None),
            ("/collections/a", None),
            ("/collections/a/", Some("/collections/a")),
            ("//collections///a//", Some("/collections/a")),
            ("//", Some("/")),
            ("", Some("/")),
            ("/collections/a%2F%2F", None),
        ];
        for (path, want) in cases {
            assert_eq!(normal_path(path).as_deref(), want, "{path}");
        }
    }

    #[test]
    fn clients_3_2_what_a_route_may_do_without_the_full_key() {
        let read = [
            (Method::GET, "/collections"),
            (Method::HEAD, "/telemetry"),
            (Method::POST, "/collections/{name}/points"),
            (Method::POST, "/collections/{name}/points/query/batch"),
            (Method::POST, "/collections/{name}/facet"),
        ];
        let write = [
            (Method::PUT, "/collections/{name}/points"),
            (Method::POST, "/collections/{name}/points/delete"),
            (Method::POST, "/collections/{name}/points/payload"),
            (Method::POST, "/collections/aliases"),
            (Method::DELETE, "/collections/{name}"),
            (Method::PATCH, "/collections/{name}"),
            (Method::POST, "/"),
            (Method::POST, "/snapshots"),
        ];
        for (method, endpoint) in read {
            assert_eq!(access(&method, Some(endpoint)), Access::Read, "{method} {endpoint}");
        }
        for (method, endpoint) in write {
            assert_eq!(access(&method, Some(endpoint)), Access::Write, "{method} {endpoint}");
        }
        for endpoint in ["/", "/healthz", "/livez", "/readyz", "/dashboard", "/dashboard/{*file}"] {
            assert_eq!(access(&Method::GET, Some(endpoint)), Access::Open, "{endpoint}");
        }
        assert_eq!(access(&Method::GET, None), Access::Read);
        assert_eq!(access(&Method::POST, None), Access::Write);
    }
}
