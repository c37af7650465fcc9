//! The `meta` group's state and its changes: pure, decided by the log.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::model::collection::{AliasAction, CollectionConfig, CollectionConfigDiff, CollectionName};
use crate::model::field_index::FieldIndexSchema;
use crate::model::{Path, ShardId, VectorName};

/// A collection as the cluster knows it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collection {
    /// No other collection and no alias has it.
    pub name: String,
    /// As created and updated.
    pub config: CollectionConfig,
    /// In the order of their ranges of hash slots.
    pub shards: Vec<ShardId>,
    /// Log index of its creation: tells it from an earlier collection of the same name.
    pub created_index: u64,
}

/// A change of the state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[allow(missing_docs, reason = "the fields name themselves")]
pub enum MetaCommand {
    CreateCollection {
        name: CollectionName,
        config: CollectionConfig,
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
}

impl Default for MetaState {
    fn default() -> MetaState {
        MetaState { collections: BTreeMap::new(), aliases: BTreeMap::new(), next_shard_id: super::META_GROUP.0 + 1 }
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

    /// Applies the command of log entry `index`. A refused command changes nothing.
    pub fn apply(&mut self, index: u64, command: MetaCommand) -> MetaOutcome {
        match command {
            MetaCommand::CreateCollection { name, config } => self.create(index, name.as_str(), config),
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
        }
    }

    fn create(&mut self, index: u64, name: &str, config: CollectionConfig) -> MetaOutcome {
        if self.collections.contains_key(name) {
            return Err(Refusal::CollectionExists { name: name.to_owned() });
        }
        if self.aliases.contains_key(name) {
            return Err(Refusal::NameTaken { name: name.to_owned() });
        }
        let after_last = self.next_shard_id + u64::from(config.shard_number);
        let shards = (self.next_shard_id..after_last).map(ShardId).collect();
        self.next_shard_id = after_last;
        let collection = Collection { name: name.to_owned(), config, shards, created_index: index };
        self.collections.insert(name.to_owned(), Arc::new(collection));
        Ok(MetaChange::Created)
    }

    fn update(&mut self, name: &str, diff: &CollectionConfigDiff) -> MetaOutcome {
        let resolved = self.resolve(name).to_owned();
        let Some(collection) = self.collections.get_mut(&resolved) else {
            return Err(Refusal::CollectionNotFound { name: name.to_owned() });
        };
        if let Some(name) = diff.vectors.keys().find(|name| !collection.config.vectors.by_name.contains_key(*name)) {
            return Err(Refusal::VectorNameUnknown { name: name.clone() });
        }
        Arc::make_mut(collection).config.apply(diff);
        Ok(MetaChange::Updated)
    }

    fn change_fields(&mut self, name: &str, change: impl FnOnce(&mut BTreeMap<Path, FieldIndexSchema>)) -> MetaOutcome {
        let resolved = self.resolve(name).to_owned();
        let Some(collection) = self.collections.get_mut(&resolved) else {
            return Err(Refusal::CollectionNotFound { name: name.to_owned() });
        };
        change(&mut Arc::make_mut(collection).config.field_indexes);
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
            if *name != collection.name || collection.shards.len() != collection.config.shard_number as usize {
                return Err(format!("collection {name} is inconsistent: {collection:?}"));
            }
            for shard in &collection.shards {
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
        MetaCommand::CreateCollection { name: CollectionName::new(name).unwrap(), config: config(shard_number) }
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

    fn any_command() -> impl Strategy<Value = MetaCommand> {
        let name = prop::sample::select(vec!["a", "b", "c"]);
        let action = (0..3, name.clone(), name.clone()).prop_map(|(kind, one, other)| match kind {
            0 => alias(one, other),
            1 => AliasAction::Delete { alias: one.to_owned() },
            _ => AliasAction::Rename { from: one.to_owned(), to: other.to_owned() },
        });
        prop_oneof![
            (name.clone(), 1..4_u32).prop_map(|(name, shards)| create(name, shards)),
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
