//! This node's way to the others.

use std::collections::{BTreeMap, HashMap};
use std::error::Error;
use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use parking_lot::{Mutex, RwLock};
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, ConnectError, Status};

use super::pb::answer::Outcome;
use super::pb::gate_client::GateClient;
use super::pb::peer_client::PeerClient;
use super::server::{Newcomer, Welcome};
use super::{Credentials, MESSAGE_BYTES_MAX, Shown, ask_to_pb, pb, transfer};
use crate::model::ShardId;
use crate::raft::{Ask, Message, Peer, Transport, TransportError};

/// How long a connection may take to come about.
const CONNECT_MAX: Duration = Duration::from_secs(1);
/// A connection that is silent this long is asked whether it is alive, and dropped when it does not say so.
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(2);
const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(2);
/// How long a node may take to let another one in: its cluster has to agree.
const JOIN_MAX: Duration = Duration::from_secs(20);
/// What one message may have under way before it waits for the other side, bytes.
const WINDOW_BYTES: u32 = 8 << 20;
/// Heartbeats that wait for their turn to one node; more are dropped, which their groups take for a lost message.
const BEATS_MAX: usize = 16_384;
/// How long heartbeats wait for their answers: far longer than their groups do.
const BEATS_ANSWERED_MAX: Duration = Duration::from_secs(3);
/// Heartbeats in one message.
const BEATS_AT_ONCE_MAX: usize = 1_024;

/// A client of one connection.
pub(super) type Client = PeerClient<InterceptedService<Channel, Shown>>;

/// How nodes talk to each other.
#[derive(Clone, Debug)]
pub struct PeerSettings {
    /// What they show each other.
    pub credentials: Credentials,
    /// Bytes per second of one snapshot on its way, so that it leaves room for everything else.
    pub snapshot_bytes_per_s: u64,
}

/// Where nodes are, as far as this one knows: what it was told last.
#[derive(Debug, Default)]
pub struct AddressBook {
    addresses: RwLock<BTreeMap<u64, String>>,
}

impl AddressBook {
    /// Replaces everything.
    pub fn set(&self, addresses: BTreeMap<u64, String>) {
        *self.addresses.write() = addresses;
    }

    /// Where a node is; what the membership says if nothing is known.
    fn address(&self, peer: &Peer) -> Option<String> {
        let known = self.addresses.read().get(&peer.id).cloned();
        known.or_else(|| Some(peer.address.clone())).filter(|address| !address.is_empty())
    }
}

/// The [`Transport`] over gRPC.
pub struct PeerClients {
    settings: PeerSettings,
    book: Arc<AddressBook>,
    /// By address. Held for moments only.
    lines: Mutex<HashMap<String, Lines>>,
}

/// The connections to one address. Cheap to clone.
#[derive(Clone)]
struct Lines {
    log: Arc<Line>,
    calls: Arc<Line>,
    bulk: Arc<Line>,
    beats: mpsc::Sender<Beat>,
}

/// One connection. While it comes about all wait for the same attempt, and all learn that it failed: nobody waits for as many
/// attempts as there are before him.
struct Line {
    endpoint: Endpoint,
    credentials: Credentials,
    /// Held for moments only.
    attempt: Mutex<Attempt>,
}

#[derive(Default)]
struct Attempt {
    number: u64,
    channel: Option<Shared<BoxFuture<'static, Result<Channel, String>>>>,
}

impl Line {
    fn new(address: &str, credentials: &Credentials) -> Result<Line, tonic::transport::Error> {
        let endpoint = Endpoint::from_shared(format!("http://{address}"))?
            .connect_timeout(CONNECT_MAX)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
            .keep_alive_timeout(KEEPALIVE_TIMEOUT)
            .keep_alive_while_idle(true)
            .initial_stream_window_size(WINDOW_BYTES)
            .initial_connection_window_size(2 * WINDOW_BYTES);
        Ok(Line { endpoint, credentials: credentials.clone(), attempt: Mutex::default() })
    }

    /// Runs a call on the connection. Undelivered if there is none.
    async fn call<T, F>(&self, call: impl FnOnce(Client) -> F) -> Result<T, Status>
    where
        F: Future<Output = Result<T, Status>>,
    {
        let (number, channel) = self.channel();
        let channel = channel.await.map_err(|why| {
            self.forget(number);
            undelivered(why)
        })?;
        let client = PeerClient::with_interceptor(channel, Shown(self.credentials.clone()));
        let client = client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX);
        call(client).await.inspect_err(|status| {
            if is_undelivered(status) {
                self.forget(number);
            }
        })
    }

    fn channel(&self) -> (u64, Shared<BoxFuture<'static, Result<Channel, String>>>) {
        let mut attempt = self.attempt.lock();
        let attempt = &mut *attempt;
        attempt.number += u64::from(attempt.channel.is_none());
        let connect = || {
            let endpoint = self.endpoint.clone();
            async move { endpoint.connect().await.map_err(|error| with_causes(&error)) }.boxed().shared()
        };
        (attempt.number, attempt.channel.get_or_insert_with(connect).clone())
    }

    fn forget(&self, number: u64) {
        let mut attempt = self.attempt.lock();
        if attempt.number == number {
            attempt.channel = None;
        }
    }
}

fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text = format!("{text}: {error}");
        cause = error.source();
    }
    text
}

struct Beat {
    question: pb::Question,
    answer: oneshot::Sender<Result<pb::Answer, Status>>,
}

impl PeerClients {
    /// No connection is made before it is needed.
    pub fn new(settings: PeerSettings, book: Arc<AddressBook>) -> PeerClients {
        PeerClients { settings, book, lines: Mutex::default() }
    }

    fn lines(&self, to: &Peer) -> Result<Lines, TransportError> {
        let unreachable = |why: String| TransportError::Unreachable { node: to.id, why };
        let address = self.book.address(to).ok_or_else(|| unreachable("its address is not known".to_owned()))?;
        let mut lines = self.lines.lock();
        if let Some(lines) = lines.get(&address) {
            return Ok(lines.clone());
        }
        let line = || {
            let line =
                Line::new(&address, &self.settings.credentials).map_err(|error| unreachable(error.to_string()))?;
            Ok(Arc::new(line))
        };
        let (beats, queue) = mpsc::channel(BEATS_MAX);
        let new = Lines { log: line()?, calls: line()?, bulk: line()?, beats };
        tokio::spawn(carry_beats(line()?, queue));
        lines.insert(address, new.clone());
        Ok(new)
    }
}

impl PeerClients {
    /// What another node answers to what is no group's affair ([`super::Host`]). Gives up `within` that time; dropping the
    /// future gives it up there, too.
    pub async fn call(&self, to: &Peer, body: Vec<u8>, within: Duration) -> Result<Vec<u8>, TransportError> {
        let (lines, node) = (self.lines(to)?, to.id);
        let call = pb::Call { body, within_ms: within.as_millis().try_into().unwrap_or(u64::MAX), to: node };
        let asked = lines.calls.call(|mut client: Client| async move { client.ask(call).await });
        let late = || TransportError::NoAnswer { node, why: format!("not within {} ms", within.as_millis()) };
        let answer = timeout(within, asked).await.map_err(|_| late())?;
        from_answer(node, answer.map(tonic::Response::into_inner))
    }
}

/// Asks the node at `address` to let this one into its cluster.
pub async fn join(address: &str, key: Option<String>, newcomer: Newcomer) -> Result<Welcome, JoinError> {
    let Newcomer { id: node, address: own, zone } = newcomer;
    let request = pb::JoinRequest { node, address: own, zone };
    let reply = gate(address, key)?.join(request).await;
    let pb::JoinReply { cluster, nodes } = reply.map_err(|status| failed(address, status.message()))?.into_inner();
    Ok(Welcome { cluster, nodes: nodes.into_iter().collect() })
}

/// The name of the cluster that the node at `address` belongs to. `None`: it waits to be let into one.
pub async fn cluster_of(address: &str, key: Option<String>) -> Result<Option<String>, JoinError> {
    let reply = gate(address, key)?.who(pb::WhoRequest {}).await;
    Ok(reply.map_err(|status| failed(address, status.message()))?.into_inner().cluster)
}

fn gate(address: &str, key: Option<String>) -> Result<GateClient<InterceptedService<Channel, Shown>>, JoinError> {
    let endpoint = Endpoint::from_shared(format!("http://{address}")).map_err(|error| failed(address, &error))?;
    let channel = endpoint.connect_timeout(CONNECT_MAX).timeout(JOIN_MAX).connect_lazy();
    Ok(GateClient::with_interceptor(channel, Shown(Credentials { cluster: String::new(), key, alt_key: None })))
}

fn failed(address: &str, error: impl std::fmt::Display) -> JoinError {
    JoinError { address: address.to_owned(), why: error.to_string() }
}

/// A node does not let this one in.
#[derive(Debug, thiserror::Error)]
#[error("the node at {address} does not let this one into its cluster: {why}")]
pub struct JoinError {
    address: String,
    why: String,
}

/// Sends what waits together, without waiting for what was sent before: a group that answers late keeps no other waiting.
async fn carry_beats(line: Arc<Line>, mut queue: mpsc::Receiver<Beat>) {
    let mut beats = Vec::new();
    while queue.recv_many(&mut beats, BEATS_AT_ONCE_MAX).await > 0 {
        let sending = send_beats(Arc::clone(&line), std::mem::take(&mut beats));
        // What is not answered by then is dropped, and its senders learn of it.
        tokio::spawn(timeout(BEATS_ANSWERED_MAX, sending));
    }
}

