//! Every method of the gRPC interface that is built, over a socket, against a service on a fresh folder.

// Flat vectors and the old search are deprecated, and clients still use them.
#![allow(deprecated)]

use std::collections::BTreeMap;
use std::time::Duration;

use quiver::api::auth::Keys;
use quiver::api::grpc::pb::collections_client::CollectionsClient;
use quiver::api::grpc::pb::points_client::PointsClient;
use quiver::api::grpc::pb::{self, point_id::PointIdOptions, points_update_operation as batch};
use quiver::api::grpc::{GrpcSettings, MESSAGE_BYTES_MAX, serve};
use quiver::service::{Service, ServiceSettings, SnapshotPlace};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tonic::transport::Channel;
use tonic::transport::server::TcpIncoming;
use tonic::{Code, Status};

/// A node's gRPC listener on a folder of its own.
struct Node {
    channel: Channel,
    collections: CollectionsClient<Channel>,
    points: PointsClient<Channel>,
    service: Service,
    stop: oneshot::Sender<()>,
    server: JoinHandle<()>,
    _folder: tempfile::TempDir,
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
            checkpoint_interval: Duration::from_secs(60),
            disk_reserve_bytes: 0,
            block_cache_bytes: 8 << 20,
            memtable_bytes: 8 << 20,
        };
        let service = Service::open(settings).await.unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let settings = GrpcSettings {
            keys: Keys::default(),
            message_bytes_max: MESSAGE_BYTES_MAX,
            in_flight_max: 64,
            request_timeout: Duration::from_secs(60),
        };
        let (stop, stopped) = oneshot::channel::<()>();
        let served = serve(TcpIncoming::from(listener), service.clone(), settings, async { drop(stopped.await) });
        let server = tokio::spawn(async { served.await.unwrap() });
        let channel = Channel::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();
        Node {
            collections: CollectionsClient::new(channel.clone()),
            points: PointsClient::new(channel.clone()),
            channel,
            service,
            stop,
            server,
            _folder: folder,
        }
    }

    async fn stop(self) {
        let Node { channel, collections, points, service, stop, server, _folder } = self;
        drop((channel, collections, points));
        stop.send(()).unwrap();
        server.await.unwrap();
        service.shutdown().await.unwrap();
    }

    /// A collection `c` of one unnamed vector of two numbers.
    async fn create(&mut self, distance: pb::Distance) {
        let params = pb::VectorParams { size: 2, distance: distance as i32, ..Default::default() };
        let config = pb::vectors_config::Config::Params(params);
        let wire = pb::CreateCollection {
            collection_name: "c".to_owned(),
            shard_number: Some(2),
            vectors_config: Some(pb::VectorsConfig { config: Some(config) }),
            ..Default::default()
        };
        assert!(self.collections.create(wire).await.unwrap().into_inner().result);
    }

    async fn upsert(&mut self, points: Vec<pb::PointStruct>) -> Result<pb::UpdateResult, Status> {
        let wire = pb::UpsertPoints { collection_name: c(), wait: Some(true), points, ..Default::default() };
        Ok(self.points.upsert(wire).await?.into_inner().result.unwrap())
    }

    /// Points 1 to 4 at (1, 0) to (4, 0), with `{"n": id, "tags": [..]}`.
    async fn fill(&mut self) {
        let points = (1..=4).map(|n| point(n, &[n as f32, 0.0], json!({"n": n, "tags": ["all", format!("t{n}")]})));
        let result = self.upsert(points.collect()).await.unwrap();
        assert_eq!(result.status, pb::UpdateStatus::Completed as i32);
    }

    /// Ids and payloads of all points, by scroll.
    async fn payloads(&mut self) -> Vec<(u64, Value)> {
        let wire = pb::ScrollPoints { collection_name: c(), limit: Some(100), ..Default::default() };
        let page = self.points.scroll(wire).await.unwrap().into_inner();
        page.result.into_iter().map(|point| (num(point.id), json_from(point.payload))).collect()
    }

    async fn query(&mut self, wire: pb::QueryPoints) -> Result<Vec<(u64, f32)>, Status> {
        let wire = pb::QueryPoints { collection_name: c(), ..wire };
        Ok(scored(self.points.query(wire).await?.into_inner().result))
    }

    async fn vectors_of(&mut self, id: u64) -> Option<pb::VectorsOutput> {
        let with_vectors = Some(true.into_selector());
        let wire = pb::GetPoints { collection_name: c(), ids: vec![id_of(id)], with_vectors, ..Default::default() };
        self.points.get(wire).await.unwrap().into_inner().result.remove(0).vectors
    }
}

