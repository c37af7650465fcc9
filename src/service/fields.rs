//! Field indexes: made, removed, waited for; and facets, which need one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use super::collections::View;
use super::read::Scattered;
use super::shards::RunningShard;
use super::write::TIMED_OUT;
use super::{Error, ReadOptions, Scope, Service, WriteAck, WriteOptions, WriteStatus, before};
use crate::cluster::MetaCommand;
use crate::index::Stop;
use crate::model::Path;
use crate::model::field_index::{FieldIndexKind, FieldIndexSchema};
use crate::model::query::{FacetHit, FacetRequest, FacetValue};
use crate::shard::{ReadError, Shard};

/// Between two looks at whether an index is still wanted, while nothing progresses.
const WAIT_STEP: Duration = Duration::from_secs(1);

impl Service {
    /// Makes an index of the field, or makes it anew if it has other parameters. It answers when every shard has built
    /// it; with `wait` that is when this returns.
    ///
    /// Cancel safe: an index that was asked for is built.
    pub async fn create_field_index(
        &self,
        collection: &str,
        path: Path,
        schema: FieldIndexSchema,
        options: WriteOptions,
    ) -> Result<WriteAck, Error> {
        let _inside = self.running.gate.enter()?;
        let view = self.view(collection).await?;
        self.admit_field_index(&view, &path)?;
        let kind = schema.kind.clone();
        let command = MetaCommand::CreateFieldIndex { name: collection.to_owned(), path: path.clone(), schema };
        let Some(operation_id) = self.change_fields(command, options).await? else { return Ok(TIMED_OUT) };
        if !options.wait {
            return Ok(WriteAck { operation_id, status: WriteStatus::Acknowledged });
        }
        let built = async {
            for shard in view.shards.iter() {
                self.wait_for_field(&view, shard, &path, &kind).await?;
            }
            Ok(())
        };
        match before(options.deadline, "building a field index", built).await {
            Ok(()) => Ok(WriteAck { operation_id, status: WriteStatus::Completed }),
            // It is being built all the same.
            Err(Error::Timeout { .. }) => Ok(WriteAck { operation_id, status: WriteStatus::WaitTimeout }),
            Err(error) => Err(error),
        }
    }

    /// Removes the field's index, if there is one.
    pub async fn delete_field_index(
        &self,
        collection: &str,
        path: Path,
        options: WriteOptions,
    ) -> Result<WriteAck, Error> {
        let _inside = self.running.gate.enter()?;
        self.view(collection).await?;
        let command = MetaCommand::DeleteFieldIndex { name: collection.to_owned(), path };
        let Some(operation_id) = self.change_fields(command, options).await? else { return Ok(TIMED_OUT) };
        let status = if options.wait { WriteStatus::Completed } else { WriteStatus::Acknowledged };
        Ok(WriteAck { operation_id, status })
    }

    /// Proposes `command` and tells the shards; its log index. `None`: the deadline passed first.
    async fn change_fields(&self, command: MetaCommand, options: WriteOptions) -> Result<Option<u64>, Error> {
        let changed = before(options.deadline, "changing field indexes", async {
            let (index, _) = self.change_meta(&command).await?;
            self.settle().await?;
            Ok(index)
        });
        match changed.await {
            Ok(index) => Ok(Some(index)),
            Err(Error::Timeout { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Waits until the shard has built the index, or nobody wants it any more.
    async fn wait_for_field(
        &self,
        view: &View,
        shard: &RunningShard,
        path: &Path,
        kind: &FieldIndexKind,
    ) -> Result<(), Error> {
        loop {
            let progressed = shard.progressed();
            tokio::pin!(progressed);
            // Registered before the shard is asked, so that no progress in between is missed.
            progressed.as_mut().enable();
            if shard.shard().has_field_index(path, kind) {
                return Ok(());
            }
            let name = &view.collection.name;
            if self.is_gone(view) {
                return Err(Error::CollectionNotFound { name: name.clone() });
            }
            let wanted = self.collection(name)?.config.field_indexes.get(path).map(|schema| schema.kind.clone());
            if wanted.as_ref() != Some(kind) {
                return Ok(());
            }
            self.running
                .gate
                .is_open()
                .then_some(())
                .ok_or_else(|| Error::Unavailable { why: "the server is shutting down".to_owned() })?;
            shard.touch();
            self.running.background.wake();
            // Looked at again after a while, lest a shutdown be waited for.
            let _ = tokio::time::timeout(WAIT_STEP, progressed).await;
        }
    }

    /// How many points have each of the most frequent values of a field.
    pub async fn facet(
        &self,
        scope: impl Into<Scope>,
        request: FacetRequest,
        options: ReadOptions,
    ) -> Result<Vec<FacetHit>, Error> {
        let _inside = self.running.gate.enter()?;
        let view = self.read_view(scope.into(), options).await?;
        self.admit_facet(&view, &request, options)?;
        self.barrier(&view, options).await?;
        // A value that is rare in every shard may be frequent in all; one shard knows the whole.
        let values_max = if view.shards.len() == 1 { request.limit } else { usize::MAX };
        self.gather_one(&view, Facet { request, values_max }, options).await
    }
}

struct Facet {
    request: FacetRequest,
    /// Values that each shard is asked for.
    values_max: usize,
}

impl Scattered for Facet {
    const WHAT: &'static str = "facet";
    type Part = Vec<FacetHit>;
    type Whole = Vec<FacetHit>;

    fn part(&self, shard: &Shard, stop: &Stop) -> Result<Vec<FacetHit>, ReadError> {
        shard.facet(&self.request.key, self.request.filter.as_ref(), self.values_max, stop)
    }

    fn whole(
        &self,
        _shards: &[Arc<RunningShard>],
        parts: Vec<Vec<FacetHit>>,
        _stop: &Stop,
    ) -> Result<Vec<FacetHit>, ReadError> {
        let mut counts: BTreeMap<FacetValue, u64> = BTreeMap::new();
        for hit in parts.into_iter().flatten() {
            *counts.entry(hit.value).or_default() += hit.count;
        }
        let mut hits: Vec<FacetHit> = counts.into_iter().map(|(value, count)| FacetHit { value, count }).collect();
        // Stable: values of one count stay in their order.
        hits.sort_by_key(|hit| std::cmp::Reverse(hit.count));
        hits.truncate(self.request.limit);
        Ok(hits)
    }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
