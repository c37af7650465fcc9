//! What every call passes before its message is read: is there such a method, may the caller use it.
//!
//! Also what every call leaves behind: a count by status, its duration, and an answer even when a handler panics.

use std::collections::HashMap;
use std::convert::Infallible;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use futures::FutureExt;
use futures::future::BoxFuture;
use metrics::{Counter, Histogram, counter, histogram};
use tonic::body::Body;
use tonic::codegen::http::{HeaderMap, HeaderValue, Request, Response};
use tonic::service::Routes;
use tonic::{Code, Status};

use super::methods::{METHODS, Method};
use super::status::grpc_status;
use crate::api::auth::{self, Keys};
use crate::api::status::{APPLIED_INDEX_HEADER, ApiError};
use crate::service::with_applied_indexes;

/// Calls by method and status.
const RESPONSES: &str = "grpc_responses_total";
/// Seconds from a call's headers to its answer, by method.
const DURATION: &str = "grpc_responses_duration_seconds";
/// gRPC's codes are 0 to 16.
const CODES: usize = 17;

/// The one service all connections share.
#[derive(Clone)]
pub(super) struct Gate {
    routes: Routes,
    state: Arc<GateState>,
}

struct GateState {
    keys: Keys,
    endpoints: HashMap<&'static str, Endpoint>,
}

struct Endpoint {
    method: Method,
    duration: Histogram,
    /// By code; registered when a code is first seen.
    responses: [OnceLock<Counter>; CODES],
}

impl Gate {
    pub(super) fn new(routes: Routes, keys: Keys) -> Gate {
        let endpoints = METHODS.iter().map(|method| (method.path, Endpoint::new(*method))).collect();
        Gate { routes, state: Arc::new(GateState { keys, endpoints }) }
    }

    async fn answer(mut self, mut request: Request<Body>) -> Response<Body> {
        let started = Instant::now();
        let Some(endpoint) = self.state.endpoints.get(request.uri().path()) else {
            // Not counted: labels must not be the caller's to choose.
            return refusal(ApiError::unimplemented(request.uri().path().trim_start_matches('/')));
        };
        let response = match self.state.admit(endpoint, request.headers()) {
            Err(error) => refusal(error),
            Ok(()) => {
                only_gzip_for_gzip(request.headers_mut());
                let call = AssertUnwindSafe(tower::Service::call(&mut self.routes, request)).catch_unwind();
                let (answer, indexes) = with_applied_indexes(call).await;
                match answer {
                    Ok(Ok(mut response)) => {
                        if let Some(value) = indexes.and_then(|indexes| HeaderValue::from_str(&indexes).ok()) {
                            response.headers_mut().insert(APPLIED_INDEX_HEADER, value);
                        }
                        response
                    }
                    Ok(Err(never)) => match never {},
                    Err(_) => refusal(panicked(endpoint.method.path)),
                }
            }
        };
        endpoint.observe(&response, started);
        response
    }
}

impl tower::Service<Request<Body>> for Gate {
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response<Body>, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        self.clone().answer(request).map(Ok).boxed()
    }
}

impl GateState {
    fn admit(&self, endpoint: &Endpoint, headers: &HeaderMap) -> Result<(), ApiError> {
        let Method { access, .. } = endpoint.method;
        let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
        auth::check(&self.keys, auth::presented_key(text("api-key"), text("authorization")), access)?;
        Ok(())
    }
}

impl Endpoint {
    fn new(method: Method) -> Endpoint {
        let duration = histogram!(DURATION, "endpoint" => method.path);
        Endpoint { method, duration, responses: [const { OnceLock::new() }; CODES] }
    }

    fn observe(&self, response: &Response<Body>, started: Instant) {
        self.duration.record(started.elapsed().as_secs_f64());
        // A status in the headers is a failure; success comes in the trailers.
        let code = Status::from_header_map(response.headers()).map_or(Code::Ok, |status| status.code()) as usize;
        if let Some(cell) = self.responses.get(code) {
            let registered = || counter!(RESPONSES, "endpoint" => self.method.path, "status" => code.to_string());
            cell.get_or_init(registered).increment(1);
        }
    }
}

/// Answers are compressed for callers that compress their requests. Many advertise gzip without wanting to pay for it:
/// it costs more than a search does.
fn only_gzip_for_gzip(headers: &mut HeaderMap) {
    if !headers.contains_key("grpc-encoding") {
        headers.remove("grpc-accept-encoding");
    }
}

fn refusal(error: ApiError) -> Response<Body> {
    grpc_status(error).into_http()
}

