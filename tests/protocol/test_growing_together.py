"""Several processes make one ring grow, drain it and give its memory back, all at once."""

import multiprocessing
import random
import time
import zlib
from queue import Empty

import pytest

from shmqueue._inspect import snapshot
from tests import unnamed
from tests.support import LIMIT, wait_until
from tests.unnamed import FIRST_REGION, RawUnnamed

FORK = multiprocessing.get_context("fork")

SIZES = (0, 20, 300, 1500, 4000)
NOISE = random.Random(11).randbytes(1 << 16)


def _item(producer, number):
    size = SIZES[(number * 7 + producer) % len(SIZES)]
    start = number * 13 % (len(NOISE) - size)
    body = NOISE[start : start + size]
    return producer, number, body, zlib.crc32(body, number)


def _produce(queue, producer, bursts, high, low):
    """Put until the backlog is high, let it become low, and so on."""
    rng = random.Random(producer)
    number = 0
    for _ in range(bursts):
        while queue.qsize() < high:
            if rng.random() < 0.1:
                count = rng.randint(2, 30)
                queue.put_batch([_item(producer, number + n) for n in range(count)])
                number += count
            else:
                queue.put(_item(producer, number))
                number += 1
        while queue.qsize() > low:
            time.sleep(0.0005)
    return number


def _consume(queue, seed, high, done):
    """Let the backlog become high, take until it is empty, and so on; return what came."""
    rng = random.Random(seed)
    seen = {}
    rounds = 0
    while True:
        while queue.qsize() < high and not done.is_set():
            time.sleep(0.0005)
        finished = done.is_set()
        while True:
            try:
                one = rng.random() < 0.5
                items = [queue.get_nowait()] if one else queue.get_batch(rng.randint(1, 50), False)
            except Empty:
                break
            for producer, number, body, checksum in items:
                assert zlib.crc32(body, number) == checksum, "torn item"
                assert number > seen.get(producer, [-1])[-1], "a producer's items changed order"
                seen.setdefault(producer, []).append(number)
        rounds += 1
        if finished:
            return seen


@pytest.mark.parametrize(("producers", "consumers"), [(1, 1), (2, 2), (3, 1), (1, 3)])
def test_a_backlog_that_rises_and_falls_loses_nothing(make, start, producers, consumers):
    queue = make()
    raw = RawUnnamed(queue._attachment)
    bursts, high, low = 10, 3000, 200
    done = FORK.Event()
    eaters = [start(FORK, _consume, queue, seed, high - 100, done) for seed in range(consumers)]
    makers = [start(FORK, _produce, queue, at, bursts, high, low) for at in range(producers)]
    tops = set()

    def finished():
        tops.add(raw.get("end", 0, "sequence") and max(_regions(raw)))
        return all(maker._receiver.poll() for maker in makers)

    wait_until(finished, "the producers to be done")
    put = [maker.result() for maker in makers]
    done.set()
    found = [eater.result() for eater in eaters]
    for producer, count in enumerate(put):
        numbers = sorted(number for seen in found for number in seen.get(producer, []))
        assert numbers == list(range(count))
    assert max(tops) >= 1
    assert queue.empty()
    # Whoever was in the way of the last trim is gone: this one gives back what is left.
    with pytest.raises(Empty):
        queue.get_nowait()
    assert raw.regions() == (0, 0)
    assert raw.slots_memory_bytes() <= FIRST_REGION + len(SIZES) * 4096
    assert raw.backed()[1:] == [(0, 0)] * (raw.region_count - 1)
    raw.close()


def _regions(raw):
    """Return the regions of both ends, as far as they can be told while they move."""
    return [
        unnamed.region_of(position)
        for end in (unnamed.TAIL, unnamed.HEAD)
        for _, position in raw.entries(end)
    ]


def _put_large_and_small(queue, producer, count):
    rng = random.Random(producer)
    for number in range(count):
        size = rng.choice((10, 3000, 5000, 40_000, 120_000))
        start = rng.randrange(len(NOISE))
        body = (NOISE[start:] + NOISE * 2)[:size]
        queue.put((producer, number, body, zlib.crc32(body)))


def _get_until_none(queue):
    counts = {}
    while (item := queue.get(timeout=LIMIT)) is not None:
        producer, number, body, checksum = item
        assert zlib.crc32(body) == checksum
        assert number >= counts.get(producer, 0)
        counts[producer] = number + 1
    return len(counts)


def test_large_items_go_between_small_ones_in_all_regions(make, start):
    queue = make()
    makers = [start(FORK, _put_large_and_small, queue, at, 700) for at in range(2)]
    for maker in makers:
        maker.result()
    assert queue.qsize() == 1400
    eaters = [start(FORK, _get_until_none, queue) for _ in range(2)]
    queue.put(None)
    queue.put(None)
    for eater in eaters:
        eater.result()
    seen = snapshot(queue._attachment)
    assert seen["items_got"] == 1402
    assert seen["pool_bytes"] == seen["pool_free_bytes"]


def test_a_reader_of_metrics_is_never_confused_by_growth_and_trim(make, start):
    """Age, size and marks of a ring that others fill and drain stay within what is possible."""
    queue = make()
    done = FORK.Event()
    eater = start(FORK, _consume, queue, 1, 1500, done)
    maker = start(FORK, _produce, queue, 0, 8, 1600, 50)
    begun = time.monotonic_ns()
    attachment = queue._attachment
    last_tail = last_head = looks = 0
    while not maker._receiver.poll():
        seen = snapshot(attachment)
        assert last_tail <= seen["tail"]
        assert last_head <= seen["head"] <= seen["tail"]
        assert seen["tail"] - seen["head"] <= seen["high_water_mark"] <= 1600 + 40
        last_tail, last_head = seen["tail"], seen["head"]
        age = seen["oldest_age_ns"]
        assert age is None or 0 <= age <= time.monotonic_ns() - begun + 10**9
        looks += 1
        assert time.monotonic_ns() - begun < LIMIT * 10**9
    assert looks > 10
    maker.result()
    done.set()
    eater.result()
