//! A device that fills up: writes are refused with a typed error, reads go on, and writes succeed again without a
//! restart once there is room. Needs root for a small tmpfs of its own; says so and passes where that is impossible.

use std::ffi::CString;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use quiver::model::{NamedVectors, Payload, PointId, ShardId, Vector};
use quiver::raft::{Committed, Node, Position, ProposeError, Settings, StateMachine};
use quiver::storage::{DbSettings, LogDb, PointDb, PointHead, ShardStore, StorageError};

const DEVICE_BYTES: u64 = 160 << 20;
const RESERVE_BYTES: u64 = 64 << 20;
/// Floats of one vector: 64 KiB.
const DIM: usize = 16 << 10;

/// A tmpfs on a temporary folder, unmounted when dropped.
struct Device {
    folder: tempfile::TempDir,
}

impl Device {
    fn mount() -> Option<Device> {
        let folder = tempfile::tempdir().unwrap();
        let target = CString::new(folder.path().as_os_str().as_bytes()).unwrap();
        let size = CString::new(format!("size={DEVICE_BYTES}")).unwrap();
        // SAFETY: all four strings are NUL-terminated and live for the length of the call; `data` is the text that
        // tmpfs expects.
        let outcome =
            unsafe { libc::mount(c"tmpfs".as_ptr(), target.as_ptr(), c"tmpfs".as_ptr(), 0, size.as_ptr().cast()) };
        if outcome != 0 {
            eprintln!("SKIPPED: mounting a tmpfs is not allowed here: {}", std::io::Error::last_os_error());
            return None;
        }
        Some(Device { folder })
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes up all space but about `left` bytes, until the file is removed.
    fn fill_up(&self, left: u64) -> PathBuf {
        use std::io::Write;
        let path = self.path().join("ballast");
        let mut ballast = std::fs::File::create(&path).unwrap();
        let block = [0u8; 64 << 10];
        while self.free_bytes() > left {
            if ballast.write_all(&block).is_err() {
                break;
            }
        }
        path
    }

    fn free_bytes(&self) -> u64 {
        let path = CString::new(self.path().as_os_str().as_bytes()).unwrap();
        // SAFETY: an all-zero statvfs is a valid value of a struct of integers.
        let mut stat: libc::statvfs = unsafe { std::mem::zeroed() };
        // SAFETY: `path` is NUL-terminated and `stat` is valid for writes.
        assert_eq!(unsafe { libc::statvfs(path.as_ptr(), &mut stat) }, 0);
        stat.f_bavail * stat.f_frsize
    }
}

impl Drop for Device {
    fn drop(&mut self) {
        let target = CString::new(self.path().as_os_str().as_bytes()).unwrap();
        // SAFETY: `target` is NUL-terminated.
        unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    }
}

fn db_settings(reserve_bytes: u64) -> DbSettings {
    DbSettings { block_cache_bytes: 1 << 20, memtable_bytes: 4 << 20, reserve_bytes }
}

fn settings() -> Settings {
    Settings {
        queue_entries_max: 100,
        queue_bytes_max: 8 << 20,
        snapshot_entries: 100,
        snapshot_bytes: 8 << 20,
        log_kept_bytes: 0,
        start_timeout: Duration::from_secs(20),
    }
}

/// One point per command, named by the command.
struct Points {
    store: ShardStore,
}

fn vector(number: u64) -> Vector {
    Vector::Dense((0..DIM).map(|i| (number * 31 + i as u64) as f32).collect())
}

fn put(store: &ShardStore, number: u64, index: u64, position: &[u8]) -> Result<(), StorageError> {
    let id = PointId::Num(number);
    let mut batch = store.batch();
    batch.put_head(&id, &PointHead { version: index, vectors_version: index });
    batch.put_payload(&id, &Payload::default());
    batch.put_vectors(&id, &NamedVectors::from([(String::new(), vector(number))]));
    batch.set_position(position);
    store.commit(batch)
}

impl StateMachine for Points {
    fn apply(&self, entries: &[Committed<'_>], position: &Position) -> Result<Vec<Vec<u8>>, StorageError> {
        let mut replies = Vec::new();
        for entry in entries {
            match entry.command {
                Some(command) => {
                    let number = u64::from_be_bytes(command[..8].try_into().unwrap());
                    put(&self.store, number, entry.index, &position.0)?;
                    replies.push(Vec::new());
                }
                None => {
                    let mut batch = self.store.batch();
                    batch.set_position(&position.0);
                    self.store.commit(batch)?;
                }
            }
        }
        Ok(replies)
    }

    fn position(&self) -> Result<Option<Position>, StorageError> {
        Ok(self.store.position()?.map(Position))
    }

    fn flush(&self) -> Result<(), StorageError> {
        self.store.flush()
    }

    fn export(&self, folder: &Path) -> Result<Position, StorageError> {
        Ok(Position(self.store.dump(folder)?.unwrap_or_default()))
    }

    fn import(&self, folder: &Path, position: &Position) -> Result<(), StorageError> {
        self.store.replace(folder, &position.0)
    }
}

fn check_points(store: &ShardStore, numbers: &[u64]) {
    for number in numbers {
        let vectors = store.vectors(&PointId::Num(*number)).unwrap();
        assert_eq!(vectors[""], vector(*number), "point {number}");
    }
}

/// A command as large as the vector it stands for.
fn command(number: u64) -> Vec<u8> {
    let mut command = number.to_be_bytes().to_vec();
    command.resize(DIM * 4, 0);
    command
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_refuses_at_the_reserve_keeps_reading_and_goes_on_once_there_is_room() {
    let Some(device) = Device::mount() else { return };
    let logs = Arc::new(LogDb::open(&device.path().join("raftdb"), &db_settings(RESERVE_BYTES)).unwrap());
    let points = PointDb::open(&device.path().join("kvdb"), &db_settings(RESERVE_BYTES)).unwrap();
    let node = Node::new(logs.clone(), settings());
    let store = points.shard(ShardId(1));
    let group = node.start_group(ShardId(1), Arc::new(Points { store: store.clone() })).await.unwrap();

    // 30 MiB are someone else's.
    let ballast = device.path().join("ballast");
    std::fs::write(&ballast, vec![0u8; 30 << 20]).unwrap();
    let mut acknowledged = Vec::new();
    let mut refusal = None;
    'fill: for round in 0..1_000u64 {
        let numbers: Vec<u64> = (round * 8..round * 8 + 8).collect();
        let proposals = numbers.iter().map(|number| group.propose(command(*number)));
        for (number, outcome) in numbers.iter().zip(futures::future::join_all(proposals).await) {
            match outcome {
                Ok(_) => acknowledged.push(*number),
                Err(error) => {
                    refusal = Some(error);
                    break 'fill;
                }
            }
        }
    }
    // The refusal is typed, and what was accepted before it was finished within the reserve.
    match refusal.expect("the device never filled up") {
        ProposeError::Storage(error) => assert!(matches!(*error, StorageError::OutOfDisk { .. }), "{error}"),
        other => panic!("{other}"),
    }
    assert!(acknowledged.len() > 100, "{}", acknowledged.len());
    group.read_barrier().await.unwrap();
    check_points(&store, &acknowledged);
    assert!(group.status().is_leader);

    std::fs::remove_file(&ballast).unwrap();
    for number in 10_000..10_050 {
        group.propose(command(number)).await.unwrap();
        acknowledged.push(number);
    }
    check_points(&store, &acknowledged);
    node.shutdown().await.unwrap();
    drop((group, node, store, points, logs));

    let points = PointDb::open(&device.path().join("kvdb"), &db_settings(RESERVE_BYTES)).unwrap();
    check_points(&points.shard(ShardId(1)), &acknowledged);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_outlives_a_device_whose_reserve_someone_else_took() {
    let Some(device) = Device::mount() else { return };
    // No reserve, so nothing is refused early: the log itself runs out of room.
    let logs = Arc::new(LogDb::open(&device.path().join("raftdb"), &db_settings(0)).unwrap());
    let points = PointDb::open(&device.path().join("kvdb"), &db_settings(0)).unwrap();
    let node = Node::new(logs, settings());
    let store = points.shard(ShardId(1));
    let group = node.start_group(ShardId(1), Arc::new(Points { store: store.clone() })).await.unwrap();
    let ballast = device.fill_up(0);
    let writer = tokio::spawn({
        let group = group.clone();
        async move {
            let mut acknowledged = Vec::new();
            // More than what the log has allocated ahead.
            for number in 0..200 {
                match group.propose(command(number)).await {
                    Ok(_) => acknowledged.push(number),
                    Err(ProposeError::Storage(error)) if matches!(*error, StorageError::OutOfDisk { .. }) => {}
                    Err(other) => panic!("{other}"),
                }
            }
            acknowledged
        }
    });
    // One that came before the first failure waits with the writer's; when those that wait fill the queue, there is no
    // room, either.
    let patience = Duration::from_millis(100);
    loop {
        match tokio::time::timeout(patience, group.propose(command(1_000))).await {
            Ok(Err(ProposeError::Storage(_) | ProposeError::QueueFull { .. })) => break,
            Ok(Err(other)) => panic!("{other}"),
            Ok(Ok(_)) | Err(_) => {}
        }
    }
    group.read_barrier().await.unwrap();
    std::fs::remove_file(ballast).unwrap();
    let acknowledged = writer.await.unwrap();
    while let Err(ProposeError::Storage(_) | ProposeError::QueueFull { .. }) = group.propose(command(2_000)).await {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    check_points(&store, &acknowledged);
    check_points(&store, &[2_000]);
    node.shutdown().await.unwrap();
}

#[test]
fn the_point_store_survives_a_device_without_a_single_free_byte() {
    let Some(device) = Device::mount() else { return };
    let points = PointDb::open(&device.path().join("kvdb"), &db_settings(0)).unwrap();
    let store = points.shard(ShardId(1));
    for number in 0..40 {
        put(&store, number, number, b"").unwrap();
    }
    points.flush().unwrap();
    for number in 40..80 {
        put(&store, number, number, b"").unwrap();
    }
    let ballast = device.fill_up(0);
    let outcome = points.flush();
    assert!(matches!(outcome, Err(StorageError::OutOfDisk { .. })), "{outcome:?}");
    let outcome = put(&store, 80, 80, b"");
    assert!(matches!(outcome, Ok(()) | Err(StorageError::OutOfDisk { .. })), "{outcome:?}");
    check_points(&store, &(0..80).collect::<Vec<_>>());

    std::fs::remove_file(ballast).unwrap();
    // RocksDB looks for room by itself every few seconds; asking it more often only delays that.
    let mut outcome = points.flush();
    for _ in 0..45 {
        if outcome.is_ok() {
            break;
        }
        std::thread::sleep(Duration::from_secs(2));
        outcome = points.flush();
    }
    outcome.unwrap();
    put(&store, 81, 81, b"").unwrap();
    points.flush().unwrap();
    drop((store, points));
    let points = PointDb::open(&device.path().join("kvdb"), &db_settings(0)).unwrap();
    check_points(&points.shard(ShardId(1)), &(0..80).chain([81]).collect::<Vec<_>>());
}

/// Files below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.path().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn s19_a_snapshot_that_does_not_fit_leaves_nothing_behind() {
    use quiver::model::collection::{CollectionName, VectorParams, VectorsConfig};
    use quiver::model::write::UpsertMode;
    use quiver::model::{CollectionConfig, Metric, Point, PointOp};
    use quiver::service::{Error, Service, ServiceSettings, SnapshotPlace, SnapshotsOf, WriteOptions};
    let Some(device) = Device::mount() else { return };
    let folder = tempfile::tempdir().unwrap();
    for reserve_bytes in [0, RESERVE_BYTES] {
        let service = Service::open(ServiceSettings {
            storage_path: folder.path().to_owned(),
            snapshots_path: device.path().to_owned(),
            snapshots_place: SnapshotPlace::Local,
            url_recovery: None,
            search_threads: 1,
            search_queue_max: 64,
            index_threads: 1,
            tail_vectors_max: 10_000,
            checkpoint_interval: Duration::from_secs(3_600),
            disk_reserve_bytes: reserve_bytes,
            block_cache_bytes: 1 << 20,
            memtable_bytes: 1 << 20,
        })
        .await
        .unwrap();
        let name = CollectionName::new("c").unwrap();
        if !service.collection_exists("c") {
            let by_name = [(String::new(), VectorParams::new(DIM as u64, Metric::Dot))].into();
            let config = CollectionConfig::new(VectorsConfig { is_single: true, by_name });
            service.create_collection(name.clone(), config, None).await.unwrap();
        }
        let point = |number: u64| Point {
            id: PointId::Num(number),
            vectors: NamedVectors::from([(String::new(), vector(number))]),
            payload: Payload::default(),
        };
        let op =
            PointOp::Upsert { points: (0..100).map(point).collect(), mode: UpsertMode::Upsert, update_filter: None };
        service.write("c", op, WriteOptions { wait: true, deadline: None }).await.unwrap();
        let of = SnapshotsOf::Collection("c".to_owned());
        // 6.4 MB of vectors; with a reserve the device is full long before it is.
        let ballast = device.fill_up(if reserve_bytes > 0 { reserve_bytes } else { 1 << 20 });
        let full = |outcome: Result<_, Error>| match outcome {
            Err(Error::OutOfDisk { .. }) => {}
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("it did fit"),
        };
        if reserve_bytes > 0 {
            let taken = device.path().join("taken");
            std::fs::write(&taken, vec![1_u8; 2 << 20]).unwrap();
            full(service.create_snapshot(&of).await.map(|_| ()));
            full(service.receive_snapshot().map(|_| ()));
            std::fs::remove_file(taken).unwrap();
        } else {
            full(service.create_snapshot(&of).await.map(|_| ()));
            let mut receiving = service.receive_snapshot().unwrap();
            let mut outcome = Ok(());
            while outcome.is_ok() {
                outcome = receiving.write(vec![1; 1 << 20]).await;
            }
            full(outcome);
        }
        assert_eq!(files(device.path()), std::slice::from_ref(&ballast));
        assert!(service.snapshots(&of).await.unwrap().is_empty());
        std::fs::remove_file(ballast).unwrap();
        let made = service.create_snapshot(&of).await.unwrap();
        assert!(service.delete_snapshot(&of, &made.name).await.unwrap());
        service.shutdown().await.unwrap();
    }
}
