//! The use cases on a real folder, by section of PROTOCOL.md.

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use serde_json::json;

use super::*;
use crate::model::collection::{
    AliasAction, CollectionConfigDiff, CollectionName, HnswConfigDiff, QuantizationChange, QuantizationConfig,
    VectorParams, VectorParamsDiff, VectorsConfig,
};
use crate::model::payload::Path as PayloadPath;
use crate::model::query::{LookupFrom, QueryLevel, QueryRequest, Ranking, ScrollRequest, SearchOptions, Target};
use crate::model::write::{PointVectors, UpsertMode};
use crate::model::{
    Condition, Filter, Metric, NamedVectors, Payload, PayloadSelector, Point, PointOp, PointSelector, ScoredPoint,
    Vector, VectorSelector,
};

pub(super) const WAIT: WriteOptions = WriteOptions { wait: true, deadline: None };
pub(super) const NO_WAIT: WriteOptions = WriteOptions { wait: false, deadline: None };
pub(super) const READ: ReadOptions =
    ReadOptions { consistency: Consistency::Linearizable, deadline: None, timeout_s: None };

pub(super) fn settings(folder: &Path) -> ServiceSettings {
    ServiceSettings {
        storage_path: folder.to_owned(),
        snapshots_path: folder.join("snapshots"),
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
    }
}

/// A service on a folder of its own.
pub(super) struct Fixture {
    pub(super) service: Service,
    pub(super) folder: tempfile::TempDir,
}

impl Fixture {
    pub(super) async fn new() -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        let service = Service::open(settings(folder.path())).await.unwrap();
        Fixture { service, folder }
    }

    /// With collection `c` of `shard_number` shards and one unnamed vector.
    pub(super) async fn with(shard_number: u32, dim: u64, metric: Metric) -> Fixture {
        let fixture = Fixture::new().await;
        fixture.create("c", config(shard_number, &[("", dim, metric)])).await;
        fixture
    }

    pub(super) async fn create(&self, name: &str, config: CollectionConfig) {
        self.service.create_collection(name_of(name), config, None).await.unwrap();
    }

    pub(super) async fn upsert(&self, points: Vec<Point>) {
        self.service.write("c", upsert(points), WAIT).await.unwrap();
    }

    pub(super) async fn query(&self, request: QueryRequest) -> Vec<ScoredPoint> {
        self.service.query("c", request, READ).await.unwrap()
    }

    pub(super) async fn ids(&self) -> Vec<u64> {
        self.scroll(scroll_all()).await.0
    }

    async fn scroll(&self, request: ScrollRequest) -> (Vec<u64>, Option<PointId>) {
        let page = self.service.scroll("c", request, READ).await.unwrap();
        (page.points.iter().map(|record| num(record.id)).collect(), page.next_offset)
    }

    pub(super) async fn records(&self, ids: &[u64]) -> Vec<Record> {
        let ids = ids.iter().copied().map(PointId::Num).collect();
        self.service.retrieve("c", ids, PayloadSelector::All, VectorSelector::All, READ).await.unwrap()
    }

    /// Shuts down and opens the folder again.
    pub(super) async fn reopen(self) -> Fixture {
        let Fixture { service, folder } = self;
        service.shutdown().await.unwrap();
        drop(service);
        let service = Service::open(settings(folder.path())).await.unwrap();
        Fixture { service, folder }
    }

    /// Opens a copy of the folder as it is now, as a crash would leave it.
    pub(super) async fn crashed(&self) -> Fixture {
        let folder = tempfile::tempdir().unwrap();
        copy(self.folder.path(), folder.path());
        let service = Service::open(settings(folder.path())).await.unwrap();
        Fixture { service, folder }
    }
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

pub(super) fn name_of(name: &str) -> CollectionName {
    CollectionName::new(name).unwrap()
}

pub(super) fn config(shard_number: u32, vectors: &[(&str, u64, Metric)]) -> CollectionConfig {
    let by_name = vectors.iter().map(|&(name, dim, metric)| (name.to_owned(), VectorParams::new(dim, metric)));
    let vectors = VectorsConfig { is_single: false, by_name: by_name.collect() };
    CollectionConfig { shard_number, ..CollectionConfig::new(vectors) }
}

pub(super) fn payload(value: serde_json::Value) -> Payload {
    match value {
        serde_json::Value::Object(map) => Payload(map),
        other => panic!("no object: {other}"),
    }
}

fn vectors(given: &[(&str, &[f32])]) -> NamedVectors {
    given.iter().map(|(name, values)| ((*name).to_owned(), Vector::Dense(values.to_vec()))).collect()
}

pub(super) fn point(id: u64, values: &[f32]) -> Point {
    Point { id: PointId::Num(id), vectors: vectors(&[("", values)]), payload: payload(json!({"n": id})) }
}

pub(super) fn upsert(points: Vec<Point>) -> PointOp {
    PointOp::Upsert { points, mode: UpsertMode::Upsert, update_filter: None }
}

pub(super) fn by_ids(ids: &[u64]) -> PointSelector {
    PointSelector::Ids(ids.iter().copied().map(PointId::Num).collect())
}

pub(super) fn num(id: PointId) -> u64 {
    match id {
        PointId::Num(num) => num,
        PointId::Uuid(uuid) => panic!("unexpected id {uuid}"),
    }
}

fn has_id(ids: &[u64]) -> Filter {
    let ids = ids.iter().copied().map(PointId::Num).collect();
    Filter { must: vec![Condition::HasId(ids)], ..Filter::default() }
}

fn nearest(target: Target) -> QueryRequest {
    QueryRequest {
        root: QueryLevel::new(Ranking::Nearest(target), 10),
        offset: 0,
        with_payload: PayloadSelector::None,
        with_vectors: VectorSelector::None,
    }
}

pub(super) fn near(values: &[f32]) -> QueryRequest {
    nearest(Target::Vector(Vector::Dense(values.to_vec())))
}

pub(super) fn scroll_all() -> ScrollRequest {
    ScrollRequest {
        offset: None,
        limit: usize::MAX,
        filter: None,
        order_by: None,
        with_payload: PayloadSelector::None,
        with_vectors: VectorSelector::None,
    }
}

