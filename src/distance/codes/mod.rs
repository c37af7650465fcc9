//! Distances between codes of vectors, many at once: what walks through a graph of codes compute.
//!
//! A row is the code of one vector in 8, 4 or 1 bits per number, each standing for a whole `z` times a step of the row's
//! own; a probe is a query in 8 bits, in the order in which the rows' kernel reads it. The distance of two is one sum of
//! products of whole numbers, and two terms that each brings along:
//!
//! `bias + bias' + factor * step * step' * sum(z * z')`
//!
//! Whole numbers add up to the same in any order, and the last line is computed in one, so every kernel gives the same.
//!
//! Codes of 8 bits that take several cache lines are split: the upper halves of all codes come first, with the terms, and
//! the lower halves after them. A walk reads the upper ones only, which is half the memory, and half its time; what is to be
//! told apart more finely is compared as a whole.
//!
//! Vectors of bytes are codes of 8 bits as they are. Their distances are whole numbers altogether, and exact.

#[cfg(target_arch = "x86_64")]
mod x86;

/// Bytes at the end of a row's first part and of a probe that are no codes: the size of a step (f32), the bias (f32, or i32
/// of bytes) and the sum of its `z` (i32), little-endian.
const TERMS_BYTES: usize = 12;
/// Before them, if the row is split: the size of a step for its first part alone (f32).
const COARSE_STEP_BYTES: usize = 4;
/// What a kernel reads at once of a probe.
const BLOCK: usize = 64;
/// So many bytes, and codes that are split, have sums of products that an i32 holds.
pub const WHOLE_DIM_MAX: usize = 1 << 15;

/// How many bits of a code stand for one number.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum CodeBits {
    /// `z` in -127..=127.
    #[default]
    Eight,
    /// `z` in -7..=7.
    Four,
    /// `z` is 1 or -1.
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
}

/// Where the codes of a row are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// Vectors of bytes. As [`Layout::Eight`].
    Whole,
    /// `z + 128` in a byte each. A row is a probe.
    Eight,
    /// As [`Layout::Eight`], but the upper halves of the bytes come first and the lower ones in the second part, each as in
    /// [`Layout::Four`].
    Split,
    /// `z + 8` in half a byte each; those of the second half of the numbers are the upper ones.
    Four,
    /// A bit each, set if `z` is 1.
    One,
}

/// The sizes a kernel works with.
#[derive(Clone, Copy, Debug)]
struct Shape {
    dim: usize,
    /// Bytes of the first part of a row, at whose end the terms are: all of it, unless it is split.
    part_bytes: usize,
    row_bytes: usize,
}

/// What a query brings to each of its distances.
#[derive(Clone, Copy, Debug)]
struct Own {
    /// Times the factor. Of whole numbers: the factor.
    step: f32,
    /// The bits of an f32. Of whole numbers: an i32.
    bias: u32,
    /// What the kernel's sum has too much.
    surplus: i32,
}

/// # Safety
/// The query is as long as the kernel takes it, and every row is one of `row_bytes` bytes that may be read; there are as many
/// distances as rows; the processor has what the kernel needs.
type Many = unsafe fn(query: &[u8], own: Own, shape: Shape, rows: &[*const u8], out: &mut [f32]);

// Which kernel, for one that is compiled several times: what it compares.
/// A probe with rows of 1 bit.
const ONE: u32 = 1;
/// A probe with rows of 4 bits.
const FOUR: u32 = 4;
/// A probe with rows of 8 bits.
const EIGHT: u32 = 8;
/// A probe with the upper halves of rows of 8 bits.
const COARSE: u32 = 9;
/// A probe with split rows of 8 bits.
const FINE: u32 = 10;
/// A split row with others.
const ROW: u32 = 11;
/// Bytes with bytes.
const WHOLE: u32 = 0;

/// The kernels of one kind of processor.
#[derive(Clone, Copy, Debug)]
struct Kernels {
    of: fn(u32) -> Many,
}

