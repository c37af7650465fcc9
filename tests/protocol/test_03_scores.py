"""Section 3: similarities, the scores shown for them, their order, and thresholds."""

import math

import pytest
from qdrant_client import grpc as pb

from wire import bad_request

RULES = {
    "3.1.1": "each metric's similarity and the score shown for it",
    "3.1.2": "max_sim: for each row of the query the best stored row, summed; shown as the metric is",
    "3.1.3": "queries other than nearest show their formula's value, larger is better, for every metric",
    "3.1.4": "a formula sees the shown score, MMR works on similarities",
    "3.2.1": "ties: larger ids first where larger is better, smaller ids first where smaller is",
    "3.2.2": "a point appears once; its version is its last change's number",
    "3.3.1": "thresholds are strict, in the metric's direction, for vector queries of all kinds",
    "3.3.2": "fusion and formula keep scores that are equal to the threshold, text queries do not",
    "3.3.3": "no threshold with order_by or without a query; sample ignores it",
}

METRICS = ["Dot", "Cosine", "Euclid", "Manhattan"]
SMALLER_IS_BETTER = ("Euclid", "Manhattan")


def scores(hits):
    return {one["id"]: one["score"] for one in hits}


def close(expected):
    return pytest.approx(expected, rel=1e-6, abs=1e-7)


def ssig(x):
    return 0.5 * (x / (1 + abs(x)) + 1)


def fsig(x):
    return x / (1 + abs(x))




# 3.1 Similarity and shown score

#: Query [1, 2]; points 1 = [3, 4], 2 = [1, 0], best first.
SHOWN = {
    "Dot": {1: 11.0, 2: 1.0},
    "Cosine": {1: 11 / (5 * math.sqrt(5)), 2: 1 / math.sqrt(5)},
    "Euclid": {2: 2.0, 1: math.sqrt(8)},
    "Manhattan": {2: 2.0, 1: 4.0},
}


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("params", [None, {"exact": True}])
def test_3_1_1_the_shown_score_of_each_metric(wire, make, metric, params):
    name = make({"size": 2, "distance": metric})
    wire.put(name, (1, [3.0, 4.0]), (2, [1.0, 0.0]))
    found = scores(wire.query(name, {"query": [1.0, 2.0], "params": params}))
    assert found == close(SHOWN[metric]) and list(found) == list(SHOWN[metric])


def test_3_1_1_sparse_vectors_are_summed_over_shared_indices(wire, make):
    name = make(None, sparse_vectors={"s": {}})
    wire.put(name, (1, {"s": {"indices": [1, 5], "values": [2.0, 3.0]}}), (2, {"s": {"indices": [5, 9], "values": [-1.0, 100.0]}}))
    query = {"indices": [1, 5, 7], "values": [10.0, 1.0, 50.0]}
    assert wire.query(name, {"query": query, "using": "s"}) == [{"id": 1, "score": 23.0}, {"id": 2, "score": -1.0}]


#: Query rows [1, 0] and [0, 1]; stored rows [1, 1] and [3, 0] (point 1), [0, 2] alone (point 2).
SHOWN_OF_ROWS = {
    "Dot": {1: 3.0 + 1.0, 2: 0.0 + 2.0},
    "Cosine": {1: 1.0 + math.sqrt(0.5), 2: 0.0 + 1.0},
    "Euclid": {1: math.sqrt(1.0 + 1.0), 2: math.sqrt(5.0 + 1.0)},
    "Manhattan": {1: 1.0 + 1.0, 2: 3.0 + 1.0},
}


@pytest.mark.parametrize("metric", METRICS)
def test_3_1_2_max_sim_of_each_metric(wire, make, metric):
    name = make({"size": 2, "distance": metric, "multivector_config": {"comparator": "max_sim"}})
    wire.put(name, (1, [[1.0, 1.0], [3.0, 0.0]]), (2, [[0.0, 2.0]]))
    for params in (None, {"exact": True}):
        found = scores(wire.query(name, {"query": [[1.0, 0.0], [0.0, 1.0]], "params": params}))
        assert found == close(SHOWN_OF_ROWS[metric]) and list(found) == [1, 2]


