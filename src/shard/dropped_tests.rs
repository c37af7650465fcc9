//! Vectors that are dropped and added again while writes are under way: what a log makes of the points must not depend on
//! when a replica hears of its collection's vectors, nor on where it was restarted (PROTOCOL section 18, vector names).

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::json;

use super::command::encode_dropped;
use super::tests::{DB, Rng};
use super::*;
use crate::index::{CodeUse, IndexParams, Stop, VectorStorage};
use crate::model::ids::ShardId;
use crate::model::vector::{Incarnation, stored_name};
use crate::model::write::{PointVectors, UpsertMode};
use crate::model::{
    Condition, Filter, Metric, Payload, PayloadSelector, Point, PointOp, PointSelector, Vector, VectorSelector,
};
use crate::storage::{PointDb, PointHead};

const IDS: u64 = 20;

fn graph(dim: usize) -> VectorSettings {
    VectorSettings::Dense(IndexParams {
        dim,
        metric: Metric::Euclid,
        m: 4,
        ef_construction: 16,
        storage: VectorStorage::default(),
    })
}

/// Vector `w`, and vector `v` of this incarnation, whose size tells it from the others.
fn vectors(incarnation: Incarnation) -> BTreeMap<VectorName, VectorSettings> {
    [("w".to_owned(), graph(1)), (stored_name("v", incarnation), graph(1 + incarnation as usize))].into()
}

fn vector(incarnation: Incarnation, value: u64) -> Vector {
    Vector::Dense(vec![value as f32; 1 + incarnation as usize])
}

fn has_v() -> Filter {
    Filter { must: vec![Condition::HasVector("v".to_owned())], ..Filter::default() }
}

fn payload(n: u64) -> Payload {
    match json!({ "n": n }) {
        serde_json::Value::Object(map) => Payload(map),
        other => panic!("{other}"),
    }
}

/// An entry of the log.
#[derive(Clone, Debug)]
enum Step {
    Points(PointOp),
    Dropped(Incarnation),
}

impl Step {
    fn encode(&self) -> Vec<u8> {
        match self {
            Step::Points(op) => encode_command(op),
            Step::Dropped(count) => encode_dropped(&[("v".to_owned(), *count)].into()),
        }
    }
}

/// The obvious implementation: the newest incarnation of `v` that anybody has spoken of, and the points.
#[derive(Default)]
struct Reference {
    newest: Incarnation,
    points: BTreeMap<PointId, Point>,
}

impl Reference {
    fn met(&mut self, incarnation: Incarnation) {
        if incarnation > self.newest {
            self.newest = incarnation;
            for point in self.points.values_mut() {
                point.vectors.retain(|name, _| name == "w");
            }
        }
    }

    fn admitted(&mut self, mut vectors: NamedVectors) -> NamedVectors {
        for stored in vectors.keys() {
            self.met(split_stored_name(stored).1);
        }
        let current = stored_name("v", self.newest);
        vectors.retain(|stored, _| stored == "w" || *stored == current);
        vectors
    }

    fn apply(&mut self, step: &Step) {
        let current = stored_name("v", self.newest);
        match step {
            Step::Dropped(count) => self.met(*count),
            Step::Points(PointOp::Upsert { points, .. }) => {
                for point in points {
                    let vectors = self.admitted(point.vectors.clone());
                    self.points.insert(point.id, Point { vectors, ..point.clone() });
                }
            }
            Step::Points(PointOp::UpdateVectors { points, .. }) => {
                for PointVectors { id, vectors } in points {
                    if self.points.contains_key(id) {
                        let vectors = self.admitted(vectors.clone());
                        self.points.get_mut(id).unwrap().vectors.extend(vectors);
                    }
                }
            }
            Step::Points(PointOp::DeleteVectors { names, .. }) => {
                for point in self.points.values_mut() {
                    point.vectors.retain(|stored, _| !names.contains(stored));
                }
            }
            Step::Points(PointOp::OverwritePayload { payload, .. }) => {
                let having = self.points.values_mut().filter(|point| point.vectors.contains_key(&current));
                having.for_each(|point| point.payload = payload.clone());
            }
            Step::Points(PointOp::Delete { .. }) => {
                self.points.retain(|_, point| !point.vectors.contains_key(&current))
            }
            Step::Points(other) => panic!("not generated: {other:?}"),
        }
    }

