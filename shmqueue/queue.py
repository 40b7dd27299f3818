"""The queue that programs reach by name."""

import time
from queue import Empty, Full
from typing import Any, ClassVar

from shmqueue._queue import Encoded, deadline_ns
from shmqueue.named import NamedQueue

__all__ = ["SharedMemoryQueue"]

# A coroutine asks again at these intervals: no thread waits for it, so cancelling it loses nothing.
ASYNC_FIRST_DELAY_SECONDS = 0.0005
ASYNC_LONGEST_DELAY_SECONDS = 0.02


class SharedMemoryQueue(NamedQueue):
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
    item_size : int, optional
        Bytes of an encoded item that fit a slot, 4096 by default. Larger items go through as well,
        by way of blocks that are allocated when needed. Only for creating.
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
    wait_strategy : {"block", "spin", "yield"}, default "block"
        How calls of this handle wait; see `set_wait_strategy`.
    spin_seconds : float, optional
        How long a wait polls before it sleeps; see there.
    dtype : dtype of numpy or class of ctypes, optional
        What all items are: records of fixed size, which cross as the bytes that they are, with no
        serializer. `put` takes a record, a tuple or dict of its fields, or a number or array for a
        dtype without fields; `put_batch` also an array of them, and `get_batch` returns one. A
        slot is as large as an item then. Kept in the segment: who attaches needs not say it, but
        for a class of ``ctypes.Structure``, of which `get` returns instances.

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
        item_size: int | None = None,
        run_id: str = "",
        lock: Any = None,
        *,
        exist_ok: bool = False,
        mode: int = 0o600,
        serializer: Any = None,
        max_processes: int = 256,
        allow_other_owner: bool = False,
        copy: bool = False,
        wait_strategy: str = "block",
        spin_seconds: float | None = None,
        dtype: Any = None,
    ) -> None:
        self._open_named(
            name,
            run_id,
            create=create,
            exist_ok=exist_ok,
            allow_other_owner=allow_other_owner,
            serializer=serializer,
            copy=copy,
            wait_strategy=wait_strategy,
            spin_seconds=spin_seconds,
            dtype=dtype,
            capacity=capacity,
            item_size=item_size,
            max_processes=max_processes,
            mode=mode,
        )

    # ---- coroutines ----

    async def put_async(self, item: Any, timeout: float | None = None) -> None:
        """Put an item without blocking the event loop.

        Parameters
        ----------
        item : object
            As in `put`. It is taken as it is at the call: while this waits for room, with a copy,
            other coroutines may change it.
        timeout : float, optional
            Seconds to wait at most; None waits for ever.

        Raises
        ------
        queue.Full, ValueError, OverflowError, OSError, Exception
            As `put` does, and where it does: what can't be serialised is refused at once.
        MemoryError
            If there is no room, and no memory for a copy of large buffers to wait with.
        """
        deadline = deadline_ns(timeout)
        if deadline == 0:
            return self.put_nowait(item)
        # Once and now: what can't be serialised is refused before the first wait.
        encoded = Encoded(self, item)
        del item
        delay = ASYNC_FIRST_DELAY_SECONDS
        while True:
            try:
                return encoded.put_nowait()
            except Full:
                # Before anybody else runs, who may change it.
                encoded.detach()
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
        queue.Empty, ValueError, OverflowError, Exception
            As `get` does.
        """
        deadline = deadline_ns(timeout)
        delay = ASYNC_FIRST_DELAY_SECONDS
        while True:
            try:
                return self.get_nowait()
            except Empty:
                delay = await _pause(delay, deadline, Empty)


async def _pause(delay: float, deadline: int, too_late: type[Exception]) -> float:
    """Sleep until it is time to try again; return how long to sleep next time."""
    left = deadline - time.monotonic_ns()
    if left <= 0:
        raise too_late
    delay = min(delay, left / 1e9)
    import asyncio  # who awaits this has it; the others needn't pay for it

    await asyncio.sleep(delay)
    return min(delay * 2, ASYNC_LONGEST_DELAY_SECONDS)
