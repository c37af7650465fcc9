//! Up to where the logs of a read's shards had been applied when it was answered, told beside the answer.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;

use super::seat::{Seat, View};

/// By shard number, of the collection that a call read first.
#[derive(Default)]
struct Seen {
    created_index: Option<u64>,
    indexes: BTreeMap<u64, u64>,
}

tokio::task_local! {
    static SEEN: RefCell<Seen>;
}

/// Runs a call; beside its answer, `shard=index` of each shard it read, by the shards' numbers in their collection and
/// parted by commas. The answer saw every change of that log up to that index, and may have seen later ones. `None`: it
/// read no shards.
pub async fn with_applied_indexes<T>(call: impl Future<Output = T>) -> (T, Option<String>) {
    let noting = async {
        let answer = call.await;
        (answer, SEEN.with(RefCell::take).indexes)
    };
    let (answer, indexes) = SEEN.scope(RefCell::default(), noting).await;
    let parts: Vec<String> = indexes.into_iter().map(|(number, index)| format!("{number}={index}")).collect();
    (answer, (!parts.is_empty()).then(|| parts.join(",")))
}

/// Notes where the shards of a read are, before they are read. The collection that is read first counts: others are looked up
/// for it.
pub(super) fn note(view: &View) {
    // Outside of a call, as in tests, nobody asks.
    let _ = SEEN.try_with(|seen| {
        let mut seen = seen.borrow_mut();
        let created_index = view.collection.created_index;
        if *seen.created_index.get_or_insert(created_index) != created_index {
            return;
        }
        for seat in view.shards.iter() {
            let index = match seat {
                Seat::Here(running) => running.group.applied_index(),
                Seat::There(distant) => distant.at_least.load(Ordering::Acquire),
            };
            // A distant replica as it stands has said nothing of itself.
            if index > 0 {
                // Read twice, it saw no less the first time.
                seen.indexes.entry(view.collection.shard_number(seat.id())).or_insert(index);
            }
        }
    });
}
