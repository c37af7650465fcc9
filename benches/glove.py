#!/usr/bin/env python3
"""Quiver beside hnswlib on the same word vectors with the same parameters, in one run.

    make bench            or   scripts/bench --rounds 5

Both build with M=16, ef_construction=200 and search with ef=128 for the 10 nearest, and both give each search one
thread. Rounds alternate between the two, so that a busy machine hurts both; medians are shown. hnswlib is called inside
the Python process; Quiver over gRPC on loopback by the official Rust client, with the filter, payload and durability
machinery in place. The ratio is therefore a whole service against a bare index.
"""

import argparse
import concurrent.futures
import json
import os
import pathlib
import socket
import statistics
import subprocess
import tempfile
import time
import urllib.request

import hnswlib
import numpy as np

M, EF_CONSTRUCTION, EF, K = 16, 200, 128, 10
IN_FLIGHT = [1, 8]
MEASURED_S = 5
READY_TIMEOUT_S = 60


class Glove:
    """The folder that scripts/glove.py prepared."""

    def __init__(self, folder):
        shape = json.loads((folder / "shape.json").read_text())
        self.base = np.fromfile(folder / "base.f32", "<f4").reshape(-1, shape["dim"])
        self.queries = np.fromfile(folder / "queries.f32", "<f4").reshape(-1, shape["dim"])
        self.truth = np.fromfile(folder / "neighbors.u32", "<u4").reshape(-1, shape["neighbors"])[:, :K]


class Hnswlib:
    """The peer. The vectors have length 1, so the inner product orders as the cosine does."""

    name = "hnswlib"

    def __init__(self, glove):
        self.glove = glove

    def load(self):
        self.index = hnswlib.Index(space="ip", dim=self.glove.base.shape[1])
        self.index.init_index(max_elements=len(self.glove.base), M=M, ef_construction=EF_CONSTRUCTION, random_seed=1)
        before, began = rss_bytes(os.getpid()), time.perf_counter()
        self.index.add_items(self.glove.base, num_threads=os.cpu_count())
        seconds = time.perf_counter() - began
        self.index.set_ef(EF)
        # Its memory is the growth of this process: the vectors themselves were there before, as in any caller.
        return {"green_s": seconds, "rss_bytes_per_point": (rss_bytes(os.getpid()) - before) / len(self.glove.base)}

    def measure(self):
        labels = np.vstack([self.index.knn_query(query, k=K, num_threads=1)[0] for query in self.glove.queries])
        hits = sum(len(np.intersect1d(found, truth)) for found, truth in zip(labels, self.glove.truth))
        speeds = [self.speed(in_flight) for in_flight in IN_FLIGHT]
        return {"recall_at_10": hits / self.glove.truth.size, "speeds": speeds}

    def speed(self, in_flight):
        """Callers in threads of their own, one query per call: what a service around the library would do."""
        until = time.perf_counter() + MEASURED_S

        def caller(number):
            latencies = []
            while (began := time.perf_counter()) < until:
                query = self.glove.queries[(number * 7919 + len(latencies)) % len(self.glove.queries)]
                self.index.knn_query(query, k=K, num_threads=1)
                latencies.append(time.perf_counter() - began)
            return latencies

        with concurrent.futures.ThreadPoolExecutor(in_flight) as callers:
            latencies = np.concatenate(list(callers.map(caller, range(in_flight))))
        p50, p99 = np.percentile(latencies * 1e3, [50, 99])
        return {"in_flight": in_flight, "queries_per_s": len(latencies) / MEASURED_S, "p50_ms": p50, "p99_ms": p99}


class Quiver:
    """A server of its own, on free ports and a fresh folder."""

    name = "quiver"

    def __init__(self, arguments, folder):
        self.arguments = arguments
        self.http_port, self.grpc_port = free_port(), free_port()
        self.log = open(folder / "server.log", "wb")
        ports = ["--http-port", str(self.http_port), "--grpc-port", str(self.grpc_port)]
        self.process = subprocess.Popen(
            [arguments.server, "serve", *ports, "--storage-path", folder / "storage"],
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
        )
        until = time.monotonic() + READY_TIMEOUT_S
        while not self.is_ready():
            if self.process.poll() is not None or time.monotonic() > until:
                raise SystemExit(f"the server did not start: {(folder / 'server.log').read_text()}")
            time.sleep(0.05)

    def is_ready(self):
        try:
            return urllib.request.urlopen(f"http://127.0.0.1:{self.http_port}/readyz", timeout=5).status == 200
        except OSError:
            return False

    def client(self, step):
        command = [self.arguments.client, "--url", f"http://127.0.0.1:{self.grpc_port}", "--json"]
        command += ["--words", self.arguments.words, "--pid", str(self.process.pid)]
        command += ["--m", str(M), "--ef-construct", str(EF_CONSTRUCTION), "--ef", str(EF)]
        command += ["--in-flight", ",".join(map(str, IN_FLIGHT)), step]
        answer = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout
        return json.loads(answer.splitlines()[-1])

    def load(self):
        return self.client("load")

    def measure(self):
        return self.client("measure")

    def stop(self):
        self.process.terminate()
        self.process.wait()
        self.log.close()


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


def rss_bytes(pid):
    status = pathlib.Path(f"/proc/{pid}/status").read_text()
    return int(next(line for line in status.splitlines() if line.startswith("VmRSS:")).split()[1]) * 1024


def figures(loaded, rounds):
    """Name to median, in the order of the table."""
    rows = {"load and build, s": loaded["green_s"], "resident bytes per point": loaded["rss_bytes_per_point"]}
    rows["recall@10"] = statistics.median(one["recall_at_10"] for one in rounds)
    for place, in_flight in enumerate(IN_FLIGHT):
        for key, label in [("queries_per_s", "queries per s"), ("p50_ms", "p50, ms"), ("p99_ms", "p99, ms")]:
            rows[f"{label}, {in_flight} in flight"] = statistics.median(one["speeds"][place][key] for one in rounds)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--words", type=pathlib.Path, required=True)
    parser.add_argument("--server", type=pathlib.Path, required=True)
    parser.add_argument("--client", type=pathlib.Path, required=True)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    glove = Glove(arguments.words)
    with tempfile.TemporaryDirectory(prefix="quiver-bench-") as folder:
        quiver = Quiver(arguments, pathlib.Path(folder))
        try:
            contestants = [quiver, Hnswlib(glove)]
            loaded = {one.name: one.load() for one in contestants}
            rounds = {one.name: [] for one in contestants}
            for number in range(arguments.rounds):
                for one in contestants if number % 2 == 0 else reversed(contestants):
                    rounds[one.name].append(one.measure())
                print(f"round {number + 1} of {arguments.rounds} done", flush=True)
        finally:
            quiver.stop()
    ours, theirs = (figures(loaded[one.name], rounds[one.name]) for one in contestants)
    print(f"\n{len(glove.base)} points of {glove.base.shape[1]} dimensions, M={M}, ef_construction={EF_CONSTRUCTION}, ", end="")
    print(f"ef={EF}, {os.cpu_count()} cores; medians of {arguments.rounds} rounds\n")
    print(f"{'':<30}{'quiver':>12}{'hnswlib':>12}{'ratio':>9}")
    for label, value in ours.items():
        print(f"{label:<30}{value:>12.4g}{theirs[label]:>12.4g}{value / theirs[label]:>9.2f}")


if __name__ == "__main__":
    main()
