"""Valid encodings of many objects, and ways to damage them, for whoever tries the decoders."""

import contextlib
import datetime
import functools
import io
import pickle
import pickletools
import random
import struct
import unittest.mock
from collections import OrderedDict

import numpy

from shmqueue import _codec, _pickles
from shmqueue._codec import dumps, loads
from tests.codec.items import CONTAINERS, SCALARS, random_item

KINDS = range(11)  # 1 to 9 are known
MOST_BYTES = 70_000

# Of a pickle's memo: one of more takes memory for all of them, in the unpickler of Python itself.
MOST_MEMORIES = 100_000

# What the decoders document, and what loading a damaged pickle may raise beside it.
CLEAR = (
    ValueError,  # also CorruptItemError
    TypeError,
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    AttributeError,
    ImportError,
    OverflowError,
    BufferError,
    UnicodeError,
    RuntimeError,  # a container that was changed by what was loaded into it
    RecursionError,
)

WILD = [
    *(0, 1, 2, 7, 8, 63, 64, 127, 128, 255, 256, 16383, 16384, 65535),
    *(2**bits + delta for bits in (16, 31, 32, 62, 63) for delta in (-1, 0, 1)),
    2**64 - 1,
    2**64 - 64,
]
# Tags of the packed encoding, opcodes of pickles, and what a dtype's text is made of.
TELLING = bytes(range(0xA0, 0xB6)) + b"\x00\x01\x7f\x80\x9f\xfd\xfe\xff" + b'<>|fiuSUVMm[]{}",:0129'


@functools.cache
def encodings():
    """Return valid encodings, as (kind, bytes): of every kind, small and large."""
    structured = numpy.dtype([("a", "<i4"), ("b", "<f8", (2, 3)), ("c", "S5")])
    arrays = [
        numpy.arange(6.0).reshape(2, 3),
        numpy.arange(4096.0),
        numpy.asfortranarray(numpy.arange(5000, dtype=">i4").reshape(50, 100)),
        numpy.zeros((3, 0), "<U4"),
        numpy.zeros(4, structured),
        numpy.zeros(1000, structured),
        numpy.array(7, "M8[ns]"),
    ]
    pickled = [
        datetime.datetime(2024, 2, 29, 12, 30),
        OrderedDict(a=1, b=[2, 3]),
        [arrays[1], arrays[2], "two arrays"],
        {"array": arrays[1], "bytes": bytearray(20_000)},
        (OrderedDict(a=arrays[1]), numpy.float32(1.5)),
        [datetime.datetime(2000, 1, 1)] * 300,
    ]
    source = random.Random(11)
    randoms = [random_item(source) for _ in range(200)]
    scalars = [*SCALARS[:3], *SCALARS[3::17]]
    long_ones = [b"x" * 300, bytearray(b"y" * 20_000), "€" * 300, "\U0001f600" * 300, "é" * 300]
    made = []
    for item in [*arrays, *pickled, *CONTAINERS, *randoms, *scalars, *long_ones]:
        kind, data = dumps(item)
        if len(data) <= MOST_BYTES:
            made.append((kind, data))
    assert {kind for kind, _ in made} == set(range(1, 10))
    return made


def mutated(data, source, other=b""):
    """Return what is left of an encoding after a few changes."""
    damaged = bytearray(data)
    for _ in range(source.choice([1, 1, 1, 2, 3, 6])):
        # Most of what tells how the rest is to be read stands in the beginning.
        near = min(len(damaged), source.choice([16, 64, 400, 1 << 20]))
        at = source.randrange(near + 1)
        deed = source.randrange(10)
        if deed == 0:
            damaged[at : at + 1] = bytes([source.randrange(256)])
        elif deed == 1 and at < len(damaged):
            damaged[at] ^= 1 << source.randrange(8)
        elif deed == 2:
            damaged[at : at + 1] = bytes([source.choice(TELLING)])
        elif deed == 3:
            damaged[at:at] = bytes(source.choices(TELLING, k=source.randrange(1, 9)))
        elif deed == 4:
            del damaged[at : at + source.choice([1, 2, 8, 64])]
        elif deed == 5:
            del damaged[at:]
        elif deed <= 7:
            code = source.choice("BHIQ")
            size = struct.calcsize(code)
            at -= at % size
            value = source.choice(WILD) + source.choice([0, 0, 1, -1, len(data)])
            damaged[at : at + size] = (value % (1 << 8 * size)).to_bytes(size, "little")
        elif deed == 8:
            start = source.randrange(len(damaged) + 1)
            damaged[at:at] = damaged[start : start + source.choice([1, 8, 64])]
        elif other:
            start = source.randrange(len(other))
            damaged[at:] = other[start:]
    return bytes(damaged[:MOST_BYTES])


class _Unpickler(pickle.Unpickler):
    """Loads what names nothing but what is in a set; or, in order to make one, notes the names."""

    def __init__(self, data, buffers, names, notes=False):
        super().__init__(io.BytesIO(data), buffers=buffers)
        self._names = names
        self._notes = notes

    def find_class(self, module, name):
        if self._notes:
            self._names.add((module, name))
        if (module, name) not in self._names:
            raise pickle.UnpicklingError(f"{module}.{name} is not to be loaded here")
        return super().find_class(module, name)


@contextlib.contextmanager
def _unpickling_by(function):
    with (
        unittest.mock.patch.object(_codec, "_unpickle", function),
        unittest.mock.patch.object(_pickles, "_unpickle", function),
    ):
        yield


@functools.cache
def _safe_names():
    """Return what the sound encodings name."""
    names = set()

    def note(data, *, buffers=None):
        return _Unpickler(bytes(data), buffers, names, notes=True).load()

    with _unpickling_by(note):
        for kind, data in encodings():
            loads(kind, data)
    return names


def _load_safely(data, *, buffers=None):
    data = bytes(data)
    for opcode, argument, _ in pickletools.genops(data):
        if "PUT" in opcode.name and argument > MOST_MEMORIES:
            raise pickle.UnpicklingError("a memo of that size takes memory, whoever loads it")
    return _Unpickler(data, buffers, _safe_names()).load()


@contextlib.contextmanager
def safe_pickles():
    """Within this, nothing is run that is not known to be harmless, whatever pickles say."""
    _safe_names()
    with _unpickling_by(_load_safely):
        yield


def load(kind, data, in_place):
    """Load as `get` does; return whether that worked. Refusals are clear; it raises the rest."""
    try:
        item = loads(kind, bytearray(data) if in_place else data, in_place=in_place)
    except CLEAR:
        return False
    _touch(item)
    return True


def _touch(item, depth=3):
    """Read all of what was loaded: an array's items must be where it says."""
    if isinstance(item, numpy.ndarray):
        item.tobytes()
        if item.size and not item.dtype.hasobject and item.flags.writeable:
            item.reshape(-1, order="A").view()[:1] = item.flat[0]
    elif isinstance(item, (list, tuple, set, frozenset)) and depth:
        for part in item:
            _touch(part, depth - 1)
    elif isinstance(item, dict) and depth:
        for part in item.values():
            _touch(part, depth - 1)
    elif isinstance(item, (str, bytes, bytearray)):
        len(item) and item[-1]
