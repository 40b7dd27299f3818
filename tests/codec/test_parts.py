"""Large buffers inside items, and items that are bytes: where they lie, and whose memory it is."""

import array
import contextlib
import copyreg
import dataclasses
import pickle
import sys
import threading

import pytest

from shmqueue._codec import dumps, loads
from tests import support
from tests.codec.test_arrays import address_of, aligned, assert_same, filled, lies_in
from tests.codec.test_policies import run

numpy = pytest.importorskip("numpy")

BYTES, PACKED, PICKLE, ARRAY, PARTS, BYTEARRAY = 1, 5, 6, 7, 8, 9
IN_PLACE_BYTES = 16384
POLICIES = ["cloudpickle", "multiprocessing"]


@pytest.fixture(params=POLICIES)
def policy(request):
    return request.param


@dataclasses.dataclass
class Frame:
    number: int
    pixels: object


class Buffered:
    """Offers its bytes to pickle as a buffer, and keeps what it gets back."""

    def __init__(self, buffer):
        self.buffer = buffer

    def __reduce__(self):
        return Buffered, (pickle.PickleBuffer(self.buffer),)


class Kept(numpy.ndarray):
    """A subclass that pickle knows nothing else about."""


def data_of(size):
    return bytearray(index % 251 for index in range(size))


def both(item, policy):
    """What arrives copied, what arrives in place, and the memory of the latter."""
    kind, data = dumps(item, policy)
    memory = aligned(data)
    return kind, (loads(kind, data), loads(kind, memory, in_place=True)), memory


@pytest.mark.parametrize(
    "wrap",
    [
        lambda pixels: {"id": 7, "pixels": pixels},
        lambda pixels: (1, [pixels, "x"]),
        lambda pixels: Frame(3, pixels),
        lambda pixels: [Frame(3, {"deep": (pixels,)})],
        lambda pixels: (pixels, lambda: 1),
    ],
    ids=["dict", "list in tuple", "dataclass", "dataclass in list", "beside a lambda"],
)
@pytest.mark.parametrize(
    "pixels",
    [
        filled((100, 200, 3), "u1"),
        filled((100, 200, 3), "u1")[:, ::2],
        numpy.asfortranarray(filled((100, 200), ">f8")),
        filled(9000, "M8[us]"),
        filled(3000, [("a", "i1"), ("b", "f8")]),
    ],
    ids=["plain", "not contiguous", "Fortran", "dates", "structured"],
)
def test_an_array_at_any_depth_stays_where_it_arrives(pixels, wrap, policy):
    kind, items, memory = both(wrap(pixels), policy)
    assert kind == PARTS
    for item in items:
        back = array_in(item)
        assert_same(back, pixels)
        assert back.__array_interface__["data"][0] % 64 == 0
    assert lies_in(back, memory)
    back[...] = back[:1]


def array_in(item):
    """The only array inside an item."""
    if isinstance(item, numpy.ndarray):
        return item
    if isinstance(item, Frame):
        return array_in(item.pixels)
    parts = item.values() if isinstance(item, dict) else item
    found = [
        array_in(part)
        for part in parts
        if isinstance(part, (list, tuple, dict, Frame, numpy.ndarray))
    ]
    return found[0]


def test_several_arrays_lie_apart_each_at_a_multiple_of_64(policy):
    item = {number: filled(20_000 + number, "u1") for number in range(50)}
    kind, items, memory = both(item, policy)
    assert kind == PARTS
    for back in items:
        assert list(back) == list(item)
        for number in item:
            assert_same(back[number], item[number])
            assert back[number].__array_interface__["data"][0] % 64 == 0
    assert all(lies_in(part, memory) for part in back.values())


def test_what_occurs_twice_is_one_object_again(policy):
    pixels = filled(30_000, "u1")
    for back in both([pixels, Frame(1, pixels)], policy)[1]:
        assert back[0] is back[1].pixels


def test_small_arrays_inside_items_own_their_memory(policy):
    for pixels in (filled(5, "f8"), filled((9, 9), "u2")[::2], filled((), "M8[s]")):
        kind, (back, _), _ = both(Frame(1, pixels), policy)
        assert kind == PICKLE
        assert_same(back.pixels, pixels)
        assert back.pixels.flags.owndata


def test_a_read_only_array_inside_an_item_arrives_writable(policy):
    for size in (5, 50_000):
        pixels = numpy.frombuffer(bytes(size), "u1")
        for back in both({"pixels": pixels}, policy)[1]:
            assert_same(back["pixels"], pixels)


