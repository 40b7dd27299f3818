"""Each byte of a header set to each value, and a file cut at every length, on attaching (P7)."""

import collections
import contextlib
import os
import resource
import struct

import pytest

from shmqueue import errors, segment
from shmqueue._core import Attachment
from shmqueue._format import check_header, format_segment
from shmqueue._raw import RawQueue
from shmqueue.stats import metrics
from tests import evidence, support, unnamed
from tests.hostile.calls import CLEAR
from tests.protocol.raw import SIZES, fields
from tests.support import SHM

HEADER = SIZES["header"]
ITEMS = [b"one", b"two"]

# What a byte of these fields is refused with, if it is another than it was. All other fields up to
# the checksum are covered by that; what comes after it changes while the queue is in use.
OWN_REFUSALS = {
    "magic": errors.ForeignSegmentError,
    "layout_version": errors.SegmentVersionError,
    "byte_order": errors.SegmentVersionError,
}
NOT_COVERED = ("seats_granted", "reserved")

# As much as a process may map or take beyond what it has: more than one small segment needs.
ADDRESS_BYTES = 1 << 30


def _limit_address_range():
    with open("/proc/self/statm") as statm:
        pages = int(statm.read().split()[0])
    limit = pages * resource.getpagesize() + ADDRESS_BYTES
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def _refusals():
    """Return for each byte of a header what another value there is refused with; None: it works."""
    kinds = [None] * HEADER
    for (structure, field), (offset, size) in fields().items():
        if structure != "header" or field in NOT_COVERED:
            continue
        kind = OWN_REFUSALS.get(field, errors.CorruptSegmentError)
        kinds[offset : offset + size] = [kind] * size
    return kinds


@pytest.fixture
def small(create, run_id, monkeypatch):
    """Return the path of a small segment with two items, to which nobody is attached."""
    monkeypatch.setattr(segment, "POOL_LIMIT_BYTES", 1 << 20)
    queue = create(capacity=4, item_size=64, max_processes=4)
    queue.put_batch(ITEMS)
    queue.close()
    return SHM / f"shmq.q@{run_id}"


def _attach_with_each_value(path):
    """Return {(byte, what became of it): how many values did that}."""
    _limit_address_range()
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    outcomes = collections.Counter()
    fd = os.open(path, os.O_RDWR)
    for at in range(HEADER):
        (sound,) = os.pread(fd, 1, at)
        for value in range(256):
            os.pwrite(fd, bytes([value]), at)
            try:
                attachment = segment.attach(str(path))
                kind = "works" if attachment.qsize() == len(ITEMS) else "lost its items"
                del attachment
            except errors.SegmentError as error:
                kind = type(error).__name__
            outcomes[at, "unchanged" if value == sound else "changed", kind] += 1
            # Also what attaching wrote itself: a field that counts seats.
            os.pwrite(fd, bytes([sound]), at)
    os.close(fd)
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    return outcomes, grown << 10


def test_each_byte_of_the_header_set_to_each_value_is_refused_as_it_should_or_works(small, attach):
    outcomes, grown = support.run_in_fork(_attach_with_each_value, small)
    expected = collections.Counter()
    for at, kind in enumerate(_refusals()):
        expected[at, "unchanged", "works"] += 1
        expected[at, "changed", "works" if kind is None else kind.__name__] += 255
    assert outcomes == expected
    assert grown < 64 << 20
    assert attach().get_batch(5) == ITEMS
    evidence.report("hostile", {"header_attaches": outcomes.total()})


def test_each_byte_of_the_header_of_an_unnamed_queue_is_checked_the_same_way():
    queue = unnamed.make_queue()
    fd = queue._attachment.fd
    sound, size = os.pread(fd, HEADER, 0), os.fstat(fd).st_size
    for at, kind in enumerate(_refusals()):
        for value in range(256):
            damaged = sound[:at] + bytes([value]) + sound[at + 1 :]
            if kind is None or value == sound[at]:
                check_header(damaged, size, "here")
                continue
            with pytest.raises(kind):
                check_header(damaged, size, "here")
    queue.close()


