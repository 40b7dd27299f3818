"""Starts the programs of a run, lets them go, listens to them, and ends whatever is left of it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import secrets
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from queue import Empty
from types import FrameType
from typing import Any

from .. import SharedMemoryQueue, Stream, unlink
from ..programs import GRACE, await_end, ctrl_c_is_for_the_parent, environment
from .course import Course, Outcome
from .plan import Plan
from .worker import names

__all__ = ["LoadError", "run"]

# How long a get of a report waits before the parent looks at its programs and at the screen.
GLANCE_SECONDS = 0.05
# Programs that start take a processor for a fraction of a second each.
START_SECONDS = 120.0
# How long readers may take what is in the ring when the last writer has finished.
DRAIN_SECONDS = 10.0

REPORTS_CAPACITY = 1024
REPORT_BYTES = 8192
# Of the stream's slots: an item is an array with its bytes, or a reference to a block with them.
SLOT_HEAD_BYTES = 256
LARGEST_IN_SLOT = 16 * 1024

NEVER = float("inf")

Watch = Callable[[Outcome, bool], None]


class LoadError(RuntimeError):
    """A run that did not begin; the text says why."""


def run(plan: Plan, watch: Watch) -> Outcome:
    """Run a plan.

    Parameters
    ----------
    plan : Plan
        A plan that was checked.
    watch : callable
        Called now and then with the outcome so far, and whether writers have been let go.

    Returns
    -------
    Outcome
        What came out; after Ctrl-C what had come by then.

    Raises
    ------
    LoadError
        If a program ended before it was ready.
    """
    crew = _Crew(plan, watch)
    try:
        with _interrupts_noted() as interrupts:
            crew.start(interrupts)
            crew.work(interrupts)
        return crew.outcome
    finally:
        crew.end()


@contextlib.contextmanager
def _interrupts_noted() -> Iterator[list[int]]:
    """Note the first Ctrl-C; the next one interrupts.

    What a handler raises is lost where it comes in the middle of a callback of the interpreter's,
    at the end of an import for one.
    """
    noted: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        if noted:
            raise KeyboardInterrupt
        noted.append(number)

    before = signal.signal(signal.SIGINT, note)
    try:
        yield noted
    finally:
        signal.signal(signal.SIGINT, before)


def _raise_noted(interrupts: list[int]) -> None:
    if interrupts:
        raise KeyboardInterrupt


class _Crew:
    def __init__(self, plan: Plan, watch: Watch) -> None:
        self.outcome = Outcome(plan, [])
        self._plan = plan
        self._watch = watch
        self._name = f"load-{secrets.token_hex(4)}"
        self._run_id = plan.run_id or f"load-{os.getpid()}"
        self._queues: list[Stream | SharedMemoryQueue] = []
        # What is left, for the stream not to end, before all writers have registered.
        self._guard = contextlib.ExitStack()

    # ---- beginning ----

    def start(self, interrupts: list[int]) -> None:
        """Start the programs, and wait until each is ready: subscribed, or registered to write.

        Parameters
        ----------
        interrupts : list
            Not empty once Ctrl-C was pressed, which is raised then.
        """
        roles = ["writer"] * self._plan.writers + ["reader"] * self._plan.readers
        for index, role in enumerate(roles):
            _raise_noted(interrupts)
            self._spawn(role, index if role == "writer" else index - self._plan.writers)
        try:
            self._create()
        except OSError as error:
            raise LoadError(str(error)) from error
        self._tell({"parent": os.getpid(), "plan": dataclasses.asdict(self._plan)})
        deadline = time.monotonic() + START_SECONDS
        while not all(course.ready for course in self.outcome.courses):
            for course in self._listen():
                if not course.ready:
                    raise LoadError(f"{course.label} {course.state} before it was ready")
            self._watch(self.outcome, False)
            _raise_noted(interrupts)
            if time.monotonic() > deadline:
                raise LoadError(f"not all programs were ready after {START_SECONDS:g} s")

    def _spawn(self, role: str, number: int) -> None:
        command = [sys.executable, "-m", "shmqueue.load.worker"]
        command += [self._name, self._run_id, role, str(number)]
        # numpy's own threads have nothing to do here.
        env = {"OPENBLAS_NUM_THREADS": "1", **environment()}
        with ctrl_c_is_for_the_parent():
            process = subprocess.Popen(command, stdin=subprocess.PIPE, env=env)
            self.outcome.courses.append(Course(role, number, process))

    def _create(self) -> None:
        stream_name, reports_name = names(self._name)
        # Who looks at a run needs seats as well.
        seats = len(self.outcome.courses) + 16
        self._stream = Stream(
            stream_name,
            create=True,
            run_id=self._run_id,
            capacity=self._plan.slots,
            item_size=min(self._plan.slot_bytes, LARGEST_IN_SLOT) + SLOT_HEAD_BYTES,
            max_processes=seats,
        )
        self._queues.append(self._stream)
        self._reports = SharedMemoryQueue(
            reports_name,
            create=True,
            run_id=self._run_id,
            capacity=REPORTS_CAPACITY,
            item_size=REPORT_BYTES,
            max_processes=seats,
        )
        self._queues.append(self._reports)
        self._guard.enter_context(self._stream.writer())

    def _tell(self, instruction: Any) -> None:
        line = json.dumps(instruction).encode() + b"\n"
        for course in self.outcome.courses:
            assert course.process.stdin is not None
            # Of one that is dead the others' reports tell.
            with contextlib.suppress(BrokenPipeError):
                course.process.stdin.write(line)
                course.process.stdin.flush()

    # ---- listening ----

    def _listen(self) -> list[Course]:
        """Take in what was reported; return those from whom nothing comes any more."""
        # Looked at before the get: what a program put before it ended is then in the queue.
        over = [course for course in self.outcome.courses if course.is_over]
        try:
            self._enter(self._reports.get(timeout=GLANCE_SECONDS))
            for _ in range(REPORTS_CAPACITY):
                self._enter(self._reports.get_nowait())
        except Empty:
            return over
        return [course for course in over if course.ended]

    def _enter(self, message: dict[str, Any]) -> None:
        role, number = message["who"]
        self.outcome.courses[number + (self._plan.writers if role == "reader" else 0)].enter(
            message
        )

    # ---- working ----

    def work(self, interrupts: list[int]) -> None:
        """Let writers go, and listen until all programs have ended.

        Parameters
        ----------
        interrupts : list
            Not empty once Ctrl-C was pressed.
        """
        outcome = self.outcome
        cpu = time.process_time()
        outcome.began = time.monotonic()
        self._tell(outcome.began)
        self._guard.close()
        # When to end the stream, when to take it away from readers, when to kill who is left.
        stop = outcome.began + self._plan.duration_seconds + GRACE
        cut = kill = NEVER
        while True:
            over = self._listen()
            now = time.monotonic()
            if interrupts and not outcome.interrupted:
                outcome.interrupted = True
                stop, cut = now, now + GRACE
            if now >= stop:
                self._stream.shutdown()
                stop, cut = NEVER, min(cut, now + DRAIN_SECONDS)
            if not outcome.wrote_until and all(course in over for course in outcome.of("writer")):
                outcome.wrote_until = now
                stop, cut = NEVER, min(cut, now + DRAIN_SECONDS)
            if now >= cut:
                self._stream.shutdown(immediate=True)
                # Who works on an item finishes it first, on a machine that may be busy.
                working = 10 * self._plan.reader_burn_cpu_milliseconds / 1000
                cut, kill = NEVER, now + GRACE + working
            if now >= kill:
                self._give_up([course for course in outcome.courses if course not in over])
                break
            self._watch(outcome, True)
            if len(over) == len(outcome.courses):
                break
        outcome.ended = time.monotonic()
        outcome.wrote_until = outcome.wrote_until or outcome.ended
        outcome.parent_cpu_seconds = time.process_time() - cpu

    # ---- ending ----

    @staticmethod
    def _give_up(courses: list[Course]) -> None:
        """Kill those who did not end when there was nothing left for them to do."""
        for course in courses:
            course.stuck = True
            course.process.kill()
            course.process.wait()

    def end(self) -> None:
        """Leave no program and no segment."""
        courses = self.outcome.courses
        try:
            for course in courses:
                # Who has told its end is about to leave.
                if not course.ended and course.process.poll() is None:
                    course.process.terminate()
            for course in courses:
                await_end(course.process)
        finally:
            self._guard.close()
            for queue in self._queues:
                queue.unlink()
                queue.close()
            for course in courses:
                if course.process.stdin is not None:
                    with contextlib.suppress(BrokenPipeError):
                        course.process.stdin.close()
            # What an interrupt may have left between its making and its being noted above.
            for name in names(self._name):
                unlink(name, self._run_id)
