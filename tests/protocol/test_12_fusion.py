"""PROTOCOL 12: fusion. The lists come from payload values through formulas, so each list's scores are chosen at will."""

import math

import pytest
from qdrant_client import grpc as pb

from figures import check, check_any_order, ids, pairs, refuses
from wire import bad_request

RULES = {
    "12.1 rrf": "1 / ((p + 1) / w + k - 1) by rank alone, k 2",
    "12.1 weights": "w <= 0 adds nothing, the point stays; one weight per prefetch",
    "12.2 dbsf": "mean and three sample deviations; 0.5 without a spread; shown scores, also of smaller-better metrics; no clamping",
    "12.3": "threshold >= after fusion, then offset and limit; payload and version of the point",
}

#: Score of each point in lists `a`, `b` and `c`; absent: not in it.
LISTS = {
    "a": {1: 9.0, 2: 8.0, 3: 7.0, 4: 1.0},
    "b": {2: 0.5, 4: 0.25, 5: 0.125},
    "c": {6: -3.0},
    "same": {1: 2.0, 5: 2.0},
    "wide": {1: 100.0, 2: 1.0, 3: 1.0, 4: 1.0, 5: 1.0, 6: 1.0, 7: 1.0, 8: 1.0, 9: 1.0, 10: 1.0, 11: 1.0, 12: 1.0},
}


@pytest.fixture(scope="module")
def lists(rest, make):
    name = make({"d": {"size": 1, "distance": "Dot"}, "e": {"size": 1, "distance": "Euclid"}}, shard_number=2)
    for id in range(1, 13):
        rest.put(name, (id, {"d": [id], "e": [id]}, {key: scores[id] for key, scores in LISTS.items() if id in scores}))
    return name


def source(key, **more):
    """A prefetch that gives list `key` with its scores."""
    leaf = {"filter": {"must": [{"has_id": list(LISTS[key])}]}, "limit": 50}
    return {"prefetch": leaf, "query": {"formula": key}, "limit": 50} | more


def fuse(wire, name, keys, query, **more):
    prefetch = [source(key) if isinstance(key, str) else key for key in keys]
    return wire.query(name, {"prefetch": prefetch, "query": query} | more)


def rrf(keys, k=2, weights=None):
    total = {}
    for key, weight in zip(keys, weights or [1.0] * len(keys)):
        order = sorted(LISTS[key], key=lambda id: -LISTS[key][id])
        for place, id in enumerate(order):
            total[id] = total.get(id, 0) + (1 / ((place + 1) / weight + k - 1) if weight > 0 else 0)
    return total


def best_first(scores):
    return sorted(scores.items(), key=lambda item: -item[1])


def test_12_1_rrf_first_place_is_one_half(wire, lists):
    check(fuse(wire, lists, ["a"], {"fusion": "rrf"}), [(1, 1 / 2), (2, 1 / 3), (3, 1 / 4), (4, 1 / 5)])


def test_12_1_rrf_sums_over_the_lists_by_rank_not_by_score(wire, lists):
    # 2: 1/3 + 1/2; 4: 1/5 + 1/3; 1: 1/2; 6: 1/2; 3 and 5: 1/4.
    want = {2: 5 / 6, 4: 8 / 15, 1: 1 / 2, 6: 1 / 2, 3: 1 / 4, 5: 1 / 4}
    assert want == pytest.approx(rrf(["a", "b", "c"]))
    hits = fuse(wire, lists, ["a", "b", "c"], {"fusion": "rrf"})
    check(hits[:2], [(2, 5 / 6), (4, 8 / 15)])
    check_any_order(hits, want.items())


def test_12_1_rrf_k_moves_all_ranks(wire, lists):
    for k in (1, 7, 61):
        hits = fuse(wire, lists, ["a", "b"], {"rrf": {"k": k}})
        check(hits[:3], best_first(rrf(["a", "b"], k))[:3])
        check_any_order(hits, rrf(["a", "b"], k).items())


def test_12_1_rrf_of_smaller_better_lists_goes_by_their_order(wire, lists):
    near = {"query": [4], "using": "e", "limit": 3}
    # 4 at 0, then 3 and 5 at 1, the smaller id first.
    check(fuse(wire, lists, [near], {"fusion": "rrf"}), [(4, 1 / 2), (3, 1 / 3), (5, 1 / 4)])


def test_12_1_weights_stretch_the_ranks(wire, lists):
    for weights in ([2, 1], [0.5, 4], [1, 1]):
        want = rrf(["a", "b"], 2, weights)
        hits = fuse(wire, lists, ["a", "b"], {"rrf": {"weights": weights}})
        check_any_order(hits, want.items())
        assert [score for _, score in pairs(hits)] == sorted((score for _, score in pairs(hits)), reverse=True)
    check(fuse(wire, lists, ["a"], {"rrf": {"k": 3, "weights": [2]}})[:2], [(1, 1 / (1 / 2 + 2)), (2, 1 / (2 / 2 + 2))])


def test_12_1_weights_of_nothing_and_less_add_nothing_but_keep_the_points(wire, lists):
    for weight in (0, -2):
        hits = fuse(wire, lists, ["a", "b"], {"rrf": {"weights": [1, weight]}})
        check_any_order(hits, {1: 1 / 2, 2: 1 / 3, 3: 1 / 4, 4: 1 / 5, 5: 0}.items())
        assert ids(hits)[-1] == 5


