"""Consumers and producers of streams that poll rather than sleep."""

import multiprocessing
import signal

import pytest

from tests.groups import workers
from tests.support import LIMIT, Thread, wait_until

FORK = multiprocessing.get_context("fork")


@pytest.fixture(params=["spin", "yield"])
def strategy(request):
    return request.param


def _waits(stream, what):
    wait_until(lambda: stream.get_metrics()[f"blocked_{what}_count"] > 0, "a call to wait")


def test_a_group_waits_as_the_handle_that_it_was_got_from(make_stream, strategy):
    stream = make_stream(wait_strategy=strategy)
    with stream.group("g") as group, stream.subscribe() as alone:
        assert group.wait_strategy == alone.wait_strategy == strategy
        getter = Thread(group.get, timeout=LIMIT)
        _waits(stream, "empty")
        stream.put("there")
        assert getter.result() == "there"


def test_a_producer_waits_for_the_slowest_group(make_stream, strategy):
    stream = make_stream(capacity=2, groups=["quick", "slow"], wait_strategy=strategy)
    stream.put_batch([1, 2])
    with stream.group("quick") as quick, stream.group("slow") as slow:
        assert quick.get_batch(2) == [1, 2]
        putter = Thread(stream.put, 3, timeout=LIMIT)
        _waits(stream, "full")
        assert slow.get() == 1
        putter.result()
        assert slow.get_batch(2) == [2, 3]


def test_one_who_comes_after_others_waits_for_them(make_stream, strategy):
    stream = make_stream(groups={"a": {}, "b": {"after": "a"}}, wait_strategy=strategy)
    stream.put("x")
    with stream.group("a") as a, stream.group("b") as b:
        getter = Thread(b.get, timeout=LIMIT)
        _waits(stream, "empty")
        assert a.get() == "x"
        a.done()
        assert getter.result() == "x"


def test_a_dead_subscriber_holds_no_polling_producer(make_stream, run_id, start, signs, strategy):
    stream = make_stream(capacity=2, ungrouped="drop", wait_strategy=strategy)
    said = signs(FORK)
    child = start(FORK, workers.subscribe_and_die, run_id, said.sender)
    said.await_word("subscribed")
    stream.put("taken, and then the end")
    assert child.wait() == -signal.SIGKILL
    for number in range(5):
        stream.put(number, timeout=LIMIT)


def test_a_polling_consumer_sees_the_end_of_the_stream(make_stream, strategy):
    stream = make_stream(groups=["g"], wait_strategy=strategy)
    with stream.group("g") as group:
        getter = Thread(list, group)
        with stream.writer() as out:
            out.put(1, timeout=LIMIT)
            _waits(stream, "empty")
        assert getter.result() == [1]


def test_a_polling_producer_passes_a_group_whose_items_have_become_old(make_stream, strategy):
    stream = make_stream(capacity=2, wait_strategy=strategy)
    with stream.group("g", drop_after=0.01) as group:
        for number in range(6):
            stream.put(number, timeout=LIMIT)
        assert group.lapped >= 3
        stream.shutdown()
        assert list(group) == list(range(group.lapped, 6))
