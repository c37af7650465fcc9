//! The `Qdrant` service: what answers here, and in which version of the protocol. Clients call it as they connect.

use tonic::{Request, Response, Status};

use super::pb::{self, qdrant_server::Qdrant};
use crate::api::status::{PROTOCOL_VERSION, TITLE};

/// The health check of the protocol's own service.
pub(super) struct BannerRpc;

#[tonic::async_trait]
impl Qdrant for BannerRpc {
    async fn health_check(
        &self,
        _request: Request<pb::HealthCheckRequest>,
    ) -> Result<Response<pb::HealthCheckReply>, Status> {
        let (title, version) = (TITLE.to_owned(), PROTOCOL_VERSION.to_owned());
        Ok(Response::new(pb::HealthCheckReply { title, version, commit: None }))
    }
}
