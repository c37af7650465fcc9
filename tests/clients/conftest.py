"""One server for all client tests, and the official client over each transport."""

import itertools
import os
import pathlib
import sys

# A server is forked and executed while channels are open; gRPC's own handlers would end the child before it is executed.
os.environ.setdefault("GRPC_ENABLE_FORK_SUPPORT", "0")

import pytest
from qdrant_client import QdrantClient

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

from quiver_server import Server

_serial = itertools.count()


def connect(server, transport, **options):
    """The official client as its users make it."""
    return QdrantClient(
        host="127.0.0.1", port=server.http_port, grpc_port=server.grpc_port, prefer_grpc=transport == "grpc", timeout=30, **options
    )


@pytest.fixture(scope="session")
def server():
    with Server() as running:
        yield running


@pytest.fixture(scope="session", params=["rest", "grpc"])
def transport(request):
    return request.param


@pytest.fixture(scope="session")
def client(server, transport):
    connected = connect(server, transport)
    yield connected
    connected.close()


@pytest.fixture
def name():
    """The name of a collection that no other test uses."""
    return f"test-{next(_serial)}"
