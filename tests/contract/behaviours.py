"""The contract, one class for each behaviour, whatever queue keeps it.

A subclass brings ``make_queue``: a fixture that returns ``make(capacity=1000)``.
multiprocessing.Queue hands its items to a thread, so a get here always waits for an item that was
put; what only shmqueue promises (to be there at once, to survive its putter) stands in tests/api.
"""

import collections
import datetime
import decimal
import enum
import fractions
import functools
import http
import math
import os
import pathlib
import queue as stdlib_queue
import signal
import time
import uuid

import pytest

from tests import support
from tests.contract import workers
from tests.support import CLOCK_SLACK, LIMIT, drain

# A timeout that no test waits for: whoever waits for it hangs.
ENDLESS = 100_000.0

TOO_LARGE = [2**31, 1e10, 1e300, math.inf, 10**400]


class Ordering:
    def test_items_come_out_in_the_order_they_went_in(self, make_queue):
        queue = make_queue()
        for number in range(500):
            queue.put(number)
        assert drain(queue, 500) == list(range(500))

    def test_order_holds_over_many_rounds_of_a_small_queue(self, make_queue):
        queue = make_queue(capacity=3)
        for start in range(0, 300, 3):
            for number in range(start, start + 3):
                queue.put(number)
            assert drain(queue, 3) == [start, start + 1, start + 2]

    def test_items_of_mixed_sizes_keep_their_order(self, make_queue):
        queue = make_queue(capacity=8)
        items = [bytes([n % 256]) * (n * 37 % 9000) for n in range(200)]
        feeder = support.Thread(workers.put_each, queue, items)
        assert drain(queue, 200) == items
        feeder.result()


