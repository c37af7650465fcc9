"""Section 20: what is particular to gRPC."""

import json
import math

import pytest
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
from google.protobuf.timestamp_pb2 import Timestamp
from qdrant_client import grpc as pb
from qdrant_client.grpc import collections_pb2, points_pb2, qdrant_common_pb2, snapshots_service_pb2

from rules import grpc_only
from wire import Part, refused

RULES = {
    "20.1": grpc_only("the public messages; absent selectors, filters and wait"),
    "20.2": "values of payloads keep their kinds on the way between the transports",
    "20.3": grpc_only("variants of queries, matches, conditions, bounds and starts; constants are f32"),
    "20.4": grpc_only("kinds of group ids and order values; ids above i64"),
    "20.5": grpc_only("texts of validation failures; missing messages; numbers of update states"),
    "20.6": "every response has its time in seconds",
}

ONE, TWO = pb.PointId(num=1), pb.PointId(num=2)


@pytest.fixture
def two(rest, make):
    """Points 1 at [1, 0] and 2 at [0, 1] with a payload."""
    name = make(2)
    rest.put(name, (1, [1.0, 0.0], {"n": 1, "k": "a"}), (2, [0.0, 1.0], {"n": 2, "k": "b"}))
    return name


def dense(*components):
    return pb.VectorInput(dense=pb.DenseVector(data=components))


def only(**condition):
    return pb.Filter(must=[pb.Condition(**condition)])


def field(**predicate):
    return only(field=pb.FieldCondition(**{"key": "n"} | predicate))


def count(grpc, name, filter):
    return grpc.send("Count", pb.CountPoints(collection_name=name, filter=filter)).result.count


# 20.1 Messages


def reflected(channel, symbol):
    """The files that the server's own reflection gives for a symbol, as descriptors."""
    made = descriptor_pb2.FileDescriptorProto(name="reflection.proto", package="grpc.reflection.v1")
    request = made.message_type.add(name="ServerReflectionRequest")
    request.field.add(name="file_containing_symbol", number=4, type=9, label=1)
    answer = made.message_type.add(name="FileDescriptorResponse")
    answer.field.add(name="file_descriptor_proto", number=1, type=12, label=3)
    response = made.message_type.add(name="ServerReflectionResponse")
    response.field.add(name="file_descriptor_response", number=4, type=11, label=1, type_name=".grpc.reflection.v1.FileDescriptorResponse")
    pool = descriptor_pool.DescriptorPool()
    pool.Add(made)
    message = lambda name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"grpc.reflection.v1.{name}"))
    call = channel.stream_stream(
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        request_serializer=lambda one: one.SerializeToString(),
        response_deserializer=message("ServerReflectionResponse").FromString,
    )
    answer = next(call(iter([message("ServerReflectionRequest")(file_containing_symbol=symbol)]), timeout=10))
    return [descriptor_pb2.FileDescriptorProto.FromString(one) for one in answer.file_descriptor_response.file_descriptor_proto]


def described(messages, enums, prefix=""):
    """What goes over the wire: (message, field) -> number, kind, type, label, oneof; (enum, value) -> number."""
    found = {}
    for enum in enums:
        found |= {(prefix + enum.name, value.name): value.number for value in enum.value}
    for message in messages:
        for one in message.field:
            oneof = message.oneof_decl[one.oneof_index].name if one.HasField("oneof_index") and not one.proto3_optional else None
            found[prefix + message.name, one.name] = (one.number, one.type, one.type_name, one.label, oneof)
        found |= described(message.nested_type, message.enum_type, f"{prefix}{message.name}.")
    return found


