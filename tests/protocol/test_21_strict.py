"""PROTOCOL 21: strict mode on every operation that a setting applies to, rate limits, and timeouts."""

import json
import re
import time

import pytest
from qdrant_client import grpc as pb

from figures import pairs
from old import old
from wire import Part, Refusal, Refused, Start, bad_request, invalid

RULES = {
    "21.1 query_limit": "max_query_limit",
    "21.1 timeout": "max_timeout",
    "21.1 hnsw_ef": "search_max_hnsw_ef",
    "21.1 oversampling": "search_max_oversampling",
    "21.1 upsert": "upsert_max_batchsize",
    "21.1 search_batch": "search_max_batchsize",
    "21.2 exact": "search_allow_exact",
    "21.2 graph": "queries on a vector without a graph",
    "21.3 retrieve": "unindexed_filtering_retrieve",
    "21.3 update": "unindexed_filtering_update",
    "21.3 kinds": "the kinds of index a condition needs",
    "21.3 formula": "formulas",
    "21.3 groups": "group_by",
    "21.3 corpus": "IDF corpus filters",
    "21.4 conditions": "filter_max_conditions",
    "21.4 size": "condition_max_size",
    "21.5": "max_payload_index_count",
    "21.6": "max_points_count and the sizes: inserts only",
    "21.7": "multivector_config and sparse_config",
    "21.8 rate": "token buckets, full at start, refilled; 429 with Retry-After",
    "21.8 capacity": "a cost above the capacity",
    "21.9 read": "the cost of reads",
    "21.9 write": "the cost of writes",
    "21.10": "the config is reported with only the set fields; PATCH merges",
    "21.11": "reads past `timeout`",
    "21.12": "active only while enabled; what is refused has changed nothing",
}

NEAR = [1, 0]
POINTS = [
    {
        "id": id,
        "vector": {"": [id, 1], "m": [[id, 0], [0, id]], "s": {"indices": [1, 2], "values": [id, 1]}},
        "payload": {"k": f"k{id % 3}", "n": id},
    }
    for id in range(1, 7)
]


@pytest.fixture(scope="module")
def strict(rest, make):
    """A function that gives a collection of `POINTS` under these settings; the same for the same settings, so it is to be read only.

    `indexes`: field -> schema, made before strict mode is on.
    """
    made = {}

    def under(settings, indexes=None, fresh=False, **config):
        key = json.dumps([settings, indexes, config])
        if fresh or key not in made:
            vectors = config.pop("vectors", None) or {
                "": {"size": 2, "distance": "Dot"},
                "m": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
            }
            name = make(vectors, sparse_vectors={"s": {"modifier": "idf"}}, **config)
            for field, schema in (indexes or {}).items():
                rest.create_index(name, field, schema)
            there = lambda named: {key: vector for key, vector in named.items() if key in vectors or key == "s"}
            rest.upsert(name, {"points": [point | {"vector": there(point["vector"])} for point in POINTS]})
            rest.patch(name, {"strict_mode_config": {"enabled": True} | settings})
            made[key] = name
        return made[key]

    return under


#: Every read by a query: how a level with `more` is asked.
QUERIES = {
    "query": lambda wire, name, more: wire.query(name, {"query": NEAR} | more),
    "batch": lambda wire, name, more: wire.query_batch(name, [{"query": NEAR} | more]),
    "prefetch": lambda wire, name, more: wire.query(name, {"prefetch": {"query": NEAR} | more, "query": NEAR, "limit": 1}),
    "deep prefetch": lambda wire, name, more: wire.query(
        name, {"prefetch": {"prefetch": [{"query": NEAR} | more], "query": NEAR, "limit": 1}, "query": {"fusion": "rrf"}, "limit": 1}
    ),
    "groups": lambda wire, name, more: wire.query_groups(name, {"query": NEAR, "group_by": "k", "group_size": 1} | more),
    "search": lambda wire, name, more: old(wire, "search", name, {"vector": NEAR} | more),
    "search batch": lambda wire, name, more: old(wire, "search/batch", name, {"searches": [{"vector": NEAR} | more]}),
    "search groups": lambda wire, name, more: old(wire, "search/groups", name, {"vector": NEAR, "group_by": "k", "group_size": 1} | more),
    "recommend": lambda wire, name, more: old(wire, "recommend", name, {"positive": [1]} | more),
    "recommend batch": lambda wire, name, more: old(wire, "recommend/batch", name, {"searches": [{"positive": [1]} | more]}),
    "recommend groups": lambda wire, name, more: old(wire, "recommend/groups", name, {"positive": [1], "group_by": "k", "group_size": 1} | more),
    "discover": lambda wire, name, more: old(wire, "discover", name, {"target": 1} | more),
    "discover batch": lambda wire, name, more: old(wire, "discover/batch", name, {"searches": [{"target": 1} | more]}),
}
#: Reads through a filter.
LISTINGS = {
    "scroll": lambda wire, name, more: wire.scroll(name, more),
    "facet": lambda wire, name, more: wire.facet(name, {"key": "k"} | more),
    "matrix pairs": lambda wire, name, more: wire.matrix_pairs(name, {"sample": 2, "using": ""} | more),
    "matrix offsets": lambda wire, name, more: wire.matrix_offsets(name, {"sample": 2, "using": ""} | more),
}
COUNT = {"count": lambda wire, name, more: wire.count(name, {key: one for key, one in more.items() if key != "limit"})}
FACETED = {"k": "keyword"}


def above(name, value, limit):
    """The refusal of a number above its limit."""
    return bad_request(f'Limit exceeded {value} > {limit} for "{name}". Help: Reduce the "{name}" parameter to or below {limit}.')


# 21.1 Numbers


@pytest.mark.parametrize("kind", QUERIES | {key: LISTINGS[key] for key in ("scroll", "facet")})
def test_21_1_query_limit_of_reads(wire, strict, kind):
    name = strict({"max_query_limit": 5}, FACETED)
    ask = (QUERIES | LISTINGS)[kind]
    ask(wire, name, {"limit": 5})
    with wire.refuses(above("limit", 6, 5)):
        ask(wire, name, {"limit": 6})


def test_21_1_query_limit_holds_for_the_defaults(wire, strict):
    name = strict({"max_query_limit": 5}, FACETED)
    for ask in (
        lambda: wire.query(name, {"query": NEAR}),
        lambda: wire.query(name, {}),
        lambda: wire.query(name, {"prefetch": {"query": NEAR}, "query": NEAR, "limit": 1}),
        lambda: wire.scroll(name, {}),
        lambda: wire.facet(name, {"key": "k"}),
    ):
        with wire.refuses(above("limit", 10, 5)):
            ask()


