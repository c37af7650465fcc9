"""PROTOCOL 14: formulas."""

import datetime
import math

import pytest
from qdrant_client import grpc as pb

from figures import check, ids, pairs, refuses
from wire import Part, Start, bad_request, refused

RULES = {
    "14.1": "f64 per candidate of the union, cast to f32, descending, threshold >=",
    "14.2 expression": "every expression",
    "14.2 score": "$score, $score[i]: the shown score in prefetch i",
    "14.2 refused": "what is no expression",
    "14.3": "div: 0 on the left first, then by_zero_default or an error",
    "14.4 decay": "lin, exp, gauss with their defaults",
    "14.4 refused": "midpoint and scale have ranges",
    "14.5 defaults": "by variable, parsed like variables; missing scores are 0.0",
    "14.5 missing": "a missing payload variable without a default",
    "14.5 list": "a list of one is unwrapped, an empty one is missing, several are refused",
    "14.5 kind": "a value of another kind",
    "14.5 finite": "non-finite values on the way",
    "14.6": "conditions obey section 7",
}

PAYLOAD = {
    "n": 4,
    "half": 0.5,
    "minus": -2.5,
    "zero": 0,
    "one": [7],
    "none": [],
    "many": [1, 2],
    "text": "x",
    "flag": True,
    "nothing": None,
    "deep": {"list": [{"v": 3}]},
    "at": {"lon": 13.4, "lat": 52.5},
    "here": [{"lon": 0.0, "lat": 0.0}],
    "when": "2024-03-01T12:00:00.25Z",
    "day": "2024-02-29",
    "tags": ["a", "b"],
}


@pytest.fixture(scope="module")
def points(rest, make):
    """Point 1 has `PAYLOAD`. Under `d` (Dot) and `e` (Euclid) point i is (i,); 2 to 5 have `r`: i."""
    name = make({"d": {"size": 1, "distance": "Dot"}, "e": {"size": 1, "distance": "Euclid"}}, shard_number=2)
    rest.put(name, (1, {"d": [1], "e": [1]}, PAYLOAD))
    rest.put(name, *[(i, {"d": [i], "e": [i]}, {"r": i}) for i in range(2, 6)])
    return name


ONE = {"filter": {"must": [{"has_id": [1]}]}}
REST_OF_THEM = {"filter": {"must_not": [{"has_id": [1]}]}}


def evaluate(wire, name, formula, defaults=None, prefetch=ONE):
    """The formula's value for point 1, whose score is 1.0 (a leaf without a query)."""
    query = {"formula": formula} | ({"defaults": defaults} if defaults is not None else {})
    hits = wire.query(name, {"prefetch": prefetch, "query": query})
    assert ids(hits) == [1]
    return hits[0]["score"]


def near(want):
    return pytest.approx(want, rel=1e-6, abs=1e-7)


def seconds(text):
    return datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp()


def haversine(a, b):
    (lon1, lat1), (lon2, lat2) = [[math.radians(x) for x in point] for point in (a, b)]
    h = math.sin((lat2 - lat1) / 2) ** 2 + math.cos(lat1) * math.cos(lat2) * math.sin((lon2 - lon1) / 2) ** 2
    return 2 * 6371008.8 * math.asin(math.sqrt(h))


def test_14_1_the_union_is_scored_each_once_and_sorted_descending(wire, points):
    prefetch = [{"query": [1], "using": "d", "limit": 3}, {"query": [0], "using": "e", "limit": 3}, REST_OF_THEM]
    # 5, 4, 3 and 1, 2, 3 and 2 to 5; 1 has no `r`.
    hits = wire.query(points, {"prefetch": prefetch, "query": {"formula": {"neg": "r"}, "defaults": {"r": 3.5}}})
    check(hits, [(2, -2), (3, -3), (1, -3.5), (4, -4), (5, -5)])


def test_14_1_only_candidates_of_the_prefetches_are_scored(wire, points):
    hits = wire.query(points, {"prefetch": {"query": [1], "using": "d", "limit": 2}, "query": {"formula": {"neg": "r"}}})
    check(hits, [(4, -4), (5, -5)])


def test_14_1_the_threshold_keeps_what_equals_it(wire, points):
    body = {"prefetch": REST_OF_THEM, "query": {"formula": "r"}}
    assert ids(wire.query(points, body | {"score_threshold": 4})) == [5, 4]
    assert ids(wire.query(points, body | {"score_threshold": 4.5})) == [5]
    assert ids(wire.query(points, body | {"score_threshold": 2, "offset": 1, "limit": 2})) == [4, 3]


