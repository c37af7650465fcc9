//! What operators use, over both transports of one service: strict mode, shard keys, reports. By section of PROTOCOL.md
//! and CLIENTS.md.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::Body;
use axum::http::Request;
use quiver::api::auth::Keys;
use quiver::api::grpc::pb::collections_client::CollectionsClient;
use quiver::api::grpc::pb::points_client::PointsClient;
use quiver::api::grpc::pb::{self, point_id::PointIdOptions};
use quiver::api::grpc::{GrpcSettings, MESSAGE_BYTES_MAX, serve};
use quiver::api::rest::{self, RestSettings};
use quiver::service::{Service, ServiceSettings};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status};
use tower::ServiceExt;

/// Both transports of a service on a folder of its own.
struct Node {
    router: Router,
    collections: CollectionsClient<Channel>,
    points: PointsClient<Channel>,
    _folder: tempfile::TempDir,
}

/// A REST answer.
struct Answer {
    status: u16,
    retry_after: Option<String>,
    body: Value,
}

impl Answer {
    fn result(mut self) -> Value {
        assert_eq!(self.status, 200, "{}", self.body);
        self.body["result"].take()
    }

    fn failure(&self) -> (u16, String) {
        (self.status, self.body["status"]["error"].as_str().unwrap_or_default().to_owned())
    }
}

impl Node {
    async fn start() -> Node {
        let folder = tempfile::tempdir().unwrap();
        let settings = ServiceSettings {
            storage_path: folder.path().to_owned(),
            snapshots_path: folder.path().join("snapshots"),
            search_threads: 2,
            search_queue_max: 64,
            index_threads: 1,
            tail_vectors_max: 100_000,
            checkpoint_interval: Duration::from_secs(3_600),
            disk_reserve_bytes: 0,
            block_cache_bytes: 1 << 20,
            memtable_bytes: 1 << 20,
        };
        let service = Service::open(settings).await.unwrap();
        let rest_settings = RestSettings {
            request_bytes_max: 1 << 20,
            request_timeout: Duration::from_secs(60),
            in_flight_max: 16,
            keys: Keys::default(),
            is_cors_enabled: false,
            metrics: Arc::new(String::new),
            is_ready: Arc::new(|| true),
            node_id: "the-node".to_owned(),
            started_at: SystemTime::UNIX_EPOCH,
        };
        let router = rest::router(service.clone(), rest_settings);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let settings = GrpcSettings {
            keys: Keys::default(),
            message_bytes_max: MESSAGE_BYTES_MAX,
            in_flight_max: 64,
            request_timeout: Duration::from_secs(60),
        };
        let incoming = TcpIncoming::from(listener);
        tokio::spawn(async move { serve(incoming, service, settings, std::future::pending()).await });
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        let (collections, points) = (CollectionsClient::new(channel.clone()), PointsClient::new(channel));
        Node { router, collections, points, _folder: folder }
    }

    /// With collection `c` of one unnamed vector of two numbers, and points 1 to 3.
    async fn with_points() -> Node {
        let node = Node::start().await;
        node.put("/collections/c", json!({"vectors": {"size": 2, "distance": "Dot"}})).await.result();
        let points: Vec<Value> = (1..=3).map(|id| json!({"id": id, "vector": [id, 0], "payload": {"n": id}})).collect();
        node.put("/collections/c/points?wait=true", json!({"points": points})).await.result();
        node
    }

    async fn send(&self, method: &str, path: &str, body: Body) -> Answer {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        let response = self.router.clone().oneshot(request.body(body).unwrap()).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        let retry_after = parts.headers.get("retry-after").map(|value| value.to_str().unwrap().to_owned());
        let body = serde_json::from_slice(&bytes)
            .unwrap_or_else(|error| panic!("{method} {path}: {error}: {}", String::from_utf8_lossy(&bytes)));
        Answer { status: parts.status.as_u16(), retry_after, body }
    }

    async fn get(&self, path: &str) -> Answer {
        self.send("GET", path, Body::empty()).await
    }
    async fn put(&self, path: &str, body: Value) -> Answer {
        self.send("PUT", path, body.to_string().into()).await
    }
    async fn post(&self, path: &str, body: Value) -> Answer {
        self.send("POST", path, body.to_string().into()).await
    }
    async fn patch(&self, path: &str, body: Value) -> Answer {
        self.send("PATCH", path, body.to_string().into()).await
    }

