"""Nodes in a network as one cluster: starting and stopping them, who leads, where replicas are, what replicas hold."""

import collections
import contextlib
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import network
from history import COLLECTION, DIM, vector
from node import PEER_PORT, CallError, Clock, Node, NodeError, call

SCRATCH = "quiver-cluster-"
#: How long a cluster may take to serve writes again once all faults are over, and to have all replicas equal.
RECOVERY_S, CONVERGE_S = 30, 90
LEADER_S = 20
PAGE = 1000
#: Points beside the clients' keys, whose payload is large.
BALLAST_ID = 10**6
#: A key that only asks whether writes are taken.
PROBE_ID = 10**6 - 1


def sweep():
    """Removes what dead runs have left outside the network: mounts and folders."""
    for folder in pathlib.Path(tempfile.gettempdir()).glob(f"{SCRATCH}*"):
        if not network.is_alive(folder.name.removeprefix(SCRATCH).split("-")[0]):
            remove_tree(folder)


def remove_tree(folder):
    for mount in folder.glob("*/disk"):
        subprocess.run(["umount", "-l", mount], capture_output=True)
    shutil.rmtree(folder, ignore_errors=True)


def supports_cluster(binary):
    return "--cluster" in subprocess.run([binary, "serve", "--help"], capture_output=True, text=True, check=True).stdout


