"""Memory of the queue that several use: other processes, handles, objects, at and after forks."""

import gc
import multiprocessing

import numpy
import pytest

from tests import support
from tests.support import LIMIT
from tests.views import assert_in_place, is_numbered, lies_in, numbered, pattern, used_bytes

pytestmark = pytest.mark.usefixtures("all_free")

FORK = multiprocessing.get_context("fork")
MEGABYTE = 1 << 20


def _get_viewed(queue):
    """Get a large item in another process; return whether it lay in place, and the count."""
    array = queue.get(timeout=LIMIT)
    return lies_in(queue, array), is_numbered(array, 2), queue.get_metrics()["items_viewed"]


class TestWhoComesLater:
    """Others have viewed already when a process attaches: it views as well."""

    @pytest.fixture
    def viewed(self, create):
        queue = create()
        queue.put(numbered(1))
        assert lies_in(queue, queue.get())
        queue.put(numbered(2))
        return queue

    def test_a_process(self, viewed, ctx, start):
        before = viewed.get_metrics()["items_viewed"]
        in_place, whole, count = start(ctx, _get_viewed, viewed).result()
        assert (in_place, whole, count) == (True, True, before + 1)

    def test_a_process_while_another_still_views(self, create, ctx, start):
        queue = create()
        queue.put(numbered(1))
        kept = queue.get()
        queue.put(numbered(2))
        assert start(ctx, _get_viewed, queue).result()[:2] == (True, True)
        assert is_numbered(kept, 1)
        del kept

    def test_a_program(self, viewed, programs, run_id):
        source = """
            import sys
            from shmqueue import SharedMemoryQueue

            queue = SharedMemoryQueue("q", run_id=sys.argv[1])
            before = queue.get_metrics()["items_viewed"]
            array = queue.get(timeout=30)
            print(queue.get_metrics()["items_viewed"] - before, array[:2].tolist())
        """
        assert programs.run(source, run_id) == "1 [2, 3]\n"

    def test_another_handle(self, viewed, attach):
        other = attach()
        array = other.get(timeout=LIMIT)
        assert_in_place(other, array)
        assert is_numbered(array, 2)
        del array

    def test_a_third_one(self, viewed, attach):
        for seed in (2, 3, 4):
            other = attach()
            array = other.get(timeout=LIMIT)
            assert lies_in(other, array)
            assert is_numbered(array, seed)
            viewed.put(numbered(seed + 1))
            del array
            other.close()
        assert is_numbered(viewed.get(), 5)


def _reserve_all(queue, kept, first):
    """Reserve, write and publish as large items as `kept` is, in both ways."""
    for seed in range(first, first + 3):
        with queue.reserve(kept.nbytes, timeout=LIMIT) as buffer:
            buffer[:] = numbered(seed, kept.nbytes).tobytes()
        with queue.reserve_array(kept.shape, kept.dtype, timeout=LIMIT) as array:
            array[:] = numbered(seed, kept.nbytes)
        queue.reserve(kept.nbytes, timeout=LIMIT).abort()


def _assert_reserved(queue, nbytes, first):
    for seed in range(first, first + 3):
        assert queue.get(timeout=LIMIT) == numbered(seed, nbytes).tobytes()
        assert is_numbered(queue.get(timeout=LIMIT), seed, nbytes)


class TestReservingWhileAnArrayIsHeldOverAFork:
    @pytest.mark.parametrize("nbytes", [20_000, 100_000, MEGABYTE])
    def test_in_parent_and_child(self, create, nbytes):
        queue = create(capacity=16)
        queue.put(numbered(1, nbytes))
        kept = queue.get()
        assert lies_in(queue, kept)

        def child(kept):
            _reserve_all(queue, kept, 10)
            _assert_reserved(queue, nbytes, 10)
            _reserve_all(queue, kept, 20)
            kept[:] = 7
            return True

        assert support.run_in_fork(child, kept)
        _assert_reserved(queue, nbytes, 20)
        _reserve_all(queue, kept, 30)
        _assert_reserved(queue, nbytes, 30)
        assert is_numbered(kept, 1, nbytes)
        del kept
        _reserve_all(queue, numbered(1, nbytes), 40)
        _assert_reserved(queue, nbytes, 40)

    def test_in_a_child_that_was_forked_before_another(self, create):
        queue = create(capacity=16)
        queue.put(numbered(1))
        kept = queue.get()

        def grandchild(kept):
            _reserve_all(queue, kept, 10)
            return is_numbered(kept, 1)

        assert support.run_in_fork(support.run_in_fork, grandchild, kept)
        _assert_reserved(queue, kept.nbytes, 10)
        assert is_numbered(kept, 1)
        del kept


