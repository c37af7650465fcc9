//! The `Points` service.

use tonic::{Request, Response, Status};

use super::call::{Call, Calls};
use super::config::{self, CreateVector};
use super::fields::{self, CreateIndex, DeleteIndex, wire_from_facet_hit, write_options};
use super::levels::{wire_from_groups, wire_from_matrix_offsets, wire_from_matrix_pairs};
use super::pb::{self, points_server::Points};
use super::point::{wire_from_hit, wire_from_id, wire_from_record};
use super::query::{self, Get};
use super::status::{checked, converted, failed};
use super::write::{self, Write, wire_from_ack};
use crate::model::{PointOp, ScoredPoint};
use crate::service::Service;

/// Points over gRPC. Methods that are missing here are not built; the gate answers them.
pub(super) struct PointsRpc {
    pub(super) service: Service,
    pub(super) calls: Calls,
}

type Answer<T> = Result<Response<T>, Status>;

impl PointsRpc {
    async fn write(
        &self,
        write: Write<PointOp>,
        usage: Option<pb::Usage>,
        call: &Call,
    ) -> Answer<pb::PointsOperationResponse> {
        let ack = call.within_limit(self.service.write(write.scope, write.change, write.options)).await?;
        let result = Some(wire_from_ack(ack));
        Ok(Response::new(pb::PointsOperationResponse { result, time: call.elapsed_s(), usage }))
    }
}

#[tonic::async_trait]
impl Points for PointsRpc {
    async fn upsert(&self, request: Request<pb::UpsertPoints>) -> Answer<pb::PointsOperationResponse> {
        let call = self.calls.begin()?;
        let (write, usage) = converted(request.into_inner(), call.times, write::upsert).await?;
        self.write(write, usage, &call).await
    }

    async fn delete(&self, request: Request<pb::DeletePoints>) -> Answer<pb::PointsOperationResponse> {
        let call = self.calls.begin()?;
        self.write(checked(|found| write::delete(found, request.into_inner(), call.times))?, None, &call).await
    }

    async fn update_vectors(&self, request: Request<pb::UpdatePointVectors>) -> Answer<pb::PointsOperationResponse> {
        let call = self.calls.begin()?;
        let (write, usage) = converted(request.into_inner(), call.times, write::update_vectors).await?;
        self.write(write, usage, &call).await
    }

    async fn delete_vectors(&self, request: Request<pb::DeletePointVectors>) -> Answer<pb::PointsOperationResponse> {
        let call = self.calls.begin()?;
        self.write(checked(|found| write::delete_vectors(found, request.into_inner(), call.times))?, None, &call).await
    }

    async fn set_payload(&self, request: Request<pb::SetPayloadPoints>) -> Answer<pb::PointsOperationResponse> {
        let call = self.calls.begin()?;
        self.write(checked(|found| write::set_payload(found, request.into_inner(), call.times))?, None, &call).await
    }

    async fn overwrite_payload(&self, request: Request<pb::SetPayloadPoints>) -> Answer<pb::PointsOperationResponse> {
        let call = self.calls.begin()?;
        self.write(checked(|found| write::overwrite_payload(found, request.into_inner(), call.times))?, None, &call)
            .await
    }

    async fn delete_payload(&self, request: Request<pb::DeletePayloadPoints>) -> Answer<pb::PointsOperationResponse> {
        let call = self.calls.begin()?;
        self.write(checked(|found| write::delete_payload(found, request.into_inner(), call.times))?, None, &call).await
    }

    async fn clear_payload(&self, request: Request<pb::ClearPayloadPoints>) -> Answer<pb::PointsOperationResponse> {
        let call = self.calls.begin()?;
        self.write(checked(|found| write::clear_payload(found, request.into_inner(), call.times))?, None, &call).await
    }

