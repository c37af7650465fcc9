//! From the shards' answers to the one the wire shows: order, threshold, page. Pure.

use std::collections::HashSet;

use crate::distance::score_from_distance;
use crate::model::query::OrderValue;
use crate::model::{Metric, PointId, ScoredPoint};
use crate::shard::{Hit, sort_hits};

/// What of a ranked list is shown.
#[derive(Clone, Copy, Debug)]
pub(super) struct Page {
    pub(super) offset: usize,
    /// May be huge: nothing is allocated by it.
    pub(super) limit: usize,
}

impl Page {
    /// How many of the best are needed from each shard.
    pub(super) fn needed(self) -> usize {
        self.limit.saturating_add(self.offset)
    }

    /// The page of `ranked`.
    pub(super) fn cut<T>(self, ranked: Vec<T>) -> Vec<T> {
        ranked.into_iter().skip(self.offset).take(self.limit).collect()
    }
}

/// A hit with its shown score.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct ScoredHit {
    pub(super) id: PointId,
    pub(super) version: u64,
    pub(super) score: f32,
    /// What it was ordered by, if it was.
    pub(super) order_value: Option<OrderValue>,
    /// The shard it is from, by its place among those that were asked: an id may stand under several shard keys.
    pub(super) place: usize,
}

/// Every point that is not scored has this score and version (PROTOCOL section 10.1).
const SCORE_BY_ID: f32 = 1.0;
const VERSION_BY_ID: u64 = 0;

impl ScoredHit {
    /// A point that is found, but not scored.
    pub(super) fn by_id(id: PointId) -> ScoredHit {
        ScoredHit { id, version: VERSION_BY_ID, score: SCORE_BY_ID, order_value: None, place: 0 }
    }

    /// Without payload and vectors.
    pub(super) fn bare(self) -> ScoredPoint {
        let ScoredHit { id, version, score, order_value, .. } = self;
        ScoredPoint { id, version, score, payload: None, vectors: None, order_value, shard_key: None }
    }
}

/// Where a ranked list ends: strictly on the better side of a shown score.
#[derive(Clone, Copy, Debug)]
pub(super) struct Cut {
    pub(super) threshold: f32,
    /// Decides which side is the better one: that of the vector, also where another score is shown.
    pub(super) metric: Metric,
}

/// The best of all shards' hits: PROTOCOL sections 3.2 (order and ties) and 3.3 (threshold, on shown scores, strict).
pub(super) fn ranked(metric: Metric, found: Vec<Vec<Hit>>, cut: Option<Cut>, page: Page) -> Vec<ScoredHit> {
    let shard_count = found.len();
    let mut hits: Vec<Hit> = found.into_iter().flatten().collect();
    if shard_count > 1 {
        sort_hits(&mut hits, metric);
    }
    let scored = hits.into_iter().map(|hit| ScoredHit {
        id: hit.id,
        version: hit.version,
        score: score_from_distance(metric, hit.distance),
        order_value: None,
        place: 0,
    });
    // With custom sharding an id may stand under several keys: its best hit counts (PROTOCOL section 3.2).
    let mut seen = HashSet::new();
    let once = scored.filter(|hit| shard_count <= 1 || seen.insert(hit.id));
    let kept = once.take_while(|hit| cut.is_none_or(|cut| cut.keeps(hit.score)));
    kept.skip(page.offset).take(page.limit).collect()
}

impl Cut {
    fn keeps(self, score: f32) -> bool {
        if self.metric.is_larger_better() { score > self.threshold } else { score < self.threshold }
    }
}

