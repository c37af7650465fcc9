//! Stored Raft records, for `crate::fuzzing`.

#![allow(clippy::unwrap_used, clippy::expect_used)]

use super::Position;
use super::encoding::{
    decode_entry, decode_log_id, decode_position, decode_vote, encode_entry, encode_log_id, encode_position,
    encode_vote,
};
use crate::storage::LogRecord;

/// Reads bytes as every kind of record. What could be read is what it is written as.
pub fn records(bytes: &[u8]) {
    if let Ok(vote) = decode_vote(bytes) {
        assert_eq!(encode_vote(&vote), bytes);
    }
    if let Ok(log_id) = decode_log_id(bytes) {
        assert_eq!(encode_log_id(&log_id), bytes);
    }
    // Numbers in memberships may have been written longer than they need be: compared after one more turn.
    if let Ok(entry) = decode_entry(LogRecord { index: 3, bytes: bytes.to_vec() }) {
        let record = encode_entry(&entry).unwrap();
        assert_eq!(decode_entry(LogRecord { index: 3, bytes: record.bytes }).unwrap(), entry);
    }
    if let Ok((applied, members)) = decode_position(&Position(bytes.to_vec())) {
        let written = encode_position(applied.as_ref(), &members).unwrap();
        assert_eq!(decode_position(&written).unwrap(), (applied, members));
    }
}
