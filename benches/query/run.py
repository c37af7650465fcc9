#!/usr/bin/env python3
"""The query language beside numpy and SQLite on the same points, in one run.

    make bench-query      or   scripts/bench-query --points 400000 --rounds 5

Each case is one question with one right answer: Quiver is asked over gRPC by the official Rust client, numpy and SQLite
answer it inside this process, and the answers are compared before anything is timed. Rounds alternate between the three,
so that a busy machine hurts all. Of each round the median of its repetitions counts, and of the rounds their median.

What stands under `quiver` is the time the server says it took: the call from its decoded message to its answer. Under
`round trip` the client's, which the two others do not have. `ratio` is the server's time to the faster of the two.
"""

import argparse
import json
import os
import pathlib
import socket
import sqlite3
import statistics
import subprocess
import tempfile
import time
import urllib.request

import numpy as np
import scipy.sparse
from qdrant_client import grpc

from points import BRANDS, CATEGORIES, START_S, TERMS, YEAR_S, Points

COLLECTION = "query"
READY_TIMEOUT_S = 60
EARTH_RADIUS_M = 6_371_008.8
# A round repeats each question for about this long, at least a few times.
ROUND_S, REPEATS_MIN, REPEATS_MAX = 0.15, 3, 200


# --- the server -------------------------------------------------------------------------------------------------------


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Quiver:
    """A server of its own on a fresh folder, and the client that asks it."""

    def __init__(self, arguments, folder):
        http_port, grpc_port = free_port(), free_port()
        self.log = open(folder / "server.log", "wb")
        ports = ["--http-port", str(http_port), "--grpc-port", str(grpc_port)]
        self.server = subprocess.Popen(
            [arguments.server, "serve", *ports, "--storage-path", folder / "storage"],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        until = time.monotonic() + READY_TIMEOUT_S
        while not self.is_ready(http_port):
            if self.server.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the server did not start: {(folder / 'server.log').read_text()}")
            time.sleep(0.05)
        url = f"http://127.0.0.1:{grpc_port}"
        command = [arguments.client, "--url", url, "--points", folder, "--collection", COLLECTION]
        self.client = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def is_ready(self, port):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5).status == 200
        except OSError:
            return False

    def tell(self, method, message=None, repeats=1):
        line = message.SerializeToString().hex() if message is not None else ""
        self.client.stdin.write(f"{method} {repeats} {line}\n")
        self.client.stdin.flush()
        answer = self.client.stdout.readline()
        if not answer:
            raise SystemExit("the client ended")
        return json.loads(answer)

    def load(self):
        self.tell("load")
        kind = grpc.FieldType
        fields = {
            "category": kind.FieldTypeKeyword,
            "color": kind.FieldTypeKeyword,
            "brand": kind.FieldTypeKeyword,
            "stock": kind.FieldTypeInteger,
            "price": kind.FieldTypeFloat,
            "sold": kind.FieldTypeDatetime,
            "is_new": kind.FieldTypeBool,
            "place": kind.FieldTypeGeo,
            "text": kind.FieldTypeText,
            "tags": kind.FieldTypeKeyword,
        }
        for name, field_type in fields.items():
            self.tell(
                "index",
                grpc.CreateFieldIndexCollection(
                    collection_name=COLLECTION, wait=True, field_name=name, field_type=field_type
                ),
            )
        self.tell("settle")

    def stop(self):
        self.client.stdin.close()
        self.client.wait()
        self.server.terminate()
        self.server.wait()
        self.log.close()


# --- SQLite -----------------------------------------------------------------------------------------------------------


