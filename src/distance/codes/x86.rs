//! Four rows at a time: the query is loaded once for four, and what remains is done in the four lanes of a register.

use std::arch::x86_64::*;

use super::{BLOCK, COARSE, EIGHT, FINE, FOUR, Kernels, Many, ONE, Own, ROW, Shape, WHOLE, shift};

pub(super) fn avx512() -> Option<Kernels> {
    let has = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni");
    has.then_some(Kernels {
        of: |what| -> Many {
            match what {
                ONE => many_avx512::<ONE>,
                FOUR => many_avx512::<FOUR>,
                COARSE => many_avx512::<COARSE>,
                FINE => many_avx512::<FINE>,
                ROW => many_avx512::<ROW>,
                WHOLE => many_avx512::<WHOLE>,
                _ => many_avx512::<EIGHT>,
            }
        },
    })
}

pub(super) fn avx2() -> Option<Kernels> {
    is_x86_feature_detected!("avx2").then_some(Kernels {
        of: |what| -> Many {
            match what {
                ONE => many_avx2::<ONE>,
                FOUR => many_avx2::<FOUR>,
                COARSE => many_avx2::<COARSE>,
                FINE => many_avx2::<FINE>,
                ROW => many_avx2::<ROW>,
                WHOLE => many_avx2::<WHOLE>,
                _ => many_avx2::<EIGHT>,
            }
        },
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
unsafe fn many_avx512<const WHAT: u32>(query: &[u8], own: Own, shape: Shape, rows: &[*const u8], out: &mut [f32]) {
    for (quad, out) in rows.chunks(4).zip(out.chunks_mut(4)) {
        let at = four(quad);
        // SAFETY: the caller's word about the query and the rows.
        let distances = unsafe {
            let sums = sums_avx512::<WHAT>(query, shape, at);
            let halves =
                sums.map(|sum| _mm256_add_epi32(_mm512_castsi512_si256(sum), _mm512_extracti64x4_epi64::<1>(sum)));
            finish::<WHAT>(halves, own, at, shape)
        };
        store(distances, out);
    }
}

/// # Safety
/// As [`Many`], of four rows.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe fn sums_avx512<const WHAT: u32>(query: &[u8], shape: Shape, at: [*const u8; 4]) -> [__m512i; 4] {
    let dim = shape.dim;
    let half = dim.div_ceil(2);
    let upper = half.next_multiple_of(BLOCK);
    let middle = _mm512_set1_epi8(i8::MIN);
    let low_bits = _mm512_set1_epi8(15);
    let mut sums = [_mm512_setzero_si512(); 4];
    // SAFETY: every load is of a whole block of the probe, of whole blocks or masked bytes of codes of a row, or of the 8
    // bytes that 64 bits of a row are.
    unsafe {
        let load = |at: usize| _mm512_xor_si512(_mm512_loadu_si512(query.as_ptr().add(at).cast()), middle);
        // Codes of 8 bits, of both halves of the numbers, of a row that is split. There are none behind the last: zeros.
        let joined = |row: *const u8, i: usize, mask: u64| {
            let high = _mm512_maskz_loadu_epi8(mask, row.add(i).cast());
            let low = _mm512_maskz_loadu_epi8(mask, row.add(shape.part_bytes + i).cast());
            let of_first = _mm512_or_si512(
                _mm512_slli_epi16::<4>(_mm512_and_si512(high, low_bits)),
                _mm512_and_si512(low, low_bits),
            );
            let of_second = _mm512_or_si512(
                _mm512_andnot_si512(low_bits, high),
                _mm512_and_si512(_mm512_srli_epi16::<4>(low), low_bits),
            );
            (of_first, of_second)
        };
        match WHAT {
            FOUR | COARSE => {
                for i in (0..half).step_by(BLOCK) {
                    let (first, second) = (load(i), load(upper + i));
                    let mask = u64::MAX >> BLOCK.saturating_sub(half - i);
                    for r in 0..4 {
                        let row = _mm512_maskz_loadu_epi8(mask, at[r].add(i).cast());
                        let of_second = _mm512_and_si512(_mm512_srli_epi16::<4>(row), low_bits);
                        sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_and_si512(row, low_bits), first);
                        sums[r] = _mm512_dpbusd_epi32(sums[r], of_second, second);
                    }
                }
            }
            FINE | ROW => {
                for i in (0..half).step_by(BLOCK) {
                    let mask = u64::MAX >> BLOCK.saturating_sub(half - i);
                    // Where a row has no code its zeros stay, whatever the query has there.
                    let (first, second) = if WHAT == ROW {
                        let (first, second) = joined(query.as_ptr(), i, mask);
                        (_mm512_xor_si512(first, middle), _mm512_xor_si512(second, middle))
                    } else {
                        (load(i), load(upper + i))
                    };
                    for r in 0..4 {
                        let (of_first, of_second) = joined(at[r], i, mask);
                        sums[r] = _mm512_dpbusd_epi32(sums[r], of_first, first);
                        sums[r] = _mm512_dpbusd_epi32(sums[r], of_second, second);
                    }
                }
            }
            ONE => {
                let one = _mm512_set1_epi8(1);
                for block in 0..dim.div_ceil(BLOCK) {
                    let q = load(block * BLOCK);
                    for r in 0..4 {
                        let bits = at[r].add(block * 8).cast::<u64>().read_unaligned();
                        sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_maskz_mov_epi8(bits, one), q);
                    }
                }
            }
            _ => {
                let last = (dim - 1) / BLOCK * BLOCK;
                for i in (0..last).step_by(BLOCK) {
                    let q = load(i);
                    for r in 0..4 {
                        sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_loadu_si512(at[r].add(i).cast()), q);
                    }
                }
                // What follows the codes counts as zero: a row may be the query.
                let q = _mm512_maskz_mov_epi8(u64::MAX >> (BLOCK - (dim - last)), load(last));
                for r in 0..4 {
                    sums[r] = _mm512_dpbusd_epi32(sums[r], _mm512_loadu_si512(at[r].add(last).cast()), q);
                }
            }
        }
    }
    sums
}

