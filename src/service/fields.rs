//! Field indexes: made, removed, waited for; and facets, which need one.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::scatter::{Found, ReadKind, Scattered, ShardRead};
use super::seat::View;
use super::shards::RunningShard;
use super::write::TIMED_OUT;
use super::{Consistency, Error, ReadOptions, Scope, Service, WriteAck, WriteOptions, WriteStatus, before};
use crate::cluster::MetaCommand;
use crate::index::Stop;
use crate::model::field_index::{FieldIndexKind, FieldIndexSchema};
use crate::model::query::{FacetHit, FacetRequest, FacetValue};
use crate::model::{Filter, Path};
use crate::shard::{ReadError, Shard};

/// Between two looks at whether an index is still wanted, while nothing progresses.
const WAIT_STEP: Duration = Duration::from_secs(1);
/// Between two looks at shards on other nodes.
const DISTANT_WAIT_STEP: Duration = Duration::from_millis(100);

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
            for shard in view.here() {
                self.wait_for_field(&view, shard, &path, &kind).await?;
            }
            self.wait_for_distant_fields(&view, &path, &kind).await
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
            self.settle_everywhere().await?;
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
            // What has taken its place builds the index, too.
            if shard.shard().has_field_index(path, kind) || shard.check_there().is_err() {
                return Ok(());
            }
            if !self.is_field_wanted(view, path, kind)? {
                return Ok(());
            }
            shard.touch();
            self.running.background.wake();
            // Looked at again after a while, lest a shutdown be waited for.
            let _ = tokio::time::timeout(WAIT_STEP, progressed).await;
        }
    }

    /// As [`Service::wait_for_field`], for the shards on other nodes.
    pub(super) async fn wait_for_distant_fields(
        &self,
        view: &View,
        path: &Path,
        kind: &FieldIndexKind,
    ) -> Result<(), Error> {
        let options = ReadOptions { consistency: Consistency::Any, deadline: None, timeout_s: None };
        while view.here().count() < view.shards.len() {
            let built = self.ask_all(view, FieldBuilt { path: path.clone(), kind: kind.clone() }, options).await?;
            if built.into_iter().all(|is_built| is_built) || !self.is_field_wanted(view, path, kind)? {
                break;
            }
            tokio::time::sleep(DISTANT_WAIT_STEP).await;
        }
        Ok(())
    }

    /// Whether an index is still asked for.
    fn is_field_wanted(&self, view: &View, path: &Path, kind: &FieldIndexKind) -> Result<bool, Error> {
        let name = &view.collection.name;
        if self.is_gone(view) {
            return Err(Error::CollectionNotFound { name: name.clone() });
        }
        if !self.running.gate.is_open() {
            return Err(Error::Unavailable { why: "the server is shutting down".to_owned() });
        }
        let wanted = self.collection(name)?.config.field_indexes.get(path).map(|schema| schema.kind.clone());
        Ok(wanted.as_ref() == Some(kind))
    }

    /// How many points have each of the most frequent values of a field.
    pub async fn facet(
        &self,
        scope: impl Into<Scope>,
        request: FacetRequest,
        options: ReadOptions,
    ) -> Result<Vec<FacetHit>, Error> {
        let _inside = self.running.gate.enter()?;
        let scope = &scope.into();
        self.current(&scope.collection, || async {
            let view = self.read_view(scope.clone(), options).await?;
            self.admit_facet(&view, &request, options)?;
            self.barrier(&view, options).await?;
            // A value that is rare in every shard may be frequent in all; one shard knows the whole.
            let values_max = if view.shards.len() == 1 { request.limit } else { usize::MAX };
            let FacetRequest { key, filter, limit } = request.clone();
            self.gather_one(&view, Facets { asked: Arc::new(Facet { key, filter, values_max }), limit }, options).await
        })
        .await
    }
}

/// Whether a shard has built an index.
#[derive(Serialize, Deserialize)]
pub(super) struct FieldBuilt {
    path: Path,
    kind: FieldIndexKind,
}

impl ShardRead for FieldBuilt {
    const WHAT: &'static str = "building a field index";
    const KIND: ReadKind = ReadKind::FieldBuilt;
    type Part = bool;

    fn part(&self, shard: &Shard, _stop: &Stop) -> Result<bool, ReadError> {
        Ok(shard.has_field_index(&self.path, &self.kind))
    }
}

/// The most frequent values of a field in a shard.
#[derive(Serialize, Deserialize)]
pub(super) struct Facet {
    key: Path,
    filter: Option<Filter>,
    /// Values that the shard is asked for.
    values_max: usize,
}

impl ShardRead for Facet {
    const WHAT: &'static str = "facet";
    const KIND: ReadKind = ReadKind::Facet;
    type Part = Vec<FacetHit>;

    fn part(&self, shard: &Shard, stop: &Stop) -> Result<Vec<FacetHit>, ReadError> {
        shard.facet(&self.key, self.filter.as_ref(), self.values_max, stop)
    }
}

struct Facets {
    asked: Arc<Facet>,
    limit: usize,
}

impl Scattered for Facets {
    const WHAT: &'static str = "facet";
    type Asked = Facet;
    type Merged = Vec<FacetHit>;
    type Whole = Vec<FacetHit>;

    fn asked(read: &Arc<Self>) -> Option<Arc<Facet>> {
        Some(Arc::clone(&read.asked))
    }

    fn merged(&self, parts: Vec<Vec<FacetHit>>) -> Vec<FacetHit> {
        let mut counts: BTreeMap<FacetValue, u64> = BTreeMap::new();
        for hit in parts.into_iter().flatten() {
            *counts.entry(hit.value).or_default() += hit.count;
        }
        let mut hits: Vec<FacetHit> = counts.into_iter().map(|(value, count)| FacetHit { value, count }).collect();
        // Stable: values of one count stay in their order.
        hits.sort_by_key(|hit| std::cmp::Reverse(hit.count));
        hits.truncate(self.limit);
        hits
    }

    fn whole(&self, hits: Vec<FacetHit>, _found: Found, _stop: &Stop) -> Result<Vec<FacetHit>, ReadError> {
        Ok(hits)
    }
}

#[cfg(test)]
#[path = "fields_tests.rs"]
mod tests;
