//! What nodes ask each other beside Raft: reads of shards that the asker holds no replica of, and to keep up with what the
//! `meta` group says.
//!
//! Invariants:
//! - A read answers only once the replica has applied what its caller must see, and the node knows of the collection what its
//!   caller knows.
//! - Reads have no effect: one that fails or is late is asked of another replica, too, and the first answer counts.
//! - No search thread waits for another node.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::{Duration, Instant};

use futures::StreamExt;
use futures::future::{BoxFuture, join_all};
use futures::stream::FuturesUnordered;
use serde::{Deserialize, Serialize};

use super::collections::{Figures, IN_TOUCH_MAX, MemoryRead};
use super::errors::{from_propose, from_read};
use super::fields::{Facet, FieldBuilt};
use super::query::{CorpusCounts, FormulaRead, LevelRead, TextCounts};
use super::read::{Count, ScrollRead};
use super::scatter::{Get, ReadKind, ShardRead};
use super::seat::DistantShard;
use super::shards::RunningShard;
use super::strict::SizesRead;
use super::vector_names::DroppedLeft;
use super::{Error, ReadOptions, Running, Service};
use crate::cluster::SiteState;
use crate::index::Stop;
use crate::model::{Path, ShardId};
use crate::peer::{Host, PeerClients};
use crate::raft::{Group, Peer};
use crate::shard::Shard;

/// The format that is written and read.
const FORMAT: u8 = 1;
/// How long a replica is waited for before another one is asked, too.
const SECOND_AFTER: Duration = Duration::from_millis(500);
/// How long a read without a deadline may take.
const READ_MAX: Duration = Duration::from_secs(60);
/// How long a replica may be behind what its caller has to see.
const BEHIND_MAX: Duration = Duration::from_secs(2);
/// How long another node may take to say who belongs to a group.
const MEMBERS_MAX: Duration = Duration::from_secs(1);

/// What one node asks another.
#[derive(Debug, Serialize, Deserialize)]
enum Question {
    /// `body`: reads of the kind.
    Read {
        shard: ShardId,
        /// The replica must have applied the log so far; 0: as it stands.
        at_least: u64,
        /// The node must know the state of the `meta` group so far.
        meta_index: u64,
        kind: ReadKind,
        body: Vec<u8>,
    },
    /// To know the state of the `meta` group so far, and to run what it says.
    KeepUp { meta_index: u64 },
    /// Who belongs to the shard's group.
    Members { shard: ShardId },
}

/// Who belongs to a group, as one of its members knows it.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Members {
    pub(super) leader: Option<u64>,
    pub(super) voters: BTreeSet<u64>,
    pub(super) learners: BTreeSet<u64>,
}

impl Members {
    pub(super) fn of(group: &Group) -> Members {
        let members = group.members();
        Members {
            leader: members.leader,
            voters: members.voters.into_keys().collect(),
            learners: members.learners.into_keys().collect(),
        }
    }
}

/// Why a read has no answer.
#[derive(Debug, Serialize, Deserialize)]
enum Refusal {
    Timeout,
    NoRangeIndex(Path),
    NoFacetIndex(Path),
    NoScoringIndex(Path),
    /// Another replica may do better.
    Elsewhere(String),
}

/// Up to where the replica had applied the log when it had answered, and the answers.
type Answer = Result<(u64, Vec<u8>), Refusal>;

fn encode(value: &impl Serialize) -> Vec<u8> {
    // Writing to a growing vector cannot fail, and the types have no unserialisable state.
    postcard::to_extend(value, vec![FORMAT]).unwrap_or_default()
}

fn decode<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, String> {
    match bytes.split_first() {
        Some((&FORMAT, body)) => postcard::from_bytes(body).map_err(|error| error.to_string()),
        _ => Err("it is of another version".to_owned()),
    }
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Refusal {
        match error {
            Error::Timeout { .. } => Refusal::Timeout,
            Error::NoRangeIndex { key } => Refusal::NoRangeIndex(key),
            Error::NoFacetIndex { key } => Refusal::NoFacetIndex(key),
            Error::NoScoringIndex { key } => Refusal::NoScoringIndex(key),
            other => Refusal::Elsewhere(other.to_string()),
        }
    }
}

/// Why one replica did not answer.
enum Failed {
    /// No other one would.
    Surely(Error),
    Here(String),
}

