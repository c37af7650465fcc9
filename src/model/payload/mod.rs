//! A point's payload: a JSON object, and the paths that lead into it (PROTOCOL sections 4, 5.1 and 6.3).

mod edit;
mod path;
mod select;

pub use path::{Path, PathError, Segment};

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::{Map, Value};

/// A JSON object. Numbers keep their kind: integers stay integers.
///
/// In the Raft log and on disk it is one byte string of JSON text, so that reading a point's header never parses it; in
/// formats for people it is what it is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Payload(pub Map<String, Value>);

impl Payload {
    /// The payload as JSON text, its stored form.
    pub fn to_json(&self) -> Vec<u8> {
        // A map with string keys and finite numbers always serialises.
        serde_json::to_vec(&self.0).unwrap_or_else(|_| b"{}".to_vec())
    }

    /// Parses the stored form.
    pub fn from_json(bytes: &[u8]) -> Result<Payload, serde_json::Error> {
        serde_json::from_slice(bytes).map(Payload)
    }
}

impl Serialize for Payload {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match serializer.is_human_readable() {
            true => self.0.serialize(serializer),
            false => serializer.serialize_bytes(&self.to_json()),
        }
    }
}

impl<'de> Deserialize<'de> for Payload {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        if deserializer.is_human_readable() {
            return Map::deserialize(deserializer).map(Payload);
        }
        let bytes = <&[u8]>::deserialize(deserializer)?;
        Payload::from_json(bytes).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_kind() {
        let text = br#"{"a":1,"b":1.0,"c":18446744073709551615,"d":-9223372036854775808,"e":0.1}"#;
        assert_eq!(Payload::from_json(text).unwrap().to_json(), text);
    }
}