#: Similarities of points 1 = [0, 1] and 2 = [3, 4] to the origin, and to [3, 4].
TO_ORIGIN = {"Euclid": {1: -1.0, 2: -25.0}, "Manhattan": {1: -1.0, 2: -7.0}}
TO_POINT = {"Euclid": {1: -18.0, 2: 0.0}, "Manhattan": {1: -6.0, 2: 0.0}}
EPSILON = 1.1920929e-7
RAW = {
    "best_score": ({"recommend": {"positive": [[0.0, 0.0]], "strategy": "best_score"}}, lambda a, b: ssig(a)),
    "best_score of a negative": ({"recommend": {"negative": [[3.0, 4.0]], "strategy": "best_score"}}, lambda a, b: -ssig(b)),
    "sum_scores": ({"recommend": {"positive": [[0.0, 0.0]], "strategy": "sum_scores"}}, lambda a, b: a),
    "discover": ({"discover": {"target": [0.0, 0.0], "context": [{"positive": [0.0, 0.0], "negative": [3.0, 4.0]}]}}, lambda a, b: (1 if a > b else -1) + ssig(a)),
    "context": ({"context": [{"positive": [0.0, 0.0], "negative": [3.0, 4.0]}]}, lambda a, b: fsig(min(a - b - EPSILON, 0.0))),
    "feedback": ({"relevance_feedback": {"target": [0.0, 0.0], "feedback": [{"example": [3.0, 4.0], "score": 1.0}], "strategy": {"naive": {"a": 2.0, "b": 1.0, "c": 1.0}}}}, lambda a, b: 2 * a),
}


@pytest.mark.parametrize("metric", SMALLER_IS_BETTER)
@pytest.mark.parametrize("kind", RAW)
def test_3_1_3_other_queries_show_their_formula_on_every_metric(wire, make, metric, kind):
    name = make({"size": 2, "distance": metric})
    wire.put(name, (1, [0.0, 1.0]), (2, [3.0, 4.0]))
    query, formula = RAW[kind]
    found = scores(wire.query(name, {"query": query}))
    assert found == close({at: formula(TO_ORIGIN[metric][at], TO_POINT[metric][at]) for at in (1, 2)})
    assert list(found) == [1, 2]  # the larger value first


@pytest.mark.parametrize("metric", METRICS)
def test_3_1_3_recommending_by_the_average_is_a_nearest_query(wire, make, metric):
    name = make({"size": 2, "distance": metric})
    wire.put(name, (1, [3.0, 4.0]), (2, [1.0, 0.0]))
    found = scores(wire.query(name, {"query": {"recommend": {"positive": [[1.0, 2.0]], "strategy": "average_vector"}}}))
    assert found == close(SHOWN[metric]) and list(found) == list(SHOWN[metric])


@pytest.mark.parametrize("metric", METRICS)
def test_3_1_4_a_formula_sees_the_shown_score(wire, make, metric):
    name = make({"size": 2, "distance": metric})
    wire.put(name, (1, [3.0, 4.0]), (2, [1.0, 0.0]))
    body = {"prefetch": {"query": [1.0, 2.0]}, "query": {"formula": {"sum": ["$score", 100.0]}}}
    found = scores(wire.query(name, body))
    assert found == close({at: 100 + score for at, score in SHOWN[metric].items()})
    assert list(found) == sorted(SHOWN[metric], key=SHOWN[metric].get, reverse=True)


def test_3_1_4_mmr_works_on_similarities(wire, make):
    """By squared distances point 2 is more diverse than 3 (2.5 and 1.7), by shown ones it would be less (0.3 and 0.5)."""
    name = make({"size": 2, "distance": "Euclid"})
    wire.put(name, (1, [1.0, 0.0]), (2, [-2.0, 4.0]), (3, [-1.2, 0.0]))
    found = wire.query(name, {"query": {"nearest": [0.0, 0.0], "mmr": {"diversity": 0.5}}, "limit": 3})
    assert [one["id"] for one in found] == [1, 2, 3]
    assert scores(found) == close({1: 1.0, 2: math.sqrt(20), 3: 1.2})


# 3.2 Order

UUID = "00000000-0000-0000-0000-000000000000"


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("shards", [1, 3])
def test_3_2_1_ties_are_broken_by_id(wire, make, metric, shards):
    name = make({"size": 2, "distance": metric}, shard_number=shards)
    wire.put(name, *((at, [1.0, 1.0]) for at in (5, 1, UUID, 3, 2, 4)))
    ascending = [1, 2, 3, 4, 5, UUID]
    expected = ascending if metric in SMALLER_IS_BETTER else ascending[::-1]
    ids = lambda body: [one["id"] for one in wire.query(name, {"query": [1.0, 0.0]} | body)]
    assert ids({}) == ids({"params": {"exact": True}}) == expected
    assert ids({"limit": 3}) == expected[:3]
    assert ids({"limit": 2, "offset": 2}) == expected[2:4]


