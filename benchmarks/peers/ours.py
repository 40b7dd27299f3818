"""shmqueue: a named queue, attached by name in every worker."""

from functools import partial

from benchmarks.peers.base import SLOT_BYTES, SLOTS, Channel, End, Peer
from benchmarks.scenarios import BATCH


class Ours(Peer):
    key = "shmqueue"
    label = "shmqueue"
    module = "shmqueue"
    distribution = "shmqueue-ipc"
    has_batches = True

    def create(self, name, case, directory):
        return _Channel(name)


class _Channel(Channel):
    def __init__(self, name):
        from shmqueue import SharedMemoryQueue

        self._name = name
        self._attach = SharedMemoryQueue
        self._queue = SharedMemoryQueue(name, create=True, capacity=SLOTS, item_size=SLOT_BYTES)

    def open(self, role, index):
        return _end(self._attach(self._name))

    def open_local(self):
        return _end(self._queue)

    def close(self):
        self._queue.close()
        self._queue.unlink()


def _end(queue):
    return End(
        put=queue.put,
        get=queue.get,
        put_batch=queue.put_batch,
        get_batch=partial(queue.get_batch, BATCH),
        close=queue.close,
    )
