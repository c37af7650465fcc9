//! How two multivectors are compared: max_sim, the late interaction of ColBERT (Khattab and Zaharia 2020).

use super::{Distances, ordered};
use crate::model::MultiVector;

/// For every row of the query the distance of the row nearest to it, summed: max_sim with its sign turned. Asymmetric.
///
/// # Panics
/// If the rows have different lengths.
pub fn max_sim_distance(distances: &Distances, query: &MultiVector, stored: &MultiVector) -> f32 {
    /// Stored rows compared at once: of 128 numbers each they fill half of a core's first cache, and stay there while
    /// the query's rows go by.
    const STORED_MAX: usize = 32;
    /// Rows of the query that go by together.
    const QUERY_MAX: usize = 64;
    assert_eq!(query.dim(), stored.dim());
    let (dim, mut sum) = (query.dim(), 0.0);
    for query in query.values().chunks(QUERY_MAX * dim) {
        let mut nearest = [f32::INFINITY; QUERY_MAX];
        for stored in stored.values().chunks(STORED_MAX * dim) {
            let mut rows: [&[f32]; STORED_MAX] = [&[]; STORED_MAX];
            for (place, row) in rows.iter_mut().zip(stored.chunks_exact(dim)) {
                *place = row;
            }
            let rows = &rows[..stored.len() / dim];
            let mut out = [0.0; STORED_MAX];
            let out = &mut out[..rows.len()];
            for (nearest, row) in nearest.iter_mut().zip(query.chunks_exact(dim)) {
                distances.distances(row, rows, out);
                *nearest = out.iter().copied().fold(*nearest, f32::min);
            }
        }
        sum += nearest.iter().take(query.len() / dim).sum::<f32>();
    }
    ordered(sum)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Metric;

    fn multi(rows: &[[f32; 2]]) -> MultiVector {
        MultiVector::new(2, rows.concat()).unwrap()
    }

    #[test]
    fn s3_1_max_sim_sums_the_best_row_of_every_query_row() {
        let query = multi(&[[1.0, 0.0], [0.0, 2.0]]);
        let stored = multi(&[[3.0, 1.0], [1.0, 1.0], [-1.0, 4.0]]);
        let distance = |metric| max_sim_distance(&Distances::scalar(metric), &query, &stored);
        assert_eq!(distance(Metric::Dot), -(3.0 + 8.0));
        assert_eq!(distance(Metric::Euclid), 1.0 + 2.0);
        assert_eq!(distance(Metric::Manhattan), 1.0 + 2.0);
        let back = max_sim_distance(&Distances::scalar(Metric::Dot), &stored, &query);
        assert_eq!(back, -(3.0 + 2.0 + 8.0), "the roles differ");
    }

    #[test]
    fn more_rows_than_one_batch_are_all_compared() {
        for (query_count, stored_count) in [(1, 100), (64, 32), (65, 33), (150, 100), (150, 1)] {
            let rows = |count: usize| (0..count).map(|n| [n as f32, 0.0]).collect::<Vec<_>>();
            let (query, stored) = (multi(&rows(query_count)), multi(&rows(stored_count)));
            let want: usize = (0..query_count).map(|n| n * (stored_count - 1)).sum();
            assert_eq!(max_sim_distance(&Distances::new(Metric::Dot), &query, &stored), -(want as f32));
        }
    }
}
