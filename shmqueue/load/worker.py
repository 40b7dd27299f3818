"""The program that writes or reads: ``python -m shmqueue.load.worker NAME RUN_ID ROLE NUMBER``.

It is started before there is a stream, and told on its standard input when there is one, and when
to begin. So whenever the parent is gone, be it killed, programs are there that notice, and remove
what it left. What they do and see goes into a queue beside the stream.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable
from queue import Empty, Full
from typing import Any

from .. import Group, SharedMemoryQueue, ShutDown, Stream, unlink
from ..programs import PATIENCE, Orphaned, look_for, until_done
from .histogram import Histogram
from .payload import Filler, Ledger
from .plan import Plan

__all__ = ["ROLES", "main", "names"]

ROLES = ("writer", "reader")

# Exit status of a program whose parent is gone.
ORPHANED = 3
# How far a paced writer that was held up hurries afterwards; what it owes beyond, it leaves out.
CATCH_UP_SECONDS = 0.5
# How often a reader looks how far it is behind.
LAG_LOOK_NS = 1_000_000


def names(name: str) -> tuple[str, str]:
    """Return what the stream and the queue of reports of a run are called.

    Parameters
    ----------
    name : str
        What the run is called.
    """
    return name, f"{name}-reports"


class _Reporter:
    """Tells the parent how far this program is, now and then."""

    def __init__(
        self, reports: SharedMemoryQueue, who: tuple[str, int], every: float, parent: int
    ) -> None:
        self.parent = parent
        self._reports = reports
        self._who = who
        self._every = every
        self._due = 0.0
        self._cpu = time.process_time()
        self.latencies = Histogram()

    def is_due(self) -> bool:
        return time.monotonic() >= self._due

    def remaining(self) -> float:
        """Seconds until the next sample is due."""
        return max(0.0, self._due - time.monotonic())

    def send(self, kind: str, told: dict[str, Any]) -> None:
        self._due = time.monotonic() + self._every
        message = {
            "who": self._who,
            "kind": kind,
            "at": time.monotonic(),
            "cpu_seconds": time.process_time() - self._cpu,
            "latencies": self.latencies.counts,
            **told,
        }
        self.latencies = Histogram()
        until_done(lambda timeout: self._reports.put(message, timeout=timeout), self.parent)


def _write(
    plan: Plan, number: int, stream: Stream, reporter: _Reporter, go: Callable[[], float]
) -> None:
    filler = Filler(number, plan.slot_bytes, plan.verify)
    put = 0

    def told() -> dict[str, Any]:
        blocked = sum(
            seat["blocked_full_seconds"]
            for seat in stream.get_metrics()["seats"]
            if seat["pid"] == os.getpid()
        )
        return {"items": put, "bytes": put * plan.slot_bytes, "blocked_seconds": blocked}

    with stream.writer():
        reporter.send("ready", {})
        due = go()
        end = due + plan.duration_seconds
        while (now := time.monotonic()) < end:
            if reporter.is_due():
                look_for(reporter.parent)
                reporter.send("sample", told())
            if due > now:
                if stream.is_shutdown:
                    break
                time.sleep(min(due - now, end - now, reporter.remaining()))
                continue
            try:
                timeout = min(PATIENCE, end - now)
                with stream.reserve_array(plan.slot_bytes, "uint8", timeout=timeout) as slot:
                    filler.fill(slot, put)
            except Full:
                look_for(reporter.parent)
                continue
            except ShutDown:
                break
            put += 1
            if plan.is_paced:
                due = max(due + 1 / plan.writes_per_second, now - CATCH_UP_SECONDS)
    reporter.send("end", told())


def _read(
    plan: Plan, number: int, stream: Stream, reporter: _Reporter, go: Callable[[], float]
) -> None:
    ledger = Ledger(plan.writers, plan.slot_bytes, plan.verify)
    lag_max = looked_ns = 0
    with stream.subscribe(policy=plan.policy) as group:

        def told() -> dict[str, Any]:
            return {
                "items": ledger.items,
                "bytes": ledger.items * plan.slot_bytes,
                "wrong": ledger.wrong,
                "lag_max": lag_max,
                **_place(stream, group),
            }

        reporter.send("ready", {"group": group.name})
        go()
        while True:
            if reporter.is_due():
                look_for(reporter.parent)
                reporter.send("sample", told())
            try:
                item = group.get(timeout=max(reporter.remaining(), 0.001))
            except Empty:
                continue
            except ShutDown:
                break
            latency = ledger.take(item)
            if latency is not None:
                reporter.latencies.add(latency)
            if (now_ns := time.monotonic_ns()) - looked_ns >= LAG_LOOK_NS:
                looked_ns = now_ns
                # With the one in hand; of a lapped group, whose ring is full, there are no more.
                lag_max = max(lag_max, min(group.lag() + 1, plan.slots))
            _burn(plan.reader_burn_cpu_milliseconds)
            # Its memory is the stream's again.
            del item
        last = {"torn": ledger.torn, "tallies": ledger.tallies()}
        reporter.send("end", {**told(), **last})


def _place(stream: Stream, group: Group) -> dict[str, Any]:
    """Return where a group stands, what it lost, and how long writers have waited for it."""
    for row in stream.get_metrics()["groups"]:
        if row["group"] == group.name:
            place = {key: row[key] for key in ("next_sequence", "lag", "lapped")}
            return {**place, "held_up_seconds": row["blocked_full_seconds"]}
    raise LookupError(f"the subscription {group.name} is gone while its reader reads")


def _burn(milliseconds: float) -> None:
    until = time.thread_time_ns() + int(milliseconds * 1e6)
    while time.thread_time_ns() < until:
        pass


def _instruction() -> Any:
    """Return what the parent says next; Orphaned if it is gone."""
    line = sys.stdin.readline()
    if not line:
        raise Orphaned
    return json.loads(line)


def main(arguments: list[str]) -> int:
    """Connect by name, and write or read.

    Parameters
    ----------
    arguments : list of str
        Name and run_id of the run, the role, and the number among those of that role.

    Returns
    -------
    int
        Exit status.
    """
    if len(arguments) != 4 or arguments[2] not in ROLES or not arguments[3].isdigit():
        print(f"usage: python -m shmqueue.load.worker NAME RUN_ID {{{','.join(ROLES)}}} NUMBER")
        return 2
    name, run_id, role, number = *arguments[:3], int(arguments[3])
    try:
        told = _instruction()
        plan = Plan(**told["plan"])
        stream_name, reports_name = names(name)
        with (
            Stream(stream_name, run_id=run_id) as stream,
            SharedMemoryQueue(reports_name, run_id=run_id) as reports,
        ):
            reporter = _Reporter(reports, (role, number), plan.sample_seconds, told["parent"])
            work = _write if role == "writer" else _read
            work(plan, number, stream, reporter, _instruction)
    except (Orphaned, FileNotFoundError):
        # The parent is gone, or another orphan was here before. The name is of this run alone.
        for orphaned in names(name):
            unlink(orphaned, run_id)
        return ORPHANED
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
