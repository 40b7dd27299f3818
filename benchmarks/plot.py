"""The picture: one panel for each case, bars on a logarithmic scale, the best on top."""

import math

from matplotlib.figure import Figure

from benchmarks.stats import number, value_text
from benchmarks.targets import OURS

NAMES = {
    "shmqueue": "shmqueue",
    "hyperq-bytes": "hyperq (bytes)",
    "hyperq": "hyperq",
    "zeroq": "zeroq",
    "pyzmq": "pyzmq ipc",
    "faster-fifo": "faster-fifo",
    "mp-simplequeue": "mp.SimpleQueue",
    "mp-queue": "mp.Queue",
}
_TITLES = {
    "local": "put + get in one process",
    "spsc": "1 producer → 1 consumer",
    "batch": "1 → 1, batches of 100",
    "mpmc": "{producers} → {consumers} processes",
    "pingpong": "ping-pong, round trip",
    "wake": "wake after 10 ms of sleep",
    "idle": "CPU while blocked {idle_s:g} s",
}
_PAYLOADS = {
    "bytes8": "8 bytes",
    "int": "int",
    "str": "str",
    "dict": "small dict",
    "object": "small class",
}
_SECTIONS = (
    ("Items per second, higher is better", ("local", "spsc", "batch", "mpmc"), True),
    ("Time, lower is better", ("pingpong", "wake", "idle"), False),
)

_COLUMNS = 3
_BAR_IN = 0.25
_LABEL_SHARE = 0.42  # of a panel's width, behind the longest bar
_OURS, _THEIRS, _FASTER, _FAILED = "#1f6feb", "#b8c0cc", "#e8833a", "#c62828"
INK, FAINT, _FASTER_TEXT = "#1f2328", "#6b7280", "#b45309"


def draw(results, path):
    """Write the plot as PNG."""
    sections = []
    for title, scenarios, shares_scale in _SECTIONS:
        cases = [c for c in results.cases if c["scenario"] in scenarios and _bars(results, c)]
        rows = [cases[i : i + _COLUMNS] for i in range(0, len(cases), _COLUMNS)]
        if rows:
            sections.append((title, rows, cases, shares_scale))
    if not sections:
        raise ValueError("there is nothing to draw in these results")

    # All heights in inches, from the top: heading, then for each section its title and its rows.
    width, heading, section_gap, panel_head, footer = 13.5, 0.95, 0.62, 0.62, 0.62
    heights = [
        [max(len(_bars(results, c)) for c in row) * _BAR_IN for row in rows]
        for _, rows, _, _ in sections
    ]
    total = heading + footer + sum(section_gap + sum(h + panel_head for h in hs) for hs in heights)
    figure = Figure(figsize=(width, total), facecolor="white")
    left, gap, label_room = 0.2, 0.2, 1.35
    panel = (width - 2 * left - (_COLUMNS - 1) * gap) / _COLUMNS

    def text(x, y, words, **style):
        figure.text(x / width, 1 - y / total, words, va="top", **style)

    title = "shmqueue and other queues between processes"
    text(left, 0.2, title, size=17, weight="bold", color=INK)
    text(left, 0.58, subtitle(results, results.data["plan"]["rounds"]), size=10.5, color=FAINT)
    y = heading
    for (title, rows, cases, shares_scale), row_heights in zip(sections, heights, strict=True):
        text(left, y + 0.12, title, size=13, weight="bold", color=INK)
        y += section_gap
        for row, height in zip(rows, row_heights, strict=True):
            for column, case in enumerate(row):
                x = left + column * (panel + gap)
                text(x, y - 0.06, _title(results, case), size=11.5, weight="bold", color=INK)
                bars = _bars(results, case)
                own = len(bars) * _BAR_IN
                top = y + 0.22
                axes = figure.add_axes(
                    (
                        (x + label_room) / width,
                        1 - (top + own) / total,
                        (panel - label_room) / width,
                        own / total,
                    )
                )
                # Rates share one scale, so that panels can be compared; times differ too much.
                _draw_panel(axes, results, case, bars, cases if shares_scale else [case])
            y += height + panel_head
    text(left, total - 0.42, _legend(), size=10, color=FAINT)
    figure.savefig(path, dpi=120, facecolor="white")


