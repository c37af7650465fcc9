//! The types openraft is instantiated with, and their stored bytes.
//!
//! Stored bytes (numbers little-endian; `storage` adds format versions and checksums):
//! - log id: term u64, index u64;
//! - vote: term u64, node u64, committed u8;
//! - entry: kind u8 (0 blank, 1 command, 2 membership), term u64, then the command's bytes or the membership. The index
//!   is the entry's key;
//! - position: format version u8, flag u8 and log id if it is 1, then the stored membership.
//!
//! Memberships are openraft's own serde form in postcard: rare, small, and never read by anyone else.

use std::fmt;
use std::io;

use openraft::entry::RaftEntry;
use openraft::impls::{BasicNode, leader_id_std};
use openraft::vote::RaftLeaderId;
use openraft::{EntryPayload, Membership, StoredMembership};
use serde::{Deserialize, Serialize};

use super::Position;
use crate::storage::LogRecord;

/// A node's number: random, allocated at its first boot and stored with its logs.
pub(super) type NodeId = u64;

/// A command as the proposer encoded it.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Command(pub(super) Vec<u8>);

/// A reply as the state machine encoded it; empty for entries without a command.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Reply(pub(super) Vec<u8>);

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "command of {} bytes", self.0.len())
    }
}

impl fmt::Debug for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "reply of {} bytes", self.0.len())
    }
}

openraft::declare_raft_types!(
    pub(super) Types:
        D = Command,
        R = Reply,
        NodeId = NodeId,
        Node = BasicNode,
        Term = u64,
        LeaderId = leader_id_std::LeaderId<u64, NodeId>,
);

pub(super) type LeaderId = leader_id_std::LeaderId<u64, NodeId>;
pub(super) type CommittedLeaderId = <LeaderId as RaftLeaderId>::Committed;
pub(super) type LogId = openraft::LogId<CommittedLeaderId>;
pub(super) type Vote = openraft::impls::Vote<LeaderId>;
pub(super) type Entry = openraft::Entry<CommittedLeaderId, EntryPayload<Command, NodeId, BasicNode>>;
pub(super) type Members = StoredMembership<CommittedLeaderId, NodeId, BasicNode>;
pub(super) type SnapshotMeta = openraft::SnapshotMeta<CommittedLeaderId, NodeId, BasicNode>;
pub(super) type Snapshot = openraft::Snapshot<CommittedLeaderId, NodeId, BasicNode, super::applier::SnapshotData>;

const ENTRY_BLANK: u8 = 0;
const ENTRY_COMMAND: u8 = 1;
const ENTRY_MEMBERSHIP: u8 = 2;

const POSITION_VERSION: u8 = 1;

fn malformed(what: &'static str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn split_u64(bytes: &[u8]) -> io::Result<(u64, &[u8])> {
    let (number, rest) = bytes.split_first_chunk().ok_or_else(|| malformed("stored Raft bytes end early"))?;
    Ok((u64::from_le_bytes(*number), rest))
}

pub(super) fn log_id(term: u64, index: u64) -> LogId {
    LogId { leader_id: CommittedLeaderId::new(term), index }
}

pub(super) fn encode_log_id(log_id: &LogId) -> Vec<u8> {
    let mut out = log_id.leader_id.term.to_le_bytes().to_vec();
    out.extend_from_slice(&log_id.index.to_le_bytes());
    out
}

pub(super) fn decode_log_id(bytes: &[u8]) -> io::Result<LogId> {
    let (log_id, rest) = split_log_id(bytes)?;
    if rest.is_empty() { Ok(log_id) } else { Err(malformed("a log id has more than 16 bytes")) }
}

fn split_log_id(bytes: &[u8]) -> io::Result<(LogId, &[u8])> {
    let (term, rest) = split_u64(bytes)?;
    let (index, rest) = split_u64(rest)?;
    Ok((log_id(term, index), rest))
}

pub(super) fn encode_vote(vote: &Vote) -> Vec<u8> {
    let mut out = vote.leader_id.term.to_le_bytes().to_vec();
    out.extend_from_slice(&vote.leader_id.voted_for.to_le_bytes());
    out.push(u8::from(vote.committed));
    out
}

pub(super) fn decode_vote(bytes: &[u8]) -> io::Result<Vote> {
    let (term, rest) = split_u64(bytes)?;
    let (voted_for, rest) = split_u64(rest)?;
    let [committed @ (0 | 1)] = rest else { return Err(malformed("a vote does not end in 0 or 1")) };
    Ok(Vote { leader_id: LeaderId { term, voted_for }, committed: *committed == 1 })
}

pub(super) fn encode_entry(entry: &Entry) -> io::Result<LogRecord> {
    let log_id = &entry.log_id;
    let mut bytes = Vec::new();
    let start = |bytes: &mut Vec<u8>, kind, capacity| {
        bytes.reserve_exact(1 + 8 + capacity);
        bytes.push(kind);
        bytes.extend_from_slice(&log_id.leader_id.term.to_le_bytes());
    };
    match &entry.payload {
        EntryPayload::Blank => start(&mut bytes, ENTRY_BLANK, 0),
        EntryPayload::Normal(Command(command)) => {
            start(&mut bytes, ENTRY_COMMAND, command.len());
            bytes.extend_from_slice(command);
        }
        EntryPayload::Membership(membership) => {
            start(&mut bytes, ENTRY_MEMBERSHIP, 0);
            bytes.extend_from_slice(&postcard::to_stdvec(membership).map_err(io::Error::other)?);
        }
    }
    Ok(LogRecord { index: log_id.index, bytes })
}

