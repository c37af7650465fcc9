//! From a file back to a collection, a shard or the node.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use sha2::{Digest, Sha256};
use tokio::sync::mpsc;
use uuid::Uuid;

use super::format::{CollectionHeader, Contents, Item, Reader, hex};
use super::store::{Located, Part, Receiving};
use super::url::CheckedUrl;
use super::{SnapshotError, failed, joined};
use crate::cluster::{MetaCommand, ShardPlace};
use crate::model::PointOp;
use crate::model::collection::{AliasAction, CollectionConfig, CollectionName, ShardKey};
use crate::model::write::UpsertMode;
use crate::service::checks::name_for_log;
use crate::service::collections::now;
use crate::service::seat::{Seat, View};
use crate::service::shards::RunningShard;
use crate::service::{Error, Service};
use crate::shard::{decode_plain_upsert, encode_command};

/// Waits for the index, of a minute each, before a recovery gives up: an hour.
const INDEX_WAITS_MAX: usize = 60;
/// Bytes read from a file at once.
const READ_BYTES: usize = 1 << 20;

/// Where a snapshot that is to be recovered comes from.
#[derive(Debug)]
pub struct SnapshotSource(Kind);

enum Kind {
    File(PathBuf),
    Object(String),
    Url(CheckedUrl),
    Received(Receiving),
}

impl std::fmt::Debug for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Kind::File(path) => path.fmt(f),
            Kind::Object(key) => key.fmt(f),
            Kind::Url(url) => url.fmt(f),
            Kind::Received(_) => f.write_str("received"),
        }
    }
}

impl From<Receiving> for SnapshotSource {
    fn from(received: Receiving) -> SnapshotSource {
        SnapshotSource(Kind::Received(received))
    }
}

/// What an operator asked for at start. Files may lie anywhere.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StartupRecovery {
    /// A snapshot of a node.
    pub node: Option<PathBuf>,
    /// Snapshots of collections, each with the name it gets.
    pub collections: Vec<(PathBuf, CollectionName)>,
    /// Whether what is there already is replaced.
    pub replaces: bool,
}

/// A file that is here, and removed when it was only for this.
struct Local {
    path: PathBuf,
    _part: Option<Part>,
}

/// What a whole and sound file holds.
struct Found {
    contents: Contents,
    /// Each with the places of its shards that are in the file.
    collections: Vec<(CollectionHeader, Vec<usize>)>,
}

impl Service {
    /// A file inside the snapshots folder (`file://` or a path), an object of the bucket, or a URL, as far as it can be
    /// checked without fetching it.
    pub fn locate_snapshot(&self, location: &str, api_key: Option<&str>) -> Result<SnapshotSource, Error> {
        let snapshots = &self.running.snapshots;
        let scheme = location.split_once("://").map(|(scheme, _)| scheme.to_ascii_lowercase());
        if matches!(scheme.as_deref(), Some("http" | "https")) {
            let url = CheckedUrl::new(snapshots.url_rules.as_ref(), location, api_key)?;
            return Ok(SnapshotSource(Kind::Url(url)));
        }
        Ok(SnapshotSource(match snapshots.locate(location)? {
            Located::File(path) => Kind::File(path),
            Located::Object(key) => Kind::Object(key),
        }))
    }

    /// Fails unless the collection has a shard of this number.
    pub fn check_shard(&self, collection: &str, number: u64) -> Result<(), Error> {
        self.shard_place(collection, number).map(|_| ())
    }

    /// A new file for an upload.
    pub fn receive_snapshot(&self) -> Result<Receiving, Error> {
        self.running.snapshots.receive()
    }

