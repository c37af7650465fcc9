//! Groups of several nodes in one process: growth, lost leaders, partitions, snapshots, crashes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;

use futures::future::{BoxFuture, join_all};
use parking_lot::Mutex;
use tempfile::TempDir;

use super::tests::{Ledger, SHARD, image, open_logs, settings};
use super::*;

/// Carries messages between the nodes of one test, and loses them where it is told to.
#[derive(Default)]
struct Switchboard {
    nodes: Mutex<BTreeMap<u64, Weak<Node>>>,
    /// From and to.
    cut: Mutex<BTreeSet<(u64, u64)>>,
}

impl Switchboard {
    fn is_cut(&self, from: u64, to: u64) -> bool {
        self.cut.lock().contains(&(from, to))
    }

    /// Cuts a node off from all others, in both directions.
    fn isolate(&self, node: u64) {
        let others: Vec<u64> = self.nodes.lock().keys().copied().filter(|other| *other != node).collect();
        self.cut.lock().extend(others.iter().flat_map(|other| [(node, *other), (*other, node)]));
    }

    fn heal(&self) {
        self.cut.lock().clear();
    }

    fn node(&self, from: u64, to: u64) -> Result<Arc<Node>, TransportError> {
        let node = self.nodes.lock().get(&to).and_then(Weak::upgrade);
        node.filter(|_| !self.is_cut(from, to)).ok_or_else(|| unreachable(to))
    }
}

fn unreachable(node: u64) -> TransportError {
    TransportError::Unreachable { node, why: "cut off".to_owned() }
}

/// One node's end.
struct Plug {
    board: Arc<Switchboard>,
    node: OnceLock<u64>,
}

impl Plug {
    fn own(&self) -> u64 {
        self.node.get().copied().unwrap_or_default()
    }
}

impl Transport for Plug {
    fn ask(
        &self,
        to: &Peer,
        message: Message,
        within: Duration,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        let (board, from, to) = (Arc::clone(&self.board), self.own(), to.id);
        Box::pin(async move {
            let node = board.node(from, to)?;
            let lost = |why: &str| TransportError::NoAnswer { node: to, why: why.to_owned() };
            // It goes on when the caller stops waiting.
            let answering = tokio::spawn(async move { node.answer(message).await });
            let answer = match tokio::time::timeout(within, answering).await {
                Ok(answer) => answer.map_err(|_| lost("panicked"))?,
                Err(_) => return Err(lost("too late")),
            };
            if board.is_cut(to, from) {
                return Err(lost("cut off"));
            }
            answer.map_err(|error| match error {
                AnswerError::NoGroup { .. } => unreachable(to),
                other => lost(&other.to_string()),
            })
        })
    }

    fn send_snapshot(
        &self,
        to: &Peer,
        shard: ShardId,
        head: Vec<u8>,
        folder: Arc<Path>,
    ) -> BoxFuture<'static, Result<Vec<u8>, TransportError>> {
        let (board, from, to) = (Arc::clone(&self.board), self.own(), to.id);
        Box::pin(async move {
            let node = board.node(from, to)?;
            let files = node.receiving_folder(shard).unwrap();
            for file in std::fs::read_dir(folder).unwrap() {
                let file = file.unwrap();
                std::fs::copy(file.path(), files.path().join(file.file_name())).unwrap();
            }
            let installed = node.install_snapshot(shard, &head, files).await;
            installed.map_err(|error| TransportError::NoAnswer { node: to, why: error.to_string() })
        })
    }
}

/// One node with one group.
struct Member {
    id: u64,
    folder: TempDir,
    node: Arc<Node>,
    ledger: Arc<Ledger>,
    group: Group,
}

impl Member {
    async fn start(board: &Arc<Switchboard>, settings: Settings, founds: bool) -> Member {
        Member::open(board, settings, founds, tempfile::tempdir().unwrap(), Arc::default()).await
    }

    async fn open(
        board: &Arc<Switchboard>,
        settings: Settings,
        founds: bool,
        folder: TempDir,
        ledger: Arc<Ledger>,
    ) -> Member {
        let plug = Arc::new(Plug { board: Arc::clone(board), node: OnceLock::new() });
        let node = Arc::new(Node::connected(open_logs(folder.path()), settings, Arc::clone(&plug) as _));
        let id = node.id().unwrap();
        plug.node.set(id).unwrap();
        board.nodes.lock().insert(id, Arc::downgrade(&node));
        let group = match founds {
            true => node.start_group(SHARD, Arc::clone(&ledger) as _).await.unwrap(),
            false => node.join_group(SHARD, Arc::clone(&ledger) as _).await.unwrap(),
        };
        Member { id, folder, node, ledger, group }
    }

