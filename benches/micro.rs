//! What a search is made of, each alone: kernels beside simsimd's, searches by every code, insertions, filters. `cargo bench
//! --bench micro`, with a part of a name after `--` for some of it.

#![expect(clippy::expect_used, reason = "a benchmark that cannot run has nothing else to say")]

use std::hint::black_box;
use std::sync::Arc;

use criterion::{BatchSize, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use quiver::distance::{CodeBits, CodeDistances, CodeTerms, Distances};
use quiver::index::{Bitmap, CodeUse, DenseIndex, IndexParams, Scratch, SearchParams, Slots, Stop, VectorStorage};
use quiver::model::{Metric, PointId, Slot};
use simsimd::SpatialSimilarity;

/// A hop's worth.
const ROWS: usize = 32;
const DIM: usize = 128;
const COUNT: usize = 20_000;

fn kernels(criterion: &mut Criterion) {
    for dim in [50, 128, 784] {
        let mut random = fastrand::Rng::with_seed(1);
        let mut group = criterion.benchmark_group(format!("kernels/{dim}"));
        group.throughput(Throughput::Elements(ROWS as u64));
        let vectors: Vec<Vec<f32>> = (0..=ROWS).map(|_| (0..dim).map(|_| random.f32()).collect()).collect();
        let rows: Vec<&[f32]> = vectors[..ROWS].iter().map(Vec::as_slice).collect();
        let (query, mut out) = (&vectors[ROWS], vec![0.0; ROWS]);
        for (name, kernel) in
            [("f32", Distances::new(Metric::Euclid)), ("f32 scalar", Distances::scalar(Metric::Euclid))]
        {
            group.bench_function(name, |bencher| bencher.iter(|| kernel.distances(black_box(query), &rows, &mut out)));
        }
        group.bench_function("f32 simsimd, one by one", |bencher| {
            bencher.iter(|| rows.iter().filter_map(|row| f32::sqeuclidean(black_box(query), row)).sum::<f64>());
        });
        let bytes: Vec<Vec<i8>> = (0..=ROWS).map(|_| (0..dim).map(|_| random.i8(-127..)).collect()).collect();
        group.bench_function("i8 simsimd, one by one", |bencher| {
            bencher.iter(|| bytes[..ROWS].iter().filter_map(|row| i8::dot(black_box(&bytes[ROWS]), row)).sum::<f64>());
        });
        for (name, bits) in [("8 bits", CodeBits::Eight), ("4 bits", CodeBits::Four), ("1 bit", CodeBits::One)] {
            let kernel = CodeDistances::new(bits, dim, -2.0);
            let (mut probe, mut rows) = (Vec::new(), vec![Vec::new(); ROWS]);
            kernel.write_probe(&bytes[ROWS], CodeTerms::new(0.1, 1.0, 5), &mut probe);
            for (row, z) in rows.iter_mut().zip(&bytes) {
                let z: Vec<i8> = z.iter().map(|z| (*z).clamp(-bits.z_max(), bits.z_max())).collect();
                kernel.write_row(&z, CodeTerms::new(0.1, 1.0, 5), row);
            }
            let rows: Vec<*const u8> = rows.iter().map(|row| row.as_ptr()).collect();
            group.bench_function(format!("{name}, as a walk"), |bencher| {
                // SAFETY: the rows are the kernel's, and live.
                bencher.iter(|| unsafe { kernel.distances(black_box(&probe), &rows, &mut out) });
            });
            if kernel.is_split() {
                group.bench_function(format!("{name}, all of them"), |bencher| {
                    // SAFETY: as above.
                    bencher.iter(|| unsafe { kernel.fine_distances(black_box(&probe), &rows, &mut out) });
                });
            }
        }
    }
}

/// Vectors around a hundred centers.
fn vectors(count: usize) -> Vec<Vec<f32>> {
    let mut random = fastrand::Rng::with_seed(2);
    let centers: Vec<Vec<f32>> = (0..100).map(|_| (0..DIM).map(|_| random.f32()).collect()).collect();
    let mut near = |center: &Vec<f32>| center.iter().map(|x| x + random.f32()).collect();
    (0..count).map(|i| near(&centers[i % centers.len()])).collect()
}

fn built(vectors: &[Vec<f32>], codes: CodeBits) -> (Arc<Slots>, DenseIndex) {
    let slots = Arc::new(Slots::new());
    let storage = VectorStorage { codes, ..VectorStorage::default() };
    let params = IndexParams { dim: DIM, metric: Metric::Euclid, m: 16, ef_construction: 100, storage };
    let index = DenseIndex::new(Arc::clone(&slots), params, None);
    for (id, vector) in (0u64..).zip(vectors) {
        index.put(slots.allocate(PointId::Num(id), 1).expect("few slots"), vector);
    }
    let mut scratch = Scratch::new();
    while index.work(&mut scratch, 1_000) > 0 {}
    (slots, index)
}

fn searches(criterion: &mut Criterion) {
    let all = vectors(COUNT + 500);
    let (base, queries) = all.split_at(COUNT);
    let mut group = criterion.benchmark_group("search");
    for (name, codes) in [("8 bits", CodeBits::Eight), ("4 bits", CodeBits::Four), ("1 bit", CodeBits::One)] {
        let (slots, index) = built(base, codes);
        let (mut scratch, stop, mut next) = (Scratch::new(), Stop::new(), 0);
        let mut search = |params: &SearchParams<'_>| {
            next = (next + 1) % queries.len();
            index.search(&slots.pin(), &mut scratch, &queries[next], params, &stop).expect("nobody stops it").hits.len()
        };
        let plain =
            SearchParams { k: 10, ef: 64, exact: false, indexed_only: false, filter: None, codes: CodeUse::default() };
        group.bench_function(name, |bencher| bencher.iter(|| search(&plain)));
        if codes != CodeBits::Eight {
            continue;
        }
        group.bench_function("exact", |bencher| bencher.iter(|| search(&SearchParams { exact: true, ..plain })));
        for percent in [1, 10, 50, 90] {
            let mut filter = Bitmap::new(slots.bound());
            (0..COUNT as u32).filter(|i| i * 37 % 100 < percent).for_each(|i| _ = filter.set(Slot(i)));
            let filtered = SearchParams { filter: Some(&filter), ..plain };
            group.bench_function(BenchmarkId::new("filter", format!("{percent} %")), |bencher| {
                bencher.iter(|| search(&filtered));
            });
        }
    }
}

fn insertions(criterion: &mut Criterion) {
    const BATCH: usize = 2_000;
    let all = vectors(BATCH);
    let mut group = criterion.benchmark_group("insert");
    group.sample_size(10).throughput(Throughput::Elements(BATCH as u64));
    for (name, codes) in [("8 bits", CodeBits::Eight), ("1 bit", CodeBits::One)] {
        group.bench_function(name, |bencher| {
            bencher.iter_batched(|| (), |()| built(&all, codes), BatchSize::LargeInput)
        });
    }
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(std::time::Duration::from_millis(300))
        .measurement_time(std::time::Duration::from_secs(1));
    targets = kernels, searches, insertions
}
criterion_main!(benches);
