//! The official Rust client, unmodified, against the server binary over gRPC.

use std::collections::HashMap;
use std::fs::File;
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use qdrant_client::qdrant::points_selector::PointsSelectorOneOf;
use qdrant_client::qdrant::points_update_operation::{Operation, PointStructList, SetPayload};
use qdrant_client::qdrant::vectors_config::Config;
use qdrant_client::qdrant::vectors_output::VectorsOptions;
use qdrant_client::qdrant::{
    Condition, CountPointsBuilder, CreateAliasBuilder, CreateCollectionBuilder, CreateFieldIndexCollectionBuilder,
    DeleteFieldIndexCollectionBuilder, DeletePointsBuilder, Distance, FacetCountsBuilder, FieldType, Filter,
    GetPointsBuilder, OrderByBuilder, PointId, PointStruct, PointVectors, PointsIdsList, PointsSelector,
    PointsUpdateOperation, QueryBatchPointsBuilder, QueryPointsBuilder, Range, ScrollPointsBuilder,
    SearchPointsBuilder, SetPayloadPointsBuilder, UpdateBatchPointsBuilder, UpdateMode, UpdatePointVectorsBuilder,
    UpdateStatus, UpsertPointsBuilder, Value, VectorParamsBuilder, VectorParamsMap, VectorsConfig, VectorsOutput,
};
use qdrant_client::{Payload, Qdrant, QdrantError};
use serde_json::json;
use tempfile::TempDir;

/// More than a debug build needs on a busy machine.
const READY_TIMEOUT: Duration = Duration::from_secs(60);
const COLLECTION: &str = "cities";

