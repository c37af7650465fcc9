"""Whether the outcome of one operation on the server is one the oracle allows.

Exact: ids, order by id, counts, payloads (an integer stays an integer), which vectors are present, success or failure.
With tolerance: scores (relative 1e-4, absolute 1e-6) and vector components (1e-5).

Equal scores may come in any order, also where the list is cut. So a ranking is not compared with the oracle's list but
with the oracle's score of every point: position i of the answer must carry the i-th best score, and the score that the
oracle gives that very point. That is exact, and blind only to the order among equals.
"""

import math

import ops

SCORE_RELATIVE, SCORE_ABSOLUTE = 1e-4, 1e-6
VECTOR_TOLERANCE = 1e-5
#: Distance from a threshold within which rounding may decide.
THRESHOLD_SLACK = 1e-5
ALL = 1_000_000


def difference(op, oracle, outcome, over_grpc):
    """None, or what is wrong with `outcome`. Runs `op` on the oracle."""
    if op["op"] == "query":
        return query_difference(op, oracle, outcome, over_grpc)
    if op["op"] == "query_batch":
        return query_batch_difference(op, oracle, outcome, over_grpc)
    expected = ops.run_local(oracle, op)
    if wrong := failure_difference(op, expected, outcome):
        return wrong
    if expected.failed:
        return None
    if op["op"] == "retrieve":
        expected.value = once_each(expected.value)
    return value_difference(expected.value, outcome.value, over_grpc, "result")


def failure_difference(op, expected, outcome):
    if expected.failed and not outcome.failed:
        return f"the oracle refuses ({expected.text}), the server answers {outcome.value!r:.300}"
    if outcome.failed and not expected.failed:
        return f"the server refuses ({outcome.error}: {outcome.text}), the oracle answers {expected.value!r:.300}"
    if expected.failed and (op.get("name") == "nowhere" or "lookup_from" in op):
        return None  # there may be several mistakes, and which of them is reported is free
    if expected.failed and outcome.error != 0 and (expected.error == 404) != (outcome.error == 404):
        return f"another class of error: oracle {expected.error} ({expected.text}), server {outcome.error} ({outcome.text})"
    return None


def once_each(records):
    """The protocol returns a point that was asked for twice once, local mode twice."""
    return list({one["id"]: one for one in records}.values())


def query_difference(op, oracle, outcome, over_grpc):
    ranking = op
    if op["limit"] >= 1:
        ranking = op | {"limit": ALL, "offset": 0, "with_payload": False, "with_vectors": False}
    expected = ops.run_local(oracle, ranking)
    attributes = op | {"op": "retrieve", "ids": []}
    selectors = ops.run_local(oracle, attributes)  # the selectors alone, which may be what is wrong
    if selectors.failed and not expected.failed:
        expected = selectors
    if wrong := failure_difference(op, expected, outcome):
        return wrong
    if expected.failed:
        return None
    hits, offset = outcome.value, op.get("offset") or 0
    if wrong := ranking_difference(op, expected.value, hits, offset):
        return None if rounding_decides(op, ranking, oracle) else wrong
    stored = ops.run_local(oracle, op | {"op": "retrieve", "ids": [hit["id"] for hit in hits]})
    if stored.failed:
        return f"the oracle cannot return the answer's points: {stored.text}"
    return value_difference(stored.value, [without_score(hit) for hit in hits], over_grpc, "points")


def without_score(hit):
    return {name: value for name, value in hit.items() if name != "score"}


