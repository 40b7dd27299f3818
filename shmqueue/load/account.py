"""The account of a run: a row for each program, what is wrong, and who kept up."""

from __future__ import annotations

import dataclasses
from typing import Any

from ..doctor import count
from .course import Course, Outcome
from .histogram import Histogram

__all__ = ["account"]


def account(outcome: Outcome) -> dict[str, Any]:
    """Add up a run.

    Parameters
    ----------
    outcome : Outcome
        The run.

    Returns
    -------
    dict
        ``scenario`` and the numbers of its plan; ``seconds``, ``interrupted``; ``put``, how many
        items were, and ``wanted``, how many the rate asks for (None without one); ``writers`` and
        ``readers``, a dict for each, with ``blocked_seconds`` that a writer waited, and
        ``held_up_seconds`` that all of them waited for a reader; ``cpu_seconds`` of all and
        ``cpu_percent`` of one processor;
        ``problems``, sentences about what should not have been; ``kept_up``, whether every reader
        did, ``behind``, sentences about those who did not, and ``blocked_seconds`` that writers
        waited; ``latency_p50_seconds`` and ``latency_p99_seconds`` over all readers.
    """
    plan = outcome.plan
    seconds = outcome.ended - outcome.began
    writers = [_writer(course, outcome) for course in outcome.of("writer")]
    put = _put(outcome, writers)
    readers = [_reader(course, outcome, put) for course in outcome.of("reader")]
    latencies = Histogram()
    for course in outcome.of("reader"):
        latencies.merge(course.latencies.counts)
    cpu = outcome.parent_cpu_seconds + sum(row["cpu_seconds"] for row in writers + readers)
    behind = [told for row in readers if (told := _behind(row, plan.slots))]
    return {
        **{
            field.name: getattr(plan, field.name)
            for field in dataclasses.fields(plan)
            if field.name not in ("debug", "about")
        },
        "seconds": seconds,
        "interrupted": outcome.interrupted,
        "put": put,
        "wanted": round(plan.writes_per_second * plan.duration_seconds) * plan.writers or None,
        "writers": writers,
        "readers": readers,
        "cpu_seconds": cpu,
        "cpu_percent": 100 * cpu / seconds,
        "blocked_seconds": sum(row["blocked_seconds"] for row in writers),
        "latency_p50_seconds": latencies.percentile(50),
        "latency_p99_seconds": latencies.percentile(99),
        "kept_up": not behind,
        "behind": behind,
        "problems": _problems(outcome, writers, readers, put),
    }


def _common(course: Course, outcome: Outcome) -> dict[str, Any]:
    seconds = (course.latest("at") or outcome.ended) - outcome.began
    items, size, cpu = (course.latest(key) for key in ("items", "bytes", "cpu_seconds"))
    return {
        "name": course.label,
        "pid": course.process.pid,
        "state": course.state,
        "items": items,
        "bytes": size,
        "seconds": seconds,
        "items_per_second": items / seconds,
        "megabytes_per_second": size / seconds / 1e6,
        "cpu_seconds": cpu,
        "cpu_percent": 100 * cpu / seconds,
    }


def _writer(course: Course, outcome: Outcome) -> dict[str, Any]:
    return {**_common(course, outcome), "blocked_seconds": float(course.latest("blocked_seconds"))}


def _put(outcome: Outcome, writers: list[dict[str, Any]]) -> int:
    """Return how many items were put.

    The stream says, to any reader that came to its end: a killed writer told nobody of its last.
    """
    told = [
        course.latest("next_sequence") + course.latest("lag")
        for course in outcome.of("reader")
        if course.ended
    ]
    put: int = max(told, default=sum(row["items"] for row in writers))
    return put


def _reader(course: Course, outcome: Outcome, put: int) -> dict[str, Any]:
    tallies = course.latest("tallies") or []
    torn = course.latest("torn")
    doubled, out_of_order = (
        sum(tally[key] for tally in tallies) for key in ("doubled", "out_of_order")
    )
    row = {
        **_common(course, outcome),
        "lag": course.latest("lag"),
        "lag_max": course.latest("lag_max"),
        "lapped": course.latest("lapped"),
        "held_up_seconds": float(course.latest("held_up_seconds")),
        "latency_p50_seconds": course.latencies.percentile(50),
        "latency_p99_seconds": course.latencies.percentile(99),
        "torn": torn,
        "doubled": doubled,
        "out_of_order": out_of_order,
        "left": 0,
        "lost": 0,
    }
    if course.ended:
        # All that was put was taken once, or lost to the policy, or is still in the ring.
        row["left"] = row["lag"]
        row["lost"] = put - (row["items"] - doubled) - row["lapped"] - row["left"]
    return row


def _behind(row: dict[str, Any], slots: int) -> str | None:
    """Return in what a reader did not keep up; None if it did."""
    name = row["name"]
    if row["state"] != "ended":
        return f"{name} {row['state']} after {count(row['items'], 'item')}"
    if row["lapped"]:
        share = 100 * row["lapped"] / max(1, row["lapped"] + row["items"])
        return f"{name} lost {count(row['lapped'], 'item')} ({share:.0f} %)"
    if row["left"]:
        return f"{name} left {count(row['left'], 'item')} in the ring"
    if row["lag_max"] >= slots:
        return f"{name} was a whole ring behind"
    return None


def _problems(
    outcome: Outcome, writers: list[dict[str, Any]], readers: list[dict[str, Any]], put: int
) -> list[str]:
    """Return what should not have been, whatever the load: a sentence for each."""
    told = [
        f"{row['name']} {row['state']}"
        for row in writers + readers
        if row["state"].startswith(("failed", "did not"))
    ]
    for row in readers:
        for key, what in (
            ("torn", "torn"),
            ("doubled", "twice"),
            ("out_of_order", "out of order"),
        ):
            if row[key]:
                told.append(f"{row['name']} got {count(row[key], 'item')} {what}")
        if row["lost"] > 0:
            lost = count(row["lost"], "item")
            told.append(f"{row['name']} lacks {lost} that nothing accounts for")
        if row["lost"] < 0:
            told.append(f"{row['name']} got {count(-row['lost'], 'item')} more than were put")
        if row["lapped"] and outcome.plan.policy == "block":
            told.append(f"{row['name']} was lapped, which its policy rules out")
    if all(row["state"] == "ended" for row in writers):
        wrote = sum(row["items"] for row in writers)
        if any(course.ended for course in outcome.of("reader")) and wrote != put:
            told.append(f"writers put {wrote:,} items, the stream says {put:,}")
    return told