def test_21_1_query_limit_of_groups_and_matrices_is_a_product(wire, strict):
    name = strict({"max_query_limit": 5}, FACETED)
    for kind in ("groups", "search groups", "recommend groups"):
        QUERIES[kind](wire, name, {"limit": 1, "group_size": 5})
        with wire.refuses(above("limit", 6, 5)):
            QUERIES[kind](wire, name, {"limit": 2, "group_size": 3})
    for kind in ("matrix pairs", "matrix offsets"):
        LISTINGS[kind](wire, name, {"sample": 2, "limit": 2})
        with wire.refuses(above("limit", 6, 5)):
            LISTINGS[kind](wire, name, {"sample": 2, "limit": 3})


READS_WITH_TIMEOUT = {
    "query": lambda wire, name, **more: wire.query(name, {"query": NEAR}, **more),
    "batch": lambda wire, name, **more: wire.query_batch(name, [{"query": NEAR}], **more),
    "groups": lambda wire, name, **more: wire.query_groups(name, {"query": NEAR, "group_by": "k"}, **more),
    "scroll": lambda wire, name, **more: wire.scroll(name, {}, **more),
    "count": lambda wire, name, **more: wire.count(name, {}, **more),
    "retrieve": lambda wire, name, **more: wire.retrieve(name, {"ids": [1]}, **more),
    "facet": lambda wire, name, **more: wire.facet(name, {"key": "k"}, **more),
    "matrix pairs": lambda wire, name, **more: wire.matrix_pairs(name, {}, **more),
    "matrix offsets": lambda wire, name, **more: wire.matrix_offsets(name, {}, **more),
    "search": lambda wire, name, **more: old(wire, "search", name, {"vector": NEAR, "limit": 1}, **more),
    "search batch": lambda wire, name, **more: old(wire, "search/batch", name, {"searches": [{"vector": NEAR, "limit": 1}]}, **more),
    "search groups": lambda wire, name, **more: old(
        wire, "search/groups", name, {"vector": NEAR, "limit": 1, "group_by": "k", "group_size": 1}, **more
    ),
    "recommend": lambda wire, name, **more: old(wire, "recommend", name, {"positive": [1], "limit": 1}, **more),
    "discover": lambda wire, name, **more: old(wire, "discover", name, {"target": 1, "limit": 1}, **more),
}


@pytest.mark.parametrize("kind", READS_WITH_TIMEOUT)
def test_21_1_timeout_of_reads(wire, strict, kind):
    name = strict({"max_timeout": 5}, FACETED)
    READS_WITH_TIMEOUT[kind](wire, name)
    READS_WITH_TIMEOUT[kind](wire, name, timeout=5)
    with wire.refuses(above("timeout", 6, 5)):
        READS_WITH_TIMEOUT[kind](wire, name, timeout=6)


@pytest.mark.parametrize("kind", QUERIES)
def test_21_1_hnsw_ef_of_queries(wire, strict, kind):
    name = strict({"search_max_hnsw_ef": 64})
    QUERIES[kind](wire, name, {"limit": 1, "params": {"hnsw_ef": 64}})
    with wire.refuses(above("hnsw_ef", 65, 64)):
        QUERIES[kind](wire, name, {"limit": 1, "params": {"hnsw_ef": 65}})


@pytest.mark.parametrize("kind", QUERIES)
def test_21_1_oversampling_of_queries(wire, strict, kind):
    name = strict({"search_max_oversampling": 1.5})
    QUERIES[kind](wire, name, {"limit": 1, "params": {"quantization": {"oversampling": 1.5}}})
    with wire.refuses(above("oversampling", 2.5, 1.5)):
        QUERIES[kind](wire, name, {"limit": 1, "params": {"quantization": {"oversampling": 2.5}}})


def test_21_1_upsert_of_points_and_updates_of_vectors(wire, strict):
    name = strict({"upsert_max_batchsize": 3}, fresh=True)
    points = lambda count: [{"id": id, "vector": {"": [0, 1]}} for id in range(101, 101 + count)]
    batch = lambda count: {"ids": list(range(101, 101 + count)), "vectors": {"": [[0, 1]] * count}}
    for upsert in (
        lambda count: wire.upsert(name, {"points": points(count)}),
        lambda count: wire.upsert(name, {"batch": batch(count)}),
        lambda count: wire.batch(name, [{"upsert": {"points": points(count)}}]),
        lambda count: wire.batch(name, [{"upsert": {"batch": batch(count)}}]),
    ):
        upsert(3)
        with wire.refuses(above("upsert limit", 4, 3)):
            upsert(4)
    for update in (
        lambda count: wire.update_vectors(name, {"points": points(count)}),
        lambda count: wire.batch(name, [{"update_vectors": {"points": points(count)}}]),
    ):
        update(3)
        with wire.refuses(above("update limit", 4, 3)):
            update(4)
    # Each operation of a batch on its own.
    wire.batch(name, [{"upsert": {"points": points(2)}}, {"upsert": {"points": points(2)}}])


def test_21_1_search_batch_of_queries(wire, strict):
    name = strict({"search_max_batchsize": 2})
    for batch in (
        lambda count: wire.query_batch(name, [{"query": NEAR}] * count),
        lambda count: old(wire, "search/batch", name, {"searches": [{"vector": NEAR, "limit": 1}] * count}),
        lambda count: old(wire, "recommend/batch", name, {"searches": [{"positive": [1], "limit": 1}] * count}),
        lambda count: old(wire, "discover/batch", name, {"searches": [{"target": 1, "limit": 1}] * count}),
    ):
        assert len(batch(2)) == 2
        with wire.refuses(above("search batch size", 3, 2)):
            batch(3)
    wire.query(name, {"query": NEAR})


# 21.2 Exact searches


@pytest.mark.parametrize("kind", QUERIES)
def test_21_2_exact_searches_are_forbidden(wire, strict, kind):
    name = strict({"search_allow_exact": False})
    QUERIES[kind](wire, name, {"limit": 1, "params": {"exact": False}})
    with wire.refuses(bad_request("Exact search disabled!. Help: Set exact=false.")):
        QUERIES[kind](wire, name, {"limit": 1, "params": {"exact": True}})


