"""The oracle: qdrant-client's local mode, made to say what the protocol says where local mode leaves it open.

Local mode computes every answer. What is added here, each with its row in DIFFERENCES.md:

- The order of equal scores: by id, as the protocol orders them. In a tree of prefetches that order decides which points
  reach the next level, so without it half of all trees could not be compared.
- Scores are rounded to f32, as they are on the wire, before anything is computed from them.
- What needs a field index: local mode has none, so it is kept here which fields have one, and of which kind.
- A few rules that local mode lacks: see the methods.

Computing in f64 or f32 now and then decides something that is not a score: which of two points is cut off, which is
picked next. `watch` collects the places where that may be; such an answer is not compared. They are counted, and few:
vectors and scores of the `grid` collections are exact in both.
"""

import contextlib
import copy
import re
import unicodedata
from uuid import UUID

import numpy as np
from qdrant_client import QdrantClient, models
from qdrant_client.hybrid import formula
from qdrant_client.local import distances, local_collection, multi_distances, payload_filters, qdrant_local, sparse_distances
from qdrant_client.local.order_by import to_order_value
from qdrant_client.local.payload_value_extractor import value_by_key

ALL = 1_000_000
#: Relative distance of two scores, or of a score and a threshold, within which rounding may decide.
SLACK = 3e-6
SMALLER_IS_BETTER = (models.Distance.EUCLID, models.Distance.MANHATTAN)
#: The index kinds that a read needs.
RANGED = {"integer", "float", "datetime"}
FACETED = {"keyword", "integer", "bool", "uuid"}


class Watch:
    """What is noticed while the oracle works out one answer."""

    def __init__(self):
        self.clear()

    def clear(self):
        #: Places where rounding may have decided.
        self.doubts = []
        #: Whether the answer's order is fixed down to equal scores.
        self.is_exact = False
        #: Whose conditions are being evaluated.
        self.collection = None
        #: Whether the numbers that are being compared are exact in f32 and in f64.
        self.exact_numbers = False

    def doubt(self, where):
        self.doubts.append(where)


watch = Watch()


def new_client():
    """An empty oracle."""
    client = QdrantClient(":memory:")
    client._client = ProtocolLocal(location=":memory:")
    return client


def near(a, b):
    return abs(a - b) <= SLACK * max(1.0, abs(a), abs(b))


def is_exact_number(value):
    return abs(value) <= 4096 and value * 8 == round(value * 8)


class Hits(list):
    """A ranked list. `exact`: equal scores are equal in f32 and in f64. `settled`: no order by score to be looked at."""

    def __init__(self, hits, exact, settled=False):
        super().__init__(hits)
        self.exact, self.settled = exact, settled

    def check_neighbors(self, where, places):
        """Notes a doubt where two neighbors could as well stand the other way round."""
        for at in places:
            if self.settled or not 0 <= at < len(self) - 1:
                continue
            a, b = self[at].score, self[at + 1].score
            if near(a, b) and not (a == b and (self.exact or a == 0.0)):
                watch.doubt(f"{where}: {self[at].id} and {self[at + 1].id} score {a} and {b}")
                return


def by_id(point):
    return local_collection.LocalCollection._universal_id(point.id)