    /// Goes down without a word and comes back with what was on disk.
    async fn crash(self, board: &Arc<Switchboard>, settings: Settings) -> Member {
        // From here on it acknowledges nothing any more.
        board.isolate(self.id);
        let (folder, ledger) = (image(self.folder.path()), self.ledger.after_crash());
        board.nodes.lock().remove(&self.id);
        board.heal();
        self.node.shutdown().await.unwrap();
        Member::open(board, settings, false, folder, ledger).await
    }

    fn peer(&self) -> Peer {
        Peer { id: self.id, address: String::new() }
    }

    fn leads(&self) -> bool {
        self.group.status().is_leader
    }
}

/// A group of `count` voters.
async fn grown(board: &Arc<Switchboard>, settings: Settings, count: usize) -> Vec<Member> {
    let mut members = vec![Member::start(board, settings, true).await];
    for _ in 1..count {
        members.push(Member::start(board, settings, false).await);
        let added = members.last().unwrap().peer();
        members[0].group.change(Change::AddLearner(added)).await.unwrap();
    }
    let voters = members.iter().map(|member| member.id).collect();
    members[0].group.change(Change::SetVoters(voters)).await.unwrap();
    members
}

fn command(number: u32) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let begin = tokio::time::Instant::now();
    while !is_so() {
        assert!(begin.elapsed() < Duration::from_secs(30), "waited too long until {what}");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}

async fn until_equal(members: &[Member]) -> Vec<Vec<u8>> {
    // What a writer gave up may be applied between a look at one and at the next.
    until("all replicas are equal", || {
        let first = members[0].group.status().applied;
        let commands = members[0].ledger.commands();
        first.is_some()
            && members.iter().all(|member| member.group.status().applied == first)
            && members.iter().all(|member| member.ledger.commands() == commands)
    })
    .await;
    members[0].ledger.commands()
}

async fn shut_down(members: Vec<Member>) {
    for member in members {
        member.node.shutdown().await.unwrap();
    }
}

