//! Snapshots are made from read views: writes go on meanwhile.

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::sync::Arc;

use futures::StreamExt;
use tokio::sync::mpsc;

use super::format::{CollectionHeader, Contents, Writer, Written};
use super::store::ChunkWriter;
use super::{SnapshotBody, SnapshotDescription, SnapshotError, SnapshotsOf, joined};
use crate::cluster::Meta;
use crate::model::collection::CollectionName;
use crate::service::seat::View;
use crate::service::{Consistency, Error, ReadOptions, Service};

/// What a snapshot is made of.
pub(super) struct Source {
    contents: Contents,
    /// With the places of the shards that are written.
    views: Vec<(View, Vec<usize>)>,
    meta: Arc<Meta>,
}

impl Source {
    /// Writes everything. Blocks.
    pub(super) fn write<W: Write>(&self, out: W) -> Result<Written<W>, SnapshotError> {
        let mut writer = Writer::new(out, &self.contents)?;
        for (view, places) in &self.views {
            let collection = &view.collection;
            let shards = view.shards.iter().map(|seat| seat.place().clone());
            writer.collection(&CollectionHeader::new(&collection.name, collection.config.clone(), shards))?;
            let stored = collection.config.stored_names();
            let here = places.iter().filter_map(|place| Some((*place, view.shards.get(*place)?.here()?)));
            for (place, running) in here {
                writer.shard(place, &running.shard(), &stored)?;
            }
            // A shard that is gone holds nothing, and says so only afterwards.
            if !self.is_as_it_was(view) {
                return Err(SnapshotError::Gone { name: collection.name.clone() });
            }
        }
        writer.finish()
    }

    fn is_as_it_was(&self, view: &View) -> bool {
        let state = self.meta.state();
        state.collection(&view.collection.name).is_some_and(|current| {
            current.created_index == view.collection.created_index
                && view.shards.iter().all(|seat| current.shards.contains(&seat.id()))
        })
    }
}

impl Service {
    /// Makes a snapshot; it is listed once it is whole.
    ///
    /// Cancel safe: the work goes on in a task of its own.
    pub async fn create_snapshot(&self, of: &SnapshotsOf) -> Result<SnapshotDescription, Error> {
        let shelf = self.shelf(of)?;
        let (service, of) = (self.clone(), of.clone());
        let create = async move {
            let _inside = service.running.gate.enter()?;
            let _turn = service.running.snapshots.turn().await?;
            let source = service.source(&of).await?;
            service.running.snapshots.save(&shelf, source).await
        };
        joined(tokio::spawn(create).await)
    }

    /// A snapshot of the shard, made while it is read; it is kept nowhere.
    pub async fn stream_shard_snapshot(&self, collection: &str, number: u64) -> Result<SnapshotBody, Error> {
        let of = SnapshotsOf::Shard(collection.to_owned(), number);
        let name = self.shelf(&of)?.new_name();
        let inside = self.running.gate.enter()?;
        let turn = self.running.snapshots.turn().await?;
        let source = self.source(&of).await?;
        let (out, chunks) = ChunkWriter::new();
        let writing = tokio::task::spawn_blocking(move || {
            let outcome = source.write(out).and_then(ChunkWriter::finish);
            drop((inside, turn));
            outcome
        });
        let ending = async move {
            let error = joined(writing.await).err()?;
            tracing::warn!(%error, "a streamed snapshot was cut off");
            Some(Err(io::Error::other(error)))
        };
        let chunks = all_of(chunks).map(Ok).chain(futures::stream::once(ending).filter_map(std::future::ready)).boxed();
        Ok(SnapshotBody { name, size: None, chunks })
    }

    /// Sees every write acknowledged before the call.
    async fn source(&self, of: &SnapshotsOf) -> Result<Source, Error> {
        let meta = Arc::clone(&self.running.meta);
        let (contents, views) = match of {
            SnapshotsOf::Collection(name) => (Contents::Collection, vec![self.whole(name).await?]),
            SnapshotsOf::Shard(name, number) => {
                let view = self.view(name).await?;
                let id = view.collection.shard_numbered(*number);
                let place = view.shards.iter().position(|seat| Some(seat.id()) == id);
                let place = place.ok_or(Error::ShardNotFound { number: *number })?;
                (Contents::Shard { number: *number }, vec![(view, vec![place])])
            }
            SnapshotsOf::Node => {
                let state = meta.state();
                let mut views = Vec::new();
                for collection in state.collections().filter(|one| !CollectionName::is_restoring(&one.name)) {
                    match self.whole(&collection.name).await {
                        // Deleted meanwhile.
                        Err(Error::CollectionNotFound { .. }) => {}
                        whole => views.push(whole?),
                    }
                }
                let is_held = |name: &str| views.iter().any(|(view, _)| view.collection.name == name);
                let of_both = |(alias, collection): (&str, &str)| (alias.to_owned(), collection.to_owned());
                let held = state.aliases().filter(|(_, collection)| is_held(collection));
                let aliases: BTreeMap<String, String> = held.map(of_both).collect();
                (Contents::Node { aliases }, views)
            }
        };
        for (view, places) in &views {
            if places.iter().any(|place| view.shards.get(*place).is_some_and(|seat| seat.here().is_none())) {
                let what = format!("a snapshot of shards of {} on other nodes", view.collection.name);
                return Err(Error::Unimplemented { what });
            }
            let now = ReadOptions { consistency: Consistency::Linearizable, deadline: None, timeout_s: None };
            self.barrier(view, now).await?;
        }
        Ok(Source { contents, views, meta })
    }

    async fn whole(&self, name: &str) -> Result<(View, Vec<usize>), Error> {
        let view = self.view(name).await?;
        let places = (0..view.shards.len()).collect();
        Ok((view, places))
    }
}

fn all_of(chunks: mpsc::Receiver<Vec<u8>>) -> impl futures::Stream<Item = Vec<u8>> {
    futures::stream::unfold(chunks, |mut chunks| async move { chunks.recv().await.map(|chunk| (chunk, chunks)) })
}
