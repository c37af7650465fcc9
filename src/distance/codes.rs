//! Dot products of 8-bit codes, many at once: what walks through a graph of codes compute.
//!
//! A code is a byte `z + 128` with `z` in -127..=127. A row is whole blocks of [`CODE_BLOCK_BYTES`]; what stands in it
//! beyond its codes takes no part. All sums are of integers, so every kernel gives the same result.

/// Rows are whole blocks of so many bytes.
pub const CODE_BLOCK_BYTES: usize = 64;

type Many = fn(query: &[u8], dim: usize, rows: &[&[u8]], out: &mut [i32]);

/// The fastest kernel this machine runs, chosen once.
#[derive(Clone, Copy, Debug)]
pub struct CodeDots {
    many: Many,
}

impl CodeDots {
    /// Picks AVX-512 with VNNI, AVX2, or the scalar twin, whichever the processor has.
    #[expect(clippy::new_without_default, reason = "it looks at the processor")]
    pub fn new() -> CodeDots {
        #[cfg(target_arch = "x86_64")]
        if let Some(many) = x86::avx512().or_else(x86::avx2) {
            return CodeDots { many };
        }
        CodeDots::scalar()
    }

    /// The scalar twin.
    pub fn scalar() -> CodeDots {
        CodeDots { many: scalar }
    }

    /// For each of `rows` the sum over the first `dim` bytes of `row[i] * (query[i] - 128)`: the product of codes, but
    /// for 128 times the sum of the query's.
    ///
    /// # Panics
    /// If `out` is not as long as `rows`, or the query or a row is not the whole blocks that `dim` codes need at least.
    #[inline]
    pub fn dots(&self, query: &[u8], dim: usize, rows: &[&[u8]], out: &mut [i32]) {
        let bytes = dim.next_multiple_of(CODE_BLOCK_BYTES);
        assert_eq!(rows.len(), out.len());
        assert!(dim > 0 && query.len() >= bytes && rows.iter().all(|row| row.len() >= bytes));
        (self.many)(query, dim, rows, out);
    }
}

fn scalar(query: &[u8], dim: usize, rows: &[&[u8]], out: &mut [i32]) {
    for (row, out) in rows.iter().zip(out) {
        let products =
            row[..dim].iter().zip(&query[..dim]).map(|(row, query)| i32::from(*row) * (i32::from(*query) - 128));
        *out = products.sum();
    }
}

#[cfg(target_arch = "x86_64")]
mod x86 {
    //! Four rows at a time: the query is loaded once for four.

    use std::arch::x86_64::*;

    use super::{CODE_BLOCK_BYTES, Many};

    pub(super) fn avx512() -> Option<Many> {
        let has = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni");
        has.then_some(many_avx512 as Many)
    }

    pub(super) fn avx2() -> Option<Many> {
        is_x86_feature_detected!("avx2").then_some(many_avx2 as Many)
    }

    /// Reached only through [`avx512`].
    fn many_avx512(query: &[u8], dim: usize, rows: &[&[u8]], out: &mut [i32]) {
        // SAFETY: `avx512` hands this function out only where the processor has what it needs; the caller
        // (`CodeDots::dots`) has checked that the query and every row are the whole blocks of `dim` codes at least.
        unsafe { rows_avx512(query, dim, rows, out) }
    }

