"""Seats, and coming and going without end: nothing is used up."""

import gc
import os
import pickle
import re
import signal

import pytest

from shmqueue import NoFreeSeatError, Queue, SharedMemoryQueue, segment
from shmqueue._inspect import seat_rows
from tests import evidence
from tests.faults.processes import Turns
from tests.support import LIMIT, open_descriptors

CYCLES = evidence.scaled(2000, 100_000)
# Of what takes longer.
FEWER = evidence.scaled(400, 4000)
# How a seat becomes free: all but one are taken by processes that end so.
WAYS = ("close", "exec", "SIGKILL", "return")
SEATS = 1 + len(WAYS)
# What the interpreter itself may take meanwhile: a few arenas of its allocator.
SLACK_BYTES = 4 << 20
WARM_UP = 50


def _sit(queue, turns, how):
    queue.put("seated")
    queue.get()
    turns.swap()
    if how == "close":
        queue.close()
        turns.swap()
    elif how == "exec":
        os.execv("/bin/true", ["true"])
    elif how == "SIGKILL":
        os.kill(os.getpid(), signal.SIGKILL)


class TestExhaustion:
    @pytest.fixture
    def new_turns(self):
        """Return what makes turns, one for each child."""
        made = []

        def make():
            made.append(Turns())
            return made[-1]

        yield make
        for turns in made:
            turns.close()

    @pytest.fixture
    def full(self, create, forks, new_turns):
        """Return a queue all of whose seats are taken, and who has them but for this process."""
        queue = create(max_processes=SEATS, capacity=4, item_size=64)
        queue.put("own seat")
        queue.get()
        holders = {}
        for how in WAYS:
            turns = new_turns()
            pid = forks.start(_sit, queue, turns, how)
            turns.hear_from(forks, pid)
            holders[how] = pid, turns
        return queue, holders

    def _refused(self, forks, queue, run_id):
        """Let a newcomer try: by name, and by what it inherits."""

        def attach():
            segment._attachments.clear()
            with pytest.raises(NoFreeSeatError, match=f"all {SEATS} seats.*max_processes"):
                SharedMemoryQueue("q", run_id=run_id)

        def inherit():
            for call in (queue.get_nowait, lambda: queue.put(1)):
                with pytest.raises(NoFreeSeatError, match=f"all {SEATS} seats"):
                    call()

        return [forks.wait(forks.start(what)) for what in (attach, inherit)] == [0, 0]

    def test_one_more_is_told_so_and_harms_nobody(self, full, forks, run_id):
        queue, holders = full
        for _ in range(3):
            assert self._refused(forks, queue, run_id)
        queue.put("on", timeout=LIMIT)
        assert queue.get(timeout=LIMIT) == "on"
        assert sum(row["alive"] for row in seat_rows(queue._attachment)) == SEATS
        for pid, _ in holders.values():
            forks.kill(pid)

    def test_a_seat_that_becomes_free_serves_at_once_however_it_did(
        self, full, forks, new_turns, run_id
    ):
        queue, holders = full
        for how, (pid, turns) in holders.items():
            assert self._refused(forks, queue, run_id)
            turns.say()
            if how == "close":
                turns.hear_from(forks, pid)
            else:
                forks.wait(pid)

            def newcomer():
                with SharedMemoryQueue("q", run_id=run_id) as mine:
                    mine.put("from the newcomer")
                    assert mine.get() == "from the newcomer"

            # One after the other: each has the one seat that is free, and leaves it.
            for _ in range(3):
                assert forks.wait(forks.start(newcomer)) == 0, how
            # Taken again, for the next way to become free.
            others = new_turns()
            others.hear_from(forks, forks.start(_sit, queue, others, "return"))
        evidence.report("surroundings", {"seats_exhausted": SEATS})


class Use:
    """What a process has: descriptors, mappings, memory."""

    def __init__(self):
        gc.collect()
        self.descriptors = open_descriptors()
        with open("/proc/self/maps") as maps:
            lines = maps.readlines()
        self.mapping_count = len(lines)
        self.of_queues = [line for line in lines if re.search("shmq", line)]
        with open("/proc/self/statm") as file:
            fields = file.read().split()
        self.size_bytes, self.resident_bytes = (
            int(f) * os.sysconf("SC_PAGE_SIZE") for f in fields[:2]
        )

    def assert_no_more_than(self, before):
        assert self.descriptors == before.descriptors
        assert self.of_queues == before.of_queues
        assert self.mapping_count <= before.mapping_count + 8
        assert self.size_bytes <= before.size_bytes + SLACK_BYTES
        assert self.resident_bytes <= before.resident_bytes + SLACK_BYTES


def _cycle(once, count=FEWER):
    """Do it over and over; assert that it uses nothing up."""
    for _ in range(WARM_UP):
        once()
    before = Use()
    for _ in range(count):
        once()
    Use().assert_no_more_than(before)


@pytest.mark.watchdog(10 * LIMIT)
class TestComingAndGoing:
    def test_attaching_and_detaching_uses_nothing_up(self, create, run_id, open_raw):
        path = create(capacity=4, item_size=64, max_processes=2)
        path.close()
        raw = open_raw()

        def once():
            SharedMemoryQueue("q", run_id=run_id).close()

        _cycle(once, CYCLES)
        assert raw.get("header", 0, "seats_granted") == 1
        assert raw.get("seat", 0, "generation") >= CYCLES
        assert raw.get("seat", 0, "pid") == 0
        evidence.report("surroundings", {"attach_and_detach_cycles": CYCLES})

    def test_using_it_each_time_loses_no_block(self, create, run_id):
        create(capacity=4, item_size=64, max_processes=2).close()
        large = bytes(20_000)

        def once():
            with SharedMemoryQueue("q", run_id=run_id) as queue:
                queue.put(large)
                queue.put("small")
                assert queue.get() == large
                assert queue.get() == "small"

        _cycle(once)
        with SharedMemoryQueue("q", run_id=run_id) as queue:
            metrics = queue.get_metrics()
        assert metrics["pool_bytes"] == metrics["pool_free_bytes"] < 1 << 20
        assert metrics["items_put"] == metrics["items_got"] == 2 * (FEWER + WARM_UP)
        assert len(metrics["seats"]) == 1

    def test_creating_and_unlinking_uses_nothing_up(self, run_id):
        def once():
            with SharedMemoryQueue(
                "q", create=True, capacity=4, item_size=64, max_processes=2, run_id=run_id
            ) as queue:
                queue.put(1)
                queue.unlink()

        _cycle(once)

    def test_making_unnamed_ones_uses_nothing_up(self):
        def once():
            queue = Queue(4)
            queue.put(1)
            queue.fileno()
            queue.close()

        _cycle(once)

    def test_handles_that_come_by_pickle_use_nothing_up(self, create):
        queue = create(capacity=4, item_size=64)

        def once():
            pickle.loads(pickle.dumps(queue)).close()

        _cycle(once)

    def test_processes_that_come_and_go_use_nothing_up(self, forks, create, open_raw):
        queue = create(capacity=4, item_size=64, max_processes=2)
        raw = open_raw()
        before = Use()
        for _ in range(FEWER // 10):
            assert forks.wait(forks.start(queue.put, 1)) == 0
            assert queue.get(timeout=LIMIT) == 1
        Use().assert_no_more_than(before)
        assert raw.get("header", 0, "seats_granted") == 2
