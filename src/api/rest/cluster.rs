//! Shard keys, and where a collection's shards are (PROTOCOL section 18, CLIENTS sections 1.1 and 3.6).

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::call::{BodyCall, Call};
use super::envelope::{Envelope, answer};
use super::shapes::{Key, KeyOut};
use crate::api::checks::{self, At, Checked, Findings};
use crate::api::status::ApiError;
use crate::model::collection::ShardKey;
use crate::service::{ClusterReport, NewShardKey, NodeReport, ReplicaState, ReshardingReport, ShardCount, SiteState};

/// A server that runs alone says so: clients know that answer.
pub(super) async fn status(call: Call<()>) -> Envelope<ClusterStatus> {
    let own = call.rest.service.node_id();
    let status = match call.rest.service.cluster_report() {
        Some(report) => ClusterStatus::Enabled(EnabledCluster::new(own, report)),
        None => ClusterStatus::Disabled,
    };
    answer(call.started, status)
}

/// How this node belongs to a cluster.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(super) enum ClusterStatus {
    Disabled,
    Enabled(EnabledCluster),
}

#[derive(Serialize, JsonSchema)]
pub(super) struct EnabledCluster {
    peer_id: u64,
    peers: BTreeMap<String, PeerInfo>,
    raft_info: RaftInfo,
    consensus_thread_status: ConsensusStatus,
    message_send_failures: BTreeMap<String, Value>,
}

/// A node. Beside the protocol's `uri`: its zone, whether it may hold replicas, how many it should hold and lead.
#[derive(Serialize, JsonSchema)]
struct PeerInfo {
    uri: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    zone: Option<String>,
    state: PeerState,
    replicas: usize,
    leads: usize,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum PeerState {
    Up,
    Draining,
    Away,
    Lost,
}

/// The group that decides on collections and the places of shards.
#[derive(Serialize, JsonSchema)]
struct RaftInfo {
    term: u64,
    commit: u64,
    pending_operations: u64,
    leader: Option<u64>,
    role: RaftRole,
    is_voter: bool,
}

#[derive(Serialize, JsonSchema)]
enum RaftRole {
    Leader,
    Follower,
    Learner,
}

#[derive(Serialize, JsonSchema)]
#[serde(tag = "consensus_thread_status", rename_all = "snake_case")]
enum ConsensusStatus {
    Working { last_update: String },
    StoppedWithErr { err: String },
}

impl EnabledCluster {
    fn new(own: u64, report: ClusterReport) -> EnabledCluster {
        let peer = |node: NodeReport| {
            let state = match node.state {
                SiteState::Up => PeerState::Up,
                SiteState::Draining => PeerState::Draining,
                SiteState::Away => PeerState::Away,
                SiteState::Lost => PeerState::Lost,
            };
            let uri = format!("http://{}/", node.address);
            let info = PeerInfo { uri, zone: node.zone, state, replicas: node.replica_count, leads: node.led_count };
            (node.id.to_string(), info)
        };
        let role = match (report.is_voter, report.leader == Some(own)) {
            (_, true) => RaftRole::Leader,
            (true, false) => RaftRole::Follower,
            (false, false) => RaftRole::Learner,
        };
        let consensus_thread_status = match report.leader {
            Some(_) => ConsensusStatus::Working { last_update: jiff::Timestamp::now().to_string() },
            None => ConsensusStatus::StoppedWithErr { err: "no leader is known".to_owned() },
        };
        EnabledCluster {
            peer_id: own,
            peers: report.nodes.into_iter().map(peer).collect(),
            raft_info: RaftInfo {
                term: report.term,
                commit: report.commit,
                pending_operations: report.pending,
                leader: report.leader,
                role,
                is_voter: report.is_voter,
            },
            consensus_thread_status,
            message_send_failures: BTreeMap::new(),
        }
    }
}

/// Where a collection's shards are.
#[derive(Serialize, JsonSchema)]
pub(super) struct CollectionClusterInfo {
    peer_id: u64,
    shard_count: usize,
    local_shards: Vec<LocalShard>,
    remote_shards: Vec<RemoteShard>,
    shard_transfers: Vec<ShardTransfer>,
    resharding_operations: Vec<ReshardingInfo>,
}

/// A replica on the asked node. Beside what the protocol says: who leads the shard, and up to where it has its log.
#[derive(Serialize, JsonSchema)]
struct LocalShard {
    shard_id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard_key: Option<KeyOut>,
    points_count: u64,
    state: ReplicaStateOut,
    leader: Option<u64>,
    applied_index: u64,
}

#[derive(Clone, Copy, Serialize, JsonSchema)]
#[schemars(rename = "ReplicaState")]
enum ReplicaStateOut {
    Active,
    Dead,
    Partial,
    Initializing,
}

impl ReplicaStateOut {
    /// One that is about to go still counts.
    fn new(state: ReplicaState) -> ReplicaStateOut {
        match state {
            ReplicaState::Active | ReplicaState::Leaving => ReplicaStateOut::Active,
            ReplicaState::Partial => ReplicaStateOut::Partial,
            ReplicaState::Initializing => ReplicaStateOut::Initializing,
            ReplicaState::Dead => ReplicaStateOut::Dead,
        }
    }
}

/// A replica on another node.
#[derive(Serialize, JsonSchema)]
struct RemoteShard {
    shard_id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard_key: Option<KeyOut>,
    peer_id: u64,
    state: ReplicaStateOut,
}

/// A replica that is being filled. With `sync`, another one stays; else one goes for it.
#[derive(Serialize, JsonSchema)]
struct ShardTransfer {
    shard_id: u64,
    from: u64,
    to: u64,
    sync: bool,
    method: TransferMethod,
}

#[derive(Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum TransferMethod {
    /// The state if the log does not reach back far enough, then the log.
    WalDelta,
}

