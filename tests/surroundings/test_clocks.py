"""Clocks that jump, and processes whose clocks differ: timeouts hold, and nobody waits for ever.

The machine's clock is left alone: a library that is loaded before all others lets one program's
wall clock jump by an hour whenever anybody looks at it. Clocks that differ for good are those of
time namespaces, as containers that were moved have them.
"""

import time

import pytest

from shmqueue import Empty, SharedMemoryQueue
from tests import evidence, support
from tests.support import CLOCK_SLACK, LIMIT
from tests.surroundings import namespaces, shims

TIMEOUT = 0.2
A_DAY = 86_400

# Each call with a timeout, and how much of it must have gone by when it gave up.
TIMEOUTS = """
import asyncio, sys, time
from shmqueue import Empty, Full, JoinableQueue, Queue, SharedMemoryQueue

run_id, timeout = sys.argv[1], float(sys.argv[2])
named = SharedMemoryQueue("q", create=True, capacity=2, item_size=64, run_id=run_id)
unnamed = Queue(2)

def how_long(call):
    began = time.perf_counter_ns()
    try:
        call()
        print("did not give up")
    except (Empty, Full):
        pass
    print((time.perf_counter_ns() - began) / 1e9)

how_long(lambda: named.get(timeout=timeout))
how_long(lambda: named.get_batch(2, timeout=timeout))
how_long(lambda: unnamed.get(timeout=timeout))
how_long(lambda: asyncio.run(named.get_async(timeout)))
assert not unnamed._reader.poll(timeout)
for queue in (named, unnamed):
    queue.put(1)
    queue.put(2)
    how_long(lambda: queue.put(3, timeout=timeout))
how_long(lambda: named.put_batch([3, 4], timeout=timeout))
metrics = named.get_metrics()
assert 0 <= metrics["oldest_item_age_seconds"] < 3600, metrics
assert 0 <= metrics["blocked_empty_seconds"] < 3600, metrics
assert all(0 <= row["idle_seconds"] < 3600 for row in metrics["seats"]), metrics
named.close()
named.unlink()
"""
CALLS = 7


@pytest.fixture(scope="module")
def shim(tmp_path_factory):
    """Return the library that lets a clock jump."""
    return shims.compiled(tmp_path_factory, "clock")


def _with_clock(shim, how):
    return shims.loaded(shim, SHMQ_TEST_CLOCK=how)


@pytest.mark.parametrize("way", ["+", "-", "~"])
def test_timeouts_do_not_look_at_a_wall_clock_that_jumps(programs, run_id, shim, way):
    output = programs.run(TIMEOUTS, run_id, TIMEOUT, prefix=_with_clock(shim, f"realtime {way}"))
    waited = [float(line) for line in output.split()]
    assert len(waited) == CALLS
    assert min(waited) >= TIMEOUT - CLOCK_SLACK
    evidence.report("surroundings", {"ways_the_wall_clock_jumped": 3, "calls_meanwhile": CALLS})


def test_a_call_that_waits_is_woken_whatever_the_wall_clock_does(programs, create, run_id, shim):
    queue = create()
    program = programs.start(
        """
        import sys
        from shmqueue import SharedMemoryQueue
        with SharedMemoryQueue("q", run_id=sys.argv[1]) as queue:
            print(queue.get(timeout=3600))
        """,
        run_id,
        prefix=_with_clock(shim, "realtime -"),
    )
    support.await_asleep(f"/proc/{program.pid}")
    queue.put("woken")
    assert programs.finish(program) == "woken\n"


def test_the_library_is_what_the_queue_looks_at(programs, run_id, shim):
    """Were its deadlines by the clock that jumps, an hour would be over at once."""
    output = programs.run(
        """
        import sys
        from shmqueue import Empty, SharedMemoryQueue
        queue = SharedMemoryQueue("q", create=True, run_id=sys.argv[1])
        try:
            queue.get(timeout=3600)
        except Empty:
            print("over")
        queue.close()
        queue.unlink()
        """,
        run_id,
        prefix=_with_clock(shim, "monotonic +"),
    )
    assert output == "over\n"


@pytest.mark.parametrize("ahead", [A_DAY, 1000 * A_DAY])
def test_processes_whose_monotonic_clocks_differ_share_a_queue(create, forks, turns, run_id, ahead):
    namespaces.need("time")
    queue = create(capacity=2, item_size=64)
    own = time.monotonic()

    def elsewhere():
        assert time.monotonic() > own + ahead - 1
        mine = SharedMemoryQueue("q", run_id=run_id)
        began = time.monotonic()
        with pytest.raises(Empty):
            mine.get(timeout=TIMEOUT)
        assert time.monotonic() - began >= TIMEOUT - CLOCK_SLACK
        turns.swap()
        assert mine.get(timeout=LIMIT) == "from here"
        mine.put("from there")
        mine.put("and more")
        turns.swap()
        mine.put("woken", timeout=LIMIT)
        mine.get_metrics()

    pid = namespaces.start_with_clock(forks, ahead, elsewhere)
    turns.hear_from(forks, pid)
    queue.put("from here")
    turns.say()
    turns.hear_from(forks, pid)
    metrics = queue.get_metrics()
    assert metrics["oldest_item_age_seconds"] >= 0
    assert all(row["attached_seconds"] >= 0 for row in metrics["seats"])
    turns.say()
    assert [queue.get(timeout=LIMIT) for _ in range(3)] == ["from there", "and more", "woken"]
    assert forks.wait(pid) == 0
    began = time.monotonic()
    with pytest.raises(Empty):
        queue.get(timeout=TIMEOUT)
    assert time.monotonic() - began >= TIMEOUT - CLOCK_SLACK
    assert queue.get_metrics()["takeovers"] == 0
    evidence.report("surroundings", {"seconds_between_monotonic_clocks": ahead})