    /// Puts the snapshot's content in the place of the collection's, which is created if there is none.
    /// `checksum`: SHA-256 the file must have.
    ///
    /// Cancel safe: the recovery goes on in a task of its own.
    pub async fn recover_collection(
        &self,
        name: CollectionName,
        source: SnapshotSource,
        checksum: Option<String>,
    ) -> Result<(), Error> {
        let service = self.clone();
        let recover = async move {
            let _inside = service.running.gate.enter()?;
            let _turn = service.running.snapshots.turn().await?;
            let target = match service.collection(name.as_str()) {
                Ok(collection) => collection.name.clone(),
                Err(_) => name.as_str().to_owned(),
            };
            let file = service.local(source).await?;
            service.recover_one(&file.path, checksum, target).await
        };
        joined(tokio::spawn(recover).await)
    }

    async fn recover_one(&self, path: &Path, checksum: Option<String>, target: String) -> Result<(), Error> {
        let found = checked(path, checksum).await?;
        let [(header, _)] = found.collections.as_slice() else { return Err(mismatch("it holds no single collection")) };
        if found.contents != Contents::Collection {
            return Err(mismatch("it is of a shard or a node, not of a collection"));
        }
        let temporary = self.create_temporary(header.config().clone(), header.places()).await?;
        let temporaries = [temporary];
        let filled = self.fill(path.to_owned(), &temporaries).await;
        let [temporary] = &temporaries;
        let replace = MetaCommand::ReplaceCollection { from: temporary.as_str().to_owned(), to: target };
        self.replace_or_drop(filled, &temporaries, vec![replace]).await
    }

    /// Puts the snapshot's content in the place of one shard's. The rest of the collection stays as it is.
    /// `checksum`: SHA-256 the file must have.
    ///
    /// Cancel safe: the recovery goes on in a task of its own.
    pub async fn recover_shard(
        &self,
        collection: &str,
        number: u64,
        source: SnapshotSource,
        checksum: Option<String>,
    ) -> Result<(), Error> {
        let (service, name) = (self.clone(), collection.to_owned());
        service.shard_place(&name, number)?;
        let recover = async move {
            let _inside = service.running.gate.enter()?;
            let _turn = service.running.snapshots.turn().await?;
            let file = service.local(source).await?;
            service.recover_one_shard(&file.path, checksum, &name, number).await
        };
        joined(tokio::spawn(recover).await)
    }

    async fn recover_one_shard(
        &self,
        path: &Path,
        checksum: Option<String>,
        name: &str,
        number: u64,
    ) -> Result<(), Error> {
        let found = checked(path, checksum).await?;
        let (target, shard, place) = self.shard_place(name, number)?;
        let [(header, places)] = found.collections.as_slice() else { return Err(mismatch("it holds no single shard")) };
        if !matches!(found.contents, Contents::Shard { .. }) {
            return Err(mismatch("it is of a collection or a node, not of a shard"));
        }
        if !header.config().has_same_vectors(&target.config) {
            return Err(mismatch("its vectors are not those of the collection"));
        }
        if places.first().and_then(|at| header.places().nth(*at)) != Some(place.clone()) {
            return Err(mismatch("it is of another shard: the ids that belong there do not belong here"));
        }
        // All ranges, so that the new shard has the place that the old one has.
        let config = CollectionConfig { shard_number: place.range_count as u32, ..target.config.clone() };
        let ranges = (0..place.range_count).map(|range| ShardPlace { range, ..place.clone() });
        let temporary = self.create_temporary(config, ranges).await?;
        let temporaries = [temporary];
        let filled = self.fill(path.to_owned(), &temporaries).await;
        let [temporary] = &temporaries;
        let replace = MetaCommand::ReplaceShard {
            from: temporary.as_str().to_owned(),
            to: target.name.clone(),
            created_index: target.created_index,
            shard,
        };
        self.replace_or_drop(filled, &temporaries, vec![replace]).await
    }

