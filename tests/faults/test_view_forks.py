"""A fork while arrays lie in blocks: from there on parent and child each have their own."""

import gc
import multiprocessing
import os
import threading

import numpy
import pytest

from shmqueue import SharedMemoryQueue, Stream
from tests import views
from tests.support import LIMIT, Thread
from tests.views import is_numbered, lies_in, numbered, used_bytes

pytestmark = pytest.mark.usefixtures("all_free")

MEGABYTE = 1 << 20
FORK = multiprocessing.get_context("fork")


@pytest.fixture
def queue(create):
    return create()


@pytest.fixture
def view(queue):
    """Give an array in place: ``view(number)``."""

    def make(number=0, nbytes=MEGABYTE):
        queue.put(numbered(number, nbytes))
        return queue.get()

    return make


@pytest.fixture(params=["os.fork", "multiprocessing"])
def run_child(request, forks, start):
    """Run a function in a forked child: ``wait = run_child(function)``; ``wait()`` ends well."""

    def run(function):
        if request.param == "os.fork":
            pid = forks.start(function)

            def wait():
                assert forks.wait(pid) == 0
        else:
            wait = start(FORK, function).result
        return wait

    return run


class TestTheChildsCopy:
    def test_it_never_changes_whatever_the_parent_does(self, queue, view, run_child, turns):
        arrays = [view(number) for number in range(3)]
        part = arrays[1][100:200]

        def child():
            for _ in range(4):
                turns.hear()
                for number in range(3):
                    assert is_numbered(arrays[number], number, MEGABYTE)
                assert numpy.array_equal(part, numbered(1, MEGABYTE)[100:200])
                turns.say()

        wait = run_child(child)
        turns.swap()
        for array in arrays:
            array[:] = 77
        turns.swap()
        # Dropped, and the blocks used by others.
        del array
        arrays.clear()
        part = None
        for number in range(20):
            view(1000 + number)
        turns.swap()
        queue.close()
        turns.swap()
        wait()

    def test_what_it_writes_is_its_own(self, view, run_child, turns):
        array = view(1)

        def child():
            array[:] = 0
            turns.swap()
            assert not array.any()
            array[::2] = 5

        wait = run_child(child)
        turns.hear()
        assert is_numbered(array, 1, MEGABYTE)
        array[:] = 9
        turns.say()
        wait()
        assert (array == 9).all()

    def test_two_children_have_one_each(self, view, forks, turns):
        array = view(1)
        ready = os.pipe()

        def child(value):
            array[:] = value
            os.write(ready[1], b".")
            turns.hear()
            assert (array == value).all()

        pids = [forks.start(child, value) for value in (3, 4)]
        for _ in pids:
            assert os.read(ready[0], 1)
        for _ in pids:
            turns.say()
        assert [forks.wait(pid) for pid in pids] == [0, 0]
        assert is_numbered(array, 1, MEGABYTE)
        for fd in ready:
            os.close(fd)

    def test_it_outlives_the_parent(self, queue, forks, turns):
        def parent():
            queue.put(numbered(1))
            array = queue.get()

            def child():
                turns.hear()
                assert is_numbered(array, 1)
                turns.say()

            forks.start(child)
            array[:] = 0

        assert forks.wait(forks.start(parent)) == 0
        for number in range(10):
            queue.put(numbered(number))
            queue.get()
        turns.swap()

    def test_it_was_in_place_and_is_private_memory_now(self, queue, view, run_child):
        array = view(1)
        address = views.address_of(array)
        assert lies_in(queue, array)

        def child():
            assert views.address_of(array) == address
            assert not lies_in(queue, array)

        run_child(child)()
        assert views.address_of(array) == address
        array[:] = 1
        assert (array == 1).all()

    @pytest.mark.parametrize(
        "hold",
        [lambda a: memoryview(a)[8:80], lambda a: a[8:80], lambda a: {"deep": a}["deep"]],
        ids=["a memoryview", "a slice", "an array"],
    )
    def test_however_it_is_held(self, queue, run_child, turns, hold):
        queue.put({"deep": numbered(1)})
        held = hold(queue.get()["deep"])
        wanted = bytes(held)

        def child():
            turns.hear()
            assert bytes(held) == wanted

        wait = run_child(child)
        held[3] = 0
        turns.say()
        wait()


