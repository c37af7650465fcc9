//! Reads that every shard answers in part: asked of all at once, wherever they are, put together here.
//!
//! The way of one read: each shard is asked ([`ShardRead`]), the parts are merged, what is shown of the points that were found
//! is fetched from their shards, and the answer is made of that ([`Scattered`]). With one shard on this node all of it is one
//! job on the search pool, with all shards on this node two; no job ever waits for another node.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::try_join_all;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::errors::from_read;
use super::seat::{Seat, View};
use super::{Error, ReadOptions, Service};
use crate::index::Stop;
use crate::model::collection::ShardKey;
use crate::model::{PayloadSelector, PointId, Record, VectorSelector};
use crate::shard::{ReadError, Shard};

/// Points fetched between two looks at the stop flag.
const FETCH_POINTS_MAX: usize = 256;

/// What one shard is asked. It may travel to another node, and the answer back.
pub(super) trait ShardRead: Serialize + DeserializeOwned + Send + Sync + 'static {
    /// Names the read in errors.
    const WHAT: &'static str;
    /// Names the read between nodes.
    const KIND: ReadKind;
    type Part: Serialize + DeserializeOwned + Send + 'static;

    /// What the shard finds.
    fn part(&self, shard: &Shard, stop: &Stop) -> Result<Self::Part, ReadError>;
}

/// What kinds of reads there are, as nodes tell each other: places in this list.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum ReadKind {
    Get,
    Scroll,
    Count,
    Level,
    Formula,
    Corpus,
    Texts,
    Facet,
    Figures,
    Memory,
    Sizes,
    FieldBuilt,
    Dropped,
}

/// A read of a collection.
pub(super) trait Scattered: Send + Sync + 'static {
    /// Names the read in errors.
    const WHAT: &'static str;
    type Asked: ShardRead;
    type Merged: Send + 'static;
    type Whole: Send + 'static;

    /// What every shard is asked; `None`: nothing, and [`Scattered::merged`] gets no parts.
    fn asked(read: &Arc<Self>) -> Option<Arc<Self::Asked>>;

    /// Whether one shard's whole answer is over sooner than another thread would begin it.
    fn is_quick(&self, _shard: &Shard) -> bool {
        false
    }

    /// What all shards found, from the parts in their order.
    fn merged(&self, parts: Vec<<Self::Asked as ShardRead>::Part>) -> Self::Merged;

    /// What is then read of single points.
    fn fetch(&self, _merged: &Self::Merged) -> Option<Fetch> {
        None
    }

    /// The answer.
    fn whole(&self, merged: Self::Merged, found: Found, stop: &Stop) -> Result<Self::Whole, ReadError>;
}

/// For reads that ask nothing but points.
#[derive(Serialize, Deserialize)]
pub(super) enum Nothing {}

impl ShardRead for Nothing {
    const WHAT: &'static str = "nothing";
    const KIND: ReadKind = ReadKind::Get;
    type Part = ();

    fn part(&self, _shard: &Shard, _stop: &Stop) -> Result<(), ReadError> {
        match *self {}
    }
}

/// Points that are to be read.
pub(super) struct Fetch {
    pub(super) of: FetchOf,
    pub(super) with_payload: PayloadSelector,
    pub(super) with_vectors: VectorSelector,
}

/// Which points are to be read.
pub(super) enum FetchOf {
    /// Each of the shard it was found in, by that shard's place.
    Hits(Vec<(usize, PointId)>),
    /// Wherever they are.
    Ids(Vec<PointId>),
}

/// Points that were read.
#[derive(Default)]
pub(super) struct Found {
    records: HashMap<(usize, PointId), Record>,
    keys: Vec<Option<ShardKey>>,
}

impl Found {
    /// The point as the shard of this place has it.
    pub(super) fn at(&self, place: usize, id: PointId) -> Option<&Record> {
        self.records.get(&(place, id))
    }

    /// As [`Found::at`], for who needs it once.
    pub(super) fn take_at(&mut self, place: usize, id: PointId) -> Option<Record> {
        self.records.remove(&(place, id))
    }

    /// The point as the first shard has it that does, for who needs it once.
    pub(super) fn take(&mut self, id: PointId) -> Option<Record> {
        (0..self.keys.len()).find_map(|place| self.take_at(place, id))
    }

    /// The key of the shard of this place.
    pub(super) fn key(&self, place: usize) -> Option<ShardKey> {
        self.keys.get(place).cloned().flatten()
    }

    fn add(&mut self, place: usize, records: Vec<Record>) {
        let key = self.key(place);
        let keyed = records.into_iter().map(|record| ((place, record.id), Record { shard_key: key.clone(), ..record }));
        self.records.extend(keyed);
    }
}

