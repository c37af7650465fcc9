//! NumPy's `.npy`: a magic word, a version, a header that is a Python dict, the numbers.

use super::FileError;
use super::matrix::{Element, Raw};

const MAGIC: &[u8] = b"\x93NUMPY";

pub(super) fn parse(bytes: Vec<u8>) -> Result<Raw, FileError> {
    let (header, start) = header(&bytes)?;
    let element = element(quoted(after(header, "descr")?).ok_or(FileError::Header("type"))?)?;
    if !after(header, "fortran_order")?.starts_with("False") {
        return Err(FileError::FortranOrder);
    }
    let shape = shape(after(header, "shape")?).ok_or(FileError::Header("shape"))?;
    Raw::new(&shape, element, bytes, start)
}

/// The header's text, and where the numbers begin.
fn header(bytes: &[u8]) -> Result<(&str, usize), FileError> {
    let rest = bytes.strip_prefix(MAGIC).ok_or(FileError::NotNpy)?;
    let (version, rest) = rest.split_first_chunk::<2>().ok_or(FileError::Truncated)?;
    let (length, rest) = match version[0] {
        1 => {
            let (length, rest) = rest.split_first_chunk().ok_or(FileError::Truncated)?;
            (u32::from(u16::from_le_bytes(*length)), rest)
        }
        2 | 3 => {
            let (length, rest) = rest.split_first_chunk().ok_or(FileError::Truncated)?;
            (u32::from_le_bytes(*length), rest)
        }
        _ => return Err(FileError::NotNpy),
    };
    let (header, numbers) = rest.split_at_checked(length as usize).ok_or(FileError::Truncated)?;
    let header = std::str::from_utf8(header).map_err(|_| FileError::NotNpy)?;
    Ok((header, bytes.len() - numbers.len()))
}

/// What follows `'key':` in the header.
fn after<'a>(header: &'a str, key: &'static str) -> Result<&'a str, FileError> {
    let (_, behind) = header.split_once(&format!("'{key}'")).ok_or(FileError::Header(key))?;
    let behind = behind.trim_start().strip_prefix(':').ok_or(FileError::Header(key))?;
    Ok(behind.trim_start())
}

fn quoted(text: &str) -> Option<&str> {
    text.strip_prefix('\'')?.split_once('\'').map(|(inside, _)| inside)
}

fn element(descr: &str) -> Result<Element, FileError> {
    match descr {
        "|u1" | "<u1" => Ok(Element::U8),
        "<i4" => Ok(Element::I32),
        "<u4" => Ok(Element::U32),
        "<i8" => Ok(Element::I64),
        "<u8" => Ok(Element::U64),
        "<f2" => Ok(Element::F16),
        "<f4" => Ok(Element::F32),
        "<f8" => Ok(Element::F64),
        other => Err(FileError::ElementType(other.to_owned())),
    }
}

