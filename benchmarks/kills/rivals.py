"""The queues that are killed, each by the adapter that the benchmarks have for it."""

from dataclasses import dataclass

from benchmarks.peers import faster_fifo, hyperq, mp_queue, mp_simplequeue, ours, pyzmq, zeroq

ITEM_BYTES = 64
SLOTS = 1024


@dataclass(frozen=True)
class Case:
    """What the adapters ask of a case."""

    payload: str = "bytes8"  # bytes, that is, and no pickle where the queue has a choice
    slots: int = SLOTS
    slot_bytes: int = 256
    element_bytes: int = ITEM_BYTES
    ring_bytes: int = SLOTS * 256
    producers: int = 3
    consumers: int = 3


class DropIn(mp_queue.Queue):
    """shmqueue.Queue: used as multiprocessing.Queue is."""

    key = "shmqueue-queue"
    label = "shmqueue.Queue"
    module = "shmqueue"
    distribution = "shmqueue-ipc"

    def create(self, name, case, directory):
        from shmqueue import Queue

        return mp_queue.QueueChannel(Queue(case.slots))


class PushPull(pyzmq.PushPull):
    """Each producer is connected to each consumer; what is between the two has a limit."""

    def create(self, name, case, directory):
        channel = super().create(name, case, directory)
        channel._limit = case.slots // 2
        return channel


class Named(ours.Ours):
    label = "shmqueue.SharedMemoryQueue"


RIVALS = (
    Named(),
    DropIn(),
    mp_queue.Queue(),
    mp_simplequeue.SimpleQueue(),
    faster_fifo.FasterFifo(),
    hyperq.BytesHyperQ(),
    zeroq.ZeroQ(),
    PushPull(),
)


def find(key):
    """Return the rival of that key."""
    return next(rival for rival in RIVALS if rival.key == key)
