//! The checks both transports make on queries (PROTOCOL sections 10 to 16): the shapes of levels, not of vectors.

use super::checks::{self, At, Checked, Findings};
use super::status::ApiError;
use crate::model::formula::{Decay, Expression, Variable};
use crate::model::query::{
    Direction, Fusion, LookupFrom, Mmr, OrderBy, QueryLevel, Ranking, RecommendStrategy, RelevanceFeedback,
    SearchOptions, StartFrom, Target,
};
use crate::model::{Filter, VectorName};

/// Candidates of a diversified query.
const MMR_CANDIDATES_MAX: u64 = 16_384;
const MMR_DIVERSITY_DEFAULT: f32 = 0.5;
/// The first of a list adds 1/2.
const RRF_K_DEFAULT: u64 = 2;
const DECAY_SCALE_DEFAULT: f64 = 1.0;
const DECAY_MIDPOINT_DEFAULT: f64 = 0.5;
const TEXT_K_DEFAULT: f32 = 1.2;
const TEXT_B_DEFAULT: f32 = 0.75;

/// What a level is made of.
pub struct LevelParts {
    pub prefetch: Vec<QueryLevel>,
    /// `None`: no query was given.
    pub ranking: Option<Ranking>,
    pub using: Option<VectorName>,
    pub lookup_from: Option<LookupFrom>,
    pub filter: Option<Filter>,
    pub options: SearchOptions,
    pub score_threshold: Option<f32>,
    pub limit: usize,
}

/// One level of a query, if its parts go together (PROTOCOL sections 3.3 and 10.2).
pub fn level(found: &mut Findings, parts: LevelParts) -> Checked<QueryLevel> {
    let LevelParts { prefetch, ranking, using, lookup_from, filter, options, score_threshold, limit } = parts;
    if score_threshold.is_some_and(|threshold| !threshold.is_finite()) {
        return found.refuse(ApiError::wrong_input("score_threshold is not a finite number"));
    }
    let refusal = match &ranking {
        None if !prefetch.is_empty() => {
            Some("A query is needed to merge the prefetches. Can't have prefetches without defining a query.")
        }
        None if score_threshold.is_some() => {
            Some("A query is needed to use the score_threshold. Can't have score_threshold without defining a query.")
        }
        Some(Ranking::Fusion(_)) if prefetch.is_empty() => {
            Some("Fusion queries need prefetches: there is nothing to fuse without them.")
        }
        Some(Ranking::Fusion(_)) if using.as_ref().is_some_and(|using| !using.is_empty()) => {
            Some("Fusion queries cannot be combined with the 'using' field.")
        }
        Some(Ranking::Formula(_)) if prefetch.is_empty() => {
            Some("Formula queries need prefetches: there is nothing to rescore without them.")
        }
        Some(Ranking::OrderBy(_)) if score_threshold.is_some() => {
            Some("Can't use score_threshold with an order_by query.")
        }
        Some(Ranking::Text { .. }) if using.is_none() => {
            Some("A text query needs `using` to name a payload field with a text index.")
        }
        _ => None,
    };
    if let Some(text) = refusal {
        return found.refuse(ApiError::bad_request(text));
    }
    let ranking = ranking.unwrap_or(Ranking::ById);
    Ok(QueryLevel {
        prefetch,
        ranking,
        using: using.unwrap_or_default(),
        lookup_from,
        filter,
        options,
        score_threshold,
        limit,
    })
}

/// Levels of prefetches inside each other; 0 when there are none.
pub fn depth_of(prefetch: &[QueryLevel]) -> usize {
    prefetch.iter().map(|level| 1 + depth_of(&level.prefetch)).max().unwrap_or(0)
}

/// `at` is where the diversification stands.
pub fn mmr(found: &mut Findings, at: At<'_>, diversity: Option<f32>, candidates_limit: Option<u64>) -> Checked<Mmr> {
    let diversity = match diversity {
        None => Ok(MMR_DIVERSITY_DEFAULT),
        Some(diversity) => checks::within(found, at.field("diversity"), diversity, 0.0, 1.0),
    };
    let candidates_limit = candidates_limit
        .map(|limit| checks::within(found, at.field("candidates_limit"), limit, 1, MMR_CANDIDATES_MAX))
        .transpose();
    Ok(Mmr { diversity: diversity?, candidates_limit: candidates_limit?.map(checks::count_from_u64) })
}

