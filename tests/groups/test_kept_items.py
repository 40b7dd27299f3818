"""Items that a consumer took together with one that could not be loaded, and has not got yet."""

import _thread
import signal
import threading
from queue import Empty

import pytest

from tests.support import LIMIT, Thread, await_asleep, wait_until


class Refuses:
    """Can be put, but not loaded."""

    def __reduce__(self):
        return _refuse, ()


def _refuse():
    raise LookupError("cannot be loaded")


class SignalsOnce:
    """Sends a signal the first time it is loaded."""

    times = 0

    def __reduce__(self):
        return _signal_once, ()


def _signal_once():
    SignalsOnce.times += 1
    if SignalsOnce.times == 1:
        signal.raise_signal(signal.SIGUSR1)
    return "loaded"


class Notes:
    """Has a signal noted when it is loaded, whose handler runs once Python's code goes on."""

    def __reduce__(self):
        return _thread.interrupt_main, (signal.SIGUSR1,)


@pytest.fixture(autouse=True)
def signals_again():
    SignalsOnce.times = 0


@pytest.fixture
def pipeline(make_stream):
    """Return a group, and one that comes after it, of a stream with five items."""
    stream = make_stream(groups={"a": {}, "b": {"after": "a"}})
    stream.put_batch([1, 2, Refuses(), 4, 5])
    with stream.group("a") as a, stream.group("b") as b:
        yield a, b


def test_they_count_as_items_that_the_group_has(pipeline):
    a, _ = pipeline
    assert a.get_batch(5) == [1, 2]
    assert a.qsize() == 3
    assert not a.empty()
    with pytest.raises(LookupError):
        a.get_batch(5)
    assert a.qsize() == 2
    assert a.get_batch(5) == [4, 5]
    assert a.empty()


def test_they_are_finished_once_they_were_got(pipeline):
    a, b = pipeline
    assert a.get_batch(5) == [1, 2]
    a.done()
    assert b.qsize() == 0
    with pytest.raises(LookupError):
        a.get_batch(5)
    a.done()
    assert b.qsize() == 0
    assert a.get_batch(5) == [4, 5]
    assert b.qsize() == 0, "got is not finished"
    a.done()
    assert b.get_batch(2) == [1, 2]


def test_asking_for_more_than_them_finishes_them(pipeline):
    a, b = pipeline
    assert a.get_batch(5) == [1, 2]
    with pytest.raises(LookupError):
        a.get()
    assert [a.get(), a.get()] == [4, 5]
    with pytest.raises(Empty):
        a.get_nowait()
    assert b.get_batch(2) == [1, 2]


def test_a_batch_that_a_signal_ends_while_it_is_loaded_is_not_finished(make_stream, exiting):
    stream = make_stream(groups={"a": {}, "b": {"after": "a"}})
    a, b = stream.group("a"), stream.group("b")
    stream.put_batch([1, SignalsOnce(), 3])
    with pytest.raises(SystemExit):
        a.get_batch(3)
    a.done()
    assert b.qsize() == 0
    assert a.qsize() == 3
    assert a.get_batch(3) == [1]
    assert a.get_batch(3) == ["loaded", 3]
    a.done()
    assert b.get_batch(3) == [1, "loaded", 3]


def test_a_lingering_batch_that_a_signal_ends_loses_nothing(make_stream, exiting):
    stream = make_stream(groups=["a"])
    a = stream.group("a")
    stream.put_batch([1, Refuses(), 3, SignalsOnce(), 5])
    batches = a.batches(5, linger=LIMIT)
    assert next(batches) == [1]
    with pytest.raises(LookupError):
        next(batches)
    with pytest.raises(SystemExit):
        next(a.batches(5, linger=LIMIT))
    assert a.get_batch(5) == [3]
    assert a.get_batch(5) == ["loaded", 5]


def lag_of(stream):
    return stream.get_metrics()["groups"][0]["lag"]


def test_a_signal_while_a_batch_lingers_is_raised_at_once_and_loses_nothing(make_stream, exiting):
    stream = make_stream(groups=["a"])
    a = stream.group("a")
    stream.put_batch([1, b"2"])

    def put_more():
        wait_until(lambda: lag_of(stream) == 0, "the first to be taken")
        stream.put_batch([SignalsOnce(), 4])

    putting = Thread(put_more)
    with pytest.raises(SystemExit):
        next(a.batches(5, linger=LIMIT))
    putting.result()
    assert a.qsize() == 4
    assert [a.get() for _ in range(4)] == [1, b"2", "loaded", 4]


