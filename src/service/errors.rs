//! Failures of the rooms below as failures of a use case.

use std::sync::Arc;

use super::Error;
use crate::cluster::Refusal;
use crate::raft::{ProposeError, StartError};
use crate::shard::ReadError;
use crate::storage::StorageError;

pub(super) fn from_storage(error: StorageError) -> Error {
    from_shared_storage(Arc::new(error))
}

fn from_shared_storage(source: Arc<StorageError>) -> Error {
    match *source {
        StorageError::OutOfDisk { .. } => Error::OutOfDisk { source },
        _ => Error::Storage { source },
    }
}

pub(super) fn from_read(error: ReadError, what: &'static str) -> Error {
    match error {
        ReadError::Stopped => Error::Timeout { what },
        ReadError::NoRangeIndex { key } => Error::NoRangeIndex { key },
        ReadError::NoFacetIndex { key } => Error::NoFacetIndex { key },
        ReadError::NoScoringIndex { key } => Error::NoScoringIndex { key },
        ReadError::Storage(error) => from_storage(error),
    }
}

pub(super) fn from_propose(error: ProposeError) -> Error {
    match error {
        ProposeError::NoLeader { .. } | ProposeError::Unavailable { .. } => {
            Error::Unavailable { why: error.to_string() }
        }
        ProposeError::QueueFull { .. } => Error::Overloaded { what: "too many writes under way", retry_after_s: 1 },
        ProposeError::Storage(source) => from_shared_storage(source),
        ProposeError::Unknown { .. } => Error::OutcomeUnknown { why: error.to_string() },
    }
}

pub(super) fn from_start(error: StartError) -> Error {
    match error {
        StartError::Storage(error) => from_storage(error),
        other => Error::Unavailable { why: other.to_string() },
    }
}

pub(super) fn from_refusal(refusal: Refusal) -> Error {
    match refusal {
        Refusal::CollectionExists { name } => Error::CollectionExists { name },
        Refusal::NameTaken { name } => Error::NameTaken { name },
        Refusal::CollectionNotFound { name } => Error::CollectionNotFound { name },
        Refusal::AliasNotFound { alias } => Error::AliasNotFound { alias },
        Refusal::VectorNameUnknown { name } => Error::VectorNameUnknown { name },
        Refusal::VectorExists { name, clash } => Error::VectorExists { name, clash },
        Refusal::VectorIsOnlyOne => Error::VectorIsOnlyOne,
        Refusal::ShardKeyExists { key } => Error::ShardKeyExists { key },
        Refusal::ShardKeyNotFound { key } => Error::ShardKeyNotFound { key },
        Refusal::NoShardKeys { key, is_delete } => Error::NoShardKeys { key, is_delete },
        Refusal::NodeUnknown { id } => Error::NodeNotFound { id },
        Refusal::NodeForgotten { id } => {
            Error::Unavailable { why: format!("node {id} was removed from the cluster; start it with an empty volume") }
        }
        Refusal::NodeHoldsShard { id, .. } => Error::NodeHoldsReplicas { id },
        Refusal::NodeChanged { id } => {
            Error::Unavailable { why: format!("the state of node {id} was changed meanwhile; try again") }
        }
        Refusal::ReshardingUnderWay { name } => Error::ReshardingUnderWay { name },
        Refusal::ReshardingKey { is_custom } => Error::ReshardingKey { is_custom },
        Refusal::ShardsAsWanted { count } => Error::ShardsAsWanted { count },
        Refusal::ReshardingChanged { .. } => Error::NoResharding,
        Refusal::PlanOutdated { shard } => {
            Error::Unavailable { why: format!("the replicas of shard {shard} were moved meanwhile; try again") }
        }
        Refusal::CollectionChanged { name } => {
            Error::Unavailable { why: format!("collection {name} was changed meanwhile; try again") }
        }
    }
}
