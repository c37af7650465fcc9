"""Local mode with one mistake each: every one must be found, or the oracle test is blind to it.

A mutant is called like `ops.run_local`. `test_oracle.py` runs them.
"""

import contextlib
import copy
import math

import numpy as np
from qdrant_client import models
from qdrant_client.hybrid import formula
from qdrant_client.local import distances, local_collection, multi_distances, payload_filters, sparse_distances

import ops
import protocol
from protocol import ProtocolCollection, ProtocolLocal, replaced

MUTANTS = {}


def mutant(function):
    MUTANTS[function.__name__] = function
    return function


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
            smaller_is_better = collection.metric(op.get("using") or "") in protocol.SMALLER_IS_BETTER
        op = op | {"score_threshold": math.nextafter(op["score_threshold"], math.inf if smaller_is_better else -math.inf)}
    return ops.run_local(client, op)


@mutant
def limit_off_by_one(client, op):
    return ops.run_local(client, op | {"limit": op["limit"] + 1} if op["op"] == "query" and op["limit"] > 5 else op)


@mutant
def offset_skips_one_more(client, op):
    return ops.run_local(client, op | {"offset": op["offset"] + 1} if op["op"] == "query" and op.get("offset") else op)


with_replaced("queried_point_not_left_out", local_collection, ignore_mentioned_ids_filter=lambda query_filter, ids: query_filter)


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


# The query language. A mutant of a method is one of the collections or of the client behind both of them.


def of_collection(name, **methods):
    with_replaced(name, ProtocolCollection, **methods)


def of_query(name, change):
    """`change` turns every query with its prefetches into what a mistaken server would do instead, in place."""

    def altered(op):
        op = copy.deepcopy(op)
        levels = list(op.get("searches", [])) if "searches" in op else [op]
        while levels:
            level = levels.pop()
            change(level)
            below = level.get("prefetch") or []
            levels += below if isinstance(below, list) else [below]
        return op

    MUTANTS[name] = lambda client, op: ops.run_local(client, altered(op) if op["op"] in ("query", "query_batch", "query_groups", "old") else op)


def query_part(level, name):
    """A query's part of this name, or nothing."""
    query = level.get("query")
    return query.get(name) if isinstance(query, dict) else None


original_search = ProtocolCollection.search
original_idf = local_collection.LocalCollection._compute_idf
original_scroll_by_value = ProtocolCollection._scroll_by_value
original_fuse = local_collection.reciprocal_rank_fusion
original_sparse = sparse_distances.calculate_distance_sparse
original_resolve = ProtocolLocal._resolve_query_input
original_group_ids = ProtocolCollection._group_ids
original_merge = ProtocolCollection._merge_sources
original_mmr = ProtocolCollection._mmr
original_feedback = distances.NaiveFeedbackCoefficients


def everything_alike(query, vectors, empty_is_zero=False):
    return original_sparse(query, vectors, empty_is_zero=True)


