"""Snapshots through the official client over both transports: in the folder, in a bucket, from a URL, at start.

The bucket is one of moto's, an S3 server of others, on loopback.
"""

import hashlib
import pathlib
import urllib.error
import urllib.request

import grpc
import pytest
from moto.server import ThreadedMotoServer
from qdrant_client import models

from conftest import connect
from quiver_server import Server, ServerError
from test_python_client import refused

POINTS = 2000
BUCKET = "backups"
PAYLOAD = {"text": "x" * 500}


def fetch(url, method="GET"):
    with urllib.request.urlopen(urllib.request.Request(url, method=method)) as answer:
        return answer.read()


@pytest.fixture(scope="module")
def bucket():
    """The address of an S3 server with an empty bucket."""
    moto = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    moto.start()
    host, port = moto.get_host_and_port()
    url = f"http://{host}:{port}"
    fetch(f"{url}/{BUCKET}", "PUT")
    yield url
    moto.stop()


def keys(bucket):
    """What lies in the bucket, and what was begun there and not ended."""
    listed = fetch(f"{bucket}/{BUCKET}?list-type=2").decode()
    begun = fetch(f"{bucket}/{BUCKET}?uploads").decode()
    return sorted(part.split("</Key>")[0] for part in listed.split("<Key>")[1:]), begun.count("<Upload>")


@pytest.fixture(scope="module", params=["local", "s3"])
def place(request):
    return request.param


@pytest.fixture(scope="module")
def keeper(place, request):
    """A server that keeps its snapshots there, and recovers from URLs of loopback."""
    settings = {
        "SERVICE__ENABLE_SNAPSHOT_URL_RECOVERY": "true",
        "STORAGE__SNAPSHOTS_CONFIG__URL_RECOVERY__ALLOWED_HOSTS": "127.0.0.1",
    }
    if place == "s3":
        prefix = "STORAGE__SNAPSHOTS_CONFIG__"
        settings |= {
            f"{prefix}SNAPSHOTS_STORAGE": "s3",
            f"{prefix}S3_CONFIG__BUCKET": BUCKET,
            f"{prefix}S3_CONFIG__REGION": "us-east-1",
            f"{prefix}S3_CONFIG__ACCESS_KEY": "key",
            f"{prefix}S3_CONFIG__SECRET_KEY": "secret",
            f"{prefix}S3_CONFIG__ENDPOINT_URL": request.getfixturevalue("bucket"),
        }
    with Server(settings=settings) as running:
        yield running


@pytest.fixture(scope="module")
def snapper(keeper, transport):
    connected = connect(keeper, transport)
    yield connected
    connected.close()


@pytest.fixture
def filled(snapper, name):
    snapper.create_collection(name, models.VectorParams(size=4, distance=models.Distance.DOT), shard_number=2)
    for start in range(0, POINTS, 500):
        ids = range(start, start + 500)
        snapper.upsert(name, [models.PointStruct(id=at, vector=[at, 1, 2, 3], payload=PAYLOAD | {"at": at}) for at in ids])
    yield name
    snapper.delete_collection(name)


def folder(keeper):
    return keeper.scratch / "snapshots"


def bytes_of(keeper, path):
    return fetch(f"{keeper.url}{path}")


def check_whole(snapper, name):
    assert snapper.count(name).count == POINTS
    best = snapper.query_points(name, [1.0, 0, 0, 0], limit=3).points
    assert [(one.id, one.score, one.payload["at"]) for one in best] == [(at, float(at), at) for at in range(POINTS - 1, POINTS - 4, -1)]


