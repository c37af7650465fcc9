//! Groups (PROTOCOL section 16) and distance matrices (section 9.5).

use super::*;
use crate::model::query::{Direction, Fusion, Group, GroupId, GroupsRequest, MatrixRequest, Mmr, OrderBy, WithLookup};

/// Points 1 to 9 of [`line`], in groups by `k` or in none.
fn members() -> Vec<Point> {
    let ks = [
        json!("a"),
        json!("b"),
        json!(["a", "b"]),
        json!(7),
        json!(true),
        json!(null),
        json!({}),
        json!([7, "c", "c"]),
        json!(1.5),
    ];
    let mut points = line(9);
    for (point, k) in points.iter_mut().zip(ks) {
        point.payload.0.insert("k".to_owned(), k);
        point.vectors.insert("e".to_owned(), point.vectors[""].clone());
    }
    points[6].payload.0.remove("k");
    points
}

fn by(root: QueryLevel, group_by: &str, group_size: usize) -> GroupsRequest {
    GroupsRequest {
        root,
        group_by: group_by.parse().unwrap(),
        group_size,
        with_payload: PayloadSelector::None,
        with_vectors: VectorSelector::None,
        with_lookup: None,
    }
}

fn text(text: &str) -> GroupId {
    GroupId::Text(text.to_owned())
}

fn number(number: u64) -> GroupId {
    GroupId::Unsigned(number)
}

fn members_of(groups: &[Group]) -> Vec<(GroupId, Vec<u64>)> {
    groups.iter().map(|group| (group.id.clone(), group.hits.iter().map(|hit| num(hit.id)).collect())).collect()
}

