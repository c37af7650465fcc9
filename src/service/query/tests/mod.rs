//! Queries on a real folder, by section of PROTOCOL.md. Whatever is asked, the number of shards does not show.

mod groups;
mod levels;
mod random;
mod scores;
mod sparse;

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::cluster::shard_of;
use crate::model::collection::{Modifier, SparseVectorParams};
use crate::model::datetime::Timestamp;
use crate::model::field_index::{FieldIndexKind, FieldIndexSchema, IntegerParams, PlacementParams, TextParams};
use crate::model::filter::{FieldCondition, Match, Predicate};
use crate::model::query::{OrderValue, QueryLevel, QueryRequest, Ranking, Target};
use crate::model::vector::normalize;
use crate::model::write::UpsertMode;
use crate::model::{
    CollectionConfig, CollectionName, Condition, Filter, Metric, MultiVector, Payload, PayloadSelector, Point, PointId,
    PointOp, ScoredPoint, SparseVector, Vector, VectorParams, VectorSelector, VectorsConfig,
};
use crate::service::cluster_tests::open as open_member;
use crate::service::tests::settings;
use crate::service::{Consistency, Error, ReadOptions, Service};
use crate::shard::encode_command;

const READ: ReadOptions = ReadOptions { consistency: Consistency::Linearizable, deadline: None, timeout_s: None };
/// So many shards are spread over two nodes.
const ON_TWO_NODES: u32 = 4;
const SHARD_NUMBERS: [u32; 3] = [1, 3, ON_TWO_NODES];

/// A service with a collection `c`.
struct Fixture {
    service: Service,
    _other: Option<Service>,
    _folders: [tempfile::TempDir; 2],
}

impl Fixture {
    /// `c` holds `points`.
    async fn new(shard_number: u32, points: Vec<Point>) -> Fixture {
        let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
        let (service, other) = match shard_number {
            ON_TWO_NODES => {
                let (first, address) = open_member(&folders[0], None, None).await;
                let (second, _) = open_member(&folders[1], None, Some(&address)).await;
                (second, Some(first))
            }
            _ => (Service::open(settings(folders[0].path())).await.unwrap(), None),
        };
        let fixture = Fixture { service, _other: other, _folders: folders };
        fixture.create("c", shard_number).await;
        fixture.put("c", points).await;
        fixture
    }

    /// Two numbers per vector: `""` and `d` by dot product, `e`, `man` and `cos` by the others; `m` has rows of two, by dot
    /// product. `s` is sparse, `idf` too with the modifier. `n` is indexed by range and value, `at` by time, `text` by
    /// words with scoring.
    async fn create(&self, name: &str, shard_number: u32) {
        let dense = [("", Metric::Dot), ("d", Metric::Dot), ("e", Metric::Euclid), ("cos", Metric::Cosine)];
        let mut by_name: BTreeMap<String, VectorParams> =
            dense.into_iter().map(|(name, metric)| (name.to_owned(), VectorParams::new(2, metric))).collect();
        by_name.insert("man".to_owned(), VectorParams::new(2, Metric::Manhattan));
        by_name.insert("m".to_owned(), VectorParams { is_multi: true, ..VectorParams::new(2, Metric::Dot) });
        let sparse = [("s", None), ("idf", Some(Modifier::Idf))];
        let sparse = sparse.map(|(name, modifier)| (name.to_owned(), SparseVectorParams { modifier, index: None }));
        let schema = |kind| FieldIndexSchema { kind, is_object: false, placement: PlacementParams::default() };
        let scoring = TextParams { scoring: Some(true), ..TextParams::default() };
        let fields = [
            ("n", FieldIndexKind::Integer(IntegerParams::default())),
            ("at", FieldIndexKind::Datetime),
            ("text", FieldIndexKind::Text(scoring)),
        ];
        let config = CollectionConfig {
            shard_number,
            sparse_vectors: Some(sparse.into()),
            field_indexes: fields.map(|(key, kind)| (key.parse().unwrap(), schema(kind))).into(),
            ..CollectionConfig::new(VectorsConfig { is_single: false, by_name })
        };
        self.service.create_collection(CollectionName::new(name).unwrap(), config, None).await.unwrap();
        let view = self.service.view(name).await.unwrap();
        for running in view.here() {
            while running.shard().fields().len() < 3 {
                running.shard().index_work(1);
                tokio::task::yield_now().await;
            }
        }
        for (path, schema) in &view.collection.config.field_indexes {
            self.service.wait_for_distant_fields(&view, path, &schema.kind).await.unwrap();
        }
    }

    async fn put(&self, name: &str, points: Vec<Point>) {
        let view = self.service.view(name).await.unwrap();
        for mut point in points {
            if let Some(Vector::Dense(values)) = point.vectors.get_mut("cos") {
                normalize(values);
            }
            let shard = &view.shards[shard_of(point.id, view.shards.len())];
            let op = PointOp::Upsert { points: vec![point], mode: UpsertMode::Upsert, update_filter: None };
            shard.propose(encode_command(&op)).await.unwrap();
        }
    }

    async fn hits(&self, request: QueryRequest) -> Result<Vec<ScoredPoint>, Error> {
        self.service.query("c", request, READ).await
    }

