//! Multivectors alone, in one process: what a comparison costs, and the graph beside the exact scan.
//!
//! `cargo bench --bench multi -- POINTS` (20000 is what ARCHITECTURE.md reports): vectors of 16 rows of 128 numbers in
//! clusters. Without arguments it does nothing, so that it can be built and run with everything else.

use std::error::Error;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use quiver::distance::{Distances, max_sim_distance};
use quiver::index::{CodeUse, IndexParams, MultiIndex, Scratch, SearchParams, Slots, Stop, VectorStorage};
use quiver::model::vector::normalize;
use quiver::model::{Metric, MultiVector, PointId};

const DIM: usize = 128;
const ROWS: usize = 16;
const QUERIES: usize = 200;
const K: usize = 10;

/// A reproducible stream of numbers (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    fn unit(&mut self) -> f32 {
        (self.next() >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    // cargo adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let [points] = args.as_slice() else { return Ok(()) };
    let points: u64 = points.parse()?;
    let mut numbers = Numbers(1);
    let topics: Vec<Vec<f32>> = (0..1_000).map(|_| (0..DIM).map(|_| numbers.unit()).collect()).collect();
    // A document is about three topics; each of its rows is near one of them.
    let mut document = || {
        let about = [0; 3].map(|_| numbers.next() as usize % topics.len());
        let mut values = Vec::with_capacity(ROWS * DIM);
        for row in 0..ROWS {
            let mut row: Vec<f32> = topics[about[row % 3]].iter().map(|x| x + 0.6 * numbers.unit()).collect();
            normalize(&mut row);
            values.append(&mut row);
        }
        MultiVector::new(DIM, values).ok_or("no whole rows")
    };

    let kernel = Distances::new(Metric::Cosine);
    let some = (0..64).map(|_| document()).collect::<Result<Vec<_>, _>>()?;
    let mut best_s = f64::MAX;
    for _ in 0..20 {
        let start = Instant::now();
        some.iter().flat_map(|a| some.iter().map(move |b| (a, b))).for_each(|(a, b)| {
            black_box(max_sim_distance(&kernel, a, b));
        });
        best_s = best_s.min(start.elapsed().as_secs_f64() / (some.len() * some.len()) as f64);
    }
    println!("a comparison of {ROWS} with {ROWS} rows of {DIM}: {:.2} us", best_s * 1e6);

    let slots = Arc::new(Slots::new());
    let params = IndexParams {
        dim: DIM,
        metric: Metric::Cosine,
        m: 16,
        ef_construction: 100,
        storage: VectorStorage::default(),
    };
    let index = MultiIndex::new(slots.clone(), params, None);
    for id in 0..points {
        index.put(slots.allocate(PointId::Num(id), 1)?, &document()?);
    }
    let queries = (0..QUERIES).map(|_| document()).collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                let mut scratch = Scratch::new();
                while index.work(&mut scratch, 64) > 0 {}
            });
        }
    });
    println!("{points} vectors linked by 2 threads in {:.1} s", start.elapsed().as_secs_f64());

    let mut scratch = Scratch::new();
    let mut search = |query: &MultiVector, ef, exact| {
        let params = SearchParams { k: K, ef, exact, indexed_only: false, filter: None, codes: CodeUse::default() };
        index.search(&slots.pin(), &mut scratch, query, &params, &Stop::new())
    };
    let start = Instant::now();
    let truth = queries.iter().map(|query| search(query, K, true)).collect::<Result<Vec<_>, _>>()?;
    println!("exact: {:.0} queries per second", QUERIES as f64 / start.elapsed().as_secs_f64());
    println!("  ef  recall@{K}      qps  distances");
    for ef in [32, 64, 128, 256] {
        let start = Instant::now();
        let found = queries.iter().map(|query| search(query, ef, false)).collect::<Result<Vec<_>, _>>()?;
        let took_s = start.elapsed().as_secs_f64();
        let distances: u64 = found.iter().map(|found| found.cost.distances).sum();
        let is_near = |at: usize, distance: f32| truth[at].hits.last().is_some_and(|last| distance <= last.1);
        let of = |at: usize| found[at].hits.iter().filter(|hit| is_near(at, hit.1)).count();
        let recall = (0..QUERIES).map(of).sum::<usize>() as f64 / (QUERIES * K) as f64;
        println!(
            "{ef:>4}  {recall:>9.4}  {:>7.0}  {:>9.0}",
            QUERIES as f64 / took_s,
            distances as f64 / QUERIES as f64
        );
    }
    Ok(())
}
