"""Section 2: shapes of vectors, their validation, and what is stored of them."""

import math

import pytest
from qdrant_client import grpc as pb

from rules import grpc_only, rest_only
from wire import Part, Refusal, Start, bad_request, format_error, invalid, refused, wrong_input

RULES = {
    "2.1.1": "dense, multi, sparse and inference objects are vectors",
    "2.1.2": "a point's vectors are one bare value or a map; {} is none; batches hold lists or maps of lists of equal lengths",
    "2.1.3": 'the name "" is the unnamed vector; the form of the configuration is kept',
    "2.1.4": grpc_only("the oneof or the legacy flat form in, only the oneof out"),
    "2.1.5": "the unnamed vector alone is shown bare, otherwise a map of what is there, sparse ones sorted",
    "2.1.6": "a point may miss any vector; a search over it ignores the point",
    "2.2.1": "dimensions and names are checked before acknowledging",
    "2.2.2": "NaN and empty dense vectors are refused",
    "2.2.3": "rows of a multivector are non-empty and of one length",
    "2.2.4": "sparse indices are unique, as many as values, and sorted for storage; none is allowed",
    "2.2.5": rest_only("several bad siblings give one 422"),
    "2.2.6": "sparse vectors have names, which differ from those of dense ones",
    "2.3.1": "cosine vectors are normalised when stored, and so are queries; tiny and normal ones are left as they are",
    "2.3.2": "other metrics keep vectors; short datatypes come back in their precision",
}

NO_NAME = "Not existing vector name error: "
ALL = {
    "vectors": {
        "dense": {"size": 3, "distance": "Dot"},
        "multi": {"size": 2, "distance": "Dot", "multivector_config": {"comparator": "max_sim"}},
    },
    "sparse_vectors": {"sparse": {}},
}
DENSE, MULTI, SPARSE = [1.5, -2.0, 0.0], [[1.0, 2.0], [3.0, 4.0]], {"indices": [3, 70000], "values": [0.5, -1.0]}


@pytest.fixture
def all_kinds(make):
    return make(**ALL)


def point(vector, at=1):
    return {"points": [{"id": at, "vector": vector}]}


# 2.1 Shapes


def test_2_1_1_every_kind_of_vector_is_stored_and_found(wire, all_kinds):
    wire.put(all_kinds, (1, {"dense": DENSE, "multi": MULTI, "sparse": SPARSE}))
    assert wire.vector(all_kinds, 1) == {"dense": DENSE, "multi": MULTI, "sparse": SPARSE}
    for using, query, score in (("dense", [2.0, 1.0, 1.0], 1.0), ("multi", [[0.0, 1.0], [1.0, 0.0]], 7.0), ("sparse", {"indices": [70000], "values": [2.0]}, -2.0)):
        assert wire.query(all_kinds, {"query": query, "using": using}) == [{"id": 1, "score": score}]


def test_2_1_1_a_text_becomes_a_sparse_vector(wire, make):
    name = make(None, sparse_vectors={"words": {}})
    text = {"text": "quick fox", "model": "qdrant/bm25"}
    wire.put(name, (1, {"words": text}), (2, {"words": {"text": "lazy dog", "model": "qdrant/bm25", "options": {"k": 1.0}}}))
    stored = wire.vector(name, 1)["words"]
    assert len(stored["indices"]) == 2 and stored["indices"] == sorted(stored["indices"])
    assert [one["id"] for one in wire.query(name, {"query": text, "using": "words"})] == [1]


@pytest.mark.parametrize("kind", ["image", "object"])
def test_2_1_1_images_and_objects_have_the_shape_of_vectors(wire, make, kind):
    """They are understood as inference, which this model refuses, not as a wrong shape."""
    name = make(None, sparse_vectors={"words": {}})
    with wire.refuses(refused(Part("Only text input is supported for qdrant/bm25."))):
        wire.put(name, (1, {"words": {kind: "https://example.org/a.png", "model": "qdrant/bm25"}}))


def test_2_1_2_bare_named_and_no_vectors(wire, make):
    name = make(2)
    wire.put(name, (1, [1.0, 2.0]), (2, {"": [3.0, 4.0]}), (3, {}))
    assert [wire.vector(name, at) for at in (1, 2, 3)] == [[1.0, 2.0], [3.0, 4.0], {}]