    /// Recovers what an operator asked for. All of a file or nothing of it; fails on what is there already unless it is
    /// to be replaced.
    pub async fn recover_at_start(&self, recovery: &StartupRecovery) -> Result<(), Error> {
        let _inside = self.running.gate.enter()?;
        if let Some(path) = &recovery.node {
            tracing::info!(path = %path.display(), "recovering the node from a snapshot");
            self.recover_node(path, recovery.replaces).await?;
        }
        for (path, name) in &recovery.collections {
            tracing::info!(path = %path.display(), collection = %name, "recovering a collection from a snapshot");
            let target = self.free_name(name.as_str(), recovery.replaces)?;
            self.recover_one(path, None, target).await?;
        }
        Ok(())
    }

    async fn recover_node(&self, path: &Path, replaces: bool) -> Result<(), Error> {
        let found = checked(path, None).await?;
        let Contents::Node { aliases } = found.contents else {
            return Err(mismatch("it is of a collection or a shard, not of a node"));
        };
        let mut commands = Vec::new();
        for (header, _) in &found.collections {
            self.free_name(&header.name, replaces)?;
        }
        let taken: Vec<String> = self.aliases().into_iter().map(|alias| alias.alias).collect();
        if let Some(alias) = aliases.keys().find(|alias| taken.contains(alias)).filter(|_| !replaces) {
            return Err(Error::NameTaken { name: alias.clone() });
        }
        let mut temporaries = Vec::new();
        for (header, _) in &found.collections {
            match self.create_temporary(header.config().clone(), header.places()).await {
                Ok(temporary) => temporaries.push(temporary),
                Err(error) => return self.replace_or_drop(Err(error), &temporaries, commands).await,
            }
        }
        let filled = self.fill(path.to_owned(), &temporaries).await;
        for (temporary, (header, _)) in temporaries.iter().zip(&found.collections) {
            let from = temporary.as_str().to_owned();
            commands.push(MetaCommand::ReplaceCollection { from, to: header.name.clone() });
        }
        let of_both = |(alias, collection)| AliasAction::Create { alias, collection };
        commands.push(MetaCommand::UpdateAliases { actions: aliases.into_iter().map(of_both).collect() });
        self.replace_or_drop(filled, &temporaries, commands).await
    }

    /// The collection that gets this name, or is replaced by what gets it.
    fn free_name(&self, name: &str, replaces: bool) -> Result<String, Error> {
        match self.collection(name) {
            Ok(_) if !replaces => Err(Error::CollectionExists { name: name.to_owned() }),
            Ok(collection) if collection.name != name => Err(Error::NameTaken { name: name.to_owned() }),
            _ => Ok(name.to_owned()),
        }
    }

    fn shard_place(
        &self,
        name: &str,
        number: u64,
    ) -> Result<(Arc<crate::cluster::Collection>, crate::model::ShardId, ShardPlace), Error> {
        let collection = self.collection(name)?;
        let shard = collection.shard_numbered(number).ok_or(Error::ShardNotFound { number })?;
        let place = collection.place(shard).ok_or(Error::ShardNotFound { number })?;
        Ok((collection, shard, place))
    }

    /// Brings the file here.
    async fn local(&self, SnapshotSource(kind): SnapshotSource) -> Result<Local, Error> {
        let part = match kind {
            Kind::File(path) => return Ok(Local { path, _part: None }),
            Kind::Object(key) => self.running.snapshots.fetch(&key).await?,
            Kind::Url(url) => url.fetch(&self.running.snapshots).await?,
            Kind::Received(receiving) => receiving.finish().await?,
        };
        Ok(Local { path: part.path.clone(), _part: Some(part) })
    }

