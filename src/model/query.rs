//! Reads: the query language (PROTOCOL sections 9 to 17).

use serde::{Deserialize, Serialize};

use super::collection::ShardKeySelector;
use super::datetime::Timestamp;
use super::filter::Filter;
use super::formula::Formula;
use super::ids::PointId;
use super::payload::Path;
use super::point::{Record, ScoredPoint};
use super::selector::{PayloadSelector, VectorSelector};
use super::vector::{Vector, VectorName};

/// What a query compares points with.
#[derive(Clone, Debug, PartialEq)]
pub enum Target {
    /// This vector. Checked against the collection's dimension by the service.
    Vector(Vector),
    /// The vector of this point, which is left out of the answer.
    Point(PointId),
}

/// Where a `Target::Point` is looked up when not in the searched collection and vector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupFrom {
    pub collection: String,
    pub vector: Option<VectorName>,
    /// With custom sharding: where the point is.
    pub shard_keys: Option<ShardKeySelector>,
}

/// What a level of a query ranks by.
#[derive(Clone, Debug, PartialEq)]
pub enum Ranking {
    /// Ascending id, score 1.0, version 0 (a query without `query`).
    ById,
    /// Distance to the target.
    Nearest(Target),
    /// As [`Ranking::Nearest`], then diversified (PROTOCOL section 15).
    Mmr {
        target: Target,
        mmr: Mmr,
    },
    /// PROTOCOL section 11; at least one example.
    Recommend {
        positive: Vec<Target>,
        negative: Vec<Target>,
        strategy: RecommendStrategy,
    },
    Discover {
        target: Target,
        context: Vec<ContextPair>,
    },
    Context(Vec<ContextPair>),
    RelevanceFeedback(RelevanceFeedback),
    OrderBy(OrderBy),
    /// Of the prefetches' ranked lists; at least one prefetch.
    Fusion(Fusion),
    /// Random points.
    Sample,
    /// Of the prefetches' union; at least one prefetch.
    Formula(Formula),
    /// BM25 over the text index of the field `using` (PROTOCOL section 13.4).
    Text {
        query: String,
        k: f32,
        b: f32,
    },
}

/// Maximal marginal relevance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mmr {
    /// 0 to 1; 0 is plain relevance.
    pub diversity: f32,
    /// Absent: the request's limit. At most 16,384.
    pub candidates_limit: Option<usize>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RecommendStrategy {
    #[default]
    AverageVector,
    BestScore,
    SumScores,
}

#[derive(Clone, Debug, PartialEq)]
pub struct ContextPair {
    pub positive: Target,
    pub negative: Target,
}

/// The naive strategy: `a`, `b` at least 0.
#[derive(Clone, Debug, PartialEq)]
pub struct RelevanceFeedback {
    pub target: Target,
    /// At least one.
    pub feedback: Vec<(Target, f32)>,
    pub a: f32,
    pub b: f32,
    pub c: f32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Direction {
    Asc,
    Desc,
}

/// By the values of a field that has an index with ranges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct OrderBy {
    pub key: Path,
    pub direction: Direction,
    /// Inclusive.
    pub start_from: Option<StartFrom>,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum StartFrom {
    Integer(i64),
    Float(f64),
    Datetime(Timestamp),
}

/// The value a point was ordered by. Datetimes are integer microseconds since the epoch.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum OrderValue {
    Integer(i64),
    Float(f64),
}

impl OrderValue {
    /// Numbers by value, whatever their type.
    pub fn total_cmp(&self, other: &OrderValue) -> std::cmp::Ordering {
        match (self, other) {
            (OrderValue::Integer(a), OrderValue::Integer(b)) => a.cmp(b),
            (a, b) => a.as_f64().total_cmp(&b.as_f64()),
        }
    }

    fn as_f64(&self) -> f64 {
        match self {
            OrderValue::Integer(value) => *value as f64,
            OrderValue::Float(value) => *value,
        }
    }
}

/// How ranked lists become one (PROTOCOL section 12).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Fusion {
    /// `k` is at least 1 (default 2). Weights, if any, one per prefetch: the service checks their number.
    Rrf {
        k: usize,
        weights: Option<Vec<f32>>,
    },
    Dbsf,
}

