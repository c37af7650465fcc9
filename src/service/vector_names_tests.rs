//! Vectors added to and taken from a collection that is in use (PROTOCOL section 18, vector names).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::json;

use super::super::tests::{Fixture, NO_WAIT, READ, WAIT, num, payload, scroll_all, upsert};
use super::*;
use crate::model::collection::{Modifier, SparseVectorParams, VectorClash, VectorParams};
use crate::model::query::{QueryLevel, QueryRequest, Ranking, ScrollRequest, Target};
use crate::model::write::PointVectors;
use crate::model::{
    Condition, Filter, Metric, MultiVector, NamedVectors, PayloadSelector, Point, PointId, PointOp, PointSelector,
    SparseVector, Vector, VectorSelector,
};
use crate::service::{SnapshotSource, SnapshotsOf};

fn dense(dim: u64) -> NewVector {
    NewVector::Dense(VectorParams::new(dim, Metric::Dot))
}

fn sparse() -> NewVector {
    NewVector::Sparse(SparseVectorParams { modifier: Some(Modifier::Idf), index: None })
}

fn ones(dim: usize) -> Vector {
    Vector::Dense(vec![1.0; dim])
}

fn point(id: u64, named: &[(&str, Vector)]) -> Point {
    let vectors = named.iter().map(|(name, vector)| ((*name).to_owned(), vector.clone())).collect();
    Point { id: PointId::Num(id), vectors, payload: payload(json!({ "n": id })) }
}

fn has_vector(name: &str) -> Filter {
    Filter { must: vec![Condition::HasVector(name.to_owned())], ..Filter::default() }
}

impl Fixture {
    async fn add(&self, name: &str, vector: NewVector) -> Result<WriteAck, Error> {
        self.service.create_vector("c", name.to_owned(), vector, WAIT).await
    }

    async fn remove(&self, name: &str) -> WriteAck {
        self.service.delete_vector("c", name.to_owned(), WAIT).await.unwrap()
    }

    /// Ids and vectors of all points.
    async fn all(&self) -> Vec<(u64, NamedVectors)> {
        let request = ScrollRequest { with_vectors: VectorSelector::All, ..scroll_all() };
        let page = self.service.scroll("c", request, READ).await.unwrap();
        page.points.into_iter().map(|record| (num(record.id), record.vectors.unwrap())).collect()
    }

    async fn having(&self, name: &str) -> u64 {
        self.service.count("c", Some(has_vector(name)), READ).await.unwrap()
    }

    async fn found(&self, using: &str, query: Vector) -> Result<usize, Error> {
        let level = QueryLevel::new(Ranking::Nearest(Target::Vector(query)), 1_000);
        let root = QueryLevel { using: using.to_owned(), ..level };
        let (with_payload, with_vectors) = (PayloadSelector::None, VectorSelector::None);
        Ok(self.service.query("c", QueryRequest { root, offset: 0, with_payload, with_vectors }, READ).await?.len())
    }

    /// A snapshot that was made, by where it lies in the folder of snapshots.
    fn kept(&self, snapshot: &str) -> SnapshotSource {
        let path = self.folder.path().join("snapshots").join(snapshot);
        self.service.locate_snapshot(&format!("file://{}", path.display()), None).unwrap()
    }

    /// No shard stores bytes of dropped vectors.
    async fn is_swept(&self) -> bool {
        let view = self.service.view("c").await.unwrap();
        view.here().all(|running| {
            let config = &view.collection.config;
            !running.shard().lacks_drops(&config.dropped_vectors) && !running.shard().has_dropped_bytes()
        })
    }

