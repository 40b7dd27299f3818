"""Many queues at once, and many items before the first get."""

import os
import resource

import numpy
import pytest

import shmqueue
from tests import support, views

# As many as the system lets a process have descriptors for, up to a thousand.
MANY = 1000


@pytest.fixture
def descriptors():
    """Let the test have as many descriptors as the system allows; return for how many queues."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield min(MANY, (hard - 100) // 2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def memory_of(queue):
    return os.fstat(queue._attachment.fd).st_blocks * 512


def test_a_thousand_queues_are_alive_at_once_and_leave_nothing(descriptors):
    before = support.open_descriptors()
    queues = [shmqueue.Queue() for _ in range(descriptors)]
    for number, queue in enumerate(queues):
        queue.put(number)
    # What a queue takes: a header, a seat, and the beginning of its first region.
    assert sum(map(memory_of, queues)) <= descriptors * (128 << 10)
    assert [queue.get() for queue in queues] == list(range(descriptors))
    queues.clear()
    del queue
    assert support.open_descriptors() == before


def test_a_million_small_items_wait_for_their_first_consumer():
    queue = shmqueue.Queue()
    start = memory_of(queue)
    for number in range(1_000_000):
        queue.put(number)
    assert queue.qsize() == 1_000_000
    grown = memory_of(queue)
    assert grown < 1_000_000 * 64
    for number in range(1_000_000):
        assert queue.get() == number
    assert memory_of(queue) <= start + (1 << 20) < grown
    queue.close()


def test_arrays_wait_for_their_first_consumer():
    queue = shmqueue.Queue()
    array = numpy.arange(1 << 20, dtype=numpy.uint8)
    for number in range(128):
        queue.put((number, array))
    grown = memory_of(queue)
    assert grown >= 128 << 20
    for number in range(128):
        at, got = queue.get()
        assert at == number
        assert numpy.array_equal(got, array)
    # A steady flow keeps some of it warm, until nothing has come for a while.
    assert memory_of(queue) <= (64 << 20) + (2 << 20)
    with pytest.raises(shmqueue.Empty):
        queue.get(timeout=1.6)
    assert memory_of(queue) <= 2 << 20
    queue.close()


def test_a_put_that_the_machine_has_no_memory_for_is_refused_and_the_rest_goes_on(monkeypatch):
    queue = shmqueue.Queue()
    monkeypatch.setattr(shmqueue.memory, "headroom_bytes", lambda: 8 << 20)
    for put in range(4):
        queue.put(numpy.full(1 << 20, put, dtype=numpy.uint8))
    monkeypatch.setattr(shmqueue.memory, "headroom_bytes", lambda: 1 << 10)
    # What was allowed ahead may do for some more; not for this.
    with pytest.raises(OSError, match="no shared memory"):
        queue.put(bytes(256 << 20))
    put += 1
    assert queue.qsize() == put
    queue.put("small ones still fit")
    for number in range(put):
        assert queue.get()[0] == number % 256
    assert queue.get() == "small ones still fit"
    queue.put(numpy.ones(1 << 20, dtype=numpy.uint8))
    assert queue.get().sum() == 1 << 20
    queue.close()


def test_a_batch_that_finds_no_memory_on_its_way_keeps_none(monkeypatch):
    queue = shmqueue.Queue()
    small = b"s" * 2000
    queue.put(bytes(100_000))
    queue.get()
    monkeypatch.setattr(shmqueue.memory, "headroom_bytes", lambda: 0)
    # The large item, in memory that was kept, is in its slot before the ring should grow.
    for _ in range(3):
        with pytest.raises(OSError, match="no shared memory"):
            queue.put_batch([bytes(100_000), *[small] * 60_000])
    views.assert_all_free(queue)
    queue.put(bytes(100_000))
    assert len(queue.get()) == 100_000
    queue.close()