/// How a search is run (the protocol's `params`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SearchOptions {
    /// Beam width. Absent: the index decides (at least `k`).
    pub ef: Option<usize>,
    /// Compare with every point.
    pub exact: bool,
    /// Leave out what is not in the graph yet.
    pub indexed_only: bool,
    /// Which points the weights of an IDF vector are counted over. Absent: as [`IdfCorpus::Global`].
    pub idf: Option<IdfCorpus>,
    /// So many times the wanted points are looked up by their codes, before their vectors decide; at least 1.
    pub oversampling: Option<f64>,
    /// Compare vectors all the way, not codes of them.
    pub ignores_codes: bool,
    /// Whether vectors decide among what codes found; absent: they do.
    pub rescores: Option<bool>,
}

/// PROTOCOL section 13.2.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum IdfCorpus {
    Global,
    /// Live points that match.
    Filter(Filter),
}

/// One level of a query: its sources, what it ranks by, what it keeps.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryLevel {
    /// Levels whose results this one works on; without any it searches the collection.
    pub prefetch: Vec<QueryLevel>,
    pub ranking: Ranking,
    /// The vector compared, or the field of a text query. `""` is the unnamed vector.
    pub using: VectorName,
    pub lookup_from: Option<LookupFrom>,
    /// Merged into all levels below (PROTOCOL section 7.15).
    pub filter: Option<Filter>,
    pub options: SearchOptions,
    pub score_threshold: Option<f32>,
    /// At least 1; may be huge: nothing is allocated by it.
    pub limit: usize,
}

impl QueryLevel {
    /// A level without anything that may be absent.
    pub fn new(ranking: Ranking, limit: usize) -> QueryLevel {
        QueryLevel {
            prefetch: Vec::new(),
            ranking,
            using: VectorName::new(),
            lookup_from: None,
            filter: None,
            options: SearchOptions::default(),
            score_threshold: None,
            limit,
        }
    }
}

/// One query of a collection.
#[derive(Clone, Debug, PartialEq)]
pub struct QueryRequest {
    pub root: QueryLevel,
    /// Results of the root to skip.
    pub offset: usize,
    pub with_payload: PayloadSelector,
    pub with_vectors: VectorSelector,
}

/// A query whose hits are grouped by a field (PROTOCOL section 16). The root's `limit` is the number of groups.
#[derive(Clone, Debug, PartialEq)]
pub struct GroupsRequest {
    pub root: QueryLevel,
    pub group_by: Path,
    /// Hits per group, at least 1.
    pub group_size: usize,
    pub with_payload: PayloadSelector,
    pub with_vectors: VectorSelector,
    pub with_lookup: Option<WithLookup>,
}

/// Attaches to each group the point of another collection that has the group's id.
#[derive(Clone, Debug, PartialEq)]
pub struct WithLookup {
    pub collection: String,
    pub with_payload: PayloadSelector,
    pub with_vectors: VectorSelector,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum GroupId {
    Unsigned(u64),
    /// Below 0.
    Negative(i64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq)]
pub struct Group {
    pub id: GroupId,
    pub hits: Vec<ScoredPoint>,
    pub lookup: Option<Record>,
}

/// Points in ascending id order, or ordered by a field (then without an offset).
#[derive(Clone, Debug, PartialEq)]
pub struct ScrollRequest {
    /// First id, inclusive; it need not exist.
    pub offset: Option<PointId>,
    /// At least 1.
    pub limit: usize,
    pub filter: Option<Filter>,
    pub order_by: Option<OrderBy>,
    pub with_payload: PayloadSelector,
    pub with_vectors: VectorSelector,
}

/// Counts of a field's values (PROTOCOL section 9.4).
#[derive(Clone, Debug, PartialEq)]
pub struct FacetRequest {
    pub key: Path,
    /// At least 1.
    pub limit: usize,
    pub filter: Option<Filter>,
}

/// Integers before texts, then by value.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum FacetValue {
    Bool(bool),
    Integer(i64),
    Text(String),
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FacetHit {
    pub value: FacetValue,
    pub count: u64,
}

/// Distances among a random sample (PROTOCOL section 9.5).
#[derive(Clone, Debug, PartialEq)]
pub struct MatrixRequest {
    /// At least 2.
    pub sample: usize,
    /// Neighbors per sampled point, at least 1.
    pub limit: usize,
    pub filter: Option<Filter>,
    pub using: VectorName,
}

/// Sampled ids ascending, and for each its nearest others: index into `ids`, shown score.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Matrix {
    pub ids: Vec<PointId>,
    pub rows: Vec<Vec<(usize, f32)>>,
}