/// The server binary on free ports; killed when dropped.
struct Server {
    process: Child,
    grpc_port: u16,
    _storage: TempDir,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Server {
    async fn start() -> Server {
        let storage = TempDir::new().unwrap();
        let (http_port, grpc_port) = (free_port(), free_port());
        let log_path = storage.path().join("server.log");
        let log = File::create(&log_path).unwrap();
        let process = Command::new(env!("CARGO_BIN_EXE_quiver"))
            .arg("serve")
            .current_dir(storage.path())
            .env("QUIVER__SERVICE__HOST", "127.0.0.1")
            .env("QUIVER__SERVICE__HTTP_PORT", http_port.to_string())
            .env("QUIVER__SERVICE__GRPC_PORT", grpc_port.to_string())
            .env("QUIVER__STORAGE__STORAGE_PATH", storage.path().join("storage"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut server = Server { process, grpc_port, _storage: storage };
        server.wait_until_ready(http_port, &log_path).await;
        server
    }

    async fn wait_until_ready(&mut self, http_port: u16, log_path: &Path) {
        let deadline = Instant::now() + READY_TIMEOUT;
        loop {
            crate::install_cryptography();
            let answer = reqwest::get(format!("http://127.0.0.1:{http_port}/readyz")).await;
            if answer.is_ok_and(|answer| answer.status().is_success()) {
                return;
            }
            let ended = self.process.try_wait().unwrap().is_some();
            if ended || Instant::now() > deadline {
                panic!("the server did not become ready:\n{}", std::fs::read_to_string(log_path).unwrap_or_default());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    fn client(&self) -> Qdrant {
        Qdrant::from_url(&format!("http://127.0.0.1:{}", self.grpc_port))
            .timeout(Duration::from_secs(30))
            .build()
            .unwrap()
    }
}

fn payload(value: serde_json::Value) -> Payload {
    Payload::try_from(value).unwrap()
}

fn json_of(payload: HashMap<String, Value>) -> serde_json::Value {
    payload.into_iter().map(|(key, value)| (key, value.into_json())).collect::<serde_json::Map<_, _>>().into()
}

fn dense(vectors: Option<VectorsOutput>) -> Vec<f32> {
    use qdrant_client::qdrant::vector_output::Vector;
    match vectors.and_then(|vectors| vectors.vectors_options) {
        Some(VectorsOptions::Vector(vector)) => match vector.into_vector() {
            Vector::Dense(dense) => dense.data,
            other => panic!("{other:?}"),
        },
        other => panic!("{other:?}"),
    }
}

fn ids<T>(points: &[T], id: impl Fn(&T) -> &Option<PointId>) -> Vec<PointId> {
    points.iter().map(|point| id(point).clone().unwrap()).collect()
}

fn refused<T: std::fmt::Debug>(answer: Result<T, QdrantError>, code: tonic::Code) -> String {
    match answer.unwrap_err() {
        QdrantError::ResponseError { status } => {
            assert_eq!(status.code() as i32, code as i32, "{status:?}");
            status.message().to_owned()
        }
        other => panic!("{other:?}"),
    }
}

/// A collection of three points on vectors of dimension 3 under Dot.
async fn with_cities(server: &Server) -> Qdrant {
    let client = server.client();
    let created = client
        .create_collection(
            CreateCollectionBuilder::new(COLLECTION)
                .vectors_config(VectorParamsBuilder::new(3, Distance::Dot))
                .shard_number(2),
        )
        .await
        .unwrap();
    assert!(created.result);
    let points = vec![
        PointStruct::new(1, vec![1.0, 0.0, 0.0], payload(json!({"city": "Berlin", "n": 1, "list": [1, 2.5, null]}))),
        PointStruct::new(2, vec![0.0, 1.0, 0.0], payload(json!({"city": "Moscow", "n": 2}))),
        PointStruct::new(
            "00000000-0000-0000-0000-000000000003",
            vec![1.0, 1.0, 0.0],
            payload(json!({"city": ["Berlin", "London"]})),
        ),
    ];
    let result =
        client.upsert_points(UpsertPointsBuilder::new(COLLECTION, points).wait(true)).await.unwrap().result.unwrap();
    assert_eq!(result.status, UpdateStatus::Completed as i32);
    client
}

fn third() -> PointId {
    PointId::from("00000000-0000-0000-0000-000000000003")
}

#[tokio::test]
async fn collections() {
    let server = Server::start().await;
    let health = server.client().health_check().await.unwrap();
    assert_eq!(health.title, "qdrant - vector search engine");
    assert!(health.version.starts_with("1.19."), "{}", health.version);

    let client = with_cities(&server).await;
    assert!(client.collection_exists(COLLECTION).await.unwrap());
    assert!(!client.collection_exists("nowhere").await.unwrap());
    let names: Vec<String> =
        client.list_collections().await.unwrap().collections.into_iter().map(|one| one.name).collect();
    assert_eq!(names, [COLLECTION]);
    let info = client.collection_info(COLLECTION).await.unwrap().result.unwrap();
    assert_eq!(info.points_count, Some(3));
    assert_eq!(info.config.unwrap().params.unwrap().shard_number, 2);

    client.create_alias(CreateAliasBuilder::new(COLLECTION, "alias")).await.unwrap();
    assert_eq!(client.count(CountPointsBuilder::new("alias").exact(true)).await.unwrap().result.unwrap().count, 3);

    let again = CreateCollectionBuilder::new(COLLECTION).vectors_config(VectorParamsBuilder::new(3, Distance::Dot));
    let text = refused(client.create_collection(again).await, tonic::Code::AlreadyExists);
    assert_eq!(text, "Wrong input: Collection `cities` already exists!");
    let text = refused(client.collection_info("nowhere").await, tonic::Code::NotFound);
    assert_eq!(text, "Not found: Collection `nowhere` doesn't exist!");
    assert!(client.delete_collection(COLLECTION).await.unwrap().result);
    assert!(!client.delete_collection(COLLECTION).await.unwrap().result);
}

#[tokio::test]
async fn reading() {
    let server = Server::start().await;
    let client = with_cities(&server).await;

    let query = QueryPointsBuilder::new(COLLECTION).query(vec![2.0, 1.0, 0.0]).limit(2).with_payload(true);
    let found = client.query(query).await.unwrap().result;
    assert_eq!(ids(&found, |point| &point.id), [third(), 1.into()]);
    assert_eq!(found.iter().map(|point| point.score).collect::<Vec<_>>(), [3.0, 2.0]);
    assert_eq!(json_of(found[1].payload.clone()), json!({"city": "Berlin", "n": 1, "list": [1, 2.5, null]}));

    let berlin = Filter::must([Condition::matches("city", "Berlin".to_string())]);
    let by_id = QueryPointsBuilder::new(COLLECTION).query(PointId::from(1)).filter(berlin);
    assert_eq!(ids(&client.query(by_id).await.unwrap().result, |point| &point.id), [third()]);

    let searches = vec![
        QueryPointsBuilder::new(COLLECTION).query(vec![1.0, 0.0, 0.0]).limit(1).build(),
        QueryPointsBuilder::new(COLLECTION).query(vec![0.0, 1.0, 0.0]).score_threshold(1.0).build(),
    ];
    let batches = client.query_batch(QueryBatchPointsBuilder::new(COLLECTION, searches)).await.unwrap().result;
    assert_eq!(batches.iter().map(|batch| batch.result.len()).collect::<Vec<_>>(), [1, 0]);

    let search = SearchPointsBuilder::new(COLLECTION, vec![2.0, 1.0, 0.0], 1).with_vectors(true);
    let mut hits = client.search_points(search.filter(Filter::default())).await.unwrap().result;
    assert_eq!(ids(&hits, |point| &point.id), [third()]);
    assert_eq!(dense(hits.remove(0).vectors), [1.0, 1.0, 0.0]);

    let page = client.scroll(ScrollPointsBuilder::new(COLLECTION).limit(2)).await.unwrap();
    assert_eq!(ids(&page.result, |point| &point.id), [1.into(), 2.into()]);
    assert!(!page.result[0].payload.is_empty(), "scroll returns payloads by default");
    let next = page.next_page_offset.unwrap();
    assert_eq!(next, third());
    let page = client.scroll(ScrollPointsBuilder::new(COLLECTION).offset(next)).await.unwrap();
    assert_eq!((page.result.len(), page.next_page_offset), (1, None));

    let above_one = Filter::must([Condition::range("n", Range { gt: Some(1.0), ..Default::default() })]);
    let count = client.count(CountPointsBuilder::new(COLLECTION).filter(above_one).exact(true)).await.unwrap();
    assert_eq!(count.result.unwrap().count, 1);

    let get =
        GetPointsBuilder::new(COLLECTION, vec![third(), 1.into(), 77.into()]).with_payload(true).with_vectors(true);
    let records = client.get_points(get).await.unwrap().result;
    assert_eq!(ids(&records, |point| &point.id), [third(), 1.into()]);
    assert_eq!(json_of(records[0].payload.clone()), json!({"city": ["Berlin", "London"]}));
    assert_eq!(dense(records[1].vectors.clone()), [1.0, 0.0, 0.0]);
}

#[tokio::test]
async fn writing() {
    let server = Server::start().await;
    let client = with_cities(&server).await;
    let stored = async |id: u64| {
        let get = GetPointsBuilder::new(COLLECTION, vec![id.into()]).with_payload(true).with_vectors(true);
        let record = client.get_points(get).await.unwrap().result.remove(0);
        (json_of(record.payload), dense(record.vectors))
    };

    let set = SetPayloadPointsBuilder::new(COLLECTION, payload(json!({"n": null, "more": {"a": 1}})));
    client.set_payload(set.points_selector(PointsIdsList { ids: vec![1.into()] }).wait(true)).await.unwrap();
    assert_eq!(stored(1).await.0, json!({"city": "Berlin", "list": [1, 2.5, null], "more": {"a": 1}}));

    let change = vec![PointVectors { id: Some(1.into()), vectors: Some(vec![9.0, 9.0, 9.0].into()) }];
    client.update_vectors(UpdatePointVectorsBuilder::new(COLLECTION, change).wait(true)).await.unwrap();
    assert_eq!(stored(1).await.1, [9.0, 9.0, 9.0]);

    let insert_only =
        vec![PointStruct::new(2, vec![5.0; 3], Payload::new()), PointStruct::new(4, vec![5.0; 3], Payload::new())];
    let upsert = UpsertPointsBuilder::new(COLLECTION, insert_only).update_mode(UpdateMode::InsertOnly).wait(true);
    client.upsert_points(upsert).await.unwrap();
    assert_eq!((stored(2).await.1, stored(4).await.1), (vec![0.0, 1.0, 0.0], vec![5.0; 3]));

    let five = PointsSelector {
        points_selector_one_of: Some(PointsSelectorOneOf::Points(PointsIdsList { ids: vec![5.into()] })),
    };
    let operations = vec![
        Operation::Upsert(PointStructList {
            points: vec![PointStruct::new(5, vec![1.0, 2.0, 3.0], Payload::new())],
            ..Default::default()
        }),
        Operation::SetPayload(SetPayload {
            payload: payload(json!({"batch": true})).into(),
            points_selector: Some(five),
            ..Default::default()
        }),
    ];
    let operations =
        operations.into_iter().map(|one| PointsUpdateOperation { operation: Some(one) }).collect::<Vec<_>>();
    let results = client
        .update_points_batch(UpdateBatchPointsBuilder::new(COLLECTION, operations).wait(true))
        .await
        .unwrap()
        .result;
    assert_eq!(results.iter().map(|one| one.status).collect::<Vec<_>>(), [UpdateStatus::Completed as i32; 2]);
    assert_eq!(stored(5).await, (json!({"batch": true}), vec![1.0, 2.0, 3.0]));

    let berlin = Filter::must([Condition::matches("city", "Berlin".to_string())]);
    let deleted = client.delete_points(DeletePointsBuilder::new(COLLECTION).points(berlin).wait(true)).await.unwrap();
    assert_eq!(deleted.result.unwrap().status, UpdateStatus::Completed as i32);
    assert_eq!(client.count(CountPointsBuilder::new(COLLECTION).exact(true)).await.unwrap().result.unwrap().count, 3);
}

#[tokio::test]
async fn named_vectors() {
    let server = Server::start().await;
    let client = server.client();
    let params = HashMap::from([
        ("image".to_string(), VectorParamsBuilder::new(2, Distance::Euclid).build()),
        ("text".to_string(), VectorParamsBuilder::new(3, Distance::Cosine).build()),
    ]);
    client
        .create_collection(
            CreateCollectionBuilder::new(COLLECTION)
                .vectors_config(VectorsConfig { config: Some(Config::ParamsMap(VectorParamsMap { map: params })) }),
        )
        .await
        .unwrap();
    let both = HashMap::from([("image".to_string(), vec![3.0, 4.0]), ("text".to_string(), vec![0.0, 3.0, 4.0])]);
    let one = HashMap::from([("image".to_string(), vec![0.0, 1.0])]);
    let points = vec![PointStruct::new(1, both, Payload::new()), PointStruct::new(2, one, Payload::new())];
    client.upsert_points(UpsertPointsBuilder::new(COLLECTION, points).wait(true)).await.unwrap();

    let nearest = QueryPointsBuilder::new(COLLECTION).query(vec![0.0, 0.0]).using("image");
    let found = client.query(nearest).await.unwrap().result;
    assert_eq!(ids(&found, |point| &point.id), [2.into(), 1.into()]);
    assert_eq!(found.iter().map(|point| point.score).collect::<Vec<_>>(), [1.0, 5.0]);
    let nearest = QueryPointsBuilder::new(COLLECTION).query(vec![0.0, 3.0, 4.0]).using("text");
    assert_eq!(ids(&client.query(nearest).await.unwrap().result, |point| &point.id), [1.into()]);
}

#[tokio::test]
async fn errors() {
    let server = Server::start().await;
    let client = with_cities(&server).await;

    let short = vec![PointStruct::new(9, vec![1.0], Payload::new())];
    let text =
        refused(client.upsert_points(UpsertPointsBuilder::new(COLLECTION, short)).await, tonic::Code::InvalidArgument);
    assert_eq!(text, "Wrong input: Vector dimension error: expected dim: 3, got 1");
    let unknown = QueryPointsBuilder::new(COLLECTION).query(PointId::from(77));
    assert_eq!(refused(client.query(unknown).await, tonic::Code::NotFound), "Not found: No point with id 77 found");
}

#[tokio::test]
async fn field_indexes_orders_and_facets() {
    let server = Server::start().await;
    let client = with_cities(&server).await;
    let points: Vec<PointStruct> = (100..120_u64)
        .map(|id| {
            PointStruct::new(id, vec![0.0, 0.0, 1.0], payload(json!({"zip": id % 3, "street": format!("s{}", id % 2)})))
        })
        .collect();
    client.upsert_points(UpsertPointsBuilder::new(COLLECTION, points).wait(true)).await.unwrap();

    let by_zip = || ScrollPointsBuilder::new(COLLECTION).limit(3).order_by(OrderByBuilder::new("zip"));
    let text = refused(client.scroll(by_zip()).await, tonic::Code::InvalidArgument);
    assert!(text.starts_with("Wrong input: No range index for `order_by` key: `zip`. Please create one"), "{text}");
    let text = refused(client.facet(FacetCountsBuilder::new(COLLECTION, "street")).await, tonic::Code::InvalidArgument);
    assert!(text.starts_with("Wrong input: No appropriate index for faceting: `street`. Please create"), "{text}");

    for (field, field_type) in [("zip", FieldType::Integer), ("street", FieldType::Keyword)] {
        let index = CreateFieldIndexCollectionBuilder::new(COLLECTION, field, field_type).wait(true);
        let made = client.create_field_index(index).await.unwrap().result.unwrap();
        assert_eq!(made.status(), UpdateStatus::Completed);
    }
    let page = client.scroll(by_zip()).await.unwrap();
    assert_eq!(ids(&page.result, |point| &point.id), [102.into(), 105.into(), 108.into()]);
    let value = page.result[0].order_value.and_then(|value| value.variant);
    assert_eq!(value, Some(qdrant_client::qdrant::order_value::Variant::Int(0)));
    let facet = client.facet(FacetCountsBuilder::new(COLLECTION, "street").limit(1)).await.unwrap();
    let hit = &facet.hits[0];
    assert_eq!((facet.hits.len(), hit.count), (1, 10));
    let value = hit.value.clone().and_then(|value| value.variant);
    assert_eq!(value, Some(qdrant_client::qdrant::facet_value::Variant::StringValue("s0".to_owned())));
    let info = client.collection_info(COLLECTION).await.unwrap().result.unwrap();
    assert_eq!(info.payload_schema["zip"].points, Some(20));
    assert_eq!(info.payload_schema["zip"].data_type(), qdrant_client::qdrant::PayloadSchemaType::Integer);

    client.delete_field_index(DeleteFieldIndexCollectionBuilder::new(COLLECTION, "zip").wait(true)).await.unwrap();
    assert!(client.scroll(by_zip()).await.is_err());
}
