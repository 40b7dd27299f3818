"""Queues between processes, in shared memory: fast, reached by name, safe against any death.

`SharedMemoryQueue` is the queue that has a name; `unlink` removes one. `Queue`, `JoinableQueue` and
`SimpleQueue` stand in for multiprocessing's, as do the contexts of `get_context`, and `install`
swaps them in. `Empty` and `Full` are the ones of the standard library. The errors derive from the
built-in ones they are kinds of.

How it is made, from the bottom up: ``_native`` (the protocol in C), ``_format`` (what a segment
looks like), ``_core`` (mappings, seats, the GIL), ``_inspect`` and ``_ending`` beside it,
``_codec`` (objects and bytes), ``serializers``, ``memory`` (how much there is), ``segment`` (named
and unnamed), ``_queue`` and ``queue`` (the queues), ``stats`` (metrics), ``connections``,
``dropin``, ``executor`` and ``context`` (multiprocessing's manners), and the faces ``__main__``,
``run`` and ``demo``.
"""

from queue import Empty, Full

from shmqueue.consumers import Consumers
from shmqueue.context import get_context, install, uninstall
from shmqueue.dropin import JoinableQueue, Queue, SimpleQueue
from shmqueue.errors import (
    ConsumerDiedError,
    CorruptItemError,
    CorruptSegmentError,
    ForeignSegmentError,
    GroupRemovedError,
    NoFreeSeatError,
    SegmentError,
    SegmentVersionError,
    ShutDown,
    TruncatedSegmentError,
)
from shmqueue.groups import Group
from shmqueue.queue import SharedMemoryQueue
from shmqueue.segment import unlink
from shmqueue.serializers import register_serializer
from shmqueue.stream import Stream

__all__ = [
    "ConsumerDiedError",
    "Consumers",
    "CorruptItemError",
    "CorruptSegmentError",
    "Empty",
    "ForeignSegmentError",
    "Full",
    "Group",
    "GroupRemovedError",
    "JoinableQueue",
    "NoFreeSeatError",
    "Queue",
    "SegmentError",
    "SegmentVersionError",
    "SharedMemoryQueue",
    "ShutDown",
    "SimpleQueue",
    "Stream",
    "TruncatedSegmentError",
    "get_context",
    "install",
    "register_serializer",
    "uninstall",
    "unlink",
]

__version__ = "0.1.0"