def test_arrays_of_objects_and_of_subclasses_arrive_inside_items(policy):
    item = [
        numpy.array([1, None]),
        numpy.ma.masked_array(filled(30_000, "i4"), filled(30_000, "?")),
        numpy.rec.array([(1, 2.0)] * 5000, dtype=[("a", "i4"), ("b", "f8")]),
        filled((200, 200), "f8").view(Kept),
    ]
    for back in both(item, policy)[1]:
        assert back[0].tolist() == [1, None]
        for part, original in zip(back[1:], item[1:], strict=True):
            assert type(part) is type(original)
            assert part.dtype == original.dtype
            assert part.tolist() == original.tolist()


def test_a_buffer_of_the_least_size_stays_in_place_and_a_smaller_one_in_the_pickle(policy):
    for size, expected in ((IN_PLACE_BYTES, PARTS), (IN_PLACE_BYTES - 1, PICKLE)):
        kind, items, memory = both(Buffered(data_of(size)), policy)
        assert kind == expected
        for back in items:
            assert back.buffer == data_of(size)
        back.buffer[5] = 99
        assert (memory[-size + 5] == 99) == (expected == PARTS)


def test_a_buffer_that_must_not_be_written_arrives_so(policy):
    kind, items, _ = both(Buffered(b"x" * 50_000), policy)
    assert kind == PARTS
    for back in items:
        assert memoryview(back.buffer).readonly
        assert bytes(back.buffer) == b"x" * 50_000


def test_a_buffer_in_several_runs_is_refused_as_pickle_does(policy):
    with pytest.raises(pickle.PicklingError, match="contiguous"):
        dumps(Buffered(memoryview(bytearray(100_000))[::2]), policy)


def test_a_buffer_that_is_released_is_refused_as_pickle_does(policy):
    class Released:
        def __reduce__(self):
            buffer = pickle.PickleBuffer(bytearray(50_000))
            buffer.release()
            return Buffered, (buffer,)

    with pytest.raises(ValueError, match="released"):
        dumps([Released()], policy)


def test_a_buffer_cannot_be_resized_or_released_while_it_is_written(policy):
    # `dumps` writes at once; so the attempt is made while a later part of the item is pickled.
    memory = bytearray(50_000)
    buffer = pickle.PickleBuffer(memory)

    class First:
        def __reduce__(self):
            return Buffered, (buffer,)

    class Second:
        def __reduce__(self):
            buffer.release()
            with pytest.raises(BufferError):
                memory.clear()
            return int, ()

    for back in both([First(), Second()], policy)[1]:
        assert bytes(back[0].buffer) == bytes(50_000)
    memory.clear()


def test_what_arrives_keeps_the_memory_that_it_lies_in(policy):
    kind, data = dumps(
        [filled(50_000, "u1"), filled(60_000, "u1"), Buffered(data_of(20_000))], policy
    )
    memory = bytearray(data)
    references = sys.getrefcount(memory)
    back = loads(kind, memory, in_place=True)
    del back[1:]
    assert back[0].base is memory
    assert sys.getrefcount(memory) == references + 1
    assert_same(back[0], filled(50_000, "u1"))
    del back
    assert sys.getrefcount(memory) == references
    memory.clear()


def test_what_is_sent_does_not_change_with_the_item_afterwards(policy):
    item = [filled(50_000, "u1"), array.array("i", range(9000)), bytearray(b"x" * 50_000)]
    kind, data = dumps(item, policy)
    for part in item:
        part[0] = part[100] = 99
    back = loads(kind, data)
    assert (back[0][0], back[0][100]) == (0, 100)
    assert (back[1][0], back[1][100]) == (0, 100)
    assert back[2] == b"x" * 50_000


def test_an_item_that_is_sent_by_value_keeps_its_buffers_in_place():
    program = """
import sys
from shmqueue._codec import dumps
import numpy
class Frame:
    def __init__(self):
        self.pixels = numpy.arange(50_000)
kind, data = dumps(Frame())
assert kind == 8, kind
sys.stdout.buffer.write(data)
"""
    memory = aligned(run("-c", program))
    back = loads(PARTS, memory, in_place=True)
    assert_same(back.pixels, numpy.arange(50_000))
    assert lies_in(back.pixels, memory)


def test_threads_send_large_items_at_the_same_time(policy):
    def work(number):
        for i in range(60):
            item = [filled(20_000 + i, "u1"), "x" * i, filled((200, 200), "f4")[::2], number]
            back = loads(*dumps(item, policy))
            assert_same(back[0], item[0])
            assert_same(back[2], item[2])
            assert back[1::2] == item[1::2]

    for thread in [support.Thread(work, number) for number in range(4)]:
        thread.result()


