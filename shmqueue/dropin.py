"""The queues of multiprocessing, on a ring in shared memory.

They are subclasses of the standard ones, so that ``isinstance`` says what programs expect, but
nothing of those runs: there is no pipe, no lock and no feeder thread.
"""

from __future__ import annotations

import copyreg
import errno
import marshal
import os
import pickle
from importlib import import_module
from multiprocessing import queues, reduction
from queue import Full
from types import GenericAlias, ModuleType
from typing import TYPE_CHECKING, Any

from shmqueue import _inspect, segment
from shmqueue._core import Attachment
from shmqueue._queue import ObjectQueue
from shmqueue._raw import StandardQueue
from shmqueue.connections import Reader, ReaderLock, Writer, WriterLock
from shmqueue.errors import ShutDown

__all__ = ["JoinableQueue", "Queue", "SimpleQueue"]

# What `_maxsize` is in multiprocessing for a queue without a bound.
LARGEST_SEMAPHORE = (1 << 31) - 1

if TYPE_CHECKING:
    _StandardQueue = queues.Queue[Any]
    _StandardJoinableQueue = queues.JoinableQueue[Any]
    _StandardSimpleQueue = queues.SimpleQueue[Any]
else:
    _StandardQueue = queues.Queue
    _StandardJoinableQueue = queues.JoinableQueue
    _StandardSimpleQueue = queues.SimpleQueue


def _attach(fd: Any, poll_fd: Any, custom: Any, uuid: bytes) -> Attachment:
    first = fd.detach()
    try:
        second = poll_fd.detach()
    except BaseException:
        os.close(first)
        raise
    attachment = segment.attach_descriptors(first, second, custom)
    if attachment.uuid != uuid:
        # A child is given numbers of descriptors, which may stand for other files by then.
        raise OSError(errno.EBADF, "the queue was closed while it was being sent to this process")
    return attachment


class _ByName:
    """A module as a serializer: modules themselves can't be pickled."""

    def __init__(self, module: ModuleType) -> None:
        self._name = module.__name__

    def __reduce__(self) -> tuple[Any, ...]:
        return import_module, (self._name,)


def _reduce_attachment(attachment: Attachment) -> tuple[Any, ...]:
    """Travel as two descriptors: inherited by a child, otherwise fetched from this process.

    The attachment, not the queue, because a spawned child can be given a descriptor only once, and
    within one pickle an object is reduced only once however many queues share it.
    """
    custom = attachment.custom
    if isinstance(custom, ModuleType):
        custom = _ByName(custom)
    fds = reduction.DupFd(attachment.fd), reduction.DupFd(attachment.poll_fd)
    return _attach, (*fds, custom, attachment.uuid)


copyreg.pickle(Attachment, _reduce_attachment)


