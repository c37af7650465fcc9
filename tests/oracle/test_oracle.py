"""The oracle test's own test: local mode agrees with itself, and every mutant is found."""

import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))

import mutants
import run

pytestmark = pytest.mark.filterwarnings("ignore")
SEEDS = range(1, 13)


def test_local_mode_agrees_with_itself():
    with run.Local() as target:
        passed, failure = run.run(target, seed=1, requests=1500, report=lambda text: None)
    assert failure is None, failure[1]
    assert passed > 1500


@pytest.mark.parametrize("name", sorted(mutants.MUTANTS))
def test_mutant_is_found(name):
    for seed in SEEDS:
        with run.Local(mutants.MUTANTS[name]) as target:
            _, failure = run.run(target, seed=seed, requests=1000, report=lambda text: None)
        if failure:
            return
    pytest.fail(f"{name} was not found in {len(SEEDS)} runs of 1000 requests")


def test_shrinking_keeps_the_divergence():
    with run.Local(mutants.MUTANTS["null_does_not_remove"]) as target:
        _, failure = run.run(target, seed=1, requests=1000, report=lambda text: None)
        operations, wrong = run.shrink(*failure, target, deadline=run.time.monotonic() + 20)
        assert run.play(operations, target)[1] == wrong
    assert len(operations) < 30
