"""Bytes as they are: put from any buffer, got as bytes, into a buffer, or as a view; no pickle."""

import array
import gc
import mmap
import pickle
import threading
import time
from queue import Empty, Full

import numpy
import pytest

from tests.support import CLOCK_SLACK, LIMIT, Thread
from tests.views import lies_in, pattern, used_bytes

pytestmark = pytest.mark.usefixtures("all_free")

ITEM_SIZE = 100
MEGABYTE = 1 << 20
SIZES = [0, 1, 15, 16, ITEM_SIZE - 1, ITEM_SIZE, ITEM_SIZE + 1, 128, 129, 4096, 16_383, 16_384]
SIZES += [16_385, 200_000, 5 * MEGABYTE]


@pytest.fixture(params=["bytes", "cloudpickle", "multiprocessing", "unnamed"])
def queue(request, create, make):
    if request.param == "unnamed":
        return make(8)
    return create(capacity=8, item_size=ITEM_SIZE, serializer=request.param)


@pytest.fixture
def bytes_queue(create):
    return create(capacity=8, item_size=ITEM_SIZE, serializer="bytes")


def _into(queue, nbytes):
    buffer = bytearray(nbytes + 3)
    count = queue.get_into(buffer, timeout=LIMIT)
    assert buffer[count:] == bytes(nbytes + 3 - count)
    return bytes(buffer[:count])


def _viewed(queue, nbytes):
    with queue.get_view(timeout=LIMIT) as view:
        assert isinstance(view, memoryview)
        assert (view.nbytes, view.format) == (nbytes, "B")
        return bytes(view)


GETTERS = {
    "get": lambda queue, nbytes: queue.get(timeout=LIMIT),
    "get_bytes": lambda queue, nbytes: queue.get_bytes(timeout=LIMIT),
    "get_into": _into,
    "get_view": _viewed,
    "get_batch": lambda queue, nbytes: queue.get_batch(1, timeout=LIMIT)[0],
}


class TestRoundTrip:
    @pytest.mark.parametrize("getter", GETTERS)
    @pytest.mark.parametrize("nbytes", SIZES)
    def test_bytes_of_every_size_by_every_way(self, queue, nbytes, getter):
        for seed in range(3):
            queue.put_bytes(pattern(nbytes, seed))
        for seed in range(3):
            got = GETTERS[getter](queue, nbytes)
            assert type(got) is bytes
            assert got == pattern(nbytes, seed)
        assert used_bytes(queue) == 0

    def test_put_and_put_bytes_mean_the_same_for_bytes(self, queue):
        queue.put(b"x" * 1000)
        queue.put_bytes(b"x" * 1000)
        assert queue.get_bytes() == queue.get() == b"x" * 1000

    def test_a_batch_of_bytes(self, bytes_queue):
        items = [pattern(n, n) for n in (0, 5, 100, 101, 20_000, 300_000)]
        bytes_queue.put_batch([items[0], bytearray(items[1]), *items[2:]])
        got = []
        while len(got) < len(items):
            got += bytes_queue.get_batch(10, timeout=LIMIT)
        assert got == items

    def test_fifo_among_other_items(self, create):
        queue = create(item_size=ITEM_SIZE)
        queue.put_bytes(b"1")
        queue.put({"two": 2})
        queue.put_bytes(b"3" * 500)
        assert [queue.get(), queue.get(), queue.get()] == [b"1", {"two": 2}, b"3" * 500]


# Contiguous buffers, made of 24,000 bytes.
BUFFERS = {
    "bytes": bytes,
    "bytearray": bytearray,
    "memoryview": memoryview,
    "a slice of a memoryview": lambda data: memoryview(b"--" + data + b"--")[2:-2],
    "read-only": lambda data: memoryview(bytearray(data)).toreadonly(),
    "array.array": lambda data: array.array("d", data),
    "numpy": lambda data: numpy.frombuffer(data, "uint16").reshape(100, -1),
    "of three dimensions": lambda data: memoryview(data).cast("B", (2, 3, 4000)),
    "PickleBuffer": pickle.PickleBuffer,
}


