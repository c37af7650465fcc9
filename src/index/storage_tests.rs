//! Every way to keep vectors, against exact distances of what is kept.

use std::collections::HashSet;
use std::path::Path;
use std::sync::Arc;

use super::tests::{Clusters, METRICS};
use super::*;
use crate::distance::{CodeBits, Distances};
use crate::model::collection::Datatype;
use crate::model::{Metric, PointId, Slot};

const COUNT: usize = 1_500;
const DATATYPES: [Datatype; 3] = [Datatype::Float32, Datatype::Float16, Datatype::Uint8];
const ALL_BITS: [CodeBits; 3] = [CodeBits::Eight, CodeBits::Four, CodeBits::One];

/// An index whose vectors are known from outside too.
struct Kept {
    slots: Arc<Slots>,
    index: DenseIndex,
    vectors: Vec<(Slot, Vec<f32>)>,
    scratch: Scratch,
    numbers: Clusters,
}

impl Kept {
    fn new(metric: Metric, dim: usize, storage: VectorStorage, folder: Option<&Path>) -> Kept {
        let slots = Arc::new(Slots::new());
        let params = IndexParams { dim, metric, m: 8, ef_construction: 60, storage };
        let index = DenseIndex::new(slots.clone(), params, folder);
        let numbers = Clusters::new(9, dim, metric);
        let mut kept = Kept { slots, index, vectors: Vec::new(), scratch: Scratch::new(), numbers };
        for id in 0..COUNT {
            let vector = kept.vector();
            let slot = kept.slots.allocate(PointId::Num(id as u64), 1).unwrap();
            kept.index.put(slot, &vector);
            kept.vectors.push((slot, vector));
        }
        while kept.index.work(&mut kept.scratch, 100) > 0 {}
        // Among vectors that all point one way the short are nobody's neighbor by product, and nobody's answer.
        if metric != Metric::Dot {
            kept.index.validate().unwrap();
        }
        kept
    }

    /// As it is kept.
    fn vector(&mut self) -> Vec<f32> {
        let datatype = self.index.params().storage.datatype;
        let mut vector = self.numbers.vector();
        let spread = if datatype == Datatype::Uint8 { (80.0, 128.0) } else { (1.0, 0.0) };
        vector.iter_mut().for_each(|x| *x = datatype.rounded(*x * spread.0 + spread.1));
        vector
    }

    fn search(&mut self, query: &[f32], params: &SearchParams<'_>) -> Vec<(Slot, f32)> {
        self.index.search(&self.slots.pin(), &mut self.scratch, query, params, &Stop::new()).unwrap().hits
    }

    /// All distances, ascending.
    fn truth(&self, query: &[f32]) -> Vec<(f32, Slot)> {
        let kernel = Distances::scalar(self.index.params().metric);
        let mut all: Vec<(f32, Slot)> =
            self.vectors.iter().map(|(slot, vector)| (kernel.distance(query, vector), *slot)).collect();
        all.sort_by(|a, b| a.0.total_cmp(&b.0));
        all
    }

    /// Share of the 10 nearest found, over some queries, of each of which the distances are checked.
    fn recall(&mut self, params: &SearchParams<'_>) -> f64 {
        const QUERIES: usize = 30;
        let mut hits = 0;
        for _ in 0..QUERIES {
            let query = self.vector();
            let truth = self.truth(&query);
            let found = self.search(&query, params);
            assert_eq!(found.len(), 10);
            let largest = truth[COUNT - 1].0.abs().max(truth[0].0.abs());
            for (slot, distance) in &found {
                let (want, _) = truth.iter().find(|of| of.1 == *slot).unwrap();
                let is_near = (distance - want).abs() <= 1e-5 * largest;
                assert!(is_near || !params.codes.rescores, "{distance} for {want}");
            }
            let bound = truth[9].0 + 1e-6 * largest;
            let near: HashSet<Slot> = truth.iter().filter(|of| of.0 <= bound).map(|of| of.1).collect();
            hits += found.iter().filter(|hit| near.contains(&hit.0)).count();
        }
        hits as f64 / (10 * QUERIES) as f64
    }
}

fn params(ef: usize) -> SearchParams<'static> {
    SearchParams { k: 10, ef, exact: false, indexed_only: false, filter: None, codes: CodeUse::default() }
}

#[test]
fn vectors_come_back_and_are_found_however_they_are_kept() {
    // Of dimensions that are a whole number of nothing, and of which codes are split and are not.
    for (metric, dim) in METRICS.into_iter().flat_map(|metric| [(metric, 20), (metric, 99), (metric, 300)]) {
        for datatype in DATATYPES {
            if datatype == Datatype::Uint8 && metric == Metric::Cosine {
                // Those are scaled, and kept beside: `shard::column`.
                continue;
            }
            for codes in ALL_BITS {
                let storage = VectorStorage { datatype, codes, ..VectorStorage::default() };
                let mut kept = Kept::new(metric, dim, storage, None);
                let what = format!("{metric:?} {dim} {datatype:?} {codes:?}");
                let pin = kept.slots.pin();
                for (slot, vector) in &kept.vectors {
                    assert_eq!(*kept.index.vector(&pin, *slot).unwrap(), **vector, "{what}");
                }
                drop(pin);
                assert_eq!(kept.recall(&SearchParams { exact: true, ..params(10) }), 1.0, "{what}");
                // Products favour the long: the heuristic leaves some of the short out of reach.
                let floor = if metric == Metric::Dot { 0.9 } else { 0.97 };
                let recall = kept.recall(&params(100));
                assert!(recall >= floor, "{what}: {recall}");
            }
        }
    }
}

