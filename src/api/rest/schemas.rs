//! Schemas of the types whose reading is written by hand: what [`schemars`] cannot see. Each stands beside its reading,
//! made of these.

use schemars::{Schema, json_schema};

/// One of several shapes.
pub(super) fn any_of<const N: usize>(shapes: [Schema; N]) -> Schema {
    json_schema!({ "anyOf": shapes.to_vec() })
}

/// A list.
pub(super) fn list(of: Schema) -> Schema {
    json_schema!({ "type": "array", "items": of })
}

/// An object whose keys are the user's.
pub(super) fn map(of: Schema) -> Schema {
    json_schema!({ "type": "object", "additionalProperties": of })
}

/// An object with members that must be there.
pub(super) fn object<const N: usize>(members: [(&str, Schema); N]) -> Schema {
    object_with(members, [])
}

/// An object with members that must be there, and others.
pub(super) fn object_with<const N: usize, const M: usize>(
    needed: [(&str, Schema); N],
    others: [(&str, Schema); M],
) -> Schema {
    let names: Vec<&str> = needed.iter().map(|(name, _)| *name).collect();
    let members: serde_json::Map<String, serde_json::Value> =
        needed.into_iter().chain(others).map(|(name, schema)| (name.to_owned(), schema.to_value())).collect();
    json_schema!({ "type": "object", "properties": members, "required": names })
}

/// `schema` without members of other names: what refuses unknown keys.
pub(super) fn closed(mut schema: Schema) -> Schema {
    schema.insert("additionalProperties".to_owned(), false.into());
    schema
}

/// `schema`, or null.
pub(super) fn nullable(schema: Schema) -> Schema {
    any_of([schema, json_schema!({ "type": "null" })])
}

/// Implements `JsonSchema` by a name and a function.
macro_rules! schema {
    ($type:ty, $name:literal, $schemas:pat => $schema:expr) => {
        impl schemars::JsonSchema for $type {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Borrowed($name)
            }
            fn schema_id() -> std::borrow::Cow<'static, str> {
                std::borrow::Cow::Borrowed(concat!(module_path!(), "::", $name))
            }
            fn json_schema($schemas: &mut schemars::SchemaGenerator) -> schemars::Schema {
                $schema
            }
        }
    };
}
pub(super) use schema;
