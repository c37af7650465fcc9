"""Local mode with one mistake each: every one must be found, or the oracle test is blind to it.

A mutant is called like `ops.run_local`. `test_oracle.py` runs them.
"""

import contextlib
import math

from qdrant_client.local import local_collection, payload_filters, payload_value_setter, payload_value_extractor

import ops

MUTANTS = {}


def mutant(function):
    MUTANTS[function.__name__] = function
    return function


@contextlib.contextmanager
def replaced(module, **replacements):
    """Functions of a module replaced for one call."""
    before = {name: getattr(module, name) for name in replacements}
    for name, value in replacements.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name, value in before.items():
            setattr(module, name, value)


def with_replaced(name, module, **replacements):
    def run(client, op):
        with replaced(module, **replacements):
            return ops.run_local(client, op)

    MUTANTS[name] = run


@mutant
def first_two_hits_swapped(client, op):
    outcome = ops.run_local(client, op)
    if op["op"] == "query" and not outcome.failed and len(outcome.value) > 1:
        outcome.value[:2] = reversed(outcome.value[:2])
    return outcome


@mutant
def must_not_dropped(client, op):
    if op.get("filter"):
        op = op | {"filter": {clause: value for clause, value in op["filter"].items() if clause != "must_not"}}
    return ops.run_local(client, op)


@mutant
def threshold_included(client, op):
    if op["op"] == "query" and op.get("score_threshold") is not None:
        smaller_is_better = False
        with contextlib.suppress(Exception):
            collection = client._client._get_collection(op["name"])
            smaller_is_better = collection.vectors_config[op.get("using") or ""].distance.value in ("Euclid", "Manhattan")
        op = op | {"score_threshold": math.nextafter(op["score_threshold"], math.inf if smaller_is_better else -math.inf)}
    return ops.run_local(client, op)


@mutant
def limit_off_by_one(client, op):
    return ops.run_local(client, op | {"limit": op["limit"] + 1} if op["op"] == "query" and op["limit"] > 5 else op)


@mutant
def offset_skips_one_more(client, op):
    return ops.run_local(client, op | {"offset": op["offset"] + 1} if op["op"] == "query" and op.get("offset") else op)


@mutant
def queried_point_not_left_out(client, op):
    if op["op"] == "query" and isinstance(op.get("query"), (int, str)) and "lookup_from" not in op:
        op = op | {"lookup_from": {"collection": op["name"], "vector": op.get("using") or ""}}
        with replaced(local_collection, ignore_mentioned_ids_filter=None):
            from qdrant_client.local import qdrant_local

            with replaced(qdrant_local, ignore_mentioned_ids_filter=lambda query_filter, ids: query_filter):
                return ops.run_local(client, op)
    return ops.run_local(client, op)


@mutant
def last_page_has_a_next(client, op):
    outcome = ops.run_local(client, op)
    if op["op"] == "scroll" and not outcome.failed and outcome.value["next"] is None and len(outcome.value["points"]) == op["limit"]:
        outcome.value["next"] = outcome.value["points"][-1]["id"]
    return outcome


@mutant
def integers_come_back_as_floats(client, op):
    outcome = ops.run_local(client, op)
    if op["op"] in ("retrieve", "scroll") and not outcome.failed:
        points = outcome.value["points"] if op["op"] == "scroll" else outcome.value
        for point in points:
            if point["payload"] and type(point["payload"].get("n")) is int:
                point["payload"]["n"] = float(point["payload"]["n"])
    return outcome


@mutant
def cosine_not_normalised(client, op):
    outcome = ops.run_local(client, op)
    if op["op"] == "retrieve" and not outcome.failed:
        for point in outcome.value:
            if isinstance(point["vector"], list):
                point["vector"] = [2 * component for component in point["vector"]]
    return outcome


@mutant
def every_tenth_delete_lost(client, op):
    if op["op"] == "delete":
        client.deletes = getattr(client, "deletes", 0) + 1
        if client.deletes % 10 == 0:
            return ops.Outcome({"status": "completed"} if op.get("wait", True) else True)
    return ops.run_local(client, op)


