"""langchain-qdrant 1.1.0, unmodified."""

import uuid

import fakes
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_qdrant import QdrantVectorStore, RetrievalMode, SparseEmbeddings, SparseVector
from langchain_qdrant.qdrant import QdrantVectorStoreError
from qdrant_client import QdrantClient, models


class Dense(Embeddings):
    def embed_documents(self, texts):
        return [fakes.dense(text) for text in texts]

    def embed_query(self, text):
        return fakes.dense(text)


class Sparse(SparseEmbeddings):
    def embed_documents(self, texts):
        return [SparseVector(indices=list(vector), values=list(vector.values())) for vector in map(fakes.sparse, texts)]

    def embed_query(self, text):
        vector = fakes.sparse_query(text)
        return SparseVector(indices=list(vector), values=list(vector.values()))


IDS = [str(uuid.UUID(int=at + 1)) for at in range(len(fakes.TEXTS))]
QUERY = "a fox in the frozen forest"
MODES = list(RetrievalMode)
IDF = {"modifier": models.Modifier.IDF}


def made(options, name, mode=RetrievalMode.DENSE, **more):
    return QdrantVectorStore.from_texts(
        fakes.TEXTS, Dense(), fakes.FACTS, IDS, collection_name=name, retrieval_mode=mode, sparse_embedding=Sparse(), **options, **more
    )


@pytest.fixture
def store(options, name):
    made_store = made(options, name)
    yield made_store
    made_store.client.close()


def dense_scores(texts=fakes.TEXTS, query=QUERY, measure=fakes.cosine):
    return {text: measure(fakes.dense(query), fakes.dense(text)) for text in texts}


def sparse_scores(texts=fakes.TEXTS, query=QUERY):
    return {text: fakes.overlap(fakes.sparse_query(query), fakes.sparse(text)) for text in texts}


def pairs(results):
    return [(document.page_content, score) for document, score in results]


def of_kind(kind):
    return models.Filter(must=[models.FieldCondition(key="metadata.kind", match=models.MatchValue(value=kind))])


def texts_where(test):
    return [text for text, facts in fakes.LIBRARY if test(facts)]


def test_dense(store):
    fakes.assert_same_ranking(pairs(store.similarity_search_with_score(QUERY, k=5)), fakes.ranked(dense_scores(), 5))
    documents = store.similarity_search(QUERY, k=2)
    best = fakes.ranked(dense_scores(), 2)
    assert [one.page_content for one in documents] == [text for text, _ in best]
    for document in documents:
        at = fakes.TEXTS.index(document.page_content)
        assert document.metadata == fakes.FACTS[at] | {"_id": IDS[at], "_collection_name": store.collection_name}


def test_pages(store):
    ranking = [text for text, _ in fakes.ranked(dense_scores())]
    assert [one.page_content for one in store.similarity_search(QUERY, k=4, offset=3)] == ranking[3:7]
    assert [one.page_content for one in store.similarity_search(QUERY, k=4, offset=8)] == ranking[8:]


def test_search_by_vector(store):
    found = store.similarity_search_with_score_by_vector(fakes.dense("dawn at the harbour"), k=3)
    fakes.assert_same_ranking(pairs(found), fakes.ranked(dense_scores(query="dawn at the harbour"), 3))
    assert [one.page_content for one in store.similarity_search_by_vector(fakes.dense("dawn at the harbour"), k=3)] == [text for text, _ in pairs(found)]


@pytest.mark.parametrize("distance, measure", [(models.Distance.DOT, fakes.dot), (models.Distance.EUCLID, fakes.euclid)])
def test_other_distances(options, name, distance, measure):
    store = made(options, name, distance=distance)
    smaller = distance == models.Distance.EUCLID
    fakes.assert_same_ranking(pairs(store.similarity_search_with_score(QUERY, k=6)), fakes.ranked(dense_scores(measure=measure), 6, smaller))
    store.client.close()


def test_sparse(options, name):
    store = made(options, name, RetrievalMode.SPARSE)
    info = store.client.get_collection(name).config.params
    assert not info.vectors and list(info.sparse_vectors) == ["langchain-sparse"]
    found = pairs(store.similarity_search_with_score("old harbour dawn", k=20))
    expected = {text: score for text, score in sparse_scores(query="old harbour dawn").items() if score is not None}
    assert 3 < len(expected) < len(fakes.TEXTS)
    fakes.assert_same_ranking(found, sorted(expected.items(), key=lambda pair: -pair[1]))
    store.client.close()


def test_sparse_with_idf(options, name):
    store = made(options, name, RetrievalMode.SPARSE, sparse_vector_params=IDF)
    query = fakes.inverse_frequencies(fakes.sparse_query(QUERY), [fakes.sparse(text) for text in fakes.TEXTS])
    expected = fakes.ranked({text: fakes.overlap(query, fakes.sparse(text)) for text in fakes.TEXTS})
    fakes.assert_same_ranking(pairs(store.similarity_search_with_score(QUERY, k=20)), expected)
    store.client.close()


