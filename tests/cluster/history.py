"""Clients that read, write and delete single points, and the record of what each was answered.

A value is a serial that is never written twice, or `None`: the point is not there. An operation is `ok`, certainly `failed`,
or `unknown`: it may take effect at any later time, or never.
"""

import dataclasses
import http.client
import itertools
import json
import random
import select
import threading
import time

from node import HTTP_PORT

COLLECTION = "registers"
DIM = 4
OK, FAILED, UNKNOWN = "ok", "failed", "unknown"
READ, WRITE, DELETE = "read", "write", "delete"
TORN = "parts of different writes"
#: Statuses that say for certain that nothing was done, and those that leave it open.
REFUSED, OPEN = {429, 503, 507}, {408, 500, 502, 504}
#: Keys that are busy at a time, and for how long: operations on one key must meet each other.
BUSY_KEYS, BUSY_S = 8, 1.0
#: Short ones come back soon to a node that was paused: its stale answers are what is looked for.
TIMEOUTS_S = (1, 2, 5)
#: How long a client leaves the node that failed it.
AWAY_S = (0.3, 1.5)
#: Pause after an operation that failed.
RETRY_S = 0.01


@dataclasses.dataclass(slots=True)
class Op:
    """`invoked` and `returned` in ns of the steady clock. `value` is what was written or read."""

    client: int
    key: int
    kind: str
    value: int | None
    invoked: int
    returned: int = 0
    outcome: str = UNKNOWN
    host: str = ""
    #: What was answered, if it was an error.
    note: str = ""


