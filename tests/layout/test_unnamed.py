"""The segment of a queue without a name: its header, what it costs, and that nobody can cut it."""

import contextlib
import errno
import fcntl
import itertools
import mmap
import os
import resource
import stat

import pytest

from shmqueue import _format, errors, segment
from tests import support, unnamed
from tests.protocol.raw import ENDS, HEAD, POOL, SIZES, TAIL
from tests.unnamed import FIRST_BACKED, FIRST_REGION, RawUnnamed

PAGE = 4096


class TestHeader:
    def test_it_is_one_of_this_layout(self, raw):
        assert raw.bytes_at(0, 8) == b"SHMQUEUE"
        assert raw.get("header", 0, "layout_version") == _format.layout_version()
        assert raw.get("header", 0, "stream_offset") == 0
        assert raw.get("header", 0, "seats_granted") == 1

    @pytest.mark.parametrize(
        ("maxsize", "capacity"), [(0, 1 << 62), (-5, 1 << 62), (1, 1), (3, 3), (2**31, 2**31)]
    )
    def test_it_tells_the_bound(self, make, maxsize, capacity):
        raw = RawUnnamed(make(maxsize)._attachment)
        assert raw.get("header", 0, "capacity") == capacity
        raw.close()

    def test_slots_are_whole_records_and_items_of_a_page_lie_in_them(self, raw):
        assert raw.get("header", 0, "slot_bytes") == unnamed.JUMP
        assert raw.get("header", 0, "item_size") == unnamed.INLINE

    def test_many_processes_may_attach(self, raw):
        assert raw.get("header", 0, "max_seats") == 4095

    def test_areas_follow_each_other_without_overlap(self, raw):
        def offset(area):
            return raw.get("header", 0, f"{area}_offset")

        count = raw.region_count
        ends = {
            "ends": offset("ends") + ENDS * SIZES["end"],
            "classes": offset("classes") + 96 * SIZES["class"],
            "regions": offset("regions") + count * SIZES["region"],
            "seats": offset("seats") + 4095 * SIZES["seat"],
            "slots": offset("slots") + unnamed.region_start(count),
            "blocks": offset("blocks") + raw.get("header", 0, "max_blocks") * SIZES["block"],
            "pool": offset("pool") + raw.get("header", 0, "pool_limit_bytes"),
        }
        areas = list(ends)
        for area, following in itertools.pairwise(areas):
            assert ends[area] <= offset(following), area
        assert ends["pool"] == raw.get("header", 0, "segment_bytes")
        for area in ("slots", "blocks", "pool"):
            assert offset(area) % PAGE == 0

    def test_the_regions_have_room_for_more_than_the_memory_that_there_is(self, raw):
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        assert unnamed.region_start(raw.region_count) * 2 >= min(memory, segment.RING_LIMIT_BYTES)
        assert unnamed.region_start(raw.region_count) <= segment.RING_LIMIT_BYTES

    def test_a_new_ring_stands_at_the_start_of_its_first_region(self, raw):
        assert raw.regions() == (0, 0)
        assert raw.position(HEAD) == raw.position(TAIL) == 0
        assert [raw.owner(end) for end in range(ENDS)] == [0] * ENDS
        assert [raw.get("end", end, "state") for end in range(4)] == [1] * 4
        assert raw.get("end", POOL, "sequence") == 0
        assert raw.backed() == [(FIRST_BACKED, FIRST_BACKED)] + [(0, 0)] * (raw.region_count - 1)

    def test_the_two_place_entries_of_an_end_never_name_the_same_sequence(self, queue, raw):
        for end in (TAIL, HEAD):
            (first, _), (second, _) = raw.entries(end)
            assert first != second
        for number in range(10):
            queue.put(number)
            queue.get()
            for end in (TAIL, HEAD):
                assert {sequence for sequence, _ in raw.entries(end)} == {number, number + 1}


F_SEAL_EXEC = 0x20


class TestFile:
    def test_its_length_is_what_the_header_says_and_costs_nothing(self, queue, raw):
        status = os.fstat(queue._attachment.fd)
        assert status.st_size == raw.get("header", 0, "segment_bytes")
        assert raw.memory_bytes() <= 32 * 1024 + FIRST_BACKED

    def test_it_has_no_name_and_is_its_owners_alone(self, queue):
        status = os.fstat(queue._attachment.fd)
        assert status.st_nlink == 0
        assert stat.S_IMODE(status.st_mode) == 0o600
        assert support.segment_files("shmqueue") == []

    def test_two_descriptors_are_all_it_needs_and_both_go_with_it(self):
        before = support.open_descriptors()
        queue = unnamed.make_queue()
        opened = {fd for fd in support.open_descriptors() if fd not in before}
        assert opened == {queue._attachment.fd, queue._attachment.poll_fd}
        for fd in opened:
            assert fcntl.fcntl(fd, fcntl.F_GETFD) & fcntl.FD_CLOEXEC
        queue.close()
        assert support.open_descriptors() == before

    @pytest.mark.parametrize("size", [0, 1, PAGE, FIRST_REGION])
    def test_it_cannot_be_truncated(self, queue, size):
        queue.put("there")
        whole = os.fstat(queue._attachment.fd).st_size
        for length in (size, whole - 1, whole + 1, whole + PAGE):
            with pytest.raises(PermissionError) as caught:
                os.ftruncate(queue._attachment.fd, length)
            assert caught.value.errno == errno.EPERM
        with pytest.raises(PermissionError):
            os.truncate(f"/proc/self/fd/{queue._attachment.fd}", size)
        assert os.fstat(queue._attachment.fd).st_size == whole
        assert queue.get_nowait() == "there"

    def test_its_seals_are_final(self, queue):
        fd = queue._attachment.fd
        wanted = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
        # Nor may it be executed, where the system knows of that (Linux 6.3).
        assert unnamed.seals_of(fd) & ~F_SEAL_EXEC == wanted
        with pytest.raises(PermissionError):
            fcntl.fcntl(fd, fcntl.F_ADD_SEALS, fcntl.F_SEAL_WRITE)

    def test_holes_may_still_be_made_and_filled(self, queue, raw):
        """Giving memory back must not be what the seals forbid."""
        for _ in range(500):
            queue.put(bytes(3000))
        before = raw.memory_bytes()
        for _ in range(500):
            queue.get()
        assert raw.memory_bytes() < before


