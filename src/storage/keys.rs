//! Every key kind of both databases, in one table. A retired kind stays reserved.
//!
//! | database | column family | key | value |
//! |---|---|---|---|
//! | raftdb | `log` | shard u64 BE, index u64 BE | log entry |
//! | raftdb | `meta` | 0x01, shard u64 BE, record u8 | vote (1), purged (2) |
//! | raftdb | `meta` | 0x02, name | node-level entry |
//! | kvdb | `ids` | shard u64 BE, id key | point head |
//! | kvdb | `payloads` | shard u64 BE, id key | JSON text |
//! | kvdb | `vectors` | shard u64 BE, id key, vector name UTF-8 | vector |
//! | kvdb | `meta` | 0x01, shard u64 BE | position |
//! | kvdb | `meta` | 0x02, shard u64 BE, 0x00, name | shard-level entry |
//! | kvdb | `meta` | 0x03, name | node-level entry |
//! | kvdb | `meta` | 0x04, shard u64 BE | there if the shard is at its second place |
//!
//! The second place of a shard in `kvdb` is that of a shard whose number has the highest bit set.
//!
//! An id key is a tag byte (0 number, 1 UUID) and 8 or 16 big-endian bytes, so byte order is the protocol's id order
//! and the length follows from the tag.

use uuid::Uuid;

use crate::model::{PointId, ShardId};

const TAG_NUM: u8 = 0;
const TAG_UUID: u8 = 1;
/// Above every id tag: closes a shard's key range.
const TAG_END: u8 = 0xFF;

const LOG_META_SHARD: u8 = 1;
const LOG_META_NODE: u8 = 2;

const POINT_META_POSITION: u8 = 1;
const POINT_META_SHARD: u8 = 2;
const POINT_META_NODE: u8 = 3;
const POINT_META_SECOND: u8 = 4;

/// Of the number that a shard's keys begin with at its second place.
const SECOND_PLACE: u64 = 1 << 63;

const SHARD_LEN: usize = 8;

fn shard_prefix(shard: ShardId) -> Vec<u8> {
    shard.0.to_be_bytes().to_vec()
}

fn push_id(key: &mut Vec<u8>, id: &PointId) {
    match id {
        PointId::Num(num) => {
            key.push(TAG_NUM);
            key.extend_from_slice(&num.to_be_bytes());
        }
        PointId::Uuid(uuid) => {
            key.push(TAG_UUID);
            key.extend_from_slice(uuid.as_bytes());
        }
    }
}

/// The id at the front of `bytes`, and what follows it.
fn split_id(bytes: &[u8]) -> Option<(PointId, &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    match *tag {
        TAG_NUM => rest.split_first_chunk().map(|(num, rest)| (PointId::Num(u64::from_be_bytes(*num)), rest)),
        TAG_UUID => rest.split_first_chunk().map(|(raw, rest)| (PointId::Uuid(Uuid::from_bytes(*raw)), rest)),
        _ => None,
    }
}

/// Key of a point in `ids` and `payloads`; prefix of its keys in `vectors`.
pub(super) fn point(shard: ShardId, id: &PointId) -> Vec<u8> {
    let mut key = shard_prefix(shard);
    push_id(&mut key, id);
    key
}

/// The id in a key of `ids` or `payloads`.
pub(super) fn point_from_key(key: &[u8]) -> Option<PointId> {
    match split_id(key.get(SHARD_LEN..)?)? {
        (id, []) => Some(id),
        _ => None,
    }
}

/// Key of one vector of a point.
pub(super) fn vector(shard: ShardId, id: &PointId, name: &str) -> Vec<u8> {
    let mut key = point(shard, id);
    key.extend_from_slice(name.as_bytes());
    key
}

/// The id and the name in a key of `vectors`.
pub(super) fn vector_from_key(key: &[u8]) -> Option<(PointId, &str)> {
    let (id, name) = split_id(key.get(SHARD_LEN..)?)?;
    Some((id, std::str::from_utf8(name).ok()?))
}

/// First key and end of a point's keys in `vectors`. UTF-8 has no 0xFF byte, so the end lies above every name.
pub(super) fn vectors_range(shard: ShardId, id: &PointId) -> (Vec<u8>, Vec<u8>) {
    let start = point(shard, id);
    let mut end = start.clone();
    end.push(TAG_END);
    (start, end)
}

