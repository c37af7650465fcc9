"""The chart's pods with the real binary in the simulated Kubernetes, under load.

    python tests/chart/simulate.py                        every drill
    python tests/chart/simulate.py update lost-volume     some of them
    python tests/chart/simulate.py --short                those that gate a change

The pods are what `helm template` renders: their arguments, variables, Secret, settings file, volumes, user, probes and hook.
Every pod that is made anew has an address that no pod had before, as in Kubernetes; nodes know each other by name only.

Clients write meanwhile, through what a Service would choose. After each drill every point must hold the last write that was
acknowledged (or one whose outcome was not told), on every node, and shards must have all their replicas. Needs root.
"""

import argparse
import collections
import contextlib
import http.client
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "clients"))

import chart  # noqa: E402
import kubernetes as rules  # noqa: E402
from kubelet import Image  # noqa: E402
from network import Network  # noqa: E402
from quiver_server import find_binary  # noqa: E402
from statefulset import Kubernetes, Stuck  # noqa: E402

RELEASE, NAMESPACE, COLLECTION = "vectors", "search", "drill"
#: The small machine that runs the drills; and a key in which a shell or a YAML parser would find something to do.
VALUES = {
    "auth": {"apiKey": "k3y: \"'$(POD_NAME) #"},
    "config": {"storage": {"block_cache_mb": 32, "memtable_mb": 16, "disk_reserve_mb": 64, "checkpoint_interval_s": 5}},
    "probes": {"readiness": {"periodSeconds": 1}},
}
#: Pods that may be made in one drill.
PODS_MAX = 24
SHARDS, REPLICAS, WRITERS, KEYS = 3, 3, 4, 400
SETTLE_S, PLACED_S, CALL_S, WRITE_S = 60, 60, 10, 3
#: Longest time in which a client of its own gets no write through while one pod is stopped in order, and otherwise.
GAP_ORDERLY_S, GAP_S = 5.0, 20.0
#: What says for certain that nothing was done.
REFUSED = {429, 503, 507}


class CallError(Exception):
    """A request failed: `status`, or `None` without an answer."""

    def __init__(self, status, text):
        super().__init__(f"{status} {text}")
        self.status = status


#: What callers show.
caller = {"api-key": VALUES["auth"]["apiKey"]}


def call(address, method, path, body=None, timeout=CALL_S):
    connection = http.client.HTTPConnection(address, 6333, timeout=timeout)
    headers = {"content-type": "application/json", **caller}
    try:
        connection.request(method, path, None if body is None else json.dumps(body), headers)
        answer = connection.getresponse()
        text = answer.read().decode(errors="replace")
    except (OSError, http.client.HTTPException) as error:
        raise CallError(None, repr(error)) from error
    finally:
        connection.close()
    if answer.status != 200:
        raise CallError(answer.status, text[:300])
    return json.loads(text)["result"]


class Load:
    """Writers, each with ids of its own and one request at a time. `acknowledged` is the last serial of each id that
    was, `unknown` those whose outcome nobody told."""

    def __init__(self, endpoints):
        self.endpoints = endpoints
        self.acknowledged, self.unknown = {}, collections.defaultdict(set)
        self.counts, self.gaps = collections.Counter(), [0.0] * WRITERS
        #: One answer of each kind of error.
        self.said = {}
        self.is_over = threading.Event()
        self.threads = [threading.Thread(target=self._write, args=[number], daemon=True) for number in range(WRITERS)]

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self.is_over.set()
        for thread in self.threads:
            thread.join()

    def _write(self, number):
        rng, serial, last = random.Random(number), 0, time.monotonic()
        while not self.is_over.is_set():
            serial += 1
            point = rng.randrange(KEYS) // WRITERS * WRITERS + number
            body = {"points": [{"id": point, "vector": vector(point, serial), "payload": {"serial": serial}}]}
            hosts = self.endpoints()
            try:
                if not hosts:
                    raise CallError(503, "no pod is ready")
                call(rng.choice(hosts), "PUT", f"/collections/{COLLECTION}/points?wait=true", body, WRITE_S)
                error = None
            except CallError as failure:
                error = failure
            now = time.monotonic()
            self.gaps[number] = max(self.gaps[number], now - last)
            if error is None:
                self.acknowledged[point] = serial
                self.counts["acknowledged"] += 1
                last = now
            else:
                self.counts[str(error.status)] += 1
                self.said[error.status] = str(error)
                if error.status not in REFUSED:
                    self.unknown[point].add(serial)
                time.sleep(0.02)


