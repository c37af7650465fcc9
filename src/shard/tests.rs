//! A shard against a model: the same seeded commands go to both, through restarts, checkpoints and index work.

use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::index::{CodeUse, IndexParams, SparseCounts, Stop, VectorStorage};
use crate::model::field_index::{FieldIndexKind, IntegerParams, KeywordParams};
use crate::model::ids::ShardId;
use crate::model::write::{PointVectors, UpsertMode};
use crate::model::{
    Condition, Filter, Metric, MultiVector, NamedVectors, Payload, PayloadSelector, Point, PointOp, PointSelector,
    SparseVector, Vector, VectorSelector,
};
use crate::storage::{DbSettings, PointDb};

pub(super) const DB: DbSettings = DbSettings { block_cache_bytes: 1 << 20, memtable_bytes: 1 << 20, reserve_bytes: 0 };
const DIM: usize = 4;
const IDS: u64 = 60;

/// A small deterministic generator (xorshift64*), so that a seed is a test case.
pub(super) struct Rng(pub(super) u64);

impl Rng {
    pub(super) fn next(&mut self) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        self.0.wrapping_mul(0x2545_F491_4F6C_DD1D)
    }
    pub(super) fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }
    fn id(&mut self) -> PointId {
        let n = self.below(IDS);
        if n.is_multiple_of(3) { PointId::Uuid(uuid::Uuid::from_u128(u128::from(n) << 64)) } else { PointId::Num(n) }
    }
    fn numbers(&mut self) -> Vec<f32> {
        (0..DIM).map(|_| self.below(2_000) as f32 / 1_000.0 - 1.0).collect()
    }
    fn vector(&mut self) -> Vector {
        Vector::Dense(self.numbers())
    }
    fn sparse(&mut self) -> Vector {
        let entries: BTreeMap<u32, f32> =
            (0..self.below(4)).map(|_| (self.below(12) as u32, self.below(9) as f32 / 4.0 - 1.0)).collect();
        Vector::Sparse(SparseVector::new(entries.into_iter().collect()).unwrap())
    }
    fn vectors(&mut self) -> NamedVectors {
        let mut vectors = NamedVectors::new();
        if self.below(8) != 0 {
            vectors.insert(String::new(), self.vector());
        }
        if self.below(2) == 0 {
            vectors.insert("other".to_owned(), self.vector());
        }
        if self.below(2) == 0 {
            vectors.insert("sparse".to_owned(), self.sparse());
        }
        if self.below(3) == 0 {
            let rows = (0..=self.below(3)).flat_map(|_| self.numbers()).collect();
            vectors.insert("multi".to_owned(), Vector::Multi(MultiVector::new(DIM, rows).unwrap()));
        }
        vectors
    }
    fn payload(&mut self) -> Payload {
        let color = ["red", "green", "blue"][self.below(3) as usize];
        payload(json!({"color": color, "n": self.below(10)}))
    }
    fn select(&mut self) -> PointSelector {
        if self.below(3) == 0 {
            PointSelector::Filter(color_is(["red", "green", "blue"][self.below(3) as usize]))
        } else {
            PointSelector::Ids((0..=self.below(3)).map(|_| self.id()).collect())
        }
    }
    pub(super) fn op(&mut self) -> PointOp {
        match self.below(10) {
            0..=3 => {
                let mut points: BTreeMap<PointId, Point> = BTreeMap::new();
                for _ in 0..=self.below(6) {
                    let id = self.id();
                    points.insert(id, Point { id, vectors: self.vectors(), payload: self.payload() });
                }
                let mode = [UpsertMode::Upsert, UpsertMode::Upsert, UpsertMode::InsertOnly, UpsertMode::UpdateOnly]
                    [self.below(4) as usize];
                let update_filter = (self.below(4) == 0).then(|| color_is("red"));
                PointOp::Upsert { points: points.into_values().collect(), mode, update_filter }
            }
            4 => PointOp::Delete { select: self.select() },
            5 => PointOp::UpdateVectors {
                points: vec![PointVectors { id: self.id(), vectors: self.vectors() }],
                update_filter: None,
            },
            6 => PointOp::DeleteVectors { select: self.select(), names: vec!["other".to_owned()] },
            7 => {
                PointOp::SetPayload { select: self.select(), payload: payload(json!({"n": self.below(10)})), key: None }
            }
            8 => PointOp::OverwritePayload { select: self.select(), payload: self.payload(), key: None },
            _ => PointOp::ClearPayload { select: self.select() },
        }
    }
}

fn payload(value: serde_json::Value) -> Payload {
    match value {
        serde_json::Value::Object(map) => Payload(map),
        other => panic!("not an object: {other}"),
    }
}