/// A resharding that is under way. `shard_id` is the first of those that are to be there, which `peer_id` should lead. Beside
/// what the protocol says: how many shards there are and are to be, of how many the content has been copied, and how many
/// have been closed, after which the new ones take their place.
#[derive(Serialize, JsonSchema)]
struct ReshardingInfo {
    direction: ReshardingDirection,
    shard_id: u64,
    peer_id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard_key: Option<KeyOut>,
    from_shards: usize,
    to_shards: usize,
    copied_shards: usize,
    closed_shards: usize,
}

#[derive(Clone, Copy, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
enum ReshardingDirection {
    Up,
    Down,
}

impl ReshardingInfo {
    fn new(own: u64, report: ReshardingReport) -> ReshardingInfo {
        let is_up = report.to.len() > report.from;
        ReshardingInfo {
            direction: if is_up { ReshardingDirection::Up } else { ReshardingDirection::Down },
            shard_id: report.to.first().copied().unwrap_or_default(),
            peer_id: report.node.unwrap_or(own),
            shard_key: report.key.map(KeyOut),
            from_shards: report.from,
            to_shards: report.to.len(),
            copied_shards: report.copied,
            closed_shards: report.passed_on,
        }
    }
}

pub(super) async fn collection_cluster(call: Call<String>) -> Envelope<CollectionClusterInfo> {
    let own = call.rest.service.node_id();
    let layouts = call.rest.service.shard_layouts(&call.path).await?;
    let mut info = CollectionClusterInfo {
        peer_id: own,
        shard_count: layouts.len(),
        local_shards: Vec::new(),
        remote_shards: Vec::new(),
        shard_transfers: Vec::new(),
        resharding_operations: Vec::new(),
    };
    let resharding = call.rest.service.resharding(&call.path)?;
    info.resharding_operations.extend(resharding.map(|report| ReshardingInfo::new(own, report)));
    for layout in layouts {
        let transfers = layout.transfers().into_iter().map(|transfer| ShardTransfer {
            shard_id: layout.number,
            from: transfer.from,
            to: transfer.to,
            sync: transfer.keeps_source,
            method: TransferMethod::WalDelta,
        });
        info.shard_transfers.extend(transfers);
        for replica in &layout.replicas {
            let (shard_id, shard_key) = (layout.number, layout.key.clone().map(KeyOut));
            let state = ReplicaStateOut::new(replica.state);
            match layout.local.as_ref().filter(|_| replica.node == own) {
                Some(local) => info.local_shards.push(LocalShard {
                    shard_id,
                    shard_key,
                    points_count: local.point_count,
                    state,
                    leader: layout.leader,
                    applied_index: local.applied_index,
                }),
                None => info.remote_shards.push(RemoteShard { shard_id, shard_key, peer_id: replica.node, state }),
            }
        }
    }
    answer(call.started, info)
}

