//! Formulas (PROTOCOL section 14): a number, a variable's name, a condition, or an object with one operation.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::filter::{self, ConditionBody};
use super::schemas::{any_of, closed, list, nullable, object, object_with, schema};
use crate::api::checks::{self, At, Checked, Findings};
use crate::api::levels;
use crate::model::formula::{Decay, Expression, Formula};

/// Operations inside each other; evaluation recurses once per level.
const DEPTH_MAX: usize = 64;

/// The schema of an expression.
pub(super) struct Shape;

schema!(Shape, "Expression", schemas => any_of([
    json_schema!({ "type": "number", "format": "double" }),
    json_schema!({ "type": "string", "description": "A payload's path, `$score`, or `$score[i]`." }),
    schemas.subschema_for::<ConditionBody>(),
    many_schema(schemas, "mult"),
    many_schema(schemas, "sum"),
    many_schema(schemas, "max"),
    many_schema(schemas, "min"),
    one_schema(schemas, "neg"),
    one_schema(schemas, "abs"),
    one_schema(schemas, "sqrt"),
    one_schema(schemas, "exp"),
    one_schema(schemas, "log10"),
    one_schema(schemas, "ln"),
    one_schema(schemas, "acosh"),
    closed(object([("div", object_with(
        [("left", schemas.subschema_for::<Shape>()), ("right", schemas.subschema_for::<Shape>())],
        [("by_zero_default", schemas.subschema_for::<Option<f64>>())],
    ))])),
    closed(object([("pow", object([
        ("base", schemas.subschema_for::<Shape>()),
        ("exponent", schemas.subschema_for::<Shape>()),
    ]))])),
    closed(object([("geo_distance", object([
        ("origin", object([("lon", schemas.subschema_for::<f64>()), ("lat", schemas.subschema_for::<f64>())])),
        ("to", schemas.subschema_for::<String>()),
    ]))])),
    closed(object([("datetime", json_schema!({ "type": "string", "format": "date-time" }))])),
    closed(object([("datetime_key", schemas.subschema_for::<String>())])),
    decay_schema(schemas, "lin_decay"),
    decay_schema(schemas, "exp_decay"),
    decay_schema(schemas, "gauss_decay"),
]));

fn one_schema(schemas: &mut SchemaGenerator, name: &str) -> Schema {
    closed(object([(name, schemas.subschema_for::<Shape>())]))
}

fn many_schema(schemas: &mut SchemaGenerator, name: &str) -> Schema {
    closed(object([(name, list(schemas.subschema_for::<Shape>()))]))
}

fn decay_schema(schemas: &mut SchemaGenerator, name: &str) -> Schema {
    let number = schemas.subschema_for::<Option<f64>>();
    closed(object([(
        name,
        object_with(
            [("x", schemas.subschema_for::<Shape>())],
            [("target", nullable(schemas.subschema_for::<Shape>())), ("scale", number.clone()), ("midpoint", number)],
        ),
    )]))
}

/// A formula with its defaults.
pub(super) fn formula(
    found: &mut Findings,
    at: At<'_>,
    given: Value,
    defaults: Option<Map<String, Value>>,
) -> Checked<Formula> {
    let expression = expression(found, at, given, 0);
    let defaults =
        checks::each(defaults.unwrap_or_default(), |_, (name, value)| Ok((levels::variable(found, &name)?, value)));
    Ok(Formula { expression: expression?, defaults: defaults? })
}

fn expression(found: &mut Findings, at: At<'_>, given: Value, depth: usize) -> Checked<Expression> {
    if depth > DEPTH_MAX {
        return found.malformed(format_args!("{at}: an expression may be nested {DEPTH_MAX} levels deep"));
    }
    match given {
        Value::Number(number) => Ok(Expression::Constant(number.as_f64().unwrap_or(f64::NAN))),
        Value::String(name) => levels::variable(found, &name).map(Expression::Variable),
        Value::Object(members) => operation(found, at, members, depth + 1),
        _ => found.malformed(format_args!("{at}: neither a number, a variable, a condition nor an operation")),
    }
}

