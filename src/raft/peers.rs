//! A group's way to its other replicas, as openraft wants it: questions become messages for the node's [`Transport`].

use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use openraft::error::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::impls::BasicNode;
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use serde::de::DeserializeOwned;
use tokio::sync::mpsc;

use super::applier::{Progress, SnapshotData};
use super::encoding::{self, NodeId, Snapshot, SnapshotMeta, Types, Vote};
use super::transport::{Ask, Message, Peer, Transport};
use super::{StateMachine, wire};
use crate::model::ShardId;

/// How long a follower may take to make entries durable. openraft's own limit is a heartbeat, which a busy device takes
/// for one sync.
const APPEND_MAX: Duration = Duration::from_secs(5);

/// Makes the group's links.
pub(super) struct Peers {
    pub(super) shard: ShardId,
    pub(super) transport: Arc<dyn Transport>,
    pub(super) machine: Arc<dyn StateMachine>,
    pub(super) progress: Arc<Progress>,
    /// Held by all that uses the group's storage, while it does.
    pub(super) in_use: mpsc::WeakSender<()>,
    /// Where files that are to be sent lie meanwhile.
    pub(super) scratch: PathBuf,
}

/// From this node's replica to one other.
pub(super) struct Link {
    shard: ShardId,
    to: Peer,
    /// Carries heartbeats only.
    is_beat: bool,
    transport: Arc<dyn Transport>,
    machine: Arc<dyn StateMachine>,
    progress: Arc<Progress>,
    in_use: mpsc::WeakSender<()>,
    scratch: PathBuf,
}

impl Peers {
    fn link(&self, target: NodeId, node: &BasicNode, is_beat: bool) -> Link {
        Link {
            shard: self.shard,
            to: Peer { id: target, address: node.addr.clone() },
            is_beat,
            transport: Arc::clone(&self.transport),
            machine: Arc::clone(&self.machine),
            progress: Arc::clone(&self.progress),
            in_use: self.in_use.clone(),
            scratch: self.scratch.clone(),
        }
    }
}

impl RaftNetworkFactory<Types> for Peers {
    type Network = Link;

    async fn new_client(&mut self, target: NodeId, node: &BasicNode) -> Link {
        self.link(target, node, false)
    }

    async fn new_heartbeat_client(&mut self, target: NodeId, node: &BasicNode) -> Link {
        self.link(target, node, true)
    }
}

fn unreachable(error: impl ToString) -> Unreachable<Types> {
    Unreachable::from_string(error)
}

impl Link {
    async fn ask<T: DeserializeOwned>(
        &self,
        ask: Ask,
        body: io::Result<Vec<u8>>,
        within: Duration,
    ) -> Result<T, RPCError<Types>> {
        let body = body.map_err(unreachable)?;
        let message = Message { shard: self.shard, ask, body };
        let answer = self.transport.ask(&self.to, message, within).await.map_err(unreachable)?;
        Ok(wire::decode(&answer).map_err(unreachable)?)
    }

    /// The state as files, and where they stand.
    async fn export(&self) -> io::Result<(tempfile::TempDir, super::Position)> {
        let in_use = self.in_use.upgrade().ok_or_else(|| io::Error::other("the group has stopped"))?;
        let (machine, scratch) = (Arc::clone(&self.machine), self.scratch.clone());
        let export = move || {
            let _in_use = in_use;
            std::fs::create_dir_all(&scratch)?;
            let folder = tempfile::tempdir_in(&scratch)?;
            let position = machine.export(folder.path()).map_err(io::Error::other)?;
            Ok((folder, position))
        };
        tokio::task::spawn_blocking(export).await.map_err(io::Error::other)?
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        meta: SnapshotMeta,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let _kept = self.progress.send(meta.last_log_id.map_or(0, |last| last.index));
        // As it is now, not as it was at the last flush: what is newer need not be sent again.
        let (folder, position) = self.export().await.map_err(unreachable)?;
        let (last, _) = encoding::decode_position(&position).map_err(unreachable)?;
        if last.is_some_and(|last| last.leader_id.term > vote.leader_id.term) {
            // Another node leads, and what it did is in the state already. This one will learn of it.
            return Err(StreamingError::Closed(ReplicationClosed::new("another leader's entries are applied")));
        }
        let head = wire::encode_snapshot_head(&vote, &position);
        let files: Arc<Path> = folder.path().into();
        let answer = self.transport.send_snapshot(&self.to, self.shard, head, files).await.map_err(unreachable)?;
        Ok(SnapshotResponse::new(wire::decode(&answer).map_err(unreachable)?))
    }
}

impl RaftNetworkV2<Types> for Link {
    type SnapshotData = SnapshotData;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let (ask, within) = if self.is_beat { (Ask::Beat, option.soft_ttl()) } else { (Ask::Append, APPEND_MAX) };
        self.ask(ask, wire::encode_append(&rpc), within).await
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(Ask::Vote, wire::encode(&rpc), option.soft_ttl()).await
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        self.ask(Ask::PreVote, wire::encode(&rpc), option.soft_ttl()).await
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        self.ask(Ask::Lead, wire::encode(&wire::Lead::new(&rpc)), option.soft_ttl()).await
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        tokio::select! {
            sent = self.send_snapshot(vote, snapshot.meta) => sent,
            closed = cancel => Err(StreamingError::Closed(closed)),
        }
    }
}
