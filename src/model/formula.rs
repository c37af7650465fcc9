//! Formulas that rescore prefetched points (PROTOCOL section 14). Evaluation lives in `service`.

use super::datetime::Timestamp;
use super::filter::Condition;
use super::geo::GeoPoint;
use super::payload::Path;

/// An expression and what stands in for missing variables.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula {
    pub expression: Expression,
    /// Values as JSON gave them: numbers, datetimes as text, places as objects.
    pub defaults: Vec<(Variable, serde_json::Value)>,
}

/// What an expression reads.
#[derive(Clone, Debug, PartialEq)]
pub enum Variable {
    /// The shown score in the prefetch of this number.
    Score(usize),
    /// A value of the payload.
    Payload(Path),
}

/// Evaluated in f64.
#[derive(Clone, Debug, PartialEq)]
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

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decay {
    Linear,
    Exponential,
    Gaussian,
}
