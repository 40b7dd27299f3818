"""The contenders: what makes the queues, or the context that does."""

import multiprocessing
from contextlib import contextmanager

from benchmarks.peers import mp_queue, ours
from benchmarks.peers.base import Channel, End, Peer
from benchmarks.scenarios import SLOTS

RECORD_BYTES = 16
"""Room for an int in a slot: more would be more memory to walk through, to our advantage."""


class DropIn(Peer):
    """Our drop-in, bounded as the other queues are, or not."""

    module = "shmqueue"
    distribution = "shmqueue-ipc"

    def __init__(self, key, label, maxsize):
        self.key = key
        self.label = label
        self._maxsize = maxsize

    def create(self, name, case, directory):
        return _Inherited(self.make())

    def make(self):
        import shmqueue

        return shmqueue.Queue(self._maxsize)


class _Inherited(Channel):
    """A queue that the workers have by inheritance."""

    def __init__(self, queue):
        self._queue = queue

    def open(self, role, index):
        return End(put=self._queue.put, get=self._queue.get, close=self._queue.close)

    def open_local(self):
        return End(put=self._queue.put, get=self._queue.get)

    def close(self):
        self._queue.close()


class Named(ours.Ours):
    """The named queue: in bursts one that was made large enough for all of it."""

    key = "named"
    label = "SharedMemoryQueue"

    def make_for(self, name, items):
        from shmqueue import SharedMemoryQueue

        return SharedMemoryQueue(name, create=True, capacity=items, item_size=RECORD_BYTES)


class Standard(mp_queue.Queue):
    """multiprocessing.Queue."""

    def make(self):
        return multiprocessing.get_context("fork").Queue()


class Context(Peer):
    """A way to have queues in a program that others wrote: a context, or what is installed."""

    module = "shmqueue"

    def __init__(self, key, label):
        self.key = key
        self.label = label

    def create(self, name, case, directory):
        raise ValueError(f"{self.label} is no queue")

    @contextmanager
    def context(self):
        """The context to pass on, for as long as the block lasts."""
        import shmqueue

        if self.key == "context":
            yield shmqueue.get_context("fork")
            return
        if self.key == "installed":
            shmqueue.install()
        try:
            yield multiprocessing.get_context("fork")
        finally:
            if self.key == "installed":
                shmqueue.uninstall()


PEERS = (
    DropIn("dropin", "Queue(1024)", SLOTS),
    DropIn("dropin-unbounded", "Queue()", 0),
    Named(),
    Standard(),
    Context("context", "shmqueue.get_context()"),
    Context("installed", "shmqueue.install()"),
    Context("standard", "the standard context"),
)
