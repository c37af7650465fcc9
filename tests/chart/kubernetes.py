"""What the API server would say about rendered objects: `flaws` lists it, empty when it would take them all.

Two parts: the schemas of Kubernetes' own types, unknown fields refused; and the rules between fields and objects that
those schemas do not hold (names, references, selectors), as far as the chart's objects touch them.
"""

import functools
import importlib.resources
import json
import re

import jsonschema
import referencing

#: The oldest that Chart.yaml admits, and the newest that is known here.
VERSIONS = ("1.27", "1.37")
LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
SUBDOMAIN = re.compile(rf"{LABEL.pattern}(\.{LABEL.pattern})*")
LABEL_VALUE = re.compile(r"([A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?)?")
LABEL_NAME = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
NAME_MAX = 63
#: A dash and the hash that the controller appends for the label controller-revision-hash.
REVISION_CHARACTERS = 11


@functools.cache
def _validator(version, kind, api_version):
    folder = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    # apps/v1 is apps-v1, networking.k8s.io/v1 is networking-v1.
    group = re.sub(r"^([^./]*)(\.[^/]*)?/", r"\1-", api_version)
    schema = json.loads((folder / f"{kind.lower()}-{group}.json").read_text())
    definitions = _definitions(version)
    return jsonschema.Draft202012Validator(schema, registry=definitions)


@functools.cache
def _definitions(version):
    folder = importlib.resources.files("kubernetes_validate") / "kubernetes-json-schema" / f"v{version}.0-local-strict"
    text = (folder / "_definitions.json").read_text()
    resource = referencing.Resource.from_contents(
        json.loads(text), default_specification=referencing.jsonschema.DRAFT202012
    )
    return referencing.Registry().with_resource("_definitions.json", resource).crawl()


def flaws(objects, versions=VERSIONS):
    """What is wrong with the objects, one line each."""
    found = []
    for (kind, name), one in objects.items():
        for version in versions:
            try:
                validator = _validator(version, kind, one["apiVersion"])
            except FileNotFoundError:
                found.append(f"{kind} {name}: {version} knows no {one['apiVersion']} {kind}")
                continue
            for error in validator.iter_errors(one):
                found.append(f"{kind} {name}: {version}: {error.json_path}: {error.message[:200]}")
        found += [f"{kind} {name}: {flaw}" for flaw in _metadata_flaws(kind, one["metadata"])]
    # The rules below read what the schemas have checked.
    return found or _reference_flaws(objects)


def _metadata_flaws(kind, metadata):
    pattern = re.compile("[a-z]([-a-z0-9]*[a-z0-9])?") if kind == "Service" else SUBDOMAIN
    length = {"Service": NAME_MAX, "StatefulSet": NAME_MAX - REVISION_CHARACTERS}.get(kind, 253)
    if not pattern.fullmatch(metadata["name"]) or len(metadata["name"]) > length:
        yield f"no name for a {kind}: {metadata['name']}"
    yield from _label_flaws(metadata.get("labels") or {})
    for name in metadata.get("annotations") or {}:
        yield from _key_flaws(name)


def _key_flaws(key):
    prefix, _, name = key.rpartition("/")
    if not LABEL_NAME.fullmatch(name) or len(name) > NAME_MAX or (prefix and not SUBDOMAIN.fullmatch(prefix)):
        yield f"no key for a label or annotation: {key}"


def _label_flaws(labels):
    for key, value in labels.items():
        yield from _key_flaws(key)
        if not LABEL_VALUE.fullmatch(value) or len(value) > NAME_MAX:
            yield f"no value for a label: {value}"


