"""Seeded random operations, adversarial where the protocol is subtle.

The generator looks at the oracle's present state, so that most operations hit existing points, vectors and names and
some deliberately do not. What it never generates are the cases of DIFFERENCES.md, where local mode is known to answer
otherwise than the protocol says.

Collections called `grid*` hold vectors of small integers: scores under Dot, Euclid and Manhattan are exact, ties are
frequent, and a threshold can be met exactly. Where scores are not exact (cosine, IDF, collections called `free*`)
components are arbitrary, so that ties are rare.
"""

import dataclasses

import numpy as np

import ops
import protocol

DISTANCES = ["Cosine", "Dot", "Euclid", "Manhattan"]
NAMES = ["grid0", "grid1", "grid2", "free0", "free1", "free2"]
ALIASES = ["alias0", "alias1", "alias2"]
#: Dense, then sparse (one with IDF), then multivectors; a collection has some of them.
VECTOR_NAMES = ["", "text", "img", "wide", "sparse", "idf", "rows", "more"]
SPARSE_INDICES = [0, 1, 2, 3, 5, 8, 13, 1000, 2**31, 2**32 - 1]
MODIFIERS = {"sparse": None, "idf": "idf"}

UUIDS = [f"{at:08x}-0b1c-4d2e-8f3a-{(at * 2654435761) % 2**48:012x}" for at in (1, 7, 0x10, 0xABCDEF, 0x80000000, 0xFFFFFFFF)]
NUMBERS = [*range(60), 10**6, 2**32, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1]

WORDS = ["red", "Green", "blue", "RED", "über", "naïve", "日本", "x_y", "foo-bar", "3", "14"]
SENTENCES = [
    "", " ", "Red green blue", "the quick-brown fox", "fox the quick", "ÜBER uns", "naïve café", "日本 語", "x_y z", "pi is 3.14",
    "red red green", "green, red; blue!", "foo-bar baz", "Quick  \t brown",
]
KEYWORDS = ["red", "green", "blue", "RED", "", "red green", "ü", "日本", "true", "1"]
DATETIMES = [
    "2021-03-04T05:06:07Z", "2021-03-04 05:06:07", "2021-03-04T05:06:07.123456Z", "2021-03-04T07:06:07+02:00", "2021-03-04",
    "2021-03-04T05:06", "2021-03-04T05:06:07.5-0330", "1969-12-31T23:59:59Z", "2021-03-04T05:06:07z", " 2021-03-04T05:06:07Z",
    "2021-03-04T06:06:07+01", "2021-03-04 05:06:07 UTC", "2038-01-19T03:14:08Z",
]
NO_DATETIMES = ["", "yesterday", "2021-13-01", "2021-02-30T00:00:00Z", "05:06:07", "20210304", "2021-03-04T25:00:00Z"]
BOUNDS = ["2021-03-04T05:06:07Z", "2021-03-04T05:06:07.123456Z", "2021-03-04T00:00:00", "2020-01-01T00:00:00+05:30", "1970-01-01T00:00:00Z"]

#: Payloads for formulas and text queries: values of the right kind, or none.
PLACES = [{"lon": lon, "lat": lat} for lon, lat in ((13.4, 52.5), (0.0, 0.0), (-179.5, 10.0), (179.5, -10.0), (2.35, 48.85))]
DOCUMENT_WORDS = ["apple", "Apple", "pear", "plum", "über", "fig", "kiwi", "a"]
#: Fields with values of one kind mostly, and the indexes they may have; any index on any field must do no harm.
INDEXES = {
    "s": ["keyword", {"type": "keyword", "prefix": True}, {"type": "keyword", "is_tenant": True}], "tags": ["keyword", "integer"], "group": ["keyword", "integer"],
    "n": ["integer", "float", {"type": "integer", "lookup": True, "range": False}, {"type": "integer", "lookup": False, "range": True}, {"type": "integer", "is_principal": True}],
    "rank": ["integer", "float"], "flag": ["bool"], "uid": ["uuid"], "when": ["datetime"], "at": ["datetime"], "geo": ["geo"], "home": ["geo"], "price": ["float"], '"a.b"': ["float"],
    "arr[].x": ["integer", "float"], "obj.a": ["integer"], "mixed": ["keyword", "integer", "bool"],
}
#: Text indexes whose words the oracle knows too. Stemmers, stopword lists and segmentation are tested elsewhere.
TEXT_INDEXES = [
    "text", {"type": "text"}, {"type": "text", "tokenizer": "word", "phrase_matching": True}, {"type": "text", "tokenizer": "whitespace"},
    {"type": "text", "tokenizer": "whitespace", "lowercase": False, "phrase_matching": True}, {"type": "text", "tokenizer": "prefix", "min_token_len": 2, "max_token_len": 4},
    {"type": "text", "tokenizer": "prefix"}, {"type": "text", "lowercase": False}, {"type": "text", "ascii_folding": True},
    {"type": "text", "min_token_len": 2, "max_token_len": 5}, {"type": "text", "stopwords": {"custom": ["red", "THE"]}, "phrase_matching": True},
    {"type": "text", "tokenizer": "word", "lowercase": False, "stopwords": {"custom": ["RED"]}}, {"type": "text", "scoring": True},
]

#: Paths that filters and payload changes use; every one parses.
PATHS = [
    "uid", "rank", "group", "price", "home", "at", "doc", "n", "s", "t", "tags", "tags[]", "tags[0]", "tags[7]", "geo", "geo[]", "when", "when[]", "flag", "obj", "obj.a", "obj.a.b", "obj.deep.er.still",
    "arr", "arr[]", "arr[].x", "arr[0].x", "arr[].sub", "arr[].sub[].z", "arr[1].sub[0].z", "mixed", "mixed[]", "mixed.a", "mixed[].a", "mixed[0][1]",
    "ünï", '"a.b"', '"we ird"', '"we ird".a', "absent", "absent[].deeper",
]
BROKEN_PATHS = ["", ".", "a.", "a..b", "a[", "a[x]", "a[-1]", '"open', "a b", "a[]b"]
CHANGED_PATHS = [path for path in PATHS if path not in ("absent",)]


@dataclasses.dataclass(frozen=True)
class Kind:
    """What vectors of one name are like."""

    size: int
    distance: str
    form: str = "dense"
    datatype: str | None = None
    has_idf: bool = False

    def fits(self, other):
        return self.form == other.form and self.size == other.size