impl Kernels {
    const SCALAR: Kernels = Kernels {
        of: |what| match what {
            ONE => scalar::<ONE>,
            FOUR => scalar::<FOUR>,
            COARSE => scalar::<COARSE>,
            FINE => scalar::<FINE>,
            ROW => scalar::<ROW>,
            WHOLE => scalar::<WHOLE>,
            _ => scalar::<EIGHT>,
        },
    };

    /// AVX-512 with VNNI, AVX2, or the scalar twins, whichever the processor has.
    fn widest() -> Kernels {
        #[cfg(target_arch = "x86_64")]
        if let Some(kernels) = x86::avx512().or_else(x86::avx2) {
            return kernels;
        }
        Kernels::SCALAR
    }
}

/// How codes of one length are laid out and compared, by the fastest kernels this machine runs.
#[derive(Clone, Copy, Debug)]
pub struct CodeDistances {
    layout: Layout,
    shape: Shape,
    factor: f32,
    walk: Many,
    fine: Many,
    of_row: Many,
}

/// What ends the first part of a row, and a probe.
#[derive(Clone, Copy, Debug)]
pub struct CodeTerms {
    step: f32,
    bias: u32,
    sum: i32,
    coarse_step: f32,
}

impl CodeTerms {
    /// The size of a step, the bias, and the sum of all `z`.
    pub fn new(step: f32, bias: f32, sum: i32) -> CodeTerms {
        CodeTerms { step, bias: bias.to_bits(), sum, coarse_step: step }
    }

    /// Of bytes.
    pub fn whole(bias: i32, sum: i32) -> CodeTerms {
        CodeTerms { step: 1.0, bias: bias as u32, sum, coarse_step: 1.0 }
    }

    /// The size of a step for the first part of a split row alone.
    pub fn with_coarse_step(self, coarse_step: f32) -> CodeTerms {
        CodeTerms { coarse_step, ..self }
    }

    fn write(self, bytes: &mut [u8]) {
        let at = bytes.len() - TERMS_BYTES;
        bytes[at..at + 4].copy_from_slice(&self.step.to_le_bytes());
        bytes[at + 4..at + 8].copy_from_slice(&self.bias.to_le_bytes());
        bytes[at + 8..].copy_from_slice(&self.sum.to_le_bytes());
    }

    #[inline]
    fn read(bytes: &[u8]) -> CodeTerms {
        let Some([a, b, c, d, e, f, g, h, i, j, k, l]) = bytes.last_chunk::<TERMS_BYTES>() else {
            unreachable!("what has terms is as long as they are");
        };
        CodeTerms {
            step: f32::from_le_bytes([*a, *b, *c, *d]),
            bias: u32::from_le_bytes([*e, *f, *g, *h]),
            sum: i32::from_le_bytes([*i, *j, *k, *l]),
            coarse_step: 0.0,
        }
    }
}

impl CodeDistances {
    /// For codes of `dim` numbers.
    ///
    /// # Panics
    /// If `dim` is 0.
    pub fn new(bits: CodeBits, dim: usize, factor: f32) -> CodeDistances {
        CodeDistances::with(Layout::of(bits, dim), dim, factor, Kernels::widest())
    }

    /// For vectors of `dim` bytes, whose distances are exact: every step is 1, and `factor` and the biases, which are i32,
    /// are whole numbers.
    ///
    /// # Panics
    /// If `dim` is 0 or above [`WHOLE_DIM_MAX`].
    pub fn whole(dim: usize, factor: f32) -> CodeDistances {
        assert!(dim <= WHOLE_DIM_MAX);
        CodeDistances::with(Layout::Whole, dim, factor, Kernels::widest())
    }

    fn with(layout: Layout, dim: usize, factor: f32, kernels: Kernels) -> CodeDistances {
        assert_ne!(dim, 0);
        let part_bytes = layout.part_bytes(dim);
        let second_bytes = if layout == Layout::Split { dim.div_ceil(2).next_multiple_of(BLOCK) } else { 0 };
        let (walk, fine, of_row) = match layout {
            Layout::Whole => (WHOLE, WHOLE, WHOLE),
            Layout::Eight => (EIGHT, EIGHT, EIGHT),
            Layout::Split => (COARSE, FINE, ROW),
            Layout::Four => (FOUR, FOUR, FOUR),
            Layout::One => (ONE, ONE, ONE),
        };
        CodeDistances {
            layout,
            shape: Shape { dim, part_bytes, row_bytes: part_bytes + second_bytes },
            factor,
            walk: (kernels.of)(walk),
            fine: (kernels.of)(fine),
            of_row: (kernels.of)(of_row),
        }
    }

