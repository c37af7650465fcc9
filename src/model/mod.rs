//! The nouns of the database: ids, vectors, payloads, filters, queries, collections.
//!
//! Invariants:
//! - Nothing here knows a wire format, a disk format, a clock or a thread.
//! - A value that needs checking is checked by its constructor, once; later rooms do not re-check.
//! - Only types that reach the Raft log, the disk or another node derive serde, and they are written with a self-delimiting
//!   binary format (`postcard`), never as JSON text.
//!
//! What it deliberately does not do: evaluate filters against stored points (`shard`) and speak JSON or protobuf (`api`).

pub mod collection;
pub mod datetime;
pub mod field_index;
pub mod filter;
pub mod formula;
pub mod geo;
pub mod ids;
pub mod payload;
pub mod point;
pub mod query;
pub mod selector;
pub mod vector;
pub mod write;

pub use collection::{CollectionConfig, CollectionName, VectorParams, VectorsConfig};
pub use filter::{Condition, Filter};
pub use ids::{PointId, PointVersion, ShardId, Slot};
pub use payload::{Path, Payload};
pub use point::{Point, Record, ScoredPoint};
pub use query::QueryRequest;
pub use selector::{PayloadSelector, VectorSelector};
pub use vector::{Metric, MultiVector, NamedVectors, SparseVector, Vector, VectorName};
pub use write::{PointOp, PointSelector};