@pytest.mark.parametrize("metric", ["Dot", "Euclid"])
def test_3_2_1_pages_of_equal_scores_do_not_overlap(wire, make, metric):
    """In the middle of the list, with better and worse points around them."""
    name = make({"size": 1, "distance": metric}, shard_number=2)
    wire.put(name, *((at, [1.0]) for at in range(100)), (100, [0.0]), (101, [2.0]), (102, [3.0]))
    equal = list(range(100))
    expected = [102, 101, *equal[::-1], 100] if metric == "Dot" else [100, *equal, 101, 102]
    query = {"query": [1.0] if metric == "Dot" else [0.0]}
    for params in ({}, {"params": {"exact": True}}, {"filter": {"must_not": [{"has_id": [50]}]}}):
        pages = [wire.query(name, query | params | {"limit": 7, "offset": offset}) for offset in range(0, 105, 7)]
        left = [at for at in expected if at != 50 or "filter" not in params]
        assert [one["id"] for page in pages for one in page] == left


@pytest.mark.parametrize("metric", METRICS)
def test_3_2_1_ties_of_other_queries_put_the_larger_id_first(wire, make, metric):
    name = make({"size": 2, "distance": metric})
    wire.put(name, *((at, [1.0, 1.0]) for at in (1, 2, 3)))
    for query in ({"recommend": {"positive": [[1.0, 0.0]], "strategy": "best_score"}}, {"discover": {"target": [1.0, 0.0], "context": []}}):
        assert [one["id"] for one in wire.query(name, {"query": query, "limit": 2})] == [3, 2]


