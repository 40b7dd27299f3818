"""What every adapter offers.

A peer creates a *channel* in the case's parent process. The workers are forked from it, and each
opens its *ends* there: queues with a name are attached by name, the others are inherited. An end
carries the library's own bound methods, so that no wrapper is timed.
"""

import importlib.metadata
import importlib.util
from abc import ABC, abstractmethod
from dataclasses import dataclass


def _nothing():
    pass


@dataclass
class End:
    """One process's way into a queue; an absent method is None.

    `queue` is the library's own object, for calls that no other library has.
    `done` says that what was got last is finished: whoever comes after may have it.
    `close` says that this process is done with the end and must not lose what it has put.
    """

    put: object = None
    get: object = None
    put_batch: object = None
    get_batch: object = None
    queue: object = None
    done: object = _nothing
    close: object = _nothing


class Channel(ABC):
    """A queue that exists."""

    @abstractmethod
    def open(self, role, index):
        """Return the end for "producer" or "consumer" number `index`, in the calling process."""

    @abstractmethod
    def open_local(self):
        """Return one end that puts and gets, for the scenario within one process."""

    def close(self):  # noqa: B027, sockets have nothing to remove
        """Remove the queue; called once, by the process that created it."""


class Peer(ABC):
    """A library's queue. Subclasses set the fields and implement `create`."""

    key = ""
    label = ""
    module = ""
    distribution = None
    payloads = frozenset({"bytes8", "int", "str", "dict", "object"})
    carries = "any object"
    has_batches = False

    @abstractmethod
    def create(self, name, case, directory):
        """Create the queue `name`; sockets and the like go into `directory`."""

    def unsupported(self, case):
        """Why this queue cannot run the case, or None if it can."""
        if case.payload not in self.payloads:
            return f"carries {self.carries} only"
        if case.scenario == "batch" and not self.has_batches:
            return "has no call for several items"
        return None

    def is_installed(self):
        return importlib.util.find_spec(self.module) is not None

    def version(self):
        """The installed version, or None for what has none, as a source tree."""
        if self.distribution is None:
            return None
        try:
            return importlib.metadata.version(self.distribution)
        except importlib.metadata.PackageNotFoundError:
            return None
