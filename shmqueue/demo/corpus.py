"""The demo's input: every source file of the running Python's standard library."""

from __future__ import annotations

import sysconfig
import tokenize
from pathlib import Path

__all__ = ["read_sources"]


def read_sources(limit: int | None = None) -> list[tuple[str, str]]:
    """Read the standard library.

    Parameters
    ----------
    limit : int, optional
        Take only so many files, spread evenly over the library.

    Returns
    -------
    list of (str, str)
        Path below the library's folder and text of each file, in the order of the paths.
    """
    root = Path(sysconfig.get_path("stdlib"))
    found = sorted(
        (path.relative_to(root).as_posix(), path)
        for path in root.rglob("*.py")
        if "site-packages" not in path.relative_to(root).parts and path.is_file()
    )
    if limit is not None and limit < len(found):
        found = [found[number * len(found) // limit] for number in range(limit)]
    return [(name, _text(path)) for name, path in found]


def _text(path: Path) -> str:
    try:
        with tokenize.open(path) as file:
            return file.read()
    except (SyntaxError, UnicodeDecodeError):
        # The library's own tests hold files with wrong encodings on purpose; they travel as well.
        return path.read_text(encoding="utf-8", errors="surrogateescape")
