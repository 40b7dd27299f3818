"""The picture: throughput at each reader over the number of readers, all logarithmic."""

from matplotlib.figure import Figure

from benchmarks.lines import BLUE, GREEN, PURPLE, VERMILION, Line, draw_lines
from benchmarks.plot import FAINT, INK, subtitle
from benchmarks.targets import OURS

_LINES = {
    "shmqueue-chunks": ("ours, get_batch", GREEN, "^"),
    OURS: ("ours, get", BLUE, "o"),
    "pyzmq": ("zmq PUB/SUB", VERMILION, "s"),
    "lock-ring": ("one lock", PURPLE, "D"),
}
_PANELS = (
    ("readers", "1 KiB of bytes, items a second", 0.07),
    ("arrays", "arrays of 1 MiB, items a second", 0.56),
)


def draw(results, path):
    """Write the plot as PNG.

    Raises
    ------
    ValueError
        If the number of readers was not varied in these results.
    """
    figure = Figure(figsize=(11.5, 5.4), facecolor="white")
    rounds = []
    for scenario, title, left in _PANELS:
        lines = _lines(results, scenario)
        if not lines:
            continue
        rounds.append(max(len(results.rounds(*each)) for each in _measured(results, scenario)))
        axes = figure.add_axes((left, 0.105, 0.335, 0.645))
        draw_lines(axes, lines, str, "/s", "readers")
        axes.set_title(title, size=11.5, weight="bold", color=INK, loc="left", pad=10)
    if not rounds:
        raise ValueError("there is nothing over the number of readers in these results")
    title = "One producer, every reader gets every item: throughput at each reader"
    figure.text(0.018, 0.965, title, size=15, weight="bold", color=INK, va="top")
    note, _, versions = subtitle(results, _in_order(rounds)).partition("; ")
    figure.text(
        0.018,
        0.91,
        f"{note}; {versions}\nshaded: lowest to highest round; one lock: the ring buffer with one"
        " multiprocessing lock around each read and write",
        size=8.5,
        color=FAINT,
        va="top",
    )
    figure.savefig(path, dpi=130, facecolor="white")


def _in_order(rounds):
    """How many rounds stand behind the panels, from left to right."""
    return " and ".join(map(str, dict.fromkeys(rounds)))


def _cases(results, scenario):
    return [case for case in results.cases if case["scenario"] == scenario]


def _measured(results, scenario):
    return [(case["key"], peer) for case in _cases(results, scenario) for peer in case["peers"]]


def _lines(results, scenario):
    found = []
    for peer, (name, colour, marker) in _LINES.items():
        points = []
        for case in _cases(results, scenario):
            spread = results.spread(case["key"], peer)
            if spread:
                points.append((case["consumers"], spread.median, spread.low, spread.high))
        if points:
            found.append(Line(name, colour, marker, points, peer == OURS))
    return found
