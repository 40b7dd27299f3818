"""The demo's work: tokenise one file and count what is in it; add up what was counted."""

from __future__ import annotations

import io
import tokenize
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

np: Any
try:
    import numpy as np
except ImportError:
    np = None

__all__ = ["WIDEST", "Totals", "add_up", "count"]

# Lines from this length on are counted together.
WIDEST = 120


def count(path: str, source: str) -> dict[str, Any]:
    """Tokenise one file.

    Parameters
    ----------
    path : str
        The file's name, which the result carries.
    source : str
        Its text.

    Returns
    -------
    dict
        ``path``; ``kinds`` and ``names``, dicts of how often each kind of token and each name
        occurs; ``widths``, how many lines have which length, a numpy array where numpy is there
        and a list elsewhere; ``error``, what the tokeniser refused the rest of the file for, or
        None.
    """
    kinds: Counter[int] = Counter()
    names: Counter[str] = Counter()
    error = None
    try:
        for token in tokenize.generate_tokens(io.StringIO(source).readline):
            kinds[token.type] += 1
            if token.type == tokenize.NAME:
                names[token.string] += 1
    except (SyntaxError, ValueError, tokenize.TokenError) as caught:
        error = f"{type(caught).__name__}: {caught}"
    return {
        "path": path,
        "kinds": {tokenize.tok_name[kind]: times for kind, times in kinds.items()},
        "names": dict(names),
        "widths": _widths(source),
        "error": error,
    }


def _widths(source: str) -> Any:
    widths = [min(len(line), WIDEST) for line in source.splitlines()]
    if np is not None:
        return np.bincount(np.array(widths, dtype=np.int64), minlength=WIDEST + 1)
    histogram = [0] * (WIDEST + 1)
    for width in widths:
        histogram[width] += 1
    return histogram


@dataclass
class Totals:
    """What was counted in many files together; equal when every count is.

    Attributes
    ----------
    files, errors : int
        How many files, and how many of them the tokeniser refused.
    kinds, names : collections.Counter
        How often each kind of token and each name occurs.
    widths : list of int
        How many lines have which length.
    """

    files: int = 0
    errors: int = 0
    kinds: Counter[str] = field(default_factory=Counter)
    names: Counter[str] = field(default_factory=Counter)
    widths: list[int] = field(default_factory=lambda: [0] * (WIDEST + 1))

    @property
    def tokens(self) -> int:
        """Tokens of every kind."""
        return sum(self.kinds.values())

    @property
    def lines(self) -> int:
        """Lines of every length."""
        return sum(self.widths)


def add_up(results: Iterable[dict[str, Any]]) -> Totals:
    """Add up what `count` returned for each of many files.

    Parameters
    ----------
    results : iterable of dict
        Results of `count`.

    Returns
    -------
    Totals
        Their sums.
    """
    totals = Totals()
    for result in results:
        totals.files += 1
        totals.errors += result["error"] is not None
        totals.kinds.update(result["kinds"])
        totals.names.update(result["names"])
        totals.widths = [a + int(b) for a, b in zip(totals.widths, result["widths"], strict=True)]
    return totals
