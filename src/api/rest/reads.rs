//! Reads of points: retrieve, scroll, count, query, and the old search (PROTOCOL sections 9, 10 and 17).

use std::fmt;

use schemars::JsonSchema;
use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserializer, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};

use super::call::{BodyCall, Call};
use super::envelope::{Envelope, Usage, answer, answer_with_usage};
use super::filter::{self, FilterBody};
use super::query::{LIMIT_DEFAULT, OrderByBody, Query, QueryBody};
use super::records::{IdOut, RecordOut, ScoredPointOut};
use super::schemas::{any_of, object, schema};
use super::selectors::{self, SearchParams, WithPayload, WithVector};
use super::shapes::{Id, Keys, ids, shard_keys};
use super::vectors::{OneVector, VectorOrId};
use crate::api::checks::{self, At, Checked, Findings};
use crate::api::schema;
use crate::api::status::ApiError;
use crate::model::query::ScrollRequest;
use crate::model::{Filter, PayloadSelector, PointId, ScoredPoint, VectorSelector};
use crate::service::Scope;

/// Converts a whole body; failed fields are named from its root.
pub(super) fn from_body<T>(convert: impl FnOnce(&mut Findings) -> Checked<T>) -> Result<T, ApiError> {
    let mut found = Findings::new();
    let value = convert(&mut found);
    found.finish("JSON body", value)
}

pub(super) async fn retrieve_one(call: Call<(String, String)>) -> Envelope<RecordOut> {
    let options = call.read_options()?;
    let (collection, id) = &call.path;
    let id: PointId =
        id.parse().map_err(|_| ApiError::wrong_input(format_args!("Can not recognize \"{id}\" as point id")))?;
    let service = &call.rest.service;
    let found = service.retrieve(collection, vec![id], PayloadSelector::All, VectorSelector::All, options).await?;
    match found.into_iter().next() {
        Some(record) => answer(call.started, RecordOut(record)),
        None => Err(ApiError::not_found(format_args!("Point with id {id} does not exists!"))),
    }
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "RetrieveRequest")]
pub(super) struct Retrieve {
    ids: Vec<Id>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    shard_key: Option<Keys>,
}

pub(super) async fn retrieve(BodyCall { call, body }: BodyCall<String, Retrieve>) -> Envelope<Vec<RecordOut>> {
    let options = call.read_options()?;
    let scope = Scope::keyed(&call.path, shard_keys(body.shard_key));
    let with_payload = from_body(|found| selectors::payload(found, body.with_payload, PayloadSelector::All))?;
    let with_vectors = selectors::vectors(body.with_vector);
    let service = &call.rest.service;
    let records = service.retrieve(scope, ids(body.ids), with_payload, with_vectors, options).await?;
    answer(call.started, records.into_iter().map(RecordOut).collect())
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "ScrollRequest")]
pub(super) struct Scroll {
    offset: Option<Id>,
    limit: Option<u64>,
    filter: Option<FilterBody>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    order_by: Option<OrderByBody>,
    shard_key: Option<Keys>,
}

impl Scroll {
    pub(super) fn convert(self, found: &mut Findings) -> Checked<ScrollRequest> {
        let root = At::Root;
        let at = root.field("scroll_request");
        schema::no_offset_with_order(found, self.offset.is_some(), self.order_by.is_some())?;
        let order_by = self.order_by.map(|order| order.convert(found)).transpose();
        let limit = checks::limit(found, at.field("limit"), self.limit.unwrap_or(LIMIT_DEFAULT));
        let filter = filter::filter(found, at.field("filter"), self.filter);
        let with_payload = selectors::payload(found, self.with_payload, PayloadSelector::All);
        Ok(ScrollRequest {
            offset: self.offset.map(|Id(id)| id),
            limit: limit?,
            filter: filter?,
            order_by: order_by?,
            with_payload: with_payload?,
            with_vectors: selectors::vectors(self.with_vector),
        })
    }
}

/// A page of points.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "ScrollResult")]
pub(super) struct Page {
    points: Vec<RecordOut>,
    next_page_offset: Option<IdOut>,
}

pub(super) async fn scroll(BodyCall { call, mut body }: BodyCall<String, Scroll>) -> Envelope<Page> {
    let options = call.read_options()?;
    let scope = Scope::keyed(&call.path, shard_keys(body.shard_key.take()));
    let request = from_body(|found| body.convert(found))?;
    let page = call.rest.service.scroll(scope, request, options).await?;
    let points = page.points.into_iter().map(RecordOut).collect();
    answer(call.started, Page { points, next_page_offset: page.next_offset.map(IdOut) })
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "CountRequest")]
pub(super) struct Count {
    filter: Option<FilterBody>,
    /// Accepted: counts are always exact.
    #[serde(rename = "exact")]
    _exact: Option<bool>,
    shard_key: Option<Keys>,
}

impl Count {
    pub(super) fn convert(self, found: &mut Findings) -> Checked<Option<Filter>> {
        let root = At::Root;
        filter::filter(found, root.field("count_request").field("filter"), self.filter)
    }
}

#[derive(Serialize, JsonSchema)]
pub(super) struct CountResult {
    count: u64,
}

pub(super) async fn count(BodyCall { call, mut body }: BodyCall<String, Count>) -> Envelope<CountResult> {
    let options = call.read_options()?;
    let scope = Scope::keyed(&call.path, shard_keys(body.shard_key.take()));
    let filter = from_body(|found| body.convert(found))?;
    let count = call.rest.service.count(scope, filter, options).await?;
    answer(call.started, CountResult { count })
}

