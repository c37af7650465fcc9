"""Writes golden cases of payload and filter semantics, answered by the Python client's in-memory mode.

    python tests/oracle/filter_cases.py --out tests/oracle/filter_cases.json

needs `qdrant-client` 1.20 and nothing else; the same seed gives the same file. `shard::filter::tests` replays it. To
replay other seeds, write them elsewhere and name the file in FILTER_CASES.

Left out, because the protocol we follow and the in-memory mode differ there: quoted keys with a backslash, second 60
of a minute, the year 0, a space before the day of a date, rings that cross themselves, integers beyond 2^53 in ranges.
"""

import argparse
import copy
import json
import random
from datetime import datetime, timedelta, timezone
from math import atan2

import numpy
from qdrant_client.http import models
from qdrant_client.local import datetime_utils, json_path_parser
from qdrant_client.local.payload_filters import calculate_payload_mask
from qdrant_client.local.payload_value_extractor import exclude_payload, include_payload, value_by_key
from qdrant_client.local.payload_value_setter import delete_value_by_key, merge_payload, set_value_by_key

WORDS = ["red", "Red", "hot", "chili", "PEPPER", "naïve", "NAÏVE", "дом", "Дом", "东京", "x1", "1", "a_b", "co-op", "ß"]
KEYWORDS = ["red", "Red", "blue", "green", "", "1", "true"]
PATHS = {
    "int": ["i", "i", "i[]", "i[0]", "o.i", "l[].i", "l[0].i", "l[].n[]", "m", "m[]"],
    "float": ["f", "f", "f[]", "o.f", "i", "l[].i", "m"],
    "keyword": ["s", "s", "s[]", "s[1]", "o.s", '"o.s"', "l[].s", "m", "m[]"],
    "text": ["t", "t", "t[]", "s", "o.t", "m"],
    "datetime": ["d", "d", "d[]", "o.d", "t"],
    "geo": ["g", "g", "g[]", "o.g", "l[].g", "m"],
    "any": ["i", "s", "t", "o", "o.i", "o.o.i", "l", "l[]", "l[].i", "l[].n", "l[0]", "m", "m[]", "m[][]", "m[1]", "none", "none.x", '"o.s"'],
    "nested": ["l", "l[]", "l[].n", "o.l", "m", "m[]", "o", "l[0].l", "none"],
}


