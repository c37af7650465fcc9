"""llama-index-vector-stores-qdrant 0.10.4, unmodified."""

import asyncio
import uuid

import conftest
import fakes
import pytest
from llama_index.core.schema import MetadataMode, NodeRelationship, RelatedNodeInfo, TextNode
from llama_index.core.vector_stores.types import (
    FilterCondition,
    FilterOperator,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
)
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import models

QUERY = "a fox in the frozen forest"


def book(at):
    """The document a node belongs to: three nodes each."""
    return f"book-{at // 3}"


def nodes():
    made = []
    for at, (text, facts) in enumerate(fakes.LIBRARY):
        node = TextNode(id_=str(uuid.UUID(int=at + 1)), text=text, metadata=facts | {"title": text}, embedding=fakes.dense(text))
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=book(at))
        made.append(node)
    return made


def encoded(vectors):
    return [list(vector) for vector in vectors], [list(vector.values()) for vector in vectors]


def words_of_documents(texts):
    return encoded([fakes.sparse(text) for text in texts])


def words_of_queries(texts):
    return encoded([fakes.sparse_query(text) for text in texts])


def hybrid(client, name, **more):
    return QdrantVectorStore(
        name, client=client, enable_hybrid=True, sparse_doc_fn=words_of_documents, sparse_query_fn=words_of_queries, **more
    )


@pytest.fixture
def store(client, name):
    made = QdrantVectorStore(name, client=client, payload_indexes=[{"field_name": "kind", "field_schema": models.PayloadSchemaType.KEYWORD}])
    made.add(nodes())
    yield made
    made.clear()


def asked(k=4, **more):
    return VectorStoreQuery(query_embedding=fakes.dense(QUERY), query_str=QUERY, similarity_top_k=k, **more)


def pairs(result):
    assert result.ids == [node.node_id for node in result.nodes]
    return [(node.text, score) for node, score in zip(result.nodes, result.similarities)]


def dense_scores(texts=fakes.TEXTS):
    return {text: fakes.cosine(fakes.dense(QUERY), fakes.dense(text)) for text in texts}


def only(*filters, condition=FilterCondition.AND):
    return MetadataFilters(filters=list(filters), condition=condition)


def test_dense(store):
    result = store.query(asked(5))
    fakes.assert_same_ranking(pairs(result), fakes.ranked(dense_scores(), 5))
    at = fakes.TEXTS.index(result.nodes[0].text)
    assert result.nodes[0].metadata == fakes.FACTS[at] | {"title": fakes.TEXTS[at]}
    assert result.nodes[0].ref_doc_id == book(at)


def test_collection_is_as_asked_for(client, store):
    params = client.get_collection(store.collection_name).config.params
    assert params.vectors == models.VectorParams(size=fakes.SIZE, distance=models.Distance.COSINE)
    if not conftest.LOCAL:
        schema = client.get_collection(store.collection_name).payload_schema
        assert {field: (one.data_type, one.points) for field, one in schema.items()} == {"doc_id": ("keyword", 10), "kind": ("keyword", 10)}


