//! The index against exact search. Every random choice comes from a seed that the failure message shows.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use super::*;
use crate::distance::Distances;
use crate::model::vector::normalize;
use crate::model::{Metric, PointId, Slot};

pub(super) const METRICS: [Metric; 4] = [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan];

/// A reproducible stream of numbers (splitmix64).
pub(super) struct Numbers(pub(super) u64);

impl Numbers {
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub(super) fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    /// In -1..1.
    pub(super) fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Vectors in clusters, as embeddings are: 64 centers, and around each a cloud of half their spread.
pub(super) struct Clusters {
    centers: Vec<Vec<f32>>,
    metric: Metric,
    numbers: Numbers,
    /// Added to every number.
    shift: f32,
}

impl Clusters {
    pub(super) fn new(seed: u64, dim: usize, metric: Metric) -> Clusters {
        let mut numbers = Numbers(seed);
        let centers = (0..64).map(|_| (0..dim).map(|_| numbers.unit()).collect()).collect();
        Clusters { centers, metric, numbers, shift: 0.0 }
    }

    pub(super) fn vector(&mut self) -> Vec<f32> {
        let center = self.numbers.below(self.centers.len());
        let mut vector: Vec<f32> =
            self.centers[center].clone().into_iter().map(|x| self.shift + x + 0.5 * self.numbers.unit()).collect();
        if self.metric == Metric::Cosine {
            normalize(&mut vector);
        }
        vector
    }
}

/// An index, its slots and what a test needs to use them.
pub(super) struct World {
    pub(super) slots: Arc<Slots>,
    pub(super) index: DenseIndex,
    pub(super) scratch: Scratch,
    pub(super) data: Clusters,
    next_id: u64,
}

impl World {
    pub(super) fn new(metric: Metric, dim: usize, m: usize) -> World {
        let slots = Arc::new(Slots::new());
        let params = IndexParams { dim, metric, m, ef_construction: 100, storage: VectorStorage::default() };
        let index = DenseIndex::with_kernel(slots.clone(), params, Distances::scalar(metric), None);
        World::over(slots, index)
    }

    pub(super) fn over(slots: Arc<Slots>, index: DenseIndex) -> World {
        let data = Clusters::new(42, index.params().dim, index.params().metric);
        World { slots, index, scratch: Scratch::new(), data, next_id: 0 }
    }

    pub(super) fn put(&mut self) -> Slot {
        self.next_id += 1;
        let slot = self.slots.allocate(PointId::Num(self.next_id), self.next_id).unwrap();
        let vector = self.data.vector();
        self.index.put(slot, &vector);
        slot
    }

    pub(super) fn put_many(&mut self, count: usize) -> Vec<Slot> {
        (0..count).map(|_| self.put()).collect()
    }

    pub(super) fn remove(&self, slot: Slot) {
        assert!(self.index.remove(slot));
        assert!(self.slots.retire(slot));
    }

    /// Works until there is nothing to do, and checks the invariants.
    pub(super) fn settle(&mut self) {
        while self.index.work(&mut self.scratch, 100) > 0 {}
        assert_eq!(self.index.tail_len(), 0);
        self.index.validate().unwrap();
    }

    pub(super) fn search(&mut self, query: &[f32], params: &SearchParams<'_>) -> Found {
        let pin = self.slots.pin();
        self.index.search(&pin, &mut self.scratch, query, params, &Stop::new()).unwrap()
    }

