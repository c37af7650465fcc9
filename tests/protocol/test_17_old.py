"""PROTOCOL 17: the eight old endpoints. Their answers are those of the query that says the same, which sections 10, 11 and 16 test."""

import pytest
from qdrant_client import grpc as pb

from figures import check, ids, refuses
from old import old
from rules import rest_only
from wire import Part, Refusal, bad_request, invalid, not_found, wrong_input

RULES = {
    "17.1 search": "search: vector (bare, named, sparse), limit, offset, filter, params, selectors, threshold",
    "17.1 recommend": "recommend: positive, negative, strategy, using, lookup_from, ...",
    "17.1 discover": "discover: target?, context, ...",
    "17.1 groups": "search/groups and recommend/groups",
    "17.1 batch": "a batch is a list of lists",
    "17.1 limit": "limit must be given",
    "17.1 top": rest_only("`top` is limit"),
    "17.1 flat": "the old forms of a vector: a name in an object over REST, flat numbers with indices over gRPC",
    "17.1 shape": rest_only("a bare list"),
    "17.2": "positive and negative may mix ids and vectors; ids are left out",
}

@pytest.fixture(scope="module")
def line(rest, make):
    """Points 1 to 12. Point i: `""` (i, 13 - i) under Dot, `e` (i, 0) under Euclid, `s` {1: i, 100 + i: 1}; three per group."""
    name = make({"": {"size": 2, "distance": "Dot"}, "e": {"size": 2, "distance": "Euclid"}}, sparse_vectors={"s": {}})
    points = []
    for i in range(1, 13):
        vector = {"": [i, 13 - i], "e": [i, 0], "s": {"indices": [1, 100 + i], "values": [i, 1]}}
        points.append((i, vector, {"n": i, "g": f"g{(i - 1) // 3}"}))
    rest.put(name, *points)
    return name


@pytest.fixture(scope="module")
def other(rest, make):
    """Points 1 to 12 with `v` (0, i)."""
    name = make({"v": {"size": 2, "distance": "Dot"}})
    rest.put(name, *[(i, {"v": [0, i]}, {"title": i}) for i in range(1, 13)])
    return name


FEW = {"must": [{"key": "n", "range": {"lt": 9}}]}
SPARSE = {"indices": [104, 1], "values": [50, 1]}
#: A vector as search takes it, as a query takes it, and its name.
FORMS = [([1, 0.5], [1, 0.5], ""), ({"name": "e", "vector": [7, 1]}, [7, 1], "e"), ({"name": "s", "vector": SPARSE}, SPARSE, "s")]
#: What may stand beside any of them.
MORE = [
    {},
    {"offset": 2},
    {"filter": FEW},
    {"with_payload": True},
    {"with_payload": ["n"], "with_vector": ["e"]},
    {"with_payload": {"exclude": ["g"]}, "with_vector": True},
    {"params": {"exact": True, "hnsw_ef": 64}},
    {"filter": FEW, "offset": 1, "with_payload": True},
]


def test_17_1_search_by_hand(wire, line):
    check(old(wire, "search", line, {"vector": [1, 0], "limit": 3}), [(12, 12), (11, 11), (10, 10)])
    named = {"vector": {"name": "e", "vector": [5, 0]}, "limit": 3}
    check(old(wire, "search", line, named), [(5, 0), (4, 1), (6, 1)])
    check(old(wire, "search", line, {"vector": {"name": "s", "vector": SPARSE}, "limit": 2}), [(4, 54), (12, 12)])


def test_17_1_search_is_a_query_by_a_vector(wire, line):
    for vector, query, using in FORMS:
        for more in MORE:
            body = {"limit": 4} | more
            assert old(wire, "search", line, {"vector": vector} | body) == wire.query(line, {"query": query, "using": using} | body)


def test_17_1_search_has_a_strict_threshold(wire, line):
    assert ids(old(wire, "search", line, {"vector": [1, 0], "limit": 9, "score_threshold": 10})) == [12, 11]
    assert ids(old(wire, "search", line, {"vector": {"name": "e", "vector": [1, 0]}, "limit": 9, "score_threshold": 2})) == [1, 2]


