"""A block that an array lies in is free again when the last object that uses it dies, whenever."""

import copy
import gc
import multiprocessing
import pickle
import queue as stdlib_queue
import threading
import weakref

import numpy
import pytest

import shmqueue
from shmqueue import SharedMemoryQueue
from tests import support, views
from tests.support import LIMIT, Thread
from tests.views import assert_in_place, is_numbered, lies_in, numbered, used_bytes

pytestmark = pytest.mark.usefixtures("all_free")

MEGABYTE = 1 << 20


@pytest.fixture
def queue(create):
    return create()


@pytest.fixture
def view(queue):
    """Give an array in place: ``view(number=0)``; nobody else holds on to it."""

    def make(number=0, nbytes=MEGABYTE):
        queue.put(numbered(number, nbytes))
        return queue.get()

    return make


# What else uses the memory of an array, made from it; each gives its number of bytes.
DERIVED = {
    "a slice": lambda a: a[10:20],
    "one element's": lambda a: a[:1],
    "a slice of a slice": lambda a: a[10:][5:8],
    "a transposed one": lambda a: a.reshape(64, -1).T,
    "another type's": lambda a: a.view("uint8")[3:],
    "its base": lambda a: a.base,
    "a memoryview": memoryview,
    "a slice of a memoryview": lambda a: memoryview(a)[100:200],
    "frombuffer": lambda a: numpy.frombuffer(a, "uint16"),
    "a record's field": lambda a: a.view([("x", "u4"), ("y", "u4")])["y"],
    "an iterator": iter,
    "a bound method": lambda a: a.sum,
    "a closure": lambda a: lambda: a[0],
}


class TestTheLastOne:
    @pytest.mark.parametrize("name", DERIVED)
    def test_what_was_derived_keeps_the_block(self, queue, view, name):
        array = view()
        derived = DERIVED[name](array)
        del array
        gc.collect()
        assert used_bytes(queue) > 0
        # Nobody else writes there.
        for number in range(5):
            view(number + 1)
        if isinstance(derived, (numpy.ndarray, memoryview)) and name != "its base":
            assert bytes(derived) == bytes(DERIVED[name](numbered(0, MEGABYTE)))
        del derived
        assert used_bytes(queue) == 0

    def test_copies_do_not(self, queue, view):
        array = view()
        copies = [array.copy(), array + 0, copy.deepcopy(array), pickle.loads(pickle.dumps(array))]
        del array
        assert used_bytes(queue) == 0
        assert all(is_numbered(found, 0, MEGABYTE) for found in copies)

    def test_a_weak_reference_does_not(self, queue, view):
        array = view()
        weak = weakref.ref(array)
        del array
        assert weak() is None
        assert used_bytes(queue) == 0

    def test_a_cycle_is_collected(self, queue, view):
        class Node:
            pass

        node = Node()
        node.itself, node.array = node, view()
        assert used_bytes(queue) > 0
        del node
        gc.collect()
        assert used_bytes(queue) == 0

    @pytest.mark.parametrize("order", ["first in first out", "last in first out", "odd ones first"])
    def test_in_any_order(self, queue, view, order):
        kept = [view(number, 1 << 16) for number in range(100)]
        if order == "last in first out":
            kept.reverse()
        elif order == "odd ones first":
            kept = kept[1::2] + kept[::2]
        before = used_bytes(queue)
        while kept:
            kept.pop(0)
            assert used_bytes(queue) < before
            before = used_bytes(queue)
        assert before == 0

    def test_the_memory_serves_the_next_items(self, queue, view):
        view()
        reserved, _ = views.pool(queue)
        for number in range(200):
            assert is_numbered(view(number), number, MEGABYTE)
        assert views.pool(queue)[0] == reserved

    def test_an_exception_that_holds_it_lets_it_go(self, queue, view):
        def fail(array):
            raise LookupError(array[0])

        with pytest.raises(LookupError) as caught:
            fail(view())
        assert used_bytes(queue) > 0
        del caught
        gc.collect()
        assert used_bytes(queue) == 0


