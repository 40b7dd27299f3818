"""The limit: a bare shared buffer, one copy, and a flag word that says what is in it.

No queue: one producer, one consumer, no blocking call, nothing that survives a kill. The consumer
works on the buffer itself, which is given back when it asks for the next item.
"""

import mmap
from itertools import cycle
from time import sleep

import numpy as np

from benchmarks.peers.base import Channel, End, Peer

_LEAST_BYTES = 2**20
"""Small items get more than two slots: the limit is to be the copy, not the hand-over."""

_LINE = 128
_LOOKS = 500
_PAUSE_S = 20e-6


class Memcpy(Peer):
    key = "memcpy"
    label = "one memcpy, bare buffer"
    module = "numpy"
    payloads = frozenset({"array"})
    carries = "arrays"

    def create(self, name, case, directory):
        return _Buffer(case.items)


class _Buffer(Channel):
    def __init__(self, items):
        nbytes = items.nbytes
        slots = max(2, _LEAST_BYTES // nbytes)
        stride = -(-nbytes // _LINE) * _LINE
        first = mmap.PAGESIZE
        memory = mmap.mmap(-1, first + slots * stride)
        # Items put and items given back: each has one process that writes it, and its own line.
        self._put = memoryview(memory)[:8].cast("q")
        self._freed = memoryview(memory)[_LINE : _LINE + 8].cast("q")
        self._slots = [
            np.frombuffer(memory, np.uint8, nbytes, first + i * stride).reshape(items.shape)
            for i in range(slots)
        ]

    def open(self, role, index):
        return End(put=self._putter(), get=self._getter())

    def open_local(self):
        return self.open("both", 0)

    def _putter(self):
        written, freed, slots = self._put, self._freed, cycle(self._slots)
        room = len(self._slots)
        count = 0

        def put(array):
            nonlocal count
            _wait_until_above(freed, count - room)
            np.copyto(next(slots), array)
            count += 1
            written[0] = count

        return put

    def _getter(self):
        written, freed, slots = self._put, self._freed, cycle(self._slots)
        count = 0

        def get():
            nonlocal count
            freed[0] = count
            _wait_until_above(written, count)
            count += 1
            return next(slots)

        return get


def _wait_until_above(word, value):
    """Look at the word again and again, and after a while with pauses."""
    looks = 0
    while word[0] <= value:
        looks += 1
        if looks > _LOOKS:
            sleep(_PAUSE_S)
