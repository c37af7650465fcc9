//! How long a shard takes to start, with a checkpoint and without: points with six indexed fields and a sparse vector.
//! Also the longest that a write waits while a checkpoint is written.
//!
//! `cargo bench --bench start -- POINTS` (400000 is what ARCHITECTURE.md reports). Without arguments it does nothing, so
//! that it can be built and run with everything else.

use std::error::Error;
use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quiver::model::field_index::{FieldIndexKind, IntegerParams, KeywordParams, TextParams};
use quiver::model::ids::ShardId;
use quiver::model::write::UpsertMode;
use quiver::model::{Payload, Point, PointId, PointOp, PointSelector, SparseVector, Vector};
use quiver::shard::{Entry, Shard, ShardSettings, VectorSettings, encode_command};
use quiver::storage::{DbSettings, PointDb};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

const BATCH: u64 = 1_000;
/// Numbers other than zero of a sparse vector.
const ENTRIES: u64 = 40;
const DB: DbSettings = DbSettings { block_cache_bytes: 256 << 20, memtable_bytes: 64 << 20, reserve_bytes: 0 };

/// A reproducible stream of numbers (splitmix64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % bound
    }

    /// Frequent and rare ones, as words have them.
    fn word(&mut self) -> u64 {
        let most = self.below(30_000) + 1;
        self.below(most)
    }
}

fn main() -> Outcome<()> {
    // cargo adds `--bench`.
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    let [points] = args.as_slice() else { return Ok(()) };
    let points: u64 = points.parse()?;
    let folder = tempfile::tempdir()?;
    let db = PointDb::open(&folder.path().join("kvdb"), &DB)?;
    let shard = Shard::open(db.shard(ShardId(1)), settings(folder.path()))?;
    let mut log_index = 0;
    let start = Instant::now();
    for first in (0..points).step_by(BATCH as usize) {
        let points = (first..points.min(first + BATCH)).map(point).collect::<Outcome<Vec<_>>>()?;
        apply(&shard, &mut log_index, &PointOp::Upsert { points, mode: UpsertMode::Upsert, update_filter: None })?;
        while shard.index_work(1_000) > 0 {}
    }
    println!("{points} points with six indexed fields and a sparse vector: loaded in {:.1} s", seconds(start));

    let quiet = longest_write(&shard, &mut log_index, || {
        // Nobody sends: it waits.
        let (_sender, receiver) = std::sync::mpsc::channel::<()>();
        let _ = receiver.recv_timeout(Duration::from_millis(500));
    })?;
    let mut written = Ok(());
    let start = Instant::now();
    let longest = longest_write(&shard, &mut log_index, || written = shard.checkpoint())?;
    written?;
    let took = seconds(start);
    println!(
        "checkpoint: {took:.2} s, {:.0} bytes per point; longest write meanwhile {:.1} ms, otherwise {:.1} ms",
        bytes_in(&folder.path().join("index"))? as f64 / points as f64,
        longest.as_secs_f64() * 1e3,
        quiet.as_secs_f64() * 1e3
    );
    shard.checkpoint()?;
    shard.flush()?;
    drop(shard);

    for round in 0..3 {
        start_once(&db, folder.path(), &format!("with a checkpoint, round {round}"))?;
    }
    // A checkpoint that is one percent behind.
    let shard = Shard::open(db.shard(ShardId(1)), settings(folder.path()))?;
    let select = PointSelector::Ids((0..points).step_by(100).map(PointId::Num).collect());
    let payload = payload(json!({"integer": 7}));
    apply(&shard, &mut log_index, &PointOp::SetPayload { select, payload, key: None })?;
    drop(shard);
    start_once(&db, folder.path(), "with one that lacks 1 % of the payloads")?;
    fs::remove_dir_all(folder.path().join("index"))?;
    start_once(&db, folder.path(), "without")
}

