//! `timeout` ends every read and every write, over both transports (PROTOCOL section 21, CLIENTS sections 3.3 and 3.5).

use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::Request as HttpRequest;
use futures::future::join_all;
use serde_json::{Value, json};
use tonic::{Code, Request, Response, Status};
use tower::ServiceExt;

use super::call::Calls;
use super::pb::{self, points_server::Points as _};
use super::points::PointsRpc;
use crate::api::auth::Keys;
use crate::api::rest::{self, RestSettings};
use crate::service::{Service, ServiceSettings, SnapshotPlace};

const SEARCH_THREADS: usize = 2;
/// Above the request's second, far below the server's own limit.
const LONGEST: Duration = Duration::from_secs(20);

struct Node {
    service: Service,
    router: Router,
    points: PointsRpc,
    _folder: tempfile::TempDir,
}

impl Node {
    /// With collection `c`: two points of two numbers, and an indexed field `n`.
    async fn new() -> Node {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::open(ServiceSettings {
            storage_path: folder.path().to_owned(),
            snapshots_path: folder.path().join("snapshots"),
            search_threads: SEARCH_THREADS,
            search_queue_max: 64,
            index_threads: 1,
            tail_vectors_max: 10_000,
            checkpoint_interval: Duration::from_secs(3_600),
            disk_reserve_bytes: 0,
            block_cache_bytes: 1 << 20,
            memtable_bytes: 1 << 20,
            snapshots_place: SnapshotPlace::Local,
            url_recovery: None,
        })
        .await
        .unwrap();
        let router = rest::router(
            service.clone(),
            RestSettings {
                request_bytes_max: 1 << 20,
                request_timeout: Duration::from_secs(300),
                in_flight_max: 64,
                keys: Keys::default(),
                is_cors_enabled: false,
                metrics: Arc::new(String::new),
                is_ready: Arc::new(|| true),
                node_id: "the-node".to_owned(),
                started_at: SystemTime::UNIX_EPOCH,
            },
        );
        let points = PointsRpc { service: service.clone(), calls: Calls::new(64, Duration::from_secs(300)) };
        let node = Node { service, router, points, _folder: folder };
        let dense = json!({"vectors": {"size": 2, "distance": "Dot"}, "sparse_vectors": {"s": {}}});
        assert_eq!(node.send("PUT", "/collections/c", dense).await.0, 200);
        let index = json!({"field_name": "n", "field_schema": "integer"});
        assert_eq!(node.send("PUT", "/collections/c/index?wait=true", index).await.0, 200);
        let point = |id: u64| json!({"id": id, "vector": [1.0, id], "payload": {"n": id}});
        let points = json!({"points": [point(1), point(2)]});
        assert_eq!(node.send("PUT", "/collections/c/points?wait=true", points).await.0, 200);
        node
    }

