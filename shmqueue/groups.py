"""A group of a stream: consumers that see every item between them, and share them."""

import contextlib
import operator
import os
import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, NoReturn, SupportsFloat

from shmqueue import _groups
from shmqueue._arrays import deny_writes_to_copies
from shmqueue._bytes import BytesConsumer
from shmqueue._core import Attachment
from shmqueue._readers import Reader
from shmqueue.errors import ShutDown
from shmqueue.stats import POLICIES, name_of

__all__ = ["Group", "WritingGroup"]

# Thirty years: what a wait may be given is not much more.
LINGER_LIMIT_SECONDS = 1e9


def seconds_of(linger: float) -> float:
    """Return how long to wait for more items; TypeError or ValueError if that makes no sense."""
    if not isinstance(linger, SupportsFloat):
        raise TypeError(f"linger must be a number of seconds, not {linger!r}")
    if not 0 <= float(linger) < LINGER_LIMIT_SECONDS:
        raise ValueError(
            f"linger must be seconds, 0 or more and less than {LINGER_LIMIT_SECONDS:g}, not"
            f" {linger}"
        )
    return float(linger)


class Group(BytesConsumer):
    """One group of a stream, as this handle consumes it; made by `Stream.group` and `subscribe`.

    Each item goes to one of the group's consumers, in whatever process and thread they are, and to
    one of every other group's. Takes as a queue does: `get`, `get_nowait`, `get_batch`, and of
    bytes `get_bytes`, `get_into`, `get_view`; iterating takes until the stream is at its end.

    Where other groups come after this one, what a consumer got is finished when it asks for more,
    or calls `done`, or closes: only then may they take it. So each thread opens its own handle.
    Large buffers (numpy arrays and whatever else pickles its buffers out of band, from 16 KiB on)
    are seen where they lie by all groups, read-only.

    Attributes
    ----------
    name : str
    policy : str
        What becomes of items that this group has not taken when the ring is full.
    """

    def __init__(
        self, attachment: Attachment, seen: dict[str, Any], label: str, writes: bool, copy: bool
    ) -> None:
        self._index = seen["index"]
        self._state = seen["state"]
        self._ends_with: int | None = None
        self.name = name_of(seen)
        self.policy = POLICIES[seen["policy"]]
        self._bind(attachment, label)
        self._set_copies(copy)
        self._reader: Reader | None = Reader(attachment, self._index, self._state, writes)
        self._read_from(self._reader)

    def __repr__(self) -> str:
        """Name, and how far behind it is."""
        try:
            behind = f"{self.lag()} behind"
        except (ValueError, RuntimeError):
            behind = "closed" if self.closed else "removed"
        return f"<Group {self.name!r} {self.policy} {behind}>"

    def _both(self) -> tuple[Attachment, Reader]:
        """Return what calls are made on; ValueError when closed."""
        reader = self._reader
        if reader is None:
            raise self._closed_error()
        return self._attachment, reader

    # ---- taking ----

    def __iter__(self) -> Iterator[Any]:
        """Take items until the stream is at its end.

        Raises
        ------
        ValueError
            If this handle is closed, also by another thread while it waits.
        """
        while True:
            try:
                item = self.get()
            except ShutDown:
                return
            yield item
            del item

    def batches(self, max_items: int, linger: float = 0.0) -> Iterator[list[Any]]:
        """Take what there is, again and again, until the stream is at its end.

        Parameters
        ----------
        max_items : int
            Most items of a batch.
        linger : float, default 0.0
            Seconds to wait for more, once there is something, until there are so many.

        Yields
        ------
        list
            1 to `max_items` items; of items of one `dtype` an array. They are finished when the
            next batch is asked for.

        Raises
        ------
        TypeError, ValueError
            At once, if one of the two makes no sense. ValueError, too, when items are asked for
            and the handle is closed.
        Exception
            As `get_batch`: what an item behind a batch fails with comes after it, and
            KeyboardInterrupt and the like at once, also while a batch lingers, which the next call
            on the handle gets then.
        """
        max_items = operator.index(max_items)
        if max_items < 1:
            raise ValueError(f"max_items must be at least 1, not {max_items}")
        return self._batches(max_items, seconds_of(linger))

    def _batches(self, max_items: int, linger: float) -> Iterator[list[Any]]:
        while True:
            batches: list[Any] = []
            try:
                self._take_batch(batches, max_items, None, lambda: linger)
                batch = self._joined(batches)
            except ShutDown:
                return
            except BaseException:
                self._keep_batches(batches)
                raise
            yield batch
            del batch, batches

    def _take_batch(
        self,
        batches: list[Any],
        max_items: int,
        timeout: float | None,
        linger: Callable[[], float],
    ) -> None:
        """Take a batch as `get_batch` does, and then wait for more for so long as `linger` says.

        Into a list of the caller, in parts: it has what was taken at any moment at which a signal's
        handler may raise. What an item fails with that came in meanwhile is kept for the next call.
        """
        self._add_batch(batches, max_items, timeout)
        if (seconds := linger()) and len(batches[0]) < max_items:
            self._add_until(batches, max_items, time.monotonic() + seconds)

    def _add_until(self, batches: list[Any], max_items: int, until: float) -> None:
        """Add to a batch what comes in meanwhile."""
        count = len(batches[0])
        while count < max_items and self._add_more(
            batches, max_items - count, until - time.monotonic()
        ):
            count += len(batches[-1])

    def done(self) -> None:
        """Finish what this handle got, so that the groups that come after may take it.

        Asking for more does the same; where no group comes after this one, there is nothing to do.
        Nor is anything finished while this handle has items that it took in a batch and could not
        return yet, since one before them failed to load: what is taken together is finished
        together, once the rest was got and this is called again.

        Raises
        ------
        ValueError
            If the handle is closed.
        """
        reader = self._both()[1]
        if not self._kept():
            reader.finish()

    def skip_to_latest(self) -> int:
        """Skip all items but the newest, which is next then.

        Also those that this handle took in a batch and did not return yet.

        Returns
        -------
        int
            How many were skipped.

        Raises
        ------
        ValueError
            If the handle is closed.
        GroupRemovedError
            If the group was removed.
        """
        skipped = _groups.skip(*self._both(), 1)
        # What was taken and not returned yet is older than all that the ring has.
        return skipped + self._drop_kept(0 if self._seen()["ready"] else 1)

    def _track(self) -> None:
        """From here on tell exactly what is finished, though no group comes after this one."""
        _groups.track(*self._both())

    def _finished(self) -> int:
        """Return the sequence before which all items are finished."""
        return int(_groups.finished(*self._both()))

    # ---- looking ----

    def _seen(self) -> dict[str, Any]:
        seen = _groups.row_of(self._attachment, self._index)
        if seen is None or seen["state"] >> 8 != self._state >> 8:
            raise _groups.GroupRemovedError(f"group {self.name!r} was removed")
        return seen

    def qsize(self) -> int:
        """Return how many items this group could take at this moment; exact, and already past."""
        return int(self._seen()["ready"]) + self._kept()

    def lag(self) -> int:
        """Return how many items were put that this group has not taken or lost yet."""
        return int(self._seen()["lag"])

    @property
    def lapped(self) -> int:
        """How many items this group lost, because it was too slow for its policy."""
        return int(self._seen()["lapped"])

    # ---- ending ----

    # Of a subscription that was closed but not left yet.
    _left_to_leave: Attachment | None = None

    def remove(self) -> None:
        """Remove the group from the stream, for all its consumers: their next take raises.

        Raises
        ------
        ValueError
            If other groups come after it, or the handle is closed.
        GroupRemovedError
            If it was removed already.
        """
        _groups.leave(self._attachment, self._index, self._state)

    def close(self) -> None:
        """Let go of the group in this handle; what it got is finished. The group stays.

        Unless it is a subscription, which ends. Items that `get_batch` took together with one that
        failed, and that were not got yet, are lost with the handle, and finished like the others:
        get them first (`qsize` counts them).
        """
        if not self.closed:
            if self._ends_with == os.getpid():
                # Another thread may be closing it, too.
                with contextlib.suppress(ValueError):
                    self._left_to_leave = self._attachment
            reader, self._reader = self._reader, None
            if reader is not None:
                reader.finish()
            super().close()
        # The handle first: who waits with it in another thread is told that it is closed, rather
        # than that the group is gone. Where leaving is interrupted, it is left to the next call.
        attachment = self._left_to_leave
        if attachment is not None and self._ends_with == os.getpid():
            with contextlib.suppress(_groups.GroupRemovedError):
                _groups.leave(attachment, self._index, self._state)
            self._left_to_leave = None

    def _end_with_handle(self) -> "Group":
        """Have the group end with this handle, in this process: it is a subscription."""
        self._ends_with = os.getpid()
        return self

    def __del__(self) -> None:
        """End a subscription that nobody closed: it would hold the producers back."""
        if getattr(self, "_ends_with", None) is not None:
            self.close()

    def __reduce__(self) -> NoReturn:
        """Raise TypeError: each process opens a handle of its own."""
        call = f"group({self.name!r})" if self._ends_with is None else "subscribe()"
        raise TypeError(f"a group's handle is not pickled: pass the stream, and call {call} there")

    def __enter__(self) -> "Group":
        """Return the group itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the handle."""
        self.close()


