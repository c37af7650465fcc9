//! Distances between codes of vectors, many at once: what walks through a graph of codes compute.
//!
//! A row is the code of one vector in 8, 4 or 1 bits per number, each standing for a whole `z` times a step of the row's
//! own; a probe is a query in 8 bits, in the order in which the rows' kernel reads it. The distance of two is one sum of
//! products of whole numbers, and two terms that each brings along:
//!
//! `bias + bias' + factor * step * step' * sum(z * z')`
//!
//! Whole numbers add up to the same in any order, and the last line is computed in one, so every kernel gives the same.

/// Bytes at the end of a row and of a probe that are no codes: the size of a step (f32), the bias (f32) and the sum of
/// its `z` (i32), little-endian.
pub const TERMS_BYTES: usize = 12;
/// What a kernel reads at once of a probe.
const BLOCK: usize = 64;

/// How many bits of a row stand for one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CodeBits {
    /// `z` in -127..=127 as the byte `z + 128`.
    #[default]
    Eight,
    /// `z` in -7..=7 as `z + 8`; the second half of the numbers is in the upper halves of the bytes.
    Four,
    /// `z` is 1 or -1, as a bit that is set or not.
    One,
}

impl CodeBits {
    /// The largest `z`.
    pub fn z_max(self) -> i8 {
        match self {
            CodeBits::Eight => 127,
            CodeBits::Four => 7,
            CodeBits::One => 1,
        }
    }

    /// Bytes of a row with the codes of `dim` numbers: whole cache lines, or a part of one.
    pub fn row_bytes(self, dim: usize) -> usize {
        let code_bytes = match self {
            CodeBits::Eight => dim,
            CodeBits::Four => dim.div_ceil(2),
            CodeBits::One => dim.div_ceil(BLOCK) * 8,
        };
        match code_bytes + TERMS_BYTES {
            bytes @ ..=BLOCK if self != CodeBits::Eight => bytes.next_power_of_two().max(32),
            bytes => bytes.next_multiple_of(BLOCK),
        }
    }

    /// Bytes of a probe of `dim` numbers. One of 8 bits is as long as a row, which may be a probe itself.
    pub fn probe_bytes(self, dim: usize) -> usize {
        match self {
            CodeBits::Eight => self.row_bytes(dim),
            CodeBits::Four => 2 * dim.div_ceil(2).next_multiple_of(BLOCK) + TERMS_BYTES,
            CodeBits::One => dim.next_multiple_of(BLOCK) + TERMS_BYTES,
        }
    }

    /// Writes the codes of whole numbers into a row of zeros.
    pub fn pack(self, z: &[i8], row: &mut [u8]) {
        let (low, high) = z.split_at(z.len().div_ceil(2));
        match self {
            CodeBits::Eight => row.iter_mut().zip(z).for_each(|(code, z)| *code = *z as u8 ^ 128),
            CodeBits::Four => {
                row.iter_mut().zip(low).for_each(|(codes, z)| *codes = (z + 8) as u8);
                row.iter_mut().zip(high).for_each(|(codes, z)| *codes |= ((z + 8) as u8) << 4);
            }
            CodeBits::One => {
                let bits = |z: &[i8]| z.iter().enumerate().map(|(i, z)| u8::from(*z > 0) << i).sum();
                row.iter_mut().zip(z.chunks(8)).for_each(|(codes, z)| *codes = bits(z));
            }
        }
    }

    /// Writes the codes of whole numbers of up to 127 into a probe of which every byte is 128.
    pub fn pack_probe(self, z: &[i8], probe: &mut [u8]) {
        let half = z.len().div_ceil(2);
        let (z, upper) = if self == CodeBits::Four { z.split_at(half) } else { (z, [].as_slice()) };
        CodeBits::Eight.pack(z, probe);
        CodeBits::Eight.pack(upper, &mut probe[if upper.is_empty() { 0 } else { half.next_multiple_of(BLOCK) }..]);
    }
}