def test_hybrid(options, name):
    store = made(options, name, RetrievalMode.HYBRID, sparse_vector_params=IDF)
    query = fakes.inverse_frequencies(fakes.sparse_query(QUERY), [fakes.sparse(text) for text in fakes.TEXTS])
    by_words = fakes.ranked({text: fakes.overlap(query, fakes.sparse(text)) for text in fakes.TEXTS}, 5)
    expected = fakes.rrf(fakes.ranked(dense_scores(), 5), by_words, limit=5)
    fakes.assert_same_ranking(pairs(store.similarity_search_with_score(QUERY, k=5)), expected)
    store.client.close()


def test_hybrid_with_filter_and_dbsf(options, name):
    store = made(options, name, RetrievalMode.HYBRID, sparse_vector_params=IDF)
    animals = texts_where(lambda facts: facts["kind"] == "animal")
    found = pairs(store.similarity_search_with_score(QUERY, k=3, filter=of_kind("animal")))
    assert {text for text, _ in found} == set(animals)
    fused = pairs(store.similarity_search_with_score(QUERY, k=3, filter=of_kind("animal"), hybrid_fusion=models.FusionQuery(fusion=models.Fusion.DBSF)))
    query = fakes.inverse_frequencies(fakes.sparse_query(QUERY), [fakes.sparse(text) for text in fakes.TEXTS])
    expected = {}
    for scores in (dense_scores(animals), {text: fakes.overlap(query, fakes.sparse(text)) for text in animals}):
        held = {text: score for text, score in scores.items() if score is not None}
        mean = sum(held.values()) / len(held)
        deviation = (sum((score - mean) ** 2 for score in held.values()) / (len(held) - 1)) ** 0.5
        for text, score in held.items():
            expected[text] = expected.get(text, 0) + (score - mean + 3 * deviation) / (6 * deviation)
    fakes.assert_same_ranking(fused, fakes.ranked(expected))
    store.client.close()


@pytest.mark.parametrize("diversity", [0.1, 0.5, 0.9])
def test_mmr(store, diversity):
    vectors = {text: fakes.dense(text) for text in fakes.TEXTS}
    for candidates in (4, 8):
        expected = fakes.mmr(fakes.dense(QUERY), vectors, diversity, candidates, 4)
        found = store.max_marginal_relevance_search(QUERY, k=4, fetch_k=candidates, lambda_mult=diversity)
        assert [one.page_content for one in found] == expected
    scored = store.max_marginal_relevance_search_with_score_by_vector(fakes.dense(QUERY), k=4, fetch_k=8, lambda_mult=diversity)
    assert [score for _, score in pairs(scored)] == [fakes.approximately(dense_scores()[text]) for text, _ in pairs(scored)]


def test_mmr_with_filter(store):
    vectors = {text: fakes.dense(text) for text in texts_where(lambda facts: facts["open"])}
    wanted = models.Filter(must=[models.FieldCondition(key="metadata.open", match=models.MatchValue(value=True))])
    found = store.max_marginal_relevance_search(QUERY, k=3, fetch_k=5, lambda_mult=0.6, filter=wanted)
    assert [one.page_content for one in found] == fakes.mmr(fakes.dense(QUERY), vectors, 0.6, 5, 3)


FILTERS = {
    "value": (of_kind("machine"), lambda facts: facts["kind"] == "machine"),
    "array": (models.Filter(must=[models.FieldCondition(key="metadata.tags", match=models.MatchAny(any=["fire", "spring"]))]), lambda facts: {"fire", "spring"} & {*facts["tags"]}),
    "range": (models.Filter(must=[models.FieldCondition(key="metadata.year", range=models.Range(gte=1999, lt=2018))]), lambda facts: 1999 <= facts["year"] < 2018),
    "none of": (models.Filter(must_not=[models.FieldCondition(key="metadata.tags", match=models.MatchValue(value="winter"))]), lambda facts: "winter" not in facts["tags"]),
    "one of": (
        models.Filter(should=[of_kind("machine"), models.FieldCondition(key="metadata.rating", range=models.Range(gt=4.25))]),
        lambda facts: facts["kind"] == "machine" or facts["rating"] > 4.25,
    ),
    "empty": (models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="metadata.tags"))]), lambda facts: not facts["tags"]),
    "nothing": (of_kind("spaceship"), lambda facts: False),
}


@pytest.mark.parametrize("which", FILTERS)
def test_filters(store, which):
    condition, test = FILTERS[which]
    found = pairs(store.similarity_search_with_score(QUERY, k=20, filter=condition))
    fakes.assert_same_ranking(found, fakes.ranked(dense_scores(texts_where(test))))


def test_filter_by_text(store):
    condition = models.Filter(must=[models.FieldCondition(key="page_content", match=models.MatchText(text="Frozen dawn"))])
    assert [one.page_content for one in store.similarity_search(QUERY, k=20, filter=condition)] == ["children skate on the frozen canal at dawn"]


