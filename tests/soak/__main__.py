"""Soak: random sizes, forks, kept and dropped arrays, reservations and kills, for minutes.

    python -m tests.soak --seconds 600 --seed 7 --report docs/soak.md

Says its seed, shows how far it is on a terminal, and ends with an account: every item whole and in
order, all blocks free, memory flat. The exit status is 0 if all of that holds.
"""

import argparse
import json
import secrets
import sys
from pathlib import Path

from tests.soak.report import as_markdown, as_text, machine
from tests.soak.storm import SoakError, soak


def main():
    parser = argparse.ArgumentParser(prog="python -m tests.soak", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--report", type=Path, help="write the account: a .md or a .json file")
    options = parser.parse_args()
    seed = secrets.randbits(32) if options.seed is None else options.seed
    print(f"seed {seed}", flush=True)

    def tell(line):
        if sys.stdout.isatty():
            print(f"\r{line}", end="", flush=True)

    try:
        account = soak(options.seconds, seed, tell)
    except SoakError as error:
        print(f"\nfailed with seed {seed}: {error}", file=sys.stderr)
        return 1
    account |= machine()
    print("\r" + as_text(account))
    if options.report:
        text = json.dumps(account, indent=2) if options.report.suffix == ".json" else None
        options.report.write_text((text or as_markdown(account)).rstrip("\n") + "\n")
    for problem in account["problems"]:
        print(f"failed with seed {seed}: {problem}", file=sys.stderr)
    return 1 if account["problems"] else 0


if __name__ == "__main__":
    sys.exit(main())
