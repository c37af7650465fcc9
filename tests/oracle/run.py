"""The oracle test: the same random operations on a server and on the client's own in-memory local mode.

    python tests/oracle/run.py --transport rest --seed 1 --requests 3000

Prints the seed first. On a divergence it prints what differs and a shortened list of operations that shows it, which
`--replay FILE` runs again, and exits 1. The server is restarted a few times in the middle, by SIGTERM and by kill -9 in
turn. `--transport local` compares local mode with itself: it tests this test.
"""

import argparse
import contextlib
import copy
import json
import pathlib
import re
import secrets
import sys
import time
import warnings

HERE = pathlib.Path(__file__).resolve().parent
sys.path[:0] = [str(HERE), str(HERE.parent / "clients")]

from qdrant_client import QdrantClient  # noqa: E402

import compare  # noqa: E402
import generate  # noqa: E402
import mutants  # noqa: E402
import protocol  # noqa: E402
import ops  # noqa: E402
from quiver_server import Server, ServerError  # noqa: E402

#: Operations between two comparisons of everything.
CHECK_EVERY = 100
RESTARTS = 4
SHRINK_SECONDS = 60


class Remote:
    """A server under test."""

    def __init__(self, transport, binary):
        self.server = Server(binary)
        self.over_grpc = transport == "grpc"

    def __enter__(self):
        self.server.__enter__()
        self.client = QdrantClient(
            host="127.0.0.1",
            port=self.server.http_port,
            grpc_port=self.server.grpc_port,
            prefer_grpc=self.over_grpc,
            timeout=30,
            check_compatibility=False,
        )
        return self

    def __exit__(self, *_):
        with contextlib.suppress(Exception):
            self.client.close()
        self.server.close()

    def run(self, op):
        return ops.run_remote(self.client, op)

    def restart(self, how):
        self.server.restart(how)

    def clear(self):
        if not self.server.is_alive():
            self.server.start()
        for one in self.client.get_collections().collections:
            self.client.delete_collection(one.name)


class Local:
    """Local mode in the place of the server, altered by a mutant if one is given."""

    over_grpc = False

    def __init__(self, mutant=None):
        self.mutant = mutant

    def __enter__(self):
        self.clear()
        return self

    def __exit__(self, *_):
        pass

    def run(self, op):
        outcome = (self.mutant or ops.run_local)(self.client, op)
        if op["op"] == "retrieve" and not outcome.failed:
            outcome.value = compare.once_each(outcome.value)
        return outcome

    def restart(self, how):
        pass

    def clear(self):
        self.client = protocol.new_client()


def step(op, oracle, target):
    """None, or what is wrong after doing `op` on both."""
    try:
        if op["op"] == "restart":
            target.restart(op["how"])
            return None
        return compare.difference(op, oracle, target.run(op), target.over_grpc)
    except (ops.ServerFault, ServerError) as fault:
        return f"server fault: {fault}"


