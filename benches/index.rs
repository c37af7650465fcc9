//! The index alone, in one process: time to build, recall against exact search, queries per second of one thread.
//!
//! `cargo bench --bench index -- BASE.npy QUERY.npy METRIC [THREADS] [FLAGS]`, where the files are two-dimensional
//! little-endian f32 arrays and METRIC is cosine (unit vectors), dot, euclid or manhattan. Without arguments it does
//! nothing, so that it can be built and run with everything else.
//!
//! `--datatype=float16|uint8`, `--bits=4|1`, `--vectors=FOLDER` and `--codes=FOLDER` say how vectors are kept (in files there),
//! `--oversampling=2.5` and `--estimates` what their codes are used for.
//!
//! With `--filters` it searches under filters of several selectivities instead, and with `--lines` it takes orders from
//! `benches/libraries/`: it prints a line of JSON once it is built, and for every line `EF` that it reads a line with the
//! seconds of processor time that all queries took and the rows they found.

use std::error::Error;
use std::io::{BufRead, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use quiver::distance::CodeBits;
use quiver::index::{
    Bitmap, CodeUse, DenseIndex, Found, IndexParams, Scratch, SearchParams, Slots, Stop, VectorStorage,
};
use quiver::model::collection::Datatype;
use quiver::model::{Metric, PointId, Slot};
use serde_json::json;

const K: usize = 10;
const ROUNDS: usize = 3;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// An index that was built, and what is asked of it.
struct Built {
    slots: Arc<Slots>,
    index: DenseIndex,
    dim: usize,
    query: Vec<f32>,
    scratch: Scratch,
    build_s: f64,
    codes: CodeUse,
}

fn main() -> Outcome<()> {
    // cargo adds `--bench`.
    let (flags, args): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|arg| arg.starts_with("--"));
    let [base, query, metric, threads @ ..] = args.as_slice() else { return Ok(()) };
    let threads: usize = threads.first().map_or(Ok(2), |threads| threads.parse())?;
    let has = |flag: &str| flags.iter().any(|of| of == flag);
    let value = |flag: &str| flags.iter().find_map(|of| of.strip_prefix(flag)?.strip_prefix('='));
    let storage = VectorStorage {
        datatype: match value("--datatype") {
            None | Some("float32") => Datatype::Float32,
            Some("float16") => Datatype::Float16,
            Some("uint8") => Datatype::Uint8,
            Some(other) => return Err(format!("no datatype `{other}`").into()),
        },
        codes: match value("--bits") {
            None | Some("8") => CodeBits::Eight,
            Some("4") => CodeBits::Four,
            Some("1") => CodeBits::One,
            Some(other) => return Err(format!("no codes of {other} bits").into()),
        },
        vectors_on_disk: value("--vectors").is_some(),
        codes_on_disk: value("--codes").is_some(),
    };
    let codes = CodeUse {
        is_ignored: has("--vectors-only"),
        rescores: !has("--estimates"),
        oversampling: value("--oversampling").map_or(Ok(1.0), str::parse)?,
    };
    let folder = value("--vectors").or(value("--codes")).map(Path::new);
    let mut built = Built::new((base, query, metric), threads, storage, folder)?;
    built.codes = codes;
    if has("--lines") {
        return built.take_orders();
    }
    println!(
        "{} vectors of {}: linked by {threads} threads after {:.1} s",
        built.slots.live_count(),
        built.dim,
        built.build_s
    );
    let memory = built.index.memory();
    println!(
        "{} bytes of vectors, {} of codes, {} of links, {} of files",
        memory.vector_bytes, memory.code_bytes, memory.link_bytes, memory.file_bytes
    );
    if has("--filters") { built.show_filters() } else { built.show_recall() }
}

impl Built {
    fn new(
        (base, query, metric): (&str, &str, &str),
        threads: usize,
        storage: VectorStorage,
        folder: Option<&Path>,
    ) -> Outcome<Built> {
        let (base, dim) = read_npy(base)?;
        let (query, query_dim) = read_npy(query)?;
        if dim != query_dim {
            return Err(format!("{dim} dimensions to search, {query_dim} searched for").into());
        }
        let metric = match metric {
            "cosine" => Metric::Cosine,
            "dot" => Metric::Dot,
            "euclid" => Metric::Euclid,
            "manhattan" => Metric::Manhattan,
            other => return Err(format!("no metric `{other}`").into()),
        };
        let slots = Arc::new(Slots::new());
        let params = IndexParams { dim, metric, m: 16, ef_construction: 200, storage };
        let index = DenseIndex::new(slots.clone(), params, folder);
        let start = Instant::now();
        for (id, vector) in (0u64..).zip(base.chunks_exact(dim)) {
            index.put(slots.allocate(PointId::Num(id), 1)?, vector);
        }
        std::thread::scope(|scope| {
            for _ in 0..threads {
                scope.spawn(|| {
                    let mut scratch = Scratch::new();
                    while index.work(&mut scratch, 64) > 0 {}
                });
            }
        });
        let build_s = start.elapsed().as_secs_f64();
        Ok(Built { slots, index, dim, query, scratch: Scratch::new(), build_s, codes: CodeUse::default() })
    }

