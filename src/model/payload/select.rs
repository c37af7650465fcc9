//! What of a payload a read returns (PROTOCOL section 5.1).

use serde_json::{Map, Value};

use super::Payload;
use super::path::{Path, Segment};
use crate::model::selector::PayloadSelector;

impl PayloadSelector {
    /// The selected part of `payload`, `None` for [`PayloadSelector::None`].
    pub fn select(&self, payload: Payload) -> Option<Payload> {
        match self {
            PayloadSelector::None => None,
            PayloadSelector::All => Some(payload),
            PayloadSelector::Include(paths) => Some(Payload(included(payload.0, |key| below_first(paths, key)))),
            PayloadSelector::Exclude(paths) => {
                let Payload(mut object) = payload;
                exclude(&mut object, |key| below_first(paths, key));
                Some(Payload(object))
            }
        }
    }
}

/// What is left of some paths below a value: the path ends here when its rest is empty.
type Rests<'p> = Vec<&'p [Segment]>;

fn below_first<'p>(paths: &'p [Path], key: &str) -> Rests<'p> {
    paths.iter().filter(|path| path.first == key).map(|path| path.rest.as_slice()).collect()
}

fn below_key<'p>(rests: &[&'p [Segment]], key: &str) -> Rests<'p> {
    below(rests, |segment| matches!(segment, Segment::Key(k) if k == key))
}

fn below_each<'p>(rests: &[&'p [Segment]]) -> Rests<'p> {
    below(rests, |segment| *segment == Segment::Each)
}

fn below<'p>(rests: &[&'p [Segment]], leads_on: impl Fn(&Segment) -> bool) -> Rests<'p> {
    rests
        .iter()
        .filter_map(|rest| rest.split_first())
        .filter(|(head, _)| leads_on(head))
        .map(|(_, rest)| rest)
        .collect()
}

fn some_path_ends(rests: &[&[Segment]]) -> bool {
    rests.iter().any(|rest| rest.is_empty())
}

/// The keys of `object` some path leads to. `below` gives what is left of the paths below a key.
fn included<'p>(object: Map<String, Value>, below: impl Fn(&str) -> Rests<'p>) -> Map<String, Value> {
    object
        .into_iter()
        .filter_map(|(key, value)| {
            let rests = below(&key);
            (!rests.is_empty()).then(|| (key, include_below(value, &rests)))
        })
        .collect()
}

fn include_below(value: Value, rests: &[&[Segment]]) -> Value {
    if some_path_ends(rests) {
        return value;
    }
    match value {
        Value::Object(object) => Value::Object(included(object, |key| below_key(rests, key))),
        Value::Array(array) => {
            // Only `[]` leads into an array; `[n]` selects nothing.
            let rests = below_each(rests);
            if rests.is_empty() {
                return Value::Array(Vec::new());
            }
            Value::Array(array.into_iter().map(|value| include_below(value, &rests)).collect())
        }
        scalar => scalar,
    }
}

/// Removes the keys at which a path ends, and what the other paths lead to.
fn exclude<'p>(object: &mut Map<String, Value>, below: impl Fn(&str) -> Rests<'p>) {
    object.retain(|key, value| {
        let rests = below(key);
        if some_path_ends(&rests) {
            return false;
        }
        exclude_below(value, &rests);
        true
    });
}

fn exclude_below(value: &mut Value, rests: &[&[Segment]]) {
    if rests.is_empty() {
        return;
    }
    match value {
        Value::Object(object) => exclude(object, |key| below_key(rests, key)),
        Value::Array(array) => {
            let rests = below_each(rests);
            if some_path_ends(&rests) {
                array.clear();
            }
            array.iter_mut().for_each(|value| exclude_below(value, &rests));
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn paths(texts: &[&str]) -> Vec<Path> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    fn select(selector: PayloadSelector, payload: Value) -> Option<Value> {
        selector.select(Payload(payload.as_object().unwrap().clone())).map(|selected| Value::Object(selected.0))
    }

    fn check_include(texts: &[&str], payload: Value, want: Value) {
        assert_eq!(
            select(PayloadSelector::Include(paths(texts)), payload.clone()),
            Some(want),
            "{texts:?} of {payload}"
        );
    }

    fn check_exclude(texts: &[&str], payload: Value, want: Value) {
        assert_eq!(
            select(PayloadSelector::Exclude(paths(texts)), payload.clone()),
            Some(want),
            "{texts:?} of {payload}"
        );
    }

    #[test]
    fn s5_1_all_and_none() {
        let payload = json!({"a": null});
        assert_eq!(select(PayloadSelector::All, payload.clone()), Some(payload.clone()));
        assert_eq!(select(PayloadSelector::None, payload), None);
    }

    #[test]
    fn s5_1_include() {
        let payload = json!({"a": {"b": 1, "c": 2}, "aa": {"b": 3}, "a.b": 4, "l": [{"b": 5, "c": 6}, 7], "n": null});
        check_include(&[], payload.clone(), json!({}));
        check_include(&["a.b", "n", "zz"], payload.clone(), json!({"a": {"b": 1}, "n": null}));
        check_include(&["\"a.b\"", "l[].c"], payload.clone(), json!({"a.b": 4, "l": [{"c": 6}, 7]}));
        check_include(&["a.b", "a", "a.c"], payload.clone(), json!({"a": {"b": 1, "c": 2}}));
        check_include(&["l.b"], payload.clone(), json!({"l": []}));
        check_include(&["l[0]"], payload.clone(), json!({"l": []}));
        check_include(&["l[]"], payload.clone(), json!({"l": [{"b": 5, "c": 6}, 7]}));
        check_include(&["l[].c", "l[].b"], payload, json!({"l": [{"b": 5, "c": 6}, 7]}));
    }

    #[test]
    fn s5_1_include_keeps_what_stands_in_the_way() {
        check_include(&["a.b"], json!({"a": 5}), json!({"a": 5}));
        check_include(&["a.b"], json!({"a": {"c": 1}}), json!({"a": {}}));
        check_include(&["a[].b"], json!({"a": [[{"b": 1}], {"b": 2, "c": 3}]}), json!({"a": [[], {"b": 2}]}));
    }

    #[test]
    fn s5_1_exclude() {
        let payload = json!({"a": {"b": 1, "c": 2}, "l": [{"b": 5, "c": 6}, 7], "n": null});
        check_exclude(&[], payload.clone(), payload.clone());
        check_exclude(&["a.b", "n"], payload.clone(), json!({"a": {"c": 2}, "l": [{"b": 5, "c": 6}, 7]}));
        check_exclude(&["a.b", "a"], payload.clone(), json!({"l": [{"b": 5, "c": 6}, 7], "n": null}));
        check_exclude(&["l[].b", "a"], payload.clone(), json!({"l": [{"c": 6}, 7], "n": null}));
        check_exclude(&["l[]", "a"], payload.clone(), json!({"l": [], "n": null}));
        check_exclude(&["l.b", "l[0]", "l[0].b", "a[]", "zz"], payload.clone(), payload);
    }
}
