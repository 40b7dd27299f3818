"""What interrupts a batch behind good items comes out of the call, and no item is lost to it."""

import pickle
import signal

import numpy
import pytest

import shmqueue
from shmqueue import Empty
from tests import support, views

LARGE = 100_000


class HandlerError(Exception):
    """What a signal's handler raises to end whatever is going on."""


class Signalling:
    """Sends a signal during these of its loads, counted from the first, which is 1."""

    at: tuple = ()
    loaded = 0
    error = SystemExit(3)

    dumps = staticmethod(pickle.dumps)

    @classmethod
    def loads(cls, data):
        cls.loaded += 1
        if cls.loaded in cls.at:
            signal.raise_signal(signal.SIGUSR1)
        return data if isinstance(data, numpy.ndarray) else pickle.loads(data)


class Exits:
    """Ends the process whenever it is loaded."""

    def __reduce__(self):
        return _exit, ()


def _exit():
    raise SystemExit(4)


@pytest.fixture
def signalling():
    def handler(signum, frame):
        raise Signalling.error

    previous = signal.signal(signal.SIGUSR1, handler)
    Signalling.loaded, Signalling.at, Signalling.error = 0, (), SystemExit(3)
    yield Signalling
    signal.signal(signal.SIGUSR1, previous)


@pytest.fixture
def interrupted(create, signalling):
    shmqueue.register_serializer("signalling", Signalling)
    return create(capacity=16, serializer="signalling")


def all_of(queue):
    """Take what there is, in batches."""
    items = []
    while True:
        try:
            items += queue.get_batch(16, block=False)
        except Empty:
            return items


class TestWhatIsNoException:
    @pytest.mark.parametrize("error", [SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
    @pytest.mark.parametrize("number", [1, 2, 4])
    def test_is_raised_at_once_and_all_items_come_afterwards(self, interrupted, number, error):
        Signalling.at, Signalling.error = (number,), error
        interrupted.put_batch([1, 2, 3, 4])
        with pytest.raises(type(error)):
            interrupted.get_batch(4)
        assert interrupted.qsize() == 4
        assert all_of(interrupted) == [1, 2, 3, 4]

    def test_also_where_items_were_kept_before(self, interrupted):
        Signalling.at = (2, 6)  # 2 and 5, of which the latter was not tried before
        interrupted.put_batch([1, 2, 3, 4, 5, 6])
        with pytest.raises(SystemExit):
            interrupted.get_batch(6)
        assert interrupted.get_batch(6) == [1]
        with pytest.raises(SystemExit):
            interrupted.get_batch(6)
        assert interrupted.qsize() == 5
        assert all_of(interrupted) == [2, 3, 4, 5, 6]
        assert Signalling.loaded == 6 + 2, "only what was interrupted is loaded twice"

    def test_an_item_that_always_raises_it_is_gone_after_the_second_time(self, create):
        queue = create()
        queue.put_batch([1, 2, Exits(), 3])
        with pytest.raises(SystemExit):
            queue.get_batch(4)
        assert queue.get_batch(4) == [1, 2]
        with pytest.raises(SystemExit):
            queue.get_batch(4)
        assert queue.get_batch(4) == [3]

    def test_what_was_loaded_is_kept_whatever_it_is(self, create):
        queue = create(capacity=16)
        items = [None, 5, b"bytes", "text", ValueError("an item"), {"k": [1]}, bytearray(b"x")]
        queue.put_batch([*items, Exits()])
        with pytest.raises(SystemExit):
            queue.get_batch(16)
        got = queue.get_batch(16)
        assert [type(item) for item in got] == [type(item) for item in items]
        assert got[:4] == items[:4]
        assert got[4].args == ("an item",)

    def test_bytes_that_were_kept_are_still_got_as_bytes(self, create):
        queue = create()
        queue.put_batch([b"a", b"b", 5, Exits()])
        with pytest.raises(SystemExit):
            queue.get_batch(4)
        assert queue.get_bytes() == b"a"
        buffer = bytearray(1)
        assert queue.get_into(buffer) == 1
        assert buffer == b"b"
        with pytest.raises(TypeError, match="not bytes"):
            queue.get_bytes()
        assert queue.get() == 5

    def test_large_items_are_kept_where_they_are(self, create):
        queue = create(capacity=16)
        queue.put(numpy.full(LARGE, 1, "u1"))
        queue.put(Exits())
        queue.put(numpy.full(LARGE, 2, "u1"))
        with pytest.raises(SystemExit):
            queue.get_batch(3)
        (first,) = queue.get_batch(3)
        with pytest.raises(SystemExit):
            queue.get_batch(3)
        second = queue.get()
        assert [int(array.sum()) for array in (first, second)] == [LARGE, 2 * LARGE]
        del first, second
        views.assert_all_free(queue)

    def test_while_a_large_item_is_loaded_behind_good_ones(self, create):
        queue = create(capacity=16)
        queue.put("good")
        queue.put([numpy.full(LARGE, 1, "u1"), Exits()])
        queue.put("last")
        with pytest.raises(SystemExit):
            queue.get_batch(3)
        assert queue.qsize() == 3
        assert queue.get_batch(3) == ["good"]
        with pytest.raises(SystemExit):
            queue.get_batch(3)
        assert queue.get_batch(3) == ["last"]
        views.assert_all_free(queue)


class TestAnExceptionOfAHandler:
    @pytest.mark.parametrize("number", [2, 4])
    def test_comes_with_the_next_call_and_the_item_after_it(self, interrupted, number):
        Signalling.at, Signalling.error = (number,), HandlerError()
        interrupted.put_batch([1, 2, 3, 4])
        assert interrupted.get_batch(4) == [1, 2, 3][: number - 1]
        with pytest.raises(HandlerError):
            interrupted.get_batch(4)
        assert all_of(interrupted) == [2, 3, 4][number - 2 :]


def test_a_process_that_is_told_to_end_while_it_loads_a_batch_ends(programs, create, run_id):
    create(item_size=64)
    program = programs.start(
        """
        import os, signal, sys
        from shmqueue import SharedMemoryQueue

        def end():
            os.kill(os.getpid(), signal.SIGTERM)
            return "ended"

        class Ends:
            def __reduce__(self):
                return end, ()

        signal.signal(signal.SIGTERM, lambda *_: sys.exit(3))
        queue = SharedMemoryQueue("q", run_id=sys.argv[1])
        queue.put_batch([1, Ends(), 2])
        print(queue.get_batch(3), queue.get_batch(3))
        """,
        run_id,
    )
    output, errors = program.communicate(timeout=support.LIMIT)
    assert (program.returncode, output, errors) == (3, "", "")