OPERATORS = {
    "equal text": (MetadataFilter(key="kind", value="animal"), lambda facts: facts["kind"] == "animal"),
    "equal integer": (MetadataFilter(key="year", value=1999), lambda facts: facts["year"] == 1999),
    "equal float": (MetadataFilter(key="rating", value=4.5), lambda facts: facts["rating"] == 4.5),
    "not equal": (MetadataFilter(key="kind", value="animal", operator=FilterOperator.NE), lambda facts: facts["kind"] != "animal"),
    "not equal in an array": (MetadataFilter(key="tags", value="winter", operator=FilterOperator.NE), lambda facts: {*facts["tags"]} - {"winter"}),
    "greater": (MetadataFilter(key="year", value=2015, operator=FilterOperator.GT), lambda facts: facts["year"] > 2015),
    "greater or equal": (MetadataFilter(key="year", value=2015, operator=FilterOperator.GTE), lambda facts: facts["year"] >= 2015),
    "less": (MetadataFilter(key="rating", value=3.5, operator=FilterOperator.LT), lambda facts: facts["rating"] < 3.5),
    "less or equal": (MetadataFilter(key="rating", value=3.5, operator=FilterOperator.LTE), lambda facts: facts["rating"] <= 3.5),
    "in": (MetadataFilter(key="kind", value=["place", "people"], operator=FilterOperator.IN), lambda facts: facts["kind"] in ("place", "people")),
    "in, with commas": (MetadataFilter(key="tags", value="fire,fox", operator=FilterOperator.IN), lambda facts: {"fire", "fox"} & {*facts["tags"]}),
    "in integers": (MetadataFilter(key="year", value=[1975, 2022, 1], operator=FilterOperator.IN), lambda facts: facts["year"] in (1975, 2022)),
    "not in": (MetadataFilter(key="kind", value=["place", "people"], operator=FilterOperator.NIN), lambda facts: facts["kind"] not in ("place", "people")),
    "text": (MetadataFilter(key="title", value="frozen dawn", operator=FilterOperator.TEXT_MATCH), lambda facts: facts["year"] == 2018),
    "text in any case": (MetadataFilter(key="title", value="HARBOUR water", operator=FilterOperator.TEXT_MATCH_INSENSITIVE), lambda facts: facts["year"] == 1975),
    "empty": (MetadataFilter(key="tags", value=None, operator=FilterOperator.IS_EMPTY), lambda facts: not facts["tags"]),
    "absent": (MetadataFilter(key="nowhere", value=None, operator=FilterOperator.IS_EMPTY), lambda facts: True),
}


@pytest.mark.parametrize("which", OPERATORS)
def test_operators(store, which):
    condition, test = OPERATORS[which]
    expected = [text for text, facts in fakes.LIBRARY if test(facts)]
    assert expected, "a filter that matches nothing shows nothing"
    result = store.query(asked(20, filters=only(condition)))
    fakes.assert_same_ranking(pairs(result), fakes.ranked(dense_scores(expected)))


ANIMAL = MetadataFilter(key="kind", value="animal")
RECENT = MetadataFilter(key="year", value=2000, operator=FilterOperator.GT)
WINTER = MetadataFilter(key="tags", value="winter")
COMBINATIONS = {
    "and": (only(ANIMAL, RECENT), lambda animal, recent, winter: animal and recent),
    "or": (only(ANIMAL, RECENT, condition=FilterCondition.OR), lambda animal, recent, winter: animal or recent),
    "not": (only(ANIMAL, RECENT, condition=FilterCondition.NOT), lambda animal, recent, winter: not animal and not recent),
    "or within and": (only(WINTER, only(ANIMAL, RECENT, condition=FilterCondition.OR)), lambda animal, recent, winter: winter and (animal or recent)),
    "not within or": (only(ANIMAL, only(RECENT, WINTER, condition=FilterCondition.NOT), condition=FilterCondition.OR), lambda animal, recent, winter: animal or (not recent and not winter)),
    "nothing within and": (only(ANIMAL, only()), lambda animal, recent, winter: animal),
}


@pytest.mark.parametrize("which", COMBINATIONS)
def test_combinations(store, which):
    condition, test = COMBINATIONS[which]
    expected = [text for text, facts in fakes.LIBRARY if test(facts["kind"] == "animal", facts["year"] > 2000, "winter" in facts["tags"])]
    fakes.assert_same_ranking(pairs(store.query(asked(20, filters=condition))), fakes.ranked(dense_scores(expected)))
    assert {node.text for node in store.get_nodes(filters=condition)} == set(expected)


def test_by_document_and_node(store):
    of_books = [text for at, text in enumerate(fakes.TEXTS) if book(at) in ("book-0", "book-2")]
    fakes.assert_same_ranking(pairs(store.query(asked(20, doc_ids=["book-0", "book-2"]))), fakes.ranked(dense_scores(of_books)))
    ids = [str(uuid.UUID(int=at)) for at in (2, 4, 6)]
    some = [fakes.TEXTS[1], fakes.TEXTS[3], fakes.TEXTS[5]]
    fakes.assert_same_ranking(pairs(store.query(asked(20, node_ids=ids))), fakes.ranked(dense_scores(some)))
    fakes.assert_same_ranking(pairs(store.query(asked(20, node_ids=ids, filters=only(ANIMAL)))), fakes.ranked(dense_scores([some[0], some[2]])))


