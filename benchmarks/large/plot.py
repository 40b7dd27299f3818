"""The picture: throughput over item size, both logarithmic, with the limit of one memcpy."""

from matplotlib.figure import Figure

from benchmarks.lines import BLUE, GREEN, GREY, PURPLE, VERMILION, Line, draw_lines
from benchmarks.plot import FAINT, INK, NAMES, subtitle
from benchmarks.targets import OURS

_LIMIT = "memcpy"
_NAMES = {**NAMES, _LIMIT: "limit: one memcpy"}
_STYLES = {
    OURS: (BLUE, "o"),
    "pyzmq": (VERMILION, "s"),
    "hyperq-bytes": (GREEN, "^"),
    "mp-queue": (PURPLE, "D"),
    _LIMIT: (GREY, None),
}
_UNITS = ((2**20, "MiB"), (2**10, "KiB"), (1, "B"))


def draw(results, path):
    """Write the plot as PNG.

    Raises
    ------
    ValueError
        If the sweep was not measured.
    """
    found = {peer: _points(results, peer) for peer in results.peers if peer in _STYLES}
    lines = [
        Line(_NAMES[peer], *_STYLES[peer], points, peer == OURS, peer == _LIMIT)
        for peer, points in found.items()
        if points
    ]
    if not lines:
        raise ValueError("there is no sweep in these results")
    figure = Figure(figsize=(10.5, 6.6), facecolor="white")
    axes = figure.add_axes((0.085, 0.095, 0.745, 0.755))
    draw_lines(axes, lines, _size_text, "B/s", "size of an item")
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


def _size_text(size):
    for unit, name in _UNITS:
        if size >= unit:
            return f"{size / unit:g} {name}"
    return f"{size:g}"
