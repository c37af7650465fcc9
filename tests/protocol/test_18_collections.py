"""Section 18: collections. Vectors that come and go under load and over restarts have tests of their own."""

import time

import pytest
from qdrant_client import grpc as pb

from wire import Part, exists, format_error, invalid, not_found, refused, wrong_input

RULES = {
    "18.1": "create: every setting; nulls are unset; an existing name is a conflict",
    "18.2": "limits of sizes, names and settings",
    "18.3": "delete, info and exists of what is missing",
    "18.4": "PATCH: what it takes, merges and removes",
    "18.5": "info shows what was set per vector, everything of the collection, and exact counts",
    "18.6": "named vectors are added to and dropped from a live collection",
    "18.7": "aliases: in order, all or none, wherever a name stands",
    "18.8": "custom sharding on one node",
}

DOT = {"size": 2, "distance": "Dot"}


def parameters(wire, name):
    return wire.info(name)["config"]["params"]


# 18.1 Create

SETTINGS = {
    "one vector": {"vectors": DOT},
    "named vectors": {"vectors": {"a": DOT, "b": {"size": 3, "distance": "Cosine"}}},
    "sparse vectors": {"sparse_vectors": {"s": {}, "t": {"modifier": "idf", "index": {"on_disk": True, "full_scan_threshold": 7}}}},
    "vector settings": {"vectors": {"a": DOT | {"on_disk": True, "datatype": "float16", "hnsw_config": {"m": 8, "ef_construct": 50}}, "m": DOT | {"multivector_config": {"comparator": "max_sim"}}}},
    "factors": {"vectors": DOT, "shard_number": 3, "replication_factor": 1, "write_consistency_factor": 1},
    "payload on disk": {"vectors": DOT, "on_disk_payload": False},
}


@pytest.mark.parametrize("case", SETTINGS)
def test_18_1_parameters_are_kept(wire, name, case):
    body = SETTINGS[case]
    assert wire.create(name, body) is True
    shown = parameters(wire, name)
    assert {key: shown[key] for key in body} == body


def test_18_1_configurations_are_kept(wire, name):
    body = {
        "vectors": DOT,
        "hnsw_config": {"m": 24, "ef_construct": 120, "full_scan_threshold": 5000, "payload_m": 12},
        "optimizers_config": {"deleted_threshold": 0.5, "indexing_threshold": 50, "flush_interval_sec": 9},
        "wal_config": {"wal_capacity_mb": 64},
        "strict_mode_config": {"enabled": True, "max_query_limit": 77},
        "metadata": {"owner": "me", "list": [1, None, {"x": 1.5}]},
    }
    assert wire.create(name, body) is True
    config = wire.info(name)["config"]
    for section, asked in (("hnsw_config", body["hnsw_config"]), ("optimizer_config", body["optimizers_config"]), ("wal_config", body["wal_config"]), ("strict_mode_config", body["strict_mode_config"])):
        assert {key: config[section][key] for key in asked} == pytest.approx(asked)
    assert config["metadata"] == body["metadata"]


def test_18_1_quantization_is_kept(wire, name):
    asked = {"scalar": {"type": "int8", "quantile": 0.5, "always_ram": True}}
    wire.create(name, {"vectors": {"a": DOT | {"quantization_config": {"binary": {"always_ram": True}}}, "b": DOT}, "quantization_config": asked})
    config = wire.info(name)["config"]
    assert config["quantization_config"] == asked
    assert config["params"]["vectors"]["a"]["quantization_config"]["binary"]["always_ram"] is True


def test_18_1_nulls_are_unset(rest, name):
    nulls = {key: None for key in ("sparse_vectors", "hnsw_config", "optimizers_config", "wal_config", "quantization_config", "strict_mode_config", "shard_number", "sharding_method", "replication_factor", "write_consistency_factor", "on_disk_payload", "metadata", "payload")}
    other, settings = name + "-null", {"hnsw_config": {"m": None, "ef_construct": None}, "wal_config": {"wal_capacity_mb": None}, "optimizers_config": {"indexing_threshold": None}}
    vector = DOT | {key: None for key in ("hnsw_config", "quantization_config", "on_disk", "datatype", "multivector_config", "memory")}
    rest.create(name, {"vectors": DOT})
    rest.create(other, {"vectors": vector} | nulls)
    assert rest.info(other)["config"] == rest.info(name)["config"]
    rest.create(other + "2", {"vectors": DOT} | settings)
    assert rest.info(other + "2")["config"] == rest.info(name)["config"]


