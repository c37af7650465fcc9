//! Work in the background, watched until it is done.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use super::client::{Client, Enabled};
use super::{Failure, enabled};

const LOOK_INTERVAL: Duration = Duration::from_millis(500);
/// Looks at which nothing must have changed: between two moves there are moments at which none is under way.
const STILL_LOOKS: u32 = 6;

/// Until a node holds no replicas.
pub(super) fn until_empty(client: &Client, node: u64) -> Result<(), Failure> {
    let held = |cluster: &Enabled| cluster.peers.get(&node.to_string()).map_or(0, |peer| peer.replicas);
    let first = held(&enabled(client)?);
    let bar = bar("replicas moved", first);
    loop {
        let cluster = enabled(client)?;
        let on_their_way = client.transfers()?;
        let left = held(&cluster);
        bar.set_position(first.saturating_sub(left));
        if left == 0 && on_their_way.is_empty() {
            bar.finish_and_clear();
            return Ok(());
        }
        pause();
    }
}

/// Until a collection has the shards it was to have.
pub(super) fn until_split(client: &Client, collection: &str) -> Result<(), Failure> {
    let mut shown: Option<ProgressBar> = None;
    while let Some(now) = client.resharding(collection)? {
        let bar = shown.get_or_insert_with(|| bar("shards copied and closed", 2 * now.from_shards));
        bar.set_position(now.copied_shards + now.closed_shards);
        pause();
    }
    if let Some(bar) = shown {
        bar.finish_and_clear();
    }
    Ok(())
}

/// Until replicas stay where they are and nothing is on its way.
pub(super) fn until_still(client: &Client) -> Result<(), Failure> {
    let places = |cluster: &Enabled| -> Vec<(String, u64)> {
        cluster.peers.iter().map(|(id, peer)| (id.clone(), peer.replicas)).collect()
    };
    let total: u64 = places(&enabled(client)?).iter().map(|(_, replicas)| replicas).sum();
    let bar = bar("replicas that stay", total);
    let (mut last, mut still_looks) = (Vec::new(), 0);
    while still_looks < STILL_LOOKS {
        let (now, on_their_way) = (places(&enabled(client)?), client.transfers()?);
        bar.set_position(total.saturating_sub(on_their_way.len() as u64));
        still_looks = if now == last && on_their_way.is_empty() { still_looks + 1 } else { 0 };
        last = now;
        pause();
    }
    bar.finish_and_clear();
    Ok(())
}

/// Nobody calls when it is done: it is asked again.
#[expect(clippy::disallowed_methods, reason = "a program that only waits may sleep")]
fn pause() {
    std::thread::sleep(LOOK_INTERVAL);
}

/// Drawn only if stderr is a terminal.
fn bar(what: &'static str, length: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{msg} {wide_bar} {pos}/{len} {elapsed}");
    ProgressBar::new(length).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar())).with_message(what)
}
