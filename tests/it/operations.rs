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
use quiver::service::{Service, ServiceSettings, SnapshotPlace};
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
            snapshots_place: SnapshotPlace::Local,
            url_recovery: None,
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

/// A hit or a record as (id, shard key).
fn placed(points: &Value) -> Vec<(u64, Value)> {
    let points = points.as_array().unwrap();
    points.iter().map(|point| (point["id"].as_u64().unwrap(), point["shard_key"].clone())).collect()
}

fn wire_key(text: &str) -> pb::ShardKey {
    pb::ShardKey { key: Some(pb::shard_key::Key::Keyword(text.to_owned())) }
}

fn wire_keys(texts: &[&str]) -> Option<pb::ShardKeySelector> {
    Some(pb::ShardKeySelector { shard_keys: texts.iter().map(|text| wire_key(text)).collect(), fallback: None })
}

impl Node {
    /// With collection `c` sharded by keys `a` (two shards), `b` and 7; points 1 to 4 under `a`, 4 and 5 under `b`.
    async fn with_shard_keys() -> Node {
        let node = Node::start().await;
        let config = json!({"vectors": {"size": 2, "distance": "Dot"}, "sharding_method": "custom"});
        node.put("/collections/c", config).await.result();
        let keys = [json!({"shard_key": "a", "shards_number": 2}), json!({"shard_key": "b"}), json!({"shard_key": 7})];
        for body in keys {
            assert_eq!(node.put("/collections/c/shards", body).await.result(), json!(true));
        }
        node.upsert_under(json!("a"), &[1, 2, 3, 4]).await.result();
        node.upsert_under(json!("b"), &[4, 5]).await.result();
        node
    }

    /// Each with the vector (id, 0) and its key in the payload.
    async fn upsert_under(&self, key: Value, ids: &[u64]) -> Answer {
        let points: Vec<Value> =
            ids.iter().map(|id| json!({"id": id, "vector": [id, 0], "payload": {"of": key}})).collect();
        self.put("/collections/c/points?wait=true", json!({"points": points, "shard_key": key})).await
    }

    async fn scrolled(&self, key: Value) -> Vec<(u64, Value)> {
        let body = json!({"limit": 100, "shard_key": key});
        placed(&self.post("/collections/c/points/scroll", body).await.result()["points"])
    }

