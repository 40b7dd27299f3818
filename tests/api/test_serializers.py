"""Custom serializers of named queues: kept in the segment by name, found by whoever attaches."""

import json
import pickle

import pytest

import shmqueue
from shmqueue import register_serializer, serializers


class Marking:
    """Marks what it has serialised, so that a test sees who did."""

    @staticmethod
    def dumps(item):
        return b"marked" + pickle.dumps(item)

    @staticmethod
    def loads(data):
        assert data.startswith(b"marked")
        return pickle.loads(data[6:])


class Unsuitable:
    dumps = loads = None


@pytest.fixture
def registered(monkeypatch):
    """A name under which `Marking` is registered, for the test."""
    monkeypatch.setattr(serializers, "_registered", {})
    register_serializer("marking", Marking)
    return "marking"


ITEMS = [b"bytes", "text", 7, {"a": [1.5, None]}, "x" * 100_000, b""]


class TestItems:
    @pytest.mark.parametrize("item", ITEMS, ids=lambda item: repr(item)[:20])
    def test_every_item_goes_through_it_even_those_that_need_none(self, create, registered, item):
        queue = create(serializer=registered)
        queue.put(item)
        queue.put_batch([item, item])
        assert queue.get() == item
        assert queue.get_batch(2) + [queue.get() for _ in range(queue.qsize())] == [item, item]

    def test_it_may_make_text(self, create):
        queue = create(serializer=json)
        queue.put({"größe": [1, 2]})
        assert queue.get() == {"größe": [1, 2]}

    def test_what_it_refuses_raises_in_put_and_the_queue_is_as_before(self, create):
        queue = create(serializer=json)
        with pytest.raises(TypeError, match="set"):
            queue.put({1, 2})
        with pytest.raises(TypeError, match="set"):
            queue.put_batch(["fine", {1, 2}])
        assert queue.empty()

    def test_what_makes_no_bytes_is_refused_by_type(self, create, monkeypatch):
        monkeypatch.setattr(Marking, "dumps", staticmethod(lambda item: 5))
        queue = create(serializer=Marking)
        with pytest.raises(TypeError, match=r"'int'.*'str'"):
            queue.put("item")
        assert queue.empty()

    def test_a_memoryview_is_as_good_as_bytes(self, create, monkeypatch):
        monkeypatch.setattr(
            Marking, "dumps", staticmethod(lambda item: memoryview(b"marked" + pickle.dumps(item)))
        )
        queue = create(serializer=Marking)
        queue.put(("a", 1))
        assert queue.get() == ("a", 1)

    def test_what_fails_to_load_raises_in_get_and_the_next_get_goes_on(self, create, attach):
        queue = create(serializer=Marking)
        queue.put(1)
        queue.put(2)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(Marking, "loads", staticmethod(lambda data: 1 / 0))
            broken = shmqueue.SharedMemoryQueue(queue.name, run_id=queue.run_id)
            with pytest.raises(ZeroDivisionError):
                broken.get()
            broken.close()
        assert queue.get() == 2


class TestAttaching:
    def test_a_module_or_class_is_found_by_its_name(self, create, attach):
        create(serializer=json)
        assert attach().serializer == "json:"
        assert attach().get_metrics()["queue_size"] == 0

    def test_another_program_needs_no_word_about_one_that_can_be_imported(
        self, create, programs, run_id
    ):
        create(serializer=json).put({"from": "here"})
        source = """
            import sys
            from shmqueue import SharedMemoryQueue

            with SharedMemoryQueue("q", run_id=sys.argv[1]) as queue:
                print(queue.get()["from"], queue.serializer)
        """
        assert programs.run(source, run_id).split() == ["here", "json:"]

    def test_another_program_must_register_the_same_name(
        self, create, programs, run_id, registered
    ):
        create(serializer=registered, max_processes=2).put(1)
        source = """
            import sys
            from shmqueue import SharedMemoryQueue, register_serializer

            for attempt in range(3):
                try:
                    SharedMemoryQueue("q", run_id=sys.argv[1])
                except ValueError as error:
                    print("register_serializer" in str(error))

            class Marking:
                def dumps(self, item):
                    return b""
                def loads(self, data):
                    return data[:6].decode()

            register_serializer("marking", Marking())
            print(SharedMemoryQueue("q", run_id=sys.argv[1]).get())
        """
        assert programs.run(source, run_id).split() == ["True", "True", "True", "marked"]

    def test_a_queue_that_exists_with_another_one_is_refused(self, create, registered):
        create(serializer=registered)
        assert create(exist_ok=True).serializer == "marking"
        assert create(exist_ok=True, serializer="marking").serializer == "marking"
        with pytest.raises(ValueError, match="marking"):
            create(exist_ok=True, serializer=json)
        with pytest.raises(ValueError, match="marking"):
            create(exist_ok=True, serializer="cloudpickle")


class TestNaming:
    def test_an_object_without_a_name_is_refused_for_a_named_queue(self, create):
        class Local:
            dumps = staticmethod(pickle.dumps)
            loads = staticmethod(pickle.loads)

        with pytest.raises(ValueError, match="register_serializer"):
            create(serializer=Local())
        with pytest.raises(ValueError, match="register_serializer"):
            create(serializer=Local)

    @pytest.mark.parametrize("serializer", [Unsuitable, 5, object()])
    def test_what_cannot_serialise_is_a_type_error(self, create, serializer):
        with pytest.raises(TypeError, match="dumps"):
            create(serializer=serializer)

    @pytest.mark.parametrize("name", ["", "a:b", "cloudpickle", "multiprocessing"])
    def test_names_that_mean_something_else_are_refused(self, registered, name):
        with pytest.raises(ValueError, match="name"):
            register_serializer(name, Marking)

    def test_a_name_must_be_text(self):
        with pytest.raises(TypeError, match="str"):
            register_serializer(5, Marking)

    def test_a_name_means_one_serializer(self, registered):
        register_serializer(registered, Marking)
        with pytest.raises(ValueError, match="already"):
            register_serializer(registered, json)

    def test_a_name_too_long_for_the_segment_is_refused(self, create, registered):
        register_serializer("x" * 64, Marking)
        with pytest.raises(ValueError, match="shorter"):
            create(serializer="x" * 64)
        assert create(serializer=registered).serializer == "marking"


def test_telling_what_has_a_name_does_not_run_what_its_segment_names(create, monkeypatch):
    create(serializer=json)
    monkeypatch.setattr(serializers, "find", lambda name: pytest.fail(f"looked for {name}"))
    with pytest.raises(FileExistsError, match="it holds 0 of"):
        create()