def sqlite(points):
    """A table with an index per field, the lists in a table of their own, places in an R*Tree, texts in FTS5."""
    db = sqlite3.connect(":memory:")
    db.execute("PRAGMA cache_size = -1000000")
    db.execute(
        "CREATE TABLE points (id INTEGER PRIMARY KEY, category TEXT, color TEXT, brand TEXT, stock INTEGER, price REAL,"
        " sold INTEGER, is_new INTEGER, lon REAL, lat REAL)"
    )
    rows = (
        (row, f"c{category}", f"r{color}", f"b{brand}", stock, price, sold, is_new, lon, lat)
        for row, (category, color, brand, stock, price, sold, is_new, lon, lat) in enumerate(
            zip(
                points.category.tolist(),
                points.color.tolist(),
                points.brand.tolist(),
                points.stock.tolist(),
                points.price.tolist(),
                points.sold_s.tolist(),
                points.is_new.tolist(),
                points.lon.tolist(),
                points.lat.tolist(),
            )
        )
    )
    db.executemany("INSERT INTO points VALUES (?,?,?,?,?,?,?,?,?,?)", rows)
    db.execute("CREATE TABLE tags (tag TEXT, id INTEGER, PRIMARY KEY (tag, id)) WITHOUT ROWID")
    lists = ((f"t{tag}", row) for row in range(points.count) for tag in set(points.tags_of(row).tolist()))
    db.executemany("INSERT INTO tags VALUES (?,?)", lists)
    for field in ["category", "color", "brand", "stock", "price", "sold", "is_new"]:
        db.execute(f"CREATE INDEX by_{field} ON points ({field})")
    # What an index on one field alone cannot answer well.
    db.execute("CREATE INDEX by_category_color ON points (category, color)")
    db.execute("CREATE INDEX by_category_price ON points (category, price)")
    db.execute("CREATE VIRTUAL TABLE places USING rtree (id, west, east, south, north)")
    db.execute("INSERT INTO places SELECT id, lon, lon, lat, lat FROM points")
    db.execute("CREATE VIRTUAL TABLE texts USING fts5 (text, content='')")
    db.executemany(
        "INSERT INTO texts (rowid, text) VALUES (?,?)", ((row, points.text_of(row)) for row in range(points.count))
    )
    db.execute("ANALYZE")
    return db


# --- the cases --------------------------------------------------------------------------------------------------------


def keyword(key, value):
    return grpc.Condition(field=grpc.FieldCondition(key=key, match=grpc.Match(keyword=value)))


def in_range(key, **bounds):
    return grpc.Condition(field=grpc.FieldCondition(key=key, range=grpc.Range(**bounds)))


def text(key, words):
    return grpc.Condition(field=grpc.FieldCondition(key=key, match=grpc.Match(text=words)))


def distance_m(lon, lat, center):
    lon, lat, west, south = np.radians(lon), np.radians(lat), np.radians(center[0]), np.radians(center[1])
    half = np.sin((lat - south) / 2) ** 2 + np.cos(south) * np.cos(lat) * np.sin((lon - west) / 2) ** 2
    return EARTH_RADIUS_M * 2 * np.arcsin(np.sqrt(half))


class Case:
    """One question: how each of the three is asked, and how Quiver's answer reads."""

    def __init__(self, group, name, method, message, read, numpy, sql, same=None):
        self.group, self.name, self.method, self.message, self.read = group, name, method, message, read
        self.numpy, self.sql = numpy, sql
        self.same = same or (lambda a, b: a == b)

    def ours(self, quiver, repeats):
        answer = quiver.tell(self.method, self.message, repeats)
        return answer["us"], answer["server_us"]

    def check(self, quiver):
        answer = quiver.tell(self.method, self.message)
        found = self.read(bytes.fromhex(answer["message"]))
        for who, other in [("numpy", self.numpy), ("SQLite", self.sql)]:
            if other is not None and not self.same(found, (wanted := other())):
                raise SystemExit(f"{self.group}, {self.name}: Quiver says {str(found)[:300]}, {who} {str(wanted)[:300]}")


def read_count(message):
    return grpc.CountResponse.FromString(message).result.count


def read_ids(message):
    return [point.id.num for point in grpc.ScrollResponse.FromString(message).result]


def read_facet(message):
    return [(hit.value.string_value, hit.count) for hit in grpc.FacetResponse.FromString(message).hits]


def read_hits(message):
    return [(hit.id.num, hit.score) for hit in grpc.QueryResponse.FromString(message).result]


def read_groups(message):
    groups = grpc.QueryGroupsResponse.FromString(message).result.groups
    return [(group.id.string_value, [hit.id.num for hit in group.hits]) for group in groups]