impl Service {
    /// What a shard on other nodes answers to these reads.
    pub(super) async fn ask_distant<A: ShardRead>(
        &self,
        shard: &DistantShard,
        asked: &[Arc<A>],
        options: ReadOptions,
    ) -> Result<Vec<A::Part>, Error> {
        let reads: Vec<&A> = asked.iter().map(|read| &**read).collect();
        let question = Question::Read {
            shard: shard.id,
            at_least: shard.at_least.load(Ordering::Acquire),
            meta_index: self.running.meta_group.applied_index(),
            kind: A::KIND,
            body: postcard::to_stdvec(&reads).unwrap_or_default(),
        };
        let question = encode(&question);
        let until = options.deadline.unwrap_or_else(|| Instant::now() + READ_MAX);
        let unavailable = |why: String| Error::Unavailable { why: format!("shard {} on other nodes: {why}", shard.id) };
        let clients = self.running.membership.clients().ok_or_else(|| unavailable("there are none".to_owned()))?;
        let mut others = shard.replicas.iter();
        let mut waiting = FuturesUnordered::new();
        let mut last = "no replica is known".to_owned();
        waiting.extend(others.next().map(|peer| ask_one::<A>(clients, peer, question.clone(), until)));
        loop {
            let answer = match others.len() {
                0 => waiting.next().await,
                _ => tokio::time::timeout(SECOND_AFTER, waiting.next()).await.unwrap_or(None),
            };
            match answer {
                Some(Ok((_, parts))) if parts.len() != asked.len() => last = "it left some out".to_owned(),
                Some(Ok((applied, parts))) => {
                    // Whoever is asked next for this call must not know less.
                    shard.at_least.fetch_max(applied, Ordering::AcqRel);
                    return Ok(parts);
                }
                Some(Err(Failed::Surely(error))) => return Err(error),
                Some(Err(Failed::Here(why))) => last = why,
                None => {}
            }
            match others.next() {
                Some(peer) => waiting.push(ask_one::<A>(clients, peer, question.clone(), until)),
                None if waiting.is_empty() && Instant::now() >= until => return Err(Error::Timeout { what: A::WHAT }),
                None if waiting.is_empty() => return Err(unavailable(last)),
                None => {}
            }
        }
    }

    /// Lets all other nodes that can be reached know what this one knows of the `meta` group's state.
    pub(super) async fn tell_others(&self) {
        let Some(clients) = self.running.membership.clients() else { return };
        let state = self.running.meta.state();
        let own = self.running.node_id;
        let others = state
            .layout()
            .nodes()
            .iter()
            .filter(|(id, node)| **id != own && matches!(node.site.state, SiteState::Up | SiteState::Draining));
        let question = encode(&Question::KeepUp { meta_index: self.running.meta_group.applied_index() });
        let told = others.map(|(id, _)| {
            let (peer, question) = (Peer { id: *id, address: String::new() }, question.clone());
            async move { clients.call(&peer, question, IN_TOUCH_MAX).await }
        });
        // Who cannot be reached learns it from the log.
        join_all(told).await;
    }

    /// Returns once this node knows the state of the `meta` group up to this index, and runs what it says.
    async fn keep_up(&self, meta_index: u64) -> Result<(), Error> {
        if self.running.shards.settled_index() >= meta_index {
            return Ok(());
        }
        self.running.meta_group.wait_applied(meta_index).await.map_err(from_propose)?;
        self.running.topology.settle().await
    }

    async fn answer(&self, question: &[u8], within: Duration) -> Result<Vec<u8>, String> {
        let _inside = self.running.gate.enter().map_err(|error| error.to_string())?;
        let until = Instant::now() + within;
        match decode(question)? {
            Question::KeepUp { meta_index } => {
                self.keep_up(meta_index).await.map_err(|error| error.to_string())?;
                Ok(Vec::new())
            }
            Question::Members { shard } => {
                let running = self.running.shards.table().running.get(&shard).cloned();
                let running = running.filter(|running| running.group.counts());
                Ok(encode(&Members::of(&running.ok_or("it holds no replica that counts")?.group)))
            }
            Question::Read { shard, at_least, meta_index, kind, body } => {
                let answer = async {
                    self.keep_up(meta_index).await?;
                    let replica = self.replica(shard, at_least).await?;
                    if at_least > 0 {
                        self.check_not_replaced([&replica].into_iter()).await?;
                    }
                    let parts = self.answer_reads(replica.shard(), kind, &body, until).await?;
                    replica.check_there()?;
                    Ok::<_, Error>((replica.group.applied_index(), parts))
                };
                let answer: Answer = answer.await.map_err(Refusal::from);
                Ok(encode(&answer))
            }
        }
    }

    /// The replica here, once it has what the caller must see.
    async fn replica(&self, id: ShardId, at_least: u64) -> Result<Arc<RunningShard>, Error> {
        let unavailable = |why: &str| Error::Unavailable { why: format!("the replica of shard {id} {why}") };
        let running = self.running.shards.table().running.get(&id).cloned();
        let running = running.filter(|running| running.group.counts()).ok_or_else(|| unavailable("is not here"))?;
        if running.group.applied_index() < at_least {
            let applied = tokio::time::timeout(BEHIND_MAX, running.group.wait_applied(at_least)).await;
            applied.map_err(|_| unavailable("is behind"))?.map_err(from_propose)?;
        }
        Ok(running)
    }

