"""One pod on a machine, as a kubelet runs it: volumes, variables, probes, restarts, and the way it stops.

Nothing here waits: `Pod.tick` looks what has happened and goes on. It must be called from one thread only, since a container
dies with the thread that started it.
"""

import base64
import dataclasses
import http.client
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import time

CONTAINER = pathlib.Path(__file__).with_name("container.py")
#: A container that ended is started again after this long, doubled each time. (A real kubelet begins with 10.)
BACKOFF_S, BACKOFF_S_MAX = 1.0, 30.0
#: What a preStop hook that used up the grace period leaves the process.
AFTER_HOOK_S = 2.0
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

@dataclasses.dataclass(frozen=True)
class Image:
    """What a container's root holds beside its volumes: files of this machine by their place there."""

    entrypoint: str
    folder: str
    mounts: dict

    @staticmethod
    def of(binary, entrypoint="/usr/local/bin/quiver", folder="/var/lib/quiver"):
        """The binary with the libraries that it names, and certificates, as in the Dockerfile's second stage."""
        told = subprocess.check_output(["ldd", binary], text=True)
        mounts = {path: path for path in re.findall(r"(?:=> )?(/\S+) \(0x", told)}
        mounts |= {path: path for path in ("/etc/ssl/certs", "/usr/share/ca-certificates") if pathlib.Path(path).exists()}
        return Image(entrypoint, folder, mounts | {entrypoint: str(binary)})


class Probe:
    """One of a container's three. `passed` is `None` until it is decided."""

    def __init__(self, spec, address, ports, threads):
        get, self.threads = spec["httpGet"], threads
        self.address, self.port, self.path = address, ports.get(get["port"], get["port"]), get["path"]
        self.period, self.timeout = spec["periodSeconds"], spec["timeoutSeconds"]
        self.threshold, self.next = spec["failureThreshold"], time.monotonic() + spec.get("initialDelaySeconds", 0)
        self.passed, self.failures, self.running = None, 0, None

    def tick(self):
        if self.running is None and time.monotonic() >= self.next:
            self.next = time.monotonic() + self.period
            self.running = self.threads.submit(self._get)
        elif self.running is not None and self.running.done():
            is_good, self.running = self.running.result(), None
            self.failures = 0 if is_good else self.failures + 1
            if is_good:
                self.passed = True
            elif self.failures >= self.threshold:
                self.passed = False

    def _get(self):
        connection = http.client.HTTPConnection(self.address, self.port, timeout=self.timeout)
        try:
            connection.request("GET", self.path)
            return 200 <= connection.getresponse().status < 400
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()


@dataclasses.dataclass
class Ending:
    """How a container ended. `hook` is the preStop hook's exit code; `None`: it was not run, or did not end."""

    code: int
    hook: int | None = None
    seconds: float = 0.0
    was_killed: bool = False


