"""What a run is: its numbers, the five scenarios, and what can't be run."""

from __future__ import annotations

import math
import os
from dataclasses import dataclass

from ..memory import headroom_bytes
from ..segment import DIRECTORY, path_of
from .payload import HEADER_BYTES

__all__ = ["SCENARIOS", "Plan"]

MOST_WRITERS = 255  # of 256 that a stream registers; one is the parent
MOST_READERS = 64  # groups of a stream
# What a pool of blocks may waste: sizes are rounded up by a quarter at most.
ROUNDING = 1.25
POLICIES = ("block", "lag")


@dataclass(frozen=True)
class Plan:
    """The numbers of a run.

    Attributes
    ----------
    scenario : str
        What it is called.
    about : str
        What it shows.
    slot_bytes, slots : int
        Size of an item, and how many the ring holds.
    duration_seconds : float
        How long writers write.
    writes_per_second : float
        Of each writer; 0 for as many as it can.
    writers, readers : int
        How many programs of each kind.
    reader_burn_cpu_milliseconds : float
        CPU time that a reader spends on each item, beside checking it.
    policy : str
        What becomes of a reader that is too slow: ``"block"``, writers wait for it, or ``"lag"``,
        it loses the oldest items.
    verify : bool
        Whether each item carries a checksum over all of it, which readers check.
    run_id : str
        The run_id of the stream; empty for one of its own.
    debug : bool
        Whether every sample of every program is told.
    """

    scenario: str
    about: str
    slot_bytes: int = 1_000_000
    slots: int = 24
    duration_seconds: float = 10.0
    writes_per_second: float = 24.0
    writers: int = 1
    readers: int = 3
    reader_burn_cpu_milliseconds: float = 5.0
    policy: str = "block"
    verify: bool = True
    run_id: str = ""
    debug: bool = False

    @property
    def is_paced(self) -> bool:
        """Whether writers write at a rate, rather than as fast as they can."""
        return self.writes_per_second > 0

    @property
    def sample_seconds(self) -> float:
        """How often each program tells how far it is."""
        many = (self.writers + self.readers) / 200
        return min(max(self.duration_seconds / 40, many, 0.1), 1.0)

    @property
    def memory_bytes(self) -> int:
        """Memory that the items need at most: in the ring, being written, and in readers' hands."""
        items = self.slots + 2 * self.writers + self.readers
        return int(items * self.slot_bytes * ROUNDING)

    def check(self) -> None:
        """Refuse what can't be run.

        Raises
        ------
        ValueError
            Which number cannot be, and what could.
        """
        _between("--slot-bytes", self.slot_bytes, HEADER_BYTES)
        _between("--slots", self.slots, 2)
        _between("--writers", self.writers, 1, MOST_WRITERS)
        _between("--readers", self.readers, 1, MOST_READERS)
        _between("--writes-per-second", self.writes_per_second, 0)
        _between("--reader-burn-cpu-milliseconds", self.reader_burn_cpu_milliseconds, 0)
        if not 0 < self.duration_seconds < math.inf:
            raise ValueError(f"--duration-seconds must be above 0, not {self.duration_seconds:g}")
        if self.policy not in POLICIES:
            raise ValueError(f"--policy must be {' or '.join(POLICIES)}, not {self.policy!r}")
        try:
            path_of("load-00000000-reports", self.run_id)
        except ValueError as error:
            raise ValueError(f"--run-id {self.run_id!r}: {error}") from None
        room, where = _room()
        if self.memory_bytes > room:
            raise ValueError(
                f"--slots {self.slots} of --slot-bytes {self.slot_bytes:,}, with {self.writers}"
                f" writers and {self.readers} readers at work on more, may need"
                f" {self.memory_bytes:,} bytes; {where} has {room:,}: choose fewer or smaller slots"
            )


def _between(option: str, value: float, least: float, most: float = math.inf) -> None:
    if math.isnan(value) or value < least:
        raise ValueError(f"{option} must be at least {least:g}, not {value:g}")
    if value > most or value == math.inf:
        raise ValueError(f"{option} must be at most {most:g}, not {value:g}")


def _room() -> tuple[int, str]:
    """Return how many bytes of shared memory are to be had, and who has no more."""
    system = os.statvfs(DIRECTORY)
    return min((system.f_bavail * system.f_frsize, DIRECTORY), (headroom_bytes(), "the machine"))


SCENARIOS = {
    plan.scenario: plan
    for plan in (
        Plan("good-behaviour", "a camera and three readers that have time for each frame"),
        Plan(
            "too-many-readers",
            "a camera and fifty readers",
            readers=50,
            reader_burn_cpu_milliseconds=0.0,
        ),
        Plan(
            "too-many-writes",
            "two writers that never pause",
            writers=2,
            writes_per_second=0.0,
            reader_burn_cpu_milliseconds=0.0,
        ),
        Plan(
            "too-much-data",
            "4K frames, 12 MB each",
            slot_bytes=3840 * 2160 * 3 // 2,
            slots=12,
            reader_burn_cpu_milliseconds=0.0,
        ),
        Plan(
            "slow-readers",
            "each frame costs its readers more time than there is between two",
            reader_burn_cpu_milliseconds=60.0,
        ),
    )
}