NO_GRAPH = (
    "because global vector indexing is disabled (hnsw_config.m = 0). Help: Use tenant-specific filter, enable global vector indexing "
    "or enable strict mode `search_allow_exact` option"
)
TENANT = {"t": {"type": "keyword", "is_tenant": True}, "u": "keyword"}


def of(field):
    return {"must": [{"key": field, "match": {"value": "x"}}]}


@pytest.mark.parametrize("kind", QUERIES)
def test_21_2_graph_is_needed(wire, strict, kind):
    name = strict({"search_allow_exact": False}, hnsw_config={"m": 0})
    with wire.refuses(bad_request(f"Request is forbidden {NO_GRAPH}")):
        QUERIES[kind](wire, name, {"limit": 1})


def test_21_2_graph_of_a_named_vector_is_its_own(wire, strict):
    dense = lambda m=None: {"size": 2, "distance": "Dot"} | ({"hnsw_config": {"m": m}} if m is not None else {})
    name = strict({"search_allow_exact": False}, vectors={"": dense(), "a": dense(0), "b": dense(16)})
    wire.query(name, {"query": NEAR})
    wire.query(name, {"query": NEAR, "using": "b"})
    for query in (
        NEAR,
        {"recommend": {"positive": [NEAR]}},
        {"context": {"positive": NEAR, "negative": NEAR}},
        {"discover": {"target": NEAR, "context": []}},
    ):
        with wire.refuses(bad_request(f"Request is forbidden on 'a' {NO_GRAPH}")):
            wire.query(name, {"query": query, "using": "a"})
    # What compares no vectors of it, sparse ones, and a level above others need no graph.
    wire.query(name, {"query": {"sample": "random"}, "using": "a"})
    wire.query(name, {"query": {"indices": [1], "values": [1]}, "using": "s"})
    wire.query(name, {"prefetch": {"query": NEAR, "using": "b"}, "query": NEAR, "using": "a"})
    with wire.refuses(bad_request(f"Request is forbidden on 'a' {NO_GRAPH}")):
        wire.query(name, {"prefetch": {"query": NEAR, "using": "a"}, "query": NEAR, "using": "b"})


def test_21_2_graph_per_tenant_will_do_for_a_tenants_filter(wire, strict):
    name = strict({"search_allow_exact": False}, TENANT, hnsw_config={"m": 0, "payload_m": 16})
    wire.query(name, {"query": NEAR, "filter": of("t")})
    for body in ({"query": NEAR}, {"query": NEAR, "filter": of("u")}):
        with wire.refuses(bad_request(f"Request is forbidden {NO_GRAPH}")):
            wire.query(name, body)


def test_21_2_graph_missing_for_tenants_too(wire, strict):
    name = strict({"search_allow_exact": False}, TENANT, hnsw_config={"m": 0, "payload_m": 0})
    text = "Request is forbidden because vector indexing is disabled (hnsw_config.m = 0 and hnsw_config.payload_m = 0). Help: "
    with wire.refuses(bad_request(Start(text))):
        wire.query(name, {"query": NEAR, "filter": of("t")})
    with wire.refuses(bad_request(f"Request is forbidden {NO_GRAPH}")):
        wire.query(name, {"query": NEAR, "filter": of("u")})


def test_21_2_graph_is_not_needed_where_exact_searches_are_allowed(wire, strict):
    for settings in ({}, {"search_allow_exact": True}):
        assert len(wire.query(strict(settings, hnsw_config={"m": 0}), {"query": NEAR})) == 6


# 21.3 Filters without an index


def unindexed(key, *kinds, other="filter"):
    text = f'Index required but not found for "{key}" of one of the following types: [{", ".join(kinds)}]'
    return bad_request(f"{text}. Help: Create an index for this key or use a different {other}.")


def by(condition):
    return {"filter": {"must": [condition]}}


BY_N = by({"key": "n", "match": {"value": 1}})
BY_K = by({"key": "k", "match": {"value": "k1"}})


@pytest.mark.parametrize("kind", QUERIES | LISTINGS | COUNT)
def test_21_3_retrieve_by_what_has_no_index(wire, strict, kind):
    name = strict({"unindexed_filtering_retrieve": False}, FACETED)
    ask = (QUERIES | LISTINGS | COUNT)[kind]
    ask(wire, name, {"limit": 1})
    ask(wire, name, {"limit": 1} | BY_K)
    with wire.refuses(unindexed("n", "integer")):
        ask(wire, name, {"limit": 1} | BY_N)
    # Updates are another setting.
    wire.set_payload(name, {"payload": {"z": 1}} | by({"key": "nothing", "match": {"value": 1}}))


WRITES = {
    "delete": lambda wire, name, select: wire.delete(name, select),
    "set payload": lambda wire, name, select: wire.set_payload(name, {"payload": {"z": 1}} | select),
    "overwrite payload": lambda wire, name, select: wire.overwrite_payload(name, {"payload": {"z": 1}} | select),
    "delete payload": lambda wire, name, select: wire.delete_payload(name, {"keys": ["z"]} | select),
    "clear payload": lambda wire, name, select: wire.clear_payload(name, select),
    "delete vectors": lambda wire, name, select: wire.delete_vectors(name, {"vector": ["s"]} | select),
    "upsert": lambda wire, name, select: wire.upsert(name, {"points": [POINTS[0]], "update_filter": select["filter"]}),
    "update vectors": lambda wire, name, select: wire.update_vectors(
        name, {"points": [{"id": 1, "vector": {"": [1, 1]}}], "update_filter": select["filter"]}
    ),
    "batch": lambda wire, name, select: wire.batch(name, [{"delete": {"points": [99]}}, {"set_payload": {"payload": {"z": 1}} | select}]),
}


@pytest.mark.parametrize("kind", WRITES)
def test_21_3_update_by_what_has_no_index(wire, strict, kind):
    name = strict({"unindexed_filtering_update": False}, FACETED)
    nothing = by({"key": "k", "match": {"value": "none has this"}})
    WRITES[kind](wire, name, nothing)
    with wire.refuses(unindexed("n", "integer")):
        WRITES[kind](wire, name, BY_N)
    # Reads are another setting.
    assert wire.count(name, BY_N) == 1


