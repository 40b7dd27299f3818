"""Writing into the queue's own memory: what is published, what is aborted."""

import gc
from pickle import PickleBuffer

import numpy
import pytest

from tests import support, views
from tests.support import LIMIT
from tests.views import (
    address_of,
    assert_as_new,
    assert_in_place,
    is_numbered,
    lies_in,
    numbered,
    pattern,
    used_bytes,
)

pytestmark = pytest.mark.usefixtures("all_free")

MEGABYTE = 1 << 20
# Of reservations that are published: around what fits a slot, a page, what stays in place.
SIZES = [1, 7, 63, 64, 65, 200, 4095, 4096, 4097, 16_383, 16_384, 16_385, 100_000, 3 * MEGABYTE]


@pytest.fixture(params=["named", "unnamed"])
def queue(request, create, make):
    return create(capacity=8, item_size=64) if request.param == "named" else make(8)


class TestBytes:
    @pytest.mark.parametrize("nbytes", [0, *SIZES])
    def test_what_is_written_is_published_at_the_end(self, queue, nbytes):
        with queue.reserve(nbytes) as buffer:
            assert isinstance(buffer, memoryview)
            assert (buffer.nbytes, buffer.readonly, buffer.format) == (nbytes, False, "B")
            assert queue.qsize() == 0
            buffer[:] = pattern(nbytes)
            assert queue.qsize() == 0
        assert queue.qsize() == 1
        got = queue.get()
        assert type(got) is bytes
        assert got == pattern(nbytes)

    def test_it_lies_in_the_queues_memory_aligned(self, queue):
        with queue.reserve(MEGABYTE) as buffer:
            assert lies_in(queue, buffer)
            assert address_of(buffer) % views.ALIGNMENT == 0

    def test_it_takes_its_place_in_the_order_when_it_is_published(self, queue):
        queue.put("before")
        with queue.reserve(100_000) as buffer:
            buffer[:] = bytes(100_000)
            queue.put("meanwhile")
            with queue.reserve(50_000) as inner:
                inner[:] = b"i" * 50_000
        queue.put("after")
        got = [queue.get() for _ in range(5)]
        assert got == ["before", "meanwhile", b"i" * 50_000, bytes(100_000), "after"]

    @pytest.mark.parametrize(("reserved", "published"), [(100_000, n) for n in (0, 1, 64, 99_999)])
    def test_fewer_may_be_published(self, queue, reserved, published):
        reservation = queue.reserve(reserved)
        reservation.buffer[:] = pattern(reserved)
        reservation.commit(published)
        assert queue.get() == pattern(published)

    def test_more_may_not(self, queue):
        reservation = queue.reserve(100_000)
        for wrong in (100_001, -1, 2**63, 2**64 + 5):
            with pytest.raises((ValueError, OverflowError)):
                reservation.commit(wrong)
        reservation.buffer[:] = pattern(100_000)
        reservation.commit()
        assert queue.get() == pattern(100_000)

    def test_what_was_written_before_by_others_may_be_seen_but_the_size_is_right(self, queue):
        queue.put(bytes(MEGABYTE))
        queue.get()
        with queue.reserve(70_000):
            pass
        assert len(queue.get()) == 70_000


