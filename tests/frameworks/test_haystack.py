"""qdrant-haystack 13.1.0, unmodified."""

import asyncio
import dataclasses
import math

import conftest
import fakes
import pytest
from haystack.dataclasses import Document, SparseEmbedding
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack_integrations.components.retrievers.qdrant import QdrantEmbeddingRetriever, QdrantHybridRetriever, QdrantSparseEmbeddingRetriever
from haystack_integrations.document_stores.qdrant import QdrantDocumentStore
from qdrant_client import models

QUERY = "a fox in the frozen forest"


def weights(vector):
    return SparseEmbedding(indices=list(vector), values=list(vector.values()))


def document(at, sparse=False, **more):
    text, facts = fakes.LIBRARY[at]
    given = {"id": f"document-{at}", "content": text, "meta": facts | {"when": f"{facts['year']}-05-01T00:00:00"}, "embedding": fakes.dense(text)}
    return Document(**given | ({"sparse_embedding": weights(fakes.sparse(text))} if sparse else {}) | more)


def documents(sparse=False):
    return [document(at, sparse) for at in range(len(fakes.LIBRARY))]


@pytest.fixture
def make(options, name):
    """A function that makes stores on this test's own collection."""
    made = []

    def build(**more):
        made.append(QdrantDocumentStore(index=name, embedding_dim=fakes.SIZE, progress_bar=False, **options | more))
        return made[-1]

    yield build
    for store in made:
        store.close()


@pytest.fixture
def store(make):
    filled = make(return_embedding=True)
    filled.write_documents(documents())
    return filled


@pytest.fixture
def both(make):
    """Dense and sparse."""
    filled = make(use_sparse_embeddings=True, sparse_idf=True)
    filled.write_documents(documents(sparse=True))
    return filled


def contents(found):
    return sorted(one.content for one in found)


def pairs(found):
    return [(one.content, one.score) for one in found]


def dense_scores(texts=fakes.TEXTS, measure=fakes.cosine):
    return {text: measure(fakes.dense(QUERY), fakes.dense(text)) for text in texts}


def sparse_scores(texts=fakes.TEXTS, idf=True):
    query = fakes.sparse_query(QUERY)
    if idf:
        query = fakes.inverse_frequencies(query, [fakes.sparse(text) for text in fakes.TEXTS])
    return {text: fakes.overlap(query, fakes.sparse(text)) for text in texts}


def where(test):
    return [text for text, facts in fakes.LIBRARY if test(facts)]


def compare(field, operator, value):
    return {"field": f"meta.{field}", "operator": operator, "value": value}


def test_documents_come_back_as_written(store):
    found = {one.id: one for one in store.filter_documents()}
    assert len(found) == store.count_documents() == len(fakes.LIBRARY)
    for written in documents():
        length = math.sqrt(sum(component**2 for component in written.embedding))
        assert found[written.id].embedding == pytest.approx([component / length for component in written.embedding], abs=1e-6)
        assert dataclasses.replace(found[written.id], embedding=None, score=None) == dataclasses.replace(written, embedding=None)
    assert [one.content for one in store.get_documents_by_id(["document-3", "nobody", "document-1"])] == [fakes.TEXTS[3], fakes.TEXTS[1]]


def test_policies(store):
    changed = document(0, content="a changed text")
    with pytest.raises(DuplicateDocumentError):
        store.write_documents([changed])
    with pytest.raises(DuplicateDocumentError):
        store.write_documents([document(1), document(2)], policy=DuplicatePolicy.FAIL)
    assert store.write_documents([changed, document(0, id="new")], policy=DuplicatePolicy.SKIP) == 1
    assert store.get_documents_by_id(["document-0"])[0].content == fakes.TEXTS[0]
    assert store.write_documents([changed], policy=DuplicatePolicy.OVERWRITE) == 1
    assert store.get_documents_by_id(["document-0"])[0].content == "a changed text"
    assert store.count_documents() == len(fakes.LIBRARY) + 1
    assert store.write_documents([document(0, id="twice"), document(0, id="twice")], policy=DuplicatePolicy.FAIL) == 1