def near(a, b):
    """The same points, up to the order of equal scores, with scores that differ by rounding."""
    scores = [np.array([score for _, score in list_]) for list_ in (a, b)]
    return len(a) == len(b) and np.allclose(*scores, rtol=1e-4) and {i for i, _ in a[:-1]} <= {i for i, _ in b} | {b[-1][0]}


def filter_cases(points, db):
    p = points
    town = p.towns[3]
    words = [int(np.bincount(p.words[p.word_starts[5] : p.word_starts[6]]).argmax()), int(p.words[0])]
    first, second = f"w{words[0]}", f"w{words[1]}"
    holds = np.zeros((2, p.count), bool)
    rows = np.repeat(np.arange(p.count), np.diff(p.word_starts))
    for place, word in enumerate(words):
        holds[place, rows[p.words == word]] = True
    tag_rows = np.repeat(np.arange(p.count), np.diff(p.tag_starts))

    def with_tags(wanted):
        mask = np.zeros(p.count, bool)
        mask[tag_rows[np.isin(p.tags, wanted)]] = True
        return mask

    radius_m = 50_000.0
    # A degree of latitude is at least 110.5 km long.
    south, north = town[1] - radius_m / 110_000, town[1] + radius_m / 110_000
    wide = radius_m / 110_000 / np.cos(np.radians(max(abs(south), abs(north))))
    west, east = town[0] - wide, town[0] + wide
    haversine = (
        f"{EARTH_RADIUS_M} * 2 * asin(sqrt(pow(sin(radians(lat - {town[1]}) / 2), 2) + cos(radians({town[1]})) *"
        f" cos(radians(lat)) * pow(sin(radians(lon - {town[0]}) / 2), 2))) < {radius_m}"
    )
    in_circle = (
        f"id IN (SELECT id FROM places WHERE west <= {east} AND east >= {west} AND south <= {north} AND north >= {south})"
        f" AND {haversine}"
    )
    circle = grpc.GeoRadius(center=grpc.GeoPoint(lon=town[0], lat=town[1]), radius=radius_m)
    brand = int(np.bincount(p.brand).argsort()[-2000])
    half_year = START_S + YEAR_S // 2
    questions = [
        ("keyword, 1 in 8", grpc.Filter(must=[keyword("category", "c1")]), lambda: p.category == 1, "category = 'c1'"),
        ("keyword, rare", grpc.Filter(must=[keyword("brand", f"b{brand}")]), lambda: p.brand == brand, f"brand = 'b{brand}'"),
        (
            "two correlated keywords",
            grpc.Filter(must=[keyword("category", "c1"), keyword("color", "r5")]),
            lambda: (p.category == 1) & (p.color == 5),
            "category = 'c1' AND color = 'r5'",
        ),
        (
            "integer range, 1 in 10",
            grpc.Filter(must=[in_range("stock", gte=100, lt=200)]),
            lambda: (p.stock >= 100) & (p.stock < 200),
            "stock >= 100 AND stock < 200",
        ),
        (
            "float range, half",
            grpc.Filter(must=[in_range("price", lt=50_000)]),
            lambda: p.price < 50_000,
            "price < 50000",
        ),
        (
            "datetime range and bool",
            grpc.Filter(
                must=[
                    grpc.Condition(
                        field=grpc.FieldCondition(
                            key="sold", datetime_range=grpc.DatetimeRange(gte={"seconds": START_S}, lt={"seconds": half_year})
                        )
                    ),
                    grpc.Condition(field=grpc.FieldCondition(key="is_new", match=grpc.Match(boolean=True))),
                ]
            ),
            lambda: (p.sold_s >= START_S) & (p.sold_s < half_year) & p.is_new,
            f"sold >= {START_S} AND sold < {half_year} AND is_new = 1",
        ),
        (
            "one of two keywords",
            grpc.Filter(should=[keyword("category", "c2"), keyword("color", "r7")]),
            lambda: (p.category == 2) | (p.color == 7),
            "(category = 'c2' OR color = 'r7')",
        ),
        (
            "neither of two",
            grpc.Filter(must_not=[keyword("category", "c0"), in_range("stock", lt=500)]),
            lambda: ~((p.category == 0) | (p.stock < 500)),
            "NOT (category = 'c0' OR stock < 500)",
        ),
        (
            "any of three tags",
            grpc.Filter(
                must=[
                    grpc.Condition(
                        field=grpc.FieldCondition(
                            key="tags", match=grpc.Match(keywords=grpc.RepeatedStrings(strings=["t3", "t40", "t90"]))
                        )
                    )
                ]
            ),
            lambda: with_tags([3, 40, 90]),
            "id IN (SELECT id FROM tags WHERE tag IN ('t3', 't40', 't90'))",
        ),
        (
            "within 50 km",
            grpc.Filter(must=[grpc.Condition(field=grpc.FieldCondition(key="place", geo_radius=circle))]),
            lambda: distance_m(p.lon, p.lat, town) < radius_m,
            in_circle,
        ),
        (
            "two words",
            grpc.Filter(must=[text("text", f"{first} {second}")]),
            None,
            f"texts MATCH '{first} {second}'",
        ),
    ]
    for name, wanted, mask, where in questions:
        table, id_ = ("texts", "rowid") if mask is None else ("points", "id")
        count_sql = f"SELECT count(*) FROM {table} WHERE {where}"
        ids_sql = f"SELECT {id_} FROM {table} WHERE {where} ORDER BY {id_} LIMIT 10"
        yield Case(
            "filter, count",
            name,
            "count",
            grpc.CountPoints(collection_name=COLLECTION, filter=wanted, exact=True),
            read_count,
            mask and (lambda mask=mask: int(np.count_nonzero(mask()))),
            lambda sql=count_sql: db.execute(sql).fetchone()[0],
        )
        yield Case(
            "filter, first 10 ids",
            name,
            "scroll",
            grpc.ScrollPoints(collection_name=COLLECTION, filter=wanted, limit=10, **nothing()),
            read_ids,
            mask and (lambda mask=mask: np.flatnonzero(mask())[:10].tolist()),
            lambda sql=ids_sql: [row[0] for row in db.execute(sql)],
        )


