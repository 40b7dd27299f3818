"""A process that forks in the middle of a put of large items: one of the two puts them."""

import itertools
import os
import signal

import pytest

from shmqueue import SharedMemoryQueue
from tests import support
from tests.support import LIMIT

LARGE = 100_000
TOLD = 7


def _put_while_forking(run_id, put, fork):
    """Have `put` run and `fork` called in the middle; tell what came out of the queue.

    `fork` is given a function that forks, returns to the child's put at once, and to the parent's
    once the child has ended and there is room.
    """
    with SharedMemoryQueue("large", create=True, capacity=2, run_id=run_id) as queue:
        parent, ended, seen = os.getpid(), [], []

        def fork_now():
            child = os.fork()
            if child == 0:
                return
            ended.append(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
            seen.extend(queue.get_batch(2, block=False) if queue.qsize() else [])

        try:
            try:
                fork(queue, fork_now)
                put(queue, fork_now)
            except ValueError as error:
                os._exit(TOLD if os.getpid() != parent and "forked" in str(error) else 1)
            if os.getpid() != parent:
                os._exit(2)  # it has put what is the parent's
            first = queue.get_batch(2, timeout=LIMIT)
            queue.put(b"B" * LARGE, timeout=LIMIT)  # in a block that is free again
            return ended, seen, [item[:1] for item in [*first, queue.get(timeout=LIMIT)]]
        finally:
            if os.getpid() == parent:
                queue.unlink()


def _fork_in_a_handler(queue, fork_now):
    """The put will wait, and be interrupted."""
    queue.put_batch(["full", "full"])
    rings = itertools.count()

    def ring(*_):
        if next(rings) == 0:
            fork_now()

    signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, 0.05)


class _Forks:
    """Forks when it is pickled."""

    def __init__(self, fork_now):
        self._fork_now = fork_now

    def __reduce__(self):
        self._fork_now()
        return bytes, (b"plain",)


def _fork_later(queue, fork_now):
    """The item that is pickled forks."""


@pytest.mark.parametrize("first", [b"small", b"s" * LARGE], ids=["small-first", "large-first"])
def test_a_batch_that_waits_is_put_by_the_parent_alone(run_id, first):
    def put(queue, _):
        queue.put_batch([first, b"A" * LARGE], timeout=LIMIT)

    ended, seen, items = support.run_in_fork(_put_while_forking, run_id, put, _fork_in_a_handler)
    assert (ended, seen) == ([TOLD], ["full", "full"])
    assert items == [b"s", b"A", b"B"]


def test_a_batch_that_is_being_pickled_is_put_by_the_parent_alone(run_id):
    def put(queue, fork_now):
        queue.put_batch([b"A" * LARGE, _Forks(fork_now)], timeout=LIMIT)

    ended, seen, items = support.run_in_fork(_put_while_forking, run_id, put, _fork_later)
    assert (ended, seen) == ([TOLD], [])
    assert items == [b"A", b"p", b"B"]
