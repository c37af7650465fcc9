"""What the chart renders: every object is one that Kubernetes takes, and says what it should."""

import base64
import copy
import itertools
import json
import re

import pytest
import yaml

import chart
import kubernetes
from chart import container, one, settings

EXISTING = {"auth": {"existingSecret": "keys-of-search", "apiKey": ""}}
NO_KEY = {"auth": {"enabled": False, "apiKey": ""}}
KEYS = {"created": {}, "existing": EXISTING, "none": NO_KEY}

#: For each value of values.yaml another one that must show in what is rendered, if need be beside others.
OTHERS = {
    "replicaCount": (5, {}),
    "image.repository": ("images.example.com/quiver", {}),
    "image.tag": ("0.1.0@sha256:" + "0" * 64, {}),
    "image.pullPolicy": ("Always", {}),
    "imagePullSecrets": ([{"name": "pull"}], {}),
    "nameOverride": ("vectors", {}),
    "fullnameOverride": ("other", {}),
    "auth.enabled": (False, {"auth": {"apiKey": ""}}),
    "auth.existingSecret": ("keys-of-search", {"auth": {"apiKey": ""}}),
    "auth.apiKey": ("another key", {}),
    "auth.altApiKey": ("second", {}),
    "auth.readOnlyApiKey": ("look only", {}),
    "config.logger.format": ("text", {}),
    "listenAddress": ("::", {}),
    "zone.value": ("1", {}),
    "zone.fromPodLabel": ("topology.kubernetes.io/zone", {}),
    "persistence.size": ("1Ti", {}),
    "persistence.storageClass": ("", {}),
    "persistence.accessMode": ("ReadWriteOncePod", {}),
    "persistence.annotations": ({"example.com/backup": "daily"}, {}),
    "persistence.whenDeleted": ("Delete", {}),
    "persistence.whenScaled": ("Delete", {}),
    "snapshotPersistence.enabled": (True, {}),
    "snapshotPersistence.size": ("500G", {"snapshotPersistence": {"enabled": True}}),
    "snapshotPersistence.storageClass": ("slow", {"snapshotPersistence": {"enabled": True}}),
    "snapshotPersistence.accessMode": ("ReadWriteMany", {"snapshotPersistence": {"enabled": True}}),
    "snapshotPersistence.annotations": ({"example.com/a": "b"}, {"snapshotPersistence": {"enabled": True}}),
    "service.type": ("LoadBalancer", {}),
    "service.httpPort": (80, {}),
    "service.grpcPort": (81, {}),
    "service.annotations": ({"example.com/internal": "true"}, {}),
    "podDisruptionBudget.enabled": (False, {}),
    "networkPolicy.enabled": (True, {}),
    "networkPolicy.clients": ([{"namespaceSelector": {}}], {"networkPolicy": {"enabled": True}}),
    "serviceAccount.create": (False, {}),
    "serviceAccount.name": ("account", {}),
    "serviceAccount.annotations": ({"example.com/role": "snapshots"}, {}),
    "resources.requests.cpu": (0.5, {}),
    "resources.requests.memory": ("1Gi", {}),
    "resources.limits.memory": ("64Gi", {}),
    "podSecurityContext.runAsNonRoot": (None, {}),
    "podSecurityContext.runAsUser": (1000, {}),
    "podSecurityContext.runAsGroup": (1000, {}),
    "podSecurityContext.fsGroup": (None, {}),
    "podSecurityContext.fsGroupChangePolicy": ("Always", {}),
    "podSecurityContext.seccompProfile.type": ("Unconfined", {}),
    "securityContext.allowPrivilegeEscalation": (None, {}),
    "securityContext.readOnlyRootFilesystem": (False, {}),
    "securityContext.capabilities.drop": (["NET_RAW"], {}),
    **{
        f"probes.{probe}.{field}": (17, {})
        for probe in ("startup", "liveness", "readiness")
        for field in ("periodSeconds", "timeoutSeconds", "failureThreshold")
    },
    "terminationGracePeriodSeconds": (600, {}),
    "extraEnv": ([{"name": "RUST_BACKTRACE", "value": "1"}], {}),
    "podAnnotations": ({"example.com/scrape": "true"}, {}),
    "podLabels": ({"example.com/team": "search"}, {}),
    "priorityClassName": ("high", {}),
    "nodeSelector": ({"example.com/disk": "nvme"}, {}),
    "tolerations": ([{"key": "vectors", "operator": "Exists", "effect": "NoSchedule"}], {}),
    "affinity": ({}, {}),
    "topologySpreadConstraints": ([], {}),
}


