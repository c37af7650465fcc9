//! The stored form of every value, and its checked decoding.
//!
//! The first byte is the format version. Then, by kind:
//! - point head: version u64 LE, vectors version u64 LE;
//! - payload, position, entry of `kvdb`: the bytes as given;
//! - vector: kind u8 (0 dense), dense: f32 LE each;
//! - log entry, record and node-level entry of `raftdb`: CRC-32 u32 LE over (salt, bytes), then the bytes. The salt is
//!   the log index (u64 LE) of an entry and 0 of everything else, so an entry found at another index is noticed.

use crate::model::{PointVersion, Vector};

/// Written into the first byte of every value; also the version of the database folders.
pub(super) const FORMAT_VERSION: u8 = 1;

const VECTOR_DENSE: u8 = 0;

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
    let values = vector.as_dense().unwrap_or_default();
    let mut out = versioned(1 + values.len() * 4);
    out.push(VECTOR_DENSE);
    for value in values {
        out.extend_from_slice(&value.to_le_bytes());
    }
    out
}

pub(super) fn decode_vector(bytes: &[u8]) -> Result<Vector, Flaw> {
    match checked_version(bytes)?.split_first() {
        Some((&VECTOR_DENSE, rest)) => {
            let (chunks, []) = rest.as_chunks::<4>() else {
                return Err(Flaw::Shape("a dense vector's length is not a multiple of 4"));
            };
            Ok(Vector::Dense(chunks.iter().map(|chunk| f32::from_le_bytes(*chunk)).collect()))
        }
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
        assert_eq!(hex(&encode_vector(&Vector::Dense(vec![1.0, -0.5]))), "01000000803f000000bf");
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
