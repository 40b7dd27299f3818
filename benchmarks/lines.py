"""Lines over two logarithmic scales: each with its range, and with its name at its right end."""

import math
from dataclasses import dataclass

from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from benchmarks.plot import FAINT, INK

# Colours of Okabe and Ito, told apart by the colour-blind too; each line has its marker besides.
BLUE, VERMILION, GREEN, PURPLE = "#0072b2", "#d55e00", "#009e73", "#cc79a7"
GREY = "#6b7280"
_LEAST_GAP = 0.055
"""Between two names, as a share of the height."""

_MARGIN = math.log2(1.6) / 20
"""Beside the outermost places, as a share of the doublings between them."""

_RATES = ((1e9, "G"), (1e6, "M"), (1e3, "k"), (1, ""))


@dataclass(frozen=True)
class Line:
    """`points` are (place, median, lowest, highest); ours is bold, a limit is dashed."""

    name: str
    colour: str
    marker: str | None
    points: list
    is_ours: bool = False
    is_limit: bool = False


def draw_lines(axes, lines, place_text, rate_unit, places):
    """Draw the lines and their axes.

    `place_text` makes the words at a place, `places` says what these are; rates have `rate_unit`.
    """
    axes.set_xscale("log", base=2)
    axes.set_yscale("log")
    for line in lines:
        _draw_line(axes, line)
    _limit_axes(axes, lines, place_text, rate_unit)
    axes.set_xlabel(places, size=10, color=FAINT)
    _label(axes, lines)


def _rate_text(value, unit):
    for size, prefix in _RATES:
        if value >= size:
            return f"{value / size:g} {prefix}{unit}"
    return f"{value:g}"


def _draw_line(axes, line):
    places, medians, lows, highs = zip(*line.points, strict=True)
    width = 2.6 if line.is_ours else 1.7
    dashes = (0, (5, 3)) if line.is_limit else "solid"
    colour = line.colour
    axes.fill_between(places, lows, highs, color=colour, alpha=0.12, linewidth=0)
    axes.plot(
        places, medians, color=colour, marker=line.marker, ms=5.5, lw=width, ls=dashes, zorder=3
    )


def _limit_axes(axes, lines, place_text, rate_unit):
    points = [point for line in lines for point in line.points]
    places = sorted({point[0] for point in points})
    low, high = min(point[2] for point in points), max(point[3] for point in points)
    margin = 2 ** (math.log2(places[-1] / places[0]) * _MARGIN)
    axes.set_xlim(places[0] / margin, places[-1] * margin)
    axes.set_ylim(low / 1.5, high * 1.6)
    axes.set_xticks(places, [place_text(place) for place in places])
    axes.xaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_major_locator(LogLocator(numticks=12))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: _rate_text(value, rate_unit)))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.grid(color="#e5e7eb", lw=0.8)
    axes.set_axisbelow(True)
    axes.tick_params(length=0, labelsize=9.5, labelcolor=INK)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color("#d0d7de")


def _label(axes, lines):
    """Name each line at its right end, moved up where two would overlap."""
    low, high = map(math.log10, axes.get_ylim())
    lowest = -1.0
    for line in sorted(lines, key=lambda line: line.points[-1][1]):
        height = (math.log10(line.points[-1][1]) - low) / (high - low)
        lowest = max(height, lowest + _LEAST_GAP)
        axes.annotate(
            line.name,
            (1.012, lowest),
            xycoords="axes fraction",
            va="center",
            size=10.5,
            color=line.colour,
            weight="bold" if line.is_ours else "normal",
            annotation_clip=False,
        )
