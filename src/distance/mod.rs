//! Metrics over f32 vectors. Smaller is closer, everywhere.
//!
//! Invariants:
//! - Every kernel of a metric agrees with the scalar twin up to the rounding of a different summation order.
//! - A sum that is not a number (infinities that cancel) comes out as the largest distance, so distances have a total
//!   order and a strange vector is merely far away.
//! - Zero padding at the end of both vectors changes no distance: rows may be padded to whole cache lines.
//!
//! `score` exists only at the edge of the service: [`score_from_distance`] and [`distance_from_score`] are the border.
//!
//! What it deliberately does not do: own vectors, or normalise them (cosine vectors are normalised before a write is
//! proposed).

mod codes;
mod max_sim;
mod scalar;
mod sparse;
mod widest;
#[cfg(target_arch = "x86_64")]
mod x86;

use simsimd::SpatialSimilarity;

use crate::model::Metric;
pub use codes::{CodeBits, CodeDistances, CodeTerms, WHOLE_DIM_MAX};
pub use max_sim::max_sim_distance;
pub use sparse::sparse_dot;
pub use widest::{Loop, widest};

/// Distances from one query to many rows: `out[i]` is the distance of `rows[i]`.
type Many = fn(query: &[f32], rows: &[&[f32]], out: &mut [f32]);

/// One metric with the fastest kernel this machine runs, chosen once.
#[derive(Clone, Copy, Debug)]
pub struct Distances {
    metric: Metric,
    many: Many,
}

impl Distances {
    /// Picks AVX-512, AVX2 with FMA, or the scalar twin, whichever the processor has.
    pub fn new(metric: Metric) -> Distances {
        #[cfg(target_arch = "x86_64")]
        if let Some(many) = x86::kernel(metric) {
            return Distances { metric, many };
        }
        Distances::scalar(metric)
    }

    /// The scalar twin: the same result on every machine, bit for bit.
    pub fn scalar(metric: Metric) -> Distances {
        let many: Many = match metric {
            Metric::Cosine | Metric::Dot => scalar::dot,
            Metric::Euclid => scalar::euclid,
            Metric::Manhattan => scalar::manhattan,
        };
        Distances { metric, many }
    }

    /// The metric these are distances of.
    pub fn metric(&self) -> Metric {
        self.metric
    }

    /// Distances from `query` to each of `rows`, into `out`.
    ///
    /// # Panics
    /// If `out` is not as long as `rows`, or a row not as long as the query.
    #[inline]
    pub fn distances(&self, query: &[f32], rows: &[&[f32]], out: &mut [f32]) {
        assert_eq!(rows.len(), out.len());
        for row in rows {
            assert_eq!(row.len(), query.len());
        }
        (self.many)(query, rows, out);
    }

    /// The distance of one pair, by the same kernel as [`Distances::distances`].
    pub fn distance(&self, a: &[f32], b: &[f32]) -> f32 {
        let mut out = [0.0];
        self.distances(a, &[b], &mut out);
        out[0]
    }
}

/// The distance of one cold pair (not in an index), by simsimd where it has the metric.
///
/// # Panics
/// If the lengths differ.
pub fn distance(metric: Metric, a: &[f32], b: &[f32]) -> f32 {
    assert_eq!(a.len(), b.len());
    let sum = match metric {
        Metric::Cosine | Metric::Dot => f32::dot(a, b).map(|dot| -dot),
        Metric::Euclid => f32::sqeuclidean(a, b),
        Metric::Manhattan => None,
    };
    match sum {
        Some(sum) => ordered(sum as f32),
        None => Distances::scalar(metric).distance(a, b),
    }
}

/// The score the protocol shows for a distance: dot products as they are, Euclid as a length, Manhattan as a sum.
pub fn score_from_distance(metric: Metric, distance: f32) -> f32 {
    match metric {
        Metric::Cosine | Metric::Dot => 0.0 - distance,
        Metric::Euclid => distance.abs().sqrt(),
        Metric::Manhattan => distance.abs(),
    }
}

/// The distance whose shown score is `score`; the inverse of [`score_from_distance`].
pub fn distance_from_score(metric: Metric, score: f32) -> f32 {
    match metric {
        Metric::Cosine | Metric::Dot => 0.0 - score,
        Metric::Euclid => score * score,
        Metric::Manhattan => score,
    }
}

/// NaN becomes the largest distance and -0 becomes 0, so that distances have one total order.
#[inline]
fn ordered(distance: f32) -> f32 {
    if distance.is_nan() { f32::INFINITY } else { distance + 0.0 }
}

#[cfg(test)]
mod tests;