pub(super) fn decode_entry(record: LogRecord) -> io::Result<Entry> {
    let LogRecord { index, mut bytes } = record;
    let (kind, rest) = bytes.split_first().ok_or_else(|| malformed("a log entry is empty"))?;
    let (term, body) = split_u64(rest)?;
    let payload = match *kind {
        ENTRY_BLANK => EntryPayload::Blank,
        ENTRY_COMMAND => EntryPayload::Normal(Command(bytes.split_off(bytes.len() - body.len()))),
        ENTRY_MEMBERSHIP => {
            let membership: Membership<NodeId, BasicNode> =
                postcard::from_bytes(body).map_err(|_| malformed("a membership entry does not decode"))?;
            EntryPayload::Membership(membership)
        }
        _ => return Err(malformed("a log entry is of unknown kind")),
    };
    Ok(Entry::new(log_id(term, index), payload))
}

pub(super) fn encode_position(applied: Option<&LogId>, members: &Members) -> io::Result<Position> {
    let mut out = vec![POSITION_VERSION, u8::from(applied.is_some())];
    if let Some(applied) = applied {
        out.extend_from_slice(&encode_log_id(applied));
    }
    out.extend_from_slice(&postcard::to_stdvec(members).map_err(io::Error::other)?);
    Ok(Position(out))
}

pub(super) fn decode_position(position: &Position) -> io::Result<(Option<LogId>, Members)> {
    let (applied, rest) = match position.0.as_slice() {
        [POSITION_VERSION, 0, rest @ ..] => (None, rest),
        [POSITION_VERSION, 1, rest @ ..] => split_log_id(rest).map(|(applied, rest)| (Some(applied), rest))?,
        _ => return Err(malformed("a position of unknown format")),
    };
    let members = postcard::from_bytes(rest).map_err(|_| malformed("the membership of a position does not decode"))?;
    Ok((applied, members))
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|b| format!("{b:02x}")).collect()
    }

    fn membership() -> Membership<NodeId, BasicNode> {
        let nodes = BTreeMap::from([(5, BasicNode::new("")), (6, BasicNode::new("a:1"))]);
        Membership::new(vec![BTreeSet::from([5])], nodes).unwrap()
    }

    #[test]
    fn golden_bytes() {
        let at = log_id(3, 258);
        assert_eq!(hex(&encode_log_id(&at)), "03000000000000000201000000000000");
        let vote = Vote { leader_id: LeaderId { term: 3, voted_for: 5 }, committed: true };
        assert_eq!(hex(&encode_vote(&vote)), "0300000000000000050000000000000001");
        let bytes = |payload| hex(&encode_entry(&Entry::new(at, payload)).unwrap().bytes);
        assert_eq!(bytes(EntryPayload::Blank), "000300000000000000");
        assert_eq!(bytes(EntryPayload::Normal(Command(b"hi".to_vec()))), "0103000000000000006869");
        assert_eq!(bytes(EntryPayload::Membership(membership())), "0203000000000000000101050205000603613a31");
        let members = Members::new(Some(log_id(1, 0)), membership());
        let position = encode_position(Some(&at), &members).unwrap();
        let want = "01010300000000000000020100000000000001010001010502050006 03613a31".replace(' ', "");
        assert_eq!(hex(&position.0), want);
        assert_eq!(decode_position(&position).unwrap(), (Some(at), members));
    }

    proptest! {
        #[test]
        fn entries_come_back(term: u64, index: u64, command: Vec<u8>, kind in 0..3u8) {
            let payload = match kind {
                0 => EntryPayload::Blank,
                1 => EntryPayload::Normal(Command(command)),
                _ => EntryPayload::Membership(membership()),
            };
            let entry = Entry::new(log_id(term, index), payload);
            prop_assert_eq!(decode_entry(encode_entry(&entry).unwrap()).unwrap(), entry);
        }

        #[test]
        fn votes_and_log_ids_come_back(term: u64, voted_for: u64, committed: bool) {
            let vote = Vote { leader_id: LeaderId { term, voted_for }, committed };
            prop_assert_eq!(decode_vote(&encode_vote(&vote)).unwrap(), vote);
            let at = log_id(term, voted_for);
            prop_assert_eq!(decode_log_id(&encode_log_id(&at)).unwrap(), at);
        }

        #[test]
        fn strange_bytes_are_refused_without_a_panic(bytes: Vec<u8>) {
            let _ = (decode_vote(&bytes), decode_log_id(&bytes), decode_position(&Position(bytes.clone())));
            let _ = decode_entry(LogRecord { index: 0, bytes });
        }
    }
}