ALL = ("bool", "datetime", "float", "geo", "integer", "keyword", "text", "uuid")
INDEXES = {
    "kw": "keyword",
    "pre": {"type": "keyword", "prefix": True},
    "int": "integer",
    "lookup": {"type": "integer", "lookup": True, "range": False},
    "ranges": {"type": "integer", "lookup": False, "range": True},
    "float": "float",
    "geo": "geo",
    "text": "text",
    "phrase": {"type": "text", "phrase_matching": True},
    "bool": "bool",
    "at": "datetime",
    "uuid": "uuid",
    "list[].kw": "keyword",
}
UUID = "00000000-0000-0000-0000-00000000000a"
RING = {"exterior": {"points": [{"lon": 0, "lat": 0}, {"lon": 1, "lat": 0}, {"lon": 1, "lat": 1}, {"lon": 0, "lat": 0}]}}
#: A predicate, the indexes that serve it, some that do not, and what the refusal names.
KINDS = [
    ({"match": {"value": "a"}}, ["kw", "pre"], ["uuid", "text", "int"], ["keyword"]),
    ({"match": {"value": UUID}}, ["kw", "uuid"], ["text"], ["keyword", "uuid"]),
    ({"match": {"value": 1}}, ["int", "lookup"], ["ranges", "float", "kw"], ["integer"]),
    ({"match": {"value": True}}, ["bool"], ["kw"], ["bool"]),
    ({"match": {"any": ["a", "b"]}}, ["kw"], ["int"], ["keyword"]),
    ({"match": {"any": [1, 2]}}, ["int"], ["ranges"], ["integer"]),
    ({"match": {"except": ["a"]}}, ["kw"], ["int"], ["keyword"]),
    ({"match": {"except": [1]}}, ["lookup"], ["ranges"], ["integer"]),
    ({"match": {"text": "a"}}, ["text", "phrase"], ["kw"], ["text"]),
    ({"match": {"text_any": "a"}}, ["text"], ["kw"], ["text"]),
    ({"match": {"phrase": "a b"}}, ["phrase"], ["text", "kw"], ["text"]),
    ({"match": {"prefix": "a"}}, ["pre"], ["kw", "text"], ["keyword"]),
    ({"range": {"gt": 1}}, ["int", "ranges", "float"], ["lookup", "kw"], ["float", "integer"]),
    ({"range": {"gt": "2024-01-01T00:00:00Z"}}, ["at"], ["int"], ["datetime"]),
    ({"geo_radius": {"center": {"lon": 0, "lat": 0}, "radius": 1}}, ["geo"], ["kw"], ["geo"]),
    ({"geo_bounding_box": {"top_left": {"lon": 0, "lat": 1}, "bottom_right": {"lon": 1, "lat": 0}}}, ["geo"], ["kw"], ["geo"]),
    ({"geo_polygon": RING}, ["geo"], ["kw"], ["geo"]),
    ({"values_count": {"gt": 1}}, ["kw", "geo", "text", "bool", "uuid", "at", "float", "ranges"], ["none"], list(ALL)),
    ({"is_empty": True}, ["kw", "lookup"], ["none"], list(ALL)),
    ({"is_null": False}, ["kw", "lookup"], ["none"], list(ALL)),
]


@pytest.mark.parametrize("predicate, serving, others, kinds", KINDS, ids=lambda value: str(value)[:40].replace("'", ""))
def test_21_3_kinds_of_index_that_serve_a_condition(wire, strict, predicate, serving, others, kinds):
    name = strict({"unindexed_filtering_retrieve": False}, INDEXES)
    for field in serving:
        wire.count(name, by({"key": field} | predicate))
    for field in [*others, "none"]:
        with wire.refuses(unindexed(field, *kinds)):
            wire.count(name, by({"key": field} | predicate))


def test_21_3_kinds_of_conditions_anywhere_in_a_filter(wire, strict):
    name = strict({"unindexed_filtering_retrieve": False}, INDEXES)
    bad = {"key": "none", "match": {"value": "a"}}
    good = {"key": "kw", "match": {"value": "a"}}
    for filter in (
        {"should": [good, bad]},
        {"must_not": [bad]},
        {"min_should": {"conditions": [good, bad], "min_count": 1}},
        {"must": [good, {"should": [{"must_not": [bad]}]}]},
    ):
        with wire.refuses(unindexed("none", "keyword")):
            wire.count(name, {"filter": filter})
    for condition in ({"is_empty": {"key": "none"}}, {"is_null": {"key": "none"}}):
        with wire.refuses(unindexed("none", *ALL)):
            wire.count(name, by(condition))
    nested = lambda key: by({"nested": {"key": "list", "filter": {"must": [{"key": key, "match": {"value": "a"}}]}}})
    wire.count(name, nested("kw"))
    with wire.refuses(unindexed("list[].none", "keyword")):
        wire.count(name, nested("none"))
    # These need none.
    for condition in ({"has_id": [1]}, {"has_vector": "s"}, {"slice": {"total": 2, "index": 0}}, {"key": "none", "match": {"any": []}}):
        wire.count(name, by(condition))


def test_21_3_formula_variables_need_an_index(wire, strict):
    name = strict({"unindexed_filtering_retrieve": False}, INDEXES)
    ask = lambda formula, defaults: wire.query(name, {"prefetch": {"query": NEAR}, "query": {"formula": formula, "defaults": defaults}})
    for field in ("int", "float", "ranges", "lookup"):
        ask({"sum": ["$score", {"neg": field}]}, {field: 1})
    ask({"geo_distance": {"origin": {"lon": 0, "lat": 0}, "to": "geo"}}, {"geo": {"lon": 0, "lat": 0}})
    ask({"datetime_key": "at"}, {"at": "2024-01-01"})
    ask({"key": "kw", "match": {"value": "a"}}, {})
    for formula, defaults, key, kinds in [
        ({"sum": ["$score", {"mult": [2, "none"]}]}, {"none": 1}, "none", ["float", "integer"]),
        ("kw", {"kw": 1}, "kw", ["float", "integer"]),
        ({"geo_distance": {"origin": {"lon": 0, "lat": 0}, "to": "none"}}, {"none": {"lon": 0, "lat": 0}}, "none", ["geo"]),
        ({"datetime_key": "int"}, {"int": "2024-01-01"}, "int", ["datetime"]),
        ({"exp_decay": {"x": 1, "target": "none"}}, {"none": 1}, "none", ["float", "integer"]),
        ({"key": "none", "match": {"value": "a"}}, {}, "none", ["keyword"]),
    ]:
        with wire.refuses(unindexed(key, *kinds, other="formula expression")):
            ask(formula, defaults)


