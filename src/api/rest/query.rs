//! The `query` of a query request and the levels around it (PROTOCOL section 10).

use std::fmt;

use schemars::{JsonSchema, json_schema};
use serde::de::{Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::{Map, Value};

use super::filter::{self, FilterBody};
use super::formula;
use super::schemas::{any_of, list, map, nullable, object, object_with, schema};
use super::selectors::{self, SearchParams, WithPayload, WithVector};
use super::shapes::{Id, Keys, OneOrMany, shard_keys};
use super::vectors::{OneVector, VectorOrId};
use crate::api::checks::{self, At, Checked, Findings};
use crate::api::levels::{self, LevelParts};
use crate::model::PayloadSelector;
use crate::model::query::{
    ContextPair, Fusion, LookupFrom, QueryLevel, QueryRequest, Ranking, RecommendStrategy, RelevanceFeedback,
    StartFrom, Target,
};

/// Results of a level that does not say how many.
pub(super) const LIMIT_DEFAULT: u64 = 10;

/// What a level ranks by, as it was sent.
#[derive(Debug)]
pub(super) enum Query {
    Nearest(VectorOrId),
    Mmr { nearest: VectorOrId, mmr: MmrBody },
    Recommend(RecommendBody),
    Discover(DiscoverBody),
    Context(OneOrMany<PairBody>),
    Feedback(Box<FeedbackBody>),
    OrderBy(OrderByBody),
    Fusion(FusionName),
    Rrf(RrfBody),
    Sample(SampleName),
    Formula { formula: Value, defaults: Option<Map<String, Value>> },
    Text(TextBody),
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "Mmr")]
pub(super) struct MmrBody {
    diversity: Option<f32>,
    candidates_limit: Option<u64>,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "RecommendInput")]
pub(super) struct RecommendBody {
    pub(super) positive: Option<Examples>,
    pub(super) negative: Option<Examples>,
    pub(super) strategy: Option<StrategyName>,
    /// Sent to the old endpoint.
    #[serde(skip)]
    pub(super) is_old: bool,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "RecommendStrategy")]
#[serde(rename_all = "snake_case")]
pub(super) enum StrategyName {
    AverageVector,
    BestScore,
    SumScores,
}

/// A list of examples, or one.
#[derive(Debug)]
pub(super) struct Examples(pub(super) Vec<VectorOrId>);

impl<'de> Deserialize<'de> for Examples {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // A list of whole numbers is a list of ids; one of fractions is a vector.
        let given = Value::deserialize(deserializer)?;
        if given.is_array()
            && let Ok(list) = Vec::<VectorOrId>::deserialize(&given)
        {
            return Ok(Examples(list));
        }
        VectorOrId::deserialize(given).map(|one| Examples(vec![one])).map_err(D::Error::custom)
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "DiscoverInput")]
pub(super) struct DiscoverBody {
    pub(super) target: Option<VectorOrId>,
    pub(super) context: Option<OneOrMany<PairBody>>,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "ContextPair")]
pub(super) struct PairBody {
    positive: VectorOrId,
    negative: VectorOrId,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "RelevanceFeedback")]
