"""Explore the protocol further than the tests do, or follow one schedule.

    python -m tests.explored --reports docs/reports --minutes 10
    python -m tests.explored --only full --kills 2 --preemptions 3
    python -m tests.explored --replay SCENARIO "0*7,k0,1,t1"
    python -m tests.explored --twin no-takeover --replay takeover "0*4,1*4"
    python -m tests.explored --list

The exit status is 0 if nothing was found. Nothing here is random: a seed has no effect.
"""

import argparse
import concurrent.futures
import os
import sys
import time

from tests import evidence
from tests.explored.build import BuildError, build
from tests.explored.exploring import explore, replay, story, summary
from tests.explored.runs import FULL, FURTHER, LONGEST, _run
from tests.explored.twins import TWINS


def line(account):
    """Tell of a run in a line."""
    bound = "all" if account["preemptions"] < 0 else f"{account['preemptions']} preemptions"
    kind = ", weak memory" * account["weak"] + ", every access" * account["every_access"]
    return (
        f"{account['scenario']}: {bound}, {account['kills']} kills, {account['expiries']} early"
        f" ends of sleeps{kind}: {account['states']:,} states, {account['schedules']:,} schedules,"
        f" {account['seconds']:.1f} s" + ("" if account["complete"] else ", cut short")
    )


def explore_all(runs, seconds, whole):
    """Explore on all cores; yields each run with its account.

    Those of `whole`, which come first, to their ends; the others share what is left of the time.
    What a run does not need of its share goes to those after it.
    """
    ends, cores = time.monotonic() + seconds, os.cpu_count()
    left = iter(range(len(runs) - len(whole), 0, -1))

    def explore_one(run):
        if run in whole:
            return explore(run)
        share = (ends - time.monotonic()) * cores / next(left)
        return explore(run, seconds=max(1, int(share)))

    for changes in {run.changes for run in runs}:
        build(changes)
    with concurrent.futures.ThreadPoolExecutor(cores) as pool:
        futures = {pool.submit(explore_one, run): run for run in runs}
        for number, future in enumerate(concurrent.futures.as_completed(futures), 1):
            if sys.stdout.isatty():
                print(f"\r{number} of {len(runs)} runs", end="", flush=True)
            yield futures[future], future.result()


def follow(options):
    """Follow a schedule; returns the exit status."""
    scenario, schedule = options.replay
    run = _run(
        scenario, kills=options.kills or 0, expiries=options.expiries or 0, weak=options.weak
    )
    if options.twin:
        run = TWINS[options.twin].run._replace(
            scenario=scenario, kills=run.kills, expiries=run.expiries
        )
    account = replay(run._replace(kills=max(run.kills, schedule.count("k"))), schedule)
    print("\n".join(account["trace"]))
    print(account["violation"] or "nothing is wrong")
    return 1 if account["violation"] else 0


def main():
    parser = argparse.ArgumentParser(
        prog="python -m tests.explored",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--reports", help="keep the figures in this folder")
    parser.add_argument("--minutes", type=float, default=10, help="about how long")
    parser.add_argument("--seed", type=int, default=0, help=argparse.SUPPRESS)
    parser.add_argument("--only", metavar="SCENARIO", help="this one, within the bounds given")
    parser.add_argument("--kills", type=int)
    parser.add_argument("--expiries", type=int)
    parser.add_argument("--preemptions", type=int)
    parser.add_argument("--weak", action="store_true", help="stores arrive late")
    parser.add_argument("--every-access", action="store_true", help="with no accesses left out")
    parser.add_argument("--twin", choices=sorted(TWINS), help="of a broken twin")
    parser.add_argument("--replay", nargs=2, metavar=("SCENARIO", "SCHEDULE"))
    parser.add_argument("--list", action="store_true", help="say which scenarios there are")
    options = parser.parse_args()
    print(f"seed {options.seed}: nothing here is random", flush=True)
    try:
        if options.list:
            os.execv(build(), ["explored", "--list"])
        if options.replay:
            return follow(options)
        return further(options)
    except BuildError as error:
        print(error, file=sys.stderr)
        return 2


def further(options):
    """Explore, and report; returns the exit status."""
    whole = {*LONGEST, *FULL}
    runs = list(dict.fromkeys([*LONGEST, *FULL, *FURTHER]))
    if options.only:
        whole = set()
        bounds = {"weak": options.weak, "every_access": options.every_access}
        if options.preemptions is not None:
            bounds["preemptions"] = options.preemptions
        runs = [
            _run(options.only, kills=options.kills or 0, expiries=options.expiries or 0, **bounds)
        ]
    if options.twin:
        whole = set()
        runs = [run._replace(changes=TWINS[options.twin].run.changes) for run in runs]
    began = time.monotonic()
    seconds = options.minutes * 60
    accounts, problems = [], []
    for run, account in explore_all(runs, seconds, whole):
        accounts.append(account)
        print(("\r" if sys.stdout.isatty() else "") + line(account), flush=True)
        if account["violation"]:
            problems.append(story(run, account, options.twin))
    figures = summary(accounts) | {
        "cut_short": sum(not account["complete"] for account in accounts),
        "seconds": round(time.monotonic() - began),
    }
    evidence.report("explore", figures, options.reports)
    told = [key for key in figures if not isinstance(figures[key], str)]
    print(", ".join(f"{key.replace('_', ' ')} {figures[key]:,}" for key in told))
    for problem in problems:
        print(problem, file=sys.stderr)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
