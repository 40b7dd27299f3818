"""Closing, unlinking, many handles, and forks in the middle of things."""

import contextlib
import gc
import multiprocessing
import os
import pathlib
import queue as stdlib_queue
import threading
import weakref

import pytest

import shmqueue
from shmqueue import SharedMemoryQueue
from tests import support
from tests.api import workers
from tests.support import LIMIT, SHM, drain

FORK = multiprocessing.get_context("fork")


def _mappings(token):
    lines = pathlib.Path("/proc/self/maps").read_text().splitlines()
    return [line for line in lines if token in line]


class TestClose:
    def test_every_method_of_a_closed_queue_is_a_value_error(self, create):
        queue = create("tasks")
        queue.close()
        assert queue.closed
        for call in [
            lambda: queue.put(1),
            lambda: queue.put_nowait(1),
            lambda: queue.put_batch([1]),
            queue.get,
            queue.get_nowait,
            lambda: queue.get_batch(1),
            queue.qsize,
            queue.empty,
            queue.full,
            queue.get_metrics,
        ]:
            with pytest.raises(ValueError, match=r"tasks.* is closed"):
                call()

    def test_closing_twice_is_closing_once(self, create):
        queue = create()
        queue.close()
        queue.close()
        assert queue.closed

    def test_names_and_numbers_outlive_it(self, create, run_id):
        queue = create("tasks", capacity=17, item_size=333)
        file = queue.segment_name
        queue.close()
        assert (queue.name, queue.run_id, queue.segment_name) == ("tasks", run_id, file)

    @pytest.mark.parametrize(
        ("method", "args"),
        [("get", ()), ("get_batch", (3,)), ("put", ("x",)), ("put_batch", (["x", "y"],))],
    )
    @pytest.mark.parametrize("timeout", [None, 1000.0])
    def test_it_ends_a_call_blocked_in_another_thread(self, create, attach, method, args, timeout):
        queue = create(capacity=1)
        if method.startswith("put"):
            queue.put("fills it")
            args = args if method == "put" else (["x"],)
        other = attach()
        blocked = [support.Thread(getattr(queue, method), *args, timeout=timeout) for _ in range(2)]
        for thread in blocked:
            support.await_thread_asleep(thread)
        queue.close()
        for thread in blocked:
            with pytest.raises(ValueError, match="is closed"):
                thread.result()
        assert other.qsize() == (1 if method.startswith("put") else 0)

    def test_it_leaves_other_handles_and_blocked_calls_on_them_alone(self, create, attach):
        queue, other = create(), attach()
        getter = support.Thread(other.get)
        support.await_thread_asleep(getter)
        queue.close()
        with attach() as third:
            third.put("still there")
        assert getter.result() == "still there"

    def test_it_gives_the_memory_back(self, create, run_id):
        queue = create()
        assert _mappings(run_id)
        queue.put(bytes(1_000_000))
        queue.get()
        queue.close()
        assert not _mappings(run_id)

    def test_a_forgotten_queue_gives_the_memory_back_and_stays_in_place(self, run_id):
        queue = SharedMemoryQueue("q", create=True, run_id=run_id)
        queue.put("kept")
        gone = weakref.ref(queue)
        del queue
        gc.collect()
        assert gone() is None
        assert not _mappings(run_id)
        with SharedMemoryQueue("q", run_id=run_id) as again:
            assert again.get() == "kept"
            again.unlink()

    def test_leaving_the_context_closes_and_never_unlinks(self, create, attach):
        with create() as queue:
            queue.put("kept")
        assert queue.closed
        with pytest.raises(ValueError), queue:
            queue.get()
        assert attach().get() == "kept"

    def test_the_context_passes_exceptions_on(self, create):
        with pytest.raises(LookupError), create() as queue:
            raise LookupError
        assert queue.closed

    def test_closing_while_threads_work_harms_nobody(self, create, attach):
        keeper = create(capacity=8)
        for _ in range(20):
            queue = attach()
            threads = [support.Thread(_use_until_closed, queue) for _ in range(3)]
            keeper.put("work")
            keeper.get_batch(1, timeout=LIMIT)
            queue.close()
            for thread in threads:
                thread.result()
            while not keeper.empty():
                assert keeper.get_nowait() in ("work", "thread")