def test_pages_and_batches(make):
    store = make(write_batch_size=7, scroll_size=6)
    many = [Document(id=f"{at}", content=f"text {at}", meta={"at": at}, embedding=fakes.dense(f"text {at}")) for at in range(40)]
    assert store.write_documents(many) == 40
    assert contents(store.filter_documents()) == contents(many)
    assert contents(store.filter_documents(compare("at", ">=", 20))) == contents(many[20:])


FILTERS = {
    "equal": (compare("kind", "==", "animal"), lambda facts: facts["kind"] == "animal"),
    "equal integer": (compare("year", "==", 1999), lambda facts: facts["year"] == 1999),
    "equal boolean": (compare("open", "==", True), lambda facts: facts["open"]),
    "not equal": (compare("kind", "!=", "animal"), lambda facts: facts["kind"] != "animal"),
    "not equal in an array": (compare("tags", "!=", "winter"), lambda facts: "winter" not in facts["tags"]),
    "in": (compare("kind", "in", ["place", "people"]), lambda facts: facts["kind"] in ("place", "people")),
    "not in": (compare("tags", "not in", ["winter", "water"]), lambda facts: not {"winter", "water"} & {*facts["tags"]}),
    "greater": (compare("year", ">", 2015), lambda facts: facts["year"] > 2015),
    "greater or equal": (compare("rating", ">=", 4.25), lambda facts: facts["rating"] >= 4.25),
    "less": (compare("rating", "<", 2.75), lambda facts: facts["rating"] < 2.75),
    "less or equal": (compare("year", "<=", 1987), lambda facts: facts["year"] <= 1987),
    "later": (compare("when", ">", "2015-05-01T00:00:00"), lambda facts: facts["year"] > 2015),
    "not later": (compare("when", "<=", "2015-05-01"), lambda facts: facts["year"] <= 2015),
    "by content": ({"field": "content", "operator": "==", "value": fakes.TEXTS[4]}, lambda facts: facts["year"] == 1987),
    "and": ({"operator": "AND", "conditions": [compare("kind", "==", "animal"), compare("year", ">", 2000)]}, lambda facts: facts["kind"] == "animal" and facts["year"] > 2000),
    "or": ({"operator": "OR", "conditions": [compare("kind", "==", "animal"), compare("year", ">", 2020)]}, lambda facts: facts["kind"] == "animal" or facts["year"] > 2020),
    "not": ({"operator": "NOT", "conditions": [compare("kind", "==", "animal"), compare("year", ">", 2020)]}, lambda facts: facts["kind"] != "animal" and facts["year"] <= 2020),
    "nested": (
        {"operator": "AND", "conditions": [
            {"operator": "OR", "conditions": [compare("tags", "==", "winter"), compare("tags", "==", "water")]},
            {"operator": "NOT", "conditions": [{"operator": "AND", "conditions": [compare("open", "==", True), compare("rating", ">", 4)]}]},
        ]},
        lambda facts: {"winter", "water"} & {*facts["tags"]} and not (facts["open"] and facts["rating"] > 4),
    ),
    "nothing": (compare("kind", "==", "spaceship"), lambda facts: False),
}


@pytest.mark.parametrize("which", FILTERS)
def test_filters(store, which):
    condition, test = FILTERS[which]
    expected = where(test)
    assert contents(store.filter_documents(condition)) == sorted(expected)
    assert store.count_documents_by_filter(condition) == len(expected)
    found = QdrantEmbeddingRetriever(store, top_k=20).run(fakes.dense(QUERY), filters=condition)["documents"]
    fakes.assert_same_ranking(pairs(found), fakes.ranked(dense_scores(expected)))


def test_embedding_retriever(store):
    ranking = fakes.ranked(dense_scores())
    retriever = QdrantEmbeddingRetriever(store, top_k=4, scale_score=False)
    found = retriever.run(fakes.dense(QUERY), return_embedding=True)["documents"]
    fakes.assert_same_ranking(pairs(found), ranking[:4])
    assert len(found[0].embedding) == fakes.SIZE
    assert retriever.run(fakes.dense(QUERY), return_embedding=False)["documents"][0].embedding is None
    between = (ranking[1][1] + ranking[2][1]) / 2
    fakes.assert_same_ranking(pairs(retriever.run(fakes.dense(QUERY), score_threshold=between)["documents"]), ranking[:2])
    scaled = retriever.run(fakes.dense(QUERY), scale_score=True)["documents"]
    fakes.assert_same_ranking(pairs(scaled), [(text, (score + 1) / 2) for text, score in ranking[:4]])


