//! The one thread of a node that makes Raft logs durable.
//!
//! Every append and vote of every group queues a callback here; the thread takes all that wait, syncs once, and calls
//! them back. So N groups and N writers share each sync, and the slower the device, the more they share.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use crate::storage::{LogDb, StorageError};

/// Called on the flusher's thread once what was written before is durable, or with why it is not.
type Callback = Box<dyn FnOnce(Result<(), Arc<StorageError>>) + Send>;

/// The handle. Dropping it waits for the thread to call back everything queued.
pub(super) struct Flusher {
    /// Not bounded by itself: each group bounds its proposals under way.
    queue: Option<Sender<Callback>>,
    thread: Option<JoinHandle<()>>,
    failure: Arc<OnceLock<Arc<StorageError>>>,
}

impl Flusher {
    /// Starts the thread.
    pub(super) fn start(logs: Arc<LogDb>) -> std::io::Result<Flusher> {
        let (queue, waiting) = channel();
        let failure = Arc::new(OnceLock::new());
        let thread_failure = failure.clone();
        let thread = std::thread::Builder::new()
            .name("raft-flusher".to_owned())
            .spawn(move || flush_loop(&logs, &waiting, &thread_failure))?;
        Ok(Flusher { queue: Some(queue), thread: Some(thread), failure })
    }

    /// Calls `callback` once everything written to the log before this call is durable.
    pub(super) fn after_sync(&self, callback: impl FnOnce(Result<(), Arc<StorageError>>) + Send + 'static) {
        if let Some(queue) = &self.queue {
            // The thread outlives the sender, so this cannot fail; were it gone, openraft would see its callback
            // dropped.
            let _ = queue.send(Box::new(callback));
        }
    }

    /// The sync that failed, after which nothing is durable any more.
    pub(super) fn failure(&self) -> Option<&Arc<StorageError>> {
        self.failure.get()
    }
}

impl Drop for Flusher {
    fn drop(&mut self) {
        self.queue = None;
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn flush_loop(logs: &LogDb, waiting: &Receiver<Callback>, failure: &OnceLock<Arc<StorageError>>) {
    let mut callbacks = Vec::new();
    while let Ok(first) = waiting.recv() {
        callbacks.push(first);
        callbacks.extend(waiting.try_iter());
        let outcome = logs.sync().map_err(|error| failure.get_or_init(|| Arc::new(error)).clone());
        for callback in callbacks.drain(..) {
            callback(outcome.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ShardId;
    use crate::storage::{DbSettings, LogRecord};

    #[test]
    fn groups_that_wait_together_share_one_sync() {
        let folder = tempfile::tempdir().unwrap();
        let settings = DbSettings { block_cache_bytes: 1 << 20, memtable_bytes: 1 << 20, reserve_bytes: 0 };
        let logs = Arc::new(LogDb::open(folder.path(), &settings).unwrap());
        let flusher = Flusher::start(logs.clone()).unwrap();
        // The first callback holds the thread until all others are queued.
        let (hold, is_held) = channel();
        let (release, released) = channel::<()>();
        flusher.after_sync(move |_| {
            hold.send(()).unwrap();
            released.recv().unwrap();
        });
        is_held.recv().unwrap();
        let (done, called_back) = channel();
        for shard in 0..20 {
            logs.append(ShardId(shard), &[LogRecord { index: 0, bytes: vec![1] }]).unwrap();
            let done = done.clone();
            flusher.after_sync(move |outcome| done.send((shard, outcome.is_ok())).unwrap());
        }
        release.send(()).unwrap();
        drop(flusher);
        drop(done);
        assert_eq!(called_back.iter().collect::<Vec<_>>(), (0..20).map(|shard| (shard, true)).collect::<Vec<_>>());
        assert_eq!(logs.sync_count(), 2);
    }
}
