"""A Quiver server as a child process, for the client, oracle and crash tests.

Each server listens on free ports of 127.0.0.1 and keeps its data in a folder of its own. It ends with the test: at
normal exit, and (through a parent-death signal) when the test process itself is killed. The ports and the folder stay
the same over `restart`, so clients made before it go on working.
"""

import atexit
import contextlib
import ctypes
import http.client
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
READY_TIMEOUT_S = 60
STOP_TIMEOUT_S = 30
PR_SET_PDEATHSIG = 1


class ServerError(Exception):
    """The server did not start, or ended when it should not have; holds the end of its log."""


def find_binary(given=None):
    """The binary given, else $QUIVER_BINARY, else the newest build of this repository."""
    chosen = given or os.environ.get("QUIVER_BINARY")
    if chosen:
        return pathlib.Path(chosen).resolve()
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
    builds = [path for profile in ("release", "debug") if (path := target / profile / "quiver").is_file()]
    if not builds:
        raise ServerError(f"no quiver binary in {target}: run `cargo build`, or set QUIVER_BINARY")
    return max(builds, key=lambda path: path.stat().st_mtime)


def free_ports(count):
    """Ports that were free a moment ago, all different."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _die_with_parent():
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class Server:
    """Use as a context manager. `settings` are further settings in their environment form, without the prefix, and
    `arguments` further arguments of `quiver serve`."""

    def __init__(self, binary=None, storage=None, settings=None, arguments=()):
        self.binary = find_binary(binary)
        self.scratch = pathlib.Path(tempfile.mkdtemp(prefix="quiver-test-"))
        self.storage = pathlib.Path(storage) if storage else self.scratch / "storage"
        self.log_path = self.scratch / "server.log"
        self.settings = dict(settings or {})
        self.arguments = list(arguments)
        self.http_port, self.grpc_port = free_ports(2)
        self.process = None
        #: Seconds from exec to the first successful /readyz of the latest start.
        self.start_seconds = None
        atexit.register(self.close)

    def __enter__(self):
        try:
            self.start()
        except BaseException:
            self.close()
            raise
        return self

    def __exit__(self, *_):
        self.close()

    @property
    def url(self):
        return f"http://127.0.0.1:{self.http_port}"

    def spawn(self):
        """Starts the process without waiting for it."""
        environment = {name: value for name, value in os.environ.items() if not name.startswith("QUIVER__")}
        environment |= {
            "QUIVER__SERVICE__HOST": "127.0.0.1",
            "QUIVER__SERVICE__HTTP_PORT": str(self.http_port),
            "QUIVER__SERVICE__GRPC_PORT": str(self.grpc_port),
            "QUIVER__STORAGE__STORAGE_PATH": str(self.storage),
        }
        environment |= {f"QUIVER__{name}": str(value) for name, value in self.settings.items()}
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [self.binary, "serve", *self.arguments],
                env=environment,
                cwd=self.scratch,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=_die_with_parent,
            )

    def start(self):
        """Starts the process and waits for /readyz."""
        began = time.monotonic()
        self.spawn()
        while not self.is_ready():
            if self.process.poll() is not None:
                raise ServerError(f"the server ended with {self.process.returncode} while starting:\n{self.log_tail()}")
            if time.monotonic() - began > READY_TIMEOUT_S:
                raise ServerError(f"the server was not ready after {READY_TIMEOUT_S} s:\n{self.log_tail()}")
            time.sleep(0.005)
        self.start_seconds = time.monotonic() - began

    def is_ready(self):
        """One request of /readyz."""
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=5)
        try:
            connection.request("GET", "/readyz")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def is_alive(self):
        return self.process is not None and self.process.poll() is None

    def kill(self):
        """SIGKILL: nothing is flushed, no destructor runs."""
        self.process.kill()
        self.process.wait()

    def terminate(self):
        """SIGTERM: drains and flushes; the exit code."""
        self.process.terminate()
        try:
            return self.process.wait(STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ServerError(f"the server did not end within {STOP_TIMEOUT_S} s of SIGTERM:\n{self.log_tail()}")

    def restart(self, how):
        """`kill` or `term`, then a start on the same ports and folder."""
        if how == "kill":
            self.kill()
        elif (code := self.terminate()) != 0:
            raise ServerError(f"the server ended with {code} after SIGTERM:\n{self.log_tail()}")
        self.start()

    def log_tail(self, bytes_max=4000):
        """The end of everything the server has printed."""
        try:
            return self.log_path.read_bytes()[-bytes_max:].decode(errors="replace")
        except OSError:
            return ""

    def close(self):
        """Kills the process if it runs and removes the scratch folder. Harmless when repeated."""
        if self.is_alive():
            self.kill()
        shutil.rmtree(self.scratch, ignore_errors=True)
        atexit.unregister(self.close)