def ranking_difference(op, ranked, hits, offset):
    window = ranked[offset : offset + op["limit"]]
    if len(window) != len(hits):
        return f"{len(hits)} hits instead of {len(window)}: {brief(hits)} instead of {brief(window)}"
    if op.get("query") is None:
        got, want = [hit["id"] for hit in hits], [hit["id"] for hit in window]
        return None if got == want else f"order by id: {got} instead of {want}"
    scores = {hit["id"]: hit["score"] for hit in ranked}
    if len({hit["id"] for hit in hits}) != len(hits):
        return f"a point comes twice: {brief(hits)}"
    for at, hit in enumerate(hits):
        if hit["id"] not in scores:
            return f"{hit['id']} (score {hit['score']}) is in the answer and must not be"
        if not close(hit["score"], scores[hit["id"]]):
            return f"score of {hit['id']} is {hit['score']} instead of {scores[hit['id']]}"
        if not close(hit["score"], window[at]["score"]):
            return f"position {at} has score {hit['score']} instead of {window[at]['score']}: {brief(hits)} instead of {brief(window)}"
    return None


def rounding_decides(op, ranking, oracle):
    """Whether some score is the threshold but for rounding, so that no answer can be called wrong.

    Only in operations marked `inexact` (cosine, or components that are no small integers): elsewhere scores are exact
    and so is the threshold.
    """
    threshold = op.get("score_threshold")
    if threshold is None or not op.get("inexact"):
        return False
    everything = ops.run_local(oracle, ranking | {"score_threshold": None})
    return any(abs(hit["score"] - threshold) <= THRESHOLD_SLACK for hit in everything.value or [])


def query_batch_difference(op, oracle, outcome, over_grpc):
    singles = [{"op": "query", "name": op["name"]} | one for one in op["searches"]]
    if outcome.failed:
        if any(ops.run_local(oracle, single).failed for single in singles):
            return None
        return f"the server refuses the batch ({outcome.error}: {outcome.text}), the oracle every one of its searches not"
    if len(outcome.value) != len(singles):
        return f"{len(outcome.value)} answers for {len(singles)} searches"
    for at, (single, hits) in enumerate(zip(singles, outcome.value)):
        if wrong := query_difference(single, oracle, ops.Outcome(hits), over_grpc):
            return f"search {at}: {wrong}"
    return None


def close(got, want):
    return math.isclose(got, want, rel_tol=SCORE_RELATIVE, abs_tol=SCORE_ABSOLUTE)


def brief(hits):
    return [(hit["id"], round(hit["score"], 6)) for hit in hits[:12]]


def value_difference(want, got, over_grpc, path):
    """Exact, but for vector components."""
    if path.endswith(".vector"):
        return vector_difference(want, got, over_grpc, path)
    if path.endswith(".payload") and over_grpc and not want and not got:
        return None  # protobuf maps do not tell an empty payload from none
    if type(want) is not type(got):
        return f"{path}: {got!r} instead of {want!r}"
    if isinstance(want, dict):
        if want.keys() != got.keys():
            return f"{path}: keys {sorted(got)} instead of {sorted(want)}; {got!r:.400} instead of {want!r:.400}"
        pairs = ((f"{path}.{key}", want[key], got[key]) for key in want)
    elif isinstance(want, list):
        if len(want) != len(got):
            return f"{path}: {len(got)} elements instead of {len(want)}: {got!r:.400} instead of {want!r:.400}"
        pairs = ((f"{path}[{at}]", a, b) for at, (a, b) in enumerate(zip(want, got)))
    else:
        return None if want == got else f"{path}: {got!r} instead of {want!r}"
    for where, a, b in pairs:
        if wrong := value_difference(a, b, over_grpc, where):
            return wrong
    return None


def vector_difference(want, got, over_grpc, path):
    if over_grpc and not want and not got:
        return None  # as for payloads
    if isinstance(want, dict) and isinstance(got, dict) and want.keys() == got.keys():
        return next((wrong for name in want if (wrong := vector_difference(want[name], got[name], over_grpc, f"{path}[{name!r}]"))), None)
    if isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        if all(math.isclose(a, b, rel_tol=VECTOR_TOLERANCE, abs_tol=VECTOR_TOLERANCE) for a, b in zip(want, got)):
            return None
    elif want is None and got is None:
        return None
    return f"{path}: {got!r} instead of {want!r}"