    /// Whether distances are those of the vectors.
    pub fn is_whole(&self) -> bool {
        self.layout == Layout::Whole
    }

    /// Whether a walk reads a part of a row only.
    pub fn is_split(&self) -> bool {
        self.layout == Layout::Split
    }

    /// Whether a row has 8 bits for each number, as a query has: then it can be one.
    pub fn takes_rows(&self) -> bool {
        !matches!(self.layout, Layout::Four | Layout::One)
    }

    /// How many bits of a row stand for one number.
    pub fn bits(&self) -> CodeBits {
        match self.layout {
            Layout::Whole | Layout::Eight | Layout::Split => CodeBits::Eight,
            Layout::Four => CodeBits::Four,
            Layout::One => CodeBits::One,
        }
    }

    /// Bytes of a row.
    pub fn row_bytes(&self) -> usize {
        self.shape.row_bytes
    }

    /// Bytes of a row that [`CodeDistances::distances`] reads, its first ones.
    pub fn walk_bytes(&self) -> usize {
        self.shape.part_bytes
    }

    fn probe_bytes(&self) -> usize {
        match self.layout {
            // A row may be the probe.
            Layout::Whole | Layout::Eight => self.shape.row_bytes,
            Layout::Split | Layout::Four => 2 * self.shape.dim.div_ceil(2).next_multiple_of(BLOCK) + TERMS_BYTES,
            Layout::One => self.shape.dim.next_multiple_of(BLOCK) + TERMS_BYTES,
        }
    }

    /// Makes a row of whole numbers.
    ///
    /// # Panics
    /// If there are not as many as the codes' `dim`.
    #[inline(always)]
    pub fn write_row(&self, z: &[i8], terms: CodeTerms, row: &mut Vec<u8>) {
        assert_eq!(z.len(), self.shape.dim);
        row.clear();
        row.resize(self.shape.row_bytes, 0);
        let (first, second) = row.split_at_mut(self.shape.part_bytes);
        let (low, high) = z.split_at(z.len().div_ceil(2));
        match self.layout {
            Layout::Whole | Layout::Eight => first.iter_mut().zip(z).for_each(|(code, z)| *code = biased(*z)),
            Layout::Split => {
                first.iter_mut().zip(low).for_each(|(codes, z)| *codes = biased(*z) >> 4);
                first.iter_mut().zip(high).for_each(|(codes, z)| *codes |= biased(*z) & 0xF0);
                second.iter_mut().zip(low).for_each(|(codes, z)| *codes = biased(*z) & 0x0F);
                second.iter_mut().zip(high).for_each(|(codes, z)| *codes |= biased(*z) << 4);
            }
            Layout::Four => {
                first.iter_mut().zip(low).for_each(|(codes, z)| *codes = (z + 8) as u8);
                first.iter_mut().zip(high).for_each(|(codes, z)| *codes |= ((z + 8) as u8) << 4);
            }
            Layout::One => {
                let bits = |z: &[i8]| z.iter().enumerate().map(|(i, z)| u8::from(*z > 0) << i).sum();
                first.iter_mut().zip(z.chunks(8)).for_each(|(codes, z)| *codes = bits(z));
            }
        }
        terms.write(first);
        if self.layout == Layout::Split {
            let at = first.len() - TERMS_BYTES - COARSE_STEP_BYTES;
            first[at..at + COARSE_STEP_BYTES].copy_from_slice(&terms.coarse_step.to_le_bytes());
        }
    }

    /// What a walk takes `z` for: half of the result. In a split row all that have the same upper half are one.
    #[inline(always)]
    pub fn twice_as_walked(&self, z: i8) -> i32 {
        if self.layout == Layout::Split {
            2 * i32::from((biased(z) & 0xF0) as i8 ^ -128) + 15
        } else {
            2 * i32::from(z)
        }
    }

