"""What is sent, and what is looked at where it arrives.

Each kind makes items from a number, their stamp, which all bytes of an item hold; the first and
the last are looked at. Producers repeat a short table of items that they never change, so that a
library may send from the producer's own memory.
"""

from dataclasses import dataclass
from math import prod

import numpy as np

TABLE_LENGTH = 2
"""Few, because the table lies in memory; consumers know which one is due at each position."""

DICT_ARRAYS = ("image", "depth", "mask")


def stamp_of_array(array):
    return array.item(0), array.item(-1)


def first_of_array(array):
    return array.item(0)


def total_of_array(array):
    return int(array.sum())


def total_of_words(array):
    return int(array.reshape(-1).view(np.uint64).sum())


@dataclass(frozen=True)
class Items:
    """A kind of items. Subclasses set `kind` and make them."""

    kind = ""

    def table(self):
        return [self.make(number + 1) for number in range(TABLE_LENGTH)]


@dataclass(frozen=True)
class Arrays(Items):
    """Arrays of uint8."""

    shape: tuple
    kind = "array"

    @property
    def nbytes(self):
        return prod(self.shape)

    def make(self, number):
        return np.full(self.shape, number, np.uint8)

    def to_bytes(self, array):
        return array.tobytes()

    def from_buffer(self, data):
        return np.frombuffer(data, np.uint8).reshape(self.shape)

    stamp = staticmethod(stamp_of_array)


@dataclass(frozen=True)
class Bytes(Items):
    """bytes objects."""

    nbytes: int
    kind = "bytes"

    def make(self, number):
        return bytes([number]) * self.nbytes

    def stamp(self, data):
        return len(data), data[0], data[-1]


@dataclass(frozen=True)
class Dicts(Items):
    """Dicts that hold three arrays of `array_bytes` and ten scalars."""

    array_bytes: int
    kind = "dict"

    @property
    def nbytes(self):
        return len(DICT_ARRAYS) * self.array_bytes

    def make(self, number):
        scalars = {f"channel-{i}": number + i / 2 for i in range(10)}
        arrays = {name: np.full(self.array_bytes, number, np.uint8) for name in DICT_ARRAYS}
        return scalars | arrays

    def stamp(self, item):
        return item["channel-9"], [stamp_of_array(item[name]) for name in DICT_ARRAYS]
