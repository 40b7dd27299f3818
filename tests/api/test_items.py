"""What happens to the objects themselves: P4, P5, and the two serializers."""

import importlib
import pickle
import queue as stdlib_queue
import threading

import numpy
import pytest

from tests import support
from tests.api import workers
from tests.support import drain


class Unpicklable:
    def __init__(self, error):
        self.error = error

    def __reduce__(self):
        raise self.error


class OddError(Exception):
    def __init__(self, first, second):
        super().__init__(first, second)


def _notes(error):
    return getattr(error, "__notes__", [])


def fail_to_load(kind, *args):
    raise kind(*args)


class Unloadable:
    """Serialises well, and raises where it is loaded."""

    def __init__(self, kind, *args):
        self.call = (kind, *args)

    def __reduce__(self):
        return fail_to_load, self.call


class TestUnserialisable:
    @pytest.mark.parametrize("serializer", ["cloudpickle", "multiprocessing"])
    def test_it_raises_in_put_with_the_items_type(self, create, serializer):
        queue = create(serializer=serializer)
        with pytest.raises(TypeError) as caught:
            queue.put(threading.Lock())
        assert "lock" in caught.value.args[0]
        assert queue.empty()

    @pytest.mark.parametrize("serializer", ["cloudpickle", "multiprocessing"])
    @pytest.mark.parametrize(
        "error",
        [ValueError("boom"), OddError("boom", 2), RuntimeError(), KeyError("boom")],
        ids=repr,
    )
    def test_it_raises_the_original_type_and_names_the_item(self, create, serializer, error):
        queue = create(serializer=serializer)
        queue.put("before")
        had_message = "boom" in str(error)
        with pytest.raises(type(error)) as caught:
            queue.put(Unpicklable(error))
        assert type(caught.value) is type(error)
        assert "Unpicklable" in str([*caught.value.args, *_notes(caught.value)])
        if had_message:
            assert "Unpicklable" in str(caught.value.args[0])
            assert "boom" in str(caught.value)
        queue.put("after")
        assert drain(queue, 2) == ["before", "after"]

    def test_it_raises_from_wherever_it_hides(self, create):
        queue = create()
        for item in ([threading.Lock()], {"k": (1, {"x": threading.Lock()})}, (n for n in "ab")):
            with pytest.raises(TypeError):
                queue.put(item)
        assert queue.get_metrics()["items_put"] == 0
        assert queue.empty()

    def test_it_raises_in_every_kind_of_put(self, create):
        queue = create()
        for call in (
            lambda item: queue.put(item, block=False),
            lambda item: queue.put(item, timeout=0.1),
            queue.put_nowait,
            lambda item: queue.put_batch([item]),
        ):
            with pytest.raises(TypeError, match="lock"):
                call(threading.Lock())
        assert queue.empty()

    def test_recursion_beyond_all_bounds_is_an_error_and_no_crash(self, create):
        queue = create()
        nested = []
        for _ in range(100_000):
            nested = [nested]
        with pytest.raises((RecursionError, pickle.PicklingError)):
            queue.put(nested)
        while nested:
            nested = nested.pop()
        queue.put("fine")
        assert queue.get() == "fine"

    def test_it_costs_no_memory_of_the_pool(self, create):
        queue = create(item_size=64)
        queue.put(bytes(200_000))
        queue.get()
        before = queue.get_metrics()
        for _ in range(50):
            with pytest.raises(TypeError):
                queue.put([bytes(200_000), threading.Lock()])
        after = queue.get_metrics()
        assert after["pool_free_bytes"] == before["pool_free_bytes"]


