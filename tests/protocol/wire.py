"""The two transports behind one notation, so that a case is written once.

A request is the JSON body of the REST operation. Over REST it is sent as it is. Over gRPC the official client's own
models and conversions turn it into the messages that its users send, and turn the answer back into the JSON that REST
would have given. What the client cannot express (wrong types, malformed bodies, fields that only one transport has) is
written twice, side by side, with `Wire.either`.

An answer is normalised only where the transports cannot agree: `version` is left out, and so are empty payloads and
empty vectors, which protobuf does not tell apart from absent ones. Floats are f32 on both, written as short as can be.
"""

import contextlib
import functools
import http.client
import json
import urllib.parse
from typing import NamedTuple

import grpc
import numpy
import pydantic
import pytest
from qdrant_client import grpc as pb
from qdrant_client.conversions.conversion import GrpcToRest, RestToGrpc
from qdrant_client.http import models as rest

TIMEOUT_S = 30
POINT_KEYS = ("id", "score", "payload", "vector", "order_value", "shard_key")


class Refused(Exception):
    """The server said no: HTTP status or name of the gRPC code, and its text."""

    def __init__(self, status, text, headers=None):
        super().__init__(f"{status}: {text}")
        self.status, self.text, self.headers = status, text, headers or {}


class Part(str):
    """A text that holds this."""


class Start(str):
    """A text that begins with this."""


class Refusal(NamedTuple):
    """What a refusal looks like on each transport; a plain string is the whole text."""

    http: int
    code: str
    text: str
    grpc_text: str = None


def like(kind, text):
    """`kind + text`, as exact as `text` is."""
    return type(text)(kind + text) if isinstance(text, Start) or type(text) is str else text


def wrong_input(text):
    return Refusal(400, "INVALID_ARGUMENT", like("Wrong input: ", text))


def bad_request(text):
    return Refusal(400, "INVALID_ARGUMENT", like("Bad request: ", text))


def not_found(text):
    return Refusal(404, "NOT_FOUND", like("Not found: ", text))


def exists(text):
    return Refusal(409, "ALREADY_EXISTS", like("Wrong input: ", text))


def refused(text):
    """Of the class bad input, with a text that has no common prefix."""
    return Refusal(400, "INVALID_ARGUMENT", text)


def invalid(failures, grpc_failures=None):
    """`[path: message; ...]`, which stands after the transport's own words. Part and Start of them are allowed."""
    if isinstance(failures, Part):
        return Refusal(422, "INVALID_ARGUMENT", failures, grpc_failures)
    in_grpc = failures if grpc_failures is None else grpc_failures
    in_grpc = in_grpc if isinstance(in_grpc, Part) else like("Validation error in body: ", in_grpc)
    return Refusal(422, "INVALID_ARGUMENT", like("Validation error in JSON body: ", failures), in_grpc)


def format_error(grpc_text=Part("")):
    """JSON of a wrong shape; over gRPC, where shapes are the messages', an invalid argument."""
    return Refusal(400, "INVALID_ARGUMENT", Start("Format error in JSON body: "), grpc_text)


def matches(text, expected):
    if isinstance(expected, Part):
        return expected in text
    return text.startswith(expected) if isinstance(expected, Start) else text == expected


def short(number):
    """The shortest writing of an f32, as JSON has it."""
    return float(str(numpy.float32(number)))


def vector_json(vector):
    """A vector in one of its JSON forms, numbers shortened."""
    if isinstance(vector, dict):
        return {key: vector[key] if key == "indices" else vector_json(vector[key]) for key in vector}
    if isinstance(vector, list):
        return [vector_json(one) for one in vector]
    return short(vector)


def present(value):
    """Without object members that are null, at any depth."""
    if isinstance(value, dict):
        return {key: present(one) for key, one in value.items() if one is not None}
    return [present(one) for one in value] if isinstance(value, list) else value


def point_json(point):
    """A record or hit with what both transports can say of it."""
    kept = {key: point[key] for key in POINT_KEYS if point.get(key) is not None}
    kept = {key: one for key, one in kept.items() if key not in ("payload", "vector") or one not in ({}, [])}
    if "vector" in kept:
        kept["vector"] = vector_json(kept["vector"])
    if "score" in kept:
        kept["score"] = short(kept["score"])
    return kept


