"""Decides whether a history of reads, writes and deletes of single keys is linearizable, for each key by itself.

The search is Wing and Gong's with Lowe's memory of configurations, made fast by what unique values allow:

 - An unknown write whose value nobody read may be left out: had it taken effect, nobody would have noticed. One whose value
   was read took effect before the first such read returned.
 - A read of the current value is taken as soon as it may be.
 - A write whose value nobody read is taken right before another write, where it cannot be noticed.
 - An unknown delete is taken only where a read of nothing needs one; they are alike, so the first invoked goes first.

Run as a program it checks a saved history: checker.py HISTORY.jsonl
"""

import dataclasses
import sys
import time
from collections import defaultdict

from history import DELETE, FAILED, OK, READ, UNKNOWN, WRITE, load_history

#: Seconds for one key. A key that takes longer is undecided, which counts as wrong.
KEY_S_MAX = 30.0
#: Stands for every value that nobody read. Serials begin at 1.
UNNOTICED = 0


def check(ops, key_s_max=KEY_S_MAX):
    """Why keys are wrong, by key; none if all are linearizable."""
    by_key = defaultdict(list)
    for op in ops:
        by_key[op.key].append(op)
    whys = {key: check_key(ops, key_s_max) for key, ops in by_key.items()}
    return {key: why for key, why in whys.items() if why is not None}


@dataclasses.dataclass(slots=True)
class _Step:
    """An operation that must take effect once, between two instants. `value` after it or, of a read, at it."""

    invoked: int
    returned: int
    is_read: bool
    value: int | None
    is_noticed: bool = True


def check_key(ops, s_max=KEY_S_MAX):
    """Why the operations of one key, which is not there at first, are not linearizable; `None` if they are."""
    reads = [op for op in ops if op.kind == READ and op.outcome == OK]
    written = {op.value: op for op in ops if op.kind == WRITE}
    for op in reads:
        source = written.get(op.value)
        if op.value is not None and source is None:
            return f"a value that was never written: {op}"
        if source is not None and source.outcome == FAILED:
            return f"the value of a write that failed, {source}: {op}"
        if source is not None and op.returned < source.invoked:
            return f"a value from the future, {source}: {op}"
    noticed = {}
    for op in reads:
        noticed[op.value] = min(noticed.get(op.value, op.returned), op.returned)
    steps = [_Step(op.invoked, op.returned, True, op.value) for op in reads]
    for op in ops:
        if op.kind == WRITE and (op.outcome == OK or op.outcome == UNKNOWN and op.value in noticed):
            latest = noticed.get(op.value, op.returned)
            returned = min(op.returned, latest) if op.outcome == OK else latest
            steps.append(_Step(op.invoked, returned, False, op.value, op.value in noticed))
        if op.kind == DELETE and op.outcome == OK:
            steps.append(_Step(op.invoked, op.returned, False, None, None in noticed))
    steps.sort(key=lambda step: step.invoked)
    spare_deletes = sorted(op.invoked for op in ops if op.kind == DELETE and op.outcome == UNKNOWN)
    return _search(steps, spare_deletes, time.monotonic() + s_max)


def _search(steps, spare_deletes, until):
    # A configuration: all steps before `low` are taken, and those that `mask` has as bits from there on.
    begin = (0, 0, None, 0)
    pending, seen = [begin], {begin}
    furthest, tried = begin, 0
    while pending:
        tried += 1
        if tried % 1000 == 0 and time.monotonic() > until:
            return f"undecided after {tried} configurations"
        low, mask, value, spares = pending.pop()
        low, mask, open_steps, latest = _take_reads(steps, low, mask, value)
        if low == len(steps):
            return None
        if (low, mask.bit_count()) > (furthest[0], furthest[1].bit_count()):
            furthest = (low, mask, value, spares)
        following = []
        for at in open_steps:
            step = steps[at]
            if step.is_read:
                # Its value is not the current one. A write may bring it, or a delete that nobody knows of.
                if step.value is None and spares < len(spare_deletes) and spare_deletes[spares] <= latest:
                    following.append((step.returned, (low, mask, None, spares + 1)))
                continue
            taken = mask | 1 << (at - low)
            for other in open_steps:
                if not steps[other].is_noticed:
                    taken |= 1 << (other - low)
            following.append((step.returned, (low, taken, step.value if step.is_noticed else UNNOTICED, spares)))
        # The one that returned first is tried first.
        for _, configuration in sorted(following, key=lambda one: one[0], reverse=True):
            if configuration not in seen:
                seen.add(configuration)
                pending.append(configuration)
    return _explain(steps, furthest)


def _take_reads(steps, low, mask, value):
    """Takes every read of `value` that may come next. Also the steps that may come next then, and the latest instant at
    which one of them must."""
    while True:
        while mask & 1:
            mask >>= 1
            low += 1
        latest, open_steps, has_taken = None, [], False
        at, bits = low, mask
        while at < len(steps):
            step = steps[at]
            if latest is not None and step.invoked > latest:
                break
            if not bits & 1:
                if step.is_read and step.value == value:
                    mask |= 1 << (at - low)
                    has_taken = True
                else:
                    open_steps.append(at)
                    latest = step.returned if latest is None else min(latest, step.returned)
            at, bits = at + 1, bits >> 1
        if not has_taken:
            return low, mask, open_steps, latest


def _explain(steps, furthest):
    low, mask, value, _ = furthest
    _, _, open_steps, _ = _take_reads(steps, low, mask, value)
    start = steps[low].invoked
    current = "a value that nobody read" if value == UNNOTICED else value
    lines = [f"no order fits; the longest ends with {current}, and none of these can follow (times in ms):"]
    for at in open_steps:
        step = steps[at]
        kind = "read of" if step.is_read else "write of" if step.value is not None else "delete,"
        lines.append(f"{kind} {step.value}, {(step.invoked - start) / 1e6:.3f} to {(step.returned - start) / 1e6:.3f}")
    return "\n    ".join(lines)


if __name__ == "__main__":
    wrong = check(load_history(sys.argv[1]))
    for key, why in wrong.items():
        print(f"key {key}: {why}")
    print(f"{len(wrong)} keys are wrong" if wrong else "linearizable")
    sys.exit(bool(wrong))
