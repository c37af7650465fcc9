//! The scalar twins: plain sums over 16 lanes, without fused multiply-add, so that they give the same bits everywhere
//! and a compiler may still vectorise them.

use super::ordered;

const LANES: usize = 16;

pub(super) fn dot(query: &[f32], rows: &[&[f32]], out: &mut [f32]) {
    for (row, out) in rows.iter().zip(out) {
        *out = ordered(-sum(query, row, |a, b| a * b));
    }
}

pub(super) fn euclid(query: &[f32], rows: &[&[f32]], out: &mut [f32]) {
    for (row, out) in rows.iter().zip(out) {
        *out = ordered(sum(query, row, |a, b| (a - b) * (a - b)));
    }
}

pub(super) fn manhattan(query: &[f32], rows: &[&[f32]], out: &mut [f32]) {
    for (row, out) in rows.iter().zip(out) {
        *out = ordered(sum(query, row, |a, b| (a - b).abs()));
    }
}

#[inline(always)]
fn sum(a: &[f32], b: &[f32], term: impl Fn(f32, f32) -> f32) -> f32 {
    let mut lanes = [0.0f32; LANES];
    let (a_chunks, b_chunks) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (a_rest, b_rest) = (a_chunks.remainder(), b_chunks.remainder());
    for (a, b) in a_chunks.zip(b_chunks) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += term(*a, *b);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane += term(*a, *b);
    }
    lanes.iter().sum()
}