def _reference_flaws(objects):
    found = []

    def must(condition, text):
        if not condition:
            found.append(text)

    def kind(wanted):
        return [one for (k, _), one in objects.items() if k == wanted]

    names = {(k, name) for k, name in objects}
    for one in kind("StatefulSet"):
        spec, template = one["spec"], one["spec"]["template"]
        labels, pod = template["metadata"]["labels"], template["spec"]
        found += _label_flaws(labels)
        for key in template["metadata"].get("annotations") or {}:
            found += _key_flaws(key)
        must(spec["selector"]["matchLabels"].items() <= labels.items(), "the selector does not match the template")
        headless = objects.get(("Service", spec["serviceName"]))
        must(headless and headless["spec"].get("clusterIP") == "None", "serviceName is no headless Service")
        for group in ("apiVersion", "kind"):
            must(all(group in claim for claim in spec["volumeClaimTemplates"]), f"a claim without {group}")
        volumes = [volume["name"] for volume in pod.get("volumes", []) + [
            claim["metadata"] for claim in spec["volumeClaimTemplates"]]]
        must(len(volumes) == len(set(volumes)), f"volumes of one name: {volumes}")
        for volume in pod.get("volumes", []):
            config = volume.get("configMap")
            must(not config or ("ConfigMap", config["name"]) in names, f"no ConfigMap for volume {volume['name']}")
        if (account := pod["serviceAccountName"]) != "default" and kind("ServiceAccount"):
            must(("ServiceAccount", account) in names, f"no ServiceAccount {account}")
        for container in pod["containers"]:
            found += _container_flaws(container, volumes)
            for service in kind("Service"):
                must(service["spec"]["selector"].items() <= labels.items(), "a Service selects no pod")
                ports = {port["name"] for port in container["ports"]}
                for port in service["spec"]["ports"]:
                    must(port["targetPort"] in ports, f"Service port {port['name']}: no port {port['targetPort']}")
        for rule in kind("PodDisruptionBudget"):
            must(rule["spec"]["selector"]["matchLabels"].items() <= labels.items(), "the budget selects no pod")
        for rule in kind("NetworkPolicy"):
            must(rule["spec"]["podSelector"]["matchLabels"].items() <= labels.items(), "the policy selects no pod")
    for service in kind("Service"):
        ports = service["spec"]["ports"]
        for key in ("name", "port"):
            values = [port[key] for port in ports]
            must(len(values) == len(set(values)), f"Service {service['metadata']['name']}: ports of one {key}: {values}")
    return found


def _container_flaws(container, volumes):
    ports = [port["name"] for port in container["ports"]]
    if len(ports) != len(set(ports)):
        yield f"ports of one name: {ports}"
    environment = [variable["name"] for variable in container["env"]]
    if len(environment) != len(set(environment)):
        yield f"variables of one name: {environment}"
    known = []
    for variable in container["env"]:
        if ("value" in variable) == ("valueFrom" in variable):
            yield f"{variable['name']}: a value, or where it comes from"
        known.append(variable["name"])
    for argument in container["args"]:
        for name in re.findall(r"\$\(([^)]*)\)", argument):
            if name not in known:
                yield f"{argument}: no variable {name}"
    mounted = [mount["mountPath"] for mount in container["volumeMounts"]]
    if len(mounted) != len(set(mounted)):
        yield f"two volumes at one place: {mounted}"
    for mount in container["volumeMounts"]:
        if mount["name"] not in volumes:
            yield f"no volume {mount['name']}"
    unused = set(volumes) - {mount["name"] for mount in container["volumeMounts"]}
    if unused:
        yield f"volumes that nothing mounts: {sorted(unused)}"
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        port = container[probe]["httpGet"]["port"]
        if port not in ports:
            yield f"{probe}: no port {port}"
    resources = container.get("resources") or {}
    for name, limit in (resources.get("limits") or {}).items():
        request = (resources.get("requests") or {}).get(name, limit)
        if quantity(request) > quantity(limit):
            yield f"{name}: {request} requested, {limit} the limit"


def quantity(text):
    """`500m` is 0.5, `2Gi` 2 * 1024 ** 3."""
    number, suffix = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", str(text)).groups()
    if suffix == "m":
        return float(number) / 1000
    exponent = "kMGTPE".index(suffix[0]) + 1 if suffix else 0
    return float(number) * (1024 if suffix.endswith("i") else 1000) ** exponent