    /// Share of the true k nearest that a search with `ef` finds, over 50 queries; every answer's form is checked.
    pub(super) fn recall(&mut self, k: usize, ef: usize, filter: Option<&Bitmap>) -> f64 {
        let (mut found, mut wanted) = (0, 0);
        for _ in 0..50 {
            let query = self.data.vector();
            let params = SearchParams { filter, ..approximate(k, ef) };
            let truth = self.search(&query, &SearchParams { exact: true, ..params }).hits;
            let hits = self.search(&query, &params).hits;
            let live = self.slots.live();
            let eligible = |slot| live.contains(slot) && filter.is_none_or(|filter| filter.contains(slot));
            assert_eq!(truth, self.flat(k, &query, eligible));
            assert_eq!(hits.len(), truth.len());
            assert!(hits.is_sorted_by_key(|hit| (hit.1, hit.0.0)) && hits.iter().all(|hit| eligible(hit.0)));
            assert_eq!(hits.iter().map(|hit| hit.0).collect::<HashSet<_>>().len(), hits.len());
            let truth: HashSet<Slot> = truth.iter().map(|hit| hit.0).collect();
            found += hits.iter().filter(|hit| truth.contains(&hit.0)).count();
            wanted += truth.len();
        }
        found as f64 / wanted.max(1) as f64
    }

    /// The truth: every eligible vector, compared and sorted.
    fn flat(&self, k: usize, query: &[f32], eligible: impl Fn(Slot) -> bool) -> Vec<(Slot, f32)> {
        let pin = self.slots.pin();
        let slots = (0..self.slots.bound() as u32).map(Slot).filter(|slot| eligible(*slot));
        let mut all: Vec<_> = slots.filter_map(|slot| Some((slot, self.index.distance(&pin, query, slot)?))).collect();
        all.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.cmp(&b.0)));
        all.truncate(k);
        all
    }

    /// One in `one_in` of the slots.
    pub(super) fn some_slots(&mut self, one_in: f64) -> Bitmap {
        let mut bitmap = Bitmap::new(self.slots.bound());
        let mut numbers = Numbers(7);
        for slot in 0..self.slots.bound() as u32 {
            if numbers.next() as f64 / u64::MAX as f64 * one_in < 1.0 {
                bitmap.set(Slot(slot));
            }
        }
        bitmap
    }
}

pub(super) fn approximate(k: usize, ef: usize) -> SearchParams<'static> {
    SearchParams { k, ef, exact: false, indexed_only: false, filter: None, codes: CodeUse::default() }
}

#[test]
fn recall_has_a_floor_for_every_metric_and_filter() {
    for metric in METRICS {
        let mut world = World::new(metric, 24, 8);
        world.put_many(6_000);
        world.settle();
        let recall = world.recall(10, 100, None);
        assert!(recall >= 0.97, "{metric:?}: {recall}");
        for percent in [0.1, 1.0, 10.0, 50.0, 99.0] {
            let filter = world.some_slots(100.0 / percent);
            let recall = world.recall(10, 100, Some(&filter));
            assert!(recall >= 0.97, "{metric:?} {percent} %: {recall}");
        }
    }
}

/// With so few candidates a filter that keeps a fifth is walked, not scanned.
#[test]
fn walks_under_filters_find_about_what_walks_without_find() {
    for metric in [Metric::Cosine, Metric::Euclid, Metric::Manhattan] {
        let mut world = World::new(metric, 24, 8);
        world.put_many(10_000);
        world.settle();
        let plain = world.recall(10, 10, None);
        for percent in [20.0, 30.0, 50.0, 80.0] {
            let filter = world.some_slots(100.0 / percent);
            let recall = world.recall(10, 10, Some(&filter));
            assert!(recall >= plain - 0.04, "{metric:?} {percent} %: {recall}, and {plain} without");
        }
    }
}

#[test]
fn vectors_far_from_the_origin_are_found() {
    for dim in [24, 100] {
        let mut world = World::new(Metric::Euclid, dim, 8);
        world.data.shift = 200.0;
        world.put_many(3_000);
        world.settle();
        let recall = world.recall(10, 100, None);
        assert!(recall >= 0.97, "{dim}: {recall}");
    }
}