/// A body of the old search: one vector, a limit that must be given.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "SearchRequest")]
pub(super) struct Search {
    vector: SearchVector,
    #[serde(alias = "top")]
    limit: u64,
    filter: Option<FilterBody>,
    params: Option<SearchParams>,
    score_threshold: Option<f32>,
    offset: Option<u64>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    shard_key: Option<Keys>,
}

/// A bare list of numbers, or a vector with the name to search it under.
#[derive(Debug)]
struct SearchVector {
    name: Option<String>,
    vector: OneVector,
}

impl<'de> Deserialize<'de> for SearchVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VectorVisitor;
        impl<'de> Visitor<'de> for VectorVisitor {
            type Value = SearchVector;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of numbers, or an object with `name` and `vector`")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<SearchVector, A::Error> {
                let vector = OneVector::deserialize(SeqAccessDeserializer::new(seq))?;
                Ok(SearchVector { name: None, vector })
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<SearchVector, A::Error> {
                #[derive(Deserialize)]
                struct Named {
                    name: String,
                    vector: OneVector,
                }
                let Named { name, vector } = Named::deserialize(MapAccessDeserializer::new(map))?;
                Ok(SearchVector { name: Some(name), vector })
            }
        }
        deserializer.deserialize_any(VectorVisitor)
    }
}

schema!(SearchVector, "NamedVector", schemas => any_of([
    schemas.subschema_for::<OneVector>(),
    object([("name", schemas.subschema_for::<String>()), ("vector", schemas.subschema_for::<OneVector>())]),
]));

impl From<Search> for QueryBody {
    fn from(search: Search) -> QueryBody {
        QueryBody {
            prefetch: None,
            query: Some(Query::Nearest(VectorOrId::Vector(search.vector.vector))),
            using: search.vector.name,
            filter: search.filter,
            params: search.params,
            score_threshold: search.score_threshold,
            limit: Some(search.limit),
            offset: search.offset,
            with_payload: search.with_payload,
            with_vector: search.with_vector,
            lookup_from: None,
            shard_key: search.shard_key,
        }
    }
}

/// Several requests in one body.
#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "Searches_of_{B}")]
pub(super) struct Searches<B> {
    pub(super) searches: Vec<B>,
}

/// What a query answers with.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "QueryResponse")]
pub(super) struct Hits {
    points: Vec<ScoredPointOut>,
}

fn hits(points: Vec<ScoredPoint>) -> Vec<ScoredPointOut> {
    points.into_iter().map(ScoredPointOut).collect()
}

pub(super) async fn query(BodyCall { call, body }: BodyCall<String, QueryBody>) -> Envelope<Hits> {
    let (points, usage) = run(&call, body, "internal").await?;
    answer_with_usage(call.started, Hits { points: hits(points) }, &usage)
}

pub(super) async fn query_batch(BodyCall { call, body }: BodyCall<String, Searches<QueryBody>>) -> Envelope<Vec<Hits>> {
    let (results, usage) = run_batch(&call, body.searches, "internal").await?;
    let results = results.into_iter().map(|points| Hits { points: hits(points) }).collect();
    answer_with_usage(call.started, results, &usage)
}

/// The old search, recommend and discover: a query in other words, answered by a bare list.
pub(super) async fn old<B: Into<QueryBody> + Send>(
    BodyCall { call, body }: BodyCall<String, B>,
) -> Envelope<Vec<ScoredPointOut>> {
    let (points, usage) = run(&call, body.into(), "search_request").await?;
    answer_with_usage(call.started, hits(points), &usage)
}

/// As [`old`], several in one body.
pub(super) async fn old_batch<B: Into<QueryBody> + Send>(
    BodyCall { call, body }: BodyCall<String, Searches<B>>,
) -> Envelope<Vec<Vec<ScoredPointOut>>> {
    let searches = body.searches.into_iter().map(Into::into).collect();
    let (results, usage) = run_batch(&call, searches, "search_request").await?;
    answer_with_usage(call.started, results.into_iter().map(hits).collect(), &usage)
}

/// What was found, and what computing the query's vectors took.
type Ran<T> = Result<(T, Usage), ApiError>;

async fn run(call: &Call<String>, mut body: QueryBody, place: &'static str) -> Ran<Vec<ScoredPoint>> {
    let options = call.read_options()?;
    let scope = Scope::keyed(&call.path, shard_keys(body.shard_key.take()));
    let (request, usage) = call.converted(move |found| body.convert(found, At::Root.field(place))).await?;
    Ok((call.rest.service.query(scope, request, options).await?, usage))
}

async fn run_batch(call: &Call<String>, mut bodies: Vec<QueryBody>, place: &'static str) -> Ran<Vec<Vec<ScoredPoint>>> {
    let options = call.read_options()?;
    let keys = bodies.iter_mut().map(|body| shard_keys(body.shard_key.take())).collect();
    let scope = Scope::each(&call.path, keys);
    let convert = move |found: &mut Findings| {
        let root = At::Root;
        let at = root.field("searches");
        checks::each(bodies, |i, body| body.convert(found, at.item(i).field(place)))
    };
    let (requests, usage) = call.converted(convert).await?;
    Ok((call.rest.service.query_batch(scope, requests, options).await?, usage))
}

#[cfg(test)]
#[path = "reads_tests.rs"]
mod tests;
