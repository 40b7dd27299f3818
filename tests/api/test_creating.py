"""Names, arguments, and who may create what."""

import contextlib
import multiprocessing
import os
import queue as stdlib_queue
import re
import stat

import pytest

import shmqueue
from shmqueue import SharedMemoryQueue
from tests import support
from tests.support import LIMIT, SHM


class TestExceptions:
    def test_empty_and_full_are_those_of_the_standard_library(self):
        assert shmqueue.Empty is stdlib_queue.Empty
        assert shmqueue.Full is stdlib_queue.Full

    def test_the_class_and_its_queues_carry_them(self, create):
        queue = create()
        assert SharedMemoryQueue.Empty is queue.Empty is stdlib_queue.Empty
        assert SharedMemoryQueue.Full is queue.Full is stdlib_queue.Full


class TestCreating:
    def test_the_queue_knows_what_it_was_created_with(self, create, run_id):
        queue = create("tasks", capacity=17, item_size=333)
        assert queue.name == "tasks"
        assert queue.run_id == run_id
        assert queue.capacity == 17
        assert queue.item_size == 333
        assert queue.serializer == "cloudpickle"
        assert queue.closed is False

    def test_defaults_are_those_of_the_signature(self, create):
        queue = create()
        assert (queue.capacity, queue.item_size) == (1000, 4096)

    def test_whoever_attaches_sees_the_segments_values(self, create, attach):
        create(capacity=17, item_size=333, serializer="multiprocessing")
        other = attach(capacity=5, item_size=64)
        assert (other.capacity, other.item_size) == (17, 333)
        assert other.serializer == "multiprocessing"

    def test_a_capacity_of_one_and_an_item_size_of_one_work(self, create):
        queue = create(capacity=1, item_size=1)
        for item in (0, b"x" * 100, "text", [1, 2]):
            queue.put(item)
            assert queue.full()
            assert queue.get() == item

    def test_the_segment_is_a_file_of_its_name(self, create, run_id):
        queue = create("tasks")
        assert queue.segment_name.lstrip("/") == f"shmq.tasks@{run_id}"
        assert stat.S_ISREG((SHM / f"shmq.tasks@{run_id}").lstat().st_mode)

    def test_a_lock_is_accepted_and_ignored(self, create, attach):
        with create("by-keyword", lock=multiprocessing.Lock()) as queue:
            queue.put(1)
            assert attach("by-keyword", lock=multiprocessing.Lock()).get() == 1

    def test_arguments_may_be_positional_as_in_the_predecessor(self, run_id):
        queue = SharedMemoryQueue("q", True, 10, 256, run_id, multiprocessing.Lock())
        try:
            assert (queue.capacity, queue.item_size, queue.run_id) == (10, 256, run_id)
        finally:
            queue.close()
            queue.unlink()

    @pytest.mark.parametrize("umask", [0, 0o077, 0o777])
    @pytest.mark.parametrize("mode", [0o600, 0o660, 0o644])
    def test_the_mode_is_as_asked_whatever_the_umask(self, create, umask, mode):
        previous = os.umask(umask)
        try:
            queue = create(mode=mode)
        finally:
            os.umask(previous)
        path = SHM / queue.segment_name.lstrip("/")
        assert stat.S_IMODE(path.stat().st_mode) == mode

    def test_segments_are_private_unless_asked_otherwise(self, create):
        previous = os.umask(0)
        try:
            queue = create()
        finally:
            os.umask(previous)
        path = SHM / queue.segment_name.lstrip("/")
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


class TestNotThere:
    def test_attaching_to_a_missing_name_is_a_file_not_found_error(self, run_id):
        with pytest.raises(FileNotFoundError, match="nobody"):
            SharedMemoryQueue("nobody", run_id=run_id)

    def test_the_same_name_under_another_run_id_is_missing(self, create, run_id):
        create("tasks")
        with pytest.raises(FileNotFoundError):
            SharedMemoryQueue("tasks", run_id=run_id + "x")


