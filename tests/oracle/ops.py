"""One operation, written as plain JSON, done through the official client; its outcome as plain JSON again.

An operation is an object with `op` (its kind) and the fields of that kind. Because operations are plain data, a
sequence of them can be printed, stored, shortened and run again on any client: REST, gRPC or local mode.
"""

import dataclasses
import json

import grpc
import httpx
from pydantic import TypeAdapter
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import ApiException, ResponseHandlingException, UnexpectedResponse
from qdrant_client.local.qdrant_local import QdrantLocal

import old

UPDATE_OPERATION = TypeAdapter(models.UpdateOperation)
ALIAS_OPERATION = TypeAdapter(models.AliasOperations)
QUERY = TypeAdapter(models.QueryInterface)
FIELD_SCHEMA = TypeAdapter(models.PayloadFieldSchema)
VECTOR_NAME_CONFIG = TypeAdapter(models.VectorNameConfig)

#: Operations that change nothing.
READS = {
    "retrieve", "scroll", "count", "query", "query_batch", "query_groups", "facet", "matrix", "old", "info", "exists", "collections", "aliases", "check_all",
}


@dataclasses.dataclass
class Outcome:
    """`value` when it worked, else `error`: an HTTP status, or 0 for an error raised before anything was sent."""

    value: object = None
    error: int | None = None
    text: str = ""

    @property
    def failed(self):
        return self.error is not None


class ServerFault(Exception):
    """The server broke a promise that holds for every request: it answered 5xx, or not at all."""


GRPC_STATUS = {
    grpc.StatusCode.INVALID_ARGUMENT: 400,
    grpc.StatusCode.NOT_FOUND: 404,
    grpc.StatusCode.ALREADY_EXISTS: 409,
    grpc.StatusCode.PERMISSION_DENIED: 403,
    grpc.StatusCode.DEADLINE_EXCEEDED: 408,
    grpc.StatusCode.RESOURCE_EXHAUSTED: 429,
    grpc.StatusCode.INTERNAL: 500,
    grpc.StatusCode.UNKNOWN: 500,
    grpc.StatusCode.UNIMPLEMENTED: 501,
    grpc.StatusCode.UNAVAILABLE: 503,
}


def run_remote(client, op):
    """Runs `op` on a client of a server. Raises `ServerFault` where no sequence of requests excuses the answer."""
    try:
        return Outcome(perform(client, op))
    except UnexpectedResponse as error:
        outcome = Outcome(error=error.status_code, text=error.content.decode(errors="replace"))
    except grpc.RpcError as error:
        outcome = Outcome(error=GRPC_STATUS.get(error.code(), 500), text=f"{error.code().name}: {error.details()}")
    except (ResponseHandlingException, ApiException, httpx.HTTPError) as error:
        raise ServerFault(f"no usable answer: {error!r}") from error
    except Exception as error:  # raised by the client before or after the call
        outcome = Outcome(error=0, text=repr(error))
    if outcome.error >= 500:
        raise ServerFault(f"{outcome.error}: {outcome.text}")
    return outcome


def run_local(client, op):
    """Runs `op` in local mode, whose errors are plain exceptions."""
    try:
        return Outcome(perform(client, op))
    except KeyError as error:  # "the rest was applied, this id was not found"
        if not isinstance(error.args[0], int) and len(error.args[0]) != 36:
            raise
        return Outcome(error=404, text=f"No point with id {error.args[0]} found")
    except Exception as error:
        text = str(error)
        absent = text.startswith(("Collection", "Point", "Alias", "Vector with name")) and ("not found" in text or "not exist" in text)
        return Outcome(error=404 if absent else 400, text=text)


def perform(client: QdrantClient, op):
    return globals()[f"_{op['op']}"](client, op)


def _filter(given):
    return None if given is None else models.Filter(**given)


def _selector(given):
    """`{"list": ids}` is the bare list a user may pass; the others are the protocol's forms."""
    if "list" in given:
        return given["list"]
    if "points" in given:
        return models.PointIdsList(points=given["points"])
    return models.FilterSelector(filter=models.Filter(**given["filter"]))


def _with_payload(given):
    if isinstance(given, dict):
        kind = models.PayloadSelectorInclude if "include" in given else models.PayloadSelectorExclude
        return kind(**given)
    return given


def _done(result):
    return {"status": result.status.value}


def plain(value):
    """A model as JSON data."""
    if isinstance(value, dict):
        return {name: plain(one) for name, one in value.items()}
    return value.model_dump(mode="json") if hasattr(value, "model_dump") else value


def record(point):
    shown = {"id": str(point.id) if not isinstance(point.id, int) else point.id, "payload": point.payload, "vector": plain(point.vector)}
    order = getattr(point, "order_value", None)
    return shown if order is None else shown | {"order": order}