def test_12_1_weights_are_as_many_as_prefetches(wire, lists):
    for weights in ([1], [1, 2, 3]):
        text = f"Number of weights in RRF should match number of pre-fetches: got {len(weights)}, expected 2"
        body = {"prefetch": [source("a"), source("b")], "query": {"rrf": {"weights": weights}}}
        refuses(wire, bad_request(text), lists, body)
        refuses(wire, bad_request(text), lists, {"prefetch": body, "query": [1], "using": "d"})


def dbsf(*lists):
    total = {}
    for scores in lists:
        count = len(scores)
        mean = sum(scores.values()) / count
        deviation = math.sqrt(sum((one - mean) ** 2 for one in scores.values()) / (count - 1)) if count > 1 else 0
        for id, one in scores.items():
            total[id] = total.get(id, 0) + ((one - (mean - 3 * deviation)) / (6 * deviation) if deviation else 0.5)
    return total


def test_12_2_dbsf_scales_each_list_by_three_sample_deviations(wire, lists):
    # List `a`: mean 6.25, squares 7.5625 + 3.0625 + 0.5625 + 27.5625, variance by three: 12.91667.
    deviation = math.sqrt(38.75 / 3)
    first = [(id, (score - 6.25 + 3 * deviation) / (6 * deviation)) for id, score in LISTS["a"].items()]
    check(fuse(wire, lists, ["a"], {"fusion": "dbsf"}), first)
    both = dbsf(LISTS["a"], LISTS["b"])
    check(fuse(wire, lists, ["a", "b"], {"fusion": "dbsf"}), best_first(both))


def test_12_2_dbsf_of_one_element_or_no_spread_is_a_half(wire, lists):
    check(fuse(wire, lists, ["c"], {"fusion": "dbsf"}), [(6, 0.5)])
    check_any_order(fuse(wire, lists, ["same", "c"], {"fusion": "dbsf"}), {1: 0.5, 5: 0.5, 6: 0.5}.items())


def test_12_2_dbsf_does_not_clamp(wire, lists):
    want = dbsf(LISTS["wide"])
    assert want[1] > 1
    hits = fuse(wire, lists, ["wide"], {"fusion": "dbsf"}, limit=20)
    check(hits[:1], [(1, want[1])])
    check_any_order(hits, want.items())


def test_12_2_dbsf_takes_distances_as_they_are_shown(wire, lists):
    # Distances 0, 1, 1, 2 from 4: the farthest gets most.
    near = {"query": [4], "using": "e", "limit": 4}
    want = dbsf({4: 0.0, 3: 1.0, 5: 1.0, 2: 2.0})
    hits = fuse(wire, lists, [near], {"fusion": "dbsf"})
    check_any_order(hits, want.items())
    assert ids(hits)[0] == 2 and ids(hits)[-1] == 4


def test_12_2_dbsf_of_an_empty_list_adds_nothing(wire, lists):
    nothing = {"query": [4], "using": "d", "filter": {"must": [{"has_id": []}]}}
    check(fuse(wire, lists, ["c", nothing], {"fusion": "dbsf"}), [(6, 0.5)])
    check(fuse(wire, lists, ["c", nothing], {"fusion": "rrf"}), [(6, 0.5)])
    assert fuse(wire, lists, [nothing], {"fusion": "dbsf"}) == []


def test_12_3_threshold_keeps_what_equals_it_and_comes_before_offset_and_limit(wire, lists):
    ask = lambda query, **more: ids(fuse(wire, lists, ["a"], query, **more))
    assert ask({"fusion": "rrf"}, score_threshold=0.25) == [1, 2, 3]
    assert ask({"fusion": "rrf"}, score_threshold=0.25, offset=1) == [2, 3]
    assert ask({"fusion": "rrf"}, score_threshold=0.25, offset=1, limit=1) == [2]
    assert ask({"fusion": "rrf"}, score_threshold=0.26) == [1, 2]
    assert ids(fuse(wire, lists, ["c"], {"fusion": "dbsf"}, score_threshold=0.5)) == [6]
    assert ids(fuse(wire, lists, ["c"], {"fusion": "dbsf"}, score_threshold=0.51)) == []
    # Also within: 1 and 2 of the fused list.
    inner = {"prefetch": [source("a")], "query": {"fusion": "rrf"}, "score_threshold": 0.3}
    assert ids(wire.query(lists, {"prefetch": inner, "query": [1], "using": "d"})) == [2, 1]


def test_12_3_payload_and_vectors_are_the_points(wire, lists):
    hits = fuse(wire, lists, ["b", "a"], {"fusion": "rrf"}, limit=1, with_payload=True, with_vector=["d"])
    assert [(hit["id"], hit["payload"], hit["vector"]) for hit in hits] == [(2, {"a": 8.0, "b": 0.5, "wide": 1.0}, {"d": [2.0]})]


def test_12_3_version_is_that_of_the_point(wire, lists):
    if wire.transport == "rest":
        ask = lambda body: {point["id"]: point["version"] for point in wire.at("POST", lists, "/points/query", body)["points"]}
        plain = ask({"query": [1], "using": "d", "limit": 12})
        fused = ask({"prefetch": {"query": [1], "using": "d", "limit": 3}, "query": {"fusion": "rrf"}})
    else:
        near = pb.Query(nearest=pb.VectorInput(dense=pb.DenseVector(data=[1])))
        versions = lambda **more: {
            point.id.num: point.version for point in wire.send("Query", pb.QueryPoints(collection_name=lists, **more)).result
        }
        plain = versions(query=near, using="d", limit=12)
        prefetch = [pb.PrefetchQuery(query=near, using="d", limit=3)]
        fused = versions(prefetch=prefetch, query=pb.Query(fusion=pb.Fusion.RRF))
    assert fused == {id: plain[id] for id in (12, 11, 10)} and min(fused.values()) > 0
