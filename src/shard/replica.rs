//! A replica of a shard: the shard as it is now, which what another node sent can take the place of.
//!
//! The received state is taken in beside the one that is there, at the shard's other place on disk; then the shard is there,
//! in one durable step, and readers get the new one. Who still reads from the old one reads on: it goes with the last of them.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use arc_swap::ArcSwap;
use parking_lot::Mutex;

use super::{Entry, Outcome, Shard, ShardSettings};
use crate::storage::{ShardStore, StorageError};

/// Ending of the folder of a shard's checkpoints while it is at its second place.
const SECOND: &str = "second";

/// One replica of one shard.
pub struct Replica {
    current: ArcSwap<Shard>,
    /// As the shard was last told. Held while it is told, and while another takes its place.
    settings: Mutex<ShardSettings>,
    /// Grows with every change that may have made index work.
    change_count: AtomicU64,
    /// Called after each.
    on_change: Box<dyn Fn() + Send + Sync>,
    /// Vectors that may wait for the graphs before writers should.
    tail_max: u64,
}

impl Replica {
    /// Opens what is at `store`. The checkpoints lie in `settings.index_dir`, or beside it. `on_change` is called after every
    /// change that may have made index work, by whoever made it.
    pub fn open(
        store: ShardStore,
        settings: ShardSettings,
        on_change: Box<dyn Fn() + Send + Sync>,
    ) -> Result<Replica, StorageError> {
        let is_second = store.is_second();
        let current = ArcSwap::from_pointee(open(store, &settings)?);
        remove_left(&settings.index_dir, !is_second);
        // What was left undone when the process last ended waits to be done.
        let (settings, change_count) = (Mutex::new(settings), AtomicU64::new(1));
        Ok(Replica { current, settings, change_count, on_change, tail_max: u64::MAX })
    }

    /// With a limit on the vectors that may wait for the graphs before writers should.
    pub fn with_tail_max(self, tail_max: u64) -> Replica {
        Replica { tail_max, ..self }
    }

    /// Whether more vectors wait for the graphs than should.
    pub fn is_behind(&self) -> bool {
        self.shard().status().tail_vector_count > self.tail_max
    }

    /// The shard as it is now.
    pub fn shard(&self) -> Arc<Shard> {
        self.current.load_full()
    }

    /// Grows with every change that may have made index work.
    pub fn change_count(&self) -> u64 {
        self.change_count.load(Ordering::Acquire)
    }

    /// As [`Shard::apply`].
    pub fn apply(&self, entries: &[Entry<'_>], position: &[u8]) -> Result<Vec<Outcome>, StorageError> {
        let outcomes = self.shard().apply(entries, position)?;
        self.changed();
        Ok(outcomes)
    }

    fn changed(&self) {
        self.change_count.fetch_add(1, Ordering::AcqRel);
        (self.on_change)();
    }

    /// As [`Shard::reconfigure`] and [`Shard::reconfigure_fields`], if there is something to tell.
    pub fn reconfigure(&self, new: ShardSettings) -> Result<(), StorageError> {
        let mut settings = self.settings.lock();
        if tell(&self.shard(), &settings, &new)? {
            self.changed();
        }
        *settings = new;
        Ok(())
    }

    /// Writes the state as it is at one moment into `folder`; its position.
    pub fn export(&self, folder: &Path) -> Result<Option<Vec<u8>>, StorageError> {
        self.shard().store.dump(folder)
    }

    /// Puts the state that [`Replica::export`] wrote into `folder` at `position` in the place of this one: all of it or,
    /// after an error or a crash, nothing. Nothing is applied meanwhile.
    pub fn import(&self, folder: &Path, position: &[u8]) -> Result<(), StorageError> {
        let old = self.shard();
        let store = old.store.other_place()?;
        store.load(folder, position)?;
        let told = self.settings.lock().clone();
        let new = open(store.clone(), &told)?;
        // Opening takes its time; what was told meanwhile is told now.
        let settings = self.settings.lock();
        tell(&new, &told, &settings)?;
        old.store.move_to(&store)?;
        self.current.store(Arc::new(new));
        remove_left(&settings.index_dir, !store.is_second());
        self.changed();
        Ok(())
    }

    /// Removes everything of the shard. Nobody may use it any more.
    pub fn delete_all(store: &ShardStore, index_dir: &Path) -> Result<(), StorageError> {
        for folder in [index_dir.to_owned(), second(index_dir)] {
            remove_folder(&folder)?;
        }
        store.delete_all()
    }
}

fn open(store: ShardStore, settings: &ShardSettings) -> Result<Shard, StorageError> {
    let index_dir = if store.is_second() { second(&settings.index_dir) } else { settings.index_dir.clone() };
    Shard::open(store, ShardSettings { index_dir, ..settings.clone() })
}

/// Removes the checkpoints of the place that the shard is not at. What is left of them does no harm: a checkpoint is compared
/// with the store before it is believed.
fn remove_left(index_dir: &Path, is_second: bool) {
    let _ = remove_folder(&if is_second { second(index_dir) } else { index_dir.to_owned() });
}

fn tell(shard: &Shard, old: &ShardSettings, new: &ShardSettings) -> Result<bool, StorageError> {
    if old.vectors != new.vectors {
        shard.reconfigure(&new.vectors)?;
    }
    if old.fields != new.fields {
        shard.reconfigure_fields(&new.fields);
    }
    Ok(old.vectors != new.vectors || old.fields != new.fields)
}

fn second(index_dir: &Path) -> PathBuf {
    index_dir.with_extension(SECOND)
}

fn remove_folder(folder: &Path) -> Result<(), StorageError> {
    match std::fs::remove_dir_all(folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(StorageError::Failed { path: folder.to_owned(), what: error.to_string() })
        }
        _ => Ok(()),
    }
}
