//! Vectors added to a collection that has points, and taken from it (PROTOCOL section 18).

use std::time::Duration;

use super::collections::View;
use super::shards::RunningShard;
use super::{Error, Service, WriteAck, WriteOptions, WriteStatus, before};
use crate::cluster::MetaCommand;
use crate::model::VectorName;
use crate::model::collection::NewVector;

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
            for shard in view.shards.iter() {
                self.wait_for_removal(&view, shard).await?;
            }
            Ok(())
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
            self.settle().await?;
            Ok(index)
        })
        .await
    }

    /// Waits until the shard holds no bytes of dropped vectors.
    async fn wait_for_removal(&self, view: &View, shard: &RunningShard) -> Result<(), Error> {
        if shard.shard().lacks_drops(&view.collection.config.dropped_vectors) {
            let why = "the vector is gone, but its data could not be removed yet: see the server's log".to_owned();
            return Err(Error::Unavailable { why });
        }
        loop {
            let progressed = shard.progressed();
            tokio::pin!(progressed);
            // Registered before the shard is asked, so that no progress in between is missed.
            progressed.as_mut().enable();
            if !shard.shard().has_dropped_bytes() || self.is_gone(view) {
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
}

#[cfg(test)]
#[path = "vector_names_tests.rs"]
mod tests;
