"""shmqueue: a named queue, attached by name in every worker."""

import os
from functools import partial

from benchmarks.peers.base import Channel, End, Peer
from benchmarks.scenarios import BATCH


class Ours(Peer):
    key = "shmqueue"
    label = "shmqueue"
    module = "shmqueue"
    distribution = "shmqueue-ipc"
    has_batches = True

    def create(self, name, case, directory):
        return NamedChannel(name, case.slots, case.slot_bytes)


class NamedChannel(Channel):
    def __init__(self, name, capacity, item_size):
        from shmqueue import SharedMemoryQueue

        self._name = name
        self._attach = SharedMemoryQueue
        self._queue = SharedMemoryQueue(name, create=True, capacity=capacity, item_size=item_size)

    def open(self, role, index):
        return _end(self._attach(self._name))

    def open_local(self):
        return _end(self._queue)

    def close(self):
        self._queue.close()
        self._queue.unlink()


def shared_bytes(queue):
    """How many bytes of shared memory a queue of ours occupies now."""
    return os.fstat(queue._attachment.fd).st_blocks * 512


def _end(queue):
    return End(
        put=queue.put,
        get=queue.get,
        put_batch=queue.put_batch,
        get_batch=partial(queue.get_batch, BATCH),
        queue=queue,
        close=queue.close,
    )
