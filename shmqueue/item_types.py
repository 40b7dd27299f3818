"""Items of one fixed type: structures of numpy or ctypes, which cross as their bytes."""

from __future__ import annotations

import ctypes
import datetime
import functools
import json
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shmqueue import _dtypes, _typed
from shmqueue.errors import CorruptItemError, CorruptSegmentError

if TYPE_CHECKING:
    from shmqueue._queue import ObjectQueue

__all__ = ["ItemType"]

MAX_ITEM_BYTES = 1 << 31  # that a slot has room for

# The kinds of values that a field of a kind takes: no number loses more than precision.
_TAKES = {
    "b": "b",
    "i": "biu",
    "u": "biu",
    "f": "biuf",
    "c": "biufc",
    "S": "S",
    "U": "U",
    "V": "SV",
    "M": "M",
    "m": "m",
}


class ItemType:
    """The type of all items of a queue or stream.

    Parameters
    ----------
    dtype : dtype of numpy, or class of ctypes
        What makes up an item: anything that ``numpy.dtype`` takes, but for objects; or a subclass
        of ``ctypes.Structure``, whose instances `get` returns then.

    Attributes
    ----------
    dtype, base : numpy.dtype
        Of an item; and what it has several of, if it is an array.
    shape : tuple of int
        Of an item.
    item_bytes : int
        Bytes of an item.
    text : str
        How a segment names the type.
    structure : type or None
        The class of ctypes, if it was one.
    given : numpy.dtype or type
        That class, or the dtype.

    Raises
    ------
    TypeError
        If items of this type can't be shared between processes.
    ImportError
        If there is no numpy.
    """

    def __init__(self, dtype: Any) -> None:
        numpy = _numpy()
        self.structure = dtype if _is_class(dtype) and issubclass(dtype, ctypes.Structure) else None
        try:
            if _is_class(dtype):
                _check_class(dtype)
            self.dtype: Any = _plain(numpy, numpy.dtype(dtype))
            if self.structure is not None:
                _check_layout(self.structure, self.dtype)
        except (TypeError, ValueError, NotImplementedError) as error:
            raise TypeError(f"dtype={dtype!r} is no type of fixed size: {error}") from None
        self.given = self.structure or self.dtype
        self.base, self.shape = self.dtype.base, self.dtype.shape
        text = _dtypes.text_of(self.base)
        if text is None or self.dtype.itemsize == 0:
            raise TypeError(
                f"dtype={dtype!r} can't be shared between processes: an item needs some bytes, none"
                " of which may be a reference to an object, and fields that 64 KiB can name"
            )
        # An array of numpy never has items that are arrays, so that module has no text for these.
        self.text = json.dumps([text, self.shape]) if self.shape else text
        self.item_bytes = int(self.dtype.itemsize)
        if self.item_bytes > MAX_ITEM_BYTES:
            raise TypeError(f"items of {self.item_bytes} bytes are larger than a slot can be")
        self.empty = numpy.empty
        self.get_batch = functools.partial(_typed.take_array, self)

    @classmethod
    def of_text(cls, text: bytes, path: str) -> ItemType:
        """Return the type that a segment names.

        Raises
        ------
        CorruptSegmentError
            If it names none.
        """
        _numpy()
        try:
            base, shape = json.loads(text) if text[:1] == b"[" else (text.decode(), ())
            found = cls((_dtypes.dtype_of(base), tuple(shape)))
            if found.text.encode() == text:
                return found
        except (TypeError, ValueError, OverflowError, RecursionError):
            pass
        raise CorruptSegmentError(f"{path} says that its items are of one type, but not of which")

    def __repr__(self) -> str:
        """As what was given."""
        return f"ItemType({self.given!r})"

    # ---- an item: what a custom serializer has, too ----

    def dumps(self, item: Any) -> bytes:
        """Return the bytes of an item: of this type, or of something that makes one."""
        numpy = _numpy()
        if self.structure is not None and type(item) is self.structure:
            return _bytes_of_structure(item)
        if type(item) is numpy.void and item.dtype == self.dtype:
            made = item
        else:
            made = self._made(numpy, item)
        return bytes(made.tobytes())

    def loads(self, data: bytes) -> Any:
        """Return the item that has these bytes; it shares no memory with them."""
        if len(data) != self.item_bytes:
            raise CorruptItemError(
                f"an item has {len(data)} bytes, and not {self.item_bytes} as those of this type"
            )
        if self.structure is not None:
            return self.structure.from_buffer_copy(data)
        return _numpy().frombuffer(data, self.dtype, 1)[0].copy()

    def _made(self, numpy: Any, item: Any) -> Any:
        """Make an item of what was given: fields in order or by name, a number, an array."""
        theirs = getattr(item, "dtype", None)
        if isinstance(item, ctypes.Structure) and hasattr(item, "_fields_"):
            theirs = _plain(numpy, numpy.dtype(type(item)))
            item = numpy.frombuffer(_bytes_of_structure(item), theirs, 1)[0]
        names = self.base.names
        if isinstance(item, Mapping) and names:
            if set(item) != set(names):
                raise TypeError(
                    f"an item has the fields {', '.join(names)}, not"
                    f" {', '.join(map(str, item)) or 'none'}"
                )
            item = tuple(item[name] for name in names)
        elif names and not self.shape and theirs != (None if type(item) is tuple else self.dtype):
            raise TypeError(
                f"an item must be a tuple of {', '.join(names)}, a dict of these, or have the dtype"
                f" {self.dtype}; not {theirs or type(item).__name__}"
            )
        item = _fitting(numpy, self.dtype, item)
        seen = numpy.asarray(item, dtype=self.base)
        if seen.shape != self.shape:
            raise TypeError(
                f"an item has the shape {self.shape}, not {seen.shape}"
                + (": put_batch takes arrays of items" if seen.shape else "")
            )
        if _is_of(self.base, item):
            return seen
        # What pads it is nobody's memory.
        made = numpy.zeros(self.shape, self.base)
        made[...] = item
        return made

    # ---- many ----

    def put_batch(self, queue: ObjectQueue, items: Any, deadline_ns: int) -> None:
        """Put an array of items, or what makes some, as `ObjectQueue.put_batch`."""
        numpy = _numpy()
        if isinstance(items, Mapping):
            raise TypeError("a batch is a sequence of items, not one dict")
        if isinstance(items, ctypes.Array) and items._type_ is self.structure:
            array = numpy.frombuffer(items, numpy.uint8)
        elif isinstance(items, numpy.ndarray) and items.dtype == self.base and items.ndim:
            if items.shape[1:] != self.shape:
                raise TypeError(
                    f"each item has the shape {self.shape}, not {items.shape[1:]} as in this array"
                )
            array = numpy.ascontiguousarray(items).reshape(-1).view(numpy.uint8)
        else:
            array = b"".join([self.dumps(item) for item in items])
        _typed.put_items(queue, array, self.item_bytes, deadline_ns)

    def joined(self, batches: Sequence[Any]) -> Any:
        """Return several batches as one."""
        numpy = _numpy()
        parts = [numpy.frombuffer(batch, numpy.uint8) for batch in map(_bytes_of, batches)]
        return _typed.as_array(self, numpy.concatenate(parts))


