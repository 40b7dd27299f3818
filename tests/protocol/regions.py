"""Rings that grow, in the states that differ: where head and tail are, and what lies between."""

from tests import unnamed
from tests.protocol.raw import POOL
from tests.unnamed import FIRST_REGION, RawUnnamed, slot_bytes

SIZE = 3000
LARGE = bytes(range(256)) * 64


def in_one_region():
    """A ring with small items and a large one, in its first region."""
    queue = unnamed.make_queue()
    queue.put_batch([b"a" * 20, LARGE, b"b" * SIZE])
    return queue


def round_its_region():
    """A ring whose tail went round: the head is before it."""
    queue = unnamed.make_queue()
    per_region = FIRST_REGION // slot_bytes(SIZE)
    for _ in range(per_region - 3):
        queue.put(bytes(SIZE))
    for _ in range(per_region - 6):
        queue.get()
    for _ in range(6):
        queue.put(bytes(SIZE))
    queue.put(LARGE)
    return queue


def through_regions():
    """A ring with its head in one region and its tail in another."""
    queue = unnamed.make_queue()
    raw = RawUnnamed(queue._attachment)
    while raw.regions()[1] < 2:
        queue.put(bytes(SIZE))
    queue.put_batch([LARGE, b"x"])
    for _ in range(340):
        queue.get()
    raw.close()
    return queue


def empty_in_a_larger_region():
    queue = unnamed.make_queue()
    raw = RawUnnamed(queue._attachment)
    other, living = raw.living(queue)
    while raw.regions()[1] < 2:
        queue.put(bytes(SIZE))
    raw.set_owner(POOL, living)
    while not queue.empty():
        queue.get()
    raw.set_owner(POOL, 0)
    other.close()
    raw.close()
    return queue


STATES = [in_one_region, round_its_region, through_regions, empty_in_a_larger_region]
