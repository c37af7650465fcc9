//! Points that go from some shards to others while they change, against a model that knows of no shards.

use super::tests::{DB, Reference, Rng, check_equal, settings};
use super::*;
use crate::model::ids::{ShardId, SlotRange};
use crate::model::{Point, PointOp, PointSelector};
use crate::storage::PointDb;

struct Part {
    id: ShardId,
    range: SlotRange,
    shard: Shard,
    index: u64,
}

impl Part {
    fn propose(&mut self, command: &[u8]) -> Outcome {
        self.index += 1;
        let entry = Entry { index: self.index, command: Some(command) };
        self.shard.apply(&[entry], &self.index.to_be_bytes()).unwrap().remove(0)
    }

    fn attach(&mut self, from: &Part, claim: u64, round: u32, (token, after): (u64, Option<u64>)) -> Outcome {
        let (source, share) = (from.id, from.range);
        let attach = TransitCommand::Attach { source, share, claim, round, token, after };
        self.propose(&encode_transit(&attach))
    }
}

struct World {
    dir: tempfile::TempDir,
    db: PointDb,
    parents: Vec<Part>,
    children: Vec<Part>,
    all: Reference,
}

impl World {
    fn new(from: u32, to: u32) -> World {
        let dir = tempfile::tempdir().unwrap();
        let db = PointDb::open(&dir.path().join("kvdb"), &DB).unwrap();
        let parts = |first: u64, count: u32| {
            let part = |number: u32| {
                let id = ShardId(first + u64::from(number));
                let shard = Shard::open(db.shard(id), settings(&dir.path().join(id.to_string()), true)).unwrap();
                Part { id, range: SlotRange { number, count }, shard, index: 0 }
            };
            (0..count).map(part).collect()
        };
        let (parents, children) = (parts(1, from), parts(100, to));
        World { dir, db, parents, children, all: Reference::default() }
    }

    /// As the service does it: to every parent its part, and where that is refused to the children.
    fn write(&mut self, op: &PointOp) {
        self.all.apply(op);
        for parent in &mut self.parents {
            let range = parent.range;
            let Some(part) = op.clone().part(|id| range.owns(id)) else { continue };
            let command = encode_command(&part);
            if parent.propose(&command).refused == Some(Refused::Closed) {
                let ranges: Vec<SlotRange> = self.children.iter().map(|child| child.range).collect();
                for (place, command) in rerouted(&command, range, &ranges).unwrap() {
                    assert_eq!(self.children[place].propose(&command).refused, None);
                }
            }
        }
    }
}

/// What a parent's points are brought in: every child gets its part of each.
fn spans(parent: &Shard, size: usize) -> Vec<(Option<PointId>, Option<PointId>, Vec<PointId>)> {
    let ids = parent.all_ids();
    let chunks: Vec<&[PointId]> = if ids.is_empty() { vec![&[]] } else { ids.chunks(size).collect() };
    let last = chunks.len() - 1;
    let ends = |at: usize| chunks[at].last().copied();
    let span = |at: usize| {
        let after = at.checked_sub(1).and_then(ends);
        (after, ends(at).filter(|_| at < last), chunks[at].to_vec())
    };
    (0..chunks.len()).map(span).collect()
}

fn of(child: &Part, points: &[Point]) -> Vec<Point> {
    points.iter().filter(|point| child.range.owns(point.id)).cloned().collect()
}

fn bring(world: &mut World, parent: usize, token: u64, feed: &dyn Fn(&Part) -> Feed) -> Vec<Option<Refused>> {
    let World { parents, children, .. } = world;
    let from = &parents[parent];
    let overlapping = children.iter_mut().filter(|child| child.range.overlaps(&from.range));
    overlapping
        .map(|child| {
            let feed = feed(child);
            child.propose(&encode_feed(from.id, token, &feed)).refused
        })
        .collect()
}

fn attach(world: &mut World, parent: usize, claim: u64, token: u64) {
    let World { parents, children, .. } = world;
    let from = &parents[parent];
    for child in children.iter_mut().filter(|child| child.range.overlaps(&from.range)) {
        assert_eq!(child.attach(from, claim, 1, (token, None)).refused, None);
    }
}

