"""Blocks of the dead, whatever they did with them, are found again; items in the ring never are."""

import json
import os
import signal

import pytest

from shmqueue._inspect import snapshot
from tests import mounts, support, views
from tests.protocol.raw import FLAGS, HEAD, HELD, QUEUED, TAIL
from tests.support import LIMIT, wait_until
from tests.views import is_numbered, numbered, pattern, used_bytes

pytestmark = pytest.mark.usefixtures("all_free")

MEGABYTE = 1 << 20


@pytest.fixture(params=["named", "unnamed"])
def queue(request, create, make):
    return create(capacity=8, item_size=64) if request.param == "named" else make(8)


def _stay():
    while True:
        signal.pause()


@pytest.fixture
def hold(queue, forks, turns):
    """Start a process that has something in its hands and stands still: ``hold(act) -> pid``."""

    def start(act):
        def child():
            kept = act(queue)
            turns.say()
            _stay()
            assert kept

        pid = forks.start(child)
        turns.hear_from(forks, pid)
        return pid

    return start


def _got(queue, count=1):
    for number in range(count):
        queue.put(numbered(number))
    return [queue.get() for _ in range(count)]


def _entered(queue):
    reservation = queue.reserve_array((512, 1024), "uint8")
    array = reservation.__enter__()
    array[:100] = 7
    return reservation, array


def _viewed(queue):
    queue.put_bytes(pattern(MEGABYTE))
    view = queue.get_view()
    return view, view.__enter__()


def _closed(queue):
    arrays = _got(queue, 2)
    queue.close()
    return arrays


def _aborted_but_used(queue):
    reservation = queue.reserve_array(100_000)
    part = reservation.buffer[5:]
    reservation.abort()
    return part


def _published_but_used(queue):
    with queue.reserve_array(100_000) as array:
        part = array[5:]
    queue.get(copy=True)
    return part


# What a process may have in its hands, and no queue item needs.
HANDS = {
    "a reservation": lambda queue: queue.reserve(MEGABYTE),
    "a reservation that was written to": _entered,
    "many reservations": lambda queue: [queue.reserve_array(n * 10_000) for n in range(1, 9)],
    "part of an aborted reservation": _aborted_but_used,
    "part of a published reservation": _published_but_used,
    "an array": _got,
    "many arrays": lambda queue: _got(queue, 7),
    "part of an array": lambda queue: _got(queue)[0][100:200],
    "arrays and a reservation": lambda queue: (_got(queue, 2), queue.reserve(MEGABYTE)),
    "a view of bytes": _viewed,
    "arrays of a closed handle": _closed,
}


class TestInHand:
    @pytest.mark.parametrize("name", HANDS)
    def test_what_the_killed_held_is_free_after_a_sweep(self, queue, forks, hold, name):
        pid = hold(HANDS[name])
        held = used_bytes(queue)
        assert held > 0
        # As long as it lives, nothing is taken from it, and others go their way.
        views.sweep(queue)
        assert used_bytes(queue) == held
        queue.put(numbered(5))
        assert is_numbered(queue.get(), 5)
        forks.kill(pid)
        views.sweep(queue)
        views.assert_as_new(queue)
        assert snapshot(queue._attachment)["view_bytes"] == 0

    @pytest.mark.parametrize("name", ["a reservation", "many arrays"])
    def test_again_and_again_the_pool_does_not_grow(self, queue, forks, hold, name):
        sizes = []
        for _ in range(6):
            forks.kill(hold(HANDS[name]))
            views.sweep(queue)
            sizes.append(views.pool(queue)[0])
        assert used_bytes(queue) == 0
        assert sizes[-1] <= 2 * sizes[0]

    def test_several_dead_at_once(self, queue, forks, hold):
        pids = [hold(HANDS[name]) for name in HANDS]
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        for pid in pids:
            forks.wait(pid)
        views.sweep(queue)
        views.assert_as_new(queue)

    def test_the_dead_leave_the_arrays_of_the_living_alone(self, queue, forks, hold):
        mine = _got(queue, 3)
        pid = hold(lambda queue: _got(queue, 3))
        forks.kill(pid)
        views.sweep(queue)
        for number in range(10):
            queue.put(numbered(100 + number))
            queue.get()
        assert [is_numbered(array, number) for number, array in enumerate(mine)] == [True] * 3
        mine.clear()
        assert used_bytes(queue) == 0

    def test_a_stopped_process_keeps_what_it_has(self, queue, forks, hold):
        pid = hold(lambda queue: _got(queue, 2))
        held = used_bytes(queue)
        os.kill(pid, signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(pid, os.WUNTRACED)[1])
        views.sweep(queue)
        assert used_bytes(queue) == held
        forks.kill(pid)
        views.sweep(queue)
        assert used_bytes(queue) == 0


