import collections
import enum
import itertools
import math
import random
import struct

import pytest

from shmqueue._codec import dumps, loads
from tests.codec.items import CONTAINERS, SCALARS, fingerprint, random_item

BYTES, STR1, STR2, STR4, PACKED, PICKLE = range(1, 7)


@pytest.fixture(params=["cloudpickle", "multiprocessing"])
def round_trip(request):
    return lambda item: loads(*dumps(item, request.param))


@pytest.mark.parametrize("kind", sorted({type(item) for item in SCALARS}, key=repr))
def test_a_scalar_comes_back_as_it_was(kind, round_trip):
    for item in SCALARS:
        if type(item) is kind:
            assert fingerprint(round_trip(item)) == fingerprint(item)


@pytest.mark.parametrize("item", CONTAINERS, ids=lambda item: f"{type(item).__name__}-{len(item)}")
def test_a_container_comes_back_as_it_was(item, round_trip):
    assert fingerprint(round_trip(item)) == fingerprint(item)
    assert fingerprint(round_trip([item, (item, {"x": item})])) == fingerprint(
        [item, (item, {"x": item})]
    )


@pytest.mark.parametrize("seed", range(200))
def test_any_nesting_of_built_ins_comes_back_as_it_was(seed):
    item = random_item(random.Random(seed))
    assert fingerprint(loads(*dumps(item))) == fingerprint(item)


@pytest.mark.parametrize("bits", [0x7FF8000000000000, 0xFFF8000000000001, 0x7FFC0000DEADBEEF])
def test_a_nan_keeps_its_payload(bits):
    (nan,) = struct.unpack("<d", struct.pack("<Q", bits))
    for back in (loads(*dumps(nan)), loads(*dumps([nan]))[0], loads(*dumps(complex(0, nan))).imag):
        assert math.isnan(back)
        assert struct.pack("<d", back) == struct.pack("<d", nan)


def test_two_nans_stay_two_keys():
    first, second = float("nan"), float("nan")
    back = loads(*dumps({first: 1, second: 2}))
    assert list(back.values()) == [1, 2]
    assert len(loads(*dumps({first, second}))) == 2


@pytest.mark.parametrize(
    ("item", "kind"),
    [
        (b"x", BYTES),
        ("é", STR1),
        ("€", STR2),
        ("\ud800", STR2),
        ("\U0001f600", STR4),
        (7, PACKED),
        ({"a": [1, (2.5, None)], "b": {frozenset({1})}}, PACKED),
        (collections.OrderedDict(a=1), PICKLE),
        ([1, collections.OrderedDict()], PICKLE),
        (range(3), PICKLE),
    ],
)
def test_only_exact_built_ins_have_an_encoding_of_their_own(item, kind):
    assert dumps(item)[0] == kind
    assert loads(*dumps(item)) == item


class Name(str):
    pass


class Count(int):
    pass


class Rows(list):
    pass


class Colour(enum.IntEnum):
    RED = 1


@pytest.mark.parametrize("item", [Name("x"), Count(3), Rows([1]), Colour.RED, True])
def test_a_subclass_of_a_built_in_stays_what_it_is(item, round_trip):
    for back in (round_trip(item), round_trip([0, {"k": (item,)}])[1]["k"][0]):
        assert back == item
        assert type(back) is type(item)


def test_the_encoding_of_common_items_is_compact():
    assert len(dumps(7)[1]) == 1
    assert len(dumps({"id": 7, "name": "abc", "v": 1.5})[1]) == 2 + 3 + 1 + 5 + 4 + 2 + 9


# Identity


@pytest.mark.parametrize("shared", [[], [1], {}, {"a": 1}, set(), {1}, bytearray(b"x")], ids=repr)
def test_a_mutable_object_that_occurs_twice_is_one_object_again(shared, round_trip):
    back = round_trip([shared, {"x": shared}, (shared, [shared])])
    assert back[0] is back[1]["x"] is back[2][0] is back[2][1][0]
    assert back[0] == shared