def test_2_1_2_a_batch_holds_lists_or_a_map_of_lists(wire, make, all_kinds):
    name = make(2)
    wire.upsert(name, {"batch": {"ids": [1, 2], "vectors": [[1.0, 2.0], [3.0, 4.0]], "payloads": [{"a": 1}, {"a": 2}]}})
    assert [wire.one(name, at) for at in (1, 2)] == [{"id": 1, "vector": [1.0, 2.0], "payload": {"a": 1}}, {"id": 2, "vector": [3.0, 4.0], "payload": {"a": 2}}]
    wire.upsert(all_kinds, {"batch": {"ids": [1, 2], "vectors": {"dense": [DENSE, [1.0, 1.0, 1.0]], "sparse": [SPARSE, SPARSE]}}})
    assert [wire.one(all_kinds, at) for at in (1, 2)] == [
        {"id": 1, "vector": {"dense": DENSE, "sparse": SPARSE}},
        {"id": 2, "vector": {"dense": [1.0, 1.0, 1.0], "sparse": SPARSE}},
    ]


@pytest.mark.parametrize(
    "batch, message",
    [
        ({"ids": [1, 2], "vectors": [[1.0, 2.0]]}, "number of ids and vectors must be equal (2 != 1)"),
        ({"ids": [1], "vectors": [[1.0, 2.0], [3.0, 4.0]]}, "number of ids and vectors must be equal (1 != 2)"),
        ({"ids": [1, 2], "vectors": {"": [[1.0, 2.0]]}}, "number of ids and vectors must be equal (2 != 1)"),
        ({"ids": [1], "vectors": [[1.0, 2.0]], "payloads": [{}, {}]}, "number of ids and payloads must be equal (1 != 2)"),
    ],
)
def test_2_1_2_lengths_of_a_batch_must_match(rest, make, batch, message):
    """gRPC has no such form: its batches are lists of points."""
    name = make(2)
    with rest.refuses(invalid(Part(message))):
        rest.upsert(name, {"batch": batch})
    assert rest.ids(name) == []


@pytest.mark.parametrize("form", ["bare", "map"])
def test_2_1_3_the_empty_name_is_the_unnamed_vector(wire, name, form):
    params = {"size": 2, "distance": "Dot"}
    wire.create(name, {"vectors": params if form == "bare" else {"": params}})
    assert wire.info(name)["config"]["params"]["vectors"] == (params if form == "bare" else {"": params})
    wire.put(name, (1, [1.0, 0.0]), (2, {"": [0.0, 1.0]}))
    assert [wire.vector(name, at) for at in (1, 2)] == [[1.0, 0.0], [0.0, 1.0]]
    for using in ({}, {"using": ""}):
        assert wire.query(name, {"query": [2.0, 1.0]} | using) == [{"id": 1, "score": 2.0}, {"id": 2, "score": 1.0}]
    assert wire.ids(name, {"has_vector": ""}) == [1, 2]


def test_2_1_3_no_dense_vectors_are_an_empty_map(wire, name):
    wire.create(name, {"sparse_vectors": {"s": {}}})
    params = wire.info(name)["config"]["params"]
    assert params.get("vectors", {}) == {} and list(params["sparse_vectors"]) == ["s"]
    wire.put(name, (1, {"s": SPARSE}))
    assert wire.vector(name, 1) == {"s": SPARSE}


def test_2_1_3_no_dense_vectors_are_shown_as_braces(rest, make):
    assert rest.info(make(None, sparse_vectors={"s": {}}))["config"]["params"]["vectors"] == {}
    assert rest.info(make(None))["config"]["params"]["vectors"] == {}


def test_2_1_3_a_second_vector_makes_a_map_of_the_configuration(wire, make):
    name = make(2)
    wire.put(name, (1, [1.0, 2.0]))
    wire.create_vector(name, "v", {"dense": {"size": 1, "distance": "Dot"}})
    assert wire.info(name)["config"]["params"]["vectors"] == {"": {"size": 2, "distance": "Dot"}, "v": {"size": 1, "distance": "Dot"}}
    wire.update_vectors(name, {"points": [{"id": 1, "vector": {"v": [3.0]}}]})
    assert wire.vector(name, 1) == {"": [1.0, 2.0], "v": [3.0]}


def test_2_1_3_a_bare_vector_needs_an_unnamed_one(wire, all_kinds):
    for wait in (True, False):
        with wire.refuses(wrong_input(NO_NAME)):
            wire.upsert(all_kinds, point(DENSE), wait=wait)


def flat(**fields):
    return pb.Vectors(vector=pb.Vector(**fields))


