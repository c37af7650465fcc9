"""The faults: each is injected, held, undone, and says what it did. It fails if it did not do what it is there for."""

import base64
import os
import time

from history import COLLECTION, vector
from cluster import BALLAST_ID
from node import INSTALLED, CallError, NodeError

#: A paused leader must have been replaced meanwhile.
PAUSE_S = (3.5, 6.0)
HOLD_S = (3.0, 6.0)
WALL_JUMP_S = 600
STEADY_JUMP_S = 20
RATE_PPM = 100_000
SLOW_KBIT = 1000
#: A group keeps 64 MiB of its log for those that are behind, counted by the average of its entries, among them many small
#: ones: only with several times as much is that which a node lacks certainly gone.
BALLAST_BYTES, BALLAST_COUNT = 900_000, 320


class Faults:
    """Faults of one cluster. `load` is what its clients do: they leave a node alone that is not part of it."""

    def __init__(self, cluster, rng, load):
        self.cluster, self.random, self.load = cluster, rng, load
        self.ballast_serial = 0
        self.turns = {}

    def turn(self, *kinds):
        """One of `kinds`: each comes before one comes again."""
        left = self.turns.setdefault(kinds, [])
        if not left:
            left += self.random.sample(kinds, len(kinds))
        return left.pop()

    def inject(self, kind):
        return getattr(self, kind.replace("-", "_"))()

    def hold(self, span=HOLD_S):
        time.sleep(self.random.uniform(*span))

    def some_shard(self):
        return self.random.choice(self.cluster.shard_numbers())

    def some_node(self):
        """A leader as often as not."""
        leader = self.cluster.wait_leader(self.some_shard())
        return leader if self.random.random() < 0.5 else self.random.choice(self.cluster.nodes)

    def leader_kill(self):
        shard = self.some_shard()
        leader = self.cluster.wait_leader(shard)
        leader.kill()
        began = time.monotonic()
        new = self.cluster.wait_leader(shard, other_than=leader)
        text = f"{leader} killed, {new} seen leading after {time.monotonic() - began:.2f} s"
        self.hold((0.5, 3.0))
        self.cluster.start([leader])
        return text

    def follower_kill(self):
        shard = self.some_shard()
        leader = self.cluster.wait_leader(shard)
        victim = self.random.choice([node for node in self.cluster.nodes if node is not leader])
        victim.kill()
        self.hold((0.5, 3.0))
        self.cluster.wait_leader(shard, other_than=victim)
        self.cluster.start([victim])
        return f"{victim} killed, {leader} led"

    def kill_all(self):
        nodes = list(self.cluster.nodes)
        self.random.shuffle(nodes)
        for node in nodes:
            node.process.kill()
        for node in nodes:
            node.kill()
        time.sleep(self.random.uniform(0, 1.0))
        began = time.monotonic()
        self.cluster.start(nodes)
        return f"all {len(nodes)} killed, all ready {time.monotonic() - began:.2f} s after exec"

    def partition(self):
        """A minority, with a leader or without, is cut off from the rest."""
        first = self.some_node()
        others = [node for node in self.cluster.nodes if node is not first]
        chosen = [first, *self.random.sample(others, self.random.randint(0, (len(others) - 2) // 2))]
        minority = [node.number for node in chosen]
        self.cluster.network.split(minority, [number for number in self.cluster.network.nodes if number not in minority])
        self.hold()
        self.cluster.network.heal()
        return f"{chosen} cut off"

    def one_way(self):
        """One node hears all others and is not heard, or the other way round; or one pair is cut in one direction."""
        node = self.some_node()
        others = [other for other in self.cluster.network.nodes if other != node.number]
        how = self.turn("is not heard", "hears nobody", "is not heard by one")
        if how == "is not heard by one":
            others = [self.random.choice([other.number for other in self.cluster.nodes if other is not node])]
        for other in others:
            self.cluster.network.cut(*((other, node.number) if how == "hears nobody" else (node.number, other)))
        self.hold()
        self.cluster.network.heal()
        return f"{node} {how}"

    def slow_link(self):
        node = self.some_node()
        how = self.cluster.network.slow(node.number, SLOW_KBIT)
        self.hold()
        self.cluster.network.heal()
        return f"{node}: {how}"

    def pause(self):
        """Longer than an election takes: what the old leader still answers when it goes on is what this is about."""
        shard = self.some_shard()
        leader = self.cluster.wait_leader(shard)
        leader.pause()
        began = time.monotonic()
        try:
            new = leader if self.cluster.count == 1 else self.cluster.wait_leader(shard, other_than=leader)
            seen_s = time.monotonic() - began
            time.sleep(max(0.0, self.random.uniform(*PAUSE_S) - seen_s))
        finally:
            leader.resume()
        return f"{leader} paused for {time.monotonic() - began:.2f} s, {new} seen leading after {seen_s:.2f} s"

    def clock(self):
        node = self.some_node()
        if not node.has_clock():
            raise NodeError(f"{node} does not see the clock that can be set")
        how, by = self.turn(("wall", WALL_JUMP_S), ("wall", -WALL_JUMP_S), ("steady", STEADY_JUMP_S), ("rate", RATE_PPM), ("rate", -RATE_PPM))
        if how == "wall":
            node.clock.set(wall_s=by)
        elif how == "steady":
            # As after a machine was suspended. Never back: no kernel does that.
            node.clock.set(steady_jump_s=by)
        else:
            node.clock.set(rate_ppm=by)
        self.hold()
        node.clock.set(wall_s=0)
        return f"{node}, {how}, {by:+} {'ppm' if how == 'rate' else 's'}"

    # Faults that change who belongs to the cluster, or who holds what.

    def membership(self):
        return self.turn(self.move, self.replicate, self.add_and_remove)()

    def sites(self):
        """A shard, the peers that hold it, and those that do not."""
        self.cluster.wait_placed()
        held = self.cluster.holders()
        every = {self.cluster.peer_id(node) for node in self.cluster.nodes}
        open_shards = [shard for shard, peers in held.items() if every - peers]
        if not open_shards:
            raise NodeError("every node holds every shard: start more nodes than replicas")
        shard = self.random.choice(open_shards)
        return shard, sorted(held[shard] & every), sorted(every - held[shard])

    def change(self, what, body):
        self.cluster.wait_leader().call("POST", f"/collections/{COLLECTION}/cluster?timeout=60", {what: body}, timeout=70)

    def is_held(self, shard, peer):
        return peer in self.cluster.holders()[shard]

    def move(self):
        shard, holding, free = self.sites()
        source, target = self.random.choice(holding), self.random.choice(free)
        self.change("move_shard", {"shard_id": shard, "from_peer_id": source, "to_peer_id": target})
        done = f"shard {shard} moved from {source} to {target}"
        self.cluster.wait_until(done, lambda: self.is_held(shard, target) and not self.is_held(shard, source))
        return done

    def replicate(self):
        shard, holding, free = self.sites()
        source, target = self.random.choice(holding), self.random.choice(free)
        self.change("replicate_shard", {"shard_id": shard, "from_peer_id": source, "to_peer_id": target})
        self.cluster.wait_until(f"shard {shard} on {target} too", lambda: self.is_held(shard, target))
        leaving = self.random.choice(holding)
        self.change("drop_replica", {"shard_id": shard, "peer_id": leaving})
        self.cluster.wait_until(f"shard {shard} no more on {leaving}", lambda: not self.is_held(shard, leaving))
        return f"shard {shard} replicated to {target}, dropped on {leaving}"

    def add_and_remove(self):
        spare = self.cluster.spare
        self.cluster.start([spare])
        peer = self.cluster.peer_id(spare)
        shard = self.some_shard()
        source = self.random.choice(sorted(self.cluster.holders()[shard] - {peer}))
        if not self.is_held(shard, peer):
            self.change("move_shard", {"shard_id": shard, "from_peer_id": source, "to_peer_id": peer})
        self.cluster.wait_until(f"shard {shard} on the new node", lambda: self.is_held(shard, peer))
        self.load.hosts = [*self.cluster.hosts, spare.host]
        self.hold()
        self.load.hosts = self.cluster.hosts
        self.forget(peer)
        spare.kill()
        spare.wipe()
        self.cluster.wait_placed()
        return f"{spare} added as {peer}, given shard {shard}, removed"

    def reshard(self):
        """Twice as many shards, or half as many: alone, with a leader killed, paused or cut off meanwhile, or given up half way
        and done again."""
        return self.split(self.turn("undisturbed", "a leader killed", "a leader paused", "a leader cut off", "given up first"))

    def split(self, how="undisturbed"):
        before = self.cluster.shard_count
        after = before * 2 if before <= 2 else before // 2
        began = time.monotonic()
        self.change("start_resharding", {"shard_number": after})
        if how == "given up first":
            self.hold((0.0, 0.5))
            try:
                self.change("abort_resharding", {})
            except CallError as error:
                # It was over already.
                if error.status != 400:
                    raise
            if self.cluster.resharding() is not None:
                raise NodeError("the resharding goes on although it was given up")
            if len(self.cluster.shard_numbers()) == before:
                self.change("start_resharding", {"shard_number": after})
        victim = None
        if how.startswith("a leader"):
            victim = self.cluster.wait_leader(self.some_shard())
            self.hold((0.0, 0.15))
        if how == "a leader killed":
            victim.kill()
        elif how == "a leader paused":
            victim.pause()
            self.hold(PAUSE_S)
            victim.resume()
        elif how == "a leader cut off":
            self.cluster.network.split([victim.number], [number for number in self.cluster.network.nodes if number != victim.number])
            self.hold()
            self.cluster.network.heal()
        self.cluster.wait_until(f"{after} shards", lambda: self.cluster.resharding() is None)
        seconds = time.monotonic() - began
        if how == "a leader killed":
            self.cluster.start([victim])
        self.cluster.shard_count = after
        self.cluster.wait_until("the shards known everywhere", lambda: len(self.cluster.shard_numbers()) == after)
        return f"{before} shards became {after} in {seconds:.2f} s, {how}{f': {victim}' if victim else ''}"

    def forget(self, peer):
        """Asks until the cluster has let it go: its replicas may have to be elsewhere first."""

        def is_forgotten():
            try:
                self.cluster.wait_leader().call("DELETE", f"/cluster/peer/{peer}?force=true", timeout=30)
            except CallError as error:
                if error.status not in (None, 404, 429, 500, 503):
                    raise
            return peer not in self.cluster.peers()

        self.cluster.wait_until(f"{peer} forgotten", is_forgotten)

    def replace(self):
        """A node loses its volume; a new one comes in its place, under the same address."""
        victim = self.some_node()
        lost = self.cluster.peer_id(victim)
        began = time.monotonic()
        victim.kill()
        victim.wipe()
        self.load.hosts = [host for host in self.cluster.hosts if host != victim.host]
        self.cluster.start([victim])
        new = self.cluster.peer_id(victim)
        if new == lost:
            raise NodeError(f"{victim} lost everything but its number {lost}")
        self.forget(lost)
        self.cluster.wait_placed()
        self.load.hosts = self.cluster.hosts
        return f"{victim} wiped: {lost} replaced by {new}, all replicas there after {time.monotonic() - began:.2f} s"

    def catch_up(self):
        """A node is down while so much is written that the log it lacks is gone."""
        while self.cluster.shard_count > 2:
            # Of so few some node holds all: it lacks what is written, whichever shard that goes to.
            self.split()
        told = self.cluster.shards()
        victim = max(self.cluster.nodes, key=lambda node: (len(told[node][1]), self.random.random()))
        before = victim.log_text().count(INSTALLED)
        victim.kill()
        fill = base64.b64encode(os.urandom(BALLAST_BYTES * 3 // 4)).decode()
        leader = self.cluster.wait_leader(other_than=victim)
        for _ in range(BALLAST_COUNT):
            # One id: the log of one shard is what has to grow, not the data.
            self.ballast_serial += 1
            payload = {"serial": self.ballast_serial, "fill": fill}
            point = {"id": BALLAST_ID, "vector": vector(BALLAST_ID, self.ballast_serial), "payload": payload}
            leader.call("PUT", f"/collections/{COLLECTION}/points?wait=true", {"points": [point]}, timeout=60)
        self.cluster.ballast[BALLAST_ID] = self.ballast_serial
        began = time.monotonic()
        self.cluster.start([victim])
        installed = lambda: victim.log_text().count(INSTALLED) > before  # noqa: E731
        self.cluster.wait_until(f"{victim} got a snapshot", installed)
        return f"{victim} was down for {BALLAST_COUNT * BALLAST_BYTES >> 20} MiB, has a snapshot {time.monotonic() - began:.2f} s after exec"

    # Faults of the machine.

    def power_one(self):
        return self.cut_power([self.some_node()])

    def power_all(self):
        return self.cut_power(list(self.cluster.nodes))

    def cut_power(self, nodes):
        for node in nodes:
            node.disk.cut_power()
        # What is acknowledged from here on would be a lie: the process lives a moment longer than its disk.
        time.sleep(self.random.uniform(0, 0.2))
        for node in nodes:
            node.process.kill()
        for node in nodes:
            node.kill()
            node.disk.unmount()
            node.disk.mount()
        self.hold((0, 2.0) if len(nodes) < self.cluster.count else (0, 0.2))
        began = time.monotonic()
        self.cluster.start(nodes)
        return f"power of {nodes} cut, ready {time.monotonic() - began:.2f} s after exec"
