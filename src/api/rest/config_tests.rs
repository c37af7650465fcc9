//! Collection settings in JSON, each against its exact error or its model form.

use super::*;
use crate::api::rest::call::parse;
use crate::api::status::ApiError;
use crate::model::datetime::Timestamp;
use crate::service::ShardReport;

fn create(json: &str) -> Result<CollectionConfig, ApiError> {
    let body: CreateCollection = parse(json.as_bytes())?;
    let mut found = Findings::new();
    let config = body.convert(&mut found);
    found.finish("JSON body", config)
}

fn update(json: &str) -> Result<CollectionConfigDiff, ApiError> {
    let body: UpdateCollection = parse(json.as_bytes())?;
    let mut found = Findings::new();
    let diff = body.convert(&mut found);
    found.finish("JSON body", diff)
}

fn refusal(json: &str) -> (u16, String) {
    let error = create(json).expect_err(json);
    (error.http_status(), error.text)
}

fn shown(config: CollectionConfig) -> Value {
    info(&CollectionReport {
        name: "c".to_owned(),
        status: CollectionStatus::Green,
        config,
        point_count: 6,
        indexed_vector_count: 4,
        tail_vector_count: 2,
        shard_count: 1,
        shards: vec![ShardReport {
            id: 0,
            key: None,
            point_count: 6,
            applied_index: 9,
            indexed_vector_count: 6,
            tail_vector_count: 0,
        }],
        fields: BTreeMap::new(),
        created_at: Timestamp(1_700_000_000_000_000),
        warnings: vec![],
    })
}

/// CLIENTS 3.7, PROTOCOL 18: what was not given shows its default, or does not show.
#[test]
fn info_of_a_collection_with_nothing_but_a_size() {
    let config = create(r#"{"vectors": {"size": 4, "distance": "Cosine"}}"#).unwrap();
    assert_eq!(
        shown(config),
        json!({
            "status": "green",
            "optimizer_status": "ok",
            "indexed_vectors_count": 4,
            "points_count": 6,
            "segments_count": 1,
            "config": {
                "params": {
                    "vectors": {"size": 4, "distance": "Cosine"},
                    "shard_number": 1,
                    "replication_factor": 1,
                    "write_consistency_factor": 1,
                    "on_disk_payload": true,
                },
                "hnsw_config": {
                    "m": 16, "ef_construct": 100, "full_scan_threshold": 10000, "max_indexing_threads": 0,
                },
                "optimizer_config": {
                    "deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0,
                    "max_segment_size": null, "memmap_threshold": null, "indexing_threshold": 10000,
                    "flush_interval_sec": 5, "max_optimization_threads": null,
                },
                "wal_config": {"wal_capacity_mb": 32, "wal_segments_ahead": 0, "wal_retain_closed": 1},
                "quantization_config": null,
            },
            "payload_schema": {},
            "update_queue": {"length": 2},
            "created_at": "2023-11-14T22:13:20Z",
        })
    );
}

#[test]
fn protocol_18_info_echoes_what_was_given() {
    let config = create(
        r#"{
            "vectors": {
                "": {"size": 4, "distance": "Dot", "on_disk": true, "hnsw_config": {"m": 0, "payload_m": null}},
                "b": {"size": 65536, "distance": "Manhattan", "datatype": "float32", "multivector_config": null},
                "gone": null
            },
            "sparse_vectors": {}, "shard_number": 3, "sharding_method": "auto", "replication_factor": 2,
            "write_consistency_factor": 2, "on_disk_payload": false, "quantization_config": null,
            "hnsw_config": {"ef_construct": 4, "on_disk": false},
            "optimizers_config": {"indexing_threshold": 0, "max_optimization_threads": "auto"},
            "wal_config": {"wal_capacity_mb": null, "wal_segments_ahead": 2},
            "strict_mode_config": {"enabled": false, "max_query_limit": 3},
            "metadata": {"a": {"b": 1}}, "unknown": 1
        }"#,
    )
    .unwrap();
    let info = shown(config);
    assert_eq!(
        info["config"]["params"],
        json!({
            "vectors": {
                "": {"size": 4, "distance": "Dot", "on_disk": true, "hnsw_config": {"m": 0}},
                "b": {"size": 65536, "distance": "Manhattan", "datatype": "float32"},
            },
            "shard_number": 3,
            "sharding_method": "auto",
            "replication_factor": 2,
            "write_consistency_factor": 2,
            "on_disk_payload": false,
        })
    );
    assert_eq!(info["config"]["metadata"], json!({"a": {"b": 1}}));
    assert_eq!(info["config"]["hnsw_config"]["ef_construct"], 4);
    assert_eq!(info["config"]["hnsw_config"]["on_disk"], false);
    assert_eq!(info["config"]["hnsw_config"]["m"], 16);
    assert_eq!(info["config"]["optimizer_config"]["indexing_threshold"], 0);
    assert_eq!(info["config"]["wal_config"]["wal_capacity_mb"], 32);
    assert_eq!(info["config"]["wal_config"]["wal_segments_ahead"], 2);
}

