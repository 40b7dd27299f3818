"""Consumers as objects: run in threads and processes, with their errors and their figures."""

import functools
import multiprocessing
import os
import signal
import threading

import pytest

from shmqueue import Consumers
from shmqueue.errors import ConsumerDiedError
from tests.support import LIMIT, wait_until

WAYS = [False, multiprocessing.get_context("fork"), multiprocessing.get_context("spawn")]
way = pytest.mark.parametrize("processes", WAYS, ids=["threads", "fork", "spawn"])

pytestmark = pytest.mark.usefixtures("heap")


class BadItemError(Exception):
    pass


class Summing:
    """Adds up what it gets; fails at an item, or is killed at one."""

    def __init__(self, total, *, fails_at=None, killed_at=None):
        self.total = total
        self.fails_at = fails_at
        self.killed_at = killed_at

    def consume(self, items):
        if self.killed_at in items:
            os.kill(os.getpid(), signal.SIGKILL)
        if self.fails_at in items:
            raise BadItemError(self.fails_at)
        with self.total.get_lock():
            self.total.value += sum(items)

    def close(self):
        with self.total.get_lock():
            self.total.value += 1_000_000


def forget(total, items, error):
    with total.get_lock():
        total.value -= 500


def put_all(stream, count):
    put_all_of(stream, range(count))


def put_all_of(stream, items):
    with stream.writer() as out:
        out.put_batch(items)


@way
def test_consumers_share_a_group_until_the_stream_ends(stream, total, processes):
    put_all(stream, 100)
    consumers = Consumers(
        stream, "sum", functools.partial(Summing, total), workers=2, processes=processes
    )
    consumers.start().join(LIMIT)
    assert total.value == sum(range(100)) + 2 * 1_000_000
    figures = consumers.statistics()
    assert sum(row["items"] for row in figures) == 100
    assert sum(row["batches"] for row in figures) >= 1
    assert all(row["errors"] == 0 for row in figures)
    assert max(row["rate"] for row in figures) > 0


@way
def test_leaving_the_block_stops_them_after_what_they_have(stream, total, processes):
    with Consumers(
        stream, "sum", functools.partial(Summing, total), processes=processes
    ) as at_work:
        stream.put_batch(range(10))
        at_work.drain(LIMIT)
        assert total.value == 45
    assert total.value == 1_000_045
    assert at_work.statistics()[0]["blocked_seconds"] > 0


@way
def test_an_error_stops_all_and_is_raised(stream, total, processes):
    put_all(stream, 100)
    make = functools.partial(Summing, total, fails_at=50)
    consumers = Consumers(stream, "sum", make, workers=2, processes=processes, max_items=10)
    consumers.start()
    with pytest.raises(BadItemError, match="50"):
        consumers.join(LIMIT)
    assert [type(error) for error in consumers.errors] == [BadItemError]
    assert sum(row["errors"] for row in consumers.statistics()) == 1


def test_an_error_may_stop_all_and_be_looked_at(stream, total):
    put_all(stream, 100)
    make = functools.partial(Summing, total, fails_at=50)
    consumers = Consumers(stream, "sum", make, max_items=10, on_error="stop")
    consumers.start().join(LIMIT)
    assert [str(error) for error in consumers.errors] == ["50"]
    assert total.value == sum(range(50)) + 1_000_000


@way
def test_an_error_may_be_passed_over(stream, total, processes):
    put_all(stream, 100)
    make = functools.partial(Summing, total, fails_at=50)
    consumers = Consumers(stream, "sum", make, max_items=10, on_error="skip", processes=processes)
    consumers.start().join(LIMIT)
    assert total.value == sum(range(50)) + sum(range(60, 100)) + 1_000_000
    assert [str(error) for error in consumers.errors] == ["50"]


@way
def test_an_error_may_be_somebodys_business(stream, total, processes):
    put_all(stream, 100)
    make = functools.partial(Summing, total, fails_at=50)
    consumers = Consumers(
        *(stream, "sum", make),
        max_items=10,
        on_error=functools.partial(forget, total),
        processes=processes,
    )
    consumers.start().join(LIMIT)
    assert total.value == sum(range(50)) + sum(range(60, 100)) + 1_000_000 - 500


