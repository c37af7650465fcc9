//! `bench load`: a collection, its field indexes, its points; then patience until they are indexed.

use std::io::Write;
use std::num::NonZeroU32;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::stream::{self, StreamExt};
use serde_json::Map;

use super::files::{self, Matrix};
use super::flags::{LoadFlags, Metric, OnExisting};
use super::progress::bar;
use super::record::{LoadRecord, Setting};
use super::usage::Watch;
use super::wire::{Light, Point, Shape, Wire};
use super::{Failure, call, print, table, with_connections, write_json};

/// Between two questions how far the index is.
const POLL_INTERVAL: Duration = Duration::from_millis(100);
/// A collection that is green and whose index has not grown for so long is done, even if not every vector is in it:
/// servers leave small parts to exact search.
const SETTLED_AFTER: Duration = Duration::from_secs(3);

/// What is uploaded: ids are the rows' numbers.
struct Upload {
    vectors: Matrix<f32>,
    /// A JSON object per row, or none at all.
    payloads: Vec<String>,
    payload_path: PathBuf,
    batch: usize,
    wait: bool,
}

pub(super) async fn run(flags: &LoadFlags, out: &mut dyn Write) -> Result<(), Failure> {
    // Clap asks for one of the two.
    let base = flags.base.as_deref().or(flags.data.as_deref()).unwrap_or(Path::new(""));
    let metric = metric(flags)?;
    let upload = Arc::new(Upload::read(flags, base)?);
    let watch = Watch::server(&flags.target)?;
    let record =
        with_connections!(&flags.target, connections => load(&connections, flags, metric, &upload, &watch).await?);
    print(out, &table::of_load(&record))?;
    write_json(flags.json.as_deref(), &record)
}

fn metric(flags: &LoadFlags) -> Result<Metric, Failure> {
    let told = match &flags.data {
        Some(path) if flags.metric.is_none() => files::metric(path)?,
        _ => flags.metric,
    };
    told.ok_or(Failure::MetricMissing)
}

impl Upload {
    fn read(flags: &LoadFlags, base: &Path) -> Result<Upload, Failure> {
        let vectors = files::vectors(base, "train")?;
        let payloads = flags.payload.as_deref().map(files::lines).transpose()?;
        if let Some(got) = payloads.as_ref().map(Vec::len).filter(|&got| got < vectors.row_count()) {
            return Err(Failure::TooFewRows { what: "--payload", got, want: vectors.row_count() });
        }
        Ok(Upload {
            vectors,
            payloads: payloads.unwrap_or_default(),
            payload_path: flags.payload.clone().unwrap_or_default(),
            batch: flags.batch.get(),
            wait: flags.wait,
        })
    }

    fn len(&self) -> usize {
        self.vectors.row_count()
    }

    /// The points from row `first` on.
    fn batch(&self, first: usize) -> Result<Vec<Point<'_>>, Failure> {
        (first..self.len().min(first + self.batch)).map(|row| self.point(row)).collect()
    }

    fn point(&self, row: usize) -> Result<Point<'_>, Failure> {
        let payload = self.payloads.get(row).map_or_else(|| Ok(Map::new()), |line| serde_json::from_str(line));
        let payload = payload.map_err(|source| {
            let path = self.payload_path.clone();
            Failure::Payload { path, line: row + 1, source }
        })?;
        Ok(Point { id: row as u64, vector: self.vectors.row(row), payload })
    }
}

async fn load<W: Wire>(
    connections: &[W],
    flags: &LoadFlags,
    metric: Metric,
    upload: &Arc<Upload>,
    watch: &Watch,
) -> Result<LoadRecord, Failure> {
    // `--connections` is not zero.
    let first = &connections[0];
    let server = first.title().await.map_err(call("asking for the server's name"))?;
    prepare(first, flags, metric, upload.vectors.width()).await?;

    let before = watch.read().await;
    let started = Instant::now();
    let work = async {
        send(connections, flags.in_flight.get(), upload).await?;
        let uploaded = Instant::now();
        let (indexed, indexed_vectors) = until_indexed(first, upload.len() as u64).await?;
        Ok::<_, Failure>((uploaded, indexed, indexed_vectors))
    };
    let (outcome, server_peak_bytes) = watch.peak_during(work).await;
    let (uploaded, indexed, indexed_vectors) = outcome?;
    let after = watch.read().await;
    let upload_s = (uploaded - started).as_secs_f64();
    Ok(LoadRecord {
        setting: Setting::new(flags),
        server,
        points: upload.len() as u64,
        dim: upload.vectors.width(),
        upload_s,
        points_per_s: upload.len() as f64 / upload_s,
        indexed_s: (indexed - started).as_secs_f64(),
        indexed_vectors,
        server_cpu_s: after.cpu_s_since(before),
        server_peak_bytes,
        server_resident_bytes: after.resident_bytes,
    })
}

/// A fresh collection with its field indexes.
async fn prepare<W: Wire>(wire: &W, flags: &LoadFlags, metric: Metric, dim: usize) -> Result<(), Failure> {
    if wire.exists().await.map_err(call("asking for the collection"))? {
        match flags.on_existing {
            OnExisting::Fail => return Err(Failure::CollectionExists(flags.target.collection.clone())),
            OnExisting::Replace => wire.delete().await.map_err(call("deleting the collection"))?,
        }
    }
    let shape = Shape {
        dim,
        metric,
        m: flags.m,
        ef_construct: flags.ef_construct,
        shards: flags.shards.map(NonZeroU32::get),
        quantization: flags.quantization,
        datatype: flags.datatype,
    };
    wire.create(&shape).await.map_err(call("creating the collection"))?;
    for index in &flags.index {
        wire.create_index(index).await.map_err(call("creating a field index"))?;
    }
    Ok(())
}

async fn send<W: Wire>(connections: &[W], in_flight: usize, upload: &Arc<Upload>) -> Result<(), Failure> {
    let bar = bar("uploading", upload.len() as u64);
    let firsts = (0..upload.len()).step_by(upload.batch);
    let mut upserts = stream::iter(firsts.zip(connections.iter().cycle().cloned()))
        .map(|(first, wire)| {
            let upload = Arc::clone(upload);
            tokio::spawn(async move {
                let points = upload.batch(first)?;
                wire.upsert(&points, upload.wait).await.map_err(call("an upsert"))?;
                Ok::<_, Failure>(points.len() as u64)
            })
        })
        .buffer_unordered(in_flight);
    while let Some(upserted) = upserts.next().await {
        bar.inc(upserted??);
    }
    bar.finish();
    Ok(())
}

/// When the collection was ready, and how many vectors its index holds. Waits as long as it takes.
async fn until_indexed<W: Wire>(wire: &W, points: u64) -> Result<(Instant, u64), Failure> {
    let bar = bar("indexing", points);
    let mut seen = None;
    let mut since = Instant::now();
    loop {
        let state = wire.state().await.map_err(call("asking for the collection"))?;
        bar.set_position(state.indexed_vector_count);
        if state.light == Light::Red {
            return Err(Failure::CollectionRed);
        }
        if seen.as_ref() != Some(&state) {
            since = Instant::now();
        }
        let is_complete = state.point_count >= points && state.indexed_vector_count >= points;
        if state.light == Light::Green && (is_complete || since.elapsed() >= SETTLED_AFTER) {
            bar.finish();
            if state.point_count < points {
                return Err(Failure::PointsLost { uploaded: points, stored: state.point_count });
            }
            return Ok((since, state.indexed_vector_count));
        }
        seen = Some(state);
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}
