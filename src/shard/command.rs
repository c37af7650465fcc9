//! A shard's commands and outcomes as they travel through the Raft log.
//!
//! Layout of a command: what it is and in which format (1 byte), then its content in `postcard`. An outcome is `postcard`
//! alone: it never leaves the process that applied it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::model::field_index::TextParams;
use crate::model::ids::SlotRange;
use crate::model::payload::Path;
use crate::model::vector::Incarnation;
use crate::model::{Point, PointId, PointOp, ShardId, VectorName};
use crate::shard::filter::has_words;
use crate::shard::transit::{Feed, Refused, TransitCommand};

/// A change of points, in the newest format this program writes and reads.
const COMMAND_FORMAT: u8 = 1;
/// How many vectors of each name have been dropped, in the newest format.
const DROPPED_FORMAT: u8 = 2;

/// A change of points whose filter is about words, with the text indexes it follows, in the newest format.
const WORDS_FORMAT: u8 = 3;

/// Something about points on their way between shards, in the newest format.
const TRANSIT_FORMAT: u8 = 4;
/// Points that come from another shard, in the newest format.
const FEED_FORMAT: u8 = 5;

/// The fields with a text index and how each is tokenised, ascending by path.
pub type TextIndexes = Vec<(Path, TextParams)>;

/// What an entry of the log asks for.
pub(super) enum Command {
    /// A change of points. Conditions on words follow these indexes, whatever the shard has.
    Points(PointOp, TextIndexes),
    /// At least so many vectors of these names have been dropped.
    Dropped(BTreeMap<VectorName, Incarnation>),
    Transit(TransitCommand),
    /// What somebody brings from a shard, under its token.
    Feed(ShardId, u64, Feed),
}

/// What applying a command did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome {
    /// Ids the operation named that the shard does not hold, in the operation's order.
    pub missing: Vec<PointId>,
    /// Points changed.
    pub changed: u64,
    /// Why nothing was done.
    pub refused: Option<Refused>,
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

/// The bytes to propose for `op`, whose filters follow no text index.
pub fn encode_command(op: &PointOp) -> Vec<u8> {
    // Writing to a growing vector cannot fail, and the types have no unserialisable state.
    postcard::to_extend(op, vec![COMMAND_FORMAT]).unwrap_or_default()
}

/// The bytes to propose for `op` where these text indexes are.
///
/// They are a part of the entry if the effect depends on them: which indexes a shard has when it applies the entry, or
/// applies it again after a crash, is no part of its log.
pub fn encode_command_with_texts(op: &PointOp, texts: &TextIndexes) -> Vec<u8> {
    if texts.is_empty() || !op.filter().is_some_and(has_words) {
        return encode_command(op);
    }
    // As above: cannot fail.
    postcard::to_extend(&(texts, op), vec![WORDS_FORMAT]).unwrap_or_default()
}

/// The bytes to propose when vectors of a collection have been dropped: how many of each name.
pub fn encode_dropped(dropped: &BTreeMap<VectorName, Incarnation>) -> Vec<u8> {
    // As above: cannot fail.
    postcard::to_extend(dropped, vec![DROPPED_FORMAT]).unwrap_or_default()
}

/// The bytes to propose for a change of what is known of points on their way.
pub fn encode_transit(command: &TransitCommand) -> Vec<u8> {
    // As above: cannot fail.
    postcard::to_extend(command, vec![TRANSIT_FORMAT]).unwrap_or_default()
}

/// The bytes to propose for what is brought from `source` by who attached itself with `token`.
pub fn encode_feed(source: ShardId, token: u64, feed: &Feed) -> Vec<u8> {
    // As above: cannot fail.
    postcard::to_extend(&(source, token, feed), vec![FEED_FORMAT]).unwrap_or_default()
}

