//! This node as a part of a cluster: how it gets in, and what leaders of groups do so that every group comes to have the
//! members it should have.
//!
//! Where replicas should be stands in the `meta` group's state; each group's leader brings its group there, one step at a
//! time ([`next_step`]), and says so when a member has left. Every node follows that state: it opens the shards it should
//! hold, and removes what it need not keep.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::shards::Shards;
use super::topology::TopologyHandle;
use super::{Error, OpenError};
use crate::cluster::{
    GroupView, LayoutCommand, META_GROUP, Meta, MetaCommand, NodeId, SiteState, Step, next_step, outcome_from_reply,
};
use crate::model::ShardId;
use crate::peer::{self, AddressBook, Credentials, Doorkeeper, Newcomer, PeerClients, PeerSettings, Welcome};
use crate::raft::{Change, Group, Node, Peer, Transport};
use crate::storage::LogDb;

/// Name of the cluster's name in `raftdb`.
const CLUSTER: &str = "cluster";
/// There if another node let this one in.
const LET_IN: &str = "let_in";
/// How many nodes have a vote in the `meta` group; the others follow it.
const META_VOTERS_MAX: usize = 5;
/// How often leaders look at their groups, unless something changes.
const LOOK_INTERVAL: Duration = Duration::from_millis(300);
/// How long one step may take before the leader looks again.
const STEP_MAX: Duration = Duration::from_secs(30);
/// How long a node asks to be let in, how long it waits to be taken in then, and how often it asks.
const JOIN_MAX: Duration = Duration::from_secs(600);
const TAKEN_IN_MAX: Duration = Duration::from_secs(120);
const JOIN_INTERVAL: Duration = Duration::from_secs(1);
/// How long leaders wait at a shutdown for others to lead.
const HAND_OVER_MAX: Duration = Duration::from_secs(3);
/// Bytes per second of one snapshot on its way.
const SNAPSHOT_BYTES_PER_S: u64 = 128 << 20;

/// How this node belongs to a cluster.
#[derive(Debug)]
pub struct ClusterSettings {
    /// Where the others' calls arrive.
    pub listener: TcpListener,
    /// Where the others find this node: host and port.
    pub address: String,
    /// Nodes of one zone fail together.
    pub zone: Option<String>,
    /// Host and port of a node that belongs to the cluster. `None`: this one founds it, or belongs to it already.
    pub bootstrap: Option<String>,
    /// What nodes show each other.
    pub key: Option<String>,
}

/// What a node knows of its cluster before its groups run.
pub(super) struct Passport {
    credentials: Credentials,
    book: Arc<AddressBook>,
    /// The cluster's groups take it in; it begins none.
    pub(super) is_newcomer: bool,
}

impl Passport {
    /// The cluster's name: kept, told by a node that lets this one in, or made up by the first.
    pub(super) async fn get(logs: &LogDb, id: NodeId, settings: &ClusterSettings) -> Result<Passport, OpenError> {
        let book = Arc::new(AddressBook::default());
        // All nodes of a set may be started alike: the first finds itself.
        let bootstrap = settings.bootstrap.as_ref().filter(|bootstrap| **bootstrap != settings.address);
        let kept = logs.node_entry(CLUSTER)?.and_then(|name| String::from_utf8(name).ok());
        let has_log = logs.shards().contains(&META_GROUP);
        let was_let_in = logs.node_entry(LET_IN)?.is_some();
        let (name, is_newcomer) = match (kept, bootstrap) {
            (Some(name), _) if has_log => (name, false),
            (_, Some(bootstrap)) if !has_log => {
                let welcome = ask_in(id, bootstrap, settings).await?;
                book.set(welcome.nodes);
                (welcome.cluster, true)
            }
            // Were it to begin groups now, they would be others than those that count on it.
            (Some(name), None) if was_let_in => (name, true),
            (None, Some(_)) => return Err(OpenError::OwnData),
            (kept, _) => (kept.unwrap_or_else(|| Uuid::new_v4().to_string()), false),
        };
        logs.put_node_entry(CLUSTER, name.as_bytes())?;
        if is_newcomer {
            logs.put_node_entry(LET_IN, &[])?;
        }
        logs.sync()?;
        let credentials = Credentials { cluster: name, key: settings.key.clone() };
        Ok(Passport { credentials, book, is_newcomer })
    }

