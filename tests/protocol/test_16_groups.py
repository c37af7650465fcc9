"""PROTOCOL 16: groups."""

import pytest
from qdrant_client import grpc as pb

from figures import ids, pairs
from rules import rest_only
from wire import Part, not_found, refused, wrong_input

RULES = {
    "16.1": "keys are strings and integers; another type drops the point, an array puts it into each group once",
    "16.2": "groups by their best hit, hits sorted, at most group_size and limit; fewer hits are fine; a point may be in several",
    "16.3": "exact: every group and hit there is, however far down",
    "16.4": "the selectors apply to hits; ids are strings or integers",
    "16.5": "with_lookup",
    "16.6 kinds": "all kinds of queries that have an order",
    "16.6 prefetch": "with prefetches",
    "16.6 order": "no query: ascending ids; order_by: its direction; sample and MMR: any order",
    "16.6 old": "the old endpoints want limit and group_size",
    "16.7": rest_only("the shape of the result"),
}

HALF = 2**63
KEYS = {
    1: "a",
    2: "b",
    3: 7,
    4: -7,
    5: 2**64 - 1,
    6: ["a", "b", "a", 7],
    7: 1.5,
    8: True,
    9: None,
    10: {"x": 1},
    11: ["a", 1.5],
    12: [],
    13: [["a"]],
    14: "",
    15: "7",
    17: ["a", None],
}


@pytest.fixture(scope="module")
def keyed(rest, make):
    """Point i is (i,) under Dot and has `k`: KEYS[i]. 16 has no `k`."""
    name = make(1, shard_number=2)
    for id in range(1, 18):
        rest.put(name, (id, [id], {"k": KEYS[id], "deep": {"list": [{"k": KEYS[id]}]}} if id in KEYS else {}))
    return name


def grouped(wire, name, **body):
    """Group ids with the ids of their hits."""
    groups = wire.query_groups(name, body)
    assert all(group["hits"] for group in groups)
    return [(group["id"], ids(group["hits"])) for group in groups]


def test_16_1_keys_are_strings_and_integers(wire, keyed):
    want = [("7", [15]), ("", [14]), ("a", [6, 1]), ("b", [6, 2]), (7, [6, 3]), (2**64 - 1, [5]), (-7, [4])]
    for path in ("k", "deep.list[].k"):
        got = grouped(wire, keyed, query=[1], group_by=path, group_size=5)
        # The three groups whose best hit is 6 are equal.
        assert sorted(got[2:5], key=str) == sorted(want[2:5], key=str)
        assert got[:2] + got[5:] == want[:2] + want[5:]
    assert {type(id) for id, _ in got} == {int, str}


def test_16_1_another_type_drops_the_point_from_all_groups(wire, keyed):
    hits = [id for _, hits in grouped(wire, keyed, query=[1], group_by="k", group_size=50, limit=50) for id in hits]
    assert set(hits) == {1, 2, 3, 4, 5, 6, 14, 15}
    # In an array with null, too; an array in an array is of another type.
    assert not {11, 13, 17} & set(hits)


def test_16_1_an_array_puts_the_point_into_each_group_once(wire, keyed):
    got = dict(grouped(wire, keyed, query=[1], group_by="k", group_size=50))
    assert got["a"] == [6, 1] and got["b"] == [6, 2] and got[7] == [6, 3]
    # Of the elements themselves: what is no array has none, and 13's element is one, which is unwrapped.
    assert dict(grouped(wire, keyed, query=[1], group_by="k[]", group_size=50)) == {"a": [13, 6], "b": [6], 7: [6]}


def test_16_1_the_path_must_be_one(wire, keyed):
    for path in ("a..b", "", "k["):
        with wire.refuses(refused(Part("Invalid JSON path"))):
            wire.query_groups(keyed, {"query": [1], "group_by": path})


