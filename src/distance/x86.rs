//! AVX-512 and AVX2 kernels: four rows at a time, so that the query is loaded once for four and the four sums hide each
//! other's latency. Chosen by run-time detection.

use std::arch::x86_64::*;

use super::{Many, ordered};
use crate::model::Metric;

const DOT: u8 = 0;
const EUCLID: u8 = 1;
const MANHATTAN: u8 = 2;

/// The best kernel of this processor for `metric`, or none when it lacks AVX2.
pub(super) fn kernel(metric: Metric) -> Option<Many> {
    kernel_avx512(metric).or_else(|| kernel_avx2(metric))
}

pub(super) fn kernel_avx512(metric: Metric) -> Option<Many> {
    let has = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("fma");
    has.then_some(match metric {
        Metric::Cosine | Metric::Dot => many_avx512::<DOT> as Many,
        Metric::Euclid => many_avx512::<EUCLID>,
        Metric::Manhattan => many_avx512::<MANHATTAN>,
    })
}

pub(super) fn kernel_avx2(metric: Metric) -> Option<Many> {
    let has = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    has.then_some(match metric {
        Metric::Cosine | Metric::Dot => many_avx2::<DOT> as Many,
        Metric::Euclid => many_avx2::<EUCLID>,
        Metric::Manhattan => many_avx2::<MANHATTAN>,
    })
}

#[inline(always)]
fn signed<const METRIC: u8>(sum: f32) -> f32 {
    ordered(if METRIC == DOT { -sum } else { sum })
}

/// Reached only through [`kernel_avx512`].
fn many_avx512<const METRIC: u8>(query: &[f32], rows: &[&[f32]], out: &mut [f32]) {
    // SAFETY: `kernel_avx512` hands this function out only where the processor has AVX-512F and FMA; the caller
    // (`Distances::distances`) has checked that every row is as long as the query.
    unsafe { rows_avx512::<METRIC>(query, rows, out) }
}

/// # Safety
/// The processor has AVX-512F and FMA, and every row is as long as the query.
#[target_feature(enable = "avx512f,fma")]
unsafe fn rows_avx512<const METRIC: u8>(query: &[f32], rows: &[&[f32]], out: &mut [f32]) {
    let whole = query.len() / 16 * 16;
    let rest = _cvtu32_mask16((1u32 << (query.len() - whole)) - 1);
    let quads = rows.chunks_exact(4);
    let singles = quads.remainder();
    let mut outs = out.chunks_exact_mut(4);
    for (quad, out) in quads.zip(&mut outs) {
        let at = [quad[0].as_ptr(), quad[1].as_ptr(), quad[2].as_ptr(), quad[3].as_ptr()];
        let mut sums = [_mm512_setzero_ps(); 4];
        let mut i = 0;
        while i < whole {
            // SAFETY: i + 16 <= whole <= the length of the query and of every row.
            unsafe {
                let q = _mm512_loadu_ps(query.as_ptr().add(i));
                for r in 0..4 {
                    sums[r] = step_avx512::<METRIC>(sums[r], q, _mm512_loadu_ps(at[r].add(i)));
                }
            }
            i += 16;
        }
        if whole < query.len() {
            // SAFETY: the mask keeps only the lanes below the common length; masked lanes are not read.
            unsafe {
                let q = _mm512_maskz_loadu_ps(rest, query.as_ptr().add(whole));
                for r in 0..4 {
                    let row = _mm512_maskz_loadu_ps(rest, at[r].add(whole));
                    sums[r] = step_avx512::<METRIC>(sums[r], q, row);
                }
            }
        }
        let halves = sums.map(|sum| fold_avx512(sum));
        for (out, sum) in out.iter_mut().zip(reduce_four(halves)) {
            *out = signed::<METRIC>(sum);
        }
    }
    for (row, out) in singles.iter().zip(outs.into_remainder()) {
        let mut sum = _mm512_setzero_ps();
        let mut i = 0;
        while i < whole {
            // SAFETY: as above.
            unsafe {
                let q = _mm512_loadu_ps(query.as_ptr().add(i));
                sum = step_avx512::<METRIC>(sum, q, _mm512_loadu_ps(row.as_ptr().add(i)));
            }
            i += 16;
        }
        if whole < query.len() {
            // SAFETY: as above.
            unsafe {
                let q = _mm512_maskz_loadu_ps(rest, query.as_ptr().add(whole));
                sum = step_avx512::<METRIC>(sum, q, _mm512_maskz_loadu_ps(rest, row.as_ptr().add(whole)));
            }
        }
        let zero = _mm256_setzero_ps();
        *out = signed::<METRIC>(reduce_four([fold_avx512(sum), zero, zero, zero])[0]);
    }
}