/// PROTOCOL section 11: an average needs a positive example, the others any.
pub fn recommend(
    found: &mut Findings,
    at: At<'_>,
    positive: Vec<Target>,
    negative: Vec<Target>,
    strategy: RecommendStrategy,
) -> Checked<Ranking> {
    match strategy {
        RecommendStrategy::AverageVector if positive.is_empty() => {
            found.refuse(ApiError::wrong_input("Positive vectors should not be empty with `average` strategy"))
        }
        _ if positive.is_empty() && negative.is_empty() => {
            found.invalid(at, "At least one positive or negative vector or id is required")
        }
        _ => Ok(Ranking::Recommend { positive, negative, strategy }),
    }
}

/// As [`recommend`], in the words of the old endpoint (PROTOCOL section 17).
pub fn old_recommend(
    found: &mut Findings,
    at: At<'_>,
    positive: Vec<Target>,
    negative: Vec<Target>,
    strategy: RecommendStrategy,
) -> Checked<Ranking> {
    if strategy == RecommendStrategy::AverageVector && positive.is_empty() {
        return found.refuse(ApiError::bad_request("At least one positive vector ID required with this strategy"));
    }
    recommend(found, at, positive, negative, strategy)
}

/// `at` is where the feedback query stands.
pub fn relevance_feedback(found: &mut Findings, at: At<'_>, feedback: RelevanceFeedback) -> Checked<Ranking> {
    let at_strategy = at.field("strategy");
    let at_naive = at_strategy.field("naive");
    let checks = [
        match feedback.feedback.is_empty() {
            true => found.invalid(at.field("feedback"), "feedback elements must be non-empty"),
            false => Ok(()),
        },
        checks::at_least(found, at_naive.field("b"), feedback.b, 0.0).map(drop),
    ];
    checks.into_iter().collect::<Checked<()>>()?;
    let numbers = feedback.feedback.iter().map(|(_, score)| *score).chain([feedback.a, feedback.b, feedback.c]);
    if !{ numbers }.all(f32::is_finite) {
        return found.refuse(ApiError::wrong_input("feedback scores and weights must be finite numbers"));
    }
    Ok(Ranking::RelevanceFeedback(feedback))
}

/// `at` is where the fusion stands.
pub fn rrf(found: &mut Findings, at: At<'_>, k: Option<u64>, weights: Option<Vec<f32>>) -> Checked<Fusion> {
    let k = checks::at_least(found, at.field("k"), k.unwrap_or(RRF_K_DEFAULT), 1)?;
    if weights.iter().flatten().any(|weight| !weight.is_finite()) {
        return found.refuse(ApiError::wrong_input("weights must be finite numbers"));
    }
    Ok(Fusion::Rrf { k: checks::count_from_u64(k), weights })
}

/// A text query with the defaults of BM25.
pub fn text(found: &mut Findings, at: At<'_>, query: String, k: Option<f32>, b: Option<f32>) -> Checked<Ranking> {
    let k = checks::at_least(found, at.field("k"), k.unwrap_or(TEXT_K_DEFAULT), 0.0);
    let b = checks::within(found, at.field("b"), b.unwrap_or(TEXT_B_DEFAULT), 0.0, 1.0);
    Ok(Ranking::Text { query, k: k?, b: b? })
}

/// An order by the field of this path.
pub fn order_by(
    found: &mut Findings,
    key: &str,
    is_descending: bool,
    start_from: Option<StartFrom>,
) -> Checked<OrderBy> {
    let direction = if is_descending { Direction::Desc } else { Direction::Asc };
    Ok(OrderBy { key: checks::path(found, key)?, direction, start_from })
}