with_replaced("points_without_a_shared_index_are_found", local_collection, calculate_distance_sparse=everything_alike)
of_collection("idf_without_smoothing", _compute_idf=classmethod(lambda cls, df, n: math.log((n + 1) / (df + 1))))
of_collection("idf_corpus_ignored", _idf_corpus_of=staticmethod(lambda params: None))
with_replaced("rows_averaged_not_maximised", multi_distances, np=type("Numpy", (), {"__getattr__": lambda self, name: (lambda a, axis: np.mean(a, axis=axis)) if name == "max" else getattr(np, name)})())
of_collection("mean_of_negatives_taken_once_from_one", _recommend_average_dense=staticmethod(
    lambda positive, negative: np.mean(positive, axis=0) - (np.mean(negative, axis=0) if len(negative) else 0)
))
of_collection("negative_rows_kept_as_they_are", _recommend_average_multi=staticmethod(lambda positive, negative: [row for one in [*positive, *negative] for row in one]))
with_replaced("best_score_without_its_squeeze", distances, scaled_fast_sigmoid=lambda x: x)
of_query("summed_negatives_ignored", lambda level: (recommend := query_part(level, "recommend")) and recommend.get("strategy") == "sum_scores" and recommend["positive"] and recommend.pop("negative", None))
with_replaced("equal_sides_of_a_pair_count", distances, np=type("Numpy", (), {"__getattr__": lambda self, name: (
    (lambda values, **how: np.array([1 if type(value) is int and value == 0 else value for value in values], **how)) if name == "array" else getattr(np, name)
)})())
with_replaced("context_is_never_satisfied", distances, EPSILON=1.0)
with_replaced("feedback_confidence_not_raised", local_collection, NaiveFeedbackCoefficients=lambda a, b, c: original_feedback(a, 1.0, c))
of_query("ranks_from_one_more", lambda level: query_part(level, "rrf") is not None and level["query"]["rrf"].update(k=(level["query"]["rrf"].get("k") or 2) + 1))
of_query("fusion_weights_ignored", lambda level: (rrf := query_part(level, "rrf")) and rrf.pop("weights", None))
of_query("rank_fusion_in_place_of_scores", lambda level: query_part(level, "fusion") == "dbsf" and level.update(query={"fusion": "rrf"}))
of_query("prefetches_shorter_by_one", lambda level: [one.update(limit=one["limit"] - 1) for one in level.get("prefetch") or [] if 1 < one.get("limit", 0) < 16])
of_query("prefetch_threshold_ignored", lambda level: [one.pop("score_threshold", None) for one in level.get("prefetch") or []])
of_query("prefetch_filters_ignored", lambda level: [one.update(filter=None) for one in level.get("prefetch") or []])
with_replaced("filters_not_handed_down", local_collection, _merge_filters=lambda outer, inner: inner)
with_replaced("filter_of_a_level_replaces_that_above", local_collection, _merge_filters=lambda outer, inner: inner or outer)
of_query("lookup_vector_ignored", lambda level: level.get("lookup_from") and level["lookup_from"].pop("vector", None))
with_replaced("only_its_own_level_leaves_a_point_out", ProtocolLocal, without_mentioned=lambda self, name, prefetch, query_filter: query_filter)
of_query("scores_of_the_first_prefetch_only", lambda level: query_part(level, "formula") is not None and renamed(level["query"], "$score[1]", "$score[0]"))
of_query("formula_defaults_ignored", lambda level: query_part(level, "formula") is not None and level["query"].pop("defaults", None))
with_replaced("decays_twice_as_wide", formula, DEFAULT_DECAY_SCALE=2.0)
with_replaced("distances_in_kilometres", formula, geo_distance=lambda *places: payload_filters.geo_distance(*places) / 1000)
with_replaced("a_condition_in_a_formula_is_minus_one", formula, check_condition=lambda *arguments: not protocol.check_condition(*arguments))
with_replaced("diversity_taken_for_relevance", ProtocolCollection, _mmr=lambda self, results, query, using, share, limit: original_mmr(self, results, query, using, 1.0 - share, limit))
with_replaced("first_of_equals_is_picked", local_collection, last_argmax=lambda values: int(np.argmax(values)))
of_query("diversified_after_the_cut", lambda level: (mmr := query_part(level, "mmr")) is not None and mmr.update(candidates_limit=max(level.get("limit") or 10, 1)))


def renamed(part, name, other):
    """Every use of a variable, in place."""
    for key, value in part.items() if isinstance(part, dict) else enumerate(part):
        if value == name:
            part[key] = other
        elif isinstance(value, (dict, list)):
            renamed(value, name, other)


@mutant
def order_starts_after_its_start(client, op):
    """`start_from` excludes the value itself."""

    def exclusive(self, order_by, *rest, **named):
        records, following = original_scroll_by_value(self, order_by, *rest, **named)
        start = protocol.to_order_value(getattr(order_by, "start_from", None))
        return [one for one in records if one.order_value != start], following

    with replaced(ProtocolCollection, _scroll_by_value=exclusive):
        return ops.run_local(client, op)


@mutant
def equal_values_in_ascending_order_of_ids_always(client, op):
    def stable(self, *arguments, **named):
        records, following = original_scroll_by_value(self, *arguments, **named)
        order = arguments[0] if arguments else named["order_by"]
        if getattr(order, "direction", None) == models.Direction.DESC:
            records.sort(key=lambda one: (-one.order_value, protocol.by_id(one)))
        return records, following

    with replaced(ProtocolCollection, _scroll_by_value=stable):
        return ops.run_local(client, op)


@mutant
def order_by_needs_no_index(client, op):
    with replaced(ProtocolCollection, require_range_index=lambda self, key: "float"):
        return ops.run_local(client, op)


@mutant
def floats_ordered_by_an_integer_index(client, op):
    with replaced(protocol, INDEXABLE=protocol.INDEXABLE | {"integer": lambda value: type(value) in (int, float)}):
        return ops.run_local(client, op)


@mutant
def every_value_of_a_facet_counted(client, op):
    """A point that has a value twice counts twice."""
    outcome = ops.run_local(client, op)
    if op["op"] == "facet" and not outcome.failed and outcome.value:
        collection = client._client._get_collection(op["name"])
        mask = collection._payload_and_non_deleted_mask(ops._filter(op.get("filter")))
        values = [value for at, payload in enumerate(collection.payload) if mask[at] for value in protocol.value_by_key(payload, op["key"]) or []]
        outcome.value = [[value, max(count, sum(type(one) is type(value) and one == value for one in values))] for value, count in outcome.value]
    return outcome


@mutant
def facets_in_order_of_values(client, op):
    outcome = ops.run_local(client, op)
    if op["op"] == "facet" and not outcome.failed:
        outcome.value.sort(key=lambda hit: str(hit[0]))
    return outcome


