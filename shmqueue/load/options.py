"""How a run is asked for on the command line."""

from __future__ import annotations

import argparse
import dataclasses

from .plan import MOST_READERS, POLICIES, SCENARIOS, Plan

__all__ = ["ABOUT", "add_options", "plans_of"]

ALL = "all"

ABOUT = """\
Put a load on a stream: writers put numbered items into one ring in shared memory, and every reader,
a program of its own with a group of its own, sees every item where it lies. At the end an account:
who wrote and read how much and how fast, what was lost, torn, doubled or out of order. Exit status
1 if something was that should not be. A scenario sets the numbers; other options change them.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a run.

    Parameters
    ----------
    parser : argparse.ArgumentParser
        The parser of the command.
    """
    named = "; ".join(f"{name}: {plan.about}" for name, plan in SCENARIOS.items())
    usual = next(iter(SCENARIOS))
    parser.add_argument(
        "--scenario",
        choices=[*SCENARIOS, ALL],
        default=usual,
        metavar="NAME",
        help=f"{named}; {ALL}: one after the other (default: {usual})",
    )
    numbers = parser.add_argument_group("numbers, instead of the scenario's own")
    for option, kind, told in (
        ("--slot-bytes", int, "size of each item"),
        ("--slots", int, "items that the ring holds, at least 2"),
        ("--duration-seconds", float, "how long writers write (default: 10)"),
        ("--writes-per-second", float, "of each writer; 0: as many as it can"),
        ("--writers", int, "programs that write"),
        ("--readers", int, f"programs that read, at most {MOST_READERS}"),
        ("--reader-burn-cpu-milliseconds", float, "CPU time that a reader spends on each item"),
    ):
        numbers.add_argument(option, type=kind, metavar="N", help=told)
    parser.add_argument(
        "--policy",
        choices=POLICIES,
        help="writers wait for slow readers (block, the default), or those lose the oldest (lag)",
    )
    parser.add_argument(
        "--verify",
        action=argparse.BooleanOptionalAction,
        help="a checksum over each item, checked by each reader (default: yes)",
    )
    parser.add_argument("--run-id", metavar="ID", help="run_id of the stream, for doctor")
    parser.add_argument("--plot", metavar="FILE", help="draw rates, latencies and lags over time")
    parser.add_argument("--json", action="store_true", help="print the account as JSON")
    parser.add_argument("--debug", action="store_true", default=None, help="tell every sample")


def plans_of(options: argparse.Namespace) -> list[Plan]:
    """Return the runs that were asked for.

    Parameters
    ----------
    options : argparse.Namespace
        What was given of the options of `add_options`.

    Returns
    -------
    list of Plan

    Raises
    ------
    ValueError
        If one of them cannot be run.
    """
    chosen = SCENARIOS.values() if options.scenario == ALL else [SCENARIOS[options.scenario]]
    given = {
        field.name: value
        for field in dataclasses.fields(Plan)
        if (value := getattr(options, field.name, None)) is not None and field.name != "scenario"
    }
    plans = [dataclasses.replace(plan, **given) for plan in chosen]
    for plan in plans:
        plan.check()
    return plans
