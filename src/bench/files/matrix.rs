//! Rows of numbers, as they lie in a file and as they are used.

use half::f16;

use super::FileError;

/// At least one row, each of the same number of numbers, at least one.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::bench) struct Matrix<T> {
    width: usize,
    values: Vec<T>,
}

impl<T> Matrix<T> {
    /// Numbers per row.
    pub(in crate::bench) fn width(&self) -> usize {
        self.width
    }

    pub(in crate::bench) fn row_count(&self) -> usize {
        self.values.len() / self.width
    }

    pub(in crate::bench) fn rows(&self) -> impl ExactSizeIterator<Item = &[T]> {
        self.values.chunks_exact(self.width)
    }

    pub(in crate::bench) fn row(&self, row: usize) -> &[T] {
        &self.values[row * self.width..(row + 1) * self.width]
    }

    /// Panics unless `values` are whole rows, at least one: for numbers that were made, not read.
    pub(in crate::bench) fn new(width: usize, values: Vec<T>) -> Matrix<T> {
        assert!(width > 0 && !values.is_empty() && values.len().is_multiple_of(width), "{} of {width}", values.len());
        Matrix { width, values }
    }
}

/// A type of numbers, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Element {
    U8,
    I32,
    U32,
    I64,
    U64,
    F16,
    F32,
    F64,
}

impl Element {
    pub(super) fn size_bytes(self) -> usize {
        match self {
            Element::U8 => 1,
            Element::F16 => 2,
            Element::I32 | Element::U32 | Element::F32 => 4,
            Element::I64 | Element::U64 | Element::F64 => 8,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Element::U8 => "uint8",
            Element::I32 => "int32",
            Element::U32 => "uint32",
            Element::I64 => "int64",
            Element::U64 => "uint64",
            Element::F16 => "float16",
            Element::F32 => "float32",
            Element::F64 => "float64",
        }
    }
}

/// The numbers of a file, unconverted. The bytes behind `start` are exactly `rows * width` elements.
pub(super) struct Raw {
    width: usize,
    element: Element,
    bytes: Vec<u8>,
    start: usize,
}

impl Raw {
    /// Numbers lie in `bytes` from `start` on, which is not behind their end.
    pub(super) fn new(shape: &[usize], element: Element, bytes: Vec<u8>, start: usize) -> Result<Raw, FileError> {
        let (rows, width) = match *shape {
            [rows] => (rows, 1),
            [rows, width] => (rows, width),
            _ => return Err(FileError::Rank(shape.len())),
        };
        if rows == 0 || width == 0 {
            return Err(FileError::Empty);
        }
        let got = bytes.len() - start;
        let want = rows.checked_mul(width).and_then(|count| count.checked_mul(element.size_bytes()));
        if want != Some(got) {
            return Err(FileError::Length { rows, width, got });
        }
        Ok(Raw { width, element, bytes, start })
    }

    pub(super) fn floats(&self) -> Matrix<f32> {
        let bytes = &self.bytes[self.start..];
        let values = match self.element {
            Element::U8 => bytes.iter().map(|byte| f32::from(*byte)).collect(),
            Element::I32 => each(bytes, |four| i32::from_le_bytes(four) as f32),
            Element::U32 => each(bytes, |four| u32::from_le_bytes(four) as f32),
            Element::I64 => each(bytes, |eight| i64::from_le_bytes(eight) as f32),
            Element::U64 => each(bytes, |eight| u64::from_le_bytes(eight) as f32),
            Element::F16 => each(bytes, |two| f16::from_le_bytes(two).to_f32()),
            Element::F32 => each(bytes, f32::from_le_bytes),
            Element::F64 => each(bytes, |eight| f64::from_le_bytes(eight) as f32),
        };
        Matrix { width: self.width, values }
    }

    pub(super) fn integers(&self) -> Result<Matrix<i64>, FileError> {
        let bytes = &self.bytes[self.start..];
        let values = match self.element {
            Element::U8 => bytes.iter().map(|byte| i64::from(*byte)).collect(),
            Element::I32 => each(bytes, |four| i64::from(i32::from_le_bytes(four))),
            Element::U32 => each(bytes, |four| i64::from(u32::from_le_bytes(four))),
            Element::I64 => each(bytes, i64::from_le_bytes),
            Element::U64 => each(bytes, u64::from_le_bytes)
                .into_iter()
                .map(|id| i64::try_from(id).map_err(|_| FileError::IdTooLarge(id)))
                .collect::<Result<_, _>>()?,
            Element::F16 | Element::F32 | Element::F64 => return Err(FileError::NotIntegers(self.element.name())),
        };
        Ok(Matrix { width: self.width, values })
    }
}

fn each<const N: usize, T>(bytes: &[u8], number: impl Fn([u8; N]) -> T) -> Vec<T> {
    bytes.as_chunks::<N>().0.iter().map(|chunk| number(*chunk)).collect()
}