class _Dropin(StandardQueue):
    """What the drop-ins have in common: their parts, and how they travel."""

    _reader: Reader
    _writer: Writer
    _rlock: ReaderLock
    _wlock = WriterLock()
    # What of the instance is made anew where the queue arrives.
    _own = frozenset(["_reader", "_writer", "_rlock"])

    def _begin(self, attachment: Attachment) -> None:
        self._bind(attachment, f"Queue {object.__repr__(self)}")
        self._reader = Reader(attachment)
        self._writer = Writer(attachment)
        self._rlock = ReaderLock(self._reader)

    def _poll(self, timeout: float | None = 0.0) -> bool:
        return self._reader.poll(timeout)

    def fileno(self) -> int:
        """Return a descriptor that polls readable while there is something to get.

        It stays the same, is for `select`, `selectors` and event loops only, and closes with the
        queue. Producers pay for it from the first call on. It doesn't tell of items that this
        handle keeps, behind a bad one that a `get_batch` met: get until the queue is empty.

        Returns
        -------
        int
            The descriptor.
        """
        return self._fileno()

    def close(self) -> None:
        """Let go of the queue in this process; its items stay for the others.

        Calls that wait in other threads raise. Closing it again does nothing.
        """
        super().close()
        self._reader.close()
        self._writer.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel to a child as an argument, or, while this process lives, to any other."""
        return copyreg.__newobj__, (type(self),), self.__getstate__()  # type: ignore[attr-defined]

    def __getstate__(self) -> tuple[Any, ...]:
        """Return the way to the segment, and those free attributes that are plain data."""
        return self._attachment, self._travelling()

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        """Attach where it arrived."""
        attachment, attributes = state
        vars(self).update(attributes)
        self._begin(attachment)

    def _travelling(self) -> dict[str, Any]:
        """Return the free attributes of a subclass that travel with it.

        multiprocessing's queues lose them all; who needs a lock or a thread there has found
        another way, so what is no plain data is left out rather than refused.
        """
        found = {}
        for name, value in vars(self).items():
            if name in self._own:
                continue
            try:
                # Plain data is what marshal knows; memory, which it knows too, has no pickle.
                marshal.dumps(value)
                pickle.dumps(value)
            except (ValueError, TypeError):
                continue
            found[name] = value
        return found

    __class_getitem__: Any = classmethod(GenericAlias)


class Queue(_Dropin, _StandardQueue):  # type: ignore[misc]
    """`multiprocessing.Queue`, without its pipe, its locks and its thread.

    `put` serialises in the caller and returns when the item is in the queue: one that can't be
    pickled raises there, and what was put survives its process. Any process that gets the queue, as
    an argument, by inheritance or through another queue, may put and get.

    Parameters
    ----------
    maxsize : int, default 0
        How many items it holds; 0 or less: as many as memory does.
    ctx : object, optional
        Ignored; the standard class wants a context.
    serializer : str or object, optional
        How objects that are not built-in types are pickled. By default ``"multiprocessing"``: by
        its rules and registered reducers, and by cloudpickle what those refuse. Or an object with
        ``dumps`` and ``loads``, or the name that one was registered under; it travels along.
    """

    _own = _Dropin._own | {"_maxsize", "_ignore_epipe", "_size_at_close", "_used"}
    _on_queue_feeder_error: Any
    _ignore_epipe = False
    _size_at_close = 0
    _used = False

    def __init__(self, maxsize: int = 0, *, ctx: Any = None, serializer: Any = None) -> None:
        if serializer is None:
            serializer = "multiprocessing"
        self._begin(segment.create_unnamed(maxsize, serializer))

    def _begin(self, attachment: Attachment) -> None:
        super()._begin(attachment)
        capacity = attachment.capacity
        self._maxsize = capacity if capacity < segment.UNBOUNDED else LARGEST_SEMAPHORE

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        # As in multiprocessing, where the short forms call the long ones, and an item that can't be
        # pickled ends in a hook. What is overridden there counts here too.
        if cls._on_queue_feeder_error is not Queue._on_queue_feeder_error and cls.put is Queue.put:
            cls.put = _put_or_report  # type: ignore[method-assign, assignment]
        if cls.put is not Queue.put and cls.put_nowait is Queue.put_nowait:
            cls.put_nowait = _put_nowait  # type: ignore[method-assign, assignment]
        if cls.get is not Queue.get and cls.get_nowait is Queue.get_nowait:
            cls.get_nowait = _get_nowait  # type: ignore[method-assign, assignment]

    # ---- after closing, as in multiprocessing ----

    @property
    def _closed(self) -> bool:
        return self.closed

    def qsize(self) -> int:
        """Return how many items there are at this moment; once closed, how many there were then."""
        try:
            return super().qsize()
        except ValueError:
            return self._size_at_close

    def empty(self) -> bool:
        """Return True if there was no item at this moment."""
        try:
            return super().qsize() == 0
        except ValueError:
            if self._used:
                raise OSError("handle is closed") from None
            return True

    def full(self) -> bool:
        """Return True if there was no room for an item at this moment."""
        try:
            return super().full()
        except ValueError:
            return self._size_at_close >= self._maxsize

    def close(self) -> None:
        """Let go of the queue in this process; its items stay for the others.

        Calls that wait in other threads raise ValueError. Closing it again does nothing.
        """
        try:
            self._size_at_close = super().qsize()
            self._used = bool(_inspect.snapshot(self._attachment)["items_put"])
        except ValueError:
            pass  # closed already, perhaps by another thread just now
        super().close()

    def join_thread(self) -> None:
        """Return at once: what was put is in the queue already. Only after `close`."""
        assert self.closed, f"Queue {self!r} not closed"

    def cancel_join_thread(self) -> None:
        """Do nothing: no thread is there that could be waited for."""

    def _terminate_broken(self) -> None:
        self._reader.close()
        self.close()
        self.join_thread()


def _put_nowait(self: Queue, obj: Any) -> None:
    """Put an item if there is room now, or raise queue.Full; as ``put(obj, False)``."""
    self.put(obj, False)


def _get_nowait(self: Queue) -> Any:
    """Return the oldest item, or raise queue.Empty; as ``get(False)``."""
    return self.get(False)


def _put_or_report(self: Queue, obj: Any, block: bool = True, timeout: float | None = None) -> None:
    """Put an item; one that can't be serialised goes to the subclass's `_on_queue_feeder_error`."""
    try:
        ObjectQueue.put(self, obj, block, timeout)
    except (Full, ShutDown):
        raise
    except Exception as error:
        if self.closed:
            raise
        self._on_queue_feeder_error(error, obj)


class JoinableQueue(Queue, _StandardJoinableQueue):  # type: ignore[misc]
    """`multiprocessing.JoinableQueue`: a `Queue` that counts the tasks that are done.

    Parameters
    ----------
    maxsize, ctx, serializer
        As for `Queue`.
    """

    _own = Queue._own | {"_tally"}

    def _begin(self, attachment: Attachment) -> None:
        super()._begin(attachment)
        # In multiprocessing one may still count, and wait, after `close`.
        self._tally = ObjectQueue()
        self._tally._bind(attachment, "Queue")

    def task_done(self) -> None:
        """Say that an item that this or another process got is dealt with.

        Raises
        ------
        ValueError
            If called more often than there were items put.
        """
        self._tally._task_done()

    def join(self) -> None:
        """Wait until `task_done` was called for every item that was put."""
        self._tally._join()


class SimpleQueue(_Dropin, _StandardSimpleQueue):  # type: ignore[misc]
    """`multiprocessing.SimpleQueue`: ``put``, ``get``, ``empty``, ``close``, without a bound.

    Parameters
    ----------
    ctx, serializer
        As for `Queue`.
    """

    def __init__(self, *, ctx: Any = None, serializer: Any = None) -> None:
        if serializer is None:
            serializer = "multiprocessing"
        self._begin(segment.create_unnamed(0, serializer))

    def _closed_error(self) -> Exception:
        return OSError("handle is closed")