/// `$score`, `$score[2]`, or a path.
pub fn variable(found: &mut Findings, text: &str) -> Checked<Variable> {
    let Some(index) = text.strip_prefix("$score") else { return checks::path(found, text).map(Variable::Payload) };
    if index.is_empty() {
        return Ok(Variable::Score(0));
    }
    let digits = index.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let is_number = digits.is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()));
    match digits.filter(|_| is_number).and_then(|digits| digits.parse().ok()) {
        Some(number) => Ok(Variable::Score(number)),
        None => found.refuse(ApiError::bad_request(format_args!("Invalid score pattern: {text}"))),
    }
}

/// A decay with its defaults (PROTOCOL section 14).
pub fn decay(
    found: &mut Findings,
    kind: Decay,
    x: Expression,
    target: Option<Expression>,
    (scale, midpoint): (Option<f64>, Option<f64>),
) -> Checked<Expression> {
    let scale = scale.unwrap_or(DECAY_SCALE_DEFAULT);
    let midpoint = midpoint.unwrap_or(DECAY_MIDPOINT_DEFAULT);
    // Written so that NaN is refused.
    let is_right = match kind {
        Decay::Linear => (0.0..=1.0).contains(&midpoint),
        Decay::Exponential | Decay::Gaussian => midpoint > 0.0 && midpoint < 1.0,
    };
    if !is_right {
        let (name, range) = match kind {
            Decay::Linear => ("Linear decay", "[0.0, 1.0]"),
            Decay::Exponential | Decay::Gaussian => ("Decay", "(0.0, 1.0)"),
        };
        let text = format!("{name} midpoint should be in the range {range}, got {midpoint}");
        return found.refuse(ApiError::bad_request(text));
    }
    if scale <= 0.0 || !scale.is_finite() {
        return found.refuse(ApiError::bad_request(format_args!("Scale must be non-zero positive, got {scale}")));
    }
    let (x, target) = (Box::new(x), target.map(Box::new));
    Ok(Expression::Decay { kind, x, target, scale, midpoint })
}

/// `max` and `min` need something to choose from.
pub fn operands(found: &mut Findings, name: &str, operands: Vec<Expression>) -> Checked<Vec<Expression>> {
    match operands.is_empty() {
        true => found.refuse(ApiError::bad_request(format_args!("`{name}` needs at least one operand"))),
        false => Ok(operands),
    }
}

