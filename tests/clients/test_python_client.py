"""The official Python client, unmodified, over REST and over gRPC: what its users write, and what they expect back."""

import uuid
import warnings

import grpc
import numpy as np
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from conftest import connect

CITIES = [
    models.PointStruct(id=1, vector=[0.05, 0.61, 0.76, 0.74], payload={"city": "Berlin", "count": 1, "area": 891.7}),
    models.PointStruct(id=2, vector=[0.19, 0.81, 0.75, 0.11], payload={"city": ["Berlin", "London"], "count": 2}),
    models.PointStruct(id=3, vector=[0.36, 0.55, 0.47, 0.94], payload={"city": ["Berlin", "Moscow"], "count": None}),
    models.PointStruct(id=4, vector=[0.18, 0.01, 0.85, 0.80], payload={"city": ["London", "Moscow"], "nested": {"a": [1, 2.0]}}),
    models.PointStruct(id=5, vector=[0.24, 0.18, 0.22, 0.44], payload={"count": 2**53 + 1}),
    models.PointStruct(id=str(uuid.UUID(int=6)), vector=[0.35, 0.08, 0.11, 0.44]),
]


@pytest.fixture
def cities(client, name):
    client.create_collection(name, models.VectorParams(size=4, distance=models.Distance.DOT))
    client.upsert(name, CITIES)
    yield name
    client.delete_collection(name)


def refused(call, http, grpc_code, *texts):
    """The call fails with the status of whichever transport is in use, and its text holds all of `texts`."""
    with pytest.raises((UnexpectedResponse, grpc.RpcError)) as caught:
        call()
    error = caught.value
    if isinstance(error, UnexpectedResponse):
        assert error.status_code == http, error
        text = error.structured()["status"]["error"]
        assert "result" not in error.structured()
    else:
        assert error.code() == grpc_code, error
        text = error.details()
    for expected in texts:
        assert expected in text
    return text


