"""task_done and join: a join ends when everything that was put is done, and not before."""

import multiprocessing
import random
import time

import pytest

from shmqueue._inspect import snapshot
from tests import support, unnamed
from tests.support import CLOCK_SLACK, LIMIT, Thread

FORK = multiprocessing.get_context("fork")

ROUNDS = 3000
# A sleep that nobody ended in time lasts this long at least.
BOUND_NS = 50_000_000


class TestCounting:
    def test_it_may_be_said_as_often_as_items_were_put(self, queue):
        with pytest.raises(ValueError, match="too many times"):
            queue._task_done()
        for count in (1, 2, 30):
            queue.put_batch(range(count))
            for _ in range(count):
                queue._task_done()
            with pytest.raises(ValueError, match="too many times"):
                queue._task_done()

    def test_it_may_be_said_before_the_item_was_got(self, queue):
        queue.put(1)
        queue._task_done()
        queue._join()
        assert queue.get() == 1

    def test_large_items_and_regions_count_alike(self, queue):
        queue.put_batch([bytes(100_000), 1, bytes(3000)] * 500)
        while not queue.empty():
            for _ in queue.get_batch(100):
                queue._task_done()
        queue._join()
        with pytest.raises(ValueError):
            queue._task_done()

    def test_all_processes_share_one_count(self, queue, start):
        queue.put_batch(range(40))
        children = [start(FORK, _work, queue, 10) for _ in range(4)]
        queue._join()
        for child in children:
            child.result()
        with pytest.raises(ValueError):
            queue._task_done()

    def test_a_closed_queue_raises_value_error(self, queue):
        queue.close()
        for call in (queue._task_done, queue._join):
            with pytest.raises(ValueError, match="closed"):
                call()


def _work(queue, count):
    for _ in range(count):
        queue.get(timeout=LIMIT)
        queue._task_done()


class TestJoining:
    def test_nothing_put_means_nothing_to_wait_for(self, queue):
        queue._join()
        queue.put(1)
        queue._task_done()
        queue._join()

    def test_it_waits_for_the_last_one(self, queue):
        queue.put_batch(range(10))
        joining = [Thread(queue._join) for _ in range(4)]
        for thread in joining:
            support.await_thread_asleep(thread)
        for _ in range(9):
            queue._task_done()
        assert all(thread.is_alive() for thread in joining)
        queue._task_done()
        for thread in joining:
            thread.result()

    def test_it_waits_for_what_is_put_meanwhile(self, queue):
        queue.put(1)
        joining = Thread(queue._join)
        support.await_thread_asleep(joining)
        queue.put(2)
        queue._task_done()
        support.await_thread_asleep(joining)
        assert joining.is_alive()
        queue._task_done()
        joining.result()

    def test_getting_alone_does_not_end_it(self, queue):
        queue.put(1)
        joining = Thread(queue._join)
        support.await_thread_asleep(joining)
        queue.get()
        support.await_thread_asleep(joining)
        assert joining.is_alive()
        queue._task_done()
        joining.result()

    def test_closing_the_handle_ends_it(self, queue):
        queue.put(1)
        joining = Thread(queue._join)
        support.await_thread_asleep(joining)
        queue.close()
        with pytest.raises(ValueError, match="closed"):
            joining.result()

    def test_processes_join_too(self, queue, start):
        queue.put_batch(range(100))
        joining = [start(FORK, queue._join) for _ in range(3)]
        for child in joining:
            support.await_asleep(f"/proc/{child.pid}")
        start(FORK, _work, queue, 100).result()
        for child in joining:
            child.result()


def _work_until_none(queue):
    while (item := queue.get(timeout=LIMIT)) is not None:
        del item
        queue._task_done()


class TestNoWakeUpIsLost:
    """Thousands of rounds: a lost wake-up shows as a join that took a whole bounded sleep."""

    def _late_joins(self, queue, rounds, batch):
        late = 0
        rng = random.Random(5)
        for _ in range(rounds):
            count = rng.randint(1, batch)
            if count == 1:
                queue.put("x")
            else:
                queue.put_batch(["x"] * count)
            begun = time.monotonic_ns()
            queue._join()
            late += time.monotonic_ns() - begun >= BOUND_NS * (1 - CLOCK_SLACK)
        return late

    @pytest.mark.parametrize(("workers", "batch"), [(1, 1), (2, 4), (4, 12)])
    def test_one_joins_what_many_processes_do(self, queue, start, workers, batch):
        children = [start(FORK, _work_until_none, queue) for _ in range(workers)]
        late = self._late_joins(queue, ROUNDS, batch)
        queue.put_batch([None] * workers)
        for child in children:
            child.result()
        print(f"{late} of {ROUNDS} joins took a bounded sleep")
        # A busy machine keeps a process waiting now and then, not one time in a hundred.
        assert late <= ROUNDS // 100

    def test_many_join_what_many_threads_do(self, queue):
        rounds, joiners = 300, 4
        threads = [Thread(_work_until_none, queue) for _ in range(2)]
        for _ in range(rounds):
            queue.put_batch(["x"] * 5)
            joining = [Thread(queue._join) for _ in range(joiners)]
            for thread in joining:
                thread.result()
        queue.put_batch([None] * 2)
        for thread in threads:
            thread.result()

    def test_many_processes_join_again_and_again(self, queue, start):
        rounds = 500
        other = unnamed.make_queue()
        children = [start(FORK, _join_and_tell, queue, other, rounds) for _ in range(3)]
        worker = start(FORK, _work_until_none, queue)
        for number in range(rounds):
            queue.put_batch(range(3))
            answers = sorted(other.get(timeout=LIMIT) for _ in children)
            assert answers == [number] * 3
        queue.put(None)
        for child in (*children, worker):
            child.result()
        other.close()


def _join_and_tell(queue, answers, rounds):
    for number in range(rounds):
        support.wait_until(lambda n=number: _put_count(queue) > 3 * n, "the next round")
        queue._join()
        answers.put(number)


def _put_count(queue):
    return snapshot(queue._attachment)["items_put"]