def named(**vectors):
    return pb.Vectors(vectors=pb.NamedVectors(vectors=vectors))


def test_2_1_4_the_legacy_flat_form_is_read(grpc, make, all_kinds):
    upsert = lambda name, vectors: grpc.send("Upsert", pb.UpsertPoints(collection_name=name, wait=True, points=[pb.PointStruct(id=pb.PointId(num=1), vectors=vectors)]))
    name = make(2)
    upsert(name, flat(data=[1.0, 2.0]))
    assert grpc.vector(name, 1) == [1.0, 2.0]
    upsert(
        all_kinds,
        named(
            dense=pb.Vector(data=DENSE),
            multi=pb.Vector(data=[1.0, 2.0, 3.0, 4.0], vectors_count=2),
            sparse=pb.Vector(data=[-1.0, 0.5], indices=pb.SparseIndices(data=[70000, 3])),
        ),
    )
    assert grpc.vector(all_kinds, 1) == {"dense": DENSE, "multi": MULTI, "sparse": SPARSE}


def test_2_1_4_answers_hold_the_oneof_only(grpc, all_kinds):
    grpc.put(all_kinds, (1, {"dense": DENSE, "multi": MULTI, "sparse": SPARSE}))
    message = pb.GetPoints(collection_name=all_kinds, ids=[pb.PointId(num=1)], with_vectors=pb.WithVectorsSelector(enable=True))
    shown = grpc.send("Get", message).result[0].vectors.vectors.vectors
    for name, variant in (("dense", "dense"), ("multi", "multi_dense"), ("sparse", "sparse")):
        assert shown[name].WhichOneof("vector") == variant
        assert not shown[name].data and not shown[name].HasField("indices") and not shown[name].HasField("vectors_count")


def test_2_1_5_the_returned_form(wire, make):
    name = make({"": {"size": 1, "distance": "Dot"}, "v": {"size": 1, "distance": "Dot"}}, sparse_vectors={"s": {}})
    unsorted = {"indices": [9, 1, 5], "values": [9.0, 1.0, 5.0]}
    vectors = {1: {"": [1.0]}, 2: {"": [1.0], "v": [2.0]}, 3: {"v": [2.0]}, 4: {}, 5: {"s": unsorted}}
    wire.put(name, *vectors.items())
    assert [wire.vector(name, at) for at in vectors] == [
        [1.0],
        {"": [1.0], "v": [2.0]},
        {"v": [2.0]},
        {},
        {"s": {"indices": [1, 5, 9], "values": [1.0, 5.0, 9.0]}},
    ]


def test_2_1_5_nothing_present_is_shown_as_braces(rest, make):
    name = make({"v": {"size": 1, "distance": "Dot"}})
    rest.put(name, (1, {}))
    assert rest.json("POST", f"/collections/{name}/points", {"ids": [1], "with_vector": True})[0]["vector"] == {}


def test_2_1_6_points_without_the_vector_are_ignored(wire, all_kinds):
    wire.put(all_kinds, (1, {"dense": DENSE}), (2, {"multi": MULTI}), (3, {"sparse": SPARSE}), (4, {}))
    for using, query, found in (("dense", DENSE, 1), ("multi", MULTI, 2), ("sparse", SPARSE, 3)):
        assert [one["id"] for one in wire.query(all_kinds, {"query": query, "using": using})] == [found]
        assert [one["id"] for one in wire.query(all_kinds, {"query": query, "using": using, "params": {"exact": True}})] == [found]
    assert wire.ids(all_kinds) == [1, 2, 3, 4]


# 2.2 Validation

WRITES = {
    "upsert": lambda wire, name, vector, wait: wire.upsert(name, point(vector), wait=wait),
    "update vectors": lambda wire, name, vector, wait: wire.update_vectors(name, point(vector), wait=wait),
    "batch": lambda wire, name, vector, wait: wire.batch(name, [{"upsert": point(vector)}], wait=wait),
    "batch of updates": lambda wire, name, vector, wait: wire.batch(name, [{"update_vectors": point(vector)}], wait=wait),
}


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("write", WRITES)
def test_2_2_1_dimension_and_name_are_checked_before_acknowledging(wire, all_kinds, write, wait):
    send = lambda vector: WRITES[write](wire, all_kinds, vector, wait)
    with wire.refuses(wrong_input("Vector dimension error: expected dim: 3, got 2")):
        send({"dense": [1.0, 2.0]})
    with wire.refuses(wrong_input("Vector dimension error: expected dim: 2, got 3")):
        send({"multi": [[1.0, 2.0, 3.0]]})
    with wire.refuses(wrong_input(NO_NAME + "nope")):
        send({"nope": [1.0]})
    with wire.refuses(wrong_input(NO_NAME + "nope")):
        send({"nope": SPARSE})


