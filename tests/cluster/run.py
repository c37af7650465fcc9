"""Cluster tests: real processes in network namespaces, faults, recorded histories, and proof that they are linearizable.

    python tests/cluster/run.py linearizability --short
    python tests/cluster/run.py linearizability --nodes 4 --each 6 --operations 60000 --seed 1
    python tests/cluster/run.py linearizability --nodes 1        the harness itself, without a cluster
    python tests/cluster/run.py kill-all | power | replace       the same with one kind of fault
    python tests/cluster/run.py split                            the same, and no request may fail for good
    python tests/cluster/run.py failover | rolling | costs       figures
    python tests/cluster/run.py digest --node HOST:PORT --node HOST:PORT     are these nodes' replicas equal

A seed decides which faults come when and to whom, and what each client asks for; how threads and processes interleave it does
not. Needs root. A run that fails leaves its history and the nodes' logs in the folder that --out names.
"""

import argparse
import contextlib
import json
import os
import pathlib
import random
import secrets
import shutil
import signal
import statistics
import sys
import tempfile
import threading
import time
from collections import Counter

import checker
from cluster import Cluster, digest, read_replica
from faults import Faults
from history import COLLECTION, OK, READ, UNKNOWN, Clients, Load, Op, Wire, save
from network import NetworkError
from node import CallError, NodeError

CALM_S = (1.0, 2.0)
ONE_NODE = ["kill-all", "pause", "clock"]
SHORT = ["leader-kill", "partition", "pause", "reshard", "kill-all"]
LONG = ["leader-kill", "follower-kill", "partition", "one-way", "slow-link", "pause", "clock", "membership", "catch-up", "reshard", "kill-all", "replace"]
FLAWS_SHOWN = 10
#: Longest wait of a client for the first acknowledged write after a kill.
FAILOVER_S = 15
COST_SECONDS, COST_BATCH, COST_DIM = 4, 100, 128
#: What ends a scenario as a flaw; anything else is a fault of the harness.
STOPPED = (NodeError, CallError, NetworkError)


class Ended(Exception):
    """The scenario cannot go on, for a flaw that has been told."""