    /// Who belongs to a group of other nodes, as the first of them says that answers.
    pub(super) async fn members_of(&self, shard: ShardId, holders: &[u64]) -> Option<Members> {
        let clients = self.running.membership.clients()?;
        let question = encode(&Question::Members { shard });
        let mut asked: FuturesUnordered<_> = holders
            .iter()
            .map(|id| {
                let question = question.clone();
                async move { clients.call(&Peer { id: *id, address: String::new() }, question, MEMBERS_MAX).await }
            })
            .collect();
        while let Some(answer) = asked.next().await {
            if let Some(members) = answer.ok().and_then(|answer| decode::<Members>(&answer).ok()) {
                return Some(members);
            }
        }
        None
    }

    async fn answer_reads(
        &self,
        shard: Arc<Shard>,
        kind: ReadKind,
        body: &[u8],
        until: Instant,
    ) -> Result<Vec<u8>, Error> {
        match kind {
            ReadKind::Get => self.answer_kind::<Get>(shard, body, until).await,
            ReadKind::Scroll => self.answer_kind::<ScrollRead>(shard, body, until).await,
            ReadKind::Count => self.answer_kind::<Count>(shard, body, until).await,
            ReadKind::Level => self.answer_kind::<LevelRead>(shard, body, until).await,
            ReadKind::Formula => self.answer_kind::<FormulaRead>(shard, body, until).await,
            ReadKind::Corpus => self.answer_kind::<CorpusCounts>(shard, body, until).await,
            ReadKind::Texts => self.answer_kind::<TextCounts>(shard, body, until).await,
            ReadKind::Facet => self.answer_kind::<Facet>(shard, body, until).await,
            ReadKind::Figures => self.answer_kind::<Figures>(shard, body, until).await,
            ReadKind::Memory => self.answer_kind::<MemoryRead>(shard, body, until).await,
            ReadKind::Sizes => self.answer_kind::<SizesRead>(shard, body, until).await,
            ReadKind::FieldBuilt => self.answer_kind::<FieldBuilt>(shard, body, until).await,
            ReadKind::Dropped => self.answer_kind::<DroppedLeft>(shard, body, until).await,
        }
    }

    async fn answer_kind<A: ShardRead>(
        &self,
        shard: Arc<Shard>,
        body: &[u8],
        until: Instant,
    ) -> Result<Vec<u8>, Error> {
        let unreadable = |error: postcard::Error| Error::Unavailable { why: format!("a node's question: {error}") };
        let reads: Vec<A> = postcard::from_bytes(body).map_err(unreadable)?;
        let jobs = reads.into_iter().map(|read| {
            let shard = Arc::clone(&shard);
            move |stop: &Stop| read.part(&shard, stop).map_err(|error| from_read(error, A::WHAT))
        });
        let parts = self.running.pool.run_all(A::WHAT, Some(until), jobs.collect()).await?;
        Ok(postcard::to_stdvec(&parts).unwrap_or_default())
    }
}

async fn ask_one<A: ShardRead>(
    clients: &PeerClients,
    peer: &Peer,
    question: Vec<u8>,
    until: Instant,
) -> Result<(u64, Vec<A::Part>), Failed> {
    let within = until.saturating_duration_since(Instant::now());
    let answer = clients.call(peer, question, within).await.map_err(|error| Failed::Here(error.to_string()))?;
    let answer: Answer = decode(&answer).map_err(Failed::Here)?;
    match answer {
        Ok((applied, parts)) => match postcard::from_bytes(&parts) {
            Ok(parts) => Ok((applied, parts)),
            Err(error) => Err(Failed::Here(error.to_string())),
        },
        Err(Refusal::Elsewhere(why)) => Err(Failed::Here(why)),
        Err(Refusal::Timeout) => Err(Failed::Surely(Error::Timeout { what: A::WHAT })),
        Err(Refusal::NoRangeIndex(key)) => Err(Failed::Surely(Error::NoRangeIndex { key })),
        Err(Refusal::NoFacetIndex(key)) => Err(Failed::Surely(Error::NoFacetIndex { key })),
        Err(Refusal::NoScoringIndex(key)) => Err(Failed::Surely(Error::NoScoringIndex { key })),
    }
}

/// Answers other nodes once the service is open.
#[derive(Default)]
pub(super) struct Desk {
    running: OnceLock<Weak<Running>>,
}

impl Desk {
    pub(super) fn open(&self, service: &Service) {
        // Opened once.
        let _ = self.running.set(Arc::downgrade(&service.running));
    }
}

impl Host for Desk {
    fn answer(&self, body: Vec<u8>, within: Duration) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(async move {
            let running = self.running.get().and_then(Weak::upgrade).ok_or("this node is being opened or closed")?;
            Service { running }.answer(&body, within).await
        })
    }
}
