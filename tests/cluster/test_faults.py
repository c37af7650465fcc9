"""Tests of the faults themselves: what a cut lets through, what a power cut leaves, what a process sees of a clock. Needs root."""

import itertools
import os
import pathlib
import socket
import subprocess
import sys
import tempfile
import time
import unittest

from network import CLIENTS, Network, address
from node import Clock, Disk

PORT = 7000
ARRIVAL_S = 0.05


class Reach(unittest.TestCase):
    def setUp(self):
        self.network = self.enterContext(Network(3))
        self.members = [*self.network.nodes, CLIENTS]
        self.sockets = {}
        for member in self.members:
            with self.network.inside(member):
                one = self.enterContext(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
            one.bind((address(member), PORT))
            one.settimeout(ARRIVAL_S)
            self.sockets[member] = one

    def lost(self):
        """The directions in which a datagram does not arrive."""
        found = set()
        for source, target in itertools.permutations(self.members, 2):
            self.sockets[source].sendto(b"x", (address(target), PORT))
            try:
                self.sockets[target].recv(1)
            except TimeoutError:
                found.add((source, target))
        return found

    def test_all_reach_all_and_again_after_each_fault(self):
        network = self.network
        faults = [
            (lambda: None, set()),
            (lambda: network.cut(1, 2), {(1, 2)}),
            (lambda: network.isolate(3), {(3, 1), (3, 2), (1, 3), (2, 3)}),
            (lambda: network.split([1, 2], [3]), {(3, 1), (3, 2), (1, 3), (2, 3)}),
            (lambda: network.split([1], [2], [3]), set(itertools.permutations([1, 2, 3], 2))),
        ]
        for inject, expected in faults:
            inject()
            self.assertEqual(self.lost(), expected)
            network.heal()
            self.assertEqual(self.lost(), set())

    def test_a_cut_meets_open_connections_one_way_and_what_was_lost_is_sent_again(self):
        with self.network.inside(2):
            listener = self.enterContext(socket.create_server((address(2), PORT)))
        with self.network.inside(1):
            one = self.enterContext(socket.create_connection((address(2), PORT)))
        two = self.enterContext(listener.accept()[0])
        one.settimeout(5), two.settimeout(0.3)
        one.sendall(b"before")
        self.assertEqual(two.recv(10), b"before")
        self.network.cut(1, 2)
        one.sendall(b"after")
        with self.assertRaises(TimeoutError):
            two.recv(10)
        two.sendall(b"back")
        self.assertEqual(one.recv(10), b"back")
        self.network.heal()
        two.settimeout(5)
        self.assertEqual(two.recv(10), b"after")

    def test_a_slow_link_is_slow(self):
        self.network.slow(1, 800)
        with self.network.inside(2):
            listener = self.enterContext(socket.create_server((address(2), PORT)))
        with self.network.inside(1):
            one = self.enterContext(socket.create_connection((address(2), PORT)))
        two = self.enterContext(listener.accept()[0])
        began, wanted = time.monotonic(), 100_000
        one.sendall(b"x" * wanted)
        while wanted > 0:
            wanted -= len(two.recv(65536))
        self.assertGreater(time.monotonic() - began, 0.5)


class Machine(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(self.enterContext(tempfile.TemporaryDirectory()))

    def test_a_power_cut_leaves_what_was_synced(self):
        disk = Disk(self.folder / "image", self.folder / "disk")
        self.addCleanup(disk.close)
        with open(self.folder / "disk/file", "wb", buffering=0) as file:
            file.write(b"synced")
            os.fsync(file)
            folder = os.open(self.folder / "disk", os.O_RDONLY)
            os.fsync(folder)
            os.close(folder)
            file.write(b" and not synced")
            (self.folder / "disk/other").write_bytes(b"not synced")
            disk.cut_power()
            with self.assertRaises(OSError):
                file.write(b"after")
                os.fsync(file)
        disk.unmount()
        disk.mount()
        self.assertEqual((self.folder / "disk/file").read_bytes(), b"synced")
        self.assertFalse((self.folder / "disk/other").exists())

    def test_clocks_jump_and_drift_and_the_steady_one_never_goes_back(self):
        clock = Clock(self.folder / "clock")
        environment = os.environ | {"LD_PRELOAD": str(Clock.build(self.folder)), "QUIVER_TEST_CLOCK": str(clock.path)}
        program = "import time\nwhile input(): print(time.time(), time.monotonic(), flush=True)"
        options = {"env": environment, "text": True, "stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        child = self.enterContext(subprocess.Popen([sys.executable, "-c", program], **options))

        def ahead():
            print("now", file=child.stdin, flush=True)
            wall, steady = map(float, child.stdout.readline().split())
            return round(wall - time.time(), 1), round(steady - time.monotonic(), 1)

        self.assertEqual(ahead(), (0, 0))
        clock.set(wall_s=-600)
        self.assertEqual(ahead(), (-600, 0))
        clock.set(wall_s=0, steady_jump_s=20, rate_ppm=500_000)
        time.sleep(1)
        self.assertEqual(ahead(), (0.5, 20.5))
        clock.set(wall_s=0)
        self.assertEqual(ahead(), (0, 20.5))
        print(file=child.stdin, flush=True)


if __name__ == "__main__":
    unittest.main()
