"""The program that does the work: ``python -m shmqueue.demo.worker NAME RUN_ID JOB``.

It shares nothing with its parent but two names: it connects to the queues ``NAME-tasks`` and
``NAME-results`` of the run. `work` itself knows only put and get, so that a process of
`multiprocessing` does the same over `multiprocessing.Queue`.
"""

from __future__ import annotations

import os
import sys
from typing import Any, Protocol

from .. import SharedMemoryQueue
from ..programs import Orphaned, until_done

__all__ = ["JOBS", "Channel", "main", "work"]

# "tokenise" answers each file with its counts; "receive" only takes what comes.
JOBS = ("tokenise", "receive")

# Exit status of a worker whose queues are gone before it could connect.
GONE = 3


class Channel(Protocol):
    """What both kinds of queue can do."""

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        """Put an item in."""

    def get(self, block: bool = True, timeout: float | None = None) -> Any:
        """Take the next item out."""


def work(tasks: Channel, results: Channel, job: str) -> None:
    """Do a job on each item until a None comes.

    Parameters
    ----------
    tasks : Channel
        Where items come from.
    results : Channel
        Where answers go: a first one with ``ready``, those of the job, a last one with ``end``,
        which tells how many items and characters were received.
    job : str
        One of `JOBS`.
    """
    pid, parent = os.getpid(), os.getppid()
    if job == "tokenise":
        # Only here, as it brings numpy along.
        from .counting import count

    def answer(item: dict[str, Any]) -> None:
        until_done(lambda timeout: results.put(item, timeout=timeout), parent)

    try:
        answer({"ready": pid})
        items = characters = 0
        while True:
            task = until_done(lambda timeout: tasks.get(timeout=timeout), parent)
            if task is None:
                break
            items += 1
            characters += sum(map(len, task))
            if job == "tokenise":
                answer({"by": pid, **count(*task)})
        answer({"end": pid, "items": items, "characters": characters})
    except Orphaned:
        pass  # nobody would take a result


def main(arguments: list[str]) -> int:
    """Connect by name and work.

    Parameters
    ----------
    arguments : list of str
        The queues' common name, the run they belong to, and the job.

    Returns
    -------
    int
        Exit status.
    """
    if len(arguments) != 3 or arguments[2] not in JOBS:
        print(f"usage: python -m shmqueue.demo.worker NAME RUN_ID {{{','.join(JOBS)}}}")
        return 2
    name, run_id, job = arguments
    try:
        tasks = SharedMemoryQueue(f"{name}-tasks", run_id=run_id)
        results = SharedMemoryQueue(f"{name}-results", run_id=run_id)
    except FileNotFoundError:
        return GONE  # the demo was interrupted while this program started: nobody is there to tell
    with tasks, results:
        work(tasks, results, job)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
