"""What multiprocessing can send, and what it can't, through the drop-ins."""

import copyreg
import functools
import io
import multiprocessing
import socket
from multiprocessing import pool, shared_memory
from multiprocessing.reduction import ForkingPickler

import pytest

from shmqueue import Full, Queue
from tests.dropin import workers
from tests.support import LIMIT, open_descriptors


class TestHandles:
    def test_a_socket(self, make, kind, ctx, start):
        queue = make(kind)
        child = start(ctx, workers.use_socket, queue)
        ours, theirs = socket.socketpair()
        with ours, theirs:
            ours.settimeout(LIMIT)
            queue.put(theirs)
            ours.sendall(b"hello")
            assert ours.recv(5) == b"HELLO"
            child.result()

    def test_a_connection(self, make, kind, ctx, start):
        queue = make(kind)
        child = start(ctx, workers.use_connection, queue)
        ours, theirs = ctx.Pipe()
        with ours, theirs:
            queue.put(theirs)
            ours.send(41)
            assert ours.poll(LIMIT)
            assert ours.recv() == 42
            child.result()

    def test_shared_memory(self, make, kind, ctx, start):
        queue = make(kind)
        memory = shared_memory.SharedMemory(create=True, size=16)
        try:
            memory.buf[0] = 41
            child = start(ctx, workers.use_shared_memory, queue)
            queue.put(memory)
            child.result()
            assert memory.buf[0] == 42
        finally:
            memory.close()
            memory.unlink()

    def test_a_managers_proxy(self, make, kind, ctx, start):
        queue = make(kind)
        with ctx.Manager() as manager:
            shared = manager.dict(question=41)
            child = start(ctx, workers.use_proxy, queue)
            queue.put(shared)
            child.result()
            assert shared["answer"] == 42
            shared = None

    @pytest.mark.parametrize("name", ["Lock", "RLock", "Condition", "Event", "Semaphore"])
    def test_what_is_only_inherited_is_refused_as_in_multiprocessing(self, make, kind, ctx, name):
        queue = make(kind)
        with pytest.raises(RuntimeError, match="only be shared between processes through inherit"):
            queue.put(getattr(ctx, name)())
        with pytest.raises(RuntimeError, match="only be shared between processes through inherit"):
            queue.put([1, {"deep": getattr(ctx, name)()}])
        assert queue.empty()


class Registered:
    """Can't be pickled but by the reducer that is registered for it."""

    def __init__(self, value, how="made"):
        self.value = value
        self.how = how

    def __reduce__(self):
        raise AssertionError("not by the reducer")


class ByCopyreg(Registered):
    pass


def _forking_reducer(one):
    return Registered, (one.value, "ForkingPickler")


def _copyreg_reducer(one):
    return ByCopyreg, (one.value, "copyreg")


class TestReducers:
    def test_one_registered_with_forkingpickler(self, make, kind, monkeypatch):
        monkeypatch.setitem(ForkingPickler._extra_reducers, Registered, _forking_reducer)
        queue = make(kind)
        queue.put(Registered(1))
        queue.put([Registered(2)])
        first, [second] = queue.get(), queue.get()
        assert (first.value, first.how) == (1, "ForkingPickler")
        assert (second.value, second.how) == (2, "ForkingPickler")

    def test_one_registered_with_copyreg(self, make, kind, monkeypatch):
        monkeypatch.setitem(copyreg.dispatch_table, ByCopyreg, _copyreg_reducer)
        queue = make(kind)
        queue.put(ByCopyreg(1))
        found = queue.get()
        assert (found.value, found.how) == (1, "copyreg")

    def test_forkingpickler_counts_before_copyreg(self, make, kind, monkeypatch):
        monkeypatch.setitem(copyreg.dispatch_table, ByCopyreg, _copyreg_reducer)
        monkeypatch.setitem(
            ForkingPickler._extra_reducers,
            ByCopyreg,
            lambda one: (ByCopyreg, (one.value, "ForkingPickler")),
        )
        queue = make(kind)
        queue.put(ByCopyreg(1))
        assert queue.get().how == "ForkingPickler"

    def test_one_registered_next_to_what_only_cloudpickle_can(self, make, kind, monkeypatch):
        monkeypatch.setitem(ForkingPickler._extra_reducers, Registered, _forking_reducer)
        queue = make(kind)
        queue.put((Registered(1), lambda: 2))
        found, function = queue.get()
        assert (found.how, function()) == ("ForkingPickler", 2)


class TestCallables:
    def test_a_bound_method(self, make, kind, ctx, start):
        queue = make(kind)
        child = start(ctx, workers.call_item, queue, 4)
        queue.put(workers.Counter(3).add)
        assert child.result() == 7

    def test_a_partial(self, make, kind, ctx, start):
        queue = make(kind)
        child = start(ctx, workers.call_item, queue, 4)
        queue.put(functools.partial(divmod, 30))
        assert child.result() == (7, 2)

    def test_a_lambda(self, make, kind, ctx, start):
        queue = make(kind)
        child = start(ctx, workers.call_item, queue, 4)
        queue.put(lambda number: number * 10)
        assert child.result() == 40

    def test_a_closure(self, make, kind, ctx, start):
        queue = make(kind)
        child = start(ctx, workers.call_item, queue, 4)
        queue.put(workers.make_closure(5))
        assert child.result() == 20

    def test_a_class_defined_in_a_function(self, make, kind, ctx, start):
        class Local:
            def __init__(self, base):
                self.base = base

            def __call__(self, number):
                return self.base + number

        queue = make(kind)
        child = start(ctx, workers.call_item, queue, 4)
        queue.put(Local(100))
        assert child.result() == 104
        queue.put(Local(1))
        assert type(queue.get()).__name__ == "Local"


