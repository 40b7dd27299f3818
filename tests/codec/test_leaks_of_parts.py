"""Nothing stays behind of arrays and buffers, whether they travelled or failed to."""

import array
import contextlib
import gc
import resource
import sys
import weakref

import pytest

from shmqueue._codec import dumps, loads
from tests.codec.test_arrays import NESTED, filled
from tests.codec.test_leaks import assert_nothing_stays
from tests.codec.test_parts import Buffered, Frame

numpy = pytest.importorskip("numpy")

ARRAY, PARTS = 7, 8
POLICIES = ["cloudpickle", "multiprocessing"]
TOO_LARGE = 1 << 45

ITEMS = {
    "small array": filled((3, 4), "f8"),
    "small array, not contiguous": filled((30, 40), "f8")[::2],
    "large array": filled(20_000, "u1"),
    "large array, not contiguous": filled((200, 200), "u1")[:, ::2],
    "structured array": filled(300, NESTED),
    "array of objects": numpy.array([1, "x" * 50, None]),
    "parts": Frame(1, {"a": filled(20_000, "u1"), "b": [filled(9000, "M8[s]")[::2]]}),
    "typed array": array.array("i", range(9000)),
    "bytearray": bytearray(20_000),
    "read-only buffer": Buffered(b"x" * 20_000),
}


class Refused(Exception):
    pass


class Refusing:
    def __reduce__(self):
        raise Refused


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ITEMS)
def test_a_round_trip_leaves_nothing(name, policy):
    item = ITEMS[name]
    memory = bytearray(dumps(item, policy)[1])
    before = sys.getrefcount(item), sys.getrefcount(memory)

    def work():
        kind, _ = dumps(item, policy)
        loads(kind, memory)
        loads(kind, memory, in_place=True)

    assert_nothing_stays(work, rounds=2000)
    assert (sys.getrefcount(item), sys.getrefcount(memory)) == before
    memory.clear()


@pytest.mark.parametrize("policy", POLICIES)
def test_an_item_whose_last_part_is_refused_lets_go_of_the_buffers_before_it(policy):
    memory, pixels = bytearray(50_000), filled(50_000, "u1")
    item = [Buffered(memory), pixels, pixels[::2], array.array("i", range(9000)), Refusing()]
    before = sys.getrefcount(memory), sys.getrefcount(pixels)

    def work():
        with contextlib.suppress(Refused):
            dumps(item, policy)

    work()
    memory.clear()  # at once, and not only when the collector has run
    memory.extend(bytes(50_000))
    assert_nothing_stays(work, rounds=1000)
    assert (sys.getrefcount(memory), sys.getrefcount(pixels)) == before


@pytest.mark.parametrize("policy", POLICIES)
def test_what_was_sent_is_let_go_of_at_once(policy):
    for wrap in (lambda pixels: pixels, lambda pixels: [pixels], lambda pixels: Frame(1, pixels)):
        pixels = filled(50_000, "u1")
        gone = weakref.ref(pixels)
        gc.disable()
        try:
            dumps(wrap(pixels), policy)
            del pixels
            assert gone() is None
        finally:
            gc.enable()


@pytest.mark.parametrize("policy", POLICIES)
def test_an_array_that_no_memory_can_hold_is_refused_and_leaves_nothing(policy):
    one = numpy.zeros(1, "u1")
    item = numpy.broadcast_to(one, (TOO_LARGE,))
    before = sys.getrefcount(item), sys.getrefcount(one)

    def work():
        for refused in (item, [item], [filled(50_000, "u1"), item]):
            with pytest.raises(MemoryError):
                dumps(refused, policy)

    assert_nothing_stays(work, rounds=300)
    assert (sys.getrefcount(item), sys.getrefcount(one)) == before


def test_damaged_arrays_and_parts_leave_nothing():
    payloads = [
        dumps(item)[1]
        for item in (filled(20_000, "u1"), filled(300, NESTED), [filled(20_000, "u1"), "x"])
    ]
    position = 0

    def work():
        nonlocal position
        position += 1
        for data in payloads:
            damaged = bytearray(data)
            damaged[position % 200] ^= 0x81
            for kind in (ARRAY, PARTS):
                for in_place in (False, True):
                    # A damaged pickle may raise anything.
                    with contextlib.suppress(Exception):
                        loads(kind, damaged, in_place=in_place)

    assert_nothing_stays(work, rounds=400)


def test_a_pickle_that_fails_to_load_lets_go_of_its_buffers():
    kind, data = dumps([filled(20_000, "u1"), Failing()])
    memory = bytearray(data)
    before = sys.getrefcount(memory)

    def work():
        for in_place in (False, True):
            with contextlib.suppress(Refused):
                loads(kind, memory, in_place=in_place)

    assert_nothing_stays(work, rounds=1000)
    assert sys.getrefcount(memory) == before
    memory.clear()


def fail():
    raise Refused


class Failing:
    """Is sent, and fails to load."""

    def __reduce__(self):
        return fail, ()


@pytest.mark.parametrize("policy", POLICIES)
def test_large_memory_is_given_back(policy):
    whole = filled((1 << 10, 1 << 11), "u1")
    items = [
        whole,
        whole[:, ::2],
        whole[:3, ::-1],
        [whole, whole[:, ::2]],
        bytearray(1 << 20),
        [array.array("b", bytes(1 << 20))],
        [whole, "x" * 100_000, Refusing()],
        [Buffered(bytearray(1 << 20)), Failing()],
    ]

    def work():
        for item in items:
            with contextlib.suppress(Refused):
                kind, data = dumps(item, policy)
                memory = bytearray(data)
                loads(kind, memory)
                loads(kind, memory, in_place=True)

    work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(100):
        work()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 60_000


@pytest.mark.parametrize("policy", POLICIES)
def test_small_blocks_of_memory_are_given_back(policy):
    # Of malloc, which tracemalloc does not see: heads and tables, pieces, flat payloads.
    items = [
        filled(3000, "u1"),
        filled((60, 50), "u1")[::2],
        filled(3000, NESTED),
        [filled(20_000, "u1")] + ["x" * 100_000],
        {number: filled(17_000, "u1") for number in range(40)},
    ]

    def work():
        for item in items:
            dumps(item, policy)

    for _ in range(50):
        work()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(3000):
        dumps(items[0], policy)
        dumps(items[1], policy)
        dumps(items[2], policy)
        dumps(items[3], policy)
    for _ in range(200):
        work()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 4_000
