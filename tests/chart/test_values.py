"""What the chart refuses, and that its schema knows Quiver's settings."""

import re

import jsonschema
import pytest
import yaml

import chart
from chart import Refused, merged

SCHEMA = yaml.load((chart.CHART / "values.schema.json").read_text(), Loader=chart.UniqueKeys)
#: The settings that are not `config`'s: the chart sets them, or they are secret.
SET_BY_THE_CHART = {
    "service.host",
    "service.http_port",
    "service.grpc_port",
    "service.api_key",
    "service.alt_api_key",
    "service.read_only_api_key",
    "storage.storage_path",
    "storage.snapshots_path",
    "storage.snapshots_config.s3_config.access_key",
    "storage.snapshots_config.s3_config.secret_key",
    "cluster.enabled",
    "cluster.p2p.port",
    "cluster.uri",
    "cluster.bootstrap",
    "cluster.zone",
}

REFUSED = [
    # What is unknown, at every level of the chart's own.
    ({"replicas": 3}, "replicas"),
    ({"image": {"name": "quiver"}}, "name"),
    ({"auth": {"key": "k"}}, "key"),
    ({"zone": {"label": "a"}}, "label"),
    ({"persistence": {"enabled": False}}, "enabled"),
    ({"snapshotPersistence": {"path": "/a"}}, "path"),
    ({"service": {"port": 6333}}, "port"),
    ({"podDisruptionBudget": {"minAvailable": 2}}, "minAvailable"),
    ({"networkPolicy": {"ingress": []}}, "ingress"),
    ({"networkPolicy": {"clients": [{"pods": {}}]}}, "pods"),
    ({"networkPolicy": {"clients": [{}]}}, "clients"),
    ({"serviceAccount": {"enabled": True}}, "enabled"),
    ({"resources": {"request": {}}}, "request"),
    ({"probes": {"live": {}}}, "live"),
    ({"probes": {"liveness": {"period": 5}}}, "period"),
    ({"imagePullSecrets": ["pull"]}, "imagePullSecrets"),
    ({"config": {"servcie": {}}}, "servcie"),
    ({"config": {"service": {"drain_timeout": 5}}}, "drain_timeout"),
    # What is of another type, or out of its range.
    ({"replicaCount": 0}, "replicaCount"),
    ({"replicaCount": "3"}, "replicaCount"),
    ({"replicaCount": 1.5}, "replicaCount"),
    # A value that is null is one that is not there.
    ({"replicaCount": None}, "replicaCount"),
    ({"persistence": None}, "persistence"),
    ({"image": {"repository": None}}, "repository"),
    ({"probes": {"readiness": None}}, "readiness"),
    ({"image": {"repository": ""}}, "repository"),
    ({"image": {"pullPolicy": "Sometimes"}}, "pullPolicy"),
    ({"image": {"tag": "a:b"}}, "tag"),
    ({"nameOverride": "Has Spaces"}, "nameOverride"),
    ({"fullnameOverride": "b" * 53}, "fullnameOverride"),
    ({"fullnameOverride": "1st"}, "fullnameOverride"),
    ({"auth": {"apiKey": 123}}, "apiKey"),
    ({"persistence": {"size": "20 GB"}}, "size"),
    ({"persistence": {"size": 0}}, "size"),
    ({"persistence": {"accessMode": "ReadOnlyMany"}}, "accessMode"),
    ({"persistence": {"whenScaled": "Recycle"}}, "whenScaled"),
    ({"service": {"httpPort": 0}}, "httpPort"),
    ({"service": {"type": "ExternalName"}}, "type"),
    ({"listenAddress": "localhost"}, "listenAddress"),
    ({"resources": {"limits": {"memory": "2 GiB"}}}, "memory"),
    ({"probes": {"readiness": {"periodSeconds": 0}}}, "periodSeconds"),
    ({"terminationGracePeriodSeconds": 0}, "terminationGracePeriodSeconds"),
    ({"podLabels": {"app.kubernetes.io/name": "other"}}, "app.kubernetes.io/name"),
    ({"podLabels": {"replicas": 3}}, "podLabels"),
    ({"podAnnotations": {"checksum/config": "a"}}, "checksum/config"),
    ({"config": {"logger": {"format": "xml"}}}, "format"),
    ({"config": {"service": {"drain_timeout_s": 100000}}}, "drain_timeout_s"),
    # What the chart sets, and what is secret.
    ({"config": {"service": {"host": "127.0.0.1"}}}, "host"),
    ({"config": {"service": {"http_port": 80}}}, "http_port"),
    ({"config": {"service": {"api_key": "k"}}}, "api_key"),
    ({"config": {"storage": {"storage_path": "/data"}}}, "storage_path"),
    ({"config": {"storage": {"snapshots_config": {"s3_config": {"secret_key": "k"}}}}}, "secret_key"),
    ({"config": {"cluster": {"enabled": False}}}, "cluster"),
    ({"extraEnv": [{"name": "QUIVER__SERVICE__API_KEY", "value": "k"}]}, "extraEnv"),
    ({"extraEnv": [{"name": "QUIVER__CLUSTER__URI", "value": "http://a:1"}]}, "extraEnv"),
    ({"extraEnv": [{"name": "QUIVER__SERVICE__HOST", "value": "::1"}]}, "extraEnv"),
    ({"extraEnv": [{"value": "k"}]}, "extraEnv"),
    # What does not go together.
    ({"auth": {"apiKey": ""}}, "set auth.apiKey or auth.existingSecret; or auth.enabled=false"),
    ({"auth": {"apiKey": "", "readOnlyApiKey": "k"}}, "set auth.apiKey or auth.existingSecret"),
    ({"auth": {"existingSecret": "s"}}, "auth.existingSecret holds all keys"),
    ({"auth": {"enabled": False}}, "auth.enabled is false"),
    ({"zone": {"value": "a", "fromPodLabel": "b"}}, "one of them"),
    ({"terminationGracePeriodSeconds": 89}, "must be 90 or more with a drain of 30 seconds"),
    (
        {"terminationGracePeriodSeconds": 90, "config": {"service": {"drain_timeout_s": 31}}},
        "must be 91 or more with a drain of 31 seconds",
    ),
]