def test_a_collection(keeper, snapper, filled, place):
    assert snapper.list_snapshots(filled) == []
    made = snapper.create_snapshot(filled)
    assert made.name.startswith(f"{filled}-") and made.creation_time
    listed = snapper.list_snapshots(filled)
    assert [(one.name, one.size, one.checksum) for one in listed] == [(made.name, made.size, made.checksum)]
    content = bytes_of(keeper, f"/collections/{filled}/snapshots/{made.name}")
    assert (len(content), hashlib.sha256(content).hexdigest()) == (made.size, made.checksum)
    snapper.delete(filled, list(range(POINTS - 10, POINTS)))
    # From where it is kept: the same address whatever the place is.
    location = f"file://{folder(keeper)}/{filled}/{made.name}" if place == "local" else f"s3://{BUCKET}/{filled}/{made.name}"
    assert snapper.recover_snapshot(filled, location, checksum=made.checksum, priority=models.SnapshotPriority.SNAPSHOT)
    check_whole(snapper, filled)
    snapper.delete(filled, [0, 1])
    url = f"{keeper.url}/collections/{filled}/snapshots/{made.name}"
    assert snapper.recover_snapshot(filled, url, checksum=made.checksum)
    check_whole(snapper, filled)
    refused_rest = lambda call, *texts: refused(call, 400, None, *texts)
    refused_rest(lambda: snapper.recover_snapshot(filled, url, checksum="00" * 32), "checksum mismatch")
    refused_rest(lambda: snapper.recover_snapshot(filled, f"{url}x"), "404")
    refused(lambda: snapper.recover_snapshot(filled, url.replace("127.0.0.1", "localhost")), 403, None, "localhost")
    for odd in ("file:///etc/passwd", f"s3://other/{filled}/{made.name}", f"s3://{BUCKET}/../{made.name}"):
        refused_rest(lambda: snapper.recover_snapshot(filled, odd), "Snapshot file")
    check_whole(snapper, filled)
    assert snapper.delete_snapshot(filled, made.name)
    refused(lambda: snapper.delete_snapshot(filled, made.name), 404, grpc.StatusCode.NOT_FOUND, made.name)
    refused(lambda: snapper.create_snapshot("nowhere"), 404, grpc.StatusCode.NOT_FOUND, "nowhere")
    assert snapper.list_snapshots(filled) == []


def test_a_shard(keeper, snapper, filled):
    made = snapper.create_shard_snapshot(filled, 1)
    assert [one.name for one in snapper.list_shard_snapshots(filled, 1)] == [made.name]
    assert snapper.list_shard_snapshots(filled, 0) == []
    snapper.delete(filled, models.Filter(must=[models.HasIdCondition(has_id=list(range(POINTS)))]))
    path = f"/collections/{filled}/shards/1/snapshots/{made.name}"
    assert snapper.recover_shard_snapshot(filled, 1, f"{keeper.url}{path}", checksum=made.checksum)
    held = snapper.count(filled).count
    assert POINTS / 3 < held < POINTS * 2 / 3
    refused(lambda: snapper.recover_shard_snapshot(filled, 0, f"{keeper.url}{path}"), 400, None, "does not fit")
    refused(lambda: snapper.recover_shard_snapshot(filled, 2, f"{keeper.url}{path}"), 404, None, "Shard 2")
    streamed = bytes_of(keeper, f"/collections/{filled}/shards/1/snapshot")
    assert streamed.startswith(b"QVRSNAP") and len(streamed) > held * 500
    assert snapper.delete_shard_snapshot(filled, 1, made.name)
    assert snapper.list_shard_snapshots(filled, 1) == []


def test_the_node(keeper, snapper, filled, place, bucket):
    alias = f"{filled}-alias"
    snapper.update_collection_aliases([models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=filled, alias_name=alias))])
    assert snapper.list_full_snapshots() == []
    made = snapper.create_full_snapshot()
    assert [one.name for one in snapper.list_full_snapshots()] == [made.name]
    content = bytes_of(keeper, f"/snapshots/{made.name}")
    assert hashlib.sha256(content).hexdigest() == made.checksum
    if place == "s3":
        assert keys(bucket) == ([made.name, f"{made.name}.checksum"], 0)
        assert not folder(keeper).exists() or not [one for one in folder(keeper).rglob("*") if one.is_file()]
    file = pathlib.Path(keeper.scratch) / "full.snapshot"
    file.write_bytes(content)
    refused(lambda: snapper.recover_snapshot(filled, f"{keeper.url}/snapshots/{made.name}"), 400, None, "does not fit")
    other = Server(arguments=["--storage-snapshot", file])
    with other:
        restored = connect(other, "rest")
        check_whole(restored, alias)
        restored.close()
        other.terminate()
        with pytest.raises(ServerError, match="--force-snapshot"):
            other.start()
    assert snapper.delete_full_snapshot(made.name)
    refused(lambda: snapper.delete_full_snapshot(made.name), 404, grpc.StatusCode.NOT_FOUND, made.name)


