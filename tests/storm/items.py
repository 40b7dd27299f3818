"""Items that tell who put them, in which order, and whether they are whole."""

import random
import struct
import zlib

import numpy

# At the start of all bytes: producer, its number of the item, checksum of what follows.
HEAD = struct.Struct("<QQI4x")
LARGEST = 4 << 20

_noise = random.Random(4).randbytes(2 * LARGEST)


class TornError(AssertionError):
    """An item that isn't what was put."""


def random_size(rng, smallest=HEAD.size, largest=LARGEST):
    """Return a number of bytes: every magnitude as often as any other."""
    if rng.random() < 0.05:
        return smallest
    return smallest - 1 + int((largest - smallest + 1) ** rng.random())


def fill(target, producer, number, rng):
    """Write a body that only this number has, and what proves it, into a buffer of bytes."""
    view = memoryview(target).cast("B")
    size = view.nbytes - HEAD.size
    start = rng.randrange(len(_noise) - size + 1)
    view[HEAD.size :] = _noise[start : start + size]
    HEAD.pack_into(view, 0, producer, number, _checksum(view, producer, number))


def filled(size, producer, number, rng):
    """Return a bytearray of so many bytes that is filled."""
    target = bytearray(size)
    fill(target, producer, number, rng)
    return target


def check(data):
    """Return the producer and the number that bytes were filled by; raise if they are not whole."""
    view = memoryview(data).cast("B")
    if view.nbytes < HEAD.size:
        raise TornError(f"an item of {view.nbytes} bytes")
    producer, number, checksum = HEAD.unpack_from(view)
    if _checksum(view, producer, number) != checksum:
        raise TornError(f"item {number} of producer {producer}, {view.nbytes} bytes, is not whole")
    return producer, number


def _checksum(view, producer, number):
    return zlib.crc32(view[HEAD.size :], (producer * 1_000_003 + number) & 0xFFFFFFFF)


# Each makes an item of filled bytes.
SHAPES = [
    bytes,
    bytearray,
    lambda data: numpy.frombuffer(data, "uint8"),
    lambda data: numpy.frombuffer(data, "uint8"),
    lambda data: {"frame": numpy.frombuffer(data, "uint8"), "scale": 0.5, "name": "soak"},
    lambda data: [None, (numpy.frombuffer(data, "uint8"), numpy.zeros(3000)), "end"],
    # Not contiguous: it is copied row by row.
    lambda data: numpy.repeat(numpy.frombuffer(data, "uint8"), 2)[::2],
]


def data_of(item):
    """Return the bytes that an item was made of, as they lie in it."""
    if isinstance(item, dict):
        return item["frame"]
    return item[1][0] if isinstance(item, list) else item
