//! Stored values, for `crate::fuzzing`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::{keys, values};

/// Reads bytes as every kind of value and of key. What could be read is what it is written as.
pub fn values(bytes: &[u8]) {
    if let Ok(head) = values::decode_head(bytes) {
        assert_eq!(values::encode_head(&head), bytes);
    }
    if let Ok(inner) = values::decode_bytes(bytes) {
        assert_eq!(values::encode_bytes(inner), bytes);
    }
    if let Ok(vector) = values::decode_vector(bytes) {
        // In the shortest form, which these bytes need not be in.
        let written = values::encode_vector(&vector);
        assert!(written.len() <= bytes.len(), "the shortest form is no longer than another");
        assert_eq!(values::encode_vector(&values::decode_vector(&written).unwrap()), written);
    }
    if let Ok(inner) = values::decode_sealed(7, bytes) {
        assert_eq!(values::encode_sealed(7, inner), bytes);
    }
    let _ = (keys::point_from_key(bytes), keys::vector_from_key(bytes), keys::log_entry_from_key(bytes));
    let _ = (keys::log_record_from_key(bytes), keys::name_from_shard_entry_key(bytes));
    let _ = keys::shard_from_position_key(bytes);
}
