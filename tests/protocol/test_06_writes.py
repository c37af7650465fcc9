"""Section 6: changes of points, vectors and payloads."""

import pytest
from qdrant_client import grpc as pb

from wire import Part, bad_request, invalid, not_found, refused, wrong_input

RULES = {
    "6.1 upsert": "replaces the whole point, checks the whole request first, the last of equal ids wins, not of nothing",
    "6.1 conditional": "update_filter and update_mode decide silently which points are written",
    "6.2 delete": "by ids or filter; ids win; unknown ids are ignored",
    "6.2 update_vectors": "only the given vectors change; unknown ids are named after the rest was applied",
    "6.2 delete_vectors": "named vectors disappear; repeated deletion is fine; unknown names are refused",
    "6.2 set_payload": "a top-level merge; unknown ids are named after the rest was applied",
    "6.2 overwrite_payload": "replaces all, or what is at a path",
    "6.2 delete_payload": "removes keys; paths that lead nowhere are ignored",
    "6.2 clear_payload": "leaves {}",
    "6.2 selection": "no empty id lists, not neither; unknown ids are a 404, filters that match nothing are fine",
    "6.2 batch": "checked as a whole, applied in order, one result each",
    "6.2 shard_key": "every write accepts one",
    "6.3 set": "without a key: null removes, anything else replaces",
    "6.3 key": "with a key: the path is walked and created, arrays are not grown",
    "6.3 delete": "a.b, a[], a[].b; a final index does nothing",
    "6.4": "wait=true is visible afterwards; wait=false is acknowledged, and still checked",
}

EMPTY_UPDATE = bad_request("Empty update request")
MISSING = not_found("No point with id 77 found")
NO_VECTOR = wrong_input("Not existing vector name error: nope")


@pytest.fixture
def three(make, rest):
    """Points 1, 2 and 3 with two vectors and a payload."""
    name = make({"": {"size": 1, "distance": "Dot"}, "v": {"size": 1, "distance": "Dot"}})
    rest.put(name, *((at, {"": [float(at)], "v": [at + 0.5]}, {"n": at, "o": {"p": at}}) for at in (1, 2, 3)))
    return name


def is_number(at):
    return {"must": [{"key": "n", "match": {"value": at}}]}


NOTHING = {"must": [{"has_id": []}]}


def payloads(wire, name):
    return {one["id"]: one.get("payload", {}) for one in wire.scroll(name, {})["points"]}


def vectors(wire, name):
    return {one["id"]: one.get("vector", {}) for one in wire.scroll(name, {"with_vector": True})["points"]}


# 6.1 Upsert


def test_6_1_upsert_replaces_the_whole_point(wire, three):
    wire.upsert(three, {"points": [{"id": 1, "vector": {"v": [9.0]}, "payload": {"new": True}}, {"id": 2, "vector": {"": [8.0]}}]})
    assert wire.one(three, 1) == {"id": 1, "vector": {"v": [9.0]}, "payload": {"new": True}}
    assert wire.one(three, 2) == {"id": 2, "vector": [8.0]}
    assert wire.ids(three, {"has_vector": ""}) == [2, 3]


def test_6_1_upsert_without_payload_stores_an_empty_one(rest, three):
    rest.upsert(three, {"points": [{"id": 1, "vector": {}}, {"id": 2, "vector": {}, "payload": None}]})
    for at in (1, 2):
        assert rest.json("GET", f"/collections/{three}/points/{at}")["payload"] == {}


def test_6_1_upsert_of_one_bad_point_applies_nothing(wire, three):
    with wire.refuses(NO_VECTOR):
        wire.put(three, (1, {"": [9.0]}), (4, {"": [9.0]}), (5, {"nope": [9.0]}))
    assert wire.ids(three) == [1, 2, 3] and wire.vector(three, 1) == {"": [1.0], "v": [1.5]}


def test_6_1_upsert_of_equal_ids_keeps_the_last(wire, three):
    wire.put(three, (1, {"": [7.0]}, {"a": 1}), (4, {"": [4.0]}), (1, {"v": [8.0]}, {"b": 2}))
    assert wire.one(three, 1) == {"id": 1, "vector": {"v": [8.0]}, "payload": {"b": 2}}
    assert wire.ids(three) == [1, 2, 3, 4]


def test_6_1_upsert_of_nothing_is_refused(wire, three):
    with wire.refuses(EMPTY_UPDATE):
        wire.upsert(three, {"points": []})


