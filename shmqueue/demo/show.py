"""The acts of the demo in their order, from reading the library to the last table."""

from __future__ import annotations

import platform
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

from ..programs import sigterm_unwinds
from ..terminal import Screen, duration, table
from .carriers import Carrier, MultiprocessingCarrier, SharedMemoryCarrier
from .corpus import read_sources
from .counting import count, np
from .live import LiveLine
from .parent import ROUNDS, Accident, DemoError, Outcome, compare_transport, run
from .report import check

__all__ = ["show"]

# About how many files the undisturbed runs take, so that there is time for some rounds of them.
SAMPLE = 350

Sources = list[tuple[str, str]]
Results = dict[str, dict[str, Any]]


def show(workers: int, files: int | None) -> int:
    """Run the demo on the standard output.

    Parameters
    ----------
    workers : int
        How many work at once; one of them is killed, so at least 2.
    files : int or None
        Take only so many of the library's files.

    Returns
    -------
    int
        Exit status: 0 when the check came out right, 1 when not, 130 after Ctrl-C.
    """
    screen = Screen(sys.stdout)
    with sigterm_unwinds():
        try:
            return _Demo(screen, workers, read_sources(files)).play()
        except DemoError as error:
            screen.say(f"The demo failed: {error}")
            return 1
        except KeyboardInterrupt:
            screen.say("Interrupted; workers ended, queues unlinked.")
            return 130


