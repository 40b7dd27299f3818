"""The picture of runs over time: what was written and read, how late, and how far behind."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

from ..doctor import count
from .course import Course, Outcome
from .histogram import Histogram

__all__ = ["cannot_write", "draw"]

INK, FAINT, GRID = "#1f2328", "#6b7280", "#e5e8ec"
WRITER = "#e8833a"
# Few readers are told apart by colour, from the fastest to the slowest; many are one cloud.
READERS = ("#1f6feb", "#0f9d8a", "#8250df", "#bf3989", "#57606a", "#9a6700")
CLOUD = "#1f6feb"
# Rates are means over so long.
WINDOW_SECONDS = 1.0

WIDTH, ROW, TOP, BOTTOM, GAP = 14.0, 2.35, 0.62, 0.42, 0.95
LEFT, RIGHT, BETWEEN = 0.75, 0.3, 0.75

Run = tuple[Outcome, dict[str, Any]]
Line = tuple[list[float], list[float]]


def cannot_write(path: str) -> str | None:
    """Return why no plot can be written there; None if one can.

    Parameters
    ----------
    path : str
        Where it will go.
    """
    known = Figure().canvas.get_supported_filetypes()
    kind = Path(path).suffix.lstrip(".").lower()
    if kind not in known:
        return f"--plot {path}: its name must end in one of {', '.join(sorted(known))}"
    if not Path(path).absolute().parent.is_dir():
        return f"--plot {path}: there is no folder {Path(path).absolute().parent}"
    return None


def draw(runs: list[Run], path: Path) -> None:
    """Draw runs, a row for each.

    Parameters
    ----------
    runs : list of (Outcome, dict)
        The runs, and their accounts.
    path : Path
        Where the picture goes.
    """
    height = TOP + len(runs) * (ROW + GAP) + BOTTOM
    figure = Figure(figsize=(WIDTH, height), facecolor="white")
    panel = (WIDTH - LEFT - RIGHT - 2 * BETWEEN) / 3

    def text(x: float, y: float, words: str, **style: Any) -> None:
        figure.text(x / WIDTH, 1 - y / height, words, va="top", **style)

    text(0.2, 0.18, "A load on one stream, over time", size=16, weight="bold", color=INK)
    for number, (outcome, told) in enumerate(runs):
        y = TOP + number * (ROW + GAP)
        text(0.2, y + 0.08, outcome.plan.scenario, size=12.5, weight="bold", color=INK)
        text(2.1, y + 0.115, _subtitle(told), size=10, color=FAINT)
        top = y + 0.72
        for column, paint in enumerate((_rates, _latencies, _lags)):
            box = (LEFT + column * (panel + BETWEEN), height - top - ROW + 0.3, panel, ROW - 0.35)
            axes = figure.add_axes(
                (box[0] / WIDTH, box[1] / height, box[2] / WIDTH, box[3] / height)
            )
            _dress(axes, outcome)
            paint(axes, outcome)
    text(0.2, height - 0.3, _legend(), size=9.5, color=FAINT)
    figure.savefig(path, dpi=120, facecolor="white")


def _subtitle(told: dict[str, Any]) -> str:
    written = sum(row["megabytes_per_second"] for row in told["writers"])
    lapped = sum(row["lapped"] for row in told["readers"])
    rate = f"{told['writes_per_second']:g}/s" if told["writes_per_second"] else "unlimited"
    parts = [
        f"{count(len(told['writers']), 'writer')}, {rate}",
        f"{told['slot_bytes'] / 1e6:,.3g} MB",
        f"{told['slots']} slots",
        count(len(told["readers"]), "reader"),
        told["policy"],
        f"{written:,.0f} MB/s written",
        f"{told['cpu_percent']:.0f} % CPU",
    ]
    if told["blocked_seconds"] >= 0.1:
        parts.append(f"writers waited {told['blocked_seconds']:.1f} s")
    if lapped:
        parts.append(f"{count(lapped, 'item')} lapped")
    return "  ·  ".join(parts)


def _legend() -> str:
    return (
        f"Rates are means over {WINDOW_SECONDS:g} s. Latency is from put to get, the wait for room"
        " in a full ring included: line median, shade up to the 99th percentile."
        " Dashed: the writers' end; dotted: a full ring."
    )


def _dress(axes: Any, outcome: Outcome) -> None:
    axes.set_xlim(0, max(outcome.ended - outcome.began, 1e-3))
    for side in ("top", "right", "left"):
        axes.spines[side].set_visible(False)
    axes.spines["bottom"].set_color("#d0d7de")
    axes.grid(axis="y", color=GRID, lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(labelsize=9, labelcolor=FAINT, color="#d0d7de", length=3)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:g} s")
    axes.xaxis.get_major_locator().set_params(nbins=6)
    axes.axvline(outcome.wrote_until - outcome.began, color=FAINT, lw=1, ls=(0, (4, 3)))


def _title(axes: Any, words: str) -> None:
    axes.set_title(words, loc="left", size=10.5, color=INK, pad=7)


def _is_crowd(courses: list[Course]) -> bool:
    return len(courses) > len(READERS)


def _colours(courses: list[Course]) -> list[str]:
    return [CLOUD] * len(courses) if _is_crowd(courses) else list(READERS[: len(courses)])


def _rates(axes: Any, outcome: Outcome) -> None:
    _title(axes, "items per second")
    writers, readers = outcome.of("writer"), outcome.of("reader")
    crowd = _is_crowd(readers)
    for course, colour in zip(readers, _colours(readers), strict=True):
        style = {"lw": 0.8, "alpha": 0.25} if crowd else {"lw": 1.6}
        axes.plot(*_rate(outcome, [course]), color=colour, label=course.label, **style)
    if len(writers) > 1:
        for course in writers:
            axes.plot(*_rate(outcome, [course]), color=WRITER, lw=0.8, alpha=0.5)
    # Beside few readers below them, to be seen where they are as fast; above a cloud.
    order = 3.0 if crowd else 1.5
    axes.plot(*_rate(outcome, writers), color=WRITER, lw=2.2, zorder=order, label="written")
    axes.set_ylim(0, None)
    axes.set_ylim(0, max(axes.get_ylim()[1] * 1.15, 1))
    _key(axes, crowd, len(readers))


def _key(axes: Any, crowd: bool, readers: int) -> None:
    """Tell in the colours of the lines who they are."""
    lines = [(line.get_label(), line.get_color()) for line in axes.get_lines()]
    named = [(label, colour) for label, colour in lines if not label.startswith("_")]
    if crowd:
        named = [("written", WRITER), (f"each of {readers} readers", CLOUD)]
    else:
        named = [named[-1], *named[:-1]]
    x = 1.0
    for label, colour in reversed(named):
        axes.annotate(
            label,
            (x, 1.02),
            xycoords="axes fraction",
            ha="right",
            va="bottom",
            size=9.5,
            color=colour,
            weight="bold",
        )
        x -= 0.022 * len(label) + 0.025


def _rate(outcome: Outcome, courses: list[Course]) -> Line:
    """Return the items per second of some programs together, as a mean of the last while."""
    ends = [course.samples[-1]["at"] for course in courses if course.samples]
    if not ends:
        return [], []
    step = outcome.plan.sample_seconds
    until = max(ends) - outcome.began
    times = [step * number for number in range(1, int(until / step) + 1)]
    rates = []
    for now in times:
        then = max(0.0, now - WINDOW_SECONDS)
        items = sum(
            _items(course, outcome, now) - _items(course, outcome, then) for course in courses
        )
        rates.append(items / (now - then))
    return times, rates


def _items(course: Course, outcome: Outcome, when: float) -> float:
    """Return how many items a program had passed by then; between two samples in even steps."""
    before, items = 0.0, 0.0
    for sample in course.samples:
        at = sample["at"] - outcome.began
        if at >= when:
            share = (when - before) / (at - before) if at > before else 1.0
            return items + float(sample["items"] - items) * max(share, 0.0)
        before, items = at, float(sample["items"])
    return items


def _latencies(axes: Any, outcome: Outcome) -> None:
    _title(axes, "latency, put to get")
    axes.set_yscale("log")
    readers = outcome.of("reader")
    crowd = _is_crowd(readers)
    groups = [readers] if crowd else [[course] for course in readers]
    low, high = 1.0, 0.0
    for courses, colour in zip(groups, _colours(readers), strict=False):
        times, medians, most = _percentiles(outcome, courses)
        axes.plot(times, medians, color=colour, lw=1.6)
        axes.fill_between(times, medians, most, color=colour, alpha=0.3 if crowd else 0.13, lw=0)
        low, high = min([low, *medians]), max([high, *most])
    if high:
        axes.set_ylim(10 ** math.floor(math.log10(low)), 10 ** math.ceil(math.log10(high * 1.01)))
    axes.yaxis.set_major_formatter(lambda value, _: _time(value))
    axes.yaxis.set_minor_formatter(lambda value, _: "")
    axes.tick_params(axis="y", which="minor", length=0)


def _time(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if seconds >= size * 0.999:
            return f"{seconds / size:.0f} {unit}"
    return f"{seconds * 1e9:.0f} ns"


def _percentiles(
    outcome: Outcome, courses: list[Course]
) -> tuple[list[float], list[float], list[float]]:
    """Return times, medians and 99th percentiles of the latencies of each while."""
    step = max(outcome.plan.sample_seconds, (outcome.ended - outcome.began) / 60)
    of_each: dict[int, Histogram] = {}
    for course in courses:
        for sample in course.samples:
            number = int((sample["at"] - outcome.began) / step)
            of_each.setdefault(number, Histogram()).merge(sample["latencies"])
    times, medians, most = [], [], []
    for number in sorted(of_each):
        median, p99 = of_each[number].percentile(50), of_each[number].percentile(99)
        if median is not None and p99 is not None:
            times.append((number + 0.5) * step)
            medians.append(median)
            most.append(p99)
    return times, medians, most


def _lags(axes: Any, outcome: Outcome) -> None:
    _title(axes, "items behind")
    readers = outcome.of("reader")
    style = {"lw": 0.8, "alpha": 0.3} if _is_crowd(readers) else {"lw": 1.6}
    for course, colour in zip(readers, _colours(readers), strict=True):
        times = [sample["at"] - outcome.began for sample in course.samples]
        axes.plot(times, [sample["lag"] for sample in course.samples], color=colour, **style)
    axes.axhline(outcome.plan.slots, color=FAINT, lw=1.2, ls=(0, (1, 2)))
    axes.set_ylim(0, outcome.plan.slots * 1.12)
    axes.yaxis.get_major_locator().set_params(integer=True)
