"""put_async and get_async wait without holding up the event loop."""

import asyncio
import queue as stdlib_queue
import time
import weakref

import numpy
import pytest

from shmqueue import ShutDown
from tests import support
from tests.support import CLOCK_SLACK, LIMIT, drain


def run(coroutine):
    """Run it to its end; what takes beyond all measure fails."""
    return asyncio.run(asyncio.wait_for(coroutine, LIMIT))


def test_items_pass_between_coroutines(create):
    queue = create(capacity=2)

    async def produce():
        for number in range(100):
            await queue.put_async((number, str(number)))

    async def consume():
        return [await queue.get_async() for _ in range(100)]

    async def both():
        return (await asyncio.gather(produce(), consume()))[1]

    assert run(both()) == [(n, str(n)) for n in range(100)]


def test_the_loop_goes_on_while_a_get_waits(create):
    queue = create()

    async def main():
        getter = asyncio.ensure_future(queue.get_async())
        for _ in range(50):
            await asyncio.sleep(0)
        assert not getter.done()
        queue.put_nowait("late")
        return await getter

    assert run(main()) == "late"


def test_the_loop_goes_on_while_a_put_waits(create):
    queue = create(capacity=1)
    queue.put("first")

    async def main():
        putter = asyncio.ensure_future(queue.put_async("second"))
        for _ in range(50):
            await asyncio.sleep(0)
        assert not putter.done()
        first = queue.get_nowait()
        await putter
        return [first, queue.get_nowait()]

    assert run(main()) == ["first", "second"]


def test_what_is_there_or_fits_needs_no_timeout(create):
    queue = create()

    async def main():
        await queue.put_async("x", timeout=0)
        return await queue.get_async(timeout=0)

    assert run(main()) == "x"


@pytest.mark.parametrize("timeout", [0, -1, 0.2])
def test_timeouts_raise_empty_and_full(create, timeout):
    queue = create(capacity=1)

    async def timed(call):
        started = time.monotonic()
        with pytest.raises((stdlib_queue.Empty, stdlib_queue.Full)) as caught:
            await call
        assert time.monotonic() - started >= timeout - CLOCK_SLACK
        return caught.type

    assert run(timed(queue.get_async(timeout=timeout))) is stdlib_queue.Empty
    queue.put("fills it")
    assert run(timed(queue.put_async("more", timeout=timeout))) is stdlib_queue.Full
    assert drain(queue, 1) == ["fills it"]
    assert queue.empty()


@pytest.mark.parametrize("timeout", [float("nan"), float("inf"), 1e300, "soon", -float("inf"), 0.0])
def test_a_timeout_means_what_it_does_for_put_and_get(create, timeout):
    queue = create("empty")
    full = create("full", capacity=1)
    full.put("fills it")
    for call, coroutine in [
        (queue.get, queue.get_async),
        (full.get, full.get_async),
        (full.put, full.put_async),
    ]:
        given = ["more"] if call == full.put else []
        outcomes = []
        for one in (call, lambda *args, made=coroutine, **how: run(made(*args, **how))):
            try:
                outcomes.append(one(*given, timeout=timeout))
            except Exception as error:
                outcomes.append((type(error), str(error)))
            if full.empty():
                full.put("fills it")
        assert outcomes[0] == outcomes[1], call


def test_a_cancelled_get_takes_no_item(create):
    queue = create()

    async def main():
        for _ in range(5):
            getter = asyncio.ensure_future(queue.get_async())
            for _ in range(10):
                await asyncio.sleep(0)
            getter.cancel()
            with pytest.raises(asyncio.CancelledError):
                await getter
        queue.put("kept")
        return await queue.get_async(timeout=LIMIT)

    assert run(main()) == "kept"


def test_a_cancelled_put_puts_nothing(create):
    queue = create(capacity=1)
    queue.put("first")

    async def main():
        putter = asyncio.ensure_future(queue.put_async("cancelled"))
        for _ in range(10):
            await asyncio.sleep(0)
        putter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putter
        assert queue.get_nowait() == "first"
        await queue.put_async("after")

    run(main())
    assert queue.get(timeout=LIMIT) == "after"
    assert queue.empty()


def test_many_waiters_each_get_an_item(create):
    queue = create()

    async def main():
        getters = [asyncio.ensure_future(queue.get_async()) for _ in range(60)]
        await asyncio.sleep(0)
        for number in range(60):
            await queue.put_async(number)
        return await asyncio.gather(*getters)

    assert sorted(run(main())) == list(range(60))


def test_a_thread_and_a_coroutine_share_a_queue(create):
    queue = create(capacity=3)
    putter = support.Thread(lambda: [queue.put(number) for number in range(200)])

    async def main():
        return [await queue.get_async() for _ in range(200)]

    assert run(main()) == list(range(200))
    putter.result()


def test_an_unserialisable_item_raises_in_the_awaiting_coroutine(create):
    queue = create()

    async def main():
        with pytest.raises(TypeError):
            await queue.put_async(n for n in "generator")

    run(main())
    assert queue.empty()


def test_an_unserialisable_item_raises_at_once_although_there_is_no_room(create):
    queue = create(capacity=1)
    queue.put("fills it")

    async def main():
        with pytest.raises(TypeError):
            await queue.put_async((n for n in "generator"), timeout=LIMIT)

    started = time.monotonic()
    run(main())
    assert time.monotonic() - started < LIMIT / 2
    assert drain(queue, 1) == ["fills it"]


