"""The simulated Kubernetes, tried with a stand-in for the binary: what a container of the chart gets, and that the controller
does what Kubernetes' does. Needs root, as namespaces do. The binary itself: simulate.py."""

import copy
import http.client
import json
import os
import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "cluster"))

import chart  # noqa: E402
from kubelet import Image  # noqa: E402
from network import Network  # noqa: E402
from statefulset import Kubernetes, Stuck  # noqa: E402

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root")
SETTLE_S, STUCK_S = 20, 2


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """The stand-in where the binary would be, and the Python it needs."""
    path = tmp_path_factory.mktemp("image") / "quiver"
    path.write_text(f"#!{sys.executable} -B\n" + pathlib.Path(__file__).with_name("stand_in.py").read_text())
    path.chmod(0o755)
    folders = {"/usr/lib", "/usr/bin", "/lib", "/lib64", sys.prefix, sys.base_prefix} - {"/usr"}
    mounts = {folder: folder for folder in sorted(folders) if pathlib.Path(folder).exists()}
    return Image("/usr/local/bin/quiver", "/var/lib/quiver", mounts | {"/usr/local/bin/quiver": str(path)})


@pytest.fixture
def start(image, tmp_path):
    """Starts a release; it ends with the test."""
    started = []

    def begin(objects, **options):
        kubernetes = Kubernetes(objects, "search", net, tmp_path / "kubernetes", image, **options)
        started.append(kubernetes)
        return kubernetes

    with Network(16) as net:
        yield begin
        for kubernetes in started:
            with kubernetes:
                pass


def rendered(*values):
    """What the chart renders, with probes that do not keep a test waiting."""
    objects = chart.render(chart.merged(chart.KEY, *values))
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        chart.container(objects)[probe]["periodSeconds"] = 0.1
    return objects


def get(pod, path):
    connection = http.client.HTTPConnection(pod.address, 6333, timeout=5)
    connection.request("GET", path, headers={"api-key": chart.KEY["auth"]["apiKey"]})
    answer = connection.getresponse()
    assert answer.status == 200, (pod, path, answer.status)
    return json.loads(answer.read())


def ids(kubernetes):
    """Each pod's node, once all agree who belongs to the cluster."""
    states = {pod.name: get(pod, "/cluster") for pod in kubernetes.pods.values()}
    assert len({json.dumps([state["cluster"], sorted(state["nodes"].items())]) for state in states.values()}) == 1
    found = {name: state["id"] for name, state in states.items()}
    known = next(iter(states.values()))["nodes"]
    uris = {name: f"http://{name}.vectors-quiver-headless.search.svc:6335" for name in found}
    assert {uris[name]: node for name, node in found.items()}.items() <= known.items()
    return found


def events(kubernetes, word):
    return [text for _, text in kubernetes.events if word in text]


def test_a_container_gets_what_the_chart_says(start):
    kubernetes = start(rendered({"replicaCount": 1, "zone": {"fromPodLabel": "app.kubernetes.io/instance"}}))
    kubernetes.settle(SETTLE_S)
    facts = get(kubernetes.pod(0), "/facts")
    assert facts["pid"] == 1 and facts["host_name"] == "vectors-quiver-0"
    assert (facts["user"], facts["group"], facts["groups"]) == (65532, 65532, [65532])
    assert facts["capabilities"] == 0 and facts["no_new_privileges"] == "1"
    # The data folder and /tmp; neither the root nor the settings.
    assert facts["writable"] == ["/tmp", "."]
    assert facts["environment"]["QUIVER__SERVICE__API_KEY"] == chart.KEY["auth"]["apiKey"]
    assert facts["environment"]["QUIVER__CLUSTER__ZONE"] == "vectors"
    assert "QUIVER__SERVICE__ALT_API_KEY" not in facts["environment"]
    assert "--uri=http://vectors-quiver-0.vectors-quiver-headless.search.svc:6335" in facts["arguments"]
    assert facts["settings"] == chart.settings(rendered())


