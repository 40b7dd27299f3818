"""Segments that are no longer whole, or not of this layout; rights and seats (P7, P9)."""

import contextlib
import os
import pathlib
import stat
import struct

import pytest

import shmqueue
from shmqueue import SharedMemoryQueue, _format, errors
from tests import support
from tests.api import workers
from tests.support import SHM

needs_root = pytest.mark.skipif(
    os.geteuid() != 0, reason="takes on another user's id, which this user may not"
)

NOBODY = 65534

# Whatever stands there: attaching works or raises one of these.
CLEAR = (errors.SegmentError, errors.NoFreeSeatError, ValueError, OSError)

# As much of a segment as a small queue writes to.
WRITTEN = 64 * 1024

SMALL = {"capacity": 4, "item_size": 64, "max_processes": 4}


def _entry(row):
    """Return (structure, field, offset, size) of a row of the field table."""
    values = row.values() if isinstance(row, dict) else row
    return tuple(values)[:4]


def _field(name):
    """Return offset and size of a field of the header."""
    for row in _format.layout_fields():
        structure, field, offset, size = _entry(row)
        if (structure, field) == ("header", name):
            return offset, size
    raise AssertionError(f"header has no field {name}")


def _path(name, run_id):
    return SHM / f"shmq.{name}@{run_id}"


def _patch(path, offset, data):
    with open(path, "r+b") as file:
        file.seek(offset)
        file.write(data)


def _head(path):
    with open(path, "rb") as file:
        return file.read(WRITTEN)


@pytest.fixture
def abandoned(create, run_id):
    """Return the path of a sound segment with two items, to which nobody is attached."""
    queue = create("q", **SMALL)
    queue.put_batch(["one", "two"])
    queue.close()
    return _path("q", run_id)


class TestTruncated:
    @pytest.mark.parametrize("size", [256, 4096, 0.5, -4096, -1], ids=str)
    def test_it_is_refused_as_truncated(self, abandoned, attach, size):
        whole = abandoned.stat().st_size
        size = int(whole * size) if isinstance(size, float) else size
        os.truncate(abandoned, size if size > 0 else whole + size)
        with pytest.raises(errors.TruncatedSegmentError) as caught:
            attach()
        assert str(whole) in str(caught.value).replace(",", "").replace("_", "")

    @pytest.mark.parametrize("size", [0, 1, 8, 16, 64, 255])
    def test_cut_within_its_header_it_is_refused(self, abandoned, attach, size):
        os.truncate(abandoned, size)
        with pytest.raises(errors.SegmentError):
            attach()

    def test_a_longer_file_is_refused_or_works(self, abandoned, attach):
        os.truncate(abandoned, abandoned.stat().st_size + 4096)
        try:
            queue = attach()
        except errors.SegmentError:
            return
        assert queue.get_batch(5) == ["one", "two"]


class TestOtherLayouts:
    def _number(self, path, name):
        offset, size = _field(name)
        return offset, size, int.from_bytes(_head(path)[offset : offset + size], "little")

    def test_another_version_is_refused_naming_both(self, abandoned, attach):
        offset, size, version = self._number(abandoned, "layout_version")
        for other in (version + 1, version + 76, 0, 2**31):
            _patch(abandoned, offset, other.to_bytes(size, "little"))
            with pytest.raises(errors.SegmentVersionError) as caught:
                attach()
            assert str(other) in str(caught.value)
            assert str(version) in str(caught.value)
        _patch(abandoned, offset, version.to_bytes(size, "little"))
        assert attach().get_batch(5) == ["one", "two"]

    def test_another_byte_order_is_refused_and_named(self, abandoned, attach):
        offset, size = _field("byte_order")
        _patch(abandoned, offset, _head(abandoned)[offset : offset + size][::-1])
        with pytest.raises(errors.SegmentError, match=r"(?i)byte.order|endian"):
            attach()

    def test_a_header_wholly_of_another_byte_order_is_refused_and_named(self, abandoned, attach):
        head = _head(abandoned)
        for name in ("magic", "layout_version", "byte_order"):
            offset, size = _field(name)
            _patch(abandoned, offset, head[offset : offset + size][::-1])
        with pytest.raises(errors.SegmentError, match=r"(?i)byte.order|endian"):
            attach()

    def test_another_magic_is_foreign(self, abandoned, attach):
        offset, size = _field("magic")
        _patch(abandoned, offset, b"\x89PNG\r\n\x1a\n"[:size])
        with pytest.raises(errors.ForeignSegmentError):
            attach()

    @pytest.mark.parametrize("field", ["capacity", "item_size", "segment_bytes", "serializer"])
    def test_an_altered_constant_is_corruption(self, abandoned, attach, field):
        offset, size = _field(field)
        sound = _head(abandoned)[offset : offset + size]
        for value in (0, 3, 2 ** (8 * size - 1), 2 ** (8 * size) - 1):
            _patch(abandoned, offset, value.to_bytes(size, "little"))
            with pytest.raises(errors.SegmentError):
                attach()
        _patch(abandoned, offset, sound)
        assert attach().get_batch(5) == ["one", "two"]