def test_14_1_it_is_computed_in_doubles(wire, points):
    # In f32, 2^24 + 1 is 2^24.
    got = evaluate(wire, points, {"sum": [{"sum": [16777216.0, "$score"]}, -16777216.0]})
    assert got == 1.0
    big = {"mult": ["n", {"mult": [1e30, 1e30]}, {"div": {"left": 1.0, "right": {"mult": [1e30, 1e30]}}}]}
    assert evaluate(wire, points, big) == near(4)


def test_14_1_a_result_beyond_f32_is_refused(wire, points):
    body = {"prefetch": ONE, "query": {"formula": {"mult": [1e30, 1e30]}}}
    refuses(wire, bad_request(Part(" produced a non-finite number")), points, body)


EXPRESSIONS = [
    (2.5, 2.5),
    (-3, -3),
    ("$score", 1),
    ("n", 4),
    ("deep.list[0].v", 3),
    ("deep.list[].v", 3),
    ({"key": "n", "match": {"value": 4}}, 1),
    ({"key": "n", "match": {"value": 5}}, 0),
    ({"mult": ["n", "half", -3]}, -6),
    ({"mult": ["n", 0, "half"]}, 0),
    ({"mult": ["minus"]}, -2.5),
    ({"sum": ["n", "half", "minus", 10]}, 12),
    ({"sum": ["n"]}, 4),
    ({"neg": "n"}, -4),
    ({"neg": {"neg": "minus"}}, -2.5),
    ({"abs": "minus"}, 2.5),
    ({"abs": "half"}, 0.5),
    ({"div": {"left": "n", "right": "minus"}}, -1.6),
    ({"sqrt": "n"}, 2),
    ({"sqrt": "zero"}, 0),
    ({"pow": {"base": "n", "exponent": "half"}}, 2),
    ({"pow": {"base": "minus", "exponent": 2}}, 6.25),
    ({"pow": {"base": "n", "exponent": -1}}, 0.25),
    ({"exp": "half"}, math.exp(0.5)),
    ({"exp": -1000}, 0),
    ({"log10": 1000}, 3),
    ({"log10": "half"}, math.log10(0.5)),
    ({"ln": "n"}, math.log(4)),
    ({"acosh": "n"}, math.acosh(4)),
    ({"acosh": 1}, 0),
    ({"max": ["n", "half", 17, "minus"]}, 17),
    ({"max": ["minus"]}, -2.5),
    ({"min": ["n", "half", "minus"]}, -2.5),
    ({"geo_distance": {"origin": {"lon": 2.35, "lat": 48.86}, "to": "at"}}, haversine((2.35, 48.86), (13.4, 52.5))),
    ({"geo_distance": {"origin": {"lon": 0, "lat": 1}, "to": "here"}}, math.radians(1) * 6371008.8),
    ({"geo_distance": {"origin": {"lon": 13.4, "lat": 52.5}, "to": "at"}}, 0),
    ({"sum": [{"datetime_key": "when"}, {"neg": {"datetime": "2024-03-01T12:00:00Z"}}]}, 0.25),
    ({"sum": [{"datetime_key": "when"}, {"neg": {"datetime_key": "day"}}]}, 36 * 3600 + 0.25),
    ({"datetime": "1970-01-01T00:00:01.5Z"}, 1.5),
    ({"datetime": "1969-12-31T23:59:59Z"}, -1),
    ({"datetime_key": "when"}, seconds("2024-03-01T12:00:00.250")),
    ({"lin_decay": {"x": "n", "target": 3, "scale": 4, "midpoint": 0.5}}, 0.875),
    ({"exp_decay": {"x": "n", "target": 3, "scale": 4, "midpoint": 0.5}}, 0.5**0.25),
    ({"gauss_decay": {"x": "n", "target": 3, "scale": 4, "midpoint": 0.5}}, 0.5 ** (1 / 16)),
    ({"sum": [{"mult": ["$score", {"sqrt": "n"}]}, {"mult": [{"key": "tags", "match": {"any": ["b"]}}, 0.25]}]}, 2.25),
]


@pytest.mark.parametrize("formula, want", EXPRESSIONS, ids=lambda value: str(value).replace("'", "")[:70])
def test_14_2_expression_is_worth(wire, points, formula, want):
    assert evaluate(wire, points, formula) == near(want)


def test_14_2_expression_mult_stops_at_the_first_zero(wire, points):
    # What stands behind it is not looked at: it would be refused.
    assert evaluate(wire, points, {"mult": ["n", "zero", "missing"]}) == 0
    assert evaluate(wire, points, {"mult": [0, {"sqrt": -1}]}) == 0
    body = {"prefetch": ONE, "query": {"formula": {"mult": ["missing", "zero"]}}}
    refuses(wire, bad_request(Start("No value found for missing")), points, body)