@pytest.mark.parametrize(
    "module, symbol",
    [(points_pb2, "qdrant.UpsertPoints"), (collections_pb2, "qdrant.CreateCollection"), (qdrant_common_pb2, "qdrant.PointId"), (snapshots_service_pb2, "qdrant.CreateSnapshotRequest")],
)
def test_20_1_messages_are_the_public_ones(grpc, module, symbol):
    """Every field and every enumerator the client knows, with its number and kind."""
    public = descriptor_pb2.FileDescriptorProto()
    module.DESCRIPTOR.CopyToProto(public)
    ours = {}
    for file in reflected(grpc.channel, symbol):
        ours |= described(file.message_type, file.enum_type)
    expected = described(public.message_type, public.enum_type)
    assert len(expected) > 10
    assert {key: ours.get(key) for key in expected} == expected


def test_20_1_absent_selectors(grpc, two):
    for method, message in (
        ("Search", pb.SearchPoints(collection_name=two, vector=[1, 0], limit=2)),
        ("Query", pb.QueryPoints(collection_name=two, query=pb.Query(nearest=dense(1, 0)))),
        ("Get", pb.GetPoints(collection_name=two, ids=[ONE, TWO])),
    ):
        found = grpc.send(method, message).result
        assert len(found) == 2 and not any(one.payload or one.HasField("vectors") for one in found)
    found = grpc.send("Scroll", pb.ScrollPoints(collection_name=two)).result
    assert all(one.payload and not one.HasField("vectors") for one in found) and len(found) == 2


def test_20_1_an_empty_filter_message_matches_all(grpc, two):
    assert count(grpc, two, pb.Filter()) == 2
    assert len(grpc.send("Search", pb.SearchPoints(collection_name=two, vector=[1, 0], limit=2, filter=pb.Filter())).result) == 2
    grpc.send("Delete", pb.DeletePoints(collection_name=two, wait=True, points=pb.PointsSelector(filter=pb.Filter())))
    assert grpc.count(two) == 0


def test_20_1_an_absent_wait_is_false(grpc, two):
    message = pb.DeletePoints(collection_name=two, points=pb.PointsSelector(points=pb.PointsIdsList(ids=[ONE])))
    assert grpc.send("Delete", message).result.status == pb.UpdateStatus.Acknowledged


# 20.2 Values

PAYLOAD = {
    "null": None,
    "double": 1.5,
    "whole double": 2.0,
    "integer": 3,
    "negative": -(2**63),
    "largest": 2**63 - 1,
    "beyond doubles": 2**53 + 1,
    "string": "größe",
    "true": True,
    "false": False,
    "struct": {"x": {"y": None}, "e": {}},
    "list": [1, 1.0, "1", None, [], [True]],
}


def same(one, other):
    """Equal in value and in type, at every depth."""
    if type(one) is not type(other):
        return False
    if isinstance(one, dict):
        return set(one) == set(other) and all(same(one[key], other[key]) for key in one)
    if isinstance(one, list):
        return len(one) == len(other) and all(same(*pair) for pair in zip(one, other))
    return one == other


@pytest.mark.parametrize("writer", ["rest", "grpc"])
def test_20_2_values_keep_their_kinds(wire, rest, grpc, make, writer):
    name = make(1)
    {"rest": rest, "grpc": grpc}[writer].put(name, (1, [1.0], PAYLOAD))
    read = wire.payload(name, 1)
    assert same(read, PAYLOAD), read


def test_20_2_the_kinds_in_the_message(grpc, two):
    grpc.overwrite_payload(two, {"payload": PAYLOAD, "points": [1]})
    stored = grpc.send("Get", pb.GetPoints(collection_name=two, ids=[ONE], with_payload=pb.WithPayloadSelector(enable=True))).result[0].payload
    kinds = {key: stored[key].WhichOneof("kind") for key in stored}
    assert kinds == {
        "null": "null_value", "double": "double_value", "whole double": "double_value", "integer": "integer_value", "negative": "integer_value",
        "largest": "integer_value", "beyond doubles": "integer_value", "string": "string_value", "true": "bool_value", "false": "bool_value", "struct": "struct_value", "list": "list_value",
    }


