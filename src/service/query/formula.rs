//! Formulas, evaluated for one candidate at a time (PROTOCOL section 14). Pure.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::model::datetime::Timestamp;
use crate::model::formula::{Decay, Expression, Formula, Variable};
use crate::model::geo::GeoPoint;
use crate::model::{Condition, Path, Payload};

/// A decay's target when none is given.
const DECAY_TARGET_DEFAULT: f64 = 0.0;
/// A score that is missing and has no default.
const SCORE_DEFAULT: f64 = 0.0;

/// What a formula is evaluated for.
pub(crate) struct Candidate<'a> {
    /// Shown scores, one per prefetch; `None` where the prefetch lacks the point.
    pub(crate) scores: &'a [Option<f32>],
    pub(crate) payload: &'a Payload,
    /// Whether a condition holds for the point.
    pub(crate) holds: &'a dyn Fn(&Condition) -> bool,
}

/// Why a formula has no value for a candidate.
#[derive(Clone, Debug, PartialEq, thiserror::Error, Serialize, Deserialize)]
pub enum FormulaError {
    /// Neither the payload nor the defaults have it.
    #[error("No value found for {variable} in the payload nor the formula defaults")]
    Missing { variable: String },
    #[error(
        "Expected number value for {variable} in the payload and/or in the formula defaults. \
         Error: Value is not a number"
    )]
    NotANumber { variable: String },
    #[error("Expected geo point for {variable} in the payload and/or in the formula defaults.")]
    NotAPlace { variable: String },
    #[error("Expected datetime for {variable} in the payload and/or in the formula defaults.")]
    NotADatetime { variable: String },
    /// A division by zero, a root of a negative number, an overflow.
    #[error("The expression {expression} produced a non-finite number")]
    NotFinite { expression: String },
}

/// The formula's value for `candidate`, as a score.
pub(crate) fn evaluate(formula: &Formula, candidate: &Candidate<'_>) -> Result<f32, FormulaError> {
    let value = Evaluation { formula, candidate }.value(&formula.expression)?;
    let score = value as f32;
    finite(f64::from(score), || format!("{value} as f32 = {score}")).map(|_| score)
}

/// Whether the expression, or a default's use, reads the payload.
pub(crate) fn needs_payload(expression: &Expression) -> bool {
    match expression {
        Expression::Constant(_) | Expression::Variable(Variable::Score(_)) | Expression::Datetime(_) => false,
        Expression::Variable(Variable::Payload(_))
        | Expression::Condition(_)
        | Expression::GeoDistance { .. }
        | Expression::DatetimeKey(_) => true,
        Expression::Mult(operands)
        | Expression::Sum(operands)
        | Expression::Max(operands)
        | Expression::Min(operands) => operands.iter().any(needs_payload),
        Expression::Neg(operand)
        | Expression::Abs(operand)
        | Expression::Sqrt(operand)
        | Expression::Exp(operand)
        | Expression::Log10(operand)
        | Expression::Ln(operand)
        | Expression::Acosh(operand) => needs_payload(operand),
        Expression::Div { left, right, .. } => needs_payload(left) || needs_payload(right),
        Expression::Pow { base, exponent } => needs_payload(base) || needs_payload(exponent),
        Expression::Decay { x, target, .. } => needs_payload(x) || target.as_deref().is_some_and(needs_payload),
    }
}

struct Evaluation<'a> {
    formula: &'a Formula,
    candidate: &'a Candidate<'a>,
}

