"""Bad input over raw HTTP and raw gRPC: the protocol's error, and nothing else happens.

After every case the server is alive and holds exactly what it held before. No case may end in a 5xx, except 501 for
parts of the protocol that this version names as missing.
"""

import http.client
import json
import math
import socket
import struct

import grpc
import pytest
from qdrant_client import grpc as pb

from quiver_server import Server

ONE, NAMED = "one", "named"
U64_MAX = 2**64 - 1
NO_NAME = "Wrong input: Not existing vector name error: "
EMPTY_UPDATE = "Bad request: Empty update request"
IN_BODY = "Validation error in JSON body: "


class Http:
    """Requests with exactly the bytes given."""

    def __init__(self, port):
        self.port = port

    def send(self, method, path, body=None, headers=None):
        """Status and raw body. `body` is bytes as they are, or data to be sent as JSON."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            if body is not None and not isinstance(body, bytes):
                body = json.dumps(body).encode()
            connection.request(method, path, body, {"Content-Type": "application/json"} | (headers or {}))
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def json(self, method, path, body=None):
        status, raw = self.send(method, path, body)
        assert status == 200, raw
        return json.loads(raw)["result"]


@pytest.fixture(scope="module")
def own_server():
    """Not shared: these tests count everything the server holds."""
    with Server() as running:
        web = Http(running.http_port)
        web.json("PUT", f"/collections/{ONE}", {"vectors": {"size": 4, "distance": "Dot"}, "shard_number": 2})
        web.json("PUT", f"/collections/{NAMED}", {"vectors": {"image": {"size": 4, "distance": "Cosine"}, "text": {"size": 3, "distance": "Euclid"}}})
        points = [{"id": at, "vector": [at, 1, 0, 2], "payload": {"n": at, "tags": ["a", None], "o": {"p": [1, 2]}}} for at in range(1, 8)]
        web.json("PUT", f"/collections/{ONE}/points?wait=true", {"points": points})
        points = [{"id": at, "vector": {"image": [at, 1, 0, 2], "text": [1, 2, 3]}, "payload": {"n": at}} for at in range(1, 4)]
        web.json("PUT", f"/collections/{NAMED}/points?wait=true", {"points": points})
        yield running


@pytest.fixture(scope="module")
def web(own_server):
    return Http(own_server.http_port)


@pytest.fixture(scope="module")
def channel(own_server):
    with grpc.insecure_channel(f"127.0.0.1:{own_server.grpc_port}", options=[("grpc.max_send_message_length", -1)]) as opened:
        yield opened


def contents(web):
    """Everything the server holds."""
    names = sorted(one["name"] for one in web.json("GET", "/collections")["collections"])
    held = {"aliases": web.json("GET", "/aliases"), "collections": {}}
    for name in names:
        page = web.json("POST", f"/collections/{name}/points/scroll", {"limit": 1000, "with_payload": True, "with_vector": True})
        held["collections"][name] = {"points": page, "config": web.json("GET", f"/collections/{name}")["config"]}
    return json.dumps(held, sort_keys=True)


@pytest.fixture
def unharmed(own_server, web):
    """The test leaves no trace, and the server runs on."""
    process, before = own_server.process, contents(web)
    yield
    assert own_server.process is process and own_server.is_alive(), own_server.log_tail()
    assert contents(web) == before
    assert "panicked" not in own_server.log_tail(100_000)


def error_text(raw):
    body = json.loads(raw)
    assert set(body) == {"status", "time"}, body
    return body["status"]["error"]


def check_text(text, expected):
    """A string is the whole text; a tuple holds parts of it."""
    if isinstance(expected, str):
        assert text == expected
    else:
        for part in expected:
            assert part in text


def vectors_of(vector):
    return {"points": [{"id": 1, "vector": [9, 9, 9, 9]}, {"id": 2, "vector": vector}]}


def condition(body):
    return {"filter": {"must": [body]}}


def nested_filter(levels):
    inner = {"must": [{"key": "n", "match": {"value": 1}}]}
    for _ in range(levels):
        inner = {"must": [inner]}
    return inner


POINTS, QUERY, SCROLL, COUNT = "PUT points", "POST points/query", "POST points/scroll", "POST points/count"
DELETE, SET, OVERWRITE, CLEAR = "POST points/delete", "POST points/payload", "PUT points/payload", "POST points/payload/clear"
UNSET, VECTORS, UNVECTOR, BATCH = "POST points/payload/delete", "PUT points/vectors", "POST points/vectors/delete", "POST points/batch"

GOOD_OP = {"set_payload": {"payload": {"hurt": True}, "points": [1]}}

#: name: (request on collection `one`, body, status, text)
CASES = {
    # Ids
    "id 1.0": (POINTS, {"points": [{"id": 1.0, "vector": [1, 1, 1, 1]}]}, 400, ("Format error in JSON body: ",)),
    "id -1": (POINTS, {"points": [{"id": -1, "vector": [1, 1, 1, 1]}]}, 400, ("Format error in JSON body: ",)),
    "id 2^64": (POINTS, {"points": [{"id": 2**64, "vector": [1, 1, 1, 1]}]}, 400, ("Format error in JSON body: ",)),
    "id true": (POINTS, {"points": [{"id": True, "vector": [1, 1, 1, 1]}]}, 400, ("Format error in JSON body: ",)),
    "id null": (POINTS, {"points": [{"id": None, "vector": [1, 1, 1, 1]}]}, 400, ("Format error in JSON body: ",)),
    "id absent": (POINTS, {"points": [{"vector": [1, 1, 1, 1]}]}, 400, ("Format error in JSON body: ",)),
    "id no uuid": (POINTS, {"points": [{"id": "one", "vector": [1, 1, 1, 1]}]}, 400, ("Format error in JSON body: ",)),
    "id short uuid": (POINTS, {"points": [{"id": "0" * 31, "vector": [1, 1, 1, 1]}]}, 400, ("Format error in JSON body: ",)),
    "retrieve of no uuid": ("POST points", {"ids": [1, "x"]}, 400, ("Format error in JSON body: ",)),
    "scroll from no id": (SCROLL, {"offset": "x"}, 400, ("Format error in JSON body: ",)),
    "has_id of no id": (COUNT, condition({"has_id": [1, "x"]}), 400, ("Format error in JSON body: ",)),
    "get of no id": ("GET points/x", None, 400, ('Can not recognize "x" as point id',)),
    "get of an unknown id": ("GET points/77", None, 404, "Not found: Point with id 77 does not exists!"),
    # Vectors
    "dimension": (POINTS, vectors_of([1, 2, 3]), 400, "Wrong input: Vector dimension error: expected dim: 4, got 3"),
    "dimension, not waited for": ("PUT points?wait=false", vectors_of([1, 2, 3]), 400, "Wrong input: Vector dimension error: expected dim: 4, got 3"),
    "vector name": (POINTS, vectors_of({"nope": [1, 2, 3, 4]}), 400, NO_NAME + "nope"),
    "vector name, not waited for": ("PUT points?wait=false", vectors_of({"nope": [1, 2, 3, 4]}), 400, NO_NAME + "nope"),
    "empty vector": (POINTS, vectors_of([]), 422, ("dense vector must not be empty",)),
    "empty vector, not waited for": ("PUT points?wait=false", vectors_of([]), 422, ("dense vector must not be empty",)),
    "empty named vector": (POINTS, vectors_of({"": []}), 422, ("dense vector must not be empty",)),
    "empty vector in a batch": (POINTS, {"batch": {"ids": [1], "vectors": [[]]}}, 422, ("dense vector must not be empty",)),
    "several bad siblings": (POINTS, {"points": [{"id": 1, "vector": []}, {"id": 2, "vector": []}]}, 422, ("dense vector must not be empty",)),
    "ids and vectors": (POINTS, {"batch": {"ids": [1, 2], "vectors": [[1, 1, 1, 1]]}}, 422, ("number of ids and vectors must be equal (2 != 1)",)),
    "ids and named vectors": (POINTS, {"batch": {"ids": [1, 2], "vectors": {"": [[1, 1, 1, 1]]}}}, 422, ("number of ids and vectors must be equal (2 != 1)",)),
    "ids and payloads": (POINTS, {"batch": {"ids": [1], "vectors": [[1, 1, 1, 1]], "payloads": [{}, {}]}}, 422, ("number of ids and payloads must be equal (1 != 2)",)),
    "multivector with an empty row": (POINTS, vectors_of([[1, 1, 1, 1], []]), 422, ("all vectors must be non-empty",)),
    "uneven multivector": (POINTS, vectors_of([[1, 1, 1, 1], [1]]), 422, ("all vectors must have the same dimension, found vector with dimension 1",)),
    "sparse indices repeat": (POINTS, vectors_of({"s": {"indices": [1, 1], "values": [1, 2]}}), 422, ("must be unique",)),
    "sparse lengths": (POINTS, vectors_of({"s": {"indices": [1, 2], "values": [1]}}), 422, ("must be the same length as indices",)),
    "component beyond f32": (POINTS, vectors_of([1e39, 1, 1, 1]), 400, ()),
    "component beyond f64": (POINTS, b'{"points":[{"id":1,"vector":[1e400,1,1,1]}]}', 400, ("Format error in JSON body: ",)),
    "component NaN": (POINTS, b'{"points":[{"id":1,"vector":[NaN,1,1,1]}]}', 400, ("Format error in JSON body: ",)),
    "component string": (POINTS, vectors_of(["1", 1, 1, 1]), 400, ("Format error in JSON body: ",)),
    "component null": (POINTS, vectors_of([None, 1, 1, 1]), 400, ("Format error in JSON body: ",)),
    # Writes
    "upsert of nothing": (POINTS, {"points": []}, 400, EMPTY_UPDATE),
    "upsert of an empty batch": (POINTS, {"batch": {"ids": [], "vectors": []}}, 400, EMPTY_UPDATE),
    "upsert without points": (POINTS, {}, 400, ("Format error in JSON body: ",)),
    "unknown update mode": (POINTS, {"points": [{"id": 1, "vector": [1, 1, 1, 1]}], "update_mode": "sometimes"}, 400, ("Format error in JSON body: ",)),
    "bad update filter": (POINTS, {"points": [{"id": 1, "vector": [1, 1, 1, 1]}], "update_filter": {"must": [{"key": "n"}]}}, 422, ("At least one field condition must be specified",)),
    "payload is a list": (POINTS, {"points": [{"id": 1, "vector": [1, 1, 1, 1], "payload": [1]}]}, 400, ("Format error in JSON body: ",)),
    "delete of nothing": (DELETE, {"points": []}, 400, EMPTY_UPDATE),
    "delete of neither": (DELETE, {}, 400, ()),
    "set payload of no points": (SET, {"payload": {"a": 1}, "points": []}, 400, EMPTY_UPDATE),
    "set payload of neither": (SET, {"payload": {"a": 1}}, 400, ("No filter or points provided",)),
    "overwrite payload of no points": (OVERWRITE, {"payload": {"a": 1}, "points": []}, 400, EMPTY_UPDATE),
    "overwrite payload of neither": (OVERWRITE, {"payload": {"a": 1}}, 400, ("No filter or points provided",)),
    "delete payload of no points": (UNSET, {"keys": ["n"], "points": []}, 400, EMPTY_UPDATE),
    "delete payload of neither": (UNSET, {"keys": ["n"]}, 400, ("No filter or points provided",)),
    "clear payload of no points": (CLEAR, {"points": []}, 400, EMPTY_UPDATE),
    "clear payload of neither": (CLEAR, {}, 400, ()),
    "set payload at no path": (SET, {"payload": {"a": 1}, "points": [1], "key": "a[x]"}, 400, ()),
    "set payload at an empty path": (SET, {"payload": {"a": 1}, "points": [1], "key": ""}, 400, ()),
    "delete payload at no path": (UNSET, {"keys": ["n", "a..b"], "points": [1]}, 400, ()),
    "payload is a number": (SET, {"payload": 1, "points": [1]}, 400, ("Format error in JSON body: ",)),
    "update of no vectors": (VECTORS, {"points": [{"id": 1, "vector": {}}]}, 422, IN_BODY + "[points[0].vector: must specify vectors to update for point]"),
    "update of no points": (VECTORS, {"points": []}, 422, ("must specify points to update",)),
    "update of a wrong dimension": (VECTORS, {"points": [{"id": 1, "vector": [7, 7, 7, 7]}, {"id": 2, "vector": [1]}]}, 400, "Wrong input: Vector dimension error: expected dim: 4, got 1"),
    "update of an unknown name": (VECTORS, {"points": [{"id": 1, "vector": {"nope": [1]}}]}, 400, NO_NAME + "nope"),
    "delete of an unknown vector": (UNVECTOR, {"points": [1], "vector": ["nope"]}, 400, NO_NAME + "nope"),
    "delete of no vectors": (UNVECTOR, {"points": [1], "vector": []}, 422, ("must specify vector names to delete",)),
    "delete vectors of no points": (UNVECTOR, {"points": [], "vector": [""]}, 400, EMPTY_UPDATE),
    "delete vectors of neither": (UNVECTOR, {"vector": [""]}, 400, ()),
    "batch with a bad vector": (BATCH, {"operations": [GOOD_OP, {"upsert": {"points": [{"id": 1, "vector": [1]}]}}]}, 400, "Wrong input: Vector dimension error: expected dim: 4, got 1"),
    "batch with an empty selection": (BATCH, {"operations": [GOOD_OP, {"delete": {"points": []}}]}, 400, EMPTY_UPDATE),
    "batch with a bad filter": (BATCH, {"operations": [GOOD_OP, {"delete": {"filter": {"must": [{"key": "n"}]}}}]}, 422, ("At least one field condition must be specified",)),
    "batch with an unknown vector": (BATCH, {"operations": [GOOD_OP, {"delete_vectors": {"points": [1], "vector": ["nope"]}}]}, 400, NO_NAME + "nope"),
    "batch with an unknown operation": (BATCH, {"operations": [GOOD_OP, {"explode": {}}]}, 400, ("Format error in JSON body: ",)),
    "batch without operations": (BATCH, {}, 400, ("Format error in JSON body: ",)),
    # Queries
    "limit 0": (QUERY, {"query": [1, 1, 1, 1], "limit": 0}, 422, IN_BODY + "[internal.limit: value 0 invalid, must be 1 or larger]"),
    "limit -1": (QUERY, {"query": [1, 1, 1, 1], "limit": -1}, 400, ("Format error in JSON body: ",)),
    "limit 1.5": (QUERY, {"query": [1, 1, 1, 1], "limit": 1.5}, 400, ("Format error in JSON body: ",)),
    "limit 2^64": (QUERY, {"query": [1, 1, 1, 1], "limit": 2**64}, 400, ("Format error in JSON body: ",)),
    "offset -1": (QUERY, {"query": [1, 1, 1, 1], "offset": -1}, 400, ("Format error in JSON body: ",)),
    "query limit 0 in a batch": ("POST points/query/batch", {"searches": [{"query": [1, 1, 1, 1], "limit": 0}]}, 422, ("limit: value 0 invalid, must be 1 or larger",)),
    "scroll limit 0": (SCROLL, {"limit": 0}, 422, ("limit: value 0 invalid, must be 1 or larger",)),
    "search without limit": ("POST points/search", {"vector": [1, 1, 1, 1]}, 400, ("Format error in JSON body: ",)),
    "search limit 0": ("POST points/search", {"vector": [1, 1, 1, 1], "limit": 0}, 422, ("limit: value 0 invalid, must be 1 or larger",)),
    "hnsw_ef 0": (QUERY, {"query": [1, 1, 1, 1], "params": {"hnsw_ef": 0}}, 422, ("hnsw_ef: value 0 invalid, must be 1 or larger",)),
    "query of a wrong dimension": (QUERY, {"query": [1]}, 400, "Wrong input: Vector dimension error: expected dim: 4, got 1"),
    "query of an unknown vector": (QUERY, {"query": [1, 1, 1, 1], "using": "nope"}, 400, NO_NAME + "nope"),
    "query of an unknown id": (QUERY, {"query": 77}, 404, "Not found: No point with id 77 found"),
    "query of an empty vector": (QUERY, {"query": []}, 422, ()),
    "lookup in no collection": (QUERY, {"query": 1, "lookup_from": {"collection": "nowhere"}}, 404, ("nowhere",)),
    "threshold without query": (QUERY, {"score_threshold": 0.5}, 400, "Bad request: A query is needed to use the score_threshold. Can't have score_threshold without defining a query."),
    "threshold with order_by": (QUERY, {"query": {"order_by": "n"}, "score_threshold": 0.5}, 400, "Bad request: Can't use score_threshold with an order_by query."),
    "prefetch without query": (QUERY, {"prefetch": [{"query": [1, 1, 1, 1]}]}, 400, "Bad request: A query is needed to merge the prefetches. Can't have prefetches without defining a query."),
    "fusion without prefetch": (QUERY, {"query": {"fusion": "rrf"}}, 400, ()),
    "rrf without prefetch": (QUERY, {"query": {"rrf": {"k": 2}}}, 400, ()),
    "formula without prefetch": (QUERY, {"query": {"formula": "$score"}}, 400, ()),
    "fusion with using": (QUERY, {"query": {"fusion": "rrf"}, "using": "x", "prefetch": {"query": [1, 1, 1, 1]}}, 400, "Bad request: Fusion queries cannot be combined with the 'using' field."),
    "bad payload selector": (QUERY, {"query": [1, 1, 1, 1], "with_payload": ["a[x]"]}, 400, ()),
    "payload selector is a number": (QUERY, {"query": [1, 1, 1, 1], "with_payload": 7}, 400, ("Format error in JSON body: ",)),
    "consistency 0": ("POST points/query?consistency=0", {"query": [1, 1, 1, 1]}, 400, ()),
    "timeout 0": ("POST points/query?timeout=0", {"query": [1, 1, 1, 1]}, 422, "Validation error in query parameters: [timeout: value 0 invalid, must be 1 or larger]"),
    "timeout x": ("POST points/query?timeout=x", {"query": [1, 1, 1, 1]}, 400, ("Deserialize error in query parameters: ",)),
    # Filters
    "unknown clause": (COUNT, {"filter": {"mist": []}}, 400, ("Format error in JSON body: ",)),
    "unknown condition": (COUNT, condition({"has_luck": True}), 400, ("Format error in JSON body: ",)),
    "no predicate": (COUNT, condition({"key": "n"}), 422, ("At least one field condition must be specified",)),
    "min_count 0": (COUNT, {"filter": {"min_should": {"conditions": [], "min_count": 0}}}, 422, ("min_count must be greater than 0",)),
    "match of a float": (COUNT, condition({"key": "n", "match": {"value": 1.5}}), 400, ("Format error in JSON body: ",)),
    "match of an object": (COUNT, condition({"key": "n", "match": {"value": {}}}), 400, ("Format error in JSON body: ",)),
    "match of mixed types": (COUNT, condition({"key": "n", "match": {"any": [1, "a"]}}), 400, ("Format error in JSON body: ",)),
    "match of nothing": (COUNT, condition({"key": "n", "match": {}}), 400, ("Format error in JSON body: ",)),
    "range of a boolean": (COUNT, condition({"key": "n", "range": {"gt": True}}), 400, ("Format error in JSON body: ",)),
    "range of no datetime": (COUNT, condition({"key": "n", "range": {"gt": "yesterday"}}), 400, ("Format error in JSON body: ",)),
    "path of a filter": (COUNT, condition({"key": "a..b", "match": {"value": 1}}), 400, ("Format error in JSON body: ",)),
    "empty path of a filter": (COUNT, condition({"is_empty": {"key": ""}}), 400, ("Format error in JSON body: ",)),
    "values_count -1": (COUNT, condition({"key": "n", "values_count": {"gt": -1}}), 400, ("Format error in JSON body: ",)),
    "slice of 0": (COUNT, condition({"slice": {"total": 0, "index": 0}}), 400, ()),
    "slice index": (COUNT, condition({"slice": {"total": 2, "index": 2}}), 422, ()),
    "latitude": (COUNT, condition({"key": "g", "geo_radius": {"center": {"lat": 91, "lon": 0}, "radius": 1}}), 422, ()),
    "longitude": (COUNT, condition({"key": "g", "geo_bounding_box": {"top_left": {"lat": 1, "lon": -181}, "bottom_right": {"lat": 0, "lon": 0}}}), 422, ()),
    "short ring": (COUNT, condition({"key": "g", "geo_polygon": {"exterior": {"points": [{"lat": 0, "lon": 0}] * 3}}}), 422, ()),
    "open ring": (COUNT, condition({"key": "g", "geo_polygon": {"exterior": {"points": [{"lat": 0, "lon": at} for at in range(5)]}}}), 422, ()),
    "nested without filter": (COUNT, condition({"nested": {"key": "a"}}), 400, ("Format error in JSON body: ",)),
    # Bodies
    "no body": (QUERY, None, 400, ()),
    "empty body": (QUERY, b"", 400, ()),
    "truncated body": (QUERY, b'{"query": [1, 1', 400, ("Format error in JSON body: ",)),
    "two bodies": (QUERY, b'{"query": [1, 1, 1, 1]} {}', 400, ("Format error in JSON body: ",)),
    "body is a list": (QUERY, [1], 400, ("Format error in JSON body: ",)),
    "body is null": (POINTS, b"null", 400, ("Format error in JSON body: ",)),
    "invalid UTF-8": (SET, b'{"payload": {"a": "\xff\xfe"}, "points": [1]}', 400, ("Format error in JSON body: ",)),
    "lone surrogate": (SET, b'{"payload": {"a": "\\ud800"}, "points": [1]}', 400, ("Format error in JSON body: ",)),
    "zeros": (POINTS, b"\0" * 1000, 400, ("Format error in JSON body: ",)),
}


def one_path(request):
    method, _, path = request.partition(" ")
    return method, f"/collections/{ONE}/{path}"


@pytest.mark.parametrize("case", CASES)
def test_rest(web, unharmed, case):
    request, body, status, expected = CASES[case]
    method, path = one_path(request)
    if method != "GET" and "wait=" not in path:
        path += "&wait=true" if "?" in path else "?wait=true"
    got, raw = web.send(method, path, body)
    assert got == status, raw
    check_text(error_text(raw), expected)


def test_bare_vector_into_named_vectors(web, unharmed):
    status, raw = web.send("PUT", f"/collections/{NAMED}/points?wait=true", vectors_of([1, 2, 3, 4]))
    assert (status, error_text(raw)) == (400, NO_NAME)


SIZE_TEXT = "Validation error in JSON body: [vectors.size: value {} invalid, must be from 1 to 65536]"
DOT = {"size": 4, "distance": "Dot"}
#: name: (collection, body, status, text)
CREATIONS = {
    "size 0": ("new", {"vectors": {"size": 0, "distance": "Dot"}}, 422, SIZE_TEXT.format(0)),
    "size 65537": ("new", {"vectors": {"size": 65537, "distance": "Dot"}}, 422, SIZE_TEXT.format(65537)),
    "size 2^63": ("new", {"vectors": {"size": 2**63, "distance": "Dot"}}, 422, SIZE_TEXT.format(2**63)),
    "size 2^64": ("new", {"vectors": {"size": 2**64, "distance": "Dot"}}, 400, ("Format error in JSON body: ",)),
    "size -1": ("new", {"vectors": {"size": -1, "distance": "Dot"}}, 400, ("Format error in JSON body: ",)),
    "size 1.5": ("new", {"vectors": {"size": 1.5, "distance": "Dot"}}, 400, ("Format error in JSON body: ",)),
    "named size 0": ("new", {"vectors": {"a": {"size": 0, "distance": "Dot"}}}, 422, ("size: value 0 invalid, must be from 1 to 65536",)),
    "distance": ("new", {"vectors": {"size": 4, "distance": "Far"}}, 400, ("Format error in JSON body: ",)),
    "no distance": ("new", {"vectors": {"size": 4}}, 400, ("Format error in JSON body: ",)),
    "shard_number 0": ("new", {"vectors": DOT, "shard_number": 0}, 422, ("shard_number",)),
    "shard_number -1": ("new", {"vectors": DOT, "shard_number": -1}, 400, ("Format error in JSON body: ",)),
    "shard_number 2^32": ("new", {"vectors": DOT, "shard_number": 2**32}, 400, ()),
    "replication_factor 0": ("new", {"vectors": DOT, "replication_factor": 0}, 422, ("replication_factor",)),
    "write_consistency_factor 0": ("new", {"vectors": DOT, "write_consistency_factor": 0}, 422, ("write_consistency_factor",)),
    "ef_construct 3": ("new", {"vectors": DOT, "hnsw_config": {"ef_construct": 3}}, 422, ("ef_construct",)),
    "pinned": ("new", {"vectors": DOT | {"memory": "pinned"}}, 422, ("pinned",)),
    "metadata is a list": ("new", {"vectors": DOT, "metadata": [1]}, 400, ("Format error in JSON body: ",)),
    "name of 256": ("n" * 256, {"vectors": DOT}, 422, ()),
    "name with a star": ("a*b", {"vectors": DOT}, 422, ()),
    "name with a colon": ("a:b", {"vectors": DOT}, 422, ()),
    "name with a slash": ("a%2Fb", {"vectors": DOT}, 422, ()),
    "name is two dots": ("%2E%2E", {"vectors": DOT}, None, ()),
    "name is no UTF-8": ("%FF", {"vectors": DOT}, 400, ()),
    "existing": (ONE, {"vectors": DOT}, 409, "Wrong input: Collection `one` already exists!"),
}


@pytest.mark.parametrize("case", CREATIONS)
def test_create_collection(web, unharmed, case):
    name, body, status, expected = CREATIONS[case]
    got, raw = web.send("PUT", f"/collections/{name}", body)
    assert got == status if status else 400 <= got < 500, raw
    if got not in (404, 405):
        check_text(error_text(raw), expected)


#: Requests whose exact answer is free, as long as it is no success and no 5xx.
REFUSALS = {
    "unknown path": ("GET", "/nowhere", None, {}),
    "unknown operation": ("POST", f"/collections/{ONE}/points/explode", {}, {}),
    "wrong method": ("PATCH", f"/collections/{ONE}/points", {}, {}),
    "no content type": ("PUT", f"/collections/{ONE}/points", {"points": 1}, {"Content-Type": ""}),
    "odd content type": ("PUT", f"/collections/{ONE}/points", {"points": 1}, {"Content-Type": "\x7f/\x7f;;;=,"}),
    "wrong compression": ("PUT", f"/collections/{ONE}/points", b"\x1f\x8b\x08garbage", {"Content-Encoding": "gzip"}),
    "unknown compression": ("PUT", f"/collections/{ONE}/points", {"points": []}, {"Content-Encoding": "rot13"}),
    "patch of an unknown vector": ("PATCH", f"/collections/{ONE}", {"vectors": {"nope": {"hnsw_config": {"m": 8}}}}, {}),
    "patch with wrong types": ("PATCH", f"/collections/{ONE}", {"metadata": 7}, {}),
    "alias of nothing": ("POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": "nowhere", "alias_name": "a"}}]}, {}),
    "alias named as a collection": ("POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": ONE, "alias_name": NAMED}}]}, {}),
    "half an alias": ("POST", "/collections/aliases", {"actions": [{"create_alias": {"collection_name": ONE, "alias_name": "a"}}, {"rename_alias": {"old_alias_name": "x", "new_alias_name": "y"}}]}, {}),
    "unknown alias action": ("POST", "/collections/aliases", {"actions": [{"burn_alias": {}}]}, {}),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_refusals(web, unharmed, case):
    method, path, body, headers = REFUSALS[case]
    status, raw = web.send(method, path, body, headers)
    assert 400 <= status < 500, (status, raw)


def test_limit_of_u64_max_allocates_nothing(web, unharmed):
    for path, body in (
        ("query", {"query": [1, 1, 1, 1], "limit": U64_MAX}),
        ("query", {"query": [1, 1, 1, 1], "limit": U64_MAX, "offset": U64_MAX}),
        ("query", {"limit": U64_MAX, "offset": U64_MAX}),
        ("query", {"query": [1, 1, 1, 1], "limit": 1, "params": {"hnsw_ef": U64_MAX}}),
        ("scroll", {"limit": U64_MAX}),
        ("search", {"vector": [1, 1, 1, 1], "limit": U64_MAX}),
    ):
        status, raw = web.send("POST", f"/collections/{ONE}/points/{path}", body)
        assert status == 200, raw
        result = json.loads(raw)["result"]
        points = result if isinstance(result, list) else result["points"]
        assert len(points) == (0 if "offset" in body else 1 if body["limit"] == 1 else 7)


@pytest.mark.parametrize("levels", [10, 100, 10_000])
def test_deeply_nested_filter(web, unharmed, levels):
    text = '{"filter":' + '{"must":[' * levels + '{"key":"n","match":{"value":1}}' + "]}" * levels + "}"
    status, raw = web.send("POST", f"/collections/{ONE}/points/count", text.encode())
    assert status == (200 if levels == 10 else 400), raw
    for open_bracket, close_bracket in (("[", "]"), ('{"a":', "}")):
        deep = f'{{"payload":{{"a":{open_bracket * levels}1{close_bracket * levels}}},"points":[77]}}'
        status, raw = web.send("POST", f"/collections/{ONE}/points/payload?wait=true", deep.encode())
        assert status == (404 if levels == 10 else 400), raw


def test_body_of_40_mb(web, unharmed):
    body = b'{"points":[{"id":1,"vector":[1,1,1,1],"payload":{"a":"' + b"x" * 40_000_000 + b'"}}]}'
    try:
        status, raw = web.send("PUT", f"/collections/{ONE}/points?wait=true", body)
        assert status == 413, raw
    except (BrokenPipeError, ConnectionResetError):
        pass  # refused by its Content-Length before it was sent


def raw_bytes(port, sent):
    """What comes back for bytes that need not be HTTP, until the server closes or is silent for a moment."""
    with socket.create_connection(("127.0.0.1", port), timeout=2) as connection:
        received = b""
        try:
            connection.sendall(sent)
            while piece := connection.recv(65536):
                received += piece
        except OSError:
            pass
        return received


ABSURD = {
    "no HTTP": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(256)),
    "HTTP/9": b"GET / HTTP/9.0\r\n\r\n",
    "header of a megabyte": b"GET /readyz HTTP/1.1\r\nHost: x\r\nX-Long: " + b"y" * 1_000_000 + b"\r\n\r\n",
    "ten thousand headers": b"GET /readyz HTTP/1.1\r\nHost: x\r\n" + b"".join(b"X-%d: y\r\n" % at for at in range(10_000)) + b"\r\n",
    "length beyond u64": b"PUT /collections/one/points HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n{}",
    "negative length": b"PUT /collections/one/points HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{}",
    "two lengths": b"PUT /collections/one/points HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "bad chunk": b"PUT /collections/one/points HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
    "path of a megabyte": b"GET /" + b"a" * 1_000_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n",
    "raw bytes in the path": b"GET /collections/\xff\xfe\x00 HTTP/1.1\r\nHost: x\r\n\r\n",
}


@pytest.mark.parametrize("case", ABSURD)
@pytest.mark.parametrize("port", ["http_port", "grpc_port"])
def test_absurd_bytes(own_server, unharmed, case, port):
    answer = raw_bytes(getattr(own_server, port), ABSURD[case])
    if answer.startswith(b"HTTP/1.1 "):
        assert not answer.startswith(b"HTTP/1.1 5") and not (answer.startswith(b"HTTP/1.1 2") and b"/readyz" not in ABSURD[case]), answer[:200]


UNBUILT = {
    "partial snapshots": ("GET", "/collections/one/shards/0/snapshot/partial/manifest", None),
    "points between shard keys": ("POST", "/collections/one/cluster", {"replicate_points": {}}),
    "cluster": ("GET", "/cluster/telemetry", None),
}


@pytest.mark.parametrize("case", UNBUILT)
def test_what_is_not_built_is_named(web, unharmed, case):
    method, path, body = UNBUILT[case]
    status, raw = web.send(method, path, body)
    assert status == 501, raw
    text = error_text(raw)
    assert text.startswith("Not implemented: ") and len(text) > len("Not implemented: "), text


# gRPC


def call(channel, method, message, code, expected=()):
    """Sends a message, or exactly these bytes, and expects this status code."""
    request = message if isinstance(message, bytes) else message.SerializeToString()
    with pytest.raises(grpc.RpcError) as caught:
        channel.unary_unary(f"/qdrant.{method}", request_serializer=None, response_deserializer=None)(request, timeout=30)
    codes = code if isinstance(code, tuple) else (code,)
    assert caught.value.code() in codes, caught.value
    check_text(caught.value.details(), expected)


INVALID, MISSING, ABSENT = grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND, grpc.StatusCode.UNIMPLEMENTED


def dense(*components):
    return pb.Vector(dense=pb.DenseVector(data=components))


def grpc_points(vector, point=pb.PointId(num=2), **fields):
    good = pb.PointStruct(id=pb.PointId(num=1), vectors=pb.Vectors(vector=dense(9, 9, 9, 9)))
    return pb.UpsertPoints(collection_name=ONE, wait=True, points=[good, pb.PointStruct(id=point, vectors=pb.Vectors(vector=vector))], **fields)


def grpc_query(components=(1, 1, 1, 1), **fields):
    nearest = pb.Query(nearest=pb.VectorInput(dense=pb.DenseVector(data=components)))
    return pb.QueryPoints(**{"collection_name": ONE, "query": nearest} | fields)


def grpc_count(one):
    return pb.CountPoints(collection_name=ONE, filter=pb.Filter(must=[one]))


def field(**fields):
    return pb.Condition(field=pb.FieldCondition(key=fields.pop("key", "n"), **fields))


def vector_params(size, distance=pb.Distance.Dot):
    return pb.VectorsConfig(params=pb.VectorParams(size=size, distance=distance))


SOME = pb.PointsSelector(points=pb.PointsIdsList(ids=[pb.PointId(num=1)]))
NONE = pb.PointsSelector(points=pb.PointsIdsList())
LIMIT_TEXT = "limit: value 0 invalid, must be 1 or larger"
DIMENSION = "Wrong input: Vector dimension error: expected dim: 4, got 3"
SIZE_RANGE = "size: value {} invalid, must be from 1 to 65536"

#: name: (method, message, code, text)
GRPC_CASES = {
    "no id": ("Points/Upsert", grpc_points(dense(1, 1, 1, 1), point=pb.PointId()), INVALID, ()),
    "no uuid": ("Points/Upsert", grpc_points(dense(1, 1, 1, 1), point=pb.PointId(uuid="x")), INVALID, ()),
    "get of no id": ("Points/Get", pb.GetPoints(collection_name=ONE, ids=[pb.PointId()]), INVALID, ()),
    "has_id of no uuid": ("Points/Count", grpc_count(pb.Condition(has_id=pb.HasIdCondition(has_id=[pb.PointId(uuid="x")]))), INVALID, ()),
    "dimension": ("Points/Upsert", grpc_points(dense(1, 2, 3)), INVALID, DIMENSION),
    "empty vector": ("Points/Upsert", grpc_points(dense()), INVALID, ()),
    "no vector": ("Points/Upsert", grpc_points(pb.Vector()), INVALID, ()),
    "NaN": ("Points/Upsert", grpc_points(dense(math.nan, 1, 1, 1)), INVALID, ()),
    "infinity": ("Points/Upsert", grpc_points(dense(math.inf, 1, 1, 1)), INVALID, ()),
    "minus infinity": ("Points/Upsert", grpc_points(dense(-math.inf, 1, 1, 1)), INVALID, ()),
    "NaN, legacy form": ("Points/Upsert", grpc_points(pb.Vector(data=[math.nan, 1, 1, 1])), INVALID, ()),
    "NaN in an update": ("Points/UpdateVectors", pb.UpdatePointVectors(collection_name=ONE, wait=True, points=[pb.PointVectors(id=pb.PointId(num=1), vectors=pb.Vectors(vector=dense(math.nan, 1, 1, 1)))]), INVALID, ()),
    "NaN in a query": ("Points/Query", grpc_query((math.nan, 1, 1, 1)), INVALID, ()),
    "infinity in a query": ("Points/Query", grpc_query((math.inf, 1, 1, 1)), INVALID, ()),
    "NaN in a search": ("Points/Search", pb.SearchPoints(collection_name=ONE, vector=[math.nan, 1, 1, 1], limit=1), INVALID, ()),
    "vector name": ("Points/Upsert", pb.UpsertPoints(collection_name=ONE, wait=True, points=[pb.PointStruct(id=pb.PointId(num=1), vectors=pb.Vectors(vectors=pb.NamedVectors(vectors={"nope": dense(1)})))]), INVALID, NO_NAME + "nope"),
    "upsert of nothing": ("Points/Upsert", pb.UpsertPoints(collection_name=ONE, wait=True), INVALID, EMPTY_UPDATE),
    "delete of nothing": ("Points/Delete", pb.DeletePoints(collection_name=ONE, wait=True, points=NONE), INVALID, EMPTY_UPDATE),
    "delete of neither": ("Points/Delete", pb.DeletePoints(collection_name=ONE, wait=True), INVALID, ()),
    "delete of an empty selector": ("Points/Delete", pb.DeletePoints(collection_name=ONE, wait=True, points=pb.PointsSelector()), INVALID, ()),
    "set payload of nothing": ("Points/SetPayload", pb.SetPayloadPoints(collection_name=ONE, wait=True, points_selector=NONE), INVALID, EMPTY_UPDATE),
    "set payload of neither": ("Points/SetPayload", pb.SetPayloadPoints(collection_name=ONE, wait=True), INVALID, ()),
    "set payload at no path": ("Points/SetPayload", pb.SetPayloadPoints(collection_name=ONE, wait=True, points_selector=SOME, key="a[x]"), INVALID, ()),
    "clear payload of neither": ("Points/ClearPayload", pb.ClearPayloadPoints(collection_name=ONE, wait=True), INVALID, ()),
    "delete of no vectors": ("Points/DeleteVectors", pb.DeletePointVectors(collection_name=ONE, wait=True, points_selector=SOME), INVALID, ()),
    "update of no points": ("Points/UpdateVectors", pb.UpdatePointVectors(collection_name=ONE, wait=True), INVALID, ()),
    "update without vectors": ("Points/UpdateVectors", pb.UpdatePointVectors(collection_name=ONE, wait=True, points=[pb.PointVectors(id=pb.PointId(num=1))]), INVALID, ()),
    "batch with an empty operation": ("Points/UpdateBatch", pb.UpdateBatchPoints(collection_name=ONE, wait=True, operations=[pb.PointsUpdateOperation(clear_payload=pb.PointsUpdateOperation.ClearPayload(points=SOME)), pb.PointsUpdateOperation()]), INVALID, ()),
    "limit 0": ("Points/Query", grpc_query(limit=0), INVALID, (LIMIT_TEXT,)),
    "search limit 0": ("Points/Search", pb.SearchPoints(collection_name=ONE, vector=[1, 1, 1, 1], limit=0), INVALID, (LIMIT_TEXT,)),
    "scroll limit 0": ("Points/Scroll", pb.ScrollPoints(collection_name=ONE, limit=0), INVALID, (LIMIT_TEXT,)),
    "hnsw_ef 0": ("Points/Query", grpc_query(params=pb.SearchParams(hnsw_ef=0)), INVALID, ()),
    "query dimension": ("Points/Query", grpc_query((1, 2, 3)), INVALID, DIMENSION),
    "query of an empty vector": ("Points/Query", grpc_query(()), INVALID, ()),
    "empty query": ("Points/Query", grpc_query(query=pb.Query()), INVALID, ()),
    "using": ("Points/Query", grpc_query(using="nope"), INVALID, NO_NAME + "nope"),
    "unknown id": ("Points/Query", grpc_query(query=pb.Query(nearest=pb.VectorInput(id=pb.PointId(num=77)))), MISSING, "Not found: No point with id 77 found"),
    "threshold without query": ("Points/Query", pb.QueryPoints(collection_name=ONE, score_threshold=0.5), INVALID, ("A query is needed to use the score_threshold.",)),
    "prefetch without query": ("Points/Query", pb.QueryPoints(collection_name=ONE, prefetch=[pb.PrefetchQuery()]), INVALID, ("A query is needed to merge the prefetches.",)),
    "no collection": ("Points/Count", pb.CountPoints(collection_name="nowhere"), MISSING, "Not found: Collection `nowhere` doesn't exist!"),
    "no collection name": ("Points/Count", pb.CountPoints(), (INVALID, MISSING), ()),
    "empty condition": ("Points/Count", grpc_count(pb.Condition()), INVALID, ()),
    "no predicate": ("Points/Count", grpc_count(field()), INVALID, ()),
    "empty match": ("Points/Count", grpc_count(field(match=pb.Match())), INVALID, ()),
    "path of a filter": ("Points/Count", grpc_count(field(key="a..b", match=pb.Match(integer=1))), INVALID, ()),
    "min_count 0": ("Points/Count", pb.CountPoints(collection_name=ONE, filter=pb.Filter(min_should=pb.MinShould(conditions=[field(match=pb.Match(integer=1))], min_count=0))), INVALID, ()),
    "slice of 0": ("Points/Count", grpc_count(pb.Condition(slice=pb.SliceCondition(total=0, index=0))), INVALID, ()),
    "slice index": ("Points/Count", grpc_count(pb.Condition(slice=pb.SliceCondition(total=2, index=2))), INVALID, ()),
    "nested without filter": ("Points/Count", grpc_count(pb.Condition(nested=pb.NestedCondition(key="a"))), INVALID, ()),
    "latitude": ("Points/Count", grpc_count(field(geo_radius=pb.GeoRadius(center=pb.GeoPoint(lat=91, lon=0), radius=1))), INVALID, ()),
    "latitude NaN": ("Points/Count", grpc_count(field(geo_radius=pb.GeoRadius(center=pb.GeoPoint(lat=math.nan, lon=0), radius=1))), INVALID, ()),
    "radius without center": ("Points/Count", grpc_count(field(geo_radius=pb.GeoRadius(radius=1))), INVALID, ()),
    "polygon without ring": ("Points/Count", grpc_count(field(geo_polygon=pb.GeoPolygon())), INVALID, ()),
    "size 0": ("Collections/Create", pb.CreateCollection(collection_name="new", vectors_config=vector_params(0)), INVALID, (SIZE_RANGE.format(0),)),
    "size 65537": ("Collections/Create", pb.CreateCollection(collection_name="new", vectors_config=vector_params(65537)), INVALID, (SIZE_RANGE.format(65537),)),
    "size 2^63": ("Collections/Create", pb.CreateCollection(collection_name="new", vectors_config=vector_params(2**63)), INVALID, (SIZE_RANGE.format(2**63),)),
    "no distance": ("Collections/Create", pb.CreateCollection(collection_name="new", vectors_config=vector_params(4, 0)), INVALID, ()),
    "distance 99": ("Collections/Create", pb.CreateCollection(collection_name="new", vectors_config=vector_params(4, 99)), INVALID, ()),
    "shard_number 0": ("Collections/Create", pb.CreateCollection(collection_name="new", vectors_config=vector_params(4), shard_number=0), INVALID, ("shard_number",)),
    "collection name": ("Collections/Create", pb.CreateCollection(collection_name="a*b", vectors_config=vector_params(4)), INVALID, ()),
    "existing": ("Collections/Create", pb.CreateCollection(collection_name=ONE, vectors_config=vector_params(4)), grpc.StatusCode.ALREADY_EXISTS, "Wrong input: Collection `one` already exists!"),
    "info of nothing": ("Collections/Get", pb.GetCollectionInfoRequest(collection_name="nowhere"), MISSING, "Not found: Collection `nowhere` doesn't exist!"),
    "empty alias operation": ("Collections/UpdateAliases", pb.ChangeAliases(actions=[pb.AliasOperations()]), INVALID, ()),
    "unknown method": ("Points/Explode", b"", ABSENT, ()),
    "unknown service": ("Bombs/Explode", b"", ABSENT, ()),
    "order_by": ("Points/Query", grpc_query(query=pb.Query(order_by=pb.OrderBy(key="n"))), INVALID, ("No range index",)),
    "facet": ("Points/Facet", pb.FacetCounts(collection_name=ONE, key="n"), INVALID, ("No appropriate index",)),
    "full snapshot": ("Snapshots/DeleteFull", pb.DeleteFullSnapshotRequest(snapshot_name="../../x.snapshot"), grpc.StatusCode.NOT_FOUND, ("Not found: ",)),
    "sparse query": ("Points/Query", grpc_query(query=pb.Query(nearest=pb.VectorInput(sparse=pb.SparseVector(indices=[1], values=[1])))), (ABSENT, INVALID), ()),
}


@pytest.mark.parametrize("case", GRPC_CASES)
def test_grpc(channel, unharmed, case):
    method, message, code, expected = GRPC_CASES[case]
    call(channel, method, message, code, expected)


def test_grpc_limit_of_u64_max(channel, unharmed):
    for request in (grpc_query(limit=U64_MAX), grpc_query(limit=U64_MAX, offset=U64_MAX), grpc_query(limit=1, params=pb.SearchParams(hnsw_ef=U64_MAX))):
        answer = channel.unary_unary("/qdrant.Points/Query", request_serializer=None)(request.SerializeToString(), timeout=30)
        found = pb.QueryResponse.FromString(answer).result
        assert len(found) == (0 if request.offset else 1 if request.limit == 1 else 7)


@pytest.mark.parametrize("levels", [10, 100, 10_000])
def test_grpc_deeply_nested_filter(channel, unharmed, levels):
    """Built by hand: `filter.must[0].filter.must[0]...`, with protobuf's own limit out of the way."""

    def wrapped(tag, inner):
        return bytes([tag << 3 | 2]) + varint(len(inner)) + inner

    inner = pb.Filter(must=[field(match=pb.Match(integer=1))]).SerializeToString()
    for _ in range(levels):
        inner = wrapped(2, wrapped(4, inner))  # Filter.must = 2, Condition.filter = 4
    request = pb.CountPoints(collection_name=ONE).SerializeToString() + wrapped(2, inner)
    if levels == 10:
        answer = channel.unary_unary("/qdrant.Points/Count", request_serializer=None)(request, timeout=30)
        assert pb.CountResponse.FromString(answer).result.count == 1
    else:
        call(channel, "Points/Count", request, UNREADABLE)