    async fn set_strict(&self, strict: Value) {
        self.patch("/collections/c", json!({ "strict_mode_config": strict })).await.result();
    }

    async fn strict_mode_over_grpc(&mut self) -> Option<pb::StrictModeConfig> {
        let wire = pb::GetCollectionInfoRequest { collection_name: "c".to_owned() };
        let info = self.collections.get(wire).await.unwrap().into_inner().result.unwrap();
        info.config.unwrap().strict_mode_config
    }

    async fn count_over_grpc(&mut self, filter: Option<pb::Filter>) -> Result<u64, Status> {
        let wire = pb::CountPoints { collection_name: "c".to_owned(), filter, ..Default::default() };
        Ok(self.points.count(wire).await?.into_inner().result.unwrap().count)
    }

    async fn get_over_grpc(&mut self, ids: &[u64]) -> Result<usize, Status> {
        let ids = ids.iter().map(|id| pb::PointId { point_id_options: Some(PointIdOptions::Num(*id)) }).collect();
        let wire = pb::GetPoints { collection_name: "c".to_owned(), ids, ..Default::default() };
        Ok(self.points.get(wire).await?.into_inner().result.len())
    }
}

fn failed<T: std::fmt::Debug>(result: Result<T, Status>) -> (Code, String) {
    let status = result.unwrap_err();
    (status.code(), status.message().to_owned())
}

fn bad_request(what: &str) -> (u16, String) {
    (400, format!("Bad request: {what}"))
}