class Run:
    """One scenario: what it found, its figures, and what it leaves behind."""

    def __init__(self, arguments):
        self.arguments, self.name, self.seed = arguments, arguments.scenario, arguments.seed
        self.random = random.Random(self.seed)
        self.flaws, self.figures, self.ops = [], {}, []
        self.began = time.monotonic()
        self.out = pathlib.Path(arguments.out)
        given = {name: getattr(arguments, name) for name in ("seed", "nodes", "shards", "replicas", "each", "operations")}
        self.replay = f"scripts/cluster-test {self.name} {' '.join(f'--{name} {value}' for name, value in given.items())}"
        self.replay += f" --kinds {','.join(arguments.kinds)}" if arguments.kinds else ""
        print(f"{self.name}: seed {self.seed}; again with: {self.replay}", flush=True)

    def note(self, text):
        print(f"  {time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    def flaw(self, text):
        self.flaws.append(text)
        if len(self.flaws) <= FLAWS_SHOWN:
            self.note(f"FLAW: {text}")

    @contextlib.contextmanager
    def cluster(self, **options):
        """A cluster whose logs are kept if there are flaws, with the history."""
        given = self.arguments
        with Cluster(given.binary, given.nodes, given.shards, given.replicas, **options) as cluster:
            try:
                cluster.begin()
                self.note(f"{given.nodes} nodes are ready")
                yield cluster
            except STOPPED as error:
                self.flaw(str(error))
                raise Ended from error
            finally:
                self.keep(cluster)

    def keep(self, cluster):
        started = [node for node in [*cluster.nodes, cluster.spare] if node.log_path.exists()]
        for node in started:
            if "panicked at" in node.log_text():
                self.flaw(f"{node} panicked")
        if self.flaws:
            kept = self.out / f"{self.name}-{self.seed}"
            kept.mkdir(parents=True, exist_ok=True)
            for node in started:
                shutil.copy(node.log_path, kept / f"node{node.number}.log")
            save(self.ops, kept / "history.jsonl")
            self.note(f"history and logs are in {kept}")

    @contextlib.contextmanager
    def clients(self, cluster, **load):
        """Clients at work. Then all replicas must become equal, and the history must be linearizable."""
        clients = Clients(Load(cluster.hosts, list(range(self.arguments.keys)), self.seed, **load))
        final = []
        clients.start()
        try:
            yield clients
            clients.stop()
            final = self.converge(cluster, clients.load.keys)
        except STOPPED as error:
            self.flaw(str(error))
        finally:
            clients.stop()
            self.ops = clients.ops + final
        self.check(clients)

    def converge(self, cluster, keys):
        """Reads of all keys, after all else, as operations of the history."""
        began = time.monotonic_ns()
        flaws, values, digests = cluster.converge(keys)
        for flaw in flaws:
            self.flaw(flaw)
        ended = time.monotonic_ns()
        self.figures["digests of replicas"] = f"{digests}, {(ended - began) / 1e9:.1f} s after the last write"
        return [Op(-1, key, READ, values.get(key), began, ended, OK) for key in keys]

    def check(self, clients):
        began = time.monotonic()
        wrong = checker.check(self.ops)
        for text in [f"key {key}: {why}" for key, why in wrong.items()] + clients.flaws:
            self.flaw(text)
        count = Counter((op.kind, op.outcome) for op in self.ops)
        done = sum(number for (_, outcome), number in count.items() if outcome == OK)
        if done < self.arguments.operations:
            self.flaw(f"{done} operations are too few to prove anything")
        self.figures["operations"] = {f"{kind} {outcome}": number for (kind, outcome), number in sorted(count.items())}
        keys = len({op.key for op in self.ops})
        self.figures["keys"] = f"{keys}, {len(wrong)} not linearizable, checked in {time.monotonic() - began:.1f} s"
        self.figures["reads that no node answered"] = clients.reads_lost

    def end(self):
        """The summary in a file, the verdict on a line; the exit code."""
        self.out.mkdir(parents=True, exist_ok=True)
        seconds = round(time.monotonic() - self.began, 1)
        summary = {"scenario": self.name, "seed": self.seed, "replay": self.replay, "nodes": self.arguments.nodes, "seconds": seconds}
        summary |= {"figures": self.figures, "flaws": self.flaws}
        (self.out / f"{self.name}-{self.seed}.json").write_text(json.dumps(summary, indent=2) + "\n")
        for name, value in self.figures.items():
            print(f"  {name}: {value}")
        print(f"{self.name}: {f'FAILED, {len(self.flaws)} flaws' if self.flaws else 'ok'}, {seconds} s", flush=True)
        return bool(self.flaws)


def soak(run, kinds, **options):
    """Faults, one after the other, under clients."""
    plan = kinds * run.arguments.each
    run.random.shuffle(plan)
    coverage, recoveries = Counter(), []
    with run.cluster(**options) as cluster, run.clients(cluster) as clients:
        faults = Faults(cluster, run.random, clients.load)
        for at, kind in enumerate(plan, 1):
            time.sleep(run.random.uniform(*CALM_S))
            told = faults.inject(kind)
            recoveries.append(cluster.recover())
            coverage[kind] += 1
            run.note(f"{at}/{len(plan)} {kind}: {told}; all nodes take writes {recoveries[-1]:.2f} s later; {clients.acknowledged()} operations")
        while clients.acknowledged() < run.arguments.operations:
            time.sleep(0.5)
    for kind in set(kinds):
        if coverage[kind] < run.arguments.each:
            run.flaw(f"{kind} came {coverage[kind]} of {run.arguments.each} times")
    run.figures["faults"] = dict(coverage)
    run.figures["all nodes take writes after a fault, s"] = spread(recoveries)


def split(run):
    """Twice as many shards and half as many again, under clients none of which may be left without an answer."""
    seconds = []
    with run.cluster() as cluster, run.clients(cluster, timeouts_s=(10,)) as clients:
        faults = Faults(cluster, run.random, clients.load)
        for at in range(2 * run.arguments.each):
            time.sleep(run.random.uniform(*CALM_S))
            began = time.monotonic()
            told = faults.split()
            seconds.append(time.monotonic() - began)
            run.note(f"{at + 1}/{2 * run.arguments.each}: {told}; {clients.acknowledged()} operations")
    open_ended = [op for op in run.ops if op.outcome == UNKNOWN]
    for op in open_ended[:FLAWS_SHOWN]:
        run.flaw(f"client {op.client} does not know what became of a {op.kind} of {op.key}: {op.note}")
    if clients.reads_lost:
        run.flaw(f"{clients.reads_lost} reads were answered by no node")
    run.figures["to twice or half as many shards, s"] = spread(seconds)
    pauses = [max_gap([op.returned for op in client.ops if op.kind != READ and op.outcome == OK], client.ops[0].invoked, client.ops[-1].returned) for client in clients.clients]
    run.figures["longest pause of a client's writes, s"] = spread(pauses)


def spread(values, digits=3):
    """p50, p99 (nearest rank) and the largest."""
    if not values:
        return None
    ordered = sorted(values)
    p99 = ordered[-(-99 * len(ordered) // 100) - 1]
    figures = {"p50": statistics.median(ordered), "p99": p99, "max": ordered[-1]}
    return {"count": len(ordered)} | {name: round(value, digits) for name, value in figures.items()}


def failover(run):
    """How long writes pause when the leader is killed: for each client, from the kill to its next acknowledged write."""
    waits, slowest = [], []
    with run.cluster() as cluster, run.clients(cluster, mix=(0, 1, 0), think_s=0.002, timeouts_s=(5,)) as clients:
        for at in range(run.arguments.kills):
            time.sleep(run.random.uniform(*CALM_S))
            leader = cluster.wait_leader()
            killed = time.monotonic_ns()
            leader.kill()
            gaps = first_acknowledged(clients, killed)
            waits += gaps
            slowest.append(max(gaps))
            cluster.start([leader])
            cluster.recover()
            run.note(f"{at + 1}/{run.arguments.kills} {leader} killed: clients' next write after {min(gaps):.3f} to {max(gaps):.3f} s")
    run.figures["write gap after a leader kill, per client, s"] = spread(waits)
    run.figures["write gap after a leader kill, slowest client, s"] = spread(slowest)


def first_acknowledged(clients, since):
    """Seconds until each client's first acknowledged write that it began after `since`."""
    gaps, until = {}, time.monotonic() + FAILOVER_S
    while len(gaps) < len(clients.clients):
        for client in clients.clients:
            if client.number not in gaps:
                found = (op for op in list(client.ops)[-500:] if op.invoked >= since and op.outcome == OK)
                if (op := next(found, None)) is not None:
                    gaps[client.number] = (op.returned - since) / 1e9
        if time.monotonic() > until:
            raise NodeError(f"{len(clients.clients) - len(gaps)} clients write nothing {FAILOVER_S} s after a leader kill")
        time.sleep(0.005)
    return list(gaps.values())


def rolling(run):
    """Every node is ended with SIGTERM and started again, one after the other, under readers and writers."""
    windows = []
    with run.cluster() as cluster, run.clients(cluster, think_s=0.002, timeouts_s=(5,)) as clients:
        time.sleep(2)
        for at in range(run.arguments.rounds):
            for node in cluster.nodes:
                began = time.monotonic_ns()
                node.terminate()
                ended = time.monotonic_ns()
                cluster.start([node])
                recovery = cluster.recover()
                windows.append((began, time.monotonic_ns()))
                told = f"ended in {(ended - began) / 1e9:.2f} s, all nodes take writes {recovery:.2f} s after it was ready"
                run.note(f"round {at + 1}, {node}: {told}")
                time.sleep(1)
    written = [[op.returned for op in client.ops if op.kind != READ and op.outcome == OK] for client in clients.clients]
    every = sorted(sum(written, []))
    gaps = [max_gap(times, *window) for window in windows for times in written]
    run.figures["longest pause of a client's writes per restart, s"] = spread(gaps)
    run.figures["longest time without any write per restart, s"] = spread([max_gap(every, *window) for window in windows])
    if clients.reads_lost:
        run.flaw(f"{clients.reads_lost} reads were answered by no node")


def max_gap(times, began, ended):
    """The longest time without one of `times`, from `began` to `ended` (all in ns), in seconds."""
    inside = [began, *(at for at in times if began <= at <= ended), ended]
    return max(later - earlier for earlier, later in zip(inside, inside[1:])) / 1e9


def costs(run):
    """What replicas and shards cost: upserts per second from 8 clients, in batches and one by one, what the nodes send each
    other for a byte of vectors, and searches per second."""
    with run.cluster() as cluster:
        for replicas in sorted({1, min(3, cluster.count), cluster.count}):
            for shards in (1, 4):
                name = f"costs{replicas}x{shards}"
                settings = {"vectors": {"size": COST_DIM, "distance": "Dot"}, "shard_number": shards, "replication_factor": replicas}
                cluster.nodes[0].call("PUT", f"/collections/{name}", settings, timeout=60)
                for batch in (COST_BATCH, 1):
                    sent = cluster.network.sent(cluster.count)
                    count, times = upsert_rate(cluster.hosts, name, batch, run.random)
                    sent = cluster.network.sent(cluster.count) - sent
                    figures = {"points per s": round(count / COST_SECONDS), "request, ms": spread([s * 1e3 for s in times], 1)}
                    figures["bytes sent per byte of vectors"] = round(sent / (count * COST_DIM * 4), 2)
                    run.figures[f"{replicas} replicas, {shards} shards, batches of {batch}"] = figures
                asked = [json.dumps({"query": [run.random.random() for _ in range(COST_DIM)], "limit": 10}).encode() for _ in range(50)]
                times = ask_all(cluster.hosts, "POST", f"/collections/{name}/points/query", asked)
                run.figures[f"{replicas} replicas, {shards} shards, searches"] = {
                    "per s": round(len(times) / COST_SECONDS),
                    "ms": spread([s * 1e3 for s in times], 1),
                }
                cluster.nodes[0].call("DELETE", f"/collections/{name}", timeout=60)


def upsert_rate(hosts, collection, batch, rng):
    """How many points were taken, and how long each request took."""
    bodies = []
    for at in range(50):
        points = [{"id": at * batch + i, "vector": [rng.random() for _ in range(COST_DIM)]} for i in range(batch)]
        bodies.append(json.dumps({"points": points}).encode())
    times = ask_all(hosts, "PUT", f"/collections/{collection}/points?wait=true", bodies)
    return len(times) * batch, times


def ask_all(hosts, method, path, bodies):
    """Seconds of each of the requests that 8 clients send one after the other for a while, each to one node."""
    until, times, refusals = time.monotonic() + COST_SECONDS, [], []

    def ask(number):
        wire, at = Wire(), number
        while time.monotonic() < until:
            began = time.monotonic()
            status, answer = wire.send(hosts[number % len(hosts)], method, path, bodies[at % len(bodies)], 30)
            if status == 200:
                times.append(time.monotonic() - began)
            else:
                refusals.append(f"{status} {answer[:200]}")
            at += 8
        wire.close()

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if refusals:
        raise NodeError(f"{len(refusals)} requests were refused, one with {refusals[0]}")
    return times


def compare_digests(arguments):
    """Whether nodes that run somewhere hold the same; the exit code."""
    digests = {}
    for node in arguments.node:
        host, port = node.rsplit(":", 1)
        flaws = []
        content = read_replica(host, flaws, arguments.collection, int(port))
        digests[node] = digest(content)
        print(f"{node}: {len(content)} points, digest {digests[node]}", *flaws, sep="\n  ")
    return len(set(digests.values())) > 1


SCENARIOS = {
    "linearizability": lambda run: soak(run, run.arguments.kinds or default_kinds(run.arguments)),
    "kill-all": lambda run: soak(run, ["kill-all"]),
    "power": lambda run: soak(run, ["power-all"] + ["power-one"] * (run.arguments.nodes > 1), with_disks=True),
    "replace": lambda run: soak(run, ["replace"]),
    "split": split,
    "failover": failover,
    "rolling": rolling,
    "costs": costs,
}


def default_kinds(arguments):
    if arguments.nodes == 1:
        return ONE_NODE
    return SHORT if arguments.short else LONG


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenario", choices=[*SCENARIOS, "digest"])
    parser.add_argument("--short", action="store_true", help="three nodes, each fault of a few kinds once")
    parser.add_argument("--seed", type=int, help="default: a new one each time")
    parser.add_argument("--nodes", type=int, help="default: 4 where replicas move between nodes, otherwise 3")
    parser.add_argument("--shards", type=int, help="default: 2; 1 in failover and rolling")
    parser.add_argument("--replicas", type=int, default=3)
    parser.add_argument("--keys", type=int, default=200)
    parser.add_argument("--each", type=int, help="how often each fault comes; default: 6, 1 in a short run")
    parser.add_argument("--operations", type=int, help="acknowledged ones, at least; default: 60000 in a long linearizability run")
    parser.add_argument("--kinds", type=lambda text: text.split(","), help=f"faults of linearizability, of {','.join(LONG)},power-one,power-all")
    parser.add_argument("--kills", type=int, default=20, help="of failover")
    parser.add_argument("--rounds", type=int, default=5, help="of rolling")
    parser.add_argument("--binary", default=os.environ.get("QUIVER_BINARY"), help="default: $QUIVER_BINARY")
    parser.add_argument("--out", default=f"{tempfile.gettempdir()}/quiver-cluster-results", help="folder for summaries, and for what failed runs leave")
    parser.add_argument("--node", action="append", default=[], metavar="HOST:PORT", help="of digest")
    parser.add_argument("--collection", default=COLLECTION, help="of digest")
    arguments = parser.parse_args()
    if arguments.scenario == "digest":
        return compare_digests(arguments)
    if os.geteuid() != 0:
        parser.error("network namespaces need root")
    if not arguments.binary:
        parser.error("set QUIVER_BINARY, or give --binary")
    is_soak = arguments.scenario in ("linearizability", "kill-all", "power", "replace", "split")
    is_long = arguments.scenario == "linearizability" and not arguments.short
    defaults = {
        "seed": secrets.randbits(32),
        "nodes": 4 if is_long else 5 if arguments.scenario == "costs" else 3,
        "shards": 2 if is_soak else 1,
        "each": 1 if arguments.short else 6,
        "operations": 60_000 if is_long and arguments.nodes != 1 else 2_000,
    }
    for name, value in defaults.items():
        if getattr(arguments, name) is None:
            setattr(arguments, name, value)
    # Ends through the context managers: processes, namespaces and mounts go.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    run = Run(arguments)
    try:
        SCENARIOS[run.name](run)
    except STOPPED as error:
        run.flaw(str(error))
    except Ended:
        pass
    return run.end()


if __name__ == "__main__":
    sys.exit(main())
