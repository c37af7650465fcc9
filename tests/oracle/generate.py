"""Seeded random operations, adversarial where the protocol is subtle.

The generator looks at the oracle's present state, so that most operations hit existing points, vectors and names and
some deliberately do not. What it never generates are the cases of DIFFERENCES.md, where local mode is known to answer
otherwise than the protocol says.

Collections called `grid*` hold vectors of small integers only: their scores under Dot, Euclid and Manhattan are exact,
ties are frequent, and a threshold can be met exactly. In `free*` components are arbitrary.
"""

import numpy as np

DISTANCES = ["Cosine", "Dot", "Euclid", "Manhattan"]
NAMES = ["grid0", "grid1", "grid2", "free0", "free1", "free2"]
ALIASES = ["alias0", "alias1", "alias2"]
VECTOR_NAMES = ["", "text", "img", "wide"]

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

#: Paths that filters and payload changes use; every one parses.
PATHS = [
    "n", "s", "t", "tags", "tags[]", "tags[0]", "tags[7]", "geo", "geo[]", "when", "when[]", "flag", "obj", "obj.a", "obj.a.b", "obj.deep.er.still",
    "arr", "arr[]", "arr[].x", "arr[0].x", "arr[].sub", "arr[].sub[].z", "arr[1].sub[0].z", "mixed", "mixed[]", "mixed.a", "mixed[].a", "mixed[0][1]",
    "ünï", '"a.b"', '"we ird"', '"we ird".a', "absent", "absent[].deeper",
]
BROKEN_PATHS = ["", ".", "a.", "a..b", "a[", "a[x]", "a[-1]", '"open', "a b", "a[]b"]
CHANGED_PATHS = [path for path in PATHS if path not in ("absent",)]


