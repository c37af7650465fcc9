//! The store against a plain map, through restarts and crashes; damage; shared flushes.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Barrier;

use proptest::prelude::*;
use serde_json::json;
use tempfile::TempDir;

use super::*;

fn settings() -> DbSettings {
    DbSettings { block_cache_bytes: 1 << 20, memtable_bytes: 4 << 20, reserve_bytes: 0 }
}

fn open(folder: &Path) -> PointDb {
    PointDb::open(folder, &settings()).unwrap()
}

fn id(number: u64) -> PointId {
    // Every third one a UUID, so that both kinds mix.
    if number.is_multiple_of(3) { PointId::Uuid(uuid::Uuid::from_u128(number.into())) } else { PointId::Num(number) }
}

fn payload(number: u64) -> Payload {
    Payload(json!({ "n": number, "text": "grün" }).as_object().unwrap().clone())
}

fn vector(first: f32, dim: usize) -> Vector {
    // With fractions, so that no shorter form holds them.
    Vector::Dense((0..dim).map(|i| first + i as f32 + 0.1).collect())
}

#[derive(Clone, Debug, Default, PartialEq)]
struct ModelPoint {
    head: Option<(u64, u64)>,
    payload: Payload,
    vectors: NamedVectors,
}

type Model = BTreeMap<PointId, ModelPoint>;

/// Everything a shard holds, read through the view and, point by point, through the store: both must agree.
fn contents(store: &ShardStore) -> Model {
    let view = store.view();
    let mut model = Model::new();
    for item in view.iter_heads(None) {
        let (id, head) = item.unwrap();
        model.entry(id).or_default().head = Some((head.version, head.vectors_version));
    }
    for item in view.iter_payloads(None) {
        let (id, payload) = item.unwrap();
        model.get_mut(&id).unwrap().payload = payload;
    }
    for item in view.iter_vectors() {
        let (id, name, vector) = item.unwrap();
        assert_eq!(model.get_mut(&id).unwrap().vectors.insert(name, vector), None);
    }
    let ids: Vec<PointId> = model.keys().rev().copied().chain([id(999_999)]).collect();
    let (heads, payloads) = (store.heads(&ids).unwrap(), store.payloads(&ids).unwrap());
    for ((id, head), payload) in ids.iter().zip(&heads).zip(&payloads) {
        let want = model.get(id).cloned().unwrap_or_default();
        assert_eq!(head.map(|head| (head.version, head.vectors_version)), want.head);
        assert_eq!(store.head(id).unwrap(), *head);
        assert_eq!(payload.clone().unwrap_or_default(), want.payload);
        assert_eq!(store.payload(id).unwrap(), *payload);
        assert_eq!(store.vectors(id).unwrap(), want.vectors);
        for (name, vector) in &want.vectors {
            assert_eq!(store.vector(id, name).unwrap().as_ref(), Some(vector));
        }
    }
    model
}

#[derive(Clone, Debug)]
enum Change {
    Put { id: u64, name: String, dim: usize },
    PutPayload { id: u64 },
    DeleteVector { id: u64, name: String },
    DeletePoint { id: u64 },
}

fn any_change() -> impl Strategy<Value = Change> {
    let name = || prop_oneof![Just(String::new()), Just("a".to_owned()), Just("ab".to_owned()), Just("ü".to_owned())];
    // 300 numbers are past the size that goes to blob files.
    let dim = prop_oneof![Just(3usize), Just(300)];
    prop_oneof![
        4 => (0..12u64, name(), dim).prop_map(|(id, name, dim)| Change::Put { id, name, dim }),
        1 => (0..12u64).prop_map(|id| Change::PutPayload { id }),
        1 => (0..12u64, name()).prop_map(|(id, name)| Change::DeleteVector { id, name }),
        1 => (0..12u64).prop_map(|id| Change::DeletePoint { id }),
    ]
}

#[derive(Clone, Debug)]
enum Step {
    Commit { shard: u64, changes: Vec<Change> },
    Flush,
    Reopen,
    Crash,
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (1..4u64, prop::collection::vec(any_change(), 1..6))
            .prop_map(|(shard, changes)| Step::Commit { shard, changes }),
        2 => Just(Step::Flush),
        1 => Just(Step::Reopen),
        2 => Just(Step::Crash),
    ]
}