def test_14_2_score_is_the_shown_one_of_each_prefetch(wire, points):
    one = ONE["filter"]
    prefetch = [{"query": [3], "using": "d", "filter": one}, {"query": [5], "using": "e", "filter": one}, {"filter": one}]
    for formula, want in [("$score", 3), ("$score[0]", 3), ("$score[1]", 4), ("$score[2]", 1), ({"sum": ["$score", "$score[1]"]}, 7)]:
        assert evaluate(wire, points, formula, prefetch=prefetch) == near(want)


def test_14_2_score_is_zero_where_the_prefetch_lacks_the_point(wire, points):
    prefetch = [{"query": [1], "using": "d", "limit": 2}, {"query": [1], "using": "e", "limit": 2}]
    # 5 and 4 by Dot; 1 and 2 at distances 0 and 1.
    hits = wire.query(points, {"prefetch": prefetch, "query": {"formula": {"sum": ["$score", {"mult": [10, "$score[1]"]}]}}})
    check(hits, [(2, 10), (5, 5), (4, 4), (1, 0)])
    assert evaluate(wire, points, "$score[7]") == 0


def test_14_2_refused_are_scores_spelt_otherwise(wire, points):
    for name in ("$score[", "$score[]", "$score[-1]", "$score[x]", "$score[1]x", "$scores"):
        refuses(wire, bad_request(Start("Invalid score pattern: ")), points, {"prefetch": ONE, "query": {"formula": name}})


def test_14_2_refused_are_max_and_min_of_nothing(wire, points):
    for name in ("max", "min"):
        refuses(wire, bad_request(Start("")), points, {"prefetch": ONE, "query": {"formula": {name: []}}})


def test_14_2_refused_is_what_is_no_expression(wire, points):
    def message(**expression):
        query = pb.Query(formula=pb.Formula(expression=pb.Expression(**expression)))
        return pb.QueryPoints(collection_name=points, prefetch=[pb.PrefetchQuery()], query=query)

    for body, grpc in [
        ({"nonsense": 1}, message()),
        ({"sqrt": True}, message(sqrt=pb.Expression())),
        ({"datetime": "tomorrow"}, message(datetime="tomorrow")),
        ({"geo_distance": {"origin": {"lon": 0, "lat": 0}, "to": "a..b"}}, message(geo_distance=pb.GeoDistance(origin=pb.GeoPoint(), to="a..b"))),
        ({"div": {"left": 1}}, message(div=pb.DivExpression(left=pb.Expression(constant=1)))),
    ]:
        body = {"prefetch": {}, "query": {"formula": body}}
        with wire.refuses(refused(Part(""))):
            wire.either(("POST", f"/collections/{points}/points/query", body), ("Query", grpc))


def test_14_3_zero_on_the_left_is_zero_whatever_is_on_the_right(wire, points):
    for right in ("zero", "missing", {"sqrt": -1}):
        assert evaluate(wire, points, {"div": {"left": "zero", "right": right}}) == 0
        assert evaluate(wire, points, {"div": {"left": "zero", "right": right, "by_zero_default": 9}}) == 0


def test_14_3_zero_on_the_right_is_the_default_or_refused(wire, points):
    assert evaluate(wire, points, {"div": {"left": "n", "right": "zero", "by_zero_default": -7.5}}) == -7.5
    assert evaluate(wire, points, {"div": {"left": "n", "right": "half", "by_zero_default": -7.5}}) == 8
    body = {"prefetch": ONE, "query": {"formula": {"div": {"left": "n", "right": "zero"}}}}
    refuses(wire, bad_request("The expression 4/0 produced a non-finite number"), points, body)


def decayed(kind, distance, scale=1.0, midpoint=0.5):
    d = abs(distance)
    return {
        "lin_decay": max(0, 1 - (1 - midpoint) / scale * d),
        "exp_decay": math.exp(math.log(midpoint) / scale * d) if midpoint else 0,
        "gauss_decay": math.exp(math.log(midpoint) / scale**2 * d * d) if midpoint else 0,
    }[kind]