class TestArrays:
    @pytest.mark.parametrize("shape", [0, 1, 5, (0, 7), (3, 4, 5), (108, 192, 3), (4096, 4), ()])
    @pytest.mark.parametrize("dtype", ["uint8", ">f4", "complex128", "M8[ns]", "U3", "a record"])
    def test_it_is_that_array(self, queue, shape, dtype):
        if dtype == "a record":
            dtype = [("a", "u2"), ("b", "f8", (2,))]
        with queue.reserve_array(shape, dtype) as array:
            assert type(array) is numpy.ndarray
            assert (array.dtype, array.shape) == (
                numpy.dtype(dtype),
                numpy.zeros(shape, "u1").shape,
            )
            assert array.flags.c_contiguous
            assert array.flags.writeable
            view = array.view("uint8") if array.ndim else array.reshape(1).view("uint8")
            view.flat[:] = numpy.arange(view.size) % 251
            wanted = array.copy()
            del view
        got = queue.get()
        assert (got.dtype, got.shape) == (wanted.dtype, wanted.shape)
        assert got.tobytes() == wanted.tobytes()

    def test_floats_by_default(self, queue):
        with queue.reserve_array(3) as array:
            array[:] = 0.5
        got = queue.get()
        assert (got.dtype, got.tolist()) == ("float64", [0.5] * 3)

    def test_nothing_is_copied_on_the_whole_way(self, queue):
        with queue.reserve_array(MEGABYTE // 4, "uint32") as array:
            address = address_of(array)
            assert_in_place(queue, array)
            array[:] = numbered(1, MEGABYTE)
        got = queue.get()
        assert address_of(got) == address
        assert_in_place(queue, got)
        assert is_numbered(got, 1, MEGABYTE)

    @pytest.mark.parametrize("dtype", ["O", object, [("a", "u1"), ("b", "O")]])
    def test_objects_cannot_lie_there(self, queue, dtype):
        with pytest.raises(TypeError):
            queue.reserve_array(10, dtype)
        assert_as_new(queue)

    def test_fewer_bytes_are_for_reservations_of_bytes(self, queue):
        reservation = queue.reserve_array(1000)
        with pytest.raises((TypeError, ValueError)):
            reservation.commit(10)
        reservation.abort()


# What makes a reservation, and the one who holds it.
KINDS = {
    "bytes": lambda queue: queue.reserve(100_000),
    "small bytes": lambda queue: queue.reserve(10),
    "an array": lambda queue: queue.reserve_array((100, 1000), "uint8"),
    "a small array": lambda queue: queue.reserve_array(10, "uint8"),
}


@pytest.fixture(params=KINDS)
def reserve(request, queue):
    return lambda: KINDS[request.param](queue)


def _fill(buffer):
    buffer[:] = 1 if isinstance(buffer, numpy.ndarray) else b"\1" * len(buffer)


class TestEnding:
    def test_an_exception_aborts_and_leaves_no_trace(self, queue, reserve):
        def fail():
            with reserve() as buffer:
                _fill(buffer)
                raise LookupError("own")

        with pytest.raises(LookupError, match="own") as caught:
            fail()
        del caught
        assert_as_new(queue)

    def test_abort_leaves_no_trace(self, queue, reserve):
        reservation = reserve()
        reservation.abort()
        assert_as_new(queue)

    def test_so_does_dropping_it(self, queue, reserve):
        reservation = reserve()
        assert reservation is not None
        del reservation
        gc.collect()
        assert_as_new(queue)

    def test_so_does_dropping_it_entered(self, queue, reserve):
        reservation = reserve()
        reservation.__enter__()
        del reservation
        gc.collect()
        assert_as_new(queue)

    def test_abort_within_the_context_is_no_error(self, queue, reserve):
        reservation = reserve()
        with reservation:
            reservation.abort()
        assert_as_new(queue)

    def test_commit_within_the_context_publishes_once(self, queue, reserve):
        reservation = reserve()
        with reservation as buffer:
            _fill(buffer)
            del buffer
            reservation.commit()
        assert queue.qsize() == 1
        assert set(bytes(queue.get())) == {1}
        assert_as_new(queue)

    @pytest.mark.parametrize("first", ["commit", "abort"])
    def test_commit_after_the_end_is_refused(self, queue, reserve, first):
        reservation = reserve()
        getattr(reservation, first)()
        for _ in range(2):
            with pytest.raises(ValueError):
                reservation.commit()
        assert queue.qsize() == (1 if first == "commit" else 0)

    def test_abort_after_commit_takes_nothing_back(self, queue, reserve):
        reservation = reserve()
        reservation.commit()
        try:
            reservation.abort()
        except ValueError:
            pass
        assert queue.qsize() == 1

    def test_a_buffer_is_of_no_use_after_its_context(self, queue):
        with queue.reserve(100_000) as buffer:
            buffer[0] = 1
        for use in (lambda: buffer[0], lambda: buffer.nbytes, lambda: bytes(buffer)):
            with pytest.raises(ValueError):
                use()
        with pytest.raises(ValueError):
            buffer[0] = 2
        assert queue.get()[0] == 1

    def test_an_array_is_empty_after_its_context(self, queue):
        with queue.reserve_array(MEGABYTE // 4, "uint32") as array:
            array[:] = numbered(1, MEGABYTE)
        assert array.shape == (0,)
        with pytest.raises(IndexError):
            array[0] = 1
        array[:] = 7
        assert is_numbered(queue.get(), 1, MEGABYTE)

    def test_the_reservation_itself_may_stay(self, queue, reserve):
        reservation = reserve()
        with reservation:
            pass
        queue.get()
        assert used_bytes(queue) == 0
        with pytest.raises(ValueError), reservation:
            pass

    def test_commit_after_the_queue_was_closed_is_refused(self, reserve, queue):
        reservation = reserve()
        queue.close()
        with pytest.raises(ValueError):
            reservation.commit()


# What may still use the memory of an array that was handed out, when no name of it is left.
DERIVED = {
    "a slice": lambda a: a[10:20],
    "a row": lambda a: a.reshape(512, -1)[3],
    "a transposed one": lambda a: a.reshape(512, -1).T,
    "bytes of it": lambda a: a.view("uint8"),
    "a memoryview": memoryview,
    "a part of a memoryview": lambda a: memoryview(a)[10:20],
    "a PickleBuffer": PickleBuffer,
    "an array from its buffer": lambda a: numpy.frombuffer(a, "uint32"),
    "a flat iterator": lambda a: a.flat,
}


def _scribble(derived):
    if isinstance(derived, PickleBuffer):
        derived = derived.raw()
    if isinstance(derived, memoryview):
        derived = numpy.asarray(derived)
    try:
        derived[:] = 9
    except (ValueError, IndexError):
        pass  # it is of no use any more


def _end(reservation, end):
    """End a reservation."""
    if end == "with":
        with reservation as array:
            assert array[0] == 1
    elif end != "drop":
        getattr(reservation, end)()


def _use_after(queue, derive, end):
    """Write to what was derived from an array that is gone; return whether items are whole."""
    reservation = queue.reserve_array(MEGABYTE // 4, "uint32")
    reservation.buffer[:] = numbered(1, MEGABYTE)
    derived = derive(reservation.buffer)
    _end(reservation, end)
    del reservation
    if end in ("abort", "drop"):
        queue.put(numbered(1, MEGABYTE))
    _scribble(derived)
    is_whole = is_numbered(queue.get(timeout=LIMIT), 1, MEGABYTE)
    for number in range(4):
        queue.put(numbered(number, MEGABYTE))
        _scribble(derived)
        is_whole &= is_numbered(queue.get(timeout=LIMIT), number, MEGABYTE)
    del derived
    gc.collect()
    return is_whole, used_bytes(queue)


class TestStillInUse:
    """What others still use stays theirs; what is published is as it was at that moment."""

    @pytest.mark.parametrize("name", DERIVED)
    @pytest.mark.parametrize("end", ["commit", "with", "abort", "drop"])
    def test_whatever_is_left_of_an_array_harms_no_item(self, queue, name, end):
        # In a child: what is wrong here may corrupt the heap.
        assert support.run_in_fork(_use_after, queue, DERIVED[name], end) == (True, 0)

    def test_a_name_that_was_given_up_within_the_context(self, queue):
        with queue.reserve_array(MEGABYTE // 4, "uint32") as array:
            array[:] = numbered(1, MEGABYTE)
            part = array[10:20]
            del array
        part[:] = 0
        assert is_numbered(queue.get(), 1, MEGABYTE)

    def test_a_slice_of_an_array(self, queue):
        with queue.reserve_array(MEGABYTE // 4, "uint32") as array:
            array[:] = numbered(1, MEGABYTE)
            part = array[10:20]
        part[:] = 0
        assert is_numbered(queue.get(), 1, MEGABYTE)
        assert not part.any()
        del part, array
        assert used_bytes(queue) == 0

    def test_a_slice_of_a_slice_and_a_memoryview(self, queue):
        with queue.reserve_array(MEGABYTE // 4, "uint32") as array:
            array[:] = numbered(1, MEGABYTE)
            kept = [array[10:].reshape(2, -1)[1], memoryview(array), array.T]
        kept[0][:] = 5
        kept[1][0] = 6
        assert is_numbered(queue.get(), 1, MEGABYTE)
        del kept, array
        assert used_bytes(queue) == 0

    def test_another_name_for_the_array(self, queue):
        with queue.reserve_array(MEGABYTE // 4, "uint32") as array:
            array[:] = numbered(1, MEGABYTE)
            names = [array, {"x": array}]
        if array.size:
            array[:] = 0
        got = queue.get()
        assert is_numbered(got, 1, MEGABYTE)
        del names, array, got
        assert used_bytes(queue) == 0

    def test_an_array_over_the_bytes(self, queue):
        with queue.reserve(100_000) as buffer:
            over = numpy.frombuffer(buffer, "uint8")
            over[:] = 1
        over[:] = 2
        assert queue.get() == b"\1" * 100_000
        assert (over == 2).all()
        del over, buffer
        assert used_bytes(queue) == 0

    def test_a_slice_of_the_bytes(self, queue):
        with queue.reserve(100_000) as buffer:
            buffer[:] = b"x" * 100_000
            part = buffer[5:10]
        try:
            part[:] = b"-----"
        except ValueError:
            pass
        assert queue.get() == b"x" * 100_000
        del part, buffer
        assert used_bytes(queue) == 0

    def test_after_an_abort_it_stays_theirs_too(self, queue):
        reservation = queue.reserve_array(MEGABYTE // 4, "uint32")
        part = reservation.buffer[10:20]
        reservation.abort()
        part[:] = 3
        for number in range(5):
            queue.put(numbered(number, MEGABYTE))
            assert is_numbered(queue.get(), number, MEGABYTE)
        assert part.tolist() == [3] * 10
        del part, reservation
        gc.collect()
        assert used_bytes(queue) == 0