class TestThreads:
    def test_it_may_die_in_another_thread(self, queue, view):
        inbox = stdlib_queue.SimpleQueue()

        def drop():
            count = 0
            while (array := inbox.get()) is not None:
                count += is_numbered(array, count, MEGABYTE)
                del array
            return count

        thread = Thread(drop)
        for number in range(50):
            inbox.put(view(number))
        inbox.put(None)
        assert thread.result() == 50
        assert used_bytes(queue) == 0

    def test_threads_that_get_and_drop_at_once_leave_nothing(self, create):
        queue = create(capacity=8)

        def produce(first):
            for number in range(first, first + 100):
                queue.put((number, numbered(number, 1 << 16)))

        def consume():
            kept, wrong = [], 0
            while (item := queue.get(timeout=LIMIT)) is not None:
                kept.append(item)
                if len(kept) > 5:
                    number, array = kept.pop(2)
                    wrong += not is_numbered(array, number, 1 << 16)
            return wrong + sum(not is_numbered(array, number, 1 << 16) for number, array in kept)

        consumers = [Thread(consume) for _ in range(3)]
        producers = [Thread(produce, 1000 * n) for n in range(3)]
        for thread in producers:
            thread.result()
        for _ in consumers:
            queue.put(None)
        assert [thread.result() for thread in consumers] == [0, 0, 0]
        assert used_bytes(queue) == 0

    def test_the_thread_that_got_it_may_be_gone(self, queue, view):
        array = Thread(view, 3).result()
        gc.collect()
        assert is_numbered(array, 3, MEGABYTE)
        del array
        assert used_bytes(queue) == 0

    def test_a_threads_own_variables_die_with_it(self, queue, view):
        local = threading.local()

        def keep():
            local.array = view()
            return used_bytes(queue)

        thread = threading.Thread(target=keep)
        thread.start()
        thread.join()
        del thread
        assert used_bytes(queue) == 0


class TestAfterTheEnd:
    @pytest.mark.parametrize("ends", [["close"], ["unlink"], ["close", "unlink"], ["del"]])
    def test_of_the_queue_it_stays_and_then_the_block_is_free(self, create, attach, run_id, ends):
        create()
        other, queue = attach(), SharedMemoryQueue("q", run_id=run_id)
        other.put(numbered(1))
        array = queue.get()
        segment = views.segment_of(queue)
        for end in ends:
            if end != "del":
                getattr(queue, end)()
        if "close" not in ends:
            queue.close()
        del queue
        gc.collect()
        assert lies_in(segment, array)
        assert used_bytes(other) > 0
        for number in range(20):
            other.put(numbered(number))
            other.get()
        assert is_numbered(array, 1)
        array[:] = 0
        del array
        assert used_bytes(other) == 0

    def test_of_the_queue_the_mapping_goes_with_the_last_array(self, run_id):
        with SharedMemoryQueue("q", create=True, run_id=run_id) as queue:
            queue.put(numbered(1))
            queue.put(numbered(2))
            arrays = [queue.get(), queue.get()]
            segment = views.segment_of(queue)
            queue.unlink()
        del queue
        address = views.address_of(arrays[1])
        arrays.pop(0)
        assert is_numbered(arrays[0], 2)
        del arrays
        gc.collect()
        assert views.mapping_at(address)[1] != segment

    def test_of_an_unnamed_queue_too(self, make):
        queue = make()
        queue.put(numbered(1))
        array = queue.get()
        queue.close()
        assert is_numbered(array, 1)
        array[:] = 0

    def test_of_a_shut_queue_too(self, queue, view):
        array = view(1)
        queue.put(numbered(2))
        queue.shutdown()
        assert is_numbered(queue.get(), 2)
        assert is_numbered(array, 1, MEGABYTE)


# Programs that end with arrays in their hands: what each does once it has `queue`.
ENDINGS = {
    "a global": "kept = queue.get()",
    "many globals": "kept = [queue.get() for _ in range(8)]",
    "a closed queue": "kept = queue.get(); queue.close()",
    "a queue out of a with": "with queue: kept = queue.get()",
    "an unlinked queue": "kept = queue.get(); queue.close(); other.unlink()",
    "an array without its queue": "kept = queue.get(); del queue, other",
    "a cycle": "kept = [queue.get(), queue]; kept.append(kept)",
    "a module of its own": """
import types
sys.modules["own"] = own = types.ModuleType("own")
own.queue, own.kept = queue, queue.get()
""",
    "a function's default": "def f(x=queue.get()): pass\nsys.modules['builtins'].f = f",
    "an exit function": "import atexit\natexit.register(lambda a: a.sum(), queue.get())",
    "a late destructor": """
class Late:
    def __del__(self, keep=queue.get()):
        keep[:] = 1
sys.modules["sys"].late = Late()
""",
    "a slice": "kept = queue.get()[5:6]",
    "a daemon thread": """
import threading
ready = threading.Event()
def hold():
    kept = queue.get()
    ready.set()
    while True:
        kept += 1
threading.Thread(target=hold, daemon=True).start()
ready.wait()
""",
    "a view and a reservation": "kept = queue.get(); room = queue.reserve_array((100, 100))",
    "an exception": "kept = queue.get(); sys.exit(0)",
}