/// Quantization parameters of a search: at least 1, finite.
pub fn oversampling(found: &mut Findings, at: At<'_>, value: Option<f64>) -> Checked<Option<f64>> {
    value.map(|value| checks::at_least(found, at.field("oversampling"), value, 1.0)).transpose()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal<T: std::fmt::Debug>(convert: impl FnOnce(&mut Findings) -> Checked<T>) -> String {
        let mut found = Findings::new();
        let value = convert(&mut found);
        found.finish("JSON body", value).unwrap_err().text
    }

    fn accepted<T>(convert: impl FnOnce(&mut Findings) -> Checked<T>) -> T {
        let mut found = Findings::new();
        let value = convert(&mut found);
        found.finish("JSON body", value).unwrap()
    }

    fn parts(ranking: Option<Ranking>) -> LevelParts {
        LevelParts {
            prefetch: Vec::new(),
            ranking,
            using: None,
            lookup_from: None,
            filter: None,
            options: SearchOptions::default(),
            score_threshold: None,
            limit: 10,
        }
    }

    #[test]
    fn s10_2_parts_that_do_not_go_together() {
        let prefetch = || vec![QueryLevel::new(Ranking::ById, 10)];
        let fusion = || Some(Ranking::Fusion(Fusion::Dbsf));
        let order = || {
            let order = accepted(|found| order_by(found, "a", false, None));
            Some(Ranking::OrderBy(order))
        };
        for (parts, want) in [
            (LevelParts { prefetch: prefetch(), ..parts(None) }, "A query is needed to merge the prefetches"),
            (LevelParts { score_threshold: Some(1.0), ..parts(None) }, "A query is needed to use the score_threshold"),
            (parts(fusion()), "Fusion queries need prefetches"),
            (
                LevelParts { prefetch: prefetch(), using: Some("a".into()), ..parts(fusion()) },
                "Fusion queries cannot be combined with the 'using' field.",
            ),
            (LevelParts { score_threshold: Some(1.0), ..parts(order()) }, "Can't use score_threshold with an order_by"),
            (parts(Some(Ranking::Text { query: "a".into(), k: 1.2, b: 0.5 })), "A text query needs `using`"),
        ] {
            let text = refusal(|found| level(found, parts));
            assert!(text.starts_with(&format!("Bad request: {want}")), "{text}");
        }
        let unnamed = LevelParts { prefetch: prefetch(), using: Some(String::new()), ..parts(fusion()) };
        assert_eq!(accepted(|found| level(found, unnamed)).prefetch.len(), 1);
    }

    #[test]
    fn s14_score_variables() {
        let read = |text: &str| accepted(|found| variable(found, text));
        assert_eq!(read("$score"), Variable::Score(0));
        assert_eq!(read("$score[12]"), Variable::Score(12));
        assert_eq!(read("a.b"), Variable::Payload("a.b".parse().unwrap()));
        for wrong in ["$score[", "$score[]", "$score[-1]", "$score[1]x", "$scores", "$score[ 1]", "$score[+1]"] {
            let text = refusal(|found| variable(found, wrong));
            assert_eq!(text, format!("Bad request: Invalid score pattern: {wrong}"));
        }
    }

    #[test]
    fn s14_decay_parameters() {
        let made = |kind, scale, midpoint| {
            move |found: &mut Findings| decay(found, kind, Expression::Constant(0.0), None, (scale, midpoint))
        };
        accepted(made(Decay::Linear, None, Some(0.0)));
        accepted(made(Decay::Linear, None, Some(1.0)));
        accepted(made(Decay::Gaussian, Some(2.0), None));
        for wrong in [
            made(Decay::Linear, None, Some(1.5)),
            made(Decay::Linear, None, Some(f64::NAN)),
            made(Decay::Exponential, None, Some(0.0)),
            made(Decay::Gaussian, None, Some(1.0)),
            made(Decay::Gaussian, Some(0.0), None),
            made(Decay::Gaussian, Some(-1.0), None),
        ] {
            assert!(refusal(wrong).starts_with("Bad request: "));
        }
    }

    #[test]
    fn s11_and_s12_and_s15_ranges() {
        let at = At::Root;
        assert_eq!(
            refusal(|found| recommend(found, at, vec![], vec![], RecommendStrategy::AverageVector)),
            "Wrong input: Positive vectors should not be empty with `average` strategy"
        );
        assert_eq!(
            refusal(|found| old_recommend(found, at, vec![], vec![], RecommendStrategy::AverageVector)),
            "Bad request: At least one positive vector ID required with this strategy"
        );
        for recommend in [recommend, old_recommend] {
            let text = refusal(|found| recommend(found, at, vec![], vec![], RecommendStrategy::BestScore));
            assert!(text.contains("At least one positive or negative"), "{text}");
        }
        assert!(refusal(|found| rrf(found, at, Some(0), None)).contains("k: value 0 invalid, must be 1 or larger"));
        assert_eq!(accepted(|found| rrf(found, at, None, None)), Fusion::Rrf { k: 2, weights: None });
        assert!(refusal(|found| mmr(found, at, Some(1.5), None)).contains("diversity: value 1.5 invalid"));
        assert!(refusal(|found| mmr(found, at, None, Some(16_385))).contains("candidates_limit"));
        let feedback = |b, feedback| RelevanceFeedback {
            target: Target::Point(crate::model::PointId::Num(1)),
            feedback,
            a: 1.0,
            b,
            c: -1.0,
        };
        assert!(refusal(|found| relevance_feedback(found, at, feedback(1.0, vec![]))).contains("must be non-empty"));
        let one = vec![(Target::Point(crate::model::PointId::Num(2)), 0.5)];
        let away = RelevanceFeedback { a: -1.0, ..feedback(1.0, one.clone()) };
        assert_eq!(accepted(|found| relevance_feedback(found, at, away.clone())), Ranking::RelevanceFeedback(away));
        let text = refusal(|found| relevance_feedback(found, at, feedback(-1.0, one.clone())));
        assert!(text.contains("strategy.naive.b: value -1.0 invalid, must be 0.0 or larger"), "{text}");
    }
}
