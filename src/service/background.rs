//! Threads that work when nobody waits for them: they lend themselves to the indexes, write checkpoints, and publish
//! figures.
//!
//! What it deliberately does not do: fail. A checkpoint that cannot be written costs the next start time, not data.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::shards::{RunningShard, Shards};
use crate::cluster::Meta;

/// Vectors one thread links before it looks at the next shard, and for how long at most a removal waits.
const WORK_BUDGET: usize = 64;
/// Between two looks at what is due.
const UPKEEP_TICK: Duration = Duration::from_secs(1);

#[derive(Default)]
struct Wake {
    /// Grows with every wake-up, so that none between two looks is missed.
    generation: u64,
    is_stopping: bool,
}

#[derive(Default)]
struct Signal {
    /// Held for a look or a change only.
    wake: Mutex<Wake>,
    woken: Condvar,
}

/// The background threads; they end when this is dropped.
pub(super) struct Background {
    signal: Arc<Signal>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Background {
    pub(super) fn start(
        index_threads: usize,
        checkpoint_interval: Duration,
        shards: &Arc<Shards>,
        meta: &Arc<Meta>,
    ) -> std::io::Result<Background> {
        let background = Background { signal: Arc::default(), threads: Mutex::default() };
        for number in 0..index_threads {
            let (signal, shards) = (Arc::clone(&background.signal), Arc::clone(shards));
            background.spawn(format!("index-{number}"), move || build_indexes(&signal, &shards, number))?;
        }
        let (signal, shards, meta) = (Arc::clone(&background.signal), Arc::clone(shards), Arc::clone(meta));
        background.spawn("upkeep".to_owned(), move || keep_up(&signal, &shards, &meta, checkpoint_interval))?;
        Ok(background)
    }

    fn spawn(&self, name: String, body: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let thread = std::thread::Builder::new().name(name).spawn(body)?;
        self.threads.lock().push(thread);
        Ok(())
    }

    /// There may be index work now.
    pub(super) fn wake(&self) {
        self.signal.wake.lock().generation += 1;
        self.signal.woken.notify_all();
    }

    /// Ends the threads and waits for them; a checkpoint under way is finished.
    pub(super) fn stop(&self) {
        self.signal.wake.lock().is_stopping = true;
        self.signal.woken.notify_all();
        let threads = std::mem::take(&mut *self.threads.lock());
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("a background thread panicked");
            }
        }
    }
}

impl Drop for Background {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Signal {
    fn is_stopping(&self) -> bool {
        self.wake.lock().is_stopping
    }

    /// Sleeps until the next wake-up after `seen`, or the stop.
    fn wait_beyond(&self, seen: u64) {
        let mut wake = self.wake.lock();
        while wake.generation == seen && !wake.is_stopping {
            self.woken.wait(&mut wake);
        }
    }

