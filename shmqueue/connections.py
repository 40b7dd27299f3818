"""What programs find behind a queue's `_reader`, `_writer`, `_rlock` and `_wlock`.

In multiprocessing a queue is a pipe with locks around it, and Pool, ProcessPoolExecutor and others
reach for these parts. Here they are handles of their own on the queue's ring, so that closing one
of them closes nothing else, and what they do takes no lock.
"""

from __future__ import annotations

import time
from multiprocessing.connection import wait
from multiprocessing.reduction import ForkingPickler
from queue import Empty
from types import TracebackType
from typing import Any, TypeVar

from shmqueue._core import Attachment
from shmqueue._queue import ObjectQueue

__all__ = ["Reader", "ReaderLock", "Writer", "WriterLock"]

Self = TypeVar("Self", bound="_End")

LONGEST_WAIT_SECONDS = 0.25


class _End(ObjectQueue):
    """A handle that behaves like one end of a pipe."""

    readable = False
    writable = False

    def __init__(self, attachment: Attachment) -> None:
        self._bind(attachment, "handle")

    def _closed_error(self) -> Exception:
        return OSError("handle is closed")

    def __enter__(self: Self) -> Self:
        """Return the end itself."""
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close it in this process."""
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        """Travel as the attachment does."""
        return type(self), (self._attachment,)


class Reader(_End):
    """The end to get from: what a `multiprocessing.connection.Connection` has for reading."""

    readable = True
    # Not a method around it: Pool takes every result with this.
    recv = ObjectQueue.get

    def recv_bytes(self, maxlength: int | None = None) -> bytes:
        """Return the next item if it is bytes, else its pickle."""
        item = self.recv()
        data = bytes(item) if isinstance(item, (bytes, bytearray)) else ForkingPickler.dumps(item)
        if maxlength is not None and len(data) > maxlength:
            raise OSError(f"an item of {len(data)} bytes is longer than maxlength={maxlength}")
        return bytes(data)

    def poll(self, timeout: float | None = 0.0) -> bool:
        """Return whether `recv` would return or raise now, waiting up to `timeout` seconds."""
        if self.qsize() or self._attachment.is_shut:
            return True
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = LONGEST_WAIT_SECONDS if deadline is None else deadline - time.monotonic()
            if left <= 0:
                return bool(self.qsize())
            # In slices: a putter that was killed at the wrong moment has told nobody of its item.
            wait([self], min(left, LONGEST_WAIT_SECONDS))  # type: ignore[list-item]
            if self.qsize() or self._attachment.is_shut:
                return True

    def fileno(self) -> int:
        """Return a descriptor that polls readable while there is an item."""
        return self._fileno()


class _HeldReader(Reader):
    """A reader under its lock: nobody else may take the item that `poll` saw, so `poll` takes it.

    Pool polls, and receives if there was something, while its workers go on getting.
    """

    _seen: list[tuple[Any, BaseException | None]]

    def __reduce__(self) -> tuple[Any, ...]:
        return Reader, (self._attachment,)

    def poll(self, timeout: float | None = 0.0) -> bool:
        if not self._seen:
            try:
                if timeout is None:
                    self._seen.append((super().recv(), None))
                else:
                    self._seen.append((super().recv(timeout=timeout), None))
            except Empty:
                return False
            except Exception as error:
                if self.closed:
                    raise
                self._seen.append((None, error))
        return True

    def recv(
        self, block: bool = True, timeout: float | None = None, *, copy: bool | None = None
    ) -> Any:
        try:
            item, error = self._seen.pop()
        except IndexError:
            return super().recv(block, timeout, copy=copy)
        if error is not None:
            raise error
        return item


class Writer(_End):
    """The end to put to: what a `multiprocessing.connection.Connection` has for writing."""

    writable = True
    # Not a method around it: Pool sends every task with this.
    send = ObjectQueue.put

    def send_bytes(self, buf: Any, offset: int = 0, size: int | None = None) -> None:
        """Put a part of a bytes-like object as an item of type bytes."""
        view = memoryview(buf).cast("B")
        end = len(view) if size is None else offset + size
        if not 0 <= offset <= end <= len(view):
            raise ValueError(f"offset={offset} and size={size} are not within {len(view)} bytes")
        self.send(bytes(view[offset:end]))

    def fileno(self) -> int:
        """Return a descriptor of the queue."""
        return self._attachment.poll_fd


class WriterLock:
    """Looks like the lock around a pipe, and locks nothing: the ring needs none."""

    __slots__ = ()

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Return True at once."""
        return True

    def release(self) -> None:
        """Do nothing."""

    def __enter__(self) -> bool:
        """Acquire."""
        return self.acquire()

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Release."""
        self.release()


class ReaderLock(WriterLock):
    """The same for the end to get from; while it is held, what `poll` saw is there for `recv`."""

    __slots__ = ("_reader",)

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:
        """Return True at once."""
        if not isinstance(self._reader, _HeldReader):
            self._reader.__dict__.setdefault("_seen", [])
            self._reader.__class__ = _HeldReader
        return True

    def release(self) -> None:
        """Let others have what comes next; what was seen stays for the next `recv`."""
        if isinstance(self._reader, _HeldReader) and not self._reader._seen:
            self._reader.__class__ = Reader  # type: ignore[assignment]
