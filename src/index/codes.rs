//! Codes of dense vectors: what walks compare instead of the vectors, a quarter of their bytes or less.
//!
//! A vector `x` is coded as `x' = R (x - c)`, each coordinate rounded to one of a few whole multiples of a step of the
//! vector's own: the rotation `R` makes all coordinates about equally large ([`super::rotation`]), and the center `c`, the
//! mean of a sample, takes out what all vectors have in common. Dot products of rotated differences are those of the
//! differences, so both terms go into one number per vector and the sum of products is all that is left to do:
//!
//! - Euclid: `|x - y|^2 = |x'|^2 + |y'|^2 - 2 x'.y'`.
//! - Dot: `x.y = b(x) + b(y) + x'.y'`, where `b(x) = R c . x' + |c|^2 / 2`.
//!
//! With 8 bits the largest coordinate is 127 steps (per-vector scalar codes as in LVQ, Aguerrebere and others 2023), and the
//! standard deviation of a product is about `0.01 |x'| |y'| / sqrt(dim)`. With 4 bits and 1 the step is chosen for
//! coordinates that are normally distributed, and what is multiplied with is `|x'|^2 / x'.z` instead, which makes the
//! estimate of a product right in the mean (RaBitQ, Gao and Long 2024); the standard deviation is about 0.1 and 0.75. A
//! query always has 8 bits. The exact vectors decide among what is found.

use std::sync::OnceLock;

use super::arena::Arena;
use super::rotation::Rotation;
use super::slots::Pin;
use crate::distance::{CodeBits, CodeDistances, Loop, widest, write_terms};
use crate::model::{Metric, Slot};

/// The codes of one index's vectors, by slot.
///
/// A row is written at the start of a life of its slot, before a link names the slot, and never again in that life.
#[derive(Debug)]
pub(super) struct Codes {
    dim: usize,
    is_euclid: bool,
    kernel: CodeDistances,
    rotation: Rotation,
    /// Rotated; set before the first row is written.
    center: OnceLock<Vec<f32>>,
    rows: Arena<u8>,
}

/// Memory to make codes in.
#[derive(Debug, Default)]
pub struct CodeRoom {
    rotated: Vec<f32>,
    z: Vec<i8>,
    row: Vec<u8>,
}

/// A code being made.
struct Encoding<'a> {
    codes: &'a Codes,
    vector: &'a [f32],
    /// Of a query: 8 bits, in a probe.
    is_probe: bool,
    room: &'a mut CodeRoom,
}

