"""Random producers and consumers die by SIGKILL, hundreds of times; every item is accounted for.

What a process did is written into memory that survives it, on both sides of each call. An item that
``put`` returned for must then have been received, once, unless a consumer was killed with it in its
hands: at most as many as the call that it was in may take.

Over a queue without bounds the backlog rises and falls like a tide, so that the ring grows through
regions and gives them back while processes die.
"""

import json
import os
import random
import secrets
import signal
import sys
import time
from queue import Empty

import pytest

from shmqueue import SharedMemoryQueue
from shmqueue._inspect import seat_rows, snapshot
from tests import support, unnamed
from tests.faults.processes import Forks
from tests.protocol.raw import FLAGS, HEAD, POOL, TAIL
from tests.storm import items
from tests.storm.account import account
from tests.storm.ledger import DRAINED, NO_MORE_PUTS, RUN, Ledger

KILLS = int(os.environ.get("SHMQUEUE_STORM_KILLS", "320"))
UNBOUNDED_KILLS = int(os.environ.get("SHMQUEUE_STORM_KILLS", "150"))
SEED = int(os.environ.get("SHMQUEUE_STORM_SEED", "0")) or secrets.randbits(32)

PRODUCERS = 3
CONSUMERS = 3
CAPACITY = 48
ITEM_SIZE = 4096
MAX_BATCH = 16
SIZES = (64, 300, 1000, 3000, 4000, 5000, 8192)

# Every other victim dies with an owner word in its hands, if stopping this many shows one.
STOPS = 100
STOPS_IN_TIDES = 12

# Between two kills the storm waits this long at most; it is the experiment, nothing depends on it.
LONGEST_CALM = 0.06

# At high tide an unbounded queue has as many items; then producers rest until it was empty.
HIGH_TIDE = 3000
FLOOD, EBB = 0, 1
# A trickle in the flood, so that somebody receives something after each kill.
TRICKLE_SECONDS = 0.001


def is_tidal(queue):
    return queue._attachment.capacity == unnamed.UNBOUNDED


def produce(queue, ledger, incarnation, seed):
    rng = random.Random(seed)
    sequence = 0
    while ledger.phase[0] == RUN:
        if ledger.tide[0] == EBB and is_tidal(queue):
            time.sleep(TRICKLE_SECONDS)
            continue
        if queue.qsize() > HIGH_TIDE:
            ledger.tide[0] = EBB
        count = 1 if rng.random() < 0.7 else rng.randint(2, MAX_BATCH)
        numbers = range(sequence + 1, sequence + count + 1)
        batch = [bytes(items.filled(rng.choice(SIZES), incarnation, n, rng)) for n in numbers]
        sequence += count
        ledger.begun[incarnation] = sequence
        if count == 1:
            queue.put(batch[0])
        else:
            queue.put_batch(batch)
        ledger.returned[incarnation] = sequence


def consume(queue, ledger, place, seed):
    rng = random.Random(seed)
    # Low tide is told by the first who finds nothing.
    limit = 0.01 if is_tidal(queue) else 0.2
    while True:
        drained = ledger.phase[0] == DRAINED
        if ledger.phase[0] == RUN and ledger.tide[0] == FLOOD and is_tidal(queue):
            time.sleep(TRICKLE_SECONDS)
        count = 1 if rng.random() < 0.6 else rng.randint(2, MAX_BATCH)
        ledger.in_hand[place] = count
        try:
            one = count == 1
            got = [queue.get(timeout=limit)] if one else queue.get_batch(count, timeout=limit)
        except Empty:
            got = []
            ledger.tide[0] = FLOOD
        for item in got:
            ledger.note(place, *items.check(item))
        ledger.in_hand[place] = 0
        if drained and not got:
            return


