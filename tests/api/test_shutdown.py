"""shutdown: nothing is put any more, whoever waits comes back, in threads and processes."""

import multiprocessing
import queue as stdlib_queue
import sys
from queue import Empty

import pytest

import shmqueue
from shmqueue import ShutDown
from shmqueue._inspect import snapshot
from tests import support, unnamed
from tests.protocol.raw import CONTENDED, TAIL
from tests.support import LIMIT, Thread, drain

FORK = multiprocessing.get_context("fork")

LARGE = bytes(range(256)) * 600


@pytest.fixture(params=["named", "unnamed"])
def make_either(request, make, create):
    """Make a queue of so many items: ``make_either(maxsize)``."""
    if request.param == "unnamed":
        return make
    return lambda maxsize: create(capacity=maxsize, item_size=64)


def _put_until_shut(queue, item):
    try:
        while True:
            queue.put(item)
    except ShutDown:
        return "shut"


def _put_batch_until_shut(queue, count):
    try:
        while True:
            queue.put_batch(["b"] * count)
    except ShutDown:
        return "shut"


def _get_until_shut(queue):
    found = []
    try:
        while True:
            found.append(queue.get())
    except ShutDown:
        return found


def _get_batches_until_shut(queue):
    found = []
    try:
        while True:
            found += queue.get_batch(7)
    except ShutDown:
        return found


def _join(queue):
    queue._join()
    return "joined"


class TestError:
    def test_it_is_the_standard_librarys_where_that_has_one(self):
        if sys.version_info >= (3, 13):
            assert ShutDown is stdlib_queue.ShutDown
        assert issubclass(ShutDown, Exception)
        assert shmqueue.ShutDown is ShutDown


class TestAfterwards:
    def test_every_way_to_put_raises(self, make_either):
        queue = make_either(8)
        queue.shutdown()
        for call in (
            lambda: queue.put(1),
            lambda: queue.put(1, timeout=0.01),
            lambda: queue.put_nowait(1),
            lambda: queue.put(LARGE),
            lambda: queue.put_batch([1, 2]),
            lambda: queue.put_batch([1, LARGE], block=False),
        ):
            with pytest.raises(ShutDown):
                call()
        assert queue.qsize() == 0

    def test_a_full_one_raises_too(self, make_either):
        queue = make_either(2)
        queue.put_batch([1, 2])
        queue.shutdown()
        for call in (
            lambda: queue.put(3),
            lambda: queue.put_nowait(3),
            lambda: queue.put_nowait([3]),
            lambda: queue.put_nowait(LARGE),
            lambda: queue.put_batch([3, 4]),
            lambda: queue.put_batch([3, 4], block=False),
        ):
            with pytest.raises(ShutDown):
                call()
        assert drain(queue, 2) == [1, 2]

    def test_what_is_in_it_can_be_got_and_then_it_raises(self, make_either):
        queue = make_either(8)
        queue.put_batch([1, LARGE, 3])
        queue.shutdown()
        assert queue.qsize() == 3
        assert queue.get_nowait() == 1
        assert queue.get() == LARGE
        assert queue.get_batch(5) == [3]
        for call in (
            queue.get,
            queue.get_nowait,
            lambda: queue.get(timeout=0.01),
            lambda: queue.get_batch(3),
        ):
            with pytest.raises(ShutDown):
                call()

    def test_again_is_nothing(self, make_either):
        queue = make_either(8)
        queue.put(1)
        for _ in range(3):
            queue.shutdown()
        assert queue.get() == 1
        for immediate in (True, False, True):
            queue.shutdown(immediate)
        with pytest.raises(ShutDown):
            queue.get()

    def test_a_closed_one_raises_value_error(self, make_either):
        queue = make_either(8)
        queue.close()
        with pytest.raises(ValueError, match="closed"):
            queue.shutdown()

    def test_blocks_of_refused_items_are_free_again(self, make_either):
        queue = make_either(8)
        queue.put(LARGE)
        queue.get()
        queue.shutdown()
        for _ in range(20):
            with pytest.raises(ShutDown):
                queue.put(LARGE)
            with pytest.raises(ShutDown):
                queue.put_batch([LARGE, LARGE])
        seen = snapshot(queue._attachment)
        assert seen["pool_bytes"] == seen["pool_free_bytes"]

    def test_it_holds_in_other_processes(self, make_either, start):
        queue = make_either(8)
        queue.put_batch([1, 2])
        child = start(FORK, queue.shutdown)
        child.result()
        with pytest.raises(ShutDown):
            queue.put(3)
        assert start(FORK, _get_until_shut, queue).result() == [1, 2]


