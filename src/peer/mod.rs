//! How the messages of groups reach other nodes: gRPC over one port, beside the public ones.
//!
//! Reading order: `pb` (generated from `proto/peer.proto`), `client` ([`PeerClients`], a [`crate::raft::Transport`]),
//! `transfer` (snapshots on their way), `server`.
//!
//! Invariants:
//! - Heartbeats, log entries and snapshots have connections of their own: none waits behind a larger one.
//! - Whoever does not name this cluster and its key is refused before a message is read.
//! - A message that was surely not delivered is told apart from one whose answer was lost: only the former may be sent again.
//! - A snapshot goes on where it was cut off, is checked file by file, and is installed whole.
//!
//! What it deliberately does not do: know what the messages say.

mod client;
mod server;
#[cfg(test)]
mod tests;
mod transfer;

pub use client::{AddressBook, JoinError, PeerClients, PeerSettings, cluster_of, join};
pub use server::{Doorkeeper, Host, Newcomer, PeerServeError, Welcome, serve, serve_waiting};

use tonic::service::Interceptor;
use tonic::{Request, Status};

use crate::raft::Ask;

/// Messages, server and client generated from `proto/peer.proto`.
#[allow(clippy::all, clippy::pedantic, clippy::restriction, missing_docs, unreachable_pub, rustdoc::all)]
mod pb {
    tonic::include_proto!("quiver.peer");
}

/// Bytes of one message: above the largest entry, which is as large as a request.
const MESSAGE_BYTES_MAX: usize = 160 << 20;

/// Which cluster a node belongs to.
const CLUSTER_HEADER: &str = "quiver-cluster";
const KEY_HEADER: &str = "api-key";

/// What nodes show each other.
#[derive(Clone)]
pub struct Credentials {
    /// Of the cluster.
    pub cluster: String,
    /// A key that may do everything, if keys are asked for.
    pub key: Option<String>,
    /// Another such key, which is taken from others: both are valid while one takes the place of the other.
    pub alt_key: Option<String>,
}

impl std::fmt::Debug for Credentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Credentials").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

/// Shows them with every call.
#[derive(Clone)]
struct Shown(Credentials);

impl Interceptor for Shown {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let value = |text: &str| text.parse().map_err(|_| Status::internal("a credential is no header value"));
        request.metadata_mut().insert(CLUSTER_HEADER, value(&self.0.cluster)?);
        if let Some(key) = &self.0.key {
            request.metadata_mut().insert(KEY_HEADER, value(key)?);
        }
        Ok(request)
    }
}

fn ask_to_pb(ask: Ask) -> pb::Ask {
    match ask {
        Ask::Append => pb::Ask::Append,
        Ask::Beat => pb::Ask::Beat,
        Ask::Vote => pb::Ask::Vote,
        Ask::PreVote => pb::Ask::PreVote,
        Ask::Lead => pb::Ask::Lead,
        Ask::Propose => pb::Ask::Propose,
        Ask::ReadIndex => pb::Ask::ReadIndex,
        Ask::Change => pb::Ask::Change,
    }
}

fn ask_from_pb(ask: pb::Ask) -> Option<Ask> {
    Some(match ask {
        pb::Ask::Unknown => return None,
        pb::Ask::Append => Ask::Append,
        pb::Ask::Beat => Ask::Beat,
        pb::Ask::Vote => Ask::Vote,
        pb::Ask::PreVote => Ask::PreVote,
        pb::Ask::Lead => Ask::Lead,
        pb::Ask::Propose => Ask::Propose,
        pb::Ask::ReadIndex => Ask::ReadIndex,
        pb::Ask::Change => Ask::Change,
    })
}