def sequence(seed, requests, oracle, has_vector_names):
    """The operations of a run, each made when the ones before it have been done."""
    maker = generate.Generator(seed, oracle, has_vector_names)
    restarts = {requests * at // (RESTARTS + 1): how for at, how in zip(range(1, RESTARTS + 1), ["term", "kill"] * RESTARTS)}
    for at in range(requests):
        if at in restarts:
            yield {"op": "restart", "how": restarts[at]}
            yield {"op": "check_all"}
        yield maker.next()
        if at % CHECK_EVERY == CHECK_EVERY - 1:
            yield {"op": "check_all"}
    yield {"op": "check_all"}


def play(operations, target, like=None):
    """Does `operations` from an empty database: (index, what is wrong) of the first divergence, or None.

    `like` is a divergence: only those of its kind count, and only at the last operation.
    """
    target.clear()
    oracle = protocol.new_client()
    for at, op in enumerate(copy.deepcopy(operations)):
        if wrong := step(op, oracle, target):
            return (at, wrong) if like is None or (kind(wrong) == kind(like) and at == len(operations) - 1) else None
    return None


def kind(wrong):
    """The words of a divergence before its particulars."""
    return re.split(r"[\d:({]", re.sub(r"^(search|row|group) [^:]*: ", "", wrong))[0]


def shrink(operations, wrong, target, deadline):
    """Leaves out operations, in ever smaller pieces, for as long as the rest still diverges in the same way."""
    like = wrong
    if found := play(operations, target, like):
        operations, wrong = operations[: found[0] + 1], found[1]
    else:
        return operations, f"{wrong} (did not show itself again when replayed)"
    for keep_out in ([op["op"] in ops.READS for op in operations], [op["op"] == "restart" for op in operations]):
        shorter = [op for op, out in zip(operations[:-1], keep_out) if not out] + operations[-1:]
        if len(shorter) < len(operations) and (found := play(shorter, target, like)):
            operations, wrong = shorter[: found[0] + 1], found[1]
    size = max(1, len(operations) // 2)
    while time.monotonic() < deadline:
        at, removed = 0, False
        while at < len(operations) - 1 and time.monotonic() < deadline:
            shorter = operations[:at] + operations[min(at + size, len(operations) - 1) :]
            if found := play(shorter, target, like):
                operations, wrong, removed = shorter[: found[0] + 1], found[1], True
            else:
                at += size
        if size == 1 and not removed:
            break
        size = max(1, size // 2)
    return operations, wrong


def run(target, seed, requests, report=print, has_vector_names=True):
    """Runs a whole sequence; (operations done without divergence, failure or None)."""
    compare.compared.clear()
    compare.left_out.clear()
    oracle = protocol.new_client()
    done, began, shown = [], time.monotonic(), time.monotonic()
    for op in sequence(seed, requests, oracle, has_vector_names):
        done.append(copy.deepcopy(op))  # clients keep parts of what they are given, and change them
        if wrong := step(op, oracle, target):
            return len(done) - 1, (done, wrong)
        if time.monotonic() - shown > 10:
            shown = time.monotonic()
            report(f"  {len(done)} operations in {shown - began:.0f} s")
    report(f"  {len(done)} operations in {time.monotonic() - began:.1f} s: {tally(done)}")
    report(f"  {sum(compare.compared.values())} answers compared in order: {listed(compare.compared)}")
    report(f"  {sum(compare.left_out.values())} of them left out, as rounding may have decided them: {listed(compare.left_out)}")
    return len(done), None


def tally(operations):
    counts = {}
    for op in operations:
        counts[op["op"]] = counts.get(op["op"], 0) + 1
    return listed(counts)


def listed(counts):
    return ", ".join(f"{count} {kind}" for kind, count in sorted(counts.items(), key=lambda item: -item[1])) or "none"


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--transport", choices=["rest", "grpc", "local"], default="rest")
    parser.add_argument("--seed", type=int, default=None, help="default: a new one each time")
    parser.add_argument("--requests", type=int, default=3000)
    parser.add_argument("--binary", help="default: $QUIVER_BINARY, or the newest build")
    parser.add_argument("--mutant", choices=sorted(mutants.MUTANTS), help="with --transport local: break the stand-in")
    parser.add_argument("--no-vector-names", action="store_true", help="do not add and drop vectors of a living collection")
    parser.add_argument("--replay", type=pathlib.Path, help="run the operations of this file instead of random ones")
    parser.add_argument("--save", type=pathlib.Path, help="write a divergence's operations to this file")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore")
    seed = secrets.randbits(32) if arguments.seed is None else arguments.seed
    print(f"oracle test over {arguments.transport}: seed {seed}, {arguments.requests} requests", flush=True)

    mutant = mutants.MUTANTS.get(arguments.mutant)
    target = Local(mutant) if arguments.transport == "local" else Remote(arguments.transport, arguments.binary)
    with target:
        if arguments.replay:
            operations = [json.loads(line) for line in arguments.replay.read_text().splitlines() if line.strip()]
            found = play(operations, target)
            passed, failure = len(operations), None
            if found:
                passed, failure = found[0], (operations[: found[0] + 1], found[1])
        else:
            passed, failure = run(target, seed, arguments.requests, lambda text: print(text, flush=True), not arguments.no_vector_names)
        if failure:
            operations, wrong = failure
            print(f"DIVERGENCE after {passed} operations (seed {seed}):\n  {wrong}\n  {json.dumps(operations[-1], ensure_ascii=False)}", flush=True)
            operations, wrong = shrink(operations, wrong, target, time.monotonic() + SHRINK_SECONDS)
            print(f"shortened to {len(operations)} operations:\n  {wrong}\n{ops.dump(operations)}")
            if arguments.save:
                arguments.save.write_text(ops.dump(operations) + "\n")
    print(f"{passed} passed, {1 if failure else 0} failed")
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(main())
