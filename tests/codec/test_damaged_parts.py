"""Damaged heads of arrays and of pickles with buffers are refused or mean something else."""

import json
import mmap
import multiprocessing
import pickle
import random
import struct

import pytest

from shmqueue._codec import dumps, loads
from shmqueue.errors import CorruptItemError
from tests import support
from tests.codec.test_arrays import NESTED, filled

numpy = pytest.importorskip("numpy")

ARRAY, PARTS, BYTEARRAY = 7, 8, 9

ARRAYS = {
    "small": filled((3, 4), "<f8"),
    "large": filled((100, 200), ">i4"),
    "Fortran": numpy.asfortranarray(filled((30, 40, 50), "M8[ns]")),
    "structured": filled((2, 300), NESTED),
    "of no dimension": filled((), "S20000"),
    "empty": filled((3, 0), "<U4"),
}


def array_or_nothing(data):
    """Load both ways; None if both refuse."""
    results = []
    for in_place in (False, True):
        try:
            results.append(loads(ARRAY, bytearray(data), in_place=in_place))
        except CorruptItemError:
            results.append(None)
    first, second = results
    if first is None or second is None:
        assert first is second is None
        return None
    assert first.dtype == second.dtype
    assert first.shape == second.shape
    assert first.tobytes() == second.tobytes()
    return first


@pytest.mark.parametrize("name", ARRAYS)
def test_any_byte_of_an_arrays_head_may_be_another(name):
    kind, data = dumps(ARRAYS[name])
    head = len(data) - ARRAYS[name].nbytes
    assert kind == ARRAY
    for position in range(head):
        for value in {1, 2, 0x40, 0x7F, 0x80, 0xFF, *b'09<>|OVfsSU[]{}",:'}:
            damaged = bytearray(data)
            damaged[position] ^= value
            back = array_or_nothing(damaged)
            if back is not None:
                assert not back.dtype.hasobject
                assert head - 64 < len(data) - back.nbytes < head + 64
                assert back.tobytes() is not None


@pytest.mark.parametrize("name", ARRAYS)
def test_an_array_that_is_cut_short_or_goes_on_is_refused(name):
    data = dumps(ARRAYS[name])[1]
    head = len(data) - ARRAYS[name].nbytes
    for end in {*range(head), *range(head, len(data), 97), len(data) - 1} - {len(data)}:
        assert array_or_nothing(data[:end]) is None
    assert array_or_nothing(data + b"\x00") is None
    assert array_or_nothing(data + bytes(64)) is None


@pytest.mark.parametrize("seed", range(10))
def test_an_array_damaged_at_several_places_loads_or_is_refused(seed):
    source = random.Random(seed)
    data = dumps(source.choice([*ARRAYS.values()]))[1]
    for _ in range(500):
        damaged = bytearray(data)
        for _ in range(source.choice([1, 2, 3, 8])):
            damaged[source.randrange(min(400, len(data)))] = source.randrange(256)
        array_or_nothing(damaged)