def _use_until_closed(queue):
    while not queue.closed:
        for call in (lambda: queue.put("thread", timeout=0.01), lambda: queue.get(timeout=0.01)):
            with contextlib.suppress(stdlib_queue.Full, stdlib_queue.Empty, ValueError):
                call()


class TestUnlink:
    def test_those_attached_go_on_after_it(self, create, attach, ctx, start):
        queue, other = create("q", capacity=4), attach()
        child = start(ctx, workers.get_some, queue, 3)
        queue.put(1)
        support.wait_until(queue.empty, "the child to be attached")
        queue.unlink()
        queue.put(2)
        other.put(b"3" * 100_000)
        assert child.result() == [1, 2, b"3" * 100_000]

    def test_it_removes_the_name_at_once(self, create, run_id):
        queue = create()
        queue.unlink()
        assert support.segment_files(run_id) == []
        with pytest.raises(FileNotFoundError):
            SharedMemoryQueue("q", run_id=run_id)

    def test_it_may_be_called_again_and_after_close_and_by_anyone(self, create, attach):
        queue, other = create(), attach()
        queue.close()
        queue.unlink()
        queue.unlink()
        other.unlink()

    def test_it_removes_only_the_very_segment(self, create, attach, run_id):
        first = create(capacity=5)
        first.unlink()
        second = create(capacity=6)
        second.put("kept")
        first.unlink()
        first.close()
        first.unlink()
        assert attach().get() == "kept"
        assert support.segment_files(run_id) == [second.segment_name.lstrip("/")]

    def test_the_function_tells_whether_there_was_one(self, create, run_id):
        create("tasks")
        assert shmqueue.unlink("tasks", run_id) is True
        assert shmqueue.unlink("tasks", run_id) is False
        assert shmqueue.unlink("tasks", run_id=run_id) is False

    def test_the_function_without_a_run_id(self, run_id):
        with SharedMemoryQueue(f"n{run_id}", create=True):
            assert shmqueue.unlink(f"n{run_id}") is True
        assert shmqueue.unlink(f"n{run_id}") is False

    def test_the_name_is_free_at_once(self, create):
        old = create(capacity=5)
        old.put("old")
        old.unlink()
        new = create(capacity=6)
        new.put("new")
        assert (old.get(), new.get()) == ("old", "new")


class TestManyHandles:
    def test_all_work_on_the_same_queue(self, create, attach):
        queue = create(capacity=100)
        handles = [queue, *(attach() for _ in range(49))]
        for number, handle in enumerate(handles):
            handle.put(number)
        assert {handle.qsize() for handle in handles} == {50}
        assert [handle.get_nowait() for handle in reversed(handles)] == list(range(50))

    def test_they_share_the_seat_of_their_process(self, create, attach):
        queue = create(max_processes=2)
        for _ in range(20):
            attach().put(1)
        assert queue.qsize() == 20
        living = [row for row in queue.get_metrics()["seats"] if row["alive"]]
        assert {row["pid"] for row in living} == {os.getpid()}

    def test_one_handle_wakes_another(self, create, attach):
        queue, other = create(capacity=1), attach()
        getter = support.Thread(queue.get)
        support.await_thread_asleep(getter)
        other.put(1)
        assert getter.result() == 1

    def test_threads_with_handles_of_their_own_lose_nothing(self, create, attach):
        create(capacity=8)
        handles = [attach() for _ in range(4)]
        putters = [
            support.Thread(workers.put_all, handle, [(n, i) for i in range(300)])
            for n, handle in enumerate(handles[:2])
        ]
        getters = [support.Thread(workers.get_some, handle, 300) for handle in handles[2:]]
        for putter in putters:
            putter.result()
        found = [item for getter in getters for item in getter.result()]
        assert sorted(found) == [(n, i) for n in range(2) for i in range(300)]

    def test_attaching_and_closing_over_and_over_leaks_nothing(self, create, attach, run_id):
        queue = create(max_processes=4)
        descriptors, mappings = support.open_descriptors(), len(_mappings(run_id))
        for number in range(300):
            with SharedMemoryQueue("q", run_id=run_id) as other:
                other.put(number)
                assert queue.get() == number
        assert support.open_descriptors() == descriptors
        assert len(_mappings(run_id)) == mappings


