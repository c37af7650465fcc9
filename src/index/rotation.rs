//! A random rotation that takes `dim log dim` additions: rounds of flipped signs, a Walsh-Hadamard transform and a
//! permutation (as in Ailon and Chazelle 2009; three rounds mix every coordinate with every other).
//!
//! After it the coordinates of any vector are about equally large, so that a few bits each serve all of them.

/// An orthogonal map of vectors of one length: lengths, dot products and Euclidean distances stay what they are.
#[derive(Debug)]
pub(super) struct Rotation {
    dim: usize,
    rounds: [Round; ROUNDS],
}

const ROUNDS: usize = 3;

#[derive(Debug)]
struct Round {
    /// Per coordinate the factor 1 or -1, times what keeps lengths.
    factors: Vec<f32>,
    /// Where each coordinate comes from.
    sources: Vec<u32>,
}

impl Rotation {
    /// The rotation of vectors of this length: always the same, everywhere.
    pub(super) fn new(dim: usize) -> Rotation {
        let mut random = fastrand::Rng::with_seed(dim as u64);
        let rounds = std::array::from_fn(|_| {
            let mut sources: Vec<u32> = (0..dim as u32).collect();
            random.shuffle(&mut sources);
            let mut factors = Vec::with_capacity(dim);
            for block in blocks(dim) {
                let scale = (block as f32).sqrt().recip();
                factors.extend((0..block).map(|_| if random.bool() { scale } else { -scale }));
            }
            Round { factors, sources }
        });
        Rotation { dim, rounds }
    }

    /// Rotates `vector` into `out`; both, and `room`, are of the rotation's length.
    pub(super) fn rotate(&self, vector: &[f32], room: &mut Vec<f32>, out: &mut Vec<f32>) {
        debug_assert_eq!(vector.len(), self.dim);
        out.clear();
        out.extend_from_slice(vector);
        for round in &self.rounds {
            room.clear();
            room.extend(
                round.sources.iter().zip(&round.factors).map(|(source, factor)| out[*source as usize] * factor),
            );
            std::mem::swap(room, out);
            let mut at = 0;
            for block in blocks(self.dim) {
                transform(&mut out[at..at + block]);
                at += block;
            }
        }
    }
}

/// The powers of two that `dim` is the sum of, largest first.
fn blocks(dim: usize) -> impl Iterator<Item = usize> {
    (0..usize::BITS).rev().map(|bit| 1 << bit).filter(move |block| dim & block != 0)
}

/// The Walsh-Hadamard transform, not scaled.
fn transform(values: &mut [f32]) {
    let mut half = 1;
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

#[cfg(test)]
mod tests {
    use super::*;

    fn rotated(vector: &[f32]) -> Vec<f32> {
        let mut out = Vec::new();
        Rotation::new(vector.len()).rotate(vector, &mut Vec::new(), &mut out);
        out
    }

    #[test]
    fn products_stay_and_one_coordinate_is_spread_over_all() {
        for dim in [1, 2, 3, 50, 96, 128, 784, 1536] {
            let a: Vec<f32> = (0..dim).map(|i| ((i * 37 + 11) % 101) as f32 / 50.0 - 1.0).collect();
            let b: Vec<f32> = (0..dim).map(|i| ((i * 53 + 7) % 97) as f32 / 48.0 - 1.0).collect();
            let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(a * b)).sum::<f64>();
            let scale = (dot(&a, &a) * dot(&b, &b)).sqrt();
            assert!((dot(&rotated(&a), &rotated(&b)) - dot(&a, &b)).abs() <= 1e-5 * scale, "dim {dim}");
            let mut unit = vec![0.0; dim];
            unit[dim / 2] = 1.0;
            let largest = rotated(&unit).into_iter().map(f32::abs).fold(0.0, f32::max);
            assert!(dim < 50 || f64::from(largest) < 6.0 / (dim as f64).sqrt(), "dim {dim}: {largest}");
        }
    }
}
