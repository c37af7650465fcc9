//! Grouped queries, distance matrices, and the old recommend and discover (PROTOCOL sections 9.5, 16 and 17).

use schemars::{JsonSchema, json_schema};
use serde::{Deserialize, Serialize, Serializer};

use super::call::BodyCall;
use super::envelope::{Envelope, answer, answer_with_usage};
use super::filter::{self, FilterBody};
use super::query::{
    DiscoverBody, Examples, LevelBody, LookupBody, PairBody, Query, QueryBody, RecommendBody, StrategyName,
};
use super::reads::{Search, from_body};
use super::records::{IdOut, RecordOut, ScoredPointOut};
use super::schemas::{any_of, schema};
use super::selectors::{self, SearchParams, WithPayload, WithVector};
use super::shapes::{Keys, OneOrMany, shard_keys};
use super::vectors::VectorOrId;
use crate::api::checks::{self, At, Checked, Findings};
use crate::model::PayloadSelector;
use crate::model::query::{Group, GroupId, GroupsRequest, Matrix, MatrixRequest, WithLookup};
use crate::service::Scope;

/// Hits per group when none are given.
const GROUP_SIZE_DEFAULT: u64 = 3;
const MATRIX_SAMPLE_DEFAULT: u64 = 10;
const MATRIX_LIMIT_DEFAULT: u64 = 3;

/// A name, or an object with one.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(untagged)]
enum Using {
    Name(String),
    Object { name: String },
}

impl Using {
    fn name(self) -> String {
        match self {
            Using::Name(name) | Using::Object { name } => name,
        }
    }
}

/// A body of the old recommend.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "RecommendRequest")]
pub(super) struct Recommend {
    positive: Option<Examples>,
    negative: Option<Examples>,
    strategy: Option<StrategyName>,
    using: Option<Using>,
    lookup_from: Option<LookupBody>,
    filter: Option<FilterBody>,
    params: Option<SearchParams>,
    #[serde(alias = "top")]
    limit: u64,
    offset: Option<u64>,
    score_threshold: Option<f32>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    shard_key: Option<Keys>,
}

impl From<Recommend> for QueryBody {
    fn from(body: Recommend) -> QueryBody {
        let Recommend { positive, negative, strategy, .. } = body;
        QueryBody {
            prefetch: None,
            query: Some(Query::Recommend(RecommendBody { positive, negative, strategy, is_old: true })),
            using: body.using.map(Using::name),
            filter: body.filter,
            params: body.params,
            score_threshold: body.score_threshold,
            limit: Some(body.limit),
            lookup_from: body.lookup_from,
            offset: body.offset,
            with_payload: body.with_payload,
            with_vector: body.with_vector,
            shard_key: body.shard_key,
        }
    }
}

/// A body of the old discover.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "DiscoverRequest")]
pub(super) struct Discover {
    target: Option<VectorOrId>,
    context: Option<OneOrMany<PairBody>>,
    using: Option<Using>,
    lookup_from: Option<LookupBody>,
    filter: Option<FilterBody>,
    params: Option<SearchParams>,
    #[serde(alias = "top")]
    limit: u64,
    offset: Option<u64>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    shard_key: Option<Keys>,
}

impl From<Discover> for QueryBody {
    fn from(body: Discover) -> QueryBody {
        let Discover { target, context, .. } = body;
        QueryBody {
            prefetch: None,
            query: Some(Query::Discover(DiscoverBody { target, context })),
            using: body.using.map(Using::name),
            filter: body.filter,
            params: body.params,
            score_threshold: None,
            limit: Some(body.limit),
            lookup_from: body.lookup_from,
            offset: body.offset,
            with_payload: body.with_payload,
            with_vector: body.with_vector,
            shard_key: body.shard_key,
        }
    }
}

/// A collection, or an object with one.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "WithLookup")]
#[serde(untagged)]
enum LookupGroup {
    Collection(String),
    Object {
        collection: String,
        with_payload: Option<WithPayload>,
        #[serde(alias = "with_vector")]
        with_vectors: Option<WithVector>,
    },
}

impl LookupGroup {
    fn convert(self, found: &mut Findings) -> Checked<WithLookup> {
        let (collection, with_payload, with_vectors) = match self {
            LookupGroup::Collection(collection) => (collection, None, None),
            LookupGroup::Object { collection, with_payload, with_vectors } => (collection, with_payload, with_vectors),
        };
        let with_payload = selectors::payload(found, with_payload, PayloadSelector::All)?;
        Ok(WithLookup { collection, with_payload, with_vectors: selectors::vectors(with_vectors) })
    }
}

