"""Whether the outcome of one operation on the server is one the oracle allows.

Exact: ids, order, counts, payloads (an integer stays an integer), which vectors are present, success or failure. With
tolerance: scores (relative 1e-4, absolute 1e-6) and vector components (1e-5).

Where the protocol fixes the order of equal scores and they are equal in any arithmetic (`watch.is_exact`), the order of
ids must be the oracle's, but for those that the limit parts from their equals. Elsewhere equal scores may come in any order, also where the list is cut: position i of the
answer must carry the i-th best score, and the score that the oracle gives that very point. That is exact, and blind only
to the order among equals. Answers that may hang on rounding (`watch.doubts`) are counted in `left_out`.
"""

import math

import ops
import protocol

SCORE_RELATIVE, SCORE_ABSOLUTE = 1e-4, 1e-6
VECTOR_TOLERANCE = 1e-5
ALL = protocol.ALL

#: Reads that were compared, and those of them where rounding may have decided, by kind.
compared, left_out = {}, {}


def difference(op, oracle, outcome, over_grpc):
    """None, or what is wrong with `outcome`. Runs `op` on the oracle."""
    if op["op"] in RANKED:
        return RANKED[op["op"]](op, oracle, outcome, over_grpc)
    expected = run_oracle(oracle, op)
    if wrong := failure_difference(op, expected, outcome):
        return wrong
    if expected.failed:
        return None
    if op["op"] == "retrieve":
        expected.value = once_each(expected.value)
    return value_difference(expected.value, outcome.value, over_grpc, "result")


def run_oracle(oracle, op):
    protocol.watch.clear()
    return ops.run_local(oracle, op)


def is_left_out(kind):
    """Notes that an answer is compared; whether it must not be, because rounding may have decided it."""
    compared[kind] = compared.get(kind, 0) + 1
    if not protocol.watch.doubts:
        return False
    left_out[kind] = left_out.get(kind, 0) + 1
    return True


def failure_difference(op, expected, outcome):
    if expected.failed and not outcome.failed:
        return f"the oracle refuses ({expected.text}), the server answers {outcome.value!r:.300}"
    if outcome.failed and not expected.failed:
        return f"the server refuses ({outcome.error}: {outcome.text}), the oracle answers {expected.value!r:.300}"
    if expected.failed and (op.get("name") == "nowhere" or op["op"] in RANKED):
        return None  # there may be several mistakes, and which of them is reported is free
    if expected.failed and outcome.error != 0 and (expected.error == 404) != (outcome.error == 404):
        return f"another class of error: oracle {expected.error} ({expected.text}), server {outcome.error} ({outcome.text})"
    return None


def once_each(records):
    """The protocol returns a point that was asked for twice once, local mode twice."""
    return list({one["id"]: one for one in records}.values())


def kind_of(op):
    """The kind of a query, for the counts."""
    query = op.get("query")
    if isinstance(query, dict):
        return next((name for name in query if name not in ("indices", "values", "defaults")), "nearest") + (" mmr" if query.get("mmr") is not None else "")
    return "by id" if query is None else "nearest"


def query_difference(op, oracle, outcome, over_grpc):
    is_sample, is_mmr = kind_of(op) == "sample", kind_of(op).endswith("mmr")
    ranking = op | {"with_payload": False, "with_vectors": False}
    if op["limit"] >= 1 and not is_mmr:
        ranking |= {"limit": ALL, "offset": 0}
    expected = run_oracle(oracle, ranking)
    is_exact = protocol.watch.is_exact or is_mmr
    left = not expected.failed and is_left_out(kind_of(op))
    selectors = ops.run_local(oracle, op | {"op": "retrieve", "ids": []})  # the selectors alone, which may be what is wrong
    if selectors.failed and not expected.failed:
        expected = selectors
    if wrong := failure_difference(op, expected, outcome):
        return wrong
    if expected.failed:
        return None
    hits = outcome.value
    if is_sample:
        wrong = sample_difference(op, expected.value, hits)
    elif not left:
        wrong = ranking_difference(op, expected.value, hits, 0 if is_mmr else op.get("offset") or 0, is_exact)
    else:
        wrong = None
    return wrong or shown_difference(op, oracle, hits, over_grpc)


