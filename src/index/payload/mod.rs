//! Field indexes: per shard and indexed path, the way from conditions to slots.
//!
//! Invariants:
//! - Derived state, as all of this room: an index is what [`FieldSpec::select`] finds in each point's payload, and
//!   nothing else goes into it.
//! - An index never changes which points satisfy a condition, but for words of texts (PROTOCOL section 7.16): what its
//!   structures cannot decide it names as unsure, and the payload decides.
//! - Elements are judged one by one, as conditions do: nothing here lets two elements together pass what neither does.
//!
//! What it deliberately does not do: read payloads from storage, lock, combine conditions, or know ids (`shard` does).

mod checkpoint;
mod column;
mod dictionary;
mod field;
mod ordered;
mod places;
mod selection;
mod words;

pub use checkpoint::{FieldWriter, PIECE_SLOTS, RestoringField};
pub use field::{Answer, FieldIndex, Order};
pub use selection::{FieldSpec, FieldValues};
pub use words::{Bm25Scoring, WordStats};

#[cfg(test)]
mod tests;