def test_6_1_upsert_of_an_empty_batch_is_refused(rest, three):
    with rest.refuses(EMPTY_UPDATE):
        rest.upsert(three, {"batch": {"ids": [], "vectors": []}})


#: mode -> (points that get the new payload, points there are afterwards)
MODES = {None: ([1, 4], [1, 2, 3, 4]), "upsert": ([1, 4], [1, 2, 3, 4]), "insert_only": ([4], [1, 2, 3, 4]), "update_only": ([1], [1, 2, 3])}


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("in_batch", [False, True])
def test_6_1_conditional_modes(wire, three, mode, in_batch):
    body = {"points": [{"id": at, "vector": {"": [9.0]}, "payload": {"new": True}} for at in (1, 4)]}
    body |= {"update_mode": mode} if mode else {}
    result = wire.batch(three, [{"upsert": body}])[0] if in_batch else wire.upsert(three, body)
    assert result["status"] == "completed"  # skips are silent
    written, there = MODES[mode]
    assert wire.ids(three, {"key": "new", "match": {"value": True}}) == written
    assert wire.ids(three) == there
    assert wire.vector(three, 1) == ([9.0] if 1 in written else {"": [1.0], "v": [1.5]})


@pytest.mark.parametrize("in_batch", [False, True])
def test_6_1_conditional_filter_lets_points_through_that_match_and_new_ones(wire, three, in_batch):
    body = {"points": [{"id": at, "vector": {"": [9.0]}, "payload": {"new": True}} for at in (1, 2, 4)], "update_filter": is_number(2)}
    result = wire.batch(three, [{"upsert": body}])[0] if in_batch else wire.upsert(three, body)
    assert result["status"] == "completed"
    assert wire.ids(three, {"key": "new", "match": {"value": True}}) == [2, 4]
    assert wire.one(three, 1) == {"id": 1, "vector": {"": [1.0], "v": [1.5]}, "payload": {"n": 1, "o": {"p": 1}}}


def test_6_1_conditional_filter_and_mode_together(wire, three):
    points = [{"id": at, "vector": {"": [9.0]}, "payload": {"new": at}} for at in (1, 2, 4)]
    wire.upsert(three, {"points": points, "update_filter": is_number(2), "update_mode": "update_only"})
    assert wire.ids(three, {"key": "new", "range": {"gt": 0}}) == [2] and wire.ids(three) == [1, 2, 3]
    wire.upsert(three, {"points": points, "update_filter": is_number(1), "update_mode": "insert_only"})
    assert wire.ids(three, {"key": "new", "range": {"gt": 0}}) == [2, 4]


# 6.2 Other operations


def test_6_2_delete_by_ids_ignores_unknown_ones(wire, three):
    assert wire.delete(three, {"points": [1, 77]})["status"] == "completed"
    assert wire.delete(three, {"points": [77]})["status"] == "completed"
    assert wire.ids(three) == [2, 3]


def test_6_2_delete_by_filter(wire, three):
    wire.delete(three, {"filter": NOTHING})
    assert wire.ids(three) == [1, 2, 3]
    wire.delete(three, {"filter": is_number(2)})
    assert wire.ids(three) == [1, 3]


@pytest.mark.parametrize("filter", [{}, {"must": []}, {"must": [], "should": [], "must_not": []}])
def test_6_2_delete_by_an_empty_filter_deletes_all(wire, three, filter):
    wire.delete(three, {"filter": filter})
    assert wire.count(three) == 0


def test_6_2_delete_by_both_takes_the_ids(rest, three):
    """In gRPC's message they exclude each other."""
    rest.delete(three, {"points": [1], "filter": is_number(2)})
    assert rest.ids(three) == [2, 3]


def test_6_2_update_vectors_changes_only_what_is_given(wire, three):
    wire.update_vectors(three, {"points": [{"id": 1, "vector": {"v": [9.0]}}, {"id": 2, "vector": [8.0]}]})
    assert vectors(wire, three) == {1: {"": [1.0], "v": [9.0]}, 2: {"": [8.0], "v": [2.5]}, 3: {"": [3.0], "v": [3.5]}}
    assert wire.payload(three, 1) == {"n": 1, "o": {"p": 1}}