fn change_both(change: &Change, version: u64, batch: &mut ShardBatch, model: &mut Model) {
    match change {
        Change::Put { id: number, name, dim } => {
            let id = id(*number);
            let vector = vector(version as f32, *dim);
            batch.put_head(&id, &PointHead { version, vectors_version: version });
            if batch.payload(&id).unwrap().is_none() {
                batch.put_payload(&id, &Payload::default());
            }
            batch.put_vectors(&id, &NamedVectors::from([(name.clone(), vector.clone())]));
            let point = model.entry(id).or_default();
            point.head = Some((version, version));
            point.vectors.insert(name.clone(), vector);
        }
        Change::PutPayload { id: number } => {
            let id = id(*number);
            let Some(head) = batch.head(&id).unwrap() else {
                assert!(!model.contains_key(&id));
                return;
            };
            batch.put_head(&id, &PointHead { version, ..head });
            batch.put_payload(&id, &payload(version));
            let point = model.get_mut(&id).unwrap();
            point.head = Some((version, head.vectors_version));
            point.payload = payload(version);
        }
        Change::DeleteVector { id: number, name } => {
            let id = id(*number);
            batch.delete_vector(&id, name);
            if let Some(point) = model.get_mut(&id) {
                point.vectors.remove(name);
            }
        }
        Change::DeletePoint { id: number } => {
            batch.delete_point(&id(*number)).unwrap();
            model.remove(&id(*number));
        }
    }
    // Reads through the batch see the batch.
    for (id, point) in model.iter() {
        assert_eq!(batch.vectors(id).unwrap(), point.vectors);
        assert_eq!(batch.payload(id).unwrap().as_ref(), Some(&point.payload));
        assert_eq!(batch.head(id).unwrap().map(|head| (head.version, head.vectors_version)), point.head);
        assert_eq!(batch.vector(id, "a").unwrap().as_ref(), point.vectors.get("a"));
    }
}

/// What a killed process leaves on disk, near enough: the files as they are right now. The manifest goes first and
/// no file is deleted meanwhile, so a compaction that runs beside the copy does not take away what it names.
fn image(folder: &Path, db: &PointDb) -> TempDir {
    db.store.rocks.db.disable_file_deletions().unwrap();
    let copy = copy_of(folder);
    db.store.rocks.db.enable_file_deletions().unwrap();
    copy
}

fn copy_of(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("db")).unwrap();
    std::fs::copy(folder.join("format_version"), copy.path().join("format_version")).unwrap();
    let mut names: Vec<_> =
        std::fs::read_dir(folder.join("db")).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort_by_key(|name| !name.to_str().unwrap().starts_with("MANIFEST"));
    for name in names {
        std::fs::copy(folder.join("db").join(&name), copy.path().join("db").join(&name)).unwrap();
    }
    copy
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn agrees_with_a_map_through_flushes_restarts_and_crashes(steps in prop::collection::vec(any_step(), 1..30)) {
        let mut folder = tempfile::tempdir().unwrap();
        let mut db = open(folder.path());
        // Per shard, after each commit: what it holds at this position.
        let mut history: BTreeMap<u64, Vec<Model>> = (1..4).map(|shard| (shard, vec![Model::new()])).collect();
        let mut flushed: BTreeMap<u64, usize> = (1..4).map(|shard| (shard, 0)).collect();
        for step in steps {
            match step {
                Step::Commit { shard, changes } => {
                    let store = db.shard(ShardId(shard));
                    let states = history.get_mut(&shard).unwrap();
                    let version = states.len() as u64;
                    let mut model = states.last().unwrap().clone();
                    let mut batch = store.batch();
                    for change in &changes {
                        change_both(change, version, &mut batch, &mut model);
                    }
                    batch.set_position(&version.to_be_bytes());
                    batch.put_entry(b"count", &(model.len() as u64).to_be_bytes());
                    store.commit(batch).unwrap();
                    states.push(model);
                }
                Step::Flush => {
                    db.flush().unwrap();
                    flushed = history.iter().map(|(shard, states)| (*shard, states.len() - 1)).collect();
                }
                Step::Reopen => {
                    db.flush().unwrap();
                    drop(db);
                    db = open(folder.path());
                    flushed = history.iter().map(|(shard, states)| (*shard, states.len() - 1)).collect();
                }
                Step::Crash => {
                    let left = image(folder.path(), &db);
                    drop(db);
                    db = open(left.path());
                    folder = left;
                    for (shard, states) in &mut history {
                        let position = db.shard(ShardId(*shard)).position().unwrap();
                        let at = position.map_or(0, |at| u64::from_be_bytes(at.try_into().unwrap()) as usize);
                        // All shards fall back to one flush: never to before it, never to parts of a later one.
                        prop_assert!(at >= flushed[shard] && at < states.len());
                        states.truncate(at + 1);
                    }
                }
            }
            for (shard, states) in &history {
                let store = db.shard(ShardId(*shard));
                let model = states.last().unwrap();
                prop_assert_eq!(&contents(&store), model);
                let count = store.entry(b"count").unwrap().map(|count| u64::from_be_bytes(count.try_into().unwrap()));
                prop_assert_eq!(count.unwrap_or(0), model.len() as u64);
            }
        }
    }
}

