//! Vectors on the wire (PROTOCOL section 2.1). Dense numbers are parsed straight into their `Vec<f32>`.

use std::fmt;

use schemars::json_schema;
use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserialize, DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use super::schemas::{any_of, list, map, nullable, object_with, schema};
use super::shapes::Id;
use crate::api::checks::{self, At, Checked, Findings};
use crate::api::inference::{self, Inference, Input, Purpose};
use crate::model::query::Target;
use crate::model::{NamedVectors, Vector};

/// One vector.
#[derive(Debug, PartialEq)]
pub(super) enum OneVector {
    Dense(Vec<f32>),
    /// Rows one after the other, and the length of each.
    Multi {
        values: Vec<f32>,
        row_lengths: Vec<usize>,
    },
    Sparse {
        indices: Vec<u32>,
        values: Vec<f32>,
    },
    /// An object a vector is to be computed from.
    Inference(Inference),
    /// An object that is none of these, with the members that vectors do not have.
    UnknownObject(Map<String, Value>),
}

schema!(OneVector, "Vector", schemas => any_of([
    list(schemas.subschema_for::<f32>()),
    list(list(schemas.subschema_for::<f32>())),
    schemas.subschema_for::<SparseShape>(),
    schemas.subschema_for::<InferenceShape>(),
]));

/// The schema of a sparse vector.
struct SparseShape;

schema!(SparseShape, "SparseVector", schemas => object_with(
    [("indices", schemas.subschema_for::<Vec<u32>>()), ("values", schemas.subschema_for::<Vec<f32>>())],
    [],
));

/// The schema of an object a vector is to be computed from.
struct InferenceShape;

schema!(InferenceShape, "Document", schemas => object_with(
    [
        ("text", schemas.subschema_for::<String>()),
        ("model", json_schema!({ "type": "string", "pattern": "^([Qq][Dd][Rr][Aa][Nn][Tt]/)?[Bb][Mm]25$" })),
    ],
    [("options", nullable(schemas.subschema_for::<inference::OptionsBody>()))],
));

impl OneVector {
    /// The checked vector. `at` is where it stands.
    pub(super) fn convert(self, found: &mut Findings, at: At<'_>, purpose: Purpose) -> Checked<Vector> {
        match self {
            OneVector::Dense(values) => checks::dense(found, at, values),
            OneVector::Multi { values, row_lengths } => checks::multi(found, at, values, &row_lengths),
            OneVector::Sparse { indices, values } => checks::sparse(found, at, indices, values),
            OneVector::Inference(object) => inference::vector(found, object, purpose),
            OneVector::UnknownObject(_) => found.malformed(format_args!(
                "{at}: an object that is neither a sparse vector nor a `text`, `image` or `object` with a `model`"
            )),
        }
    }

    pub(super) fn from_seq<'de, A: SeqAccess<'de>>(mut seq: A) -> Result<OneVector, A::Error> {
        let mut values = match seq.next_element()? {
            None => return Ok(OneVector::Dense(Vec::new())),
            Some(Component::Number(first)) => vec![first],
            Some(Component::Row(mut values)) => {
                let mut row_lengths = vec![values.len()];
                while let Some(length) = seq.next_element_seed(Row(&mut values))? {
                    row_lengths.push(length);
                }
                return Ok(OneVector::Multi { values, row_lengths });
            }
        };
        while let Some(value) = seq.next_element()? {
            values.push(value);
        }
        Ok(OneVector::Dense(values))
    }

    fn from_map<'de, A: MapAccess<'de>>(mut map: A) -> Result<OneVector, A::Error> {
        let mut members = ObjectMembers::default();
        while let Some(key) = map.next_key::<String>()? {
            match key.as_str() {
                "indices" => members.indices = map.next_value()?,
                "values" => members.values = map.next_value()?,
                "text" => members.text = map.next_value()?,
                "image" | "object" => members.has_other_input |= map.next_value::<Option<IgnoredAny>>()?.is_some(),
                "model" => members.model = map.next_value()?,
                "options" => members.options = map.next_value()?,
                _ => drop(members.others.insert(key, map.next_value()?)),
            }
        }
        Ok(members.into_vector())
    }
}

/// The members by which an object shows itself to be a vector.
#[derive(Default)]
struct ObjectMembers {
    indices: Option<Vec<u32>>,
    values: Option<Vec<f32>>,
    text: Option<Value>,
    has_other_input: bool,
    model: Option<String>,
    options: Option<Map<String, Value>>,
    others: Map<String, Value>,
}

