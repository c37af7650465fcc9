"""Who takes part, and how each is driven: a process that builds its index, then answers one ef per line."""

import dataclasses
import json
import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Callable

WORKER = pathlib.Path(__file__).with_name("worker.py")


@dataclasses.dataclass(frozen=True)
class Contestant:
    name: str
    library: str
    about: str
    fits: Callable = lambda data: True
    # Of our own binary.
    flags: tuple = ()


def wide(data):
    """Codes of 8 bits are compared eight or sixteen at a time; of 50, the last go one by one, and nothing is gained."""
    return data.dim % 8 == 0


CONTESTANTS = [
    Contestant("quiver", "quiver", "this index: f32, codes of 8 bits"),
    Contestant("quiver-uint8", "quiver", "this index: bytes", lambda data: data.is_bytes, ("--datatype=uint8",)),
    Contestant("quiver-4bits", "quiver", "this index: f32, codes of 4 bits", wide, ("--bits=4",)),
    Contestant("hnswlib", "hnswlib", "HNSW, f32"),
    Contestant("faiss", "faiss", "`IndexHNSWFlat`, f32"),
    Contestant("faiss-sq8", "faiss", "`IndexHNSWSQ`, 8 bits, with `IndexRefine` unless the data are bytes", wide),
    Contestant("usearch-f32", "usearch", "HNSW, f32"),
    Contestant("usearch-f16", "usearch", "HNSW, f16"),
    Contestant("usearch-i8", "usearch", "HNSW, i8"),
    Contestant("svs-f32", "svs", "Vamana, f32"),
    Contestant("svs-f16", "svs", "Vamana, f16"),
    Contestant("svs-u8", "svs", "Vamana, u8", lambda data: data.is_bytes),
    Contestant("svs-lvq", "svs", "Vamana, LVQ of 4 and 8 bits"),
    Contestant("zvec-f32", "zvec", "HNSW, f32"),
    Contestant("zvec-int8", "zvec", "HNSW, `INT8` with refiner"),
    Contestant("zvec-uint8", "zvec", "HNSW, `UNIFORM_UINT8` with refiner", lambda data: data.metric == "euclid"),
    Contestant("hnsw_rs", "hnsw_rs", "HNSW, f32, with its feature `simdeez_f`"),
]


class Refused(Exception):
    """The library ended instead of building or answering; its last words."""


class Running:
    """A contestant's process, with its index built."""

    def __init__(self, contestant, data, threads, binaries):
        self.contestant = contestant
        self.log = tempfile.TemporaryFile("w+")
        self.process = subprocess.Popen(
            self.command(contestant, data, threads, binaries),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self.log,
            text=True,
            # Threads that wait for the next loop to share must not spin beside another contestant's search.
            env={**os.environ, "OMP_WAIT_POLICY": "PASSIVE", "OPENBLAS_NUM_THREADS": "1"},
        )
        try:
            self.built = self.answer()
        except Refused:
            self.stop()
            raise
        self.queries_bytes = data.queries().nbytes

    def command(self, contestant, data, threads, binaries):
        paths = [data.base_path, data.queries_path, data.metric, str(threads)]
        if contestant.library in binaries:
            return [binaries[contestant.library], "--lines", *contestant.flags, *paths]
        return [sys.executable, WORKER, contestant.name, *paths, *(["bytes"] if data.is_bytes else [])]

    def ask(self, ef):
        """What the queries found, and the seconds they took."""
        try:
            self.process.stdin.write(f"{ef}\n")
            self.process.stdin.flush()
        except BrokenPipeError:
            pass
        answer = self.answer()
        return answer["rows"], answer["seconds"]

    def answer(self):
        line = self.process.stdout.readline()
        if line:
            return json.loads(line)
        code = self.process.wait()
        self.log.seek(0)
        lines = [line.strip() for line in self.log if line.strip()]
        raise Refused(lines[-1] if lines else f"it ended with code {code} and no word")

    def index_bytes(self):
        """What the process holds beyond what it held before it had an index. A Rust program has nothing else but its own
        pages, which are those of its file, and the queries."""
        held = resident_bytes(self.process.pid)
        if "resident_before" in self.built:
            return held["VmRSS"] - self.built["resident_before"]
        return held["RssAnon"] - self.queries_bytes

    def stop(self):
        try:
            self.process.stdin.close()
        except BrokenPipeError:
            pass  # It ended by itself, before it read everything.
        self.process.wait()
        self.process.stdout.close()
        self.log.close()


def resident_bytes(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    fields = (line.split() for line in lines if line.startswith(("VmRSS:", "RssAnon:")))
    return {name.rstrip(":"): int(kilobytes) * 1024 for name, kilobytes, _ in fields}
