"""Section 5: which payload and which vectors an answer shows."""

import pytest
from qdrant_client import grpc as pb

from rules import rest_only

RULES = {
    "5.1.1": "true, false, a list of paths, include and exclude",
    "5.1.2": "including: a tree of paths, element-wise through [] only",
    "5.1.3": "excluding: what is named is removed, [] element-wise",
    "5.1.4": "nulls are kept, unknown paths are ignored",
    "5.1.5": "what is shown when nothing is asked",
    "5.2": "vectors: true, false or names; unknown names are left out",
    "5.2 null": rest_only("no payload is null or absent, an empty selection is {}"),
}

PAYLOAD = {"a": 1, "o": {"p": 1, "q": {"r": 2, "s": None}}, "l": [{"x": 1, "y": 2}, {"y": 3}, 5, [{"x": 9}]], "n": None, "k.e y": 0}


@pytest.fixture(scope="module")
def shown(rest, make):
    name = make({"": {"size": 1, "distance": "Dot"}, "v": {"size": 1, "distance": "Dot"}}, sparse_vectors={"s": {}})
    rest.put(name, (1, {"": [1.0], "v": [2.0], "s": {"indices": [1], "values": [3.0]}}, PAYLOAD))
    return name


def by_every_read(wire, name, **selectors):
    """What each way of reading point 1 shows for these selectors; all must agree."""
    answers = [
        wire.retrieve(name, {"ids": [1]} | selectors)[0],
        wire.scroll(name, {"limit": 1} | selectors)["points"][0],
        wire.query(name, {"query": [1.0]} | selectors)[0],
        wire.query(name, {"limit": 1} | selectors)[0],
        wire.query_batch(name, [{"query": [1.0]} | selectors])[0][0],
        wire.query_groups(name, {"query": [1.0], "group_by": "a"} | selectors)[0]["hits"][0],
    ]
    seen = [{key: one[key] for key in ("payload", "vector") if key in one} for one in answers]
    assert all(one == seen[0] for one in seen), seen
    return seen[0]


FORMS = {
    "true": (True, PAYLOAD),
    "false": (False, {}),
    "list": (["a", "n"], {"a": 1, "n": None}),
    "include": ({"include": ["a", "n"]}, {"a": 1, "n": None}),
    "exclude": ({"exclude": ["o", "l", "k"]}, {"a": 1, "n": None, "k.e y": 0}),
    "empty list": ([], {}),
    "include of nothing": ({"include": []}, {}),
    "exclude of nothing": ({"exclude": []}, PAYLOAD),
    "quoted key": (['"k.e y"'], {"k.e y": 0}),
}


@pytest.mark.parametrize("form", FORMS)
def test_5_1_1_forms_of_the_payload_selector(wire, shown, form):
    selector, expected = FORMS[form]
    assert by_every_read(wire, shown, with_payload=selector).get("payload", {}) == expected


#: (payload, included paths, what is left)
INCLUDED = [
    (PAYLOAD, ["o"], {"o": PAYLOAD["o"]}),
    (PAYLOAD, ["o.q"], {"o": {"q": {"r": 2, "s": None}}}),
    (PAYLOAD, ["o.q.s"], {"o": {"q": {"s": None}}}),
    (PAYLOAD, ["o.p", "o.q.r"], {"o": {"p": 1, "q": {"r": 2}}}),
    (PAYLOAD, ["o", "o.p"], {"o": PAYLOAD["o"]}),
    (PAYLOAD, ["l"], {"l": PAYLOAD["l"]}),
    (PAYLOAD, ["l[]"], {"l": PAYLOAD["l"]}),
    ({"l": [{"x": 1, "y": 2}, {"y": 3}]}, ["l[].x"], {"l": [{"x": 1}, {}]}),
    ({"l": [{"x": 1}]}, ["l.x"], {"l": []}),
    ({"l": [{"x": 1}]}, ["l[0]"], {"l": []}),
    ({"l": [{"x": 1}]}, ["l[0].x"], {"l": []}),
    ({"a": 5}, ["a.b"], {"a": 5}),
    ({"a": {"c": 1}}, ["a.b"], {"a": {}}),
    ({"a": [{"b": [{"c": 1, "d": 2}]}]}, ["a[].b[].c"], {"a": [{"b": [{"c": 1}]}]}),
]


@pytest.mark.parametrize("at", range(len(INCLUDED)))
def test_5_1_2_including(wire, make, at):
    payload, paths, expected = INCLUDED[at]
    name = make(1)
    wire.put(name, (1, [1.0], payload))
    for selector in (paths, {"include": paths}):
        assert wire.retrieve(name, {"ids": [1], "with_payload": selector})[0].get("payload", {}) == expected, (payload, paths)


EXCLUDED = [
    ({"a": 1, "b": 2}, ["a"], {"b": 2}),
    ({"o": {"p": 1, "q": 2}}, ["o.p"], {"o": {"q": 2}}),
    ({"o": {"p": 1}}, ["o.p"], {"o": {}}),
    ({"o": {"p": 1}}, ["o"], {}),
    ({"l": [1, 2]}, ["l[]"], {"l": []}),
    ({"l": [{"x": 1, "y": 2}, {"x": 3}]}, ["l[].x"], {"l": [{"y": 2}, {}]}),
    ({"l": [{"x": 1}]}, ["l.x"], {"l": [{"x": 1}]}),
    ({"a": 5}, ["a.b"], {"a": 5}),
]


