//! Groups as a whole: openraft's own suite, restarts, purges, shared syncs, order, refusals.

use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::future::join_all;
use openraft::testing::log::{StoreBuilder, Suite};
use parking_lot::{Condvar, Mutex};
use tempfile::TempDir;
use tokio::sync::mpsc;

use super::applier::{Applier, Progress};
use super::encoding::Types;
use super::flusher::Flusher;
use super::log_store::LogStore;
use super::*;
use crate::storage::{DbSettings, LogDb};

pub(crate) const SHARD: ShardId = ShardId(7);

fn db_settings() -> DbSettings {
    DbSettings { block_cache_bytes: 1 << 20, memtable_bytes: 1 << 20, reserve_bytes: 0 }
}

pub(crate) fn settings() -> Settings {
    Settings {
        queue_entries_max: 1_000,
        queue_bytes_max: 1 << 20,
        snapshot_entries: 1_000_000,
        snapshot_bytes: 1 << 30,
        log_kept_bytes: 0,
        start_timeout: Duration::from_secs(20),
    }
}

pub(crate) fn open_logs(folder: &Path) -> Arc<LogDb> {
    Arc::new(LogDb::open(folder, &db_settings()).unwrap())
}

/// A state machine that remembers what it was given, and what of that survives a crash.
#[derive(Default)]
pub(crate) struct Ledger {
    live: Mutex<Book>,
    durable: Mutex<Book>,
    /// Lengths of the runs that were applied since it was made.
    runs: Mutex<Vec<usize>>,
    flush_count: AtomicUsize,
    is_full: AtomicBool,
    is_broken: AtomicBool,
    is_held: Mutex<bool>,
    released: Condvar,
    /// How often a whole state was put in place of this one.
    pub(crate) import_count: AtomicUsize,
    /// Checked at every flush: nothing may be purged that is not durable yet.
    logs: Mutex<Weak<LogDb>>,
}

#[derive(Clone, Default)]
struct Book {
    position: Option<Position>,
    commands: Vec<(u64, Vec<u8>)>,
}

impl Ledger {
    /// What is left of it after a crash.
    pub(crate) fn after_crash(&self) -> Arc<Ledger> {
        let durable = self.durable.lock().clone();
        Arc::new(Ledger { live: Mutex::new(durable.clone()), durable: Mutex::new(durable), ..Ledger::default() })
    }

    pub(crate) fn commands(&self) -> Vec<Vec<u8>> {
        self.live.lock().commands.iter().map(|(_, command)| command.clone()).collect()
    }

    fn hold(&self) {
        *self.is_held.lock() = true;
    }

    fn release(&self) {
        *self.is_held.lock() = false;
        self.released.notify_all();
    }

    fn room(&self) -> Result<(), StorageError> {
        if self.is_broken.load(Ordering::SeqCst) {
            return Err(StorageError::Failed { path: "ledger".into(), what: "broken".to_owned() });
        }
        if self.is_full.load(Ordering::SeqCst) {
            return Err(StorageError::OutOfDisk { path: "ledger".into() });
        }
        Ok(())
    }
}