impl ObjectMembers {
    fn into_vector(self) -> OneVector {
        let input = match self.text {
            Some(Value::String(text)) => Some(Input::Text(text)),
            Some(_) => Some(Input::Other),
            None => self.has_other_input.then_some(Input::Other),
        };
        match (self.indices, self.values) {
            (None, None) => match (input, self.model) {
                (Some(input), Some(model)) => {
                    OneVector::Inference(Inference { input, model, options: self.options.unwrap_or_default() })
                }
                _ => OneVector::UnknownObject(self.others),
            },
            (indices, values) => {
                OneVector::Sparse { indices: indices.unwrap_or_default(), values: values.unwrap_or_default() }
            }
        }
    }
}

/// Reads a list of numbers to the end of another one, and tells its length.
struct Row<'a>(&'a mut Vec<f32>);

impl<'de> DeserializeSeed<'de> for Row<'_> {
    type Value = usize;
    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<usize, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Row<'_> {
    type Value = usize;
    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of numbers")
    }
    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<usize, A::Error> {
        let before = self.0.len();
        while let Some(value) = seq.next_element()? {
            self.0.push(value);
        }
        Ok(self.0.len() - before)
    }
}

/// The first element of a vector tells its kind.
enum Component {
    Number(f32),
    Row(Vec<f32>),
}

impl<'de> Deserialize<'de> for Component {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ComponentVisitor;
        impl<'de> Visitor<'de> for ComponentVisitor {
            type Value = Component;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number or a list of numbers")
            }
            fn visit_f64<E: Error>(self, value: f64) -> Result<Component, E> {
                // As the parser says of the other components.
                let value = value as f32;
                if value.is_finite() { Ok(Component::Number(value)) } else { Err(E::custom("number out of range")) }
            }
            fn visit_u64<E: Error>(self, value: u64) -> Result<Component, E> {
                Ok(Component::Number(value as f32))
            }
            fn visit_i64<E: Error>(self, value: i64) -> Result<Component, E> {
                Ok(Component::Number(value as f32))
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Component, A::Error> {
                let mut values = Vec::new();
                Row(&mut values).visit_seq(seq)?;
                Ok(Component::Row(values))
            }
        }
        deserializer.deserialize_any(ComponentVisitor)
    }
}

impl<'de> Deserialize<'de> for OneVector {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VectorVisitor;
        impl<'de> Visitor<'de> for VectorVisitor {
            type Value = OneVector;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector: a list of numbers")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<OneVector, A::Error> {
                OneVector::from_seq(seq)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<OneVector, A::Error> {
                OneVector::from_map(map)
            }
        }
        deserializer.deserialize_any(VectorVisitor)
    }
}

/// The vectors of a point: one bare value for the unnamed vector, or a map from names to values. Null members are
/// absent.
#[derive(Debug, PartialEq)]
pub(super) enum PointVectors {
    Bare(OneVector),
    Named(Vec<(String, OneVector)>),
}

impl PointVectors {
    /// The checked vectors. `at` is where they stand.
    pub(super) fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<NamedVectors> {
        match self {
            PointVectors::Bare(vector) => {
                let vector = vector.convert(found, at, Purpose::Store)?;
                Ok(NamedVectors::from([(String::new(), vector)]))
            }
            PointVectors::Named(members) => {
                let members = checks::each(members, |_, (name, vector)| {
                    let vector = vector.convert(found, at.member(), Purpose::Store)?;
                    Ok((name, vector))
                })?;
                Ok(members.into_iter().collect())
            }
        }
    }
}

impl PointVectors {
    /// A map with a text as its `model` is an object a vector is to be computed from: no vector is a text.
    fn from_members(members: Vec<(String, Member)>) -> Result<PointVectors, String> {
        if members.iter().any(|(name, member)| name == "model" && matches!(member, Member::Text(_))) {
            return Ok(PointVectors::Bare(bare_inference(members)));
        }
        let mut vectors = Vec::new();
        for (name, member) in members {
            match member {
                Member::Vector(vector) => vectors.push((name, vector)),
                Member::Null => {}
                Member::Text(_) | Member::Other => return Err(format!("vector `{name}` is not a list of numbers")),
            }
        }
        Ok(PointVectors::Named(vectors))
    }
}

fn bare_inference(members: Vec<(String, Member)>) -> OneVector {
    let mut object = ObjectMembers::default();
    for (name, member) in members {
        match (name.as_str(), member) {
            (_, Member::Null) => {}
            ("text", Member::Text(text)) => object.text = Some(Value::String(text)),
            ("model", Member::Text(model)) => object.model = Some(model),
            ("options", Member::Vector(OneVector::UnknownObject(options))) => object.options = Some(options),
            ("text" | "image" | "object", _) => object.has_other_input = true,
            _ => {}
        }
    }
    object.into_vector()
}

/// A value in a map of vectors.
enum Member {
    Vector(OneVector),
    Null,
    /// No vector: with a model beside it, the map is no map of vectors but an object one is to be computed from.
    Text(String),
    Other,
}