    /// Makes a probe of whole numbers of up to 127.
    ///
    /// # Panics
    /// If there are not as many as the codes' `dim`.
    #[inline(always)]
    pub fn write_probe(&self, z: &[i8], terms: CodeTerms, probe: &mut Vec<u8>) {
        assert_eq!(z.len(), self.shape.dim);
        probe.clear();
        probe.resize(self.probe_bytes(), biased(0));
        let half = z.len().div_ceil(2);
        let is_halved = matches!(self.layout, Layout::Split | Layout::Four);
        let (low, high) = if is_halved { z.split_at(half) } else { (z, [].as_slice()) };
        probe.iter_mut().zip(low).for_each(|(code, z)| *code = biased(*z));
        let high_at = if is_halved { half.next_multiple_of(BLOCK) } else { 0 };
        probe[high_at..].iter_mut().zip(high).for_each(|(code, z)| *code = biased(*z));
        terms.write(probe);
    }

    /// Distances from `probe` to `rows`, of split rows by their first part. What is not a number is infinitely far.
    ///
    /// # Panics
    /// If `out` is not as long as `rows`, or the probe is not as long as one.
    ///
    /// # Safety
    /// From each of `rows` on, [`CodeDistances::row_bytes`] bytes may be read and do not change meanwhile.
    #[inline]
    pub unsafe fn distances(&self, probe: &[u8], rows: &[*const u8], out: &mut [f32]) {
        assert_eq!((rows.len(), probe.len()), (out.len(), self.probe_bytes()));
        let CodeTerms { step, bias, sum, .. } = CodeTerms::read(probe);
        let (step, surplus) = match self.layout {
            Layout::Whole => (1.0, 128 * sum),
            Layout::Eight => (step, 128 * sum),
            // A lower half is 7.5 in the mean; twice the sum is whole.
            Layout::Split => (0.5 * step, (2 * 128 - 15) * sum),
            Layout::Four => (step, 8 * sum),
            Layout::One => (step, sum),
        };
        let own = Own { step: self.factor * step, bias, surplus };
        // SAFETY: the lengths are as asserted, the rows as the caller says, and the processor was looked at.
        unsafe { (self.walk)(probe, own, self.shape, rows, out) }
    }

    /// As [`CodeDistances::distances`], of split rows by all of them.
    ///
    /// # Panics
    /// As there.
    ///
    /// # Safety
    /// As there.
    #[inline]
    pub unsafe fn fine_distances(&self, probe: &[u8], rows: &[*const u8], out: &mut [f32]) {
        if self.layout != Layout::Split {
            // SAFETY: the caller's word.
            return unsafe { self.distances(probe, rows, out) };
        }
        assert_eq!((rows.len(), probe.len()), (out.len(), self.probe_bytes()));
        let CodeTerms { step, bias, sum, .. } = CodeTerms::read(probe);
        let own = Own { step: self.factor * step, bias, surplus: 128 * sum };
        // SAFETY: as in `distances`.
        unsafe { (self.fine)(probe, own, self.shape, rows, out) }
    }

    /// As [`CodeDistances::fine_distances`], from a row.
    ///
    /// # Panics
    /// If `out` is not as long as `rows`, the row is not as long as one, or rows cannot be queries.
    ///
    /// # Safety
    /// As there.
    #[inline]
    pub unsafe fn row_distances(&self, row: &[u8], rows: &[*const u8], out: &mut [f32]) {
        assert_eq!((rows.len(), row.len()), (out.len(), self.shape.row_bytes));
        assert!(self.takes_rows());
        let CodeTerms { step, bias, sum, .. } = CodeTerms::read(&row[..self.shape.part_bytes]);
        let step = if self.is_whole() { 1.0 } else { step };
        let own = Own { step: self.factor * step, bias, surplus: 128 * sum };
        // SAFETY: as in `distances`.
        unsafe { (self.of_row)(row, own, self.shape, rows, out) }
    }
}

