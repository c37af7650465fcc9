//! Shard keys of collections with custom sharding (PROTOCOL section 18).

use std::collections::BTreeSet;
use std::time::Instant;

use super::collections::SHARDS_PER_COLLECTION_MAX;
use super::{Error, Service, before};
use crate::cluster::MetaCommand;
use crate::model::collection::ShardKey;

/// A shard key to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewShardKey {
    /// Its name.
    pub key: ShardKey,
    /// At least 1; absent: the collection's `shard_number`.
    pub shard_count: Option<u32>,
    /// How many replicas each of its shards has; absent: as the collection says.
    pub replication_factor: Option<u32>,
    /// Nodes that are to hold the shards at first, each once; empty: any.
    pub placement: Vec<u64>,
}

impl Service {
    /// Creates a key with empty shards; they can be written to when this returns.
    pub async fn create_shard_key(
        &self,
        collection: &str,
        new: NewShardKey,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let _inside = self.running.gate.enter()?;
        let NewShardKey { key, shard_count, replication_factor, mut placement } = new;
        let mut seen = BTreeSet::new();
        placement.retain(|node| seen.insert(*node));
        let state = self.running.meta.state();
        let is_known = |node: &u64| state.layout().nodes().contains_key(node);
        let nodes: Vec<u64> = placement.iter().copied().filter(|node| !is_known(node)).collect();
        if !nodes.is_empty() {
            return Err(Error::UnknownNodes { key, nodes });
        }
        let current = self.collection(collection)?;
        let wanted = shard_count.unwrap_or(current.config.shard_number) as usize;
        if current.shards.len().saturating_add(wanted) > SHARDS_PER_COLLECTION_MAX as usize {
            let what = format!("more than {SHARDS_PER_COLLECTION_MAX} shards in one collection");
            return Err(Error::Unimplemented { what });
        }
        let command = MetaCommand::CreateShardKey {
            collection: collection.to_owned(),
            key,
            shard_count,
            replication_factor,
            placement,
        };
        self.change_shard_keys("creating a shard key", command, deadline).await
    }

    /// Deletes a key with all points of its shards; their data is gone when this returns.
    pub async fn delete_shard_key(
        &self,
        collection: &str,
        key: ShardKey,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        let _inside = self.running.gate.enter()?;
        let command = MetaCommand::DeleteShardKey { collection: collection.to_owned(), key };
        self.change_shard_keys("deleting a shard key", command, deadline).await
    }

    /// Sorted; empty without custom sharding.
    pub fn shard_keys(&self, collection: &str) -> Result<Vec<ShardKey>, Error> {
        Ok(self.collection(collection)?.shard_keys.keys().cloned().collect())
    }

    async fn change_shard_keys(
        &self,
        what: &'static str,
        command: MetaCommand,
        deadline: Option<Instant>,
    ) -> Result<(), Error> {
        before(deadline, what, async {
            self.change_meta(&command).await?;
            self.settle_everywhere().await
        })
        .await
    }
}
