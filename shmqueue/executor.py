"""The call queue of `concurrent.futures.ProcessPoolExecutor`, which no context can swap."""

from __future__ import annotations

from concurrent.futures import process
from queue import Full
from typing import Any

from shmqueue.dropin import Queue
from shmqueue.errors import ShutDown

__all__ = ["CallQueue"]


class CallQueue(process._SafeQueue, Queue):  # type: ignore[misc]
    """The standard call queue on the drop-in: its `__init__` and its way to report errors.

    The standard class stands first: its `__init__` goes on to the drop-in's, whatever arguments it
    takes on this Python.
    """

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put a call; what can't be serialised becomes the exception of its future.

        Called by the executor's manager thread alone, which must not end by it.
        """
        try:
            Queue.put(self, item, block, timeout)
        except Full:
            raise
        except Exception as error:
            if self.closed or not isinstance(item, process._CallItem):
                raise
            # The report wakes the manager through a pipe that only this thread empties: calls that
            # fail one after the other would fill it and then wait for themselves.
            self.thread_wakeup.clear()
            self._on_queue_feeder_error(error, item)
            # Its text went along. Its frames would keep this queue, and up to Python 3.10 the
            # manager's thread too, until the garbage collector comes.
            error.__traceback__ = None

    def get(
        self, block: bool = True, timeout: float | None = None, *, copy: bool | None = None
    ) -> Any:
        """Take a call; None, which tells a worker to end, once the executor is gone."""
        try:
            return Queue.get(self, block, timeout, copy=copy)
        except ShutDown:
            return None

    def close(self) -> None:
        """End the queue for the workers too.

        Up to Python 3.11 a worker that is started while another one breaks the executor is told by
        nobody to end, and would be waited for without end.
        """
        if not self.closed:
            self.shutdown()
        Queue.close(self)

    def __getstate__(self) -> tuple[Any, ...]:  # type: ignore[override]
        """Travel to a worker, unless the executor broke before that one was started.

        `submit` starts workers while the manager's thread may be closing this queue, and raises
        what is raised here.
        """
        try:
            return Queue.__getstate__(self)
        except ValueError:
            raise process.BrokenProcessPool(
                "the executor broke, or was shut down, while it started a process"
            ) from None

    def _travelling(self) -> dict[str, Any]:
        return {}  # the futures stay with the executor