impl Evaluation<'_> {
    fn value(&self, expression: &Expression) -> Result<f64, FormulaError> {
        match expression {
            Expression::Constant(value) => Ok(*value),
            Expression::Variable(Variable::Score(number)) => self.score(*number),
            Expression::Variable(Variable::Payload(path)) => {
                let value = self.payload_value(path)?;
                value.as_f64().ok_or_else(|| FormulaError::NotANumber { variable: path.to_string() })
            }
            Expression::Condition(condition) => Ok(if (self.candidate.holds)(condition) { 1.0 } else { 0.0 }),
            Expression::Mult(operands) => {
                let mut product = 1.0;
                for operand in operands {
                    let factor = self.value(operand)?;
                    if factor == 0.0 {
                        return Ok(0.0);
                    }
                    product *= factor;
                }
                Ok(product)
            }
            Expression::Sum(operands) => {
                let mut sum = 0.0;
                for operand in operands {
                    sum += self.value(operand)?;
                }
                Ok(sum)
            }
            Expression::Max(operands) => self.fold(operands, f64::NEG_INFINITY, f64::max),
            Expression::Min(operands) => self.fold(operands, f64::INFINITY, f64::min),
            Expression::Neg(operand) => Ok(-self.value(operand)?),
            Expression::Abs(operand) => Ok(self.value(operand)?.abs()),
            Expression::Div { left, right, by_zero_default } => self.quotient(left, right, *by_zero_default),
            Expression::Sqrt(operand) => self.apply(operand, f64::sqrt, "√"),
            Expression::Pow { base, exponent } => {
                let (base, exponent) = (self.value(base)?, self.value(exponent)?);
                finite(base.powf(exponent), || format!("{base}^{exponent}"))
            }
            Expression::Exp(operand) => self.apply(operand, f64::exp, "exp"),
            Expression::Log10(operand) => self.apply(operand, f64::log10, "log10"),
            Expression::Ln(operand) => self.apply(operand, f64::ln, "ln"),
            Expression::Acosh(operand) => self.apply(operand, f64::acosh, "acosh"),
            Expression::GeoDistance { origin, to } => {
                let value = self.payload_value(to)?;
                let place = place(&value).ok_or_else(|| FormulaError::NotAPlace { variable: to.to_string() })?;
                Ok(origin.distance_m(&place))
            }
            Expression::Datetime(instant) => Ok(seconds(*instant)),
            Expression::DatetimeKey(path) => {
                let value = self.payload_value(path)?;
                let instant = value.as_str().and_then(Timestamp::parse);
                instant.map(seconds).ok_or_else(|| FormulaError::NotADatetime { variable: path.to_string() })
            }
            Expression::Decay { kind, x, target, scale, midpoint } => {
                let x = self.value(x)?;
                let target = target.as_deref().map_or(Ok(DECAY_TARGET_DEFAULT), |target| self.value(target))?;
                Ok(decay(*kind, x - target, *scale, *midpoint))
            }
        }
    }

    fn fold(&self, operands: &[Expression], start: f64, pick: fn(f64, f64) -> f64) -> Result<f64, FormulaError> {
        operands.iter().try_fold(start, |best, operand| Ok(pick(best, self.value(operand)?)))
    }

    fn apply(&self, operand: &Expression, function: fn(f64) -> f64, name: &str) -> Result<f64, FormulaError> {
        let value = self.value(operand)?;
        finite(function(value), || format!("{name}({value})"))
    }

    fn quotient(&self, left: &Expression, right: &Expression, by_zero: Option<f64>) -> Result<f64, FormulaError> {
        let left = self.value(left)?;
        if left == 0.0 {
            return Ok(left);
        }
        let right = self.value(right)?;
        match by_zero {
            Some(value) if right == 0.0 => Ok(value),
            _ => finite(left / right, || format!("{left}/{right}")),
        }
    }

    fn score(&self, number: usize) -> Result<f64, FormulaError> {
        let found = self.candidate.scores.get(number).copied().flatten();
        match (found, self.default(&Variable::Score(number))) {
            (Some(score), _) => Ok(f64::from(score)),
            (None, None) => Ok(SCORE_DEFAULT),
            (None, Some(default)) => {
                default.as_f64().ok_or_else(|| FormulaError::NotANumber { variable: format!("$score[{number}]") })
            }
        }
    }

    fn default(&self, variable: &Variable) -> Option<&Value> {
        // The last of several defaults for one variable stands.
        let mut given = self.formula.defaults.iter().rev();
        given.find(|(of, _)| of == variable).map(|(_, value)| value)
    }

    /// The one value at `path`: lists of one are unwrapped, empty ones are missing.
    fn payload_value(&self, path: &Path) -> Result<Value, FormulaError> {
        let mut found = Vec::new();
        path.any(&self.candidate.payload.0, &mut |value| {
            match value {
                Value::Array(elements) => found.extend(elements.iter().cloned()),
                value => found.push(value.clone()),
            }
            false
        });
        if found.is_empty() {
            match self.default(&Variable::Payload(path.clone())) {
                Some(Value::Array(elements)) => found.extend(elements.iter().cloned()),
                Some(value) => found.push(value.clone()),
                None => {}
            }
        }
        let mut found = found.into_iter();
        match (found.next(), found.len()) {
            (None, _) => Err(FormulaError::Missing { variable: path.to_string() }),
            (Some(value), 0) => Ok(value),
            (Some(value), _) => Ok(Value::Array(std::iter::once(value).chain(found).collect())),
        }
    }
}

fn finite(value: f64, expression: impl FnOnce() -> String) -> Result<f64, FormulaError> {
    if value.is_finite() { Ok(value) } else { Err(FormulaError::NotFinite { expression: expression() }) }
}

