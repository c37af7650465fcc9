//! What one replica was takes the place of what another one is.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::tests::{DB, Reference, Rng, check_equal, reopen, settings};
use super::*;
use crate::model::ids::ShardId;
use crate::storage::PointDb;

const SHARD: ShardId = ShardId(3);

/// A replica, the points it should have, and where its log stands.
struct Side {
    dir: tempfile::TempDir,
    db: PointDb,
    replica: Replica,
    reference: Reference,
    index: u64,
    calls: Arc<AtomicUsize>,
}

fn open(db: &PointDb, dir: &Path, calls: &Arc<AtomicUsize>) -> Replica {
    let calls = Arc::clone(calls);
    let on_change = Box::new(move || _ = calls.fetch_add(1, Ordering::SeqCst));
    Replica::open(db.shard(SHARD), settings(&dir.join("index"), true), on_change).unwrap()
}

impl Side {
    fn new() -> Side {
        let dir = tempfile::tempdir().unwrap();
        let db = PointDb::open(&dir.path().join("kvdb"), &DB).unwrap();
        let calls = Arc::default();
        let replica = open(&db, dir.path(), &calls);
        Side { dir, db, replica, reference: Reference::default(), index: 0, calls }
    }

    fn change(&mut self, rng: &mut Rng, steps: usize) {
        for _ in 0..steps {
            let op = rng.op();
            self.reference.apply(&op);
            self.index += 1;
            let command = encode_command(&op);
            let entry = Entry { index: self.index, command: Some(&command) };
            self.replica.apply(&[entry], &self.index.to_be_bytes()).unwrap();
        }
    }

    fn check(&self, reference: &Reference, rng: &mut Rng) {
        let shard = self.replica.shard();
        shard.validate().unwrap();
        check_equal(&shard, reference, rng);
    }

    /// As after a crash: what was not flushed is gone.
    fn crash(self) -> Side {
        let Side { dir, db, replica, reference, index, calls } = self;
        drop(replica);
        let db = reopen(db, dir.path());
        let replica = open(&db, dir.path(), &calls);
        Side { dir, db, replica, reference, index, calls }
    }
}

#[test]
fn a_state_that_was_sent_takes_the_place_of_another() {
    let mut rng = Rng(11);
    let (mut leader, mut behind) = (Side::new(), Side::new());
    behind.change(&mut rng, 80);
    behind.replica.shard().checkpoint().unwrap();
    // There and back: each time the state is at the other of its two places.
    for round in 0..3 {
        leader.change(&mut rng, 120);
        let files = tempfile::tempdir().unwrap();
        let position = leader.replica.export(files.path()).unwrap().unwrap();
        assert_eq!(position, leader.index.to_be_bytes());
        let before = behind.replica.shard();
        let (points, calls) = (before.point_count(), behind.calls.load(Ordering::SeqCst));
        behind.replica.import(files.path(), &position).unwrap();
        behind.check(&leader.reference, &mut rng);
        assert_eq!(behind.replica.shard().position().unwrap(), Some(position.clone()));
        assert!(behind.calls.load(Ordering::SeqCst) > calls, "nobody is told that there is index work");
        // Who reads the old one reads on.
        assert_eq!(before.point_count(), points);
        before.validate().unwrap();
        let (reader, read) = (std::thread::spawn(move || before.point_count()), points);
        assert_eq!(reader.join().unwrap(), read);
        while behind.replica.shard().index_work(64) > 0 {}
        behind.replica.shard().checkpoint().unwrap();
        // It is durable without a flush of its own.
        behind = behind.crash();
        behind.check(&leader.reference, &mut rng);
        assert_eq!(behind.db.shards().unwrap(), [SHARD]);
        assert_eq!(behind.db.shard(SHARD).is_second(), round % 2 == 0);
        behind.index = leader.index;
    }
}

#[test]
fn what_arrives_damaged_changes_nothing() {
    let mut rng = Rng(12);
    let (mut leader, mut behind) = (Side::new(), Side::new());
    leader.change(&mut rng, 100);
    behind.change(&mut rng, 60);
    behind.replica.shard().flush().unwrap();
    let files = tempfile::tempdir().unwrap();
    let position = leader.replica.export(files.path()).unwrap().unwrap();
    let file = files.path().join("state");
    let sound = std::fs::read(&file).unwrap();
    let mut bad = sound.clone();
    let last = bad.len() - 20;
    bad[last] ^= 1;
    std::fs::write(&file, &bad).unwrap();
    assert!(matches!(behind.replica.import(files.path(), &position), Err(StorageError::Damaged { .. })));
    let reference = std::mem::take(&mut behind.reference);
    behind.check(&reference, &mut rng);
    // The half that was taken in is gone with the next start, or the next state that is sent.
    behind = behind.crash();
    behind.check(&reference, &mut rng);
    std::fs::write(&file, &sound).unwrap();
    behind.replica.import(files.path(), &position).unwrap();
    behind.check(&leader.reference, &mut rng);
}

#[test]
fn nothing_of_a_shard_is_left_at_either_place() {
    let mut rng = Rng(13);
    let (mut leader, behind) = (Side::new(), Side::new());
    leader.change(&mut rng, 50);
    let files = tempfile::tempdir().unwrap();
    let position = leader.replica.export(files.path()).unwrap().unwrap();
    behind.replica.import(files.path(), &position).unwrap();
    let Side { dir, db, replica, .. } = behind;
    drop(replica);
    Replica::delete_all(&db.shard(SHARD), &dir.path().join("index")).unwrap();
    assert!(db.shards().unwrap().is_empty());
    assert!(!db.shard(SHARD).is_second());
    assert_eq!(db.shard(SHARD).view().iter_heads(None).count(), 0);
    assert!(!dir.path().join("index").exists() && !dir.path().join("index.second").exists());
}