/// What a probe brings to each of its distances.
#[derive(Clone, Copy, Debug)]
struct Terms {
    /// Times the factor.
    step: f32,
    bias: f32,
    /// What the kernel's sum has too much.
    surplus: i32,
}

/// The sizes a kernel works with.
#[derive(Clone, Copy, Debug)]
struct Shape {
    dim: usize,
    row_bytes: usize,
}

/// # Safety
/// The probe is as long as `probe_bytes` says and every row is one of `row_bytes` bytes that may be read; there are as
/// many distances as rows; the processor has what the kernel needs.
type Many = unsafe fn(probe: &[u8], terms: Terms, shape: Shape, rows: &[*const u8], out: &mut [f32]);

/// The fastest kernel this machine runs, chosen once.
#[derive(Clone, Copy, Debug)]
pub struct CodeDistances {
    bits: CodeBits,
    shape: Shape,
    factor: f32,
    many: Many,
}

impl CodeDistances {
    /// For codes of `dim` numbers. Picks AVX-512 with VNNI, AVX2, or the scalar twin, whichever the processor has.
    ///
    /// # Panics
    /// If `dim` is 0.
    pub fn new(bits: CodeBits, dim: usize, factor: f32) -> CodeDistances {
        #[cfg(target_arch = "x86_64")]
        if let Some(many) = x86::avx512(bits).or_else(|| x86::avx2(bits)) {
            return CodeDistances { many, ..CodeDistances::scalar(bits, dim, factor) };
        }
        CodeDistances::scalar(bits, dim, factor)
    }

    /// The scalar twin.
    ///
    /// # Panics
    /// If `dim` is 0.
    pub fn scalar(bits: CodeBits, dim: usize, factor: f32) -> CodeDistances {
        assert_ne!(dim, 0);
        let many = match bits {
            CodeBits::Eight => scalar::<8>,
            CodeBits::Four => scalar::<4>,
            CodeBits::One => scalar::<1>,
        };
        CodeDistances { bits, shape: Shape { dim, row_bytes: bits.row_bytes(dim) }, factor, many }
    }

    /// How rows are coded.
    pub fn bits(&self) -> CodeBits {
        self.bits
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.shape.row_bytes
    }

    /// Distances from `probe` to `rows`. What is not a number is infinitely far.
    ///
    /// # Panics
    /// If `out` is not as long as `rows`, or the probe has another length than `probe_bytes` says.
    ///
    /// # Safety
    /// From each of `rows` on, [`CodeDistances::row_bytes`] bytes may be read and do not change meanwhile.
    #[inline]
    pub unsafe fn distances(&self, probe: &[u8], rows: &[*const u8], out: &mut [f32]) {
        assert_eq!(rows.len(), out.len());
        assert_eq!(probe.len(), self.bits.probe_bytes(self.shape.dim));
        let (step, bias, sum) = terms(probe);
        let surplus = match self.bits {
            CodeBits::Eight => 128 * sum,
            CodeBits::Four => 8 * sum,
            CodeBits::One => sum,
        };
        let terms = Terms { step: self.factor * step, bias, surplus };
        // SAFETY: the lengths are as asserted, the rows as the caller says, and `new` looked at the processor.
        unsafe { (self.many)(probe, terms, self.shape, rows, out) }
    }
}

/// Writes what ends a row or a probe: the size of a step, the bias, and the sum of its `z`.
pub fn write_terms(row: &mut [u8], step: f32, bias: f32, sum: i32) {
    let at = row.len() - TERMS_BYTES;
    row[at..at + 4].copy_from_slice(&step.to_le_bytes());
    row[at + 4..at + 8].copy_from_slice(&bias.to_le_bytes());
    row[at + 8..].copy_from_slice(&sum.to_le_bytes());
}

/// The same, read.
#[inline]
fn terms(row: &[u8]) -> (f32, f32, i32) {
    let Some([a, b, c, d, e, f, g, h, i, j, k, l]) = row.last_chunk::<TERMS_BYTES>() else { return (0.0, 0.0, 0) };
    (f32::from_le_bytes([*a, *b, *c, *d]), f32::from_le_bytes([*e, *f, *g, *h]), i32::from_le_bytes([*i, *j, *k, *l]))
}

