//! 8-bit codes of dense vectors: what walks and insertions compare instead of the vectors, a quarter of their bytes.
//!
//! A vector `x` is coded as `R (x - c)`, rounded to whole steps of its own size, 127 at most: the rotation `R` makes all
//! coordinates about equally large ([`super::rotation`]), and the center `c`, the mean of a sample, takes out what all
//! vectors have in common. Dot products of rotated differences are those of the differences, so both terms go into
//! one number per vector and the sum of products is all that is left to do:
//!
//! - Euclid: `|x - y|^2 = |x'|^2 + |y'|^2 - 2 x'.y'`, where `x' = R (x - c)`.
//! - Dot: `x.y = b(x) + b(y) + x'.y'`, where `b(x) = R c . x' + |c|^2 / 2`.
//!
//! (Per-vector scalar codes as in LVQ, Aguerrebere and others 2023, on rotated data as in RaBitQ, Gao and Long 2024.) The
//! standard deviation of a product is about `0.01 |x'| |y'| / sqrt(dim)`; the exact vectors decide among what is found.
//!
//! A row: the codes, each plus 128, in whole blocks of 64 bytes of which the last ends with the size of a step (f32), the
//! number of the vector above (f32) and the sum of its codes (i32).

use std::sync::OnceLock;

use super::arena::Arena;
use super::rotation::Rotation;
use super::slots::Pin;
use crate::distance::{CODE_BLOCK_BYTES, CodeDots};
use crate::model::{Metric, Slot};

/// Bytes at the end of a row that are no codes.
const TERMS_BYTES: usize = 12;
const CODE_MAX: f32 = 127.0;

/// The codes of one index's vectors, by slot.
///
/// A row is written at the start of a life of its slot, before a link names the slot, and never again in that life.
#[derive(Debug)]
pub(super) struct Codes {
    dim: usize,
    is_euclid: bool,
    kernel: CodeDots,
    rotation: Rotation,
    /// Rotated; set before the first row is written.
    center: OnceLock<Vec<f32>>,
    rows: Arena<u8>,
}

/// Memory to make codes in.
#[derive(Debug, Default)]
pub struct CodeRoom {
    rotated: Vec<f32>,
    row: Vec<u8>,
}

impl Codes {
    /// None yet. Of vectors of `dim` numbers, under a metric that rotations keep.
    pub(super) fn new(dim: usize, metric: Metric) -> Codes {
        assert_ne!(metric, Metric::Manhattan);
        Codes {
            dim,
            is_euclid: metric == Metric::Euclid,
            kernel: CodeDots::new(),
            rotation: Rotation::new(dim),
            center: OnceLock::new(),
            rows: Arena::new((dim + TERMS_BYTES).next_multiple_of(CODE_BLOCK_BYTES)),
        }
    }

    /// Makes the mean of `sample` the center, unless there is one.
    pub(super) fn center_on<'a, S: Iterator<Item = &'a [f32]>>(&self, sample: impl FnOnce() -> S) {
        self.center.get_or_init(|| {
            let (mut sums, mut count) = (vec![0.0f64; self.dim], 0.0f64);
            for vector in sample() {
                sums.iter_mut().zip(vector).for_each(|(sum, x)| *sum += f64::from(*x));
                count += 1.0;
            }
            let mean: Vec<f32> = sums.into_iter().map(|sum| (sum / count.max(1.0)) as f32).collect();
            if mean.iter().any(|x| !x.is_finite()) {
                return vec![0.0; self.dim];
            }
            let mut rotated = Vec::new();
            self.rotation.rotate(&mean, &mut rotated);
            rotated
        });
    }

    /// Writes the code of a slot's vector. By one thread, at the start of a life of the slot, before a link names it.
    pub(super) fn write(&self, slot: Slot, vector: &[f32], room: &mut CodeRoom) {
        self.encode(vector, room);
        self.rows.grow_to(slot.0);
        let row = self.rows.grown_ptr(slot.0);
        // SAFETY: the row has as many cells as `encode` makes. Nobody reads it: a reader knows a slot's code through a
        // link while pinned, all went before the slot's last life ended, and `Slots` began this life after every pin of
        // that time was dropped. Who else might write it is excluded by the caller.
        unsafe { std::ptr::copy_nonoverlapping(room.row.as_ptr(), row, room.row.len()) };
    }

