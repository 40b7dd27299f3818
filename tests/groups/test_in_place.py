"""What a stage changes in place for those after it, and what of groups is bytes."""

import resource

import pytest

from shmqueue import Stream
from tests import support
from tests.support import LIMIT

numpy = pytest.importorskip("numpy")

PIPELINE = {"first": {}, "second": {"after": "first"}}


@pytest.fixture
def stages(make_stream):
    """Return a maker of a stream with a stage that writes and the one after it."""

    def make(**options):
        stream = make_stream(groups=PIPELINE, **options)
        return stream, stream.group("first", writes=True), stream.group("second")

    return make


def _keep_arrays_in_little_memory(run_id, count):
    """Tell which arrays were in place: of a group that reads, and of one that writes."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (8 << 20, 8 << 20))
    in_place = []
    for writes in (False, True):
        shape = {"capacity": 100, "groups": PIPELINE}
        with Stream("stream", run_id=run_id, create=True, **shape) as stream:
            first, second = stream.group("first", writes=writes), stream.group("second")
            kept = []
            for number in range(count):
                stream.put(numpy.full(100_000, 255, "u1"), timeout=LIMIT)
                kept.append(first.get(timeout=LIMIT))
                if writes:
                    kept[-1][:] = number
                first.done()
                assert second.get(timeout=LIMIT).max() == (number if writes else 255)
            in_place.append([not array.flags.owndata for array in kept])
            stream.unlink()
    return in_place


def put_when_taken(stream, items):
    """Put more once the first group has taken what there is."""
    support.wait_until(
        lambda: stream.get_metrics()["groups"][0]["lag"] == 0, "the first to be taken"
    )
    stream.put_batch(items)


class TestArrays:
    @pytest.mark.parametrize("nbytes", [16_384, 20_000, 100_000, 3_000_000])
    def test_of_16_kib_or_more_are_changed_for_those_after(self, stages, nbytes):
        stream, first, second = stages()
        stream.put(numpy.zeros(nbytes, "u1"))
        first.get()[:] = 7
        first.done()
        assert second.get(timeout=LIMIT).min() == 7

    def test_within_other_objects_as_well(self, stages):
        stream, first, second = stages()
        stream.put({"frame": numpy.zeros(20_000, "u1"), "note": "x" * 90_000})
        first.get()["frame"][:] = 7
        first.done()
        assert second.get(timeout=LIMIT)["frame"].min() == 7

    def test_are_changed_in_place_where_memory_lies_that_a_fork_made_private(
        self, make_stream, forks
    ):
        """Of an array that another group got before: its block is used again at once."""
        groups = {"kept": {}, **PIPELINE}
        stream = make_stream(capacity=2, groups=groups)
        keeping, first = stream.group("kept"), stream.group("first", writes=True)
        second = stream.group("second")
        stream.put(numpy.full(25_000, 3.0))
        kept = keeping.get()
        first.get()
        first.done()
        second.get()
        forks.wait(forks.start(lambda: None))
        for number in range(8):
            stream.put(numpy.zeros(25_000), timeout=LIMIT)
            keeping.get(copy=True)
            changed = first.get(timeout=LIMIT)
            changed[:] = number
            child = forks.start(changed.fill, -1.0)
            assert forks.wait(child) == 0
            assert changed.min() == changed.max() == number
            first.done()
            assert second.get(timeout=LIMIT).min() == number
        assert kept.min() == kept.max() == 3.0
        del changed, kept

    def test_are_changed_in_place_however_many_are_kept(self, run_id):
        """A reader gets copies from a quarter of the memory on."""
        read, written = support.run_in_fork(_keep_arrays_in_little_memory, run_id, 20)
        assert written == [True] * 20
        assert read[0] is True
        assert read[-1] is False

    def test_that_are_copies_are_read_only(self, stages):
        """A change in them would be lost without a word."""
        stream, first, second = stages()
        stream.put(numpy.zeros(100))
        with stream.reserve_array(100) as array:
            array[:] = 0
        for array in [first.get(), *first.get_batch(1)]:
            with pytest.raises(ValueError, match="read-only"):
                array[0] = 1
        assert [array.sum() for array in second.get_batch(2)] == [0]
        first.done()
        assert [array.sum() for array in second.get_batch(2)] == [0]

    def test_of_records_are_copies(self, stages):
        stream, first, _ = stages(dtype="i8")
        stream.put_batch([1, 2, 3])
        with pytest.raises(ValueError, match="read-only"):
            first.get_batch(2)[0] = 5
        assert first.get() == 3

    def test_whoever_writes_asks_for_no_copies(self, make_stream, run_id):
        stream = make_stream(groups=PIPELINE)
        with pytest.raises(ValueError, match="copies"):
            stream.group("first", writes=True, copy=True)
        with (
            Stream("stream", run_id=run_id, copy=True) as copying,
            copying.group("first", writes=True) as first,
        ):
            stream.put(numpy.zeros(20_000))
            for get in (first.get, lambda **options: first.get_batch(1, **options)):
                with pytest.raises(ValueError, match="copies"):
                    get(copy=True)
            assert first.get(timeout=LIMIT).flags.writeable


class TestBytes:
    @pytest.mark.parametrize("nbytes", [0, 10, 1000, 100_000])
    def test_every_group_gets_them_in_each_way(self, make_stream, nbytes):
        data = bytes(range(256)) * (nbytes // 256 + 1)
        data = data[:nbytes]
        stream = make_stream(groups=["a", "b"], serializer="bytes")
        for name in ("a", "b"):
            group = stream.group(name)
            if name == "a":
                for _ in range(3):
                    stream.put_bytes(data)
            buffer = bytearray(nbytes + 3)
            assert group.get_into(buffer) == nbytes
            assert buffer[:nbytes] == data
            assert group.get_bytes() == data
            with group.get_view() as view:
                assert view.readonly
                assert view == data

    def test_large_ones_are_viewed_where_they_lie(self, make_stream):
        stream = make_stream(groups=["a", "b"])
        stream.put_bytes(b"x" * 100_000)
        with stream.group("a").get_view() as first, stream.group("b").get_view() as second:
            addresses = {numpy.frombuffer(view, "u1").ctypes.data for view in (first, second)}
            assert len(addresses) == 1
            assert stream.get_metrics()["view_bytes"] > 0
        assert stream.get_metrics()["view_bytes"] == 0

    def test_a_stage_changes_a_raw_item_for_those_after_it(self, stages):
        stream, first, second = stages(serializer="bytes")
        with stream.reserve(100_000) as buffer:
            buffer[:4] = b"abcd"
        with first.get_view() as view:
            view[:2] = b"AB"
        first.done()
        assert second.get_bytes(timeout=LIMIT)[:4] == b"ABcd"

    def test_a_raw_item_in_a_slot_is_a_copy_that_nobody_changes(self, stages):
        stream, first, second = stages(serializer="bytes")
        stream.put_bytes(b"abcd")
        with first.get_view() as view, pytest.raises(TypeError, match="read-only"):
            view[0] = 1
        first.done()
        assert second.get_bytes(timeout=LIMIT) == b"abcd"

    def test_what_is_no_bytes_stays_for_get(self, make_stream):
        stream = make_stream(groups=["a"])
        group = stream.group("a")
        stream.put({"no": "bytes"})
        for call in (group.get_bytes, group.get_view, lambda: group.get_into(bytearray(99))):
            with pytest.raises(TypeError, match="not bytes"):
                call()
        assert group.get() == {"no": "bytes"}

    def test_views_of_a_closed_group_can_still_be_read(self, make_stream):
        stream = make_stream(groups=["a"], capacity=2)
        stream.put_bytes(b"x" * 100_000)
        group = stream.group("a")
        with group.get_view() as view:
            group.close()
            for _ in range(2):
                stream.put_bytes(b"y" * 100_000, timeout=LIMIT)
            assert view[:3] == b"xxx"


class TestCopies:
    def test_joined_from_several_batches_are_read_only_too(self, stages):
        stream, first, _ = stages(dtype="i8")
        stream.put_batch([1, 2, 3])
        batches = first.batches(3, linger=LIMIT)
        taken = first.get_batch(1)
        stream.put(4)
        batch = next(batches)
        assert [*taken, *batch] == [1, 2, 3, 4]
        with pytest.raises(ValueError, match="read-only"):
            first._joined([taken, batch])[0] = 9

    @pytest.mark.parametrize("linger", [0, LIMIT])
    @pytest.mark.parametrize("copy", [False, True])
    def test_in_lingering_batches_are_read_only_and_what_lies_in_place_is_not(
        self, make_stream, run_id, copy, linger
    ):
        make_stream(groups=PIPELINE)
        with (
            Stream("stream", run_id=run_id, copy=copy) as stream,
            stream.group("first", writes=True) as first,
            stream.group("second") as second,
        ):
            small, large = numpy.zeros(10), numpy.zeros(20_000)
            stream.put_batch([small, large])
            batches = first.batches(4 if linger else 2, linger=linger)
            if linger:
                putting = support.Thread(put_when_taken, stream, [large, small])
            batch = next(batches)
            if linger:
                putting.result()
            for array in batch:
                assert array.flags.writeable == (array.size == large.size)
                if array.flags.writeable:
                    array[:] = 7
            first.done()
            got = second.get_batch(4, timeout=LIMIT)
            assert [array.max() for array in got] == ([0, 7, 7, 0] if linger else [0, 7])

    def test_are_not_asked_for_by_whoever_writes_and_no_group_is_left(self, make_stream):
        stream = make_stream()
        with pytest.raises(ValueError, match="copies"):
            stream.group("new", writes=True, copy=True)
        assert stream.groups() == []