class TestThereAlready:
    def test_creating_it_again_is_an_error_that_tells_what_is_there(self, create):
        queue = create("tasks")
        for number in range(3):
            queue.put(number)
        with pytest.raises(FileExistsError) as caught:
            create("tasks")
        message = str(caught.value)
        assert "tasks" in message
        assert re.search(r"\b3\b", message), "how many items"
        assert re.search(rf"\b{os.getpid()}\b", message), "who is attached"
        assert "exist_ok" in message
        assert "unlink" in message
        assert [queue.get() for _ in range(3)] == [0, 1, 2]

    def test_exist_ok_attaches_to_an_equal_one(self, create):
        first = create(capacity=20, item_size=100)
        first.put("there")
        second = create(capacity=20, item_size=100, exist_ok=True)
        assert second.get() == "there"

    def test_exist_ok_creates_what_is_missing(self, create):
        assert create("new", exist_ok=True).qsize() == 0

    @pytest.mark.parametrize(
        "other", [{"capacity": 21}, {"item_size": 101}, {"serializer": "multiprocessing"}], ids=str
    )
    def test_exist_ok_refuses_an_unequal_one(self, create, other):
        same = {"capacity": 20, "item_size": 100, "serializer": "cloudpickle"}
        queue = create(**same)
        queue.put("kept")
        with pytest.raises(ValueError, match=next(iter(other))):
            create(**{**same, **other}, exist_ok=True)
        assert queue.get() == "kept"

    def test_exist_ok_without_a_serializer_takes_the_one_that_is_there(self, create):
        create(serializer="multiprocessing")
        assert create(exist_ok=True).serializer == "multiprocessing"

    def test_of_many_that_create_at_once_exactly_one_succeeds(self, create, run_id):
        def try_to_create():
            try:
                return create("race", capacity=4)
            except FileExistsError:
                return None

        threads = [support.Thread(try_to_create) for _ in range(8)]
        winners = [queue for queue in (t.result() for t in threads) if queue is not None]
        assert len(winners) == 1
        winners[0].put("works")
        assert winners[0].get() == "works"


# Pairs of which each must be a queue of its own; "T" stands for a word that no other test uses.
PAIRS = [
    ("a", "b-cT"),
    ("a-b", "cT"),
    ("a@bT", ""),
    ("a", "bT"),
    ("a%40bT", ""),
    ("a@", "bT"),
    ("a", "@bT"),
    ("a%", "bT"),
    ("a%25", "bT"),
    ("aT", ""),
    ("a.T", ""),
    ("a", ".T"),
    ("a b", "T"),
    ("a+b", "T"),
    ("a%20b", "T"),
    ("ä", "T"),
    ("%C3%A4", "T"),
    ("Ã¤", "T"),
    ("A", "bT"),
    ("shmq.a", "bT"),
    ("..", "T"),
    (".", "T"),
    ("-", "T"),
    ("\n", "T"),
    ("\\", "T"),
    ("~", "T"),
    ("日本", "T"),
]


