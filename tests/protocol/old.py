"""The old endpoints (PROTOCOL 17), which the official client no longer has: bodies over REST, messages made of them over gRPC."""

from qdrant_client import grpc as pb
from qdrant_client.conversions.conversion import RestToGrpc
from qdrant_client.http import models

from wire import groups_json, parse, points_json

METHODS = {
    "search": "Search",
    "search/batch": "SearchBatch",
    "search/groups": "SearchGroups",
    "recommend": "Recommend",
    "recommend/batch": "RecommendBatch",
    "recommend/groups": "RecommendGroups",
    "discover": "Discover",
    "discover/batch": "DiscoverBatch",
}


def old(wire, endpoint, name, body, **parameters):
    """An old endpoint's answer in the suite's form. `body` is that of REST; a message is made of it here."""
    if wire.transport == "rest":
        result = wire.at("POST", name, f"/points/{endpoint}", body, **parameters)
        if endpoint.endswith("batch"):
            return [points_json(one) for one in result]
        return groups_json(result["groups"]) if endpoint.endswith("groups") else points_json(result)
    kind, _, form = endpoint.partition("/")
    if form == "batch":
        entries = [message(kind, name, one) for one in body["searches"]]
        batch = {"search": pb.SearchBatchPoints, "recommend": pb.RecommendBatchPoints, "discover": pb.DiscoverBatchPoints}[kind]
        asked = batch(collection_name=name, **parameters, **{f"{kind}_points": entries})
        return [[wire.hit(hit) for hit in one.result] for one in wire.send(METHODS[endpoint], asked).result]
    asked = message(endpoint, name, body)
    asked.MergeFrom(type(asked)(**parameters))
    answer = wire.send(METHODS[endpoint], asked)
    return wire.groups(answer) if form == "groups" else [wire.hit(hit) for hit in answer.result]


def message(endpoint, name, body):
    """The message of a single request."""
    kinds = {
        "search": pb.SearchPoints,
        "search/groups": pb.SearchPointGroups,
        "recommend": pb.RecommendPoints,
        "recommend/groups": pb.RecommendPointGroups,
        "discover": pb.DiscoverPoints,
    }
    fields = {key: body[key] for key in ("limit", "offset", "score_threshold", "using", "group_by", "group_size") if key in body}
    for key, target, model, convert in [
        ("filter", "filter", models.Filter, RestToGrpc.convert_filter),
        ("params", "params", models.SearchParams, RestToGrpc.convert_search_params),
        ("with_payload", "with_payload", models.WithPayloadInterface, RestToGrpc.convert_with_payload_interface),
        ("with_vector", "with_vectors", models.WithVector, RestToGrpc.convert_with_vectors),
        ("lookup_from", "lookup_from", models.LookupLocation, RestToGrpc.convert_lookup_location),
        ("with_lookup", "with_lookup", models.WithLookup, RestToGrpc.convert_with_lookup),
    ]:
        if key in body:
            fields[target] = convert(parse(model, body[key]))
    if "strategy" in body:
        fields["strategy"] = {"average_vector": 0, "best_score": 1, "sum_scores": 2}[body["strategy"]]
    if "vector" in body:
        named = body["vector"] if isinstance(body["vector"], dict) else {"vector": body["vector"]}
        if "name" in named:
            fields["vector_name"] = named["name"]
        if isinstance(named["vector"], dict):
            fields["vector"] = named["vector"]["values"]
            fields["sparse_indices"] = pb.SparseIndices(data=named["vector"]["indices"])
        else:
            fields["vector"] = named["vector"]
    for side in ("positive", "negative"):
        examples = body.get(side, []) if endpoint.startswith("recommend") else []
        fields |= {side: [], f"{side}_vectors": []} if examples else {}
        for one in examples:
            if isinstance(one, int):
                fields[side].append(pb.PointId(num=one))
            else:
                fields[f"{side}_vectors"].append(flat(one))
    if endpoint == "discover":
        if "target" in body:
            fields["target"] = pb.TargetVector(single=example(body["target"]))
        fields["context"] = [
            pb.ContextExamplePair(positive=example(pair["positive"]), negative=example(pair["negative"])) for pair in body.get("context", [])
        ]
    return kinds[endpoint](collection_name=name, **fields)


def flat(vector):
    """A vector in the form of the times of these endpoints."""
    if isinstance(vector, dict):
        return pb.Vector(data=vector["values"], indices=pb.SparseIndices(data=vector["indices"]))
    return pb.Vector(data=vector)


def example(one):
    return pb.VectorExample(id=pb.PointId(num=one)) if isinstance(one, int) else pb.VectorExample(vector=flat(one))