fn each_once(commands: Vec<Vec<u8>>, wanted: impl IntoIterator<Item = u32>) {
    let mut sorted = commands;
    sorted.sort_unstable();
    assert_eq!(sorted, wanted.into_iter().map(command).collect::<Vec<_>>());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lone_voter_grows_while_it_is_written_to_and_every_replica_takes_writes_and_reads() {
    let board = Arc::new(Switchboard::default());
    let first = Member::start(&board, settings(), true).await;
    let writer = tokio::spawn({
        let group = first.group.clone();
        async move {
            for number in 0..400 {
                group.propose(command(number)).await.unwrap();
            }
        }
    });
    let mut members = vec![first];
    for _ in 0..2 {
        members.push(Member::start(&board, settings(), false).await);
        members[0].group.change(Change::AddLearner(members.last().unwrap().peer())).await.unwrap();
        let voters = members.iter().map(|member| member.id).collect();
        members[0].group.change(Change::SetVoters(voters)).await.unwrap();
    }
    writer.await.unwrap();
    let told = members[2].group.members();
    assert_eq!(told.voters.keys().copied().collect::<BTreeSet<_>>(), members.iter().map(|one| one.id).collect());
    assert_eq!((told.learners.len(), told.next_voters), (0, None));
    // From any node, and seen on any node by a read that begins afterwards.
    for number in 400..460 {
        let proposed = members[number as usize % 3].group.propose(command(number)).await.unwrap();
        assert_eq!(proposed.reply, [&b"did "[..], &command(number)].concat());
        let reader = &members[(number as usize + 1) % 3];
        reader.group.read_barrier().await.unwrap();
        assert!(reader.ledger.commands().contains(&command(number)), "{number} is not seen on node {}", reader.id);
    }
    each_once(until_equal(&members).await, 0..460);
    shut_down(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_group_that_several_begin_together_has_one_log() {
    let board = Arc::new(Switchboard::default());
    let mut waiting = Vec::new();
    for _ in 0..3 {
        let folder = tempfile::tempdir().unwrap();
        let plug = Arc::new(Plug { board: Arc::clone(&board), node: OnceLock::new() });
        let node = Arc::new(Node::connected(open_logs(folder.path()), settings(), Arc::clone(&plug) as _));
        let id = node.id().unwrap();
        plug.node.set(id).unwrap();
        board.nodes.lock().insert(id, Arc::downgrade(&node));
        waiting.push((id, folder, node));
    }
    let founders: Vec<Peer> = waiting.iter().map(|(id, ..)| Peer { id: *id, address: String::new() }).collect();
    let mut members: Vec<Member> = Vec::new();
    for (id, folder, node) in waiting {
        let ledger = Arc::new(Ledger::default());
        let group = node.found_group(SHARD, Arc::clone(&ledger) as _, founders.clone()).await.unwrap();
        members.push(Member { id, folder, node, ledger, group });
        // Two of them are enough to begin; the third comes late.
        if members.len() == 2 {
            members[0].group.propose(command(0)).await.unwrap();
        }
    }
    members[2].group.propose(command(1)).await.unwrap();
    assert_eq!(until_equal(&members).await, [command(0), command(1)]);
    let first = members.remove(0);
    let first = first.crash(&board, settings()).await;
    members.push(first);
    members[2].group.propose(command(2)).await.unwrap();
    assert_eq!(until_equal(&members).await, [command(0), command(1), command(2)]);
    shut_down(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_leader_that_is_cut_off_acknowledges_nothing_and_the_others_go_on() {
    let board = Arc::new(Switchboard::default());
    let members = grown(&board, settings(), 3).await;
    for number in 0..10 {
        members[0].group.propose(command(number)).await.unwrap();
    }
    let old = members.iter().find(|member| member.leads()).unwrap();
    board.isolate(old.id);
    let others: Vec<&Member> = members.iter().filter(|member| member.id != old.id).collect();
    let lost = tokio::spawn({
        let group = old.group.clone();
        async move { tokio::time::timeout(Duration::from_secs(4), group.propose(command(999))).await }
    });
    let stale = tokio::spawn({
        let group = old.group.clone();
        async move { group.read_barrier().await }
    });
    for number in 10..20 {
        others[number as usize % 2].group.propose(command(number)).await.unwrap();
    }
    assert!(!matches!(lost.await.unwrap(), Ok(Ok(_))), "a minority acknowledged a write");
    assert!(stale.await.unwrap().is_err(), "a minority answered a read");
    board.heal();
    members[0].group.propose(command(20)).await.unwrap();
    let commands = until_equal(&members).await;
    // What was never acknowledged may be there, once, or not.
    each_once(commands.into_iter().filter(|one| *one != command(999)).collect(), 0..21);
    shut_down(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_away_for_longer_than_the_log_reaches_gets_the_state() {
    let board = Arc::new(Switchboard::default());
    let settings = Settings { snapshot_entries: 20, log_kept_bytes: 500, ..settings() };
    let members = grown(&board, settings, 3).await;
    let (away, here): (Vec<&Member>, Vec<&Member>) = members.iter().partition(|member| member.id == members[2].id);
    members[0].group.propose(command(0)).await.unwrap();
    board.isolate(away[0].id);
    for number in 1..300 {
        here[0].group.propose(command(number)).await.unwrap();
    }
    let leader = here.iter().find(|member| member.leads()).unwrap();
    until("the log is purged", || leader.group.status().purged > Some(100)).await;
    assert!(leader.group.logs.bounds(SHARD).bytes < 5_000, "{:?}", leader.group.logs.bounds(SHARD));
    board.heal();
    each_once(until_equal(&members).await, 0..300);
    assert!(away[0].ledger.import_count.load(Ordering::SeqCst) > 0);
    // It is a voter like any other again.
    board.isolate(leader.id);
    let other = here.iter().find(|member| member.id != leader.id).unwrap();
    other.group.propose(command(300)).await.unwrap();
    away[0].group.read_barrier().await.unwrap();
    assert!(away[0].ledger.commands().contains(&command(300)));
    board.heal();
    until_equal(&members).await;
    shut_down(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_that_crash_one_after_the_other_lose_nothing() {
    let board = Arc::new(Switchboard::default());
    let settings = Settings { snapshot_entries: 30, log_kept_bytes: 2_000, ..settings() };
    let mut members = grown(&board, settings, 3).await;
    let mut number = 0;
    for round in 0..6 {
        let alive = members[(round + 1) % 3].group.clone();
        let writes: Vec<u32> = (number..number + 40).collect();
        number += 40;
        let writer = tokio::spawn(async move {
            let mut acknowledged = Vec::new();
            for write in writes {
                match alive.propose(command(write)).await {
                    Ok(_) => acknowledged.push((write, true)),
                    Err(ProposeError::Unknown { .. }) => acknowledged.push((write, false)),
                    Err(error) => panic!("{write}: {error}"),
                }
            }
            acknowledged
        });
        tokio::time::sleep(Duration::from_millis(30)).await;
        let down = members.remove(round % 3);
        members.insert(round % 3, down.crash(&board, settings).await);
        let acknowledged = writer.await.unwrap();
        let commands = until_equal(&members).await;
        for (write, is_sure) in acknowledged {
            let times = commands.iter().filter(|one| **one == command(write)).count();
            assert!(times == 1 || (times == 0 && !is_sure), "{write} is there {times} times");
        }
    }
    shut_down(members).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn leadership_is_handed_over_and_members_leave() {
    let board = Arc::new(Switchboard::default());
    let mut members = grown(&board, settings(), 3).await;
    members[0].group.propose(command(0)).await.unwrap();
    let next = members.iter().find(|member| !member.leads()).unwrap();
    members[0].group.change(Change::Lead(next.id)).await.unwrap();
    until("the other leads", || next.leads()).await;
    next.group.propose(command(1)).await.unwrap();
    // The last that is left leads alone, and reads need nobody's word again after a restart.
    let leader = members.remove(members.iter().position(Member::leads).unwrap());
    leader.group.change(Change::SetVoters([leader.id].into())).await.unwrap();
    shut_down(members).await;
    leader.group.propose(command(2)).await.unwrap();
    leader.group.read_barrier().await.unwrap();
    assert_eq!(leader.ledger.commands(), [command(0), command(1), command(2)]);
    assert!(!leader.group.is_alone());
    let leader = leader.crash(&board, settings()).await;
    assert!(leader.group.is_alone());
    leader.group.read_barrier().await.unwrap();
    assert_eq!(leader.ledger.commands(), [command(0), command(1), command(2)]);
    shut_down(vec![leader]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_way_partitions_and_moving_leaders_double_nothing() {
    let board = Arc::new(Switchboard::default());
    let members = grown(&board, settings(), 5).await;
    let ids: Vec<u64> = members.iter().map(|member| member.id).collect();
    let stop = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let trouble = tokio::spawn({
        let (board, stop, ids) = (Arc::clone(&board), Arc::clone(&stop), ids.clone());
        async move {
            let mut turn = 0;
            while !stop.load(Ordering::SeqCst) {
                let (from, to) = (ids[turn % 5], ids[(turn * 3 + 1) % 5]);
                match turn % 3 {
                    0 => _ = board.cut.lock().insert((from, to)),
                    1 => board.isolate(from),
                    _ => board.heal(),
                }
                turn += 1;
                tokio::time::sleep(Duration::from_millis(700)).await;
            }
            board.heal();
        }
    });
    let writers = members.iter().enumerate().map(|(place, member)| {
        let group = member.group.clone();
        async move {
            let mut outcomes = Vec::new();
            for number in (place as u32 * 1_000..).take(60) {
                outcomes.push((number, group.propose(command(number)).await));
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            outcomes
        }
    });
    let outcomes: Vec<(u32, Result<Proposed, ProposeError>)> = join_all(writers).await.into_iter().flatten().collect();
    stop.store(true, Ordering::SeqCst);
    trouble.await.unwrap();
    members[0].group.propose(command(9_999)).await.unwrap();
    let commands = until_equal(&members).await;
    let mut refused = 0;
    for (number, outcome) in &outcomes {
        let times = commands.iter().filter(|one| **one == command(*number)).count();
        let is_right = match outcome {
            Ok(_) => times == 1,
            Err(ProposeError::Unknown { .. }) => times <= 1,
            Err(_) => times == 0,
        };
        refused += usize::from(outcome.is_err());
        assert!(is_right, "{number} is there {times} times after {outcome:?}");
    }
    assert!(refused < outcomes.len() / 2, "{refused} of {} writes failed", outcomes.len());
    shut_down(members).await;
}
