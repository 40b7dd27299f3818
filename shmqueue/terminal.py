"""Where programs show themselves: colours and a rewritten line, only on a terminal; tables."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from typing import TextIO

__all__ = ["Screen", "duration", "table"]

_COLOURS = {"bold": "1", "dim": "2", "red": "31", "green": "32", "yellow": "33", "cyan": "36"}
_BLOCKS = " ▏▎▍▌▋▊▉█"


class Screen:
    """A text stream, known to be a terminal or not.

    Parameters
    ----------
    stream : file
        Where everything goes.
    """

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.terminal = stream.isatty() and os.environ.get("TERM") != "dumb"
        self._colour = self.terminal and not os.environ.get("NO_COLOR")
        self._encoding = stream.encoding or "ascii"
        self._fleeting = False

    def paint(self, text: str, colour: str) -> str:
        """Return the text in a colour where there are colours.

        Parameters
        ----------
        text, colour : str
            What, and one of the few that are known.
        """
        return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if self._colour else text

    def say(self, text: str = "") -> None:
        """Print lines that stay.

        Parameters
        ----------
        text : str
            The lines.
        """
        self.wipe()
        self._write(text + "\n")

    def flash(self, text: str) -> None:
        """Show one line until the next comes, on a terminal; it is cut to the terminal's width.

        Parameters
        ----------
        text : str
            The line, without colours.
        """
        if self.terminal:
            width = shutil.get_terminal_size().columns - 1
            self._write("\r" + self.paint(text[:width], "cyan") + "\x1b[K")
            self._fleeting = True

    def wipe(self) -> None:
        """Take the fleeting line away."""
        if self._fleeting:
            self._write("\r\x1b[K")
            self._fleeting = False

    def _write(self, text: str) -> None:
        safe = text.encode(self._encoding, "replace").decode(self._encoding)
        self._stream.write(safe)
        self._stream.flush()

    def bar(self, part: float, width: int) -> str:
        """Return a bar filled to a part of its width.

        Parameters
        ----------
        part : float
            From 0 to 1.
        width : int
            Characters.
        """
        part = min(max(part, 0.0), 1.0)
        if not self._encoding.lower().startswith("utf"):
            return ("#" * round(part * width)).ljust(width, ".")
        eighths = round(part * width * 8)
        full, rest = divmod(eighths, 8)
        return ("█" * full + (_BLOCKS[rest] if rest else "")).ljust(width, "·")


def duration(seconds: float) -> str:
    """Return a time in the unit that suits it.

    Parameters
    ----------
    seconds : float
        The time.
    """
    return f"{seconds:.2f} s" if seconds >= 1 else f"{seconds * 1000:.1f} ms"


def table(screen: Screen, head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Print a table, the first column to the left and the others to the right.

    Parameters
    ----------
    screen : Screen
        Where it goes.
    head : sequence of str
        The titles of the columns.
    rows : sequence of sequence of str
        The cells.
    """
    widths = [max(map(len, column)) for column in zip(head, *rows, strict=True)]

    def line(cells: Sequence[str]) -> str:
        first = cells[0].ljust(widths[0])
        others = [cell.rjust(width) for cell, width in zip(cells[1:], widths[1:], strict=True)]
        return "  " + "   ".join([first, *others])

    screen.say(screen.paint(line(head), "bold"))
    screen.say("  " + screen.paint("-" * (sum(widths) + 3 * (len(widths) - 1)), "dim"))
    for row in rows:
        screen.say(line(row))