/// # Safety
/// As [`Many`].
unsafe fn scalar<const BITS: u32>(probe: &[u8], own: Terms, shape: Shape, rows: &[*const u8], out: &mut [f32]) {
    let z = |at: usize| i32::from(probe[at]) - 128;
    let half = shape.dim.div_ceil(2);
    let upper = half.next_multiple_of(BLOCK);
    for (row, out) in rows.iter().zip(out) {
        // SAFETY: the caller's word.
        let row = unsafe { std::slice::from_raw_parts(*row, shape.row_bytes) };
        let sum: i32 = match BITS {
            8 => row[..shape.dim].iter().enumerate().map(|(i, code)| i32::from(*code) * z(i)).sum(),
            4 => {
                let pairs = row[..half].iter().enumerate();
                pairs.map(|(i, pair)| i32::from(pair & 15) * z(i) + i32::from(pair >> 4) * z(upper + i)).sum()
            }
            _ => {
                let is_set = |i: &usize| row[i / 8] >> (i % 8) & 1 == 1;
                2 * (0..shape.dim).filter(is_set).map(z).sum::<i32>()
            }
        };
        let (step, bias, _) = terms(row);
        let distance = (own.bias + bias) + (sum - own.surplus) as f32 * (own.step * step);
        *out = if distance.is_nan() { f32::INFINITY } else { distance };
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! Four rows at a time: the probe is loaded once for four, and what remains is done in the four lanes of a register.

    use std::arch::x86_64::*;

    use super::{BLOCK, CodeBits, Many, Shape, Terms};

    pub(super) fn avx512(bits: CodeBits) -> Option<Many> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni");
        has.then_some(match bits {
            CodeBits::Eight => many_avx512::<8>,
            CodeBits::Four => many_avx512::<4>,
            CodeBits::One => many_avx512::<1>,
        })
    }

    pub(super) fn avx2(bits: CodeBits) -> Option<Many> {
        is_x86_feature_detected!("avx2").then_some(match bits {
            CodeBits::Eight => many_avx2::<8>,
            CodeBits::Four => many_avx2::<4>,
            CodeBits::One => many_avx2::<1>,
        })
    }

    /// The next four rows. A short last group repeats its last row; the surplus distances are dropped.
    #[inline]
    fn four(quad: &[*const u8]) -> [*const u8; 4] {
        match *quad {
            [a, b, c, d] => [a, b, c, d],
            [a, b, c] => [a, b, c, c],
            [a, b] => [a, b, b, b],
            _ => [quad[0]; 4],
        }
    }

    /// # Safety
    /// As [`Many`], on a processor with AVX-512F, BW and VNNI.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn many_avx512<const BITS: u32>(
        probe: &[u8],
        own: Terms,
        shape: Shape,
        rows: &[*const u8],
        out: &mut [f32],
    ) {
        for (quad, out) in rows.chunks(4).zip(out.chunks_mut(4)) {
            let at = four(quad);
            // SAFETY: the caller's word about the probe and the rows.
            let distances = unsafe {
                let sums = sums_avx512::<BITS>(probe, shape.dim, at);
                let halves =
                    sums.map(|sum| _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum)));
                finish::<BITS>(halves, own, at, shape.row_bytes)
            };
            store(distances, out);
        }
    }

    /// # Safety
    /// As [`Many`], of four rows.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn sums_avx512<const BITS: u32>(probe: &[u8], dim: usize, at: [*const u8; 4]) -> [__m512i; 4] {
        let middle = _mm512_set1_epi8(i8::MIN);
        let mut sums = [_mm512_setzero_si512(); 4];
        // SAFETY: every load is of a whole block of the probe, of whole blocks or masked bytes of codes of a row, or of
        // the 8 bytes that 64 bits of a row are.
        unsafe {
            let load = |at: usize| _mm512_xor_si512(_mm512_loadu_si512(probe.as_ptr().add(at).cast()), middle);
            match BITS {
                8 => {
                    let last = (dim - 1) / BLOCK * BLOCK;
                    for i in (0..last).step_by(BLOCK) {
                        let q = load(i);
                        for r in 0..4 {
                            sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_loadu_si512(at[r].add(i).cast()), q);
                        }
                    }
                    // What follows the codes counts as zero: a row may be the probe.
                    let q = _mm512_maskz_mov_epi8(u64::MAX >> (BLOCK - (dim - last)), load(last));
                    for r in 0..4 {
                        sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_loadu_si512(at[r].add(last).cast()), q);
                    }
                }
                4 => {
                    let half = dim.div_ceil(2);
                    let upper = half.next_multiple_of(BLOCK);
                    let low_bits = _mm512_set1_epi8(15);
                    for i in (0..half).step_by(BLOCK) {
                        let (low, high) = (load(i), load(upper + i));
                        let mask = u64::MAX >> BLOCK.saturating_sub(half - i);
                        for r in 0..4 {
                            let row = _mm512_maskz_loadu_epi8(mask, at[r].add(i).cast());
                            let row_high = _mm512_and_si512(_mm512_srli_epi16::<4>(row), low_bits);
                            sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_and_si512(row, low_bits), low);
                            sums[r] = _mm512_dpbusd_epi32(sums[r], row_high, high);
                        }
                    }
                }
                _ => {
                    // Each bit that is set takes its number twice.
                    let twice = _mm512_set1_epi8(2);
                    for block in 0..dim.div_ceil(BLOCK) {
                        let q = load(block * BLOCK);
                        for r in 0..4 {
                            let bits = at[r].add(block * 8).cast::<u64>().read_unaligned();
                            sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_maskz_mov_epi8(bits, twice), q);
                        }
                    }
                }
            }
        }
        sums
    }

    /// # Safety
    /// As [`Many`], on a processor with AVX2.
    #[target_feature(enable = "avx2")]
    unsafe fn many_avx2<const BITS: u32>(probe: &[u8], own: Terms, shape: Shape, rows: &[*const u8], out: &mut [f32]) {
        for (quad, out) in rows.chunks(4).zip(out.chunks_mut(4)) {
            let at = four(quad);
            // SAFETY: the caller's word about the probe and the rows.
            let distances = unsafe {
                let sums = sums_avx2::<BITS>(probe, shape.dim, at);
                finish::<BITS>(sums, own, at, shape.row_bytes)
            };
            store(distances, out);
        }
    }

    /// # Safety
    /// As [`Many`], of four rows.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn sums_avx2<const BITS: u32>(probe: &[u8], dim: usize, at: [*const u8; 4]) -> [__m256i; 4] {
        const STEP: usize = 16;
        let mut sums = [_mm256_setzero_si256(); 4];
        // SAFETY: a probe is whole blocks, of which 16 bytes are a part, and so is a row, whose codes end 12 bytes before
        // its end or earlier; `kept` is 16 bytes.
        unsafe {
            let load = |at: usize| _mm_xor_si128(_mm_loadu_si128(probe.as_ptr().add(at).cast()), _mm_set1_epi8(i8::MIN));
            match BITS {
                8 => {
                    for i in (0..dim).step_by(STEP) {
                        let mut q = load(i);
                        if dim - i < STEP {
                            // What follows the codes counts as zero: a row may be the probe.
                            let mut kept = [0xFF_u8; STEP];
                            kept[dim - i..].fill(0);
                            q = _mm_and_si128(q, _mm_loadu_si128(kept.as_ptr().cast()));
                        }
                        let q = _mm256_cvtepi8_epi16(q);
                        for r in 0..4 {
                            let row = _mm256_cvtepu8_epi16(_mm_loadu_si128(at[r].add(i).cast()));
                            sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(row, q));
                        }
                    }
                }
                4 => {
                    let half = dim.div_ceil(2);
                    let upper = half.next_multiple_of(BLOCK);
                    for i in (0..half).step_by(STEP) {
                        let (low, high) = (_mm256_cvtepi8_epi16(load(i)), _mm256_cvtepi8_epi16(load(upper + i)));
                        for r in 0..4 {
                            let row = _mm256_cvtepu8_epi16(_mm_loadu_si128(at[r].add(i).cast()));
                            let row_low = _mm256_and_si256(row, _mm256_set1_epi16(15));
                            sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(row_low, low));
                            sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(_mm256_srli_epi16::<4>(row), high));
                        }
                    }
                }
                _ => {
                    let of_lane = _mm256_setr_epi16(
                        1,
                        1 << 1,
                        1 << 2,
                        1 << 3,
                        1 << 4,
                        1 << 5,
                        1 << 6,
                        1 << 7,
                        1 << 8,
                        1 << 9,
                        1 << 10,
                        1 << 11,
                        1 << 12,
                        1 << 13,
                        1 << 14,
                        i16::MIN,
                    );
                    for i in (0..dim).step_by(STEP) {
                        let q = _mm256_cvtepi8_epi16(load(i));
                        for r in 0..4 {
                            let bits = _mm256_set1_epi16(at[r].add(i / 8).cast::<i16>().read_unaligned());
                            let is_set = _mm256_cmpeq_epi16(_mm256_and_si256(bits, of_lane), of_lane);
                            // Each bit that is set takes its number twice.
                            let taken = _mm256_and_si256(is_set, _mm256_set1_epi16(2));
                            sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(taken, q));
                        }
                    }
                }
            }
        }
        sums
    }

    /// The distances to four rows of the sums in four registers.
    ///
    /// # Safety
    /// As [`Many`], of four rows.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn finish<const BITS: u32>(sums: [__m256i; 4], own: Terms, at: [*const u8; 4], row_bytes: usize) -> __m128 {
        let pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
        let sums = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
        // Each register: something, the size of a step, the bias, something.
        // SAFETY: a row is 32 bytes at least, of which these are the last 16.
        let [a, b, c, d] = at.map(|at| unsafe { _mm_loadu_ps(at.add(row_bytes - 16).cast()) });
        let steps = _mm_movehl_ps(_mm_unpacklo_ps(c, d), _mm_unpacklo_ps(a, b));
        let biases = _mm_movelh_ps(_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
        let products = _mm_mul_ps(
            _mm_cvtepi32_ps(_mm_sub_epi32(sums, _mm_set1_epi32(own.surplus))),
            _mm_mul_ps(_mm_set1_ps(own.step), steps),
        );
        let distances = _mm_add_ps(_mm_add_ps(_mm_set1_ps(own.bias), biases), products);
        // Where one operand is not a number the result is the second.
        _mm_min_ps(distances, _mm_set1_ps(f32::INFINITY))
    }

    #[inline]
    #[target_feature(enable = "avx2")]
    fn store(distances: __m128, out: &mut [f32]) {
        match <&mut [f32; 4]>::try_from(&mut *out) {
            // SAFETY: four f32.
            Ok(out) => unsafe { _mm_storeu_ps(out.as_mut_ptr(), distances) },
            Err(_) => {
                let mut all = [0.0; 4];
                // SAFETY: four f32.
                unsafe { _mm_storeu_ps(all.as_mut_ptr(), distances) };
                out.copy_from_slice(&all[..out.len()]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const ALL_BITS: [CodeBits; 3] = [CodeBits::Eight, CodeBits::Four, CodeBits::One];

    /// Every implementation this machine can run.
    fn implementations(bits: CodeBits, dim: usize, factor: f32) -> Vec<CodeDistances> {
        let scalar = CodeDistances::scalar(bits, dim, factor);
        let mut all = vec![CodeDistances::new(bits, dim, factor), scalar];
        #[cfg(target_arch = "x86_64")]
        all.extend([x86::avx512(bits), x86::avx2(bits)].into_iter().flatten().map(|many| CodeDistances { many, ..scalar }));
        all
    }

    fn distances(kernel: &CodeDistances, probe: &[u8], rows: &[Vec<u8>]) -> Vec<f32> {
        let mut out = vec![0.0; rows.len()];
        assert!(rows.iter().all(|row| row.len() == kernel.row_bytes()));
        let rows: Vec<*const u8> = rows.iter().map(|row| row.as_ptr()).collect();
        // SAFETY: the rows are as long as asserted, and live.
        unsafe { kernel.distances(probe, &rows, &mut out) };
        out
    }

    /// Whole numbers, among them the largest.
    fn numbers(dim: usize, max: i8, seed: u64) -> Vec<i8> {
        let mut random = fastrand::Rng::with_seed(seed);
        let mut number = || if random.u8(..) < 8 { max } else { random.i8(-max..=max) };
        let number = |_| match (number(), max) {
            (0, 1) => -1,
            (z, _) => z,
        };
        (0..dim).map(number).collect()
    }

    fn row(bits: CodeBits, z: &[i8], (step, bias): (f32, f32)) -> Vec<u8> {
        let mut row = vec![0; bits.row_bytes(z.len())];
        bits.pack(z, &mut row);
        write_terms(&mut row, step, bias, z.iter().map(|z| i32::from(*z)).sum());
        row
    }

    fn probe(bits: CodeBits, z: &[i8], (step, bias): (f32, f32)) -> Vec<u8> {
        let mut probe = vec![128; bits.probe_bytes(z.len())];
        bits.pack_probe(z, &mut probe);
        write_terms(&mut probe, step, bias, z.iter().map(|z| i32::from(*z)).sum());
        probe
    }

    fn product(a: &[i8], b: &[i8]) -> f32 {
        a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum::<i32>() as f32
    }

    proptest! {
        /// All kernels give what the definition gives.
        #[test]
        fn kernels_agree_with_the_definition(dim in 1..400usize, count in 0..11usize, seed: u64) {
            for bits in ALL_BITS {
                let query = numbers(dim, 127, seed);
                let probe = probe(bits, &query, (0.5, 3.0));
                let all: Vec<Vec<i8>> = (0..count as u64).map(|n| numbers(dim, bits.z_max(), seed ^ (n + 1))).collect();
                let rows: Vec<Vec<u8>> = all.iter().map(|z| row(bits, z, (0.25, 7.0))).collect();
                let want: Vec<f32> = all.iter().map(|z| 10.0 + product(z, &query) * (-2.0 * 0.5 * 0.25)).collect();
                for kernel in implementations(bits, dim, -2.0) {
                    prop_assert_eq!(&distances(&kernel, &probe, &rows), &want, "{:?}", bits);
                }
            }
        }
    }

    #[test]
    fn a_row_of_8_bits_is_a_probe_whatever_stands_behind_its_codes() {
        for dim in [1, 50, 51, 52, 53, 64, 65, 784] {
            let z = numbers(dim, 127, 5);
            let mut of = row(CodeBits::Eight, &z, (1.0, 0.0));
            let terms_at = of.len() - TERMS_BYTES;
            of[dim..terms_at].fill(77);
            let want = product(&z, &z);
            for kernel in implementations(CodeBits::Eight, dim, 1.0) {
                assert_eq!(distances(&kernel, &of, std::slice::from_ref(&of)), [want], "dim {dim}");
            }
        }
    }

    #[test]
    fn the_largest_sums_fit_and_what_is_no_number_is_far() {
        let dim = 65_536;
        for bits in ALL_BITS {
            let (query, z) = (vec![-127; dim], vec![bits.z_max(); dim]);
            let rows = [(1.0, 0.0), (f32::NAN, 0.0), (f32::INFINITY, f32::INFINITY)].map(|terms| row(bits, &z, terms));
            for kernel in implementations(bits, dim, 1.0) {
                let want = -127.0 * f32::from(bits.z_max()) * dim as f32;
                let got = distances(&kernel, &probe(bits, &query, (1.0, 0.0)), &rows);
                assert_eq!(got, [want, f32::INFINITY, f32::INFINITY], "{bits:?}");
            }
        }
    }
}
