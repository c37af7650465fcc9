//! The graph over multivectors against the exact scan. Every random choice comes from a seed.

use std::collections::HashSet;
use std::sync::Arc;

use super::tests::{METRICS, Numbers};
use super::*;
use crate::distance::max_sim_distance;
use crate::model::vector::normalize;
use crate::model::{Metric, MultiVector, PointId, Slot};

const DIM: usize = 8;
const ROWS_MAX: usize = 4;

/// Documents about a few of 64 topics each: a row is near the center of its topic.
struct Documents {
    topics: Vec<Vec<f32>>,
    metric: Metric,
    numbers: Numbers,
}

impl Documents {
    fn new(seed: u64, metric: Metric) -> Documents {
        let mut numbers = Numbers(seed);
        let topics = (0..64).map(|_| (0..DIM).map(|_| numbers.unit()).collect()).collect();
        Documents { topics, metric, numbers }
    }

    fn next(&mut self) -> MultiVector {
        let about: Vec<usize> = (0..3).map(|_| self.numbers.below(self.topics.len())).collect();
        let mut values = Vec::new();
        for _ in 0..=self.numbers.below(ROWS_MAX) {
            let topic = about[self.numbers.below(about.len())];
            let mut row: Vec<f32> = self.topics[topic].clone();
            row.iter_mut().for_each(|x| *x += 0.5 * self.numbers.unit());
            if self.metric == Metric::Cosine {
                normalize(&mut row);
            }
            values.append(&mut row);
        }
        MultiVector::new(DIM, values).unwrap()
    }
}

struct World {
    slots: Arc<Slots>,
    index: MultiIndex,
    scratch: Scratch,
    documents: Documents,
    next_id: u64,
}

impl World {
    fn new(metric: Metric, m: usize) -> World {
        let slots = Arc::new(Slots::new());
        let index = MultiIndex::new(
            slots.clone(),
            IndexParams { dim: DIM, metric, m, ef_construction: 60, storage: VectorStorage::default() },
            None,
        );
        World::over(slots, index)
    }

    fn over(slots: Arc<Slots>, index: MultiIndex) -> World {
        let documents = Documents::new(42, index.params().metric);
        World { slots, index, scratch: Scratch::new(), documents, next_id: 0 }
    }

    fn put(&mut self) -> Slot {
        self.next_id += 1;
        let slot = self.slots.allocate(PointId::Num(self.next_id), self.next_id).unwrap();
        self.index.put(slot, &self.documents.next());
        slot
    }

    fn put_many(&mut self, count: usize) -> Vec<Slot> {
        (0..count).map(|_| self.put()).collect()
    }

    fn remove(&self, slot: Slot) {
        assert!(self.index.remove(slot));
        assert!(self.slots.retire(slot));
    }

    fn settle(&mut self) {
        while self.index.work(&mut self.scratch, 100) > 0 {}
        assert_eq!(self.index.tail_len(), 0);
    }

    fn search(&mut self, query: &MultiVector, params: &SearchParams<'_>) -> Vec<(Slot, f32)> {
        let pin = self.slots.pin();
        self.index.search(&pin, &mut self.scratch, query, params, &Stop::new()).unwrap().hits
    }

    /// What a search must find, by comparing everything.
    fn nearest(&self, query: &MultiVector, k: usize, filter: Option<&Bitmap>) -> Vec<(Slot, f32)> {
        let pin = self.slots.pin();
        let eligible = self.slots.live();
        let eligible = eligible.iter().filter(|slot| filter.is_none_or(|filter| filter.contains(*slot)));
        let mut all: Vec<(Slot, f32)> =
            eligible.filter_map(|slot| Some((slot, self.index.distance(&pin, query, slot)?))).collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        all.truncate(k);
        all
    }

