//! Reads of points: by their ids, page by page, counted.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::errors::from_propose;
use super::merge::first_ids;
use super::query::in_order;
use super::scatter::{Fetch, FetchOf, Found, Nothing, ReadKind, Scattered, ShardRead};
use super::seat::{Seat, View};
use super::{Consistency, Error, ReadOptions, Scope, ScrollPage, Service, before, seen};
use crate::index::Stop;
use crate::model::query::{OrderBy, OrderValue, ScrollRequest};
use crate::model::{Filter, PayloadSelector, PointId, Record, VectorSelector};
use crate::shard::{ReadError, Shard};

impl Service {
    /// In the order of `ids`; duplicates once; unknown ids left out.
    pub async fn retrieve(
        &self,
        scope: impl Into<Scope>,
        ids: Vec<PointId>,
        with_payload: PayloadSelector,
        with_vectors: VectorSelector,
        options: ReadOptions,
    ) -> Result<Vec<Record>, Error> {
        let _inside = self.running.gate.enter()?;
        let scope = &scope.into();
        let read = RecordsRead { ids, with_payload, with_vectors };
        self.current(&scope.collection, || async {
            let view = self.read_view(scope.clone(), options).await?;
            self.admit_retrieve(&view, read.ids.len(), options)?;
            self.barrier(&view, options).await?;
            self.gather_one(&view, read.clone(), options).await
        })
        .await
    }

    /// One page in ascending id order.
    pub async fn scroll(
        &self,
        scope: impl Into<Scope>,
        request: ScrollRequest,
        options: ReadOptions,
    ) -> Result<ScrollPage, Error> {
        let _inside = self.running.gate.enter()?;
        let scope = &scope.into();
        self.current(&scope.collection, || async {
            let view = self.read_view(scope.clone(), options).await?;
            self.admit_scroll(&view, &request, options)?;
            self.barrier(&view, options).await?;
            self.gather_one(&view, request.clone(), options).await
        })
        .await
    }

    /// Exact, always.
    pub async fn count(
        &self,
        scope: impl Into<Scope>,
        filter: Option<Filter>,
        options: ReadOptions,
    ) -> Result<u64, Error> {
        let _inside = self.running.gate.enter()?;
        let scope = &scope.into();
        let read = Count { filter };
        self.current(&scope.collection, || async {
            let view = self.read_view(scope.clone(), options).await?;
            self.admit_count(&view, read.filter.as_ref(), options)?;
            self.barrier(&view, options).await?;
            self.gather_one(&view, read.clone(), options).await
        })
        .await
    }

    /// The shards one read goes to.
    pub(super) async fn read_view(&self, scope: Scope, options: ReadOptions) -> Result<View, Error> {
        self.view_for(&scope.collection, options).await?.read_by(scope.selector(0))
    }

    /// All shards of the collection, waited for as long as the read may take.
    pub(super) async fn view_for(&self, collection: &str, options: ReadOptions) -> Result<View, Error> {
        before(options.deadline, "waiting for the collection", self.view(collection)).await
    }

    /// Waits until every shard has applied what was acknowledged before this call.
    pub(super) async fn barrier(&self, view: &View, options: ReadOptions) -> Result<(), Error> {
        if options.consistency == Consistency::Any {
            seen::note(view);
            return Ok(());
        }
        let barriers = view.shards.iter().map(Seat::barrier);
        let passed = before(options.deadline, "waiting for earlier writes", async {
            futures::future::try_join_all(barriers).await.map_err(from_propose).map(|_| ())
        });
        passed.await.map_err(|error| match error {
            Error::Unavailable { .. } if self.is_gone(view) => {
                Error::CollectionNotFound { name: view.collection.name.clone() }
            }
            other => other,
        })?;
        self.check_not_replaced(view.here()).await?;
        seen::note(view);
        Ok(())
    }
}

/// Records by id; duplicates and unknown ids left out.
#[derive(Clone)]
pub(super) struct RecordsRead {
    pub(super) ids: Vec<PointId>,
    pub(super) with_payload: PayloadSelector,
    pub(super) with_vectors: VectorSelector,
}

impl Scattered for RecordsRead {
    const WHAT: &'static str = "retrieving points";
    type Asked = Nothing;
    type Merged = ();
    type Whole = Vec<Record>;

    fn asked(_read: &Arc<Self>) -> Option<Arc<Nothing>> {
        None
    }

    fn merged(&self, _parts: Vec<()>) {}

    fn fetch(&self, (): &()) -> Option<Fetch> {
        Some(Fetch {
            of: FetchOf::Ids(self.ids.clone()),
            with_payload: self.with_payload.clone(),
            with_vectors: self.with_vectors.clone(),
        })
    }

    fn whole(&self, (): (), mut found: Found, _stop: &Stop) -> Result<Vec<Record>, ReadError> {
        Ok(self.ids.iter().filter_map(|id| found.take(*id)).collect())
    }
}

/// What one shard has of a page.
#[derive(Serialize, Deserialize)]
pub(super) struct ScrollRead {
    filter: Option<Filter>,
    order_by: Option<OrderBy>,
    offset: Option<PointId>,
    limit: usize,
}

