//! Nodes that talk over loopback: groups, large entries, snapshots that are cut off, strangers.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures::future::BoxFuture;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::*;
use crate::model::ShardId;
use crate::raft::tests::{Ledger, SHARD, open_logs, settings};
use crate::raft::{Change, Group, Message, Node, Peer, Settings, Transport, TransportError};

struct Member {
    id: u64,
    address: String,
    node: Arc<Node>,
    ledger: Arc<Ledger>,
    group: Group,
    serving: JoinHandle<()>,
    _folder: TempDir,
}

fn credentials() -> Credentials {
    Credentials { cluster: "tests".to_owned(), key: Some("secret".to_owned()), alt_key: None }
}

fn peer_settings() -> PeerSettings {
    PeerSettings { credentials: credentials(), snapshot_bytes_per_s: 1 << 30 }
}

/// Lets nodes in but one.
struct Door;

impl Doorkeeper for Door {
    fn admit(&self, newcomer: Newcomer) -> BoxFuture<'static, Result<Welcome, String>> {
        let welcome =
            || Welcome { cluster: "tests".to_owned(), nodes: [(newcomer.id, newcomer.address.clone())].into() };
        let answer = if newcomer.id == 13 { Err("it was removed".to_owned()) } else { Ok(welcome()) };
        Box::pin(std::future::ready(answer))
    }

    fn cluster(&self) -> Option<String> {
        Some("here".to_owned())
    }
}

/// Answers with what it was asked.
struct Echo;

impl Host for Echo {
    fn answer(&self, body: Vec<u8>, _within: Duration) -> BoxFuture<'_, Result<Vec<u8>, String>> {
        Box::pin(std::future::ready(Ok(body)))
    }
}

fn connections(listener: TcpListener) -> impl futures::Stream<Item = std::io::Result<TcpStream>> {
    futures::stream::unfold(listener, |listener| async move {
        let accepted = listener.accept().await.map(|(stream, _)| stream);
        Some((accepted, listener))
    })
}

async fn start(book: &Arc<AddressBook>, settings: Settings, founds: bool) -> Member {
    let folder = tempfile::tempdir().unwrap();
    let clients = PeerClients::new(peer_settings(), Arc::clone(book));
    let node = Arc::new(Node::connected(open_logs(folder.path()), settings, Arc::new(clients)));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let stop = std::future::pending();
    let parts = (Arc::clone(&node), Arc::new(Echo) as Arc<dyn Host>);
    let serving = serve(connections(listener), parts, Arc::new(Door), credentials(), stop);
    let serving = tokio::spawn(async move { serving.await.unwrap() });
    let ledger = Arc::new(Ledger::default());
    let group = match founds {
        true => node.start_group(SHARD, Arc::clone(&ledger) as _).await.unwrap(),
        false => node.join_group(SHARD, Arc::clone(&ledger) as _).await.unwrap(),
    };
    Member { id: node.id().unwrap(), address, node, ledger, group, serving, _folder: folder }
}

/// A group of `count` voters, each with a way of its own to know where the others are.
async fn grown(settings: Settings, count: usize) -> (Arc<AddressBook>, Vec<Member>) {
    let book = Arc::new(AddressBook::default());
    let mut members = vec![start(&book, settings, true).await];
    for _ in 1..count {
        members.push(start(&book, settings, false).await);
    }
    book.set(members.iter().map(|member| (member.id, member.address.clone())).collect());
    for member in &members[1..] {
        let added = Peer { id: member.id, address: member.address.clone() };
        members[0].group.change(Change::AddLearner(added)).await.unwrap();
    }
    members[0].group.change(Change::SetVoters(members.iter().map(|member| member.id).collect())).await.unwrap();
    (book, members)
}

