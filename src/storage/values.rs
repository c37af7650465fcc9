//! The stored form of every value, and its checked decoding.
//!
//! The first byte is the format version. Then, by kind:
//! - point head: version u64 LE, vectors version u64 LE;
//! - payload, position, entry of `kvdb`: the bytes as given;
//! - vector: kind u8, its low half the shape and its high half the form of the numbers, then by shape: dense (0): the
//!   numbers; sparse (1): count u32 LE, indices u32 LE each, the numbers; multi (2): numbers per row u32 LE, the numbers.
//!   A number is f32 LE (0), f16 LE (1) or u8 (2): the shortest form that gives every number back bit for bit, which is
//!   how vectors of the datatypes float16 and uint8 come to take less room;
//! - log entry, record and node-level entry of `raftdb`: CRC-32 u32 LE over (salt, bytes), then the bytes. The salt is
//!   the log index (u64 LE) of an entry and 0 of everything else, so an entry found at another index is noticed.

use half::f16;

use crate::model::{MultiVector, PointVersion, SparseVector, Vector};

/// Written into the first byte of every value; also the version of the database folders.
pub(super) const FORMAT_VERSION: u8 = 1;

const SHAPE_DENSE: u8 = 0;
const SHAPE_SPARSE: u8 = 1;
const SHAPE_MULTI: u8 = 2;
const SHAPE_MASK: u8 = 0x0F;
const FORM_F32: u8 = 0 << 4;
const FORM_F16: u8 = 1 << 4;
const FORM_U8: u8 = 2 << 4;

/// Format version and checksum.
const SEAL_LEN: usize = 1 + 4;

/// What is kept about a point beside its payload and vectors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PointHead {
    /// Log index of the last change of the point.
    pub version: PointVersion,
    /// Log index of the last change of any of its vectors.
    pub vectors_version: PointVersion,
}

/// Why stored bytes are not a value.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Flaw {
    /// Written by a newer program.
    Version(u8),
    /// Not what any program wrote.
    Shape(&'static str),
}

fn versioned(capacity: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(1 + capacity);
    out.push(FORMAT_VERSION);
    out
}

fn checked_version(bytes: &[u8]) -> Result<&[u8], Flaw> {
    match bytes.split_first() {
        Some((&FORMAT_VERSION, rest)) => Ok(rest),
        Some((&found, _)) if found > FORMAT_VERSION => Err(Flaw::Version(found)),
        Some(_) => Err(Flaw::Shape("the format version is 0")),
        None => Err(Flaw::Shape("the value is empty")),
    }
}

pub(super) fn encode_head(head: &PointHead) -> Vec<u8> {
    let mut out = versioned(16);
    out.extend_from_slice(&head.version.to_le_bytes());
    out.extend_from_slice(&head.vectors_version.to_le_bytes());
    out
}

pub(super) fn decode_head(bytes: &[u8]) -> Result<PointHead, Flaw> {
    let flaw = Flaw::Shape("a point head has not 17 bytes");
    let (version, rest) = checked_version(bytes)?.split_first_chunk().ok_or(flaw)?;
    let vectors_version = rest.try_into().map_err(|_| flaw)?;
    Ok(PointHead { version: u64::from_le_bytes(*version), vectors_version: u64::from_le_bytes(vectors_version) })
}

pub(super) fn encode_bytes(bytes: &[u8]) -> Vec<u8> {
    let mut out = versioned(bytes.len());
    out.extend_from_slice(bytes);
    out
}

pub(super) fn decode_bytes(bytes: &[u8]) -> Result<&[u8], Flaw> {
    checked_version(bytes)
}

pub(super) fn encode_vector(vector: &Vector) -> Vec<u8> {
    let (shape, values, indices) = match vector {
        Vector::Dense(values) => (SHAPE_DENSE, values.as_slice(), [].as_slice()),
        Vector::Sparse(sparse) => (SHAPE_SPARSE, sparse.values(), sparse.indices()),
        Vector::Multi(multi) => (SHAPE_MULTI, multi.values(), [].as_slice()),
    };
    let form = shortest_form(values);
    let mut out = versioned(1 + 4 + (indices.len() + values.len()) * 4);
    out.push(shape | form);
    match vector {
        Vector::Dense(_) => {}
        // Lengths are bounded by the size of a request.
        Vector::Sparse(sparse) => out.extend_from_slice(&(sparse.len() as u32).to_le_bytes()),
        Vector::Multi(multi) => out.extend_from_slice(&(multi.dim() as u32).to_le_bytes()),
    }
    indices.iter().for_each(|index| out.extend_from_slice(&index.to_le_bytes()));
    match form {
        FORM_U8 => out.extend(values.iter().map(|value| *value as u8)),
        FORM_F16 => values.iter().for_each(|value| out.extend_from_slice(&f16::from_f32(*value).to_le_bytes())),
        _ => values.iter().for_each(|value| out.extend_from_slice(&value.to_le_bytes())),
    }
    out
}

