//! Checks and plans of writes, by section of PROTOCOL.md.

use std::collections::BTreeSet;

use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::model::collection::SparseVectorParams;
use crate::model::{Condition, Payload, SparseVector, VectorsConfig};

fn vectors(params: &[(&str, u64, Metric)]) -> CollectionConfig {
    let by_name = params.iter().map(|&(name, dim, metric)| (name.to_owned(), VectorParams::new(dim, metric)));
    CollectionConfig::new(VectorsConfig { is_single: false, by_name: by_name.collect() })
}

fn point(id: u64, vectors: &[(&str, &[f32])]) -> Point {
    let vectors = vectors.iter().map(|(name, values)| ((*name).to_owned(), Vector::Dense(values.to_vec())));
    Point { id: PointId::Num(id), vectors: vectors.collect(), payload: Payload::default() }
}

fn upsert(points: Vec<Point>) -> PointOp {
    PointOp::Upsert { points, mode: UpsertMode::Upsert, update_filter: None }
}

/// The operation behind a command's format version.
fn decoded(command: &[u8]) -> PointOp {
    postcard::from_bytes(&command[1..]).unwrap()
}

/// The operations of a plan, decoded, with their shard.
fn ops(plan: &WritePlan) -> Vec<(usize, PointOp)> {
    let entries = plan.commands.iter().flat_map(|(shard, commands)| commands.iter().map(|command| (*shard, command)));
    entries.map(|(shard, command)| (shard, decoded(command))).collect()
}

fn points_of(op: &PointOp) -> &[Point] {
    match op {
        PointOp::Upsert { points, .. } => points,
        other => panic!("not an upsert: {other:?}"),
    }
}

#[test]
fn s2_2_names_dimensions_and_finiteness_are_checked_before_anything_else() {
    let config = vectors(&[("", 2, Metric::Dot), ("b", 3, Metric::Euclid)]);
    let fails = |bad: Point| WritePlan::new(&config, 1, upsert(vec![point(1, &[("", &[1.0, 2.0])]), bad])).unwrap_err();
    assert!(matches!(fails(point(2, &[("c", &[1.0])])), Error::VectorNameUnknown { name } if name == "c"));
    assert!(matches!(fails(point(2, &[("b", &[1.0])])), Error::WrongDim { want: 3, got: 1 }));
    for value in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
        assert!(matches!(fails(point(2, &[("", &[value, 0.0])])), Error::NotFinite { name } if name.is_empty()));
    }
    let update = PointOp::UpdateVectors {
        points: vec![PointVectors {
            id: PointId::Num(1),
            vectors: [("c".to_owned(), Vector::Dense(vec![1.0]))].into(),
        }],
        update_filter: None,
    };
    assert!(matches!(WritePlan::new(&config, 1, update), Err(Error::VectorNameUnknown { name }) if name == "c"));
    let delete = PointOp::DeleteVectors {
        select: PointSelector::Ids(vec![PointId::Num(1)]),
        names: vec!["b".to_owned(), "c".to_owned()],
    };
    assert!(matches!(WritePlan::new(&config, 1, delete), Err(Error::VectorNameUnknown { name }) if name == "c"));
}

fn stored(config: &CollectionConfig, name: &str, vector: Vector) -> Result<Vector, Error> {
    let point = Point { id: PointId::Num(1), vectors: [(name.to_owned(), vector)].into(), payload: Payload::default() };
    let plan = WritePlan::new(config, 1, upsert(vec![point]))?;
    Ok(points_of(&ops(&plan)[0].1)[0].vectors[name].clone())
}

fn multi(dim: usize, values: &[f32]) -> Vector {
    Vector::Multi(MultiVector::new(dim, values.to_vec()).unwrap())
}

fn sparse(entries: &[(u32, f32)]) -> Vector {
    Vector::Sparse(SparseVector::new(entries.to_vec()).unwrap())
}

/// `""` dense, `m` multi, both of dimension 2 and compared by dot product, and `s` sparse.
fn mixed() -> CollectionConfig {
    let mut config = vectors(&[("", 2, Metric::Dot), ("m", 2, Metric::Dot)]);
    config.vectors.by_name.get_mut("m").unwrap().is_multi = true;
    config.sparse_vectors = Some([("s".to_owned(), SparseVectorParams::default())].into());
    config
}