class Maker:
    def __init__(self, seed):
        self.rng = random.Random(seed)

    def chance(self, p):
        return self.rng.random() < p

    def pick(self, options):
        return self.rng.choice(options)

    # Payloads

    def scalar(self, kind):
        rng = self.rng
        if kind == "int":
            return rng.randint(-3, 6)
        if kind == "float":
            return rng.randint(-6, 12) / 2
        if kind == "keyword":
            return self.pick(KEYWORDS)
        if kind == "text":
            return "".join(self.pick(WORDS) + self.pick([" ", " ", ", ", "-", "_", "!", " "]) for _ in range(rng.randint(0, 6)))
        if kind == "datetime":
            return self.datetime()
        if kind == "geo":
            return self.place()
        if kind == "bool":
            return self.chance(0.5)
        return None

    def datetime(self):
        rng = self.rng
        text = f"20{rng.randint(23, 24)}-{rng.randint(1, 12):02}-{rng.randint(1, 28):02}"
        if self.chance(0.9):
            text += self.pick(["T", "T", " "]) + f"{rng.randint(0, 23):02}:{rng.randint(0, 59):02}"
            if self.chance(0.85):
                text += f":{rng.randint(0, 59):02}"
                if self.chance(0.5):
                    text += "." + "".join(self.pick("0123456789") for _ in range(rng.randint(1, 9)))
                text += self.pick(["", "Z", "z", "+00:00", "-05:00", "+0530", "+02", " +01:00", " UTC", "-00:30"])
        return text

    def place(self):
        """On a grid, so that boundaries are met."""
        return {"lon": self.rng.randint(-360, 360) / 2 if self.chance(0.2) else self.rng.randint(-8, 8) / 2,
                "lat": self.rng.randint(-8, 8) / 2}

    def field(self, kind):
        """A value of `kind`, an array of such, or something else."""
        roll = self.rng.random()
        if roll < 0.5:
            return self.scalar(kind)
        if roll < 0.75:
            return [self.scalar(kind) for _ in range(self.rng.randint(0, 4))]
        if roll < 0.8:
            return [self.scalar(kind), None]
        if roll < 0.84:
            return [[self.scalar(kind)], self.scalar(kind)]
        if roll < 0.87:
            return self.pick([None, [], [None], {}])
        return self.scalar(self.pick(["int", "float", "keyword", "text", "bool", "geo", "null"]))

    def object(self, depth):
        kinds = {"i": "int", "f": "float", "s": "keyword", "t": "text", "d": "datetime", "g": "geo"}
        result = {key: self.field(kind) for key, kind in kinds.items() if self.chance(0.55 if depth == 0 else 0.35)}
        if depth < 3:
            if self.chance(0.6):
                result["o"] = self.object(depth + 1) if self.chance(0.85) else self.field("int")
            if self.chance(0.6):
                result["l"] = (
                    [self.object(depth + 1) if self.chance(0.9) else self.scalar("int") for _ in range(self.rng.randint(0, 3))]
                    if self.chance(0.9)
                    else self.object(depth + 1)
                )
            if self.chance(0.4):
                result["n"] = [{"i": self.scalar("int")} if self.chance(0.5) else self.scalar("int") for _ in range(2)]
            if self.chance(0.3):
                result["m"] = self.field(self.pick(["int", "float", "keyword", "text", "geo", "bool"]))
            if self.chance(0.15):
                result["o.s"] = self.field("keyword")
        return result

    # Filters

    def bounds(self, bound):
        names = self.rng.sample(["lt", "lte", "gt", "gte"], self.pick([1, 1, 2, 2, 3]))
        return {name: bound() for name in names}

    def instant(self):
        at = datetime(2023, 1, 1, tzinfo=timezone.utc) + timedelta(seconds=self.rng.randint(0, 2 * 365 * 86400))
        return at.strftime("%Y-%m-%dT%H:%M:%S") + self.pick(["Z", "+00:00", "-05:00", ".250000+05:30", ".5Z"])

    def ring(self):
        """Star-shaped about (0.25, 0.25), which is off the grid: never crosses itself."""
        corners = {}
        for _ in range(self.rng.randint(3, 8)):
            lon, lat = self.rng.randint(-8, 8) / 2, self.rng.randint(-8, 8) / 2
            corners[round(atan2(lat - 0.25, lon - 0.25), 9)] = {"lon": lon, "lat": lat}
        points = [corners[angle] for angle in sorted(corners)]
        if len(points) < 3:
            return self.ring()
        return {"points": points + points[:1]}

    def hole(self):
        left, low = self.rng.randint(-4, 4) / 2, self.rng.randint(-4, 4) / 2
        right, high = left + self.rng.randint(1, 3) / 2, low + self.rng.randint(1, 3) / 2
        corners = [(left, low), (right, low), (right, high), (left, high), (left, low)]
        return {"points": [{"lon": lon, "lat": lat} for lon, lat in corners]}

    def query_text(self):
        return " ".join(self.pick(WORDS) for _ in range(self.pick([0, 1, 1, 1, 2, 2, 3]))) + self.pick(["", "", "!", " -"])

    def match(self):
        rng = self.rng
        kind = rng.randrange(12)
        if kind == 0:
            return "any", {"value": self.chance(0.5)}
        if kind in (1, 2):
            return "int", {"value": self.scalar("int")}
        if kind == 3:
            return "keyword", {"value": self.scalar("keyword")}
        if kind in (4, 5):
            of = self.pick(["int", "keyword"])
            return of, {self.pick(["any", "except"]): [self.scalar(of) for _ in range(rng.randint(0, 3))]}
        if kind == 6:
            return "keyword", {"prefix": self.pick(["r", "R", "bl", "", "red", "t"])}
        if kind == 7:
            return "text", {"substring": self.pick(["r", "ot c", "", "red", "дом", "ï", "_"])}
        return "text", {self.pick(["text", "text_any", "phrase"]): self.query_text()}

    def value_predicate(self):
        kind = self.rng.randrange(10)
        if kind < 5:
            of, operand = self.match()
            return of, {"match": operand}
        if kind == 5:
            return self.pick(["int", "float"]), {"range": self.bounds(lambda: self.rng.randint(-6, 12) / 2)}
        if kind == 6:
            return "datetime", {"range": self.bounds(self.instant)}
        if kind == 7:
            return "geo", {"geo_radius": {"center": self.place(), "radius": float(self.rng.randint(0, 700_000))}}
        if kind == 8:
            corner, other = self.place(), self.place()
            if self.chance(0.7):
                corner["lat"], other["lat"] = max(corner["lat"], other["lat"]), min(corner["lat"], other["lat"])
            return "geo", {"geo_bounding_box": {"top_left": corner, "bottom_right": other}}
        polygon = {"exterior": self.ring()}
        if self.chance(0.5):
            polygon["interiors"] = [self.hole() for _ in range(self.rng.randint(1, 2))]
        return "geo", {"geo_polygon": polygon}

    def condition(self, depth, inner=False):
        roll = self.rng.random()
        if roll < 0.58 or depth >= 3 and roll < 0.7:
            of, predicate = self.value_predicate()
            return {"key": self.pick(PATHS[of]), **predicate}
        if roll < 0.74:
            form = self.rng.randrange(6)
            key = self.pick(PATHS["any"])
            if form == 0:
                return {"is_empty": {"key": key}}
            if form == 1:
                return {"is_null": {"key": key}}
            counts = {"values_count": self.bounds(lambda: self.rng.randint(0, 4))}
            empty, null = {"is_empty": self.chance(0.5)}, {"is_null": self.chance(0.5)}
            if form == 2:
                return {"key": key, **self.pick([empty, null])}
            if form == 3:
                return {"key": key, **self.pick([{**counts, **empty}, {**empty, **null}, {**null, "match": {"value": 1}}])}
            return {"key": key, **counts}
        if roll < 0.84:
            kind = self.rng.randrange(4)
            if kind == 0:
                return {"has_id": [self.id() for _ in range(self.rng.randint(0, 20))]}
            if kind == 1:
                return {"has_vector": self.pick(["", "image", "text", "none"])}
            total = self.rng.randint(1, 6)
            return {"slice": {"total": total, "index": self.rng.randrange(total)}}
        if depth < 3 and roll < 0.94:
            return {"nested": {"key": self.pick(PATHS["nested"]), "filter": self.filter(depth + 1)}}
        return self.filter(depth + 1)

    def filter(self, depth=0):
        result = {}
        many = lambda: [self.condition(depth) for _ in range(self.pick([1, 1, 1, 2, 2, 3]) if depth < 3 else 1)]
        roll = self.rng.random()
        if roll < 0.6:
            result["must"] = many() if self.chance(0.8) else self.condition(depth)
        if roll > 0.8 or self.chance(0.15):
            result["must_not"] = many()
        if 0.55 < roll < 0.85:
            result["should"] = many() if self.chance(0.95) else []
        if self.chance(0.08):
            result["min_should"] = {"conditions": many(), "min_count": self.rng.randint(1, 3)}
        return result

    def id(self):
        if self.chance(0.6):
            return self.rng.randint(0, 60) if self.chance(0.9) else self.pick([2**63, 2**64 - 1, 2**32])
        return f"00000000-0000-0000-0000-0000000000{self.rng.randint(10, 60)}"

    # Paths

    def path(self):
        keys = ["i", "s", "o", "l", "m", "n", "g", "new", '"o.s"', '"a b"', "g.lon"]
        text = self.pick(keys)
        for _ in range(self.pick([0, 1, 1, 2, 2, 3, 4])):
            text += self.pick(["[]", "[]", "[0]", "[1]", "[7]"]) if self.chance(0.45) else "." + self.pick(keys)
        return text

    def path_text(self):
        text = self.path()
        for _ in range(self.pick([0, 1, 1, 2])):
            at = self.rng.randint(0, len(text))
            if self.chance(0.5):
                text = text[:at] + text[at + 1 :]
            else:
                text = text[:at] + self.pick(list('.[]"ab1-_ +é')) + text[at:]
        return text

    def datetime_text(self):
        text = self.datetime() if self.chance(0.6) else self.instant()
        for _ in range(self.pick([0, 0, 1, 1, 2])):
            at = self.rng.randint(0, len(text))
            roll = self.rng.random()
            if roll < 0.4:
                text = text[:at] + text[at + 1 :]
            elif roll < 0.7:
                text = text[:at] + self.pick(list("0123456789:-+.TZz ")) + text[at:]
            else:
                text = text[:at] + self.pick(list("0123456789:-+.TZz ")) + text[at + 1 :]
        return text