class WritingGroup(Group):
    """A group's handle that changes large items in place, for the groups that come after.

    What lies in place can be written to: arrays of 16 KiB or more, also within other objects, and
    the views of `get_view`, of items that don't fit into a slot. Whatever else it gets is a copy,
    in which a change is seen by nobody else; as far as it is an array, or a view, it is read-only.
    """

    def get(
        self, block: bool = True, timeout: float | None = None, *, copy: bool | None = None
    ) -> Any:
        """Take the next item, as a group does; large arrays in it can be changed for others."""
        return self._kept_in_place(super().get(block, timeout, copy=_no_copy(copy)))

    def get_nowait(self) -> Any:
        """Take the next item if there is one; as ``get(block=False)``."""
        return self.get(block=False)

    def get_batch(
        self,
        max_items: int,
        block: bool = True,
        timeout: float | None = None,
        *,
        copy: bool | None = None,
    ) -> Any:
        """Take what there is, as a group does; large arrays in it can be changed for others."""
        return self._kept_in_place(
            super().get_batch(max_items, block, timeout, copy=_no_copy(copy))
        )

    def _joined(self, batches: list[Any]) -> Any:
        return self._kept_in_place(super()._joined(batches))

    def _kept_in_place(self, items: Any) -> Any:
        """Return an item, or a batch, in which an array that is a copy can't be written to."""
        deny_writes_to_copies(items, self.dtype is not None)
        return items


def _no_copy(copy: bool | None) -> bool:
    if copy:
        raise ValueError("a handle that writes gets no copies: nobody would see what it changes")
    return False
