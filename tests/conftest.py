"""What every test has: an identity, a limit on its time, and a look at what it left behind."""

import contextlib
import faulthandler
import gc
import itertools
import multiprocessing
import multiprocessing.forkserver
import multiprocessing.resource_tracker
import os
import secrets
import signal
import subprocess
import sys
import time

import pytest

from tests import support

WATCHDOG_SECONDS = 60
# How long after that a test may stay in C code that no signal interrupts before everything ends.
BACKSTOP_SECONDS = 20
# How long a process that is on its way out may take.
GRACE_SECONDS = 1.0

FAILED = pytest.StashKey[bool]()

_stderr = None
_numbers = itertools.count()


def pytest_addoption(parser):
    parser.addoption(
        "--watchdog",
        type=float,
        default=WATCHDOG_SECONDS,
        help="seconds that one test may take (default %(default)s)",
    )


def pytest_configure(config):
    if not os.path.exists(f"/proc/self/task/{os.getpid()}/children"):
        raise pytest.UsageError("this kernel does not list children (CONFIG_PROC_CHILDREN)")
    global _stderr
    config.addinivalue_line(
        "markers", "watchdog(seconds): let this test take longer than --watchdog"
    )
    # Output is not captured yet: a dump goes to the terminal even when the process ends with it.
    _stderr = os.fdopen(os.dup(2), "w")
    # The leak guard sees orphans, too.
    support.inherit_orphans()
    # What one test leaves on purpose is not for the queues of another, which may run beside it.
    os.environ["SHMQUEUE_CLEAR_UP"] = "0"


def pytest_collection_finish(session):
    # Thousands of collected tests are not looked through again whenever one of them collects.
    gc.collect()
    gc.freeze()


def pytest_unconfigure(config):
    _stderr.close()


# The watchdog: SIGALRM raises in a test that hangs in Python or in an interruptible wait, and the
# suite goes on; what no signal interrupts is ended by faulthandler's own thread, which dumps the
# stacks: the test's name is in them.


@contextlib.contextmanager
def _watched(item, phase):
    mark = item.get_closest_marker("watchdog") if phase == "call" else None
    seconds = mark.args[0] if mark else item.config.getoption("--watchdog")

    def bark(signum, frame):
        _stderr.write(f"\n{item.nodeid}: {phase} took more than {seconds:g} s\n")
        _stderr.flush()
        faulthandler.dump_traceback(_stderr)
        pytest.fail(f"watchdog: {phase} of {item.nodeid} took more than {seconds:g} s")

    previous = signal.signal(signal.SIGALRM, bark)
    faulthandler.dump_traceback_later(seconds + BACKSTOP_SECONDS, exit=True, file=_stderr)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        faulthandler.cancel_dump_traceback_later()
        signal.signal(signal.SIGALRM, previous)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_setup(item):
    with _watched(item, "setup"):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    with _watched(item, "call"):
        try:
            return (yield)
        except BaseException:
            item.stash[FAILED] = True
            raise


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item):
    with _watched(item, "teardown"):
        return (yield)


# The leak guard


@pytest.fixture(scope="session", autouse=True)
def _lasting_helpers():
    """Start the helpers of multiprocessing that outlive a test: no test shall seem to leak them."""
    multiprocessing.resource_tracker.ensure_running()
    multiprocessing.forkserver.ensure_running()
    yield
    multiprocessing.forkserver._forkserver._stop()


def _helpers():
    return {
        multiprocessing.forkserver._forkserver._forkserver_pid,
        multiprocessing.resource_tracker._resource_tracker._pid,
    }


def _remaining_processes(before):
    """Return the processes below this one that are new; those on their way out get a moment."""
    deadline = time.monotonic() + GRACE_SECONDS
    while True:
        found = support.descendants()
        left = {p: line for p, line in found.items() if p not in before and p not in _helpers()}
        for pid in [p for p, line in left.items() if line == support.ZOMBIE]:
            # Also of those whose parent is gone: this process inherited them.
            with contextlib.suppress(ChildProcessError):
                if os.waitpid(pid, os.WNOHANG)[0] == pid:
                    del left[pid]
        if not left or time.monotonic() > deadline:
            return left
        time.sleep(0.01)


def _end(pid):
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def _new_descriptors(before):
    now = support.open_descriptors()
    return {fd: target for fd, target in now.items() if before.get(fd) != target}


def _lasting(target):
    """Tell whether a descriptor is one that the interpreter opens once and keeps."""
    return target in ("/dev/urandom", "/dev/null") or "anon_inode:[io_uring]" in target


@pytest.fixture(autouse=True)
def leak_guard(run_id):
    """Fail a test that leaves a segment, a process or a descriptor, and clear them away."""
    processes = set(support.descendants())
    descriptors = support.open_descriptors()
    yield
    leaks = []

    left = _remaining_processes(processes)
    if left:
        for pid in left:
            _end(pid)
        leaks.append(f"processes {left}")

    files = support.segment_files(run_id)
    if files:
        for file in files:
            path = support.SHM / file
            with contextlib.suppress(OSError):
                path.rmdir() if path.is_dir() and not path.is_symlink() else path.unlink()
        leaks.append(f"segments {files}")

    opened = _new_descriptors(descriptors)
    if any(not _lasting(target) for target in opened.values()):
        # Cycles may hold what reference counts would have closed.
        gc.collect()
        opened = _new_descriptors(descriptors)
        opened = {fd: target for fd, target in opened.items() if not _lasting(target)}
        if opened:
            leaks.append(f"descriptors {opened}")

    if leaks:
        pytest.fail("left behind: " + "; ".join(leaks))


