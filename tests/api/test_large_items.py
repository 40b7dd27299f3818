"""Items that do not fit a slot: whole, harmless to others, and their memory is used again (P8)."""

import os
import zlib

import numpy
import pytest

from tests import support
from tests.api import workers
from tests.support import LIMIT, drain

MEGABYTE = 1 << 20


def _pattern(size, seed):
    """Return bytes that differ at every place from those of another seed."""
    block = bytes((seed + n * 7) % 256 for n in range(256))
    return (block * (size // 256 + 1))[:size]


def put_patterns(queue, sizes):
    for number, size in enumerate(sizes):
        queue.put(_pattern(size, number))


def sum_up(queue, count):
    return [(len(item), zlib.crc32(item)) for item in drain(queue, count)]


class TestWhole:
    @pytest.mark.parametrize("item_size", [1, 16, 24, 63, 64, 100, 4096])
    def test_no_size_around_a_slots_harms_its_neighbours(self, create, item_size):
        queue = create(capacity=4, item_size=item_size)
        for size in range(max(0, item_size - 24), item_size + 24):
            items = [_pattern(size, n) for n in range(4)]
            for item in items:
                queue.put(item)
            assert drain(queue, 4) == items
            mixed = [_pattern(size, 1), b"s", _pattern(size, 2), b"t"]
            queue.put_batch(mixed)
            assert drain(queue, 4) == mixed

    @pytest.mark.parametrize("kind", [str, bytearray, list])
    def test_no_size_of_other_types_harms_its_neighbours(self, create, kind):
        queue = create(capacity=3, item_size=64)
        for size in range(40, 80):
            item = {str: "x" * size, bytearray: bytearray(size), list: list(range(size))}[kind]
            queue.put_batch(["left", item, "right"])
            assert drain(queue, 3) == ["left", item, "right"]

    @pytest.mark.parametrize("size", [5000, 70_000, MEGABYTE, 20 * MEGABYTE], ids=str)
    def test_a_large_item_comes_out_whole(self, create, size):
        queue = create()
        data = os.urandom(size)
        queue.put("left")
        queue.put(data)
        queue.put([data[: size // 2], {"k": data[size // 2 :]}])
        queue.put("right")
        left, whole, halves, right = drain(queue, 4)
        assert (left, right) == ("left", "right")
        assert whole == data
        assert halves[0] + halves[1]["k"] == data

    def test_a_large_array_comes_out_whole_and_writable(self, create):
        queue = create()
        frame = numpy.random.default_rng(1).integers(0, 255, (1080, 1920, 3), dtype="uint8")
        queue.put(frame)
        found = queue.get()
        assert found.dtype == frame.dtype
        assert (found == frame).all()
        found[:] = 0
        queue.put({"frame": frame, "n": 1})
        assert (queue.get()["frame"] == frame).all()

    def test_a_full_queue_of_large_items_stays_in_order(self, create):
        queue = create(capacity=20, item_size=128)
        items = [_pattern(1000 + n * 12_345, n) for n in range(20)]
        for item in items:
            queue.put_nowait(item)
        with pytest.raises(queue.Full):
            queue.put_nowait(_pattern(10**6, 5))
        assert drain(queue, 20) == items

    def test_large_items_pass_between_processes(self, create, ctx, start):
        queue = create(capacity=4, item_size=512)
        sizes = [10, 511, 512, 513, 5000, MEGABYTE, 3, 100_000, 700_000, 20] * 4
        putter = start(ctx, put_patterns, queue, sizes)
        received = drain(queue, len(sizes))
        putter.result()
        assert received == [_pattern(size, n) for n, size in enumerate(sizes)]

    def test_another_process_reads_what_this_one_put(self, create, ctx, start):
        queue = create(capacity=4, item_size=512)
        sizes = [MEGABYTE, 3, 100_000, 5 * MEGABYTE, 20, 0]
        getter = start(ctx, sum_up, queue, len(sizes))
        put_patterns(queue, sizes)
        expected = [_pattern(size, n) for n, size in enumerate(sizes)]
        assert getter.result() == [(len(item), zlib.crc32(item)) for item in expected]


class TestMemoryIsUsedAgain:
    def test_one_at_a_time_the_pool_does_not_grow(self, create):
        queue = create(capacity=8)
        path = support.SHM / queue.segment_name.lstrip("/")
        data = _pattern(MEGABYTE, 3)
        for _ in range(5):
            queue.put(data)
            assert queue.get() == data
        pool, blocks = queue.get_metrics()["pool_bytes"], path.stat().st_blocks
        for _ in range(300):
            queue.put(data)
            assert queue.get() == data
        assert queue.get_metrics()["pool_bytes"] == pool
        assert path.stat().st_blocks == blocks

    def test_a_ring_of_large_items_needs_no_more_than_a_ringful(self, create):
        queue = create(capacity=4)
        putter = support.Thread(put_patterns, queue, [MEGABYTE] * 200)
        for number in range(200):
            assert queue.get(timeout=LIMIT) == _pattern(MEGABYTE, number)
        putter.result()
        assert queue.get_metrics()["pool_bytes"] <= 4 * 4 * MEGABYTE

    def test_all_memory_is_free_once_the_queue_is_empty(self, create):
        queue = create(capacity=10, item_size=256)
        free = []
        for _ in range(3):
            queue.put_batch(_pattern(n * 30_000, n) for n in range(10))
            busy = queue.get_metrics()
            assert busy["pool_free_bytes"] < busy["pool_bytes"]
            drain(queue, 10)
            idle = queue.get_metrics()
            assert idle["pool_free_bytes"] == idle["pool_bytes"]
            free.append(idle["pool_bytes"])
        assert len(set(free)) == 1

    def test_changing_sizes_do_not_make_the_pool_grow_without_end(self, create):
        queue = create(capacity=4, item_size=256)
        sizes = [5000 * (1 + n * 7919 % 97) for n in range(400)]
        for size in sizes[:200]:
            queue.put(bytes(size))
            queue.get()
        pool = queue.get_metrics()["pool_bytes"]
        for size in sizes[200:]:
            queue.put(bytes(size))
            queue.get()
        assert queue.get_metrics()["pool_bytes"] <= pool + max(sizes)

    def test_a_put_that_finds_the_queue_full_gives_its_memory_back(self, create):
        queue = create(capacity=1, item_size=256)
        queue.put("fills it")
        with pytest.raises(queue.Full):
            queue.put(bytes(MEGABYTE), block=False)
        for _ in range(50):
            with pytest.raises(queue.Full):
                queue.put(bytes(MEGABYTE), timeout=0.001)
        metrics = queue.get_metrics()
        assert metrics["pool_free_bytes"] == metrics["pool_bytes"] <= 2 * MEGABYTE

    def test_memory_of_a_killed_producer_serves_others(self, create, ctx, start, signs):
        queue, words = create(capacity=2, item_size=256), signs(ctx)
        pools = []
        for _ in range(4):
            child = start(ctx, workers.put_all_and_stay, queue, [bytes(MEGABYTE)] * 2, words.sender)
            words.await_word("put")
            child.kill()
            assert [len(item) for item in drain(queue, 2)] == [MEGABYTE] * 2
            pools.append(queue.get_metrics()["pool_bytes"])
        assert pools[-1] <= 2 * pools[0]


def test_sizes_that_grow_from_one_backlog_to_the_next_find_room(create):
    queue = create(capacity=64, item_size=256, max_processes=4)
    for size in range(5_000, 200_000, 12_000):
        for _ in range(64):
            queue.put(bytes(size))
        assert {len(item) for item in queue.get_batch(64)} == {size}
        while not queue.empty():
            assert len(queue.get()) == size