# Objects that the interpreter leaves as they are; their blocks are found like those of the dead.
NEVER_DROPPED = ["a daemon thread"]


class TestExit:
    @pytest.mark.parametrize("name", ENDINGS)
    def test_a_program_ends_well_and_leaves_the_blocks_free(self, queue, programs, run_id, name):
        for number in range(8):
            queue.put(numbered(number))
        source = (
            "import sys\nfrom shmqueue import SharedMemoryQueue\n"
            "queue = SharedMemoryQueue('q', run_id=sys.argv[1])\n"
            "other = SharedMemoryQueue('q', run_id=sys.argv[1])\n" + ENDINGS[name]
        )
        process = programs.start(source, run_id)
        output, errors = process.communicate(timeout=LIMIT)
        assert (process.returncode, output, errors) == (0, "", "")
        views.drain_silently(queue)
        if name in NEVER_DROPPED:
            views.sweep(queue)
        assert used_bytes(queue) == 0

    def test_one_that_leaves_by_os_exit_is_swept_after(self, queue, programs, run_id):
        queue.put(numbered(1))
        process = programs.start(
            """
            import os, sys
            from shmqueue import SharedMemoryQueue
            queue = SharedMemoryQueue("q", run_id=sys.argv[1])
            kept = queue.get()
            os._exit(7)
            """,
            run_id,
        )
        process.communicate(timeout=LIMIT)
        assert process.returncode == 7
        assert used_bytes(queue) > 0
        views.sweep(queue)
        assert used_bytes(queue) == 0


def double(inbox, outbox, count):
    """Send each array back doubled, and say how many came in place."""
    in_place = 0
    for _ in range(count):
        number, array = inbox.get()
        in_place += lies_in(inbox, array)
        array *= 2
        outbox.put((number, array))
        del array
    return in_place


class TestAcrossProcesses:
    def test_arrays_of_a_named_queue(self, create, start, ctx):
        inbox, outbox = create("in"), create("out")
        child = start(ctx, double, inbox, outbox, 20)
        for number in range(20):
            inbox.put((number, numbered(number)))
        for number in range(20):
            got, array = outbox.get(timeout=LIMIT)
            assert got == number
            assert_in_place(outbox, array)
            assert numpy.array_equal(array, 2 * numbered(number))
            del array
        assert child.result() == 20

    @pytest.mark.parametrize("kind", ["Queue", "JoinableQueue", "SimpleQueue"])
    @pytest.mark.parametrize("method", ["fork", "spawn", "forkserver"])
    def test_arrays_of_the_drop_ins(self, request, start, method, kind):
        ctx = shmqueue.get_context(method)
        inbox, outbox = getattr(ctx, kind)(), getattr(ctx, kind)()
        request.addfinalizer(inbox.close)
        request.addfinalizer(outbox.close)
        child = start(ctx, double, inbox, outbox, 10)
        for number in range(10):
            inbox.put((number, numbered(number)))
        for number in range(10):
            got, array = outbox.get()
            assert got == number
            assert_in_place(outbox, array)
            assert numpy.array_equal(array, 2 * numbered(number))
            del array
        assert child.result() == 10
        views.assert_all_free(inbox)
        views.assert_all_free(outbox)

    def test_a_view_travels_like_any_array(self, queue, view, start):
        array = view(4)
        ctx = multiprocessing.get_context("spawn")
        assert start(ctx, numpy.sum, array).result() == numbered(4, MEGABYTE).sum()
        assert support.run_in_fork(is_numbered, array, 4, MEGABYTE)
