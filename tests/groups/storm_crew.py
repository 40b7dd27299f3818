"""Who takes part in the storm over a stream, and what each does until it is killed.

What each did is noted in the ledger, on both sides of each call. Who is not killed ends in order: a
writer when it is told to, or the stream was shut; the others when the stream is at its end.
"""

import contextlib
import gc
import itertools
import os
import random

from shmqueue import ShutDown, Stream, segment
from tests.groups import storm_items as items
from tests.storm.ledger import RUN, Ledger
from tests.support import LIMIT

CAPACITY = 16
ITEM_SIZE = 16_000
GROUPS = {
    "witness": {},
    "shared": {},
    "stage": {},
    "after": {"after": ["shared", "stage"]},
    "last": {"after": "after"},
    "lagging": {"policy": "lag"},
    "dropping": {"drop_after": 0.001},
}
# Who dies with an owner word in its hands shall not be rare.
LONGEST_BATCH = 12
LONGEST_VISIT = 8
MOST_KEPT = 3

# In the ledger's log, above the number of the producer: what was changed of the item, or that it is
# none, but the beginning of a visit.
STATE_SHIFT = 24
VISIT = 7


class MissedError(AssertionError):
    """A group that began elsewhere than where it was to begin."""


class Worker:
    """Somebody on a stream, in a process that may be killed."""

    def __init__(self, stream, ledger, place, number, rng):
        self._stream, self._ledger, self._place = stream, ledger, place
        self._number = number
        self._rng = rng

    def run(self):
        """Do what it does until the end."""


class Writer(Worker):
    """Puts one item or several, in several ways."""

    def run(self):
        with self._stream.writer() as out:
            while self._ledger.phase[0] == RUN:
                self._put(out)

    def _put(self, out):
        returned = self._ledger.returned[self._number]
        count = self._rng.randint(2, LONGEST_BATCH) if self._rng.random() < 0.3 else 1
        numbers = range(returned + 1, returned + 1 + count)
        batch = [items.made(self._number, number) for number in numbers]
        self._ledger.begun[self._number] = numbers[-1]
        if count > 1:
            out.put_batch(batch, timeout=LIMIT)
        elif items.is_array(batch[0]) and self._rng.random() < 0.5:
            with out.reserve_array(items.WORDS, "uint64", timeout=LIMIT) as array:
                array[:] = batch[0]
        else:
            out.put(batch[0], timeout=LIMIT)
        self._ledger.returned[self._number] = numbers[-1]


class Taker(Worker):
    """Takes from a group, one by one or in batches, and keeps some arrays for a while."""

    NAME = ""
    WRITES = False

    def __init__(self, *what):
        super().__init__(*what)
        self._kept = []  # items, and what was read in them

    def run(self):
        group = self._stream.group(self.NAME, create=False, writes=self.WRITES)
        with group, contextlib.suppress(ShutDown):
            while True:
                self._take(group)
        while self._kept:
            self._drop()

    def _take(self, group):
        count = LONGEST_BATCH if self._rng.random() < 0.5 else 1
        self._ledger.in_hand[self._place] = count
        is_one = count == 1
        taken = [group.get(timeout=LIMIT)] if is_one else group.get_batch(count, timeout=LIMIT)
        self._work(taken)
        for item in taken:
            seen = self._read(item)
            self._note(*seen)
            if items.is_array(item) and self._rng.random() < 0.3:
                self._kept.append((item, seen))
        self._ledger.in_hand[self._place] = 0
        while len(self._kept) > MOST_KEPT:
            self._drop()

    def _work(self, taken):
        """Do something with items before it is noted that they are here."""

    def _read(self, item):
        return items.read(item)

    def _note(self, producer, number, state=items.UNCHANGED):
        self._ledger.note(self._place, state << STATE_SHIFT | producer, number)

    def _drop(self):
        """Let go of a kept array, which must still be what it was."""
        item, seen = self._kept.pop(self._rng.randrange(len(self._kept)))
        if self._read(item) != seen:
            raise items.TornError(f"what was {seen} became {self._read(item)} while it was kept")


