//! The shards that run on this node, and what their background work needs to know of them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::{RwLock, RwLockReadGuard};
use tokio::sync::Notify;

use super::Error;
use crate::cluster::ShardPlace;
use crate::model::ShardId;
use crate::raft::Group;
use crate::shard::{Replica, Shard};

/// A shard with its group.
pub(super) struct RunningShard {
    pub(super) id: ShardId,
    /// What it holds of its collection.
    pub(super) place: ShardPlace,
    pub(super) replica: Arc<Replica>,
    pub(super) group: Group,
    /// Shared by background work on the shard's files, taken alone by their removal. True: they are gone.
    removed: RwLock<bool>,
    /// They are about to be.
    is_leaving: AtomicBool,
    /// Grows with index work that may have left more to do.
    worked: AtomicU64,
    /// The value of [`RunningShard::touched`] at which index work was last found to be none.
    idle_at: AtomicU64,
    /// Units of index work since the last checkpoint.
    unsaved: AtomicU64,
    /// Index work was done, or found to be none: writers that wait look again.
    progressed: Notify,
}

impl RunningShard {
    pub(super) fn new(id: ShardId, place: ShardPlace, replica: Arc<Replica>, group: Group) -> RunningShard {
        RunningShard {
            id,
            place,
            replica,
            group,
            removed: RwLock::new(false),
            is_leaving: AtomicBool::new(false),
            worked: AtomicU64::new(0),
            idle_at: AtomicU64::new(0),
            unsaved: AtomicU64::new(0),
            progressed: Notify::new(),
        }
    }

    /// The shard as it is now.
    pub(super) fn shard(&self) -> Arc<Shard> {
        self.replica.shard()
    }

    /// Grows with everything that may have made index work.
    fn touched(&self) -> u64 {
        self.worked.load(Ordering::Acquire) + self.replica.change_count()
    }

    /// There may be index work now.
    pub(super) fn touch(&self) {
        self.worked.fetch_add(1, Ordering::AcqRel);
    }

    pub(super) fn may_have_index_work(&self) -> bool {
        self.touched() != self.idle_at.load(Ordering::Acquire)
    }

    /// Lends the calling thread to the shard's indexes. False: there was nothing to do.
    pub(super) fn index_work(&self, budget: usize) -> bool {
        let Some(_kept) = self.keep() else {
            self.idle_at.store(self.touched(), Ordering::Release);
            return false;
        };
        let touched = self.touched();
        let done = self.shard().index_work(budget);
        if done > 0 {
            self.unsaved.fetch_add(done as u64, Ordering::AcqRel);
            // Another thread may have found nothing meanwhile, because this one held the rest.
            self.touch();
        } else {
            self.idle_at.store(touched, Ordering::Release);
        }
        self.progressed.notify_waiters();
        done > 0
    }

    /// Waits until index work has been done. Enable it before the condition is looked at.
    pub(super) fn progressed(&self) -> tokio::sync::futures::Notified<'_> {
        self.progressed.notified()
    }

    /// Units of index work that a restart would do again, and how many that would be of all.
    pub(super) fn unsaved(&self) -> (u64, u64) {
        let (changed, in_fields) = self.shard().unsaved_field_work();
        let indexed = self.shard().status().indexed_vector_count;
        (self.unsaved.load(Ordering::Acquire) + changed, indexed + in_fields)
    }

    /// Writes a checkpoint of the indexes. Work done while it is written counts for the next one.
    pub(super) fn checkpoint(&self) -> Result<(), crate::storage::StorageError> {
        let Some(_kept) = self.keep() else { return Ok(()) };
        let unsaved = self.unsaved.load(Ordering::Acquire);
        self.shard().checkpoint()?;
        self.unsaved.fetch_sub(unsaved, Ordering::AcqRel);
        Ok(())
    }

    /// Keeps the shard's files while the guard lives; `None` when they are gone.
    fn keep(&self) -> Option<RwLockReadGuard<'_, bool>> {
        let removed = self.removed.read();
        if *removed { None } else { Some(removed) }
    }

    /// Whether what was read until now was all there: its removal has not begun.
    pub(super) fn check_there(&self) -> Result<(), Error> {
        match self.is_leaving.load(Ordering::Acquire) {
            true => Err(Error::Unavailable { why: format!("shard {} has been removed", self.id) }),
            false => Ok(()),
        }
    }

    /// Runs `remove` when no background work uses the shard's files; none begins afterwards.
    pub(super) fn remove_with<T>(&self, remove: impl FnOnce() -> T) -> T {
        self.is_leaving.store(true, Ordering::Release);
        let mut removed = self.removed.write();
        *removed = true;
        remove()
    }
}

/// What runs and what failed to.
#[derive(Clone, Default)]
pub(super) struct ShardTable {
    pub(super) running: BTreeMap<ShardId, Arc<RunningShard>>,
    pub(super) failed: BTreeMap<ShardId, Error>,
}

/// The table, readable without waiting. One thread changes it.
#[derive(Default)]
pub(super) struct Shards {
    table: ArcSwap<ShardTable>,
    settled_index: AtomicU64,
    /// Some of what runs is to be removed soon.
    is_retiring: AtomicBool,
}

/// A shard of a collection does not run.
pub(super) enum NotRunning {
    /// Nobody has tried yet.
    NotStarted,
    Failed(Error),
}

impl Shards {
    pub(super) fn table(&self) -> Arc<ShardTable> {
        self.table.load_full()
    }

    pub(super) fn publish(&self, table: ShardTable) {
        self.table.store(Arc::new(table));
    }

    /// Whether some of what runs is to be removed soon.
    pub(super) fn is_retiring(&self) -> bool {
        self.is_retiring.load(Ordering::Acquire)
    }

    pub(super) fn set_retiring(&self, is_retiring: bool) {
        self.is_retiring.store(is_retiring, Ordering::Release);
    }

    /// The index of the `meta` group's state that was followed last.
    pub(super) fn settled_index(&self) -> u64 {
        self.settled_index.load(Ordering::Acquire)
    }

    pub(super) fn set_settled_index(&self, index: u64) {
        self.settled_index.fetch_max(index, Ordering::AcqRel);
    }
}
