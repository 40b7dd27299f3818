"""Whoever has to wait lets others have the core first, but for where that could cost too much."""

import textwrap

import pytest

from tests.surroundings import shims

BEGIN = """
import ctypes
import sys
from queue import Empty
from shmqueue import SharedMemoryQueue

shim = ctypes.CDLL(None)
yields = ctypes.c_long.in_dll(shim, "shmq_test_yields")
yield_ns = ctypes.c_long.in_dll(shim, "shmq_test_yield_ns")
queue = SharedMemoryQueue("q", create=True, run_id=sys.argv[1])

def wait(seconds):
    before = yields.value
    try:
        queue.get(timeout=seconds)
    except Empty:
        return yields.value - before
"""
END = """
queue.close()
queue.unlink()
"""


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """Return the library that sees each yield."""
    return shims.compiled(tmp_path_factory, "yields")


@pytest.fixture
def run(programs, run_id, shim):
    """Run a program that has `queue`, `wait(seconds)`, and the counts of the library."""

    def run(code):
        program = BEGIN + textwrap.dedent(code) + END
        return programs.run(program, run_id, prefix=shims.loaded(shim)).split()

    return run


def test_what_comes_in_while_others_have_the_core_is_got_without_a_sleep(run):
    """The item comes by a look at the ring alone: its bell is not rung."""
    done = run("""
        other = SharedMemoryQueue("q", run_id=sys.argv[1])
        callback = ctypes.CFUNCTYPE(None)(lambda: other.put("meanwhile"))
        hook = ctypes.c_void_p.in_dll(shim, "shmq_test_on_yield")
        hook.value = ctypes.cast(callback, ctypes.c_void_p).value
        print(queue.get(timeout=3600), yields.value)
        other.close()
    """)
    assert done == ["meanwhile", "1"]


def test_a_call_yields_once_and_not_with_a_deadline_that_is_near(run):
    assert run("print(wait(0.15), wait(0.05), wait(0), wait(0.15))") == ["1", "0", "0", "1"]


def test_after_a_yield_that_took_long_more_and_more_are_left_out(run):
    counts = run("""
        yield_ns.value = 5_000_000
        print(*(wait(0.12) for _ in range(11)))
        yield_ns.value = 0
        print(*(wait(0.12) for _ in range(10)))
    """)
    assert counts[:11] == list("10100100001")
    # Left out are eight more; that one is quick, and each is made again.
    assert counts[11:] == list("0000000011")


def test_a_handle_that_polls_for_some_time_does_not_yield_then(run):
    done = run("""
        queue.set_wait_strategy("spin", spin_seconds=0.001)
        print(wait(0.15))
    """)
    assert done == ["0"]
