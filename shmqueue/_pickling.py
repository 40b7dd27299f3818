"""Pickling beyond the plain C pickler: which reducers count, and cloudpickle.

The codec tries the C pickler with a table of reducers first, since it is several times as fast as
anything written in Python; this module merges that table and takes over where it does not do.
"""

from __future__ import annotations

import copyreg
import io
import os
import sys
import threading
from multiprocessing.reduction import ForkingPickler
from types import FunctionType, ModuleType
from typing import Any, Protocol

import cloudpickle

from shmqueue import _tensors

__all__ = ["Tables", "dump_by_value", "dump_where_needed", "name_the_type"]

PROTOCOL = 5

Reducers = dict[type, Any]

# The live tables, which anybody may add to at any time; so does ForkingPickler.register to its.
COPYREG_TABLE: Reducers = copyreg.dispatch_table
CLOUDPICKLE_TABLE: Reducers = cloudpickle.Pickler._dispatch_table

# The modules of cloudpickle.register_pickle_by_value: itself, not the copy that its listing makes.
BY_VALUE_MODULES: set[str] = cloudpickle.cloudpickle._PICKLE_BY_VALUE_MODULES


class Sink(Protocol):
    """What a pickler writes to, and what it asks whether a buffer is to stay in the pickle."""

    def write(self, data: Any, /) -> object: ...

    def keep_large(self, buffer: Any, /) -> bool: ...


class Tables:
    """The reducers that count, merged from the live tables.

    Parameters
    ----------
    ours : dict
        Reducers of this package, for types that nobody else has registered one for.

    Attributes
    ----------
    cloudpickle, multiprocessing, fallback : dict
        The merged table of the first policy, of the second, and of the second's resort to
        cloudpickle. They are never changed: picklers at work hold them.
    """

    def __init__(self, ours: Reducers) -> None:
        registered: Reducers = ForkingPickler._extra_reducers.copy()  # type: ignore[attr-defined]
        by_value = CLOUDPICKLE_TABLE.copy()
        self.multiprocessing: Reducers = {**ours, **COPYREG_TABLE.copy(), **registered}
        self.cloudpickle: Reducers = {
            **self.multiprocessing,
            **by_value,
            # multiprocessing's own reducer of bound methods goes by name and so loses methods
            # that are made of lambdas; what others have registered is meant to count.
            **{
                kind: reducer
                for kind, reducer in registered.items()
                if getattr(reducer, "__module__", None) != ForkingPickler.__module__
            },
            **_tensors.reducers(self.multiprocessing),
        }
        # cloudpickle would send what an open file contains; multiprocessing refuses files.
        by_value.pop(io.TextIOWrapper, None)
        self.fallback: Reducers = {**by_value, **self.multiprocessing}


def is_imported(name: str) -> bool:
    """Whether a module has been imported to its end."""
    spec = getattr(sys.modules.get(name), "__spec__", None)
    return spec is not None and not getattr(spec, "_initializing", False)


class _ByValuePickler(cloudpickle.Pickler):  # type: ignore[misc]
    def __init__(self, file: Sink, reducers: Reducers) -> None:
        # Before the base's __init__, which looks this up: set later it would be ignored.
        self.dispatch_table: Any = reducers
        super().__init__(file, protocol=PROTOCOL, buffer_callback=file.keep_large)


class _WhereNeededPickler(_ByValuePickler):
    def reducer_override(self, obj: Any) -> Any:
        # Classes of __main__ keep travelling by name next to a lambda: isinstance, the identity
        # of enum members and `except MyError` of the receiver depend on it.
        if issubclass(type(obj), (type, FunctionType)) and _is_importable(obj):
            return NotImplemented
        return super().reducer_override(obj)


def _is_importable(obj: Any) -> bool:
    try:
        found: Any = sys.modules[obj.__module__]
        for part in obj.__qualname__.split("."):
            found = getattr(found, part)
    except (AttributeError, KeyError, TypeError):
        return False
    return found is obj


class _MpMainByValue:
    """While entered, cloudpickle sends what `__mp_main__` defines by value.

    cloudpickle knows `__main__` alone, but the name that a spawned child gives its parent's
    program says nothing to another program either. Entered by any number of threads; what the
    program has registered itself is left as it is.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()
        self._depths: dict[int, int] = {}  # of the threads that are inside
        self._registered: ModuleType | None = None
        # A child must not inherit the lock from a thread that it does not have.
        os.register_at_fork(
            before=self._lock.acquire,
            after_in_parent=self._lock.release,
            after_in_child=self._forget_other_threads,
        )

    def _forget_other_threads(self) -> None:
        thread = threading.get_ident()
        self._depths = {thread: self._depths[thread]} if thread in self._depths else {}
        self._unregister_if_unused()
        self._lock.release()

    def _unregister_if_unused(self) -> None:
        if not self._depths and self._registered is not None:
            module, self._registered = self._registered, None
            cloudpickle.unregister_pickle_by_value(module)

    def __enter__(self) -> None:
        thread = threading.get_ident()
        module = sys.modules.get("__mp_main__")
        with self._lock:
            self._depths[thread] = self._depths.get(thread, 0) + 1
            if (
                module is not None
                and module.__name__ == "__mp_main__"
                and module.__name__ not in BY_VALUE_MODULES
            ):
                cloudpickle.register_pickle_by_value(module)
                self._registered = module

    def __exit__(self, *exc_info: object) -> None:
        thread = threading.get_ident()
        with self._lock:
            self._depths[thread] -= 1
            if self._depths[thread] == 0:
                del self._depths[thread]
            self._unregister_if_unused()


_mp_main_by_value = _MpMainByValue()


def dump_by_value(item: object, file: Sink, reducers: Reducers) -> None:
    """Pickle with cloudpickle's semantics: what `__main__` defines travels by value."""
    with _mp_main_by_value:
        _ByValuePickler(file, reducers).dump(item)


def dump_where_needed(item: object, file: Sink, reducers: Reducers) -> None:
    """Pickle by value only what cannot be imported by its name."""
    _WhereNeededPickler(file, reducers).dump(item)


def name_the_type(error: Exception, item: object) -> None:
    """Add the type of the item to the message of the error that serialising it raised."""
    kind = type(item)
    name = kind.__qualname__
    if kind.__module__ != "builtins":
        name = f"{kind.__module__}.{name}"
    remark = f"(while serialising an item of type '{name}')"
    # The first argument of UnicodeError is a codec's name, not a message.
    if isinstance(error, UnicodeError):
        return
    message = error.args[0] if error.args else ""
    if type(message) is str and not message.endswith(remark):
        try:
            error.args = (f"{message} {remark}".lstrip(), *error.args[1:])
        except Exception:  # a class of the user's may not have it; the error itself matters more
            pass
