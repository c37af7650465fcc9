//! What this node answers the others.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{Stream, StreamExt};
use subtle::ConstantTimeEq;
use tokio::io::{AsyncRead, AsyncWrite};
use tonic::metadata::MetadataValue;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Server;
use tonic::transport::server::Connected;
use tonic::{Request, Response, Status, Streaming};

use super::pb::answer::Outcome;
use super::pb::gate_server::{Gate, GateServer};
use super::pb::peer_server::{Peer, PeerServer};
use super::transfer::Inbox;
use super::{CLUSTER_HEADER, Credentials, KEY_HEADER, MESSAGE_BYTES_MAX, ask_from_pb, pb};
use crate::model::ShardId;
use crate::raft::{AnswerError, Message, Node};

/// As on the client's side.
const WINDOW_BYTES: u32 = 8 << 20;
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(10);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(10);

/// Why the listener for peers ended.
#[derive(Debug, thiserror::Error)]
#[error("the listener for peers failed")]
pub struct PeerServeError(#[from] tonic::transport::Error);

/// Lets nodes into the cluster.
pub trait Doorkeeper: Send + Sync + 'static {
    /// Makes the node a part of the cluster, or notes where it is now if it is one already. Why not, otherwise.
    fn admit(&self, newcomer: Newcomer) -> BoxFuture<'static, Result<Welcome, String>>;

    /// Names the cluster this node belongs to. `None`: it waits to be let into one.
    fn cluster(&self) -> Option<String>;
}

/// The door of a node that waits to be let in itself.
struct Waiting;

impl Doorkeeper for Waiting {
    fn admit(&self, _newcomer: Newcomer) -> BoxFuture<'static, Result<Welcome, String>> {
        Box::pin(std::future::ready(Err("it waits to be let in itself".to_owned())))
    }

    fn cluster(&self) -> Option<String> {
        None
    }
}

/// Says on `connections` that this node waits to be let into a cluster, until `stop` resolves; then it asks its callers to
/// connect anew.
pub async fn serve_waiting<C>(
    connections: impl Stream<Item = io::Result<C>>,
    credentials: Credentials,
    stop: impl Future<Output = ()>,
) -> Result<(), PeerServeError>
where
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let waiting = Server::builder().add_service(gate(Arc::new(Waiting), credentials));
    waiting.serve_with_incoming_shutdown(connections, stop).await?;
    Ok(())
}

/// The service of `Gate` behind the cluster's key.
fn gate(
    doorkeeper: Arc<dyn Doorkeeper>,
    credentials: Credentials,
) -> InterceptedService<GateServer<GateRpc>, KeyCheck> {
    InterceptedService::new(GateServer::new(GateRpc { doorkeeper }), KeyCheck(credentials))
}

/// Lets those pass that show a key.
#[derive(Clone)]
struct KeyCheck(Credentials);

impl Interceptor for KeyCheck {
    fn call(&mut self, request: Request<()>) -> Result<Request<()>, Status> {
        check_key(&self.0, request)
    }
}

/// Answers what is no group's affair.
pub trait Host: Send + Sync + 'static {
    /// The answer, as long as the caller waits; dropping the future gives it up. An error says that nothing was done.
    fn answer(&self, body: Vec<u8>, within: Duration) -> BoxFuture<'_, Result<Vec<u8>, String>>;
}

/// A node that wants to belong to the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Newcomer {
    /// Its number.
    pub id: u64,
    /// Where it listens for the others.
    pub address: String,
    /// Nodes of one zone fail together.
    pub zone: Option<String>,
}

/// What it is told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Welcome {
    /// Names the cluster.
    pub cluster: String,
    /// Where its nodes are, by number.
    pub nodes: BTreeMap<u64, String>,
}

/// Answers the nodes of the cluster on `connections` until `stop` resolves.
///
/// Not cancel safe: dropping the future cuts the calls under way.
pub async fn serve<C>(
    connections: impl Stream<Item = io::Result<C>>,
    (node, host): (Arc<Node>, Arc<dyn Host>),
    doorkeeper: Arc<dyn Doorkeeper>,
    credentials: Credentials,
    stop: impl Future<Output = ()>,
) -> Result<(), PeerServeError>
where
    C: AsyncRead + AsyncWrite + Connected + Unpin + Send + 'static,
{
    let rpc = PeerRpc { node, host, inbox: Arc::default() };
    let server =
        PeerServer::new(rpc).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
    let gate = gate(doorkeeper, credentials.clone());
    let checked = move |request: Request<()>| check_cluster(&credentials, request);
    let server = InterceptedService::new(server, checked);
    Server::builder()
        .initial_stream_window_size(WINDOW_BYTES)
        .initial_connection_window_size(2 * WINDOW_BYTES)
        .http2_keepalive_interval(Some(KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(KEEPALIVE_TIMEOUT))
        .add_service(server)
        .add_service(gate)
        .serve_with_incoming_shutdown(connections, stop)
        .await?;
    Ok(())
}

fn shown<'a>(request: &'a Request<()>, name: &str) -> Option<&'a [u8]> {
    request.metadata().get(name).map(MetadataValue::as_bytes)
}

fn check_key(credentials: &Credentials, request: Request<()>) -> Result<Request<()>, Status> {
    let is_right = |key: &String| shown(&request, KEY_HEADER).is_some_and(|shown| shown.ct_eq(key.as_bytes()).into());
    let keys = || credentials.key.iter().chain(&credentials.alt_key);
    match keys().next().is_none() || keys().any(is_right) {
        true => Ok(request),
        false => Err(Status::unauthenticated("the cluster's key is asked for")),
    }
}

