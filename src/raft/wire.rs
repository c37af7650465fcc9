//! Questions between the replicas of a group and their answers, as bytes.
//!
//! Entries travel as they are stored (see [`super::encoding`]); an append is, numbers little-endian:
//! vote (17 bytes), previous log id, committed log id (each a flag u8, then 16 bytes if it is 1), number of entries u32,
//! then of each its index u64, the length u32 of its stored bytes and these. All else is rare or small: `postcard`. The
//! first byte of everything is a format version.

use std::io;

use openraft::raft::{AppendEntriesRequest, TransferLeaderRequest};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::encoding::{self, Entry, LogId, NodeId, Types, Vote};
use super::{Peer, Position, ProposeError, Proposed};
use crate::model::ShardId;
use crate::storage::{LogRecord, StorageError};

/// The format that is written and read.
const FORMAT: u8 = 1;
/// Bytes of a vote.
const VOTE_BYTES: usize = 17;
/// Bytes of a log id.
const LOG_ID_BYTES: usize = 16;

pub(super) type Append = AppendEntriesRequest<Types>;

/// Asks a node to lead, on behalf of the leader.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Lead {
    from: Vote,
    to: NodeId,
    last_log_id: Option<LogId>,
}

impl Lead {
    pub(super) fn new(request: &TransferLeaderRequest<Types>) -> Lead {
        let last_log_id = request.last_log_id().copied();
        Lead { from: *request.from_leader(), to: *request.to_node_id(), last_log_id }
    }

    pub(super) fn into_request(self) -> TransferLeaderRequest<Types> {
        TransferLeaderRequest::new(self.from, self.to, self.last_log_id)
    }
}

/// A change of a group's members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// Replicates to this node, which has no vote.
    AddLearner(Peer),
    /// Makes these, which are members, the voters, by joint consensus. Voters that are not among them are members no more.
    SetVoters(std::collections::BTreeSet<u64>),
    /// Replicates to this node, which has no vote, no more.
    RemoveLearner(u64),
    /// Lets another voter lead.
    Lead(u64),
}

/// A leader's answer to what it was asked on behalf of others.
pub(super) type Answer<T> = Result<T, Refusal>;

/// [`ProposeError`] on its way.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Refusal {
    NoLeader,
    Unavailable(String),
    QueueFull,
    OutOfDisk(String),
    Failed(String),
    Unknown(String),
}

impl From<ProposeError> for Refusal {
    fn from(error: ProposeError) -> Refusal {
        match error {
            ProposeError::NoLeader { .. } => Refusal::NoLeader,
            ProposeError::Unavailable { why, .. } => Refusal::Unavailable(why.into_owned()),
            ProposeError::QueueFull { .. } => Refusal::QueueFull,
            ProposeError::Storage(error) => match &*error {
                StorageError::OutOfDisk { path } => Refusal::OutOfDisk(path.to_string_lossy().into_owned()),
                other => Refusal::Failed(other.to_string()),
            },
            ProposeError::Unknown { why, .. } => Refusal::Unknown(why),
        }
    }
}

impl Refusal {
    pub(super) fn into_error(self, shard: ShardId) -> ProposeError {
        match self {
            Refusal::NoLeader => ProposeError::NoLeader { shard },
            Refusal::Unavailable(why) => ProposeError::Unavailable { shard, why: why.into() },
            Refusal::QueueFull => ProposeError::QueueFull { shard },
            Refusal::OutOfDisk(path) => ProposeError::Storage(StorageError::OutOfDisk { path: path.into() }.into()),
            Refusal::Failed(what) => {
                let path = format!("the leader of shard {shard}").into();
                ProposeError::Storage(StorageError::Failed { path, what }.into())
            }
            Refusal::Unknown(why) => ProposeError::Unknown { shard, why },
        }
    }
}

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Anything small.
pub(super) fn encode(value: &impl Serialize) -> io::Result<Vec<u8>> {
    postcard::to_extend(value, vec![FORMAT]).map_err(io::Error::other)
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> io::Result<T> {
    postcard::from_bytes(body(bytes)?).map_err(|_| malformed("a peer's message does not decode"))
}

fn body(bytes: &[u8]) -> io::Result<&[u8]> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => Ok(body),
        _ => Err(malformed("a peer's message is of another version")),
    }
}

