"""What surrounds the points: service endpoints, envelopes, defaults, keys, health and reflection."""

import gzip
import json
import time

import grpc
import httpx
import pytest
from qdrant_client import QdrantClient, models
from qdrant_client.http.exceptions import UnexpectedResponse

from conftest import connect
from quiver_server import Server


@pytest.fixture(scope="module")
def web(server):
    with httpx.Client(base_url=server.url, timeout=30) as opened:
        yield opened


@pytest.fixture
def points(web, name):
    assert web.put(f"/collections/{name}", json={"vectors": {"size": 2, "distance": "Dot"}}).status_code == 200
    body = {"points": [{"id": at, "vector": [at, 1], "payload": {"n": at}} for at in (1, 2, 3)]}
    assert web.put(f"/collections/{name}/points", params={"wait": "true"}, json=body).json()["result"]["status"] == "completed"
    yield f"/collections/{name}/points"
    web.delete(f"/collections/{name}")


def test_root_has_no_envelope(web):
    root = web.get("/").json()
    assert root["title"] == "qdrant - vector search engine"
    assert root["version"].startswith("1.19.")
    assert set(root) <= {"title", "version", "commit"}


@pytest.mark.parametrize("path", ["/healthz", "/livez", "/readyz"])
def test_probes(web, path):
    answer = web.get(path)
    assert answer.status_code == 200
    assert "check passed" in answer.text or "all shards are ready" in answer.text


def test_metrics_count_requests(web, points):
    def searches():
        lines = web.get("/metrics").text.splitlines()
        found = [line for line in lines if not line.startswith("#") and "points/query" in line and "count" in line.split("{")[0] or "_total" in line and "points/query" in line]
        return sum(float(line.rsplit(" ", 1)[1]) for line in found)

    before = searches()
    for _ in range(5):
        web.post(f"{points}/query", json={"query": [1, 1]})
    assert searches() >= before + 5
    text = web.get("/metrics").text
    assert "_bucket{" in text, "latency histograms"


def test_reports_are_what_the_official_client_reads(server, name):
    client = connect(server, "rest")
    api = client.http
    client.create_collection(name, models.VectorParams(size=2, distance=models.Distance.DOT))
    client.upsert(name, [models.PointStruct(id=1, vector=[1, 1])], wait=True)

    def telemetry(**options):
        return api.service_api.telemetry(**options).result

    assert telemetry().collections.collections is None
    assert telemetry().app.name == "quiver"
    aggregated = telemetry(details_level=1).collections.collections
    assert all(isinstance(one, models.CollectionsAggregatedTelemetry) for one in aggregated)
    assert any(one.vectors == 1 and one.optimizers_status == "ok" for one in aggregated)
    full = {one.id: one for one in telemetry(details_level=2).collections.collections}
    assert isinstance(full[name], models.CollectionTelemetry)
    assert full[name].config.params.vectors.size == 2 and full[name].shards[0].local.num_points == 1
    assert name not in str(telemetry(details_level=2, anonymize=True))

    report = api.collections_api.get_optimizations(name, _with="queued,completed,idle_segments").result
    assert report.queued == [] and report.completed == []
    assert len(report.running) + len(report.idle_segments) == 1 and report.summary.queued_points == 0
    (segment,) = report.idle_segments or report.running[0].segments
    assert segment.points_count == 1

    info = client.get_collection(name)
    assert info.update_queue.length in (0, 1) and info.created_at is not None and not info.warnings
    client.update_collection(name, optimizers_config=models.OptimizersConfigDiff(deleted_threshold=0.5))
    (warning,) = client.get_collection(name).warnings
    assert warning.message.startswith("optimizers_config.deleted_threshold has no effect")
    client.close()