def test_18_1_an_existing_name_is_a_conflict(wire, name):
    wire.create(name, {"vectors": DOT})
    for body in ({"vectors": DOT}, {"vectors": {"size": 3, "distance": "Cosine"}}):
        with wire.refuses(exists(f"Collection `{name}` already exists!")):
            wire.create(name, body)
    assert parameters(wire, name)["vectors"] == DOT


# 18.2 Limits

FACTORS = ["shard_number", "replication_factor", "write_consistency_factor"]


@pytest.mark.parametrize("factor", FACTORS)
def test_18_2_factors_are_at_least_1(wire, name, factor):
    with wire.refuses(invalid(Part(factor))):
        wire.create(name, {"vectors": DOT, factor: 0})
    assert not wire.exists(name)


@pytest.mark.parametrize("factor", FACTORS)
def test_18_2_negative_factors_have_a_wrong_shape(rest, name, factor):
    """gRPC's numbers have no sign."""
    with rest.refuses(format_error()):
        rest.create(name, {"vectors": DOT, factor: -1})


@pytest.mark.parametrize("size", [0, 65537, 2**40])
def test_18_2_vectors_have_1_to_65536_components(wire, name, size):
    message = f"[vectors.size: value {size} invalid, must be from 1 to 65536]"
    with wire.refuses(invalid(message, Part(f"size: value {size} invalid, must be from 1 to 65536"))):
        wire.create(name, {"vectors": {"size": size, "distance": "Dot"}})
    with wire.refuses(invalid(Part(f"size: value {size} invalid, must be from 1 to 65536"))):
        wire.create(name, {"vectors": {"a": DOT, "b": {"size": size, "distance": "Dot"}}})
    assert not wire.exists(name)


def test_18_2_sizes_at_the_limits(wire, name):
    wire.create(name, {"vectors": {"small": {"size": 1, "distance": "Dot"}, "large": {"size": 65536, "distance": "Dot"}}})
    assert {key: one["size"] for key, one in parameters(wire, name)["vectors"].items()} == {"small": 1, "large": 65536}


def test_18_2_ef_construct_is_at_least_4(wire, name):
    with wire.refuses(invalid(Part("hnsw_config.ef_construct: value 3 invalid, must be 4 or larger"))):
        wire.create(name, {"vectors": DOT, "hnsw_config": {"ef_construct": 3}})
    with wire.refuses(invalid(Part("ef_construct: value 3 invalid, must be 4 or larger"))):
        wire.create(name, {"vectors": DOT | {"hnsw_config": {"ef_construct": 3}}})
    assert wire.create(name, {"vectors": DOT, "hnsw_config": {"ef_construct": 4}})


def test_18_2_vectors_and_payloads_are_not_pinned(wire, name):
    for body in ({"vectors": DOT | {"memory": "pinned"}}, {"vectors": {"a": DOT | {"memory": "pinned"}}}, {"vectors": DOT, "payload": {"memory": "pinned"}}):
        with wire.refuses(invalid(Part("pinned"))):
            wire.create(name, body)
    assert wire.create(name, {"vectors": DOT | {"memory": "cached"}, "payload": {"memory": "cold"}})


@pytest.mark.parametrize("bad", ["n" * 256, *(f"a{character}b" for character in '<>:"/\\|?*\x00\x1f')])
def test_18_2_names_of_collections(wire, bad):
    with wire.refuses(invalid(Part("Validation error"), Part(""))):
        wire.create(bad, {"vectors": DOT})


def test_18_2_long_and_odd_names_are_fine(wire, fresh_name):
    for good in ("n" * (255 - 8) + fresh_name().rjust(8, "_"), f"größe {fresh_name()} $%&'()+,;=@[]^`{{}}~.-_"):
        assert wire.create(good, {"vectors": DOT}) and wire.exists(good) and good in wire.collections()
        assert wire.drop(good) is True