impl Codes {
    /// None yet. Of vectors of `dim` numbers, under a metric that rotations keep.
    pub(super) fn new(dim: usize, metric: Metric, bits: CodeBits) -> Codes {
        assert_ne!(metric, Metric::Manhattan);
        let is_euclid = metric == Metric::Euclid;
        let kernel = CodeDistances::new(bits, dim, if is_euclid { -2.0 } else { -1.0 });
        Codes {
            dim,
            is_euclid,
            kernel,
            rotation: Rotation::new(dim),
            center: OnceLock::new(),
            rows: Arena::new(kernel.row_bytes()),
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
        widest(Encoding { codes: self, vector, is_probe: false, room });
        self.rows.grow_to(slot.0);
        let row = self.rows.grown_ptr(slot.0);
        assert_eq!(room.row.len(), self.rows.width());
        // SAFETY: the row has as many cells. Nobody reads it: a reader knows a slot's code through a link while pinned, all
        // went before the slot's last life ended, and `Slots` began this life after every pin of that time was dropped.
        // Who else might write it is excluded by the caller.
        unsafe { std::ptr::copy_nonoverlapping(room.row.as_ptr(), row, room.row.len()) };
    }

    /// A vector from outside, as a probe in `room`.
    pub(super) fn probe<'a>(&self, vector: &[f32], room: &'a mut CodeRoom) -> &'a [u8] {
        widest(Encoding { codes: self, vector, is_probe: true, room });
        &room.row
    }

    /// The code of a slot, which is linked or is being linked, as a probe. None if codes are too short for that.
    #[inline]
    pub(super) fn row<'a>(&'a self, _pin: &'a Pin<'_>, slot: Slot) -> Option<&'a [u8]> {
        if self.kernel.bits() != CodeBits::Eight {
            return None;
        }
        let row = self.rows.grown_ptr(slot.0);
        // SAFETY: the row is an allocated, initialised run of `width` bytes. It is written only at the start of a life of
        // its slot, before a link (which is read in acquire order) names the slot, and again only in its next life,
        // which does not begin while the pin lives.
        Some(unsafe { std::slice::from_raw_parts(row, self.rows.width()) })
    }

    /// Distances from a probe to the codes of `slots`, about; `out` is as long as these.
    #[inline]
    pub(super) fn estimate(&self, _pin: &Pin<'_>, probe: &[u8], slots: &[Slot], out: &mut [f32]) {
        const BATCH: usize = 32;
        for (slots, out) in slots.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let mut rows = [std::ptr::null(); BATCH];
            for (row, slot) in rows.iter_mut().zip(slots) {
                *row = self.rows.grown_ptr(slot.0).cast_const();
            }
            // SAFETY: the rows are as in `row`.
            unsafe { self.kernel.distances(probe, &rows[..slots.len()], out) };
        }
    }

    /// Asks for the code of `slot` ahead of its use.
    #[inline]
    pub(super) fn prefetch(&self, slot: Slot) {
        const LINES_MAX: usize = 16;
        self.rows.prefetch(slot.0, self.rows.width().div_ceil(64).min(LINES_MAX));
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

impl Loop for Encoding<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Encoding { codes, vector, is_probe, room: CodeRoom { rotated, z, row } } = self;
        codes.rotation.rotate(vector, rotated);
        let Some(center) = codes.center.get() else { return };
        rotated.iter_mut().zip(center).for_each(|(x, c)| *x -= c);
        let square = dot(rotated, rotated);
        let bits = if is_probe { CodeBits::Eight } else { codes.kernel.bits() };
        let rounded_to = match bits {
            CodeBits::Eight => {
                let largest = lanes(rotated, rotated, |most, x, _| f32::max(most, x.abs()));
                largest.into_iter().fold(0.0, f32::max) / f32::from(bits.z_max())
            }
            // The step with which whole multiples of up to 7 are nearest to normally distributed numbers (Max 1960).
            CodeBits::Four => 0.335 * (square / rotated.len() as f32).sqrt(),
            CodeBits::One => 1.0,
        };
        let per_step = if rounded_to.is_normal() { rounded_to.recip() } else { 0.0 };
        let z_max = f32::from(bits.z_max());
        z.clear();
        z.resize(rotated.len(), 0);
        if bits == CodeBits::One {
            z.iter_mut().zip(&*rotated).for_each(|(z, x)| *z = if *x > 0.0 { 1 } else { -1 });
        } else {
            z.iter_mut().zip(&*rotated).for_each(|(z, x)| *z = rounded(x * per_step, z_max) as i8);
        }
        let step = if bits == CodeBits::Eight {
            rounded_to
        } else {
            let along: f32 = rotated.iter().zip(&*z).map(|(x, z)| x * f32::from(*z)).sum();
            if along > 0.0 { square / along } else { 0.0 }
        };
        let bias = if codes.is_euclid { square } else { -(dot(rotated, center) + dot(center, center) / 2.0) };
        let sum = z.iter().map(|z| i32::from(*z)).sum::<i32>();
        row.clear();
        if is_probe {
            row.resize(codes.kernel.bits().probe_bytes(z.len()), 128);
            codes.kernel.bits().pack_probe(z, row);
        } else {
            row.resize(codes.rows.width(), 0);
            bits.pack(z, row);
        }
        write_terms(row, step, bias, sum);
    }
}

/// The nearest whole number between `-max` and `max`, which is below 2^22.
#[inline(always)]
fn rounded(x: f32, max: f32) -> i32 {
    /// A number so large that whole numbers are what its last bits count.
    const WHOLE: f32 = (3 << 22) as f32;
    let x = if x > max { max } else { x };
    let x = if x < -max { -max } else { x };
    (x + WHOLE).to_bits() as i32 - WHOLE.to_bits() as i32
}

const LANES: usize = 16;