@pytest.mark.parametrize("kind", ["lin_decay", "exp_decay", "gauss_decay"])
def test_14_4_decay_is_one_at_the_target_and_the_midpoint_at_the_scale(wire, points, kind):
    ask = lambda **params: evaluate(wire, points, {kind: params})
    assert ask(x="n", target=4, scale=3, midpoint=0.2) == near(1)
    assert ask(x="n", target=7, scale=3, midpoint=0.2) == near(0.2)
    assert ask(x="n", target=1, scale=3, midpoint=0.2) == near(0.2)
    for target, scale, midpoint in [(3.5, 2.0, 0.3), (9.0, 2.0, 0.7), (-4.0, 0.5, 0.9), ("half", 5.0, 0.5)]:
        distance = 4 - (0.5 if target == "half" else target)
        assert ask(x="n", target=target, scale=scale, midpoint=midpoint) == near(decayed(kind, distance, scale, midpoint))


@pytest.mark.parametrize("kind", ["lin_decay", "exp_decay", "gauss_decay"])
def test_14_4_decay_defaults_are_target_0_scale_1_midpoint_a_half(wire, points, kind):
    assert evaluate(wire, points, {kind: {"x": "half"}}) == near(decayed(kind, 0.5))
    assert evaluate(wire, points, {kind: {"x": "half", "target": 0.25}}) == near(decayed(kind, 0.25))
    assert evaluate(wire, points, {kind: {"x": "half", "scale": 2}}) == near(decayed(kind, 0.5, 2))
    assert evaluate(wire, points, {kind: {"x": "half", "midpoint": 0.25}}) == near(decayed(kind, 0.5, 1, 0.25))


def test_14_4_decay_takes_expressions_as_x_and_target(wire, points):
    age = {"exp_decay": {"x": {"datetime_key": "when"}, "target": {"datetime": "2024-03-02T12:00:00.25Z"}, "scale": 86400}}
    assert evaluate(wire, points, age) == near(0.5)


def test_14_4_decay_of_the_linear_kind_may_have_a_midpoint_of_0_or_1(wire, points):
    assert evaluate(wire, points, {"lin_decay": {"x": "half", "midpoint": 0}}) == near(0.5)
    assert evaluate(wire, points, {"lin_decay": {"x": "n", "midpoint": 0}}) == 0
    assert evaluate(wire, points, {"lin_decay": {"x": "n", "midpoint": 1}}) == 1


def test_14_4_refused_are_midpoints_and_scales_out_of_range(wire, points):
    for kind, params in [
        ("lin_decay", {"midpoint": 1.5}),
        ("lin_decay", {"midpoint": -0.5}),
        ("exp_decay", {"midpoint": 0.0}),
        ("exp_decay", {"midpoint": 1.0}),
        ("gauss_decay", {"midpoint": 0.0}),
        ("gauss_decay", {"midpoint": 1.0}),
        ("lin_decay", {"scale": 0.0}),
        ("exp_decay", {"scale": -1.0}),
        ("gauss_decay", {"scale": 0.0}),
    ]:
        refuses(wire, bad_request(Start("")), points, {"prefetch": ONE, "query": {"formula": {kind: {"x": "n"} | params}}})


def test_14_5_defaults_stand_in_for_what_is_missing_only(wire, points):
    assert evaluate(wire, points, "missing", {"missing": 2.5}) == 2.5
    assert evaluate(wire, points, "n", {"n": 2.5}) == 4
    assert evaluate(wire, points, {"sum": ["missing", "deep.absent"]}, {"missing": 1, "deep.absent": 2}) == 3
    assert evaluate(wire, points, {"geo_distance": {"origin": {"lon": 0, "lat": 1}, "to": "gone"}}, {"gone": {"lon": 0, "lat": 0}}) == near(
        math.radians(1) * 6371008.8
    )
    assert evaluate(wire, points, {"datetime_key": "gone"}, {"gone": "1970-01-01T00:01:00Z"}) == 60


def test_14_5_defaults_of_scores_are_parsed_like_variables(wire, points):
    prefetch = [ONE, REST_OF_THEM]
    for key, variable in [("$score[1]", "$score[1]"), ("$score[9]", "$score[9]")]:
        assert evaluate(wire, points, variable, {key: 0.25}) == 0.25
    formula = {"sum": ["$score", {"mult": [10, "$score[1]"]}]}
    hits = wire.query(points, {"prefetch": prefetch, "query": {"formula": formula, "defaults": {"$score": 0.5}}})
    # `$score` is `$score[0]`: 1.0 for point 1, the default for the others.
    assert {id: score for id, score in pairs(hits)} == {1: 1.0} | dict.fromkeys(range(2, 6), 10.5)
    assert evaluate(wire, points, "$score", {"$score[0]": 0.25}) == 1.0


