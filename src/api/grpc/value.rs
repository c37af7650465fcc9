//! JSON values and payloads (PROTOCOL section 20): integers stay integers, those above i64 become doubles.

use std::collections::BTreeMap;

use serde_json::{Map, Number, Value};

use super::pb::{self, value::Kind};
use crate::api::checks::{Checked, Findings};
use crate::api::status::ApiError;
use crate::model::Payload;

/// A payload. Refuses numbers JSON cannot hold.
pub(super) fn payload_from_wire(found: &mut Findings, wire: BTreeMap<String, pb::Value>) -> Checked<Payload> {
    object_from_wire(found, wire).map(Payload)
}

fn object_from_wire(found: &mut Findings, wire: BTreeMap<String, pb::Value>) -> Checked<Map<String, Value>> {
    wire.into_iter().map(|(key, value)| Ok((key, value_from_wire(found, value)?))).collect()
}

/// Recurses as deep as the decoder of the message allowed.
pub(super) fn value_from_wire(found: &mut Findings, wire: pb::Value) -> Checked<Value> {
    Ok(match wire.kind {
        None | Some(Kind::NullValue(_)) => Value::Null,
        Some(Kind::BoolValue(value)) => Value::Bool(value),
        Some(Kind::IntegerValue(value)) => Value::Number(value.into()),
        Some(Kind::DoubleValue(value)) => match Number::from_f64(value) {
            Some(number) => Value::Number(number),
            None => {
                return found.refuse(ApiError::wrong_input(format_args!("a payload cannot hold the number {value}")));
            }
        },
        Some(Kind::StringValue(value)) => Value::String(value),
        Some(Kind::StructValue(value)) => Value::Object(object_from_wire(found, value.fields)?),
        Some(Kind::ListValue(value)) => {
            Value::Array(value.values.into_iter().map(|item| value_from_wire(found, item)).collect::<Checked<_>>()?)
        }
    })
}

/// A payload; one that was not asked for is an empty map, as the message has it.
pub(super) fn wire_from_payload(payload: Option<Payload>) -> BTreeMap<String, pb::Value> {
    payload.map_or_else(BTreeMap::new, |payload| wire_from_object(payload.0))
}

fn wire_from_object(object: Map<String, Value>) -> BTreeMap<String, pb::Value> {
    object.into_iter().map(|(key, value)| (key, wire_from_value(value))).collect()
}

fn wire_from_value(value: Value) -> pb::Value {
    let kind = match value {
        Value::Null => Kind::NullValue(pb::NullValue::NullValue as i32),
        Value::Bool(value) => Kind::BoolValue(value),
        Value::Number(number) => match number.as_i64() {
            Some(integer) => Kind::IntegerValue(integer),
            // Every JSON number has a nearest double.
            None => Kind::DoubleValue(number.as_f64().unwrap_or_default()),
        },
        Value::String(value) => Kind::StringValue(value),
        Value::Array(items) => {
            Kind::ListValue(pb::ListValue { values: items.into_iter().map(wire_from_value).collect() })
        }
        Value::Object(object) => Kind::StructValue(pb::Struct { fields: wire_from_object(object) }),
    };
    pb::Value { kind: Some(kind) }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn payload(value: Value) -> Payload {
        let Value::Object(object) = value else { panic!("{value} is no object") };
        Payload(object)
    }

    fn round_trip(before: Payload) -> Payload {
        payload_from_wire(&mut Findings::new(), wire_from_payload(Some(before))).unwrap()
    }

    #[test]
    fn every_kind_of_value_survives() {
        let before = payload(json!({
            "null": null, "bool": true, "int": -3, "int_max": i64::MAX, "int_min": i64::MIN, "double": 1.0,
            "tiny": 5e-324, "text": "ü", "list": [1, 1.5, [null], {}], "object": {"a": {"b": []}}, "": 0,
        }));
        assert_eq!(round_trip(before.clone()), before);
    }

    #[test]
    fn protocol_20_integers_stay_integers_and_above_i64_become_doubles() {
        let wire = wire_from_payload(Some(payload(json!({"i": 1, "d": 1.0, "u": u64::MAX}))));
        let kind = |key: &str| wire.get(key).unwrap().kind.clone().unwrap();
        assert_eq!(kind("i"), Kind::IntegerValue(1));
        assert_eq!(kind("d"), Kind::DoubleValue(1.0));
        assert_eq!(kind("u"), Kind::DoubleValue(18_446_744_073_709_551_615.0));
    }

    #[test]
    fn a_number_json_cannot_hold_is_refused() {
        for number in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let list = pb::ListValue { values: vec![pb::Value { kind: Some(Kind::DoubleValue(number)) }] };
            let wire = BTreeMap::from([("a".to_owned(), pb::Value { kind: Some(Kind::ListValue(list)) })]);
            let mut found = Findings::new();
            let value = payload_from_wire(&mut found, wire);
            let error = found.finish("body", value).unwrap_err();
            assert_eq!(error.text, format!("Wrong input: a payload cannot hold the number {number}"));
        }
    }

    #[test]
    fn a_value_without_a_kind_is_null() {
        let wire = BTreeMap::from([("a".to_owned(), pb::Value { kind: None })]);
        assert_eq!(payload_from_wire(&mut Findings::new(), wire).unwrap(), payload(json!({"a": null})));
    }

    fn any_value() -> impl Strategy<Value = Value> {
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i64>().prop_map(Value::from),
            (-1e300..1e300_f64).prop_map(Value::from),
            ".{0,5}".prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 32, 4, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
                prop::collection::btree_map(".{0,3}", inner, 0..4)
                    .prop_map(|members| Value::Object(members.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn payloads_survive_the_wire(value in any_value()) {
            let before = payload(json!({ "value": value }));
            prop_assert_eq!(round_trip(before.clone()), before);
        }
    }
}