class Cluster:
    """`count` nodes with a collection, and one more node that is not started. With one node: no cluster, the same faces."""

    def __init__(self, binary, count, shards, replicas, with_disks=False):
        if count > 1 and not supports_cluster(binary):
            raise NodeError(f"{binary} knows no --cluster")
        self.shard_count, self.replica_count = shards, min(replicas, count)
        self.binary, self.count, self.with_disks = binary, count, with_disks
        #: Payload of the ballast, if there is some: id to serial.
        self.ballast = {}
        self.probes = 0

    def __enter__(self):
        sweep()
        self._stack = contextlib.ExitStack()
        try:
            self.folder = pathlib.Path(tempfile.mkdtemp(prefix=f"{SCRATCH}{os.getpid()}-"))
            self._stack.callback(remove_tree, self.folder)
            self.network = self._stack.enter_context(network.Network(self.count + 1))
            clocks = Clock.build(self.folder) if shutil.which("cc") else None
            uris = [f"http://{network.address(number)}:{PEER_PORT}" for number in range(1, self.count + 1)]
            every = []
            for number in self.network.nodes:
                folder = self.folder / f"node{number}"
                disks = self.with_disks and number <= self.count
                every.append(Node(number, self.network, folder, self.binary, uris if self.count > 1 else [], clocks, disks))
                self._stack.callback(every[-1].close)
            *self.nodes, self.spare = every
        except BaseException:
            self._stack.close()
            raise
        return self

    def __exit__(self, *_):
        self._stack.close()

    def start(self, nodes):
        for node in nodes:
            node.spawn()
        for node in nodes:
            node.wait_ready()

    def begin(self):
        """Starts all nodes for the first time and creates the collection."""
        self.start(self.nodes)
        settings = {
            "vectors": {"size": DIM, "distance": "Dot"},
            "shard_number": self.shard_count,
            "replication_factor": self.replica_count,
        }
        self.nodes[0].call("PUT", f"/collections/{COLLECTION}", settings, timeout=60)
        self.recover()

    @property
    def hosts(self):
        return [node.host for node in self.nodes]

    @property
    def running(self):
        return [node for node in [*self.nodes, self.spare] if node.is_alive() and not node.is_paused]

    def recover(self):
        """Waits until every node is ready and takes a write; how long that took."""
        began = time.monotonic()
        for node in self.nodes:
            until = began + RECOVERY_S
            node.wait_ready(max(1.0, until - time.monotonic()))
            while True:
                self.probes += 1
                point = {"id": PROBE_ID, "vector": vector(PROBE_ID, self.probes), "payload": {"serial": self.probes}}
                try:
                    node.call("PUT", f"/collections/{COLLECTION}/points?wait=true", {"points": [point]}, timeout=5)
                    break
                except CallError as error:
                    if time.monotonic() > until:
                        raise NodeError(f"{node} takes no writes {RECOVERY_S} s after the fault: {error}") from error
                    time.sleep(0.1)
        return time.monotonic() - began

    # Who leads and who holds what.

    def peer_id(self, node):
        return node.call("GET", "/cluster", timeout=5)["peer_id"]

    def peers(self):
        for node in self.running:
            with contextlib.suppress(CallError):
                return {int(peer) for peer in node.call("GET", "/cluster", timeout=5)["peers"]}
        raise NodeError("no node answers /cluster")

    def shards(self):
        """What each node that answers says of its replicas: `{node: (peer_id, [local shards], [remote shards])}`."""
        told = {}
        for node in self.running:
            with contextlib.suppress(CallError):
                state = node.call("GET", f"/collections/{COLLECTION}/cluster", timeout=2)
                told[node] = state["peer_id"], state["local_shards"], state["remote_shards"]
        return told

    def shard_numbers(self):
        """Of the shards that there are, ascending: not from 0 any more once shards have been split or merged."""
        for node in self.running:
            with contextlib.suppress(CallError):
                state = node.call("GET", f"/collections/{COLLECTION}/cluster", timeout=5)
                return sorted({shard["shard_id"] for shard in state["local_shards"] + state["remote_shards"]})
        raise NodeError("no node tells which shards there are")

    def resharding(self):
        """What the first node that answers says of a resharding under way, or `None`."""
        for node in self.running:
            with contextlib.suppress(CallError):
                state = node.call("GET", f"/collections/{COLLECTION}/cluster", timeout=5)
                return next(iter(state.get("resharding_operations", [])), None)
        raise NodeError("no node tells whether shards are being replaced")

    def leader(self, shard=None):
        """The node that most nodes take for the leader of the shard, the first by default; `None` if there is none."""
        if self.count == 1:
            return self.nodes[0] if self.nodes[0] in self.running else None
        told = self.shards()
        if shard is None:
            shard = min((local["shard_id"] for _, shards, _ in told.values() for local in shards), default=0)
        votes = collections.Counter(
            local["leader"]
            for _, shards, _ in told.values()
            for local in shards
            if local["shard_id"] == shard and local.get("leader") is not None
        )
        by_peer = {peer: node for node, (peer, _, _) in told.items()}
        return by_peer.get(votes.most_common(1)[0][0]) if votes else None

    def wait_leader(self, shard=None, other_than=None):
        until = time.monotonic() + LEADER_S
        while time.monotonic() < until:
            leader = self.leader(shard)
            if leader is not None and leader is not other_than:
                return leader
            time.sleep(0.05)
        raise NodeError(f"shard {shard} has no leader after {LEADER_S} s (was {other_than})")

    def holders(self):
        """The peers that hold an active replica of each shard, as all nodes together tell: `{shard: {peer}}`."""
        held = collections.defaultdict(set)
        for peer, local, remote in self.shards().values():
            for shard in local:
                if shard["state"] == "Active":
                    held[shard["shard_id"]].add(peer)
        return held

    def wait_until(self, what, condition, seconds=CONVERGE_S):
        until = time.monotonic() + seconds
        while not condition():
            if time.monotonic() > until:
                raise NodeError(f"not within {seconds} s: {what}; replicas are on {dict(self.holders())}")
            time.sleep(0.2)

    def wait_placed(self):
        """Waits until every shard has its replicas."""

        def is_placed():
            held = self.holders()
            return len(held) == self.shard_count and all(len(peers) >= self.replica_count for peers in held.values())

        if self.count > 1:
            self.wait_until("all replicas in place", is_placed)

    # What replicas hold.

    def converge(self, keys):
        """Waits until all nodes hold the same points, and those that a read of everything finds. The flaws, the values of the
        keys, and the digests of what nodes hold."""
        self.wait_placed()
        until = time.monotonic() + CONVERGE_S
        while True:
            try:
                flaws, values, digests = self.compare(keys)
            except CallError as error:
                flaws, values, digests = [f"a node does not answer: {error}"], {}, []
            if not flaws or time.monotonic() > until:
                return flaws, values, digests
            time.sleep(1)

    def compare(self, keys):
        flaws = []
        contents = {node: read_replica(node.host, flaws) for node in self.nodes}
        first = self.nodes[0]
        found = first.call("POST", f"/collections/{COLLECTION}/points", {"ids": keys, "with_vector": False}, timeout=60)
        values = {point["id"]: point["payload"]["serial"] for point in found}
        expected = values | self.ballast | {PROBE_ID: contents[first].get(PROBE_ID)}
        for node, content in contents.items():
            differing = {point for point in content.keys() | expected.keys() if content.get(point) != expected.get(point)}
            if differing:
                some = [f"{point}: {content.get(point)} not {expected.get(point)}" for point in sorted(differing)[:5]]
                flaws.append(f"{node} differs in {len(differing)} of {len(expected)} points: {'; '.join(some)}")
            count = node.call("POST", f"/collections/{COLLECTION}/points/count", {"exact": True}, timeout=60)["count"]
            if count != len(expected):
                flaws.append(f"{node} counts {count} points, {len(expected)} are there")
        return flaws, values, [digest(content) for content in contents.values()]


def read_replica(host, flaws, collection=COLLECTION, port=6333):
    """The serials of all points of the replica of the node that is asked, by id. A point that is there twice is a flaw, and
    one whose vector is another serial's."""
    content, offset = {}, None
    while True:
        body = {"limit": PAGE, "offset": offset, "with_payload": ["serial"], "with_vector": True}
        page = call(host, "POST", f"/collections/{collection}/points/scroll?consistency=1", body, timeout=60, port=port)
        for point in page["points"]:
            serial = point["payload"].get("serial")
            if point["id"] in content:
                flaws.append(f"{host} holds {point['id']} twice")
            if serial is None or point["vector"] != vector(point["id"], serial):
                flaws.append(f"{host} holds {point}: payload and vector of different writes")
            content[point["id"]] = serial
        if (offset := page["next_page_offset"]) is None:
            return content


def digest(content):
    return hashlib.sha256(json.dumps(sorted(content.items())).encode()).hexdigest()[:16]
