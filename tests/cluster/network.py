"""A network for the nodes of one cluster, with faults.

Every node lives in a network namespace, the clients share one, and a bridge in a further one joins them: nothing of the
host's network is touched. Names carry the pid of the run, so that runs side by side do not meet, and what a dead run has
left is swept away by the next.

A cut is made where packets arrive: a routing rule of the receiver drops what comes from the sender. So the sender learns
nothing, connections stay open, one direction can be cut alone, and clients still reach both sides.
"""

import contextlib
import ctypes
import itertools
import os
import pathlib
import subprocess

SUBNET = "10.77.0"
#: The clients' place beside the nodes, which are numbered from 1.
CLIENTS = 250
NAMESPACES = pathlib.Path("/run/netns")
PREFIX = "quiver-cluster-"
CLONE_NEWNET = 0x40000000
#: Preferences of routing rules. The table of own addresses comes first by default, and would deliver before any rule drops.
CUT_RULE, LOCAL_RULE = 10, 100

_libc = ctypes.CDLL(None, use_errno=True)


class NetworkError(Exception):
    """The kernel or its tools refused a change of the network."""


def enter(namespace_file):
    """Moves the calling thread into a namespace, and with it the threads and processes it starts from now on."""
    if _libc.setns(namespace_file.fileno(), CLONE_NEWNET):
        error = ctypes.get_errno()
        raise NetworkError(f"setns: {os.strerror(error)}")


def is_alive(pid):
    return pathlib.Path("/proc", str(pid)).exists()


def _run(command, lines=None):
    text = None if lines is None else "\n".join(lines)
    done = subprocess.run(command, input=text, text=True, capture_output=True)
    if done.returncode:
        raise NetworkError(f"{' '.join(command)}: {done.stderr.strip()}")


def sweep():
    """Removes the namespaces of runs that are dead."""
    for path in NAMESPACES.glob(f"{PREFIX}*"):
        if not is_alive(path.name.removeprefix(PREFIX).split("-")[0]):
            subprocess.run(["ip", "netns", "del", path.name], capture_output=True)


def address(node):
    return f"{SUBNET}.{node}"


class Network:
    """Namespaces for nodes 1 to `count` and for the clients. A context manager; inside, the caller is among the clients."""

    def __init__(self, count):
        self.nodes = list(range(1, count + 1))
        self.cuts = set()
        self.slowed = set()
        self._outside = None

    def namespace(self, name):
        return f"{PREFIX}{os.getpid()}-{name}"

    def path(self, name):
        return NAMESPACES / self.namespace(name)

    def __enter__(self):
        sweep()
        self._outside = open("/proc/thread-self/ns/net")
        try:
            self._build()
            with open(self.path(CLIENTS)) as file:
                enter(file)
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Harmless when repeated."""
        if self._outside is not None:
            enter(self._outside)
            self._outside.close()
            self._outside = None
        for path in NAMESPACES.glob(f"{PREFIX}{os.getpid()}-*"):
            subprocess.run(["ip", "netns", "del", path.name], capture_output=True)

    def _build(self):
        members = [*self.nodes, CLIENTS]
        macs = {member: f"02:00:00:00:00:{member:02x}" for member in members}
        switch = self.namespace("switch")
        _run(["ip", "-batch", "-"], [f"netns add {name}" for name in (switch, *map(self.namespace, members))])
        pairs = [
            f"link add veth0 netns {self.namespace(member)} address {macs[member]} type veth peer name port{member} netns {switch}"
            for member in members
        ]
        _run(["ip", "-batch", "-"], pairs)
        ports = [f"link set port{member} master bridge up" for member in members]
        _run(["ip", "-n", switch, "-batch", "-"], ["link add bridge type bridge", "link set bridge up", *ports])
        for member in members:
            # Fixed neighbors: otherwise a cut would soon show as "no route to host", and a heal would wait for ARP.
            neighbors = [f"neigh add {address(to)} lladdr {macs[to]} dev veth0 nud permanent" for to in members if to != member]
            self._ip(
                member,
                f"addr add {address(member)}/24 dev veth0",
                "link set lo up",
                "link set veth0 up",
                *neighbors,
                f"rule add pref {LOCAL_RULE} lookup local",
                "rule del pref 0",
            )
            with self.inside(member):
                # Packets of open connections would go past the rules.
                for name in ("ip_early_demux", "tcp_early_demux"):
                    pathlib.Path("/proc/sys/net/ipv4", name).write_text("0")

    def _ip(self, member, *lines):
        _run(["ip", "-n", self.namespace(member), "-batch", "-"], lines)

    @contextlib.contextmanager
    def inside(self, member):
        """The calling thread among others for a moment."""
        with open("/proc/thread-self/ns/net") as back, open(self.path(member)) as there:
            enter(there)
            try:
                yield
            finally:
                enter(back)

    def sent(self, count):
        """Bytes that the first `count` nodes have sent each other so far: all that they sent but what clients got."""
        received, _ = self._traffic(CLIENTS)
        return sum(self._traffic(node)[1] for node in range(1, count + 1)) - received

    def _traffic(self, member):
        """Bytes received and sent."""
        with self.inside(member):
            lines = pathlib.Path("/proc/thread-self/net/dev").read_text().splitlines()
        fields = next(line.split(":")[1].split() for line in lines if line.strip().startswith("veth0:"))
        return int(fields[0]), int(fields[8])

    def cut(self, source, target):
        """What `source` sends does not reach `target` any more; the other direction stays."""
        if (source, target) not in self.cuts:
            self._ip(target, f"rule add pref {CUT_RULE} from {address(source)} iif veth0 blackhole")
            self.cuts.add((source, target))

    def split(self, *sides):
        """Cuts both directions between nodes of different sides."""
        for one, other in itertools.permutations(sides, 2):
            for source, target in itertools.product(one, other):
                self.cut(source, target)

    def isolate(self, node):
        """Cuts a node off from all other nodes."""
        self.split([node], [other for other in self.nodes if other != node])

    def slow(self, node, kbit):
        """Makes what a node sends slow; how it was done. Without netem in the kernel: a narrow link with a long queue."""
        interface = ["tc", "-n", self.namespace(node), "qdisc", "replace", "dev", "veth0", "root"]
        self.slowed.add(node)
        try:
            _run([*interface, "netem", "delay", "80ms", "30ms", "rate", f"{kbit}kbit"])
            return f"80 ms +- 30 ms, {kbit} kbit/s"
        except NetworkError:
            _run([*interface, "tbf", "rate", f"{kbit}kbit", "burst", "16kb", "latency", "1s"])
            return f"{kbit} kbit/s with up to 1 s of queue (no netem in this kernel: no jitter, no loss)"

    def heal(self):
        """Undoes all cuts and slow links."""
        for source, target in sorted(self.cuts):
            self._ip(target, f"rule del pref {CUT_RULE} from {address(source)}")
        self.cuts.clear()
        for node in self.slowed:
            _run(["tc", "-n", self.namespace(node), "qdisc", "del", "dev", "veth0", "root"])
        self.slowed.clear()