class TestNames:
    def test_pairs_of_name_and_run_id_never_collide(self, run_id):
        before = set(os.listdir(SHM))
        with contextlib.ExitStack() as stack:
            queues = []
            for number, (name, run) in enumerate(PAIRS):
                name, run = name.replace("T", run_id), run.replace("T", run_id)
                queue = SharedMemoryQueue(name, create=True, capacity=2, item_size=64, run_id=run)
                stack.callback(queue.unlink)
                stack.callback(queue.close)
                queue.put(number)
                queues.append((name, run, number, queue))
            assert len({queue.segment_name for *_, queue in queues}) == len(PAIRS)
            for name, run, number, _queue in queues:
                with SharedMemoryQueue(name, run_id=run) as other:
                    assert (other.name, other.run_id) == (name, run)
                    assert other.get_nowait() == number
            new = set(os.listdir(SHM)) - before
            assert {q.segment_name.lstrip("/") for *_, q in queues} <= new

    @pytest.mark.parametrize("name", ["../T", "/T", "a/T", "T/", "/", "T\0", "T\0a", ""], ids=repr)
    def test_a_name_that_could_escape_is_a_value_error(self, run_id, name):
        name = name.replace("T", run_id)
        for create in (True, False):
            with pytest.raises(ValueError):
                SharedMemoryQueue(name, create=create)
        with pytest.raises(ValueError):
            shmqueue.unlink(name)

    @pytest.mark.parametrize("bad", ["../T", "/T", "T/", "T\0"], ids=repr)
    def test_a_run_id_that_could_escape_is_a_value_error(self, run_id, bad):
        for create in (True, False):
            with pytest.raises(ValueError):
                SharedMemoryQueue("q", create=create, run_id=bad.replace("T", run_id))
        with pytest.raises(ValueError):
            shmqueue.unlink("q", bad.replace("T", run_id))

    @pytest.mark.parametrize(
        ("name", "run"),
        [
            ("n" * 300, ""),
            ("q", "r" * 300),
            ("n" * 130, "r" * 130),
            ("ä" * 60, ""),
            ("n" * 10**6, ""),
        ],
        ids=["name", "run_id", "both", "escaped", "huge"],
    )
    def test_over_long_names_are_a_value_error(self, name, run):
        for create in (True, False):
            with pytest.raises(ValueError, match="long"):
                SharedMemoryQueue(name, create=create, run_id=run)

    def test_a_long_name_that_fits_is_fine(self, create, run_id):
        name = "n" * (200 - len(run_id))
        create(name).put(1)
        with SharedMemoryQueue(name, run_id=run_id) as queue:
            assert queue.get() == 1

    def test_a_name_that_is_no_text_of_unicode_is_a_value_error(self, run_id):
        with pytest.raises(ValueError):
            SharedMemoryQueue("\ud800", create=True, run_id=run_id)

    @pytest.mark.parametrize("bad", [None, 1, b"q", ["q"], 1.5], ids=repr)
    def test_a_name_or_run_id_that_is_no_string_is_a_type_error(self, run_id, bad):
        for create in (True, False):
            with pytest.raises(TypeError):
                SharedMemoryQueue(bad, create=create, run_id=run_id)
            with pytest.raises(TypeError):
                SharedMemoryQueue("q", create=create, run_id=bad)
        with pytest.raises(TypeError):
            shmqueue.unlink(bad)


class TestArguments:
    @pytest.mark.parametrize("argument", ["capacity", "item_size", "max_processes"])
    @pytest.mark.parametrize("value", [0, -1, -(10**30), 2**63, 2**64, 10**30], ids=str)
    def test_a_number_out_of_range_is_a_value_error(self, create, argument, value):
        with pytest.raises(ValueError, match=argument):
            create(**{argument: value})

    def test_no_item_size_is_the_usual_one(self, create):
        assert create(item_size=None).item_size == 4096

    @pytest.mark.parametrize(
        ("argument", "value"),
        [
            *((name, x) for name in ("capacity", "item_size") for x in (True, False, 1.0, "10")),
            *[("capacity", None), ("capacity", [10]), ("item_size", [10])],
        ],
        ids=repr,
    )
    def test_a_number_that_is_no_int_is_a_type_error(self, create, argument, value):
        with pytest.raises(TypeError, match=argument):
            create(**{argument: value})

    @pytest.mark.parametrize("seats", [1, 4095])
    def test_max_processes_goes_from_one_to_4095(self, create, seats):
        queue = create(max_processes=seats)
        queue.put(1)
        assert queue.get() == 1

    def test_max_processes_above_the_seats_there_can_be_is_a_value_error(self, create):
        with pytest.raises(ValueError, match="4095"):
            create(max_processes=4096)

    @pytest.mark.parametrize("serializer", ["json", "", "Cloudpickle"])
    def test_an_unknown_serializer_is_a_value_error(self, create, serializer):
        with pytest.raises(ValueError, match="serializer"):
            create(serializer=serializer)

    def test_options_are_keyword_only(self, run_id):
        with pytest.raises(TypeError):
            SharedMemoryQueue("q", True, 10, 64, run_id, None, True)

    def test_a_size_that_memory_cannot_hold_is_refused_and_nothing_is_left(self, create):
        with pytest.raises((ValueError, OSError)):
            create(capacity=2**40, item_size=2**20)


