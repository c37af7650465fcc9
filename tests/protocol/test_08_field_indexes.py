"""Section 8: field indexes."""

import pytest
from qdrant_client import grpc as pb

from rules import grpc_only, rest_only
from wire import Part, invalid, refused

RULES = {
    "8.1": "eight kinds, by name or with parameters; other parameters build anew; deleting an unknown one succeeds",
    "8.1 rest": rest_only("without a schema there is no guess"),
    "8.1 grpc": grpc_only("field_type is needed and agrees with the parameters; the kinds' numbers"),
    "8.2": "an integer index has lookup or range",
    "8.3": "payload_schema: kind, parameters if there were any, points with an indexable value",
    "8.4": "parameters of text indexes",
    "8.5": "the tokenizers, and the order of what is done to a token",
}

UUID = "f47ac10b-58cc-4372-a567-0e02b2c3d479"
#: kind: (a condition that it answers, parameters that it takes)
KINDS = {
    "keyword": ({"key": "keyword", "match": {"value": "x"}}, [{"is_tenant": True}, {"is_tenant": False}, {"prefix": True}, {"on_disk": True}]),
    "integer": ({"key": "integer", "range": {"gte": 5}}, [{"lookup": True, "range": True}, {"lookup": True, "range": False}, {"lookup": False, "range": True}, {"is_principal": True}]),
    "float": ({"key": "float", "range": {"gt": 1.0}}, [{"is_principal": True}, {"on_disk": False}]),
    "bool": ({"key": "bool", "match": {"value": True}}, [{"on_disk": True}]),
    "geo": ({"key": "geo", "geo_radius": {"center": {"lon": 1.0, "lat": 2.0}, "radius": 10.0}}, [{"on_disk": True}]),
    "datetime": ({"key": "datetime", "range": {"gte": "2024-01-01T00:00:00Z"}}, [{"is_principal": True}]),
    "uuid": ({"key": "uuid", "match": {"value": UUID}}, [{"is_tenant": True}]),
    "text": ({"key": "text", "match": {"text": "words"}}, [{"tokenizer": "word"}, {"tokenizer": "whitespace", "lowercase": False, "phrase_matching": True}]),
}
COMMON = [{"enable_hnsw": False}, {"memory": "cold"}, {"memory": "cached"}, {"memory": "pinned"}]
VALUES = {
    "keyword": ["x", ["x", "y"], 1, None],
    "integer": [5, [7, "a"], True, "5"],
    "float": [1.5, [2, None], "1.5", True],
    "bool": [True, [True], "true", 1],
    "geo": [{"lon": 1.0, "lat": 2.0}, [{"lon": 1.0, "lat": 2.0}], {"lon": 1.0}, "1,2"],
    "datetime": ["2024-01-01", ["2024-05-01T00:00:00Z"], "soon", 1704067200],
    "uuid": [UUID, [UUID, "x"], "x", 5],
    "text": ["words and more", ["some words"], 5, None],
}


@pytest.fixture
def one_of_each(rest, make):
    """Points 1 and 2 have an indexable value in the field of each kind, 3 and 4 another one, 5 none."""
    name = make(1)
    rest.pay(name, {at + 1: {kind: values[at] for kind, values in VALUES.items()} for at in range(4)} | {5: {}})
    return name


def schema_of(wire, name, field):
    return wire.info(name)["payload_schema"].get(field)


@pytest.mark.parametrize("kind", KINDS)
def test_8_1_every_kind_by_name(wire, one_of_each, kind):
    condition, _ = KINDS[kind]
    assert wire.ids(one_of_each, condition) == [1, 2]
    result = wire.create_index(one_of_each, kind, kind)
    assert result["status"] == "completed"
    assert wire.ids(one_of_each, condition) == [1, 2]
    # Kept up to date.
    wire.put(one_of_each, (6, [1.0], {kind: VALUES[kind][0]}))
    wire.delete(one_of_each, {"points": [1]})
    wire.set_payload(one_of_each, {"payload": {kind: None}, "points": [2]})
    assert wire.ids(one_of_each, condition) == [6]
    assert wire.drop_index(one_of_each, kind)["status"] == "completed"
    assert schema_of(wire, one_of_each, kind) is None
    assert wire.ids(one_of_each, condition) == [6]


