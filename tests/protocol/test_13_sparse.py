"""PROTOCOL 13: sparse search, IDF, BM25 computed in the server, and text queries."""

import math

import pytest
from qdrant_client import QdrantClient, models
from qdrant_client import grpc as pb

from figures import (
    EPSILON,
    bm25_document,
    bm25_query,
    check,
    check_any_order,
    fsig,
    idf,
    ids,
    murmur3,
    ranked,
    refuses,
    sim,
    ssig,
    token_id,
)
from wire import Part, Start, Refusal, bad_request, refused, wrong_input

RULES = {
    "13.1": "only points that share an index, whatever their score; an empty query finds nothing; negative values",
    "13.2.1 weights": "ln((N - df + 0.5) / (df + 0.5) + 1) of the points with the vector, collection-wide, stored values unchanged",
    "13.2.1 kinds": "it applies to all kinds of queries on the vector",
    "13.2.2 corpus": "params.idf: global or a filter's points, never falling back, apart from the search's filter",
    "13.2.2 refused": "params.idf without the modifier",
    "13.3.1 place": "computed everywhere a sparse vector is accepted",
    "13.3.1 refused": "non-text, other models",
    "13.3.2 option": "options and their defaults",
    "13.3.2 refused": "bad options",
    "13.3.3 document": "token ids and the weights of a stored text, sorted by id",
    "13.3.3 query": "every distinct id weighs 1; IDF comes from the modifier",
    "13.3.4": "the official client sends a bm25 document untouched",
    "13.4 score": "BM25 over the points that have a token in the field, only scores above 0",
    "13.4 length": "13 leading bits of a length count",
    "13.4 refused": "`using` absent, or an index without scoring",
}


def sparse(entries):
    return {"indices": list(entries), "values": list(entries.values())}


# 13.1 Nearest


@pytest.fixture(scope="module")
def plain(rest, make):
    name = make({"d": {"size": 1, "distance": "Dot"}}, sparse_vectors={"s": {}}, shard_number=2)
    vectors = {1: {1: 1.0, 7: 2.0}, 2: {1: -3.0}, 3: {2: 1.0}, 4: {1: 0.5, 2: -0.5, 4294967295: 1.0}, 5: {}}
    rest.put(name, *[(id, {"s": sparse(vector)}) for id, vector in vectors.items()], (6, {"d": [1]}))
    return name


def test_13_1_only_points_that_share_an_index_are_found(wire, plain):
    ask = lambda entries, **more: wire.query(plain, {"query": sparse(entries), "using": "s"} | more)
    check(ask({1: 2.0}), [(1, 2), (4, 1), (2, -6)])
    # 4 scores 0 and is found, 3 shares nothing.
    check(ask({4294967295: 0.0}), [(4, 0)])
    check(ask({1: 1.0, 2: 1.0}), [(3, 1), (1, 1), (4, 0), (2, -3)])
    assert ask({99: 1.0}) == []


def test_13_1_negative_weights_turn_the_order(wire, plain):
    check(wire.query(plain, {"query": sparse({1: -1.0}), "using": "s"}), [(2, 3), (4, -0.5), (1, -1)])
    check(wire.query(plain, {"query": sparse({1: -1.0}), "using": "s", "score_threshold": -0.75}), [(2, 3), (4, -0.5)])


def test_13_1_an_empty_query_finds_nothing(wire, plain):
    assert wire.query(plain, {"query": sparse({}), "using": "s"}) == []


def test_13_1_the_query_may_be_unsorted_and_is_refused_with_an_index_twice(wire, plain):
    check(wire.query(plain, {"query": {"indices": [7, 1], "values": [1, 0.5]}, "using": "s"}), [(1, 2.5), (4, 0.25), (2, -1.5)])
    refusal = Refusal(422, "INVALID_ARGUMENT", Part("indices: Validation error: must be unique"))
    refuses(wire, refusal, plain, {"query": {"indices": [1, 1], "values": [1, 1]}, "using": "s"})