    pub(super) fn transport(&self) -> Arc<dyn Transport> {
        let settings =
            PeerSettings { credentials: self.credentials.clone(), snapshot_bytes_per_s: SNAPSHOT_BYTES_PER_S };
        Arc::new(PeerClients::new(settings, Arc::clone(&self.book)))
    }
}

async fn ask_in(id: NodeId, bootstrap: &str, settings: &ClusterSettings) -> Result<Welcome, OpenError> {
    let until = tokio::time::Instant::now() + JOIN_MAX;
    loop {
        let newcomer = Newcomer { id, address: settings.address.clone(), zone: settings.zone.clone() };
        match peer::join(bootstrap, settings.key.clone(), newcomer).await {
            Ok(welcome) => return Ok(welcome),
            Err(error) if tokio::time::Instant::now() >= until => return Err(OpenError::Join(error)),
            Err(error) => tracing::warn!(%error, "asking again"),
        }
        tokio::time::sleep(JOIN_INTERVAL).await;
    }
}

/// The part of a node that belongs to its cluster. Its tasks end with it.
pub(super) struct Membership {
    id: NodeId,
    address: String,
    zone: Option<String>,
    meta: Arc<Meta>,
    meta_group: Group,
    passport: Option<Passport>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

impl Drop for Membership {
    fn drop(&mut self) {
        self.tasks.lock().drain(..).for_each(|task| task.abort());
    }
}

impl Membership {
    /// Begins to answer the others, and makes this node known to the cluster; returns once it is.
    pub(super) async fn begin(
        node: &Arc<Node>,
        id: NodeId,
        (meta, meta_group): (&Arc<Meta>, &Group),
        cluster: Option<(ClusterSettings, Passport)>,
    ) -> Result<Arc<Membership>, OpenError> {
        let (mut listener, mut address, mut zone, mut passport) = (None, String::new(), None, None);
        if let Some((settings, own)) = cluster {
            (listener, address, zone) = (Some(settings.listener), settings.address, settings.zone);
            passport = Some(own);
        }
        let membership = Arc::new(Membership {
            id,
            address,
            zone,
            meta: Arc::clone(meta),
            meta_group: meta_group.clone(),
            passport,
            tasks: Mutex::default(),
        });
        if let (Some(listener), Some(passport)) = (listener, &membership.passport) {
            let door = Arc::new(Door { meta: Arc::clone(meta), meta_group: meta_group.clone() });
            let stop = std::future::pending();
            let serving =
                peer::serve(connections(listener), Arc::clone(node), door, passport.credentials.clone(), stop);
            membership.spawn(async move {
                if let Err(error) = serving.await {
                    tracing::error!(%error, "this node does not answer the others any more");
                }
            });
            let (meta, book) = (Arc::clone(meta), Arc::clone(&passport.book));
            membership.spawn(keep_book(meta, book));
        }
        membership.be_known().await?;
        Ok(membership)
    }

    fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().push(tokio::spawn(task));
    }

    /// Lets groups and shards follow the state.
    pub(super) fn follow(self: &Arc<Membership>, shards: &Arc<Shards>, topology: &TopologyHandle) {
        let (mut changes, topology) = (self.meta.changes(), topology.clone());
        self.spawn(async move { while changes.changed().await.is_ok() && topology.settle().await.is_ok() {} });
        let (weak, mut changes, shards) = (Arc::downgrade(self), self.meta.changes(), Arc::clone(shards));
        self.spawn(async move {
            loop {
                let _ = tokio::time::timeout(LOOK_INTERVAL, changes.changed()).await;
                let Some(membership) = weak.upgrade() else { return };
                membership.lead(&shards).await;
            }
        });
    }

    /// Ends the tasks, and with them what they hold of the databases.
    pub(super) async fn stop(&self) {
        let tasks = std::mem::take(&mut *self.tasks.lock());
        tasks.iter().for_each(JoinHandle::abort);
        for task in tasks {
            // It was cancelled: that is what it says.
            let _ = task.await;
        }
    }

