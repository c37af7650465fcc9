"""Tests of the network: what each fault lets through, between all nodes and for the clients. Needs root."""

import itertools
import socket
import time
import unittest

from network import CLIENTS, Network, address

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


if __name__ == "__main__":
    unittest.main()