    /// Share of the true 10 nearest that are found, over 25 queries. Exact searches must find all, and all distances are
    /// those asked for.
    fn recall(&mut self, ef: usize, filter: Option<&Bitmap>) -> f64 {
        let (mut found, mut wanted) = (0, 0);
        for _ in 0..25 {
            let query = self.documents.next();
            let truth = self.nearest(&query, 10, filter);
            assert_eq!(self.search(&query, &SearchParams { exact: true, filter, ..approximate(10, ef) }), truth);
            let hits = self.search(&query, &SearchParams { filter, ..approximate(10, ef) });
            assert_eq!(hits.len(), truth.len());
            assert_eq!(hits.iter().map(|hit| hit.0).collect::<HashSet<_>>().len(), hits.len());
            let pin = self.slots.pin();
            for (slot, distance) in &hits {
                assert!(filter.is_none_or(|filter| filter.contains(*slot)));
                assert_eq!(self.index.distance(&pin, &query, *slot), Some(*distance));
            }
            let worst = truth.last().map_or(f32::INFINITY, |hit| hit.1);
            found += hits.iter().filter(|hit| hit.1 <= worst).count();
            wanted += truth.len();
        }
        found as f64 / wanted.max(1) as f64
    }

    fn some_slots(&self, percent: u64) -> Bitmap {
        let mut bitmap = Bitmap::new(self.slots.bound());
        let mut numbers = Numbers(7);
        let chosen = (0..self.slots.bound() as u32).filter(|_| numbers.next() % 100 < percent);
        chosen.for_each(|slot| _ = bitmap.set(Slot(slot)));
        bitmap
    }
}

fn approximate(k: usize, ef: usize) -> SearchParams<'static> {
    SearchParams { k, ef, exact: false, indexed_only: false, filter: None, codes: CodeUse::default() }
}

#[test]
fn recall_has_a_floor_for_every_metric_and_filter() {
    for metric in METRICS {
        let mut world = World::new(metric, 8);
        world.put_many(1_200);
        world.settle();
        world.index.validate().unwrap();
        assert_eq!(world.index.indexed_len(), 1_200);
        let recall = world.recall(128, None);
        assert!(recall >= 0.95, "{metric:?}: {recall}");
        for percent in [1, 20, 80] {
            let filter = world.some_slots(percent);
            let recall = world.recall(128, Some(&filter));
            assert!(recall >= 0.95, "{metric:?} {percent} %: {recall}");
        }
    }
}

#[test]
fn a_walk_compares_few_and_more_of_them_with_a_larger_ef() {
    let mut world = World::new(Metric::Cosine, 8);
    world.put_many(1_200);
    world.settle();
    let mut cost = |ef| {
        let query = world.documents.next();
        let pin = world.slots.pin();
        let found = world.index.search(&pin, &mut world.scratch, &query, &approximate(10, ef), &Stop::new()).unwrap();
        found.cost.distances
    };
    let (narrow, wide): (u64, u64) = (0..20).fold((0, 0), |(narrow, wide), _| (narrow + cost(16), wide + cost(64)));
    assert!(narrow < wide && wide / 20 < 900, "{} and {} distances a search", narrow / 20, wide / 20);
}

#[test]
fn replacing_every_point_keeps_recall_and_memory() {
    let mut world = World::new(Metric::Cosine, 8);
    let mut live = world.put_many(800);
    world.settle();
    let fresh = world.recall(64, None);
    for (at, old) in live.iter_mut().enumerate() {
        let slot = world.put();
        world.remove(std::mem::replace(old, slot));
        if at % 50 == 0 {
            while world.index.work(&mut world.scratch, 100) > 0 {}
        }
    }
    world.settle();
    world.index.validate().unwrap();
    let churned = world.recall(64, None);
    assert!(churned >= fresh - 0.02, "{churned} after {fresh}");
    assert!(world.slots.bound() <= 1_000, "{} slots for 800 points", world.slots.bound());
}

