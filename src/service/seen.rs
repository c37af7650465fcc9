//! Up to where the logs of a read's shards had been applied when it was answered, told beside the answer.

use std::cell::RefCell;
use std::fmt::Write;
use std::sync::atomic::Ordering;

use super::seat::{Seat, View};

tokio::task_local! {
    static SEEN: RefCell<String>;
}

/// Runs a call; beside its answer, `shard=index` of each shard it read, by the shards' numbers in their collection and
/// parted by commas. The answer saw every change of that log up to that index, and may have seen later ones. `None`: it
/// read no shards.
pub async fn with_applied_indexes<T>(call: impl Future<Output = T>) -> (T, Option<String>) {
    let noting = async {
        let answer = call.await;
        (answer, SEEN.with(RefCell::take))
    };
    let (answer, seen) = SEEN.scope(RefCell::default(), noting).await;
    (answer, Some(seen).filter(|seen| !seen.is_empty()))
}

/// Notes where the shards of a read are, before they are read. The first view of a call is the one that counts: further
/// ones are looked up for it.
pub(super) fn note(view: &View) {
    // Outside of a call, as in tests, nobody asks.
    let _ = SEEN.try_with(|seen| {
        let mut seen = seen.borrow_mut();
        if !seen.is_empty() {
            return;
        }
        for seat in view.shards.iter() {
            let index = match seat {
                Seat::Here(running) => running.group.applied_index(),
                Seat::There(distant) => distant.at_least.load(Ordering::Acquire),
            };
            // A distant replica as it stands has said nothing of itself.
            if index > 0 {
                let part = if seen.is_empty() { "" } else { "," };
                let _ = write!(seen, "{part}{}={index}", view.collection.shard_number(seat.id()));
            }
        }
    });
}
