"""What a kill leaves of the poll descriptor, of a shutdown and of a join; see poll.h and done.h."""

import os
import select
from queue import Empty

import pytest

from shmqueue._inspect import snapshot
from shmqueue.errors import ShutDown
from tests import support, unnamed
from tests.protocol.raw import FLAGS, HEAD, TAIL
from tests.support import LIMIT, Thread, wait_until
from tests.unnamed import ARMED, POLLED, SHUT, RawUnnamed, is_readable

DONE = 2


@pytest.fixture
def polled(queue):
    """Return the descriptor of a queue that is polled."""
    return queue._fileno()


def _arm(raw, armed):
    state = raw.get("end", TAIL, "state")
    raw.set("end", TAIL, "state", state | ARMED if armed else state & ~ARMED)


def _write(fd):
    os.write(fd, (1).to_bytes(8, "little"))


def _read(fd):
    os.read(fd, 8)


def _assert_in_order(queue, raw, fd):
    """Assert that the descriptor is readable exactly while there is an item, from here on."""
    for _ in range(3):
        assert not is_readable(fd)
        queue.put("a")
        assert is_readable(fd)
        queue.put("b")
        assert queue.get_nowait() == "a"
        assert is_readable(fd)
        assert queue.get_nowait() == "b"
        assert not is_readable(fd)
    assert raw.owner(TAIL) & ~FLAGS == 0


class TestPuts:
    def test_killed_after_the_commit_and_before_the_write(self, queue, raw, dead, polled):
        queue.put("committed")
        _read(polled)
        _arm(raw, True)
        raw.set_owner(TAIL, dead)
        assert not is_readable(polled)
        queue.put("next")
        assert is_readable(polled)
        assert support.drain(queue, 2) == ["committed", "next"]
        _assert_in_order(queue, raw, polled)

    def test_a_blocked_get_is_not_concerned(self, queue, raw, dead, polled):
        queue.put("committed")
        _read(polled)
        _arm(raw, True)
        raw.set_owner(TAIL, dead)
        assert queue.get(timeout=LIMIT) == "committed"
        queue.put("next")
        assert is_readable(polled)
        assert queue.get_nowait() == "next"
        _assert_in_order(queue, raw, polled)

    def test_killed_after_the_write_and_still_armed(self, queue, raw, dead, polled):
        queue.put("committed")
        _arm(raw, True)
        raw.set_owner(TAIL, dead)
        assert is_readable(polled)
        queue.put("next")
        assert support.drain(queue, 2) == ["committed", "next"]
        _assert_in_order(queue, raw, polled)

    def test_killed_after_the_write_and_nobody_puts(self, queue, raw, dead, polled):
        queue.put("committed")
        _arm(raw, True)
        raw.set_owner(TAIL, dead)
        assert queue.get_nowait() == "committed"
        with pytest.raises(Empty):
            queue.get_nowait()
        _assert_in_order(queue, raw, polled)


class TestTakes:
    def test_killed_after_the_commit_and_before_the_descriptor_was_seen_to(
        self, queue, raw, polled
    ):
        """Readable, not armed, empty: the next who finds it empty puts it right."""
        _arm(raw, False)
        _write(polled)
        with pytest.raises(Empty):
            queue.get_nowait()
        _assert_in_order(queue, raw, polled)

    def test_killed_with_the_tail_in_its_hands(self, queue, raw, dead, polled):
        _arm(raw, False)
        _write(polled)
        raw.set_owner(TAIL, dead)
        with pytest.raises(Empty):
            queue.get_nowait()
        _assert_in_order(queue, raw, polled)

    def test_killed_between_arming_and_reading(self, queue, raw, dead, polled):
        """Armed, and readable, and empty: until the next who finds it empty."""
        _settle_half(raw)
        _write(polled)
        raw.set_owner(TAIL, dead)
        with pytest.raises(Empty):
            queue.get_nowait()
        _assert_in_order(queue, raw, polled)

    def test_killed_between_arming_and_reading_and_then_somebody_puts(
        self, queue, raw, dead, polled
    ):
        _settle_half(raw)
        _write(polled)
        raw.set_owner(TAIL, dead)
        queue.put("x")
        assert is_readable(polled)
        assert queue.get_nowait() == "x"
        _assert_in_order(queue, raw, polled)