class Generator:
    def __init__(self, seed, oracle):
        self.random = np.random.default_rng(seed)
        self.oracle = oracle
        self.serial = 0

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
        """Vector name to (size, distance)."""
        collection = self.local(name)
        params = {} if collection is None else collection.vectors_config
        return {vector: (one.size, one.distance.value) for vector, one in params.items()} or {"": (4, "Dot")}

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

    def ids(self, name, low, high, known=0.9):
        found = {self.known_id(name, known): None for _ in range(self.number(low, high))}
        return [self.spelled(point) for point in found]

    # Vectors

    def components(self, name, size):
        grid = self.aliases().get(name, name).startswith("grid")
        if self.chance(0.02):
            return [0.0] * size
        if grid or self.chance(0.2):
            return [float(one) for one in self.random.integers(-3, 4, size)]
        return [float(one) for one in self.random.uniform(-1, 1, size).astype(np.float32)]

    def point_vectors(self, name):
        """What a point carries: bare or by name, often not all of them."""
        schema = self.schema(name)
        if self.chance(0.003):
            vector = self.one(sorted(schema))
            return self.one([{"nope": [1.0, 2.0]}, {vector: self.components(name, schema[vector][0] + 1)}, self.components(name, 9)])
        if list(schema) == [""]:
            return self.components(name, schema[""][0]) if self.chance(0.6) else self.named(name, [""])
        keep = 1.0 if self.chance(0.6) else 0.6
        return self.named(name, [vector for vector in schema if self.chance(keep)])

    def named(self, name, vectors):
        schema = self.schema(name)
        return {vector: self.components(name, schema[vector][0]) for vector in vectors}

    # Payloads

    def payload(self):
        makers = {
            "n": self.numeric, "s": self.keyword, "t": lambda: self.one(SENTENCES), "tags": self.tags, "geo": self.geo, "when": self.when,
            "flag": lambda: self.one([True, False, None, "true", 1, 0]), "obj": self.nested_object, "arr": self.array_of_objects,
            "mixed": lambda: self.any_value(3), "ünï": self.keyword, "a.b": self.numeric, "we ird": lambda: self.any_value(2),
        }
        self.serial += 1
        return {key: make() for key, make in makers.items() if self.chance(0.45)} | {"serial": self.serial}

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
        kind = self.weighted([("value", 5), ("any", 3), ("except", 3), ("text", 2), ("text_any", 2), ("phrase", 2), ("prefix", 1), ("substring", 1)])
        if kind == "value" and self.chance(0.5):
            return self.condition_of_a_point(name)
        if kind == "value":
            match = {"value": self.one([*KEYWORDS, *KEYWORDS, *range(-3, 4), True, False, 2**53 + 1, -(2**63)])}
        elif kind in ("any", "except"):
            match = {kind: self.some(KEYWORDS, 0, 4) if self.chance(0.5) else self.some(list(range(-3, 5)), 0, 4)}
        else:
            path = self.field(["t", "s", "tags", "arr[].y"])
            match = {kind: self.one([*SENTENCES, *WORDS, "red blue", "quick brown", "green RED", "zzz"])}
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
        return {"key": self.field(["n", '"a.b"', "arr[].x", "obj.a", "obj.deep.er.still", "tags", "x"]), "range": bounds}

    def condition_datetime(self, name, depth):
        bounds = {bound: self.one(BOUNDS) for bound in self.some(["lt", "lte", "gt", "gte"], 1, 2)}
        return {"key": self.field(["when", "when[]"]), "range": bounds}

    def condition_geo(self, name, depth):
        path = self.field(["geo", "geo[]"])
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
        return getattr(self, self.weighted(OPERATIONS))()

    def create_collection(self):
        form = self.one(["bare", "map of one", "with default", "two", "four"])
        params = lambda: {"size": self.number(2, 7), "distance": self.one(DISTANCES)}
        if form == "bare":
            vectors = params()
        elif form == "map of one":
            vectors = {self.one(["", "text"]): params()}
        elif form == "with default":
            vectors = {"": params(), "img": params()}
        elif form == "two":
            vectors = {"text": params(), "img": params()}
        else:
            vectors = {name: {"size": self.number(2, 7), "distance": distance} for name, distance in zip(VECTOR_NAMES, DISTANCES)}
        if self.chance(0.03):
            vectors = {"size": self.one([0, 65537]), "distance": "Dot"}
        absent = [name for name in NAMES if name not in self.collections()]
        taken = [*self.collections(), *self.aliases()]
        name = self.one(absent) if absent and (not taken or self.chance(0.8)) else self.one(taken)
        metadata = {"kind": "test", "n": 1, "gone": True} if self.chance(0.3) else {}
        return {"op": "create_collection", "name": name, "vectors": vectors, "shard_number": self.number(1, 3), "metadata": metadata}

    def delete_collection(self):
        return {"op": "delete_collection", "name": self.one(NAMES) if self.chance(0.8) else self.one(ALIASES)}

    def update_collection(self):
        name = self.target()
        if self.chance(0.3):
            return {"op": "update_collection", "name": name, "vectors": {self.one([*self.schema(name), "nope"]): {"hnsw_config": {"m": 12}}}}
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
        return op | {"points": [] if self.chance(0.01) else self.points(name, 1, 30, repeat=not conditional)}

    def batch_form(self, name, conditional):
        points = self.points(name, 1, 20, repeat=not conditional)
        schema = self.schema(name)
        if list(schema) == [""] and self.chance(0.6):
            vectors = [self.components(name, schema[""][0]) for _ in points]
        else:
            vectors = {vector: [self.components(name, schema[vector][0]) for _ in points] for vector in self.some(sorted(schema), 1, 4)}
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
        if self.chance(0.5):
            op["offset"] = self.spelled(self.known_id(name, 0.7))
        return op | {"filter": self.maybe_filter(name)}

    def limit(self):
        return self.weighted([(self.number(1, 12), 8), (1, 1), (1000, 1), (10**9, 1), (0, 0.15)])

    def count(self):
        name = self.target()
        return {"op": "count", "name": name, "filter": self.maybe_filter(name, 0.9)}

    def search(self, name):
        """The fields of one query."""
        schema = self.schema(name)
        search = {"limit": self.limit(), "with_payload": self.with_payload(), "with_vectors": self.with_vectors(), "filter": self.maybe_filter(name)}
        if self.chance(0.3):
            search["offset"] = self.number(0, 15)
        if self.chance(0.05):
            return search  # no query: by id
        vector = "nope" if self.chance(0.01) else self.one(sorted(schema))
        size, distance = schema.get(vector, (3, "Dot"))
        search["using"] = vector
        if vector == "" and self.chance(0.4):
            del search["using"]
        grid = self.aliases().get(name, name).startswith("grid")
        search["inexact"] = distance == "Cosine" or not grid
        if vector in schema and self.chance(0.25):
            search["query"] = self.spelled(self.known_id(name, 0.97))
        elif vector in schema and self.chance(0.12):
            self.look_elsewhere(search, name, size)
        else:
            search["query"] = self.components(name, size + (1 if self.chance(0.01) else 0))
        search["params"] = self.weighted([(None, 1), ({"exact": True}, 3), ({"hnsw_ef": 1024}, 3)])
        if self.chance(0.3):
            search["score_threshold"] = self.threshold(distance, search["inexact"])
        return search

    def look_elsewhere(self, search, name, size):
        """A query by the id of a point in another collection, or in this one under another vector name."""
        others = [one for one in self.collections() if one != self.aliases().get(name, name)]
        fitting = [(one, vector) for one in others for vector, (dim, _) in self.schema(one).items() if dim == size]
        other, vector = self.one(fitting) if fitting and self.chance(0.95) else (self.one(others), self.one(VECTOR_NAMES))
        search |= {"query": self.spelled(self.known_id(other, 0.98)), "lookup_from": {"collection": other, "vector": vector}, "inexact": True}

    def threshold(self, distance, inexact):
        if inexact:
            high = 1.0 if distance == "Cosine" else 4.0
            return float(np.float32(self.random.uniform(0 if distance in ("Euclid", "Manhattan") else -high, high)))
        return float(self.number(0, 12)) if distance in ("Euclid", "Manhattan") else float(self.number(-8, 10))

    def query(self):
        name = self.target()
        return {"op": "query", "name": name} | self.search(name)

    def query_batch(self):
        name = self.target()
        searches = [self.search(name) for _ in range(self.number(0 if self.local(name) else 1, 4))]
        return {"op": "query_batch", "name": name, "searches": searches}

    def info(self):
        return {"op": "info", "name": self.target()}

    def exists(self):
        return {"op": "exists", "name": self.one(NAMES + ALIASES)}

    def list_collections(self):
        return {"op": "collections"}

    def list_aliases(self):
        return {"op": "aliases"} | ({"name": self.one(self.collections())} if self.chance(0.5) else {})


OPERATIONS = [
    ("upsert", 16), ("delete", 4), ("update_vectors", 4), ("delete_vectors", 3), ("set_payload", 8), ("overwrite_payload", 3), ("delete_payload", 4),
    ("clear_payload", 1), ("batch", 6), ("retrieve", 5), ("scroll", 10), ("count", 12), ("query", 26), ("query_batch", 4), ("info", 2), ("exists", 1),
    ("list_collections", 1), ("list_aliases", 1), ("create_collection", 1.2), ("delete_collection", 0.5), ("update_collection", 1), ("update_aliases", 2),
]
BATCH = ["upsert", "delete", "set_payload", "overwrite_payload", "delete_payload", "clear_payload", "update_vectors", "delete_vectors"]
