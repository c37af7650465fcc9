"""The controller of StatefulSets, the names of pods, and what a Service sends requests to.

`Kubernetes.tick` does what one round of the controller does, in the order of Kubernetes' stateful_set_control.go: pods that
are missing are made, those beyond the replicas are deleted, then at most one is replaced for an update, the highest ordinal
first, and only while all above it are healthy. Each pod gets an address that it never had before.
"""

import concurrent.futures
import hashlib
import itertools
import json
import os
import pathlib
import shutil
import time

from kubelet import Pod
from network import address

TICK_S = 0.02


class Stuck(Exception):
    """What was waited for did not come; holds what the pods said last."""


class Kubernetes:
    """A cluster with one release of the chart. `schedule` says after how many seconds a pod gets a machine."""

    def __init__(self, objects, namespace, network, folder, image, schedule=lambda ordinal: 0.0):
        self.namespace, self.network, self.folder = namespace, network, pathlib.Path(folder)
        self.image, self.schedule = image, schedule
        self.pods, self.pending, self.left = {}, {}, []
        # Of this cluster: a thread stays in the network in which it was started.
        self.threads = concurrent.futures.ThreadPoolExecutor(16, thread_name_prefix="probe")
        #: Claims that go as soon as no pod uses them.
        self.doomed = set()
        self.members = iter(network.nodes)
        self.templates, self.events, self.serial = {}, [], itertools.count()
        self.began = time.monotonic()
        self.dns = self.folder / "dns"
        self.dns.mkdir(parents=True)
        self.names, self.serving = None, []
        #: The revision of the pods that are not updated yet.
        self.objects = self.current = None
        self.apply(objects)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for pod in self.pods.values():
            pod.close()
        self.threads.shutdown()

    def apply(self, objects):
        """The release as it is from now on."""
        (self.stateful_set,) = [one for (kind, _), one in objects.items() if kind == "StatefulSet"]
        self.objects = objects
        revision = self.revision
        self.templates[revision] = self.spec["template"], objects
        self.current = self.current or revision
        self.say(f"apply: {self.spec['replicas']} replicas, revision {revision}")

    @property
    def spec(self):
        return self.stateful_set["spec"]

    @property
    def revision(self):
        return hashlib.sha256(json.dumps(self.spec["template"], sort_keys=True).encode()).hexdigest()[:10]

    def pod_name(self, ordinal):
        return f"{self.stateful_set['metadata']['name']}-{ordinal}"

    def pod(self, ordinal):
        return self.pods[self.pod_name(ordinal)]

    def say(self, text):
        self.events.append((time.monotonic() - self.began, text))

    # What happens by itself.

    def tick(self):
        for pod in list(self.pods.values()):
            was_ready = pod.is_ready
            pod.tick()
            if pod.is_ready != was_ready:
                self.say(f"{pod} {'is ready' if pod.is_ready else 'is not ready'}")
            if pod.is_gone:
                self.say(f"{pod} is gone")
                self.left.append(self.pods.pop(pod.name))
        for name in list(self.doomed):
            if name.split("-", 1)[1] not in self.pods:
                self.doomed.discard(name)
                self._delete_claim(name)
        self._schedule()
        self._sync()
        self._name()

    def _sync(self):
        spec, wanted = self.spec, range(self.spec["replicas"])
        is_ordered = spec["podManagementPolicy"] == "OrderedReady"
        for ordinal in wanted:
            pod = self._known(ordinal)
            if pod is None:
                self._create(ordinal)
            if is_ordered and not self._is_healthy(ordinal):
                return
        condemned = [pod for pod in self._ordinals() if pod not in wanted]
        for ordinal in sorted(condemned, reverse=True):
            self._condemn(ordinal)
            if is_ordered:
                return
        for name in list(self.claims()):
            ordinal = int(name.rsplit("-", 1)[1])
            is_over = ordinal not in wanted and self._known(ordinal) is None
            if is_over and spec["persistentVolumeClaimRetentionPolicy"]["whenScaled"] == "Delete":
                self._delete_claim(name)
        if spec["updateStrategy"]["type"] == "RollingUpdate":
            self._update(wanted)

    def _update(self, wanted):
        for ordinal in reversed(wanted):
            pod = self.pods.get(self.pod_name(ordinal))
            if pod is not None and pod.revision != self.revision and not pod.is_terminating:
                self.say(f"update: {pod}")
                pod.delete()
                return
            if not self._is_healthy(ordinal):
                return
        self.current = self.revision

    def _is_healthy(self, ordinal):
        pod = self.pods.get(self.pod_name(ordinal))
        return pod is not None and pod.is_ready and not pod.is_terminating

    def _ordinals(self):
        return [int(name.rsplit("-", 1)[1]) for name in [*self.pods, *self.pending]]

    def _known(self, ordinal):
        name = self.pod_name(ordinal)
        return self.pods.get(name) or self.pending.get(name)

    def _condemn(self, ordinal):
        name = self.pod_name(ordinal)
        self.pending.pop(name, None)
        if name in self.pods and not self.pods[name].is_terminating:
            self.say(f"scale down: {name}")
            self.pods[name].delete()

    def _create(self, ordinal):
        """A pod that is lost in an update comes back as it was, unless its turn has been."""
        is_old = ordinal < sum(pod.revision == self.current for pod in self.pods.values())
        revision = self.current if is_old else self.revision
        name = self.pod_name(ordinal)
        self.say(f"create {name}")
        self.pending[name] = (time.monotonic() + self.schedule(ordinal), revision)

    def _schedule(self):
        for name, (at, revision) in list(self.pending.items()):
            if time.monotonic() < at:
                continue
            del self.pending[name]
            template, objects = self.templates[revision]
            member = next(self.members)
            claims = {claim["metadata"]["name"]: self._claim(claim, name) for claim in self.spec["volumeClaimTemplates"]}
            folder = self.folder / "pods" / f"{name}.{next(self.serial)}"
            pod = Pod(name, template, objects, self.namespace, self.image, self.network, member, address(member), claims,
                      folder, self.dns, self.threads)
            pod.revision = revision
            self.pods[name] = pod
            self.say(f"{name} has the address {pod.address}")

    # Volumes.

    def claims(self):
        folder = self.folder / "claims"
        return {path.name: path for path in sorted(folder.iterdir())} if folder.exists() else {}

    def _claim(self, claim, pod):
        """The pod's volume, made when it is first asked for: a new file system whose group is the pod's."""
        path = self.folder / "claims" / f"{claim['metadata']['name']}-{pod}"
        if not path.exists():
            path.mkdir(parents=True)
            (path / "lost+found").mkdir(mode=0o700)
            group = self.spec["template"]["spec"].get("securityContext", {}).get("fsGroup")
            if group is not None:
                os.chown(path, 0, group)
                path.chmod(0o2775)
            self.say(f"claim {path.name}")
        return str(path)

    def _delete_claim(self, name):
        self.say(f"delete claim {name}")
        shutil.rmtree(self.folder / "claims" / name)

    # Names and requests.

    def _name(self):
        """What a pod's name leads to, and a Service's. Renamed into place: a reader sees the old names or the new ones."""
        self.serving = [pod.address for pod in self.pods.values() if pod.is_ready and not pod.is_terminating]
        (headless,) = [
            one for (kind, name), one in self.objects.items() if kind == "Service" and name == self.spec["serviceName"]
        ]
        early = headless["spec"].get("publishNotReadyAddresses", False)
        shown = [pod for pod in self.pods.values() if early or (pod.is_ready and not pod.is_terminating)]
        suffix = f"{headless['metadata']['name']}.{self.namespace}.svc"
        lines = ["127.0.0.1 localhost", *(f"{pod.address} {pod.name}.{suffix} {pod.name}" for pod in shown)]
        if lines != self.names:
            part = self.dns / "hosts.part"
            part.write_text("\n".join(lines) + "\n")
            part.rename(self.dns / "hosts")
            self.names = lines

    def endpoints(self):
        """Where a Service sends requests: pods that are ready and are not about to go. Any thread may ask."""
        return self.serving

    # What a person does, and waits for.

    def delete(self, ordinal, grace=None, with_claims=False):
        """Deletes a pod, with its volumes too if they are lost, and waits until it is gone. The controller makes another."""
        pod = self.pod(ordinal)
        self.say(f"delete {pod}{' with its volumes' if with_claims else ''}")
        pod.delete(grace)
        if with_claims:
            self.doomed |= {f"{claim['metadata']['name']}-{pod}" for claim in self.spec["volumeClaimTemplates"]}
        self.wait(f"{pod} gone", lambda: pod.is_gone, pod.grace + 10)
        return pod

    def is_settled(self):
        """All pods that should be there are, are ready and of the last revision; none is left to go."""
        wanted = [self.pod_name(ordinal) for ordinal in range(self.spec["replicas"])]
        return sorted(self.pods) == sorted(wanted) and not self.pending and all(
            pod.is_ready and not pod.is_terminating and pod.revision == self.revision for pod in self.pods.values()
        )

    def run(self, seconds):
        """Lets time pass."""
        until = time.monotonic() + seconds
        while time.monotonic() < until:
            self.tick()
            time.sleep(TICK_S)

    def wait(self, what, condition, seconds):
        """Lets time pass until it is so; how long that took."""
        began = time.monotonic()
        while True:
            self.tick()
            if condition():
                return time.monotonic() - began
            if time.monotonic() > began + seconds:
                raise Stuck(f"not within {seconds} s: {what}\n{self.tail()}")
            time.sleep(TICK_S)

    def settle(self, seconds):
        return self.wait("all pods ready", self.is_settled, seconds)

    def tail(self):
        """The last events, and the end of each pod's log."""
        parts = [f"{at:8.2f} {text}" for at, text in self.events[-20:]]
        for pod in self.pods.values():
            parts += [f"{pod}, ready: {pod.is_ready}, restarts: {pod.restarts}", pod.log_text()[-2000:]]
        return "\n".join(parts)
