"""Large items whose loading, publishing or writing fails: nothing of others comes to harm."""

import gc
import os
import pickle
import signal
from typing import ClassVar

import numpy
import pytest

import shmqueue
from tests import support, views
from tests.support import LIMIT, Thread
from tests.views import is_numbered, numbered, pattern, used_bytes

pytestmark = pytest.mark.usefixtures("all_free")

MEGABYTE = 1 << 20


class Refused(Exception):
    """What a serializer of these tests says."""


class Grudging:
    """Refuses, so often, to load items that begin in a certain way."""

    refusals = 0

    dumps = staticmethod(pickle.dumps)

    @classmethod
    def loads(cls, data):
        item = data if isinstance(data, numpy.ndarray) else pickle.loads(data)
        if type(item) in (bytes, numpy.ndarray) and bytes(item[:1])[:1] == b"A" and cls.refusals:
            cls.refusals -= 1
            raise Refused
        return item


@pytest.fixture
def grudging(create):
    shmqueue.register_serializer("grudging", Grudging)
    Grudging.refusals = 0
    return create(capacity=8, serializer="grudging")


class TestLoadingBehindGoodItems:
    """`get_batch` gives the good items; what the next one says comes with the next call."""

    @pytest.mark.parametrize("how", ["get", "get_batch", "copy", "get_nowait"])
    def test_by_a_serializer(self, grudging, how):
        queue = grudging
        queue.put("good")
        queue.put("better")
        queue.put(b"A" * 100_000)
        queue.put(b"B" * 100_000)
        queue.put("last")
        Grudging.refusals = 1
        assert queue.get_batch(8) == ["good", "better"]
        again = {
            "get": queue.get,
            "get_batch": lambda: queue.get_batch(8),
            "copy": lambda: queue.get(copy=True),
            "get_nowait": queue.get_nowait,
        }[how]
        with pytest.raises(Refused):
            again()
        queue.put(b"C" * 100_000)
        got = [queue.get(timeout=LIMIT) for _ in range(3)]
        assert got == [b"B" * 100_000, "last", b"C" * 100_000]
        views.assert_all_free(queue)

    @pytest.mark.parametrize("copy", [False, True])
    @pytest.mark.parametrize("shape", [5, (300, 300)])
    def test_arrays_of_reservations_are_none_of_its_business(self, grudging, copy, shape):
        queue = grudging
        with queue.reserve_array(shape, "uint8") as array:
            array[:] = 2
        del array
        Grudging.refusals = 1
        found = queue.get(copy=copy)
        assert numpy.array_equal(found, numpy.full(shape, 2, "uint8"))
        del found
        views.assert_all_free(queue)
        Grudging.refusals = 0


class Several:
    """Of several arrays; its first loading fails, and leaves what it was given in `seen`."""

    seen: ClassVar = []
    failures = 0

    def __init__(self, *arrays):
        self.arrays = arrays

    def __reduce__(self):
        return _several, self.arrays


def _several(*arrays):
    Several.seen.append(arrays)
    if Several.failures:
        Several.failures -= 1
        arrays[0][:] = 77
        raise Refused
    return Several(*arrays)


@pytest.fixture
def several():
    Several.failures = 1
    Several.seen.clear()
    yield Several
    Several.seen.clear()


def _fill(seen, number):
    for arrays in seen:
        for array in arrays:
            array[:] = number


class TestAnItemOfSeveralArrays:
    @pytest.mark.parametrize("are_kept", [False, True])
    @pytest.mark.parametrize("copy", [False, True])
    def test_fails_once_and_harms_no_later_item(self, create, several, copy, are_kept):
        queue = create(capacity=8)
        queue.put("good")
        queue.put(several(numbered(1), numbered(2)))
        queue.put(numbered(3))
        assert queue.get_batch(2) == ["good"]
        if not are_kept:
            several.seen.clear()
        with pytest.raises(Refused):
            queue.get(copy=copy)
        assert several.failures == 0
        # No code of the item ran again.
        assert len(several.seen) == are_kept
        for seed in range(4, 8):
            queue.put(numbered(seed))
            _fill(several.seen, 99)
            assert is_numbered(queue.get(copy=copy), seed - 1)
        assert is_numbered(queue.get(), 7)
        assert all((array == 99).all() for arrays in several.seen for array in arrays)
        several.seen.clear()
        views.assert_all_free(queue)