/// What one shard has of a page.
#[derive(Serialize, Deserialize)]
pub(super) enum ScrollPart {
    Ids(Vec<PointId>),
    Ordered(Vec<(OrderValue, PointId)>),
}

impl ShardRead for ScrollRead {
    const WHAT: &'static str = "scroll";
    const KIND: ReadKind = ReadKind::Scroll;
    type Part = ScrollPart;

    fn part(&self, shard: &Shard, stop: &Stop) -> Result<ScrollPart, ReadError> {
        let filter = self.filter.as_ref();
        match &self.order_by {
            Some(order) => shard.order_by(order, filter, None, self.limit, stop).map(ScrollPart::Ordered),
            // One more than shown: the first of the next page.
            None => shard.scroll(self.offset, self.limit.saturating_add(1), filter, stop).map(ScrollPart::Ids),
        }
    }
}

/// A page before its points are read.
pub(super) enum PageIds {
    /// By id, each with the place of the shard that shows it, and the first of the next page.
    ById(Vec<(usize, PointId)>, Option<PointId>),
    /// Each as often as it has a value.
    Ordered(Vec<(OrderValue, PointId)>),
}

impl Scattered for ScrollRequest {
    const WHAT: &'static str = "scroll";
    type Asked = ScrollRead;
    type Merged = PageIds;
    type Whole = ScrollPage;

    fn asked(read: &Arc<Self>) -> Option<Arc<ScrollRead>> {
        Some(Arc::new(ScrollRead {
            filter: read.filter.clone(),
            order_by: read.order_by.clone(),
            offset: read.offset,
            limit: read.limit,
        }))
    }

    fn merged(&self, parts: Vec<ScrollPart>) -> PageIds {
        let (mut pages, mut ordered) = (Vec::new(), Vec::new());
        // With custom sharding a point of this id may stand in two shards: pages by id show the first.
        let mut places: HashMap<PointId, usize> = HashMap::new();
        for (place, part) in parts.into_iter().enumerate() {
            match part {
                ScrollPart::Ids(ids) => {
                    for id in &ids {
                        places.entry(*id).or_insert(place);
                    }
                    pages.push(ids);
                }
                ScrollPart::Ordered(part) => ordered.extend(part),
            }
        }
        if let Some(order) = &self.order_by {
            in_order(order, &mut ordered);
            ordered.truncate(self.limit);
            return PageIds::Ordered(ordered);
        }
        let mut ids = first_ids(pages, self.limit.saturating_add(1));
        let next_offset = ids.get(self.limit).copied();
        ids.truncate(self.limit);
        let hits = ids.into_iter().map(|id| (places.get(&id).copied().unwrap_or(0), id)).collect();
        PageIds::ById(hits, next_offset)
    }

    fn fetch(&self, page: &PageIds) -> Option<Fetch> {
        let of = match page {
            PageIds::ById(hits, _) => FetchOf::Hits(hits.clone()),
            PageIds::Ordered(ordered) => FetchOf::Ids(ordered.iter().map(|(_, id)| *id).collect()),
        };
        Some(Fetch { of, with_payload: self.with_payload.clone(), with_vectors: self.with_vectors.clone() })
    }

    fn whole(&self, page: PageIds, mut found: Found, _stop: &Stop) -> Result<ScrollPage, ReadError> {
        match page {
            PageIds::ById(hits, next_offset) => {
                let points = hits.into_iter().filter_map(|(place, id)| found.take_at(place, id)).collect();
                Ok(ScrollPage { points, next_offset })
            }
            PageIds::Ordered(ordered) => {
                let mut records: HashMap<PointId, Record> = HashMap::new();
                let shown = ordered.into_iter().filter_map(|(value, id)| {
                    let record = match records.entry(id) {
                        Entry::Occupied(known) => known.get().clone(),
                        Entry::Vacant(new) => new.insert(found.take(id)?).clone(),
                    };
                    Some(Record { order_value: Some(value), ..record })
                });
                Ok(ScrollPage { points: shown.collect(), next_offset: None })
            }
        }
    }
}

/// Points that match.
#[derive(Clone, Serialize, Deserialize)]
pub(super) struct Count {
    pub(super) filter: Option<Filter>,
}

impl ShardRead for Count {
    const WHAT: &'static str = "count";
    const KIND: ReadKind = ReadKind::Count;
    type Part = u64;

    fn part(&self, shard: &Shard, stop: &Stop) -> Result<u64, ReadError> {
        shard.count(self.filter.as_ref(), stop)
    }
}

impl Scattered for Count {
    const WHAT: &'static str = "count";
    type Asked = Count;
    type Merged = u64;
    type Whole = u64;

    fn asked(read: &Arc<Self>) -> Option<Arc<Count>> {
        Some(Arc::clone(read))
    }

    fn merged(&self, parts: Vec<u64>) -> u64 {
        parts.into_iter().sum()
    }

    fn whole(&self, count: u64, _found: Found, _stop: &Stop) -> Result<u64, ReadError> {
        Ok(count)
    }
}
