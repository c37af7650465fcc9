//! Snapshots made, damaged, forged, sent about and recovered (PROTOCOL section 19, RELIABILITY section 5).

use std::collections::BTreeSet;
use std::io::Read;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use futures::StreamExt;
use serde_json::json;

use super::format::{Item, Reader};
use super::*;
use crate::model::collection::{
    AliasAction, CollectionConfig, CollectionName, ShardKey, ShardKeySelector, ShardingMethod,
};
use crate::model::query::ScrollRequest;
use crate::model::{Metric, NamedVectors, Payload, Point, PointOp, Vector, VectorSelector};
use crate::service::tests::{
    Fixture, READ, WAIT, by_ids, config, first, name_of, near, num, payload, point, scroll_all, settings, shown, upsert,
};
use crate::service::{NewShardKey, Scope, ServiceSettings};
use crate::shard::decode_plain_upsert;

fn of(collection: &str) -> SnapshotsOf {
    SnapshotsOf::Collection(collection.to_owned())
}

fn shard_of(collection: &str, number: u64) -> SnapshotsOf {
    SnapshotsOf::Shard(collection.to_owned(), number)
}

impl Fixture {
    /// Makes a snapshot and answers where its file is.
    async fn snapshot(&self, of: &SnapshotsOf) -> PathBuf {
        let made = self.service.create_snapshot(of).await.unwrap();
        let listed = self.service.snapshots(of).await.unwrap();
        assert!(listed.contains(&made), "{made:?} is not among {listed:?}");
        let root = self.folder.path().join("snapshots");
        let path = match of {
            SnapshotsOf::Node => root.join(&made.name),
            SnapshotsOf::Collection(name) => root.join(name).join(&made.name),
            SnapshotsOf::Shard(name, number) => root.join(format!("{name}/shards/{number}")).join(&made.name),
        };
        assert_eq!(std::fs::metadata(&path).unwrap().len(), made.size);
        path
    }

    fn source(&self, path: &Path) -> SnapshotSource {
        self.service.locate_snapshot(&format!("file://{}", path.display()), None).unwrap()
    }

    async fn recover(&self, name: &str, path: &Path) -> Result<(), Error> {
        self.service.recover_collection(name_of(name), self.source(path), None).await
    }

    async fn recover_shard(&self, name: &str, number: u64, path: &Path) -> Result<(), Error> {
        self.service.recover_shard(name, number, self.source(path), None).await
    }

    async fn count(&self, collection: &str) -> u64 {
        self.service.count(collection, None, READ).await.unwrap()
    }

    /// Unfinished files.
    fn parts(&self) -> Vec<PathBuf> {
        fn below(folder: &Path, found: &mut Vec<PathBuf>) {
            for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
                if entry.path().is_dir() { below(&entry.path(), found) } else { found.push(entry.path()) }
            }
        }
        let mut found = Vec::new();
        below(&self.folder.path().join("snapshots/tmp"), &mut found);
        found
    }

    async fn send(&self, bytes: &[u8]) -> SnapshotSource {
        let mut receiving = self.service.receive_snapshot().unwrap();
        for chunk in bytes.chunks(1000) {
            receiving.write(chunk.to_vec()).await.unwrap();
        }
        receiving.into()
    }
}

fn points(ids: std::ops::Range<u64>) -> Vec<Point> {
    ids.map(|id| point(id, &[id as f32, 1.0])).collect()
}

