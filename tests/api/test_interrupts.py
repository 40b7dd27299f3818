"""Signals that reach a waiting call by other ways than through its own system call."""

import _thread
import os
import signal
import subprocess
import sys
import threading

import pytest

from shmqueue import Queue, ShutDown, memory
from tests.protocol.raw import HEAD
from tests.support import LIMIT, program_environment


@pytest.mark.parametrize("timeout", [None, 1000.0])
def test_an_interrupt_noted_by_another_thread_ends_a_wait(create, timeout):
    queue = create()
    waits = threading.Event()

    def interrupt():
        waits.wait()
        while queue.get_metrics()["blocked_empty_count"] == 0:
            pass
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    thread.start()
    waits.set()
    with pytest.raises(KeyboardInterrupt):
        queue.get(timeout=timeout)
    thread.join()


class GivenUpError(Exception):
    pass


def test_one_interrupt_ends_a_shutdown_that_waits_for_a_stopped_consumer(create, open_raw):
    queue = create()
    queue.put("item")
    raw = open_raw()
    child = os.fork()
    if child == 0:
        queue.put("has a seat")
        os.kill(os.getpid(), signal.SIGSTOP)
        os._exit(0)
    os.waitpid(child, os.WUNTRACED)
    raw.set_owner(HEAD, raw.seat_of(child)[1])

    def give_up(signum, frame):
        raise GivenUpError

    previous = signal.signal(signal.SIGUSR1, give_up)
    thread = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGUSR1))
    thread.start()
    try:
        with pytest.raises(GivenUpError):
            queue.shutdown(immediate=True)
    finally:
        signal.signal(signal.SIGUSR1, previous)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    # The head is the dead one's now.
    queue.shutdown(immediate=True)
    with pytest.raises(ShutDown):
        queue.get()


class Interrupting:
    """Something whose loading is interrupted, once."""

    interrupts = 0

    def __init__(self, size):
        self.content = b"c" * size

    def __setstate__(self, state):
        vars(self).update(state)
        if Interrupting.interrupts:
            Interrupting.interrupts -= 1
            raise KeyboardInterrupt


@pytest.mark.parametrize("size", [10, 5000, 20_000, 200_000])
def test_an_item_whose_loading_is_interrupted_is_got_next(create, size, monkeypatch):
    queue = create()
    queue.put(Interrupting(size))
    queue.put("second")
    monkeypatch.setattr(Interrupting, "interrupts", 1)
    with pytest.raises(KeyboardInterrupt):
        queue.get()
    assert queue.qsize() == 2
    assert len(queue.get().content) == size
    assert queue.get() == "second"


def test_a_small_array_that_is_interrupted_while_it_is_made_is_got_next(create, run_id):
    """The first one of a process imports numpy."""
    numpy = pytest.importorskip("numpy")
    queue = create()
    queue.put(numpy.arange(10))
    queue.put("second")
    program = subprocess.run(
        [sys.executable, "-c", INTERRUPTED_IMPORT, run_id],
        env=program_environment(),
        capture_output=True,
        text=True,
        timeout=LIMIT,
    )
    assert (program.stdout, program.stderr) == ("45 second\n", "")


INTERRUPTED_IMPORT = """
import sys
from shmqueue import SharedMemoryQueue


class Interrupting:
    def find_spec(self, name, path=None, target=None):
        if name == "numpy":
            sys.meta_path.remove(self)
            raise KeyboardInterrupt


queue = SharedMemoryQueue("q", run_id=sys.argv[1])
sys.meta_path.insert(0, Interrupting())
try:
    queue.get()
except KeyboardInterrupt:
    print(queue.get().sum(), queue.get())
"""


def test_an_item_that_a_serializer_was_interrupted_with_is_got_next():
    class Serializer:
        is_interrupted = True

        def dumps(self, item):
            return item.encode()

        def loads(self, data):
            if self.is_interrupted:
                self.is_interrupted = False
                raise KeyboardInterrupt
            return data.decode()

    queue = Queue(serializer=Serializer())
    queue.put("first")
    queue.put("second")
    with pytest.raises(KeyboardInterrupt):
        queue.get()
    assert [queue.get(), queue.get()] == ["first", "second"]
    queue.close()


def test_a_view_that_is_interrupted_before_it_is_made_takes_no_item(create, monkeypatch):
    queue = create()
    queue.put(b"large" * 100_000)

    def interrupt():
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(memory, "headroom_bytes", interrupt)
        with pytest.raises(KeyboardInterrupt):
            queue.get_view()
    with queue.get_view() as view:
        assert view.nbytes == 500_000
