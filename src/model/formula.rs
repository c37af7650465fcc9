//! Formulas that rescore prefetched points (PROTOCOL section 14). Evaluation lives in `service`.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::datetime::Timestamp;
use super::filter::Condition;
use super::geo::GeoPoint;
use super::payload::Path;

/// An expression and what stands in for missing variables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Formula {
    pub expression: Expression,
    /// Values as JSON gave them: numbers, datetimes as text, places as objects.
    #[serde(serialize_with = "write_defaults", deserialize_with = "read_defaults")]
    pub defaults: Vec<(Variable, serde_json::Value)>,
}

/// As JSON text: binary formats do not say what comes.
fn write_defaults<S: Serializer>(defaults: &[(Variable, serde_json::Value)], out: S) -> Result<S::Ok, S::Error> {
    out.collect_seq(defaults.iter().map(|(variable, value)| (variable, value.to_string())))
}

fn read_defaults<'de, D: Deserializer<'de>>(input: D) -> Result<Vec<(Variable, serde_json::Value)>, D::Error> {
    let texts: Vec<(Variable, String)> = Vec::deserialize(input)?;
    let value = |text: String| serde_json::from_str(&text).map_err(serde::de::Error::custom);
    texts.into_iter().map(|(variable, text)| Ok((variable, value(text)?))).collect()
}

/// What an expression reads.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Variable {
    /// The shown score in the prefetch of this number.
    Score(usize),
    /// A value of the payload.
    Payload(Path),
}

/// Evaluated in f64.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Expression {
    Constant(f64),
    Variable(Variable),
    /// 1.0 where it holds, else 0.0.
    Condition(Box<Condition>),
    /// Stops at the first 0.
    Mult(Vec<Expression>),
    Sum(Vec<Expression>),
    /// At least one operand.
    Max(Vec<Expression>),
    /// At least one operand.
    Min(Vec<Expression>),
    Neg(Box<Expression>),
    Abs(Box<Expression>),
    Div {
        left: Box<Expression>,
        right: Box<Expression>,
        by_zero_default: Option<f64>,
    },
    Sqrt(Box<Expression>),
    Pow {
        base: Box<Expression>,
        exponent: Box<Expression>,
    },
    Exp(Box<Expression>),
    Log10(Box<Expression>),
    Ln(Box<Expression>),
    Acosh(Box<Expression>),
    /// Metres.
    GeoDistance {
        origin: GeoPoint,
        to: Path,
    },
    /// Seconds since the epoch.
    Datetime(Timestamp),
    DatetimeKey(Path),
    Decay {
        kind: Decay,
        x: Box<Expression>,
        /// Absent: 0.
        target: Option<Box<Expression>>,
        /// Above 0.
        scale: f64,
        /// Linear: 0 to 1; else between them.
        midpoint: f64,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Decay {
    Linear,
    Exponential,
    Gaussian,
}