class Storm:
    """Producers and consumers, the killing of them, and who comes after.

    `join_in` gives a process that was just forked the queue as a newcomer gets it.
    """

    def __init__(self, forks, queue, raw, rng, kills, stops, join_in):
        self._forks = forks
        self._queue = queue
        self._raw = raw
        self._rng = rng
        self._stops = stops
        self._join_in = join_in
        self.ledger = Ledger(PRODUCERS + kills + 2, CONSUMERS)
        self.incarnations = 0
        self.kills = {"producer": 0, "consumer": 0}
        self.kills_of_holders = 0
        self.may_be_lost = 0
        self.longest_stall = 0.0
        self.workers = {}
        for place in range(PRODUCERS):
            self._start("producer", place)
        for place in range(CONSUMERS):
            self._start("consumer", place)

    def _start(self, role, place):
        seed = self._rng.randrange(1 << 32)
        anew = self._rng.random() < 0.5
        if role == "producer":
            self.incarnations += 1
        number = self.incarnations if role == "producer" else place
        self.workers[role, place] = self._forks.start(self._work, role, number, seed, anew)

    def _work(self, role, number, seed, anew):
        queue = self._join_in(self._queue) if anew else self._queue
        (produce if role == "producer" else consume)(queue, self.ledger, number, seed)

    def strike(self):
        """Kill one worker or two, look that the others go on, and start who comes after."""
        self._all_live()
        victims = self._rng.sample(sorted(self.workers), k=1 if self._rng.random() < 0.8 else 2)
        if self._rng.random() < 0.5 and (holder := self._holder()):
            victims = [holder]
            self.kills_of_holders += 1
        for victim in victims:
            self._forks.kill(self.workers[victim])
        self._await_progress()
        for role, place in victims:
            self.kills[role] += 1
            if role == "consumer":
                self.may_be_lost += self.ledger.in_hand[place]
                self.ledger.in_hand[place] = 0
            self._start(role, place)

    def _holder(self):
        """Return a worker that stands still with an owner word in its hands; None if none does."""
        for _ in range(self._stops):
            worker = self._rng.choice(sorted(self.workers))
            pid = self.workers[worker]
            os.kill(pid, signal.SIGSTOP)
            _, status = os.waitpid(pid, os.WUNTRACED)
            assert os.WIFSTOPPED(status), f"{worker} ended by itself: {status}"
            if pid in self._pids_that_hold_words():
                return worker
            os.kill(pid, signal.SIGCONT)
        return None

    def _pids_that_hold_words(self):
        words = [self._raw.owner(end) & ~FLAGS for end in (TAIL, HEAD, POOL)]
        return [self._raw.get("seat", (word >> 8) % 65536 - 1, "pid") for word in words if word]

    def _all_live(self):
        for worker, pid in self.workers.items():
            code = self._forks.poll(pid)
            assert code is None, f"{worker} ended by itself with code {code}"

    def _await_progress(self):
        before, begun = self.ledger.total_received(), time.monotonic()
        support.wait_until(
            lambda: self.ledger.total_received() > before, "anyone to receive an item after a kill"
        )
        self.longest_stall = max(self.longest_stall, time.monotonic() - begun)

    def calm_down(self):
        """Let everyone who lives finish in order."""
        for phase, role in ((NO_MORE_PUTS, "producer"), (DRAINED, "consumer")):
            self.ledger.phase[0] = phase
            for (is_role, place), pid in self.workers.items():
                if is_role == role:
                    assert self._forks.wait(pid) == 0, f"{role} {place} failed"


# Attaching sweeps after the dead.
LATECOMER = """
    import json, sys
    from shmqueue import SharedMemoryQueue

    with SharedMemoryQueue("q", run_id=sys.argv[1]) as queue:
        print(json.dumps(queue.get_metrics()))
"""


def _rage(storm, rng, kills, look=lambda: None):
    """Kill so many, then let the others finish; return what it was, in words."""
    begun = time.monotonic()
    while sum(storm.kills.values()) < kills:
        time.sleep(rng.uniform(0, LONGEST_CALM))
        look()
        storm.strike()
    seconds = time.monotonic() - begun
    storm.calm_down()
    return (
        f"kills {storm.kills} in {seconds:.1f} s, longest stall {storm.longest_stall * 1e3:.0f} ms"
    )


