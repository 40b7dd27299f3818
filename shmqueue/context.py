"""Contexts of multiprocessing whose queues are ours, and ours in the place of the standard ones."""

from __future__ import annotations

import multiprocessing
import os
import threading
from collections.abc import Callable
from multiprocessing import context, spawn
from typing import Any

from shmqueue import dropin

__all__ = ["get_context", "install", "uninstall"]


class _Queues:
    """The three methods that make queues; everything else is the standard context's."""

    _name: str

    def Queue(self, maxsize: int = 0, *, serializer: Any = None) -> dropin.Queue:
        """Return a `shmqueue.Queue`."""
        return dropin.Queue(maxsize, ctx=self, serializer=serializer)

    def JoinableQueue(self, maxsize: int = 0, *, serializer: Any = None) -> dropin.JoinableQueue:
        """Return a `shmqueue.JoinableQueue`."""
        return dropin.JoinableQueue(maxsize, ctx=self, serializer=serializer)

    def SimpleQueue(self, *, serializer: Any = None) -> dropin.SimpleQueue:
        """Return a `shmqueue.SimpleQueue`."""
        return dropin.SimpleQueue(ctx=self, serializer=serializer)

    def get_context(self, method: str | None = None) -> Any:
        """Return this context, or that of another start method with our queues too."""
        return self if method is None else get_context(method)

    def __reduce__(self) -> tuple[Any, ...]:
        return get_context, (self._name,)


class _ForkContext(_Queues, context.ForkContext):
    pass


class _SpawnContext(_Queues, context.SpawnContext):
    pass


class _ForkServerContext(_Queues, context.ForkServerContext):
    pass


_contexts = {kind._name: kind() for kind in (_ForkContext, _SpawnContext, _ForkServerContext)}


def get_context(method: str | None = None) -> Any:
    """Return a multiprocessing context whose queues are those of this package.

    Its ``Queue``, ``JoinableQueue`` and ``SimpleQueue`` are ours, and so are the ones that its
    ``Pool`` works with; processes, locks, managers and all else are as usual. It can be passed
    wherever a context is accepted, such as ``ProcessPoolExecutor(mp_context=...)``.

    Parameters
    ----------
    method : {"fork", "spawn", "forkserver"}, optional
        How processes are started. By default as `multiprocessing.get_context` would, which settles
        the start method of the program if nothing has yet.

    Returns
    -------
    multiprocessing.context.BaseContext
        The same object for the same method.

    Raises
    ------
    ValueError
        If there is no such start method.
    """
    if method is None:
        method = multiprocessing.get_context().get_start_method()
    try:
        found = _contexts[method]
    except KeyError:
        raise ValueError(f"cannot find context for {method!r}") from None
    found._check_available()
    return found


# ---- under a running program ----

_lock = threading.RLock()
# (where, name, what stood there) of everything that was swapped, in that order.
_swapped: list[tuple[Any, str, Any]] = []

# Runs in a spawned child before it knows where its parent found its modules. A child that can't
# have the package goes on with the standard queues.
_INSTALL_IN_CHILD = """\
import sys
path = list(sys.path)
sys.path.append({folder!r})
try:
    from shmqueue.context import install
except ImportError:
    pass
else:
    install()
finally:
    sys.path[:] = path
"""


class _InstallInChild:
    """Unpickles as None, having installed."""

    def __reduce__(self) -> tuple[Any, ...]:
        folder = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
        return exec, (_INSTALL_IN_CHILD.format(folder=folder), {})


def _swap(where: Any, name: str, new: Any) -> None:
    _swapped.append((where, name, vars(where)[name]))
    setattr(where, name, new)


def install() -> None:
    """Put our queues in the place of multiprocessing's, for a program that can't be edited.

    From now on ``multiprocessing.Queue``, ``JoinableQueue`` and ``SimpleQueue`` make ours, and so
    does every context, each `multiprocessing.Pool` and `concurrent.futures.ProcessPoolExecutor`
    that is made afterwards. Processes started by fork, spawn or forkserver have ours as well.

    What exists already stays as it is: queues, pools and executors, and names that a module has
    imported before (``from multiprocessing import Queue``). So call it first, or use
    ``python -m shmqueue run script.py``. The classes in ``multiprocessing.queues`` stay the
    standard ones, of which ours are subclasses. Installing twice is installing once.

    See Also
    --------
    uninstall : put back what was there.
    get_context : our queues without touching anybody else's.
    """
    # Here, since programs that never install need not wait for them.
    from concurrent.futures import process

    from shmqueue.executor import CallQueue

    with _lock:
        if _swapped:
            return
        for name in ("Queue", "JoinableQueue", "SimpleQueue"):
            _swap(context.BaseContext, name, vars(_Queues)[name])
            # What the module shows are the methods of the default context, bound.
            _swap(multiprocessing, name, getattr(context._default_context, name))
        _swap(process, "_SafeQueue", CallQueue)
        _swap(spawn, "get_preparation_data", _also_installing(spawn.get_preparation_data))


def _also_installing(prepare: Callable[[str], dict[str, Any]]) -> Callable[[str], dict[str, Any]]:
    """Return what tells a child how to prepare itself, and to install as well."""

    def get_preparation_data(name: str) -> dict[str, Any]:
        return {"shmqueue": _InstallInChild(), **prepare(name)}

    return get_preparation_data


def uninstall() -> None:
    """Put back what `install` swapped; the queues that were made meanwhile go on.

    Does nothing if nothing is installed.
    """
    with _lock:
        while _swapped:
            setattr(*_swapped.pop())