class TestTimeouts:
    CALLS = (
        ("get", ()),
        ("put", (1,)),
        ("get_batch", (5,)),
        ("put_batch", ([1, 2],)),
    )

    @pytest.mark.parametrize(("method", "args"), CALLS, ids=lambda value: str(value))
    def test_an_absurd_timeout_is_an_overflow_error_and_changes_nothing(self, create, method, args):
        queue = create(capacity=10)
        queue.put("kept")
        for timeout in (2**31, 1e10, 1e300, float("inf"), 10**400, 0.5 * (2**31 - 1)):
            with pytest.raises(OverflowError):
                getattr(queue, method)(*args, timeout=timeout)
        assert queue.get_batch(10) == ["kept"]

    @pytest.mark.parametrize(("method", "args"), CALLS, ids=lambda value: str(value))
    def test_a_day_and_a_year_are_timeouts_like_any_other(self, create, method, args):
        queue = create(capacity=10)
        queue.put("there")
        getattr(queue, method)(*args, timeout=86_400)
        queue.put("there")
        getattr(queue, method)(*args, timeout=365 * 86_400.0)

    @pytest.mark.parametrize(("method", "args"), CALLS, ids=lambda value: str(value))
    def test_nan_is_a_value_error(self, create, method, args):
        queue = create(capacity=10)
        queue.put("kept")
        with pytest.raises(ValueError):
            getattr(queue, method)(*args, timeout=float("nan"))
        assert queue.get_batch(10) == ["kept"]

    @pytest.mark.parametrize(("method", "args"), CALLS, ids=lambda value: str(value))
    @pytest.mark.parametrize("timeout", ["1", b"1", [], {}, 1j], ids=repr)
    def test_what_is_no_number_is_a_type_error(self, create, method, args, timeout):
        queue = create(capacity=10)
        queue.put("kept")
        with pytest.raises(TypeError):
            getattr(queue, method)(*args, timeout=timeout)
        assert queue.get_batch(10) == ["kept"]

    @pytest.mark.parametrize("timeout", [10**400, float("nan"), 1e300, -5, "soon"], ids=repr)
    def test_a_timeout_is_ignored_without_blocking(self, create, timeout):
        queue = create(capacity=1)
        with pytest.raises(stdlib_queue.Empty):
            queue.get(False, timeout)
        with pytest.raises(stdlib_queue.Empty):
            queue.get_batch(3, False, timeout)
        queue.put(1, False, timeout)
        with pytest.raises(stdlib_queue.Full):
            queue.put(2, False, timeout)
        with pytest.raises(stdlib_queue.Full):
            queue.put_batch([2], False, timeout)
        assert queue.get(False, timeout) == 1

    def test_an_object_with_a_float_is_a_number(self, create):
        class Quarter:
            def __float__(self):
                return 0.0

        with pytest.raises(stdlib_queue.Empty):
            create().get(timeout=Quarter())


class TestRepr:
    def test_it_tells_name_and_fill(self, create):
        queue = create("tasks", capacity=17)
        for number in range(3):
            queue.put(number)
        text = repr(queue)
        assert "SharedMemoryQueue" in text
        assert "tasks" in text
        assert re.search(r"\b3\b.*\b17\b", text)

    def test_a_closed_queue_says_so(self, create):
        queue = create("tasks")
        queue.close()
        assert "tasks" in repr(queue)
        assert "closed" in repr(queue)


def test_a_put_is_there_at_once_for_everybody(create, attach):
    queue, other = create(), attach()
    for number in range(100):
        queue.put(number)
        assert not other.empty()
        assert other.qsize() == 1
        assert other.get_nowait() == number
        assert queue.empty()


def test_a_fresh_queue_of_a_large_capacity_costs_no_time_to_use(create):
    queue = create(capacity=100_000, item_size=64)
    queue.put("x")
    assert queue.get(timeout=LIMIT) == "x"