def vector(point, serial):
    return [float(point + 1), float(serial), 1.0, 0.5]


class Drill:
    """One release in one cluster, and what was found."""

    def __init__(self, name, binary, keep):
        self.name, self.binary, self.keep = name, binary, keep
        self.flaws, self.began = [], time.monotonic()

    def note(self, text):
        print(f"  {time.monotonic() - self.began:6.1f} s  {text}", flush=True)

    def flaw(self, text):
        self.flaws.append(text)
        self.note(f"FLAW: {text}")

    def must(self, condition, text):
        if not condition:
            self.flaw(text)

    # The release.

    def objects(self, *values):
        objects = chart.render(chart.merged(VALUES, *values), RELEASE, NAMESPACE)
        for flaw in rules.flaws(objects):
            self.flaw(flaw)
        return objects

    @contextlib.contextmanager
    def cluster(self, *values, **options):
        """Installs the release and waits until all pods are ready. Whatever goes wrong after that ends the drill."""
        folder = pathlib.Path(tempfile.mkdtemp(prefix="quiver-chart-"))
        self.values = values
        try:
            image = Image.of(self.binary)
            with Network(PODS_MAX) as net, Kubernetes(
                self.objects(*values), NAMESPACE, net, folder / "kubernetes", image, **options
            ) as self.kubernetes:
                try:
                    took = self.kubernetes.settle(SETTLE_S)
                    self.note(f"{len(self.kubernetes.pods)} pods ready after {took:.1f} s")
                    yield self.kubernetes
                    self.ends_well()
                except (Stuck, CallError) as error:
                    self.flaw(str(error))
                    raise
                finally:
                    if self.flaws and self.keep:
                        self.save(folder)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def save(self, folder):
        out = self.keep / self.name
        out.mkdir(parents=True, exist_ok=True)
        for path in folder.glob("kubernetes/pods/*/log"):
            shutil.copy(path, out / f"{path.parent.name}.log")
        (out / "events.txt").write_text("\n".join(f"{at:8.2f} {text}" for at, text in self.kubernetes.events))
        self.note(f"logs of the pods are in {out}")

    def ends_well(self):
        """Whoever was asked to stop handed over, ended with 0 and had the time for it; nobody panicked."""
        for pod in [*self.kubernetes.pods.values(), *self.kubernetes.left]:
            self.must("panicked at" not in pod.log_text(), f"{pod} panicked")
            for ending in pod.endings if pod.is_terminating and pod.grace > 0 else []:
                is_good = (ending.code, ending.hook, ending.was_killed) == (0, 0, False)
                self.must(is_good, f"{pod} did not stop well: {ending}")

    def upgrade(self, *values):
        """Applies other values and waits until they are everywhere."""
        self.kubernetes.apply(self.objects(*self.values, *values))
        return self.kubernetes.settle(SETTLE_S)

    # What the cluster says.

    def any_pod(self, *but):
        return next(pod for pod in self.kubernetes.pods.values() if pod.is_ready and pod not in but).address

    def ids(self):
        """Each pod's node. All pods must name the same nodes, and none but these belong to the cluster, or are lost."""
        told = {pod.name: call(pod.address, "GET", "/cluster") for pod in self.kubernetes.pods.values()}
        ids = {name: state["peer_id"] for name, state in told.items()}
        uris = {
            name: f"http://{name}.{RELEASE}-quiver-headless.{NAMESPACE}.svc:6335/" for name in self.kubernetes.pods
        }
        for name, state in told.items():
            known = {int(peer): about["uri"] for peer, about in state["peers"].items() if about["state"] != "lost"}
            expected = {ids[name]: uris[name] for name in ids}
            self.must(known == expected, f"{name} knows {known}, the pods are {expected}")
        lost = {peer for state in told.values() for peer, about in state["peers"].items() if about["state"] == "lost"}
        if lost:
            self.note(f"nodes that are lost and not forgotten: {len(lost)}")
        return ids

    def create(self):
        settings = {
            "vectors": {"size": 4, "distance": "Dot"}, "shard_number": SHARDS, "replication_factor": REPLICAS
        }
        call(self.any_pod(), "PUT", f"/collections/{COLLECTION}", settings, timeout=60)
        self.placed()

    def placed(self, replicas=None):
        """Waits until every shard has its replicas on living nodes and nothing moves; where they are."""
        wanted = min(REPLICAS, len(self.kubernetes.pods)) if replicas is None else replicas
        where = {}

        def is_placed():
            where.clear()
            try:
                for pod in self.kubernetes.pods.values():
                    state = call(pod.address, "GET", f"/collections/{COLLECTION}/cluster", timeout=3)
                    every = [(one, state["peer_id"]) for one in state["local_shards"]]
                    every += [(one, one["peer_id"]) for one in state["remote_shards"]]
                    if state["shard_transfers"] or any(one["state"] != "Active" for one, _ in every):
                        return False
                    where[pod.name] = sorted((one["shard_id"], peer) for one, peer in every)
            except CallError:
                return False
            first, *others = where.values()
            counts = collections.Counter(shard for shard, _ in first)
            return all(one == first for one in others) and counts == dict.fromkeys(range(SHARDS), wanted)

        took = self.kubernetes.wait("all replicas in place", is_placed, PLACED_S)
        return took, next(iter(where.values()))

    @contextlib.contextmanager
    def load(self, gap_s):
        """Clients at work; then all that was acknowledged must be there."""
        with Load(self.kubernetes.endpoints) as load:
            self.kubernetes.run(1.0)
            yield load
            self.kubernetes.run(1.0)
        gap = max(load.gaps)
        told = ", ".join(f"{count} {what}" for what, count in sorted(load.counts.items()))
        self.note(f"writes: {told}; longest time without one: {gap:.2f} s")
        for text in load.said.values():
            self.note(f"  such as {text}")
        self.must(load.counts["acknowledged"] > 100, "hardly any write was acknowledged")
        self.must(gap <= gap_s, f"a client got no write through for {gap:.2f} s")
        self.verify(load)

    def verify(self, load):
        self.placed()
        for pod in self.kubernetes.pods.values():
            found = call(pod.address, "POST", f"/collections/{COLLECTION}/points",
                         {"ids": list(range(KEYS)), "with_vector": True}, timeout=60)
            values = {point["id"]: point for point in found}
            lost = []
            for point, serial in load.acknowledged.items():
                there = values.get(point)
                allowed = {serial, *load.unknown[point]}
                if there is None or there["payload"]["serial"] not in allowed:
                    lost.append((point, serial, there and there["payload"]["serial"]))
                elif there["vector"] != vector(point, there["payload"]["serial"]):
                    lost.append((point, "vector and payload of different writes"))
            self.must(not lost, f"{pod}: {len(lost)} of {len(load.acknowledged)} points are wrong: {lost[:5]}")
            phantoms = [point for point in values if point not in load.acknowledged and point not in load.unknown]
            self.must(not phantoms, f"{pod}: points that nobody wrote: {phantoms[:5]}")

    # The drills.

    def parallel(self):
        """All pods at once."""
        with self.cluster():
            self.must(len(set(self.ids().values())) == 3, "not three nodes")

    def in_order(self):
        """One pod after the other, the first first."""
        with self.cluster(schedule=lambda ordinal: 2.0 * ordinal):
            self.must(len(set(self.ids().values())) == 3, "not three nodes")

    def in_reverse(self):
        """One pod after the other, the first last: the others wait for it."""
        with self.cluster(schedule=lambda ordinal: 2.0 * (2 - ordinal)):
            self.must(len(set(self.ids().values())) == 3, "not three nodes")

    def update(self):
        """Other settings: one pod after the other stops in order and comes back, at another address."""
        with self.cluster() as kubernetes:
            before = self.ids()
            self.create()
            with self.load(GAP_ORDERLY_S):
                took = self.upgrade({"config": {"log_level": "debug,openraft=warn"}})
                stops = [ending.seconds for pod in kubernetes.left for ending in pod.endings]
                self.note(f"updated in {took:.1f} s; stops took {', '.join(f'{stop:.1f}' for stop in stops)} s")
            order = [text for _, text in kubernetes.events if text.startswith("update: ")]
            self.must(order == [f"update: {RELEASE}-quiver-{n}" for n in (2, 1, 0)], f"order: {order}")
            self.must(self.ids() == before, "nodes are others after an update")

    def keys(self):
        """The key is replaced in three steps, as the chart's README has it; callers change theirs before the last."""
        old, new = VALUES["auth"]["apiKey"], "the next key"
        try:
            with self.cluster():
                before = self.ids()
                self.create()
                with self.load(GAP_ORDERLY_S):
                    self.upgrade({"auth": {"apiKey": old, "altApiKey": new}})
                    self.upgrade({"auth": {"apiKey": new, "altApiKey": old}})
                    caller["api-key"] = new
                    self.upgrade({"auth": {"apiKey": new, "altApiKey": ""}})
                self.must(self.ids() == before, "nodes are others")
        finally:
            caller["api-key"] = old

    def scale(self):
        """Three pods become five, and three again after the two were drained and removed; then five once more."""
        with self.cluster() as kubernetes:
            before = self.ids()
            self.create()
            three = list(kubernetes.pods.values())
            with self.load(GAP_ORDERLY_S):
                took = self.upgrade({"replicaCount": 5})
                five = self.ids()
                self.note(f"five pods after {took:.1f} s")
                self.must(before.items() <= five.items(), "nodes are others after growing")
                took, where = self.placed()
                spread = collections.Counter(peer for _, peer in where)
                self.note(f"replicas per node: {sorted(spread.values())}, {took:.1f} s later")
                self.must(len(spread) == 5, "a new node got no replica")
                for ordinal in (4, 3):
                    self.remove(kubernetes.pod(ordinal))
                self.upgrade({"replicaCount": 3})
                self.must(self.ids() == before, "nodes are others after shrinking")
                self.must(not any(pod.endings for pod in three), "pods were restarted")
                # Volumes that were kept would bring back nodes that do not belong to the cluster any more.
                kubernetes.doomed |= {f"storage-{kubernetes.pod_name(ordinal)}" for ordinal in (4, 3)}
                self.upgrade({"replicaCount": 5})
                after = self.ids()
                fresh = [name for name in after if after[name] not in five.values()]
                self.must(len(fresh) == 2, f"new nodes: {fresh}")

    def remove(self, pod):
        """Moves a node's replicas elsewhere, then takes it out of the cluster, as the chart's README has it."""
        peer = call(pod.address, "GET", "/cluster")["peer_id"]
        for words in (["drain", str(peer)], ["remove", str(peer)]):
            asked = self.kubernetes.pod(0).execute(["/usr/local/bin/quiver", "cluster", *words])
            took = self.kubernetes.wait(" ".join(words), lambda asked=asked: asked.poll() is not None, PLACED_S)
            self.must(asked.returncode == 0, f"{' '.join(words)} ended with {asked.returncode}")
            self.note(f"{pod}: {words[0]} took {took:.1f} s")

    def one_grows(self):
        """One node with data becomes three."""
        with self.cluster({"replicaCount": 1}):
            before = self.ids()
            call(self.any_pod(), "PUT", f"/collections/{COLLECTION}",
                 {"vectors": {"size": 4, "distance": "Dot"}, "shard_number": SHARDS, "replication_factor": REPLICAS})
            self.placed(replicas=1)
            # While the only node restarts nobody answers.
            with self.load(GAP_S):
                took = self.upgrade({"replicaCount": 3})
                self.note(f"three pods after {took:.1f} s")
            self.must(before.items() <= self.ids().items(), "the first node is another one")

    def deleted(self):
        """A pod is deleted in order, and comes back on its volume at another address."""
        self.comes_back(GAP_ORDERLY_S, lambda kubernetes: kubernetes.delete(1))

    def killed(self):
        """A process dies and is started again in its pod."""

        def kill(kubernetes):
            pod = kubernetes.pod(1)
            pod.kill()
            kubernetes.wait("the pod sees it", lambda: pod.restarts == 1, 10)

        self.comes_back(GAP_S, kill)

    def lost_machine(self):
        """A machine is off, its pod comes back on its volume on another one."""

        def lose(kubernetes):
            kubernetes.pod(0).lose_machine()
            kubernetes.delete(0, grace=0)

        self.comes_back(GAP_S, lose)

    def comes_back(self, gap_s, happen):
        with self.cluster() as kubernetes:
            before = self.ids()
            self.create()
            with self.load(gap_s):
                happen(kubernetes)
                took = kubernetes.settle(SETTLE_S)
                self.note(f"ready again {took:.1f} s later")
            self.must(self.ids() == before, "nodes are others")

    def lost_volume(self):
        """Pods lose their volumes: one of the founders that is not the first, then the first."""
        with self.cluster() as kubernetes:
            before = self.ids()
            self.create()
            with self.load(GAP_S):
                for ordinal in (2, 0):
                    kubernetes.delete(ordinal, grace=0, with_claims=True)
                    ready = kubernetes.settle(SETTLE_S)
                    placed, _ = self.placed()
                    self.note(f"{kubernetes.pod(ordinal)}: ready after {ready:.1f} s, all replicas {placed:.1f} s later")
            after = self.ids()
            changed = [name for name in after if after[name] != before[name]]
            self.must(len(changed) == 2, f"new nodes: {changed}")

    def all_lost(self):
        """All machines are off at once; every pod comes back elsewhere, none knows the others' addresses."""
        with self.cluster() as kubernetes:
            before = self.ids()
            self.create()
            with self.load(SETTLE_S) as load:
                acknowledged = load.counts["acknowledged"]
                pods = list(kubernetes.pods.values())
                for pod in pods:
                    pod.lose_machine()
                    pod.delete(grace=0)
                kubernetes.wait("all gone", lambda: all(pod.is_gone for pod in pods), 30)
                took = kubernetes.settle(SETTLE_S)
                self.note(f"ready again after {took:.1f} s; {acknowledged} writes before")
            self.must(self.ids() == before, "nodes are others")


