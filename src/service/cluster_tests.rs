//! Services that are the nodes of one cluster, over loopback.

use std::time::Duration;

use tempfile::TempDir;
use tokio::net::TcpListener;

use super::cluster::Passport;
use super::tests::{READ, WAIT, config, name_of, point, settings, upsert};
use super::*;
use crate::model::collection::{AliasAction, ShardKeySelector, ShardingMethod};
use crate::model::{Metric, PayloadSelector, PointId, VectorSelector};

struct Member {
    service: Service,
    folder: TempDir,
    address: String,
}

pub(super) async fn open(folder: &TempDir, address: Option<&str>, bootstrap: Option<&str>) -> (Service, String) {
    let listener = TcpListener::bind(address.unwrap_or("127.0.0.1:0")).await.unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let cluster = ClusterSettings {
        listener: Arc::new(listener),
        address: address.clone(),
        zone: None,
        bootstrap: bootstrap.map(str::to_owned).into_iter().collect(),
        key: Some("secret".to_owned()),
        alt_key: None,
        replace_after: Duration::from_secs(300),
    };
    (Service::open_in_cluster(settings(folder.path()), cluster).await.unwrap(), address)
}

impl Member {
    async fn start(bootstrap: Option<&str>) -> Member {
        let folder = tempfile::tempdir().unwrap();
        let (service, address) = open(&folder, None, bootstrap).await;
        Member { service, folder, address }
    }

    async fn upsert(&self, id: u64) {
        self.service.write("c", upsert(vec![point(id, &[1.0, id as f32])]), WAIT).await.unwrap();
    }

    async fn has(&self, id: u64) -> bool {
        let ids = vec![PointId::Num(id)];
        let read = self.service.retrieve("c", ids, PayloadSelector::None, VectorSelector::None, READ);
        read.await.unwrap().len() == 1
    }

    async fn count(&self) -> u64 {
        self.service.count("c", None, READ).await.unwrap()
    }
}

async fn three() -> Vec<Member> {
    let first = Member::start(None).await;
    let (second, third) = (Member::start(Some(&first.address)).await, Member::start(Some(&first.address)).await);
    vec![first, second, third]
}