    async fn counted(&self, key: Value) -> u64 {
        let answer = self.post("/collections/c/points/count", json!({ "shard_key": key })).await;
        answer.result()["count"].as_u64().unwrap()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_custom_sharding_keeps_points_apart_by_key() {
    let mut node = Node::with_shard_keys().await;
    let (a, b) = (json!("a"), json!("b"));
    let of = |key: &Value, ids: &[u64]| ids.iter().map(|id| (*id, key.clone())).collect::<Vec<_>>();
    assert_eq!(node.scrolled(a.clone()).await, of(&a, &[1, 2, 3, 4]));
    assert_eq!(node.scrolled(b.clone()).await, of(&b, &[4, 5]));
    assert_eq!(node.scrolled(json!(7)).await, []);
    assert_eq!(node.scrolled(json!(["b", 7, "b"])).await, of(&b, &[4, 5]));
    assert_eq!(node.scrolled(json!({"target": "b", "fallback": "a"})).await, of(&b, &[4, 5]));
    assert_eq!(node.scrolled(json!({"target": "gone", "fallback": "b"})).await, of(&b, &[4, 5]));
    let all: Vec<u64> = node.scrolled(Value::Null).await.into_iter().map(|(id, _)| id).collect();
    assert_eq!(all, [1, 2, 3, 4, 5], "each id once, also one that stands under two keys");
    assert_eq!((node.counted(a.clone()).await, node.counted(Value::Null).await), (4, 6));

    let query = async |body: Value| placed(&node.post("/collections/c/points/query", body).await.result()["points"]);
    let hits = query(json!({"query": [1, 0], "shard_key": "a", "limit": 2})).await;
    assert_eq!(hits, of(&a, &[4, 3]));
    let hits = query(json!({"query": [1, 0], "limit": 3})).await;
    assert_eq!(hits.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [5, 4, 3]);
    // The same id under two keys, told apart by what it was found for.
    for (key, of_key) in [(&a, "a"), (&b, "b")] {
        let filter = json!({"must": [{"key": "of", "match": {"value": of_key}}, {"has_id": [4]}]});
        let body = json!({"query": [1, 0], "filter": filter, "with_payload": true});
        let hits = node.post("/collections/c/points/query", body).await.result();
        assert_eq!(placed(&hits["points"]), of(key, &[4]));
        assert_eq!(hits["points"][0]["payload"], json!({ "of": key }));
        let body = json!({"filter": {"must": [{"key": "of", "match": {"value": of_key}}, {"has_id": [4]}]}});
        let page = node.post("/collections/c/points/scroll", body).await.result();
        assert_eq!((placed(&page["points"]), &page["points"][0]["payload"]["of"]), (of(key, &[4]), key));
    }
    let batch = json!({"searches": [
        {"query": [1, 0], "shard_key": "b"}, {"query": [1, 0], "shard_key": "a", "limit": 1}, {"query": [-1, 0], "shard_key": "b"},
    ]});
    let lists = node.post("/collections/c/points/query/batch", batch).await.result();
    let lists: Vec<_> = lists.as_array().unwrap().iter().map(|list| placed(&list["points"])).collect();
    assert_eq!(lists, [of(&b, &[5, 4]), of(&a, &[4]), of(&b, &[4, 5])], "each with its own key, in order");
    let records = node.post("/collections/c/points", json!({"ids": [5, 4], "shard_key": "b"})).await.result();
    assert_eq!(placed(&records), of(&b, &[5, 4]));
    // The point that is searched by is looked up under the key, too.
    let answer = node.post("/collections/c/points/query", json!({"query": 5, "shard_key": "a"})).await;
    assert_eq!(answer.failure(), (404, "Not found: No point with id 5 found".to_owned()));
    let lookup =
        json!({"query": 5, "shard_key": "a", "limit": 1, "lookup_from": {"collection": "c", "shard_key": "b"}});
    assert_eq!(query(lookup).await, of(&a, &[4]));

    let wire = pb::ScrollPoints {
        collection_name: "c".to_owned(),
        shard_key_selector: wire_keys(&["b"]),
        ..Default::default()
    };
    let page = node.points.scroll(wire).await.unwrap().into_inner().result;
    assert!(page.len() == 2 && page.iter().all(|record| record.shard_key == Some(wire_key("b"))));
    let wire = pb::CountPoints {
        collection_name: "c".to_owned(),
        shard_key_selector: wire_keys(&["a", "b"]),
        ..Default::default()
    };
    assert_eq!(node.points.count(wire).await.unwrap().into_inner().result.unwrap().count, 6);
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_writes_go_to_the_shards_of_their_key_only() {
    let mut node = Node::with_shard_keys().await;
    let delete = |key: Value, ids: Value| json!({"points": ids, "shard_key": key});
    let path = "/collections/c/points/delete?wait=true";
    node.post(path, delete(json!("a"), json!([4]))).await.result();
    assert_eq!((node.counted(json!("a")).await, node.counted(json!("b")).await), (3, 2));
    node.post(path, delete(json!(["a", "b"]), json!([1, 5]))).await.result();
    assert_eq!((node.counted(json!("a")).await, node.counted(json!("b")).await), (2, 1));

    let set = |key: Value| json!({"payload": {"new": true}, "filter": {}, "shard_key": key});
    node.post("/collections/c/points/payload?wait=true", set(json!("b"))).await.result();
    let filter = json!({"filter": {"must": [{"key": "new", "match": {"value": true}}]}});
    let changed = node.post("/collections/c/points/count", filter).await.result();
    assert_eq!(changed["count"], 1);
    let missing = json!({"payload": {}, "points": [2], "shard_key": "b"});
    let answer = node.post("/collections/c/points/payload?wait=true", missing).await;
    assert_eq!(answer.failure(), (404, "Not found: No point with id 2 found".to_owned()));

    let batch = json!({"operations": [
        {"delete": {"filter": {}, "shard_key": "b"}},
        {"upsert": {"points": [{"id": 9, "vector": [9, 0]}], "shard_key": 7}},
    ]});
    node.post("/collections/c/points/batch?wait=true", batch).await.result();
    assert_eq!((node.counted(json!("b")).await, node.counted(json!(7)).await), (0, 1));

    let no_key = "Wrong input: Shard key not specified".to_owned();
    let unknown = "Wrong input: Shard key \"x\" not found".to_owned();
    assert_eq!(node.upsert_under(Value::Null, &[1]).await.failure(), (400, no_key.clone()));
    assert_eq!(node.upsert_under(json!("x"), &[1]).await.failure(), (400, unknown.clone()));
    assert_eq!(node.upsert_under(json!(["a", "x"]), &[1]).await.failure().0, 400, "all keys, or nothing");
    let answer = node.post("/collections/c/points/scroll", json!({"shard_key": "x"})).await;
    assert_eq!(answer.failure(), (400, unknown.clone()));
    let id = Some(pb::PointId { point_id_options: Some(PointIdOptions::Num(1)) });
    let point = pb::PointStruct { id, ..Default::default() };
    let wire = |shard_key_selector| pb::UpsertPoints {
        collection_name: "c".to_owned(),
        wait: Some(true),
        points: vec![point.clone()],
        shard_key_selector,
        ..Default::default()
    };
    assert_eq!(failed(node.points.upsert(wire(None)).await), (Code::InvalidArgument, no_key));
    assert_eq!(failed(node.points.upsert(wire(wire_keys(&["x"]))).await), (Code::InvalidArgument, unknown));
    assert_eq!(node.counted(json!("a")).await, 2, "nothing was written");
    assert_eq!(node.points.upsert(wire(wire_keys(&["a"]))).await.unwrap().into_inner().result.unwrap().status, 2);
    assert_eq!(node.counted(json!("a")).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_shard_keys_are_created_listed_and_deleted_over_both_transports() {
    let mut node = Node::with_shard_keys().await;
    let keys = json!({"shard_keys": [{"key": 7}, {"key": "a"}, {"key": "b"}]});
    assert_eq!(node.get("/collections/c/shards").await.result(), keys);
    let list = pb::ListShardKeysRequest { collection_name: "c".to_owned() };
    let listed = node.collections.list_shard_keys(list.clone()).await.unwrap().into_inner().shard_keys;
    assert_eq!(
        listed.iter().map(|one| one.key.clone().unwrap()).skip(1).collect::<Vec<_>>(),
        [wire_key("a"), wire_key("b")]
    );

    let create = |shards_number| pb::CreateShardKeyRequest {
        collection_name: "c".to_owned(),
        request: Some(pb::CreateShardKey { shard_key: Some(wire_key("d")), shards_number, ..Default::default() }),
        timeout: None,
    };
    let zero = "Validation error in body: [request.shards_number: value 0 invalid, must be 1 or larger]".to_owned();
    assert_eq!(failed(node.collections.create_shard_key(create(Some(0))).await), (Code::InvalidArgument, zero));
    assert!(node.collections.create_shard_key(create(None)).await.unwrap().into_inner().result);
    let exists = "Bad request: Shard key \"d\" already exists".to_owned();
    assert_eq!(failed(node.collections.create_shard_key(create(None)).await), (Code::InvalidArgument, exists.clone()));
    assert_eq!(node.put("/collections/c/shards", json!({"shard_key": "d"})).await.failure(), (400, exists));
    node.upsert_under(json!("d"), &[1]).await.result();

    let delete = pb::DeleteShardKeyRequest {
        collection_name: "c".to_owned(),
        request: Some(pb::DeleteShardKey { shard_key: Some(wire_key("d")) }),
        timeout: None,
    };
    assert!(node.collections.delete_shard_key(delete.clone()).await.unwrap().into_inner().result);
    let gone = "Wrong input: Shard key \"d\" not found".to_owned();
    assert_eq!(failed(node.collections.delete_shard_key(delete).await), (Code::InvalidArgument, gone));
    node.put("/collections/c/shards", json!({"shard_key": "d"})).await.result();
    assert_eq!(node.counted(json!("d")).await, 0, "a key that comes again comes empty");
    assert_eq!(node.post("/collections/c/shards/delete", json!({"shard_key": "a"})).await.result(), json!(true));
    assert_eq!(node.counted(Value::Null).await, 2);

    let through_cluster = json!({"create_sharding_key": {"shard_key": "e", "replication_factor": 1}});
    assert_eq!(node.post("/collections/c/cluster", through_cluster).await.result(), json!(true));
    let through_cluster = json!({"drop_sharding_key": {"shard_key": "e"}});
    assert_eq!(node.post("/collections/c/cluster", through_cluster).await.result(), json!(true));
    let answer = node.post("/collections/c/cluster", json!({"drop_replica": {"shard_id": 0, "peer_id": 1}})).await;
    assert_eq!(answer.failure(), (404, "Not found: Shard 0 not found".to_owned()));
    let answer = node.post("/collections/c/cluster", json!({"replicate_points": {}})).await;
    assert_eq!(answer.failure(), (501, "Not implemented: update collection cluster: replicate_points".to_owned()));

    let unknown_node = json!({"shard_key": "f", "placement": [12]});
    let text = "Bad request: Shard Key \"f\" placement contains unknown peers: [12]".to_owned();
    assert_eq!(node.put("/collections/c/shards", unknown_node).await.failure(), (400, text));
    let node_id = node.get("/collections/c/cluster").await.result()["peer_id"].clone();
    node.put("/collections/c/shards", json!({"shard_key": "f", "placement": [node_id]})).await.result();
    let too_many = json!({"shard_key": "g", "shards_number": 256});
    assert_eq!(node.put("/collections/c/shards", too_many).await.failure().0, 501);
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_collections_without_custom_sharding_have_no_keys() {
    let node = Node::with_points().await;
    assert_eq!(node.get("/collections/c/shards").await.result(), json!({"shard_keys": []}));
    for (path, verb) in [("/collections/c/shards", "created"), ("/collections/c/shards/delete", "removed")] {
        let method = if verb == "created" { "PUT" } else { "POST" };
        let answer = node.send(method, path, json!({"shard_key": "a"}).to_string().into()).await;
        let want = format!("Bad request: Shard Key \"a\" cannot be {verb} with Auto sharding method");
        assert_eq!(answer.failure(), (400, want));
    }
    let want = (400, "Wrong input: Shard key \"a\" not found".to_owned());
    assert_eq!(node.upsert_under(json!("a"), &[1]).await.failure(), want);
    assert_eq!(node.post("/collections/c/points/count", json!({"shard_key": "a"})).await.failure(), want);
    assert_eq!(node.counted(json!([])).await, 3, "an empty list names none");
    let hits = node.post("/collections/c/points/query", json!({"query": [1, 0]})).await.result();
    assert_eq!(hits["points"][0].get("shard_key"), None);
    let answer = node.put("/collections/nowhere/shards", json!({"shard_key": "a"})).await;
    assert_eq!(answer.failure(), (404, "Not found: Collection `nowhere` doesn't exist!".to_owned()));
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_1_1_reports_of_optimizations_and_memory() {
    let node = Node::with_points().await;
    let index = json!({"field_name": "n", "field_schema": "integer"});
    node.put("/collections/c/index?wait=true", index).await.result();
    // Once the tail is linked, nothing runs and the shard is idle.
    let report = loop {
        let report = node.get("/collections/c/optimizations?with=idle_segments,queued,completed").await.result();
        let is_running = !report["running"].as_array().unwrap().is_empty();
        assert_eq!(report["idle_segments"].as_array().unwrap().is_empty(), is_running, "{report}");
        if is_running {
            assert_eq!(report["running"][0]["status"], "optimizing");
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        }
        break report;
    };
    assert_eq!(report["summary"]["idle_segments"], 1);
    assert_eq!(report["idle_segments"][0]["points_count"], 3);
    assert_eq!((&report["queued"], &report["completed"]), (&json!([]), &json!([])));
    let bare = node.get("/collections/c/optimizations").await.result();
    assert_eq!(bare.as_object().unwrap().len(), 2, "{bare}");

    let memory = node.get("/collections/c/memory").await.result();
    let components = memory["components"].as_array().unwrap();
    let kinds: Vec<_> =
        components.iter().map(|one| (one["kind"].as_str().unwrap(), one["name"].as_str().unwrap())).collect();
    assert_eq!(kinds, [("vectors", ""), ("vector_index", ""), ("payload_index", "n")]);
    let bytes: Vec<u64> = components.iter().map(|one| one["memory_bytes"].as_u64().unwrap()).collect();
    assert!(bytes.iter().all(|bytes| *bytes > 0), "{memory}");
    assert_eq!(memory["total_bytes"], bytes.iter().sum::<u64>());

    for path in ["optimizations", "memory"] {
        assert_eq!(node.get(&format!("/collections/missing/{path}")).await.status, 404);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_3_3_inference_is_told_in_usage_over_both_transports() {
    let mut node = Node::start().await;
    let config = json!({"sparse_vectors": {"s": {"modifier": "idf"}}});
    node.put("/collections/c", config).await.result();
    let document = |text: &str| json!({"text": text, "model": "Qdrant/bm25"});
    let point = |id: u64, text: &str| json!({"id": id, "vector": {"s": document(text)}});
    let points = json!({"points": [point(1, "the quick fox"), point(2, "fox fox fox")]});
    let tokens = |count: u64| json!({"inference": {"models": {"Qdrant/bm25": {"tokens": count}}}});
    let stored = node.put("/collections/c/points?wait=true", points.clone()).await;
    // Stopwords are no tokens.
    assert_eq!(stored.body["usage"], tokens(5), "{}", stored.body);
    let batch = node.post("/collections/c/points/batch?wait=true", json!({"operations": [{"upsert": points}]})).await;
    assert_eq!(batch.body["usage"], tokens(5));
    let query = json!({"query": document("a fox"), "using": "s"});
    let found = node.post("/collections/c/points/query", query.clone()).await;
    assert_eq!(found.body["usage"], tokens(1));
    let found = node.post("/collections/c/points/query/batch", json!({"searches": [query, query]})).await;
    assert_eq!(found.body["usage"], tokens(2));
    let plain = node
        .post("/collections/c/points/query", json!({"query": {"indices": [1], "values": [1.0]}, "using": "s"}))
        .await;
    assert_eq!(plain.body.get("usage"), None);
    // A text that takes long is turned into a vector off the workers, and counted all the same.
    let long = "word ".repeat(40_000);
    let stored = node.put("/collections/c/points?wait=true", json!({"points": [point(3, &long)]})).await;
    assert_eq!(stored.body["usage"], tokens(40_000));

    let document = |text: &str| pb::Document { text: text.to_owned(), model: "bm25".to_owned(), ..Default::default() };
    let upsert = |text: &str| pb::UpsertPoints {
        collection_name: "c".to_owned(),
        wait: Some(true),
        points: vec![pb::PointStruct {
            id: Some(pb::PointId { point_id_options: Some(PointIdOptions::Num(4)) }),
            vectors: Some(pb::Vectors {
                vectors_options: Some(pb::vectors::VectorsOptions::Vectors(pb::NamedVectors {
                    vectors: [(
                        "s".to_owned(),
                        pb::Vector { vector: Some(pb::vector::Vector::Document(document(text))), ..Default::default() },
                    )]
                    .into(),
                })),
            }),
            ..Default::default()
        }],
        ..Default::default()
    };
    let used = |usage: Option<pb::Usage>| {
        let models = usage.and_then(|usage| usage.inference).unwrap_or_default().models;
        models.into_iter().map(|(name, usage)| (name, usage.tokens)).collect::<Vec<_>>()
    };
    for (text, count) in [("the quick fox", 2), (long.as_str(), 40_000)] {
        let answer = node.points.upsert(upsert(text)).await.unwrap().into_inner();
        assert_eq!(used(answer.usage), [("bm25".to_owned(), count)]);
    }
    let nearest = pb::VectorInput { variant: Some(pb::vector_input::Variant::Document(document("fox quick"))) };
    let query = pb::QueryPoints {
        collection_name: "c".to_owned(),
        query: Some(pb::Query { variant: Some(pb::query::Variant::Nearest(nearest)) }),
        using: Some("s".to_owned()),
        ..Default::default()
    };
    let answer = node.points.query(query).await.unwrap().into_inner();
    assert_eq!(used(answer.usage), [("bm25".to_owned(), 2)]);
    let count = pb::CountPoints { collection_name: "c".to_owned(), ..Default::default() };
    assert_eq!(node.points.count(count).await.unwrap().into_inner().usage, None);
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_3_6_where_a_collections_shards_are() {
    let mut node = Node::with_shard_keys().await;
    let info = node.get("/collections/c").await.result();
    assert_eq!((&info["status"], &info["config"]["params"]["sharding_method"]), (&json!("green"), &json!("custom")));
    assert!(info["created_at"].as_str().unwrap().starts_with("20"), "{info}");
    let cluster = node.get("/collections/c/cluster").await.result();
    assert!(cluster["peer_id"].as_u64().unwrap() > 0);
    assert_eq!((&cluster["shard_count"], &cluster["remote_shards"]), (&json!(4), &json!([])));
    assert_eq!(cluster["shard_transfers"], json!([]));
    let shards = cluster["local_shards"].as_array().unwrap();
    let shown: Vec<_> = shards.iter().map(|shard| (&shard["shard_id"], &shard["shard_key"], &shard["state"])).collect();
    let (a, b, active) = (json!("a"), json!("b"), json!("Active"));
    let want = [(0, &a), (1, &a), (2, &b), (3, &json!(7))];
    let want: Vec<_> = want.into_iter().map(|(id, key)| (json!(id), key.clone(), active.clone())).collect();
    assert_eq!(shown, want.iter().map(|(id, key, state)| (id, key, state)).collect::<Vec<_>>());
    assert_eq!(shards.iter().map(|shard| shard["points_count"].as_u64().unwrap()).sum::<u64>(), 6);

    let wire = pb::CollectionClusterInfoRequest { collection_name: "c".to_owned() };
    let answer = node.collections.collection_cluster_info(wire).await.unwrap().into_inner();
    assert_eq!((answer.peer_id, answer.shard_count), (cluster["peer_id"].as_u64().unwrap(), 4));
    assert_eq!(answer.local_shards[2].shard_key, Some(wire_key("b")));
    assert_eq!((answer.local_shards[2].shard_id, answer.local_shards[2].points_count), (2, 2));
    assert_eq!(node.get("/cluster").await.result(), json!({"status": "disabled"}));

    node.put("/collections/d", json!({"vectors": {}, "sharding_method": "custom"})).await.result();
    assert_eq!(node.get("/collections/d").await.result()["status"], "green", "no shards yet, and none failed");
    assert_eq!(node.post("/collections/d/points/scroll", json!({})).await.result()["points"], json!([]));
}
