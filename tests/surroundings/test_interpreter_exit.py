"""The interpreter goes down while queues, views, reservations and waiting threads are alive.

It ends with the exit code that it would have without them, and what it held is found again.
"""

import itertools
import os
import signal
import textwrap

import pytest

from shmqueue._inspect import seat_rows
from tests import evidence, support, views
from tests.support import LIMIT

PRELUDE = """
import atexit, asyncio, gc, os, signal, sys, threading, time
import numpy
from shmqueue import JoinableQueue, Queue, SharedMemoryQueue, SimpleQueue

named = SharedMemoryQueue("q", run_id=sys.argv[1])
empty = SharedMemoryQueue("empty", run_id=sys.argv[1])
unnamed = Queue(4)
array = numpy.arange(50_000)

def ready():
    print("ready", flush=True)

def begin(*calls, daemon=True):
    started = [threading.Thread(target=call, daemon=daemon) for call in calls]
    for thread in started:
        thread.start()
    return started

def fill(queue):
    while not queue.full():
        queue.put(array)
"""

# What a program does, and the exit code that it shall have.
PROGRAMS = {
    "queues in global variables": ("simple, joinable = SimpleQueue(), JoinableQueue()", 0),
    "daemon threads that wait to get": (
        """
        begin(empty.get, unnamed.get, lambda: empty.get_batch(5))
        begin(lambda: unnamed._reader.poll(None))
        """,
        0,
    ),
    "daemon threads that wait to put": (
        "fill(named); fill(unnamed); begin(lambda: named.put(array), lambda: unnamed.put(1))",
        0,
    ),
    "daemon threads that put and get all the time": (
        """
        def put():
            while True:
                named.put(array)
        def get():
            while True:
                named.get()
        begin(put, put, get, get, get)
        [named.get() for _ in range(20)]
        """,
        0,
    ),
    "a thread of tasks that are not done": (
        "tasks = JoinableQueue(); tasks.put(1); begin(tasks.join)",
        0,
    ),
    "views in global variables": ("named.put(array); view = named.get()", 0),
    "views in a cycle": ("named.put(array); cycle = [named.get()]; cycle.append(cycle)", 0),
    "views in a daemon thread": (
        """
        named.put(array); named.put(array)
        def hold():
            mine = named.get()
            held.set()
            empty.get()
        held = threading.Event()
        begin(hold)
        held.wait()
        """,
        0,
    ),
    "views of a closed queue": ("named.put(array); view = named.get(); named.close()", 0),
    "a batch of views, and one half put": (
        """
        named.put_batch([array] * 3)
        batch = named.get_batch(3)
        def items():
            yield array
            inside.set()
            empty.get()
        inside = threading.Event()
        begin(lambda: named.put_batch(items()))
        inside.wait()
        """,
        0,
    ),
    "a reservation that is open": (
        "open_one = named.reserve(400_000); target = open_one.__enter__()",
        0,
    ),
    "a reservation in a daemon thread": (
        """
        def reserve():
            with named.reserve(100_000) as target:
                target[:5] = b"12345"
                inside.set()
                empty.get()
        inside = threading.Event()
        begin(reserve)
        inside.wait()
        """,
        0,
    ),
    "puts and gets in exit handlers": (
        """
        class Late:
            def __del__(self):
                named.put("from a destructor")
                assert named.get() == "from a destructor"
        late = Late()
        atexit.register(lambda: named.get())
        atexit.register(lambda: named.put(array))
        """,
        0,
    ),
    "an event loop that waits": (
        """
        async def main():
            waiting = asyncio.ensure_future(empty.get_async())
            await asyncio.sleep(0)
            sys.exit(5)
        asyncio.run(main())
        """,
        5,
    ),
    "sys.exit with a view and a thread": (
        "named.put(array); view = named.get(); begin(empty.get); sys.exit(3)",
        3,
    ),
    "an exception with a view and a thread": (
        "named.put(array); view = named.get(); begin(empty.get); raise LookupError('on purpose')",
        1,
    ),
    "os._exit with a view and a thread": (
        "named.put(array); view = named.get(); begin(empty.get); ready(); os._exit(4)",
        4,
    ),
    "os.abort with a view and a reservation": (
        """
        named.put(array); view = named.get()
        open_one = named.reserve(99_999); target = open_one.__enter__()
        os.abort()
        """,
        -signal.SIGABRT,
    ),
    "terminated while it gets": (
        "named.put(array); view = named.get(); begin(empty.get); ready(); empty.get()",
        -signal.SIGTERM,
    ),
    "interrupted while it gets": (
        "named.put(array); view = named.get(); begin(empty.get); ready(); empty.get()",
        -signal.SIGINT,
    ),
    "a thread, not a daemon, that an item wakes": (
        "begin(lambda: empty.get(), daemon=False); ready()",
        0,
    ),
    "a thread, not a daemon, that a close wakes": (
        """
        def get():
            try:
                empty.get()
            except ValueError:
                print("closed")
        (thread,) = begin(get, daemon=False)
        threading._register_atexit(empty.close)
        """,
        0,
    ),
}

_finished = itertools.count(1)


@pytest.fixture
def queue(create):
    return create(capacity=4, item_size=64, max_processes=4)


@pytest.fixture
def empty(create):
    return create("empty", capacity=4, item_size=64)


def _times():
    """Yield what is tried; more often where threads are anywhere when the end comes."""
    for what in PROGRAMS:
        for _ in range(evidence.scaled(1, 10) if "all the time" in what else 1):
            yield what


@pytest.mark.parametrize("what", list(_times()))
def test_a_program_ends_as_it_would_without_them(programs, queue, empty, run_id, what):
    source, code = PROGRAMS[what]
    program = programs.start(PRELUDE + textwrap.dedent(source), run_id)
    if "ready()" in source:
        assert program.stdout.readline() == "ready\n"
    if code in (-signal.SIGTERM, -signal.SIGINT):
        support.await_asleep(f"/proc/{program.pid}")
        os.kill(program.pid, -code)
    if "an item wakes" in what:
        empty.put(1)
    output, errors = program.communicate(timeout=LIMIT)
    assert program.returncode == code, errors
    for word in ("Fatal Python error", "Exception ignored", "Segmentation"):
        assert word not in errors, errors
    if code == 0:
        assert errors == ""
    if "a close wakes" in what:
        assert output == "closed\n"

    # What the program held is free: its seat at once, its blocks for whoever looks.
    for one in (queue, empty):
        assert [row["pid"] for row in seat_rows(one._attachment) if row["alive"]] in (
            [os.getpid()],
            [],
        )
        views.drain_silently(one)
        views.sweep(one)
        views.assert_as_new(one)
    evidence.report("surroundings", {"programs_that_ended_in_the_middle": next(_finished)})


def test_another_interpreter_of_the_same_process_is_refused(programs):
    """Extension modules of this kind are for one interpreter; the first goes on."""
    output = programs.run(
        """
        try:
            import _interpreters
        except ImportError:
            import _xxsubinterpreters as _interpreters
        import shmqueue

        source = '''
        try:
            import shmqueue
        except ImportError as error:
            assert "interpreter" in str(error).lower(), error
            print("refused", flush=True)
        '''
        import textwrap
        queue = shmqueue.Queue()
        queue.put("on")
        for _ in range(3):
            other = _interpreters.create()
            run = getattr(_interpreters, "exec", None) or _interpreters.run_string
            said = run(other, textwrap.dedent(source))
            assert said is None, said
            _interpreters.destroy(other)
        print(queue.get(timeout=5))
        """
    )
    assert output == "refused\n" * 3 + "on\n"
