import contextlib
import multiprocessing
import signal

import pytest

from shmqueue import Stream
from tests.faults.conftest import forks, turns

__all__ = ["forks", "heap", "make_stream", "turns"]


@pytest.fixture
def make_stream(run_id):
    """Return a maker of streams, which are removed afterwards."""
    with contextlib.ExitStack() as made:

        def make(name="stream", **options):
            stream = Stream(name, create=True, run_id=run_id, **options)
            made.callback(stream.close)
            made.callback(stream.unlink)
            return stream

        yield make


@pytest.fixture
def exiting():
    """Have SIGUSR1 raise SystemExit in the main thread, also of forked children."""

    def leave(signum, frame):
        raise SystemExit(3)

    previous = signal.signal(signal.SIGUSR1, leave)
    yield
    signal.signal(signal.SIGUSR1, previous)


# Of the tests of consumers


@pytest.fixture(scope="module")
def heap():
    """Have multiprocessing open memory for arrays, more than the tests need: it keeps that."""
    multiprocessing.RawArray("d", 50_000)


@pytest.fixture
def total(heap):
    """Return a number that processes add to."""
    return multiprocessing.get_context("spawn").Value("q", 0)


@pytest.fixture
def stream(make_stream):
    """Return a stream with one group."""
    return make_stream(groups=["sum"])
