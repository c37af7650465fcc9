"""Section 1: ids of points."""

import pytest
from qdrant_client import grpc as pb

from rules import grpc_only, rest_only
from siphash import siphash24
from wire import Part, format_error, refused, wrong_input

RULES = {
    "1.1": "an id is a u64 or a UUID in any of its spellings, shown lowercase and hyphenated; anything else is refused",
    "1.2": rest_only("a JSON number is a non-negative integer"),
    "1.3": rest_only("an id in a path is tried as a number, then as a UUID"),
    "1.4": "numbers before UUIDs, numbers by value, UUIDs by their bytes",
    "1.5": grpc_only("a PointId without a variant is refused"),
    "1.6": "slices hash the 8 little-endian bytes of a number and the 16 bytes of a UUID",
}

SHOWN = "f47ac10b-58cc-4372-a567-0e02b2c3d479"
HEX = SHOWN.replace("-", "")
SPELLINGS = {
    "hyphenated": SHOWN,
    "upper case": SHOWN.upper(),
    "hex digits": HEX,
    "upper hex digits": HEX.upper(),
    "braced": f"{{{SHOWN}}}",
    "urn": f"urn:uuid:{SHOWN}",
    "upper urn": f"urn:uuid:{SHOWN.upper()}",
}
NO_UUIDS = ["", "x", "42", HEX[:-1], HEX + "0", HEX[:-1] + "g", SHOWN[:-1], f"{{{SHOWN}", f"uuid:{SHOWN}"]


@pytest.mark.parametrize("spelling", SPELLINGS)
def test_1_1_every_spelling_of_a_uuid_is_the_same_point(wire, make, spelling):
    name, text = make(), SPELLINGS[spelling]
    wire.put(name, (text, [1.0, 2.0], {"a": 1}))
    assert wire.ids(name) == [SHOWN]
    assert [one["id"] for one in wire.retrieve(name, {"ids": [text]})] == [SHOWN]
    assert wire.ids(name, {"has_id": [text]}) == [SHOWN]
    assert [one["id"] for one in wire.scroll(name, {"offset": text})["points"]] == [SHOWN]
    assert wire.query(name, {"query": text}) == []  # itself is left out, so it was found
    wire.set_payload(name, {"payload": {"a": 2}, "points": [text]})
    assert wire.payload(name, SHOWN) == {"a": 2}
    wire.delete(name, {"points": [text]})
    assert wire.ids(name) == []


@pytest.mark.parametrize("number", [0, 1, 2**63 - 1, 2**63, 2**64 - 1])
def test_1_1_every_u64_is_an_id(wire, make, number):
    name = make()
    wire.put(name, (number, [1.0, 2.0]))
    assert wire.ids(name) == [number]
    assert wire.retrieve(name, {"ids": [number], "with_payload": False}) == [{"id": number}]
    assert wire.ids(name, {"has_id": [number]}) == [number]


@pytest.mark.parametrize("text", NO_UUIDS)
def test_1_1_other_texts_are_no_ids(wire, make, text):
    name = make()
    with wire.refuses(format_error()):
        wire.put(name, (1, [1.0, 2.0]), (text, [1.0, 2.0]))
    with wire.refuses(format_error()):
        wire.retrieve(name, {"ids": [text]})
    with wire.refuses(format_error()):
        wire.count(name, {"filter": {"must": {"has_id": [text]}}})
    with wire.refuses(format_error()):
        wire.delete(name, {"points": [text]})
    assert wire.ids(name) == []


@pytest.mark.parametrize("number", ["1.0", "-1", "1e3", "18446744073709551616", "true", "null", "[1]"])
def test_1_2_a_number_that_is_no_non_negative_integer_is_a_format_error(rest, make, number):
    name = make()
    for method, path, body in (
        ("PUT", "points", '{"points":[{"id":%s,"vector":[1,2]}]}'),
        ("POST", "points", '{"ids":[%s]}'),
        ("POST", "points/count", '{"filter":{"must":[{"has_id":[%s]}]}}'),
        ("POST", "points/delete", '{"points":[%s]}'),
    ):
        with rest.refuses(format_error()):
            rest.json(method, f"/collections/{name}/{path}", (body % number).encode())


