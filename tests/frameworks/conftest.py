"""One server for the frameworks' tests, and the ways in which frameworks are told where it is.

QUIVER_SUITE_LOCAL=1 puts the client's own local mode in the server's place: that tests these tests.
"""

import contextlib
import itertools
import os
import pathlib
import sys

import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients")]

from quiver_server import Server  # noqa: E402

#: Frameworks report their use and look for models unless they are told not to.
os.environ |= {
    "MEM0_TELEMETRY": "False", "HAYSTACK_TELEMETRY_ENABLED": "False", "LANGSMITH_TRACING": "false", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
}

LOCAL = os.environ.get("QUIVER_SUITE_LOCAL") == "1"
_serial = itertools.count()


@pytest.fixture(scope="session")
def server():
    with contextlib.nullcontext() if LOCAL else Server() as running:
        yield running


@pytest.fixture(scope="session", params=["local"] if LOCAL else ["rest", "grpc"])
def transport(request):
    return request.param


@pytest.fixture
def options(server, transport, tmp_path):
    """Arguments of a client, as frameworks that make one themselves take them."""
    if LOCAL:
        return {"path": str(tmp_path / "local")}
    return {"url": server.url, "grpc_port": server.grpc_port, "prefer_grpc": transport == "grpc", "timeout": 30}


@pytest.fixture(scope="session")
def client(server, transport):
    """The official client, for frameworks that are handed one."""
    connected = QdrantClient(":memory:") if LOCAL else QdrantClient(url=server.url, grpc_port=server.grpc_port, prefer_grpc=transport == "grpc", timeout=30)
    yield connected
    connected.close()


@pytest.fixture
def name():
    """The name of a collection that no other test uses."""
    return f"frameworks-{next(_serial)}"


@pytest.fixture
def async_client(server, transport):
    """Made in the test's own event loop: call it there."""
    if LOCAL:
        return lambda: AsyncQdrantClient(":memory:")
    return lambda: AsyncQdrantClient(url=server.url, grpc_port=server.grpc_port, prefer_grpc=transport == "grpc", timeout=30)
