"""Section 9: reading points."""

import pytest
from qdrant_client import grpc as pb

from rules import rest_only
from wire import Part, Start, invalid, not_found, wrong_input

RULES = {
    "9.1": "retrieve: in the order asked, duplicates once, unknown ids left out",
    "9.1 one": rest_only("GET of an unknown point is a 404"),
    "9.2 scroll": "ascending ids, an inclusive offset, the next page's offset",
    "9.2 order_by": "by an index with ranges, (value, id) both ascending or both descending, from a value on",
    "9.3": "count: exact unless told otherwise",
    "9.4": "facet: each point once per distinct value, count descending, value ascending",
    "9.5": "matrix: a sample's nearest among the sample, as pairs and as offsets",
}

LIMIT = "limit: value 0 invalid, must be 1 or larger"
UUIDS = [f"f47ac10b-58cc-4372-a567-0e02b2c3d47{digit}" for digit in "0123456789"]


# 9.1 Retrieve


@pytest.mark.parametrize("shards", [1, 3])
def test_9_1_records_come_in_the_order_asked(wire, make, shards):
    name = make(1, shard_number=shards)
    wire.put(name, *((at, [1.0]) for at in (1, 2, 3, UUIDS[0])))
    ask = lambda *ids: [one["id"] for one in wire.retrieve(name, {"ids": list(ids)})]
    assert ask(3, UUIDS[0], 1, 2) == [3, UUIDS[0], 1, 2]
    assert ask(2, 1, 2, 2, 1) == [2, 1]
    assert ask(7, 2, UUIDS[1]) == [2]
    assert ask(7) == ask() == []


def test_9_1_one_unknown_point_is_not_found(rest, make):
    name = make(1)
    for point in (7, UUIDS[0]):
        with rest.refuses(not_found(f"Point with id {point} does not exists!")):
            rest.json("GET", f"/collections/{name}/points/{point}")


# 9.2 Scroll


@pytest.fixture(scope="module")
def twelve(rest, make):
    name = make(1, shard_number=2)
    rest.put(name, *((at, [float(at)], {"even": at % 2 == 0}) for at in range(0, 24, 2)))
    return name


def page(wire, name, **body):
    found = wire.scroll(name, body | {"with_payload": False})
    return [one["id"] for one in found["points"]], found["next_page_offset"]


def test_9_2_scroll_has_a_default_limit_of_10(wire, twelve):
    assert page(wire, twelve) == ([0, 2, 4, 6, 8, 10, 12, 14, 16, 18], 20)


def test_9_2_scroll_offsets_are_inclusive_and_need_not_exist(wire, twelve):
    assert page(wire, twelve, limit=3) == ([0, 2, 4], 6)
    assert page(wire, twelve, limit=3, offset=6) == ([6, 8, 10], 12)
    assert page(wire, twelve, limit=3, offset=7) == ([8, 10, 12], 14)
    assert page(wire, twelve, limit=3, offset=UUIDS[0]) == ([], None)
    assert page(wire, twelve, limit=3, offset=0) == ([0, 2, 4], 6)


def test_9_2_scroll_ends_without_an_offset(wire, twelve):
    assert page(wire, twelve, limit=12)[1] is None and page(wire, twelve, limit=11)[1] == 22
    assert page(wire, twelve, limit=2, offset=20) == ([20, 22], None)
    assert page(wire, twelve, limit=100) == (list(range(0, 24, 2)), None)
    filter = {"must": [{"has_id": [4, 8, 10]}]}
    assert page(wire, twelve, filter=filter, limit=2) == ([4, 8], 10)
    assert page(wire, twelve, filter=filter, limit=3) == ([4, 8, 10], None)
    assert page(wire, twelve, filter=filter, limit=2, offset=5) == ([8, 10], None)


def test_9_2_scroll_needs_a_limit_above_0(wire, twelve):
    with wire.refuses(invalid(Part(LIMIT))):
        wire.either(rest=("POST", f"/collections/{twelve}/points/scroll", {"limit": 0}), grpc=("Scroll", pb.ScrollPoints(collection_name=twelve, limit=0)))