@pytest.mark.parametrize("odd", ["..", "../x.snapshot", "x", ".snapshot", "x\\y.snapshot", "a/../../x.snapshot"])
def test_names_lead_nowhere(keeper, snapper, filled, transport, odd):
    """Also in a bucket: keys above and beside a collection's own are not reached."""
    victim = snapper.create_full_snapshot()
    for name in (odd, odd.replace("x.snapshot", victim.name)):
        if transport == "grpc":
            # Over REST the client itself resolves dots before it sends a path.
            refused(lambda: snapper.delete_snapshot(filled, name), 404, grpc.StatusCode.NOT_FOUND)
            refused(lambda: snapper.delete_full_snapshot(name), 404, grpc.StatusCode.NOT_FOUND)
        quoted = urllib.request.quote(name, safe="").replace(".", "%2e")
        for of in (f"/collections/{filled}", f"/collections/{filled}/shards/0", ""):
            for method in ("GET", "DELETE"):
                with pytest.raises(urllib.error.HTTPError) as caught:
                    fetch(f"{keeper.url}{of}/snapshots/{quoted}", method)
                assert caught.value.code == 404
    assert [one.name for one in snapper.list_full_snapshots()] == [victim.name]
    snapper.delete_full_snapshot(victim.name)


def test_a_large_snapshot_goes_in_parts(keeper, snapper, name, place, bucket):
    """More than one part of an upload."""
    if place != "s3":
        pytest.skip("parts are a bucket's")
    snapper.create_collection(name, models.VectorParams(size=4, distance=models.Distance.DOT))
    text = {"text": "y" * 100_000}
    for start in range(0, 400, 100):
        snapper.upsert(name, [models.PointStruct(id=at, vector=[at, 1, 2, 3], payload=text) for at in range(start, start + 100)])
    made = snapper.create_snapshot(name)
    assert made.size > 36_000_000
    assert keys(bucket)[1] == 0
    snapper.delete(name, [1, 2, 3])
    assert snapper.recover_snapshot(name, f"s3://{BUCKET}/{name}/{made.name}", checksum=made.checksum)
    assert snapper.count(name).count == 400
    assert snapper.delete_snapshot(name, made.name)
    snapper.delete_collection(name)
    assert keys(bucket)[0] == []


def test_a_bucket_that_is_not_there(transport):
    settings = {
        "STORAGE__SNAPSHOTS_CONFIG__SNAPSHOTS_STORAGE": "s3",
        "STORAGE__SNAPSHOTS_CONFIG__S3_CONFIG__BUCKET": "nowhere",
        "STORAGE__SNAPSHOTS_CONFIG__S3_CONFIG__ACCESS_KEY": "key",
        "STORAGE__SNAPSHOTS_CONFIG__S3_CONFIG__SECRET_KEY": "secret",
    }
    with ThreadedMoto() as url, Server(settings=settings | {"STORAGE__SNAPSHOTS_CONFIG__S3_CONFIG__ENDPOINT_URL": url}) as running:
        client = connect(running, transport)
        client.create_collection("c", models.VectorParams(size=4, distance=models.Distance.DOT))
        refused(lambda: client.create_snapshot("c"), 500, grpc.StatusCode.INTERNAL, "snapshot failed")
        client.upsert("c", [models.PointStruct(id=1, vector=[1, 2, 3, 4])])
        client.close()


class ThreadedMoto:
    """An S3 server without a bucket."""

    def __enter__(self):
        self.server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
        self.server.start()
        host, port = self.server.get_host_and_port()
        return f"http://{host}:{port}"

    def __exit__(self, *_):
        self.server.stop()
