"""One server for the protocol suite, and each test on both transports."""

import itertools
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients"))

from quiver_server import Server

from wire import Grpc, Rest

_serial = itertools.count()
COLLECTED = pytest.StashKey()


@pytest.fixture(scope="session")
def server():
    with Server() as running:
        yield running


@pytest.fixture(scope="session")
def rest(server):
    return Rest(server)


@pytest.fixture(scope="session")
def grpc(server):
    return Grpc(server)


@pytest.fixture(scope="session", params=["rest", "grpc"])
def wire(request):
    """A test that takes this runs on both transports."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="session")
def fresh_name():
    """A function that gives names of collections and aliases that nothing else uses."""
    return lambda: f"p{next(_serial)}"


@pytest.fixture
def name(fresh_name):
    return fresh_name()


@pytest.fixture(scope="session")
def make(rest, fresh_name):
    """A function that makes a collection (of dot vectors of this size, or by this body) and gives its name.

    It goes over REST whatever the test speaks, so that a test of anything else does not depend on it.
    """

    def made(vectors=2, **body):
        name = fresh_name()
        if vectors is not None:
            body["vectors"] = {"size": vectors, "distance": "Dot"} if isinstance(vectors, int) else vectors
        assert rest.create(name, body) is True
        return name

    return made


@pytest.fixture(scope="module", autouse=True)
def swept(rest):
    """What a file has made goes when it is done with on a transport: the server keeps what is in use, and is quick."""
    before = set(rest.collections())
    yield
    for name in set(rest.collections()) - before:
        rest.drop(name)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Keeps (file, test, transports) of everything collected, before -k and the like take some away."""
    config.stash[COLLECTED] = [(item.path.name, item.originalname, transports_of(item)) for item in items]


def transports_of(item):
    parameter = item.callspec.params.get("wire") if hasattr(item, "callspec") else None
    return {parameter} if parameter else {"rest", "grpc"} & set(item.fixturenames)


@pytest.fixture(scope="session")
def collected(request):
    return request.config.stash[COLLECTED]