def test_1_3_a_path_names_a_number_or_a_uuid(rest, make):
    name = make()
    rest.put(name, (7, [1.0, 2.0]), (SHOWN, [1.0, 2.0]))
    get = lambda text: rest.json("GET", f"/collections/{name}/points/{text}")["id"]
    assert get("7") == 7
    for text in SPELLINGS.values():
        assert get(text.replace("{", "%7B").replace("}", "%7D")) == SHOWN
    for text in ("x", "-1", "1.0", "18446744073709551616"):
        with rest.refuses(wrong_input(f'Can not recognize "{text}" as point id')):
            get(text)


def test_1_4_numbers_come_before_uuids(wire, make):
    low, high = "00000000-0000-0000-0000-000000000001", "ffffffff-0000-0000-0000-000000000000"
    middle = ["00000000-0000-0000-0001-000000000000", "0a000000-0000-0000-0000-000000000000", "10000000-0000-0000-0000-000000000000"]
    ordered = [0, 2, 10, 2**63 + 5, 2**64 - 1, low, *middle, high]
    name = make()
    wire.put(name, *((one, [1.0, 1.0]) for one in reversed(ordered)))
    assert wire.ids(name) == ordered
    assert [one["id"] for one in wire.query(name, {"limit": 100})] == ordered
    seen, following = [], None
    while not seen or following is not None:
        page = wire.scroll(name, {"limit": 3, "offset": following})
        seen += [one["id"] for one in page["points"]]
        following = page["next_page_offset"]
    assert seen == ordered


def test_1_5_an_id_without_a_variant_is_an_invalid_argument(grpc, make):
    name, empty = make(), pb.PointId()
    vector = pb.Vectors(vector=pb.Vector(dense=pb.DenseVector(data=[1, 2])))
    only = pb.PointsSelector(points=pb.PointsIdsList(ids=[empty]))
    requests = {
        "Upsert": pb.UpsertPoints(collection_name=name, points=[pb.PointStruct(id=empty, vectors=vector)]),
        "Get": pb.GetPoints(collection_name=name, ids=[empty]),
        "Delete": pb.DeletePoints(collection_name=name, points=only),
        "Scroll": pb.ScrollPoints(collection_name=name, offset=empty),
        "Query": pb.QueryPoints(collection_name=name, query=pb.Query(nearest=pb.VectorInput(id=empty))),
        "Count": pb.CountPoints(collection_name=name, filter=pb.Filter(must=[pb.Condition(has_id=pb.HasIdCondition(has_id=[empty]))])),
    }
    for method, message in requests.items():
        with grpc.refuses(refused(Part("id"))):
            grpc.send(method, message)
    # No id at all is the same as an empty one.
    with grpc.refuses(refused(Part("id"))):
        grpc.send("Upsert", pb.UpsertPoints(collection_name=name, points=[pb.PointStruct(vectors=vector)]))


def test_1_6_slices_follow_the_bytes_of_the_id(wire, make):
    """SipHash-2-4 with a zero key."""
    uuids = [f"{at:08x}-0000-4000-8000-{at:012x}" for at in range(20)]
    hashes = {at: siphash24(at.to_bytes(8, "little")) for at in [*range(20), 2**64 - 1]}
    hashes |= {text: siphash24(bytes.fromhex(text.replace("-", ""))) for text in uuids}
    name = make()
    wire.put(name, *((one, [1.0, 1.0]) for one in hashes))
    for total in (1, 2, 7):
        for index in range(total):
            expected = {one for one, value in hashes.items() if value % total == index}
            assert set(wire.ids(name, {"slice": {"total": total, "index": index}})) == expected
