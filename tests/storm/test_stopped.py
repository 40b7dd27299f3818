"""Who is stopped is alive: nobody takes anything from it, however long it stands still.

Workers are stopped at random moments, and with an owner word in their hands. Meanwhile calls of
others end when their time is over and not before, and newcomers sweep nothing that is not a dead
one's. Once all go on, every single item has come.
"""

import contextlib
import os
import random
import secrets
import time
from collections import Counter
from queue import Empty, Full

import pytest

from tests import evidence, support, unnamed
from tests.protocol.raw import HEAD, POOL, TAIL
from tests.storm import crew, items, queues
from tests.storm.account import account
from tests.storm.storm import GUEST, WORKERS, Storm

SEED = int(os.environ.get("SHMQUEUE_STORM_SEED", "0")) or secrets.randbits(32)
TRIALS = evidence.scaled(34, 120)  # of each kind of queue
# So many of them with somebody who has an owner word in its hands.
HOLDERS = evidence.scaled(3, 14)

ENDS = {"tail": TAIL, "head": HEAD, "pool": POOL}


class Guest:
    """Somebody who puts and gets among the workers, with a seat of its own, and accounts for it."""

    def __init__(self, storm, queue, rng):
        self._queue = unnamed.another(queue)
        self._ledger = storm.ledger
        self._number = storm.new_incarnation()
        self._rng = rng

    def put(self, size, timeout):
        number = self._ledger.returned[self._number] + 1
        item = bytes(items.filled(size, self._number, number, self._rng))
        self._ledger.begun[self._number] = number
        self._queue.put(item, timeout=timeout)
        self._ledger.returned[self._number] = number

    def get(self, timeout):
        item = self._queue.get(timeout=timeout)
        self._ledger.note(GUEST, *items.check(items.data_of(item)))

    def close(self):
        self._queue.close()


def timed(call, timeout, *arguments):
    """Return what a call raised for want of time, or None; it must not have given up early."""
    begun = time.monotonic()
    try:
        call(*arguments, timeout)
    except (Full, Empty) as error:
        assert time.monotonic() - begun >= timeout - support.CLOCK_SLACK
        return type(error)
    return None


@pytest.fixture
def stage(queue):
    """Return a queue, and workers on it that nobody kills."""
    field = queues.KINDS[queue]()
    storm = Storm(field, 0, f"{SEED}-{queue}")
    storm.begin()
    yield field, storm
    storm.end()
    assert field.remove() == []


@pytest.mark.watchdog(300)
@pytest.mark.parametrize("queue", queues.KINDS)
def test_a_stopped_owner_is_never_robbed(stage, queue):
    print(f"seed {SEED}")
    field, storm = stage
    rng = random.Random(f"stops {SEED} {queue}")
    guest = Guest(storm, field.queue, rng)
    held = Counter()
    holders_due = [True] * HOLDERS + [False] * (TRIALS - HOLDERS)
    rng.shuffle(holders_due)
    seconds = 0.0
    support.wait_until(lambda: all(storm.ledger.received[:GUEST]), "each consumer to receive")

    for holder_due in holders_due:
        stopped = [storm.find_holder(support.LIMIT)] if holder_due else rng.sample(WORKERS, 2)
        assert stopped[0], f"nobody had an owner word in {support.LIMIT:g} s"
        if not holder_due:
            storm.stop(*stopped)
        pids = {storm.pid(worker) for worker in stopped}
        owned = {name: pid for name, end in ENDS.items() if (pid := storm.holder_of(end)) in pids}
        assert owned or not holder_due, "a stopped process lost the owner word that it had"
        held.update(owned)
        begun = time.monotonic()
        timeout = rng.uniform(0.012, 0.04)
        sizes = [rng.choice([crew.SMALLEST, crew.SLOT_BYTES // 2]), crew.LARGEST]
        if queue == "unbounded":
            # Its puts are never told that it is full: they wait for whoever is in the way.
            puts = support.Thread(lambda sizes=sizes: [guest.put(size, 0.0) for size in sizes])
        else:
            put = timed(guest.put, timeout, sizes[0])
            assert put is Full or "tail" not in owned
            timed(guest.put, timeout, sizes[1])
        got = timed(guest.get, timeout)
        assert got is Empty or "head" not in owned
        # A newcomer looks for what the dead left.
        seen = field.metrics()
        assert seen["takeovers"] == 0
        alive = {row["pid"]: row["alive"] for row in seen["seats"]}
        assert all(alive.get(pid) is not False for pid in pids)
        assert {name: storm.holder_of(ENDS[name]) for name in owned} == owned
        seconds += time.monotonic() - begun
        if queue == "unbounded":
            assert puts.is_alive() or "tail" not in owned
            storm.resume(*stopped)
            puts.result()
        else:
            storm.resume(*stopped)

    storm.calm_down()
    with contextlib.suppress(Empty):
        while True:
            guest.get(0.0)
    guest.close()
    told = account(storm.ledger, storm.incarnations)
    seen = field.metrics()
    assert (told.missing, told.duplicates, told.strangers, told.disordered) == (0, 0, 0, 0)
    assert seen["items_put"] == seen["items_got"] == told.received
    assert (seen["takeovers"], seen["pool_free_bytes"]) == (0, seen["pool_bytes"])
    assert sum(held.values()) >= HOLDERS
    evidence.report(
        "stopped",
        {
            f"{queue}_trials": TRIALS,
            f"{queue}_stops": storm.stops,
            f"{queue}_holders": dict(held),
            f"{queue}_seconds_stopped": round(seconds, 1),
            f"{queue}_items": told.received,
            f"{queue}_takeovers": seen["takeovers"],
            f"{queue}_lost": told.missing,
        },
    )
