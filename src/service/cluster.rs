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
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use uuid::Uuid;

use super::distant::Desk;
use super::leading::{Leading, propose, view};
use super::shards::Shards;
use super::topology::TopologyHandle;
use super::{Error, OpenError, Service};
use crate::cluster::{LayoutCommand, META_GROUP, Meta, MetaCommand, NodeId};
use crate::peer::{self, AddressBook, Credentials, Doorkeeper, Newcomer, PeerClients, PeerSettings, Welcome};
use crate::raft::{Change, Group, Node};
use crate::storage::LogDb;

/// Name of the cluster's name in `raftdb`.
const CLUSTER: &str = "cluster";
/// There if another node let this one in.
const LET_IN: &str = "let_in";
/// How long a node asks to be let in, how long it waits to be taken in then, and how often it asks.
const JOIN_MAX: Duration = Duration::from_secs(600);
const TAKEN_IN_MAX: Duration = Duration::from_secs(120);
const JOIN_INTERVAL: Duration = Duration::from_millis(500);
/// How long those who asked a waiting node have to close their connections.
const WAITING_ENDS_MAX: Duration = Duration::from_millis(500);
/// How long leaders wait at a shutdown for others to lead.
const HAND_OVER_MAX: Duration = Duration::from_secs(3);
/// How long what failed waits to be tried again.
const RETRY_INTERVAL: Duration = Duration::from_secs(5);
/// Bytes per second of one snapshot on its way.
const SNAPSHOT_BYTES_PER_S: u64 = 128 << 20;

/// How this node belongs to a cluster.
#[derive(Debug)]
pub struct ClusterSettings {
    /// Where the others' calls arrive.
    pub listener: Arc<TcpListener>,
    /// Where the others find this node: host and port.
    pub address: String,
    /// Nodes of one zone fail together.
    pub zone: Option<String>,
    /// The addresses of the nodes that found the cluster together, the same list on all of them; or of some that belong to
    /// it. Empty: this one founds it. A node that belongs to a cluster already does not read it.
    pub bootstrap: Vec<String>,
    /// What nodes show each other.
    pub key: Option<String>,
    /// Another key that is taken from others, while one takes the place of the other.
    pub alt_key: Option<String>,
    /// How long a node may be silent before its replicas are replaced elsewhere.
    pub replace_after: Duration,
}

/// What a node knows of its cluster before its groups run.
pub(super) struct Passport {
    credentials: Credentials,
    book: Arc<AddressBook>,
    /// This node's way to the others.
    pub(super) clients: Arc<PeerClients>,
    /// The cluster's groups take it in; it begins none.
    pub(super) is_newcomer: bool,
}

impl Passport {
    /// The cluster's name: kept, told by a node that lets this one in, or made up by the first.
    pub(super) async fn get(logs: &LogDb, id: NodeId, settings: &ClusterSettings) -> Result<Passport, OpenError> {
        let book = Arc::new(AddressBook::default());
        let kept = logs.node_entry(CLUSTER)?.and_then(|name| String::from_utf8(name).ok());
        let has_log = logs.shards().contains(&META_GROUP);
        let was_let_in = logs.node_entry(LET_IN)?.is_some();
        let (name, is_newcomer) = match kept {
            Some(name) if has_log => (name, false),
            // It founded the cluster, or a node without one has become one.
            kept if has_log || (kept.is_some() && !was_let_in) => {
                if kept.is_none() && !is_first(settings) {
                    return Err(OpenError::OwnData);
                }
                (kept.unwrap_or_else(new_name), false)
            }
            // Were it to begin groups now, they would be others than those that count on it.
            Some(name) if settings.bootstrap.iter().all(|one| *one == settings.address) => (name, true),
            kept => match get_in(id, settings, kept.is_none()).await? {
                Some(welcome) => {
                    book.set(welcome.nodes);
                    (welcome.cluster, true)
                }
                None => (new_name(), false),
            },
        };
        logs.put_node_entry(CLUSTER, name.as_bytes())?;
        if is_newcomer {
            logs.put_node_entry(LET_IN, &[])?;
        }
        logs.sync()?;
        let credentials = Credentials { cluster: name, key: settings.key.clone(), alt_key: settings.alt_key.clone() };
        let settings = PeerSettings { credentials: credentials.clone(), snapshot_bytes_per_s: SNAPSHOT_BYTES_PER_S };
        let clients = Arc::new(PeerClients::new(settings, Arc::clone(&book)));
        Ok(Passport { credentials, book, clients, is_newcomer })
    }
}

fn new_name() -> String {
    Uuid::new_v4().to_string()
}

/// Whether this node is the one of its list that founds the cluster.
fn is_first(settings: &ClusterSettings) -> bool {
    settings.bootstrap.first().is_none_or(|first| *first == settings.address)
}