    fn random_step(&self, rng: &mut Rng) -> Step {
        // Written by whoever has not heard of the drop yet, knows the present vector, or the next one already.
        let incarnation = match rng.below(12) {
            0..=2 => self.newest.saturating_sub(1),
            3 => self.newest + 1,
            _ => self.newest,
        };
        let vectors = |rng: &mut Rng| {
            let mut vectors = NamedVectors::new();
            if rng.below(2) == 0 {
                vectors.insert("w".to_owned(), Vector::Dense(vec![rng.below(4) as f32]));
            }
            if rng.below(3) > 0 {
                vectors.insert(stored_name("v", incarnation), vector(incarnation, rng.below(4)));
            }
            vectors
        };
        let id = |rng: &mut Rng| PointId::Num(rng.below(IDS));
        Step::Points(match rng.below(12) {
            0..=5 => {
                let points = (0..=rng.below(2)).map(|_| id(rng)).collect::<BTreeSet<PointId>>();
                let point = |id| Point { id, vectors: vectors(rng), payload: payload(rng.below(5)) };
                let points = points.into_iter().map(point).collect();
                PointOp::Upsert { points, mode: UpsertMode::Upsert, update_filter: None }
            }
            6 | 7 => {
                let points = vec![PointVectors { id: id(rng), vectors: vectors(rng) }];
                PointOp::UpdateVectors { points, update_filter: None }
            }
            8 => {
                let select = PointSelector::Filter(Filter::default());
                PointOp::DeleteVectors { select, names: vec![stored_name("v", incarnation)] }
            }
            9 => {
                let (select, payload) = (PointSelector::Filter(has_v()), payload(100 + rng.below(5)));
                PointOp::OverwritePayload { select, payload, key: None }
            }
            10 if rng.below(4) == 0 => PointOp::Delete { select: PointSelector::Filter(has_v()) },
            _ => return Step::Dropped(if rng.below(3) == 0 { self.newest + 1 } else { incarnation }),
        })
    }
}

/// A shard that is told of its vectors, restarted and worked on at moments of its own.
struct Replica {
    dir: tempfile::TempDir,
    db: Option<PointDb>,
    shard: Option<Shard>,
    told: Incarnation,
}

impl Replica {
    fn new() -> Replica {
        let dir = tempfile::tempdir().unwrap();
        let mut replica = Replica { dir, db: None, shard: None, told: 0 };
        replica.open();
        replica
    }

    fn open(&mut self) {
        self.shard = None;
        self.db = None;
        let path: &Path = self.dir.path();
        let db = PointDb::open(&path.join("kvdb"), &DB).unwrap();
        let settings =
            ShardSettings { vectors: vectors(self.told), fields: BTreeMap::new(), index_dir: path.join("index") };
        self.shard = Some(Shard::open(db.shard(ShardId(3)), settings).unwrap());
        self.db = Some(db);
    }

    fn shard(&self) -> &Shard {
        self.shard.as_ref().unwrap()
    }

    fn apply(&self, log: &[Vec<u8>]) {
        let applied = self.shard().position().unwrap().map_or(0, |p| u64::from_be_bytes(p.try_into().unwrap()));
        let entries: Vec<Entry<'_>> = (applied + 1..)
            .zip(&log[applied as usize..])
            .map(|(index, command)| Entry { index, command: Some(command) })
            .collect();
        self.shard().apply(&entries, &(log.len() as u64).to_be_bytes()).unwrap();
    }

    fn tell(&mut self, incarnation: Incarnation) {
        self.told = incarnation;
        self.shard().reconfigure(&vectors(incarnation)).unwrap();
    }

