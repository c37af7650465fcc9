//! `quiver bench`: a load generator that speaks the public protocol, so it measures any compatible server.
//!
//! - It knows the server by the wire alone: of this crate it uses the generated messages and their codec, nothing else.
//! - Closed loop: each of `--in-flight` callers asks again as soon as it has its answer. Latencies are those of requests
//!   as the caller saw them.
//! - Requests are made before the clock runs; what the generator itself costs is measured (`bench null`) and stands in
//!   every table.
//! - Files are not trusted: every length is checked against the file's size.
//!
//! Not here: open-loop load, named vectors, sparse vectors, comparisons with libraries in process (`benches/`).
//!
//! Reading order: `flags`, `files`, `wire`, `usage`, `load`, `truth`, `search`, `null`, `record`, `table`, `plot`.

mod failure;
mod files;
mod flags;
mod load;
mod null;
mod plot;
mod progress;
mod record;
mod search;
mod table;
mod truth;
mod usage;
mod wire;

pub use failure::Failure;
pub use flags::Flags;

use std::fs;
use std::io::Write;
use std::path::Path;

use serde::Serialize;

use self::failure::CallError;
use self::flags::{Command, NullFlags, PlotFlags, Target, Transport};
use self::record::SearchRecord;
use self::wire::{grpc, rest};

/// Runs what was asked for; tables go to `out`, progress bars to stderr if that is a terminal.
pub fn run(flags: &Flags, out: &mut dyn Write) -> Result<(), Failure> {
    match &flags.command {
        Command::Load(load) => on_runtime(load.target.threads, load::run(load, out)),
        Command::Search(search) => on_runtime(search.target.threads, search::run(search, out)),
        Command::Null(null) => on_runtime(null.threads, run_null(null, out)),
        Command::Plot(plot) => draw(plot),
    }
}

fn on_runtime(threads: usize, work: impl Future<Output = Result<(), Failure>>) -> Result<(), Failure> {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    if threads > 0 {
        runtime.worker_threads(threads);
    }
    runtime.enable_all().build().map_err(Failure::System)?.block_on(work)
}

async fn run_null(flags: &NullFlags, out: &mut dyn Write) -> Result<(), Failure> {
    let record = null::run(flags).await?;
    print(out, &table::of_null(&record))?;
    write_json(flags.json.as_deref(), &record)
}

fn draw(flags: &PlotFlags) -> Result<(), Failure> {
    let mut records = Vec::new();
    for path in &flags.records {
        let bytes = fs::read(path).map_err(|source| Failure::File { path: path.clone(), source: source.into() })?;
        let record: SearchRecord =
            serde_json::from_slice(&bytes).map_err(|source| Failure::Record { path: path.clone(), source })?;
        records.push(record);
    }
    for (record, label) in records.iter_mut().zip(&flags.labels) {
        record.label.clone_from(label);
    }
    write_plot(&flags.out, &records, flags.title.as_deref())
}

fn print(out: &mut dyn Write, text: &str) -> Result<(), Failure> {
    out.write_all(text.as_bytes()).and_then(|()| out.flush()).map_err(Failure::Output)
}

fn write_json(path: Option<&Path>, record: &impl Serialize) -> Result<(), Failure> {
    let Some(path) = path else { return Ok(()) };
    let mut text =
        serde_json::to_vec_pretty(record).map_err(|source| Failure::Record { path: path.to_owned(), source })?;
    text.push(b'\n');
    write_file(path, &text)
}

fn write_plot(path: &Path, records: &[SearchRecord], title: Option<&str>) -> Result<(), Failure> {
    let svg = plot::svg(records, title).ok_or(Failure::NothingToPlot)?;
    write_file(path, svg.as_bytes())
}

fn write_file(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    fs::write(path, bytes).map_err(|source| Failure::Write { path: path.to_owned(), source })
}

/// Names what was asked for.
fn call(what: &'static str) -> impl Fn(CallError) -> Failure {
    move |source| Failure::Call { what, source }
}

/// Runs `$body` with `$connections` bound to the connections of the transport that was asked for.
macro_rules! with_connections {
    ($target:expr, $connections:ident => $body:expr) => {
        match $target.transport {
            $crate::bench::flags::Transport::Grpc => {
                let $connections = $crate::bench::connect_grpc($target).await?;
                $body
            }
            $crate::bench::flags::Transport::Rest => {
                let $connections = $crate::bench::connect_rest($target)?;
                $body
            }
        }
    };
}
use with_connections;

async fn connect_grpc(target: &Target) -> Result<Vec<grpc::Client>, Failure> {
    let url = target.url();
    if !url.starts_with("http://") {
        return Err(Failure::Url { url, why: "over gRPC it begins with http://" });
    }
    let mut connections = Vec::new();
    for _ in 0..target.connections.get() {
        let client = grpc::Client::connect(&url, target).await;
        connections.push(client.map_err(call("connecting to the server"))?);
    }
    Ok(connections)
}

fn connect_rest(target: &Target) -> Result<Vec<rest::Client>, Failure> {
    let url = target.url();
    if !url.starts_with("http://") && !url.starts_with("https://") {
        return Err(Failure::Url { url, why: "it begins with http:// or https://" });
    }
    let connect = |_| rest::Client::new(&url, target);
    let clients: Result<Vec<rest::Client>, CallError> = (0..target.connections.get()).map(connect).collect();
    clients.map_err(call("connecting to the server"))
}

impl Target {
    /// As given, or where the protocol's servers usually are.
    fn url(&self) -> String {
        let usual = match self.transport {
            Transport::Grpc => "http://127.0.0.1:6334",
            Transport::Rest => "http://127.0.0.1:6333",
        };
        self.url.clone().unwrap_or_else(|| usual.to_owned())
    }
}