def test_6_2_update_vectors_needs_vectors_and_points(wire, three):
    body = {"points": [{"id": 1, "vector": {}}]}
    message = pb.UpdatePointVectors(collection_name=three, points=[pb.PointVectors(id=pb.PointId(num=1), vectors=pb.Vectors(vectors=pb.NamedVectors()))])
    place = f"/collections/{three}/points/vectors"
    with wire.refuses(invalid("[points[0].vector: must specify vectors to update for point]", Part("must specify vectors to update for point"))):
        wire.either(rest=("PUT", place, body), grpc=("UpdateVectors", message))
    with wire.refuses(invalid(Part("must specify points to update"))):
        wire.update_vectors(three, {"points": []})


def test_6_2_update_vectors_names_an_unknown_id_after_the_rest(wire, three):
    with wire.refuses(MISSING):
        wire.update_vectors(three, {"points": [{"id": 77, "vector": [9.0]}, {"id": 1, "vector": [9.0]}]})
    assert wire.vector(three, 1) == {"": [9.0], "v": [1.5]} and wire.ids(three) == [1, 2, 3]


def test_6_2_update_vectors_takes_a_filter(wire, three):
    body = {"points": [{"id": at, "vector": [9.0]} for at in (1, 2)], "update_filter": is_number(2)}
    wire.update_vectors(three, body)
    assert vectors(wire, three) == {1: {"": [1.0], "v": [1.5]}, 2: {"": [9.0], "v": [2.5]}, 3: {"": [3.0], "v": [3.5]}}
    wire.batch(three, [{"update_vectors": body | {"update_filter": is_number(1)}}])
    assert wire.vector(three, 1) == {"": [9.0], "v": [1.5]}


def test_6_2_update_vectors_merges_entries_of_one_point(wire, three):
    wire.update_vectors(three, {"points": [{"id": 1, "vector": {"": [7.0], "v": [7.5]}}, {"id": 1, "vector": {"v": [8.5]}}]})
    assert wire.vector(three, 1) == {"": [7.0], "v": [8.5]}


def test_6_2_delete_vectors_by_ids_and_by_filter(wire, three):
    wire.delete_vectors(three, {"points": [1], "vector": ["v"]})
    wire.delete_vectors(three, {"filter": is_number(2), "vector": ["", "v"]})
    assert vectors(wire, three) == {1: [1.0], 2: {}, 3: {"": [3.0], "v": [3.5]}}
    assert [one["id"] for one in wire.query(three, {"query": [1.0], "using": "v"})] == [3]
    assert [one["id"] for one in wire.query(three, {"query": [1.0]})] == [3, 1]
    assert wire.ids(three, {"has_vector": "v"}) == [3]
    assert wire.payload(three, 2) == {"n": 2, "o": {"p": 2}}


def test_6_2_delete_vectors_may_be_repeated(wire, three):
    for _ in range(2):
        assert wire.delete_vectors(three, {"points": [1], "vector": ["v"]})["status"] == "completed"
    assert wire.vector(three, 1) == [1.0]


def test_6_2_delete_vectors_of_an_unknown_name_is_refused(wire, three):
    with wire.refuses(NO_VECTOR):
        wire.delete_vectors(three, {"points": [1], "vector": ["v", "nope"]})
    assert wire.vector(three, 1) == {"": [1.0], "v": [1.5]}


def test_6_2_set_payload_merges_at_the_top(wire, three):
    wire.set_payload(three, {"payload": {"o": {"q": 1}, "x": 1}, "points": [1]})
    wire.set_payload(three, {"payload": {"x": 2}, "filter": is_number(2)})
    assert payloads(wire, three) == {1: {"n": 1, "o": {"q": 1}, "x": 1}, 2: {"n": 2, "o": {"p": 2}, "x": 2}, 3: {"n": 3, "o": {"p": 3}}}


def test_6_2_set_payload_names_an_unknown_id_after_the_rest(wire, three):
    with wire.refuses(MISSING):
        wire.set_payload(three, {"payload": {"x": 1}, "points": [77, 1]})
    assert wire.payload(three, 1) == {"n": 1, "o": {"p": 1}, "x": 1} and wire.ids(three) == [1, 2, 3]


def test_6_2_overwrite_payload_replaces_all(wire, three):
    wire.overwrite_payload(three, {"payload": {"x": 1}, "points": [1]})
    wire.overwrite_payload(three, {"payload": {"x": 2}, "filter": is_number(2)})
    assert payloads(wire, three) == {1: {"x": 1}, 2: {"x": 2}, 3: {"n": 3, "o": {"p": 3}}}


