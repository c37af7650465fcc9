"""PROTOCOL 10: the query endpoint. The points of `line` lie so that every score can be read off its id."""

import itertools

import pytest
from qdrant_client import grpc as pb

from figures import check, check_any_order, ids, invalid_query, pairs, refuses
from rules import rest_only
from wire import Start, bad_request, not_found, wrong_input

RULES = {
    "10.1 no_query": "no query: ascending ids, score 1.0, version 0",
    "10.1 bare": "a bare vector, id, sparse vector, multivector or inference object is nearest; arrays and objects tell themselves apart",
    "10.1 nearest": "`{nearest, mmr?}`",
    "10.1 recommend": "`{recommend}`",
    "10.1 discover": "`{discover}`",
    "10.1 context": "`{context}`: one pair or a list",
    "10.1 relevance_feedback": "`{relevance_feedback}`",
    "10.1 order_by": "`{order_by}`: score 1.0, order_value, offset",
    "10.1 fusion": "`{fusion: rrf}`, `{fusion: dbsf}`",
    "10.1 rrf": "`{rrf: {k?, weights?}}`",
    "10.1 sample": "`{sample: random}`: filter, score 1.0, version 0, union of prefetches",
    "10.1 formula": "`{formula, defaults?}`",
    "10.1 text": "`{text}`",
    "10.1 prefetch": "prefetch is one object or a list",
    "10.2.1 limit": "limit 10, at least 1",
    "10.2.1 offset": "offset 0",
    "10.2.1 prefetch": "prefetch limit 10, at least 1",
    "10.2.1 groups": "groups 10 of 3",
    "10.2.1 mmr": "diversity 0.5, candidates_limit = limit, at most 16384",
    "10.2.1 hnsw_ef": "at least 1",
    "10.2.1 rrf": "k at least 1",
    "10.2.2 prefetch": "prefetch without query",
    "10.2.2 fusion": "fusion and formula without prefetch; fusion with `using`",
    "10.2.2 depth": "at most 64 levels",
    "10.2.3": "unknown vector",
    "10.3.1": "an id is replaced by its vector named lookup_from.vector or using in lookup_from.collection or here; per level",
    "10.3.2": "missing point, point without the vector, missing collection",
    "10.3.3": "ids of the searched collection are left out everywhere, others are not",
    "10.4.1": "filters are merged into all descendants; leaves have their own limit, threshold, params, using",
    "10.4.2": "an inner level works on the union of its children, cut to limit and threshold",
    "10.4.3": "fusion works on the ordered lists, then offset and limit",
    "10.4.4": "root: limit + offset, then payload and vectors",
    "10.4.5": "a prefetch's limit caps the candidates; it has no offset",
    "10.4.6": "a leaf without query is a scroll by id",
    "10.4.7": "params",
    "10.5.1 order": "a batch answers in order",
    "10.5.1 bad": "one bad entry fails the call",
    "10.5.1 empty": "an empty list is an empty result",
    "10.5.1 shapes": rest_only("the shapes of the answers"),
}

RED = {"must": [{"key": "color", "match": {"value": "red"}}]}
UUID = "0000000d-0000-0000-0000-000000000000"
COUNT = 12


def n_is(value):
    return {"key": "n", "match": {"value": value}}


@pytest.fixture(scope="module")
def line(rest, make):
    """Points 1 to 12. Point i: `""` (i, 13 - i) under Dot, `e` (i, 0) under Euclid, `m` ((i, 0), (0, 1)), `s` {1: i, 100 + i: 1}."""
    name = make(
        {
            "": {"size": 2, "distance": "Dot"},
            "e": {"size": 2, "distance": "Euclid"},
            "m": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        },
        sparse_vectors={"s": {}},
    )
    rest.create_index(name, "n", "integer")
    for i in range(1, COUNT + 1):
        sparse = {"indices": [1, 100 + i], "values": [i, 1]}
        vector = {"": [i, 13 - i], "e": [i, 0], "m": [[i, 0], [0, 1]], "s": sparse}
        rest.put(name, (i, vector, {"n": i, "color": "red" if i % 2 else "blue"}))
    return name


@pytest.fixture(scope="module")
def other(rest, make):
    """Points 1 to 12 whose vectors run the other way, under the names `v` and `e`; and 99, which `line` lacks and has no `e`."""
    config = {"size": 2, "distance": "Dot"}
    name = make({"v": config, "e": config})
    rest.put(name, *[(i, {"v": [0, i], "e": [20 - i, 0]}) for i in range(1, COUNT + 1)], (99, {"v": [1, 0]}))
    return name


def versions(wire, name, query=None):
    """Those of the hits, which an answer's normal form leaves out."""
    if wire.transport == "rest":
        found = wire.at("POST", name, "/points/query", {"query": query})["points"]
        return [point["version"] for point in found]
    message = pb.QueryPoints(collection_name=name)
    if query == [1, 0]:
        message.query.nearest.dense.data.extend(query)
    elif query is not None:
        message.query.sample = pb.Sample.Random
    return [point.version for point in wire.send("Query", message).result]