    /// All queries once, by one thread; with the seconds of processor time it took.
    fn search(&mut self, ef: usize, exact: bool, filter: Option<&Bitmap>) -> Outcome<(Vec<Found>, f64)> {
        let params = SearchParams { k: K, ef, exact, indexed_only: false, filter, codes: self.codes };
        let start_s = thread_s();
        let found = self
            .query
            .chunks_exact(self.dim)
            .map(|query| self.index.search(&self.slots.pin(), &mut self.scratch, query, &params, &Stop::new()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok((found, thread_s() - start_s))
    }

    /// The best of several rounds.
    fn best(&mut self, ef: usize, exact: bool, filter: Option<&Bitmap>) -> Outcome<(Vec<Found>, f64)> {
        let mut best = self.search(ef, exact, filter)?;
        for _ in 1..ROUNDS {
            let next = self.search(ef, exact, filter)?;
            best.1 = best.1.min(next.1);
        }
        Ok(best)
    }

    fn show_recall(&mut self) -> Outcome<()> {
        let (truth, _) = self.search(K, true, None)?;
        println!("  ef  recall@{K}      qps  distances");
        for ef in [10, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384] {
            let (found, best_s) = self.best(ef, false, None)?;
            let count = found.len() as f64;
            let distances: u64 = found.iter().map(|found| found.cost.distances).sum();
            println!(
                "{ef:>4}  {:>9.4}  {:>7.0}  {:>9.0}",
                recall(&truth, &found),
                count / best_s,
                distances as f64 / count
            );
        }
        Ok(())
    }

    /// Random members, and members that lie on one side of the data, at an ef that reaches 0.99 without a filter.
    fn show_filters(&mut self) -> Outcome<()> {
        let (truth, _) = self.search(K, true, None)?;
        let mut ef = 16;
        while recall(&truth, &self.search(ef, false, None)?.0) < 0.99 && ef < 1_024 {
            ef = ef * 5 / 4;
        }
        let (_, plain_s) = self.best(ef, false, None)?;
        println!("ef {ef}; unfiltered {:.0} us per query", plain_s * 1e6 / truth.len() as f64);
        println!("  kept  members  recall@{K}   walk us   scan us  to the cheaper of scan and unfiltered; distances");
        let bound = self.slots.bound();
        let by_place = self.by_place()?;
        for (name, kept) in [
            ("random", 0.001),
            ("random", 0.01),
            ("two of 20 %", 0.04),
            ("random", 0.1),
            ("random", 0.5),
            ("random", 0.99),
        ] {
            let mut filter = Bitmap::new(bound);
            if name == "random" {
                let is_kept = |slot: &usize| hash(*slot as u64) < kept;
                (0..bound).filter(is_kept).for_each(|slot| _ = filter.set(Slot(slot as u32)));
            } else {
                // Both keywords go with the place of the vectors, one of them loosely.
                let side = by_place.len() / 5;
                let is_kept = |slot: &&Slot| hash(u64::from(slot.0)) < 0.2;
                by_place[..side].iter().filter(is_kept).for_each(|slot| _ = filter.set(*slot));
            }
            let (truth, _) = self.search(ef, true, Some(&filter))?;
            let (_, scan_s) = self.best(ef, true, Some(&filter))?;
            let (found, walk_s) = self.best(ef, false, Some(&filter))?;
            let per_query = 1e6 / found.len() as f64;
            let distances: u64 = found.iter().map(|found| found.cost.distances).sum();
            println!(
                "{:>5} %  {:>7}  {:>9.4}  {:>8.0}  {:>8.0}  {:>6.2}  {:>9.0}  {name}",
                kept * 100.0,
                filter.count(),
                recall(&truth, &found),
                walk_s * per_query,
                scan_s * per_query,
                walk_s / scan_s.min(plain_s),
                distances as f64 / found.len() as f64
            );
        }
        Ok(())
    }

    /// Slots by their distance from the first query, farthest first.
    fn by_place(&self) -> Outcome<Vec<Slot>> {
        let pin = self.slots.pin();
        let mut slots: Vec<(f32, Slot)> = (0..self.slots.bound() as u32)
            .filter_map(|slot| Some((self.index.distance(&pin, &self.query[..self.dim], Slot(slot))?, Slot(slot))))
            .collect();
        slots.sort_by(|a, b| b.0.total_cmp(&a.0));
        Ok(slots.into_iter().map(|(_, slot)| slot).collect())
    }

    fn take_orders(&mut self) -> Outcome<()> {
        let memory = self.index.memory();
        let built = json!({
            "build_s": self.build_s,
            "vector_bytes": memory.vector_bytes,
            "code_bytes": memory.code_bytes,
            "link_bytes": memory.link_bytes,
            "file_bytes": memory.file_bytes,
        });
        println!("{built}");
        for line in std::io::stdin().lock().lines() {
            let (found, seconds) = self.search(line?.trim().parse()?, false, None)?;
            let distances: u64 = found.iter().map(|found| found.cost.distances).sum();
            let rows: Vec<Vec<u32>> =
                found.iter().map(|found| found.hits.iter().map(|hit| hit.0.0).collect()).collect();
            println!("{}", json!({ "seconds": seconds, "distances": distances, "rows": rows }));
            std::io::stdout().flush()?;
        }
        Ok(())
    }
}

/// Seconds of processor time of this thread: the machines are shared.
fn thread_s() -> f64 {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: `time` is one timespec.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    time.tv_sec as f64 + time.tv_nsec as f64 / 1e9
}

/// Equal distances are equally near, whichever slot has them.
fn recall(truth: &[Found], found: &[Found]) -> f64 {
    let hits = truth.iter().zip(found).map(|(truth, found)| {
        let last = truth.hits.last().map_or(f32::INFINITY, |last| last.1);
        found.hits.iter().filter(|hit| hit.1 <= last).count()
    });
    let wanted: usize = truth.iter().map(|truth| truth.hits.len()).sum();
    hits.sum::<usize>() as f64 / wanted.max(1) as f64
}

/// A number in 0..1 that goes with another (splitmix64).
fn hash(of: u64) -> f64 {
    let mut z = of.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (z ^ (z >> 31)) as f64 / u64::MAX as f64
}

/// The numbers of a two-dimensional array, and how many make a row.
fn read_npy(path: &str) -> Outcome<(Vec<f32>, usize)> {
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