fn put(store: &ShardStore, number: u64) {
    let mut batch = store.batch();
    batch.put_head(&id(number), &PointHead { version: number, vectors_version: number });
    batch.put_payload(&id(number), &payload(number));
    batch.put_vector(&id(number), "", &vector(number as f32, 300));
    batch.set_position(&number.to_be_bytes());
    store.commit(batch).unwrap();
}

#[test]
fn scans_are_in_id_order_from_anywhere_and_a_view_stands_still() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    let store = db.shard(ShardId(1));
    for number in 0..100 {
        put(&store, number);
        put(&db.shard(ShardId(2)), number);
    }
    let mut ids: Vec<PointId> = (0..100).map(id).collect();
    ids.sort();
    let view = store.view();
    for number in 0..100 {
        let mut batch = store.batch();
        batch.delete_point(&id(number)).unwrap();
        store.commit(batch).unwrap();
    }
    put(&store, 500);
    for from in [None, Some(id(0)), Some(id(50)), Some(id(99)), Some(PointId::Uuid(uuid::Uuid::max()))] {
        let want: Vec<PointId> = ids.iter().copied().filter(|id| from.is_none_or(|from| *id >= from)).collect();
        let heads: Vec<PointId> = view.iter_heads(from).map(|item| item.unwrap().0).collect();
        let payloads: Vec<PointId> = view.iter_payloads(from).map(|item| item.unwrap().0).collect();
        assert_eq!(heads, want);
        assert_eq!(payloads, want);
    }
    assert_eq!(view.iter_vectors().count(), 100);
    assert_eq!(view.position().unwrap().unwrap(), 99u64.to_be_bytes());
    assert_eq!(store.position().unwrap().unwrap(), 500u64.to_be_bytes());
    assert_eq!(store.view().iter_heads(None).count(), 1);
}

#[test]
fn a_shard_is_dropped_whole_and_alone() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    for shard in [0, 1, 2, u64::MAX] {
        let store = db.shard(ShardId(shard));
        put(&store, shard % 10);
        let mut batch = store.batch();
        batch.put_entry(b"\xff\xff", b"kept");
        batch.put_entry(b"", b"kept too");
        store.commit(batch).unwrap();
    }
    db.put_node_entry("seen", b"1").unwrap();
    db.shard(ShardId(1)).delete_all().unwrap();
    db.shard(ShardId(u64::MAX)).delete_all().unwrap();
    db.flush().unwrap();
    drop(db);
    let db = open(folder.path());
    assert_eq!(db.shards().unwrap(), [ShardId(0), ShardId(2)]);
    for shard in [1, u64::MAX] {
        let store = db.shard(ShardId(shard));
        assert_eq!(contents(&store), Model::new());
        assert_eq!(store.entries().unwrap(), BTreeMap::new());
        assert_eq!(store.view().iter_vectors().count(), 0);
    }
    let entries = db.shard(ShardId(2)).entries().unwrap();
    let want = [(b"\xff\xff".to_vec(), b"kept".to_vec()), (Vec::new(), b"kept too".to_vec())];
    assert_eq!(entries, BTreeMap::from(want));
    assert_eq!(db.node_entry("seen").unwrap().unwrap(), b"1");
    assert_eq!(contents(&db.shard(ShardId(2))).len(), 1);
}