fn operation(found: &mut Findings, at: At<'_>, mut members: Map<String, Value>, depth: usize) -> Checked<Expression> {
    let names = [
        "mult",
        "sum",
        "max",
        "min",
        "neg",
        "abs",
        "sqrt",
        "exp",
        "log10",
        "ln",
        "acosh",
        "div",
        "pow",
        "geo_distance",
        "datetime",
        "datetime_key",
        "lin_decay",
        "exp_decay",
        "gauss_decay",
    ];
    let Some(name) = names.into_iter().find(|name| members.contains_key(*name)) else {
        let condition = filter::condition(found, at, Value::Object(members))?;
        return Ok(Expression::Condition(Box::new(condition)));
    };
    if members.len() > 1 {
        return found.malformed(format_args!("{at}: an expression has one operation"));
    }
    let operand = members.remove(name).unwrap_or_default();
    let at = at.field(name);
    let one = |found: &mut Findings, operand| expression(found, at, operand, depth).map(Box::new);
    Ok(match name {
        "mult" => Expression::Mult(many(found, at, operand, depth)?),
        "sum" => Expression::Sum(many(found, at, operand, depth)?),
        "max" => {
            let operands = many(found, at, operand, depth)?;
            Expression::Max(levels::operands(found, name, operands)?)
        }
        "min" => {
            let operands = many(found, at, operand, depth)?;
            Expression::Min(levels::operands(found, name, operands)?)
        }
        "neg" => Expression::Neg(one(found, operand)?),
        "abs" => Expression::Abs(one(found, operand)?),
        "sqrt" => Expression::Sqrt(one(found, operand)?),
        "exp" => Expression::Exp(one(found, operand)?),
        "log10" => Expression::Log10(one(found, operand)?),
        "ln" => Expression::Ln(one(found, operand)?),
        "acosh" => Expression::Acosh(one(found, operand)?),
        "div" => {
            #[derive(Deserialize)]
            struct Div {
                left: Value,
                right: Value,
                by_zero_default: Option<f64>,
            }
            let Div { left, right, by_zero_default } = read(found, at, operand)?;
            Expression::Div { left: one(found, left)?, right: one(found, right)?, by_zero_default }
        }
        "pow" => {
            #[derive(Deserialize)]
            struct Pow {
                base: Value,
                exponent: Value,
            }
            let Pow { base, exponent } = read(found, at, operand)?;
            Expression::Pow { base: one(found, base)?, exponent: one(found, exponent)? }
        }
        "geo_distance" => {
            #[derive(Deserialize)]
            struct Place {
                lon: f64,
                lat: f64,
            }
            #[derive(Deserialize)]
            struct Distance {
                origin: Place,
                to: String,
            }
            let Distance { origin, to } = read(found, at, operand)?;
            let origin = checks::geo_point(found, at.field("origin"), origin.lon, origin.lat)?;
            Expression::GeoDistance { origin, to: checks::path(found, &to)? }
        }
        "datetime" => {
            let text: String = read(found, at, operand)?;
            Expression::Datetime(checks::datetime(found, &text)?)
        }
        "datetime_key" => {
            let key: String = read(found, at, operand)?;
            Expression::DatetimeKey(checks::path(found, &key)?)
        }
        kind => {
            #[derive(Deserialize)]
            struct DecayParams {
                x: Value,
                target: Option<Value>,
                scale: Option<f64>,
                midpoint: Option<f64>,
            }
            let DecayParams { x, target, scale, midpoint } = read(found, at, operand)?;
            let kind = match kind {
                "lin_decay" => Decay::Linear,
                "exp_decay" => Decay::Exponential,
                _ => Decay::Gaussian,
            };
            let x = expression(found, at.field("x"), x, depth);
            let target = target.map(|target| expression(found, at.field("target"), target, depth)).transpose();
            levels::decay(found, kind, x?, target?, (scale, midpoint))?
        }
    })
}

fn many(found: &mut Findings, at: At<'_>, operands: Value, depth: usize) -> Checked<Vec<Expression>> {
    let operands: Vec<Value> = read(found, at, operands)?;
    checks::each(operands, |i, operand| expression(found, at.item(i), operand, depth))
}

fn read<T: for<'de> Deserialize<'de>>(found: &mut Findings, at: At<'_>, value: Value) -> Checked<T> {
    T::deserialize(value).or_else(|error| found.malformed(format_args!("{at}: {error}")))
}