class ProtocolCollection(local_collection.LocalCollection):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        #: Field name to its index's parameters, the kind under `type`.
        self.field_indexes = {}
        #: Whether stored components are small integers.
        self.is_grid = False
        #: Levels of prefetches the present one is below.
        self.depth = 0
        self.mmr_corpus = None

    # Field indexes

    def create_payload_index(self, field_name, field_schema):
        super().create_payload_index(field_name, field_schema)
        params = field_schema.model_dump(mode="json", exclude_none=True) if hasattr(field_schema, "model_dump") else {"type": getattr(field_schema, "value", field_schema)}
        self.field_indexes[field_name] = params

    def delete_payload_index(self, field_name):
        super().delete_payload_index(field_name)
        self.field_indexes.pop(field_name, None)

    def index_kind(self, key):
        return self.field_indexes.get(key, {}).get("type")

    def indexed_values(self, key, kind, payload):
        """The values under `key` that an index of `kind` holds."""
        return [value for value in value_by_key(payload, key) or [] if INDEXABLE[kind](value)]

    def info(self):
        info = super().info()
        living = [payload for at, payload in enumerate(self.payload) if not self.deleted[at]]
        info.payload_schema = {
            key: models.PayloadIndexInfo(data_type=params["type"], points=sum(bool(self.indexed_values(key, params["type"], one)) for one in living))
            for key, params in self.field_indexes.items()
        }
        return info

    def create_dense_vector_name(self, vector_name, config):
        """With the type of its numbers, which local mode drops here."""
        is_new = vector_name not in self._all_vectors_keys
        super().create_dense_vector_name(vector_name, config)
        if is_new:
            self.get_vector_params(vector_name).datatype = config.datatype

    # Ranking

    def metric(self, name):
        return models.Distance.DOT if name in self.sparse_vectors else self.get_vector_params(name).distance

    def has_exact_scores(self, name, query):
        """Whether similarities of this query are the same in f32 and in f64."""
        if not self.is_grid or name not in self._all_vectors_keys or self.metric(name) == models.Distance.COSINE:
            return False
        if name in self.sparse_vectors and self.config.sparse_vectors[name].modifier == models.Modifier.IDF:
            return False
        return all(is_exact_number(value) for value in numbers_of(query))

    def cut(self, hits, smaller, threshold, limit, offset, with_payload, with_vectors):
        """The end of every ranked read: protocol's order, threshold, limit, payload and vectors."""
        for hit in hits:
            hit.score = float(np.float32(hit.score))
        hits = sorted(hits, key=lambda hit: (hit.score, by_id(hit)), reverse=not smaller["order"])
        exact = smaller["exact"]
        if threshold is not None:
            if not exact and any(near(hit.score, threshold) for hit in hits):
                watch.doubt(f"threshold {threshold}")
            passes = (lambda score: score < threshold) if smaller["threshold"] else (lambda score: score > threshold)
            kept = next((at for at, hit in enumerate(hits) if not passes(hit.score)), len(hits))
            hits = hits[:kept]
        ranked = Hits(hits, exact)
        at = limit + offset - 1
        if self.depth and at < len(ranked) - 1 and near(ranked[at].score, ranked[at + 1].score):
            watch.doubt("equals at the limit of a prefetch")  # which of them are found is free
        return Hits([self.dressed(hit, with_payload, with_vectors) for hit in ranked[offset : limit + offset]], exact)

    def dressed(self, hit, with_payload, with_vectors):
        idx = self.ids[hit.id]
        hit.payload, hit.vector = self._get_payload(idx, with_payload), self._get_vectors(idx, with_vectors)
        return hit

    def search(self, query_vector, query_filter=None, limit=10, offset=None, with_payload=True, with_vectors=False, score_threshold=None, idf_corpus=None):
        name, query = self._resolve_query_vector_name(query_vector)
        self.check_sizes(name, query)
        try:
            hits = super().search(query_vector, query_filter, ALL, 0, False, False, None, idf_corpus)
        except TypeError:
            if self.payload:
                raise
            hits = []  # local mode stumbles over pairs where there are no points
        is_plain = isinstance(query, (list, np.ndarray, models.SparseVector))
        smaller_metric = self.metric(name) in SMALLER_IS_BETTER
        exact = self.has_exact_scores(name, query)
        smaller = {"order": is_plain and smaller_metric, "threshold": smaller_metric, "exact": exact}
        is_linear = is_plain or getattr(query, "strategy", None) == models.RecommendStrategy.SUM_SCORES
        if not exact and not is_plain and not self.settles(query, name, hits, idf_corpus):
            watch.doubt("which of two examples is more similar")
        found = self.cut(hits, smaller, score_threshold, limit, offset or 0, with_payload, with_vectors)
        watch.is_exact = exact and is_linear
        return found

    def check_sizes(self, name, query):
        """Local mode leaves this to the arithmetic, which spreads one component over all, or is not done at all."""
        configs = {**self.vectors_config, **self.multivectors_config}
        if name not in configs:
            return
        for vector in vectors_of(query):
            if not isinstance(vector, models.SparseVector) and np.shape(vector)[-1] != configs[name].size:
                raise ValueError(f"Wrong input: Vector dimension error: expected dim: {configs[name].size}, got {np.shape(vector)[-1]}")

    def settles(self, query, name, hits, idf_corpus):
        """Whether no point's score hangs on which of two nearly equal similarities is larger."""
        pairs = []
        if hasattr(query, "context"):
            pairs = [(pair.positive, pair.negative) for pair in query.context]
        elif getattr(query, "strategy", None) == models.RecommendStrategy.BEST_SCORE:
            pairs = [(positive, negative) for positive in query.positive for negative in query.negative]
        alive = [self.ids[hit.id] for hit in hits]
        for positive, negative in pairs:
            a, b = (self.similarities(name, example, idf_corpus) for example in (positive, negative))
            if any(near(a[at], b[at]) and not a[at] == b[at] == 0.0 and not np.array_equal(positive_numbers(positive), positive_numbers(negative)) for at in alive):
                return False
        return True

    def similarities(self, name, example, idf_corpus=None):
        """Of every stored vector to `example`; larger is more similar."""
        if name in self.sparse_vectors:
            if self.config.sparse_vectors[name].modifier == models.Modifier.IDF:
                example = self._rescore_idf(example, name, idf_corpus)
            return sparse_distances.calculate_distance_sparse(sparse_distances.sort_sparse_vector(example), self.sparse_vectors[name], empty_is_zero=True)
        if name in self.multivectors:
            return multi_distances.calculate_multi_distance_core(np.array(example), self.multivectors[name], self.metric(name))
        return distances.calculate_distance_core(np.array(example), self.vectors[name][: len(self.payload)], self.metric(name))

    def _relevance_feedback(self, relevance_feedback, using, query_filter=None, limit=10, offset=None, with_payload=True, with_vectors=False, score_threshold=None, idf_corpus=None):
        """Local mode answers it for dense vectors only."""
        name = using or ""
        if name in self.vectors:
            return super()._relevance_feedback(relevance_feedback, using, query_filter, limit, offset, with_payload, with_vectors, score_threshold, idf_corpus)
        if name not in self._all_vectors_keys:
            raise ValueError(f"Wrong input: Not existing vector name error: {name}")
        naive = relevance_feedback.strategy.naive
        scores = naive.a * self.similarities(name, relevance_feedback.target, idf_corpus)
        of = [(self.similarities(name, item.example, idf_corpus), item.score) for item in relevance_feedback.feedback]
        for better, better_score in of:
            for worse, worse_score in of:
                if better_score > worse_score:
                    scores = scores + (better_score - worse_score) ** naive.b * naive.c * (better - worse)
        mask = self._payload_and_non_deleted_mask(query_filter, vector_name=name)
        hits = [scored(self.ids_inv[at], scores[at]) for at in np.flatnonzero(mask)]
        smaller = {"order": False, "threshold": self.metric(name) in SMALLER_IS_BETTER, "exact": False}
        return self.cut(hits, smaller, score_threshold, limit, offset or 0, with_payload, with_vectors)

    def _query_text(self, query, field, query_filter, limit, offset, with_payload, with_vectors, score_threshold, idf_corpus):
        hits = super()._query_text(query, field, query_filter, ALL, 0, False, False, None, idf_corpus)
        hits = sorted(hits, key=lambda hit: (-hit.score, by_id(hit)))
        if score_threshold is not None:
            if any(near(hit.score, score_threshold) for hit in hits):
                watch.doubt(f"threshold {score_threshold}")
            hits = [hit for hit in hits if hit.score > score_threshold]
        hits = Hits(hits, exact=True)
        if self.depth:
            hits.check_neighbors("the limit of a prefetch", [limit + offset - 1])
        return Hits([self.dressed(hit, with_payload, with_vectors) for hit in hits[offset : limit + offset]], exact=True)

    def _scroll_by_value(self, order_by, scroll_filter=None, limit=10, with_payload=True, with_vectors=False):
        """By (value, id), of the values that the field's index holds; local mode needs no index and takes all kinds."""
        order_by = models.OrderBy(key=order_by) if isinstance(order_by, str) else order_by
        kind = self.require_range_index(order_by.key)
        mask = self._payload_and_non_deleted_mask(scroll_filter)
        number = float if kind == "float" else int
        pairs = set()
        for point, at in self.ids.items():
            if mask[at]:
                pairs |= {(number(to_order_value(value)), self._universal_id(point)) for value in self.indexed_values(order_by.key, kind, self.payload[at])}
        descending = order_by.direction == models.Direction.DESC
        start = to_order_value(order_by.start_from)
        passes = lambda value: start is None or (value <= start if descending else value >= start)
        found = [pair for pair in sorted(pairs, reverse=descending) if passes(pair[0])]
        point_of = lambda key: key[0] or key[1]
        records = []
        for value, key in found[:limit]:
            at = self.ids[point_of(key)]
            records.append(models.Record(id=point_of(key), payload=self._get_payload(at, with_payload), vector=self._get_vectors(at, with_vectors), order_value=value))
        return records, None

    def require_range_index(self, key):
        kind = self.index_kind(key)
        if kind not in RANGED or self.field_indexes[key].get("range") is False:
            raise ValueError(f"No range index for `order_by` key: `{key}`. Please create one to use `order_by`.")
        return kind

    def scroll(self, scroll_filter=None, limit=10, order_by=None, offset=None, with_payload=True, with_vectors=False):
        if order_by is not None:
            if offset is not None:
                raise ValueError("Cannot use an `offset` when using `order_by`.")
            self.require_range_index(order_by if isinstance(order_by, str) else order_by.key)
        return super().scroll(scroll_filter, limit, order_by, offset, with_payload, with_vectors)

    def facet(self, key, facet_filter=None, limit=10):
        """Of the values that the field's index holds; local mode needs no index and takes all kinds."""
        kind = self.index_kind(key)
        if kind not in FACETED or self.field_indexes[key].get("lookup") is False:
            raise ValueError(f"No appropriate index for faceting: `{key}`. Please create one to facet on this field.")
        # Texts of a keyword index are as they are; local mode spells every UUID anew.
        with contextlib.nullcontext() if kind == "uuid" else replaced(local_collection, parse_uuid=lambda value: None):
            hits = super().facet(key, facet_filter, ALL).hits
        return models.FacetResponse(hits=[hit for hit in hits if INDEXABLE[kind](hit.value)][:limit])

    def _search_distance_matrix(self, query_filter=None, limit=3, sample=10, using=None):
        if (using or "") not in self._all_vectors_keys:
            raise ValueError(f"Wrong input: Not existing vector name error: {using}")
        return super()._search_distance_matrix(query_filter, limit, sample, using)

    # Trees

    def query_points(self, **arguments):
        watch.is_exact = False
        response = super().query_points(**arguments)
        watch.is_exact = watch.is_exact and not arguments.get("prefetch")
        return response

    def _prefetch(self, prefetch, propagated_filter=None):
        self.depth += 1
        try:
            return super()._prefetch(prefetch, propagated_filter)
        finally:
            self.depth -= 1

    def _merge_sources(self, sources, query, limit, offset, using=None, query_filter=None, score_threshold=None, with_payload=True, with_vectors=False, idf_corpus=None):
        """What prefetches found is not filtered again: merging may have widened their filters (PROTOCOL section 10.4)."""
        is_rrf = isinstance(query, models.RrfQuery) or getattr(query, "fusion", None) == models.Fusion.RRF
        for source in sources:
            listed = source if isinstance(source, Hits) else Hits(source, exact=True)
            if is_rrf:
                listed.check_neighbors("ranks of a fused list", range(len(listed)))
            elif isinstance(query, models.FusionQuery) and len(source) > 1:
                scores = [hit.score for hit in source]
                # Scores are divided by their deviation, and so is what rounding does to them.
                spread = max(scores) - min(scores)
                if spread <= 4e-3 * max(1.0, *map(abs, scores)) and not (spread == 0.0 and is_exact_number(scores[0])):
                    watch.doubt("the deviation of nearly equal scores")
        is_fused = isinstance(query, (models.FusionQuery, models.RrfQuery, models.FormulaQuery))
        if not is_fused:
            if not any(sources):
                # Local mode does not look at the query then.
                nothing = models.Filter(must=[models.HasIdCondition(has_id=[])])
                return self._query_collection(query, using, nothing, limit, offset, with_payload, with_vectors, score_threshold, idf_corpus)
            return super()._merge_sources(sources, query, limit, offset, using, None, score_threshold, with_payload, with_vectors, idf_corpus)
        merged = super()._merge_sources(sources, query, ALL, 0, using, None, None, False, False, idf_corpus)
        for hit in merged:
            hit.score = float(np.float32(hit.score))
        if isinstance(query, models.FormulaQuery):
            merged = sorted(merged, key=lambda hit: (hit.score, by_id(hit)), reverse=True)
        if score_threshold is not None:
            if any(near(hit.score, score_threshold) and hit.score != score_threshold for hit in merged):
                watch.doubt(f"threshold {score_threshold}")
            merged = [hit for hit in merged if hit.score >= score_threshold]
        merged = Hits(merged, exact=True)
        if self.depth:
            merged.check_neighbors("the limit of a prefetch", [limit + offset - 1])
        return Hits([self.dressed(hit, with_payload, with_vectors) for hit in merged[offset : limit + offset]], exact=True)

    def _rescore_with_formula(self, query, prefetches_results, limit, with_payload, with_vectors):
        watch.collection = self
        return super()._rescore_with_formula(query, prefetches_results, limit, with_payload, with_vectors)

    def _search_with_mmr(self, query_vector, mmr, using, query_filter=None, limit=10, offset=None, with_payload=True, with_vectors=False, score_threshold=None, idf_corpus=None):
        self.depth += 1  # its candidates are a prefetch, too
        self.mmr_corpus = idf_corpus
        watch.exact_numbers = self.has_exact_scores(using or "", query_vector)
        try:
            picked = super()._search_with_mmr(query_vector, mmr, using, query_filter, limit, offset, with_payload, with_vectors, score_threshold, idf_corpus)
        finally:
            self.depth -= 1
        return Hits(picked, exact=True, settled=True)

    def _mmr(self, search_results, query_vector, using, lambda_, limit):
        """Local mode forgets the IDF of the query's weights here."""
        if len(search_results) < 2:
            return search_results
        if using in self.sparse_vectors and self.config.sparse_vectors[using].modifier == models.Modifier.IDF:
            query_vector = self._rescore_idf(query_vector, using, self.mmr_corpus)
        return super()._mmr(search_results, query_vector, using, lambda_, limit)

    # Where conditions are evaluated: text conditions follow the collection's text indexes

    def _payload_and_non_deleted_mask(self, payload_filter, vector_name=None):
        watch.collection = self
        return super()._payload_and_non_deleted_mask(payload_filter, vector_name)

    def upsert(self, points, update_filter=None, update_mode=None):
        watch.collection = self
        return super().upsert(points, update_filter, update_mode)

    def update_vectors(self, points, update_filter=None):
        watch.collection = self
        return super().update_vectors(points, update_filter)