def _settle_half(raw):
    """Write what shmq_poll_settle has written before it reads the descriptor."""
    raw.set("end", TAIL, "state", raw.get("end", TAIL, "state") | ARMED | unnamed.SETTLING)


class TestFirstPolls:
    @pytest.mark.parametrize("items", [0, 1])
    def test_killed_before_the_descriptor_was_settled(self, queue, raw, dead, items):
        """Polled, but neither armed nor readable: whoever asks for it next settles it."""
        for number in range(items):
            queue.put(number)
        raw.set("end", HEAD, "state", raw.get("end", HEAD, "state") | POLLED)
        raw.set_owner(TAIL, dead)
        fd = queue._fileno()
        assert is_readable(fd) == bool(items)
        support.drain(queue, items)
        _assert_in_order(queue, raw, fd)

    def test_killed_before_it_and_another_process_puts(self, queue, raw):
        raw.set("end", HEAD, "state", raw.get("end", HEAD, "state") | POLLED)
        fd = queue._fileno()
        other = unnamed.another(queue)
        poller = select.poll()
        poller.register(fd, select.POLLIN)
        putting = Thread(other.put, "x")
        assert poller.poll(LIMIT * 1000)
        putting.result()
        assert queue.get_nowait() == "x"
        other.close()


class TestShutdowns:
    def test_killed_before_the_bells_everybody_still_comes_back(self, make):
        queue = make(1)
        raw = RawUnnamed(queue._attachment)
        queue.put("full")
        putting = [Thread(queue.put, "no room") for _ in range(2)]
        for thread in putting:
            support.await_thread_asleep(thread)
        raw.set("end", TAIL, "state", raw.get("end", TAIL, "state") | SHUT)
        for thread in putting:
            with pytest.raises(ShutDown):
                thread.result()
        assert queue.get_nowait() == "full"
        with pytest.raises(ShutDown):
            queue.get()
        raw.close()

    def test_who_calls_again_completes_what_a_kill_left_undone(self, queue, raw, dead):
        """Killed in an immediate shutdown, after the tail and some items."""
        for number in range(1000):
            queue.put(bytes([number % 256]) * 3000)
        queue.put(bytes(100_000))
        for _ in queue.get_batch(400):
            queue._task_done()
        raw.set("end", TAIL, "state", raw.get("end", TAIL, "state") | SHUT)
        for end in (TAIL, HEAD):
            raw.set_owner(end, dead)
        queue.shutdown(immediate=True)
        assert queue.qsize() == 0
        with pytest.raises(ShutDown):
            queue.get()
        queue._join()
        seen = snapshot(queue._attachment)
        assert seen["pool_bytes"] == seen["pool_free_bytes"]

    def test_a_polled_queue_that_was_shut_by_a_dead_one_becomes_readable(
        self, queue, raw, dead, polled
    ):
        """At the latest when somebody shuts it again."""
        raw.set("end", TAIL, "state", raw.get("end", TAIL, "state") | SHUT)
        raw.set_owner(TAIL, dead)
        queue.shutdown()
        assert is_readable(polled)
        with pytest.raises(ShutDown):
            queue.get_nowait()
        assert is_readable(polled)


class TestJoins:
    def test_killed_between_the_count_and_the_bell_the_join_ends(self, queue, raw):
        queue.put("x")
        queue.get()
        joining = Thread(queue._join)
        support.await_thread_asleep(joining)
        raw.set("end", DONE, "sequence", 1)
        joining.result()

    def test_a_count_of_the_dead_counts(self, queue, forks):
        for number in range(10):
            queue.put(number)

        def work_and_die():
            for _ in range(10):
                queue.get(timeout=LIMIT)
                queue._task_done()
            os.kill(os.getpid(), 9)

        assert forks.wait(forks.start(work_and_die)) == -9
        queue._join()
        with pytest.raises(ValueError):
            queue._task_done()

    def test_an_item_that_died_with_its_consumer_is_waited_for(self, queue, forks):
        queue.put("x")
        queue.put("y")

        def take_and_die():
            queue.get(timeout=LIMIT)
            os.kill(os.getpid(), 9)

        assert forks.wait(forks.start(take_and_die)) == -9
        joining = Thread(queue._join)
        support.await_thread_asleep(joining)
        queue.get_nowait()
        queue._task_done()
        assert joining.is_alive()
        # Who knows of the death accounts for its item.
        queue._task_done()
        joining.result()
        wait_until(queue.empty, "the queue to be empty")