/// What a node of the cluster says that lets this one in. `None`: this one is to found it.
///
/// The first of the list founds the cluster, once every other one has said that it waits too: a node of a cluster that is not
/// reached now cannot be among them, so that a first one that lost its data never founds a second cluster.
async fn get_in(id: NodeId, settings: &ClusterSettings, may_found: bool) -> Result<Option<Welcome>, OpenError> {
    let others: Vec<&String> = settings.bootstrap.iter().filter(|one| **one != settings.address).collect();
    if others.is_empty() {
        return Ok(None);
    }
    let (entered, stop) = oneshot::channel::<()>();
    let stop = async { _ = stop.await };
    let credentials =
        Credentials { cluster: String::new(), key: settings.key.clone(), alt_key: settings.alt_key.clone() };
    let waiting = peer::serve_waiting(connections(Arc::clone(&settings.listener)), credentials, stop);
    let mut waiting = std::pin::pin!(waiting);
    let welcome = tokio::select! {
        welcome = ask_around(id, &others, settings, may_found && is_first(settings)) => welcome,
        ended = &mut waiting => {
            let why = ended.err().map_or_else(|| "it ended".to_owned(), |error| error.to_string());
            Err(OpenError::Thread(std::io::Error::other(format!("the listener for other nodes: {why}"))))
        }
    };
    drop(entered);
    // Whoever does not close its connection finds out by the first answer.
    let _ = tokio::time::timeout(WAITING_ENDS_MAX, waiting).await;
    welcome
}

async fn ask_around(
    id: NodeId,
    others: &[&String],
    settings: &ClusterSettings,
    founds: bool,
) -> Result<Option<Welcome>, OpenError> {
    let until = tokio::time::Instant::now() + JOIN_MAX;
    loop {
        let mut waiting_count = 0;
        let mut refusal = None;
        for address in others {
            match peer::cluster_of(address, settings.key.clone()).await {
                Ok(None) => waiting_count += 1,
                Ok(Some(_)) => {
                    let newcomer = Newcomer { id, address: settings.address.clone(), zone: settings.zone.clone() };
                    match peer::join(address, settings.key.clone(), newcomer).await {
                        Ok(welcome) => return Ok(Some(welcome)),
                        Err(error) => refusal = Some(error),
                    }
                }
                Err(error) => refusal = Some(error),
            }
        }
        if founds && waiting_count == others.len() {
            return Ok(None);
        }
        let is_late = tokio::time::Instant::now() >= until;
        match refusal {
            Some(error) if is_late => return Err(OpenError::Join(error)),
            None if is_late => return Err(OpenError::NobodyFounds),
            Some(error) => tracing::warn!(%error, "asking again"),
            None => {
                let first = settings.bootstrap.first().map_or("", String::as_str);
                tracing::info!(
                    own = settings.address,
                    first,
                    "waiting for the first node of the list to found the cluster"
                );
            }
        }
        tokio::time::sleep(JOIN_INTERVAL).await;
    }
}