@pytest.mark.parametrize("kind", KINDS)
def test_8_1_every_kind_with_its_parameters(wire, one_of_each, kind):
    condition, own = KINDS[kind]
    for params in own + COMMON:
        wire.create_index(one_of_each, kind, {"type": kind} | params)
        shown = schema_of(wire, one_of_each, kind)
        assert shown["data_type"] == kind and {"type": kind} | params == {key: shown["params"][key] for key in {"type": kind} | params}
        assert wire.ids(one_of_each, condition) == [1, 2], params


def test_8_1_a_field_of_nested_objects_and_of_a_quoted_name(wire, make):
    name = make(1)
    wire.pay(name, {1: {"a": [{"b": 1}, {"b": 2}]}, 2: {"x y": {"z": 3}}})
    wire.create_index(name, "a[].b", "integer")
    wire.create_index(name, '"x y".z', "integer")
    assert wire.ids(name, {"key": "a[].b", "match": {"value": 2}}) == [1]
    assert wire.ids(name, {"key": '"x y".z', "match": {"value": 3}}) == [2]
    assert {field: one["points"] for field, one in wire.info(name)["payload_schema"].items()} == {"a[].b": 1, '"x y".z': 1}
    wire.drop_index(name, "a[].b")
    assert list(wire.info(name)["payload_schema"]) == ['"x y".z']


def test_8_1_other_parameters_build_the_index_anew(wire, make):
    name = make(1)
    wire.pay(name, {1: {"v": 5}, 2: {"v": "five"}})
    wire.create_index(name, "v", "integer")
    assert schema_of(wire, name, "v") == {"data_type": "integer", "points": 1}
    assert wire.facet(name, {"key": "v"}) == [(5, 1)]
    wire.create_index(name, "v", {"type": "integer", "lookup": False, "range": True})
    with wire.refuses(refused(Part("No appropriate index for faceting"))):
        wire.facet(name, {"key": "v"})
    wire.create_index(name, "v", "keyword")
    assert schema_of(wire, name, "v") == {"data_type": "keyword", "points": 1}
    assert wire.facet(name, {"key": "v"}) == [("five", 1)]
    # The same once more changes nothing.
    wire.create_index(name, "v", "keyword")
    assert wire.facet(name, {"key": "v"}) == [("five", 1)]


def test_8_1_deleting_an_unknown_index_succeeds(wire, make):
    assert wire.drop_index(make(1), "nope")["status"] == "completed"


def test_8_1_not_waited_for_is_acknowledged(wire, make):
    name = make(1)
    assert wire.create_index(name, "v", "keyword", wait=False)["status"] == "acknowledged"
    assert wire.drop_index(name, "v", wait=False)["status"] == "acknowledged"


def test_8_1_rest_without_a_schema_is_refused(rest, make):
    name = make(1)
    for body in ({"field_name": "v"}, {"field_name": "v", "field_schema": None}):
        with rest.refuses(refused(Part("Can't auto-detect field type, please specify `field_schema` in the request"))):
            rest.json("PUT", f"/collections/{name}/index", body)


def test_8_1_grpc_needs_a_field_type(grpc, make):
    with grpc.refuses(refused("cannot convert field_type")):
        grpc.send("CreateFieldIndex", pb.CreateFieldIndexCollection(collection_name=make(1), field_name="v"))


def test_8_1_grpc_type_and_parameters_agree(grpc, make):
    name = make(1)
    message = lambda **params: pb.CreateFieldIndexCollection(collection_name=name, wait=True, field_name="v", field_type=pb.FieldType.FieldTypeKeyword, field_index_params=pb.PayloadIndexParams(**params))
    with grpc.refuses(refused(Part("field_index_params"))):
        grpc.send("CreateFieldIndex", message(integer_index_params=pb.IntegerIndexParams()))
    grpc.send("CreateFieldIndex", message(keyword_index_params=pb.KeywordIndexParams()))


def test_8_1_grpc_numbers_of_the_kinds(grpc, make):
    name = make(1)
    for number, kind in enumerate(["keyword", "integer", "float", "geo", "text", "bool", "datetime", "uuid"]):
        grpc.send("CreateFieldIndex", pb.CreateFieldIndexCollection(collection_name=name, wait=True, field_name="v", field_type=number))
        assert schema_of(grpc, name, "v")["data_type"] == kind
    with grpc.refuses(refused("cannot convert field_type")):
        grpc.send("CreateFieldIndex", pb.CreateFieldIndexCollection(collection_name=name, wait=True, field_name="v", field_type=8))


