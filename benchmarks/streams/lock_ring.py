"""The ring buffer that streams descend from, built anew: slots in shared memory under one lock.

One writer; each reader has a counter of its own. Whoever reads or writes holds the one lock while
the bytes are copied; a reader that has everything waits on its condition, a writer that would
overwrite what somebody has not read asks again. Who dies with the lock in hand stops all others.

Waking readers by a condition costs more than many items do. So there is a second contender, whose
readers ask again as well, and which burns CPU for that.
"""

import mmap
import multiprocessing
from struct import Struct
from time import sleep

from benchmarks.peers.base import Channel, End, Peer

_LINE = 128
_LENGTH = Struct("<q")
_PAUSE_S = 50e-6
"""Between two looks; without it, who looks keeps the others from the lock."""


class LockRing(Peer):
    key = "lock-ring"
    label = "ring under one lock"
    module = "multiprocessing"
    payloads = frozenset({"bytes1k", "array"})
    carries = "bytes"

    polls = False

    def create(self, name, case, directory):
        return _Ring(case, self.polls)


class PolledLockRing(LockRing):
    key = "lock-ring-polled"
    label = "the same, polled"
    polls = True


class _Ring(Channel):
    def __init__(self, case, polls):
        self._polls = polls
        self._slots = case.slots
        self._items = getattr(case, "items", None)
        self._stride = -(-(case.slot_bytes + _LENGTH.size) // _LINE) * _LINE
        first = -(-(case.consumers + 1) * 8 // mmap.PAGESIZE) * mmap.PAGESIZE
        memory = memoryview(mmap.mmap(-1, first + self._slots * self._stride))
        # How many items each reader has read, and behind them how many were written.
        self._read = memory[: case.consumers * 8].cast("q")
        self._written = memory[case.consumers * 8 : (case.consumers + 1) * 8].cast("q")
        self._memory = memory[first:]
        self._condition = multiprocessing.get_context("fork").Condition()

    def open(self, role, index):
        return End(put=self._write) if role == "producer" else End(get=self._reader(index))

    def open_local(self):
        get = self._reader(0)
        return End(put=self._write, get=get)

    def _write(self, item):
        data = memoryview(item).cast("B")
        while not self._try_write(data):
            sleep(_PAUSE_S)

    def _try_write(self, data):
        with self._condition:
            count = self._written[0]
            if count - min(self._read) >= self._slots:
                return False
            start = count % self._slots * self._stride
            _LENGTH.pack_into(self._memory, start, len(data))
            start += _LENGTH.size
            self._memory[start : start + len(data)] = data
            self._written[0] = count + 1
            if not self._polls:
                self._condition.notify_all()
            return True

    def _reader(self, index):
        items = self._items

        def get():
            while True:
                with self._condition:
                    if not self._polls:
                        self._condition.wait_for(lambda: self._read[index] < self._written[0])
                    if self._read[index] < self._written[0]:
                        return self._take(index)
                sleep(_PAUSE_S)

        return get if items is None else lambda: items.from_buffer(get())

    def _take(self, index):
        count = self._read[index]
        start = count % self._slots * self._stride
        (length,) = _LENGTH.unpack_from(self._memory, start)
        start += _LENGTH.size
        data = bytes(self._memory[start : start + length])
        self._read[index] = count + 1
        return data
