"""Producers and consumers that use every call that there is, at random.

What is done with an item, and who accounts for it, is up to subclasses.
"""

import gc
import random
import time
from queue import Empty, Full
from typing import ClassVar

from tests.storm import items
from tests.support import CLOCK_SLACK

# Calls wait no longer, so that a process sees that it is to end.
PATIENCE_SECONDS = 0.2


class EarlyError(AssertionError):
    """A call that gave up before its time."""


class Worker:
    """Somebody who makes one call after the other."""

    WAYS: ClassVar[dict] = {}  # name of a method, without the underscore: how often
    MAX_BATCH = 6

    def __init__(self, queue, seed, patience=PATIENCE_SECONDS):
        self._queue = queue
        self._rng = random.Random(seed)
        self._patience = patience
        self._weights = list(self.WAYS.values())
        self._ways = [getattr(self, f"_{way}") for way in self.WAYS]

    def turn(self):
        """Make one call; return which of the ways that was. Raise what it raises."""
        (which,) = self._rng.choices(range(len(self._ways)), self._weights)
        begun = time.monotonic()
        try:
            self._ways[which]()
        except (Full, Empty) as error:
            waited = time.monotonic() - begun
            if waited < self._patience - CLOCK_SLACK:
                raise EarlyError(
                    f"{type(error).__name__} after {waited:.3f} of {self._patience} s"
                ) from None
            raise
        return which


class Producer(Worker):
    """Puts items that tell who put them, and as which."""

    WAYS: ClassVar[dict] = {
        "put": 6,
        "put_batch": 1,
        "put_bytes": 1,
        "reserve": 2,
        "reserve_array": 2,
        "abort": 1,
    }

    def __init__(self, queue, number, seed, patience=PATIENCE_SECONDS):
        super().__init__(queue, seed, patience)
        self._number = number
        self._sequence = 0

    def turn(self):
        before = self._sequence
        try:
            return super().turn()
        except Full:
            self._sequence = before
            raise

    def _size(self):
        """Return how large the next item is."""
        return items.random_size(self._rng)

    def _about_to_put(self):
        """Items up to `_sequence` are made, and put by what comes next."""

    def _next(self):
        self._sequence += 1
        return self._number, self._sequence, self._rng

    def _item(self):
        return self._rng.choice(items.SHAPES)(items.filled(self._size(), *self._next()))

    def _put(self):
        item = self._item()
        self._about_to_put()
        self._queue.put(item, timeout=self._patience)

    def _batch(self):
        return [self._item() for _ in range(self._rng.randint(2, self.MAX_BATCH))]

    def _put_batch(self):
        batch = self._batch()
        self._about_to_put()
        self._queue.put_batch(batch, timeout=self._patience)

    def _put_bytes(self):
        data = items.filled(self._size(), *self._next())
        self._about_to_put()
        self._queue.put_bytes(data, timeout=self._patience)

    def _reserve(self):
        with self._queue.reserve(self._size(), timeout=self._patience) as buffer:
            items.fill(buffer, *self._next())
            self._about_to_put()

    def _reserve_array(self):
        with self._queue.reserve_array(self._size(), "uint8", timeout=self._patience) as array:
            items.fill(array.data, *self._next())
            self._about_to_put()
            self._look_at_reserved(array)

    def _look_at_reserved(self, array):
        """An array is filled, and not yet committed."""

    def _abort(self):
        """Reserve, and let go in one of the ways that there are."""
        reservation = self._queue.reserve(self._size(), timeout=self._patience)
        reservation.buffer[:1] = b"x"
        if self._rng.random() < 0.5:
            reservation.abort()


class Consumer(Worker):
    """Checks what it gets, and its order; keeps some of it, and writes to some."""

    WAYS: ClassVar[dict] = {
        "get": 8,
        "get_copy": 1,
        "get_batch": 1,
        "get_bytes": 1,
        "get_into": 1,
        "get_view": 1,
    }
    MOST_KEPT = 12

    def __init__(self, queue, seed, patience=PATIENCE_SECONDS):
        super().__init__(queue, seed, patience)
        self._kept = []  # (the item, who put it, its number)
        self._last = {}  # the number of each producer's last item
        self._buffer = bytearray(items.LARGEST // 8)

    def _may_take(self, count):
        """The call that comes next takes so many items at most."""

    def _has(self, producer, number, nbytes):
        """An item is here, whole and in order."""

    def _keeps(self):
        """Another item is kept."""

    # ---- ways to get ----

    def _get(self, copy=None):
        self._may_take(1)
        self._receive(self._queue.get(timeout=self._patience, copy=copy))

    def _get_copy(self):
        self._get(copy=True)

    def _get_batch(self):
        self._may_take(self.MAX_BATCH)
        for item in self._queue.get_batch(self.MAX_BATCH, timeout=self._patience):
            self._receive(item)

    def _get_bytes(self):
        self._may_take(1)
        try:
            data = self._queue.get_bytes(timeout=self._patience)
        except TypeError:
            self._get()
        else:
            self._receive(data)

    def _get_into(self):
        self._may_take(1)
        try:
            count = self._queue.get_into(self._buffer, timeout=self._patience)
        except (TypeError, ValueError):
            self._get()
        else:
            self._note(self._buffer[:count])

    def _get_view(self):
        self._may_take(1)
        try:
            holder = self._queue.get_view(timeout=self._patience)
        except TypeError:
            self._get()
        else:
            with holder as view:
                self._note(view)

    # ---- what becomes of it ----

    def _note(self, data):
        """Check what arrived, and its order; return who put it, and as which."""
        producer, number = items.check(data)
        if number <= self._last.get(producer, 0):
            raise items.TornError(f"item {number} of {producer} after {self._last[producer]}")
        self._last[producer] = number
        self._has(producer, number, memoryview(data).nbytes)
        return producer, number

    def _receive(self, item):
        known = self._note(items.data_of(item))
        if self._rng.random() < 0.5:
            self._keeps()
            self._kept.append([item, *known])
        while len(self._kept) > self.MOST_KEPT:
            self._drop()

    def _drop(self):
        """Let go of a kept item, which must still be what it was; write to another."""
        item, *known = self._kept.pop(self._rng.randrange(len(self._kept)))
        self._assert_same(item, known)
        del item
        if self._kept and self._rng.random() < 0.3:
            kept = self._rng.choice(self._kept)
            data = items.data_of(kept[0])
            if not isinstance(data, bytes):
                items.fill(data, kept[1], kept[2] + 1, self._rng)
                kept[2] += 1

    def _assert_same(self, item, known):
        if list(items.check(items.data_of(item))) != known:
            raise items.TornError(f"an item that was kept changed: {known}")

    def drop_all(self):
        """Let go of all that is kept."""
        while self._kept:
            self._drop()
        gc.collect()
