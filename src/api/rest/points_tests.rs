//! Bodies of writes, each against its exact error or its model form.

use serde_json::json;

use super::*;
use crate::api::rest::call::parse;
use crate::model::{Condition, Filter, MultiVector, PointId, SparseVector, Vector};
use crate::text::{Bm25, Bm25Options};

fn read<C: Change>(json: &str) -> Result<PointOp, ApiError> {
    let body: C = parse(json.as_bytes())?;
    let mut found = Findings::new();
    let op = body.convert(&mut found, At::Root);
    found.finish("JSON body", op)
}

fn refusal<C: Change>(json: &str) -> (u16, String) {
    let error = read::<C>(json).expect_err(json);
    (error.http_status(), error.text)
}

fn upserted(json: &str) -> Vec<Point> {
    match read::<Upsert>(json) {
        Ok(PointOp::Upsert { points, mode: UpsertMode::Upsert, update_filter: None }) => points,
        other => panic!("{json} became {other:?}"),
    }
}

fn dense(values: &[f32]) -> Vector {
    Vector::Dense(values.to_vec())
}

fn point(id: u64, vectors: &[(&str, &[f32])], payload: Value) -> Point {
    let Value::Object(payload) = payload else { panic!("payload") };
    let vectors = vectors.iter().map(|(name, values)| ((*name).to_owned(), dense(values))).collect();
    Point { id: PointId::Num(id), vectors, payload: Payload(payload) }
}

fn object(json: Value) -> Payload {
    let Value::Object(members) = json else { panic!("object") };
    Payload(members)
}

#[test]
fn protocol_2_1_forms_of_a_points_vectors() {
    let json = r#"{"points": [
        {"id": 1, "vector": [1, -2.5, 3e-1], "payload": {"a": 18446744073709551615}},
        {"id": 2, "vector": {"": [1], "b": [2, 3], "c": null}, "payload": null},
        {"id": 3, "vectors": {}, "unknown": {"x": 1}}
    ], "shard_key": null, "update_filter": null, "update_mode": null}"#;
    assert_eq!(
        upserted(json),
        [
            point(1, &[("", &[1.0, -2.5, 0.3])], json!({"a": u64::MAX})),
            point(2, &[("", &[1.0]), ("b", &[2.0, 3.0])], json!({})),
            point(3, &[], json!({})),
        ]
    );
}