@pytest.mark.parametrize("processes", WAYS[1:], ids=["fork", "spawn"])
def test_a_killed_consumer_is_told_of_and_the_others_go_on(stream, total, processes):
    make = functools.partial(Summing, total, killed_at=50)
    consumers = Consumers(stream, "sum", make, workers=2, processes=processes, max_items=10).start()
    stream.put_batch(range(100))
    with pytest.raises(ConsumerDiedError):
        consumers.drain(LIMIT)
    put_all(stream, 10)
    with pytest.raises(ConsumerDiedError, match="ended by signal 9"):
        consumers.join(LIMIT)
    assert total.value >= sum(range(100)) - sum(range(41, 60)) + 45 + 1_000_000


class Unloadable:
    """Pickles to what raises ValueError when it is loaded."""

    def __reduce__(self):
        return int, ("no number",)


class Keeping:
    def __init__(self, batches):
        self.batches = batches

    def consume(self, items):
        self.batches.append(list(items))


def test_a_batch_lingers_for_more(stream):
    batches = []
    with (
        Consumers(stream, "sum", lambda: Keeping(batches), max_items=3, linger=LIMIT),
        stream.writer() as out,
    ):
        for number in range(3):
            out.put(number, timeout=LIMIT)
        wait_until(lambda: batches == [[0, 1, 2]], "a batch")


def test_items_of_one_dtype_come_as_arrays_also_where_they_linger(make_stream):
    batches = []
    stream = make_stream(groups=["sum"], dtype="<i4")
    with (
        Consumers(stream, "sum", lambda: Keeping(batches), max_items=3, linger=LIMIT),
        stream.writer() as out,
    ):
        for number in range(3):
            out.put(number, timeout=LIMIT)
        wait_until(lambda: batches == [[0, 1, 2]], "a batch")


def test_what_comes_in_while_a_batch_lingers_and_fails_is_raised_behind_it(stream):
    batches = []
    consumers = Consumers(stream, "sum", lambda: Keeping(batches), max_items=3, linger=LIMIT)
    stream.put("good")
    consumers.start()
    wait_until(lambda: stream.get_metrics()["groups"][0]["lag"] == 0, "it to be taken")
    stream.put(Unloadable())
    with pytest.raises(ValueError, match="no number"):
        consumers.join(LIMIT)
    assert batches == [["good"]]


def test_no_item_is_finished_before_it_was_consumed(make_stream):
    stream = make_stream(groups={"sum": {}, "after": {"after": "sum"}})
    seen = []

    class Looking:
        def __init__(self):
            self.after = stream.group("after")

        def consume(self, items):
            seen.append((items, self.after.qsize()))

        def close(self):
            seen.append(self.after.qsize())
            self.after.close()

    put_all_of(stream, [1, 2, Unloadable(), 4, 5])
    consumers = Consumers(stream, "sum", Looking).start()
    with pytest.raises(ValueError, match="no number"):
        consumers.join(LIMIT)
    assert seen == [([1, 2], 0), ([4, 5], 0), 5]


def test_draining_waits_for_what_is_being_consumed(stream):
    may_go_on, began = threading.Event(), threading.Event()

    class Slow:
        def consume(self, items):
            began.set()
            may_go_on.wait(LIMIT)

    consumers = Consumers(stream, "sum", Slow).start()
    stream.put(1)
    began.wait(LIMIT)
    wait_until(lambda: stream.get_metrics()["groups"][0]["lag"] == 0, "it to be taken")
    with pytest.raises(TimeoutError):
        consumers.drain(0.05)
    may_go_on.set()
    consumers.drain(LIMIT)
    consumers.stop()
    consumers.join(LIMIT)
    assert consumers.statistics()[0]["items"] == 1


def test_draining_what_has_stopped_says_so(stream, total):
    consumers = Consumers(stream, "sum", functools.partial(Summing, total)).start()
    consumers.stop()
    wait_until(lambda: total.value == 1_000_000, "its end")
    stream.put(1)
    with pytest.raises(RuntimeError, match=r"ended before all was consumed \(they were stopped\)"):
        consumers.drain(LIMIT)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"workers": 0}, ValueError),
        ({"max_items": 0}, ValueError),
        ({"linger": -1}, ValueError),
        ({"on_error": "sometimes"}, ValueError),
        ({"make": 5}, TypeError),
        ({"group": "none"}, LookupError),
    ],
)
def test_arguments_that_cannot_be(stream, options, error):
    with pytest.raises(error):
        Consumers(stream, **{"group": "sum", "make": Summing, **options})