async fn until_equal(members: &[Member]) -> Vec<Vec<u8>> {
    for _ in 0..3_000 {
        let applied: Vec<_> = members.iter().map(|member| member.group.status().applied).collect();
        if applied[0].is_some() && applied.iter().all(|one| *one == applied[0]) {
            let commands = members[0].ledger.commands();
            assert!(members.iter().all(|member| member.ledger.commands() == commands));
            return commands;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the replicas do not come to be equal");
}

async fn stop(members: Vec<Member>) {
    for member in members {
        member.node.shutdown().await.unwrap();
        member.serving.abort();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_lives_over_the_network() {
    let settings = Settings { queue_bytes_max: 128 << 20, ..settings() };
    let (_, members) = grown(settings, 3).await;
    for number in 0..90u32 {
        members[number as usize % 3].group.propose(number.to_be_bytes().to_vec()).await.unwrap();
    }
    // Larger than what gRPC takes unless it is told otherwise, and than one read of the log.
    let large = vec![7; 20 << 20];
    members[1].group.propose(large.clone()).await.unwrap();
    for member in &members {
        member.group.read_barrier().await.unwrap();
        assert_eq!(member.ledger.commands().len(), 91);
    }
    assert!(until_equal(&members).await.contains(&large));
    stop(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_that_dies_is_done_without_and_catches_up() {
    let (_, mut members) = grown(settings(), 3).await;
    let leader = members.remove(members.iter().position(|member| member.group.status().is_leader).unwrap());
    leader.group.propose(vec![1]).await.unwrap();
    stop(vec![leader]).await;
    members[0].group.propose(vec![2]).await.unwrap();
    members[1].group.read_barrier().await.unwrap();
    assert_eq!(members[1].ledger.commands(), [vec![1], vec![2]]);
    stop(members).await;
}

/// Forwards connections to `to`, and cuts the first one off after so many bytes.
async fn cutting_proxy(to: String, cut_after: u64, carried: Arc<AtomicU64>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut cut_after = Some(cut_after);
        while let Ok((mut from, _)) = listener.accept().await {
            let (to, limit, carried) = (to.clone(), cut_after.take(), Arc::clone(&carried));
            tokio::spawn(async move {
                let mut to = TcpStream::connect(to).await.unwrap();
                let (mut from_read, mut from_write) = from.split();
                let (mut to_read, mut to_write) = to.split();
                let there = async {
                    let mut bytes = vec![0; 16 << 10];
                    let mut sum = 0;
                    while let Ok(read @ 1..) = from_read.read(&mut bytes).await {
                        sum += read as u64;
                        carried.fetch_add(read as u64, Ordering::SeqCst);
                        if limit.is_some_and(|limit| sum > limit) || to_write.write_all(&bytes[..read]).await.is_err() {
                            return;
                        }
                    }
                };
                let back = tokio::io::copy(&mut to_read, &mut from_write);
                tokio::select! { () = there => {}, _ = back => {} }
            });
        }
    });
    address
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_that_is_cut_off_goes_on_where_it_was() {
    let (book, members) = grown(settings(), 1).await;
    let (source, noise) = (&members[0], (0..12 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8));
    let noise: Vec<u8> = noise.collect();
    for part in noise.chunks(900 << 10) {
        source.group.propose(part.to_vec()).await.unwrap();
    }
    let target = start(&book, settings(), false).await;
    let carried = Arc::new(AtomicU64::new(0));
    let proxy = cutting_proxy(target.address.clone(), 7 << 20, Arc::clone(&carried)).await;
    let files = tempfile::tempdir().unwrap();
    std::fs::write(files.path().join("a"), &noise).unwrap();
    std::fs::write(files.path().join("b"), b"").unwrap();
    std::fs::write(files.path().join("c"), &noise[..100]).unwrap();
    let client = PeerClients::new(peer_settings(), Arc::new(AddressBook::default()));
    let to = Peer { id: target.id, address: proxy.to_string() };
    // The head says nothing that a group could install: what arrives is seen by its refusal.
    let answer = client.send_snapshot(&to, SHARD, vec![1, 2, 3], files.path().into()).await;
    assert!(matches!(&answer, Err(TransportError::NoAnswer { why, .. }) if why.contains("ends early")), "{answer:?}");
    let carried = carried.load(Ordering::SeqCst);
    assert!((12 << 20..17 << 20).contains(&carried), "{carried} bytes for 12 MiB that were cut off after 7");
    stop(vec![target]).await;
    stop(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_gets_the_state_over_the_network() {
    let settings = Settings { snapshot_entries: 20, ..settings() };
    let (book, mut members) = grown(settings, 1).await;
    for number in 0..200u32 {
        members[0].group.propose([&number.to_be_bytes()[..], &[5; 10_000]].concat()).await.unwrap();
    }
    while members[0].group.status().purged < Some(100) {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    members.push(start(&book, settings, false).await);
    book.set(members.iter().map(|member| (member.id, member.address.clone())).collect());
    let added = Peer { id: members[1].id, address: String::new() };
    members[0].group.change(Change::AddLearner(added)).await.unwrap();
    members[0].group.propose(vec![1]).await.unwrap();
    assert_eq!(until_equal(&members).await.len(), 201);
    assert!(members[1].ledger.import_count.load(Ordering::SeqCst) > 0);
    stop(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn strangers_are_refused_unread_and_lost_nodes_are_told_from_lost_answers() {
    let (_, members) = grown(settings(), 1).await;
    let id = members[0].id;
    let ask = |credentials: Credentials, address: String, ask: Ask, body: Vec<u8>| async move {
        let settings = PeerSettings { credentials, ..peer_settings() };
        let clients = PeerClients::new(settings, Arc::new(AddressBook::default()));
        let message = Message { shard: SHARD, ask, body };
        clients.ask(&Peer { id, address }, message, Duration::from_secs(2)).await
    };
    let address = || members[0].address.clone();
    let is_unreachable = |outcome: Result<Vec<u8>, TransportError>| match outcome {
        Err(TransportError::Unreachable { why, .. }) => why,
        other => panic!("{other:?}"),
    };
    let wrong_key = Credentials { key: Some("other".to_owned()), ..credentials() };
    let no_key = Credentials { key: None, ..credentials() };
    let wrong_cluster = Credentials { cluster: "another".to_owned(), ..credentials() };
    for (stranger, says) in [(wrong_key, "key"), (no_key, "key"), (wrong_cluster, "another cluster")] {
        for what in [Ask::Propose, Ask::Beat] {
            let why = is_unreachable(ask(stranger.clone(), address(), what, vec![1]).await);
            assert!(why.contains(says), "{why}");
        }
    }
    is_unreachable(ask(credentials(), String::new(), Ask::Propose, vec![1]).await);
    let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let closed = nobody.local_addr().unwrap().to_string();
    drop(nobody);
    is_unreachable(ask(credentials(), closed.clone(), Ask::Propose, vec![1]).await);
    is_unreachable(ask(credentials(), closed, Ask::Beat, vec![1]).await);
    // Another node lives there than the one that is meant.
    let clients = PeerClients::new(peer_settings(), Arc::new(AddressBook::default()));
    let message = Message { shard: SHARD, ask: Ask::Propose, body: vec![1] };
    let gone = Peer { id: id ^ 1, address: address() };
    let why = is_unreachable(clients.ask(&gone, message, Duration::from_secs(2)).await);
    assert!(why.contains("lives here"), "{why}");
    let empty = tempfile::tempdir().unwrap();
    let elsewhere = clients.send_snapshot(&gone, SHARD, Vec::new(), empty.path().into()).await;
    assert!(is_unreachable(elsewhere).contains("lives here"));
    // No group of the shard runs there: nothing is sent.
    let there = Peer { id, address: address() };
    let unknown = clients.send_snapshot(&there, ShardId(99), Vec::new(), empty.path().into()).await;
    let is_refused = |error: &TransportError| error.to_string().contains("does not run here");
    assert!(unknown.as_ref().is_err_and(is_refused), "{unknown:?}");
    assert!(members[0].ledger.commands().is_empty());
    // What makes no sense is no reason to fall.
    let nonsense = ask(credentials(), address(), Ask::Append, vec![9; 40]).await;
    assert!(matches!(nonsense, Err(TransportError::NoAnswer { .. })), "{nonsense:?}");
    // One who accepts and says nothing may have done it.
    let mute = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let mute_address = mute.local_addr().unwrap().to_string();
    let kept = tokio::spawn(async move {
        let mut kept = BTreeMap::new();
        while let Ok((stream, from)) = mute.accept().await {
            kept.insert(from, stream);
        }
    });
    let lost = ask(credentials(), mute_address, Ask::Propose, vec![1]).await;
    assert!(matches!(lost, Err(TransportError::NoAnswer { .. })), "{lost:?}");
    kept.abort();
    members[0].group.propose(vec![1]).await.unwrap();
    stop(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newcomer_needs_the_key_and_no_cluster() {
    let (_, members) = grown(settings(), 1).await;
    let newcomer = |id| Newcomer { id, address: "here:1".to_owned(), zone: Some("z".to_owned()) };
    let key = || Some("secret".to_owned());
    let address = &members[0].address;
    let welcome = join(address, key(), newcomer(7)).await.unwrap();
    assert_eq!(welcome, Welcome { cluster: "tests".to_owned(), nodes: [(7, "here:1".to_owned())].into() });
    assert!(join(address, key(), newcomer(13)).await.unwrap_err().to_string().contains("it was removed"));
    for wrong in [None, Some("other".to_owned())] {
        assert!(join(address, wrong, newcomer(7)).await.unwrap_err().to_string().contains("key"));
    }
    assert!(join("127.0.0.1:1", key(), newcomer(7)).await.is_err());
    stop(members).await;
}