    async fn update_batch(&self, request: Request<pb::UpdateBatchPoints>) -> Answer<pb::UpdateBatchResponse> {
        let call = self.calls.begin()?;
        let (batch, usage) = converted(request.into_inner(), call.times, write::update_batch).await?;
        let write = self.service.write_batch(batch.scope, batch.change, batch.options);
        let acks = call.within_limit(write).await?;
        let result = acks.into_iter().map(wire_from_ack).collect();
        Ok(Response::new(pb::UpdateBatchResponse { result, time: call.elapsed_s(), usage }))
    }

    async fn get(&self, request: Request<pb::GetPoints>) -> Answer<pb::GetResponse> {
        let call = self.calls.begin()?;
        let read = checked(|found| query::get(found, request.into_inner(), call.times))?;
        let Get { ids, with_payload, with_vectors } = read.request;
        let records =
            self.service.retrieve(read.scope, ids, with_payload, with_vectors, read.options).await.map_err(failed)?;
        let result = records.into_iter().map(wire_from_record).collect();
        Ok(Response::new(pb::GetResponse { result, time: call.elapsed_s(), usage: None }))
    }

    async fn scroll(&self, request: Request<pb::ScrollPoints>) -> Answer<pb::ScrollResponse> {
        let call = self.calls.begin()?;
        let read = checked(|found| query::scroll(found, request.into_inner(), call.times))?;
        let page = self.service.scroll(read.scope, read.request, read.options).await.map_err(failed)?;
        Ok(Response::new(pb::ScrollResponse {
            next_page_offset: page.next_offset.map(wire_from_id),
            result: page.points.into_iter().map(wire_from_record).collect(),
            time: call.elapsed_s(),
            usage: None,
        }))
    }

    async fn count(&self, request: Request<pb::CountPoints>) -> Answer<pb::CountResponse> {
        let call = self.calls.begin()?;
        let read = checked(|found| query::count(found, request.into_inner(), call.times))?;
        let count = self.service.count(read.scope, read.request, read.options).await.map_err(failed)?;
        let result = Some(pb::CountResult { count });
        Ok(Response::new(pb::CountResponse { result, time: call.elapsed_s(), usage: None }))
    }

    async fn facet(&self, request: Request<pb::FacetCounts>) -> Answer<pb::FacetResponse> {
        let call = self.calls.begin()?;
        let read = checked(|found| query::facet(found, request.into_inner(), call.times))?;
        let hits = self.service.facet(read.scope, read.request, read.options).await.map_err(failed)?;
        let hits = hits.into_iter().map(wire_from_facet_hit).collect();
        Ok(Response::new(pb::FacetResponse { hits, time: call.elapsed_s(), usage: None }))
    }

    async fn create_field_index(
        &self,
        request: Request<pb::CreateFieldIndexCollection>,
    ) -> Answer<pb::PointsOperationResponse> {
        let call = self.calls.begin()?;
        let CreateIndex { collection, path, schema, options } =
            checked(|found| fields::create(found, request.into_inner(), call.times))?;
        let ack = call.within_limit(self.service.create_field_index(&collection, path, schema, options)).await?;
        let result = Some(wire_from_ack(ack));
        Ok(Response::new(pb::PointsOperationResponse { result, time: call.elapsed_s(), usage: None }))
    }

    async fn delete_field_index(
        &self,
        request: Request<pb::DeleteFieldIndexCollection>,
    ) -> Answer<pb::PointsOperationResponse> {
        let call = self.calls.begin()?;
        let DeleteIndex { collection, path, options } =
            checked(|found| fields::delete(found, request.into_inner(), call.times))?;
        let ack = call.within_limit(self.service.delete_field_index(&collection, path, options)).await?;
        let result = Some(wire_from_ack(ack));
        Ok(Response::new(pb::PointsOperationResponse { result, time: call.elapsed_s(), usage: None }))
    }

    async fn create_vector_name(
        &self,
        request: Request<pb::CreateVectorNameRequest>,
    ) -> Answer<pb::PointsOperationResponse> {
        let call = self.calls.begin()?;
        let CreateVector { collection, name, vector, options } =
            checked(|found| config::create_vector(found, request.into_inner(), call.times))?;
        let ack = call.within_limit(self.service.create_vector(&collection, name, vector, options)).await?;
        let result = Some(wire_from_ack(ack));
        Ok(Response::new(pb::PointsOperationResponse { result, time: call.elapsed_s(), usage: None }))
    }

