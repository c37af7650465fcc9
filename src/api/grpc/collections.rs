//! The `Collections` service.

use tonic::{Request, Response, Status};

use super::call::{Call, Calls};
use super::config::{self, wire_from_alias, wire_from_report};
use super::pb::{self, collections_server::Collections};
use super::status::{checked, failed};
use crate::api::checks::{self, At};
use crate::service::Service;

/// Collections over gRPC. Methods that are missing here are not built; the gate answers them.
pub(super) struct CollectionsRpc {
    pub(super) service: Service,
    pub(super) calls: Calls,
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
}

fn operation_response(result: bool, call: &Call) -> Response<pb::CollectionOperationResponse> {
    Response::new(pb::CollectionOperationResponse { result, time: call.elapsed_s() })
}
