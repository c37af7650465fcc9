//! Shard keys in and out (PROTOCOL section 18, CLIENTS section 3.5).

use super::pb::{self, shard_key};
use super::point::required;
use crate::api::checks::{At, Checked, Findings, each};
use crate::api::status::ApiError;
use crate::model::collection::{ShardKey, ShardKeySelector};

/// One key.
pub(super) fn key_from_wire(found: &mut Findings, at: At<'_>, wire: Option<pb::ShardKey>) -> Checked<ShardKey> {
    match required(found, at, wire.and_then(|wire| wire.key))? {
        shard_key::Key::Keyword(text) => Ok(ShardKey::Keyword(text)),
        shard_key::Key::Number(number) => Ok(ShardKey::Number(number)),
    }
}

/// A key of an answer.
pub(super) fn wire_from_key(key: ShardKey) -> pb::ShardKey {
    let key = match key {
        ShardKey::Keyword(text) => shard_key::Key::Keyword(text),
        ShardKey::Number(number) => shard_key::Key::Number(number),
    };
    pb::ShardKey { key: Some(key) }
}

/// What a request is meant for; no keys are no selector. `at` is the message that has it.
pub(super) fn keys_from_wire(
    found: &mut Findings,
    at: At<'_>,
    wire: Option<pb::ShardKeySelector>,
) -> Checked<Option<ShardKeySelector>> {
    let Some(pb::ShardKeySelector { shard_keys, fallback }) = wire else { return Ok(None) };
    let at = at.field("shard_key_selector");
    let keys_at = at.field("shard_keys");
    let mut keys = each(shard_keys, |i, key| key_from_wire(found, keys_at.item(i), Some(key)))?;
    let fallback = fallback.map(|key| key_from_wire(found, at.field("fallback"), Some(key))).transpose()?;
    match (fallback, keys.len()) {
        (None, 0) => Ok(None),
        (None, _) => Ok(Some(ShardKeySelector::Keys(keys))),
        (Some(fallback), 1) => Ok(keys.pop().map(|target| ShardKeySelector::WithFallback { target, fallback })),
        (Some(_), _) => {
            found.refuse(ApiError::wrong_input(format_args!("`{at}`: a fallback needs exactly one shard key")))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clients_3_5_forms_of_a_selector() {
        let read = |wire| {
            let mut found = Findings::new();
            let keys = keys_from_wire(&mut found, At::Root, wire);
            found.finish("body", keys).map_err(|error| error.text)
        };
        let text = |text: &str| ShardKey::Keyword(text.to_owned());
        let selector = |keys: &[ShardKey], fallback: Option<ShardKey>| {
            let shard_keys = keys.iter().cloned().map(wire_from_key).collect();
            Some(pb::ShardKeySelector { shard_keys, fallback: fallback.map(wire_from_key) })
        };
        assert_eq!(read(None), Ok(None));
        assert_eq!(read(selector(&[], None)), Ok(None));
        let keys = [text("a"), ShardKey::Number(7)];
        assert_eq!(read(selector(&keys, None)), Ok(Some(ShardKeySelector::Keys(keys.to_vec()))));
        let with_fallback = ShardKeySelector::WithFallback { target: text("a"), fallback: ShardKey::Number(1) };
        assert_eq!(read(selector(&keys[..1], Some(ShardKey::Number(1)))), Ok(Some(with_fallback)));
        for count in [0, 2] {
            let want = "Wrong input: `shard_key_selector`: a fallback needs exactly one shard key";
            assert_eq!(read(selector(&keys[..count], Some(text("f")))), Err(want.to_owned()));
        }
        let unset = Some(pb::ShardKeySelector { shard_keys: vec![pb::ShardKey { key: None }], fallback: None });
        assert_eq!(read(unset), Err("Wrong input: `shard_key_selector.shard_keys[0]` is required".to_owned()));
    }
}
