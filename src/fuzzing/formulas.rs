//! Formulas: from JSON to a score.

use super::{payload, split};
use crate::api;
use crate::model::formula::{Expression, Formula};
use crate::model::{Condition, Filter, Payload, PointId};
use crate::service::{Candidate, evaluate, needs_payload};
use crate::shard::filter::{CompiledFilter, PointView};

/// Input: `{"formula": .., "defaults": ..}` as REST has it, and a payload.
pub fn formulas(data: &[u8]) {
    let Some([formula, point]) = split(data) else { return };
    let Some(formula) = api::rest::fuzzing::formula(formula.as_bytes()) else { return };
    let Some(payload) = payload(point) else { return };
    let answer = value(&formula, &payload);
    assert_eq!(value(&formula, &payload), answer, "asked twice");
    assert!(answer.is_none_or(f32::is_finite), "a score is finite");
    if !needs_payload(&formula.expression) {
        assert_eq!(value(&formula, &Payload::default()), answer, "it does not look at the payload");
    }
    // Any way to say the same gives the same score; a product that is 0 has no sign.
    let expression = || formula.expression.clone();
    let boxed = || Box::new(expression());
    let one = || Box::new(Expression::Constant(1.0));
    let same = [
        Expression::Neg(Box::new(Expression::Neg(boxed()))),
        Expression::Sum(vec![expression()]),
        Expression::Sum(vec![expression(), Expression::Constant(0.0)]),
        Expression::Mult(vec![expression()]),
        Expression::Mult(vec![expression(), *one()]),
        Expression::Max(vec![expression(), expression()]),
        Expression::Min(vec![expression()]),
        Expression::Div { left: boxed(), right: one(), by_zero_default: None },
        Expression::Pow { base: boxed(), exponent: one() },
    ];
    for expression in same {
        let other = Formula { expression, defaults: formula.defaults.clone() };
        assert_eq!(value(&other, &payload), answer, "{:?}", other.expression);
    }
}

fn value(formula: &Formula, payload: &Payload) -> Option<f32> {
    let holds = |condition: &Condition| {
        let filter = Filter { must: vec![condition.clone()], ..Filter::default() };
        let point = PointView { id: PointId::Num(1), payload, has_vector: &|name| name.is_empty() };
        CompiledFilter::new(&filter).matches(&point)
    };
    evaluate(formula, &Candidate { scores: &[Some(0.75), Some(-2.5), None], payload, holds: &holds }).ok()
}