/// The part of a node that belongs to its cluster. Its tasks end with it.
pub(super) struct Membership {
    id: NodeId,
    address: String,
    zone: Option<String>,
    replace_after: Duration,
    meta: Arc<Meta>,
    meta_group: Group,
    passport: Option<Passport>,
    desk: Arc<Desk>,
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
        let mut replace_after = Duration::MAX;
        if let Some((settings, own)) = cluster {
            replace_after = settings.replace_after;
            (listener, address, zone) = (Some(settings.listener), settings.address, settings.zone);
            passport = Some(own);
        }
        let membership = Arc::new(Membership {
            id,
            address,
            zone,
            replace_after,
            meta: Arc::clone(meta),
            meta_group: meta_group.clone(),
            passport,
            desk: Arc::default(),
            tasks: Mutex::default(),
        });
        if let (Some(listener), Some(passport)) = (listener, &membership.passport) {
            let name = passport.credentials.cluster.clone();
            let door = Arc::new(Door { name, meta: Arc::clone(meta), meta_group: meta_group.clone() });
            let stop = std::future::pending();
            let desk = Arc::clone(&membership.desk) as _;
            let serving =
                peer::serve(connections(listener), (Arc::clone(node), desk), door, passport.credentials.clone(), stop);
            membership.spawn(async move {
                if let Err(error) = serving.await {
                    tracing::error!(%error, "this node does not answer the others any more");
                }
            });
            let (meta, book) = (Arc::clone(meta), Arc::clone(&passport.book));
            membership.spawn(keep_book(meta, book));
        }
        membership.be_known().await?;
        if !membership.is_known() {
            let weak = Arc::downgrade(&membership);
            membership.spawn(async move {
                while let Some(membership) = weak.upgrade().filter(|membership| !membership.is_known()) {
                    if let Err(error) = membership.tell_where().await {
                        tracing::warn!(%error, "the cluster could not be told where this node is; it is tried again");
                    }
                    drop(membership);
                    tokio::time::sleep(RETRY_INTERVAL).await;
                }
            });
        }
        Ok(membership)
    }

    pub(super) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.lock().push(tokio::spawn(task));
    }

    /// Lets groups and shards follow the state.
    pub(super) fn follow(self: &Arc<Membership>, shards: &Arc<Shards>, topology: &TopologyHandle) {
        let (mut changes, topology, table) = (self.meta.changes(), topology.clone(), Arc::clone(shards));
        // What was changed while the node was being opened.
        changes.mark_changed();
        self.spawn(async move {
            loop {
                // What failed is tried again, and what is to go goes after a while.
                let is_still = table.table().failed.is_empty() && !table.is_retiring();
                let wait = if is_still { Duration::MAX } else { RETRY_INTERVAL };
                let is_over = matches!(tokio::time::timeout(wait, changes.changed()).await, Ok(Err(_)));
                if is_over || topology.settle().await.is_err() {
                    return;
                }
            }
        });
        let leading = Arc::new(Leading {
            id: self.id,
            meta: Arc::clone(&self.meta),
            meta_group: self.meta_group.clone(),
            shards: Arc::clone(shards),
            replace_after: self.replace_after,
            planned: Mutex::default(),
        });
        self.spawn(leading.run());
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

    /// Whether the cluster knows where this node is, and that it leads again.
    fn is_known(&self) -> bool {
        let state = self.meta.state();
        let own = state.layout().nodes().get(&self.id);
        if self.passport.is_none() {
            return own.is_some();
        }
        let is_right = own.is_some_and(|own| own.address == self.address && own.site.zone == self.zone);
        is_right && !state.layout().is_resting(self.id)
    }

    async fn be_known(&self) -> Result<(), OpenError> {
        if self.passport.as_ref().is_some_and(|passport| passport.is_newcomer) {
            let mut changes = self.meta.changes();
            let taken_in = changes.wait_for(|_| self.is_known());
            return match tokio::time::timeout(TAKEN_IN_MAX, taken_in).await {
                Ok(Ok(_)) => Ok(()),
                _ => Err(OpenError::Thread(std::io::Error::other("the cluster does not take this node in"))),
            };
        }
        if self.is_known() {
            return Ok(());
        }
        match self.tell_where().await {
            // A cluster that has no leader now is told later; whoever knows this node finds it meanwhile.
            Err(error) if self.meta.state().layout().nodes().contains_key(&self.id) => {
                tracing::warn!(%error, "the cluster could not be told where this node is");
                Ok(())
            }
            told => told.map_err(|error| OpenError::Thread(std::io::Error::other(error))),
        }
    }

    async fn tell_where(&self) -> Result<(), Error> {
        let found = self
            .passport
            .as_ref()
            .map(|passport| LayoutCommand::Found { cluster: passport.credentials.cluster.clone() });
        let join = LayoutCommand::Join { id: self.id, address: self.address.clone(), zone: self.zone.clone() };
        for command in found.into_iter().chain([join]) {
            propose(&self.meta_group, &MetaCommand::Layout(command)).await?;
        }
        Ok(())
    }

    /// Whether there can be no other nodes.
    pub(super) fn is_alone(&self) -> bool {
        self.passport.is_none()
    }

    /// This node's way to the others, if there can be any.
    pub(super) fn clients(&self) -> Option<&PeerClients> {
        self.passport.as_ref().map(|passport| &*passport.clients)
    }

    /// Begins to answer what others ask the service.
    pub(super) fn open_desk(&self, service: &Service) {
        self.desk.open(service);
    }

    /// Whether this node belongs to a cluster that others can join.
    pub(super) fn is_of_cluster(&self) -> bool {
        self.passport.is_some()
    }

    /// Lets others lead where they can, until this node joins again. How many groups it still leads.
    pub(super) async fn hand_over(&self, shards: &Shards) -> usize {
        let table = shards.table();
        let groups = || table.running.values().map(|shard| &shard.group).chain([&self.meta_group]);
        let led = || groups().filter(|group| group.status().is_leader && group.members().voters.len() > 1);
        if led().next().is_none() {
            return 0;
        }
        // Otherwise they would hand it back at once.
        let rest = MetaCommand::Layout(LayoutCommand::Rest { id: self.id });
        match tokio::time::timeout(HAND_OVER_MAX, propose(&self.meta_group, &rest)).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => tracing::warn!(%error, "the others cannot be told that this node stops"),
            Err(_) => tracing::warn!("the others cannot be told in time that this node stops"),
        }
        let hand_overs = led().map(|group| async move {
            let seen = view(group, self.id);
            let others = seen.voters.iter().filter(|id| **id != self.id);
            let Some(next) = others.max_by_key(|id| seen.matched.get(id)) else { return };
            if group.change_here(Change::Lead(*next)).await.is_ok() {
                while group.status().is_leader {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            }
        });
        if tokio::time::timeout(HAND_OVER_MAX, join_all(hand_overs)).await.is_err() {
            tracing::warn!("some groups have to find another leader by themselves");
        }
        led().count()
    }
}

/// Lets nodes in.
struct Door {
    /// Of the cluster.
    name: String,
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

    fn cluster(&self) -> Option<String> {
        Some(self.name.clone())
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

fn connections(listener: Arc<TcpListener>) -> impl futures::Stream<Item = std::io::Result<TcpStream>> {
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