def test_20_2_integers_above_i64_are_doubles_in_messages(rest, grpc, two):
    rest.set_payload(two, {"payload": {"big": 2**63, "bigger": 2**64 - 1}, "points": [1]})
    stored = grpc.send("Get", pb.GetPoints(collection_name=two, ids=[ONE], with_payload=pb.WithPayloadSelector(enable=True))).result[0].payload
    assert (stored["big"].double_value, stored["bigger"].double_value) == (2.0**63, 2.0**64)
    assert rest.payload(two, 1)["big"] == 2**63


def test_20_2_what_is_no_json_is_refused(grpc, two):
    """NaN and infinities have no JSON; a value without a kind is null."""
    for number in (math.nan, math.inf):
        message = pb.SetPayloadPoints(collection_name=two, wait=True, points_selector=pb.PointsSelector(points=pb.PointsIdsList(ids=[ONE])))
        message.payload["x"].double_value = number
        with grpc.refuses(refused(Part(""))):
            grpc.send("SetPayload", message)
    message = pb.SetPayloadPoints(collection_name=two, wait=True, points_selector=pb.PointsSelector(points=pb.PointsIdsList(ids=[ONE])))
    message.payload["l"].list_value.values.add()
    grpc.send("SetPayload", message)
    assert grpc.payload(two, 1)["l"] == [None]


# 20.3 Variants


def queries():
    return {
        "nearest": (pb.Query(nearest=dense(1, 0)), [1, 2]),
        "nearest id": (pb.Query(nearest=pb.VectorInput(id=ONE)), [2]),
        "recommend": (pb.Query(recommend=pb.RecommendInput(positive=[dense(1, 0)], strategy=pb.RecommendStrategy.SumScores)), [1, 2]),
        "discover": (pb.Query(discover=pb.DiscoverInput(target=dense(1, 0), context=pb.ContextInput())), [1, 2]),
        "context": (pb.Query(context=pb.ContextInput(pairs=[pb.ContextInputPair(positive=dense(1, 0), negative=dense(0, 1))])), [1, 2]),
        "order_by": (pb.Query(order_by=pb.OrderBy(key="n", direction=pb.Direction.Desc)), [2, 1]),
        "nearest_with_mmr": (pb.Query(nearest_with_mmr=pb.NearestInputWithMmr(nearest=dense(1, 0.5), mmr=pb.Mmr(diversity=0.1))), [1, 2]),
        "relevance_feedback": (
            pb.Query(relevance_feedback=pb.RelevanceFeedbackInput(target=dense(1, 0), feedback=[pb.FeedbackItem(example=dense(1, 0), score=1)], strategy=pb.FeedbackStrategy(naive=pb.NaiveFeedbackStrategy(a=1, b=1, c=1)))),
            [1, 2],
        ),
    }


@pytest.mark.parametrize("variant", queries())
def test_20_3_variants_of_queries(grpc, two, variant):
    grpc.create_index(two, "n", "integer")
    query, expected = queries()[variant]
    assert [one.id.num for one in grpc.send("Query", pb.QueryPoints(collection_name=two, query=query)).result] == expected


@pytest.mark.parametrize(
    "query",
    [pb.Query(fusion=pb.Fusion.RRF), pb.Query(fusion=pb.Fusion.DBSF), pb.Query(rrf=pb.Rrf(k=5, weights=[2])), pb.Query(formula=pb.Formula(expression=pb.Expression(variable="$score")))],
    ids=["rrf fusion", "dbsf fusion", "rrf", "formula"],
)
def test_20_3_variants_of_queries_over_prefetches(grpc, two, query):
    prefetch = [pb.PrefetchQuery(query=pb.Query(nearest=dense(1, 0.5)))]
    found = grpc.send("Query", pb.QueryPoints(collection_name=two, prefetch=prefetch, query=query)).result
    assert [one.id.num for one in found] == [1, 2]


