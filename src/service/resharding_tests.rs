//! Another number of shards, while clients write and read.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::json;

use super::cluster_tests::open;
use super::tests::{Fixture, READ, WAIT, config, name_of, point, upsert};
use super::*;
use crate::model::collection::{ShardKeySelector, ShardingMethod};
use crate::model::filter::{FieldCondition, Match, Predicate};
use crate::model::{
    Condition, Filter, Metric, Payload, PayloadSelector, Point, PointId, PointOp, PointSelector, VectorSelector,
};

const CLIENTS: u64 = 4;
const IDS: u64 = 60;

async fn reshard(service: &Service, count: ShardCount) {
    service.start_resharding("c", None, count, None).await.unwrap();
    service.finish_resharding("c", None).await.unwrap();
}

fn tagged(id: u64, tag: u64) -> Point {
    let serde_json::Value::Object(payload) = json!({"tag": tag, "owner": id % CLIENTS}) else { unreachable!() };
    Point { payload: Payload(payload), ..point(id, &[tag as f32, 1.0]) }
}

fn tag_of(record: &Record) -> u64 {
    record.payload.as_ref().and_then(|payload| payload.0["tag"].as_u64()).unwrap()
}

fn is(key: &str, value: u64) -> Condition {
    let predicates = vec![Predicate::Match(Match::Integer(value as i64))];
    Condition::Field(FieldCondition { key: key.parse().unwrap(), predicates })
}

/// Writes points of its own, each time another way, and reads each back; what there is in the end.
async fn client(service: Service, own: u64, stop: Arc<AtomicBool>) -> BTreeMap<u64, u64> {
    let mut model = BTreeMap::new();
    let mut rng = fastrand::Rng::with_seed(own);
    let mut turn = 0;
    while !stop.load(Ordering::Relaxed) {
        turn += 1;
        let id = rng.u64(..IDS) * CLIENTS + own;
        let write = |op| service.write("c", op, WAIT);
        match rng.u8(..6) {
            0 => {
                let select = PointSelector::Ids(vec![PointId::Num(id)]);
                write(PointOp::Delete { select }).await.unwrap();
                model.remove(&id);
            }
            1 => {
                // All of this client's points of one tag.
                let tag = model.values().next().copied().unwrap_or(0);
                let must = vec![is("owner", own), is("tag", tag)];
                let select = PointSelector::Filter(Filter { must, ..Filter::default() });
                write(PointOp::Delete { select }).await.unwrap();
                model.retain(|_, of| *of != tag);
            }
            2 => {
                let many: Vec<u64> = (0..IDS / 4).map(|one| one * CLIENTS * 3 % (IDS * CLIENTS) + own).collect();
                write(upsert(many.iter().map(|id| tagged(*id, turn)).collect())).await.unwrap();
                model.extend(many.into_iter().map(|id| (id, turn)));
            }
            _ => {
                write(upsert(vec![tagged(id, turn)])).await.unwrap();
                model.insert(id, turn);
            }
        }
        let read = service.retrieve("c", vec![PointId::Num(id)], PayloadSelector::All, VectorSelector::None, READ);
        let found = read.await.unwrap().first().map(tag_of);
        assert_eq!(found, model.get(&id).copied(), "point {id} after turn {turn}");
        let must = vec![is("owner", own)];
        let count = service.count("c", Some(Filter { must, ..Filter::default() }), READ).await.unwrap();
        assert_eq!(count, model.len() as u64, "points of client {own} after turn {turn}");
    }
    model
}

async fn all_tags(service: &Service) -> BTreeMap<u64, u64> {
    let ids = (0..IDS * CLIENTS).map(PointId::Num).collect();
    let records = service.retrieve("c", ids, PayloadSelector::All, VectorSelector::None, READ).await.unwrap();
    let number = |record: &Record| match record.id {
        PointId::Num(number) => number,
        PointId::Uuid(_) => unreachable!(),
    };
    records.iter().map(|record| (number(record), tag_of(record))).collect()
}

