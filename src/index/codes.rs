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
//!
//! Codes of 8 bits that take several cache lines are walked by their upper halves, which are codes of 4 bits.
//!
//! Vectors of bytes need no code: a byte is one of 8 bits, of an unrotated vector with the center 128 and the step 1, and all
//! sums are of whole numbers. Then the codes are the vectors.

use std::ops::Deref;
use std::path::Path;
use std::sync::OnceLock;

use super::arena::Arena;
use super::rotation::Rotation;
use super::slots::Pin;
use crate::distance::{CodeBits, CodeDistances, CodeTerms, Loop, widest};
use crate::model::{Metric, Slot};

/// The codes of one index's vectors, by slot.
///
/// A row is written at the start of a life of its slot, before a link names the slot, and never again in that life.
#[derive(Debug)]
pub(super) struct Codes {
    dim: usize,
    is_euclid: bool,
    kernel: CodeDistances,
    turning: Option<Turning>,
    rows: Arena<u8>,
}

/// What vectors go through before they are rounded. Those of bytes do not.
#[derive(Debug)]
struct Turning {
    rotation: Rotation,
    /// Rotated; set before the first row is written.
    center: OnceLock<Vec<f32>>,
}

/// What codes are compared with.
#[derive(Clone, Copy, Debug)]
pub enum CodeQuery<'a> {
    /// A vector from outside. A walk's: where codes are split, it is compared with their first part.
    Probe(&'a [u8]),
    /// The same, compared with all of a code.
    FineProbe(&'a [u8]),
    /// A code of 8 bits.
    Row(&'a [u8]),
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
    /// None yet. Of vectors of `dim` numbers, under a metric that rotations keep; in files in `folder`, if one is given.
    pub(super) fn new(dim: usize, metric: Metric, bits: CodeBits, folder: Option<&Path>) -> Codes {
        assert_ne!(metric, Metric::Manhattan);
        let kernel = CodeDistances::new(bits, dim, factor(metric));
        let turning = Turning { rotation: Rotation::new(dim), center: OnceLock::new() };
        Codes::with_kernel(dim, metric, kernel, Some(turning), folder)
    }

    /// None yet. Of vectors of `dim` bytes, which they are.
    pub(super) fn of_bytes(dim: usize, metric: Metric, folder: Option<&Path>) -> Codes {
        assert!(matches!(metric, Metric::Euclid | Metric::Dot));
        Codes::with_kernel(dim, metric, CodeDistances::whole(dim, factor(metric)), None, folder)
    }

    fn with_kernel(
        dim: usize,
        metric: Metric,
        kernel: CodeDistances,
        turning: Option<Turning>,
        folder: Option<&Path>,
    ) -> Codes {
        let rows = Arena::new(kernel.row_bytes()).on_disk(folder);
        Codes { dim, is_euclid: metric == Metric::Euclid, kernel, turning, rows }
    }

    /// Whether estimates are the distances, and the codes the vectors.
    pub(super) fn is_exact(&self) -> bool {
        self.kernel.is_whole()
    }

    /// Makes the mean of `sample` the center, unless there is one.
    pub(super) fn center_on<V: Deref<Target = [f32]>, S: Iterator<Item = V>>(&self, sample: impl FnOnce() -> S) {
        let Some(turning) = &self.turning else { return };
        turning.center.get_or_init(|| {
            let (mut sums, mut count) = (vec![0.0f64; self.dim], 0.0f64);
            for vector in sample() {
                sums.iter_mut().zip(&*vector).for_each(|(sum, x)| *sum += f64::from(*x));
                count += 1.0;
            }
            let mean: Vec<f32> = sums.into_iter().map(|sum| (sum / count.max(1.0)) as f32).collect();
            if mean.iter().any(|x| !x.is_finite()) {
                return vec![0.0; self.dim];
            }
            let mut rotated = Vec::new();
            turning.rotation.rotate(&mean, &mut rotated);
            rotated
        });
    }

    /// Writes the code of a slot's vector. By one thread, at the start of a life of the slot, before a link names it, or the
    /// live bit if the codes are the vectors.
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
    pub(super) fn probe<'a>(&self, vector: &[f32], room: &'a mut CodeRoom) -> CodeQuery<'a> {
        widest(Encoding { codes: self, vector, is_probe: true, room });
        CodeQuery::Probe(&room.row)
    }

    /// The code of a slot, which is linked or is being linked, as a query. None if codes are too short for that.
    #[inline]
    pub(super) fn row<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> Option<&'a [u8]> {
        self.kernel.takes_rows().then(|| self.any_row(pin, slot))
    }

    #[inline]
    fn any_row<'a>(&'a self, _pin: &'a Pin<'_>, slot: Slot) -> &'a [u8] {
        let row = self.rows.grown_ptr(slot.0);
        // SAFETY: the row is an allocated, initialised run of `width` bytes. It is written only at the start of a life of
        // its slot, before a link (which is read in acquire order) names the slot, and again only in its next life,
        // which does not begin while the pin lives.
        unsafe { std::slice::from_raw_parts(row, self.rows.width()) }
    }

    /// The bytes that a slot's vector is, if the codes are the vectors.
    #[inline]
    pub(super) fn bytes<'a>(&'a self, pin: &'a Pin<'_>, slot: Slot) -> &'a [u8] {
        debug_assert!(self.is_exact());
        &self.any_row(pin, slot)[..self.dim]
    }

    /// Distances from a query to the codes of `slots`, about; `out` is as long as these.
    #[inline]
    pub(super) fn estimate(&self, _pin: &Pin<'_>, query: CodeQuery<'_>, slots: &[Slot], out: &mut [f32]) {
        const BATCH: usize = 32;
        for (slots, out) in slots.chunks(BATCH).zip(out.chunks_mut(BATCH)) {
            let mut rows = [std::ptr::null(); BATCH];
            for (row, slot) in rows.iter_mut().zip(slots) {
                *row = self.rows.grown_ptr(slot.0).cast_const();
            }
            let rows = &rows[..slots.len()];
            // SAFETY: the rows are as in `any_row`.
            unsafe {
                match query {
                    CodeQuery::Probe(probe) => self.kernel.distances(probe, rows, out),
                    CodeQuery::FineProbe(probe) => self.kernel.fine_distances(probe, rows, out),
                    CodeQuery::Row(row) => self.kernel.row_distances(row, rows, out),
                }
            }
        }
    }

    /// The same probe, to be compared with all of a code, if a walk compares it with a part.
    pub(super) fn fine<'a>(&self, query: CodeQuery<'a>) -> Option<CodeQuery<'a>> {
        match query {
            CodeQuery::Probe(probe) if self.kernel.is_split() => Some(CodeQuery::FineProbe(probe)),
            _ => None,
        }
    }

    /// Whether a walk compares by less than 8 bits.
    pub(super) fn is_coarse(&self) -> bool {
        self.kernel.is_split() || !self.kernel.takes_rows()
    }

    /// Asks for what a query reads of the code of `slot` ahead of its use.
    #[inline]
    pub(super) fn prefetch(&self, query: CodeQuery<'_>, slot: Slot) {
        const LINES_MAX: usize = 16;
        let bytes = match query {
            CodeQuery::Probe(_) => self.kernel.walk_bytes(),
            CodeQuery::FineProbe(_) | CodeQuery::Row(_) => self.kernel.row_bytes(),
        };
        self.rows.prefetch(slot.0, bytes.div_ceil(64).min(LINES_MAX));
    }

    /// How many bits stand for a number.
    pub(super) fn bits(&self) -> CodeBits {
        self.kernel.bits()
    }

    /// Bytes of a row that a walk reads.
    pub(super) fn walk_bytes(&self) -> usize {
        self.kernel.walk_bytes()
    }

    /// Bytes of memory allocated.
    pub(super) fn memory_bytes(&self) -> usize {
        self.rows.allocated_bytes()
    }

    /// Bytes of files.
    pub(super) fn file_bytes(&self) -> usize {
        self.rows.file_bytes()
    }
}

