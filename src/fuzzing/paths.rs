//! Paths into payloads: their text, what they select, and what changes at them.

use serde_json::Value;

use super::{payload, split};
use crate::model::payload::Segment;
use crate::model::{Path, Payload, PayloadSelector};

/// Stored JSON of more levels does not parse; the wire keeps payloads well below.
const DEPTH_MAX: usize = 100;

/// Input: a path, a payload, and a payload of changes.
pub fn paths(data: &[u8]) {
    let Some([path, before, changes]) = split(data) else { return };
    let Ok(path) = path.parse::<Path>() else { return };
    assert_eq!(path.to_string().parse(), Ok(path.clone()), "a path is its text");
    let (Some(before), Some(changes)) = (payload(before), payload(changes)) else { return };
    stored(&before);
    if depth(&before) > DEPTH_MAX || path.rest.len() + depth(&changes) > DEPTH_MAX {
        return;
    }
    replaced(&path, &before, &changes);
    merged(&path, &before, &changes);
    removed(&path, &before);
    selected(&path, &before);
}

fn values(path: &Path, payload: &Payload) -> Vec<Value> {
    let mut found = Vec::new();
    path.any(&payload.0, &mut |value| {
        found.push(value.clone());
        false
    });
    found
}

fn depth(payload: &Payload) -> usize {
    fn below(value: &Value) -> usize {
        match value {
            Value::Array(values) => 1 + values.iter().map(below).max().unwrap_or(0),
            Value::Object(members) => 1 + members.values().map(below).max().unwrap_or(0),
            _ => 0,
        }
    }
    1 + payload.0.values().map(below).max().unwrap_or(0)
}

fn stored(payload: &Payload) {
    assert_eq!(Payload::from_json(&payload.to_json()).unwrap(), *payload, "a payload is its stored form");
    let logged = postcard::to_stdvec(payload).unwrap();
    assert_eq!(postcard::from_bytes::<Payload>(&logged).unwrap(), *payload, "a payload is its form in the log");
}

fn replaced(path: &Path, before: &Payload, changes: &Payload) {
    let mut after = before.clone();
    after.replace_at(path, changes);
    let there = values(path, &after);
    assert!(
        there.iter().all(|value| *value == Value::Object(changes.0.clone())),
        "the path leads to what was put there"
    );
    if path.rest.iter().all(|segment| matches!(segment, Segment::Key(_))) {
        assert_eq!(there.len(), 1, "keys alone lead somewhere once something was put there");
    }
    let mut again = after.clone();
    again.replace_at(path, changes);
    assert_eq!(again, after, "replacing twice is replacing once");
    if depth(&after) <= DEPTH_MAX {
        stored(&after);
    }
}

fn merged(path: &Path, before: &Payload, changes: &Payload) {
    let mut after = before.clone();
    after.merge_at(path, changes);
    for value in values(path, &after) {
        for (key, change) in &changes.0 {
            let there = value.get(key);
            assert_eq!(there, Some(change).filter(|change| !change.is_null()), "{key} is as it was set");
        }
    }
    let mut again = after.clone();
    again.merge_at(path, changes);
    assert_eq!(again, after, "merging twice is merging once");
    let (mut whole, mut top) = (before.clone(), Payload::default());
    whole.merge(changes);
    top.merge(&whole);
    assert_eq!(
        top.0.keys().collect::<Vec<_>>(),
        whole.0.iter().filter(|(_, value)| !value.is_null()).map(|(key, _)| key).collect::<Vec<_>>()
    );
}

fn removed(path: &Path, before: &Payload) {
    let mut after = before.clone();
    after.remove_at(path);
    match path.rest.last() {
        Some(Segment::Index(_)) => assert_eq!(after, *before, "an element is not removed"),
        _ => assert!(values(path, &after).is_empty(), "nothing is left where something was removed"),
    }
    let mut again = after.clone();
    again.remove_at(path);
    assert_eq!(again, after, "removing twice is removing once");
}

fn selected(path: &Path, before: &Payload) {
    let include = PayloadSelector::Include(vec![path.clone()]);
    let exclude = PayloadSelector::Exclude(vec![path.clone()]);
    let included = include.select(before.clone()).unwrap();
    let excluded = exclude.select(before.clone()).unwrap();
    assert_eq!(include.select(included.clone()).unwrap(), included, "selecting twice is selecting once");
    assert_eq!(exclude.select(excluded.clone()).unwrap(), excluded, "leaving out twice is leaving out once");
    if path.rest.iter().any(|segment| matches!(segment, Segment::Index(_))) {
        // Elements are neither selected nor left out.
        assert_eq!(excluded, *before);
        return;
    }
    assert_eq!(values(path, &included), values(path, before), "what is selected is all there");
    assert!(values(path, &excluded).is_empty(), "what is left out is gone");
}