    /// The first page of `root`, as ids and shown scores.
    async fn run(&self, root: QueryLevel) -> Vec<(u64, f32)> {
        self.page(root, 0).await
    }

    async fn page(&self, root: QueryLevel, offset: usize) -> Vec<(u64, f32)> {
        shown(&self.hits(request(root, offset)).await.unwrap())
    }

    async fn ids(&self, root: QueryLevel) -> Vec<u64> {
        self.run(root).await.into_iter().map(|(id, _)| id).collect()
    }

    async fn failure(&self, root: QueryLevel) -> Error {
        self.hits(request(root, 0)).await.unwrap_err()
    }
}

fn request(root: QueryLevel, offset: usize) -> QueryRequest {
    QueryRequest { root, offset, with_payload: PayloadSelector::None, with_vectors: VectorSelector::None }
}

fn shown(hits: &[ScoredPoint]) -> Vec<(u64, f32)> {
    hits.iter().map(|hit| (num(hit.id), hit.score)).collect()
}

fn num(id: PointId) -> u64 {
    match id {
        PointId::Num(num) => num,
        PointId::Uuid(uuid) => panic!("unexpected id {uuid}"),
    }
}

fn point(id: u64, vectors: &[(&str, Vector)], payload: Value) -> Point {
    let Value::Object(payload) = payload else { panic!("no object: {payload}") };
    let vectors = vectors.iter().map(|(name, vector)| ((*name).to_owned(), vector.clone())).collect();
    Point { id: PointId::Num(id), vectors, payload: Payload(payload) }
}

fn dense(values: [f32; 2]) -> Vector {
    Vector::Dense(values.to_vec())
}

fn sparse(entries: &[(u32, f32)]) -> Vector {
    Vector::Sparse(SparseVector::new(entries.to_vec()).unwrap())
}

fn multi(rows: &[[f32; 2]]) -> Vector {
    Vector::Multi(MultiVector::new(2, rows.concat()).unwrap())
}

/// Points 1 to `count`: `""` is `[id, 0]`, `n` is the id.
fn line(count: u64) -> Vec<Point> {
    (1..=count).map(|id| point(id, &[("", dense([id as f32, 0.0]))], json!({"n": id}))).collect()
}

fn vector(vector: Vector) -> Target {
    Target::Vector(vector)
}

fn by_id(id: u64) -> Target {
    Target::Point(PointId::Num(id))
}

fn level(ranking: Ranking) -> QueryLevel {
    QueryLevel::new(ranking, 10)
}

fn nearest(target: Target) -> QueryLevel {
    level(Ranking::Nearest(target))
}

/// Larger ids of [`line`] first.
fn upwards() -> QueryLevel {
    nearest(vector(dense([1.0, 0.0])))
}

/// Smaller ids of [`line`] first.
fn downwards() -> QueryLevel {
    nearest(vector(dense([-1.0, 0.0])))
}

/// What these tests say of a level.
trait Also: Sized {
    fn using(self, name: &str) -> Self;
    fn limit(self, limit: usize) -> Self;
    fn above(self, threshold: f32) -> Self;
    fn among(self, filter: Filter) -> Self;
    fn over(self, sources: impl IntoIterator<Item = QueryLevel>) -> Self;
}

impl Also for QueryLevel {
    fn using(self, name: &str) -> QueryLevel {
        QueryLevel { using: name.to_owned(), ..self }
    }

    fn limit(self, limit: usize) -> QueryLevel {
        QueryLevel { limit, ..self }
    }

    fn above(self, threshold: f32) -> QueryLevel {
        QueryLevel { score_threshold: Some(threshold), ..self }
    }

    fn among(self, filter: Filter) -> QueryLevel {
        QueryLevel { filter: Some(filter), ..self }
    }

    fn over(self, sources: impl IntoIterator<Item = QueryLevel>) -> QueryLevel {
        QueryLevel { prefetch: sources.into_iter().collect(), ..self }
    }
}

fn has_id(ids: impl IntoIterator<Item = u64>) -> Condition {
    Condition::HasId(ids.into_iter().map(PointId::Num).collect())
}

fn must(condition: Condition) -> Filter {
    Filter { must: vec![condition], ..Filter::default() }
}

fn should(condition: Condition) -> Filter {
    Filter { should: vec![condition], ..Filter::default() }
}

/// `key` has this integer.
fn is(key: &str, value: i64) -> Condition {
    let predicates = vec![Predicate::Match(Match::Integer(value))];
    Condition::Field(FieldCondition { key: key.parse().unwrap(), predicates })
}

/// Ids in order, scores up to rounding.
#[track_caller]
fn check(got: &[(u64, f32)], want: &[(u64, f32)]) {
    let ids = |hits: &[(u64, f32)]| hits.iter().map(|(id, _)| *id).collect::<Vec<_>>();
    assert_eq!(ids(got), ids(want), "{got:?} instead of {want:?}");
    for ((id, got), (_, want)) in got.iter().zip(want) {
        assert!((got - want).abs() <= 1e-5 * want.abs().max(1.0), "point {id}: {got} instead of {want}");
    }
}

fn microseconds(text: &str) -> OrderValue {
    OrderValue::Integer(Timestamp::parse(text).unwrap().0)
}