impl Loop for Encoding<'_> {
    type Output = ();

    #[inline(always)]
    fn run(self) {
        let Encoding { codes, vector, is_probe, room: CodeRoom { rotated, z, row } } = self;
        let Some(turning) = &codes.turning else {
            z.clear();
            // A cast stops at the ends.
            z.extend(vector.iter().map(|x| (*x as u8 ^ 128) as i8));
            let sum = z.iter().map(|z| i32::from(*z)).sum::<i32>();
            let square = z.iter().map(|z| i32::from(*z) * i32::from(*z)).sum();
            // x.y = x'.y' + 128 (sum(x') + sum(y')) + 128^2 dim
            let half_of_ends = 128 * 128 / 2 * z.len() as i32;
            let bias = if codes.is_euclid { square } else { -(128 * sum + half_of_ends) };
            codes.kernel.write_row(z, CodeTerms::whole(bias, sum), row);
            return;
        };
        turning.rotation.rotate(vector, rotated);
        let Some(center) = turning.center.get() else { return };
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
        let mut terms = CodeTerms::new(step, bias, sum);
        if codes.kernel.is_split() && !is_probe {
            let twice = |z: &i8| codes.kernel.twice_as_walked(*z) as f32;
            let along = 0.5 * rotated.iter().zip(&*z).map(|(x, z)| x * twice(z)).sum::<f32>();
            terms = terms.with_coarse_step(if along > 0.0 { square / along } else { 0.0 });
        }
        if is_probe { codes.kernel.write_probe(z, terms, row) } else { codes.kernel.write_row(z, terms, row) }
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

/// What the product of two vectors counts in their distance.
fn factor(metric: Metric) -> f32 {
    if metric == Metric::Euclid { -2.0 } else { -1.0 }
}

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
        let codes = Codes::new(vectors[0].len(), metric, bits, None);
        codes.center_on(|| vectors.iter().map(Vec::as_slice));
        let mut room = CodeRoom::default();
        let all: Vec<Slot> = vectors.iter().map(|_| slots.allocate(PointId::Num(1), 1).unwrap()).collect();
        all.iter().zip(vectors).for_each(|(slot, vector)| codes.write(*slot, vector, &mut room));
        let pin = slots.pin();
        let mut out = [vec![0.0; all.len()], vec![0.0; all.len()]];
        let probe = codes.probe(&vectors[0], &mut room);
        codes.estimate(&pin, codes.fine(probe).unwrap_or(probe), &all, &mut out[0]);
        match codes.row(&pin, all[0]) {
            Some(row) => codes.estimate(&pin, CodeQuery::Row(row), &all, &mut out[1]),
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