def test_21_3_groups_need_an_index_to_match(wire, strict):
    name = strict({"unindexed_filtering_retrieve": False}, INDEXES)
    help = "Help: Create an index supporting `match` for this key."
    for ask in (
        lambda field: wire.query_groups(name, {"query": NEAR, "group_by": field}),
        lambda field: old(wire, "search/groups", name, {"vector": NEAR, "limit": 1, "group_by": field, "group_size": 1}),
        lambda field: old(wire, "recommend/groups", name, {"positive": [1], "limit": 1, "group_by": field, "group_size": 1}),
    ):
        for field in ("kw", "int", "lookup", "uuid", "bool"):
            ask(field)
        with wire.refuses(bad_request(f'Index required but not found for "none". {help}')):
            ask("none")
        for field, kind in {"geo": "Geo", "float": "Float", "text": "Text", "at": "Datetime", "ranges": "Integer"}.items():
            with wire.refuses(bad_request(f'Index of type "{kind}" found for "{field}". {help}')):
                ask(field)


def test_21_3_corpus_filters_count_too(wire, strict):
    name = strict({"unindexed_filtering_retrieve": False}, FACETED)
    ask = lambda condition: wire.query(
        name, {"query": {"indices": [1], "values": [1]}, "using": "s", "params": {"idf": {"corpus": by(condition)["filter"]}}}
    )
    ask({"key": "k", "match": {"value": "k1"}})
    with wire.refuses(unindexed("n", "integer")):
        ask({"key": "n", "match": {"value": 1}})


# 21.4 Conditions


def conditions(count):
    return {"filter": {"must": [{"has_id": [id]} for id in range(1, count + 1)]}}


@pytest.mark.parametrize("kind", QUERIES | LISTINGS | COUNT)
def test_21_4_conditions_of_reads_are_counted(wire, strict, kind):
    name = strict({"filter_max_conditions": 3}, FACETED)
    ask = (QUERIES | LISTINGS | COUNT)[kind]
    ask(wire, name, {"limit": 1} | conditions(3))
    with wire.refuses(bad_request(Start("Filter condition limit reached (4 > 3). Help: "))):
        ask(wire, name, {"limit": 1} | conditions(4))


@pytest.mark.parametrize("kind", WRITES)
def test_21_4_conditions_of_writes_are_counted(wire, strict, kind):
    name = strict({"filter_max_conditions": 3}, FACETED)
    nothing = lambda count: {"filter": {"must": [{"has_id": []}] * count}}
    WRITES[kind](wire, name, nothing(3))
    with wire.refuses(bad_request(Start("Filter condition limit reached (4 > 3). Help: "))):
        WRITES[kind](wire, name, nothing(4))


def test_21_4_conditions_count_at_every_depth(wire, strict):
    name = strict({"filter_max_conditions": 3}, FACETED)
    one = {"has_id": [1]}
    nested = {"nested": {"key": "list", "filter": {"must": [{"key": "a", "match": {"value": 1}}, {"key": "b", "match": {"value": 1}}]}}}
    deep = {"must": [one], "should": [{"must_not": [one]}], "min_should": {"conditions": [nested], "min_count": 1}}
    with wire.refuses(bad_request(Start("Filter condition limit reached (4 > 3)"))):
        wire.count(name, {"filter": deep})
    wire.count(name, {"filter": deep | {"must": []}})


@pytest.mark.parametrize(
    "condition",
    [
        lambda count: {"has_id": list(range(count))},
        lambda count: {"key": "k", "match": {"any": [str(i) for i in range(count)]}},
        lambda count: {"key": "k", "match": {"except": list(range(count))}},
        lambda count: {"should": [{"key": "k", "match": {"any": list(range(count))}}]},
        lambda count: {"nested": {"key": "list", "filter": {"must": [{"key": "k", "match": {"any": list(range(count))}}]}}},
    ],
    ids=["has_id", "any", "except", "inner filter", "nested"],
)
def test_21_4_size_of_a_condition(wire, strict, condition):
    name = strict({"condition_max_size": 3}, FACETED)
    for ask in (
        lambda body: wire.count(name, body),
        lambda body: wire.query(name, {"query": NEAR} | body),
        lambda body: wire.scroll(name, body),
        lambda body: wire.set_payload(name, {"payload": {"z": 1}} | body),
    ):
        ask(by(condition(3)))
        with wire.refuses(bad_request(Start("Condition size limit reached (4 > 3). Help: "))):
            ask(by(condition(4)))


# 21.5 to 21.7


def test_21_5_field_indexes_are_limited_in_number(wire, strict):
    name = strict({"max_payload_index_count": 2}, {"a": "keyword"}, fresh=True)
    wire.create_index(name, "b", "keyword")
    text = "Collection already has the maximum number of payload indices (2). Help: Please delete an existing index before creating a new one."
    with wire.refuses(bad_request(text)):
        wire.create_index(name, "c", "keyword")
    # Another one of the same field is none more.
    wire.create_index(name, "b", "integer")
    wire.drop_index(name, "a")
    wire.create_index(name, "c", "keyword")


FULL = {
    "max_points_count": (6, "Max points count limit of 6 reached!"),
    # Six points of 2 floats, of 4 in the multivector, and of two sparse entries: 40 bytes each.
    "max_collection_vector_size_bytes": (240, f"Max vector storage size limit of {240 / 2**20:.7g}MB reached!"),
    "max_collection_payload_size_bytes": (60, "Max payload storage size limit of "),
}


@pytest.mark.parametrize("setting", FULL)
def test_21_6_a_full_collection_takes_no_inserts_and_can_be_emptied(wire, strict, setting):
    limit, text = FULL[setting]
    name = strict({setting: limit}, fresh=True)
    text = text if setting == "max_points_count" else text.split(" of ")[0] + " of "
    refusal = bad_request(Start(text))
    new = {"id": 50, "vector": {"": [0, 1]}, "payload": {"k": "new"}}
    for insert in (
        lambda: wire.upsert(name, {"points": [new]}),
        lambda: wire.upsert(name, {"batch": {"ids": [50], "vectors": {"": [[0, 1]]}}}),
        lambda: wire.batch(name, [{"upsert": {"points": [new]}}]),
    ):
        with wire.refuses(refusal):
            insert()
        with pytest.raises(Refused) as caught:
            insert()
        assert "reached!" in caught.value.text
    if setting == "max_collection_payload_size_bytes":
        for write in (wire.set_payload, wire.overwrite_payload):
            with wire.refuses(refusal):
                write(name, {"payload": {"more": "x"}, "points": [1]})
    assert wire.count(name) == 6
    wire.delete_payload(name, {"keys": ["n"], "points": [1]})
    wire.delete(name, {"filter": {}})
    wire.upsert(name, {"points": [new]})
    assert wire.count(name) == 1