    /// Something that must make no difference.
    fn live(&mut self, rng: &mut Rng, newest: Incarnation, log: &[Vec<u8>]) {
        match rng.below(10) {
            0 | 1 => self.tell((newest + rng.below(3)).saturating_sub(1)),
            2 => drop(self.shard().index_work(1 + rng.below(2_000) as usize)),
            3 => self.shard().flush().unwrap(),
            4 => self.shard().checkpoint().unwrap(),
            5 => {
                self.open();
                self.apply(log);
            }
            _ => {}
        }
    }

    /// Points with their versions, and the vectors of incarnations from `newest` on.
    fn stored(&self, newest: Incarnation) -> Vec<(PointId, PointVersion, NamedVectors)> {
        let view = self.shard().store.view();
        let heads: Vec<(PointId, PointHead)> = view.iter_heads(None).collect::<Result<_, _>>().unwrap();
        let with_vectors = |(id, head): (PointId, PointHead)| {
            let mut vectors = self.shard().store.vectors(&id).unwrap();
            vectors.retain(|stored, _| stored == "w" || split_stored_name(stored).1 >= newest);
            (id, head.version, vectors)
        };
        heads.into_iter().map(with_vectors).collect()
    }

    fn check(&self, reference: &Reference) {
        self.shard().validate().unwrap();
        let stored: Vec<(PointId, NamedVectors)> =
            self.stored(reference.newest).into_iter().map(|(id, _, vectors)| (id, vectors)).collect();
        let want: Vec<(PointId, NamedVectors)> =
            reference.points.values().map(|point| (point.id, point.vectors.clone())).collect();
        assert_eq!(stored, want);
    }

    /// Reads, once the shard has been told of the newest incarnation.
    fn check_reads(&mut self, reference: &Reference) {
        self.tell(reference.newest);
        self.check(reference);
        let ids: Vec<PointId> = reference.points.keys().copied().collect();
        let records = self.shard().get(&ids, &PayloadSelector::All, &VectorSelector::All).unwrap();
        for (record, point) in records.iter().zip(reference.points.values()) {
            let shown =
                |(stored, vector): (&VectorName, &Vector)| (split_stored_name(stored).0.to_owned(), vector.clone());
            let want: NamedVectors = point.vectors.iter().map(shown).collect();
            assert_eq!((record.vectors.as_ref(), record.payload.as_ref()), (Some(&want), Some(&point.payload)));
        }
        let having = |point: &&Point| point.vectors.contains_key(&stored_name("v", reference.newest));
        let having: Vec<PointId> = reference.points.values().filter(having).map(|point| point.id).collect();
        let stop = Stop::new();
        assert_eq!(self.shard().scroll(None, 100, Some(&has_v()), &stop).unwrap(), having);
        let query = vector(reference.newest, 1);
        let nearest = Nearest {
            using: "v",
            vector: &query,
            filter: None,
            k: 100,
            ef: None,
            exact: true,
            indexed_only: false,
            codes: CodeUse::default(),
        };
        let mut found: Vec<PointId> =
            self.shard().search(&nearest, &stop).unwrap().hits.into_iter().map(|hit| hit.id).collect();
        found.sort_unstable();
        assert_eq!(found, having);
    }

    /// Stored names that are there at all.
    fn names(&self) -> BTreeSet<VectorName> {
        self.shard().store.view().iter_vectors().map(|item| item.unwrap().1).collect()
    }
}