def test_13_1_it_holds_among_the_points_of_prefetches_and_a_filter(wire, plain):
    some = {"must": [{"has_id": [1, 3, 5, 6]}]}
    check(wire.query(plain, {"query": sparse({1: 1.0}), "using": "s", "filter": some}), [(1, 1)])
    check(wire.query(plain, {"prefetch": {"filter": some}, "query": sparse({1: 1.0}), "using": "s"}), [(1, 1)])


# 13.2 IDF

VECTORS = {1: {1: 1.0, 2: 2.0}, 2: {1: 1.0}, 3: {1: 2.0, 3: 1.0}, 4: {2: 1.0}, 5: {3: 0.5, 4: 1.0}}
GROUP = {1: "a", 2: "a", 3: "b", 4: "b", 5: "b", 6: "a"}


@pytest.fixture(scope="module")
def corpus(rest, make):
    """`s` with the modifier, `t` without; point 6 has neither."""
    name = make({"d": {"size": 1, "distance": "Dot"}}, sparse_vectors={"s": {"modifier": "idf"}, "t": {}}, shard_number=2)
    for id, vector in VECTORS.items():
        rest.put(name, (id, {"s": sparse(vector), "t": sparse(vector)}, {"group": GROUP[id]}))
    rest.put(name, (6, {"d": [1]}, {"group": "a"}))
    return name


def weighted(query, members=VECTORS):
    """The query's weights times the idf over these points."""
    having = lambda index: sum(index in VECTORS[id] for id in members)
    return {index: value * idf(len(members), having(index)) for index, value in query.items()}


def found(query, points=VECTORS):
    return ranked({id: sim(None, query, VECTORS[id]) for id in points if query.keys() & VECTORS[id].keys()})


QUERY = {1: 1.0, 2: 0.5, 3: 2.0, 9: 7.0}


def test_13_2_1_weights_come_from_all_points_that_have_the_vector(wire, corpus):
    # N is 5, not 6; df of 1, 2, 3, 4 is 3, 2, 2, 1.
    by_hand = {1: math.log(2.5 / 3.5 + 1), 2: 0.5 * math.log(3.5 / 2.5 + 1), 3: 2 * math.log(3.5 / 2.5 + 1)}
    assert weighted({1: 1.0, 2: 0.5, 3: 2.0}) == pytest.approx(by_hand)
    check(wire.query(corpus, {"query": sparse(QUERY), "using": "s"}), found(weighted(QUERY)))
    check(wire.query(corpus, {"query": sparse(QUERY), "using": "t"}), found(QUERY))


def test_13_2_1_weights_are_of_the_collection_not_of_the_filter(wire, corpus):
    only = {"must": [{"key": "group", "match": {"value": "a"}}]}
    check(wire.query(corpus, {"query": sparse(QUERY), "using": "s", "filter": only}), found(weighted(QUERY), [1, 2]))
    prefetch = {"filter": only}
    check(wire.query(corpus, {"prefetch": prefetch, "query": sparse(QUERY), "using": "s"}), found(weighted(QUERY), [1, 2]))


def test_13_2_1_weights_leave_stored_values_as_they_are(wire, corpus):
    assert wire.vector(corpus, 1)["s"] == {"indices": [1, 2], "values": [1.0, 2.0]}


def test_13_2_1_weights_of_an_index_that_no_point_has_find_nothing(wire, corpus):
    assert wire.query(corpus, {"query": sparse({9: 1.0}), "using": "s"}) == []


def test_13_2_1_weights_follow_every_change(wire, make):
    name = make(None, sparse_vectors={"s": {"modifier": "idf"}})
    wire.put(name, *[(id, {"s": sparse({1: 1.0} | ({2: 1.0} if id < 3 else {}))}) for id in range(1, 5)])
    ask = lambda: wire.query(name, {"query": sparse({2: 1.0}), "using": "s", "limit": 1})[0]["score"]
    assert ask() == pytest.approx(idf(4, 2), rel=1e-6)
    wire.delete(name, {"points": [4]})
    assert ask() == pytest.approx(idf(3, 2), rel=1e-6)
    wire.update_vectors(name, {"points": [{"id": 2, "vector": {"s": sparse({1: 1.0})}}]})
    assert ask() == pytest.approx(idf(3, 1), rel=1e-6)
    wire.delete_vectors(name, {"points": [3], "vector": ["s"]})
    assert ask() == pytest.approx(idf(2, 1), rel=1e-6)