# 10.1 Forms of `query`


def test_10_1_no_query_is_ascending_ids_with_score_one_and_version_zero(wire, line):
    assert pairs(wire.query(line, {})) == [(i, 1.0) for i in range(1, 11)]
    assert set(versions(wire, line)) == {0}


def test_10_1_no_query_takes_filter_and_offset(wire, line):
    assert ids(wire.query(line, {"filter": RED, "offset": 1, "limit": 3})) == [3, 5, 7]


def test_10_1_bare_list_of_numbers_is_nearest_to_a_dense_vector(wire, line):
    check(wire.query(line, {"query": [1, 0], "limit": 3}), [(12, 12), (11, 11), (10, 10)])


def test_10_1_bare_vectors_hits_carry_the_version_of_their_last_change(wire, line):
    got = versions(wire, line, [1, 0])
    assert got == sorted(got, reverse=True) and len(set(got)) == 10 and min(got) > 0


def test_10_1_bare_list_of_lists_is_nearest_to_a_multivector(wire, line):
    check(wire.query(line, {"query": [[1, 0], [0, 2]], "using": "m", "limit": 3}), [(12, 14), (11, 13), (10, 12)])


def test_10_1_bare_object_of_indices_and_values_is_nearest_to_a_sparse_vector(wire, line):
    query = {"indices": [104, 1], "values": [50, 1]}
    check(wire.query(line, {"query": query, "using": "s", "limit": 3}), [(4, 54), (12, 12), (11, 11)])


def test_10_1_bare_integer_is_nearest_to_that_point(wire, line):
    # Point 12 is (12, 1): 12 i + 13 - i.
    check(wire.query(line, {"query": 12, "limit": 3}), [(i, 11 * i + 13) for i in (11, 10, 9)])


def test_10_1_bare_uuid_is_nearest_to_that_point(wire, make):
    name = make(2)
    wire.put(name, (UUID, [0, 2]), (1, [5, 1]), (2, [0, 3]))
    check(wire.query(name, {"query": UUID}), [(2, 6), (1, 2)])


def test_10_1_bare_inference_object_is_nearest_to_its_vector(wire, make):
    name = make(None, sparse_vectors={"t": {}})
    text = lambda words: {"text": words, "model": "qdrant/bm25"}
    wire.put(name, (1, {"t": text("blue whales")}), (2, {"t": text("red ants")}))
    assert ids(wire.query(name, {"query": text("ants"), "using": "t"})) == [2]


def test_10_1_nearest_in_an_object_is_the_bare_form(wire, line):
    for bare, using in [([1, 0], None), (12, None), ({"indices": [1], "values": [2]}, "s"), ([[3, 1]], "m")]:
        assert wire.query(line, {"query": {"nearest": bare}, "using": using}) == wire.query(line, {"query": bare, "using": using})


def test_10_1_nearest_with_mmr_diversifies(wire, line):
    # Candidates 12 to 9; all that counts after 12 is to be unlike it, and sim(c, 12) = 11 c + 13.
    query = {"nearest": [1, 0], "mmr": {"diversity": 1.0, "candidates_limit": 4}}
    check(wire.query(line, {"query": query, "limit": 2}), [(12, 12), (9, 9)])


def test_10_1_recommend_by_sum(wire, line):
    query = {"recommend": {"positive": [[1, 0]], "negative": [[0, 1]], "strategy": "sum_scores"}}
    check(wire.query(line, {"query": query, "limit": 3}), [(12, 11), (11, 9), (10, 7)])


def test_10_1_discover_counts_pairs(wire, line):
    # Right side: i > 13 - i. Then the target, here -i: ssig(-7) = (1 - 7/8) / 2.
    query = {"discover": {"target": [-1, 0], "context": [{"positive": [1, 0], "negative": [0, 1]}]}}
    check(wire.query(line, {"query": query, "limit": 2}), [(7, 1 + 1 / 16), (8, 1 + 1 / 18)])


def test_10_1_context_shows_the_loss(wire, line):
    # Where i < 13 - i the loss is the difference through fsig; elsewhere 0.
    query = {"context": [{"positive": [1, 0], "negative": [0, 1]}]}
    hits = wire.query(line, {"query": query, "limit": 8})
    check_any_order(hits[:6], [(i, 0) for i in range(7, 13)])
    check(hits[6:], [(6, -1 / 2), (5, -3 / 4)])


def test_10_1_relevance_feedback_weighs_examples(wire, line):
    feedback = [{"example": [1, 0], "score": 3}, {"example": [0, 1], "score": 1}]
    query = {"relevance_feedback": {"target": [0, 1], "feedback": feedback, "strategy": {"naive": {"a": 1, "b": 2, "c": 0.5}}}}
    # (13 - i) + (3 - 1)^2 * 0.5 * (i - (13 - i)) = 3 i - 13.
    check(wire.query(line, {"query": query, "limit": 2}), [(12, 23), (11, 20)])