def micros(text):
    instant = datetime_utils.parse(text)
    if instant is None:
        return None
    return (instant - datetime(1970, 1, 1, tzinfo=timezone.utc)) // timedelta(microseconds=1)


def parsed(text):
    try:
        items = json_path_parser.parse_json_path(text)
    except ValueError:
        return None
    segment = {"key": lambda item: item.key, "index": lambda item: item.index, "wildcard_index": lambda _: None}
    return [segment[item.item_type.value](item) for item in items]


def main():
    arguments = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    arguments.add_argument("--seed", type=int, default=22)
    arguments.add_argument("--cases", type=int, default=380, help="per kind; filters have twice as many")
    arguments.add_argument("--out", required=True)
    arguments = arguments.parse_args()
    make, count = Maker(arguments.seed), arguments.cases

    ids = sorted({make.id() for _ in range(400)}, key=str)[:64]
    points = [[id, sorted(make.rng.sample(["", "image", "text"], make.rng.randint(0, 3))), make.object(0)] for id in ids]
    lacks = {name: numpy.array([name not in names for _, names, _ in points]) for name in ["", "image", "text"]}
    payloads = [payload for _, _, payload in points]

    filters = []
    while len(filters) < 2 * count:
        filter = make.filter()
        mask = calculate_payload_mask(payloads, models.Filter(**filter), ids, lacks)
        # Filters that part the points say more; a few others stay.
        if 0 < mask.sum() < len(points) or make.chance(0.1):
            filters.append([filter, "".join("01"[int(passes)] for passes in mask)])

    get, merge, remove, include, exclude = [], [], [], [], []
    small = lambda: make.object(make.pick([2, 3, 3]))
    for _ in range(count // 2):
        of, path = small(), make.path()
        get.append([of, path, value_by_key(of, path, flat=False) or []])

        of, path, changes = small(), make.path() if make.chance(0.85) else None, small() if make.chance(0.2) else {"x": 1, "i": None}
        result = copy.deepcopy(of)
        if path is None:
            merge_payload(result, changes)
        else:
            set_value_by_key(result, json_path_parser.parse_json_path(path), changes)
        merge.append([of, path, changes, result])

        of, path = small(), make.path()
        result = copy.deepcopy(of)
        delete_value_by_key(result, json_path_parser.parse_json_path(path))
        remove.append([of, path, result])

        of, paths = small(), [make.path() for _ in range(make.rng.randint(0, 4))]
        include.append([of, paths, include_payload(of, paths)])
        of, paths = small(), [make.path() for _ in range(make.rng.randint(0, 4))]
        exclude.append([of, paths, exclude_payload(of, paths)])

    paths = sorted({make.path_text() for _ in range(count)})
    instants = sorted(text for text in {make.datetime_text() for _ in range(count)} if "- " not in text)

    kinds = {
        "points": points,
        "filters": filters,
        "get": get,
        "merge": merge,
        "remove": remove,
        "include": include,
        "exclude": exclude,
        "paths": [[text, parsed(text)] for text in paths],
        "datetimes": [[text, micros(text)] for text in instants],
    }
    with open(arguments.out, "w", encoding="utf-8") as out:
        line = lambda case: json.dumps(case, ensure_ascii=False, separators=(",", ":"))
        blocks = (f'"{kind}":[\n' + ",\n".join(map(line, cases)) + "\n]" for kind, cases in kinds.items())
        out.write("{\n" + ",\n".join(blocks) + "\n}\n")


if __name__ == "__main__":
    main()