/// The best `limit`.
pub(super) fn first(limit: usize, request: QueryRequest) -> QueryRequest {
    QueryRequest { root: QueryLevel { limit, ..request.root }, ..request }
}

pub(super) fn shown(hits: &[ScoredPoint]) -> Vec<(u64, f32)> {
    hits.iter().map(|hit| (num(hit.id), hit.score)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_1_a_waited_upsert_is_found_at_once_by_every_read() {
    for shard_number in [1, 3] {
        let fixture = Fixture::with(shard_number, 2, Metric::Dot).await;
        let points: Vec<Point> = (0..20).map(|id| point(id, &[id as f32, 1.0])).collect();
        let ack = fixture.service.write("c", upsert(points.clone()), WAIT).await.unwrap();
        assert_eq!(ack.status, WriteStatus::Completed);
        assert!(ack.operation_id > 0);
        assert_eq!(fixture.ids().await, (0..20).collect::<Vec<_>>());
        assert_eq!(fixture.service.count("c", None, READ).await.unwrap(), 20);
        let record = fixture.records(&[7]).await.remove(0);
        assert_eq!(
            (record.payload.unwrap(), record.vectors.unwrap()),
            (payload(json!({"n": 7})), points[7].vectors.clone())
        );
        let hits = fixture.query(first(3, near(&[1.0, 0.5]))).await;
        assert_eq!(shown(&hits), [(19, 19.5), (18, 18.5), (17, 17.5)]);
        assert!(hits.iter().all(|hit| hit.version > 0 && hit.payload.is_none() && hit.vectors.is_none()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_2_a_bad_point_refuses_the_whole_request_and_a_bad_op_the_whole_batch() {
    let fixture = Fixture::with(2, 2, Metric::Dot).await;
    for wait in [WAIT, NO_WAIT] {
        let write = |points| fixture.service.write("c", upsert(points), wait);
        let bad = write(vec![point(1, &[1.0, 2.0]), point(2, &[1.0])]).await;
        assert!(matches!(bad, Err(Error::WrongDim { want: 2, got: 1 })), "{bad:?}");
        let bad = write(vec![point(1, &[1.0, 2.0]), point(2, &[1.0, f32::NAN])]).await;
        assert!(matches!(bad, Err(Error::NotFinite { .. })), "{bad:?}");
        let strange = Point { vectors: vectors(&[("x", &[1.0])]), ..point(2, &[]) };
        let bad = write(vec![point(1, &[1.0, 2.0]), strange]).await;
        assert!(matches!(bad, Err(Error::VectorNameUnknown { ref name }) if name == "x"), "{bad:?}");
        let ops =
            vec![upsert(vec![point(1, &[1.0, 2.0])]), upsert(vec![point(2, &[])]), upsert(vec![point(3, &[0.0])])];
        let bad = fixture.service.write_batch("c", ops, wait).await;
        assert!(matches!(bad, Err(Error::WrongDim { .. })), "{bad:?}");
    }
    assert!(fixture.ids().await.is_empty());
    let missing = fixture.service.write("nope", upsert(vec![]), WAIT).await;
    assert!(matches!(missing, Err(Error::CollectionNotFound { ref name }) if name == "nope"), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_3_cosine_vectors_come_back_normalised_and_queries_are_normalised() {
    let fixture = Fixture::with(1, 2, Metric::Cosine).await;
    fixture.upsert(vec![point(1, &[3.0, 4.0]), point(2, &[0.0, 0.0])]).await;
    let stored: Vec<NamedVectors> =
        fixture.records(&[1, 2]).await.into_iter().map(|record| record.vectors.unwrap()).collect();
    assert_eq!(stored, [vectors(&[("", &[0.6, 0.8])]), vectors(&[("", &[0.0, 0.0])])]);
    let hits = fixture.query(near(&[30.0, 40.0])).await;
    assert_eq!(num(hits[0].id), 1);
    assert!((hits[0].score - 1.0).abs() < 1e-6, "{}", hits[0].score);
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_1_equal_ids_and_the_modes_of_an_upsert() {
    let fixture = Fixture::with(2, 1, Metric::Dot).await;
    fixture.upsert(vec![point(1, &[1.0]), point(1, &[2.0])]).await;
    let value = async |id| {
        fixture.records(&[id]).await.first().map(|record| record.vectors.clone().unwrap()[""].as_dense().unwrap()[0])
    };
    assert_eq!(value(1).await, Some(2.0));
    let with_mode = |mode, points| PointOp::Upsert { points, mode, update_filter: None };
    let both = || vec![point(1, &[3.0]), point(2, &[3.0])];
    fixture.service.write("c", with_mode(UpsertMode::InsertOnly, both()), WAIT).await.unwrap();
    assert_eq!((value(1).await, value(2).await), (Some(2.0), Some(3.0)));
    let both = vec![point(2, &[4.0]), point(3, &[4.0])];
    fixture.service.write("c", with_mode(UpsertMode::UpdateOnly, both), WAIT).await.unwrap();
    assert_eq!((value(2).await, value(3).await), (Some(4.0), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_2_unknown_ids_are_reported_after_the_rest_was_applied() {
    let fixture = Fixture::with(3, 1, Metric::Dot).await;
    fixture.upsert((0..10).map(|id| point(id, &[id as f32])).collect()).await;
    let set =
        |ids: &[u64], n: u64| PointOp::SetPayload { select: by_ids(ids), payload: payload(json!({"s": n})), key: None };
    let result = fixture.service.write("c", set(&[3, 77, 4, 66], 1), WAIT).await;
    assert!(matches!(result, Err(Error::PointNotFound { id: PointId::Num(77) })), "{result:?}");
    for record in fixture.records(&[3, 4]).await {
        assert_eq!(record.payload.unwrap().0["s"], json!(1));
    }
    let ack = fixture.service.write("c", set(&[3, 77], 2), NO_WAIT).await.unwrap();
    assert_eq!(ack.status, WriteStatus::Acknowledged);
    assert_eq!(fixture.records(&[3]).await[0].payload.as_ref().unwrap().0["s"], json!(2));

    let select = || by_ids(&[5, 99]);
    let moved = PointVectors { id: PointId::Num(5), vectors: vectors(&[("", &[50.0])]) };
    let absent = PointVectors { id: PointId::Num(99), ..moved.clone() };
    let ops = [
        PointOp::OverwritePayload { select: select(), payload: payload(json!({"o": 1})), key: None },
        PointOp::UpdateVectors { points: vec![absent, moved], update_filter: None },
        PointOp::DeletePayload { select: select(), keys: vec!["o".parse::<PayloadPath>().unwrap()] },
        PointOp::ClearPayload { select: select() },
        PointOp::DeleteVectors { select: select(), names: vec![String::new()] },
    ];
    for op in ops {
        let result = fixture.service.write("c", op.clone(), WAIT).await;
        assert!(matches!(result, Err(Error::PointNotFound { id: PointId::Num(99) })), "{op:?}: {result:?}");
    }
    let record = fixture.records(&[5]).await.remove(0);
    assert_eq!((record.payload, record.vectors), (Some(Payload::default()), Some(NamedVectors::new())));
    // Deleting what is not there is no error, and a filter that matches nothing is none either.
    fixture.service.write("c", PointOp::Delete { select: by_ids(&[5, 99]) }, WAIT).await.unwrap();
    let nothing = PointSelector::Filter(has_id(&[1_000]));
    fixture.service.write("c", PointOp::ClearPayload { select: nothing }, WAIT).await.unwrap();
    assert_eq!(fixture.ids().await, [0, 1, 2, 3, 4, 6, 7, 8, 9]);
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_2_an_operation_by_filter_reaches_every_shard() {
    let fixture = Fixture::with(4, 1, Metric::Dot).await;
    fixture.upsert((0..40).map(|id| point(id, &[1.0])).collect()).await;
    let gone: Vec<u64> = (0..40).step_by(2).collect();
    fixture.service.write("c", PointOp::Delete { select: PointSelector::Filter(has_id(&gone)) }, WAIT).await.unwrap();
    assert_eq!(fixture.ids().await, (0..40).skip(1).step_by(2).collect::<Vec<_>>());
    fixture
        .service
        .write("c", PointOp::Delete { select: PointSelector::Filter(Filter::default()) }, WAIT)
        .await
        .unwrap();
    assert!(fixture.ids().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn s6_2_a_batch_is_applied_in_order_and_keeps_what_came_before_a_failure() {
    let fixture = Fixture::with(2, 1, Metric::Dot).await;
    let ops = vec![
        upsert(vec![point(1, &[1.0]), point(2, &[2.0])]),
        PointOp::Delete { select: by_ids(&[1]) },
        PointOp::ClearPayload { select: by_ids(&[1]) },
        upsert(vec![point(3, &[3.0])]),
    ];
    let result = fixture.service.write_batch("c", ops.clone(), WAIT).await;
    assert!(matches!(result, Err(Error::PointNotFound { id: PointId::Num(1) })), "{result:?}");
    assert_eq!(fixture.ids().await, [2]);
    let acks = fixture.service.write_batch("c", ops, NO_WAIT).await.unwrap();
    assert_eq!(acks.len(), 4);
    assert_eq!(fixture.ids().await, [2, 3]);
    assert!(fixture.service.write_batch("c", vec![], WAIT).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_upsert_arrives_whole() {
    let fixture = Fixture::with(2, 512, Metric::Dot).await;
    // About 6 MB: several entries per shard.
    let values = vec![0.25; 512];
    fixture.upsert((0..3_000).map(|id| point(id, &values)).collect()).await;
    assert_eq!(fixture.ids().await, (0..3_000).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_past_its_deadline_is_a_wait_timeout_and_a_read_a_timeout() {
    let fixture = Fixture::with(1, 1, Metric::Dot).await;
    let past = Some(Instant::now());
    let ops = vec![upsert(vec![point(1, &[1.0])]), upsert(vec![point(2, &[1.0])])];
    let acks = fixture.service.write_batch("c", ops, WriteOptions { wait: true, deadline: past }).await.unwrap();
    assert_eq!(acks.iter().map(|ack| ack.status).collect::<Vec<_>>(), [WriteStatus::WaitTimeout; 2]);
    assert!(fixture.ids().await.is_empty(), "proposed although the deadline had passed");
    let result = fixture.service.scroll("c", scroll_all(), ReadOptions { deadline: past, ..READ }).await;
    assert!(matches!(result, Err(Error::Timeout { .. })), "{result:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_1_retrieve_keeps_the_order_of_the_request_and_names_each_point_once() {
    let fixture = Fixture::with(3, 1, Metric::Dot).await;
    fixture.upsert((0..10).map(|id| point(id, &[id as f32])).collect()).await;
    let ids: Vec<u64> = fixture.records(&[9, 100, 3, 9, 0]).await.iter().map(|record| num(record.id)).collect();
    assert_eq!(ids, [9, 3, 0]);
    let ids = vec![PointId::Num(1)];
    let bare = fixture.service.retrieve("c", ids, PayloadSelector::None, VectorSelector::None, READ).await.unwrap();
    assert_eq!(
        bare,
        [Record { id: PointId::Num(1), payload: None, vectors: None, order_value: None, shard_key: None }]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_2_pages_of_a_scroll_follow_each_other_without_gap_or_overlap() {
    for shard_number in [1, 3] {
        let fixture = Fixture::with(shard_number, 1, Metric::Dot).await;
        fixture.upsert((0..25).map(|id| point(id * 2, &[1.0])).collect()).await;
        let (mut seen, mut offset) = (Vec::new(), Some(PointId::Num(0)));
        while offset.is_some() {
            let (ids, next) = fixture.scroll(ScrollRequest { offset, limit: 10, ..scroll_all() }).await;
            assert!(ids.len() == 10 || next.is_none());
            seen.extend(ids);
            offset = next;
        }
        assert_eq!(seen, (0..25).map(|id| id * 2).collect::<Vec<_>>());
        let page =
            |offset, limit| fixture.scroll(ScrollRequest { offset: Some(PointId::Num(offset)), limit, ..scroll_all() });
        assert_eq!(page(45, 10).await, (vec![46, 48], None));
        assert_eq!(page(44, 2).await, (vec![44, 46], Some(PointId::Num(48))));
        assert_eq!(page(46, 2).await, (vec![46, 48], None));
        let filtered = ScrollRequest { filter: Some(has_id(&[2, 3, 4, 30])), limit: 2, ..scroll_all() };
        assert_eq!(fixture.scroll(filtered).await, (vec![2, 4], Some(PointId::Num(30))));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_3_count_is_exact_under_a_filter() {
    let fixture = Fixture::with(3, 1, Metric::Dot).await;
    fixture.upsert((0..30).map(|id| point(id, &[1.0])).collect()).await;
    let count = |filter| fixture.service.count("c", filter, READ);
    assert_eq!(count(None).await.unwrap(), 30);
    assert_eq!(count(Some(Filter::default())).await.unwrap(), 30);
    assert_eq!(count(Some(has_id(&[1, 2, 99]))).await.unwrap(), 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn s3_2_scores_ties_pages_and_thresholds_for_every_metric_and_number_of_shards() {
    for shard_number in [1, 3] {
        // Scores against [1, 0]: two ties in the middle.
        let points =
            || vec![point(1, &[1.0, 0.0]), point(2, &[2.0, 0.0]), point(3, &[2.0, 0.0]), point(4, &[4.0, 0.0])];
        let expected = [
            (Metric::Dot, vec![(4, 4.0), (3, 2.0), (2, 2.0), (1, 1.0)], 2.0, 1),
            (Metric::Euclid, vec![(1, 0.0), (2, 1.0), (3, 1.0), (4, 3.0)], 3.0, 3),
            (Metric::Manhattan, vec![(1, 0.0), (2, 1.0), (3, 1.0), (4, 3.0)], 1.0, 1),
        ];
        for (metric, want, threshold, passing) in expected {
            let fixture = Fixture::with(shard_number, 2, metric).await;
            fixture.upsert(points()).await;
            assert_eq!(shown(&fixture.query(near(&[1.0, 0.0])).await), want, "{metric:?}");
            let page = QueryRequest { offset: 1, ..first(2, near(&[1.0, 0.0])) };
            assert_eq!(shown(&fixture.query(page).await), want[1..3], "{metric:?}");
            let huge = QueryRequest { offset: usize::MAX, ..first(usize::MAX, near(&[1.0, 0.0])) };
            assert!(fixture.query(huge).await.is_empty());
            let mut cut = first(usize::MAX, near(&[1.0, 0.0]));
            cut.root.score_threshold = Some(threshold);
            assert_eq!(shown(&fixture.query(cut).await), want[..passing], "{metric:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_1_a_query_without_a_ranking_returns_ids_in_order() {
    let fixture = Fixture::with(3, 1, Metric::Dot).await;
    fixture.upsert((0..10).map(|id| point(id, &[1.0])).collect()).await;
    let root = QueryLevel { filter: Some(has_id(&[1, 3, 5, 7, 9])), ..QueryLevel::new(Ranking::ById, 3) };
    let request = QueryRequest { root, offset: 2, with_payload: PayloadSelector::All, ..near(&[]) };
    let hits = fixture.query(request).await;
    assert_eq!(shown(&hits), [(5, 1.0), (7, 1.0), (9, 1.0)]);
    assert!(hits.iter().all(|hit| hit.version == 0 && hit.payload == Some(payload(json!({"n": num(hit.id)})))));
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_2_a_bad_target_is_refused() {
    let fixture = Fixture::with(2, 2, Metric::Cosine).await;
    let query = |request| fixture.service.query("c", request, READ);
    assert!(matches!(query(near(&[1.0])).await, Err(Error::WrongDim { want: 2, got: 1 })));
    assert!(matches!(query(near(&[1.0, f32::INFINITY])).await, Err(Error::NotFinite { .. })));
    let mut other = near(&[1.0, 2.0]);
    other.root.ranking = Ranking::Nearest(Target::Vector(Vector::Dense(vec![1.0])));
    other.root.using = "x".into();
    assert!(matches!(query(other).await, Err(Error::VectorNameUnknown { name }) if name == "x"));
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_3_a_point_as_target_is_looked_up_and_left_out() {
    for shard_number in [1, 3] {
        let fixture = Fixture::new().await;
        let both = [("a", 1, Metric::Dot), ("b", 1, Metric::Dot)];
        fixture.create("c", config(shard_number, &both)).await;
        fixture.create("other", config(shard_number, &[("v", 1, Metric::Dot), ("wide", 2, Metric::Dot)])).await;
        let two = |id: u64, a: f32, b: f32| Point { vectors: vectors(&[("a", &[a]), ("b", &[b])]), ..point(id, &[]) };
        let lone = Point { vectors: vectors(&[("a", &[1.0])]), ..point(4, &[]) };
        fixture.upsert(vec![two(1, 1.0, -1.0), two(2, 2.0, 2.0), two(3, 3.0, 3.0), lone]).await;
        let elsewhere = Point { vectors: vectors(&[("v", &[-1.0]), ("wide", &[1.0, 1.0])]), ..point(2, &[]) };
        fixture.service.write("other", upsert(vec![elsewhere]), WAIT).await.unwrap();
        let alias = AliasAction::Create { alias: "same".into(), collection: "c".into() };
        fixture.service.update_aliases(vec![alias], None).await.unwrap();

        let request = |id: u64, using: &str, from: Option<(&str, Option<&str>)>| {
            let lookup_from = from.map(|(collection, vector)| LookupFrom {
                collection: collection.to_owned(),
                vector: vector.map(str::to_owned),
                shard_keys: None,
            });
            let ranking = Ranking::Nearest(Target::Point(PointId::Num(id)));
            let root = QueryLevel { using: using.to_owned(), lookup_from, ..QueryLevel::new(ranking, 10) };
            QueryRequest { root, ..near(&[]) }
        };
        let run = |request| fixture.service.query("c", request, READ);
        // In the searched collection: left out.
        assert_eq!(shown(&run(request(2, "b", None)).await.unwrap()), [(3, 6.0), (1, -2.0)]);
        // Another vector of the same collection, and the same collection by its alias: left out too.
        assert_eq!(
            shown(&run(request(1, "a", Some(("c", Some("b"))))).await.unwrap()),
            [(4, -1.0), (2, -2.0), (3, -3.0)]
        );
        assert_eq!(shown(&run(request(2, "b", Some(("same", None)))).await.unwrap()), [(3, 6.0), (1, -2.0)]);
        // In another collection: stays.
        assert_eq!(
            shown(&run(request(2, "b", Some(("other", Some("v"))))).await.unwrap()),
            [(1, 1.0), (2, -2.0), (3, -3.0)]
        );

        let failure = async |request| fixture.service.query("c", request, READ).await.unwrap_err();
        assert!(matches!(failure(request(9, "a", None)).await, Error::PointNotFound { id: PointId::Num(9) }));
        let lacks = failure(request(4, "b", None)).await;
        assert!(matches!(&lacks, Error::VectorNotFound { id: PointId::Num(4), name } if name == "b"), "{lacks:?}");
        assert!(
            matches!(failure(request(2, "b", Some(("no", None)))).await, Error::LookupNotFound { name } if name == "no")
        );
        assert!(
            matches!(failure(request(2, "b", Some(("other", None)))).await, Error::VectorNameUnknown { name } if name == "b")
        );
        let wide = failure(request(2, "b", Some(("other", Some("wide"))))).await;
        assert!(matches!(wide, Error::WrongDim { want: 1, got: 2 }), "{wide:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s10_5_a_batch_keeps_its_order_and_one_bad_entry_fails_it() {
    let fixture = Fixture::with(3, 1, Metric::Euclid).await;
    fixture.upsert((0..50).map(|id| point(id, &[id as f32])).collect()).await;
    // More queries than the queue holds requests: one batch is one request.
    let requests: Vec<QueryRequest> = (0..200).map(|at| first(1, near(&[(at % 50) as f32]))).collect();
    let answers = fixture.service.query_batch("c", requests.clone(), READ).await.unwrap();
    let best: Vec<u64> = answers.iter().map(|hits| num(hits[0].id)).collect();
    assert_eq!(best, (0..200).map(|at| at % 50).collect::<Vec<_>>());
    let by_point = first(1, nearest(Target::Point(PointId::Num(7))));
    let mixed = vec![requests[3].clone(), by_point.clone(), requests[4].clone(), by_point];
    let answers = fixture.service.query_batch("c", mixed, READ).await.unwrap();
    assert_eq!(answers.iter().map(|hits| num(hits[0].id)).collect::<Vec<_>>(), [3, 6, 4, 6]);
    let bad = vec![requests[0].clone(), near(&[1.0, 2.0])];
    assert!(matches!(fixture.service.query_batch("c", bad, READ).await, Err(Error::WrongDim { .. })));
    assert!(fixture.service.query_batch("c", vec![], READ).await.unwrap().is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn s5_hits_carry_what_the_selectors_ask_for() {
    let fixture = Fixture::with(2, 1, Metric::Dot).await;
    fixture.upsert(vec![point(1, &[1.0]), point(2, &[2.0])]).await;
    let request =
        QueryRequest { with_payload: PayloadSelector::All, with_vectors: VectorSelector::All, ..near(&[1.0]) };
    let hits = fixture.query(request).await;
    assert_eq!(shown(&hits), [(2, 2.0), (1, 1.0)]);
    assert_eq!(hits[0].payload, Some(payload(json!({"n": 2}))));
    assert_eq!(hits[1].vectors, Some(vectors(&[("", &[1.0])])));
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_collections_and_aliases() {
    let fixture = Fixture::new().await;
    let service = &fixture.service;
    fixture.create("b", config(1, &[("", 1, Metric::Dot)])).await;
    fixture.create("a", config(2, &[])).await;
    assert_eq!(service.collections(), ["a", "b"]);
    let again = service.create_collection(name_of("a"), config(1, &[]), None).await;
    assert!(matches!(again, Err(Error::CollectionExists { ref name }) if name == "a"), "{again:?}");
    let create =
        |alias: &str, collection: &str| AliasAction::Create { alias: alias.into(), collection: collection.into() };
    service.update_aliases(vec![create("x", "a"), create("y", "b")], None).await.unwrap();
    assert!(service.collection_exists("x") && service.collection_exists("a") && !service.collection_exists("z"));
    let alias = |alias: &str, collection: &str| Alias { alias: alias.into(), collection: collection.into() };
    assert_eq!(service.aliases(), [alias("x", "a"), alias("y", "b")]);
    assert_eq!(service.collection_aliases("y").unwrap(), [alias("y", "b")]);
    assert!(matches!(service.collection_aliases("z"), Err(Error::CollectionNotFound { .. })));
    let taken = service.create_collection(name_of("x"), config(1, &[]), None).await;
    assert!(matches!(taken, Err(Error::NameTaken { ref name }) if name == "x"), "{taken:?}");
    let failed = service.update_aliases(vec![create("z", "a"), create("w", "nope")], None).await;
    assert!(matches!(failed, Err(Error::CollectionNotFound { ref name }) if name == "nope"), "{failed:?}");
    assert!(!service.collection_exists("z"));

    service.write("y", upsert(vec![point(1, &[1.0])]), WAIT).await.unwrap();
    assert_eq!(service.count("b", None, READ).await.unwrap(), 1);
    assert!(service.delete_collection("b", None).await.unwrap());
    assert!(!service.delete_collection("b", None).await.unwrap());
    assert_eq!(service.aliases(), [alias("x", "a")]);
    assert!(matches!(service.count("y", None, READ).await, Err(Error::CollectionNotFound { .. })));
    assert!(matches!(service.collection_report("b").await, Err(Error::CollectionNotFound { .. })));
    // The same name again is a new, empty collection.
    fixture.create("b", config(1, &[("", 1, Metric::Dot)])).await;
    assert_eq!(service.count("b", None, READ).await.unwrap(), 0);
    let many = service.create_collection(name_of("many"), config(1_000_000, &[]), None).await;
    assert!(matches!(many, Err(Error::Unimplemented { .. })), "{many:?}");
}

/// Codes of 1 bit and vectors on disk: what a search makes of them is what it was told to, also after a restart, and no
/// more once there are no codes asked for.
#[tokio::test(flavor = "multi_thread")]
async fn s10_2_codes_find_and_vectors_decide_unless_told_otherwise() {
    const DIM: u64 = 40;
    let mut fixture = Fixture::new().await;
    let mut with_codes = config(1, &[("", DIM, Metric::Euclid)]);
    with_codes.vectors.by_name.get_mut("").unwrap().on_disk = Some(true);
    with_codes.quantization =
        Some(QuantizationConfig::Binary { always_ram: None, encoding: None, query_encoding: None, memory: None });
    fixture.create("c", with_codes).await;
    let mut random = fastrand::Rng::with_seed(8);
    let vectors: Vec<Vec<f32>> = (0..1_500).map(|_| (0..DIM).map(|_| random.f32()).collect()).collect();
    fixture.upsert((0u64..).zip(&vectors).map(|(id, vector)| point(id, vector)).collect()).await;
    let target = &vectors[7];
    let exact = |id: PointId| {
        let PointId::Num(id) = id else { panic!("{id:?}") };
        let square = |(a, b): (&f32, &f32)| (a - b) * (a - b);
        target.iter().zip(&vectors[id as usize]).map(square).sum::<f32>().sqrt()
    };
    let ask = |options: SearchOptions| {
        let mut request = nearest(Target::Vector(Vector::Dense(target.clone())));
        request.root.options = SearchOptions { ef: Some(32), indexed_only: true, ..options };
        request
    };
    let estimates = || SearchOptions { rescores: Some(false), ..SearchOptions::default() };
    let is_exact = |hits: &[ScoredPoint]| hits.iter().all(|hit| (hit.score - exact(hit.id)).abs() < 1e-4);
    for is_restarted in [false, true] {
        if is_restarted {
            fixture = fixture.reopen().await;
        }
        while fixture.service.collection_report("c").await.unwrap().tail_vector_count > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        assert!(fixture.service.collection_report("c").await.unwrap().warnings.is_empty());
        let rescored = fixture.query(ask(SearchOptions::default())).await;
        assert_eq!((rescored.len(), rescored[0].id), (10, PointId::Num(7)));
        assert!(is_exact(&rescored));
        let by_codes = fixture.query(ask(estimates())).await;
        assert!(by_codes.len() == 10 && !is_exact(&by_codes), "{by_codes:?}");
        let by_vectors = fixture.query(ask(SearchOptions { ignores_codes: true, ..estimates() })).await;
        assert!(by_vectors.len() == 10 && is_exact(&by_vectors), "{by_vectors:?}");
        let usage = fixture.service.memory_usage("c", None).await.unwrap();
        assert_eq!(usage.vectors.values().sum::<u64>(), 0, "they are on disk");
    }
    let off = CollectionConfigDiff { quantization: Some(QuantizationChange::Disabled), ..Default::default() };
    fixture.service.update_collection("c", off, None).await.unwrap();
    assert!(is_exact(&fixture.query(ask(estimates())).await));
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_a_report_is_exact_and_an_update_shows_in_it() {
    let fixture = Fixture::with(3, 2, Metric::Dot).await;
    fixture.upsert((0..100).map(|id| point(id, &[1.0, id as f32])).collect()).await;
    fixture.service.write("c", PointOp::Delete { select: by_ids(&[5, 6]) }, WAIT).await.unwrap();
    let report = fixture.service.collection_report("c").await.unwrap();
    assert_eq!((report.name.as_str(), report.point_count, report.status), ("c", 98, CollectionStatus::Green));
    assert_eq!(report.shards.iter().map(|shard| shard.point_count).sum::<u64>(), 98);
    assert_eq!(report.shards.len(), 3);
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);

    let on_disk = VectorParamsDiff {
        on_disk: Some(true),
        hnsw: HnswConfigDiff { m: Some(32), ..Default::default() },
        ..Default::default()
    };
    let diff = CollectionConfigDiff { vectors: [(String::new(), on_disk.clone())].into(), ..Default::default() };
    fixture.service.update_collection("c", diff, None).await.unwrap();
    let report = fixture.service.collection_report("c").await.unwrap();
    assert_eq!(report.config.vectors.by_name[""].hnsw.unwrap().m, Some(32));
    assert!(report.warnings.is_empty(), "{:?}", report.warnings);
    let unknown = CollectionConfigDiff { vectors: [("x".to_owned(), on_disk)].into(), ..Default::default() };
    let refused = fixture.service.update_collection("c", unknown, None).await;
    assert!(matches!(refused, Err(Error::VectorNameUnknown { ref name }) if name == "x"), "{refused:?}");
    assert_eq!(fixture.ids().await.len(), 98);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_catches_up_and_writers_wait_for_it() {
    let folder = tempfile::tempdir().unwrap();
    let tight = ServiceSettings { tail_vectors_max: 50, ..settings(folder.path()) };
    let fixture = Fixture { service: Service::open(tight).await.unwrap(), folder };
    fixture.create("c", config(1, &[("", 4, Metric::Euclid)])).await;
    for batch in 0..20_u64 {
        fixture.upsert((batch * 50..batch * 50 + 50).map(|id| point(id, &[id as f32, 0.0, 1.0, 2.0])).collect()).await;
        let report = fixture.service.collection_report("c").await.unwrap();
        assert!(report.tail_vector_count <= 100, "{} vectors wait", report.tail_vector_count);
    }
    let deadline = Instant::now() + Duration::from_secs(120);
    loop {
        let report = fixture.service.collection_report("c").await.unwrap();
        if report.tail_vector_count == 0 {
            assert_eq!(report.indexed_vector_count, 1_000);
            break;
        }
        assert!(Instant::now() < deadline, "{} vectors still wait", report.tail_vector_count);
        tokio::task::yield_now().await;
    }
    let hits = fixture.query(first(3, near(&[500.0, 0.0, 1.0, 2.0]))).await;
    assert_eq!(shown(&hits), [(500, 0.0), (499, 1.0), (501, 1.0)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_is_there_after_a_shutdown() {
    let mut fixture = Fixture::with(2, 2, Metric::Cosine).await;
    let alias = AliasAction::Create { alias: "x".into(), collection: "c".into() };
    fixture.service.update_aliases(vec![alias], None).await.unwrap();
    fixture.upsert((0..500).map(|id| point(id, &[id as f32, 1.0])).collect()).await;
    fixture.service.write("c", PointOp::Delete { select: by_ids(&[3]) }, WAIT).await.unwrap();
    let want: Vec<u64> = (0..500).filter(|id| *id != 3).collect();
    let before = shown(&fixture.query(near(&[0.3, 1.0])).await);
    for _ in 0..2 {
        fixture = fixture.reopen().await;
        assert!(fixture.service.is_ready());
        assert_eq!(fixture.ids().await, want);
        assert_eq!(shown(&fixture.query(near(&[0.3, 1.0])).await), before);
        assert_eq!(fixture.service.count("x", None, READ).await.unwrap(), 499);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_acknowledged_write_survives_a_crash() {
    let fixture = Fixture::with(2, 1, Metric::Dot).await;
    fixture.create("gone", config(2, &[("", 1, Metric::Dot)])).await;
    for id in 0..30 {
        fixture.upsert(vec![point(id, &[id as f32])]).await;
        fixture.service.write("c", PointOp::ClearPayload { select: by_ids(&[id]) }, NO_WAIT).await.unwrap();
    }
    fixture.service.write("c", PointOp::Delete { select: by_ids(&[7]) }, WAIT).await.unwrap();
    fixture.service.delete_collection("gone", None).await.unwrap();
    let crashed = fixture.crashed().await;
    assert_eq!(crashed.service.collections(), ["c"]);
    assert_eq!(crashed.ids().await, (0..30).filter(|id| *id != 7).collect::<Vec<_>>());
    assert!(crashed.records(&[0, 29]).await.iter().all(|record| record.payload == Some(Payload::default())));
    // And it takes writes.
    crashed.upsert(vec![point(7, &[70.0])]).await;
    assert_eq!(crashed.reopen().await.ids().await.len(), 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_deleted_collections_leaves_the_disk() {
    let fixture = Fixture::with(2, 1, Metric::Dot).await;
    fixture.upsert((0..100).map(|id| point(id, &[1.0])).collect()).await;
    fixture.service.delete_collection("c", None).await.unwrap();
    let Fixture { service, folder } = fixture;
    service.shutdown().await.unwrap();
    drop(service);
    let db_settings = DbSettings { block_cache_bytes: 1 << 20, memtable_bytes: 1 << 20, reserve_bytes: 0 };
    let (_lock, logs, points) = open_databases(folder.path().to_owned(), db_settings).unwrap();
    assert_eq!(logs.shards(), [META_GROUP]);
    assert_eq!(points.shards().unwrap(), [META_GROUP]);
    let left = std::fs::read_dir(folder.path().join("index")).map(|entries| entries.count()).unwrap_or(0);
    assert_eq!(left, 0, "folders of checkpoints are left");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_cannot_be_opened_fails_its_collection_and_no_other() {
    let fixture = Fixture::with(1, 1, Metric::Dot).await;
    fixture.upsert(vec![point(1, &[1.0])]).await;
    fixture.create("d", config(1, &[("", 1, Metric::Dot)])).await;
    // The folder of c's only shard cannot be read: a file stands in its place.
    let shard = fixture.service.collection("c").unwrap().shards[0];
    let folder = fixture.folder.path().join("index").join(shard.0.to_string());
    fixture.service.shutdown().await.unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
    std::fs::write(&folder, b"in the way").unwrap();
    let broken = fixture.reopen().await;
    assert_eq!(broken.service.collection_report("c").await.unwrap().status, CollectionStatus::Red);
    assert!(matches!(broken.service.count("c", None, READ).await, Err(Error::Storage { .. })));
    assert!(matches!(broken.service.write("c", upsert(vec![]), WAIT).await, Err(Error::Storage { .. })));
    assert_eq!(broken.service.count("d", None, READ).await.unwrap(), 0);
    // With the folder mended nothing is lost.
    broken.service.shutdown().await.unwrap();
    std::fs::remove_file(&folder).unwrap();
    assert_eq!(broken.reopen().await.ids().await, [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_collection_that_cannot_be_opened_is_not_left_behind() {
    let fixture = Fixture::new().await;
    std::fs::write(fixture.folder.path().join("index"), b"in the way").unwrap();
    let result = fixture.service.create_collection(name_of("c"), config(2, &[]), None).await;
    assert!(matches!(result, Err(Error::Storage { .. })), "{result:?}");
    assert!(fixture.service.collections().is_empty());
    std::fs::remove_file(fixture.folder.path().join("index")).unwrap();
    fixture.create("c", config(2, &[("", 1, Metric::Dot)])).await;
    fixture.upsert(vec![point(1, &[1.0])]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_process_per_folder() {
    let fixture = Fixture::new().await;
    let second = Service::open(settings(fixture.folder.path())).await.map(|_| ());
    assert!(matches!(second, Err(OpenError::InUse { .. })), "{second:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_shutdown_every_call_is_refused() {
    let fixture = Fixture::with(1, 1, Metric::Dot).await;
    fixture.service.shutdown().await.unwrap();
    assert!(!fixture.service.is_ready());
    let refused = [
        fixture.service.write("c", upsert(vec![point(1, &[1.0])]), WAIT).await.map(|_| ()),
        fixture.service.count("c", None, READ).await.map(|_| ()),
        fixture.service.query("c", near(&[1.0]), READ).await.map(|_| ()),
        fixture.service.create_collection(name_of("d"), config(1, &[]), None).await,
        fixture.service.delete_collection("c", None).await.map(|_| ()),
    ];
    assert!(refused.iter().all(|result| matches!(result, Err(Error::Unavailable { .. }))), "{refused:?}");
}

/// What a call may say while its collection comes and goes.
fn is_clear(error: &Error) -> bool {
    matches!(
        error,
        Error::CollectionNotFound { .. }
            | Error::CollectionExists { .. }
            | Error::Unavailable { .. }
            | Error::OutcomeUnknown { .. }
            | Error::PointNotFound { .. }
            | Error::Overloaded { .. }
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn creates_deletes_writes_and_searches_of_one_name_may_race() {
    let fixture = Fixture::new().await;
    let is_over = Arc::new(AtomicBool::new(false));
    let mut calls = Vec::new();
    for worker in 0..4_u64 {
        let (service, is_over) = (fixture.service.clone(), Arc::clone(&is_over));
        calls.push(tokio::spawn(async move {
            let mut failures = Vec::new();
            while !is_over.load(Ordering::Relaxed) {
                let written =
                    service.write("c", upsert((0..20).map(|id| point(id + worker * 20, &[1.0])).collect()), WAIT).await;
                failures.extend(written.err());
                failures.extend(service.query("c", near(&[1.0]), READ).await.err());
                failures.extend(service.scroll("c", scroll_all(), READ).await.err());
                failures.extend(service.collection_report("c").await.err());
                failures.retain(|error| !is_clear(error));
                // Refusals come without a wait: the others need their turn.
                tokio::task::yield_now().await;
            }
            failures
        }));
    }
    let mut changes = Vec::new();
    for _ in 0..2 {
        let service = fixture.service.clone();
        changes.push(tokio::spawn(async move {
            let mut failures = Vec::new();
            for _ in 0..8 {
                failures.extend(
                    service.create_collection(name_of("c"), config(2, &[("", 1, Metric::Dot)]), None).await.err(),
                );
                failures.extend(service.delete_collection("c", None).await.err());
            }
            failures
        }));
    }
    let mut failures = Vec::new();
    for change in changes {
        failures.extend(change.await.unwrap());
    }
    is_over.store(true, Ordering::Relaxed);
    for call in calls {
        failures.extend(call.await.unwrap());
    }
    let strange: Vec<&Error> = failures.iter().filter(|error| !is_clear(error)).collect();
    assert!(strange.is_empty(), "{strange:?}");
    // The name is usable afterwards.
    fixture.service.delete_collection("c", None).await.unwrap();
    fixture.create("c", config(2, &[("", 1, Metric::Dot)])).await;
    fixture.upsert(vec![point(1, &[1.0])]).await;
    assert_eq!(fixture.ids().await, [1]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_shutdown_while_writes_run_keeps_what_was_acknowledged() {
    let fixture = Fixture::with(2, 1, Metric::Dot).await;
    let mut writers = Vec::new();
    for worker in 0..4_u64 {
        let service = fixture.service.clone();
        writers.push(tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for id in (worker * 10_000).. {
                match service.write("c", upsert(vec![point(id, &[1.0])]), WAIT).await {
                    Ok(_) => acknowledged.push(id),
                    Err(error) => {
                        assert!(is_clear(&error), "{error:?}");
                        return acknowledged;
                    }
                }
            }
            acknowledged
        }));
    }
    while fixture.service.count("c", None, READ).await.unwrap() < 50 {
        tokio::task::yield_now().await;
    }
    fixture.service.shutdown().await.unwrap();
    let mut acknowledged = Vec::new();
    for writer in writers {
        acknowledged.extend(writer.await.unwrap());
    }
    acknowledged.sort_unstable();
    let found = fixture.reopen().await.ids().await;
    assert_eq!(found, acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn s2_1_vectors_of_all_kinds_are_stored_searched_and_survive_a_restart() {
    use crate::model::collection::SparseVectorParams;
    use crate::model::{MultiVector, SparseVector};
    let sparse = |entries: &[(u32, f32)]| Vector::Sparse(SparseVector::new(entries.to_vec()).unwrap());
    let multi = |values: &[f32]| Vector::Multi(MultiVector::new(2, values.to_vec()).unwrap());
    let mut fixture = Fixture::new().await;
    let mut config = config(2, &[("m", 2, Metric::Dot)]);
    config.vectors.by_name.get_mut("m").unwrap().is_multi = true;
    config.sparse_vectors = Some([("s".to_owned(), SparseVectorParams::default())].into());
    fixture.create("c", config).await;
    let vectors: Vec<NamedVectors> = (1..=20_u16)
        .map(|n| {
            let mut vectors =
                NamedVectors::from([("s".to_owned(), sparse(&[(u32::from(n % 3), 1.0), (9, f32::from(n))]))]);
            if n % 2 == 0 {
                vectors.insert("m".to_owned(), multi(&[f32::from(n), 0.0, 0.0, 1.0]));
            }
            vectors
        })
        .collect();
    let point = |(n, vectors): (u64, &NamedVectors)| Point {
        id: PointId::Num(n),
        vectors: vectors.clone(),
        payload: Payload::default(),
    };
    fixture.upsert((1..).zip(&vectors).map(point).collect()).await;
    let nearest = |using: &str, vector: Vector| QueryRequest {
        root: QueryLevel { using: using.to_owned(), ..QueryLevel::new(Ranking::Nearest(Target::Vector(vector)), 3) },
        offset: 0,
        with_payload: PayloadSelector::None,
        with_vectors: VectorSelector::None,
    };
    for _ in 0..2 {
        let found = |points: Vec<ScoredPoint>| points.iter().map(|hit| (num(hit.id), hit.score)).collect::<Vec<_>>();
        let hits = found(fixture.query(nearest("s", sparse(&[(9, 1.0), (77, 5.0)]))).await);
        assert_eq!(hits, [(20, 20.0), (19, 19.0), (18, 18.0)]);
        let hits = found(fixture.query(nearest("m", multi(&[1.0, 0.0, 0.0, 3.0]))).await);
        assert_eq!(hits, [(20, 23.0), (18, 21.0), (16, 19.0)]);
        let records = fixture.records(&[7, 8]).await;
        assert_eq!(records[0].vectors.as_ref(), Some(&vectors[6]));
        assert_eq!(records[1].vectors.as_ref(), Some(&vectors[7]));
        fixture = fixture.reopen().await;
    }
}