@pytest.mark.parametrize("linger", [0, LIMIT])
@pytest.mark.parametrize("writes", [False, True])
def test_a_signal_that_is_seen_when_a_batch_was_loaded_loses_nothing(
    make_stream, exiting, writes, linger
):
    stream = make_stream(groups=["a"])
    a = stream.group("a", writes=writes)
    stream.put_batch([1, Notes(), 3])
    with pytest.raises(SystemExit):
        next(a.batches(3, linger=linger))
    assert a.qsize() == 3
    assert a.get_batch(3) == [1, None, 3]


@pytest.mark.parametrize("writes", [False, True])
def test_a_signal_that_is_seen_when_more_was_loaded_loses_nothing(make_stream, exiting, writes):
    stream = make_stream(groups=["a"])
    a = stream.group("a", writes=writes)
    stream.put_batch([1, b"2"])

    def put_more():
        wait_until(lambda: lag_of(stream) == 0, "the first to be taken")
        stream.put_batch([Notes(), 4])

    putting = Thread(put_more)
    with pytest.raises(SystemExit):
        next(a.batches(4, linger=LIMIT))
    putting.result()
    assert a.qsize() == 4
    assert [a.get() for _ in range(4)] == [1, b"2", None, 4]


@pytest.mark.parametrize("dtype", [None, "i4", "M8[s]"])
def test_a_signal_while_a_batch_waits_for_more_loses_nothing(make_stream, exiting, dtype):
    np = pytest.importorskip("numpy")
    stream = make_stream(groups=["a"], **({} if dtype is None else {"dtype": dtype}))
    a = stream.group("a")
    items = np.arange(3).astype(dtype or "i8")
    stream.put_batch(items)
    waiting = threading.main_thread()

    def send():
        wait_until(lambda: lag_of(stream) == 0, "all to be taken")
        await_asleep(f"/proc/self/task/{waiting.native_id}")
        signal.pthread_kill(waiting.ident, signal.SIGUSR1)

    sending = Thread(send)
    with pytest.raises(SystemExit):
        next(a.batches(5, linger=LIMIT))
    sending.result()
    assert a.qsize() == 3
    assert [a.get(timeout=LIMIT) for _ in range(3)] == list(items)


def test_an_error_behind_a_lingering_batch_is_there_for_whoever_asks_next(pipeline):
    a, b = pipeline
    for batch in a.batches(5, linger=LIMIT):
        assert batch == [1, 2]
        break
    a.done()
    assert b.qsize() == 0
    with pytest.raises(LookupError):
        a.get()
    assert a.get_batch(5) == [4, 5]


def test_skipping_leaves_the_newest_of_the_ring_and_none_of_them(make_stream):
    stream = make_stream(groups={"a": {}, "b": {"after": "a"}})
    a, b = stream.group("a"), stream.group("b")
    stream.put_batch([1, 2, Refuses(), 4, 5])
    assert a.get_batch(5) == [1, 2]
    stream.put_batch(["newer", "newest"])
    assert a.skip_to_latest() == 4
    assert a.qsize() == 1
    assert a.get() == "newest"
    a.done()
    assert b.qsize() == 7


def test_skipping_leaves_the_newest_of_them_where_none_is_in_the_ring(pipeline):
    a, _ = pipeline
    assert a.get_batch(5) == [1, 2]
    assert a.skip_to_latest() == 2
    assert a.skip_to_latest() == 0
    assert a.get_batch(5) == [5]


def test_skipping_gives_the_memory_of_large_ones_back(make_stream, exiting):
    np = pytest.importorskip("numpy")
    stream = make_stream(groups=["a"])
    a = stream.group("a")
    stream.put_batch([np.zeros(1 << 15), SignalsOnce()])
    with pytest.raises(SystemExit):
        a.get_batch(2)
    stream.put("newest")
    assert stream.get_metrics()["view_bytes"] > 0
    assert a.skip_to_latest() == 2
    assert stream.get_metrics()["view_bytes"] == 0
    assert a.get() == "newest"
