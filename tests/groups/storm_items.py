"""Items of the storm over a stream: they tell who put them, as which, and whether they are whole.

Most are bytes. Others are arrays, to whose words a stage adds one, for the stages after it: chunk
by chunk, from the front to the end. The first words of each nobody changes.
"""

import struct

import numpy

from tests.storm.items import TornError

HEAD = struct.Struct("<QQ")
ARRAY = 0
# By turns, in bytes: of even producers, and of odd ones, whose batches are copied for long.
SIZES = (
    (16, 60, 4000, ARRAY, 3000, 20_000, ARRAY, 200_000),
    (16_000, 16_000, ARRAY, 16_000, 16_000, 16_000, 16_000, 60),
)

# An array, in words of 64 bits: 200 kB.
FIXED = 5000
CHUNKS, CHUNK = 5, 4000
WORDS = FIXED + CHUNKS * CHUNK
_RAMP = numpy.arange(0, 2 * WORDS, 2, dtype="uint64")
# Of the first word: producer, number, and bits that the ramp needs.
PRODUCER_SHIFT, NUMBER_SHIFT, NUMBER_MASK = 48, 17, (1 << 31) - 1

# How much of an item is changed.
UNCHANGED, CHANGED, IN_PART = range(3)


def size_of(producer, number):
    sizes = SIZES[producer % len(SIZES)]
    return sizes[number % len(sizes)]


def made(producer, number):
    """Return an item, as it is put."""
    if size_of(producer, number) == ARRAY:
        return _RAMP + numpy.uint64(producer << PRODUCER_SHIFT | number << NUMBER_SHIFT)
    head = HEAD.pack(producer, number)
    size = size_of(producer, number)
    return (head * (size // len(head) + 1))[:size]


def is_array(item):
    return isinstance(item, numpy.ndarray)


def chunks(array):
    """Return the parts of an array that are changed one after the other."""
    return array[FIXED:].reshape(CHUNKS, CHUNK)


def read(item):
    """Return who put an item, and as which; TornError if it is not whole.

    Each word of an array must be as it was put, or changed, at this moment.
    """
    if is_array(item):
        return _changes(item)[:2]
    producer, number = HEAD.unpack_from(item)
    if item != made(producer, number):
        raise TornError(f"item {number} of producer {producer}, {len(item)} bytes, is not whole")
    return producer, number


def read_settled(item):
    """Return the same, and how much of the item is changed, when nobody changes it any more.

    Somebody who was killed has changed some chunks, and not begun with those behind them.
    """
    if not is_array(item):
        return *read(item), UNCHANGED
    producer, number, changes = _changes(item)
    counts = [int(count) for count in chunks(changes).sum(axis=1)]
    if counts == [0] * CHUNKS:
        return producer, number, UNCHANGED
    if counts == [CHUNK] * CHUNKS:
        return producer, number, CHANGED
    begun = sum(count > 0 for count in counts)
    if counts != [CHUNK] * (begun - 1) + [counts[begun - 1]] + [0] * (CHUNKS - begun):
        raise TornError(
            f"array {number} of producer {producer} is changed here and there: {counts}"
        )
    return producer, number, IN_PART


def _changes(array):
    """Return who put an array, as which, and what was added to each of its words."""
    if array.shape != (WORDS,) or array.dtype != "uint64":
        raise TornError(f"an array of {array.shape}, {array.dtype}")
    first = int(array[0])
    changes = array - (_RAMP + numpy.uint64(first))
    producer, number = first >> PRODUCER_SHIFT, first >> NUMBER_SHIFT & NUMBER_MASK
    is_named = first == producer << PRODUCER_SHIFT | number << NUMBER_SHIFT
    if not is_named or changes[:FIXED].any() or changes.max() > 1:
        raise TornError(f"array {number} of producer {producer} is not whole")
    return producer, number, changes
