//! Snapshots on their way: files in parts, paced, checked, and gone on with where they were cut off.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::fs;
use tokio::io::{AsyncReadExt, AsyncSeekExt, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tonic::{Code, Request, Status, Streaming};

use super::client::Client;
use super::pb;
use crate::model::ShardId;

/// Bytes of one part.
const PART_BYTES: usize = 1 << 20;
/// Parts that are read ahead of the network.
const PARTS_AHEAD: usize = 4;
/// How often a transfer that was cut off is gone on with, and how long it waits before that.
const ATTEMPTS_MAX: usize = 5;
const ATTEMPT_WAIT: Duration = Duration::from_millis(500);
/// Snapshots that are being received; an offer beyond comes again later.
const RECEIVING_MAX: usize = 8;
/// What was not heard of for so long makes room.
const SILENT_MAX: Duration = Duration::from_secs(60);
/// Files of one snapshot.
const FILES_MAX: usize = 4_096;

/// Sends the files of `folder`, at most `pace` bytes per second, and returns what the other side says once they are
/// installed there.
pub(super) async fn send(
    mut client: Client,
    (to, shard): (u64, ShardId),
    head: Vec<u8>,
    folder: &Path,
    pace: u64,
) -> Result<pb::Answer, Status> {
    let listed = folder.to_owned();
    let files = tokio::task::spawn_blocking(move || list(&listed)).await;
    let files = files.map_err(|error| Status::internal(error.to_string()))?.map_err(failed)?;
    let paths: Vec<PathBuf> = files.iter().map(|file| folder.join(&file.name)).collect();
    let transfer = uuid::Uuid::new_v4().to_string();
    let offer = pb::SnapshotOffer { transfer, shard: shard.0, head, files, to };
    let mut attempt = 0;
    loop {
        match send_rest(&mut client, &offer, &paths, pace).await {
            Err(status) if is_worth_another(&status) && attempt < ATTEMPTS_MAX => {
                attempt += 1;
                tracing::info!(%shard, %status, attempt, "a snapshot was cut off and is gone on with");
                tokio::time::sleep(ATTEMPT_WAIT).await;
            }
            outcome => return outcome,
        }
    }
}

fn is_worth_another(status: &Status) -> bool {
    matches!(status.code(), Code::Unavailable | Code::Unknown | Code::Cancelled | Code::DataLoss)
}

fn failed(error: io::Error) -> Status {
    match error.kind() {
        io::ErrorKind::StorageFull => Status::resource_exhausted(error.to_string()),
        _ => Status::internal(error.to_string()),
    }
}

/// The files of a folder, by name.
fn list(folder: &Path) -> io::Result<Vec<pb::SnapshotFile>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().into_string().map_err(|_| io::Error::other("a file's name is no text"))?;
        let (size, crc32) = sum(&entry.path())?;
        files.push(pb::SnapshotFile { name, size, crc32 });
    }
    files.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(files)
}

/// Length and CRC-32 of a file.
fn sum(path: &Path) -> io::Result<(u64, u32)> {
    let (mut file, mut bytes) = (File::open(path)?, vec![0; PART_BYTES]);
    let (mut size, mut crc) = (0, crc32fast::Hasher::new());
    loop {
        let read = file.read(&mut bytes)?;
        if read == 0 {
            return Ok((size, crc.finalize()));
        }
        size += read as u64;
        crc.update(&bytes[..read]);
    }
}

async fn send_rest(
    client: &mut Client,
    offer: &pb::SnapshotOffer,
    paths: &[PathBuf],
    pace: u64,
) -> Result<pb::Answer, Status> {
    let held = client.offer_snapshot(offer.clone()).await?.into_inner().lengths;
    let (parts, sending) = mpsc::channel(PARTS_AHEAD);
    let (transfer, paths) = (offer.transfer.clone(), paths.to_vec());
    let reading = tokio::spawn(async move { read_parts(&transfer, &paths, &held, pace, &parts).await });
    let parts = tokio_stream(sending);
    let answer = client.send_snapshot(Request::new(parts)).await;
    match (answer, reading.await) {
        (Ok(answer), Ok(Ok(()))) => Ok(answer.into_inner()),
        (Err(status), _) => Err(status),
        (_, Ok(Err(error))) => Err(failed(error)),
        (_, Err(error)) => Err(Status::internal(error.to_string())),
    }
}

fn tokio_stream<T: Send + 'static>(receiver: mpsc::Receiver<T>) -> impl futures::Stream<Item = T> + Send + 'static {
    futures::stream::unfold(receiver, |mut receiver| async move { receiver.recv().await.map(|item| (item, receiver)) })
}

async fn read_parts(
    transfer: &str,
    paths: &[PathBuf],
    held: &[u64],
    pace: u64,
    parts: &mpsc::Sender<pb::SnapshotPart>,
) -> io::Result<()> {
    let (begin, mut sent) = (Instant::now(), 0u64);
    for (place, path) in paths.iter().enumerate() {
        let mut offset = held.get(place).copied().unwrap_or(0);
        let mut file = fs::File::open(path).await?;
        file.seek(io::SeekFrom::Start(offset)).await?;
        loop {
            let mut bytes = Vec::with_capacity(PART_BYTES);
            if (&mut file).take(PART_BYTES as u64).read_to_end(&mut bytes).await? == 0 {
                break;
            }
            let len = bytes.len() as u64;
            let part = pb::SnapshotPart { transfer: transfer.to_owned(), file: place as u32, offset, bytes };
            if parts.send(part).await.is_err() {
                // The call has ended, and says why.
                return Ok(());
            }
            (offset, sent) = (offset + len, sent + len);
            tokio::time::sleep_until(begin + Duration::from_secs_f64(sent as f64 / pace.max(1) as f64)).await;
        }
    }
    // A snapshot all of whose files are there already still has to be named.
    let part = pb::SnapshotPart { transfer: transfer.to_owned(), file: u32::MAX, offset: 0, bytes: Vec::new() };
    let _ = parts.send(part).await;
    Ok(())
}