def nothing():
    """Neither payload nor vectors."""
    return {
        "with_payload": grpc.WithPayloadSelector(enable=False),
        "with_vectors": grpc.WithVectorsSelector(enable=False),
    }


def facet_cases(points, db):
    p = points

    def top(counts, letter):
        # The larger first, then by the text.
        best = np.argpartition(-counts, min(60, len(counts) - 1))[:60]
        named = sorted((-int(counts[value]), f"{letter}{value}") for value in best.tolist() if counts[value])
        return [(value, -count) for count, value in named[:10]]

    few = grpc.Filter(must=[in_range("stock", lt=100)])
    for name, key, column, size, filter_, where, mask in [
        ("20 values", "category", p.category, CATEGORIES, None, "", None),
        ("50,000 values", "brand", p.brand, BRANDS, None, "", None),
        ("20 values, of 1 in 10", "category", p.category, CATEGORIES, few, "WHERE stock < 100", lambda: p.stock < 100),
        ("50,000 values, of 1 in 10", "brand", p.brand, BRANDS, few, "WHERE stock < 100", lambda: p.stock < 100),
    ]:
        letter = key[0]
        sql = f"SELECT {key}, count(*) FROM points {where} GROUP BY {key} ORDER BY 2 DESC, 1 LIMIT 10"

        def counted(column=column, size=size, mask=mask, letter=letter):
            return top(np.bincount(column[mask()] if mask else column, minlength=size), letter)

        yield Case(
            "facet, best 10",
            name,
            "facet",
            grpc.FacetCounts(collection_name=COLLECTION, key=key, limit=10, exact=True, filter=filter_),
            read_facet,
            counted,
            lambda sql=sql: db.execute(sql).fetchall(),
        )