def test_13_2_1_kinds_of_queries_all_weigh_what_they_are_given(wire, corpus):
    p, n = {1: 1.0, 4: 1.0}, {2: 1.0, 3: 0.5}
    wp, wn = weighted(p), weighted(n)
    s = lambda point, example: sim(None, example, point)
    side = lambda v: (s(v, wp) > s(v, wn)) - (s(v, wp) < s(v, wn))
    pair = [{"positive": sparse(p), "negative": sparse(n)}]
    recommend = lambda strategy: {"recommend": {"positive": [sparse(p)], "negative": [sparse(n)], "strategy": strategy}}
    rated = [{"example": sparse(p), "score": 3}, {"example": sparse(n), "score": 1}]
    feedback = {"relevance_feedback": {"target": sparse(n), "feedback": rated, "strategy": {"naive": {"a": 1, "b": 1, "c": 0.5}}}}
    cases = [
        (recommend("best_score"), lambda v: ssig(s(v, wp)) if s(v, wp) > s(v, wn) else -ssig(s(v, wn))),
        (recommend("sum_scores"), lambda v: s(v, wp) - s(v, wn)),
        ({"discover": {"target": sparse(p), "context": pair}}, lambda v: side(v) + ssig(s(v, wp))),
        ({"context": pair}, lambda v: fsig(min(s(v, wp) - s(v, wn) - EPSILON, 0))),
        (feedback, lambda v: s(v, wn) + 2 * 0.5 * (s(v, wp) - s(v, wn))),
    ]
    for query, formula in cases:
        want = {id: formula(vector) for id, vector in VECTORS.items()}
        check_any_order(wire.query(corpus, {"query": query, "using": "s"}), want.items())
    # An average is weighted once it is one query: 2 p - n.
    average = {1: 2.0, 4: 2.0, 2: -1.0, 3: -0.5}
    check(wire.query(corpus, {"query": recommend("average_vector"), "using": "s"}), found(weighted(average)))
    diversified = {"nearest": sparse(p), "mmr": {"diversity": 0.0}}
    check(wire.query(corpus, {"query": diversified, "using": "s"}), found(wp))


def test_13_2_2_corpus_is_global_or_the_points_of_a_filter(wire, corpus):
    ask = lambda scope, **more: wire.query(corpus, {"query": sparse(QUERY), "using": "s", "params": {"idf": scope}} | more)
    group = lambda letter: {"must": [{"key": "group", "match": {"value": letter}}]}
    check(ask("global"), found(weighted(QUERY)))
    # Of group a only 1 and 2 have the vector.
    check(ask({"corpus": group("a")}), found(weighted(QUERY, [1, 2])))
    check(ask({"corpus": group("b")}), found(weighted(QUERY, [3, 4, 5])))
    check(ask({"corpus": {}}), found(weighted(QUERY)))
    # Apart from the search's own filter.
    check(ask({"corpus": group("b")}, filter=group("a")), found(weighted(QUERY, [3, 4, 5]), [1, 2]))


def test_13_2_2_corpus_without_points_weighs_everything_by_ln_2(wire, corpus):
    nothing = {"must": [{"key": "group", "match": {"value": "z"}}]}
    want = found({index: value * math.log(2) for index, value in QUERY.items()})
    for scope in (nothing, {"must": [{"has_id": [6]}]}):
        check(wire.query(corpus, {"query": sparse(QUERY), "using": "s", "params": {"idf": {"corpus": scope}}}), want)


def test_13_2_2_corpus_is_of_its_level(wire, corpus):
    nothing = {"must": [{"has_id": []}]}
    prefetch = {"query": sparse({1: 1.0}), "using": "s", "params": {"idf": {"corpus": nothing}}}
    hits = wire.query(corpus, {"prefetch": prefetch, "query": {"formula": "$score"}})
    check(hits, [(3, 2 * math.log(2)), (2, math.log(2)), (1, math.log(2))])
    check(wire.query(corpus, {"prefetch": prefetch, "query": sparse({1: 1.0}), "using": "s"}), found(weighted({1: 1.0})))


