//! Shapes that many bodies share: ids, and lists that may be written as their one element.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, Deserializer, Error, MapAccess, SeqAccess, Visitor};

use crate::model::PointId;

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
