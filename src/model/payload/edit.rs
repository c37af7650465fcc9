//! Changes of a payload (PROTOCOL section 6.3).
//!
//! A path that creates what is missing makes the payload as deep as itself and recurses as deep: the wire bounds both.

use serde_json::{Map, Value};

use super::Payload;
use super::path::{Path, Segment, element};

impl Payload {
    /// Merges top-level keys: null removes a key, any other value replaces it.
    pub fn merge(&mut self, changes: &Payload) {
        merge_keys(&mut self.0, changes);
    }

    /// Merges `changes` into what stands at `path`, creating what is missing.
    ///
    /// A value in the way of `.key` becomes `{}`, one in the way of `[n]` or `[]` becomes `[]`; `[n]` beyond the end
    /// changes nothing. What is no object at the end of the path is replaced by `changes` without its nulls.
    pub fn merge_at(&mut self, path: &Path, changes: &Payload) {
        change_at(&mut self.0, path, &mut |end| merge_keys(object_at(end), changes));
    }

    /// Replaces what stands at `path` by `value`; the way there is made as by [`Payload::merge_at`].
    pub fn replace_at(&mut self, path: &Path, value: &Payload) {
        change_at(&mut self.0, path, &mut |end| *end = Value::Object(value.0.clone()));
    }

    /// Removes what stands at `path`, if anything: a final key goes, a final `[]` empties its array, a final `[n]`
    /// changes nothing (it would remove another element each time it is repeated).
    pub fn remove_at(&mut self, path: &Path) {
        match path.rest.split_last() {
            None => {
                self.0.remove(&path.first);
            }
            Some((last, way)) => {
                if let Some(value) = self.0.get_mut(&path.first) {
                    remove_below(value, way, last);
                }
            }
        }
    }
}

fn merge_keys(object: &mut Map<String, Value>, changes: &Payload) {
    for (key, value) in &changes.0 {
        if value.is_null() {
            object.remove(key);
        } else {
            object.insert(key.clone(), value.clone());
        }
    }
}

/// Walks `path`, creating what is missing, and calls `change` on every value at its end.
fn change_at(object: &mut Map<String, Value>, path: &Path, change: &mut dyn FnMut(&mut Value)) {
    change_below(object.entry(path.first.clone()).or_insert(Value::Null), &path.rest, change);
}

fn change_below(value: &mut Value, path: &[Segment], change: &mut dyn FnMut(&mut Value)) {
    let Some((segment, rest)) = path.split_first() else { return change(value) };
    match segment {
        Segment::Key(key) => {
            change_below(object_at(value).entry(key.clone()).or_insert(Value::Null), rest, change);
        }
        Segment::Index(index) => {
            let array = array_at(value);
            if let Some(value) = element(*index, array.len()).and_then(|at| array.get_mut(at)) {
                change_below(value, rest, change);
            }
        }
        Segment::Each => array_at(value).iter_mut().for_each(|value| change_below(value, rest, change)),
    }
}

/// The object in `value`, which becomes `{}` if it is none.
fn object_at(value: &mut Value) -> &mut Map<String, Value> {
    if !value.is_object() {
        *value = Value::Object(Map::new());
    }
    match value {
        Value::Object(object) => object,
        _ => unreachable!("made an object above"),
    }
}

/// The array in `value`, which becomes `[]` if it is none.
fn array_at(value: &mut Value) -> &mut Vec<Value> {
    if !value.is_array() {
        *value = Value::Array(Vec::new());
    }
    match value {
        Value::Array(array) => array,
        _ => unreachable!("made an array above"),
    }
}