fn bring_changes(world: &mut World, parent: usize, token: u64, watcher: u64) {
    let shard = &world.parents[parent].shard;
    let changed = shard.take_changed(watcher).unwrap();
    let (points, gone) = shard.stored(&changed).unwrap();
    let gone_of = |child: &Part| gone.iter().copied().filter(|id| child.range.owns(*id)).collect();
    bring(world, parent, token, &|child| Feed::Changes(of(child, &points), gone_of(child)));
}

/// A copy that is given up half way, one that is carried through, and all that a first bringer sent late.
fn pass_on(seed: u64, from: u32, to: u32) {
    let mut rng = Rng(seed * 2 + 1);
    let mut world = World::new(from, to);
    for _ in 0..40 {
        world.write(&rng.op());
    }
    let mut late: Vec<(usize, usize, Vec<u8>)> = Vec::new();
    let (first_token, token) = (7, 8);
    for parent in 0..world.parents.len() {
        attach(&mut world, parent, 1, first_token);
        for (after, upto, ids) in spans(&world.parents[parent].shard, 3) {
            let (points, _) = world.parents[parent].shard.stored(&ids).unwrap();
            for (place, child) in world.children.iter_mut().enumerate() {
                let feed = Feed::Span { after, upto, points: of(child, &points) };
                let command = encode_feed(world.parents[parent].id, first_token, &feed);
                match rng.below(3) {
                    0 => late.push((parent, place, command)),
                    _ => _ = child.propose(&command),
                }
            }
        }
    }
    for _ in 0..10 {
        world.write(&rng.op());
    }
    let mut watchers = Vec::new();
    for parent in 0..world.parents.len() {
        watchers.push(world.parents[parent].shard.watch());
        attach(&mut world, parent, 2, token);
        for (after, upto, ids) in spans(&world.parents[parent].shard, 4) {
            if rng.below(2) == 0 {
                world.write(&rng.op());
            }
            let (points, _) = world.parents[parent].shard.stored(&ids).unwrap();
            let refused =
                bring(&mut world, parent, token, &|child| Feed::Span { after, upto, points: of(child, &points) });
            assert!(refused.iter().all(Option::is_none));
            for (_, place, command) in late.extract_if(.., |(of, ..)| *of == parent) {
                let changed = world.children[place].propose(&command).changed;
                assert_eq!(changed, 0, "what was sent under an old token has no effect");
            }
        }
    }
    for _ in 0..10 {
        world.write(&rng.op());
        let parent = rng.below(u64::from(from)) as usize;
        bring_changes(&mut world, parent, token, watchers[parent]);
    }
    for (parent, watcher) in watchers.into_iter().enumerate() {
        let close = TransitCommand::Close(Closed { resharding: 5, round: 1 });
        world.parents[parent].propose(&encode_transit(&close));
        bring_changes(&mut world, parent, token, watcher);
        bring(&mut world, parent, token, &|_| Feed::Seal);
        let after = bring(&mut world, parent, token, &|_| Feed::Changes(Vec::new(), Vec::new()));
        assert!(after.iter().all(|refused| *refused == Some(Refused::Superseded)), "it is sealed");
    }
    for _ in 0..10 {
        world.write(&rng.op());
    }
    check(&world, &mut rng);
    // As after a crash of every node.
    let World { dir, db, parents, children, all } = world;
    let places: Vec<(ShardId, SlotRange, u64)> =
        parents.iter().chain(&children).map(|part| (part.id, part.range, part.index)).collect();
    let states: Vec<Option<Closed>> = parents.iter().map(|part| part.shard.closed()).collect();
    drop((parents, children));
    let db = super::tests::reopen(db, dir.path());
    let mut parts = places.into_iter().map(|(id, range, index)| {
        let shard = Shard::open(db.shard(id), settings(&dir.path().join(id.to_string()), true)).unwrap();
        Part { id, range, shard, index }
    });
    let parents: Vec<Part> = parts.by_ref().take(from as usize).collect();
    assert_eq!(parents.iter().map(|part| part.shard.closed()).collect::<Vec<_>>(), states);
    let children: Vec<Part> = parts.collect();
    let mut world = World { dir, db, parents, children, all };
    for _ in 0..10 {
        world.write(&rng.op());
    }
    check(&world, &mut rng);
}

fn check(world: &World, rng: &mut Rng) {
    for child in &world.children {
        let own = world.all.0.iter().filter(|(id, _)| child.range.owns(**id));
        let own = Reference(own.map(|(id, point)| (*id, point.clone())).collect());
        child.shard.validate().unwrap();
        check_equal(&child.shard, &own, rng);
    }
}