def test_10_1_order_by_scores_one_shows_the_value_and_takes_the_offset(wire, line):
    hits = wire.query(line, {"query": {"order_by": "n"}, "offset": 2, "limit": 3})
    assert [(hit["id"], hit["score"], hit["order_value"]) for hit in hits] == [(3, 1.0, 3), (4, 1.0, 4), (5, 1.0, 5)]
    descending = {"order_by": {"key": "n", "direction": "desc", "start_from": 8}}
    assert [(hit["id"], hit["order_value"]) for hit in wire.query(line, {"query": descending, "limit": 2})] == [(8, 8), (7, 7)]


# By [1, 0]: 12, 11, 10 with these scores. By distance from (11, 0): 11, 10, 12 with 0, 1, 1.
TWO_LISTS = [{"query": [1, 0], "limit": 3}, {"query": [11, 0], "using": "e", "limit": 3}]


def test_10_1_fusion_rrf(wire, line):
    want = [(11, 1 / 3 + 1 / 2), (12, 1 / 2 + 1 / 4), (10, 1 / 4 + 1 / 3)]
    check(wire.query(line, {"prefetch": TWO_LISTS, "query": {"fusion": "rrf"}}), want)


def test_10_1_fusion_dbsf(wire, line):
    # First list: mean 11, deviation 1. Second: mean 2/3, variance 1/3.
    low, width = 2 / 3 - 3 * 3**-0.5, 6 * 3**-0.5
    near, far = (0 - low) / width, (1 - low) / width
    want = [(12, 4 / 6 + far), (10, 2 / 6 + far), (11, 3 / 6 + near)]
    check(wire.query(line, {"prefetch": TWO_LISTS, "query": {"fusion": "dbsf"}}), want)


def test_10_1_rrf_in_an_object_takes_k_and_weights(wire, line):
    want = [(11, 1 / 3 + 1 / 3), (12, 1 / 2.5 + 1 / 5), (10, 1 / 3.5 + 1 / 4)]
    check(wire.query(line, {"prefetch": TWO_LISTS, "query": {"rrf": {"k": 3, "weights": [2, 1]}}}), want)
    assert wire.query(line, {"prefetch": TWO_LISTS, "query": {"rrf": {}}}) == wire.query(line, {"prefetch": TWO_LISTS, "query": {"fusion": "rrf"}})


def test_10_1_sample_is_random_filtered_and_scores_one_with_version_zero(wire, line):
    draws = [wire.query(line, {"query": {"sample": "random"}, "filter": RED, "limit": 3}) for _ in range(15)]
    for hits in draws:
        assert len(set(ids(hits))) == 3 and all(id % 2 for id in ids(hits))
        assert {hit["score"] for hit in hits} == {1.0}
    # 20 sets in all: fifteen draws of one have probability 20^-14.
    assert len({frozenset(ids(hits)) for hits in draws}) > 1
    assert sorted(ids(wire.query(line, {"query": {"sample": "random"}, "limit": 99}))) == list(range(1, 13))
    assert set(versions(wire, line, {"sample": "random"})) == {0}


def test_10_1_sample_with_prefetch_is_of_their_union(wire, line):
    prefetch = [{"query": [1, 0], "limit": 2}, {"query": [0, 1], "limit": 2}, {"query": [1, 0], "limit": 1}]
    for _ in range(5):
        assert sorted(ids(wire.query(line, {"prefetch": prefetch, "query": {"sample": "random"}}))) == [1, 2, 11, 12]
        assert set(ids(wire.query(line, {"prefetch": prefetch, "query": {"sample": "random"}, "limit": 2}))) < {1, 2, 11, 12}


def test_10_1_formula_rescores(wire, line):
    prefetch = {"query": [1, 0], "limit": 3}
    check(wire.query(line, {"prefetch": prefetch, "query": {"formula": {"neg": "n"}}}), [(10, -10), (11, -11), (12, -12)])


def test_10_1_text_ranks_by_a_text_index(wire, make):
    name = make(None)
    wire.create_index(name, "body", {"type": "text", "scoring": True})
    wire.pay(name, {1: {"body": "a red fox"}, 2: {"body": "a blue whale"}, 3: {"body": "red red red"}})
    assert ids(wire.query(name, {"query": {"text": "red"}, "using": "body"})) == [3, 1]


def test_10_1_context_is_one_pair_or_a_list(wire, line):
    pair = {"positive": [1, 0], "negative": [0, 1]}
    assert wire.query(line, {"query": {"context": pair}, "limit": 12}) == wire.query(line, {"query": {"context": [pair]}, "limit": 12})
    both = [{"discover": {"target": [0, 1], "context": context}} for context in (pair, [pair])]
    assert wire.query(line, {"query": both[0]}) == wire.query(line, {"query": both[1]})


def test_10_1_prefetch_is_one_object_or_a_list(wire, line):
    source = {"query": [1, 0], "limit": 3, "prefetch": {"query": [0, 1], "limit": 5}}
    listed = [source | {"prefetch": [source["prefetch"]]}]
    want = [(5, 5), (4, 4), (3, 3)]
    for prefetch in (source, listed):
        check(wire.query(line, {"prefetch": prefetch, "query": [1, 0]}), want)


