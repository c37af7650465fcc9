//! The GloVe demo's client: loads 395,000 word vectors through the public gRPC API with the official Rust client, waits
//! until they are indexed, searches them and measures. `make demo` and `make bench` run it.
//!
//! Reads the folder that `scripts/glove.py` prepares. Queries are vectors that are not among the points; truth is exact.

use std::error::Error;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use clap::{Parser, ValueEnum};
use futures::stream::{self, StreamExt};
use indicatif::{ProgressBar, ProgressStyle};
use qdrant_client::qdrant::point_id::PointIdOptions;
use qdrant_client::qdrant::{
    CollectionInfo, CollectionStatus, CreateCollectionBuilder, Distance, HnswConfigDiffBuilder, PointId, PointStruct,
    Query, QueryPointsBuilder, SearchParamsBuilder, UpsertPointsBuilder, VectorParamsBuilder,
};
use qdrant_client::{Payload, Qdrant};
use serde::{Deserialize, Serialize};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Neighbors asked for and compared with the truth.
const K: usize = 10;
/// Points per upsert.
const BATCH_POINTS: usize = 256;
/// Upserts under way at once.
const UPSERTS_IN_FLIGHT: usize = 4;
/// Searches before the clock runs.
const WARM_UP_QUERIES: usize = 200;
/// How long a speed is measured.
const MEASURED: Duration = Duration::from_secs(5);
/// Words whose neighbors are shown; those among the queries' held-out words are passed over.
const SHOWN_WORDS: [&str; 8] = ["paris", "coffee", "guitar", "physics", "winter", "doctor", "river", "democracy"];

#[derive(Parser)]
struct Flags {
    /// gRPC address of the server
    #[arg(long, default_value = "http://127.0.0.1:6334")]
    url: String,
    /// Folder that scripts/glove.py prepared
    #[arg(long)]
    words: PathBuf,
    /// Process id of the server, to report its memory
    #[arg(long)]
    pid: Option<u32>,
    #[arg(long, default_value = "glove")]
    collection: String,
    /// Neighbors per point in the graph
    #[arg(long, default_value_t = 16)]
    m: u64,
    #[arg(long, default_value_t = 200)]
    ef_construct: u64,
    /// Size of the candidate list of a search
    #[arg(long, default_value_t = 128)]
    ef: u64,
    /// Searches under way at once, measured one after the other
    #[arg(long, value_delimiter = ',', default_values_t = [1, 8])]
    in_flight: Vec<usize>,
    /// End with one line of JSON
    #[arg(long)]
    json: bool,
    /// What to do, in this order
    #[arg(value_enum, required = true)]
    steps: Vec<Step>,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Step {
    /// Create the collection anew, upload, wait until it is indexed
    Load,
    /// Show the neighbors of some words
    Words,
    /// Recall and speed
    Measure,
}

/// What was measured.
#[derive(Default, Serialize)]
struct Report {
    upload_s: Option<f64>,
    green_s: Option<f64>,
    recall_at_10: Option<f64>,
    speeds: Vec<Speed>,
    rss_bytes: Option<u64>,
    rss_bytes_per_point: Option<f64>,
}

#[derive(Serialize)]
struct Speed {
    in_flight: usize,
    queries_per_s: f64,
    p50_ms: f64,
    p99_ms: f64,
}

#[derive(Deserialize)]
struct Shape {
    dim: usize,
    points: usize,
    queries: usize,
    neighbors: usize,
}

/// The prepared folder, read.
struct Glove {
    dim: usize,
    base: Vec<f32>,
    words: Vec<String>,
    queries: Vec<Vec<f32>>,
    /// Per query the nearest points, nearest first.
    truth: Vec<Vec<u64>>,
}

impl Glove {
    fn read(folder: &Path) -> Outcome<Glove> {
        let shape: Shape = serde_json::from_slice(&fs::read(folder.join("shape.json"))?)?;
        let floats = |name: &str| -> Outcome<Vec<f32>> {
            let bytes = fs::read(folder.join(name))?;
            Ok(bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
        };
        let neighbors = fs::read(folder.join("neighbors.u32"))?;
        let neighbors: Vec<u64> =
            neighbors.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk).into()).collect();
        let glove = Glove {
            dim: shape.dim,
            base: floats("base.f32")?,
            words: fs::read_to_string(folder.join("words.txt"))?.lines().map(String::from).collect(),
            queries: floats("queries.f32")?.chunks_exact(shape.dim).map(<[f32]>::to_vec).collect(),
            truth: neighbors.chunks_exact(shape.neighbors).map(<[u64]>::to_vec).collect(),
        };
        assert_eq!(glove.base.len(), shape.points * shape.dim, "base.f32 has another size than shape.json says");
        assert_eq!(glove.words.len(), shape.points, "words.txt has another length than shape.json says");
        assert_eq!((glove.queries.len(), glove.truth.len()), (shape.queries, shape.queries));
        Ok(glove)
    }