fn check_cluster(credentials: &Credentials, request: Request<()>) -> Result<Request<()>, Status> {
    let request = check_key(credentials, request)?;
    if shown(&request, CLUSTER_HEADER) != Some(credentials.cluster.as_bytes()) {
        return Err(Status::failed_precondition("this node is of another cluster"));
    }
    Ok(request)
}

struct GateRpc {
    doorkeeper: Arc<dyn Doorkeeper>,
}

#[tonic::async_trait]
impl Gate for GateRpc {
    async fn join(&self, request: Request<pb::JoinRequest>) -> Result<Response<pb::JoinReply>, Status> {
        let pb::JoinRequest { node, address, zone } = request.into_inner();
        let admitted = self.doorkeeper.admit(Newcomer { id: node, address, zone }).await;
        let Welcome { cluster, nodes } = admitted.map_err(Status::unavailable)?;
        Ok(Response::new(pb::JoinReply { cluster, nodes: nodes.into_iter().collect() }))
    }

    async fn who(&self, _request: Request<pb::WhoRequest>) -> Result<Response<pb::WhoReply>, Status> {
        Ok(Response::new(pb::WhoReply { cluster: self.doorkeeper.cluster() }))
    }
}

struct PeerRpc {
    node: Arc<Node>,
    host: Arc<dyn Host>,
    inbox: Arc<Inbox>,
}

/// Refuses what is meant for another node that lived here before: its vote and its word would be given by one who knows
/// nothing of them.
fn check_addressee(node: &Node, to: u64) -> Result<(), String> {
    match node.id() {
        Ok(own) if own == to => Ok(()),
        Ok(own) => Err(format!("node {own} lives here, not node {to}")),
        Err(error) => Err(error.to_string()),
    }
}

async fn answer(node: Arc<Node>, question: pb::Question) -> pb::Answer {
    if let Err(why) = check_addressee(&node, question.to) {
        return pb::Answer { outcome: Some(Outcome::Refused(why)) };
    }
    let Some(ask) = pb::Ask::try_from(question.ask).ok().and_then(ask_from_pb) else {
        return pb::Answer { outcome: Some(Outcome::Refused("this version does not know the question".to_owned())) };
    };
    let message = Message { shard: ShardId(question.shard), ask, body: question.body };
    answered(node.answer(message).await)
}

fn answered(outcome: Result<Vec<u8>, AnswerError>) -> pb::Answer {
    let outcome = match outcome {
        Ok(body) => Outcome::Body(body),
        Err(error @ AnswerError::NoGroup { .. }) => Outcome::Refused(error.to_string()),
        Err(error) => Outcome::Failed(error.to_string()),
    };
    pb::Answer { outcome: Some(outcome) }
}

#[tonic::async_trait]
impl Peer for PeerRpc {
    type PutAllStream = Pin<Box<dyn Stream<Item = Result<pb::PlacedAnswer, Status>> + Send>>;

    async fn ask(&self, request: Request<pb::Call>) -> Result<Response<pb::Answer>, Status> {
        let pb::Call { body, within_ms, to } = request.into_inner();
        let answer = match check_addressee(&self.node, to) {
            Ok(()) => self.host.answer(body, Duration::from_millis(within_ms)).await,
            Err(why) => Err(why),
        };
        let outcome = answer.map_or_else(Outcome::Refused, Outcome::Body);
        Ok(Response::new(pb::Answer { outcome: Some(outcome) }))
    }

    async fn put(&self, request: Request<pb::Question>) -> Result<Response<pb::Answer>, Status> {
        // A task of its own: what has begun is ended, also when the caller stops waiting.
        let answering = tokio::spawn(answer(Arc::clone(&self.node), request.into_inner()));
        answering.await.map(Response::new).map_err(|error| Status::unknown(error.to_string()))
    }

    async fn put_all(&self, request: Request<pb::Questions>) -> Result<Response<Self::PutAllStream>, Status> {
        let answers: FuturesUnordered<_> = (0u32..)
            .zip(request.into_inner().questions)
            .map(|(place, question)| {
                let node = Arc::clone(&self.node);
                async move { Ok(pb::PlacedAnswer { place, answer: Some(answer(node, question).await) }) }
            })
            .collect();
        Ok(Response::new(answers.boxed()))
    }

    async fn offer_snapshot(&self, request: Request<pb::SnapshotOffer>) -> Result<Response<pb::SnapshotHeld>, Status> {
        let offer = request.into_inner();
        check_addressee(&self.node, offer.to).map_err(Status::failed_precondition)?;
        let folder = || self.node.receiving_folder(ShardId(offer.shard));
        let held = self.inbox.offer(offer.clone(), folder).await?;
        Ok(Response::new(held))
    }

    async fn send_snapshot(
        &self,
        request: Request<Streaming<pb::SnapshotPart>>,
    ) -> Result<Response<pb::Answer>, Status> {
        let (node, inbox) = (Arc::clone(&self.node), Arc::clone(&self.inbox));
        // A task of its own: when the connection breaks, what has arrived is kept.
        let receive = async move {
            let received = inbox.receive(request.into_inner()).await?;
            Ok::<_, Status>(node.install_snapshot(received.shard, &received.head, received.files).await)
        };
        let installed = tokio::spawn(receive).await.map_err(|error| Status::unknown(error.to_string()))??;
        Ok(Response::new(answered(installed)))
    }
}