def test_6_2_overwrite_payload_with_a_key_replaces_what_is_there(wire, three):
    wire.overwrite_payload(three, {"payload": {"x": 1}, "points": [1], "key": "o"})
    wire.overwrite_payload(three, {"payload": {"x": 1}, "points": [2], "key": "o.p"})
    assert wire.payload(three, 1) == {"n": 1, "o": {"x": 1}}
    assert wire.payload(three, 2) == {"n": 2, "o": {"p": {"x": 1}}}


def test_6_2_delete_payload_ignores_paths_that_lead_nowhere(wire, three):
    wire.delete_payload(three, {"keys": ["n", "nope", "o.nope", "o.p.q", "n[]"], "points": [1]})
    wire.delete_payload(three, {"keys": ["o"], "filter": is_number(2)})
    assert payloads(wire, three) == {1: {"o": {"p": 1}}, 2: {"n": 2}, 3: {"n": 3, "o": {"p": 3}}}


def test_6_2_clear_payload_leaves_nothing(wire, three):
    wire.clear_payload(three, {"points": [1]})
    wire.clear_payload(three, {"filter": is_number(2)})
    assert payloads(wire, three) == {1: {}, 2: {}, 3: {"n": 3, "o": {"p": 3}}}
    assert wire.vector(three, 1) == {"": [1.0], "v": [1.5]}


#: Operations on selected points: (the write, its body without the selection, its name in a batch)
SELECTING = {
    "delete": ("delete", {}),
    "delete_vectors": ("delete_vectors", {"vector": ["v"]}),
    "set_payload": ("set_payload", {"payload": {"x": 1}}),
    "overwrite_payload": ("overwrite_payload", {"payload": {"x": 1}}),
    "delete_payload": ("delete_payload", {"keys": ["n"]}),
    "clear_payload": ("clear_payload", {}),
}


@pytest.mark.parametrize("operation", SELECTING)
def test_6_2_selection_of_no_ids_is_refused(wire, three, operation):
    write, body = SELECTING[operation]
    with wire.refuses(EMPTY_UPDATE):
        getattr(wire, write)(three, body | {"points": []})
    with wire.refuses(EMPTY_UPDATE):
        wire.batch(three, [{operation: body | {"points": []}}])


#: operation: (REST's method and path, gRPC's method, message without a selection, text)
NEITHER = {
    "delete": ("POST", "points/delete", "Delete", lambda name: pb.DeletePoints(collection_name=name), Part("")),
    "delete_vectors": ("POST", "points/vectors/delete", "DeleteVectors", lambda name: pb.DeletePointVectors(collection_name=name, vectors=pb.VectorsSelector(names=["v"])), Part("")),
    "set_payload": ("POST", "points/payload", "SetPayload", lambda name: pb.SetPayloadPoints(collection_name=name), Part("No filter or points provided")),
    "overwrite_payload": ("PUT", "points/payload", "OverwritePayload", lambda name: pb.SetPayloadPoints(collection_name=name), Part("No filter or points provided")),
    "delete_payload": ("POST", "points/payload/delete", "DeletePayload", lambda name: pb.DeletePayloadPoints(collection_name=name, keys=["n"]), Part("No filter or points provided")),
    "clear_payload": ("POST", "points/payload/clear", "ClearPayload", lambda name: pb.ClearPayloadPoints(collection_name=name), Part("")),
}


@pytest.mark.parametrize("operation", NEITHER)
def test_6_2_selection_of_neither_is_refused(wire, three, operation):
    method, path, rpc, message, text = NEITHER[operation]
    before = wire.scroll(three, {"with_vector": True})
    with wire.refuses(refused(text)):
        wire.either(rest=(method, f"/collections/{three}/{path}", SELECTING[operation][1]), grpc=(rpc, message(three)))
    assert wire.scroll(three, {"with_vector": True}) == before


@pytest.mark.parametrize("operation", [one for one in SELECTING if one != "delete"])
def test_6_2_selection_of_unknown_ids_is_not_found(wire, three, operation):
    write, body = SELECTING[operation]
    with wire.refuses(MISSING):
        getattr(wire, write)(three, body | {"points": [1, 77]})
    changed = wire.one(three, 1)
    assert changed != {"id": 1, "vector": {"": [1.0], "v": [1.5]}, "payload": {"n": 1, "o": {"p": 1}}}