/// A query with groups.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "QueryGroupsRequest")]
pub(super) struct QueryGroups {
    prefetch: Option<OneOrMany<LevelBody>>,
    query: Option<Query>,
    using: Option<String>,
    filter: Option<FilterBody>,
    params: Option<SearchParams>,
    score_threshold: Option<f32>,
    limit: Option<u64>,
    lookup_from: Option<LookupBody>,
    group_by: String,
    group_size: Option<u64>,
    with_lookup: Option<LookupGroup>,
    with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    with_vector: Option<WithVector>,
    shard_key: Option<Keys>,
}

/// How hits are grouped.
struct Grouping {
    group_by: String,
    group_size: u64,
    with_lookup: Option<LookupGroup>,
}

pub(super) fn groups_request(
    found: &mut Findings,
    at: At<'_>,
    body: QueryBody,
    GroupingParts(grouping): GroupingParts,
) -> Checked<GroupsRequest> {
    let query = body.convert(found, at);
    let group_by = checks::path(found, &grouping.group_by);
    let group_size = checks::limit(found, at.field("group_size"), grouping.group_size);
    let with_lookup = grouping.with_lookup.map(|lookup| lookup.convert(found)).transpose();
    let query = query?;
    Ok(GroupsRequest {
        root: query.root,
        group_by: group_by?,
        group_size: group_size?,
        with_payload: query.with_payload,
        with_vectors: query.with_vectors,
        with_lookup: with_lookup?,
    })
}

/// A body that asks for groups.
pub(super) trait GroupsBody: serde::de::DeserializeOwned + Send + 'static {
    /// What its fields are called below.
    const PLACE: &'static str;

    fn split(self) -> (QueryBody, GroupingParts);
}

/// What [`GroupsBody::split`] takes apart.
pub(super) struct GroupingParts(Grouping);

impl GroupsBody for QueryGroups {
    const PLACE: &'static str = "search_group_request";

    fn split(self) -> (QueryBody, GroupingParts) {
        let grouping = Grouping {
            group_by: self.group_by,
            group_size: self.group_size.unwrap_or(GROUP_SIZE_DEFAULT),
            with_lookup: self.with_lookup,
        };
        let body = QueryBody {
            prefetch: self.prefetch,
            query: self.query,
            using: self.using,
            filter: self.filter,
            params: self.params,
            score_threshold: self.score_threshold,
            limit: self.limit,
            lookup_from: self.lookup_from,
            offset: None,
            with_payload: self.with_payload,
            with_vector: self.with_vector,
            shard_key: self.shard_key,
        };
        (body, GroupingParts(grouping))
    }
}

/// An old request with groups: number and size must be given.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Groups_of_{B}")]
pub(super) struct OldGroups<B> {
    #[serde(flatten)]
    body: B,
    group_by: String,
    group_size: u64,
    with_lookup: Option<LookupGroup>,
}

impl<B> GroupsBody for OldGroups<B>
where
    B: Into<QueryBody> + serde::de::DeserializeOwned + Send + 'static,
{
    const PLACE: &'static str = "search_group_request";

    fn split(self) -> (QueryBody, GroupingParts) {
        let OldGroups { body, group_by, group_size, with_lookup } = self;
        (body.into(), GroupingParts(Grouping { group_by, group_size, with_lookup }))
    }
}

/// As it is shown: a string or an integer.
struct GroupIdOut(GroupId);

impl Serialize for GroupIdOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            GroupId::Unsigned(value) => serializer.serialize_u64(*value),
            GroupId::Negative(value) => serializer.serialize_i64(*value),
            GroupId::Text(text) => serializer.serialize_str(text),
        }
    }
}

schema!(GroupIdOut, "GroupId", _ => any_of([
    json_schema!({ "type": "string" }),
    json_schema!({ "type": "integer" }),
]));

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "PointGroup")]
struct GroupOut {
    id: GroupIdOut,
    hits: Vec<ScoredPointOut>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lookup: Option<RecordOut>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "GroupsResult")]
pub(super) struct GroupsOut {
    groups: Vec<GroupOut>,
}

