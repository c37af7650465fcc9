"""mcp-server-qdrant 0.8.1, unmodified, asked through the protocol it serves."""

import asyncio
import json

import conftest
import fakes
import pytest
from fastmcp import Client
from mcp_server_qdrant.embeddings.base import EmbeddingProvider
from mcp_server_qdrant.mcp_server import QdrantMCPServer
from mcp_server_qdrant.settings import FilterableField, QdrantSettings, ToolSettings
from qdrant_client import QdrantClient

QUERY = "a fox in the frozen forest"


class Provider(EmbeddingProvider):
    async def embed_documents(self, documents):
        return [fakes.dense(text) for text in documents]

    async def embed_query(self, query):
        return fakes.dense(query)

    def get_vector_name(self):
        return "fast-fake"

    def get_vector_size(self):
        return fakes.SIZE


@pytest.fixture
def place(server, tmp_path):
    """Where it finds its memory: it speaks REST only."""
    return {"QDRANT_LOCAL_PATH": str(tmp_path / "local")} if conftest.LOCAL else {"QDRANT_URL": server.url}


FIELDS = [
    FilterableField(name="kind", description="what it is about", field_type="keyword", condition="any"),
    FilterableField(name="year", description="when", field_type="integer", condition=">="),
    FilterableField(name="rating", description="how good", field_type="float", condition="<"),
    FilterableField(name="open", description="whether", field_type="boolean", condition="=="),
]


def serve(place, **settings):
    return QdrantMCPServer(ToolSettings(), QdrantSettings(**place | settings), embedding_provider=Provider())


async def found(client, query=QUERY, **more):
    """The heading of the tool's answer, and the contents of its entries."""
    answer = await client.call_tool("qdrant-find", {"query": query} | more)
    lines = json.loads(answer[0].text) if answer else [None]
    return lines[0], [line.partition("<content>")[2].partition("</content>")[0] for line in lines[1:]]


def ranking(test=lambda facts: True, limit=10):
    return [text for text, _ in fakes.ranked({text: fakes.cosine(fakes.dense(QUERY), fakes.dense(text)) for text, facts in fakes.LIBRARY if test(facts)}, limit)]


def test_store_and_find(place, name):
    async def run():
        server = serve(place, COLLECTION_NAME=name, QDRANT_SEARCH_LIMIT=4, filterable_fields=FIELDS)
        async with Client(server) as client:
            assert {tool.name for tool in await client.list_tools()} == {"qdrant-find", "qdrant-store"}
            assert await found(client) == (None, [])
            for text, facts in fakes.LIBRARY:
                await client.call_tool("qdrant-store", {"information": text, "metadata": facts})
            assert await found(client) == (f"Results for the query '{QUERY}'", ranking(limit=4))
            assert (await found(client, kind=["machine", "place"]))[1] == ranking(lambda facts: facts["kind"] in ("machine", "place"))[:4]
            assert (await found(client, year=2010, rating=4.1))[1] == ranking(lambda facts: facts["year"] >= 2010 and facts["rating"] < 4.1)
            assert (await found(client, open=False))[1] == ranking(lambda facts: not facts["open"])[:4]
        await server.qdrant_connector._client.close()

    asyncio.run(run())
    client = QdrantClient(path=place["QDRANT_LOCAL_PATH"]) if conftest.LOCAL else QdrantClient(url=place["QDRANT_URL"])
    info = client.get_collection(name)
    client.close()
    assert (info.points_count, list(info.config.params.vectors)) == (len(fakes.LIBRARY), ["fast-fake"])
    if not conftest.LOCAL:
        schema = {field: (one.data_type, one.points) for field, one in info.payload_schema.items()}
        assert schema == {"metadata.kind": ("keyword", 10), "metadata.year": ("integer", 10), "metadata.rating": ("float", 10), "metadata.open": ("bool", 10)}


def test_arbitrary_filter_and_collection(place, name):
    async def run():
        server = serve(place, QDRANT_ALLOW_ARBITRARY_FILTER=True)
        async with Client(server) as client:
            for text, facts in fakes.LIBRARY:
                await client.call_tool("qdrant-store", {"information": text, "metadata": facts, "collection_name": name})
            condition = {"must": [{"key": "metadata.tags", "match": {"value": "winter"}}], "must_not": [{"key": "metadata.open", "match": {"value": True}}]}
            expected = ranking(lambda facts: "winter" in facts["tags"] and not facts["open"])
            assert (await found(client, collection_name=name, query_filter=condition))[1] == expected
            assert name in await server.qdrant_connector.get_collection_names()
        await server.qdrant_connector._client.close()

    asyncio.run(run())


def test_read_only(place, name):
    async def run():
        server = serve(place, COLLECTION_NAME=name, QDRANT_READ_ONLY=True)
        async with Client(server) as client:
            assert [tool.name for tool in await client.list_tools()] == ["qdrant-find"]
        await server.qdrant_connector._client.close()

    asyncio.run(run())
