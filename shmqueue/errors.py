"""The exceptions of the package; Full and Empty are the ones of the standard library's queue."""

import sys

__all__ = [
    "ConsumerDiedError",
    "CorruptItemError",
    "CorruptSegmentError",
    "ForeignSegmentError",
    "GroupRemovedError",
    "NoFreeSeatError",
    "SegmentError",
    "SegmentVersionError",
    "ShutDown",
    "TruncatedSegmentError",
]


if sys.version_info >= (3, 13):
    from queue import ShutDown
else:

    class ShutDown(Exception):
        """Raised by put and get of a queue that was shut down; queue.ShutDown since Python 3.13."""


class SegmentError(RuntimeError):
    """A segment that exists but cannot be used; the base of its more particular kinds."""


class ForeignSegmentError(SegmentError):
    """The file is no queue at all: another program made it."""


class TruncatedSegmentError(SegmentError):
    """The file is shorter than its own header says: it was cut, or never completed."""


class SegmentVersionError(SegmentError):
    """The segment's layout version or byte order is not what this release reads and writes."""


class CorruptSegmentError(SegmentError):
    """A value in the segment contradicts the others: something else wrote over it."""


class NoFreeSeatError(RuntimeError):
    """As many processes are attached as the segment has seats.

    A seat is free again as soon as its process closes the queue or ends. `max_processes` sets
    their number when a queue is created.
    """


class GroupRemovedError(RuntimeError):
    """The group of a stream that this consumer takes from was removed, by whatever process."""


class ConsumerDiedError(RuntimeError):
    """A consumer was left by SystemExit or the like, or its process ended or was killed.

    Parameters
    ----------
    worker : int
        Which one, from 0 on.
    exitcode : int
        Of the process: negative, a signal. Of a thread what it would be.
    how : str, optional
        What it was left by.
    """

    def __init__(self, worker: int, exitcode: int, how: str = "") -> None:
        super().__init__(worker, exitcode, how)
        self.worker = worker
        self.exitcode = exitcode
        self.how = how

    def __str__(self) -> str:
        """Say which, and of what."""
        how = f"signal {-self.exitcode}" if self.exitcode < 0 else f"exit code {self.exitcode}"
        return f"consumer {self.worker} ended by {self.how or how}; what it was consuming is lost"


class CorruptItemError(ValueError):
    """The bytes of an item are not what any `put` wrote; they were damaged on the way."""