class Pod:
    """A pod that has been given a machine: an address of the network. `objects` are those of the release."""

    def __init__(self, name, template, objects, namespace, image, network, member, address, volumes, folder, dns, threads):
        self.name, self.template, self.objects, self.namespace = name, template, objects, namespace
        self.image, self.network, self.member, self.address = image, network, member, address
        self.volumes, self.folder, self.dns, self.threads = volumes, folder, dns, threads
        self.spec = template["spec"]
        (self.container,) = self.spec["containers"]
        self.ports = {port["name"]: port["containerPort"] for port in self.container["ports"]}
        self.process = self.hook = None
        self.start_at, self.backoff, self.restarts = time.monotonic(), BACKOFF_S, 0
        self.deleted_at = self.terminated_at = self.hook_code = None
        self.was_killed = False
        self.grace = self.spec["terminationGracePeriodSeconds"]
        self.endings, self.is_gone = [], False
        folder.mkdir(parents=True)
        self.log_path = folder / "log"

    def __repr__(self):
        return self.name

    # What others see.

    @property
    def is_terminating(self):
        return self.deleted_at is not None

    @property
    def is_ready(self):
        return self.is_running and self.startup.passed is True and self.readiness.passed is True

    @property
    def is_running(self):
        return self.process is not None

    @property
    def pid(self):
        """The container's first process, as this machine numbers it."""
        return int((self.folder / "pid").read_text())

    def delete(self, grace=None):
        """Begins to stop it; 0: it is killed at once."""
        if not self.is_terminating:
            self.deleted_at = time.monotonic()
            self.grace = self.grace if grace is None else grace

    def log_text(self):
        return self.log_path.read_text(errors="replace") if self.log_path.exists() else ""

    # Life.

    def tick(self):
        if self.process is not None and self.process.poll() is not None:
            self._ended(self.process.returncode)
        if self.is_terminating:
            self._stop()
        elif self.process is None:
            if time.monotonic() >= self.start_at:
                self._start()
        else:
            self._probe()

    def _probe(self):
        self.startup.tick()
        if self.startup.passed is False:
            self._kill("startup probe")
        elif self.startup.passed:
            self.readiness.tick()
            self.liveness.tick()
            if self.liveness.passed is False:
                self._kill("liveness probe")

    def _kill(self, why):
        self._log(f"killed: {why}")
        os.kill(self.pid, signal.SIGKILL)
        self.process.wait()

    def _ended(self, code):
        now = time.monotonic()
        ending = Ending(code)
        if self.is_terminating:
            ending.hook = self.hook_code
            ending.seconds, ending.was_killed = now - self.deleted_at, self.was_killed
        else:
            self.restarts += 1
            self.start_at, self.backoff = now + self.backoff, min(2 * self.backoff, BACKOFF_S_MAX)
        self._log(f"ended with {code}")
        self.endings.append(ending)
        self.process = None

    def _stop(self):
        """The hook, then SIGTERM, then SIGKILL, all within the grace period."""
        if self.process is None:
            self.is_gone = True
            return
        now = time.monotonic()
        is_over = now >= self.deleted_at + self.grace
        if self.terminated_at is None and self.grace > 0:
            command = self.container.get("lifecycle", {}).get("preStop", {}).get("exec", {}).get("command")
            if command and self.hook is None:
                self.hook = self.execute(command)
            if self.hook is not None and self.hook.poll() is None:
                if not is_over:
                    return
                self.grace = now - self.deleted_at + AFTER_HOOK_S
            self.hook_code = self.hook.poll() if self.hook else None
            self._log(f"SIGTERM; the hook's exit code: {self.hook_code}")
            self._signal(signal.SIGTERM)
            self.terminated_at = now
        elif is_over and not self.was_killed:
            self._log("SIGKILL")
            self.was_killed = True
            self._signal(signal.SIGKILL)

    def _signal(self, number):
        try:
            os.kill(self.pid, number)
        except ProcessLookupError:
            pass

    def lose_machine(self):
        """The machine is off: nothing is sent any more, not even that connections are closed."""
        command = ["ip", "-n", self.network.namespace(self.member), "link", "set", "veth0", "down"]
        subprocess.run(command, check=True)
        self.kill()

    def kill(self):
        """kill -9 of the process, nothing else."""
        if self.process is not None:
            self._signal(signal.SIGKILL)
            self.process.wait()

    def close(self):
        if self.hook is not None and self.hook.poll() is None:
            self.hook.kill()
            self.hook.wait()
        if self.process is not None and self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    # What a container is made of.

    def _start(self):
        context = self.spec.get("securityContext", {})
        own = self.container.get("securityContext", {})
        user, group = context.get("runAsUser", 0), context.get("runAsGroup", 0)
        if context.get("runAsNonRoot") and user == 0:
            raise ValueError("runAsNonRoot, but the user is root")
        (self.folder / "root").mkdir(exist_ok=True)
        (self.folder / "pid").unlink(missing_ok=True)
        self.environment = self._environment()
        command = [self.image.entrypoint, *(self._expand(argument) for argument in self.container["args"])]
        spec = {
            "network": str(self.network.path(self.member)),
            "root": str(self.folder / "root"),
            "pid": str(self.folder / "pid"),
            "host_name": self.name,
            "folder": self.image.folder,
            "files": {"/etc/passwd": "root:x:0:0::/:/bin/sh\n", "/etc/nsswitch.conf": "hosts: files\n"},
            "links": {"/etc/hosts": "/dns/hosts"},
            "mounts": self._mounts(),
            "read_only_root": own.get("readOnlyRootFilesystem", False),
            "user": user,
            "group": group,
            "groups": [context["fsGroup"]] if "fsGroup" in context else [],
            "drops_capabilities": "ALL" in own.get("capabilities", {}).get("drop", []),
            "no_new_privileges": own.get("allowPrivilegeEscalation") is False,
            "command": command,
            "environment": self.environment,
        }
        path = self.folder / "container.json"
        path.write_text(json.dumps(spec))
        self._log("start " + " ".join(command))
        with open(self.log_path, "ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-S", CONTAINER, path], stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
        while not (self.folder / "pid").exists() and self.process.poll() is None:
            time.sleep(0.001)
        for name in ("startup", "readiness", "liveness"):
            setattr(self, name, Probe(self.container[f"{name}Probe"], self.address, self.ports, self.threads))

    def _log(self, text):
        with open(self.log_path, "a") as log:
            log.write(f"--- {time.monotonic():.3f} {self.name}: {text}\n")

    def _mounts(self):
        volumes = {volume["name"]: self._volume(volume) for volume in self.spec.get("volumes", [])} | self.volumes
        mounts = [{"from": source, "to": place, "read_only": True} for place, source in self.image.mounts.items()]
        mounts.append({"from": str(self.dns), "to": "/dns", "read_only": True})
        for mount in self.container["volumeMounts"]:
            place, read_only = mount["mountPath"], mount.get("readOnly", False)
            mounts.append({"from": str(volumes[mount["name"]]), "to": place, "read_only": read_only})
        return mounts

    def _volume(self, volume):
        """A folder with the content of a ConfigMap, or an empty one that lasts as long as the pod."""
        path = self.folder / f"volume-{volume['name']}"
        if "configMap" in volume:
            shutil.rmtree(path, ignore_errors=True)
            path.mkdir()
            for name, text in self.objects["ConfigMap", volume["configMap"]["name"]]["data"].items():
                (path / name).write_text(text)
        elif "emptyDir" in volume:
            if not path.exists():
                path.mkdir()
                path.chmod(0o777)
        else:
            raise ValueError(f"a volume of an unknown kind: {volume}")
        return path

    def _environment(self):
        # What every container has.
        values = {"PATH": DEFAULT_PATH, "HOSTNAME": self.name, "KUBERNETES_SERVICE_HOST": "10.0.0.1"}
        self.environment = values
        for variable in self.container["env"]:
            value = self._value(variable)
            if value is not None:
                values[variable["name"]] = value
        return values

    def _value(self, variable):
        if "value" in variable:
            return self._expand(variable["value"])
        ((kind, source),) = variable["valueFrom"].items()
        if kind == "fieldRef":
            label = re.fullmatch(r"metadata\.labels\['(.*)'\]", source["fieldPath"])
            if label:
                return self.template["metadata"]["labels"].get(label[1], "")
            fields = {"metadata.name": self.name, "metadata.namespace": self.namespace, "status.podIP": self.address}
            return fields[source["fieldPath"]]
        if kind == "secretKeyRef":
            secret = self.objects.get(("Secret", source["name"]), {"data": {}})
            if source["key"] not in secret["data"]:
                if source.get("optional"):
                    return None
                raise ValueError(f"Secret {source['name']} has no {source['key']}")
            return base64.b64decode(secret["data"][source["key"]]).decode()
        raise ValueError(f"a variable of an unknown kind: {variable}")

    def _expand(self, text):
        return re.sub(r"\$\(([A-Za-z0-9_.-]+)\)", lambda found: self.environment.get(found[1], found[0]), text)

    def execute(self, command):
        """Starts a further process in the container, as its user. What it says is in the pod's log."""
        context = self.spec.get("securityContext", {})
        who = [f"--setuid={context.get('runAsUser', 0)}", f"--setgid={context.get('runAsGroup', 0)}"]
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--uts", "--ipc", "--net", "--pid", "--root", "--wd", *who]
        with open(self.log_path, "ab") as log:
            return subprocess.Popen(
                [*inside, *command], env=self.environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log
            )
