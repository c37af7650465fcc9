//! The crate `hnsw_rs` in a process of its own, for `make bench`: built and searched as `benches/index.rs` is.
//!
//! `cargo bench --bench hnsw_rs -- --lines BASE.npy QUERY.npy METRIC [THREADS]`, where the files are two-dimensional
//! little-endian f32 arrays and METRIC is cosine (unit vectors) or euclid. It prints a line of JSON once it is built, and
//! for every line `EF` that it reads a line with the seconds that all queries took and the rows they found. Without
//! arguments it does nothing, so that it can be built and run with everything else.

use std::error::Error;
use std::io::{BufRead, Write};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use hnsw_rs::prelude::{DistDot, DistL2, Distance, Hnsw};
use serde_json::json;

const K: usize = 10;
const M: usize = 16;
const EF_CONSTRUCTION: usize = 200;
/// As many as the crate has.
const LEVELS_MAX: usize = 16;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// The numbers of a two-dimensional array, row after row.
struct Vectors {
    values: Vec<f32>,
    dim: usize,
}

impl Vectors {
    fn rows(&self) -> impl ExactSizeIterator<Item = &[f32]> {
        self.values.chunks_exact(self.dim)
    }

    fn row(&self, row: usize) -> Option<&[f32]> {
        self.values.get(row * self.dim..(row + 1) * self.dim)
    }

    fn read_npy(path: &str) -> Outcome<Vectors> {
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
        let cells = bytes[10 + header_len..].chunks_exact(4);
        let values: Vec<f32> = cells.map(|cell| f32::from_le_bytes([cell[0], cell[1], cell[2], cell[3]])).collect();
        let is_f32 = header.contains("'<f4'") && header.contains("'fortran_order': False");
        if !is_f32 || *dim == 0 || values.len() != rows * dim {
            return Err(malformed().into());
        }
        Ok(Vectors { values, dim: *dim })
    }
}

fn main() -> Outcome<()> {
    // cargo adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let [base, query, metric, threads @ ..] = args.as_slice() else { return Ok(()) };
    let threads: usize = threads.first().map_or(Ok(2), |threads| threads.parse())?;
    let (base, query) = (Vectors::read_npy(base)?, Vectors::read_npy(query)?);
    match metric.as_str() {
        "cosine" => take_orders(base, &query, DistDot, threads),
        "euclid" => take_orders(base, &query, DistL2, threads),
        other => Err(format!("no metric `{other}`").into()),
    }
}

fn take_orders<D: Distance<f32> + Send + Sync>(
    base: Vectors,
    query: &Vectors,
    distance: D,
    threads: usize,
) -> Outcome<()> {
    let count = base.rows().len();
    let mut index = Hnsw::<f32, D>::new(M, count, LEVELS_MAX, EF_CONSTRUCTION, distance);
    let start = Instant::now();
    let next = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let row = next.fetch_add(1, Ordering::Relaxed);
                    let Some(vector) = base.row(row) else { break };
                    index.insert((vector, row));
                }
            });
        }
    });
    let build_s = start.elapsed().as_secs_f64();
    // It keeps copies.
    drop(base);
    index.set_searching_mode(true);
    println!("{}", json!({ "build_s": build_s }));
    for line in std::io::stdin().lock().lines() {
        let ef = line?.trim().parse()?;
        let start_s = thread_s();
        let found: Vec<_> = query.rows().map(|query| index.search(query, K, ef)).collect();
        let seconds = thread_s() - start_s;
        let rows: Vec<Vec<usize>> =
            found.iter().map(|found| found.iter().map(|neighbor| neighbor.d_id).collect()).collect();
        println!("{}", json!({ "seconds": seconds, "rows": rows }));
        std::io::stdout().flush()?;
    }
    Ok(())
}

/// Seconds of processor time of this thread: the machines are shared.
fn thread_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}
