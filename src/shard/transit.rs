//! Points on their way to other shards: what the shard's own log says of it.
//!
//! A shard whose points go to others is watched: which points change is noted, so that they are sent again. It is *closed* by
//! an entry of its log: entries after it that would change points are refused, until it is opened by a later one.
//!
//! A shard that is filled from others knows of each of them which part it gives and who brings it, by a token. Only entries
//! with the token of who came last have an effect: what was sent by somebody who has been given up, or whose fate was
//! unknown, changes nothing however late it arrives. Once a source is *sealed*, all of it is there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::command::TextIndexes;
use super::{Outcome, Shard};
use crate::model::ids::SlotRange;
use crate::model::{Point, PointId, PointOp, ShardId};
use crate::storage::{ShardStore, StorageError};

/// Shard-level entry that holds [`Transit`].
pub(super) const TRANSIT_ENTRY: &[u8] = b"transit";
/// The newest format of that entry.
const TRANSIT_FORMAT: u8 = 1;

/// Why a shard has been closed: for which resharding, and in which of its rounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Closed {
    /// Later ones have higher numbers.
    pub resharding: u64,
    /// Likewise.
    pub round: u32,
}

/// Why a command had no effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refused {
    /// The shard takes no changes of points.
    Closed,
    /// Another one brings the points by now.
    Superseded,
}

/// An entry of a log about points on their way.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum TransitCommand {
    /// No change of points after it has an effect.
    Close(Closed),
    /// Takes that back, if it was said for this resharding, in this round or an earlier one.
    Open(Closed),
    /// Who brings the points of `source` from now on. With `after` only if that was the token until now, and what has been
    /// brought stays. Without, everything is brought again, by a later claim than any before: what was under way when a
    /// parent was claimed anew has no effect.
    Attach {
        /// The shard they come from.
        source: ShardId,
        /// All it has.
        share: SlotRange,
        /// That by which it is brought: later ones have higher numbers.
        claim: u64,
        /// Of the resharding. What was sealed in an earlier one is so no more.
        round: u32,
        /// Who brings them.
        token: u64,
        /// Who did until now.
        after: Option<u64>,
    },
    /// A change of points, of which only those are meant that are in all these ranges.
    Within(Vec<SlotRange>, TextIndexes, PointOp),
}

/// What is brought.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Feed {
    /// Of the ids of the source's share that are above `after` and not above `upto`, exactly these points are there.
    Span {
        /// `None`: from the first.
        after: Option<PointId>,
        /// `None`: to the last.
        upto: Option<PointId>,
        /// In the order of their ids.
        points: Vec<Point>,
    },
    /// These are there now, and these are not.
    Changes(Vec<Point>, Vec<PointId>),
    /// That was all.
    Seal,
}

/// Where a part of the points comes from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Source {
    share: SlotRange,
    claim: u64,
    round: u32,
    token: u64,
    /// There was no point of the share when the present bringer began.
    began_empty: bool,
    is_sealed: bool,
}

/// What the log has said of points on their way.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Transit {
    pub(super) closed: Option<Closed>,
    sources: BTreeMap<ShardId, Source>,
}

impl Transit {
    /// As `store` holds it.
    pub(super) fn load(store: &ShardStore) -> Result<Transit, StorageError> {
        let Some(bytes) = store.entry(TRANSIT_ENTRY)? else { return Ok(Transit::default()) };
        let damaged = |what: String| StorageError::Damaged {
            path: PathBuf::from("kvdb"),
            what: format!("what shard {} knows of points on their way: {what}", store.shard()),
            advice: "Restore the node's data folder from a backup",
        };
        match bytes.split_first() {
            Some((&TRANSIT_FORMAT, rest)) => postcard::from_bytes(rest).map_err(|error| damaged(error.to_string())),
            Some((format, _)) => Err(damaged(format!("format {format} is unknown"))),
            None => Err(damaged("no format version".to_owned())),
        }
    }

    /// The value of [`TRANSIT_ENTRY`].
    pub(super) fn encode(&self) -> Vec<u8> {
        // Writing to a growing vector cannot fail, and the types have no unserialisable state.
        postcard::to_extend(self, vec![TRANSIT_FORMAT]).unwrap_or_default()
    }

    pub(super) fn close(&mut self, by: Closed) {
        self.closed = self.closed.max(Some(by));
    }