def leaves(values, prefix=""):
    """Dotted names of what is not a map, or an empty one."""
    for key, value in values.items():
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{prefix}{key}.")
        else:
            yield prefix + key


def nested(name, value):
    """`nested("a.b", 1)` is {"a": {"b": 1}}."""
    for key in reversed(name.split(".")):
        value = {key: value}
    return value


def pod(objects):
    return one(objects, "StatefulSet")["spec"]["template"]


def text(objects):
    return json.dumps(list(objects.values()), ensure_ascii=False)


def test_helm_finds_no_fault():
    said = chart.helm("lint", "--strict", chart.CHART, values=chart.KEY)
    assert "1 chart(s) linted, 0 chart(s) failed" in said


@pytest.mark.parametrize("replicas", [1, 3, 5])
@pytest.mark.parametrize("key", KEYS)
def test_the_matrix(checked, replicas, key):
    switches = ["networkPolicy", "snapshotPersistence", "serviceAccount"]
    for states in itertools.product([True, False], repeat=len(switches)):
        values = {name: {"create" if name == "serviceAccount" else "enabled": state}
                  for name, state in zip(switches, states, strict=True)}
        objects = checked(KEYS[key], values, {"replicaCount": replicas})
        kinds = [kind for kind, _ in objects]
        assert kinds.count("StatefulSet") == 1 and kinds.count("Service") == 2
        assert kinds.count("Secret") == (key == "created")
        for name, state in zip(switches, states, strict=True):
            kind = name[0].upper() + name[1:]
            if name == "snapshotPersistence":
                assert len(one(objects, "StatefulSet")["spec"]["volumeClaimTemplates"]) == 1 + state
            else:
                assert kinds.count(kind) == state


def test_every_value_has_another_here():
    values = yaml.load((chart.CHART / "values.yaml").read_text(), Loader=chart.UniqueKeys)
    assert sorted(leaves(values)) == sorted(OTHERS)


@pytest.mark.parametrize("name", OTHERS)
def test_every_value_has_an_effect(checked, name):
    value, beside = OTHERS[name]
    objects = checked(beside, nested(name, value))
    without = {"auth": {"enabled": True, "apiKey": "kept"}} if beside.get("auth") else {}
    assert objects != checked(beside, without)


def test_the_pods_of_three_are_those_of_five(checked):
    three, five, seven = (checked({"replicaCount": count}) for count in (3, 5, 7))
    assert pod(three) == pod(five) == pod(seven)
    # Nothing else changes, either.
    for objects in (three, five, seven):
        del one(objects, "StatefulSet")["spec"]["replicas"]
    assert three == five == seven


def test_one_node_grows_by_a_longer_list_only(checked):
    one_pod, three = checked({"replicaCount": 1}), checked({"replicaCount": 3})
    differing = [(a, b) for a, b in zip(container(one_pod)["args"], container(three)["args"], strict=True) if a != b]
    assert [a.split("=")[0] for a, _ in differing] == ["--bootstrap"]
    for objects in (one_pod, three):
        del container(objects)["args"]
    assert pod(one_pod) == pod(three)


@pytest.mark.parametrize("replicas, founders", [(1, 1), (2, 2), (3, 3), (4, 3), (9, 3)])
def test_the_first_pods_found_the_cluster(checked, replicas, founders):
    objects = checked({"replicaCount": replicas})
    arguments = container(objects)["args"]
    uris = [f"http://vectors-quiver-{n}.vectors-quiver-headless.search.svc:6335" for n in range(founders)]
    assert f"--bootstrap={','.join(uris)}" in arguments
    # The first finds itself in the list.
    own = "--uri=http://$(POD_NAME).vectors-quiver-headless.search.svc:6335"
    assert own in arguments and own.replace("--uri=", "").replace("$(POD_NAME)", "vectors-quiver-0") == uris[0]
    assert "--cluster" in arguments and "--peer-port=6335" in arguments