# Collections and aliases


def _create_collection(client, op):
    vectors = op["vectors"]
    if "size" in vectors and not isinstance(vectors["size"], dict):
        config = models.VectorParams(**vectors)
    else:
        config = {name: models.VectorParams(**params) for name, params in vectors.items()}
    sparse = op.get("sparse_vectors")
    return client.create_collection(
        op["name"],
        vectors_config=config,
        sparse_vectors_config=None if sparse is None else {name: models.SparseVectorParams(**params) for name, params in sparse.items()},
        shard_number=op.get("shard_number"),
        metadata=op.get("metadata"),
    )


def _delete_collection(client, op):
    return client.delete_collection(op["name"])


def _update_collection(client, op):
    diff = op.get("vectors")
    client.update_collection(
        op["name"],
        metadata=op.get("metadata"),
        vectors_config=None if diff is None else {k: models.VectorParamsDiff(**v) for k, v in diff.items()},
    )
    return True  # local mode answers whether it had anything to do, the server that it was done


def _info(client, op):
    info = client.get_collection(op["name"])
    vectors = info.config.params.vectors
    named = {"": vectors} if isinstance(vectors, models.VectorParams) else vectors or {}
    multi = lambda params: None if params.multivector_config is None else params.multivector_config.comparator.value
    datatype = lambda params: None if params.datatype is None else params.datatype.value
    return {
        "points": info.points_count,
        "vectors": {name: [params.size, params.distance.value, multi(params), datatype(params)] for name, params in named.items()},
        "sparse_vectors": {name: getattr(params.modifier, "value", None) for name, params in (info.config.params.sparse_vectors or {}).items()},
        "indexes": {name: [index.data_type.value, index.points] for name, index in info.payload_schema.items()},
        "metadata": info.config.metadata or {},
    }


def _exists(client, op):
    return client.collection_exists(op["name"])


def _collections(client, op):
    return sorted(one.name for one in client.get_collections().collections)


def _update_aliases(client, op):
    return client.update_collection_aliases([ALIAS_OPERATION.validate_python(action) for action in op["actions"]])


def _aliases(client, op):
    name = op.get("name")
    answer = client.get_aliases() if name is None else client.get_collection_aliases(name)
    return sorted([one.alias_name, one.collection_name] for one in answer.aliases)


# Writes


def _upsert(client, op):
    if op.get("form") == "batch":
        points = models.Batch(ids=op["ids"], vectors=op["vectors"], payloads=op.get("payloads"))
    else:
        points = [models.PointStruct(**point) for point in op["points"]]
    mode = op.get("mode")
    result = client.upsert(
        op["name"],
        points,
        wait=op.get("wait", True),
        update_filter=_filter(op.get("update_filter")),
        update_mode=None if mode is None else models.UpdateMode(mode),
    )
    return True if not op.get("wait", True) else _done(result)


def _delete(client, op):
    result = client.delete(op["name"], _selector(op["select"]), wait=op.get("wait", True))
    return True if not op.get("wait", True) else _done(result)


def _update_vectors(client, op):
    points = [models.PointVectors(**point) for point in op["points"]]
    return _done(client.update_vectors(op["name"], points, update_filter=_filter(op.get("update_filter"))))


def _delete_vectors(client, op):
    return _done(client.delete_vectors(op["name"], op["vectors"], _selector(op["select"])))


def _set_payload(client, op):
    return _done(client.set_payload(op["name"], op["payload"], _selector(op["select"]), key=op.get("key")))


def _overwrite_payload(client, op):
    return _done(client.overwrite_payload(op["name"], op["payload"], _selector(op["select"])))


def _delete_payload(client, op):
    return _done(client.delete_payload(op["name"], op["keys"], _selector(op["select"])))


def _clear_payload(client, op):
    return _done(client.clear_payload(op["name"], _selector(op["select"])))


def _batch(client, op):
    operations = [UPDATE_OPERATION.validate_python(one) for one in op["operations"]]
    return [_done(one) for one in client.batch_update_points(op["name"], operations)]


# Reads


def _retrieve(client, op):
    records = client.retrieve(
        op["name"], op["ids"], with_payload=_with_payload(op["with_payload"]), with_vectors=op["with_vectors"]
    )
    return [record(one) for one in records]


def _scroll(client, op):
    order = op.get("order_by")
    records, following = client.scroll(
        op["name"],
        scroll_filter=_filter(op.get("filter")),
        order_by=models.OrderBy(**order) if isinstance(order, dict) else order,
        limit=op["limit"],
        offset=op.get("offset"),
        with_payload=_with_payload(op["with_payload"]),
        with_vectors=op["with_vectors"],
    )
    return {"points": [record(one) for one in records], "next": following if following is None else plain(following)}