class TestUnloadable:
    @pytest.mark.parametrize("serializer", ["cloudpickle", "multiprocessing"])
    @pytest.mark.parametrize(
        "kind", [ValueError, ZeroDivisionError, OSError, MemoryError, EOFError]
    )
    def test_it_raises_in_get_and_the_next_get_goes_on(self, create, serializer, kind):
        queue = create(serializer=serializer)
        queue.put("before")
        queue.put(Unloadable(kind, "cannot be loaded"))
        queue.put("after")
        assert queue.get() == "before"
        with pytest.raises(kind, match="cannot be loaded"):
            queue.get()
        assert queue.get() == "after"
        assert queue.empty()

    def test_a_module_that_the_reader_lacks_is_an_import_error_there(self, create):
        class Absent:
            def __reduce__(self):
                return importlib.import_module, ("no_module_of_this_name",)

        queue = create()
        queue.put(Absent())
        queue.put("after")
        with pytest.raises(ModuleNotFoundError):
            queue.get()
        assert queue.get() == "after"

    def test_a_load_that_raises_empty_does_not_look_like_an_empty_queue(self, create):
        queue = create()
        queue.put(Unloadable(stdlib_queue.Empty))
        with pytest.raises(stdlib_queue.Empty):
            queue.get()
        assert queue.get_metrics()["items_got"] == 1

    def test_a_large_one_gives_its_memory_back(self, create):
        class Large(Unloadable):
            def __reduce__(self):
                return fail_to_load, (*self.call, bytes(300_000))

        queue = create(item_size=64)
        free = None
        for _ in range(30):
            queue.put(Large(ValueError))
            with pytest.raises(ValueError):
                queue.get()
            metrics = queue.get_metrics()
            free = metrics["pool_free_bytes"] if free is None else free
            assert metrics["pool_free_bytes"] == free

    @pytest.mark.parametrize("large", [False, True])
    def test_in_a_batch_it_costs_no_other_item(self, create, large):
        queue = create(item_size=512)
        good = [bytes(50_000 if large else 5) + b"%d" % n for n in range(6)]
        queue.put_batch([*good[:2], Unloadable(ValueError, "bad"), *good[2:]])
        found, errors = [], []
        while not isinstance(outcome := _get_batch(queue), stdlib_queue.Empty):
            (errors.append if isinstance(outcome, ValueError) else found.extend)(outcome)
        assert found == good
        assert len(errors) == 1


def _get_batch(queue):
    """Return a batch, or what get_batch raised."""
    try:
        return queue.get_batch(100, block=False)
    except (ValueError, stdlib_queue.Empty) as error:
        return error


class TestWhatPutSawIsWhatGetReturns:
    def test_later_changes_of_an_item_are_not_seen(self, create):
        queue = create()
        item = {"list": [1, 2], "bytes": bytearray(b"abc")}
        queue.put(item)
        item["list"].append(3)
        item["bytes"][0] = 0
        item["new"] = True
        assert queue.get() == {"list": [1, 2], "bytes": bytearray(b"abc")}

    @pytest.mark.parametrize("size", [10, 4096, 100_000, 3_000_000])
    def test_later_changes_of_a_buffer_are_not_seen(self, create, size):
        queue = create()
        buffer = bytearray(b"a" * size)
        queue.put(buffer)
        buffer[:] = b"b" * size
        found = queue.get()
        assert type(found) is bytearray
        assert found == b"a" * size

    @pytest.mark.parametrize("size", [10, 1_000_000])
    def test_later_changes_of_an_array_are_not_seen(self, create, size):
        queue = create()
        array = numpy.arange(size)
        queue.put(array)
        queue.put({"a": array[::2], "b": [array]})
        array[:] = -1
        alone, nested = queue.get(), queue.get()
        assert (alone == numpy.arange(size)).all()
        assert (nested["a"] == numpy.arange(size)[::2]).all()
        assert (nested["b"][0] == numpy.arange(size)).all()

    def test_what_get_returned_is_ones_own(self, create):
        queue = create()
        kept = []
        for number in range(20):
            queue.put(numpy.full(50_000, number))
            array = queue.get()
            array += 1
            kept.append(array)
        assert [set(array) for array in kept] == [{number + 1} for number in range(20)]

    def test_two_gets_of_equal_items_share_nothing(self, create):
        queue = create()
        queue.put_batch([[1], [1]])
        first, second = drain(queue, 2)
        first.append(2)
        assert second == [1]