    /// An empty collection with shards for these places, under a name that is nobody's.
    async fn create_temporary(
        &self,
        config: CollectionConfig,
        places: impl Iterator<Item = ShardPlace>,
    ) -> Result<CollectionName, Error> {
        let name = CollectionName::restoring(&format!("{}{}", self.restorer(), Uuid::new_v4().simple()));
        // In the order of the shards, so that they get numbers in that order.
        let mut keys: Vec<(ShardKey, u32)> = Vec::new();
        for place in places {
            if let Some(key) = place.key.filter(|key| keys.iter().all(|(known, _)| known != key)) {
                keys.push((key, place.range_count as u32));
            }
        }
        self.change_meta(&MetaCommand::CreateCollection { name: name.clone(), config, created_at: now() }).await?;
        let created = async {
            for (key, shard_count) in keys {
                let collection = name.as_str().to_owned();
                self.change_meta(&MetaCommand::CreateShardKey {
                    collection,
                    key,
                    shard_count: Some(shard_count),
                    replication_factor: None,
                    placement: Vec::new(),
                })
                .await?;
            }
            self.settle_everywhere().await?;
            self.view(name.as_str()).await.map(|_| ())
        };
        match created.await {
            Ok(()) => Ok(name),
            Err(error) => {
                self.replace_or_drop(Err(error), std::slice::from_ref(&name), Vec::new()).await?;
                Ok(name)
            }
        }
    }

    /// Runs `commands` if all went well; otherwise the temporary collections go.
    async fn replace_or_drop(
        &self,
        filled: Result<(), Error>,
        temporaries: &[CollectionName],
        commands: Vec<MetaCommand>,
    ) -> Result<(), Error> {
        let mut outcome = filled;
        for command in commands {
            if outcome.is_ok() {
                outcome = self.change_meta(&command).await.map(|_| ());
            }
        }
        if outcome.is_err() {
            for temporary in temporaries {
                let name = temporary.as_str().to_owned();
                self.change_meta(&MetaCommand::DeleteCollection { name, created_index: None }).await?;
            }
        }
        self.settle_everywhere().await?;
        outcome
    }

    /// Proposes the points of the file's collections to the temporary ones, which are in the same order.
    async fn fill(&self, path: PathBuf, temporaries: &[CollectionName]) -> Result<(), Error> {
        let changed = || Error::SnapshotDamaged { why: "the file was changed while it was recovered".to_owned() };
        let mut views: Vec<View> = Vec::with_capacity(temporaries.len());
        for temporary in temporaries {
            views.push(self.view(temporary.as_str()).await?);
        }
        // One block waits while one is proposed.
        let (sender, mut items) = mpsc::channel::<Item>(1);
        let reading = tokio::task::spawn_blocking(move || {
            // The receiver is gone when a proposal failed: its error is the one that counts.
            let given_up = |_| SnapshotError::Damaged("given up");
            read(&path, &mut |item| sender.blocking_send(item).map_err(given_up)).map(|_| ())
        });
        let mut views = views.into_iter();
        let mut collection: Option<(View, Vec<ShardPlace>)> = None;
        let mut shard: Option<Seat> = None;
        while let Some(item) = items.recv().await {
            match item {
                Item::Collection(header) => {
                    collection = Some((views.next().ok_or_else(changed)?, header.places().collect()));
                    shard = None;
                }
                Item::Shard(at) => {
                    let (view, places) = collection.as_ref().ok_or_else(changed)?;
                    let place = places.get(at).ok_or_else(changed)?;
                    let found = view.shards.iter().find(|seat| seat.place() == place);
                    shard = Some(found.ok_or_else(changed)?.clone());
                }
                Item::Points(command) => {
                    let shard = shard.as_ref().ok_or_else(changed)?;
                    let (view, _) = collection.as_ref().ok_or_else(changed)?;
                    let command = named_for_log(&view.collection.config, command).ok_or_else(changed)?;
                    if let Some(running) = shard.here() {
                        self.wait_long_for_index(running).await?;
                    }
                    let done = self.propose(shard, &[command]).await?;
                    if let Some(why) = done.failed {
                        return Err(why);
                    }
                    if done.count == 0 {
                        return Err(Error::Unavailable { why: format!("shard {} is being replaced", shard.id()) });
                    }
                }
            }
        }
        joined(reading.await)
    }