@pytest.mark.parametrize("similarity, measure", [("dot_product", fakes.dot), ("l2", fakes.euclid)])
def test_similarities(make, similarity, measure):
    store = make(similarity=similarity)
    store.write_documents(documents())
    found = QdrantEmbeddingRetriever(store, top_k=20, scale_score=False).run(fakes.dense(QUERY))["documents"]
    fakes.assert_same_ranking(pairs(found), fakes.ranked(dense_scores(measure=measure), smaller_is_better=similarity == "l2"))


def expected_groups(ranking, size, groups):
    """By kind: the groups in order of their best, flattened."""
    kinds = {}
    for text, score in ranking:
        kinds.setdefault(fakes.FACTS[fakes.TEXTS.index(text)]["kind"], []).append((text, score))
    return [pair for members in list(kinds.values())[:groups] for pair in members[:size]]


@pytest.mark.parametrize("sparse", [False, True])
def test_groups(make, sparse):
    store = make(use_sparse_embeddings=sparse)
    store.write_documents(documents(sparse))
    expected = expected_groups(fakes.ranked(dense_scores()), 2, 3)
    retriever = QdrantEmbeddingRetriever(store, scale_score=False)
    found = retriever.run(fakes.dense(QUERY), top_k=3, group_by="meta.kind", group_size=2)["documents"]
    assert pairs(found) == [(text, fakes.approximately(score)) for text, score in expected]


def test_sparse_retriever(both):
    ranking = fakes.ranked(sparse_scores())
    retriever = QdrantSparseEmbeddingRetriever(both, top_k=20, scale_score=False)
    found = retriever.run(weights(fakes.sparse_query(QUERY)), return_embedding=True)["documents"]
    fakes.assert_same_ranking(pairs(found), ranking)
    expected = fakes.sparse(found[0].content)
    assert found[0].sparse_embedding.indices == list(expected)
    assert found[0].sparse_embedding.values == pytest.approx(list(expected.values()))
    assert found[0].embedding is not None
    filtered = retriever.run(weights(fakes.sparse_query(QUERY)), filters=compare("kind", "==", "animal"))["documents"]
    animals = where(lambda facts: facts["kind"] == "animal")
    fakes.assert_same_ranking(pairs(filtered), [pair for pair in ranking if pair[0] in animals])
    between = (ranking[1][1] + ranking[2][1]) / 2
    fakes.assert_same_ranking(pairs(retriever.run(weights(fakes.sparse_query(QUERY)), score_threshold=between)["documents"]), ranking[:2])
    grouped = retriever.run(weights(fakes.sparse_query(QUERY)), top_k=2, group_by="meta.kind", group_size=2)["documents"]
    assert pairs(grouped) == [(text, fakes.approximately(score)) for text, score in expected_groups(ranking, 2, 2)]


def test_sparse_without_idf(make):
    store = make(use_sparse_embeddings=True)
    store.write_documents(documents(sparse=True))
    found = QdrantSparseEmbeddingRetriever(store, top_k=20, scale_score=False).run(weights(fakes.sparse_query(QUERY)))["documents"]
    fakes.assert_same_ranking(pairs(found), fakes.ranked(sparse_scores(idf=False)))


def test_hybrid_retriever(both):
    by_words, by_meaning = fakes.ranked(sparse_scores(), 10), fakes.ranked(dense_scores(), 10)
    run = lambda **more: pairs(QdrantHybridRetriever(both).run(fakes.dense(QUERY), weights(fakes.sparse_query(QUERY)), **more)["documents"])
    fakes.assert_same_ranking(run(top_k=20), fakes.rrf(by_words, by_meaning))
    fused = fakes.rrf(by_words, by_meaning, k=7, weights=[3.0, 0.75], limit=4)
    fakes.assert_same_ranking(run(top_k=4, rrf_k=7, rrf_weights=[3.0, 0.75]), fused)
    animals = where(lambda facts: facts["kind"] == "animal")
    filtered = fakes.rrf(*([pair for pair in ranking if pair[0] in animals] for ranking in (by_words, by_meaning)), k=3)
    fakes.assert_same_ranking(run(top_k=20, filters=compare("kind", "==", "animal"), rrf_k=3), filtered)
    threshold = (fused[1][1] + fused[2][1]) / 2
    fakes.assert_same_ranking(run(top_k=9, rrf_k=7, rrf_weights=[3.0, 0.75], score_threshold=threshold), fused[:2])
    grouped = run(top_k=2, group_by="meta.kind", group_size=2, rrf_k=7, rrf_weights=[3.0, 0.75])
    assert [score for _, score in grouped] == [fakes.approximately(score) for _, score in expected_groups(fakes.rrf(by_words, by_meaning, k=7, weights=[3.0, 0.75]), 2, 2)]