impl Fixture {
    async fn groups(&self, request: GroupsRequest) -> Vec<(GroupId, Vec<u64>)> {
        members_of(&self.service.query_groups("c", request, READ).await.unwrap())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_groups_come_by_their_best_hit_and_hold_the_best() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, members()).await;
        let down =
            vec![(number(7), vec![8, 4]), (text("c"), vec![8]), (text("a"), vec![3, 1]), (text("b"), vec![3, 2])];
        assert_eq!(fixture.groups(by(upwards(), "k", 2)).await, down);
        // `k[]` takes the elements of arrays only.
        let arrays = [(number(7), vec![8]), (text("c"), vec![8]), (text("a"), vec![3]), (text("b"), vec![3])];
        assert_eq!(fixture.groups(by(upwards(), "k[]", 2)).await, arrays);
        assert_eq!(fixture.groups(by(upwards().limit(2), "k", 2)).await, down[..2]);
        let single: Vec<(GroupId, Vec<u64>)> = down.iter().map(|(id, hits)| (id.clone(), vec![hits[0]])).collect();
        assert_eq!(fixture.groups(by(upwards(), "k", 1)).await, single);
        // Where smaller is better the smallest come first; without a query, ids do.
        let up = [(text("a"), vec![1, 3]), (text("b"), vec![2, 3]), (number(7), vec![4, 8]), (text("c"), vec![8])];
        assert_eq!(fixture.groups(by(nearest(vector(dense([0.0, 0.0]))).using("e"), "k", 2)).await, up);
        assert_eq!(fixture.groups(by(level(Ranking::ById), "k", 2)).await, up);
        let order =
            |direction| level(Ranking::OrderBy(OrderBy { key: "n".parse().unwrap(), direction, start_from: None }));
        assert_eq!(fixture.groups(by(order(Direction::Desc), "k", 2)).await, down);
        assert_eq!(fixture.groups(by(order(Direction::Asc), "k", 2)).await, up);
        // Filters and thresholds bound what is grouped.
        let few = upwards().among(must(has_id([1, 2, 3, 7]))).above(1.0);
        assert_eq!(fixture.groups(by(few, "k", 2)).await, [(text("a"), vec![3]), (text("b"), vec![3, 2])]);
        assert!(fixture.groups(by(upwards(), "absent", 2)).await.is_empty());
        let by_point = by(nearest(by_id(8)).limit(1), "k", 3);
        assert_eq!(fixture.groups(by_point).await, [(number(7), vec![4])]);
        let mut sampled = fixture.groups(by(level(Ranking::Sample), "k", 9)).await;
        sampled.sort();
        sampled.iter_mut().for_each(|(_, hits)| hits.sort_unstable());
        let every = [(number(7), vec![4, 8]), (text("a"), vec![1, 3]), (text("b"), vec![2, 3]), (text("c"), vec![8])];
        assert_eq!(sampled, every);
        let mmr =
            Ranking::Mmr { target: vector(dense([1.0, 0.0])), mmr: Mmr { diversity: 0.5, candidates_limit: None } };
        let diverse = fixture.groups(by(level(mmr), "k", 9)).await;
        assert_eq!(diverse.len(), 4, "{diverse:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_groups_of_trees_look_beyond_the_prefetch_limits() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, members()).await;
        let want = [(number(7), vec![8, 4]), (text("c"), vec![8]), (text("a"), vec![3, 1]), (text("b"), vec![3, 2])];
        let fused = level(Ranking::Fusion(Fusion::Rrf { k: 2, weights: None })).over([upwards().limit(1)]);
        assert_eq!(fixture.groups(by(fused, "k", 2)).await, want);
        let rescored = upwards().over([downwards().limit(1).over([downwards().limit(1)])]);
        assert_eq!(fixture.groups(by(rescored.clone(), "k", 2)).await, want);
        assert_eq!(fixture.groups(by(rescored.limit(1), "k", 1)).await, [(number(7), vec![8])]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_groups_are_filled_from_far_down() {
    for shard_number in SHARD_NUMBERS {
        let mut points = line(600);
        for point in &mut points {
            let id = num(point.id);
            point.payload.0.insert("far".to_owned(), json!(format!("g{}", id % 200)));
            point.payload.0.insert("near".to_owned(), json!(id / 100));
            point.payload.0.insert("big".to_owned(), json!(u64::MAX - id % 200));
        }
        let fixture = Fixture::new(shard_number, points).await;
        // The best 200 are all of different groups.
        let far = fixture.groups(by(upwards().limit(2), "far", 4)).await;
        assert_eq!(far, [(text("g0"), vec![600, 400, 200]), (text("g199"), vec![599, 399, 199])]);
        let big = fixture.groups(by(upwards().limit(1), "big", 3)).await;
        assert_eq!(big, [(number(u64::MAX), vec![600, 400, 200])]);
        // The best 100 but one are of one group.
        let near = fixture.groups(by(upwards().limit(4), "near", 2)).await;
        let want = [(6, vec![600]), (5, vec![599, 598]), (4, vec![499, 498]), (3, vec![399, 398])];
        assert_eq!(near, want.map(|(id, hits)| (number(id), hits)));
        // Alternatives of the query's own filter do not widen what fills a group.
        let either = Filter { should: vec![is("n", 600), has_id(1..=200)], ..Filter::default() };
        let own = by(upwards().limit(1).among(either), "far", 3);
        assert_eq!(fixture.groups(own).await, [(text("g0"), vec![600, 200])]);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn s16_hits_carry_what_is_asked_for_and_groups_their_lookup() {
    for shard_number in SHARD_NUMBERS {
        let fixture = Fixture::new(shard_number, members()).await;
        fixture.create("other", 2).await;
        let known = "00000000-0000-0000-0000-00000000000a";
        let mut other = vec![point(7, &[("", dense([1.0, 2.0]))], json!({"name": "seven"}))];
        other.push(Point { id: PointId::from_uuid_text(known).unwrap(), ..point(0, &[], json!({"name": "text"})) });
        fixture.put("other", other).await;
        let mut uuid = line(10).remove(9);
        uuid.payload.0.insert("k".to_owned(), json!(known));
        fixture.put("c", vec![uuid]).await;

        let lookup = WithLookup {
            collection: "other".to_owned(),
            with_payload: PayloadSelector::All,
            with_vectors: VectorSelector::None,
        };
        let request = GroupsRequest {
            with_payload: PayloadSelector::Include(vec!["n".parse().unwrap()]),
            with_vectors: VectorSelector::Names(vec!["".to_owned()]),
            with_lookup: Some(lookup.clone()),
            ..by(upwards().limit(3), "k", 1)
        };
        let groups = fixture.service.query_groups("c", request.clone(), READ).await.unwrap();
        assert_eq!(members_of(&groups), [(text(known), vec![10]), (number(7), vec![8]), (text("c"), vec![8])]);
        let hit = &groups[1].hits[0];
        assert_eq!((hit.score, hit.payload.clone().unwrap().0), (8.0, json!({"n": 8}).as_object().unwrap().clone()));
        assert_eq!(hit.vectors, Some([(String::new(), dense([8.0, 0.0]))].into()));
        let name = |group: &Group| {
            let record = group.lookup.as_ref()?;
            assert!(record.vectors.is_none());
            Some(record.payload.as_ref().unwrap().0["name"].as_str().unwrap().to_owned())
        };
        let names: Vec<Option<String>> = groups.iter().map(name).collect();
        assert_eq!(names, [Some("text".to_owned()), Some("seven".to_owned()), None]);
        let unknown = WithLookup { collection: "nope".to_owned(), ..lookup };
        let failure =
            fixture.service.query_groups("c", GroupsRequest { with_lookup: Some(unknown), ..request }, READ).await;
        assert!(matches!(&failure, Err(Error::CollectionNotFound { name }) if name == "nope"), "{failure:?}");
    }
}

fn matrix(sample: usize, limit: usize, using: &str) -> MatrixRequest {
    MatrixRequest { sample, limit, filter: None, using: using.to_owned() }
}

#[tokio::test(flavor = "multi_thread")]
async fn s9_5_a_matrix_has_the_nearest_of_each_sampled_point() {
    for shard_number in SHARD_NUMBERS {
        let at = |(id, x): (u64, f32)| {
            let entries = [(id as u32 / 2, x)];
            point(id, &[("e", dense([x, 0.0])), ("d", dense([x, 0.0])), ("s", sparse(&entries))], json!({"n": id}))
        };
        let mut points: Vec<Point> = [(1, 0.0), (2, 1.0), (3, 3.0), (4, 7.0)].into_iter().map(at).collect();
        points.push(point(5, &[], json!({"n": 5})));
        let fixture = Fixture::new(shard_number, points).await;
        let run = async |request| {
            let matrix = fixture.service.matrix("c", request, READ).await.unwrap();
            (matrix.ids.into_iter().map(num).collect::<Vec<_>>(), matrix.rows)
        };
        // Distances as shown, the smaller first; points without the vector are not sampled.
        let rows = vec![
            vec![(1, 1.0), (2, 3.0)],
            vec![(0, 1.0), (2, 2.0)],
            vec![(1, 2.0), (0, 3.0)],
            vec![(2, 4.0), (1, 6.0)],
        ];
        assert_eq!(run(matrix(10, 2, "e")).await, (vec![1, 2, 3, 4], rows));
        // Dot products, the larger first; equal ones by the larger id.
        let (_, rows) = run(matrix(10, 9, "d")).await;
        assert_eq!(rows[0], [(3, 0.0), (2, 0.0), (1, 0.0)]);
        assert_eq!(rows[2], [(3, 21.0), (1, 3.0), (0, 0.0)]);
        // Sparse vectors that share no index do not find each other.
        assert_eq!(run(matrix(10, 9, "s")).await.1, [vec![], vec![(2, 3.0)], vec![(1, 3.0)], vec![]]);
        let few = MatrixRequest { filter: Some(must(has_id([2, 4, 5]))), ..matrix(10, 9, "e") };
        assert_eq!(run(few).await, (vec![2, 4], vec![vec![(1, 6.0)], vec![(0, 6.0)]]));
        let (ids, rows) = run(matrix(2, 9, "e")).await;
        assert!(ids.len() == 2 && ids[0] < ids[1] && rows.iter().all(|row| row.len() == 1), "{ids:?} {rows:?}");
        let lone = MatrixRequest { filter: Some(must(has_id([2, 5]))), ..matrix(10, 9, "e") };
        assert_eq!(run(lone).await, (vec![], vec![]));
        let unknown = fixture.service.matrix("c", matrix(2, 2, "zz"), READ).await;
        assert!(matches!(&unknown, Err(Error::VectorNameUnknown { name }) if name == "zz"), "{unknown:?}");
    }
}
