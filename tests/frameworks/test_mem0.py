"""The vector store of mem0ai 2.2.1, unmodified; the encoder of its keyword search is replaced, for it needs a model."""

import uuid

import conftest
import fakes
import numpy as np
import pytest
from mem0.vector_stores.qdrant import Qdrant
from qdrant_client import models

QUERY = "a fox in the frozen forest"
IDS = [str(uuid.UUID(int=at + 1)) for at in range(len(fakes.TEXTS))]


class Encoder:
    """As fastembed's: texts to objects with two arrays."""

    class Vector:
        def __init__(self, vector):
            self.indices, self.values = np.array(list(vector)), np.array(list(vector.values()))

    def embed(self, texts):
        return (self.Vector(fakes.sparse(text)) for text in texts)


def memory(at):
    text, facts = fakes.LIBRARY[at]
    return facts | {"data": text, "user_id": ["ann", "bob"][at % 2], "run_id": f"run-{at % 3}", "created_at": f"{facts['year']}-03-01T12:00:00+00:00"}


@pytest.fixture
def store(client, name):
    made = Qdrant(name, fakes.SIZE, client=client)
    made._bm25_encoder = Encoder()
    made.insert([fakes.dense(text) for text in fakes.TEXTS], [memory(at) for at in range(len(fakes.TEXTS))], IDS)
    yield made
    made.delete_col()


def pairs(points):
    return [(point.payload["data"], point.score) for point in points]


def dense_scores(texts=fakes.TEXTS, query=QUERY):
    return {text: fakes.cosine(fakes.dense(query), fakes.dense(text)) for text in texts}


def where(test):
    return [fakes.TEXTS[at] for at in range(len(fakes.TEXTS)) if test(memory(at))]


def test_collection(client, store):
    params = store.col_info().config.params
    assert params.vectors.size == fakes.SIZE and params.sparse_vectors["bm25"].modifier == models.Modifier.IDF
    assert store.collection_name in [one.name for one in store.list_cols().collections]
    if not conftest.LOCAL:
        schema = {field: (info.data_type, info.points) for field, info in store.col_info().payload_schema.items()}
        assert schema == {"user_id": ("keyword", 10), "run_id": ("keyword", 10), "agent_id": ("keyword", 0), "actor_id": ("keyword", 0)}
    again = Qdrant(store.collection_name, fakes.SIZE, client=client)
    assert again._has_bm25_slot


def test_search(store):
    fakes.assert_same_ranking(pairs(store.search(QUERY, fakes.dense(QUERY), top_k=4)), fakes.ranked(dense_scores(), 4))
    queries = [QUERY, "harbour at dawn", "old maps"]
    batches = store.search_batch(queries, [fakes.dense(query) for query in queries], top_k=3)
    for query, points in zip(queries, batches, strict=True):
        fakes.assert_same_ranking(pairs(points), fakes.ranked(dense_scores(query=query), 3))


def test_keyword_search(store):
    query = fakes.inverse_frequencies(fakes.sparse(QUERY), [fakes.sparse(text) for text in fakes.TEXTS])
    expected = fakes.ranked({text: fakes.overlap(query, fakes.sparse(text)) for text in fakes.TEXTS})
    fakes.assert_same_ranking(pairs(store.keyword_search(QUERY, top_k=20)), expected)
    of_ann = where(lambda one: one["user_id"] == "ann")
    fakes.assert_same_ranking(pairs(store.keyword_search(QUERY, top_k=20, filters={"user_id": "ann"})), [pair for pair in expected if pair[0] in of_ann])


FILTERS = {
    "equal": ({"user_id": "ann"}, lambda one: one["user_id"] == "ann"),
    "several": ({"user_id": "ann", "run_id": "run-0"}, lambda one: one["user_id"] == "ann" and one["run_id"] == "run-0"),
    "eq": ({"kind": {"eq": "animal"}}, lambda one: one["kind"] == "animal"),
    "ne": ({"kind": {"ne": "animal"}}, lambda one: one["kind"] != "animal"),
    "in": ({"kind": {"in": ["animal", "place"]}}, lambda one: one["kind"] in ("animal", "place")),
    "list": ({"kind": ["animal", "place"]}, lambda one: one["kind"] in ("animal", "place")),
    "nin": ({"kind": {"nin": ["animal", "place"]}}, lambda one: one["kind"] not in ("animal", "place")),
    "range": ({"year": {"gte": 1998, "lt": 2015}}, lambda one: 1998 <= one["year"] < 2015),
    "datetime": ({"created_at": {"gt": "2003-03-01T12:00:00Z", "lte": "2018-03-01"}}, lambda one: 2003 < one["year"] < 2018),
    "contains": ({"data": {"contains": "harbour"}}, lambda one: "harbour" in one["data"]),
    "wildcard": ({"kind": "*", "user_id": "bob"}, lambda one: one["user_id"] == "bob"),
    "and or not": (
        {"AND": [{"OR": [{"kind": "animal"}, {"year": {"gt": 2016}}]}, {"NOT": [{"user_id": "bob"}]}]},
        lambda one: (one["kind"] == "animal" or one["year"] > 2016) and one["user_id"] != "bob",
    ),
    "dollars": ({"$or": [{"kind": "animal"}, {"kind": "place"}], "$not": [{"open": True}]}, lambda one: one["kind"] in ("animal", "place") and not one["open"]),
}


@pytest.mark.parametrize("which", FILTERS)
def test_filters(store, which):
    condition, test = FILTERS[which]
    expected = where(test)
    assert 0 < len(expected) < len(fakes.TEXTS)
    fakes.assert_same_ranking(pairs(store.search(QUERY, fakes.dense(QUERY), top_k=20, filters=condition)), fakes.ranked(dense_scores(expected)))
    listed, _ = store.list(filters=condition)
    assert [point.payload["data"] for point in listed] == expected


def test_get_update_delete(store):
    assert store.get(IDS[2]).payload == memory(2)
    assert store.get(str(uuid.UUID(int=99))) is None
    store.update(IDS[2], payload={"data": "only the payload", "kind": None})
    assert store.get(IDS[2]).payload == {key: value for key, value in memory(2).items() if key != "kind"} | {"data": "only the payload"}
    store.update(IDS[3], vector=fakes.dense(QUERY))
    best = store.search(QUERY, fakes.dense(QUERY), top_k=1)[0]
    assert (best.id, best.score, best.payload) == (IDS[3], fakes.approximately(1.0), memory(3))
    store.update(IDS[4], vector=fakes.dense("zebra crossing"), payload={"data": "zebra crossing"})
    assert [point.id for point in store.keyword_search("zebra")] == [IDS[4]]
    store.delete(IDS[4])
    assert store.get(IDS[4]) is None and store.keyword_search("zebra") == []
    assert len(store.list(top_k=100)[0]) == len(IDS) - 1


def test_reset(store):
    store.reset()
    assert store.list()[0] == []
    store.insert([fakes.dense("hello")], [{"data": "hello"}], [7])
    assert store.search("hello", fakes.dense("hello"))[0].id == 7


def test_ids_of_its_own(client, name):
    store = Qdrant(name, fakes.SIZE, client=client)
    store._bm25_encoder = Encoder()
    store.insert([fakes.dense("a"), fakes.dense("b")])
    assert [point.id for point in store.list()[0]] == [0, 1]
    store.delete_col()