#[test]
fn a_query_that_is_not_bytes_is_compared_as_it_is() {
    for metric in [Metric::Euclid, Metric::Dot] {
        let storage = VectorStorage { datatype: Datatype::Uint8, ..VectorStorage::default() };
        let mut kept = Kept::new(metric, 70, storage, None);
        for shift in [0.25, -300.0] {
            let query: Vec<f32> = kept.vector().iter().map(|x| x + shift).collect();
            let truth = kept.truth(&query);
            for exact in [true, false] {
                let found = kept.search(&query, &SearchParams { exact, ..params(200) });
                let near = (found[0].1 - truth[0].0).abs() <= 1e-5 * truth[0].0.abs();
                assert!(near, "{metric:?} {shift}: {} for {}", found[0].1, truth[0].0);
            }
        }
    }
}

#[test]
fn more_codes_looked_at_find_more_and_vectors_find_most() {
    let storage = VectorStorage { codes: CodeBits::One, ..VectorStorage::default() };
    let mut kept = Kept::new(Metric::Euclid, 64, storage, None);
    let mut recall = |ef, codes| kept.recall(&SearchParams { codes, ..params(ef) });
    let by_estimates = recall(20, CodeUse { rescores: false, ..CodeUse::default() });
    let rescored = recall(20, CodeUse::default());
    let oversampled = recall(20, CodeUse { oversampling: 8.0, ..CodeUse::default() });
    let by_vectors = recall(20, CodeUse { is_ignored: true, ..CodeUse::default() });
    assert!(by_estimates < rescored - 0.02 && rescored < oversampled - 0.02, "{by_estimates} {rescored} {oversampled}");
    assert!(oversampled > 0.95 && by_vectors > rescored, "{oversampled} {by_vectors}");
}

#[test]
fn estimates_of_split_codes_are_as_fine_as_all_their_bits() {
    let mut kept = Kept::new(Metric::Euclid, 300, VectorStorage::default(), None);
    let codes = CodeUse { rescores: false, ..CodeUse::default() };
    let recall = kept.recall(&SearchParams { codes, ..params(100) });
    // Upper halves alone reach 0.75.
    assert!(recall > 0.95, "{recall}");
}

#[test]
fn few_members_of_a_filter_are_found_by_every_code() {
    for codes in ALL_BITS {
        let storage = VectorStorage { codes, ..VectorStorage::default() };
        let mut kept = Kept::new(Metric::Euclid, 130, storage, None);
        let mut filter = Bitmap::new(kept.slots.bound());
        kept.vectors.iter().step_by(4).for_each(|(slot, _)| _ = filter.set(*slot));
        let mut found = 0;
        for _ in 0..20 {
            let query = kept.vector();
            let truth = kept.truth(&query);
            let want: HashSet<Slot> =
                truth.iter().map(|of| of.1).filter(|slot| filter.contains(*slot)).take(10).collect();
            let hits = kept.search(&query, &SearchParams { filter: Some(&filter), ..params(40) });
            assert!(hits.iter().all(|hit| filter.contains(hit.0)));
            found += hits.iter().filter(|hit| want.contains(&hit.0)).count();
        }
        assert!(found >= 195, "{codes:?}: {found} of 200");
    }
}

#[test]
fn what_is_on_disk_takes_no_memory_and_is_found() {
    let folder = tempfile::tempdir().unwrap();
    for (datatype, codes_on_disk) in [(Datatype::Float32, false), (Datatype::Float16, true), (Datatype::Uint8, false)] {
        let storage = VectorStorage { datatype, vectors_on_disk: true, codes_on_disk, ..VectorStorage::default() };
        let mut kept = Kept::new(Metric::Euclid, 150, storage, Some(folder.path()));
        let memory = kept.index.memory();
        assert_eq!((memory.vector_bytes, memory.code_bytes == 0), (0, codes_on_disk || datatype == Datatype::Uint8));
        let number_bytes = match datatype {
            Datatype::Float32 => 4,
            Datatype::Float16 => 2,
            Datatype::Uint8 => 1,
        };
        assert!(memory.file_bytes as usize >= COUNT * 150 * number_bytes);
        let recall = kept.recall(&params(100));
        assert!(recall >= 0.97, "{datatype:?}: {recall}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_vector_takes_what_its_datatype_and_its_code_take() {
    let bytes = |datatype, codes| {
        let storage = VectorStorage { datatype, codes, ..VectorStorage::default() };
        let kept = Kept::new(Metric::Euclid, 256, storage, None);
        let memory = kept.index.memory();
        // Segments double: at most twice what is in use.
        let per_vector = |bytes: u64| (bytes as usize / 2_048, bytes as usize / 1_024);
        (per_vector(memory.vector_bytes), per_vector(memory.code_bytes))
    };
    let takes =
        |(low, high): (usize, usize), bytes: usize| assert!(low <= bytes + 8 && bytes <= high, "{low} {bytes} {high}");
    for (datatype, codes, vector_bytes, code_bytes) in [
        (Datatype::Float32, CodeBits::Eight, 1_024, 320),
        (Datatype::Float32, CodeBits::Four, 1_024, 192),
        (Datatype::Float16, CodeBits::One, 512, 64),
        (Datatype::Uint8, CodeBits::One, 320, 0),
    ] {
        let (of_vectors, of_codes) = bytes(datatype, codes);
        takes(of_vectors, vector_bytes);
        takes(of_codes, code_bytes);
    }
}
