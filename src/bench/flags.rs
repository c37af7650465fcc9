//! The command line of `quiver bench`.

use std::num::{NonZeroU32, NonZeroUsize};
use std::path::PathBuf;
use std::str::FromStr;

use clap::{ArgAction, Args, Subcommand, ValueEnum};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// What `quiver bench` is told.
#[derive(Args, Clone, Debug)]
pub struct Flags {
    #[command(subcommand)]
    pub(super) command: Command,
}

#[derive(Subcommand, Clone, Debug)]
pub(super) enum Command {
    /// Create a collection, upload vectors, wait until they are indexed
    Load(LoadFlags),
    /// Measure recall, queries per second and latencies
    Search(SearchFlags),
    /// Measure this generator against a server that answers nothing
    Null(NullFlags),
    /// Draw the records of one or more searches into one picture
    Plot(PlotFlags),
}

/// Whom to measure, and how to talk to it.
#[derive(Args, Clone, Debug, Serialize)]
pub(super) struct Target {
    /// The server [default: http://127.0.0.1:6334 for gRPC, http://127.0.0.1:6333 for REST]
    #[arg(long)]
    pub(super) url: Option<String>,
    #[arg(long, value_enum, default_value_t = Transport::Grpc)]
    pub(super) transport: Transport,
    #[arg(long)]
    #[serde(skip)]
    pub(super) api_key: Option<String>,
    #[arg(long, default_value = "bench")]
    pub(super) collection: String,
    /// gRPC connections, or REST connection pools, that the requests are spread over
    #[arg(long, default_value = "1")]
    pub(super) connections: NonZeroUsize,
    /// Seconds after which a request has failed
    #[arg(long, default_value_t = 60)]
    pub(super) timeout: u64,
    /// Threads of this generator; 0 means one per core
    #[arg(long, default_value_t = 0)]
    pub(super) threads: usize,
    /// Process of the server, to report its CPU time and memory
    #[arg(long)]
    pub(super) pid: Option<u32>,
    /// Where REST is when --url is gRPC: CPU time and memory are read from /metrics unless --pid is given
    #[arg(long)]
    pub(super) http_url: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Transport {
    Grpc,
    Rest,
}

#[derive(Args, Clone, Debug, Serialize)]
pub(super) struct LoadFlags {
    #[command(flatten)]
    pub(super) target: Target,
    /// Vectors: .npy, .fvecs, .bvecs, or HDF5 (its dataset `train`)
    #[arg(long, required_unless_present = "data", conflicts_with = "data")]
    pub(super) base: Option<PathBuf>,
    /// HDF5 file of the ann-benchmarks layout
    #[arg(long)]
    pub(super) data: Option<PathBuf>,
    /// How vectors are compared; an HDF5 file says it itself
    #[arg(long, value_enum)]
    pub(super) metric: Option<Metric>,
    /// Neighbors per point in the graph; the server's default if left out
    #[arg(long)]
    pub(super) m: Option<u64>,
    /// Candidates while the graph is built; the server's default if left out
    #[arg(long)]
    pub(super) ef_construct: Option<u64>,
    #[arg(long)]
    pub(super) shards: Option<NonZeroU32>,
    #[arg(long, value_enum)]
    pub(super) quantization: Option<Quantization>,
    #[arg(long, value_enum)]
    pub(super) datatype: Option<Datatype>,
    /// One JSON object per line, as many as vectors
    #[arg(long)]
    pub(super) payload: Option<PathBuf>,
    /// Field index, made before the upload: FIELD:keyword, integer, float or bool; may be repeated
    #[arg(long, value_name = "FIELD:TYPE")]
    pub(super) index: Vec<FieldIndex>,
    /// What to do with a collection of this name
    #[arg(long, value_enum, default_value_t = OnExisting::Fail)]
    pub(super) on_existing: OnExisting,
    /// Points per upsert
    #[arg(long, default_value = "256")]
    pub(super) batch: NonZeroUsize,
    /// Upserts under way at once
    #[arg(long, default_value = "4")]
    pub(super) in_flight: NonZeroUsize,
    /// Whether an upsert is answered after it is applied
    #[arg(long, default_value_t = true, action = ArgAction::Set)]
    pub(super) wait: bool,
    /// Write everything that was measured into this file
    #[arg(long)]
    pub(super) json: Option<PathBuf>,
}

#[derive(Args, Clone, Debug, Serialize)]
pub(super) struct SearchFlags {
    #[command(flatten)]
    pub(super) target: Target,
    /// Query vectors: .npy, .fvecs, .bvecs, or HDF5 (its dataset `test`)
    #[arg(long, required_unless_present = "data", conflicts_with = "data")]
    pub(super) query: Option<PathBuf>,
    /// Ids of the true neighbors, nearest first: .npy of integers, .ivecs, or HDF5 (its dataset `neighbors`). Without
    /// it, recall is measured against the server's own exact search
    #[arg(long, conflicts_with = "data")]
    pub(super) truth: Option<PathBuf>,
    /// HDF5 file of the ann-benchmarks layout, for both
    #[arg(long)]
    pub(super) data: Option<PathBuf>,
    /// Neighbors asked for and compared with the truth
    #[arg(long, default_value = "10")]
    pub(super) limit: NonZeroUsize,
    /// Sizes of the candidate list, measured one after the other; the server's default if left out
    #[arg(long, value_delimiter = ',', conflicts_with = "exact")]
    pub(super) ef: Vec<u64>,
    /// Ask for exact search
    #[arg(long)]
    pub(super) exact: bool,
    /// Requests under way at once, measured one after the other
    #[arg(long, value_delimiter = ',', default_value = "1,8")]
    pub(super) in_flight: Vec<NonZeroUsize>,
    /// A filter as JSON, as in the REST API. gRPC takes must, should and must_not of match value, match any and range
    #[arg(long, value_parser = json)]
    pub(super) filter: Option<Value>,
    /// Queries per request
    #[arg(long, default_value = "1")]
    pub(super) batch: NonZeroUsize,
    /// How long each combination is measured, in seconds
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    pub(super) seconds: f64,
    /// How long each combination runs before it is measured, in seconds
    #[arg(long, default_value_t = 1.0, value_parser = seconds)]
    pub(super) warm_up: f64,
    /// Name of this run in plots; the collection's name if left out
    #[arg(long)]
    pub(super) label: Option<String>,
    /// Write everything that was measured into this file
    #[arg(long)]
    pub(super) json: Option<PathBuf>,
    /// Draw queries per second over recall into this SVG file
    #[arg(long)]
    pub(super) plot: Option<PathBuf>,
}

#[derive(Args, Clone, Debug, Serialize)]
pub(super) struct NullFlags {
    /// Both if left out
    #[arg(long, value_enum)]
    pub(super) transport: Option<Transport>,
    /// Numbers per query vector
    #[arg(long, default_value = "128")]
    pub(super) dim: NonZeroUsize,
    /// Requests under way at once, measured one after the other
    #[arg(long, value_delimiter = ',', default_value = "1,8")]
    pub(super) in_flight: Vec<NonZeroUsize>,
    /// Queries per request
    #[arg(long, default_value = "1")]
    pub(super) batch: NonZeroUsize,
    /// How long each combination is measured, in seconds
    #[arg(long, default_value_t = 5.0, value_parser = seconds)]
    pub(super) seconds: f64,
    /// Threads of this generator; 0 means one per core
    #[arg(long, default_value_t = 0)]
    pub(super) threads: usize,
    /// Write everything that was measured into this file
    #[arg(long)]
    pub(super) json: Option<PathBuf>,
}

#[derive(Args, Clone, Debug)]
pub(super) struct PlotFlags {
    /// What `bench search --json` wrote
    #[arg(required = true)]
    pub(super) records: Vec<PathBuf>,
    /// Names of the runs, in the order of the files
    #[arg(long, value_delimiter = ',')]
    pub(super) labels: Vec<String>,
    #[arg(long)]
    pub(super) title: Option<String>,
    /// The SVG file
    #[arg(long)]
    pub(super) out: PathBuf,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Metric {
    Cosine,
    Dot,
    Euclid,
    Manhattan,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Quantization {
    Scalar,
    Binary,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum Datatype {
    Float32,
    Float16,
    Uint8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum OnExisting {
    Fail,
    Replace,
}

/// `FIELD:TYPE`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct FieldIndex {
    pub(super) field: String,
    pub(super) kind: FieldKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(super) enum FieldKind {
    Keyword,
    Integer,
    Float,
    Bool,
}

impl FromStr for FieldIndex {
    type Err = String;

    fn from_str(text: &str) -> Result<FieldIndex, String> {
        let (field, kind) = text.rsplit_once(':').ok_or("write FIELD:TYPE")?;
        if field.is_empty() {
            return Err("the field has no name".to_owned());
        }
        Ok(FieldIndex { field: field.to_owned(), kind: FieldKind::from_str(kind, false)? })
    }
}

fn json(text: &str) -> Result<Value, serde_json::Error> {
    serde_json::from_str(text)
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds: f64 = text.parse().map_err(|error| format!("{error}"))?;
    if (0.0..=86_400.0).contains(&seconds) { Ok(seconds) } else { Err("it lies between 0 and 86400".to_owned()) }
}