def test_2_2_1_a_bad_point_keeps_the_good_ones_out(wire, make):
    name = make(2)
    with wire.refuses(wrong_input("Vector dimension error: expected dim: 2, got 1")):
        wire.put(name, (1, [1.0, 2.0]), (2, [1.0]))
    assert wire.ids(name) == []


@pytest.mark.parametrize("wait", [True, False])
def test_2_2_2_nan_is_refused(rest, grpc, make, wait):
    name = make(2)
    with rest.refuses(format_error()):
        rest.json("PUT", f"/collections/{name}/points", b'{"points":[{"id":1,"vector":[NaN,1]}]}', wait=wait)
    for number in (math.nan, math.inf):
        with grpc.refuses(wrong_input(Part("NaN"))):
            grpc.put(name, (1, [number, 1.0]))
    assert rest.ids(name) == []


@pytest.mark.parametrize("wait", [True, False])
@pytest.mark.parametrize("write", ["upsert", "batch"])
def test_2_2_2_an_empty_dense_vector_is_refused(wire, make, write, wait):
    name = make(2)
    with wire.refuses(invalid(Part("dense vector must not be empty"), Part("must not be empty"))):
        WRITES[write](wire, name, [], wait)
    with wire.refuses(invalid(Part("dense vector must not be empty"), Part("must not be empty"))):
        WRITES[write](wire, name, {"": []}, wait)
    assert wire.ids(name) == []


def test_2_2_2_an_empty_dense_vector_in_columns_is_refused(rest, make):
    name = make(2)
    for wait in (True, False):
        with rest.refuses(invalid(Part("dense vector must not be empty"))):
            rest.upsert(name, {"batch": {"ids": [1], "vectors": [[]]}}, wait=wait)


def test_2_2_3_rows_of_a_multivector(wire, all_kinds):
    empty = "[points[0].vector.?.data: all vectors must be non-empty]"
    with wire.refuses(invalid(empty, Part("all vectors must be non-empty"))):
        wire.upsert(all_kinds, point({"multi": [[1.0, 2.0], []]}))
    with wire.refuses(invalid(Part("all vectors must have the same dimension, found vector with dimension 1"))):
        wire.upsert(all_kinds, point({"multi": [[1.0, 2.0], [1.0]]}))
    assert wire.ids(all_kinds) == []


def sparse_upsert(name, indices, values):
    """The same on both transports, written for each: the client checks lengths itself."""
    vector = pb.Vector(sparse=pb.SparseVector(indices=indices, values=values))
    message = pb.UpsertPoints(collection_name=name, wait=True, points=[pb.PointStruct(id=pb.PointId(num=1), vectors=named(sparse=vector))])
    body = point({"sparse": {"indices": indices, "values": values}})
    return {"rest": ("PUT", f"/collections/{name}/points", body, {"wait": True}), "grpc": ("Upsert", message)}


def test_2_2_4_sparse_vectors_are_checked(wire, all_kinds):
    with wire.refuses(invalid("[points[0].vector.?.indices: Validation error: must be unique [{}]]", Part("must be unique"))):
        wire.either(**sparse_upsert(all_kinds, [1, 2, 1], [1.0, 2.0, 3.0]))
    for indices, values in (([1, 2], [1.0]), ([1], [1.0, 2.0])):
        text = "[points[0].vector.?.values: Validation error: must be the same length as indices [{}]]"
        with wire.refuses(invalid(text, Part("must be the same length as indices"))):
            wire.either(**sparse_upsert(all_kinds, indices, values))
    assert wire.ids(all_kinds) == []


def test_2_2_4_sparse_vectors_are_sorted_and_may_be_empty(wire, all_kinds):
    wire.either(**sparse_upsert(all_kinds, [4_294_967_295, 0, 7], [1.0, 2.0, 0.0]))
    assert wire.vector(all_kinds, 1) == {"sparse": {"indices": [0, 7, 4_294_967_295], "values": [2.0, 0.0, 1.0]}}
    wire.put(all_kinds, (2, {"sparse": {"indices": [], "values": []}}))
    assert wire.vector(all_kinds, 2) == {"sparse": {"indices": [], "values": []}}
    assert wire.ids(all_kinds, {"has_vector": "sparse"}) == [1, 2]


