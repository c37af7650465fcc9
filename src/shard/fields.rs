//! Reads that need a field index: points in the order of a field, counts of its values, BM25 over its text.

use super::{ReadError, Shard};
use crate::index::payload::WordStats;
use crate::index::{Bitmap, Stop};
use crate::model::query::{FacetHit, OrderBy, OrderValue};
use crate::model::{Filter, Path, PointId};

/// A text query (PROTOCOL section 13.4).
#[derive(Clone, Copy, Debug)]
pub struct TextSearch<'a> {
    /// A field with a text index that was made with `scoring`.
    pub key: &'a Path,
    /// Of all shards, for the same query text; it names the tokens looked for.
    pub stats: &'a WordStats,
    /// Saturation of a token's frequency.
    pub k: f32,
    /// Weight of a text's length, 0 to 1.
    pub b: f32,
    pub filter: Option<&'a Filter>,
    /// Results are among these ids, if given.
    pub among: Option<&'a [PointId]>,
    /// May be huge: nothing is allocated by it.
    pub limit: usize,
}

impl Shard {
    /// The live slots whose points match; all of them without a filter.
    ///
    /// A slot names its point as long as the [`crate::index::Pin`] lives that was taken before; see
    /// [`Shard::matching_ids`] for what needs no pin.
    pub fn matching(&self, filter: Option<&Filter>, stop: &Stop) -> Result<Bitmap, ReadError> {
        match filter.filter(|filter| !filter.is_empty()) {
            Some(filter) => self.matching_slots(filter, stop),
            None => Ok(self.slots.live()),
        }
    }

    /// The ids that match, ascending.
    pub fn matching_ids(&self, filter: Option<&Filter>, stop: &Stop) -> Result<Vec<PointId>, ReadError> {
        self.scroll(None, usize::MAX, filter, stop)
    }

    /// Up to `limit` pairs of a value of the field and a point that has it, in order of (value, id), both ascending or
    /// both descending. A point occurs once per distinct value, and not at all without one. `among`: only these ids.
    ///
    /// [`ReadError::NoRangeIndex`] unless the field has an index with ranges.
    pub fn order_by(
        &self,
        order: &OrderBy,
        _filter: Option<&Filter>,
        _among: Option<&[PointId]>,
        _limit: usize,
        _stop: &Stop,
    ) -> Result<Vec<(OrderValue, PointId)>, ReadError> {
        Err(ReadError::NoRangeIndex { key: order.key.clone() })
    }

    /// For each value of the field, by value ascending: how many matching points have it; values without any are left
    /// out.
    ///
    /// [`ReadError::NoFacetIndex`] unless the field has an index by value.
    pub fn facet(&self, key: &Path, _filter: Option<&Filter>, _stop: &Stop) -> Result<Vec<FacetHit>, ReadError> {
        Err(ReadError::NoFacetIndex { key: key.clone() })
    }

    /// What scoring `query` needs to know of this shard.
    ///
    /// [`ReadError::NoScoringIndex`] unless the field has a text index that was made with `scoring`.
    pub fn text_stats(&self, key: &Path, _query: &str) -> Result<WordStats, ReadError> {
        Err(ReadError::NoScoringIndex { key: key.clone() })
    }

    /// The best texts, by score descending, then id ascending; only scores above 0.
    ///
    /// Fails as [`Shard::text_stats`] does.
    pub fn text_search(&self, search: &TextSearch<'_>, _stop: &Stop) -> Result<Vec<(PointId, f32)>, ReadError> {
        Err(ReadError::NoScoringIndex { key: search.key.clone() })
    }
}