#[test]
fn protocol_2_1_no_vectors_and_the_map_form_of_the_unnamed_one() {
    for json in ["{}", r#"{"vectors": {}}"#, r#"{"vectors": null}"#] {
        assert_eq!(shown(create(json).unwrap())["config"]["params"]["vectors"], json!({}), "{json}");
    }
    let mapped = r#"{"vectors": {"": {"size": 4, "distance": "Dot"}}}"#;
    assert_eq!(
        shown(create(mapped).unwrap())["config"]["params"]["vectors"],
        json!({"": {"size": 4, "distance": "Dot"}})
    );
    // Names that are also keys of a single vector.
    let named = r#"{"vectors": {"size": {"size": 4, "distance": "Dot"}, "distance": {"size": 5, "distance": "Dot"}}}"#;
    assert_eq!(create(named).unwrap().vectors.by_name.len(), 2);
}

#[test]
fn status_and_warnings_show() {
    let config = create("{}").unwrap();
    let mut report = CollectionReport {
        name: "c".to_owned(),
        status: CollectionStatus::Red,
        config,
        point_count: 0,
        indexed_vector_count: 0,
        tail_vector_count: 0,
        shard_count: 1,
        shards: vec![],
        fields: BTreeMap::new(),
        created_at: Timestamp(0),
        warnings: vec!["on_disk has no effect".to_owned()],
    };
    let red = info(&report);
    assert_eq!((&red["status"], &red["optimizer_status"]), (&json!("red"), &json!({"error": "a shard failed"})));
    assert_eq!(red["warnings"], json!([{"message": "on_disk has no effect"}]));
    report.status = CollectionStatus::Yellow;
    assert_eq!(info(&report)["status"], "yellow");
}