ORDERED = {
    1: {"i": 5, "f": 0.5, "d": "2024-01-01T00:00:00Z"},
    2: {"i": 3, "f": -1, "d": "1969-12-31T23:59:59Z"},
    3: {"i": [5, 1], "f": [2.5, 0.5], "d": ["2024-01-01", "2024-01-01T00:00:00.000001Z"]},
    4: {"i": [3, 3], "f": "x", "d": "never"},
    5: {},
    6: {"i": None, "f": None, "d": None},
}
MICROS = 1_704_067_200_000_000  # 2024-01-01
ASCENDING = {
    "i": [(1, 3), (3, 2), (3, 4), (5, 1), (5, 3)],
    "f": [(-1.0, 2), (0.5, 1), (0.5, 3), (2.5, 3)],
    "d": [(-1_000_000, 2), (MICROS, 1), (MICROS, 3), (MICROS + 1, 3)],
}


@pytest.fixture(scope="module")
def ordered(rest, make):
    name = make(1, shard_number=2)
    rest.pay(name, ORDERED)
    for field, kind in (("i", "integer"), ("f", "float"), ("d", "datetime")):
        rest.create_index(name, field, kind)
    return name


def by(wire, name, order_by, **body):
    found = wire.scroll(name, {"order_by": order_by, "with_payload": False} | body)
    assert found["next_page_offset"] is None
    return [(one["order_value"], one["id"]) for one in found["points"]]


@pytest.mark.parametrize("field", ASCENDING)
def test_9_2_order_by_both_ways(wire, ordered, field):
    assert by(wire, ordered, field) == by(wire, ordered, {"key": field}) == by(wire, ordered, {"key": field, "direction": "asc"}) == ASCENDING[field]
    assert by(wire, ordered, {"key": field, "direction": "desc"}) == ASCENDING[field][::-1]
    assert by(wire, ordered, field, limit=2) == ASCENDING[field][:2]
    for value, _ in by(wire, ordered, field):
        assert type(value) is (float if field == "f" else int)


def test_9_2_order_by_starts_from_a_value(wire, ordered):
    start = lambda field, value, direction="asc": [pair for pair in by(wire, ordered, {"key": field, "start_from": value, "direction": direction})]
    assert start("i", 3) == ASCENDING["i"][1:] and start("i", 4) == ASCENDING["i"][3:]
    assert start("i", 3, "desc") == [(3, 4), (3, 2), (1, 3)]
    assert start("i", 2.5) == ASCENDING["i"][1:]
    assert start("f", 0.5) == ASCENDING["f"][1:] and start("f", 0) == ASCENDING["f"][1:]
    assert start("d", "2024-01-01T00:00:00Z") == ASCENDING["d"][1:]
    assert start("d", "2024-01-01T00:00:00.000001Z") == ASCENDING["d"][3:]
    assert start("d", "2024-01-01T00:00:00Z", "desc") == [(MICROS, 3), (MICROS, 1), (-1_000_000, 2)]


def test_9_2_order_by_starts_from_a_datetimes_text_over_grpc_too(grpc, ordered):
    order = pb.OrderBy(key="d", start_from=pb.StartFrom(datetime="2024-01-01 00:00"))
    answer = grpc.send("Scroll", pb.ScrollPoints(collection_name=ordered, order_by=order))
    assert [(one.order_value.int, one.id.num) for one in answer.result] == ASCENDING["d"][1:]


def test_9_2_order_by_with_a_filter(wire, ordered):
    assert by(wire, ordered, "i", filter={"must_not": [{"has_id": [3]}]}) == [(3, 2), (3, 4), (5, 1)]


def test_9_2_order_by_needs_an_index_with_ranges(wire, make):
    name = make(1)
    wire.pay(name, {1: {"k": 1}})
    refusal = lambda key: wrong_input(Start(f"No range index for `order_by` key: `{key}`. Please create one to use `order_by`."))
    with wire.refuses(refusal("k")):
        wire.scroll(name, {"order_by": "k"})
    for schema in ("keyword", "bool", "uuid", "geo", "text", {"type": "integer", "lookup": True, "range": False}):
        wire.create_index(name, "k", schema)
        with wire.refuses(refusal("k")):
            wire.scroll(name, {"order_by": {"key": "k", "direction": "desc"}})
        with wire.refuses(refusal("k")):
            wire.query(name, {"query": {"order_by": "k"}})
    wire.create_index(name, "k", {"type": "integer", "lookup": False, "range": True})
    assert by(wire, name, "k") == [(1, 1)]