@mutant
def upsert_merges_payloads(client, op):
    before = {}
    if op["op"] == "upsert" and op.get("form") != "batch" and op["points"] and "mode" not in op:
        found = ops.run_local(client, {"op": "retrieve", "name": op["name"], "ids": [point["id"] for point in op["points"]], "with_payload": True, "with_vectors": False})
        before = {} if found.failed else {one["id"]: one["payload"] for one in found.value}
        points = [point | {"payload": before.get(point["id"], {}) | point.get("payload", {})} for point in op["points"]]
        op = op | {"points": points}
    return ops.run_local(client, op)


@mutant
def unknown_ids_accepted(client, op):
    outcome = ops.run_local(client, op)
    if op["op"] == "set_payload" and outcome.error == 404 and outcome.text.startswith("No point"):
        return ops.Outcome({"status": "completed"})
    return outcome


@mutant
def whole_batch_refused_late(client, op):
    """A bad point in an upsert leaves the points before it applied."""
    if op["op"] == "upsert" and op.get("form") != "batch" and len(op["points"]) > 1:
        outcome = ops.run_local(client, op)
        if outcome.failed:
            for point in op["points"]:
                if ops.run_local(client, op | {"points": [point]}).failed:
                    break
        return outcome
    return ops.run_local(client, op)


@mutant
def insert_only_overwrites(client, op):
    return ops.run_local(client, op | {"mode": "upsert"} if op.get("mode") == "insert_only" else op)


@mutant
def exclude_ignored(client, op):
    if isinstance(op.get("with_payload"), dict) and "exclude" in op["with_payload"]:
        op = op | {"with_payload": True}
    return ops.run_local(client, op)


with_replaced("null_does_not_remove", local_collection, merge_payload=lambda dest, src: dest | src)
with_replaced("payload_merged_deeply", local_collection, merge_payload=lambda dest, src: {
    **dest, **{key: ({**dest[key], **value} if isinstance(value, dict) and isinstance(dest.get(key), dict) else value) for key, value in src.items()}
})
with_replaced("empty_array_is_not_empty", payload_filters, value_is_empty=lambda value: value is None)
with_replaced("null_in_array_is_not_null", payload_filters, value_is_null=lambda value: value is None)
with_replaced("one_equals_one_point_zero", payload_filters, values_match=lambda value, other: value == other)
with_replaced("text_is_case_sensitive", payload_filters, unindexed_text_tokens=lambda text: text.split())
with_replaced("values_count_of_each_is_one", payload_filters, get_value_counts=lambda values: [1 for _ in values])
with_replaced("boolean_is_a_number", payload_filters, check_range=lambda condition, value: isinstance(value, (int, float)) and not (
    (condition.lt is not None and value >= condition.lt) or (condition.lte is not None and value > condition.lte)
    or (condition.gt is not None and value <= condition.gt) or (condition.gte is not None and value < condition.gte)
))
with_replaced("box_includes_its_border", payload_filters, check_geo_bounding_box=lambda condition, value: payload_filters._is_geo_point(value)
    and condition.top_left.lat >= value["lat"] >= condition.bottom_right.lat
    and (condition.top_left.lon <= value["lon"] <= condition.bottom_right.lon if condition.top_left.lon <= condition.bottom_right.lon
         else value["lon"] >= condition.top_left.lon or value["lon"] <= condition.bottom_right.lon))
with_replaced("datetime_zone_ignored", payload_filters.datetime_utils, normalize=lambda text: text[:19] if text[10:11] in ("T", " ") else text)
with_replaced("nested_over_whole_array", payload_filters, check_nested_filter=lambda nested, values: any(
    payload_filters.check_filter(nested, {key: item for value in values for key, item in value.items()}, point_id=-1, has_vector={}) for _ in values[:1]
))
with_replaced("slices_of_the_plain_number", payload_filters, point_id_slice=lambda point, total: point % total if isinstance(point, int) else 0)
with_replaced("last_index_deletes", local_collection, delete_value_by_key=lambda payload, keys: payload.pop(keys[0].key, None) if keys else None)