class TestTheParents:
    def test_its_array_is_as_before_and_may_be_written(self, queue, view, run_child):
        array = view(1)
        for round_ in range(20):
            run_child(lambda: None)()
            assert array[0] == max(round_, 1)
            array[0] = round_ + 1
        assert numpy.array_equal(array[1:], numbered(1, MEGABYTE)[1:])
        array += 1
        del array
        assert used_bytes(queue) == 0

    def test_views_that_come_after_a_fork_are_whole_and_in_place_once_it_is_dropped(
        self, queue, view, run_child
    ):
        for number in range(5):
            first = view(number)
            assert lies_in(queue, first)
            run_child(lambda: None)()
            second = view(100)
            assert is_numbered(first, number, MEGABYTE)
            assert is_numbered(second, 100, MEGABYTE)
            del first, second

    @pytest.mark.parametrize("size", [1 << 16, MEGABYTE, 8 * MEGABYTE])
    def test_a_thread_that_writes_without_pause_loses_no_write(self, queue, forks, size):
        """Each round adds to a new array, in C and without the interpreter's lock, while forked."""
        for _ in range(100 if size <= MEGABYTE else 30):
            queue.put(numpy.zeros(size // 4, "uint32"))
            array = queue.get()
            stop, begun = threading.Event(), threading.Event()

            def add(array=array, stop=stop, begun=begun):
                count = 0
                while not stop.is_set():
                    numpy.add(array, 1, out=array)
                    count += 1
                    begun.set()
                return count

            thread = Thread(add)
            assert begun.wait(LIMIT)
            pid = forks.start(lambda: None)
            stop.set()
            assert (array == thread.result()).all()
            assert forks.wait(pid) == 0
            del array, add, thread
        assert used_bytes(queue) == 0

    def test_nor_does_one_that_writes_through_many_forks(self, queue, view, forks):
        array = view(0)
        array[:] = 0
        stop = threading.Event()

        def add():
            count = 0
            while not stop.is_set():
                numpy.add(array, 1, out=array)
                count += 1
            return count

        thread = Thread(add)
        others = []
        for number in range(120):
            if number % 3 == 0:
                others.append((number, view(number, 1 << 16)))
            assert forks.wait(forks.start(lambda: None)) == 0
        stop.set()
        assert (array == thread.result()).all()
        assert all(is_numbered(other, number, 1 << 16) for number, other in others)

    def test_threads_that_get_and_drop_meanwhile_see_whole_arrays(self, create, forks):
        queue = create(capacity=4)
        stop = threading.Event()

        def consume():
            wrong = 0
            while (item := queue.get(timeout=LIMIT)) is not None:
                number, array = item
                wrong += not is_numbered(array, number, 1 << 16)
                del item, array
            return wrong

        def produce():
            number = 0
            while not stop.is_set():
                queue.put((number, numbered(number, 1 << 16)), timeout=LIMIT)
                number += 1

        threads = [Thread(consume), Thread(consume), Thread(produce)]
        try:
            for _ in range(60):
                assert forks.wait(forks.start(lambda: None)) == 0
        finally:
            stop.set()
            threads.pop().result()
            for _ in threads:
                queue.put(None)
        assert [thread.result() for thread in threads] == [0, 0]
        assert used_bytes(queue) == 0


class TestTheQueueInTheChild:
    def test_it_drops_what_it_had_and_uses_the_queue(self, queue, view, run_child):
        kept = [view(number) for number in range(3)]

        def child():
            del kept[:2]
            gc.collect()
            for number in range(30):
                queue.put(numbered(number))
                got = queue.get(timeout=LIMIT)
                assert is_numbered(got, number)
            assert is_numbered(kept[0], 2, MEGABYTE)
            del got, kept[:]
            for number in range(30):
                queue.put(numbered(number))
                got = queue.get(timeout=LIMIT)
                assert lies_in(queue, got)
                assert is_numbered(got, number)
                del got

        run_child(child)()
        assert all(is_numbered(array, number, MEGABYTE) for number, array in enumerate(kept))
        kept.clear()
        assert used_bytes(queue) == 0

    def test_what_it_frees_is_not_the_parents(self, queue, view, run_child):
        """Dropping in the child may not give a block away that the parent's array lies in."""
        kept = [view(number) for number in range(4)]

        def child():
            kept.clear()
            gc.collect()

        for _ in range(5):
            run_child(child)()
            others = [view(100 + number) for number in range(6)]
            assert all(is_numbered(array, number, MEGABYTE) for number, array in enumerate(kept))
            assert all(is_numbered(a, 100 + n, MEGABYTE) for n, a in enumerate(others))
        del others

    def test_a_view_got_in_the_child_and_forked_again(self, queue, run_child, forks):
        for number in range(3):
            queue.put(numbered(number))
        arrays = [queue.get()]

        def grandchild():
            assert [is_numbered(a, n) for n, a in enumerate(arrays)] == [True, True]
            arrays.append(queue.get(timeout=LIMIT))
            for array in arrays:
                array += 1

        def child():
            arrays.append(queue.get(timeout=LIMIT))
            assert forks.wait(forks.start(grandchild)) == 0
            assert [is_numbered(a, n) for n, a in enumerate(arrays)] == [True, True]
            arrays[0][:] = 0

        run_child(child)()
        assert queue.qsize() == 0
        assert is_numbered(arrays[0], 0)
        views.sweep(queue)

    def test_deep_down_each_has_its_own(self, queue, view, forks):
        array = view(0)

        def descend(depth):
            assert (array[0], array[1]) == (depth, 1)
            array[0] = depth + 1
            if depth < 5:
                own = array.copy()
                assert forks.wait(forks.start(descend, depth + 1)) == 0
                assert numpy.array_equal(own, array)

        assert forks.wait(forks.start(descend, 0)) == 0
        assert is_numbered(array, 0, MEGABYTE)

    def test_an_exit_with_views_in_hand_leaves_nothing(self, queue, forks):
        def child():
            queue.put(numbered(1))
            queue.put(numbered(2))
            globals()["_kept"] = queue.get(), queue.get()

        for _ in range(5):
            assert forks.wait(forks.start(child)) == 0
        views.sweep(queue)
        assert used_bytes(queue) == 0

    def test_after_the_parent_closed_it(self, run_id, create, run_child):
        watch = create()
        queue = SharedMemoryQueue("q", run_id=run_id)
        queue.put(numbered(1))
        arrays = [queue.get()]
        queue.close()
        run_child(lambda: arrays[0].fill(3))()
        assert is_numbered(arrays[0], 1)
        arrays.clear()
        assert used_bytes(watch) == 0


class TestReservations:
    def test_they_stay_the_parents(self, queue, run_child):
        reservation = queue.reserve_array((1000, 100), "uint32")
        reservation.buffer[:] = 1

        def child():
            with pytest.raises(ValueError):
                reservation.commit()
            assert queue.qsize() == 0
            with queue.reserve_array((10,)) as own:
                own[:] = 2

        run_child(child)()
        assert queue.get(timeout=LIMIT).tolist() == [2.0] * 10
        reservation.buffer[:] = 7
        reservation.commit()
        assert (queue.get() == 7).all()

    @pytest.mark.parametrize("end", ["abort", "drop"])
    def test_a_child_that_is_rid_of_one_takes_nothing_from_the_parent(
        self, queue, run_child, view, end
    ):
        held = [queue.reserve(MEGABYTE)]
        held[0].buffer[:] = bytes(range(256)) * 4096

        def child():
            if end == "abort":
                held[0].abort()
            held.clear()
            gc.collect()

        run_child(child)()
        for number in range(5):
            assert is_numbered(view(number), number, MEGABYTE)
        held.pop().commit()
        assert queue.get() == bytes(range(256)) * 4096

    def test_what_the_child_writes_there_is_not_published(self, queue, run_child):
        reservation = queue.reserve(100_000)
        reservation.buffer[:] = b"p" * 100_000

        def child():
            try:
                reservation.buffer[:] = b"c" * 100_000
            except ValueError:
                return  # it may as well be refused

        run_child(child)()
        reservation.commit()
        assert queue.get() == b"p" * 100_000


@pytest.fixture
def stages(run_id):
    """Return a stream, the stage of it that writes, and the one after that."""
    groups = {"first": {}, "second": {"after": "first"}}
    with Stream("stream", run_id=run_id, create=True, capacity=2, groups=groups) as stream:
        with stream.group("first", writes=True) as first, stream.group("second") as second:
            yield stream, first, second
        stream.unlink()


class TestWhatOthersAreToSee:
    def test_what_a_stage_writes_is_the_parents_and_the_child_has_a_copy(
        self, stages, run_child, turns
    ):
        stream, first, second = stages
        stream.put(numpy.zeros(MEGABYTE, "u1"))
        arrays = [first.get()]
        arrays[0][:] = 7

        def child():
            turns.hear()
            assert arrays[0].min() == arrays[0].max() == 7
            arrays[0][:] = 1
            turns.say()

        wait = run_child(child)
        arrays[0][:] = 8
        arrays.clear()
        first.done()
        # Its block is used by others, for all that the child knows.
        for number in range(20, 30):
            assert second.get(timeout=LIMIT).max() == (8 if number == 20 else number - 1)
            gc.collect()
            stream.put(numpy.full(MEGABYTE, number, "u1"), timeout=LIMIT)
            first.get(timeout=LIMIT)
            first.done()
        turns.swap()
        wait()
        assert second.get(timeout=LIMIT).min() == 29

    def test_what_is_being_reserved_is_the_parents_and_the_child_has_a_copy(
        self, queue, run_child, turns
    ):
        with queue.reserve_array(MEGABYTE, "u1") as array:
            array[:] = 7

            def child():
                turns.hear()
                assert array.min() == array.max() == 7
                array[:] = 1
                turns.say()

            wait = run_child(child)
            array[:] = 8
            turns.swap()
            wait()
        got = queue.get()
        assert got.min() == got.max() == 8


class TestGroupsThatHoldTheSameItem:
    """In one process: their arrays have the same memory."""

    @pytest.fixture
    def held(self, run_id):
        """Return a stream, two groups of it, and the array that each has got of the first item."""
        with Stream("both", run_id=run_id, create=True, capacity=2, groups=["a", "b"]) as stream:
            stream.put(numbered(0, MEGABYTE))
            with stream.group("a") as a, stream.group("b") as b:
                yield stream, a, b, [a.get(), b.get()]
            stream.unlink()

    @pytest.mark.parametrize("dropped", [0, 1])
    def test_each_keeps_its_own_though_the_other_drops_it(self, held, run_child, turns, dropped):
        stream, a, b, arrays = held
        assert [lies_in(stream, array) for array in arrays] == [True, True]

        def child():
            del arrays[dropped]
            gc.collect()
            turns.hear()
            assert is_numbered(arrays[0], 0, MEGABYTE)
            turns.say()

        wait = run_child(child)
        del arrays[dropped]
        gc.collect()
        for number in range(1, 10):
            stream.put(numbered(number, MEGABYTE), timeout=LIMIT)
            assert is_numbered(a.get(), number, MEGABYTE)
            assert is_numbered(b.get(), number, MEGABYTE)
        assert is_numbered(arrays[0], 0, MEGABYTE)
        turns.swap()
        wait()
        arrays.clear()
        gc.collect()
        stream.put(numbered(10, MEGABYTE))
        seen = a.get()
        assert is_numbered(seen, 10, MEGABYTE)
        assert lies_in(stream, seen)

    def test_what_one_of_them_writes_others_see(self, run_id, run_child, turns):
        groups = {"writes": {}, "looks": {}, "after": {"after": "writes"}}
        with (
            Stream("some", run_id=run_id, create=True, capacity=2, groups=groups) as stream,
            stream.group("writes", writes=True) as writes,
            stream.group("looks") as looks,
            stream.group("after") as after,
        ):
            stream.put(numpy.zeros(MEGABYTE, "u1"))
            written, seen = writes.get(), looks.get()

            def child():
                turns.hear()
                assert written.max() == seen.max() == 0
                turns.say()

            wait = run_child(child)
            written[:] = 5
            turns.swap()
            wait()
            assert seen.min() == 5
            writes.done()
            assert after.get(timeout=LIMIT).min() == 5
            stream.unlink()