impl StateMachine for Ledger {
    fn apply(&self, entries: &[Committed<'_>], position: &Position) -> Result<Vec<Vec<u8>>, StorageError> {
        let mut is_held = self.is_held.lock();
        self.released.wait_while(&mut is_held, |is_held| *is_held);
        self.room()?;
        self.runs.lock().push(entries.len());
        let mut live = self.live.lock();
        live.position = Some(position.clone());
        let mut replies = Vec::new();
        for entry in entries {
            if let Some(command) = entry.command {
                live.commands.push((entry.index, command.to_vec()));
                replies.push([b"did ", command].concat());
            }
        }
        Ok(replies)
    }

    fn position(&self) -> Result<Option<Position>, StorageError> {
        Ok(self.live.lock().position.clone())
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.room()?;
        let live = self.live.lock().clone();
        if let Some(logs) = self.logs.lock().upgrade() {
            let durable = self.durable.lock().commands.last().map_or(0, |(index, _)| *index);
            let first = logs.bounds(SHARD).indexes.start;
            assert!(first <= durable + 1, "purged to {first}, flushed to {durable}");
        }
        *self.durable.lock() = live;
        self.flush_count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }

    fn export(&self, folder: &Path) -> Result<Position, StorageError> {
        let Book { position, commands } = self.live.lock().clone();
        let position = position.unwrap();
        std::fs::write(folder.join("book"), postcard::to_stdvec(&(&position.0, commands)).unwrap()).unwrap();
        Ok(position)
    }

    fn import(&self, folder: &Path, position: &Position) -> Result<(), StorageError> {
        self.room()?;
        let bytes = std::fs::read(folder.join("book")).unwrap();
        let (stands_at, commands): (Vec<u8>, Vec<(u64, Vec<u8>)>) = postcard::from_bytes(&bytes).unwrap();
        assert_eq!(stands_at, position.0);
        let book = Book { position: Some(position.clone()), commands };
        *self.durable.lock() = book.clone();
        *self.live.lock() = book;
        self.import_count.fetch_add(1, Ordering::SeqCst);
        Ok(())
    }
}

/// What a killed process leaves on disk, near enough: the files as they are right now.
pub(crate) fn image(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().unwrap();
    std::fs::create_dir(copy.path().join("db")).unwrap();
    for part in ["", "db"] {
        for entry in std::fs::read_dir(folder.join(part)).unwrap() {
            let entry = entry.unwrap();
            if entry.file_type().unwrap().is_file() {
                std::fs::copy(entry.path(), copy.path().join(part).join(entry.file_name())).unwrap();
            }
        }
    }
    copy
}

async fn propose_all(group: &Group, commands: impl IntoIterator<Item = u32>) -> Vec<Proposed> {
    let proposals = commands.into_iter().map(|command| group.propose(command.to_be_bytes().to_vec()));
    join_all(proposals).await.into_iter().map(Result::unwrap).collect()
}

/// What was proposed at the same time has nobody's order.
fn in_order(mut commands: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    commands.sort_unstable();
    commands
}

fn numbers(commands: impl IntoIterator<Item = u32>) -> Vec<Vec<u8>> {
    commands.into_iter().map(|command| command.to_be_bytes().to_vec()).collect()
}

struct Stores;

impl StoreBuilder<Types, LogStore, Applier, TempDir> for Stores {
    async fn build(&self) -> Result<(TempDir, LogStore, Applier), openraft::StorageError<Types>> {
        let folder = tempfile::tempdir().unwrap();
        let logs = open_logs(folder.path());
        let flusher = Arc::new(Flusher::start(logs.clone()).unwrap());
        let (in_use, _) = mpsc::channel(1);
        let progress = Arc::new(Progress::new(1_000, 1_000));
        let applier = Applier::new(Arc::new(Ledger::default()), progress.clone(), in_use.clone()).unwrap();
        Ok((folder, LogStore { shard: SHARD, logs, flusher, progress, _in_use: in_use }, applier))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn openraft_suite_passes() {
    Suite::test_all(Stores).await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn proposals_are_answered_in_the_order_they_are_applied() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::new(open_logs(folder.path()), settings());
    let ledger = Arc::new(Ledger::default());
    let group = node.start_group(SHARD, ledger.clone()).await.unwrap();
    let mut proposed = propose_all(&group, 0..500).await;
    for (command, proposed) in (0u32..).zip(&proposed) {
        assert_eq!(proposed.reply, [&b"did "[..], &command.to_be_bytes()].concat());
        assert_eq!(ledger.live.lock().commands.iter().filter(|(index, _)| *index == proposed.index).count(), 1);
    }
    proposed.sort_by_key(|proposed| proposed.index);
    let applied: Vec<_> = ledger.commands().iter().map(|command| [&b"did "[..], command].concat()).collect();
    assert_eq!(proposed.into_iter().map(|proposed| proposed.reply).collect::<Vec<_>>(), applied);
    group.read_barrier().await.unwrap();
    let status = group.status();
    assert!(status.is_leader);
    assert_eq!(status.applied, status.last_log_index);
    assert_eq!(status.committed, status.last_log_index);
    node.shutdown().await.unwrap();
}

#[tokio::test]
async fn proposals_that_wait_together_share_appends_syncs_and_applies() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open_logs(folder.path());
    let node = Node::new(logs.clone(), settings());
    let ledger = Arc::new(Ledger::default());
    let group = node.start_group(SHARD, ledger.clone()).await.unwrap();
    let (syncs, runs) = (logs.sync_count(), ledger.runs.lock().len());
    // One thread runs everything, so all 300 are queued before the core sees the first.
    propose_all(&group, 0..300).await;
    assert!(logs.sync_count() - syncs <= 5, "{} syncs", logs.sync_count() - syncs);
    assert!(ledger.runs.lock().len() - runs <= 5, "{:?}", ledger.runs.lock());
    assert_eq!(in_order(ledger.commands()), numbers(0..300));
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_crash_loses_nothing_acknowledged_and_replays_exactly_the_missing_tail() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::new(open_logs(folder.path()), settings());
    let ledger = Arc::new(Ledger::default());
    let group = node.start_group(SHARD, ledger.clone()).await.unwrap();
    for command in 0..20 {
        propose_all(&group, [command]).await;
    }
    ledger.flush().unwrap();
    for command in 20..33 {
        propose_all(&group, [command]).await;
    }
    let term = group.status().term;
    let (crashed, left) = (image(folder.path()), ledger.after_crash());
    assert_eq!(in_order(left.commands()), numbers(0..20));

    let node_after = Node::new(open_logs(crashed.path()), settings());
    let group_after = node_after.start_group(SHARD, left.clone()).await.unwrap();
    assert_eq!(in_order(left.commands()), numbers(0..33));
    // The 13 missing commands and the blank entry of the new term.
    assert_eq!(left.runs.lock().iter().sum::<usize>(), 14);
    assert!(group_after.status().term > term, "a vote was lost");
    propose_all(&group_after, [33]).await;
    assert_eq!(in_order(left.commands()), numbers(0..34));
    node_after.shutdown().await.unwrap();
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clean_restart_replays_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let ledger = Arc::new(Ledger::default());
    let node = Node::new(open_logs(folder.path()), settings());
    let group = node.start_group(SHARD, ledger.clone()).await.unwrap();
    propose_all(&group, 0..20).await;
    node.shutdown().await.unwrap();
    assert!(matches!(group.propose(vec![1]).await, Err(ProposeError::Unavailable { .. })));
    drop((group, node));
    let left = ledger.after_crash();
    let node = Node::new(open_logs(folder.path()), settings());
    node.start_group(SHARD, left.clone()).await.unwrap();
    assert_eq!(in_order(left.commands()), numbers(0..20));
    assert_eq!(left.runs.lock().iter().sum::<usize>(), 1, "only the blank entry of the new term");
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_log_is_purged_only_behind_a_finished_flush() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open_logs(folder.path());
    let node = Node::new(logs.clone(), Settings { snapshot_entries: 10, ..settings() });
    let ledger = Arc::new(Ledger::default());
    *ledger.logs.lock() = Arc::downgrade(&logs);
    let group = node.start_group(SHARD, ledger.clone()).await.unwrap();
    for command in 0..200 {
        propose_all(&group, [command]).await;
        let first = logs.bounds(SHARD).indexes.start;
        let durable = ledger.durable.lock().commands.last().map_or(0, |(index, _)| *index);
        assert!(first <= durable + 1, "purged to {first}, flushed to {durable}");
    }
    node.shutdown().await.unwrap();
    assert!(ledger.flush_count.load(Ordering::SeqCst) > 5);
    assert!(logs.bounds(SHARD).indexes.start > 100, "{:?}", logs.bounds(SHARD));
    drop((group, node));

    // What is left of the log and the flushed state still make the whole.
    let left = ledger.after_crash();
    let node = Node::new(logs, settings());
    let group = node.start_group(SHARD, left.clone()).await.unwrap();
    propose_all(&group, [200]).await;
    assert_eq!(in_order(left.commands()), numbers(0..201));
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_alone_make_a_snapshot_due() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open_logs(folder.path());
    let node = Node::new(logs.clone(), Settings { snapshot_bytes: 10_000, ..settings() });
    let ledger = Arc::new(Ledger::default());
    let group = node.start_group(SHARD, ledger.clone()).await.unwrap();
    for _ in 0..30 {
        group.propose(vec![1; 1_000]).await.unwrap();
    }
    while ledger.flush_count.load(Ordering::SeqCst) == 0 {
        tokio::task::yield_now().await;
    }
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn groups_live_side_by_side_and_one_can_be_removed() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open_logs(folder.path());
    let node = Node::new(logs.clone(), settings());
    let ledgers: Vec<_> = (0..3).map(|_| Arc::new(Ledger::default())).collect();
    let mut groups = Vec::new();
    for (shard, ledger) in (1..).map(ShardId).zip(&ledgers) {
        groups.push(node.start_group(shard, ledger.clone()).await.unwrap());
    }
    assert!(matches!(
        node.start_group(ShardId(1), ledgers[0].clone()).await,
        Err(StartError::Running { shard: ShardId(1) })
    ));
    join_all(groups.iter().map(|group| propose_all(group, 0..100))).await;
    for ledger in &ledgers {
        let mut commands = ledger.commands();
        commands.sort();
        assert_eq!(commands, numbers(0..100));
    }
    node.remove_group(ShardId(2)).await.unwrap();
    assert_eq!(logs.shards(), [ShardId(1), ShardId(3)]);
    assert!(matches!(groups[1].propose(vec![1]).await, Err(ProposeError::Unavailable { .. })));
    assert!(groups[1].read_barrier().await.is_err());
    propose_all(&groups[2], [100]).await;
    // The number may be used again: its log begins anew.
    let fresh = Arc::new(Ledger::default());
    let group = node.start_group(ShardId(2), fresh.clone()).await.unwrap();
    propose_all(&group, [5]).await;
    assert_eq!(fresh.commands(), numbers([5]));
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_ends_before_the_applied_state_refuses_to_start() {
    let (folder, empty) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let node = Node::new(open_logs(folder.path()), settings());
    let ledger = Arc::new(Ledger::default());
    let group = node.start_group(SHARD, ledger.clone()).await.unwrap();
    propose_all(&group, 0..5).await;
    node.shutdown().await.unwrap();
    let node = Node::new(open_logs(empty.path()), settings());
    match node.start_group(SHARD, ledger).await {
        Err(StartError::Storage(StorageError::Damaged { what, .. })) => assert!(what.contains("shard 7"), "{what}"),
        other => panic!("{:?}", other.map(|group| group.status())),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_disk_refuses_proposals_and_goes_on_by_itself_once_there_is_room() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::new(open_logs(folder.path()), settings());
    let ledger = Arc::new(Ledger::default());
    let group = node.start_group(SHARD, ledger.clone()).await.unwrap();
    ledger.is_full.store(true, Ordering::SeqCst);
    let waiting = tokio::spawn({
        let group = group.clone();
        async move { group.propose(vec![1]).await }
    });
    let is_refused = |outcome: &Result<Proposed, ProposeError>| matches!(outcome, Err(ProposeError::Storage(error)) if matches!(**error, StorageError::OutOfDisk { .. }));
    while !group.progress.is_out_of_disk() {
        tokio::task::yield_now().await;
    }
    assert!(is_refused(&group.propose(vec![2]).await));
    group.read_barrier().await.unwrap();
    ledger.is_full.store(false, Ordering::SeqCst);
    waiting.await.unwrap().unwrap();
    group.propose(vec![3]).await.unwrap();
    assert_eq!(ledger.commands(), [vec![1], vec![3]]);
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn less_than_the_reserve_refuses_proposals_before_they_reach_the_log() {
    let folder = tempfile::tempdir().unwrap();
    let reserve = DbSettings { reserve_bytes: u64::MAX, ..db_settings() };
    let logs = Arc::new(LogDb::open(folder.path(), &reserve).unwrap());
    let node = Node::new(logs.clone(), settings());
    let group = node.start_group(SHARD, Arc::new(Ledger::default())).await.unwrap();
    let before = logs.bounds(SHARD);
    let refused = group.propose(vec![1]).await;
    assert!(matches!(refused, Err(ProposeError::Storage(error)) if matches!(*error, StorageError::OutOfDisk { .. })));
    assert_eq!(logs.bounds(SHARD), before);
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_full_queue_refuses_and_dropped_callers_do_not_withdraw() {
    let folder = tempfile::tempdir().unwrap();
    let bounds = Settings { queue_entries_max: 4, queue_bytes_max: 1_000, ..settings() };
    let node = Node::new(open_logs(folder.path()), bounds);
    let ledger = Arc::new(Ledger::default());
    let group = node.start_group(SHARD, ledger.clone()).await.unwrap();
    let is_refused = |outcome| matches!(outcome, Err(ProposeError::QueueFull { .. }));
    assert!(is_refused(group.propose(vec![0; 1_001]).await));
    ledger.hold();
    for command in 0..4u32 {
        let mut proposal = Box::pin(group.propose(command.to_be_bytes().to_vec()));
        // Polled once, then dropped.
        assert!(futures::poll!(&mut proposal).is_pending());
    }
    assert!(is_refused(group.propose(vec![9]).await));
    ledger.release();
    while group.queue_entries.available_permits() < 4 {
        tokio::task::yield_now().await;
    }
    // Nobody waited between them, so their order is free.
    let mut commands = ledger.commands();
    commands.sort_unstable();
    assert_eq!(commands, numbers(0..4));
    group.propose(vec![9]).await.unwrap();
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failed_sync_nothing_is_acknowledged() {
    let folder = tempfile::tempdir().unwrap();
    let logs = open_logs(folder.path());
    let node = Node::new(logs.clone(), settings());
    let ledger = Arc::new(Ledger::default());
    let group = node.start_group(SHARD, ledger.clone()).await.unwrap();
    group.propose(vec![1]).await.unwrap();
    logs.fail_next_sync();
    assert!(matches!(group.propose(vec![2]).await, Err(ProposeError::Unknown { .. })));
    assert!(matches!(group.propose(vec![3]).await, Err(ProposeError::Unavailable { .. })));
    assert!(matches!(group.read_barrier().await, Err(ProposeError::Unavailable { .. })));
    assert_eq!(ledger.commands(), [vec![1]]);
    assert!(matches!(logs.sync(), Err(StorageError::Failed { .. })), "a retry must not look like success");
    node.shutdown().await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_state_machine_stops_its_group_only() {
    let folder = tempfile::tempdir().unwrap();
    let node = Node::new(open_logs(folder.path()), settings());
    let (broken, well) = (Arc::new(Ledger::default()), Arc::new(Ledger::default()));
    let group = node.start_group(SHARD, broken.clone()).await.unwrap();
    let other = node.start_group(ShardId(8), well).await.unwrap();
    broken.is_broken.store(true, Ordering::SeqCst);
    assert!(matches!(group.propose(vec![1]).await, Err(ProposeError::Unknown { .. })));
    other.propose(vec![1]).await.unwrap();
    assert!(node.shutdown().await.is_err());
}