    /// A vector from outside, as a code in `room`.
    pub(super) fn probe<'a>(&self, vector: &[f32], room: &'a mut CodeRoom) -> &'a [u8] {
        self.encode(vector, room);
        &room.row
    }

    fn encode(&self, vector: &[f32], room: &mut CodeRoom) {
        let CodeRoom { rotated, row } = room;
        self.rotation.rotate(vector, rotated);
        let Some(center) = self.center.get() else { return };
        rotated.iter_mut().zip(center).for_each(|(x, c)| *x -= c);
        let largest = lanes(rotated, rotated, |most, x, _| f32::max(most, x.abs())).into_iter().fold(0.0, f32::max);
        let dot = |a: &[f32], b: &[f32]| lanes(a, b, |sum, a, b| sum + a * b).iter().sum::<f32>();
        let step = largest / CODE_MAX;
        let per_step = if step.is_normal() { step.recip() } else { 0.0 };
        row.clear();
        row.resize(self.rows.width(), 0);
        for (code, x) in row.iter_mut().zip(rotated.iter()) {
            // Rounds to the nearest step: the sum is positive. What is not a number becomes the smallest code.
            *code = ((*x * per_step + 128.5) as i32).clamp(1, 255) as u8;
        }
        let sum = row[..self.dim].iter().map(|code| i32::from(*code)).sum::<i32>() - 128 * self.dim as i32;
        let bias = match self.is_euclid {
            true => dot(rotated, rotated),
            false => dot(rotated, center) + dot(center, center) / 2.0,
        };
        let terms = row.len() - TERMS_BYTES;
        row[terms..terms + 4].copy_from_slice(&step.to_le_bytes());
        row[terms + 4..terms + 8].copy_from_slice(&bias.to_le_bytes());
        row[terms + 8..].copy_from_slice(&sum.to_le_bytes());
    }

    /// The code of a slot, which is linked or is being linked.
    #[inline]
    pub(super) fn row<'a>(&'a self, _pin: &'a Pin<'_>, slot: Slot) -> &'a [u8] {
        let row = self.rows.grown_ptr(slot.0);
        // SAFETY: the row is an allocated, initialised run of `width` bytes. It is written only at the start of a life of
        // its slot, before a link (which is read in acquire order) names the slot, and again only in its next life,
        // which does not begin while the pin lives.
        unsafe { std::slice::from_raw_parts(row, self.rows.width()) }
    }

    /// Distances from a code to the codes of `slots`, about; `out` is as long as these.
    #[inline]
    pub(super) fn estimate(&self, pin: &Pin<'_>, probe: &[u8], slots: &[Slot], out: &mut [f32]) {
        const BATCH: usize = 16;
        let (step, bias, sum) = terms(probe);
        for (slots, out) in slots.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let mut rows: [&[u8]; BATCH] = [&[]; BATCH];
            for (row, slot) in rows.iter_mut().zip(slots) {
                *row = self.row(pin, *slot);
            }
            let rows = &rows[..slots.len()];
            let mut dots = [0; BATCH];
            self.kernel.dots(probe, self.dim, rows, &mut dots[..slots.len()]);
            for ((row, dot), out) in rows.iter().zip(dots).zip(out) {
                let (row_step, row_bias, _) = terms(row);
                let product = (dot - 128 * sum) as f32 * (step * row_step);
                let distance =
                    if self.is_euclid { bias + row_bias - 2.0 * product } else { -(bias + row_bias + product) };
                *out = if distance.is_nan() { f32::INFINITY } else { distance };
            }
        }
    }

    /// Asks for the code of `slot` ahead of its use.
    #[inline]
    pub(super) fn prefetch(&self, slot: Slot) {
        const LINES_MAX: usize = 16;
        self.rows.prefetch(slot.0, (self.rows.width() / CODE_BLOCK_BYTES).min(LINES_MAX));
    }

    /// Bytes of a row.
    pub(super) fn width(&self) -> usize {
        self.rows.width()
    }

    /// Bytes allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        self.rows.allocated_bytes()
    }
}

