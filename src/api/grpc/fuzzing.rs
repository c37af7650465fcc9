//! Messages as the services read them, for `crate::fuzzing`.

use std::time::Duration;

use prost::Message;

use super::call::Calls;
use super::pb;
use super::status::checked;
use super::write::Write;
use super::{config, fields, query, write};
use crate::api::checks::{Checked, Findings};
use crate::model::PointOp;

/// Decodes and converts a message of the method that `choice` stands for. Returns the changes it asks for.
pub fn message(choice: u8, bytes: &[u8]) -> Vec<PointOp> {
    // A call's clock; the conversions compute deadlines from it.
    let Ok(call) = Calls::new(1, Duration::from_secs(60)).begin() else { return Vec::new() };
    let times = call.times;
    macro_rules! read {
        ($convert:path) => {
            read(bytes, |found, wire| $convert(found, wire, times)).map(|_| Vec::new())
        };
    }
    macro_rules! change {
        ($convert:path) => {
            read(bytes, |found, wire| $convert(found, wire, times)).map(|Write { change, .. }| vec![change])
        };
    }
    let changes = match choice % 31 {
        0 => change!(write::upsert),
        1 => change!(write::delete),
        2 => change!(write::update_vectors),
        3 => change!(write::delete_vectors),
        4 => change!(write::set_payload),
        5 => change!(write::overwrite_payload),
        6 => change!(write::delete_payload),
        7 => change!(write::clear_payload),
        8 => read(bytes, |found, wire| write::update_batch(found, wire, times)).map(|batch| batch.change),
        9 => read!(query::query),
        10 => read!(query::query_batch),
        11 => read!(query::search),
        12 => read!(query::search_batch),
        13 => read!(query::recommend),
        14 => read!(query::recommend_batch),
        15 => read!(query::discover),
        16 => read!(query::discover_batch),
        17 => read!(query::query_groups),
        18 => read!(query::search_groups),
        19 => read!(query::recommend_groups),
        20 => read!(query::matrix),
        21 => read!(query::scroll),
        22 => read!(query::count),
        23 => read!(query::facet),
        24 => read!(query::get),
        25 => read!(fields::create),
        26 => read!(fields::delete),
        27 => read!(config::create),
        28 => read!(config::update),
        29 => read!(config::aliases),
        _ => {
            let root = crate::api::checks::At::Root;
            read(bytes, |found, wire| config::shard_key(found, root, Some::<pb::CreateShardKey>(wire)))
                .map(|_| Vec::new())
        }
    };
    changes.unwrap_or_default()
}

/// A message is what it is written as; `convert` gets it as the service would.
fn read<M, T>(bytes: &[u8], convert: impl FnOnce(&mut Findings, M) -> Checked<T>) -> Option<T>
where
    M: Message + Default,
{
    let wire = M::decode(bytes).ok()?;
    let written = wire.encode_to_vec();
    assert_eq!(written.len(), wire.encoded_len());
    assert_eq!(M::decode(written.as_slice()).map(|again| again.encode_to_vec()), Ok(written));
    checked(|found| convert(found, wire)).ok()
}
