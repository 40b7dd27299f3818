"""The command line: ``python -m shmqueue demo``, ``doctor``, ``load`` and ``run``."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

from .load.options import ABOUT, add_options, plans_of

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

_DOCTOR = """\
List the queues of this machine: what is in them, which processes have them, who of those is dead,
and what the dead still hold. Looking changes nothing. Exit status 1 if a named queue has a problem.
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
    doctor = commands.add_parser(
        "doctor", help="list queues, and clear up after the dead", description=_DOCTOR
    )
    doctor.add_argument("name", nargs="?", help="only this queue (default: all)")
    doctor.add_argument("--run-id", default="", metavar="ID", help="its run_id")
    doctor.add_argument(
        "--fix",
        action="store_true",
        help="free what the dead hold; remove damaged segments that no process has",
    )
    doctor.add_argument(
        "--remove-orphans",
        action="store_true",
        help="remove the queues that no process is attached to, with the items in them",
    )
    doctor.add_argument("--json", action="store_true", help="print JSON")
    add_options(
        commands.add_parser(
            "load", help="put a load on a stream, and give an account of it", description=ABOUT
        )
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
    if options.command == "doctor":
        from .checkup import check_up, path_of

        try:
            path = None if options.name is None else path_of(options.name, options.run_id)
        except ValueError as error:
            parser.error(f"doctor: {error}")
        return check_up(
            path,
            repairs=options.fix,
            removes_orphans=options.remove_orphans,
            as_json=options.json,
        )
    # Only here: --help should not wait for them.
    if options.command == "load":
        from .load import show as load

        try:
            plans = plans_of(options)
        except ValueError as error:
            parser.error(f"load: {error}")
        if missing := load.needs(options.plot):
            parser.error(f"load: {missing}")
        return load.show(plans, options.json, options.plot)
    from .demo.show import show

    return show(options.workers, options.files)


if __name__ == "__main__":
    sys.exit(main())