#[test]
fn the_tail_is_found_unless_only_indexed_points_are_wanted() {
    for m in [0, 8] {
        let mut world = World::new(Metric::Euclid, m);
        world.put_many(600);
        world.settle();
        let tail = world.put_many(50);
        let waiting = if m == 0 { 0 } else { 50 };
        assert_eq!((world.index.tail_len(), world.index.indexed_len()), (waiting, 650 - waiting));
        for slot in &tail {
            let query = world.index.vector(&world.slots.pin(), *slot).unwrap().into_owned();
            let is_found = |hits: Vec<(Slot, f32)>| hits.iter().any(|hit| hit.0 == *slot);
            assert!(is_found(world.search(&query, &approximate(10, 64))));
            let hidden = world.search(&query, &SearchParams { indexed_only: true, ..approximate(10, 64) });
            assert_eq!(is_found(hidden), m == 0);
        }
        world.remove(tail[0]);
        let query = world.documents.next();
        assert!(world.search(&query, &approximate(usize::MAX, 64)).iter().all(|hit| hit.0 != tail[0]));
        assert_eq!(world.search(&query, &approximate(usize::MAX, 64)).len(), 649);
    }
}

#[test]
fn vectors_of_very_different_lengths_reach_each_other() {
    let mut world = World::new(Metric::Cosine, 8);
    for n in 0..800 {
        let long: Vec<f32> = (0..if n % 20 == 0 { 40 } else { 1 })
            .flat_map(|_| world.documents.next().rows().next().unwrap().to_vec())
            .collect();
        let slot = world.slots.allocate(PointId::Num(n), 1).unwrap();
        world.index.put(slot, &MultiVector::new(DIM, long).unwrap());
    }
    world.settle();
    world.index.validate().unwrap();
    let recall = world.recall(128, None);
    assert!(recall >= 0.95, "{recall}");
}

#[test]
fn a_graph_comes_back_from_its_checkpoint() {
    let folder = tempfile::tempdir().unwrap();
    let (table, graph) = (folder.path().join("slots"), folder.path().join("graph"));
    let mut world = World::new(Metric::Cosine, 8);
    world.put_many(800);
    world.settle();
    let pin = world.slots.pin();
    world.index.write_checkpoint(&pin, &graph, 5).unwrap();
    world.slots.write_checkpoint(&pin, &table, 5).unwrap();
    drop(pin);
    let params = *world.index.params();
    let slots = Arc::new(Slots::load(&table, 5).unwrap());
    let as_dense = DenseIndex::load(slots.clone(), params, None, &graph, 5);
    assert!(matches!(as_dense, Err(CheckpointError::Foreign { what: "format", .. })));
    let restoring = MultiIndex::load(slots.clone(), params, None, &graph, 5).unwrap();
    let pin = world.slots.pin();
    for slot in slots.live().iter() {
        // One in four is gone from the storage.
        match slot.0 % 4 {
            0 => assert!(slots.retire(slot)),
            _ => restoring.put(slot, &world.index.vector(&pin, slot).unwrap()),
        }
    }
    drop(pin);
    let index = restoring.finish();
    slots.settle();
    assert_eq!((index.indexed_len(), index.tail_len(), index.repair_len()), (600, 0, 200));
    let mut loaded = World::over(slots, index);
    let recall = loaded.recall(128, None);
    assert!(recall >= 0.95, "before repair: {recall}");
    loaded.settle();
    let recall = loaded.recall(128, None);
    assert!(recall >= 0.95, "after repair: {recall}");
    loaded.put_many(200);
    assert_eq!(loaded.slots.bound(), 800, "slots that were lost are used again");
}

#[test]
fn distances_are_max_sim_with_the_stored_vector_last() {
    let mut world = World::new(Metric::Dot, 4);
    let slot = world.put_many(10)[3];
    let query = world.documents.next();
    let pin = world.slots.pin();
    let want = max_sim_distance(
        &crate::distance::Distances::new(Metric::Dot),
        &query,
        &world.index.vector(&pin, slot).unwrap(),
    );
    assert_eq!(world.index.distance(&pin, &query, slot), Some(want));
}