/// Points of one shard by their ids.
#[derive(Serialize, Deserialize)]
pub(super) struct Get {
    ids: Vec<PointId>,
    with_payload: PayloadSelector,
    with_vectors: VectorSelector,
}

impl ShardRead for Get {
    const WHAT: &'static str = "retrieving points";
    const KIND: ReadKind = ReadKind::Get;
    type Part = Vec<Record>;

    fn part(&self, shard: &Shard, stop: &Stop) -> Result<Vec<Record>, ReadError> {
        let mut records = Vec::with_capacity(self.ids.len());
        for chunk in self.ids.chunks(FETCH_POINTS_MAX) {
            if stop.is_raised() {
                return Err(ReadError::Stopped);
            }
            records.extend(shard.get(chunk, &self.with_payload, &self.with_vectors)?);
        }
        Ok(records)
    }
}

impl Fetch {
    /// What each shard is asked, by its place; each id once.
    fn per_shard(self, shards: &[Seat]) -> Vec<(usize, Get)> {
        let mut seen = HashSet::new();
        let mut ids: Vec<Vec<PointId>> = vec![Vec::new(); shards.len()];
        match self.of {
            FetchOf::Hits(hits) => {
                for (place, id) in hits {
                    if let Some(ids) = ids.get_mut(place)
                        && seen.insert((place, id))
                    {
                        ids.push(id);
                    }
                }
            }
            FetchOf::Ids(all) => {
                for id in all {
                    let slot = id.hash_slot();
                    for (place, ids) in ids.iter_mut().enumerate() {
                        if shards.get(place).is_some_and(|seat| seat.owns(slot)) && seen.insert((place, id)) {
                            ids.push(id);
                        }
                    }
                }
            }
        }
        let (with_payload, with_vectors) = (self.with_payload, self.with_vectors);
        let get = |ids| Get { ids, with_payload: with_payload.clone(), with_vectors: with_vectors.clone() };
        let asked = ids.into_iter().enumerate().filter(|(_, ids)| !ids.is_empty());
        asked.map(|(place, ids)| (place, get(ids))).collect()
    }
}

/// Where a read stands once the parts are merged.
enum Merged<R: Scattered> {
    Done(R::Whole),
    ToFetch(R::Merged, Fetch),
}

/// Everything after the shards have answered, as far as it goes without other nodes.
fn merge<R: Scattered>(
    read: &R,
    parts: Vec<<R::Asked as ShardRead>::Part>,
    view: &View,
    stop: &Stop,
) -> Result<Merged<R>, ReadError> {
    let merged = read.merged(parts);
    let mut found = Found { records: HashMap::new(), keys: view.keys() };
    if let Some(fetch) = read.fetch(&merged) {
        if view.shards.iter().any(|seat| seat.here().is_none()) {
            return Ok(Merged::ToFetch(merged, fetch));
        }
        for (place, get) in fetch.per_shard(&view.shards) {
            if let Some(running) = view.shards.get(place).and_then(Seat::here) {
                found.add(place, get.part(&running.shard(), stop)?);
            }
        }
    }
    read.whole(merged, found, stop).map(Merged::Done)
}

impl Service {
    /// As [`Service::gather`], for one read.
    pub(super) async fn gather_one<R: Scattered>(
        &self,
        view: &View,
        read: R,
        options: ReadOptions,
    ) -> Result<R::Whole, Error> {
        let wholes = self.gather(view, vec![read], options).await?;
        wholes.into_iter().next().ok_or_else(|| Error::Unavailable { why: format!("{} has no answer", R::WHAT) })
    }

    /// Runs `reads`, answers in their order: on the pool, on other nodes, or one that is quick right here.
    pub(super) async fn gather<R: Scattered>(
        &self,
        view: &View,
        reads: Vec<R>,
        options: ReadOptions,
    ) -> Result<Vec<R::Whole>, Error> {
        let wholes = self.gather_all(view, reads, options).await?;
        view.here().try_for_each(|running| running.check_there())?;
        Ok(wholes)
    }