def test_connecting_is_silent(server, transport):
    """Title and version satisfy the client's compatibility check: it warns about nothing."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        one = connect(server, transport)
        one.get_collections()
        info = one.info()
        one.close()
    assert [str(warning.message) for warning in caught if "version" in str(warning.message).lower()] == []
    assert info.title == "qdrant - vector search engine"
    assert info.version.startswith("1.19.")


def test_life_of_a_collection(client, name):
    assert client.collection_exists(name) is False
    assert client.create_collection(
        name,
        vectors_config=models.VectorParams(size=3, distance=models.Distance.COSINE),
        shard_number=2,
        hnsw_config=models.HnswConfigDiff(m=24, ef_construct=120),
        metadata={"owner": "me", "n": 1},
        timeout=30,
    )
    assert client.collection_exists(name) is True
    assert name in [one.name for one in client.get_collections().collections]
    info = client.get_collection(name)
    assert info.status == models.CollectionStatus.GREEN
    assert info.points_count == 0
    assert info.config.params.vectors == models.VectorParams(size=3, distance=models.Distance.COSINE)
    assert info.config.params.shard_number == 2
    assert (info.config.hnsw_config.m, info.config.hnsw_config.ef_construct) == (24, 120)
    assert info.config.metadata == {"owner": "me", "n": 1}
    assert client.update_collection(name, metadata={"owner": None, "more": [1]})
    assert client.get_collection(name).config.metadata == {"n": 1, "more": [1]}
    assert client.delete_collection(name) is True
    assert client.delete_collection(name) is False
    assert client.collection_exists(name) is False


def test_info_echoes_the_form_that_was_sent(client, name):
    """A map stays a map, even with the empty name alone: LangChain relies on it."""
    params = models.VectorParams(size=3, distance=models.Distance.DOT)
    client.create_collection(name, vectors_config={"": params})
    assert client.get_collection(name).config.params.vectors == {"": params}
    client.upsert(name, [models.PointStruct(id=1, vector=[1.0, 2.0, 3.0]), models.PointStruct(id=2, vector={"": [3.0, 2.0, 1.0]})])
    found = client.query_points(name, [1.0, 0.0, 0.0], using="", with_vectors=True).points
    assert [(one.id, one.score, one.vector) for one in found] == [(2, 3.0, [3.0, 2.0, 1.0]), (1, 1.0, [1.0, 2.0, 3.0])]


def test_a_collection_exists_already(client, cities):
    call = lambda: client.create_collection(cities, models.VectorParams(size=4, distance=models.Distance.DOT))
    text = refused(call, 409, grpc.StatusCode.ALREADY_EXISTS)
    assert text == f"Wrong input: Collection `{cities}` already exists!"


def test_a_collection_does_not_exist(client, name):
    missing = f"Not found: Collection `{name}` doesn't exist!"
    calls = [
        lambda: client.get_collection(name),
        lambda: client.count(name),
        lambda: client.scroll(name),
        lambda: client.retrieve(name, [1]),
        lambda: client.query_points(name, [1.0]),
        lambda: client.upsert(name, [models.PointStruct(id=1, vector=[1.0])]),
        lambda: client.delete(name, [1]),
        lambda: client.set_payload(name, {"a": 1}, points=[1]),
        lambda: client.update_collection(name, metadata={"a": 1}),
    ]
    for call in calls:
        assert refused(call, 404, grpc.StatusCode.NOT_FOUND) == missing


def test_quick_start(client, cities):
    result = client.upsert(cities, CITIES)
    assert result.status == models.UpdateStatus.COMPLETED
    assert result.operation_id is not None
    assert client.upsert(cities, CITIES, wait=False).status == models.UpdateStatus.ACKNOWLEDGED
    assert client.count(cities).count == 6
    assert client.get_collection(cities).points_count == 6
    found = client.query_points(cities, [0.2, 0.1, 0.9, 0.7], limit=3).points
    assert [one.id for one in found] == [4, 1, 3]
    assert [one.score for one in found] == pytest.approx([1.362, 1.273, 1.208], abs=1e-3)
    assert found[0].payload == {"city": ["London", "Moscow"], "nested": {"a": [1, 2.0]}}
    assert found[0].vector is None
    berlin = models.Filter(must=[models.FieldCondition(key="city", match=models.MatchValue(value="Berlin"))])
    assert [one.id for one in client.query_points(cities, [0.2, 0.1, 0.9, 0.7], query_filter=berlin).points] == [1, 3, 2]
    assert [one.id for one in client.query_points(cities, 4, limit=2).points] == [1, 3]


def test_numbers_keep_their_type(client, cities):
    payload = client.retrieve(cities, [5])[0].payload
    assert payload == {"count": 2**53 + 1} and type(payload["count"]) is int
    nested = client.retrieve(cities, [4])[0].payload["nested"]["a"]
    assert [type(one) for one in nested] == [int, float]


def test_retrieve(client, cities):
    named = str(uuid.UUID(int=6))
    records = client.retrieve(cities, [named, 2, 77, 1, 2], with_vectors=True)
    assert [one.id for one in records] == [named, 2, 1]
    assert records[1].vector == pytest.approx([0.19, 0.81, 0.75, 0.11])
    assert client.retrieve(cities, [1], with_payload=["city"])[0].payload == {"city": "Berlin"}
    assert client.retrieve(cities, [1], with_payload=models.PayloadSelectorExclude(exclude=["city"]))[0].payload == {"count": 1, "area": 891.7}
    assert not client.retrieve(cities, [1], with_payload=False)[0].payload
    for spelling in (uuid.UUID(int=6), named.replace("-", ""), f"{{{named}}}", f"urn:uuid:{named}", named.upper()):
        assert [one.id for one in client.retrieve(cities, [spelling])] == [named]


def test_scroll_pages(client, cities):
    seen, offset = [], None
    while True:
        records, offset = client.scroll(cities, limit=4, offset=offset)
        seen += [one.id for one in records]
        if offset is None:
            break
    assert seen == [1, 2, 3, 4, 5, str(uuid.UUID(int=6))]
    records, offset = client.scroll(cities, limit=6)
    assert len(records) == 6 and offset is None
    assert [one.id for one in client.scroll(cities, limit=2, offset=3)[0]] == [3, 4]
    with_count = models.Filter(must=[models.FieldCondition(key="count", range=models.Range(gte=1))])
    assert [one.id for one in client.scroll(cities, scroll_filter=with_count)[0]] == [1, 2, 5]


def test_empty_filter_matches_everything(client, cities):
    assert client.count(cities, models.Filter()).count == 6
    assert client.count(cities, models.Filter(must=[])).count == 6
    assert client.delete(cities, models.FilterSelector(filter=models.Filter(must=[]))).status == models.UpdateStatus.COMPLETED
    assert client.count(cities).count == 0


def test_payload_changes(client, cities):
    one = lambda: client.retrieve(cities, [1])[0].payload
    client.set_payload(cities, {"count": None, "new": {"a": 1}}, points=[1])
    assert one() == {"city": "Berlin", "area": 891.7, "new": {"a": 1}}
    client.set_payload(cities, {"b": [1, None]}, points=[1], key="new")
    assert one()["new"] == {"a": 1, "b": [1, None]}
    client.delete_payload(cities, ["new.b", "area", "absent.path[]"], points=[1])
    assert one() == {"city": "Berlin", "new": {"a": 1}}
    client.overwrite_payload(cities, {"x": 1}, points=models.Filter(must=[models.HasIdCondition(has_id=[1])]))
    assert one() == {"x": 1}
    client.clear_payload(cities, [1])
    assert not one()


def test_overwrite_payload_at_a_path(client, cities):
    """Local mode lacks it, so the oracle test does not cover it."""
    client.overwrite_payload(cities, {"a": {"old": 1}, "b": 2}, points=[1])
    operation = models.OverwritePayloadOperation(overwrite_payload=models.SetPayload(payload={"new": 2}, points=[1], key="a"))
    client.batch_update_points(cities, [operation])
    assert client.retrieve(cities, [1])[0].payload == {"a": {"new": 2}, "b": 2}


def test_named_vectors(client, name):
    client.create_collection(
        name,
        {"image": models.VectorParams(size=2, distance=models.Distance.EUCLID), "text": models.VectorParams(size=3, distance=models.Distance.COSINE)},
    )
    client.upsert(name, [
        models.PointStruct(id=1, vector={"image": [3.0, 4.0], "text": [0.0, 3.0, 4.0]}),
        models.PointStruct(id=2, vector={"image": [0.0, 1.0]}),
        models.PointStruct(id=3, vector={}),
    ])
    assert [one.id for one in client.query_points(name, [0.0, 0.0], using="image").points] == [2, 1]
    assert [one.score for one in client.query_points(name, [0.0, 0.0], using="image").points] == [1.0, 5.0]
    assert [one.id for one in client.query_points(name, [0.0, 0.0], using="image", score_threshold=5.0).points] == [2]
    found = client.query_points(name, [0.0, 1.0, 1.0], using="text", with_vectors=True).points
    assert [one.id for one in found] == [1]
    assert found[0].score == pytest.approx(0.98995, abs=1e-4)
    assert found[0].vector["text"] == pytest.approx([0.0, 0.6, 0.8])
    assert found[0].vector["image"] == [3.0, 4.0]
    client.update_vectors(name, [models.PointVectors(id=2, vector={"text": [1.0, 0.0, 0.0]})])
    assert client.retrieve(name, [2], with_vectors=True)[0].vector == {"image": [0.0, 1.0], "text": [1.0, 0.0, 0.0]}
    client.delete_vectors(name, ["image"], [2])
    assert client.retrieve(name, [2], with_vectors=True)[0].vector == {"text": [1.0, 0.0, 0.0]}
    assert client.count(name, models.Filter(must=[models.HasVectorCondition(has_vector="image")])).count == 1
    looked_up = client.query_points(name, 1, using="image", lookup_from=models.LookupLocation(collection=name, vector="image"))
    assert [one.id for one in looked_up.points] == []
    assert not client.retrieve(name, [3], with_vectors=True)[0].vector


def test_query_batch(client, cities):
    requests = [models.QueryRequest(query=[0.2, 0.1, 0.9, 0.7], limit=1), models.QueryRequest(query=4, limit=2, offset=1, with_payload=True)]
    first, second = client.query_batch_points(cities, requests)
    assert [one.id for one in first.points] == [4]
    assert [one.id for one in second.points][0] == 3
    assert second.points[0].payload == {"city": ["Berlin", "Moscow"], "count": None}
    assert client.query_batch_points(cities, []) == []


def test_batch_update(client, cities):
    results = client.batch_update_points(cities, [
        models.UpsertOperation(upsert=models.PointsList(points=[models.PointStruct(id=7, vector=[1.0, 0.0, 0.0, 0.0], payload={"a": 1})])),
        models.SetPayloadOperation(set_payload=models.SetPayload(payload={"b": 2}, points=[7])),
        models.DeleteOperation(delete=models.PointIdsList(points=[1, 2])),
        models.UpdateVectorsOperation(update_vectors=models.UpdateVectors(points=[models.PointVectors(id=7, vector=[0.0, 2.0, 0.0, 0.0])])),
        models.DeletePayloadOperation(delete_payload=models.DeletePayload(keys=["a"], points=[7])),
    ])
    assert [one.status for one in results] == [models.UpdateStatus.COMPLETED] * 5
    record = client.retrieve(cities, [7], with_vectors=True)[0]
    assert (record.payload, record.vector) == ({"b": 2}, [0.0, 2.0, 0.0, 0.0])
    assert client.count(cities).count == 5


def test_update_mode_and_filter(client, cities):
    points = [models.PointStruct(id=at, vector=[1.0] * 4, payload={"new": True}) for at in (1, 100)]
    client.upsert(cities, points, update_mode=models.UpdateMode.INSERT_ONLY)
    assert [one.payload.get("new") for one in client.retrieve(cities, [1, 100])] == [None, True]
    client.upsert(cities, points + [points[0].model_copy(update={"id": 101})], update_mode=models.UpdateMode.UPDATE_ONLY)
    assert [one.id for one in client.retrieve(cities, [1, 100, 101])] == [1, 100]
    marked = models.Filter(must=[models.FieldCondition(key="new", match=models.MatchValue(value=False))])
    client.upsert(cities, [models.PointStruct(id=1, vector=[0.0] * 4)], update_filter=marked)
    assert client.retrieve(cities, [1])[0].payload == {"new": True}


def test_aliases(client, cities):
    alias = f"{cities}-alias"
    create = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=cities, alias_name=alias))
    assert client.update_collection_aliases([create]) is True
    assert (alias, cities) in [(one.alias_name, one.collection_name) for one in client.get_aliases().aliases]
    assert [one.alias_name for one in client.get_collection_aliases(cities).aliases] == [alias]
    assert client.count(alias).count == 6
    assert [one.id for one in client.query_points(alias, [0.2, 0.1, 0.9, 0.7], limit=1).points] == [4]
    client.set_payload(alias, {"via": "alias"}, points=[1])
    assert client.retrieve(cities, [1])[0].payload["via"] == "alias"
    rename = models.RenameAliasOperation(rename_alias=models.RenameAlias(old_alias_name=alias, new_alias_name=f"{alias}-2"))
    assert client.update_collection_aliases([rename])
    refused(lambda: client.count(alias), 404, grpc.StatusCode.NOT_FOUND, alias)
    refused(lambda: client.create_collection(f"{alias}-2", models.VectorParams(size=1, distance=models.Distance.DOT)), 400, grpc.StatusCode.INVALID_ARGUMENT)
    absent = models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name="nowhere", alias_name="x"))
    refused(lambda: client.update_collection_aliases([absent]), 404, grpc.StatusCode.NOT_FOUND, "nowhere")
    client.delete_collection(cities)
    assert f"{alias}-2" not in [one.alias_name for one in client.get_aliases().aliases]


def test_upload_points(client, name):
    """Batches of 64, from several threads' worth of generators, waited for."""
    client.create_collection(name, models.VectorParams(size=8, distance=models.Distance.COSINE), shard_number=2)
    vectors = np.random.default_rng(1).normal(size=(1000, 8)).astype(np.float32)
    client.upload_points(name, (models.PointStruct(id=at, vector=vector.tolist(), payload={"at": at}) for at, vector in enumerate(vectors)), wait=True)
    assert client.count(name).count == 1000
    query = vectors[123]
    exact = np.argsort(-(vectors @ query) / np.linalg.norm(vectors, axis=1))[:10]
    found = client.query_points(name, query, limit=10, search_params=models.SearchParams(exact=True)).points
    assert [one.id for one in found] == exact.tolist()
    assert found[0].payload == {"at": 123}