def test_13_2_2_refused_without_the_modifier(wire, corpus):
    refusal = bad_request(Start("search param `idf` requires a sparse vector with the `idf` modifier"))
    for scope in ("global", {"corpus": {"must": [{"has_id": [1]}]}}):
        params = {"params": {"idf": scope}}
        on_sparse = {"query": sparse({1: 1.0}), "using": "t"} | params
        refuses(wire, refusal, corpus, on_sparse, {"query": [1], "using": "d"} | params, {"prefetch": on_sparse, "query": {"fusion": "rrf"}})


# 13.3 BM25 in the server

TEXT = "The quick brown foxes are jumping over the other FOXES"
TOKENS = ["quick", "brown", "fox", "jump", "fox"]
MODELS = ("qdrant/bm25", "Qdrant/BM25", "bm25", "BM25")


def document(text, model="qdrant/bm25", **options):
    return {"text": text, "model": model} | ({"options": options} if options else {})


@pytest.fixture(scope="module")
def texts(rest, make):
    """`t` and `i` (with the modifier) hold weights, `d` is dense. Point 1 is `TEXT`; 2 and 3 are others."""
    name = make({"d": {"size": 1, "distance": "Dot"}}, sparse_vectors={"t": {}, "i": {"modifier": "idf"}}, shard_number=2)
    for id, text in {1: TEXT, 2: "brown bears and brown bats", 3: "a quick note"}.items():
        rest.put(name, (id, {"t": document(text), "i": document(text)}, {"g": id}))
    return name


def weights(wire, name, id, using="t"):
    """A stored sparse vector as a map."""
    vector = wire.vector(name, id)[using]
    assert vector["indices"] == sorted(vector["indices"])
    return dict(zip(vector["indices"], vector["values"]))


def near(want):
    return pytest.approx(want, rel=1e-6)


def test_13_3_3_document_ids_are_hashes_and_weights_saturate(wire, texts):
    # Reference values of MurmurHash3 (x86, 32 bits, seed 0).
    assert (murmur3(b""), murmur3(b"test"), murmur3(b"Hello, world!")) == (0, 0xBA6BD213, 0xC0363E43)
    got = weights(wire, texts, 1)
    assert got == near(bm25_document(TOKENS))
    # Of five tokens `fox` is two: 2 * 2.2 / (2 + 1.2 * (0.25 + 0.75 * 5 / 256)).
    assert got[token_id("fox")] == near(4.4 / (2 + 1.2 * (0.25 + 0.75 * 5 / 256)))
    assert wire.vector(texts, 1)["i"] == wire.vector(texts, 1)["t"]


def test_13_3_3_document_of_stopwords_only_is_empty(wire, texts):
    wire.put(texts, (50, {"t": document("the and of"), "d": [1]}))
    assert wire.vector(texts, 50)["t"] == {"indices": [], "values": []}
    wire.delete(texts, {"points": [50]})


def test_13_3_3_query_tokens_weigh_one_each(wire, texts):
    want = {id: sum(weights(wire, texts, id).get(one, 0) for one in bm25_query(["fox", "brown"])) for id in (1, 2)}
    hits = wire.query(texts, {"query": document("Foxes fox BROWN the foxes"), "using": "t"})
    check(hits, ranked(want))


def test_13_3_3_query_idf_comes_from_the_modifier(wire, texts):
    # N = 3; `fox` is in one, `brown` in two.
    weight = {token_id("fox"): idf(3, 1), token_id("brown"): idf(3, 2)}
    want = {id: sum(weights(wire, texts, id).get(one, 0) * by for one, by in weight.items()) for id in (1, 2)}
    check(wire.query(texts, {"query": document("brown fox"), "using": "i"}), ranked(want))


