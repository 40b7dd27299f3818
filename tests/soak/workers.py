"""What the processes of the soak do besides putting and getting: fork, and count what they did.

What a process did stands in memory that survives its death: a producer notes what `put` returned
for, a consumer how many items the call that it is in may take, and how many it got.
"""

import contextlib
import os
import random
import time
import traceback
from queue import Empty, Full

from tests.storm import items, workers
from tests.storm.ledger import DRAINED, RUN, Words

COLUMNS = ("put", "got", "in_hand", "bytes_got", "aborted", "forks", "kept", "full", "empty")


class Ledger(Words):
    """Numbers that all processes share; each worker has its own row."""

    def __init__(self, rows):
        super().__init__({"phase": 1} | dict.fromkeys(COLUMNS, rows))

    def total(self, column):
        return sum(getattr(self, column))


class Producer(workers.Producer):
    """Puts items of every kind and size, and forks while memory is reserved."""

    def __init__(self, queue, ledger, row, number, seed):
        super().__init__(queue, number, seed)
        self._ledger, self._row = ledger, row

    def run(self):
        while self._ledger.phase[0] == RUN:
            before = self._sequence
            try:
                self.turn()
            except Full:
                self._ledger.full[self._row] += 1
            self._ledger.put[self._row] += self._sequence - before

    def _abort(self):
        self._ledger.aborted[self._row] += 1
        super()._abort()

    def _look_at_reserved(self, array):
        """Fork now and then: what the child writes there is nobody's business."""
        if self._rng.random() >= 0.1:
            return
        self._ledger.forks[self._row] += 1
        pid = os.fork()
        if pid == 0:
            try:
                array[:] = 0
            finally:
                os._exit(0)
        os.waitpid(pid, 0)


class Consumer(workers.Consumer):
    """Gets by every call that there is, keeps some, writes to some, and forks with them in hand."""

    def __init__(self, queue, ledger, row, seed):
        super().__init__(queue, seed)
        self._ledger, self._row = ledger, row
        self._children = set()

    def run(self):
        while True:
            is_drained = self._ledger.phase[0] == DRAINED
            try:
                self.turn()
            except Empty:
                self._ledger.empty[self._row] += 1
                if is_drained:
                    break
            self._ledger.in_hand[self._row] = 0
            if self._rng.random() < 0.02:
                self._fork()
            self._reap(block=False)
        self.drop_all()
        self._reap(block=True)

    def _may_take(self, count):
        self._ledger.in_hand[self._row] = count

    def _has(self, producer, number, nbytes):
        self._ledger.got[self._row] += 1
        self._ledger.bytes_got[self._row] += nbytes

    def _keeps(self):
        self._ledger.kept[self._row] += 1

    # ---- forks ----

    def _fork(self):
        if len(self._children) >= 2:
            return
        self._ledger.forks[self._row] += 1
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
            self._queue.reserve(items.random_size(rng), timeout=self._patience).abort()

    def _reap(self, block):
        for pid in list(self._children):
            done, status = os.waitpid(pid, 0 if block else os.WNOHANG)
            if done:
                self._children.discard(pid)
                if status:
                    raise items.TornError(f"a forked child ended with status {status}")
