//! A filter in REST's JSON as gRPC's message. Only what measurements use; everything else is refused by name.

use serde_json::{Map, Value};

use crate::api::grpc::pb::condition::ConditionOneOf;
use crate::api::grpc::pb::r#match::MatchValue;
use crate::api::grpc::pb::{Condition, FieldCondition, Filter, Match, Range, RepeatedIntegers, RepeatedStrings};

/// What this generator cannot say over gRPC.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FilterError {
    /// It has another place in the protocol, or none.
    #[error(
        "`{0}` cannot be sent over gRPC from here: only must, should, must_not of match value, match any and range"
    )]
    Unknown(String),
    /// It is of another kind than it should be.
    #[error("`{0}` should be {1}")]
    Kind(&'static str, &'static str),
    /// A condition without its field.
    #[error("a condition has no `key`")]
    KeyMissing,
}

pub(super) fn wire_from_json(filter: &Value) -> Result<Filter, FilterError> {
    let mut wire = Filter::default();
    for (clause, conditions) in object(filter, "filter")? {
        let conditions = match conditions {
            Value::Array(conditions) => conditions.iter().map(condition).collect::<Result<_, _>>()?,
            one => vec![condition(one)?],
        };
        match clause.as_str() {
            "must" => wire.must = conditions,
            "should" => wire.should = conditions,
            "must_not" => wire.must_not = conditions,
            other => return Err(FilterError::Unknown(other.to_owned())),
        }
    }
    Ok(wire)
}

fn condition(json: &Value) -> Result<Condition, FilterError> {
    let mut field = FieldCondition::default();
    for (part, value) in object(json, "condition")? {
        match part.as_str() {
            "key" => field.key = value.as_str().ok_or(FilterError::Kind("key", "a text"))?.to_owned(),
            "match" => field.r#match = Some(Match { match_value: Some(match_value(value)?) }),
            "range" => field.range = Some(range(value)?),
            other => return Err(FilterError::Unknown(other.to_owned())),
        }
    }
    if field.key.is_empty() {
        return Err(FilterError::KeyMissing);
    }
    Ok(Condition { condition_one_of: Some(ConditionOneOf::Field(field)) })
}

fn match_value(json: &Value) -> Result<MatchValue, FilterError> {
    let mut parts = object(json, "match")?.iter();
    let (Some((part, value)), None) = (parts.next(), parts.next()) else {
        return Err(FilterError::Kind("match", "an object of one member"));
    };
    match (part.as_str(), value) {
        ("value", Value::String(text)) => Ok(MatchValue::Keyword(text.clone())),
        ("value", Value::Bool(boolean)) => Ok(MatchValue::Boolean(*boolean)),
        ("value", number) => number
            .as_i64()
            .map(MatchValue::Integer)
            .ok_or(FilterError::Kind("match.value", "a text, an integer or a boolean")),
        ("any", Value::Array(values)) => {
            any(values).ok_or(FilterError::Kind("match.any", "a list of texts or of integers"))
        }
        ("any", _) => Err(FilterError::Kind("match.any", "a list of texts or of integers")),
        (other, _) => Err(FilterError::Unknown(other.to_owned())),
    }
}

fn any(values: &[Value]) -> Option<MatchValue> {
    let integers: Option<Vec<i64>> = values.iter().map(Value::as_i64).collect();
    if let Some(integers) = integers {
        return Some(MatchValue::Integers(RepeatedIntegers { integers }));
    }
    let strings = values.iter().map(|value| value.as_str().map(str::to_owned)).collect::<Option<_>>()?;
    Some(MatchValue::Keywords(RepeatedStrings { strings }))
}

fn range(json: &Value) -> Result<Range, FilterError> {
    let mut range = Range::default();
    for (bound, value) in object(json, "range")? {
        let number = Some(value.as_f64().ok_or(FilterError::Kind("range", "bounds that are numbers"))?);
        match bound.as_str() {
            "lt" => range.lt = number,
            "lte" => range.lte = number,
            "gt" => range.gt = number,
            "gte" => range.gte = number,
            other => return Err(FilterError::Unknown(other.to_owned())),
        }
    }
    Ok(range)
}

fn object<'a>(json: &'a Value, what: &'static str) -> Result<&'a Map<String, Value>, FilterError> {
    json.as_object().ok_or(FilterError::Kind(what, "an object"))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn field(key: &str, value: Option<MatchValue>, range: Option<Range>) -> Condition {
        let r#match = value.map(|value| Match { match_value: Some(value) });
        let field = FieldCondition { key: key.to_owned(), r#match, range, ..Default::default() };
        Condition { condition_one_of: Some(ConditionOneOf::Field(field)) }
    }

    #[test]
    fn what_can_be_said_is_said() {
        let json = json!({
            "must": [
                {"key": "a", "match": {"value": "x"}},
                {"key": "b", "range": {"gte": 1, "lt": 2.5}},
                {"key": "c", "match": {"any": [1, 2]}},
            ],
            "should": {"key": "d", "match": {"any": ["x", "y"]}},
            "must_not": [{"key": "e", "match": {"value": -3}}, {"key": "f", "match": {"value": true}}],
        });
        let range = Range { gte: Some(1.0), lt: Some(2.5), ..Default::default() };
        let keywords = RepeatedStrings { strings: vec!["x".to_owned(), "y".to_owned()] };
        let want = Filter {
            must: vec![
                field("a", Some(MatchValue::Keyword("x".to_owned())), None),
                field("b", None, Some(range)),
                field("c", Some(MatchValue::Integers(RepeatedIntegers { integers: vec![1, 2] })), None),
            ],
            should: vec![field("d", Some(MatchValue::Keywords(keywords)), None)],
            must_not: vec![
                field("e", Some(MatchValue::Integer(-3)), None),
                field("f", Some(MatchValue::Boolean(true)), None),
            ],
            min_should: None,
        };
        assert_eq!(wire_from_json(&json), Ok(want));
    }

    #[test]
    fn what_cannot_be_said_is_named() {
        let check = |json: Value, want: FilterError| assert_eq!(wire_from_json(&json), Err(want));
        let unknown = |part: &str| FilterError::Unknown(part.to_owned());
        check(json!({"min_should": []}), unknown("min_should"));
        check(json!({"must": [{"has_id": [1]}]}), unknown("has_id"));
        check(json!({"must": [{"must": []}]}), unknown("must"));
        check(json!({"must": [{"key": "a", "geo_radius": {}}]}), unknown("geo_radius"));
        check(json!({"must": [{"key": "a", "match": {"text": "x"}}]}), unknown("text"));
        check(json!({"must": [{"key": "a", "range": {"above": 1}}]}), unknown("above"));
        check(json!({"must": [{"match": {"value": 1}}]}), FilterError::KeyMissing);
        check(json!([]), FilterError::Kind("filter", "an object"));
        check(json!({"must": [1]}), FilterError::Kind("condition", "an object"));
        check(json!({"must": [{"key": "a", "match": {"any": [1, "x"]}}]}), {
            FilterError::Kind("match.any", "a list of texts or of integers")
        });
        check(json!({"must": [{"key": "a", "match": {"value": 1.5}}]}), {
            FilterError::Kind("match.value", "a text, an integer or a boolean")
        });
    }
}