@mutant
def values_that_are_no_group_skipped(client, op):
    """Only the value is skipped, not its point."""

    def lenient(self, payload, group_by):
        values = protocol.value_by_key(payload, group_by)
        return None if values is None else list(dict.fromkeys(value for value in values if type(value) in (int, str)))

    with replaced(ProtocolCollection, _group_ids=lenient):
        return ops.run_local(client, op)


@mutant
def groups_hold_one_hit_more(client, op):
    if op["op"] == "query_groups" and op["group_size"] > 1:
        op = op | {"group_size": op["group_size"] + 1}
    return ops.run_local(client, op)


@mutant
def groups_without_lookup(client, op):
    return ops.run_local(client, {name: value for name, value in op.items() if name != "with_lookup"})


@mutant
def matrix_rows_one_too_long(client, op):
    return ops.run_local(client, op | {"limit": op["limit"] + 1} if op["op"] == "matrix" and op["limit"] > 0 else op)


@mutant
def matrix_ignores_its_filter(client, op):
    return ops.run_local(client, op | {"filter": None} if op["op"] == "matrix" else op)


@mutant
def samples_ignore_the_filter(client, op):
    if op["op"] == "query" and query_part(op, "sample") and not op.get("prefetch"):
        op = op | {"filter": None}
    return ops.run_local(client, op)


@mutant
def repeated_words_of_a_text_query_count(client, op):
    def scores(documents, query, k, b):
        words = payload_filters.unindexed_text_tokens(query)
        single = [original_bm25(documents, word, k, b) for word in words]
        return {at: sum(one.get(at, 0.0) for one in single) for at in set().union(*single)} if single else {}

    with replaced(local_collection, bm25_scores=scores):
        return ops.run_local(client, op)


original_bm25 = local_collection.bm25_scores


@mutant
def text_query_counts_what_matches_only(client, op):
    """The filter takes points out of the corpus."""

    def scores(documents, query, k, b):
        return original_bm25({at: words for at, words in documents.items() if at % 2}, query, k, b)

    with replaced(local_collection, bm25_scores=scores):
        return ops.run_local(client, op)


@mutant
def text_indexes_ignore_their_tokenizer(client, op):
    with replaced(payload_filters, check_condition=protocol.original_check_condition):
        return ops.run_local(client, op)


@mutant
def a_deleted_index_stays(client, op):
    return ops.Outcome({"status": "completed"}) if op["op"] == "delete_index" and client.collection_exists(op["name"]) else ops.run_local(client, op)


@mutant
def batch_answers_in_reverse(client, op):
    outcome = ops.run_local(client, op)
    if op["op"] == "query_batch" and not outcome.failed:
        outcome.value.reverse()
    return outcome


@mutant
def old_searches_ignore_their_offset(client, op):
    if op["op"] == "old":
        op = op | {"searches": [one | {"offset": 0} for one in op["searches"]]}
    return ops.run_local(client, op)


@mutant
def old_batches_answer_the_first_search_only(client, op):
    outcome = ops.run_local(client, op)
    if op["op"] == "old" and op["form"] == "batch" and not outcome.failed:
        outcome.value = [outcome.value[0]] * len(outcome.value)
    return outcome


@mutant
def scroll_with_order_takes_an_offset(client, op):
    return ops.run_local(client, op | {"offset": None} if op["op"] == "scroll" and op.get("order_by") else op)


@mutant
def sparse_values_in_the_order_they_came(client, op):
    with replaced(local_collection, sort_sparse_vector=lambda vector: vector), replaced(sparse_distances, is_sorted=lambda vector: True):
        return ops.run_local(client, op)


@mutant
def a_dropped_vector_stays_in_its_points(client, op):
    """The name goes from the configuration alone, and what points had is there again when it comes back."""
    if op["op"] not in ("delete_vector_name", "create_vector_name") or not client.collection_exists(op["name"]):
        return ops.run_local(client, op)
    collection, name = client._client._get_collection(op["name"]), op["vector"]
    lacked = collection.deleted_per_vector.get(name)
    outcome = ops.run_local(client, op)
    if op["op"] == "delete_vector_name" and lacked is not None and not outcome.failed:
        client.__dict__.setdefault("dropped", {})[id(collection), name] = {point: True for point, at in collection.ids.items() if not lacked[at]}
    elif op["op"] == "create_vector_name" and lacked is None and not outcome.failed:
        for point in client.__dict__.get("dropped", {}).get((id(collection), name), {}):
            collection.deleted_per_vector[name][collection.ids[point]] = False
    return outcome


@mutant
def every_vector_name_may_be_made_twice(client, op):
    outcome = ops.run_local(client, op)
    return ops.Outcome({"status": "completed"}) if op["op"] == "create_vector_name" and outcome.error == 400 else outcome