def test_metrics_without_the_names_of_collections(web, name, points):
    def of_collections(**params):
        text = web.get("/metrics", params=params).text
        return {line for line in text.splitlines() if "collection=" in line and not line.startswith("#")}

    # The figures are published once a second.
    deadline = time.monotonic() + 30
    while not any(f'"{name}"' in line for line in of_collections()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert of_collections(per_collection="false") == set()
    anonymous = of_collections(anonymize="true")
    assert anonymous and not any(name in line for line in anonymous)


def test_envelopes(web, points):
    good = web.post(f"{points}/count", json={}).json()
    assert set(good) == {"result", "status", "time"} and good["status"] == "ok" and good["result"] == {"count": 3}
    assert isinstance(good["time"], float)
    bad = web.post("/collections/nowhere/points/count", json={})
    assert bad.status_code == 404 and bad.headers["content-type"].startswith("application/json")
    assert set(bad.json()) == {"status", "time"}
    assert bad.json()["status"] == {"error": "Not found: Collection `nowhere` doesn't exist!"}


def test_writes_are_not_waited_for_by_default(web, points):
    body = {"points": [{"id": 9, "vector": [1, 1]}]}
    answer = web.put(points, json=body)
    assert answer.status_code == 200
    assert answer.json()["result"]["status"] == "acknowledged" and isinstance(answer.json()["result"]["operation_id"], int)
    assert web.post(f"{points}/count", json={}).json()["result"] == {"count": 4}, "a read sees every acknowledged write"


def test_what_is_returned_by_default(web, points):
    """Query and search: neither payload nor vector; scroll and retrieve: the payload; one point: both."""
    hit = web.post(f"{points}/query", json={"query": [1, 0], "limit": 1}).json()["result"]["points"][0]
    assert (hit["id"], hit["score"], hit.get("payload"), hit.get("vector")) == (3, 3.0, None, None)
    hit = web.post(f"{points}/search", json={"vector": [1, 0], "limit": 1}).json()["result"][0]
    assert (hit["id"], hit.get("payload"), hit.get("vector")) == (3, None, None)
    record = web.post(f"{points}/scroll", json={"limit": 1}).json()["result"]["points"][0]
    assert (record["payload"], record.get("vector")) == ({"n": 1}, None)
    record = web.post(points, json={"ids": [2]}).json()["result"][0]
    assert (record["payload"], record.get("vector")) == ({"n": 2}, None)
    assert web.get(f"{points}/2").json()["result"] == {"id": 2, "payload": {"n": 2}, "vector": [2.0, 1.0]}


def test_query_without_query_is_by_id(web, points):
    found = web.post(f"{points}/query", json={"limit": 2, "offset": 1}).json()["result"]["points"]
    assert [(hit["id"], hit["score"], hit["version"]) for hit in found] == [(2, 1.0, 0), (3, 1.0, 0)]


def test_search_is_query(web, points):
    """The old endpoints answer with a bare list of the same hits."""
    body = {"limit": 2, "with_payload": True, "filter": {"must_not": [{"has_id": [3]}]}}
    queried = web.post(f"{points}/query", json=body | {"query": [1, 1]}).json()["result"]["points"]
    searched = web.post(f"{points}/search", json=body | {"vector": [1, 1]}).json()["result"]
    topped = web.post(f"{points}/search", json={key: value for key, value in body.items() if key != "limit"} | {"vector": {"name": "", "vector": [1, 1]}, "top": 2}).json()["result"]
    batch = web.post(f"{points}/search/batch", json={"searches": [body | {"vector": [1, 1]}]}).json()["result"]
    assert queried == searched == topped == batch[0] and [hit["id"] for hit in searched] == [2, 1]


def test_ties_put_the_larger_id_first_where_larger_scores_are_better(web, name):
    for distance, expected in (("Dot", [4, 3, 2, 1]), ("Euclid", [1, 2, 3, 4])):
        web.put(f"/collections/{name}", json={"vectors": {"size": 2, "distance": distance}, "shard_number": 2})
        web.put(f"/collections/{name}/points?wait=true", json={"points": [{"id": at, "vector": [1, 1]} for at in (3, 1, 4, 2)]})
        for params in ({"exact": True}, {"hnsw_ef": 64}):
            found = web.post(f"/collections/{name}/points/query", json={"query": [1, 1], "params": params}).json()["result"]["points"]
            assert [hit["id"] for hit in found] == expected
        web.delete(f"/collections/{name}")


def test_null_is_absent(web, points):
    body = {"query": [1, 0], "filter": None, "params": None, "limit": None, "offset": None, "using": None, "with_payload": None, "with_vector": None, "score_threshold": None, "lookup_from": None, "prefetch": None, "shard_key": None}
    assert len(web.post(f"{points}/query", json=body).json()["result"]["points"]) == 3
    assert len(web.post(f"{points}/scroll", json={"offset": None, "limit": None, "filter": None, "order_by": None}).json()["result"]["points"]) == 3
    filtered = {"filter": {"must": [{"key": "n", "match": None, "range": {"gte": 2, "lt": None}}], "should": None, "must_not": None, "min_should": None}}
    assert web.post(f"{points}/count", json=filtered).json()["result"] == {"count": 2}


def test_paths_are_forgiving(web, points):
    for path in (f"{points}/count/", f"{points}//count//", points.replace("/points", "//points/count")):
        assert web.post(path, json={}).status_code == 200, path


@pytest.mark.parametrize("coding", ["gzip", "br", "zstd"])
def test_compressed_answers(web, points, coding):
    web.put(points, params={"wait": "true"}, json={"points": [{"id": at, "vector": [1, 1], "payload": {"text": "same words " * 50}} for at in range(10, 60)]})
    with web.stream("POST", f"{points}/scroll", json={"limit": 100}, headers={"Accept-Encoding": coding}) as answer:
        assert answer.headers.get("content-encoding") == coding
        raw = b"".join(answer.iter_raw())
    assert len(raw) < 10_000
    if coding == "gzip":
        assert len(json.loads(gzip.decompress(raw))["result"]["points"]) == 53


def test_large_integers_survive(web, points):
    payload = {"u": 2**64 - 1, "i": -(2**63), "f": 1.0, "e": 1e300, "deep": [[[{"": {"a.b": None}}]]]}
    web.post(f"{points}/payload", params={"wait": "true"}, json={"payload": payload, "points": [1]})
    text = web.get(f"{points}/1").text
    stored = json.loads(text)["result"]["payload"]
    assert stored == payload | {"n": 1} and isinstance(stored["f"], float) and isinstance(stored["u"], int)


# gRPC beside the points


@pytest.fixture(scope="module")
def channel(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}") as opened:
        yield opened


@pytest.mark.parametrize("service", ["", "qdrant.Points"])
def test_grpc_health(channel, service):
    request = b"" if not service else bytes([0x0A, len(service)]) + service.encode()
    answer = channel.unary_unary("/grpc.health.v1.Health/Check")(request, timeout=10)
    assert answer == b"\x08\x01", "status: SERVING"


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
def test_grpc_reflection(channel, version):
    list_services = b"\x3a\x00"
    stream = channel.stream_stream(f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo")
    answer = next(stream(iter([list_services]), timeout=10))
    for service in (b"qdrant.Points", b"qdrant.Collections", b"qdrant.Qdrant", b"grpc.health.v1.Health"):
        assert service in answer


def test_grpc_compression(server):
    with grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}", compression=grpc.Compression.Gzip) as opened:
        assert b"qdrant" in opened.unary_unary("/qdrant.Qdrant/HealthCheck")(b"", timeout=10)


# Keys


@pytest.fixture(scope="module")
def locked():
    with Server(settings={"SERVICE__API_KEY": "full", "SERVICE__READ_ONLY_API_KEY": "read"}) as running:
        yield running


def locked_client(locked, transport, key):
    return QdrantClient(host="127.0.0.1", port=locked.http_port, grpc_port=locked.grpc_port, prefer_grpc=transport == "grpc", api_key=key, https=False, check_compatibility=False)


def code_of(call):
    with pytest.raises((UnexpectedResponse, grpc.RpcError)) as caught:
        call()
    return caught.value.status_code if isinstance(caught.value, UnexpectedResponse) else caught.value.code()


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_keys(locked, transport, name):
    full, read, wrong, none = (locked_client(locked, transport, key) for key in ("full", "read", "wrong", None))
    params = models.VectorParams(size=2, distance=models.Distance.DOT)
    unknown = 401 if transport == "rest" else grpc.StatusCode.UNAUTHENTICATED
    denied = 403 if transport == "rest" else grpc.StatusCode.PERMISSION_DENIED
    assert code_of(lambda: wrong.create_collection(name, params)) == unknown
    assert code_of(lambda: none.get_collections()) == unknown
    assert code_of(lambda: read.create_collection(name, params)) == denied
    assert full.create_collection(name, params)
    assert code_of(lambda: read.upsert(name, [models.PointStruct(id=1, vector=[1.0, 1.0])])) == denied
    assert code_of(lambda: read.delete_collection(name)) == denied
    assert read.count(name).count == 0 and read.collection_exists(name)
    assert full.delete_collection(name)


def test_refused_keys_in_plain_text(locked):
    missing = httpx.get(f"{locked.url}/collections")
    assert (missing.status_code, missing.text) == (401, "Must provide an API key or an Authorization bearer token")
    wrong = httpx.get(f"{locked.url}/collections", headers={"api-key": "wrong"})
    assert (wrong.status_code, wrong.text) == (401, "Invalid API key or JWT")
    assert httpx.get(f"{locked.url}/collections", headers={"Authorization": "Bearer full"}).status_code == 200
    for open_path in ("/", "/healthz", "/livez", "/readyz"):
        assert httpx.get(f"{locked.url}{open_path}").status_code == 200
    with grpc.insecure_channel(f"127.0.0.1:{locked.grpc_port}") as opened:
        assert b"qdrant" in opened.unary_unary("/qdrant.Qdrant/HealthCheck")(b"", timeout=10)
        assert opened.unary_unary("/grpc.health.v1.Health/Check")(b"", timeout=10) == b"\x08\x01"


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_shards_are_split_and_merged_by_the_official_client(server, name, transport):
    rest, client = connect(server, "rest"), connect(server, transport)
    client.create_collection(name, models.VectorParams(size=2, distance=models.Distance.DOT), shard_number=2)
    client.upsert(name, [models.PointStruct(id=at, vector=[at, 1], payload={"n": at}) for at in range(300)], wait=True)

    def start(direction):
        operation = models.StartReshardingOperation(start_resharding=models.StartResharding(direction=direction))
        assert rest.cluster_collection_update(name, operation)

    for direction, shards in [("up", 3), ("up", 4), ("down", 3), ("down", 2), ("down", 1)]:
        start(direction)
        until = time.monotonic() + 30
        while client.collection_cluster_info(name).resharding_operations:
            assert time.monotonic() < until, "the resharding does not end"
            assert client.count(name).count == 300
            assert client.query_points(name, query=[1.0, 0.0], limit=1).points[0].id == 299
        assert client.collection_cluster_info(name).shard_count == shards
        assert client.get_collection(name).config.params.shard_number == shards
    with pytest.raises(UnexpectedResponse, match="The last shard cannot be removed"):
        start("down")
    with pytest.raises(UnexpectedResponse, match="No resharding is in progress"):
        rest.cluster_collection_update(name, models.AbortReshardingOperation(abort_resharding={}))
    seen = client.scroll(name, limit=1000, with_vectors=True)[0]
    assert [(point.id, point.vector, point.payload) for point in seen] == [(at, [at, 1], {"n": at}) for at in range(300)]
    client.delete_collection(name)