def shown_difference(op, oracle, hits, over_grpc):
    """What is shown of the points of an answer."""
    if not hits:
        return None
    stored = ops.run_local(oracle, op | {"op": "retrieve", "ids": [hit["id"] for hit in hits]})
    if stored.failed or len(stored.value) != len(hits):
        return f"not all of the answer's points exist: {brief(hits)}"
    return value_difference(stored.value, [without_score(hit) for hit in hits], over_grpc, "points")


def without_score(hit):
    return {name: value for name, value in hit.items() if name not in ("score", "order")}


def sample_difference(op, pool, hits):
    """Any points of the pool, as many as are asked for."""
    ids, of_pool = [hit["id"] for hit in hits], {hit["id"] for hit in pool}
    if len(set(ids)) != len(ids) or not set(ids) <= of_pool or len(ids) != min(op["limit"], len(of_pool)):
        return f"{brief(hits)} is no sample of {op['limit']} of {brief(pool)}"
    return next((f"a sampled point has score {hit['score']}" for hit in hits if hit["score"] != 1.0), None)


def ranking_difference(op, ranked, hits, offset, is_exact=False):
    window = ranked[offset : offset + op["limit"]]
    if len(window) != len(hits):
        return f"{len(hits)} hits instead of {len(window)}: {brief(hits)} instead of {brief(window)}"
    if op.get("query") is None or "order_by" in (op["query"] if isinstance(op["query"], dict) else {}):
        place = lambda hit: (hit["id"], hit["score"], hit.get("order"), type(hit.get("order")))
        got, want = [place(hit) for hit in hits], [place(hit) for hit in window]
        return None if got == want else f"order: {got} instead of {want}"
    scores = {hit["id"]: hit["score"] for hit in ranked}
    if len({hit["id"] for hit in hits}) != len(hits):
        return f"a point comes twice: {brief(hits)}"
    for at, hit in enumerate(hits):
        if hit["id"] not in scores:
            return f"{hit['id']} (score {hit['score']}) is in the answer and must not be: {brief(hits)} instead of {brief(window)}"
        if not close(hit["score"], scores[hit["id"]]):
            return f"score of {hit['id']} is {hit['score']} instead of {scores[hit['id']]}"
        if not close(hit["score"], window[at]["score"]):
            return f"position {at} has score {hit['score']} instead of {window[at]['score']}: {brief(hits)} instead of {brief(window)}"
    # Which of those that equal the first one cut off are found is free.
    cut_off = ranked[offset + op["limit"]]["score"] if offset + op["limit"] < len(ranked) else None
    if is_exact and any(hit["id"] != there["id"] and there["score"] != cut_off for hit, there in zip(hits, window)):
        return f"order of equals: {brief(hits)} instead of {brief(window)}"
    return None


def query_batch_difference(op, oracle, outcome, over_grpc):
    singles = [{"op": "query", "name": op["name"]} | one for one in op["searches"]]
    if outcome.failed:
        if any(run_oracle(oracle, single).failed for single in singles):
            return None
        return f"the server refuses the batch ({outcome.error}: {outcome.text}), the oracle none of its searches"
    if len(outcome.value) != len(singles):
        return f"{len(outcome.value)} answers for {len(singles)} searches"
    for at, (single, hits) in enumerate(zip(singles, outcome.value)):
        if wrong := query_difference(single, oracle, ops.Outcome(hits), over_grpc):
            return f"search {at}: {wrong}"
    return None


