"""The runs in their order, with what is shown of them, and the exit status."""

from __future__ import annotations

import json
import os
import platform
import sys
from pathlib import Path
from typing import Any

from ..doctor import count
from ..programs import sigterm_unwinds
from ..terminal import Screen
from .account import account
from .course import Outcome
from .crew import LoadError, run
from .live import Live
from .payload import np
from .plan import Plan
from .tables import summary, tell

__all__ = ["needs", "show"]

# From so many on for each processor, those that wanted to run lately say that it is no quiet place.
BUSY = 0.5
EXTRA = 'pip install "shmqueue-ipc[load]"'


def needs(plot: str | None) -> str | None:
    """Return what is not there that a run needs, and how to get it; None if all is.

    Parameters
    ----------
    plot : str or None
        Where a plot will go.
    """
    if np is None:
        return f"numpy is not installed, whose arrays are what travels: {EXTRA}"
    if plot is None:
        return None
    try:
        from . import plot as drawing
    except ImportError:
        return f"matplotlib is not installed, which --plot needs: {EXTRA}"
    return drawing.cannot_write(plot)


def show(plans: list[Plan], as_json: bool, plot: str | None) -> int:
    """Run plans one after the other.

    Parameters
    ----------
    plans : list of Plan
        Plans that were checked.
    as_json : bool
        Whether the account is printed as JSON, and nothing else on the standard output.
    plot : str or None
        Where the plot goes.

    Returns
    -------
    int
        Exit status: 0, or 1 when an account did not come out right, 130 after Ctrl-C.
    """
    screen = Screen(sys.stderr if as_json else sys.stdout)
    outcomes: list[Outcome] = []
    accounts: list[dict[str, Any]] = []
    machine = _machine()
    if machine["load_average_before"] > BUSY * machine["processors"] and not as_json:
        screen.say(
            f"The machine is busy with something else: load {machine['load_average_before']:.1f}"
            f" on {count(machine['processors'], 'processor')}.\n"
        )
    with sigterm_unwinds():
        try:
            for plan in plans:
                if not as_json:
                    _announce(screen, plan)
                outcome = run(plan, Live(screen, quiet=as_json))
                screen.wipe()
                outcomes.append(outcome)
                accounts.append(account(outcome))
                if not as_json:
                    tell(screen, accounts[-1])
                    screen.say()
                if outcome.interrupted:
                    break
        except LoadError as error:
            screen.wipe()
            print(f"The run failed: {error}", file=sys.stderr)
            return 1
        except KeyboardInterrupt:
            screen.wipe()
            print("Interrupted; programs ended, the stream removed.", file=sys.stderr)
            return 130
    if as_json:
        print(json.dumps(machine | {"runs": accounts}, indent=2))
    elif len(accounts) > 1:
        summary(screen, accounts)
    if plot is not None:
        from .plot import draw

        draw(list(zip(outcomes, accounts, strict=True)), Path(plot))
        if not as_json:
            screen.say(f"  Plot: {plot}")
    if any(told["problems"] for told in accounts):
        return 1
    return 130 if outcomes[-1].interrupted else 0


def _machine() -> dict[str, Any]:
    """Return what the figures depend on, beside the plan."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()}",
        "processors": os.cpu_count() or 1,
        "load_average_before": os.getloadavg()[0],
    }


def _announce(screen: Screen, plan: Plan) -> None:
    rate = f"{plan.writes_per_second:g}/s each" if plan.is_paced else "as fast as they can"
    burn = plan.reader_burn_cpu_milliseconds
    slow = {"block": "writers wait for slow readers", "lag": "slow readers lose the oldest"}
    screen.say(
        f"{screen.paint(plan.scenario, 'bold')}: {plan.about}\n"
        f"  {plan.slot_bytes:,} bytes an item, {plan.slots} slots; writers: {plan.writers}, {rate};"
        f" readers: {plan.readers}"
        + (f", {burn:g} ms of CPU an item" if burn else "")
        + f";\n  {plan.duration_seconds:g} s; {slow[plan.policy]};"
        f" checksums {'checked by every reader' if plan.verify else 'off'}"
    )
