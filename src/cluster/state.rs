//! The `meta` group's state and its changes: pure, decided by the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::layout::{Layout, LayoutCommand};
use super::placement::NodeId;
use super::resharding::{Resharding, ReshardingCommand};
use crate::model::collection::{
    AliasAction, CollectionConfig, CollectionConfigDiff, CollectionName, NewVector, ShardKey, ShardingMethod,
    VectorClash,
};
use crate::model::datetime::Timestamp;
use crate::model::field_index::FieldIndexSchema;
use crate::model::{Path, ShardId, VectorName};

/// A collection as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    /// No other collection and no alias has it.
    pub name: String,
    /// As created and updated.
    pub config: CollectionConfig,
    /// In the order of their ranges of hash slots; with custom sharding in the order of their creation.
    pub shards: Vec<ShardId>,
    /// With custom sharding: the shards of each key, in the order of their ranges of hash slots. They are all there are.
    pub shard_keys: BTreeMap<ShardKey, Vec<ShardId>>,
    /// Of keys whose shards have another number of replicas than the collection says: how many.
    pub key_factors: BTreeMap<ShardKey, u32>,
    /// No shard of an earlier collection is at or above it; shards are numbered from here.
    pub first_shard: ShardId,
    /// Of shards that took the place of others: the numbers of those.
    pub taken_numbers: BTreeMap<ShardId, u64>,
    /// Log index of its creation: tells it from an earlier collection of the same name.
    pub created_index: u64,
    /// By the clock of the node that was asked.
    pub created_at: Timestamp,
    /// Shards that are to take the place of others.
    pub resharding: Option<Resharding>,
}

/// What a shard holds of its collection: of the ids that are written under `key`, if there are keys, those of one range
/// of hash slots.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ShardPlace {
    /// `None`: the collection has no keys.
    pub key: Option<ShardKey>,
    /// Number of the range, from 0.
    pub range: usize,
    /// How many ranges there are.
    pub range_count: usize,
}

impl Collection {
    /// Whether points are placed by the shard key each write names.
    pub fn is_custom_sharded(&self) -> bool {
        self.config.sharding_method == Some(ShardingMethod::Custom)
    }

    /// Its shards, and those that are to take the place of some.
    pub fn all_shards(&self) -> impl Iterator<Item = ShardId> {
        let children = self.resharding.iter().flat_map(|resharding| &resharding.children);
        self.shards.iter().chain(children).copied()
    }

    /// How many replicas a shard should have.
    pub fn replication_factor(&self, shard: ShardId) -> usize {
        let key = self.place(shard).and_then(|place| place.key);
        let own = self.key_factors.iter().find(|(of, _)| Some(*of) == key.as_ref());
        own.map_or(self.config.replication_factor, |(_, factor)| *factor) as usize
    }

    /// The number of a shard of this collection, from 0, as the protocol shows it: never given out twice.
    pub fn shard_number(&self, shard: ShardId) -> u64 {
        let taken = self.taken_numbers.get(&shard).copied();
        taken.unwrap_or_else(|| shard.0.saturating_sub(self.first_shard.0))
    }

    /// The shard of this number.
    pub fn shard_numbered(&self, number: u64) -> Option<ShardId> {
        self.shards.iter().copied().find(|shard| self.shard_number(*shard) == number)
    }

    /// As this one, with `new` in the place and under the number of `old`.
    fn with_replaced(&self, old: ShardId, new: ShardId) -> Collection {
        let mut collection = self.clone();
        let number = collection.shard_number(old);
        let lists = collection.shard_keys.values_mut().flatten().chain(&mut collection.shards);
        lists.filter(|shard| **shard == old).for_each(|shard| *shard = new);
        collection.taken_numbers.remove(&old);
        collection.taken_numbers.insert(new, number);
        collection
    }

    /// Lets the children of the resharding take the place of the parents.
    fn replace_parents(&mut self) {
        let Some(Resharding { key, parents, children, .. }) = self.resharding.take() else { return };
        self.taken_numbers.retain(|shard, _| !parents.contains(shard));
        self.shards.retain(|shard| !parents.contains(shard));
        self.shards.extend(&children);
        match key {
            // At most `SHARDS_PER_COLLECTION_MAX`.
            None => self.config.shard_number = children.len() as u32,
            Some(key) => _ = self.shard_keys.insert(key, children),
        }
    }

    /// What `shard` holds, or is to hold. `None`: it is not one of this collection.
    pub fn place(&self, shard: ShardId) -> Option<ShardPlace> {
        let range_of = |shards: &[ShardId]| shards.iter().position(|id| *id == shard);
        if let Some(Resharding { key, children, .. }) = &self.resharding
            && let Some(range) = range_of(children)
        {
            return Some(ShardPlace { key: key.clone(), range, range_count: children.len() });
        }
        if !self.is_custom_sharded() {
            let range = range_of(&self.shards)?;
            return Some(ShardPlace { key: None, range, range_count: self.shards.len() });
        }
        self.shard_keys.iter().find_map(|(key, shards)| {
            let range = range_of(shards)?;
            Some(ShardPlace { key: Some(key.clone()), range, range_count: shards.len() })
        })
    }
}

/// A change of the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields name themselves")]
pub enum MetaCommand {
    CreateCollection {
        name: CollectionName,
        config: CollectionConfig,
        created_at: Timestamp,
    },
    /// `name` may be an alias.
    UpdateCollection {
        name: String,
        diff: CollectionConfigDiff,
    },
    /// `name` is no alias: none is enough to lose its collection by. With `created_index` only the collection created
    /// by that entry is meant.
    DeleteCollection {
        name: String,
        created_index: Option<u64>,
    },
    /// Gives collection `from` the name `to`, at once: a collection of that name is gone with it, its aliases stay and
    /// lead to the new one.
    ReplaceCollection {
        from: String,
        to: String,
    },
    /// In order, all or nothing.
    UpdateAliases {
        actions: Vec<AliasAction>,
    },
    /// In place of the field's index, if it has one. `name` may be an alias, here and below.
    CreateFieldIndex {
        name: String,
        path: Path,
        schema: FieldIndexSchema,
    },
    /// A field without an index is no error.
    DeleteFieldIndex {
        name: String,
        path: Path,
    },
    /// `collection` may be an alias.
    CreateShardKey {
        collection: String,
        key: ShardKey,
        /// Absent: the collection's `shard_number`. At least 1.
        shard_count: Option<u32>,
        /// Absent: the collection's. At least 1.
        replication_factor: Option<u32>,
        /// The nodes that hold its shards at first; empty: any.
        placement: Vec<NodeId>,
    },
    /// With the points of its shards. `collection` may be an alias.
    DeleteShardKey {
        collection: String,
        key: ShardKey,
    },
    /// `collection` may be an alias.
    CreateVector {
        collection: String,
        name: VectorName,
        vector: NewVector,
    },
    /// A name without a vector is no error. `collection` may be an alias.
    DropVector {
        collection: String,
        name: VectorName,
    },
    /// Gives shard `shard` of collection `to` the content that the shard of the same place has in collection `from`,
    /// which is gone with it. `created_index` says which collection of that name is meant.
    ReplaceShard {
        from: String,
        to: String,
        created_index: u64,
        shard: ShardId,
    },
    /// Of the nodes and the places of replicas.
    Layout(LayoutCommand),
    /// Of a collection's number of shards.
    Reshard(ReshardingCommand),
}

