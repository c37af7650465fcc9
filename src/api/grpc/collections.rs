//! The `Collections` service.

use std::time::Instant;

use tonic::{Request, Response, Status};

use super::call::{Call, Calls};
use super::config::{self, wire_from_alias, wire_from_report};
use super::pb::{self, collections_server::Collections, update_collection_cluster_setup_request::Operation};
use super::point::required;
use super::shard_key::{key_from_wire, wire_from_key};
use super::status::{checked, failed, grpc_status};
use crate::api::checks::{self, At};
use crate::api::status::ApiError;
use crate::service::Service;

/// Collections over gRPC. Methods that are missing here are not built; the gate answers them.
pub(super) struct CollectionsRpc {
    pub(super) service: Service,
    pub(super) calls: Calls,
}

/// The ends of a transfer between two nodes, not between two shards.
fn transfer(shard: u32, to_shard: Option<u32>, ends: (u64, u64)) -> Result<(u64, u64), Status> {
    match to_shard.filter(|to| *to != shard) {
        None => Ok(ends),
        Some(_) => Err(grpc_status(ApiError::unimplemented("to_shard_id"))),
    }
}

#[tonic::async_trait]
impl Collections for CollectionsRpc {
    async fn get(
        &self,
        request: Request<pb::GetCollectionInfoRequest>,
    ) -> Result<Response<pb::GetCollectionInfoResponse>, Status> {
        let call = self.calls.begin()?;
        let report = self.service.collection_report(&request.get_ref().collection_name).await.map_err(failed)?;
        let result = Some(wire_from_report(report));
        Ok(Response::new(pb::GetCollectionInfoResponse { result, time: call.elapsed_s() }))
    }

    async fn list(
        &self,
        _request: Request<pb::ListCollectionsRequest>,
    ) -> Result<Response<pb::ListCollectionsResponse>, Status> {
        let call = self.calls.begin()?;
        let names = self.service.collections();
        let collections = names.into_iter().map(|name| pb::CollectionDescription { name }).collect();
        Ok(Response::new(pb::ListCollectionsResponse { collections, time: call.elapsed_s() }))
    }

    async fn create(
        &self,
        request: Request<pb::CreateCollection>,
    ) -> Result<Response<pb::CollectionOperationResponse>, Status> {
        let call = self.calls.begin()?;
        let create = checked(|found| config::create(found, request.into_inner(), call.times))?;
        self.service.create_collection(create.name, create.config, create.deadline).await.map_err(failed)?;
        Ok(operation_response(true, &call))
    }

    async fn update(
        &self,
        request: Request<pb::UpdateCollection>,
    ) -> Result<Response<pb::CollectionOperationResponse>, Status> {
        let call = self.calls.begin()?;
        let update = checked(|found| config::update(found, request.into_inner(), call.times))?;
        self.service.update_collection(&update.collection, update.diff, update.deadline).await.map_err(failed)?;
        Ok(operation_response(true, &call))
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteCollection>,
    ) -> Result<Response<pb::CollectionOperationResponse>, Status> {
        let call = self.calls.begin()?;
        let wire = request.into_inner();
        let deadline =
            checked(|found| checks::deadline(found, At::Root.field("timeout"), call.times.started, wire.timeout))?;
        let deadline = deadline.or(call.times.latest);
        let existed = self.service.delete_collection(&wire.collection_name, deadline).await.map_err(failed)?;
        Ok(operation_response(existed, &call))
    }

    async fn update_aliases(
        &self,
        request: Request<pb::ChangeAliases>,
    ) -> Result<Response<pb::CollectionOperationResponse>, Status> {
        let call = self.calls.begin()?;
        let (actions, deadline) = checked(|found| config::aliases(found, request.into_inner(), call.times))?;
        self.service.update_aliases(actions, deadline).await.map_err(failed)?;
        Ok(operation_response(true, &call))
    }

    async fn list_collection_aliases(
        &self,
        request: Request<pb::ListCollectionAliasesRequest>,
    ) -> Result<Response<pb::ListAliasesResponse>, Status> {
        let call = self.calls.begin()?;
        let aliases = self.service.collection_aliases(&request.get_ref().collection_name).map_err(failed)?;
        let aliases = aliases.into_iter().map(wire_from_alias).collect();
        Ok(Response::new(pb::ListAliasesResponse { aliases, time: call.elapsed_s() }))
    }

    async fn list_aliases(
        &self,
        _request: Request<pb::ListAliasesRequest>,
    ) -> Result<Response<pb::ListAliasesResponse>, Status> {
        let call = self.calls.begin()?;
        let aliases = self.service.aliases().into_iter().map(wire_from_alias).collect();
        Ok(Response::new(pb::ListAliasesResponse { aliases, time: call.elapsed_s() }))
    }

    async fn collection_exists(
        &self,
        request: Request<pb::CollectionExistsRequest>,
    ) -> Result<Response<pb::CollectionExistsResponse>, Status> {
        let call = self.calls.begin()?;
        let exists = self.service.collection_exists(&request.get_ref().collection_name);
        let result = Some(pb::CollectionExists { exists });
        Ok(Response::new(pb::CollectionExistsResponse { result, time: call.elapsed_s() }))
    }

    async fn collection_cluster_info(
        &self,
        request: Request<pb::CollectionClusterInfoRequest>,
    ) -> Result<Response<pb::CollectionClusterInfoResponse>, Status> {
        let call = self.calls.begin()?;
        let name = request.get_ref().collection_name.as_str();
        let layouts = self.service.shard_layouts(name).await.map_err(failed)?;
        let resharding = self.service.resharding(name).map_err(failed)?;
        let answer = config::wire_from_shards(layouts, resharding, self.service.node_id());
        Ok(Response::new(pb::CollectionClusterInfoResponse { time: call.elapsed_s(), ..answer }))
    }