def test_9_2_order_by_has_no_offset(wire, ordered):
    with wire.refuses(wrong_input(Start("Cannot use an `offset` when using `order_by`."))):
        wire.scroll(ordered, {"order_by": "i", "offset": 2})


# 9.3 Count


@pytest.mark.parametrize("shards", [1, 3])
def test_9_3_count_is_exact_by_default(wire, make, shards):
    name = make(1, shard_number=shards)
    assert wire.count(name) == 0
    wire.put(name, *((at, [1.0], {"n": at % 3}) for at in range(100)))
    one = {"filter": {"must": [{"key": "n", "match": {"value": 1}}]}}
    for more in ({}, {"exact": True}):
        assert wire.count(name, more) == 100
        assert wire.count(name, {"filter": {}} | more) == 100
        assert wire.count(name, one | more) == 33
    # An estimate is allowed to be wrong, not to be absurd.
    assert 0 <= wire.count(name, one | {"exact": False}) <= 100
    wire.delete(name, one)
    assert wire.count(name) == 67 and wire.count(name, one) == 0


# 9.4 Facet


@pytest.fixture(scope="module")
def faceted(rest, make):
    name = make(1, shard_number=2)
    rest.pay(
        name,
        {
            1: {"k": "b", "i": 5, "b": True, "u": UUIDS[1].upper()},
            2: {"k": ["b", "a", "b"], "i": [5, -7], "b": [True, False], "u": [UUIDS[0], UUIDS[1]]},
            3: {"k": "ä", "i": -7, "b": False, "u": UUIDS[0].replace("-", "")},
            4: {"k": ["Z", 5, None], "i": "5", "b": "x", "u": "no uuid"},
            5: {"k": "b", "i": 2**62, "b": True},
            6: {},
        },
    )
    for field, kind in (("k", "keyword"), ("i", "integer"), ("b", "bool"), ("u", "uuid")):
        rest.create_index(name, field, kind)
    return name


FACETS = {
    "k": [("b", 3), ("Z", 1), ("a", 1), ("ä", 1)],
    "i": [(-7, 2), (5, 2), (2**62, 1)],
    "b": [(True, 3), (False, 2)],
    "u": [(UUIDS[0], 2), (UUIDS[1], 2)],
}


@pytest.mark.parametrize("field", FACETS)
def test_9_4_counts_of_each_kind(wire, faceted, field):
    for more in ({}, {"exact": True}):
        found = wire.facet(faceted, {"key": field} | more)
        assert found == FACETS[field] and [type(one) for one, _ in found] == [type(one) for one, _ in FACETS[field]]
    assert wire.facet(faceted, {"key": field, "limit": 1}) == FACETS[field][:1]
    assert {value for value, _ in wire.facet(faceted, {"key": field, "exact": False})} <= {value for value, _ in FACETS[field]}


def test_9_4_a_filter_is_about_points_not_values(wire, faceted):
    only_a = {"must": [{"key": "k", "match": {"value": "a"}}]}
    assert wire.facet(faceted, {"key": "k", "filter": only_a}) == [("a", 1), ("b", 1)]
    assert wire.facet(faceted, {"key": "i", "filter": only_a}) == [(-7, 1), (5, 1)]
    assert wire.facet(faceted, {"key": "k", "filter": {"must": [{"has_id": []}]}}) == []


def test_9_4_the_default_limit_is_10(wire, make):
    name = make(1)
    wire.pay(name, {at: {"k": at} for at in range(15)})
    wire.create_index(name, "k", "integer")
    assert wire.facet(name, {"key": "k"}) == [(at, 1) for at in range(10)]
    assert len(wire.facet(name, {"key": "k", "limit": 100})) == 15
    with wire.refuses(invalid(Part(LIMIT))):
        wire.either(rest=("POST", f"/collections/{name}/facet", {"key": "k", "limit": 0}), grpc=("Facet", pb.FacetCounts(collection_name=name, key="k", limit=0)))


def test_9_4_values_need_an_index_that_counts_them(wire, make):
    name = make(1)
    wire.pay(name, {1: {"k": 1}})
    refusal = wrong_input(Start("No appropriate index for faceting: `k`. Please create one to facet on this field."))
    with wire.refuses(refusal):
        wire.facet(name, {"key": "k"})
    for schema in ("float", "datetime", "geo", "text", {"type": "integer", "lookup": False, "range": True}):
        wire.create_index(name, "k", schema)
        with wire.refuses(refusal):
            wire.facet(name, {"key": "k"})
    wire.create_index(name, "k", {"type": "integer", "lookup": True, "range": False})
    assert wire.facet(name, {"key": "k"}) == [(1, 1)]


