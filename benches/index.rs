//! The index alone, in one process: time to build, recall against exact search, queries per second of one thread.
//!
//! `cargo bench --bench index -- BASE.npy QUERY.npy METRIC [THREADS]`, where the files are two-dimensional
//! little-endian f32 arrays and METRIC is cosine (unit vectors), dot, euclid or manhattan. Without arguments it does
//! nothing, so that it can be built and run with everything else.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use quiver::index::{DenseIndex, IndexParams, Scratch, SearchParams, Slots, Stop};
use quiver::model::{Metric, PointId};

const K: usize = 10;
const ROUNDS: usize = 3;

fn main() -> Result<(), Box<dyn Error>> {
    // cargo adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let [base, query, metric, threads @ ..] = args.as_slice() else { return Ok(()) };
    let (base, dim) = read_npy(base)?;
    let (query, query_dim) = read_npy(query)?;
    if dim != query_dim {
        return Err(format!("{dim} dimensions to search, {query_dim} searched for").into());
    }
    let metric = match metric.as_str() {
        "cosine" => Metric::Cosine,
        "dot" => Metric::Dot,
        "euclid" => Metric::Euclid,
        "manhattan" => Metric::Manhattan,
        other => return Err(format!("no metric `{other}`").into()),
    };
    let threads: usize = threads.first().map_or(Ok(2), |threads| threads.parse())?;

    let slots = Arc::new(Slots::new());
    let params = IndexParams { dim, metric, m: 16, ef_construction: 200 };
    let index = DenseIndex::new(slots.clone(), params);
    let start = Instant::now();
    for (id, vector) in (0u64..).zip(base.chunks_exact(dim)) {
        index.put(slots.allocate(PointId::Num(id), 1)?, vector);
    }
    let put_s = start.elapsed().as_secs_f64();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                let mut scratch = Scratch::new();
                while index.work(&mut scratch, 64) > 0 {}
            });
        }
    });
    println!(
        "{} vectors of {dim}: put in {put_s:.2} s, linked by {threads} threads after {:.1} s",
        slots.live_count(),
        start.elapsed().as_secs_f64()
    );

    let mut scratch = Scratch::new();
    let mut search = |query: &[f32], ef, exact| {
        let params = SearchParams { k: K, ef, exact, indexed_only: false, filter: None };
        index.search(&slots.pin(), &mut scratch, query, &params, &Stop::new())
    };
    let queries: Vec<&[f32]> = query.chunks_exact(dim).collect();
    let truth = queries.iter().map(|query| search(query, K, true)).collect::<Result<Vec<_>, _>>()?;
    println!("  ef  recall@{K}      qps  distances");
    for ef in [32, 64, 96, 128, 192, 256] {
        let (mut best_s, mut hits, mut distances) = (f64::MAX, 0, 0);
        for _ in 0..ROUNDS {
            let start = Instant::now();
            let found = queries.iter().map(|query| search(query, ef, false)).collect::<Result<Vec<_>, _>>()?;
            best_s = best_s.min(start.elapsed().as_secs_f64());
            distances = found.iter().map(|found| found.cost.distances).sum();
            // Equal distances are equally near, whichever slot has them.
            let is_near = |at: usize, distance: f32| truth[at].hits.last().is_some_and(|last| distance <= last.1);
            let of = |at: usize| found[at].hits.iter().filter(|hit| is_near(at, hit.1)).count();
            hits = (0..found.len()).map(of).sum();
        }
        let count = queries.len() as f64;
        let recall = hits as f64 / (count * K as f64);
        println!("{ef:>4}  {recall:>9.4}  {:>7.0}  {:>9.0}", count / best_s, distances as f64 / count);
    }
    Ok(())
}

/// The numbers of a two-dimensional array, and how many make a row.
fn read_npy(path: &str) -> Result<(Vec<f32>, usize), Box<dyn Error>> {
    let bytes = std::fs::read(path)?;
    let malformed = || format!("{path} is not a two-dimensional array of little-endian f32");
    let header_len = match bytes.get(..10) {
        Some([0x93, b'N', b'U', b'M', b'P', b'Y', 1, _, low, high]) => u16::from_le_bytes([*low, *high]) as usize,
        _ => return Err(malformed().into()),
    };
    let header = String::from_utf8_lossy(bytes.get(10..10 + header_len).ok_or_else(malformed)?).into_owned();
    let shape = header.split("'shape': (").nth(1).and_then(|rest| rest.split(')').next()).ok_or_else(malformed)?;
    let shape = shape.split(',').map(|part| part.trim().parse()).collect::<Result<Vec<usize>, _>>()?;
    let [rows, dim] = shape.as_slice() else { return Err(malformed().into()) };
    let cells =
        bytes[10 + header_len..].chunks_exact(4).map(|cell| f32::from_le_bytes([cell[0], cell[1], cell[2], cell[3]]));
    let values: Vec<f32> = cells.collect();
    if !header.contains("'<f4'") || header.contains("'fortran_order': True") || *dim == 0 || values.len() != rows * dim
    {
        return Err(malformed().into());
    }
    Ok((values, *dim))
}
