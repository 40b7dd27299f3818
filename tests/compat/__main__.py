"""``python -m tests.compat``: run CPython's tests against our queues in this interpreter."""

import argparse
import concurrent.futures
import dataclasses
import json
import platform
import sys
import textwrap
from pathlib import Path

from tests.compat import pointing, selection, supervise

# Of what is known about a failure; --json has all of it.
SHOWN_LINES = 16


def _arguments():
    parser = argparse.ArgumentParser(prog="python -m tests.compat", description=__doc__)
    parser.add_argument("--method", action="append", choices=pointing.METHODS, default=[])
    parser.add_argument("--group", action="append", choices=list(selection.FACES), default=[])
    parser.add_argument("--face", action="append", choices=("context", "install", "direct"))
    parser.add_argument("--only", action="append", default=[], metavar="PATTERN", help="of names")
    parser.add_argument("--limit", type=float, default=supervise.LIMIT_SECONDS, help="s per test")
    parser.add_argument("--jobs", type=int, default=1, help="workers at a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all outcomes there")
    parser.add_argument(
        "--lender",
        action="append",
        default=[],
        metavar="PYTHON",
        help="an older interpreter to borrow tests from, if this one was installed without them",
    )
    parser.add_argument("--subject", choices=("shmqueue", "stdlib"), default="shmqueue")
    parser.add_argument("--sabotage", choices=list(pointing.FAULTS), default="")
    parser.add_argument("--everything", action="store_true", help="also what is left out")
    return parser.parse_args()


def plan(arguments):
    """Return a set-up for each worker."""
    setups = []
    for method in arguments.method or pointing.METHODS:
        for group, faces in selection.FACES.items():
            if arguments.group and group not in arguments.group:
                continue
            for face in faces:
                if arguments.face and face not in arguments.face:
                    continue
                setups.append(
                    pointing.Setup(group, face, method, arguments.subject, arguments.sabotage)
                )
    return setups


def summary(run):
    """Return a line about a run, and below it what failed."""
    if run.missing:
        return f"{run.label}: not run, {run.missing}"
    counts = ", ".join(
        f"{len(run.names(outcome))} {outcome}" for outcome in ("passed", "skipped", "failed")
    )
    text = f"{run.label}: {counts}, {len(run.left_out)} left out ({run.seconds:.0f} s)"
    if run.borrowed_from:
        text += f" [tests of {run.borrowed_from}]"
    for test in run.names("failed"):
        lines = run.tests[test]["detail"].splitlines()
        if len(lines) > SHOWN_LINES:
            lines[1 : 1 - SHOWN_LINES] = ["..."]
        detail = textwrap.indent("\n".join(lines), "      ")
        text += f"\n  FAILED {test}\n{detail}"
    return text


def main():
    arguments = _arguments()

    def one(setup):
        run = supervise.run(
            setup,
            lenders=arguments.lender,
            only=arguments.only,
            limit=arguments.limit,
            everything=arguments.everything,
        )
        print(summary(run), flush=True)
        return run

    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        runs = list(pool.map(one, plan(arguments)))
    if arguments.json:
        arguments.json.parent.mkdir(parents=True, exist_ok=True)
        outcome = {
            "python": platform.python_version(),
            # Of a group that was run: all its tests, on our queues as they are.
            "whole": not (arguments.only or arguments.everything or arguments.sabotage)
            and arguments.subject == "shmqueue",
            "runs": [dataclasses.asdict(run) for run in runs],
        }
        arguments.json.write_text(json.dumps(outcome, indent=1))
    return any(run.names("failed") for run in runs)


if __name__ == "__main__":
    sys.exit(main())
