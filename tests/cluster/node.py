"""One server process of a cluster: its life, its clock, its disk, and requests to it."""

import contextlib
import fcntl
import http.client
import json
import mmap
import os
import pathlib
import shutil
import signal
import struct
import subprocess
import time

import network

HTTP_PORT, GRPC_PORT, PEER_PORT = 6333, 6334, 6335
READY_S, STOP_S = 60, 45
#: `EXT4_IOC_SHUTDOWN`, and the mode in which the journal's tail is lost too.
EXT4_SHUTDOWN, NO_LOG_FLUSH = 0x8004587D, 2
DISK_BYTES = 4 << 30
SETTINGS = {
    "QUIVER__STORAGE__DISK_RESERVE_MB": "64",
    "QUIVER__STORAGE__BLOCK_CACHE_MB": "32",
    "QUIVER__STORAGE__MEMTABLE_MB": "16",
    "QUIVER__STORAGE__CHECKPOINT_INTERVAL_S": "5",
}
#: openraft says here that a state was installed, as proof of a catch-up without the log.
LOG_LEVEL = "info,openraft=warn,openraft::core::sm::worker=info"
INSTALLED = "Done install complete snapshot"


class NodeError(Exception):
    """A node did not do what it should."""


class CallError(Exception):
    """A request was answered with an error, or not at all (status `None`)."""

    def __init__(self, what, status, text):
        super().__init__(f"{what}: {status} {text}")
        self.status = status


def call(host, method, path, body=None, timeout=10, port=HTTP_PORT):
    """One request on a connection of its own; the answer's `result`."""
    connection = http.client.HTTPConnection(host, port, timeout=timeout)
    content = None if body is None else json.dumps(body).encode()
    try:
        connection.request(method, path, content, {"Content-Type": "application/json"})
        answer = connection.getresponse()
        content = answer.read()
        if answer.status == 200:
            return json.loads(content)["result"]
    except (OSError, http.client.HTTPException) as error:
        raise CallError(f"{method} {host}{path}", None, repr(error)) from error
    finally:
        connection.close()
    raise CallError(f"{method} {host}{path}", answer.status, content.decode(errors="replace")[:300])


class Clock:
    """The clocks that a process sees (clock.c)."""

    SOURCE = pathlib.Path(__file__).with_name("clock.c")

    @staticmethod
    def build(folder):
        library = folder / "clock.so"
        subprocess.run(["cc", "-O2", "-shared", "-fPIC", "-o", library, Clock.SOURCE], check=True)
        return library

    def __init__(self, path):
        self.path = path
        path.write_bytes(bytes(8 + 2 * 32))
        with open(path, "r+b") as file:
            self._shared = mmap.mmap(file.fileno(), 0)
        self.current = 0
        self.wall_ns = self.steady_ns = self.since_ns = self.rate_ppm = 0

    def set(self, wall_s=None, steady_jump_s=0, rate_ppm=0):
        """The wall clock this far ahead (`None`: as it is), the steady one so much further, both at this rate from now on.
        The steady clock never goes back: it keeps what it has gained."""
        now = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        drift = (now - self.since_ns) * self.rate_ppm // 10**6
        self.wall_ns = self.wall_ns + drift if wall_s is None else wall_s * 10**9
        self.steady_ns += drift + steady_jump_s * 10**9
        self.since_ns, self.rate_ppm = now, rate_ppm
        self.current = 1 - self.current
        shift = struct.pack("<4q", self.wall_ns, self.steady_ns, self.since_ns, self.rate_ppm)
        self._shared[8 + self.current * 32 : 40 + self.current * 32] = shift
        self._shared[:8] = struct.pack("<q", self.current)


class Disk:
    """An ext4 file system of its own for one node, whose power can be cut."""

    def __init__(self, image, folder):
        self.image, self.folder = image, folder
        with open(image, "wb") as file:
            file.truncate(DISK_BYTES)
        subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
        folder.mkdir()
        self.mount()

    def mount(self):
        subprocess.run(["mount", "-o", "loop", self.image, self.folder], check=True)

    def cut_power(self):
        """From here on nothing more reaches the disk, and what was not synced is gone."""
        file = os.open(self.folder, os.O_RDONLY)
        try:
            fcntl.ioctl(file, EXT4_SHUTDOWN, struct.pack("I", NO_LOG_FLUSH))
        finally:
            os.close(file)

    def unmount(self):
        subprocess.run(["umount", self.folder], check=True)

    def close(self):
        subprocess.run(["umount", "-l", self.folder], capture_output=True)


