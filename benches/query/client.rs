//! The client of `make bench-query`: loads the points that `run.py` made, then asks what it is told to and times it.
//!
//! One request per line on stdin, `METHOD REPEATS HEX`, the message in hexadecimal; one line of JSON per answer on
//! stdout: microseconds as this client saw them and as the server says it took, and the answer's message. So the
//! official Rust client is measured, and `run.py` decides what is asked and whether the answers are right.

use std::error::Error;
use std::fs;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Parser;
use futures::stream::{self, StreamExt};
use prost::Message;
use qdrant_client::qdrant::{
    CollectionStatus, CreateCollectionBuilder, CreateFieldIndexCollection, Distance, NamedVectors, PointStruct,
    SparseVectorParamsBuilder, SparseVectorsConfigBuilder, UpsertPointsBuilder, Vector, VectorParamsBuilder,
    VectorsConfigBuilder,
};
use qdrant_client::{Payload, Qdrant};
use serde::Serialize;

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Points per upsert.
const BATCH_POINTS: usize = 256;
/// Upserts under way at once.
const UPSERTS_IN_FLIGHT: usize = 4;

#[derive(Parser)]
struct Flags {
    /// gRPC address of the server
    #[arg(long)]
    url: String,
    /// Folder that run.py prepared
    #[arg(long)]
    points: PathBuf,
    #[arg(long, default_value = "query")]
    collection: String,
}

#[derive(Serialize)]
struct Answer {
    /// Of each repetition, microseconds.
    us: Vec<f64>,
    server_us: Vec<f64>,
    /// The last answer's message, hexadecimal.
    message: String,
}

#[tokio::main]
async fn main() -> Outcome<()> {
    let flags = Flags::parse();
    let client = Qdrant::from_url(&flags.url).timeout(Duration::from_secs(120)).build()?;
    for line in io::stdin().lock().lines() {
        let line = line?;
        let mut words = line.split(' ');
        let (method, repeats, message) = (words.next(), words.next(), words.next());
        let repeats: usize = repeats.unwrap_or("1").parse()?;
        let message = bytes(message.unwrap_or_default())?;
        match method {
            Some("load") => load(&client, &flags).await?,
            Some("index") => {
                client.create_field_index(CreateFieldIndexCollection::decode(message.as_slice())?).await?;
            }
            Some("settle") => settle(&client, &flags.collection).await?,
            Some(method) => {
                let answer = ask(&client, method, repeats, &message).await?;
                println!("{}", serde_json::to_string(&answer)?);
                io::stdout().flush()?;
                continue;
            }
            None => return Err("an empty line".into()),
        }
        println!("{{}}");
        io::stdout().flush()?;
    }
    Ok(())
}