# 9.5 Distance matrix


@pytest.fixture(scope="module")
def line(rest, make):
    """Points on a line: 1 at 0, 2 at 1, 3 at 3; 4 has no unnamed vector; a UUID far away is filtered out."""
    name = make({"": {"size": 1, "distance": "Euclid"}, "v": {"size": 1, "distance": "Dot"}}, shard_number=2)
    vectors = {1: {"": [0.0], "v": [1.0]}, 2: {"": [1.0]}, 3: {"": [3.0], "v": [2.0]}, 4: {"v": [3.0]}, UUIDS[0]: {"": [-100.0]}}
    rest.put(name, *((at, vector, {"near": at != UUIDS[0]}) for at, vector in vectors.items()))
    return name


NEAR = {"must": [{"key": "near", "match": {"value": True}}]}
PAIRS = [(1, 2, 1.0), (1, 3, 3.0), (2, 1, 1.0), (2, 3, 2.0), (3, 2, 2.0), (3, 1, 3.0)]


def test_9_5_pairs_and_offsets(wire, line):
    pairs = wire.matrix_pairs(line, {"sample": 10, "limit": 2, "filter": NEAR})
    assert [(one["a"], one["b"], one["score"]) for one in pairs] == PAIRS
    assert wire.matrix_offsets(line, {"sample": 10, "limit": 2, "filter": NEAR}) == {
        "offsets_row": [0, 0, 1, 1, 2, 2],
        "offsets_col": [1, 2, 0, 2, 1, 0],
        "scores": [1.0, 3.0, 1.0, 2.0, 2.0, 3.0],
        "ids": [1, 2, 3],
    }
    assert [(one["a"], one["b"]) for one in wire.matrix_pairs(line, {"limit": 1, "filter": NEAR})] == [(1, 2), (2, 1), (3, 2)]
    # Without the filter, the UUID comes last.
    assert wire.matrix_offsets(line, {"limit": 1})["ids"] == [1, 2, 3, UUIDS[0]]


def test_9_5_of_a_named_vector(wire, line):
    pairs = wire.matrix_pairs(line, {"using": "v", "limit": 1})
    assert [(one["a"], one["b"], one["score"]) for one in pairs] == [(1, 4, 3.0), (3, 4, 6.0), (4, 3, 6.0)]
    with wire.refuses(wrong_input("Not existing vector name error: nope")):
        wire.matrix_pairs(line, {"using": "nope"})


def test_9_5_defaults_are_ten_points_and_three_neighbours(wire, make):
    name = make(1)
    wire.put(name, *((at, [float(at)]) for at in range(40)))
    offsets = wire.matrix_offsets(name, {})
    assert len(offsets["ids"]) == 10 and offsets["ids"] == sorted(offsets["ids"])
    assert offsets["offsets_row"] == [row for row in range(10) for _ in range(3)]
    assert len(wire.matrix_pairs(name, {"sample": 4})) == 12
    assert len(wire.matrix_pairs(name, {"sample": 2})) == 2
    # The sample is random.
    assert len({tuple(wire.matrix_offsets(name, {})["ids"]) for _ in range(5)}) > 1


def test_9_5_fewer_than_two_points_have_no_matrix(wire, line):
    only = {"filter": {"must": [{"has_id": [1]}]}}
    assert wire.matrix_pairs(line, only) == []
    offsets = wire.matrix_offsets(line, only)
    assert (offsets["offsets_row"], offsets["offsets_col"], offsets["scores"]) == ([], [], [])


@pytest.mark.parametrize("body, text", [({"sample": 1}, "sample: value 1 invalid, must be 2 or larger"), ({"limit": 0}, "limit: value 0 invalid, must be 1 or larger")])
def test_9_5_limits_of_the_matrix(wire, line, body, text):
    for path, method in (("pairs", "SearchMatrixPairs"), ("offsets", "SearchMatrixOffsets")):
        with wire.refuses(invalid(Part(text))):
            wire.either(rest=("POST", f"/collections/{line}/points/search/matrix/{path}", body), grpc=(method, pb.SearchMatrixPoints(collection_name=line, **body)))
