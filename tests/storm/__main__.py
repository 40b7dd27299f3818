"""The kill storm, at length: thousands of deaths, with an account of every item.

    python -m tests.storm --kills 10000 --seed 7 --reports docs/reports

It comes in rounds, over a named, a bounded and an unbounded queue in turn; each has an account of
its own. `--from` begins with the round that a kill is in, as a run with the same seed came to it.
Says its seed, shows how far it is on a terminal, and ends with the account of all rounds. The exit
status is 0 if nothing was found.
"""

import sys
import time

from tests import evidence
from tests.storm import queues
from tests.storm.figures import as_text, figures
from tests.storm.options import parsed
from tests.storm.storm import rage

ROUND_KILLS = 250


def main():
    options = parsed("tests.storm", __doc__)
    seed = options.seed

    rounds = []
    begun = time.monotonic()
    for number in range(options.first // ROUND_KILLS, -(-options.kills // ROUND_KILLS)):
        queue = list(queues.KINDS)[number % len(queues.KINDS)]
        first = number * ROUND_KILLS
        kills = min(ROUND_KILLS, options.kills - first)
        told = rage(queue, kills, f"{seed}-{number}", _teller(rounds, first, options, begun))
        rounds.append(told)
        for finding in told.findings:
            print(
                f"\nfound in round {number}, to be repeated by --seed {seed} --from {first}"
                f" --kills {first + kills}: {finding}",
                file=sys.stderr,
            )
    found = figures(rounds, seed)
    print(("\r" if sys.stdout.isatty() else "") + as_text(found))
    if options.reports:
        evidence.report("storm", found, options.reports)
    return 1 if found["findings"] or not rounds else 0


def _teller(rounds, first, options, begun):
    """Return what shows, on a terminal, how far the storm is."""

    def tell(storm, seen):
        kills = first + storm.deaths.total()
        received = sum(each.items_received for each in rounds) + storm.ledger.total_received()
        takeovers = sum(each.takeovers for each in rounds) + seen["takeovers"]
        stalls = [stall for each in rounds for stall in each.stalls] + storm.stalls
        print(
            f"\r{kills:6,} of {options.kills:,} kills  {time.monotonic() - begun:5.0f} s"
            f"  {received:11,} items  {takeovers:5,} takeovers"
            f"  longest stall {1e3 * max(stalls, default=0):4.0f} ms",
            end="",
            flush=True,
        )

    return tell if sys.stdout.isatty() else lambda storm, seen: None


if __name__ == "__main__":
    sys.exit(main())
