"""Two kinds of queue under one face: their queues, their workers, and the end of both."""

from __future__ import annotations

import multiprocessing
import os
import secrets
import subprocess
import sys
from types import TracebackType
from typing import Any, Protocol

from .. import SharedMemoryQueue
from ..programs import GRACE, await_end, ctrl_c_is_for_the_parent, environment
from .worker import Channel, work

__all__ = ["Carrier", "MultiprocessingCarrier", "SharedMemoryCarrier"]

# Alike for both kinds, so that neither may run further ahead than the other.
TASKS_CAPACITY = 64
RESULTS_CAPACITY = 256
# Room in each slot; longer items take blocks of the pool.
TASK_BYTES = 16 * 1024
RESULT_BYTES = 8 * 1024


class Carrier(Protocol):
    """A queue of tasks, one of results, and the workers between them; ends all on leaving."""

    title: str

    @property
    def tasks(self) -> Channel:
        """What the workers take from."""

    @property
    def results(self) -> Channel:
        """What the workers answer through."""

    def start(self, job: str) -> int:
        """Start a worker; return its pid."""

    def exit_code(self, pid: int) -> int | None:
        """Return how a worker ended, None while it runs."""

    def __enter__(self) -> Carrier: ...

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None: ...


class SharedMemoryCarrier:
    """Named queues of this package, and workers that are programs of their own."""

    title = "shmqueue"

    def __init__(self) -> None:
        self.name = "demo"
        self.run_id = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._workers: dict[int, subprocess.Popen[bytes]] = {}
        self.tasks = self._create("tasks", TASKS_CAPACITY, TASK_BYTES)
        try:
            self.results = self._create("results", RESULTS_CAPACITY, RESULT_BYTES)
        except BaseException:
            self.tasks.unlink()
            self.tasks.close()
            raise

    def _create(self, role: str, capacity: int, item_size: int) -> SharedMemoryQueue:
        return SharedMemoryQueue(
            f"{self.name}-{role}",
            create=True,
            capacity=capacity,
            item_size=item_size,
            run_id=self.run_id,
        )

    def start(self, job: str) -> int:
        """Start a worker; return its pid."""
        command = [sys.executable, "-m", "shmqueue.demo.worker", self.name, self.run_id, job]
        with ctrl_c_is_for_the_parent():
            worker = subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment())
            self._workers[worker.pid] = worker
        return worker.pid

    def exit_code(self, pid: int) -> int | None:
        """Return how a worker ended, None while it runs."""
        return self._workers[pid].poll()

    def kill(self, pid: int) -> None:
        """End a worker with SIGKILL.

        Parameters
        ----------
        pid : int
            Which one.
        """
        self._workers[pid].kill()
        self._workers[pid].wait()

    def __enter__(self) -> SharedMemoryCarrier:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            for worker in self._workers.values():
                if worker.poll() is None:
                    worker.terminate()
            for worker in self._workers.values():
                await_end(worker)
        finally:
            for queue in (self.tasks, self.results):
                queue.unlink()
                queue.close()


class MultiprocessingCarrier:
    """Queues and spawned processes of the standard library."""

    title = "multiprocessing.Queue"

    def __init__(self) -> None:
        self._context = multiprocessing.get_context("spawn")
        self._workers: dict[int, Any] = {}
        self.tasks = self._context.Queue(TASKS_CAPACITY)
        self.results = self._context.Queue(RESULTS_CAPACITY)

    def start(self, job: str) -> int:
        """Start a worker; return its pid."""
        process = self._context.Process(
            target=work, args=(self.tasks, self.results, job), daemon=True
        )
        with ctrl_c_is_for_the_parent():
            process.start()
            assert process.pid is not None
            self._workers[process.pid] = process
        return process.pid

    def exit_code(self, pid: int) -> int | None:
        """Return how a worker ended, None while it runs."""
        code: int | None = self._workers[pid].exitcode
        return code

    def __enter__(self) -> MultiprocessingCarrier:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for process in self._workers.values():
            if kind is None:
                process.join(GRACE)
            if process.exitcode is None:
                process.kill()
            process.join()
            process.close()
        for queue in (self.tasks, self.results):
            queue.cancel_join_thread()
            queue.close()