    async fn validate(&self) {
        for running in self.service.view("c").await.unwrap().here() {
            running.shard().validate().unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_a_vector_is_added_to_points_dropped_and_added_again_with_another_size() {
    for shard_number in [1, 3] {
        let fixture = Fixture::with(shard_number, 2, Metric::Dot).await;
        fixture.upsert((0..40).map(|id| point(id, &[("", ones(2))])).collect()).await;
        let ack = fixture.add("v", dense(3)).await.unwrap();
        assert_eq!(ack.status, WriteStatus::Completed);
        assert!(ack.operation_id > 0);
        assert_eq!((fixture.having("v").await, fixture.found("v", ones(3)).await.unwrap()), (0, 0));
        let written = PointOp::UpdateVectors {
            points: (0..30)
                .map(|id| PointVectors { id: PointId::Num(id), vectors: [("v".to_owned(), ones(3))].into() })
                .collect(),
            update_filter: None,
        };
        fixture.service.write("c", written, WAIT).await.unwrap();
        assert_eq!((fixture.having("v").await, fixture.found("v", ones(3)).await.unwrap()), (30, 30));
        assert_eq!(fixture.found("", ones(2)).await.unwrap(), 40);

        fixture.remove("v").await;
        assert!(fixture.is_swept().await);
        assert_eq!(fixture.having("v").await, 0);
        assert!(matches!(fixture.found("v", ones(3)).await, Err(Error::VectorNameUnknown { .. })));
        let unnamed: NamedVectors = [(String::new(), ones(2))].into();
        assert!(fixture.all().await.into_iter().eq((0..40).map(|id| (id, unnamed.clone()))));

        fixture.add("v", dense(5)).await.unwrap();
        assert_eq!((fixture.having("v").await, fixture.found("v", ones(5)).await.unwrap()), (0, 0));
        fixture.upsert(vec![point(7, &[("", ones(2)), ("v", ones(5))])]).await;
        let wrong = fixture.service.write("c", upsert(vec![point(8, &[("v", ones(3))])]), WAIT).await;
        assert!(matches!(wrong, Err(Error::WrongDim { want: 5, got: 3 })), "{wrong:?}");
        let want = fixture.all().await;
        assert_eq!(want[7].1, [(String::new(), ones(2)), ("v".to_owned(), ones(5))].into());
        fixture.validate().await;
        let check = async |fixture: &Fixture| {
            assert_eq!(fixture.all().await, want);
            assert_eq!((fixture.having("v").await, fixture.found("v", ones(5)).await.unwrap()), (1, 1));
            fixture.validate().await;
        };
        check(&fixture.crashed().await).await;
        let fixture = fixture.reopen().await;
        check(&fixture).await;
        // A vector of the name is deleted from points by its present incarnation.
        let select = PointSelector::Filter(Filter::default());
        let delete = PointOp::DeleteVectors { select, names: vec!["v".to_owned()] };
        fixture.service.write("c", delete, WAIT).await.unwrap();
        assert_eq!(fixture.having("v").await, 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_repeating_is_no_error_and_differing_is() {
    let fixture = Fixture::with(1, 2, Metric::Dot).await;
    fixture.upsert(vec![point(1, &[("", ones(2))])]).await;
    fixture.add("v", dense(3)).await.unwrap();
    fixture.upsert(vec![point(2, &[("v", ones(3))])]).await;
    fixture.add("v", dense(3)).await.unwrap();
    assert_eq!(fixture.having("v").await, 1, "the repeated one changes nothing");
    fixture.add("s", sparse()).await.unwrap();
    fixture.add("s", sparse()).await.unwrap();
    let clash = async |name: &str, vector| match fixture.add(name, vector).await {
        Err(Error::VectorExists { name: of, clash }) if of == name => clash,
        other => panic!("{other:?}"),
    };
    assert_eq!(clash("v", dense(4)).await, VectorClash::OtherDense);
    assert_eq!(clash("v", NewVector::Dense(VectorParams::new(3, Metric::Cosine))).await, VectorClash::OtherDense);
    let multi = VectorParams { is_multi: true, ..VectorParams::new(3, Metric::Dot) };
    assert_eq!(clash("v", NewVector::Dense(multi)).await, VectorClash::OtherDense);
    assert_eq!(clash("v", sparse()).await, VectorClash::IsDense);
    assert_eq!(clash("s", dense(3)).await, VectorClash::IsSparse);
    assert_eq!(clash("s", NewVector::Sparse(SparseVectorParams::default())).await, VectorClash::OtherSparse);
    // Unknown: nothing happens, and nothing is lost.
    fixture.remove("nobody").await;
    let ack = fixture.service.delete_vector("c", "v".to_owned(), NO_WAIT).await.unwrap();
    assert_eq!(ack.status, WriteStatus::Acknowledged);
    fixture.remove("v").await;
    let missing = fixture.service.delete_vector("q", "v".to_owned(), WAIT).await;
    assert!(matches!(missing, Err(Error::CollectionNotFound { .. })), "{missing:?}");
    let missing = fixture.service.create_vector("q", "v".to_owned(), dense(2), WAIT).await;
    assert!(matches!(missing, Err(Error::CollectionNotFound { .. })), "{missing:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_a_name_may_come_back_as_a_vector_of_another_kind() {
    let fixture = Fixture::with(2, 2, Metric::Dot).await;
    let kinds = [
        (dense(3), ones(3)),
        (sparse(), Vector::Sparse(SparseVector::new(vec![(7, 1.0)]).unwrap())),
        (
            NewVector::Dense(VectorParams { is_multi: true, ..VectorParams::new(2, Metric::Dot) }),
            Vector::Multi(MultiVector::new(2, vec![1.0; 4]).unwrap()),
        ),
        (dense(3), ones(3)),
    ];
    for (count, (kind, vector)) in kinds.into_iter().enumerate() {
        fixture.add("v", kind).await.unwrap();
        assert_eq!(fixture.having("v").await, 0, "kind {count}");
        let id = count as u64;
        fixture.upsert(vec![point(id, &[("", ones(2)), ("v", vector.clone())])]).await;
        assert_eq!((fixture.having("v").await, fixture.found("v", vector.clone()).await.unwrap()), (1, 1));
        let reopened = fixture.crashed().await;
        assert_eq!((reopened.having("v").await, reopened.found("v", vector).await.unwrap()), (1, 1), "kind {count}");
        fixture.remove("v").await;
    }
    fixture.validate().await;
}

/// The `meta` group's entry is there, and nothing that follows from it.
#[tokio::test(flavor = "multi_thread")]
async fn s18_a_drop_that_a_crash_cut_off_is_completed_at_the_next_start() {
    let fixture = Fixture::with(2, 2, Metric::Dot).await;
    fixture.add("v", dense(3)).await.unwrap();
    fixture.upsert((0..50).map(|id| point(id, &[("", ones(2)), ("v", ones(3))])).collect()).await;
    let command = MetaCommand::DropVector { collection: "c".to_owned(), name: "v".to_owned() };
    fixture.service.change_meta(&command).await.unwrap();
    let create = MetaCommand::CreateVector { collection: "c".to_owned(), name: "v".to_owned(), vector: dense(3) };
    for is_added_again in [false, true] {
        if is_added_again {
            fixture.service.change_meta(&create).await.unwrap();
        }
        let crashed = fixture.crashed().await;
        assert_eq!(crashed.having("v").await, 0);
        let unnamed: NamedVectors = [(String::new(), ones(2))].into();
        assert!(crashed.all().await.into_iter().eq((0..50).map(|id| (id, unnamed.clone()))));
        // A delete without a vector of the name waits for what is left of earlier ones.
        crashed.remove("nobody").await;
        assert!(crashed.is_swept().await);
        if is_added_again {
            assert_eq!(crashed.found("v", ones(3)).await.unwrap(), 0);
            crashed.upsert(vec![point(1, &[("v", ones(3))])]).await;
            let crashed = crashed.reopen().await;
            assert_eq!((crashed.having("v").await, crashed.found("v", ones(3)).await.unwrap()), (1, 1));
            crashed.validate().await;
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s18_one_bare_vector_becomes_a_map_when_another_is_added() {
    let fixture = Fixture::with(1, 2, Metric::Dot).await;
    let command = crate::cluster::MetaCommand::DeleteCollection { name: "c".to_owned(), created_index: None };
    fixture.service.change_meta(&command).await.unwrap();
    let by_name = [(String::new(), VectorParams::new(2, Metric::Dot))].into();
    let vectors = crate::model::VectorsConfig { is_single: true, by_name };
    let name = crate::model::CollectionName::new("c").unwrap();
    let config = crate::model::CollectionConfig::new(vectors);
    fixture.service.create_collection(name, config, None).await.unwrap();
    let is_single = async || fixture.service.collection_report("c").await.unwrap().config.vectors.is_single;
    let only = fixture.service.delete_vector("c", String::new(), WAIT).await;
    assert!(matches!(only, Err(Error::VectorIsOnlyOne)), "{only:?}");
    fixture.add("s", sparse()).await.unwrap();
    assert!(is_single().await, "sparse vectors stand elsewhere");
    fixture.upsert(vec![point(1, &[("", ones(2))])]).await;
    fixture.add("v", dense(3)).await.unwrap();
    assert!(!is_single().await);
    assert_eq!(fixture.found("", ones(2)).await.unwrap(), 1);
    fixture.remove("").await;
    let config = fixture.service.collection_report("c").await.unwrap().config;
    assert_eq!(config.vectors.by_name.keys().collect::<Vec<_>>(), ["v"]);
    assert_eq!(fixture.all().await, [(1, NamedVectors::new())]);
}

/// Writers that never stop, while the vector they write is dropped and added again with another size.
#[tokio::test(flavor = "multi_thread")]
async fn s18_writes_under_way_never_put_an_old_vector_into_a_new_one() {
    const IDS: u64 = 64;
    let fixture = Arc::new(Fixture::with(2, 2, Metric::Dot).await);
    let (stop, written) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let writers: Vec<_> = (0..4_u64)
        .map(|writer| {
            let (fixture, stop, written) = (Arc::clone(&fixture), Arc::clone(&stop), Arc::clone(&written));
            tokio::spawn(async move {
                let mut turn = writer;
                while !stop.load(Ordering::Relaxed) {
                    turn += 1;
                    let dim = 3 + (turn % 3) as usize;
                    let points = (0..8).map(|step| point((turn * 8 + step) % IDS, &[("", ones(2)), ("v", ones(dim))]));
                    let op = upsert(points.collect());
                    match fixture.service.write("c", op, WAIT).await {
                        Ok(_) => drop(written.fetch_add(1, Ordering::Relaxed)),
                        // Whoever comes at the wrong time is told so.
                        Err(Error::WrongDim { .. } | Error::VectorNameUnknown { .. }) => tokio::task::yield_now().await,
                        Err(other) => panic!("{other:?}"),
                    }
                }
            })
        })
        .collect();
    for round in 0..24_u64 {
        let dim = 3 + round % 3;
        fixture.add("v", dense(dim)).await.unwrap();
        let before = written.load(Ordering::Relaxed);
        while written.load(Ordering::Relaxed) < before + 3 {
            tokio::task::yield_now().await;
        }
        // Whatever is there now is of this size.
        for (id, vectors) in fixture.all().await {
            let of = vectors.get("v").map(|vector| vector.as_dense().map_or(0, <[f32]>::len));
            assert!(of.is_none_or(|of| of as u64 == dim), "point {id} of round {round}: {of:?}");
        }
        if round < 23 {
            let options = if round % 2 == 0 { WAIT } else { NO_WAIT };
            fixture.service.delete_vector("c", "v".to_owned(), options).await.unwrap();
        }
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.unwrap();
    }
    let dim = 3 + 23 % 3;
    fixture.validate().await;
    let want = fixture.all().await;
    let having = want.iter().filter(|(_, vectors)| vectors.contains_key("v")).count();
    assert!(having > 0);
    assert_eq!((fixture.having("v").await, fixture.found("v", ones(dim)).await.unwrap()), (having as u64, having));
    let crashed = fixture.crashed().await;
    assert_eq!(crashed.all().await, want);
    crashed.validate().await;
    crashed.remove("nobody").await;
    assert!(crashed.is_swept().await);
    let crashed = crashed.reopen().await;
    assert_eq!(crashed.all().await, want);
}

/// A snapshot's points belong to the vectors its collection had.
#[tokio::test(flavor = "multi_thread")]
async fn s19_a_snapshot_of_a_collection_whose_vector_was_replaced() {
    let fixture = Fixture::with(2, 2, Metric::Dot).await;
    fixture.add("v", dense(3)).await.unwrap();
    fixture.upsert((0..20).map(|id| point(id, &[("", ones(2)), ("v", ones(3))])).collect()).await;
    fixture.remove("v").await;
    fixture.add("v", dense(4)).await.unwrap();
    fixture.upsert((0..10).map(|id| point(id, &[("v", ones(4))])).collect()).await;
    let want = fixture.all().await;
    let snapshot = fixture.service.create_snapshot(&SnapshotsOf::Collection("c".to_owned())).await.unwrap();
    let shards = fixture.service.collection("c").unwrap().shards.len() as u64;
    let mut of_shards = Vec::new();
    for number in 0..shards {
        of_shards.push(fixture.service.create_snapshot(&SnapshotsOf::Shard("c".to_owned(), number)).await.unwrap());
    }
    fixture.remove("v").await;
    let name = crate::model::CollectionName::new("c").unwrap();
    let source = fixture.kept(&format!("c/{}", snapshot.name));
    fixture.service.recover_collection(name, source, None).await.unwrap();
    assert_eq!(fixture.all().await, want);
    // The collection drops a vector more than those the shards' snapshots were made of: they have the name alone.
    fixture.remove("v").await;
    fixture.add("v", dense(4)).await.unwrap();
    assert_eq!(fixture.having("v").await, 0);
    for (number, snapshot) in (0..shards).zip(&of_shards) {
        let source = fixture.kept(&format!("c/shards/{number}/{}", snapshot.name));
        fixture.service.recover_shard("c", number, source, None).await.unwrap();
    }
    assert_eq!(fixture.all().await, want);
    fixture.upsert(vec![point(15, &[("v", ones(4))])]).await;
    assert_eq!((fixture.having("v").await, fixture.found("v", ones(4)).await.unwrap()), (11, 11));
    fixture.remove("v").await;
    assert_eq!(fixture.having("v").await, 0);
    fixture.validate().await;
}
