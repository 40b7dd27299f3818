"""The drop-ins are what programs take them for: classes, attributes, overriding."""

import multiprocessing
import queue as stdlib_queue
import types
from multiprocessing import queues, synchronize

import pytest

import shmqueue
from shmqueue import JoinableQueue, Queue, SimpleQueue
from tests.dropin import workers
from tests.support import LIMIT


class TestBeing:
    @pytest.mark.parametrize(
        ("kind", "standard"),
        [
            (Queue, queues.Queue),
            (JoinableQueue, queues.JoinableQueue),
            (JoinableQueue, queues.Queue),
            (SimpleQueue, queues.SimpleQueue),
        ],
    )
    def test_each_is_an_instance_of_the_standard_class(self, make, kind, standard):
        assert isinstance(make(kind), standard)
        assert issubclass(kind, standard)

    def test_a_joinable_queue_is_a_queue(self, make):
        assert isinstance(make(JoinableQueue), Queue)

    def test_a_queue_is_always_true_and_has_no_length(self, make, kind):
        queue = make(kind)
        assert queue
        queue.put(1)
        assert queue
        with pytest.raises(TypeError):
            len(queue)

    def test_the_classes_can_be_subscripted_in_annotations(self, kind):
        assert isinstance(kind[int], types.GenericAlias)

    def test_a_context_argument_is_accepted_and_ignored(self, make, kind):
        queue = make(kind, ctx=multiprocessing.get_context("spawn"))
        queue.put(1)
        assert queue.get() == 1

    def test_it_can_be_referenced_weakly_and_has_free_attributes(self, make, kind):
        import weakref

        queue = make(kind)
        queue.anything = 1
        assert weakref.ref(queue)() is queue

    @pytest.mark.parametrize("serializer", ["cloudpickle", "multiprocessing"])
    def test_the_serializer_may_be_chosen(self, make, kind, serializer):
        queue = make(kind, serializer=serializer)
        queue.put({1, 2})
        assert queue.get() == {1, 2}

    def test_a_serializer_of_ones_own_reaches_every_process(self, make, kind, ctx, start):
        import json

        for serializer in (json, workers.Reversing()):
            queue = make(kind, serializer=serializer)
            child = start(ctx, workers.put_each, queue, [["a", {"b": None}]])
            assert queue.get(timeout=LIMIT) == ["a", {"b": None}]
            child.result()

    def test_an_unknown_serializer_is_refused(self, kind):
        with pytest.raises(ValueError, match="serializer"):
            kind(serializer="no such thing")

    @pytest.mark.parametrize("call", ["put", "put_nowait"])
    def test_an_item_may_be_put_by_the_name_that_it_has_there(self, make, kind, call):
        queue = make(kind)
        getattr(queue, call)(obj="by name")
        assert queue.get() == "by name"

    def test_no_thread_and_no_lock_is_made(self, make):
        import threading

        before = threading.active_count()
        queue = make(Queue)
        queue.put(1)
        assert threading.active_count() == before
        assert not hasattr(queue, "_sem")

    def test_it_goes_when_the_last_reference_goes(self, kind):
        import gc
        import weakref

        gc.disable()
        try:
            queue = kind()
            queue.put(1)
            gone = weakref.ref(queue)
            del queue
            assert gone() is None
        finally:
            gc.enable()


class TestMaxsize:
    @pytest.mark.parametrize("kind", [Queue, JoinableQueue])
    @pytest.mark.parametrize("maxsize", [1, 2, 100])
    def test_exactly_maxsize_items_fit(self, make, kind, maxsize):
        queue = make(kind, maxsize)
        assert queue._maxsize == maxsize
        for number in range(maxsize):
            assert not queue.full()
            queue.put_nowait(number)
        assert queue.full()
        with pytest.raises(stdlib_queue.Full):
            queue.put_nowait("one more")
        assert [queue.get() for _ in range(maxsize)] == list(range(maxsize))

    @pytest.mark.parametrize("maxsize", [0, -1])
    def test_a_maxsize_of_nothing_is_no_bound(self, make, maxsize):
        queue = make(Queue, maxsize)
        for number in range(5000):
            queue.put(number)
        assert not queue.full()
        assert queue.qsize() == 5000
        assert queue._maxsize == synchronize.SEM_VALUE_MAX

    @pytest.mark.parametrize("maxsize", ["1", 1.5, None])
    def test_a_maxsize_that_is_no_int_is_a_type_error(self, maxsize):
        with pytest.raises(TypeError):
            Queue(maxsize)