@pytest.fixture(scope="module")
def chunks(rest, make):
    """Point 10 d + c is chunk c (0 to 4) of document d (0 to 5): (10 d + c, 0) under `d` and `e`. Text and time ascend with it."""
    name = make({"d": {"size": 2, "distance": "Dot"}, "e": {"size": 2, "distance": "Euclid"}}, sparse_vectors={"s": {}}, shard_number=2)
    rest.create_index(name, "at", "integer")
    for d in range(6):
        for at in range(10 * d, 10 * d + 5):
            vector = {"d": [at, 1], "e": [at, 1], "s": {"indices": [1], "values": [at]}}
            rest.put(name, (at, vector, {"doc": d, "chunk": at % 10, "at": at}))
    return name


def test_16_2_groups_stand_by_their_best_hit_with_sorted_hits(wire, chunks):
    got = wire.query_groups(chunks, {"query": [1, 0], "using": "d", "group_by": "doc", "limit": 2, "group_size": 3})
    assert [(group["id"], pairs(group["hits"])) for group in got] == [(5, [(54, 54), (53, 53), (52, 52)]), (4, [(44, 44), (43, 43), (42, 42)])]
    near = grouped(wire, chunks, query=[21, 1], using="e", group_by="doc", limit=3, group_size=2)
    # At 0 and 1; then 14 at 7 and 30 at 9.
    assert near == [(2, [21, 20]), (1, [14, 13]), (3, [30, 31])]


def test_16_2_groups_may_have_fewer_hits(wire, chunks):
    few = {"must": [{"has_id": [50, 40, 41, 42, 30]}]}
    got = grouped(wire, chunks, query=[1, 0], using="d", group_by="doc", group_size=2, filter=few)
    assert got == [(5, [50]), (4, [42, 41]), (3, [30])]
    assert grouped(wire, chunks, query=[1, 0], using="d", group_by="doc", filter={"must": [{"has_id": []}]}) == []


def test_16_2_groups_are_cut_by_the_threshold(wire, chunks):
    got = grouped(wire, chunks, query=[1, 0], using="d", group_by="doc", group_size=2, score_threshold=43)
    assert got == [(5, [54, 53]), (4, [44])]
    got = grouped(wire, chunks, query=[0, 1], using="e", group_by="doc", group_size=2, score_threshold=10.5)
    assert got == [(0, [0, 1]), (1, [10])]


def test_16_3_groups_are_found_behind_hundreds_of_hits_of_another(wire, make):
    name = make(1)
    wire.upsert(name, {"points": [{"id": i, "vector": [1000 - i], "payload": {"k": "crowd"}} for i in range(400)]})
    wire.put(name, (1001, [2], {"k": "far"}), (1002, [1], {"k": ["far", "crowd"]}), (1003, [0.5], {"k": "farther"}))
    for body in ({"query": [1]}, {"prefetch": {"query": [1], "limit": 1000}, "query": [1]}):
        got = grouped(wire, name, group_by="k", limit=3, group_size=2, **body)
        assert got == [("crowd", [0, 1]), ("far", [1001, 1002]), ("farther", [1003])]


def test_16_4_the_selectors_apply_to_hits_only(wire, chunks):
    body = {"query": [1, 0], "using": "d", "group_by": "doc", "limit": 1, "group_size": 1}
    (group,) = wire.query_groups(chunks, body)
    assert group == {"id": 5, "hits": [{"id": 54, "score": 54}]}
    (group,) = wire.query_groups(chunks, body | {"with_payload": ["chunk"], "with_vector": ["e"]})
    assert group == {"id": 5, "hits": [{"id": 54, "score": 54, "payload": {"chunk": 4}, "vector": {"e": [54, 1]}}]}


DOCUMENT = "00000000-0000-0000-0000-0000000000aa"


@pytest.fixture(scope="module")
def documents(rest, make):
    """0 and 2 and `DOCUMENT`."""
    name = make({"v": {"size": 1, "distance": "Dot"}})
    rest.put(name, *[(id, {"v": [9]}, {"title": f"about {id}", "year": 1}) for id in (0, 2, DOCUMENT)])
    return name