def _count(client, op):
    return client.count(op["name"], count_filter=_filter(op.get("filter"))).count


def _hits(points):
    return [record(one) | {"score": one.score} for one in points]


def _level(op):
    """The arguments that describe a query, without what it is asked for."""
    lookup, params, query, prefetch = op.get("lookup_from"), op.get("params"), op.get("query"), op.get("prefetch")
    return {
        "query": None if query is None else QUERY.validate_python(query),
        "using": op.get("using"),
        "prefetch": [models.Prefetch(**one) for one in prefetch] if isinstance(prefetch, list) else None if prefetch is None else models.Prefetch(**prefetch),
        "query_filter": _filter(op.get("filter")),
        "search_params": None if params is None else models.SearchParams(**params),
        "limit": op["limit"],
        "score_threshold": op.get("score_threshold"),
        "lookup_from": None if lookup is None else models.LookupLocation(**lookup),
        "with_payload": _with_payload(op["with_payload"]),
        "with_vectors": op["with_vectors"],
    }


def _query(client, op):
    return _hits(client.query_points(op["name"], offset=op.get("offset"), **_level(op)).points)


def _grouping(op):
    lookup = op.get("with_lookup")
    return {"group_by": op["group_by"], "group_size": op["group_size"], "with_lookup": models.WithLookup(**lookup) if isinstance(lookup, dict) else lookup}


def _query_groups(client, op):
    return _groups(client.query_points_groups(op["name"], **_grouping(op), **_level(op)))


def _groups(answer):
    lookup = lambda group: None if group.lookup is None else record(group.lookup)
    return [{"id": group.id, "hits": _hits(group.hits), "lookup": lookup(group)} for group in answer.groups]


def _facet(client, op):
    answer = client.facet(op["name"], op["key"], facet_filter=_filter(op.get("filter")), limit=op["limit"], exact=True)
    return [[hit.value, hit.count] for hit in answer.hits]


def _matrix(client, op):
    """Rows of a distance matrix: (id, its neighbors with their scores), whatever form was asked for."""
    arguments = {"query_filter": _filter(op.get("filter")), "limit": op["limit"], "sample": op["sample"], "using": op["using"]}
    if op["form"] == "pairs":
        pairs = client.search_matrix_pairs(op["name"], **arguments).pairs
        return [[pair.a, {"id": pair.b, "score": pair.score}] for pair in pairs]
    answer = client.search_matrix_offsets(op["name"], **arguments)
    columns = zip(answer.offsets_row, answer.offsets_col, answer.scores, strict=True)
    return [[answer.ids[row], {"id": answer.ids[column], "score": score}] for row, column, score in columns]


def _query_batch(client, op):
    requests = []
    for one in op["searches"]:
        fields = {name: value for name, value in one.items() if name not in ("op", "name", "with_vectors")}
        requests.append(models.QueryRequest(**fields, with_vector=one["with_vectors"]))
    return [_hits(response.points) for response in client.query_batch_points(op["name"], requests)]


def _old(client, op):
    """One of the eight endpoints that the query endpoint replaced. Local mode answers the query they stand for."""
    remote = client._client
    if isinstance(remote, QdrantLocal):
        if op["form"] == "groups":
            return _query_groups(client, op["searches"][0] | {"name": op["name"]})
        return [_query(client, one | {"name": op["name"]}) for one in op["searches"]]
    return (old.over_grpc if remote._prefer_grpc else old.over_rest)(remote, op, _hits, _groups)


# Indexes and vector names


def _create_index(client, op):
    schema = FIELD_SCHEMA.validate_python(op["schema"])
    return _done(client.create_payload_index(op["name"], op["field"], field_schema=schema, wait=True))


def _delete_index(client, op):
    return _done(client.delete_payload_index(op["name"], op["field"], wait=True))


def _create_vector_name(client, op):
    return _done(client.create_vector_name(op["name"], op["vector"], VECTOR_NAME_CONFIG.validate_python(op["config"])))


def _delete_vector_name(client, op):
    return _done(client.delete_vector_name(op["name"], op["vector"]))


def _check_all(client, op):
    """Everything there is: every point of every collection with payload and vectors, and every alias."""
    state = {"aliases": _aliases(client, {}), "collections": {}}
    for name in _collections(client, {}):
        records, _ = client.scroll(name, limit=100_000, with_payload=True, with_vectors=True)
        state["collections"][name] = {"info": _info(client, {"name": name}), "points": [record(one) for one in records]}
    return state


def dump(ops):
    """Operations as JSON lines."""
    return "\n".join(json.dumps(op, ensure_ascii=False) for op in ops)
