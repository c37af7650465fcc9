//! Formulas (PROTOCOL section 14): a number, a variable's name, a condition, or an object with one operation.

use serde::Deserialize;
use serde_json::{Map, Value};

use super::filter;
use crate::api::checks::{self, At, Checked, Findings};
use crate::api::levels;
use crate::model::formula::{Decay, Expression, Formula};

/// Operations inside each other; evaluation recurses once per level.
const DEPTH_MAX: usize = 64;

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