class TestImmediate:
    def test_items_are_discarded(self, make_either):
        queue = make_either(500)
        for number in range(500):
            queue.put(number)
        queue.shutdown(immediate=True)
        assert queue.qsize() == 0
        assert queue.empty()
        for call in (queue.get, queue.get_nowait, lambda: queue.get_batch(3)):
            with pytest.raises(ShutDown):
                call()

    def test_blocks_are_freed(self, make_either):
        queue = make_either(100)
        queue.put_batch([LARGE, 1, LARGE, LARGE, 2, "x" * 50] * 10)
        seen = snapshot(queue._attachment)
        assert seen["pool_free_bytes"] < seen["pool_bytes"]
        queue.shutdown(immediate=True)
        seen = snapshot(queue._attachment)
        assert seen["pool_bytes"] == seen["pool_free_bytes"]
        assert queue.qsize() == 0

    def test_items_that_were_kept_for_a_later_get_go_as_well(self, make):
        queue = make()
        queue.put_batch([1, support.wait_until, 3])
        queue.put(4)
        queue.shutdown(immediate=True)
        with pytest.raises(ShutDown):
            queue.get_nowait()

    def test_after_a_gentle_one_it_discards_the_rest(self, make_either):
        queue = make_either(8)
        queue.put_batch(range(5))
        queue.shutdown()
        assert queue.get() == 0
        queue.shutdown(immediate=True)
        with pytest.raises(ShutDown):
            queue.get()
        assert queue.qsize() == 0

    def test_who_joins_comes_back(self, make):
        queue = make()
        queue.put_batch(range(5))
        joining = [Thread(queue._join) for _ in range(3)]
        for thread in joining:
            support.await_thread_asleep(thread)
        queue.shutdown(immediate=True)
        for thread in joining:
            thread.result()

    def test_who_has_an_item_in_hand_may_still_say_it_is_done(self, make):
        """As the standard library's: only what was discarded is done without being done."""
        queue = make()
        queue.put_batch(range(3))
        queue.get()
        queue.shutdown(immediate=True)
        queue._task_done()
        queue._join()

    @pytest.mark.parametrize("number", [2**63 + 4, 2**64 - 1, 2**40])
    @pytest.mark.parametrize("what", ["tail", "head", "done", "place"])
    def test_in_a_segment_that_contradicts_itself_it_ends(self, make, what, number):
        """In a child that a watchdog can end, should it not."""
        support.run_in_fork(_shut_a_scribbled_one, what, number, limit=10)


def _shut_a_scribbled_one(what, number):
    queue = unnamed.make_queue()
    queue.put_batch([1, LARGE, 3])
    raw = unnamed.RawUnnamed(queue._attachment)
    if what == "place":
        for entry in (0, 1):
            raw.set_entry(TAIL, entry, number, number)
    else:
        raw.set("end", {"tail": TAIL, "head": 3, "done": 2}[what], "sequence", number)
    try:
        queue.shutdown(immediate=True)
    except shmqueue.SegmentError:
        return "refused"
    return "shut"


def _await_asleep(child):
    support.await_asleep(f"/proc/{child.pid}")