@pytest.mark.parametrize("operation", SELECTING)
def test_6_2_selection_by_a_filter_that_matches_nothing_succeeds(wire, three, operation):
    write, body = SELECTING[operation]
    before = wire.scroll(three, {"with_vector": True})
    assert getattr(wire, write)(three, body | {"filter": NOTHING})["status"] == "completed"
    assert wire.batch(three, [{operation: body | {"filter": NOTHING}}])[0]["status"] == "completed"
    assert wire.scroll(three, {"with_vector": True}) == before


#: Each operation in a batch, and what is then left of points 1 and 2.
OPERATIONS = {
    "upsert": ({"points": [{"id": 1, "vector": {"": [9.0]}, "payload": {"x": 1}}]}, {"vector": [9.0], "payload": {"x": 1}}),
    "upsert as columns": ({"batch": {"ids": [1], "vectors": {"": [[9.0]]}, "payloads": [{"x": 1}]}}, {"vector": [9.0], "payload": {"x": 1}}),
    "delete": ({"points": [1]}, None),
    "delete by filter": ({"filter": is_number(1)}, None),
    "set_payload": ({"payload": {"x": 1}, "points": [1]}, {"payload": {"n": 1, "o": {"p": 1}, "x": 1}}),
    "set_payload by filter": ({"payload": {"x": 1}, "filter": is_number(1)}, {"payload": {"n": 1, "o": {"p": 1}, "x": 1}}),
    "set_payload at a key": ({"payload": {"x": 1}, "points": [1], "key": "o"}, {"payload": {"n": 1, "o": {"p": 1, "x": 1}}}),
    "overwrite_payload": ({"payload": {"x": 1}, "points": [1]}, {"payload": {"x": 1}}),
    "overwrite_payload by filter": ({"payload": {"x": 1}, "filter": is_number(1)}, {"payload": {"x": 1}}),
    "overwrite_payload at a key": ({"payload": {"x": 1}, "points": [1], "key": "o"}, {"payload": {"n": 1, "o": {"x": 1}}}),
    "delete_payload": ({"keys": ["n"], "points": [1]}, {"payload": {"o": {"p": 1}}}),
    "delete_payload by filter": ({"keys": ["o.p"], "filter": is_number(1)}, {"payload": {"n": 1, "o": {}}}),
    "clear_payload": ({"points": [1]}, {"payload": None}),
    "clear_payload by filter": ({"filter": is_number(1)}, {"payload": None}),
    "update_vectors": ({"points": [{"id": 1, "vector": {"v": [9.0]}}]}, {"vector": {"": [1.0], "v": [9.0]}}),
    "delete_vectors": ({"points": [1], "vector": ["v"]}, {"vector": [1.0]}),
    "delete_vectors by filter": ({"filter": is_number(1), "vector": ["", "v"]}, {"vector": None}),
}


@pytest.mark.parametrize("case", OPERATIONS)
def test_6_2_batch_of_every_operation(wire, three, case):
    body, changed = OPERATIONS[case]
    before = {one["id"]: one for one in wire.scroll(three, {"with_vector": True})["points"]}
    results = wire.batch(three, [{case.split(" ")[0]: body}])
    assert [one["status"] for one in results] == ["completed"] and "operation_id" in results[0]
    expected = dict(before)
    if changed is None:
        del expected[1]
    else:
        expected[1] = {key: one for key, one in (before[1] | changed).items() if one is not None}
    assert {one["id"]: one for one in wire.scroll(three, {"with_vector": True})["points"]} == expected


def test_6_2_batch_is_applied_in_order(wire, three):
    results = wire.batch(
        three,
        [
            {"upsert": {"points": [{"id": 4, "vector": {"": [4.0]}, "payload": {"a": 1}}]}},
            {"set_payload": {"payload": {"b": 1}, "points": [4]}},
            {"delete_payload": {"keys": ["a"], "filter": {"must": [{"key": "b", "match": {"value": 1}}]}}},
            {"update_vectors": {"points": [{"id": 4, "vector": {"v": [4.5]}}]}},
            {"delete_vectors": {"points": [4], "vector": [""]}},
            {"overwrite_payload": {"payload": {"c": 1}, "points": [1]}},
            {"clear_payload": {"filter": {"must": [{"key": "c", "match": {"value": 1}}]}}},
            {"delete": {"points": [2]}},
            {"upsert": {"points": [{"id": 2, "vector": {}, "payload": {"again": True}}]}},
        ],
    )
    assert [one["status"] for one in results] == ["completed"] * 9
    ids = [one["operation_id"] for one in results]
    assert ids == sorted(ids)
    assert wire.one(three, 4) == {"id": 4, "vector": {"v": [4.5]}, "payload": {"b": 1}}
    assert wire.one(three, 2) == {"id": 2, "payload": {"again": True}}
    assert wire.payload(three, 1) == {}


