"""What a queue is asked to do where something is scarce, and how that may end.

A program of its own: each attempt is made in a child of it, so that a death by a signal is seen as
what it is.
"""

import gc
import json
import os
import resource
import signal
import subprocess
import traceback

from shmqueue import Queue, SharedMemoryQueue
from shmqueue.errors import SegmentError
from tests.faults.processes import Forks
from tests.support import LIMIT, SHM, open_descriptors, segment_files

SMALL = [b"small", ("a", 1), None]
LARGE = bytes(range(256)) * 80
HUGE = bytes(1 << 20)
WORKS = "works"


def _use(queue, item):
    """Put and get; where an item is refused, see that the queue is as before."""
    queue.put("first", timeout=LIMIT)
    for one in (*SMALL, item):
        try:
            queue.put(one, timeout=LIMIT)
        except OSError:
            assert queue.qsize() == 1
            assert queue.get(timeout=LIMIT) == "first"
            queue.put("goes on", timeout=LIMIT)
            assert queue.get(timeout=LIMIT) == "goes on"
            raise
        assert queue.get(timeout=LIMIT) == "first"
        queue.put("first", timeout=LIMIT)
        assert queue.get(timeout=LIMIT) == one
    assert queue.get(timeout=LIMIT) == "first"


def named(run_id, item="small"):
    queue = SharedMemoryQueue(
        "q", create=True, capacity=4, item_size=64, max_processes=2, run_id=run_id
    )
    try:
        _use(queue, item)
    finally:
        queue.close()
        queue.unlink()


def named_large(run_id):
    named(run_id, LARGE)


def named_huge(run_id):
    named(run_id, HUGE)


def unnamed(run_id, item="small"):
    queue = Queue()
    try:
        _use(queue, item)
        queue.put_batch([bytes(1000)] * 200)
        assert queue.get_batch(200) == [bytes(1000)] * 200
    finally:
        queue.close()


def unnamed_huge(run_id):
    unnamed(run_id, HUGE)


class Attempts:
    """Attempts of one kind, made under one limit after the other."""

    def __init__(self, run_id):
        self._run_id = run_id
        self._forks = Forks()
        # Children under a small limit shall need no memory to collect what is their parent's.
        gc.collect()
        gc.freeze()

    def outcome(self, function, limit=None, value=0):
        """Return "works", or the error as {"errno", "text"}; fail on whatever else comes of it."""
        reader, writer = os.pipe()

        def attempt():
            before = sorted(open_descriptors())
            if limit is not None:
                whole = resource.getrlimit(limit)
                resource.setrlimit(limit, (value, whole[1]))
            try:
                function(self._run_id)
                found = WORKS
            except (OSError, MemoryError, SegmentError) as error:
                found = {
                    "errno": getattr(error, "errno", None),
                    "kind": type(error).__name__,
                    "text": str(error),
                }
            except BaseException:
                found = traceback.format_exc()
            if limit is not None:
                resource.setrlimit(limit, whole)
            gc.collect()
            if (after := sorted(open_descriptors())) != before:
                found = f"descriptors {before} became {after}"
            os.write(writer, json.dumps(found).encode())

        signal.alarm(int(LIMIT))
        code = self._forks.wait(self._forks.start(attempt))
        signal.alarm(0)
        os.close(writer)
        with open(reader) as pipe:
            said = pipe.read()
        if code != 0:
            return f"ended with {code} (a signal if negative), said {said}"
        left = segment_files(self._run_id)
        if left:
            return f"left {left}"
        return json.loads(said)


def under_limits(run_id, limit_name, values):
    """Print [[value, kind of queue, outcome], ...]."""
    attempts = Attempts(run_id)
    limit = getattr(resource, limit_name)
    if limit_name == "RLIMIT_AS":
        # Of what comes on top of what the process has already.
        with open("/proc/self/statm") as file:
            has = int(file.read().split()[0]) * resource.getpagesize()
        values = [has + value for value in values]
    kinds = (named, named_large, named_huge, unnamed, unnamed_huge)
    outcomes = [
        [value, kind.__name__, attempts.outcome(kind, limit, value)]
        for value in values
        for kind in kinds
    ]
    print(json.dumps(outcomes))


def in_sizes(run_id, sizes):
    """Print the same for a /dev/shm of each size; it must be this program's own."""
    attempts = Attempts(run_id)
    outcomes = []
    for size in sizes:
        subprocess.run(
            ["mount", "-o", f"remount,size={size}", str(SHM)], check=True, capture_output=True
        )
        for kind in (named, named_large, named_huge, unnamed, unnamed_huge):
            outcomes.append([size, kind.__name__, attempts.outcome(kind)])
            system = os.statvfs(SHM)
            if system.f_bfree != system.f_blocks:
                outcomes.append([size, kind.__name__, "left memory in use"])
    print(json.dumps(outcomes))


def without_shared_memory(run_id):
    """Print what comes of each kind where there is no /dev/shm, and of attaching."""
    attempts = Attempts(run_id)
    kinds = (named, unnamed, unnamed_huge)
    found = {kind.__name__: attempts.outcome(kind) for kind in kinds}
    found["attach"] = attempts.outcome(lambda run_id: SharedMemoryQueue("q", run_id=run_id))
    found["small files"] = attempts.outcome(unnamed, resource.RLIMIT_FSIZE, 4096)
    print(json.dumps(found))
