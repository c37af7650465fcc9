//! `bench null`: this generator against a server that answers every search at once, with nothing.
//!
//! What it reaches there bounds what it can measure elsewhere, and the CPU time it takes per query is its own overhead.
//! The server is of this process, on one thread of its own, so it shares the machine; its time is not counted as the
//! generator's.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::mpsc;
use std::thread::{self, JoinHandle};
use std::time::Duration;

use axum::body::Bytes;
use axum::routing::post;
use axum::serve::ListenerExt;
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::oneshot;
use tonic::transport::Server;
use tonic::transport::server::TcpIncoming;
use tonic::{Request, Response, Status};

use super::files::Matrix;
use super::flags::{NullFlags, Target, Transport};
use super::progress::spinner;
use super::record::{NullCell, NullRecord, Pace, Setting};
use super::search::Searches;
use super::usage::{Usage, Watch};
use super::wire::Question;
use super::{Failure, with_connections};
use crate::api::grpc::pb;
use crate::api::grpc::pb::points_server::{Points, PointsServer};

/// Different queries, so that no cache of this machine holds them all.
const QUERY_COUNT: usize = 1_000;
/// Before the clock runs.
const WARM_UP: Duration = Duration::from_millis(500);

pub(super) async fn run(flags: &NullFlags) -> Result<NullRecord, Failure> {
    let setting = Setting::new(flags);
    let mut cells = Vec::new();
    for transport in flags.transport.map_or(vec![Transport::Grpc, Transport::Rest], |transport| vec![transport]) {
        let server = NullServer::start(transport).map_err(Failure::System)?;
        for pace in paces(flags, transport, &server).await? {
            cells.push(NullCell { transport, pace });
        }
        server.stop();
    }
    Ok(NullRecord { setting, cells })
}

async fn paces(flags: &NullFlags, transport: Transport, server: &NullServer) -> Result<Vec<Pace>, Failure> {
    let target = Target {
        url: Some(format!("http://{}", server.address)),
        transport,
        api_key: None,
        collection: "null".to_owned(),
        connections: std::num::NonZeroUsize::MIN,
        timeout: 60,
        threads: flags.threads,
        pid: None,
        http_url: None,
    };
    with_connections!(&target, connections => {
        let question = Question { limit: 10, ef: None, is_exact: false, filter: None };
        let searches = Searches::prepare(&connections, &question, &queries(flags.dim.get()), flags.batch)?;
        let mut paces = Vec::new();
        for in_flight in &flags.in_flight {
            let spinner = spinner(format!("{transport:?}, {in_flight} in flight"));
            searches.run(in_flight.get(), WARM_UP).await?;
            let before = server.watch.read().await;
            let mut pace = searches.run(in_flight.get(), Duration::from_secs_f64(flags.seconds)).await?;
            subtract(&mut pace, server.watch.read().await, before);
            paces.push(pace);
            spinner.finish_and_clear();
        }
        Ok(paces)
    })
}

/// Takes the server's thread out of the process's CPU time.
fn subtract(pace: &mut Pace, after: Usage, before: Usage) {
    let server_us = after.cpu_s_since(before).map(|cpu_s| cpu_s * 1e6 / pace.queries as f64);
    let own_us = pace.generator_cpu_us_per_query.zip(server_us).map(|(both, server)| (both - server).max(0.0));
    pace.generator_cpu_us_per_query = own_us;
}

/// Vectors of many digits, as real ones are.
fn queries(dim: usize) -> Matrix<f32> {
    Matrix::new(dim, (0..QUERY_COUNT * dim).map(|at| (at as f32).sin()).collect())
}

/// A server on a thread of its own.
struct NullServer {
    address: SocketAddr,
    /// Its thread.
    watch: Watch,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<()>,
}

impl NullServer {
    /// Returns once it listens.
    fn start(transport: Transport) -> io::Result<NullServer> {
        let (stop, stopped) = oneshot::channel();
        let (listening, started) = mpsc::channel();
        let thread = thread::Builder::new().name("null".to_owned()).spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            let outcome = runtime.and_then(|runtime| runtime.block_on(serve(transport, &listening, stopped)));
            // Nobody waits for it once the server has started.
            let _ = outcome.map_err(|error| listening.send(Err(error)));
        })?;
        let (address, folder) = started.recv().map_err(io::Error::other)??;
        Ok(NullServer { address, watch: Watch::Process(folder), stop, thread })
    }

    fn stop(self) {
        // It may have ended by itself.
        let _ = self.stop.send(());
        let _ = self.thread.join();
    }
}

/// Where it listens, and the folder of its thread in `/proc`.
type Started = io::Result<(SocketAddr, PathBuf)>;

async fn serve(
    transport: Transport,
    listening: &mpsc::Sender<Started>,
    stopped: oneshot::Receiver<()>,
) -> io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", 0)).await?;
    let folder = PathBuf::from("/proc").join(fs::read_link("/proc/thread-self")?);
    let started = Ok((listener.local_addr()?, folder));
    listening.send(started).map_err(io::Error::other)?;
    // Connections that stay open must not hold it.
    tokio::select! {
        served = answer(transport, listener) => served,
        _ = stopped => Ok(()),
    }
}

async fn answer(transport: Transport, listener: TcpListener) -> io::Result<()> {
    match transport {
        Transport::Grpc => {
            let connections = TcpIncoming::from(listener).with_nodelay(Some(true));
            let server = Server::builder().add_service(PointsServer::new(Null)).serve_with_incoming(connections);
            server.await.map_err(io::Error::other)
        }
        Transport::Rest => {
            let router = Router::new()
                .route("/collections/{collection}/points/query", post(nothing))
                .route("/collections/{collection}/points/query/batch", post(nothings));
            let listener = listener.tap_io(|stream| {
                // Without it answers may come late, which the figures would show.
                let _ = stream.set_nodelay(true);
            });
            axum::serve(listener, router).await
        }
    }
}

async fn nothing(_body: Bytes) -> Json<Value> {
    Json(json!({"result": {"points": []}, "status": "ok", "time": 0.0}))
}

/// One empty answer per query: how many there are is told by their `"query":`s, which costs less than parsing.
async fn nothings(body: Bytes) -> Json<Value> {
    let queries = body.windows(8).filter(|window| window == b"\"query\":").count();
    Json(json!({"result": vec![json!({"points": []}); queries], "status": "ok", "time": 0.0}))
}

struct Null;

#[tonic::async_trait]
impl Points for Null {
    async fn query(&self, _request: Request<pb::QueryPoints>) -> Result<Response<pb::QueryResponse>, Status> {
        Ok(Response::new(pb::QueryResponse::default()))
    }

    async fn query_batch(
        &self,
        request: Request<pb::QueryBatchPoints>,
    ) -> Result<Response<pb::QueryBatchResponse>, Status> {
        let result = vec![pb::BatchResult::default(); request.into_inner().query_points.len()];
        Ok(Response::new(pb::QueryBatchResponse { result, ..Default::default() }))
    }
}