def test_equal_objects_that_are_two_stay_two(round_trip):
    back = round_trip([[1], [1], {}, {}])
    assert back[0] is not back[1]
    assert back[2] is not back[3]


def test_a_shared_tuple_is_one_object_again(round_trip):
    shared = ([1], 2)
    back = round_trip([shared, {"x": shared}])
    assert back[0] is back[1]["x"]


def test_a_shared_frozenset_is_one_object_again(round_trip):
    shared = frozenset({1, 2})
    back = round_trip([shared, [shared]])
    assert back[0] is back[1][0]


@pytest.mark.parametrize(
    "keys",
    [lambda key: {key: 1}, lambda key: {key}, lambda key: frozenset({(key, 1)})],
    ids=["dict", "set", "frozenset"],
)
@pytest.mark.parametrize(
    "key", [(1, "a"), frozenset({(1, 2)}), 1 << 4000, "x" * 999, b"x" * 999], ids=type
)
def test_a_key_that_also_occurs_elsewhere_comes_back(keys, key, round_trip):
    key = loads(*dumps([key]))[0]
    item = [key, keys(key), keys(key), key]
    assert fingerprint(round_trip(item)) == fingerprint(item)


def test_a_long_string_that_occurs_often_is_sent_once():
    for long in ("x" * 100_000, b"x" * 100_000, "€" * 100_000, 1 << 800_000):
        kind, data = dumps([long] * 1000)
        assert kind == PACKED
        assert len(data) < 410_000
        assert loads(kind, data) == [long] * 1000


def test_objects_made_and_dropped_while_encoding_are_not_taken_for_each_other():
    # The elements of a set are listed for the walk; their addresses must not be used again.
    item = [{(i, j, "k" * 70) for j in range(50)} for i in range(50)]
    assert loads(*dumps(item)) == item


# Recursion


def test_a_list_may_contain_itself(round_trip):
    item = [1]
    item.append(item)
    back = round_trip(item)
    assert back[0] == 1
    assert back[1] is back


def test_a_dict_may_contain_itself_deep_inside(round_trip):
    item = {}
    item["x"] = [(1, {"y": item})]
    back = round_trip(item)
    assert back["x"][0][1]["y"] is back


def test_a_list_inside_may_contain_itself(round_trip):
    inner = []
    inner.append((inner,))
    back = round_trip([0, inner])
    assert back[1][0][0] is back[1]


def test_a_tuple_may_contain_a_list_that_contains_the_tuple(round_trip):
    item = ([],)
    item[0].append(item)
    back = round_trip(item)
    assert type(back) is tuple
    assert back[0][0] is back
    back = round_trip([item, 1])
    assert back[0][0][0] is back[0]


def test_cells_that_point_at_each_other_come_back(round_trip):
    first, second = {}, {}
    first["other"], second["other"] = second, first
    back = round_trip((first, second))
    assert back[0]["other"] is back[1]
    assert back[1]["other"] is back[0]


@pytest.mark.parametrize("depth", [100, 199, 200, 201, 400])
def test_a_deep_item_comes_back(depth, round_trip):
    for wrap in (lambda x: [x], lambda x: (x,), lambda x: {"k": x}, lambda x: frozenset({x})):
        item = 1
        for _ in range(depth):
            item = wrap(item)
        kind, _ = dumps(item)
        assert kind == (PACKED if depth <= 200 else PICKLE)
        back = round_trip(item)
        for _ in range(depth):
            assert type(back) is type(item)
            back = next(iter(back.values() if type(back) is dict else back))
        assert back == 1


def test_an_item_deeper_than_pickle_can_go_is_refused(round_trip):
    item = []
    for _ in range(100_000):
        item = [item]
    with pytest.raises(RecursionError, match="item of type 'list'"):
        round_trip(item)


def test_a_chain_of_shared_tuples_longer_than_the_depth_limit_comes_back(round_trip):
    chain = [()]
    for _ in range(1000):
        chain.append((chain[-1], 1))
    back = round_trip(chain)
    assert len(back) == len(chain)
    assert all(after[0] is before for before, after in itertools.pairwise(back[1:]))