def test_20_3_a_sample(grpc, two):
    found = grpc.send("Query", pb.QueryPoints(collection_name=two, query=pb.Query(sample=pb.Sample.Random))).result
    assert sorted(one.id.num for one in found) == [1, 2]


MATCHES = [
    (field(key="k", match=pb.Match(keyword="a")), 1),
    (field(match=pb.Match(integer=1)), 1),
    (field(match=pb.Match(boolean=True)), 0),
    (field(key="k", match=pb.Match(text="A")), 1),
    (field(key="k", match=pb.Match(keywords=pb.RepeatedStrings(strings=["a", "b"]))), 2),
    (field(match=pb.Match(integers=pb.RepeatedIntegers(integers=[2, 3]))), 1),
    (field(match=pb.Match(except_integers=pb.RepeatedIntegers(integers=[2]))), 1),
    (field(key="k", match=pb.Match(except_keywords=pb.RepeatedStrings(strings=["a", "b"]))), 0),
    (field(key="k", match=pb.Match(phrase="b")), 1),
    (field(key="k", match=pb.Match(text_any="a b")), 2),
    (field(key="k", match=pb.Match(prefix="a")), 1),
    (field(range=pb.Range(gt=1)), 1),
    (field(values_count=pb.ValuesCount(gte=1)), 2),
    (field(is_empty=True), 0),
    (field(is_null=False), 2),
    (only(is_empty=pb.IsEmptyCondition(key="nope")), 2),
    (only(is_null=pb.IsNullCondition(key="n")), 0),
    (only(has_id=pb.HasIdCondition(has_id=[ONE])), 1),
    (only(has_vector=pb.HasVectorCondition(has_vector="")), 2),
    (only(filter=pb.Filter(must_not=[pb.Condition(has_id=pb.HasIdCondition(has_id=[ONE, TWO]))])), 0),
    (only(nested=pb.NestedCondition(key="o", filter=pb.Filter())), 0),
    (only(slice=pb.SliceCondition(total=1, index=0)), 2),
]


@pytest.mark.parametrize("at", range(len(MATCHES)))
def test_20_3_variants_of_matches_and_conditions(grpc, two, at):
    filter, expected = MATCHES[at]
    assert count(grpc, two, filter) == expected


def test_20_3_datetime_bounds_are_timestamps(grpc, two):
    grpc.set_payload(two, {"payload": {"d": "2024-01-01T00:00:00.5Z"}, "points": [1]})
    new_year = 1_704_067_200
    for bounds, expected in (
        (pb.DatetimeRange(gte=Timestamp(seconds=new_year, nanos=500_000_000)), 1),
        (pb.DatetimeRange(gt=Timestamp(seconds=new_year, nanos=500_000_000)), 0),
        (pb.DatetimeRange(lt=Timestamp(seconds=new_year, nanos=500_001_000)), 1),
        (pb.DatetimeRange(lt=Timestamp(seconds=new_year, nanos=500_000_999)), 0),  # floors to microseconds
        (pb.DatetimeRange(gt=Timestamp(seconds=-1)), 1),
        (pb.DatetimeRange(), 1),
    ):
        assert count(grpc, two, field(key="d", datetime_range=bounds)) == expected, bounds


def test_20_3_starts_of_an_order(grpc, two):
    grpc.set_payload(two, {"payload": {"f": 0.5, "d": "2024-01-01T00:00:00Z"}, "points": [1]})
    grpc.set_payload(two, {"payload": {"f": 1.5, "d": "2025-01-01T00:00:00Z"}, "points": [2]})
    for key, kind in (("f", "float"), ("d", "datetime"), ("n", "integer")):
        grpc.create_index(two, key, kind)
    for key, start in (
        ("f", pb.StartFrom(float=1.0)),
        ("f", pb.StartFrom(integer=1)),
        ("n", pb.StartFrom(integer=2)),
        ("d", pb.StartFrom(timestamp=Timestamp(seconds=1_735_689_600))),
        ("d", pb.StartFrom(datetime="2024-07-01")),
    ):
        order = pb.OrderBy(key=key, start_from=start)
        assert [one.id.num for one in grpc.send("Scroll", pb.ScrollPoints(collection_name=two, order_by=order)).result] == [2], (key, start)