    fn point(&self, row: usize) -> PointStruct {
        let vector = self.base[row * self.dim..(row + 1) * self.dim].to_vec();
        let mut payload = Payload::new();
        payload.insert("word", self.words[row].as_str());
        PointStruct::new(row as u64, vector, payload)
    }
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let flags = Flags::parse();
    let glove = Arc::new(Glove::read(&flags.words)?);
    let client = Qdrant::from_url(&flags.url).timeout(Duration::from_secs(60)).build()?;
    let mut report = Report::default();
    for step in &flags.steps {
        match step {
            Step::Load => load(&client, &flags, &glove, &mut report).await?,
            Step::Words => show_words(&client, &flags, &glove).await?,
            Step::Measure => measure(&client, &flags, &glove, &mut report).await?,
        }
    }
    if let Some(rss_bytes) = flags.pid.and_then(rss_bytes) {
        let per_point = rss_bytes as f64 / glove.words.len() as f64;
        println!("\nthe server's resident memory: {} MiB, {per_point:.0} bytes per point", rss_bytes >> 20);
        (report.rss_bytes, report.rss_bytes_per_point) = (Some(rss_bytes), Some(per_point));
    }
    if flags.json {
        println!("{}", serde_json::to_string(&report)?);
    }
    Ok(())
}

