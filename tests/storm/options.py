"""What both storms are asked for on the command line, over queues and over streams."""

import argparse
import secrets


def parsed(program, description):
    """Return the options, with a seed in any case; it is said."""
    parser = argparse.ArgumentParser(
        prog=f"python -m {program}",
        description=description,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--kills", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--from", type=int, default=0, dest="first", metavar="KILL")
    parser.add_argument("--reports", metavar="FOLDER", help="keep the figures there")
    options = parser.parse_args()
    if options.seed is None:
        options.seed = secrets.randbits(32)
    print(f"seed {options.seed}", flush=True)
    return options
