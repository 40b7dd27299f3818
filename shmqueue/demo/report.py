"""The check at the end of the demo, and its table."""

from __future__ import annotations

from typing import Any

from ..terminal import Screen, table
from .counting import Totals, add_up
from .parent import Outcome

__all__ = ["check"]


def check(screen: Screen, serial: dict[str, dict[str, Any]], outcome: Outcome) -> bool:
    """Compare what a run counted with the serial computation, and print both.

    Parameters
    ----------
    screen : Screen
        Where the table goes.
    serial : dict
        The result of each file, by path.
    outcome : Outcome
        The run.

    Returns
    -------
    bool
        Whether every count is the serial one, apart from at most one file for each killed worker.
    """
    paths = [result["path"] for result in outcome.results]
    missing = sorted(set(serial) - set(paths))
    expected = add_up(serial[path] for path in serial if path not in missing)
    found = add_up(outcome.results)
    whole = add_up(serial.values()) if missing else expected
    rows = [
        _row(screen, title, key, whole, expected, found)
        for title, key in [
            ("files", "files"),
            ("lines", "lines"),
            ("tokens", "tokens"),
            ("tokens of each kind", "kinds"),
            ("each name's occurrences", "names"),
            ("lines of each length", "widths"),
            ("refused by tokenize", "errors"),
        ]
    ]
    table(screen, ["counted", "serial", "without missing", "through queue", "check"], rows)
    screen.say()
    for pid in outcome.killed:
        held = ", ".join(missing) or "nothing: its last answer had just left"
        screen.say(f"  Worker {pid}, which was killed, held {screen.paint(held, 'yellow')}.")
    good = (
        found == expected
        and len(set(paths)) == len(paths)
        and set(paths) <= set(serial)
        and len(missing) <= len(outcome.killed)
    )
    if good:
        apart = f" apart from {len(missing)} missing file" if missing else ""
        verdict = screen.paint(f"equal to the serial computation{apart}", "green")
        screen.say(f"  Check: {verdict}; no file came twice.")
    else:
        twice = len(paths) - len(set(paths))
        verdict = screen.paint("NOT equal to the serial computation", "red")
        screen.say(f"  Check: {verdict}: {len(missing)} files missing, {twice} came twice.")
    return good


def _row(
    screen: Screen, title: str, key: str, whole: Totals, expected: Totals, found: Totals
) -> list[str]:
    values = [getattr(totals, key) for totals in (whole, expected, found)]
    # Every count is compared; of those of one row the cell shows only how many there are.
    cells = [
        f"{value:,}" if isinstance(value, int) else f"({_occurring(value):,} counts)"
        for value in values
    ]
    return [title, *cells, "equal" if values[1] == values[2] else "DIFFERS"]


def _occurring(counts: Any) -> int:
    return sum(1 for count in (counts.values() if hasattr(counts, "values") else counts) if count)