/// A snapshot that is whole.
pub(super) struct Received {
    pub(super) shard: ShardId,
    pub(super) head: Vec<u8>,
    pub(super) files: TempDir,
}

/// Snapshots that come in.
#[derive(Default)]
pub(super) struct Inbox {
    /// By transfer. Held for moments only; a transfer that is being worked on is taken out.
    transfers: Mutex<HashMap<String, Incoming>>,
}

struct Incoming {
    offer: pb::SnapshotOffer,
    files: TempDir,
    heard: Instant,
}

impl Inbox {
    /// How much of an offered snapshot is here. `folder` makes a place for a new one.
    pub(super) async fn offer(
        &self,
        offer: pb::SnapshotOffer,
        folder: impl FnOnce() -> io::Result<TempDir>,
    ) -> Result<pb::SnapshotHeld, Status> {
        let is_plain =
            |name: &str| !name.is_empty() && name.len() <= 255 && !name.contains(['/', '\0']) && name != "..";
        if offer.files.len() > FILES_MAX || !offer.files.iter().all(|file| is_plain(&file.name) && file.name != ".") {
            return Err(Status::invalid_argument("a snapshot's files have other names"));
        }
        let known = self.transfers.lock().remove(&offer.transfer).filter(|known| known.offer == offer);
        let mut incoming = match known {
            Some(incoming) => incoming,
            None => Incoming { files: folder().map_err(failed)?, heard: Instant::now(), offer },
        };
        incoming.heard = Instant::now();
        let mut lengths = Vec::with_capacity(incoming.offer.files.len());
        for file in &incoming.offer.files {
            lengths.push(fs::metadata(incoming.files.path().join(&file.name)).await.map_or(0, |held| held.len()));
        }
        self.keep(incoming)?;
        Ok(pb::SnapshotHeld { lengths })
    }

    fn keep(&self, incoming: Incoming) -> Result<(), Status> {
        let mut transfers = self.transfers.lock();
        transfers.retain(|_, one| one.heard.elapsed() < SILENT_MAX);
        if transfers.len() >= RECEIVING_MAX {
            return Err(Status::unavailable("too many snapshots are being received"));
        }
        transfers.insert(incoming.offer.transfer.clone(), incoming);
        Ok(())
    }

    /// Takes in parts until they end, and checks what they make. What is cut off is kept.
    pub(super) async fn receive(&self, mut parts: Streaming<pb::SnapshotPart>) -> Result<Received, Status> {
        let first = parts.message().await?.ok_or_else(|| Status::invalid_argument("no part"))?;
        let unknown = || Status::not_found("nothing of the kind was offered");
        let mut incoming = self.transfers.lock().remove(&first.transfer).ok_or_else(unknown)?;
        let parts = futures::stream::once(std::future::ready(Ok(first))).chain(parts);
        if let Err(status) = write_parts(&incoming, parts).await {
            incoming.heard = Instant::now();
            self.keep(incoming)?;
            return Err(status);
        }
        let Incoming { offer, files, .. } = incoming;
        let (files, wanted) = (Arc::new(files), offer.files.clone());
        let checked = Arc::clone(&files);
        let check = move || wanted.iter().try_for_each(|file| check(checked.path(), file));
        tokio::task::spawn_blocking(check).await.map_err(|error| Status::internal(error.to_string()))??;
        let files = Arc::into_inner(files).ok_or_else(|| Status::internal("the files are in use"))?;
        Ok(Received { shard: ShardId(offer.shard), head: offer.head, files })
    }
}

async fn write_parts(
    incoming: &Incoming,
    parts: impl futures::Stream<Item = Result<pb::SnapshotPart, Status>>,
) -> Result<(), Status> {
    let mut parts = std::pin::pin!(parts);
    let mut open: Option<(u32, fs::File, u64)> = None;
    while let Some(part) = parts.next().await {
        let part = part?;
        let Some(wanted) = incoming.offer.files.get(part.file as usize) else { continue };
        if open.as_ref().is_none_or(|(place, ..)| *place != part.file) {
            let path = incoming.files.path().join(&wanted.name);
            let file = fs::OpenOptions::new().create(true).append(true).open(path).await.map_err(failed)?;
            let held = file.metadata().await.map_err(failed)?.len();
            open = Some((part.file, file, held));
        }
        let Some((_, file, held)) = &mut open else { continue };
        if part.offset != *held || *held + part.bytes.len() as u64 > wanted.size {
            return Err(Status::invalid_argument("a part does not follow what is here"));
        }
        file.write_all(&part.bytes).await.map_err(failed)?;
        // Only what has left the process's own buffer counts as held.
        file.flush().await.map_err(failed)?;
        *held += part.bytes.len() as u64;
    }
    Ok(())
}

fn check(folder: &Path, wanted: &pb::SnapshotFile) -> Result<(), Status> {
    let path = folder.join(&wanted.name);
    let (size, crc32) = match sum(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => (0, 0),
        summed => summed.map_err(failed)?,
    };
    if size == 0 && wanted.size == 0 {
        // Nothing was sent of it.
        return File::create(&path).map(|_| ()).map_err(failed);
    }
    if (size, crc32) != (wanted.size, wanted.crc32) {
        return Err(Status::aborted(format!("file {} did not arrive as it was sent", wanted.name)));
    }
    Ok(())
}
