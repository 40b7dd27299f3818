"""Kill one, and then the one who takes over from it, each at every instruction; account for it.

Run by `make double-faults`; see tests/killpoints/doubles.py. Exits with 1 if anything was found.
"""

import argparse
import json
import os
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path

from tests import evidence
from tests.killpoints import doubles, program


def parsed():
    parser = argparse.ArgumentParser(prog="python -m tests.killpoints", description=__doc__)
    parser.add_argument(
        "--seed",
        type=int,
        help="in which order, what the survivors begin with, and whose seat is given first"
        " (default: a random one, which is printed)",
    )
    parser.add_argument(
        "--trials",
        type=int,
        default=0,
        metavar="N",
        help="so many kills of the second over each image, evenly spread (default: all)",
    )
    parser.add_argument(
        "--resume",
        metavar="FILE",
        help="keep there what is done, and don't do again what stands there: of the same seed",
    )
    parser.add_argument("--reports", metavar="FOLDER", help="keep the figures there")
    return parser.parse_args()


class Record:
    """What was done so far, in a file if one is given: a line for each combination."""

    def __init__(self, path, settings):
        self._path = path and Path(path)
        self.done = {}
        if self._path and self._path.is_file():
            first, *lines = map(json.loads, self._path.read_text().splitlines())
            if first != settings:
                sys.exit(f"{path} is of another run: {first}, not {settings}")
            self.done = {tuple(line["names"]): line for line in lines}
        elif self._path:
            self._append(settings)

    def _append(self, line):
        with self._path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    def add(self, names, outcome):
        line = {"names": names, "figures": outcome.figures, "findings": outcome.findings}
        self.done[names] = line
        if self._path:
            self._append(line)

    def outcomes(self):
        return [program.Outcome(line["figures"], line["findings"]) for line in self.done.values()]


def main():
    asked = parsed()
    seed = random.randrange(1 << 32) if asked.seed is None else asked.seed
    settings = {"seed": seed, "trials": asked.trials}
    record = Record(asked.resume, settings)
    combinations = [names for names in doubles.COMBINATIONS if names not in record.done]
    random.Random(seed).shuffle(combinations)
    print(f"seed {seed}: {len(combinations)} combinations of a first and a second", flush=True)
    cores = sorted(os.sched_getaffinity(0))
    begun = time.monotonic()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(len(cores)) as pool:
        try:
            built = program.build(folder)
            runs = {
                pool.submit(
                    program.run,
                    *(built, "double", *names),
                    cpu=cores[number % len(cores)],
                    trials=asked.trials,
                    offset=(seed + number) % 1000,
                ): names
                for number, names in enumerate(combinations)
            }
            for run in as_completed(runs):
                record.add(runs[run], run.result())
                show(record, time.monotonic() - begun)
        except program.NotPermitted as reason:
            sys.exit(f"cannot be shown here: {reason}")
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    figures = doubles.add_up(record.outcomes())
    if sys.stdout.isatty():
        print()
    for outcome in record.outcomes():
        if outcome.findings:
            print(outcome)
    for name, value in figures.items():
        print(f"{name.replace('_', ' ')}: {value:,}")
    evidence.report("killpoints", figures, asked.reports)
    return figures["double_fault_findings"] > 0


def show(record, seconds):
    """Say how far it is, where somebody looks."""
    if sys.stdout.isatty():
        kills = sum(line["figures"].get("kills", 0) for line in record.done.values())
        whole = len(doubles.COMBINATIONS)
        print(
            f"\r{len(record.done)} of {whole} combinations, {kills:,} kills, {seconds:.0f} s ",
            end="",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