class TestAttaching:
    def _copies(self, queue):
        return os.dup(queue._attachment.fd), os.dup(queue._attachment.poll_fd)

    def test_a_process_that_has_it_shares_its_attachment(self, queue):
        before = support.open_descriptors()
        fd, poll_fd = self._copies(queue)
        assert segment.attach_descriptors(fd, poll_fd) is queue._attachment
        assert support.open_descriptors() == before

    @pytest.mark.parametrize("size", [0, 8, 100, PAGE])
    def test_what_is_no_segment_is_refused_and_both_descriptors_are_closed(self, size):
        before = support.open_descriptors()
        fd = os.memfd_create("other", os.MFD_CLOEXEC)
        os.write(fd, b"\x01" * size)
        with pytest.raises(errors.SegmentError):
            segment.attach_descriptors(fd, os.eventfd(0, os.EFD_CLOEXEC))
        assert support.open_descriptors() == before

    @pytest.mark.parametrize("field", ["region_count", "regions_offset", "capacity", "slot_bytes"])
    def test_a_copy_with_an_altered_constant_is_refused(self, queue, raw, field):
        fd = os.memfd_create("copy", os.MFD_CLOEXEC)
        os.ftruncate(fd, raw.get("header", 0, "segment_bytes"))
        os.pwrite(fd, raw.bytes_at(0, PAGE), 0)
        with mmap.mmap(fd, PAGE) as header:
            at = RawUnnamed(queue._attachment)
            offset, size = unnamed.fields()["header", field]
            header[offset : offset + size] = (at.get("header", 0, field) + 1).to_bytes(
                size, "little"
            )
            at.close()
        with pytest.raises(errors.CorruptSegmentError):
            segment.attach_descriptors(fd, os.eventfd(0, os.EFD_CLOEXEC))


def _make_under_limit(limit, value):
    hard = resource.getrlimit(limit)[1]
    before = len(support.open_descriptors())
    resource.setrlimit(limit, (value, hard))
    try:
        queue = unnamed.make_queue()
    except OSError as error:
        return error.errno, len(support.open_descriptors()) - before
    finally:
        resource.setrlimit(limit, (hard, hard))
    for number in range(100):
        queue.put(number)
    assert support.drain(queue, 100) == list(range(100))
    return 0, 2


class TestLimits:
    def test_less_address_space_means_fewer_regions(self):
        assert support.run_in_fork(_make_under_limit, resource.RLIMIT_AS, 8 << 30) == (0, 2)

    def test_a_limit_on_the_size_of_files_means_fewer_regions(self):
        """As far as it goes: what no queue fits is an error."""
        assert support.run_in_fork(_make_under_limit, resource.RLIMIT_FSIZE, 4 << 30) == (0, 2)
        code, left = support.run_in_fork(_make_under_limit, resource.RLIMIT_FSIZE, 65536)
        assert (code, left) == (errno.EFBIG, 0)

    @pytest.mark.parametrize("spare", [0, 1, 2])
    def test_no_descriptor_left_is_an_os_error_that_leaves_none(self, spare):
        assert support.run_in_fork(_make_with_descriptors_left, spare) == (errno.EMFILE, 0)

    def test_three_descriptors_are_enough(self):
        assert support.run_in_fork(_make_with_descriptors_left, 3) == (0, 0)


def _make_with_descriptors_left(spare):
    """Make a queue when so many descriptors may be opened; return errno and how many stay open."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    # What Python opens once and keeps.
    unnamed.make_queue().close()
    before = len(support.open_descriptors())
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(support.open_descriptors()) + 4, hard))
    fillers = []
    with contextlib.suppress(OSError):
        while True:
            fillers.append(os.dup(0))
    for _ in range(spare):
        os.close(fillers.pop())
    code = 0
    try:
        unnamed.make_queue().close()
    except OSError as error:
        code = error.errno
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    return code, len(support.open_descriptors()) - before - len(fillers)