def test_17_1_search_refuses_like_a_query(wire, line):
    for vector, refusal in [
        ([1, 0, 0], wrong_input("Vector dimension error: expected dim: 2, got 3")),
        ({"name": "nope", "vector": [1]}, wrong_input("Not existing vector name error: nope")),
    ]:
        with wire.refuses(refusal):
            old(wire, "search", line, {"vector": vector, "limit": 3})


def test_17_1_recommend_by_hand(wire, line):
    # 2 (12, 1) - (1, 12) = (23, -10): 23 i - 130 + 10 i.
    check(old(wire, "recommend", line, {"positive": [12], "negative": [1], "limit": 2}), [(11, 233), (10, 200)])


@pytest.mark.parametrize("strategy", [None, "average_vector", "best_score", "sum_scores"])
def test_17_1_recommend_is_a_recommend_query(wire, line, strategy):
    chosen = {} if strategy is None else {"strategy": strategy}
    for more in MORE:
        body = {"limit": 4} | more
        for using in ("", "e"):
            examples = {"positive": [3, 7], "negative": [11]}
            got = old(wire, "recommend", line, examples | chosen | body | {"using": using})
            assert got == wire.query(line, {"query": {"recommend": examples | chosen}, "using": using} | body)
    scores = wire.query(line, {"query": {"recommend": {"positive": [3]} | chosen}, "limit": 5})
    cut = {"score_threshold": (scores[1]["score"] + scores[2]["score"]) / 2, "limit": 5}
    assert old(wire, "recommend", line, {"positive": [3]} | chosen | cut) == scores[:2]


def test_17_1_recommend_needs_examples(wire, line):
    with wire.refuses(bad_request("At least one positive vector ID required with this strategy")):
        old(wire, "recommend", line, {"positive": [], "negative": [1], "limit": 3})
    with wire.refuses(bad_request("At least one positive vector ID required with this strategy")):
        old(wire, "recommend/batch", line, {"searches": [{"positive": [1], "limit": 1}, {"negative": [1], "limit": 3}]})
    with wire.refuses(bad_request("At least one positive vector ID required with this strategy")):
        old(wire, "recommend/groups", line, {"negative": [1], "limit": 3, "group_by": "g", "group_size": 1})
    assert ids(old(wire, "recommend", line, {"negative": [12], "strategy": "best_score", "limit": 1})) == [1]


def test_17_1_recommend_looks_up_elsewhere(wire, line, other):
    lookup = {"collection": other, "vector": "v"}
    # (0, 3) of the other: 3 (13 - i), and 3 is found.
    got = old(wire, "recommend", line, {"positive": [3], "lookup_from": lookup, "limit": 3})
    check(got, [(1, 36), (2, 33), (3, 30)])
    with wire.refuses(not_found("Collection nowhere not found")):
        old(wire, "recommend", line, {"positive": [3], "lookup_from": {"collection": "nowhere"}, "limit": 3})
    with wire.refuses(not_found("No point with id 77 found")):
        old(wire, "recommend", line, {"positive": [77], "limit": 3})


def test_17_1_discover_is_a_discover_query(wire, line):
    context = [{"positive": 3, "negative": 9}, {"positive": [1, 0], "negative": 5}]
    for more in MORE:
        body = {"limit": 4} | more
        got = old(wire, "discover", line, {"target": 2, "context": context} | body)
        assert got == wire.query(line, {"query": {"discover": {"target": 2, "context": context}}} | body)
        got = old(wire, "discover", line, {"target": [0, 1]} | body)
        assert got == wire.query(line, {"query": {"discover": {"target": [0, 1], "context": []}}} | body)
    on_e = {"target": [5, 0], "context": [{"positive": 3, "negative": 9}]}
    assert old(wire, "discover", line, on_e | {"using": "e", "limit": 4}) == wire.query(line, {"query": {"discover": on_e}, "using": "e", "limit": 4})


def test_17_1_discover_without_a_target_is_a_context_query(wire, line):
    context = [{"positive": 3, "negative": 9}, {"positive": [1, 0], "negative": [0, 1]}]
    assert old(wire, "discover", line, {"context": context, "limit": 9}) == wire.query(line, {"query": {"context": context}, "limit": 9})


