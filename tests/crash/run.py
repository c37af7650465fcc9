"""The crash test: kill -9 at random moments under concurrent writers, then proof that nothing promised was lost.

    python tests/crash/run.py --kills 50 --seed 1

Every writer owns ids of its own and sends one `wait=true` request at a time, each change with a serial number that is
never used again; a point's vector is computed from its id and serial. So after each restart the test knows, for every
id, the one state that was acknowledged last, or, for the at most one request per writer that was cut off, the two
states between which the crash may have decided. A point is atomic; a batch is not, its points may lie on two shards.

Checked after each restart, against every point the server holds:
 - no acknowledged write is lost, and none is undone;
 - no point is half applied: vector and payload carry the same serial;
 - no phantom: no id that was never written, no value that was never sent or is certainly older;
 - exact search equals brute force over what is known, and recall@10 of the index is what it was before the kill.
"""

import argparse
import dataclasses
import http.client
import json
import pathlib
import random
import secrets
import statistics
import sys
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients"))

import numpy as np  # noqa: E402

from quiver_server import Server, ServerError  # noqa: E402

COLLECTION = "crash"
SHARDS = 2
WRITERS = 8
DIM = 16
K = 10
QUERIES = 200
#: Small enough that a worse graph shows, large enough that the changes of a burst do not.
HNSW_EF = 32
#: Share of the recall that a restart may cost.
RECALL_LOSS_MAX = 0.005
#: Longest burst of writes before a kill, and the share of kills that hit a server which is still starting.
BURST_SECONDS_MAX = 1.0
KILL_WHILE_STARTING = 0.15
#: How long the graph gets to take up every vector: at first, and between two kills, so that kills meet it half built.
INDEX_SECONDS_MAX, INDEX_SECONDS = 60, 1
FLAWS_SHOWN = 10
SPREAD = np.sqrt(np.arange(2, 2 + DIM, dtype=np.float64))


def vectors(ids, serials):
    """The vectors of these ids in these versions, one per row."""
    ids, serials = np.asarray(ids, dtype=np.float64), np.asarray(serials, dtype=np.float64)
    phase = np.outer(ids, SPREAD * 7.13) + np.outer(serials, SPREAD[::-1] * 3.57)
    return np.sin(phase).astype(np.float32)


@dataclasses.dataclass(frozen=True)
class State:
    """A living point: the serials of its last upsert and of its last mark since then."""

    serial: int
    mark: int | None = None

    @property
    def payload(self):
        return {"serial": self.serial} | ({} if self.mark is None else {"mark": self.mark})


class Connection:
    """One kept-alive connection; JSON both ways."""

    def __init__(self, port):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)

    def call(self, method, path, body=None):
        content = None if body is None else json.dumps(body).encode()
        self.connection.request(method, f"/collections/{COLLECTION}{path}", content, {"Content-Type": "application/json"})
        answer = self.connection.getresponse()
        content = json.loads(answer.read())
        if answer.status != 200:
            raise Refused(f"{method} {path}: {answer.status} {content}")
        return content["result"]

    def close(self):
        self.connection.close()


class Refused(Exception):
    """The server answered with an error."""


class Writer:
    """Changes its own ids, one acknowledged request at a time, until the connection breaks."""

    def __init__(self, at, ids, rng):
        self.at, self.ids, self.random = at, ids, rng
        self.known = {}
        #: States between the operations of the latest request, by id.
        self.between = {}
        #: States that the cut-off request may have left, by id.
        self.in_doubt = {}
        self.next_serial = at
        self.requests = self.changes = 0
        self.refusal = None

    def serial(self):
        self.next_serial += WRITERS
        return self.next_serial

    def request(self):
        """The next request and the states it leads to."""
        living = [point for point in self.ids if point in self.known]
        kind = self.random.choices(["upsert", "delete", "mark", "both"], [6, 1, 3, 2])[0]
        if kind == "upsert" or len(living) < len(self.ids) // 4:
            return self.upsert(self.random.sample(self.ids, self.random.randint(1, 24)))
        chosen = self.random.sample(living, self.random.randint(1, 6))
        if kind == "delete":
            return ("POST", "/points/delete", {"points": chosen}), dict.fromkeys(chosen)
        if kind == "mark":
            serial = self.serial()
            after = {point: State(self.known[point].serial, serial) for point in chosen}
            return ("POST", "/points/payload", {"payload": {"mark": serial}, "points": chosen}), after
        (_, _, body), after = self.upsert(chosen)
        serial = self.serial()
        marks = {"set_payload": {"payload": {"mark": serial}, "points": chosen}}
        # Two operations, each atomic: a crash may leave the first alone.
        self.between = {point: [state] for point, state in after.items()}
        return ("POST", "/points/batch", {"operations": [{"upsert": body}, marks]}), {
            point: State(state.serial, serial) for point, state in after.items()
        }

    def upsert(self, chosen):
        serial = self.serial()
        after = {point: State(serial) for point in chosen}
        points = [
            {"id": point, "vector": vector.tolist(), "payload": {"serial": serial}}
            for point, vector in zip(chosen, vectors(chosen, [serial] * len(chosen)))
        ]
        return ("PUT", "/points", {"points": points}), after

    def run(self, port):
        connection = Connection(port)
        try:
            while True:
                self.between = {}
                (method, path, body), after = self.request()
                self.in_doubt = {point: [*self.between.get(point, []), state] for point, state in after.items()}
                connection.call(method, f"{path}?wait=true", body)
                self.settle(after)
                self.requests += 1
                self.changes += len(after)
        except (OSError, http.client.HTTPException, json.JSONDecodeError):
            pass  # killed: the last request stays in doubt
        except Exception as error:
            self.refusal = repr(error)
        finally:
            connection.close()

    def settle(self, states):
        """These states are certain now."""
        for point, state in states.items():
            if state is None:
                self.known.pop(point, None)
            else:
                self.known[point] = state
        self.in_doubt = {}

    def allowed(self, point):
        """Every state the point may be in after a restart."""
        return [self.known.get(point), *self.in_doubt.get(point, [])]


