"""Queues between processes, in shared memory: fast, reached by name, safe against any death.

`SharedMemoryQueue` is the queue; `unlink` removes one by name. `Empty` and `Full` are the ones of
the standard library. The errors derive from the built-in ones they are kinds of.

How it is made, from the bottom up: ``_native`` (the protocol in C), ``_core`` (mappings, seats, the
GIL), ``_codec`` (objects and bytes), ``segment`` (names), ``_queue`` and ``queue`` (the queues),
``stats`` (metrics), and the faces ``__main__`` and ``demo``.
"""

from queue import Empty, Full

from shmqueue.context import get_context, install, uninstall
from shmqueue.dropin import JoinableQueue, Queue, SimpleQueue
from shmqueue.errors import (
    CorruptItemError,
    CorruptSegmentError,
    ForeignSegmentError,
    NoFreeSeatError,
    SegmentError,
    SegmentVersionError,
    ShutDown,
    TruncatedSegmentError,
)
from shmqueue.queue import SharedMemoryQueue
from shmqueue.segment import unlink
from shmqueue.serializers import register_serializer

__all__ = [
    "CorruptItemError",
    "CorruptSegmentError",
    "Empty",
    "ForeignSegmentError",
    "Full",
    "JoinableQueue",
    "NoFreeSeatError",
    "Queue",
    "SegmentError",
    "SegmentVersionError",
    "SharedMemoryQueue",
    "ShutDown",
    "SimpleQueue",
    "TruncatedSegmentError",
    "get_context",
    "install",
    "register_serializer",
    "uninstall",
    "unlink",
]

__version__ = "0.1.0"
