//! Paths: `key ( .key | [n] | [] )*` (PROTOCOL section 4).
//!
//! A key is bare (letters and digits of any script, `_`, `-`) or quoted (anything but `"` and `\`).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// A parsed path: a first key and what follows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Path {
    /// A key of the payload itself.
    pub first: String,
    /// The way from there.
    pub rest: Vec<Segment>,
}

/// One step after the first key.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Segment {
    /// `.key`: needs an object.
    Key(String),
    /// `[n]`: needs an array.
    Index(u64),
    /// `[]`: every element of an array.
    Each,
}

/// The text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("invalid path `{0}`")]
pub struct PathError(pub String);

impl FromStr for Path {
    type Err = PathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse(text).ok_or_else(|| PathError(text.to_owned()))
    }
}

impl fmt::Display for Path {
    /// Parses back to the same path; keys are quoted only where they must be.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_key(f, &self.first)?;
        for segment in &self.rest {
            match segment {
                Segment::Key(key) => {
                    f.write_str(".")?;
                    write_key(f, key)?;
                }
                Segment::Index(index) => write!(f, "[{index}]")?,
                Segment::Each => f.write_str("[]")?,
            }
        }
        Ok(())
    }
}

impl Path {
    /// Calls `visit` with every value the path selects; stops early when it returns true. Returns whether it did.
    ///
    /// Selected arrays are passed as they are; `a.b` does not step into an array at `a`.
    pub fn any<'v>(&self, object: &'v Map<String, Value>, visit: &mut dyn FnMut(&'v Value) -> bool) -> bool {
        object.get(&self.first).is_some_and(|value| any_below(value, &self.rest, visit))
    }
}

fn any_below<'v>(value: &'v Value, path: &[Segment], visit: &mut dyn FnMut(&'v Value) -> bool) -> bool {
    match (path.split_first(), value) {
        (None, _) => visit(value),
        (Some((Segment::Key(key), rest)), Value::Object(object)) => {
            object.get(key).is_some_and(|value| any_below(value, rest, visit))
        }
        (Some((Segment::Index(index), rest)), Value::Array(array)) => {
            element(*index, array.len()).and_then(|at| array.get(at)).is_some_and(|value| any_below(value, rest, visit))
        }
        (Some((Segment::Each, rest)), Value::Array(array)) => array.iter().any(|value| any_below(value, rest, visit)),
        _ => false,
    }
}

/// `index` as a position in an array of `len` elements, if it is one.
pub(super) fn element(index: u64, len: usize) -> Option<usize> {
    usize::try_from(index).ok().filter(|at| *at < len)
}

fn parse(text: &str) -> Option<Path> {
    let (first, mut left) = parse_key(text)?;
    let mut rest = Vec::new();
    while !left.is_empty() {
        let (segment, after) = if let Some(after) = left.strip_prefix('.') {
            let (key, after) = parse_key(after)?;
            (Segment::Key(key.to_owned()), after)
        } else {
            let (index, after) = left.strip_prefix('[')?.split_once(']')?;
            let segment = match index {
                "" => Segment::Each,
                // `parse` alone would take a sign.
                _ if index.bytes().all(|b| b.is_ascii_digit()) => Segment::Index(index.parse().ok()?),
                _ => return None,
            };
            (segment, after)
        };
        rest.push(segment);
        left = after;
    }
    Some(Path { first: first.to_owned(), rest })
}

/// A key at the start of `text`, and what follows it.
fn parse_key(text: &str) -> Option<(&str, &str)> {
    if let Some(quoted) = text.strip_prefix('"') {
        return quoted.split_once('"').filter(|(key, _)| !key.contains('\\'));
    }
    let end = text.find(|c| !is_bare(c)).unwrap_or(text.len());
    (end > 0).then(|| text.split_at(end))
}

fn is_bare(c: char) -> bool {
    c.is_alphanumeric() || c == '_' || c == '-'
}

fn write_key(f: &mut fmt::Formatter<'_>, key: &str) -> fmt::Result {
    if !key.is_empty() && key.chars().all(is_bare) { f.write_str(key) } else { write!(f, "\"{key}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    fn selected(text: &str, payload: Value) -> Vec<Value> {
        let mut found = Vec::new();
        path(text).any(payload.as_object().unwrap(), &mut |value| {
            found.push(value.clone());
            false
        });
        found
    }

    #[test]
    fn s4_grammar() {
        let key = |k: &str| Segment::Key(k.to_owned());
        assert_eq!(path("a"), Path { first: "a".into(), rest: vec![] });
        assert_eq!(
            path(r#"ключ[0][].b-c_1."x.y[0]"[18446744073709551615]"#),
            Path {
                first: "ключ".into(),
                rest: vec![Segment::Index(0), Segment::Each, key("b-c_1"), key("x.y[0]"), Segment::Index(u64::MAX)]
            }
        );
        assert_eq!(path(r#""""#), Path { first: String::new(), rest: vec![] });
    }

    #[test]
    fn s4_what_is_no_path() {
        for text in [
            "",
            ".",
            ".a",
            "a.",
            "a..b",
            "[0]",
            "[]",
            "a[",
            "a]",
            "a[-1]",
            "a[+1]",
            "a[1",
            "a[ 1]",
            "a[1]b",
            "a b",
            "a$",
            "\"a",
            "a\"b\"",
            "\"a\"b",
            "a.[0]",
            "a.[]",
            "\"a\\\"",
            "a[18446744073709551616]",
            "a[x]",
            "a[\"b\"]",
            "a[٣]",
        ] {
            assert_eq!(text.parse::<Path>(), Err(PathError(text.to_owned())), "{text}");
        }
    }

    #[test]
    fn s4_display_parses_back() {
        for (text, want) in [
            ("a.b[].c[3]", "a.b[].c[3]"),
            (r#""a"."b""#, "a.b"),
            (r#""a.b"."".c"#, r#""a.b"."".c"#),
            (r#""a b"[]."ü-1""#, r#""a b"[].ü-1"#),
        ] {
            assert_eq!(path(text).to_string(), want);
            assert_eq!(path(want), path(text));
        }
    }

    #[test]
    fn s4_selection() {
        let payload = json!({"a": {"b": [1, [2, 3], {"c": 4}], "": 5}, "a.b": 6, "n": null});
        assert_eq!(selected("a.b", payload.clone()), [json!([1, [2, 3], {"c": 4}])]);
        assert_eq!(selected("a.b[]", payload.clone()), [json!(1), json!([2, 3]), json!({"c": 4})]);
        assert_eq!(selected("a.b[][]", payload.clone()), [json!(2), json!(3)]);
        assert_eq!(selected("a.b[1][0]", payload.clone()), [json!(2)]);
        assert_eq!(selected("a.b[].c", payload.clone()), [json!(4)]);
        assert_eq!(selected("a.b.c", payload.clone()), [] as [Value; 0]);
        assert_eq!(selected("a.b[9]", payload.clone()), [] as [Value; 0]);
        assert_eq!(selected("a[]", payload.clone()), [] as [Value; 0]);
        assert_eq!(selected(r#"a."""#, payload.clone()), [json!(5)]);
        assert_eq!(selected(r#""a.b""#, payload.clone()), [json!(6)]);
        assert_eq!(selected("n", payload), [Value::Null]);
    }

    #[test]
    fn s4_selection_stops_when_told() {
        let payload = json!({"a": [1, 2, 3]});
        let mut seen = 0;
        assert!(path("a[]").any(payload.as_object().unwrap(), &mut |value| {
            seen += 1;
            value == 2
        }));
        assert_eq!(seen, 2);
    }
}