fn place(value: &Value) -> Option<GeoPoint> {
    GeoPoint::new(value.get("lon")?.as_f64()?, value.get("lat")?.as_f64()?).ok()
}

/// Since the epoch, with a fraction.
fn seconds(instant: Timestamp) -> f64 {
    instant.0 as f64 / 1_000_000.0
}

/// 1 at the target, `midpoint` at a distance of `scale` from it.
fn decay(kind: Decay, distance: f64, scale: f64, midpoint: f64) -> f64 {
    match kind {
        Decay::Linear => (1.0 - (1.0 - midpoint) / scale * distance.abs()).max(0.0),
        Decay::Exponential => (midpoint.ln() / scale * distance.abs()).exp(),
        Decay::Gaussian => (midpoint.ln() / (scale * scale) * distance * distance).exp(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::model::filter::{FieldCondition, Match, Predicate};

    fn path(text: &str) -> Path {
        text.parse().unwrap()
    }

    fn key(text: &str) -> Expression {
        Expression::Variable(Variable::Payload(path(text)))
    }

    fn boxed(value: f64) -> Box<Expression> {
        Box::new(Expression::Constant(value))
    }

    fn of(expression: Expression, defaults: &[(Variable, Value)]) -> Result<f32, FormulaError> {
        let payload = json!({
            "n": 4, "half": 0.5, "one": [7], "none": [], "many": [1, 2], "text": "x", "flag": true,
            "at": {"lon": 13.0, "lat": 52.0}, "when": "1970-01-01T00:00:01.5Z",
        });
        let payload = Payload(payload.as_object().unwrap().clone());
        let holds = |condition: &Condition| matches!(condition, Condition::HasId(ids) if ids.is_empty());
        let candidate = Candidate { scores: &[Some(2.0), None], payload: &payload, holds: &holds };
        evaluate(&Formula { expression, defaults: defaults.to_vec() }, &candidate)
    }

    fn value(expression: Expression) -> f32 {
        of(expression, &[]).unwrap()
    }

    fn text_of_error(expression: Expression) -> String {
        of(expression, &[]).unwrap_err().to_string()
    }

    #[test]
    fn s14_variables_and_their_defaults() {
        let score = |number| Expression::Variable(Variable::Score(number));
        assert_eq!(value(score(0)), 2.0);
        assert_eq!(value(score(1)), 0.0);
        assert_eq!(value(score(9)), 0.0);
        assert_eq!(of(score(1), &[(Variable::Score(1), json!(0.25))]), Ok(0.25));
        assert_eq!(of(score(0), &[(Variable::Score(0), json!(0.25))]), Ok(2.0));
        assert!(matches!(of(score(1), &[(Variable::Score(1), json!("x"))]), Err(FormulaError::NotANumber { .. })));
        assert_eq!(value(key("n")), 4.0);
        assert_eq!(value(key("one")), 7.0);
        assert_eq!(value(key("many[1]")), 2.0);
        assert_eq!(text_of_error(key("absent")), "No value found for absent in the payload nor the formula defaults");
        assert!(matches!(of(key("none"), &[]), Err(FormulaError::Missing { .. })));
        assert_eq!(of(key("none"), &[(Variable::Payload(path("none")), json!(3))]), Ok(3.0));
        for not_a_number in ["many", "text", "flag", "at"] {
            assert_eq!(
                text_of_error(key(not_a_number)),
                format!(
                    "Expected number value for {not_a_number} in the payload and/or in the formula defaults. \
                     Error: Value is not a number"
                )
            );
        }
    }

    #[test]
    fn s14_arithmetic() {
        assert_eq!(value(Expression::Sum(vec![key("n"), key("half")])), 4.5);
        assert_eq!(value(Expression::Mult(vec![key("n"), key("half")])), 2.0);
        // The first zero ends it: what comes after is not looked at.
        assert_eq!(value(Expression::Mult(vec![Expression::Constant(0.0), key("absent")])), 0.0);
        assert_eq!(value(Expression::Max(vec![key("n"), key("half")])), 4.0);
        assert_eq!(value(Expression::Min(vec![key("n"), key("half")])), 0.5);
        assert_eq!(value(Expression::Neg(Box::new(key("n")))), -4.0);
        assert_eq!(value(Expression::Abs(boxed(-3.0))), 3.0);
        assert_eq!(value(Expression::Sqrt(Box::new(key("n")))), 2.0);
        assert_eq!(value(Expression::Pow { base: boxed(2.0), exponent: boxed(3.0) }), 8.0);
        assert_eq!(value(Expression::Exp(boxed(0.0))), 1.0);
        assert_eq!(value(Expression::Log10(boxed(1000.0))), 3.0);
        assert_eq!(value(Expression::Ln(boxed(1.0))), 0.0);
        assert_eq!(value(Expression::Acosh(boxed(1.0))), 0.0);
        assert_eq!(value(Expression::Condition(Box::new(Condition::HasId([].into())))), 1.0);
        let other = FieldCondition { key: path("n"), predicates: vec![Predicate::Match(Match::Integer(1))] };
        assert_eq!(value(Expression::Condition(Box::new(Condition::Field(other)))), 0.0);
    }

    #[test]
    fn s14_division_looks_at_zeros_first() {
        let div = |left: Box<Expression>, right: Box<Expression>, by_zero_default| Expression::Div {
            left,
            right,
            by_zero_default,
        };
        assert_eq!(value(div(boxed(3.0), boxed(2.0), None)), 1.5);
        assert_eq!(value(div(boxed(0.0), Box::new(key("absent")), None)), 0.0);
        assert_eq!(value(div(boxed(3.0), boxed(0.0), Some(9.0))), 9.0);
        assert_eq!(text_of_error(div(boxed(3.0), boxed(0.0), None)), "The expression 3/0 produced a non-finite number");
    }

    #[test]
    fn s14_what_is_not_finite_is_an_error() {
        for expression in [
            Expression::Sqrt(boxed(-1.0)),
            Expression::Ln(boxed(0.0)),
            Expression::Log10(boxed(-1.0)),
            Expression::Exp(boxed(1e6)),
            // Finite in f64, not as a score.
            Expression::Constant(1e300),
            Expression::Sum(vec![Expression::Constant(f64::MAX), Expression::Constant(f64::MAX)]),
            Expression::Mult(vec![Expression::Constant(f64::MAX), Expression::Constant(2.0)]),
            Expression::Acosh(boxed(0.5)),
            Expression::Pow { base: boxed(-8.0), exponent: boxed(0.5) },
        ] {
            assert!(matches!(of(expression.clone(), &[]), Err(FormulaError::NotFinite { .. })), "{expression:?}");
        }
    }

    #[test]
    fn s14_places_and_times() {
        let origin = GeoPoint::new(13.0, 52.0).unwrap();
        assert_eq!(value(Expression::GeoDistance { origin, to: path("at") }), 0.0);
        let far = value(Expression::GeoDistance { origin: GeoPoint::new(13.0, 53.0).unwrap(), to: path("at") });
        assert!((far - 111_195.0).abs() < 5.0, "{far}");
        let no_place = of(Expression::GeoDistance { origin, to: path("n") }, &[]);
        assert_eq!(no_place, Err(FormulaError::NotAPlace { variable: "n".to_owned() }));
        let no_time = of(Expression::DatetimeKey(path("text")), &[]);
        assert_eq!(no_time, Err(FormulaError::NotADatetime { variable: "text".to_owned() }));
        let default = [(Variable::Payload(path("absent")), json!({"lon": 13.0, "lat": 52.0}))];
        assert_eq!(of(Expression::GeoDistance { origin, to: path("absent") }, &default), Ok(0.0));
        let default = [(Variable::Payload(path("absent")), json!("1970-01-01"))];
        assert_eq!(of(Expression::DatetimeKey(path("absent")), &default), Ok(0.0));
        assert_eq!(value(Expression::DatetimeKey(path("when"))), 1.5);
        assert_eq!(value(Expression::Datetime(Timestamp::parse("1970-01-02T00:00:00Z").unwrap())), 86_400.0);
    }

    #[test]
    fn s14_decays_are_one_at_the_target_and_the_midpoint_at_the_scale() {
        let decay = |kind, x, target: Option<f64>| {
            value(Expression::Decay { kind, x: boxed(x), target: target.map(boxed), scale: 2.0, midpoint: 0.25 })
        };
        for kind in [Decay::Linear, Decay::Exponential, Decay::Gaussian] {
            assert_eq!(decay(kind, 0.0, None), 1.0, "{kind:?}");
            assert_eq!(decay(kind, 5.0, Some(5.0)), 1.0, "{kind:?}");
            for x in [3.0, 7.0] {
                assert!((decay(kind, x, Some(5.0)) - 0.25).abs() < 1e-6, "{kind:?}");
            }
        }
        assert_eq!(decay(Decay::Linear, 100.0, None), 0.0);
        assert!((decay(Decay::Exponential, 4.0, None) - 0.0625).abs() < 1e-6);
        assert!((decay(Decay::Gaussian, 4.0, None) - 0.003_906_25).abs() < 1e-6);
    }
}
