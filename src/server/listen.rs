//! Listeners: bound sockets that hand out a bounded number of connections, and the REST server on one of them.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use arc_swap::ArcSwap;
use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use hyper_util::server::conn::auto;
use hyper_util::server::graceful::GracefulShutdown;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tonic::transport::server::{Connected, TcpConnectInfo};
use tower::ServiceExt;

use super::Failure;

/// A client that has not sent a request's headers by then is cut off, so that slow ones cannot hold every connection.
/// It also ends connections that idle between two requests.
const HEADER_READ_TIMEOUT: Duration = Duration::from_secs(60);

/// How often a quiet HTTP/2 connection is asked whether its client still lives.
const HTTP2_PING_INTERVAL: Duration = Duration::from_secs(60);

/// Wait after a failed accept: most likely the process is out of file descriptors, and asking at once again would spin.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// A bound socket. At most `connections_max` of its connections are open at once; more wait in the kernel's backlog.
pub(super) struct Listener {
    transport: &'static str,
    socket: TcpListener,
    address: SocketAddr,
    slots: Arc<Semaphore>,
}

impl Listener {
    pub(super) async fn bind(
        transport: &'static str,
        address: SocketAddr,
        connections_max: usize,
    ) -> Result<Listener, Failure> {
        let failure = |source| Failure::Bind { transport, address, source };
        let socket = TcpListener::bind(address).await.map_err(failure)?;
        let address = socket.local_addr().map_err(failure)?;
        Ok(Listener { transport, socket, address, slots: Arc::new(Semaphore::new(connections_max)) })
    }

    /// The address in use: port 0 has become a real one.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// The next connection. Cancel safe: no connection is lost, it stays in the backlog.
    pub(super) async fn accept(&self) -> Connection {
        let Ok(slot) = self.slots.clone().acquire_owned().await else { unreachable!("nobody closes the semaphore") };
        loop {
            match self.socket.accept().await {
                Ok((stream, _)) => return Connection::new(self.transport, stream, slot),
                Err(error) if is_of_one_connection(&error) => {}
                Err(error) => {
                    tracing::warn!(transport = self.transport, %error, "cannot accept connections");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            }
        }
    }

    /// The connections as a stream, for tonic.
    pub(super) fn into_stream(self) -> impl futures::Stream<Item = io::Result<Connection>> {
        futures::stream::unfold(self, |listener| async move {
            let connection = listener.accept().await;
            Some((Ok(connection), listener))
        })
    }
}

/// The client went away before it was accepted.
fn is_of_one_connection(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::ConnectionAborted | io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionRefused
    )
}

/// An accepted connection; it occupies one of its listener's slots until dropped.
pub(super) struct Connection {
    stream: TcpStream,
    open: metrics::Gauge,
    _slot: OwnedSemaphorePermit,
}

impl Connection {
    fn new(transport: &'static str, stream: TcpStream, slot: OwnedSemaphorePermit) -> Connection {
        // Answers are small; without this each one could wait for the ACK of the one before.
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "TCP_NODELAY refused");
        }
        let open = metrics::gauge!("open_connections", "transport" => transport);
        open.increment(1);
        Connection { stream, open, _slot: slot }
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.open.decrement(1);
    }
}

impl Connected for Connection {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.stream.connect_info()
    }
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, slices)
    }
    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}

/// Serves HTTP/1 and HTTP/2 on `listener` until `stop`; returns when the last request under way has been answered.
/// Each request goes to the router of its moment.
pub(super) async fn serve_rest(listener: Listener, router: Arc<ArcSwap<Router>>, stop: impl Future<Output = ()>) {
    let mut builder = auto::Builder::new(TokioExecutor::new());
    builder.http1().timer(TokioTimer::new()).header_read_timeout(HEADER_READ_TIMEOUT);
    builder.http2().timer(TokioTimer::new()).keep_alive_interval(HTTP2_PING_INTERVAL).max_concurrent_streams(256);
    let under_way = GracefulShutdown::new();
    let mut stop = std::pin::pin!(stop);
    loop {
        let connection = tokio::select! {
            connection = listener.accept() => connection,
            () = &mut stop => break,
        };
        let router = router.clone();
        let service = service_fn(move |request: axum::http::Request<Incoming>| {
            Router::clone(&router.load()).oneshot(request.map(Body::new))
        });
        let serving = builder.serve_connection(TokioIo::new(connection), service).into_owned();
        let serving = under_way.watch(serving);
        tokio::spawn(async move {
            if let Err(error) = serving.await {
                tracing::debug!(%error, "a REST connection ended early");
            }
        });
    }
    drop(listener);
    under_way.shutdown().await;
}