    /// Sleeps for `time`; false when the threads are to end.
    fn wait_for(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        let mut wake = self.wake.lock();
        while !wake.is_stopping {
            if self.woken.wait_until(&mut wake, until).timed_out() {
                return !wake.is_stopping;
            }
        }
        false
    }
}

/// The life of one index thread. Threads begin at different shards, so that several shards progress at once.
fn build_indexes(signal: &Signal, shards: &Shards, number: usize) {
    let mut turn = number;
    loop {
        let generation = signal.wake.lock().generation;
        let waiting: Vec<Arc<RunningShard>> =
            shards.table().running.values().filter(|shard| shard.may_have_index_work()).cloned().collect();
        turn = turn.wrapping_add(1);
        let count = waiting.len();
        let mut was_busy = false;
        for step in 0..count {
            if signal.is_stopping() {
                return;
            }
            if let Some(shard) = waiting.get((turn.wrapping_add(step)) % count) {
                was_busy |= shard.index_work(WORK_BUDGET);
            }
        }
        if signal.is_stopping() {
            return;
        }
        // Nobody holds a shard while there is nothing to do: its removal waits for that.
        drop(waiting);
        if !was_busy {
            signal.wait_beyond(generation);
        }
    }
}

/// The life of the upkeep thread.
fn keep_up(signal: &Signal, shards: &Shards, meta: &Meta, checkpoint_interval: Duration) {
    let mut saved_at = std::collections::BTreeMap::new();
    let started = Instant::now();
    let mut reported = std::collections::BTreeSet::new();
    while signal.wait_for(UPKEEP_TICK) {
        publish_figures(shards, meta, &mut reported);
        let table = shards.table();
        saved_at.retain(|id, _| table.running.contains_key(id));
        for (id, shard) in &table.running {
            let last: Instant = saved_at.get(id).copied().unwrap_or(started);
            let (unsaved, indexed) = shard.unsaved();
            let due = Due {
                unsaved,
                indexed,
                is_idle: !shard.may_have_index_work(),
                elapsed: last.elapsed(),
                interval: checkpoint_interval,
            };
            if !due.is_due() {
                continue;
            }
            if signal.is_stopping() {
                return;
            }
            if let Err(error) = shard.checkpoint() {
                tracing::warn!(shard = id.0, %error, "a checkpoint of the index failed; it is tried again later");
            }
            saved_at.insert(*id, Instant::now());
        }
    }
}

/// What decides whether a shard's indexes are written out now.
struct Due {
    /// Units of work that a restart would repeat.
    unsaved: u64,
    /// What a checkpoint writes, in the same units.
    indexed: u64,
    is_idle: bool,
    elapsed: Duration,
    interval: Duration,
}

impl Due {
    /// A checkpoint costs as much as the index is large and saves as much as has changed: it is written when a tenth
    /// has, when a hundredth has and the index rests, or when anything has and ten intervals went by.
    fn is_due(&self) -> bool {
        let Due { unsaved, indexed, is_idle, elapsed, interval } = *self;
        unsaved > 0
            && elapsed >= interval
            && (unsaved >= indexed / 10 || (is_idle && unsaved >= indexed / 100) || elapsed >= interval * 10)
    }
}

/// Sets the gauges; those of collections that are gone go to zero once.
fn publish_figures(shards: &Shards, meta: &Meta, reported: &mut std::collections::BTreeSet<String>) {
    let state = meta.state();
    let mut current = std::collections::BTreeSet::new();
    for collection in state.collections() {
        // What this node holds of it.
        let table = shards.table();
        let running = collection.shards.iter().filter_map(|shard| table.running.get(shard));
        let statuses: Vec<_> = running.map(|shard| shard.shard().status()).collect();
        set_figures(
            &collection.name,
            statuses.iter().map(|status| status.point_count).sum(),
            statuses.iter().map(|status| status.indexed_vector_count).sum(),
            statuses.iter().map(|status| status.tail_vector_count).sum(),
        );
        current.insert(collection.name.clone());
    }
    for gone in reported.difference(&current) {
        set_figures(gone, 0, 0, 0);
    }
    *reported = current;
    metrics::gauge!("quiver_collections").set(state.collections().count() as f64);
}

fn set_figures(collection: &str, points: u64, indexed: u64, tail: u64) {
    let collection = collection.to_owned();
    metrics::gauge!("quiver_points", "collection" => collection.clone()).set(points as f64);
    metrics::gauge!("quiver_indexed_vectors", "collection" => collection.clone()).set(indexed as f64);
    metrics::gauge!("quiver_tail_vectors", "collection" => collection).set(tail as f64);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_checkpoint_is_due_by_share_of_change_rest_and_age() {
        let due = |unsaved, indexed, is_idle, elapsed_s| {
            let (elapsed, interval) = (Duration::from_secs(elapsed_s), Duration::from_secs(30));
            Due { unsaved, indexed, is_idle, elapsed, interval }.is_due()
        };
        assert!(!due(0, 0, true, 10_000), "nothing changed");
        assert!(!due(1_000, 1_000, true, 29), "too soon");
        assert!(due(100, 1_000, false, 30) && !due(99, 1_000, false, 30), "a tenth, while busy");
        assert!(due(10, 1_000, true, 30) && !due(9, 1_000, true, 30), "a hundredth, at rest");
        assert!(due(1, 1_000_000, false, 300) && !due(1, 1_000_000, true, 299), "anything, at last");
    }
}