def test_delete(store):
    store.delete_documents(["document-1", "nobody"])
    assert contents(store.filter_documents()) == contents(document(at) for at in range(10) if at != 1)
    assert store.delete_by_filter(compare("kind", "==", "people")) == 3
    left = where(lambda facts: facts["kind"] != "people" and facts["year"] != 2003)
    assert contents(store.filter_documents()) == sorted(left)
    store.delete_all_documents()
    assert store.count_documents() == 0
    store.write_documents(documents())
    assert store.count_documents() == len(fakes.LIBRARY)


def test_delete_by_recreating(make):
    store = make()
    store.write_documents(documents())
    store.delete_all_documents(recreate_index=True)
    assert store.count_documents() == 0
    store.write_documents(documents())
    found = QdrantEmbeddingRetriever(store, scale_score=False).run(fakes.dense(QUERY), top_k=3)["documents"]
    fakes.assert_same_ranking(pairs(found), fakes.ranked(dense_scores(), 3))


def test_update(both):
    assert both.update_by_filter(compare("kind", "==", "place"), {"visited": True, "rating": 5}) == 2
    changed = both.filter_documents(compare("visited", "==", True))
    assert contents(changed) == sorted(where(lambda facts: facts["kind"] == "place"))
    assert all(one.meta["rating"] == 5 and one.meta["kind"] == "place" for one in changed)
    found = QdrantSparseEmbeddingRetriever(both, top_k=20, scale_score=False).run(weights(fakes.sparse_query(QUERY)))["documents"]
    fakes.assert_same_ranking(pairs(found), fakes.ranked(sparse_scores()))


def test_facts_about_facts(make):
    fields = [{"field_name": "meta.kind", "field_schema": "keyword"}, {"field_name": "meta.year", "field_schema": "integer"}]
    store = make(payload_fields_to_index=fields, recreate_index=True)
    store.write_documents(documents())
    if conftest.LOCAL:
        assert store.get_metadata_fields_info()["year"] == {"type": "long"}
    else:
        kinds = {field: info["type"].rsplit(".")[-1].lower() for field, info in store.get_metadata_fields_info().items()}
        assert kinds == {"kind": "keyword", "year": "integer"}
    assert store.get_metadata_field_min_max("year") == {"min": 1975, "max": 2022}
    assert store.count_unique_metadata_by_filter(compare("open", "==", True), ["kind"]) == {"kind": 4}
    assert store.get_metadata_field_unique_values("kind") == (["animal", "machine", "people", "place"], 4)


def test_configuration(make):
    # As an object: the client spells a dictionary for REST only.
    codes = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8))
    store = make(
        on_disk=True, shard_number=2, replication_factor=1, write_consistency_factor=1, on_disk_payload=True, hnsw_config={"m": 8}, wal_config={"wal_capacity_mb": 32},
        optimizers_config={"indexing_threshold": 20000}, quantization_config=codes, wait_result_from_api=True,
    )
    store.write_documents(documents())
    assert store.count_documents() == len(fakes.LIBRARY)
    store.close()
    with pytest.raises(ValueError):
        make(similarity="dot_product").count_documents() or make(similarity="dot_product").write_documents(documents())


def test_async(make):
    async def run():
        store = make()
        assert await store.write_documents_async(documents()) == len(fakes.LIBRARY)
        assert await store.count_documents_async() == len(fakes.LIBRARY)
        found = (await QdrantEmbeddingRetriever(store, scale_score=False).run_async(fakes.dense(QUERY), top_k=3))["documents"]
        fakes.assert_same_ranking(pairs(found), fakes.ranked(dense_scores(), 3))
        await store.delete_documents_async(["document-0"])
        assert len(await store.filter_documents_async()) == len(fakes.LIBRARY) - 1

    asyncio.run(run())
