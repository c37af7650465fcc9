//! Scores made of several similarities, and nearest points among given ids (PROTOCOL sections 10.4 and 11).
//!
//! Every candidate is compared exactly: these queries have no geometry that a graph could be walked by. A scan of 400,000
//! vectors of 50 numbers takes some milliseconds per example.

use std::cmp::Ordering;
use std::collections::{BTreeSet, HashMap};

use serde::{Deserialize, Serialize};

use super::column::Column;
use super::filter::CompiledFilter;
use super::read::{Found, Hit, ReadError, keep_best};
use super::{Place, Shard};
use crate::distance::{Distances, distance, max_sim_distance, sparse_dot};
use crate::index::{Cost, Pin, Stop};
use crate::model::{Condition, Filter, Metric, Payload, PointId, PointVersion, Slot, Vector};

/// How a point is scored by its vector. Similarities are those of PROTOCOL section 3.1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Scoring {
    /// The similarity itself.
    Nearest(Vector),
    /// The larger of the best similarities to either side, below zero if it is the negative side's.
    BestScore { positive: Vec<Vector>, negative: Vec<Vector> },
    /// The sum over the positives less that over the negatives.
    SumScores { positive: Vec<Vector>, negative: Vec<Vector> },
    /// How many pairs are on the right side, then the similarity to the target.
    Discover { target: Vector, pairs: Vec<(Vector, Vector)> },
    /// What the pairs on the wrong side cost; at best 0.
    Context { pairs: Vec<(Vector, Vector)> },
    /// `a` times the similarity to the target, and for each pair of examples its weight times the difference of their
    /// similarities. Pairs are places in `examples`.
    Feedback { target: Vector, examples: Vec<Vector>, a: f32, pairs: Vec<(usize, usize, f32)> },
}

/// What is compared.
#[derive(Clone, Copy, Debug)]
pub enum Among<'a> {
    /// The points that match.
    Filter(Option<&'a Filter>),
    /// These points; each once. Those the shard lacks are left out.
    Ids(&'a [PointId]),
}

/// The best points by a score.
#[derive(Clone, Copy, Debug)]
pub struct Rank<'a> {
    /// Name of the vector that is compared. Points without it are left out.
    pub using: &'a str,
    pub scoring: &'a Scoring,
    pub among: Among<'a>,
    /// May be huge: nothing is allocated by it.
    pub k: usize,
    /// Decides the order of equal scores (PROTOCOL section 3.2): that of the vector for [`Scoring::Nearest`].
    pub order: Metric,
}

/// Slots scored between two looks at the stop flag.
const SLOTS_PER_STOP_CHECK: usize = 256;

/// x / (1 + |x|): between -1 and 1.
fn fast_sigmoid(x: f32) -> f32 {
    if x.is_infinite() { x } else { x / (1.0 + x.abs()) }
}

/// Between 0 and 1.
fn scaled_sigmoid(x: f32) -> f32 {
    if x.is_infinite() { x } else { 0.5 * (fast_sigmoid(x) + 1.0) }
}

impl Scoring {
    /// The score of a point; larger is better. `similarity` compares its vector with an example; `None`: it has none.
    pub fn score(&self, similarity: impl Fn(&Vector) -> Option<f32>) -> Option<f32> {
        let best = |examples: &[Vector]| -> Option<f32> {
            examples.iter().try_fold(f32::NEG_INFINITY, |best, example| Some(best.max(similarity(example)?)))
        };
        let sum = |examples: &[Vector]| -> Option<f32> {
            examples.iter().try_fold(0.0, |sum, example| Some(sum + similarity(example)?))
        };
        match self {
            Scoring::Nearest(query) => similarity(query),
            Scoring::BestScore { positive, negative } => {
                let (positive, negative) = (best(positive)?, best(negative)?);
                Some(if positive > negative { scaled_sigmoid(positive) } else { -scaled_sigmoid(negative) })
            }
            Scoring::SumScores { positive, negative } => Some(sum(positive)? - sum(negative)?),
            Scoring::Discover { target, pairs } => {
                let mut rank = 0.0;
                for (positive, negative) in pairs {
                    rank += match similarity(positive)?.partial_cmp(&similarity(negative)?) {
                        Some(Ordering::Greater) => 1.0,
                        Some(Ordering::Less) => -1.0,
                        _ => 0.0,
                    };
                }
                Some(rank + scaled_sigmoid(similarity(target)?))
            }
            Scoring::Context { pairs } => {
                let mut loss = 0.0;
                for (positive, negative) in pairs {
                    let difference = similarity(positive)? - similarity(negative)? - f32::EPSILON;
                    loss += fast_sigmoid(difference.min(0.0));
                }
                Some(loss)
            }
            Scoring::Feedback { target, examples, a, pairs } => {
                let of_examples: Option<Vec<f32>> = examples.iter().map(&similarity).collect();
                let of_examples = of_examples?;
                let gain = |(i, j, weight): &(usize, usize, f32)| {
                    let of = |place: &usize| of_examples.get(*place).copied().unwrap_or(0.0);
                    weight * (of(i) - of(j))
                };
                Some(a * similarity(target)? + pairs.iter().map(gain).sum::<f32>())
            }
        }
    }
}

