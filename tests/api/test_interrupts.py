"""Signals that reach a waiting call by other ways than through its own system call."""

import _thread
import os
import signal
import threading

import pytest

from shmqueue import ShutDown
from tests.protocol.raw import HEAD


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