def payload(shape, text, size, order=0, items_at=None):
    """The payload of an array as told, whatever sense it makes."""
    text = text.encode()
    used = 8 + 8 * len(shape) + len(text)
    room = -(-used // 64) * 64 if items_at is None else items_at
    head = struct.pack("<BBHI", len(shape), order, len(text), room)
    head += struct.pack(f"<{len(shape)}q", *shape) + text
    return head.ljust(room, b"\x00") + bytes(size)


def structured(**changes):
    description = {
        "names": ["a", "b"],
        "formats": ["<i4", "<f4"],
        "offsets": [0, 4],
        "itemsize": 8,
        "aligned": False,
    }
    return json.dumps({**description, **changes}, separators=(",", ":"))


def nested(depth):
    text = "<i4"
    for _ in range(depth):
        text = {"names": ["a"], "formats": [text], "offsets": [0], "itemsize": 4, "aligned": False}
    return json.dumps(text, separators=(",", ":"))


def test_a_payload_as_it_should_be_is_read():
    assert array_or_nothing(payload((2, 3), "<i4", 24)).shape == (2, 3)
    assert array_or_nothing(payload((5000,), structured(), 40_000)).dtype.names == ("a", "b")
    assert array_or_nothing(payload((5000,), nested(10), 20_000)) is not None


@pytest.mark.parametrize(
    ("shape", "text", "size"),
    [
        ((-1,), "<i4", 0),
        ((-2, -3), "<i4", 24),
        ((1 << 62, 4), "<i4", 0),
        ((1 << 32, 1 << 32), "<i4", 0),
        ((1 << 61,), "<i8", 0),
        ((0, -1), "<i4", 0),
        ((0, 1 << 62, 1 << 62), "<i4", 0),
        (((1 << 63) - 1, 2), "|u1", 0),
        ((6,), "<i4", 23),
        ((6,), "<i4", 25),
        ((1,), "|O", 8),
        ((1,), "O", 8),
        ((1,), "object", 8),
        ((1,), "<O8", 8),
        ((1,), "", 8),
        ((1,), "f8", 8),
        ((1,), "=f8", 8),
        ((1,), "<f8 ", 8),
        ((1,), "<f9", 9),
        ((1,), "<i4,<f4", 8),
        ((1,), "|S0", 0),
        ((1,), "|V99999999999", 0),
        ((1,), "|S2147483648", 0),
        ((1,), "<M8[xx]", 8),
        ((1,), "<M8[0s]", 8),
        ((1,), "<f8\n", 8),
        ((1,), "{", 8),
        ((1,), "[]", 8),
        ((1,), "{}", 8),
        ((1,), "[" * 60_000, 8),
        ((1,), '{"a":' * 10_000, 8),
        ((1,), nested(300), 4),
        ((1,), structured(formats=["|O", "<f4"]), 8),
        ((1,), structured(formats=["<i4", "O"]), 8),
        ((1,), structured(formats=["<i4"]), 8),
        ((1,), structured(formats="<i"), 8),
        ((1,), structured(formats=5), 8),
        ((1,), structured(formats=[["<i4", [1 << 40]], "<f4"]), 8),
        ((1,), structured(formats=[["<i4", [-1]], "<f4"]), 8),
        ((1,), structured(formats=[["<i4", ["x"]], "<f4"]), 8),
        ((1,), structured(formats=[["<i4"], "<f4"]), 8),
        ((1,), structured(formats=[[], "<f4"]), 8),
        ((1,), structured(offsets=[0, -4]), 8),
        ((1,), structured(offsets=[0, 5]), 8),
        ((1,), structured(offsets=[0, 1 << 40]), 8),
        ((1,), structured(offsets=[0, 1.5]), 8),
        ((1,), structured(itemsize=7), 7),
        ((1,), structured(itemsize=-8), 8),
        ((1,), structured(itemsize=1 << 31), 8),
        ((1,), structured(itemsize=True), 8),
        ((1,), structured(names=["a", "a"]), 8),
        ((1,), structured(names=["a", 5]), 8),
        ((1,), structured(names=["a", None]), 8),
        ((1,), structured(aligned=1), 8),
        ((1,), structured(aligned="no"), 8),
        ((1,), structured(titles=["x", "y"]), 8),
        ((1,), structured(metadata={"x": 1}), 8),
        ((1,), structured() + " ", 8),
    ],
    ids=lambda value: str(value)[:30],
)
def test_what_no_array_is_is_refused(shape, text, size):
    assert array_or_nothing(payload(shape, text, size)) is None


def test_a_head_that_is_not_where_it_should_be_is_refused():
    assert array_or_nothing(payload((20_000,), "|u1", 20_000, items_at=24)) is None
    assert array_or_nothing(payload((2,), "|u1", 2, items_at=56)) is None
    assert array_or_nothing(payload((2,), "|u1", 2, items_at=128)) is None
    assert array_or_nothing(payload((2,), "|u1", 2, order=2)) is None
    assert array_or_nothing(payload((1,) * 65, "|u1", 1)) is None
    assert array_or_nothing(payload((1,) * 255, "|u1", 1)) is None


# pickles in parts


def parts():
    return dumps({"a": filled(20_000, "u1"), "b": [filled((100, 100), "f8"), "x" * 50]})


def load_or_raise(data):
    """Whether it loads, both ways. A pickle that is cut or shifted raises what pickle raises."""
    loaded = []
    for in_place in (False, True):
        try:
            loads(PARTS, bytearray(data), in_place=in_place)
        except MemoryError:
            raise
        except Exception:
            loaded.append(False)
        else:
            loaded.append(True)
    return all(loaded)


def test_any_byte_of_the_table_of_parts_may_be_another():
    kind, data = parts()
    assert kind == PARTS
    assert load_or_raise(data)
    for position in range(16 + 2 * 8):
        for value in (1, 2, 3, 0x10, 0x40, 0x80, 0xFF):
            damaged = bytearray(data)
            damaged[position] ^= value
            # A pickle that goes on for some bytes after its end is one still.
            assert not load_or_raise(damaged) or position == 8


def test_an_item_in_parts_that_is_cut_short_or_goes_on_is_refused():
    data = parts()[1]
    for end in [*range(2000), *range(2000, len(data), 499), len(data) - 1]:
        with pytest.raises(CorruptItemError):
            loads(PARTS, data[:end])
        assert not load_or_raise(data[:end])
    with pytest.raises(CorruptItemError, match="goes on"):
        loads(PARTS, data + bytes(64))


def packed(pickled, lengths, size=0, count=None):
    head = struct.pack("<QQ", len(lengths) if count is None else count, len(pickled))
    head += struct.pack(f"<{len(lengths)}Q", *lengths) + pickled
    return head.ljust(-(-len(head) // 64) * 64, b"\x00") + bytes(size)


PICKLED = pickle.dumps(5)


@pytest.mark.parametrize(
    "data",
    [
        packed(PICKLED, []),
        packed(PICKLED, [], 20_000),
        packed(PICKLED, [20_000], 20_000, count=2),
        packed(PICKLED, [20_000], 20_000, count=1 << 60),
        packed(PICKLED, [20_000], 20_000, count=(1 << 64) - 1),
        packed(PICKLED, [20_000], 20_001),
        packed(PICKLED, [20_001], 20_000),
        packed(PICKLED, [16_383], 16_383),
        packed(PICKLED, [0, 20_000], 20_000),
        packed(PICKLED, [(1 << 64) - 64, 20_000], 20_000),
        packed(PICKLED, [1 << 63, 1 << 63], 40_000),
        packed(PICKLED, [20_000, 20_000], 40_000),
        packed(PICKLED, [20_000, (1 << 64) - 20_000], 40_000),
    ],
    ids=range(13),
)
def test_parts_that_do_not_add_up_are_refused(data):
    for in_place in (False, True):
        with pytest.raises(CorruptItemError):
            loads(PARTS, bytearray(data), in_place=in_place)


def test_parts_that_nobody_refers_to_are_no_harm():
    assert loads(PARTS, packed(PICKLED, [20_000], 20_000)) == 5
    data = packed(PICKLED, [20_000, 20_032], 20_032 + 20_032)
    assert loads(PARTS, bytearray(data), in_place=True) == 5


def test_a_pickle_that_wants_more_buffers_than_there_are_is_refused():
    pickled = pickle.dumps([pickle.PickleBuffer(bytearray(9))] * 2, 5, buffer_callback=[].append)
    assert loads(PARTS, packed(pickled, [20_032, 20_000], 40_032))
    with pytest.raises(pickle.UnpicklingError, match="buffers"):
        loads(PARTS, packed(pickled[:-2] + b"\x97e.", [20_000], 20_000))


def scribble(memory, data, stop_at):
    """Change bytes of the head and change them back, until told to stop."""
    source = random.Random(1)
    while not memory[stop_at]:
        position = source.randrange(200)
        memory[position] = source.choice([0, 1, 0x7F, 0xFF])
        memory[position] = data[position]


@pytest.mark.parametrize("kind", [ARRAY, PARTS])
def test_memory_that_another_process_changes_is_read_once(kind):
    item = filled((100, 200), [("a", "i4"), ("b", "i4")])
    data = dumps(item if kind == ARRAY else [item])[1]
    memory = mmap.mmap(-1, len(data) + 1)
    memory[: len(data)] = data
    ctx = multiprocessing.get_context("fork")
    child = support.Child(ctx, scribble, memory, data, len(data))
    view = memoryview(memory)[: len(data)]
    loaded = 0
    try:
        for _ in range(3000):
            try:
                loads(kind, view, in_place=True)
                loaded += 1
            except MemoryError:
                raise
            except Exception:
                pass
    finally:
        memory[len(data)] = 1
    child.result()
    assert loaded


@pytest.mark.parametrize("kind", [10, 255, 1 << 31])
def test_a_kind_that_nothing_has_is_refused(kind):
    with pytest.raises(CorruptItemError, match="kind"):
        loads(kind, bytes(20_000))
