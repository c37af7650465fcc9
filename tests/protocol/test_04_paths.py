"""Section 4: payload paths."""

import pytest

from wire import Part, refused

RULES = {
    "4.1": "the grammar of paths; what does not follow it is refused",
    "4.2": "keys need objects and indices need arrays, anything else yields nothing",
    "4.3": "for matching, grouping, faceting and ordering a selected array is unwrapped once",
    "4.4": "a trailing [] is dropped where a path is used as selector of groups",
}

#: path -> payload in which it leads to 1.
GOOD = {
    "a": {"a": 1},
    "a_b-9": {"a_b-9": 1},
    "9": {"9": 1},
    "-": {"-": 1},
    "größe": {"größe": 1},
    "数": {"数": 1},
    "a.b.c": {"a": {"b": {"c": 1}}},
    "a[1]": {"a": [0, 1]},
    "a[]": {"a": [0, 1]},
    "a[].b": {"a": [{"b": 0}, {"b": 1}]},
    "a[0][1]": {"a": [[0, 1]]},
    "a[][1].b": {"a": [[], [0, {"b": 1}]]},
    '"a"': {"a": 1},
    '"a.b[] c$"': {"a.b[] c$": 1},
    'x."y z".w': {"x": {"y z": {"w": 1}}},
    '"y z"[0]': {"y z": [1]},
}
BAD = ["", ".", "a.", ".a", "a..b", "a b", "a$", "a/b", "a[", "a]", "a[x]", "a[-1]", "a[1.5]", "a[ 1]", "a[18446744073709551616]", "[0]", "[]", "a.[0]", "a[0]b", '"a', 'a"', '"a\\b"', '"a"b', 'a"b"']
ANY = refused(Part(""))


@pytest.fixture(scope="module")
def good(rest, make):
    name = make(1)
    rest.pay(name, {at: payload for at, payload in enumerate(GOOD.values())})
    return name


@pytest.mark.parametrize("path", GOOD)
def test_4_1_paths_that_follow_the_grammar(wire, good, path):
    at = list(GOOD).index(path)
    assert at in wire.ids(good, {"key": path, "match": {"value": 1}})
    assert wire.ids(good, must=[{"has_id": [at]}], must_not=[{"is_empty": {"key": path}}]) == [at]


@pytest.mark.parametrize("path", BAD)
def test_4_1_paths_that_do_not(wire, good, path):
    for condition in ({"key": path, "match": {"value": 1}}, {"is_empty": {"key": path}}, {"is_null": {"key": path}}, {"nested": {"key": path, "filter": {}}}):
        with wire.refuses(ANY):
            wire.ids(good, condition)


PLACES = {
    "payload selector": lambda wire, name, path: wire.scroll(name, {"with_payload": [path]}),
    "excluding selector": lambda wire, name, path: wire.scroll(name, {"with_payload": {"exclude": [path]}}),
    "order_by": lambda wire, name, path: wire.scroll(name, {"order_by": path}),
    "query order_by": lambda wire, name, path: wire.query(name, {"query": {"order_by": path}}),
    "facet": lambda wire, name, path: wire.facet(name, {"key": path}),
    "group_by": lambda wire, name, path: wire.query_groups(name, {"group_by": path}),
    "formula": lambda wire, name, path: wire.query(name, {"prefetch": {}, "query": {"formula": path}}),
    "set payload": lambda wire, name, path: wire.set_payload(name, {"payload": {"n": 1}, "points": [1], "key": path}),
    "overwrite payload": lambda wire, name, path: wire.overwrite_payload(name, {"payload": {"n": 1}, "points": [1], "key": path}),
    "delete payload": lambda wire, name, path: wire.delete_payload(name, {"keys": ["n", path], "points": [1]}),
    "field index": lambda wire, name, path: wire.create_index(name, path, "integer"),
}


@pytest.mark.parametrize("place", PLACES)
def test_4_1_every_place_of_a_path_checks_it(wire, make, place):
    name = make(1)
    wire.put(name, (1, [1.0], {"n": 7}))
    for path in ("a..b", "a[x]"):
        with wire.refuses(ANY):
            PLACES[place](wire, name, path)
    assert wire.payload(name, 1) == {"n": 7}


