#!/usr/bin/env python3
"""Quiver's index beside the libraries, on the same vectors with the same parameters, in one run.

    make bench            or   scripts/bench-libraries --data fashion,glove --only hnswlib,svs --rounds 5

Every contestant is a process of its own that calls its library directly: no server, no network. All build with as many
threads as there are cores, one after the other, and stay. Then they search with one thread each, in turns, ef by ef and
round by round, so that a busy machine hurts all: all queries through the library's own call for many, where it has one.

Of what comes back the same code here makes the recall. The report is written by results.py; what it is made from is kept
as JSON, from which `--report FILE...` makes it again.
"""

import argparse
import datetime
import importlib.metadata
import json
import os
import pathlib
import platform
import re
import statistics
import subprocess

import data
import results
from contestants import CONTESTANTS, Refused, Running
from worker import EF_CONSTRUCTION, K, M, Svs

# The binaries have the same M, ef_construction and k.
EFS = [10, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512, 768]
# Above it, a larger ef says nothing about the recalls that are compared.
RECALL_ENOUGH = 0.999
WARM_UP_EF = 64
# A measurement that is over sooner is repeated, a few times.
MEASURED_S, REPEATS_MAX = 0.2, 8

ROOT = pathlib.Path(__file__).parents[2]
PACKAGES = {"hnswlib": "hnswlib", "faiss": "faiss-cpu", "usearch": "usearch", "svs": "scalable-vs", "zvec": "zvec"}