def test_2_2_5_several_bad_siblings_are_one_refusal(rest, all_kinds):
    bad = {"dense": [], "multi": [[1.0], []], "sparse": {"indices": [1, 1], "values": [1.0]}}
    with rest.refuses(Refusal(422, "", Start("Validation error in JSON body: ["))):
        rest.upsert(all_kinds, {"points": [{"id": at, "vector": bad} for at in (1, 2)]})
    with rest.refuses(Refusal(422, "", Start("Validation error in JSON body: ["))):
        rest.batch(all_kinds, [{"upsert": point(bad)}, {"update_vectors": point(bad)}])


def test_2_2_6_names_of_sparse_vectors(wire, name):
    dense = {"image": {"size": 2, "distance": "Dot"}}
    with wire.refuses(wrong_input("Sparse vector name cannot be empty")):
        wire.create(name, {"vectors": dense, "sparse_vectors": {"": {}}})
    with wire.refuses(wrong_input("Dense and sparse vector names must be unique - duplicate found with 'image'")):
        wire.create(name, {"vectors": dense, "sparse_vectors": {"image": {}}})
    assert not wire.exists(name)


# 2.3 What is stored


def test_2_3_1_cosine_vectors_are_stored_normalised(wire, make):
    multi = {"size": 2, "distance": "Cosine", "multivector_config": {"comparator": "max_sim"}}
    name = make({"": {"size": 2, "distance": "Cosine"}, "m": multi})
    wire.put(name, (1, {"": [3.0, 4.0], "m": [[0.0, 5.0], [-8.0, 6.0]]}))
    expected = {"": [0.6, 0.8], "m": [[0.0, 1.0], [-0.8, 0.6]]}
    assert wire.vector(name, 1) == expected
    assert wire.scroll(name, {"with_vector": True})["points"][0]["vector"] == expected
    hit = wire.query(name, {"query": [6.0, 8.0], "with_vector": True})[0]
    assert hit["vector"] == expected
    assert hit["score"] == pytest.approx(1.0, abs=1e-6)
    # Multiples of one direction are the same query.
    assert wire.query(name, {"query": [300.0, 400.0]})[0]["score"] == hit["score"]
    assert wire.query(name, {"query": [[0.0, 100.0]], "using": "m"})[0]["score"] == 1.0


def test_2_3_1_tiny_and_normal_vectors_are_left_as_they_are(wire, make):
    """|v|^2 below f32's epsilon, or within 1e-6 of 1."""
    name = make({"size": 2, "distance": "Cosine"})
    left = {1: [0.0, 0.0], 2: [0.0003, 0.0001], 3: [1.0000004, 0.0], 4: [0.0, -0.9999997]}
    changed = {5: ([0.0004, 0.0], [1.0, 0.0]), 6: ([1.000002, 0.0], [1.0, 0.0])}
    wire.put(name, *left.items(), *((at, given) for at, (given, _) in changed.items()))
    for at, vector in left.items():
        assert wire.vector(name, at) == vector
    for at, (_, stored) in changed.items():
        assert wire.vector(name, at) == stored


@pytest.mark.parametrize("distance", ["Dot", "Euclid", "Manhattan"])
def test_2_3_2_other_metrics_keep_vectors(wire, make, distance):
    name = make({"size": 2, "distance": distance}, sparse_vectors={"s": {}})
    vectors = {"": [3.25, -400.0], "s": {"indices": [1], "values": [40.0]}}
    wire.put(name, (1, vectors))
    assert wire.vector(name, 1) == vectors


def test_2_3_2_short_datatypes_come_back_in_their_precision(wire, make):
    name = make({"b": {"size": 3, "distance": "Dot", "datatype": "uint8"}, "h": {"size": 3, "distance": "Dot", "datatype": "float16"}})
    wire.put(name, (1, {"b": [0.0, 7.0, 255.0], "h": [0.1, 65504.0, 1.0004]}))
    # 0.1 is 1638.4 steps of 2^-14: the nearest float16 is 1638 of them; 1.0004 is nearer to 1 than to 1 + 2^-10.
    assert wire.vector(name, 1) == {"b": [0.0, 7.0, 255.0], "h": [pytest.approx(1638 / 2**14), 65504.0, 1.0]}
    assert wire.query(name, {"query": [0.0, 2.0, 1.0], "using": "b"}) == [{"id": 1, "score": 269.0}]