def test_10_1_recommend_examples_are_one_or_a_list(rest, line):
    """A message has lists only. Whole numbers in a list are ids, so the one vector here has none."""
    for one, listed in [(12, [12]), ([1.5, 0.5], [[1.5, 0.5]]), ({"indices": [1], "values": [2]}, [{"indices": [1], "values": [2]}])]:
        for strategy in ("average_vector", "best_score"):
            single = {"recommend": {"positive": one, "negative": one, "strategy": strategy}}
            many = {"recommend": {"positive": listed, "negative": listed, "strategy": strategy}}
            using = {"using": "s" if isinstance(one, dict) else ""}
            assert rest.query(line, {"query": single} | using) == rest.query(line, {"query": many} | using)


# 10.2 Defaults and validation


def test_10_2_1_limit_is_ten(wire, line):
    assert ids(wire.query(line, {"query": [1, 0]})) == list(range(12, 2, -1))
    assert ids(wire.query(line, {"query": [1, 0], "limit": 11})) == list(range(12, 1, -1))


def test_10_2_1_limit_zero_is_refused(wire, line):
    refuses(wire, invalid_query("limit: value 0 invalid, must be 1 or larger"), line, {"query": [1, 0], "limit": 0})


def test_10_2_1_offset_is_zero_and_skips(wire, line):
    assert ids(wire.query(line, {"query": [1, 0], "offset": 2, "limit": 2})) == [10, 9]
    assert wire.query(line, {"query": [1, 0], "offset": 12}) == []
    assert wire.query(line, {"query": [1, 0], "offset": 0}) == wire.query(line, {"query": [1, 0]})


def test_10_2_1_prefetch_limit_is_ten_and_at_least_one(wire, line):
    hits = wire.query(line, {"prefetch": [{"query": [1, 0]}], "query": [0, 1], "limit": 12})
    assert ids(hits) == list(range(3, 13))
    body = {"prefetch": [{"query": [1, 0], "limit": 0}], "query": [0, 1]}
    refuses(wire, invalid_query("prefetch[0].limit: value 0 invalid, must be 1 or larger"), line, body)


def test_10_2_1_groups_are_ten_of_three(wire, make):
    name = make(1)
    wire.put(name, *[(10 * g + i, [10 * g + i], {"g": g}) for g in range(12) for i in range(1, 6)])
    groups = wire.query_groups(name, {"query": [1], "group_by": "g"})
    assert [group["id"] for group in groups] == list(range(11, 1, -1))
    assert [ids(group["hits"]) for group in groups][:2] == [[115, 114, 113], [105, 104, 103]]
    assert {len(group["hits"]) for group in groups} == {3}


def test_10_2_1_mmr_diversity_is_a_half_and_candidates_are_the_limit(wire, make):
    # After 1, its near double 2 is worth half of 0.9 - 0.9, and 3 half of 0.5 - 0; with 0.1 it is 0.81 - 0.09 against 0.45.
    name = make(2)
    wire.put(name, (1, [1, 0]), (2, [0.9, 0]), (3, [0, 0.5]))
    ask = lambda mmr, limit: ids(wire.query(name, {"query": {"nearest": [1, 1], "mmr": mmr}, "limit": limit}))
    assert ask({}, 3) == ask({"diversity": 0.5}, 3) == [1, 3, 2]
    assert ask({"diversity": 0.1}, 3) == [1, 2, 3]
    # Two candidates: 3 is never looked at.
    assert ask({}, 2) == [1, 2]
    assert ask({"candidates_limit": 3}, 2) == [1, 3]


def test_10_2_1_mmr_ranges(wire, line):
    for mmr, failure in [
        ({"candidates_limit": 16385}, "candidates_limit: value 16385 invalid, must be from 1 to 16384"),
        ({"diversity": 1.5}, "diversity: value 1.5 invalid, must be from 0.0 to 1.0"),
        ({"diversity": -0.5}, "diversity: value -0.5 invalid, must be from 0.0 to 1.0"),
    ]:
        # The client's models refuse them, too.
        refusal = invalid_query(f"query.mmr.{failure}", f"query.nearest_with_mmr.mmr.{failure}")
        message = pb.QueryPoints(collection_name=line, query=pb.Query(nearest_with_mmr=pb.NearestInputWithMmr(mmr=pb.Mmr(**mmr))))
        message.query.nearest_with_mmr.nearest.dense.data.extend([1, 0])
        path = f"/collections/{line}/points/query"
        with wire.refuses(refusal):
            wire.either(("POST", path, {"query": {"nearest": [1, 0], "mmr": mmr}}), ("Query", message))
    assert len(wire.query(line, {"query": {"nearest": [1, 0], "mmr": {"candidates_limit": 16384}}})) == 10


def test_10_2_1_hnsw_ef_is_at_least_one(wire, line):
    body = {"query": [1, 0], "params": {"hnsw_ef": 0}}
    refuses(wire, invalid_query("params.hnsw_ef: value 0 invalid, must be 1 or larger"), line, body)
    assert len(wire.query(line, {"query": [1, 0], "params": {"hnsw_ef": 1}, "limit": 1})) == 1


