//! The protocol over gRPC (tonic).
//!
//! A call passes the gate (keys, room, metrics), is decoded, turned into the model by one conversion, run by `service`,
//! and turned back. Reading order: `status`, `codec`, conversions (`value`, `vector`, `filter`, `point`, `write`,
//! `query`, `config`, `strict`, `shard_key`), `call`, the services (`banner`, `collections`, `points`), `methods`, `gate`.
//!
//! Nothing outside this folder names the generated types, except clients: the load generator, tests and benches.

mod banner;
mod call;
pub mod codec;
mod collections;
mod config;
mod fields;
mod filter;
#[cfg(any(test, fuzzing))]
pub mod fuzzing;
mod levels;
mod gate;
mod methods;
mod point;
mod points;
mod quantization;
mod query;
mod shard_key;
mod snapshots;
mod status;
mod strict;
mod value;
mod vector;
mod write;

pub use status::grpc_status;

use std::future::Future;
use std::io;
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::codec::CompressionEncoding;
use tonic::service::Routes;
use tonic::transport::Server;
use tonic::transport::server::Connected;

use self::banner::BannerRpc;
use self::call::Calls;
use self::collections::CollectionsRpc;
use self::gate::Gate;
use self::pb::collections_server::CollectionsServer;
use self::pb::points_server::PointsServer;
use self::pb::qdrant_server::QdrantServer;
use self::pb::snapshots_server::SnapshotsServer;
use self::points::PointsRpc;
use self::snapshots::SnapshotsRpc;
use super::auth::Keys;
use crate::service::Service;

/// Messages, servers and clients generated from `proto/`.
#[allow(clippy::all, clippy::pedantic, clippy::restriction, missing_docs, unreachable_pub, deprecated, rustdoc::all)]
pub mod pb {
    tonic::include_proto!("qdrant");

    /// The interface's description, for the reflection service.
    pub const FILE_DESCRIPTOR_SET: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/qdrant_descriptor.bin"));
}

/// A decoded request's size by default, bytes. Clients upload in batches of a few thousand vectors at most; larger
/// messages only cost memory.
pub const MESSAGE_BYTES_MAX: usize = 64 << 20;

/// What one upload may have under way per stream and per connection before it waits for the server, bytes: HTTP/2's
/// 64 KiB would cost a round trip per 20 vectors of 768 dimensions.
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
/// An upload's frames; the default is 16 KiB.
const FRAME_BYTES_MAX: u32 = 1 << 20;
/// Calls at once on one connection; a caller waits for the others to end, it is not refused.
const STREAMS_PER_CONNECTION_MAX: u32 = 1024;
/// A connection that is silent this long is asked whether it is alive, and dropped when it is not.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(60);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(20);

/// Limits and keys of the gRPC listener.
#[derive(Clone)]
pub struct GrpcSettings {
    /// Who may call.
    pub keys: Keys,
    /// Bytes of one request after decompression; see [`MESSAGE_BYTES_MAX`].
    pub message_bytes_max: usize,
    /// Calls handled at once, over all connections; more are refused with a hint when to retry.
    pub in_flight_max: usize,
    /// For whatever the request gives no `timeout` for.
    pub request_timeout: Duration,
}

/// Why the gRPC listener ended.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// A defect of the build.
    #[error("the interface's own description does not parse")]
    Description(#[from] tonic_reflection::server::Error),
    /// Connections can no longer be served.
    #[error("the gRPC listener failed")]
    Transport(#[from] tonic::transport::Error),
}

/// Serves the protocol on `connections` until `stop` resolves and the calls then under way have ended. Sets nothing on
/// the sockets: whoever accepts them switches Nagle's algorithm off.
///
/// Not cancel safe: dropping the future cuts the calls under way.
pub async fn serve<C>(
    connections: impl Stream<Item = io::Result<C>>,
    service: Service,
    settings: GrpcSettings,
    stop: impl Future<Output = ()>,
) -> Result<(), ServeError>
where
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let calls = Calls::new(settings.in_flight_max, settings.request_timeout);
    let gate = Gate::new(routes(service, calls, settings.message_bytes_max).await?, settings.keys);
    Server::builder()
        .initial_stream_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_concurrent_streams(STREAMS_PER_CONNECTION_MAX)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .serve_with_incoming_shutdown(gate, connections, stop)
        .await?;
    Ok(())
}

async fn routes(service: Service, calls: Calls, message_bytes_max: usize) -> Result<Routes, ServeError> {
    let (health, health_server) = tonic_health::server::health_reporter();
    for name in [
        pb::collections_server::SERVICE_NAME,
        pb::points_server::SERVICE_NAME,
        pb::qdrant_server::SERVICE_NAME,
        pb::snapshots_server::SERVICE_NAME,
    ] {
        health.set_service_status(name, tonic_health::ServingStatus::Serving).await;
    }
    let reflection = || {
        tonic_reflection::server::Builder::configure()
            .register_encoded_file_descriptor_set(pb::FILE_DESCRIPTOR_SET)
            .register_encoded_file_descriptor_set(tonic_health::pb::FILE_DESCRIPTOR_SET)
    };
    macro_rules! sized {
        ($server:expr) => {
            $server
                .max_decoding_message_size(message_bytes_max)
                .accept_compressed(CompressionEncoding::Gzip)
                .send_compressed(CompressionEncoding::Gzip)
        };
    }
    let routes = Routes::new(sized!(PointsServer::new(PointsRpc { service: service.clone(), calls: calls.clone() })))
        .add_service(sized!(SnapshotsServer::new(SnapshotsRpc { service: service.clone(), calls: calls.clone() })))
        .add_service(sized!(CollectionsServer::new(CollectionsRpc { service, calls })))
        .add_service(sized!(QdrantServer::new(BannerRpc)))
        .add_service(health_server)
        .add_service(reflection().build_v1()?)
        .add_service(reflection().build_v1alpha()?);
    Ok(routes.prepare())
}

#[cfg(test)]
mod timeouts_tests;