def _bytes_of(batch: Any) -> Any:
    """Return a batch as what has its bytes: not all dtypes have a format that buffers know."""
    return batch if isinstance(batch, ctypes.Array) else batch.reshape(-1).view("u1")


def _bytes_of_structure(item: Any) -> bytes:
    # Its class may have a `__bytes__`, and memory beyond the size of the class is no part of it.
    return ctypes.string_at(ctypes.addressof(item), ctypes.sizeof(type(item)))


def _plain(numpy: Any, dtype: Any) -> Any:
    """Return the dtype, with bytes where it has characters of C, which are the same in memory."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        inner = _plain(numpy, base)
        # An array of arrays is one of more dimensions.
        return numpy.dtype((inner.base, (*shape, *inner.shape)))
    if dtype.names is None:
        return numpy.dtype("S1") if dtype.char == "c" else dtype
    fields = [dtype.fields[name] for name in dtype.names]
    if any(len(field) != 2 for field in fields):
        raise TypeError("its fields have titles, which are of no use here")
    spec = {
        "names": list(dtype.names),
        "formats": [_plain(numpy, field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": dtype.itemsize,
    }
    return numpy.dtype(spec, align=dtype.isalignedstruct)


def _is_class(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(
        kind, ctypes.Structure | ctypes.Union | ctypes.Array | ctypes._SimpleCData
    )


def _check_class(kind: Any) -> None:
    """Raise TypeError for a class of ctypes that means nothing to another process, or to numpy."""
    if issubclass(kind, ctypes.Array):
        _check_class(kind._type_)
    elif issubclass(kind, ctypes.Union):
        raise TypeError(f"{kind.__name__} is a union: its bytes don't tell which field they are of")
    elif issubclass(kind, ctypes.Structure):
        if any("_fields_" in vars(base) for base in kind.__mro__[1:]):
            raise TypeError(f"{kind.__name__} inherits fields: name them all in one class")
        if "_fields_" not in vars(kind):
            raise TypeError(f"{kind.__name__} has no fields")
        for field in kind._fields_:
            _check_class(field[1])
    elif not issubclass(kind, ctypes._SimpleCData) or kind._type_ in "PzZO":
        raise TypeError(f"{kind.__name__} is a reference, which means nothing to another process")


def _check_layout(structure: Any, dtype: Any) -> None:
    """Raise TypeError unless numpy knows where each field is."""
    if ctypes.sizeof(structure) != dtype.itemsize or any(
        getattr(structure, field[0]).offset != dtype.fields[field[0]][1]
        for field in structure._fields_
    ):
        raise TypeError(f"numpy lays {structure.__name__} out otherwise than ctypes")


def _fitting(numpy: Any, dtype: Any, value: Any) -> Any:
    """Return a value as numpy is to be given it for a field of this dtype.

    Raises
    ------
    TypeError, ValueError
        If it would not be the same there.
    """
    base = dtype.base
    if _is_of(base, value):
        return value
    if base.names is not None:
        return _fitting_struct(numpy, dtype, value)
    if base.kind == "S" and base.itemsize == 1 and dtype.shape:
        value = _split(dtype, dtype.shape, value)
    seen = numpy.asarray(value)
    is_time = base.kind in "Mm" and isinstance(value, datetime.date | datetime.timedelta)
    if (seen.dtype.kind not in _TAKES[base.kind] and not is_time and seen.size) or (
        base.kind in "SUV" and seen.dtype.itemsize > base.itemsize
    ):
        raise TypeError(f"{value!r} is no {base}, or too long for one")
    if base.kind in "iu" and seen.size:
        limits = numpy.iinfo(base)
        if int(seen.min()) < limits.min or int(seen.max()) > limits.max:
            raise ValueError(f"{value!r} is out of bounds for {base}")
    if base.kind in "fc" and seen.size and not numpy.can_cast(seen.dtype, base):
        with numpy.errstate(over="ignore"):
            became = seen.astype(base)
        if (numpy.isinf(became) & ~numpy.isinf(seen)).any():
            raise ValueError(f"{value!r} is out of bounds for {base}")
    if base.kind in "Mm" and seen.size and not _keeps_time(numpy, base, value, seen):
        raise ValueError(f"{value!r} is out of bounds for {base}, or finer than its unit")
    if base.kind in "SU" and _has_nul_at_end(value):
        raise ValueError(
            f"{value!r} ends with a NUL, which a field of {base} can't tell from its end"
        )
    return value


def _is_of(base: Any, value: Any) -> bool:
    """Tell whether a value, or each of an array's, is exactly of a dtype."""
    theirs = getattr(value, "dtype", None)
    return theirs is not None and bool(theirs == base)  # numpy takes None for float64