    /// # Safety
    /// The processor has AVX-512F, BW and VNNI; the query and every row are the whole blocks of `dim` codes at least.
    #[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
    unsafe fn rows_avx512(query: &[u8], dim: usize, rows: &[&[u8]], out: &mut [i32]) {
        let last = (dim - 1) / CODE_BLOCK_BYTES;
        // The codes of the last block; what follows them counts as zero.
        let mask = u64::MAX >> (CODE_BLOCK_BYTES * (last + 1) - dim);
        let middle = _mm512_set1_epi8(i8::MIN);
        for (quad, out) in rows.chunks(4).zip(out.chunks_mut(4)) {
            // A short last group repeats its last row; the surplus sums are dropped.
            let row = |r: usize| quad[r.min(quad.len() - 1)].as_ptr();
            let at = [row(0), row(1), row(2), row(3)];
            let mut sums = [_mm512_setzero_si512(); 4];
            for block in 0..last {
                // SAFETY: the query and the rows have `last + 1` blocks.
                unsafe {
                    let i = block * CODE_BLOCK_BYTES;
                    let q = _mm512_xor_si512(_mm512_loadu_si512(query.as_ptr().add(i).cast()), middle);
                    for r in 0..4 {
                        sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_loadu_si512(at[r].add(i).cast()), q);
                    }
                }
            }
            // SAFETY: as above.
            unsafe {
                let i = last * CODE_BLOCK_BYTES;
                let q = _mm512_xor_si512(_mm512_loadu_si512(query.as_ptr().add(i).cast()), middle);
                let q = _mm512_maskz_mov_epi8(mask, q);
                for r in 0..4 {
                    sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_loadu_si512(at[r].add(i).cast()), q);
                }
            }
            let halves =
                sums.map(|sum| _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum)));
            out.copy_from_slice(&reduce_four(halves)[..out.len()]);
        }
    }

    /// The four sums of four registers.
    #[inline]
    #[target_feature(enable = "avx2")]
    fn reduce_four(sums: [__m256i; 4]) -> [i32; 4] {
        let pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
        let four = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
        let mut out = [0; 4];
        // SAFETY: `out` holds four i32.
        unsafe { _mm_storeu_si128(out.as_mut_ptr().cast(), four) };
        out
    }

    /// Reached only through [`avx2`].
    fn many_avx2(query: &[u8], dim: usize, rows: &[&[u8]], out: &mut [i32]) {
        // SAFETY: as in `many_avx512`.
        unsafe { rows_avx2(query, dim, rows, out) }
    }

    /// # Safety
    /// The processor has AVX2; the query and every row are the whole blocks of `dim` codes at least.
    #[target_feature(enable = "avx2")]
    unsafe fn rows_avx2(query: &[u8], dim: usize, rows: &[&[u8]], out: &mut [i32]) {
        const HALF: usize = 16;
        let middle = _mm_set1_epi8(i8::MIN);
        for (quad, out) in rows.chunks(4).zip(out.chunks_mut(4)) {
            // As above.
            let row = |r: usize| quad[r.min(quad.len() - 1)].as_ptr();
            let at = [row(0), row(1), row(2), row(3)];
            let mut sums = [_mm256_setzero_si256(); 4];
            let mut i = 0;
            while i < dim {
                // What follows the codes counts as zero.
                let mut kept = [0xFF_u8; HALF];
                kept.iter_mut().skip(dim - i).for_each(|byte| *byte = 0);
                // SAFETY: the query and the rows are whole blocks, of which 16 bytes are a part; `kept` is 16 bytes.
                unsafe {
                    let q = _mm_xor_si128(_mm_loadu_si128(query.as_ptr().add(i).cast()), middle);
                    let q = if dim - i < HALF { _mm_and_si128(q, _mm_loadu_si128(kept.as_ptr().cast())) } else { q };
                    let q = _mm256_cvtepi8_epi16(q);
                    for r in 0..4 {
                        let row = _mm256_cvtepu8_epi16(_mm_loadu_si128(at[r].add(i).cast()));
                        sums[r] = _mm256_add_epi32(sums[r], _mm256_madd_epi16(row, q));
                    }
                }
                i += HALF;
            }
            out.copy_from_slice(&reduce_four(sums)[..out.len()]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Every implementation this machine can run.
    fn implementations() -> Vec<CodeDots> {
        let mut all = vec![CodeDots::new(), CodeDots::scalar()];
        #[cfg(target_arch = "x86_64")]
        all.extend([x86::avx512(), x86::avx2()].into_iter().flatten().map(|many| CodeDots { many }));
        all
    }

    fn row(len: usize, seed: u64) -> Vec<u8> {
        let mut state = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
        let mut next = || {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 40) as u8
        };
        (0..len).map(|_| next()).collect()
    }

    proptest! {
        /// All kernels give what the definition gives, whatever stands behind the codes.
        #[test]
        fn kernels_agree_with_the_definition(dim in 1..400usize, more in 0..2usize, count in 0..11usize, seed: u64) {
            let len = (dim.div_ceil(CODE_BLOCK_BYTES) + more) * CODE_BLOCK_BYTES;
            let query = row(len, seed);
            let rows: Vec<Vec<u8>> = (0..count as u64).map(|n| row(len, seed ^ (n + 1))).collect();
            let rows: Vec<&[u8]> = rows.iter().map(Vec::as_slice).collect();
            let product = |row: &[u8], i: usize| i64::from(row[i]) * (i64::from(query[i]) - 128);
            let want: Vec<i64> = rows.iter().map(|row| (0..dim).map(|i| product(row, i)).sum()).collect();
            for kernel in implementations() {
                let mut out = vec![0; count];
                kernel.dots(&query, dim, &rows, &mut out);
                prop_assert!(out.iter().map(|sum| i64::from(*sum)).eq(want.iter().copied()));
            }
        }
    }

    #[test]
    fn the_largest_sums_fit() {
        let dim = 65_536;
        for (query, want) in [(255, 127), (1, -127)] {
            let (query, row) = (vec![query; dim], vec![255; dim]);
            for kernel in implementations() {
                let mut out = [0];
                kernel.dots(&query, dim, &[&row], &mut out);
                assert_eq!(i64::from(out[0]), 255 * want * dim as i64);
            }
        }
    }
}