/// Folds two vectors in lanes of their own, which a compiler turns into wide registers.
#[inline(always)]
fn lanes(a: &[f32], b: &[f32], fold: impl Fn(f32, f32, f32) -> f32) -> [f32; LANES] {
    let mut lanes = [0.0; LANES];
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    for (a, b) in a.iter().zip(b) {
        for i in 0..LANES {
            lanes[i] = fold(lanes[i], a[i], b[i]);
        }
    }
    for ((lane, a), b) in lanes.iter_mut().zip(a_rest).zip(b_rest) {
        *lane = fold(*lane, *a, *b);
    }
    lanes
}

#[inline(always)]
fn dot(a: &[f32], b: &[f32]) -> f32 {
    lanes(a, b, |sum, a, b| sum + a * b).iter().sum()
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
    fn estimates(metric: Metric, bits: CodeBits, vectors: &[Vec<f32>]) -> [Vec<f32>; 2] {
        let slots = Arc::new(Slots::new());
        let codes = Codes::new(vectors[0].len(), metric, bits);
        codes.center_on(|| vectors.iter().map(Vec::as_slice));
        let mut room = CodeRoom::default();
        let all: Vec<Slot> = vectors.iter().map(|_| slots.allocate(PointId::Num(1), 1).unwrap()).collect();
        all.iter().zip(vectors).for_each(|(slot, vector)| codes.write(*slot, vector, &mut room));
        let pin = slots.pin();
        let mut out = [vec![0.0; all.len()], vec![0.0; all.len()]];
        codes.estimate(&pin, codes.probe(&vectors[0], &mut room), &all, &mut out[0]);
        match codes.row(&pin, all[0]) {
            Some(row) => codes.estimate(&pin, row, &all, &mut out[1]),
            None => out[1] = out[0].clone(),
        }
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
                    let [outside, stored] = estimates(metric, CodeBits::Eight, &vectors);
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

    /// The mean and the standard deviation of what an estimated product is off by, to what theory says for vectors of
    /// which all directions are equally likely.
    #[test]
    fn errors_are_as_small_as_the_bits_allow_and_right_in_the_mean() {
        let mut numbers = Numbers(7);
        for dim in [64, 100, 768] {
            let vectors: Vec<Vec<f32>> = (0..400).map(|_| (0..dim).map(|_| numbers.unit()).collect()).collect();
            let length = (dim as f32 / 3.0).sqrt();
            for (bits, deviation) in [(CodeBits::Eight, 0.02), (CodeBits::Four, 0.15), (CodeBits::One, 0.9)] {
                let [estimates, _] = estimates(Metric::Dot, bits, &vectors);
                let exact = Distances::new(Metric::Dot);
                let errors: Vec<f32> = vectors[1..]
                    .iter()
                    .zip(&estimates[1..])
                    .map(|(vector, estimate)| (estimate - exact.distance(&vectors[0], vector)) / length / length)
                    .collect();
                let scaled = (dim as f32).sqrt() / errors.len() as f32;
                let mean = errors.iter().sum::<f32>() * scaled;
                let rms = (errors.iter().map(|error| error * error).sum::<f32>() / errors.len() as f32).sqrt();
                let rms = rms * (dim as f32).sqrt();
                assert!(rms < deviation, "{bits:?} {dim}: {rms}");
                assert!(mean.abs() < deviation / 5.0, "{bits:?} {dim}: {mean}");
            }
        }
    }

    #[test]
    fn equal_vectors_zeros_and_what_is_hardly_a_number_are_coded() {
        for metric in METRICS {
            let same = vec![vec![0.25; 20]; 3];
            let [estimates_of_same, _] = estimates(metric, CodeBits::Eight, &same);
            let want = Distances::new(metric).distance(&same[0], &same[1]);
            assert!(estimates_of_same.iter().all(|estimate| (estimate - want).abs() < 1e-5), "{metric:?}");
            let strange: Vec<Vec<f32>> =
                [0.0, f32::MAX, f32::MIN, f32::MIN_POSITIVE / 2.0, 1e30].iter().map(|x| vec![*x; 20]).collect();
            for bits in [CodeBits::Eight, CodeBits::Four, CodeBits::One] {
                let estimates = estimates(metric, bits, &strange);
                assert!(estimates.iter().flatten().all(|estimate| !estimate.is_nan()), "{metric:?} {bits:?}");
            }
        }
    }
}