def test_16_5_lookup_is_the_record_of_the_groups_id(wire, chunks, documents):
    body = {"query": [-1, 0], "using": "d", "group_by": "doc", "limit": 3, "group_size": 1}
    for lookup in (documents, {"collection": documents}):
        groups = wire.query_groups(chunks, body | {"with_lookup": lookup})
        # Payload yes, vectors no; document 1 is not there.
        assert [(group["id"], group.get("lookup")) for group in groups] == [
            (0, {"id": 0, "payload": {"title": "about 0", "year": 1}}),
            (1, None),
            (2, {"id": 2, "payload": {"title": "about 2", "year": 1}}),
        ]


def test_16_5_lookup_takes_selectors(wire, chunks, documents):
    body = {"query": [-1, 0], "using": "d", "group_by": "doc", "limit": 1, "group_size": 1}
    lookup = lambda **more: wire.query_groups(chunks, body | {"with_lookup": {"collection": documents} | more})[0]["lookup"]
    assert lookup(with_payload=False, with_vectors=True) == {"id": 0, "vector": {"v": [9]}}
    assert lookup(with_payload=["year"]) == {"id": 0, "payload": {"year": 1}}


def test_16_5_lookup_by_uuid_texts(wire, make, documents):
    name = make(1)
    wire.put(name, (1, [3], {"k": DOCUMENT}), (2, [2], {"k": "no id"}), (3, [1], {"k": -2}))
    groups = wire.query_groups(name, {"query": [1], "group_by": "k", "with_lookup": documents})
    found = [(group["id"], group.get("lookup", {}).get("id")) for group in groups]
    assert found == [(DOCUMENT, DOCUMENT), ("no id", None), (-2, None)]


def test_16_5_lookup_in_an_unknown_collection(wire, chunks):
    with wire.refuses(not_found(Part("nowhere"))):
        wire.query_groups(chunks, {"query": [1, 0], "using": "d", "group_by": "doc", "with_lookup": "nowhere"})


def test_16_6_kinds_of_queries_with_an_order(wire, chunks):
    pair = {"positive": [1, 0], "negative": [0, 1]}
    naive = {"naive": {"a": 1, "b": 1, "c": 1}}
    for query in (
        {"nearest": [1, 0]},
        {"recommend": {"positive": [[1, 0]]}},
        {"recommend": {"positive": [[1, 0]], "negative": [[0, 1]], "strategy": "sum_scores"}},
        {"discover": {"target": [0.01, 0], "context": [{"positive": [1, 0], "negative": [0, 30.5]}]}},
        {"relevance_feedback": {"target": [1, 0], "feedback": [{"example": [1, 0], "score": 1}], "strategy": naive}},
    ):
        assert grouped(wire, chunks, query=query, using="d", group_by="doc", limit=2, group_size=2) == [(5, [54, 53]), (4, [44, 43])]
    context = grouped(wire, chunks, query={"context": pair}, using="d", group_by="doc", group_size=5)
    # Only 0 is on the wrong side.
    assert {id for id, _ in context} == set(range(6)) and dict(context)[0][-1] == 0
    sparse = grouped(wire, chunks, query={"indices": [1], "values": [1]}, using="s", group_by="doc", limit=1, group_size=2)
    assert sparse == [(5, [54, 53])]
    by_id = grouped(wire, chunks, query=54, using="d", group_by="doc", limit=1, group_size=2)
    assert by_id == [(5, [53, 52])]


def test_16_6_prefetch_fusion_formula_and_rescoring(wire, chunks):
    prefetch = [{"query": [1, 0], "using": "d", "limit": 30}, {"query": [0, 1], "using": "e", "limit": 30}]
    ask = lambda query, **more: grouped(wire, chunks, prefetch=prefetch, query=query, group_by="doc", limit=2, group_size=2, **more)
    assert ask({"rrf": {"weights": [1, 0]}}) == [(5, [54, 53]), (4, [44, 43])]
    assert ask({"rrf": {"weights": [0, 1]}}) == [(0, [0, 1]), (1, [10, 11])]
    assert ask({"formula": "$score[0]"}) == [(5, [54, 53]), (4, [44, 43])]
    assert ask({"formula": {"neg": "$score[0]"}}) == [(0, [0, 1]), (1, [10, 11])]
    assert ask([1, 0], using="d") == [(5, [54, 53]), (4, [44, 43])]