def test_10_2_1_rrf_k_is_at_least_one(wire, line):
    body = {"prefetch": TWO_LISTS, "query": {"rrf": {"k": 0}}}
    refuses(wire, invalid_query("query.rrf.k: value 0 invalid, must be 1 or larger"), line, body)
    # 1 / ((p + 1) + 1 - 1)
    check(wire.query(line, {"prefetch": TWO_LISTS[:1], "query": {"rrf": {"k": 1}}}), [(12, 1), (11, 1 / 2), (10, 1 / 3)])


def test_10_2_2_prefetch_needs_a_query(wire, line):
    text = "A query is needed to merge the prefetches. Can't have prefetches without defining a query."
    nested = {"prefetch": TWO_LISTS, "limit": 3}
    refuses(wire, bad_request(text), line, {"prefetch": TWO_LISTS}, {"prefetch": nested, "query": [1, 0]})


@pytest.mark.parametrize("query", [{"fusion": "rrf"}, {"fusion": "dbsf"}, {"rrf": {"k": 3}}, {"formula": "n"}], ids=str)
def test_10_2_2_fusion_and_formula_need_prefetches(wire, line, query):
    refuses(wire, bad_request(Start("")), line, {"query": query}, {"prefetch": {"query": query}, "query": [1, 0]})


def test_10_2_2_fusion_takes_no_using_but_the_empty_one(wire, line):
    for query in ({"fusion": "rrf"}, {"fusion": "dbsf"}, {"rrf": {}}):
        body = {"prefetch": TWO_LISTS, "query": query}
        refuses(wire, bad_request("Fusion queries cannot be combined with the 'using' field."), line, body | {"using": "e"})
        assert wire.query(line, body | {"using": ""}) == wire.query(line, body)


def nested(depth):
    """Prefetches `depth` levels deep."""
    level = {"query": [1, 0], "limit": 5}
    for _ in range(depth - 1):
        level = {"prefetch": level, "query": [1, 0], "limit": 5}
    return level


def test_10_2_2_depth_of_prefetches_is_at_most_sixty_four_levels(wire, line):
    assert ids(wire.query(line, {"prefetch": nested(64), "query": [0, 1]})) == [8, 9, 10, 11, 12]
    refuses(wire, bad_request("prefetches depth 65 exceeds max depth 64"), line, {"prefetch": nested(65), "query": [0, 1]})


def test_10_2_3_an_unknown_vector_is_refused_on_every_level(wire, line):
    leaf = {"query": [1, 0], "using": "nope"}
    best = {"recommend": {"positive": [[1, 0]], "strategy": "best_score"}}
    refuses(
        wire,
        wrong_input("Not existing vector name error: nope"),
        line,
        leaf,
        {"query": 1, "using": "nope"},
        {"query": best, "using": "nope"},
        {"prefetch": leaf, "query": [1, 0]},
        {"prefetch": {"prefetch": leaf, "query": [1, 0]}, "query": {"fusion": "rrf"}},
    )


# 10.3 Ids inside queries

def queries_of(id, id2):
    """Every kind of query that takes ids, or vectors in their place: by `id` and, where there are two, `id2`."""
    return {
        "nearest": {"nearest": id},
        "mmr": {"nearest": id, "mmr": {"diversity": 0.3}},
        "recommend": {"recommend": {"positive": [id], "negative": [id2]}},
        "best_score": {"recommend": {"positive": [id], "negative": [id2], "strategy": "best_score"}},
        "sum_scores": {"recommend": {"positive": [id], "negative": [id2], "strategy": "sum_scores"}},
        "discover": {"discover": {"target": id, "context": [{"positive": id2, "negative": id}]}},
        "context": {"context": [{"positive": id, "negative": id2}]},
        "feedback": {
            "relevance_feedback": {
                "target": id,
                "feedback": [{"example": id2, "score": 2}, {"example": id, "score": 1}],
                "strategy": {"naive": {"a": 1, "b": 1, "c": 1}},
            }
        },
    }


@pytest.mark.parametrize("kind", queries_of(1, 2))
def test_10_3_1_an_id_stands_for_its_vector_named_by_using_and_is_not_found(wire, line, kind):
    taken = {3} if kind in ("nearest", "mmr") else {3, 9}
    without = {"must_not": [{"has_id": sorted(taken)}]}
    for using, vector_of in [(None, lambda i: [i, 13 - i]), ("e", lambda i: [i, 0])]:
        by_id = wire.query(line, {"query": queries_of(3, 9)[kind], "using": using, "limit": 20})
        by_vector = wire.query(line, {"query": queries_of(vector_of(3), vector_of(9))[kind], "using": using, "limit": 20, "filter": without})
        assert by_id == by_vector
        assert set(ids(by_id)) == set(range(1, 13)) - taken