pub(super) async fn groups<B: GroupsBody>(BodyCall { call, body }: BodyCall<String, B>) -> Envelope<GroupsOut> {
    let options = call.read_options()?;
    let (mut body, grouping) = body.split();
    let scope = Scope::keyed(&call.path, shard_keys(body.shard_key.take()));
    let convert = |found: &mut Findings| groups_request(found, At::Root.field(B::PLACE), body, grouping);
    let (request, usage) = call.converted(convert).await?;
    let groups = call.rest.service.query_groups(scope, request, options).await?;
    let groups = groups.into_iter().map(|Group { id, hits, lookup }| GroupOut {
        id: GroupIdOut(id),
        hits: hits.into_iter().map(ScoredPointOut).collect(),
        lookup: lookup.map(RecordOut),
    });
    answer_with_usage(call.started, GroupsOut { groups: groups.collect() }, &usage)
}

/// What both forms of a matrix take.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "MatrixRequest")]
pub(super) struct MatrixBody {
    filter: Option<FilterBody>,
    sample: Option<u64>,
    limit: Option<u64>,
    using: Option<String>,
    shard_key: Option<Keys>,
}

impl MatrixBody {
    pub(super) fn convert(self, found: &mut Findings) -> Checked<MatrixRequest> {
        let root = At::Root;
        let at = root.field("search_request");
        let sample = checks::at_least(found, at.field("sample"), self.sample.unwrap_or(MATRIX_SAMPLE_DEFAULT), 2);
        let limit = checks::limit(found, at.field("limit"), self.limit.unwrap_or(MATRIX_LIMIT_DEFAULT));
        let filter = filter::filter(found, at.field("filter"), self.filter);
        Ok(MatrixRequest {
            sample: checks::count_from_u64(sample?),
            limit: limit?,
            filter: filter?,
            using: self.using.unwrap_or_default(),
        })
    }
}

/// A matrix as a list of pairs.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MatrixPairs")]
pub(super) struct Pairs {
    pairs: Vec<Pair>,
}

#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MatrixPair")]
struct Pair {
    a: IdOut,
    b: IdOut,
    score: f32,
}

pub(super) async fn matrix_pairs(BodyCall { call, mut body }: BodyCall<String, MatrixBody>) -> Envelope<Pairs> {
    let options = call.read_options()?;
    let scope = Scope::keyed(&call.path, shard_keys(body.shard_key.take()));
    let request = from_body(|found| body.convert(found))?;
    let Matrix { ids, rows } = call.rest.service.matrix(scope, request, options).await?;
    let pairs = ids.iter().zip(&rows).flat_map(|(a, row)| {
        let of_row = row.iter().filter_map(|(b, score)| Some((ids.get(*b)?, *score)));
        of_row.map(|(b, score)| Pair { a: IdOut(*a), b: IdOut(*b), score })
    });
    answer(call.started, Pairs { pairs: pairs.collect() })
}

/// A matrix as rows, columns and values of its cells.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "MatrixOffsets")]
pub(super) struct Offsets {
    offsets_row: Vec<usize>,
    offsets_col: Vec<usize>,
    scores: Vec<f32>,
    ids: Vec<IdOut>,
}

pub(super) async fn matrix_offsets(BodyCall { call, mut body }: BodyCall<String, MatrixBody>) -> Envelope<Offsets> {
    let options = call.read_options()?;
    let scope = Scope::keyed(&call.path, shard_keys(body.shard_key.take()));
    let request = from_body(|found| body.convert(found))?;
    let Matrix { ids, rows } = call.rest.service.matrix(scope, request, options).await?;
    let cells: Vec<(usize, usize, f32)> = rows
        .iter()
        .enumerate()
        .flat_map(|(row, cells)| cells.iter().map(move |(column, score)| (row, *column, *score)))
        .collect();
    let offsets = Offsets {
        offsets_row: cells.iter().map(|(row, _, _)| *row).collect(),
        offsets_col: cells.iter().map(|(_, column, _)| *column).collect(),
        scores: cells.iter().map(|(_, _, score)| *score).collect(),
        ids: ids.into_iter().map(IdOut).collect(),
    };
    answer(call.started, offsets)
}

/// The old search with groups.
pub(super) type SearchGroups = OldGroups<Search>;
/// The old recommend with groups.
pub(super) type RecommendGroups = OldGroups<Recommend>;
