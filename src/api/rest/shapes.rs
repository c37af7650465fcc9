//! Shapes that many bodies share: ids, shard keys, and lists that may be written as their one element.

use std::borrow::Cow;
use std::fmt;
use std::marker::PhantomData;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde::{Serialize, Serializer};

use super::schemas::{any_of, list, object, schema};

use crate::model::PointId;
use crate::model::collection::{ShardKey, ShardKeySelector};

/// An id: a number from 0 or the text of a UUID (PROTOCOL section 1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Id(pub PointId);

impl<'de> Deserialize<'de> for Id {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct IdVisitor;
        impl Visitor<'_> for IdVisitor {
            type Value = Id;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a point id: an unsigned integer or a UUID")
            }
            fn visit_u64<E: Error>(self, num: u64) -> Result<Id, E> {
                Ok(Id(PointId::Num(num)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Id, E> {
                PointId::from_uuid_text(text).map(Id).map_err(|_| {
                    E::custom(format_args!(
                        "value {text} is not a valid point ID, valid values are either an unsigned integer or a UUID"
                    ))
                })
            }
        }
        deserializer.deserialize_any(IdVisitor)
    }
}

schema!(Id, "PointId", _ => any_of([
    json_schema!({ "type": "integer", "format": "uint64", "minimum": 0 }),
    json_schema!({ "type": "string", "format": "uuid" }),
]));

/// The ids themselves.
pub(super) fn ids(wire: Vec<Id>) -> Vec<PointId> {
    wire.into_iter().map(|Id(id)| id).collect()
}

/// A list of objects, or one object.
#[derive(Debug)]
pub(super) struct OneOrMany<T>(pub Vec<T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for OneOrMany<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListVisitor<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for ListVisitor<T> {
            type Value = OneOrMany<T>;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object or a list of objects")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
                let mut items = Vec::new();
                while let Some(item) = seq.next_element()? {
                    items.push(item);
                }
                Ok(OneOrMany(items))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                T::deserialize(MapAccessDeserializer::new(map)).map(|item| OneOrMany(vec![item]))
            }
        }
        deserializer.deserialize_any(ListVisitor(PhantomData))
    }
}

/// Written out where it is used.
impl<T: JsonSchema> JsonSchema for OneOrMany<T> {
    fn inline_schema() -> bool {
        true
    }
    fn schema_name() -> Cow<'static, str> {
        Cow::Owned(format!("OneOrMany_of_{}", T::schema_name()))
    }
    fn json_schema(schemas: &mut SchemaGenerator) -> Schema {
        let one = schemas.subschema_for::<T>();
        any_of([list(one.clone()), one])
    }
}

/// One shard key: a text or a number.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Key(pub ShardKey);

impl<'de> Deserialize<'de> for Key {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeyVisitor;
        impl Visitor<'_> for KeyVisitor {
            type Value = Key;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a shard key: a text or an unsigned integer")
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Key, E> {
                Ok(Key(ShardKey::Number(number)))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Key, E> {
                Ok(Key(ShardKey::Keyword(text.to_owned())))
            }
        }
        deserializer.deserialize_any(KeyVisitor)
    }
}

schema!(Key, "ShardKey", _ => any_of([
    json_schema!({ "type": "string" }),
    json_schema!({ "type": "integer", "format": "uint64", "minimum": 0 }),
]));

/// A shard key of an answer.
#[derive(JsonSchema)]
#[schemars(transparent)]
pub(super) struct KeyOut(#[schemars(with = "Key")] pub ShardKey);

impl Serialize for KeyOut {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            ShardKey::Number(number) => serializer.serialize_u64(*number),
            ShardKey::Keyword(text) => serializer.serialize_str(text),
        }
    }
}

/// What a request is meant for: a key, a list of them, or `{target, fallback}`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Keys(ShardKeySelector);

schema!(Keys, "ShardKeySelector", schemas => {
    let key = schemas.subschema_for::<Key>();
    any_of([key.clone(), list(key.clone()), object([("target", key.clone()), ("fallback", key)])])
});

/// The selector; an empty list is none.
pub(super) fn shard_keys(given: Option<Keys>) -> Option<ShardKeySelector> {
    given.map(|Keys(selector)| selector).filter(|selector| *selector != ShardKeySelector::Keys(Vec::new()))
}

impl<'de> Deserialize<'de> for Keys {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct KeysVisitor;
        impl<'de> Visitor<'de> for KeysVisitor {
            type Value = Keys;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a shard key, a list of shard keys, or an object with `target` and `fallback`")
            }
            fn visit_u64<E: Error>(self, number: u64) -> Result<Keys, E> {
                Ok(Keys(ShardKeySelector::Keys(vec![ShardKey::Number(number)])))
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Keys, E> {
                Ok(Keys(ShardKeySelector::Keys(vec![ShardKey::Keyword(text.to_owned())])))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Keys, A::Error> {
                let mut keys = Vec::new();
                while let Some(Key(key)) = seq.next_element()? {
                    keys.push(key);
                }
                Ok(Keys(ShardKeySelector::Keys(keys)))
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Keys, A::Error> {
                #[derive(serde::Deserialize)]
                struct WithFallback {
                    target: Key,
                    fallback: Key,
                }
                let WithFallback { target, fallback } = WithFallback::deserialize(MapAccessDeserializer::new(map))?;
                Ok(Keys(ShardKeySelector::WithFallback { target: target.0, fallback: fallback.0 }))
            }
        }
        deserializer.deserialize_any(KeysVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn clients_3_5_forms_of_a_shard_key() {
        let read =
            |value| serde_json::from_value::<Option<Keys>>(value).map(shard_keys).map_err(|error| error.to_string());
        let text = |text: &str| ShardKey::Keyword(text.to_owned());
        let keys = |keys: Vec<ShardKey>| Ok(Some(ShardKeySelector::Keys(keys)));
        assert_eq!(read(json!("a")), keys(vec![text("a")]));
        assert_eq!(read(json!("7")), keys(vec![text("7")]));
        assert_eq!(read(json!(7)), keys(vec![ShardKey::Number(7)]));
        assert_eq!(read(json!(["a", 7])), keys(vec![text("a"), ShardKey::Number(7)]));
        assert_eq!(read(json!([])), Ok(None));
        assert_eq!(read(json!(null)), Ok(None));
        let with_fallback = ShardKeySelector::WithFallback { target: text("t"), fallback: ShardKey::Number(1) };
        assert_eq!(read(json!({"target": "t", "fallback": 1})), Ok(Some(with_fallback)));
        for wrong in [json!(-1), json!(1.5), json!(true), json!({"target": "t"}), json!([null]), json!([["a"]])] {
            assert!(read(wrong.clone()).is_err(), "{wrong}");
        }
    }
}