def _check(storm, metrics, told):
    """Compare what was received with what the queue says, once a latecomer swept it."""
    told_by_all = account(storm.ledger, storm.incarnations)
    received, missing = told_by_all.received, told_by_all.missing
    assert (told_by_all.duplicates, told_by_all.strangers, told_by_all.disordered) == (0, 0, 0)
    lost = metrics["items_put"] - received
    sys.stdout.write(
        f"{told}, {received} items received, {lost} lost of at most {storm.may_be_lost},"
        f" {metrics['takeovers']} takeovers, {storm.kills_of_holders} of them for certain\n"
    )
    assert metrics["takeovers"] >= storm.kills_of_holders
    assert metrics["queue_size"] == 0
    assert metrics["items_put"] == metrics["items_got"]
    assert 0 <= missing <= lost <= storm.may_be_lost
    assert metrics["pool_free_bytes"] == metrics["pool_bytes"]
    # The dead left their seats to those who came after.
    assert max(row["seat"] for row in metrics["seats"]) <= PRODUCERS + CONSUMERS + 2
    storm.ledger.close()


def _join_by_name(queue):
    name, run_id = queue.name, queue.run_id
    queue.close()
    return SharedMemoryQueue(name, run_id=run_id)


@pytest.fixture
def forks():
    """Fork children: none outlives the test."""
    made = Forks()
    yield made
    made.end()


@pytest.mark.watchdog(150)
def test_nothing_hangs_tears_or_vanishes_when_processes_are_killed(
    create, forks, open_raw, programs, run_id
):
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    queue = create(capacity=CAPACITY, item_size=ITEM_SIZE)
    storm = Storm(forks, queue, open_raw(), rng, KILLS, STOPS, _join_by_name)
    told = _rage(storm, rng, KILLS)
    metrics = json.loads(programs.run(LATECOMER, run_id))
    _check(storm, metrics, told)
    assert metrics["pool_bytes"] > 0

    queue.put(b"and on", timeout=support.LIMIT)
    assert queue.get(timeout=support.LIMIT) == b"and on"


def _latecomers_metrics(queue):
    """Attach once more, and tell what is to be seen then."""
    late = unnamed.another(queue)
    attachment = late._attachment
    metrics = snapshot(attachment)
    metrics["queue_size"] = late.qsize()
    metrics["seats"] = seat_rows(attachment)
    return metrics


@pytest.mark.watchdog(150)
def test_nor_does_anything_in_a_ring_that_grows_and_shrinks(forks):
    print(f"seed {SEED}")
    rng = random.Random(SEED)
    queue = unnamed.make_queue()
    raw = unnamed.RawUnnamed(queue._attachment)
    regions = set()

    def look():
        regions.update(unnamed.region_of(position) for _, position in raw.entries(HEAD))

    try:
        storm = Storm(forks, queue, raw, rng, UNBOUNDED_KILLS, STOPS_IN_TIDES, unnamed.another)
        told = _rage(storm, rng, UNBOUNDED_KILLS, look)
        _check(storm, _latecomers_metrics(queue), f"regions {sorted(regions)}, {told}")
        # It grew, and came back.
        assert len(regions) >= 2
        for _ in range(1000):
            queue.put(bytes(3000), timeout=support.LIMIT)
        assert support.drain(queue, 1000) == [bytes(3000)] * 1000
        assert raw.regions() == (0, 0)
        assert raw.backed()[1:] == [(0, 0)] * (raw.region_count - 1)
        used = sum(bytes_ for bytes_, _ in raw.backed())
        pool = snapshot(queue._attachment)["pool_bytes"]
        # Besides slots and large items: seats, descriptors of blocks, and holes that a look filled.
        assert raw.slots_memory_bytes() <= used + pool + (1 << 20)
    finally:
        raw.close()
        queue.close()