@pytest.mark.parametrize("model", MODELS)
def test_13_3_1_place_upsert(wire, texts, model):
    wire.upsert(texts, {"points": [{"id": 60, "vector": {"t": document(TEXT, model)}}]})
    assert weights(wire, texts, 60) == near(bm25_document(TOKENS))
    wire.upsert(texts, {"batch": {"ids": [60, 61], "vectors": {"t": [document("red"), document("blue ants", model)]}}})
    assert weights(wire, texts, 60) == near(bm25_document(["red"]))
    assert weights(wire, texts, 61) == near(bm25_document(["blue", "ant"]))
    wire.delete(texts, {"points": [60, 61]})


def test_13_3_1_place_update_vectors(wire, texts):
    wire.put(texts, (62, {"d": [1]}))
    wire.update_vectors(texts, {"points": [{"id": 62, "vector": {"t": document("green ants")}}]})
    assert weights(wire, texts, 62) == near(bm25_document(["green", "ant"]))
    wire.delete(texts, {"points": [62]})


def test_13_3_1_place_batch_of_operations(wire, texts):
    operations = [
        {"upsert": {"points": [{"id": 63, "vector": {"t": document("red")}}]}},
        {"upsert": {"batch": {"ids": [64], "vectors": {"t": [document("blue")]}}}},
        {"update_vectors": {"points": [{"id": 63, "vector": {"i": document("yellow")}}]}},
    ]
    wire.batch(texts, operations)
    assert weights(wire, texts, 63) == near(bm25_document(["red"]))
    assert weights(wire, texts, 63, "i") == near(bm25_document(["yellow"]))
    assert weights(wire, texts, 64) == near(bm25_document(["blue"]))
    wire.delete(texts, {"points": [63, 64]})


def test_13_3_1_place_of_queries(wire, texts):
    text, other = document("quick foxes"), document("bears")
    vector, another = sparse(bm25_query(["quick", "fox"])), sparse(bm25_query(["bear"]))
    forms = lambda a, b: {
        "bare": a,
        "nearest": {"nearest": a},
        "mmr": {"nearest": a, "mmr": {"diversity": 0.2}},
        "average": {"recommend": {"positive": [a], "negative": [b]}},
        "best": {"recommend": {"positive": [a], "negative": [b], "strategy": "best_score"}},
        "sum": {"recommend": {"positive": [a], "negative": [b], "strategy": "sum_scores"}},
        "discover": {"discover": {"target": a, "context": [{"positive": a, "negative": b}]}},
        "context": {"context": [{"positive": b, "negative": a}]},
        "feedback": {
            "relevance_feedback": {
                "target": a,
                "feedback": [{"example": a, "score": 2}, {"example": b, "score": 1}],
                "strategy": {"naive": {"a": 1, "b": 1, "c": 1}},
            }
        },
    }
    of_vectors = forms(vector, another)
    for kind, query in forms(text, other).items():
        for using in ("t", "i"):
            by_text = {"query": query, "using": using}
            by_vector = {"query": of_vectors[kind], "using": using}
            got = wire.query(texts, by_text)
            assert got and got == wire.query(texts, by_vector), kind
            over = lambda leaf: {"prefetch": leaf, "query": {"formula": "$score"}}
            fused = lambda leaf: wire.query(texts, {"prefetch": [leaf, over(leaf)], "query": {"fusion": "rrf"}})
            assert fused(by_text) == fused(by_vector)
            assert wire.query_batch(texts, [by_text, by_vector]) == [got, got]
            grouped = lambda body: wire.query_groups(texts, body | {"group_by": "g"})
            assert grouped(by_text) and grouped(by_text) == grouped(by_vector)


def test_13_3_1_place_of_old_endpoints(wire, texts):
    """The old search takes numbers only; the examples of recommend and discover may be texts."""
    want = wire.query(texts, {"query": {"recommend": {"positive": [document("foxes")]}}, "using": "t"})
    message = pb.RecommendPoints(collection_name=texts, using="t", limit=10)
    message.positive_vectors.append(pb.Vector(document=pb.Document(text="foxes", model="qdrant/bm25")))
    body = {"positive": [document("foxes")], "using": "t", "limit": 10}
    got = wire.either(("POST", f"/collections/{texts}/points/recommend", body), ("Recommend", message))
    found = [(one["id"], one["score"]) for one in got] if wire.transport == "rest" else [(one.id.num, one.score) for one in got.result]
    assert found == [(one["id"], pytest.approx(one["score"])) for one in want] and found


