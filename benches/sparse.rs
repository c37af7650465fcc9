//! Sparse search alone, in one process: posting lists with MaxScore beside the obvious formulation, which adds the
//! query's columns into one array over all vectors and takes the best of it.
//!
//! `cargo bench --bench sparse -- VECTORS` (400000 is what ARCHITECTURE.md reports): about 50 terms per vector and 30
//! per query, few of them frequent (Zipf, power 0.75, of 30,000), weights around 1 as SPLADE's are. Without arguments it
//! does nothing, so that it can be built and run with everything else.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use quiver::index::{Scratch, Slots, SparseIndex, SparseParams, Stop};
use quiver::model::{PointId, SparseVector};

const TERMS: usize = 30_000;
const QUERIES: usize = 200;
const K: usize = 10;
const ROUNDS: usize = 5;

/// A reproducible stream of sparse vectors (splitmix64).
struct Vectors {
    state: u64,
    /// The share of all occurrences that a term and those before it have.
    shares: Vec<f64>,
}

impl Vectors {
    fn new(seed: u64) -> Vectors {
        let mut sum = 0.0;
        let mut shares: Vec<f64> = (1..=TERMS)
            .map(|rank| {
                sum += (rank as f64).powf(-0.75);
                sum
            })
            .collect();
        shares.iter_mut().for_each(|share| *share /= sum);
        Vectors { state: seed, shares }
    }

    /// In 0..1.
    fn unit(&mut self) -> f64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
    }

    fn vector(&mut self, len: usize) -> BTreeMap<u32, f32> {
        let mut vector = BTreeMap::new();
        for _ in 0..len {
            let at = self.unit();
            let term = self.shares.partition_point(|share| *share < at).min(TERMS - 1);
            let weight = (1.0 - 1.5 * (1.0 - self.unit()).ln()).ln() as f32 + 0.01;
            vector.insert(term as u32, weight);
        }
        vector
    }
}

fn sparse(entries: &BTreeMap<u32, f32>) -> Result<SparseVector, Box<dyn Error>> {
    let entries = entries.iter().map(|(term, weight)| (*term, *weight)).collect();
    Ok(SparseVector::new(entries).ok_or("a term twice")?)
}

fn main() -> Result<(), Box<dyn Error>> {
    // cargo adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let [count] = args.as_slice() else { return Ok(()) };
    let count: u32 = count.parse()?;
    let mut vectors = Vectors::new(4);
    let slots = Arc::new(Slots::new());
    let index = SparseIndex::new(slots.clone());
    let mut columns: Vec<(Vec<u32>, Vec<f32>)> = vec![(Vec::new(), Vec::new()); TERMS];
    for row in 0..count {
        let len = 25 + (vectors.unit() * 50.0) as usize;
        let vector = vectors.vector(len);
        for (term, weight) in &vector {
            columns[*term as usize].0.push(row);
            columns[*term as usize].1.push(*weight);
        }
        index.put(slots.allocate(PointId::Num(u64::from(row)), 1)?, sparse(&vector)?);
    }
    let start = Instant::now();
    while index.work(1_000) > 0 {}
    println!("{count} vectors put into posting lists in {:.2} s", start.elapsed().as_secs_f64());

    let queries: Vec<BTreeMap<u32, f32>> = (0..QUERIES).map(|_| vectors.vector(32)).collect();
    let postings: usize = queries.iter().flatten().map(|(term, _)| columns[*term as usize].0.len()).sum();
    println!("{} postings per query", postings / QUERIES);
    let asked = queries.iter().map(sparse).collect::<Result<Vec<_>, _>>()?;
    let mut scratch = Scratch::new();
    let mut sums = vec![0.0f32; count as usize];
    let params = SparseParams { k: K, indexed_only: false, filter: None };
    let (mut best_s, mut best_columns_s) = (f64::MAX, f64::MAX);
    for _ in 0..ROUNDS {
        let start = Instant::now();
        let found = asked
            .iter()
            .map(|query| index.search(&slots.pin(), &mut scratch, query, &params, &Stop::new()))
            .collect::<Result<Vec<_>, _>>()?;
        best_s = best_s.min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        let by_columns: Vec<f32> = queries.iter().map(|query| kth_best(&columns, query, &mut sums)).collect();
        best_columns_s = best_columns_s.min(start.elapsed().as_secs_f64());
        for (found, kth) in found.iter().zip(by_columns) {
            let last = found.hits.last().map_or(0.0, |hit| 0.0 - hit.1);
            if (last - kth).abs() > 1e-4 * kth {
                return Err(format!("the {K}th best product is {kth} by columns, {last} by posting lists").into());
            }
        }
    }
    let micros = |seconds: f64| seconds / QUERIES as f64 * 1e6;
    println!("posting lists {:.0} us, columns {:.0} us per query", micros(best_s), micros(best_columns_s));
    println!("ratio {:.2}", best_s / best_columns_s);
    Ok(())
}

fn kth_best(columns: &[(Vec<u32>, Vec<f32>)], query: &BTreeMap<u32, f32>, sums: &mut [f32]) -> f32 {
    sums.fill(0.0);
    for (term, weight) in query {
        let (rows, values) = &columns[*term as usize];
        for (row, value) in rows.iter().zip(values) {
            sums[*row as usize] += weight * value;
        }
    }
    let mut copy = sums.to_vec();
    *copy.select_nth_unstable_by(K - 1, |a, b| b.total_cmp(a)).1
}
