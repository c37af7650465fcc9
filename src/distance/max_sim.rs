//! How two multivectors are compared: max_sim, the late interaction of ColBERT (Khattab and Zaharia 2020).

use super::{Distances, ordered};
use crate::model::MultiVector;

/// For every row of the query the distance of the row nearest to it, summed: max_sim with its sign turned. Asymmetric.
///
/// # Panics
/// If the rows have different lengths.
pub fn max_sim_distance(distances: &Distances, query: &MultiVector, stored: &MultiVector) -> f32 {
    const BATCH: usize = 32;
    let mut out = [0.0; BATCH];
    let nearest_to = |row: &[f32]| {
        let mut nearest = f32::INFINITY;
        let mut stored = stored.rows();
        loop {
            let mut batch: [&[f32]; BATCH] = [&[]; BATCH];
            let mut count = 0;
            for (place, row) in batch.iter_mut().zip(stored.by_ref()) {
                *place = row;
                count += 1;
            }
            if count == 0 {
                return nearest;
            }
            distances.distances(row, &batch[..count], &mut out[..count]);
            nearest = out[..count].iter().copied().fold(nearest, f32::min);
        }
    };
    ordered(query.rows().map(nearest_to).sum())
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
        let rows: Vec<[f32; 2]> = (0..100).map(|n| [n as f32, 0.0]).collect();
        let query = multi(&[[1.0, 0.0]]);
        assert_eq!(max_sim_distance(&Distances::new(Metric::Dot), &query, &multi(&rows)), -99.0);
    }
}