fn color_is(color: &str) -> Filter {
    use crate::model::filter::{FieldCondition, Match, Predicate};
    let predicates = vec![Predicate::Match(Match::Keyword(color.to_owned()))];
    let condition = FieldCondition { key: "color".parse().unwrap(), predicates };
    Filter { must: vec![Condition::Field(condition)], ..Filter::default() }
}

/// The obvious implementation.
#[derive(Default)]
pub(super) struct Reference(pub(super) BTreeMap<PointId, Point>);

impl Reference {
    fn is_red(point: &Point, color: &str) -> bool {
        point.payload.0.get("color") == Some(&json!(color))
    }
    fn filter_color(filter: &Filter) -> String {
        use crate::model::filter::{FieldCondition, Match, Predicate};
        match filter.must.as_slice() {
            [Condition::Field(FieldCondition { predicates, .. })] => match predicates.as_slice() {
                [Predicate::Match(Match::Keyword(color))] => color.clone(),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        }
    }
    fn selected(&self, select: &PointSelector) -> (Vec<PointId>, Vec<PointId>) {
        match select {
            PointSelector::Ids(ids) => {
                let mut unique = ids.clone();
                let mut seen = std::collections::HashSet::new();
                unique.retain(|id| seen.insert(*id));
                unique.into_iter().partition(|id| self.0.contains_key(id))
            }
            PointSelector::Filter(filter) => {
                let color = Self::filter_color(filter);
                let present = self.0.values().filter(|p| Self::is_red(p, &color)).map(|p| p.id).collect();
                (present, Vec::new())
            }
        }
    }
    pub(super) fn apply(&mut self, op: &PointOp) -> Vec<PointId> {
        match op {
            PointOp::Upsert { points, mode, update_filter } => {
                for point in points {
                    let write = match (self.0.get(&point.id), mode) {
                        (Some(_), UpsertMode::InsertOnly) | (None, UpsertMode::UpdateOnly) => false,
                        (Some(old), _) => update_filter.as_ref().is_none_or(|_| Self::is_red(old, "red")),
                        (None, _) => true,
                    };
                    if write {
                        self.0.insert(point.id, point.clone());
                    }
                }
                Vec::new()
            }
            PointOp::Delete { select } => {
                for id in self.selected(select).0 {
                    self.0.remove(&id);
                }
                Vec::new()
            }
            PointOp::UpdateVectors { points, .. } => {
                let mut missing = Vec::new();
                for change in points {
                    match self.0.get_mut(&change.id) {
                        Some(point) => point.vectors.extend(change.vectors.clone()),
                        None => missing.push(change.id),
                    }
                }
                missing
            }
            PointOp::DeleteVectors { select, names } => {
                self.edit(select, |point| names.iter().for_each(|name| drop(point.vectors.remove(name))))
            }
            PointOp::SetPayload { select, payload, .. } => self.edit(select, |point| {
                point.payload.0.extend(payload.0.clone());
            }),
            PointOp::OverwritePayload { select, payload, .. } => {
                self.edit(select, |point| point.payload = payload.clone())
            }
            PointOp::DeletePayload { .. } => unreachable!("not generated"),
            PointOp::ClearPayload { select } => self.edit(select, |point| point.payload = Payload::default()),
        }
    }
    fn edit(&mut self, select: &PointSelector, edit: impl Fn(&mut Point)) -> Vec<PointId> {
        let (present, missing) = self.selected(select);
        for id in present {
            edit(self.0.get_mut(&id).unwrap());
        }
        missing
    }
}

/// With or without indexes of the fields that filters are about: nothing may differ.
pub(super) fn settings(dir: &std::path::Path, is_indexed: bool) -> ShardSettings {
    let graph = |metric| IndexParams { dim: DIM, metric, m: 4, ef_construction: 16, storage: VectorStorage::default() };
    ShardSettings {
        vectors: [
            (String::new(), VectorSettings::Dense(graph(Metric::Euclid))),
            ("other".to_owned(), VectorSettings::Dense(graph(Metric::Dot))),
            ("multi".to_owned(), VectorSettings::Multi(graph(Metric::Dot))),
            ("sparse".to_owned(), VectorSettings::Sparse),
        ]
        .into(),
        fields: if is_indexed {
            let keyword = FieldIndexKind::Keyword(KeywordParams::default());
            let integer = FieldIndexKind::Integer(IntegerParams::default());
            [("color".parse().unwrap(), keyword), ("n".parse().unwrap(), integer)].into()
        } else {
            BTreeMap::new()
        },
        index_dir: dir.join("index"),
    }
}

pub(super) fn check_equal(shard: &Shard, reference: &Reference, rng: &mut Rng) {
    let stop = Stop::new();
    let ids: Vec<PointId> = reference.0.keys().copied().collect();
    assert_eq!(shard.count(None, &stop).unwrap(), ids.len() as u64);
    assert_eq!(shard.scroll(None, usize::MAX, None, &stop).unwrap(), ids);
    let records = shard.get(&ids, &PayloadSelector::All, &VectorSelector::All).unwrap();
    for (record, point) in records.iter().zip(reference.0.values()) {
        assert_eq!(record.id, point.id);
        assert_eq!(record.payload.as_ref(), Some(&point.payload), "{}", point.id);
        assert_eq!(record.vectors.as_ref(), Some(&point.vectors), "{}", point.id);
    }
    let red = color_is("red");
    let red_ids: Vec<PointId> = reference.0.values().filter(|p| Reference::is_red(p, "red")).map(|p| p.id).collect();
    assert_eq!(shard.scroll(None, usize::MAX, Some(&red), &stop).unwrap(), red_ids);
    assert_eq!(shard.count(Some(&red), &stop).unwrap(), red_ids.len() as u64);
    let multi = Vector::Multi(MultiVector::new(DIM, [rng.numbers(), rng.numbers()].concat()).unwrap());
    let queries = [("", rng.vector()), ("sparse", rng.sparse()), ("multi", multi)];
    for filter in [None, Some(&red)] {
        for (using, query) in &queries {
            let of_filter = reference.0.values().filter(|p| filter.is_none() || Reference::is_red(p, "red"));
            let mut want: Vec<f32> = of_filter.filter_map(|p| distance(query, p.vectors.get(*using)?)).collect();
            want.sort_by(f32::total_cmp);
            want.truncate(5);
            for exact in [true, false] {
                let nearest = Nearest {
                    using,
                    vector: query,
                    filter,
                    k: 5,
                    ef: Some(200),
                    exact,
                    indexed_only: false,
                    codes: CodeUse::default(),
                };
                let found = shard.search(&nearest, &stop).unwrap();
                assert_eq!(found.hits.len(), want.len(), "{using}");
                for (hit, distance) in found.hits.iter().zip(&want) {
                    assert!((hit.distance - distance).abs() < 1e-5, "{using}: {:?} != {want:?}", found.hits);
                }
            }
        }
    }
    for corpus in [None, Some(&red)] {
        let of_corpus = reference.0.values().filter(|p| corpus.is_none() || Reference::is_red(p, "red"));
        let vectors: Vec<&SparseVector> = of_corpus
            .filter_map(|p| match p.vectors.get("sparse") {
                Some(Vector::Sparse(vector)) => Some(vector),
                _ => None,
            })
            .collect();
        let having = |index: u32| vectors.iter().filter(|vector| vector.indices().contains(&index)).count() as u64;
        let want = SparseCounts { vectors: vectors.len() as u64, having: vec![having(3), having(99), having(3)] };
        assert_eq!(shard.sparse_counts("sparse", &[3, 99, 3], corpus, &stop).unwrap(), want);
    }
}

/// The obvious distance; `None` for sparse vectors that share no index.
fn distance(query: &Vector, stored: &Vector) -> Option<f32> {
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>();
    match (query, stored) {
        (Vector::Dense(query), Vector::Dense(stored)) => {
            Some(query.iter().zip(stored).map(|(a, b)| (a - b) * (a - b)).sum())
        }
        (Vector::Sparse(query), Vector::Sparse(stored)) => {
            let of = |index| stored.iter().find(|(of, _)| *of == index).map(|(_, value)| value);
            let products: Vec<f32> = query.iter().filter_map(|(index, weight)| Some(weight * of(index)?)).collect();
            (!products.is_empty()).then(|| -products.iter().sum::<f32>())
        }
        (Vector::Multi(query), Vector::Multi(stored)) => {
            let best = |row| stored.rows().map(|of| dot(row, of)).fold(f32::NEG_INFINITY, f32::max);
            Some(-query.rows().map(best).sum::<f32>())
        }
        _ => panic!("{query:?} and {stored:?}"),
    }
}

/// Runs `steps` random commands; every log entry since the last flush is replayed after a restart.
fn check_against_reference(seed: u64, steps: u64) {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng(seed | 1);
    let is_indexed = rng.below(2) == 0;
    let mut reference = Reference::default();
    let mut log: Vec<Vec<u8>> = Vec::new();
    let mut db = PointDb::open(&dir.path().join("kvdb"), &DB).unwrap();
    let mut shard = Shard::open(db.shard(ShardId(3)), settings(dir.path(), is_indexed)).unwrap();
    for step in 0..steps {
        let first = log.len() as u64 + 1;
        let ops: Vec<PointOp> = (0..=rng.below(3)).map(|_| rng.op()).collect();
        let missing: Vec<Vec<PointId>> = ops.iter().map(|op| reference.apply(op)).collect();
        log.extend(ops.iter().map(encode_command));
        let entries: Vec<Entry<'_>> = (first..)
            .zip(&log[first as usize - 1..])
            .map(|(index, command)| Entry { index, command: Some(command) })
            .collect();
        let outcomes = shard.apply(&entries, &(log.len() as u64).to_be_bytes()).unwrap();
        assert_eq!(outcomes.into_iter().map(|o| o.missing).collect::<Vec<_>>(), missing, "seed {seed} step {step}");
        match rng.below(12) {
            0 => drop(shard.index_work(64)),
            1 => shard.flush().unwrap(),
            2 => shard.checkpoint().unwrap(),
            3 => {
                // A crash: what was not flushed is gone, the log is not.
                drop(shard);
                hurt_checkpoint(dir.path(), &mut rng);
                db = reopen(db, dir.path());
                shard = Shard::open(db.shard(ShardId(3)), settings(dir.path(), is_indexed)).unwrap();
                let position = shard.position().unwrap();
                let applied = position.map_or(0, |p| u64::from_be_bytes(p.try_into().unwrap()));
                let entries: Vec<Entry<'_>> = (applied + 1..)
                    .zip(&log[applied as usize..])
                    .map(|(index, command)| Entry { index, command: Some(command) })
                    .collect();
                shard.apply(&entries, &(log.len() as u64).to_be_bytes()).unwrap();
            }
            _ => {}
        }
        if step % 7 == 0 {
            check_equal(&shard, &reference, &mut rng);
            shard.validate().unwrap();
        }
    }
    while shard.index_work(1_000) > 0 {}
    check_equal(&shard, &reference, &mut rng);
    shard.validate().unwrap();
}

/// What a crash or a bad disk leaves of the checkpoint in `dir`: whole, or with one file damaged, cut, gone, of another
/// checkpoint, or not finished.
pub(super) fn hurt_checkpoint(dir: &std::path::Path, rng: &mut Rng) {
    let entries = |dir: &std::path::Path| {
        let mut paths: Vec<PathBuf> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    };
    let Some(newest) = entries(&dir.join("index")).pop() else { return };
    let files = entries(&newest);
    let victim = &files[rng.below(files.len() as u64) as usize];
    let mut bytes = std::fs::read(victim).unwrap();
    let at = rng.below(bytes.len() as u64) as usize;
    match rng.below(8) {
        0 => bytes[at] ^= 1 << rng.below(8),
        1 => bytes.truncate(at),
        2 => return std::fs::remove_file(victim).unwrap(),
        // The crash came while the next one was written.
        3 => {
            let next = newest.with_file_name("checkpoint-999999");
            std::fs::create_dir(&next).unwrap();
            std::fs::copy(victim, next.join("graph--00000000")).unwrap();
            return;
        }
        4 => bytes = std::fs::read(&files[rng.below(files.len() as u64) as usize]).unwrap(),
        _ => return,
    }
    std::fs::write(victim, bytes).unwrap();
}

pub(super) fn reopen(db: PointDb, dir: &std::path::Path) -> PointDb {
    drop(db);
    PointDb::open(&dir.join("kvdb"), &DB).unwrap()
}

/// A restart without changes links nothing, sorts no list and reads no payload; with changes it does what they need.
#[test]
fn a_checkpoint_serves_what_has_not_changed() {
    let dir = tempfile::tempdir().unwrap();
    let mut rng = Rng(77);
    let upsert = |ids: std::ops::Range<u64>, rng: &mut Rng| {
        let vectors = |rng: &mut Rng| {
            let multi = Vector::Multi(MultiVector::new(DIM, rng.numbers()).unwrap());
            let of = [(String::new(), rng.vector()), ("sparse".to_owned(), rng.sparse()), ("multi".to_owned(), multi)];
            NamedVectors::from(of)
        };
        let point = |n| Point { id: PointId::Num(n), vectors: vectors(rng), payload: rng.payload() };
        PointOp::Upsert { points: ids.map(point).collect(), mode: UpsertMode::Upsert, update_filter: None }
    };
    let apply = |shard: &Shard, index: u64, op: &PointOp| {
        shard.apply(&[Entry { index, command: Some(&encode_command(op)) }], &index.to_be_bytes()).unwrap();
    };
    let open = |db: &PointDb| {
        let shard = Shard::open(db.shard(ShardId(3)), settings(dir.path(), true)).unwrap();
        assert_eq!(shard.rebuilt().iter().map(ToString::to_string).collect::<Vec<_>>(), [] as [String; 0]);
        shard
    };
    let mut db = PointDb::open(&dir.path().join("kvdb"), &DB).unwrap();
    let shard = Shard::open(db.shard(ShardId(3)), settings(dir.path(), true)).unwrap();
    apply(&shard, 1, &upsert(0..500, &mut rng));
    while shard.index_work(1_000) > 0 {}
    assert_eq!(shard.unsaved_field_work(), (500 / 16, 500 / 16));
    shard.checkpoint().unwrap();
    assert_eq!(shard.unsaved_field_work().0, 0);
    shard.flush().unwrap();
    drop(shard);
    db = reopen(db, dir.path());
    let shard = open(&db);
    shard.validate().unwrap();
    assert_eq!((shard.status().tail_vector_count, shard.field_changes.load(Ordering::Acquire)), (0, 0));
    assert_eq!(shard.index_work(1_000), 0, "nothing is left to do");
    // Ten payloads, twenty points with their vectors, thirty deleted.
    let ids = |ids: std::ops::Range<u64>| PointSelector::Ids(ids.map(PointId::Num).collect());
    apply(&shard, 2, &PointOp::SetPayload { select: ids(0..10), payload: payload(json!({"n": 99})), key: None });
    apply(&shard, 3, &upsert(10..30, &mut rng));
    apply(&shard, 4, &PointOp::Delete { select: ids(30..60) });
    shard.flush().unwrap();
    drop(shard);
    db = reopen(db, dir.path());
    let shard = open(&db);
    shard.validate().unwrap();
    assert_eq!(shard.field_changes.load(Ordering::Acquire), 30, "payloads read");
    let tails: Vec<usize> = shard.all_columns().iter().map(Column::tail_len).collect();
    assert!(tails.iter().all(|tail| *tail <= 20), "{tails:?} vectors wait");
    let count = shard.count(Some(&color_is("red")), &Stop::new()).unwrap();
    while shard.index_work(1_000) > 0 {}
    shard.validate().unwrap();
    assert_eq!(shard.count(Some(&color_is("red")), &Stop::new()).unwrap(), count);
}

#[test]
fn random_commands_agree_with_the_obvious_implementation() {
    for seed in [1, 2, 3, 5, 8, 13, 21, 34] {
        check_against_reference(0x9E37_79B9_7F4A_7C15_u64.wrapping_mul(seed), 120);
    }
}

/// Every read finds a point as one command left it, whatever is written meanwhile.
#[test]
fn a_point_is_read_as_it_was_at_one_moment() {
    const WRITES: u64 = 4_000;
    let folder = tempfile::tempdir().unwrap();
    let db = PointDb::open(folder.path(), &DB).unwrap();
    let shard = Shard::open(db.shard(ShardId(1)), settings(folder.path(), false)).unwrap();
    let id = PointId::Num(7);
    let is_done = std::sync::atomic::AtomicBool::new(false);
    let read = || {
        let mut seen = 0;
        let records = shard.get(&[id], &PayloadSelector::All, &VectorSelector::All).unwrap();
        for record in records {
            let n = record.payload.as_ref().unwrap().0.get("n").map(|n| n.as_u64().unwrap());
            let vector = record.vectors.as_ref().unwrap().get("").and_then(Vector::as_dense).map(|values| values[0]);
            assert_eq!((n.map(|n| n as f32), n.is_some()), (vector, true), "{record:?}");
            seen = n.unwrap();
        }
        seen
    };
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|_| {
                scope.spawn(|| {
                    let mut last = 0;
                    while !is_done.load(Ordering::Acquire) {
                        last = last.max(read());
                    }
                    last
                })
            })
            .collect();
        for n in 1..=WRITES {
            let op = match n % 5 {
                0 => PointOp::Delete { select: PointSelector::Ids(vec![id]) },
                _ => {
                    let vectors = [(String::new(), Vector::Dense(vec![n as f32; DIM]))].into();
                    let points = vec![Point { id, vectors, payload: payload(json!({"n": n})) }];
                    PointOp::Upsert { points, mode: UpsertMode::Upsert, update_filter: None }
                }
            };
            let command = encode_command(&op);
            shard.apply(&[Entry { index: n, command: Some(&command) }], &n.to_le_bytes()).unwrap();
        }
        is_done.store(true, Ordering::Release);
        for reader in readers {
            assert!(reader.join().unwrap() > 0, "a reader saw nothing");
        }
    });
}