class _Demo:
    def __init__(self, screen: Screen, workers: int, sources: Sources) -> None:
        self._screen = screen
        self._workers = workers
        self._sources = sources
        # How long each file took without any queue.
        self._seconds: dict[str, float] = {}
        self._bytes = sum(len(text.encode("utf-8", "surrogatepass")) for _, text in sources)

    def play(self) -> int:
        say = self._screen.say
        say(
            f"{self._screen.paint('shmqueue', 'bold')} at its main job: Python"
            f" {platform.python_version()}'s standard library,"
            f" {len(self._sources):,} files, {self._bytes / 1e6:.1f} MB of source"
        )
        self._act("Serial", "one process tokenises and counts, without any queue")
        serial = self._serial()
        say(f"  {duration(sum(self._seconds.values()))}")
        self._act(
            "Through the queue, with an accident",
            f"{self._workers} separate programs, connected by name",
        )
        outcome = self._accident()
        good = self._say_accident(outcome, serial)
        sample = self._sources[:: max(1, len(self._sources) // SAMPLE)]
        self._act(
            "The same work, undisturbed",
            f"{len(sample):,} of the {len(self._sources):,} files, over both kinds of queue",
        )
        good = self._compare_work(sample, serial) and good
        self._act("Transport alone", "one putter, one getter, an item a call, nothing tokenised")
        self._transport()
        return 0 if good else 1

    def _act(self, title: str, told: str) -> None:
        self._screen.say()
        self._screen.say(f"{self._screen.paint(title, 'bold')}: {told}")

    def _progress(self, title: str, total: int) -> Callable[[int], None]:
        shown = 0.0

        def watch(answers: int) -> None:
            nonlocal shown
            if self._screen.terminal and time.monotonic() - shown > 0.1:
                shown = time.monotonic()
                bar = self._screen.bar(answers / total, 12)
                self._screen.flash(f"  {bar} {answers:4d}/{total}  {title}")

        return watch

    def _serial(self) -> Results:
        watch = self._progress("one process, no queue", len(self._sources))
        results = {}
        for number, (path, source) in enumerate(self._sources):
            began = time.perf_counter()
            results[path] = count(path, source)
            self._seconds[path] = time.perf_counter() - began
            watch(number)
        return results

    def _accident(self) -> Outcome:
        with SharedMemoryCarrier() as carrier:
            pids = [carrier.start("tokenise") for _ in range(self._workers)]
            named = ", ".join(f"w{number} is {pid}" for number, pid in enumerate(pids, 1))
            self._screen.say(f"  {carrier.tasks.segment_name}, {carrier.results.segment_name}")
            self._screen.say(f"  {named}; w1 will be killed after a third of the answers")
            arrays = "a list" if np is None else "a numpy array"
            self._screen.say(f"  each answers a file with a dict of counts, {arrays} in it")
            total = len(self._sources)
            live = LiveLine(self._screen, total, carrier.tasks, carrier.results, pids)
            accident = _ToldAccident(self._screen, carrier, pids[0], total // 3)
            outcome = run(carrier, self._sources, pids, live, accident)
            tasks, results = carrier.tasks.get_metrics(), carrier.results.get_metrics()
        self._screen.say(
            f"  {duration(outcome.seconds)} and nothing hung; waiting at most:"
            f" {tasks['high_water_mark']} tasks, {results['high_water_mark']} results;"
            f" ends of queues taken over from the dead: {tasks['takeovers'] + results['takeovers']}"
        )
        self._screen.say()
        return outcome

    def _say_accident(self, outcome: Outcome, serial: Results) -> bool:
        good = check(self._screen, serial, outcome)
        if not outcome.killed:
            self._screen.say("  No worker was killed: w1 held no file after a third of the work.")
        return good

    def _compare_work(self, sample: Sources, serial: Results) -> bool:
        good = True
        kinds: list[Callable[[], Carrier]] = [SharedMemoryCarrier, MultiprocessingCarrier]
        seconds: dict[str, list[float]] = {
            "serial, no queue": [sum(self._seconds[path] for path, _ in sample)]
        }
        for number in range(1, ROUNDS + 1):
            for kind in kinds:
                with kind() as carrier:
                    watch = self._progress(f"{carrier.title}, round {number}", len(sample))
                    pids = [carrier.start("tokenise") for _ in range(self._workers)]
                    outcome = run(carrier, sample, pids, watch)
                title = f"{carrier.title}, {self._workers} workers"
                seconds.setdefault(title, []).append(outcome.seconds)
                if not self._same(sample, serial, outcome):
                    self._screen.say(f"  {title}: {self._screen.paint('results DIFFER', 'red')}")
                    good = False
        medians = {title: statistics.median(times) for title, times in seconds.items()}
        self._say_work(medians, len(sample))
        if good:
            verdict = self._screen.paint("equal to the serial computation", "green")
            self._screen.say(f"  Check: the results of every round are {verdict}.")
        return good

    @staticmethod
    def _same(sample: Sources, serial: Results, outcome: Outcome) -> bool:
        paths = sorted(result["path"] for result in outcome.results)
        if paths != sorted(path for path, _ in sample):
            return False
        for result in outcome.results:
            expected = serial[result["path"]]
            if list(result["widths"]) != list(expected["widths"]) or any(
                result[key] != expected[key] for key in ("kinds", "names", "error")
            ):
                return False
        return True

    def _say_work(self, seconds: dict[str, float], files: int) -> None:
        serial = next(iter(seconds.values()))
        rows = [
            [title, duration(taken), f"{files / taken:,.0f}", f"{serial / taken:.2f}x"]
            for title, taken in seconds.items()
        ]
        table(self._screen, ["tokenise and count", "time", "files/s", "speed"], rows)
        self._screen.say(
            f"  Queues: medians of {ROUNDS} interleaved rounds, from the first put, all waiting."
            "\n  Serial: timed once, above, for the same files; speed is relative to it."
            "\n  Nearly all of it is tokenising, which hides the queues; hence the next table."
        )

    def _transport(self) -> None:
        paths = [(path,) for path, _ in self._sources]
        sizes = sum(len(path.encode("utf-8", "surrogatepass")) for (path,) in paths)
        few, many = 6, 20
        rows = []
        cases: list[tuple[str, Sequence[tuple[str, ...]], int]] = [
            (f"path and source, {few} times", self._sources * few, (self._bytes + sizes) * few),
            (f"path alone, {many} times", paths * many, sizes * many),
        ]
        for title, items, size in cases:
            self._screen.flash(f"  {title}")
            seconds = compare_transport(items)
            slowest = seconds[MultiprocessingCarrier.title]
            rows += [
                [
                    f"{title}: {carrier}",
                    duration(taken),
                    f"{len(items) / taken:,.0f}",
                    f"{size / taken / 1e6:,.1f}",
                    f"{slowest / taken:.1f}x",
                ]
                for carrier, taken in seconds.items()
            ]
        table(self._screen, ["carried", "time", "items/s", "MB/s", "speed"], rows)
        self._screen.say(
            f"  Medians of {ROUNDS} interleaved rounds; speed relative to multiprocessing.Queue."
            "\n  Check: as many items and characters arrived as were sent, in every round."
        )


class _ToldAccident(Accident):
    """Tells of itself on the screen."""

    def __init__(self, screen: Screen, carrier: SharedMemoryCarrier, pid: int, after: int) -> None:
        super().__init__(carrier, pid, after)
        self._screen = screen

    def happens(self, answers: int) -> bool:
        dead = super().happens(answers)
        if dead:
            told = f"SIGKILL to w1 (process {self.pid}) after {answers} answers, at work on a file"
            self._screen.say(f"  {self._screen.paint(told, 'red')}")
        return dead
