"""Random mutations of segments, before they are attached to and between the calls on them.

    python -m tests.hostile --mutations 1000000 --seed 7 --reports docs/reports

Whatever is written into a segment, a process that uses it gets errors or results: no signal, no
hang, no memory beyond bounds, and another queue works as before. Says its seed and shows how far it
is on a terminal. What it finds is told with the trial's number: `--seed 7 --only NUMBER` repeats
that one and shows its steps. The exit status is 0 if nothing was found.
"""

import argparse
import json
import secrets
import sys
import time

from tests import evidence
from tests.hostile.crew import Crew


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.hostile", description=__doc__)
    parser.add_argument("--mutations", type=int, default=1_000_000, help="how many trials")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", type=int, help="repeat the trial of this number, and no other")
    parser.add_argument("--workers", type=int, default=3)
    parser.add_argument("--reports", help="folder to keep the figures in")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)
    crew = Crew(seed, options.mutations, options.workers)
    if options.only is not None:
        return _repeat(crew, options.only)
    begun = time.monotonic()

    def tell(done, findings):
        if sys.stdout.isatty():
            rate = done / max(0.001, time.monotonic() - begun)
            line = f"{done:,} of {options.mutations:,} trials, {rate:,.0f}/s, {findings} findings"
            print(f"\r{line} ", end="", flush=True)

    account = crew.run(tell)
    account["seconds"] = round(time.monotonic() - begun, 1)
    print("\r" + ", ".join(f"{name} {value}" for name, value in account.items()))
    for finding in crew.findings:
        print(f"--seed {seed} --only {finding['trial']}: {json.dumps(finding)}", file=sys.stderr)
    figures = {f"mutation_{name}": value for name, value in account.items()}
    evidence.report("mutations", {**figures, "mutation_seed": seed}, options.reports)
    return 1 if crew.findings else 0


def _repeat(crew, trial):
    found = crew.replay(trial)
    for step in found["story"]:
        print(step if isinstance(step, str) else f"  at {step[0]}: {step[1]}")
    print(f"trial {trial}: {found['replayed']}")
    return found["replayed"] not in ("refused", "noticed", "unnoticed", "waited")


if __name__ == "__main__":
    sys.exit(main())