class TestOnTheWay:
    """Killed within a call."""

    def test_while_it_fills_a_block(self, queue, forks):
        """A large put is stopped; it counts if its block is held then and the tail didn't move."""
        data = bytes(96 * MEGABYTE)
        put_before = snapshot(queue._attachment)["tail"]

        def killed_within():
            pid = forks.start(queue.put, data)
            wait_until(lambda: used_bytes(queue) > 0, "the put to take a block")
            os.kill(pid, signal.SIGSTOP)
            os.waitpid(pid, os.WUNTRACED)
            within = snapshot(queue._attachment)["tail"] == put_before and used_bytes(queue) > 0
            if within:
                forks.kill(pid)
            else:
                os.kill(pid, signal.SIGCONT)
                assert forks.wait(pid) == 0
            return within

        for _ in range(30):
            if killed_within():
                break
            queue.get()
            put_before = snapshot(queue._attachment)["tail"]
        else:
            pytest.fail("no put could be stopped while it filled a block")
        assert queue.qsize() == 0
        views.sweep(queue)
        views.assert_as_new(queue)

    @pytest.mark.parametrize(
        "call",
        [
            lambda queue: queue.put(numbered(1, MEGABYTE)),
            lambda queue: queue.put_batch([numbered(1), "small", bytes(MEGABYTE)]),
            lambda queue: queue.put_bytes(bytes(MEGABYTE)),
            lambda queue: queue.reserve(MEGABYTE),
        ],
        ids=["put", "put_batch", "put_bytes", "reserve"],
    )
    def test_while_it_waits_for_room(self, queue, forks, call):
        queue.put_batch([bytes(MEGABYTE), *range(7)])
        held = used_bytes(queue)
        pid = forks.start(call, queue)
        support.await_asleep(f"/proc/{pid}")
        forks.kill(pid)
        views.sweep(queue)
        assert used_bytes(queue) == held
        assert queue.get() == bytes(MEGABYTE)
        assert [queue.get() for _ in range(7)] == list(range(7))
        views.assert_as_new(queue)

    def test_while_a_commit_waits_for_room(self, queue, forks, turns):
        def child():
            with queue.reserve(MEGABYTE) as room:
                room[:5] = b"12345"
                turns.swap()

        pid = forks.start(child)
        turns.hear_from(forks, pid)
        for number in range(8):
            queue.put(number)
        turns.say()
        support.await_asleep(f"/proc/{pid}")
        forks.kill(pid)
        views.sweep(queue)
        assert used_bytes(queue) == 0
        assert support.drain(queue, 8) == list(range(8))

    def test_with_arrays_in_hand_while_it_waits_for_more(self, queue, forks):
        for number in range(3):
            queue.put(numbered(number))

        def child():
            kept = []
            while True:
                kept.append(queue.get())

        pid = forks.start(child)
        wait_until(lambda: queue.qsize() == 0, "the child to get all")
        support.await_asleep(f"/proc/{pid}")
        assert used_bytes(queue) > 0
        forks.kill(pid)
        views.sweep(queue)
        views.assert_as_new(queue)


class TestWrittenByHand:
    """States that last for a few instructions, written into the segment as of a dead seat."""

    @pytest.fixture
    def queue(self, make):
        return make(8)

    @pytest.mark.parametrize("state", [HELD, QUEUED], ids=["held", "queued"])
    def test_a_block_that_no_slot_refers_to(self, queue, raw, dead, state):
        """Queued and not committed; or committed, taken, and not yet given back."""
        queue.put(numbered(1))
        queue.get()
        raw.set("block", 0, "state", dead | state)
        raw.set("block", 0, "sequence", raw.get("end", TAIL, "sequence"))
        raw.set_owner(TAIL, dead)
        views.sweep(queue)
        assert raw.get("block", 0, "state") == 0
        assert raw.owner(TAIL) & ~FLAGS == 0
        views.assert_as_new(queue)

    @pytest.mark.parametrize("item", ["an array", "bytes"])
    def test_one_that_was_marked_by_a_get_that_did_not_commit(self, queue, raw, dead, item):
        """The item is still in, and the next get has it."""
        data = numbered(1) if item == "an array" else pattern(MEGABYTE)
        queue.put(data)
        raw.set("block", 0, "state", dead | HELD)
        raw.set_owner(HEAD, dead)
        views.sweep(queue)
        assert raw.get("block", 0, "state") != 0
        got = queue.get(timeout=LIMIT)
        assert is_numbered(got, 1) if item == "an array" else got == data

    def test_one_of_a_living_seat_is_left_alone(self, queue, raw, living):
        queue.put(numbered(1))
        queue.get()
        raw.set("block", 0, "state", living | HELD)
        views.sweep(queue)
        assert raw.get("block", 0, "state") == living | HELD
        raw.set("block", 0, "state", 0)