def points_json(points):
    return [point_json(one) for one in points]


def groups_json(groups):
    shaped = []
    for group in groups:
        one = {"id": group["id"], "hits": points_json(group["hits"])}
        if group.get("lookup") is not None:
            one["lookup"] = point_json(group["lookup"])
        shaped.append(one)
    return shaped


class Wire:
    """Every operation takes the collection, the body of the REST operation and the query's parameters."""

    transport = None

    @contextlib.contextmanager
    def refuses(self, refusal):
        """The block's one request is refused like this."""
        with pytest.raises(Refused) as caught:
            yield
        got = caught.value
        if self.transport == "rest":
            status, text = refusal.http, refusal.text
        else:
            status, text = refusal.code, refusal.text if refusal.grpc_text is None else refusal.grpc_text
        assert got.status == status, f"{got} instead of {status}: {text}"
        assert matches(got.text, text), f"{got.text!r} instead of {text!r}"

    # What tests ask most often, in their words.

    def put(self, name, *points):
        """Upserts points given as (id, vector) or (id, vector, payload)."""
        keys = ("id", "vector", "payload")
        return self.upsert(name, {"points": [dict(zip(keys, one)) for one in points]})

    def pay(self, name, payloads):
        """Upserts points without vectors: id -> payload."""
        return self.upsert(name, {"points": [{"id": at, "vector": {}, "payload": one} for at, one in payloads.items()]})

    def ids(self, name, condition=None, **clauses):
        """The ids that pass one condition (or a filter by its clauses), ascending."""
        body = {"limit": 1000, "with_payload": False}
        if condition is not None or clauses:
            body["filter"] = clauses or {"must": [condition]}
        return [one["id"] for one in self.scroll(name, body)["points"]]

    def payload(self, name, point):
        """The payload of one point; `{}` when it has none."""
        return self.one(name, point).get("payload", {})

    def vector(self, name, point):
        """The vectors of one point in their returned form; `{}` when it has none."""
        return self.one(name, point).get("vector", {})

    def one(self, name, point):
        records = self.retrieve(name, {"ids": [point], "with_payload": True, "with_vector": True})
        assert len(records) == 1, f"point {point} of {name} is not there: {records}"
        return records[0]


