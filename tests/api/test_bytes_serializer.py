"""A queue of bytes never runs pickle: not here, not in who attaches, whatever stands in it."""

import json
import pickle
import threading
import zlib

import numpy
import pytest

from shmqueue import CorruptItemError, SharedMemoryQueue
from tests.support import LIMIT, Thread
from tests.views import pattern, used_bytes

pytestmark = pytest.mark.usefixtures("all_free")

ITEM_SIZE = 100
SIZES = [0, 1, ITEM_SIZE - 1, ITEM_SIZE, ITEM_SIZE + 1, 16_383, 16_384, 16_385, 300_000]

# As slots tell them, but for bytes: text, packed, pickled, arrays, parts, and what nobody knows.
BYTES_KIND = 1
OTHER_KINDS = [0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 255, 0xFFFF]

# Ends a program at once that unpickles: by the interpreter's own account, or by any name that does.
# Pickling is found by its names alone.
AUDIT = """
import os, sys
import _pickle, pickle, cloudpickle, cloudpickle.cloudpickle, multiprocessing.reduction

def forbidden(*args, **kwargs):
    print("pickle was run", args, file=sys.stderr, flush=True)
    os._exit(66)

def hook(event, args):
    if event.startswith("pickle."):
        forbidden(event, args)

sys.addaudithook(hook)
for module in (_pickle, pickle, cloudpickle, cloudpickle.cloudpickle):
    for name in ("loads", "load", "dumps", "dump"):
        if hasattr(module, name):
            setattr(module, name, forbidden)
    for name in ("Pickler", "Unpickler", "_Unpickler"):
        if hasattr(module, name):
            kind = getattr(module, name)
            setattr(module, name, type(name, (kind,), {"__init__": forbidden}))
multiprocessing.reduction.ForkingPickler.dumps = forbidden
multiprocessing.reduction.ForkingPickler.loads = forbidden
"""

# Every way in and out.
ROUND_TRIPS = """
import threading, zlib

def all_ways(queue, sizes):
    for size in sizes:
        data = bytes(n * 7 % 256 for n in range(256)) * (size // 256 + 1)
        data = data[:size]
        queue.put(data)
        assert queue.get() == data
        queue.put_bytes(bytearray(data))
        assert queue.get_bytes() == data
        queue.put(memoryview(data))
        with queue.get_view() as view:
            assert bytes(view) == data
        queue.put_batch([data, data])
        assert queue.get_batch(1) + queue.get_batch(1) == [data, data]
        queue.put_nowait(data)
        buffer = bytearray(size)
        assert queue.get_into(buffer) == size and buffer == data
        with queue.reserve(size) as room:
            room[:] = data
        assert queue.get_nowait() == data
    for wrong in ({"a": 1}, "text", 5, None, object()):
        try:
            queue.put(wrong)
        except TypeError:
            pass
        else:
            raise AssertionError(wrong)
    assert queue.empty()
"""


class TestTheChoice:
    def test_it_stands_in_the_segment_and_who_attaches_sees_it(self, create, attach, open_raw):
        queue = create(serializer="bytes")
        assert queue.serializer == "bytes"
        assert attach().serializer == "bytes"
        assert open_raw().get("header", 0, "serializer") == 4
        with pytest.raises(TypeError):
            attach().put({"a": 1})

    def test_who_attaches_may_name_it_and_no_other(self, create, attach):
        create(serializer="bytes")
        assert attach(serializer="bytes").serializer == "bytes"
        for other in ("cloudpickle", "pickle", "multiprocessing"):
            with pytest.raises(ValueError, match="bytes"):
                attach(serializer=other)

    def test_pickle_is_another_name_of_the_default(self, create, attach):
        queue = create(serializer="pickle")
        assert queue.serializer == create("other").serializer == "cloudpickle"
        assert attach(serializer="cloudpickle").serializer == "cloudpickle"
        assert attach(serializer="pickle").serializer == "cloudpickle"
        queue.put({"a": lambda: 5})
        assert queue.get()["a"]() == 5

    def test_it_travels_to_other_processes(self, create, ctx, start):
        queue = create(serializer="bytes")
        child = start(ctx, send_back, queue)
        queue.put(b"there")
        child.result()
        assert queue.get() == b"there and back"


def send_back(queue):
    assert queue.serializer == "bytes"
    queue.put(queue.get(timeout=LIMIT) + b" and back")


class TestPut:
    @pytest.mark.parametrize(
        "wrong",
        ["text", 5, 2.5, None, True, (b"a",), [b"a"], {"a": b""}, object(), Ellipsis],
        ids=lambda wrong: type(wrong).__name__,
    )
    def test_what_is_no_buffer_is_refused_and_the_queue_is_as_before(self, create, wrong):
        queue = create(serializer="bytes")
        for call in (
            lambda: queue.put(wrong),
            lambda: queue.put_nowait(wrong),
            lambda: queue.put_batch([b"fine", wrong]),
        ):
            with pytest.raises(TypeError):
                call()
        assert queue.qsize() == 0

    def test_arrays_come_as_their_bytes(self, create):
        queue = create(serializer="bytes")
        for shape in (3, (100, 1000)):
            data = numpy.ones(shape)
            queue.put(data)
            got = queue.get()
            assert type(got) is bytes
            assert got == data.tobytes()

    def test_a_reserved_array_is_bytes_here_or_refused(self, create):
        queue = create(serializer="bytes")
        try:
            with queue.reserve_array(10_000) as array:
                array[:] = 1
        except (TypeError, ValueError):
            assert queue.qsize() == 0
        else:
            assert queue.get() == numpy.ones(10_000).tobytes()


