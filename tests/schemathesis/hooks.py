"""What schemathesis cannot know: which collection has points, and which server errors are part of the protocol.

Generated requests mostly name collections that do not exist and vectors of wrong lengths; the server would answer 404
and 400 to nearly all of them. So requests are led to one collection with points and indexes, and their vectors are
given its length, wherever the request is meant to be valid. What is meant to be invalid is sent as it was generated.
"""

import json
import os
import random
import urllib.error
import urllib.request

import schemathesis
from schemathesis.core.parameters import ParameterLocation

BASE = os.environ["QUIVER_URL"]
FIXTURE = "fixture"
DIM = 4
#: Collections that may be made, changed and deleted at will.
PLAYGROUND = [f"made-{number}" for number in range(4)]
#: Operations that would spoil the fixture for all that come after.
SPOILING = {"create_collection", "update_collection", "delete_collection", "recover_from_snapshot",
            "recover_from_uploaded_snapshot"}
FIELDS = {"city": "keyword", "count": "integer", "price": "float", "at": "datetime", "place": "geo", "text": "text",
          "yes": "bool", "ref": "uuid"}

RANDOM = random.Random(int(os.environ.get("QUIVER_SEED", "1")))


def send(method, path, body=None):
    """The answer's status; the body is not looked at."""
    data = None if body is None else json.dumps(body).encode()
    request = urllib.request.Request(BASE + path, data, {"Content-Type": "application/json"}, method=method)
    try:
        with urllib.request.urlopen(request, timeout=60) as response:
            return response.status
    except urllib.error.HTTPError as error:
        return error.code


def point(number):
    payload = {
        "city": ["Berlin", "Paris", "Rome"][number % 3],
        "count": number,
        "price": number / 7,
        "at": f"2026-01-{number % 28 + 1:02}T00:00:00Z",
        "place": {"lon": number, "lat": number / 2},
        "text": f"the quick fox number {number}",
        "yes": number % 2 == 0,
        "ref": f"00000000-0000-0000-0000-{number:012}",
        "list": [{"a": number}, {"a": 1}],
    }
    dense = [float((number * (place + 3)) % 11) for place in range(DIM)]
    vectors = {"": dense, "multi": [dense, dense[::-1]], "words": {"indices": [1, number + 2], "values": [1.0, 0.5]}}
    return {"id": number, "vector": vectors, "payload": payload}


def fill():
    assert send("PUT", f"/collections/{FIXTURE}/points?wait=true", {"points": [point(n) for n in range(40)]}) == 200


def make_fixture():
    config = {
        "vectors": {
            "": {"size": DIM, "distance": "Cosine"},
            "multi": {"size": DIM, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
        },
        "sparse_vectors": {"words": {"modifier": "idf"}},
    }
    assert send("PUT", f"/collections/{FIXTURE}", config) == 200
    for name, kind in FIELDS.items():
        schema = {"type": "text", "scoring": True} if kind == "text" else kind
        body = {"field_name": name, "field_schema": schema}
        assert send("PUT", f"/collections/{FIXTURE}/index?wait=true", body) == 200
    fill()


def is_number(value):
    return isinstance(value, (int, float)) and not isinstance(value, bool)


#: Members that hold vectors or lists of them.
VECTOR_MEMBERS = {"vector", "vectors", "nearest", "positive", "negative", "target", "example", "query"}
#: Members that name a field, or a vector.
FIELD_MEMBERS = {"key", "group_by", "field_name", "datetime_key", "to"}


def fitted(value, member=""):
    """`value` with vectors of the right length and names of fields that exist, most of the time."""
    if isinstance(value, dict):
        return {key: fitted(one, key) for key, one in value.items()}
    if isinstance(value, list):
        if member in VECTOR_MEMBERS and value and all(is_number(one) for one in value):
            # As generated where it is no vector of moderate numbers: ids, or numbers out of range.
            if any(isinstance(one, float) for one in value):
                moderate = [float(one) % 100 if abs(one) < 1e30 else one for one in value]
                return (moderate * DIM)[:DIM]
            return value
        return [fitted(one, member) for one in value]
    if isinstance(value, str) and member in FIELD_MEMBERS and RANDOM.random() < 0.8:
        return RANDOM.choice([*FIELDS, "list[].a", "absent"])
    if isinstance(value, str) and member == "using" and RANDOM.random() < 0.8:
        return RANDOM.choice(["", "multi", "words", "text"])
    return value


def is_meant_to_be_valid(case, location):
    meta = case.meta
    component = None if meta is None else meta.components.get(location)
    return component is None or component.mode.is_positive


def collection_for(operation):
    """Never an empty name or dots: those make another path, which is another operation."""
    chance = RANDOM.random()
    if chance < 0.03:
        return RANDOM.choice(["absent", "a b", "\u00fc", "x" * 255, "x" * 256, "a:b", "%", "a%2Fb"])
    return RANDOM.choice(PLAYGROUND) if operation in SPOILING or chance < 0.08 else FIXTURE


@schemathesis.hook
def before_call(context, case, kwargs):
    operation = case.operation.definition.raw.get("operationId")
    names = case.path_parameters
    if isinstance(names, dict):
        if "collection_name" in names:
            names["collection_name"] = collection_for(operation)
        if "field_name" in names:
            names["field_name"] = RANDOM.choice([*FIELDS, "absent", "list[].a", "a b", "["])
        if "snapshot_name" in names:
            names["snapshot_name"] = RANDOM.choice(["absent.snapshot", "a b", "..\\..", "\u00fc"])
        if "id" in names and is_meant_to_be_valid(case, ParameterLocation.PATH) and RANDOM.random() < 0.7:
            names["id"] = RANDOM.randrange(40)
    if operation == "create_collection" and names["collection_name"] in PLAYGROUND and RANDOM.random() < 0.7:
        send("DELETE", f"/collections/{names['collection_name']}")
    if isinstance(case.body, (dict, list)) and is_meant_to_be_valid(case, ParameterLocation.BODY):
        case.body = fitted(case.body)
        if operation == "create_collection" and isinstance(case.body.get("shard_number"), int):
            case.body["shard_number"] = case.body["shard_number"] % 3
    if RANDOM.random() < 0.03:
        fill()


@schemathesis.check
def no_server_error(ctx, response, case):
    """5xx only where the protocol has it: 501 where it is documented, and 500 for a model that is not served."""
    status = response.status_code
    if status < 500:
        return
    if status == 501 and "501" in case.operation.definition.raw["responses"]:
        return
    if status == 500 and "500" in case.operation.definition.raw["responses"]:
        if response.json()["status"]["error"].startswith("Service internal error: InferenceService "):
            return
    raise AssertionError(f"server error {status}: {response.text[:500]}")