DRILLS = {name: name.replace("-", "_") for name in (
    "parallel", "in-order", "in-reverse", "update", "keys", "scale", "one-grows", "deleted", "killed", "lost-machine",
    "lost-volume", "all-lost",
)}
SHORT = ["in-reverse", "update", "lost-volume"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("drills", nargs="*", choices=[*DRILLS, []], metavar="DRILL", help=", ".join(DRILLS))
    parser.add_argument("--short", action="store_true", help=", ".join(SHORT))
    parser.add_argument("--binary", help="default: $QUIVER_BINARY, else the newest build")
    parser.add_argument("--keep", type=pathlib.Path, help="a folder for the logs of drills that fail")
    arguments = parser.parse_args()
    # A build may replace it meanwhile.
    with tempfile.TemporaryDirectory(prefix="quiver-chart-binary-") as folder:
        binary = shutil.copy(find_binary(arguments.binary), pathlib.Path(folder, "quiver"))
        help_text = subprocess.run([binary, "serve", "--help"], capture_output=True, text=True, check=True).stdout
        if "--cluster" not in help_text:
            sys.exit("this binary knows no --cluster")
        failed = []
        names = arguments.drills or (SHORT if arguments.short else list(DRILLS))
        for name in names:
            drill = Drill(name, binary, arguments.keep)
            method = getattr(drill, DRILLS[name])
            print(f"{name}: {method.__doc__.splitlines()[0]}", flush=True)
            with contextlib.suppress(Stuck, CallError):
                method()
            print(f"  {time.monotonic() - drill.began:6.1f} s  {'FAILED' if drill.flaws else 'ok'}", flush=True)
            if drill.flaws:
                failed.append(name)
    print(f"{len(names) - len(failed)} passed, {len(failed)} failed")
    sys.exit(bool(failed))


if __name__ == "__main__":
    main()