def test_score_threshold(store):
    ranking = fakes.ranked(dense_scores())
    between = (ranking[2][1] + ranking[3][1]) / 2
    assert [one.page_content for one in store.similarity_search(QUERY, k=20, score_threshold=between)] == [text for text, _ in ranking[:3]]
    retriever = store.as_retriever(search_type="similarity_score_threshold", search_kwargs={"k": 20, "score_threshold": (between + 1) / 2})
    assert [one.page_content for one in retriever.invoke(QUERY)] == [text for text, _ in ranking[:3]]


def test_retriever(store):
    retriever = store.as_retriever(search_type="mmr", search_kwargs={"k": 3, "fetch_k": 6, "lambda_mult": 0.5})
    vectors = {text: fakes.dense(text) for text in fakes.TEXTS}
    assert [one.page_content for one in retriever.invoke(QUERY)] == fakes.mmr(fakes.dense(QUERY), vectors, 0.5, 6, 3)


def test_add_and_delete(store):
    extra = [Document(page_content="a fox sleeps", metadata={"kind": "animal"}), Document(page_content="a fox eats", metadata={"kind": "animal"})]
    hexadecimal = [uuid.UUID(int=1000 + at).hex for at in range(2)]
    assert store.add_documents(extra, ids=hexadecimal) == hexadecimal
    texts = [*fakes.TEXTS, "a fox sleeps", "a fox eats"]
    fakes.assert_same_ranking(pairs(store.similarity_search_with_score(QUERY, k=4)), fakes.ranked(dense_scores(texts), 4))
    assert [one.page_content for one in store.get_by_ids(hexadecimal)] == ["a fox sleeps", "a fox eats"]
    assert store.delete([hexadecimal[0], IDS[0]]) is True
    texts = [text for text in texts if text not in ("a fox sleeps", fakes.TEXTS[0])]
    fakes.assert_same_ranking(pairs(store.similarity_search_with_score(QUERY, k=20)), fakes.ranked(dense_scores(texts)))
    assert [one.page_content for one in store.get_by_ids(hexadecimal)] == ["a fox eats"]


def test_integer_ids_and_replacement(options, name):
    store = QdrantVectorStore.from_texts(["one", "two"], Dense(), ids=[1, 2], collection_name=name, **options)
    store.add_texts(["second"], ids=[2])
    assert [(one.metadata["_id"], one.page_content) for one in store.get_by_ids([1, 2])] == [(1, "one"), (2, "second")]
    store.client.close()


def test_many_texts_in_batches(options, name):
    texts = [f"document number {at} of shelf {at % 7}" for at in range(150)]
    store = QdrantVectorStore.from_texts(texts, Dense(), [{"at": at} for at in range(150)], collection_name=name, batch_size=64, **options)
    assert store.client.count(name).count == 150
    assert store.similarity_search("document number 77 of shelf 0", k=1)[0].metadata["at"] == 77
    store.client.close()


@pytest.mark.parametrize("mode", MODES)
def test_from_existing_collection(options, name, mode):
    first = made(options, name, mode, vector_name="words")
    before = first.similarity_search_with_score(QUERY, k=4)
    assert len(before) == 4
    first.client.close()
    existing = {"collection_name": name, "embedding": Dense(), "sparse_embedding": Sparse(), "retrieval_mode": mode, "vector_name": "words"}
    again = QdrantVectorStore.from_existing_collection(**existing, **options)
    fakes.assert_same_ranking(pairs(again.similarity_search_with_score(QUERY, k=4)), pairs(before))
    again.client.close()
    with pytest.raises(QdrantVectorStoreError):
        QdrantVectorStore.from_existing_collection(**existing | {"vector_name": "other", "sparse_vector_name": "other"}, **options)


def test_configuration_is_checked(options, name):
    made(options, name).client.close()
    with pytest.raises(QdrantVectorStoreError, match="similarity|distance|Distance"):
        made(options, name, distance=models.Distance.DOT)
    with pytest.raises(QdrantVectorStoreError):
        made(options, name, RetrievalMode.SPARSE)


def test_recreated(options, name):
    made(options, name).client.close()
    again = QdrantVectorStore.from_texts(["only this"], Dense(), collection_name=name, force_recreate=True, **options)
    assert [one.page_content for one in again.similarity_search("anything", k=9)] == ["only this"]
    again.client.close()


def test_a_client_of_ones_own(options, name):
    made(options, name, collection_create_options={"on_disk_payload": True}, vector_params={"on_disk": True}).client.close()
    with_keys = QdrantClient(**options)
    store = QdrantVectorStore(with_keys, name, Dense(), content_payload_key="page_content", metadata_payload_key="absent")
    assert store.similarity_search(QUERY, k=1)[0].metadata.keys() == {"_id", "_collection_name"}
    with_keys.close()
