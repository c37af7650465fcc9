"""Tests of the checker: histories by hand, random ones of a register that is right, and small ones against brute force."""

import itertools
import random
import time
import unittest

from checker import check, check_key
from history import DELETE, FAILED, OK, READ, UNKNOWN, WRITE, Op

KINDS = {"r": READ, "w": WRITE, "d": DELETE}
OUTCOMES = {"": OK, "!": FAILED, "?": UNKNOWN}


def history(text):
    """`w1 0-10; r1? 5-20; d 30-40`: operation with value and outcome (! failed, ? unknown), invoked - returned."""
    ops = []
    for client, part in enumerate(text.split(";")):
        what, times = part.split()
        outcome = what[-1] if what[-1] in "!?" else ""
        value = what[1:].rstrip("!?")
        invoked, returned = times.split("-")
        ops.append(Op(client, 1, KINDS[what[0]], int(value) if value else None, int(invoked), int(returned), OUTCOMES[outcome]))
    return ops


RIGHT = {
    "nothing at first": "r 0-10",
    "read your write": "w1 0-10; r1 20-30",
    "a read beside a write sees either": "w1 0-10; w2 20-40; r1 25-35; r2 30-36",
    "an unknown write that happened": "w1? 0-10; r1 20-30",
    "an unknown write that did not": "w1? 0-10; r 20-30",
    "an unknown write that happens late": "w1? 0-10; r 20-30; w2 40-50; r1 60-70",
    "a failed write": "w1! 0-10; r 20-30",
    "a delete": "w1 0-10; d 20-30; r 40-50",
    "an unknown delete that happens late": "w1 0-10; d? 20-30; r1 40-50; r 60-70",
    "two unknown deletes and two losses": "w1 0-10; d? 11-12; d? 13-14; r 20-30; w2 40-50; r2 51-52; r 60-70",
    "concurrent writes in the order that reads tell": "w1 0-100; w2 0-100; w3 0-100; r2 10-20; r3 30-40; r1 50-60",
    "a write seen before it returned": "w1 0-100; r1 10-20; r1 30-40",
    "writes nobody saw": "w1 0-100; w2 10-90; w3 20-80; w4 30-70; w5 110-120; r5 130-140",
    "a write between a value and its delete": "w1 0-10; d 20-60; w2 30-50; r2 70-80",
}
WRONG = {
    "stale read": "w1 0-10; w2 20-30; r1 40-50",
    "lost write": "w1 0-10; r 20-30",
    "lost write after it was seen": "w1 0-10; r1 20-30; r 40-50",
    "phantom value": "w1 0-10; r7 20-30",
    "value back after a delete": "w1 0-10; d 20-30; r 35-36; r1 40-50",
    "value of a failed write": "w1! 0-10; r1 20-30",
    "value from the future": "r1 0-10; w1 20-30",
    "two readers with opposite orders": "w1 0-100; w2 0-100; r1 10-20; r2 30-40; r1 50-60",
    "opposite orders of two readers who overlap": "w1 0-10; w2 0-10; r1 20-30; r2 22-32; r1 40-50; r2 42-52",
    "an unknown write undone": "w1 0-10; w2? 20-30; r2 40-50; r1 60-70",
    "an unknown write that happens twice": "w1? 0-10; r1 20-30; w2 40-50; r2 60-70; r1 80-90",
    "one unknown delete, two losses": "w1 0-10; d? 11-12; r 20-30; w2 40-50; r2 51-52; r 60-70",
    "a loss before the unknown delete": "w1 0-10; r 20-30; d? 40-50",
    "a delete without effect": "w1 0-10; d 20-30; r1 40-50",
    "a failed delete with effect": "w1 0-10; d! 20-30; r 40-50",
    "a stale read beside a later write": "w1 0-10; w2 20-30; w3 40-60; r1 45-55",
    "a value seen, then the one before": "w1 0-10; w2 20-100; r2 30-40; r1 50-60",
    "a read of nothing between two values": "w1 0-10; w2 20-40; r 25-35",
}


