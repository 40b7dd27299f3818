"""put_batch is atomic and contiguous; get_batch takes what is there."""

import queue as stdlib_queue
import threading
import time

import pytest

from tests import support
from tests.api import workers
from tests.support import CLOCK_SLACK, LIMIT, drain


class TestPutBatch:
    def test_the_items_come_out_in_order_between_their_neighbours(self, create):
        queue = create()
        queue.put("before")
        queue.put_batch([1, "two", [3], None, b"4"])
        queue.put("after")
        assert drain(queue, 7) == ["before", 1, "two", [3], None, b"4", "after"]

    def test_an_empty_batch_does_nothing_even_on_a_full_queue(self, create):
        queue = create(capacity=1)
        queue.put_batch([])
        assert queue.empty()
        queue.put("fills it")
        queue.put_batch([])
        queue.put_batch(iter(()), block=False)
        assert drain(queue, 1) == ["fills it"]

    def test_a_batch_of_exactly_the_capacity_fits_again_and_again(self, create):
        queue = create(capacity=5)
        for start in range(0, 50, 5):
            queue.put_batch(range(start, start + 5), timeout=LIMIT)
            assert queue.full()
            assert drain(queue, 5) == list(range(start, start + 5))

    @pytest.mark.parametrize("block", [True, False])
    def test_one_longer_than_the_capacity_is_a_value_error_that_says_so(self, create, block):
        queue = create(capacity=5)
        queue.put("kept")
        with pytest.raises(ValueError, match=r"\b6\b.*\b5\b|\b5\b.*\b6\b"):
            queue.put_batch(list(range(6)), block=block)
        with pytest.raises(ValueError):
            queue.put_batch((n for n in range(50)), block=block)
        assert queue.get_batch(10) == ["kept"]

    def test_a_generator_is_read_to_its_end(self, create):
        queue = create()
        queue.put_batch(n * n for n in range(5))
        queue.put_batch({"a": 1, "b": 2})
        queue.put_batch("xy")
        assert queue.get_batch(100) == [0, 1, 4, 9, 16, "a", "b", "x", "y"]

    def test_a_generator_that_raises_leaves_the_queue_unchanged(self, create):
        queue = create()
        queue.put("kept")

        def items():
            yield 1
            yield 2
            raise LookupError("no third")

        with pytest.raises(LookupError, match="no third"):
            queue.put_batch(items())
        assert queue.get_batch(10) == ["kept"]

    def test_a_generator_may_use_the_queue_itself(self, create):
        queue = create()
        queue.put_batch([1, 2, 3])
        queue.put_batch(queue.get() * 10 for _ in range(3))
        assert queue.get_batch(10) == [10, 20, 30]

    @pytest.mark.parametrize("items", [None, 5, object()], ids=["None", "int", "object"])
    def test_what_cannot_be_iterated_is_a_type_error(self, create, items):
        queue = create()
        with pytest.raises(TypeError):
            queue.put_batch(items)
        assert queue.empty()

    def test_an_item_that_cannot_be_serialised_leaves_the_queue_unchanged(self, create):
        queue = create()
        queue.put("kept")
        with pytest.raises(TypeError, match="lock"):
            queue.put_batch([1, bytes(100_000), threading.Lock(), 4])
        assert queue.qsize() == 1
        assert queue.get_batch(10) == ["kept"]
        queue.put_batch([5, 6])
        assert queue.get_batch(10) == [5, 6]

    def test_without_room_for_all_nothing_is_put(self, create):
        queue = create(capacity=5)
        queue.put_batch("abc")
        for call in [
            lambda: queue.put_batch("xyz", block=False),
            lambda: queue.put_batch("xyz", False),
            lambda: queue.put_batch("xyz", timeout=0),
            lambda: queue.put_batch("xyz", timeout=-1),
            lambda: queue.put_batch("xyz", True, 0.01),
        ]:
            with pytest.raises(stdlib_queue.Full):
                call()
            assert queue.qsize() == 3
        queue.put_batch("de", block=False)
        assert queue.get_batch(10) == list("abcde")

    def test_it_waits_at_least_as_long_as_its_timeout(self, create):
        queue = create(capacity=2)
        queue.put(1)
        started = time.monotonic()
        with pytest.raises(stdlib_queue.Full):
            queue.put_batch([2, 3], timeout=0.2)
        assert time.monotonic() - started >= 0.2 - CLOCK_SLACK

    def test_a_blocked_batch_goes_in_whole_once_there_is_room(self, create):
        queue = create(capacity=10)
        queue.put_batch(range(5))
        putter = support.Thread(queue.put_batch, "abcdefgh")
        for number in range(2):
            support.await_thread_asleep(putter)
            assert queue.get_nowait() == number
            assert queue.qsize() == 4 - number
        assert drain(queue, 11) == [2, 3, 4, *"abcdefgh"]
        putter.result()

    def test_large_and_small_items_mix(self, create):
        queue = create(item_size=128)
        items = [b"a" * 1_000_000, "small", b"b" * 127, b"c" * 128, b"d" * 129, b"e" * 300_000]
        queue.put_batch(items)
        assert drain(queue, 6) == items
        queue.put_batch(items)
        found = []
        while len(found) < 6:
            # How many come at once is open where some are large.
            found += queue.get_batch(10)
        assert found == items

    def test_batches_of_concurrent_producers_stay_contiguous(self, create, ctx, start):
        queue = create(capacity=25)
        children = [start(ctx, workers.put_batches, queue, n, 40, 10) for n in range(3)]
        received = drain(queue, 3 * 40 * 10)
        for child in children:
            child.result()
        heads = received[::10]
        for place, head in enumerate(heads):
            producer, batch, first = head
            assert first == 0
            expected = [(producer, batch, n) for n in range(10)]
            assert received[place * 10 : place * 10 + 10] == expected
        for producer in range(3):
            assert [b for p, b, _ in heads if p == producer] == list(range(40))

    def test_a_batch_wakes_every_consumer_it_can_feed(self, create):
        queue = create()
        getters = [support.Thread(queue.get) for _ in range(3)]
        for getter in getters:
            support.await_thread_asleep(getter)
        queue.put_batch("abc")
        assert sorted(getter.result() for getter in getters) == ["a", "b", "c"]