#[test]
fn protocol_2_1_batch_form() {
    let bare = r#"{"batch": {"ids": [1, 2], "vectors": [[1], [2]], "payloads": [null, {"a": 1}]}}"#;
    assert_eq!(upserted(bare), [point(1, &[("", &[1.0])], json!({})), point(2, &[("", &[2.0])], json!({"a": 1}))]);
    let named = r#"{"batch": {"ids": [1, 2], "vectors": {"a": [[1], [2]], "b": [[3], [4]], "c": null}}}"#;
    assert_eq!(
        upserted(named),
        [point(1, &[("a", &[1.0]), ("b", &[3.0])], json!({})), point(2, &[("a", &[2.0]), ("b", &[4.0])], json!({}))]
    );
    assert_eq!(
        refusal::<Upsert>(r#"{"batch": {"ids": [1, 2], "vectors": [[1]]}}"#),
        (422, "Validation error in JSON body: [batch: number of ids and vectors must be equal (2 != 1)]".to_owned())
    );
    assert_eq!(
        refusal::<Upsert>(r#"{"batch": {"ids": [1], "vectors": {"a": [[1]], "b": []}}}"#).1,
        "Validation error in JSON body: [batch: number of ids and vectors must be equal (1 != 0)]"
    );
    assert_eq!(
        refusal::<Upsert>(r#"{"batch": {"ids": [1], "vectors": [[1]], "payloads": []}}"#).1,
        "Validation error in JSON body: [batch: number of ids and payloads must be equal (1 != 0)]"
    );
}

#[test]
fn protocol_2_2_empty_dense_vectors_are_refused_all_together() {
    assert_eq!(
        refusal::<Upsert>(
            r#"{"points": [{"id": 1, "vector": []}, {"id": 2, "vector": [1]}, {"id": 3, "vector": {"a": []}}]}"#
        ),
        (
            422,
            "Validation error in JSON body: [points[0].vector: dense vector must not be empty; points[2].vector.?: \
             dense vector must not be empty]"
                .to_owned()
        )
    );
    assert_eq!(
        refusal::<Upsert>(r#"{"batch": {"ids": [1], "vectors": [[]]}}"#).1,
        "Validation error in JSON body: [batch.vectors[0]: dense vector must not be empty]"
    );
}

#[test]
fn protocol_2_2_multivectors_and_sparse_vectors_are_validated() {
    let refused = |vector: &str| refusal::<Upsert>(&format!(r#"{{"points": [{{"id": 1, "vector": {vector}}}]}}"#));
    let cases = [
        (r#"{"a": [[1], []]}"#, "points[0].vector.?.data: all vectors must be non-empty"),
        (
            r#"{"a": [[1], [1, 2]]}"#,
            "points[0].vector.?.data: all vectors must have the same dimension, found vector with dimension 2",
        ),
        (
            r#"{"a": {"indices": [1, 1], "values": [1, 2]}}"#,
            "points[0].vector.?.indices: Validation error: must be unique [{}]",
        ),
        (
            r#"{"a": {"indices": [1, 2], "values": [1]}}"#,
            "points[0].vector.?.values: Validation error: must be the same length as indices [{}]",
        ),
    ];
    for (vector, text) in cases {
        assert_eq!(refused(vector), (422, format!("Validation error in JSON body: [{text}]")), "{vector}");
    }
    assert_eq!(refused(r#"{"a": {"indices": [-1], "values": [1]}}"#).0, 400);
    assert_eq!(refused(r#"[[1], 2]"#).0, 400);
}

#[test]
fn protocol_2_1_all_kinds_of_vectors_are_read() {
    let sparse = |entries: &[(u32, f32)]| Vector::Sparse(SparseVector::new(entries.to_vec()).unwrap());
    let multi = |dim, values: &[f32]| Vector::Multi(MultiVector::new(dim, values.to_vec()).unwrap());
    let vectors = |vector: &str| match read::<Upsert>(&format!(r#"{{"points": [{{"id": 1, "vector": {vector}}}]}}"#)) {
        Ok(PointOp::Upsert { points, .. }) => points[0].vectors.clone(),
        other => panic!("{vector}: {other:?}"),
    };
    let named = |vector: Vector| NamedVectors::from([("a".to_owned(), vector)]);
    assert_eq!(vectors("[[1, 2], [3, 4.5]]"), NamedVectors::from([(String::new(), multi(2, &[1.0, 2.0, 3.0, 4.5]))]));
    assert_eq!(vectors(r#"{"a": [[1]]}"#), named(multi(1, &[1.0])));
    let unsorted = r#"{"a": {"values": [0.5, -1], "indices": [4294967295, 0]}}"#;
    assert_eq!(vectors(unsorted), named(sparse(&[(0, -1.0), (u32::MAX, 0.5)])), "sorted for storage");
    assert_eq!(vectors(r#"{"a": {"indices": [], "values": []}}"#), named(sparse(&[])));
    let batch = r#"{"batch": {"ids": [1, 2], "vectors": {"m": [[[1], [2]], [[3]]], "s":
        [{"indices": [1], "values": [2]}, {"indices": [], "values": []}]}}}"#;
    let Ok(PointOp::Upsert { points, .. }) = read::<Upsert>(batch) else { panic!("{batch}") };
    let of = |point: usize, m: &[f32], s: &[(u32, f32)]| {
        let want = NamedVectors::from([("m".to_owned(), multi(1, m)), ("s".to_owned(), sparse(s))]);
        assert_eq!(points[point].vectors, want);
    };
    of(0, &[1.0, 2.0], &[(1, 2.0)]);
    of(1, &[3.0], &[]);
}

#[test]
fn s13_3_texts_become_document_weights_wherever_points_are_written() {
    let weights = |options: &Bm25Options| Vector::Sparse(Bm25::new(options).unwrap().document("hello hello world"));
    let plain = Bm25Options { language: Some("none".to_owned()), k: Some(1.0), ..Bm25Options::default() };
    for (object, vector) in [
        (r#"{"text": "hello hello world", "model": "Qdrant/bm25"}"#, weights(&Bm25Options::default())),
        (r#"{"options": {"k": 1, "language": "none"}, "model": "bm25", "text": "hello hello world"}"#, weights(&plain)),
    ] {
        let bare = NamedVectors::from([(String::new(), vector.clone())]);
        let named = NamedVectors::from([("text".to_owned(), vector)]);
        for (written, want) in [(object.to_owned(), &bare), (format!(r#"{{"text": {object}, "b": null}}"#), &named)] {
            let points = format!(r#"{{"points": [{{"id": 1, "vector": {written}}}]}}"#);
            assert_eq!(&upserted(&points)[0].vectors, want, "{points}");
            let Ok(PointOp::UpdateVectors { points: updated, .. }) = read::<UpdateVectors>(&points) else {
                panic!("{points}")
            };
            assert_eq!(&updated[0].vectors, want, "{points}");
        }
        for (lists, want) in [(format!("[{object}]"), &bare), (format!(r#"{{"text": [{object}]}}"#), &named)] {
            let batch = format!(r#"{{"batch": {{"ids": [1], "vectors": {lists}}}}}"#);
            assert_eq!(&upserted(&batch)[0].vectors, want, "{batch}");
        }
    }
    // Vectors may have the names of an object's members.
    let names = r#"{"points": [{"id": 1, "vector": {"text": [1], "model": [2], "image": [3], "options": [4]}}]}"#;
    assert_eq!(upserted(names)[0].vectors.len(), 4);
}

#[test]
fn s13_3_what_is_no_text_for_bm25_is_refused() {
    let no_text = "Wrong input: Only text input is supported for BM25.";
    let no_service = "Service internal error: InferenceService is not configured: of all models only `qdrant/bm25` is \
                      served, not `m`";
    for (object, status, text) in [
        (r#"{"image": "https://example.com/x.png", "model": "BM25"}"#, 400, no_text),
        (r#"{"image": {"bytes": [1, {}]}, "model": "BM25"}"#, 400, no_text),
        (r#"{"object": 5, "model": "BM25", "options": {"k": 1}}"#, 400, no_text),
        (r#"{"text": 5, "model": "BM25"}"#, 400, no_text),
        (r#"{"text": "hello", "model": "m"}"#, 500, no_service),
        (r#"{"image": "https://example.com/x.png", "model": "m"}"#, 500, no_service),
        (
            r#"{"text": "a", "model": "bm25", "options": {"b": 2}}"#,
            400,
            "Wrong input: Invalid BM25 config: b is 2, must be from 0 to 1",
        ),
    ] {
        for vector in [object.to_owned(), format!(r#"{{"a": {object}}}"#)] {
            let body = format!(r#"{{"points": [{{"id": 1, "vector": {vector}}}]}}"#);
            assert_eq!(refusal::<Upsert>(&body), (status, text.to_owned()), "{vector}");
        }
    }
    for vector in [
        r#"{"model": "BM25"}"#,
        r#"{"text": null, "model": "BM25"}"#,
        r#"{"text": "hello"}"#,
        r#"{"text": 5}"#,
        r#"{"a": {"text": "hello"}}"#,
        r#"{"a": {"text": "hello", "model": 5}}"#,
        r#"{"a": {"text": "hello", "model": "bm25", "options": 5}}"#,
        r#""x""#,
        "3",
        "[1, \"a\"]",
        "[null]",
        "[1, [2]]",
        r#"{"a": 3}"#,
        r#"{"a": "x"}"#,
        r#"{"a": {}}"#,
    ] {
        let (status, text) = refusal::<Upsert>(&format!(r#"{{"points": [{{"id": 1, "vector": {vector}}}]}}"#));
        assert_eq!(status, 400, "{vector}");
        assert!(text.starts_with("Format error in JSON body: "), "{vector}: {text}");
    }
}

#[test]
fn protocol_6_1_upsert() {
    assert_eq!(refusal::<Upsert>(r#"{"points": []}"#), (400, "Bad request: Empty update request".to_owned()));
    assert_eq!(
        refusal::<Upsert>("{}"),
        (400, "Format error in JSON body: one of `points` and `batch` is needed".to_owned())
    );
    assert_eq!(
        read::<Upsert>(
            r#"{"points": [{"id": 1, "vector": {}}], "update_mode": "insert_only", "update_filter": {"must": []}}"#
        )
        .unwrap(),
        PointOp::Upsert {
            points: vec![point(1, &[], json!({}))],
            mode: UpsertMode::InsertOnly,
            update_filter: Some(Filter::default())
        }
    );
    for json in [
        r#"{"points": [{"vector": [1]}]}"#,
        r#"{"points": [{"id": 1}]}"#,
        r#"{"points": [{"id": 1, "vector": [1], "payload": [1]}]}"#,
        r#"{"points": [{"id": 1, "vector": [1]}], "update_mode": "maybe"}"#,
        r#"{"points": 3}"#,
        "[]",
        "",
        "{",
        "{} {}",
    ] {
        assert_eq!(refusal::<Upsert>(json).0, 400, "{json}");
    }
}

#[test]
fn protocol_6_2_delete() {
    let ids = PointSelector::Ids(vec![PointId::Num(1)]);
    assert_eq!(
        read::<Delete>(r#"{"points": [1], "filter": {"must": []}}"#).unwrap(),
        PointOp::Delete { select: ids },
        "points win"
    );
    assert_eq!(
        read::<Delete>(r#"{"filter": {}}"#).unwrap(),
        PointOp::Delete { select: PointSelector::Filter(Filter::default()) }
    );
    assert_eq!(refusal::<Delete>("{}"), (400, "Bad request: No filter or points provided".to_owned()));
    assert_eq!(refusal::<Delete>(r#"{"points": []}"#), (400, "Bad request: Empty update request".to_owned()));
}

#[test]
fn protocol_6_2_update_and_delete_vectors() {
    assert_eq!(
        read::<UpdateVectors>(r#"{"points": [{"id": 1, "vector": {"a": [1]}}, {"id": 2, "vector": [2]}]}"#).unwrap(),
        PointOp::UpdateVectors {
            points: vec![
                write::PointVectors { id: PointId::Num(1), vectors: [("a".to_owned(), dense(&[1.0]))].into() },
                write::PointVectors { id: PointId::Num(2), vectors: [(String::new(), dense(&[2.0]))].into() },
            ],
            update_filter: None
        }
    );
    assert_eq!(
        refusal::<UpdateVectors>(r#"{"points": [{"id": 1, "vector": {}}, {"id": 2, "vector": []}]}"#),
        (
            422,
            "Validation error in JSON body: [points[0].vector: must specify vectors to update for point; \
             points[1].vector: dense vector must not be empty]"
                .to_owned()
        )
    );
    assert_eq!(
        refusal::<UpdateVectors>(r#"{"points": []}"#),
        (422, "Validation error in JSON body: [points: must specify points to update]".to_owned())
    );
    assert_eq!(
        read::<DeleteVectors>(r#"{"points": [1], "vector": ["a", ""]}"#).unwrap(),
        PointOp::DeleteVectors {
            select: PointSelector::Ids(vec![PointId::Num(1)]),
            names: vec!["a".to_owned(), String::new()]
        }
    );
    assert_eq!(
        refusal::<DeleteVectors>(r#"{"points": [1], "vector": []}"#),
        (422, "Validation error in JSON body: [vector: must specify vector names to delete]".to_owned())
    );
}

#[test]
fn protocol_6_2_payload_changes() {
    let select = || PointSelector::Ids(vec![PointId::Num(1)]);
    assert_eq!(
        read::<SetPayload>(r#"{"points": [1], "payload": {"a": null}, "key": "x.y"}"#).unwrap(),
        PointOp::SetPayload {
            select: select(),
            payload: object(json!({"a": null})),
            key: Some("x.y".parse().unwrap())
        }
    );
    assert_eq!(
        read::<OverwritePayload>(r#"{"points": [1], "payload": {}, "key": null}"#).unwrap(),
        PointOp::OverwritePayload { select: select(), payload: Payload::default(), key: None }
    );
    assert_eq!(
        read::<DeletePayload>(r#"{"filter": {"must": {"has_id": []}}, "keys": ["a", "b[].c"]}"#).unwrap(),
        PointOp::DeletePayload {
            select: PointSelector::Filter(Filter { must: vec![Condition::HasId([].into())], ..Filter::default() }),
            keys: vec!["a".parse().unwrap(), "b[].c".parse().unwrap()]
        }
    );
    assert_eq!(read::<ClearPayload>(r#"{"points": [1]}"#).unwrap(), PointOp::ClearPayload { select: select() });
    let neither = (400, "Bad request: No filter or points provided".to_owned());
    assert_eq!(refusal::<SetPayload>(r#"{"payload": {}}"#), neither);
    assert_eq!(refusal::<OverwritePayload>(r#"{"payload": {}}"#), neither);
    assert_eq!(refusal::<DeletePayload>(r#"{"keys": []}"#), neither);
    assert_eq!(refusal::<ClearPayload>("{}"), neither);
    let empty = (400, "Bad request: Empty update request".to_owned());
    assert_eq!(refusal::<SetPayload>(r#"{"payload": {}, "points": []}"#), empty);
    assert_eq!(refusal::<ClearPayload>(r#"{"points": []}"#), empty);
    assert_eq!(
        refusal::<SetPayload>(r#"{"points": [1], "payload": {}, "key": "a..b"}"#),
        (400, "Format error in JSON body: Invalid JSON path: `a..b`".to_owned())
    );
}

/// What is stored must parse again, also after it was set at a long path.
#[test]
fn a_payload_set_at_a_key_stays_within_100_levels() {
    let change = |levels: usize, keys: usize| {
        let key = vec!["k"; keys].join(".");
        let payload = format!("{}1{}", "{\"a\":".repeat(levels), "}".repeat(levels));
        read::<SetPayload>(&format!(r#"{{"points": [1], "payload": {payload}, "key": "{key}"}}"#))
    };
    assert!(change(50, 50).is_ok());
    let error = change(50, 51).unwrap_err();
    assert_eq!(error.text, "Wrong input: a payload may be 100 levels deep, this one is 101");
}

#[test]
fn protocol_6_2_batches_are_validated_as_a_whole() {
    let convert = |json: &str| {
        let body: Batch = parse(json.as_bytes())?;
        let mut found = Findings::new();
        let root = At::Root;
        let at = root.field("operations");
        let ops = checks::each(body.operations, |i, operation| operation.convert(&mut found, at.item(i)));
        found.finish("JSON body", ops)
    };
    let ops = convert(
        r#"{"operations": [
            {"upsert": {"points": [{"id": 1, "vector": [1]}]}},
            {"delete": {"points": [1]}},
            {"update_vectors": {"points": [{"id": 1, "vector": [1]}]}},
            {"delete_vectors": {"points": [1], "vector": ["a"]}},
            {"set_payload": {"points": [1], "payload": {}}},
            {"overwrite_payload": {"points": [1], "payload": {}}},
            {"delete_payload": {"points": [1], "keys": ["a"]}},
            {"clear_payload": {"points": [1]}}
        ]}"#,
    )
    .unwrap();
    let kinds: Vec<String> =
        ops.iter().map(|op| format!("{op:?}").split_whitespace().next().unwrap().to_owned()).collect();
    let want = [
        "Upsert",
        "Delete",
        "UpdateVectors",
        "DeleteVectors",
        "SetPayload",
        "OverwritePayload",
        "DeletePayload",
        "ClearPayload",
    ];
    assert_eq!(kinds, want);
    assert_eq!(convert(r#"{"operations": []}"#).unwrap(), []);
    let error = convert(
        r#"{"operations": [
            {"upsert": {"points": [{"id": 1, "vector": []}]}},
            {"update_vectors": {"points": [{"id": 1, "vector": {}}]}}
        ]}"#,
    )
    .unwrap_err();
    assert_eq!(
        error.text,
        "Validation error in JSON body: [operations[0].upsert.points[0].vector: dense vector must not be empty; \
         operations[1].update_vectors.points[0].vector: must specify vectors to update for point]"
    );
    assert_eq!(convert(r#"{"operations": [{"drop": {}}]}"#).unwrap_err().http_status(), 400);
}