#[test]
fn correlated_filters_do_not_break_recall() {
    let mut world = World::new(Metric::Euclid, 16, 8);
    let slots = world.put_many(6_000);
    world.settle();
    // The farthest third from one corner: most queries come from elsewhere.
    let pin = world.slots.pin();
    let corner = vec![-1.0; 16];
    let mut far: Vec<_> =
        slots.iter().map(|slot| (world.index.distance(&pin, &corner, *slot).unwrap(), *slot)).collect();
    drop(pin);
    far.sort_by(|a, b| b.0.total_cmp(&a.0));
    let mut filter = Bitmap::new(world.slots.bound());
    for (_, slot) in &far[..2_000] {
        filter.set(*slot);
    }
    // Few candidates: these members are walked, not scanned.
    for (ef, floor) in [(12, 0.85), (64, 0.97)] {
        let recall = world.recall(10, ef, Some(&filter));
        assert!(recall >= floor, "ef {ef}: {recall}");
    }
}

#[test]
fn empty_small_and_graphless_indexes_answer() {
    for m in [0, 1, 2, 16] {
        let mut world = World::new(Metric::Euclid, 8, m);
        assert_eq!(world.search(&[0.0; 8], &approximate(10, 10)).hits, []);
        let slots = world.put_many(3);
        for _ in 0..2 {
            for k in [0, 1, 2, 3, 4, usize::MAX] {
                for indexed_only in [false, true] {
                    let params = SearchParams { indexed_only, ..approximate(k, usize::MAX) };
                    let hits = world.search(&[0.0; 8], &params).hits;
                    let seen = if indexed_only { world.index.indexed_len() } else { 3 };
                    assert_eq!(hits.len(), k.min(seen), "m {m} k {k}");
                }
            }
            world.settle();
            assert_eq!(world.index.indexed_len(), 3);
        }
        world.remove(slots[1]);
        let hits = world.search(&[0.0; 8], &approximate(10, 10)).hits;
        assert_eq!(hits.iter().map(|hit| hit.0).collect::<HashSet<_>>(), HashSet::from([slots[0], slots[2]]));
        world.remove(slots[0]);
        world.remove(slots[2]);
        world.settle();
        assert_eq!(world.search(&[0.0; 8], &approximate(10, 10)).hits, []);
        assert_eq!((world.index.repair_len(), world.index.live_len()), (0, 0));
        world.put_many(3);
        assert!(world.slots.bound() <= 4, "slots are used again");
        world.settle();
        assert_eq!(world.search(&[0.0; 8], &approximate(2, 10)).hits.len(), 2);
    }
}

#[test]
fn the_tail_is_searched_exactly() {
    let mut world = World::new(Metric::Dot, 12, 8);
    world.put_many(3_000);
    world.settle();
    let tail = world.put_many(500);
    assert_eq!((world.index.tail_len(), world.index.indexed_len()), (500, 3_000));
    let pin = world.slots.pin();
    let vectors: Vec<_> = tail.iter().map(|slot| world.index.vector(&pin, *slot).unwrap().to_vec()).collect();
    drop(pin);
    let mut world_tail = Bitmap::new(world.slots.bound());
    tail.iter().for_each(|slot| _ = world_tail.set(*slot));
    for vector in &vectors[..20] {
        let in_tail = |hits: Vec<(Slot, f32)>| hits.into_iter().filter(|hit| world_tail.contains(hit.0)).collect();
        let exact: Vec<_> = in_tail(world.search(vector, &SearchParams { exact: true, ..approximate(50, 50) }).hits);
        let walked: Vec<_> = in_tail(world.search(vector, &approximate(50, 60)).hits);
        assert!(walked.len() >= exact.len() && walked[..exact.len()] == exact);
        let hidden = world.search(vector, &SearchParams { indexed_only: true, ..approximate(50, 60) });
        assert!(hidden.hits.iter().all(|hit| !world_tail.contains(hit.0)));
        assert_eq!(hidden.hits.len(), 50);
    }
}