class TestNoPickle:
    @pytest.mark.parametrize("call", ["queue.put(object())", "queue.get()"])
    def test_the_trap_springs_on_a_queue_that_pickles(self, create, programs, run_id, call):
        create().put(frozenset([1, ...]))
        process = programs.start(
            AUDIT
            + f"""
from shmqueue import SharedMemoryQueue
queue = SharedMemoryQueue("q", run_id=sys.argv[1])
{call}
""",
            run_id,
        )
        assert process.wait(LIMIT) == 66

    def test_not_in_the_process_that_made_it(self, programs, run_id):
        programs.run(
            AUDIT
            + ROUND_TRIPS
            + f"""
from shmqueue import SharedMemoryQueue
with SharedMemoryQueue("q", create=True, capacity=8, item_size={ITEM_SIZE}, serializer="bytes",
                       run_id=sys.argv[1]) as queue:
    all_ways(queue, {SIZES})
    thread = threading.Thread(target=all_ways, args=(queue, {SIZES}))
    thread.start()
    thread.join()
    queue.get_metrics()
    queue.unlink()
""",
            run_id,
        )

    def test_nor_in_one_that_attached_and_was_not_told(self, create, programs, run_id):
        there = create("there", capacity=8, item_size=ITEM_SIZE, serializer="bytes")
        back = create("back", capacity=8, item_size=ITEM_SIZE, serializer="bytes")
        process = programs.start(
            AUDIT
            + ROUND_TRIPS
            + f"""
from shmqueue import SharedMemoryQueue
with SharedMemoryQueue("there", run_id=sys.argv[1]) as there, \\
     SharedMemoryQueue("back", run_id=sys.argv[1]) as back:
    while (data := there.get(timeout={LIMIT})) != b"end":
        back.put(b"%d %d" % (len(data), zlib.crc32(data)))
    all_ways(there, {SIZES})
""",
            run_id,
        )
        looks_like_a_pickle = pickle.dumps({"what": "it is"}, protocol=5)
        for data in [looks_like_a_pickle, *(pattern(size) for size in SIZES)]:
            there.put(data)
            assert back.get(timeout=LIMIT) == b"%d %d" % (len(data), zlib.crc32(data))
        there.put(b"end")
        programs.finish(process)
        assert there.empty()

    @pytest.mark.parametrize("size", [ITEM_SIZE, 30_000, 300_000])
    def test_nor_when_a_foreign_item_stands_in_it(self, create, open_raw, programs, run_id, size):
        """What says that it is a pickle, or anything but bytes, is corrupt, and passed over."""
        queue = create(capacity=64, item_size=ITEM_SIZE, serializer="bytes")
        raw = open_raw()
        trap = pickle.dumps(Trap(), protocol=5)
        trap += bytes(size - len(trap))
        for number, kind in enumerate(OTHER_KINDS):
            queue.put(trap)
            raw.set("slot", number, "kind", kind)
        queue.put(b"good")
        report = programs.run(
            AUDIT
            + """
import json
from shmqueue import CorruptItemError, SharedMemoryQueue
queue = SharedMemoryQueue("q", run_id=sys.argv[1])
ways = [queue.get, queue.get_bytes, lambda: queue.get_batch(1), queue.get_nowait]
refused = 0
for number in range(int(sys.argv[2])):
    try:
        ways[number % len(ways)]()
    except CorruptItemError:
        refused += 1
    except TypeError:
        # As on other queues: get_bytes leaves what is no bytes.
        try:
            queue.get()
        except CorruptItemError:
            refused += 1
print(json.dumps([refused, queue.get().decode()]))
queue.close()
""",
            run_id,
            len(OTHER_KINDS),
        )
        assert json.loads(report) == [len(OTHER_KINDS), "good"]
        assert used_bytes(queue) == 0

    def test_nor_when_such_items_came_in_a_batch(self, create, open_raw):
        queue = create(capacity=8, item_size=ITEM_SIZE, serializer="bytes")
        queue.put_batch([b"first", pickle.dumps(Trap()), b"last"])
        open_raw().set("slot", 1, "kind", 6)
        assert queue.get_batch(3) == [b"first"]
        with pytest.raises(CorruptItemError):
            queue.get_batch(3)
        assert queue.get_batch(3) == [b"last"]
        assert not Trap.sprung


class Trap:
    """Tells when it is loaded."""

    sprung = False

    def __reduce__(self):
        return _spring, ()


def _spring():
    Trap.sprung = True


def test_threads_may_use_it_at_once(create):
    queue: SharedMemoryQueue = create(capacity=4, item_size=ITEM_SIZE, serializer="bytes")
    lock, sums = threading.Lock(), []

    def produce(seed):
        for size in SIZES * 3:
            data = pattern(size, seed)
            with lock:
                sums.append(zlib.crc32(data))
            queue.put(data)

    threads = [Thread(produce, seed) for seed in range(3)]
    got = [zlib.crc32(queue.get(timeout=LIMIT)) for _ in range(len(SIZES) * 9)]
    for thread in threads:
        thread.result()
    assert sorted(got) == sorted(sums)
