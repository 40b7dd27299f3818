"""Signals that reach a waiting call by other ways than through its own system call."""

import _thread
import threading

import pytest


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
