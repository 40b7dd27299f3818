"""The command line: ``python -m shmqueue demo`` and ``run``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

__all__ = ["main"]

_DEMO = """\
Put every source file of the running Python's standard library into a named queue, tokenise and
count them in separate programs, kill one of those on the way, and compare all that was counted with
a serial computation, and the time with multiprocessing.Queue.
"""

_RUN = """\
Run a program with the queues of shmqueue in the place of multiprocessing's, also those of its Pools
and ProcessPoolExecutors, and in the processes that it starts.
"""


def _at_least(least: int) -> type[int]:
    """Return a type for argparse: an int that is not below `least`."""

    def number(text: str) -> int:
        value = int(text)
        if value < least:
            raise argparse.ArgumentTypeError(f"must be at least {least}, not {value}")
        return value

    return number  # type: ignore[return-value]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m shmqueue", description="A queue between processes, in shared memory."
    )
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    demo = commands.add_parser("demo", help="show the queue at work", description=_DEMO)
    demo.add_argument(
        "--workers",
        type=_at_least(2),
        default=min(max(3, os.cpu_count() or 1), 8),
        metavar="N",
        help="programs that work at once, at least 2, as one is killed (default here: %(default)s)",
    )
    demo.add_argument(
        "--files",
        type=_at_least(1),
        metavar="N",
        help="take only N of the library's files, spread evenly (default: all of them)",
    )
    run = commands.add_parser(
        "run",
        help="run a program with these queues in the place of multiprocessing's",
        usage="%(prog)s (SCRIPT | -m MODULE) [ARGUMENTS ...]",
        description=_RUN,
    )
    # All that follows belongs to the program.
    run.add_argument("-m", dest="module", nargs=argparse.REMAINDER, help="run a module")
    run.add_argument(
        "script", nargs=argparse.REMAINDER, help="a file, or a folder or archive to run"
    )
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command.

    Parameters
    ----------
    arguments : sequence of str, optional
        The command line without the program's name; by default that of the process.

    Returns
    -------
    int
        Exit status.
    """
    parser = _parser()
    options = parser.parse_args(arguments)
    if options.command == "run":
        from .run import run_module, run_script

        if options.module:
            return run_module(options.module[0], options.module[1:])
        if options.script:
            return run_script(options.script[0], options.script[1:])
        parser.error("run: name a script, or -m and a module")
    # Only here: --help should not wait for it.
    from .demo.show import show

    return show(options.workers, options.files)


if __name__ == "__main__":
    sys.exit(main())