/// # Safety
/// As [`Many`], on a processor with AVX2.
#[target_feature(enable = "avx2")]
unsafe fn many_avx2<const WHAT: u32>(query: &[u8], own: Own, shape: Shape, rows: &[*const u8], out: &mut [f32]) {
    for (quad, out) in rows.chunks(4).zip(out.chunks_mut(4)) {
        let at = four(quad);
        // SAFETY: the caller's word about the query and the rows.
        let distances = unsafe {
            let sums = sums_avx2::<WHAT>(query, shape, at);
            finish::<WHAT>(sums, own, at, shape)
        };
        store(distances, out);
    }
}

/// # Safety
/// As [`Many`], of four rows.
#[inline]
#[target_feature(enable = "avx2")]
unsafe fn sums_avx2<const WHAT: u32>(query: &[u8], shape: Shape, at: [*const u8; 4]) -> [__m256i; 4] {
    const STEP: usize = 16;
    let dim = shape.dim;
    let half = dim.div_ceil(2);
    let upper = half.next_multiple_of(BLOCK);
    let low_bits = _mm256_set1_epi16(15);
    let mut sums = [_mm256_setzero_si256(); 4];
    // SAFETY: the codes of a probe are whole blocks, of which 16 bytes are a part, and so are those of each part of a row,
    // behind which it has 12 bytes or fills its block; `kept` is 16 bytes.
    unsafe {
        let read = |at: *const u8| _mm256_cvtepu8_epi16(_mm_loadu_si128(at.cast()));
        let load = |at: usize| _mm256_sub_epi16(read(query.as_ptr().add(at)), _mm256_set1_epi16(128));
        let add =
            |sum: &mut __m256i, row: __m256i, q: __m256i| *sum = _mm256_add_epi32(*sum, _mm256_madd_epi16(row, q));
        // All ones before the `len`-th number of 16.
        let kept = |len: usize| {
            let mut kept = [0xFFFF_u16; STEP];
            kept[len.min(STEP)..].fill(0);
            _mm256_loadu_si256(kept.as_ptr().cast())
        };
        // As in `sums_avx512`, but what is behind the last is not zero.
        let joined = |row: *const u8, i: usize| {
            let (high, low) = (read(row.add(i)), read(row.add(shape.part_bytes + i)));
            let of_first = _mm256_or_si256(
                _mm256_slli_epi16::<4>(_mm256_and_si256(high, low_bits)),
                _mm256_and_si256(low, low_bits),
            );
            let of_second = _mm256_or_si256(_mm256_andnot_si256(low_bits, high), _mm256_srli_epi16::<4>(low));
            (of_first, of_second)
        };
        match WHAT {
            FOUR | COARSE => {
                for i in (0..half).step_by(STEP) {
                    // Behind the last of a probe there are zeros.
                    let (first, second) = (load(i), load(upper + i));
                    for r in 0..4 {
                        let row = read(at[r].add(i));
                        add(&mut sums[r], _mm256_and_si256(row, low_bits), first);
                        add(&mut sums[r], _mm256_srli_epi16::<4>(row), second);
                    }
                }
            }
            FINE | ROW => {
                for i in (0..half).step_by(STEP) {
                    let (first, second) = if WHAT == ROW {
                        let (first, second) = joined(query.as_ptr(), i);
                        let (middle, kept) = (_mm256_set1_epi16(128), kept(half - i));
                        (
                            _mm256_and_si256(_mm256_sub_epi16(first, middle), kept),
                            _mm256_and_si256(_mm256_sub_epi16(second, middle), kept),
                        )
                    } else {
                        (load(i), load(upper + i))
                    };
                    for r in 0..4 {
                        let (of_first, of_second) = joined(at[r], i);
                        add(&mut sums[r], of_first, first);
                        add(&mut sums[r], of_second, second);
                    }
                }
            }
            ONE => {
                let of_lane = {
                    let bits: [u16; STEP] = std::array::from_fn(|lane| 1 << lane);
                    _mm256_loadu_si256(bits.as_ptr().cast())
                };
                for i in (0..dim).step_by(STEP) {
                    let q = load(i);
                    for r in 0..4 {
                        let bits = _mm256_set1_epi16(at[r].add(i / 8).cast::<i16>().read_unaligned());
                        let is_set = _mm256_cmpeq_epi16(_mm256_and_si256(bits, of_lane), of_lane);
                        add(&mut sums[r], _mm256_and_si256(is_set, _mm256_set1_epi16(1)), q);
                    }
                }
            }
            _ => {
                for i in (0..dim).step_by(STEP) {
                    // What follows the codes counts as zero: a row may be the query.
                    let q = if dim - i < STEP { _mm256_and_si256(load(i), kept(dim - i)) } else { load(i) };
                    for r in 0..4 {
                        add(&mut sums[r], read(at[r].add(i)), q);
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
unsafe fn finish<const WHAT: u32>(sums: [__m256i; 4], own: Own, at: [*const u8; 4], shape: Shape) -> __m128 {
    let pairs = _mm256_hadd_epi32(_mm256_hadd_epi32(sums[0], sums[1]), _mm256_hadd_epi32(sums[2], sums[3]));
    let sums = _mm_add_epi32(_mm256_castsi256_si128(pairs), _mm256_extracti128_si256::<1>(pairs));
    let sums = _mm_sll_epi32(sums, _mm_cvtsi32_si128(const { shift(WHAT) as i32 }));
    let products = _mm_sub_epi32(sums, _mm_set1_epi32(own.surplus));
    // Each register: the size of a coarse step if there is one, the size of a step, the bias, something.
    // SAFETY: the first part of a row is 32 bytes at least, of which these are the last 16.
    let [a, b, c, d] = at.map(|at| unsafe { _mm_loadu_ps(at.add(shape.part_bytes - 16).cast()) });
    let (ab, cd) = (_mm_unpacklo_ps(a, b), _mm_unpacklo_ps(c, d));
    let steps = if WHAT == COARSE { _mm_movelh_ps(ab, cd) } else { _mm_movehl_ps(cd, ab) };
    let biases = _mm_movelh_ps(_mm_unpackhi_ps(a, b), _mm_unpackhi_ps(c, d));
    if WHAT == WHOLE {
        let biases = _mm_add_epi32(_mm_set1_epi32(own.bias as i32), _mm_castps_si128(biases));
        let products = _mm_mullo_epi32(products, _mm_set1_epi32(own.step as i32));
        return _mm_cvtepi32_ps(_mm_add_epi32(biases, products));
    }
    let products = _mm_mul_ps(_mm_cvtepi32_ps(products), _mm_mul_ps(_mm_set1_ps(own.step), steps));
    let distances = _mm_add_ps(_mm_add_ps(_mm_set1_ps(f32::from_bits(own.bias)), biases), products);
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