/// Shorthand for `with_vectors`.
trait IntoSelector {
    fn into_selector(self) -> pb::WithVectorsSelector;
}

impl IntoSelector for bool {
    fn into_selector(self) -> pb::WithVectorsSelector {
        pb::WithVectorsSelector { selector_options: Some(pb::with_vectors_selector::SelectorOptions::Enable(self)) }
    }
}

fn c() -> String {
    "c".to_owned()
}

fn id_of(num: u64) -> pb::PointId {
    pb::PointId { point_id_options: Some(PointIdOptions::Num(num)) }
}

fn num(id: Option<pb::PointId>) -> u64 {
    match id.unwrap().point_id_options.unwrap() {
        PointIdOptions::Num(num) => num,
        PointIdOptions::Uuid(text) => panic!("{text}"),
    }
}

fn vectors(data: &[f32]) -> Option<pb::Vectors> {
    let dense = pb::vector::Vector::Dense(pb::DenseVector { data: data.to_vec() });
    let vector = pb::Vector { vector: Some(dense), ..Default::default() };
    Some(pb::Vectors { vectors_options: Some(pb::vectors::VectorsOptions::Vector(vector)) })
}

fn bare(data: &[f32]) -> Option<pb::VectorsOutput> {
    let dense = pb::vector_output::Vector::Dense(pb::DenseVector { data: data.to_vec() });
    let vector = pb::VectorOutput { vector: Some(dense), ..Default::default() };
    Some(pb::VectorsOutput { vectors_options: Some(pb::vectors_output::VectorsOptions::Vector(vector)) })
}

fn point(num: u64, data: &[f32], payload: Value) -> pb::PointStruct {
    pb::PointStruct { id: Some(id_of(num)), vectors: vectors(data), payload: wire_from(payload) }
}

fn ids(nums: &[u64]) -> Option<pb::PointsSelector> {
    let list = pb::PointsIdsList { ids: nums.iter().copied().map(id_of).collect() };
    let points = pb::points_selector::PointsSelectorOneOf::Points(list);
    Some(pb::PointsSelector { points_selector_one_of: Some(points) })
}

fn matching(filter: pb::Filter) -> Option<pb::PointsSelector> {
    let filter = pb::points_selector::PointsSelectorOneOf::Filter(filter);
    Some(pb::PointsSelector { points_selector_one_of: Some(filter) })
}

fn tagged(tag: &str) -> pb::Filter {
    let value = pb::r#match::MatchValue::Keyword(tag.to_owned());
    let field = pb::FieldCondition {
        key: "tags".to_owned(),
        r#match: Some(pb::Match { match_value: Some(value) }),
        ..Default::default()
    };
    let condition = pb::condition::ConditionOneOf::Field(field);
    pb::Filter { must: vec![pb::Condition { condition_one_of: Some(condition) }], ..Default::default() }
}

fn nearest(variant: pb::vector_input::Variant) -> Option<pb::Query> {
    let nearest = pb::VectorInput { variant: Some(variant) };
    Some(pb::Query { variant: Some(pb::query::Variant::Nearest(nearest)) })
}

fn near(data: &[f32]) -> Option<pb::Query> {
    nearest(pb::vector_input::Variant::Dense(pb::DenseVector { data: data.to_vec() }))
}

fn scored(hits: Vec<pb::ScoredPoint>) -> Vec<(u64, f32)> {
    hits.into_iter().map(|hit| (num(hit.id), hit.score)).collect()
}

fn wire_from(payload: Value) -> BTreeMap<String, pb::Value> {
    let Value::Object(object) = payload else { panic!("{payload}") };
    object.into_iter().map(|(key, value)| (key, wire_value(value))).collect()
}