BAD_OPERATIONS = {
    "dimension": ({"upsert": {"points": [{"id": 5, "vector": {"": [1.0, 2.0]}}]}}, wrong_input("Vector dimension error: expected dim: 1, got 2")),
    "vector name": ({"update_vectors": {"points": [{"id": 1, "vector": {"nope": [1.0]}}]}}, NO_VECTOR),
    "deleted vector name": ({"delete_vectors": {"points": [1], "vector": ["nope"]}}, NO_VECTOR),
    "no ids": ({"delete": {"points": []}}, EMPTY_UPDATE),
    "no points": ({"upsert": {"points": []}}, EMPTY_UPDATE),
    "bad path": ({"delete_payload": {"keys": ["a..b"], "points": [1]}}, refused(Part(""))),
    "bad filter": ({"delete": {"filter": {"must": [{"slice": {"total": 2, "index": 2}}]}}}, invalid(Part(""))),
}


@pytest.mark.parametrize("case", BAD_OPERATIONS)
def test_6_2_batch_is_checked_as_a_whole(wire, three, case):
    bad, refusal = BAD_OPERATIONS[case]
    for wait in (True, False):
        with wire.refuses(refusal):
            wire.batch(three, [{"set_payload": {"payload": {"hurt": True}, "points": [1]}}, bad], wait=wait)
    assert payloads(wire, three) == {at: {"n": at, "o": {"p": at}} for at in (1, 2, 3)}


def test_6_2_batch_that_fails_while_applying_keeps_what_came_before(wire, three):
    with wire.refuses(MISSING):
        wire.batch(three, [{"set_payload": {"payload": {"x": 1}, "points": [1]}}, {"set_payload": {"payload": {"x": 1}, "points": [77, 2]}}])
    assert wire.payload(three, 1) == {"n": 1, "o": {"p": 1}, "x": 1}


@pytest.fixture
def sharded(rest, make):
    """Shard keys a and b, and a point in each with number 1."""
    name = make(1, sharding_method="custom")
    for key in ("a", "b"):
        rest.json("PUT", f"/collections/{name}/shards", {"shard_key": key})
    for at, key in ((1, "a"), (2, "b")):
        rest.upsert(name, {"points": [{"id": at, "vector": [float(at)], "payload": {"n": 1, "m": 1}}], "shard_key": key})
    return name


#: operation: (body, what it leaves of the point in shard a; that in b must not change)
SHARDED = {
    "delete": ({"filter": is_number(1)}, None),
    "set_payload": ({"payload": {"x": 1}, "filter": is_number(1)}, {"n": 1, "m": 1, "x": 1}),
    "overwrite_payload": ({"payload": {"x": 1}, "filter": is_number(1)}, {"x": 1}),
    "delete_payload": ({"keys": ["m"], "filter": is_number(1)}, {"n": 1}),
    "clear_payload": ({"filter": is_number(1)}, {}),
}


@pytest.mark.parametrize("in_batch", [False, True])
@pytest.mark.parametrize("operation", SHARDED)
def test_6_2_shard_key_limits_a_write_by_filter(wire, sharded, operation, in_batch):
    body, left = SHARDED[operation]
    body = body | {"shard_key": "a"}
    wire.batch(sharded, [{operation: body}]) if in_batch else getattr(wire, operation)(sharded, body)
    expected = {1: left, 2: {"n": 1, "m": 1}}
    assert payloads(wire, sharded) == {at: one for at, one in expected.items() if one is not None}