def varint(number):
    encoded = b""
    while number > 127:
        encoded += bytes([number & 127 | 128])
        number >>= 7
    return encoded + bytes([number])


#: A message that is no message is refused by the transport before the service sees it, as INTERNAL.
UNREADABLE = (INVALID, grpc.StatusCode.INTERNAL)


@pytest.mark.parametrize("keep", [1, 7, 20, -1])
def test_grpc_truncated_message(channel, unharmed, keep):
    whole = grpc_points(dense(1, 1, 1, 1)).SerializeToString()
    call(channel, "Points/Upsert", whole[:keep], UNREADABLE)


@pytest.mark.parametrize("junk", [b"\xff" * 64, bytes(range(256)), b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe"])
def test_grpc_garbage_message(channel, unharmed, junk):
    call(channel, "Points/Upsert", junk, UNREADABLE)


def test_grpc_unknown_fields_are_ignored(channel, unharmed):
    """Protobuf's rule, unlike JSON filters."""
    request = pb.CountPoints(collection_name=ONE).SerializeToString() + varint(999 << 3 | 0) + b"\x07"
    answer = channel.unary_unary("/qdrant.Points/Count", request_serializer=None)(request, timeout=30)
    assert pb.CountResponse.FromString(answer).result.count == 7


def test_grpc_message_of_40_mb(channel, unharmed):
    request = pb.SetPayloadPoints(collection_name=ONE, wait=True, points_selector=pb.PointsSelector(points=pb.PointsIdsList(ids=[pb.PointId(num=77)])))
    request.payload["a"].string_value = "x" * 40_000_000
    call(channel, "Points/SetPayload", request, (MISSING, INVALID, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.OUT_OF_RANGE))


def test_grpc_bad_frame(own_server, unharmed):
    """A length prefix that promises 4 GB, over HTTP/2 spoken by hand."""
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0"
    frame = struct.pack(">I", 0xFFFFFF)[1:] + b"\0\1" + struct.pack(">I", 1) + b"\0\xff\xff\xff\xff"
    raw_bytes(own_server.grpc_port, preface + frame)
