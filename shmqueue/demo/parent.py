"""What the parent does: feed a carrier's workers, collect their answers, kill one on the way."""

from __future__ import annotations

import contextlib
import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from queue import Empty, Full
from typing import Any

from .carriers import Carrier, MultiprocessingCarrier, SharedMemoryCarrier
from .worker import Channel

__all__ = ["ROUNDS", "Accident", "DemoError", "Outcome", "compare_transport", "run"]

# How long a get waits before the parent looks at its workers and at the screen.
GLANCE = 0.05
# A run in which nothing at all arrives for so long has hung.
SILENCE = 60.0
# How often what is timed is run.
ROUNDS = 3

Watch = Callable[[int], None]


class DemoError(RuntimeError):
    """A run that did not come to its end; the text says where it stood."""


@dataclass
class Outcome:
    """What came out of one run.

    Attributes
    ----------
    seconds : float
        From the first put, with all workers waiting, to the last answer.
    results : list of dict
        The answers, in the order in which they came.
    ends : list of dict
        The last words of each worker that reached its end.
    killed : dict
        The pid of each worker that was killed, and how many answers were there at that moment.
    """

    seconds: float = 0.0
    results: list[dict[str, Any]] = field(default_factory=list)
    ends: list[dict[str, Any]] = field(default_factory=list)
    killed: dict[int, int] = field(default_factory=dict)


class Accident:
    """Kills one worker with SIGKILL, once some of the work is done and while it holds a task.

    Parameters
    ----------
    carrier : SharedMemoryCarrier
        Whose worker it is; its metrics tell what the worker holds.
    pid : int
        The worker.
    after : int
        How many answers must have come before.
    """

    def __init__(self, carrier: SharedMemoryCarrier, pid: int, after: int) -> None:
        self.pid = pid
        self._carrier = carrier
        self._after = after

    def happens(self, answers: int) -> bool:
        """Kill the worker if it is time.

        Parameters
        ----------
        answers : int
            How many have come.

        Returns
        -------
        bool
            Whether it is dead now.
        """
        if answers < self._after or not self._holds_a_task():
            return False
        self._carrier.kill(self.pid)
        return True

    def _holds_a_task(self) -> bool:
        taken = self._of_worker(self._carrier.tasks.get_metrics(), "items_got")
        # The first answer only said that the worker is ready.
        answered = self._of_worker(self._carrier.results.get_metrics(), "items_put") - 1
        return taken > answered

    def _of_worker(self, metrics: dict[str, Any], key: str) -> int:
        return sum(seat[key] for seat in metrics["seats"] if seat["pid"] == self.pid)


class _Feeder(threading.Thread):
    """Puts the items, then one None for each worker; blocks whenever the queue is full."""

    def __init__(self, tasks: Channel, items: Sequence[Any], workers: int) -> None:
        super().__init__(daemon=True)
        self._tasks = tasks
        self._items = [*items, *[None] * workers]
        self._stopped = threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        try:
            for item in self._items:
                while not self._stopped.is_set() and not self._is_taken(item):
                    pass
        except BaseException as error:
            self.error = error

    def _is_taken(self, item: Any) -> bool:
        try:
            self._tasks.put(item, timeout=0.2)
        except Full:
            return False
        return True

    def stop(self) -> None:
        self._stopped.set()
        self.join()


def run(
    carrier: Carrier,
    items: Sequence[Any],
    pids: Sequence[int],
    watch: Watch | None = None,
    accident: Accident | None = None,
) -> Outcome:
    """Send items through a carrier's workers and collect the answers.

    Parameters
    ----------
    carrier : Carrier
        The queues and the workers.
    items : sequence
        What the workers get.
    pids : sequence of int
        The workers, already started.
    watch : callable, optional
        Called now and then with the number of answers so far.
    accident : Accident, optional
        What befalls one of them.

    Returns
    -------
    Outcome
        The answers and the time.
    """
    outcome = Outcome()
    running = set(pids)
    ready: set[int] = set()
    heard = time.monotonic()
    while ready < running:
        message = _next(carrier, running, heard)
        if message is not None:
            ready.add(message["ready"])
    feeder = _Feeder(carrier.tasks, items, len(pids))
    began = time.perf_counter()
    feeder.start()
    try:
        heard = time.monotonic()
        while running:
            message = _next(carrier, running, heard)
            if feeder.error is not None:
                raise feeder.error
            if message is not None:
                heard = time.monotonic()
                if "end" in message:
                    outcome.ends.append(message)
                    running.discard(message["end"])
                else:
                    outcome.results.append(message)
            if accident is not None and accident.pid not in running:
                accident = None
            if accident is not None and accident.happens(len(outcome.results)):
                outcome.killed[accident.pid] = len(outcome.results)
                running.discard(accident.pid)
                accident = None
            if watch is not None:
                watch(len(outcome.results))
        outcome.seconds = time.perf_counter() - began
        # What the killed one had put last may stand behind the others' last words.
        if outcome.killed:
            with contextlib.suppress(Empty):
                while True:
                    outcome.results.append(carrier.results.get(timeout=GLANCE))
    finally:
        feeder.stop()
    return outcome


def _next(carrier: Carrier, running: set[int], heard: float) -> dict[str, Any] | None:
    """Return the next message, or None if there is none yet; raise when there will never be one."""
    # Looked at before the get: what a worker put before it ended is then in the queue.
    ended = {pid: code for pid in running if (code := carrier.exit_code(pid)) is not None}
    try:
        message: dict[str, Any] = carrier.results.get(timeout=GLANCE)
    except Empty:
        if ended:
            told = ", ".join(f"{pid} with exit code {code}" for pid, code in ended.items())
            raise DemoError(f"workers ended too early: {told}") from None
        if time.monotonic() - heard > SILENCE:
            raise DemoError(f"no answer in {SILENCE:g} s from the workers {running}") from None
        return None
    return message


def compare_transport(items: Sequence[tuple[str, ...]]) -> dict[str, float]:
    """Send the same items through each kind of queue to one worker that only takes them.

    Parameters
    ----------
    items : sequence of tuple of str
        What is sent, one item a put, one a get.

    Returns
    -------
    dict
        The median of the seconds of a few interleaved rounds, by the carrier's title.
    """
    seconds: dict[str, list[float]] = {}
    expected = {"items": len(items), "characters": sum(sum(map(len, item)) for item in items)}
    kinds: list[Callable[[], Carrier]] = [SharedMemoryCarrier, MultiprocessingCarrier]
    for _ in range(ROUNDS):
        for kind in kinds:
            with kind() as carrier:
                outcome = run(carrier, items, [carrier.start("receive")])
            received = {key: outcome.ends[0][key] for key in expected}
            if received != expected:
                raise DemoError(f"{carrier.title} carried {received} of {expected}")
            seconds.setdefault(carrier.title, []).append(outcome.seconds)
    return {title: statistics.median(times) for title, times in seconds.items()}