/// The first `limit` ids of all shards' ascending lists, each once.
pub(super) fn first_ids(pages: Vec<Vec<PointId>>, limit: usize) -> Vec<PointId> {
    let mut ids: Vec<PointId> = pages.into_iter().flatten().collect();
    ids.sort_unstable();
    ids.dedup();
    ids.truncate(limit);
    ids
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::distance::distance_from_score;
    use proptest::prelude::*;

    const ALL: Page = Page { offset: 0, limit: usize::MAX };

    /// Hits of one shard with these ids and shown scores.
    fn shard(metric: Metric, hits: &[(u64, f32)]) -> Vec<Hit> {
        let mut hits: Vec<Hit> = hits
            .iter()
            .map(|&(id, score)| Hit {
                id: PointId::Num(id),
                version: id + 100,
                distance: distance_from_score(metric, score),
            })
            .collect();
        sort_hits(&mut hits, metric);
        hits
    }

    fn ids(hits: &[ScoredHit]) -> Vec<u64> {
        let num = |hit: &ScoredHit| match hit.id {
            PointId::Num(num) => num,
            PointId::Uuid(_) => unreachable!(),
        };
        hits.iter().map(num).collect()
    }

    #[test]
    fn s3_2_ties_go_to_the_larger_id_where_larger_scores_are_better_and_to_the_smaller_elsewhere() {
        let found = |metric| {
            let shards = vec![shard(metric, &[(1, 4.0), (4, 4.0), (5, 1.0)]), shard(metric, &[(2, 4.0), (3, 9.0)])];
            ids(&ranked(metric, shards, None, ALL))
        };
        assert_eq!(found(Metric::Dot), [3, 4, 2, 1, 5]);
        assert_eq!(found(Metric::Cosine), [3, 4, 2, 1, 5]);
        assert_eq!(found(Metric::Euclid), [5, 1, 2, 4, 3]);
        assert_eq!(found(Metric::Manhattan), [5, 1, 2, 4, 3]);
    }

    #[test]
    fn s3_3_the_threshold_is_strict_and_on_shown_scores() {
        let found = |metric, threshold| {
            let shards = vec![shard(metric, &[(1, 4.0), (2, 3.0)]), shard(metric, &[(3, 2.0)])];
            ids(&ranked(metric, shards, Some(Cut { threshold, metric }), ALL))
        };
        assert_eq!(found(Metric::Dot, 3.0), [1]);
        assert_eq!(found(Metric::Dot, 2.5), [1, 2]);
        assert_eq!(found(Metric::Euclid, 3.0), [3]);
        assert_eq!(found(Metric::Manhattan, 4.5), [3, 2, 1]);
    }

    #[test]
    fn scores_are_shown_and_versions_kept() {
        let hits = ranked(Metric::Euclid, vec![shard(Metric::Euclid, &[(7, 5.0)])], None, ALL);
        assert_eq!(hits, [ScoredHit { version: 107, score: 5.0, ..ScoredHit::by_id(PointId::Num(7)) }]);
    }

    #[test]
    fn pages_of_any_size_neither_overflow_nor_allocate() {
        let shards = || vec![shard(Metric::Dot, &[(1, 3.0), (2, 2.0)]), shard(Metric::Dot, &[(3, 1.0)])];
        let page = |offset, limit| ids(&ranked(Metric::Dot, shards(), None, Page { offset, limit }));
        assert_eq!(page(0, 2), [1, 2]);
        assert_eq!(page(1, usize::MAX), [2, 3]);
        assert_eq!(page(2, 1), [3]);
        assert!(page(usize::MAX, usize::MAX).is_empty());
        assert_eq!(Page { offset: usize::MAX, limit: usize::MAX }.needed(), usize::MAX);
        assert_eq!(Page { offset: 3, limit: 10 }.needed(), 13);
    }

    #[test]
    fn s9_2_ids_of_all_shards_come_ascending() {
        let lists = vec![vec![PointId::Num(1), PointId::Num(5)], vec![PointId::Num(2)], vec![]];
        assert_eq!(first_ids(lists.clone(), 2), [PointId::Num(1), PointId::Num(2)]);
        assert_eq!(first_ids(lists, usize::MAX).len(), 3);
    }

    proptest! {
        /// However points are spread over shards, the answer is that of one shard.
        #[test]
        fn the_number_of_shards_does_not_show(
            points in prop::collection::btree_map(0..50_u64, (0..5_u8, 0..4_usize), 0..50),
            offset in 0..10_usize,
            limit in 1..20_usize,
            threshold in prop::option::of(0..5_u8),
        ) {
            for metric in [Metric::Dot, Metric::Euclid] {
                let page = Page { offset, limit };
                let scored = |place: Option<usize>| -> Vec<Hit> {
                    let mine = points.iter().filter(|(_, (_, at))| place.is_none_or(|place| place == *at));
                    let mut hits = shard(metric, &mine.map(|(id, (score, _))| (*id, f32::from(*score))).collect::<Vec<_>>());
                    hits.truncate(page.needed());
                    hits
                };
                let cut = threshold.map(|threshold| Cut { threshold: f32::from(threshold), metric });
                let spread = ranked(metric, (0..4).map(|place| scored(Some(place))).collect(), cut, page);
                let lone = ranked(metric, vec![scored(None)], cut, page);
                prop_assert_eq!(spread, lone);
            }
        }
    }
}