def test_14_5_missing_variables_are_refused(wire, points):
    for formula, name in [("missing", "missing"), ("deep.absent", "deep.absent"), ("none", "none"), ({"datetime_key": "gone"}, "gone")]:
        refuses(wire, bad_request(Start(f"No value found for {name}")), points, {"prefetch": ONE, "query": {"formula": formula}})
    place = {"geo_distance": {"origin": {"lon": 0, "lat": 0}, "to": "gone"}}
    refuses(wire, bad_request(Start("No value found for gone")), points, {"prefetch": ONE, "query": {"formula": place}})
    # One candidate is enough.
    refuses(wire, bad_request(Start("No value found for r")), points, {"prefetch": [ONE, REST_OF_THEM], "query": {"formula": "r"}})


def test_14_5_list_of_one_is_unwrapped_and_an_empty_one_missing(wire, points):
    assert evaluate(wire, points, "one") == 7
    assert evaluate(wire, points, "one[]") == 7
    assert evaluate(wire, points, "many[1]") == 2
    assert evaluate(wire, points, "none", {"none": 3}) == 3
    assert evaluate(wire, points, "gone", {"gone": [5]}) == 5


def test_14_5_list_of_several_is_refused(wire, points):
    for variable in ("many", "many[]"):
        refuses(wire, bad_request(Start("")), points, {"prefetch": ONE, "query": {"formula": variable}})


def test_14_5_kind_of_a_value_must_fit(wire, points):
    for formula in ("text", "flag", "nothing", "at", {"datetime_key": "text"}, {"datetime_key": "n"}):
        refuses(wire, bad_request(Start("")), points, {"prefetch": ONE, "query": {"formula": formula}})
    place = {"geo_distance": {"origin": {"lon": 0, "lat": 0}, "to": "n"}}
    refuses(wire, bad_request(Start("")), points, {"prefetch": ONE, "query": {"formula": place}})
    refuses(wire, bad_request(Start("")), points, {"prefetch": ONE, "query": {"formula": "gone", "defaults": {"gone": "text"}}})


@pytest.mark.parametrize(
    "formula",
    [
        {"sqrt": "minus"},
        {"ln": "zero"},
        {"ln": "minus"},
        {"log10": "zero"},
        {"exp": 1000},
        {"pow": {"base": "minus", "exponent": "half"}},
        {"pow": {"base": "zero", "exponent": -1}},
        {"acosh": "half"},
        {"sum": [1, {"mult": [{"sqrt": "minus"}, 1]}]},
    ],
    ids=lambda value: str(value).replace("'", ""),
)
def test_14_5_finite_is_every_value_on_the_way(wire, points, formula):
    refusal = bad_request(Start("The expression "))
    with wire.refuses(refusal):
        wire.query(points, {"prefetch": ONE, "query": {"formula": formula}})
    with wire.refuses(bad_request(Part(" produced a non-finite number"))):
        wire.query(points, {"prefetch": ONE, "query": {"formula": formula}})


@pytest.mark.parametrize(
    "condition, want",
    [
        ({"key": "flag", "match": {"value": True}}, 1),
        ({"key": "text", "match": {"value": "y"}}, 0),
        ({"key": "tags", "match": {"any": ["b", "z"]}}, 1),
        ({"key": "tags", "match": {"except": ["a", "b"]}}, 0),
        ({"key": "n", "range": {"gt": 3, "lte": 4}}, 1),
        ({"key": "when", "range": {"gte": "2024-03-01T00:00:00Z"}}, 1),
        ({"key": "at", "geo_radius": {"center": {"lon": 13.4, "lat": 52.5}, "radius": 10.0}}, 1),
        ({"key": "many", "values_count": {"gte": 3}}, 0),
        ({"is_empty": {"key": "none"}}, 1),
        ({"is_null": {"key": "nothing"}}, 1),
        ({"has_id": [2, 3]}, 0),
        ({"has_id": [1]}, 1),
        ({"has_vector": "d"}, 1),
        ({"has_vector": "x"}, 0),
        ({"nested": {"key": "deep.list", "filter": {"must": [{"key": "v", "match": {"value": 3}}]}}}, 1),
        ({"must": [{"key": "n", "match": {"value": 4}}], "must_not": [{"has_id": [1]}]}, 0),
        ({"should": [{"key": "n", "match": {"value": 5}}, {"has_id": [1]}]}, 1),
    ],
    ids=lambda value: str(value).replace("'", "")[:60],
)
def test_14_6_conditions_are_one_or_zero(wire, points, condition, want):
    assert evaluate(wire, points, condition) == want
    assert evaluate(wire, points, {"sum": [{"mult": [2, condition]}, 0.5]}) == 2 * want + 0.5
