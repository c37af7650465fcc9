//! `.fvecs`, `.bvecs`, `.ivecs`: per row its length as a 32-bit integer, then its numbers.

use super::FileError;
use super::matrix::{Element, Raw};

pub(super) fn parse(bytes: &[u8], element: Element) -> Result<Raw, FileError> {
    let want = claimed(bytes).ok_or(FileError::Truncated)?;
    let width = usize::try_from(want).map_err(|_| FileError::Empty)?;
    let row_bytes = size_of::<i32>() + width * element.size_bytes();
    if !bytes.len().is_multiple_of(row_bytes) {
        return Err(FileError::Length { rows: bytes.len().div_ceil(row_bytes), width, got: bytes.len() });
    }
    let mut numbers = Vec::with_capacity(bytes.len());
    for (row, chunk) in bytes.chunks_exact(row_bytes).enumerate() {
        match claimed(chunk) {
            Some(got) if got != want => return Err(FileError::Row { row, got, want }),
            _ => numbers.extend_from_slice(&chunk[size_of::<i32>()..]),
        }
    }
    Raw::new(&[bytes.len() / row_bytes, width], element, numbers, 0)
}

fn claimed(bytes: &[u8]) -> Option<i32> {
    bytes.first_chunk().map(|four| i32::from_le_bytes(*four))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(claims: i32, numbers: &[f32]) -> Vec<u8> {
        let numbers = numbers.iter().flat_map(|number| number.to_le_bytes());
        claims.to_le_bytes().into_iter().chain(numbers).collect()
    }

    fn check_refused(bytes: &[u8], want: &str) {
        assert_eq!(parse(bytes, Element::F32).err().map(|error| error.to_string()).as_deref(), Some(want));
    }

    #[test]
    fn rows_are_read() {
        let bytes = [row(2, &[1.0, 2.0]), row(2, &[3.0, 4.0])].concat();
        let read = parse(&bytes, Element::F32).unwrap().floats();
        assert_eq!(read.rows().collect::<Vec<_>>(), [[1.0, 2.0], [3.0, 4.0]]);
        let bytes = [3, 0, 0, 0, 7, 8, 9];
        assert_eq!(parse(&bytes, Element::U8).unwrap().floats().row(0), [7.0, 8.0, 9.0]);
        let ids = [1, 0, 0, 0, 255, 255, 255, 255];
        assert_eq!(parse(&ids, Element::I32).unwrap().integers().unwrap().row(0), [-1]);
    }

    #[test]
    fn what_is_cut_or_lies_is_refused() {
        check_refused(&[], "it ends within its header");
        check_refused(&[1, 0], "it ends within its header");
        check_refused(&row(2, &[1.0]), "its 1 rows of 2 numbers do not take 8 bytes");
        check_refused(&row(i32::MAX, &[1.0]), "its 1 rows of 2147483647 numbers do not take 8 bytes");
        check_refused(&row(0, &[]), "it holds no numbers");
        check_refused(&row(-1, &[1.0]), "it holds no numbers");
        let bytes = [row(1, &[1.0]), row(2, &[1.0])].concat();
        check_refused(&bytes, "row 1 claims 2 numbers, row 0 has 1");
    }
}
