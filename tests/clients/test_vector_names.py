"""Vectors added to and dropped from a live collection through the official client, over both transports; restarts and
writers included. Also what else of vector kinds and settings the client can ask for."""

import threading
import time

import grpc
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from conftest import connect
from quiver_server import Server
from test_python_client import refused

DOT = models.Distance.DOT


def dense(size, **given):
    return models.DenseVectorNameConfig(dense=models.DenseVectorConfig(size=size, distance=DOT, **given))


def sparse(**given):
    return models.SparseVectorNameConfig(sparse=models.SparseVectorConfig(**given))


def has(name):
    return models.Filter(must=[models.HasVectorCondition(has_vector=name)])


@pytest.fixture
def lines(client, name):
    """Twenty points with one bare vector."""
    client.create_collection(name, models.VectorParams(size=2, distance=DOT), shard_number=2)
    client.upsert(name, [models.PointStruct(id=i, vector=[float(i), 1.0], payload={"n": i}) for i in range(20)])
    yield name
    client.delete_collection(name)


def test_a_vector_is_added_written_dropped_and_added_again(client, lines):
    done = models.UpdateStatus.COMPLETED
    assert client.create_vector_name(lines, "v", dense(3)).status == done
    assert client.create_vector_name(lines, "v", dense(3)).status == done, "the same again"
    assert client.create_vector_name(lines, "s", sparse(modifier=models.Modifier.IDF)).status == done
    params = client.get_collection(lines).config.params
    assert params.vectors == {"": models.VectorParams(size=2, distance=DOT), "v": models.VectorParams(size=3, distance=DOT)}
    assert params.sparse_vectors == {"s": models.SparseVectorParams(modifier=models.Modifier.IDF)}
    words = models.SparseVector(indices=[1, 9], values=[1.0, 2.0])
    client.update_vectors(lines, [models.PointVectors(id=i, vector={"v": [1.0, 0.0, float(i)], "s": words}) for i in range(5)])
    assert client.count(lines, has("v")).count == client.count(lines, has("s")).count == 5
    found = client.query_points(lines, [0.0, 0.0, 1.0], using="v", with_vectors=["v"], limit=3).points
    assert [(point.id, point.vector["v"]) for point in found] == [(i, [1.0, 0.0, float(i)]) for i in (4, 3, 2)]
    assert len(client.query_points(lines, words, using="s").points) == 5

    assert client.delete_vector_name(lines, "v").status == done
    assert client.count(lines, has("v")).count == 0
    refused(
        lambda: client.query_points(lines, [0.0, 0.0, 1.0], using="v"), 400, grpc.StatusCode.INVALID_ARGUMENT,
        "Wrong input: Not existing vector name error: v",
    )
    assert client.retrieve(lines, [3], with_vectors=True)[0].vector == {"": [3.0, 1.0], "s": words}
    client.create_vector_name(lines, "v", dense(5))
    assert client.query_points(lines, [1.0] * 5, using="v").points == []
    client.upsert(lines, [models.PointStruct(id=3, vector={"": [3.0, 1.0], "v": [1.0] * 5})])
    assert [point.id for point in client.query_points(lines, [1.0] * 5, using="v").points] == [3]
    assert [point.id for point in client.query_points(lines, [1.0, 0.0], limit=2).points] == [19, 18]
    assert client.count(lines).count == 20


def test_what_cannot_be_added_or_dropped(client, lines):
    invalid = grpc.StatusCode.INVALID_ARGUMENT
    client.create_vector_name(lines, "v", dense(3))
    client.create_vector_name(lines, "s", sparse())
    for name, config, text in [
        ("v", dense(4), "Vector `v` already exists with a different configuration"),
        ("v", dense(3, datatype=models.VectorStorageDatatype.FLOAT16), "Vector `v` already exists with a different configuration"),
        ("v", sparse(), "Vector `v` already exists as a dense vector"),
        ("s", dense(3), "Vector `s` already exists as a sparse vector"),
        ("s", sparse(modifier=models.Modifier.IDF), "Sparse vector `s` already exists with a different configuration"),
    ]:
        refused(lambda: client.create_vector_name(lines, name, config), 400, invalid, text)
    refused(lambda: client.create_vector_name(lines, "z", dense(0)), 422, invalid, "size: value 0 invalid, must be from 1 to 65536")
    refused(lambda: client.create_vector_name("nowhere", "v", dense(3)), 404, grpc.StatusCode.NOT_FOUND, "doesn't exist!")
    assert client.delete_vector_name(lines, "unknown").status == models.UpdateStatus.COMPLETED
    only = f"{lines}-only"
    client.create_collection(only, models.VectorParams(size=2, distance=DOT))
    if client._client._prefer_grpc:  # no REST path names the unnamed vector
        refused(lambda: client.delete_vector_name(only, ""), 400, invalid, "Cannot delete the unnamed vector")
    client.delete_collection(only)