/// What a command did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the variants name themselves")]
pub enum MetaChange {
    Created,
    Updated,
    /// False: there was no such collection.
    Deleted(bool),
    Replaced,
    AliasesUpdated,
    ShardKeyCreated,
    ShardKeyDeleted,
    LayoutChanged,
    ReshardingChanged,
    /// Under this id.
    ReshardingStarted(u64),
    /// Under this number.
    ReshardingClaimed(u64),
}

/// Why a command changed nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields name themselves")]
pub enum Refusal {
    CollectionExists {
        name: String,
    },
    /// The name of a new collection is an alias, or that of a new alias is a collection.
    NameTaken {
        name: String,
    },
    CollectionNotFound {
        name: String,
    },
    AliasNotFound {
        alias: String,
    },
    VectorNameUnknown {
        name: VectorName,
    },
    ShardKeyExists {
        key: ShardKey,
    },
    ShardKeyNotFound {
        key: ShardKey,
    },
    /// The collection has no custom sharding, so its keys can be neither created nor deleted.
    NoShardKeys {
        key: ShardKey,
        is_delete: bool,
    },
    /// There is another vector of the name.
    VectorExists {
        name: VectorName,
        clash: VectorClash,
    },
    /// The unnamed vector of a collection that was declared with one bare vector.
    VectorIsOnlyOne,
    /// It is not what it was when the work on it began.
    CollectionChanged {
        name: String,
    },
    NodeUnknown {
        id: NodeId,
    },
    /// It was removed from the cluster for good.
    NodeForgotten {
        id: NodeId,
    },
    NodeHoldsShard {
        id: NodeId,
        shard: ShardId,
    },
    /// It is not in the state that it was in when its change was decided on.
    NodeChanged {
        id: NodeId,
    },
    /// The shard's replicas are not where they were when it was planned.
    PlanOutdated {
        shard: ShardId,
    },
    /// One at a time.
    ReshardingUnderWay {
        name: String,
    },
    /// With custom sharding the shards of one key are resharded, without none is named.
    ReshardingKey {
        is_custom: bool,
    },
    /// There are so many shards already.
    ShardsAsWanted {
        count: u32,
    },
    /// It is over, or in another round.
    ReshardingChanged {
        id: u64,
    },
}

/// A command's fate, as the group's reply carries it.
pub type MetaOutcome = Result<MetaChange, Refusal>;

/// All collections and aliases.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MetaState {
    /// Shared, so that a copy of the state is cheap and a reader keeps the collection it began with.
    collections: BTreeMap<String, Arc<Collection>>,
    /// Alias to collection; every target exists and no alias is the name of a collection.
    aliases: BTreeMap<String, String>,
    /// Above every id ever given out.
    next_shard_id: u64,
    /// Stored beside the rest.
    #[serde(skip)]
    layout: Arc<Layout>,
}

impl Default for MetaState {
    fn default() -> MetaState {
        MetaState {
            collections: BTreeMap::new(),
            aliases: BTreeMap::new(),
            next_shard_id: super::META_GROUP.0 + 1,
            layout: Arc::default(),
        }
    }
}

impl MetaState {
    /// The collection of this name or alias.
    pub fn collection(&self, name: &str) -> Option<&Arc<Collection>> {
        self.collections.get(self.resolve(name))
    }

    /// By name, ascending.
    pub fn collections(&self) -> impl Iterator<Item = &Arc<Collection>> {
        self.collections.values()
    }

    /// Alias and collection, by alias ascending.
    pub fn aliases(&self) -> impl Iterator<Item = (&str, &str)> {
        self.aliases.iter().map(|(alias, collection)| (alias.as_str(), collection.as_str()))
    }

    fn resolve<'a>(&'a self, name: &'a str) -> &'a str {
        self.aliases.get(name).map_or(name, String::as_str)
    }

    /// The nodes, and where replicas should be.
    pub fn layout(&self) -> &Arc<Layout> {
        &self.layout
    }

    pub(super) fn set_layout(&mut self, layout: Layout) {
        self.layout = Arc::new(layout);
    }

    /// Applies the command of log entry `index`. A refused command changes nothing.
    pub fn apply(&mut self, index: u64, command: MetaCommand) -> MetaOutcome {
        let may_change_shards = matches!(
            command,
            MetaCommand::CreateCollection { .. }
                | MetaCommand::DeleteCollection { .. }
                | MetaCommand::ReplaceCollection { .. }
                | MetaCommand::CreateShardKey { .. }
                | MetaCommand::DeleteShardKey { .. }
                | MetaCommand::ReplaceShard { .. }
                | MetaCommand::Reshard(_)
                | MetaCommand::Layout(LayoutCommand::Begin { .. })
        );
        let outcome = self.change(index, command);
        if may_change_shards && outcome.is_ok() {
            let shards = self.collections.values().flat_map(|collection| collection.all_shards()).collect();
            Arc::make_mut(&mut self.layout).follow(&shards);
        }
        outcome
    }