#[test]
fn s2_2_kinds_of_vectors_are_checked() {
    let config = mixed();
    assert_eq!(stored(&config, "s", sparse(&[(7, 1.0)])).unwrap(), sparse(&[(7, 1.0)]));
    assert_eq!(stored(&config, "s", sparse(&[])).unwrap(), sparse(&[]));
    assert_eq!(stored(&config, "m", multi(2, &[1.0, 2.0, 3.0, 4.0])).unwrap(), multi(2, &[1.0, 2.0, 3.0, 4.0]));
    assert_eq!(stored(&config, "m", Vector::Dense(vec![1.0, 2.0])).unwrap(), multi(2, &[1.0, 2.0]), "one row");
    let fails = |name, vector| stored(&config, name, vector).unwrap_err();
    assert!(matches!(fails("s", Vector::Dense(vec![1.0])), Error::SparseMismatch));
    assert!(matches!(fails("s", multi(1, &[1.0])), Error::SparseMismatch));
    assert!(matches!(fails("", sparse(&[(1, 1.0)])), Error::SparseMismatch));
    assert!(matches!(fails("m", sparse(&[(1, 1.0)])), Error::SparseMismatch));
    assert!(matches!(fails("", multi(2, &[1.0, 2.0])), Error::MultiMismatch));
    assert!(matches!(fails("m", multi(3, &[1.0, 2.0, 3.0])), Error::WrongDim { want: 2, got: 3 }));
    assert!(matches!(fails("s", sparse(&[(1, f32::NAN)])), Error::NotFinite { name } if name == "s"));
    assert!(matches!(fails("m", multi(2, &[1.0, f32::INFINITY])), Error::NotFinite { name } if name == "m"));
    assert!(matches!(fails("x", sparse(&[])), Error::VectorNameUnknown { name } if name == "x"));
}

#[test]
fn s2_3_each_row_of_a_multivector_is_normalised_for_cosine() {
    let mut config = mixed();
    config.vectors.by_name.get_mut("m").unwrap().metric = Metric::Cosine;
    let got = stored(&config, "m", multi(2, &[3.0, 4.0, 0.0, 0.0, 0.0, 5.0])).unwrap();
    assert_eq!(got, multi(2, &[0.6, 0.8, 0.0, 0.0, 0.0, 1.0]));
    let mut query = multi(2, &[6.0, 8.0]);
    check_vector(&config, "m", &mut query).unwrap();
    assert_eq!(query, multi(2, &[0.6, 0.8]));
}

#[test]
fn s2_3_datatypes_round_what_is_stored_and_not_what_is_asked() {
    let with = |name: &str, datatype| {
        let mut config = mixed();
        config.vectors.by_name.get_mut(name).unwrap().datatype = Some(datatype);
        config
    };
    let bytes = with("", Datatype::Uint8);
    assert_eq!(stored(&bytes, "", Vector::Dense(vec![-3.0, 1.9])).unwrap(), Vector::Dense(vec![0.0, 1.0]));
    assert_eq!(stored(&bytes, "", Vector::Dense(vec![300.0, 255.5])).unwrap(), Vector::Dense(vec![255.0, 255.0]));
    let half = with("m", Datatype::Float16);
    let got = stored(&half, "m", multi(2, &[0.1, 1.0, 3.5, 2049.0])).unwrap();
    assert_eq!(got, multi(2, &[0.099_975_586, 1.0, 3.5, 2048.0]));
    assert!(matches!(stored(&half, "m", multi(2, &[1e6, 0.0])), Err(Error::NotFinite { .. })), "beyond float16");
    let mut query = Vector::Dense(vec![-3.0, 1.9]);
    check_vector(&bytes, "", &mut query).unwrap();
    assert_eq!(query, Vector::Dense(vec![-3.0, 1.9]));
}