class Limits:
    def test_put_blocks_no_longer_than_its_timeout_on_a_full_queue(self, make_queue):
        queue = make_queue(capacity=2)
        queue.put(1)
        queue.put(2)
        for call in [
            lambda: queue.put_nowait(3),
            lambda: queue.put(3, block=False),
            lambda: queue.put(3, False),
            lambda: queue.put(3, False, ENDLESS),
            lambda: queue.put(3, block=False, timeout=-1),
            lambda: queue.put(3, timeout=0),
            lambda: queue.put(3, timeout=-1),
            lambda: queue.put(3, True, -0.5),
            lambda: queue.put(3, timeout=0.001),
            lambda: queue.put(3, True, 0.01),
        ]:
            with pytest.raises(stdlib_queue.Full):
                call()
        assert queue.qsize() == 2
        assert drain(queue, 2) == [1, 2]
        with pytest.raises(stdlib_queue.Empty):
            queue.get(timeout=0.01)

    def test_get_blocks_no_longer_than_its_timeout_on_an_empty_queue(self, make_queue):
        queue = make_queue()
        for call in [
            lambda: queue.get_nowait(),
            lambda: queue.get(block=False),
            lambda: queue.get(False),
            lambda: queue.get(False, ENDLESS),
            lambda: queue.get(block=False, timeout=-1),
            lambda: queue.get(timeout=0),
            lambda: queue.get(timeout=-1),
            lambda: queue.get(True, -0.5),
            lambda: queue.get(timeout=0.001),
            lambda: queue.get(True, 0.01),
        ]:
            with pytest.raises(stdlib_queue.Empty):
                call()
        queue.put("still works")
        assert queue.get(timeout=LIMIT) == "still works"

    @pytest.mark.parametrize("timeout", [0, -1, 0.5, True, None])
    def test_no_timeout_keeps_a_put_from_room_that_is_there(self, make_queue, timeout):
        queue = make_queue(capacity=2)
        queue.put("a", timeout=timeout)
        queue.put("b", True, timeout)
        assert drain(queue, 2) == ["a", "b"]

    @pytest.mark.parametrize("timeout", [0, -1, 0.5, True, None])
    def test_no_timeout_keeps_a_get_from_an_item_that_is_there(self, make_queue, timeout):
        queue = make_queue()
        queue.put("a")
        support.wait_until(lambda: not queue.empty(), "the item to arrive")
        assert queue.get(timeout=timeout) == "a"

    @pytest.mark.parametrize("timeout", [0.05, 0.3, 1])
    def test_get_waits_at_least_as_long_as_its_timeout(self, make_queue, timeout):
        queue = make_queue()
        started = time.monotonic()
        with pytest.raises(stdlib_queue.Empty):
            queue.get(timeout=timeout)
        assert time.monotonic() - started >= timeout - CLOCK_SLACK

    @pytest.mark.parametrize("timeout", [0.05, 0.3, 1])
    def test_put_waits_at_least_as_long_as_its_timeout(self, make_queue, timeout):
        queue = make_queue(capacity=1)
        queue.put("fills it")
        started = time.monotonic()
        with pytest.raises(stdlib_queue.Full):
            queue.put("too much", timeout=timeout)
        assert time.monotonic() - started >= timeout - CLOCK_SLACK
        assert queue.get(timeout=LIMIT) == "fills it"

    def test_calls_that_wait_leave_the_core_to_others(self, make_queue):
        queue = make_queue(capacity=1)
        before, begun = time.thread_time(), time.monotonic()
        with pytest.raises(stdlib_queue.Empty):
            queue.get(timeout=0.5)
        queue.put("fills it")
        with pytest.raises(stdlib_queue.Full):
            queue.put("too much", timeout=0.5)
        assert time.monotonic() - begun >= 1 - 2 * CLOCK_SLACK
        assert time.thread_time() - before < 0.2

    @pytest.mark.parametrize("timeout", TOO_LARGE, ids=["2**31", "1e10", "1e300", "inf", "10**400"])
    def test_get_refuses_an_absurd_timeout_and_leaves_the_item(self, make_queue, timeout):
        queue = make_queue()
        queue.put("kept")
        support.wait_until(lambda: not queue.empty(), "the item to arrive")
        with pytest.raises(OverflowError):
            queue.get(timeout=timeout)
        assert queue.get(timeout=LIMIT) == "kept"

    def test_a_timeout_that_is_no_number_is_a_type_error(self, make_queue):
        queue = make_queue()
        with pytest.raises(TypeError):
            queue.get(timeout="1")
        with pytest.raises(TypeError):
            queue.put(1, timeout="1")
        with pytest.raises(TypeError):
            queue.get(True, [1])


class Counting:
    def test_a_new_queue_is_empty(self, make_queue):
        queue = make_queue(capacity=2)
        assert queue.qsize() == 0
        assert queue.empty() is True
        assert queue.full() is False

    def test_qsize_follows_puts_and_gets(self, make_queue):
        queue = make_queue(capacity=10)
        for number in range(4):
            queue.put(number)
            assert queue.qsize() == number + 1
        for left in (3, 2, 1, 0):
            queue.get(timeout=LIMIT)
            assert queue.qsize() == left

    def test_empty_and_full_tell_the_ends_of_the_range(self, make_queue):
        queue = make_queue(capacity=2)
        queue.put(1)
        support.wait_until(lambda: not queue.empty(), "the item to arrive")
        assert not queue.full()
        queue.put(2)
        assert queue.full()
        queue.get(timeout=LIMIT)
        assert not queue.full()
        queue.get(timeout=LIMIT)
        assert queue.empty()

    def test_exactly_capacity_items_fit_again_and_again(self, make_queue):
        queue = make_queue(capacity=7)
        for _ in range(5):
            for number in range(7):
                queue.put_nowait(number)
            with pytest.raises(stdlib_queue.Full):
                queue.put_nowait("one more")
            assert drain(queue, 7) == list(range(7))