class TestBuffers:
    @pytest.mark.parametrize("name", BUFFERS)
    @pytest.mark.parametrize("nbytes", [48, 24_000])
    def test_any_contiguous_one_may_be_put(self, bytes_queue, name, nbytes):
        data = pattern(24_000)
        if nbytes == 48:
            made = BUFFERS[name](data)
            whole = memoryview(made).cast("B") if name != "PickleBuffer" else made.raw()
            made, data = whole[:48], data[:48]
        else:
            made = BUFFERS[name](data)
        for put in (bytes_queue.put_bytes, bytes_queue.put):
            put(made)
            assert bytes_queue.get_bytes() == data

    def test_a_mapping_may(self, bytes_queue):
        with mmap.mmap(-1, 8192) as mapped:
            mapped[:5] = b"hello"
            bytes_queue.put_bytes(mapped)
        assert bytes_queue.get()[:6] == b"hello\0"

    @pytest.mark.parametrize("nbytes", [32, 40_000])
    def test_one_that_is_not_contiguous_is_refused(self, queue, nbytes):
        data = numpy.zeros((2, nbytes), "uint8")
        strided = [data[:, ::2], memoryview(bytes(nbytes))[::2], memoryview(bytes(nbytes))[::-1]]
        for wrong in [*strided, numpy.asfortranarray(numpy.ones((8, nbytes)))]:
            with pytest.raises(ValueError):
                queue.put_bytes(wrong)
        assert queue.qsize() == 0

    @pytest.mark.parametrize(
        "wrong",
        ["text", 5, None, [1, 2], {"a": 1}, object()],
        ids=lambda wrong: type(wrong).__name__,
    )
    def test_what_is_no_buffer_is_refused(self, queue, wrong):
        with pytest.raises(TypeError):
            queue.put_bytes(wrong)
        assert queue.qsize() == 0

    def test_what_was_put_may_change_and_be_resized_at_once(self, bytes_queue):
        data = bytearray(pattern(50_000))
        bytes_queue.put_bytes(data)
        data[:] = b"gone"
        assert bytes_queue.get() == pattern(50_000)

    def test_a_released_view_is_refused(self, bytes_queue):
        view = memoryview(b"x" * 1000)
        view.release()
        with pytest.raises(ValueError):
            bytes_queue.put_bytes(view)

    @pytest.mark.parametrize("put", ["put_bytes", "put"])
    def test_a_buffer_that_is_resized_while_it_is_copied(self, create, put):
        """Who resizes is refused, or the put is: what arrives is whole, and of one size."""
        queue = create(capacity=4, item_size=ITEM_SIZE, serializer="bytes")
        data = bytearray(b"a" * (4 * MEGABYTE))
        stop, refused = threading.Event(), []

        def resize():
            while not stop.is_set():
                try:
                    if len(data) > 2 * MEGABYTE:
                        del data[MEGABYTE:]
                    else:
                        data.extend(b"a" * (3 * MEGABYTE))
                except BufferError:
                    refused.append(1)

        thread = Thread(resize)
        sizes = []
        try:
            for _ in range(60):
                try:
                    getattr(queue, put)(data)
                except BufferError:
                    continue
                got = queue.get(timeout=LIMIT)
                assert got.count(b"a") == len(got)
                sizes.append(len(got))
        finally:
            stop.set()
            thread.result()
        assert set(sizes) <= {MEGABYTE, 4 * MEGABYTE}
        assert queue.qsize() == 0

    def test_a_bytearray_put_as_an_item_is_whole_too(self, create):
        queue = create(capacity=4, item_size=ITEM_SIZE)
        data = bytearray(b"a" * (4 * MEGABYTE))
        stop = threading.Event()

        def resize():
            while not stop.is_set():
                try:
                    if len(data) > 2 * MEGABYTE:
                        del data[MEGABYTE:]
                    else:
                        data.extend(b"a" * (3 * MEGABYTE))
                except BufferError:
                    pass

        thread = Thread(resize)
        try:
            for number in range(40):
                try:
                    queue.put(data if number % 2 else {"deep": data})
                except BufferError:
                    continue
                got = queue.get(timeout=LIMIT)
                got = got if number % 2 else got["deep"]
                assert len(got) in (MEGABYTE, 4 * MEGABYTE)
                assert got.count(b"a") == len(got)
        finally:
            stop.set()
            thread.result()


class TestGetInto:
    @pytest.mark.parametrize("nbytes", [1, 50, ITEM_SIZE + 1, 20_000])
    @pytest.mark.parametrize("missing", [1, "all"])
    def test_too_small_a_buffer_leaves_the_item(self, queue, nbytes, missing):
        queue.put_bytes(pattern(nbytes))
        queue.put_bytes(b"next")
        small = bytearray(0 if missing == "all" else nbytes - 1)
        for _ in range(3):
            with pytest.raises(ValueError, match=str(nbytes)):
                queue.get_into(small)
        assert small == bytes(len(small))
        assert queue.qsize() == 2
        assert queue.get_bytes() == pattern(nbytes)
        assert queue.get() == b"next"

    @pytest.mark.parametrize("make_buffer", [bytearray, lambda n: numpy.zeros(n, "uint8")])
    def test_exactly_as_large_will_do(self, queue, make_buffer):
        for nbytes in (0, 10, 5000, 100_000):
            queue.put_bytes(pattern(nbytes))
            buffer = make_buffer(nbytes)
            assert queue.get_into(buffer) == nbytes
            assert bytes(buffer) == pattern(nbytes)

    def test_a_part_of_an_array(self, queue):
        queue.put_bytes(pattern(5000))
        target = numpy.zeros((3, 5000), "uint8")
        assert queue.get_into(target[1]) == 5000
        assert target[1].tobytes() == pattern(5000)
        assert not target[0].any()
        assert not target[2].any()

    def test_what_may_not_be_written_is_refused_and_the_item_stays(self, queue):
        queue.put_bytes(b"x" * 10)
        for wrong in (bytes(20), memoryview(bytes(20)), "text", None, 5):
            with pytest.raises((TypeError, ValueError, BufferError)):
                queue.get_into(wrong)
        with pytest.raises((TypeError, ValueError, BufferError)):
            queue.get_into(memoryview(bytearray(40))[::2])
        assert queue.get() == b"x" * 10