def test_13_3_1_refused_is_what_is_no_text(wire, texts):
    for given in ({"image": "http://x/y.png", "model": "qdrant/bm25"}, {"object": {"a": 1}, "model": "qdrant/bm25"}):
        refusal = wrong_input("Only text input is supported for qdrant/bm25.")
        refuses(wire, refusal, texts, {"query": given, "using": "t"}, {"prefetch": {"query": given, "using": "t"}, "query": {"fusion": "rrf"}})
        with wire.refuses(refusal):
            wire.put(texts, (70, {"t": given}))


def test_13_3_1_refused_are_other_models(wire, texts):
    refusal = Refusal(500, "INTERNAL", Start("Service internal error: InferenceService"))
    given = document("words", "openai/text-embedding-3")
    refuses(wire, refusal, texts, {"query": given, "using": "t"})
    with wire.refuses(refusal):
        wire.put(texts, (70, {"t": given}))
    assert wire.count(texts) == 3


def test_13_3_1_refused_where_the_vector_is_dense(wire, texts):
    refuses(wire, wrong_input(Start("Conversion between sparse and regular vectors failed")), texts, {"query": document("fox"), "using": "d"})


@pytest.mark.parametrize(
    "text, options, tokens",
    [
        (TEXT, {}, TOKENS),
        (TEXT, {"language": "english", "tokenizer": "word", "lowercase": True, "ascii_folding": False}, TOKENS),
        ("The foxes", {"language": "none"}, ["the", "foxes"]),
        ("les chevaux mangeaient", {"language": "french"}, ["cheval", "mang"]),
        ("The foxes", {"stemmer": {"type": "none"}}, ["foxes"]),
        ("The foxes", {"stopwords": {"languages": [], "custom": []}}, ["the", "fox"]),
        ("The red foxes", {"stopwords": {"languages": ["english"], "custom": ["red"]}}, ["fox"]),
        ("The foxes der", {"stopwords": "german"}, ["the", "fox"]),
        ("running foxes", {"stemmer": {"type": "snowball", "language": "german"}}, ["running", "fox"]),
        ("Red red RED", {"lowercase": False, "language": "none"}, ["Red", "red", "RED"]),
        ("açaí Ünder", {"ascii_folding": True, "language": "none"}, ["acai", "under"]),
        ("açaí", {"language": "none"}, ["açaí"]),
        ("a-b c.d e", {"tokenizer": "whitespace", "language": "none"}, ["a-b", "c.d", "e"]),
        ("a-b c.d e", {"language": "none"}, ["a", "b", "c", "d", "e"]),
        ("abc", {"tokenizer": "prefix", "language": "none"}, ["a", "ab", "abc"]),
        ("abcd", {"tokenizer": "prefix", "language": "none", "min_token_len": 2, "max_token_len": 3}, ["ab", "abc"]),
        ("i am öld enough", {"language": "none", "min_token_len": 2, "max_token_len": 3}, ["am", "öld"]),
    ],
    ids=str,
)
def test_13_3_2_option_of_the_pipeline(wire, texts, text, options, tokens):
    wire.put(texts, (80, {"t": document(text, **options)}))
    assert weights(wire, texts, 80) == near(bm25_document(tokens))
    searched = tokens[-1:] if options.get("tokenizer") == "prefix" else set(tokens)
    hits = wire.query(texts, {"query": document(text, **options), "using": "t", "filter": {"must": [{"has_id": [80]}]}})
    stored = weights(wire, texts, 80)
    check(hits, [(80, sum(stored[token_id(token)] for token in searched))])
    wire.delete(texts, {"points": [80]})