class Closing:
    def test_a_closed_queue_refuses_every_call_with_a_value_error(self, make_queue):
        queue = make_queue()
        queue.close()
        for call in [
            lambda: queue.put(1),
            lambda: queue.put(1, block=False),
            lambda: queue.put(1, timeout=0.1),
            lambda: queue.put_nowait(1),
            lambda: queue.get(),
            lambda: queue.get(block=False),
            lambda: queue.get(timeout=0.1),
            lambda: queue.get_nowait(),
        ]:
            with pytest.raises(ValueError, match="is closed"):
                call()

    def test_closing_twice_is_closing_once(self, make_queue):
        queue = make_queue()
        queue.close()
        queue.close()


OBJECTS = [
    None,
    True,
    0,
    -1,
    2**63,
    -(10**60),
    1.5,
    -0.0,
    math.inf,
    2 - 3j,
    "",
    "naïve \U0001f40d\n",
    "\udcff",
    b"",
    b"\x00\xff" * 3,
    bytearray(b"abc"),
    (),
    (1, "two", (3.0, None)),
    [],
    [[1], [2, [3]]],
    {},
    {"a": {"b": [1, 2]}, (1, 2): {3}, None: b"x"},
    {1, "two", (3,)},
    frozenset([1, 2]),
    ...,
    NotImplemented,
    range(3, 30, 4),
    slice(1, 2, 3),
    decimal.Decimal("1.10"),
    fractions.Fraction(3, 7),
    datetime.datetime(2024, 2, 29, 1, 2, 3, tzinfo=datetime.timezone.utc),
    datetime.timedelta(days=-3, microseconds=5),
    pathlib.PurePosixPath("/a/b"),
    uuid.UUID(int=7),
    http.HTTPStatus.NOT_FOUND,
    enum.Flag,
    collections.OrderedDict([("b", 1), ("a", 2)]),
    collections.defaultdict(list, {"k": [1]}),
    collections.Counter("aab"),
    collections.deque([1, 2, 3], maxlen=3),
    workers.Point(1, "y"),
    workers.Order(7, ["a", {"b": 2}]),
    workers.echo,
    workers.Order,
    len,
    os.path.join,
]