def test_own_filter_and_parameters(store):
    condition = models.Filter(must=[models.FieldCondition(key="year", range=models.Range(lt=1990))])
    result = store.query(asked(20), qdrant_filters=condition, search_params={"exact": True, "hnsw_ef": 64})
    fakes.assert_same_ranking(pairs(result), fakes.ranked(dense_scores([text for text, facts in fakes.LIBRARY if facts["year"] < 1990])))


def test_get_nodes(store):
    assert [node.node_id for node in store.get_nodes()] == [node.node_id for node in nodes()]
    ids = [str(uuid.UUID(int=at)) for at in (7, 3)]
    found = store.get_nodes(node_ids=ids)
    assert [node.text for node in found] == [fakes.TEXTS[2], fakes.TEXTS[6]]
    length = sum(component**2 for component in fakes.dense(fakes.TEXTS[2])) ** 0.5
    assert found[0].embedding == pytest.approx([component / length for component in fakes.dense(fakes.TEXTS[2])], abs=1e-6)
    assert [node.text for node in store.get_nodes(limit=2)] == fakes.TEXTS[:2]
    assert store.get_nodes(node_ids=[str(uuid.UUID(int=99))]) == []


def test_delete(store):
    store.delete("book-1")
    left = [text for at, text in enumerate(fakes.TEXTS) if book(at) != "book-1"]
    assert [node.text for node in store.get_nodes()] == left
    store.delete_nodes(node_ids=[str(uuid.UUID(int=1)), str(uuid.UUID(int=99))])
    left.remove(fakes.TEXTS[0])
    assert [node.text for node in store.get_nodes()] == left
    store.delete_nodes(filters=only(MetadataFilter(key="rating", value=3, operator=FilterOperator.LT)))
    left = [text for text in left if fakes.FACTS[fakes.TEXTS.index(text)]["rating"] >= 3]
    assert [node.text for node in store.get_nodes()] == left
    fakes.assert_same_ranking(pairs(store.query(asked(20))), fakes.ranked(dense_scores(left)))


def test_nodes_are_replaced(store):
    changed = nodes()[0]
    changed.set_content("another story altogether")
    changed.embedding = fakes.dense("another story altogether")
    store.add([changed])
    assert [node.text for node in store.get_nodes()] == ["another story altogether", *fakes.TEXTS[1:]]


def test_opened_again(client, store):
    again = QdrantVectorStore(store.collection_name, client=client)
    fakes.assert_same_ranking(pairs(again.query(asked(3))), fakes.ranked(dense_scores(), 3))
    racing = QdrantVectorStore(store.collection_name, client=client)
    racing._collection_initialized = False  # as if the collection had been created by another process just now
    racing.add(nodes()[:1])
    assert len(again.get_nodes()) == len(fakes.TEXTS)


def test_clear(client, name):
    store = QdrantVectorStore(name, client=client)
    store.add(nodes())
    assert client.collection_exists(name)
    store.clear()
    assert not client.collection_exists(name)