#[test]
fn protocol_18_validation_of_a_new_collection() {
    let of = |field: &str, message: &str| (422, format!("Validation error in JSON body: [{field}: {message}]"));
    let cases = [
        (r#"{"vectors": {"size": 0, "distance": "Dot"}}"#, "vectors.size", "value 0 invalid, must be from 1 to 65536"),
        (
            r#"{"vectors": {"size": 65537, "distance": "Dot"}}"#,
            "vectors.size",
            "value 65537 invalid, must be from 1 to 65536",
        ),
        (
            r#"{"vectors": {"a": {"size": 0, "distance": "Dot"}}}"#,
            "vectors.?.size",
            "value 0 invalid, must be from 1 to 65536",
        ),
        (r#"{"hnsw_config": {"ef_construct": 3}}"#, "hnsw_config.ef_construct", "value 3 invalid, must be 4 or larger"),
        (r#"{"hnsw_config": {"m": 513}}"#, "hnsw_config.m", "value 513 invalid, must be 512 or smaller"),
        (r#"{"shard_number": 0}"#, "shard_number", "value 0 invalid, must be from 1 to 256"),
        (r#"{"replication_factor": 0}"#, "replication_factor", "value 0 invalid, must be 1 or larger"),
        (r#"{"write_consistency_factor": 0}"#, "write_consistency_factor", "value 0 invalid, must be 1 or larger"),
        (
            r#"{"wal_config": {"wal_capacity_mb": 0}}"#,
            "wal_config.wal_capacity_mb",
            "value 0 invalid, must be 1 or larger",
        ),
        (
            r#"{"optimizers_config": {"deleted_threshold": 1.5}}"#,
            "optimizers_config.deleted_threshold",
            "value 1.5 invalid, must be from 0.0 to 1.0",
        ),
        (
            r#"{"optimizers_config": {"vacuum_min_vector_number": 99}}"#,
            "optimizers_config.vacuum_min_vector_number",
            "value 99 invalid, must be 100 or larger",
        ),
        (
            r#"{"vectors": {"size": 4, "distance": "Dot", "memory": "pinned"}}"#,
            "vectors.memory",
            "`pinned` is not supported for dense vectors",
        ),
        (
            r#"{"vectors": {"a:b": {"size": 4, "distance": "Dot"}}}"#,
            "vectors.?",
            "vector name cannot contain ':' character",
        ),
    ];
    for (json, field, message) in cases {
        assert_eq!(refusal(json), of(field, message), "{json}");
    }
    assert_eq!(
        refusal(r#"{"vectors": {"a": {"size": 0, "distance": "Dot"}, "b": {"size": 0, "distance": "Dot"}}, "shard_number": 0}"#).1,
        "Validation error in JSON body: [shard_number: value 0 invalid, must be from 1 to 256; vectors.?.size: value 0 \
         invalid, must be from 1 to 65536; vectors.?.size: value 0 invalid, must be from 1 to 65536]"
    );
    for json in [
        r#"{"shard_number": -1}"#,
        r#"{"replication_factor": -1}"#,
        r#"{"vectors": {"size": 4, "distance": "Sine"}}"#,
        r#"{"vectors": {"size": 4}}"#,
        r#"{"vectors": {"size": -4, "distance": "Dot"}}"#,
        r#"{"vectors": {"a": 3}}"#,
        r#"{"vectors": 3}"#,
        r#"{"hnsw_config": {"m": "many"}}"#,
        r#"{"optimizers_config": {"max_optimization_threads": "some"}}"#,
        r#"{"metadata": 3}"#,
    ] {
        let (status, text) = refusal(json);
        assert_eq!(status, 400, "{json}");
        assert!(text.starts_with("Format error in JSON body: "), "{json}: {text}");
    }
}

#[test]
fn settings_not_built_are_named() {
    let cases = [(r#"{"init_from": {"collection": "c"}}"#, "init_from")];
    for (json, what) in cases {
        assert_eq!(refusal(json), (501, format!("Not implemented: {what}")), "{json}");
    }
}

#[test]
fn protocol_18_vectors_of_all_kinds_are_echoed_as_they_were_given() {
    let vectors = json!({
        "m": {"size": 4, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}, "datatype": "float16"},
        "b": {"size": 2, "distance": "Euclid", "datatype": "uint8", "memory": "cold"},
    });
    let sparse = json!({
        "plain": {}, "idf": {"modifier": "idf", "index": {"on_disk": true, "datatype": "uint8", "memory": "pinned"}},
    });
    let config = create(&json!({"vectors": vectors, "sparse_vectors": sparse}).to_string()).unwrap();
    assert!(config.vectors.by_name["m"].is_multi && !config.vectors.by_name["b"].is_multi);
    let shown = shown(config)["config"]["params"].clone();
    assert_eq!((&shown["vectors"], &shown["sparse_vectors"]), (&vectors, &sparse));
    let only_sparse = create(r#"{"sparse_vectors": {"s": {}}}"#).unwrap();
    assert!(only_sparse.vectors.by_name.is_empty() && only_sparse.has_vector("s"));
}

#[test]
fn protocol_18_where_data_are_kept_is_echoed_and_changed() {
    let mut config = create(
        r#"{"vectors": {"v": {"size": 2, "distance": "Dot", "hnsw_config": {"memory": "pinned"}}},
            "sparse_vectors": {"s": {"index": {"on_disk": true, "memory": "cold"}}},
            "payload": {"memory": "cached"}, "id_tracker": {"memory": "pinned"}, "hnsw_config": {"memory": "cold"}}"#,
    )
    .unwrap();
    let of = |config: &CollectionConfig, path: &str| shown(config.clone())["config"].pointer(path).cloned();
    let pinned = Some(json!({"memory": "pinned"}));
    assert_eq!(of(&config, "/params/payload"), Some(json!({"memory": "cached"})));
    assert_eq!(of(&config, "/params/id_tracker"), pinned);
    assert_eq!(of(&config, "/params/vectors/v/hnsw_config"), pinned);
    assert_eq!(of(&config, "/hnsw_config/memory"), Some(json!("cold")));
    let diff = update(
        r#"{"params": {"payload": {"memory": "cold"}, "id_tracker": {}, "read_fan_out_delay_ms": 5},
            "hnsw_config": {"memory": "cached"},
            "sparse_vectors": {"s": {"modifier": "idf", "index": {"memory": "pinned", "full_scan_threshold": 3}}}}"#,
    )
    .unwrap();
    config.apply(&diff);
    assert_eq!(of(&config, "/params/payload"), Some(json!({"memory": "cold"})));
    assert_eq!(of(&config, "/params/id_tracker"), pinned, "as it was");
    assert_eq!(of(&config, "/params/read_fan_out_delay_ms"), Some(json!(5)));
    assert_eq!(of(&config, "/hnsw_config/memory"), Some(json!("cached")));
    let sparse = json!({"modifier": "idf", "index": {"on_disk": true, "memory": "pinned", "full_scan_threshold": 3}});
    assert_eq!(of(&config, "/params/sparse_vectors/s"), Some(sparse));
    let plain = shown(create(r#"{"vectors": {"size": 2, "distance": "Dot"}}"#).unwrap())["config"].clone();
    for absent in ["/params/payload", "/params/id_tracker", "/params/read_fan_out_delay_ms", "/hnsw_config/memory"] {
        assert_eq!(plain.pointer(absent), None, "only what was given");
    }
    let refused =
        (422, "Validation error in JSON body: [payload.memory: `pinned` is not supported for payload storage]");
    assert_eq!(refusal(r#"{"payload": {"memory": "pinned"}}"#), (refused.0, refused.1.to_owned()));
}

#[test]
fn protocol_18_a_vector_to_be_added() {
    let read = |name: &str, json: &str| {
        let body: CreateVector = serde_json::from_str(json).map_err(|error| error.to_string())?;
        let mut found = Findings::new();
        let vector = body.convert(&mut found, name);
        found.finish("JSON body", vector).map_err(|error| error.text)
    };
    let dense = VectorParams { is_multi: true, datatype: Some(Datatype::Float16), ..VectorParams::new(3, Metric::Dot) };
    let json = r#"{"dense": {"size": 3, "distance": "Dot", "datatype": "float16",
                             "multivector_config": {"comparator": "max_sim"}}}"#;
    assert_eq!(read("v", json), Ok(NewVector::Dense(dense)));
    let index = SparseIndexParams { datatype: Some(Datatype::Uint8), ..Default::default() };
    let sparse = SparseVectorParams { modifier: Some(Modifier::Idf), index: Some(index) };
    assert_eq!(read("s", r#"{"sparse": {"modifier": "idf", "datatype": "uint8"}}"#), Ok(NewVector::Sparse(sparse)));
    assert_eq!(read("s", r#"{"sparse": {}}"#), Ok(NewVector::Sparse(SparseVectorParams::default())));
    let cases = [
        ("v", r#"{"dense": {"size": 0, "distance": "Dot"}}"#, "dense.size: value 0 invalid, must be from 1 to 65536"),
        ("v", r#"{"dense": {"size": 65537, "distance": "Dot"}}"#, "dense.size: value 65537 invalid"),
        ("v", "{}", "expected either `dense` or `sparse`"),
        ("v", r#"{"dense": {"size": 1, "distance": "Dot"}, "sparse": {}}"#, "expected either `dense` or `sparse`"),
        ("", r#"{"sparse": {}}"#, "Sparse vector name cannot be empty"),
        ("a/b", r#"{"sparse": {}}"#, "vector_name: vector name cannot contain '/' character"),
        ("..", r#"{"sparse": {}}"#, "vector_name: value \"..\" invalid"),
        (&"x".repeat(201), r#"{"sparse": {}}"#, "must be at most 200 bytes long"),
    ];
    for (name, json, text) in cases {
        let refused = read(name, json).unwrap_err();
        assert!(refused.contains(text), "{json}: {refused}");
    }
}

#[test]
fn protocol_2_2_names_of_sparse_vectors() {
    let of = |json| refusal(json);
    let empty = (400, "Wrong input: Sparse vector name cannot be empty".to_owned());
    assert_eq!(of(r#"{"sparse_vectors": {"": {}}}"#), empty);
    let text = "Wrong input: Dense and sparse vector names must be unique - duplicate found with 'image'";
    let both = r#"{"vectors": {"image": {"size": 4, "distance": "Dot"}}, "sparse_vectors": {"image": {}}}"#;
    assert_eq!(of(both), (400, text.to_owned()));
}

#[test]
fn protocol_18_update() {
    let diff = update(
        r#"{"vectors": {"": {"hnsw_config": {"m": 32}, "on_disk": null}}, "hnsw_config": {"ef_construct": 200},
            "optimizer_config": {"indexing_threshold": 5}, "metadata": {"a": null},
            "params": {"replication_factor": 2, "read_fan_out_factor": 3, "on_disk_payload": false}}"#,
    )
    .unwrap();
    let hnsw = |m, ef_construct| HnswConfigDiff { m, ef_construct, ..HnswConfigDiff::default() };
    assert_eq!(
        diff,
        CollectionConfigDiff {
            vectors: [(String::new(), VectorParamsDiff { hnsw: hnsw(Some(32), None), ..Default::default() })].into(),
            hnsw: hnsw(None, Some(200)),
            optimizers: OptimizersConfigDiff { indexing_threshold: Some(5), ..OptimizersConfigDiff::default() },
            replication_factor: Some(2),
            write_consistency_factor: None,
            read_fan_out_factor: Some(3),
            on_disk_payload: Some(false),
            metadata: Some(Payload([("a".to_owned(), Value::Null)].into_iter().collect())),
            ..CollectionConfigDiff::default()
        }
    );
    assert_eq!(update("{}").unwrap(), CollectionConfigDiff::default());
    assert_eq!(
        update(r#"{"params": {"replication_factor": 0}, "vectors": {"a": {"hnsw_config": {"ef_construct": 1}}}}"#)
            .unwrap_err()
            .text,
        "Validation error in JSON body: [params.replication_factor: value 0 invalid, must be 1 or larger; \
         vectors.?.hnsw_config.ef_construct: value 1 invalid, must be 4 or larger]"
    );
    assert_eq!(update(r#"{"vectors": {"size": 4}}"#).unwrap_err().http_status(), 400, "only maps here");
}

#[test]
fn s21_strict_mode_is_echoed_with_what_is_set_and_merged_setting_by_setting() {
    let mut config = create(
        r#"{"strict_mode_config": {"enabled": true, "max_query_limit": 10, "search_max_oversampling": 1.5,
            "read_rate_limit": null, "multivector_config": {"m": {"max_vectors": 5}, "n": {}}}}"#,
    )
    .unwrap();
    let of = |config: &CollectionConfig| shown(config.clone())["config"]["strict_mode_config"].clone();
    let limits = json!({"m": {"max_vectors": 5}, "n": {}});
    assert_eq!(
        of(&config),
        json!({
            "enabled": true, "max_query_limit": 10, "search_max_oversampling": 1.5, "multivector_config": limits,
        })
    );
    let diff = update(
        r#"{"strict_mode_config": {"enabled": false, "max_query_limit": null, "write_rate_limit": 3,
            "multivector_config": {"n": {"max_vectors": 2}}, "sparse_config": {"s": {"max_length": 4}}}}"#,
    );
    config.apply(&diff.unwrap());
    assert_eq!(
        of(&config),
        json!({
            "enabled": false, "max_query_limit": 10, "search_max_oversampling": 1.5, "write_rate_limit": 3,
            "multivector_config": {"m": {"max_vectors": 5}, "n": {"max_vectors": 2}},
            "sparse_config": {"s": {"max_length": 4}},
        })
    );
    assert_eq!(config.strict_limits(), None);
    config.apply(&update("{}").unwrap());
    assert_eq!(of(&config)["write_rate_limit"], 3);
    assert_eq!(of(&create("{}").unwrap()), Value::Null, "not given, not shown");
    assert_eq!(
        refusal(r#"{"strict_mode_config": {"max_points_count": 0, "sparse_config": {"s": {"max_length": 0}}}}"#).1,
        "Validation error in JSON body: [strict_mode_config.max_points_count: value 0 invalid, must be 1 or larger; \
         strict_mode_config.sparse_config.?.max_length: value 0 invalid, must be 1 or larger]"
    );
}

#[test]
fn protocol_18_codes_are_echoed_as_they_were_given_changed_and_switched_off() {
    let given = [
        json!({"scalar": {"type": "int8", "quantile": 0.99, "always_ram": true}}),
        json!({"product": {"compression": "x16", "memory": "cold"}}),
        json!({"binary": {"encoding": "one_and_half_bits", "query_encoding": "scalar4bits"}}),
        json!({"binary": {}}),
        json!({"turbo": {"bits": "bits1_5", "always_ram": false}}),
    ];
    for codes in &given {
        let vector = json!({"size": 4, "distance": "Dot", "quantization_config": codes});
        let body = json!({"vectors": {"v": vector}, "quantization_config": codes});
        let mut config = create(&body.to_string()).unwrap();
        let seen = shown(config.clone());
        assert_eq!(&seen["config"]["quantization_config"], codes);
        assert_eq!(&seen["config"]["params"]["vectors"]["v"]["quantization_config"], codes);
        let other = &given[1];
        config.apply(&update(&json!({"quantization_config": other}).to_string()).unwrap());
        let seen = shown(config.clone());
        assert_eq!(&seen["config"]["quantization_config"], other);
        assert_eq!(&seen["config"]["params"]["vectors"]["v"]["quantization_config"], codes);
        let off = json!({"quantization_config": "Disabled", "vectors": {"v": {"quantization_config": "Disabled"}}});
        config.apply(&update(&off.to_string()).unwrap());
        let seen = shown(config);
        assert_eq!(seen["config"]["quantization_config"], Value::Null);
        assert_eq!(seen["config"]["params"]["vectors"]["v"].get("quantization_config"), None);
    }
    for (codes, status) in [
        (json!({"scalar": {"type": "int8", "quantile": 0.4}}), 422),
        (json!({"scalar": {"type": "int4"}}), 400),
        (json!({"product": {}}), 400),
        (json!({"turbo": {"bits": "bits3"}}), 400),
    ] {
        let body = json!({"vectors": {"size": 4, "distance": "Dot", "quantization_config": codes}});
        assert_eq!(refusal(&body.to_string()).0, status, "{codes}");
    }
}