@pytest.mark.parametrize("in_batch", [False, True])
def test_6_2_shard_key_is_accepted_by_writes_of_vectors_and_points(wire, sharded, in_batch):
    def write(operation, body):
        body = body | {"shard_key": "b"}
        return wire.batch(sharded, [{operation: body}]) if in_batch else getattr(wire, operation)(sharded, body)

    write("upsert", {"points": [{"id": 3, "vector": [3.0], "payload": {}}]})
    write("update_vectors", {"points": [{"id": 2, "vector": [2.5]}]})
    assert vectors(wire, sharded) == {1: [1.0], 2: [2.5], 3: [3.0]}
    write("delete_vectors", {"filter": {}, "vector": [""]})
    assert vectors(wire, sharded) == {1: [1.0], 2: {}, 3: {}}


# 6.3 Payloads

SETS = [
    ({"a": 1, "b": 2}, {"a": 3, "c": 4}, {"a": 3, "b": 2, "c": 4}),
    ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
    ({"a": 1}, {"nope": None}, {"a": 1}),
    ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}, {"a": {"b": 3}}),
    ({"a": 1}, {"a": {"b": None, "c": [None]}}, {"a": {"b": None, "c": [None]}}),
    ({"a": 1}, {}, {"a": 1}),
    ({"a": 1}, {"a.b": 2}, {"a": 1, "a.b": 2}),
]


@pytest.mark.parametrize("at", range(len(SETS)))
@pytest.mark.parametrize("in_batch", [False, True])
def test_6_3_set_merges_only_the_top_level(wire, make, at, in_batch):
    before, change, after = SETS[at]
    name = make(1)
    wire.pay(name, {1: before})
    body = {"payload": change, "points": [1]}
    wire.batch(name, [{"set_payload": body}]) if in_batch else wire.set_payload(name, body)
    assert wire.payload(name, 1) == after


#: (before, key, payload, after)
KEYS = [
    ({}, "a.b", {"x": 1}, {"a": {"b": {"x": 1}}}),
    ({"a": {"b": 1, "c": 2}}, "a", {"b": None, "d": 3}, {"a": {"c": 2, "d": 3}}),
    ({"a": 7}, "a", {"x": 1, "y": None}, {"a": {"x": 1}}),
    ({"a": [7]}, "a", {"x": 1}, {"a": {"x": 1}}),
    ({"a": None}, "a", {"x": 1}, {"a": {"x": 1}}),
    ({"a": 5}, "a.b", {"x": 1}, {"a": {"b": {"x": 1}}}),
    ({"a": [5]}, "a.b", {"x": 1}, {"a": {"b": {"x": 1}}}),
    ({"a": {"k": 1}}, "a.b.c", {"x": 1}, {"a": {"k": 1, "b": {"c": {"x": 1}}}}),
    ({"a": [1, 2]}, "a[1]", {"x": 1}, {"a": [1, {"x": 1}]}),
    ({"a": [{"y": 1}, 2]}, "a[0]", {"x": 1, "y": None}, {"a": [{"x": 1}, 2]}),
    ({"a": [1, 2]}, "a[2]", {"x": 1}, {"a": [1, 2]}),
    ({"a": [1]}, "a[0].b", {"x": 1}, {"a": [{"b": {"x": 1}}]}),
    ({"a": 5}, "a[0]", {"x": 1}, {"a": []}),
    ({"a": {"b": 1}}, "a[0]", {"x": 1}, {"a": []}),
    ({"a": [{"b": 1}, {"c": 2}]}, "a[]", {"x": 1, "b": None}, {"a": [{"x": 1}, {"c": 2, "x": 1}]}),
    ({"a": [{"b": 1}, {"b": {"c": 2}}]}, "a[].b", {"x": 1}, {"a": [{"b": {"x": 1}}, {"b": {"c": 2, "x": 1}}]}),
    ({"a": []}, "a[]", {"x": 1}, {"a": []}),
    ({"a": 5}, "a[]", {"x": 1}, {"a": []}),
    ({"a": {"b": 1}}, "a[].c", {"x": 1}, {"a": []}),
    ({"k y": {}}, '"k y"', {"x": 1}, {"k y": {"x": 1}}),
]


@pytest.mark.parametrize("at", range(len(KEYS)))
@pytest.mark.parametrize("in_batch", [False, True])
def test_6_3_key_walks_and_creates_the_path(wire, make, at, in_batch):
    before, key, change, after = KEYS[at]
    name = make(1)
    wire.pay(name, {1: before})
    body = {"payload": change, "points": [1], "key": key}
    wire.batch(name, [{"set_payload": body}]) if in_batch else wire.set_payload(name, body)
    assert wire.payload(name, 1) == after, (before, key, change)


