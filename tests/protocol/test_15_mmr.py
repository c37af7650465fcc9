"""PROTOCOL 15: maximal marginal relevance."""

import pytest

from figures import check, ids, larger_is_better, pairs, ranked, shown, sim

RULES = {
    "15.1": "candidates: a nearest search of candidates_limit (the limit) under filter and threshold; fewer than two are returned as they are",
    "15.2 pick": "largest sim first, then lambda sim(query) - (1 - lambda) max sim(picked), lambda = 1 - diversity",
    "15.2 equal": "equals: the last pending; its place is taken by the last (swap-remove)",
    "15.3 output": "in pick order with the original shown scores; dense, sparse, multi",
    "15.3 offset": "limit + offset are picked, then offset are skipped",
    "15.4": "points without the vector are dropped; with prefetches candidates come from rescoring the union",
}

METRICS = ("Dot", "Cosine", "Euclid", "Manhattan")
#: Two crowds and some loners; no two choices below are nearer than 0.001.
POINTS = {1: [2.16, 0.24], 2: [1.91, 0.37], 3: [1.84, -0.05], 4: [0.36, 1.85], 5: [0.25, 1.76], 6: [-1.14, 0.34], 7: [1.04, 1.25]}
SPARSE = {1: {1: 2.0, 2: 1.0}, 2: {1: 2.0, 2: 0.9}, 3: {1: 1.0, 3: 3.0}, 4: {1: 0.5, 9: 1.0}, 5: {9: 1.0}}
MULTI = {1: [[1, 0], [0, 1]], 2: [[1, 0.1], [0, 0.9]], 3: [[0.7, 0.7]], 4: [[-1, 0.5], [0.2, 0.1]]}
QUERY = [1.0, 0.3]


@pytest.fixture(scope="module")
def crowd(rest, make):
    dense = {metric: {"size": 2, "distance": metric} for metric in METRICS}
    multi = {"m": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}}}
    name = make(dense | multi, sparse_vectors={"s": {}}, shard_number=2)
    for id, point in POINTS.items():
        vector = dict.fromkeys(METRICS, point)
        if id in SPARSE:
            vector["s"] = {"indices": list(SPARSE[id]), "values": list(SPARSE[id].values())}
        if id in MULTI:
            vector["m"] = MULTI[id]
        rest.put(name, (id, vector, {"even": id % 2 == 0}))
    rest.put(name, (8, {"s": {"indices": [1], "values": [0.1]}}))
    return name


def picked(metric, query, candidates, points, diversity, count):
    """The rule, word by word. `candidates`: ids, best first."""
    lam = 1 - diversity
    pending, chosen = list(candidates), []
    while pending and len(chosen) < count:
        def value(id):
            relevance = sim(metric, query, points[id])
            return lam * relevance - (1 - lam) * max(sim(metric, points[id], points[one]) for one in chosen) if chosen else relevance

        place = max(range(len(pending)), key=lambda at: (value(pending[at]), at))
        chosen.append(pending[place])
        pending[place] = pending[-1]
        pending.pop()
    return [(id, shown(metric, sim(metric, query, points[id]))) for id in chosen]


def nearest(metric, query, points, count):
    scores = {id: shown(metric, sim(metric, query, point)) for id, point in points.items()}
    return [id for id, _ in ranked(scores, reverse=larger_is_better(metric))][:count]


def mmr(wire, name, query, using, diversity=None, candidates=None, **more):
    options = {key: value for key, value in [("diversity", diversity), ("candidates_limit", candidates)] if value is not None}
    return wire.query(name, {"query": {"nearest": query, "mmr": options}, "using": using} | more)


def test_15_1_candidates_are_as_many_as_said_and_else_as_the_limit(wire, crowd):
    # By Dot the three of the first crowd are nearest; only with more candidates does another come in.
    assert sorted(ids(mmr(wire, crowd, QUERY, "Dot", 1.0, limit=3))) == [1, 2, 3]
    assert set(ids(mmr(wire, crowd, QUERY, "Dot", 1.0, 7, limit=3))) != {1, 2, 3}
    assert ids(mmr(wire, crowd, QUERY, "Dot", 1.0, 2, limit=3)) == [1, 2]


def test_15_1_candidates_pass_filter_and_threshold(wire, crowd):
    even = {"must": [{"key": "even", "match": {"value": True}}]}
    check(mmr(wire, crowd, QUERY, "Dot", 0.8, limit=3, filter=even), picked("Dot", QUERY, [2, 4, 6], POINTS, 0.8, 3))
    # 1: 2.23, 2: 2.02, 3: 1.83, 7: 1.42, 4: 0.92.
    check(mmr(wire, crowd, QUERY, "Dot", 0.8, limit=7, score_threshold=1.0), picked("Dot", QUERY, [1, 2, 3, 7], POINTS, 0.8, 7))


def test_15_1_fewer_than_two_are_returned_as_they_are(wire, crowd):
    one = {"must": [{"has_id": [4]}]}
    check(mmr(wire, crowd, QUERY, "Dot", 0.5, filter=one), [(4, 0.36 + 0.3 * 1.85)])
    assert mmr(wire, crowd, QUERY, "Dot", 0.5, filter={"must": [{"has_id": []}]}) == []


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("diversity", [0.0, 0.3, 0.5, 0.9, 1.0])
def test_15_2_pick_weighs_relevance_against_likeness(wire, crowd, metric, diversity):
    candidates = nearest(metric, QUERY, POINTS, 6)
    want = picked(metric, QUERY, candidates, POINTS, diversity, 5)
    check(mmr(wire, crowd, QUERY, metric, diversity, 6, limit=5), want)
    if diversity == 0:
        assert [id for id, _ in want] == candidates[:5]