#[test]
fn s18_what_a_log_makes_of_dropped_vectors_depends_on_the_log_alone() {
    for seed in 1..=5 {
        let mut rng = Rng((seed * 0x9E37_79B9) | 1);
        let (mut one, mut other) = (Replica::new(), Replica::new());
        let mut reference = Reference::default();
        let mut log: Vec<Vec<u8>> = Vec::new();
        for step in 0..80 {
            for _ in 0..=rng.below(3) {
                let next = reference.random_step(&mut rng);
                reference.apply(&next);
                log.push(next.encode());
                // One replica takes entries in runs, the other one by one.
                other.apply(&log);
            }
            one.apply(&log);
            one.live(&mut rng, reference.newest, &log);
            other.live(&mut rng, reference.newest, &log);
            let newest = reference.newest;
            assert_eq!(one.stored(newest), other.stored(newest), "seed {seed} step {step}");
            one.check(&reference);
            other.check(&reference);
            if step % 10 == 0 {
                one.check_reads(&reference);
                other.check_reads(&reference);
            }
        }
        for replica in [&mut one, &mut other] {
            replica.check_reads(&reference);
            while replica.shard().index_work(1_000) > 0 {}
            assert!(!replica.shard().has_dropped_bytes());
            let current = stored_name("v", reference.newest);
            assert!(replica.names().iter().all(|stored| stored == "w" || *stored == current), "{:?}", replica.names());
            replica.open();
            replica.apply(&log);
            replica.check_reads(&reference);
        }
    }
}

/// Upserts one point with this incarnation of `v`.
fn put(id: u64, incarnation: Incarnation, value: u64) -> Vec<u8> {
    let vectors = [(stored_name("v", incarnation), vector(incarnation, value))].into();
    let points = vec![Point { id: PointId::Num(id), vectors, payload: Payload::default() }];
    encode_command(&PointOp::Upsert { points, mode: UpsertMode::Upsert, update_filter: None })
}

#[test]
fn s18_a_write_from_before_the_drop_puts_nothing_into_the_new_vector() {
    let mut replica = Replica::new();
    let mut log = vec![put(1, 0, 1), encode_dropped(&[("v".to_owned(), 1)].into())];
    replica.apply(&log);
    replica.tell(1);
    // Checked before the drop, proposed after the vector was added again.
    log.push(put(2, 0, 2));
    log.push(put(3, 1, 3));
    replica.apply(&log);
    let ids: Vec<PointId> = (1..=3).map(PointId::Num).collect();
    let read = |replica: &Replica| -> Vec<Option<Vector>> {
        let records = replica.shard().get(&ids, &PayloadSelector::None, &VectorSelector::All).unwrap();
        records.into_iter().map(|record| record.vectors.unwrap().remove("v")).collect()
    };
    let want = vec![None, None, Some(vector(1, 3))];
    assert_eq!(read(&replica), want);
    replica.open();
    replica.apply(&log);
    assert_eq!(read(&replica), want, "after a restart");
}

#[test]
fn s18_a_write_that_overtakes_the_news_of_its_vector_is_not_lost() {
    let mut replica = Replica::new();
    let log = vec![put(1, 0, 1), put(2, 1, 2)];
    replica.apply(&log);
    let read = |replica: &Replica| {
        let record = replica.shard().get(&[PointId::Num(2)], &PayloadSelector::None, &VectorSelector::All).unwrap();
        record[0].vectors.clone().unwrap()
    };
    assert_eq!(read(&replica), NamedVectors::new(), "the shard was not told of it yet");
    replica.tell(1);
    assert_eq!(read(&replica), [("v".to_owned(), vector(1, 2))].into());
}

#[test]
fn s18_dropped_bytes_are_removed_also_after_a_crash_between_drop_and_removal() {
    let mut replica = Replica::new();
    let mut log: Vec<Vec<u8>> = (0..5_000).map(|id| put(id, 0, 1)).collect();
    replica.apply(&log);
    log.push(encode_dropped(&[("v".to_owned(), 1)].into()));
    replica.apply(&log);
    replica.tell(1);
    assert!(replica.shard().has_dropped_bytes());
    replica.shard().index_work(1);
    replica.shard().flush().unwrap();
    assert_eq!(replica.names(), ["v".to_owned()].into(), "one step is not enough");
    replica.open();
    assert!(replica.shard().has_dropped_bytes(), "seen again");
    while replica.shard().index_work(1_000) > 0 {}
    assert!(!replica.shard().has_dropped_bytes());
    assert_eq!(replica.names(), BTreeSet::new());
    assert_eq!(replica.shard().status().point_count, 5_000);
}