    async fn gather_all<R: Scattered>(
        &self,
        view: &View,
        reads: Vec<R>,
        options: ReadOptions,
    ) -> Result<Vec<R::Whole>, Error> {
        let pool = &self.running.pool;
        let reads: Vec<Arc<R>> = reads.into_iter().map(Arc::new).collect();
        if let Some(running) = view.one_here() {
            let jobs = reads.iter().map(|read| {
                let (read, view, running) = (Arc::clone(read), view.clone(), Arc::clone(running));
                move |stop: &Stop| {
                    let shard = running.shard();
                    let part = R::asked(&read).map(|asked| asked.part(&shard, stop)).transpose();
                    let whole = part.and_then(|part| merge(&*read, part.into_iter().collect(), &view, stop));
                    match whole.map_err(|error| from_read(error, R::WHAT))? {
                        Merged::Done(whole) => Ok(whole),
                        Merged::ToFetch(..) => Err(Error::Unavailable { why: "a shard has moved".to_owned() }),
                    }
                }
            });
            if let [read] = reads.as_slice()
                && read.is_quick(&running.shard())
            {
                return pool.run_here(R::WHAT, options.deadline, jobs);
            }
            return pool.run_all(R::WHAT, options.deadline, jobs.collect()).await;
        }
        let asked: Vec<Arc<R::Asked>> = reads.iter().filter_map(R::asked).collect();
        let everywhere = (0..view.shards.len()).map(|place| (place, asked.clone())).collect();
        let mut of_shards: Vec<_> =
            self.scatter(view, everywhere, options).await?.into_iter().map(Vec::into_iter).collect();
        let jobs = reads.iter().map(|read| {
            let (read, view) = (Arc::clone(read), view.clone());
            let parts = of_shards.iter_mut().filter_map(Iterator::next).collect();
            move |stop: &Stop| merge(&*read, parts, &view, stop).map_err(|error| from_read(error, R::WHAT))
        });
        let jobs: Vec<_> = jobs.collect();
        let merged = pool.run_all(R::WHAT, options.deadline, jobs).await?;
        let wholes = reads.into_iter().zip(merged).map(|(read, merged)| async move {
            match merged {
                Merged::Done(whole) => Ok(whole),
                Merged::ToFetch(merged, fetch) => {
                    let found = self.fetch(view, fetch, options).await?;
                    let job =
                        move |stop: &Stop| read.whole(merged, found, stop).map_err(|error| from_read(error, R::WHAT));
                    pool.run(R::WHAT, options.deadline, job).await
                }
            }
        });
        try_join_all(wholes).await
    }

    async fn fetch(&self, view: &View, fetch: Fetch, options: ReadOptions) -> Result<Found, Error> {
        let asked: Vec<(usize, Vec<Arc<Get>>)> =
            fetch.per_shard(&view.shards).into_iter().map(|(place, get)| (place, vec![Arc::new(get)])).collect();
        let places: Vec<usize> = asked.iter().map(|(place, _)| *place).collect();
        let parts = self.scatter(view, asked, options).await?;
        let mut found = Found { records: HashMap::new(), keys: view.keys() };
        places.into_iter().zip(parts).for_each(|(place, records)| found.add(place, records.concat()));
        Ok(found)
    }

    /// What every shard of the view has to say.
    pub(super) async fn ask_all<A: ShardRead>(
        &self,
        view: &View,
        asked: A,
        options: ReadOptions,
    ) -> Result<Vec<A::Part>, Error> {
        let asked = Arc::new(asked);
        let everywhere = (0..view.shards.len()).map(|place| (place, vec![Arc::clone(&asked)])).collect();
        let parts = self.scatter(view, everywhere, options).await?;
        view.here().try_for_each(|running| running.check_there())?;
        Ok(parts.into_iter().flatten().collect())
    }

    /// Asks the shards of these places; what each answers to each of its questions.
    async fn scatter<A: ShardRead>(
        &self,
        view: &View,
        asked: Vec<(usize, Vec<Arc<A>>)>,
        options: ReadOptions,
    ) -> Result<Vec<Vec<A::Part>>, Error> {
        let (mut jobs, mut distant) = (Vec::new(), Vec::new());
        for (number, (place, asked)) in asked.iter().enumerate().filter(|(_, (_, asked))| !asked.is_empty()) {
            match view.shards.get(*place) {
                Some(Seat::Here(running)) => jobs.extend(asked.iter().map(|asked| {
                    let (asked, shard) = (Arc::clone(asked), running.shard());
                    move |stop: &Stop| {
                        let part = asked.part(&shard, stop).map_err(|error| from_read(error, A::WHAT))?;
                        Ok((number, part))
                    }
                })),
                Some(Seat::There(shard)) => distant.push(async move {
                    let parts = Box::pin(self.ask_distant(shard, asked, options)).await?;
                    Ok((number, parts))
                }),
                None => {}
            }
        }
        let here = self.running.pool.run_all(A::WHAT, options.deadline, jobs);
        let (here, there) = futures::try_join!(here, try_join_all(distant))?;
        let mut parts: Vec<Vec<A::Part>> = asked.iter().map(|_| Vec::new()).collect();
        let there = there.into_iter().flat_map(|(number, parts)| parts.into_iter().map(move |part| (number, part)));
        for (number, part) in here.into_iter().chain(there) {
            if let Some(parts) = parts.get_mut(number) {
                parts.push(part);
            }
        }
        Ok(parts)
    }
}