@pytest.mark.parametrize("parallel", [1, 2])
def test_upload_collection(client, name, parallel):
    client.create_collection(name, {"a": models.VectorParams(size=4, distance=models.Distance.DOT)})
    vectors = np.random.default_rng(2).normal(size=(300, 4)).astype(np.float32)
    client.upload_collection(
        name, vectors={"a": vectors}, payload=({"at": at} for at in range(300)), ids=range(300), batch_size=50, parallel=parallel, wait=True
    )
    assert client.count(name).count == 300
    assert client.retrieve(name, [299], with_vectors=True)[0].vector["a"] == pytest.approx(vectors[299].tolist())


def test_unknown_points(client, cities):
    """The rest is applied, then the first unknown id is named."""
    found = lambda: client.retrieve(cities, [1])[0]
    missing = (404, grpc.StatusCode.NOT_FOUND, "Not found: No point with id 77 found")
    refused(lambda: client.set_payload(cities, {"mark": 1}, points=[77, 1]), *missing)
    assert found().payload["mark"] == 1
    refused(lambda: client.overwrite_payload(cities, {"mark": 2}, points=[1, 77]), *missing)
    assert found().payload == {"mark": 2}
    refused(lambda: client.update_vectors(cities, [models.PointVectors(id=77, vector=[1.0] * 4), models.PointVectors(id=1, vector=[2.0] * 4)]), *missing)
    assert client.retrieve(cities, [1], with_vectors=True)[0].vector == [2.0] * 4
    refused(lambda: client.delete_vectors(cities, [""], [77, 2]), *missing)
    assert not client.retrieve(cities, [2], with_vectors=True)[0].vector
    refused(lambda: client.delete_payload(cities, ["mark"], points=[77, 1]), *missing)
    assert not found().payload
    refused(lambda: client.query_points(cities, 77), *missing)
    assert client.delete(cities, [77]).status == models.UpdateStatus.COMPLETED


