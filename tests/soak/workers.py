"""What the processes of the soak do: put, get, keep, drop and fork at random, and note it.

What a process did stands in memory that survives its death: a producer notes what `put` returned
for, a consumer how many items the call that it is in may take, and how many it got.
"""

import contextlib
import gc
import mmap
import os
import random
import time
import traceback
from queue import Empty, Full

from tests.soak import items

RUN, NO_MORE_PUTS, DRAINED = 0, 1, 2

# A consumer keeps as many items at most.
MOST_KEPT = 12
MAX_BATCH = 6
# Calls wait no longer, so that a process sees that it is to end.
PATIENCE_SECONDS = 0.2


class Ledger:
    """Numbers that all processes share; each worker has its own row."""

    COLUMNS = ("put", "got", "in_hand", "bytes_got", "aborted", "forks", "kept", "full", "empty")

    def __init__(self, rows):
        self._memory = mmap.mmap(-1, 8 * (1 + rows * len(self.COLUMNS)))
        self._words = memoryview(self._memory).cast("Q")
        self._rows = rows

    @property
    def phase(self):
        return self._words[0]

    @phase.setter
    def phase(self, value):
        self._words[0] = value

    def add(self, row, column, amount=1):
        self._words[self._at(row, column)] += amount

    def set(self, row, column, value):
        self._words[self._at(row, column)] = value

    def get(self, row, column):
        return self._words[self._at(row, column)]

    def total(self, column):
        return sum(self.get(row, column) for row in range(self._rows))

    def _at(self, row, column):
        return 1 + row * len(self.COLUMNS) + self.COLUMNS.index(column)


class Producer:
    """Puts items of every kind and size, by every call that there is."""

    def __init__(self, queue, ledger, row, number, seed):
        self._queue, self._ledger, self._row = queue, ledger, row
        self._number, self._rng = number, random.Random(seed)
        self._sequence = 0

    def run(self):
        ways = [self._put] * 6 + [self._put_batch, self._put_bytes, self._abort]
        ways += [self._reserve, self._reserve_array] * 2
        while self._ledger.phase == RUN:
            before = self._sequence
            try:
                self._rng.choice(ways)()
            except Full:
                self._ledger.add(self._row, "full")
                self._sequence = before
            else:
                self._ledger.add(self._row, "put", self._sequence - before)

    def _next(self):
        self._sequence += 1
        return self._number, self._sequence, self._rng

    def _item(self):
        return self._rng.choice(items.SHAPES)(items.filled(*self._next()))

    def _put(self):
        self._queue.put(self._item(), timeout=PATIENCE_SECONDS)

    def _put_batch(self):
        batch = [self._item() for _ in range(self._rng.randint(2, MAX_BATCH))]
        self._queue.put_batch(batch, timeout=PATIENCE_SECONDS)

    def _put_bytes(self):
        self._queue.put_bytes(items.filled(*self._next()), timeout=PATIENCE_SECONDS)

    def _reserve(self):
        room = items.random_size(self._rng)
        with self._queue.reserve(room, timeout=PATIENCE_SECONDS) as buffer:
            items.fill(buffer, *self._next())

    def _reserve_array(self):
        room = items.random_size(self._rng)
        with self._queue.reserve_array(room, "uint8", timeout=PATIENCE_SECONDS) as array:
            items.fill(array.data, *self._next())
            if self._rng.random() < 0.1:
                self._fork(array)

    def _abort(self):
        """Reserve, and let go in one of the ways that there are."""
        self._ledger.add(self._row, "aborted")
        reservation = self._queue.reserve(items.random_size(self._rng), timeout=PATIENCE_SECONDS)
        reservation.buffer[:1] = b"x"
        if self._rng.random() < 0.5:
            reservation.abort()

    def _fork(self, array):
        """Fork while memory is reserved: what the child writes there is nobody's business."""
        self._ledger.add(self._row, "forks")
        pid = os.fork()
        if pid == 0:
            try:
                array[:] = 0
            finally:
                os._exit(0)
        os.waitpid(pid, 0)


class Consumer:
    """Gets by every call that there is, keeps some, writes to some, and forks with them in hand."""

    def __init__(self, queue, ledger, row, seed):
        self._queue, self._ledger, self._row = queue, ledger, row
        self._rng = random.Random(seed)
        self._kept = []  # (the item, who put it, its number)
        self._last = {}  # the number of each producer's last item
        self._children = set()
        self._buffer = bytearray(items.LARGEST // 8)

    def run(self):
        ways = [self._get] * 8 + [self._get_copy, self._get_batch, self._get_bytes]
        ways += [self._get_into, self._get_view]
        while True:
            is_drained = self._ledger.phase == DRAINED
            try:
                self._rng.choice(ways)()
            except Empty:
                self._ledger.add(self._row, "empty")
                if is_drained:
                    break
            self._ledger.set(self._row, "in_hand", 0)
            if self._rng.random() < 0.02:
                self._fork()
            self._reap(block=False)
        while self._kept:
            self._drop()
        self._reap(block=True)
        gc.collect()

    # ---- ways to get ----

    def _get(self, copy=None):
        self._ledger.set(self._row, "in_hand", 1)
        self._receive(self._queue.get(timeout=PATIENCE_SECONDS, copy=copy))

    def _get_copy(self):
        self._get(copy=True)

    def _get_batch(self):
        self._ledger.set(self._row, "in_hand", MAX_BATCH)
        for item in self._queue.get_batch(MAX_BATCH, timeout=PATIENCE_SECONDS):
            self._receive(item)

    def _get_bytes(self):
        self._ledger.set(self._row, "in_hand", 1)
        try:
            self._receive(self._queue.get_bytes(timeout=PATIENCE_SECONDS))
        except TypeError:
            self._get()

    def _get_into(self):
        self._ledger.set(self._row, "in_hand", 1)
        try:
            count = self._queue.get_into(self._buffer, timeout=PATIENCE_SECONDS)
        except (TypeError, ValueError):
            self._get()
        else:
            self._note(self._buffer[:count])

    def _get_view(self):
        self._ledger.set(self._row, "in_hand", 1)
        try:
            holder = self._queue.get_view(timeout=PATIENCE_SECONDS)
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
        self._ledger.add(self._row, "got")
        self._ledger.add(self._row, "bytes_got", memoryview(data).nbytes)
        return producer, number

    def _receive(self, item):
        known = self._note(items.data_of(item))
        if self._rng.random() < 0.5:
            self._ledger.add(self._row, "kept")
            self._kept.append([item, *known])
        while len(self._kept) > MOST_KEPT:
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

    # ---- forks ----

    def _fork(self):
        if len(self._children) >= 2:
            return
        self._ledger.add(self._row, "forks")
        seed = self._rng.randrange(1 << 32)
        pid = os.fork()
        if pid:
            self._children.add(pid)
            return
        code = 1
        try:
            self._live_as_child(random.Random(seed))
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(code)

    def _live_as_child(self, rng):
        """Look at the parent's arrays again and again, while it writes and drops its own."""
        for _ in range(rng.randint(1, 20)):
            for item, *known in self._kept:
                self._assert_same(item, known)
            time.sleep(rng.uniform(0, 0.02))
        self._rng = rng
        while self._kept:
            self._drop()
        with contextlib.suppress(Full):
            self._queue.reserve(items.random_size(rng), timeout=PATIENCE_SECONDS).abort()

    def _reap(self, block):
        for pid in list(self._children):
            done, status = os.waitpid(pid, 0 if block else os.WNOHANG)
            if done:
                self._children.discard(pid)
                if status:
                    raise items.TornError(f"a forked child ended with status {status}")