/// Lets clients of these services work while shards are split and merged.
async fn under_load(services: &[Service], counts: &[ShardCount]) {
    let stop = Arc::new(AtomicBool::new(false));
    let of = |own: u64| services[own as usize % services.len()].clone();
    let clients: Vec<_> = (0..CLIENTS).map(|own| tokio::spawn(client(of(own), own, Arc::clone(&stop)))).collect();
    for (turn, count) in counts.iter().enumerate() {
        tokio::time::sleep(Duration::from_millis(50)).await;
        reshard(&services[turn % services.len()], *count).await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut model = BTreeMap::new();
    for client in clients {
        model.extend(client.await.unwrap());
    }
    for service in services {
        assert_eq!(all_tags(service).await, model);
        assert_eq!(service.count("c", None, READ).await.unwrap(), model.len() as u64);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_are_split_and_merged_under_reads_and_writes() {
    use ShardCount::{Down, To, Up};
    let fixture = Fixture::with(2, 2, Metric::Dot).await;
    under_load(std::slice::from_ref(&fixture.service), &[To(4), Up, Down, To(2), To(1), To(3)]).await;
    let before = all_tags(&fixture.service).await;
    let report = fixture.service.collection_report("c").await.unwrap();
    assert_eq!((report.shard_count, report.config.shard_number), (3, 3));
    let fixture = fixture.reopen().await;
    assert_eq!(all_tags(&fixture.service).await, before);
    let shards = fixture.service.running.shards.table().running.len();
    assert_eq!(shards, 3, "nothing is left of those before");
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_of_several_nodes_are_split_and_merged_under_reads_and_writes() {
    let folders: Vec<_> = (0..3).map(|_| tempfile::tempdir().unwrap()).collect();
    let (first, address) = open(&folders[0], None, None).await;
    let (second, _) = open(&folders[1], None, Some(&address)).await;
    let (third, _) = open(&folders[2], None, Some(&address)).await;
    let spread = CollectionConfig { replication_factor: 2, ..config(2, &[("", 2, Metric::Dot)]) };
    first.create_collection(name_of("c"), spread, None).await.unwrap();
    let services = [first, second, third];
    under_load(&services, &[ShardCount::To(4), ShardCount::To(2), ShardCount::To(3)]).await;
    for service in &services {
        service.shutdown().await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_resharding_that_is_given_up_leaves_what_there_was() {
    let fixture = Fixture::with(2, 2, Metric::Dot).await;
    fixture.upsert((0..500).map(|id| tagged(id, 1)).collect()).await;
    for turn in 0..5 {
        fixture.service.start_resharding("c", None, ShardCount::To(3), None).await.unwrap();
        let again = fixture.service.start_resharding("c", None, ShardCount::Up, None).await;
        match fixture.service.abort_resharding("c", None).await {
            // The second one met an end already.
            Err(Error::NoResharding) => continue,
            given_up => given_up.unwrap(),
        }
        assert!(matches!(again, Err(Error::ReshardingUnderWay { .. })), "{again:?}");
        fixture.upsert(vec![tagged(1_000 + turn, 2)]).await;
        assert_eq!(fixture.service.resharding("c").unwrap(), None);
    }
    assert!(matches!(fixture.service.abort_resharding("c", None).await, Err(Error::NoResharding)));
    assert!(matches!(fixture.service.finish_resharding("c", None).await, Err(Error::NoResharding)));
    let wrong = |count| fixture.service.start_resharding("c", None, count, None);
    let shards = fixture.service.collection_report("c").await.unwrap().shard_count as u32;
    assert!(matches!(wrong(ShardCount::To(shards)).await, Err(Error::ShardsAsWanted { .. })));
    assert!(matches!(wrong(ShardCount::To(0)).await, Err(Error::NoShardsLeft)));
    assert!(matches!(wrong(ShardCount::To(1_000)).await, Err(Error::Unimplemented { .. })));
    let missing = fixture.service.start_resharding("d", None, ShardCount::Up, None).await;
    assert!(matches!(missing, Err(Error::CollectionNotFound { .. })));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_that_was_closed_for_what_is_given_up_is_opened() {
    let fixture = Fixture::with(1, 2, Metric::Dot).await;
    fixture.upsert(vec![tagged(1, 1)]).await;
    let table = fixture.service.running.shards.table();
    let shard = table.running.values().next().unwrap();
    let closed = crate::shard::Closed { resharding: 1, round: 3 };
    let close = crate::shard::encode_transit(&crate::shard::TransitCommand::Close(closed));
    shard.group.propose(close).await.unwrap();
    fixture.upsert(vec![tagged(2, 2)]).await;
    assert_eq!((fixture.ids().await, shard.shard().closed()), (vec![1, 2], None));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_shards_of_a_key_are_split_alone() {
    let fixture = Fixture::new().await;
    let custom =
        CollectionConfig { sharding_method: Some(ShardingMethod::Custom), ..config(1, &[("", 2, Metric::Dot)]) };
    fixture.create("c", custom).await;
    let service = &fixture.service;
    let key = |text: &str| ShardKey::Keyword(text.to_owned());
    for name in ["a", "b"] {
        let new = NewShardKey { key: key(name), shard_count: None, replication_factor: None, placement: Vec::new() };
        service.create_shard_key("c", new, None).await.unwrap();
        let scope = Scope::keyed("c", Some(ShardKeySelector::Keys(vec![key(name)])));
        service.write(scope, upsert((0..100).map(|id| tagged(id, 1)).collect()), WAIT).await.unwrap();
    }
    let no_key = service.start_resharding("c", None, ShardCount::Up, None).await;
    assert!(matches!(no_key, Err(Error::ReshardingKey { is_custom: true })), "{no_key:?}");
    let unknown = service.start_resharding("c", Some(key("z")), ShardCount::Up, None).await;
    assert!(matches!(unknown, Err(Error::ShardKeyNotFound { .. })), "{unknown:?}");
    service.start_resharding("c", Some(key("a")), ShardCount::To(3), None).await.unwrap();
    service.finish_resharding("c", None).await.unwrap();
    let report = service.collection_report("c").await.unwrap();
    let of = |name: &str| -> Vec<u64> {
        let shards = report.shards.iter().filter(|shard| shard.key == Some(key(name)));
        shards.map(|shard| shard.point_count).collect()
    };
    assert_eq!((of("a").len(), of("a").iter().sum::<u64>(), of("b")), (3, 100, vec![100]));
    let scope = Scope::keyed("c", Some(ShardKeySelector::Keys(vec![key("a")])));
    let delete =
        PointOp::Delete { select: PointSelector::Filter(Filter { must: vec![is("owner", 0)], ..Filter::default() }) };
    service.write(scope, delete, WAIT).await.unwrap();
    assert_eq!(service.count("c", None, READ).await.unwrap(), 175);
}
