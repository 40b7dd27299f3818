"""What the demo shows while it runs: one line about the queues and the workers."""

from __future__ import annotations

import time
from collections import deque
from typing import Any

from .. import SharedMemoryQueue
from ..terminal import Screen

__all__ = ["LiveLine"]


class LiveLine:
    """One line about a run, out of the metrics of its queues.

    On a terminal it is rewritten many times a second; elsewhere it is printed now and then.

    Parameters
    ----------
    screen : Screen
        Where it is shown.
    total : int
        How many answers there will be.
    tasks, results : SharedMemoryQueue
        The queues.
    pids : list of int
        The workers, in the order in which they are shown.
    """

    # Rates are of the last while, so that they fall when something falls.
    WINDOW = 1.5

    def __init__(
        self,
        screen: Screen,
        total: int,
        tasks: SharedMemoryQueue,
        results: SharedMemoryQueue,
        pids: list[int],
    ) -> None:
        self._screen = screen
        self._total = total
        self._tasks = tasks
        self._results = results
        self._pids = pids
        self._every = 0.08 if screen.terminal else 2.0
        self._last = time.monotonic()
        self._seen: deque[tuple[float, int, dict[int, int]]] = deque()
        self._sampled = 0.0
        self._dead: set[int] = set()

    def __call__(self, answers: int) -> None:
        """Show the line if it is time to.

        Parameters
        ----------
        answers : int
            How many have come.
        """
        now = time.monotonic()
        if now - self._sampled < 0.08:
            return
        self._sampled = now
        tasks = self._tasks.get_metrics()
        got = {seat["pid"]: seat["items_got"] for seat in tasks["seats"] if seat["alive"]}
        # A worker that ends leaves its seat; one that is killed lies dead in it, or another took
        # the seat over by now.
        self._dead |= {seat["pid"] for seat in tasks["seats"] if not seat["alive"]}
        self._seen.append((now, answers, got))
        while now - self._seen[0][0] > self.WINDOW:
            self._seen.popleft()
        if now - self._last < self._every:
            return
        self._last = now
        line = self._line(answers, tasks, self._results.get_metrics())
        if self._screen.terminal:
            self._screen.flash(line)
        else:
            self._screen.say(line)

    def _line(self, answers: int, tasks: dict[str, Any], results: dict[str, Any]) -> str:
        then, answers_then, got_then = self._seen[0]
        now, _, got = self._seen[-1]
        span = max(now - then, 1e-9)
        workers = []
        for number, pid in enumerate(self._pids, 1):
            if pid in got:
                rate = f"{(got[pid] - got_then.get(pid, got[pid])) / span:4.0f}/s"
            else:
                rate = "killed" if pid in self._dead else "  done"
            workers.append(f"w{number} {rate}")
        bar = self._screen.bar(answers / self._total, 12)
        return (
            f"  {bar} {answers:4d}/{self._total}"
            f"  tasks {tasks['queue_size']:2d}/{tasks['queue_capacity']}"
            f"  results {results['queue_size']:d}/{results['queue_capacity']}"
            f"  {(answers - answers_then) / span:4.0f} files/s: " + "  ".join(workers)
        )