def test_16_6_prefetch_limits_leave_room_for_every_group(wire, chunks):
    # Two candidates would make one group; the limit is of groups times their size.
    got = grouped(wire, chunks, prefetch={"query": [1, 0], "using": "d", "limit": 2}, query=[1, 0], using="d", group_by="doc", limit=1, group_size=4)
    assert got == [(5, [54, 53, 52, 51])]


def test_16_6_order_without_a_query_is_ascending(wire, chunks):
    assert grouped(wire, chunks, group_by="doc", limit=2, group_size=2) == [(0, [0, 1]), (1, [10, 11])]


def test_16_6_order_by_a_field_goes_its_direction(wire, chunks):
    ask = lambda order: grouped(wire, chunks, query={"order_by": order}, group_by="doc", limit=2, group_size=2)
    assert ask("at") == [(0, [0, 1]), (1, [10, 11])]
    assert ask({"key": "at", "direction": "desc"}) == [(5, [54, 53]), (4, [44, 43])]
    assert ask({"key": "at", "start_from": 32}) == [(3, [32, 33]), (4, [40, 41])]


def test_16_6_order_of_samples_and_diversified_hits_is_any(wire, chunks):
    for query, using in [({"sample": "random"}, None), ({"nearest": [1, 0], "mmr": {"diversity": 0.5, "candidates_limit": 100}}, "d")]:
        body = {"query": query, "group_by": "doc", "limit": 6, "group_size": 5} | ({"using": using} if using else {})
        groups = wire.query_groups(chunks, body)
        members = {group["id"]: ids(group["hits"]) for group in groups}
        assert len(groups) == len(members) and members
        assert all(id // 10 == group for group, hits in members.items() for id in hits)
        if not using:
            assert {group: sorted(hits) for group, hits in members.items()} == {d: [10 * d + c for c in range(5)] for d in range(6)}


def test_16_6_order_has_no_offset(rest, chunks):
    """REST passes over what the request does not know; a message has no such field."""
    body = {"query": [1, 0], "using": "d", "group_by": "doc", "limit": 1, "group_size": 1}
    assert rest.query_groups(chunks, body | {"offset": 1}) == rest.query_groups(chunks, body)


def test_16_6_old_endpoints_want_limit_and_group_size(wire, chunks):
    path = f"/collections/{chunks}/points/search/groups"
    body = {"vector": {"name": "d", "vector": [1, 0]}, "group_by": "doc", "limit": 1, "group_size": 1}
    for missing in ("limit", "group_size"):
        message = pb.SearchPointGroups(collection_name=chunks, vector=[1, 0], vector_name="d", group_by="doc", limit=1, group_size=1)
        message.ClearField(missing)
        with pytest.raises(Exception) as caught:
            wire.either(("POST", path, {key: value for key, value in body.items() if key != missing}), ("SearchGroups", message))
        assert caught.value.status in (400, "INVALID_ARGUMENT") and missing in caught.value.text


def test_16_6_kinds_on_an_unknown_vector(wire, chunks):
    with wire.refuses(wrong_input("Not existing vector name error: nope")):
        wire.query_groups(chunks, {"query": [1, 0], "using": "nope", "group_by": "doc"})


def test_16_7_the_shape_of_the_result(rest, chunks, documents):
    body = {"query": [-1, 0], "using": "d", "group_by": "doc", "limit": 2, "group_size": 1, "with_lookup": documents}
    result = rest.at("POST", chunks, "/points/query/groups", body)
    assert list(result) == ["groups"]
    first, second = result["groups"]
    assert set(first) == {"id", "hits", "lookup"} and set(second) == {"id", "hits"}
    assert {"id", "version", "score"} <= set(first["hits"][0])