async fn load(client: &Qdrant, flags: &Flags, glove: &Arc<Glove>, report: &mut Report) -> Outcome<()> {
    if client.collection_exists(&flags.collection).await? {
        client.delete_collection(&flags.collection).await?;
    }
    let hnsw = HnswConfigDiffBuilder::default().m(flags.m).ef_construct(flags.ef_construct);
    let vectors = VectorParamsBuilder::new(glove.dim as u64, Distance::Cosine);
    client
        .create_collection(CreateCollectionBuilder::new(&flags.collection).vectors_config(vectors).hnsw_config(hnsw))
        .await?;

    let points = glove.words.len();
    let started = Instant::now();
    let bar = progress("uploading", points);
    let mut uploads = stream::iter((0..points).step_by(BATCH_POINTS))
        .map(|first| {
            let (client, glove, bar) = (client.clone(), glove.clone(), bar.clone());
            let collection = flags.collection.clone();
            tokio::spawn(async move {
                let rows = first..(first + BATCH_POINTS).min(points);
                let batch: Vec<PointStruct> = rows.clone().map(|row| glove.point(row)).collect();
                client.upsert_points(UpsertPointsBuilder::new(collection, batch).wait(true)).await?;
                bar.inc(rows.len() as u64);
                Outcome::Ok(())
            })
        })
        .buffer_unordered(UPSERTS_IN_FLIGHT);
    while let Some(uploaded) = uploads.next().await {
        uploaded??;
    }
    bar.finish();
    let upload_s = started.elapsed().as_secs_f64();

    let bar = progress("indexing ", points);
    loop {
        let info = collection_info(client, flags).await?;
        bar.set_position(info.indexed_vectors_count());
        match info.status() {
            CollectionStatus::Green => break,
            CollectionStatus::Red => return Err("the collection's status is red".into()),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
    bar.finish();
    let green_s = started.elapsed().as_secs_f64();
    let stored = collection_info(client, flags).await?.points_count();
    if stored != points as u64 {
        return Err(format!("{points} points were uploaded and {stored} are there").into());
    }
    println!(
        "\nuploaded {points} points in {upload_s:.1} s ({:.0} per second; batches of {BATCH_POINTS}, wait=true, \
         {UPSERTS_IN_FLIGHT} in flight); green after {green_s:.1} s",
        points as f64 / upload_s,
    );
    (report.upload_s, report.green_s) = (Some(upload_s), Some(green_s));
    Ok(())
}

async fn collection_info(client: &Qdrant, flags: &Flags) -> Outcome<CollectionInfo> {
    client.collection_info(&flags.collection).await?.result.ok_or_else(|| "an answer without a result".into())
}

async fn show_words(client: &Qdrant, flags: &Flags, glove: &Glove) -> Outcome<()> {
    println!("\nnearest words:");
    for word in SHOWN_WORDS {
        let Some(row) = glove.words.iter().position(|known| known == word) else { continue };
        let request = QueryPointsBuilder::new(&flags.collection)
            .query(Query::new_nearest(PointId::from(row as u64)))
            .params(SearchParamsBuilder::default().hnsw_ef(flags.ef))
            .limit(6)
            .with_payload(true);
        let hits = client.query(request).await?.result;
        let near: Vec<String> = hits
            .iter()
            .map(|hit| match hit.payload.get("word").and_then(|value| value.as_str()) {
                Some(word) => format!("{word} ({:.3})", hit.score),
                None => "a point without its word".into(),
            })
            .collect();
        println!("  {word:<10} {}", near.join(", "));
    }
    Ok(())
}

async fn measure(client: &Qdrant, flags: &Flags, glove: &Arc<Glove>, report: &mut Report) -> Outcome<()> {
    let mut found = 0;
    let bar = progress("recall   ", glove.queries.len());
    for (query, truth) in glove.queries.iter().zip(&glove.truth) {
        let hits = search(client, &flags.collection, query.clone(), flags.ef).await?;
        found += truth[..K].iter().filter(|id| hits.contains(id)).count();
        bar.inc(1);
    }
    bar.finish();
    let recall = found as f64 / (glove.queries.len() * K) as f64;
    println!(
        "\nrecall@{K} at hnsw_ef {}: {recall:.4} over {} queries, against exact search",
        flags.ef,
        glove.queries.len()
    );
    report.recall_at_10 = Some(recall);
    for &in_flight in &flags.in_flight {
        let speed = speed(client, flags, glove, in_flight).await?;
        println!(
            "{in_flight:>2} in flight: {:>7.0} queries per second, p50 {:.2} ms, p99 {:.2} ms",
            speed.queries_per_s, speed.p50_ms, speed.p99_ms
        );
        report.speeds.push(speed);
    }
    Ok(())
}

/// Closed loop: each of `in_flight` callers asks again as soon as it has its answer.
async fn speed(client: &Qdrant, flags: &Flags, glove: &Arc<Glove>, in_flight: usize) -> Outcome<Speed> {
    for query in glove.queries.iter().take(WARM_UP_QUERIES) {
        search(client, &flags.collection, query.clone(), flags.ef).await?;
    }
    let next = Arc::new(AtomicUsize::new(0));
    let started = Instant::now();
    let callers: Vec<_> = (0..in_flight)
        .map(|_| {
            let (client, glove, next) = (client.clone(), glove.clone(), next.clone());
            let (collection, ef) = (flags.collection.clone(), flags.ef);
            tokio::spawn(async move {
                let mut latencies_ms = Vec::new();
                while started.elapsed() < MEASURED {
                    let query = &glove.queries[next.fetch_add(1, Ordering::Relaxed) % glove.queries.len()];
                    let asked = Instant::now();
                    search(&client, &collection, query.clone(), ef).await?;
                    latencies_ms.push(asked.elapsed().as_secs_f64() * 1e3);
                }
                Outcome::Ok(latencies_ms)
            })
        })
        .collect();
    let mut latencies_ms = Vec::new();
    for caller in callers {
        latencies_ms.extend(caller.await??);
    }
    let elapsed_s = started.elapsed().as_secs_f64();
    latencies_ms.sort_by(f64::total_cmp);
    let percentile = |share: f64| latencies_ms[((latencies_ms.len() - 1) as f64 * share).round() as usize];
    Ok(Speed {
        in_flight,
        queries_per_s: latencies_ms.len() as f64 / elapsed_s,
        p50_ms: percentile(0.50),
        p99_ms: percentile(0.99),
    })
}

/// Ids of the nearest points.
async fn search(client: &Qdrant, collection: &str, query: Vec<f32>, ef: u64) -> Outcome<Vec<u64>> {
    let request = QueryPointsBuilder::new(collection)
        .query(query)
        .params(SearchParamsBuilder::default().hnsw_ef(ef))
        .limit(K as u64);
    let hits = client.query(request).await?.result;
    let ids = hits.into_iter().filter_map(|hit| match hit.id?.point_id_options? {
        PointIdOptions::Num(id) => Some(id),
        PointIdOptions::Uuid(_) => None,
    });
    Ok(ids.collect())
}

fn progress(what: &'static str, length: usize) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {per_sec} {eta}")
        .unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::new(length as u64).with_style(style).with_message(what)
}

/// Linux only; elsewhere the line is left out.
fn rss_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}