class TestGetView:
    def test_a_large_item_is_seen_where_it_lies(self, queue):
        queue.put_bytes(pattern(MEGABYTE))
        with queue.get_view() as view:
            assert lies_in(queue, view)
            assert queue.qsize() == 0
            assert view == pattern(MEGABYTE)
            assert used_bytes(queue) >= MEGABYTE
        assert used_bytes(queue) == 0

    @pytest.mark.parametrize("nbytes", [0, 10, MEGABYTE])
    def test_it_is_of_no_use_after_its_context(self, queue, nbytes):
        queue.put_bytes(bytes(nbytes))
        with queue.get_view() as view:
            pass
        with pytest.raises(ValueError):
            bytes(view)
        with pytest.raises(ValueError):
            len(view)
        assert used_bytes(queue) == 0

    def test_release_does_the_same_and_may_be_said_twice(self, queue):
        queue.put_bytes(bytes(MEGABYTE))
        holder = queue.get_view()
        holder.release()
        holder.release()
        assert used_bytes(queue) == 0

    def test_an_exception_releases_it_too(self, queue):
        queue.put_bytes(bytes(MEGABYTE))
        with pytest.raises(LookupError), queue.get_view():
            raise LookupError
        assert used_bytes(queue) == 0

    def test_dropping_it_releases_it(self, queue):
        queue.put_bytes(bytes(MEGABYTE))
        holder = queue.get_view()
        assert used_bytes(queue) > 0
        del holder
        gc.collect()
        assert used_bytes(queue) == 0

    def test_what_still_uses_it_keeps_the_memory(self, queue):
        queue.put_bytes(pattern(MEGABYTE))
        with queue.get_view() as view:
            over = numpy.frombuffer(view, "uint8")
        for _ in range(4):
            queue.put_bytes(bytes(MEGABYTE))
            queue.get_bytes()
        assert over.tobytes() == pattern(MEGABYTE)
        del over, view
        gc.collect()
        assert used_bytes(queue) == 0

    def test_it_outlives_the_handle(self, create, attach, run_id):
        watch, queue = create(), attach()
        watch.put_bytes(pattern(MEGABYTE))
        with queue.get_view() as view:
            queue.close()
            assert view == pattern(MEGABYTE)
        assert used_bytes(watch) == 0


class TestWaiting:
    @pytest.mark.parametrize("call", ["get_bytes", "get_view", "get_into"])
    def test_an_empty_queue_gives_none(self, queue, call):
        arguments = (bytearray(10),) if call == "get_into" else ()
        with pytest.raises(Empty):
            getattr(queue, call)(*arguments, block=False)
        begun = time.monotonic()
        with pytest.raises(Empty):
            getattr(queue, call)(*arguments, timeout=0.05)
        assert time.monotonic() - begun >= 0.05 - CLOCK_SLACK
        waiting = Thread(getattr(queue, call), *arguments)
        queue.put_bytes(b"came")
        got = waiting.result()
        if call == "get_bytes":
            assert got == b"came"

    @pytest.mark.parametrize("nbytes", [10, 100_000])
    def test_a_full_queue_takes_none(self, queue, nbytes):
        for _ in range(8):
            queue.put_bytes(b"full")
        with pytest.raises(Full):
            queue.put_bytes(bytes(nbytes), block=False)
        with pytest.raises(Full):
            queue.put_bytes(bytes(nbytes), timeout=0.02)
        assert used_bytes(queue) == 0
        waiting = Thread(queue.put_bytes, bytes(nbytes))
        for _ in range(8):
            assert queue.get() == b"full"
        waiting.result()
        assert queue.get_bytes(timeout=LIMIT) == bytes(nbytes)

    def test_a_closed_queue_refuses(self, queue):
        queue.close()
        for call in (
            lambda: queue.put_bytes(b""),
            queue.get_bytes,
            queue.get_view,
            lambda: queue.get_into(bytearray(1)),
        ):
            with pytest.raises(ValueError, match="closed"):
                call()


class TestOtherItems:
    @pytest.mark.parametrize("item", [5, "text", {"a": 1}, bytearray(b"x"), bytearray(90_000)])
    def test_bytes_are_asked_for_but_it_is_something_else(self, create, item):
        queue = create(item_size=ITEM_SIZE)
        queue.put(item)
        for call in (queue.get_bytes, queue.get_view, lambda: queue.get_into(bytearray(100_000))):
            for _ in range(2):
                with pytest.raises(TypeError):
                    call()
        assert queue.qsize() == 1
        assert queue.get() == item
        queue.put_bytes(b"on")
        assert queue.get_bytes() == b"on"

    def test_arrays_are_no_bytes(self, create):
        queue = create()
        queue.put(numpy.zeros(10_000))
        with pytest.raises(TypeError):
            queue.get_bytes()
        assert queue.get().shape == (10_000,)
