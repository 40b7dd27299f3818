"""Where the memory is of what a queue gave, and whether its blocks are free: for tests of views."""

import gc
import os

import numpy

from shmqueue._inspect import snapshot
from tests import unnamed
from tests.support import LIMIT

# A buffer this large stays where it arrives; a smaller one is copied with its item.
IN_PLACE_BYTES = 16384
ALIGNMENT = 64

DTYPE = "uint32"
ITEM_BYTES = 4


def numbered(seed, nbytes=1 << 18):
    """Return an array of so many bytes that differs at every place from one of another seed."""
    count = nbytes // ITEM_BYTES
    return numpy.arange(seed, seed + count, dtype=DTYPE)


def is_numbered(array, seed, nbytes=1 << 18):
    """Tell whether an array is `numbered` by this seed, whole."""
    return (
        array.dtype == DTYPE
        and array.nbytes == nbytes
        and numpy.array_equal(array, numbered(seed, nbytes))
    )


def pattern(nbytes, seed=3):
    """Return so many bytes that differ at every place from those of another seed."""
    cycle = bytes((seed + n * 7) % 256 for n in range(256))
    return (cycle * (nbytes // 256 + 1))[:nbytes]


# ---- where it is ----


def address_of(buffer):
    """Return the address of an array's, or any contiguous buffer's, first byte."""
    array = buffer if isinstance(buffer, numpy.ndarray) else numpy.frombuffer(buffer, "uint8")
    return array.ctypes.data


def mapping_at(address):
    """Return (permissions, (device, inode), path) of the mapping that an address is in, if any."""
    with open("/proc/self/maps") as maps:
        for line in maps:
            fields = line.split(maxsplit=5)
            first, _, end = fields[0].partition("-")
            if int(first, 16) <= address < int(end, 16):
                path = fields[5].strip() if len(fields) > 5 else ""
                return fields[1], (fields[3], int(fields[4])), path
    return "", ("", 0), ""


def segment_of(queue):
    """Return what identifies the segment of an open queue among mappings."""
    status = os.fstat(queue._attachment.fd)
    return f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}", status.st_ino


def lies_in(segment, buffer):
    """Tell whether a buffer's memory is that of a segment (a queue, or its `segment_of`).

    Not if it is mapped privately: written to, it is memory of this process alone.
    """
    wanted = segment if isinstance(segment, tuple) else segment_of(segment)
    permissions, found, _ = mapping_at(address_of(buffer))
    return found == wanted and permissions.endswith("s")


def assert_in_place(segment, array):
    """Assert that an array lies in the segment, aligned, and may be written."""
    assert lies_in(segment, array)
    assert address_of(array) % ALIGNMENT == 0
    assert array.flags.writeable


# ---- whether all is free ----


def pool(queue):
    """Return the bytes that the pool has, and how many of them are free."""
    seen = snapshot(queue._attachment)
    return seen["pool_bytes"], seen["pool_free_bytes"]


def used_bytes(queue):
    """Return the bytes of the blocks that are not free."""
    reserved, free = pool(queue)
    return reserved - free


def assert_all_free(queue):
    """Assert that no block of an empty queue is in use, once cycles are collected."""
    gc.collect()
    assert queue.qsize() == 0
    reserved, free = pool(queue)
    assert free == reserved


def assert_as_new(queue):
    """Assert that a queue is empty, has all its blocks, and works."""
    assert_all_free(queue)
    queue.put("on")
    assert queue.get(timeout=LIMIT) == "on"


def sweep(queue):
    """Let a newcomer take a seat, who looks for the blocks of the dead."""
    unnamed.another(queue).close()


def drain_silently(queue):
    """Take what a test left in a queue, whatever loading it says."""
    while queue.qsize():
        try:
            queue.get_nowait()
        except Exception:
            continue
