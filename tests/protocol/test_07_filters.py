"""Section 7: filters.

Most rules are tables: payloads by id, and conditions with the ids they let through. Every table is asked of a collection
without field indexes and of one that has them (7.16).
"""

import datetime

import pytest
from qdrant_client import grpc as pb

from siphash import siphash24
from wire import Part, format_error, invalid, refused

RULES = {
    "7.1": "four clauses, each one object or a list, all required; empty ones are no constraint; unknown keys are refused",
    "7.2": "min_should counts true conditions, at least one",
    "7.3": "eight kinds of conditions; a field condition needs a predicate",
    "7.4": "of several predicates values_count, then is_empty, then is_null win; the rest are alternatives on one value",
    "7.5": "any selected value decides; a missing field is false",
    "7.6 match_value": "same JSON type, integers as i64, floats never",
    "7.6 match_any": "strings or integers; an empty list matches nothing",
    "7.6 match_except": "a non-null value that is not listed",
    "7.6 match_text": "all words; by the index's settings when there is one",
    "7.6 match_text_any": "any word",
    "7.6 match_phrase": "words in a row, within one array element",
    "7.6 match_prefix": "byte-wise, case-sensitive",
    "7.6 match_substring": "anywhere, case-sensitive",
    "7.7": "number ranges look at numbers, datetime ranges at strings; null bounds are none",
    "7.8": "spellings of datetimes; microseconds, rounded down",
    "7.9": "radius, box and polygon; boundaries are outside; bad shapes are refused",
    "7.10": "values_count counts each selected value",
    "7.11": "is_empty and is_null as conditions and as fields' predicates",
    "7.12": "nested: one object element passes the inner filter alone",
    "7.13": "slices by hash of the id",
    "7.14": "has_id and has_vector",
    "7.15": "filters of a query's levels are merged",
    "7.16": "field indexes do not change results",
}

ANY = refused(Part(""))


class Table:
    """Payloads, and what conditions on them let through; `indexes` are those of the indexed twin."""

    def __init__(self, payloads, cases, indexes):
        self.payloads, self.cases, self.indexes = payloads, cases, indexes


def key(name, **predicate):
    return {"key": name, **predicate}


def match(name, **operand):
    return key(name, match=operand)


def has(*ids):
    return {"has_id": list(ids)}