#[test]
fn s2_3_bytes_compared_by_cosine_keep_their_length() {
    let mut config = vectors(&[("", 2, Metric::Cosine)]);
    config.vectors.by_name.get_mut("").unwrap().datatype = Some(Datatype::Uint8);
    assert_eq!(stored(&config, "", Vector::Dense(vec![30.0, 40.0])).unwrap(), Vector::Dense(vec![30.0, 40.0]));
    let mut query = Vector::Dense(vec![30.0, 40.0]);
    check_vector(&config, "", &mut query).unwrap();
    assert_eq!(query, Vector::Dense(vec![0.6, 0.8]));
}

#[test]
fn s2_1_a_point_may_miss_any_vector() {
    let config = vectors(&[("a", 2, Metric::Dot)]);
    let plan = WritePlan::new(&config, 1, upsert(vec![point(1, &[])])).unwrap();
    assert_eq!(points_of(&ops(&plan)[0].1), [point(1, &[])]);
}

#[test]
fn s2_3_cosine_vectors_are_normalised_and_others_left_alone() {
    let config = vectors(&[("c", 2, Metric::Cosine), ("d", 2, Metric::Dot)]);
    let plan = WritePlan::new(&config, 1, upsert(vec![point(1, &[("c", &[3.0, 4.0]), ("d", &[3.0, 4.0])])])).unwrap();
    assert_eq!(points_of(&ops(&plan)[0].1), [point(1, &[("c", &[0.6, 0.8]), ("d", &[3.0, 4.0])])]);
}

#[test]
fn s6_1_of_equal_ids_in_one_upsert_the_last_wins() {
    let config = vectors(&[("", 1, Metric::Dot)]);
    let given = vec![point(1, &[("", &[1.0])]), point(2, &[("", &[2.0])]), point(1, &[("", &[3.0])])];
    let plan = WritePlan::new(&config, 1, upsert(given)).unwrap();
    assert_eq!(points_of(&ops(&plan)[0].1), [point(2, &[("", &[2.0])]), point(1, &[("", &[3.0])])]);
    assert_eq!(plan.must_exist, []);
}

#[test]
fn s6_2_of_equal_ids_in_one_update_of_vectors_entries_merge_and_the_later_value_wins() {
    let config = vectors(&[("a", 1, Metric::Dot), ("b", 1, Metric::Dot)]);
    let entry =
        |id, vectors: &[(&str, &[f32])]| PointVectors { id: PointId::Num(id), vectors: point(id, vectors).vectors };
    let given = vec![entry(1, &[("a", &[1.0]), ("b", &[1.0])]), entry(2, &[("a", &[2.0])]), entry(1, &[("b", &[3.0])])];
    let plan = WritePlan::new(&config, 1, PointOp::UpdateVectors { points: given, update_filter: None }).unwrap();
    let want = vec![entry(1, &[("a", &[1.0]), ("b", &[3.0])]), entry(2, &[("a", &[2.0])])];
    assert_eq!(ops(&plan), [(0, PointOp::UpdateVectors { points: want, update_filter: None })]);
    assert_eq!(plan.must_exist, [PointId::Num(1), PointId::Num(2)]);
}

#[test]
fn s6_2_which_operations_must_find_their_ids_and_which_of_them_is_named() {
    let config = vectors(&[("", 1, Metric::Dot)]);
    let select = || PointSelector::Ids([9, 4, 9, 7].map(PointId::Num).to_vec());
    let must_exist = |op| WritePlan::new(&config, 3, op).unwrap().must_exist;
    let ids = [9, 4, 7].map(PointId::Num);
    assert_eq!(must_exist(PointOp::Delete { select: select() }), []);
    assert_eq!(must_exist(PointOp::ClearPayload { select: select() }), ids);
    assert_eq!(must_exist(PointOp::DeletePayload { select: select(), keys: vec![] }), ids);
    assert_eq!(must_exist(PointOp::DeleteVectors { select: select(), names: vec![String::new()] }), ids);
    assert_eq!(must_exist(PointOp::SetPayload { select: select(), payload: Payload::default(), key: None }), ids);
    assert_eq!(must_exist(PointOp::OverwritePayload { select: select(), payload: Payload::default(), key: None }), ids);
    let filter = PointSelector::Filter(Filter::default());
    assert_eq!(must_exist(PointOp::ClearPayload { select: filter }), []);

    let plan = WritePlan::new(&config, 3, PointOp::ClearPayload { select: select() }).unwrap();
    assert_eq!(plan.first_missing(&[PointId::Num(7), PointId::Num(4)].into()), Some(PointId::Num(4)));
    assert_eq!(plan.first_missing(&HashSet::new()), None);
}