#[inline]
#[target_feature(enable = "avx512f,fma")]
fn step_avx512<const METRIC: u8>(sum: __m512, a: __m512, b: __m512) -> __m512 {
    match METRIC {
        DOT => _mm512_fmadd_ps(a, b, sum),
        EUCLID => {
            let difference = _mm512_sub_ps(a, b);
            _mm512_fmadd_ps(difference, difference, sum)
        }
        _ => _mm512_add_ps(sum, _mm512_abs_ps(_mm512_sub_ps(a, b))),
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn fold_avx512(sum: __m512) -> __m256 {
    let high = _mm256_castpd_ps(_mm512_extractf64x4_pd::<1>(_mm512_castps_pd(sum)));
    _mm256_add_ps(_mm512_castps512_ps256(sum), high)
}

/// The four sums of four registers.
#[inline]
#[target_feature(enable = "avx")]
fn reduce_four(sums: [__m256; 4]) -> [f32; 4] {
    let pairs = _mm256_hadd_ps(_mm256_hadd_ps(sums[0], sums[1]), _mm256_hadd_ps(sums[2], sums[3]));
    let four = _mm_add_ps(_mm256_castps256_ps128(pairs), _mm256_extractf128_ps::<1>(pairs));
    let mut out = [0.0; 4];
    // SAFETY: `out` holds four f32.
    unsafe { _mm_storeu_ps(out.as_mut_ptr(), four) };
    out
}

/// Reached only through [`kernel_avx2`].
fn many_avx2<const METRIC: u8>(query: &[f32], rows: &[&[f32]], out: &mut [f32]) {
    // SAFETY: `kernel_avx2` hands this function out only where the processor has AVX2 and FMA; the caller
    // (`Distances::distances`) has checked that every row is as long as the query.
    unsafe { rows_avx2::<METRIC>(query, rows, out) }
}

/// # Safety
/// The processor has AVX2 and FMA, and every row is as long as the query.
#[target_feature(enable = "avx2,fma")]
unsafe fn rows_avx2<const METRIC: u8>(query: &[f32], rows: &[&[f32]], out: &mut [f32]) {
    let whole = query.len() / 8 * 8;
    for (quad, out) in rows.chunks(4).zip(out.chunks_mut(4)) {
        // A short last group repeats its last row; the surplus sums are dropped.
        let row = |r: usize| quad[r.min(quad.len() - 1)];
        let at = [row(0).as_ptr(), row(1).as_ptr(), row(2).as_ptr(), row(3).as_ptr()];
        let mut sums = [_mm256_setzero_ps(); 4];
        let mut i = 0;
        while i < whole {
            // SAFETY: i + 8 <= whole <= the length of the query and of every row.
            unsafe {
                let q = _mm256_loadu_ps(query.as_ptr().add(i));
                for r in 0..4 {
                    sums[r] = step_avx2::<METRIC>(sums[r], q, _mm256_loadu_ps(at[r].add(i)));
                }
            }
            i += 8;
        }
        if whole < query.len() {
            let mut q = [0.0f32; 8];
            q[..query.len() - whole].copy_from_slice(&query[whole..]);
            for (r, sum) in sums.iter_mut().enumerate() {
                let mut b = [0.0f32; 8];
                b[..query.len() - whole].copy_from_slice(&row(r)[whole..]);
                // SAFETY: both arrays hold eight f32.
                unsafe {
                    *sum = step_avx2::<METRIC>(*sum, _mm256_loadu_ps(q.as_ptr()), _mm256_loadu_ps(b.as_ptr()));
                }
            }
        }
        for (out, sum) in out.iter_mut().zip(reduce_four(sums)) {
            *out = signed::<METRIC>(sum);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn step_avx2<const METRIC: u8>(sum: __m256, a: __m256, b: __m256) -> __m256 {
    match METRIC {
        DOT => _mm256_fmadd_ps(a, b, sum),
        EUCLID => {
            let difference = _mm256_sub_ps(a, b);
            _mm256_fmadd_ps(difference, difference, sum)
        }
        _ => _mm256_add_ps(sum, _mm256_andnot_ps(_mm256_set1_ps(-0.0), _mm256_sub_ps(a, b))),
    }
}
