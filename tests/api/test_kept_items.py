"""Items of a batch that were taken but not delivered yet, since one before them failed to load."""

import os
import threading

import pytest

from shmqueue import Empty
from tests.support import Thread


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


def test_threads_that_keep_items_at_once_lose_none(create):
    """Each batch fails in the middle, so that all threads keep and deliver all the time."""
    queue = create(capacity=1024)
    numbers = list(range(600))
    queue.put_batch([Refuses() if number % 4 == 2 else number for number in numbers])
    good = [number for number in numbers if number % 4 != 2]

    def take():
        got, refused = [], 0
        while True:
            try:
                got += queue.get_batch(7, block=False) if refused % 2 else [queue.get_nowait()]
            except LookupError:
                refused += 1
            except Empty:
                return got, refused

    threads = [Thread(take) for _ in range(4)]
    outcomes = [thread.result() for thread in threads]
    # Who found nothing may have looked while another thread had the rest in hand.
    last = take()
    outcomes.append(last)
    assert sorted(number for got, _ in outcomes for number in got) == good
    assert sum(refused for _, refused in outcomes) == len(numbers) - len(good)
    assert queue.qsize() == 0


def test_bytes_that_were_kept_go_to_one_thread_each(create):
    queue = create(capacity=1024)
    items = [number.to_bytes(2, "big") for number in range(500)]
    queue.put_batch([Refuses(), *items])
    with pytest.raises(LookupError):
        queue.get_batch(501)

    def take():
        got, buffer = [], bytearray(2)
        while True:
            try:
                got.append(queue.get_bytes(block=False))
                queue.get_into(buffer, block=False)
                got.append(bytes(buffer))
            except Empty:
                return got

    threads = [Thread(take) for _ in range(3)]
    assert sorted(item for thread in threads for item in thread.result()) == items
