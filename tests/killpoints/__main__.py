"""Kill one at every instruction, or also the one who takes over from it; account for it.

Run by `make killpoints` and `make double-faults`; see tests/killpoints/doubles.py for these. Exits
with 1 if anything was found.
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
        "--singles",
        action="store_true",
        help="kill one only, in each operation from each state",
    )
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
        help="so many kills in each operation, or of the second over each image, evenly spread"
        " (default: all)",
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
    settings = {"seed": seed, "trials": asked.trials, "singles": asked.singles}
    record = Record(asked.resume, settings)
    with tempfile.TemporaryDirectory() as folder:
        built = program.build(folder)
        whole = singles(built) if asked.singles else doubles.COMBINATIONS
        print(f"seed {seed}: {len(whole)} combinations", flush=True)
        try:
            go_through(built, asked, seed, whole, record)
        except program.NotPermitted as reason:
            sys.exit(f"cannot be shown here: {reason}")
    outcomes = record.outcomes()
    figures = single_sums(outcomes) if asked.singles else doubles.add_up(outcomes)
    if asked.trials:
        name = "kills_in_each_operation" if asked.singles else "kills_over_each_image"
        figures["at_most_so_many_" + name] = asked.trials
    if sys.stdout.isatty():
        print()
    for outcome in outcomes:
        if outcome.findings:
            print(outcome)
    for name, value in figures.items():
        print(f"{name.replace('_', ' ')}: {value:,}")
    evidence.report("instructions" if asked.singles else "double-faults", figures, asked.reports)
    return any(outcome.findings for outcome in outcomes)


def singles(built):
    """Return each (geometry, state, operation)."""
    points = program.start_points(built)
    return [(geometry, state, name) for geometry, state, names in points for name in names]


def single_sums(outcomes):
    """Return the sums over all runs, and how many findings there are."""
    return {
        "operations_from_states": len(outcomes),
        **{
            name: sum(outcome.figures.get(name, 0) for outcome in outcomes)
            for name in ("trials", "kills", "in_calls", "asleep", "off_path")
        },
        "findings": sum(len(outcome.findings) for outcome in outcomes),
    }


def go_through(built, asked, seed, whole, record):
    """Run all combinations that are not recorded yet, as many at a time as there are cores."""
    left = [names for names in whole if names not in record.done]
    random.Random(seed).shuffle(left)
    options = {"every": "instruction"} if asked.singles else {}
    cores = sorted(os.sched_getaffinity(0))
    begun = time.monotonic()
    with ThreadPoolExecutor(len(cores)) as pool:
        try:
            runs = {
                pool.submit(
                    program.run,
                    *(built, "run" if asked.singles else "double", *names),
                    cpu=cores[number % len(cores)],
                    trials=asked.trials,
                    offset=(seed + number) % 1000,
                    **options,
                ): names
                for number, names in enumerate(left)
            }
            for run in as_completed(runs):
                record.add(runs[run], run.result())
                show(record, len(whole), time.monotonic() - begun)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def show(record, whole, seconds):
    """Say how far it is, where somebody looks."""
    if sys.stdout.isatty():
        kills = sum(line["figures"].get("kills", 0) for line in record.done.values())
        print(
            f"\r{len(record.done)} of {whole} combinations, {kills:,} kills, {seconds:.0f} s ",
            end="",
            flush=True,
        )


if __name__ == "__main__":
    sys.exit(main())