/// Usually decided by the first number.
fn shortest_form(values: &[f32]) -> u8 {
    let is_u8 = |value: &f32| f32::from(*value as u8).to_bits() == value.to_bits();
    let is_f16 = |value: &f32| f16::from_f32(*value).to_f32().to_bits() == value.to_bits();
    match () {
        () if values.iter().all(is_u8) => FORM_U8,
        () if values.iter().all(is_f16) => FORM_F16,
        () => FORM_F32,
    }
}

pub(super) fn decode_vector(bytes: &[u8]) -> Result<Vector, Flaw> {
    let short = Flaw::Shape("a vector that is too short");
    let (&kind, rest) = checked_version(bytes)?.split_first().ok_or(short)?;
    let form = kind & !SHAPE_MASK;
    match kind & SHAPE_MASK {
        SHAPE_DENSE => Ok(Vector::Dense(decode_values(form, rest)?)),
        SHAPE_SPARSE => {
            let (count, rest) = rest.split_first_chunk().ok_or(short)?;
            let indices_len = (u32::from_le_bytes(*count) as usize).checked_mul(4).ok_or(short)?;
            let (indices, values) = rest.split_at_checked(indices_len).ok_or(short)?;
            let (indices, _) = indices.as_chunks::<4>();
            let values = decode_values(form, values)?;
            if indices.len() != values.len() {
                return Err(Flaw::Shape("a sparse vector with unequally many indices and values"));
            }
            let entries = indices.iter().map(|index| u32::from_le_bytes(*index)).zip(values).collect();
            SparseVector::new(entries).map(Vector::Sparse).ok_or(Flaw::Shape("a sparse vector with an index twice"))
        }
        SHAPE_MULTI => {
            let (dim, values) = rest.split_first_chunk().ok_or(short)?;
            let multi = MultiVector::new(u32::from_le_bytes(*dim) as usize, decode_values(form, values)?);
            multi.map(Vector::Multi).ok_or(Flaw::Shape("a multivector without whole rows"))
        }
        _ => Err(Flaw::Shape("a vector of unknown kind")),
    }
}

fn decode_values(form: u8, bytes: &[u8]) -> Result<Vec<f32>, Flaw> {
    let uneven = Flaw::Shape("a vector with a part of a number");
    match form {
        FORM_F32 => match bytes.as_chunks() {
            (chunks, []) => Ok(chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()),
            _ => Err(uneven),
        },
        FORM_F16 => match bytes.as_chunks() {
            (chunks, []) => Ok(chunks.iter().map(|chunk| f16::from_le_bytes(*chunk).to_f32()).collect()),
            _ => Err(uneven),
        },
        FORM_U8 => Ok(bytes.iter().map(|value| f32::from(*value)).collect()),
        _ => Err(Flaw::Shape("a vector of unknown kind")),
    }
}

fn crc(salt: u64, bytes: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&salt.to_le_bytes());
    hasher.update(bytes);
    hasher.finalize()
}

pub(super) fn encode_sealed(salt: u64, bytes: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(SEAL_LEN + bytes.len());
    out.push(FORMAT_VERSION);
    out.extend_from_slice(&crc(salt, bytes).to_le_bytes());
    out.extend_from_slice(bytes);
    out
}

pub(super) fn decode_sealed(salt: u64, bytes: &[u8]) -> Result<&[u8], Flaw> {
    let Some((want, rest)) = checked_version(bytes)?.split_first_chunk() else {
        return Err(Flaw::Shape("the value is too short for its checksum"));
    };
    if crc(salt, rest) == u32::from_le_bytes(*want) { Ok(rest) } else { Err(Flaw::Shape("the checksum differs")) }
}