#[test]
fn removals_take_effect_at_once_and_the_graph_stays_whole() {
    let mut world = World::new(Metric::Euclid, 16, 8);
    let mut slots = world.put_many(5_000);
    world.settle();
    // Most of it, the entry point included, before any repair.
    for slot in slots.drain(500..) {
        world.remove(slot);
    }
    let recall = world.recall(10, 64, None);
    assert!(recall >= 0.97, "before repair: {recall}");
    world.settle();
    assert_eq!(world.index.repair_len(), 0);
    let recall = world.recall(10, 64, None);
    assert!(recall >= 0.97, "after repair: {recall}");
    slots.extend(world.put_many(4_500));
    assert_eq!(world.slots.bound(), 5_000, "removed slots are used again");
    world.settle();
    let recall = world.recall(10, 100, None);
    assert!(recall >= 0.97, "refilled: {recall}");
}

#[test]
fn churn_keeps_recall_and_memory() {
    let mut world = World::new(Metric::Cosine, 24, 8);
    let mut live: Vec<Slot> = world.put_many(5_000);
    world.settle();
    let fresh = world.recall(10, 50, None);
    let mut numbers = Numbers(5);
    for _ in 0..3 * live.len() / 100 {
        for _ in 0..100 {
            let at = numbers.below(live.len());
            let slot = world.put();
            world.remove(std::mem::replace(&mut live[at], slot));
        }
        while world.index.work(&mut world.scratch, 100) > 0 {}
    }
    world.settle();
    let churned = world.recall(10, 50, None);
    assert!(churned >= fresh - 0.01, "{churned} after {fresh}");
    assert!(world.slots.bound() <= 5_500, "{} slots for 5,000 points", world.slots.bound());
}

#[test]
fn searches_stop_when_told() {
    let mut world = World::new(Metric::Euclid, 8, 8);
    world.put_many(2_000);
    world.settle();
    let stop = Stop::new();
    stop.clone().raise();
    for exact in [true, false] {
        let params = SearchParams { exact, ..approximate(10, 20) };
        let pin = world.slots.pin();
        assert_eq!(world.index.search(&pin, &mut world.scratch, &[0.0; 8], &params, &stop), Err(Stopped));
    }
}