def test_nodes_are_found_before_they_are_ready(checked):
    spec = one(checked(), "Service", "-headless")["spec"]
    assert spec["publishNotReadyAddresses"] is True and spec["clusterIP"] == "None"
    assert one(checked(), "StatefulSet")["spec"]["podManagementPolicy"] == "Parallel"


@pytest.mark.parametrize("key", ["pa55-\"'$`{{ word }}: # ü", "trailing newline\n", "0123", "y"])
def test_keys_are_in_the_secret_alone(checked, key):
    values = {"auth": {"apiKey": key, "altApiKey": f"{key}-alt", "readOnlyApiKey": f"{key}-ro"}}
    objects = checked(values)
    secret = one(objects, "Secret")
    kept = {name: base64.b64decode(value).decode() for name, value in secret["data"].items()}
    assert kept == {"api-key": key, "alt-api-key": f"{key}-alt", "read-only-api-key": f"{key}-ro"}
    del objects["Secret", secret["metadata"]["name"]]
    if len(key) > 4:
        encoded = base64.b64encode(key.encode()).decode().rstrip("=")[:-2]
        rest = text(objects)
        assert json.dumps(key, ensure_ascii=False)[1:-1] not in rest and encoded not in rest
    assert secret["metadata"]["name"] == "vectors-quiver"
    check_variables(objects, "vectors-quiver")


def check_variables(objects, secret):
    wanted = {"API_KEY": ("api-key", False), "ALT_API_KEY": ("alt-api-key", True),
              "READ_ONLY_API_KEY": ("read-only-api-key", True)}
    found = {}
    for variable in container(objects)["env"]:
        if variable["name"].endswith("API_KEY"):
            assert "value" not in variable
            reference = variable["valueFrom"]["secretKeyRef"]
            assert reference["name"] == secret
            name = variable["name"].removeprefix("QUIVER__SERVICE__")
            found[name] = (reference["key"], reference.get("optional", False))
    assert found == wanted


def test_an_existing_secret_is_named_only(checked):
    objects = checked(EXISTING)
    assert not [name for kind, name in objects if kind == "Secret"]
    check_variables(objects, "keys-of-search")


def test_no_key_is_asked_for_without_keys(checked):
    assert "API_KEY" not in text(checked(NO_KEY))


def test_a_new_key_restarts_the_pods(checked):
    def annotation(key):
        return pod(checked({"auth": {"apiKey": key}}))["metadata"]["annotations"]["checksum/keys"]

    assert annotation("first") != annotation("second")
    # Too short to find the key by trying all words.
    assert len(annotation("first")) == 8


def test_new_settings_restart_the_pods(checked):
    before, after = checked(), checked({"config": {"log_level": "debug"}})
    assert pod(before) != pod(after)
    assert settings(after)["log_level"] == "debug"


def test_settings_arrive_as_they_are(checked):
    config = {
        "log_level": "info,quiver::raft=debug",
        "logger": {"format": "text"},
        "service": {"max_request_size_mb": 4096, "drain_timeout_s": 0, "enable_cors": True},
        "storage": {
            "snapshots_config": {
                "snapshots_storage": "s3",
                "s3_config": {"bucket": "b", "region": "eu-central-1"},
                "url_recovery": {"allowed_hosts": ["*.example.com", "10.1.0.0/16"], "max_size_mb": 1 << 30},
            },
            "performance": {"max_unindexed_vectors": 4294967295, "max_search_queue": 1000000},
        },
    }
    found = settings(checked({"config": config}))
    assert found["service"].pop("host") == "0.0.0.0"
    assert (found["service"].pop("http_port"), found["service"].pop("grpc_port")) == (6333, 6334)
    assert found["storage"].pop("storage_path") == "/var/lib/quiver/storage"
    assert found["storage"].pop("snapshots_path") == "/var/lib/quiver/snapshots"
    assert found == config


def test_the_file_is_where_it_is_looked_for(checked):
    objects = checked()
    assert "--config=/etc/quiver/config.yaml" in container(objects)["args"]
    (mount,) = [mount for mount in container(objects)["volumeMounts"] if mount["name"] == "config"]
    assert mount == {"name": "config", "mountPath": "/etc/quiver", "readOnly": True}
    assert list(one(objects, "ConfigMap")["data"]) == ["config.yaml"]