# 18.3 What is missing


def test_18_3_a_missing_collection(wire, name):
    assert wire.exists(name) is False
    assert wire.drop(name) is False
    missing = not_found(f"Collection `{name}` doesn't exist!")
    for ask in (lambda: wire.info(name), lambda: wire.count(name), lambda: wire.patch(name, {"metadata": {"a": 1}}), lambda: wire.aliases(name), lambda: wire.create_index(name, "k", "keyword")):
        with wire.refuses(missing):
            ask()
    wire.create(name, {"vectors": DOT})
    assert wire.exists(name) is True and wire.drop(name) is True and wire.exists(name) is False
    assert name not in wire.collections()


# 18.4 PATCH


def test_18_4_settings_of_vectors(wire, make):
    name = make({"a": DOT, "b": DOT})
    assert wire.patch(name, {"vectors": {"a": {"hnsw_config": {"m": 8}, "on_disk": True}}}) is True
    assert parameters(wire, name)["vectors"] == {"a": DOT | {"hnsw_config": {"m": 8}, "on_disk": True}, "b": DOT}
    wire.patch(name, {"vectors": {"a": {"hnsw_config": {"ef_construct": 50}}}})
    assert parameters(wire, name)["vectors"]["a"]["hnsw_config"] == {"m": 8, "ef_construct": 50}


def test_18_4_the_unnamed_vector_goes_by_the_empty_name(wire, make):
    name = make(2)
    wire.patch(name, {"vectors": {"": {"hnsw_config": {"m": 8}}}})
    assert parameters(wire, name)["vectors"] == DOT | {"hnsw_config": {"m": 8}}


def test_18_4_unknown_vectors_are_refused(wire, make):
    name = make(2)
    with wire.refuses(wrong_input("Not existing vector name error: nope")):
        wire.patch(name, {"vectors": {"nope": {"on_disk": True}}, "metadata": {"hurt": True}})
    assert wire.info(name)["config"].get("metadata", {}) == {}


def test_18_4_codes_are_switched_off(wire, make):
    scalar = {"scalar": {"type": "int8"}}
    name = make({"a": DOT | {"quantization_config": scalar}}, quantization_config=scalar)
    wire.patch(name, {"quantization_config": "Disabled", "vectors": {"a": {"quantization_config": "Disabled"}}})
    config = wire.info(name)["config"]
    assert "quantization_config" not in config and "quantization_config" not in config["params"]["vectors"]["a"]
    wire.patch(name, {"quantization_config": {"binary": {"always_ram": True}}})
    assert wire.info(name)["config"]["quantization_config"]["binary"]["always_ram"] is True


def test_18_4_configurations_are_merged(wire, make):
    name = make(2, hnsw_config={"m": 24}, optimizers_config={"deleted_threshold": 0.5}, on_disk_payload=True)
    wire.patch(
        name,
        {
            "hnsw_config": {"ef_construct": 200},
            "optimizers_config": {"indexing_threshold": 77},
            "params": {"replication_factor": 1, "write_consistency_factor": 1, "read_fan_out_factor": 2, "on_disk_payload": False},
        },
    )
    config = wire.info(name)["config"]
    assert (config["hnsw_config"]["m"], config["hnsw_config"]["ef_construct"]) == (24, 200)
    assert (config["optimizer_config"]["deleted_threshold"], config["optimizer_config"]["indexing_threshold"]) == (0.5, 77)
    assert (config["params"]["read_fan_out_factor"], config["params"]["on_disk_payload"]) == (2, False)


def test_18_4_sparse_vectors(wire, make):
    name = make(2, sparse_vectors={"s": {"modifier": "idf"}})
    wire.patch(name, {"sparse_vectors": {"s": {"index": {"full_scan_threshold": 9}}}})
    assert parameters(wire, name)["sparse_vectors"]["s"] == {"modifier": "idf", "index": {"full_scan_threshold": 9}}
    with wire.refuses(wrong_input("Not existing vector name error: nope")):
        wire.patch(name, {"sparse_vectors": {"nope": {"index": {"full_scan_threshold": 9}}}})


