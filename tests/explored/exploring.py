"""Runs of the explorer: one scenario, within bounds, and what came of it."""

import json
import subprocess
from typing import NamedTuple

from tests.explored.build import BuildError, build


class Run(NamedTuple):
    """What to explore: `preemptions` of None means all interleavings."""

    scenario: str
    kills: int = 0
    expiries: int = 0
    preemptions: "int | None" = None
    weak: bool = False
    every_access: bool = False
    changes: tuple = ()

    @property
    def name(self):
        parts = [self.scenario, f"k{self.kills}"]
        if self.expiries:
            parts.append(f"t{self.expiries}")
        if self.preemptions is not None:
            parts.append(f"p{self.preemptions}")
        parts += ["weak"] * self.weak + ["every"] * self.every_access
        return "-".join(parts)

    def arguments(self):
        arguments = [self.scenario, "--kills", self.kills, "--expiries", self.expiries]
        if self.preemptions is not None:
            arguments += ["--preemptions", self.preemptions]
        arguments += ["--weak"] * self.weak + ["--every-access"] * self.every_access
        return [str(argument) for argument in arguments]


def explore(run, *, seconds=None, more=(), program=None):
    """Explore; returns the explorer's account: states, steps, violation, schedule and so on."""
    limit = [] if seconds is None else ["--seconds", str(seconds)]
    command = [program or build(run.changes), *run.arguments(), *limit, *more]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = done.stdout.splitlines()
    if done.returncode != 0 or not lines:
        raise BuildError(f"explored {' '.join(run.arguments())}: {done.stderr or done.returncode}")
    account = json.loads(lines[-1])
    account["trace"] = lines[:-1]
    return account


def shortest(run, most_preemptions=6):
    """Explore with more and more preemptions until there is a violation: that is easier to read."""
    for preemptions in range(most_preemptions + 1):
        account = explore(run._replace(preemptions=preemptions))
        if account["violation"]:
            return account
    return explore(run)


def replay(run, schedule):
    """Follow a schedule; the account has the trace, a line for each choice and each access."""
    return explore(run._replace(preemptions=None), more=["--replay", schedule])


def story(run, account, twin=None):
    """Tell of a violation: what is wrong, what happened, and how to see it again."""
    broken = f" --twin {twin}" if twin else ""
    bounds = f" --kills {run.kills} --expiries {run.expiries}" + " --weak" * run.weak
    trace = replay(run, account["schedule"])["trace"]
    return "\n".join(
        [
            f"{run.name}: {account['violation']}",
            *trace,
            "again: python -m tests.explored"
            f'{broken}{bounds} --replay {run.scenario} "{account["schedule"]}"',
        ]
    )


def bounds(account):
    """Tell a run in a word: k is kills, t early ends of sleeps, p preemptions where not all."""
    preemptions = None if account["preemptions"] < 0 else account["preemptions"]
    chosen = {key: account[key] for key in ("scenario", "kills", "expiries", "weak")}
    return Run(**chosen, preemptions=preemptions, every_access=account["every_access"]).name


def summary(accounts):
    """Return the figures of many runs, for the report."""
    whole = [account for account in accounts if account["complete"]]
    exhaustive = [bounds(account) for account in whole if account["preemptions"] < 0]
    bounded = [bounds(account) for account in whole if account["preemptions"] >= 0]
    return {
        "exhaustive_runs": ", ".join(sorted(exhaustive)),
        "bounded_runs": ", ".join(sorted(bounded)),
        "scenarios": len({account["scenario"] for account in accounts}),
        "runs": len(accounts),
        "exhaustive": len(exhaustive),
        "bounded": len(bounded),
        "states": sum(account["states"] for account in accounts),
        "steps": sum(account["steps"] for account in accounts),
        "schedules": sum(account["schedules"] for account in accounts),
        "ends": sum(account["ends"] for account in accounts),
        "kills": sum(account["kills_made"] for account in accounts),
        "longest": max(account["deepest"] for account in accounts),
        "violations": sum(account["violation"] is not None for account in accounts),
    }
