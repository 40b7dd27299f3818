"""Items of a batch that were taken but not delivered yet, since one before them failed to load."""

import os
import threading

import pytest


class Refuses:
    """Can be put, but not loaded."""

    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise LookupError("cannot be loaded")


def test_the_rest_of_the_batch_comes_with_the_next_calls(create):
    queue = create()
    queue.put_batch([1, Refuses(), "kept", "too"])
    assert queue.get_batch(4) == [1]
    with pytest.raises(LookupError):
        queue.get_batch(4)
    assert queue.qsize() == 2
    assert queue.get_batch(4) == ["kept", "too"]


def test_a_forked_child_does_not_deliver_them_again(create):
    queue = create()
    queue.put_batch([1, Refuses(), "kept"])
    assert queue.get_batch(3) == [1]
    child = os.fork()
    if child == 0:
        try:
            code = 0 if queue.qsize() == 0 else 1
            queue.get_nowait()
            code = 2
        except queue.Empty:
            pass
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    with pytest.raises(LookupError):
        queue.get_nowait()
    assert queue.get_nowait() == "kept"


def test_two_threads_get_each_of_them_once(create):
    queue = create()
    numbers = list(range(200))
    queue.put_batch([Refuses(), *numbers])
    with pytest.raises(LookupError):
        queue.get_batch(201)
    got = [[], []]

    def take(mine):
        while not queue.empty():
            try:
                mine += queue.get_batch(3, block=False)
            except queue.Empty:
                return

    threads = [threading.Thread(target=take, args=(mine,)) for mine in got]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(got[0] + got[1]) == numbers