fn remove_below(value: &mut Value, way: &[Segment], last: &Segment) {
    match (way.split_first(), value) {
        (Some((Segment::Key(key), way)), Value::Object(object)) => {
            if let Some(value) = object.get_mut(key) {
                remove_below(value, way, last);
            }
        }
        (Some((Segment::Index(index), way)), Value::Array(array)) => {
            if let Some(value) = element(*index, array.len()).and_then(|at| array.get_mut(at)) {
                remove_below(value, way, last);
            }
        }
        (Some((Segment::Each, way)), Value::Array(array)) => {
            array.iter_mut().for_each(|value| remove_below(value, way, last));
        }
        (Some(_), _) => {}
        (None, value) => match (last, value) {
            (Segment::Key(key), Value::Object(object)) => {
                object.remove(key);
            }
            (Segment::Each, Value::Array(array)) => array.clear(),
            _ => {}
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn payload(value: Value) -> Payload {
        Payload(value.as_object().unwrap().clone())
    }

    /// `before`, merged with `changes` at `path`.
    fn merged(before: Value, path: &str, changes: Value) -> Value {
        let mut result = payload(before);
        result.merge_at(&path.parse().unwrap(), &payload(changes));
        Value::Object(result.0)
    }

    fn removed(before: Value, path: &str) -> Value {
        let mut result = payload(before);
        result.remove_at(&path.parse().unwrap());
        Value::Object(result.0)
    }

    #[test]
    fn s6_3_merge_is_shallow_and_null_removes() {
        let mut result = payload(json!({"a": {"x": 1}, "b": 2, "c": 3}));
        result.merge(&payload(json!({"a": {"y": null}, "b": null, "d": null, "e": [null]})));
        assert_eq!(Value::Object(result.0), json!({"a": {"y": null}, "c": 3, "e": [null]}));
    }

    #[test]
    fn s6_3_merge_at_walks_and_creates() {
        for (before, path, changes, want) in [
            (json!({}), "a.b", json!({"x": 1}), json!({"a": {"b": {"x": 1}}})),
            (json!({"a": {"b": {"y": 2}}}), "a.b", json!({"x": 1}), json!({"a": {"b": {"x": 1, "y": 2}}})),
            (json!({"a": {"b": {"y": 2}}}), "a.b", json!({"y": null}), json!({"a": {"b": {}}})),
            (json!({"a": {"b": 5}}), "a.b", json!({"x": 1, "n": null}), json!({"a": {"b": {"x": 1}}})),
            (json!({"a": 5}), "a.b.c", json!({"x": 1}), json!({"a": {"b": {"c": {"x": 1}}}})),
            (json!({"a": [1, {"y": 2}]}), "a[1]", json!({"x": 1}), json!({"a": [1, {"x": 1, "y": 2}]})),
            (json!({"a": [1]}), "a[1].b", json!({"x": 1}), json!({"a": [1]})),
            (json!({"a": 5}), "a[0].b", json!({"x": 1}), json!({"a": []})),
            (json!({}), "a[0]", json!({"x": 1}), json!({"a": []})),
            (json!({"a": {"k": 1}}), "a[]", json!({"x": 1}), json!({"a": []})),
            (json!({"a": [1, {"y": 2}]}), "a[]", json!({"x": 1}), json!({"a": [{"x": 1}, {"x": 1, "y": 2}]})),
            (json!({"a": [1, {"y": 2}]}), "a[].y", json!({"x": 1}), json!({"a": [{"y": {"x": 1}}, {"y": {"x": 1}}]})),
        ] {
            assert_eq!(merged(before.clone(), path, changes.clone()), want, "{before} at {path}: {changes}");
        }
    }

    #[test]
    fn s6_3_replace_at_leaves_nothing_of_the_old_value() {
        let mut result = payload(json!({"a": {"b": {"y": 2}, "c": 1}}));
        result.replace_at(&"a.b".parse().unwrap(), &payload(json!({"x": 1})));
        assert_eq!(Value::Object(result.0), json!({"a": {"b": {"x": 1}, "c": 1}}));
    }

    #[test]
    fn s6_3_remove_at() {
        let before = json!({"a": {"b": 1, "c": [{"d": 1, "e": 2}, {"d": 3}, 4]}, "f": null});
        for (path, want) in [
            ("a", json!({"f": null})),
            ("f", json!({"a": {"b": 1, "c": [{"d": 1, "e": 2}, {"d": 3}, 4]}})),
            ("a.b", json!({"a": {"c": [{"d": 1, "e": 2}, {"d": 3}, 4]}, "f": null})),
            ("a.c[]", json!({"a": {"b": 1, "c": []}, "f": null})),
            ("a.c[].d", json!({"a": {"b": 1, "c": [{"e": 2}, {}, 4]}, "f": null})),
            ("a.c[0].e", json!({"a": {"b": 1, "c": [{"d": 1}, {"d": 3}, 4]}, "f": null})),
            ("a.c[0]", before.clone()),
            ("a.c.d", before.clone()),
            ("a[]", before.clone()),
            ("a.b.x", before.clone()),
            ("z.y", before.clone()),
        ] {
            assert_eq!(removed(before.clone(), path), want, "{path}");
        }
    }
}
