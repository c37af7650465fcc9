//! Which shard an id belongs to.

use crate::model::PointId;
use crate::model::ids::range_of_slot;

/// The place in a collection's list of shards that owns `id`; 0 for an empty list.
///
/// The hash slots are cut into `shard_count` contiguous ranges whose lengths differ by one at most. Contiguous, so that
/// splitting or merging neighbouring shards moves no other id.
pub fn shard_of(id: PointId, shard_count: usize) -> usize {
    shard_of_slot(id.hash_slot(), shard_count)
}

/// As [`shard_of`], for an id of this hash slot.
pub fn shard_of_slot(hash_slot: u64, shard_count: usize) -> usize {
    range_of_slot(hash_slot, shard_count)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ids::HASH_SLOT_COUNT;

    #[test]
    fn one_shard_owns_everything() {
        assert!((0..1_000).all(|num| shard_of(PointId::Num(num), 1) == 0));
    }

    #[test]
    fn every_shard_owns_a_contiguous_range_of_nearly_equal_length() {
        for shard_count in [2, 3, 7, 64, 1_000, 16_384] {
            let owner = |slot: u64| (slot * shard_count as u64 / HASH_SLOT_COUNT) as usize;
            let owners: Vec<usize> = (0..HASH_SLOT_COUNT).map(owner).collect();
            assert!(owners.is_sorted());
            let mut lengths = vec![0_u64; shard_count];
            owners.iter().for_each(|&shard| lengths[shard] += 1);
            let (min, max) = (*lengths.iter().min().unwrap(), *lengths.iter().max().unwrap());
            assert!(min > 0 && max - min <= 1, "{shard_count} shards: {min} to {max} slots");
        }
    }

    #[test]
    fn consecutive_numbers_and_uuids_are_balanced() {
        for shard_count in [2_usize, 3, 8] {
            let ids = (0..30_000_u64)
                .map(PointId::Num)
                .chain((0..30_000_u128).map(|num| PointId::Uuid(uuid::Uuid::from_u128(num << 64 | num))));
            let mut counts = vec![0_usize; shard_count];
            ids.for_each(|id| counts[shard_of(id, shard_count)] += 1);
            let fair = 60_000 / shard_count;
            // Binomial: six standard deviations of 60,000 draws are under 1.3 % of 60,000.
            assert!(counts.iter().all(|&count| count.abs_diff(fair) < 780), "{counts:?}");
        }
    }

    /// Points on disk stand where this function once put them.
    #[test]
    fn golden_places() {
        let places: Vec<usize> = (0..12).map(|num| shard_of(PointId::Num(num), 4)).collect();
        assert_eq!(places, [2, 1, 0, 1, 2, 2, 0, 2, 3, 1, 1, 0]);
    }
}