fn wire_value(value: Value) -> pb::Value {
    use pb::value::Kind;
    let kind = match value {
        Value::Null => Kind::NullValue(0),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Kind::IntegerValue(integer),
            None => Kind::DoubleValue(number.as_f64().unwrap()),
        },
        Value::String(text) => Kind::StringValue(text),
        Value::Array(items) => Kind::ListValue(pb::ListValue { values: items.into_iter().map(wire_value).collect() }),
        object @ Value::Object(_) => Kind::StructValue(pb::Struct { fields: wire_from(object) }),
    };
    pb::Value { kind: Some(kind) }
}

fn json_from(payload: BTreeMap<String, pb::Value>) -> Value {
    payload.into_iter().map(|(key, value)| (key, json_value(value))).collect()
}

fn json_value(value: pb::Value) -> Value {
    use pb::value::Kind;
    match value.kind.unwrap() {
        Kind::NullValue(_) => Value::Null,
        Kind::BoolValue(value) => json!(value),
        Kind::IntegerValue(value) => json!(value),
        Kind::DoubleValue(value) => json!(value),
        Kind::StringValue(value) => json!(value),
        Kind::ListValue(list) => list.values.into_iter().map(json_value).collect(),
        Kind::StructValue(object) => json_from(object.fields),
    }
}

fn assert_status<T: std::fmt::Debug>(answer: Result<T, Status>, code: Code, text: &str) {
    let status = answer.unwrap_err();
    assert_eq!((status.code(), status.message()), (code, text));
}