class TestFork:
    def test_parent_and_child_both_use_the_handle_afterwards(self, create, start):
        queue = create(capacity=50)
        queue.put("before")
        child = start(FORK, workers.put_then_get, queue, "child", 200)
        mine = workers.put_then_get(queue, "parent", 200)
        found = [*mine, *child.result(), *drain(queue, 1)]
        expected = [(tag, n) for tag in ("child", "parent") for n in range(200)]
        assert sorted(found, key=str) == sorted(["before", *expected], key=str)

    def test_a_bare_fork_will_do(self, create):
        queue, answers = create(), create("answers")
        pid = os.fork()
        if pid == 0:
            try:
                answers.put((os.getpid(), queue.get(timeout=LIMIT)))
            finally:
                os._exit(0)
        queue.put("to the child")
        assert answers.get(timeout=LIMIT) == (pid, "to the child")
        os.waitpid(pid, 0)

    def test_forks_while_threads_use_the_queue_harm_nobody(self, create, start):
        queue, results = create(capacity=16), create("results")
        stop = threading.Event()
        threads = [support.Thread(_pump, queue, stop) for _ in range(2)]
        for number in range(12):
            child = start(FORK, _put_result, queue, results, number)
            child.result()
        stop.set()
        pumped = sum(thread.result() for thread in threads)
        assert [results.get_nowait() for _ in range(12)] == list(range(12))
        assert queue.empty()
        metrics = queue.get_metrics()
        assert metrics["items_put"] == metrics["items_got"] == pumped + 12 * 20

    def test_grandchildren_take_seats_of_their_own(self, create, start):
        queue = create(max_processes=8)
        assert start(FORK, _put_from_generations, queue, 4).result() == 4
        pids = drain(queue, 4)
        assert len(set(pids)) == 4
        assert os.getpid() not in pids

    def test_a_child_that_only_inherits_keeps_nothing_alive(self, create, start, signs):
        queue, words = create(max_processes=1), signs(FORK)
        child = start(FORK, _stay_saying_so, words.sender)
        words.await_word("staying")
        file = SHM / queue.segment_name.lstrip("/")
        queue.close()
        with SharedMemoryQueue("q", run_id=queue.run_id) as again:
            again.put(1)
        assert file.exists()
        child.kill()

    def test_a_child_that_closes_its_copy_closes_only_that(self, create, start):
        queue = create()
        queue.put(1)
        start(FORK, _close_and_see, queue).result()
        assert queue.get_nowait() == 1
        assert not queue.closed

    def test_a_childs_blocked_call_is_not_ended_by_its_parents_close(
        self, create, start, signs, attach
    ):
        queue, words = create(), signs(FORK)
        child = start(FORK, workers.get_until_closed, queue, words.sender)
        words.await_word("getting")
        support.await_asleep(f"/proc/{child.pid}")
        queue.close()
        attach().put("for the child")
        assert child.result() == "got something"


def _pump(queue, stop):
    """Put and get until told to stop; return how many went through."""
    count = 0
    while not stop.is_set():
        queue.put("pumped", timeout=LIMIT)
        queue.get(timeout=LIMIT)
        count += 1
    return count


def _put_result(queue, results, number):
    for _ in range(20):
        queue.put("child", timeout=LIMIT)
        queue.get(timeout=LIMIT)
    results.put(number)


def _put_from_generations(queue, depth):
    queue.put(os.getpid())
    if depth == 1:
        return 1
    return 1 + support.Child(FORK, _put_from_generations, queue, depth - 1).result()


def _stay_saying_so(sender):
    sender.send("staying")
    workers.stay()


def _close_and_see(queue):
    assert queue.qsize() == 1
    queue.close()
    assert queue.closed