#[derive(Serialize, JsonSchema)]
pub(super) struct ShardKeys {
    shard_keys: Vec<ShardKeyDescription>,
}

#[derive(Serialize, JsonSchema)]
struct ShardKeyDescription {
    key: KeyOut,
}

pub(super) async fn shard_keys(call: Call<String>) -> Envelope<ShardKeys> {
    let keys = call.rest.service.shard_keys(&call.path)?;
    let shard_keys = keys.into_iter().map(|key| ShardKeyDescription { key: KeyOut(key) }).collect();
    answer(call.started, ShardKeys { shard_keys })
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct CreateShardKey {
    shard_key: Key,
    shards_number: Option<u32>,
    replication_factor: Option<u32>,
    placement: Option<Vec<u64>>,
    initial_state: Option<String>,
}

impl CreateShardKey {
    pub(super) fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<NewShardKey> {
        let shard_count = self.shards_number.map(|count| checks::at_least(found, at.field("shards_number"), count, 1));
        let replicas =
            self.replication_factor.map(|count| checks::at_least(found, at.field("replication_factor"), count, 1));
        // Every shard is active from the start.
        if let Some(state) = self.initial_state.filter(|state| state != "Active") {
            return found.unimplemented(format_args!("initial_state: {state}"));
        }
        Ok(NewShardKey {
            key: self.shard_key.0,
            shard_count: shard_count.transpose()?,
            replication_factor: replicas.transpose()?,
            placement: self.placement.unwrap_or_default(),
        })
    }
}

pub(super) async fn create_shard_key(BodyCall { call, body }: BodyCall<String, CreateShardKey>) -> Envelope<bool> {
    create(&call, body, At::Root).await
}

async fn create(call: &Call<String>, body: CreateShardKey, at: At<'_>) -> Envelope<bool> {
    let deadline = call.deadline()?;
    let mut found = Findings::new();
    let new = body.convert(&mut found, at);
    let new = found.finish("JSON body", new)?;
    call.rest.service.create_shard_key(&call.path, new, deadline).await?;
    answer(call.started, true)
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct DeleteShardKey {
    shard_key: Key,
}

pub(super) async fn delete_shard_key(BodyCall { call, body }: BodyCall<String, DeleteShardKey>) -> Envelope<bool> {
    delete(&call, body.shard_key.0).await
}

async fn delete(call: &Call<String>, key: ShardKey) -> Envelope<bool> {
    let deadline = call.deadline()?;
    call.rest.service.delete_shard_key(&call.path, key, deadline).await?;
    answer(call.started, true)
}

/// An operation on a collection's shards.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClusterOperation {
    CreateShardingKey(CreateShardKey),
    DropShardingKey(DeleteShardKey),
    MoveShard(Transfer),
    ReplicateShard(Transfer),
    AbortTransfer(Transfer),
    DropReplica(Replica),
    RestartTransfer(Transfer),
    StartResharding(StartResharding),
    FinishResharding(#[schemars(with = "Value")] IgnoredAny),
    AbortResharding(#[schemars(with = "Value")] IgnoredAny),
    ReplicatePoints(#[schemars(with = "Value")] IgnoredAny),
}

/// A replica's way from one node to another. How it goes there is not for the caller to choose: by the log as far back as that
/// reaches, by the state otherwise.
#[derive(Deserialize, JsonSchema)]
pub(super) struct Transfer {
    shard_id: u64,
    from_peer_id: u64,
    to_peer_id: u64,
    to_shard_id: Option<u64>,
    #[serde(rename = "method")]
    _method: Option<String>,
}

impl Transfer {
    /// Between two nodes, not between two shards.
    fn ends(&self) -> Result<(u64, u64), ApiError> {
        match self.to_shard_id.filter(|to| *to != self.shard_id) {
            None => Ok((self.from_peer_id, self.to_peer_id)),
            Some(_) => Err(ApiError::unimplemented("to_shard_id")),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct Replica {
    shard_id: u64,
    peer_id: u64,
}

/// One shard more or less; beside what the protocol says: `shard_number`, as many as there are to be.
#[derive(Deserialize, JsonSchema)]
pub(super) struct StartResharding {
    #[serde(rename = "uuid")]
    _uuid: Option<String>,
    direction: Option<ReshardingDirection>,
    shard_number: Option<u32>,
    peer_id: Option<u64>,
    shard_key: Option<Key>,
}

impl StartResharding {
    fn count(&self) -> Result<ShardCount, ApiError> {
        if self.peer_id.is_some() {
            // New shards begin where the old ones are, and are spread afterwards.
            return Err(ApiError::unimplemented("start_resharding: peer_id"));
        }
        match (self.direction, self.shard_number) {
            (None, Some(count)) => Ok(ShardCount::To(count)),
            (Some(ReshardingDirection::Up), None) => Ok(ShardCount::Up),
            (Some(ReshardingDirection::Down), None) => Ok(ShardCount::Down),
            _ => Err(ApiError::bad_request("start_resharding needs either direction or shard_number")),
        }
    }
}

pub(super) async fn update_cluster(BodyCall { call, body }: BodyCall<String, ClusterOperation>) -> Envelope<bool> {
    use ClusterOperation as Op;
    let root = At::Root;
    let (service, name) = (&call.rest.service, call.path.as_str());
    let what = match body {
        Op::CreateShardingKey(body) => return create(&call, body, root.field("create_sharding_key")).await,
        Op::DropShardingKey(body) => return delete(&call, body.shard_key.0).await,
        Op::MoveShard(body) => {
            service.move_replica(name, body.shard_id, body.ends()?, call.deadline()?).await?;
            return answer(call.started, true);
        }
        Op::ReplicateShard(body) => {
            let ends = body.ends()?;
            service.add_replica(name, body.shard_id, ends, call.deadline()?).await?;
            return answer(call.started, true);
        }
        Op::AbortTransfer(body) => {
            service.abort_transfer(name, body.shard_id, body.ends()?, call.deadline()?).await?;
            return answer(call.started, true);
        }
        // Whoever leads the shard tries again until it is there: all that can be told is whether it is on its way.
        Op::RestartTransfer(body) => {
            service.check_transfer(name, body.shard_id, body.ends()?).await?;
            return answer(call.started, true);
        }
        Op::DropReplica(body) => {
            service.drop_replica(name, body.shard_id, body.peer_id, call.deadline()?).await?;
            return answer(call.started, true);
        }
        Op::StartResharding(body) => {
            let count = body.count()?;
            service.start_resharding(name, body.shard_key.map(|key| key.0), count, call.deadline()?).await?;
            return answer(call.started, true);
        }
        // It ends by itself: this waits for that.
        Op::FinishResharding(_) => {
            service.finish_resharding(name, call.deadline()?).await?;
            return answer(call.started, true);
        }
        Op::AbortResharding(_) => {
            service.abort_resharding(name, call.deadline()?).await?;
            return answer(call.started, true);
        }
        Op::ReplicatePoints(_) => "replicate_points",
    };
    Err(ApiError::unimplemented(format_args!("update collection cluster: {what}")))
}

pub(super) async fn remove_peer(call: Call<u64>) -> Envelope<bool> {
    let is_forced = call.params.force.unwrap_or(false);
    call.rest.service.remove_node(call.path, is_forced, call.deadline()?).await?;
    answer(call.started, true)
}

pub(super) async fn drain_peer(call: Call<u64>) -> Envelope<bool> {
    call.rest.service.drain_node(call.path, true, call.deadline()?).await?;
    answer(call.started, true)
}

pub(super) async fn resume_peer(call: Call<u64>) -> Envelope<bool> {
    call.rest.service.drain_node(call.path, false, call.deadline()?).await?;
    answer(call.started, true)
}

pub(super) async fn recover(call: Call<()>) -> Envelope<bool> {
    call.rest.service.catch_up(call.deadline()?).await?;
    answer(call.started, true)
}

pub(super) async fn rebalance(call: Call<()>) -> Envelope<bool> {
    call.rest.service.rebalance(call.deadline()?).await?;
    answer(call.started, true)
}

/// How many groups this node still leads.
#[derive(Serialize, JsonSchema)]
pub(super) struct HandedOver {
    still_led: usize,
}

pub(super) async fn hand_over(call: Call<()>) -> Envelope<HandedOver> {
    let still_led = call.rest.service.hand_over().await?;
    answer(call.started, HandedOver { still_led })
}