#[tokio::test(flavor = "multi_thread")]
async fn collections_from_creation_to_deletion() {
    let mut node = Node::start().await;
    node.create(pb::Distance::Euclid).await;
    let again = pb::CreateCollection { collection_name: c(), ..Default::default() };
    let taken = "Wrong input: Collection `c` already exists!";
    assert_status(node.collections.create(again).await, Code::AlreadyExists, taken);

    let list = node.collections.list(pb::ListCollectionsRequest {}).await.unwrap().into_inner();
    assert_eq!(list.collections, [pb::CollectionDescription { name: c() }]);
    for (name, want) in [("c", true), ("d", false)] {
        let wire = pb::CollectionExistsRequest { collection_name: name.to_owned() };
        let answer = node.collections.collection_exists(wire).await.unwrap().into_inner();
        assert_eq!(answer.result, Some(pb::CollectionExists { exists: want }));
    }
    node.fill().await;
    let info = |name: &str| pb::GetCollectionInfoRequest { collection_name: name.to_owned() };
    let missing = "Not found: Collection `d` doesn't exist!";
    assert_status(node.collections.get(info("d")).await, Code::NotFound, missing);
    let shown = node.collections.get(info("c")).await.unwrap().into_inner().result.unwrap();
    assert_eq!((shown.points_count, shown.status), (Some(4), pb::CollectionStatus::Green as i32));
    let params = shown.config.unwrap().params.unwrap();
    assert_eq!(params.shard_number, 2);
    let vector = pb::VectorParams { size: 2, distance: pb::Distance::Euclid as i32, ..Default::default() };
    assert_eq!(params.vectors_config.unwrap().config, Some(pb::vectors_config::Config::Params(vector)));

    let change = pb::VectorParamsDiff { on_disk: Some(true), ..Default::default() };
    let map = BTreeMap::from([(String::new(), change)]);
    let config = pb::vectors_config_diff::Config::ParamsMap(pb::VectorParamsDiffMap { map });
    let update = pb::UpdateCollection {
        collection_name: c(),
        vectors_config: Some(pb::VectorsConfigDiff { config: Some(config) }),
        metadata: wire_from(json!({"owner": "me"})),
        ..Default::default()
    };
    assert!(node.collections.update(update).await.unwrap().into_inner().result);
    let shown = node.collections.get(info("c")).await.unwrap().into_inner().result.unwrap().config.unwrap();
    assert_eq!(json_from(shown.metadata), json!({"owner": "me"}));
    let vectors = shown.params.unwrap().vectors_config.unwrap().config.unwrap();
    let pb::vectors_config::Config::Params(vector) = vectors else { panic!("{vectors:?}") };
    assert_eq!(vector.on_disk, Some(true));

    use pb::alias_operations::Action;
    let change =
        |action| pb::ChangeAliases { actions: vec![pb::AliasOperations { action: Some(action) }], timeout: None };
    let create = |collection: &str| {
        change(Action::CreateAlias(pb::CreateAlias {
            collection_name: collection.to_owned(),
            alias_name: "a".to_owned(),
        }))
    };
    assert_status(node.collections.update_aliases(create("d")).await, Code::NotFound, missing);
    assert!(node.collections.update_aliases(create("c")).await.unwrap().into_inner().result);
    let rename = pb::RenameAlias { old_alias_name: "a".to_owned(), new_alias_name: "b".to_owned() };
    node.collections.update_aliases(change(Action::RenameAlias(rename))).await.unwrap();
    let want = [pb::AliasDescription { alias_name: "b".to_owned(), collection_name: c() }];
    let all = node.collections.list_aliases(pb::ListAliasesRequest {}).await.unwrap().into_inner();
    assert_eq!(all.aliases, want);
    let wire = pb::ListCollectionAliasesRequest { collection_name: c() };
    assert_eq!(node.collections.list_collection_aliases(wire).await.unwrap().into_inner().aliases, want);
    let wire = pb::CountPoints { collection_name: "b".to_owned(), ..Default::default() };
    assert_eq!(node.points.count(wire).await.unwrap().into_inner().result, Some(pb::CountResult { count: 4 }));
    let delete = pb::DeleteAlias { alias_name: "b".to_owned() };
    node.collections.update_aliases(change(Action::DeleteAlias(delete))).await.unwrap();
    assert!(node.collections.list_aliases(pb::ListAliasesRequest {}).await.unwrap().into_inner().aliases.is_empty());

    for want in [true, false] {
        let wire = pb::DeleteCollection { collection_name: c(), timeout: None };
        assert_eq!(node.collections.delete(wire).await.unwrap().into_inner().result, want);
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn points_are_written_and_read_back() {
    let mut node = Node::start().await;
    node.create(pb::Distance::Euclid).await;
    node.fill().await;

    // In the order of the request; duplicates once; unknown ids left out; no payload unless asked for.
    let wire = pb::GetPoints {
        collection_name: c(),
        ids: [3, 9, 1, 3].map(id_of).to_vec(),
        with_vectors: Some(true.into_selector()),
        ..Default::default()
    };
    let got = node.points.get(wire).await.unwrap().into_inner().result;
    let got: Vec<_> = got.into_iter().map(|point| (num(point.id), point.vectors, point.payload.len())).collect();
    assert_eq!(got, [(3, bare(&[3.0, 0.0]), 0), (1, bare(&[1.0, 0.0]), 0)]);

    let page = |offset| pb::ScrollPoints { collection_name: c(), offset, limit: Some(3), ..Default::default() };
    let first = node.points.scroll(page(None)).await.unwrap().into_inner();
    assert_eq!(first.result.iter().map(|point| num(point.id.clone())).collect::<Vec<_>>(), [1, 2, 3]);
    assert_eq!(first.next_page_offset, Some(id_of(4)));
    assert!(first.result.iter().all(|point| point.payload.len() == 2 && point.vectors.is_none()));
    let second = node.points.scroll(page(first.next_page_offset)).await.unwrap().into_inner();
    assert_eq!(second.result.iter().map(|point| num(point.id.clone())).collect::<Vec<_>>(), [4]);
    assert_eq!(second.next_page_offset, None);

    for (filter, want) in [(None, 4), (Some(pb::Filter::default()), 4), (Some(tagged("t2")), 1), (Some(tagged("x")), 0)]
    {
        let wire = pb::CountPoints { collection_name: c(), filter, exact: Some(true), ..Default::default() };
        assert_eq!(node.points.count(wire).await.unwrap().into_inner().result, Some(pb::CountResult { count: want }));
    }
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn queries_and_the_old_search_agree() {
    let mut node = Node::start().await;
    node.create(pb::Distance::Euclid).await;
    node.fill().await;

    let plain = || pb::QueryPoints { query: near(&[1.0, 0.0]), ..Default::default() };
    let all = [(1, 0.0), (2, 1.0), (3, 2.0), (4, 3.0)];
    assert_eq!(node.query(plain()).await.unwrap(), all);
    assert_eq!(node.query(pb::QueryPoints { limit: Some(u64::MAX), ..plain() }).await.unwrap(), all);
    assert_eq!(node.query(pb::QueryPoints { offset: Some(3), ..plain() }).await.unwrap(), all[3..]);
    assert_eq!(node.query(pb::QueryPoints { offset: Some(u64::MAX), ..plain() }).await.unwrap(), []);
    let strict = pb::QueryPoints { score_threshold: Some(2.0), ..plain() };
    assert_eq!(node.query(strict).await.unwrap(), all[..2]);
    let filtered = pb::QueryPoints { filter: Some(tagged("t3")), ..plain() };
    assert_eq!(node.query(filtered).await.unwrap(), all[2..3]);
    let exact = pb::SearchParams { exact: Some(true), ..Default::default() };
    assert_eq!(node.query(pb::QueryPoints { params: Some(exact), ..plain() }).await.unwrap(), all);
    let by_point = nearest(pb::vector_input::Variant::Id(id_of(1)));
    assert_eq!(node.query(pb::QueryPoints { query: by_point, ..Default::default() }).await.unwrap(), all[1..]);
    let by_id = node.query(pb::QueryPoints { limit: Some(2), ..Default::default() }).await.unwrap();
    assert_eq!(by_id, [(1, 1.0), (2, 1.0)]);

    let include = pb::PayloadIncludeSelector { fields: vec!["n".to_owned()] };
    let include = pb::with_payload_selector::SelectorOptions::Include(include);
    let wire = pb::QueryPoints {
        collection_name: c(),
        limit: Some(1),
        with_payload: Some(pb::WithPayloadSelector { selector_options: Some(include) }),
        with_vectors: Some(true.into_selector()),
        ..plain()
    };
    let answer = node.points.query(wire).await.unwrap().into_inner();
    assert!(answer.time > 0.0);
    let hit = answer.result.into_iter().next().unwrap();
    assert_eq!((json_from(hit.payload), hit.vectors), (json!({"n": 1}), bare(&[1.0, 0.0])));
    assert!(hit.version > 0);

    let search = |limit| pb::SearchPoints { collection_name: c(), vector: vec![1.0, 0.0], limit, ..Default::default() };
    let answer = node.points.search(search(10)).await.unwrap().into_inner();
    assert!(answer.result.iter().all(|hit| hit.payload.is_empty() && hit.vectors.is_none()));
    assert_eq!(scored(answer.result), all);
    let wire =
        pb::SearchBatchPoints { collection_name: c(), search_points: vec![search(1), search(2)], ..Default::default() };
    let answer = node.points.search_batch(wire).await.unwrap().into_inner();
    let lists: Vec<_> = answer.result.into_iter().map(|list| scored(list.result)).collect();
    assert_eq!(lists, [all[..1].to_vec(), all[..2].to_vec()]);
    let queries = vec![plain(), pb::QueryPoints { limit: Some(1), ..plain() }];
    let wire = pb::QueryBatchPoints { collection_name: c(), query_points: queries, ..Default::default() };
    let answer = node.points.query_batch(wire).await.unwrap().into_inner();
    let lists: Vec<_> = answer.result.into_iter().map(|list| scored(list.result)).collect();
    assert_eq!(lists, [all.to_vec(), all[..1].to_vec()]);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn each_change_changes_what_it_should() {
    let mut node = Node::start().await;
    node.create(pb::Distance::Euclid).await;
    node.fill().await;
    let wait = Some(true);

    let set = |payload, select, key: Option<&str>| pb::SetPayloadPoints {
        collection_name: c(),
        wait,
        payload: wire_from(payload),
        points_selector: select,
        key: key.map(str::to_owned),
        ..Default::default()
    };
    node.points.set_payload(set(json!({"n": null, "o": {"p": 1}}), ids(&[1, 2]), None)).await.unwrap();
    node.points.set_payload(set(json!({"q": 2}), matching(tagged("t2")), Some("o"))).await.unwrap();
    node.points.overwrite_payload(set(json!({"big": u64::MAX}), ids(&[3]), None)).await.unwrap();
    let keys = vec!["o.p".to_owned(), "tags[]".to_owned()];
    let wire =
        pb::DeletePayloadPoints { collection_name: c(), wait, keys, points_selector: ids(&[2]), ..Default::default() };
    node.points.delete_payload(wire).await.unwrap();
    let wire = pb::ClearPayloadPoints { collection_name: c(), wait, points: ids(&[4]), ..Default::default() };
    node.points.clear_payload(wire).await.unwrap();
    let want = [
        (1, json!({"o": {"p": 1}, "tags": ["all", "t1"]})),
        (2, json!({"o": {"q": 2}, "tags": []})),
        (3, json!({"big": 18_446_744_073_709_551_615.0})),
        (4, json!({})),
    ];
    assert_eq!(node.payloads().await, want);

    let points = vec![pb::PointVectors { id: Some(id_of(1)), vectors: vectors(&[9.0, 9.0]) }];
    let wire = pb::UpdatePointVectors { collection_name: c(), wait, points, ..Default::default() };
    node.points.update_vectors(wire).await.unwrap();
    assert_eq!(node.vectors_of(1).await, bare(&[9.0, 9.0]));
    let names = Some(pb::VectorsSelector { names: vec![String::new()] });
    let wire = pb::DeletePointVectors {
        collection_name: c(),
        wait,
        points_selector: ids(&[1]),
        vectors: names,
        ..Default::default()
    };
    node.points.delete_vectors(wire).await.unwrap();
    let query = pb::QueryPoints { query: near(&[9.0, 9.0]), limit: Some(9), ..Default::default() };
    assert_eq!(node.query(query).await.unwrap().len(), 3);

    use batch::Operation as Op;
    let operations = vec![
        Op::Upsert(batch::PointStructList {
            points: vec![point(5, &[5.0, 0.0], json!({"a": 1}))],
            ..Default::default()
        }),
        Op::SetPayload(batch::SetPayload {
            payload: wire_from(json!({"b": 2})),
            points_selector: ids(&[5]),
            ..Default::default()
        }),
        Op::DeletePoints(batch::DeletePoints { points: ids(&[1, 2, 3]), ..Default::default() }),
        Op::ClearPayload(batch::ClearPayload { points: ids(&[4]), ..Default::default() }),
    ];
    let operations: Vec<_> =
        operations.into_iter().map(|operation| pb::PointsUpdateOperation { operation: Some(operation) }).collect();
    let wire = pb::UpdateBatchPoints { collection_name: c(), wait, operations, ..Default::default() };
    let results = node.points.update_batch(wire).await.unwrap().into_inner().result;
    assert_eq!(results.len(), 4);
    assert!(results.iter().all(|result| result.status == pb::UpdateStatus::Completed as i32));
    assert_eq!(node.payloads().await, [(4, json!({})), (5, json!({"a": 1, "b": 2}))]);

    // Existing points are left alone, new ones are not inserted.
    for (mode, id) in [(pb::UpdateMode::InsertOnly, 5), (pb::UpdateMode::UpdateOnly, 6)] {
        let wire = pb::UpsertPoints {
            collection_name: c(),
            wait,
            points: vec![point(id, &[1.0, 1.0], json!({"mode": mode as i32}))],
            update_mode: Some(mode as i32),
            ..Default::default()
        };
        node.points.upsert(wire).await.unwrap();
    }
    assert_eq!(node.payloads().await, [(4, json!({})), (5, json!({"a": 1, "b": 2}))]);

    // Not waited for: acknowledged. An empty filter deletes all.
    let points = matching(pb::Filter::default());
    let wire = pb::DeletePoints { collection_name: c(), points: points.clone(), ..Default::default() };
    let result = node.points.delete(wire).await.unwrap().into_inner().result.unwrap();
    assert_eq!(result.status, pb::UpdateStatus::Acknowledged as i32);
    let wire = pb::DeletePoints { collection_name: c(), wait, points, ..Default::default() };
    let result = node.points.delete(wire).await.unwrap().into_inner().result.unwrap();
    assert_eq!(result.status, pb::UpdateStatus::Completed as i32);
    assert_eq!(node.payloads().await, []);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_refused_and_nothing_of_it_is_applied() {
    let mut node = Node::start().await;
    node.create(pb::Distance::Cosine).await;
    let good = || point(1, &[3.0, 4.0], json!({}));
    let refused = Code::InvalidArgument;

    let wrong_dim = "Wrong input: Vector dimension error: expected dim: 2, got 3";
    assert_status(node.upsert(vec![good(), point(2, &[1.0, 2.0, 3.0], json!({}))]).await, refused, wrong_dim);
    let empty = "Validation error in body: [points[1].vectors.vector.data: dense vector must not be empty]";
    assert_status(node.upsert(vec![good(), point(2, &[], json!({}))]).await, refused, empty);
    for number in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        let status = node.upsert(vec![good(), point(2, &[number, 1.0], json!({}))]).await.unwrap_err();
        assert_eq!(status.code(), refused, "{status}");
        let query = pb::QueryPoints { query: near(&[number, 1.0]), ..Default::default() };
        assert_eq!(node.query(query).await.unwrap_err().code(), refused);
    }
    assert_status(node.upsert(vec![]).await, refused, "Bad request: Empty update request");
    assert_eq!(node.payloads().await, []);

    node.upsert(vec![good()]).await.unwrap();
    let Some(pb::VectorsOutput { vectors_options: Some(shown) }) = node.vectors_of(1).await else {
        panic!("no vector")
    };
    let pb::vectors_output::VectorsOptions::Vector(shown) = shown else { panic!("{shown:?}") };
    let Some(pb::vector_output::Vector::Dense(shown)) = shown.vector else { panic!("{shown:?}") };
    assert!((shown.data[0] - 0.6).abs() < 1e-6 && (shown.data[1] - 0.8).abs() < 1e-6, "{shown:?}");

    let query = pb::QueryPoints { query: near(&[1.0, 2.0, 3.0]), ..Default::default() };
    assert_status(node.query(query).await, refused, wrong_dim);
    let unknown = "Wrong input: Not existing vector name error: v";
    let query = pb::QueryPoints { query: near(&[1.0, 2.0]), using: Some("v".to_owned()), ..Default::default() };
    assert_status(node.query(query).await, refused, unknown);
    let query = nearest(pb::vector_input::Variant::Id(id_of(7)));
    let missing = "Not found: No point with id 7 found";
    assert_status(node.query(pb::QueryPoints { query, ..Default::default() }).await, Code::NotFound, missing);
    let set = pb::SetPayloadPoints {
        collection_name: c(),
        wait: Some(true),
        payload: wire_from(json!({"a": 1})),
        points_selector: ids(&[1, 7]),
        ..Default::default()
    };
    assert_status(node.points.set_payload(set).await, Code::NotFound, missing);
    assert_eq!(node.payloads().await, [(1, json!({"a": 1}))], "the points that exist are changed");
    let wire = pb::CountPoints { collection_name: "d".to_owned(), ..Default::default() };
    assert_status(node.points.count(wire).await, Code::NotFound, "Not found: Collection `d` doesn't exist!");
    node.stop().await;
}

/// PROTOCOL section 18, vector names.
#[tokio::test(flavor = "multi_thread")]
async fn protocol_18_vectors_are_added_and_dropped_over_grpc() {
    use pb::create_vector_name_request::VectorConfig;
    let mut node = Node::start().await;
    node.create(pb::Distance::Dot).await;
    node.fill().await;
    let dense = |size| {
        let distance = pb::Distance::Dot as i32;
        VectorConfig::DenseConfig(pb::DenseVectorCreationConfig { size, distance, ..Default::default() })
    };
    let create = |name: &str, config| pb::CreateVectorNameRequest {
        collection_name: c(),
        vector_name: name.to_owned(),
        wait: Some(true),
        vector_config: Some(config),
        timeout: Some(30),
        ordering: Some(pb::WriteOrdering { r#type: pb::WriteOrderingType::Strong as i32 }),
    };
    let delete = |name: &str| pb::DeleteVectorNameRequest {
        collection_name: c(),
        vector_name: name.to_owned(),
        wait: Some(true),
        ..Default::default()
    };
    let completed = pb::UpdateStatus::Completed as i32;
    for _ in 0..2 {
        let answer = node.points.create_vector_name(create("v", dense(3))).await.unwrap().into_inner();
        assert_eq!(answer.result.unwrap().status, completed);
    }
    let refused = Code::InvalidArgument;
    let text = "Wrong input: Vector `v` already exists with a different configuration";
    assert_status(node.points.create_vector_name(create("v", dense(4))).await, refused, text);
    let sparse = VectorConfig::SparseConfig(pb::SparseVectorCreationConfig::default());
    let text = "Wrong input: Vector `v` already exists as a dense vector";
    assert_status(node.points.create_vector_name(create("v", sparse)).await, refused, text);
    let values = pb::vector::Vector::Dense(pb::DenseVector { data: vec![1.0, 2.0, 3.0] });
    let vector = pb::Vector { vector: Some(values), ..Default::default() };
    let vectors = pb::NamedVectors { vectors: [("v".to_owned(), vector)].into() };
    let vectors = Some(pb::Vectors { vectors_options: Some(pb::vectors::VectorsOptions::Vectors(vectors)) });
    let wire = pb::UpdatePointVectors {
        collection_name: c(),
        wait: Some(true),
        points: vec![pb::PointVectors { id: Some(id_of(2)), vectors }],
        ..Default::default()
    };
    node.points.update_vectors(wire).await.unwrap();
    let query = || pb::QueryPoints { query: near(&[1.0, 1.0, 1.0]), using: Some("v".to_owned()), ..Default::default() };
    assert_eq!(node.query(query()).await.unwrap(), [(2, 6.0)]);
    assert_eq!(
        node.points.delete_vector_name(delete("v")).await.unwrap().into_inner().result.unwrap().status,
        completed
    );
    assert_status(node.query(query()).await, refused, "Wrong input: Not existing vector name error: v");
    node.points.create_vector_name(create("v", dense(3))).await.unwrap();
    assert_eq!(node.query(query()).await.unwrap(), [], "it begins empty");
    node.points.delete_vector_name(delete("nobody")).await.unwrap();
    let missing = pb::DeleteVectorNameRequest { collection_name: "q".to_owned(), ..delete("v") };
    let text = "Not found: Collection `q` doesn't exist!";
    assert_status(node.points.delete_vector_name(missing).await, Code::NotFound, text);
    assert_eq!(node.payloads().await.len(), 4);
    node.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_reflection_describe_the_server() {
    use tonic_health::pb::health_check_response::ServingStatus;
    use tonic_health::pb::{HealthCheckRequest, health_client::HealthClient};
    use tonic_reflection::pb::{v1, v1alpha};

    let node = Node::start().await;
    let mut health = HealthClient::new(node.channel.clone());
    for service in ["", "qdrant.Points", "qdrant.Collections", "qdrant.Qdrant"] {
        let wire = HealthCheckRequest { service: service.to_owned() };
        assert_eq!(health.check(wire).await.unwrap().into_inner().status, ServingStatus::Serving as i32);
    }
    let wire = HealthCheckRequest { service: "no.Such".to_owned() };
    assert_eq!(health.check(wire).await.unwrap_err().code(), Code::NotFound);

    let services =
        ["grpc.health.v1.Health", "qdrant.Collections", "qdrant.Points", "qdrant.Qdrant", "qdrant.Snapshots"];
    let list = v1::server_reflection_request::MessageRequest::ListServices(String::new());
    let wire = v1::ServerReflectionRequest { host: String::new(), message_request: Some(list) };
    let mut client = v1::server_reflection_client::ServerReflectionClient::new(node.channel.clone());
    let mut answers = client.server_reflection_info(futures::stream::iter([wire])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1::server_reflection_response::MessageResponse::ListServicesResponse(list) = answer else {
        panic!("{answer:?}")
    };
    let names: Vec<&str> = list.service.iter().map(|service| service.name.as_str()).collect();
    assert!(services.iter().all(|service| names.contains(service)), "{names:?}");

    let symbol = v1alpha::server_reflection_request::MessageRequest::FileContainingSymbol("qdrant.Points".to_owned());
    let wire = v1alpha::ServerReflectionRequest { host: String::new(), message_request: Some(symbol) };
    let mut client = v1alpha::server_reflection_client::ServerReflectionClient::new(node.channel.clone());
    let mut answers = client.server_reflection_info(futures::stream::iter([wire])).await.unwrap().into_inner();
    let answer = answers.message().await.unwrap().unwrap().message_response.unwrap();
    let v1alpha::server_reflection_response::MessageResponse::FileDescriptorResponse(files) = answer else {
        panic!("{answer:?}")
    };
    assert_eq!(files.file_descriptor_proto.len(), 1);
    node.stop().await;
}