# What tests are made of


@pytest.fixture
def run_id():
    """Return a run_id that no other test, process or run of this suite has."""
    return f"t{os.getpid()}-{next(_numbers)}-{secrets.token_hex(4)}"


@pytest.fixture(params=["fork", "spawn", "forkserver"])
def ctx(request):
    """Run the test with each way to start a process."""
    return multiprocessing.get_context(request.param)


@pytest.fixture
def start(request):
    """Start children: ``start(ctx, function, *args) -> Child``; none of them outlives the test."""
    children = []

    def start_child(ctx, function, *args):
        child = support.Child(ctx, function, *args)
        children.append(child)
        return child

    yield start_child
    while children:
        # What its function refers to shall not outlive the test.
        children.pop().end()


@pytest.fixture
def signs():
    """Let children say words: ``signs(ctx) -> Signs``."""
    made = []

    def make(ctx):
        made.append(support.Signs(ctx))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def programs(tmp_path):
    """Run programs that share nothing with this process but names."""
    runner = support.Programs(tmp_path)
    yield runner
    runner.end()


@pytest.fixture
def start_command(tmp_path):
    """Start ``python -m shmqueue ...``; none outlives the test, not even one that hangs."""
    started = []

    def start(*options, **how):
        command = subprocess.Popen(
            [sys.executable, "-m", "shmqueue", *options],
            **{
                "stdin": subprocess.DEVNULL,
                "stdout": subprocess.PIPE,
                "stderr": subprocess.PIPE,
                "text": True,
                "encoding": "utf-8",
                "env": {**support.program_environment(), "PYTHONIOENCODING": "utf-8"},
                "cwd": tmp_path,
                **how,
            },
        )
        started.append(command)
        return command

    yield start
    for command in started:
        if command.poll() is None:
            command.kill()
        command.communicate()


@pytest.fixture
def queues_made():
    """Return the queues that `create` and `make` made, for who looks at them afterwards."""
    return []


@pytest.fixture
def create(run_id, queues_made):
    """Create named queues: ``create(name="q", **arguments)``, closed and unlinked after the test.

    Only those: what a test creates by other means, or leaves under another name, the leak guard
    finds.
    """
    from shmqueue import SharedMemoryQueue

    made = []

    def create_queue(name="q", **arguments):
        arguments.setdefault("run_id", run_id)
        queue = SharedMemoryQueue(name, create=True, **arguments)
        made.append(queue)
        queues_made.append(queue)
        return queue

    yield create_queue
    for queue in made:
        queue.close()
        queue.unlink()


@pytest.fixture
def attach(run_id):
    """Attach by name: ``attach(name="q", **arguments)``, closed after the test."""
    from shmqueue import SharedMemoryQueue

    made = []

    def attach_queue(name="q", **arguments):
        arguments.setdefault("run_id", run_id)
        queue = SharedMemoryQueue(name, **arguments)
        made.append(queue)
        return queue

    yield attach_queue
    for queue in made:
        queue.close()


@pytest.fixture
def open_raw(run_id):
    """Open the test's only segment as bytes: ``open_raw() -> RawSegment``."""
    from tests.protocol.raw import Opener

    opener = Opener(run_id)
    yield opener
    opener.close()


# Unnamed queues: their core, without the classes that stand before it. A folder or a file whose
# queues are other ones has fixtures of these names for them.


@pytest.fixture
def make(queues_made):
    """Make unnamed queues: ``make(maxsize=0)``, closed after the test."""
    from tests import unnamed

    made = []

    def make_queue(maxsize=0):
        made.append(unnamed.make_queue(maxsize))
        queues_made.append(made[-1])
        return made[-1]

    yield make_queue
    for queue in made:
        queue.close()


@pytest.fixture
def queue(make):
    """Return an unnamed queue without a bound."""
    return make()


@pytest.fixture
def raw(queue):
    """Return the words of the unnamed queue's segment."""
    from tests import unnamed

    opened = unnamed.RawUnnamed(queue._attachment)
    yield opened
    opened.close()


@pytest.fixture
def dead(queue, raw):
    """Return the tag of a seat whose holder is no more."""
    return raw.dead_tag(queue)


@pytest.fixture
def living(queue, raw):
    """Return the tag of a seat that another holds."""
    other, word = raw.living(queue)
    yield word
    other.close()


@pytest.fixture
def all_free(request, create, make, queues_made):
    """Fail a test that leaves a block in use: of a queue of `create` or `make`, once drained."""
    from tests import views

    yield
    if FAILED in request.node.stash:
        return  # its traceback may hold arrays
    for queue in queues_made:
        if not queue.closed:
            views.drain_silently(queue)
            views.assert_all_free(queue)