class TestExceptions:
    def test_the_cause_that_a_pool_wraps(self, make, kind):
        queue = make(kind)
        try:
            workers.fail("bad")
        except ValueError as error:
            queue.put(pool.ExceptionWithTraceback(error, error.__traceback__))
        found = queue.get()
        assert isinstance(found, ValueError)
        assert found.args == ("bad",)
        assert "the cause" in str(found.__cause__)

    def test_notes_and_attributes(self, make, kind):
        queue = make(kind)
        error = ValueError("bad")
        error.detail = {"line": 3}
        queue.put(error)
        assert queue.get().detail == {"line": 3}


class TestRefused:
    """Nobody can send these: put raises and names them, and the queue is as before."""

    def test_a_generator(self, make, kind):
        queue = make(kind)
        with pytest.raises(TypeError, match="'generator'"):
            queue.put(n for n in range(3))
        with pytest.raises(TypeError, match="generator"):
            queue.put([1, {"deep": (n for n in range(3))}])
        self._still_works(queue)

    @pytest.mark.parametrize("mode", ["r", "rb", "wb"])
    def test_an_open_file(self, make, kind, tmp_path, mode):
        queue = make(kind)
        path = tmp_path / "file"
        path.write_text("text")
        with path.open(mode) as file:
            with pytest.raises(TypeError, match=type(file).__name__):
                queue.put(file)
            with pytest.raises(TypeError, match=type(file).__name__):
                queue.put([1, {"deep": file}])
        assert isinstance(file, io.IOBase)
        self._still_works(queue)

    def test_a_thread_lock(self, make, kind):
        import threading

        queue = make(kind)
        with pytest.raises(TypeError, match=r"_thread\.lock"):
            queue.put(threading.Lock())
        self._still_works(queue)

    def _still_works(self, queue):
        assert queue.empty()
        queue.put("fine")
        assert queue.get(timeout=LIMIT) == "fine"


MAIN = """
import enum, multiprocessing, sys
import shmqueue

class Order:
    def __init__(self, number):
        self.number = number

class Colour(enum.Enum):
    RED = 1

class OrderError(Exception):
    pass

def double(number):
    return 2 * number

def child(queue, answers):
    order, colour, function, error = queue.get(timeout=30)
    assert type(order) is Order, type(order)
    assert colour is Colour.RED
    assert function is double
    assert type(error) is OrderError
    order.number = function(order.number)
    answers.put((order, colour, function, error))

if __name__ == "__main__":
    ctx = shmqueue.get_context(sys.argv[1])
    for kind in (ctx.Queue, ctx.JoinableQueue, ctx.SimpleQueue):
        queue, answers = kind(), kind()
        process = ctx.Process(target=child, args=(queue, answers))
        process.start()
        queue.put((Order(21), Colour.RED, double, OrderError("x")))
        order, colour, function, error = answers.get(timeout=30)
        assert type(order) is Order, type(order)
        assert order.number == 42
        assert colour is Colour.RED
        assert function is double
        assert type(error) is OrderError
        # The same next to what only cloudpickle can send.
        answers.put((Order(1), Colour.RED, lambda: 3))
        order, colour, function = answers.get(timeout=30)
        assert type(order) is Order and colour is Colour.RED and function() == 3
        process.join()
        assert process.exitcode == 0
    print("identical")
"""


class TestMain:
    def test_what_main_defines_travels_by_reference_and_stays_itself(self, ctx, programs):
        assert programs.run(MAIN, ctx.get_start_method()) == "identical\n"


def test_a_queue_of_multiprocessing_is_refused_as_there(make):
    queue, standard = make(Queue), multiprocessing.SimpleQueue()
    with pytest.raises(RuntimeError, match="only be shared between processes through inherit"):
        queue.put(standard)
    standard.close()


@pytest.mark.parametrize(
    "refused",
    [
        lambda queue, item: queue.put_nowait(item),
        lambda queue, item: queue.put(item, timeout=0.001),
        lambda queue, item: queue.put_batch([item], timeout=0.001),
    ],
    ids=["at once", "in time", "in a batch"],
)
def test_what_a_full_queue_refuses_has_left_no_descriptor_behind(refused):
    queue = Queue(1)
    queue.put("full")
    ours, theirs = socket.socketpair()
    before = open_descriptors()
    for _ in range(20):
        with pytest.raises(Full):
            refused(queue, ours)
    assert open_descriptors() == before
    ours.close()
    theirs.close()
    queue.close()