#[test]
fn an_operation_by_filter_goes_to_every_shard_and_one_by_ids_to_theirs() {
    let config = vectors(&[("", 1, Metric::Dot)]);
    let filter = Filter { must: vec![Condition::HasVector(String::new())], ..Filter::default() };
    let by_filter = PointOp::Delete { select: PointSelector::Filter(filter) };
    let plan = WritePlan::new(&config, 3, by_filter.clone()).unwrap();
    assert_eq!(ops(&plan), [(0, by_filter.clone()), (1, by_filter.clone()), (2, by_filter)]);

    let ids: Vec<PointId> = (0..100).map(PointId::Num).collect();
    let plan = WritePlan::new(&config, 3, PointOp::Delete { select: PointSelector::Ids(ids.clone()) }).unwrap();
    let mut seen = BTreeSet::new();
    for (shard, op) in ops(&plan) {
        let PointOp::Delete { select: PointSelector::Ids(ids) } = op else { panic!("{op:?}") };
        assert!(ids.iter().all(|id| shard_of(*id, 3) == shard && seen.insert(*id)));
    }
    assert_eq!(seen, ids.into_iter().collect());
}

#[test]
fn a_large_upsert_becomes_bounded_entries_that_hold_every_point_once() {
    let config = vectors(&[("", 1_000, Metric::Dot)]);
    let values = vec![0.5; 1_000];
    // 4 MB of even points, then one of 3 MB that cannot be cut, then small ones.
    let mut points: Vec<Point> = (0..1_000).map(|id| point(id, &[("", &values)])).collect();
    let serde_json::Value::Object(large) = json!({"text": "x".repeat(3 << 20)}) else { unreachable!() };
    points.push(Point { payload: Payload(large), ..point(1_000, &[]) });
    points.extend((1_001..1_100).map(|id| point(id, &[])));
    let plan = WritePlan::new(&config, 2, upsert(points.clone())).unwrap();
    for command in plan.commands.values().flatten() {
        let is_lone = points_of(&decoded(command)).len() == 1;
        assert!(command.len() <= ENTRY_BYTES_MAX || is_lone, "an entry of {} bytes", command.len());
    }
    let ops = ops(&plan);
    assert!(ops.len() < 20, "{} entries for 7 MB", ops.len());
    let mut stored: Vec<Point> = ops.iter().flat_map(|(_, op)| points_of(op)).cloned().collect();
    stored.sort_by_key(|point| point.id);
    assert_eq!(stored, points);
}

#[test]
fn many_ids_become_bounded_entries() {
    let config = vectors(&[("", 1, Metric::Dot)]);
    let ids: Vec<PointId> = (0..100_000).map(|num| PointId::Uuid(uuid::Uuid::from_u128(num))).collect();
    let plan = WritePlan::new(&config, 1, PointOp::Delete { select: PointSelector::Ids(ids) }).unwrap();
    let commands = &plan.commands[&0];
    assert_eq!(commands.len(), 4);
    assert!(commands.iter().all(|command| command.len() <= ENTRY_BYTES_MAX));
}

#[test]
fn an_empty_batch_of_points_proposes_nothing() {
    let config = vectors(&[("", 1, Metric::Dot)]);
    assert_eq!(WritePlan::new(&config, 2, upsert(vec![])).unwrap(), WritePlan::default());
}

proptest! {
    #[test]
    fn pieces_are_nearly_equal_in_order_and_none_is_empty(length in 1..500_usize, count in 1..500_usize) {
        let count = count.min(length);
        let runs = split((0..length).collect(), count);
        prop_assert!(runs.len() <= count && runs.iter().all(|run| !run.is_empty()));
        prop_assert_eq!(runs.concat(), (0..length).collect::<Vec<_>>());
    }
}