class ProtocolLocal(qdrant_local.QdrantLocal):
    def create_collection(self, collection_name, *args, **kwargs):
        with replaced(qdrant_local, LocalCollection=ProtocolCollection):
            done = super().create_collection(collection_name, *args, **kwargs)
        self.collections[collection_name].is_grid = collection_name.startswith("grid")
        return done

    def _resolve_query_input(self, collection_name, query, using, lookup_from):
        """Local mode forgets `lookup_from` in relevance feedback; and names are resolved before they are compared."""
        if lookup_from is not None:
            name = self.aliases.get(lookup_from.collection, lookup_from.collection)
            here = self.aliases.get(collection_name, collection_name)
            lookup_from = lookup_from.model_copy(update={"collection": collection_name if name == here else name})
        if not isinstance(query, models.RelevanceFeedbackQuery):
            return super()._resolve_query_input(collection_name, query, using, lookup_from)
        query, mentioned = copy.deepcopy(query), set()

        def resolved(given):
            nearest, ids = super(ProtocolLocal, self)._resolve_query_input(collection_name, models.NearestQuery(nearest=given), using, lookup_from)
            mentioned.update(ids)
            return nearest.nearest

        query.relevance_feedback.target = resolved(query.relevance_feedback.target)
        for item in query.relevance_feedback.feedback:
            item.example = resolved(item.example)
        return query, mentioned

    def query_points(self, collection_name, query=None, using=None, prefetch=None, query_filter=None, **rest):
        query_filter = self.without_mentioned(collection_name, prefetch, query_filter)
        return super().query_points(collection_name, query, using, prefetch, query_filter, **rest)

    def query_points_groups(self, collection_name, group_by, query=None, using=None, prefetch=None, query_filter=None, **rest):
        query_filter = self.without_mentioned(collection_name, prefetch, query_filter)
        return super().query_points_groups(collection_name, group_by, query, using, prefetch, query_filter, **rest)

    def without_mentioned(self, collection_name, prefetch, query_filter):
        """A point that some level searches by is no answer at any level; local mode leaves it out of its own level only.

        Filters are checked here, too: local mode checks them when they have been merged.
        """
        mentioned = []

        def collect(prefetches):
            for one in prefetches if isinstance(prefetches, list) else [prefetches] if prefetches else []:
                payload_filters.validate_filter(one.filter)
                if one.query is not None:
                    mentioned.extend(self._resolve_query_input(collection_name, one.query, one.using, one.lookup_from)[1])
                collect(one.prefetch)

        collect(prefetch)
        return local_collection.ignore_mentioned_ids_filter(query_filter, mentioned)