@pytest.mark.parametrize("order", [[0, 0, 0], [0, 1, 2], [2, 1, 0]])
def test_pods_found_one_cluster_in_whatever_order_they_come(start, order):
    kubernetes = start(rendered(), schedule=lambda ordinal: order[ordinal] * 0.3)
    kubernetes.settle(SETTLE_S)
    assert len(set(ids(kubernetes).values())) == 3
    # All were made at once, and none was needed twice.
    assert [text for _, text in kubernetes.events][1:4] == [f"create vectors-quiver-{n}" for n in range(3)]
    assert all(pod.restarts == 0 for pod in kubernetes.pods.values())


@pytest.mark.parametrize("path, value", [
    ("StatefulSet", ("podManagementPolicy", "OrderedReady")),
    ("Service", ("publishNotReadyAddresses", False)),
])
def test_without_it_no_cluster_is_founded(start, path, value):
    objects = rendered()
    chart.one(objects, path, "-headless" if path == "Service" else "")["spec"][value[0]] = value[1]
    with pytest.raises(Stuck):
        start(objects).settle(STUCK_S)


def test_an_update_goes_from_the_highest_pod_to_the_first(start):
    kubernetes = start(rendered())
    kubernetes.settle(SETTLE_S)
    before, addresses = ids(kubernetes), {name: pod.address for name, pod in kubernetes.pods.items()}
    kubernetes.apply(rendered({"config": {"log_level": "debug"}}))
    kubernetes.settle(SETTLE_S)
    assert events(kubernetes, "update: ") == [f"update: vectors-quiver-{n}" for n in (2, 1, 0)]
    # Never two at a time: each is ready before the next one goes.
    steps = [text for _, text in kubernetes.events if text.startswith("update: ") or text.endswith("is ready")]
    assert steps[3:] == [
        f"{word}vectors-quiver-{n}{end}" for n in (2, 1, 0) for word, end in (("update: ", ""), ("", " is ready"))
    ]
    # The same nodes on the same volumes, at other addresses; each handed over and ended well.
    assert ids(kubernetes) == before
    assert not {pod.address for pod in kubernetes.pods.values()} & set(addresses.values())
    assert [(ending.hook, ending.code) for pod in kubernetes.left for ending in pod.endings] == [(0, 0)] * 3
    assert all(get(pod, "/facts")["settings"]["log_level"] == "debug" for pod in kubernetes.pods.values())


def test_an_update_that_fails_takes_one_pod(start):
    kubernetes = start(rendered())
    kubernetes.settle(SETTLE_S)
    before = ids(kubernetes)
    broken = rendered()
    chart.container(broken)["args"].append("--no-such-flag")
    kubernetes.apply(broken)
    with pytest.raises(Stuck, match="no-such-flag"):
        kubernetes.settle(STUCK_S)
    assert events(kubernetes, "update: ") == ["update: vectors-quiver-2"]
    assert sorted(kubernetes.endpoints()) == sorted(kubernetes.pod(n).address for n in (0, 1))
    # A pod that is lost meanwhile comes back as it was.
    kubernetes.delete(0, grace=0)
    kubernetes.wait("the first pod", lambda: len(kubernetes.endpoints()) == 2, SETTLE_S)
    kubernetes.apply(rendered())
    kubernetes.settle(SETTLE_S)
    assert ids(kubernetes) == before


def test_scaling_restarts_nobody(start):
    kubernetes = start(rendered())
    kubernetes.settle(SETTLE_S)
    three = list(kubernetes.pods.values())
    first = ids(kubernetes)
    kubernetes.apply(rendered({"replicaCount": 5}))
    kubernetes.settle(SETTLE_S)
    five = ids(kubernetes)
    assert first.items() <= five.items() and len(set(five.values())) == 5
    kubernetes.apply(rendered())
    kubernetes.settle(SETTLE_S)
    assert events(kubernetes, "scale down: ") == ["scale down: vectors-quiver-4", "scale down: vectors-quiver-3"]
    assert all(ending.code == 0 for pod in kubernetes.left for ending in pod.endings)
    # Volumes were kept: the same nodes come back.
    kubernetes.apply(rendered({"replicaCount": 5}))
    kubernetes.settle(SETTLE_S)
    assert ids(kubernetes) == five
    assert list(kubernetes.pods.values())[:3] == three and not any(pod.endings for pod in three)