def _bars(results, case):
    """(peer, spread or None) of all that ran, best first, failures last."""
    ran, failed = [], []
    for peer in results.peers:
        spread = results.spread(case["key"], peer)
        if spread:
            ran.append((peer, spread))
        elif results.failures(case["key"], peer):
            failed.append((peer, None))
    ran.sort(key=lambda bar: bar[1].median, reverse=case["higher_is_better"])
    return ran + failed


def _draw_panel(axes, results, case, bars, scale_cases):
    low, high = _limits(results, scale_cases)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(len(bars) - 0.5, -0.5)
    for position, (peer, spread) in enumerate(bars):
        if spread is None:
            state = "hang" if "hang" in results.failures(case["key"], peer) else "error"
            axes.text(low, position, f" {state}", va="center", size=9.5, color=_FAILED)
            continue
        ratio = results.ratio(case["key"], peer) if peer != OURS else None
        faster = ratio is not None and ratio.median < 1
        colour = _OURS if peer == OURS else _FASTER if faster else _THEIRS
        axes.barh(position, spread.median - low, left=low, height=0.72, color=colour)
        axes.plot((spread.low, spread.high), (position,) * 2, color=INK, lw=0.8, alpha=0.55)
        weight = "bold" if peer == OURS or faster else "normal"
        axes.annotate(
            value_text(case, spread.median),
            (max(spread.median, spread.high), position),
            xytext=(5, 0),
            textcoords="offset points",
            va="center",
            size=9.5,
            color=INK,
            weight=weight,
        )
        if ratio:
            axes.annotate(
                f"{number(ratio.median)}x",
                (1, position),
                xycoords=("axes fraction", "data"),
                ha="right",
                va="center",
                size=9.5,
                color=_FASTER_TEXT if faster else FAINT,
                weight=weight,
            )
    axes.set_yticks(range(len(bars)), [NAMES[peer] for peer, _ in bars], size=10, color=INK)
    for tick, (peer, _) in zip(axes.get_yticklabels(), bars, strict=True):
        tick.set_weight("bold" if peer == OURS else "normal")
    axes.tick_params(axis="y", length=0, pad=4)
    axes.xaxis.set_visible(False)
    for side in ("top", "right", "bottom"):
        axes.spines[side].set_visible(False)
    axes.spines["left"].set_color("#d0d7de")


def _limits(results, cases):
    """Where the axis begins, a little below the smallest value, and ends, with room for labels."""
    spreads = [s for case in cases for _, s in _bars(results, case) if s]
    if not spreads:
        return 0.1, 1
    low, high = min(s.low for s in spreads) / 2, max(s.high for s in spreads)
    decades = max(math.log10(high / low), 1.0)
    return low, high * 10 ** (_LABEL_SHARE / (1 - _LABEL_SHARE) * decades)


def _title(results, case):
    text = _TITLES[case["scenario"]].format(**case, idle_s=results.data["plan"]["idle_s"])
    if case["scenario"] in ("local", "spsc", "batch", "mpmc"):
        return f"{text}: {_PAYLOADS[case['payload']]}"
    return text


def subtitle(results, rounds):
    """Where and with which versions this was measured."""
    data = results.data
    machine = data["machine"]
    versions = ", ".join(f"{name} {v}" for name, v in data["versions"].items() if v)
    return (
        f"{machine['cpu']}{' (virtual)' if machine['virtual'] else ''}, {machine['cores']} cores, "
        f"{machine['python']}, median of {rounds} interleaved rounds; {versions}"
    )


def _legend():
    return (
        "Logarithmic scale, the same for all rates; Nx = how many times faster shmqueue is (median "
        "of the rounds' ratios); "
        "orange: faster than shmqueue; thin line: lowest to highest round.\n"
        "A queue that cannot carry the items or the topology is left out of the panel."
    )
