"""Embeddings without a model, and what follows from them: rankings computed here, apart from any database.

A word is a direction chosen by its checksum, a text the sum of its words; a sparse text counts its words. So texts with
more words in common are nearer, and every score a test expects can be computed from the texts alone.
"""

import math
import re
import zlib

import numpy as np
import pytest

SIZE = 24


def words(text):
    return re.findall(r"[a-z0-9]+", text.lower())


def checksum(word):
    return zlib.crc32(word.encode()) & 0x7FFFFFFF


def dense(text):
    """The text's vector, of no particular length: distances other than cosine see the difference."""
    total = np.zeros(SIZE)
    for word in words(text):
        total += np.random.default_rng(checksum(word)).normal(size=SIZE)
    return (total / math.sqrt(SIZE)).astype(np.float32).astype(float).tolist()


def sparse(text):
    """Index to weight: how often each word occurs, dampened, in texts of different weight: few scores are equal."""
    counts = {}
    for word in words(text):
        counts[checksum(word)] = counts.get(checksum(word), 0) + 1
    heavy = 1.0 + checksum(text) % 97 / 400
    return {index: heavy * (1.0 + 0.5 * (count - 1)) for index, count in sorted(counts.items())}


def sparse_query(text):
    """Queries weigh a word by its length."""
    return {checksum(word): 1.0 + len(word) / 8 for word in sorted(set(words(text)))}


def cosine(a, b):
    a, b = np.array(a), np.array(b)
    return float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))


def dot(a, b):
    return float(np.array(a) @ np.array(b))


def euclid(a, b):
    return float(np.linalg.norm(np.array(a) - np.array(b)))


def overlap(query, document):
    """The product of two sparse vectors, None where they share no index."""
    shared = query.keys() & document.keys()
    return sum(query[index] * document[index] for index in shared) if shared else None


def inverse_frequencies(query, documents):
    """The query's weights under the modifier `idf` over a corpus of sparse vectors."""
    def idf(index):
        having = sum(index in document for document in documents)
        return math.log((len(documents) - having + 0.5) / (having + 0.5) + 1)

    return {index: weight * idf(index) for index, weight in query.items()}


def ranked(scores, limit=None, smaller_is_better=False):
    """`{key: score}` as a list, best first; keys without a score are left out. Refuses rankings that ties leave open."""
    found = sorted(((key, score) for key, score in scores.items() if score is not None), key=lambda pair: pair[1], reverse=not smaller_is_better)
    for (one, high), (other, low) in zip(found, found[1:]):
        assert abs(high - low) > 1e-5, f"{one} and {other} score the same: choose other texts"
    return found[:limit]


def rrf(*rankings, k=2, weights=None, limit=None):
    """Reciprocal rank fusion of lists of (key, score)."""
    fused = {}
    for ranking, weight in zip(rankings, weights or [1.0] * len(rankings)):
        for position, (key, _) in enumerate(ranking):
            fused[key] = fused.get(key, 0.0) + 1 / ((position + 1) / weight + k - 1)
    found = sorted(fused.items(), key=lambda pair: -pair[1])
    assert limit is None or limit >= len(found) or found[limit - 1][1] - found[limit][1] > 1e-6, "the cut is open: choose other texts"
    return found[:limit]


def mmr(query, vectors, diversity, candidates, limit):
    """Maximal marginal relevance by cosine over the `candidates` nearest: the keys in the order they are picked."""
    pool = [key for key, _ in ranked({key: cosine(query, vector) for key, vector in vectors.items()}, candidates)]
    picked = []
    while pool and len(picked) < limit:
        def gain(key):
            relevance = cosine(query, vectors[key])
            redundancy = max((cosine(vectors[key], vectors[other]) for other in picked), default=0.0)
            return (1 - diversity) * relevance - diversity * redundancy if picked else relevance

        best = max(pool, key=gain)
        pool.remove(best)
        picked.append(best)
    return picked


def assert_same_ranking(found, expected):
    """Lists of (key, score): the same keys in the same order but for equal scores, and the same scores."""
    assert [score for _, score in found] == [approximately(score) for _, score in expected], (found, expected)
    scores = dict(expected)
    assert {key for key, _ in found} == set(scores), (found, expected)
    for key, score in found:
        assert score == approximately(scores[key]), (found, expected)


def approximately(score):
    return pytest.approx(score, rel=1e-4, abs=1e-5)


#: A small library: text, and what is said about it.
LIBRARY = [
    ("the red fox runs over the frozen river", {"kind": "animal", "year": 1998, "rating": 4.5, "tags": ["fox", "winter"], "open": True}),
    ("a grey wolf watches the frozen forest", {"kind": "animal", "year": 2003, "rating": 3.25, "tags": ["wolf", "winter"], "open": False}),
    ("the river floods the old harbour every spring", {"kind": "place", "year": 2010, "rating": 4.0, "tags": ["water", "spring"], "open": True}),
    ("fishermen leave the harbour before dawn", {"kind": "people", "year": 2015, "rating": 2.5, "tags": ["water"], "open": True}),
    ("a library of old maps burned in winter", {"kind": "place", "year": 1987, "rating": 3.75, "tags": ["winter", "fire"], "open": False}),
    ("wolves and foxes share the northern forest", {"kind": "animal", "year": 2021, "rating": 4.75, "tags": ["fox", "wolf"], "open": True}),
    ("engines of the harbour crane rust in salt water", {"kind": "machine", "year": 1975, "rating": 1.5, "tags": ["water", "iron"], "open": False}),
    ("the clock in the station tower stopped at dawn", {"kind": "machine", "year": 1999, "rating": 2.75, "tags": ["iron"], "open": True}),
    ("children skate on the frozen canal at dawn", {"kind": "people", "year": 2018, "rating": 4.25, "tags": ["winter", "water"], "open": True}),
    ("bread and coffee at the station every morning", {"kind": "people", "year": 2022, "rating": 3.5, "tags": [], "open": False}),
]
TEXTS = [text for text, _ in LIBRARY]
FACTS = [facts for _, facts in LIBRARY]