@pytest.mark.parametrize("idf", [False, True])
def test_hybrid_and_sparse(client, name, idf):
    config = models.SparseVectorParams(modifier=models.Modifier.IDF) if idf else None
    store = hybrid(client, name, sparse_config=config)
    store.add(nodes())
    documents = {node.text: fakes.sparse(node.get_content(metadata_mode=MetadataMode.EMBED)) for node in nodes()}
    query = fakes.sparse_query(QUERY)
    if idf:
        query = fakes.inverse_frequencies(query, list(documents.values()))
    by_words = fakes.ranked({text: fakes.overlap(query, document) for text, document in documents.items()})
    fakes.assert_same_ranking(pairs(store.query(asked(4, mode=VectorStoreQueryMode.SPARSE))), by_words[:4])
    fakes.assert_same_ranking(pairs(store.query(asked(4))), fakes.ranked(dense_scores(), 4))

    nearest = fakes.ranked(dense_scores(), 6)
    scaled = lambda ranking: {text: (score - ranking[-1][1]) / (ranking[0][1] - ranking[-1][1]) for text, score in ranking}
    near, worded = scaled(nearest), scaled(by_words[:5])
    fused = {text: 0.3 * near.get(text, 0) + 0.7 * worded.get(text, 0) for text in near | worded}
    result = store.query(asked(6, mode=VectorStoreQueryMode.HYBRID, sparse_top_k=5, hybrid_top_k=3, alpha=0.3))
    fakes.assert_same_ranking(pairs(result), fakes.ranked(fused, 3))

    animals = [text for text, facts in fakes.LIBRARY if facts["kind"] == "animal"]
    filtered = store.query(asked(20, mode=VectorStoreQueryMode.SPARSE, filters=only(ANIMAL)))
    fakes.assert_same_ranking(pairs(filtered), [pair for pair in by_words if pair[0] in animals])
    store.clear()


def test_names_and_configuration(client, name):
    store = hybrid(
        client, name, dense_vector_name="meaning", sparse_vector_name="words", dense_config=models.VectorParams(size=fakes.SIZE, distance=models.Distance.DOT),
        quantization_config=models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8)),
        shard_number=2, replication_factor=1, write_consistency_factor=1,
    )
    store.add(nodes())
    params = client.get_collection(name).config.params
    assert (params.vectors["meaning"].distance, list(params.sparse_vectors)) == (models.Distance.DOT, ["words"])
    products = {text: fakes.dot(fakes.dense(QUERY), fakes.dense(text)) for text in fakes.TEXTS}
    fakes.assert_same_ranking(pairs(store.query(asked(3))), fakes.ranked(products, 3))
    store.clear()


@pytest.mark.skipif(conftest.LOCAL, reason="local mode knows no shard keys")
def test_custom_sharding(client, name):
    store = QdrantVectorStore(
        name, client=client, sharding_method=models.ShardingMethod.CUSTOM, shard_key_selector_fn=lambda identifier: identifier, shard_keys=["north", "south"],
        shard_number=1,
    )
    store.add(nodes()[:4], shard_identifier="north")
    store.add(nodes()[4:], shard_identifier="south")
    fakes.assert_same_ranking(pairs(store.query(asked(20), shard_identifier="north")), fakes.ranked(dense_scores(fakes.TEXTS[:4])))
    fakes.assert_same_ranking(pairs(store.query(asked(20))), fakes.ranked(dense_scores()))
    assert [node.text for node in store.get_nodes(shard_identifier="south")] == fakes.TEXTS[4:]
    store.delete_nodes(filters=only(MetadataFilter(key="rating", value=3, operator=FilterOperator.LT)), shard_identifier="south")
    assert len(store.get_nodes(shard_identifier="north")) == 4
    assert [node.text for node in store.get_nodes(shard_identifier="south")] == [text for text, facts in fakes.LIBRARY[4:] if facts["rating"] >= 3]
    store.clear()


def test_async(async_client, name):
    async def run():
        store = QdrantVectorStore(
            name, aclient=async_client(), enable_hybrid=True, sparse_doc_fn=words_of_documents, sparse_query_fn=words_of_queries,
        )
        assert await store.async_add(nodes()) == [node.node_id for node in nodes()]
        fakes.assert_same_ranking(pairs(await store.aquery(asked(5))), fakes.ranked(dense_scores(), 5))
        sparse = await store.aquery(asked(5, mode=VectorStoreQueryMode.HYBRID))
        assert len(sparse.nodes) == 5
        assert [node.text for node in await store.aget_nodes(filters=only(ANIMAL))] == [text for text, facts in fakes.LIBRARY if facts["kind"] == "animal"]
        await store.adelete_nodes(node_ids=[nodes()[0].node_id])
        await store.adelete("book-1")
        left = [text for at, text in enumerate(fakes.TEXTS) if at and book(at) != "book-1"]
        assert [node.text for node in await store.aget_nodes()] == left
        await store.aclear()

    asyncio.run(run())
