"""The chart as Helm renders it: values in, Kubernetes objects out."""

import functools
import json
import os
import pathlib
import subprocess
import tempfile

import yaml

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
CHART = REPOSITORY / "helm" / "quiver"
#: The values that nobody can leave out.
KEY = {"auth": {"apiKey": "a key of the tests"}}
#: libyaml where PyYAML was built with it: ten times as fast.
Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Refused(Exception):
    """Helm did not render; holds what it said."""


class UniqueKeys(Loader):
    """YAML lets a later key of the same name win silently; the API server does not."""


def _mapping(loader, node):
    keys = [key.value for key, _ in node.value]
    twice = sorted({key for key in keys if keys.count(key) > 1})
    if twice:
        raise yaml.constructor.ConstructorError(None, None, f"twice: {twice}", node.start_mark)
    return loader.construct_mapping(node, deep=True)


UniqueKeys.add_constructor(yaml.resolver.BaseResolver.DEFAULT_MAPPING_TAG, _mapping)


@functools.cache
def helm_path():
    """Helm 4: $QUIVER_HELM, else the one that `scripts/helm` fetches."""
    given = os.environ.get("QUIVER_HELM")
    return given or subprocess.check_output([REPOSITORY / "scripts" / "helm"], text=True).strip()


def helm(*arguments, values=None, check=True):
    """Runs Helm with neither the caller's settings nor a cluster. What it says on stderr is part of the error only."""
    with tempfile.TemporaryDirectory(prefix="quiver-helm-") as home:
        if values is not None:
            path = pathlib.Path(home, "values.json")
            path.write_text(json.dumps(values))
            arguments += ("--values", path)
        # Nothing of the environment but the search path: a kubeconfig or plugins would have a say.
        environment = {"PATH": os.environ["PATH"], "HOME": home}
        done = subprocess.run(
            [helm_path(), *arguments], env=environment, capture_output=True, text=True, timeout=60, check=False
        )
    if check and done.returncode != 0:
        raise Refused(f"{done.stderr}\n{done.stdout}")
    return done.stdout


@functools.cache
def _rendered(values, release, namespace, chart):
    return helm("template", release, chart, "--namespace", namespace, values=json.loads(values))


def render_count():
    """How many different renders there were."""
    return _rendered.cache_info().currsize


def render(values, release="vectors", namespace="search", chart=CHART):
    """The rendered objects by kind and name, notes excluded; the caller may change them."""
    text = _rendered(json.dumps(values, sort_keys=True), release, namespace, chart)
    documents = yaml.load_all(text, Loader=UniqueKeys)
    objects = [document for document in documents if document]
    named = {(one["kind"], one["metadata"]["name"]): one for one in objects}
    assert len(named) == len(objects), "two objects of one name"
    return named


def merged(*layers):
    """Values laid over each other, as Helm does it with several files."""
    result = {}
    for layer in layers:
        for key, value in layer.items():
            both = isinstance(value, dict) and isinstance(result.get(key), dict)
            result[key] = merged(result[key], value) if both else value
    return result


def one(objects, kind, suffix=""):
    """The only object of this kind (whose name ends so)."""
    (found,) = [value for (k, name), value in objects.items() if k == kind and name.endswith(suffix)]
    return found


def container(objects):
    """The StatefulSet's only container."""
    (only,) = one(objects, "StatefulSet")["spec"]["template"]["spec"]["containers"]
    return only


def settings(objects):
    """Quiver's settings file, read."""
    return yaml.load(one(objects, "ConfigMap")["data"]["config.yaml"], Loader=UniqueKeys)