/// Until every shard has as many voters as there are nodes.
async fn until_replicated(members: &[Member]) {
    for _ in 0..1_000 {
        let table = members[0].service.running.shards.table();
        let voters = |group: &Group| group.members().voters.len() == members.len();
        if table.running.values().all(|shard| voters(&shard.group)) && voters(&members[0].service.running.meta_group) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the groups do not grow");
}

#[tokio::test(flavor = "multi_thread")]
async fn three_nodes_serve_one_collection_and_do_without_any_one_of_them() {
    let mut members = three().await;
    let replicated = CollectionConfig { replication_factor: 3, ..config(2, &[("", 2, Metric::Dot)]) };
    members[1].service.create_collection(name_of("c"), replicated, None).await.unwrap();
    // Written anywhere, seen everywhere by what begins afterwards.
    for id in 0..60 {
        members[id as usize % 3].upsert(id).await;
        assert!(members[(id as usize + 1) % 3].has(id).await, "{id}");
    }
    until_replicated(&members).await;
    for turn in 0..3u64 {
        let Member { service, folder, address } = members.remove(0);
        service.shutdown().await.unwrap();
        drop(service);
        for id in 100 * (turn + 1)..100 * (turn + 1) + 20 {
            members[id as usize % 2].upsert(id).await;
        }
        assert_eq!(members[1].count().await, 60 + 20 * (turn + 1));
        let (service, address) = open(&folder, Some(&address), None).await;
        members.push(Member { service, folder, address });
        assert_eq!(members[2].count().await, 60 + 20 * (turn + 1), "a node that came back answers with what it missed");
    }
    for member in &members {
        member.service.shutdown().await.unwrap();
    }
}

/// Every kind of read is compared in the tests of queries; this is about where shards are.
#[tokio::test(flavor = "multi_thread")]
async fn any_node_answers_for_all_shards_and_takes_any_write() {
    let members = three().await;
    let spread = CollectionConfig { replication_factor: 1, ..config(4, &[("", 2, Metric::Dot)]) };
    members[0].service.create_collection(name_of("c"), spread, None).await.unwrap();
    let layouts = members[0].service.shard_layouts("c").await.unwrap();
    let holders: std::collections::BTreeSet<u64> = layouts.iter().map(|layout| layout.replicas[0].node).collect();
    assert_eq!(holders.len(), 3, "the shards are on all nodes");
    for id in 0..60 {
        members[id as usize % 3].upsert(id).await;
        assert!(members[(id as usize + 1) % 3].has(id).await, "{id}");
    }
    for member in &members {
        let report = member.service.collection_report("c").await.unwrap();
        assert_eq!((member.count().await, report.point_count, report.status), (60, 60, CollectionStatus::Green));
        member.service.memory_usage("c", None).await.unwrap();
    }
    // A shard whose only node is away has no answer, and the others still have one for what they hold.
    let gone = members[2].service.node_id();
    members[2].service.shutdown().await.unwrap();
    let owner = |id: u64| layouts[crate::cluster::shard_of(PointId::Num(id), 4)].replicas[0].node;
    let options = ReadOptions { deadline: Some(Instant::now() + Duration::from_secs(3)), ..READ };
    let count = members[0].service.count("c", None, options).await;
    assert!(matches!(count, Err(Error::Unavailable { .. } | Error::Timeout { .. })), "{count:?}");
    let late = WriteOptions { wait: true, deadline: Some(Instant::now() + Duration::from_secs(3)) };
    let kept = (0..60).find(|id| owner(*id) != gone).unwrap();
    let lost = (0..60).find(|id| owner(*id) == gone).unwrap();
    let write = |id: u64, options| members[0].service.write("c", upsert(vec![point(id, &[1.0, 1.0])]), options);
    assert_eq!(write(kept, WAIT).await.unwrap().status, WriteStatus::Completed);
    assert_eq!(write(lost, late).await.unwrap().status, WriteStatus::WaitTimeout);
    for member in &members[..2] {
        member.service.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_of_a_key_are_where_its_placement_says() {
    let members = three().await;
    let ids: Vec<u64> = members.iter().map(|member| member.service.node_id()).collect();
    let custom =
        CollectionConfig { sharding_method: Some(ShardingMethod::Custom), ..config(1, &[("", 2, Metric::Dot)]) };
    members[0].service.create_collection(name_of("c"), custom, None).await.unwrap();
    let new = |key: &str, placement: &[u64]| NewShardKey {
        key: ShardKey::Keyword(key.to_owned()),
        shard_count: Some(2),
        replication_factor: Some(2),
        placement: placement.to_vec(),
    };
    members[1].service.create_shard_key("c", new("a", &ids[1..]), None).await.unwrap();
    for layout in members[0].service.shard_layouts("c").await.unwrap() {
        let holders: std::collections::BTreeSet<u64> = layout.replicas.iter().map(|replica| replica.node).collect();
        assert_eq!(holders, ids[1..].iter().copied().collect());
    }
    let scope = Scope::keyed("c", Some(ShardKeySelector::Keys(vec![ShardKey::Keyword("a".to_owned())])));
    members[0].service.write(scope, upsert(vec![point(1, &[1.0, 2.0])]), WAIT).await.unwrap();
    assert!(members[2].has(1).await);
    let unknown = members[0].service.create_shard_key("c", new("b", &[ids[0], 5]), None).await;
    assert!(matches!(unknown, Err(Error::UnknownNodes { nodes, .. }) if nodes == [5]));
    for member in &members {
        member.service.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_the_list_of_collections_are_seen_on_every_node_at_once() {
    let members = three().await;
    let replicated = CollectionConfig { replication_factor: 3, ..config(1, &[("", 2, Metric::Dot)]) };
    members[0].service.create_collection(name_of("c"), replicated, None).await.unwrap();
    members[2].upsert(1).await;
    let alias = AliasAction::Create { alias: "x".to_owned(), collection: "c".to_owned() };
    members[1].service.update_aliases(vec![alias], None).await.unwrap();
    assert_eq!(members[2].service.count("x", None, READ).await.unwrap(), 1);
    assert!(members[2].service.delete_collection("c", None).await.unwrap());
    for member in &members {
        member.service.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_running_node_becomes_a_cluster_while_it_is_written_to() {
    let first = Member::start(None).await;
    first.service.create_collection(name_of("c"), config(1, &[("", 2, Metric::Dot)]), None).await.unwrap();
    let writer = tokio::spawn({
        let service = first.service.clone();
        async move {
            for id in 0..300 {
                service.write("c", upsert(vec![point(id, &[1.0, id as f32])]), WAIT).await.unwrap();
            }
        }
    });
    let second = Member::start(Some(&first.address)).await;
    writer.await.unwrap();
    assert_eq!(first.count().await, 300);
    // Its shard has one replica, which stays where it is: the other node asks there.
    assert_eq!(second.count().await, 300);
    second.upsert(300).await;
    assert!(first.has(300).await);
    let ids =
        |member: &Member| member.service.running.meta.state().layout().nodes().keys().copied().collect::<Vec<_>>();
    assert_eq!((ids(&first).len(), ids(&first)), (2, ids(&second)));
    for member in [second, first] {
        member.service.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn who_was_let_in_and_knows_nothing_yet_begins_nothing() {
    let first = Member::start(None).await;
    let folder = tempfile::tempdir().unwrap();
    let db_settings = DbSettings { block_cache_bytes: 1 << 20, memtable_bytes: 1 << 20, reserve_bytes: 0 };
    let logs = LogDb::open(folder.path(), &db_settings).unwrap();
    let newcomer = |bootstrap: Option<String>| async move {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let bootstrap = bootstrap.into_iter().collect();
        let replace_after = Duration::from_secs(300);
        let (listener, key) = (Arc::new(listener), Some("secret".to_owned()));
        ClusterSettings { listener, address, zone: None, bootstrap, key, alt_key: None, replace_after }
    };
    let asks = newcomer(Some(first.address.clone())).await;
    assert!(Passport::get(&logs, 77, &asks).await.unwrap().is_newcomer);
    let alone = newcomer(None).await;
    assert!(Passport::get(&logs, 77, &alone).await.unwrap().is_newcomer);
    first.service.shutdown().await.unwrap();
}