impl Layout {
    fn of(bits: CodeBits, dim: usize) -> Layout {
        match bits {
            CodeBits::Eight if dim > WHOLE_DIM_MAX => Layout::Eight,
            // Only if a walk has less to read then.
            CodeBits::Eight if Layout::Split.part_bytes(dim) < Layout::Eight.part_bytes(dim) => Layout::Split,
            CodeBits::Eight => Layout::Eight,
            CodeBits::Four => Layout::Four,
            CodeBits::One => Layout::One,
        }
    }

    /// Whole cache lines, or half of one.
    fn part_bytes(self, dim: usize) -> usize {
        let code_bytes = match self {
            Layout::Whole | Layout::Eight => dim,
            Layout::Split | Layout::Four => dim.div_ceil(2),
            Layout::One => dim.div_ceil(BLOCK) * 8,
        };
        let coarse_step_bytes = if self == Layout::Split { COARSE_STEP_BYTES } else { 0 };
        match code_bytes + coarse_step_bytes + TERMS_BYTES {
            bytes @ ..=BLOCK if matches!(self, Layout::Four | Layout::One) => bytes.next_power_of_two().max(32),
            bytes => bytes.next_multiple_of(BLOCK),
        }
    }
}

/// A whole number as a byte, 0 as 128.
#[inline(always)]
fn biased(z: i8) -> u8 {
    z as u8 ^ 128
}

fn coarse_step(part: &[u8]) -> f32 {
    let at = part.len() - TERMS_BYTES - COARSE_STEP_BYTES;
    f32::from_le_bytes([part[at], part[at + 1], part[at + 2], part[at + 3]])
}

/// # Safety
/// As [`Many`].
unsafe fn scalar<const WHAT: u32>(query: &[u8], own: Own, shape: Shape, rows: &[*const u8], out: &mut [f32]) {
    let half = shape.dim.div_ceil(2);
    let upper = half.next_multiple_of(BLOCK);
    let is_halved = matches!(WHAT, FOUR | COARSE | FINE);
    /// The number at `i` of the halves of bytes.
    fn half_byte(bytes: &[u8], half: usize, i: usize) -> i32 {
        i32::from(if i < half { bytes[i] & 15 } else { bytes[i - half] >> 4 })
    }
    let code = |row: &[u8], i: usize| match WHAT {
        ONE => i32::from(row[i / 8] >> (i % 8) & 1),
        FOUR | COARSE => half_byte(row, half, i),
        FINE | ROW => 16 * half_byte(row, half, i) + half_byte(&row[shape.part_bytes..], half, i),
        _ => i32::from(row[i]),
    };
    let z = |i: usize| match WHAT {
        ROW => code(query, i) - 128,
        _ if is_halved && i >= half => i32::from(query[upper + i - half]) - 128,
        _ => i32::from(query[i]) - 128,
    };
    for (row, out) in rows.iter().zip(out) {
        // SAFETY: the caller's word.
        let row = unsafe { std::slice::from_raw_parts(*row, shape.row_bytes) };
        let sum: i32 = (0..shape.dim).map(|i| code(row, i) * z(i)).sum();
        let product = (sum << shift(WHAT)) - own.surplus;
        let CodeTerms { step, bias, .. } = CodeTerms::read(&row[..shape.part_bytes]);
        let step = if WHAT == COARSE { coarse_step(&row[..shape.part_bytes]) } else { step };
        let distance = if WHAT == WHOLE {
            // What does not fit in between fits at the end.
            let biases = own.bias.wrapping_add(bias) as i32;
            biases.wrapping_add(product.wrapping_mul(own.step as i32)) as f32
        } else {
            (f32::from_bits(own.bias) + f32::from_bits(bias)) + product as f32 * (own.step * step)
        };
        *out = if distance.is_nan() { f32::INFINITY } else { distance };
    }
}