CALLS = [
    lambda queue: metrics(queue._attachment),
    lambda queue: queue.get(timeout=0),
    lambda queue: queue.put(bytes(30_000), timeout=0),
    lambda queue: queue.put_batch([b"x"] * 3, timeout=0),
    lambda queue: queue.get_batch(10, timeout=0),
]


def _lies(path):
    """Return headers that agree with themselves, but tell of another segment than is there."""
    found = []
    sound = path.read_bytes()[:HEADER]
    size = path.stat().st_size
    for capacity in (1, 2, 3, 8, 1000, 10_000):
        for item_size in (1, 64, 100, 4096):
            for regions in (0, 1, 3):
                geometry = (capacity, item_size, 4, 1 << 20, regions)
                with open(path.with_name(path.name + ".lie"), "w+b") as file:
                    os.unlink(file.name)
                    os.ftruncate(file.fileno(), 1 << 30)
                    format_segment(file.fileno(), *geometry, False, 0, 0, 1, b"", b"", bytes(16), 0)
                    file.seek(0)
                    found.append(file.read(HEADER))
    assert sound not in found
    return found, size


def _use_each_lie(path, lies):
    """Put each header before the same segment, and use it; return how many were used."""
    _limit_address_range()
    whole = path.read_bytes()[: 1 << 16]
    used = 0
    for lie in lies:
        with open(path, "r+b") as file:
            file.write(whole)
            file.seek(0)
            file.write(lie)
        queue = RawQueue()
        try:
            queue._bind(segment.attach(str(path)), "a lie")
        except errors.TruncatedSegmentError:
            continue
        for call in CALLS:
            with contextlib.suppress(*CLEAR):
                call(queue)
        queue.close()
        used += 1
    return used


def test_a_header_that_lies_in_agreement_with_itself_kills_nobody(small):
    lies, size = _lies(small)
    # So that some of what they tell of is there.
    os.truncate(small, size + (8 << 20))
    assert support.run_in_fork(_use_each_lie, small, lies) > len(lies) / 2


def _attach_at_each_length(path, lengths):
    """Cut the file ever shorter; return {what it was refused with: (least, most) bytes}."""
    _limit_address_range()
    seen = {}
    for length in lengths:
        os.truncate(path, length)
        try:
            segment.attach(str(path))
            kind = "works"
        except errors.SegmentError as error:
            kind = type(error).__name__
        least, most = seen.get(kind, (length, length))
        seen[kind] = (min(least, length), max(most, length))
    return seen


def test_a_file_cut_at_every_length_is_refused(small):
    whole = small.stat().st_size
    lengths = [whole, whole - 1, *range(whole - 4096, 8192, -4096), *range(8192, -1, -1)]
    seen = support.run_in_fork(_attach_at_each_length, small, lengths)
    magic = fields()["header", "magic"][1]
    assert seen == {
        "works": (whole, whole),
        "TruncatedSegmentError": (magic, whole - 1),
        # Without a magic it may be anybody's.
        "ForeignSegmentError": (0, magic - 1),
    }
    evidence.report("hostile", {"truncations": len(lengths) - 1})


def test_an_unnamed_segment_cannot_be_cut():
    queue = unnamed.make_queue()
    fd = queue._attachment.fd
    for length in (0, 4096, os.fstat(fd).st_size - 1):
        with pytest.raises(PermissionError):
            os.ftruncate(fd, length)
    queue.put("whole")
    assert queue.get(timeout=1) == "whole"
    queue.close()


@pytest.mark.parametrize("length", [0, 1, 7, 8, 100, 255, 256, 4096, 1 << 20])
def test_a_file_of_any_other_content_given_as_an_unnamed_segment_is_refused(length):
    for content in (bytes(length), b"\xff" * length, struct.pack("<Q", 0x45554555514D4853) * 40):
        fd, poll_fd = os.memfd_create("not-a-queue"), os.eventfd(0)
        os.write(fd, content[:length])
        descriptors = len(support.open_descriptors())
        with pytest.raises(errors.SegmentError):
            Attachment(fd, "nothing", poll_fd)
        assert len(support.open_descriptors()) == descriptors - 2