def test_8_2_an_integer_index_that_can_do_nothing_is_refused(wire, make):
    name = make(1)
    with wire.refuses(invalid(Part("the 'lookup' and 'range' capabilities can't be both disabled"))):
        wire.create_index(name, "v", {"type": "integer", "lookup": False, "range": False})
    assert wire.info(name)["payload_schema"] == {}


def test_8_3_the_payload_schema(wire, one_of_each):
    assert wire.info(one_of_each)["payload_schema"] == {}
    for kind in KINDS:
        wire.create_index(one_of_each, kind, kind)
    assert wire.info(one_of_each)["payload_schema"] == {kind: {"data_type": kind, "points": 2} for kind in KINDS}
    wire.create_index(one_of_each, "keyword", {"type": "keyword", "is_tenant": True})
    assert schema_of(wire, one_of_each, "keyword") == {"data_type": "keyword", "params": {"type": "keyword", "is_tenant": True}, "points": 2}
    wire.delete(one_of_each, {"points": [1, 5]})
    assert {one["points"] for one in wire.info(one_of_each)["payload_schema"].values()} == {1}


TEXT_PARAMS = [
    {"tokenizer": "word"},
    {"tokenizer": "whitespace"},
    {"tokenizer": "prefix", "min_token_len": 2, "max_token_len": 10},
    {"tokenizer": "multilingual"},
    {"tokenizer": "code"},
    {"tokenizer": "word", "lowercase": False},
    {"tokenizer": "word", "ascii_folding": True},
    {"tokenizer": "word", "stopwords": "english"},
    {"tokenizer": "word", "stopwords": {"languages": ["english", "german"], "custom": ["foo"]}},
    {"tokenizer": "word", "stemmer": {"type": "snowball", "language": "english"}},
    {"tokenizer": "word", "stemmer": {"type": "none"}},
    {"tokenizer": "word", "phrase_matching": True},
]


@pytest.mark.parametrize("at", range(len(TEXT_PARAMS)))
def test_8_4_parameters_are_kept_and_shown(wire, make, at):
    """That they do what they say is tested by 8.5."""
    params = {"type": "text"} | TEXT_PARAMS[at]
    name = make(1)
    wire.create_index(name, "t", params)
    assert schema_of(wire, name, "t") == {"data_type": "text", "params": params, "points": 0}


def test_8_4_scoring_is_kept_and_shown(wire, make):
    """`true` is short for BM25; gRPC has the long form only."""
    name = make(1)
    wire.create_index(name, "t", {"type": "text", "scoring": True})
    assert schema_of(wire, name, "t")["params"]["scoring"] in (True, {"type": "bm25"})


@pytest.mark.parametrize("params", [{"stopwords": "klingon"}, {"stemmer": {"type": "snowball", "language": "klingon"}}, {"tokenizer": "klingon"}])
def test_8_4_unknown_names_are_refused(rest, grpc, make, params):
    name = make(1)
    with rest.refuses(refused(Part(""))):
        rest.create_index(name, "t", {"type": "text"} | params)
    text = pb.TextIndexParams(tokenizer=pb.TokenizerType.Word)
    if "stopwords" in params:
        text.stopwords.languages.append("klingon")
    elif "stemmer" in params:
        text.stemmer.snowball.language = "klingon"
    else:
        text.tokenizer = 99
    message = pb.CreateFieldIndexCollection(collection_name=name, field_name="t", field_type=pb.FieldType.FieldTypeText, field_index_params=pb.PayloadIndexParams(text_index_params=text))
    with grpc.refuses(refused(Part(""))):
        grpc.send("CreateFieldIndex", message)
    assert rest.info(name)["payload_schema"] == {}