    async fn delete_vector_name(
        &self,
        request: Request<pb::DeleteVectorNameRequest>,
    ) -> Answer<pb::PointsOperationResponse> {
        let call = self.calls.begin()?;
        let wire = request.into_inner();
        let options = checked(|found| write_options(found, wire.wait, wire.ordering, wire.timeout, call.times))?;
        let deleted = self.service.delete_vector(&wire.collection_name, wire.vector_name, options);
        let result = Some(wire_from_ack(call.within_limit(deleted).await?));
        Ok(Response::new(pb::PointsOperationResponse { result, time: call.elapsed_s(), usage: None }))
    }

    async fn query(&self, request: Request<pb::QueryPoints>) -> Answer<pb::QueryResponse> {
        let call = self.calls.begin()?;
        let (read, usage) = converted(request.into_inner(), call.times, query::query).await?;
        let hits = self.service.query(read.scope, read.request, read.options).await.map_err(failed)?;
        let result = wire_from_hits(hits);
        Ok(Response::new(pb::QueryResponse { result, time: call.elapsed_s(), usage }))
    }

    async fn query_batch(&self, request: Request<pb::QueryBatchPoints>) -> Answer<pb::QueryBatchResponse> {
        let call = self.calls.begin()?;
        let (read, usage) = converted(request.into_inner(), call.times, query::query_batch).await?;
        let lists = self.service.query_batch(read.scope, read.request, read.options).await.map_err(failed)?;
        let result = wire_from_lists(lists);
        Ok(Response::new(pb::QueryBatchResponse { result, time: call.elapsed_s(), usage }))
    }

    async fn search(&self, request: Request<pb::SearchPoints>) -> Answer<pb::SearchResponse> {
        let call = self.calls.begin()?;
        let (read, usage) = converted(request.into_inner(), call.times, query::search).await?;
        let hits = self.service.query(read.scope, read.request, read.options).await.map_err(failed)?;
        let result = wire_from_hits(hits);
        Ok(Response::new(pb::SearchResponse { result, time: call.elapsed_s(), usage }))
    }

    async fn search_batch(&self, request: Request<pb::SearchBatchPoints>) -> Answer<pb::SearchBatchResponse> {
        let call = self.calls.begin()?;
        let (read, usage) = converted(request.into_inner(), call.times, query::search_batch).await?;
        let lists = self.service.query_batch(read.scope, read.request, read.options).await.map_err(failed)?;
        let result = wire_from_lists(lists);
        Ok(Response::new(pb::SearchBatchResponse { result, time: call.elapsed_s(), usage }))
    }

    async fn recommend(&self, request: Request<pb::RecommendPoints>) -> Answer<pb::RecommendResponse> {
        let call = self.calls.begin()?;
        let (read, usage) = converted(request.into_inner(), call.times, query::recommend).await?;
        let hits = self.service.query(read.scope, read.request, read.options).await.map_err(failed)?;
        Ok(Response::new(pb::RecommendResponse { result: wire_from_hits(hits), time: call.elapsed_s(), usage }))
    }

    async fn discover(&self, request: Request<pb::DiscoverPoints>) -> Answer<pb::DiscoverResponse> {
        let call = self.calls.begin()?;
        let (read, usage) = converted(request.into_inner(), call.times, query::discover).await?;
        let hits = self.service.query(read.scope, read.request, read.options).await.map_err(failed)?;
        Ok(Response::new(pb::DiscoverResponse { result: wire_from_hits(hits), time: call.elapsed_s(), usage }))
    }

