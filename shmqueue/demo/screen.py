"""Where the demo is shown: colours and a line that is rewritten, only on a terminal."""

from __future__ import annotations

import os
import shutil
import time
from collections import deque
from typing import Any, TextIO

from .. import SharedMemoryQueue

__all__ = ["LiveLine", "Screen"]

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


class LiveLine:
    """One line about a run, out of the metrics of its queues.

    On a terminal it is rewritten many times a second; elsewhere it is printed now and then.

    Parameters
    ----------
    screen : Screen
        Where it is shown.
    total : int
        How many answers there will be.
    tasks, results : SharedMemoryQueue
        The queues.
    pids : list of int
        The workers, in the order in which they are shown.
    """

    # Rates are of the last while, so that they fall when something falls.
    WINDOW = 1.5

    def __init__(
        self,
        screen: Screen,
        total: int,
        tasks: SharedMemoryQueue,
        results: SharedMemoryQueue,
        pids: list[int],
    ) -> None:
        self._screen = screen
        self._total = total
        self._tasks = tasks
        self._results = results
        self._pids = pids
        self._every = 0.08 if screen.terminal else 2.0
        self._last = time.monotonic()
        self._seen: deque[tuple[float, int, dict[int, int]]] = deque()
        self._sampled = 0.0
        self._dead: set[int] = set()

    def __call__(self, answers: int) -> None:
        """Show the line if it is time to.

        Parameters
        ----------
        answers : int
            How many have come.
        """
        now = time.monotonic()
        if now - self._sampled < 0.08:
            return
        self._sampled = now
        tasks = self._tasks.get_metrics()
        got = {seat["pid"]: seat["items_got"] for seat in tasks["seats"] if seat["alive"]}
        # A worker that ends leaves its seat; one that is killed lies dead in it, or another took
        # the seat over by now.
        self._dead |= {seat["pid"] for seat in tasks["seats"] if not seat["alive"]}
        self._seen.append((now, answers, got))
        while now - self._seen[0][0] > self.WINDOW:
            self._seen.popleft()
        if now - self._last < self._every:
            return
        self._last = now
        line = self._line(answers, tasks, self._results.get_metrics())
        if self._screen.terminal:
            self._screen.flash(line)
        else:
            self._screen.say(line)

    def _line(self, answers: int, tasks: dict[str, Any], results: dict[str, Any]) -> str:
        then, answers_then, got_then = self._seen[0]
        now, _, got = self._seen[-1]
        span = max(now - then, 1e-9)
        workers = []
        for number, pid in enumerate(self._pids, 1):
            if pid in got:
                rate = f"{(got[pid] - got_then.get(pid, got[pid])) / span:4.0f}/s"
            else:
                rate = "killed" if pid in self._dead else "  done"
            workers.append(f"w{number} {rate}")
        bar = self._screen.bar(answers / self._total, 12)
        return (
            f"  {bar} {answers:4d}/{self._total}"
            f"  tasks {tasks['queue_size']:2d}/{tasks['queue_capacity']}"
            f"  results {results['queue_size']:d}/{results['queue_capacity']}"
            f"  {(answers - answers_then) / span:4.0f} files/s: " + "  ".join(workers)
        )