/// First key and end of a shard's keys in `ids`, `payloads` and `vectors`, from `from` on if given.
pub(super) fn shard_range(shard: ShardId, from: Option<&PointId>) -> (Vec<u8>, Vec<u8>) {
    let start = from.map_or_else(|| shard_prefix(shard), |id| point(shard, id));
    let mut end = shard_prefix(shard);
    end.push(TAG_END);
    (start, end)
}

fn kind_shard(kind: u8, shard: ShardId) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(&shard.0.to_be_bytes());
    key
}

fn kind_name(kind: u8, name: &[u8]) -> Vec<u8> {
    let mut key = vec![kind];
    key.extend_from_slice(name);
    key
}

/// Key of a shard's position.
pub(super) fn position(shard: ShardId) -> Vec<u8> {
    kind_shard(POINT_META_POSITION, shard)
}

/// First key and end of all shards' positions.
pub(super) fn positions_range() -> (Vec<u8>, Vec<u8>) {
    (vec![POINT_META_POSITION], vec![POINT_META_POSITION + 1])
}

/// What a shard's keys begin with at its second place.
pub(super) fn second_place(shard: ShardId) -> ShardId {
    ShardId(shard.0 | SECOND_PLACE)
}

/// The shard whose keys begin with this number, and whether that is its second place.
pub(super) fn shard_at(place: ShardId) -> (ShardId, bool) {
    (ShardId(place.0 & !SECOND_PLACE), place.0 & SECOND_PLACE != 0)
}

/// Key of the entry that says that a shard is at its second place.
pub(super) fn second_entry(shard: ShardId) -> Vec<u8> {
    kind_shard(POINT_META_SECOND, shard)
}

/// First key and end of these entries.
pub(super) fn second_entries_range() -> (Vec<u8>, Vec<u8>) {
    (vec![POINT_META_SECOND], vec![POINT_META_SECOND + 1])
}

/// The shard in such an entry's key.
pub(super) fn shard_from_second_entry(key: &[u8]) -> Option<ShardId> {
    shard_from_position_key(key)
}

/// First key and end of a shard's position.
pub(super) fn position_range(shard: ShardId) -> (Vec<u8>, Vec<u8>) {
    let start = position(shard);
    let mut end = start.clone();
    end.push(0);
    (start, end)
}

/// A key of a shard as it is the same for all shards. In `meta` the kind comes first.
pub(super) fn without_shard(key: &[u8], is_meta: bool) -> Option<Vec<u8>> {
    let kind_len = usize::from(is_meta);
    Some([key.get(..kind_len)?, key.get(kind_len + SHARD_LEN..)?].concat())
}

/// The key of `shard` that is this one without it. `None`: no shard has such a key.
pub(super) fn with_shard(key: &[u8], shard: ShardId, is_meta: bool) -> Option<Vec<u8>> {
    let (kind, rest) = key.split_at_checked(usize::from(is_meta))?;
    let is_known = match kind {
        [] => split_id(rest).is_some(),
        [POINT_META_POSITION] => rest.is_empty(),
        [POINT_META_SHARD] => rest.first() == Some(&0),
        _ => false,
    };
    is_known.then(|| [kind, &shard_prefix(shard), rest].concat())
}

/// The shard in a position's key.
pub(super) fn shard_from_position_key(key: &[u8]) -> Option<ShardId> {
    Some(ShardId(u64::from_be_bytes(key.get(1..)?.try_into().ok()?)))
}

/// Key of a shard-level entry of `kvdb`.
pub(super) fn shard_entry(shard: ShardId, name: &[u8]) -> Vec<u8> {
    let (mut key, _) = shard_entries_range(shard);
    key.extend_from_slice(name);
    key
}

/// First key and end of a shard's shard-level entries.
pub(super) fn shard_entries_range(shard: ShardId) -> (Vec<u8>, Vec<u8>) {
    let mut start = kind_shard(POINT_META_SHARD, shard);
    let mut end = start.clone();
    start.push(0);
    end.push(1);
    (start, end)
}

/// The name in a shard-level entry's key.
pub(super) fn name_from_shard_entry_key(key: &[u8]) -> Option<&[u8]> {
    key.get(1 + SHARD_LEN + 1..)
}

/// Key of a node-level entry of `kvdb`.
pub(super) fn point_node_entry(name: &str) -> Vec<u8> {
    kind_name(POINT_META_NODE, name.as_bytes())
}