@pytest.mark.parametrize("own_volume", [True, False])
def test_paths_lie_on_volumes(checked, own_volume):
    objects = checked({"snapshotPersistence": {"enabled": own_volume}})
    claims = {claim["metadata"]["name"] for claim in one(objects, "StatefulSet")["spec"]["volumeClaimTemplates"]}
    mounts = {mount["mountPath"]: mount["name"] for mount in container(objects)["volumeMounts"]}
    storage = settings(objects)["storage"]

    def volume(path):
        # Below the root of the volume, where a new file system has a folder of its own.
        (found,) = [name for folder, name in mounts.items() if path.startswith(folder + "/")]
        return found

    assert volume(storage["storage_path"]) == "storage"
    assert volume(storage["snapshots_path"]) == ("snapshots" if own_volume else "storage")
    assert claims == {"storage", "snapshots"} if own_volume else {"storage"}


def test_ports_are_those_of_the_settings(checked):
    objects = checked({"service": {"httpPort": 80, "grpcPort": 443}})
    service = settings(objects)["service"]
    ports = {port["name"]: port["containerPort"] for port in container(objects)["ports"]}
    assert ports == {"http": service["http_port"], "grpc": service["grpc_port"], "peer": 6335}
    assert f"--peer-port={ports['peer']}" in container(objects)["args"]
    assert f":{ports['peer']}" in container(objects)["args"][4]
    for suffix, wanted in (("quiver", {"http": 80, "grpc": 443}), ("-headless", ports)):
        found = {port["name"]: port for port in one(objects, "Service", suffix)["spec"]["ports"]}
        assert {name: port["port"] for name, port in found.items()} == wanted
        assert all(port["targetPort"] == name for name, port in found.items())


def test_probes(checked):
    spec = container(checked())
    for probe, path in (("startup", "/livez"), ("liveness", "/livez"), ("readiness", "/readyz")):
        assert spec[f"{probe}Probe"]["httpGet"] == {"path": path, "port": "http"}
    startup = spec["startupProbe"]
    assert startup["periodSeconds"] * startup["failureThreshold"] >= 120


@pytest.mark.parametrize(
    "drain, given, wanted", [(None, None, 90), (0, None, 60), (300, None, 360), (30, 90, 90), (30, 400, 400)]
)
def test_a_pod_may_stop_in_peace(checked, drain, given, wanted):
    values = {"terminationGracePeriodSeconds": given}
    if drain is not None:
        values["config"] = {"service": {"drain_timeout_s": drain}}
    objects = checked(values)
    assert pod(objects)["spec"]["terminationGracePeriodSeconds"] == wanted
    *command, seconds = container(objects)["lifecycle"]["preStop"]["exec"]["command"]
    assert command == [
        "/usr/local/bin/quiver", "cluster", "handover", "--url", "http://127.0.0.1:6333", "--timeout"
    ]
    # All of it fits, with time to write out.
    assert wanted >= int(seconds) + (30 if drain is None else drain) + 30


@pytest.mark.parametrize("replicas", [1, 3, 5])
def test_one_pod_at_a_time_is_drained(checked, replicas):
    budget = one(checked({"replicaCount": replicas}), "PodDisruptionBudget")["spec"]
    assert budget["maxUnavailable"] == 1 and "minAvailable" not in budget


def test_peers_are_reached_by_own_pods_only(checked):
    objects = checked({"networkPolicy": {"enabled": True}})
    peers, clients = one(objects, "NetworkPolicy")["spec"]["ingress"]
    labels = pod(objects)["metadata"]["labels"]
    assert peers["ports"] == [{"port": 6335}]
    assert [rule["podSelector"]["matchLabels"].items() <= labels.items() for rule in peers["from"]] == [True]
    assert [port["port"] for port in clients["ports"]] == [6333, 6334] and "from" not in clients
    some = [{"podSelector": {"matchLabels": {"app": "shop"}}}]
    objects = checked({"networkPolicy": {"enabled": True, "clients": some}})
    assert one(objects, "NetworkPolicy")["spec"]["ingress"][1]["from"] == some


