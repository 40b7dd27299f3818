"""What is shown while a run goes on: one line about all programs, or each of their samples."""

from __future__ import annotations

import time
from collections import deque

from ..terminal import Screen, duration
from .course import Course, Outcome
from .histogram import Histogram

__all__ = ["Live"]

# Rates are of the last while, so that they fall when something falls.
WINDOW_SECONDS = 1.5
# How often the line is written: on a terminal over itself, elsewhere below the last one.
TERMINAL_SECONDS = 0.1
PLAIN_SECONDS = 2.0


class Live:
    """Shows a run on a screen.

    Parameters
    ----------
    screen : Screen
        Where.
    quiet : bool
        Whether nothing is shown that stays, as where the output is for programs.
    """

    def __init__(self, screen: Screen, quiet: bool) -> None:
        self._screen = screen
        self._quiet = quiet
        self._every = TERMINAL_SECONDS if screen.terminal else PLAIN_SECONDS
        self._last = time.monotonic() if not screen.terminal else 0.0
        self._seen: deque[tuple[float, int, int]] = deque()
        self._told: dict[str, int] = {}

    def __call__(self, outcome: Outcome, began: bool) -> None:
        """Show it, if it is time to.

        Parameters
        ----------
        outcome : Outcome
            The run so far.
        began : bool
            Whether writers have been let go.
        """
        if outcome.plan.debug and not self._quiet:
            self._tell_samples(outcome)
        now = time.monotonic()
        if now - self._last < self._every:
            return
        self._last = now
        line = self._line(outcome, now) if began else self._starting(outcome)
        if self._screen.terminal:
            self._screen.flash(line)
        elif not self._quiet:
            self._screen.say(line)

    @staticmethod
    def _starting(outcome: Outcome) -> str:
        ready = sum(course.ready for course in outcome.courses)
        return f"  {ready} of {len(outcome.courses)} programs are ready"

    def _line(self, outcome: Outcome, now: float) -> str:
        plan, writers, readers = outcome.plan, outcome.of("writer"), outcome.of("reader")
        written = sum(course.latest("items") for course in writers)
        read = sum(course.latest("items") for course in readers)
        if not self._seen:
            self._seen.append((outcome.began, 0, 0))
        self._seen.append((now, written, read))
        while now - self._seen[0][0] > WINDOW_SECONDS and len(self._seen) > 2:
            self._seen.popleft()
        then, written_then, read_then = self._seen[0]
        span = max(now - then, 1e-9)
        rate = (written - written_then) / span
        elapsed = now - outcome.began
        phase = f"{elapsed:4.1f}/{plan.duration_seconds:g} s"
        if outcome.wrote_until:
            phase = "readers finish"
        recent = Histogram()
        for course in readers:
            if course.samples:
                recent.merge(course.samples[-1]["latencies"])
        p99 = recent.percentile(99)
        told = [
            f"  {self._screen.bar(elapsed / plan.duration_seconds, 12)} {phase}",
            f"written {rate:,.0f}/s {rate * plan.slot_bytes / 1e6:,.0f} MB/s",
            f"read {(read - read_then) / span:,.0f}/s",
            f"behind {max(course.latest('lag') for course in readers)}/{plan.slots}",
            f"lapped {sum(course.latest('lapped') for course in readers):,}",
            f"wrong {sum(course.latest('wrong') for course in readers):,}",
            f"p99 {'-' if p99 is None else duration(p99)}",
        ]
        over = [course.label for course in readers if course.state.startswith(("killed", "failed"))]
        if over:
            told.append(f"dead {', '.join(over)}")
        return "  ".join(told)

    def _tell_samples(self, outcome: Outcome) -> None:
        for course in outcome.courses:
            if course.label not in self._told:
                self._told[course.label] = 0
                self._screen.say(f"  {course.label} is process {course.process.pid}")
            for sample in course.samples[self._told[course.label] :]:
                self._screen.say(_sample_line(course, sample, outcome.began))
            self._told[course.label] = len(course.samples)


def _sample_line(course: Course, sample: dict[str, object], began: float) -> str:
    hidden = ("who", "kind", "at", "latencies", "tallies")
    told = [
        f"{key} {value:.3f}" if isinstance(value, float) else f"{key} {value}"
        for key, value in sample.items()
        if key not in hidden
    ]
    at = sample["at"]
    assert isinstance(at, float)
    return f"  {at - began:7.3f} s  {course.label}  {'  '.join(told)}"
