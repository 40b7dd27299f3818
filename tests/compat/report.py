"""``python -m tests.compat.report OUTCOME...``: from the outcomes of a full run, docs/compat.md.

The outcomes are what ``python -m tests.compat --json`` writes, one file for each Python.
"""

import argparse
import itertools
import json
import sys
import types
from pathlib import Path

from tests.compat import pointing, selection

_HEAD = """\
# CPython's own tests against shmqueue

`make compat` takes CPython's tests from each interpreter's `test` package, points them at our
queues and runs them under each start method. Under *context* the tests' `multiprocessing` makes
queues as `shmqueue.get_context()` does, under *install* `shmqueue.install()` was called, and
*direct* has our classes in the place of `queue.Queue` and `queue.SimpleQueue`. A test that passes
without making one of our queues counts as failed, and so does one that hangs or leaves a process
behind.

This file is written by `make compat`; the table of what is left out stands in
`tests/compat/selection.py`.
"""


def load(paths):
    """Return the outcomes, oldest Python first, with attributes in place of keys."""
    outcomes = [
        json.loads(Path(path).read_text(), object_hook=lambda d: types.SimpleNamespace(**d))
        for path in paths
    ]
    return sorted(outcomes, key=lambda o: [int(part) for part in o.python.split(".")])


def _count(run, outcome):
    return sum(test.outcome == outcome for test in vars(run.tests).values())


def unmatched(outcomes):
    """Return the entries of the table of left-out tests that are of no test anywhere."""
    runs = [run for outcome in outcomes for run in outcome.runs]
    return [
        entry
        for entry in selection.LEFT_OUT
        if not any(entry.applies(run, name) for run in runs for name in run.left_out)
    ]


def incomplete(outcomes):
    """Return what a full run has and these have not, in words."""
    missing = []
    for outcome in outcomes:
        if not outcome.whole:
            missing.append(f"{outcome.python}: run of all tests, on our queues as they are")
        have = {(run.group, run.face, run.method) for run in outcome.runs}
        for group, faces in selection.FACES.items():
            wanted = itertools.product([group], faces, pointing.METHODS)
            missing += [
                f"{outcome.python}: {' '.join(want)}" for want in wanted if want not in have
            ]
    return missing


def _row(*cells):
    return f"| {' | '.join(cells)} |"


def _counts(outcomes):
    yield _row("tests", "start method", *(outcome.python for outcome in outcomes))
    yield _row(*["---"] * (2 + len(outcomes)))
    by_label = {}
    for outcome in outcomes:
        for run in outcome.runs:
            by_label.setdefault((run.group, run.face, run.method), {})[outcome.python] = run
    for (group, face, method), runs in by_label.items():
        cells = [_cell(runs.get(outcome.python)) for outcome in outcomes]
        yield _row(f"{group}, {face}", method, *cells)
    totals = []
    for outcome in outcomes:
        passed, failed = (
            sum(_count(run, what) for run in outcome.runs) for what in ("passed", "failed")
        )
        totals.append(f"**{passed} passed**" + (f", {failed} failed" if failed else ""))
    yield _row("**all**", "", *totals)


def _cell(run):
    if run is None or run.missing:
        return "not installed"
    counts = {outcome: _count(run, outcome) for outcome in ("passed", "failed", "skipped")}
    parts = [f"{count} {outcome}" for outcome, count in counts.items() if count]
    if run.left_out:
        parts.append(f"{len(run.left_out)} left out")
    return ", ".join(parts) + (" (borrowed)" if run.borrowed_from else "")


def _borrowed(outcomes):
    for outcome in outcomes:
        for group in selection.FACES:
            run = next((run for run in outcome.runs if run.group == group), None)
            if run and run.borrowed_from:
                yield (
                    f"This {outcome.python} was installed without `{pointing.MODULES[group]}`; the"
                    f" tests of {run.borrowed_from} were run on it."
                )


def left_out_table():
    """Return the lines of the table of what is left out, from the code alone."""
    yield _row("tests", "test", "why it is left out")
    yield _row("---", "---", "---")
    for entry in selection.LEFT_OUT:
        where = entry.group + (f" ({', '.join(entry.faces)} only)" if entry.faces else "")
        yield _row(where, f"`{entry.test}`", entry.reason)


def _skipped(outcomes):
    yield _row("tests", "test", "its own reason", "where")
    yield _row("---", "---", "---", "---")
    where = {}
    for outcome in outcomes:
        for run in outcome.runs:
            for name, test in vars(run.tests).items():
                if test.outcome == "skipped":
                    reason = test.detail.replace("|", "\\|").split("\n")[0]
                    key = (run.group, name, reason)
                    pythons, methods = where.setdefault(key, (set(), set()))
                    pythons.add(".".join(outcome.python.split(".")[:2]))
                    methods.add(run.method)
    for (group, name, reason), (pythons, methods) in sorted(where.items()):
        versions = ", ".join(sorted(pythons, key=lambda v: int(v.split(".")[1])))
        place = f"{versions}; {', '.join(m for m in pointing.METHODS if m in methods)}"
        yield _row(group, f"`{name}`", reason, place)


def render(outcomes):
    """Return the page."""
    sections = [
        [_HEAD.rstrip()],
        ["## Counts of the last full run", "", *_counts(outcomes)],
        list(_borrowed(outcomes)),
        ["## Left out", "", *left_out_table()],
        ["## Skipped by CPython itself", "", *_skipped(outcomes)],
    ]
    return "\n\n".join("\n".join(lines) for lines in sections if lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("outcomes", nargs="+", type=Path)
    parser.add_argument("--markdown", type=Path, help="write the page here")
    arguments = parser.parse_args()
    absent = [path for path in arguments.outcomes if not path.exists()]
    for path in absent:
        print(f"there is no {path}: nothing was run", file=sys.stderr)
    outcomes = load(path for path in arguments.outcomes if path not in absent)
    for outcome in outcomes:
        words = ("passed", "failed", "skipped")
        counts = (f"{sum(_count(run, w) for run in outcome.runs)} {w}" for w in words)
        print(f"Python {outcome.python}: {', '.join(counts)}")
    gaps = incomplete(outcomes)
    stale = []
    if gaps or absent:
        print("not a full run, so no page is written; there was no", *gaps, *absent, sep="\n  ")
    else:
        stale = unmatched(outcomes)
        for entry in stale:
            print(f"left out, but no such test: {entry.group} {entry.test}", file=sys.stderr)
        if arguments.markdown:
            arguments.markdown.write_text(render(outcomes))
    failed = any(_count(run, "failed") for outcome in outcomes for run in outcome.runs)
    return bool(absent or stale or failed)


if __name__ == "__main__":
    sys.exit(main())
