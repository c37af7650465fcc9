//! The `Snapshots` service: those of collections.

use std::time::SystemTime;

use tonic::{Request, Response, Status};

use super::call::Calls;
use super::pb::{self, snapshots_server::Snapshots};
use super::status::{failed, grpc_status};
use crate::api::status::ApiError;
use crate::service::{Service, SnapshotDescription};

/// Snapshots over gRPC. Methods that are missing here are not built; the gate answers them.
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

#[tonic::async_trait]
impl Snapshots for SnapshotsRpc {
    async fn create(
        &self,
        request: Request<pb::CreateSnapshotRequest>,
    ) -> Result<Response<pb::CreateSnapshotResponse>, Status> {
        let call = self.calls.begin()?;
        let snapshot = self.service.create_snapshot(&request.into_inner().collection_name).await.map_err(failed)?;
        let snapshot_description = Some(wire_from_snapshot(snapshot));
        Ok(Response::new(pb::CreateSnapshotResponse { snapshot_description, time: call.elapsed_s() }))
    }

    async fn list(
        &self,
        request: Request<pb::ListSnapshotsRequest>,
    ) -> Result<Response<pb::ListSnapshotsResponse>, Status> {
        let call = self.calls.begin()?;
        let snapshots = self.service.snapshots(&request.into_inner().collection_name).await.map_err(failed)?;
        let snapshot_descriptions = snapshots.into_iter().map(wire_from_snapshot).collect();
        Ok(Response::new(pb::ListSnapshotsResponse { snapshot_descriptions, time: call.elapsed_s() }))
    }

    async fn delete(
        &self,
        request: Request<pb::DeleteSnapshotRequest>,
    ) -> Result<Response<pb::DeleteSnapshotResponse>, Status> {
        let call = self.calls.begin()?;
        let pb::DeleteSnapshotRequest { collection_name, snapshot_name } = request.into_inner();
        match self.service.delete_snapshot(&collection_name, &snapshot_name).await.map_err(failed)? {
            true => Ok(Response::new(pb::DeleteSnapshotResponse { time: call.elapsed_s() })),
            false => Err(grpc_status(ApiError::not_found(format_args!("Snapshot {snapshot_name} not found")))),
        }
    }
}