@pytest.mark.parametrize("kind", queries_of(1, 2))
def test_10_3_1_lookup_from_takes_the_vector_from_elsewhere_and_leaves_nothing_out(wire, line, other, kind):
    # In `other`, `v` of 3 is (0, 3), of 9 (0, 9); the ids 3 and 9 are in both collections.
    by_id = wire.query(line, {"query": queries_of(3, 9)[kind], "lookup_from": {"collection": other, "vector": "v"}, "limit": 20})
    by_vector = wire.query(line, {"query": queries_of([0, 3], [0, 9])[kind], "limit": 20})
    assert by_id == by_vector
    assert len(by_id) == 12


def test_10_3_1_lookup_from_without_a_vector_takes_the_one_of_using(wire, line, other):
    # `e` of 5 in `other` is (15, 0), in `line` (5, 0).
    check(wire.query(line, {"query": 5, "using": "e", "lookup_from": {"collection": other}, "limit": 3}), [(12, 3), (11, 4), (10, 5)])


def test_10_3_1_lookup_from_is_of_its_level_only(wire, line, other):
    # Prefetch: by (0, 3) of `other`: 1, 2, 3. Root: by point 12 of `line`, (12, 1): 11 i + 13.
    prefetch = {"query": 3, "lookup_from": {"collection": other, "vector": "v"}, "limit": 3}
    check(wire.query(line, {"prefetch": prefetch, "query": 12}), [(3, 46), (2, 35), (1, 24)])
    # The root's does not reach the prefetch: 3 is (3, 10) there, and left out everywhere.
    prefetch = {"query": 3, "limit": 3}
    hits = wire.query(line, {"prefetch": prefetch, "query": 9, "lookup_from": {"collection": other, "vector": "v"}})
    # 3 i + 10 (13 - i) = 130 - 7 i: 1, 2, 4; then 9 (13 - i).
    check(hits, [(1, 108), (2, 99), (4, 81)])


def test_10_3_2_a_point_that_is_not_there(wire, line, other):
    for query in queries_of(99, 1).values():
        bodies = {"query": query}, {"prefetch": {"query": query}, "query": [1, 0]}
        refuses(wire, not_found("No point with id 99 found"), line, *bodies)
    refuses(wire, not_found("No point with id 98 found"), line, {"query": 98, "lookup_from": {"collection": other, "vector": "v"}})


def test_10_3_2_a_point_that_lacks_the_vector(wire, line, other):
    body = {"query": 99, "using": "e", "lookup_from": {"collection": other}}
    refuses(wire, not_found('Vector with name "e" for point 99 not found'), line, body)


def test_10_3_2_a_collection_that_is_not_there(wire, line):
    body = {"query": 1, "lookup_from": {"collection": "nowhere"}}
    refuses(wire, not_found("Collection nowhere not found"), line, body, {"prefetch": body, "query": [1, 0]})


def test_10_3_3_an_id_of_the_root_is_left_out_of_every_leaf(wire, line):
    # Without 12 the leaf finds 11, 10, 9; with it 12 would take one of its three places.
    prefetch = {"prefetch": {"query": [1, 0], "limit": 3}, "query": [0, 1], "limit": 3}
    assert ids(wire.query(line, {"prefetch": prefetch, "query": 12})) == [11, 10, 9]


def test_10_3_3_an_id_of_a_prefetch_is_left_out_of_its_siblings_and_of_the_root(wire, line):
    prefetch = [{"prefetch": {"query": 12, "limit": 1}, "query": [0, 1]}, {"query": [1, 0], "limit": 1}]
    check(wire.query(line, {"prefetch": prefetch, "query": [0, 1]}), [(11, 2)])
    recommend = {"recommend": {"positive": [12], "negative": [11], "strategy": "best_score"}}
    prefetch = [{"query": recommend, "limit": 1}, {"query": [1, 0], "limit": 2}]
    assert set(ids(wire.query(line, {"prefetch": prefetch, "query": {"fusion": "rrf"}}))) == {10, 9}


# 10.4 Execution with prefetch


def test_10_4_1_a_filter_reaches_every_leaf(wire, line):
    # The leaf finds three red ones, not the red one of three.
    leaf = {"query": [1, 0], "limit": 3}
    assert ids(wire.query(line, {"prefetch": leaf, "query": [0, 1], "filter": RED})) == [7, 9, 11]
    middle = {"prefetch": {"prefetch": leaf, "query": [1, 0]}, "query": [1, 0], "filter": RED}
    assert ids(wire.query(line, {"prefetch": middle, "query": [0, 1]})) == [7, 9, 11]
    # A sibling is not under it.
    siblings = [leaf | {"filter": RED}, {"query": [0, 1], "limit": 2}]
    assert ids(wire.query(line, {"prefetch": siblings, "query": [0, 1]})) == [1, 2, 7, 9, 11]


