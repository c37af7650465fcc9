//! A shard's commands and outcomes as they travel through the Raft log.
//!
//! Layout of a command: what it is and in which format (1 byte), then its content in `postcard`. An outcome is `postcard`
//! alone: it never leaves the process that applied it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::vector::Incarnation;
use crate::model::{Point, PointId, PointOp, VectorName};

/// A change of points, in the newest format this program writes and reads.
const COMMAND_FORMAT: u8 = 1;
/// How many vectors of each name have been dropped, in the newest format.
const DROPPED_FORMAT: u8 = 2;

/// What an entry of the log asks for.
pub(super) enum Command {
    Points(PointOp),
    /// At least so many vectors of these names have been dropped.
    Dropped(BTreeMap<VectorName, Incarnation>),
}

/// What applying a command did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Ids the operation named that the shard does not hold, in the operation's order.
    pub missing: Vec<PointId>,
    /// Points changed.
    pub changed: u64,
}

impl Outcome {
    /// The outcome as a reply of the state machine.
    pub fn encode(&self) -> Vec<u8> {
        // Writing to a growing vector cannot fail, and the types have no unserialisable state.
        postcard::to_stdvec(self).unwrap_or_default()
    }

    /// Reads a reply; `None` when it is none of ours.
    pub fn decode(reply: &[u8]) -> Option<Outcome> {
        postcard::from_bytes(reply).ok()
    }
}

/// The bytes to propose for `op`.
pub fn encode_command(op: &PointOp) -> Vec<u8> {
    // Writing to a growing vector cannot fail, and the types have no unserialisable state.
    postcard::to_extend(op, vec![COMMAND_FORMAT]).unwrap_or_default()
}

/// The bytes to propose when vectors of a collection have been dropped: how many of each name.
pub fn encode_dropped(dropped: &BTreeMap<VectorName, Incarnation>) -> Vec<u8> {
    // As above: cannot fail.
    postcard::to_extend(dropped, vec![DROPPED_FORMAT]).unwrap_or_default()
}

/// Reads a proposed command; the text says what is wrong with it.
pub(super) fn decode(bytes: &[u8]) -> Result<Command, String> {
    match bytes.split_first() {
        Some((&COMMAND_FORMAT, rest)) => postcard::from_bytes(rest).map(Command::Points).map_err(|e| e.to_string()),
        Some((&DROPPED_FORMAT, rest)) => postcard::from_bytes(rest).map(Command::Dropped).map_err(|e| e.to_string()),
        Some((format, _)) => Err(format!("command format {format} is unknown")),
        None => Err("an empty command".to_owned()),
    }
}

/// Reads a change of points.
#[cfg(any(test, fuzzing))]
pub(crate) fn decode_command(bytes: &[u8]) -> Result<PointOp, String> {
    match decode(bytes)? {
        Command::Points(op) => Ok(op),
        Command::Dropped(_) => Err("a command that changes no points".to_owned()),
    }
}

/// The points of a command that puts them in place of what there was, and does nothing else. `None`: it is another one.
///
/// For bytes of unknown origin: a filter, which may nest without end, is not even decoded.
pub(crate) fn decode_plain_upsert(bytes: &[u8]) -> Option<Vec<Point>> {
    /// [`PointOp::Upsert`] is the first variant; its mode and its absent filter follow the points.
    const START: &[u8] = &[COMMAND_FORMAT, 0];
    const END: &[u8] = &[0, 0];
    let (points, rest) = postcard::take_from_bytes(bytes.strip_prefix(START)?).ok()?;
    (rest == END).then_some(points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::write::UpsertMode;
    use crate::model::{Condition, Filter, Payload, Vector};
    use serde_json::json;

    #[test]
    fn a_command_survives_the_log() {
        let serde_json::Value::Object(payload) = json!({"a": [1, 2.5, null, {"b": "ü"}], "big": u64::MAX}) else {
            unreachable!()
        };
        let op = PointOp::Upsert {
            points: vec![Point {
                id: PointId::Num(u64::MAX),
                vectors: [(String::new(), Vector::Dense(vec![1.0, -0.5]))].into(),
                payload: Payload(payload),
            }],
            mode: UpsertMode::InsertOnly,
            update_filter: None,
        };
        assert!(matches!(decode(&encode_command(&op)), Ok(Command::Points(read)) if read == op));
        assert!(decode(&[9, 1]).is_err());
        assert!(decode(&[]).is_err());
        assert!(decode(&[COMMAND_FORMAT, 0, 1, 0]).is_err());
    }

    #[test]
    fn golden_bytes_of_dropped_vectors() {
        let dropped = BTreeMap::from([("v".to_owned(), 3)]);
        assert_eq!(encode_dropped(&dropped), [2, 1, 1, b'v', 3]);
        assert!(matches!(decode(&encode_dropped(&dropped)), Ok(Command::Dropped(read)) if read == dropped));
        assert_eq!(decode_plain_upsert(&encode_dropped(&dropped)), None);
    }

    #[test]
    fn only_plain_upserts_are_decoded_as_such() {
        let point = Point { id: PointId::Num(7), vectors: Default::default(), payload: Payload::default() };
        let upsert =
            |points: Vec<Point>, mode, update_filter| encode_command(&PointOp::Upsert { points, mode, update_filter });
        for points in [vec![], vec![point.clone()], vec![point.clone(); 200]] {
            let plain = upsert(points.clone(), UpsertMode::Upsert, None);
            assert_eq!(decode_plain_upsert(&plain), Some(points));
            assert_eq!(decode_plain_upsert(&[plain, vec![0]].concat()), None, "a trailing byte");
        }
        let filter = Filter { must: vec![Condition::HasId(Default::default())], ..Filter::default() };
        assert_eq!(decode_plain_upsert(&upsert(vec![point.clone()], UpsertMode::Upsert, Some(filter))), None);
        assert_eq!(decode_plain_upsert(&upsert(vec![point], UpsertMode::InsertOnly, None)), None);
        let delete = PointOp::Delete { select: crate::model::PointSelector::Ids(vec![]) };
        assert_eq!(decode_plain_upsert(&encode_command(&delete)), None);
        assert_eq!(decode_plain_upsert(&[]), None);
    }

    /// The log outlives the program: these bytes must stay readable.
    #[test]
    fn golden_bytes_of_a_delete() {
        let op = PointOp::Delete { select: crate::model::PointSelector::Ids(vec![PointId::Num(7)]) };
        assert_eq!(encode_command(&op), [1, 1, 0, 1, 0, 7]);
    }
}