    pub(super) fn open(&mut self, by: Closed) {
        self.closed.take_if(|closed| closed.resharding == by.resharding && closed.round <= by.round);
    }

    /// `is_empty`: whether there is no point of the share.
    pub(super) fn attach(
        &mut self,
        (source, share): (ShardId, SlotRange),
        claim: u64,
        (round, token, after): (u32, u64, Option<u64>),
        is_empty: impl FnOnce() -> bool,
    ) -> Outcome {
        let known = self.sources.get_mut(&source);
        match (known, after) {
            (Some(known), _) if claim < known.claim || (claim == known.claim && round < known.round) => {
                return refused(Refused::Superseded);
            }
            // Once more, or under a new token.
            (Some(known), _) if claim == known.claim && (known.token == token || after == Some(known.token)) => {
                known.is_sealed &= known.round == round;
                (known.round, known.token) = (round, token);
            }
            (Some(known), None) if claim == known.claim => return refused(Refused::Superseded),
            (_, Some(_)) => return refused(Refused::Superseded),
            (_, None) => {
                let began_empty = is_empty();
                self.sources.insert(source, Source { share, claim, round, token, began_empty, is_sealed: false });
            }
        }
        Outcome::default()
    }

    /// The source's share, and whether there was nothing of it when this bringer began.
    pub(super) fn fed_by(&self, source: ShardId, token: u64) -> Result<(SlotRange, bool), Outcome> {
        match self.sources.get(&source) {
            Some(known) if known.token == token && !known.is_sealed => Ok((known.share, known.began_empty)),
            _ => Err(refused(Refused::Superseded)),
        }
    }

    pub(super) fn seal(&mut self, source: ShardId, token: u64) -> Outcome {
        match self.sources.get_mut(&source).filter(|known| known.token == token) {
            Some(known) => known.is_sealed = true,
            None => return refused(Refused::Superseded),
        }
        Outcome::default()
    }
}

pub(super) fn refused(why: Refused) -> Outcome {
    Outcome { refused: Some(why), ..Outcome::default() }
}

/// Points that have changed since somebody began to watch.
#[derive(Default)]
pub(super) struct Watched {
    /// The last one that began.
    watcher: u64,
    changed: Option<BTreeSet<PointId>>,
}

impl Watched {
    pub(super) fn is_on(&self) -> bool {
        self.changed.is_some()
    }

    pub(super) fn note(&mut self, ids: Vec<PointId>) {
        self.changed.iter_mut().for_each(|changed| changed.extend(&ids));
    }
}

impl Shard {
    /// Why no change of points has an effect now.
    pub fn closed(&self) -> Option<Closed> {
        self.transit.read().closed
    }

    /// From now on changes are noted; who watched before does so no more.
    pub fn watch(&self) -> u64 {
        let _writer = self.writer.lock();
        let mut watched = self.watched.lock();
        watched.watcher += 1;
        watched.changed = Some(BTreeSet::new());
        watched.watcher
    }

    /// What has changed since the watch began, or since this was last asked. `None`: another one watches.
    pub fn take_changed(&self, watcher: u64) -> Option<Vec<PointId>> {
        let mut watched = self.watched.lock();
        let is_meant = watched.watcher == watcher;
        let changed = watched.changed.as_mut().filter(|_| is_meant)?;
        Some(std::mem::take(changed).into_iter().collect())
    }

    /// Notes changes no more.
    pub fn unwatch(&self, watcher: u64) {
        let mut watched = self.watched.lock();
        if watched.watcher == watcher {
            watched.changed = None;
        }
    }

    /// Ascending.
    pub fn all_ids(&self) -> Vec<PointId> {
        let mut ids: Vec<PointId> = self.ids.read().keys().copied().collect();
        ids.sort_unstable();
        ids
    }

    /// These points as the log would name their vectors, and those of the ids that there is no point of.
    pub fn stored(&self, ids: &[PointId]) -> Result<(Vec<Point>, Vec<PointId>), StorageError> {
        let dropped = self.dropped.read().clone();
        let view = self.store.view();
        let (mut points, mut missing) = (Vec::with_capacity(ids.len()), Vec::new());
        for id in ids {
            match view.point(id)? {
                Some((payload, mut vectors)) => {
                    vectors.retain(|stored, _| dropped.is_live(stored));
                    points.push(Point { id: *id, vectors, payload });
                }
                None => missing.push(*id),
            }
        }
        Ok((points, missing))
    }
}
