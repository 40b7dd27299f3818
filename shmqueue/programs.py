"""Programs of this package that are started as helpers, and end with whoever started them."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from queue import Empty, Full
from types import FrameType
from typing import TypeVar

__all__ = [
    "GRACE",
    "PATIENCE",
    "Orphaned",
    "await_end",
    "ctrl_c_is_for_the_parent",
    "environment",
    "look_for",
    "sigterm_unwinds",
    "until_done",
]

# Seconds that a program has to end, once it was asked to.
GRACE = 5.0
# How often a program that waits looks whether its parent is still there.
PATIENCE = 2.0

T = TypeVar("T")


class Orphaned(Exception):
    """The program that started this one is gone."""


def look_for(parent: int) -> None:
    """Raise Orphaned if the parent is gone.

    Parameters
    ----------
    parent : int
        Its pid, as it was when this program began.
    """
    if os.getppid() != parent:
        raise Orphaned


def until_done(attempt: Callable[[float], T], parent: int) -> T:
    """Put or get, however long it takes, as long as the parent is there; Orphaned otherwise.

    Parameters
    ----------
    attempt : callable
        Puts or gets with the timeout that it is given.
    parent : int
        Pid of the parent.
    """
    while True:
        with contextlib.suppress(Empty, Full):
            return attempt(PATIENCE)
        look_for(parent)


@contextlib.contextmanager
def ctrl_c_is_for_the_parent() -> Iterator[None]:
    """Let no child that is started in here see Ctrl-C: the parent ends the workers itself.

    The signal is blocked, which children inherit. That alone does not hold it back here, as any
    other thread (numpy brings some) may receive it: one that comes meanwhile is noted and raised
    right after, when the child is on the list of those to end.
    """
    noted: list[int] = []
    handler = signal.signal(signal.SIGINT, lambda number, frame: noted.append(number))
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        signal.signal(signal.SIGINT, handler)
    if noted:
        raise KeyboardInterrupt


@contextlib.contextmanager
def sigterm_unwinds() -> Iterator[None]:
    """Have SIGTERM leave as Ctrl-C does: through every `finally`, so that nothing stays behind."""
    before = signal.signal(signal.SIGTERM, _leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _leave(number: int, frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def await_end(worker: subprocess.Popen[bytes]) -> None:
    """Wait for a program that was asked to end; kill it if it does not.

    Parameters
    ----------
    worker : subprocess.Popen
        The program.
    """
    try:
        worker.wait(GRACE)
    except subprocess.TimeoutExpired:
        worker.kill()
        worker.wait()


def environment() -> dict[str, str]:
    """Return an environment in which a program imports this very package."""
    root = str(Path(__file__).resolve().parent.parent)
    paths = [root, *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
