//! What is asked, what should be found, and how much of it was.

use std::path::Path;

use super::Failure;
use super::files::{self, Matrix};
use super::flags::SearchFlags;

/// The queries, and per query its true neighbors if a file says them.
pub(super) struct Sample {
    pub(super) queries: Matrix<f32>,
    pub(super) truth: Option<Vec<Vec<u64>>>,
}

impl Sample {
    pub(super) fn read(flags: &SearchFlags) -> Result<Sample, Failure> {
        // Clap asks for one of the two.
        let queries = flags.query.as_deref().or(flags.data.as_deref()).unwrap_or(Path::new(""));
        let queries = files::vectors(queries, "test")?;
        let Some(path) = flags.truth.as_deref().or(flags.data.as_deref()) else {
            return Ok(Sample { queries, truth: None });
        };
        let neighbors = files::neighbors(path, "neighbors")?;
        let limit = flags.limit.get();
        if neighbors.row_count() < queries.row_count() {
            let (got, want) = (neighbors.row_count(), queries.row_count());
            return Err(Failure::TooFewRows { what: "--truth", got, want });
        }
        if neighbors.width() < limit {
            return Err(Failure::LimitAboveTruth { limit, width: neighbors.width() });
        }
        let truth = neighbors.rows().take(queries.row_count()).map(|row| first(&row[..limit])).collect();
        Ok(Sample { queries, truth: Some(truth) })
    }
}

/// Negative ids stand for neighbors that do not exist, as where a filter leaves fewer than were asked for.
fn first(neighbors: &[i64]) -> Vec<u64> {
    neighbors.iter().filter_map(|&id| u64::try_from(id).ok()).collect()
}

/// The share of the true neighbors that was found, over all queries; `None` when there are none.
pub(super) fn recall(found: &[Vec<u64>], truth: &[Vec<u64>]) -> Option<f64> {
    let wanted: usize = truth.iter().map(Vec::len).sum();
    let hits = |(found, truth): (&Vec<u64>, &Vec<u64>)| truth.iter().filter(|id| found.contains(id)).count();
    let hits: usize = found.iter().zip(truth).map(hits).sum();
    (wanted > 0).then(|| hits as f64 / wanted as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn recall_is_the_share_of_the_true_neighbors_that_was_found() {
        let check = |found: &[&[u64]], truth: &[&[u64]], want: Option<f64>| {
            let lists = |lists: &[&[u64]]| lists.iter().map(|list| list.to_vec()).collect::<Vec<_>>();
            assert_eq!(recall(&lists(found), &lists(truth)), want);
        };
        check(&[&[1, 2], &[3, 4]], &[&[2, 1], &[4, 3]], Some(1.0));
        check(&[&[1, 9], &[]], &[&[1, 2], &[3, 4]], Some(0.25));
        // The second query has one neighbor only.
        check(&[&[1, 2], &[3, 7]], &[&[1, 8], &[3]], Some(2.0 / 3.0));
        check(&[&[1]], &[&[]], None);
    }

    #[test]
    fn negative_ids_are_no_neighbors() {
        assert_eq!(first(&[3, -1, 0, -1]), [3, 0]);
    }
}