# Numbers


def vectors_of(query):
    """Every vector of a query, as local mode has it ready."""
    if isinstance(query, (models.SparseVector, list, np.ndarray)):
        return [query]
    found = []
    for field in ("positive", "negative", "target", "context", "context_pairs", "feedback", "vector"):
        value = getattr(query, field, None)
        is_several = isinstance(value, list) and not (value and isinstance(value[0], (int, float)))
        for one in value if is_several else [] if value is None else [value]:
            found += vectors_of(one)
    return found


def numbers_of(query):
    """Every number that similarities are computed from."""
    found = []
    for vector in vectors_of(query):
        found += vector.values if isinstance(vector, models.SparseVector) else np.asarray(vector, dtype=float).ravel().tolist()
    # Weighted sums of similarities are not exact.
    return [*found, 0.1] if hasattr(query, "coefficients") else found


def positive_numbers(example):
    return np.array([*example.indices, *example.values] if isinstance(example, models.SparseVector) else example, dtype=float)


def scored(point, score):
    return models.ScoredPoint.model_construct(id=point, version=0, score=float(score), payload=None, vector=None)


def last_argmax(values):
    """The picks of MMR; notes a doubt where rounding may pick."""
    best = original_last_argmax(values)
    for at, value in enumerate(values):
        if at != best and near(value, values[best]) and not (value == values[best] and (watch.exact_numbers or value == 0.0)):
            watch.doubt(f"a pick among {value} and {values[best]}")
            break
    return best


