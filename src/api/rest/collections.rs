//! Collections and aliases (PROTOCOL section 18).

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::call::{BodyCall, Call};
use super::config::{self, CreateCollection, CreateVector, UpdateCollection};
use super::envelope::{Envelope, answer};
use super::records::UpdateOut;
use crate::api::checks::{self, At, Checked, Findings};
use crate::model::collection::AliasAction;
use crate::service::Alias;

#[derive(Serialize, JsonSchema)]
pub(super) struct Collections {
    collections: Vec<CollectionDescription>,
}

#[derive(Serialize, JsonSchema)]
struct CollectionDescription {
    name: String,
}

pub(super) async fn list(call: Call<()>) -> Envelope<Collections> {
    let names = call.rest.service.collections().into_iter();
    let collections = names.map(|name| CollectionDescription { name }).collect();
    answer(call.started, Collections { collections })
}

pub(super) async fn info(call: Call<String>) -> Envelope<config::CollectionInfo> {
    let report = call.rest.service.collection_report(&call.path).await?;
    answer(call.started, config::CollectionInfo(config::info(&report)))
}

#[derive(Serialize, JsonSchema)]
pub(super) struct CollectionExistence {
    exists: bool,
}

pub(super) async fn exists(call: Call<String>) -> Envelope<CollectionExistence> {
    let exists = call.rest.service.collection_exists(&call.path);
    answer(call.started, CollectionExistence { exists })
}

pub(super) async fn create(BodyCall { call, body }: BodyCall<String, CreateCollection>) -> Envelope<bool> {
    let deadline = call.deadline()?;
    let mut found = Findings::new();
    let name = checks::name(&mut found, At::Root.field("collection_name"), &call.path);
    let name = found.finish("path parameters", name)?;
    let mut found = Findings::new();
    let config = body.convert(&mut found);
    let config = found.finish("JSON body", config)?;
    call.rest.service.create_collection(name, config, deadline).await?;
    answer(call.started, true)
}

pub(super) async fn update(BodyCall { call, body }: BodyCall<String, UpdateCollection>) -> Envelope<bool> {
    let deadline = call.deadline()?;
    let mut found = Findings::new();
    let diff = body.convert(&mut found);
    let diff = found.finish("JSON body", diff)?;
    call.rest.service.update_collection(&call.path, diff, deadline).await?;
    answer(call.started, true)
}

pub(super) async fn delete(call: Call<String>) -> Envelope<bool> {
    let deadline = call.deadline()?;
    let existed = call.rest.service.delete_collection(&call.path, deadline).await?;
    answer(call.started, existed)
}

pub(super) async fn create_vector(
    BodyCall { call, body }: BodyCall<(String, String), CreateVector>,
) -> Envelope<UpdateOut> {
    let options = call.write_options()?;
    let (collection, name) = call.path.clone();
    let mut found = Findings::new();
    let named = checks::vector_name(&mut found, At::Root.field("vector_name"), &name);
    found.finish("path parameters", named)?;
    let mut found = Findings::new();
    let vector = body.convert(&mut found, &name);
    let vector = found.finish("JSON body", vector)?;
    let created = call.rest.service.create_vector(&collection, name, vector, options);
    let ack = call.within_limit(created).await??;
    answer(call.started, UpdateOut::from(ack))
}

pub(super) async fn delete_vector(call: Call<(String, String)>) -> Envelope<UpdateOut> {
    let options = call.write_options()?;
    let (collection, name) = call.path.clone();
    let ack = call.within_limit(call.rest.service.delete_vector(&collection, name, options)).await??;
    answer(call.started, UpdateOut::from(ack))
}

#[derive(Deserialize, JsonSchema)]
pub(super) struct AliasActions {
    actions: Vec<Action>,
}

impl AliasActions {
    pub(super) fn convert(self, found: &mut Findings) -> Checked<Vec<AliasAction>> {
        let root = At::Root;
        let at = root.field("actions");
        checks::each(self.actions, |i, action| action.convert(found, at.item(i)))
    }
}

#[derive(Deserialize, JsonSchema)]
#[schemars(rename = "AliasAction")]
enum Action {
    #[serde(rename = "create_alias")]
    Create { collection_name: String, alias_name: String },
    #[serde(rename = "delete_alias")]
    Delete { alias_name: String },
    #[serde(rename = "rename_alias")]
    Rename { old_alias_name: String, new_alias_name: String },
}

impl Action {
    fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<AliasAction> {
        match self {
            Action::Create { collection_name, alias_name } => {
                checks::name(found, at.field("create_alias").field("alias_name"), &alias_name)?;
                Ok(AliasAction::Create { alias: alias_name, collection: collection_name })
            }
            Action::Delete { alias_name } => Ok(AliasAction::Delete { alias: alias_name }),
            Action::Rename { old_alias_name, new_alias_name } => {
                checks::name(found, at.field("rename_alias").field("new_alias_name"), &new_alias_name)?;
                Ok(AliasAction::Rename { from: old_alias_name, to: new_alias_name })
            }
        }
    }
}

pub(super) async fn update_aliases(BodyCall { call, body }: BodyCall<(), AliasActions>) -> Envelope<bool> {
    let deadline = call.deadline()?;
    let mut found = Findings::new();
    let actions = body.convert(&mut found);
    let actions = found.finish("JSON body", actions)?;
    call.rest.service.update_aliases(actions, deadline).await?;
    answer(call.started, true)
}

#[derive(Serialize, JsonSchema)]
pub(super) struct Aliases {
    aliases: Vec<AliasDescription>,
}

#[derive(Serialize, JsonSchema)]
struct AliasDescription {
    alias_name: String,
    collection_name: String,
}

pub(super) async fn aliases(call: Call<()>) -> Envelope<Aliases> {
    answer(call.started, Aliases::from(call.rest.service.aliases()))
}

pub(super) async fn collection_aliases(call: Call<String>) -> Envelope<Aliases> {
    let aliases = call.rest.service.collection_aliases(&call.path)?;
    answer(call.started, Aliases::from(aliases))
}

impl From<Vec<Alias>> for Aliases {
    fn from(aliases: Vec<Alias>) -> Aliases {
        let describe =
            |Alias { alias, collection }| AliasDescription { alias_name: alias, collection_name: collection };
        Aliases { aliases: aliases.into_iter().map(describe).collect() }
    }
}