class TestInTheRing:
    @pytest.mark.parametrize("kept", [False, True], ids=["nothing in hand", "blocks in hand"])
    def test_what_the_dead_put_is_never_taken_back(self, queue, forks, hold, kept):
        def act(queue):
            in_hand = (queue.reserve(MEGABYTE), _got(queue, 2)) if kept else None
            queue.put(numbered(1))
            queue.put({"deep": numbered(2)})
            queue.put_bytes(pattern(MEGABYTE))
            with queue.reserve_array(1 << 16, "uint32") as array:
                array[:] = numbered(3)
            return in_hand

        forks.kill(hold(act))
        for _ in range(3):
            views.sweep(queue)
        # More than there is beside them: none of their blocks serves anybody else.
        for number in range(4):
            queue.put(numbered(100 + number))
        assert is_numbered(queue.get(), 1)
        assert is_numbered(queue.get()["deep"], 2)
        assert queue.get_bytes() == pattern(MEGABYTE)
        assert is_numbered(queue.get(), 3)
        assert all(is_numbered(queue.get(), 100 + number) for number in range(4))
        assert used_bytes(queue) == 0

    def test_what_a_dead_consumer_left_in_is_whole(self, queue, forks, hold):
        for number in range(6):
            queue.put(numbered(number))
        forks.kill(hold(lambda queue: [queue.get() for _ in range(3)]))
        views.sweep(queue)
        assert all(is_numbered(queue.get(), number) for number in range(3, 6))


class TestForkedChildren:
    """The dead had forked: the children live, with what they have of their parent's arrays."""

    def _family(self, queue, forks, turns, act):
        """Return the pids of a process with blocks in hand and of its child, who looks later."""
        reader, writer = os.pipe()

        def child(kept):
            turns.hear()
            for number, array in enumerate(kept):
                assert is_numbered(array, number)
                array[:] = 0
            turns.say()

        def parent():
            kept, _in_hand = act(queue)
            os.write(writer, b"%d" % forks.start(child, kept))
            _stay()

        pid = forks.start(parent)
        orphan = int(os.read(reader, 20))
        os.close(reader)
        os.close(writer)
        return pid, orphan

    @pytest.mark.parametrize(
        "act",
        [
            lambda queue: (_got(queue, 3), None),
            lambda queue: ([], queue.reserve(MEGABYTE)),
            lambda queue: (_got(queue, 3), _entered(queue)),
        ],
        ids=["arrays", "a reservation", "both"],
    )
    def test_the_blocks_are_free_and_the_childs_arrays_are_as_they_were(
        self, queue, forks, turns, act
    ):
        pid, orphan = self._family(queue, forks, turns, act)
        forks.kill(pid)
        forks.adopt(orphan)
        views.sweep(queue)
        assert used_bytes(queue) == 0
        mine = _got(queue, 6)
        turns.swap()
        assert forks.wait(orphan) == 0
        assert all(is_numbered(array, number) for number, array in enumerate(mine))


@mounts.needs_mount
@pytest.mark.parametrize("hold", ["queue.reserve(40 << 20)", "[queue.get() for _ in range(8)]"])
def test_a_put_that_finds_no_memory_looks_for_that_of_the_dead(programs, hold):
    """In 64 MB, where what the killed process held is needed."""
    report = programs.run(
        f"""
        import json, os, signal
        from shmqueue import SharedMemoryQueue
        queue = SharedMemoryQueue("q", create=True, capacity=64, item_size=64)
        def fill():
            count = 0
            try:
                while True:
                    queue.put(bytes(1 << 20), block=False)
                    count += 1
            except OSError:
                pass
            for _ in range(count):
                queue.get()
            return count
        before = fill()
        for _ in range(8):
            import numpy
            queue.put(numpy.zeros(1 << 20, "uint8"))
        said = os.pipe()
        pid = os.fork()
        if pid == 0:
            try:
                kept = {hold}
                os.write(said[1], b".")
                signal.pause()
            finally:
                os._exit(1)
        os.close(said[1])
        assert os.read(said[0], 1)
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        while queue.qsize():
            queue.get()
        after = fill()
        metrics = queue.get_metrics()
        queue.unlink()
        print(json.dumps([before, after, metrics["pool_bytes"], metrics["pool_free_bytes"]]))
        """,
        prefix=mounts.with_shared_memory("size=64M"),
    )
    before, after, reserved, free = json.loads(report)
    assert 0 < before <= after + 1
    assert reserved == free
