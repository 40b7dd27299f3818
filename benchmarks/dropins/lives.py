"""Queues from their making to their end: what one run of each case yields."""

from statistics import median
from time import monotonic_ns

from benchmarks.payloads import TABLE_LENGTH, table
from benchmarks.peers.ours import shared_bytes


def make(peer, count):
    """Microseconds to make a queue, those before it being alive; the median of all."""
    queues, times = [], []
    for _ in range(count):
        start = monotonic_ns()
        queue = peer.make()
        times.append(monotonic_ns() - start)
        queues.append(queue)
    return {"value": median(times) / 1e3}


def drop(peer, count):
    """Microseconds from the last reference to a queue to its end; the median of all."""
    queues, times = [peer.make() for _ in range(count)], []
    while queues:
        start = monotonic_ns()
        queues.pop()
        times.append(monotonic_ns() - start)
    return {"value": median(times) / 1e3}


def burst(peer, count, name):
    """Items a second into a queue that nobody gets from; then all are got and checked."""
    queue = peer.make_for(name, count) if peer.key == "named" else peer.make()
    try:
        value = count / _fill(queue, count) * 1e9
        _drain(queue, count)
        return {"value": value}
    finally:
        queue.close()
        if peer.key == "named":
            queue.unlink()


def memory(peer, count, when):
    """KiB of shared memory that a queue occupies: at the peak of a burst, or when it is over."""
    queue = peer.make()
    try:
        queue.put(0)
        queue.get()
        sizes = {"new": shared_bytes(queue)}
        _fill(queue, count)
        sizes["peak"] = shared_bytes(queue)
        _drain(queue, count)
        sizes["left"] = shared_bytes(queue)
        return {"value": sizes[when] / 1024, "bytes": sizes}
    finally:
        queue.close()


def _fill(queue, count):
    items = table("int") * (count // TABLE_LENGTH)
    put = queue.put
    start = monotonic_ns()
    for item in items:
        put(item)
    return monotonic_ns() - start


def _drain(queue, count):
    get = queue.get
    for item in table("int") * (count // TABLE_LENGTH):
        if get(timeout=10.0) != item:
            raise ValueError("an item is not the expected one")
    if not queue.empty():
        raise ValueError("there are more items than were put")