ENGLISH = {"type": "snowball", "language": "english"}
#: name: (parameters, texts from id 1 on, queries with the ids whose text has all their tokens)
PIPELINES = {
    "word, by default": ({}, ["Foo_bar-baz.QUX", "foo bar"], [("foo", [1, 2]), ("qux", [1]), ("BAZ", [1]), ("bar-foo", [1, 2]), ("ba", []), ("!?", [])]),
    "word": ({"tokenizer": "word"}, ["a1b2 3c", "größe", "日本 x"], [("a1b2", [1]), ("b2", []), ("3c", [1]), ("GRÖSSE", []), ("GRÖßE", [2]), ("日本", [3])]),
    "whitespace": ({"tokenizer": "whitespace"}, ["Foo-bar baz", "foo bar", "x\u3000y\u00a0z\tw"], [("foo", [2]), ("FOO-bar", [1]), ("y", [3]), ("w z", [3])]),
    "prefix": ({"tokenizer": "prefix"}, ["Hello world"], [("h", [1]), ("HEL", [1]), ("hello w", [1]), ("ello", []), ("hellos", [])]),
    "prefix from 2 to 4": ({"tokenizer": "prefix", "min_token_len": 2, "max_token_len": 4}, ["Hello", "éèêëē"], [("he", [1]), ("hell", [1]), ("hello", [1]), ("hellfire", [1]), ("help", []), ("h", []), ("he h", [1]), ("éèêëx", [2]), ("éè", [2])]),
    "prefix with stopwords": ({"tokenizer": "prefix", "stopwords": {"custom": ["the"]}}, ["the cat", "cat"], [("the", []), ("th", []), ("c", [1, 2])]),
    "multilingual": ({"tokenizer": "multilingual"}, ["hello, 123 World", "год 2024"], [("world", [1]), ("123", []), ("ГОД", [2]), ("2024 hello", [1])]),
    "code": ({"tokenizer": "code"}, ["return value;"], [("value", [1]), ("return", [1]), ("nothing", [])]),
    "lower case": ({"lowercase": True}, ["Foo", "ÄRGER"], [("fOO", [1]), ("ärger", [2])]),
    "no lower case": ({"lowercase": False}, ["Foo foo", "foo"], [("Foo", [1]), ("foo", [1, 2]), ("FOO", [])]),
    "no folding": ({}, ["ação"], [("acao", []), ("AÇÃO", [1])]),
    "folding": ({"ascii_folding": True}, ["ação", "acao"], [("acao", [1, 2]), ("Ação", [1, 2])]),
    "lengths in characters": ({"min_token_len": 2, "max_token_len": 3}, ["né à trop", "öäü"], [("né", [1]), ("à", []), ("trop", []), ("né trop", [1]), ("öäü", [2])]),
    "stopwords of a language": ({"stopwords": "english"}, ["the cat", "cat"], [("the", []), ("the cat", [1, 2])]),
    "stopwords of a set": ({"stopwords": {"languages": ["german"], "custom": ["Cat"]}}, ["der Hund the cat"], [("der", []), ("cat", []), ("the", [1]), ("der hund cat", [1])]),
    "custom stopwords keep their case": ({"lowercase": False, "stopwords": {"custom": ["Cat"]}}, ["Cat", "cat"], [("Cat", []), ("cat", [2])]),
    "stemmer": ({"stemmer": ENGLISH}, ["running", "run", "ran"], [("runs", [1, 2]), ("ran", [3])]),
    "no stemmer": ({"stemmer": {"type": "none"}}, ["running", "run"], [("run", [2])]),
    "folded before lowered before stopped": ({"ascii_folding": True, "stopwords": "english"}, ["THÉ x"], [("thé", []), ("the", []), ("x", [1])]),
    "stopped before stemmed": ({"stemmer": ENGLISH, "stopwords": {"custom": ["run"]}}, ["running"], [("running", [1]), ("run", [])]),
    "measured after stemming": ({"stemmer": ENGLISH, "max_token_len": 3}, ["running", "walking"], [("runs", [1]), ("walk", [])]),
}


@pytest.mark.parametrize("pipeline", PIPELINES)
def test_8_5_what_becomes_of_a_text(wire, make, pipeline):
    params, texts, queries = PIPELINES[pipeline]
    name = make(1)
    wire.create_index(name, "t", {"type": "text"} | params)
    wire.pay(name, {at: {"t": text} for at, text in enumerate(texts, 1)})
    for query, expected in queries:
        assert wire.ids(name, {"key": "t", "match": {"text": query}}) == expected, query
        if len(query.split()) == 1 and pipeline != "word, by default":
            assert wire.ids(name, {"key": "t", "match": {"text_any": query}}) == expected, query
