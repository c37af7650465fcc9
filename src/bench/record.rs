//! What was measured, as it is written to JSON. Units stand in the names.

use std::fs;
use std::thread::available_parallelism;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::flags::Transport;
use super::wire::Title;

/// Under which circumstances.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Setting {
    /// Of this generator.
    pub(super) version: String,
    pub(super) started_unix_s: u64,
    /// Of the machine that the generator runs on.
    pub(super) cpu_model: Option<String>,
    pub(super) cores: usize,
    /// As given on the command line, without keys.
    pub(super) parameters: Value,
}

impl Setting {
    /// Here and now.
    pub(super) fn new(parameters: &impl Serialize) -> Setting {
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(':'));
        Setting {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_unix_s: SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |age| age.as_secs()),
            cpu_model: model.map(|(_, name)| name.trim().to_owned()),
            cores: available_parallelism().map_or(0, usize::from),
            // Paths that are no text are the only flags JSON cannot hold.
            parameters: serde_json::to_value(parameters).unwrap_or_default(),
        }
    }
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct LoadRecord {
    pub(super) setting: Setting,
    pub(super) server: Title,
    pub(super) points: u64,
    pub(super) dim: usize,
    pub(super) upload_s: f64,
    pub(super) points_per_s: f64,
    /// From the first upsert until everything was indexed.
    pub(super) indexed_s: f64,
    /// Fewer than the points when the server leaves some to exact search.
    pub(super) indexed_vectors: u64,
    pub(super) server_cpu_s: Option<f64>,
    /// Largest of the samples taken meanwhile.
    pub(super) server_peak_bytes: Option<u64>,
    pub(super) server_resident_bytes: Option<u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SearchRecord {
    /// Name of the run in plots.
    pub(super) label: String,
    pub(super) setting: Setting,
    pub(super) server: Title,
    pub(super) queries: usize,
    /// Neighbors asked for and compared.
    pub(super) limit: usize,
    /// Queries per request.
    pub(super) batch: usize,
    pub(super) recall_against: Truth,
    pub(super) cells: Vec<Cell>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Truth {
    /// What a file says.
    File,
    /// What the server itself finds by exact search.
    ExactSearch,
}

/// One combination of settings.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Cell {
    /// `None`: the server's default, or exact search.
    pub(super) ef: Option<u64>,
    pub(super) exact: bool,
    /// `None` when no query has a neighbor.
    pub(super) recall: Option<f64>,
    pub(super) pace: Pace,
    pub(super) server_cpu_s: Option<f64>,
    pub(super) server_cpu_us_per_query: Option<f64>,
    pub(super) server_resident_bytes: Option<u64>,
}

/// What the callers saw.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Pace {
    pub(super) in_flight: usize,
    pub(super) requests: u64,
    pub(super) queries: u64,
    pub(super) elapsed_s: f64,
    pub(super) queries_per_s: f64,
    /// Of requests.
    pub(super) p50_ms: f64,
    pub(super) p95_ms: f64,
    pub(super) p99_ms: f64,
    pub(super) max_ms: f64,
    pub(super) generator_cpu_us_per_query: Option<f64>,
}

/// The generator itself.
#[derive(Clone, Debug, Serialize)]
pub(super) struct NullRecord {
    pub(super) setting: Setting,
    pub(super) cells: Vec<NullCell>,
}

#[derive(Clone, Debug, Serialize)]
pub(super) struct NullCell {
    pub(super) transport: Transport,
    pub(super) pace: Pace,
}
