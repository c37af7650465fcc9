//! Vectors that were dropped, as the shard's log has it, and the removal of what is left of them.
//!
//! The `meta` group says which vectors a collection has; the shard's own log says from which of its entries on a vector is
//! gone. The rule by which the two are ordered:
//! - An entry names a vector by its stored name, hence by its incarnation: the one its writer's checks have seen.
//! - After the `meta` group has dropped incarnation `n` of a name, [`encode_dropped`] is proposed to every shard: from that
//!   entry on `n + 1` of the name are dropped. A write that names a later incarnation says the same.
//! - Vectors of dropped incarnations in later entries are passed over; the rest of those entries is applied.
//!
//! So what an entry does depends on the log before it alone, and a write that was under way while its vector was dropped,
//! or dropped and added again, has the effect it would have had before the drop.
//!
//! The bytes of dropped vectors are nobody's: no read, no later entry and no index sees them. They are removed beside the
//! log, in small steps, by the index threads; what a crash left is met again when the shard is opened.

use std::collections::BTreeMap;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::Shard;
use crate::model::vector::{Incarnation, split_stored_name, stored_name};
use crate::model::{PointId, VectorName};
use crate::storage::{ShardStore, StorageError};

/// Shard-level entry that holds [`Dropped`].
pub(super) const DROPPED_ENTRY: &[u8] = b"dropped_vectors";
/// The newest format of that entry.
const DROPPED_FORMAT: u8 = 1;
/// Keys looked at while the sweep's place is held.
const SWEEP_KEYS_MAX: usize = 1_024;

/// How many vectors of each name have been dropped, as of an entry of the log. Names of which none was are absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Dropped(BTreeMap<VectorName, Incarnation>);

impl Dropped {
    /// As `store` holds it.
    pub(super) fn load(store: &ShardStore) -> Result<Dropped, StorageError> {
        let Some(bytes) = store.entry(DROPPED_ENTRY)? else { return Ok(Dropped::default()) };
        let damaged = |what: String| StorageError::Damaged {
            path: PathBuf::from("kvdb"),
            what: format!("the dropped vectors of shard {}: {what}", store.shard()),
            advice: "Restore the node's data folder from a backup",
        };
        match bytes.split_first() {
            Some((&DROPPED_FORMAT, rest)) => postcard::from_bytes(rest).map_err(|error| damaged(error.to_string())),
            Some((format, _)) => Err(damaged(format!("format {format} is unknown"))),
            None => Err(damaged("no format version".to_owned())),
        }
    }

    /// The value of [`DROPPED_ENTRY`].
    pub(super) fn encode(&self) -> Vec<u8> {
        // Writing to a growing vector cannot fail, and the types have no unserialisable state.
        postcard::to_extend(self, vec![DROPPED_FORMAT]).unwrap_or_default()
    }

    fn count(&self, name: &str) -> Incarnation {
        self.0.get(name).copied().unwrap_or(0)
    }

    /// The stored name a vector of this name has, if it is there.
    pub(super) fn stored_name(&self, name: &str) -> VectorName {
        stored_name(name, self.count(name))
    }

    /// Whether the vector of this stored name has not been dropped.
    pub(super) fn is_live(&self, stored: &str) -> bool {
        let (name, incarnation) = split_stored_name(stored);
        incarnation >= self.count(name)
    }

    /// Whether the vector of this stored name is the one an entry would be about that came now.
    pub(super) fn is_current(&self, stored: &str) -> bool {
        let (name, incarnation) = split_stored_name(stored);
        incarnation == self.count(name)
    }

    /// A write names this vector: those of the name before it have been dropped. Was that news?
    pub(super) fn meet(&mut self, stored: &str) -> bool {
        let (name, incarnation) = split_stored_name(stored);
        self.raise(name, incarnation)
    }

    /// At least `count` vectors of this name have been dropped. Was that news?
    pub(super) fn raise(&mut self, name: &str, count: Incarnation) -> bool {
        let is_news = count > self.count(name);
        if is_news {
            self.0.insert(name.to_owned(), count);
        }
        is_news
    }
}

/// Where the removal of dropped vectors' bytes stands.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    is_due: bool,
    /// Everything before this point is clean; `None`: nothing is.
    from: Option<PointId>,
}

impl Sweep {
    /// There may be bytes of dropped vectors anywhere.
    pub(super) fn begin_anew(&mut self) {
        *self = Sweep { is_due: true, from: None };
    }
}

impl Shard {
    /// Whether the log has not told this shard yet of all vectors that `wanted` says were dropped, name by name.
    pub fn lacks_drops(&self, wanted: &BTreeMap<VectorName, Incarnation>) -> bool {
        let dropped = self.dropped.read();
        wanted.iter().any(|(name, count)| dropped.count(name) < *count)
    }

    /// Whether bytes of dropped vectors may still be stored.
    pub fn has_dropped_bytes(&self) -> bool {
        self.sweep.try_lock().is_none_or(|sweep| sweep.is_due)
    }

    /// Removes bytes of dropped vectors, looking at about `budget` keys. Returns how many were looked at; 0 means there is
    /// nothing to do, or another thread does it.
    pub(super) fn sweep_dropped(&self, budget: usize) -> usize {
        let mut done = 0;
        while done < budget {
            let Some(mut sweep) = self.sweep.try_lock() else { break };
            if !sweep.is_due {
                break;
            }
            let dropped = self.dropped.read().clone();
            let removed = self.store.remove_vectors(sweep.from, SWEEP_KEYS_MAX, &|stored| !dropped.is_live(stored));
            // The next step tries it again, and whoever reads the store otherwise reports it.
            let Ok(next) = removed else { break };
            *sweep = Sweep { is_due: next.is_some(), from: next };
            done += SWEEP_KEYS_MAX;
        }
        done
    }
}