def vector(key, serial):
    """Exact in f32, and different for each pair."""
    return [float(serial % 8191), float(serial // 8191 + 1), float(key + 1), 1.0]


class Wire:
    """Connections of one client, kept open."""

    def __init__(self):
        self.connections = {}

    def send(self, host, method, path, body, timeout):
        """Status and text; status `None` if there was no answer, 0 if the request was certainly not sent."""
        connection = self.connections.get(host)
        if connection and select.select([connection.sock], [], [], 0)[0]:
            # Closed by the other side while it was idle; clients that pool connections look, too.
            self.drop(host)
            connection = None
        if connection is None:
            connection = http.client.HTTPConnection(host, HTTP_PORT, timeout=timeout)
            try:
                connection.connect()
            except OSError as error:
                return 0, repr(error)
            self.connections[host] = connection
        connection.sock.settimeout(timeout)
        try:
            connection.request(method, path, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            content = answer.read()
            if answer.will_close:
                self.drop(host)
            return answer.status, content
        except (OSError, http.client.HTTPException) as error:
            self.drop(host)
            return None, repr(error)

    def drop(self, host):
        self.connections.pop(host).close()

    def close(self):
        for host in list(self.connections):
            self.drop(host)


@dataclasses.dataclass
class Load:
    """What clients do. `hosts` may be replaced while they run."""

    hosts: list
    keys: list
    seed: int
    #: Weights of read, write, delete.
    mix: tuple = (45, 45, 10)
    #: Each operation is followed by a pause of up to this long.
    think_s: float = 0.008
    timeouts_s: tuple = TIMEOUTS_S
    serials: itertools.count = dataclasses.field(default_factory=lambda: itertools.count(1))


class Client(threading.Thread):
    """Asks one node, and others for a while after that one failed. A failed read is repeated at once on each other node."""

    def __init__(self, number, load):
        super().__init__(daemon=True)
        self.number, self.load = number, load
        self.random = random.Random(load.seed * 1000 + number)
        self.wire = Wire()
        self.ops, self.flaws = [], []
        #: Reads that no node answered.
        self.reads_lost = 0
        self.away_until = 0.0
        self.stopping = threading.Event()

    def run(self):
        while not self.stopping.is_set():
            kind = self.random.choices((READ, WRITE, DELETE), self.load.mix)[0]
            self.step(kind, self.choose_key())
            time.sleep(self.random.uniform(0, self.load.think_s))
        self.wire.close()

    def choose_key(self):
        keys = self.load.keys
        if self.random.random() < 0.1:
            return self.random.choice(keys)
        start = int(time.monotonic() / BUSY_S) * BUSY_KEYS
        return keys[(start + self.random.randrange(BUSY_KEYS)) % len(keys)]

    def step(self, kind, key):
        hosts = self.load.hosts
        home = hosts[self.number % len(hosts)]
        others = self.random.sample(hosts, len(hosts))
        if time.monotonic() < self.away_until and len(hosts) > 1:
            order = [*(host for host in others if host != home), home]
        else:
            order = [home, *(host for host in others if host != home)]
        for host in order if kind == READ else order[:1]:
            op = self.attempt(host, kind, key)
            self.ops.append(op)
            if op.outcome == OK or op.note == TORN:
                return
            if host == home:
                self.away_until = time.monotonic() + self.random.uniform(*AWAY_S)
        if kind == READ:
            self.reads_lost += 1
        time.sleep(RETRY_S)

    def attempt(self, host, kind, key):
        value = next(self.load.serials) if kind == WRITE else None
        if kind == WRITE:
            body = {"points": [{"id": key, "vector": vector(key, value), "payload": {"serial": value}}]}
            request = "PUT", f"/collections/{COLLECTION}/points?wait=true", body
        elif kind == DELETE:
            request = "POST", f"/collections/{COLLECTION}/points/delete?wait=true", {"points": [key]}
        else:
            request = "POST", f"/collections/{COLLECTION}/points", {"ids": [key], "with_payload": True, "with_vector": True}
        method, path, body = request
        content = json.dumps(body).encode()
        op = Op(self.number, key, kind, value, time.monotonic_ns(), host=host)
        status, answer = self.wire.send(host, method, path, content, self.random.choice(self.load.timeouts_s))
        op.returned = time.monotonic_ns()
        op.outcome = self.outcome(op, status, answer)
        if status == 200 and kind == READ:
            self.take_value(op, json.loads(answer)["result"])
        return op

    def outcome(self, op, status, answer):
        if status == 200:
            return OK
        op.note = f"{status} {answer[:200] if status in (None, 0) else answer.decode(errors='replace')[:200]}"
        if status in REFUSED:
            return UNKNOWN if "unknown" in op.note else FAILED
        if status == 0:
            return FAILED
        if status is not None and status not in OPEN:
            self.flaws.append(f"{op.kind} of {op.key} on {op.host}: {op.note}")
            return FAILED
        return UNKNOWN

    def take_value(self, op, points):
        if not points:
            return
        op.value = points[0]["payload"].get("serial")
        if len(points) > 1 or points[0]["id"] != op.key or op.value is None or points[0]["vector"] != vector(op.key, op.value):
            self.flaws.append(f"a read of {op.key} on {op.host} found {TORN}: {points}")
            # It has no place in an order of whole values.
            op.outcome, op.note = UNKNOWN, TORN


class Clients:
    """A set of clients that run until `stop`; then `ops` holds all their operations."""

    def __init__(self, load, count=8):
        self.load = load
        self.clients = [Client(number, load) for number in range(count)]

    def start(self):
        for client in self.clients:
            client.start()

    def stop(self):
        for client in self.clients:
            client.stopping.set()
        for client in self.clients:
            client.join()

    @property
    def ops(self):
        return list(itertools.chain.from_iterable(client.ops for client in self.clients))

    @property
    def flaws(self):
        return list(itertools.chain.from_iterable(client.flaws for client in self.clients))

    @property
    def reads_lost(self):
        return sum(client.reads_lost for client in self.clients)

    def acknowledged(self):
        return sum(1 for client in self.clients for op in list(client.ops) if op.outcome == OK)


def save(ops, path):
    with open(path, "w") as file:
        for op in sorted(ops, key=lambda op: op.invoked):
            print(json.dumps(dataclasses.asdict(op)), file=file)


def load_history(path):
    with open(path) as file:
        return [Op(**json.loads(line)) for line in file]
