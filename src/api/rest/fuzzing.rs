//! Bodies as the handlers read them, for `crate::fuzzing`.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::call::parse;
use super::cluster::{ClusterOperation, CreateShardKey, DeleteShardKey};
use super::collections::AliasActions;
use super::config::{CreateCollection, UpdateCollection};
use super::fields::{CreateIndex, Facet};
use super::filter::FilterBody;
use super::groups::{self, Discover, GroupsBody, MatrixBody, QueryGroups, Recommend, RecommendGroups, SearchGroups};
use super::points::{self, Change};
use super::query::QueryBody;
use super::reads::{Count, Retrieve, Scroll, Search, Searches, from_body};
use super::snapshots::Recover;
use crate::api::checks::{self, At};
use crate::model::formula::Formula;
use crate::model::{Filter, PointOp};

/// The filter in this JSON.
pub fn filter(json: &[u8]) -> Option<Filter> {
    let body: FilterBody = parse(json).ok()?;
    from_body(|found| body.convert(found, At::Root)).ok()
}

/// The formula in this JSON: `{"formula": .., "defaults": ..}`.
pub fn formula(json: &[u8]) -> Option<Formula> {
    let mut members: Map<String, Value> = parse(json).ok()?;
    let defaults = match members.remove("defaults") {
        Some(Value::Object(defaults)) => Some(defaults),
        _ => None,
    };
    let formula = members.remove("formula")?;
    from_body(|found| super::formula::formula(found, At::Root, formula, defaults)).ok()
}

/// Reads and converts the body of the operation that `choice` stands for. Returns the changes it asks for.
pub fn body(choice: u8, json: &[u8]) -> Vec<PointOp> {
    match choice % 28 {
        0 => return change::<points::Upsert>(json),
        1 => return change::<points::Delete>(json),
        2 => return change::<points::UpdateVectors>(json),
        3 => return change::<points::DeleteVectors>(json),
        4 => return change::<points::SetPayload>(json),
        5 => return change::<points::OverwritePayload>(json),
        6 => return change::<points::DeletePayload>(json),
        7 => return change::<points::ClearPayload>(json),
        8 => {
            let Ok(batch) = parse::<points::Batch>(json) else { return Vec::new() };
            return from_body(|found| batch.convert(found)).unwrap_or_default();
        }
        9 => query::<QueryBody>(json),
        10 => query::<Search>(json),
        11 => query::<Recommend>(json),
        12 => query::<Discover>(json),
        13 => queries::<QueryBody>(json),
        14 => queries::<Search>(json),
        15 => grouped::<QueryGroups>(json),
        16 => grouped::<SearchGroups>(json),
        17 => grouped::<RecommendGroups>(json),
        18 => read(json, |body: MatrixBody| from_body(|found| body.convert(found)).is_ok()),
        19 => read(json, |body: Scroll| from_body(|found| body.convert(found)).is_ok()),
        20 => read(json, |body: Count| from_body(|found| body.convert(found)).is_ok()),
        21 => read(json, |body: Facet| from_body(|found| body.convert(found)).is_ok()),
        22 => read(json, |body: CreateIndex| from_body(|found| body.convert(found)).is_ok()),
        23 => read(json, |body: CreateCollection| from_body(|found| body.convert(found)).is_ok()),
        24 => read(json, |body: UpdateCollection| from_body(|found| body.convert(found)).is_ok()),
        25 => read(json, |body: CreateShardKey| from_body(|found| body.convert(found, At::Root)).is_ok()),
        26 => read(json, |body: AliasActions| from_body(|found| body.convert(found)).is_ok()),
        _ => {
            read(json, |_: Retrieve| true);
            read(json, |_: Recover| true);
            read(json, |_: ClusterOperation| true);
            read(json, |_: DeleteShardKey| true);
        }
    }
    Vec::new()
}

fn read<B: DeserializeOwned>(json: &[u8], convert: impl FnOnce(B) -> bool) {
    let _ = parse(json).is_ok_and(convert);
}

fn change<C: Change>(json: &[u8]) -> Vec<PointOp> {
    let Ok(body) = parse::<C>(json) else { return Vec::new() };
    from_body(|found| body.convert(found, At::Root)).into_iter().collect()
}

fn query<B: DeserializeOwned + Into<QueryBody>>(json: &[u8]) {
    read(json, |body: B| from_body(|found| body.into().convert(found, At::Root)).is_ok());
}

fn queries<B: DeserializeOwned + Into<QueryBody>>(json: &[u8]) {
    let root = At::Root;
    read(json, |Searches { searches }: Searches<B>| {
        from_body(|found| checks::each(searches, |i, body| body.into().convert(found, root.item(i)))).is_ok()
    });
}

fn grouped<B: GroupsBody>(json: &[u8]) {
    read(json, |body: B| {
        let (body, parts) = body.split();
        from_body(|found| groups::groups_request(found, At::Root, body, parts)).is_ok()
    });
}