fn start_once(db: &PointDb, folder: &Path, what: &str) -> Outcome<()> {
    let start = Instant::now();
    let shard = Shard::open(db.shard(ShardId(1)), settings(folder))?;
    let open = seconds(start);
    let start = Instant::now();
    while shard.index_work(1_000) > 0 {}
    println!("start {what}: {open:.2} s to serve, then {:.2} s of index work", seconds(start));
    Ok(())
}

fn seconds(start: Instant) -> f64 {
    start.elapsed().as_secs_f64()
}

fn settings(folder: &Path) -> ShardSettings {
    let fields = [
        ("keyword", FieldIndexKind::Keyword(KeywordParams::default())),
        ("integer", FieldIndexKind::Integer(IntegerParams::default())),
        ("float", FieldIndexKind::Float),
        ("datetime", FieldIndexKind::Datetime),
        ("bool", FieldIndexKind::Bool),
        ("text", FieldIndexKind::Text(TextParams::default())),
    ];
    let path = |name: &str| name.parse().unwrap_or_else(|_| unreachable!("a plain name is a path"));
    ShardSettings {
        vectors: [("sparse".to_owned(), VectorSettings::Sparse)].into(),
        fields: fields.into_iter().map(|(name, kind)| (path(name), kind)).collect(),
        index_dir: folder.join("index"),
    }
}

fn point(number: u64) -> Outcome<Point> {
    let mut numbers = Numbers(number);
    let text: Vec<String> = (0..10).map(|_| format!("word{}", numbers.word())).collect();
    let day = numbers.below(28) + 1;
    let payload = payload(json!({
        "keyword": format!("tag{}", numbers.below(1_000)),
        "integer": numbers.below(100_000),
        "float": numbers.below(1 << 40) as f64 / 7.0,
        "datetime": format!("20{:02}-0{}-{day:02}T10:00:00Z", numbers.below(30), numbers.below(9) + 1),
        "bool": numbers.below(2) == 0,
        "text": text.join(" "),
    }));
    let mut entries: Vec<(u32, f32)> =
        (0..ENTRIES).map(|_| (numbers.word() as u32, numbers.below(1_000) as f32 / 250.0)).collect();
    entries.sort_by_key(|(index, _)| *index);
    entries.dedup_by_key(|(index, _)| *index);
    let sparse = SparseVector::new(entries).ok_or("an index twice")?;
    let vectors = [("sparse".to_owned(), Vector::Sparse(sparse))].into();
    Ok(Point { id: PointId::Num(number), vectors, payload })
}

fn payload(value: serde_json::Value) -> Payload {
    match value {
        serde_json::Value::Object(map) => Payload(map),
        _ => Payload::default(),
    }
}

fn apply(shard: &Shard, log_index: &mut u64, op: &PointOp) -> Outcome<()> {
    *log_index += 1;
    let entry = Entry { index: *log_index, command: Some(&encode_command(op)) };
    shard.apply(&[entry], &log_index.to_be_bytes())?;
    Ok(())
}

/// The longest that changing one payload takes while `meanwhile` runs.
fn longest_write(shard: &Shard, log_index: &mut u64, meanwhile: impl FnOnce() + Send) -> Outcome<Duration> {
    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            meanwhile();
            is_over.store(true, Ordering::Release);
        });
        let mut longest = Duration::ZERO;
        while !is_over.load(Ordering::Acquire) {
            let select = PointSelector::Ids(vec![PointId::Num(*log_index % 1_000)]);
            let payload = payload(json!({"integer": *log_index}));
            let start = Instant::now();
            apply(shard, log_index, &PointOp::SetPayload { select, payload, key: None })?;
            longest = longest.max(start.elapsed());
        }
        Ok(longest)
    })
}

fn bytes_in(folder: &Path) -> Outcome<u64> {
    let mut bytes = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let kind = entry.metadata()?;
        bytes += if kind.is_dir() { bytes_in(&entry.path())? } else { kind.len() };
    }
    Ok(bytes)
}
