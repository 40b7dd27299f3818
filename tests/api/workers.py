"""What the children of these tests do; importable by name, as spawn and forkserver need."""

import os
import queue as stdlib_queue

from shmqueue import SharedMemoryQueue
from tests.support import LIMIT


def put_all(queue, items):
    for item in items:
        queue.put(item)


def put_all_and_vanish(queue, items, sender):
    """Leave without any clean-up as soon as the last put has returned."""
    for item in items:
        queue.put(item)
    sender.send("put")
    os._exit(7)


def put_all_and_stay(queue, items, sender):
    """Put, say so, then wait to be killed."""
    for item in items:
        queue.put(item)
    sender.send("put")
    stay()


def attach_and_stay(name, run_id, sender):
    queue = SharedMemoryQueue(name, run_id=run_id)
    queue.put(os.getpid())
    sender.send("attached")
    stay()


def stay():
    """Wait to be ended: reading a pipe that nobody writes to takes no time and never returns."""
    reader, _writer = os.pipe()
    os.read(reader, 1)


def get_some(queue, count):
    return [queue.get(timeout=LIMIT) for _ in range(count)]


def get_by_name(name, run_id, count):
    with SharedMemoryQueue(name, run_id=run_id) as queue:
        return get_some(queue, count)


def put_by_name(name, run_id, items):
    with SharedMemoryQueue(name, run_id=run_id) as queue:
        put_all(queue, items)


def put_batches(queue, producer, batches, length):
    for batch in range(batches):
        queue.put_batch([(producer, batch, n) for n in range(length)])


def get_batches_until_none(queue, most):
    """Return every item up to a None; one batch holds no more than `most`."""
    found = []
    while True:
        batch = queue.get_batch(most, timeout=LIMIT)
        if not 1 <= len(batch) <= most:
            raise AssertionError(f"get_batch({most}) returned {len(batch)} items")
        found += [item for item in batch if item is not None]
        if None in batch:
            # The others' ends go back.
            for _ in range(batch.count(None) - 1):
                queue.put(None)
            return found


def use_what_comes_through(carrier):
    """Get a queue out of a queue, and answer through it."""
    queue = carrier.get(timeout=LIMIT)
    queue.put(("answer", queue.get(timeout=LIMIT)))
    queue.close()


def put_then_get(queue, tag, count):
    """Use both ends; return what came out, which may be anybody's."""
    found = []
    for number in range(count):
        queue.put((tag, number))
        found.append(queue.get(timeout=LIMIT))
    return found


def try_to_get(queue):
    try:
        return queue.get_nowait()
    except stdlib_queue.Empty:
        return "empty"


def get_until_closed(queue, sender):
    sender.send("getting")
    try:
        queue.get()
    except ValueError as error:
        return str(error)
    return "got something"