@pytest.mark.parametrize("values, word", REFUSED, ids=[str(values)[:70] for values, _ in REFUSED])
def test_is_refused(values, word):
    with pytest.raises(Refused, match=re.escape(word)):
        chart.render(merged(chart.KEY, values))


def test_a_release_whose_name_begins_with_a_digit_is_refused():
    with pytest.raises(Refused, match="set fullnameOverride"):
        chart.render(chart.KEY, release="1st")


def test_the_schema_is_one():
    jsonschema.Draft7Validator.check_schema(SCHEMA)


def objects_of(schema, name="values"):
    """All parts of the schema that describe a map with names of its own."""
    if "properties" in schema:
        yield name, schema
    for key, inner in (schema.get("properties") or {}).items():
        yield from objects_of(inner, f"{name}.{key}")
    if "items" in schema:
        yield from objects_of(schema["items"], f"{name}[]")


def test_nothing_unknown_passes_at_any_level():
    open_ones = [name for name, schema in objects_of(SCHEMA) if schema.get("additionalProperties") is not False]
    assert not open_ones


def settings_of(schema, prefix=""):
    for key, inner in schema["properties"].items():
        if "properties" in inner:
            yield from settings_of(inner, f"{prefix}{key}.")
        else:
            yield prefix + key, inner


def sample_settings():
    """Every setting of config/config.yaml with its default, also those that stand there as comments."""
    lines = (chart.REPOSITORY / "config" / "config.yaml").read_text().splitlines()
    text = "\n".join(line.replace("#", "", 1) for line in lines if not line.lstrip().startswith("# "))

    def walk(values, prefix=""):
        for key, value in values.items():
            if isinstance(value, dict):
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield prefix + key, value

    return dict(walk(yaml.load(text, Loader=chart.UniqueKeys)))


def test_the_schema_knows_every_setting():
    known, sample = dict(settings_of(SCHEMA["properties"]["config"])), sample_settings()
    assert SET_BY_THE_CHART <= set(sample)
    # A setting that came to config/config.yaml belongs into values.schema.json, or above.
    assert set(known) == set(sample) - SET_BY_THE_CHART
    for name, schema in known.items():
        jsonschema.validate(sample[name], schema)


def test_defaults_of_the_chart_agree_with_the_settings():
    # The chart adds the drain's default to what a pod needs to stop.
    helpers = (chart.CHART / "templates" / "_helpers.tpl").read_text()
    assert f'"drain_timeout_s" {sample_settings()["service.drain_timeout_s"]} ' in helpers
    assert sample_settings()["cluster.p2p.port"] == 6335