def test_wrong_vectors(client, cities):
    bad = [([1.0], "Wrong input: Vector dimension error: expected dim: 4, got 1"), ({"nope": [1.0] * 4}, "Wrong input: Not existing vector name error: nope")]
    for vector, text in bad:
        points = [models.PointStruct(id=50, vector=[1.0] * 4), models.PointStruct(id=51, vector=vector)]
        for wait in (True, False):
            refused(lambda: client.upsert(cities, points, wait=wait), 400, grpc.StatusCode.INVALID_ARGUMENT, text)
    assert client.retrieve(cities, [50, 51]) == []
    refused(lambda: client.query_points(cities, [1.0]), 400, grpc.StatusCode.INVALID_ARGUMENT, bad[0][1])
    refused(lambda: client.query_points(cities, [1.0] * 4, using="nope"), 400, grpc.StatusCode.INVALID_ARGUMENT, bad[1][1])


def test_huge_limit(client, cities):
    assert len(client.query_points(cities, [0.2, 0.1, 0.9, 0.7], limit=999_999_999).points) == 6
    assert len(client.scroll(cities, limit=999_999_999)[0]) == 6


def test_consistency_and_ordering_are_accepted(client, cities):
    for consistency in (1, models.ReadConsistencyType.MAJORITY, models.ReadConsistencyType.QUORUM, models.ReadConsistencyType.ALL):
        assert len(client.query_points(cities, [0.2, 0.1, 0.9, 0.7], consistency=consistency, timeout=5).points) == 6
        assert len(client.retrieve(cities, [1, 2], consistency=consistency)) == 2
    for ordering in models.WriteOrdering:
        assert client.upsert(cities, CITIES, ordering=ordering).status == models.UpdateStatus.COMPLETED


