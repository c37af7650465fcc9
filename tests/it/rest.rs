//! The REST API over a real service on a folder of its own, by section of PROTOCOL.md and CLIENTS.md.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, SystemTime};

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use futures::{FutureExt, stream};
use quiver::api::auth::Keys;
use quiver::api::rest::{self, RestSettings};
use quiver::service::{Service, ServiceSettings, SnapshotPlace};
use serde_json::{Value, json};
use tempfile::TempDir;
use tower::ServiceExt;

/// An API on a folder of its own.
pub(crate) struct Api {
    router: Router,
    is_ready: Arc<AtomicBool>,
    pub(crate) folder: TempDir,
}

/// An answer.
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) bytes: Bytes,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.bytes).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    /// The result of a success, whose envelope is checked.
    pub(crate) fn result(&self) -> Value {
        let mut envelope = self.json();
        assert_eq!(self.status, 200, "{envelope}");
        assert_eq!(envelope["status"], "ok");
        assert!(envelope["time"].is_f64());
        assert_eq!(envelope.as_object().unwrap().len(), 3);
        envelope["result"].take()
    }

    /// Status and text of a failure, whose envelope is checked.
    pub(crate) fn failure(&self) -> (u16, String) {
        let envelope = self.json();
        assert!(envelope["time"].is_f64(), "{envelope}");
        assert_eq!(envelope.as_object().unwrap().len(), 2, "no result: {envelope}");
        (self.status.as_u16(), envelope["status"]["error"].as_str().unwrap().to_owned())
    }
}

fn rest_settings(is_ready: Arc<AtomicBool>) -> RestSettings {
    RestSettings {
        request_bytes_max: 64 * 1024,
        request_timeout: Duration::from_secs(60),
        in_flight_max: 16,
        keys: Keys::default(),
        is_cors_enabled: true,
        metrics: Arc::new(|| "the_metrics 1\n".to_owned()),
        is_ready: Arc::new(move || is_ready.load(Ordering::Relaxed)),
        node_id: "the-node".to_owned(),
        started_at: SystemTime::UNIX_EPOCH,
    }
}

impl Api {
    pub(crate) async fn new() -> Api {
        Api::with(|_| {}).await
    }

    pub(crate) async fn with(change: impl FnOnce(&mut RestSettings)) -> Api {
        let folder = TempDir::new().unwrap();
        let service = Service::open(ServiceSettings {
            storage_path: folder.path().to_owned(),
            snapshots_path: folder.path().join("snapshots"),
            snapshots_place: SnapshotPlace::Local,
            url_recovery: None,
            search_threads: 2,
            search_queue_max: 64,
            index_threads: 1,
            tail_vectors_max: 10_000,
            checkpoint_interval: Duration::from_secs(3_600),
            disk_reserve_bytes: 0,
            block_cache_bytes: 1 << 20,
            memtable_bytes: 1 << 20,
        })
        .await
        .unwrap();
        let is_ready = Arc::new(AtomicBool::new(true));
        let mut settings = rest_settings(is_ready.clone());
        change(&mut settings);
        Api { router: rest::router(service, settings), is_ready, folder }
    }

    /// With collection `c`: points 1 to 3 on a line, with payloads.
    async fn with_points() -> Api {
        let api = Api::new().await;
        api.put("/collections/c", json!({"vectors": {"size": 2, "distance": "Dot"}})).await.result();
        let points = json!({"points": [
            {"id": 1, "vector": [1, 0], "payload": {"n": 1, "tag": "a"}},
            {"id": 2, "vector": [2, 0], "payload": {"n": 2, "tag": "b"}},
            {"id": "00000000000000000000000000000003", "vector": [3, 0], "payload": {"n": 3}},
        ]});
        let written = api.put("/collections/c/points?wait=true", points).await.result();
        assert_eq!(written["status"], "completed");
        assert!(written["operation_id"].is_u64());
        api
    }

    pub(crate) async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = axum::body::to_bytes(body, usize::MAX).await.unwrap();
        Answer { status: parts.status, headers: parts.headers, bytes }
    }

    pub(crate) async fn raw(&self, method: &str, path: &str, body: impl Into<Body>) -> Answer {
        let request = Request::builder().method(method).uri(path).header("content-type", "application/json");
        self.send(request.body(body.into()).unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.raw("GET", path, Body::empty()).await
    }
    pub(crate) async fn delete(&self, path: &str) -> Answer {
        self.raw("DELETE", path, Body::empty()).await
    }
    pub(crate) async fn put(&self, path: &str, body: Value) -> Answer {
        self.raw("PUT", path, body.to_string()).await
    }
    pub(crate) async fn post(&self, path: &str, body: Value) -> Answer {
        self.raw("POST", path, body.to_string()).await
    }
    async fn patch(&self, path: &str, body: Value) -> Answer {
        self.raw("PATCH", path, body.to_string()).await
    }

    /// All points of `c`, whole.
    async fn contents(&self) -> Value {
        let body = json!({"limit": 1000, "with_vector": true});
        self.post("/collections/c/points/scroll", body).await.result()["points"].take()
    }
}

const ID_3: &str = "00000000-0000-0000-0000-000000000003";