def test_3_2_2_a_point_appears_once(wire, make):
    name = make({"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}, shard_number=2)
    wire.put(name, *((at, [[1.0, 0.0]] * 5) for at in range(10)))
    leaf = {"query": [[1.0, 0.0]], "limit": 10}
    for body in (leaf, {"prefetch": [leaf, leaf], "query": {"fusion": "rrf"}}, {"prefetch": [leaf, leaf], "query": [[1.0, 1.0]]}, {}):
        assert sorted(one["id"] for one in wire.query(name, body | {"limit": 100})) == list(range(10))


def test_3_2_2_the_version_is_the_last_changes_number(rest, grpc, make):
    name = make(2)
    in_rest = lambda: [one["version"] for one in rest.json("POST", f"/collections/{name}/points/query", {"query": [1.0, 0.0]})["points"]]
    nearest = pb.Query(nearest=pb.VectorInput(dense=pb.DenseVector(data=[1.0, 0.0])))
    in_grpc = lambda: [one.version for one in grpc.send("Query", pb.QueryPoints(collection_name=name, query=nearest)).result]
    first = rest.put(name, (1, [1.0, 0.0]))["operation_id"]
    assert in_rest() == in_grpc() == [first]
    second = grpc.set_payload(name, {"payload": {"a": 1}, "points": [1]})["operation_id"]
    third = rest.put(name, (2, [0.5, 0.0]))["operation_id"]
    assert in_rest() == in_grpc() == [second, third] and first < second < third


# 3.3 Thresholds


@pytest.mark.parametrize("metric", ["Dot", "Euclid", "Manhattan"])
def test_3_3_1_thresholds_are_strict(wire, make, metric):
    name = make({"size": 1, "distance": metric})
    wire.put(name, *((at, [float(at)]) for at in (1, 2, 3)))
    query = [1.0] if metric == "Dot" else [0.0]  # either way a point's score is its id
    ids = lambda threshold: [one["id"] for one in wire.query(name, {"query": query, "score_threshold": threshold})]
    if metric == "Dot":
        assert (ids(2.0), ids(1.999), ids(0.0), ids(3.0)) == ([3], [3, 2], [3, 2, 1], [])
    else:
        assert (ids(2.0), ids(2.001), ids(4.0), ids(1.0)) == ([1], [1, 2], [1, 2, 3], [])


def test_3_3_1_thresholds_of_cosine_and_sparse_vectors_are_strict(wire, make):
    name = make({"size": 2, "distance": "Cosine"}, sparse_vectors={"s": {}})
    vectors = lambda dense, value: {"": dense, "s": {"indices": [1], "values": [value]}}
    wire.put(name, (1, vectors([1.0, 0.0], 1.0)), (2, vectors([0.0, 1.0], 2.0)))
    ids = lambda body, threshold: [one["id"] for one in wire.query(name, body | {"score_threshold": threshold})]
    dense, sparse = {"query": [2.0, 0.0]}, {"query": {"indices": [1], "values": [1.0]}, "using": "s"}
    assert (ids(dense, 1.0), ids(dense, 0.99), ids(dense, 0.0), ids(dense, -0.1)) == ([], [1], [1], [1, 2])
    assert (ids(sparse, 2.0), ids(sparse, 1.0), ids(sparse, 0.5)) == ([], [2], [2, 1])


def test_3_3_1_other_queries_are_cut_in_the_metrics_direction(wire, make):
    """Scores -1 and -25, larger first: on Euclid a score passes while it is less than the threshold."""
    query = {"recommend": {"positive": [[0.0, 0.0]], "strategy": "sum_scores"}}
    expected = {"Euclid": {0.0: [1, 2], -1.0: [], -3.0: []}, "Dot": {-50.0: [2, 1], 0.0: [2], 25.0: []}}
    for metric, cuts in expected.items():
        name = make({"size": 2, "distance": metric})
        wire.put(name, (1, [0.0, 1.0]), (2, [3.0, 4.0]))
        asked = query if metric == "Euclid" else {"recommend": {"positive": [[3.0, 4.0]], "negative": [[0.0, 4.0]], "strategy": "sum_scores"}}
        for threshold, ids in cuts.items():
            assert [one["id"] for one in wire.query(name, {"query": asked, "score_threshold": threshold})] == ids, (metric, threshold)


def test_3_3_1_thresholds_of_the_old_search_are_strict(wire, make):
    name = make(1)
    wire.put(name, *((at, [float(at)]) for at in (1, 2, 3)))
    body = {"vector": [1.0], "limit": 10, "score_threshold": 2.0}
    answer = wire.either(rest=("POST", f"/collections/{name}/points/search", body), grpc=("Search", pb.SearchPoints(collection_name=name, **body)))
    assert ([one["id"] for one in answer] if wire.transport == "rest" else [one.id.num for one in answer.result]) == [3]


def test_3_3_1_thresholds_of_prefetches_are_strict(wire, make):
    name = make(1)
    wire.put(name, *((at, [float(at)]) for at in (1, 2, 3)))
    body = {"prefetch": {"query": [1.0], "score_threshold": 2.0}, "query": [-1.0]}
    assert wire.query(name, body) == [{"id": 3, "score": -3.0}]


def test_3_3_2_fusion_and_formula_keep_equal_scores(wire, make):
    name = make(1)
    wire.put(name, *((at, [float(at)]) for at in (1, 2, 3)))
    leaf = {"query": [1.0]}
    ids = lambda query, threshold: [one["id"] for one in wire.query(name, {"prefetch": leaf, "query": query, "score_threshold": threshold})]
    # One list: 1/2, 1/3, 1/4.
    assert (ids({"fusion": "rrf"}, 0.5), ids({"fusion": "rrf"}, 0.25), ids({"fusion": "rrf"}, 0.26)) == ([3], [3, 2, 1], [3, 2])
    # Mean 2, sample deviation 1: (s + 1) / 6.
    assert (ids({"fusion": "dbsf"}, 0.5), ids({"fusion": "dbsf"}, 0.51)) == ([3, 2], [3])
    assert (ids({"formula": "$score"}, 2.0), ids({"formula": "$score"}, 2.1)) == ([3, 2], [3])


def test_3_3_2_text_queries_are_cut_strictly(wire, make):
    """One point, one word: the score is ln(4/3)."""
    name = make(1)
    wire.pay(name, {1: {"t": "word"}})
    wire.create_index(name, "t", {"type": "text", "scoring": True})
    ask = lambda threshold: wire.query(name, {"query": {"text": "word"}, "using": "t", "score_threshold": threshold})
    assert scores(ask(0.28768)) == close({1: math.log(4 / 3)})
    assert ask(math.log(4 / 3)) == []


def test_3_3_3_where_a_threshold_has_no_place(wire, make):
    name = make(1)
    wire.put(name, (1, [1.0], {"n": 1}), (2, [2.0], {"n": 2}))
    wire.create_index(name, "n", "integer")
    with wire.refuses(bad_request("Can't use score_threshold with an order_by query.")):
        wire.query(name, {"query": {"order_by": "n"}, "score_threshold": 0.5})
    with wire.refuses(bad_request("A query is needed to use the score_threshold. Can't have score_threshold without defining a query.")):
        wire.query(name, {"score_threshold": 0.5})
    found = wire.query(name, {"query": {"sample": "random"}, "score_threshold": 100.0})
    assert sorted(one["id"] for one in found) == [1, 2]