class Node:
    """Node `number` of the network. It starts from the main thread only: it dies with the thread that started it."""

    def __init__(self, number, net, folder, binary, bootstrap, clock_library=None, with_disk=False):
        self.number, self.network, self.folder, self.binary = number, net, folder, binary
        self.host = network.address(number)
        self.uri = f"http://{self.host}:{PEER_PORT}"
        self.bootstrap = bootstrap
        folder.mkdir()
        self.log_path = folder / "server.log"
        self.disk = Disk(folder / "disk.img", folder / "disk") if with_disk else None
        self.data = folder / "disk/data" if with_disk else folder / "data"
        self.clock = Clock(folder / "clock") if clock_library else None
        self.clock_library = clock_library
        self.process = None
        self.is_paused = False

    def __repr__(self):
        return f"node {self.number}"

    def spawn(self):
        """Starts the process without waiting for it."""
        self.data.mkdir(exist_ok=True)
        environment = {name: value for name, value in os.environ.items() if not name.startswith("QUIVER__")} | SETTINGS
        if self.clock:
            environment |= {"LD_PRELOAD": str(self.clock_library), "QUIVER_TEST_CLOCK": str(self.clock.path)}
        # Both tools end in exec: the process keeps its pid and dies with the harness, even if that is killed.
        command = ["setpriv", "--pdeathsig", "KILL", "nsenter", f"--net={self.network.path(self.number)}", self.binary]
        command += ["serve", "--host", "0.0.0.0", "--http-port", HTTP_PORT, "--grpc-port", GRPC_PORT]
        command += ["--storage-path", self.data / "storage", "--snapshots-path", self.data / "snapshots"]
        command += ["--log-level", LOG_LEVEL]
        if self.bootstrap:
            command += ["--cluster", "--peer-port", PEER_PORT, "--uri", self.uri, "--bootstrap", ",".join(self.bootstrap)]
        with open(self.log_path, "ab") as log:
            log.write(f"--- start at {time.monotonic():.3f}\n".encode())
            log.flush()
            self.process = subprocess.Popen(
                list(map(str, command)),
                env=environment,
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )

    def wait_ready(self, seconds=READY_S):
        until = time.monotonic() + seconds
        while not self.is_ready():
            if not self.is_alive():
                raise NodeError(f"{self} ended with {self.process.returncode} while starting:\n{self.log_tail()}")
            if time.monotonic() > until:
                raise NodeError(f"{self} was not ready after {seconds} s:\n{self.log_tail()}")
            time.sleep(0.02)

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def is_ready(self):
        connection = http.client.HTTPConnection(self.host, HTTP_PORT, timeout=1)
        with contextlib.closing(connection):
            try:
                connection.request("GET", "/readyz")
                return connection.getresponse().status == 200
            except (OSError, http.client.HTTPException):
                return False

    def has_clock(self):
        """Whether the process has the clocks that can be set."""
        maps = pathlib.Path("/proc", str(self.process.pid), "maps").read_text()
        return self.clock is not None and str(self.clock_library) in maps and str(self.clock.path) in maps

    def kill(self):
        """SIGKILL: nothing is flushed, no destructor runs."""
        self.process.kill()
        self.process.wait()
        self.is_paused = False

    def terminate(self):
        """SIGTERM; must end well."""
        self.process.terminate()
        try:
            code = self.process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise NodeError(f"{self} did not end within {STOP_S} s of SIGTERM:\n{self.log_tail()}") from None
        if code:
            raise NodeError(f"{self} ended with {code} after SIGTERM:\n{self.log_tail()}")

    def pause(self):
        self.process.send_signal(signal.SIGSTOP)
        self.is_paused = True

    def resume(self):
        self.process.send_signal(signal.SIGCONT)
        self.is_paused = False

    def wipe(self):
        """Removes everything the node has kept: what starts here next is a new node."""
        shutil.rmtree(self.data)

    def call(self, method, path, body=None, timeout=10):
        return call(self.host, method, path, body, timeout)

    def log_text(self):
        return self.log_path.read_text(errors="replace")

    def log_tail(self):
        return self.log_text()[-3000:]

    def close(self):
        if self.is_alive():
            self.kill()
        if self.disk:
            self.disk.close()