def test_17_1_discover_needs_a_target_or_context(wire, line):
    with wire.refuses(Refusal(422, "INVALID_ARGUMENT", Part("target or context must be specified"))):
        old(wire, "discover", line, {"limit": 3})


def test_17_1_discover_looks_up_elsewhere(wire, line, other):
    body = {"target": 3, "lookup_from": {"collection": other, "vector": "v"}, "limit": 3}
    assert ids(old(wire, "discover", line, body)) == [1, 2, 3]


def test_17_1_groups_of_a_search(wire, line, other):
    grouping = {"group_by": "g", "limit": 2, "group_size": 2}
    got = old(wire, "search/groups", line, {"vector": [1, 0]} | grouping)
    assert [(group["id"], ids(group["hits"])) for group in got] == [("g3", [12, 11]), ("g2", [9, 8])]
    for more in ({}, {"filter": FEW}, {"with_payload": ["n"], "with_vector": ["e"]}, {"score_threshold": 8}, {"params": {"exact": True}}):
        body = grouping | more
        for vector, query, using in FORMS:
            got = old(wire, "search/groups", line, {"vector": vector} | body)
            assert got == wire.query_groups(line, {"query": query, "using": using} | body)
    lookup = {"with_lookup": {"collection": other, "with_payload": True}, "group_by": "n", "limit": 1, "group_size": 1}
    (group,) = old(wire, "search/groups", line, {"vector": [1, 0]} | lookup)
    assert group["id"] == 12 and group["lookup"] == {"id": 12, "payload": {"title": 12}}


def test_17_1_groups_of_a_recommend(wire, line, other):
    grouping = {"group_by": "g", "limit": 3, "group_size": 2}
    examples = {"positive": [3, [1, 0]], "negative": [11]}
    for strategy in ("average_vector", "best_score", "sum_scores"):
        for more in ({}, {"filter": FEW}, {"using": "e"}, {"with_payload": ["n"], "with_vector": ["e"]}):
            chosen = {"strategy": strategy}
            got = old(wire, "recommend/groups", line, examples | chosen | grouping | more)
            assert got == wire.query_groups(line, {"query": {"recommend": examples | chosen}} | grouping | more)
            assert not {3, 11} & {hit["id"] for group in got for hit in group["hits"]}
    lookup = {"collection": other, "vector": "v"}
    got = old(wire, "recommend/groups", line, {"positive": [3], "lookup_from": lookup} | grouping)
    assert [ids(group["hits"]) for group in got] == [[1, 2], [4, 5], [7, 8]]


BATCHES = {
    "search": [
        {"vector": [1, 0], "limit": 2},
        {"vector": {"name": "e", "vector": [5, 0]}, "limit": 3, "with_payload": True},
        {"vector": [0, 1], "limit": 1, "offset": 3},
    ],
    "recommend": [{"positive": [3], "limit": 2}, {"positive": [12], "negative": [1], "strategy": "best_score", "limit": 3, "using": "e"}],
    "discover": [{"target": 3, "limit": 2}, {"context": [{"positive": 12, "negative": 1}], "limit": 3, "filter": FEW}],
}


@pytest.mark.parametrize("kind", BATCHES)
def test_17_1_batch_is_a_list_of_lists_in_order(wire, line, kind):
    entries = BATCHES[kind]
    alone = [old(wire, kind, line, entry) for entry in entries]
    assert [len(one) for one in alone] == [entry["limit"] for entry in entries]
    assert old(wire, f"{kind}/batch", line, {"searches": entries}) == alone
    assert old(wire, f"{kind}/batch", line, {"searches": entries[::-1]}) == alone[::-1]
    assert old(wire, f"{kind}/batch", line, {"searches": []}) == []


@pytest.mark.parametrize("kind", BATCHES)
def test_17_1_batch_with_a_bad_entry_fails(wire, line, kind):
    bad = {
        "search": {"vector": {"name": "nope", "vector": [1]}},
        "recommend": {"positive": [3], "using": "nope"},
        "discover": {"target": 3, "using": "nope"},
    }
    with wire.refuses(wrong_input("Not existing vector name error: nope")):
        old(wire, f"{kind}/batch", line, {"searches": BATCHES[kind] + [bad[kind] | {"limit": 1}]})