def machine():
    cpu = re.search(r"model name\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    memory_kb = int(re.search(r"MemTotal:\s*(\d+)", pathlib.Path("/proc/meminfo").read_text())[1])
    flags = re.search(r"flags\s*: (.*)", pathlib.Path("/proc/cpuinfo").read_text())
    simd = [flag for flag in ["avx2", "avx512f", "avx512_vnni", "amx_tile"] if flags and flag in flags[1].split()]
    return {
        "cpu": cpu[1].strip() if cpu else platform.machine(),
        "simd": simd,
        "cores": os.cpu_count(),
        "memory_gib": round(memory_kb / 2**20, 1),
        "system": f"{platform.system()} {platform.release()}",
        "python": platform.python_version(),
    }


def versions():
    found = {library: importlib.metadata.version(package) for library, package in PACKAGES.items()}
    lock = (ROOT / "Cargo.lock").read_text()
    found["hnsw_rs"] = re.search(r'name = "hnsw_rs"\nversion = "(.*)"', lock)[1]
    described = subprocess.run(["git", "describe", "--always", "--dirty"], cwd=ROOT, capture_output=True, text=True)
    return {"quiver": described.stdout.strip() or "unknown", **found}


def recall(found, truth):
    hits = sum(len(set(rows[:K]) & wanted) for rows, wanted in zip(found, truth, strict=True))
    return hits / (K * len(truth))


def measure(running, ef):
    """Median seconds of a few repetitions, and what was found."""
    seconds = []
    while sum(seconds) < MEASURED_S and len(seconds) < REPEATS_MAX:
        rows, took = running.ask(ef)
        seconds.append(took)
    return statistics.median(seconds), rows


def build(contestants, case, threads, binaries, record):
    """The contestants that built an index. Each one's figures go into `record`, also those of who refused."""
    ready = []
    for contestant in contestants:
        one = record[contestant.name] = {"library": contestant.library, "about": contestant.about, "sweep": {}}
        try:
            running = Running(contestant, case, threads, binaries)
            # The first pass over the index is nobody's measurement; it may bring pages in that belong to its memory.
            running.ask(WARM_UP_EF)
        except Refused as refusal:
            one["refused"] = str(refusal)
            print(f"  {contestant.name}: {refusal}", flush=True)
            continue
        one |= running.built | {"index_bytes": running.index_bytes()}
        print(f"  {contestant.name}: built in {one['build_s']:.1f} s", flush=True)
        ready.append(running)
    return ready


def compete(case, contestants, arguments, binaries):
    """All figures of one data set."""
    print(f"{case.name}: {case.points} points of {case.dim} dimensions", flush=True)
    truth = [set(rows) for rows in case.neighbors()[:, :K].tolist()]
    record = {}
    ready = build(contestants, case, os.cpu_count(), binaries, record)
    ended = set()
    try:
        for number in range(arguments.rounds):
            enough = set(ended)
            for place, ef in enumerate(EFS):
                # Whose turn is first changes, so that nobody always follows the same neighbor.
                for running in ready if (number + place) % 2 == 0 else reversed(ready):
                    name = running.contestant.name
                    if name in enough:
                        continue
                    try:
                        seconds, rows = measure(running, ef)
                    except Refused as refusal:
                        print(f"  {name}, ef {ef}: {refusal}", flush=True)
                        record[name]["refused"] = str(refusal)
                        enough.add(name)
                        ended.add(name)
                        continue
                    point = record[name]["sweep"].setdefault(str(ef), {"recall": recall(rows, truth), "seconds": []})
                    point["seconds"].append(seconds)
                    if point["recall"] >= RECALL_ENOUGH:
                        enough.add(name)
            print(f"  round {number + 1} of {arguments.rounds} done", flush=True)
    finally:
        for running in ready:
            running.stop()
    shape = {"points": case.points, "dim": case.dim, "metric": case.metric, "queries": len(truth)}
    return {**shape, "contestants": record}


def parse():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    cache = os.environ.get("QUIVER_CACHE", pathlib.Path.home() / ".cache" / "quiver")
    names = sorted({name for one in CONTESTANTS for name in (one.name, one.library)})
    parser.add_argument("--cache", type=pathlib.Path, default=cache, help="where data sets and raw results are kept")
    parser.add_argument("--index-binary", type=pathlib.Path, help="benches/index.rs, built; Quiver takes part with it")
    parser.add_argument("--hnsw-rs-binary", type=pathlib.Path, help="benches/hnsw_rs.rs, built")
    parser.add_argument("--data", default=",".join(data.SOURCES), help=f"of {', '.join(data.SOURCES)}")
    parser.add_argument("--only", default="", help=f"beside Quiver only these, of {', '.join(names)}")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--points", type=int, help="only so many points of each data set, for a quick look")
    parser.add_argument("--report", type=pathlib.Path, nargs="+", help="measure nothing, write the report of these results")
    parser.add_argument("--output", type=pathlib.Path, help="where RESULTS.md and plots/ go; benches/ if the run is whole")
    arguments = parser.parse_args()
    arguments.data = arguments.data.split(",")
    arguments.only = set(filter(None, arguments.only.split(",")))
    if unknown := set(arguments.data) - set(data.SOURCES) | arguments.only - set(names):
        parser.error(f"unknown: {', '.join(sorted(unknown))}")
    return arguments


def run(arguments, folder):
    """The raw results; they are written after each data set, so that what is done is not lost."""
    named = {"quiver": arguments.index_binary, "hnsw_rs": arguments.hnsw_rs_binary}
    binaries = {name: path for name, path in named.items() if path}
    wanted = [
        one
        for one in CONTESTANTS
        if (one.library not in named or one.library in binaries)
        and (not arguments.only or {one.name, one.library} & (arguments.only | {"quiver"}))
    ]
    parameters = {"m": M, "ef_construction": EF_CONSTRUCTION, "k": K, "alpha": Svs.ALPHA, "ef_min": EFS[0]}
    parameters |= {"threads": os.cpu_count(), "rounds": arguments.rounds}
    raw = {"date": datetime.date.today().isoformat(), "machine": machine(), "versions": versions(), "parameters": parameters}
    raw["data"] = {}
    folder.mkdir(parents=True)
    for key in arguments.data:
        case = data.prepare(key, arguments.points, arguments.cache / "data")
        raw["data"][case.name] = compete(case, [one for one in wanted if one.fits(case)], arguments, binaries)
        (folder / "results.json").write_text(json.dumps(raw, indent=1) + "\n")
    print(f"raw results: {folder / 'results.json'}")
    return raw


def main():
    arguments = parse()
    if arguments.report:
        raw = results.joined([json.loads(path.read_text()) for path in arguments.report])
        results.write(raw, arguments.output or ROOT / "benches")
        return
    folder = arguments.cache / "bench-libraries" / f"{datetime.datetime.now():%Y%m%dT%H%M%S}"
    raw = run(arguments, folder)
    is_whole = not arguments.points and not arguments.only and set(arguments.data) == set(data.SOURCES)
    results.write(raw, arguments.output or (ROOT / "benches" if is_whole else folder))


if __name__ == "__main__":
    main()
