"""Every rule that a file of this suite states has a test of its number, on every transport that can show it."""

import importlib
import pathlib
import re

import pytest

from rules import Rule, prefix

HERE = pathlib.Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
FILES = sorted(path for path in HERE.glob("test_[0-9][0-9]_*.py"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_every_rule_has_its_tests(path, collected):
    tests = [(name, transports) for file, name, transports in collected if file == path.name]
    if not tests:
        pytest.skip("the file was not collected")
    rules = importlib.import_module(path.stem).RULES
    section = str(int(path.stem[5:7]))
    missing = []
    for number, rule in rules.items():
        assert re.split("[. ]", number)[0] == section, f"{number} does not belong into {path.name}"
        rule = rule if isinstance(rule, Rule) else Rule(rule)
        if rule.inside:
            file, _, test = rule.inside.partition("::")
            if f"fn {test}(" not in (REPOSITORY / file).read_text():
                missing.append(f"{number} ({rule.text}): no {rule.inside}")
            continue
        shown = set().union(*(transports for name, transports in tests if name.startswith(prefix(number))))
        for transport in {rule.only} if rule.only else {"rest", "grpc"}:
            if transport not in shown:
                missing.append(f"{number} ({rule.text}): no {prefix(number)}* over {transport}")
    assert not missing, "\n".join(missing)
    strays = {name for name, _ in tests if not any(name.startswith(prefix(number)) for number in rules)}
    assert not strays, f"named after no rule of {path.name}: {sorted(strays)}"
