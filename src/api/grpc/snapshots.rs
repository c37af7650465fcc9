//! The `Snapshots` service: those of collections and of the node.

use std::time::SystemTime;

use tonic::{Request, Response, Status};

use super::call::Calls;
use super::pb::{self, snapshots_server::Snapshots};
use super::status::{failed, grpc_status};
use crate::api::status::ApiError;
use crate::service::{Service, SnapshotDescription, SnapshotsOf};

/// Snapshots over gRPC.
pub(super) struct SnapshotsRpc {
    pub(super) service: Service,
    pub(super) calls: Calls,
}

fn wire_from_snapshot(snapshot: SnapshotDescription) -> pb::SnapshotDescription {
    let SnapshotDescription { name, created_at, size, checksum } = snapshot;
    let since = created_at.and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok());
    let creation_time = since.map(|since| prost_types::Timestamp { seconds: since.as_secs() as i64, nanos: 0 });
    pb::SnapshotDescription { name, creation_time, size: size as i64, checksum }
}

impl SnapshotsRpc {
    async fn create_of(&self, of: SnapshotsOf) -> Result<Response<pb::CreateSnapshotResponse>, Status> {
        let call = self.calls.begin()?;
        let snapshot = self.service.create_snapshot(&of).await.map_err(failed)?;
        let snapshot_description = Some(wire_from_snapshot(snapshot));
        Ok(Response::new(pb::CreateSnapshotResponse { snapshot_description, time: call.elapsed_s() }))
    }

    async fn list_of(&self, of: SnapshotsOf) -> Result<Response<pb::ListSnapshotsResponse>, Status> {
        let call = self.calls.begin()?;
        let snapshots = self.service.snapshots(&of).await.map_err(failed)?;
        let snapshot_descriptions = snapshots.into_iter().map(wire_from_snapshot).collect();
        Ok(Response::new(pb::ListSnapshotsResponse { snapshot_descriptions, time: call.elapsed_s() }))
    }

    async fn delete_of(&self, of: SnapshotsOf, name: String) -> Result<Response<pb::DeleteSnapshotResponse>, Status> {
        let call = self.calls.begin()?;
        match self.service.delete_snapshot(&of, &name).await.map_err(failed)? {
            true => Ok(Response::new(pb::DeleteSnapshotResponse { time: call.elapsed_s() })),
            false => Err(grpc_status(ApiError::not_found(format_args!("Snapshot {name} not found")))),
        }
    }
}

#[tonic::async_trait]
impl Snapshots for SnapshotsRpc {
    async fn create(
        &self,
        request: Request<pb::CreateSnapshotRequest>,
    ) -> Result<Response<pb::CreateSnapshotResponse>, Status> {
        self.create_of(SnapshotsOf::Collection(request.into_inner().collection_name)).await
    }

    async fn list(
        &self,
        request: Request<pb::ListSnapshotsRequest>,
    ) -> Result<Response<pb::ListSnapshotsResponse>, Status> {
        self.list_of(SnapshotsOf::Collection(request.into_inner().collection_name)).await
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteSnapshotRequest>,
    ) -> Result<Response<pb::DeleteSnapshotResponse>, Status> {
        let pb::DeleteSnapshotRequest { collection_name, snapshot_name } = request.into_inner();
        self.delete_of(SnapshotsOf::Collection(collection_name), snapshot_name).await
    }

    async fn create_full(
        &self,
        _: Request<pb::CreateFullSnapshotRequest>,
    ) -> Result<Response<pb::CreateSnapshotResponse>, Status> {
        self.create_of(SnapshotsOf::Node).await
    }

    async fn list_full(
        &self,
        _: Request<pb::ListFullSnapshotsRequest>,
    ) -> Result<Response<pb::ListSnapshotsResponse>, Status> {
        self.list_of(SnapshotsOf::Node).await
    }

    async fn delete_full(
        &self,
        request: Request<pb::DeleteFullSnapshotRequest>,
    ) -> Result<Response<pb::DeleteSnapshotResponse>, Status> {
        self.delete_of(SnapshotsOf::Node, request.into_inner().snapshot_name).await
    }
}