class Rest(Wire):
    """JSON bodies, sent as they are."""

    transport = "rest"

    def __init__(self, server):
        self.connection = http.client.HTTPConnection("127.0.0.1", server.http_port, timeout=TIMEOUT_S)

    def send(self, method, path, body=None, **parameters):
        """Status, headers and raw body. `body` is bytes as they are, or data to be sent as JSON."""
        if parameters:
            path += "?" + urllib.parse.urlencode({key: str(one).lower() if isinstance(one, bool) else one for key, one in parameters.items()})
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        try:
            self.connection.request(method, path, raw, {"Content-Type": "application/json"})
            answer = self.connection.getresponse()
            return answer.status, answer.headers, answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()  # else the next request would fail for it
            raise

    def json(self, method, path, body=None, **parameters):
        """The result; a refusal is raised."""
        status, headers, raw = self.send(method, path, body, **parameters)
        answer = json.loads(raw)
        if status != 200:
            assert set(answer) == {"status", "time"}, answer
            raise Refused(status, answer["status"]["error"], headers)
        assert answer["status"] == "ok" and answer["time"] >= 0, answer
        return answer["result"]

    def either(self, rest, grpc):
        """The raw request of this transport: (method, path, body, parameters?)."""
        method, path, *more = rest
        return self.json(method, path, more[0] if more else None, **(more[1] if len(more) > 1 else {}))

    def at(self, method, name, path, body, **parameters):
        return self.json(method, f"/collections/{urllib.parse.quote(name, safe='')}{path}", body, **parameters)

    # Collections

    def create(self, name, body, **parameters):
        return self.at("PUT", name, "", body, **parameters)

    def patch(self, name, body, **parameters):
        return self.at("PATCH", name, "", body, **parameters)

    def drop(self, name, **parameters):
        return self.at("DELETE", name, "", None, **parameters)

    def info(self, name):
        return present(self.at("GET", name, "", None))

    def exists(self, name):
        return self.at("GET", name, "/exists", None)["exists"]

    def collections(self):
        return [one["name"] for one in self.json("GET", "/collections")["collections"]]

    def change_aliases(self, actions, **parameters):
        return self.json("POST", "/collections/aliases", {"actions": actions}, **parameters)

    def aliases(self, name=None):
        found = self.json("GET", "/aliases") if name is None else self.at("GET", name, "/aliases", None)
        return {one["alias_name"]: one["collection_name"] for one in found["aliases"]}

    def create_vector(self, name, vector, body, wait=True, **parameters):
        return self.at("PUT", name, f"/vectors/{urllib.parse.quote(vector, safe='')}", body, wait=wait, **parameters)

    def drop_vector(self, name, vector, wait=True, **parameters):
        return self.at("DELETE", name, f"/vectors/{urllib.parse.quote(vector, safe='')}", None, wait=wait, **parameters)

    def create_index(self, name, field, schema, wait=True, **parameters):
        return self.at("PUT", name, "/index", {"field_name": field, "field_schema": schema}, wait=wait, **parameters)

    def drop_index(self, name, field, wait=True, **parameters):
        return self.at("DELETE", name, f"/index/{urllib.parse.quote(field, safe='')}", None, wait=wait, **parameters)

    # Writes

    def upsert(self, name, body, wait=True, **parameters):
        return self.at("PUT", name, "/points", body, wait=wait, **parameters)

    def delete(self, name, body, wait=True, **parameters):
        return self.at("POST", name, "/points/delete", body, wait=wait, **parameters)

    def update_vectors(self, name, body, wait=True, **parameters):
        return self.at("PUT", name, "/points/vectors", body, wait=wait, **parameters)

    def delete_vectors(self, name, body, wait=True, **parameters):
        return self.at("POST", name, "/points/vectors/delete", body, wait=wait, **parameters)

    def set_payload(self, name, body, wait=True, **parameters):
        return self.at("POST", name, "/points/payload", body, wait=wait, **parameters)

    def overwrite_payload(self, name, body, wait=True, **parameters):
        return self.at("PUT", name, "/points/payload", body, wait=wait, **parameters)

    def delete_payload(self, name, body, wait=True, **parameters):
        return self.at("POST", name, "/points/payload/delete", body, wait=wait, **parameters)

    def clear_payload(self, name, body, wait=True, **parameters):
        return self.at("POST", name, "/points/payload/clear", body, wait=wait, **parameters)

    def batch(self, name, operations, wait=True, **parameters):
        return self.at("POST", name, "/points/batch", {"operations": operations}, wait=wait, **parameters)

    # Reads

    def retrieve(self, name, body, **parameters):
        return points_json(self.at("POST", name, "/points", body, **parameters))

    def scroll(self, name, body, **parameters):
        page = self.at("POST", name, "/points/scroll", body, **parameters)
        return {"points": points_json(page["points"]), "next_page_offset": page["next_page_offset"]}

    def count(self, name, body=None, **parameters):
        return self.at("POST", name, "/points/count", body or {}, **parameters)["count"]

    def facet(self, name, body, **parameters):
        return [(one["value"], one["count"]) for one in self.at("POST", name, "/facet", body, **parameters)["hits"]]

    def query(self, name, body, **parameters):
        return points_json(self.at("POST", name, "/points/query", body, **parameters)["points"])

    def query_batch(self, name, searches, **parameters):
        answers = self.at("POST", name, "/points/query/batch", {"searches": searches}, **parameters)
        return [points_json(one["points"]) for one in answers]

    def query_groups(self, name, body, **parameters):
        return groups_json(self.at("POST", name, "/points/query/groups", body, **parameters)["groups"])

    def matrix_pairs(self, name, body, **parameters):
        pairs = self.at("POST", name, "/points/search/matrix/pairs", body, **parameters)["pairs"]
        return [one | {"score": short(one["score"])} for one in pairs]

    def matrix_offsets(self, name, body, **parameters):
        found = self.at("POST", name, "/points/search/matrix/offsets", body, **parameters)
        return found | {"scores": [short(one) for one in found["scores"]]}


@functools.cache
def adapter(model):
    return pydantic.TypeAdapter(model)


def parse(model, body):
    """A body as the client's model. What it refuses never reaches a server: such cases belong into `either`."""
    return adapter(model).validate_python(body)