def test_20_3_constants_are_f32(rest, grpc, two):
    """2^24 + 1 is the first integer that f32 lacks."""
    formula = {"formula": {"sum": [16777217.0, -16777216.0]}}
    body = {"prefetch": {"query": [1.0, 1.0]}, "query": formula}
    assert [one["score"] for one in rest.query(two, body)] == [1.0, 1.0]
    assert [one["score"] for one in grpc.query(two, body)] == [0.0, 0.0]


# 20.4 Results


def test_20_4_kinds_of_group_ids(grpc, make):
    name = make(1)
    grpc.put(name, (1, [1.0], {"g": 5}), (2, [2.0], {"g": -5}), (3, [3.0], {"g": "x"}))
    message = pb.QueryPointGroups(collection_name=name, query=pb.Query(nearest=dense(1)), group_by="g")
    groups = {one.hits[0].id.num: one.id for one in grpc.send("QueryGroups", message).result.groups}
    assert groups == {1: pb.GroupId(unsigned_value=5), 2: pb.GroupId(integer_value=-5), 3: pb.GroupId(string_value="x")}


def test_20_4_kinds_of_order_values(grpc, two):
    grpc.set_payload(two, {"payload": {"f": 0.5, "d": "1970-01-01T00:00:01Z"}, "points": [1]})
    for key, kind, value in (("n", "integer", pb.OrderValue(int=1)), ("f", "float", pb.OrderValue(float=0.5)), ("d", "datetime", pb.OrderValue(int=1_000_000))):
        grpc.create_index(two, key, kind)
        order = pb.OrderBy(key=key)
        assert grpc.send("Scroll", pb.ScrollPoints(collection_name=two, order_by=order)).result[0].order_value == value
        assert grpc.send("Query", pb.QueryPoints(collection_name=two, query=pb.Query(order_by=order))).result[0].order_value == value


def test_20_4_ids_above_i64(grpc, make):
    name, large = make(1), 2**64 - 1
    grpc.put(name, (large, [1.0], {"g": 1}), (2**63, [2.0], {"g": 1}))
    assert grpc.ids(name) == [2**63, large]
    assert [one["id"] for one in grpc.query(name, {"query": large})] == [2**63]
    assert grpc.scroll(name, {"limit": 1})["next_page_offset"] == large


# 20.5 Refusals


def test_20_5_texts_of_validation_failures(grpc, two):
    for method, message, failures in (
        ("Scroll", pb.ScrollPoints(collection_name=two, limit=0), "[limit: value 0 invalid, must be 1 or larger]"),
        ("Search", pb.SearchPoints(collection_name=two, vector=[1, 0], limit=0), "[limit: value 0 invalid, must be 1 or larger]"),
        ("Count", pb.CountPoints(collection_name=two, timeout=0), "[timeout: value 0 invalid, must be 1 or larger]"),
    ):
        with grpc.refuses(refused(f"Validation error in body: {failures}")):
            grpc.send(method, message)


