"""Items of one fixed type: structures of numpy or ctypes, which cross as their bytes."""

from __future__ import annotations

import ctypes
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from shmqueue import _dtypes, _typed
from shmqueue.errors import CorruptItemError, CorruptSegmentError

if TYPE_CHECKING:
    from shmqueue._consumer import Consumer
    from shmqueue._queue import ObjectQueue

__all__ = ["ItemType"]


class ItemType:
    """The type of all items of a queue or stream.

    Parameters
    ----------
    dtype : dtype of numpy, or class of ctypes
        What makes up an item: anything that ``numpy.dtype`` takes, but for objects; or a subclass
        of ``ctypes.Structure``, whose instances `get` returns then.

    Attributes
    ----------
    dtype : numpy.dtype
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
        self.structure = (
            dtype if isinstance(dtype, type) and issubclass(dtype, ctypes.Structure) else None
        )
        try:
            self.dtype: Any = _plain(numpy, numpy.dtype(dtype))
        except (TypeError, ValueError, NotImplementedError) as error:
            raise TypeError(f"dtype={dtype!r} is no type of fixed size: {error}") from None
        self.given = self.structure or self.dtype
        self._base, self._shape = self.dtype.base, self.dtype.shape
        text = _dtypes.text_of(self._base)
        if text is None or self.dtype.itemsize == 0:
            raise TypeError(
                f"dtype={dtype!r} can't be shared between processes: an item needs some bytes, and"
                " none of them may be a reference to an object"
            )
        # An array of numpy never has items that are arrays, so that module has no text for these.
        self.text = json.dumps([text, self._shape]) if self._shape else text
        self.item_bytes = int(self.dtype.itemsize)

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
        except (TypeError, ValueError):
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
            return bytes(item)
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
        if isinstance(item, ctypes.Structure):
            theirs = numpy.dtype(type(item))
            item = numpy.frombuffer(bytes(item), theirs, 1)[0]
        if isinstance(item, Mapping) and self.dtype.names:
            if set(item) != set(self.dtype.names):
                raise TypeError(
                    f"an item has the fields {', '.join(self.dtype.names)}, not"
                    f" {', '.join(map(str, item)) or 'none'}"
                )
            item = tuple(item[name] for name in self.dtype.names)
        elif self.dtype.names and theirs != (None if isinstance(item, tuple) else self.dtype):
            raise TypeError(
                f"an item must be a tuple of {', '.join(self.dtype.names)}, a dict of these, or"
                f" have the dtype {self.dtype}; not {theirs or type(item).__name__}"
            )
        made = numpy.asarray(item, dtype=self._base)
        if made.shape != self._shape:
            raise TypeError(
                f"an item has the shape {self._shape}, not {made.shape}"
                + (": put_batch takes arrays of items" if made.shape else "")
            )
        return made

    # ---- many ----

    def put_batch(self, queue: ObjectQueue, items: Any, block: bool, timeout: float | None) -> None:
        """Put an array of items, or what makes some, as `ObjectQueue.put_batch`."""
        numpy = _numpy()
        if isinstance(items, ctypes.Array) and items._type_ is self.structure:
            array = numpy.frombuffer(items, self.dtype)
        elif isinstance(items, numpy.ndarray) and items.dtype == self._base and items.ndim:
            if items.shape[1:] != self._shape:
                raise TypeError(
                    f"each item has the shape {self._shape}, not {items.shape[1:]} as in this array"
                )
            array = numpy.ascontiguousarray(items)
        else:
            data = b"".join([self.dumps(item) for item in _each(items)])
            array = numpy.frombuffer(data, numpy.uint8)
        _typed.put_items(
            queue, array.reshape(-1).view(numpy.uint8), self.item_bytes, block, timeout
        )

    def get_batch(
        self, consumer: Consumer, max_items: int, block: bool, timeout: float | None
    ) -> Any:
        """Take 1 to `max_items` items as one array, as `Consumer.get_batch`."""
        numpy = _numpy()
        # Bytes first: a view of them has the type, whatever its shape.
        memory = numpy.empty(max_items * self.item_bytes, numpy.uint8)
        count = _typed.take_items(consumer, memory, self.item_bytes, block, timeout)
        if count * 2 < max_items:
            memory = memory[: count * self.item_bytes].copy()  # rather than keep all of it
        return self._array(memory[: count * self.item_bytes], count)

    def joined(self, batches: Sequence[Any]) -> Any:
        """Return several batches as one."""
        numpy = _numpy()
        parts = [numpy.frombuffer(batch, numpy.uint8) for batch in batches]
        memory = numpy.concatenate(parts)
        return self._array(memory, memory.size // self.item_bytes)

    def _array(self, memory: Any, count: int) -> Any:
        if self.structure is not None:
            return (self.structure * count).from_buffer(memory)
        return memory.view(self._base).reshape(count, *self._shape)


def _plain(numpy: Any, dtype: Any) -> Any:
    """Return the dtype, with bytes where it has characters of C, which are the same in memory."""
    if dtype.subdtype is not None:
        base, shape = dtype.subdtype
        return numpy.dtype((_plain(numpy, base), shape))
    if dtype.names is None:
        return numpy.dtype("S1") if dtype.char == "c" else dtype
    fields = [dtype.fields[name] for name in dtype.names]
    spec = {
        "names": list(dtype.names),
        "formats": [_plain(numpy, field[0]) for field in fields],
        "offsets": [field[1] for field in fields],
        "itemsize": dtype.itemsize,
    }
    return numpy.dtype(spec, align=dtype.isalignedstruct)


def _each(items: Any) -> Iterable[Any]:
    if isinstance(items, Mapping):
        raise TypeError("a batch is a sequence of items, not one dict")
    return items  # type: ignore[no-any-return]


def _numpy() -> Any:
    try:
        import numpy
    except ImportError:
        raise ImportError("items of a dtype need numpy: pip install numpy") from None
    return numpy