    fn change(&mut self, index: u64, command: MetaCommand) -> MetaOutcome {
        match command {
            MetaCommand::CreateCollection { name, config, created_at } => {
                self.create(name.as_str(), config, index, created_at)
            }
            MetaCommand::UpdateCollection { name, diff } => self.update(&name, &diff),
            MetaCommand::DeleteCollection { name, created_index } => Ok(self.delete(&name, created_index)),
            MetaCommand::ReplaceCollection { from, to } => self.replace(&from, to),
            MetaCommand::UpdateAliases { actions } => {
                let mut aliases = self.aliases.clone();
                for action in actions {
                    self.change_alias(&mut aliases, action)?;
                }
                self.aliases = aliases;
                Ok(MetaChange::AliasesUpdated)
            }
            MetaCommand::CreateFieldIndex { name, path, schema } => self.change_fields(&name, |fields| {
                fields.insert(path, schema);
            }),
            MetaCommand::DeleteFieldIndex { name, path } => self.change_fields(&name, |fields| {
                fields.remove(&path);
            }),
            MetaCommand::CreateShardKey { collection, key, shard_count, replication_factor, placement } => {
                self.create_shard_key(&collection, key, shard_count, replication_factor, &placement)
            }
            MetaCommand::DeleteShardKey { collection, key } => self.delete_shard_key(&collection, key),
            MetaCommand::CreateVector { collection, name, vector } => self.create_vector(&collection, name, vector),
            MetaCommand::DropVector { collection, name } => self.drop_vector(&collection, &name),
            MetaCommand::ReplaceShard { from, to, created_index, shard } => {
                self.replace_shard(&from, to, created_index, shard)
            }
            MetaCommand::Layout(command) => {
                let mut layout = Layout::clone(&self.layout);
                layout.apply(command)?;
                self.layout = Arc::new(layout);
                Ok(MetaChange::LayoutChanged)
            }
            MetaCommand::Reshard(ReshardingCommand::Start { collection, key, shard_count }) => {
                self.start_resharding(&collection, key, shard_count, index)
            }
            MetaCommand::Reshard(command) => self.change_resharding(&command),
        }
    }

    /// The children begin where the parents are whose place they take.
    fn start_resharding(&mut self, name: &str, key: Option<ShardKey>, shard_count: u32, index: u64) -> MetaOutcome {
        let Some(collection) = self.collection(name) else {
            return Err(Refusal::CollectionNotFound { name: name.to_owned() });
        };
        let mut collection = Collection::clone(collection);
        if collection.resharding.is_some() {
            return Err(Refusal::ReshardingUnderWay { name: collection.name });
        }
        let is_custom = collection.is_custom_sharded();
        let parents = match &key {
            None if !is_custom => collection.shards.clone(),
            Some(named) if is_custom => match collection.shard_keys.get(named) {
                Some(shards) => shards.clone(),
                None => return Err(Refusal::ShardKeyNotFound { key: named.clone() }),
            },
            _ => return Err(Refusal::ReshardingKey { is_custom }),
        };
        if parents.len() == shard_count as usize {
            return Err(Refusal::ShardsAsWanted { count: shard_count });
        }
        let children = self.new_shards(shard_count);
        let beside = |number: usize| {
            let parent = parents.get(number * parents.len() / children.len().max(1));
            parent.map(|parent| self.layout.replicas(*parent).to_vec()).filter(|replicas| !replicas.is_empty())
        };
        let places = children.iter().enumerate().filter_map(|(number, child)| Some((*child, beside(number)?)));
        let places = places.collect();
        Arc::make_mut(&mut self.layout).apply(LayoutCommand::Begin { places })?;
        collection.resharding = Some(Resharding {
            id: index,
            key,
            parents,
            children,
            round: 0,
            claim_count: 0,
            claims: BTreeMap::new(),
            ready: Default::default(),
            passed_on: Default::default(),
        });
        self.collections.insert(collection.name.clone(), Arc::new(collection));
        Ok(MetaChange::ReshardingStarted(index))
    }

    fn change_resharding(&mut self, command: &ReshardingCommand) -> MetaOutcome {
        use ReshardingCommand as Command;
        let id = match command {
            Command::Start { .. } => 0,
            Command::Claim { id, .. }
            | Command::Postpone { id, .. }
            | Command::Ready { id, .. }
            | Command::PassedOn { id, .. }
            | Command::Abort { id } => *id,
        };
        let is_meant = |one: &Resharding| one.id == id;
        let found = self.collections.values().find(|one| one.resharding.as_ref().is_some_and(is_meant));
        let changed = Refusal::ReshardingChanged { id };
        let Some(mut collection) = found.map(|one| Collection::clone(one)) else { return Err(changed) };
        let Some(resharding) = &mut collection.resharding else { return Err(changed) };
        let mut claim = None;
        if matches!(command, Command::Abort { .. }) {
            collection.resharding = None;
        } else {
            claim = resharding.change(command)?;
            if resharding.is_over() {
                collection.replace_parents();
                Arc::make_mut(&mut self.layout).apply(LayoutCommand::Uneven)?;
            }
        }
        self.collections.insert(collection.name.clone(), Arc::new(collection));
        Ok(claim.map_or(MetaChange::ReshardingChanged, MetaChange::ReshardingClaimed))
    }

    fn create(&mut self, name: &str, config: CollectionConfig, index: u64, created_at: Timestamp) -> MetaOutcome {
        if self.collections.contains_key(name) {
            return Err(Refusal::CollectionExists { name: name.to_owned() });
        }
        if self.aliases.contains_key(name) {
            return Err(Refusal::NameTaken { name: name.to_owned() });
        }
        let mut collection = Collection {
            name: name.to_owned(),
            config,
            shards: Vec::new(),
            shard_keys: BTreeMap::new(),
            key_factors: BTreeMap::new(),
            first_shard: ShardId(self.next_shard_id),
            taken_numbers: BTreeMap::new(),
            created_index: index,
            created_at,
            resharding: None,
        };
        // With custom sharding, shards come with their keys.
        if !collection.is_custom_sharded() {
            collection.shards = self.new_shards(collection.config.shard_number);
        }
        self.collections.insert(name.to_owned(), Arc::new(collection));
        Ok(MetaChange::Created)
    }

    fn new_shards(&mut self, count: u32) -> Vec<ShardId> {
        let after_last = self.next_shard_id + u64::from(count);
        let shards = (self.next_shard_id..after_last).map(ShardId).collect();
        self.next_shard_id = after_last;
        shards
    }

    fn create_shard_key(
        &mut self,
        name: &str,
        key: ShardKey,
        shard_count: Option<u32>,
        replication_factor: Option<u32>,
        placement: &[NodeId],
    ) -> MetaOutcome {
        let collection = self.custom_sharded(name, &key, false)?;
        if collection.shard_keys.contains_key(&key) {
            return Err(Refusal::ShardKeyExists { key });
        }
        let mut collection = Collection::clone(collection);
        let shards = self.new_shards(shard_count.unwrap_or(collection.config.shard_number));
        collection.shards.extend(&shards);
        let own_factor = replication_factor.filter(|factor| *factor != collection.config.replication_factor);
        collection.key_factors.extend(own_factor.map(|factor| (key.clone(), factor)));
        collection.shard_keys.insert(key, shards.clone());
        if !placement.is_empty() {
            let factor = replication_factor.unwrap_or(collection.config.replication_factor) as usize;
            let of_shard = |at: usize| placement.iter().cycle().skip(at).take(factor.min(placement.len())).copied();
            let places =
                shards.iter().enumerate().map(|(at, shard)| (*shard, of_shard(at % placement.len()).collect()));
            Arc::make_mut(&mut self.layout).apply(LayoutCommand::Begin { places: places.collect() })?;
        }
        self.collections.insert(collection.name.clone(), Arc::new(collection));
        Ok(MetaChange::ShardKeyCreated)
    }