def test_15_2_pick_worked_out_by_hand(wire, make):
    name = make(2)
    wire.put(name, (1, [1, 0]), (2, [0.9, 0.1]), (3, [0, 1]), (4, [0.5, 0.5]))
    # Query (1, 0.2): sims 1, 0.92, 0.2, 0.6. First 1. Then halves of sim - sim to 1: 2: 0.92 - 0.9; 3: 0.2 - 0; 4: 0.6 - 0.5.
    # So 3. Then 2: 0.92 - 0.9; 4: 0.6 - 0.5: 4.
    check(mmr(wire, name, [1, 0.2], None, 0.5, limit=4), [(1, 1), (3, 0.2), (4, 0.6), (2, 0.92)])


def test_15_2_equal_values_take_the_last_pending_whose_place_the_last_takes(wire, make):
    # Only the first number is compared with the query. Candidates, ties by larger id first: 5, 4, 3, 2, 1.
    name = make(2)
    wire.put(name, (5, [2, 0]), *[(id, [1, 0]) for id in (4, 3, 2, 1)])
    # 5 goes, 1 takes its place: 1, 4, 3, 2. All equal: 2; then 3; then 4; then 1.
    check(mmr(wire, name, [1, 0], None, 0.5, limit=5), [(5, 2), (2, 1), (3, 1), (4, 1), (1, 1)])


def test_15_3_output_is_in_pick_order_with_shown_scores(wire, crowd):
    hits = mmr(wire, crowd, QUERY, "Euclid", 0.7, 7, limit=7, with_payload=True, with_vector=["Dot"])
    check(hits, picked("Euclid", QUERY, nearest("Euclid", QUERY, POINTS, 7), POINTS, 0.7, 7))
    scores = [score for _, score in pairs(hits)]
    assert scores != sorted(scores) and min(scores) > 0
    assert all(hit["payload"] == {"even": hit["id"] % 2 == 0} for hit in hits)
    assert all(list(hit["vector"]) == ["Dot"] for hit in hits)
    assert all("vector" not in hit for hit in mmr(wire, crowd, QUERY, "Euclid"))


def test_15_3_output_of_sparse_vectors_counts_no_overlap_as_zero(wire, crowd):
    query = {1: 1.0, 3: 0.5}
    candidates = [3, 2, 1, 4]  # 2.5; 2 and 2, the larger id first; 0.5; then 8 with 0.1
    want = picked(None, query, candidates, SPARSE, 0.5, 4)
    body = {"indices": list(query), "values": list(query.values())}
    check(mmr(wire, crowd, body, "s", 0.5, 4, limit=4), want)


def test_15_3_output_of_multivectors(wire, crowd):
    query = [[1, 0.2], [0.1, 0.5]]
    candidates = nearest("Dot", query, MULTI, 4)
    check(mmr(wire, crowd, query, "m", 0.6, limit=4), picked("Dot", query, candidates, MULTI, 0.6, 4))


def test_15_3_offset_skips_of_the_picked_ones(wire, crowd):
    everything = mmr(wire, crowd, QUERY, "Cosine", 0.6, 7, limit=7)
    assert mmr(wire, crowd, QUERY, "Cosine", 0.6, 7, limit=2, offset=2) == everything[2:4]
    assert mmr(wire, crowd, QUERY, "Cosine", 0.6, 7, limit=3, offset=6) == everything[6:]
    # Without candidates_limit there are as many candidates as the limit says.
    three = mmr(wire, crowd, QUERY, "Cosine", 0.6, 3, limit=3)
    assert mmr(wire, crowd, QUERY, "Cosine", 0.6, limit=3, offset=1) == three[1:]


def test_15_4_points_without_the_vector_are_dropped(wire, crowd):
    assert sorted(ids(mmr(wire, crowd, QUERY, "Dot", 0.5, limit=20))) == list(POINTS)
    prefetch = {"filter": {"must": [{"has_id": [1, 7, 8]}]}}
    assert sorted(ids(mmr(wire, crowd, QUERY, "Dot", 0.5, limit=20, prefetch=prefetch))) == [1, 7]


def test_15_4_candidates_come_from_rescoring_the_union_of_the_prefetches(wire, crowd):
    prefetch = [{"query": [0, 1], "using": "Dot", "limit": 2}, {"query": [1, 0], "using": "Dot", "limit": 2}]
    # 4, 5 and 1, 2; by the query 1, 2, 4, 5.
    check(mmr(wire, crowd, QUERY, "Dot", 0.5, limit=4, prefetch=prefetch), picked("Dot", QUERY, [1, 2, 4, 5], POINTS, 0.5, 4))
    check(mmr(wire, crowd, QUERY, "Dot", 0.5, 3, limit=4, prefetch=prefetch), picked("Dot", QUERY, [1, 2, 4], POINTS, 0.5, 4))


def test_15_4_inside_a_prefetch_the_picked_ones_go_up_in_order(wire, crowd):
    inner = {"query": {"nearest": QUERY, "mmr": {"diversity": 0.9, "candidates_limit": 7}}, "using": "Dot", "limit": 3}
    want = picked("Dot", QUERY, nearest("Dot", QUERY, POINTS, 7), POINTS, 0.9, 3)
    check(wire.query(crowd, {"prefetch": inner, "query": {"fusion": "rrf"}}), [(id, 1 / (2 + at)) for at, (id, _) in enumerate(want)])