def _fitting_struct(numpy: Any, dtype: Any, value: Any) -> Any:
    """As `_fitting`, for one with fields: a tuple of them, records, or a list of these."""
    base = dtype.base
    names = base.names
    if isinstance(value, tuple) and not dtype.shape:
        if len(value) != len(names):
            raise ValueError(f"a tuple of length {len(value)} doesn't make {', '.join(names)}")
        return tuple(
            _fitting(numpy, base.fields[name][0], part)
            for name, part in zip(names, value, strict=True)
        )
    if isinstance(value, list) and dtype.shape:
        inner = numpy.dtype((base, dtype.shape[1:]))
        return [_fitting(numpy, inner, part) for part in value]
    if getattr(getattr(value, "dtype", None), "names", None) != names:
        raise TypeError(f"{value!r} is no {base}")
    for name in names:
        _fitting(numpy, base.fields[name][0], value[name])
    return value


def _split(dtype: Any, shape: tuple[int, ...], value: Any) -> Any:
    """Return bytes as the single characters that an array of these takes, as ctypes does."""
    if isinstance(value, list | tuple) and len(shape) > 1:
        return [_split(dtype, shape[1:], part) for part in value]
    if not isinstance(value, bytes) or len(shape) > 1:
        return value
    if len(value) > shape[0]:
        raise TypeError(f"{value!r} is too long for {dtype}")
    if b"\0" in value:
        raise ValueError(f"{value!r} has a NUL, which ctypes can't tell from its end")
    return [value[at : at + 1] for at in range(shape[0])]


def _has_nul_at_end(value: Any) -> bool:
    """Tell whether a text, or one of several, ends with what arrays of numpy leave out."""
    if isinstance(value, str | bytes):
        return value[-1:] in ("\0", b"\0")
    return isinstance(value, Sequence) and any(_has_nul_at_end(part) for part in value)


def _keeps_time(numpy: Any, base: Any, value: Any, seen: Any) -> bool:
    """Tell whether times come back from a dtype as they were: numpy truncates, and wraps around."""
    if isinstance(value, datetime.datetime) and value.tzinfo is not None:
        value = value.astimezone(datetime.timezone.utc).replace(tzinfo=None)
    if isinstance(value, datetime.date | datetime.timedelta):
        is_day = isinstance(value, datetime.date) and not isinstance(value, datetime.datetime)
        unit = numpy.dtype(f"{base.kind}8[{'D' if is_day else 'us'}]")
        return bool(numpy.array(value, base).astype(unit).item() == value)
    if numpy.datetime_data(seen.dtype)[0] == "generic":
        return True  # a number of whatever the unit is
    if not numpy.can_cast(seen.dtype, base, "same_kind"):
        raise TypeError(f"{value!r} is no {base}: its unit can't be told in the other")
    became = seen.astype(base)
    kept = (became.astype(seen.dtype) == seen) & ~numpy.isnat(became)
    return bool((kept | (numpy.isnat(became) & numpy.isnat(seen))).all())


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        raise ImportError("items of a dtype need numpy: pip install numpy") from None
    return numpy