pub(super) struct FeedbackBody {
    target: VectorOrId,
    feedback: Vec<FeedbackItem>,
    strategy: FeedbackStrategy,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct FeedbackItem {
    example: VectorOrId,
    score: f32,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct FeedbackStrategy {
    naive: NaiveStrategy,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct NaiveStrategy {
    a: f32,
    b: f32,
    c: f32,
}

/// A path, or an object with one.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "OrderBy")]
#[serde(untagged)]
pub(super) enum OrderByBody {
    Key(String),
    Object { key: String, direction: Option<DirectionName>, start_from: Option<StartFromBody> },
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Direction")]
#[serde(rename_all = "snake_case")]
pub(super) enum DirectionName {
    Asc,
    Desc,
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "StartFrom")]
#[serde(untagged)]
pub(super) enum StartFromBody {
    Integer(i64),
    Float(f64),
    Datetime(String),
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Fusion")]
#[serde(rename_all = "snake_case")]
pub(super) enum FusionName {
    Rrf,
    Dbsf,
}

#[derive(Debug, Default, Deserialize, JsonSchema)]
#[schemars(rename = "Rrf")]
pub(super) struct RrfBody {
    k: Option<u64>,
    weights: Option<Vec<f32>>,
}

#[derive(Clone, Copy, Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Sample")]
#[serde(rename_all = "snake_case")]
pub(super) enum SampleName {
    Random,
}

/// A text, or an object with one.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "TextQuery")]
#[serde(untagged)]
pub(super) enum TextBody {
    Bare(String),
    Object { query: String, scoring: Option<TextScoring> },
}

#[derive(Debug, Deserialize, JsonSchema)]
pub(super) struct TextScoring {
    bm25: Option<TextBm25>,
}

#[derive(Debug, Deserialize, JsonSchema)]
struct TextBm25 {
    k: Option<f32>,
    b: Option<f32>,
}

impl<'de> Deserialize<'de> for Query {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct QueryVisitor;
        impl<'de> Visitor<'de> for QueryVisitor {
            type Value = Query;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector, a point id or a query object")
            }
            fn visit_u64<E: Error>(self, num: u64) -> Result<Query, E> {
                Id::deserialize(serde::de::value::U64Deserializer::new(num))
                    .map(|id| Query::Nearest(VectorOrId::Id(id)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Query, E> {
                let id = Id::deserialize(serde::de::value::StrDeserializer::new(text))?;
                Ok(Query::Nearest(VectorOrId::Id(id)))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Query, A::Error> {
                OneVector::from_seq(seq).map(|vector| Query::Nearest(VectorOrId::Vector(vector)))
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Query, A::Error> {
                let (mut nearest, mut others) = (None, Map::new());
                while let Some(key) = map.next_key::<String>()? {
                    // Straight into its type: it may be long.
                    if key == "nearest" {
                        nearest = map.next_value::<Option<VectorOrId>>()?;
                    } else {
                        let value: Value = map.next_value()?;
                        if !value.is_null() {
                            others.insert(key, value);
                        }
                    }
                }
                query_of(nearest, others).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_any(QueryVisitor)
    }
}

schema!(Query, "Query", schemas => any_of([
    schemas.subschema_for::<VectorOrId>(),
    object_with(
        [("nearest", schemas.subschema_for::<VectorOrId>())],
        [("mmr", nullable(schemas.subschema_for::<MmrBody>()))],
    ),
    object([("recommend", schemas.subschema_for::<RecommendBody>())]),
    object([("discover", schemas.subschema_for::<DiscoverBody>())]),
    object([("context", schemas.subschema_for::<OneOrMany<PairBody>>())]),
    object([("relevance_feedback", schemas.subschema_for::<FeedbackBody>())]),
    object([("order_by", schemas.subschema_for::<OrderByBody>())]),
    object([("fusion", schemas.subschema_for::<FusionName>())]),
    object([("rrf", schemas.subschema_for::<RrfBody>())]),
    object([("sample", schemas.subschema_for::<SampleName>())]),
    object_with(
        [("formula", schemas.subschema_for::<formula::Shape>())],
        [("defaults", nullable(map(json_schema!(true))))],
    ),
    object([("text", schemas.subschema_for::<TextBody>())]),
]));

schema!(Examples, "Examples", schemas => {
    let one = schemas.subschema_for::<VectorOrId>();
    any_of([list(one.clone()), one])
});

/// `others`: the members beside `nearest`; none is null.
fn query_of(nearest: Option<VectorOrId>, mut others: Map<String, Value>) -> Result<Query, serde_json::Error> {
    fn read<T: DeserializeOwned>(value: Value) -> Result<T, serde_json::Error> {
        T::deserialize(value)
    }
    if let Some(nearest) = nearest {
        return Ok(match others.remove("mmr") {
            Some(mmr) => Query::Mmr { nearest, mmr: read(mmr)? },
            None => Query::Nearest(nearest),
        });
    }
    // Beside a model, `text` is what a vector is to be computed from.
    let is_inference = others.contains_key("model");
    let kinds = [
        "recommend",
        "discover",
        "context",
        "relevance_feedback",
        "order_by",
        "fusion",
        "rrf",
        "sample",
        "formula",
        "text",
    ];
    let kind = kinds.into_iter().find(|kind| others.contains_key(*kind) && !is_inference);
    let Some((kind, value)) = kind.and_then(|kind| Some((kind, others.remove(kind)?))) else {
        return read(Value::Object(others)).map(|vector| Query::Nearest(VectorOrId::Vector(vector)));
    };
    Ok(match kind {
        "recommend" => Query::Recommend(read(value)?),
        "discover" => Query::Discover(read(value)?),
        "context" => Query::Context(read(value)?),
        "relevance_feedback" => Query::Feedback(Box::new(read(value)?)),
        "order_by" => Query::OrderBy(read(value)?),
        "fusion" => Query::Fusion(read(value)?),
        "rrf" => Query::Rrf(read(value)?),
        "sample" => Query::Sample(read(value)?),
        "text" => Query::Text(read(value)?),
        _ => Query::Formula { formula: value, defaults: others.remove("defaults").map(read).transpose()? },
    })
}

fn targets(found: &mut Findings, at: At<'_>, examples: Option<Examples>) -> Checked<Vec<Target>> {
    let Examples(examples) = examples.unwrap_or(Examples(Vec::new()));
    checks::each(examples, |i, example| example.convert(found, at.item(i)))
}

fn pairs(found: &mut Findings, at: At<'_>, OneOrMany(pairs): OneOrMany<PairBody>) -> Checked<Vec<ContextPair>> {
    checks::each(pairs, |i, pair| {
        let at = at.item(i);
        let positive = pair.positive.convert(found, at.field("positive"));
        let negative = pair.negative.convert(found, at.field("negative"));
        Ok(ContextPair { positive: positive?, negative: negative? })
    })
}

impl RecommendBody {
    /// `at` is where it stands.
    pub(super) fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<Ranking> {
        let positive = targets(found, at.field("positive"), self.positive);
        let negative = targets(found, at.field("negative"), self.negative);
        let strategy = match self.strategy {
            None | Some(StrategyName::AverageVector) => RecommendStrategy::AverageVector,
            Some(StrategyName::BestScore) => RecommendStrategy::BestScore,
            Some(StrategyName::SumScores) => RecommendStrategy::SumScores,
        };
        let recommend = if self.is_old { levels::old_recommend } else { levels::recommend };
        recommend(found, at, positive?, negative?, strategy)
    }
}

impl DiscoverBody {
    /// Without a target it is a context query, as the old endpoint had it.
    pub(super) fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<Ranking> {
        let target = self.target.map(|target| target.convert(found, at.field("target"))).transpose();
        let context = pairs(found, at.field("context"), self.context.unwrap_or(OneOrMany(Vec::new())));
        match (target?, context?) {
            (Some(target), context) => Ok(Ranking::Discover { target, context }),
            (None, context) if !context.is_empty() => Ok(Ranking::Context(context)),
            (None, _) => found.invalid(at, "target or context must be specified"),
        }
    }
}

impl OrderByBody {
    /// The checked order.
    pub(super) fn convert(self, found: &mut Findings) -> Checked<crate::model::query::OrderBy> {
        let (key, direction, start_from) = match self {
            OrderByBody::Key(key) => (key, None, None),
            OrderByBody::Object { key, direction, start_from } => (key, direction, start_from),
        };
        let start_from = match start_from {
            None => None,
            Some(StartFromBody::Integer(value)) => Some(StartFrom::Integer(value)),
            Some(StartFromBody::Float(value)) => Some(StartFrom::Float(value)),
            Some(StartFromBody::Datetime(text)) => Some(StartFrom::Datetime(checks::datetime(found, &text)?)),
        };
        levels::order_by(found, &key, matches!(direction, Some(DirectionName::Desc)), start_from)
    }
}

impl Query {
    /// `at` is where the query stands.
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<Ranking> {
        match self {
            Query::Nearest(target) => target.convert(found, at).map(Ranking::Nearest),
            Query::Mmr { nearest, mmr } => {
                let target = nearest.convert(found, at.field("nearest"));
                let mmr = levels::mmr(found, at.field("mmr"), mmr.diversity, mmr.candidates_limit);
                Ok(Ranking::Mmr { target: target?, mmr: mmr? })
            }
            Query::Recommend(body) => body.convert(found, at.field("recommend")),
            Query::Discover(body) => body.convert(found, at.field("discover")),
            Query::Context(body) => match pairs(found, at.field("context"), body)? {
                pairs if pairs.is_empty() => found.invalid(at.field("context"), "context pairs must be non-empty"),
                pairs => Ok(Ranking::Context(pairs)),
            },
            Query::Feedback(body) => {
                let at = at.field("relevance_feedback");
                let FeedbackBody { target, feedback, strategy: FeedbackStrategy { naive: NaiveStrategy { a, b, c } } } =
                    *body;
                let target = target.convert(found, at.field("target"));
                let list = at.field("feedback");
                let feedback = checks::each(feedback, |i, FeedbackItem { example, score }| {
                    Ok((example.convert(found, list.item(i).field("example"))?, score))
                });
                let feedback = RelevanceFeedback { target: target?, feedback: feedback?, a, b, c };
                levels::relevance_feedback(found, at, feedback)
            }
            Query::OrderBy(body) => body.convert(found).map(Ranking::OrderBy),
            Query::Fusion(FusionName::Rrf) => levels::rrf(found, at.field("rrf"), None, None).map(Ranking::Fusion),
            Query::Fusion(FusionName::Dbsf) => Ok(Ranking::Fusion(Fusion::Dbsf)),
            Query::Rrf(RrfBody { k, weights }) => levels::rrf(found, at.field("rrf"), k, weights).map(Ranking::Fusion),
            Query::Sample(SampleName::Random) => Ok(Ranking::Sample),
            Query::Formula { formula, defaults } => {
                formula::formula(found, at.field("formula"), formula, defaults).map(Ranking::Formula)
            }
            Query::Text(TextBody::Bare(query)) => levels::text(found, at.field("text"), query, None, None),
            Query::Text(TextBody::Object { query, scoring }) => {
                let (k, b) = scoring.and_then(|scoring| scoring.bm25).map_or((None, None), |bm25| (bm25.k, bm25.b));
                levels::text(found, at.field("text").field("scoring").field("bm25"), query, k, b)
            }
        }
    }
}

#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "LookupLocation")]
pub(super) struct LookupBody {
    collection: String,
    vector: Option<String>,
    shard_key: Option<Keys>,
}

impl LookupBody {
    fn convert(self) -> LookupFrom {
        LookupFrom { collection: self.collection, vector: self.vector, shard_keys: shard_keys(self.shard_key) }
    }
}

/// One level, as a prefetch is written.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "Prefetch")]
pub(super) struct LevelBody {
    pub(super) prefetch: Option<OneOrMany<LevelBody>>,
    pub(super) query: Option<Query>,
    pub(super) using: Option<String>,
    pub(super) filter: Option<FilterBody>,
    pub(super) params: Option<SearchParams>,
    pub(super) score_threshold: Option<f32>,
    pub(super) limit: Option<u64>,
    pub(super) lookup_from: Option<LookupBody>,
}

/// Levels of prefetches inside each other; 0 when there are none.
fn depth(prefetches: Option<&OneOrMany<LevelBody>>) -> usize {
    let prefetches = prefetches.map_or(&[][..], |OneOrMany(prefetches)| prefetches);
    prefetches.iter().map(|one| 1 + depth(one.prefetch.as_ref())).max().unwrap_or(0)
}

impl LevelBody {
    /// The checked level with all below it. `at` is where it stands.
    pub(super) fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<QueryLevel> {
        checks::prefetch_depth(found, depth(self.prefetch.as_ref()))?;
        self.level(found, at)
    }

    fn level(self, found: &mut Findings, at: At<'_>) -> Checked<QueryLevel> {
        let OneOrMany(prefetch) = self.prefetch.unwrap_or(OneOrMany(Vec::new()));
        let at_prefetch = at.field("prefetch");
        let prefetch = checks::each(prefetch, |i, source| source.level(found, at_prefetch.item(i)));
        let ranking = self.query.map(|query| query.convert(found, at.field("query"))).transpose();
        let lookup_from = self.lookup_from.map(LookupBody::convert);
        let filter = filter::filter(found, at.field("filter"), self.filter);
        let options = self.params.unwrap_or_default().convert(found, at.field("params"));
        let limit = checks::limit(found, at.field("limit"), self.limit.unwrap_or(LIMIT_DEFAULT));
        let parts = LevelParts {
            prefetch: prefetch?,
            ranking: ranking?,
            using: self.using,
            lookup_from,
            filter: filter?,
            options: options?,
            score_threshold: self.score_threshold,
            limit: limit?,
        };
        levels::level(found, parts)
    }
}

/// A whole query. The fields of its root level stand here, too: `flatten` would read every vector twice.
#[derive(Debug, Deserialize, JsonSchema)]
#[schemars(rename = "QueryRequest")]
pub(super) struct QueryBody {
    pub(super) prefetch: Option<OneOrMany<LevelBody>>,
    pub(super) query: Option<Query>,
    pub(super) using: Option<String>,
    pub(super) filter: Option<FilterBody>,
    pub(super) params: Option<SearchParams>,
    pub(super) score_threshold: Option<f32>,
    pub(super) limit: Option<u64>,
    pub(super) lookup_from: Option<LookupBody>,
    pub(super) offset: Option<u64>,
    pub(super) with_payload: Option<WithPayload>,
    #[serde(alias = "with_vectors")]
    pub(super) with_vector: Option<WithVector>,
    pub(super) shard_key: Option<Keys>,
}

impl QueryBody {
    /// The checked request. `at` is where the body stands.
    pub(super) fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<QueryRequest> {
        let QueryBody { prefetch, query, using, filter, params, score_threshold, limit, lookup_from, .. } = self;
        let level = LevelBody { prefetch, query, using, filter, params, score_threshold, limit, lookup_from };
        let root = level.convert(found, at);
        let with_payload = selectors::payload(found, self.with_payload, PayloadSelector::None);
        Ok(QueryRequest {
            root: root?,
            offset: checks::count_from_u64(self.offset.unwrap_or(0)),
            with_payload: with_payload?,
            with_vectors: selectors::vectors(self.with_vector),
        })
    }
}