def _use(run_id):
    """Attach and do a little of everything; return normally or raise a clear error."""
    queue = SharedMemoryQueue("q", run_id=run_id)
    try:
        repr(queue)
        queue.get_metrics()
        queue.qsize()
        for call in (
            lambda: queue.get(timeout=0.02),
            lambda: queue.put("three", timeout=0.02),
            lambda: queue.put_batch(["four", b"x" * 500], timeout=0.02),
            lambda: queue.get_batch(10, timeout=0.02),
            queue.get_metrics,
        ):
            with contextlib.suppress(queue.Empty, queue.Full, errors.ShutDown, *CLEAR):
                call()
    finally:
        queue.close()


def _use_each_damage(run_id, damages, progress):
    """Write each (offset, bytes) into the segment, use it, and restore it."""
    path = _path("q", run_id)
    sound = _head(path)
    refused = 0
    for number, (offset, data) in enumerate(damages):
        pathlib.Path(progress).write_text(str(number))
        _patch(path, offset, data)
        try:
            _use(run_id)
        except CLEAR:
            refused += 1
        _patch(path, 0, sound)
    return refused


class TestScribbled:
    @pytest.fixture
    def refusals(self, abandoned, run_id, tmp_path):
        """Try damages in a child; return how many were refused, fail where it died or hung."""

        def count_refusals(damages):
            progress, sound = tmp_path / "progress", _head(abandoned)
            failures = []
            while len(failures) < 5:
                try:
                    refused = support.run_in_fork(_use_each_damage, run_id, damages, str(progress))
                    break
                except support.ChildError as error:
                    number = int(progress.read_text())
                    failures.append((damages[number], str(error)))
                    damages = damages[number + 1 :]
                    _patch(abandoned, 0, sound)
            assert not failures, "\n".join(f"{data} at {at}: {e}" for (at, data), e in failures)
            return refused

        return count_refusals

    @pytest.mark.parametrize("mask", [0xFF, 0x01, 0x80], ids=hex)
    def test_no_damaged_byte_kills_or_hangs_whoever_attaches(self, abandoned, refusals, mask):
        sound = _head(abandoned)
        # The header, and the tail, the ends of pool and done, and the first head after it.
        damages = [(at, bytes([sound[at] ^ mask])) for at in range(256 + 4 * 128)]
        assert refusals(damages) >= 100

    @pytest.mark.parametrize("end", ["tail", "pool", "done", "head"])
    def test_no_wild_number_in_an_end_kills_or_hangs_whoever_attaches(self, refusals, end):
        values = [*range(8), 100, 2**16, 2**31, 2**32 + 1, 2**63 - 1, 2**63, 2**64 - 2, 2**64 - 1]
        start = 256 + 128 * ["tail", "pool", "done", "head"].index(end)
        places = range(start, start + 128, 8)
        refusals([(at, struct.pack("<Q", value)) for at in places for value in values])

    def test_no_wild_number_in_slots_or_seats_kills_or_hangs_whoever_attaches(
        self, abandoned, refusals
    ):
        used = _head(abandoned).rstrip(b"\0")
        values = (1, 2**31, 2**64 - 1)
        # Behind the ends: size classes, seats and the slots that hold the two items.
        places = range(256 + 4 * 128, len(used) + 64, 8)
        touched = [at for at in places if any(used[at : at + 8])]
        refusals([(at, struct.pack("<Q", value)) for at in touched for value in values])

    def test_zeros_and_ones_all_over_are_refused(self, abandoned, attach):
        sound = _head(abandoned)
        for start, filler in [(8, b"\0"), (8, b"\xff"), (16, b"\0"), (32, b"\0"), (32, b"\xff")]:
            _patch(abandoned, start, filler * (256 - start))
            with pytest.raises(errors.SegmentError):
                attach()
            _patch(abandoned, 0, sound)
        assert attach().get_batch(5) == ["one", "two"]