/// The panic's own text is the panic hook's to log.
fn panicked(path: &'static str) -> ApiError {
    tracing::error!(path, "a gRPC handler panicked");
    ApiError::internal("the request failed unexpectedly; see the server's log")
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use tokio::net::TcpListener;
    use tokio::sync::oneshot;
    use tonic::codec::{CompressionEncoding, DecodeBuf, Decoder, EncodeBuf, Encoder};
    use tonic::codegen::http::uri::PathAndQuery;
    use tonic::transport::server::TcpIncoming;
    use tonic::transport::{Channel, Server};
    use tonic::{Request, Response};

    use super::{Code, Gate, Keys, Routes, Status};
    use crate::api::grpc::banner::BannerRpc;
    use crate::api::grpc::pb;
    use crate::api::grpc::pb::points_client::PointsClient;
    use crate::api::grpc::pb::points_server::{Points, PointsServer};
    use crate::api::grpc::pb::qdrant_client::QdrantClient;
    use crate::api::grpc::pb::qdrant_server::QdrantServer;
    use crate::api::status::{PROTOCOL_VERSION, TITLE};

    /// Panics on a count, answers a scroll.
    struct Stub;

    #[tonic::async_trait]
    impl Points for Stub {
        async fn count(&self, _: Request<pb::CountPoints>) -> Result<Response<pb::CountResponse>, Status> {
            panic!("a broken invariant");
        }
        async fn scroll(&self, _: Request<pb::ScrollPoints>) -> Result<Response<pb::ScrollResponse>, Status> {
            Ok(Response::new(pb::ScrollResponse::default()))
        }
    }

    /// A server behind the gate; stops when dropped.
    struct Served {
        address: SocketAddr,
        _stop: oneshot::Sender<()>,
    }

    impl Served {
        async fn new(keys: Keys) -> Served {
            let points = PointsServer::new(Stub)
                .accept_compressed(CompressionEncoding::Gzip)
                .send_compressed(CompressionEncoding::Gzip);
            let routes = Routes::new(points).add_service(QdrantServer::new(BannerRpc)).prepare();
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let (stop, stopped) = oneshot::channel::<()>();
            let server = Server::builder().serve_with_incoming_shutdown(
                Gate::new(routes, keys),
                TcpIncoming::from(listener),
                async { drop(stopped.await) },
            );
            tokio::spawn(server);
            Served { address, _stop: stop }
        }

        async fn connect(&self) -> Channel {
            Channel::from_shared(format!("http://{}", self.address)).unwrap().connect().await.unwrap()
        }
    }

    /// Bytes as they are.
    #[derive(Clone, Copy, Default)]
    struct Raw;

    impl tonic::codec::Codec for Raw {
        type Encode = Vec<u8>;
        type Decode = Vec<u8>;
        type Encoder = Raw;
        type Decoder = Raw;
        fn encoder(&mut self) -> Raw {
            Raw
        }
        fn decoder(&mut self) -> Raw {
            Raw
        }
    }

    impl Encoder for Raw {
        type Item = Vec<u8>;
        type Error = Status;
        fn encode(&mut self, item: Vec<u8>, buffer: &mut EncodeBuf<'_>) -> Result<(), Status> {
            prost::bytes::BufMut::put_slice(buffer, &item);
            Ok(())
        }
    }

    impl Decoder for Raw {
        type Item = Vec<u8>;
        type Error = Status;
        fn decode(&mut self, buffer: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
            let length = prost::bytes::Buf::remaining(buffer);
            Ok(Some(prost::bytes::Buf::copy_to_bytes(buffer, length).to_vec()))
        }
    }

    async fn call_raw(channel: &Channel, path: &str, message: &[u8]) -> Result<Vec<u8>, Status> {
        let mut client = tonic::client::Grpc::new(channel.clone());
        client.ready().await.unwrap();
        let path: PathAndQuery = path.parse().unwrap();
        client.unary(Request::new(message.to_vec()), path, Raw).await.map(Response::into_inner)
    }

    async fn assert_usable(channel: &Channel) {
        let reply = QdrantClient::new(channel.clone()).health_check(pb::HealthCheckRequest {}).await.unwrap();
        let reply = reply.into_inner();
        assert_eq!((reply.title.as_str(), reply.version.as_str()), (TITLE, PROTOCOL_VERSION));
    }

    #[tokio::test]
    async fn what_does_not_exist_is_named() {
        let served = Served::new(Keys::default()).await;
        let channel = served.connect().await;
        let status = call_raw(&channel, "/qdrant.StorageRead/Any", &[]).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::Unimplemented, "Not implemented: qdrant.StorageRead/Any"));
        assert_usable(&channel).await;
    }

    #[tokio::test]
    async fn broken_messages_are_the_callers_mistake_and_the_connection_stays() {
        let served = Served::new(Keys::default()).await;
        let channel = served.connect().await;
        // A string longer than the message; a wire type that does not exist; an open group; invalid UTF-8; an endless
        // number.
        let endless = [&[0x20][..], &[0xFF; 11]].concat();
        let broken: [&[u8]; 5] = [&[0x0A, 0x7F, b'c'], &[0x0F], &[0x0B], &[0x0A, 2, 0xC3, 0x28], &endless];
        for message in broken {
            let status = call_raw(&channel, "/qdrant.Points/Scroll", message).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{message:?}: {status}");
            assert!(status.message().starts_with("Format error in protobuf body: "), "{status}");
            assert_usable(&channel).await;
        }
        // More levels than the decoder follows: each is a `must` with a filter.
        let deep = (0..100).fold(Vec::new(), |inner: Vec<u8>, _| {
            let filter = [&[0x22][..], &varint(inner.len()), &inner].concat();
            [&[0x12][..], &varint(filter.len()), &filter].concat()
        });
        let scroll = [&[0x12][..], &varint(deep.len()), &deep].concat();
        let status = call_raw(&channel, "/qdrant.Points/Scroll", &scroll).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert_usable(&channel).await;
    }

    fn varint(mut value: usize) -> Vec<u8> {
        let mut bytes = Vec::new();
        while value > 0x7F {
            bytes.push(value as u8 | 0x80);
            value >>= 7;
        }
        bytes.push(value as u8);
        bytes
    }

    #[tokio::test]
    async fn a_panic_ends_its_call_only() {
        let served = Served::new(Keys::default()).await;
        let channel = served.connect().await;
        let mut points = PointsClient::new(channel.clone());
        let status = points.count(pb::CountPoints::default()).await.unwrap_err();
        assert_eq!(status.code(), Code::Internal);
        assert_eq!(status.message(), "Service internal error: the request failed unexpectedly; see the server's log");
        assert!(points.scroll(pb::ScrollPoints::default()).await.is_ok());
    }

    #[tokio::test]
    async fn clients_3_2_keys() {
        let served = Served::new(Keys::new(Some("full".into()), None, Some("ro".into()))).await;
        let channel = served.connect().await;
        assert_usable(&channel).await;
        let call = async |path: &'static str, name: &'static str, value: &'static str| {
            let mut client = tonic::client::Grpc::new(channel.clone());
            client.ready().await.unwrap();
            let mut request = Request::new(Vec::new());
            if !name.is_empty() {
                request.metadata_mut().insert(name, value.parse().unwrap());
            }
            match client.unary(request, PathAndQuery::from_static(path), Raw).await {
                Ok(_) => (Code::Ok, String::new()),
                Err(status) => (status.code(), status.message().to_owned()),
            }
        };
        let (scroll, upsert) = ("/qdrant.Points/Scroll", "/qdrant.Points/Upsert");
        let missing = "Must provide an API key or an Authorization bearer token".to_owned();
        assert_eq!(call(scroll, "", "").await, (Code::Unauthenticated, missing.clone()));
        assert_eq!(call("/qdrant.Points/Recommend", "", "").await, (Code::Unauthenticated, missing));
        let unknown = "Invalid API key or JWT".to_owned();
        assert_eq!(call(scroll, "api-key", "wrong").await, (Code::Unauthenticated, unknown));
        assert_eq!(call(scroll, "api-key", "ro").await.0, Code::Ok);
        assert_eq!(call(scroll, "api-key", "full").await.0, Code::Ok);
        assert_eq!(call(scroll, "authorization", "Bearer full").await.0, Code::Ok);
        let (code, text) = call(upsert, "api-key", "ro").await;
        assert_eq!(code, Code::PermissionDenied);
        assert!(text.starts_with("Forbidden: "), "{text}");
    }

    #[tokio::test]
    async fn answers_are_compressed_for_callers_that_compress() {
        let served = Served::new(Keys::default()).await;
        let channel = served.connect().await;
        let accepts = PointsClient::new(channel).accept_compressed(CompressionEncoding::Gzip);
        let encoding = async |mut client: PointsClient<Channel>| {
            let answer = client.scroll(pb::ScrollPoints::default()).await.unwrap();
            answer.metadata().get("grpc-encoding").map(|encoding| encoding.to_str().unwrap().to_owned())
        };
        assert_eq!(encoding(accepts.clone()).await, None);
        let compresses = accepts.send_compressed(CompressionEncoding::Gzip);
        assert_eq!(encoding(compresses).await.as_deref(), Some("gzip"));
    }
}