    fn delete_shard_key(&mut self, name: &str, key: ShardKey) -> MetaOutcome {
        let mut collection = Collection::clone(self.custom_sharded(name, &key, true)?);
        let Some(shards) = collection.shard_keys.remove(&key) else {
            return Err(Refusal::ShardKeyNotFound { key });
        };
        collection.shards.retain(|shard| !shards.contains(shard));
        collection.resharding.take_if(|resharding| resharding.key.as_ref() == Some(&key));
        collection.key_factors.remove(&key);
        collection.taken_numbers.retain(|shard, _| !shards.contains(shard));
        self.collections.insert(collection.name.clone(), Arc::new(collection));
        Ok(MetaChange::ShardKeyDeleted)
    }

    fn custom_sharded(&self, name: &str, key: &ShardKey, is_delete: bool) -> Result<&Arc<Collection>, Refusal> {
        let Some(collection) = self.collection(name) else {
            return Err(Refusal::CollectionNotFound { name: name.to_owned() });
        };
        match collection.is_custom_sharded() {
            true => Ok(collection),
            false => Err(Refusal::NoShardKeys { key: key.clone(), is_delete }),
        }
    }

    fn update(&mut self, name: &str, diff: &CollectionConfigDiff) -> MetaOutcome {
        let resolved = self.resolve(name).to_owned();
        let Some(collection) = self.collections.get_mut(&resolved) else {
            return Err(Refusal::CollectionNotFound { name: name.to_owned() });
        };
        let config = &collection.config;
        let unknown_dense = diff.vectors.keys().find(|name| !config.vectors.by_name.contains_key(*name));
        let unknown_sparse = diff.sparse_vectors.keys().find(|name| config.sparse_vector(name).is_none());
        if let Some(name) = unknown_dense.or(unknown_sparse) {
            return Err(Refusal::VectorNameUnknown { name: name.clone() });
        }
        Arc::make_mut(collection).config.apply(diff);
        Ok(MetaChange::Updated)
    }

    fn create_vector(&mut self, collection: &str, name: VectorName, vector: NewVector) -> MetaOutcome {
        let config = self.config_mut(collection)?;
        match config.add_vector(&name, vector) {
            Ok(()) => Ok(MetaChange::Updated),
            Err(clash) => Err(Refusal::VectorExists { name, clash }),
        }
    }

    fn drop_vector(&mut self, collection: &str, name: &str) -> MetaOutcome {
        let config = self.config_mut(collection)?;
        if config.vectors.is_single && config.vectors.by_name.contains_key(name) {
            return Err(Refusal::VectorIsOnlyOne);
        }
        config.drop_vector(name);
        Ok(MetaChange::Updated)
    }

    fn config_mut(&mut self, name: &str) -> Result<&mut CollectionConfig, Refusal> {
        let resolved = self.resolve(name).to_owned();
        match self.collections.get_mut(&resolved) {
            Some(collection) => Ok(&mut Arc::make_mut(collection).config),
            None => Err(Refusal::CollectionNotFound { name: name.to_owned() }),
        }
    }

    fn change_fields(&mut self, name: &str, change: impl FnOnce(&mut BTreeMap<Path, FieldIndexSchema>)) -> MetaOutcome {
        change(&mut self.config_mut(name)?.field_indexes);
        Ok(MetaChange::Updated)
    }

    fn delete(&mut self, name: &str, created_index: Option<u64>) -> MetaChange {
        let meant = self
            .collections
            .get(name)
            .is_some_and(|collection| created_index.is_none_or(|index| collection.created_index == index));
        if meant {
            self.collections.remove(name);
            self.aliases.retain(|_, collection| collection != name);
        }
        MetaChange::Deleted(meant)
    }

    fn replace(&mut self, from: &str, to: String) -> MetaOutcome {
        if self.aliases.contains_key(&to) {
            return Err(Refusal::NameTaken { name: to });
        }
        let Some(mut collection) = self.collections.remove(from) else {
            return Err(Refusal::CollectionNotFound { name: from.to_owned() });
        };
        Arc::make_mut(&mut collection).name.clone_from(&to);
        self.collections.insert(to, collection);
        Ok(MetaChange::Replaced)
    }

    fn replace_shard(&mut self, from: &str, to: String, created_index: u64, shard: ShardId) -> MetaOutcome {
        let Some(source) = self.collections.get(from) else {
            return Err(Refusal::CollectionNotFound { name: from.to_owned() });
        };
        let replaced = self.collections.get(&to).filter(|_| from != to).and_then(|target| {
            // What is on its way to other shards must not be replaced beside it.
            let is_still = |one: &Collection| one.resharding.is_none();
            let place = target.place(shard).filter(|_| is_still(target) && is_still(source))?;
            let new = source.shards.iter().copied().find(|new| source.place(*new).as_ref() == Some(&place))?;
            let is_meant = target.created_index == created_index
                && target.config.has_same_vectors(&source.config)
                && target.config.dropped_vectors == source.config.dropped_vectors;
            is_meant.then(|| target.with_replaced(shard, new))
        });
        let Some(target) = replaced else { return Err(Refusal::CollectionChanged { name: to }) };
        self.delete(from, None);
        self.collections.insert(to, Arc::new(target));
        Ok(MetaChange::Replaced)
    }

    fn change_alias(&self, aliases: &mut BTreeMap<String, String>, action: AliasAction) -> Result<(), Refusal> {
        let free = |alias: String| match self.collections.contains_key(&alias) {
            true => Err(Refusal::NameTaken { name: alias }),
            false => Ok(alias),
        };
        match action {
            AliasAction::Create { alias, collection } => {
                if !self.collections.contains_key(&collection) {
                    return Err(Refusal::CollectionNotFound { name: collection });
                }
                aliases.insert(free(alias)?, collection);
            }
            // The protocol deletes an unknown alias without complaint.
            AliasAction::Delete { alias } => {
                aliases.remove(&alias);
            }
            AliasAction::Rename { from, to } => {
                let to = free(to)?;
                let Some(collection) = aliases.remove(&from) else {
                    return Err(Refusal::AliasNotFound { alias: from });
                };
                aliases.insert(to, collection);
            }
        }
        Ok(())
    }

