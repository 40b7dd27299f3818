"""A queue reaches other processes: as an argument, by inheritance, through another queue."""

import copy
import multiprocessing
import pickle
import threading
from multiprocessing.reduction import ForkingPickler

import pytest

from shmqueue import JoinableQueue, Queue, SimpleQueue, dropin
from tests.dropin import workers
from tests.support import LIMIT, drain


class Labelled(Queue):
    """A subclass that says nothing about pickling."""

    def __init__(self, label, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.label = label
        self.options = {"depth": [1, (2, 3)]}
        self.guard = threading.Lock()


class Counted(Queue):
    """One that does, in the way that is usual for subclasses of multiprocessing's."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.count = multiprocessing.get_context("spawn").Semaphore(7)

    def __getstate__(self):
        return {"parent": super().__getstate__(), "count": self.count}

    def __setstate__(self, state):
        super().__setstate__(state["parent"])
        self.count = state["count"]


def count_of(queue):
    return type(queue).__name__, queue.count.get_value()


class TestToChildren:
    def test_as_an_argument(self, make, kind, ctx, start):
        queue, answers = make(kind), make(kind)
        child = start(ctx, workers.put_each, queue, ["a", {"b": 1}])
        assert drain(queue, 2) == ["a", {"b": 1}]
        child.result()
        child = start(ctx, workers.get_some, answers, 2)
        answers.put(1)
        answers.put(2)
        assert child.result() == [1, 2]

    def test_from_a_standard_context(self, make, kind, ctx, start):
        queue = make(kind)
        standard = multiprocessing.get_context(ctx.get_start_method())
        child = start(standard, workers.put_each, queue, [1])
        assert drain(queue, 1) == [1]
        child.result()

    def test_within_another_argument(self, make, kind, ctx, start):
        queue = make(kind)
        child = start(ctx, workers.call, _put_to, {"queue": [queue]})
        assert queue.get(timeout=LIMIT) == "put"
        child.result()

    def test_twice_in_one_argument_list(self, make, kind, ctx, start):
        queue = make(kind)
        child = start(ctx, workers.same_queue_twice, queue, queue)
        assert child.result() == ("x", True)

    def test_two_handles_on_it_in_one_argument_list(self, make, kind, ctx, start):
        queue = make(kind)
        other = copy.copy(queue)
        child = start(ctx, workers.same_queue_twice, queue, other)
        assert child.result() == ("x", False)
        other.close()
        del other

    def test_its_ends_alone(self, make, kind, ctx, start):
        queue = make(kind)
        queue.put(20)
        child = start(ctx, _answer_by_ends, queue._reader, queue._writer)
        child.result()
        assert queue.get(timeout=LIMIT) == 21

    def test_items_that_were_there_before_are_there_for_the_child(self, make, kind, ctx, start):
        queue = make(kind)
        for number in range(100):
            queue.put(number)
        assert start(ctx, workers.get_some, queue, 100).result() == list(range(100))

    def test_the_parent_may_drop_it_before_the_child_has_begun(self, ctx, start):
        queue, answers = Queue(), Queue()
        queue.put("kept")
        child = start(ctx, workers.call, _move, queue, answers)
        queue.close()
        del queue
        assert answers.get(timeout=LIMIT) == "kept"
        child.result()
        answers.close()

    def test_a_grandchild_gets_it_too(self, make, kind, ctx, start):
        queue = make(kind)
        child = start(ctx, _start_grandchild, ctx, queue)
        assert queue.get(timeout=LIMIT) == "from the grandchild"
        child.result()

    def test_many_queues_at_once(self, make, ctx, start):
        queues = [make(Queue) for _ in range(30)]
        child = start(ctx, _put_own_number, queues)
        assert [queue.get(timeout=LIMIT) for queue in queues] == list(range(30))
        child.result()


def _put_to(arguments):
    arguments["queue"][0].put("put")


def _move(source, target):
    target.put(source.get(timeout=LIMIT))


def _answer_by_ends(reader, writer):
    writer.send(reader.recv() + 1)


def _start_grandchild(ctx, queue):
    process = ctx.Process(target=workers.put_each, args=(queue, ["from the grandchild"]))
    process.start()
    process.join(LIMIT)


def _put_own_number(queues):
    for number, queue in enumerate(queues):
        queue.put(number)


class TestElsewhere:
    def test_through_a_queue_of_ours(self, make, kind, ctx, start):
        carrier, payload = make(kind), make(kind)
        child = start(ctx, workers.get_through, carrier)
        payload.put("question")
        carrier.put(payload)
        assert child.result() == kind.__name__
        assert payload.get(timeout=LIMIT) == ("answer", "question")

    def test_through_a_standard_queue(self, make, kind, ctx, start):
        standard = multiprocessing.get_context(ctx.get_start_method())
        payload, carrier = make(kind), standard.Queue()
        child = start(standard, workers.get_through, carrier)
        payload.put("question")
        carrier.put(payload)
        assert child.result() == kind.__name__
        assert payload.get(timeout=LIMIT) == ("answer", "question")
        carrier.close()
        carrier.join_thread()
        del carrier

    def test_through_itself(self, make, kind):
        queue = make(kind)
        queue.put({"reply to": queue})
        other = queue.get()["reply to"]
        other.put("hello")
        assert queue.get() == "hello"
        other.close()
        del other

    @pytest.mark.parametrize("dumps", [pickle.dumps, ForkingPickler.dumps])
    def test_a_pickle_loads_in_the_process_that_made_it(self, make, kind, dumps):
        queue = make(kind)
        other = pickle.loads(dumps(queue))
        assert type(other) is kind
        assert other._attachment is queue._attachment
        other.put(1)
        assert queue.get() == 1
        other.close()
        queue.put("the copy's close closed only the copy")
        assert queue.qsize() == 1
        del other

    @pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
    def test_every_protocol_will_do(self, make, protocol):
        queue = make(Queue, 3)
        other = pickle.loads(pickle.dumps(queue, protocol))
        assert other._maxsize == 3
        other.close()

    def test_it_never_arrives_as_another_queue(self, make):
        queue, other = make(Queue), make(Queue)
        attach, [_fd, _poll_fd, custom, uuid] = dropin._reduce_attachment(queue._attachment)
        _attach, [fd, poll_fd, *_rest] = dropin._reduce_attachment(other._attachment)
        with pytest.raises(OSError, match="was closed while it was being sent"):
            attach(fd, poll_fd, custom, uuid)

    def test_a_closed_queue_is_not_pickled(self, kind):
        queue = kind()
        queue.close()
        with pytest.raises((ValueError, OSError), match="is closed"):
            pickle.dumps(queue)


class TestSubclasses:
    def test_attributes_that_are_plain_data_travel_and_others_do_not_hinder(self, ctx, start):
        queue = Labelled("tasks", 5)
        child = start(
            ctx, workers.attributes_of, queue, ["label", "options", "_maxsize", "_closed"]
        )
        assert child.result() == ["tasks", {"depth": [1, (2, 3)]}, 5, False]
        queue.close()

    def test_the_usual_way_to_send_more_with_it_works(self, start):
        ctx = multiprocessing.get_context("spawn")
        queue = Counted(5)
        assert start(ctx, count_of, queue).result() == ("Counted", 7)
        queue.close()

    @pytest.mark.parametrize("parent", [Queue, JoinableQueue, SimpleQueue])
    def test_a_subclass_stays_one(self, make, parent):
        kind = {Queue: OfQueue, JoinableQueue: OfJoinable, SimpleQueue: OfSimple}[parent]
        other = pickle.loads(pickle.dumps(make(kind)))
        assert type(other) is kind
        other.close()


class OfQueue(Queue):
    pass


class OfJoinable(JoinableQueue):
    pass


class OfSimple(SimpleQueue):
    pass