DELETIONS = [
    ({"a": {"b": 1, "c": 2}}, ["a.b"], {"a": {"c": 2}}),
    ({"a": {"b": 1}}, ["a.b"], {"a": {}}),
    ({"a": [1, 2]}, ["a[]"], {"a": []}),
    ({"a": [{"b": 1, "c": 2}, {"b": 3}, 4]}, ["a[].b"], {"a": [{"c": 2}, {}, 4]}),
    ({"a": [1, 2]}, ["a[0]"], {"a": [1, 2]}),
    ({"a": [{"b": 1}, {"b": 2}]}, ["a[1].b"], {"a": [{"b": 1}, {}]}),
    ({"a": [{"b": 1}]}, ["a.b", "a[5].b", "a.b.c"], {"a": [{"b": 1}]}),
    ({"a": 1, "b": 2, "c": 3}, ["a", "c"], {"b": 2}),
]


@pytest.mark.parametrize("at", range(len(DELETIONS)))
@pytest.mark.parametrize("in_batch", [False, True])
def test_6_3_delete_follows_the_path(wire, make, at, in_batch):
    before, keys, after = DELETIONS[at]
    name = make(1)
    wire.pay(name, {1: before})
    body = {"keys": keys, "points": [1]}
    wire.batch(name, [{"delete_payload": body}]) if in_batch else wire.delete_payload(name, body)
    assert wire.payload(name, 1) == after, (before, keys)


# 6.4 Waiting

#: Every write, and one that must be refused.
WAITED = {
    "upsert": ({"points": [{"id": 1, "vector": {"": [9.0]}}]}, {"points": [{"id": 1, "vector": {"nope": [9.0]}}]}, NO_VECTOR),
    "delete": ({"points": [1]}, {"points": []}, EMPTY_UPDATE),
    "update_vectors": ({"points": [{"id": 1, "vector": {"": [9.0]}}]}, {"points": [{"id": 1, "vector": {"nope": [9.0]}}]}, NO_VECTOR),
    "delete_vectors": ({"points": [1], "vector": [""]}, {"points": [1], "vector": ["nope"]}, NO_VECTOR),
    "set_payload": ({"payload": {"x": 1}, "points": [1]}, {"payload": {"x": 1}, "points": []}, EMPTY_UPDATE),
    "overwrite_payload": ({"payload": {"x": 1}, "points": [1]}, {"payload": {"x": 1}, "points": []}, EMPTY_UPDATE),
    "delete_payload": ({"keys": ["n"], "points": [1]}, {"keys": ["n"], "points": []}, EMPTY_UPDATE),
    "clear_payload": ({"points": [1]}, {"points": []}, EMPTY_UPDATE),
}


@pytest.mark.parametrize("operation", WAITED)
def test_6_4_wait_decides_the_status_and_nothing_else(wire, three, operation):
    good, bad, refusal = WAITED[operation]
    write = getattr(wire, operation)
    for wait in (True, False):
        with wire.refuses(refusal):
            write(three, bad, wait=wait)
    before = wire.retrieve(three, {"ids": [1], "with_payload": True, "with_vector": True})
    waited = write(three, good)
    assert waited["status"] == "completed" and waited["operation_id"] >= 0
    assert wire.retrieve(three, {"ids": [1], "with_payload": True, "with_vector": True}) != before
    if operation != "delete":
        acknowledged = write(three, good, wait=False)
        assert acknowledged["status"] == "acknowledged" and acknowledged["operation_id"] > waited["operation_id"]


def test_6_4_every_read_sees_a_waited_write(wire, three):
    wire.create_index(three, "n", "integer")
    for at in range(10, 30):
        wire.put(three, (at, {"": [float(at)]}, {"n": at}))
        assert wire.payload(three, at) == {"n": at}
        assert wire.query(three, {"query": [1.0], "limit": 1}) == [{"id": at, "score": float(at)}]
        assert wire.scroll(three, {"offset": at, "with_payload": False})["points"] == [{"id": at}]
        assert wire.ids(three, {"key": "n", "match": {"value": at}}) == [at]
        assert wire.count(three) == at - 10 + 1 + 3
        assert (at, 1) in wire.facet(three, {"key": "n", "limit": 100})
        assert wire.scroll(three, {"order_by": {"key": "n", "direction": "desc"}, "limit": 1})["points"][0]["id"] == at