# Field indexes


def is_integer(value):
    return type(value) is int and -(2**63) <= value < 2**63


def is_uuid(value):
    if not isinstance(value, str):
        return False
    with contextlib.suppress(ValueError):
        return UUID(value) is not None
    return False


INDEXABLE = {
    "keyword": lambda value: isinstance(value, str),
    "integer": is_integer,
    "float": lambda value: type(value) in (int, float),
    "bool": lambda value: isinstance(value, bool),
    "datetime": lambda value: isinstance(value, str) and to_order_value(value) is not None,
    "uuid": is_uuid,
    "geo": lambda value: payload_filters._is_geo_point(value) and abs(value["lat"]) <= 90 and abs(value["lon"]) <= 180,
    "text": lambda value: isinstance(value, str),
}


def folded(text):
    return "".join(letter for letter in unicodedata.normalize("NFKD", text) if not unicodedata.combining(letter))


def tokens(text, params, of_query=False):
    """Words of a text as a text index makes them (PROTOCOL section 8)."""
    words = text.split() if params.get("tokenizer") == "whitespace" else re.findall(r"[^\W_]+", text)
    if params.get("ascii_folding"):
        words = [folded(word) for word in words]
    if params.get("lowercase", True):
        words = [word.lower() for word in words]
    shortest, longest = params.get("min_token_len", 0), params.get("max_token_len", 10**6)
    is_prefix = params.get("tokenizer") == "prefix"
    if is_prefix and of_query:
        return [word[:longest] for word in words if len(word) >= max(shortest, 1)]
    stopwords = (params.get("stopwords") or {}).get("custom") or []
    if params.get("lowercase", True):
        stopwords = [word.lower() for word in stopwords]
    words = [word for word in words if word not in stopwords]
    if is_prefix:
        return [word[:length] for word in words for length in range(max(shortest, 1), min(longest, len(word)) + 1)]
    return [word for word in words if shortest <= len(word) <= longest]