/// Folds two vectors in lanes of their own, which a compiler turns into wide registers.
#[inline]
fn lanes(a: &[f32], b: &[f32], fold: impl Fn(f32, f32, f32) -> f32) -> [f32; 16] {
    let mut lanes = [0.0; 16];
    for (a, b) in a.chunks(16).zip(b.chunks(16)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane = fold(*lane, *a, *b);
        }
    }
    lanes
}

/// The size of a step, the vector's own term, and the sum of its codes.
#[inline]
fn terms(row: &[u8]) -> (f32, f32, i32) {
    let Some([a, b, c, d, e, f, g, h, i, j, k, l]) = row.last_chunk::<TERMS_BYTES>() else { return (0.0, 0.0, 0) };
    (f32::from_le_bytes([*a, *b, *c, *d]), f32::from_le_bytes([*e, *f, *g, *h]), i32::from_le_bytes([*i, *j, *k, *l]))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::super::slots::Slots;
    use super::super::tests::Numbers;
    use super::*;
    use crate::distance::Distances;
    use crate::model::PointId;

    const METRICS: [Metric; 3] = [Metric::Cosine, Metric::Dot, Metric::Euclid];

    /// Codes of `vectors`, centered on all of them, and the estimates from the first to every one: of its code as a query
    /// from outside, and of its stored code.
    fn estimates(metric: Metric, vectors: &[Vec<f32>]) -> [Vec<f32>; 2] {
        let slots = Arc::new(Slots::new());
        let codes = Codes::new(vectors[0].len(), metric);
        codes.center_on(|| vectors.iter().map(Vec::as_slice));
        let mut room = CodeRoom::default();
        let all: Vec<Slot> = vectors.iter().map(|_| slots.allocate(PointId::Num(1), 1).unwrap()).collect();
        all.iter().zip(vectors).for_each(|(slot, vector)| codes.write(*slot, vector, &mut room));
        let pin = slots.pin();
        let mut out = [vec![0.0; all.len()], vec![0.0; all.len()]];
        codes.estimate(&pin, codes.probe(&vectors[0], &mut room), &all, &mut out[0]);
        codes.estimate(&pin, codes.row(&pin, all[0]), &all, &mut out[1]);
        out
    }

    #[test]
    fn estimates_are_near_the_distances() {
        let mut numbers = Numbers(3);
        for dim in [17, 50, 63, 64, 116, 117, 128, 784] {
            for shift in [0.0, 100.0] {
                let vectors: Vec<Vec<f32>> =
                    (0..40).map(|_| (0..dim).map(|_| shift + numbers.unit()).collect()).collect();
                for metric in METRICS {
                    let exact = Distances::new(metric);
                    let [outside, stored] = estimates(metric, &vectors);
                    assert_eq!(outside, stored, "the same vector is the same code");
                    for (vector, estimate) in vectors.iter().zip(outside) {
                        let want = exact.distance(&vectors[0], vector);
                        // Differences from the center have about the length sqrt(dim / 3), however far it is; products
                        // of whole vectors are rounded as f32.
                        let allowed = 0.05 * (dim as f32).sqrt() + 1e-6 * shift * shift * dim as f32;
                        assert!((estimate - want).abs() <= allowed, "{metric:?} {dim} {shift}: {estimate} for {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn equal_vectors_zeros_and_what_is_hardly_a_number_are_coded() {
        for metric in METRICS {
            let same = vec![vec![0.25; 20]; 3];
            let [estimates_of_same, _] = estimates(metric, &same);
            let want = Distances::new(metric).distance(&same[0], &same[1]);
            assert!(estimates_of_same.iter().all(|estimate| (estimate - want).abs() < 1e-5), "{metric:?}");
            let strange: Vec<Vec<f32>> =
                [0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE / 2.0, 1e30].iter().map(|x| vec![*x; 20]).collect();
            assert!(estimates(metric, &strange).iter().flatten().all(|estimate| !estimate.is_nan()), "{metric:?}");
        }
    }
}