#[test]
fn entries_can_be_deleted_and_are_seen_in_their_batch() {
    let folder = tempfile::tempdir().unwrap();
    let store = open(folder.path()).shard(ShardId(1));
    let mut batch = store.batch();
    batch.put_entry(b"a", b"1");
    assert_eq!(batch.entry(b"a").unwrap().unwrap(), b"1");
    assert_eq!(store.entry(b"a").unwrap(), None);
    store.commit(batch).unwrap();
    let mut batch = store.batch();
    batch.delete_entry(b"a");
    assert_eq!(batch.entry(b"a").unwrap(), None);
    assert_eq!(store.entry(b"a").unwrap().unwrap(), b"1");
    store.commit(batch).unwrap();
    assert_eq!(store.entry(b"a").unwrap(), None);
}

#[test]
fn flushes_that_wait_together_are_shared_and_each_covers_its_caller() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    let barrier = Barrier::new(8);
    std::thread::scope(|scope| {
        for thread in 0..8u64 {
            let (db, barrier) = (&db, &barrier);
            scope.spawn(move || {
                for round in 0..5 {
                    barrier.wait();
                    put(&db.shard(ShardId(thread)), round);
                    db.flush().unwrap();
                    let memtable = db.store.rocks.db.property_int_value_cf(
                        db.store.rocks.family(IDS),
                        rocksdb::properties::NUM_ENTRIES_ACTIVE_MEM_TABLE,
                    );
                    // Others may have written since; the own write is out unless it came after.
                    assert!(memtable.unwrap().unwrap() < 8);
                }
            });
        }
    });
    let started = db.store.flushes.lock().started;
    assert!((5..40).contains(&started), "{started} flushes for 40 callers");
    let left = image(folder.path(), &db);
    drop(db);
    let db = open(left.path());
    for shard in 0..8 {
        assert_eq!(db.shard(ShardId(shard)).position().unwrap().unwrap(), 4u64.to_be_bytes());
    }
}

fn files(folder: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut files: Vec<_> = std::fs::read_dir(folder.join("db"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.to_str().unwrap().ends_with(suffix))
        .collect();
    files.sort();
    assert!(!files.is_empty(), "no {suffix}");
    files
}

/// Flips one bit of each file with this ending and reads everything: an error, or what was written, never else.
fn check_damage(suffix: &str) {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    for number in 0..200 {
        put(&db.shard(ShardId(1)), number);
    }
    db.flush().unwrap();
    let want = contents(&db.shard(ShardId(1)));
    drop(db);
    for path in files(folder.path(), suffix) {
        let whole = std::fs::read(&path).unwrap();
        let mut damaged_count = 0;
        for at in (30..whole.len()).step_by(whole.len() / 7) {
            let copy = copy_of(folder.path());
            let mut bytes = whole.clone();
            bytes[at] ^= 0x04;
            std::fs::write(copy.path().join("db").join(path.file_name().unwrap()), &bytes).unwrap();
            match read_all(copy.path()) {
                Err(StorageError::Damaged { .. }) => damaged_count += 1,
                Err(other) => panic!("{other}"),
                Ok(got) => assert_eq!(got, want),
            }
        }
        assert!(damaged_count > 0, "{path:?}");
    }
}

fn read_all(folder: &Path) -> Result<Model, StorageError> {
    let db = PointDb::open(folder, &settings())?;
    let store = db.shard(ShardId(1));
    store.position()?;
    let view = store.view();
    let mut model = Model::new();
    for item in view.iter_heads(None) {
        let (id, head) = item?;
        model.entry(id).or_default().head = Some((head.version, head.vectors_version));
    }
    for item in view.iter_payloads(None) {
        let (id, payload) = item?;
        model.entry(id).or_default().payload = payload;
    }
    for item in view.iter_vectors() {
        let (id, name, vector) = item?;
        model.entry(id).or_default().vectors.insert(name, vector);
    }
    Ok(model)
}

#[test]
fn damaged_tables_are_noticed() {
    check_damage(".sst");
}

#[test]
fn damaged_blobs_are_noticed() {
    check_damage(".blob");
}

#[test]
fn values_of_a_newer_format_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let db = open(folder.path());
    put(&db.shard(ShardId(1)), 1);
    let rocks = &db.store.rocks;
    let key = keys::point(ShardId(1), &id(1));
    rocks.db.put_cf(rocks.family(IDS), key, [9, 9]).unwrap();
    let outcome = db.shard(ShardId(1)).head(&id(1));
    assert!(matches!(outcome, Err(StorageError::FormatVersion { found: 9, supported: 1, .. })));
    let outcome: Result<Vec<_>, _> = db.shard(ShardId(1)).view().iter_heads(None).collect();
    assert!(outcome.is_err());
}

