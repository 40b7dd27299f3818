"""The dtypes of numpy as text and back.

The text of a simple dtype is its `str`, such as ``<f8`` or ``<M8[ns]``. That of a structured one is
JSON: an object with the names, formats and offsets of its fields, its itemsize, and whether it is
aligned; a format is a text again, such an object, or ``[format, [length, ...]]`` for an array
within each item.

A text says everything about its dtype, or there is none; and a dtype has only one. So what comes
from a damaged or hostile text is either refused or something that could have been sent; objects
are no part of it, nor is anything that a library has added to numpy.
"""

from __future__ import annotations

import json
import re
import sys
from typing import Any

__all__ = ["dtype_of", "named", "text_of"]

LONGEST_TEXT = 0xFFFF  # that the head of an array has room for
DEEPEST = 16  # fields within fields

_SIMPLE = re.compile(
    r"[<>|][biufcSUVmM][0-9]{1,10}(\[([1-9][0-9]{0,9})?[a-zA-Z]{1,2}\])?", re.ASCII
)
_STRUCTURED = {"names", "formats", "offsets", "itemsize", "aligned"}


class _Other(Exception):
    """A dtype that text would not say everything about."""


def text_of(dtype: Any) -> str | None:
    """Return the text of a dtype, or None if it has none."""
    numpy = sys.modules["numpy"]
    if dtype.itemsize == 0:  # numpy itself gives arrays of such another dtype
        return None
    try:
        described = _describe(numpy, dtype, DEEPEST)
        text = described if type(described) is str else _to_json(described)
        if len(text) > LONGEST_TEXT or _construct(numpy, described, DEEPEST) != dtype:
            return None
    except (_Other, ValueError, TypeError):
        return None
    return text


def dtype_of(text: str) -> Any:
    """Return the dtype that has this text.

    Raises
    ------
    ValueError
        If none has.
    """
    import numpy

    try:
        dtype = _construct(numpy, json.loads(text) if text[:1] == "{" else text, DEEPEST)
        if text_of(dtype) == text:
            return dtype
    except (_Other, LookupError, TypeError, ValueError, OverflowError, RecursionError):
        pass
    raise ValueError("no dtype has this text")


def named(dtype: Any) -> list[tuple[Any, Any]]:
    """Return each part of a dtype that has fields, and their names, which can be replaced later."""
    if dtype.subdtype is not None:
        return named(dtype.subdtype[0])
    if dtype.names is None:
        return []
    parts = [(dtype, dtype.names)]
    for name in dtype.names:
        parts += named(dtype.fields[name][0])
    return parts


def _to_json(described: Any) -> str:
    return json.dumps(described, separators=(",", ":"))


def _describe(numpy: Any, dtype: Any, depth: int) -> Any:
    if dtype.hasobject or dtype.metadata is not None or depth == 0:
        raise _Other
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return [_describe(numpy, base, depth - 1), list(shape)]
    if dtype.char not in "?bhilqpBHILQPefdgFDGSUVmM" or (
        dtype.kind == "V" and dtype.type is not numpy.void
    ):
        raise _Other
    if dtype.names is None:
        return dtype.str
    if dtype.type is not numpy.void:
        raise _Other
    fields = [dtype.fields[name] for name in dtype.names]
    if any(len(field) != 2 for field in fields):  # one with a title
        raise _Other
    return {
        "names": list(dtype.names),
        "formats": [_describe(numpy, field[0], depth - 1) for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": dtype.itemsize,
        "aligned": dtype.isalignedstruct,
    }


def _construct(numpy: Any, described: Any, depth: int) -> Any:
    if depth == 0:
        raise _Other
    if type(described) is str:
        if not _SIMPLE.fullmatch(described):
            raise _Other
        return numpy.dtype(described)
    if type(described) is list:
        base, shape = described
        return numpy.dtype((_construct(numpy, base, depth - 1), tuple(shape)))
    if type(described) is not dict or described.keys() != _STRUCTURED:
        raise _Other
    if type(described["aligned"]) is not bool:
        raise _Other
    formats = [_construct(numpy, format, depth - 1) for format in described["formats"]]
    spec = {key: described[key] for key in ("names", "formats", "offsets", "itemsize")}
    return numpy.dtype({**spec, "formats": formats}, align=described["aligned"])