impl<'de> Deserialize<'de> for Member {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct MemberVisitor;
        impl<'de> Visitor<'de> for MemberVisitor {
            type Value = Member;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector: a list of numbers")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Member, A::Error> {
                OneVector::from_seq(seq).map(Member::Vector)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Member, A::Error> {
                OneVector::from_map(map).map(Member::Vector)
            }
            fn visit_unit<E: Error>(self) -> Result<Member, E> {
                Ok(Member::Null)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<Member, E> {
                Ok(Member::Text(text.to_owned()))
            }
            fn visit_string<E: Error>(self, text: String) -> Result<Member, E> {
                Ok(Member::Text(text))
            }
            fn visit_bool<E: Error>(self, _: bool) -> Result<Member, E> {
                Ok(Member::Other)
            }
            fn visit_u64<E: Error>(self, _: u64) -> Result<Member, E> {
                Ok(Member::Other)
            }
            fn visit_i64<E: Error>(self, _: i64) -> Result<Member, E> {
                Ok(Member::Other)
            }
            fn visit_f64<E: Error>(self, _: f64) -> Result<Member, E> {
                Ok(Member::Other)
            }
        }
        deserializer.deserialize_any(MemberVisitor)
    }
}

impl<'de> Deserialize<'de> for PointVectors {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct VectorsVisitor;
        impl<'de> Visitor<'de> for VectorsVisitor {
            type Value = PointVectors;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector or a map from names to vectors")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<PointVectors, A::Error> {
                OneVector::from_seq(seq).map(PointVectors::Bare)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<PointVectors, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry::<String, Member>()? {
                    members.push(member);
                }
                PointVectors::from_members(members).map_err(A::Error::custom)
            }
        }
        deserializer.deserialize_any(VectorsVisitor)
    }
}

schema!(PointVectors, "VectorsOfPoint", schemas => {
    let vector = schemas.subschema_for::<OneVector>();
    any_of([vector.clone(), map(nullable(vector))])
});

/// The vectors of many points: a list for the unnamed vector, or a list per name.
#[derive(Debug)]
pub(super) enum VectorLists {
    Bare(Vec<OneVector>),
    Named(Vec<(String, Vec<OneVector>)>),
}

impl<'de> Deserialize<'de> for VectorLists {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ListsVisitor;
        impl<'de> Visitor<'de> for ListsVisitor {
            type Value = VectorLists;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of vectors or a map from names to lists of vectors")
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<VectorLists, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(seq)).map(VectorLists::Bare)
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<VectorLists, A::Error> {
                let mut lists = Vec::new();
                while let Some((name, list)) = map.next_entry::<_, Option<_>>()? {
                    lists.extend(list.map(|list| (name, list)));
                }
                Ok(VectorLists::Named(lists))
            }
        }
        deserializer.deserialize_any(ListsVisitor)
    }
}

schema!(VectorLists, "VectorLists", schemas => {
    let vectors = list(schemas.subschema_for::<OneVector>());
    any_of([vectors.clone(), map(nullable(vectors))])
});

/// What a query looks for: a vector or the id of a point.
#[derive(Debug, PartialEq)]
pub(super) enum VectorOrId {
    Vector(OneVector),
    Id(Id),
}

impl VectorOrId {
    /// The checked target. `at` is where it stands.
    pub(super) fn convert(self, found: &mut Findings, at: At<'_>) -> Checked<Target> {
        match self {
            VectorOrId::Vector(vector) => vector.convert(found, at, Purpose::Search).map(Target::Vector),
            VectorOrId::Id(Id(id)) => Ok(Target::Point(id)),
        }
    }
}

impl<'de> Deserialize<'de> for VectorOrId {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TargetVisitor;
        impl<'de> Visitor<'de> for TargetVisitor {
            type Value = VectorOrId;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a vector or a point id")
            }
            fn visit_u64<E: Error>(self, num: u64) -> Result<VectorOrId, E> {
                Id::deserialize(serde::de::value::U64Deserializer::new(num)).map(VectorOrId::Id)
            }
            fn visit_str<E: Error>(self, text: &str) -> Result<VectorOrId, E> {
                Id::deserialize(serde::de::value::StrDeserializer::new(text)).map(VectorOrId::Id)
            }
            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<VectorOrId, A::Error> {
                OneVector::from_seq(seq).map(VectorOrId::Vector)
            }
            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<VectorOrId, A::Error> {
                OneVector::from_map(map).map(VectorOrId::Vector)
            }
        }
        deserializer.deserialize_any(TargetVisitor)
    }
}

schema!(VectorOrId, "VectorInput", schemas => any_of([
    schemas.subschema_for::<OneVector>(),
    schemas.subschema_for::<Id>(),
]));
