"""What the parent knows of each program: its reports in their order, and how it ended."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import dataclass, field
from typing import Any

from .histogram import Histogram
from .plan import Plan

__all__ = ["Course", "Outcome"]


@dataclass
class Course:
    """One program.

    Attributes
    ----------
    role : str
        ``"writer"`` or ``"reader"``.
    number : int
        Among those of its role.
    process : subprocess.Popen
        The program.
    samples : list of dict
        What it told of itself, each as a whole since the beginning, but ``latencies``, which are
        those since the sample before.
    latencies : Histogram
        All of them.
    ready, ended : bool
        Whether it has said so.
    stuck : bool
        Whether it was killed here, as it did not end when it should.
    """

    role: str
    number: int
    process: subprocess.Popen[bytes]
    samples: list[dict[str, Any]] = field(default_factory=list)
    latencies: Histogram = field(default_factory=Histogram)
    ready: bool = False
    ended: bool = False
    stuck: bool = False

    @property
    def label(self) -> str:
        """A short name: w1, r1."""
        return f"{self.role[0]}{self.number + 1}"

    @property
    def is_over(self) -> bool:
        """Whether nothing more comes from it, as far as was read."""
        return self.ended or self.process.poll() is not None

    def latest(self, key: str) -> Any:
        """Return what it told last of something; 0 before it told anything.

        Parameters
        ----------
        key : str
            What.
        """
        return self.samples[-1].get(key, 0) if self.samples else 0

    def enter(self, message: dict[str, Any]) -> None:
        """Take a report in.

        Parameters
        ----------
        message : dict
            The report.
        """
        if message["kind"] == "ready":
            self.ready = True
            return
        self.ended = message["kind"] == "end"
        self.latencies.merge(message["latencies"])
        self.samples.append(message)

    @property
    def state(self) -> str:
        """How it is, or how it ended."""
        if self.stuck:
            return "did not end"
        if self.ended:
            return "ended"
        code = self.process.poll()
        if code is None:
            return "running"
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        return f"failed with exit status {code}"


@dataclass
class Outcome:
    """What came out of a run.

    Attributes
    ----------
    plan : Plan
        What was run.
    courses : list of Course
        The programs, writers first.
    began, wrote_until, ended : float
        When (monotonic seconds) writers were let go, the last of them ended, and all were done.
    parent_cpu_seconds : float
        CPU time of this program meanwhile.
    interrupted : bool
        Whether Ctrl-C ended it.
    """

    plan: Plan
    courses: list[Course]
    began: float = 0.0
    wrote_until: float = 0.0
    ended: float = 0.0
    parent_cpu_seconds: float = 0.0
    interrupted: bool = False

    def of(self, role: str) -> list[Course]:
        """Return the programs of one role.

        Parameters
        ----------
        role : str
            ``"writer"`` or ``"reader"``.
        """
        return [course for course in self.courses if course.role == role]