pub(super) fn encode_append(append: &Append) -> io::Result<Vec<u8>> {
    let records: Vec<LogRecord> = append.entries.iter().map(encoding::encode_entry).collect::<io::Result<_>>()?;
    let entry_bytes: usize = records.iter().map(|record| 12 + record.bytes.len()).sum();
    let mut out = Vec::with_capacity(1 + VOTE_BYTES + 2 * (1 + LOG_ID_BYTES) + 4 + entry_bytes);
    out.push(FORMAT);
    out.extend_from_slice(&encoding::encode_vote(&append.vote));
    for log_id in [&append.prev_log_id, &append.leader_commit] {
        out.push(u8::from(log_id.is_some()));
        log_id.iter().for_each(|log_id| out.extend_from_slice(&encoding::encode_log_id(log_id)));
    }
    out.extend_from_slice(&length(records.len())?);
    for record in &records {
        out.extend_from_slice(&record.index.to_le_bytes());
        out.extend_from_slice(&length(record.bytes.len())?);
        out.extend_from_slice(&record.bytes);
    }
    Ok(out)
}

fn length(len: usize) -> io::Result<[u8; 4]> {
    u32::try_from(len).map(u32::to_le_bytes).map_err(|_| malformed("a message to a peer is too long"))
}

pub(super) fn decode_append(bytes: &[u8]) -> io::Result<Append> {
    let mut rest = body(bytes)?;
    let vote = encoding::decode_vote(take(&mut rest, VOTE_BYTES)?)?;
    let (prev_log_id, leader_commit) = (take_log_id(&mut rest)?, take_log_id(&mut rest)?);
    let count = take_number(&mut rest)?;
    let mut entries: Vec<Entry> = Vec::new();
    for _ in 0..count {
        let index = take(&mut rest, 8)?.try_into().map(u64::from_le_bytes).map_err(|_| malformed("an index"))?;
        let len = take_number(&mut rest)?;
        let bytes = take(&mut rest, len)?.to_vec();
        entries.push(encoding::decode_entry(LogRecord { index, bytes })?);
    }
    if !rest.is_empty() {
        return Err(malformed("a peer's message goes on after its end"));
    }
    Ok(Append { vote, prev_log_id, entries, leader_commit })
}

fn take<'a>(rest: &mut &'a [u8], len: usize) -> io::Result<&'a [u8]> {
    let (taken, left) = rest.split_at_checked(len).ok_or_else(|| malformed("a peer's message ends early"))?;
    *rest = left;
    Ok(taken)
}

fn take_number(rest: &mut &[u8]) -> io::Result<usize> {
    let number = take(rest, 4)?.try_into().map(u32::from_le_bytes).map_err(|_| malformed("a number"))?;
    Ok(number as usize)
}

fn take_log_id(rest: &mut &[u8]) -> io::Result<Option<LogId>> {
    match take(rest, 1)? {
        [0] => Ok(None),
        [1] => encoding::decode_log_id(take(rest, LOG_ID_BYTES)?).map(Some),
        _ => Err(malformed("a flag is neither 0 nor 1")),
    }
}

/// What is said of a snapshot before its files: the leader's vote, and where the files stand.
pub(super) fn encode_snapshot_head(vote: &Vote, position: &Position) -> Vec<u8> {
    [&[FORMAT], encoding::encode_vote(vote).as_slice(), &position.0].concat()
}

pub(super) fn decode_snapshot_head(bytes: &[u8]) -> io::Result<(Vote, Position)> {
    let mut rest = body(bytes)?;
    let vote = encoding::decode_vote(take(&mut rest, VOTE_BYTES)?)?;
    Ok((vote, Position(rest.to_vec())))
}

/// The leader's answer to a command.
pub(super) fn encode_proposed(outcome: Result<Proposed, ProposeError>) -> io::Result<Vec<u8>> {
    let answer: Answer<(u64, Vec<u8>)> =
        outcome.map(|proposed| (proposed.index, proposed.reply)).map_err(Refusal::from);
    encode(&answer)
}

pub(super) fn decode_proposed(bytes: &[u8], shard: ShardId) -> io::Result<Result<Proposed, ProposeError>> {
    let answer: Answer<(u64, Vec<u8>)> = decode(bytes)?;
    Ok(answer.map(|(index, reply)| Proposed { index, reply }).map_err(|refusal| refusal.into_error(shard)))
}
