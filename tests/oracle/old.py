"""The eight old endpoints, which the official client no longer has: raw REST bodies and gRPC messages.

A search is written as the query it stands for; here it is put into its old form. `search`, `recommend` and `discover`
exist as one search and as a batch, the first two also in groups.
"""

import httpx
from qdrant_client import grpc, models
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.http.exceptions import UnexpectedResponse

METHODS = {
    ("search", "one"): "Search", ("search", "batch"): "SearchBatch", ("search", "groups"): "SearchGroups",
    ("recommend", "one"): "Recommend", ("recommend", "batch"): "RecommendBatch", ("recommend", "groups"): "RecommendGroups",
    ("discover", "one"): "Discover", ("discover", "batch"): "DiscoverBatch",
}


def over_rest(remote, op, hits, groups):
    bodies = [rest_body(op["kind"], one) for one in op["searches"]]
    path = f"{remote.rest_uri}/collections/{op['name']}/points/{op['kind']}" + {"one": "", "batch": "/batch", "groups": "/groups"}[op["form"]]
    response = httpx.post(path, json={"searches": bodies} if op["form"] == "batch" else bodies[0], timeout=30)
    if response.status_code != 200:
        raise UnexpectedResponse(response.status_code, response.reason_phrase, response.content, response.headers)
    result = response.json()["result"]
    if op["form"] == "groups":
        return groups(models.GroupsResult(**result))
    lists = result if op["form"] == "batch" else [result]
    return [hits([models.ScoredPoint(**hit) for hit in one]) for one in lists]


def rest_body(kind, search):
    same = ("limit", "offset", "filter", "params", "score_threshold", "with_payload", "lookup_from", "group_by", "group_size", "with_lookup")
    body = {name: search[name] for name in same if search.get(name) is not None} | {"with_vector": search["with_vectors"]}
    using, query = search.get("using"), search["query"]
    if kind == "search":
        return body | {"vector": query if using is None else {"name": using, "vector": query}}
    if using is not None:
        body["using"] = using
    if kind == "recommend":
        return body | query["recommend"]
    return body | (query["discover"] if "discover" in query else {"context": query["context"]})


def over_grpc(remote, op, hits, groups):
    kind, form = op["kind"], op["form"]
    requests = [{"search": search, "recommend": recommend, "discover": discover}[kind](op["name"], one, form == "groups") for one in op["searches"]]
    if form == "batch":
        batch = {"search": grpc.SearchBatchPoints, "recommend": grpc.RecommendBatchPoints, "discover": grpc.DiscoverBatchPoints}[kind]
        request = batch(collection_name=op["name"], **{f"{kind}_points": requests})
    else:
        request = requests[0]
    answer = getattr(remote.grpc_points, METHODS[kind, form])(request, timeout=30)
    if form == "groups":
        return groups(GrpcToRest.convert_groups_result(answer.result))
    lists = [one.result for one in answer.result] if form == "batch" else [answer.result]
    return [hits([GrpcToRest.convert_scored_point(hit) for hit in one]) for one in lists]


def common(name, search, is_grouped):
    """The fields that all old requests have."""
    fields = {"collection_name": name, "limit": search["limit"], "with_vectors": RestToGrpc.convert_with_vectors(search["with_vectors"])}
    given = search["with_payload"]
    if isinstance(given, dict):
        given = (models.PayloadSelectorInclude if "include" in given else models.PayloadSelectorExclude)(**given)
    fields["with_payload"] = RestToGrpc.convert_with_payload_interface(given)
    if search.get("filter") is not None:
        fields["filter"] = RestToGrpc.convert_filter(models.Filter(**search["filter"]))
    if search.get("params") is not None:
        fields["params"] = RestToGrpc.convert_search_params(models.SearchParams(**search["params"]))
    for optional in ("score_threshold", "offset"):
        if search.get(optional) is not None:
            fields[optional] = search[optional]
    if is_grouped:
        lookup = search.get("with_lookup")
        fields |= {"group_by": search["group_by"], "group_size": search["group_size"]}
        if lookup is not None:
            fields["with_lookup"] = RestToGrpc.convert_with_lookup(models.WithLookup(**lookup) if isinstance(lookup, dict) else models.WithLookup(collection=lookup))
    return fields


def search(name, one, is_grouped):
    fields = common(name, one, is_grouped)
    if one.get("using") is not None:
        fields["vector_name"] = one["using"]
    if isinstance(one["query"], dict):
        fields |= {"vector": one["query"]["values"], "sparse_indices": grpc.SparseIndices(data=one["query"]["indices"])}
    else:
        fields["vector"] = one["query"]
    return (grpc.SearchPointGroups if is_grouped else grpc.SearchPoints)(**fields)


def placed(name, one, is_grouped):
    fields = common(name, one, is_grouped)
    if one.get("using") is not None:
        fields["using"] = one["using"]
    if one.get("lookup_from") is not None:
        fields["lookup_from"] = RestToGrpc.convert_lookup_location(models.LookupLocation(**one["lookup_from"]))
    return fields


def vector(example):
    if isinstance(example, dict):
        return grpc.Vector(sparse=grpc.SparseVector(**example))
    return grpc.Vector(dense=grpc.DenseVector(data=example))


def is_id(example):
    return isinstance(example, (int, str))


def recommend(name, one, is_grouped):
    fields, query = placed(name, one, is_grouped), one["query"]["recommend"]
    for sign in ("positive", "negative"):
        examples = query.get(sign) or []
        fields[sign] = [RestToGrpc.convert_extended_point_id(example) for example in examples if is_id(example)]
        fields[f"{sign}_vectors"] = [vector(example) for example in examples if not is_id(example)]
    if query.get("strategy") is not None:
        fields["strategy"] = RestToGrpc.convert_recommend_strategy(models.RecommendStrategy(query["strategy"]))
    return (grpc.RecommendPointGroups if is_grouped else grpc.RecommendPoints)(**fields)


def example(given):
    return grpc.VectorExample(id=RestToGrpc.convert_extended_point_id(given)) if is_id(given) else grpc.VectorExample(vector=vector(given))


def discover(name, one, _is_grouped):
    query = one["query"]
    fields = placed(name, one, False)
    fields.pop("score_threshold", None)
    pairs = query["discover"]["context"] if "discover" in query else query["context"]
    fields["context"] = [grpc.ContextExamplePair(positive=example(pair["positive"]), negative=example(pair["negative"])) for pair in pairs]
    if "discover" in query:
        fields["target"] = grpc.TargetVector(single=example(query["discover"]["target"]))
    return grpc.DiscoverPoints(**fields)