class Crash:
    def __init__(self, server, points, seed):
        self.server = server
        self.random = random.Random(seed)
        self.writers = [Writer(at, list(range(at, points, WRITERS)), random.Random(seed * 1000 + at)) for at in range(WRITERS)]
        self.point_count = points
        self.queries = vectors(np.arange(QUERIES) + 10**6, np.arange(QUERIES))
        self.flaws = []
        self.restarts = []

    def load(self):
        """The points that are there before the first kill."""
        connection = Connection(self.server.http_port)
        connection.call("PUT", "", {"vectors": {"size": DIM, "distance": "Euclid"}, "shard_number": SHARDS})
        for writer in self.writers:
            for at in range(0, len(writer.ids), 256):
                (method, path, body), after = writer.upsert(writer.ids[at : at + 256])
                connection.call(method, f"{path}?wait=true", body)
                writer.settle(after)
        connection.close()
        self.settle_index(INDEX_SECONDS_MAX)

    def settle_index(self, seconds):
        """Waits until the graph holds every vector, or so many seconds; the share that it holds."""
        connection = Connection(self.server.http_port)
        deadline = time.monotonic() + seconds
        while True:
            info = connection.call("GET", "")
            share = info["indexed_vectors_count"] / max(1, info["points_count"])
            if share >= 1 or time.monotonic() > deadline:
                connection.close()
                return share
            time.sleep(0.02)

    def burst(self):
        """Writes from all writers at once, ended by the kill."""
        threads = [threading.Thread(target=writer.run, args=(self.server.http_port,), daemon=True) for writer in self.writers]
        for thread in threads:
            thread.start()
        time.sleep(self.random.uniform(0, BURST_SECONDS_MAX))
        self.server.kill()
        for thread in threads:
            thread.join()

    def restart(self):
        """Starts the server again; now and then kills it while it is starting. Kills done here."""
        kills = 0
        while self.random.random() < KILL_WHILE_STARTING:
            self.server.spawn()
            time.sleep(self.random.uniform(0, 0.3))
            self.server.kill()
            kills += 1
        self.server.start()
        self.restarts.append(self.server.start_seconds)
        return kills

    def read_all(self):
        connection = Connection(self.server.http_port)
        held, offset = {}, None
        while True:
            page = connection.call("POST", "/points/scroll", {"limit": 2000, "offset": offset, "with_payload": True, "with_vector": True})
            for point in page["points"]:
                held[point["id"]] = (point["payload"], point["vector"])
            if (offset := page["next_page_offset"]) is None:
                connection.close()
                return held

    def flaw(self, text):
        self.flaws.append(text)
        if len(self.flaws) <= FLAWS_SHOWN:
            print(f"  FLAW: {text}", flush=True)

    def check_points(self):
        """Every point against what may be; what is found becomes what is known."""
        held = self.read_all()
        owners = {point: writer for writer in self.writers for point in writer.ids}
        for point in held.keys() - owners.keys():
            self.flaw(f"phantom: point {point} was never written")
        whole = [(point, *held[point]) for point in held if point in owners and isinstance(held[point][0].get("serial"), int)]
        expected = vectors([point for point, _, _ in whole], [payload["serial"] for _, payload, _ in whole])
        actual = np.array([vector for _, _, vector in whole], dtype=np.float32).reshape(len(whole), DIM)
        matches = dict(zip((point for point, _, _ in whole), np.abs(expected - actual).max(axis=1, initial=0) < 1e-6))
        for point, writer in owners.items():
            found = None
            if point in held:
                payload = held[point][0]
                found = State(payload.get("serial"), payload.get("mark"))
                if found.payload != payload or not matches.get(point, False):
                    self.flaw(f"half applied: point {point} has payload {payload} and another version's vector")
            allowed = writer.allowed(point)
            if found not in allowed:
                kind = "lost" if found is None else "undone or phantom"
                self.flaw(f"{kind}: point {point} is {found}, acknowledged was {allowed[0]}, in doubt {allowed[1:]}")
            if found is None:
                writer.known.pop(point, None)
            else:
                writer.known[point] = found
        for writer in self.writers:
            writer.in_doubt = {}
            if writer.refusal:
                self.flaw(f"a writer was stopped by {writer.refusal}")
                writer.refusal = None

    def recall(self):
        """Recall@10 of the index; the exact search must agree with brute force over the known points."""
        known = sorted((point, state.serial) for writer in self.writers for point, state in writer.known.items())
        ids, base = np.array([point for point, _ in known]), vectors(*zip(*known)).astype(np.float64)
        connection = Connection(self.server.http_port)
        approximate = self.search(connection, {"hnsw_ef": HNSW_EF})
        exact = self.search(connection, {"exact": True})
        connection.close()
        found = 0
        for query, near, true in zip(self.queries.astype(np.float64), approximate, exact):
            distances = np.sqrt(((base - query) ** 2).sum(axis=1))
            order = np.argsort(distances)[:K]
            scores = [hit["score"] for hit in true]
            if len(scores) != K or not np.allclose(scores, distances[order], rtol=1e-4, atol=1e-6):
                self.flaw(f"exact search found {[hit['id'] for hit in true]} instead of {ids[order].tolist()}")
            found += len({hit["id"] for hit in near} & set(ids[order].tolist()))
        return found / (K * len(self.queries))

    def search(self, connection, params):
        searches = [{"query": query.tolist(), "limit": K, "params": params, "with_payload": False} for query in self.queries]
        return [answer["points"] for answer in connection.call("POST", "/points/query/batch", {"searches": searches})]


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--seed", type=int, default=None, help="default: a new one each time")
    parser.add_argument("--points", type=int, default=5000)
    parser.add_argument("--binary", help="default: $QUIVER_BINARY, or the newest build")
    arguments = parser.parse_args()
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    print(f"crash test: seed {seed}, {arguments.kills} kills, {arguments.points} points on {SHARDS} shards, {WRITERS} writers", flush=True)

    passed = failed = kills = 0
    with Server(arguments.binary) as server:
        crash = Crash(server, arguments.points, seed)
        crash.load()
        before = crash.recall()
        print(f"  loaded: recall@{K} {before:.4f}", flush=True)
        while kills < arguments.kills:
            flaws = len(crash.flaws)
            requests = sum(writer.requests for writer in crash.writers)
            crash.burst()
            try:
                kills += 1 + crash.restart()
                crash.check_points()
                after = crash.recall()
                share = crash.settle_index(INDEX_SECONDS)
                settled = crash.recall()
            except (ServerError, OSError, http.client.HTTPException) as error:
                ended = server.process.poll()
                crash.flaw(f"the server gave up: {error!r}, exit code {ended}\n{server.log_tail()}")
                failed += 1
                break
            if after < before - RECALL_LOSS_MAX:
                crash.flaw(f"recall@{K} fell from {before:.4f} to {after:.4f}")
            before = settled
            acknowledged = sum(writer.requests for writer in crash.writers) - requests
            good = len(crash.flaws) == flaws
            passed, failed = passed + good, failed + (not good)
            print(
                f"  kill {kills}: {acknowledged} writes acknowledged, ready {server.start_seconds:.3f} s after exec, "
                f"recall@{K} {after:.4f}, then {share:.0%} in the graph{'' if good else '  FAILED'}",
                flush=True,
            )
        writes, changes = sum(writer.requests for writer in crash.writers), sum(writer.changes for writer in crash.writers)
        crash.restarts = crash.restarts or [float("nan")]
        print(
            f"{kills} kills, {writes} acknowledged writes ({changes} point changes), "
            f"restart to ready p50 {statistics.median(crash.restarts):.3f} s, max {max(crash.restarts):.3f} s, {len(crash.flaws)} flaws"
        )
    if writes < 10 * kills:
        print("too few writes to prove anything")
        failed += 1
    print(f"{passed} passed, {failed} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