PROGRAM_WITH_CLASSES = """
    import enum, sys
    from shmqueue import SharedMemoryQueue

    class Colour(enum.Enum):
        RED = 1

    class Job:
        def __init__(self, number):
            self.number = number
        def __eq__(self, other):
            return type(self) is type(other) and self.number == other.number
        __hash__ = None

    def double(x):
        return 2 * x

    factor = 3
    queue = SharedMemoryQueue(sys.argv[1], run_id=sys.argv[2])
    queue.put(lambda x: x * factor)
    queue.put(double)
    queue.put(Job(7))
"""


class TestSerializers:
    def test_cloudpickle_sends_what_is_defined_in_a_program_by_value(
        self, create, run_id, programs
    ):
        queue = create()
        programs.run(PROGRAM_WITH_CLASSES, "q", run_id)
        triple, double, job = drain(queue, 3)
        assert triple(5) == 15
        assert double(5) == 10
        assert (type(job).__name__, job.number) == ("Job", 7)

    def test_a_lambda_and_a_local_class_go_through_either_serializer(self, create):
        class Local:
            value = 5

        offset = 2
        for serializer in ("cloudpickle", "multiprocessing"):
            queue = create(serializer, serializer=serializer)
            queue.put(lambda x, offset=offset: x + offset)
            queue.put(Local())
            assert queue.get()(3) == 5
            assert queue.get().value == 5

    def test_multiprocessing_sends_classes_by_reference(self, create):
        queue = create(serializer="multiprocessing")
        queue.put(OddError)
        queue.put(Unloadable)
        assert queue.get() is OddError
        assert queue.get() is Unloadable

    def test_an_importable_class_stays_itself_with_both(self, create):
        for serializer in ("cloudpickle", "multiprocessing"):
            queue = create(serializer, serializer=serializer)
            queue.put(OddError("a", 2))
            assert type(queue.get()) is OddError

    def test_reducers_registered_with_multiprocessing_count(self, create):
        from multiprocessing.reduction import ForkingPickler

        class Sealed:
            def __reduce__(self):
                raise TypeError("only by its reducer")

        ForkingPickler.register(Sealed, lambda sealed: (str, ("sealed",)))
        try:
            for serializer in ("cloudpickle", "multiprocessing"):
                queue = create(serializer, serializer=serializer)
                queue.put([Sealed()])
                assert queue.get() == ["sealed"]
        finally:
            del ForkingPickler._extra_reducers[Sealed]


class TestSurvival:
    def test_what_put_returned_from_survives_its_putter(self, create, ctx, start, signs):
        queue, words = create(item_size=256), signs(ctx)
        items = [1, "two", b"3" * 100_000, [4] * 1000, None]
        child = start(ctx, workers.put_all_and_vanish, queue, items, words.sender)
        words.await_word("put")
        assert child.wait() == 7
        assert drain(queue, 5) == items

    def test_it_survives_a_kill_and_everybody_else(self, create, ctx, start, signs):
        queue, words = create(item_size=256), signs(ctx)
        items = [b"x" * size for size in (10, 255, 256, 257, 1_000_000)]
        child = start(ctx, workers.put_all_and_stay, queue, items, words.sender)
        words.await_word("put")
        child.kill()
        queue.put("after")
        assert drain(queue, 6) == [*items, "after"]

    def test_a_killed_getter_that_was_waiting_takes_nothing(self, create, ctx, start, signs):
        queue, words = create(), signs(ctx)
        child = start(ctx, workers.get_until_closed, queue, words.sender)
        words.await_word("getting")
        support.await_asleep(f"/proc/{child.pid}")
        child.kill()
        queue.put("kept")
        assert queue.get_nowait() == "kept"