def _become_nobody():
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def _attach_as_nobody(name, run_id, **options):
    _become_nobody()
    try:
        with SharedMemoryQueue(name, run_id=run_id, **options) as queue:
            return queue.get_nowait()
    except OSError as error:
        return type(error).__name__, str(error)


def _attach_as_nobody_to_others(name, run_id):
    return _attach_as_nobody(name, run_id, allow_other_owner=True)


def _create_as_nobody(name, run_id):
    _become_nobody()
    with SharedMemoryQueue(name, create=True, run_id=run_id, mode=0o666) as queue:
        queue.put("of nobody")


def _unlink_as_nobody(name, run_id):
    _become_nobody()
    try:
        shmqueue.unlink(name, run_id)
    except PermissionError:
        return "refused"
    return "done"


@needs_root
class TestRights:
    def test_another_user_may_not_attach(self, create, run_id):
        create("tasks").put("secret")
        kind, message = support.run_in_fork(_attach_as_nobody, "tasks", run_id)
        assert kind == "PermissionError"
        assert "tasks" in message

    def test_another_user_may_attach_where_the_mode_allows_it(self, create, run_id):
        create("tasks", mode=0o666).put("shared")
        found = support.run_in_fork(_attach_as_nobody_to_others, "tasks", run_id)
        assert found == "shared"

    def test_another_user_may_not_unlink(self, create, run_id):
        queue = create("tasks", mode=0o666)
        assert support.run_in_fork(_unlink_as_nobody, "tasks", run_id) == "refused"
        assert (SHM / queue.segment_name.lstrip("/")).exists()

    def test_a_segment_of_another_user_is_trusted_only_when_asked(self, attach, run_id):
        support.run_in_fork(_create_as_nobody, "tasks", run_id)
        try:
            with pytest.raises((PermissionError, errors.SegmentError), match="allow_other_owner"):
                attach("tasks")
            assert attach("tasks", allow_other_owner=True).get() == "of nobody"
        finally:
            assert shmqueue.unlink("tasks", run_id)

    def test_a_mode_without_write_is_refused_and_nobody_dies(self, create, run_id):
        create("tasks", mode=0o644).put("x")
        kind, _message = support.run_in_fork(_attach_as_nobody_to_others, "tasks", run_id)
        assert kind == "PermissionError"


class TestSeats:
    def test_one_process_too_many_is_told_so(self, create, start, signs, ctx, run_id):
        queue, words = create(max_processes=2), signs(ctx)
        child = start(ctx, workers.attach_and_stay, "q", run_id, words.sender)
        words.await_word("attached")
        with pytest.raises(support.ChildError, match="NoFreeSeatError") as caught:
            start(ctx, workers.put_by_name, "q", run_id, ["no seat"]).result()
        assert "max_processes" in str(caught.value)
        assert queue.get_nowait() == child.pid
        assert queue.empty()
        child.kill()

    def test_the_seat_of_a_killed_process_can_be_had_again(self, create, start, signs, ctx, run_id):
        queue, words = create(max_processes=2), signs(ctx)
        for _ in range(4):
            child = start(ctx, workers.attach_and_stay, "q", run_id, words.sender)
            words.await_word("attached")
            pid = child.pid
            child.kill()
            assert queue.get_nowait() == pid
        start(ctx, workers.put_by_name, "q", run_id, ["a seat"]).result()
        assert queue.get_nowait() == "a seat"

    def test_a_seat_is_free_again_after_close(self, create, start, signs, ctx, run_id):
        queue = create(max_processes=1)
        queue.put("x")
        with pytest.raises(support.ChildError, match="NoFreeSeatError"):
            start(ctx, workers.get_by_name, "q", run_id, 1).result()
        queue.close()
        assert start(ctx, workers.get_by_name, "q", run_id, 1).result() == ["x"]

    def test_a_forked_child_without_a_seat_is_told_so_at_its_first_operation(self, create):
        queue = create(max_processes=1)
        with pytest.raises(support.ChildError, match="NoFreeSeatError"):
            support.run_in_fork(workers.put_all, queue, ["x"])
        assert queue.empty()
        queue.put("the parent goes on")
        assert queue.get() == "the parent goes on"


def test_a_segment_is_a_regular_file_without_execute_rights(create):
    queue = create()
    mode = (SHM / queue.segment_name.lstrip("/")).stat().st_mode
    assert stat.S_ISREG(mode)
    assert not mode & 0o111