class Doubling(Queue):
    def put(self, obj, block=True, timeout=None):
        super().put(obj * 2, block, timeout)

    def get(self, block=True, timeout=None):
        return ("got", super().get(block, timeout))


class Remembering(Queue):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.failed = []

    def _on_queue_feeder_error(self, e, obj):
        self.failed.append((type(e), obj))


class TestOverriding:
    def test_the_short_forms_call_what_a_subclass_overrides(self, make):
        queue = make(Doubling)
        queue.put_nowait(3)
        queue.put(4)
        assert queue.get_nowait() == ("got", 6)
        assert queue.get() == ("got", 8)

    def test_a_queue_that_overrides_the_feeders_error_hook_gets_the_error_there(self, make):
        queue = make(Remembering)
        generator = (n for n in range(3))
        queue.put(generator)
        queue.put_nowait(generator)
        queue.put("fine")
        assert queue.get(timeout=30) == "fine"
        assert queue.failed == [(TypeError, generator)] * 2

    def test_that_hook_is_not_for_a_full_or_closed_queue(self, make):
        queue = make(Remembering, 1)
        queue.put(1)
        with pytest.raises(stdlib_queue.Full):
            queue.put_nowait(2)
        queue.close()
        with pytest.raises(ValueError, match="is closed"):
            queue.put(2)
        assert queue.failed == []


class TestContext:
    def test_its_queues_are_ours(self, ctx):
        for made, kind in [
            (ctx.Queue(), Queue),
            (ctx.Queue(3), Queue),
            (ctx.JoinableQueue(maxsize=3), JoinableQueue),
            (ctx.SimpleQueue(), SimpleQueue),
        ]:
            assert type(made) is kind
            made.close()

    def test_it_is_a_context_like_the_standard_one(self, ctx):
        standard = multiprocessing.get_context(ctx.get_start_method())
        assert isinstance(ctx, type(standard))
        assert ctx.Process is standard.Process
        assert ctx.Process._start_method == standard.Process._start_method
        assert type(ctx.Lock()) is type(standard.Lock())
        names = {name for name in dir(standard) if not name.startswith("_")}
        assert names <= set(dir(ctx))

    def test_the_same_method_gives_the_same_context(self, ctx):
        method = ctx.get_start_method()
        assert shmqueue.get_context(method) is ctx
        assert ctx.get_context() is ctx
        assert ctx.get_context("spawn") is shmqueue.get_context("spawn")

    def test_the_default_follows_multiprocessing(self):
        expected = multiprocessing.get_context().get_start_method()
        assert shmqueue.get_context().get_start_method() == expected

    def test_the_default_follows_the_programs_choice(self, programs):
        assert (
            programs.run(
                """
                import multiprocessing, shmqueue
                multiprocessing.set_start_method("forkserver")
                print(shmqueue.get_context().get_start_method())
                """
            )
            == "forkserver\n"
        )

    def test_an_unknown_method_is_refused_as_there(self, ctx):
        for call in (shmqueue.get_context, ctx.get_context):
            with pytest.raises(ValueError, match="cannot find context for 'threads'"):
                call("threads")

    def test_its_start_method_cannot_be_set_as_there(self, ctx):
        with pytest.raises(ValueError, match="cannot set start method of concrete context"):
            ctx.set_start_method("spawn")

    def test_the_standard_contexts_are_left_alone(self, ctx):
        queue = multiprocessing.get_context(ctx.get_start_method()).SimpleQueue()
        assert type(queue) is queues.SimpleQueue
        queue.close()

    def test_it_pickles_as_itself(self, ctx):
        import pickle

        assert pickle.loads(pickle.dumps(ctx)) is ctx