def test_21_6_sizes_are_told_in_megabytes(wire, rest, make):
    # 65,536 floats are a quarter of 2^20 bytes.
    name = make(65536)
    point = (1, [1] * 65536, {"text": "x" * 2**17})
    rest.put(name, point)
    for setting, limit, text in [
        ("max_collection_payload_size_bytes", 2**17, "Max payload storage size limit of 0.125MB reached!"),
        ("max_collection_vector_size_bytes", 2**18, "Max vector storage size limit of 0.25MB reached!"),
    ]:
        rest.patch(name, {"strict_mode_config": {"enabled": True, setting: limit}})
        with wire.refuses(bad_request(text)):
            wire.put(name, point)


def test_21_7_multivectors_have_a_number_of_rows(wire, strict):
    name = strict({"multivector_config": {"m": {"max_vectors": 2}}}, fresh=True)
    rows = lambda count: {"m": [[1, 2]] * count}
    refusal = bad_request("Multivector 'm' has a limit of 2 vectors, but 3 were provided!")
    for write in (
        lambda count: wire.put(name, (1, rows(count))),
        lambda count: wire.upsert(name, {"batch": {"ids": [1], "vectors": {"m": [rows(count)["m"]]}}}),
        lambda count: wire.update_vectors(name, {"points": [{"id": 1, "vector": rows(count)}]}),
        lambda count: wire.batch(name, [{"upsert": {"points": [{"id": 1, "vector": rows(count)}]}}]),
        lambda count: wire.batch(name, [{"update_vectors": {"points": [{"id": 1, "vector": rows(count)}]}}]),
    ):
        write(2)
        with wire.refuses(refusal):
            write(3)
    # Queries are not limited.
    wire.query(name, {"query": [[1, 2]] * 3, "using": "m"})


def test_21_7_sparse_vectors_have_a_length(wire, strict):
    name = strict({"sparse_config": {"s": {"max_length": 2}}}, fresh=True)
    sparse = lambda count: {"s": {"indices": list(range(count)), "values": [1] * count}}
    refusal = bad_request("Sparse vector 's' has a limit of 2 indices, but 3 were provided!")
    for write in (
        lambda count: wire.put(name, (1, sparse(count))),
        lambda count: wire.upsert(name, {"batch": {"ids": [1], "vectors": {"s": [sparse(count)["s"]]}}}),
        lambda count: wire.update_vectors(name, {"points": [{"id": 1, "vector": sparse(count)}]}),
        lambda count: wire.batch(name, [{"upsert": {"points": [{"id": 1, "vector": sparse(count)}]}}]),
        lambda count: wire.batch(name, [{"update_vectors": {"points": [{"id": 1, "vector": sparse(count)}]}}]),
    ):
        write(2)
        with wire.refuses(refusal):
            write(3)
    wire.query(name, {"query": sparse(3)["s"], "using": "s"})


# 21.8 Rate limits

OVERLOADED = (429, "RESOURCE_EXHAUSTED")
#: By when a bucket must have a few tokens again.
REFILLED_S = 10


def retry_after(refused):
    """Seconds; None when nothing was said."""
    headers = {key.lower(): value for key, value in refused.headers.items()}
    return int(headers["retry-after"]) if "retry-after" in headers else None


@pytest.mark.parametrize(
    "which, call",
    [
        ("Read", lambda wire, name: wire.query(name, {"query": NEAR} | conditions(3))),
        ("Write", lambda wire, name: wire.delete_payload(name, {"keys": ["z"], "points": [1, 2, 3, 4]})),
    ],
    ids=["read", "write"],
)
def test_21_8_rate_is_a_bucket_that_is_full_at_first_and_refills(wire, strict, which, call):
    # Ten per minute: one in six seconds. Each call costs four.
    name = strict({f"{which.lower()}_rate_limit": 10}, fresh=True)
    call(wire, name)
    call(wire, name)
    with pytest.raises(Refused) as caught:
        call(wire, name)
    assert caught.value.status in OVERLOADED
    told = re.fullmatch(
        rf"Rate limiting exceeded: {which} rate limit exceeded: Operation requires 4 tokens but only (\d\.\d) were available\. Retry after (\d+)s",
        caught.value.text,
    )
    available, wait = float(told[1]), int(told[2])
    assert 2.0 <= available < 3
    # (4 - available) / (10 / 60), rounded up; what is available was cut to one digit.
    assert abs(wait - (4 - available) * 6) <= 1.3
    assert retry_after(caught.value) == wait
    # The other direction has none.
    wire.set_payload(name, {"payload": {"z": 1}, "points": [1]}) if which == "Read" else wire.query(name, {"query": NEAR})


def test_21_8_rate_refills_by_a_sixtieth_per_second(wire, strict):
    # Six hundred per minute are ten per second: five take half a second, whoever is slow.
    name = strict({"read_rate_limit": 600}, fresh=True)
    began = time.monotonic()
    wire.retrieve(name, {"ids": list(range(1, 601))})
    while time.monotonic() < began + REFILLED_S:
        try:
            wire.retrieve(name, {"ids": [1, 2, 3, 4, 5]})
            break
        except Refused as refused:
            assert refused.status in OVERLOADED and retry_after(refused) == 1
        time.sleep(0.02)
    assert 0.5 <= time.monotonic() - began < REFILLED_S


def test_21_8_capacity_is_the_limit(wire, strict):
    name = strict({"read_rate_limit": 3, "write_rate_limit": 3}, fresh=True)
    for which, call in [
        ("Read", lambda: wire.retrieve(name, {"ids": [1, 2, 3, 4]})),
        ("Write", lambda: wire.delete_payload(name, {"keys": ["z"], "points": [1, 2, 3, 4]})),
    ]:
        with pytest.raises(Refused) as caught:
            call()
        text = f"{which} rate limit exceeded, request larger than rate limiter capacity, please try to split your request"
        assert caught.value.text == f"Rate limiting exceeded: {text}"
        assert caught.value.status in OVERLOADED and retry_after(caught.value) is None
    # It has taken nothing.
    wire.retrieve(name, {"ids": [1, 2, 3]})
    wire.delete_payload(name, {"keys": ["z"], "points": [1, 2, 3]})