async fn ask(client: &Qdrant, method: &str, repeats: usize, message: &[u8]) -> Outcome<Answer> {
    let mut answer = Answer { us: Vec::new(), server_us: Vec::new(), message: String::new() };
    macro_rules! timed {
        ($call:ident, $request:ty) => {{
            let request = <$request>::decode(message)?;
            for _ in 0..repeats {
                let request = request.clone();
                let started = Instant::now();
                let response = client.$call(request).await?;
                answer.us.push(started.elapsed().as_secs_f64() * 1e6);
                answer.server_us.push(response.time * 1e6);
                answer.message = hex(&response.encode_to_vec());
            }
        }};
    }
    match method {
        "count" => timed!(count, qdrant_client::qdrant::CountPoints),
        "scroll" => timed!(scroll, qdrant_client::qdrant::ScrollPoints),
        "facet" => timed!(facet, qdrant_client::qdrant::FacetCounts),
        "query" => timed!(query, qdrant_client::qdrant::QueryPoints),
        "query_groups" => timed!(query_groups, qdrant_client::qdrant::QueryPointGroups),
        _ => return Err(format!("an unknown method: {method}").into()),
    }
    Ok(answer)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn bytes(hex: &str) -> Outcome<Vec<u8>> {
    let digits = |at: usize| hex.get(at..at + 2).ok_or("half a byte");
    (0..hex.len()).step_by(2).map(|at| Ok(u8::from_str_radix(digits(at)?, 16)?)).collect()
}

/// The prepared folder, read.
struct Points {
    dim: usize,
    dense: Vec<f32>,
    /// Where the terms of each row begin, and of the one behind the last.
    starts: Vec<u32>,
    terms: Vec<u32>,
    weights: Vec<f32>,
    /// One JSON object per line.
    payloads: Vec<String>,
}

impl Points {
    fn read(folder: &Path) -> Outcome<Points> {
        let floats = |name: &str| -> Outcome<Vec<f32>> {
            let bytes = fs::read(folder.join(name))?;
            Ok(bytes.as_chunks::<4>().0.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect())
        };
        let numbers = |name: &str| -> Outcome<Vec<u32>> {
            let bytes = fs::read(folder.join(name))?;
            Ok(bytes.as_chunks::<4>().0.iter().map(|chunk| u32::from_le_bytes(*chunk)).collect())
        };
        let payloads: Vec<String> =
            fs::read_to_string(folder.join("payloads.jsonl"))?.lines().map(String::from).collect();
        let dense = floats("dense.f32")?;
        Ok(Points {
            dim: dense.len() / payloads.len(),
            dense,
            starts: numbers("sparse_starts.u32")?,
            terms: numbers("sparse_terms.u32")?,
            weights: floats("sparse_weights.f32")?,
            payloads,
        })
    }

    fn point(&self, row: usize) -> Outcome<PointStruct> {
        let entries = self.starts[row] as usize..self.starts[row + 1] as usize;
        let sparse = Vector::new_sparse(self.terms[entries.clone()].to_vec(), self.weights[entries].to_vec());
        let vectors = NamedVectors::default()
            .add_vector("dense", self.dense[row * self.dim..(row + 1) * self.dim].to_vec())
            .add_vector("sparse", sparse);
        let payload: Payload = serde_json::from_str::<serde_json::Value>(&self.payloads[row])?.try_into()?;
        Ok(PointStruct::new(row as u64, vectors, payload))
    }
}

async fn load(client: &Qdrant, flags: &Flags) -> Outcome<()> {
    let points = Arc::new(Points::read(&flags.points)?);
    let mut dense = VectorsConfigBuilder::default();
    dense.add_named_vector_params("dense", VectorParamsBuilder::new(points.dim as u64, Distance::Dot));
    let mut sparse = SparseVectorsConfigBuilder::default();
    sparse.add_named_vector_params("sparse", SparseVectorParamsBuilder::default());
    let create = CreateCollectionBuilder::new(&flags.collection).vectors_config(dense).sparse_vectors_config(sparse);
    client.create_collection(create).await?;
    let count = points.payloads.len();
    let mut uploads = stream::iter((0..count).step_by(BATCH_POINTS))
        .map(|first| {
            let (client, points, collection) = (client.clone(), Arc::clone(&points), flags.collection.clone());
            tokio::spawn(async move {
                let batch = (first..(first + BATCH_POINTS).min(count)).map(|row| points.point(row));
                let batch = batch.collect::<Outcome<Vec<PointStruct>>>()?;
                client.upsert_points(UpsertPointsBuilder::new(collection, batch).wait(true)).await?;
                Outcome::Ok(())
            })
        })
        .buffer_unordered(UPSERTS_IN_FLIGHT);
    while let Some(uploaded) = uploads.next().await {
        uploaded??;
    }
    Ok(())
}

/// Waits until everything that is built in the background is there.
async fn settle(client: &Qdrant, collection: &str) -> Outcome<()> {
    loop {
        let info = client.collection_info(collection).await?.result.ok_or("an answer without a result")?;
        match info.status() {
            CollectionStatus::Green => return Ok(()),
            CollectionStatus::Red => return Err("the collection's status is red".into()),
            _ => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}
