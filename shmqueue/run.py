"""``python -m shmqueue run``: a program with our queues in the place of the standard ones."""

from __future__ import annotations

import builtins
import importlib.util
import io
import os
import pkgutil
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

from . import install

__all__ = ["run_module", "run_script"]


def run_script(path: str, arguments: Sequence[str]) -> int:
    """Install, and run a file, or a folder or archive with a ``__main__.py``, as Python does.

    Parameters
    ----------
    path : str
        What to run.
    arguments : sequence of str
        Its ``sys.argv[1:]``.

    Returns
    -------
    int
        Exit status, if it does not exit itself.
    """
    sys.argv[:] = [path, *arguments]
    spec = PathFinder.find_spec("__main__", [path])
    if spec is not None:
        _set_first_path(path)
        return _run(_code_of(spec), spec)
    try:
        with io.open_code(os.path.abspath(path)) as file:
            code = pkgutil.read_code(file)
        if code is None:
            with io.open_code(os.path.abspath(path)) as file:
                code = compile(file.read(), os.path.abspath(path), "exec", dont_inherit=True)
    except OSError as error:
        print(f"shmqueue run: can't open file {path!r}: {error.strerror}", file=sys.stderr)
        return 2
    _set_first_path(os.path.dirname(os.path.realpath(path)))
    return _run(code, None, os.path.abspath(path))


def run_module(name: str, arguments: Sequence[str]) -> int:
    """Install, and run a module, or the ``__main__`` of a package, as ``python -m`` does.

    Parameters
    ----------
    name : str
        Absolute name of the module.
    arguments : sequence of str
        Its ``sys.argv[1:]``.

    Returns
    -------
    int
        Exit status, if it does not exit itself.
    """
    sys.argv[:] = ["-m", *arguments]
    try:
        spec = importlib.util.find_spec(name)
        if spec is not None and spec.submodule_search_locations is not None:
            spec = importlib.util.find_spec(name + ".__main__")
    except (ImportError, ValueError) as error:
        print(f"shmqueue run: can't find module {name!r}: {error}", file=sys.stderr)
        return 1
    if spec is None or spec.loader is None:
        print(f"shmqueue run: no module named {name!r} that can be run", file=sys.stderr)
        return 1
    sys.argv[0] = spec.origin or name
    return _run(_code_of(spec), spec)


def _set_first_path(folder: str) -> None:
    # `python -m` has put the working directory there, unless it was told not to.
    if not (sys.flags.isolated or getattr(sys.flags, "safe_path", False)):
        sys.path[0] = folder


def _code_of(spec: ModuleSpec) -> CodeType:
    code = getattr(spec.loader, "get_code")(spec.name)  # noqa: B009
    if code is None:
        raise ImportError(f"{spec.name} has no code that could be run")
    return code  # type: ignore[no-any-return]


def _run(code: CodeType, spec: ModuleSpec | None, path: str | None = None) -> int:
    """Run code as the module ``__main__``, which stays that for threads and exit handlers."""
    main = ModuleType("__main__")
    main.__builtins__ = builtins  # type: ignore[attr-defined]
    main.__spec__ = spec
    if spec is not None:
        main.__file__ = spec.origin
        main.__loader__ = spec.loader
        main.__package__ = spec.parent
        main.__cached__ = spec.cached  # type: ignore[attr-defined]
    elif path is not None:
        # Children that are spawned find the program by this, as with any script.
        main.__file__ = path
        main.__loader__ = SourceFileLoader("__main__", path)
        main.__cached__ = None  # type: ignore[attr-defined]
    install()
    # multiprocessing has made the second name for what was the main module until now.
    sys.modules["__main__"] = sys.modules["__mp_main__"] = main
    exec(code, vars(main))
    return 0