def test_18_4_strict_mode_is_merged_by_field(wire, make):
    name = make(2, strict_mode_config={"enabled": True, "max_query_limit": 10})
    wire.patch(name, {"strict_mode_config": {"max_timeout": 5}})
    assert wire.info(name)["config"]["strict_mode_config"] == {"enabled": True, "max_query_limit": 10, "max_timeout": 5}
    wire.patch(name, {"strict_mode_config": {"max_query_limit": 20}})
    assert wire.info(name)["config"]["strict_mode_config"] == {"enabled": True, "max_query_limit": 20, "max_timeout": 5}


def test_18_4_metadata_is_merged_by_key(wire, make):
    name = make(2, metadata={"a": 1, "b": {"x": 1}})
    wire.patch(name, {"metadata": {"a": None, "b": {"y": 2}, "c": [3]}})
    assert wire.info(name)["config"]["metadata"] == {"b": {"y": 2}, "c": [3]}
    wire.patch(name, {"metadata": {"nope": None}})
    assert wire.info(name)["config"]["metadata"] == {"b": {"y": 2}, "c": [3]}


# 18.5 Info


def test_18_5_a_vector_shows_what_was_set(rest, make):
    assert rest.json("GET", f"/collections/{make(2)}")["config"]["params"]["vectors"] == DOT


def test_18_5_the_defaults_of_the_collection(wire, make):
    info = wire.info(make(2))
    config = info["config"]
    assert {key: config["hnsw_config"][key] for key in ("m", "ef_construct", "full_scan_threshold", "max_indexing_threads")} == {"m": 16, "ef_construct": 100, "full_scan_threshold": 10000, "max_indexing_threads": 0}
    optimizers = {"deleted_threshold": 0.2, "vacuum_min_vector_number": 1000, "default_segment_number": 0, "indexing_threshold": 10000, "flush_interval_sec": 5}
    assert {key: config["optimizer_config"][key] for key in optimizers} == optimizers
    assert (config["wal_config"]["wal_capacity_mb"], config["wal_config"]["wal_segments_ahead"]) == (32, 0)
    params = {"shard_number": 1, "replication_factor": 1, "write_consistency_factor": 1, "on_disk_payload": True}
    assert {key: config["params"][key] for key in params} == params
    assert (info["status"], info["optimizer_status"], info["points_count"]) == ("green", "ok", 0)
    assert not info.get("warnings")


@pytest.mark.parametrize("shards", [1, 3])
def test_18_5_counts_of_points_are_exact(wire, make, shards):
    name = make(2, shard_number=shards)
    for at in range(0, 60, 10):
        wire.put(name, *((one, [1.0, 1.0]) for one in range(at, at + 10)))
        assert wire.info(name)["points_count"] == at + 10
    wire.delete(name, {"points": [1, 2, 3, 999]})
    info = wire.info(name)
    assert info["points_count"] == 57 and info["update_queue"]["length"] >= 0


def test_18_5_above_the_threshold_vectors_are_indexed(wire, make):
    """The threshold is in kilobytes: 1 holds 128 vectors of 8 bytes."""
    indexed = make(2, optimizers_config={"indexing_threshold": 1})
    never = make({"size": 2, "distance": "Dot", "hnsw_config": {"m": 0}}, optimizers_config={"indexing_threshold": 1})
    for name in (indexed, never):
        wire.put(name, *((at, [1.0, float(at)]) for at in range(500)))
    deadline = time.monotonic() + 10
    while wire.info(indexed)["indexed_vectors_count"] == 0 or wire.info(indexed)["status"] != "green":
        assert time.monotonic() < deadline, wire.info(indexed)
        time.sleep(0.01)
    info = wire.info(never)
    assert info["status"] == "green" and info.get("indexed_vectors_count", 0) == 0


# 18.6 Names of vectors