def order_cases(points, db):
    p = points
    some = grpc.Filter(must=[keyword("category", "c1")])
    both = grpc.Filter(must=[keyword("category", "c1"), keyword("color", "r0")])
    middle = float(p.count * 0.25 * 0.5)

    def best(mask, descending):
        rows = np.flatnonzero(mask) if mask is not None else None
        values = p.price if rows is None else p.price[rows]
        values = -values if descending else values
        count = min(10, len(values))
        found = np.argpartition(values, count - 1)[:count]
        found = found[np.argsort(values[found])]
        return (found if rows is None else rows[found]).tolist()

    for name, direction, filter_, start, mask, where in [
        ("ascending", 0, None, None, None, ""),
        ("descending", 1, None, None, None, ""),
        ("ascending, 1 in 8", 0, some, None, lambda: p.category == 1, "WHERE category = 'c1'"),
        ("descending, 1 in 400", 1, both, None, lambda: (p.category == 1) & (p.color == 0), "WHERE category = 'c1' AND color = 'r0'"),
        ("from the middle", 0, None, middle, lambda: p.price >= middle, f"WHERE price >= {middle}"),
        ("from the middle, 1 in 8", 0, some, middle, lambda: (p.category == 1) & (p.price >= middle), f"WHERE category = 'c1' AND price >= {middle}"),
    ]:
        order = grpc.OrderBy(key="price", direction=direction)
        if start is not None:
            order.start_from.float = start
        sql = f"SELECT id FROM points {where} ORDER BY price {'DESC' if direction else ''} LIMIT 10"
        yield Case(
            "order_by, first 10",
            name,
            "scroll",
            grpc.ScrollPoints(collection_name=COLLECTION, filter=filter_, order_by=order, limit=10, **nothing()),
            read_ids,
            lambda mask=mask, direction=direction: best(mask() if mask else None, direction == 1),
            lambda sql=sql: [row[0] for row in db.execute(sql)],
        )


def sparse_cases(points, _db):
    p = points
    by_row = scipy.sparse.csr_array(
        (p.sparse_weights, p.sparse_terms.astype(np.int32), p.sparse_starts.astype(np.int64)), shape=(p.count, TERMS)
    )
    by_term = by_row.tocsc()
    for number in range(2):
        terms, weights = p.sparse_query()
        query = grpc.Query(
            nearest=grpc.VectorInput(sparse=grpc.SparseVector(indices=terms.tolist(), values=weights.tolist()))
        )

        def best(scores):
            found = np.argpartition(-scores, 10)[:10]
            found = found[np.argsort(-scores[found], kind="stable")]
            return [(int(row), float(scores[row])) for row in found]

        def rows(terms=terms, weights=weights):
            dense = np.zeros(TERMS, np.float32)
            dense[terms] = weights
            return best(by_row @ dense)

        def columns(terms=terms, weights=weights):
            return best(by_term[:, terms.astype(np.int32)] @ weights)

        for what, formulation in [("CSR", rows), ("columns of CSC", columns)]:
            yield Case(
                "sparse, 30 terms, k=10",
                f"query {number + 1}, beside {what}",
                "query",
                grpc.QueryPoints(collection_name=COLLECTION, query=query, using="sparse", limit=10, **nothing()),
                read_hits,
                formulation,
                None,
                near,
            )


def group_cases(points, _db):
    p = points
    query = p.dense_query()
    letters = {"category": "c", "brand": "b"}

    def grouped(column, letter, mask=None):
        scores = p.dense @ query
        if mask is not None:
            scores = np.where(mask(), scores, -np.inf)
        order, groups = np.argsort(-scores), {}
        full = 0
        for row in order.tolist():
            value = int(column[row])
            hits = groups.get(value)
            if hits is None:
                if len(groups) == 10:
                    continue
                hits = groups[value] = []
            if len(hits) < 3:
                hits.append(row)
                full += len(hits) == 3
                if full == 10:
                    break
        return [(f"{letter}{value}", hits) for value, hits in groups.items()]

    def same(a, b):
        return dict(a) == dict(b)

    some = grpc.Filter(must=[in_range("stock", lt=100)])
    for name, key, filter_, mask, exact in [
        ("20 values, exact", "category", None, None, True),
        ("20 values, by the graph", "category", None, None, False),
        ("50,000 values, exact", "brand", None, None, True),
        ("50,000 values, by the graph", "brand", None, None, False),
        ("50,000 values, of 1 in 10", "brand", some, lambda: p.stock < 100, True),
    ]:
        column = getattr(p, key)
        message = grpc.QueryPointGroups(
            collection_name=COLLECTION,
            query=grpc.Query(nearest=grpc.VectorInput(dense=grpc.DenseVector(data=query.tolist()))),
            using="dense",
            group_by=key,
            group_size=3,
            limit=10,
            filter=filter_,
            params=grpc.SearchParams(exact=exact),
            **nothing(),
        )
        yield Case(
            "groups, 10 of 3",
            name,
            "query_groups",
            message,
            read_groups,
            lambda column=column, key=key, mask=mask: grouped(column, letters[key], mask),
            None,
            # The graph may miss some; how many is printed.
            same if exact else overlapping,
        )