/// By how many bits a kernel's sum is moved before what it has too much is taken off.
const fn shift(what: u32) -> u32 {
    match what {
        // A bit that is set is 2 more than one that is not.
        ONE => 1,
        // An upper half counts 16, and the sum is doubled.
        COARSE => 5,
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const LAYOUTS: [Layout; 4] = [Layout::Eight, Layout::Split, Layout::Four, Layout::One];

    /// Every implementation this machine can run.
    fn implementations(layout: Layout, dim: usize, factor: f32) -> Vec<CodeDistances> {
        let mut all = vec![Kernels::widest(), Kernels::SCALAR];
        #[cfg(target_arch = "x86_64")]
        all.extend([x86::avx512(), x86::avx2()].into_iter().flatten());
        all.into_iter().map(|kernels| CodeDistances::with(layout, dim, factor, kernels)).collect()
    }

    #[derive(Clone, Copy, Debug)]
    enum By {
        Probe,
        FineProbe,
        Row,
    }

    fn distances(kernel: &CodeDistances, by: By, query: &[u8], rows: &[Vec<u8>]) -> Vec<f32> {
        let mut out = vec![0.0; rows.len()];
        assert!(rows.iter().all(|row| row.len() == kernel.row_bytes()));
        let rows: Vec<*const u8> = rows.iter().map(|row| row.as_ptr()).collect();
        // SAFETY: the rows are as long as asserted, and live.
        unsafe {
            match by {
                By::Probe => kernel.distances(query, &rows, &mut out),
                By::FineProbe => kernel.fine_distances(query, &rows, &mut out),
                By::Row => kernel.row_distances(query, &rows, &mut out),
            }
        }
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

    fn sum(z: &[i8]) -> i32 {
        z.iter().map(|z| i32::from(*z)).sum()
    }

    fn product(a: &[i8], b: &[i8]) -> i32 {
        a.iter().zip(b).map(|(a, b)| i32::from(*a) * i32::from(*b)).sum()
    }

    fn row(kernel: &CodeDistances, z: &[i8], (step, bias): (f32, f32)) -> Vec<u8> {
        let mut row = Vec::new();
        kernel.write_row(z, CodeTerms::new(step, bias, sum(z)), &mut row);
        row
    }

    fn probe(kernel: &CodeDistances, z: &[i8], (step, bias): (f32, f32)) -> Vec<u8> {
        let mut probe = Vec::new();
        kernel.write_probe(z, CodeTerms::new(step, bias, sum(z)), &mut probe);
        probe
    }

    proptest! {
        /// All kernels give what the definition gives.
        #[test]
        fn kernels_agree_with_the_definition(dim in 1..400usize, count in 0..11usize, seed: u64) {
            let query = numbers(dim, 127, seed);
            for layout in LAYOUTS {
                for kernel in implementations(layout, dim, -2.0) {
                    let (max, probe) = (kernel.bits().z_max(), probe(&kernel, &query, (0.5, 3.0)));
                    let all: Vec<Vec<i8>> = (0..count as u64).map(|n| numbers(dim, max, seed ^ (n + 1))).collect();
                    let rows: Vec<Vec<u8>> = all.iter().map(|z| row(&kernel, z, (0.25, 7.0))).collect();
                    let distance = |z: &Vec<i8>| 10.0 + product(z, &query) as f32 * (-2.0 * 0.5 * 0.25);
                    let want: Vec<f32> = all.iter().map(distance).collect();
                    let got = |by, query: &[u8]| distances(&kernel, by, query, &rows);
                    prop_assert_eq!(&got(By::FineProbe, &probe), &want, "{:?}", layout);
                    if layout != Layout::Split {
                        prop_assert_eq!(&got(By::Probe, &probe), &want, "{:?}", layout);
                    }
                    if kernel.takes_rows() {
                        prop_assert_eq!(&got(By::Row, &row(&kernel, &query, (0.5, 3.0))), &want, "{:?}", layout);
                    }
                }
            }
        }

        /// By its first part a number of a split row is the middle of the 16 that have the same upper half.
        #[test]
        fn the_first_part_of_a_split_row_is_its_upper_halves(dim in 1..400usize, count in 0..11usize, seed: u64) {
            let query = numbers(dim, 127, seed);
            for kernel in implementations(Layout::Split, dim, 1.0) {
                let all: Vec<Vec<i8>> = (0..count as u64).map(|n| numbers(dim, 127, seed ^ (n + 1))).collect();
                let rows: Vec<Vec<u8>> = all
                    .iter()
                    .map(|z| {
                        let mut row = Vec::new();
                        let terms = CodeTerms::new(9.0, 0.0, sum(z)).with_coarse_step(2.0);
                        kernel.write_row(z, terms, &mut row);
                        row
                    })
                    .collect();
                let twice = |z: &i8| 2 * ((i32::from(*z) + 128) / 16 * 16 - 128) + 15;
                prop_assert!(query.iter().all(|z| twice(z) == kernel.twice_as_walked(*z)));
                let want: Vec<f32> = all
                    .iter()
                    .map(|z| z.iter().zip(&query).map(|(z, q)| twice(z) * i32::from(*q)).sum::<i32>() as f32)
                    .collect();
                prop_assert_eq!(&distances(&kernel, By::Probe, &probe(&kernel, &query, (1.0, 0.0)), &rows), &want);
            }
        }
    }

    #[test]
    fn what_stands_behind_the_codes_of_a_row_takes_no_part() {
        for layout in [Layout::Eight, Layout::Whole] {
            for dim in [1, 50, 51, 52, 53, 64, 65, 784] {
                let z = numbers(dim, 127, 5);
                for kernel in implementations(layout, dim, 1.0) {
                    let mut of = Vec::new();
                    kernel.write_row(&z, CodeTerms { bias: 0, ..CodeTerms::new(1.0, 0.0, sum(&z)) }, &mut of);
                    let terms_at = of.len() - TERMS_BYTES;
                    of[dim..terms_at].fill(77);
                    let want = product(&z, &z) as f32;
                    assert_eq!(distances(&kernel, By::Row, &of, std::slice::from_ref(&of)), [want], "dim {dim}");
                }
            }
        }
    }

    /// The squared distance of bytes is exact, from 0 to the largest there is, in every kernel.
    #[test]
    fn distances_of_bytes_are_whole_numbers() {
        for dim in [1, 52, 53, 784, 1_000, WHOLE_DIM_MAX] {
            let all = [vec![-128; dim], vec![127; dim], numbers(dim, 127, 3), numbers(dim, 127, 4)];
            for kernel in implementations(Layout::Whole, dim, -2.0) {
                let whole = |z: &Vec<i8>| {
                    let mut row = Vec::new();
                    kernel.write_row(z, CodeTerms::whole(product(z, z), sum(z)), &mut row);
                    row
                };
                let rows: Vec<Vec<u8>> = all.iter().map(whole).collect();
                for (z, probe) in all.iter().zip(&rows) {
                    let square = |(a, b): (&i8, &i8)| (i64::from(*a) - i64::from(*b)).pow(2);
                    let want: Vec<f32> =
                        all.iter().map(|of| of.iter().zip(z).map(square).sum::<i64>() as f32).collect();
                    assert_eq!(distances(&kernel, By::Probe, probe, &rows), want, "dim {dim}");
                    assert_eq!(distances(&kernel, By::Row, probe, &rows), want, "dim {dim}");
                }
            }
        }
    }

    #[test]
    fn the_largest_sums_fit_and_what_is_no_number_is_far() {
        for (layout, dim) in
            [(Layout::Eight, 1 << 16), (Layout::Split, WHOLE_DIM_MAX), (Layout::Four, 1 << 16), (Layout::One, 1 << 16)]
        {
            for kernel in implementations(layout, dim, 1.0) {
                let (query, z) = (vec![-127; dim], vec![kernel.bits().z_max(); dim]);
                let terms = [(1.0, 0.0), (f32::NAN, 0.0), (f32::INFINITY, f32::INFINITY)];
                let rows = terms.map(|terms| row(&kernel, &z, terms));
                let probe = probe(&kernel, &query, (1.0, 0.0));
                let want = -127.0 * f32::from(kernel.bits().z_max()) * dim as f32;
                assert_eq!(distances(&kernel, By::FineProbe, &probe, &rows), [want, f32::INFINITY, f32::INFINITY]);
                let coarse = distances(&kernel, By::Probe, &probe, &rows);
                assert!((coarse[0] / want - 1.0).abs() < 0.1, "{layout:?}: {}", coarse[0]);
                assert_eq!(coarse[1..], [f32::INFINITY, f32::INFINITY]);
            }
        }
    }
}