# 21.9 Costs


@pytest.fixture(scope="module")
def costs(rest, strict):
    """A function that checks that a call costs just this: a bucket of so many is enough, one less can never be."""
    name = strict({"read_rate_limit": 1, "write_rate_limit": 1}, {"k": "keyword", "n": "integer"}, fresh=True)

    def check(wire, cost, call, side="read"):
        tokens = lambda count: rest.patch(name, {"strict_mode_config": {f"{side}_rate_limit": count}})
        # Another limit begins with a full bucket.
        tokens(cost + 1)
        tokens(cost)
        call(name)
        with pytest.raises(Refused) as caught:
            call(name)
        assert f"Operation requires {cost} tokens" in caught.value.text
        if cost > 1:
            tokens(cost - 1)
            with pytest.raises(Refused) as caught:
                call(name)
            assert "larger than rate limiter capacity" in caught.value.text

    return check


SPARSE = {"indices": [1, 2], "values": [1, 1]}
THREE = conditions(3)
READ_COSTS = {
    "a dense vector": (1, {"query": NEAR}),
    "a sparse vector": (1, {"query": SPARSE, "using": "s"}),
    "rows of a multivector": (3, {"query": [[1, 0], [0, 1], [1, 1]], "using": "m"}),
    "conditions": (4, {"query": NEAR} | THREE),
    "an id": (1, {"query": 1}),
    "an average": (1, {"query": {"recommend": {"positive": [NEAR, NEAR], "negative": [1]}}}),
    "best score": (3, {"query": {"recommend": {"positive": [NEAR, NEAR], "negative": [1], "strategy": "best_score"}}}),
    "sum of multivectors": (
        3,
        {"query": {"recommend": {"positive": [[[1, 0], [0, 1]]], "negative": [[[1, 0]]], "strategy": "sum_scores"}}, "using": "m"},
    ),
    "discover": (5, {"query": {"discover": {"target": NEAR, "context": [{"positive": NEAR, "negative": 1}, {"positive": 2, "negative": NEAR}]}}}),
    "context": (2, {"query": {"context": {"positive": NEAR, "negative": 1}}}),
    "feedback": (
        3,
        {
            "query": {
                "relevance_feedback": {
                    "target": NEAR,
                    "feedback": [{"example": 1, "score": 2}, {"example": NEAR, "score": 1}],
                    "strategy": {"naive": {"a": 1, "b": 1, "c": 1}},
                }
            }
        },
    ),
    "mmr": (1, {"query": {"nearest": NEAR, "mmr": {}}}),
    "nothing": (1, {}),
    "a sample": (4, {"query": {"sample": "random"}} | THREE),
    "an order": (2, {"query": {"order_by": "n"}} | conditions(1)),
    "leaves": (3, {"prefetch": [{"query": NEAR}, {"query": NEAR} | conditions(1)], "query": {"fusion": "rrf"}}),
    "leaves under a vector": (1, {"prefetch": {"query": NEAR}, "query": [[1, 0], [0, 1]], "using": "m"}),
    "conditions of the root in every leaf": (6, {"prefetch": [{"query": NEAR}, {"query": NEAR}], "query": {"fusion": "rrf"}} | conditions(2)),
    "nested leaves": (3, {"prefetch": {"prefetch": [{"query": NEAR}, {"query": NEAR} | conditions(1)], "query": NEAR}, "query": NEAR}),
}


@pytest.mark.parametrize("case", READ_COSTS)
def test_21_9_read_cost_of_a_query_is(wire, costs, case):
    cost, body = READ_COSTS[case]
    costs(wire, cost, lambda name: wire.query(name, body))


def test_21_9_read_cost_of_a_batch_is_the_sum(wire, costs):
    costs(wire, 6, lambda name: wire.query_batch(name, [{"query": NEAR}, {"query": NEAR} | THREE, {"query": NEAR}]))
    searches = {"searches": [{"vector": NEAR, "limit": 1}, {"vector": NEAR, "limit": 1} | THREE]}
    costs(wire, 5, lambda name: old(wire, "search/batch", name, searches))


def test_21_9_read_cost_of_lists_is_one_and_the_conditions(wire, costs):
    for body, cost in [({}, 1), (THREE, 4)]:
        costs(wire, cost, lambda name: wire.scroll(name, body))
        costs(wire, cost, lambda name: wire.count(name, body))
        costs(wire, cost, lambda name: wire.facet(name, {"key": "k"} | body))


def test_21_9_read_cost_of_a_retrieve_is_the_number_of_ids(wire, costs):
    costs(wire, 1, lambda name: wire.retrieve(name, {"ids": [1]}))
    costs(wire, 5, lambda name: wire.retrieve(name, {"ids": [1, 2, 3, 98, 99]}))


def test_21_9_write_cost_is_the_number_of_ids(wire, costs):
    points = [{"id": id, "vector": {"": [id, 1]}, "payload": {"k": f"k{id % 3}", "n": id}} for id in (1, 2, 3)]
    vectors = [{"id": id, "vector": {"": [id, 1]}} for id in (1, 2, 3)]
    selected = {"points": [1, 2, 3]}
    for call in (
        lambda name: wire.upsert(name, {"points": points}),
        lambda name: wire.update_vectors(name, {"points": vectors}),
        lambda name: wire.set_payload(name, {"payload": {"z": 1}} | selected),
        lambda name: wire.overwrite_payload(name, {"payload": {"k": "k1", "n": 1}} | selected),
        lambda name: wire.delete_payload(name, {"keys": ["z"]} | selected),
        lambda name: wire.delete_vectors(name, {"vector": ["m"]} | selected),
        lambda name: wire.delete(name, {"points": [97, 98, 99]}),
    ):
        costs(wire, 3, call, side="write")


def test_21_9_write_cost_of_a_filter_is_what_it_matches_and_one_at_least(wire, costs):
    # 4, 5 and 6 have not been touched by the test before.
    above_three = by({"key": "n", "range": {"gt": 3}})
    nothing = by({"key": "n", "range": {"gt": 300}})
    costs(wire, 3, lambda name: wire.set_payload(name, {"payload": {"z": 1}} | above_three), side="write")
    costs(wire, 1, lambda name: wire.set_payload(name, {"payload": {"z": 1}} | nothing), side="write")
    costs(wire, 1, lambda name: wire.delete(name, nothing), side="write")
    costs(wire, 6, lambda name: wire.set_payload(name, {"payload": {"z": 1}, "filter": {}}), side="write")