    /// Checks the invariants that stand on the fields; the text names the first broken one.
    #[cfg(test)]
    fn validate(&self) -> Result<(), String> {
        let mut seen = std::collections::BTreeSet::new();
        for (name, collection) in &self.collections {
            let keyed: usize = collection.shard_keys.values().map(Vec::len).sum();
            let wanted = match collection.is_custom_sharded() {
                true => (keyed, keyed),
                false => (collection.config.shard_number as usize, 0),
            };
            if *name != collection.name || (collection.shards.len(), keyed) != wanted {
                return Err(format!("collection {name} is inconsistent: {collection:?}"));
            }
            if let Some(shard) = collection.shards.iter().find(|shard| collection.place(**shard).is_none()) {
                return Err(format!("shard {shard} of {name} holds nothing"));
            }
            let numbers: std::collections::BTreeSet<u64> =
                collection.shards.iter().map(|shard| collection.shard_number(*shard)).collect();
            let is_stray = |shard: &ShardId| !collection.shards.contains(shard);
            if numbers.len() != collection.shards.len() || collection.taken_numbers.keys().any(is_stray) {
                return Err(format!("shards of {name} have no numbers of their own: {collection:?}"));
            }
            if let Some(one) = &collection.resharding {
                let known = |shard: &ShardId| one.parents.contains(shard) && collection.shards.contains(shard);
                if one.is_over() || !one.parents.iter().chain(&one.ready).chain(&one.passed_on).all(known) {
                    return Err(format!("{one:?} is no resharding of {collection:?}"));
                }
            }
            for shard in &collection.all_shards().collect::<Vec<_>>() {
                if !seen.insert(*shard) || shard.0 >= self.next_shard_id || *shard == super::META_GROUP {
                    return Err(format!("shard {shard} of {name} was given out twice or never"));
                }
            }
        }
        for (alias, target) in &self.aliases {
            if self.collections.contains_key(alias) || !self.collections.contains_key(target) {
                return Err(format!("alias {alias} of {target}"));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::collection::{VectorParams, VectorParamsDiff, VectorsConfig};
    use crate::model::{Metric, VectorName};
    use proptest::prelude::*;

    fn config(shard_number: u32) -> CollectionConfig {
        let params = VectorParams::new(4, Metric::Cosine);
        let vectors = VectorsConfig { is_single: true, by_name: [(VectorName::new(), params)].into() };
        CollectionConfig { shard_number, ..CollectionConfig::new(vectors) }
    }

    fn create(name: &str, shard_number: u32) -> MetaCommand {
        MetaCommand::CreateCollection {
            name: CollectionName::new(name).unwrap(),
            config: config(shard_number),
            created_at: Timestamp(5),
        }
    }

    fn delete(name: &str) -> MetaCommand {
        MetaCommand::DeleteCollection { name: name.to_owned(), created_index: None }
    }

    fn alias(alias: &str, collection: &str) -> AliasAction {
        AliasAction::Create { alias: alias.to_owned(), collection: collection.to_owned() }
    }

    /// A state after `commands`, the outcome of the last one, and every invariant checked on the way.
    fn run(commands: Vec<MetaCommand>) -> (MetaState, MetaOutcome) {
        let mut state = MetaState::default();
        let mut last = Ok(MetaChange::Updated);
        for (index, command) in commands.into_iter().enumerate() {
            let before = state.clone();
            last = state.apply(index as u64 + 1, command);
            state.validate().unwrap();
            assert!(last.is_ok() || state == before, "a refused command changed the state");
        }
        (state, last)
    }

    #[test]
    fn s18_of_two_creates_the_log_lets_the_first_win() {
        let (state, outcome) = run(vec![create("a", 2), create("a", 3)]);
        assert_eq!(outcome, Err(Refusal::CollectionExists { name: "a".into() }));
        assert_eq!(state.collection("a").unwrap().shards, [ShardId(1), ShardId(2)]);
    }

    #[test]
    fn shard_ids_are_never_given_out_again() {
        let (state, _) = run(vec![create("a", 2), delete("a"), create("a", 1)]);
        let again = state.collection("a").unwrap();
        assert_eq!((again.shards.as_slice(), again.created_index), ([ShardId(3)].as_slice(), 3));
    }

    #[test]
    fn s18_deleting_a_missing_collection_is_no_error_and_drops_no_alias() {
        let aliases = MetaCommand::UpdateAliases { actions: vec![alias("x", "a"), alias("y", "b")] };
        let (state, outcome) = run(vec![create("a", 1), create("b", 1), aliases, delete("c")]);
        assert_eq!(outcome, Ok(MetaChange::Deleted(false)));
        assert_eq!(state.aliases().collect::<Vec<_>>(), [("x", "a"), ("y", "b")]);
        let mut state = state;
        assert_eq!(state.apply(8, delete("x")), Ok(MetaChange::Deleted(false)), "an alias is not the collection");
        assert_eq!(state.apply(9, delete("a")), Ok(MetaChange::Deleted(true)));
        assert_eq!(state.aliases().collect::<Vec<_>>(), [("y", "b")]);
    }

    #[test]
    fn a_delete_meant_for_an_earlier_collection_spares_the_later_one() {
        let stale = MetaCommand::DeleteCollection { name: "a".into(), created_index: Some(1) };
        let (state, outcome) = run(vec![create("a", 1), delete("a"), create("a", 1), stale]);
        assert_eq!(outcome, Ok(MetaChange::Deleted(false)));
        assert!(state.collection("a").is_some());
    }

    #[test]
    fn s18_names_of_aliases_and_collections_do_not_meet() {
        let aliases = |actions| MetaCommand::UpdateAliases { actions };
        let (_, outcome) = run(vec![create("a", 1), aliases(vec![alias("b", "a")]), create("b", 1)]);
        assert_eq!(outcome, Err(Refusal::NameTaken { name: "b".into() }));
        let (_, outcome) = run(vec![create("a", 1), create("b", 1), aliases(vec![alias("b", "a")])]);
        assert_eq!(outcome, Err(Refusal::NameTaken { name: "b".into() }));
        let rename = AliasAction::Rename { from: "x".into(), to: "a".into() };
        let (_, outcome) = run(vec![create("a", 1), aliases(vec![alias("x", "a"), rename])]);
        assert_eq!(outcome, Err(Refusal::NameTaken { name: "a".into() }));
    }

    #[test]
    fn s18_a_list_of_alias_actions_is_all_or_nothing_and_in_order() {
        let aliases = |actions| MetaCommand::UpdateAliases { actions };
        let gone = AliasAction::Rename { from: "nope".into(), to: "z".into() };
        let (state, outcome) = run(vec![create("a", 1), aliases(vec![alias("x", "a"), gone])]);
        assert_eq!(outcome, Err(Refusal::AliasNotFound { alias: "nope".into() }));
        assert_eq!(state.aliases().count(), 0);

        let moves = vec![
            alias("x", "a"),
            AliasAction::Rename { from: "x".into(), to: "y".into() },
            alias("x", "b"),
            AliasAction::Delete { alias: "unknown".into() },
        ];
        let (state, outcome) = run(vec![create("a", 1), create("b", 1), aliases(moves)]);
        assert_eq!(outcome, Ok(MetaChange::AliasesUpdated));
        assert_eq!(state.aliases().collect::<Vec<_>>(), [("x", "b"), ("y", "a")]);
        assert_eq!(state.collection("y").unwrap().name, "a");
    }

    #[test]
    fn s18_an_alias_is_repointed_and_must_have_a_target() {
        let aliases = |actions| MetaCommand::UpdateAliases { actions };
        let (state, _) =
            run(vec![create("a", 1), create("b", 1), aliases(vec![alias("x", "a")]), aliases(vec![alias("x", "b")])]);
        assert_eq!(state.collection("x").unwrap().name, "b");
        let (_, outcome) = run(vec![create("a", 1), aliases(vec![alias("x", "a"), alias("y", "x")])]);
        assert_eq!(outcome, Err(Refusal::CollectionNotFound { name: "x".into() }));
    }

    #[test]
    fn s18_an_update_goes_through_an_alias_and_names_only_known_vectors() {
        let aliases = MetaCommand::UpdateAliases { actions: vec![alias("x", "a")] };
        let update = |vector: &str| {
            let vectors = [(vector.to_owned(), VectorParamsDiff { on_disk: Some(true), ..Default::default() })].into();
            let diff = CollectionConfigDiff { vectors, replication_factor: Some(2), ..Default::default() };
            MetaCommand::UpdateCollection { name: "x".into(), diff }
        };
        let (state, outcome) = run(vec![create("a", 1), aliases, update("nope"), update("")]);
        assert_eq!(outcome, Ok(MetaChange::Updated));
        let config = &state.collection("a").unwrap().config;
        assert_eq!((config.vectors.by_name[""].on_disk, config.replication_factor), (Some(true), 2));
        let (_, outcome) =
            run(vec![create("a", 1), MetaCommand::UpdateCollection { name: "q".into(), diff: Default::default() }]);
        assert_eq!(outcome, Err(Refusal::CollectionNotFound { name: "q".into() }));
        let diff = CollectionConfigDiff { vectors: [("v".into(), Default::default())].into(), ..Default::default() };
        let (_, outcome) = run(vec![create("a", 1), MetaCommand::UpdateCollection { name: "a".into(), diff }]);
        assert_eq!(outcome, Err(Refusal::VectorNameUnknown { name: "v".into() }));
    }

    #[test]
    fn s8_field_indexes_come_change_and_go() {
        use crate::model::field_index::{FieldIndexKind, KeywordParams, PlacementParams};
        let schema = |kind| FieldIndexSchema { kind, is_object: false, placement: PlacementParams::default() };
        let path = |text: &str| text.parse::<Path>().unwrap();
        let create = |name: &str, field: &str, kind| MetaCommand::CreateFieldIndex {
            name: name.into(),
            path: path(field),
            schema: schema(kind),
        };
        let delete = |name: &str, field: &str| MetaCommand::DeleteFieldIndex { name: name.into(), path: path(field) };
        let keyword = FieldIndexKind::Keyword(KeywordParams::default());
        let aliases = MetaCommand::UpdateAliases { actions: vec![alias("x", "a")] };
        let (state, outcome) = run(vec![
            self::create("a", 1),
            aliases,
            create("x", "k", keyword.clone()),
            create("a", "n", FieldIndexKind::Float),
            create("a", "k", FieldIndexKind::Uuid),
            delete("a", "n"),
            delete("x", "unknown"),
        ]);
        assert_eq!(outcome, Ok(MetaChange::Updated));
        let fields = &state.collection("a").unwrap().config.field_indexes;
        assert_eq!(
            fields.iter().map(|(path, schema)| (path.to_string(), schema.kind.clone())).collect::<Vec<_>>(),
            [("k".to_owned(), FieldIndexKind::Uuid)]
        );
        let (_, outcome) = run(vec![create("a", "k", keyword)]);
        assert_eq!(outcome, Err(Refusal::CollectionNotFound { name: "a".into() }));
    }

    fn custom(name: &str, shard_number: u32) -> MetaCommand {
        let config = CollectionConfig { sharding_method: Some(ShardingMethod::Custom), ..config(shard_number) };
        MetaCommand::CreateCollection { name: CollectionName::new(name).unwrap(), config, created_at: Timestamp(5) }
    }

    fn key(text: &str) -> ShardKey {
        ShardKey::Keyword(text.to_owned())
    }

    fn create_key(collection: &str, key: ShardKey, shard_count: Option<u32>) -> MetaCommand {
        MetaCommand::CreateShardKey {
            collection: collection.to_owned(),
            key,
            shard_count,
            replication_factor: None,
            placement: Vec::new(),
        }
    }

    fn delete_key(collection: &str, key: ShardKey) -> MetaCommand {
        MetaCommand::DeleteShardKey { collection: collection.to_owned(), key }
    }

    #[test]
    fn s18_with_custom_sharding_shards_come_and_go_with_their_keys() {
        let number = ShardKey::Number(7);
        let aliases = MetaCommand::UpdateAliases { actions: vec![alias("x", "a")] };
        let (state, _) = run(vec![custom("a", 2), aliases, create_key("a", key("k"), None)]);
        let collection = state.collection("a").unwrap();
        assert_eq!(collection.shards, [ShardId(1), ShardId(2)], "as many as `shard_number` by default");
        let place =
            |shard, key, range, range_count| (ShardId(shard), Some(ShardPlace { key: Some(key), range, range_count }));
        let mut state = state;
        assert_eq!(state.apply(9, create_key("x", number.clone(), Some(1))), Ok(MetaChange::ShardKeyCreated));
        let collection = state.collection("a").unwrap();
        for (shard, want) in [place(1, key("k"), 0, 2), place(2, key("k"), 1, 2), place(3, number.clone(), 0, 1)] {
            assert_eq!(collection.place(shard), want);
        }
        assert_eq!(collection.place(ShardId(4)), None);
        assert_eq!(state.apply(10, delete_key("a", key("k"))), Ok(MetaChange::ShardKeyDeleted));
        assert_eq!(state.collection("a").unwrap().shards, [ShardId(3)]);
        assert_eq!(state.apply(11, create_key("a", key("k"), Some(1))), Ok(MetaChange::ShardKeyCreated));
        assert_eq!(state.collection("a").unwrap().shards, [ShardId(3), ShardId(4)], "no number is given out twice");
        state.validate().unwrap();
        let collection = state.collection("a").unwrap();
        assert_eq!(collection.shards.iter().map(|id| collection.shard_number(*id)).collect::<Vec<_>>(), [2, 3]);
        assert_eq!((collection.shard_numbered(3), collection.shard_numbered(0)), (Some(ShardId(4)), None));
    }

    #[test]
    fn s18_shard_keys_that_cannot_be() {
        let refused = |commands| run(commands).1.unwrap_err();
        let k = || key("k");
        assert_eq!(
            refused(vec![custom("a", 1), create_key("a", k(), None), create_key("a", k(), None)]),
            Refusal::ShardKeyExists { key: k() }
        );
        assert_eq!(refused(vec![custom("a", 1), delete_key("a", k())]), Refusal::ShardKeyNotFound { key: k() });
        for (command, is_delete) in [(create_key("a", k(), None), false), (delete_key("a", k()), true)] {
            assert_eq!(refused(vec![create("a", 1), command]), Refusal::NoShardKeys { key: k(), is_delete });
        }
        let not_found = Refusal::CollectionNotFound { name: "b".into() };
        assert_eq!(refused(vec![custom("a", 1), create_key("b", k(), None)]), not_found);
        // A number and its text are two keys.
        let (state, _) =
            run(vec![custom("a", 1), create_key("a", ShardKey::Number(1), None), create_key("a", key("1"), None)]);
        assert_eq!(state.collection("a").unwrap().shard_keys.len(), 2);
    }

    #[test]
    fn s19_a_replaced_shard_keeps_its_place_and_number() {
        let replace = |created_index, shard| MetaCommand::ReplaceShard {
            from: "b".into(),
            to: "a".into(),
            created_index,
            shard: ShardId(shard),
        };
        let (mut state, _) = run(vec![create("a", 2), create("b", 2)]);
        let created_index = state.collection("a").unwrap().created_index;
        let changed = Err(Refusal::CollectionChanged { name: "a".into() });
        assert_eq!(state.apply(8, replace(created_index + 1, 2)), changed, "another collection of the name");
        assert_eq!(state.apply(8, replace(created_index, 3)), changed, "a shard of another collection");
        assert_eq!(state.apply(9, replace(created_index, 2)), Ok(MetaChange::Replaced));
        state.validate().unwrap();
        let collection = state.collection("a").unwrap();
        assert_eq!(collection.shards, [ShardId(1), ShardId(4)]);
        assert_eq!(collection.shards.iter().map(|id| collection.shard_number(*id)).collect::<Vec<_>>(), [0, 1]);
        assert_eq!(collection.place(ShardId(4)), Some(ShardPlace { key: None, range: 1, range_count: 2 }));
        assert!(state.collection("b").is_none(), "its other shards are gone");
        // Once more, and with keys.
        state.apply(10, create("b", 2)).unwrap();
        assert_eq!(state.apply(11, replace(created_index, 4)), Ok(MetaChange::Replaced));
        assert_eq!(state.collection("a").unwrap().shard_numbered(1), Some(ShardId(6)));
        state.validate().unwrap();
        let (mut state, _) =
            run(vec![custom("a", 1), create_key("a", key("k"), None), create_key("a", key("l"), None)]);
        let created_index = state.collection("a").unwrap().created_index;
        state.apply(10, custom("b", 1)).unwrap();
        state.apply(11, create_key("b", key("l"), None)).unwrap();
        assert_eq!(state.apply(12, replace(created_index, 1)), changed, "another key");
        assert_eq!(state.apply(12, replace(created_index, 2)), Ok(MetaChange::Replaced));
        let collection = state.collection("a").unwrap();
        assert_eq!(
            (collection.shard_numbered(1), &collection.shard_keys[&key("l")]),
            (Some(ShardId(3)), &vec![ShardId(3)])
        );
        state.validate().unwrap();
        // Vectors of another kind.
        let (mut state, _) = run(vec![create("a", 1), create("b", 1)]);
        let created_index = state.collection("a").unwrap().created_index;
        let wide = MetaCommand::DeleteCollection { name: "b".into(), created_index: None };
        state.apply(10, wide).unwrap();
        let mut config = config(1);
        config.vectors.by_name.values_mut().for_each(|params| params.dim += 1);
        let name = CollectionName::new("b").unwrap();
        state.apply(11, MetaCommand::CreateCollection { name, config, created_at: Timestamp(5) }).unwrap();
        assert_eq!(state.apply(12, replace(created_index, 1)), changed);
    }

    fn start(collection: &str, key: Option<ShardKey>, shard_count: u32) -> MetaCommand {
        MetaCommand::Reshard(ReshardingCommand::Start { collection: collection.to_owned(), key, shard_count })
    }

    fn reshard(command: ReshardingCommand) -> MetaCommand {
        MetaCommand::Reshard(command)
    }

    #[test]
    fn shards_are_replaced_by_others_once_all_have_been_passed_on() {
        use ReshardingCommand::{Abort, Claim, PassedOn, Postpone, Ready};
        let (mut state, _) = run(vec![create("a", 2)]);
        assert_eq!(state.apply(5, start("a", None, 4)), Ok(MetaChange::ReshardingStarted(5)));
        let (id, first, second) = (5, ShardId(1), ShardId(2));
        let under_way = Err(Refusal::ReshardingUnderWay { name: "a".into() });
        assert_eq!(state.apply(6, start("a", None, 3)), under_way);
        let collection = state.collection("a").unwrap();
        assert_eq!(collection.shards, [first, second], "until the end");
        assert_eq!(collection.place(ShardId(4)), Some(ShardPlace { key: None, range: 1, range_count: 4 }));
        let changed = Err(Refusal::ReshardingChanged { id });
        let fine = Ok(MetaChange::ReshardingChanged);
        let step = |state: &mut MetaState, command| {
            let outcome = state.apply(9, reshard(command));
            state.validate().unwrap();
            outcome
        };
        let ready = |round, parent, claim| Ready { id, round, parent, claim };
        let passed_on = |round, parent, claim| PassedOn { id, round, parent, claim };
        let claim = |state: &mut MetaState, parent| step(state, Claim { id, parent });
        assert_eq!(step(&mut state, ready(0, first, 0)), changed, "nobody has claimed it");
        assert_eq!(claim(&mut state, first), Ok(MetaChange::ReshardingClaimed(1)));
        assert_eq!(claim(&mut state, second), Ok(MetaChange::ReshardingClaimed(2)));
        assert_eq!(claim(&mut state, ShardId(3)), changed, "no parent");
        assert_eq!(claim(&mut state, first), Ok(MetaChange::ReshardingClaimed(3)));
        assert_eq!(step(&mut state, ready(0, first, 1)), changed, "another one has it by now");
        assert_eq!(step(&mut state, ready(0, first, 3)), fine);
        assert_eq!(step(&mut state, passed_on(0, first, 3)), changed, "the other one is not ready");
        assert_eq!(step(&mut state, ready(0, second, 2)), fine);
        assert_eq!(step(&mut state, passed_on(0, first, 3)), fine);
        assert_eq!(claim(&mut state, second), Ok(MetaChange::ReshardingClaimed(4)));
        assert_eq!(step(&mut state, passed_on(0, second, 4)), changed, "of an earlier round");
        assert_eq!(step(&mut state, ready(1, second, 4)), fine);
        assert_eq!(step(&mut state, passed_on(1, second, 4)), fine);
        assert_eq!(step(&mut state, Postpone { id, round: 0 }), changed);
        assert_eq!(step(&mut state, Postpone { id, round: 1 }), fine);
        for (parent, claim) in [(first, 3), (second, 4)] {
            assert_eq!(step(&mut state, ready(2, parent, claim)), fine);
        }
        assert_eq!(step(&mut state, passed_on(2, second, 4)), fine);
        assert_eq!(state.collection("a").unwrap().shards, [first, second], "the first was opened again");
        assert_eq!(step(&mut state, passed_on(2, first, 3)), fine);
        let collection = state.collection("a").unwrap();
        assert_eq!(collection.shards, [3, 4, 5, 6].map(ShardId));
        assert_eq!((collection.config.shard_number, &collection.resharding), (4, &None));
        assert_eq!(step(&mut state, Abort { id }), changed, "it is over");
        // And given up.
        assert_eq!(state.apply(20, start("a", None, 1)), Ok(MetaChange::ReshardingStarted(20)));
        assert_eq!(step(&mut state, Abort { id: 20 }), fine);
        assert_eq!(state.collection("a").unwrap().shards.len(), 4);
        assert_eq!(state.apply(21, start("a", None, 4)), Err(Refusal::ShardsAsWanted { count: 4 }));
        assert_eq!(state.apply(21, start("a", Some(key("k")), 3)), Err(Refusal::ReshardingKey { is_custom: false }));
    }

    #[test]
    fn the_shards_of_one_key_are_replaced_alone() {
        let (mut state, _) =
            run(vec![custom("a", 1), create_key("a", key("k"), None), create_key("a", key("l"), None)]);
        assert_eq!(state.apply(10, start("a", None, 3)), Err(Refusal::ReshardingKey { is_custom: true }));
        assert_eq!(state.apply(10, start("a", Some(key("m")), 3)), Err(Refusal::ShardKeyNotFound { key: key("m") }));
        state.apply(10, start("a", Some(key("k")), 3)).unwrap();
        let (id, round, parent, claim) = (10, 0, ShardId(1), 1);
        state.apply(11, reshard(ReshardingCommand::Claim { id, parent })).unwrap();
        state.apply(11, reshard(ReshardingCommand::Ready { id, round, parent, claim })).unwrap();
        let mut deleted = state.clone();
        state.apply(12, reshard(ReshardingCommand::PassedOn { id, round, parent, claim })).unwrap();
        state.validate().unwrap();
        let collection = state.collection("a").unwrap();
        assert_eq!(collection.shard_keys[&key("k")], [3, 4, 5].map(ShardId));
        assert_eq!((collection.shards.len(), collection.config.shard_number), (4, 1));
        deleted.apply(12, delete_key("a", key("k"))).unwrap();
        deleted.validate().unwrap();
        assert_eq!(deleted.collection("a").unwrap().all_shards().count(), 1);
    }

    fn any_command() -> impl Strategy<Value = MetaCommand> {
        let name = prop::sample::select(vec!["a", "b", "c"]);
        let step = (0..5, 0..40_u64, 0..2_u32, 1..9_u64, 1..4_u64).prop_map(|(kind, id, round, parent, claim)| {
            let parent = ShardId(parent);
            reshard(match kind {
                0 => ReshardingCommand::Claim { id, parent },
                1 => ReshardingCommand::Ready { id, round, parent, claim },
                2 => ReshardingCommand::PassedOn { id, round, parent, claim },
                3 => ReshardingCommand::Postpone { id, round },
                _ => ReshardingCommand::Abort { id },
            })
        });
        let action = (0..3, name.clone(), name.clone()).prop_map(|(kind, one, other)| match kind {
            0 => alias(one, other),
            1 => AliasAction::Delete { alias: one.to_owned() },
            _ => AliasAction::Rename { from: one.to_owned(), to: other.to_owned() },
        });
        prop_oneof![
            (name.clone(), 1..4_u32).prop_map(|(name, shards)| create(name, shards)),
            (name.clone(), 1..4_u32).prop_map(|(name, shards)| custom(name, shards)),
            (name.clone(), name.clone(), 1..4_u32).prop_map(|(name, text, n)| create_key(name, key(text), Some(n))),
            (name.clone(), name.clone()).prop_map(|(name, text)| delete_key(name, key(text))),
            (name.clone(), name.clone(), 1..9_u64, 0..40_u64).prop_map(|(from, to, shard, created_index)| {
                MetaCommand::ReplaceShard { from: from.into(), to: to.into(), created_index, shard: ShardId(shard) }
            }),
            (name.clone(), 1..4_u32).prop_map(|(name, shards)| start(name, None, shards)),
            (name.clone(), 1..4_u32).prop_map(|(name, shards)| start(name, Some(key("a")), shards)),
            step,
            name.prop_map(delete),
            prop::collection::vec(action, 1..4).prop_map(|actions| MetaCommand::UpdateAliases { actions }),
        ]
    }

    proptest! {
        #[test]
        fn every_sequence_keeps_the_invariants_and_survives_the_disk(commands in prop::collection::vec(any_command(), 0..40)) {
            let (state, _) = run(commands);
            let bytes = postcard::to_stdvec(&state).unwrap();
            prop_assert_eq!(postcard::from_bytes::<MetaState>(&bytes).unwrap(), state);
        }
    }
}