def missing(name):
    """Messages that lack one that they need."""
    condition = lambda **one: ("Count", pb.CountPoints(collection_name=name, filter=only(**one)))
    query = lambda **one: ("Query", pb.QueryPoints(collection_name=name, query=pb.Query(**one)))
    return {
        "condition": condition(),
        "match": condition(field=pb.FieldCondition(key="n", match=pb.Match())),
        "nested filter": condition(nested=pb.NestedCondition(key="n")),
        "radius center": condition(field=pb.FieldCondition(key="n", geo_radius=pb.GeoRadius(radius=1))),
        "box corner": condition(field=pb.FieldCondition(key="n", geo_bounding_box=pb.GeoBoundingBox(top_left=pb.GeoPoint(lat=1, lon=0)))),
        "polygon ring": condition(field=pb.FieldCondition(key="n", geo_polygon=pb.GeoPolygon())),
        "query variant": query(),
        "vector": query(nearest=pb.VectorInput()),
        "nearest of mmr": query(nearest_with_mmr=pb.NearestInputWithMmr(mmr=pb.Mmr())),
        "target": query(discover=pb.DiscoverInput(context=pb.ContextInput())),
        "half a pair": query(context=pb.ContextInput(pairs=[pb.ContextInputPair(positive=dense(1, 0))])),
        "strategy": query(relevance_feedback=pb.RelevanceFeedbackInput(target=dense(1, 0), feedback=[pb.FeedbackItem(example=dense(1, 0), score=1)])),
        "expression": ("Query", pb.QueryPoints(collection_name=name, prefetch=[pb.PrefetchQuery()], query=pb.Query(formula=pb.Formula()))),
        "operand": ("Query", pb.QueryPoints(collection_name=name, prefetch=[pb.PrefetchQuery()], query=pb.Query(formula=pb.Formula(expression=pb.Expression(div=pb.DivExpression(left=pb.Expression(constant=1))))))),
        "selector of deleted points": ("Delete", pb.DeletePoints(collection_name=name)),
        "selector variant": ("Delete", pb.DeletePoints(collection_name=name, points=pb.PointsSelector())),
        "vectors to delete": ("DeleteVectors", pb.DeletePointVectors(collection_name=name, points_selector=pb.PointsSelector(filter=pb.Filter()))),
        "operation": ("UpdateBatch", pb.UpdateBatchPoints(collection_name=name, operations=[pb.PointsUpdateOperation()])),
        "vector config": ("Collections/Create", pb.CreateCollection(collection_name=name + "x", vectors_config=pb.VectorsConfig(params=pb.VectorParams(size=1)))),
        "alias action": ("Collections/UpdateAliases", pb.ChangeAliases(actions=[pb.AliasOperations()])),
    }


@pytest.mark.parametrize("what", missing(""))
def test_20_5_missing_messages_are_invalid_arguments(grpc, two, what):
    with grpc.refuses(refused(Part(""))):
        grpc.send(*missing(two)[what])
    assert grpc.count(two) == 2


def test_20_5_numbers_of_update_states(grpc, two):
    point = pb.PointStruct(id=ONE, vectors=pb.Vectors(vector=pb.Vector(dense=pb.DenseVector(data=[1, 2]))))
    status = lambda wait: grpc.send("Upsert", pb.UpsertPoints(collection_name=two, points=[point], wait=wait)).result.status
    assert (status(False), status(True)) == (1, 2)


# 20.6 Time


