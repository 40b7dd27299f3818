"""Handles that poll rather than sleep: nothing is different but who pays for the wait."""

import os
import signal
from queue import Empty, Full

import pytest

import shmqueue
from shmqueue import SharedMemoryQueue, ShutDown
from tests.protocol.raw import AWAITED, TAIL
from tests.support import LIMIT, Thread, await_thread_asleep, wait_until

POLLING = ["spin", "yield", "block"]
SHORT = 0.02


@pytest.fixture(params=POLLING)
def queue(request, create):
    """A queue whose calls poll: by their strategy, or because they are given the time for it."""
    spin_seconds = 10 * LIMIT if request.param == "block" else None
    return create(capacity=2, item_size=64, wait_strategy=request.param, spin_seconds=spin_seconds)


def _waits(queue, what):
    wait_until(lambda: queue.get_metrics()[f"blocked_{what}_count"] == 1, "a call to wait")


def _get_until_told(run_id, strategy):
    found = []
    with SharedMemoryQueue("q", run_id=run_id, wait_strategy=strategy) as queue:
        while (item := queue.get(timeout=LIMIT)) is not None:
            found.append(item)
    return found


def test_a_get_waits_for_the_item(queue):
    getter = Thread(queue.get, timeout=LIMIT)
    _waits(queue, "empty")
    queue.put("there")
    assert getter.result() == "there"


def test_a_put_waits_for_room(queue):
    queue.put_batch([1, 2])
    putter = Thread(queue.put, 3, timeout=LIMIT)
    _waits(queue, "full")
    assert queue.get() == 1
    putter.result()
    assert queue.get_batch(2) == [2, 3]


@pytest.mark.parametrize("strategy", POLLING)
def test_another_process_gets_all_of_it(create, run_id, ctx, start, strategy):
    queue = create(capacity=2, item_size=64, wait_strategy=strategy)
    reader = start(ctx, _get_until_told, run_id, strategy)
    for number in range(500):
        queue.put(number, timeout=LIMIT)
    queue.put(None, timeout=LIMIT)
    assert reader.result() == list(range(500))


def test_who_polls_asks_nobody_to_ring(queue, open_raw):
    getter = Thread(queue.get, timeout=LIMIT)
    _waits(queue, "empty")
    assert not open_raw().owner(TAIL) & AWAITED
    queue.put("there")
    getter.result()


@pytest.mark.parametrize("strategy", POLLING)
def test_who_has_polled_for_long_enough_sleeps(create, open_raw, strategy):
    queue = create(capacity=2, item_size=64, wait_strategy=strategy, spin_seconds=SHORT)
    getter = Thread(queue.get, timeout=LIMIT)
    raw = open_raw()
    wait_until(lambda: raw.owner(TAIL) & AWAITED, "the getter to ask for the bell")
    await_thread_asleep(getter)
    queue.put("there")
    assert getter.result() == "there"


def test_a_wait_that_never_polls_sleeps_at_once_and_is_woken(create):
    queue = create(capacity=2, item_size=64, spin_seconds=0)
    getter = Thread(queue.get, timeout=LIMIT)
    await_thread_asleep(getter)
    queue.put("there")
    assert getter.result() == "there"


def test_timeouts_hold(queue):
    with pytest.raises(Empty):
        queue.get(timeout=SHORT)
    queue.put_batch([1, 2])
    with pytest.raises(Full):
        queue.put(3, timeout=SHORT)
    assert queue.get_batch(2) == [1, 2]


def test_closing_the_handle_ends_the_wait(queue):
    getter = Thread(queue.get)
    _waits(queue, "empty")
    queue.close()
    with pytest.raises(ValueError, match="closed"):
        getter.result()


def test_a_shutdown_ends_the_wait(queue):
    getter = Thread(queue.get)
    _waits(queue, "empty")
    queue.shutdown()
    with pytest.raises(ShutDown):
        getter.result()


def test_ctrl_c_ends_the_wait(queue):
    def interrupt():
        _waits(queue, "empty")
        os.kill(os.getpid(), signal.SIGINT)

    helper = Thread(interrupt)
    with pytest.raises(KeyboardInterrupt):
        queue.get(timeout=LIMIT)
    helper.result()


def test_a_wait_changes_its_way_when_the_handle_does(queue, open_raw):
    getter = Thread(queue.get, timeout=LIMIT)
    _waits(queue, "empty")
    queue.set_wait_strategy("block", spin_seconds=0)
    raw = open_raw()
    wait_until(lambda: raw.owner(TAIL) & AWAITED, "the getter to ask for the bell")
    queue.put("there")
    assert getter.result() == "there"


def test_a_handle_tells_how_it_waits(create):
    queue = create(wait_strategy="yield")
    assert queue.wait_strategy == "yield"
    queue.set_wait_strategy("spin", spin_seconds=0.001)
    assert queue.wait_strategy == "spin"
    queue.set_wait_strategy("block")
    assert queue.wait_strategy == "block"


def test_any_number_of_seconds_will_do(create):
    queue = create()
    for seconds in (0, 1e-9, 1, 10**400, float("inf")):
        queue.set_wait_strategy("block", seconds)
        with pytest.raises(Empty):
            queue.get(timeout=SHORT)


def test_queues_without_a_name_can_poll_as_well():
    queue = shmqueue.Queue(2)
    queue.set_wait_strategy("spin")
    with pytest.raises(Empty):
        queue.get(timeout=SHORT)
    queue.put("there")
    assert queue.get(timeout=LIMIT) == "there"
    queue.close()


@pytest.mark.parametrize(
    ("strategy", "spin_seconds", "told"),
    [
        ("busy", None, "one of 'block', 'spin', 'yield', not 'busy'"),
        (None, None, "not None"),
        (["spin"], None, r"not \['spin'\]"),
        ("spin", -1, "from 0 on, not -1"),
        ("spin", float("nan"), "from 0 on, not nan"),
        ("spin", "long", "not supported"),
    ],
)
def test_what_can_not_be_is_refused_and_changes_nothing(
    create, run_id, strategy, spin_seconds, told
):
    queue = create(wait_strategy="yield")
    with pytest.raises((TypeError, ValueError), match=told):
        queue.set_wait_strategy(strategy, spin_seconds)
    assert queue.wait_strategy == "yield"
    with pytest.raises((TypeError, ValueError), match=told):
        SharedMemoryQueue(
            "other", True, run_id=run_id, wait_strategy=strategy, spin_seconds=spin_seconds
        )
    with pytest.raises(FileNotFoundError):
        SharedMemoryQueue("other", run_id=run_id)