/// A shard with points, payloads, vectors and entries, and its position.
fn filled(store: &ShardStore, points: u64) {
    let mut batch = store.batch();
    for number in 0..points {
        let id = id(number);
        batch.put_head(&id, &PointHead { version: number, vectors_version: number / 2 });
        batch.put_payload(&id, &payload(number));
        batch.put_vector(&id, "a", &vector(number as f32, 300));
    }
    batch.put_entry(b"settings", b"some bytes");
    batch.set_position(b"here");
    store.commit(batch).unwrap();
}

#[test]
fn a_dump_brings_a_shard_to_another_place() {
    let (folder, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let db = open(folder.path());
    let (from, to, beside) = (db.shard(ShardId(3)), db.shard(ShardId(9)), db.shard(ShardId(4)));
    filled(&from, 2_000);
    filled(&beside, 7);
    assert_eq!(from.dump(files.path()).unwrap().as_deref(), Some(&b"here"[..]));
    // What changes afterwards is no part of it.
    let dumped = contents(&from);
    filled(&from, 2_001);
    to.load(files.path(), b"here").unwrap();
    assert_eq!(contents(&to), dumped);
    assert_eq!(to.entries().unwrap(), from.entries().unwrap());
    assert_eq!(to.position().unwrap().as_deref(), Some(&b"here"[..]));
    // In place of what is there, and of nothing beside it.
    from.replace(files.path(), b"here").unwrap();
    assert_eq!(contents(&from), dumped);
    assert_eq!(contents(&beside).len(), 7);
    assert!(db.shard(ShardId(5)).dump(files.path()).unwrap().is_none());
}

#[test]
fn a_damaged_dump_replaces_nothing() {
    let (folder, files) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let db = open(folder.path());
    let (from, to) = (db.shard(ShardId(3)), db.shard(ShardId(9)));
    filled(&from, 5);
    filled(&to, 2);
    from.dump(files.path()).unwrap();
    let is_refused = |bytes: &[u8]| {
        std::fs::write(files.path().join("state"), bytes).unwrap();
        let refused = matches!(to.replace(files.path(), b"here"), Err(StorageError::Damaged { .. }));
        refused && contents(&to).len() == 2
    };
    let sound = std::fs::read(files.path().join("state")).unwrap();
    for at in (0..sound.len()).step_by(61).chain(0..20).chain(sound.len() - 9..sound.len()) {
        let mut flipped = sound.clone();
        flipped[at] ^= 1;
        assert!(is_refused(&flipped), "bit flipped at {at}");
        assert!(is_refused(&sound[..at]), "cut off at {at}");
    }
    assert!(is_refused(&[&sound[..], b"x"].concat()));
    std::fs::write(files.path().join("state"), &sound).unwrap();
    assert!(matches!(to.replace(files.path(), b"there"), Err(StorageError::Damaged { .. })));
    to.replace(files.path(), b"here").unwrap();
    assert_eq!(contents(&to), contents(&from));
}