@pytest.mark.parametrize("how", ["term", "kill"])
def test_nothing_dropped_comes_back_after_a_restart(transport, how):
    with Server() as own:
        client = connect(own, transport)
        client.create_collection("c", models.VectorParams(size=2, distance=DOT))
        client.create_vector_name("c", "v", dense(3))
        point = lambda i, size: models.PointStruct(id=i, vector={"": [1.0, float(i)], "v": [1.0] * size})
        client.upsert("c", [point(i, 3) for i in range(500)])
        client.delete_vector_name("c", "v", wait=False)
        own.restart(how)
        assert client.count("c", has("v")).count == 0
        assert "v" not in client.get_collection("c").config.params.vectors
        client.create_vector_name("c", "v", dense(3))
        assert client.count("c", has("v")).count == 0 and client.query_points("c", [1.0] * 3, using="v").points == []
        client.upsert("c", [point(i, 3) for i in range(7)])
        client.delete_vector_name("c", "v")
        client.create_vector_name("c", "v", dense(4))
        client.upsert("c", [point(i, 4) for i in range(5)])
        own.restart(how)
        assert client.count("c", has("v")).count == 5
        assert len(client.query_points("c", [1.0] * 4, using="v").points) == 5
        assert client.retrieve("c", [4], with_vectors=True)[0].vector == {"": [1.0, 4.0], "v": [1.0] * 4}
        assert client.retrieve("c", [6], with_vectors=True)[0].vector == [1.0, 6.0]
        assert client.count("c").count == 500
        client.close()


def test_writers_while_a_vector_comes_and_goes(server, transport, name):
    """Every write either is refused or belongs to the vector of its size; whatever a read shows has the present size."""
    client = connect(server, transport)
    client.create_collection(name, models.VectorParams(size=2, distance=DOT), shard_number=2)
    stop, failures, written = threading.Event(), [], []

    def write(start):
        own = connect(server, transport)
        turn = start
        while not stop.is_set():
            turn += 1
            size = 3 + turn % 3
            points = [models.PointStruct(id=(turn * 4 + k) % 40, vector={"": [1.0, 1.0], "v": [float(size)] * size}) for k in range(4)]
            try:
                own.upsert(name, points)
                written.append(size)
            except (UnexpectedResponse, grpc.RpcError) as error:
                text = str(error)
                if "Not existing vector name" not in text and "Vector dimension error" not in text:
                    failures.append(text)
        own.close()

    writers = [threading.Thread(target=write, args=(start,)) for start in range(2)]
    for writer in writers:
        writer.start()
    for turn in range(9):
        size = 3 + turn % 3
        client.create_vector_name(name, "v", dense(size))
        began = len(written)
        while len(written) < began + 4 and not failures:
            time.sleep(0.001)
        records = client.scroll(name, limit=100, with_vectors=["v"])[0]
        shown = [record.vector["v"] for record in records if record.vector]
        assert all(vector == [float(size)] * size for vector in shown), (size, shown)
        if turn < 8:
            client.delete_vector_name(name, "v", wait=turn % 2 == 0)
    stop.set()
    for writer in writers:
        writer.join()
    assert failures == []
    having = client.count(name, has("v")).count
    assert 0 < having == len(client.query_points(name, [1.0] * size, using="v", limit=100).points)
    client.delete_collection(name)
    client.close()


def test_sparse_vectors_are_changed_field_by_field(client, name):
    client.create_collection(
        name, sparse_vectors_config={"s": models.SparseVectorParams(index=models.SparseIndexParams(on_disk=True))}
    )
    changed = models.SparseVectorParams(modifier=models.Modifier.IDF, index=models.SparseIndexParams(full_scan_threshold=7))
    assert client.update_collection(name, sparse_vectors_config={"s": changed})
    shown = client.get_collection(name).config.params.sparse_vectors["s"]
    assert shown.modifier == models.Modifier.IDF
    assert (shown.index.on_disk, shown.index.full_scan_threshold) == (True, 7)
    refused(
        lambda: client.update_collection(name, sparse_vectors_config={"t": changed}), 400, grpc.StatusCode.INVALID_ARGUMENT,
        "Wrong input: Not existing vector name error: t",
    )
    client.delete_collection(name)


