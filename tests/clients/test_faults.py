"""Faults of the disk, end to end: it is full, index files are damaged, the log is damaged."""

import base64
import os
import random
import shutil
import subprocess
import time

import grpc
import numpy as np
import pytest
from qdrant_client import models
from qdrant_client.http.exceptions import UnexpectedResponse

from conftest import connect
from quiver_server import Server, ServerError

NAME = "faults"
DIM = 8
#: The server refuses writes when less than 512 MiB are left, so about 200 MiB are its to fill.
DISK_BYTES = 928 << 20
BALLAST_BYTES = 192 << 20
POINTS_PER_WRITE = 16
#: How long the server may take to notice that there is room again.
RECOVERY_SECONDS = 30


def vectors(count, seed=0):
    return np.random.default_rng(seed).normal(size=(count, DIM)).astype(np.float32)


# A full disk


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of its own that is soon full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", folder], capture_output=True, text=True)
    if mounted.returncode != 0:
        pytest.skip(f"cannot mount a small file system here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def is_out_of_disk(error):
    """The typed error of either transport."""
    if isinstance(error, UnexpectedResponse):
        return error.status_code == 507 and "No space left" in error.structured()["status"]["error"]
    return error.code() == grpc.StatusCode.RESOURCE_EXHAUSTED and "No space left" in error.details()


@pytest.mark.parametrize("transport", ["rest", "grpc"])
def test_full_disk_refuses_writes_and_serves_reads(small_disk, transport):
    ballast = small_disk / "ballast"
    with open(ballast, "wb") as file:
        os.posix_fallocate(file.fileno(), 0, BALLAST_BYTES)
    noise = random.Random(1)
    with Server(storage=small_disk / "storage") as server:
        client = connect(server, transport)
        client.create_collection(NAME, models.VectorParams(size=DIM, distance=models.Distance.EUCLID), shard_number=2)
        written = 0

        def write():
            nonlocal written
            points = [
                models.PointStruct(
                    id=written + at, vector=vectors(1, seed=written + at)[0].tolist(), payload={"noise": base64.b64encode(noise.randbytes(240_000)).decode()}
                )
                for at in range(POINTS_PER_WRITE)
            ]
            client.upsert(NAME, points, wait=True)
            written += POINTS_PER_WRITE

        refusal = None
        while refusal is None:
            try:
                write()
            except (UnexpectedResponse, grpc.RpcError) as error:
                refusal = error
            assert written * 320_000 < 2 * DISK_BYTES, "the disk never became full"
        assert is_out_of_disk(refusal), refusal

        def check_reads(certain):
            """Everything acknowledged is there; the refused write may be there or not."""
            records, _ = client.scroll(NAME, limit=10**6, with_payload=False, with_vectors=True)
            held = {record.id: record.vector for record in records}
            assert set(range(certain)) <= held.keys() <= set(range(certain + POINTS_PER_WRITE))
            for point in range(0, certain, 17):
                assert held[point] == pytest.approx(vectors(1, seed=point)[0].tolist())
            query = vectors(1, seed=3)[0]
            assert client.query_points(NAME, query, limit=1, search_params=models.SearchParams(exact=True)).points[0].id == 3
            assert len(client.retrieve(NAME, [0])[0].payload["noise"]) == 320_000

        assert server.is_alive()
        check_reads(written)
        for _ in range(3):
            with pytest.raises((UnexpectedResponse, grpc.RpcError)) as caught:
                write()
            assert is_out_of_disk(caught.value), caught.value
        check_reads(written)

        ballast.unlink()
        deadline = time.monotonic() + RECOVERY_SECONDS
        before = written
        while written == before:
            try:
                write()
            except (UnexpectedResponse, grpc.RpcError) as error:
                assert is_out_of_disk(error), error
                assert time.monotonic() < deadline, f"still refused {RECOVERY_SECONDS} s after there was room: {error}"
                time.sleep(0.5)
        check_reads(written)
        server.restart("kill")
        check_reads(written)
        client.close()


# Damaged files


def small_collection(server, count=3000):
    """A collection whose index has been built, and its answers to some queries."""
    client = connect(server, "rest")
    client.create_collection(NAME, models.VectorParams(size=DIM, distance=models.Distance.EUCLID), shard_number=2, optimizers_config=models.OptimizersConfigDiff(indexing_threshold=100))
    client.upload_collection(NAME, vectors=vectors(count), ids=range(count), payload=({"at": at} for at in range(count)), wait=True, batch_size=500)
    while client.get_collection(NAME).status != models.CollectionStatus.GREEN:
        time.sleep(0.05)
    client.close()


def answers(server):
    client = connect(server, "rest")
    found = {}
    for kind, params in (("exact", models.SearchParams(exact=True)), ("near", models.SearchParams(hnsw_ef=256))):
        requests = [models.QueryRequest(query=query.tolist(), limit=10, params=params, with_payload=True) for query in vectors(50, seed=9)]
        found[kind] = [[(hit.id, hit.payload["at"], round(hit.score, 5)) for hit in one.points] for one in client.query_batch_points(NAME, requests)]
    count = client.count(NAME).count
    client.close()
    return count, found


def recall(found):
    pairs = list(zip(found["exact"], found["near"]))
    return sum(len({hit[0] for hit in exact} & {hit[0] for hit in near}) for exact, near in pairs) / sum(len(exact) for exact, _ in pairs)


def flip(path, at):
    content = bytearray(path.read_bytes())
    content[at] ^= 0xFF
    path.write_bytes(content)


DAMAGES = {
    "a bit in the middle": lambda path: flip(path, path.stat().st_size // 2),
    "the first byte": lambda path: flip(path, 0),
    "the last byte": lambda path: flip(path, path.stat().st_size - 1),
    "truncated": lambda path: os.truncate(path, path.stat().st_size // 2),
    "emptied": lambda path: os.truncate(path, 0),
    "other bytes": lambda path: path.write_bytes(b"\x00\xff" * 512),
    "gone": lambda path: path.unlink(),
}


def index_files(storage):
    """Every file that belongs to neither database: derived state."""
    databases = [folder for name in ("raftdb", "kvdb") for folder in storage.rglob(name)]
    assert len(databases) == 2, databases
    files = [path for path in storage.rglob("*") if path.is_file() and not any(folder in path.parents for folder in databases)]
    return [path for path in files if path.stat().st_size > 1000]


@pytest.fixture(scope="module")
def stopped(tmp_path_factory):
    """A data folder as SIGTERM left it, and the answers its server gave."""
    storage = tmp_path_factory.mktemp("faults") / "storage"
    with Server(storage=storage) as server:
        small_collection(server)
        expected = answers(server)
        assert server.terminate() == 0
    assert expected[0] == 3000 and recall(expected[1]) > 0.95
    return storage, expected


@pytest.fixture
def damaged(stopped, tmp_path):
    """A copy to damage."""
    copy = tmp_path / "storage"
    shutil.copytree(stopped[0], copy)
    return copy


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_index_files_are_rebuilt(stopped, damaged, damage):
    files = index_files(damaged)
    assert files, f"no index checkpoint in {[str(path) for path in damaged.rglob('*')]}"
    for path in files:
        DAMAGES[damage](path)
    with Server(storage=damaged) as server:
        client = connect(server, "rest")
        while client.get_collection(NAME).status != models.CollectionStatus.GREEN:
            time.sleep(0.05)
        client.close()
        count, found = answers(server)
    expected_count, expected = stopped[1]
    assert count == expected_count
    assert found["exact"] == expected["exact"]
    assert recall(found) > 0.95


@pytest.mark.parametrize("damage", ["a bit in the middle", "truncated", "emptied", "other bytes", "gone"])
@pytest.mark.parametrize("pattern", ["MANIFEST-*", "CURRENT"])
def test_damaged_log_refuses_to_open(damaged, pattern, damage):
    """The message names the file's database and says what to do; nothing is repaired behind the operator's back."""
    (raftdb,) = damaged.rglob("raftdb")
    for path in raftdb.rglob(pattern):
        DAMAGES[damage](path)
    refused_naming(damaged, raftdb)


def refused_naming(storage, raftdb):
    server = Server(storage=storage)
    try:
        with pytest.raises(ServerError):
            server.start()
        assert server.process.poll() not in (None, 0)
        log = server.log_tail(20_000)
        assert str(raftdb) in log, log
        assert "panicked" not in log, log
    finally:
        server.close()


def middle_record(content):
    """Where the middle of the record in the middle of RocksDB's log is (record: checksum 4, length 2, type 1, content).

    Not in its header: a length that leads beyond the end of the file is what a torn write looks like, and RocksDB takes it
    for one.
    """
    header, block, at, middle = 7, 32 * 1024, 0, len(content.rstrip(b"\0")) // 2
    while True:
        if block - at % block < header:
            at += block - at % block
        length = int.from_bytes(content[at + 4 : at + 6], "little")
        if at + header + length > middle:
            return at + header + length // 2
        at += header + length


def test_damaged_log_entries_refuse_to_open(tmp_path):
    """Acknowledged writes that only the log holds: a flipped bit among them must not shorten history silently."""
    storage = tmp_path / "storage"
    with Server(storage=storage) as server:
        client = connect(server, "rest")
        client.create_collection(NAME, models.VectorParams(size=DIM, distance=models.Distance.DOT))
        for at in range(200):
            client.upsert(NAME, [models.PointStruct(id=at, vector=vectors(1, seed=at)[0].tolist())], wait=True)
        client.close()
        server.kill()
    (raftdb,) = storage.rglob("raftdb")
    logs = [path for path in raftdb.rglob("*.log") if path.stat().st_size > 1000]
    assert logs, [path.name for path in raftdb.rglob('*')]
    for path in logs:
        flip(path, middle_record(path.read_bytes()))
    refused_naming(storage, raftdb)


def test_two_servers_on_one_folder(tmp_path):
    """The second refuses: the folder is locked."""
    with Server(storage=tmp_path / "storage") as first:
        second = Server(storage=tmp_path / "storage")
        try:
            with pytest.raises(ServerError):
                second.start()
            assert str(tmp_path / "storage") in second.log_tail(), second.log_tail()
        finally:
            second.close()
        assert first.is_ready()


def test_sigterm_ends_with_0_and_keeps_everything(tmp_path):
    with Server(storage=tmp_path / "storage") as server:
        small_collection(server, count=500)
        before = answers(server)
        assert server.terminate() == 0
        server.start()
        assert answers(server)[0] == before[0]
        assert answers(server)[1]["exact"] == before[1]["exact"]


@pytest.mark.parametrize("settings", [{"SERVICE__HTTP_PROT": "1"}, {"SERVICE__HTTP_PORT": "seven"}, {"NOTHING": "1"}])
def test_wrong_settings_are_named(tmp_path, settings):
    server = Server(storage=tmp_path / "storage", settings=settings)
    try:
        with pytest.raises(ServerError):
            server.start()
        assert server.process.returncode != 0
        (key,) = settings
        assert key.split("__")[-1].lower() in server.log_tail().lower()
    finally:
        server.close()
