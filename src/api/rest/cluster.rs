//! Shard keys, and where a collection's shards are (PROTOCOL section 18, CLIENTS sections 1.1 and 3.6).

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
use crate::service::NewShardKey;

/// There are no peers to speak of: clients know this answer from a server that runs alone.
pub(super) async fn status(call: Call<()>) -> Envelope<ClusterStatus> {
    answer(call.started, ClusterStatus::Disabled)
}

/// How this node belongs to a cluster.
#[derive(Serialize, JsonSchema)]
#[serde(tag = "status", rename_all = "snake_case")]
pub(super) enum ClusterStatus {
    Disabled,
}

/// Where a collection's shards are.
#[derive(Serialize, JsonSchema)]
pub(super) struct CollectionClusterInfo {
    peer_id: u64,
    shard_count: usize,
    local_shards: Vec<LocalShard>,
    remote_shards: Vec<RemoteShard>,
    shard_transfers: Vec<ShardTransfer>,
}

#[derive(Serialize, JsonSchema)]
struct LocalShard {
    shard_id: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    shard_key: Option<KeyOut>,
    points_count: u64,
    state: ShardState,
}

#[derive(Serialize, JsonSchema)]
enum ShardState {
    Active,
}

/// There is none: a node runs alone.
#[derive(Serialize, JsonSchema)]
enum RemoteShard {}

/// There is none: a node runs alone.
#[derive(Serialize, JsonSchema)]
enum ShardTransfer {}

pub(super) async fn collection_cluster(call: Call<String>) -> Envelope<CollectionClusterInfo> {
    let service = &call.rest.service;
    let report = service.collection_report(&call.path).await?;
    let local = report.shards.into_iter().map(|shard| LocalShard {
        shard_id: shard.id,
        shard_key: shard.key.map(KeyOut),
        points_count: shard.point_count,
        state: ShardState::Active,
    });
    let info = CollectionClusterInfo {
        peer_id: service.node_id(),
        shard_count: report.shard_count,
        local_shards: local.collect(),
        remote_shards: Vec::new(),
        shard_transfers: Vec::new(),
    };
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
        replicas.transpose()?;
        Ok(NewShardKey {
            key: self.shard_key.0,
            shard_count: shard_count.transpose()?,
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

/// An operation on a collection's shards. Those that move or copy shards need more than one node.
#[derive(Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClusterOperation {
    CreateShardingKey(CreateShardKey),
    DropShardingKey(DeleteShardKey),
    MoveShard(#[schemars(with = "Value")] IgnoredAny),
    ReplicateShard(#[schemars(with = "Value")] IgnoredAny),
    AbortTransfer(#[schemars(with = "Value")] IgnoredAny),
    DropReplica(#[schemars(with = "Value")] IgnoredAny),
    RestartTransfer(#[schemars(with = "Value")] IgnoredAny),
    StartResharding(#[schemars(with = "Value")] IgnoredAny),
    FinishResharding(#[schemars(with = "Value")] IgnoredAny),
    AbortResharding(#[schemars(with = "Value")] IgnoredAny),
    ReplicatePoints(#[schemars(with = "Value")] IgnoredAny),
}

pub(super) async fn update_cluster(BodyCall { call, body }: BodyCall<String, ClusterOperation>) -> Envelope<bool> {
    use ClusterOperation as Op;
    let root = At::Root;
    let what = match body {
        Op::CreateShardingKey(body) => return create(&call, body, root.field("create_sharding_key")).await,
        Op::DropShardingKey(body) => return delete(&call, body.shard_key.0).await,
        Op::MoveShard(_) => "move_shard",
        Op::ReplicateShard(_) => "replicate_shard",
        Op::AbortTransfer(_) => "abort_transfer",
        Op::DropReplica(_) => "drop_replica",
        Op::RestartTransfer(_) => "restart_transfer",
        Op::StartResharding(_) => "start_resharding",
        Op::FinishResharding(_) => "finish_resharding",
        Op::AbortResharding(_) => "abort_resharding",
        Op::ReplicatePoints(_) => "replicate_points",
    };
    Err(ApiError::unimplemented(format_args!("update collection cluster: {what}")))
}