U64 = 2**63
TABLES = {
    "7.5": Table(
        {1: {"n": 1}, 2: {"n": [1, 5, 9]}, 3: {"n": []}, 4: {}, 5: {"n": None}, 6: {"n": [[5]]}, 7: {"n": [None, 5]}},
        [
            (match("n", value=5), [2, 7]),
            (match("n", value=1), [1, 2]),
            (key("n", range={"gt": 4, "lt": 6}), [2, 7]),
            (key("n", range={"gt": 5, "lt": 9}), []),  # 9 and 5 pass one bound each
            (key("n", range={"gte": 1}), [1, 2, 7]),
            (key("n", values_count={"lt": 1}), [3, 4, 5]),
            (key("n", is_empty=True), [3, 4, 5]),
            (key("n", is_null=False), [1, 2, 3, 4, 6]),
            (match("absent", value=1), []),
            (key("absent", range={"lt": 5}), []),
            (key("absent", geo_radius={"center": {"lat": 0.0, "lon": 0.0}, "radius": 1e9}), []),
            (match("absent", **{"except": [1]}), []),
            (key("absent", values_count={"lt": 1}), [1, 2, 3, 4, 5, 6, 7]),
            (key("absent", is_empty=True), [1, 2, 3, 4, 5, 6, 7]),
            (key("absent", is_null=False), [1, 2, 3, 4, 5, 6, 7]),
            (key("absent", is_null=True), []),
        ],
        {"n": "integer"},
    ),
    "7.6 match_value": Table(
        {1: {"v": 1}, 2: {"v": "1"}, 3: {"v": 1.0}, 4: {"v": True}, 5: {"v": "a"}, 6: {"v": "A"}, 7: {"v": -(2**63)}, 8: {"v": 2**63 - 1}, 9: {"v": {"x": 1}}, 10: {"v": False}, 11: {"v": ["a", 1, True]}, 12: {"v": None}, 13: {"v": ""}, 14: {"v": 0}},
        [
            (match("v", value=1), [1, 11]),
            (match("v", value="1"), [2]),
            (match("v", value=True), [4, 11]),
            (match("v", value=False), [10]),
            (match("v", value=0), [14]),
            (match("v", value="a"), [5, 11]),
            (match("v", value="A"), [6]),
            (match("v", value=""), [13]),
            (match("v", value=-(2**63)), [7]),
            (match("v", value=2**63 - 1), [8]),
            (match("v", value=2), []),
        ],
        {"v": "integer"},
    ),
    "7.6 match_any": Table(
        {1: {"v": "a"}, 2: {"v": ["b", "c"]}, 3: {"v": 1}, 4: {"v": [2, "a"]}, 5: {}, 6: {"v": 1.0}, 7: {"v": "1"}, 8: {"v": None}, 9: {"v": True}},
        [
            (match("v", any=["a", "c"]), [1, 2, 4]),
            (match("v", any=["x"]), []),
            (match("v", any=[1, 2]), [3, 4]),
            (match("v", any=["1"]), [7]),
            (match("v", any=[]), []),
        ],
        {"v": "keyword"},
    ),
    "7.6 match_except": Table(
        {1: {"v": "a"}, 2: {"v": ["a", "b"]}, 3: {"v": 1}, 4: {"v": ["a"]}, 5: {}, 6: {"v": None}, 7: {"v": []}, 8: {"v": 1.5}, 9: {"v": True}, 10: {"v": {"x": 1}}, 11: {"v": [None]}, 12: {"v": ["a", None]}, 13: {"v": [["a"]]}},
        [
            (match("v", **{"except": ["a"]}), [2, 3, 8, 9, 10, 13]),
            (match("v", **{"except": ["a", "b"]}), [3, 8, 9, 10, 13]),
            (match("v", **{"except": [1]}), [1, 2, 4, 8, 9, 10, 12, 13]),
            (match("v", **{"except": []}), [1, 2, 3, 4, 8, 9, 10, 12, 13]),
        ],
        {"v": "keyword"},
    ),
    "7.6 match_prefix": Table(
        {1: {"v": "Straße"}, 2: {"v": "straße"}, 3: {"v": ["x", "Stroh"]}, 4: {"v": 5}, 5: {"v": "x Straße"}, 6: {"v": ""}, 7: {}},
        [
            (match("v", prefix="Str"), [1, 3]),
            (match("v", prefix="str"), [2]),
            (match("v", prefix="Straß"), [1]),
            (match("v", prefix="Straße"), [1]),
            (match("v", prefix="Straßen"), []),
            (match("v", prefix="5"), []),
        ],
        {"v": {"type": "keyword", "prefix": True}},
    ),
    "7.6 match_substring": Table(
        {1: {"v": "Straße"}, 2: {"v": "straße"}, 3: {"v": ["x", "a Straß b"]}, 4: {"v": 55}, 5: {}},
        [
            (match("v", substring="raß"), [1, 2, 3]),
            (match("v", substring="Str"), [1, 3]),
            (match("v", substring="5"), []),
            (match("v", substring="a S"), [3]),
        ],
        {"v": "keyword"},
    ),
    "7.7": Table(
        {1: {"v": 1}, 2: {"v": 2.5}, 3: {"v": "2"}, 4: {"v": True}, 5: {"v": [0, 10]}, 6: {"v": "2024-01-01"}, 7: {"v": ["x", "2024-06-01T00:00:00Z"]}, 8: {"v": -1e300}, 9: {"v": 2**53 + 1}, 10: {"v": None}},
        [
            (key("v", range={"gte": 1, "lte": 2.5}), [1, 2]),
            (key("v", range={"gt": 1, "lt": 2.5}), []),
            (key("v", range={"gt": 0}), [1, 2, 5, 9]),
            (key("v", range={"lt": 0}), [8]),
            (key("v", range={"gt": 9, "lt": None}), [5, 9]),
            (key("v", range={"gte": "2024-01-01T00:00:00Z"}), [6, 7]),
            (key("v", range={"gt": "2024-01-01T00:00:00Z"}), [7]),
            (key("v", range={"gt": "2024-01-01T00:00:00Z", "lt": "2024-06-01T00:00:00Z"}), []),
            (key("v", range={"lte": "2024-06-01T00:00:00Z", "gt": None}), [6, 7]),
        ],
        {"v": "float"},
    ),
    "7.9": Table(
        {
            1: {"g": {"lon": 0.0, "lat": 0.0}},
            2: {"g": {"lon": 1.0, "lat": 0.0}},
            3: {"g": [{"lon": 50.0, "lat": 50.0}, {"lon": 5.0, "lat": 5.0}]},
            4: {"g": {"lon": 175.0, "lat": 5.0}},
            5: {"g": {"lon": -175.0, "lat": 5.0}},
            6: {"g": {"lon": 10.0, "lat": 5.0}},
            7: {"g": "0,0"},
            8: {"g": {"lon": 0.0}},
            9: {"g": [0.0, 0.0]},
            10: {},
            11: {"g": {"lon": 200.0, "lat": 0.0}},
            12: {"g": {"lon": 5.0, "lat": 10.0}},
        },
        [
            # One degree of the equator is 6371008.8 * pi / 180 = 111195.08 m.
            (key("g", geo_radius={"center": {"lon": 0.0, "lat": 0.0}, "radius": 111195.05}), [1]),
            (key("g", geo_radius={"center": {"lon": 0.0, "lat": 0.0}, "radius": 111195.11}), [1, 2]),
            (key("g", geo_radius={"center": {"lon": 0.0, "lat": 0.0}, "radius": 0.0}), []),
            (key("g", geo_radius={"center": {"lon": 180.0, "lat": 5.0}, "radius": 600_000.0}), [4, 5]),
            (key("g", geo_bounding_box={"top_left": {"lon": 0.0, "lat": 10.0}, "bottom_right": {"lon": 10.0, "lat": 0.0}}), [3]),
            (key("g", geo_bounding_box={"top_left": {"lon": -1.0, "lat": 10.1}, "bottom_right": {"lon": 10.1, "lat": -1.0}}), [1, 2, 3, 6, 12]),
            (key("g", geo_bounding_box={"top_left": {"lon": 170.0, "lat": 10.0}, "bottom_right": {"lon": -170.0, "lat": 0.0}}), [4, 5]),
            (key("g", geo_bounding_box={"top_left": {"lon": 175.0, "lat": 10.0}, "bottom_right": {"lon": -175.0, "lat": 0.0}}), []),
            (key("g", geo_polygon={"exterior": {"points": [{"lon": x, "lat": y} for x, y in ((0.0, 0.0), (10.0, 0.0), (10.0, 10.0), (0.0, 10.0), (0.0, 0.0))]}}), [3]),
            (key("g", geo_polygon={"exterior": {"points": [{"lon": x, "lat": y} for x, y in ((-1.0, -1.0), (11.0, -1.0), (11.0, 11.0), (-1.0, 11.0), (-1.0, -1.0))]}}), [1, 2, 3, 6, 12]),
            (
                key(
                    "g",
                    geo_polygon={
                        "exterior": {"points": [{"lon": x, "lat": y} for x, y in ((-1.0, -1.0), (11.0, -1.0), (11.0, 11.0), (-1.0, 11.0), (-1.0, -1.0))]},
                        "interiors": [{"points": [{"lon": x, "lat": y} for x, y in ((4.0, 4.0), (6.0, 4.0), (6.0, 6.0), (4.0, 6.0), (4.0, 4.0))]}],
                    },
                ),
                [1, 2, 6, 12],
            ),
        ],
        {"g": "geo"},
    ),
    "7.10": Table(
        {1: {"v": [1, 2, 3]}, 2: {"v": []}, 3: {"v": None}, 4: {"v": 5}, 5: {"v": {"x": 1, "y": 2}}, 6: {}, 7: {"v": [None, None]}, 8: {"o": [{"x": [1, 2, 3]}, {"x": [1]}]}, 9: {"v": "abc"}, 10: {"v": [[1, 2, 3]]}},
        [
            (key("v", values_count={"gte": 3}), [1]),
            (key("v", values_count={"gt": 1}), [1, 7]),
            (key("v", values_count={"gte": 1, "lte": 1}), [4, 5, 9, 10]),
            (key("v", values_count={"lt": 1}), [2, 3, 6, 8]),
            (key("v", values_count={"gte": 0}), list(range(1, 11))),
            (key("v[]", values_count={"gte": 3}), [10]),
            (key("o[].x", values_count={"gt": 2}), [8]),
            (key("o[].x", values_count={"lt": 2}), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
            (key("o[].x", values_count={"gt": 1, "lt": 3}), []),  # 3 and 1 pass one bound each
        ],
        {"v": "integer", "o[].x": "integer"},
    ),
    "7.11": Table(
        {1: {"v": 1}, 2: {"v": None}, 3: {"v": []}, 4: {"v": [None]}, 5: {}, 6: {"v": [1, None]}, 7: {"v": {}}, 8: {"v": ""}, 9: {"v": [[]]}, 10: {"l": [{"x": None}, {"x": []}]}, 11: {"l": [{"x": 1}, {"x": None}]}},
        [
            ({"is_empty": {"key": "v"}}, [2, 3, 5, 10, 11]),
            (key("v", is_empty=True), [2, 3, 5, 10, 11]),
            (key("v", is_empty=False), [1, 4, 6, 7, 8, 9]),
            ({"is_null": {"key": "v"}}, [2, 4, 6]),
            (key("v", is_null=True), [2, 4, 6]),
            (key("v", is_null=False), [1, 3, 5, 7, 8, 9, 10, 11]),
            ({"is_empty": {"key": "l[].x"}}, [1, 2, 3, 4, 5, 6, 7, 8, 9, 10]),
            ({"is_null": {"key": "l[].x"}}, [10, 11]),
        ],
        {"v": "integer", "l[].x": "integer"},
    ),
    "7.12": Table(
        {
            1: {"d": [{"a": 1, "b": 1}, {"a": 2, "b": 2}]},
            2: {"d": [{"a": 1, "b": 2}, {"a": 2, "b": 1}]},
            3: {"d": {"a": 1, "b": 1}},
            4: {"d": [1, "x", [{"a": 1, "b": 1}]]},
            5: {"d": [{"a": 3, "in": [{"c": 1, "e": 1}, {"c": 2, "e": 2}]}]},
            6: {"d": [{"a": 3, "in": [{"c": 1, "e": 2}]}]},
            7: {},
            8: {"d": []},
            9: {"x": {"d": [{"a": 1, "b": 1}]}},
        },
        [
            ({"nested": {"key": "d", "filter": {"must": [match("a", value=1), match("b", value=1)]}}}, [1]),
            ({"nested": {"key": "d[]", "filter": {"must": [match("a", value=1), match("b", value=1)]}}}, [1]),
            ({"nested": {"key": "x.d", "filter": {"must": [match("a", value=1)]}}}, [9]),
            ({"nested": {"key": "d", "filter": {"must": [match("a", value=1)], "must_not": [match("b", value=1)]}}}, [2]),
            ({"nested": {"key": "d", "filter": {"must_not": [match("a", value=1)]}}}, [1, 2, 5, 6]),
            ({"nested": {"key": "d", "filter": {"should": [match("a", value=3), match("b", value=2)]}}}, [1, 2, 5, 6]),
            ({"nested": {"key": "d", "filter": {"must": [{"is_empty": {"key": "in"}}]}}}, [1, 2]),
            ({"nested": {"key": "d", "filter": {"must": [key("in", values_count={"gte": 2})]}}}, [5]),
            ({"nested": {"key": "d", "filter": {"must": [{"nested": {"key": "in", "filter": {"must": [match("c", value=1), match("e", value=1)]}}}]}}}, [5]),
            ({"nested": {"key": "d", "filter": {"must": [has(1)]}}}, []),
            ({"nested": {"key": "d", "filter": {"must": [{"has_vector": ""}]}}}, []),
            ({"nested": {"key": "d", "filter": {"must": [{"slice": {"total": 1, "index": 0}}]}}}, []),
        ],
        {"d[].a": "integer", "d[].b": "integer", "d[].in[].c": "integer"},
    ),
}

CASES = [(number, at) for number, table in TABLES.items() for at in range(len(table.cases))]


@pytest.fixture(scope="module")
def tables(rest, make):
    """(table, indexed) -> collection, made when first asked for."""
    made = {}

    def collection(number, indexed):
        if (number, indexed) not in made:
            name = make(1)
            table = TABLES[number]
            if indexed:  # half before the points, half after: both ways of being built
                for at, (field, schema) in enumerate(table.indexes.items()):
                    if at % 2 == 0:
                        rest.create_index(name, field, schema)
            rest.pay(name, table.payloads)
            if indexed:
                for at, (field, schema) in enumerate(table.indexes.items()):
                    if at % 2 == 1:
                        rest.create_index(name, field, schema)
            made[number, indexed] = name
        return made[number, indexed]

    return collection


def check(wire, tables, number, indexed=False):
    name = tables(number, indexed)
    for condition, expected in TABLES[number].cases:
        assert wire.ids(name, condition) == expected, condition
        everything = list(TABLES[number].payloads)
        assert wire.ids(name, must_not=[condition]) == [at for at in everything if at not in expected], ("must_not", condition)


# 7.1 to 7.4: the form of filters


@pytest.fixture(scope="module")
def numbers(rest, make):
    """Points 1 to 6 with n = id, and even."""
    name = make(1)
    rest.put(name, *((at, [float(at)], {"n": at, "even": at % 2 == 0}) for at in range(1, 7)))
    return name


def n(at):
    return match("n", value=at)


EVEN = match("even", value=True)
CLAUSES = [
    ({}, [1, 2, 3, 4, 5, 6]),
    ({"must": [], "should": [], "must_not": []}, [1, 2, 3, 4, 5, 6]),
    ({"should": []}, [1, 2, 3, 4, 5, 6]),
    ({"must": None, "should": None, "must_not": None, "min_should": None}, [1, 2, 3, 4, 5, 6]),
    ({"must": EVEN}, [2, 4, 6]),
    ({"must": [EVEN, key("n", range={"gt": 2})]}, [4, 6]),
    ({"should": n(1)}, [1]),
    ({"should": [n(1), n(2)]}, [1, 2]),
    ({"must_not": EVEN}, [1, 3, 5]),
    ({"must_not": [EVEN, n(1)]}, [3, 5]),
    ({"must": [EVEN], "should": [n(1), n(2), n(4)], "must_not": [n(4)]}, [2]),
    ({"must": [EVEN], "should": []}, [2, 4, 6]),
    ({"must": [EVEN], "min_should": {"conditions": [n(2), n(3)], "min_count": 1}}, [2]),
    ({"must": {"should": [n(1), {"must": [EVEN], "must_not": n(6)}]}}, [1, 2, 4]),
    ({"must": [{}]}, [1, 2, 3, 4, 5, 6]),
    ({"must_not": [{}]}, []),
]


@pytest.mark.parametrize("at", range(len(CLAUSES)))
def test_7_1_clauses_are_all_required_and_empty_ones_are_none(wire, numbers, at):
    filter, expected = CLAUSES[at]
    page = wire.scroll(numbers, {"filter": filter, "with_payload": False})
    assert [one["id"] for one in page["points"]] == expected, filter
    assert wire.count(numbers, {"filter": filter}) == len(expected)


@pytest.mark.parametrize("filter", [{"mist": []}, {"must": [{"key": "n", "match": {"value": 1}, "mach": 1}]}, {"must": [{"has_luck": 1}]}, {"must": [{"is_empty": {"key": "n", "x": 1}}]}])
def test_7_1_unknown_keys_are_refused(rest, numbers, filter):
    with rest.refuses(format_error()):
        rest.count(numbers, {"filter": filter})


def test_7_1_messages_without_clauses_match_everything(grpc, numbers):
    """Protobuf ignores unknown fields; what it has instead of absent clauses is empty ones."""
    assert grpc.send("Count", pb.CountPoints(collection_name=numbers, filter=pb.Filter())).result.count == 6


@pytest.mark.parametrize("count, expected", [(1, [1, 2, 3, 4, 6]), (2, [2, 4]), (3, []), (2**32, [])])
def test_7_2_min_should_counts_conditions(wire, numbers, count, expected):
    """Of: even, 1, 2, 3, 4."""
    assert wire.ids(numbers, min_should={"conditions": [EVEN, n(1), n(2), n(3), n(4)], "min_count": count}) == expected


def test_7_2_min_should_needs_at_least_one(wire, numbers):
    with wire.refuses(invalid(Part("min_count must be greater than 0"))):
        wire.count(numbers, {"filter": {"min_should": {"conditions": [EVEN], "min_count": 0}}})


KINDS = {
    "field": (n(1), [1]),
    "is_empty": ({"is_empty": {"key": "n"}}, []),
    "is_null": ({"is_null": {"key": "n"}}, []),
    "has_id": (has(1, 3), [1, 3]),
    "has_vector": ({"has_vector": ""}, [1, 2, 3, 4, 5, 6]),
    "nested": ({"nested": {"key": "n", "filter": {}}}, []),
    "slice": ({"slice": {"total": 1, "index": 0}}, [1, 2, 3, 4, 5, 6]),
    "filter": ({"must": [EVEN], "must_not": [n(2)]}, [4, 6]),
}


@pytest.mark.parametrize("kind", KINDS)
def test_7_3_kinds_of_conditions_in_every_clause(wire, numbers, kind):
    condition, expected = KINDS[kind]
    others = [at for at in range(1, 7) if at not in expected]
    assert wire.ids(numbers, condition) == expected
    assert wire.ids(numbers, should=[condition]) == expected
    assert wire.ids(numbers, must_not=[condition]) == others
    assert wire.ids(numbers, min_should={"conditions": [condition], "min_count": 1}) == expected


def test_7_3_a_field_condition_needs_a_predicate(wire, numbers):
    message = pb.CountPoints(collection_name=numbers, filter=pb.Filter(must=[pb.Condition(field=pb.FieldCondition(key="n"))]))
    body = {"filter": {"must": [{"key": "n"}]}}
    with wire.refuses(invalid(Part("At least one field condition must be specified"))):
        wire.either(rest=("POST", f"/collections/{numbers}/points/count", body), grpc=("Count", message))


def test_7_3_a_condition_needs_a_kind(grpc, numbers):
    with grpc.refuses(ANY):
        grpc.send("Count", pb.CountPoints(collection_name=numbers, filter=pb.Filter(must=[pb.Condition()])))


#: Several predicates of one condition on v, as REST has them and as gRPC does.
SEVERAL = [
    ({"values_count": {"gte": 2}, "is_empty": True, "is_null": True, "match": {"value": 1}}, {"values_count": pb.ValuesCount(gte=2), "is_empty": True, "is_null": True, "match": pb.Match(integer=1)}, [2]),
    ({"is_empty": True, "is_null": True, "match": {"value": 1}}, {"is_empty": True, "is_null": True, "match": pb.Match(integer=1)}, [3, 4]),
    ({"is_null": True, "range": {"gte": 0}}, {"is_null": True, "range": pb.Range(gte=0)}, [3]),
    ({"match": {"value": 1}, "range": {"gte": 7}}, {"match": pb.Match(integer=1), "range": pb.Range(gte=7)}, [1, 2, 5]),
]


@pytest.mark.parametrize("at", range(len(SEVERAL)))
def test_7_4_several_predicates_of_one_condition(wire, make, at):
    in_rest, in_grpc, expected = SEVERAL[at]
    name = make(1)
    wire.pay(name, {1: {"v": 1}, 2: {"v": [8, 9]}, 3: {"v": None}, 4: {}, 5: {"v": 7}, 6: {"v": 3}})
    body = {"filter": {"must": [{"key": "v", **in_rest}]}, "limit": 10}
    message = pb.ScrollPoints(collection_name=name, filter=pb.Filter(must=[pb.Condition(field=pb.FieldCondition(key="v", **in_grpc))]))
    answer = wire.either(rest=("POST", f"/collections/{name}/points/scroll", body), grpc=("Scroll", message))
    found = [one["id"] for one in answer["points"]] if wire.transport == "rest" else [one.id.num for one in answer.result]
    assert found == expected


def test_7_5_any_selected_value_decides(wire, tables):
    check(wire, tables, "7.5")


# 7.6 Match


def test_7_6_match_value_looks_at_the_type(wire, tables):
    check(wire, tables, "7.6 match_value")


@pytest.mark.parametrize("operand", ["1.0", "1.5", "null", "[1]", "{}", "18446744073709551616", "9223372036854775808"])
def test_7_6_match_value_of_another_type_is_refused(rest, numbers, operand):
    """gRPC has no such operands."""
    with rest.refuses(format_error()):
        rest.json("POST", f"/collections/{numbers}/points/count", b'{"filter":{"must":[{"key":"n","match":{"value":%s}}]}}' % operand.encode())


def test_7_6_match_any_of_strings_or_integers(wire, tables):
    check(wire, tables, "7.6 match_any")


def test_7_6_match_any_of_an_empty_list_matches_nothing(wire, numbers):
    assert wire.ids(numbers, match("n", any=[])) == []
    # gRPC has an empty list of each type.
    if wire.transport == "grpc":
        for empty in (pb.Match(keywords=pb.RepeatedStrings()), pb.Match(integers=pb.RepeatedIntegers())):
            filter = pb.Filter(must=[pb.Condition(field=pb.FieldCondition(key="n", match=empty))])
            assert wire.send("Count", pb.CountPoints(collection_name=numbers, filter=filter)).result.count == 0


def test_7_6_match_any_of_mixed_types_is_refused(rest, numbers):
    for operand in ([1, "a"], [1.5], [None], [True]):
        with rest.refuses(format_error()):
            rest.count(numbers, {"filter": {"must": [match("n", any=operand)]}})


def test_7_6_match_except_takes_any_other_value(wire, tables):
    check(wire, tables, "7.6 match_except")


def test_7_6_match_except_of_an_empty_list_matches_every_value(wire, numbers):
    assert wire.ids(numbers, match("n", **{"except": []})) == [1, 2, 3, 4, 5, 6]
    if wire.transport == "grpc":
        for empty in (pb.Match(except_keywords=pb.RepeatedStrings()), pb.Match(except_integers=pb.RepeatedIntegers())):
            filter = pb.Filter(must=[pb.Condition(field=pb.FieldCondition(key="n", match=empty))])
            assert wire.send("Count", pb.CountPoints(collection_name=numbers, filter=filter)).result.count == 6


TEXTS = {
    1: {"t": "The quick brown fox"},
    2: {"t": "quick, BROWN dog"},
    3: {"t": ["brown bread", "quick soup"]},
    4: {"t": "quickly"},
    5: {"t": 5},
    6: {"t": "fox fox brown"},
    7: {},
}
#: Without an index or with one of the default settings: words, lower case.
WORDS = {
    "text": [("quick", [1, 2, 3]), ("BROWN quick", [1, 2]), ("fox", [1, 6]), ("quick missing", []), ("fox fox", [1, 6]), ("", []), ("...", [])],
    "text_any": [("quick", [1, 2, 3]), ("soup Dog", [2, 3]), ("missing", []), ("missing fox", [1, 6]), ("", [])],
    "phrase": [("quick brown", [1, 2]), ("brown quick", []), ("bread quick", []), ("fox fox", [6]), ("fox brown", [6]), ("the QUICK", [1]), ("quick", [1, 2, 3]), ("", [])],
}
INDEXES = {
    "no index": None,
    "index": "text",
    "phrase index": {"type": "text", "phrase_matching": True},
    "word index": {"type": "text", "tokenizer": "word", "lowercase": True},
}


@pytest.fixture(scope="module")
def texts(rest, make):
    made = {}

    def collection(index):
        if index not in made:
            made[index] = make(1)
            rest.pay(made[index], TEXTS)
            if INDEXES[index]:
                rest.create_index(made[index], "t", INDEXES[index])
        return made[index]

    return collection


@pytest.mark.parametrize("index", INDEXES)
def test_7_6_match_text_needs_every_word(wire, texts, index):
    for text, expected in WORDS["text"]:
        # Within one value: the words of two array elements do not add up.
        assert wire.ids(texts(index), match("t", text=text)) == expected, text


@pytest.mark.parametrize("index", INDEXES)
def test_7_6_match_text_any_needs_one_word(wire, texts, index):
    for text, expected in WORDS["text_any"]:
        assert wire.ids(texts(index), match("t", text_any=text)) == expected, text


@pytest.mark.parametrize("index", INDEXES)
def test_7_6_match_phrase_needs_words_in_a_row(wire, texts, index):
    for text, expected in WORDS["phrase"]:
        assert wire.ids(texts(index), match("t", phrase=text)) == expected, text


def test_7_6_match_text_follows_the_settings_of_the_index(wire, make):
    name = make(1)
    wire.pay(name, {1: {"t": "Running dogs"}, 2: {"t": "the dog runs"}, 3: {"t": "RUNNING"}})
    wire.create_index(name, "t", {"type": "text", "tokenizer": "word", "lowercase": False})
    assert wire.ids(name, match("t", text="Running")) == [1] and wire.ids(name, match("t", text="running")) == []
    stemmed = {"type": "text", "stemmer": {"type": "snowball", "language": "english"}, "stopwords": "english", "phrase_matching": True}
    wire.create_index(name, "t", stemmed)
    assert wire.ids(name, match("t", text="run")) == [1, 2, 3]
    assert wire.ids(name, match("t", text="the dog")) == [1, 2]
    assert wire.ids(name, match("t", phrase="dogs run")) == [2]
    assert wire.ids(name, match("t", text_any="the")) == []


def test_7_6_match_prefix_is_byte_wise(wire, tables):
    check(wire, tables, "7.6 match_prefix")


def test_7_6_match_substring_is_case_sensitive(wire, tables):
    check(wire, tables, "7.6 match_substring")


# 7.7 to 7.14: the other kinds


def test_7_7_ranges_of_numbers_and_of_datetimes(wire, tables):
    check(wire, tables, "7.7")


def test_7_7_bounds_of_another_type_are_refused(rest, numbers):
    for bound in (True, [1], {}, "yesterday"):
        with rest.refuses(format_error()):
            rest.count(numbers, {"filter": {"must": [key("n", range={"gt": bound})]}})


#: Spellings of 2024-02-29T12:30:00Z and of other instants, in microseconds from then.
SECOND = 1_000_000
DATETIMES = {
    "2024-02-29T12:30:00Z": 0,
    "2024-02-29T12:30:00z": 0,
    "2024-02-29T12:30:00+00:00": 0,
    "2024-02-29T14:30:00+02:00": 0,
    "2024-02-29T10:00:00-02:30": 0,
    "2024-02-29T14:30:00+0200": 0,
    "2024-02-29T14:30:00+02": 0,
    "2024-02-29 12:30:00": 0,
    "2024-02-29T12:30:00": 0,
    "2024-02-29T12:30": 0,
    "2024-02-29 14:30:00 +02:00": 0,
    "2024-02-29 14:30:00 +0200": 0,
    "2024-02-29 12:30:00 UTC": 0,
    "  2024-02-29T12:30:00Z": 0,
    "2024-02-29T12:30:00.5Z": SECOND // 2,
    "2024-02-29 12:30:00.000001": 1,
    "2024-02-29T12:30:00.0000019Z": 1,
    "2024-02-29T12:29:59.9999999Z": -1,
    "2024-02-29T12:30:00.123456789+00:00": 123456,
    "2024-02-29": -12 * 3600 * SECOND - 30 * 60 * SECOND,
    "1969-12-31T23:59:59.9999999Z": None,
}
#: A zone needs seconds before it.
NO_DATETIMES = ["2024-02-29 12:30Z", "2024-02-29T12:30+02:00", "", "2024", "2024-02", "2024-02-30", "2023-02-29T00:00:00Z", "12:30", "2024-02-29T25:00:00Z", "2024-02-29T12:30:00 CET", "29.02.2024", "2024-02-29T12:30:00Zx", "now"]


def micros(offset):
    """The instant so many microseconds from the first one."""
    at = datetime.datetime(2024, 2, 29, 12, 30, tzinfo=datetime.timezone.utc) + datetime.timedelta(microseconds=offset)
    return at.isoformat()


@pytest.fixture(scope="module")
def datetimes(rest, make):
    name = make(1)
    rest.pay(name, {at: {"d": text} for at, text in enumerate([*DATETIMES, *NO_DATETIMES])} | {1000: {"d": 1709209800}})
    return name


def test_7_8_spellings_of_stored_datetimes(wire, datetimes):
    spellings = list(DATETIMES)
    for offset in sorted({one for one in DATETIMES.values() if one is not None}):
        expected = [at for at, text in enumerate(spellings) if DATETIMES[text] == offset]
        assert wire.ids(datetimes, key("d", range={"gte": micros(offset), "lte": micros(offset)})) == expected, offset
    # Whatever is no datetime is in no range; a number is none.
    assert wire.ids(datetimes, key("d", range={"gte": "0001-01-01T00:00:00Z"})) == list(range(len(DATETIMES)))


def test_7_8_microseconds_are_rounded_down_before_1970_too(wire, datetimes):
    last = list(DATETIMES).index("1969-12-31T23:59:59.9999999Z")
    assert wire.ids(datetimes, key("d", range={"lt": "1970-01-01T00:00:00Z", "gte": "1969-12-31T23:59:59.999999Z"})) == [last]
    assert wire.ids(datetimes, key("d", range={"lte": "1969-12-31T23:59:59.999999Z"})) == [last]


@pytest.mark.parametrize("text", [one for one in DATETIMES if DATETIMES[one] == 0])
def test_7_8_spellings_of_bounds(rest, make, text):
    """gRPC's bounds are timestamps."""
    name = make(1)
    rest.pay(name, {1: {"d": micros(-1)}, 2: {"d": micros(0)}, 3: {"d": micros(1)}})
    assert rest.ids(name, key("d", range={"gte": text})) == [2, 3]
    assert rest.ids(name, key("d", range={"lt": text})) == [1]


@pytest.mark.parametrize("text", NO_DATETIMES)
def test_7_8_a_bound_that_is_no_datetime_is_refused(rest, numbers, text):
    with rest.refuses(format_error()):
        rest.count(numbers, {"filter": {"must": [key("n", range={"gt": text})]}})


def test_7_9_geo(wire, tables):
    check(wire, tables, "7.9")


def square(*corners):
    return {"points": [{"lon": x, "lat": y} for x, y in corners]}


RING = square((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 0.0))
BAD_SHAPES = {
    "latitude": {"geo_radius": {"center": {"lon": 0.0, "lat": 90.1}, "radius": 1.0}},
    "longitude": {"geo_radius": {"center": {"lon": -180.1, "lat": 0.0}, "radius": 1.0}},
    "corner": {"geo_bounding_box": {"top_left": {"lon": 0.0, "lat": 91.0}, "bottom_right": {"lon": 1.0, "lat": 0.0}}},
    "other corner": {"geo_bounding_box": {"top_left": {"lon": 0.0, "lat": 1.0}, "bottom_right": {"lon": 181.0, "lat": 0.0}}},
    "three points": {"geo_polygon": {"exterior": square((0.0, 0.0), (1.0, 0.0), (0.0, 0.0))}},
    "open ring": {"geo_polygon": {"exterior": square((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))}},
    "short interior": {"geo_polygon": {"exterior": RING, "interiors": [square((0.0, 0.0), (1.0, 0.0), (0.0, 0.0))]}},
    "open interior": {"geo_polygon": {"exterior": RING, "interiors": [square((0.0, 0.0), (1.0, 0.0), (1.0, 1.0), (0.0, 1.0))]}},
    "ring out of bounds": {"geo_polygon": {"exterior": square((0.0, 0.0), (200.0, 0.0), (1.0, 1.0), (0.0, 0.0))}},
}


@pytest.mark.parametrize("shape", BAD_SHAPES)
def test_7_9_bad_shapes_are_refused(wire, numbers, shape):
    with wire.refuses(invalid(Part(""))):
        wire.count(numbers, {"filter": {"must": [key("g", **BAD_SHAPES[shape])]}})


def test_7_10_values_count(wire, tables):
    check(wire, tables, "7.10")


def test_7_11_is_empty_and_is_null(wire, tables):
    check(wire, tables, "7.11")


def test_7_12_nested(wire, tables):
    check(wire, tables, "7.12")


def test_7_13_slices_partition_the_points(wire, make):
    name = make(1, shard_number=2)
    wire.put(name, *((at, [1.0]) for at in range(50)))
    for total in (1, 3, 10):
        slices = [wire.ids(name, {"slice": {"total": total, "index": index}}) for index in range(total)]
        assert slices == [[at for at in range(50) if siphash24(at.to_bytes(8, "little")) % total == index] for index in range(total)]


@pytest.mark.parametrize("total, index, refusal", [(0, 0, refused(Part(""))), (2, 2, invalid(Part(""))), (2, 7, invalid(Part("")))])
def test_7_13_bad_slices_are_refused(wire, numbers, total, index, refusal):
    body = {"filter": {"must": [{"slice": {"total": total, "index": index}}]}}
    message = pb.CountPoints(collection_name=numbers, filter=pb.Filter(must=[pb.Condition(slice=pb.SliceCondition(total=total, index=index))]))
    with wire.refuses(refusal):
        wire.either(rest=("POST", f"/collections/{numbers}/points/count", body), grpc=("Count", message))


def test_7_14_has_id_and_has_vector(wire, make):
    name = make({"": {"size": 1, "distance": "Dot"}, "v": {"size": 1, "distance": "Dot"}}, sparse_vectors={"s": {}})
    uuid = "f47ac10b-58cc-4372-a567-0e02b2c3d479"
    sparse = {"indices": [1], "values": [1.0]}
    wire.put(name, (1, {"": [1.0]}), (2, {"v": [1.0]}), (3, {"": [1.0], "s": sparse}), (uuid, {}))
    for condition, expected in (
        (has(1, 3, 99, uuid), [1, 3, uuid]),
        (has(), []),
        (has(99), []),
        ({"has_vector": ""}, [1, 3]),
        ({"has_vector": "v"}, [2]),
        ({"has_vector": "s"}, [3]),
        ({"has_vector": "nope"}, []),
    ):
        assert wire.ids(name, condition) == expected
        assert wire.ids(name, must_not=[condition]) == [at for at in (1, 2, 3, uuid) if at not in expected]


#: (filter of the root, filter of the prefetch, what the prefetch's leaf finds)
MERGED = [
    ({"must": [EVEN]}, {"must": [key("n", range={"gt": 2})]}, [4, 6]),
    ({"must_not": [n(2)]}, {"must_not": [n(4)]}, [1, 3, 5, 6]),
    ({"must": [EVEN]}, {"must_not": [n(4)]}, [2, 6]),
    ({"should": [n(1)]}, {"should": [n(2)]}, [1, 2]),
    ({"should": [n(1), n(2)]}, {"must": [EVEN]}, [2]),
    ({"min_should": {"conditions": [EVEN, n(2)], "min_count": 1}}, {"min_should": {"conditions": [n(4), n(6)], "min_count": 2}}, [2, 4, 6]),
    (None, {"must": [EVEN]}, [2, 4, 6]),
    ({"must": [EVEN]}, None, [2, 4, 6]),
]


@pytest.mark.parametrize("at", range(len(MERGED)))
def test_7_15_filters_of_levels_are_merged(wire, numbers, at):
    root, leaf, expected = MERGED[at]
    for query in ({"fusion": "rrf"}, [1.0]):
        body = {"prefetch": {"filter": leaf, "query": [1.0]}, "query": query, "filter": root}
        assert sorted(one["id"] for one in wire.query(numbers, body)) == expected
    # Through a level in between as well.
    body = {"prefetch": {"prefetch": {"filter": leaf, "query": [1.0]}, "query": {"fusion": "rrf"}}, "query": {"fusion": "rrf"}, "filter": root}
    assert sorted(one["id"] for one in wire.query(numbers, body)) == expected


def test_7_15_excluded_ids_join_a_filter(wire, numbers):
    """A query by id leaves that point out, whatever the filter is."""
    assert [one["id"] for one in wire.query(numbers, {"query": 6, "filter": {"should": [n(6), n(1)]}})] == [1]
    assert [one["id"] for one in wire.query(numbers, {"query": 6, "filter": {"must_not": [n(5)]}})] == [4, 3, 2, 1]


# 7.16 Indexes


@pytest.mark.parametrize("number", TABLES)
def test_7_16_an_index_changes_nothing(wire, tables, number):
    check(wire, tables, number, indexed=True)


SCHEMAS = ["keyword", "integer", "float", "bool", "datetime", "uuid", "geo"]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_7_16_an_index_of_another_kind_changes_nothing(wire, make, schema):
    """Values that an index does not take are found all the same."""
    uuid = "f47ac10b-58cc-4372-a567-0e02b2c3d479"
    values = [1, 1.0, "1", True, None, [], [1, "a", None], "a", {"lon": 1.0, "lat": 1.0}, "2024-01-01", uuid, uuid.upper(), [[1]], {"x": 1}]
    name = make(1)
    wire.pay(name, {at: {"v": value} for at, value in enumerate(values)} | {99: {}})
    conditions = [
        match("v", value=1), match("v", value="a"), match("v", value=True), match("v", any=["1", "a"]), match("v", any=[1]), match("v", **{"except": ["a"]}),
        match("v", **{"except": [1]}), match("v", prefix="2"), match("v", value=uuid), key("v", range={"gte": 1}), key("v", range={"gte": "2023-01-01T00:00:00Z"}),
        key("v", values_count={"gte": 2}), key("v", is_empty=True), key("v", is_null=True),
        key("v", geo_radius={"center": {"lon": 1.0, "lat": 1.0}, "radius": 10.0}),
    ]
    before = [wire.ids(name, one) for one in conditions]
    assert [0, 6] == before[0] and [8] == before[-1] and before[3] == [2, 6, 7]
    wire.create_index(name, "v", schema)
    assert [wire.ids(name, one) for one in conditions] == before