def test_a_small_item_after_a_large_one_is_what_it_would_have_been(policy):
    alone = dumps(Frame(1, "x"), policy)
    for _ in range(3):
        assert dumps(Frame(1, filled(50_000, "u1")), policy)[0] == PARTS
        assert dumps(Frame(1, "x"), policy) == alone


# array.array


@pytest.mark.parametrize("typecode", "bBhHiIlLqQfd")
def test_a_typed_array_comes_back_with_memory_of_its_own(typecode, policy):
    for size in (0, 3, 20_000):
        typed = array.array(typecode, [index % 100 for index in range(size)])
        for item in (typed, [typed], {"k": Frame(1, typed)}):
            for back in both(item, policy)[1]:
                assert back == item
        back = loads(*dumps(typed, policy))
        assert type(back) is array.array
        assert back.typecode == typecode
        back.append(1)


@pytest.mark.filterwarnings("ignore:The 'u' type code:DeprecationWarning")
def test_a_typed_array_of_characters_comes_back(policy):
    typed = array.array("u", "ab€d" * 5000)
    assert loads(*dumps([typed], policy)) == [typed]


def test_a_large_typed_array_is_left_out_of_the_pickle(policy):
    assert dumps(array.array("i", range(9000)), policy)[0] == PARTS
    assert dumps(array.array("i", range(90)), policy)[0] == PICKLE


def test_a_registered_reducer_of_typed_arrays_counts(policy):
    copyreg.dispatch_table[array.array] = lambda typed: (len, (range(len(typed)),))
    try:
        assert loads(*dumps(array.array("i", range(9000)), policy)) == 9000
    finally:
        del copyreg.dispatch_table[array.array]


# buffers of other libraries


def test_the_buffers_of_arrow_stay_where_they_arrive(policy):
    arrow = pytest.importorskip("pyarrow")
    table = arrow.table({"n": list(range(20_000)), "s": ["word"] * 20_000})
    kind, items, memory = both({"table": table}, policy)
    assert kind == PARTS
    for back in items:
        assert back["table"].equals(table)
    buffer = back["table"]["n"].chunk(0).buffers()[1]
    assert 0 <= buffer.address - address_of(memory) < len(memory)


# bytes and bytearray


@pytest.mark.parametrize("size", [0, 1, 255, 16383, 16384, 65536, 1 << 20, (4 << 20) + 4097])
def test_bytes_and_bytearrays_of_any_size_come_back(size, policy):
    content = bytes(range(256)) * (size // 256) + bytes(size % 256)
    for item in (content, bytearray(content)):
        kind, items, _ = both(item, policy)
        for back in items:
            assert type(back) is type(item)
            assert back == item
    assert kind == (BYTEARRAY if size >= IN_PLACE_BYTES else PACKED)
    back += b"x"


def test_a_bytearray_cannot_be_resized_while_it_is_written():
    item, done = bytearray(b"x" * (8 << 20)), threading.Event()

    def resize():
        while not done.is_set():
            with contextlib.suppress(BufferError):
                item.append(120)
            with contextlib.suppress(BufferError):
                del item[8 << 20 :]

    thread = support.Thread(resize)
    try:
        for _ in range(50):
            back = loads(*dumps(item))
            assert back.count(b"x") == len(back) >= 8 << 20
    finally:
        done.set()
    thread.result()


# the policy that pickles nothing


def _kind(value):
    return type(value).__name__


@pytest.mark.parametrize(
    "buffer",
    [
        b"abc" * 1000,
        bytearray(b"abc" * 1000),
        memoryview(b"abc" * 1000),
        memoryview(b"xabc" * 1000)[1:],
        array.array("i", range(1000)),
        filled((20, 30), "f8"),
        filled(5, "M8[s]"),
        b"",
    ],
    ids=_kind,
)
def test_any_contiguous_buffer_travels_as_its_bytes(buffer):
    content = buffer.tobytes() if hasattr(buffer, "tobytes") else bytes(buffer)
    assert dumps(buffer, "bytes") == (BYTES, content)
    assert loads(BYTES, content) == content


@pytest.mark.parametrize("item", [1, "text", None, [b"x"], range(3), object()], ids=_kind)
def test_what_is_no_buffer_is_refused_where_nothing_is_pickled(item):
    with pytest.raises(TypeError, match="bytes-like"):
        dumps(item, "bytes")


def test_a_buffer_that_is_not_contiguous_is_refused_where_nothing_is_pickled():
    for item in (memoryview(b"abc" * 1000)[::2], filled((30, 30), "u1").T):
        with pytest.raises(ValueError, match="contiguous"):
            dumps(item, "bytes")
