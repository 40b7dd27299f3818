"""A queue is pickled at any time, and arrives only at the very segment it was."""

import copy
import pickle

import cloudpickle
import pytest

import shmqueue
from shmqueue import SharedMemoryQueue
from tests.api import workers
from tests.support import LIMIT, drain


class TestInOneProcess:
    @pytest.mark.parametrize(
        "dumps", [pickle.dumps, cloudpickle.dumps], ids=["pickle", "cloudpickle"]
    )
    def test_a_copy_is_another_handle_on_the_same_queue(self, create, dumps):
        queue = create("tasks", capacity=17, item_size=333)
        queue.put("before")
        with pickle.loads(dumps(queue)) as other:
            assert type(other) is SharedMemoryQueue
            assert (other.name, other.run_id) == (queue.name, queue.run_id)
            assert (other.capacity, other.item_size) == (17, 333)
            other.put("after")
            assert drain(queue, 2) == ["before", "after"]
        queue.put("the copy's close closes only the copy")
        assert queue.qsize() == 1

    @pytest.mark.parametrize("protocol", range(2, pickle.HIGHEST_PROTOCOL + 1))
    def test_every_protocol_will_do(self, create, protocol):
        queue = create()
        with pickle.loads(pickle.dumps(queue, protocol)) as other:
            other.put(1)
        assert queue.get() == 1

    def test_a_subclass_stays_one(self, run_id):
        with Named("q", create=True, run_id=run_id, capacity=5) as queue:
            with pickle.loads(pickle.dumps(queue)) as other:
                queue.unlink()
                assert type(other) is Named
                other.put(1)
            assert queue.get() == 1

    def test_copy_makes_a_handle_too(self, create):
        queue = create()
        with copy.copy(queue) as other:
            other.put(1)
        assert queue.get() == 1

    def test_a_pickle_holds_a_reference_and_no_items(self, create):
        queue = create()
        queue.put(b"secret" * 100)
        assert b"secret" not in pickle.dumps(queue)
        assert len(pickle.dumps(queue)) < 1000


class Named(SharedMemoryQueue):
    pass


class TestNoLongerThere:
    def test_after_unlink_it_is_a_file_not_found_error(self, create):
        queue = create("tasks")
        data = pickle.dumps(queue)
        queue.unlink()
        with pytest.raises(FileNotFoundError, match="tasks"):
            pickle.loads(data)
        late = pickle.dumps(queue)
        with pytest.raises(FileNotFoundError, match="tasks"):
            pickle.loads(late)

    def test_another_queue_of_the_name_is_not_the_one(self, create, run_id):
        first = create("tasks")
        data = pickle.dumps(first)
        shmqueue.unlink("tasks", run_id)
        second = create("tasks")
        second.put("of the second")
        with pytest.raises(FileNotFoundError, match="tasks"):
            pickle.loads(data)
        with pickle.loads(pickle.dumps(second)) as other:
            assert other.get() == "of the second"


class TestBetweenProcesses:
    def test_as_an_argument(self, create, ctx, start):
        queue = create()
        child = start(ctx, workers.put_all, queue, ["a", "b"])
        child.result()
        assert drain(queue, 2) == ["a", "b"]

    def test_through_another_queue_of_ours(self, create, ctx, start):
        carrier, payload = create("carrier"), create("payload")
        child = start(ctx, workers.use_what_comes_through, carrier)
        payload.put("question")
        carrier.put(payload)
        child.result()
        assert payload.get(timeout=LIMIT) == ("answer", "question")

    def test_through_itself(self, create):
        queue = create()
        queue.put({"reply to": queue})
        with queue.get()["reply to"] as other:
            other.put("hello")
        assert queue.get() == "hello"

    def test_through_a_queue_of_multiprocessing(self, create, ctx, start):
        carrier, payload = ctx.SimpleQueue(), create("payload")
        with payload:
            child = start(ctx, _answer_through, carrier)
            payload.put("question")
            carrier.put(payload)
            child.result()
            assert payload.get(timeout=LIMIT) == ("answer", "question")
        carrier.close()

    def test_to_an_unrelated_program_as_bytes(self, create, programs, tmp_path):
        queue = create()
        queue.put(41)
        (tmp_path / "queue.pickle").write_bytes(pickle.dumps(queue))
        programs.run(
            """
            import pathlib, pickle
            queue = pickle.loads(pathlib.Path("queue.pickle").read_bytes())
            queue.put(queue.get() + 1)
            queue.close()
            """
        )
        assert queue.get() == 42


def _answer_through(carrier):
    queue = carrier.get()
    queue.put(("answer", queue.get(timeout=LIMIT)))
    queue.close()
