"""Reservations that can't be, that wait for room, and that many ask for at once."""

import errno
import re
import time
from queue import Full

import pytest

from tests.support import CLOCK_SLACK, LIMIT, Thread, await_thread_asleep
from tests.views import (
    assert_as_new,
    is_numbered,
    numbered,
    pattern,
    used_bytes,
)

pytestmark = pytest.mark.usefixtures("all_free")

MEGABYTE = 1 << 20


@pytest.fixture(params=["named", "unnamed"])
def queue(request, create, make):
    return create(capacity=8, item_size=64) if request.param == "named" else make(8)


class TestRefusals:
    @pytest.mark.parametrize("nbytes", [-1, -(2**40), -(2**70)])
    def test_a_negative_size_is_a_value_error(self, queue, nbytes):
        with pytest.raises((ValueError, OverflowError)):
            queue.reserve(nbytes)
        for shape in (nbytes, (10, nbytes), (nbytes, -5)):
            with pytest.raises((ValueError, OverflowError)):
                queue.reserve_array(shape)
        assert_as_new(queue)

    @pytest.mark.parametrize("nbytes", ["10", 1.5, None, [3]])
    def test_what_is_no_number_is_a_type_error(self, queue, nbytes):
        with pytest.raises(TypeError):
            queue.reserve(nbytes)
        assert_as_new(queue)

    @pytest.mark.parametrize("block", [True, False])
    @pytest.mark.parametrize("nbytes", [1 << 45, 1 << 62])
    def test_more_than_memory_has_is_an_error_with_sizes(self, queue, nbytes, block):
        for reserve in (queue.reserve, lambda n, b: queue.reserve_array(n, "u1", b)):
            with pytest.raises(OSError, match="bytes") as caught:
                reserve(nbytes, block)
            assert caught.value.errno == errno.ENOSPC
            told = [
                int(re.sub(r"[,_]", "", n)) for n in re.findall(r"\d[\d,_]*", str(caught.value))
            ]
            assert any(number >= nbytes for number in told), str(caught.value)
            del caught
        assert_as_new(queue)

    @pytest.mark.parametrize("shape", [(1 << 40, 1 << 40), (1 << 63,), (1 << 31, 1 << 31, 8)])
    def test_a_shape_beyond_every_memory_is_refused(self, queue, shape):
        with pytest.raises((ValueError, OverflowError, OSError)):
            queue.reserve_array(shape, "float64")
        assert_as_new(queue)

    def test_a_closed_queue_refuses(self, queue):
        queue.close()
        for reserve in (queue.reserve, queue.reserve_array):
            with pytest.raises(ValueError, match="closed"):
                reserve(100)


class TestWaiting:
    @pytest.fixture
    def full(self, queue):
        for number in range(8):
            queue.put(number)
        return queue

    def test_a_full_queue_gives_none(self, full):
        with pytest.raises(Full):
            full.reserve(100_000, block=False)
        with pytest.raises(Full):
            full.reserve_array(1000, block=False)
        begun = time.monotonic()
        with pytest.raises(Full):
            full.reserve(100_000, timeout=0.1)
        assert time.monotonic() - begun >= 0.1 - CLOCK_SLACK
        assert used_bytes(full) == 0

    def test_one_that_waits_goes_on_when_there_is_room(self, full):
        def produce():
            with full.reserve(100_000) as buffer:
                buffer[:] = pattern(100_000)

        waiting = Thread(produce)
        await_thread_asleep(waiting)
        got = [full.get() for _ in range(8)]
        waiting.result()
        assert got == list(range(8))
        assert full.get() == pattern(100_000)

    def test_commit_waits_for_room_that_others_took(self, queue):
        reservation = queue.reserve(100_000, timeout=None)
        reservation.buffer[:] = pattern(100_000)
        for number in range(8):
            queue.put(number)
        waiting = Thread(reservation.commit)
        await_thread_asleep(waiting)
        assert [queue.get() for _ in range(8)] == list(range(8))
        waiting.result()
        assert queue.get() == pattern(100_000)

    @pytest.mark.parametrize(("block", "timeout"), [(False, None), (True, 0.05)])
    def test_commit_gives_up_in_time_and_has_aborted(self, queue, block, timeout):
        reservation = queue.reserve(100_000, block, timeout)
        for number in range(8):
            queue.put(number)
        with pytest.raises(Full):
            reservation.commit()
        with pytest.raises(ValueError):
            reservation.commit()
        assert used_bytes(queue) == 0
        assert [queue.get() for _ in range(8)] == list(range(8))
        assert used_bytes(queue) == 0

    @pytest.mark.parametrize(("block", "timeout"), [(False, None), (True, 0.05)])
    def test_so_does_the_end_of_the_context(self, queue, block, timeout):
        def produce():
            with queue.reserve(50_000, block, timeout):
                for number in range(8):
                    queue.put(number)

        with pytest.raises(Full) as caught:
            produce()
        del caught
        assert used_bytes(queue) == 0


def test_threads_that_reserve_at_once_each_publish_their_own(queue):
    def produce(seed):
        for _ in range(50):
            with queue.reserve_array(20_000, "uint32") as array:
                array[:] = numbered(seed, 80_000)

    threads = [Thread(produce, 1000 * n) for n in range(4)]
    counts = {}
    for _ in range(200):
        got = queue.get(timeout=LIMIT)
        seed = int(got[0])
        assert is_numbered(got, seed, 80_000)
        counts[seed] = counts.get(seed, 0) + 1
        del got
    for thread in threads:
        thread.result()
    assert counts == dict.fromkeys([0, 1000, 2000, 3000], 50)


def test_a_process_that_exits_with_one_in_hand_publishes_nothing(create, programs, run_id):
    queue = create()
    programs.run(
        """
        import sys
        from shmqueue import SharedMemoryQueue
        queue = SharedMemoryQueue("q", run_id=sys.argv[1])
        kept = queue.reserve_array(100_000)
        entered = queue.reserve(100_000).__enter__()
        """,
        run_id,
    )
    assert_as_new(queue)