/// Length of the bytes in a sealed value, without checking them.
pub(super) fn sealed_len(stored: &[u8]) -> u64 {
    stored.len().saturating_sub(SEAL_LEN) as u64
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    #[test]
    fn golden_values() {
        let head = PointHead { version: 258, vectors_version: 7 };
        assert_eq!(hex(&encode_head(&head)), "0102010000000000000700000000000000");
        assert_eq!(hex(&encode_bytes(b"{}")), "017b7d");
        let vector = |vector| hex(&encode_vector(&vector));
        assert_eq!(vector(Vector::Dense(vec![1.0, -0.1])), "01000000803fcdccccbd");
        assert_eq!(vector(Vector::Dense(vec![1.0, -0.5])), "0110003c00b8");
        assert_eq!(vector(Vector::Dense(vec![0.0, 255.0])), "012000ff");
        let sparse = |entries: &[(u32, f32)]| Vector::Sparse(SparseVector::new(entries.to_vec()).unwrap());
        assert_eq!(vector(sparse(&[])), "012100000000");
        assert_eq!(vector(sparse(&[(258, 7.0), (1, 0.0)])), "01210200000001000000020100000007");
        assert_eq!(vector(sparse(&[(2, 0.1)])), "01010100000002000000cdcccc3d");
        assert_eq!(vector(sparse(&[(2, -1.0)])), "0111010000000200000000bc");
        let multi = |values: &[f32]| Vector::Multi(MultiVector::new(2, values.to_vec()).unwrap());
        assert_eq!(vector(multi(&[1.0, 0.1])), "0102020000000000803fcdcccc3d");
        assert_eq!(vector(multi(&[1.0, 2.5, 0.0, -0.0])), "011202000000003c004100000080");
        assert_eq!(vector(multi(&[1.0, 2.0])), "0122020000000102");
        // CRC-32 (IEEE) of 0700000000000000 6869.
        assert_eq!(hex(&encode_sealed(7, b"hi")), format!("01{}6869", hex(&crc(7, b"hi").to_le_bytes())));
        assert_eq!(crc(7, b"hi"), crc32fast::hash(b"\x07\0\0\0\0\0\0\0hi"));
    }

    #[test]
    fn newer_and_zero_versions_are_told_apart() {
        assert_eq!(decode_head(&[2, 0]), Err(Flaw::Version(2)));
        assert_eq!(decode_bytes(&[0]), Err(Flaw::Shape("the format version is 0")));
        assert_eq!(decode_bytes(&[]), Err(Flaw::Shape("the value is empty")));
        assert_eq!(decode_vector(&[1, 9]), Err(Flaw::Shape("a vector of unknown kind")));
        assert_eq!(decode_vector(&[1, 0x30]), Err(Flaw::Shape("a vector of unknown kind")));
    }

    proptest! {
        #[test]
        fn values_come_back(version: u64, vectors_version: u64, bytes: Vec<u8>, values: Vec<f32>, salt: u64) {
            let head = PointHead { version, vectors_version };
            prop_assert_eq!(decode_head(&encode_head(&head)), Ok(head));
            let (plain, sealed) = (encode_bytes(&bytes), encode_sealed(salt, &bytes));
            prop_assert_eq!(decode_bytes(&plain), Ok(&bytes[..]));
            prop_assert_eq!(decode_sealed(salt, &sealed), Ok(&bytes[..]));
            let Ok(Vector::Dense(back)) = decode_vector(&encode_vector(&Vector::Dense(values.clone()))) else {
                return Err(TestCaseError::fail("not dense"));
            };
            prop_assert!(back.iter().map(|x| x.to_bits()).eq(values.iter().map(|x| x.to_bits())));
        }

        #[test]
        fn vectors_of_all_shapes_and_precisions_come_back(
            values in prop::collection::vec(-300.0..300.0f32, 2..20),
            precision in 0..3u8,
            dim in 1..4usize,
        ) {
            let rounded = values.into_iter().map(|value| match precision {
                0 => value,
                1 => f16::from_f32(value).to_f32(),
                _ => f32::from(value as u8),
            });
            let values: Vec<f32> = rounded.collect();
            let entries = values.iter().enumerate().map(|(i, value)| (u32::MAX - i as u32 * 7, *value)).collect();
            let rows = values[..values.len() / dim * dim].to_vec();
            let vectors = [
                Some(Vector::Dense(values)),
                SparseVector::new(entries).map(Vector::Sparse),
                MultiVector::new(dim, rows).map(Vector::Multi),
            ];
            for vector in vectors.into_iter().flatten() {
                let stored = encode_vector(&vector);
                prop_assert_eq!(decode_vector(&stored), Ok(vector));
                for cut in 0..stored.len() {
                    let _ = decode_vector(&stored[..cut]);
                }
            }
        }

        #[test]
        fn any_flipped_bit_of_a_sealed_value_is_noticed(bytes: Vec<u8>, salt: u64, at: usize, bit in 0..8u32) {
            let mut stored = encode_sealed(salt, &bytes);
            let at = at % stored.len();
            stored[at] ^= 1 << bit;
            prop_assert!(decode_sealed(salt, &stored).is_err());
            prop_assert!(decode_sealed(salt ^ 1, &encode_sealed(salt, &bytes)).is_err());
        }

        #[test]
        fn damaged_values_are_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = (decode_head(&bytes), decode_bytes(&bytes), decode_vector(&bytes), decode_sealed(1, &bytes));
        }
    }
}