def timed(name):
    """Every method that answers with a time: (service's method, message)."""
    ids, all_points = pb.PointsIdsList(ids=[ONE]), pb.PointsSelector(filter=pb.Filter())
    nearest = pb.Query(nearest=dense(1, 0))
    vectors = pb.Vectors(vector=pb.Vector(dense=pb.DenseVector(data=[1, 2])))
    target = pb.TargetVector(single=pb.VectorExample(id=ONE))
    common = {"collection_name": name}
    return {
        "Collections/Get": pb.GetCollectionInfoRequest(**common),
        "Collections/List": pb.ListCollectionsRequest(),
        "Collections/Create": pb.CreateCollection(collection_name=name + "-timed"),
        "Collections/Update": pb.UpdateCollection(**common, metadata={}),
        "Collections/UpdateAliases": pb.ChangeAliases(actions=[pb.AliasOperations(create_alias=pb.CreateAlias(collection_name=name, alias_name=name + "-alias"))]),
        "Collections/ListCollectionAliases": pb.ListCollectionAliasesRequest(**common),
        "Collections/ListAliases": pb.ListAliasesRequest(),
        "Collections/CollectionExists": pb.CollectionExistsRequest(**common),
        "Collections/Delete": pb.DeleteCollection(collection_name=name + "-timed"),
        "Upsert": pb.UpsertPoints(**common, points=[pb.PointStruct(id=ONE, vectors=vectors)]),
        "Delete": pb.DeletePoints(**common, points=pb.PointsSelector(points=pb.PointsIdsList(ids=[pb.PointId(num=9)]))),
        "Get": pb.GetPoints(**common, ids=[ONE]),
        "UpdateVectors": pb.UpdatePointVectors(**common, points=[pb.PointVectors(id=ONE, vectors=vectors)]),
        "SetPayload": pb.SetPayloadPoints(**common, points_selector=all_points),
        "OverwritePayload": pb.SetPayloadPoints(**common, points_selector=all_points),
        "DeletePayload": pb.DeletePayloadPoints(**common, keys=["x"], points_selector=all_points),
        "ClearPayload": pb.ClearPayloadPoints(**common, points=pb.PointsSelector(points=ids)),
        "CreateFieldIndex": pb.CreateFieldIndexCollection(
            **common, field_name="k", field_type=pb.FieldType.FieldTypeKeyword, wait=True
        ),
        "Facet": pb.FacetCounts(**common, key="k"),
        "DeleteFieldIndex": pb.DeleteFieldIndexCollection(**common, field_name="k"),
        "Search": pb.SearchPoints(**common, vector=[1, 0], limit=1),
        "SearchBatch": pb.SearchBatchPoints(**common, search_points=[pb.SearchPoints(**common, vector=[1, 0], limit=1)]),
        "SearchGroups": pb.SearchPointGroups(**common, vector=[1, 0], limit=1, group_by="n", group_size=1),
        "Scroll": pb.ScrollPoints(**common),
        "Recommend": pb.RecommendPoints(**common, positive=[ONE], limit=1),
        "RecommendBatch": pb.RecommendBatchPoints(**common, recommend_points=[pb.RecommendPoints(**common, positive=[ONE], limit=1)]),
        "RecommendGroups": pb.RecommendPointGroups(**common, positive=[ONE], limit=1, group_by="n", group_size=1),
        "Discover": pb.DiscoverPoints(**common, target=target, limit=1),
        "DiscoverBatch": pb.DiscoverBatchPoints(**common, discover_points=[pb.DiscoverPoints(**common, target=target, limit=1)]),
        "Count": pb.CountPoints(**common),
        "UpdateBatch": pb.UpdateBatchPoints(**common, operations=[pb.PointsUpdateOperation(clear_payload=pb.PointsUpdateOperation.ClearPayload(points=all_points))]),
        "Query": pb.QueryPoints(**common, query=nearest),
        "QueryBatch": pb.QueryBatchPoints(**common, query_points=[pb.QueryPoints(**common, query=nearest)]),
        "QueryGroups": pb.QueryPointGroups(**common, query=nearest, group_by="n"),
        "SearchMatrixPairs": pb.SearchMatrixPoints(**common),
        "SearchMatrixOffsets": pb.SearchMatrixPoints(**common),
        "DeleteVectors": pb.DeletePointVectors(**common, points_selector=all_points, vectors=pb.VectorsSelector(names=[""])),
    }


def test_20_6_every_message_has_its_time(grpc, two):
    for method, message in timed(two).items():
        answer = grpc.send(method, message)
        assert 0 < answer.time < 30, method


def test_20_6_every_body_has_its_time(rest, two):
    """`Rest.json` asserts it of every answer of this suite; here that it is no constant."""
    times = {rest_time(rest, two) for _ in range(20)}
    assert len(times) > 1 and all(0 < one < 30 for one in times)


def rest_time(rest, name):
    return json.loads(rest.send("POST", f"/collections/{name}/points/query", {"query": [1.0, 0.0]})[2])["time"]
