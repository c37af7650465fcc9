//! Maximal marginal relevance (PROTOCOL section 15). Pure.
//!
//! Carbonell, Goldstein: "The Use of MMR, Diversity-Based Reranking for Reordering Documents and Producing Summaries"
//! (SIGIR 1998).

/// Picks up to `count` of the candidates, in order of picking; returns their places.
///
/// `relevance[i]` is the similarity of candidate `i` to the query, `similarity(i, j)` that of two candidates. `lambda`
/// is the share of relevance, 0 to 1. Each pick maximises `lambda * relevance - (1 - lambda) * similarity to the
/// nearest picked`; among equals the last one pending wins, and the last one pending takes the place of what was picked.
pub(super) fn pick(
    relevance: &[f32],
    similarity: impl Fn(usize, usize) -> f32,
    lambda: f32,
    count: usize,
) -> Vec<usize> {
    let mut pending: Vec<usize> = (0..relevance.len()).collect();
    // Per candidate: its similarity to the picked one that is nearest to it.
    let mut nearest_picked = vec![f32::NEG_INFINITY; relevance.len()];
    let mut picked: Vec<usize> = Vec::new();
    while picked.len() < count && !pending.is_empty() {
        let value = |candidate: usize| {
            let relevance = relevance.get(candidate).copied().unwrap_or(f32::NEG_INFINITY);
            let value = match nearest_picked.get(candidate) {
                Some(nearest) if !picked.is_empty() => lambda * relevance - (1.0 - lambda) * nearest,
                _ => relevance,
            };
            // Of one zero, for the total order tells two apart: a share of nothing of something negative is -0.
            value + 0.0
        };
        let best =
            pending.iter().enumerate().max_by(|a, b| value(*a.1).total_cmp(&value(*b.1))).map(|(place, _)| place);
        let Some(place) = best else { break };
        let chosen = pending.swap_remove(place);
        picked.push(chosen);
        for candidate in &pending {
            if let Some(nearest) = nearest_picked.get_mut(*candidate) {
                *nearest = nearest.max(similarity(*candidate, chosen));
            }
        }
    }
    picked
}

#[cfg(test)]
mod tests {
    use super::*;

    fn dot(points: &[[f32; 2]]) -> impl Fn(usize, usize) -> f32 + '_ {
        |a, b| points[a][0] * points[b][0] + points[a][1] * points[b][1]
    }

    #[test]
    fn s15_the_most_relevant_comes_first_and_its_double_later() {
        let points = [[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]];
        let relevance = [0.9, 0.8, 0.5];
        assert_eq!(pick(&relevance, dot(&points), 0.5, 3), [0, 2, 1]);
        assert_eq!(pick(&relevance, dot(&points), 1.0, 3), [0, 1, 2]);
        assert_eq!(pick(&relevance, dot(&points), 0.5, 2), [0, 2]);
    }

    #[test]
    fn s15_equal_values_take_the_last_pending_which_fills_the_hole() {
        let points = [[0.0, 0.0]; 4];
        // First pick: the last of the equals (3). Then 2, then 1.
        assert_eq!(pick(&[1.0; 4], dot(&points), 0.5, 4), [3, 2, 1, 0]);
        // Picking 0 moves 3 into its place: pending is [3, 1, 2], whose last equal is 2.
        assert_eq!(pick(&[2.0, 1.0, 1.0, 1.0], dot(&points), 0.5, 4), [0, 2, 1, 3]);
    }

    #[test]
    fn s15_zeros_of_either_sign_are_equal() {
        // Without a share of relevance both others are worth nothing: -0 for the one whose relevance is negative.
        // What was picked left its place to the last one, so the second is the last one pending.
        assert_eq!(pick(&[3.0, -3.0, 2.0], |_, _| 0.0, 0.0, 2), [0, 1]);
        assert_eq!(pick(&[3.0, 2.0, -3.0], |_, _| 0.0, 0.0, 2), [0, 1]);
    }

    #[test]
    fn s15_none_and_one() {
        assert!(pick(&[], |_, _| 0.0, 0.5, 3).is_empty());
        assert_eq!(pick(&[1.0], |_, _| 0.0, 0.5, 3), [0]);
    }
}