    async fn be_known(&self) -> Result<(), OpenError> {
        let is_known = || {
            let state = self.meta.state();
            let own = state.layout().nodes().get(&self.id).cloned();
            own.is_some_and(|own| own.address == self.address && own.site.zone == self.zone)
        };
        if self.passport.as_ref().is_some_and(|passport| passport.is_newcomer) {
            let mut changes = self.meta.changes();
            let taken_in = changes.wait_for(|_| is_known());
            return match tokio::time::timeout(TAKEN_IN_MAX, taken_in).await {
                Ok(Ok(_)) => Ok(()),
                _ => Err(OpenError::Thread(std::io::Error::other("the cluster does not take this node in"))),
            };
        }
        if is_known() || (self.passport.is_none() && self.meta.state().layout().nodes().contains_key(&self.id)) {
            return Ok(());
        }
        let found = self
            .passport
            .as_ref()
            .map(|passport| LayoutCommand::Found { cluster: passport.credentials.cluster.clone() });
        let join = LayoutCommand::Join { id: self.id, address: self.address.clone(), zone: self.zone.clone() };
        for command in found.into_iter().chain([join]) {
            let made_known = propose(&self.meta_group, &MetaCommand::Layout(command)).await;
            match made_known {
                // A cluster that has no leader now is told by the next start; whoever knows this node finds it meanwhile.
                Err(error) if self.meta.state().layout().nodes().contains_key(&self.id) => {
                    tracing::warn!(%error, "the cluster could not be told where this node is");
                }
                Err(error) => return Err(OpenError::Thread(std::io::Error::other(error))),
                Ok(()) => {}
            }
        }
        Ok(())
    }

    /// One look at all groups that are led here.
    async fn lead(&self, shards: &Shards) {
        let state = self.meta.state();
        let layout = state.layout();
        let (meta_group, table) = (&self.meta_group, shards.table());
        if meta_group.status().is_leader {
            let there = layout.nodes().iter().filter(|(_, node)| node.site.state != SiteState::Lost);
            let mut wanted: Vec<NodeId> = there.map(|(id, _)| *id).collect();
            // Whoever leads goes on to.
            wanted.sort_by_key(|id| *id != self.id);
            self.step(meta_group, &wanted, META_VOTERS_MAX).await;
            if let Err(error) = self.place(&state).await {
                tracing::warn!(%error, "new shards have no places yet");
            }
        }
        let led = table.running.values().filter(|shard| shard.group.status().is_leader);
        join_all(led.map(|shard| async {
            let wanted = layout.replicas(shard.id);
            self.step(&shard.group, wanted, usize::MAX).await;
            self.report_left(shard.id, &shard.group).await;
        }))
        .await;
    }

    /// Takes the next step, if there is one, as far as it goes.
    async fn step(&self, group: &Group, wanted: &[NodeId], voters_max: usize) {
        let Some(step) = next_step(&view(group, self.id), wanted, voters_max) else { return };
        let change = match step {
            Step::AddLearner(id) => {
                let state = self.meta.state();
                let address = state.layout().nodes().get(&id).map(|node| node.address.clone()).unwrap_or_default();
                Change::AddLearner(Peer { id, address })
            }
            Step::SetVoters(voters) => Change::SetVoters(voters),
            Step::RemoveLearner(id) => Change::RemoveLearner(id),
            Step::Lead(id) => Change::Lead(id),
        };
        let shard = group.shard();
        tracing::info!(%shard, ?change, "a group changes");
        match tokio::time::timeout(STEP_MAX, group.change(change)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(%shard, %error, "a group could not be changed; it is tried again"),
            Err(_) => tracing::warn!(%shard, "a change of a group takes long; it is looked at again"),
        }
    }

    /// Says which nodes do not belong to the group any more, so that they can remove what they have of it.
    async fn report_left(&self, shard: ShardId, group: &Group) {
        let members = group.members();
        let state = self.meta.state();
        let leaving = state.layout().leaving(shard);
        let is_member = |id: &NodeId| members.voters.contains_key(id) || members.learners.contains_key(id);
        if members.next_voters.is_some() {
            return;
        }
        for id in leaving.iter().copied().filter(|id| !is_member(id)) {
            let left = MetaCommand::Layout(LayoutCommand::Left { shard, id });
            if let Err(error) = propose(&self.meta_group, &left).await {
                tracing::warn!(%shard, %error, "a node that left a group cannot be told of yet");
            }
        }
    }

