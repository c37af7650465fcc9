//! Collections and aliases (PROTOCOL section 18).

use serde::Deserialize;
use serde_json::{Value, json};

use super::call::{BodyCall, Call};
use super::config::{self, CreateCollection, UpdateCollection};
use super::envelope::{Answer, success};
use crate::api::checks::{self, At, Checked, Findings};
use crate::model::collection::AliasAction;
use crate::service::Alias;

pub(super) async fn list(call: Call<()>) -> Answer {
    let names: Vec<Value> = call.rest.service.collections().into_iter().map(|name| json!({ "name": name })).collect();
    success(call.started, &json!({ "collections": names }))
}

pub(super) async fn info(call: Call<String>) -> Answer {
    let report = call.rest.service.collection_report(&call.path).await?;
    success(call.started, &config::info(&report))
}

pub(super) async fn exists(call: Call<String>) -> Answer {
    let exists = call.rest.service.collection_exists(&call.path);
    success(call.started, &json!({ "exists": exists }))
}

pub(super) async fn create(BodyCall { call, body }: BodyCall<String, CreateCollection>) -> Answer {
    let deadline = call.deadline()?;
    let mut found = Findings::new();
    let name = checks::name(&mut found, At::Root.field("collection_name"), &call.path);
    let name = found.finish("path parameters", name)?;
    let mut found = Findings::new();
    let config = body.convert(&mut found);
    let config = found.finish("JSON body", config)?;
    call.rest.service.create_collection(name, config, deadline).await?;
    success(call.started, &true)
}

pub(super) async fn update(BodyCall { call, body }: BodyCall<String, UpdateCollection>) -> Answer {
    let deadline = call.deadline()?;
    let mut found = Findings::new();
    let diff = body.convert(&mut found);
    let diff = found.finish("JSON body", diff)?;
    call.rest.service.update_collection(&call.path, diff, deadline).await?;
    success(call.started, &true)
}

pub(super) async fn delete(call: Call<String>) -> Answer {
    let deadline = call.deadline()?;
    let existed = call.rest.service.delete_collection(&call.path, deadline).await?;
    success(call.started, &existed)
}

#[derive(Deserialize)]
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

#[derive(Deserialize)]
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

pub(super) async fn update_aliases(BodyCall { call, body }: BodyCall<(), AliasActions>) -> Answer {
    let deadline = call.deadline()?;
    let mut found = Findings::new();
    let actions = body.convert(&mut found);
    let actions = found.finish("JSON body", actions)?;
    call.rest.service.update_aliases(actions, deadline).await?;
    success(call.started, &true)
}

pub(super) async fn aliases(call: Call<()>) -> Answer {
    success(call.started, &aliases_out(call.rest.service.aliases()))
}

pub(super) async fn collection_aliases(call: Call<String>) -> Answer {
    let aliases = call.rest.service.collection_aliases(&call.path)?;
    success(call.started, &aliases_out(aliases))
}

fn aliases_out(aliases: Vec<Alias>) -> Value {
    let aliases: Vec<Value> = aliases
        .into_iter()
        .map(|Alias { alias, collection }| json!({ "alias_name": alias, "collection_name": collection }))
        .collect();
    json!({ "aliases": aliases })
}
