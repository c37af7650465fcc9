//! Shard keys, and where a collection's shards are (PROTOCOL section 18, CLIENTS sections 1.1 and 3.6).

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::call::{BodyCall, Call};
use super::envelope::{Answer, success};
use super::shapes::{Key, KeyOut};
use crate::api::checks::{self, At, Checked, Findings};
use crate::api::status::ApiError;
use crate::model::collection::ShardKey;
use crate::service::NewShardKey;

/// There are no peers to speak of: clients know this answer from a server that runs alone.
pub(super) async fn status(call: Call<()>) -> Answer {
    success(call.started, &json!({ "status": "disabled" }))
}

pub(super) async fn collection_cluster(call: Call<String>) -> Answer {
    let service = &call.rest.service;
    let report = service.collection_report(&call.path).await?;
    let shards: Vec<Value> = report
        .shards
        .iter()
        .map(|shard| {
            let mut out = json!({
                "shard_id": shard.id,
                "points_count": shard.point_count,
                "state": "Active",
            });
            if let (Some(key), Some(members)) = (&shard.key, out.as_object_mut()) {
                members.insert("shard_key".to_owned(), json!(KeyOut(key)));
            }
            out
        })
        .collect();
    let answer = json!({
        "peer_id": service.node_id(),
        "shard_count": report.shard_count,
        "local_shards": shards,
        "remote_shards": [],
        "shard_transfers": [],
    });
    success(call.started, &answer)
}

pub(super) async fn shard_keys(call: Call<String>) -> Answer {
    let keys = call.rest.service.shard_keys(&call.path)?;
    let keys: Vec<Value> = keys.iter().map(|key| json!({ "key": KeyOut(key) })).collect();
    success(call.started, &json!({ "shard_keys": keys }))
}

#[derive(Deserialize)]
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

pub(super) async fn create_shard_key(BodyCall { call, body }: BodyCall<String, CreateShardKey>) -> Answer {
    create(&call, body, At::Root).await
}

async fn create(call: &Call<String>, body: CreateShardKey, at: At<'_>) -> Answer {
    let deadline = call.deadline()?;
    let mut found = Findings::new();
    let new = body.convert(&mut found, at);
    let new = found.finish("JSON body", new)?;
    call.rest.service.create_shard_key(&call.path, new, deadline).await?;
    success(call.started, &true)
}

#[derive(Deserialize)]
pub(super) struct DeleteShardKey {
    shard_key: Key,
}

pub(super) async fn delete_shard_key(BodyCall { call, body }: BodyCall<String, DeleteShardKey>) -> Answer {
    delete(&call, body.shard_key.0).await
}

async fn delete(call: &Call<String>, key: ShardKey) -> Answer {
    let deadline = call.deadline()?;
    call.rest.service.delete_shard_key(&call.path, key, deadline).await?;
    success(call.started, &true)
}

/// An operation on a collection's shards. Those that move or copy shards need more than one node.
#[derive(Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum ClusterOperation {
    CreateShardingKey(CreateShardKey),
    DropShardingKey(DeleteShardKey),
    MoveShard(IgnoredAny),
    ReplicateShard(IgnoredAny),
    AbortTransfer(IgnoredAny),
    DropReplica(IgnoredAny),
    RestartTransfer(IgnoredAny),
    StartResharding(IgnoredAny),
    FinishResharding(IgnoredAny),
    AbortResharding(IgnoredAny),
    ReplicatePoints(IgnoredAny),
}

pub(super) async fn update_cluster(BodyCall { call, body }: BodyCall<String, ClusterOperation>) -> Answer {
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