def brute_force(ops):
    """Tries every order of every choice of unknown operations."""
    certain = [op for op in ops if op.outcome == OK]
    possible = [op for op in ops if op.outcome == UNKNOWN and op.kind != READ]
    for count in range(len(possible) + 1):
        for chosen in itertools.combinations(possible, count):
            if any(is_order(order) for order in itertools.permutations([*certain, *chosen])):
                return True
    return False


def is_order(order):
    value, latest_invoked = None, 0
    for op in order:
        if op.outcome == OK and op.returned < latest_invoked:
            return False
        latest_invoked = max(latest_invoked, op.invoked)
        if op.kind == READ and op.value != value:
            return False
        if op.kind != READ:
            value = op.value
    return True


def simulated(rng, count, clients, unknown):
    """What clients of a register that is right may have recorded: each operation takes effect at one instant of its time."""
    free_at, effects, serial = [0] * clients, [], itertools.count(1)
    for _ in range(count):
        client = rng.randrange(clients)
        kind = rng.choices((READ, WRITE, DELETE), (5, 4, 1))[0]
        invoked = free_at[client] + rng.randint(1, 20)
        returned = invoked + rng.randint(2, 40 if rng.random() < 0.95 else 600)
        op = Op(client, 1, kind, next(serial) if kind == WRITE else None, invoked, returned, OK)
        effect = rng.randint(invoked, returned)
        if kind != READ and rng.random() < unknown:
            op.outcome = rng.choice((UNKNOWN, UNKNOWN, FAILED))
            effect = None if op.outcome == FAILED or rng.random() < 0.4 else effect + rng.choice((0, 100))
        free_at[client] = returned
        effects.append((effect, op))
    value = None
    for _, op in sorted(((at, op) for at, op in effects if at is not None), key=lambda one: one[0]):
        if op.kind == READ:
            op.value = value
        else:
            value = op.value
    return [op for _, op in effects]


class Checker(unittest.TestCase):
    def test_right_histories(self):
        for name, text in RIGHT.items():
            with self.subTest(name):
                self.assertTrue(brute_force(history(text)))
                self.assertIsNone(check_key(history(text)))

    def test_wrong_histories(self):
        for name, text in WRONG.items():
            with self.subTest(name):
                self.assertFalse(brute_force(history(text)))
                self.assertIsNotNone(check_key(history(text)))

    def test_keys_are_apart(self):
        ops = history("w1 0-10; r1 20-30; r 40-50")
        ops[2].key = 2
        self.assertEqual(check(ops), {})

    def test_what_a_right_register_does_is_right(self):
        for seed in range(150):
            ops = simulated(random.Random(seed), 120, 8, 0.15)
            self.assertIsNone(check_key(ops), f"seed {seed}")

    def test_small_histories_against_brute_force(self):
        verdicts = {True: 0, False: 0}
        for seed in range(3000):
            rng = random.Random(seed)
            ops = simulated(rng, 6, 3, 0.3)
            for op in ops:
                if op.kind == READ and rng.random() < 0.5:
                    op.value = rng.choice([None, *(other.value for other in ops if other.kind == WRITE)])
                if rng.random() < 0.1:
                    op.outcome = rng.choice((OK, FAILED, UNKNOWN))
            expected = brute_force(ops)
            verdicts[expected] += 1
            self.assertEqual(check_key(ops) is None, expected, f"seed {seed}")
        self.assertGreater(min(verdicts.values()), 300, verdicts)

    def test_one_wrong_read_in_a_long_history_is_found_in_time(self):
        began = time.monotonic()
        ops = simulated(random.Random(1), 4000, 8, 0.05)
        self.assertIsNone(check_key(ops))
        reads = [op for op in ops if op.kind == READ and op.value is not None]
        reads[-1].value = reads[0].value
        self.assertIsNotNone(check_key(ops))
        self.assertLess(time.monotonic() - began, 20)

    def test_no_time_is_no_verdict(self):
        ops = simulated(random.Random(2), 4000, 30, 0.2)
        self.assertIn("undecided", check_key(ops, -1.0))


if __name__ == "__main__":
    unittest.main()