ERRORS = [
    ValueError("bad", 3),
    KeyError("k"),
    OSError(28, "No space left on device"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    StopIteration(5),
    KeyboardInterrupt(),
    SystemExit(3),
    stdlib_queue.Empty(),
    workers.RefusedError(7, "why"),
]


def _name(value):
    """What a test is called: the same in every process, so no address and no order of hashes."""
    if isinstance(value, set | frozenset):
        shown = str(sorted(map(repr, value)))
    else:
        shown = getattr(value, "__name__", None) or repr(value)
    return f"{type(value).__name__}-{shown}"[:40]


class Objects:
    @pytest.mark.parametrize("value", OBJECTS, ids=_name)
    def test_an_object_comes_out_equal_and_of_its_type(self, make_queue, value):
        queue = make_queue()
        queue.put(value)
        found = queue.get(timeout=LIMIT)
        assert type(found) is type(value)
        assert found == value
        if isinstance(value, float):
            assert repr(found) == repr(value), "-0.0 is not 0.0"

    @pytest.mark.parametrize("error", ERRORS, ids=_name)
    def test_an_exception_is_an_item_like_any_other(self, make_queue, error):
        queue = make_queue()
        queue.put(error)
        queue.put([error])
        found, listed = queue.get(timeout=LIMIT), queue.get(timeout=LIMIT)[0]
        for one in (found, listed):
            assert type(one) is type(error)
            assert one.args == error.args
            assert vars(one) == vars(error)

    def test_a_bound_method_and_a_partial_travel(self, make_queue):
        queue = make_queue()
        queue.put([1, 2].count)
        queue.put(functools.partial(divmod, 7))
        count, partial = drain(queue, 2)
        assert (count(2), partial(2)) == (1, (3, 1))

    def test_what_an_item_shares_within_itself_stays_shared(self, make_queue):
        queue = make_queue()
        inner = [1]
        recursive = [inner, inner]
        recursive.append(recursive)
        queue.put(recursive)
        found = queue.get(timeout=LIMIT)
        assert found[0] is found[1]
        assert found[2] is found
        assert found[0] == [1]

    def test_nan_stays_nan(self, make_queue):
        queue = make_queue()
        queue.put(math.nan)
        assert math.isnan(queue.get(timeout=LIMIT))

    def test_deep_nesting_travels(self, make_queue):
        queue = make_queue()
        nested = []
        for _ in range(100):
            nested = [nested, {"k": (nested,)}] if len(repr(nested)) < 1000 else [nested]
        queue.put(nested)
        assert repr(queue.get(timeout=LIMIT)) == repr(nested)

    def test_an_item_of_a_megabyte_travels_between_small_ones(self, make_queue):
        queue = make_queue()
        large = os.urandom(1 << 20)
        queue.put("before")
        queue.put(large)
        queue.put("after")
        assert drain(queue, 3) == ["before", large, "after"]


class Threads:
    def test_every_item_of_many_threads_arrives_once_and_in_its_threads_order(self, make_queue):
        queue = make_queue(capacity=10)
        producers = [support.Thread(workers.produce, queue, n, 300) for n in range(3)]
        consumers = [support.Thread(workers.consume, queue) for _ in range(3)]
        for producer in producers:
            producer.result()
        for _ in consumers:
            queue.put(None)
        received = [consumer.result() for consumer in consumers]
        _assert_each_once_in_order(received, producers=3, count=300)

    def test_an_item_wakes_a_thread_blocked_in_get(self, make_queue):
        queue = make_queue()
        getter = support.Thread(queue.get)
        support.await_thread_asleep(getter)
        queue.put("wake up")
        assert getter.result() == "wake up"

    def test_room_wakes_a_thread_blocked_in_put(self, make_queue):
        queue = make_queue(capacity=1)
        queue.put("first")
        putter = support.Thread(queue.put, "second")
        support.await_thread_asleep(putter)
        assert queue.get(timeout=LIMIT) == "first"
        putter.result()
        assert queue.get(timeout=LIMIT) == "second"

    def test_a_blocked_get_lets_other_threads_run(self, make_queue):
        queue = make_queue()
        getters = [support.Thread(queue.get) for _ in range(3)]
        for getter in getters:
            support.await_thread_asleep(getter)
        assert sum(range(1000)) == 499500
        workers.put_each(queue, "abc")
        assert sorted(getter.result() for getter in getters) == ["a", "b", "c"]


def _assert_each_once_in_order(received, producers, count):
    everything = sorted(item for items in received for item in items)
    assert everything == [(p, n) for p in range(producers) for n in range(count)]
    for items in received:
        for producer in range(producers):
            numbers = [number for who, number in items if who == producer]
            assert numbers == sorted(numbers)


class Processes:
    def test_a_child_gets_what_its_parent_puts(self, make_queue, ctx, start):
        queue = make_queue()
        child = start(ctx, workers.get_count, queue, 20)
        items = [(n, str(n), [n] * n) for n in range(20)]
        workers.put_each(queue, items)
        assert child.result() == items

    def test_a_parent_gets_what_its_child_puts(self, make_queue, ctx, start):
        queue = make_queue(capacity=4)
        child = start(ctx, workers.put_each, queue, list(range(100)))
        assert drain(queue, 100) == list(range(100))
        child.result()

    def test_items_of_one_producer_keep_their_order_among_others(self, make_queue, ctx, start):
        queue = make_queue(capacity=16)
        children = [start(ctx, workers.produce, queue, n, 200) for n in range(3)]
        received = drain(queue, 600)
        for child in children:
            child.result()
        _assert_each_once_in_order([received], producers=3, count=200)

    def test_many_producers_and_consumers_share_each_item_once(self, make_queue, ctx, start):
        queue = make_queue(capacity=32)
        producers = [start(ctx, workers.produce, queue, n, 400) for n in range(3)]
        consumers = [start(ctx, workers.consume, queue) for _ in range(3)]
        for producer in producers:
            producer.result()
        for _ in consumers:
            queue.put(None)
        received = [consumer.result() for consumer in consumers]
        _assert_each_once_in_order(received, producers=3, count=400)

    def test_two_queues_make_a_dialogue(self, make_queue, ctx, start):
        questions, answers = make_queue(capacity=1), make_queue(capacity=1)
        child = start(ctx, workers.echo, questions, answers)
        for item in [*range(50), "text", {"k": [1, 2]}, workers.Order(1, [])]:
            questions.put(item)
            assert answers.get(timeout=LIMIT) == item
        questions.put(None)
        child.result()

    def test_a_producer_wakes_a_blocked_consumer(self, make_queue, ctx, start, signs):
        queue, words = make_queue(), signs(ctx)
        child = start(ctx, workers.get_saying_so, queue, words.sender)
        words.await_word("getting")
        support.await_asleep(f"/proc/{child.pid}")
        queue.put("wake up")
        assert child.result() == "wake up"

    def test_a_consumer_wakes_a_blocked_producer(self, make_queue, ctx, start, signs):
        queue, words = make_queue(capacity=1), signs(ctx)
        queue.put("first")
        child = start(ctx, workers.put_saying_so, queue, "second", words.sender)
        words.await_word("putting")
        support.await_asleep(f"/proc/{child.pid}")
        assert queue.get(timeout=LIMIT) == "first"
        assert queue.get(timeout=LIMIT) == "second"
        assert child.result() == "put"

    def test_each_of_several_blocked_consumers_gets_an_item(self, make_queue, ctx, start, signs):
        queue, words = make_queue(), signs(ctx)
        children = [start(ctx, workers.get_saying_so, queue, words.sender) for _ in range(3)]
        for _ in children:
            words.await_word("getting")
        for child in children:
            support.await_asleep(f"/proc/{child.pid}")
        workers.put_each(queue, range(3))
        assert sorted(child.result() for child in children) == [0, 1, 2]


class Interrupts:
    @pytest.mark.parametrize("timeout", [None, ENDLESS])
    def test_ctrl_c_interrupts_a_blocked_get(self, make_queue, ctx, start, signs, timeout):
        queue, words = make_queue(), signs(ctx)
        child = start(ctx, workers.get_until_interrupted, queue, timeout, words.sender)
        words.await_word("getting")
        support.await_asleep(f"/proc/{child.pid}")
        child.interrupt()
        words.await_word("interrupted")
        queue.put("after")
        assert child.result() == "after"

    @pytest.mark.parametrize("timeout", [None, ENDLESS])
    def test_ctrl_c_interrupts_a_blocked_put(self, make_queue, ctx, start, signs, timeout):
        queue, words = make_queue(capacity=1), signs(ctx)
        queue.put("before")
        child = start(ctx, workers.put_until_interrupted, queue, timeout, words.sender)
        words.await_word("putting")
        support.await_asleep(f"/proc/{child.pid}")
        child.interrupt()
        words.await_word("interrupted")
        assert drain(queue, 2) == ["before", "after"]
        assert child.result() == "interrupted"
        assert queue.empty()

    def test_a_signal_whose_handler_returns_does_not_end_a_get(self, make_queue, ctx, start, signs):
        queue, words = make_queue(), signs(ctx)
        child = start(ctx, workers.get_among_signals, queue, words.sender)
        words.await_word("getting")
        for _ in range(3):
            support.await_asleep(f"/proc/{child.pid}")
            os.kill(child.pid, signal.SIGUSR1)
            words.await_word("handled")
        queue.put("at last")
        assert child.result() == ("at last", 3)

    @pytest.mark.parametrize(("method", "args"), [("get", ()), ("put", ("x",))])
    def test_signals_do_not_shorten_a_wait(self, make_queue, ctx, start, method, args):
        queue = make_queue(capacity=1)
        if method == "put":
            queue.put("fills it")
        child = start(ctx, workers.time_out_among_signals, queue, method, args, 0.3)
        waited = child.result()
        assert waited is not None
        assert waited >= 0.3 - CLOCK_SLACK
        if method == "put":
            assert queue.get(timeout=LIMIT) == "fills it"
