//! Identifiers. `PointId` is what users write; `Slot` is a dense place inside one shard's index.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use siphasher::sip::SipHasher24;
use std::hash::Hasher;
use uuid::Uuid;

/// A user's id of a point: an unsigned integer or a UUID.
///
/// The derived order is the protocol's total order: all numbers before all UUIDs, numbers by value, UUIDs by their
/// 16 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum PointId {
    /// 0 to 2^64 - 1.
    Num(u64),
    /// Printed lowercase and hyphenated.
    Uuid(Uuid),
}

/// The text is neither an unsigned integer nor a UUID.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither an unsigned integer nor a UUID")]
pub struct PointIdError(pub String);

/// Hash slots ids are spread over; shards own ranges of them.
pub const HASH_SLOT_COUNT: u64 = 16_384;

impl PointId {
    /// The UUID forms the protocol accepts: hyphenated, 32 hex digits, braced, `urn:uuid:`; any case.
    pub fn from_uuid_text(text: &str) -> Result<PointId, PointIdError> {
        Uuid::parse_str(text).map(PointId::Uuid).map_err(|_| PointIdError(text.to_owned()))
    }

    /// SipHash-2-4 with a zero key over the id's bytes: 8 little-endian bytes of a number, the 16 bytes of a UUID.
    ///
    /// Stable for ever: routing and the protocol's `slice` condition both stand on it.
    pub fn stable_hash(&self) -> u64 {
        let mut hasher = SipHasher24::new();
        match self {
            PointId::Num(num) => hasher.write(&num.to_le_bytes()),
            PointId::Uuid(uuid) => hasher.write(uuid.as_bytes()),
        }
        hasher.finish()
    }

    /// The hash slot of this id, 0 to `HASH_SLOT_COUNT - 1`.
    pub fn hash_slot(&self) -> u64 {
        self.stable_hash() % HASH_SLOT_COUNT
    }
}

/// Which of `count` ranges of nearly equal length a hash slot is in; 0 without ranges.
///
/// The ranges are contiguous and their lengths differ by one at most, so that splitting or merging neighbouring ones moves
/// no other id.
pub fn range_of_slot(hash_slot: u64, count: usize) -> usize {
    // At most 16,383 times the count of shards, which is a u32: no overflow.
    (hash_slot * count as u64 / HASH_SLOT_COUNT) as usize
}

/// One of the ranges that the hash slots are cut into.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotRange {
    /// From 0.
    pub number: u32,
    /// How many there are.
    pub count: u32,
}

impl SlotRange {
    /// Whether the range holds this id's hash slot.
    pub fn owns(&self, id: PointId) -> bool {
        range_of_slot(id.hash_slot(), self.count as usize) == self.number as usize
    }

    /// Whether any hash slot is in both.
    pub fn overlaps(&self, other: &SlotRange) -> bool {
        let (own, others) = (self.slots(), other.slots());
        own.start.max(others.start) < own.end.min(others.end)
    }

    fn slots(&self) -> std::ops::Range<u64> {
        let start = |number: u32| (u64::from(number) * HASH_SLOT_COUNT).div_ceil(u64::from(self.count.max(1)));
        start(self.number)..start(self.number.saturating_add(1)).min(HASH_SLOT_COUNT)
    }
}

impl FromStr for PointId {
    type Err = PointIdError;

    /// As in a request path: tried as a number first, then as a UUID.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.parse::<u64>() {
            Ok(num) => Ok(PointId::Num(num)),
            Err(_) => PointId::from_uuid_text(text),
        }
    }
}

impl fmt::Display for PointId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            PointId::Num(num) => write!(f, "{num}"),
            PointId::Uuid(uuid) => write!(f, "{}", uuid.as_hyphenated()),
        }
    }
}

/// A dense place inside one shard: one version of one point's vectors.
///
/// A change of any vector of a point takes a new slot and retires the old one; a payload change keeps it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(transparent)]
pub struct Slot(pub u32);

impl Slot {
    /// The slot as an index into a table of slots.
    pub fn index(self) -> usize {
        self.0 as usize
    }
}

/// A shard's number, unique on the cluster for ever (also the id of its Raft group). 0 is the `meta` group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ShardId(pub u64);

impl fmt::Display for ShardId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// The shard-local sequence number of the last change of a point: the Raft log index of that change.
pub type PointVersion = u64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_overlap_where_a_slot_is_in_both() {
        for (count, other_count) in [(1, 2), (2, 4), (2, 3), (3, 5), (7, 7), (5, 3)] {
            for (number, other) in (0..count).flat_map(|one| (0..other_count).map(move |other| (one, other))) {
                let (one, other) = (SlotRange { number, count }, SlotRange { number: other, count: other_count });
                let is_in =
                    |range: &SlotRange, slot| range_of_slot(slot, range.count as usize) == range.number as usize;
                let meets = (0..HASH_SLOT_COUNT).any(|slot| is_in(&one, slot) && is_in(&other, slot));
                assert_eq!(one.overlaps(&other), meets, "{one:?} {other:?}");
                assert_eq!(one.slots(), {
                    let mut slots = (0..HASH_SLOT_COUNT).filter(|slot| is_in(&one, *slot));
                    let first = slots.next().unwrap();
                    first..slots.next_back().unwrap() + 1
                });
            }
        }
    }

    #[test]
    fn order_puts_numbers_before_uuids() {
        let a = PointId::Num(u64::MAX);
        let b = PointId::from_uuid_text("00000000000000000000000000000000").unwrap();
        let c = PointId::from_uuid_text("{00000000-0000-0000-0000-000000000001}").unwrap();
        assert!(PointId::Num(2) < PointId::Num(10));
        assert!(a < b && b < c);
    }

    #[test]
    fn uuid_forms_print_hyphenated_lowercase() {
        let want = "67e55044-10b1-426f-9247-bb680e5fe0c8";
        for text in [
            "67e55044-10b1-426f-9247-bb680e5fe0c8",
            "67E5504410B1426F9247BB680E5FE0C8",
            "{67e55044-10b1-426f-9247-bb680e5fe0c8}",
            "urn:uuid:67e55044-10b1-426f-9247-bb680e5fe0c8",
        ] {
            assert_eq!(text.parse::<PointId>().unwrap().to_string(), want);
        }
        assert!("67e55044".parse::<PointId>().is_err());
        assert!("-1".parse::<PointId>().is_err());
    }
}