@pytest.mark.parametrize("at", range(len(EXCLUDED)))
def test_5_1_3_excluding(wire, make, at):
    payload, paths, expected = EXCLUDED[at]
    name = make(1)
    wire.put(name, (1, [1.0], payload))
    assert wire.retrieve(name, {"ids": [1], "with_payload": {"exclude": paths}})[0].get("payload", {}) == expected, (payload, paths)


def test_5_1_4_nulls_stay_and_unknown_paths_are_ignored(wire, shown):
    payload = lambda selector: wire.retrieve(shown, {"ids": [1], "with_payload": selector})[0].get("payload", {})
    assert payload(["n", "absent", "absent.deep[]"]) == {"n": None}
    assert payload({"exclude": ["absent", "o.absent", "a.b"]}) == PAYLOAD
    assert payload(["absent"]) == {}


def test_5_1_5_reads_that_show_no_payload_unless_asked(wire, shown):
    for hit in (
        wire.query(shown, {"query": [1.0]})[0],
        wire.query(shown, {})[0],
        wire.query_batch(shown, [{"query": [1.0]}])[0][0],
        wire.query_groups(shown, {"query": [1.0], "group_by": "a"})[0]["hits"][0],
    ):
        assert not {"payload", "vector"} & set(hit)


def test_5_1_5_the_old_searches_show_no_payload_unless_asked(wire, make):
    name = make(1)
    wire.put(name, (1, [1.0], {"a": 1}), (2, [2.0], {"a": 2}))
    path = f"/collections/{name}/points/"
    requests = [
        (("POST", path + "search", {"vector": [1.0], "limit": 1}), ("Search", pb.SearchPoints(collection_name=name, vector=[1.0], limit=1))),
        (("POST", path + "recommend", {"positive": [1], "limit": 1}), ("Recommend", pb.RecommendPoints(collection_name=name, positive=[pb.PointId(num=1)], limit=1))),
        (
            ("POST", path + "discover", {"target": 1, "context": [], "limit": 1}),
            ("Discover", pb.DiscoverPoints(collection_name=name, target=pb.TargetVector(single=pb.VectorExample(id=pb.PointId(num=1))), limit=1)),
        ),
    ]
    for over_rest, over_grpc in requests:
        answer = wire.either(rest=over_rest, grpc=over_grpc)
        hits = answer if wire.transport == "rest" else answer.result
        payloads = [one.get("payload") if wire.transport == "rest" else dict(one.payload) for one in hits]
        assert len(payloads) == 1 and not payloads[0]


def test_5_1_5_a_scroll_shows_payloads(wire, shown):
    assert wire.scroll(shown, {})["points"] == [{"id": 1, "payload": PAYLOAD}]


def test_5_1_5_retrieving_shows_payloads_over_rest_and_none_over_grpc(rest, grpc, shown):
    """REST's documentation says true; gRPC's absent message is none."""
    assert rest.retrieve(shown, {"ids": [1]}) == [{"id": 1, "payload": PAYLOAD}]
    assert grpc.retrieve(shown, {"ids": [1]}) == [{"id": 1}]


def test_5_1_5_one_point_by_its_path_shows_everything(rest, shown):
    record = rest.json("GET", f"/collections/{shown}/points/1")
    assert record == {"id": 1, "payload": PAYLOAD, "vector": {"": [1.0], "v": [2.0], "s": {"indices": [1], "values": [3.0]}}}


def test_5_1_5_a_looked_up_record_shows_its_payload_only(wire, make, shown):
    group = lambda lookup: wire.query_groups(shown, {"query": [1.0], "group_by": "a", "with_lookup": lookup})[0]["lookup"]
    assert group(shown) == {"id": 1, "payload": PAYLOAD}
    assert group({"collection": shown}) == {"id": 1, "payload": PAYLOAD}
    assert group({"collection": shown, "with_payload": False, "with_vectors": ["v"]}) == {"id": 1, "vector": {"v": [2.0]}}


VECTORS = {
    "true": (True, {"": [1.0], "v": [2.0], "s": {"indices": [1], "values": [3.0]}}),
    "false": (False, {}),
    "names": (["v", "s"], {"v": [2.0], "s": {"indices": [1], "values": [3.0]}}),
    "the unnamed": ([""], [1.0]),
    "unknown names": (["v", "nope"], {"v": [2.0]}),
    "only unknown names": (["nope"], {}),
    "no names": ([], {}),
}


@pytest.mark.parametrize("form", VECTORS)
def test_5_2_forms_of_the_vector_selector(wire, shown, form):
    selector, expected = VECTORS[form]
    assert by_every_read(wire, shown, with_payload=False, with_vector=selector).get("vector", {}) == expected


def test_5_2_vectors_fetched_for_the_query_are_not_shown(wire, shown):
    for query in ({"nearest": [1.0], "mmr": {"diversity": 0.5}}, {"recommend": {"positive": [[1.0]]}}):
        assert "vector" not in wire.query(shown, {"query": query})[0]
    body = {"query": {"nearest": [1.0], "mmr": {"diversity": 0.5}}, "with_vector": ["v"]}
    assert wire.query(shown, body)[0]["vector"] == {"v": [2.0]}


def test_5_2_null_tells_no_payload_from_an_empty_one(rest, shown):
    """Only REST can tell: protobuf maps have no absence."""
    record = lambda selector: rest.json("POST", f"/collections/{shown}/points", {"ids": [1], "with_payload": selector})[0]
    assert record(False).get("payload") is None
    assert record([])["payload"] == record(["absent"])["payload"] == {}