class Pickled:
    """Counts how often it is pickled, and keeps what it was then."""

    def __init__(self, value):
        self.value = value
        self.count = 0

    def __reduce__(self):
        self.count += 1
        return str, (self.value,)


@pytest.mark.parametrize("serializer", [None, "multiprocessing"])
def test_an_item_that_waits_for_room_is_serialised_once_and_when_it_was_given(create, serializer):
    queue = create(capacity=1, serializer=serializer)
    queue.put("first")
    item = Pickled("as given")
    array = numpy.arange(50_000)

    async def main():
        putter = asyncio.ensure_future(queue.put_async([item, array]))
        for _ in range(50):
            await asyncio.sleep(0)
        item.value = "changed"
        assert queue.get_nowait() == "first"
        await putter
        return queue.get_nowait()

    value, got = run(main())
    assert (value, item.count) == ("as given", 1)
    assert numpy.array_equal(got, array)


def _mixed():
    item = {"n": 5, "data": numpy.zeros(50_000)}

    def change():
        item["n"] = 6
        item["data"][:] = 1

    return item, change


def _array(step=1):
    array = numpy.zeros(50_000)

    def change():
        array[:] = 1

    return array[::step], change


def _data():
    data = bytearray(50_000)

    def change():
        data[:] = b"1" * len(data)

    return data, change


WAITING = {
    "mixed": (None, _mixed),
    "mixed for multiprocessing": ("multiprocessing", _mixed),
    "an array": (None, _array),
    "an array that is not contiguous": (None, lambda: _array(2)),
    "a bytearray": (None, _data),
    "raw bytes": ("bytes", _data),
    "an array's raw bytes": ("bytes", _array),
}


@pytest.mark.parametrize("item_size", [64, 1 << 20])
@pytest.mark.parametrize("kind", WAITING)
def test_an_item_that_waits_for_room_is_taken_as_it_is_at_the_call(create, kind, item_size):
    serializer, make = WAITING[kind]
    queue = create(capacity=1, serializer=serializer, item_size=item_size)
    queue.put(b"first")
    item, change = make()
    queue_at_once = create("at-once", serializer=serializer, item_size=item_size)
    queue_at_once.put(item)

    async def main():
        putter = asyncio.ensure_future(queue.put_async(item))
        for _ in range(50):
            await asyncio.sleep(0)
        change()
        assert queue.get_nowait() == b"first"
        await putter
        return queue.get_nowait()

    got, wanted = run(main()), queue_at_once.get()
    numpy.testing.assert_equal(got, wanted)
    counts = ("items_viewed", "items_copied", "pool_bytes")
    seen, wanted_seen = (
        [queue.get_metrics()[count] for count in counts] for queue in (queue, queue_at_once)
    )
    assert seen == wanted_seen, "it went another way than what is put at once"


@pytest.mark.parametrize("serializer", [None, "bytes"])
def test_an_item_that_waits_for_room_can_be_cleared_meanwhile(create, serializer):
    queue = create(capacity=1, serializer=serializer)
    queue.put(b"first")
    data = bytearray(b"x" * 50_000)

    async def main():
        putter = asyncio.ensure_future(queue.put_async(data))
        for _ in range(50):
            await asyncio.sleep(0)
        data.clear()
        assert queue.get_nowait() == b"first"
        await putter
        return queue.get_nowait()

    assert run(main()) == b"x" * 50_000


def test_a_put_that_waits_keeps_no_object_of_its_item(create):
    queue = create(capacity=1)
    queue.put("first")
    array = numpy.zeros(50_000)
    is_there = weakref.ref(array)

    async def main(items):
        putter = asyncio.create_task(queue.put_async(items.pop()))
        for _ in range(50):
            await asyncio.sleep(0)
        assert is_there() is None
        assert queue.get_nowait() == "first"
        await putter
        return queue.get_nowait()

    items = [{"data": array}]
    del array
    assert not run(main(items))["data"].any()


def test_a_put_that_waits_or_was_cancelled_holds_no_memory_of_the_queue(create):
    queue = create(capacity=1)
    queue.put("first")
    before = queue.get_metrics()["pool_free_bytes"]
    data = bytearray(1 << 20)

    async def main():
        putter = asyncio.ensure_future(queue.put_async(memoryview(data)))
        for _ in range(10):
            await asyncio.sleep(0)
        assert queue.get_metrics()["pool_free_bytes"] == before
        putter.cancel()
        with pytest.raises(asyncio.CancelledError):
            await putter

    run(main())
    data.append(1)  # nothing holds its buffer
    assert drain(queue, 1) == ["first"]


def test_a_shutdown_ends_a_put_that_waits(create):
    queue = create(capacity=1)
    queue.put("first")

    async def main():
        putter = asyncio.ensure_future(queue.put_async(["second"]))
        for _ in range(10):
            await asyncio.sleep(0)
        queue.shutdown()
        with pytest.raises(ShutDown):
            await putter

    run(main())
    assert drain(queue, 1) == ["first"]


def test_a_closed_queue_is_a_value_error(create):
    queue = create()
    queue.close()

    async def main():
        with pytest.raises(ValueError, match="is closed"):
            await queue.get_async()
        with pytest.raises(ValueError, match="is closed"):
            await queue.put_async(1)

    run(main())


def test_closing_ends_a_waiting_coroutine(create):
    queue = create()

    async def main():
        getter = asyncio.ensure_future(queue.get_async())
        for _ in range(10):
            await asyncio.sleep(0)
        queue.close()
        with pytest.raises(ValueError, match="is closed"):
            await getter

    run(main())
