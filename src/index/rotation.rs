//! A random rotation that takes `dim log dim` additions: rounds of flipped signs and a Walsh-Hadamard transform (Ailon and
//! Chazelle 2009). A transform takes a power of two of coordinates; rounds take them from the two ends of a vector in turn,
//! so that they overlap and every coordinate is mixed with every other (as in the RaBitQ library).
//!
//! After it the coordinates of any vector are about equally large, so that a few bits each serve all of them.

/// An orthogonal map of vectors of one length: lengths, dot products and Euclidean distances stay what they are.
#[derive(Debug)]
pub(super) struct Rotation {
    /// The largest power of two of coordinates there are.
    block: usize,
    /// Per round and coordinate the factor 1 or -1, times what keeps lengths.
    factors: [Vec<f32>; ROUNDS],
}

const ROUNDS: usize = 4;

impl Rotation {
    /// The rotation of vectors of this length: always the same, everywhere.
    ///
    /// # Panics
    /// If `dim` is 0.
    pub(super) fn new(dim: usize) -> Rotation {
        let block = 1 << dim.ilog2();
        let mut random = fastrand::Rng::with_seed(dim as u64);
        let scale = (block as f32).sqrt().recip();
        let factors = std::array::from_fn(|round| {
            let at = start(round, dim, block);
            (0..dim)
                .map(|i| {
                    let factor = if (at..at + block).contains(&i) { scale } else { 1.0 };
                    if random.bool() { factor } else { -factor }
                })
                .collect()
        });
        Rotation { block, factors }
    }

    /// Rotates `vector`, of the rotation's length, into `out`.
    #[inline(always)]
    pub(super) fn rotate(&self, vector: &[f32], out: &mut Vec<f32>) {
        out.clear();
        out.extend_from_slice(vector);
        for (round, factors) in self.factors.iter().enumerate() {
            out.iter_mut().zip(factors).for_each(|(x, factor)| *x *= factor);
            let at = start(round, out.len(), self.block);
            transform(&mut out[at..at + self.block]);
        }
    }
}

/// Where the block of a round begins.
fn start(round: usize, dim: usize, block: usize) -> usize {
    if round.is_multiple_of(2) { 0 } else { dim - block }
}

/// Numbers of a wide register.
const LANES: usize = 16;

/// The Walsh-Hadamard transform, not scaled.
#[inline(always)]
fn transform(values: &mut [f32]) {
    let (lanes, rest) = values.as_chunks_mut::<LANES>();
    for lanes in lanes {
        *lanes = butterflies::<8>(butterflies::<4>(butterflies::<2>(butterflies::<1>(*lanes))));
        // A loop that is not seen through is not turned into one over many registers' first numbers, second numbers, ...
        std::hint::black_box(());
    }
    let mut half = if rest.is_empty() { LANES } else { 1 };
    while half < values.len() {
        for pair in values.chunks_exact_mut(2 * half) {
            let (low, high) = pair.split_at_mut(half);
            for (low, high) in low.iter_mut().zip(high) {
                (*low, *high) = (*low + *high, *low - *high);
            }
        }
        half *= 2;
    }
}

/// One step of the transform, of numbers `HALF` apart, within a register.
#[inline(always)]
fn butterflies<const HALF: usize>(lanes: [f32; LANES]) -> [f32; LANES] {
    std::array::from_fn(|i| if i & HALF == 0 { lanes[i] + lanes[i ^ HALF] } else { lanes[i ^ HALF] - lanes[i] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rotated(vector: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        Rotation::new(vector.len()).rotate(vector, &mut out);
        out
    }

    #[test]
    fn products_stay_and_one_coordinate_is_spread_over_all() {
        for dim in [1, 2, 3, 50, 96, 128, 255, 257, 784, 1536] {
            let a: Vec<f32> = (0..dim).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect();
            let b: Vec<f32> = (0..dim).map(|i| ((i * 53 + 7) % 97) as f32 / 48.0 - 1.0).collect();
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            let scale = (dot(&a, &a) * dot(&b, &b)).sqrt();
            assert!((dot(&rotated(&a), &rotated(&b)) - dot(&a, &b)).abs() <= 1e-5 * scale, "dim {dim}");
            for at in [0, dim / 2, dim - 1] {
                let mut unit = vec![0.0; dim];
                unit[at] = 1.0;
                let largest = rotated(&unit).into_iter().map(f32::abs).fold(0.0, f32::max);
                assert!(dim < 50 || f64::from(largest) < 6.0 / (dim as f64).sqrt(), "{at} of {dim}: {largest}");
            }
        }
    }
}