#[tokio::test(flavor = "multi_thread")]
async fn clients_3_1_banner_health_metrics_and_telemetry() {
    let api = Api::new().await;
    let banner = api.get("/").await;
    assert_eq!(banner.json(), json!({"title": "qdrant - vector search engine", "version": "1.19.0"}));
    for (path, text) in [
        ("/healthz", "healthz check passed"),
        ("/livez", "livez check passed"),
        ("/readyz", "all shards are ready"),
        ("/metrics", "the_metrics 1\n"),
    ] {
        let answer = api.get(path).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (200, text), "{path}");
    }
    api.is_ready.store(false, Ordering::Relaxed);
    assert_eq!(api.get("/readyz").await.status, 503);
    assert_eq!(api.get("/livez").await.status, 200);

    api.put("/collections/c", json!({"vectors": {"size": 2, "distance": "Dot"}})).await.result();
    let telemetry = api.get("/telemetry").await.result();
    assert_eq!(telemetry["id"], "the-node");
    assert_eq!(telemetry["app"]["version"], "1.19.0");
    assert_eq!(telemetry["app"]["startup"], "1970-01-01T00:00:00Z");
    assert_eq!(telemetry["collections"], json!({"number_of_collections": 1}), "level 0");
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_1_1_telemetry_tells_as_much_as_is_asked_for() {
    let api = Api::new().await;
    let params = json!({"size": 2, "distance": "Dot"});
    let config = json!({"vectors": {"secret": params}, "sparse_vectors": {"words": {}}, "metadata": {"owner": "me"}});
    api.put("/collections/c", config).await.result();
    let points = json!({"points": [{"id": 1, "vector": {"secret": [1, 2]}}]});
    api.put("/collections/c/points?wait=true", points).await.result();

    let of = async |query: &str| api.get(&format!("/telemetry?{query}")).await.result()["collections"].clone();
    let one = of("details_level=1").await;
    let collection = &one["collections"][0];
    assert_eq!((&collection["name"], &collection["points"]), (&json!("c"), &json!(1)));
    assert_eq!((&collection["vectors"], &collection["optimizers_status"]), (&json!(1), &json!("ok")));
    assert_eq!(collection["params"]["vectors"]["secret"], params);
    let two = of("details_level=2").await;
    let collection = &two["collections"][0];
    assert_eq!(collection["id"], "c");
    assert_eq!(collection["config"]["metadata"], json!({"owner": "me"}));
    assert_eq!(collection["shards"].as_array().unwrap().len(), 1);
    assert_eq!(collection["shards"][0]["local"]["num_points"], 1);
    assert_eq!(of("details_level=2&per_collection=false").await, json!({"number_of_collections": 1}));

    for level in [1, 2] {
        let anonymous = api.get(&format!("/telemetry?details_level={level}&anonymize=true")).await.result();
        assert_ne!(anonymous["id"], "the-node");
        let text = anonymous.to_string();
        for word in ["secret", "words", "owner", "\"c\""] {
            assert!(!text.contains(word), "{word} in {text}");
        }
        assert!(text.contains("\"Dot\""), "{text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_1_1_the_description_is_served_and_names_what_the_router_serves() {
    let api = Api::new().await;
    let answer = api.get("/openapi.json").await;
    assert_eq!(answer.status, 200);
    assert_eq!(answer.headers["content-type"], "application/json");
    let document = answer.json();
    assert_eq!(document["openapi"], "3.1.0");
    // Every path that is described is served: the answer to nothing is a 404 without a body.
    for (path, methods) in document["paths"].as_object().unwrap() {
        for method in methods.as_object().unwrap().keys() {
            let path = path.replace('{', "a").replace('}', "");
            let request = Request::builder().method(method.to_uppercase().as_str()).uri(&path);
            let answer = api.send(request.body(Body::empty()).unwrap()).await;
            assert!(!answer.bytes.is_empty(), "{method} {path}: {}", answer.status);
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_18_a_collections_life() {
    let api = Api::new().await;
    assert_eq!(api.get("/collections").await.result(), json!({"collections": []}));
    let config = json!({"vectors": {"a": {"size": 4, "distance": "Cosine"}}, "metadata": {"k": 1, "old": 2}});
    assert_eq!(api.put("/collections/c?timeout=10", config.clone()).await.result(), true);
    assert_eq!(
        api.put("/collections/c", config).await.failure(),
        (409, "Wrong input: Collection `c` already exists!".to_owned())
    );
    assert_eq!(api.get("/collections").await.result(), json!({"collections": [{"name": "c"}]}));
    assert_eq!(api.get("/collections/c/exists").await.result(), json!({"exists": true}));
    assert_eq!(api.get("/collections/d/exists").await.result(), json!({"exists": false}));
    let info = api.get("/collections/c").await.result();
    assert_eq!(info["status"], "green");
    assert_eq!(info["points_count"], 0);
    assert_eq!(info["config"]["params"]["vectors"], json!({"a": {"size": 4, "distance": "Cosine"}}));
    assert_eq!(info["config"]["metadata"], json!({"k": 1, "old": 2}));

    let change = json!({"vectors": {"a": {"hnsw_config": {"m": 8}}}, "hnsw_config": {"ef_construct": 50},
        "metadata": {"old": null, "new": 3}});
    assert_eq!(api.patch("/collections/c", change).await.result(), true);
    let info = api.get("/collections/c").await.result();
    assert_eq!(info["config"]["params"]["vectors"]["a"]["hnsw_config"], json!({"m": 8}));
    assert_eq!(info["config"]["hnsw_config"]["ef_construct"], 50);
    assert_eq!(info["config"]["metadata"], json!({"k": 1, "new": 3}));
    assert_eq!(
        api.patch("/collections/c", json!({"vectors": {"b": {"hnsw_config": {"m": 8}}}})).await.failure(),
        (400, "Wrong input: Not existing vector name error: b".to_owned())
    );

    assert_eq!(api.delete("/collections/c").await.result(), true);
    assert_eq!(api.delete("/collections/c").await.result(), false);
    let missing = (404, "Not found: Collection `c` doesn't exist!".to_owned());
    assert_eq!(api.get("/collections/c").await.failure(), missing);
    assert_eq!(api.patch("/collections/c", json!({})).await.failure(), missing);
    assert_eq!(api.get("/collections/c/aliases").await.failure(), missing);
    let upsert = json!({"points": [{"id": 1, "vector": [1]}]});
    assert_eq!(api.put("/collections/c/points", upsert).await.failure(), missing);
    for path in ["points", "points/scroll", "points/count", "points/query"] {
        let answer = api.post(&format!("/collections/c/{path}"), json!({"ids": [1]})).await;
        assert_eq!(answer.failure(), missing, "{path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_18_vectors_are_added_and_dropped_over_rest() {
    let api = Api::new().await;
    let put = async |path: &str, body: Value| api.put(path, body).await;
    put("/collections/c", json!({"vectors": {"size": 2, "distance": "Dot"}})).await.result();
    let points = json!({"points": [{"id": 1, "vector": [1.0, 0.0]}, {"id": 2, "vector": {"": [0.0, 1.0]}}]});
    put("/collections/c/points?wait=true", points).await.result();
    let dense = json!({"dense": {"size": 3, "distance": "Dot"}});
    let added = put("/collections/c/vectors/v?wait=true&ordering=strong&timeout=30", dense.clone()).await.result();
    assert_eq!(added["status"], "completed");
    assert!(added["operation_id"].is_u64());
    assert_eq!(put("/collections/c/vectors/v", dense).await.result()["status"], "acknowledged", "again");
    put("/collections/c/vectors/s", json!({"sparse": {"modifier": "idf"}})).await.result();
    let params = api.get("/collections/c").await.result()["config"]["params"].clone();
    let (one, other) = (json!({"size": 2, "distance": "Dot"}), json!({"size": 3, "distance": "Dot"}));
    assert_eq!(params["vectors"], json!({"": one, "v": other}));
    assert_eq!(params["sparse_vectors"], json!({"s": {"modifier": "idf"}}));

    let long = put(&format!("/collections/c/vectors/{}", "x".repeat(201)), json!({"sparse": {}})).await.failure();
    assert!(long.0 == 422 && long.1.starts_with("Validation error in path parameters: [vector_name: "), "{long:?}");
    let wrong = |text: &str| (400, format!("Wrong input: {text}"));
    for (name, body, text) in [
        (
            "v",
            json!({"dense": {"size": 4, "distance": "Dot"}}),
            "Vector `v` already exists with a different configuration",
        ),
        ("v", json!({"sparse": {}}), "Vector `v` already exists as a dense vector"),
        ("s", json!({"dense": {"size": 3, "distance": "Dot"}}), "Vector `s` already exists as a sparse vector"),
        ("s", json!({"sparse": {}}), "Sparse vector `s` already exists with a different configuration"),
    ] {
        assert_eq!(put(&format!("/collections/c/vectors/{name}"), body).await.failure(), wrong(text));
    }
    let missing = (404, "Not found: Collection `q` doesn't exist!".to_owned());
    assert_eq!(put("/collections/q/vectors/v", json!({"sparse": {}})).await.failure(), missing);
    assert_eq!(api.delete("/collections/q/vectors/v").await.failure(), missing);

    let vectors =
        json!({"points": [{"id": 1, "vector": {"v": [1.0, 2.0, 3.0], "s": {"indices": [7], "values": [2.0]}}}]});
    put("/collections/c/points/vectors?wait=true", vectors).await.result();
    let record = api.get("/collections/c/points/1").await.result();
    let words = json!({"indices": [7], "values": [2.0]});
    assert_eq!(record["vector"], json!({"": [1.0, 0.0], "v": [1.0, 2.0, 3.0], "s": words}));
    let has = json!({"filter": {"must": [{"has_vector": "v"}]}});
    let count = async || api.post("/collections/c/points/count", has.clone()).await.result()["count"].clone();
    assert_eq!(count().await, 1);
    assert_eq!(api.delete("/collections/c/vectors/v?wait=true").await.result()["status"], "completed");
    assert_eq!(count().await, 0);
    assert_eq!(api.delete("/collections/c/vectors/nobody?wait=true").await.result()["status"], "completed");
    let query = json!({"query": [1.0, 2.0, 3.0], "using": "v"});
    let unknown = wrong("Not existing vector name error: v");
    assert_eq!(api.post("/collections/c/points/query", query).await.failure(), unknown);
    put("/collections/c/vectors/v?wait=true", json!({"dense": {"size": 1, "distance": "Cosine"}})).await.result();
    let record = api.get("/collections/c/points/1").await.result();
    assert_eq!(record["vector"], json!({"": [1.0, 0.0], "s": words}), "the new one begins empty");
    for gone in ["s", "v"] {
        api.delete(&format!("/collections/c/vectors/{gone}?wait=true")).await.result();
    }
    assert_eq!(api.get("/collections/c/points/1").await.result()["vector"], json!([1.0, 0.0]));
    let params = api.get("/collections/c").await.result()["config"]["params"].clone();
    assert_eq!((&params["vectors"], params.get("sparse_vectors")), (&json!({"": one}), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_18_names_of_collections() {
    let api = Api::new().await;
    let dot = json!({"vectors": {"size": 2, "distance": "Dot"}});
    let long = "n".repeat(256);
    for (name, message) in [
        (long.as_str(), format!("value \"{long}\" invalid, must be from 1 to 255 characters")),
        ("a%3Ab", "collection name cannot contain ':' character".to_owned()),
        ("a%2Fb", "collection name cannot contain '/' character".to_owned()),
        ("%2E%2E", "value \"..\" invalid, must not be a relative path".to_owned()),
    ] {
        assert_eq!(
            api.put(&format!("/collections/{name}"), dot.clone()).await.failure(),
            (422, format!("Validation error in path parameters: [collection_name: {message}]"))
        );
    }
    let (status, text) = api.put("/collections/%FF", dot.clone()).await.failure();
    assert_eq!(status, 400);
    assert!(text.starts_with("Deserialize error in path parameters: "), "{text}");
    let spaced = "/collections/%C3%BC%20%25";
    assert_eq!(api.put(spaced, dot).await.result(), true);
    assert_eq!(api.get("/collections").await.result(), json!({"collections": [{"name": "ü %"}]}));
    assert_eq!(api.delete(spaced).await.result(), true);
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_18_aliases() {
    let api = Api::with_points().await;
    let create = json!({"create_alias": {"collection_name": "c", "alias_name": "x"}});
    assert_eq!(api.post("/collections/aliases", json!({"actions": [create]})).await.result(), true);
    let listed = json!({"aliases": [{"alias_name": "x", "collection_name": "c"}]});
    assert_eq!(api.get("/aliases").await.result(), listed);
    assert_eq!(api.get("/collections/c/aliases").await.result(), listed);
    assert_eq!(api.post("/collections/x/points/count", json!({})).await.result(), json!({"count": 3}));
    let rename = json!({"rename_alias": {"old_alias_name": "x", "new_alias_name": "y"}});
    assert_eq!(api.post("/collections/aliases?timeout=5", json!({"actions": [rename]})).await.result(), true);
    let wrong = json!({"actions": [
        {"delete_alias": {"alias_name": "y"}},
        {"create_alias": {"collection_name": "nowhere", "alias_name": "z"}},
    ]});
    assert_eq!(
        api.post("/collections/aliases", wrong).await.failure(),
        (404, "Not found: Collection `nowhere` doesn't exist!".to_owned())
    );
    let listed = json!({"aliases": [{"alias_name": "y", "collection_name": "c"}]});
    assert_eq!(api.get("/aliases").await.result(), listed, "all or nothing");
    let bad = json!({"actions": [{"create_alias": {"collection_name": "c", "alias_name": "a/b"}}]});
    assert_eq!(api.post("/collections/aliases", bad).await.failure().0, 422);
    let taken = json!({"actions": [{"create_alias": {"collection_name": "c", "alias_name": "c"}}]});
    assert_eq!(api.post("/collections/aliases", taken).await.failure().0, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_9_reads_of_points() {
    let api = Api::with_points().await;
    let whole = json!({"id": ID_3, "payload": {"n": 3}, "vector": [3.0, 0.0]});
    assert_eq!(api.get(&format!("/collections/c/points/{ID_3}?consistency=majority")).await.result(), whole);
    assert_eq!(
        api.get("/collections/c/points/9").await.failure(),
        (404, "Not found: Point with id 9 does not exists!".to_owned())
    );
    assert_eq!(
        api.get("/collections/c/points/x").await.failure(),
        (400, "Wrong input: Can not recognize \"x\" as point id".to_owned())
    );
    let ids = json!({"ids": [2, 9, ID_3, 2], "with_payload": ["tag"], "with_vector": false});
    assert_eq!(
        api.post("/collections/c/points", ids).await.result(),
        json!([{"id": 2, "payload": {"tag": "b"}}, {"id": ID_3, "payload": {}}])
    );
    let with_default = api.post("/collections/c/points", json!({"ids": [1]})).await.result();
    assert_eq!(with_default, json!([{"id": 1, "payload": {"n": 1, "tag": "a"}}]));

    let first = api.post("/collections/c/points/scroll", json!({"limit": 2, "with_payload": false})).await.result();
    assert_eq!(first, json!({"points": [{"id": 1}, {"id": 2}], "next_page_offset": ID_3}));
    let last = api.post("/collections/c/points/scroll", json!({"offset": ID_3, "with_payload": false})).await.result();
    assert_eq!(last, json!({"points": [{"id": ID_3}], "next_page_offset": null}));
    let filter = json!({"filter": {"must": {"key": "n", "range": {"gte": 2}}}, "exact": true});
    assert_eq!(api.post("/collections/c/points/count", filter).await.result(), json!({"count": 2}));
    assert_eq!(api.post("/collections/c/points/count", json!({})).await.result(), json!({"count": 3}));
    assert_eq!(api.get("/collections/c").await.result()["points_count"], 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_10_queries_and_old_searches() {
    let api = Api::with_points().await;
    let shown = |result: &Value| -> Vec<(Value, f64)> {
        let points = result.as_array().or_else(|| result["points"].as_array()).unwrap();
        points.iter().map(|point| (point["id"].clone(), point["score"].as_f64().unwrap())).collect()
    };
    let nearest = json!({"query": [1, 0], "limit": 2});
    let result = api.post("/collections/c/points/query?timeout=5&consistency=2", nearest.clone()).await.result();
    assert_eq!(shown(&result), [(json!(ID_3), 3.0), (json!(2), 2.0)]);
    let first = &result["points"][0];
    assert!(first["version"].is_u64());
    assert_eq!(first.as_object().unwrap().len(), 3, "no payload and no vector unless asked for: {first}");

    let all = json!({"query": {"nearest": [1, 0]}, "offset": 2, "limit": u64::MAX, "with_payload": true,
        "with_vector": true, "params": {"exact": true}});
    let result = api.post("/collections/c/points/query", all).await.result();
    let last = &result["points"][0];
    assert_eq!((&last["payload"], &last["vector"]), (&json!({"n": 1, "tag": "a"}), &json!([1.0, 0.0])));

    let by_id = json!({"query": 1, "score_threshold": 2.0, "filter": {"must_not": {"has_id": []}}});
    let result = api.post("/collections/c/points/query", by_id).await.result();
    assert_eq!(shown(&result), [(json!(ID_3), 3.0)], "the point itself is left out, the threshold is strict");
    let result = api.post("/collections/c/points/query", json!({})).await.result();
    assert_eq!(shown(&result), [(json!(1), 1.0), (json!(2), 1.0), (json!(ID_3), 1.0)]);
    assert_eq!(result["points"][0]["version"], 0);

    let batch = json!({"searches": [nearest, {"query": [-1, 0], "limit": 1}]});
    let results = api.post("/collections/c/points/query/batch", batch).await.result();
    assert_eq!(shown(&results[0]), [(json!(ID_3), 3.0), (json!(2), 2.0)]);
    assert_eq!(shown(&results[1]), [(json!(1), -1.0)]);
    let none = api.post("/collections/c/points/query/batch", json!({"searches": []})).await.result();
    assert_eq!(none, json!([]));

    let search = json!({"vector": [1, 0], "top": 1});
    let result = api.post("/collections/c/points/search", search.clone()).await.result();
    assert_eq!(shown(&result), [(json!(ID_3), 3.0)]);
    let batch = json!({"searches": [search, {"vector": {"name": "", "vector": [-1, 0]}, "limit": 1}]});
    let results = api.post("/collections/c/points/search/batch", batch).await.result();
    assert_eq!(shown(&results[0]), [(json!(ID_3), 3.0)]);
    assert_eq!(shown(&results[1]), [(json!(1), -1.0)]);

    for (body, want) in [
        (json!({"query": [1]}), (400, "Wrong input: Vector dimension error: expected dim: 2, got 1")),
        (json!({"query": [1, 0], "using": "v"}), (400, "Wrong input: Not existing vector name error: v")),
        (json!({"query": 9}), (404, "Not found: No point with id 9 found")),
        (json!({"query": 1, "lookup_from": {"collection": "d"}}), (404, "Not found: Collection d not found")),
    ] {
        let answer = api.post("/collections/c/points/query", body.clone()).await;
        assert_eq!(answer.failure(), (want.0, want.1.to_owned()), "{body}");
        let answer = api.post("/collections/c/points/query/batch", json!({"searches": [{}, body]})).await;
        assert_eq!(answer.failure().0, want.0, "one bad entry fails the call");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn protocol_6_writes_of_points() {
    let api = Api::with_points().await;
    let points = "/collections/c/points";
    let acknowledged = api.put(points, json!({"points": [{"id": 1, "vector": [5, 5]}]})).await.result();
    assert_eq!(acknowledged["status"], "acknowledged");
    let deleted = api.post(&format!("{points}/delete?wait=true"), json!({"points": [2, 77]})).await.result();
    assert_eq!(deleted["status"], "completed");
    assert_eq!(
        api.contents().await,
        json!([
            {"id": 1, "payload": {}, "vector": [5.0, 5.0]},
            {"id": ID_3, "payload": {"n": 3}, "vector": [3.0, 0.0]},
        ])
    );
    let wait = |path: &str| format!("{points}/{path}?wait=true&ordering=strong");
    api.post(&wait("payload"), json!({"points": [1], "payload": {"a": {"b": 1}, "c": 2}})).await.result();
    api.post(&wait("payload"), json!({"points": [1], "payload": {"d": 3}, "key": "a"})).await.result();
    api.put(&wait("vectors"), json!({"points": [{"id": ID_3, "vector": [4, 4]}]})).await.result();
    api.put(&wait("payload"), json!({"filter": {"must": {"has_id": [ID_3]}}, "payload": {"z": 1}})).await.result();
    assert_eq!(
        api.contents().await,
        json!([
            {"id": 1, "payload": {"a": {"b": 1, "d": 3}, "c": 2}, "vector": [5.0, 5.0]},
            {"id": ID_3, "payload": {"z": 1}, "vector": [4.0, 4.0]},
        ])
    );
    api.post(&wait("payload/delete"), json!({"points": [1], "keys": ["a.b"]})).await.result();
    api.post(&wait("payload/clear"), json!({"points": [ID_3]})).await.result();
    api.post(&wait("vectors/delete"), json!({"points": [ID_3], "vector": [""]})).await.result();
    assert_eq!(
        api.contents().await,
        json!([
            {"id": 1, "payload": {"a": {"d": 3}, "c": 2}, "vector": [5.0, 5.0]},
            {"id": ID_3, "payload": {}, "vector": {}},
        ])
    );
    let batch = json!({"operations": [
        {"upsert": {"points": [{"id": 8, "vector": [8, 8]}]}},
        {"set_payload": {"points": [8], "payload": {"k": 1}}},
        {"delete": {"filter": {"must": {"has_id": [1, ID_3]}}}},
    ]});
    let acks = api.post(&wait("batch"), batch).await.result();
    assert_eq!(acks.as_array().unwrap().len(), 3);
    assert!(acks.as_array().unwrap().iter().all(|ack| ack["status"] == "completed"));
    assert_eq!(api.contents().await, json!([{"id": 8, "payload": {"k": 1}, "vector": [8.0, 8.0]}]));
    assert_eq!(
        api.post(&wait("payload"), json!({"points": [8, 77], "payload": {"k": 2}})).await.failure(),
        (404, "Not found: No point with id 77 found".to_owned())
    );
    assert_eq!(api.contents().await, json!([{"id": 8, "payload": {"k": 2}, "vector": [8.0, 8.0]}]));
    assert_eq!(
        api.put(points, json!({"points": [{"id": 8, "vector": [1]}]})).await.failure(),
        (400, "Wrong input: Vector dimension error: expected dim: 2, got 1".to_owned()),
        "also when nobody waits"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_hangs_up_leaves_no_write_half_done() {
    let api = Api::new().await;
    let config = json!({"vectors": {"size": 2, "distance": "Dot"}, "shard_number": 4});
    api.put("/collections/c", config).await.result();
    let deletes: Vec<Value> = (0..20).map(|id| json!({"delete": {"points": [id]}})).collect();
    let points: Vec<Value> = (0..100).map(|id| json!({"id": id, "vector": [id, 1]})).collect();
    let mut operations = vec![json!({"upsert": {"points": points}})];
    operations.extend(deletes);
    let batch = json!({ "operations": operations });
    // Polled once, then dropped.
    assert!(api.post("/collections/c/points/batch?wait=true", batch).now_or_never().is_none());
    let count = async {
        while api.post("/collections/c/points/count", json!({})).await.result()["count"] != 80 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), count).await.unwrap();
    let ids: Vec<Value> = api.contents().await.as_array().unwrap().iter().map(|point| point["id"].clone()).collect();
    assert_eq!(ids, (20..100).map(|id| json!(id)).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_3_5_query_parameters() {
    let api = Api::with_points().await;
    let query = |parameters: &str| {
        let path = format!("/collections/c/points/query?{parameters}");
        let api = &api;
        async move { api.post(&path, json!({})).await }
    };
    for good in ["", "consistency=", "consistency=3", "consistency=all", "timeout=1", "timeout=18446744073709551615"] {
        query(good).await.result();
    }
    assert_eq!(
        query("timeout=0").await.failure(),
        (422, "Validation error in query parameters: [timeout: value 0 invalid, must be 1 or larger]".to_owned())
    );
    for bad in ["timeout=x", "timeout=-1", "timeout=1&timeout=2", "consistency=0", "consistency=some"] {
        let (status, text) = query(bad).await.failure();
        assert_eq!(status, 400, "{bad}");
        assert!(text.starts_with("Deserialize error in query parameters: "), "{bad}: {text}");
    }
    let point = json!({"points": [{"id": 1, "vector": [1, 1]}]});
    for bad in ["wait=1", "ordering=odd"] {
        let (status, text) = api.put(&format!("/collections/c/points?{bad}"), point.clone()).await.failure();
        assert_eq!(status, 400, "{bad}");
        assert!(text.starts_with("Deserialize error in query parameters: "), "{bad}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_1_1_routes_not_built_and_routes_that_are_nowhere() {
    let api = Api::new().await;
    for (method, path, operation) in [
        ("GET", "/cluster/telemetry", "cluster telemetry"),
        ("GET", "/collections/c/shards/0/snapshot/partial/manifest", "get partial shard snapshot manifest"),
        ("GET", "/dashboard/index.html", "dashboard"),
    ] {
        let answer = api.raw(method, path, "not even JSON").await;
        assert_eq!(answer.failure(), (501, format!("Not implemented: {operation}")), "{method} {path}");
    }
    for (method, path) in [("GET", "/nowhere"), ("POST", "/collections/c"), ("PATCH", "/"), ("PUT", "/collections")] {
        let answer = api.raw(method, path, Body::empty()).await;
        assert_eq!((answer.status.as_u16(), answer.text()), (404, ""), "{method} {path}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_3_1_slashes_origins_and_compression() {
    let api = Api::with_points().await;
    let query = api.post("//collections//c/points/count///?timeout=9", json!({})).await;
    assert_eq!(query.result(), json!({"count": 3}));
    let request =
        |path: &str, name: &str, value: &str| Request::get(path).header(name, value).body(Body::empty()).unwrap();
    let answer = api.send(request("/collections", "origin", "https://example.com")).await;
    assert_eq!(answer.headers["access-control-allow-origin"], "*");
    let preflight = Request::options("/collections/c/points")
        .header("origin", "https://example.com")
        .header("access-control-request-method", "PUT")
        .header("access-control-request-headers", "api-key")
        .body(Body::empty())
        .unwrap();
    let answer = api.send(preflight).await;
    assert_eq!((answer.status.as_u16(), &answer.headers["access-control-allow-origin"]), (200, &"*".parse().unwrap()));

    let small = api.send(request("/collections", "accept-encoding", "gzip")).await;
    assert_eq!(small.headers.get("content-encoding"), None, "fits one packet");
    let text = "x".repeat(10_000);
    let big = json!({"points": [{"id": 4, "vector": [4, 0], "payload": {"text": text}}]});
    api.put("/collections/c/points?wait=true", big).await.result();
    for (accepted, coding) in [("gzip", "gzip"), ("br", "br"), ("zstd", "zstd")] {
        let answer = api.send(request("/collections/c/points/4", "accept-encoding", accepted)).await;
        assert_eq!(answer.headers["content-encoding"], coding);
        assert!(answer.bytes.len() < 1_000);
    }
    assert!(api.get("/collections/c/points/4").await.bytes.len() > 10_000);

    let closed = Api::with(|settings| settings.is_cors_enabled = false).await;
    let answer = closed.send(request("/collections", "origin", "https://example.com")).await;
    assert_eq!(answer.headers.get("access-control-allow-origin"), None);
}

/// A body that is never sent: whoever reads it waits for ever.
fn silent_body() -> Body {
    Body::from_stream(stream::pending::<Result<Bytes, Infallible>>())
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_3_2_keys() {
    let api = Api::with(|settings| {
        settings.keys = Keys::new(Some("full".into()), Some("other".into()), Some("ro".into()));
    })
    .await;
    let send = |method: &str, path: &str, header: Option<(&str, &str)>| {
        let mut request = Request::builder().method(method).uri(path);
        if let Some((name, value)) = header {
            request = request.header(name, value);
        }
        let (request, api) = (request.body(silent_body()).unwrap(), &api);
        async move { api.send(request).await }
    };
    for path in ["/", "/healthz", "/livez", "/readyz", "/dashboard"] {
        assert_ne!(send("GET", path, None).await.status, 401, "{path}");
    }
    for (header, text) in [
        (None, "Must provide an API key or an Authorization bearer token"),
        (Some(("authorization", "Basic full")), "Must provide an API key or an Authorization bearer token"),
        (Some(("api-key", "wrong")), "Invalid API key or JWT"),
        (Some(("authorization", "Bearer wrong")), "Invalid API key or JWT"),
    ] {
        for (method, path) in
            [("GET", "/collections"), ("PUT", "/collections/c"), ("GET", "/metrics"), ("GET", "/nowhere")]
        {
            let answer = send(method, path, header).await;
            assert_eq!((answer.status.as_u16(), answer.text()), (401, text), "{method} {path}");
        }
    }
    for key in [("api-key", "full"), ("api-key", "other"), ("authorization", "Bearer full"), ("api-key", "ro")] {
        assert_eq!(send("GET", "/collections", Some(key)).await.status, 200, "{key:?}");
    }
    let write = send("PUT", "/collections/c", Some(("api-key", "ro"))).await;
    assert_eq!(write.failure(), (403, "Forbidden: this key may read, not write or manage".to_owned()));
    assert_eq!(send("DELETE", "/collections/c", Some(("api-key", "other"))).await.status, 200);
}

/// `{"filter":{}}`, with 4,000 spaces in it, and without.
const GZIP_OF_4013: [u8; 56] = [
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0xff, 0xed, 0xc1, 0xb1, 0x09, 0x00, 0x20, 0x0c, 0x00, 0xb0,
    0x57, 0xa4, 0x67, 0xf8, 0x8f, 0x82, 0xe0, 0x24, 0x6e, 0xa5, 0xbf, 0x7b, 0x86, 0x4b, 0x92, 0x8c, 0xb9, 0xf6, 0x1d,
    0x27, 0x7a, 0x56, 0x03, 0x00, 0x00, 0x00, 0xbe, 0xab, 0x07, 0x3e, 0xdd, 0x3e, 0x67, 0xad, 0x0f, 0x00, 0x00,
];
const GZIP_OF_13: [u8; 33] = [
    0x1f, 0x8b, 0x08, 0x00, 0x00, 0x00, 0x00, 0x00, 0x02, 0xff, 0xab, 0x56, 0x4a, 0xcb, 0xcc, 0x29, 0x49, 0x2d, 0x52,
    0xb2, 0xaa, 0xae, 0xad, 0x05, 0x00, 0x7b, 0x78, 0xef, 0xf6, 0x0d, 0x00, 0x00, 0x00,
];

#[tokio::test(flavor = "multi_thread")]
async fn bodies_beyond_the_limit() {
    let api = Api::with(|settings| settings.request_bytes_max = 1_000).await;
    api.put("/collections/c", json!({"vectors": {"size": 2, "distance": "Dot"}})).await.result();
    let too_large = (413, "Payload too large: a request may have up to 1000 bytes".to_owned());
    let count = "/collections/c/points/count";
    let padded = |bytes: usize| format!("{{\"filter\":{{}}{}}}", " ".repeat(bytes - 13));
    assert_eq!(api.raw("POST", count, padded(1_000)).await.result(), json!({"count": 0}));
    for bytes in [1_001, 1_999, 100_000] {
        assert_eq!(api.raw("POST", count, padded(bytes)).await.failure(), too_large, "{bytes}");
        let pieces: Vec<Result<Bytes, Infallible>> =
            padded(bytes).as_bytes().chunks(100).map(|piece| Ok(Bytes::copy_from_slice(piece))).collect();
        let chunked = Body::from_stream(stream::iter(pieces));
        assert_eq!(api.raw("POST", count, chunked).await.failure(), too_large, "{bytes} in pieces");
    }
    let declared = Request::post(count).header("content-length", "1000000000").body(silent_body()).unwrap();
    assert_eq!(api.send(declared).await.failure(), too_large, "its announcement is enough");
    let gzip =
        |bytes: &'static [u8]| Request::post(count).header("content-encoding", "gzip").body(Body::from(bytes)).unwrap();
    assert_eq!(api.send(gzip(&GZIP_OF_13)).await.result(), json!({"count": 0}));
    assert_eq!(api.send(gzip(&GZIP_OF_4013)).await.failure(), too_large, "the limit is on what was compressed");
    assert_eq!(api.send(gzip(b"\x1f\x8b\x08garbage")).await.failure().0, 400);
    assert_eq!(api.send(gzip(&GZIP_OF_13[..20])).await.failure().0, 400);
    let odd = Request::post(count).header("content-encoding", "rot13").body(Body::from("{}")).unwrap();
    assert_eq!(
        api.send(odd).await.failure(),
        (400, "Format error in JSON body: the content encoding is not supported; gzip is".to_owned())
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn calls_beyond_the_limit_are_refused_with_a_hint() {
    let api = Api::with(|settings| settings.in_flight_max = 0).await;
    for answer in [api.get("/collections").await, api.post("/collections/c/points/count", json!({})).await] {
        let want = "Rate limiting exceeded: too many calls at once. Retry after 1s";
        assert_eq!(answer.failure(), (429, want.to_owned()));
        assert_eq!(answer.headers["retry-after"], "1");
    }
    assert_eq!(api.get("/readyz").await.status, 200, "probes need no place");
    let api = Api::with(|settings| settings.in_flight_max = 1).await;
    for _ in 0..3 {
        assert_eq!(api.get("/collections").await.status, 200, "a place is given back");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bodies_that_do_not_arrive_or_are_no_json() {
    let api = Api::with(|settings| settings.request_timeout = Duration::from_millis(20)).await;
    let answer = api.raw("PUT", "/collections/c", silent_body()).await;
    assert_eq!(answer.failure(), (408, "Timeout: the body of the request did not arrive in time".to_owned()));

    let api = Api::new().await;
    let bodies: [&[u8]; 7] = [b"", b"{", b"{} {}", b"[]", b"null", b"\xff\xfe", b"{\"filter\": \"\xff\"}"];
    for body in bodies {
        let (status, text) = api.raw("POST", "/collections/c/points/count", body).await.failure();
        assert_eq!(status, 400);
        assert!(text.starts_with("Format error in JSON body: "), "{text}");
    }
    let typed = |content_type: &str| {
        let request = Request::post("/collections/c/points/count").header("content-type", content_type);
        let (request, api) = (request.body(Body::from("{}")).unwrap(), &api);
        async move { api.send(request).await.failure() }
    };
    assert_eq!(typed("application/json; charset=utf-8").await.0, 404, "read, and there is no such collection");
    for content_type in ["text/plain", "application/octet-stream", "", "json"] {
        let want = (400, "Format error in JSON body: the content type must be application/json".to_owned());
        assert_eq!(typed(content_type).await, want, "{content_type}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn answers_are_counted_by_route() {
    let recorder = metrics_exporter_prometheus::PrometheusBuilder::new().build_recorder();
    let handle = recorder.handle();
    let api = Api::with_points().await;
    {
        // For this thread, which is where a test's own future runs.
        let _guard = metrics::set_default_local_recorder(&recorder);
        api.get("/collections/c").await.result();
        api.get("/collections/d").await.failure();
        api.get("/collections/d/").await.failure();
        api.get("/nowhere/at/all").await;
        api.raw("BREW", "/nowhere", Body::empty()).await;
    }
    let text = handle.render();
    for (method, endpoint, status, count) in [
        ("GET", "/collections/{name}", 200, 1),
        ("GET", "/collections/{name}", 404, 2),
        ("GET", "(none)", 404, 1),
        ("OTHER", "(none)", 404, 1),
    ] {
        let labels = format!("{{method=\"{method}\",endpoint=\"{endpoint}\",status=\"{status}\"}}");
        assert!(text.contains(&format!("rest_responses_total{labels} {count}\n")), "{labels}: {text}");
        assert!(text.contains(&format!("rest_responses_duration_seconds_count{labels} {count}\n")), "{labels}: {text}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s8_field_indexes_over_rest() {
    let api = Api::with_points().await;
    let schema = || async { api.get("/collections/c").await.result()["payload_schema"].take() };
    assert_eq!(schema().await, json!({}));
    let made = api.put("/collections/c/index?wait=true", json!({"field_name": "n", "field_schema": "integer"})).await;
    assert_eq!(made.result()["status"], "completed");
    let text = json!({"type": "text", "tokenizer": "word", "min_token_len": 1, "lowercase": true});
    let made = api.put("/collections/c/index", json!({"field_name": "tag", "field_schema": text})).await;
    assert_eq!(made.result()["status"], "acknowledged");
    api.put("/collections/c/index?wait=true", json!({"field_name": "tag", "field_schema": text})).await.result();
    assert_eq!(
        schema().await,
        json!({
            "n": {"data_type": "integer", "points": 3},
            "tag": {"data_type": "text", "params": text, "points": 2},
        })
    );
    let (status, error) = api.put("/collections/c/index", json!({"field_name": "n"})).await.failure();
    assert_eq!(status, 400);
    assert!(error.contains("Can't auto-detect field type, please specify `field_schema` in the request"), "{error}");
    let both_off = json!({"type": "integer", "lookup": false, "range": false});
    let (status, error) =
        api.put("/collections/c/index", json!({"field_name": "n", "field_schema": both_off})).await.failure();
    assert_eq!(status, 422);
    assert!(error.contains("the 'lookup' and 'range' capabilities can't be both disabled"), "{error}");
    let missing = api.put("/collections/x/index", json!({"field_name": "n", "field_schema": "integer"})).await;
    assert_eq!(missing.failure().0, 404);
    for field in ["n", "unknown", "tag"] {
        api.delete(&format!("/collections/c/index/{field}?wait=true")).await.result();
    }
    assert_eq!(schema().await, json!({}));
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_2_s9_4_orders_and_facets_over_rest() {
    let api = Api::with_points().await;
    let scroll = |body: Value| async { api.post("/collections/c/points/scroll", body).await };
    let (status, error) = scroll(json!({"order_by": "n"})).await.failure();
    assert_eq!(status, 400);
    assert!(error.contains("No range index for `order_by` key: `n`. Please create one to use `order_by`."), "{error}");
    let facet = |body: Value| async { api.post("/collections/c/facet", body).await };
    let (status, error) = facet(json!({"key": "tag"})).await.failure();
    assert_eq!(status, 400);
    assert!(error.contains("No appropriate index for faceting: `tag`. Please create one to facet on"), "{error}");
    for (field, schema) in [("n", json!("float")), ("tag", json!("keyword"))] {
        api.put("/collections/c/index?wait=true", json!({"field_name": field, "field_schema": schema})).await.result();
    }
    let page = scroll(json!({"order_by": {"key": "n", "direction": "desc"}, "limit": 2, "with_payload": ["n"]})).await;
    assert_eq!(
        page.result(),
        json!({
            "points": [
                {"id": "00000000-0000-0000-0000-000000000003", "payload": {"n": 3}, "order_value": 3.0},
                {"id": 2, "payload": {"n": 2}, "order_value": 2.0},
            ],
            "next_page_offset": null,
        })
    );
    let (status, error) = scroll(json!({"order_by": "n", "offset": 2})).await.failure();
    assert_eq!(status, 400);
    assert!(error.starts_with("Wrong input: Cannot use an `offset` when using `order_by`."), "{error}");
    let hits = facet(json!({"key": "tag", "exact": true})).await.result();
    assert_eq!(hits, json!({"hits": [{"value": "a", "count": 1}, {"value": "b", "count": 1}]}));
    let filter = json!({"must": [{"key": "n", "range": {"gt": 1}}]});
    let hits = facet(json!({"key": "tag", "filter": filter})).await.result();
    assert_eq!(hits, json!({"hits": [{"value": "b", "count": 1}]}));
    assert_eq!(facet(json!({"key": "tag", "limit": 0})).await.failure().0, 422);
}
