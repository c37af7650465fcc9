//! The kernels against plain arithmetic.

use super::*;

const METRICS: [Metric; 4] = [Metric::Cosine, Metric::Dot, Metric::Euclid, Metric::Manhattan];

/// A reproducible stream of numbers in -1..1.
fn numbers(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}

/// The definition, in f64, with the sum of absolute terms as the scale of the allowed error.
fn reference(metric: Metric, a: &[f32], b: &[f32]) -> (f64, f64) {
    let terms = a.iter().zip(b).map(|(a, b)| {
        let (a, b) = (f64::from(*a), f64::from(*b));
        match metric {
            Metric::Cosine | Metric::Dot => -(a * b),
            Metric::Euclid => (a - b) * (a - b),
            Metric::Manhattan => (a - b).abs(),
        }
    });
    terms.fold((0.0, 0.0), |(sum, scale), term| (sum + term, scale + term.abs()))
}

/// Every implementation this machine can run.
fn implementations(metric: Metric) -> Vec<(&'static str, Distances)> {
    let mut all = vec![("chosen", Distances::new(metric)), ("scalar", Distances::scalar(metric))];
    #[cfg(target_arch = "x86_64")]
    {
        all.extend(x86::kernel_avx512(metric).map(|many| ("avx512", Distances { metric, many })));
        all.extend(x86::kernel_avx2(metric).map(|many| ("avx2", Distances { metric, many })));
    }
    all
}

#[test]
fn kernels_agree_with_the_definition() {
    for dim in (1..=200).chain([255, 257, 511, 784, 1536, 4097]) {
        for row_count in [1, 3, 4, 9] {
            let query = numbers(dim as u64, dim);
            let data = numbers(dim as u64 + 7_000, dim * row_count);
            let rows: Vec<&[f32]> = data.chunks_exact(dim).collect();
            for metric in METRICS {
                for (name, distances) in implementations(metric) {
                    let mut out = vec![f32::NAN; row_count];
                    distances.distances(&query, &rows, &mut out);
                    for (row, got) in rows.iter().zip(&out) {
                        let (want, scale) = reference(metric, &query, row);
                        let error = (f64::from(*got) - want).abs();
                        assert!(error <= 2e-6 * scale + 1e-12, "{name} {metric:?} dim {dim}: {got} for {want}");
                    }
                }
                let (want, scale) = reference(metric, &query, rows[0]);
                let got = distance(metric, &query, rows[0]);
                assert!((f64::from(got) - want).abs() <= 2e-6 * scale + 1e-12, "cold {metric:?} dim {dim}");
            }
        }
    }
}

#[test]
fn padding_changes_no_distance() {
    for metric in METRICS {
        for (name, distances) in implementations(metric) {
            let (mut a, mut b) = (numbers(1, 50), numbers(2, 50));
            let bare = distances.distance(&a, &b);
            a.resize(64, 0.0);
            b.resize(64, 0.0);
            assert!((distances.distance(&a, &b) - bare).abs() <= 1e-5, "{name} {metric:?}");
        }
    }
}

#[test]
fn sums_that_are_no_number_are_far_away_and_zero_has_one_sign() {
    for metric in METRICS {
        for (name, distances) in implementations(metric) {
            let huge = [f32::MAX, f32::MAX, 0.0];
            let mixed = [f32::MAX, -f32::MAX, 0.0];
            for (a, b) in [(&huge, &mixed), (&mixed, &huge), (&huge, &huge)] {
                assert!(!distances.distance(a, b).is_nan(), "{name} {metric:?}");
            }
            let zero = distances.distance(&[0.0; 3], &[0.0; 3]);
            assert_eq!(zero.to_bits(), 0, "{name} {metric:?}");
        }
    }
}

#[test]
fn scores_are_the_protocols() {
    let (a, b) = ([1.0, 2.0], [4.0, 6.0]);
    let score = |metric| score_from_distance(metric, distance(metric, &a, &b));
    assert_eq!(score(Metric::Dot), 16.0);
    assert_eq!(score(Metric::Cosine), 16.0);
    assert_eq!(score(Metric::Euclid), 5.0);
    assert_eq!(score(Metric::Manhattan), 7.0);
    for metric in METRICS {
        let shown = score(metric);
        assert_eq!(score_from_distance(metric, distance_from_score(metric, shown)), shown);
    }
    assert_eq!(score_from_distance(Metric::Dot, 0.0).to_bits(), 0);
}
