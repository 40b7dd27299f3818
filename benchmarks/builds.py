"""Two builds of shmqueue by turns: ``python -m benchmarks.builds OLDER NEWER``.

Each argument is a folder of the project, built in place by the same Python. What differs by a few
percent is not seen between two runs of a benchmark: so a process of each build stays, both on one
core, and they take turns every few milliseconds. What is counted is their CPU time. The round's
figure is the median of the turns' ratios; the next round has fresh processes, since where things
lie in memory makes a difference as well.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from statistics import median

TURNS = 30
ROUNDS = 7
BATCH = 100

# An item, how often it is put and got in a turn, whether in batches.
CASES = {
    "8-byte bytes": (b"12345678", 20_000, False),
    "int": (7, 20_000, False),
    "dict": ({"a": 1, "b": 2.0, "c": "x", "d": None}, 8_000, False),
    f"int, batches of {BATCH}": (7, 40_000, True),
}


def worker(share):
    """Carry out the cases whose names are read, in this process; tell the nanoseconds an item."""
    from shmqueue import SharedMemoryQueue

    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with SharedMemoryQueue(f"builds{os.getpid()}", create=True, capacity=1000) as queue:
        try:
            for line in sys.stdin:
                item, count, in_batches = CASES[line.strip()]
                count = max(BATCH, int(count * share))
                print(json.dumps(_time_ns(queue, item, count, in_batches)), flush=True)
        finally:
            queue.unlink()


def _time_ns(queue, item, count, in_batches):
    put, get, put_batch, get_batch = queue.put, queue.get, queue.put_batch, queue.get_batch
    items = [item] * BATCH
    start = time.thread_time_ns()
    if in_batches:
        for _ in range(count // BATCH):
            put_batch(items)
            get_batch(BATCH)
    else:
        for _ in range(count):
            put(item)
            get()
    return (time.thread_time_ns() - start) / count


class _Build:
    """A process that uses one of the builds."""

    def __init__(self, folder, share):
        command = [sys.executable, str(Path(__file__).resolve()), "--worker", str(share)]
        self._process = subprocess.Popen(
            command,
            env={**os.environ, "PYTHONPATH": str(folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def time_ns(self, case):
        self._process.stdin.write(f"{case}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def end(self):
        self._process.stdin.close()
        self._process.wait()
        self._process.stdout.close()


def compare(folders, rounds=ROUNDS, turns=TURNS, share=1.0):
    """Return, of each case, the ratios of the rounds: the second build's time by the first's."""
    ratios = {case: [] for case in CASES}
    for _ in range(rounds):
        builds = [_Build(folder, share) for folder in folders]
        try:
            for case, found in ratios.items():
                found.append(median(_turn(builds, case, at) for at in range(-1, turns)))
        finally:
            for build in builds:
                build.end()
    return ratios


def _turn(builds, case, at):
    order = (0, 1) if at % 2 else (1, 0)
    times = {which: builds[which].time_ns(case) for which in order}
    return times[1] / times[0]


def main(arguments=None):
    parser = argparse.ArgumentParser(prog="python -m benchmarks.builds", description=__doc__)
    parser.add_argument("older", type=Path, help="folder of a build")
    parser.add_argument("newer", type=Path, help="folder of the build that is compared with it")
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--names", nargs=2, help="what to call the two in the report")
    parser.add_argument("--reports", metavar="FOLDER", help="keep the figures there")
    asked = parser.parse_args(arguments)
    folders = [asked.older.resolve(), asked.newer.resolve()]
    for folder in folders:
        if not list(folder.glob("shmqueue/_core*.so")):
            parser.error(f"{folder} is not built: make build there")
    figures = dict(zip(("older", "newer"), asked.names or map(str, folders), strict=True))
    for case, found in compare(folders, asked.rounds).items():
        figures[case] = f"{median(found):.3f} ({min(found):.3f} to {max(found):.3f})"
        print(f"{case}: {figures[case]}", flush=True)
    if asked.reports:
        _keep(figures, asked.rounds, asked.reports)


def _keep(figures, rounds, folder):
    # The workers have nothing of the project but the package that they measure.
    from tests import evidence

    evidence.report("cost", {**figures, "rounds": rounds}, folder)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--worker"]:
        worker(float(sys.argv[2]))
    else:
        main()