def test_pods_may_do_little(checked):
    spec = pod(checked())["spec"]
    context, own = spec["securityContext"], spec["containers"][0]["securityContext"]
    assert context["runAsNonRoot"] is True and context["runAsUser"] > 0 and context["fsGroup"] > 0
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert own == {
        "allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}
    }
    assert spec["automountServiceAccountToken"] is False and spec["enableServiceLinks"] is False
    assert "/tmp" in [mount["mountPath"] for mount in spec["containers"][0]["volumeMounts"]]


def test_pods_avoid_each_other(checked):
    spec = pod(checked())["spec"]
    (term,) = spec["affinity"]["podAntiAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    (spread,) = spec["topologySpreadConstraints"]
    assert term["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    assert spread["topologyKey"] == "topology.kubernetes.io/zone" and spread["whenUnsatisfiable"] == "ScheduleAnyway"
    labels = pod(checked())["metadata"]["labels"]
    for selector in (term["podAffinityTerm"]["labelSelector"], spread["labelSelector"]):
        assert selector["matchLabels"] and selector["matchLabels"].items() <= labels.items()
    none = pod(checked({"affinity": {}, "topologySpreadConstraints": []}))["spec"]
    assert "affinity" not in none and "topologySpreadConstraints" not in none


def test_zones(checked):
    def zone(values):
        (found,) = [v for v in container(checked(values))["env"] if v["name"] == "QUIVER__CLUSTER__ZONE"]
        return found

    assert zone({"zone": {"value": "1"}})["value"] == "1"
    reference = zone({"zone": {"fromPodLabel": "topology.kubernetes.io/zone"}})["valueFrom"]["fieldRef"]
    assert reference == {"fieldPath": "metadata.labels['topology.kubernetes.io/zone']"}
    assert "ZONE" not in text(checked())


def test_an_upgrade_of_the_chart_leaves_what_cannot_change(tmp_path):
    # Selectors and claims cannot be changed, and pods should not restart for a label.
    newer = tmp_path / "quiver"
    for path in chart.CHART.rglob("*"):
        target = newer / path.relative_to(chart.CHART)
        if path.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(path.read_bytes())
    text = (newer / "Chart.yaml").read_text()
    (newer / "Chart.yaml").write_text(re.sub(r"(?m)^version: .*$", "version: 9.9.9+build.1", text))
    before, after = chart.render(chart.KEY), chart.render(chart.KEY, chart=newer)
    assert kubernetes.flaws(after) == []
    assert one(before, "StatefulSet")["spec"] == one(after, "StatefulSet")["spec"]
    assert one(before, "StatefulSet")["metadata"] != one(after, "StatefulSet")["metadata"]
    labels = one(before, "StatefulSet")["spec"]["selector"]["matchLabels"]
    assert set(labels) == {"app.kubernetes.io/name", "app.kubernetes.io/instance"}


@pytest.mark.parametrize(
    "release, values, name",
    [
        ("vectors", {}, "vectors-quiver"),
        ("quiver", {}, "quiver"),
        ("my-quiver-2", {}, "my-quiver-2"),
        ("eu.central", {}, "eu-central-quiver"),
        ("a" * 53, {}, "a" * 52),
        ("a" * 51, {}, "a" * 51),
        ("x", {"fullnameOverride": "b" * 52}, "b" * 52),
        ("x", {"nameOverride": "vectors"}, "x-vectors"),
    ],
)
def test_names(checked, release, values, name):
    objects = checked(values, release=release)
    assert one(objects, "StatefulSet")["metadata"]["name"] == name
    assert ("Service", f"{name}-headless") in objects


def test_two_releases_in_one_namespace_stay_apart(checked):
    first, second = checked(release="first"), checked(release="second")
    assert not set(first) & set(second)
    selector = one(first, "Service", "-headless")["spec"]["selector"]
    assert not selector.items() <= pod(second)["metadata"]["labels"].items()


@pytest.mark.parametrize("values", [{}, NO_KEY, EXISTING, {"replicaCount": 1}])
def test_notes(values):
    said = chart.helm("install", "vectors", chart.CHART, "--namespace", "search", "--dry-run=client",
                      values=chart.merged(chart.KEY, values))
    notes = said[said.index("NOTES:"):]
    assert "http://vectors-quiver.search.svc:6333" in notes and chart.KEY["auth"]["apiKey"] not in notes
    assert ("There is no key" in notes) == (values is NO_KEY)
    assert ("One node has no one" in notes) == ("replicaCount" in values)
    assert ("get secret keys-of-search" in notes) == (values is EXISTING)


# What follows asks whether the checks above can fail.


GONE = object()
BROKEN = [
    # The schemas of Kubernetes.
    ("StatefulSet", "spec.replicas", "three"),
    ("StatefulSet", "spec.replicaCount", 3),
    ("StatefulSet", "spec.selector", GONE),
    ("StatefulSet", "spec.template.spec.containers.0.name", GONE),
    ("StatefulSet", "spec.template.spec.containers.0.ports.0.containerPort", "http"),
    ("StatefulSet", "spec.template.spec.containers.0.readinessProbe.httpGet.url", "/readyz"),
    ("StatefulSet", "spec.template.spec.containers.0.env.0.value", 5),
    ("StatefulSet", "spec.template.spec.terminationGracePeriodSeconds", "90"),
    ("StatefulSet", "spec.template.spec.securityContext.runAsUser", "quiver"),
    ("StatefulSet", "spec.volumeClaimTemplates.0.spec.resources.requests", "20Gi"),
    ("StatefulSet", "apiVersion", "apps/v2"),
    ("Service", "spec.ports.0.port", GONE),
    ("Service", "spec.publishNotReady", True),
    ("ConfigMap", "data", {"config.yaml": {"service": {}}}),
    ("Secret", "data", ["api-key"]),
    ("PodDisruptionBudget", "spec.maxUnavailible", 1),
    ("NetworkPolicy", "spec.ingress.0.ports.0.portNumber", 6335),
    ("ServiceAccount", "automountServiceAccountToken", "no"),
    # The rules between objects.
    ("StatefulSet", "spec.serviceName", "vectors"),
    ("StatefulSet", "spec.template.metadata.labels", {"app": "quiver"}),
    ("StatefulSet", "spec.template.spec.serviceAccountName", "other"),
    ("StatefulSet", "spec.template.spec.volumes.0.configMap.name", "other"),
    ("StatefulSet", "spec.template.spec.containers.0.volumeMounts.1.name", "data"),
    ("StatefulSet", "spec.template.spec.containers.0.volumeMounts.1.mountPath", "/etc/quiver"),
    ("StatefulSet", "spec.template.spec.containers.0.env.0.name", "POD"),
    ("StatefulSet", "spec.template.spec.containers.0.env.1.name", "POD_NAME"),
    ("StatefulSet", "spec.template.spec.containers.0.livenessProbe.httpGet.port", "rest"),
    ("StatefulSet", "spec.template.spec.containers.0.ports.1.name", "http"),
    ("StatefulSet", "spec.template.spec.containers.0.resources.requests.memory", "3Gi"),
    ("StatefulSet", "metadata.name", "a" * 53),
    ("Service", "metadata.name", "1st"),
    ("Service", "spec.ports.1.port", 6333),
    ("Service", "spec.ports.1.targetPort", "rest"),
    ("Service", "spec.selector", {"app": "quiver"}),
    ("ConfigMap", "metadata.labels", {"a": "b c"}),
    ("ConfigMap", "metadata.annotations", {"a/b/c": "d"}),
    ("PodDisruptionBudget", "spec.selector.matchLabels", {"app": "quiver"}),
    ("NetworkPolicy", "spec.podSelector.matchLabels", {"app": "quiver"}),
]


@pytest.fixture(scope="module")
def sound():
    return chart.render(chart.merged(chart.KEY, {"networkPolicy": {"enabled": True}}))


@pytest.mark.parametrize("kind, path, value", BROKEN, ids=[f"{kind}.{path}" for kind, path, _ in BROKEN])
def test_broken_objects_are_found(sound, kind, path, value):
    objects = copy.deepcopy(sound)
    place = next(one for (k, _), one in objects.items() if k == kind)
    *way, last = path.split(".")
    for step in way:
        place = place[int(step) if isinstance(place, list) else step]
    if value is GONE:
        del place[last]
    else:
        place[last] = value
    assert kubernetes.flaws(objects)
    assert kubernetes.flaws(sound) == []