def test_21_9_write_cost_of_a_batch_is_the_sum(wire, costs):
    operations = [
        {"set_payload": {"payload": {"z": 1}, "points": [1, 2]}},
        {"delete": {"points": [99]}},
        {"delete_payload": {"keys": ["z"]} | by({"key": "n", "range": {"gt": 300}})},
    ]
    costs(wire, 4, lambda name: wire.batch(name, operations), side="write")


# 21.10 and on


def config_of(wire, name):
    return wire.info(name)["config"].get("strict_mode_config")


ALL_SETTINGS = {
    "enabled": True,
    "max_query_limit": 100,
    "max_timeout": 10,
    "unindexed_filtering_retrieve": False,
    "unindexed_filtering_update": True,
    "search_max_hnsw_ef": 256,
    "search_allow_exact": True,
    "search_max_oversampling": 1.9,
    "upsert_max_batchsize": 1000,
    "search_max_batchsize": 50,
    "max_collection_vector_size_bytes": 2**40,
    "max_collection_payload_size_bytes": 2**41,
    "read_rate_limit": 6000,
    "write_rate_limit": 7000,
    "max_points_count": 10**9,
    "filter_max_conditions": 99,
    "condition_max_size": 98,
    "max_payload_index_count": 12,
    "multivector_config": {"m": {"max_vectors": 9}},
    "sparse_config": {"s": {"max_length": 99}},
}


def test_21_10_config_is_reported_with_what_was_set(wire, name):
    wire.create(name, {"vectors": {"size": 2, "distance": "Dot"}, "strict_mode_config": {"enabled": True, "max_query_limit": 7}})
    assert config_of(wire, name) == {"enabled": True, "max_query_limit": 7}
    wire.drop(name)
    wire.create(name, {"vectors": {"size": 2, "distance": "Dot"}, "strict_mode_config": ALL_SETTINGS})
    got = config_of(wire, name)
    assert got.pop("search_max_oversampling") == pytest.approx(1.9)
    assert got == {key: value for key, value in ALL_SETTINGS.items() if key != "search_max_oversampling"}


def test_21_10_patch_merges_setting_by_setting(wire, make):
    name = make(2, strict_mode_config={"enabled": True, "max_query_limit": 7})
    wire.patch(name, {"strict_mode_config": {"max_timeout": 3}})
    assert config_of(wire, name) == {"enabled": True, "max_query_limit": 7, "max_timeout": 3}
    wire.patch(name, {"strict_mode_config": {"max_query_limit": 5, "enabled": False}})
    assert config_of(wire, name) == {"enabled": False, "max_query_limit": 5, "max_timeout": 3}
    wire.patch(name, {"strict_mode_config": {}})
    assert config_of(wire, name) == {"enabled": False, "max_query_limit": 5, "max_timeout": 3}


def test_21_10_limits_that_would_forbid_everything_are_refused(wire, name, make):
    for setting in ("max_query_limit", "max_timeout", "read_rate_limit", "write_rate_limit", "max_points_count"):
        failure = f"[strict_mode_config.{setting}: value 0 invalid, must be 1 or larger]"
        body = {"strict_mode_config": {setting: 0}}
        made = make(2)
        for path, method, message, target in [
            (f"/collections/{name}", "PUT", pb.CreateCollection, "Collections/Create"),
            (f"/collections/{made}", "PATCH", pb.UpdateCollection, "Collections/Update"),
        ]:
            asked = message(collection_name=path.rsplit("/")[-1], strict_mode_config=pb.StrictModeConfig(**{setting: 0}))
            with wire.refuses(invalid(failure)):
                wire.either((method, path, body), (target, asked))


def test_21_11_a_read_past_its_timeout(wire, make):
    """A sum of so many numbers for so many candidates takes longer than a second on any machine."""
    name = make(None)
    for start in range(0, 8000, 2000):
        wire.pay(name, {id: {} for id in range(start, start + 2000)})
    count = 300_000
    constant = pb.Expression(constant=1)
    query = pb.Query(formula=pb.Formula(expression=pb.Expression(sum=pb.SumExpression(sum=[constant] * count))))
    message = pb.QueryPoints(collection_name=name, prefetch=[pb.PrefetchQuery(limit=8000)], query=query, timeout=1)
    body = {"prefetch": {"limit": 8000}, "query": {"formula": {"sum": [1] * count}}}
    with wire.refuses(Refusal(408, "DEADLINE_EXCEEDED", Start("Timeout: "))):
        wire.either(("POST", f"/collections/{name}/points/query", body, {"timeout": 1}), ("Query", message))
    # The rest of the work is given up: the server answers others.
    assert pairs(wire.query(name, {"limit": 1})) == [(0, 1.0)]


@pytest.mark.parametrize("settings", [{"enabled": False}, {"enabled": None}], ids=["disabled", "absent"])
def test_21_12_nothing_is_checked_unless_enabled(wire, rest, make, settings):
    limits = {"max_query_limit": 1, "unindexed_filtering_retrieve": False, "search_allow_exact": False, "max_points_count": 1, "read_rate_limit": 1}
    name = make(2, strict_mode_config=limits | {key: value for key, value in settings.items() if value is not None})
    wire.put(name, *[(id, [id, 1], {"n": id}) for id in (1, 2)])
    wire.put(name, (3, [3, 1], {"n": 3}))
    for _ in range(3):
        assert len(wire.query(name, {"query": NEAR, "params": {"exact": True}, "filter": {"must": [{"key": "n", "range": {"gte": 1}}]}})) == 3


def test_21_12_what_is_refused_has_changed_nothing(wire, strict):
    name = strict({"upsert_max_batchsize": 3, "unindexed_filtering_update": False}, fresh=True)
    points = [{"id": id, "vector": {"": [0, 1]}} for id in range(101, 106)]
    with wire.refuses(above("upsert limit", 5, 3)):
        wire.batch(name, [{"delete": {"points": [1]}}, {"upsert": {"points": points}}])
    with wire.refuses(bad_request(Part("Index required"))):
        wire.batch(name, [{"clear_payload": {"points": [2]}}, {"delete": BY_N}])
    assert wire.ids(name) == [1, 2, 3, 4, 5, 6]
    assert wire.payload(name, 2) == POINTS[1]["payload"]