class TestMereReferences:
    """An object may use a memoryview's memory and only refer to it, as tensors do."""

    def test_to_a_view(self, create):
        queue = create()
        queue.put_bytes(pattern(MEGABYTE))
        with queue.get_view() as view:
            assert lies_in(queue, view)
            kept = [view]
        del view
        assert kept[0] == pattern(MEGABYTE)
        for seed in range(3):
            queue.put(numbered(seed, MEGABYTE))
            kept[0][:10] = b"\xff" * 10
            assert is_numbered(queue.get(), seed, MEGABYTE)
        assert kept[0][10:] == pattern(MEGABYTE)[10:]
        kept.clear()
        assert used_bytes(queue) == 0

    def test_to_a_view_released_by_hand_and_of_a_closed_queue(self, create):
        queue = create()
        queue.put_bytes(pattern(MEGABYTE))
        item = queue.get_view()
        kept = item.__enter__()
        kept = [kept]
        more = [kept[0]]
        item.release()
        item.release()
        del item
        queue.close()
        gc.collect()
        assert kept[0] == pattern(MEGABYTE)
        assert kept[0] is more[0]

    def test_to_the_buffer_of_a_reservation(self, create):
        queue = create()
        with queue.reserve(MEGABYTE) as buffer:
            buffer[:] = pattern(MEGABYTE)
            kept = [buffer]
        del buffer
        kept[0][:10] = b"\xff" * 10
        assert queue.get() == pattern(MEGABYTE)
        for seed in range(3):
            queue.put(numbered(seed, MEGABYTE))
            kept[0][:10] = b"\xff" * 10
            assert is_numbered(queue.get(), seed, MEGABYTE)
        kept.clear()
        assert used_bytes(queue) == 0

    def test_nobody_else_refers_to_it(self, create):
        queue = create()
        queue.put_bytes(pattern(MEGABYTE))
        with queue.get_view() as view:
            assert view == pattern(MEGABYTE)
        del view
        assert used_bytes(queue) == 0


class TestHowMuchIsViewed:
    """The metric `view_bytes` is what is viewed: with nothing queued, the blocks in use."""

    @pytest.fixture(params=["never viewed", "viewed before"])
    def queue(self, request, create):
        queue = create(capacity=2)
        if request.param == "viewed before":
            queue.put(numbered(1))
            queue.get()
        return queue

    @staticmethod
    def assert_exact(queue):
        gc.collect()
        assert queue.qsize() == 0
        assert queue.get_metrics()["view_bytes"] == used_bytes(queue)

    def test_by_the_parent_of_a_process_whose_first_call_views(self, queue, turns):
        def child():
            turns.hear()
            with queue.get_view(timeout=LIMIT):
                turns.swap()

        forked = support.Child(FORK, child)
        queue.put(numbered(1, MEGABYTE))
        kept = queue.get()
        queue.put_bytes(pattern(MEGABYTE))
        turns.swap()
        self.assert_exact(queue)
        turns.say()
        forked.result()
        self.assert_exact(queue)
        del kept
        self.assert_exact(queue)

    def test_of_what_was_published_as_a_copy(self, queue):
        reservation = queue.reserve_array(MEGABYTE, "uint8")
        part = reservation.buffer[3:9]
        reservation.commit()
        got = queue.get()
        self.assert_exact(queue)
        assert used_bytes(queue) > MEGABYTE
        del part
        self.assert_exact(queue)
        del got, reservation
        assert queue.get_metrics()["view_bytes"] == 0

    def test_of_what_could_not_be_published(self, queue):
        for _ in range(3):
            reservation = queue.reserve_array(MEGABYTE, "uint8", timeout=0.001)
            part = reservation.buffer[3:9]
            queue.put(1)
            queue.put(2)
            with pytest.raises(queue.Full):
                reservation.commit()
            assert support.drain(queue, 2) == [1, 2]
            del reservation
            self.assert_exact(queue)
            assert used_bytes(queue) > 0
            del part
            assert queue.get_metrics()["view_bytes"] == 0

    def test_of_what_there_was_no_memory_for(self, queue, monkeypatch):
        monkeypatch.setattr("shmqueue.memory.headroom_bytes", lambda: 60 * MEGABYTE)
        for _ in range(3):
            reservation = queue.reserve_array(40 * MEGABYTE, "uint8")
            part = reservation.buffer[3:9]
            with monkeypatch.context() as context:
                context.setattr("shmqueue.memory.headroom_bytes", lambda: 0)
                try:
                    reservation.commit()
                except OSError:
                    pass
                else:
                    queue.get()
            del reservation
            self.assert_exact(queue)
            del part
            assert queue.get_metrics()["view_bytes"] == 0

    @pytest.mark.parametrize("end", ["abort", "drop"])
    def test_of_what_was_given_up(self, queue, end):
        reservation = queue.reserve_array(MEGABYTE, "uint8")
        part = reservation.buffer[3:9]
        if end == "abort":
            reservation.abort()
        del reservation
        self.assert_exact(queue)
        assert queue.get_metrics()["view_bytes"] >= MEGABYTE
        queue.put(numbered(1))
        got = queue.get()
        self.assert_exact(queue)
        del part
        self.assert_exact(queue)
        del got
        assert queue.get_metrics()["view_bytes"] == 0


CLOSED_BEHIND = """
import os, sys
import numpy
from shmqueue import SharedMemoryQueue

queue = SharedMemoryQueue("q", run_id=sys.argv[1])
array = queue.get(timeout=30)
draft = queue.reserve_array(300_000, "uint8", timeout=30)
draft.buffer[:] = 2
os.closerange(3, 256)
to_child, to_parent = os.pipe(), os.pipe()
pid = os.fork()
if pid == 0:
    code = 1
    try:
        os.read(to_child[0], 1)
        if (array == 1).all():
            array[:] = 98
            draft.buffer[:] = 99
            code = 0
    finally:
        os._exit(code)
array[:100] = 1
os.write(to_child[1], b"x")
assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
print((array == 1).all(), (draft.buffer == 2).all())
draft.commit()
del array, draft
print((queue.get(timeout=30) == 2).all(), flush=True)
"""


def test_a_childs_writes_are_its_own_though_the_descriptors_are_closed(create, programs, run_id):
    queue = create()
    queue.put(numpy.full(300_000, 1, "uint8"))
    assert programs.run(CLOSED_BEHIND, run_id).split() == ["True"] * 3
