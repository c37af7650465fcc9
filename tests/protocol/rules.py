"""How a file of this suite states the rules that it tests.

Each `test_NN_*.py` begins with `RULES`: number of a rule -> the rule in a few words. Numbers are those of the protocol
notes: the section, and within it the rule's own number or, where rules are bullets, their position. A word may follow
where one number holds several rules ("7.6 match_any"). A test of a rule is named by it: `test_7_6_match_any_...`.
`test_coverage.py` fails when a rule has no test, or has none on one of the transports.
"""

from typing import NamedTuple


class Rule(NamedTuple):
    """A rule that is not simply tested on both transports."""

    text: str
    #: The only transport that can show it.
    only: str = None
    #: A Rust test, as `file::name`, of what no request can reach or tell apart.
    inside: str = None


def rest_only(text):
    return Rule(text, only="rest")


def grpc_only(text):
    return Rule(text, only="grpc")


def inside(text, test):
    return Rule(text, inside=test)


def prefix(number):
    """What the names of a rule's tests begin with."""
    return f"test_{number.replace('.', '_').replace(' ', '_')}_"