CODES = {
    "scalar": models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.75, always_ram=True)),
    "product": models.ProductQuantization(product=models.ProductQuantizationConfig(compression=models.CompressionRatio.X16)),
    "binary": models.BinaryQuantization(binary=models.BinaryQuantizationConfig(encoding=models.BinaryQuantizationEncoding.TWO_BITS)),
}


@pytest.mark.parametrize("kind", CODES)
def test_quantization_is_kept_shown_and_switched_off(client, kind):
    name = f"codes-{kind}"
    client.create_collection(name, models.VectorParams(size=4, distance=models.Distance.DOT), quantization_config=CODES[kind])
    info = client.get_collection(name)
    assert info.config.quantization_config == CODES[kind]
    assert any("quantization_config" in str(warning) for warning in info.warnings), info.warnings
    client.update_collection(name, quantization_config=models.Disabled.DISABLED)
    assert client.get_collection(name).config.quantization_config is None
    client.delete_collection(name)


@pytest.mark.parametrize("kind", CODES)
@pytest.mark.parametrize("datatype", [models.Datatype.FLOAT32, models.Datatype.FLOAT16])
def test_codes_find_and_vectors_on_disk_decide(client, name, kind, datatype):
    random = np.random.default_rng(5)
    vectors = random.random((3000, 96)).astype(np.float16).astype(np.float32)
    params = models.VectorParams(size=96, distance=models.Distance.EUCLID, on_disk=True, datatype=datatype)
    client.create_collection(name, params, quantization_config=CODES[kind])
    client.upload_collection(name, vectors, ids=range(len(vectors)), wait=True)
    while (info := client.get_collection(name)).indexed_vectors_count < len(vectors):
        pass
    assert not info.warnings

    queries = vectors[:20] + random.normal(0, 0.05, (20, 96)).astype(np.float32)
    distances = np.linalg.norm(queries[:, None] - vectors[None], axis=2)
    nearest = np.argsort(distances, axis=1)[:, :10]

    def recall(**codes):
        search = models.SearchParams(hnsw_ef=96, quantization=models.QuantizationSearchParams(**codes), indexed_only=True)
        answers = [client.query_points(name, query.tolist(), search_params=search).points for query in queries]
        scores = [[abs(hit.score - distances[row, hit.id]) for hit in hits] for row, hits in enumerate(answers)]
        found = [len({hit.id for hit in hits} & set(wanted)) for hits, wanted in zip(answers, nearest, strict=True)]
        return sum(found) / 200, np.max(scores)

    # Vectors decide, unless the codes are to.
    plain, error = recall()
    assert plain > 0.85 and error < 1e-3
    by_codes, error_of_codes = recall(rescore=False)
    assert by_codes <= plain and error_of_codes > 2 * error
    assert recall(ignore=True)[0] > 0.93
    assert recall(oversampling=20.0)[0] > 0.95
    found = client.retrieve(name, [7], with_vectors=True)[0].vector
    assert np.array_equal(np.array(found, np.float32), vectors[7])
    client.delete_collection(name)