    async fn send(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        let request = HttpRequest::builder().method(method).uri(path).body(Body::from(body.to_string())).unwrap();
        let answer = self.router.clone().oneshot(request).await.unwrap();
        let status = answer.status().as_u16();
        let bytes = to_bytes(answer.into_body(), 1 << 20).await.unwrap();
        (status, serde_json::from_slice(&bytes).unwrap())
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s21_a_read_past_its_timeout_is_a_408_over_rest() {
    let node = Node::new().await;
    // With payload: a search that reads nothing but the index, and little of that, waits for no thread.
    let near = json!({"query": [1.0, 0.0], "with_payload": true});
    let searched = json!({"vector": [1.0, 0.0], "limit": 1, "with_payload": true});
    let reads = [
        ("POST", "/points", json!({"ids": [1]})),
        ("GET", "/points/1", json!(null)),
        ("POST", "/points/scroll", json!({})),
        ("POST", "/points/scroll", json!({"order_by": "n"})),
        ("POST", "/points/count", json!({})),
        ("POST", "/facet", json!({"key": "n"})),
        ("POST", "/points/query", near.clone()),
        ("POST", "/points/query", json!({"query": 1})),
        ("POST", "/points/query", json!({"prefetch": [near.clone(), near.clone()], "query": {"fusion": "rrf"}})),
        ("POST", "/points/query/batch", json!({"searches": [near.clone(), near]})),
        ("POST", "/points/query/groups", json!({"query": [1.0, 0.0], "group_by": "n"})),
        ("POST", "/points/search/matrix/pairs", json!({})),
        ("POST", "/points/search/matrix/offsets", json!({})),
        ("POST", "/points/search", searched.clone()),
        ("POST", "/points/search/batch", json!({"searches": [searched]})),
        ("POST", "/points/search/groups", json!({"vector": [1.0, 0.0], "limit": 1, "group_by": "n", "group_size": 1})),
        ("POST", "/points/recommend", json!({"positive": [1], "limit": 1})),
        ("POST", "/points/discover", json!({"target": 1, "limit": 1})),
        ("GET", "/memory", json!(null)),
    ];
    for (method, path, body) in reads.clone() {
        let (status, answer) = node.send(method, &format!("/collections/c{path}"), body).await;
        assert_eq!(status, 200, "{path}: {answer}");
    }
    let _stalled = node.service.stall_searches(SEARCH_THREADS);
    let began = Instant::now();
    let answers = join_all(reads.into_iter().map(|(method, path, body)| {
        let (node, path) = (&node, format!("/collections/c{path}?timeout=1"));
        async move { (node.send(method, &path, body).await, path) }
    }))
    .await;
    assert!(began.elapsed() < LONGEST);
    for ((status, answer), path) in answers {
        let text = answer["status"]["error"].as_str().unwrap_or_default();
        assert!(status == 408 && text.starts_with("Timeout: "), "{path}: {status} {answer}");
    }
    let quick = json!({"query": [1.0, 0.0], "limit": 1});
    assert_eq!(node.send("POST", "/collections/c/points/query?timeout=1", quick).await.0, 200);
}

fn id_of(num: u64) -> pb::PointId {
    pb::PointId { point_id_options: Some(pb::point_id::PointIdOptions::Num(num)) }
}

fn timed_out<T>(what: &str, answer: Result<Response<T>, Status>) {
    let status = answer.map(|_| ()).unwrap_err();
    assert_eq!(status.code(), Code::DeadlineExceeded, "{what}: {status}");
    assert!(status.message().starts_with("Timeout: "), "{what}: {status}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn s21_a_read_past_its_timeout_is_deadline_exceeded_over_grpc() {
    let node = Node::new().await;
    let c = || "c".to_owned();
    let timeout = Some(1);
    let vector = vec![1.0, 0.0];
    let id = || id_of(1);
    let nearest = || pb::Query {
        variant: Some(pb::query::Variant::Nearest(pb::VectorInput {
            variant: Some(pb::vector_input::Variant::Dense(pb::DenseVector { data: vec![1.0, 0.0] })),
        })),
    };
    // As over REST: those without are quick.
    let with_payload = Some(pb::WithPayloadSelector {
        selector_options: Some(pb::with_payload_selector::SelectorOptions::Enable(true)),
    });
    let query = || pb::QueryPoints {
        collection_name: c(),
        query: Some(nearest()),
        timeout,
        with_payload: with_payload.clone(),
        ..Default::default()
    };
    let search = || pb::SearchPoints {
        collection_name: c(),
        vector: vector.clone(),
        limit: 1,
        timeout,
        with_payload: with_payload.clone(),
        ..Default::default()
    };
    let matrix = || pb::SearchMatrixPoints { collection_name: c(), timeout, ..Default::default() };
    let order_by = Some(pb::OrderBy { key: "n".to_owned(), ..Default::default() });
    let get = pb::GetPoints { collection_name: c(), ids: vec![id()], timeout, ..Default::default() };
    let scroll = pb::ScrollPoints { collection_name: c(), timeout, ..Default::default() };
    let ordered = pb::ScrollPoints { order_by, ..scroll.clone() };
    let count = pb::CountPoints { collection_name: c(), timeout, ..Default::default() };
    let facet = pb::FacetCounts { collection_name: c(), key: "n".to_owned(), timeout, ..Default::default() };
    let queries =
        pb::QueryBatchPoints { collection_name: c(), query_points: vec![query()], timeout, ..Default::default() };
    let groups = pb::QueryPointGroups {
        collection_name: c(),
        query: Some(nearest()),
        group_by: "n".to_owned(),
        timeout,
        ..Default::default()
    };
    let searches =
        pb::SearchBatchPoints { collection_name: c(), search_points: vec![search()], timeout, ..Default::default() };
    let old_groups = pb::SearchPointGroups {
        collection_name: c(),
        vector: vector.clone(),
        limit: 1,
        group_by: "n".to_owned(),
        group_size: 1,
        timeout,
        ..Default::default()
    };
    let recommend =
        pb::RecommendPoints { collection_name: c(), positive: vec![id()], limit: 1, timeout, ..Default::default() };
    let target = pb::TargetVector {
        target: Some(pb::target_vector::Target::Single(pb::VectorExample {
            example: Some(pb::vector_example::Example::Id(id())),
        })),
    };
    let discover =
        pb::DiscoverPoints { collection_name: c(), target: Some(target), limit: 1, timeout, ..Default::default() };

    let stalled = node.service.stall_searches(SEARCH_THREADS);
    let began = Instant::now();
    let points = &node.points;
    tokio::join!(
        async { timed_out("get", points.get(Request::new(get)).await) },
        async { timed_out("scroll", points.scroll(Request::new(scroll)).await) },
        async { timed_out("scroll with order_by", points.scroll(Request::new(ordered)).await) },
        async { timed_out("count", points.count(Request::new(count)).await) },
        async { timed_out("facet", points.facet(Request::new(facet)).await) },
        async { timed_out("query", points.query(Request::new(query())).await) },
        async { timed_out("query_batch", points.query_batch(Request::new(queries)).await) },
        async { timed_out("query_groups", points.query_groups(Request::new(groups)).await) },
        async { timed_out("pairs", points.search_matrix_pairs(Request::new(matrix())).await) },
        async { timed_out("offsets", points.search_matrix_offsets(Request::new(matrix())).await) },
        async { timed_out("search", points.search(Request::new(search())).await) },
        async { timed_out("search_batch", points.search_batch(Request::new(searches)).await) },
        async { timed_out("search_groups", points.search_groups(Request::new(old_groups)).await) },
        async { timed_out("recommend", points.recommend(Request::new(recommend)).await) },
        async { timed_out("discover", points.discover(Request::new(discover)).await) },
    );
    assert!(began.elapsed() < LONGEST);
    drop(stalled);
    // The same without a stall is answered.
    let answer = node.points.query(Request::new(query())).await.unwrap().into_inner();
    assert_eq!(answer.result.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn clients_3_3_a_waited_write_past_its_timeout_is_a_wait_timeout() {
    let node = Node::new().await;
    let point = json!({"id": 3, "vector": [1.0, 3.0], "payload": {"n": 3}});
    let writes = [
        ("PUT", "/points", json!({"points": [point]})),
        ("POST", "/points/delete", json!({"points": [1]})),
        ("PUT", "/points/vectors", json!({"points": [{"id": 2, "vector": [5.0, 5.0]}]})),
        ("POST", "/points/vectors/delete", json!({"points": [2], "vector": ["s"]})),
        ("POST", "/points/payload", json!({"points": [2], "payload": {"a": 1}})),
        ("PUT", "/points/payload", json!({"points": [2], "payload": {"a": 1}})),
        ("POST", "/points/payload/delete", json!({"points": [2], "keys": ["b"]})),
        ("POST", "/points/payload/clear", json!({"filter": {"must": [{"has_id": [77]}]}})),
        ("PUT", "/index", json!({"field_name": "m", "field_schema": "integer"})),
    ];
    let dense = pb::vector::Vector::Dense(pb::DenseVector { data: vec![1.0, 4.0] });
    let vector = pb::Vector { vector: Some(dense), ..Default::default() };
    let vectors = pb::Vectors { vectors_options: Some(pb::vectors::VectorsOptions::Vector(vector)) };
    let upsert = pb::UpsertPoints {
        collection_name: "c".to_owned(),
        wait: Some(true),
        timeout: Some(1),
        points: vec![pb::PointStruct { id: Some(id_of(4)), vectors: Some(vectors), ..Default::default() }],
        ..Default::default()
    };
    let stalled = node.service.stall_changes("c");
    let began = Instant::now();
    let rest = join_all(writes.into_iter().map(|(method, path, body)| {
        let (node, path) = (&node, format!("/collections/c{path}?wait=true&timeout=1"));
        async move { (node.send(method, &path, body).await, path) }
    }));
    let batch = json!({"operations": [{"delete": {"points": [98]}}, {"delete": {"points": [99]}}]});
    let batch = node.send("POST", "/collections/c/points/batch?wait=true&timeout=1", batch);
    // What the shards must adopt cannot be confirmed either: of a collection's settings that is an error.
    let patch = node.send("PATCH", "/collections/c?timeout=1", json!({"vectors": {"": {"hnsw_config": {"m": 20}}}}));
    let (rest, batch, patch, grpc) =
        tokio::join!(rest, batch, patch, async { node.points.upsert(Request::new(upsert)).await });
    assert!(began.elapsed() < LONGEST);
    for ((status, answer), path) in rest {
        assert_eq!((status, &answer["result"]["status"]), (200, &json!("wait_timeout")), "{path}: {answer}");
    }
    assert_eq!(batch.0, 200);
    let statuses: Vec<&Value> = batch.1["result"].as_array().unwrap().iter().map(|ack| &ack["status"]).collect();
    assert_eq!(statuses, ["wait_timeout", "wait_timeout"]);
    assert_eq!(patch.0, 408, "{}", patch.1);
    let ack = grpc.unwrap().into_inner().result.unwrap();
    assert_eq!(ack.status, i32::from(pb::UpdateStatus::WaitTimeout));

    // What had been proposed takes effect once it can.
    drop(stalled);
    let (status, answer) =
        node.send("PUT", "/collections/c/points?wait=true", json!({"points": [{"id": 5, "vector": [1.0, 1.0]}]})).await;
    assert_eq!((status, &answer["result"]["status"]), (200, &json!("completed")), "{answer}");
    let (_, found) = node.send("POST", "/collections/c/points", json!({"ids": [1, 3, 4]})).await;
    let found: Vec<&Value> = found["result"].as_array().unwrap().iter().map(|record| &record["id"]).collect();
    assert_eq!(found, [3, 4]);
}