def groups_difference(op, oracle, outcome, over_grpc):
    """As for rankings: group i must have the i-th best group's best score, and position j of a group its j-th best."""
    whole = op | {"with_payload": False, "with_vectors": False}
    if op["limit"] >= 1 and op["group_size"] >= 1:
        whole |= {"limit": ALL, "group_size": ALL}
    expected = run_oracle(oracle, whole)
    left = not expected.failed and is_left_out("groups")
    selectors = ops.run_local(oracle, op | {"op": "retrieve", "ids": []})
    if selectors.failed and not expected.failed:
        expected = selectors
    if wrong := failure_difference(op, expected, outcome):
        return wrong
    if expected.failed or left:
        return None
    groups = {group_key(group): group for group in expected.value}
    window = expected.value[: op["limit"]]
    if len(outcome.value) != len(window) or len({group_key(group) for group in outcome.value}) != len(window):
        return f"groups {[group['id'] for group in outcome.value]} instead of {[group['id'] for group in window]}"
    for group, at_place in zip(outcome.value, window):
        full = groups.get(group_key(group))
        if full is None:
            return f"there is no group {group['id']!r}"
        # Points of equal scores: those in several groups stand where the query has them.
        if not close(full["hits"][0]["score"], at_place["hits"][0]["score"]):
            return f"group {group['id']!r} stands where {at_place['id']!r} should"
        wrong = ranking_difference({"limit": op["group_size"], "query": op.get("query")}, full["hits"], group["hits"], 0)
        wrong = wrong or shown_difference(op, oracle, group["hits"], over_grpc)
        wrong = wrong or value_difference(full["lookup"], group["lookup"], over_grpc, "lookup")
        if wrong:
            return f"group {group['id']!r}: {wrong}"
    return None


def group_key(group):
    return type(group["id"]).__name__, group["id"]


def matrix_difference(op, oracle, outcome, over_grpc):
    expected = run_oracle(oracle, op | {"limit": ALL} if op["limit"] >= 1 else op)
    left = not expected.failed and is_left_out("matrix")
    if wrong := failure_difference(op, expected, outcome):
        return wrong
    if expected.failed or left:
        return None
    rows, got = rows_of(expected.value), rows_of(outcome.value)
    if list(rows) != list(got):
        return f"rows {list(got)} instead of {list(rows)}"
    for point, hits in got.items():
        if wrong := ranking_difference({"limit": op["limit"], "query": 0}, rows[point], hits, 0, protocol.watch.is_exact):
            return f"row {point}: {wrong}"
    return None


def rows_of(pairs):
    rows = {}
    for point, hit in pairs:
        rows.setdefault(point, []).append(hit)
    return rows


def old_difference(op, oracle, outcome, over_grpc):
    if op["form"] == "groups":
        return groups_difference(op["searches"][0] | {"op": "query_groups", "name": op["name"]}, oracle, outcome, over_grpc)
    return query_batch_difference(op, oracle, outcome, over_grpc)


RANKED = {
    "query": query_difference, "query_batch": query_batch_difference, "query_groups": groups_difference, "matrix": matrix_difference,
    "old": old_difference,
}


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
    if isinstance(want, dict) and want.keys() == {"indices", "values"}:
        if not isinstance(got, dict) or want["indices"] != got.get("indices"):
            return f"{path}: {got!r} instead of {want!r}"
        return vector_difference(want["values"], got["values"], over_grpc, f"{path}.values")
    if isinstance(want, dict) and isinstance(got, dict) and want.keys() == got.keys():
        return next((wrong for name in want if (wrong := vector_difference(want[name], got[name], over_grpc, f"{path}[{name!r}]"))), None)
    if isinstance(want, list) and isinstance(got, list) and len(want) == len(got):
        if any(isinstance(row, list) for row in want):
            rows = (vector_difference(a, b, over_grpc, f"{path}[{at}]") for at, (a, b) in enumerate(zip(want, got)))
            return next((wrong for wrong in rows if wrong), None)
        if all(math.isclose(a, b, rel_tol=VECTOR_TOLERANCE, abs_tol=VECTOR_TOLERANCE) for a, b in zip(want, got)):
            return None
    elif want is None and got is None:
        return None
    return f"{path}: {got!r} instead of {want!r}"