RESERVATIONS = {
    "small bytes": lambda queue: queue.reserve(100),
    "bytes": lambda queue: queue.reserve(100_000),
    "a small array": lambda queue: queue.reserve_array(100, "uint8"),
    "an array": lambda queue: queue.reserve_array(100_000, "uint8"),
}


@pytest.fixture(params=RESERVATIONS)
def reserve(request):
    return RESERVATIONS[request.param]


class TestPublishingTwice:
    @pytest.mark.parametrize("second", ["commit", "abort"])
    def test_while_a_commit_waits_for_room_it_is_decided(self, create, reserve, second):
        queue = create(capacity=1)
        reservation = reserve(queue)
        reservation.buffer[:] = numpy.full(len(reservation.buffer), 65, "uint8")
        wanted = bytes([65]) * len(reservation.buffer)
        queue.put("in the way")
        thread = Thread(reservation.commit)
        support.await_thread_asleep(thread)
        for _ in range(2):
            with pytest.raises(ValueError):
                getattr(reservation, second)()
        others = [bytearray(b"S" * len(wanted)) for _ in range(50)]
        assert queue.get(timeout=LIMIT) == "in the way"
        thread.result()
        assert queue.qsize() == 1
        assert bytes(queue.get(timeout=LIMIT)) == wanted
        del others
        views.assert_as_new(queue)

    def test_not_by_a_child_but_by_who_made_it(self, create, reserve):
        queue = create(capacity=4)
        reservation = reserve(queue)
        buffer = reservation.buffer
        buffer[:] = numpy.full(len(buffer), 65, "uint8")
        wanted = bytes(buffer)
        del buffer

        def commit():
            with pytest.raises(ValueError):
                reservation.commit()
            return queue.qsize()

        assert support.run_in_fork(commit) == 0
        reservation.commit()
        assert bytes(queue.get(timeout=LIMIT)) == wanted
        views.assert_as_new(queue)


SCARCE = """
import resource, sys
import numpy
from shmqueue import SharedMemoryQueue

SIZE = 96 << 20
how, run_id = sys.argv[1:]
queue = SharedMemoryQueue("q", run_id=run_id)
if how in ("get", "get_bytes", "get_view"):
    put, item = queue.put_bytes, b"x" * SIZE
elif how == "str":
    put, item = queue.put, "x" * SIZE
elif how == "array":
    put, item = queue.put, numpy.ones(SIZE, "uint8")
else:
    put, item = queue.put, [numpy.ones(SIZE, "uint8")]
get = {
    "get": queue.get,
    "get_bytes": queue.get_bytes,
    "get_view": queue.get_view,
    "str": queue.get,
}.get(how) or (lambda: queue.get(copy=True))
put(item)
del item

def is_whole(got):
    if how == "get_view":
        with got as view:
            return len(view) == SIZE and view[0] == view[-1] == ord("x")
    if how in ("array", "parts"):
        array = got if how == "array" else got[0]
        return array.size == SIZE and array[0] == array[-1] == 1
    return len(got) == SIZE and got[-1:] in (b"x", "x")

used = int(open("/proc/self/statm").read().split()[0]) * 4096
unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
resource.setrlimit(resource.RLIMIT_AS, (used + SIZE // 3, resource.RLIM_INFINITY))
failures, got = 0, None
for _ in range(2):
    try:
        got = get()
        break
    except MemoryError:
        failures += 1
        assert queue.qsize() == 1
resource.setrlimit(resource.RLIMIT_AS, unlimited)
assert is_whole(get() if got is None else got)
del got
assert queue.qsize() == 0
print(failures)
"""


class TestWithoutMemory:
    @pytest.mark.parametrize("how", ["get", "get_bytes", "get_view", "str", "array", "parts"])
    def test_a_large_item_stays_until_there_is_some(self, create, programs, run_id, how):
        queue = create(capacity=4)
        failures = int(programs.run(SCARCE, how, run_id))
        # A view needs no memory.
        assert failures == 2 or how == "get_view"
        assert queue.qsize() == 0