class TestWhoeverWaits:
    @pytest.mark.parametrize("immediate", [False, True])
    def test_threads_that_get_come_back(self, make_either, immediate):
        queue = make_either(4)
        waiting = [Thread(_get_until_shut, queue) for _ in range(3)]
        waiting += [Thread(_get_batches_until_shut, queue) for _ in range(2)]
        for thread in waiting:
            support.await_thread_asleep(thread)
        queue.shutdown(immediate)
        assert [thread.result() for thread in waiting] == [[]] * 5

    @pytest.mark.parametrize("immediate", [False, True])
    def test_threads_that_put_come_back(self, make_either, immediate):
        queue = make_either(4)
        queue.put_batch(range(4))
        waiting = [Thread(_put_until_shut, queue, item) for item in ("s", LARGE, "s")]
        waiting += [Thread(_put_batch_until_shut, queue, count) for count in (2, 4)]
        for thread in waiting:
            support.await_thread_asleep(thread)
        queue.shutdown(immediate)
        assert [thread.result() for thread in waiting] == ["shut"] * 5
        if not immediate:
            assert drain(queue, 4) == [0, 1, 2, 3]
        with pytest.raises(ShutDown):
            queue.get()
        seen = snapshot(queue._attachment)
        assert seen["pool_bytes"] == seen["pool_free_bytes"]

    @pytest.mark.parametrize("by_child", [False, True])
    @pytest.mark.parametrize("immediate", [False, True])
    def test_processes_come_back(self, make_either, start, immediate, by_child):
        full, empty, unfinished = make_either(3), unnamed.make_queue(), unnamed.make_queue()
        full.put_batch(range(3))
        unfinished.put("not done")
        waiting = [start(FORK, _put_until_shut, full, "s") for _ in range(2)]
        waiting += [start(FORK, _put_batch_until_shut, full, 2)]
        getting = [start(FORK, _get_until_shut, empty) for _ in range(2)]
        joining = [start(FORK, _join, unfinished)]
        for child in waiting + getting + joining:
            _await_asleep(child)
        for queue in (full, empty, unfinished):
            if by_child:
                start(FORK, queue.shutdown, immediate).result()
            else:
                queue.shutdown(immediate)
        assert [child.result() for child in waiting] == ["shut"] * 3
        assert [child.result() for child in getting] == [[]] * 2
        if not immediate:
            assert unfinished.get() == "not done"
            unfinished._task_done()
        assert joining[0].result() == "joined"
        empty.close()
        unfinished.close()

    def test_nobody_waits_for_a_bound_to_pass(self, make):
        """Shut again and again in the moment in which others go to sleep.

        Whoever doesn't see it sleeps for 50 ms at least: a look at each takes far less.
        """
        rounds, late = 300, 0
        for _ in range(rounds):
            queue = make(1)
            queue.put("full")
            putting = Thread(_put_until_shut, queue, "no room")
            queue.shutdown()
            assert putting.result() == "shut"
            seen = snapshot(queue._attachment)
            late += seen["blocked_full_ns"] >= 50_000_000
            queue.close()
        # Some may be late because the machine was.
        assert late <= rounds // 20

    def test_one_that_waits_for_the_owner_word_comes_back(self, make):
        queue = make()
        raw = unnamed.RawUnnamed(queue._attachment)
        other, word = raw.living(queue)
        raw.set_owner(TAIL, word)
        putting = Thread(_put_until_shut, queue, 1)
        support.wait_until(lambda: raw.owner(TAIL) & CONTENDED, "the put to wait for the word")
        raw.set("end", TAIL, "state", raw.get("end", TAIL, "state") | unnamed.SHUT)
        raw.set_owner(TAIL, 0)
        assert putting.result() == "shut"
        other.close()
        raw.close()


class TestInFullSwing:
    @pytest.mark.parametrize("immediate", [False, True])
    @pytest.mark.parametrize("maxsize", [0, 3, 1000])
    def test_what_was_put_is_got_or_discarded_and_everybody_ends(
        self, make, start, maxsize, immediate
    ):
        for _ in range(5):
            queue = make(maxsize)
            putting = [start(FORK, _count_puts, queue, at) for at in range(2)]
            getting = [start(FORK, _get_until_shut, queue) for _ in range(2)]
            support.wait_until(
                lambda q=queue: snapshot(q._attachment)["items_got"] > 200, "items to be got"
            )
            queue.shutdown(immediate)
            put = [child.result() for child in putting]
            got = [item for child in getting for item in child.result()]
            assert len(set(got)) == len(got)
            for producer, count in enumerate(put):
                numbers = sorted(number for at, number, *_ in got if at == producer)
                if immediate:
                    # Some were discarded, also between two that were got at the last moment.
                    assert set(numbers) <= set(range(count))
                else:
                    assert numbers == list(range(count))
            with pytest.raises(ShutDown):
                queue.get_nowait()
            seen = snapshot(queue._attachment)
            assert seen["items_put"] == seen["items_got"] == sum(put)
            assert seen["pool_bytes"] == seen["pool_free_bytes"]
            queue.close()


def _count_puts(queue, producer):
    number = 0
    try:
        while True:
            queue.put((producer, number, "x" * (number % 2000 * (number % 5))))
            number += 1
    except ShutDown:
        return number


class TestEmptyAndClosed:
    def test_an_empty_one_that_is_not_shut_still_says_empty(self, make_either):
        queue = make_either(4)
        with pytest.raises(Empty):
            queue.get_nowait()

    def test_closing_a_handle_shuts_nothing(self, make):
        queue = make()
        other = unnamed.another(queue)
        other.close()
        queue.put(1)
        assert queue.get(timeout=LIMIT) == 1


@pytest.mark.parametrize("call", ["put", "put_batch"])
@pytest.mark.parametrize("item", [[1], ["list"], [LARGE]], ids=["int", "list", "large"])
def test_nothing_is_full_that_is_shut_down(make_either, item, call):
    """Who tries again for as long as it is full would never end."""
    queue = make_either(1)
    queue.put("fills it")
    queue.shutdown()
    for options in ({"block": False}, {"timeout": 0.01}, {}):
        with pytest.raises(ShutDown):
            getattr(queue, call)(item, **options)
