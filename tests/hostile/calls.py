"""What a process does with a queue, and what may come of it when the segment is damaged."""

import pickle
from queue import Empty, Full

import numpy

from shmqueue import errors, stats
from tests.hostile.grounds import LARGE, SMALL

# What a call on a segment that something wrote into may raise: what the package documents, and
# what loading a damaged pickle does. SystemError, MemoryError and whatever else is no answer.
CLEAR = (
    errors.SegmentError,
    errors.CorruptItemError,
    errors.NoFreeSeatError,
    errors.GroupRemovedError,
    errors.ShutDown,
    Empty,
    Full,
    OSError,
    ValueError,
    TypeError,
    pickle.UnpicklingError,
    EOFError,
    LookupError,
    AttributeError,
    ImportError,
)

# Of these, the ones that say that the segment, or an item in it, is damaged.
DAMAGE = (errors.SegmentError, errors.CorruptItemError)

WAIT = 0.0002


def _get_view(queue):
    with queue.get_view(timeout=WAIT) as view:
        view[:1] = b"w"
        return len(view)


def _reserve(queue):
    with queue.reserve(20_000, timeout=WAIT) as buffer:
        buffer[-5:] = b"tail."


def _reserve_array(queue):
    with queue.reserve_array((3000,), timeout=WAIT) as array:
        array[:] = 1.0


def _give_up_reservation(queue):
    queue.reserve(30_000, timeout=WAIT).abort()


def _write_to_what_was_got(queue):
    item = queue.get(timeout=WAIT)
    for array in item if type(item) is list else [item]:
        if isinstance(array, numpy.ndarray) and array.dtype.kind in "if":
            array.view("uint8")[...] ^= 0xFF  # whatever its numbers are by now


def _drain(queue):
    for _ in range(20):
        queue.get_nowait()


def _fill(queue):
    for _ in range(6):
        queue.put(SMALL * 100, timeout=0)


def calls_of(ground):
    """Return {name: function of a queue}: all of what a process does with such a queue."""
    calls = {
        "get": lambda queue: queue.get(timeout=WAIT),
        "get_nowait": lambda queue: queue.get_nowait(),
        "get by copy": lambda queue: queue.get(timeout=WAIT, copy=True),
        "get_batch": lambda queue: queue.get_batch(10, timeout=WAIT),
        "get_bytes": lambda queue: queue.get_bytes(timeout=WAIT),
        "get_into": lambda queue: queue.get_into(bytearray(30_000), timeout=WAIT),
        "get_view": _get_view,
        "write to what was got": _write_to_what_was_got,
        "drain": _drain,
        "put": lambda queue: queue.put(SMALL, timeout=WAIT),
        "put an object": lambda queue: queue.put({"a": [1, 2.5, None]}, timeout=0),
        "put large": lambda queue: queue.put(LARGE, timeout=WAIT),
        "put larger": lambda queue: queue.put(LARGE * 3, timeout=WAIT),
        "put an array": lambda queue: queue.put(numpy.zeros(5000), timeout=WAIT),
        "put_batch": lambda queue: queue.put_batch([SMALL, LARGE, SMALL], timeout=WAIT),
        "fill": _fill,
        "reserve": _reserve,
        "reserve_array": _reserve_array,
        "give up a reservation": _give_up_reservation,
        "metrics": lambda queue: stats.metrics(queue._attachment),
        "sizes": lambda queue: (queue.qsize(), queue.empty(), queue.full(), queue.is_shutdown),
        "task_done": lambda queue: queue._task_done(),
        "another attaches": lambda queue: ground.attach_another().close(),
    }
    if not ground.is_named:
        calls["fileno"] = lambda queue: queue._fileno()
    return calls


# Done last, if at all: the queue does nothing afterwards.
ENDINGS = {
    "shutdown": lambda queue: queue.shutdown(),
    "shutdown at once": lambda queue: queue.shutdown(immediate=True),
}