def test_where_data_are_kept_is_echoed(client, name):
    cold, cached, pinned = models.Memory.COLD, models.Memory.CACHED, models.Memory.PINNED
    client.create_collection(
        name,
        models.VectorParams(size=2, distance=DOT, hnsw_config=models.HnswConfigDiff(memory=pinned)),
        hnsw_config=models.HnswConfigDiff(memory=cached),
        payload=models.PayloadStorageParams(memory=cold),
        id_tracker=models.IdTrackerParams(memory=pinned),
    )
    config = client.get_collection(name).config
    assert config.params.vectors.hnsw_config.memory == pinned
    assert (config.hnsw_config.memory, config.params.payload.memory, config.params.id_tracker.memory) == (cached, cold, pinned)
    client.update_collection(name, collection_params=models.CollectionParamsDiff(payload=models.PayloadStorageParams(memory=cached)))
    assert client.get_collection(name).config.params.payload.memory == cached
    client.delete_collection(name)


def test_bytes_compared_by_cosine_keep_their_length(client, name):
    """Stored as they came, compared by direction: as the same vectors at full precision, except for their length."""
    bytes_ = models.VectorParams(size=3, distance=models.Distance.COSINE, datatype=models.Datatype.UINT8)
    client.create_collection(name, {"b": bytes_, "f": models.VectorParams(size=3, distance=models.Distance.COSINE)})
    vectors = [[200.0, 10.0, 0.0], [20.0, 1.0, 0.0], [3.0, 200.0, 90.0], [0.0, 0.0, 250.0], [7.0, 7.0, 7.0]]
    client.upsert(name, [models.PointStruct(id=i, vector={"b": v, "f": v}) for i, v in enumerate(vectors)])
    assert [record.vector["b"] for record in client.scroll(name, with_vectors=["b"])[0]] == vectors
    show = lambda answer: [(point.id, pytest.approx(point.score, abs=1e-5)) for point in answer.points]
    queries = [
        [1.0, 0.0, 0.0],
        2,
        models.RecommendQuery(recommend=models.RecommendInput(positive=[0, [0.0, 0.0, 1.0]], strategy="best_score")),
        models.DiscoverQuery(discover=models.DiscoverInput(target=3, context=[models.ContextPair(positive=0, negative=2)])),
        models.NearestQuery(nearest=[1.0, 1.0, 0.0], mmr=models.Mmr(diversity=0.7)),
    ]
    for query in queries:
        of = [client.query_points(name, query, using=using, limit=5) for using in ("b", "f")]
        assert show(of[0]) == show(of[1]) and of[0].points, query
    pairs = [client.search_matrix_pairs(name, using=using, limit=4).pairs for using in ("b", "f")]
    assert [(pair.a, pair.b, pytest.approx(pair.score, abs=1e-5)) for pair in pairs[0]] == [(pair.a, pair.b, pair.score) for pair in pairs[1]]
    client.delete_collection(name)


def test_feedback_may_push_away_from_the_target(client, lines):
    """As the client's own local mode, only `b` is bounded."""
    local = QdrantClient(":memory:")
    local.create_collection(lines, models.VectorParams(size=2, distance=DOT))
    local.upsert(lines, [models.PointStruct(id=i, vector=[float(i), 1.0]) for i in range(20)])
    params = models.NaiveFeedbackStrategyParams(a=-0.5, b=0.3, c=0.2)
    items = [models.FeedbackItem(example=[1.0, 0.0], score=0.9), models.FeedbackItem(example=[0.0, 1.0], score=0.1)]
    query = models.RelevanceFeedbackQuery(
        relevance_feedback=models.RelevanceFeedbackInput(target=[1.0, 0.5], feedback=items, strategy=models.NaiveFeedbackStrategy(naive=params))
    )
    ours, theirs = (one.query_points(lines, query, limit=5).points for one in (client, local))
    assert [(p.id, pytest.approx(p.score, rel=1e-4)) for p in ours] == [(p.id, p.score) for p in theirs]


def test_a_matrix_of_sparse_vectors_is_weighted_by_idf(client, name):
    config = {"s": models.SparseVectorParams(modifier=models.Modifier.IDF)}
    vector = lambda i: models.SparseVector(indices=[0, 1 + i % 3, 10 + i % 4], values=[1.0, 2.0, 0.5 + i])
    points = [models.PointStruct(id=i, vector={"s": vector(i)}) for i in range(8)]
    local = QdrantClient(":memory:")
    for one in (client, local):
        one.create_collection(name, {}, sparse_vectors_config=config)
        one.upsert(name, points)
    ours, theirs = (one.search_matrix_pairs(name, using="s", sample=8, limit=7).pairs for one in (client, local))
    key = lambda pair: (pair.a, pair.b)
    assert {key(p): pytest.approx(p.score, rel=1e-4) for p in ours} == {key(p): p.score for p in theirs}
    client.delete_collection(name)