    async fn wait_long_for_index(&self, shard: &RunningShard) -> Result<(), Error> {
        let mut outcome = Ok(());
        for _ in 0..INDEX_WAITS_MAX {
            outcome = self.wait_for_index(shard, None).await;
            if !matches!(outcome, Err(Error::Overloaded { .. })) {
                break;
            }
        }
        outcome
    }

    /// How the temporary names of this node begin: recoveries of other nodes may be under way.
    fn restorer(&self) -> String {
        format!("{:016x}-", self.running.node_id)
    }

    /// Sweeps away what recoveries of this node that were cut off left behind.
    pub(in crate::service) async fn sweep_recoveries(&self) -> Result<(), Error> {
        let state = self.running.meta.state();
        let own = self.restorer();
        let left: Vec<String> = state
            .collections()
            .filter(|collection| CollectionName::is_restoring_by(&collection.name, &own))
            .map(|collection| collection.name.clone())
            .collect();
        for name in &left {
            self.change_meta(&MetaCommand::DeleteCollection { name: name.clone(), created_index: None }).await?;
        }
        if !left.is_empty() {
            self.settle_everywhere().await?;
        }
        Ok(())
    }
}

/// The points with the names that the log of the collection's shards has for their vectors.
fn named_for_log(config: &CollectionConfig, command: Vec<u8>) -> Option<Vec<u8>> {
    if config.dropped_vectors.is_empty() {
        return Some(command);
    }
    let mut points = decode_plain_upsert(&command)?;
    points.iter_mut().for_each(|point| name_for_log(config, &mut point.vectors));
    Some(encode_command(&PointOp::Upsert { points, mode: UpsertMode::Upsert, update_filter: None }))
}

fn mismatch(why: &str) -> Error {
    Error::SnapshotMismatch { why: why.to_owned() }
}

/// Reads the whole file, so that nothing of a damaged one is recovered.
async fn checked(path: &Path, checksum: Option<String>) -> Result<Found, Error> {
    let path = path.to_owned();
    joined(tokio::task::spawn_blocking(move || check(&path, checksum.as_deref())).await)
}

fn check(path: &Path, checksum: Option<&str>) -> Result<Found, Error> {
    if let Some(wanted) = checksum {
        let found = digest(path).map_err(failed)?;
        if !found.eq_ignore_ascii_case(wanted) {
            return Err(Error::ChecksumMismatch { found, wanted: wanted.to_owned() });
        }
    }
    let mut collections: Vec<(CollectionHeader, Vec<usize>)> = Vec::new();
    let contents = read(path, &mut |item| {
        match (item, collections.last_mut()) {
            (Item::Collection(header), _) => collections.push((*header, Vec::new())),
            (Item::Shard(place), Some((_, places))) => places.push(place),
            _ => {}
        }
        Ok(())
    })?;
    let mut names = BTreeMap::new();
    if collections.iter().any(|(header, _)| names.insert(header.name.clone(), ()).is_some()) {
        return Err(SnapshotError::Damaged("it holds two collections of one name").into());
    }
    Ok(Found { contents, collections })
}

fn digest(path: &Path) -> std::io::Result<String> {
    let mut digest = Sha256::new();
    let mut input = File::open(path)?;
    let mut buffer = vec![0; READ_BYTES];
    loop {
        match input.read(&mut buffer)? {
            0 => return Ok(hex(&digest.finalize())),
            count => digest.update(buffer.get(..count).unwrap_or_default()),
        }
    }
}

/// Shows everything in the file, and fails where it is not as it should be.
fn read(path: &Path, show: &mut dyn FnMut(Item) -> Result<(), SnapshotError>) -> Result<Contents, SnapshotError> {
    let mut reader = Reader::new(BufReader::with_capacity(READ_BYTES, File::open(path)?))?;
    while let Some(item) = reader.next()? {
        show(item)?;
    }
    Ok(reader.contents().clone())
}