fn keyword_filter() -> pb::Filter {
    let value = pb::r#match::MatchValue::Keyword("a".to_owned());
    let field = pb::FieldCondition {
        key: "tag".to_owned(),
        r#match: Some(pb::Match { match_value: Some(value) }),
        ..Default::default()
    };
    let condition = pb::Condition { condition_one_of: Some(pb::condition::ConditionOneOf::Field(field)) };
    pb::Filter { must: vec![condition], ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_a_config_set_over_one_transport_shows_over_the_other_and_merges() {
    let mut node = Node::with_points().await;
    assert_eq!(node.strict_mode_over_grpc().await, None);
    node.set_strict(json!({"enabled": true, "max_query_limit": 10, "search_max_oversampling": 1.5})).await;
    let mut want = pb::StrictModeConfig {
        enabled: Some(true),
        max_query_limit: Some(10),
        search_max_oversampling: Some(1.5),
        ..Default::default()
    };
    assert_eq!(node.strict_mode_over_grpc().await.as_ref(), Some(&want));
    let change = pb::StrictModeConfig { read_rate_limit: Some(100), ..Default::default() };
    let wire = pb::UpdateCollection {
        collection_name: "c".to_owned(),
        strict_mode_config: Some(change),
        ..Default::default()
    };
    assert!(node.collections.update(wire).await.unwrap().into_inner().result);
    want.read_rate_limit = Some(100);
    assert_eq!(node.strict_mode_over_grpc().await, Some(want));
    let shown = node.get("/collections/c").await.result()["config"]["strict_mode_config"].take();
    let want = json!({"enabled": true, "max_query_limit": 10, "search_max_oversampling": 1.5, "read_rate_limit": 100});
    assert_eq!(shown, want);
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_limits_hold_over_both_transports_and_only_while_strict_mode_is_on() {
    let mut node = Node::with_points().await;
    let filter = json!({"must": [{"key": "tag", "match": {"value": "a"}}]});
    let limits = json!({
        "enabled": false, "max_query_limit": 2, "max_timeout": 5, "search_max_hnsw_ef": 7, "search_allow_exact": false,
        "upsert_max_batchsize": 1, "search_max_batchsize": 1, "filter_max_conditions": 1,
        "unindexed_filtering_retrieve": false, "unindexed_filtering_update": false,
    });
    let points = json!({"points": [{"id": 1, "vector": [1, 0]}, {"id": 2, "vector": [2, 0]}]});
    let query = |extra: Value| {
        let mut body = json!({"query": [1, 0], "limit": 2});
        body.as_object_mut().unwrap().extend(extra.as_object().unwrap().clone());
        body
    };
    let above = |value: u32, name: &str, limit: u32| {
        bad_request(&format!(
            "Limit exceeded {value} > {limit} for \"{name}\". Help: Reduce the \"{name}\" parameter to or below {limit}."
        ))
    };
    let unindexed = bad_request(
        "Index required but not found for \"tag\" of one of the following types: [keyword]. Help: Create an index for \
         this key or use a different filter.",
    );
    let cases = [
        ("POST", "/points/query", query(json!({"limit": 3})), above(3, "limit", 2)),
        ("POST", "/points/query?timeout=6", query(json!({})), above(6, "timeout", 5)),
        ("POST", "/points/query", query(json!({"params": {"hnsw_ef": 8}})), above(8, "hnsw_ef", 7)),
        (
            "POST",
            "/points/query",
            query(json!({"params": {"exact": true}})),
            bad_request("Exact search disabled!. Help: Set exact=false."),
        ),
        ("POST", "/points/query", query(json!({ "filter": filter })), unindexed.clone()),
        (
            "POST",
            "/points/query/batch",
            json!({"searches": [query(json!({})), query(json!({}))]}),
            above(2, "search batch size", 1),
        ),
        ("POST", "/points/search", json!({"vector": [1, 0], "limit": 3}), above(3, "limit", 2)),
        ("POST", "/points/scroll", json!({"limit": 3}), above(3, "limit", 2)),
        ("POST", "/points/scroll", json!({}), above(10, "limit", 2)),
        ("POST", "/points/count", json!({ "filter": filter }), unindexed.clone()),
        (
            "POST",
            "/points/count",
            json!({"filter": {"must": [{"has_id": [1]}, {"has_id": [2]}]}}),
            bad_request(
                "Filter condition limit reached (2 > 1). Help: Reduce the amount of conditions of your filter.",
            ),
        ),
        ("POST", "/points/delete", json!({ "filter": filter }), unindexed.clone()),
        ("POST", "/points/payload", json!({"payload": {}, "filter": filter}), unindexed),
        ("PUT", "/points", points.clone(), above(2, "upsert limit", 1)),
        ("PUT", "/points/vectors", points.clone(), above(2, "update limit", 1)),
        ("POST", "/points/batch", json!({"operations": [{ "upsert": points }]}), above(2, "upsert limit", 1)),
    ];
    node.set_strict(limits).await;
    for (method, path, body, _) in &cases {
        let answer = node.send(method, &format!("/collections/c{path}"), body.to_string().into()).await;
        assert_eq!(answer.status, 200, "disabled: {path} {body}: {}", answer.body);
    }
    node.set_strict(json!({"enabled": true})).await;
    for (method, path, body, want) in &cases {
        let answer = node.send(method, &format!("/collections/c{path}"), body.to_string().into()).await;
        assert_eq!(answer.failure(), *want, "{path} {body}");
        assert_eq!(answer.retry_after, None);
    }
    for (path, body) in [
        ("/points/query", query(json!({"params": {"hnsw_ef": 7}}))),
        ("/points/query?timeout=5", query(json!({}))),
        ("/points/query/batch", json!({"searches": [query(json!({}))]})),
        ("/points/scroll", json!({"limit": 2, "filter": {"must": [{"has_id": [1]}]}})),
        ("/points", json!({"ids": [1, 2, 3]})),
    ] {
        node.post(&format!("/collections/c{path}"), body).await.result();
    }
    let (code, text) = failed(node.count_over_grpc(Some(keyword_filter())).await);
    assert_eq!((code, text.as_str()), (Code::InvalidArgument, cases[4].3.1.as_str()));
    let wire = pb::ScrollPoints { collection_name: "c".to_owned(), limit: Some(3), ..Default::default() };
    assert_eq!(failed(node.points.scroll(wire).await), (Code::InvalidArgument, above(3, "limit", 2).1));
    let wire = pb::CountPoints { collection_name: "c".to_owned(), timeout: Some(6), ..Default::default() };
    assert_eq!(failed(node.points.count(wire).await), (Code::InvalidArgument, above(6, "timeout", 5).1));
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_a_full_collection_refuses_inserts_and_takes_deletes() {
    let node = Node::with_points().await;
    let upsert = async |id: u64| {
        let point = json!({"id": id, "vector": [1, 0], "payload": {"text": "0123456789"}});
        node.put("/collections/c/points?wait=true", json!({ "points": [point] })).await
    };
    for (setting, limit, full) in [
        ("max_points_count", 4, "Max points count limit of 4 reached!"),
        ("max_collection_vector_size_bytes", 32, "Max vector storage size limit of 0.000030517578MB reached!"),
        ("max_collection_payload_size_bytes", 40, "Max payload storage size limit of 0.000038146973MB reached!"),
    ] {
        node.set_strict(json!({"enabled": true, setting: limit})).await;
        assert_eq!(upsert(4).await.status, 200, "{setting}: below the limit when it was written");
        assert_eq!(upsert(5).await.failure(), bad_request(full), "{setting}");
        node.post("/collections/c/points/delete?wait=true", json!({"points": [4]})).await.result();
        assert_eq!(upsert(4).await.status, 200, "{setting}: room again");
        node.post("/collections/c/points/delete?wait=true", json!({"points": [4]})).await.result();
        node.set_strict(json!({setting: 1_000_000_000})).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s21_rate_limits_answer_429_with_the_time_to_wait_over_both_transports() {
    let mut node = Node::with_points().await;
    node.set_strict(json!({"enabled": true, "read_rate_limit": 4, "write_rate_limit": 3})).await;
    let retrieve = |ids: Value| json!({ "ids": ids });
    let path = "/collections/c/points";
    let too_large = "rate limit exceeded, request larger than rate limiter capacity, please try to split your request";

    let answer = node.post(path, retrieve(json!([1, 2, 3, 4, 5]))).await;
    assert_eq!(answer.failure(), (429, format!("Rate limiting exceeded: Read {too_large}")));
    assert_eq!(answer.retry_after, None, "waiting would not help");
    node.post(path, retrieve(json!([1, 2, 3, 4]))).await.result();
    let answer = node.post(path, retrieve(json!([1, 2, 3, 4]))).await;
    let (status, text) = answer.failure();
    let start = "Rate limiting exceeded: Read rate limit exceeded: Operation requires 4 tokens but only 0.";
    assert!(status == 429 && text.starts_with(start), "{status} {text}");
    let retry_after: u32 = answer.retry_after.unwrap().parse().unwrap();
    assert!((1..=60).contains(&retry_after));
    assert!(text.ends_with(&format!("Retry after {retry_after}s")), "{text}");

    let refused = node.get_over_grpc(&[1, 2, 3, 4]).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    let retry_after: u32 = refused.metadata().get("retry-after").unwrap().to_str().unwrap().parse().unwrap();
    assert!((1..=60).contains(&retry_after));
    let refused = node.get_over_grpc(&[1, 2, 3, 4, 5]).await.unwrap_err();
    assert_eq!(refused.message(), format!("Rate limiting exceeded: Read {too_large}"));
    assert!(refused.metadata().get("retry-after").is_none());

    let upsert = |count: u64| {
        let points: Vec<Value> = (1..=count).map(|id| json!({"id": id, "vector": [1, 0]})).collect();
        json!({ "points": points })
    };
    let answer = node.put(path, upsert(4)).await;
    assert_eq!(answer.failure(), (429, format!("Rate limiting exceeded: Write {too_large}")));
    node.put(path, upsert(2)).await.result();
    let by_filter = json!({"payload": {"a": 1}, "filter": {"must": [{"key": "n", "match": {"value": 7}}]}});
    node.post("/collections/c/points/payload", by_filter.clone()).await.result();
    assert_eq!(node.post("/collections/c/points/payload", by_filter).await.failure().0, 429, "each costs one at least");

    node.set_strict(json!({"enabled": false})).await;
    for _ in 0..5 {
        node.post(path, retrieve(json!([1, 2, 3]))).await.result();
        assert_eq!(node.get_over_grpc(&[1, 2, 3]).await.unwrap(), 3);
    }
}