impl Shard {
    /// The best `k` points by `rank.scoring`, best first. A hit's distance is its score, negated.
    pub fn rank(&self, rank: &Rank<'_>, stop: &Stop) -> Result<Found, ReadError> {
        let Some(column) = self.column(rank.using) else { return Ok(Found::default()) };
        let pin = self.slots.pin();
        let mut cost = Cost::default();
        let mut hits: HashMap<PointId, (PointVersion, f32)> = HashMap::new();
        match rank.among {
            Among::Ids(ids) => {
                for (seen, id) in ids.iter().enumerate() {
                    check(stop, seen)?;
                    if let Some(Place { slot, version }) = self.place_of(*id) {
                        cost.distances += 1;
                        if let Some(score) = score(&column, &pin, rank.scoring, slot) {
                            hits.insert(*id, (version, score));
                        }
                    }
                }
            }
            Among::Filter(filter) => {
                let mark = self.replaced.mark();
                for (seen, slot) in self.matching(&pin, filter, stop)?.iter().enumerate() {
                    check(stop, seen)?;
                    cost.distances += 1;
                    if let (Some((id, version)), Some(score)) =
                        (self.slots.get(slot), score(&column, &pin, rank.scoring, slot))
                    {
                        // Both slots of a point that was replaced meanwhile may be here; the newer one counts.
                        let newest = hits.entry(id).or_insert((version, score));
                        if newest.0 < version {
                            *newest = (version, score);
                        }
                    }
                }
                // A point that was replaced meanwhile may have been met at its old slot, or at neither.
                let replaced: BTreeSet<PointId> = self.replaced.since(mark).into_iter().collect();
                for id in replaced {
                    hits.remove(&id);
                    let Some(Place { slot, version }) = self.place_of(id) else { continue };
                    if let Some(score) = score(&column, &pin, rank.scoring, slot)
                        && self.matches(filter, id)?
                    {
                        hits.insert(id, (version, score));
                    }
                }
            }
        }
        let hits = hits.into_iter().map(|(id, (version, score))| Hit { id, version, distance: 0.0 - score });
        let mut hits: Vec<Hit> = hits.collect();
        keep_best(&mut hits, rank.k, rank.order);
        let places = self.ids.read();
        for hit in &mut hits {
            // A point deleted meanwhile was there when the read began.
            hit.version = places.get(&hit.id).map_or(hit.version, |place| place.version);
        }
        Ok(Found { hits, cost })
    }
}

/// The similarity of PROTOCOL section 3.1 between two vectors that are not in an index; that of multivectors is that of
/// `a` as a query. `None`: they are of different kinds or sizes.
pub fn similarity(metric: Metric, a: &Vector, b: &Vector) -> Option<f32> {
    match (a, b) {
        (Vector::Dense(a), Vector::Dense(b)) if a.len() == b.len() => Some(0.0 - distance(metric, a, b)),
        (Vector::Sparse(a), Vector::Sparse(b)) => Some(sparse_dot(a, b).unwrap_or(0.0)),
        (Vector::Multi(a), Vector::Multi(b)) if a.dim() == b.dim() => {
            Some(0.0 - max_sim_distance(&Distances::new(metric), a, b))
        }
        _ => None,
    }
}

/// A point as [`Shard::inspect`] shows it.
pub struct Inspected<'a> {
    pub id: PointId,
    pub version: PointVersion,
    /// Empty when it was not asked for.
    pub payload: &'a Payload,
    /// Whether a condition holds for the point.
    pub holds: &'a dyn Fn(&Condition) -> bool,
}

impl Shard {
    /// Those of `ids` that the shard has, in their order.
    pub fn present(&self, ids: &[PointId]) -> Vec<PointId> {
        let known = self.ids.read();
        ids.iter().filter(|id| known.contains_key(id)).copied().collect()
    }