/// The shards of a file, each with its place in its collection and its points.
fn shards_in(path: &Path) -> Vec<(usize, Vec<Point>)> {
    let mut reader = Reader::new(std::fs::File::open(path).unwrap()).unwrap();
    let mut shards: Vec<(usize, Vec<Point>)> = Vec::new();
    while let Some(item) = reader.next().unwrap() {
        match item {
            Item::Collection(_) => {}
            Item::Shard(place) => shards.push((place, Vec::new())),
            Item::Points(command) => shards.last_mut().unwrap().1.extend(decode_plain_upsert(&command).unwrap()),
        }
    }
    shards
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_a_recovered_collection_is_what_the_snapshot_held() {
    for shard_number in [1, 3] {
        let fixture = Fixture::with(shard_number, 2, Metric::Dot).await;
        fixture.upsert(points(0..300)).await;
        let want = shown(&fixture.query(first(10, near(&[1.0, 0.0]))).await);
        let path = fixture.snapshot(&of("c")).await;
        // Later writes are not in it, and are gone with the recovery.
        fixture.service.write("c", PointOp::Delete { select: by_ids(&[299, 5]) }, WAIT).await.unwrap();
        fixture.upsert(vec![point(1_000, &[1e6, 0.0])]).await;
        let alias = AliasAction::Create { alias: "x".into(), collection: "c".into() };
        fixture.service.update_aliases(vec![alias], None).await.unwrap();
        fixture.recover("c", &path).await.unwrap();
        assert_eq!(shown(&fixture.query(first(10, near(&[1.0, 0.0]))).await), want);
        assert_eq!(fixture.count("x").await, 300, "the alias leads to the new content");
        assert_eq!(fixture.service.collections(), ["c"]);
        // Into a collection that is not there yet, and by an alias.
        fixture.recover("new", &path).await.unwrap();
        fixture.recover("x", &path).await.unwrap();
        assert_eq!(fixture.service.collections(), ["c", "new"]);
        assert_eq!(fixture.count("new").await, 300);
        let records = fixture.records(&[7]).await;
        assert_eq!(records[0].payload, Some(payload(json!({"n": 7}))));
        assert_eq!(fixture.parts(), Vec::<PathBuf>::new());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_a_recovered_collection_has_the_settings_of_the_snapshot() {
    use crate::model::collection::{Datatype, SparseVectorParams, StrictModeConfig};
    use crate::model::field_index::{FieldIndexKind, FieldIndexSchema, KeywordParams, PlacementParams};
    use crate::model::{MultiVector, SparseVector};
    let fixture = Fixture::new().await;
    let mut wanted = config(2, &[("d", 2, Metric::Cosine), ("h", 2, Metric::Dot), ("m", 2, Metric::Dot)]);
    wanted.vectors.by_name.get_mut("h").unwrap().datatype = Some(Datatype::Float16);
    wanted.vectors.by_name.get_mut("m").unwrap().is_multi = true;
    wanted.sparse_vectors = Some([("s".to_owned(), SparseVectorParams::default())].into());
    wanted.metadata = Some(payload(json!({"owner": {"id": u64::MAX}, "x": [1.5, null]})));
    wanted.strict_mode = Some(StrictModeConfig { max_query_limit: Some(7), ..StrictModeConfig::default() });
    fixture.create("c", wanted).await;
    let keyword = FieldIndexKind::Keyword(KeywordParams { prefix: Some(true) });
    let schema = FieldIndexSchema { kind: keyword, is_object: true, placement: PlacementParams::default() };
    fixture.service.create_field_index("c", r#"a."b.c"[].d"#.parse().unwrap(), schema, WAIT).await.unwrap();
    let vectors = NamedVectors::from([
        ("d".to_owned(), Vector::Dense(vec![3.0, 4.0])),
        ("h".to_owned(), Vector::Dense(vec![0.1, -7.0])),
        ("m".to_owned(), Vector::Multi(MultiVector::new(2, vec![1.0, 2.0, 3.0, 4.0]).unwrap())),
        ("s".to_owned(), Vector::Sparse(SparseVector::new(vec![(7, 0.5), (u32::MAX, 2.0)]).unwrap())),
    ]);
    let point = |id| Point { id: PointId::Num(id), vectors: vectors.clone(), payload: Payload::default() };
    fixture.upsert((0..20).map(point).collect()).await;
    let before = (fixture.service.collection("c").unwrap(), fixture.records(&[3, 4]).await);
    let path = fixture.snapshot(&of("c")).await;
    fixture.recover("c", &path).await.unwrap();
    let after = (fixture.service.collection("c").unwrap(), fixture.records(&[3, 4]).await);
    assert_eq!(after.0.config, before.0.config);
    assert_eq!(after.1, before.1);
    assert!(after.0.created_index > before.0.created_index);
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_a_damaged_snapshot_changes_nothing() {
    let fixture = Fixture::with(2, 2, Metric::Dot).await;
    fixture.upsert(points(0..200)).await;
    for of in [of("c"), shard_of("c", 1), SnapshotsOf::Node] {
        let path = fixture.snapshot(&of).await;
        let whole = std::fs::read(&path).unwrap();
        let recover = async |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            match of {
                SnapshotsOf::Collection(_) => fixture.recover("c", &path).await,
                SnapshotsOf::Shard(..) => fixture.recover_shard("c", 1, &path).await,
                SnapshotsOf::Node => {
                    let recovery = StartupRecovery { node: Some(path.clone()), replaces: true, ..Default::default() };
                    fixture.service.recover_at_start(&recovery).await
                }
            }
        };
        let is_damage = |outcome| matches!(outcome, Err(Error::SnapshotDamaged { .. }));
        for cut in (0..40).chain([whole.len() / 3, whole.len() / 2, whole.len() - 9, whole.len() - 1]) {
            assert!(is_damage(recover(&whole[..cut]).await), "{of:?} cut at {cut}");
        }
        for at in (0..30).chain([whole.len() / 3, whole.len() / 2, whole.len() - 18, whole.len() - 1]) {
            let mut flipped = whole.clone();
            flipped[at] ^= 0x40;
            assert!(is_damage(recover(&flipped).await), "{of:?} with a bit flipped at {at}");
        }
        assert!(is_damage(recover(&[&whole[..], b"more"].concat()).await), "bytes after the end");
        assert!(is_damage(recover(&[&whole[..], &whole[..]].concat()).await), "twice");
        let mut newer = whole.clone();
        newer[7] += 1;
        let Err(Error::SnapshotDamaged { why }) = recover(&newer).await else { panic!("a newer format was read") };
        assert_eq!(why, "the snapshot has format 3; this version reads format 2");
        // A length of almost 4 GiB is not believed, and not allocated.
        let mut long = whole.clone();
        long[9..13].copy_from_slice(&u32::MAX.to_le_bytes());
        assert!(is_damage(recover(&long).await));
        assert_eq!(fixture.service.collections(), ["c"]);
        assert_eq!(fixture.count("c").await, 200);
        recover(&whole).await.unwrap();
        assert_eq!(fixture.count("c").await, 200);
    }
    let path = fixture.snapshot(&of("c")).await;
    let wrong = Some("00".repeat(32));
    let outcome = fixture.service.recover_collection(name_of("c"), fixture.source(&path), wrong).await;
    assert!(matches!(outcome, Err(Error::ChecksumMismatch { .. })));
    let name = path.file_name().unwrap().to_str().unwrap();
    let listed = fixture.service.snapshots(&of("c")).await.unwrap();
    let made = listed.into_iter().find(|one| one.name == name).unwrap();
    let checksum = made.checksum.map(|text| text.to_uppercase());
    fixture.service.recover_collection(name_of("c"), fixture.source(&path), checksum).await.unwrap();
}

/// A snapshot of blocks that no writer wrote, each with its right length and checksum.
fn forged(blocks: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut bytes = b"QVRSNAP\x02".to_vec();
    for (kind, content) in blocks {
        let mut crc = crc32fast::Hasher::new();
        crc.update(&[*kind]);
        crc.update(content);
        bytes.push(*kind);
        bytes.extend((content.len() as u32).to_le_bytes());
        bytes.extend(crc.finalize().to_le_bytes());
        bytes.extend(content);
    }
    bytes
}

/// The blocks of a snapshot.
fn blocks_of(path: &Path) -> Vec<(u8, Vec<u8>)> {
    let bytes = std::fs::read(path).unwrap();
    let mut rest = &bytes[8..];
    let mut blocks = Vec::new();
    while let Some((kind, after)) = rest.split_first() {
        let length = u32::from_le_bytes(after[..4].try_into().unwrap()) as usize;
        blocks.push((*kind, after[8..8 + length].to_vec()));
        rest = &after[8 + length..];
    }
    blocks
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_a_forged_snapshot_changes_nothing() {
    let fixture = Fixture::with(2, 2, Metric::Dot).await;
    fixture.upsert(points(0..10)).await;
    let path = fixture.snapshot(&of("c")).await;
    let blocks = blocks_of(&path);
    let kinds: Vec<u8> = blocks.iter().map(|(kind, _)| *kind).collect();
    assert_eq!(kinds, [1, 4, 5, 2, 5, 2, 3]);
    let header: serde_json::Value = serde_json::from_slice(&blocks[1].1).unwrap();
    let check = async |what: &str, blocks: &[(u8, Vec<u8>)], why: &str| {
        std::fs::write(&path, forged(blocks)).unwrap();
        match fixture.recover("c", &path).await {
            Err(Error::SnapshotDamaged { why: got }) => assert!(got.contains(why), "{what}: {got}"),
            other => panic!("{what}: {other:?}"),
        }
    };
    let with = |at: usize, kind: u8, content: Vec<u8>| {
        let mut changed = blocks.clone();
        changed[at] = (kind, content);
        changed
    };
    let without = |at: usize| {
        let mut changed = blocks.clone();
        changed.remove(at);
        changed
    };
    let twice = |at: usize| {
        let mut changed = blocks.clone();
        changed.insert(at, blocks[at].clone());
        changed
    };
    check("no contents", &without(0), "what it holds").await;
    check("unknown contents", &with(0, 1, b"\"universe\"".to_vec()), "what it holds").await;
    check("no collection", &without(1), "a shard where none can be").await;
    check("two collections", &twice(1), "shards are missing").await;
    check("no shard", &without(2), "points of no shard").await;
    check("a shard twice", &twice(2), "a shard where none can be").await;
    check("points missing", &without(3), "points are missing").await;
    check("the second shard missing", &[&blocks[..4], &blocks[6..]].concat(), "shards are missing").await;
    check("points twice", &twice(5), "points are missing").await;
    check("points of the other shard", &with(3, 2, blocks[5].1.clone()), "of another shard").await;
    check(
        "a delete",
        &with(3, 2, crate::shard::encode_command(&PointOp::Delete { select: by_ids(&[1]) })),
        "no points",
    )
    .await;
    check("no end", &without(6), "ends too early").await;
    check("something unknown", &with(3, 9, Vec::new()), "unknown kind").await;
    check("nothing", &[], "ends too early").await;
    type Edit<'a> = &'a dyn Fn(&mut serde_json::Value);
    let edits: [(&str, Edit<'_>, &str); 12] = [
        ("no shards", &|it| it["config"]["shard_number"] = json!(0), "out of range"),
        ("many shards", &|it| it["config"]["shard_number"] = json!(4_000_000_000_u32), "out of range"),
        ("shards unlike their number", &|it| it["config"]["shard_number"] = json!(3), "not all there"),
        ("ranges out of order", &|it| it["shards"][0]["range"] = json!(1), "not in order"),
        ("too few ranges", &|it| it["shards"][0]["range_count"] = json!(3), "not in order"),
        (
            "a range count of 0",
            &|it| it["shards"] = json!([{"key": null, "range": 0, "range_count": 0}]),
            "not all there",
        ),
        ("keys of none", &|it| it["shards"][0]["key"] = json!({"Number": 1}), "not in order"),
        ("no dimension", &|it| it["config"]["vectors"]["by_name"][""]["dim"] = json!(0), "out of range"),
        ("a vast dimension", &|it| it["config"]["vectors"]["by_name"][""]["dim"] = json!(1_u64 << 59), "out of range"),
        ("a vast graph", &|it| it["config"]["hnsw"]["m"] = json!(1_u64 << 40), "out of range"),
        ("no name", &|it| it["name"] = json!("a/../b"), "name"),
        ("a field that is none", &|it| it["field_indexes"] = json!({"a[": {}}), "not readable"),
    ];
    for (what, edit, why) in edits {
        let mut changed = header.clone();
        edit(&mut changed);
        check(what, &with(1, 4, serde_json::to_vec(&changed).unwrap()), why).await;
    }
    // Vectors that do not fit: of another length, of no name, not finite, rows where one vector is.
    let id = shards_in(&fixture.snapshot(&of("c")).await)[0].1[0].id;
    let odd = |name: &str, vector: Vector| {
        let point = Point { id, vectors: [(name.to_owned(), vector)].into(), payload: Payload::default() };
        crate::shard::encode_command(&upsert(vec![point]))
    };
    let sound = odd("", Vector::Dense(vec![1.0, 2.0]));
    let rows = |dim: u8, count: u8| {
        // An unsound matrix cannot be made here, only written: its kind, its row length, its numbers.
        let mut bytes = odd("", Vector::Multi(crate::model::MultiVector::new(1, vec![0.5]).unwrap()));
        let at = bytes.windows(6).position(|found| found == [2, 1, 1, 0, 0, 0]).unwrap();
        bytes.splice(at + 1..at + 3, [dim, count]);
        bytes
    };
    for (what, command) in [
        ("too long", odd("", Vector::Dense(vec![1.0; 3]))),
        ("too short", odd("", Vector::Dense(vec![1.0]))),
        ("no such name", odd("x", Vector::Dense(vec![1.0, 2.0]))),
        ("not finite", odd("", Vector::Dense(vec![1.0, f32::NAN]))),
        ("sparse", odd("", Vector::Sparse(Default::default()))),
        ("rows", odd("", Vector::Multi(crate::model::MultiVector::new(2, vec![1.0; 4]).unwrap()))),
    ] {
        check(what, &with(3, 2, command), "do not fit its collection").await;
    }
    check("rows of nothing", &with(3, 2, rows(0, 1)), "no points").await;
    let points_of_second = decode_plain_upsert(&blocks[5].1).unwrap().len() as u64;
    let mut right = with(3, 2, sound);
    right[6].1 = (points_of_second + 1).to_le_bytes().to_vec();
    assert_eq!(fixture.count("c").await, 10, "nothing was changed so far");
    std::fs::write(&path, forged(&right)).unwrap();
    fixture.recover("c", &path).await.unwrap();
    assert_eq!(fixture.count("c").await, points_of_second + 1, "the forger knows the format");
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_names_lead_nowhere_but_into_the_folder() {
    let fixture = Fixture::with(1, 1, Metric::Dot).await;
    let path = fixture.snapshot(&of("c")).await;
    let full = fixture.snapshot(&SnapshotsOf::Node).await;
    let (service, name) = (&fixture.service, path.file_name().unwrap().to_str().unwrap());
    let secret = fixture.folder.path().join("secret.snapshot");
    std::fs::write(&secret, "secret").unwrap();
    let names = [
        "../c/".to_owned() + name,
        "../secret.snapshot".into(),
        "../../secret.snapshot".into(),
        secret.display().to_string(),
        "..".into(),
        ".snapshot".into(),
        String::new(),
        "x.snapshot".into(),
        "x\0.snapshot".into(),
        "\u{202e}.snapshot\n.snapshot".into(),
        "x".repeat(300) + ".snapshot",
        format!("{name}.checksum"),
        format!("c%2f{name}"),
        format!("c\\{name}"),
    ];
    for odd in &names {
        for of in [of("c"), shard_of("c", 0), SnapshotsOf::Node] {
            assert!(service.open_snapshot(&of, odd).await.unwrap().is_none(), "{of:?} {odd}");
            assert!(!service.delete_snapshot(&of, odd).await.unwrap(), "{of:?} {odd}");
        }
    }
    let link = path.with_file_name("link.snapshot");
    std::os::unix::fs::symlink(&secret, &link).unwrap();
    assert!(service.open_snapshot(&of("c"), "link.snapshot").await.unwrap().is_none());
    assert!(service.snapshots(&of("c")).await.unwrap().iter().all(|one| one.name != "link.snapshot"));
    let locations = [
        "file:///etc/hostname".to_owned(),
        "/etc/passwd".into(),
        "nowhere".into(),
        "file://".into(),
        "s3://bucket/key.snapshot".into(),
        "ftp://host/x.snapshot".into(),
        secret.display().to_string(),
        link.display().to_string(),
        format!("{}/../../secret.snapshot", path.parent().unwrap().display()),
        format!("file://{}", path.parent().unwrap().display()),
    ];
    for outside in &locations {
        let found = service.locate_snapshot(outside, None);
        assert!(matches!(found, Err(Error::SnapshotLocation { .. })), "{outside}: {found:?}");
    }
    assert!(secret.exists() && full.exists() && path.exists());
    assert!(service.delete_snapshot(&of("c"), name).await.unwrap());
    assert!(service.snapshots(&of("c")).await.unwrap().is_empty());
    assert!(!path.with_extension("snapshot.checksum").exists());
    assert!(matches!(service.create_snapshot(&of("nowhere")).await, Err(Error::CollectionNotFound { .. })));
    assert!(matches!(service.snapshots(&shard_of("c", 1)).await, Err(Error::ShardNotFound { number: 1 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_every_collection_has_a_folder_of_its_own() {
    let fixture = Fixture::new().await;
    let long = "ü".repeat(255);
    let names = ["..", ".", "tmp", "~x", "x", "x.snapshot", "shards", long.as_str(), "a#b%c {d}"];
    for (at, name) in names.iter().enumerate() {
        fixture.create(name, config(1, &[("", 1, Metric::Dot)])).await;
        let points = (0..=at as u64).map(|id| point(id, &[1.0])).collect();
        fixture.service.write(*name, upsert(points), WAIT).await.unwrap();
        fixture.service.create_snapshot(&of(name)).await.unwrap();
        fixture.service.create_snapshot(&shard_of(name, 0)).await.unwrap();
    }
    fixture.service.create_snapshot(&SnapshotsOf::Node).await.unwrap();
    assert_eq!(fixture.service.snapshots(&SnapshotsOf::Node).await.unwrap().len(), 1);
    for (at, name) in names.iter().enumerate() {
        for of in [of(name), shard_of(name, 0)] {
            let listed = fixture.service.snapshots(&of).await.unwrap();
            let [one] = listed.as_slice() else { panic!("{name}: {listed:?}") };
            let body = fixture.service.open_snapshot(&of, &one.name).await.unwrap().unwrap();
            let bytes: Vec<u8> = body.chunks.map(Result::unwrap).concat().await;
            let source = fixture.send(&bytes).await;
            let recovered = match of {
                SnapshotsOf::Shard(..) => fixture.service.recover_shard(name, 0, source, one.checksum.clone()).await,
                _ => fixture.service.recover_collection(name_of(name), source, one.checksum.clone()).await,
            };
            recovered.unwrap();
            assert_eq!(fixture.count(name).await, at as u64 + 1, "{name}");
        }
    }
    let outside: Vec<_> =
        std::fs::read_dir(fixture.folder.path()).unwrap().map(|one| one.unwrap().file_name()).collect();
    assert!(!outside.iter().any(|name| name.to_string_lossy().contains("snapshot.")), "{outside:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_a_snapshot_under_writes_holds_one_moment_of_each_shard() {
    let fixture = Fixture::with(2, 1, Metric::Dot).await;
    fixture.upsert((0..500).map(|id| point(id, &[0.0])).collect()).await;
    // Each write gives all points the same number: a snapshot of one moment holds one number per shard.
    let service = fixture.service.clone();
    let writer = tokio::spawn(async move {
        for round in 1..60_u32 {
            let points = (0..500).map(|id| point(id, &[round as f32])).collect();
            service.write("c", upsert(points), WAIT).await.unwrap();
        }
    });
    let mut paths = Vec::new();
    while !writer.is_finished() {
        for of in [of("c"), shard_of("c", 0), SnapshotsOf::Node] {
            paths.push(fixture.snapshot(&of).await);
        }
    }
    writer.await.unwrap();
    let mut seen = BTreeSet::new();
    for path in &paths {
        let shards = shards_in(path);
        for (place, points) in &shards {
            let vectors = &points[0].vectors;
            assert!(points.iter().all(|point| point.vectors == *vectors), "shard {place} of {}", path.display());
            seen.insert(format!("{vectors:?}"));
        }
        let points: usize = shards.iter().map(|(_, points)| points.len()).sum();
        assert!(points == 500 || (shards.len() == 1 && points > 200), "{points} points");
    }
    assert!(seen.len() > 1, "the snapshots were made while nothing was written");
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_a_recovered_shard_leaves_the_others_alone() {
    let mut fixture = Fixture::with(3, 2, Metric::Dot).await;
    fixture.upsert(points(0..300)).await;
    let before = fixture.service.collection("c").unwrap();
    let path = fixture.snapshot(&shard_of("c", 1)).await;
    let held: BTreeSet<u64> = shards_in(&path)[0].1.iter().map(|point| num(point.id)).collect();
    assert!(held.len() > 50 && held.len() < 150, "{}", held.len());
    // All points are changed; those of the shard become what they were.
    let changed: Vec<Point> = (0..310).map(|id| point(id, &[-1.0, id as f32])).collect();
    fixture.upsert(changed).await;
    let alias = AliasAction::Create { alias: "x".into(), collection: "c".into() };
    fixture.service.update_aliases(vec![alias], None).await.unwrap();
    fixture.recover_shard("x", 1, &path).await.unwrap();
    for _ in 0..2 {
        let scroll = ScrollRequest { with_vectors: VectorSelector::All, ..scroll_all() };
        let page = fixture.service.scroll("c", scroll, READ).await.unwrap();
        for record in &page.points {
            let id = num(record.id);
            let want = if held.contains(&id) { vec![id as f32, 1.0] } else { vec![-1.0, id as f32] };
            assert_eq!(record.vectors.as_ref().unwrap()[""], Vector::Dense(want), "point {id}");
        }
        let ids: BTreeSet<u64> = page.points.iter().map(|record| num(record.id)).collect();
        assert!((0..300).all(|id| ids.contains(&id)));
        let after = fixture.service.collection("c").unwrap();
        assert_eq!(after.created_index, before.created_index, "it is the same collection");
        let numbers: Vec<u64> = after.shards.iter().map(|shard| after.shard_number(*shard)).collect();
        assert_eq!(numbers, [0, 1, 2]);
        assert_ne!(after.shards[1], before.shards[1]);
        assert_eq!((after.shards[0], after.shards[2]), (before.shards[0], before.shards[2]));
        assert_eq!(fixture.service.collections(), ["c"]);
        fixture = fixture.reopen().await;
    }
    // It is written to and snapshotted as before, under its number.
    fixture.upsert(points(0..310)).await;
    let again = fixture.snapshot(&shard_of("c", 1)).await;
    fixture.recover_shard("c", 1, &again).await.unwrap();
    assert_eq!(fixture.count("c").await, 310);
    let whole = fixture.snapshot(&of("c")).await;
    fixture.recover("copy", &whole).await.unwrap();
    assert_eq!(fixture.count("copy").await, 310);
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_what_is_of_another_place_is_refused() {
    let fixture = Fixture::with(2, 2, Metric::Dot).await;
    fixture.create("same", config(2, &[("", 2, Metric::Dot)])).await;
    fixture.create("wide", config(2, &[("", 3, Metric::Dot)])).await;
    fixture.create("cosine", config(2, &[("", 2, Metric::Cosine)])).await;
    fixture.create("named", config(2, &[("a", 2, Metric::Dot)])).await;
    fixture.create("three", config(3, &[("", 2, Metric::Dot)])).await;
    fixture.upsert(points(0..100)).await;
    let (whole, full) = (fixture.snapshot(&of("c")).await, fixture.snapshot(&SnapshotsOf::Node).await);
    let shard = fixture.snapshot(&shard_of("c", 0)).await;
    let refused = |what: &str, outcome: Result<(), Error>| match outcome {
        Err(Error::SnapshotMismatch { .. }) => {}
        other => panic!("{what}: {other:?}"),
    };
    refused("a shard as a collection", fixture.recover("c", &shard).await);
    refused("a node as a collection", fixture.recover("c", &full).await);
    refused("a collection as a shard", fixture.recover_shard("c", 0, &whole).await);
    refused("a node as a shard", fixture.recover_shard("c", 0, &full).await);
    refused("another shard", fixture.recover_shard("c", 1, &shard).await);
    for other in ["wide", "cosine", "named", "three"] {
        refused(other, fixture.recover_shard(other, 0, &shard).await);
        assert_eq!(fixture.count(other).await, 0);
    }
    let at_start = |path: &Path| StartupRecovery { node: Some(path.to_owned()), replaces: true, ..Default::default() };
    refused("a collection as a node", fixture.service.recover_at_start(&at_start(&whole)).await);
    let outcome = fixture.recover_shard("c", 2, &shard).await;
    assert!(matches!(outcome, Err(Error::ShardNotFound { number: 2 })));
    // A collection that has the same shape takes it: this is how shards move.
    fixture.recover_shard("same", 0, &shard).await.unwrap();
    assert_eq!(fixture.count("same").await, shards_in(&shard)[0].1.len() as u64);
    assert_eq!(fixture.count("c").await, 100);
    assert_eq!(fixture.service.collections().len(), 6);
}

fn key(text: &str) -> ShardKey {
    ShardKey::Keyword(text.to_owned())
}

fn keyed(collection: &str, key: ShardKey) -> Scope {
    Scope::keyed(collection, Some(ShardKeySelector::Keys(vec![key])))
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_custom_sharding_keeps_its_keys() {
    let fixture = Fixture::new().await;
    let custom =
        CollectionConfig { sharding_method: Some(ShardingMethod::Custom), ..config(1, &[("", 2, Metric::Dot)]) };
    fixture.create("c", custom).await;
    let service = &fixture.service;
    let create = async |key: ShardKey, shard_count| {
        let new = NewShardKey { key, shard_count, replication_factor: None, placement: Vec::new() };
        service.create_shard_key("c", new, None).await.unwrap();
    };
    let empty = fixture.snapshot(&of("c")).await;
    create(key("b"), None).await;
    create(ShardKey::Number(7), Some(2)).await;
    create(key("a"), Some(1)).await;
    for (at, key) in [(1, key("b")), (2, ShardKey::Number(7)), (3, key("a"))] {
        service.write(keyed("c", key), upsert(points(0..at * 100)), WAIT).await.unwrap();
    }
    let whole = fixture.snapshot(&of("c")).await;
    fixture.recover("copy", &whole).await.unwrap();
    let (before, after) = (service.collection("c").unwrap(), service.collection("copy").unwrap());
    let places = |of: &crate::cluster::Collection| {
        let places = of.shards.iter().map(|shard| (of.shard_number(*shard), of.place(*shard).unwrap()));
        places.map(|(number, place)| (number, place.key, place.range, place.range_count)).collect::<Vec<_>>()
    };
    assert_eq!(places(&after), places(&before));
    let count =
        async |collection: &str, key: ShardKey| service.count(keyed(collection, key), None, READ).await.unwrap();
    for (at, key) in [(1, key("b")), (2, ShardKey::Number(7)), (3, key("a"))] {
        assert_eq!(count("copy", key).await, at * 100);
    }
    // One shard of one key.
    let second = fixture.snapshot(&shard_of("c", 2)).await;
    let held = shards_in(&second)[0].1.len() as u64;
    let empties = PointOp::Delete { select: by_ids(&(0..200).collect::<Vec<_>>()) };
    service.write(keyed("copy", ShardKey::Number(7)), empties, WAIT).await.unwrap();
    fixture.recover_shard("copy", 2, &second).await.unwrap();
    assert_eq!(count("copy", ShardKey::Number(7)).await, held);
    assert_eq!(places(&service.collection("copy").unwrap()), places(&before));
    for other in [0, 1, 3] {
        let outcome = fixture.recover_shard("copy", other, &second).await;
        assert!(matches!(outcome, Err(Error::SnapshotMismatch { .. })), "{other}: {outcome:?}");
    }
    fixture.recover("copy", &empty).await.unwrap();
    assert!(service.shard_keys("copy").unwrap().is_empty());
    service.delete_shard_key("c", key("b"), None).await.unwrap();
    let gaps = fixture.snapshot(&of("c")).await;
    fixture.recover("c", &gaps).await.unwrap();
    assert_eq!(service.shard_keys("c").unwrap(), [ShardKey::Number(7), key("a")]);
    assert_eq!((count("c", ShardKey::Number(7)).await, count("c", key("a")).await), (200, 300));
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_a_full_snapshot_holds_all_collections_and_aliases() {
    let fixture = Fixture::with(2, 2, Metric::Dot).await;
    fixture.upsert(points(0..150)).await;
    let custom =
        CollectionConfig { sharding_method: Some(ShardingMethod::Custom), ..config(1, &[("", 2, Metric::Dot)]) };
    fixture.create("k", custom).await;
    let new = NewShardKey { key: key("a"), shard_count: Some(2), replication_factor: None, placement: Vec::new() };
    fixture.service.create_shard_key("k", new, None).await.unwrap();
    fixture.service.write(keyed("k", key("a")), upsert(points(0..30)), WAIT).await.unwrap();
    fixture.create("empty", config(1, &[("v", 4, Metric::Cosine)])).await;
    let alias =
        |alias: &str, collection: &str| AliasAction::Create { alias: alias.into(), collection: collection.into() };
    fixture.service.update_aliases(vec![alias("x", "c"), alias("y", "k")], None).await.unwrap();
    let path = fixture.snapshot(&SnapshotsOf::Node).await;

    let other = Fixture::new().await;
    let recover = |replaces| StartupRecovery { node: Some(path.clone()), collections: Vec::new(), replaces };
    other.service.recover_at_start(&recover(false)).await.unwrap();
    let check = async |other: &Fixture| {
        assert_eq!(other.service.collections(), ["c", "empty", "k"]);
        assert_eq!(other.service.aliases(), fixture.service.aliases());
        assert_eq!((other.count("x").await, other.count("y").await, other.count("empty").await), (150, 30, 0));
        for name in ["c", "k", "empty"] {
            let (ours, theirs) = (fixture.service.collection(name).unwrap(), other.service.collection(name).unwrap());
            assert_eq!(ours.config, theirs.config);
        }
    };
    check(&other).await;
    let other = other.reopen().await;
    check(&other).await;
    // What is there is not replaced by mistake: not even in part.
    other.service.delete_collection("c", None).await.unwrap();
    let outcome = other.service.recover_at_start(&recover(false)).await;
    assert!(matches!(outcome, Err(Error::CollectionExists { .. })), "{outcome:?}");
    assert_eq!(other.service.collections(), ["empty", "k"]);
    other.service.recover_at_start(&recover(true)).await.unwrap();
    check(&other).await;
    // Collections by their names.
    let single = fixture.snapshot(&of("c")).await;
    let recover = |name: &str, replaces| StartupRecovery {
        node: None,
        collections: vec![(single.clone(), name_of(name))],
        replaces,
    };
    other.service.recover_at_start(&recover("new", false)).await.unwrap();
    assert_eq!(other.count("new").await, 150);
    let outcome = other.service.recover_at_start(&recover("new", false)).await;
    assert!(matches!(outcome, Err(Error::CollectionExists { .. })));
    let outcome = other.service.recover_at_start(&recover("x", true)).await;
    assert!(matches!(outcome, Err(Error::NameTaken { .. })), "an alias is no collection to be replaced");
    other.service.recover_at_start(&recover("new", true)).await.unwrap();
    assert_eq!(other.service.collections().len(), 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_a_streamed_shard_is_a_snapshot_and_lies_nowhere() {
    let fixture = Fixture::with(2, 2, Metric::Dot).await;
    let payload = payload(json!({"text": "x".repeat(5_000)}));
    let points = (0..600).map(|id| Point { payload: payload.clone(), ..point(id, &[id as f32, 1.0]) });
    fixture.upsert(points.collect()).await;
    let body = fixture.service.stream_shard_snapshot("c", 0).await.unwrap();
    assert!(body.size.is_none() && body.name.ends_with(".snapshot"));
    let bytes: Vec<u8> = body.chunks.map(Result::unwrap).concat().await;
    assert!(bytes.len() > 1 << 20);
    fixture.service.write("c", PointOp::Delete { select: by_ids(&(0..600).collect::<Vec<_>>()) }, WAIT).await.unwrap();
    let source = fixture.send(&bytes).await;
    fixture.service.recover_shard("c", 0, source, None).await.unwrap();
    assert!(fixture.count("c").await > 200);
    assert!(fixture.service.snapshots(&shard_of("c", 0)).await.unwrap().is_empty());
    assert_eq!(fixture.parts(), Vec::<PathBuf>::new());
    // Callers that leave give their turn back: there are four.
    for _ in 0..12 {
        let mut body = fixture.service.stream_shard_snapshot("c", 0).await.unwrap();
        body.chunks.next().await.unwrap().unwrap();
    }
    assert!(matches!(fixture.service.stream_shard_snapshot("c", 9).await, Err(Error::ShardNotFound { number: 9 })));
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_nothing_unfinished_is_left_behind() {
    let fixture = Fixture::with(1, 2, Metric::Dot).await;
    let mut receiving = fixture.service.receive_snapshot().unwrap();
    receiving.write(vec![1; 1000]).await.unwrap();
    assert_eq!(fixture.parts().len(), 1);
    drop(receiving);
    // An upload that is no snapshot.
    let source = fixture.send(b"no snapshot").await;
    let outcome = fixture.service.recover_collection(name_of("c"), source, None).await;
    assert!(matches!(outcome, Err(Error::SnapshotDamaged { .. })));
    for _ in 0..200 {
        if fixture.parts().is_empty() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    assert_eq!(fixture.parts(), Vec::<PathBuf>::new());
    // A crash: what lies there belongs to nobody. Another node's is left alone.
    let work = fixture.folder.path().join(format!("snapshots/tmp/{}", fixture.service.node_id()));
    std::fs::write(work.join("left.part"), "x").unwrap();
    let theirs = fixture.folder.path().join("snapshots/tmp/1");
    std::fs::create_dir_all(&theirs).unwrap();
    std::fs::write(theirs.join("theirs.part"), "x").unwrap();
    let fixture = fixture.reopen().await;
    assert_eq!(fixture.parts(), [theirs.join("theirs.part")]);
}

/// A server that sends snapshots, and much else.
async fn elsewhere(good: Vec<u8>) -> SocketAddr {
    let large = || async {
        let chunks = futures::stream::repeat_with(|| Ok::<_, io::Error>(vec![0_u8; 1 << 16]));
        Body::from_stream(chunks)
    };
    let slow = || async { Body::from_stream(futures::stream::pending::<io::Result<Vec<u8>>>()) };
    let moved = || async { (StatusCode::FOUND, [(header::LOCATION, "/good")]) };
    let send = move |headers: HeaderMap| async move {
        match headers.get("api-key").is_some_and(|key| key == "sesame") {
            true => good.into_response(),
            false => StatusCode::UNAUTHORIZED.into_response(),
        }
    };
    let routes = Router::new()
        .route("/good", get(send))
        .route("/moved", get(moved))
        .route("/large", get(large))
        .route("/declared", get(|| async { vec![0_u8; 3 << 20] }))
        .route("/slow", get(slow));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_a_snapshot_comes_from_a_listed_url_only() {
    let made = Fixture::with(2, 2, Metric::Dot).await;
    made.upsert(points(0..100)).await;
    let (path, shard) = (made.snapshot(&of("c")).await, made.snapshot(&shard_of("c", 0)).await);
    let checksum = made.service.snapshots(&of("c")).await.unwrap()[0].checksum.clone();
    let address = elsewhere(std::fs::read(&path).unwrap()).await;
    let shards = elsewhere(std::fs::read(&shard).unwrap()).await;

    let folder = tempfile::tempdir().unwrap();
    let rules = |hosts: &[&str]| UrlRules {
        allowed_hosts: hosts.iter().map(|host| host.parse().unwrap()).collect(),
        size_bytes_max: 1 << 20,
        time_max: Duration::from_secs(2),
    };
    let open = async |url_recovery| {
        let service = Service::open(ServiceSettings { url_recovery, ..settings(folder.path()) }).await.unwrap();
        Fixture { service, folder: tempfile::tempdir().unwrap() }
    };
    let recover = async |fixture: &Fixture, url: &str, key: Option<&str>, checksum: Option<String>| {
        let source = fixture.service.locate_snapshot(url, key)?;
        fixture.service.recover_collection(CollectionName::new("c").unwrap(), source, checksum).await
    };
    let key = Some("sesame");
    let url = |path: &str| format!("http://{address}{path}");

    let fixture = open(Some(rules(&["127.0.0.1", "::1", "localhost"]))).await;
    recover(&fixture, &url("/good"), key, checksum.clone()).await.unwrap();
    assert_eq!(fixture.count("c").await, 100);
    let source = fixture.service.locate_snapshot(&format!("http://localhost:{}/good", shards.port()), key).unwrap();
    fixture.service.recover_shard("c", 0, source, None).await.unwrap();
    assert_eq!(fixture.count("c").await, 100);
    let wrong = recover(&fixture, &url("/good"), key, Some("00".repeat(32))).await;
    assert!(matches!(wrong, Err(Error::ChecksumMismatch { .. })));
    for (path, key, why) in [
        ("/good", None, "401"),
        ("/good", Some("other"), "401"),
        ("/nowhere", None, "404"),
        ("/moved", key, "redirects are not followed"),
        ("/large", None, "more than 1048576 bytes"),
        ("/declared", None, "more than 1048576 bytes"),
    ] {
        match recover(&fixture, &url(path), key, None).await {
            Err(Error::SnapshotDownload { why: got, .. }) => assert!(got.contains(why), "{path}: {got}"),
            other => panic!("{path}: {other:?}"),
        }
    }
    assert!(matches!(recover(&fixture, &url("/slow"), None, None).await, Err(Error::Timeout { .. })));
    assert!(matches!(recover(&fixture, "http://127.0.0.2:1/", None, None).await, Err(Error::UrlRefused { .. })));
    let outcome = recover(&fixture, &format!("http://127.0.0.1:{}/", free_port()), None, None).await;
    assert!(matches!(outcome, Err(Error::SnapshotDownload { .. })), "{outcome:?}");
    assert_eq!(fixture.count("c").await, 100);
    let mut parts = Vec::new();
    for node in std::fs::read_dir(folder.path().join("snapshots/tmp")).unwrap() {
        parts.extend(std::fs::read_dir(node.unwrap().path()).unwrap());
    }
    assert!(parts.is_empty(), "{parts:?}");
    fixture.service.shutdown().await.unwrap();
    drop(fixture);

    // A listed name does not open the loopback address it leads to.
    let fixture = open(Some(rules(&["localhost"]))).await;
    let named = format!("http://localhost:{}/good", address.port());
    assert!(matches!(recover(&fixture, &named, key, None).await, Err(Error::UrlRefused { .. })));
    fixture.service.shutdown().await.unwrap();
    drop(fixture);
    let fixture = open(None).await;
    assert!(matches!(recover(&fixture, &named, key, None).await, Err(Error::UrlRefused { .. })));
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// What a stranger sends as a snapshot costs no more memory than it has bytes.
#[test]
fn reliability_5_3_absurd_lengths_allocate_nothing() {
    let mut bytes = b"QVRSNAP\x02\x01".to_vec();
    bytes.extend((100_u32 << 20).to_le_bytes());
    bytes.extend([0; 4]);
    let error = Reader::new(bytes.as_slice().chain(io::empty())).err().unwrap();
    assert!(matches!(error, SnapshotError::Damaged("it ends too early")), "{error}");
}