/// Many threads search and link while one puts and removes. The searchers know, from what was live before and after
/// their search, what they must and may have found.
#[test]
fn concurrent_searches_miss_nothing_live_and_find_nothing_dead() {
    let dim = 8;
    let slots = Arc::new(Slots::new());
    let params =
        IndexParams { dim, metric: Metric::Euclid, m: 6, ef_construction: 40, storage: VectorStorage::default() };
    let index = DenseIndex::new(slots.clone(), params, None);
    let done = AtomicBool::new(false);
    let rounds = if cfg!(miri) { 100 } else { 20_000 };
    let searches = std::thread::scope(|scope| {
        let worker = || {
            let mut scratch = Scratch::new();
            while !done.load(Ordering::Relaxed) {
                if index.work(&mut scratch, 16) == 0 {
                    std::thread::yield_now();
                }
            }
        };
        let searcher = |seed: u64| {
            let mut scratch = Scratch::new();
            let mut data = Clusters::new(seed, dim, Metric::Euclid);
            let mut searches = 0;
            while !done.load(Ordering::Relaxed) || searches == 0 {
                searches += 1;
                let pin = slots.pin();
                // A slot counts as live here once its vector is in; `vector` says so.
                let known = |slot: &Slot| index.vector(&pin, *slot).is_some();
                let before: HashSet<Slot> = slots.live().iter().filter(known).collect();
                let exact = SearchParams { k: usize::MAX, exact: true, ..approximate(0, 10) };
                let query = data.vector();
                let all = index.search(&pin, &mut scratch, &query, &exact, &Stop::new()).unwrap();
                let walked = index.search(&pin, &mut scratch, &query, &approximate(5, 10), &Stop::new()).unwrap();
                let bound_after = slots.bound();
                let found: HashSet<Slot> = all.hits.iter().map(|hit| hit.0).collect();
                assert_eq!(found.len(), all.hits.len(), "no slot twice");
                for slot in &before {
                    assert!(found.contains(slot) || index.vector(&pin, *slot).is_none(), "{slot:?} was missed");
                }
                for (slot, distance) in all.hits.iter().chain(&walked.hits) {
                    assert!(slot.index() < bound_after);
                    if let Some(again) = index.distance(&pin, &query, *slot) {
                        assert_eq!(again, *distance, "{slot:?} changed under the pin");
                    }
                }
            }
            searches
        };
        scope.spawn(worker);
        scope.spawn(worker);
        let searchers = [1, 2].map(|seed| scope.spawn(move || searcher(seed)));
        let mut data = Clusters::new(9, dim, Metric::Euclid);
        let mut numbers = Numbers(11);
        let mut live: Vec<Slot> = Vec::new();
        let mut scratch = Scratch::new();
        for round in 0..rounds {
            // As a shard does: the writer waits when the workers fall behind.
            while index.tail_len() + index.repair_len() > 400 {
                std::thread::yield_now();
            }
            let slot = slots.allocate(PointId::Num(round), round).unwrap();
            let vector = data.vector();
            index.put(slot, &vector);
            live.push(slot);
            // What was just put is found, exactly, wherever it is on its way into the graph.
            if round % 16 == 0 {
                let pin = slots.pin();
                let hits = index.search(&pin, &mut scratch, &vector, &approximate(1, 200), &Stop::new()).unwrap().hits;
                assert_eq!(hits[0].1, 0.0, "round {round}");
            }
            if live.len() > 400 {
                let slot = live.swap_remove(numbers.below(live.len()));
                assert!(index.remove(slot) && slots.retire(slot));
                let pin = slots.pin();
                assert_eq!(index.vector(&pin, slot), None);
                if round % 16 == 0 {
                    let all = SearchParams { k: usize::MAX, ..approximate(0, 10) };
                    let hits = index.search(&pin, &mut scratch, &vector, &all, &Stop::new()).unwrap().hits;
                    let found: HashSet<Slot> = hits.iter().map(|hit| hit.0).collect();
                    assert_eq!(found, live.iter().copied().collect(), "round {round}");
                }
            }
        }
        done.store(true, Ordering::Relaxed);
        searchers.map(|searcher| searcher.join().unwrap())
    });
    assert!(searches.iter().all(|count| *count > 0));
    let mut scratch = Scratch::new();
    while index.work(&mut scratch, 100) > 0 {}
    index.validate().unwrap();
    // A searcher that is put to sleep by the system delays reuse, so this is no tight bound.
    assert!(slots.bound() as u64 <= rounds / 2, "{} slots for 400 points", slots.bound());
}

/// What a search costs is part of the algorithm: a change of these numbers is a change of the algorithm.
/// `UPDATE_EXPECT=1` rewrites them.
#[test]
fn distance_counts_are_golden() {
    let mut counts = BTreeMap::new();
    // The shorter vectors have no codes.
    for dim in [16, 48] {
        let mut world = World::new(Metric::Euclid, dim, 8);
        world.put_many(8_000);
        world.settle();
        let [half, some] = [2.0, 4.0].map(|one_in| world.some_slots(one_in));
        let cases = [("", 16, None), ("", 64, None), (", half", 16, Some(&half)), (", one in 4", 10, Some(&some))];
        for (name, ef, filter) in cases {
            let mut data = Clusters::new(77, dim, Metric::Euclid);
            let mut cost = Cost::default();
            for _ in 0..20 {
                let found = world.search(&data.vector(), &SearchParams { filter, ..approximate(10, ef) });
                cost.visited += found.cost.visited;
                cost.distances += found.cost.distances;
            }
            counts.insert(format!("dim {dim}, ef {ef}{name}"), (cost.visited, cost.distances));
        }
    }
    check_golden("golden_costs.txt", &format!("{counts:#?}\n"));
}

/// Compares with a file of this folder; `UPDATE_EXPECT=1` rewrites it.
pub(super) fn check_golden(name: &str, got: &str) {
    let path = format!("{}/src/index/{name}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_EXPECT").is_some() {
        std::fs::write(&path, got).unwrap();
    }
    assert_eq!(got, std::fs::read_to_string(&path).unwrap_or_default(), "UPDATE_EXPECT=1 rewrites {path}");
}