FORKING = """
import os, signal, sys
import numpy
from shmqueue import SharedMemoryQueue

how, ending, run_id = sys.argv[1:]
SIZE = 100_000
me = os.getpid()
queue = SharedMemoryQueue("q", run_id=run_id)

def handler(signum, frame):
    pid = os.fork()
    if pid == 0:
        raise SystemExit(0) if ending == "SystemExit" else LookupError
    os.waitpid(pid, 0)
    print("forked", flush=True)

signal.signal(signal.SIGUSR1, handler)
part = None
if how != "put":
    reservation = queue.reserve_array(SIZE, "uint8", timeout=30)
    reservation.buffer[:] = ord("A")
    if how == "a copy":
        part = reservation.buffer[10:20]
print("ready", flush=True)
sys.stdin.readline()
try:
    if how == "put":
        queue.put(numpy.full(SIZE, ord("A"), "uint8"), timeout=30)
    else:
        reservation.commit()
except LookupError:
    assert os.getpid() != me
print("over" if os.getpid() == me else "a child", flush=True)
"""


class TestAForkWhilePublishing:
    @pytest.mark.parametrize("ending", ["SystemExit", "an exception"])
    @pytest.mark.parametrize("how", ["put", "commit", "a copy"])
    def test_gives_nothing_of_the_parent_away(self, create, programs, run_id, how, ending):
        queue = create(capacity=2)
        program = programs.start(FORKING, how, ending, run_id)
        assert program.stdout.readline() == "ready\n"
        queue.put("first")
        queue.put("second")
        program.stdin.write("on\n")
        program.stdin.flush()
        support.wait_until(
            lambda: queue.get_metrics()["blocked_full_count"] > 0, "the program to wait for room"
        )
        support.await_asleep(f"/proc/{program.pid}")
        os.kill(program.pid, signal.SIGUSR1)
        while (line := program.stdout.readline()) != "forked\n":
            assert line == "a child\n"
        others = [Thread(queue.put, numpy.full(100_000, ord(letter), "uint8")) for letter in "BC"]
        for thread in others:
            support.await_thread_asleep(thread)
        got = support.drain(queue, 5)
        for thread in others:
            thread.result()
        assert "over" in programs.finish(program)
        assert queue.qsize() == 0
        assert got[:2] == ["first", "second"]
        for array in got[2:]:
            assert array.size == 100_000
            assert (array == array[0]).all()
        assert sorted(chr(array[0]) for array in got[2:]) == ["A", "B", "C"]
        del array, got
        gc.collect()
        assert used_bytes(queue) == 0


class TestWhatCannotBeBytes:
    @pytest.fixture(params=["put_bytes", "a queue of bytes"])
    def put(self, request, create):
        if request.param == "put_bytes":
            queue = create()
            return queue.put_bytes, queue
        queue = create(serializer="bytes")
        return queue.put, queue

    @pytest.mark.parametrize("names", [("Open", "High"), ("O", "OO"), ("ORDER_ID", "no")])
    def test_fields_may_have_any_name(self, put, names):
        put, queue = put
        array = numpy.zeros(5, [(names[0], "f8"), (names[1], [("O", "u2")], (2,))])
        array[names[0]] = 1.5
        put(array)
        assert queue.get() == array.tobytes()

    @pytest.mark.parametrize("dtype", ["O", [("a", "u1"), ("b", "O")], [("O", "O", (2,))]])
    def test_arrays_of_objects_are_refused(self, put, dtype):
        put, queue = put
        with pytest.raises(TypeError):
            put(numpy.zeros(5, dtype))
        views.assert_all_free(queue)

    @pytest.mark.parametrize("dtype", ["O", [("a", "u1"), ("b", "O")]])
    @pytest.mark.parametrize("nbytes", [3, 100_000])
    def test_nothing_is_written_over_objects(self, create, dtype, nbytes):
        queue = create()
        queue.put_bytes(pattern(nbytes))
        array = numpy.zeros(nbytes, dtype)
        before = array.tolist()
        with pytest.raises(TypeError):
            queue.get_into(array)
        assert array.tolist() == before
        assert queue.get() == pattern(nbytes)