/// A change of points that was refused by the shard of the range `from`, as the shards of these ranges, which have taken its
/// place, are to do it: each by its place in `to`. The text says why it cannot be.
pub fn rerouted(command: &[u8], from: SlotRange, to: &[SlotRange]) -> Result<Vec<(usize, Vec<u8>)>, String> {
    let (mut meant, texts, op) = match decode(command)? {
        Command::Points(op, texts) => (Vec::new(), texts, op),
        Command::Transit(TransitCommand::Within(meant, texts, op)) => (meant, texts, op),
        _ => return Err("no change of points".to_owned()),
    };
    meant.push(from);
    let overlapping = to.iter().enumerate().filter(|(_, range)| meant.iter().all(|one| range.overlaps(one)));
    let part = |(place, range): (usize, &SlotRange)| {
        let command = match op.is_by_filter() {
            // Of the new shard's points only those that the old one had.
            true => encode_transit(&TransitCommand::Within(meant.clone(), texts.clone(), op.clone())),
            false => encode_command_with_texts(
                &op.clone().part(|id| range.owns(id) && meant.iter().all(|one| one.owns(id)))?,
                &texts,
            ),
        };
        Some((place, command))
    };
    Ok(overlapping.filter_map(part).collect())
}

/// Reads a proposed command; the text says what is wrong with it.
pub(super) fn decode(bytes: &[u8]) -> Result<Command, String> {
    match bytes.split_first() {
        Some((&COMMAND_FORMAT, rest)) => {
            postcard::from_bytes(rest).map(|op| Command::Points(op, Vec::new())).map_err(|e| e.to_string())
        }
        Some((&WORDS_FORMAT, rest)) => {
            postcard::from_bytes(rest).map(|(texts, op)| Command::Points(op, texts)).map_err(|e| e.to_string())
        }
        Some((&DROPPED_FORMAT, rest)) => postcard::from_bytes(rest).map(Command::Dropped).map_err(|e| e.to_string()),
        Some((&TRANSIT_FORMAT, rest)) => postcard::from_bytes(rest).map(Command::Transit).map_err(|e| e.to_string()),
        Some((&FEED_FORMAT, rest)) => postcard::from_bytes(rest)
            .map(|(source, token, feed)| Command::Feed(source, token, feed))
            .map_err(|e| e.to_string()),
        Some((format, _)) => Err(format!("command format {format} is unknown")),
        None => Err("an empty command".to_owned()),
    }
}

/// Reads a change of points.
#[cfg(any(test, fuzzing))]
pub(crate) fn decode_command(bytes: &[u8]) -> Result<PointOp, String> {
    match decode(bytes)? {
        Command::Points(op, _) => Ok(op),
        _ => Err("a command that is none of a client's".to_owned()),
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
    use crate::model::filter::{FieldCondition, Match, Predicate};
    use crate::model::write::UpsertMode;
    use crate::model::{Condition, Filter, Payload, PointSelector, Vector};
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
        assert!(
            matches!(decode(&encode_command(&op)), Ok(Command::Points(read, texts)) if read == op && texts.is_empty())
        );
        assert!(decode(&[9, 1]).is_err());
        assert!(decode(&[]).is_err());
        assert!(decode(&[COMMAND_FORMAT, 0, 1, 0]).is_err());
    }

    #[test]
    fn a_filter_about_words_takes_the_text_indexes_along() {
        let about = |operand: Match, key: &str| {
            let predicates = vec![Predicate::Match(operand)];
            Condition::Field(FieldCondition { key: key.parse().unwrap(), predicates })
        };
        let within = |condition: Condition| Filter { must_not: vec![condition], ..Filter::default() };
        let delete = |filter| PointOp::Delete { select: PointSelector::Filter(filter) };
        let texts: TextIndexes = vec![("t".parse().unwrap(), TextParams::default())];
        let words = about(Match::Phrase("a b".to_owned()), "t");
        let key = "o".parse().unwrap();
        for filter in [
            within(words.clone()),
            within(Condition::Filter(Box::new(within(about(Match::Text("a".to_owned()), "t"))))),
            within(Condition::Nested { key, filter: Box::new(within(about(Match::TextAny("a".to_owned()), "t"))) }),
        ] {
            let op = delete(filter);
            let command = encode_command_with_texts(&op, &texts);
            assert!(
                matches!(decode(&command), Ok(Command::Points(read, with)) if read == op && with == texts),
                "{op:?}"
            );
            assert_eq!(encode_command_with_texts(&op, &TextIndexes::new()), encode_command(&op));
        }
        let others = delete(within(about(Match::Keyword("a b".to_owned()), "t")));
        assert_eq!(encode_command_with_texts(&others, &texts), encode_command(&others));
        let by_ids = PointOp::ClearPayload { select: PointSelector::Ids(vec![PointId::Num(1)]) };
        assert_eq!(encode_command_with_texts(&by_ids, &texts), encode_command(&by_ids));
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