class Generator:
    def __init__(self, seed, oracle, has_vector_names=False):
        self.random = np.random.default_rng(seed)
        self.oracle = oracle
        self.operations = OPERATIONS + (VECTOR_NAME_OPERATIONS if has_vector_names else [])
        self.serial = 0
        #: Whether conditions on words may be made.

    # Small choices

    def one(self, choices):
        return choices[int(self.random.integers(len(choices)))]

    def chance(self, probability):
        return float(self.random.random()) < probability

    def number(self, low, high):
        """An integer from `low` to `high`, both included."""
        return int(self.random.integers(low, high + 1))

    def some(self, choices, low, high):
        """`low` to `high` different elements, in random order."""
        count = min(self.number(low, high), len(choices))
        return [choices[int(at)] for at in self.random.permutation(len(choices))[:count]]

    def weighted(self, table):
        weights = np.array([weight for _, weight in table], dtype=float)
        return table[int(self.random.choice(len(table), p=weights / weights.sum()))][0]

    # State of the oracle

    def collections(self):
        return sorted(self.oracle._client.collections)

    def aliases(self):
        return dict(self.oracle._client.aliases)

    def target(self):
        """A collection's name or an alias of one, now and then the name of nothing."""
        if self.chance(0.01) or not self.collections():
            return "nowhere"
        aliases = [alias for alias, name in self.aliases().items() if name in self.collections()]
        if aliases and self.chance(0.1):
            return self.one(aliases)
        return self.one(self.collections())

    def local(self, name):
        """The local collection behind a name or alias, if there is one."""
        return self.oracle._client.collections.get(self.aliases().get(name, name))

    def schema(self, name):
        """Vector name to its kind."""
        collection = self.local(name)
        if collection is None:
            return {"": Kind(4, "Dot")}
        kinds = {}
        for form, configs in (("dense", collection.vectors_config), ("multi", collection.multivectors_config)):
            for vector, one in configs.items():
                kinds[vector] = Kind(one.size, one.distance.value, form, one.datatype and one.datatype.value)
        for vector in collection.sparse_vectors:
            kinds[vector] = Kind(0, "Dot", "sparse", None, collection.config.sparse_vectors[vector].modifier is not None)
        return kinds

    def is_grid(self, name):
        return self.aliases().get(name, name).startswith("grid")

    def indexes(self, name):
        collection = self.local(name)
        return {} if collection is None else collection.field_indexes

    def living(self, name):
        collection = self.local(name)
        return [] if collection is None else [point for point, at in collection.ids.items() if not collection.deleted[at]]

    # Ids

    def spelled(self, point):
        """The id in one of the texts the protocol accepts."""
        if isinstance(point, int):
            return point
        return self.weighted(
            [(point, 4), (point.upper(), 1), (point.replace("-", ""), 1), (f"{{{point}}}", 1), (f"urn:uuid:{point}", 1)]
        )

    def fresh_id(self):
        if self.chance(0.25):
            return self.one(UUIDS) if self.chance(0.5) else f"{self.number(0, 2**32 - 1):08x}-0000-4000-8000-{self.number(0, 40):012x}"
        return self.one(NUMBERS) if self.chance(0.4) else self.number(0, 500)

    def known_id(self, name, probability=0.9):
        living = self.living(name)
        return self.one(living) if living and self.chance(probability) else self.fresh_id()

    def holder(self, name, vector, probability=0.985):
        """The id of a point that has this vector, nearly always."""
        collection = self.local(name)
        if collection is None or vector not in collection.deleted_per_vector or not self.chance(probability):
            return self.known_id(name, 0.7)
        lacks = collection.deleted_per_vector[vector]
        having = [point for point, at in collection.ids.items() if not collection.deleted[at] and not lacks[at]]
        return self.one(having) if having else self.known_id(name)

    def ids(self, name, low, high, known=0.9):
        found = {self.known_id(name, known): None for _ in range(self.number(low, high))}
        return [self.spelled(point) for point in found]

    # Vectors

    def components(self, name, kind, has_zeros=True):
        """A dense vector, or a row of a multivector."""
        if has_zeros and self.chance(0.02):
            return [0.0] * kind.size
        if kind.datatype == "uint8":
            return [float(one) for one in self.random.integers(0, 6, kind.size)]
        if self.is_grid(name) and kind.distance != "Cosine" and not kind.has_idf:
            return [float(one) for one in self.random.integers(-3, 4, kind.size)]
        return [float(one) for one in self.random.uniform(-1, 1, kind.size).astype(np.float32)]

    def a_vector(self, name, kind):
        """One of this kind, for a point or for a query."""
        if kind.form == "dense":
            return self.components(name, kind)
        if kind.form == "multi":
            return [self.components(name, kind) for _ in range(self.number(1, 3))]
        indices = self.some(SPARSE_INDICES, 0 if self.chance(0.05) else 1, 5)
        return {"indices": indices, "values": self.components(name, dataclasses.replace(kind, size=len(indices)), has_zeros=False)}

    def broken_vectors(self, name, schema):
        vector = self.one(sorted(schema))
        kind = schema[vector]
        # A dense vector in the place of a multivector is one of one row: see DIFFERENCES.md.
        wrong = [{"nope": [1.0, 2.0]}, {vector: self.a_vector(name, dataclasses.replace(kind, size=kind.size + 1)) if kind.form != "sparse" else [1.0, 2.0]}]
        if schema.get("", kind).form != "multi":
            wrong.append(self.components(name, Kind(9, "Dot")))
        if kind.form == "sparse":
            wrong += [{vector: {"indices": [1, 1], "values": [1.0, 2.0]}}, {vector: {"indices": [1, 2], "values": [1.0]}}]
        if kind.form == "multi":
            wrong += [{vector: [self.components(name, kind), [1.0]]}, {vector: [[]]}]
        return self.one(wrong)

    def point_vectors(self, name):
        """What a point carries: bare or by name, often not all of them."""
        schema = self.schema(name)
        if self.chance(0.003) and schema:
            return self.broken_vectors(name, schema)
        if list(schema) == [""]:
            return self.a_vector(name, schema[""]) if self.chance(0.6) else self.named(name, [""])
        keep = 1.0 if self.chance(0.6) else 0.6
        return self.named(name, [vector for vector in schema if self.chance(keep)])

    def named(self, name, vectors):
        schema = self.schema(name)
        return {vector: self.a_vector(name, schema[vector]) for vector in vectors}

    # Payloads

    def payload(self):
        makers = {
            "n": self.numeric, "s": self.keyword, "t": lambda: self.one(SENTENCES), "tags": self.tags, "geo": self.geo, "when": self.when,
            "flag": lambda: self.one([True, False, None, "true", 1, 0]), "obj": self.nested_object, "arr": self.array_of_objects,
            "mixed": lambda: self.any_value(3), "ünï": self.keyword, "a.b": self.numeric, "we ird": lambda: self.any_value(2),
            "uid": self.uid, "group": self.group, "rank": lambda: self.number(0, 9), "price": lambda: self.one([1, 2.5, 10, 0.125, 3, [4]]), "home": lambda: self.one(PLACES),
            "at": lambda: self.one(DATETIMES[:6]), "doc": self.document,
        }
        self.serial += 1
        return {key: make() for key, make in makers.items() if self.chance(0.4)} | {"serial": self.serial}

    def uid(self):
        single = lambda: self.spelled(self.one(UUIDS)) if self.chance(0.9) else self.one(["no uuid", 7, None])
        return [single() for _ in range(self.number(0, 3))] if self.chance(0.3) else single()

    def group(self):
        """Of a few values, ids of points among them, so that groups have several hits and lookups find something."""
        single = lambda: self.one([0, 1, 2, 3, -1, "red", "blue", UUIDS[0], UUIDS[2]])
        if self.chance(0.05):
            return self.one([1.5, None, True, {"a": 1}, [1, True]])
        return [single() for _ in range(self.number(0, 3))] if self.chance(0.2) else single()

    def document(self):
        text = lambda: " ".join(self.one(DOCUMENT_WORDS) for _ in range(self.number(0, 7)))
        return [text() for _ in range(2)] if self.chance(0.1) else text()

    def numeric(self):
        single = lambda: self.one([self.number(-5, 5), self.number(-10, 10) / 2, float(self.number(-3, 3)), 2**53 + 1, -(2**63), 1e300, 1e-9, True, "3", None])
        return [single() for _ in range(self.number(0, 4))] if self.chance(0.25) else single()

    def keyword(self):
        if self.chance(0.2):
            return [self.one(KEYWORDS) for _ in range(self.number(0, 3))]
        return self.one([*KEYWORDS, None, 1, 1.0, True])

    def tags(self):
        return [self.one([*KEYWORDS, 1, 2, 2.0, None, True, [], ["red"], [None], {"a": 1}]) for _ in range(self.number(0, 5))]

    def geo(self):
        def single():
            if self.chance(0.1):
                return self.one([{"lat": 1}, {"lon": "2", "lat": "3"}, {"lat": None, "lon": 1}, [1, 2], "1,2", None, {}])
            return {"lon": self.one([self.number(-18, 18) * 10, self.number(-180, 180)]), "lat": self.number(-9, 9) * 10} | ({"name": "x"} if self.chance(0.1) else {})

        return [single() for _ in range(self.number(0, 3))] if self.chance(0.3) else single()

    def when(self):
        single = lambda: self.one(DATETIMES) if self.chance(0.8) else self.one([*NO_DATETIMES, 1614834367, None])
        return [single() for _ in range(self.number(0, 3))] if self.chance(0.3) else single()

    def nested_object(self):
        return self.one([
            {"a": self.numeric()}, {"a": {"b": self.keyword(), "c": None}}, {"a": [1, {"b": 2}]}, {"deep": {"er": {"still": self.numeric()}}}, {}, None, 5, [],
        ])

    def array_of_objects(self):
        element = lambda: self.one([
            {"x": self.numeric(), "y": self.keyword()}, {"x": self.numeric(), "sub": [{"z": self.number(0, 3)} for _ in range(self.number(0, 3))]},
            {"y": None}, {}, 7, None, [{"x": 1}],
        ])
        return [element() for _ in range(self.number(0, 4))] if self.chance(0.9) else element()

    def any_value(self, depth):
        if depth == 0 or self.chance(0.4):
            return self.one([None, True, False, 0, 1, -1, 1.0, 0.5, "", "red", "1", [], {}, [None], [[1, 2], [3]]])
        if self.chance(0.5):
            return [self.any_value(depth - 1) for _ in range(self.number(0, 3))]
        return {key: self.any_value(depth - 1) for key in self.some(["a", "b", "x", "é", "a.b", "[]"], 0, 3)}

    # Filters

    def filter(self, name, depth=2):
        built = {}
        for clause in self.weighted([(["must"], 3), (["should"], 3), (["must_not"], 2), (["must", "must_not"], 2), (["must", "should", "must_not"], 1), ([], 0.3)]):
            if self.chance(0.9):
                conditions = [self.condition(name, depth) for _ in range(self.weighted([(0, 1), (1, 8), (2, 4), (3, 2)]))]
                built[clause] = conditions[0] if len(conditions) == 1 and self.chance(0.3) else conditions
        if self.chance(0.12):
            conditions = [self.condition(name, depth) for _ in range(self.number(1, 4))]
            built["min_should"] = {"conditions": conditions, "min_count": 0 if self.chance(0.02) else self.number(1, 3)}
        return built

    def maybe_filter(self, name, probability=0.6):
        return self.filter(name) if self.chance(probability) else None

    def condition(self, name, depth):
        kind = self.weighted([
            ("match", 8), ("range", 3), ("datetime", 2), ("geo", 2), ("values_count", 2), ("empty", 2), ("null", 2), ("has_id", 2), ("has_vector", 1),
            ("slice", 1), ("nested", 2 if depth else 0), ("filter", 2 if depth else 0),
        ])
        return getattr(self, f"condition_{kind}")(name, depth)

    def field(self, paths):
        return self.one(paths) if self.chance(0.85) else self.one(PATHS)

    def condition_match(self, name, depth):
        path = self.field(["s", "tags", "tags[]", "n", "flag", "ünï", "obj.a", "obj.a.b", "arr[].x", "arr[].y", "mixed", "arr[].sub[].z", "t", "x", "y", "z", "b"])
        kind = self.weighted([("value", 5), ("any", 3), ("except", 3), ("text", 3), ("text_any", 2), ("phrase", 3), ("prefix", 1), ("substring", 1)])
        if kind == "value" and self.chance(0.5):
            return self.condition_of_a_point(name)
        if kind == "value":
            match = {"value": self.one([*KEYWORDS, *KEYWORDS, *range(-3, 4), True, False, 2**53 + 1, -(2**63)])}
        elif kind in ("any", "except"):
            match = {kind: self.some(KEYWORDS, 0, 4) if self.chance(0.5) else self.some(list(range(-3, 5)), 0, 4)}
        else:
            path = self.field(["t", "t", "doc", "s", "tags", "arr[].y"])
            worded = sorted(field for field, params in self.indexes(name).items() if params["type"] == "text")
            if worded and kind in ("text", "text_any", "phrase") and self.chance(0.6):
                path = self.one(worded)
            match = {kind: self.one([*SENTENCES, *WORDS, *DOCUMENT_WORDS, "red blue", "quick brown", "green RED", "zzz", "apple pear", "Qui bro", "gre", "pi", "the fox"])}
        return {"key": path, "match": match}

    def condition_of_a_point(self, name):
        """A match with a value that some point holds."""
        living = self.living(name)
        collection = self.local(name)
        payload = collection.payload[collection.ids[self.one(living)]] if living else {}
        pairs = [("s", payload.get("s")), ("n", payload.get("n")), ("flag", payload.get("flag")), ("ünï", payload.get("ünï"))]
        pairs += [("tags", tag) for tag in payload.get("tags") or [] if isinstance(payload.get("tags"), list)]
        usable = [(path, value) for path, value in pairs if isinstance(value, (bool, int, str))] or [("s", "red")]
        path, value = self.one(usable)
        return {"key": path, "match": {"value": value}}

    def condition_range(self, name, depth):
        bounds = {bound: self.one([self.number(-4, 4), self.number(-8, 8) / 2]) for bound in self.some(["lt", "lte", "gt", "gte"], 1, 2)}
        return {"key": self.field(["n", "rank", "price", '"a.b"', "arr[].x", "obj.a", "obj.deep.er.still", "tags", "x"]), "range": bounds}

    def condition_datetime(self, name, depth):
        bounds = {bound: self.one(BOUNDS) for bound in self.some(["lt", "lte", "gt", "gte"], 1, 2)}
        return {"key": self.field(["when", "when[]", "at"]), "range": bounds}

    def condition_geo(self, name, depth):
        path = self.field(["geo", "geo[]", "home"])
        lon, lat = self.number(-170, 170) + 0.5, self.number(-80, 80) + 0.25
        kind = self.one(["radius", "box", "polygon"])
        if kind == "radius":
            return {"key": path, "geo_radius": {"center": {"lon": lon, "lat": lat}, "radius": float(self.one([1e5, 1.3e6, 5.1e6, 1.2e7]))}}
        if kind == "box":
            left, right, top, bottom = self.number(-18, 18) * 10, self.number(-18, 18) * 10, self.number(0, 9) * 10, self.number(-9, 0) * 10
            return {"key": path, "geo_bounding_box": {"top_left": {"lon": left, "lat": top}, "bottom_right": {"lon": right, "lat": bottom}}}
        ring = lambda half: [{"lon": lon + x * half, "lat": lat + y * half} for x, y in ((-1, -1), (1, -0.9), (0.9, 1), (-1.1, 0.8), (-1, -1))]
        lon, lat = self.number(-100, 100) + 0.5, self.number(-30, 30) + 0.25
        polygon = {"exterior": {"points": ring(50)}} | ({"interiors": [{"points": ring(21)}]} if self.chance(0.5) else {})
        return {"key": path, "geo_polygon": polygon}

    def condition_values_count(self, name, depth):
        bounds = {bound: self.number(0, 3) for bound in self.some(["lt", "lte", "gt", "gte"], 1, 2)}
        return {"key": self.field(["tags", "tags[]", "arr", "arr[].sub", "n", "mixed", "absent"]), "values_count": bounds}

    def condition_empty(self, name, depth):
        path = self.field(["tags", "mixed", "obj", "arr[].sub", "n", "absent"])
        return {"is_empty": {"key": path}} if self.chance(0.6) else {"key": path, "is_empty": self.chance(0.5)}

    def condition_null(self, name, depth):
        path = self.field(["s", "tags", "mixed", "flag", "arr[].y", "n", "absent"])
        return {"is_null": {"key": path}} if self.chance(0.6) else {"key": path, "is_null": self.chance(0.5)}

    def condition_has_id(self, name, depth):
        return {"has_id": self.ids(name, 0, self.one([3, 12, 60]))}

    def condition_has_vector(self, name, depth):
        return {"has_vector": self.one([*VECTOR_NAMES, "nope"])}

    def condition_slice(self, name, depth):
        total = self.number(1, 5)
        return {"slice": {"total": total, "index": self.number(0, total - 1)}}

    def condition_nested(self, name, depth):
        return {"nested": {"key": self.one(["arr", "arr[]", "arr[].sub", "mixed", "obj", "geo", "tags"]), "filter": self.nested_filter(name, depth - 1)}}

    def nested_filter(self, name, depth):
        inner = [
            lambda: {"key": "x", "range": {self.one(["gt", "lt", "gte", "lte"]): self.number(-3, 3)}}, lambda: {"key": "y", "match": {"value": self.one(KEYWORDS)}},
            lambda: {"key": "z", "match": {"any": self.some([0, 1, 2, 3], 0, 3)}}, lambda: {"is_empty": {"key": "x"}}, lambda: {"is_null": {"key": "y"}},
            lambda: {"key": "sub", "values_count": {"gte": 1}}, lambda: {"nested": {"key": "sub", "filter": {"must": [{"key": "z", "match": {"value": self.number(0, 3)}}]}}},
            lambda: self.condition(name, depth), lambda: {"key": "name", "match": {"value": "x"}},
        ]
        return {clause: [self.one(inner)() for _ in range(self.number(1, 2))] for clause in self.some(["must", "should", "must_not"], 1, 2)}

    def condition_filter(self, name, depth):
        return self.filter(name, depth - 1)

    # Selectors

    def with_payload(self):
        paths = [path for path in PATHS if "[7]" not in path]
        if self.chance(0.01):
            return [self.one(BROKEN_PATHS)]
        return self.weighted([
            (True, 5), (False, 2), (self.some(paths, 0, 4), 2), ({"include": self.some(paths, 0, 4)}, 1), ({"exclude": self.some(paths, 0, 4)}, 2),
        ])

    def with_vectors(self):
        return self.weighted([(False, 3), (True, 3), (self.some([*VECTOR_NAMES, "nope"], 0, 3), 2)])

    def select(self, name, unknown=0.04):
        """Points for a write, mostly existing ones: an unknown id makes it fail after doing the rest."""
        kind = self.weighted([("list", 2), ("points", 3), ("filter", 3)])
        if kind == "filter":
            return {"filter": self.filter(name)}
        if self.chance(0.015):
            return {kind: []}
        return {kind: self.ids(name, 1, 5, known=1 - unknown)}

    # Operations

    def next(self):
        if len(self.collections()) < 3:
            return self.create_collection()
        return getattr(self, self.weighted(self.operations))()

    def vector_params(self, is_grid, form="dense", distance=None):
        params = {"size": self.number(2, 7), "distance": distance or self.one(DISTANCES)}
        if form == "multi":
            params["multivector_config"] = {"comparator": "max_sim"}
        # Components that either type holds exactly; normalised ones are not.
        if is_grid and params["distance"] != "Cosine" and self.chance(0.3):
            params["datatype"] = self.one(["uint8", "float16", "float32"])
        return params

    def create_collection(self):
        absent = [name for name in NAMES if name not in self.collections()]
        taken = [*self.collections(), *self.aliases()]
        name = self.one(absent) if absent and (not taken or self.chance(0.8)) else self.one(taken)
        params = lambda form="dense", distance=None: self.vector_params(name.startswith("grid"), form, distance)
        form = self.one(["bare", "map of one", "with default", "two", "four", "rows", "with rows", "sparse only", "hybrid", "all", "all"])
        sparse = None
        if form == "bare":
            vectors = params()
        elif form == "rows":
            vectors = params("multi")
        elif form == "map of one":
            vectors = {self.one(["", "text"]): params()}
        elif form == "with default":
            vectors = {"": params(), "img": params()}
        elif form == "two":
            vectors = {"text": params(), "img": params()}
        elif form == "four":
            vectors = {vector: params(distance=distance) for vector, distance in zip(VECTOR_NAMES, DISTANCES)}
        else:
            vectors = {}
            if form in ("with rows", "all"):
                vectors |= {"rows": params("multi"), "more": params("multi")}
            if form in ("hybrid", "all", "with rows"):
                vectors |= {self.one(["", "text"]): params()}
            if form in ("sparse only", "hybrid", "all"):
                sparse = {vector: {} if MODIFIERS[vector] is None else {"modifier": MODIFIERS[vector]} for vector in self.some(list(MODIFIERS), 2 if form == "all" else 1, 2)}
        if self.chance(0.03):
            vectors = {"size": self.one([0, 65537]), "distance": "Dot"}
        metadata = {"kind": "test", "n": 1, "gone": True} if self.chance(0.3) else {}
        return {"op": "create_collection", "name": name, "vectors": vectors, "sparse_vectors": sparse, "shard_number": self.number(1, 3), "metadata": metadata}

    def delete_collection(self):
        return {"op": "delete_collection", "name": self.one(NAMES) if self.chance(0.8) else self.one(ALIASES)}

    def update_collection(self):
        name = self.target()
        if self.chance(0.3):
            dense = [vector for vector, kind in self.schema(name).items() if kind.form != "sparse"]
            return {"op": "update_collection", "name": name, "vectors": {self.one([*dense, "nope"]): {"hnsw_config": {"m": 12}}}}
        return {"op": "update_collection", "name": name, "metadata": {self.one(["kind", "n", "new"]): self.one([1, 1.5, "x", None, [1, None], {"a": None}])}}

    def update_aliases(self):
        def action():
            existing = sorted(self.aliases())
            kind = self.weighted([("create", 4), ("delete", 2), ("rename", 2)])
            if kind == "create":
                collection = self.one(NAMES) if self.chance(0.15) else self.one(self.collections())
                return {"create_alias": {"collection_name": collection, "alias_name": self.one(ALIASES) if self.chance(0.95) else self.one(NAMES)}}
            old = self.one(existing) if existing and self.chance(0.8) else self.one(ALIASES)
            if kind == "delete":
                return {"delete_alias": {"alias_name": old}}
            return {"rename_alias": {"old_alias_name": old, "new_alias_name": self.one(ALIASES)}}

        return {"op": "update_aliases", "actions": [action() for _ in range(self.number(1, 3))]}

    def points(self, name, low, high, repeat=True):
        count = self.number(low, high)
        ids = [self.known_id(name, 0.3) for _ in range(count)]
        if not repeat:
            ids = list(dict.fromkeys(ids))
        points = []
        for point in ids:
            built = {"id": self.spelled(point), "vector": self.point_vectors(name)}
            if self.chance(0.9):
                built["payload"] = self.payload()
            points.append(built)
        return points

    def upsert(self):
        name = self.target()
        op = {"op": "upsert", "name": name}
        if self.chance(0.3):
            op["mode"] = self.one(["upsert", "insert_only", "update_only"])
        if self.chance(0.15):
            op["update_filter"] = self.filter(name)
        conditional = "update_filter" in op or op.get("mode", "upsert") != "upsert"
        if self.chance(0.3) and self.local(name):
            return op | self.batch_form(name, conditional)
        if self.chance(0.1):
            op["wait"] = False
        return op | {"points": [] if self.chance(0.01) else self.points(name, 1, 20, repeat=not conditional)}

    def batch_form(self, name, conditional):
        points = self.points(name, 1, 12, repeat=not conditional)
        schema = self.schema(name)
        if list(schema) == [""] and self.chance(0.6):
            vectors = [self.a_vector(name, schema[""]) for _ in points]
        else:
            vectors = {vector: [self.a_vector(name, schema[vector]) for _ in points] for vector in self.some(sorted(schema), 1, 4)}
        form = {"form": "batch", "ids": [point["id"] for point in points], "vectors": vectors}
        return form | ({"payloads": [point.get("payload", {}) for point in points]} if self.chance(0.8) else {})

    def delete(self):
        name = self.target()
        select = self.select(name, unknown=0.2)
        # A random filter may match everything, which would leave nothing to search.
        if "filter" in select and self.chance(0.96):
            select = {"filter": {"must": [select["filter"], {"has_id": self.ids(name, 1, 8)}]}}
        return {"op": "delete", "name": name, "select": select} | ({"wait": False} if self.chance(0.1) else {})

    def vector_changes(self, name, low=1, repeat=True):
        changes = []
        for point in self.ids(name, low, 5, known=0.96) + (self.ids(name, 0, 1) if repeat else []):
            vector = self.point_vectors(name)
            if vector != {}:
                changes.append({"id": point, "vector": vector})
        return changes

    def update_vectors(self):
        name = self.target()
        filtered = self.chance(0.2)
        op = {"op": "update_vectors", "name": name, "points": self.vector_changes(name, repeat=not filtered)}
        return op | ({"update_filter": self.filter(name)} if filtered else {})

    def vector_names(self, name):
        if self.chance(0.02):
            return []
        return self.some(sorted(self.schema(name)), 1, 2) + (["nope"] if self.chance(0.03) else [])

    def delete_vectors(self):
        name = self.target()
        return {"op": "delete_vectors", "name": name, "vectors": self.vector_names(name), "select": self.select(name)}

    def change_path(self):
        return self.one(BROKEN_PATHS) if self.chance(0.02) else self.one(CHANGED_PATHS)

    def payload_change(self):
        """A few keys, nulls among them: null removes."""
        change = {key: value for key, value in self.payload().items() if self.chance(0.5)}
        for key in self.some(["n", "s", "obj", "mixed", "tags"], 0, 2):
            change[key] = None
        return change

    def set_payload(self):
        name = self.target()
        op = {"op": "set_payload", "name": name, "payload": self.payload_change(), "select": self.select(name)}
        return op | ({"key": self.change_path()} if self.chance(0.5) else {})

    def overwrite_payload(self):
        name = self.target()
        return {"op": "overwrite_payload", "name": name, "payload": self.payload_change(), "select": self.narrow(name)}

    def narrow(self, name):
        """A selection that leaves most points alone, for changes that wipe out payloads."""
        select = self.select(name)
        return select if "filter" not in select else {"filter": {"must": [select["filter"], {"has_id": self.ids(name, 1, 6)}]}}

    def delete_payload(self):
        name = self.target()
        return {"op": "delete_payload", "name": name, "keys": [self.change_path() for _ in range(self.number(1, 3))], "select": self.select(name)}

    def clear_payload(self):
        name = self.target()
        return {"op": "clear_payload", "name": name, "select": self.narrow(name)}

    def batch(self):
        name = self.target()
        operations = [getattr(self, f"batch_{self.one(BATCH)}")(name) for _ in range(self.number(1, 4))]
        return {"op": "batch", "name": name, "operations": operations}

    def chosen(self, name):
        """A selection inside a batch: never empty, see DIFFERENCES.md."""
        ids = self.ids(name, 1, 4, known=0.97)
        return {"points": ids} if self.chance(0.6) else {"filter": {"must": [{"has_id": ids}]}}

    def batch_upsert(self, name):
        if self.chance(0.3) and self.local(name):
            form = self.batch_form(name, False)
            return {"upsert": {"batch": {key: value for key, value in form.items() if key != "form"}}}
        extra = {"update_mode": self.one(["insert_only", "update_only"])} if self.chance(0.2) else {}
        return {"upsert": {"points": self.points(name, 1, 5, repeat=not extra)} | extra}

    def batch_delete(self, name):
        return {"delete": self.chosen(name)}

    def batch_set_payload(self, name):
        return {"set_payload": {"payload": self.payload_change()} | self.chosen(name) | ({"key": self.one(CHANGED_PATHS)} if self.chance(0.4) else {})}

    def batch_overwrite_payload(self, name):
        return {"overwrite_payload": {"payload": self.payload_change()} | self.chosen(name)}

    def batch_delete_payload(self, name):
        return {"delete_payload": {"keys": self.some(CHANGED_PATHS, 1, 3)} | self.chosen(name)}

    def batch_clear_payload(self, name):
        return {"clear_payload": self.chosen(name)}

    def batch_update_vectors(self, name):
        changes = self.vector_changes(name, repeat=False)
        return {"update_vectors": {"points": changes}} if changes else self.batch_set_payload(name)

    def batch_delete_vectors(self, name):
        return {"delete_vectors": {"vector": self.some(sorted(self.schema(name)), 1, 2)} | self.chosen(name)}

    def retrieve(self):
        name = self.target()
        ids = self.ids(name, 0, 6, known=0.7)
        repeated = ids + [self.spelled(self.known_id(name)) for _ in range(self.number(0, 1))]
        return {"op": "retrieve", "name": name, "ids": repeated, "with_payload": self.with_payload(), "with_vectors": self.with_vectors()}

    def scroll(self):
        name = self.target()
        op = {"op": "scroll", "name": name, "limit": self.limit(), "with_payload": self.with_payload(), "with_vectors": self.with_vectors()}
        if self.chance(0.35 if self.has_range_index(name) else 0.02):
            op["order_by"] = self.order_by(name)
        if self.chance(0.06 if "order_by" in op else 0.5):
            op["offset"] = self.spelled(self.known_id(name, 0.7))
        return op | {"filter": self.maybe_filter(name)}

    def has_range_index(self, name):
        return any(params["type"] in protocol.RANGED for params in self.indexes(name).values())

    def order_by(self, name):
        """A field that can be ordered by, nearly always, with what the protocol allows beside it."""
        ranged = [(field, params["type"]) for field, params in self.indexes(name).items() if params["type"] in protocol.RANGED]
        field, kind = self.one(sorted(ranged)) if ranged and self.chance(0.98) else (self.one(["n", "s", "absent"]), "integer")
        if self.chance(0.2):
            return field
        order = {"key": field}
        if self.chance(0.7):
            order["direction"] = self.one(["asc", "desc"])
        if self.chance(0.4):
            order["start_from"] = self.one(BOUNDS[:2]) if kind == "datetime" else self.one([self.number(-4, 8), self.number(-8, 8) / 2])
        return order

    def limit(self):
        return self.weighted([(self.number(1, 12), 8), (1, 1), (1000, 1), (10**9, 1), (0, 0.15)])

    def count(self):
        name = self.target()
        return {"op": "count", "name": name, "filter": self.maybe_filter(name, 0.9)}

    # Queries

    def query(self):
        name = self.target()
        return {"op": "query", "name": name} | self.search(name)

    def query_batch(self):
        name = self.target()
        searches = [self.search(name) for _ in range(self.number(0 if self.local(name) else 1, 4))]
        return {"op": "query_batch", "name": name, "searches": searches}

    def search(self, name):
        """The fields of one query: a tree of prefetches or none."""
        search = self.tree(name, self.weighted([(0, 6), (1, 3), (2, 1.5), (3, 0.5)]))
        is_sample = isinstance(search.get("query"), dict) and "sample" in search["query"]
        if self.chance(0.3) and not is_sample:
            search["offset"] = self.number(0, 15)
        return search | {"limit": self.limit(), "with_payload": self.with_payload(), "with_vectors": self.with_vectors()}

    def tree(self, name, depth, is_inner=False):
        """One level of a query with the levels below it."""
        level = {"filter": self.maybe_filter(name, 0.25 if is_inner else 0.5), "prefetch": []}
        if depth and self.chance(0.4):
            level["filter"] = None
        if depth:
            level["prefetch"] = [self.source(name, self.number(0, depth - 1)) for _ in range(self.number(1, 3))]
        if not level["prefetch"]:
            del level["prefetch"]
        kind = self.weighted(
            [("vector", 6), ("order", 1), ("text", 1), ("sample", 0.3 if not is_inner else 0.05)]
            + ([("fusion", 7), ("formula", 5), ("no query", 0.05)] if depth else [("by id", 0.8)])
        )
        getattr(self, f"level_{kind.replace(' ', '_')}")(name, level)
        return level

    def source(self, name, depth):
        """A prefetch."""
        level = self.tree(name, depth, is_inner=True)
        is_sample = isinstance(level.get("query"), dict) and "sample" in level["query"]
        # A sample of everything is the same whoever draws it.
        if self.chance(0.9) or is_sample:
            level["limit"] = 1000 if is_sample else self.weighted([(self.between_scores(name, level, self.number(1, 15)), 6), (1000, 2), (0, 0.02)])
        return level

    def between_scores(self, name, level, limit):
        """This limit or a larger one that does not part points of equal scores: which of these are found is free."""
        ranking = {"op": "query", "name": name, "with_payload": False, "with_vectors": False} | level | {"limit": protocol.ALL}
        found = ops.run_local(self.oracle, ranking)
        scores = [] if found.failed else [hit["score"] for hit in found.value]
        while limit < len(scores) and scores[limit] == scores[limit - 1]:
            limit += 1
        return limit

    def level_by_id(self, name, level):
        pass

    level_no_query = level_by_id

    def level_order(self, name, level):
        if not self.has_range_index(name) and self.chance(0.95):
            return self.level_vector(name, level)
        level["query"] = {"order_by": self.order_by(name)}
        if self.chance(0.02):
            level["score_threshold"] = 0.5

    def level_sample(self, name, level):
        level["query"] = {"sample": "random"}

    def level_text(self, name, level):
        """BM25 over a text index, where there is one."""
        scored = [field for field, params in self.indexes(name).items() if params.get("scoring")]
        if not scored and self.chance(0.97):
            return self.level_vector(name, level)
        text = " ".join(self.one([*DOCUMENT_WORDS, "fox", "red"]) for _ in range(self.number(0, 3)))
        if self.chance(0.4):
            text = {"query": text, "scoring": {"bm25": {name: value for name, value in (("k", self.one([0.5, 1.25, 2.0])), ("b", self.one([0.0, 0.25, 1.0]))) if self.chance(0.7)}}}
        level |= {"query": {"text": text}, "using": self.one(scored) if scored else "s"}
        if self.chance(0.2):
            level["score_threshold"] = self.one([0.1, 0.5])

    def level_fusion(self, name, level):
        count = len(level["prefetch"])
        for one in level["prefetch"]:
            if isinstance(one.get("query"), dict) and "sample" in one["query"]:
                # Its order is random, and would decide the ranks.
                del one["query"]
                if "prefetch" in one:
                    one["query"] = {"formula": "$score"}
        if self.chance(0.3):
            level["query"] = {"fusion": "dbsf"}
        elif self.chance(0.4):
            level["query"] = {"fusion": "rrf"}
        else:
            rrf = {"k": self.one([1, 2, 60])} if self.chance(0.6) else {}
            if self.chance(0.6):
                rrf["weights"] = [self.one([1.0, 2.0, 0.5, 0.0, 3.0]) for _ in range(count + (1 if self.chance(0.02) else 0))]
            level["query"] = {"rrf": rrf}
        if self.chance(0.2):
            level["score_threshold"] = self.one([0.05, 0.3, 0.7])
        if self.chance(0.01):
            level["using"] = self.one(sorted(self.schema(name)))

    def level_formula(self, name, level):
        level["query"] = {"formula": self.expression(name, self.number(0, 3))}
        defaults = {"price": 1.5, "rank": 2, "home": PLACES[0], "at": DATETIMES[0], "n": 1, "$score[1]": 0.25, "$score": 0.5, "absent": 3}
        chosen = {key: value for key, value in defaults.items() if self.chance(0.99 if "$" not in key else 0.3)}
        if chosen:
            level["query"]["defaults"] = chosen
        if self.chance(0.15):
            level["score_threshold"] = self.one([0.0, 0.5, -1.0])

    def expression(self, name, depth):
        """Scores go through what does not magnify their rounding only; payloads through everything."""
        leaf = lambda: self.weighted([
            ("$score", 4), ("$score[1]", 1.5), ("$score[7]", 0.2), (self.number(-4, 4) / 2, 3), ({"key": "rank", "match": {"value": self.number(0, 9)}}, 1), (self.condition(name, 1), 2),
            (self.payload_expression(1), 3),
        ])
        if depth == 0:
            return leaf()
        inner = lambda: self.expression(name, depth - 1)
        positive = lambda: {"sum": [1.0, {"abs": inner()}]}
        bounded = lambda: {"min": [{"abs": inner()}, 4.0]}
        decay = lambda: {"x": inner()} | ({"target": inner()} if self.chance(0.5) else {}) | ({"scale": self.one([0.5, 2.0, 10.0])} if self.chance(0.6) else {}) | ({"midpoint": self.one([0.25, 0.75])} if self.chance(0.4) else {})
        makers = [
            lambda: {"sum": [inner() for _ in range(self.number(1, 3))]}, lambda: {"mult": [inner() for _ in range(self.number(1, 2))]}, lambda: {"neg": inner()}, lambda: {"abs": inner()},
            lambda: {"max": [inner() for _ in range(self.number(1, 3))]}, lambda: {"min": [inner() for _ in range(self.number(1, 3))]}, lambda: {"sqrt": positive()}, lambda: {"ln": positive()},
            lambda: {"log10": positive()}, lambda: {"exp": bounded()}, lambda: {"acosh": positive()}, lambda: {"div": {"left": inner(), "right": positive()}},
            lambda: {"pow": {"base": positive(), "exponent": self.one([0.5, 2.0, -1.0])}}, lambda: {"lin_decay": decay()}, lambda: {"exp_decay": decay()}, lambda: {"gauss_decay": decay()},
            lambda: self.payload_expression(2),
        ]
        return self.one(makers)()

    def payload_expression(self, depth):
        """Of payload values and constants; now and then it has no value for some point."""
        if depth == 0:
            return self.one(["price", "price", "rank", "rank", "n" if self.chance(0.03) else "price", 2.0, 0.5])
        inner = lambda: self.payload_expression(depth - 1)
        least = lambda one: inner() if self.chance(0.03) else {"max": [inner(), one]}
        return self.one([
            inner, lambda: {"geo_distance": {"origin": self.one(PLACES), "to": "home"}}, lambda: {"exp_decay": {"x": {"geo_distance": {"origin": self.one(PLACES), "to": "home"}}, "scale": 1048576.0}},
            lambda: {"gauss_decay": {"x": {"datetime_key": "at"}, "target": {"datetime": self.one(BOUNDS)}, "scale": 65536.0}}, lambda: {"datetime_key": "at"}, lambda: {"datetime": self.one(DATETIMES[:6])},
            lambda: {"div": {"left": inner(), "right": {"sum": [inner(), -2.0]}, "by_zero_default": self.one([0.0, 5.0])}}, lambda: {"div": {"left": inner(), "right": least(0.5)}},
            lambda: {"ln": least(0.5)}, lambda: {"sqrt": least(0.0)}, lambda: {"mult": [inner(), inner()]}, lambda: {"log10": least(0.25)}, lambda: {"acosh": least(1.0)},
            lambda: {"pow": {"base": least(0.5), "exponent": self.payload_expression(0)}}, lambda: {"exp": {"min": [inner(), 8.0]}}, lambda: {"neg": inner()}, lambda: {"abs": inner()},
            lambda: {"max": []} if self.chance(0.02) else inner(),
        ])()

    def level_vector(self, name, level):
        """A query that compares vectors."""
        schema = self.schema(name)
        vector = "nope" if self.chance(0.01) else self.one(sorted(schema) or [""])
        kind = schema.get(vector, Kind(3, "Dot"))
        level["using"] = vector
        if vector == "" and self.chance(0.4):
            del level["using"]
        source, held = name, vector
        if self.chance(0.12):
            source, held, level["lookup_from"] = self.look_elsewhere(name, vector, kind)
        example = lambda: self.example(name, kind, source, held)
        query = self.weighted([("nearest", 6), ("id", 2), ("object", 1), ("mmr", 2), ("recommend", 3), ("discover", 2), ("context", 2), ("feedback", 1.5)])
        if query == "id" or query == "nearest":
            level["query"] = self.spelled(self.holder(source, held)) if query == "id" else self.query_vector(name, kind)
        else:
            level["query"] = getattr(self, f"query_{query}")(kind, example)
        if query == "nearest":
            level.pop("lookup_from", None)
        level["params"] = self.weighted([
            (None, 1), ({"exact": True}, 3), ({"hnsw_ef": 1024}, 3), ({"quantization": {"ignore": True}}, 0.5), ({"hnsw_ef": 1024, "acorn": {"enable": True}}, 0.5),
            ({"idf": {"corpus": self.filter(name)}}, 4 if kind.has_idf else 0), ({"idf": "global"}, 1 if kind.has_idf else 0),
        ])
        if self.chance(0.25):
            level["score_threshold"] = self.threshold(name, kind, query)

    def example(self, name, kind, source, held):
        return self.spelled(self.holder(source, held)) if self.chance(0.45) else self.query_vector(name, kind)

    def query_vector(self, name, kind):
        """Mostly of the right shape. One component would be spread over all by local mode."""
        if self.chance(0.003):
            return {"indices": [1, 1], "values": [1.0, 1.0]} if kind.form == "sparse" else self.a_vector(name, dataclasses.replace(kind, size=kind.size + 1))
        return self.a_vector(name, kind)

    def query_object(self, kind, example):
        return {"nearest": example()}

    def query_mmr(self, kind, example):
        # Shares that f32 holds exactly.
        mmr = {"diversity": self.one([0.0, 0.25, 0.5, 0.75, 1.0])} if self.chance(0.8) else {}
        return {"nearest": example(), "mmr": mmr | ({"candidates_limit": self.one([1000, 1000, self.number(1, 40)])} if self.chance(0.8) else {})}

    def query_recommend(self, kind, example):
        strategy = self.one([None, "average_vector", "best_score", "best_score", "sum_scores", "sum_scores"])
        is_average = strategy in (None, "average_vector")
        recommend = {"positive": [example() for _ in range(self.number(1 if self.chance(0.9 if not is_average else 0.98) else 0, 3))], "negative": [example() for _ in range(self.number(0, 2))]}
        if not recommend["negative"] and self.chance(0.5):
            del recommend["negative"]
        return {"recommend": recommend | ({} if strategy is None else {"strategy": strategy})}

    def pair(self, example):
        return {"positive": example(), "negative": example()}

    def query_discover(self, kind, example):
        return {"discover": {"target": example(), "context": [self.pair(example) for _ in range(self.number(0, 3))]}}

    def query_context(self, kind, example):
        pairs = [self.pair(example) for _ in range(self.number(1, 3))]
        return {"context": pairs[0] if len(pairs) == 1 and self.chance(0.5) else pairs}

    def query_feedback(self, kind, example):
        judged = [{"example": example(), "score": self.one([0.0, 0.25, 0.5, 0.5, 1.0])} for _ in range(self.number(1, 3))]
        naive = {"a": self.one([0.5, 1.0]), "b": self.one([0.5, 1.0, 2.0]), "c": self.one([0.25, 1.0])}
        return {"relevance_feedback": {"target": example(), "feedback": judged, "strategy": {"naive": naive}}}

    def look_elsewhere(self, name, vector, kind):
        """Another collection whose points are looked up, or this one under another vector name."""
        here = self.aliases().get(name, name)
        fitting = [(one, other) for one in self.collections() for other, of in self.schema(one).items() if of.fits(kind) and (one, other) != (here, vector)]
        others = [(one, other) for one in self.collections() for other, of in self.schema(one).items() if of.form == kind.form]
        if others and self.chance(0.03):
            fitting = others + [(self.one(self.collections()), "nope")]
        elif not fitting:
            fitting = [(here, vector)]
        other, held = self.one(fitting)
        return other, held, {"collection": other} | ({} if held == vector and self.chance(0.5) else {"vector": held})

    def threshold(self, name, kind, query):
        if query not in ("nearest", "id", "object", "mmr"):
            return float(self.one([-1.0, -0.5, 0.0, 0.25, 0.5, 1.5, -4.0]))
        smaller = kind.distance in ("Euclid", "Manhattan")
        if kind.distance == "Cosine" or kind.has_idf or not self.is_grid(name):
            high = 1.0 if kind.distance == "Cosine" else 4.0
            return float(np.float32(self.random.uniform(0 if smaller else -high, high)))
        return float(self.number(0, 12)) if smaller else float(self.number(-8, 10))

    def query_groups(self):
        name = self.target()
        search = self.search(name)
        while self.has_no_order(search):
            search = self.search(name)
        search.pop("offset", None)
        op = {"op": "query_groups", "name": name} | search | self.grouping(name)
        return op | {"limit": 1 if op["limit"] > 1000 else op["limit"]}

    def grouping(self, name):
        fields = {"group_by": self.one(["group", "group", "group", "s", "tags", "rank", "n", "arr[].x", "mixed", "absent"]), "group_size": self.weighted([(self.number(1, 4), 9), (20, 1), (0, 0.1)])}
        if self.chance(0.3):
            other = self.target()
            fields["with_lookup"] = other if self.chance(0.5) else {"collection": other, "with_payload": self.with_payload(), "with_vectors": self.with_vectors()}
        return fields

    def has_no_order(self, search):
        """Sampled and diversified queries in groups are not defined; fields with several values repeat points."""
        query = search.get("query")
        if not isinstance(query, dict):
            return False
        order = query.get("order_by")
        return "sample" in query or "mmr" in query or (order is not None and (order if isinstance(order, str) else order["key"]) != "rank")

    def old(self):
        """One of the eight old endpoints, with what it can ask."""
        name = self.target()
        kind, form = self.one(["search", "recommend", "discover"]), self.weighted([("one", 3), ("batch", 1), ("groups", 1.5)])
        if kind == "discover" and form == "groups":
            form = "one"
        searches = [self.old_search(name, kind) for _ in range(self.number(1, 3) if form == "batch" else 1)]
        if form == "groups":
            searches[0] |= self.grouping(name)
            searches[0].pop("offset", None)
        return {"op": "old", "kind": kind, "form": form, "name": name, "searches": searches}

    def old_search(self, name, kind):
        schema = {vector: of for vector, of in self.schema(name).items() if of.form != "multi"} or {"nope": Kind(4, "Dot")}
        level = {"filter": self.maybe_filter(name)}
        vector = self.one(sorted(schema))
        of = schema[vector]
        level["using"] = vector
        if vector == "" and self.chance(0.4):
            del level["using"]
        source, held = name, vector
        if kind != "search" and self.chance(0.12):
            source, held, level["lookup_from"] = self.look_elsewhere(name, vector, of)
        example = lambda: self.example(name, of, source, held)
        query = kind if kind != "discover" or self.chance(0.7) else "context"
        level["query"] = self.query_vector(name, of) if kind == "search" else getattr(self, f"query_{query}")(of, example)
        if query == "context" and not isinstance(level["query"]["context"], list):
            level["query"]["context"] = [level["query"]["context"]]
        if kind != "discover" and self.chance(0.2):
            level["score_threshold"] = self.threshold(name, of, "nearest" if kind == "search" else query)
        if self.chance(0.3):
            level["offset"] = self.number(0, 15)
        level["params"] = self.one([None, {"exact": True}, {"hnsw_ef": 512}])
        return level | {"limit": self.weighted([(self.number(1, 12), 9), (1000, 1)]), "with_payload": self.with_payload(), "with_vectors": self.with_vectors()}

    # Other reads that rank or count

    def facet(self):
        name = self.target()
        faceted = [field for field, params in self.indexes(name).items() if params["type"] in protocol.FACETED]
        field = self.one(sorted(faceted)) if faceted and self.chance(0.96) else self.one(["s", "n", "when", "absent"])
        if not faceted and self.chance(0.9):
            return self.create_index()
        return {"op": "facet", "name": name, "key": field, "filter": self.maybe_filter(name, 0.5), "limit": self.weighted([(self.number(1, 5), 3), (100, 3), (0, 0.1)])}

    def matrix(self):
        name = self.target()
        using = "nope" if self.chance(0.02) else self.one(sorted(self.schema(name)) or [""])
        op = {"op": "matrix", "name": name, "form": self.one(["pairs", "offsets"]), "using": using, "limit": self.number(1, 5), "sample": 1000}
        # Local mode takes a while for every point.
        op["filter"] = {"must": [{"has_id": [self.spelled(self.holder(name, using)) for _ in range(self.number(0, 14))]}] + [self.condition(name, 1) for _ in range(self.number(0, 1))]}
        # Everything is sampled, so that all draw the same.
        return op | ({"sample": self.one([0, 1])} if self.chance(0.02) else {"limit": 0} if self.chance(0.02) else {})

    # Field indexes and vector names

    def create_index(self):
        name = self.target()
        if self.chance(0.35):
            field, schema = self.one(["t", "t", "t", "doc", "doc", "s"]), self.one(TEXT_INDEXES)
            if field == "doc" and self.chance(0.7):
                schema = TEXT_INDEXES[-1]
        elif self.chance(0.9):
            field = self.one(sorted(INDEXES))
            schema = self.one(INDEXES[field])
        else:
            field, schema = self.one(sorted(INDEXES)), self.one(["keyword", "integer", "float", "bool", "datetime", "uuid", "geo"])
        return {"op": "create_index", "name": name, "field": field, "schema": schema}

    def delete_index(self):
        name = self.target()
        indexed = sorted(self.indexes(name))
        return {"op": "delete_index", "name": name, "field": self.one(indexed) if indexed and self.chance(0.8) else self.one(sorted(INDEXES))}

    def create_vector_name(self):
        name = self.target()
        # The unnamed vector has no place in a path.
        vector = self.one([one for one in VECTOR_NAMES if one])
        if vector in MODIFIERS:
            return {"op": "create_vector_name", "name": name, "vector": vector, "config": {"sparse": {} if MODIFIERS[vector] is None else {"modifier": MODIFIERS[vector]}}}
        params = self.vector_params(self.is_grid(name), "multi" if vector in ("rows", "more") else "dense")
        known = self.schema(name).get(vector)
        if known is not None:
            # Local mode does not compare types of numbers, so this is another size, or the same in all.
            params = params | {"size": known.size + 1} if known.datatype or self.chance(0.5) else {"size": known.size, "distance": known.distance, **({"multivector_config": params["multivector_config"]} if "multivector_config" in params else {})}
        return {"op": "create_vector_name", "name": name, "vector": vector, "config": {"dense": params}}

    def delete_vector_name(self):
        name = self.target()
        kinds = self.schema(name)
        # A collection keeps a vector, or there would be nothing to compare.
        named = sorted(vector for vector in kinds if vector)
        vector = self.one(named) if len(kinds) > 1 and named and self.chance(0.9) else "nope"
        return {"op": "delete_vector_name", "name": name, "vector": vector}

    def info(self):
        return {"op": "info", "name": self.target()}

    def exists(self):
        return {"op": "exists", "name": self.one(NAMES + ALIASES)}

    def list_collections(self):
        return {"op": "collections"}

    def list_aliases(self):
        return {"op": "aliases"} | ({"name": self.one(self.collections())} if self.chance(0.5) else {})


OPERATIONS = [
    ("upsert", 14), ("delete", 4), ("update_vectors", 4), ("delete_vectors", 3), ("set_payload", 6), ("overwrite_payload", 2), ("delete_payload", 3),
    ("clear_payload", 1), ("batch", 5), ("retrieve", 4), ("scroll", 9), ("count", 12), ("query", 40), ("query_batch", 3), ("query_groups", 8), ("old", 7), ("facet", 4),
    ("matrix", 3), ("create_index", 7), ("delete_index", 2), ("info", 2), ("exists", 1), ("list_collections", 1), ("list_aliases", 1), ("create_collection", 1.2),
    ("delete_collection", 0.5), ("update_collection", 1), ("update_aliases", 2),
]
#: Vectors that come and go on a living collection.
VECTOR_NAME_OPERATIONS = [("create_vector_name", 1.5), ("delete_vector_name", 0.7)]
BATCH = ["upsert", "delete", "set_payload", "overwrite_payload", "delete_payload", "clear_payload", "update_vectors", "delete_vectors"]
