//! One group's log and vote, as openraft wants them, over the node's shared [`LogDb`].

use std::fmt::Debug;
use std::io;
use std::ops::{Bound, Range, RangeBounds};
use std::sync::Arc;

use futures::stream::{self, Stream, StreamExt, TryStreamExt};
use openraft::storage::{IOFlushed, RaftLogStorage};
use openraft::{LogState, OptionalSend, RaftLogReader};
use tokio::sync::{mpsc, oneshot};

use super::applier::Progress;
use super::encoding::{self, Entry, LogId, Types, Vote};
use super::flusher::Flusher;
use crate::model::ShardId;
use crate::storage::{LogDb, StorageError};

/// Bytes of entries one read takes into memory while a run of them is applied or sent.
const READ_BYTES_MAX: u64 = 4 << 20;

/// A handle on one group's part of the log. Clones are openraft's readers.
#[derive(Clone)]
pub(super) struct LogStore {
    pub(super) shard: ShardId,
    pub(super) logs: Arc<LogDb>,
    pub(super) flusher: Arc<Flusher>,
    pub(super) progress: Arc<Progress>,
    /// Held by all that uses the group's storage; the node waits until the last is dropped.
    pub(super) _in_use: mpsc::Sender<()>,
}

/// openraft speaks `io::Error`; the typed error stays inside.
pub(super) fn io_error(error: impl std::error::Error + Send + Sync + 'static) -> io::Error {
    io::Error::other(error)
}

impl LogStore {
    fn entries(&self, indexes: Range<u64>, bytes_max: u64) -> io::Result<Vec<Entry>> {
        let records = self.logs.read(self.shard, indexes, bytes_max).map_err(io_error)?;
        records.into_iter().map(encoding::decode_entry).collect()
    }

    fn purged(&self) -> io::Result<Option<LogId>> {
        let mark = self.logs.purge_mark(self.shard).map_err(io_error)?;
        mark.as_deref().map(encoding::decode_log_id).transpose()
    }
}

fn indexes(range: &impl RangeBounds<u64>) -> Range<u64> {
    let start = match range.start_bound() {
        Bound::Included(start) => *start,
        Bound::Excluded(before) => before.saturating_add(1),
        Bound::Unbounded => 0,
    };
    let end = match range.end_bound() {
        Bound::Included(last) => last.saturating_add(1),
        Bound::Excluded(end) => *end,
        Bound::Unbounded => u64::MAX,
    };
    start..end
}

impl RaftLogReader<Types> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> io::Result<Vec<Entry>> {
        self.entries(indexes(&range), u64::MAX)
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> io::Result<Vec<Entry>> {
        self.entries(start..end, READ_BYTES_MAX)
    }

    async fn entries_stream<RB>(&mut self, range: RB) -> impl Stream<Item = io::Result<Entry>> + OptionalSend
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        // Piece by piece: after a restart the run to apply may be the whole log.
        let store = self.clone();
        let pieces = stream::try_unfold(indexes(&range), move |left| {
            let piece = store.entries(left.clone(), READ_BYTES_MAX);
            async move {
                let piece = piece?;
                let next = piece.last().map(|entry| entry.log_id.index + 1);
                Ok::<_, io::Error>(next.map(|next| (stream::iter(piece).map(Ok), next..left.end)))
            }
        });
        pieces.try_flatten()
    }

    async fn read_vote(&mut self) -> io::Result<Option<Vote>> {
        let vote = self.logs.vote(self.shard).map_err(io_error)?;
        vote.as_deref().map(encoding::decode_vote).transpose()
    }
}

impl RaftLogStorage<Types> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> io::Result<LogState<Types>> {
        let last_purged_log_id = self.purged()?;
        let present = self.logs.bounds(self.shard).indexes;
        let last = match present.end.checked_sub(1) {
            Some(last) if !present.is_empty() => self.entries(last..present.end, u64::MAX)?.pop(),
            _ => None,
        };
        let last_log_id = last.map(|entry| entry.log_id).or(last_purged_log_id);
        Ok(LogState { last_purged_log_id, last_log_id })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> io::Result<()> {
        self.logs.put_vote(self.shard, &encoding::encode_vote(vote)).map_err(io_error)?;
        let (done, synced) = oneshot::channel();
        self.flusher.after_sync(move |outcome| {
            let _ = done.send(outcome);
        });
        match synced.await {
            Ok(outcome) => outcome.map_err(io_error),
            Err(_) => Err(io::Error::other("the flusher is gone")),
        }
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Types>) -> io::Result<()>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let records: Vec<_> =
            entries.into_iter().map(|entry| encoding::encode_entry(&entry)).collect::<io::Result<_>>()?;
        // Only someone else on the device can have taken the reserve. Waiting keeps the group alive; an error ends it.
        self.progress.once_there_is_room(|| async { Ok(self.logs.append(self.shard, &records)) }).await?;
        self.flusher.after_sync(move |outcome: Result<(), Arc<StorageError>>| {
            callback.io_completed(outcome.map_err(io_error));
        });
        Ok(())
    }

    async fn truncate_after(&mut self, last_log_id: Option<LogId>) -> io::Result<()> {
        let first_removed = last_log_id.map_or(0, |last| last.index + 1);
        self.logs.truncate_from(self.shard, first_removed).map_err(io_error)
    }

    async fn purge(&mut self, log_id: LogId) -> io::Result<()> {
        self.logs.purge(self.shard, log_id.index, &encoding::encode_log_id(&log_id)).map_err(io_error)
    }
}