@pytest.mark.parametrize(
    "options",
    [{"k": 2.0}, {"k": 0.0}, {"b": 0.0}, {"b": 1.0}, {"avg_len": 4.0}, {"k": 0.7, "b": 0.3, "avg_len": 10}],
    ids=str,
)
def test_13_3_2_option_of_the_weights(wire, texts, options):
    wire.put(texts, (81, {"t": document(TEXT, **options)}))
    assert weights(wire, texts, 81) == near(bm25_document(TOKENS, **options))
    wire.delete(texts, {"points": [81]})


@pytest.mark.parametrize(
    "options",
    [
        {"k": -0.1},
        {"b": -0.1},
        {"b": 1.1},
        {"avg_len": 0},
        {"avg_len": -5.0},
        {"k": "much"},
        {"tokenizer": "letters"},
        {"stemmer": {"type": "snowball", "language": "klingon"}},
        {"stopwords": "klingon"},
        {"lowercase": 3},
    ],
    ids=str,
)
def test_13_3_2_refused_are_bad_options(wire, texts, options):
    refusal = wrong_input(Start("Invalid BM25 config: "))
    refuses(wire, refusal, texts, {"query": document("fox", **options), "using": "t"})
    with wire.refuses(refusal):
        wire.put(texts, (82, {"t": document("fox", **options)}))


def test_13_3_4_the_official_client_needs_no_model_of_its_own(wire, server, texts):
    client = QdrantClient(host="127.0.0.1", port=server.http_port, grpc_port=server.grpc_port, prefer_grpc=wire.transport == "grpc")
    one = models.Document(text=TEXT, model="Qdrant/bm25")
    client.upsert(texts, [models.PointStruct(id=90, vector={"t": one})], wait=True)
    assert weights(wire, texts, 90) == near(bm25_document(TOKENS))
    found = client.query_points(texts, models.Document(text="foxes", model="qdrant/bm25"), using="t").points
    assert [point.id for point in found] == [90, 1]
    wire.delete(texts, {"points": [90]})
    client.close()


# 13.4 Text queries

WORDS = {
    1: "red fox red",
    2: "blue whale sings to the red fox at night",
    3: ["green ant", "red bee and a fly"],
    4: "nothing of it",
    5: "",
    6: 17,
    7: "Red! RED, red; fox?",
}


@pytest.fixture(scope="module")
def library(rest, make):
    name = make(None, shard_number=2)
    rest.create_index(name, "body", {"type": "text", "scoring": True})
    rest.create_index(name, "bare", {"type": "text"})
    for id, words in WORDS.items():
        rest.pay(name, {id: {"body": words, "bare": words, "odd": id % 2 == 1}})
    rest.pay(name, {8: {"other": "red"}})
    return name


def tokens_of(words):
    texts = words if isinstance(words, list) else [words]
    return [token for text in texts if isinstance(text, str) for token in "".join(c if c.isalnum() else " " for c in text).lower().split()]


def text_scores(query, k=1.2, b=0.75):
    documents = {id: tokens_of(words) for id, words in WORDS.items() if tokens_of(words)}
    average = sum(map(len, documents.values())) / len(documents)
    scores = {}
    for id, tokens in documents.items():
        norm = k * (1 - b + b * len(tokens) / average)
        score = 0
        for term in set(query.lower().split()):
            df = sum(term in others for others in documents.values())
            tf = tokens.count(term)
            score += idf(len(documents), df) * tf * (k + 1) / (tf + norm) if tf else 0
        if score > 0:
            scores[id] = score
    return ranked(scores)


def test_13_4_score_of_words_in_both_forms(wire, library):
    for text in ("red", "red fox", "fox RED red", "whale ant nowhere"):
        for query in (text, {"query": text}):
            check(wire.query(library, {"query": {"text": query}, "using": "body"}), text_scores(text))


def test_13_4_score_takes_k_and_b(wire, library):
    for k, b in [(0.5, 0.1), (2.0, 1.0), (0.0, 0.75), (1.2, 0.0)]:
        query = {"text": {"query": "red fox", "scoring": {"bm25": {"k": k, "b": b}}}}
        check_any_order(wire.query(library, {"query": query, "using": "body"}), text_scores("red fox", k, b))
    only_k = {"text": {"query": "red fox", "scoring": {"bm25": {"k": 2.0}}}}
    check(wire.query(library, {"query": only_k, "using": "body"}), text_scores("red fox", k=2.0))