SINGLE = {"search": {"vector": [1, 0]}, "recommend": {"positive": [3]}, "discover": {"target": 3}}


@pytest.mark.parametrize("kind", SINGLE)
def test_17_1_limit_must_be_given_and_be_one_at_least(wire, line, kind):
    if wire.transport == "rest":
        with wire.refuses(Refusal(400, "", Part("missing field `limit`"))):
            old(wire, kind, line, SINGLE[kind])
        with wire.refuses(invalid("[search_request.limit: value 0 invalid, must be 1 or larger]")):
            old(wire, kind, line, SINGLE[kind] | {"limit": 0})
    else:
        # An absent number is 0 here.
        with wire.refuses(invalid("", "[limit: value 0 invalid, must be 1 or larger]")):
            old(wire, kind, line, SINGLE[kind])


@pytest.mark.parametrize("kind", SINGLE)
def test_17_1_top_is_limit(rest, line, kind):
    assert old(rest, kind, line, SINGLE[kind] | {"top": 2}) == old(rest, kind, line, SINGLE[kind] | {"limit": 2})


def test_17_1_flat_vectors_and_names(wire, line):
    """REST: `using` may be an object with a name. gRPC: any of the old or new forms of a vector."""
    want = old(wire, "recommend", line, {"positive": [[5, 0]], "using": "e", "limit": 3})
    check(want, [(5, 0), (4, 1), (6, 1)])
    if wire.transport == "rest":
        assert old(wire, "recommend", line, {"positive": [[5, 0]], "using": {"name": "e"}, "limit": 3}) == want
    else:
        new = pb.Vector(dense=pb.DenseVector(data=[5, 0]))
        answer = wire.send("Recommend", pb.RecommendPoints(collection_name=line, positive_vectors=[new], using="e", limit=3))
        assert [wire.hit(hit) for hit in answer.result] == want
    by_sparse = old(wire, "recommend", line, {"positive": [SPARSE], "using": "s", "limit": 2})
    assert by_sparse == wire.query(line, {"query": SPARSE, "using": "s", "limit": 2})


@pytest.mark.parametrize("kind", SINGLE)
def test_17_1_shape_is_a_bare_list(rest, line, kind):
    result = rest.at("POST", line, f"/points/{kind}", SINGLE[kind] | {"limit": 2})
    assert isinstance(result, list) and len(result) == 2
    assert {"id", "version", "score"} <= set(result[0])
    batch = rest.at("POST", line, f"/points/{kind}/batch", {"searches": [SINGLE[kind] | {"limit": 2}]})
    assert batch == [result]


@pytest.mark.parametrize("strategy", ["average_vector", "best_score", "sum_scores"])
def test_17_2_ids_and_vectors_mix_and_ids_are_left_out(wire, line, strategy):
    mixed = {"positive": [3, [2, 2]], "negative": [[0, 4], 9], "strategy": strategy}
    # 3 is (3, 10), 9 is (9, 4).
    vectors = {"positive": [[3, 10], [2, 2]], "negative": [[0, 4], [9, 4]], "strategy": strategy}
    without = {"must_not": [{"has_id": [3, 9]}]}
    got = old(wire, "recommend", line, mixed | {"limit": 20})
    assert got == wire.query(line, {"query": {"recommend": vectors}, "filter": without, "limit": 20})
    assert set(ids(got)) == set(range(1, 13)) - {3, 9}
    refuses(wire, not_found("No point with id 77 found"), line, {"query": {"recommend": mixed | {"positive": [77, [2, 2]]}}})


def test_17_2_ids_of_a_discovery_are_left_out(wire, line):
    body = {"target": 3, "context": [{"positive": 5, "negative": [0, 1]}, {"positive": [1, 0], "negative": 9}], "limit": 20}
    assert set(ids(old(wire, "discover", line, body))) == set(range(1, 13)) - {3, 5, 9}