def test_10_4_1_filters_merge_clause_by_clause(wire, line):
    def found(leaf, root):
        return ids(wire.query(line, {"prefetch": {"query": [1, 0], "filter": leaf}, "query": [0, 1], "filter": root}))

    assert found({"must": [{"key": "n", "range": {"gt": 8}}]}, RED) == [9, 11]
    assert found({"must_not": [n_is(11)]}, {"must_not": [n_is(12), {"key": "n", "range": {"lt": 8}}]}) == [8, 9, 10]
    # Alternatives widen: none of these would match both.
    assert found({"should": [n_is(3)]}, {"should": [n_is(5), n_is(9)]}) == [3, 5, 9]
    # The larger count stands, over the conditions of both.
    one = {"min_should": {"conditions": [n_is(3), {"key": "n", "range": {"lt": 6}}], "min_count": 1}}
    two = {"min_should": {"conditions": [{"key": "color", "match": {"value": "red"}}], "min_count": 2}}
    assert found(one, two) == found(two, one) == [1, 3, 5]


def test_10_4_1_a_leaf_has_its_own_limit_threshold_params_and_using(wire, line):
    prefetch = [
        {"query": [1, 0], "limit": 2},
        {"query": [0, 1], "score_threshold": 10, "limit": 5},
        {"query": [6, 0], "using": "e", "limit": 1, "params": {"exact": True}},
    ]
    # 12, 11; then 13 - i > 10: 1, 2 (3 has just 10); then 6.
    assert ids(wire.query(line, {"prefetch": prefetch, "query": [0, 1], "score_threshold": -1, "limit": 20})) == [1, 2, 6, 11, 12]


UNION = [{"query": [1, 0], "limit": 3}, {"query": [0, 1], "limit": 3}]  # 12, 11, 10 and 1, 2, 3


def test_10_4_2_an_inner_level_works_on_the_union_of_its_children(wire, line):
    for query, using, want in [
        ([0, 0], "e", {1, 2, 3, 10}),
        ({"order_by": {"key": "n", "direction": "desc"}}, None, {12, 11, 10, 3}),
        ({"formula": {"neg": {"abs": {"sum": ["n", -5.7]}}}}, None, {3, 2, 10, 1}),
        ({"recommend": {"positive": [[1, 0]], "negative": [[0, 1]], "strategy": "sum_scores"}}, None, {12, 11, 10, 3}),
    ]:
        inner = {"prefetch": UNION, "query": query, "using": using, "limit": 4}
        assert set(ids(wire.query(line, {"prefetch": inner, "query": [1, 0]}))) == want
    sampled = {"prefetch": UNION, "query": {"sample": "random"}, "limit": 4}
    got = ids(wire.query(line, {"prefetch": sampled, "query": [1, 0]}))
    assert len(got) == 4 and set(got) < {12, 11, 10, 1, 2, 3}


def test_10_4_2_an_inner_level_is_cut_to_its_limit_and_threshold(wire, line):
    inner = {"prefetch": UNION, "query": [0, 0], "using": "e", "limit": 2}
    assert ids(wire.query(line, {"prefetch": inner, "query": [1, 0]})) == [2, 1]
    # Euclid: nearer than 3, not at 3.
    inner = {"prefetch": UNION, "query": [0, 0], "using": "e", "score_threshold": 3}
    assert ids(wire.query(line, {"prefetch": inner, "query": [1, 0]})) == [2, 1]


def test_10_4_2_filters_are_not_checked_again_above_the_leaves(wire, line):
    # Merged alternatives let 3 through below; the root alone would not.
    leaf = {"query": [1, 0], "filter": {"should": [n_is(3)]}}
    inner = {"prefetch": leaf, "query": [1, 0], "filter": {"should": [n_is(4)]}}
    for root in ([1, 0], {"order_by": {"key": "n", "direction": "desc"}}):
        assert ids(wire.query(line, {"prefetch": inner, "query": root, "filter": {"should": [n_is(5)]}})) == [5, 4, 3]


def test_10_4_3_fusion_takes_the_lists_in_order_then_offset_and_limit(wire, line):
    root = wire.query(line, {"prefetch": TWO_LISTS, "query": {"fusion": "rrf"}, "offset": 1, "limit": 1})
    check(root, [(12, 1 / 2 + 1 / 4)])
    inner = {"prefetch": TWO_LISTS, "query": {"fusion": "rrf"}, "limit": 2}
    check(wire.query(line, {"prefetch": inner, "query": [1, 0]}), [(12, 12), (11, 11)])
    # The inner result is a list again: 11, 12 against 12, 11, 10.
    fused = wire.query(line, {"prefetch": [inner, TWO_LISTS[0]], "query": {"rrf": {"weights": [1, 3]}}})
    check(fused, [(11, 1 / 2 + 1 / (2 / 3 + 1)), (12, 1 / 3 + 1 / (1 / 3 + 1)), (10, 1 / 2)])


def test_10_4_4_the_root_skips_its_offset_and_attaches_payload_and_vectors(wire, line):
    for query in ([1, 0], {"formula": "n"}, {"order_by": {"key": "n", "direction": "desc"}}):
        hits = wire.query(line, {"prefetch": UNION, "query": query, "offset": 1, "limit": 2, "with_payload": ["n"], "with_vector": ["e"]})
        assert ids(hits) == [11, 10]
        assert [(hit["payload"], hit["vector"]) for hit in hits] == [({"n": 11}, {"e": [11, 0]}), ({"n": 10}, {"e": [10, 0]})]