class TestGetBatch:
    def test_it_returns_what_is_there_without_waiting_for_more(self, create):
        queue = create()
        queue.put_batch("abc")
        assert queue.get_batch(10) == ["a", "b", "c"]
        assert queue.empty()

    def test_it_returns_no_more_than_was_asked_for(self, create):
        queue = create()
        queue.put_batch(range(10))
        assert queue.get_batch(4) == [0, 1, 2, 3]
        assert queue.get_batch(1) == [4]
        assert queue.get_batch(100) == [5, 6, 7, 8, 9]

    def test_it_works_across_the_end_of_the_ring(self, create):
        queue = create(capacity=7)
        expected = 0
        for start in range(0, 50, 5):
            queue.put_batch(range(start, start + 5))
            batch = queue.get_batch(100)
            assert batch == list(range(expected, expected + 5))
            expected += 5

    def test_it_waits_for_the_first_item(self, create):
        queue = create()
        getter = support.Thread(queue.get_batch, 10)
        support.await_thread_asleep(getter)
        queue.put("first")
        assert getter.result() == ["first"]

    def test_it_raises_empty_as_get_does(self, create):
        queue = create()
        started = time.monotonic()
        with pytest.raises(stdlib_queue.Empty):
            queue.get_batch(3, timeout=0.2)
        assert time.monotonic() - started >= 0.2 - CLOCK_SLACK
        for call in [
            lambda: queue.get_batch(3, block=False),
            lambda: queue.get_batch(3, False, 1000),
            lambda: queue.get_batch(3, timeout=0),
            lambda: queue.get_batch(3, True, -1),
        ]:
            with pytest.raises(stdlib_queue.Empty):
                call()

    @pytest.mark.parametrize("most", [0, -1, -(10**30)])
    def test_asking_for_less_than_one_is_a_value_error(self, create, most):
        queue = create()
        queue.put("kept")
        with pytest.raises(ValueError):
            queue.get_batch(most)
        assert queue.get() == "kept"

    @pytest.mark.parametrize("most", [1.5, "3", None])
    def test_asking_for_no_integer_is_a_type_error(self, create, most):
        queue = create()
        queue.put("kept")
        with pytest.raises(TypeError):
            queue.get_batch(most)
        assert queue.get() == "kept"

    def test_asking_for_very_many_is_asking_for_all(self, create):
        queue = create(capacity=5)
        queue.put_batch("abcde")
        assert queue.get_batch(10**9) == list("abcde")
        queue.put("f")
        assert queue.get_batch(2**63 - 1) == ["f"]

    def test_it_makes_room_for_blocked_producers(self, create):
        queue = create(capacity=3)
        queue.put_batch("abc")
        putters = [support.Thread(queue.put, letter) for letter in "def"]
        for putter in putters:
            support.await_thread_asleep(putter)
        assert queue.get_batch(3) == ["a", "b", "c"]
        for putter in putters:
            putter.result()
        assert sorted(queue.get_batch(3)) == ["d", "e", "f"]

    def test_consumers_in_batches_share_each_item_once(self, create, ctx, start):
        queue = create(capacity=40)
        producers = [start(ctx, workers.put_batches, queue, n, 30, 7) for n in range(2)]
        consumers = [start(ctx, workers.get_batches_until_none, queue, most) for most in (3, 11)]
        for producer in producers:
            producer.result()
        queue.put_batch([None, None])
        found = [child.result() for child in consumers]
        expected = [(p, b, n) for p in range(2) for b in range(30) for n in range(7)]
        assert sorted(found[0] + found[1]) == expected
        for items in found:
            for producer in range(2):
                own = [item for item in items if item[0] == producer]
                assert own == sorted(own)