fn shape(text: &str) -> Option<Vec<usize>> {
    let (inside, _) = text.strip_prefix('(')?.split_once(')')?;
    inside.split(',').map(str::trim).filter(|number| !number.is_empty()).map(|number| number.parse().ok()).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// As NumPy writes it: the header is padded so that the numbers begin at a multiple of 64.
    fn written(version: u8, dict: &str, numbers: &[u8]) -> Vec<u8> {
        let length_bytes = if version == 1 { 2 } else { 4 };
        let head = MAGIC.len() + 2 + length_bytes;
        let padding = (64 - (head + dict.len() + 1) % 64) % 64;
        let dict = format!("{dict}{}\n", " ".repeat(padding));
        let length = u32::try_from(dict.len()).unwrap().to_le_bytes();
        [MAGIC, &[version, 0], &length[..length_bytes], dict.as_bytes(), numbers].concat()
    }

    fn dict(descr: &str, shape: &str) -> String {
        format!("{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}")
    }

    fn floats(bytes: Vec<u8>) -> Vec<Vec<f32>> {
        parse(bytes).unwrap().floats().rows().map(<[f32]>::to_vec).collect()
    }

    fn check_refused(bytes: Vec<u8>, want: &str) {
        let refused = parse(bytes).err().map(|error| error.to_string());
        assert_eq!(refused.as_deref(), Some(want));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(
            version in 1_u8..=3,
            rows in proptest::collection::vec(proptest::array::uniform5(any::<f32>()), 1..20),
        ) {
            let numbers: Vec<u8> = rows.iter().flatten().flat_map(|number| number.to_le_bytes()).collect();
            let read = floats(written(version, &dict("<f4", &format!("({}, 5)", rows.len())), &numbers));
            let bits = |rows: &[f32]| rows.iter().map(|number| number.to_bits()).collect::<Vec<_>>();
            prop_assert_eq!(read.len(), rows.len());
            for (read, wrote) in read.iter().zip(&rows) {
                prop_assert_eq!(bits(read), bits(wrote));
            }
        }

        #[test]
        fn no_bytes_break_it(bytes in proptest::collection::vec(any::<u8>(), 0..200), cut in 0_usize..200) {
            let _ = parse(bytes.clone());
            let _ = parse([MAGIC, &[1, 0], &bytes].concat());
            let mut whole = written(1, &dict("<f4", "(2, 3)"), &[0; 24]);
            whole.truncate(cut);
            prop_assert!(cut >= 152 || parse(whole).is_err());
        }
    }

    #[test]
    fn every_type_is_converted() {
        let check = |descr: &str, number: &[u8], want: f32| {
            assert_eq!(floats(written(1, &dict(descr, "(1,)"), number)), [[want]], "{descr}");
        };
        check("|u1", &[200], 200.0);
        check("<i4", &(-7_i32).to_le_bytes(), -7.0);
        check("<u4", &7_u32.to_le_bytes(), 7.0);
        check("<i8", &(-7_i64).to_le_bytes(), -7.0);
        check("<u8", &7_u64.to_le_bytes(), 7.0);
        check("<f2", &half::f16::from_f32(0.5).to_le_bytes(), 0.5);
        check("<f4", &0.1_f32.to_le_bytes(), 0.1);
        check("<f8", &0.5_f64.to_le_bytes(), 0.5);
    }

    #[test]
    fn neighbors_are_integers() {
        let read = |descr: &str, number: &[u8]| parse(written(1, &dict(descr, "(1, 1)"), number)).unwrap().integers();
        assert_eq!(read("<i8", &(-1_i64).to_le_bytes()).unwrap().row(0), [-1]);
        assert_eq!(read("<u4", &u32::MAX.to_le_bytes()).unwrap().row(0), [i64::from(u32::MAX)]);
        assert!(read("<u8", &u64::MAX.to_le_bytes()).is_err());
        assert!(read("<f4", &1_f32.to_le_bytes()).is_err());
    }

    #[test]
    fn what_cannot_be_read_is_said() {
        check_refused(b"PK\x03\x04".to_vec(), "not a .npy file of version 1, 2 or 3");
        check_refused(written(9, &dict("<f4", "(1, 1)"), &[0; 4]), "not a .npy file of version 1, 2 or 3");
        check_refused(written(1, &dict(">f4", "(1, 1)"), &[0; 4]), "numbers of type >f4 cannot be read");
        check_refused(written(1, &dict("<f4", "(1, 1, 1)"), &[0; 4]), "it has 3 dimensions; 1 or 2 are wanted");
        check_refused(written(1, &dict("<f4", "()"), &[0; 4]), "it has 0 dimensions; 1 or 2 are wanted");
        check_refused(written(1, &dict("<f4", "(0, 4)"), &[]), "it holds no numbers");
        check_refused(
            written(1, "{'descr': '<f4', 'fortran_order': True, 'shape': (1, 1), }", &[0; 4]),
            "its numbers are in Fortran order; save it in C order",
        );
        check_refused(
            written(1, "{'descr': [('a', '<f4')], 'fortran_order': False, 'shape': (1,), }", &[0; 4]),
            "its header does not say its type",
        );
    }

    #[test]
    fn a_header_that_claims_more_than_there_is_is_refused_before_anything_is_allocated() {
        let huge = usize::MAX;
        check_refused(
            written(1, &dict("<f4", &format!("({huge}, {huge})")), &[0; 4]),
            &format!("its {huge} rows of {huge} numbers do not take 4 bytes"),
        );
        check_refused(written(1, &dict("<f4", "(2, 1)"), &[0; 4]), "its 2 rows of 1 numbers do not take 4 bytes");
        check_refused(
            written(1, &dict("<f4", "(99999999999999999999, 1)"), &[0; 4]),
            "its header does not say its shape",
        );
        check_refused([MAGIC, &[2, 0], &u32::MAX.to_le_bytes(), b"{}"].concat(), "it ends within its header");
    }
}