def test_10_4_5_a_prefetch_caps_the_candidates(wire, line):
    assert ids(wire.query(line, {"prefetch": {"query": [1, 0], "limit": 2}, "query": [0, 1], "limit": 10})) == [11, 12]


def test_10_4_5_a_prefetch_has_no_offset(rest, line):
    """REST passes over what a prefetch does not know; a message has no such field."""
    assert ids(rest.query(line, {"prefetch": {"query": [1, 0], "limit": 2, "offset": 2}, "query": [0, 1]})) == [11, 12]


def test_10_4_6_a_leaf_without_a_query_is_the_first_ids(wire, line):
    prefetch = [{"limit": 3}, {"filter": RED, "limit": 2}]
    want = [(1, 1 / 2 + 1 / 2), (3, 1 / 4 + 1 / 3), (2, 1 / 3)]
    check(wire.query(line, {"prefetch": prefetch, "query": {"fusion": "rrf"}}), want)
    check(wire.query(line, {"prefetch": prefetch[:1], "query": {"formula": "$score"}}), [(3, 1), (2, 1), (1, 1)])


def test_10_4_7_params_are_taken_and_change_no_exact_answer(wire, line):
    want = wire.query(line, {"query": [1, 0]})
    for params in (
        {"hnsw_ef": 64},
        {"exact": True},
        {"quantization": {"ignore": True, "rescore": False, "oversampling": 1.0}},
        {"acorn": {"enable": True, "max_selectivity": 0.5}},
    ):
        assert wire.query(line, {"query": [1, 0], "params": params}) == want
        check(wire.query(line, {"prefetch": {"query": [1, 0], "params": params, "limit": 2}, "query": [0, 1]}), [(11, 2), (12, 1)])


def test_10_4_7_params_oversampling_and_selectivity_have_ranges(wire, line):
    for params, rest, grpc, failure in [
        (
            {"quantization": {"oversampling": 0.5}},
            "params.quantization.oversampling",
            pb.SearchParams(quantization=pb.QuantizationSearchParams(oversampling=0.5)),
            "value 0.5 invalid, must be 1.0 or larger",
        ),
        (
            {"acorn": {"max_selectivity": 1.5}},
            "params.acorn.max_selectivity",
            pb.SearchParams(acorn=pb.AcornSearchParams(max_selectivity=1.5)),
            "value 1.5 invalid, must be from 0.0 to 1.0",
        ),
    ]:
        message = pb.QueryPoints(collection_name=line, params=grpc)
        with wire.refuses(invalid_query(f"{rest}: {failure}")):
            wire.either(("POST", f"/collections/{line}/points/query", {"query": [1, 0], "params": params}), ("Query", message))


def test_10_4_7_params_indexed_only_may_skip_but_never_adds(wire, line):
    everything = pairs(wire.query(line, {"query": [1, 0], "limit": 12}))
    some = pairs(wire.query(line, {"query": [1, 0], "limit": 12, "params": {"indexed_only": True}}))
    assert some == [pair for pair in everything if pair in some]


# 10.5 Batch


def test_10_5_1_order_of_a_batch_is_kept_each_as_alone(wire, line):
    bodies = [
        {"query": [1, 0], "limit": 2},
        {"prefetch": TWO_LISTS, "query": {"fusion": "rrf"}, "with_payload": True},
        {"query": 12, "offset": 1, "limit": 1, "with_vector": True},
        {"query": {"order_by": "n"}, "filter": RED},
    ]
    for order in itertools.islice(itertools.permutations(bodies), 0, 24, 7):
        assert wire.query_batch(line, list(order)) == [wire.query(line, body) for body in order]


def test_10_5_1_bad_entry_fails_the_call(wire, line):
    bodies = [{"query": [1, 0]}, {"query": [1, 0, 0]}, {"query": [0, 1]}]
    with wire.refuses(wrong_input("Vector dimension error: expected dim: 2, got 3")):
        wire.query_batch(line, bodies)
    with wire.refuses(not_found("No point with id 99 found")):
        wire.query_batch(line, [{"query": [1, 0]}, {"query": 99}])


def test_10_5_1_empty_batch_is_answered_by_nothing(wire, line):
    assert wire.query_batch(line, []) == []


def test_10_5_1_shapes_of_the_answers(rest, line):
    """A query's result is an object with points, a batch's a list of these, the old search's a bare list."""
    post = lambda path, body: rest.at("POST", line, f"/points/{path}", body)
    one = post("query", {"query": [1, 0], "limit": 1})
    assert list(one) == ["points"] and [point["id"] for point in one["points"]] == [12]
    assert post("query/batch", {"searches": [{"query": [1, 0], "limit": 1}]}) == [one]
    assert post("search", {"vector": [1, 0], "limit": 1}) == one["points"]
    assert post("search/batch", {"searches": [{"vector": [1, 0], "limit": 1}]}) == [one["points"]]
