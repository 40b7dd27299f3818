"""The queue that programs reach by name."""

import asyncio
import errno
import os
import time
from queue import Empty, Full
from types import TracebackType
from typing import Any, ClassVar

from shmqueue import doctor, segment, serializers, stats
from shmqueue._core import Attachment
from shmqueue._raw import RawQueue

__all__ = ["SharedMemoryQueue"]

DEFAULT_SERIALIZER = "cloudpickle"
# A coroutine asks again at these intervals: no thread waits for it, so cancelling it loses nothing.
ASYNC_FIRST_DELAY_SECONDS = 0.0005
ASYNC_LONGEST_DELAY_SECONDS = 0.02


class SharedMemoryQueue(RawQueue):
    """A first-in-first-out queue in shared memory, reached by name from any process of the user.

    Any number of processes and threads may put and get at once. A process may die at any moment:
    the others go on, and see whole items only.

    Parameters
    ----------
    name : str
        Name of the queue; together with `run_id` it names a file in /dev/shm. Any characters but
        ``/`` and NUL.
    create : bool, default False
        Create the queue rather than attach to it.
    capacity : int, default 1000
        How many items it holds. Only for creating; who attaches sees the creator's.
    item_size : int, default 4096
        Bytes of an encoded item that fit a slot. Larger items go through as well, by way of blocks
        that are allocated when needed. Only for creating.
    run_id : str, default ""
        Tells runs of the same program apart: ``("a", "b-c")`` and ``("a-b", "c")`` are two queues.
    lock : object, optional
        Ignored; programs written for an older package pass one.
    exist_ok : bool, default False
        With `create`: attach if it exists, provided that capacity and item_size agree.
    mode : int, default 0o600
        Permission bits of the segment, whatever the umask. Who may open it can put items whose
        loading runs code: widen it only for users whom you trust.
    serializer : str or object, optional
        How objects that are not built-in types are pickled; kept in the segment. By default
        ``"cloudpickle"``: functions and classes of ``__main__`` travel by value, because the
        reader may be another program; ``"pickle"`` is another name for it. ``"multiprocessing"``
        pickles as that does. ``"bytes"`` pickles nothing: bytes go in (any contiguous buffer) and
        come out, and whoever attaches is bound to it. Or any object with ``dumps`` and ``loads``,
        which then serialise every item: one that can be imported (a module, a class), or a name
        given to `register_serializer` in each process.
    max_processes : int, default 256
        How many processes may be attached at once, 1 to 4095. Only for creating.
    allow_other_owner : bool, default False
        Attach although another user owns the segment.
    copy : bool, default False
        Whether `get` copies large buffers to memory of their own, by default; see there. Of this
        handle only.

    Attributes
    ----------
    Empty, Full : type
        ``queue.Empty`` and ``queue.Full``.

    Raises
    ------
    FileNotFoundError
        If there is no such queue to attach to.
    FileExistsError
        If there is one and `create` was asked for without `exist_ok`.
    TypeError, ValueError
        If an argument cannot be, or doesn't agree with an existing queue.
    PermissionError
        If the segment is not this user's.
    NoFreeSeatError
        If `max_processes` processes are attached already.
    SegmentError
        If the file of that name is foreign, truncated, corrupt, or of another layout version.
    OSError
        With errno ENOSPC, if shared memory is too small.

    Examples
    --------
    >>> from shmqueue import SharedMemoryQueue
    >>> with SharedMemoryQueue("tasks", create=True, run_id="docs") as queue:
    ...     queue.put({"answer": 42})
    ...     queue.get(timeout=1.0)
    ...     queue.unlink()
    {'answer': 42}
    """

    Empty: ClassVar[type[Empty]] = Empty
    Full: ClassVar[type[Full]] = Full

    def __init__(
        self,
        name: str,
        create: bool = False,
        capacity: int = 1000,
        item_size: int = 4096,
        run_id: str = "",
        lock: Any = None,
        *,
        exist_ok: bool = False,
        mode: int = 0o600,
        serializer: Any = None,
        max_processes: int = 256,
        allow_other_owner: bool = False,
        copy: bool = False,
    ) -> None:
        self._path = segment.path_of(name, run_id)
        self._name = name
        self._run_id = run_id
        self._allow_other_owner = bool(allow_other_owner)
        given = None if serializer is None else serializers.choose(serializer, travels=False)
        if create:
            choice = given or serializers.choose(DEFAULT_SERIALIZER, travels=False)
            wanted = segment.Descriptor(capacity, item_size, max_processes, choice, mode)
            attachment = self._create(wanted, exist_ok)
        else:
            attachment = segment.attach(self._path, allow_other_owner=self._allow_other_owner)
        if given is not None and (given.number, given.name) != (
            attachment.serializer,
            attachment.serializer_name,
        ):
            raise ValueError(
                f"{self._label()} exists with serializer={_serializer_name(attachment)!r}, not"
                f" {serializer!r}: leave it out to use the queue as it is"
            )
        self._begin(attachment)
        self._copy = bool(copy)
        self._set_copies(self._copy)

    def _begin(self, attachment: Attachment) -> None:
        self._bind(attachment, self._label())
        self._capacity = attachment.capacity
        self._item_size = attachment.item_size
        self._serializer = _serializer_name(attachment)
        self._uuid = attachment.uuid
        self._inode = attachment.inode

    def _create(self, wanted: segment.Descriptor, exist_ok: bool) -> Attachment:
        doctor.clear_up_abandoned()
        while True:
            try:
                return segment.create(self._path, wanted)
            except FileExistsError:
                if not exist_ok:
                    raise FileExistsError(
                        errno.EEXIST,
                        f"{self._label()} exists already; {segment.describe(self._path)}."
                        " To use it, pass exist_ok=True; to attach, leave create out; to be rid of"
                        f" it, call shmqueue.unlink({self._name!r}"
                        + (f", {self._run_id!r})" if self._run_id else ")"),
                        self._path,
                    ) from None
            try:
                found = segment.attach(self._path, allow_other_owner=self._allow_other_owner)
            except FileNotFoundError:
                continue  # unlinked between the two: create it after all
            if (found.capacity, found.item_size) != (wanted.capacity, wanted.item_size):
                raise ValueError(
                    f"{self._label()} exists with capacity={found.capacity} and"
                    f" item_size={found.item_size}, not capacity={wanted.capacity} and"
                    f" item_size={wanted.item_size}: attach without create, or unlink it first"
                )
            return found

    def _label(self) -> str:
        return f"Queue {self._name!r}" + (f" (run_id {self._run_id!r})" if self._run_id else "")

    # ---- what it is ----

    @property
    def name(self) -> str:
        """The name it was created under."""
        return self._name

    @property
    def run_id(self) -> str:
        """The run it belongs to, or an empty string."""
        return self._run_id

    @property
    def capacity(self) -> int:
        """How many items it holds."""
        return self._capacity

    @property
    def item_size(self) -> int:
        """Bytes of an encoded item that fit a slot."""
        return self._item_size

    @property
    def serializer(self) -> str:
        """The policy by which objects are pickled, or the name of the serializer."""
        return self._serializer

    @property
    def segment_name(self) -> str:
        """Name of the segment's file in /dev/shm."""
        return os.path.basename(self._path)

    def __repr__(self) -> str:
        """Name, and how full it is."""
        which = f"{type(self).__name__} {self._name!r}"
        if self._run_id:
            which += f" run_id={self._run_id!r}"
        try:
            size = self.qsize()
        except ValueError:
            return f"<{which} closed>"
        return f"<{which} {size}/{self._capacity} items, item_size={self._item_size}>"

    # ---- metrics ----

    def get_metrics(self) -> dict[str, Any]:
        """Return a consistent snapshot of the queue's state and counters; takes no lock.

        Returns
        -------
        dict
            ``queue_size``, ``queue_capacity`` (items), ``queue_utilization_percent``,
            ``queue_item_size_bytes``; totals since the queue was created: ``items_put``,
            ``items_got``, ``bytes_put``, ``bytes_got`` (encoded), ``blocked_full_count``,
            ``blocked_full_seconds``, ``blocked_empty_count``, ``blocked_empty_seconds`` (calls that
            had to wait, and how long), ``takeovers`` (owner words taken from dead processes);
            ``high_water_mark`` (most items ever; a sample while it is below a sixteenth of the
            capacity), ``oldest_item_age_seconds`` (None when empty; to within a clock tick of 1 to
            10 ms), ``pool_bytes`` and ``pool_free_bytes`` (memory of large items), ``view_bytes``
            (what of it objects use that were got in place), ``items_viewed`` and ``items_copied``
            (items with large buffers that were got in place, or were copied); ``seats``: a
            dict for each process with ``seat``, ``pid``, ``alive``, its own counters of the same
            names, ``attached_seconds`` and ``idle_seconds``.

        Raises
        ------
        ValueError
            If the queue is closed.
        """
        return stats.metrics(self._attachment)

    # ---- coroutines ----

    async def put_async(self, item: Any, timeout: float | None = None) -> None:
        """Put an item without blocking the event loop.

        Parameters
        ----------
        item : object
            As in `put`.
        timeout : float, optional
            Seconds to wait at most; None waits for ever.

        Raises
        ------
        queue.Full, ValueError, OSError, Exception
            As `put` does.
        """
        # To be refused now, not after the first wait, if it can't be serialised or is NaN.
        deadline = _deadline(timeout)
        delay = ASYNC_FIRST_DELAY_SECONDS
        while True:
            try:
                return self.put_nowait(item)
            except Full:
                delay = await _pause(delay, deadline, Full)

    async def get_async(self, timeout: float | None = None) -> Any:
        """Get an item without blocking the event loop; when cancelled, no item is lost.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most; None waits for ever.

        Returns
        -------
        object
            As `get` does.

        Raises
        ------
        queue.Empty, ValueError, Exception
            As `get` does.
        """
        deadline = _deadline(timeout)
        delay = ASYNC_FIRST_DELAY_SECONDS
        while True:
            try:
                return self.get_nowait()
            except Empty:
                delay = await _pause(delay, deadline, Empty)

    # ---- ending ----

    def unlink(self) -> None:
        """Remove the queue's name, so that nobody else can attach; those attached go on.

        Only this very queue is removed: not another that was created under the name since. Works
        on a closed handle too, and is silent if the name is gone already.
        """
        segment.unlink_inode(self._path, self._inode)

    def __enter__(self) -> "SharedMemoryQueue":
        """Return the queue itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the handle; the queue stays for others until somebody unlinks it."""
        self.close()

    # ---- travelling to other processes ----

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel by name: whoever unpickles it attaches to this very segment."""
        return _attach_pickled, (
            type(self),
            self._name,
            self._run_id,
            self._uuid,
            self._allow_other_owner,
            self._copy,
        )


def _attach_pickled(
    kind: type[SharedMemoryQueue],
    name: str,
    run_id: str,
    uuid: bytes,
    allow_other_owner: bool,
    copy: bool,
) -> SharedMemoryQueue:
    queue = kind(name, run_id=run_id, allow_other_owner=allow_other_owner, copy=copy)
    if queue._uuid != uuid:
        queue.close()
        raise FileNotFoundError(
            errno.ENOENT,
            "the queue that was pickled is gone; another was created under its name since",
            queue._path,
        )
    return queue


def _serializer_name(attachment: Attachment) -> str:
    return serializers.name_of(attachment.serializer, attachment.serializer_name)


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


async def _pause(delay: float, deadline: float | None, too_late: type[Exception]) -> float:
    """Sleep until it is time to try again; return how long to sleep next time."""
    if deadline is not None:
        left = deadline - time.monotonic()
        if not left > 0:
            raise too_late
        delay = min(delay, left)
    await asyncio.sleep(delay)
    return min(delay * 2, ASYNC_LONGEST_DELAY_SECONDS)
