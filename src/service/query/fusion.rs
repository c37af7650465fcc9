//! Fusion: ranked lists become one (PROTOCOL section 12). Pure.
//!
//! Reciprocal rank fusion: Cormack, Clarke, Büttcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
//! Learning Methods" (SIGIR 2009), with a rank constant and weights per list.

use std::collections::HashMap;

use crate::model::PointId;
use crate::model::query::Fusion;
use crate::service::merge::ScoredHit;

/// The points of all `lists`, best first. Equal scores keep the order in which the lists show them first.
///
/// `lists` are the prefetches' results, best first, with their shown scores; weights, if any, are one per list.
pub(super) fn fuse(fusion: &Fusion, lists: &[Vec<ScoredHit>]) -> Vec<ScoredHit> {
    match fusion {
        Fusion::Rrf { k, weights } => sum(lists, |number, list| {
            let weight = weights.as_ref().map_or(1.0, |weights| weights.get(number).copied().unwrap_or(1.0));
            (0..list.len()).map(|position| reciprocal_rank(position, *k, weight)).collect()
        }),
        Fusion::Dbsf => sum(lists, |_, list| normalised(list)),
    }
}

/// What the element at `position` (from 0) of a list adds.
fn reciprocal_rank(position: usize, k: usize, weight: f32) -> f32 {
    if weight <= 0.0 {
        return 0.0;
    }
    1.0 / ((position as f32 + 1.0) / weight + k as f32 - 1.0)
}

/// Scores moved and scaled so that three standard deviations around the mean are 0 to 1 (distribution based score
/// fusion). Without a spread each is 0.5.
fn normalised(list: &[ScoredHit]) -> Vec<f32> {
    const NO_SPREAD: f32 = 0.5;
    let count = list.len() as f32;
    if list.len() < 2 {
        return vec![NO_SPREAD; list.len()];
    }
    let mean = list.iter().map(|hit| hit.score).sum::<f32>() / count;
    let variance = list.iter().map(|hit| (hit.score - mean).powi(2)).sum::<f32>() / (count - 1.0);
    let deviation = variance.sqrt();
    if deviation == 0.0 {
        return vec![NO_SPREAD; list.len()];
    }
    let lowest = mean - 3.0 * deviation;
    list.iter().map(|hit| (hit.score - lowest) / (6.0 * deviation)).collect()
}

fn sum(lists: &[Vec<ScoredHit>], scores: impl Fn(usize, &[ScoredHit]) -> Vec<f32>) -> Vec<ScoredHit> {
    let mut places: HashMap<PointId, usize> = HashMap::new();
    let mut fused: Vec<ScoredHit> = Vec::new();
    for (number, list) in lists.iter().enumerate() {
        for (hit, score) in list.iter().zip(scores(number, list)) {
            match places.get(&hit.id).and_then(|place| fused.get_mut(*place)) {
                Some(known) => known.score += score,
                None => {
                    places.insert(hit.id, fused.len());
                    fused.push(ScoredHit { score, ..*hit });
                }
            }
        }
    }
    // Stable: ties stay in the order of first sight.
    fused.sort_by(|a, b| b.score.total_cmp(&a.score));
    fused
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(hits: &[(u64, f32)]) -> Vec<ScoredHit> {
        hits.iter().map(|&(id, score)| ScoredHit { score, ..ScoredHit::by_id(PointId::Num(id)) }).collect()
    }

    fn check(fusion: &Fusion, lists: &[Vec<ScoredHit>], want: &[(u64, f32)]) {
        let got = fuse(fusion, lists);
        let ids: Vec<PointId> = got.iter().map(|hit| hit.id).collect();
        assert_eq!(ids, want.iter().map(|(id, _)| PointId::Num(*id)).collect::<Vec<_>>(), "{got:?}");
        for (hit, (id, score)) in got.iter().zip(want) {
            assert!((hit.score - score).abs() < 1e-6, "{id}: {} instead of {score}", hit.score);
        }
    }

    #[test]
    fn s12_rrf_adds_reciprocal_ranks() {
        let rrf = Fusion::Rrf { k: 2, weights: None };
        let lists = [list(&[(1, 9.0), (2, 8.0)]), list(&[(2, 0.5), (3, 0.4), (1, 0.3)])];
        // 1: 1/2 + 1/4, 2: 1/3 + 1/2, 3: 1/3.
        check(&rrf, &lists, &[(2, 0.833_333_3), (1, 0.75), (3, 0.333_333_3)]);
        check(&Fusion::Rrf { k: 61, weights: None }, &lists[..1], &[(1, 1.0 / 61.0), (2, 1.0 / 62.0)]);
        check(&rrf, &[], &[]);
    }

    #[test]
    fn s12_rrf_weights_stretch_ranks_and_none_counts_as_absent() {
        let rrf = Fusion::Rrf { k: 2, weights: Some(vec![2.0, 0.0]) };
        let lists = [list(&[(1, 9.0), (2, 8.0)]), list(&[(3, 0.5), (1, 0.4)])];
        // Position 0: 1 / (1/2 + 1), position 1: 1 / (2/2 + 1); the second list adds nothing.
        check(&rrf, &lists, &[(1, 0.666_666_7), (2, 0.5), (3, 0.0)]);
    }

    #[test]
    fn s12_dbsf_scales_by_three_deviations() {
        let lists = [list(&[(1, 3.0), (2, 2.0), (3, 1.0)]), list(&[(3, 7.0)]), list(&[(2, 5.0), (1, 5.0)])];
        // Mean 2, deviation 1: 3 becomes (3 + 1) / 6.
        check(&Fusion::Dbsf, &lists, &[(1, 4.0 / 6.0 + 0.5), (2, 1.0), (3, 2.0 / 6.0 + 0.5)]);
    }
}