async fn send_beats(line: Arc<Line>, beats: Vec<Beat>) {
    let (questions, mut waiting): (Vec<_>, Vec<_>) =
        beats.into_iter().map(|beat| (beat.question, Some(beat.answer))).unzip();
    let asked = |mut client: Client| async move { client.put_all(pb::Questions { questions }).await };
    let failure = match line.call(asked).await {
        Err(status) => status,
        Ok(response) => {
            let mut answers = response.into_inner();
            loop {
                match answers.message().await {
                    Ok(Some(pb::PlacedAnswer { place, answer: Some(answer) })) => {
                        if let Some(waits) = waiting.get_mut(place as usize).and_then(Option::take) {
                            // Who stopped waiting does not listen.
                            let _ = waits.send(Ok(answer));
                        }
                    }
                    Ok(Some(_)) => {}
                    Ok(None) => break Status::unknown("no answer"),
                    Err(status) => break status,
                }
            }
        }
    };
    for waits in waiting.into_iter().flatten() {
        let _ = waits.send(Err(failure.clone()));
    }
}

impl Transport for PeerClients {
    fn ask(
        &self,
        to: &Peer,
        message: Message,
        within: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        let (lines, node) = (self.lines(to), to.id);
        async move {
            let lines = lines?;
            let Message { shard, ask, body } = message;
            let question = pb::Question { shard: shard.0, ask: ask_to_pb(ask).into(), body, to: node };
            let answer = match ask {
                Ask::Beat => timeout(within, beat(&lines, question)).await,
                _ => {
                    let put = |mut client: Client| async move { client.put(question).await };
                    timeout(within, lines.log.call(put)).await.map(|answer| answer.map(tonic::Response::into_inner))
                }
            };
            let late = || TransportError::NoAnswer { node, why: format!("not within {} ms", within.as_millis()) };
            from_answer(node, answer.map_err(|_| late())?)
        }
        .boxed()
    }

    fn send_snapshot(
        &self,
        to: &Peer,
        shard: ShardId,
        head: Vec<u8>,
        folder: Arc<Path>,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        let (lines, node, pace) = (self.lines(to), to.id, self.settings.snapshot_bytes_per_s);
        async move {
            let line = lines?.bulk;
            let sent = line.call(|client| transfer::send(client, (node, shard), head, &folder, pace)).await;
            from_answer(node, sent)
        }
        .boxed()
    }
}

async fn beat(lines: &Lines, question: pb::Question) -> Result<pb::Answer, Status> {
    let (answer, waits) = oneshot::channel();
    lines.beats.try_send(Beat { question, answer }).map_err(|_| Status::resource_exhausted("too many wait"))?;
    waits.await.unwrap_or_else(|_| Err(Status::unknown("dropped")))
}

/// An answer, or what is known of why there is none.
fn from_answer(node: u64, answer: Result<pb::Answer, Status>) -> Result<Vec<u8>, TransportError> {
    let unreachable = |why: String| TransportError::Unreachable { node, why };
    match answer {
        Ok(pb::Answer { outcome: Some(Outcome::Body(body)) }) => Ok(body),
        Ok(pb::Answer { outcome: Some(Outcome::Refused(why)) }) => Err(unreachable(why)),
        Ok(pb::Answer { outcome: Some(Outcome::Failed(why)) }) => Err(TransportError::NoAnswer { node, why }),
        Ok(pb::Answer { outcome: None }) => Err(TransportError::NoAnswer { node, why: "an empty answer".to_owned() }),
        Err(status) if is_undelivered(&status) => Err(unreachable(status.to_string())),
        Err(status) => Err(TransportError::NoAnswer { node, why: status.to_string() }),
    }
}

/// A status that says so of a message that was not sent.
fn undelivered(why: String) -> Status {
    let mut status = Status::unavailable(why.clone());
    status.set_source(Arc::new(ConnectError(why.into())));
    status
}

/// Whether nobody has read the message: there was no connection, or it was refused unread. Nothing that could be said of a
/// connection that breaks under way counts.
fn is_undelivered(status: &Status) -> bool {
    // Unimplemented: what answers there is still, or only, a door.
    if matches!(status.code(), Code::Unauthenticated | Code::FailedPrecondition | Code::Unimplemented) {
        return true;
    }
    let mut cause = status.source();
    while let Some(error) = cause {
        if error.is::<ConnectError>() {
            return true;
        }
        cause = error.source();
    }
    false
}