def overlapping(a, b):
    found, wanted = ({row for _, hits in groups for row in hits} for groups in (a, b))
    print(f"    by the graph: {len(found & wanted)} of {len(wanted)} points of the exact groups")
    return len(found & wanted) * 2 >= len(wanted)


# --- measuring --------------------------------------------------------------------------------------------------------


def repeats_for(once_s):
    return int(min(max(ROUND_S / max(once_s, 1e-7), REPEATS_MIN), REPEATS_MAX))


def timed(formulation, repeats):
    times = []
    for _ in range(repeats):
        began = time.perf_counter()
        formulation()
        times.append((time.perf_counter() - began) * 1e6)
    return statistics.median(times)


def measure(case, quiver, rounds):
    """Microseconds by contestant: medians of the rounds' medians."""
    columns = {"round trip": [], "quiver": [], "numpy": [], "sqlite": []}
    others = {name: f for name, f in [("numpy", case.numpy), ("sqlite", case.sql)] if f is not None}
    repeats = {name: repeats_for(timed(f, 2) / 1e6) for name, f in others.items()}
    own = repeats_for(statistics.median(case.ours(quiver, 3)[0]) / 1e6)
    for _ in range(rounds):
        round_trip, server = case.ours(quiver, own)
        columns["round trip"].append(statistics.median(round_trip))
        columns["quiver"].append(statistics.median(server))
        for name, formulation in others.items():
            columns[name].append(timed(formulation, repeats[name]))
    return {name: statistics.median(values) if values else None for name, values in columns.items()}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--server", type=pathlib.Path, required=True)
    parser.add_argument("--client", type=pathlib.Path, required=True)
    parser.add_argument("--points", type=int, default=400_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", default="", help="groups of cases whose name contains this")
    parser.add_argument("--wait", action="store_true", help="wait for Enter before the end, to look at the server")
    arguments = parser.parse_args()
    points = Points(arguments.points)
    with tempfile.TemporaryDirectory(prefix="quiver-bench-") as folder:
        folder = pathlib.Path(folder)
        points.write(folder)
        quiver = Quiver(arguments, folder)
        try:
            began = time.perf_counter()
            quiver.load()
            print(f"{points.count} points loaded and indexed in {time.perf_counter() - began:.1f} s", flush=True)
            db = sqlite(points)
            print(f"\n{points.count} points, {os.cpu_count()} cores, {arguments.rounds} rounds; microseconds\n")
            print("| | numpy | SQLite | quiver | round trip | ratio |\n|---|---:|---:|---:|---:|---:|")
            shown, lost = None, []
            makers = [filter_cases, facet_cases, order_cases, sparse_cases, group_cases]
            for case in (case for maker in makers for case in maker(points, db)):
                if arguments.only not in case.group:
                    continue
                case.check(quiver)
                if case.group != shown:
                    shown = case.group
                    print(f"| **{shown}** | | | | | |")
                us = measure(case, quiver, arguments.rounds)
                best = min(value for value in (us["numpy"], us["sqlite"]) if value is not None)
                cells = ["" if us[name] is None else f"{us[name]:,.0f}" for name in ["numpy", "sqlite", "quiver", "round trip"]]
                print(f"| {case.name} | {' | '.join(cells)} | {us['quiver'] / best:.2f} |", flush=True)
                if us["quiver"] > best:
                    lost.append(f"{case.group}: {case.name}")
            print(f"\nslower than the faster of the two: {', '.join(lost) or 'none'}")
            if arguments.wait:
                input(f"server {quiver.server.pid}; Enter to end ")
        finally:
            quiver.stop()


if __name__ == "__main__":
    main()
