"""faster-fifo: a byte ring under a pthread mutex, has no name, inherited by fork."""

from functools import partial

from benchmarks.peers.base import Channel, End, Peer
from benchmarks.scenarios import BATCH

_TIMEOUT_S = 60.0  # its calls have a timeout of 10 s by default and cannot wait for ever


class FasterFifo(Peer):
    key = "faster-fifo"
    label = "faster-fifo"
    module = "faster_fifo"
    distribution = "faster-fifo"
    has_batches = True

    def create(self, name, case, directory):
        return _Channel(case.ring_bytes)


class _Channel(Channel):
    def __init__(self, ring_bytes):
        from faster_fifo import Queue

        self._queue = Queue(max_size_bytes=ring_bytes)

    def open(self, role, index):
        queue = self._queue
        return End(
            put=queue.put,
            get=queue.get,
            put_batch=queue.put_many,
            get_batch=partial(queue.get_many, True, _TIMEOUT_S, BATCH),
        )

    def open_local(self):
        return self.open("both", 0)

    def close(self):
        self._queue.close()