def test_18_6_a_vector_is_added_and_dropped(wire, make):
    name = make({"a": DOT})
    wire.put(name, (1, {"a": [1.0, 0.0]}, {"n": 1}))
    for _ in range(2):  # the same once more is fine
        assert wire.create_vector(name, "b", {"dense": {"size": 3, "distance": "Euclid"}})["status"] == "completed"
        wire.create_vector(name, "s", {"sparse": {"modifier": "idf"}})
    shown = parameters(wire, name)
    assert shown["vectors"] == {"a": DOT, "b": {"size": 3, "distance": "Euclid"}} and shown["sparse_vectors"] == {"s": {"modifier": "idf"}}
    assert wire.ids(name, {"has_vector": "b"}) == [] and wire.vector(name, 1) == {"a": [1.0, 0.0]}
    wire.update_vectors(name, {"points": [{"id": 1, "vector": {"b": [1.0, 2.0, 3.0], "s": {"indices": [7], "values": [1.0]}}}]})
    assert wire.query(name, {"query": [1.0, 2.0, 0.0], "using": "b"}) == [{"id": 1, "score": 3.0}]
    for vector in ("b", "s"):
        assert wire.drop_vector(name, vector)["status"] == "completed"
    assert wire.one(name, 1) == {"id": 1, "vector": {"a": [1.0, 0.0]}, "payload": {"n": 1}}
    assert parameters(wire, name)["vectors"] == {"a": DOT}
    with wire.refuses(wrong_input("Not existing vector name error: b")):
        wire.query(name, {"query": [1.0, 2.0, 0.0], "using": "b"})
    # Another one of the name has other data.
    wire.create_vector(name, "b", {"dense": {"size": 1, "distance": "Dot"}})
    assert wire.query(name, {"query": [1.0], "using": "b"}) == []
    wire.update_vectors(name, {"points": [{"id": 1, "vector": {"b": [5.0]}}]})
    assert wire.vector(name, 1) == {"a": [1.0, 0.0], "b": [5.0]}


def test_18_6_a_vector_that_differs_is_refused(wire, make):
    name = make({"v": DOT}, sparse_vectors={"s": {"modifier": "idf"}})
    for vector, body, text in (
        ("v", {"dense": {"size": 3, "distance": "Dot"}}, "Vector `v` already exists with a different configuration"),
        ("v", {"dense": {"size": 2, "distance": "Cosine"}}, "Vector `v` already exists with a different configuration"),
        ("v", {"sparse": {}}, "Vector `v` already exists as a dense vector"),
        ("s", {"sparse": {}}, "Sparse vector `s` already exists with a different configuration"),
        ("s", {"dense": DOT}, "Vector `s` already exists as a sparse vector"),
    ):
        with wire.refuses(wrong_input(text)):
            wire.create_vector(name, vector, body)


def test_18_6_dropping_an_unknown_vector_is_fine(wire, make):
    assert wire.drop_vector(make(2), "nope")["status"] == "completed"


# 18.7 Aliases


def alias(name, target):
    return {"create_alias": {"collection_name": target, "alias_name": name}}


def test_18_7_an_alias_stands_for_its_collection(wire, make, fresh_name):
    target, other = make(2), fresh_name()
    assert wire.change_aliases([alias(other, target)]) is True
    assert wire.aliases()[other] == target and wire.aliases(target) == {other: target}
    wire.put(other, (1, [1.0, 2.0], {"a": 1}))
    assert wire.ids(target) == wire.ids(other) == [1]
    assert wire.info(other)["points_count"] == wire.count(other) == 1
    assert wire.exists(other) is True
    wire.create_index(other, "a", "integer")
    wire.set_payload(other, {"payload": {"a": 2}, "points": [1]})
    assert wire.facet(other, {"key": "a"}) == [(2, 1)]
    assert wire.query(other, {"query": [1.0, 1.0]}) == [{"id": 1, "score": 3.0}]
    assert wire.query(other, {"query": 1, "lookup_from": {"collection": other}}) == []
    wire.patch(other, {"metadata": {"by": "alias"}})
    assert wire.info(target)["config"]["metadata"] == {"by": "alias"}
    assert other not in wire.collections()


def test_18_7_an_alias_is_moved_renamed_and_deleted(wire, make, fresh_name):
    first, second, old, new = make(2), make(2), fresh_name(), fresh_name()
    wire.change_aliases([alias(old, first)])
    wire.change_aliases([alias(old, second)])
    assert wire.aliases(first) == {} and wire.aliases(second) == {old: second}
    wire.change_aliases([{"rename_alias": {"old_alias_name": old, "new_alias_name": new}}])
    assert wire.aliases(second) == {new: second}
    wire.change_aliases([{"delete_alias": {"alias_name": new}}])
    assert wire.aliases(second) == {}
    with wire.refuses(not_found(f"Collection `{new}` doesn't exist!")):
        wire.count(new)