    /// Gives shards that have no places some.
    pub(super) async fn place(&self, state: &crate::cluster::MetaState) -> Result<(), Error> {
        let shards = state.collections().flat_map(|collection| {
            let count = collection.config.replication_factor as usize;
            collection.shards.iter().map(move |shard| (*shard, count))
        });
        let places = state.layout().plan(shards);
        if places.is_empty() {
            return Ok(());
        }
        propose(&self.meta_group, &MetaCommand::Layout(LayoutCommand::Begin { places })).await
    }

    /// Lets others lead where they can, before this node stops.
    pub(super) async fn hand_over(&self, shards: &Shards) {
        let table = shards.table();
        let groups = table.running.values().map(|shard| &shard.group).chain([&self.meta_group]);
        let led = groups.filter(|group| group.status().is_leader);
        let hand_overs = led.map(|group| async move {
            let seen = view(group, self.id);
            let others = seen.voters.iter().filter(|id| **id != self.id);
            let Some(next) = others.max_by_key(|id| seen.matched.get(id)) else { return };
            if group.change(Change::Lead(*next)).await.is_ok() {
                while group.status().is_leader {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
        if tokio::time::timeout(HAND_OVER_MAX, join_all(hand_overs)).await.is_err() {
            tracing::warn!("some groups have to find another leader by themselves");
        }
    }
}

/// A group as [`next_step`] takes it.
fn view(group: &Group, leader: NodeId) -> GroupView {
    let (members, status) = (group.members(), group.status());
    GroupView {
        leader,
        voters: members.voters.keys().copied().collect(),
        learners: members.learners.keys().copied().collect(),
        matched: members.matched,
        last_index: status.last_log_index.unwrap_or(0),
        next_voters: members.next_voters,
    }
}

/// Proposes a change of the state, and waits until this node knows of it.
async fn propose(group: &Group, command: &MetaCommand) -> Result<(), Error> {
    let proposed = group.propose(command.encode()).await.map_err(super::errors::from_propose)?;
    group.wait_applied(proposed.index).await.map_err(super::errors::from_propose)?;
    let unreadable = || Error::OutcomeUnknown { why: "the meta group's reply is not readable".to_owned() };
    let outcome = outcome_from_reply(&proposed.reply).ok_or_else(unreadable)?;
    outcome.map(|_| ()).map_err(super::errors::from_refusal)
}

/// Lets nodes in.
struct Door {
    meta: Arc<Meta>,
    meta_group: Group,
}

impl Doorkeeper for Door {
    fn admit(&self, newcomer: Newcomer) -> BoxFuture<'static, Result<Welcome, String>> {
        let (meta, group) = (Arc::clone(&self.meta), self.meta_group.clone());
        Box::pin(async move {
            let Newcomer { id, address, zone } = newcomer;
            let join = MetaCommand::Layout(LayoutCommand::Join { id, address, zone });
            propose(&group, &join).await.map_err(|error| error.to_string())?;
            let state = meta.state();
            let layout = state.layout();
            let cluster = layout.cluster().ok_or("this node belongs to no cluster")?.to_owned();
            Ok(Welcome { cluster, nodes: addresses(&meta) })
        })
    }
}

fn addresses(meta: &Meta) -> BTreeMap<u64, String> {
    let state = meta.state();
    let nodes = state.layout().nodes().iter().filter(|(_, node)| !node.address.is_empty());
    nodes.map(|(id, node)| (*id, node.address.clone())).collect()
}

/// Lets the address book follow the state.
async fn keep_book(meta: Arc<Meta>, book: Arc<AddressBook>) {
    let mut changes = meta.changes();
    loop {
        let addresses = addresses(&meta);
        // A newcomer knows what it was told, until it knows better.
        if !addresses.is_empty() {
            book.set(addresses);
        }
        if changes.changed().await.is_err() {
            return;
        }
    }
}

fn connections(listener: TcpListener) -> impl futures::Stream<Item = std::io::Result<TcpStream>> {
    futures::stream::unfold(listener, |listener| async move {
        loop {
            match listener.accept().await {
                Ok((stream, _)) => {
                    let _ = stream.set_nodelay(true);
                    return Some((Ok(stream), listener));
                }
                Err(error) => {
                    tracing::warn!(%error, "cannot accept a node's connection");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    })
}
