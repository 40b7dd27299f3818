"""Damaged counts: nobody looks at what has no memory; a look takes none and kills nobody."""

import contextlib
import json
import os
import struct

import numpy
import pytest

from shmqueue import errors, stats
from tests import mounts, unnamed
from tests.hostile.calls import CLEAR
from tests.protocol import regions
from tests.protocol.raw import HEAD, POOL, SIZES, TAIL, RawSegment
from tests.support import LIMIT, Thread

LARGE = bytes(20_000)
SEVERAL_PAGES = 64 << 10

# What a damaged descriptor and a damaged reference to it say: as much as the whole pool.
LIE_BYTES = 1 << 29
LIE_PAGES = LIE_BYTES // 4096


def _memory(queue):
    return os.fstat(queue._attachment.fd).st_blocks * 512


def _look_everywhere(queue):
    """Whatever goes through the descriptors: sweeps, searches, accounts, growth."""
    for look in (
        lambda: unnamed.another(queue).close(),
        lambda: stats.metrics(queue._attachment),
        lambda: queue.put(LARGE),
        lambda: queue.get(timeout=0),
        lambda: queue.reserve(1 << 20).abort(),
        lambda: queue.get_batch(5, timeout=0),
    ):
        with contextlib.suppress(*CLEAR):
            look()


@pytest.fixture(params=["named", "unnamed"])
def either(request, create, make):
    """Return a queue of either kind, with a large item in it, and the words of its segment."""
    queue = create() if request.param == "named" else make()
    queue.put(LARGE)
    raw = RawSegment(f"/proc/self/fd/{queue._attachment.fd}")
    yield queue, raw
    raw.close()


@pytest.mark.parametrize("count", [2, 65, 1000, 1 << 24, 1 << 63, (1 << 64) - 1])
def test_a_damaged_count_of_blocks_takes_no_memory(either, count):
    queue, raw = either
    before = _memory(queue)
    raw.set("end", POOL, "sequence", count)
    _look_everywhere(queue)
    # Two large items, and what the descriptors of one page say.
    assert _memory(queue) - before < 100_000
    assert raw.get("end", POOL, "sequence") == count


def test_with_a_damaged_count_of_blocks_what_is_in_the_queue_is_still_got(either):
    queue, raw = either
    raw.set("end", POOL, "sequence", (1 << 64) - 1)
    assert queue.get(timeout=0) == LARGE
    with pytest.raises(errors.CorruptSegmentError):
        queue.put(numpy.zeros(1_000_000))
    queue.put(b"small ones need no block")
    assert queue.get(timeout=0) == b"small ones need no block"


@pytest.mark.parametrize(("end", "sequence"), [(HEAD, 1 << 40), (TAIL, 1 << 63)])
@pytest.mark.parametrize("timeout", [0, LIMIT])
def test_ends_that_contradict_each_other_are_not_called_a_full_queue(
    either, end, sequence, timeout
):
    queue, raw = either
    raw.set("end", end, "sequence", sequence)
    items = [{None: "what is pickled only when there is room"}] * 2
    with pytest.raises(errors.CorruptSegmentError):
        queue.put(items[0], timeout=timeout)
    with pytest.raises(errors.CorruptSegmentError):
        queue.put_batch(items, timeout=timeout)


def test_a_tail_that_was_set_back_does_not_lead_the_head_round_in_a_circle():
    """In regions old items lie in front of those that are there, and look like them."""
    queue = regions.through_regions()
    raw = unnamed.RawUnnamed(queue._attachment)
    queue.get()  # from here on it knows of more than the tail tells
    next_slot = raw.slots_offset + raw.position(HEAD)
    for at, size in (
        (next_slot, SIZES["slot"]),
        (raw.offset_of("end", TAIL, "sequence"), 8),
        (raw.offset_of("end", TAIL, "place"), 32),
    ):
        os.pwrite(queue._attachment.fd, bytes(size), at)
    shutting = Thread(queue.shutdown, immediate=True)
    with pytest.raises(errors.CorruptSegmentError):
        shutting.result(LIMIT)
    raw.close()
    queue.close()


def test_blocks_that_another_process_makes_are_seen_by_all(either):
    """The bound is that of what has memory, not of what was seen once."""
    queue, _raw = either
    other = unnamed.another(queue)
    assert queue.get(timeout=0) == LARGE
    sizes = [20_000 + 4096 * number for number in range(300)]
    kept = []
    for size in sizes:
        other.put(numpy.full(size // 8, size, dtype="int64"))
        kept.append(queue.get(timeout=0))
    assert [int(array[-1]) for array in kept] == sizes
    assert stats.metrics(queue._attachment)["pool_bytes"] >= sum(sizes)
    other.close()


def test_a_damaged_length_takes_no_more_memory_than_the_segment_has(either):
    queue, raw = either
    position = raw.offset_of("slot", 0)
    if raw.get("header", 0, "region_count"):
        assert raw.get("end", HEAD, "sequence") == 0  # the first slot is the first in the region
    raw.set("block", 0, "pages", LIE_PAGES)
    raw.set("block", 0, "backed", LIE_PAGES)
    os.pwrite(queue._attachment.fd, struct.pack("<Q", LIE_BYTES), position + 32)
    before = _memory(queue)
    with pytest.raises(errors.CorruptSegmentError):
        queue.get(timeout=0)
    assert _memory(queue) - before <= 4096
    queue.put(b"the next one")
    assert queue.get(timeout=0) == b"the next one"


# On a file system without a page left, memory that is missing is a SIGBUS.
FULL = """
import contextlib, json, os, struct, sys
from shmqueue import SharedMemoryQueue, errors, unlink
from tests.hostile.calls import CLEAR
from tests.protocol.raw import POOL, RawSegment

queue = SharedMemoryQueue("q", create=True, capacity=4, item_size=64, max_processes={seats})
queue.put(bytes(20_000))
path = "/dev/shm/shmq.q"
raw = RawSegment(path)
with open("/dev/shm/filler", "wb", buffering=0) as filler, contextlib.suppress(OSError):
    while True:
        filler.write(bytes(4096))
system = os.statvfs("/dev/shm")
assert system.f_bavail == 0
{damage}
refused = 0
for call in (
    queue.get_metrics,
    lambda: queue.put(bytes(20_000), timeout=0),
    lambda: queue.get(timeout=0),
    lambda: queue.put(bytes(200_000), timeout=0),
    queue.get_metrics,
):
    try:
        call()
    except CLEAR:
        refused += 1
queue.close()
queue = SharedMemoryQueue("q")
queue.put("works")
print(json.dumps({{"got": queue.get(timeout=0), "refused": refused}}))
"""


@mounts.needs_mount
@pytest.mark.parametrize(
    ("seats", "damage"),
    [
        (4, 'raw.set("end", POOL, "sequence", 1000)'),
        (4, 'raw.set("end", POOL, "sequence", 2**63)'),
        (4, 'raw.set("end", POOL, "view_rows", 2**64 - 1)'),
        (
            400,
            'raw.set("end", POOL, "view_rows", 400); raw.set("header", 0, "seats_granted", 400)',
        ),
    ],
    ids=["count of blocks", "wild count of blocks", "rows of views", "rows and seats"],
)
def test_with_shared_memory_full_a_damaged_count_is_an_error_and_no_signal(programs, seats, damage):
    program = FULL.format(seats=seats, damage=damage)
    found = json.loads(programs.run(program, prefix=mounts.with_shared_memory("size=2M")))
    assert found["got"] == "works"
    assert found["refused"] >= 1