    async fn update_collection_cluster_setup(
        &self,
        request: Request<pb::UpdateCollectionClusterSetupRequest>,
    ) -> Result<Response<pb::UpdateCollectionClusterSetupResponse>, Status> {
        let call = self.calls.begin()?;
        let wire = request.into_inner();
        let deadline = deadline(&call, wire.timeout)?;
        let name = wire.collection_name.as_str();
        let what = match checked(|found| required(found, At::Root.field("operation"), wire.operation))? {
            Operation::CreateShardKey(wire_key) => {
                let at = At::Root.field("create_shard_key");
                let new = checked(|found| config::shard_key(found, at, Some(wire_key)))?;
                self.service.create_shard_key(&wire.collection_name, new, deadline).await.map_err(failed)?;
                ""
            }
            Operation::DeleteShardKey(wire_key) => {
                let at = At::Root.field("delete_shard_key");
                let key = checked(|found| key_from_wire(found, at.field("shard_key"), wire_key.shard_key))?;
                self.service.delete_shard_key(&wire.collection_name, key, deadline).await.map_err(failed)?;
                ""
            }
            Operation::MoveShard(wire) => {
                let ends = transfer(wire.shard_id, wire.to_shard_id, (wire.from_peer_id, wire.to_peer_id))?;
                self.service.move_replica(name, wire.shard_id.into(), ends, deadline).await.map_err(failed)?;
                ""
            }
            Operation::ReplicateShard(wire) => {
                let ends = transfer(wire.shard_id, wire.to_shard_id, (wire.from_peer_id, wire.to_peer_id))?;
                self.service.add_replica(name, wire.shard_id.into(), ends, deadline).await.map_err(failed)?;
                ""
            }
            Operation::AbortTransfer(wire) => {
                let ends = transfer(wire.shard_id, wire.to_shard_id, (wire.from_peer_id, wire.to_peer_id))?;
                self.service.abort_transfer(name, wire.shard_id.into(), ends, deadline).await.map_err(failed)?;
                ""
            }
            // Whoever leads the shard tries again until it is there: all that can be told is whether it is on its way.
            Operation::RestartTransfer(wire) => {
                let ends = transfer(wire.shard_id, wire.to_shard_id, (wire.from_peer_id, wire.to_peer_id))?;
                self.service.check_transfer(name, wire.shard_id.into(), ends).await.map_err(failed)?;
                ""
            }
            Operation::DropReplica(wire) => {
                self.service.drop_replica(name, wire.shard_id.into(), wire.peer_id, deadline).await.map_err(failed)?;
                ""
            }
            Operation::ReplicatePoints(_) => "replicate_points",
        };
        if !what.is_empty() {
            let what = format_args!("Collections/UpdateCollectionClusterSetup: {what}");
            return Err(grpc_status(ApiError::unimplemented(what)));
        }
        Ok(Response::new(pb::UpdateCollectionClusterSetupResponse { result: true, time: call.elapsed_s() }))
    }

    async fn create_shard_key(
        &self,
        request: Request<pb::CreateShardKeyRequest>,
    ) -> Result<Response<pb::CreateShardKeyResponse>, Status> {
        let call = self.calls.begin()?;
        let wire = request.into_inner();
        let deadline = deadline(&call, wire.timeout)?;
        let new = checked(|found| config::shard_key(found, At::Root.field("request"), wire.request))?;
        self.service.create_shard_key(&wire.collection_name, new, deadline).await.map_err(failed)?;
        Ok(Response::new(pb::CreateShardKeyResponse { result: true, time: call.elapsed_s() }))
    }

    async fn delete_shard_key(
        &self,
        request: Request<pb::DeleteShardKeyRequest>,
    ) -> Result<Response<pb::DeleteShardKeyResponse>, Status> {
        let call = self.calls.begin()?;
        let wire = request.into_inner();
        let deadline = deadline(&call, wire.timeout)?;
        let key = checked(|found| {
            let at = At::Root.field("request");
            let inner = required(found, at, wire.request)?;
            key_from_wire(found, at.field("shard_key"), inner.shard_key)
        })?;
        self.service.delete_shard_key(&wire.collection_name, key, deadline).await.map_err(failed)?;
        Ok(Response::new(pb::DeleteShardKeyResponse { result: true, time: call.elapsed_s() }))
    }

    async fn list_shard_keys(
        &self,
        request: Request<pb::ListShardKeysRequest>,
    ) -> Result<Response<pb::ListShardKeysResponse>, Status> {
        let call = self.calls.begin()?;
        let keys = self.service.shard_keys(&request.get_ref().collection_name).map_err(failed)?;
        let shard_keys =
            keys.into_iter().map(|key| pb::ShardKeyDescription { key: Some(wire_from_key(key)) }).collect();
        Ok(Response::new(pb::ListShardKeysResponse { shard_keys, time: call.elapsed_s() }))
    }
}

/// The request's `timeout`, else the server's.
fn deadline(call: &Call, timeout_s: Option<u64>) -> Result<Option<Instant>, Status> {
    let at = At::Root.field("timeout");
    let deadline = checked(|found| checks::deadline(found, at, call.times.started, timeout_s))?;
    Ok(deadline.or(call.times.latest))
}

fn operation_response(result: bool, call: &Call) -> Response<pb::CollectionOperationResponse> {
    Response::new(pb::CollectionOperationResponse { result, time: call.elapsed_s() })
}