def check_condition(condition, payload, point_id, has_vector):
    """Local mode's, but text conditions on a field with a text index follow that index."""
    match = condition.match if isinstance(condition, models.FieldCondition) else None
    indexes = watch.collection.field_indexes if watch.collection is not None else {}
    params = indexes.get(condition.key, {}) if match is not None else {}
    if params.get("type") != "text" or point_id == -1:
        return original_check_condition(condition, payload, point_id, has_vector)
    texts = [value for value in value_by_key(payload, condition.key) or [] if isinstance(value, str)]
    if isinstance(match, models.MatchText):
        wanted = tokens(match.text, params, of_query=True)
        return bool(wanted) and any(set(wanted) <= set(tokens(text, params)) for text in texts)
    if isinstance(match, models.MatchTextAny):
        wanted = tokens(match.text_any, params, of_query=True)
        return any(set(wanted) & set(tokens(text, params)) for text in texts)
    if isinstance(match, models.MatchPhrase) and params.get("phrase_matching"):
        wanted = tokens(match.phrase, params)
        stretches = lambda words: (words[at : at + len(wanted)] for at in range(len(words) - len(wanted) + 1))
        return bool(wanted) and any(wanted in stretches(tokens(text, params)) for text in texts)
    return original_check_condition(condition, payload, point_id, has_vector)


@contextlib.contextmanager
def replaced(module, **replacements):
    """Names of a module or a class replaced for a while."""
    # What a class inherits is not its own: it is taken away again, not put in place.
    before = {name: vars(module)[name] for name in replacements if name in vars(module)}
    for name, value in replacements.items():
        setattr(module, name, value)
    try:
        yield
    finally:
        for name in replacements:
            if name in before:
                setattr(module, name, before[name])
            else:
                delattr(module, name)


def cosine_similarity(query, vectors):
    """Local mode normalises what it stores anew each time it is read, which moves the last bits to and fro."""
    return original_cosine_similarity(query, np.array(vectors))


original_cosine_similarity = distances.cosine_similarity
distances.cosine_similarity = cosine_similarity
original_last_argmax = local_collection.last_argmax
original_check_condition = payload_filters.check_condition
local_collection.last_argmax = last_argmax
payload_filters.check_condition = check_condition
formula.check_condition = check_condition
