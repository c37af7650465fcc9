"""What the protocol's formulas give, worked out in a few lines of their own: the tests' second opinion."""

import math

import numpy as np
import pytest

from wire import invalid

EPSILON = 1.1920929e-7
#: Scores are f32 on the server.
RELATIVE = 2e-6
ABSOLUTE = 2e-6


def sim(metric, a, b):
    """PROTOCOL 3.1: larger is better, whatever the metric. A list of lists is a multivector, `a` the query; a dict is sparse."""
    if isinstance(a, dict):
        return sum(value * b[index] for index, value in a.items() if index in b)
    a, b = np.asarray(a, float), np.asarray(b, float)
    if a.ndim == 2:
        return sum(max(sim(metric, row, stored) for stored in b) for row in a)
    if metric == "Cosine":
        return float(unit(a) @ unit(b))
    if metric == "Dot":
        return float(a @ b)
    if metric == "Euclid":
        return -float(((a - b) ** 2).sum())
    return -float(abs(a - b).sum())


def unit(a):
    """Of length one; zero stays."""
    a = np.asarray(a, float)
    length = math.sqrt(float(a @ a))
    return a / length if length else a


def shown(metric, similarity):
    """What a plain nearest search shows of a similarity."""
    return {"Euclid": math.sqrt(abs(similarity)), "Manhattan": abs(similarity)}.get(metric, similarity)


def larger_is_better(metric):
    return metric in ("Dot", "Cosine")


def ssig(x):
    return x if math.isinf(x) else 0.5 * (x / (1 + abs(x)) + 1)


def fsig(x):
    return x if math.isinf(x) else x / (1 + abs(x))


def idf(points, having):
    """PROTOCOL 13.2."""
    return math.log((points - having + 0.5) / (having + 0.5) + 1)


def ranked(scores, reverse=True):
    """(id, score) pairs of a map, best first; ties as PROTOCOL 3.2 has them."""
    return sorted(scores.items(), key=lambda item: (item[1], item[0]), reverse=reverse)


def pairs(hits):
    return [(hit["id"], hit["score"]) for hit in hits]


def ids(hits):
    return [hit["id"] for hit in hits]


def check(hits, want):
    """Exactly these (id, score), in this order."""
    want = list(want)
    assert ids(hits) == [id for id, _ in want], pairs(hits)
    assert [hit["score"] for hit in hits] == pytest.approx([score for _, score in want], rel=RELATIVE, abs=ABSOLUTE)


def check_any_order(hits, want):
    """Exactly these (id, score); equal scores in any order."""
    got, want = dict(pairs(hits)), dict(want)
    assert len(hits) == len(got) and got.keys() == want.keys(), pairs(hits)
    assert got == pytest.approx(want, rel=RELATIVE, abs=ABSOLUTE)


def refuses(wire, refusal, name, *bodies):
    """Each of these queries is refused like this."""
    for body in bodies:
        with wire.refuses(refusal):
            wire.query(name, body)


def invalid_query(failure, grpc_failure=None):
    """A failed field of a query; REST calls the body's root `internal`."""
    return invalid(f"[internal.{failure}]", f"[{grpc_failure or failure}]")


def murmur3(data):
    """MurmurHash3_x86_32 with seed 0."""
    rotated = lambda x, r: (x << r | x >> (32 - r)) & 0xFFFFFFFF
    mixed = lambda block: rotated(block * 0xCC9E2D51 & 0xFFFFFFFF, 15) * 0x1B873593 & 0xFFFFFFFF
    hash = 0
    whole = len(data) // 4 * 4
    for at in range(0, whole, 4):
        hash = (rotated(hash ^ mixed(int.from_bytes(data[at : at + 4], "little")), 13) * 5 + 0xE6546B64) & 0xFFFFFFFF
    if tail := data[whole:]:
        hash ^= mixed(int.from_bytes(tail, "little"))
    hash ^= len(data)
    hash = (hash ^ hash >> 16) * 0x85EBCA6B & 0xFFFFFFFF
    hash = (hash ^ hash >> 13) * 0xC2B2AE35 & 0xFFFFFFFF
    return hash ^ hash >> 16


def token_id(token):
    """PROTOCOL 13.3: the absolute value of the hash as a signed number."""
    hash = murmur3(token.encode())
    return abs(hash - (1 << 32) if hash >= 1 << 31 else hash)


def bm25_document(tokens, k=1.2, b=0.75, avg_len=256):
    """Weights of a stored text, by id, from its tokens after the pipeline."""
    norm = k * (1 - b + b * len(tokens) / avg_len)
    return {token_id(token): tokens.count(token) * (k + 1) / (tokens.count(token) + norm) for token in sorted(set(tokens))}


def bm25_query(tokens):
    return {token_id(token): 1.0 for token in tokens}