    /// Shows each of `ids` that the shard has, until `show` returns false.
    pub fn inspect(
        &self,
        ids: &[PointId],
        needs_payload: bool,
        stop: &Stop,
        show: &mut dyn FnMut(&Inspected<'_>) -> bool,
    ) -> Result<(), ReadError> {
        let texts = self.text_fields();
        for (seen, id) in ids.iter().enumerate() {
            check(stop, seen)?;
            let Some(Place { version, .. }) = self.place_of(*id) else { continue };
            let stored = if needs_payload { self.store.payload(id)? } else { None };
            let payload = stored.unwrap_or_default();
            let holds = |condition: &Condition| {
                let filter = Filter { must: vec![condition.clone()], ..Filter::default() };
                self.holds_for(&CompiledFilter::with_texts(&filter, &texts), *id, &payload)
            };
            if !show(&Inspected { id: *id, version, payload: &payload, holds: &holds }) {
                break;
            }
        }
        Ok(())
    }
}

fn score(column: &Column, pin: &Pin<'_>, scoring: &Scoring, slot: Slot) -> Option<f32> {
    match scoring {
        // As a search would find it: without an index in common sparse vectors are no hit (PROTOCOL section 13.1), while
        // in all other scores that counts as 0.
        Scoring::Nearest(query) => column.distance(pin, query, slot).map(|distance| 0.0 - distance),
        scoring => scoring.score(|example| column.similarity(pin, example, slot)),
    }
}

fn check(stop: &Stop, seen: usize) -> Result<(), ReadError> {
    if seen.is_multiple_of(SLOTS_PER_STOP_CHECK) && stop.is_raised() { Err(ReadError::Stopped) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One number per vector; its similarity to an example is their product.
    fn scored(scoring: &Scoring, point: f32) -> f32 {
        scoring.score(|example| example.as_dense().map(|values| values[0] * point)).unwrap()
    }

    fn v(value: f32) -> Vector {
        Vector::Dense(vec![value])
    }

    fn close(got: f32, want: f32) {
        assert!((got - want).abs() < 1e-6, "{got} instead of {want}");
    }

    #[test]
    fn s11_best_score_takes_the_better_side() {
        let scoring = Scoring::BestScore { positive: vec![v(1.0), v(2.0)], negative: vec![v(-3.0)] };
        // At 1: positives 1 and 2, negative -3. ssig(2) = (2/3 + 1) / 2.
        close(scored(&scoring, 1.0), 0.833_333_3);
        // At -1: positives -1 and -2, negative 3. -ssig(3) = -(3/4 + 1) / 2.
        close(scored(&scoring, -1.0), -0.875);
        let lone = Scoring::BestScore { positive: vec![], negative: vec![v(1.0)] };
        close(scored(&lone, 1.0), -0.75);
    }

    #[test]
    fn s11_sum_scores_is_a_difference_of_sums() {
        let scoring = Scoring::SumScores { positive: vec![v(1.0), v(2.0)], negative: vec![v(4.0)] };
        close(scored(&scoring, 2.0), 6.0 - 8.0);
    }

    #[test]
    fn s11_discover_counts_pairs_then_the_target() {
        let pairs = vec![(v(2.0), v(1.0)), (v(1.0), v(2.0)), (v(3.0), v(0.0)), (v(1.0), v(1.0))];
        let scoring = Scoring::Discover { target: v(1.0), pairs };
        // +1 -1 +1 +0, and ssig(1) = 0.75.
        close(scored(&scoring, 1.0), 1.75);
        close(scored(&scoring, -1.0), -1.0 + 0.25);
        close(scored(&Scoring::Discover { target: v(1.0), pairs: vec![] }, 1.0), 0.75);
    }

    #[test]
    fn s11_context_is_zero_on_the_right_side() {
        let scoring = Scoring::Context { pairs: vec![(v(2.0), v(1.0)), (v(4.0), v(1.0))] };
        close(scored(&scoring, 1.0), 0.0);
        // Differences of -1 and -3: -1/2 - 3/4.
        close(scored(&scoring, -1.0), -1.25);
    }

    #[test]
    fn s11_feedback_weighs_pairs() {
        let scoring =
            Scoring::Feedback { target: v(3.0), examples: vec![v(1.0), v(-1.0)], a: 0.5, pairs: vec![(0, 1, 2.0)] };
        // 0.5 * 6 + 2 * (2 - -2).
        close(scored(&scoring, 2.0), 11.0);
    }

    #[test]
    fn s11_a_point_without_the_vector_has_no_score() {
        assert_eq!(Scoring::Nearest(v(1.0)).score(|_| None), None);
        assert_eq!(Scoring::SumScores { positive: vec![v(1.0)], negative: vec![] }.score(|_| None), None);
    }
}
