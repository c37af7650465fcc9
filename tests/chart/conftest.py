"""Counts what was checked: a matrix that shrank to nothing would pass, too."""

import collections

import pytest

import chart
import kubernetes

COUNTS = collections.Counter()


@pytest.fixture
def checked():
    """Renders values and lets the API server's rules judge every object; returns the objects."""

    def render(*layers, release="vectors", namespace="search"):
        objects = chart.render(chart.merged(chart.KEY, *layers), release, namespace)
        assert kubernetes.flaws(objects) == []
        COUNTS["checks"] += 1
        COUNTS["objects"] += len(objects)
        return objects

    return render


def pytest_terminal_summary(terminalreporter):
    if COUNTS:
        terminalreporter.write_line(
            f"chart: {chart.render_count()} different renders, {COUNTS['checks']} checks of {COUNTS['objects']} objects "
            f"against Kubernetes {' and '.join(kubernetes.VERSIONS)}"
        )
