"""What the oracle test leaves out because local mode answers otherwise (tests/oracle/DIFFERENCES.md), asked directly."""

import grpc
import pytest
from qdrant_client import models

from test_python_client import refused


@pytest.fixture
def collection(client, name):
    client.create_collection(
        name,
        {
            "dense": models.VectorParams(size=2, distance=models.Distance.DOT),
            "rows": models.VectorParams(size=2, distance=models.Distance.DOT, multivector_config=models.MultiVectorConfig(comparator="max_sim")),
        },
        sparse_vectors_config={"idf": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    sparse = lambda *entries: models.SparseVector(indices=[index for index, _ in entries], values=[value for _, value in entries])
    vectors = [([1.0, 0.0], sparse((1, 1.0))), ([0.0, 1.0], sparse((1, 0.5), (2, 1.0))), ([1.0, 1.0], sparse((2, 2.0)))]
    client.upsert(
        name,
        [
            models.PointStruct(
                id=at, vector={"dense": dense, "rows": [dense, [0.0, 0.0]], "idf": weights},
                payload={"k": at % 2, "n": [at, 10 - at], "place": {"lon": str(at), "lat": "0"}, "doc": ["red green", "red"][at % 2]},
            )
            for at, (dense, weights) in enumerate(vectors, 1)
        ],
    )
    yield name
    client.delete_collection(name)


def ids(answer):
    return [point.id for point in answer.points]


def test_s2_1_a_dense_vector_is_a_multivector_of_one_row(client, collection):
    client.update_vectors(collection, [models.PointVectors(id=1, vector={"rows": [3.0, 0.0]})])
    assert client.retrieve(collection, [1], with_vectors=["rows"])[0].vector == {"rows": [[3.0, 0.0]]}
    answer = client.query_points(collection, [1.0, 0.0], using="rows")
    assert [(point.id, point.score) for point in answer.points] == [(1, 3.0), (3, 1.0), (2, 0.0)]
    elsewhere = models.LookupLocation(collection=collection, vector="dense")
    assert ids(client.query_points(collection, 2, using="rows", lookup_from=elsewhere)) == [3, 1]


def test_s10_1_a_sample_after_an_offset_holds_what_is_left(client, collection):
    sampled = client.query_points(collection, models.SampleQuery(sample=models.Sample.RANDOM), limit=10, offset=1)
    assert len(set(ids(sampled))) == 2 and set(ids(sampled)) < {1, 2, 3}
    assert not ids(client.query_points(collection, models.SampleQuery(sample=models.Sample.RANDOM), limit=10, offset=3))


def test_s14_a_place_has_numbers(client, collection):
    formula = models.FormulaQuery(formula=models.GeoDistance(geo_distance=models.GeoDistanceParams(origin=models.GeoPoint(lon=0.0, lat=0.0), to="place")))
    refused(lambda: client.query_points(collection, formula, prefetch=models.Prefetch()), 400, grpc.StatusCode.INVALID_ARGUMENT, "Expected geo point for place")


def test_s16_a_point_ordered_by_several_values_is_in_its_group_once(client, collection):
    client.create_payload_index(collection, "n", models.PayloadSchemaType.INTEGER)
    answer = client.query_points_groups(collection, "k", query=models.OrderByQuery(order_by="n"), group_size=5)
    assert [(group.id, [hit.id for hit in group.hits]) for group in answer.groups] == [(1, [1, 3]), (0, [2])]


def test_s13_2_the_modifier_weighs_a_diversified_query_too(client, collection):
    """By weighted relevance alone the order is that of the plain search."""
    query = models.SparseVector(indices=[1, 2], values=[1.0, 0.9])
    plain = client.query_points(collection, query, using="idf")
    diversified = client.query_points(collection, models.NearestQuery(nearest=query, mmr=models.Mmr(diversity=0.0)), using="idf")
    assert [(point.id, point.score) for point in diversified.points] == [(point.id, point.score) for point in plain.points]


def test_s7_6_words_follow_the_text_index(client, collection):
    condition = models.Filter(must=[models.FieldCondition(key="doc", match=models.MatchText(text="gre"))])
    assert client.count(collection, condition).count == 0
    client.create_payload_index(collection, "doc", models.TextIndexParams(type="text", tokenizer=models.TokenizerType.PREFIX))
    assert client.count(collection, condition).count == 1
    client.delete_payload_index(collection, "doc")
    assert client.count(collection, condition).count == 0


def test_s10_3_a_point_that_a_prefetch_searches_by_is_no_answer_anywhere(client, collection):
    by_point = models.Prefetch(query=1, using="dense")
    by_vector = models.Prefetch(query=[1.0, 0.0], using="dense")
    answer = client.query_points(collection, models.FusionQuery(fusion=models.Fusion.RRF), prefetch=[by_point, by_vector])
    assert sorted(ids(answer)) == [2, 3]


def test_s10_4_a_mistake_is_one_where_prefetches_find_nothing(client, collection):
    nothing = models.Prefetch(query=[1.0, 0.0], using="dense", filter=models.Filter(must=[models.HasIdCondition(has_id=[])]))
    query = lambda: client.query_points(collection, [1.0, 0.0, 0.0], using="dense", prefetch=nothing)
    refused(query, 400, grpc.StatusCode.INVALID_ARGUMENT, "expected dim: 2, got 3")
    refused(lambda: client.query_points(collection, models.OrderByQuery(order_by="k"), prefetch=nothing), 400, grpc.StatusCode.INVALID_ARGUMENT, "No range index")


def test_s11_pairs_and_feedback_where_there_are_no_points(client, name):
    client.create_collection(name, models.VectorParams(size=2, distance=models.Distance.DOT))
    pair = models.ContextPair(positive=[1.0, 0.0], negative=[0.0, 1.0])
    assert not ids(client.query_points(name, models.DiscoverQuery(discover=models.DiscoverInput(target=[1.0, 1.0], context=[pair]))))
    client.delete_collection(name)
