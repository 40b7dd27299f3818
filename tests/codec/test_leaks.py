"""Nothing stays behind, in loops long enough to show it."""

import contextlib
import gc
import pickle
import resource
import sys
import threading
import tracemalloc
import weakref

import pytest

from shmqueue._codec import dumps, loads
from shmqueue.errors import CorruptItemError

ROUNDS = 10_000
POLICIES = ["cloudpickle", "multiprocessing"]


class Part:
    def __init__(self, *values):
        self.values = values


SHARED = [1, "x" * 100]
ITEMS = {
    "int": 1 << 70,
    "str": "€" * 50,
    "bytes": b"x" * 500,
    "bytearray": bytearray(500),
    "nested": {
        "a": [SHARED, (1, 2.5, SHARED), {3, "four"}],
        "b": {(1, "k"): frozenset({2})},
        "c": "v" * 300,
    },
    "instance": Part(1, SHARED),
}


def recursive():
    item = [()]
    item.append(({"x": item},))
    return item


def assert_nothing_stays(work, rounds=ROUNDS):
    """Run `work` often: neither objects nor traced bytes may become more."""
    for _ in range(200):
        work()
    gc.collect()
    tracemalloc.start()
    try:
        for _ in range(100):
            work()
        gc.collect()
        objects, (bytes_before, _) = len(gc.get_objects()), tracemalloc.get_traced_memory()
        for _ in range(rounds):
            work()
        gc.collect()
        assert len(gc.get_objects()) - objects < 50
        assert tracemalloc.get_traced_memory()[0] - bytes_before < 20_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ITEMS)
def test_a_round_trip_leaves_nothing(name, policy):
    item = ITEMS[name]
    before = sys.getrefcount(item), sys.getrefcount(SHARED)
    assert_nothing_stays(lambda: loads(*dumps(item, policy)))
    assert (sys.getrefcount(item), sys.getrefcount(SHARED)) == before


@pytest.mark.parametrize("policy", POLICIES)
def test_a_recursive_item_leaves_nothing(policy):
    assert_nothing_stays(lambda: loads(*dumps(recursive(), policy)), rounds=3000)


@pytest.mark.parametrize("policy", POLICIES)
def test_an_item_that_is_sent_by_value_leaves_nothing(policy):
    shared = [1]
    before = sys.getrefcount(shared)
    assert_nothing_stays(lambda: dumps((lambda: 1, shared), policy), rounds=500)
    assert sys.getrefcount(shared) == before


@pytest.mark.parametrize("policy", POLICIES)
def test_an_item_that_is_refused_leaves_nothing(policy):
    item = [SHARED, {"k": (SHARED, "x" * 1000)}, threading.Lock()]
    before = sys.getrefcount(item), sys.getrefcount(SHARED), sys.getrefcount(item[2])

    def work():
        with contextlib.suppress(TypeError):
            dumps(item, policy)

    assert_nothing_stays(work, rounds=2000)
    assert (sys.getrefcount(item), sys.getrefcount(SHARED), sys.getrefcount(item[2])) == before


def test_damaged_bytes_leave_nothing():
    _, data = dumps(
        {"a": [SHARED, (SHARED, {1: SHARED})], "b": {(1, 2), "x" * 99}, "c": [bytearray(9)] * 2}
    )
    position = 0

    def work():
        nonlocal position
        position = (position + 1) % len(data)
        damaged = bytearray(data)
        damaged[position] = 0xB1
        for attempt in (damaged, data[:position]):
            with contextlib.suppress(CorruptItemError):
                loads(5, attempt)

    assert_nothing_stays(work)


def test_a_pickle_that_fails_to_load_leaves_nothing():
    data = pickle.dumps([Part(1), "x" * 2000], 5)[:-1]

    def work():
        with contextlib.suppress(pickle.UnpicklingError, EOFError):
            loads(6, data)

    assert_nothing_stays(work, rounds=3000)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize(
    "values",
    [["x" * 10], ["x" * 100_000], [lambda: 1], [threading.Lock()]],
    ids=["small", "large", "by value", "refused"],
)
def test_what_was_pickled_last_is_let_go_at_once(values, policy):
    item = Part(*values)
    gone = weakref.ref(item)
    gc.disable()
    try:
        with contextlib.suppress(TypeError):
            dumps(item, policy)
        del item
        assert gone() is None
    finally:
        gc.enable()


@pytest.mark.parametrize("policy", POLICIES)
def test_large_payloads_are_given_back(policy):
    items = [[b"x" * (1 << 20), 1], Part(b"x" * (1 << 20), bytearray(1 << 20)), bytearray(1 << 20)]
    refused = [Part(b"x" * (1 << 20), threading.Lock()), [bytes(1 << 20), threading.Lock()]]
    for item in items:
        loads(*dumps(item, policy))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for _ in range(150):
        for item in items:
            loads(*dumps(item, policy))
        for item in refused:
            with contextlib.suppress(TypeError):
                dumps(item, policy)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 100_000