#[test]
fn all_points_go_over_and_every_change_of_them_once() {
    for seed in 1..=12 {
        for (from, to) in [(1, 2), (2, 1), (2, 3), (3, 2)] {
            pass_on(seed, from, to);
        }
    }
}

#[test]
fn a_shard_is_closed_and_opened_by_what_is_later() {
    let mut world = World::new(1, 1);
    let parent = &mut world.parents[0];
    let closed = |resharding, round| Closed { resharding, round };
    let mut tell = |command: TransitCommand| {
        parent.propose(&encode_transit(&command));
        parent.shard.closed()
    };
    assert_eq!(tell(TransitCommand::Close(closed(5, 1))), Some(closed(5, 1)));
    assert_eq!(tell(TransitCommand::Close(closed(5, 0))), Some(closed(5, 1)), "what comes late changes nothing");
    assert_eq!(tell(TransitCommand::Open(closed(5, 0))), Some(closed(5, 1)));
    assert_eq!(tell(TransitCommand::Open(closed(4, 9))), Some(closed(5, 1)));
    assert_eq!(tell(TransitCommand::Close(closed(6, 0))), Some(closed(6, 0)));
    assert_eq!(tell(TransitCommand::Open(closed(6, u32::MAX))), None);
    let delete = encode_command(&PointOp::Delete { select: PointSelector::Ids(vec![PointId::Num(1)]) });
    assert_eq!(parent.propose(&delete).refused, None);
}

#[test]
fn who_brings_points_is_replaced_by_who_comes_later() {
    let mut world = World::new(1, 1);
    let World { parents, children, .. } = &mut world;
    let (parent, child) = (&parents[0], &mut children[0]);
    let refused = Some(Refused::Superseded);
    assert_eq!(child.attach(parent, 3, 0, (1, Some(9))).refused, refused, "nobody was there before");
    assert_eq!(child.attach(parent, 3, 0, (1, None)).refused, None);
    assert_eq!(child.attach(parent, 3, 0, (1, None)).refused, None, "once more is no more");
    assert_eq!(child.attach(parent, 3, 0, (2, Some(1))).refused, None);
    assert_eq!(child.attach(parent, 3, 0, (2, Some(1))).refused, None);
    assert_eq!(child.attach(parent, 3, 0, (3, Some(1))).refused, refused);
    assert_eq!(child.attach(parent, 3, 0, (1, None)).refused, refused, "what comes late undoes nothing");
    let seal = |token| encode_feed(parent.id, token, &Feed::Seal);
    assert_eq!(child.propose(&seal(1)).refused, refused);
    assert_eq!(child.propose(&seal(2)).refused, None);
    let changes = |token| encode_feed(parent.id, token, &Feed::Changes(Vec::new(), Vec::new()));
    assert_eq!(child.propose(&changes(2)).refused, refused);
    assert_eq!(child.attach(parent, 3, 1, (2, Some(2))).refused, None, "in the next round more is brought");
    assert_eq!(child.propose(&changes(2)).refused, None);
    assert_eq!(child.attach(parent, 3, 0, (2, Some(2))).refused, refused, "of an earlier round");
    assert_eq!(child.attach(parent, 2, 5, (4, None)).refused, refused, "of an earlier claim");
    assert_eq!(child.attach(parent, 4, 1, (4, Some(2))).refused, refused, "another claim goes on with nothing");
    assert_eq!(child.attach(parent, 4, 1, (4, None)).refused, None);
    assert_eq!(child.propose(&changes(2)).refused, refused);
}

#[test]
fn who_watches_last_is_told() {
    let mut world = World::new(1, 1);
    let parent = &mut world.parents[0];
    let first = parent.shard.watch();
    let second = parent.shard.watch();
    let upsert = PointOp::Upsert {
        points: vec![Point { id: PointId::Num(3), vectors: Default::default(), payload: Default::default() }],
        mode: Default::default(),
        update_filter: None,
    };
    parent.propose(&encode_command(&upsert));
    assert_eq!(parent.shard.take_changed(first), None);
    assert_eq!(parent.shard.take_changed(second), Some(vec![PointId::Num(3)]));
    assert_eq!(parent.shard.take_changed(second), Some(Vec::new()));
    parent.shard.unwatch(first);
    assert_eq!(parent.shard.take_changed(second), Some(Vec::new()));
    parent.shard.unwatch(second);
    assert_eq!(parent.shard.take_changed(second), None);
}