def test_13_4_score_counts_the_whole_collection_whatever_the_filter(wire, library):
    odd = {"must": [{"key": "odd", "match": {"value": True}}]}
    want = [(id, score) for id, score in text_scores("red fox") if id % 2]
    check(wire.query(library, {"query": {"text": "red fox"}, "using": "body", "filter": odd}), want)
    check(wire.query(library, {"prefetch": {"filter": odd}, "query": {"text": "red fox"}, "using": "body"}), want)


def test_13_4_score_of_nothing_is_not_found(wire, library):
    for text in ("nowhere", "", "?!"):
        assert wire.query(library, {"query": {"text": text}, "using": "body"}) == []


def test_13_4_score_pages_and_thresholds(wire, library):
    want = text_scores("red fox")
    check(wire.query(library, {"query": {"text": "red fox"}, "using": "body", "offset": 1, "limit": 2}), want[1:3])
    between = (want[1][1] + want[2][1]) / 2
    check(wire.query(library, {"query": {"text": "red fox"}, "using": "body", "score_threshold": between}), want[:2])
    fused = wire.query(library, {"prefetch": {"query": {"text": "red fox"}, "using": "body"}, "query": {"fusion": "rrf"}})
    check(fused, [(id, 1 / (2 + at)) for at, (id, _) in enumerate(want)])


def test_13_4_score_of_equals_is_by_insertion(wire, make):
    name = make(None)
    wire.create_index(name, "body", {"type": "text", "scoring": True})
    for id in range(1, 6):
        wire.pay(name, {id: {"body": "same words"}})
    assert ids(wire.query(name, {"query": {"text": "words"}, "using": "body"})) == [1, 2, 3, 4, 5]


def test_13_4_score_goes_by_the_index_settings(wire, make):
    name = make(None)
    schema = {"type": "text", "scoring": {"type": "bm25"}, "tokenizer": "word", "stemmer": {"type": "snowball", "language": "english"}}
    wire.create_index(name, "body", schema | {"stopwords": "english"})
    wire.pay(name, {1: {"body": "the foxes"}, 2: {"body": "the the the whales"}})
    # One token each: the lengths are equal.
    check(wire.query(name, {"query": {"text": "fox the"}, "using": "body"}), [(1, idf(2, 1) * 2.2 / (1 + 1.2))])


def test_13_4_length_keeps_thirteen_leading_bits(wire, make):
    name = make(None)
    wire.create_index(name, "body", {"type": "text", "scoring": True})
    lengths = {1: 8191, 2: 8193, 3: 16387}
    wire.pay(name, {id: {"body": "x " + "y " * (length - 1)} for id, length in lengths.items()})
    kept = {1: 8191, 2: 8192, 3: 16384}
    average = sum(kept.values()) / 3
    want = {id: idf(3, 3) * 2.2 / (1 + 1.2 * (0.25 + 0.75 * length / average)) for id, length in kept.items()}
    hits = wire.query(name, {"query": {"text": "x"}, "using": "body"})
    check(hits, ranked(want))
    # The tolerance tells it from lengths kept whole.
    whole = sum(lengths.values()) / 3
    exact = {id: idf(3, 3) * 2.2 / (1 + 1.2 * (0.25 + 0.75 * length / whole)) for id, length in lengths.items()}
    assert want[2] != pytest.approx(exact[2], rel=2e-6, abs=2e-6) or want[3] != pytest.approx(exact[3], rel=2e-6, abs=2e-6)


def test_13_4_refused_without_using_or_scoring(wire, library):
    refuses(wire, bad_request(Part("using")), library, {"query": {"text": "red"}})
    for field in ("bare", "odd", "nowhere"):
        refuses(wire, wrong_input(Start(f"No text index with `scoring` on `{field}`")), library, {"query": {"text": "red"}, "using": field})
    refuses(wire, refused(Part("")), library, {"query": {"text": "red"}, "using": "a..b"})
