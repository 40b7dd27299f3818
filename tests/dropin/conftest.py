"""What the tests of the drop-ins have: our contexts, and queues that are closed after the test."""

from multiprocessing import resource_sharer

import pytest

import shmqueue
from shmqueue import JoinableQueue, Queue, SimpleQueue


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def ctx(request):
    """Run the test with each way to start a process, by our context."""
    return shmqueue.get_context(request.param)


@pytest.fixture(params=[Queue, JoinableQueue, SimpleQueue])
def kind(request):
    """Run the test with each of the classes."""
    return request.param


@pytest.fixture
def make():
    """Make queues: ``make(kind, *args)``, closed after the test."""
    made = []

    def make_queue(kind, *args, **kwargs):
        made.append(kind(*args, **kwargs))
        return made[-1]

    yield make_queue
    while made:
        # The last reference must go: a JoinableQueue can be joined after close, so it holds on.
        made.pop().close()


@pytest.fixture(autouse=True)
def _no_resource_sharer(leak_guard):
    """End the thread that hands out descriptors of what was pickled outside of spawning."""
    yield
    resource_sharer.stop(timeout=10)