class Shared(Taker):
    NAME = "shared"


class Lagging(Taker):
    NAME = "lagging"


class Dropping(Taker):
    NAME = "dropping"


class Stage(Taker):
    """Changes arrays where they lie, for those after it, and looks at them when it is done."""

    NAME = "stage"
    WRITES = True

    def _take(self, group):
        super()._take(group)
        if self._rng.random() < 0.5:
            group.done()

    def _work(self, taken):
        for item in self._rng.sample(taken, len(taken)):
            if not items.is_array(item):
                continue
            seen = items.read_settled(item)
            if seen[2] != items.UNCHANGED:
                raise items.TornError(f"somebody else has changed {seen}")
            is_slow = self._rng.random() < 0.3
            for chunk in items.chunks(item):
                chunk += 1
                if is_slow:
                    os.sched_yield()

    def _read(self, item):
        return items.read_settled(item)


class After(Taker):
    """Sees what the stages before it have done, for good."""

    NAME = "after"

    def _read(self, item):
        return items.read_settled(item)


class Visitor(Taker):
    """Opens a group of its own, takes some, and leaves, again and again.

    What it gets, from the first item on, is all that is put from then on. It compares the first of
    each producer with what the ledger says of before and after.
    """

    def run(self):
        with contextlib.suppress(ShutDown):
            for visit in itertools.count(1):
                self._visit(visit)
        while self._kept:
            self._drop()

    def _visit(self, visit):
        start = self._rng.choice(("next", "oldest"))
        self._before = self._ledger.returned.tolist() if start == "next" else None
        with self._open(start) as group:
            self._begun = self._ledger.begun.tolist()
            self._known = set()
            self._ledger.note(self._place, VISIT << STATE_SHIFT, visit)
            try:
                for _ in range(self._rng.randint(1, LONGEST_VISIT)):
                    self._take(group)
            finally:
                self._leave(group)

    def _open(self, start):
        """Return the group that it opened."""

    def _leave(self, group):
        """Remove it, if closing it doesn't."""

    def _note(self, producer, number):
        if producer not in self._known:
            self._known.add(producer)
            if self._before and number <= self._before[producer]:
                raise MissedError(f"item {number} of {producer} was put before the group was there")
            if number > self._begun[producer] + 1:
                raise MissedError(f"a group missed what {producer} put before its item {number}")
        super()._note(producer, number)


class Subscriber(Visitor):
    def _open(self, start):
        return self._stream.subscribe(start=start)


class Comer(Visitor):
    """One whose group has a name: who clears up after it removes that."""

    def _open(self, start):
        return self._stream.group(name_of_comer(self._place), start=start)

    def _leave(self, group):
        group.remove()


def name_of_comer(place):
    return f"comer {place}"


ROLES = {
    "writer": Writer,
    "shared": Shared,
    "stage": Stage,
    "after": After,
    "lagging": Lagging,
    "dropping": Dropping,
    "subscriber": Subscriber,
    "comer": Comer,
}
# By their places. The others go on without anyone of these.
CREW = (
    *("writer", "writer", "shared", "shared", "stage", "stage", "after", "after"),
    *("lagging", "dropping", "subscriber", "comer"),
)


def new_ledger(most_writers):
    return Ledger(incarnations=most_writers, consumers=len(CREW))


def work(stream, anew, ledger, role, place, number, seed):
    """Be one of the crew, from its first instruction to its last."""
    # Who gets nothing from its parent's memory finds what is its own.
    gc.freeze()
    if anew:
        # As a program of its own would: what is left of its parent's is not shared.
        segment._attachments.clear()
        stream = Stream(stream.name, run_id=stream.run_id)
    with contextlib.suppress(ShutDown):
        ROLES[role](stream, ledger, place, number, random.Random(seed)).run()