def test_18_7_actions_are_applied_in_order_and_all_or_none(wire, make, fresh_name):
    first, second, one, two = make(2), make(2), fresh_name(), fresh_name()
    wire.change_aliases([alias(one, first), {"rename_alias": {"old_alias_name": one, "new_alias_name": two}}, alias(one, second)])
    assert wire.aliases(first) == {two: first} and wire.aliases(second) == {one: second}
    for bad in (alias(fresh_name(), "nowhere"), {"rename_alias": {"old_alias_name": "nowhere", "new_alias_name": "x"}}):
        with wire.refuses(not_found(Part(""))):
            wire.change_aliases([alias(one, first), bad])
        assert wire.aliases(second) == {one: second}


def test_18_7_a_target_must_exist_and_a_collection_keeps_its_name(wire, make, fresh_name):
    first, second, other = make(2), make(2), fresh_name()
    with wire.refuses(not_found("Collection `nowhere` doesn't exist!")):
        wire.change_aliases([alias(other, "nowhere")])
    with wire.refuses(refused(Part(second))):
        wire.change_aliases([alias(second, first)])
    wire.change_aliases([alias(other, first)])
    with wire.refuses(refused(Part(other))):
        wire.create(other, {"vectors": DOT})
    wire.drop(first)
    assert other not in wire.aliases() and wire.create(other, {"vectors": DOT}) is True


# 18.8 Custom sharding


def test_18_8_shard_keys_come_and_go(wire, name):
    wire.create(name, {"vectors": DOT, "sharding_method": "custom"})
    assert parameters(wire, name)["sharding_method"] == "custom"
    place = f"/collections/{name}/shards"

    def add(key):
        in_grpc = pb.ShardKey(number=key) if isinstance(key, int) else pb.ShardKey(keyword=key)
        message = pb.CreateShardKeyRequest(collection_name=name, request=pb.CreateShardKey(shard_key=in_grpc))
        return wire.either(rest=("PUT", place, {"shard_key": key}), grpc=("Collections/CreateShardKey", message))

    def keys():
        answer = wire.either(rest=("GET", place), grpc=("Collections/ListShardKeys", pb.ListShardKeysRequest(collection_name=name)))
        if wire.transport == "rest":
            return [one["key"] for one in answer["shard_keys"]]
        return [getattr(one.key, one.key.WhichOneof("key")) for one in answer.shard_keys]

    assert keys() == []
    add("a")
    add(7)
    assert sorted(keys(), key=str) == [7, "a"]
    wire.upsert(name, {"points": [{"id": 1, "vector": [1.0, 1.0]}], "shard_key": "a"})
    wire.upsert(name, {"points": [{"id": 2, "vector": [1.0, 1.0]}], "shard_key": 7})
    assert [one["id"] for one in wire.scroll(name, {"shard_key": "a"})["points"]] == [1]
    assert [one["id"] for one in wire.scroll(name, {"shard_key": [7]})["points"]] == [2]
    assert [one["id"] for one in wire.scroll(name, {})["points"]] == [1, 2]
    assert wire.count(name, {"shard_key": 7}) == 1 and wire.count(name, {"shard_key": ["a", 7]}) == 2
    message = pb.DeleteShardKeyRequest(collection_name=name, request=pb.DeleteShardKey(shard_key=pb.ShardKey(keyword="a")))
    wire.either(rest=("POST", place + "/delete", {"shard_key": "a"}), grpc=("Collections/DeleteShardKey", message))
    assert keys() == [7] and wire.ids(name) == [2]


def test_18_8_points_need_a_key_and_a_plain_collection_has_none(wire, make, name):
    wire.create(name, {"vectors": DOT, "sharding_method": "custom"})
    with wire.refuses(refused(Part(""))):
        wire.put(name, (1, [1.0, 1.0]))
    with wire.refuses(refused(Part(""))):
        wire.upsert(make(2), {"points": [{"id": 1, "vector": [1.0, 1.0]}], "shard_key": "a"})
