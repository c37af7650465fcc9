//! Vectors added to a collection that has points, and taken from it (PROTOCOL section 18).

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::scatter::{ReadKind, ShardRead};
use super::seat::View;
use super::shards::RunningShard;
use super::{Consistency, Error, ReadOptions, Service, WriteAck, WriteOptions, WriteStatus, before};
use crate::cluster::MetaCommand;
use crate::index::Stop;
use crate::model::VectorName;
use crate::model::collection::NewVector;
use crate::model::vector::Incarnation;
use crate::shard::{ReadError, Shard};

/// Between two looks at a shard whose vectors' bytes are being removed, while nothing progresses.
const WAIT_STEP: Duration = Duration::from_millis(200);

impl Service {
    /// Adds a vector; points can be written with it when this returns. One that is there already and has the same space
    /// stays as it is.
    ///
    /// Cancel safe: a vector that was proposed is added.
    pub async fn create_vector(
        &self,
        collection: &str,
        name: VectorName,
        vector: NewVector,
        options: WriteOptions,
    ) -> Result<WriteAck, Error> {
        let _inside = self.running.gate.enter()?;
        self.view(collection).await?;
        let command = MetaCommand::CreateVector { collection: collection.to_owned(), name, vector };
        let operation_id = self.change_vectors("creating a vector", &command, options).await?;
        let status = if options.wait { WriteStatus::Completed } else { WriteStatus::Acknowledged };
        Ok(WriteAck { operation_id, status })
    }

    /// Takes a vector, if there is one of this name, from the collection and from all points: no read finds it when this
    /// returns. Its bytes are removed by and by; with `wait` they are gone, too.
    ///
    /// Cancel safe: what was proposed is completed.
    pub async fn delete_vector(
        &self,
        collection: &str,
        name: VectorName,
        options: WriteOptions,
    ) -> Result<WriteAck, Error> {
        let _inside = self.running.gate.enter()?;
        self.view(collection).await?;
        let command = MetaCommand::DropVector { collection: collection.to_owned(), name };
        let operation_id = self.change_vectors("deleting a vector", &command, options).await?;
        if !options.wait {
            return Ok(WriteAck { operation_id, status: WriteStatus::Acknowledged });
        }
        let removed = async {
            let view = self.view(collection).await?;
            for shard in view.here() {
                self.wait_for_removal(&view, shard).await?;
            }
            self.wait_for_distant_removal(&view).await
        };
        match before(options.deadline, "removing a vector", removed).await {
            Ok(()) => Ok(WriteAck { operation_id, status: WriteStatus::Completed }),
            // It goes on being removed.
            Err(Error::Timeout { .. }) => Ok(WriteAck { operation_id, status: WriteStatus::WaitTimeout }),
            Err(error) => Err(error),
        }
    }

    /// Proposes `command` and lets the shards follow; its log index.
    async fn change_vectors(
        &self,
        what: &'static str,
        command: &MetaCommand,
        options: WriteOptions,
    ) -> Result<u64, Error> {
        before(options.deadline, what, async {
            let (index, _) = self.change_meta(command).await?;
            self.settle_everywhere().await?;
            Ok(index)
        })
        .await
    }

    /// Waits until the shard holds no bytes of dropped vectors.
    async fn wait_for_removal(&self, view: &View, shard: &RunningShard) -> Result<(), Error> {
        if shard.shard().lacks_drops(&view.collection.config.dropped_vectors) {
            return Err(not_removed());
        }
        loop {
            let progressed = shard.progressed();
            tokio::pin!(progressed);
            // Registered before the shard is asked, so that no progress in between is missed.
            progressed.as_mut().enable();
            if !shard.shard().has_dropped_bytes() || self.is_gone(view) || shard.check_there().is_err() {
                return Ok(());
            }
            if !self.running.gate.is_open() {
                return Err(Error::Unavailable { why: "the server is shutting down".to_owned() });
            }
            shard.touch();
            self.running.background.wake();
            // Looked at again after a while, lest a shutdown be waited for.
            let _ = tokio::time::timeout(WAIT_STEP, progressed).await;
        }
    }

    /// As [`Service::wait_for_removal`], for the shards on other nodes.
    async fn wait_for_distant_removal(&self, view: &View) -> Result<(), Error> {
        let options = ReadOptions { consistency: Consistency::Any, deadline: None, timeout_s: None };
        while view.here().count() < view.shards.len() && !self.is_gone(view) {
            let dropped = view.collection.config.dropped_vectors.clone();
            match self.ask_all(view, DroppedLeft { dropped }, options).await?.into_iter().max() {
                None | Some(Left::Nothing) => break,
                Some(Left::Bytes) => tokio::time::sleep(WAIT_STEP).await,
                Some(Left::Untold) => return Err(not_removed()),
            }
        }
        Ok(())
    }
}

fn not_removed() -> Error {
    let why = "the vector is gone, but its data could not be removed yet: see the server's log".to_owned();
    Error::Unavailable { why }
}

/// What is left of dropped vectors in a shard.
#[derive(Serialize, Deserialize)]
pub(super) struct DroppedLeft {
    dropped: BTreeMap<VectorName, Incarnation>,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) enum Left {
    Nothing,
    Bytes,
    /// Its log does not know that they were dropped.
    Untold,
}

impl ShardRead for DroppedLeft {
    const WHAT: &'static str = "removing a vector";
    const KIND: ReadKind = ReadKind::Dropped;
    type Part = Left;

    fn part(&self, shard: &Shard, _stop: &Stop) -> Result<Left, ReadError> {
        Ok(match (shard.lacks_drops(&self.dropped), shard.has_dropped_bytes()) {
            (true, _) => Left::Untold,
            (false, true) => Left::Bytes,
            (false, false) => Left::Nothing,
        })
    }
}

#[cfg(test)]
#[path = "vector_names_tests.rs"]
mod tests;