/// Key of a node-level entry of `raftdb`.
pub(super) fn log_node_entry(name: &str) -> Vec<u8> {
    kind_name(LOG_META_NODE, name.as_bytes())
}

/// Key of a log entry.
pub(super) fn log_entry(shard: ShardId, index: u64) -> Vec<u8> {
    let mut key = shard_prefix(shard);
    key.extend_from_slice(&index.to_be_bytes());
    key
}

/// The shard and the index in a log entry's key.
pub(super) fn log_entry_from_key(key: &[u8]) -> Option<(ShardId, u64)> {
    let (shard, index) = key.split_first_chunk()?;
    Some((ShardId(u64::from_be_bytes(*shard)), u64::from_be_bytes(index.try_into().ok()?)))
}

/// Key of one of a shard's records in `raftdb`.
pub(super) fn log_record(shard: ShardId, record: u8) -> Vec<u8> {
    let mut key = kind_shard(LOG_META_SHARD, shard);
    key.push(record);
    key
}

/// First key and end of all shards' records in `raftdb`.
pub(super) fn log_records_range() -> (Vec<u8>, Vec<u8>) {
    (vec![LOG_META_SHARD], vec![LOG_META_SHARD + 1])
}

/// The shard and the record in a record's key.
pub(super) fn log_record_from_key(key: &[u8]) -> Option<(ShardId, u8)> {
    let (shard, record) = key.get(1..)?.split_first_chunk()?;
    match record {
        [record] => Some((ShardId(u64::from_be_bytes(*shard)), *record)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn uuid(text: &str) -> PointId {
        PointId::from_uuid_text(text).unwrap()
    }

    #[test]
    fn golden_keys() {
        let shard = ShardId(3);
        let a = PointId::Num(258);
        let b = uuid("67e55044-10b1-426f-9247-bb680e5fe0c8");
        assert_eq!(hex(&point(shard, &a)), "0000000000000003000000000000000102");
        assert_eq!(hex(&point(shard, &b)), "00000000000000030167e5504410b1426f9247bb680e5fe0c8");
        assert_eq!(hex(&vector(shard, &a, "né")), "00000000000000030000000000000001026ec3a9");
        assert_eq!(hex(&position(shard)), "010000000000000003");
        assert_eq!(hex(&shard_entry(shard, b"x")), "0200000000000000030078");
        assert_eq!(hex(&point_node_entry("x")), "0378");
        assert_eq!(hex(&log_entry(shard, 7)), "00000000000000030000000000000007");
        assert_eq!(hex(&log_record(shard, 1)), "01000000000000000301");
        assert_eq!(hex(&log_node_entry("x")), "0278");
    }

    fn any_id() -> impl Strategy<Value = PointId> {
        prop_oneof![
            any::<u64>().prop_map(PointId::Num),
            any::<u128>().prop_map(|raw| PointId::Uuid(Uuid::from_u128(raw))),
            Just(PointId::Num(u64::MAX)),
            Just(PointId::Uuid(Uuid::from_u128(u128::MAX))),
        ]
    }

    proptest! {
        #[test]
        fn key_order_is_id_order_and_keys_come_back(a in any_id(), b in any_id(), shard: u64, name: String) {
            let shard = ShardId(shard);
            prop_assert_eq!(point(shard, &a).cmp(&point(shard, &b)), a.cmp(&b));
            prop_assert_eq!(point_from_key(&point(shard, &a)), Some(a));
            let key = vector(shard, &a, &name);
            prop_assert_eq!(vector_from_key(&key), Some((a, name.as_str())));
            let (start, end) = vectors_range(shard, &a);
            prop_assert!(start <= key && key < end);
            let (start, end) = shard_range(shard, None);
            prop_assert!(start <= key && key < end);
            if a != b {
                let other = vector(shard, &b, &name);
                let (start, end) = vectors_range(shard, &a);
                prop_assert!(!(start <= other && other < end));
            }
        }

        #[test]
        fn damaged_keys_are_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = (point_from_key(&bytes), vector_from_key(&bytes), log_entry_from_key(&bytes));
            let _ = (log_record_from_key(&bytes), shard_from_position_key(&bytes), name_from_shard_entry_key(&bytes));
            for is_meta in [false, true] {
                if let Some(key) = with_shard(&bytes, ShardId(9), is_meta) {
                    prop_assert_eq!(without_shard(&key, is_meta), Some(bytes.clone()));
                }
            }
        }
    }
}
