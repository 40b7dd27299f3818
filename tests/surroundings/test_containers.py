"""Containers that share a segment: each has a process 1, and process numbers come again.

Whoever told processes apart by their numbers would take the living for dead here, and the dead for
living.
"""

import functools
import os
import random
import signal

import pytest

from shmqueue import Empty, Full, SharedMemoryQueue
from shmqueue._inspect import seat_rows
from tests import evidence
from tests.faults.processes import Turns
from tests.protocol.raw import FLAGS, HEAD, TAIL, tag
from tests.support import LIMIT, wait_until
from tests.surroundings import namespaces, sides

HOLDERS = evidence.scaled(10, 60)
KILLS = evidence.scaled(25, 200)
REUSES = evidence.scaled(25, 300)
# Behind all numbers that a namespace has given by itself.
REUSED = 300


def _alive(queue):
    return {row["seat"] for row in seat_rows(queue._attachment) if row["alive"]}


def _sit_and_wait(run_id, turns):
    with SharedMemoryQueue("q", run_id=run_id) as queue:
        # Forked from one that is attached, it takes its seat with its first call.
        queue.put("seated")
        queue.get()
        turns.swap()


class Holder:
    """A process that has a seat, and whose tag is known."""

    def __init__(self, queue, raw, turns, start):
        before = _alive(queue)
        self.pid = start(_sit_and_wait, queue.run_id, turns)
        turns.hear()
        (self.seat,) = _alive(queue) - before
        self.tag = tag(self.seat, raw.get("seat", self.seat, "generation"))


@pytest.mark.watchdog(4 * LIMIT)
def test_process_one_of_a_container_is_not_taken_for_that_of_another(
    create, forks, turns, open_raw, run_id
):
    namespaces.need("pid")
    queue = create(capacity=4, item_size=64, max_processes=3)
    raw = open_raw()
    refused, took = os.pipe(), os.pipe()

    def rival(end):
        mine = SharedMemoryQueue("q", run_id=run_id)
        call = functools.partial(mine.put, "mine") if end == TAIL else mine.get
        with pytest.raises((Full, Empty)):
            call(timeout=0.02)
        os.write(refused[1], b".")
        call(timeout=LIMIT)
        os.write(took[1], b".")
        signal.pause()

    def start(function, *args):
        return namespaces.start_as_first(forks, function, *args)

    try:
        for number in range(HOLDERS):
            end = (TAIL, HEAD)[number % 2]
            holder = Holder(queue, raw, turns, start)
            if end == HEAD:
                queue.put("theirs")
            raw.set_owner(end, holder.tag)
            other = start(rival, end)
            os.read(refused[0], 1)
            assert raw.owner(end) & ~FLAGS == holder.tag
            forks.kill(holder.pid)
            os.read(took[0], 1)
            assert raw.owner(end) & ~FLAGS == 0
            assert queue.get_metrics()["takeovers"] == number + 1
            forks.kill(other)
            if end == TAIL:
                assert queue.get(timeout=LIMIT) == "mine"
            assert queue.empty()
    finally:
        for fd in (*refused, *took):
            os.close(fd)
    evidence.report("surroundings", {"kills_of_first_processes_that_held_an_end": HOLDERS})


@pytest.mark.watchdog(10 * LIMIT)
def test_kills_in_three_containers_lose_nothing_but_what_was_in_hand(create, forks, run_id):
    namespaces.need("pid")
    queue = create(max_processes=4, **sides.GEOMETRY)
    seed = random.randrange(1 << 32)
    account = sides.Account(
        lambda *call: namespaces.start_as_first(forks, *call), forks, run_id, random.Random(seed)
    )
    account.kill(KILLS)
    found = account.close(queue)
    assert found["wrong"] == [], f"seed {seed}"
    assert found["got"] > KILLS
    assert queue.get_metrics()["takeovers"] <= KILLS + found["stopped"]
    evidence.report(
        "surroundings",
        {
            "kills_of_first_processes_at_work": KILLS,
            "items_through_containers": found["got"],
            "takeovers_in_containers": queue.get_metrics()["takeovers"],
        },
    )


def test_a_stopped_process_one_is_not_robbed_by_another(create, forks, turns, open_raw):
    namespaces.need("pid")
    queue = create(capacity=4, item_size=64)
    raw = open_raw()
    holder = Holder(queue, raw, turns, lambda *call: namespaces.start_as_first(forks, *call))
    raw.set_owner(TAIL, holder.tag)
    os.kill(holder.pid, signal.SIGSTOP)

    def rival():
        assert os.getpid() == 1
        for _ in range(5):
            with pytest.raises(Full):
                queue.put("mine", timeout=0.06)

    assert forks.wait(namespaces.start_as_first(forks, rival)) == 0
    assert queue.get_metrics()["takeovers"] == 0
    assert raw.owner(TAIL) & ~FLAGS == holder.tag
    forks.kill(holder.pid)
    queue.put("goes on", timeout=LIMIT)
    assert queue.get() == "goes on"


def _with_number(number):
    """Let the next process of this namespace have this number."""
    with open("/proc/sys/kernel/ns_last_pid", "w") as file:
        file.write(str(number - 1))


@pytest.mark.watchdog(4 * LIMIT)
def test_a_process_with_the_number_of_a_dead_one_is_not_taken_for_it(create, forks, open_raw):
    namespaces.need("pid")
    queue = create(capacity=4, item_size=64, max_processes=4)
    raw = open_raw()

    def start(function, *args):
        _with_number(REUSED)
        pid = forks.start(function, *args)
        assert pid == REUSED, f"the namespace gave {pid}"
        return pid

    def manage():
        turns = Turns()
        for number in range(REUSES):
            end, joins = (TAIL, HEAD)[number % 2], number % 4 < 2
            dead = Holder(queue, raw, turns, start)
            forks.kill(dead.pid)
            wait_until(lambda dead=dead: dead.seat not in _alive(queue), "the seat to be free")
            raw.set_owner(end, dead.tag)
            if joins:
                # It sits where the dead one sat: sweeps the word, and is not its owner.
                living = Holder(queue, raw, turns, start)
                assert living.seat == dead.seat
                assert living.tag != dead.tag
                assert raw.owner(end) & ~FLAGS == 0
                raw.set_owner(end, dead.tag)
            else:
                pid = start(signal.pause)
            queue.put("on", timeout=LIMIT)
            assert queue.get(timeout=LIMIT) == "on"
            assert raw.owner(end) & ~FLAGS == 0
            if joins:
                # And its own word is its own, whatever became of the other of its number.
                raw.set_owner(TAIL, living.tag)
                with pytest.raises(Full):
                    queue.put("no", timeout=0.005)
                raw.set_owner(TAIL, 0)
                pid = living.pid
            forks.kill(pid)

    assert forks.wait(namespaces.start_as_first(forks, manage), 3 * LIMIT) == 0
    evidence.report("surroundings", {"process_numbers_reused": REUSES})