def optional(convert, value):
    return None if value is None else convert(value)


def plain(value):
    """The client's models as JSON, as deep as they are."""
    if isinstance(value, pydantic.BaseModel):
        return {key: plain(one) for key, one in value}
    return {key: plain(one) for key, one in value.items()} if isinstance(value, dict) else value


class Grpc(Wire):
    """The same bodies through the official client's conversions and messages."""

    transport = "grpc"

    def __init__(self, server):
        self.channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
        self.points_stub, self.collections_stub = pb.PointsStub(self.channel), pb.CollectionsStub(self.channel)

    def send(self, method, message):
        """The answering message. `method` is a method of Points, or `Collections/...`."""
        service, _, short_name = method.rpartition("/")
        stub = self.collections_stub if service == "Collections" else self.points_stub
        try:
            return getattr(stub, short_name)(message, timeout=TIMEOUT_S)
        except grpc.RpcError as error:
            headers = {entry.key: entry.value for entry in error.trailing_metadata() or ()}
            raise Refused(error.code().name, error.details(), headers) from None

    def either(self, rest, grpc):
        """The raw request of this transport: (method, message)."""
        return self.send(*grpc)

    # Collections

    def create(self, name, body, **parameters):
        one = parse(rest.CreateCollection, body)
        message = pb.CreateCollection(
            collection_name=name,
            vectors_config=optional(RestToGrpc.convert_vectors_config, one.vectors),
            sparse_vectors_config=optional(RestToGrpc.convert_sparse_vector_config, one.sparse_vectors),
            hnsw_config=optional(RestToGrpc.convert_hnsw_config_diff, one.hnsw_config),
            optimizers_config=optional(RestToGrpc.convert_optimizers_config_diff, one.optimizers_config),
            wal_config=optional(RestToGrpc.convert_wal_config_diff, one.wal_config),
            quantization_config=optional(RestToGrpc.convert_quantization_config, one.quantization_config),
            strict_mode_config=optional(RestToGrpc.convert_strict_mode_config, one.strict_mode_config),
            sharding_method=optional(RestToGrpc.convert_sharding_method, one.sharding_method),
            shard_number=one.shard_number,
            replication_factor=one.replication_factor,
            write_consistency_factor=one.write_consistency_factor,
            on_disk_payload=one.on_disk_payload,
            payload=optional(RestToGrpc.convert_payload_storage_params, one.payload),
            metadata=optional(RestToGrpc.convert_payload, one.metadata),
            **parameters,
        )
        return self.send("Collections/Create", message).result

    def patch(self, name, body, **parameters):
        one = parse(rest.UpdateCollection, body)
        message = pb.UpdateCollection(
            collection_name=name,
            vectors_config=optional(RestToGrpc.convert_vectors_config_diff, one.vectors),
            sparse_vectors_config=optional(RestToGrpc.convert_sparse_vector_config, one.sparse_vectors),
            hnsw_config=optional(RestToGrpc.convert_hnsw_config_diff, one.hnsw_config),
            optimizers_config=optional(RestToGrpc.convert_optimizers_config_diff, one.optimizers_config),
            params=optional(RestToGrpc.convert_collection_params_diff, one.params),
            quantization_config=optional(RestToGrpc.convert_quantization_config_diff, one.quantization_config),
            strict_mode_config=optional(RestToGrpc.convert_strict_mode_config, one.strict_mode_config),
            metadata=optional(RestToGrpc.convert_payload, one.metadata),
            **parameters,
        )
        return self.send("Collections/Update", message).result

    def drop(self, name, **parameters):
        return self.send("Collections/Delete", pb.DeleteCollection(collection_name=name, **parameters)).result

    def info(self, name):
        answer = self.send("Collections/Get", pb.GetCollectionInfoRequest(collection_name=name))
        return present(GrpcToRest.convert_collection_info(answer.result).model_dump(mode="json"))

    def exists(self, name):
        return self.send("Collections/CollectionExists", pb.CollectionExistsRequest(collection_name=name)).result.exists

    def collections(self):
        return [one.name for one in self.send("Collections/List", pb.ListCollectionsRequest()).collections]

    def change_aliases(self, actions, **parameters):
        converted = [RestToGrpc.convert_alias_operations(parse(rest.AliasOperations, one)) for one in actions]
        return self.send("Collections/UpdateAliases", pb.ChangeAliases(actions=converted, **parameters)).result

    def aliases(self, name=None):
        if name is None:
            found = self.send("Collections/ListAliases", pb.ListAliasesRequest())
        else:
            found = self.send("Collections/ListCollectionAliases", pb.ListCollectionAliasesRequest(collection_name=name))
        return {one.alias_name: one.collection_name for one in found.aliases}

    def create_vector(self, name, vector, body, wait=True, **parameters):
        config = {}
        if (dense := body.get("dense")) is not None:
            params = RestToGrpc.convert_vector_params(parse(rest.VectorParams, dense))
            config["dense_config"] = pb.DenseVectorCreationConfig(size=params.size, distance=params.distance)
            for key in ("multivector_config", "datatype"):
                if params.HasField(key):
                    field = getattr(params, key)
                    config["dense_config"].MergeFrom(pb.DenseVectorCreationConfig(**{key: field}))
        if (sparse := body.get("sparse")) is not None:
            params = RestToGrpc.convert_sparse_vector_params(parse(rest.SparseVectorParams, sparse))
            config["sparse_config"] = pb.SparseVectorCreationConfig(modifier=params.modifier if params.HasField("modifier") else None)
        message = pb.CreateVectorNameRequest(collection_name=name, vector_name=vector, wait=wait, **config, **parameters)
        return self.updated(self.send("CreateVectorName", message))

    def drop_vector(self, name, vector, wait=True, **parameters):
        message = pb.DeleteVectorNameRequest(collection_name=name, vector_name=vector, wait=wait, **parameters)
        return self.updated(self.send("DeleteVectorName", message))

    def create_index(self, name, field, schema, wait=True, **parameters):
        params, kind = None, schema
        if isinstance(schema, dict):
            params = RestToGrpc.convert_payload_schema_params(parse(rest.PayloadSchemaParams, schema))
            kind = schema["type"]
            if kind == "text" and params.text_index_params.tokenizer == pb.TokenizerType.Unknown:
                params.text_index_params.tokenizer = pb.TokenizerType.Word  # as the client does
        message = pb.CreateFieldIndexCollection(
            collection_name=name,
            field_name=field,
            field_type=pb.FieldType.Value(f"FieldType{kind.capitalize()}"),
            field_index_params=params,
            wait=wait,
            **parameters,
        )
        return self.updated(self.send("CreateFieldIndex", message))

    def drop_index(self, name, field, wait=True, **parameters):
        message = pb.DeleteFieldIndexCollection(collection_name=name, field_name=field, wait=wait, **parameters)
        return self.updated(self.send("DeleteFieldIndex", message))

    # Writes

    @staticmethod
    def updated(answer):
        result = GrpcToRest.convert_update_result(answer.result)
        return present({"operation_id": result.operation_id, "status": result.status.value})

    @staticmethod
    def write(one, name, wait, parameters):
        """The fields that every write has."""
        parameters = dict(parameters)
        if "ordering" in parameters:
            parameters["ordering"] = RestToGrpc.convert_write_ordering(rest.WriteOrdering(parameters["ordering"]))
        if (key := getattr(one, "shard_key", None)) is not None:
            parameters["shard_key_selector"] = RestToGrpc.convert_shard_key_selector(key)
        return {"collection_name": name, "wait": wait} | parameters

    @staticmethod
    def selected(one):
        """The points a write is about: their ids or a filter; neither is the message without a selector."""
        if getattr(one, "points", None) is not None:
            return RestToGrpc.convert_points_selector(rest.PointIdsList(points=one.points))
        if getattr(one, "filter", None) is not None:
            return RestToGrpc.convert_points_selector(rest.FilterSelector(filter=one.filter))
        return None

    def upsert(self, name, body, wait=True, **parameters):
        one = parse(rest.PointInsertOperations, body)
        message = pb.UpsertPoints(
            points=RestToGrpc.convert_point_insert_operation(one),
            update_filter=optional(RestToGrpc.convert_filter, one.update_filter),
            update_mode=optional(RestToGrpc.convert_update_mode, one.update_mode),
            **self.write(one, name, wait, parameters),
        )
        return self.updated(self.send("Upsert", message))

    def delete(self, name, body, wait=True, **parameters):
        one = parse(rest.PointsSelector, body)
        return self.updated(self.send("Delete", pb.DeletePoints(points=self.selected(one), **self.write(one, name, wait, parameters))))

    def update_vectors(self, name, body, wait=True, **parameters):
        one = parse(rest.UpdateVectors, body)
        message = pb.UpdatePointVectors(
            points=[RestToGrpc.convert_point_vectors(point) for point in one.points],
            update_filter=optional(RestToGrpc.convert_filter, one.update_filter),
            **self.write(one, name, wait, parameters),
        )
        return self.updated(self.send("UpdateVectors", message))

    def delete_vectors(self, name, body, wait=True, **parameters):
        one = parse(rest.DeleteVectors, body)
        message = pb.DeletePointVectors(
            points_selector=self.selected(one), vectors=pb.VectorsSelector(names=one.vector), **self.write(one, name, wait, parameters)
        )
        return self.updated(self.send("DeleteVectors", message))

    def set_payload(self, name, body, wait=True, method="SetPayload", **parameters):
        one = parse(rest.SetPayload, body)
        message = pb.SetPayloadPoints(
            payload=RestToGrpc.convert_payload(one.payload),
            points_selector=self.selected(one),
            key=one.key,
            **self.write(one, name, wait, parameters),
        )
        return self.updated(self.send(method, message))

    def overwrite_payload(self, name, body, wait=True, **parameters):
        return self.set_payload(name, body, wait, method="OverwritePayload", **parameters)

    def delete_payload(self, name, body, wait=True, **parameters):
        one = parse(rest.DeletePayload, body)
        message = pb.DeletePayloadPoints(keys=one.keys, points_selector=self.selected(one), **self.write(one, name, wait, parameters))
        return self.updated(self.send("DeletePayload", message))

    def clear_payload(self, name, body, wait=True, **parameters):
        one = parse(rest.PointsSelector, body)
        message = pb.ClearPayloadPoints(points=self.selected(one), **self.write(one, name, wait, parameters))
        return self.updated(self.send("ClearPayload", message))

    def batch(self, name, operations, wait=True, **parameters):
        converted = [RestToGrpc.convert_points_update_operation(parse(rest.UpdateOperation, one)) for one in operations]
        message = pb.UpdateBatchPoints(operations=converted, **self.write(None, name, wait, parameters))
        results = [GrpcToRest.convert_update_result(one) for one in self.send("UpdateBatch", message).result]
        return [present({"operation_id": one.operation_id, "status": one.status.value}) for one in results]

    # Reads

    @staticmethod
    def read(one, name, parameters):
        """The fields that every read has."""
        parameters = dict(parameters)
        if "consistency" in parameters:
            consistency = parse(rest.ReadConsistency, parameters.pop("consistency"))
            parameters["read_consistency"] = RestToGrpc.convert_read_consistency(consistency)
        if (key := getattr(one, "shard_key", None)) is not None:
            parameters["shard_key_selector"] = RestToGrpc.convert_shard_key_selector(key)
        return {"collection_name": name} | parameters

    @staticmethod
    def shown(one):
        """The selectors of payload and vectors, absent when they were."""
        return {
            "with_payload": optional(RestToGrpc.convert_with_payload_interface, one.with_payload),
            "with_vectors": optional(RestToGrpc.convert_with_vectors, one.with_vector),
        }

    @staticmethod
    def record(message):
        return point_json(plain(GrpcToRest.convert_record(message)))

    @staticmethod
    def hit(message):
        return point_json(plain(GrpcToRest.convert_scored_point(message)))

    def retrieve(self, name, body, **parameters):
        one = parse(rest.PointRequest, body)
        ids = [RestToGrpc.convert_extended_point_id(point) for point in one.ids]
        return [self.record(each) for each in self.send("Get", pb.GetPoints(ids=ids, **self.shown(one), **self.read(one, name, parameters))).result]

    def scroll(self, name, body, **parameters):
        one = parse(rest.ScrollRequest, body)
        message = pb.ScrollPoints(
            filter=optional(RestToGrpc.convert_filter, one.filter),
            offset=optional(RestToGrpc.convert_extended_point_id, one.offset),
            order_by=optional(RestToGrpc.convert_order_by_interface, one.order_by),
            limit=one.limit,
            **self.shown(one),
            **self.read(one, name, parameters),
        )
        answer = self.send("Scroll", message)
        following = GrpcToRest.convert_point_id(answer.next_page_offset) if answer.HasField("next_page_offset") else None
        return {"points": [self.record(each) for each in answer.result], "next_page_offset": following}

    def count(self, name, body=None, **parameters):
        one = parse(rest.CountRequest, body or {})
        exact = one.exact if "exact" in (body or {}) else None
        message = pb.CountPoints(filter=optional(RestToGrpc.convert_filter, one.filter), exact=exact, **self.read(one, name, parameters))
        return self.send("Count", message).result.count

    def facet(self, name, body, **parameters):
        one = parse(rest.FacetRequest, body)
        message = pb.FacetCounts(
            key=one.key, filter=optional(RestToGrpc.convert_filter, one.filter), limit=one.limit, exact=one.exact, **self.read(one, name, parameters)
        )
        return [(getattr(hit.value, hit.value.WhichOneof("variant")), hit.count) for hit in self.send("Facet", message).hits]

    def query(self, name, body, **parameters):
        message = RestToGrpc.convert_query_request(parse(rest.QueryRequest, body), name)
        message.MergeFrom(pb.QueryPoints(**self.read(None, name, parameters)))
        return [self.hit(each) for each in self.send("Query", message).result]

    def query_batch(self, name, searches, **parameters):
        converted = [RestToGrpc.convert_query_request(parse(rest.QueryRequest, one), name) for one in searches]
        answer = self.send("QueryBatch", pb.QueryBatchPoints(query_points=converted, **self.read(None, name, parameters)))
        return [[self.hit(each) for each in one.result] for one in answer.result]

    def query_groups(self, name, body, **parameters):
        one = parse(rest.QueryGroupsRequest, body)
        prefetch = one.prefetch if isinstance(one.prefetch, list) or one.prefetch is None else [one.prefetch]
        lookup = rest.WithLookup(collection=one.with_lookup) if isinstance(one.with_lookup, str) else one.with_lookup
        message = pb.QueryPointGroups(
            prefetch=[RestToGrpc.convert_prefetch_query(each) for each in prefetch or []],
            query=optional(RestToGrpc.convert_query_interface, one.query),
            using=one.using,
            filter=optional(RestToGrpc.convert_filter, one.filter),
            params=optional(RestToGrpc.convert_search_params, one.params),
            score_threshold=one.score_threshold,
            lookup_from=optional(RestToGrpc.convert_lookup_location, one.lookup_from),
            limit=one.limit,
            group_size=one.group_size,
            group_by=one.group_by,
            with_lookup=optional(RestToGrpc.convert_with_lookup, lookup),
            **self.shown(one),
            **self.read(one, name, parameters),
        )
        return self.groups(self.send("QueryGroups", message))

    def groups(self, answer):
        shaped = []
        for group in answer.result.groups:
            one = {"id": GrpcToRest.convert_group_id(group.id), "hits": [self.hit(each) for each in group.hits]}
            if group.HasField("lookup"):
                one["lookup"] = self.record(group.lookup)
            shaped.append(one)
        return shaped

    def matrix(self, method, name, body, parameters):
        one = parse(rest.SearchMatrixRequest, body)
        message = pb.SearchMatrixPoints(
            filter=optional(RestToGrpc.convert_filter, one.filter), sample=one.sample, limit=one.limit, using=one.using, **self.read(one, name, parameters)
        )
        return self.send(method, message).result

    def matrix_pairs(self, name, body, **parameters):
        convert = GrpcToRest.convert_point_id
        pairs = self.matrix("SearchMatrixPairs", name, body, parameters).pairs
        return [{"a": convert(one.a), "b": convert(one.b), "score": short(one.score)} for one in pairs]

    def matrix_offsets(self, name, body, **parameters):
        found = self.matrix("SearchMatrixOffsets", name, body, parameters)
        return {
            "offsets_row": list(found.offsets_row),
            "offsets_col": list(found.offsets_col),
            "scores": [short(one) for one in found.scores],
            "ids": [GrpcToRest.convert_point_id(one) for one in found.ids],
        }
