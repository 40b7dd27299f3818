"""The picture: throughput over item size, both logarithmic, with the limit of one memcpy."""

import math

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.plot import FAINT, INK, NAMES, subtitle
from benchmarks.targets import OURS

_LIMIT, _LIMIT_NAME = "memcpy", "limit: one memcpy"
# Colours of Okabe and Ito, told apart by the colour-blind too; each line has its marker besides.
_STYLES = {
    OURS: ("#0072b2", "o"),
    "pyzmq": ("#d55e00", "s"),
    "hyperq-bytes": ("#009e73", "^"),
    "mp-queue": ("#cc79a7", "D"),
    _LIMIT: ("#6b7280", None),
}
_LEAST_GAP = 0.055
"""Between two labels, as a share of the height."""

_UNITS = ((2**20, "MiB"), (2**10, "KiB"), (1, "B"))
_RATES = ((1e9, "GB/s"), (1e6, "MB/s"), (1e3, "kB/s"), (1, "B/s"))


def draw(results, path):
    """Write the plot as PNG.

    Raises
    ------
    ValueError
        If the sweep was not measured.
    """
    lines = {peer: _points(results, peer) for peer in results.peers if peer in _STYLES}
    lines = {peer: points for peer, points in lines.items() if points}
    if not lines:
        raise ValueError("there is no sweep in these results")
    figure = Figure(figsize=(10.5, 6.6), facecolor="white")
    axes = figure.add_axes((0.085, 0.095, 0.745, 0.755))
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    for peer, points in lines.items():
        _draw_line(axes, peer, points)
    _limit_axes(axes, lines)
    _label(axes, lines)
    title = "Arrays from one process to another: bytes a second over item size"
    figure.text(0.02, 0.965, title, size=15, weight="bold", color=INK, va="top")
    rounds = max(len(results.rounds(c["key"], p)) for c in _sweep(results) for p in c["peers"])
    note, _, versions = subtitle(results, rounds).partition("; ")
    figure.text(
        0.02,
        0.922,
        f"{note}; {versions}\nshaded: lowest to highest round",
        size=8.5,
        color=FAINT,
        va="top",
    )
    figure.savefig(path, dpi=130, facecolor="white")


def _sweep(results):
    return [case for case in results.cases if case["scenario"] == "sweep"]


def _points(results, peer):
    """(item size, median, lowest, highest), in bytes a second."""
    found = []
    for case in _sweep(results):
        spread, size = results.spread(case["key"], peer), case["item_bytes"]
        if spread:
            found.append((size, spread.median * size, spread.low * size, spread.high * size))
    return found


def _draw_line(axes, peer, points):
    colour, marker = _STYLES[peer]
    sizes, medians, lows, highs = zip(*points, strict=True)
    width = 2.6 if peer == OURS else 1.7
    dashes = (0, (5, 3)) if peer == _LIMIT else "solid"
    axes.fill_between(sizes, lows, highs, color=colour, alpha=0.12, linewidth=0)
    axes.plot(sizes, medians, color=colour, marker=marker, ms=5.5, lw=width, ls=dashes, zorder=3)


def _limit_axes(axes, lines):
    points = [point for line in lines.values() for point in line]
    sizes = sorted({point[0] for point in points})
    low, high = min(point[2] for point in points), max(point[3] for point in points)
    axes.set_xlim(sizes[0] / 1.6, sizes[-1] * 1.6)
    axes.set_ylim(low / 1.5, high * 1.6)
    axes.set_xticks(sizes, [_in_units(size, _UNITS) for size in sizes])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _in_units(value, _RATES)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(color="#e5e7eb", lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9.5, labelcolor=INK)
    axes.set_xlabel("size of an item", size=10, color=FAINT)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#d0d7de")


def _label(axes, lines):
    """Name each line at its right end, moved up where two would overlap."""
    low, high = map(math.log10, axes.get_ylim())
    lowest = -1.0
    for peer, points in sorted(lines.items(), key=lambda line: line[1][-1][1]):
        height = (math.log10(points[-1][1]) - low) / (high - low)
        lowest = max(height, lowest + _LEAST_GAP)
        axes.annotate(
            _LIMIT_NAME if peer == _LIMIT else NAMES[peer],
            (1.012, lowest),
            xycoords="axes fraction",
            va="center",
            size=10.5,
            color=_STYLES[peer][0],
            weight="bold" if peer == OURS else "normal",
            annotation_clip=False,
        )


def _in_units(value, units):
    for size, name in units:
        if value >= size:
            return f"{value / size:g} {name}"
    return f"{value:g}"