#: (payload, path, does it lead to 1)
GETS = [
    ({"a": {"b": 1}}, "a.b", True),
    ({"a": [{"b": 1}]}, "a.b", False),
    ({"a": [{"b": 1}]}, "a[].b", True),
    ({"a": [{"b": 2}, {"b": 1}]}, "a[].b", True),
    ({"a": [{"b": 2}, {"b": 1}]}, "a[0].b", False),
    ({"a": [{"b": 2}, {"b": 1}]}, "a[1].b", True),
    ({"a": [{"b": 2}, {"b": 1}]}, "a[2].b", False),
    ({"a": {"b": 1}}, "a[].b", False),
    ({"a": {"b": 1}}, "a[0].b", False),
    ({"a": {"0": 1}}, "a[0]", False),
    ({"a": 1}, "a.b", False),
    ({"a": 1}, "a[]", False),
    ({"a": 1}, "a[0]", False),
    ({"a": "1"}, "a[0]", False),
    ({"a": None}, "a.b", False),
    ({"a.b": 1}, "a.b", False),
    ({"a": [5, {"b": 1}]}, "a[].b", True),
    ({"a": [[{"b": 1}]]}, "a[].b", False),
    ({"a": [[{"b": 1}]]}, "a[][].b", True),
    ({"A": 1}, "a", False),
]


@pytest.fixture(scope="module")
def gets(rest, make):
    name = make(1)
    rest.pay(name, {at: payload for at, (payload, _, _) in enumerate(GETS)})
    return name


@pytest.mark.parametrize("at", range(len(GETS)))
def test_4_2_what_a_path_leads_to(wire, gets, at):
    payload, path, leads = GETS[at]
    found = wire.ids(gets, must=[{"has_id": [at]}, {"key": path, "match": {"value": 1}}])
    assert found == ([at] if leads else []), (payload, path)


def test_4_3_a_selected_array_is_unwrapped_once_for_matching(wire, make):
    name = make(1)
    wire.pay(name, {1: {"a": 1}, 2: {"a": [0, 1]}, 3: {"a": [[1]]}, 4: {"a": [[[1]]]}, 5: {"a": [{"b": [1]}]}})
    match = {"match": {"value": 1}}
    assert wire.ids(name, {"key": "a"} | match) == [1, 2]
    assert wire.ids(name, {"key": "a[]"} | match) == [2, 3]
    assert wire.ids(name, {"key": "a[][]"} | match) == [3, 4]
    assert wire.ids(name, {"key": "a[].b"} | match) == [5]


def test_4_3_a_selected_array_is_unwrapped_once_for_grouping_faceting_and_ordering(wire, make):
    name = make(1)
    payloads = {1: {"k": ["x", "y"], "n": [3, 1]}, 2: {"k": "y", "n": 2}, 3: {"k": [["x"]], "n": [[9]]}}
    wire.put(name, *((at, [float(at)], payload) for at, payload in payloads.items()))
    wire.create_index(name, "k", "keyword")
    wire.create_index(name, "n", "integer")
    assert wire.facet(name, {"key": "k"}) == [("y", 2), ("x", 1)]
    ordered = [(one["id"], one["order_value"]) for one in wire.scroll(name, {"order_by": "n"})["points"]]
    assert ordered == [(1, 1), (2, 2), (1, 3)]
    groups = wire.query_groups(name, {"query": [1.0], "group_by": "k"})
    assert {one["id"]: [hit["id"] for hit in one["hits"]] for one in groups} == {"y": [2, 1], "x": [1]}


def test_4_4_groups_by_a_path_with_trailing_brackets(wire, make):
    name = make(1)
    wire.put(name, (1, [1.0], {"k": ["x", "y"], "o": 1}), (2, [2.0], {"k": ["y"], "o": 2}))
    groups = wire.query_groups(name, {"query": [1.0], "group_by": "k[]", "with_payload": ["k"]})
    assert [(one["id"], one["hits"]) for one in groups] == [
        ("y", [{"id": 2, "score": 2.0, "payload": {"k": ["y"]}}, {"id": 1, "score": 1.0, "payload": {"k": ["x", "y"]}}]),
        ("x", [{"id": 1, "score": 1.0, "payload": {"k": ["x", "y"]}}]),
    ]