    async fn recommend_batch(&self, request: Request<pb::RecommendBatchPoints>) -> Answer<pb::RecommendBatchResponse> {
        let call = self.calls.begin()?;
        let (read, usage) = converted(request.into_inner(), call.times, query::recommend_batch).await?;
        let lists = self.service.query_batch(read.scope, read.request, read.options).await.map_err(failed)?;
        Ok(Response::new(pb::RecommendBatchResponse { result: wire_from_lists(lists), time: call.elapsed_s(), usage }))
    }

    async fn discover_batch(&self, request: Request<pb::DiscoverBatchPoints>) -> Answer<pb::DiscoverBatchResponse> {
        let call = self.calls.begin()?;
        let (read, usage) = converted(request.into_inner(), call.times, query::discover_batch).await?;
        let lists = self.service.query_batch(read.scope, read.request, read.options).await.map_err(failed)?;
        Ok(Response::new(pb::DiscoverBatchResponse { result: wire_from_lists(lists), time: call.elapsed_s(), usage }))
    }

    async fn query_groups(&self, request: Request<pb::QueryPointGroups>) -> Answer<pb::QueryGroupsResponse> {
        let call = self.calls.begin()?;
        let (read, usage) = converted(request.into_inner(), call.times, query::query_groups).await?;
        let groups = self.service.query_groups(read.scope, read.request, read.options).await.map_err(failed)?;
        let result = Some(wire_from_groups(groups));
        Ok(Response::new(pb::QueryGroupsResponse { result, time: call.elapsed_s(), usage }))
    }

    async fn search_groups(&self, request: Request<pb::SearchPointGroups>) -> Answer<pb::SearchGroupsResponse> {
        let call = self.calls.begin()?;
        let (read, usage) = converted(request.into_inner(), call.times, query::search_groups).await?;
        let groups = self.service.query_groups(read.scope, read.request, read.options).await.map_err(failed)?;
        let result = Some(wire_from_groups(groups));
        Ok(Response::new(pb::SearchGroupsResponse { result, time: call.elapsed_s(), usage }))
    }

    async fn recommend_groups(
        &self,
        request: Request<pb::RecommendPointGroups>,
    ) -> Answer<pb::RecommendGroupsResponse> {
        let call = self.calls.begin()?;
        let (read, usage) = converted(request.into_inner(), call.times, query::recommend_groups).await?;
        let groups = self.service.query_groups(read.scope, read.request, read.options).await.map_err(failed)?;
        let result = Some(wire_from_groups(groups));
        Ok(Response::new(pb::RecommendGroupsResponse { result, time: call.elapsed_s(), usage }))
    }

    async fn search_matrix_pairs(
        &self,
        request: Request<pb::SearchMatrixPoints>,
    ) -> Answer<pb::SearchMatrixPairsResponse> {
        let call = self.calls.begin()?;
        let read = checked(|found| query::matrix(found, request.into_inner(), call.times))?;
        let matrix = self.service.matrix(read.scope, read.request, read.options).await.map_err(failed)?;
        let result = Some(wire_from_matrix_pairs(&matrix));
        Ok(Response::new(pb::SearchMatrixPairsResponse { result, time: call.elapsed_s(), usage: None }))
    }

    async fn search_matrix_offsets(
        &self,
        request: Request<pb::SearchMatrixPoints>,
    ) -> Answer<pb::SearchMatrixOffsetsResponse> {
        let call = self.calls.begin()?;
        let read = checked(|found| query::matrix(found, request.into_inner(), call.times))?;
        let matrix = self.service.matrix(read.scope, read.request, read.options).await.map_err(failed)?;
        let result = Some(wire_from_matrix_offsets(&matrix));
        Ok(Response::new(pb::SearchMatrixOffsetsResponse { result, time: call.elapsed_s(), usage: None }))
    }
}

fn wire_from_hits(hits: Vec<ScoredPoint>) -> Vec<pb::ScoredPoint> {
    hits.into_iter().map(wire_from_hit).collect()
}

fn wire_from_lists(lists: Vec<Vec<ScoredPoint>>) -> Vec<pb::BatchResult> {
    lists.into_iter().map(|hits| pb::BatchResult { result: wire_from_hits(hits) }).collect()
}