def test_volumes_go_with_their_pods_where_that_is_asked_for(start):
    policy = {"persistence": {"whenScaled": "Delete"}}
    kubernetes = start(rendered(policy, {"replicaCount": 4, "snapshotPersistence": {"enabled": True}}))
    kubernetes.settle(SETTLE_S)
    before = ids(kubernetes)
    assert len(kubernetes.claims()) == 8
    for count in (3, 4):
        kubernetes.apply(rendered(policy, {"replicaCount": count, "snapshotPersistence": {"enabled": True}}))
        kubernetes.settle(SETTLE_S)
        kubernetes.run(0.1)
        assert len(kubernetes.claims()) == 2 * count
    after = ids(kubernetes)
    assert [name for name in after if after[name] != before[name]] == ["vectors-quiver-3"]


@pytest.mark.parametrize("grace, with_claims", [(None, False), (0, False), (None, True), (0, True)])
def test_a_pod_without_its_volume_is_another_node(start, grace, with_claims):
    kubernetes = start(rendered())
    kubernetes.settle(SETTLE_S)
    before = ids(kubernetes)
    gone = kubernetes.delete(0, grace, with_claims)
    kubernetes.settle(SETTLE_S)
    after = ids(kubernetes)
    changed = [name for name in after if after[name] != before[name]]
    # The first pod, too, joins the others then, and founds no second cluster.
    assert changed == (["vectors-quiver-0"] if with_claims else [])
    assert [ending.code for ending in gone.endings] == [137 if grace == 0 else 0]


def test_a_process_that_dies_is_started_again_in_its_pod(start):
    kubernetes = start(rendered())
    kubernetes.settle(SETTLE_S)
    before, pod = ids(kubernetes), kubernetes.pod(1)
    pod.kill()
    kubernetes.wait("the pod sees it", lambda: pod.restarts == 1, SETTLE_S)
    assert pod.address not in kubernetes.endpoints()
    kubernetes.settle(SETTLE_S)
    assert kubernetes.pod(1) is pod and ids(kubernetes) == before


def test_a_pod_that_hangs_is_killed_by_its_probe(start):
    objects = rendered({"replicaCount": 1, "probes": {"liveness": {"failureThreshold": 2}}})
    chart.container(objects)["livenessProbe"]["httpGet"]["path"] = "/no-such-path"
    kubernetes = start(objects)
    with pytest.raises(Stuck):
        kubernetes.wait("a pod that stays", lambda: False, STUCK_S)
    assert kubernetes.pod(0).restarts >= 1 and "killed: liveness probe" in kubernetes.pod(0).log_text()


def stops(start, change, grace=None):
    objects = rendered({"replicaCount": 1})
    change(chart.container(objects))
    kubernetes = start(objects)
    kubernetes.settle(SETTLE_S)
    (ending,) = kubernetes.delete(0, grace).endings
    return ending


def test_a_stop_is_a_hook_and_a_signal_within_the_grace_period(start):
    ending = stops(start, lambda container: None)
    assert (ending.hook, ending.code, ending.was_killed) == (0, 0, False)


def test_a_stop_without_the_hook_is_seen(start):
    ending = stops(start, lambda container: container.pop("lifecycle"))
    assert (ending.hook, ending.code) == (None, 9)


def test_a_hook_that_fails_is_seen(start):
    def lose(container):
        command = container["lifecycle"]["preStop"]["exec"]["command"]
        command[command.index("--url") + 1] = "http://127.0.0.1:6399"

    ending = stops(start, lose)
    assert (ending.hook, ending.code) == (1, 9)


def test_a_hook_that_takes_too_long_takes_the_time_of_the_stop(start):
    def sleep(container):
        container["lifecycle"]["preStop"]["exec"]["command"] = ["/usr/bin/sleep", "60"]

    ending = stops(start, sleep, grace=1)
    assert ending.hook is None and ending.code == 9 and 1 <= ending.seconds < 4


def test_objects_stay_as_they_were_rendered():
    # Nothing above may change what another test renders.
    before = rendered()
    chart.container(copy.deepcopy(before))["args"].clear()
    assert rendered() == before
