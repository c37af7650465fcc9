//! Ways to keep a service busy, for tests of time limits.

use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use super::Service;
use super::seat::Seat;
use crate::index::Stop;

/// How long a thread may take to get to its job.
const PATIENCE: Duration = Duration::from_secs(30);

/// Something is kept busy until this is dropped.
pub(crate) struct Stalled {
    _release: Vec<Sender<()>>,
}

fn stall(started: &Sender<()>, released: &Receiver<()>) {
    let _ = started.send(());
    // Ends when the other end is dropped.
    let _ = released.recv();
}

impl Service {
    /// Keeps `count` search threads busy.
    pub(crate) fn stall_searches(&self, count: usize) -> Stalled {
        let (started, starts) = channel();
        let mut release = Vec::new();
        for _ in 0..count {
            let (sender, released) = channel();
            release.push(sender);
            let (service, started) = (self.clone(), started.clone());
            let job = move |_: &Stop| {
                stall(&started, &released);
                Ok(())
            };
            tokio::spawn(async move { service.running.pool.run("a stall", None, job).await });
        }
        (0..count).for_each(|_| starts.recv_timeout(PATIENCE).unwrap());
        Stalled { _release: release }
    }

    /// Keeps every shard of the collection from applying changes.
    pub(crate) fn stall_changes(&self, collection: &str) -> Stalled {
        let collection = self.collection(collection).unwrap();
        let Ok(shards) = self.seats(&collection) else { panic!("its shards do not run") };
        let (started, starts) = channel();
        let mut release = Vec::new();
        for running in shards.iter().filter_map(Seat::here) {
            let (sender, released) = channel();
            release.push(sender);
            let (shard, started) = (running.shard(), started.clone());
            tokio::task::spawn_blocking(move || {
                let _held = shard.hold_changes();
                stall(&started, &released);
            });
            starts.recv_timeout(PATIENCE).unwrap();
        }
        Stalled { _release: release }
    }
}
