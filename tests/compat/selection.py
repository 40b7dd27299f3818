"""Which of CPython's tests are run, and which of those are left out and why."""

import dataclasses
import fnmatch
import re

# How the tests of each group come to our queues; see `pointing`.
FACES = {
    "multiprocessing": ("context", "install"),
    "queue": ("direct",),
    "concurrent_futures": ("context", "install"),
    "logging": ("install",),
}

# Classes, or single tests of classes that are mostly about other things. `_TestX` stands for what
# CPython builds of it for processes (its builds for threads and managers use other queues).
SELECTED = {
    "multiprocessing": (
        "_TestQueue.*",
        "_TestPool.*",
        "_TestPoolWorkerErrors.*",
        "_TestPoolWorkerLifetime.*",
        "TestSimpleQueue.*",
        "_TestProcess.test_args_argument",
        "_TestProcess.test_child_fd_inflation",
        "_TestProcess.test_close",
        "_TestProcess.test_lose_target_ref",
        "_TestProcess.test_process",
        "_TestProcess.test_process_mainthread_native_id",
        "_TestBarrier.test_wait_return",
        "TestInitializers.test_pool_initializer",
        "TestPoolNotLeakOnFailure.*",
        "TestStartMethod.test_mixed_startmethod",
        "TestStartMethod.test_nested_startmethod",
        "TestStdinBadfiledescriptor.test_*_in_process",
        "MiscTestCase.test_large_pool",
    ),
    "queue": ("QueueTest.*", "FailingQueueTest.*", "SimpleQueueTest.*"),
    # The classes of process pools alone: `name_of` gives no name to those of thread pools.
    "concurrent_futures": ("*",),
    "logging": ("QueueHandlerTest.*", "QueueListenerTest.*", "ConfigDictTest.test_*queue*"),
}


@dataclasses.dataclass(frozen=True)
class LeftOut:
    """A test that is not run, and why; if faces are named, it is run under the other."""

    group: str
    test: str
    reason: str
    faces: tuple = ()

    def applies(self, run, name):
        """Tell whether it is this test, under the face of this run (or set-up)."""
        return (self.group, self.test) == (run.group, name) and (
            not self.faces or run.face in self.faces
        )


FEEDER = "asks for the feeder thread, which ours has not:"
OF_QUEUE_QUEUE = "asks for what queue.Queue has and multiprocessing.Queue has not:"

LEFT_OUT = (
    LeftOut(
        "multiprocessing",
        "_TestQueue.test_queue_feeder_donot_stop_onexc",
        f"{FEEDER} put of an item that can't be pickled returns, and the thread prints a traceback"
        " later; ours raises in put and leaves the queue as it was",
    ),
    LeftOut(
        "multiprocessing",
        "_TestQueue.test_queue_feeder_on_queue_feeder_error",
        f"{FEEDER} overrides the hook that the thread calls, in a class of its own derived from"
        " multiprocessing.queues.Queue",
    ),
    LeftOut(
        "multiprocessing",
        "_TestPoolWorkerErrors.test_unpickleable_result",
        "expects that a lambda can't be sent; by ours it can",
    ),
    LeftOut(
        "multiprocessing",
        "TestPoolNotLeakOnFailure.test_release_unused_processes",
        "makes no queue: its Pool gets a mock for a context",
    ),
    LeftOut(
        "multiprocessing",
        "_TestQueue.test_no_import_lock_contention",
        "its module imports multiprocessing itself, and so no other context; it runs under install",
        faces=("context",),
    ),
    LeftOut(
        "multiprocessing",
        "TestStartMethod.test_mixed_startmethod",
        "expects that a queue made for fork can't be given to a spawned process; ours can",
    ),
    LeftOut(
        "concurrent_futures",
        "ProcessPoolExecutorTest.test_python_finalization_error",
        f"{FEEDER} expects the executor to break because the thread can't be started; it runs under"
        " context, where the executor's call queue is multiprocessing's",
        faces=("install",),
    ),
    LeftOut(
        "queue",
        "FailingQueueTest.test_failing_queue",
        f"{OF_QUEUE_QUEUE} methods _put and _get to override",
    ),
    LeftOut(
        "queue",
        "QueueTest.test_negative_timeout_raises_exception",
        f"{OF_QUEUE_QUEUE} ValueError for a negative timeout; there and in ours it counts as 0",
    ),
    LeftOut(
        "queue",
        "SimpleQueueTest.test_negative_timeout_raises_exception",
        f"{OF_QUEUE_QUEUE} ValueError for a negative timeout; there and in ours it counts as 0",
    ),
    LeftOut(
        "queue",
        "SimpleQueueTest.test_is_default",
        "compares queue.SimpleQueue with itself",
    ),
)


_POOL_CLASS = re.compile(r"ProcessPool(Forkserver|Fork|Spawn)(\w+)")


def name_of(setup, test, everything=False):
    """Return the name of a selected test, without its start method; None if it isn't selected."""
    kind, method = test.id().split(".")[-2:]
    if setup.group == "multiprocessing":
        kind = kind.replace("WithProcesses", "_") if kind.startswith("WithProcesses") else kind
        if kind.startswith(("WithManager", "WithThreads")):
            return None
    elif setup.group == "concurrent_futures":
        pool = _POOL_CLASS.fullmatch(kind)
        if pool:
            if pool[1].lower() != setup.method:
                return None
            kind = pool[2] if pool[2].startswith("ProcessPool") else f"ProcessPool{pool[2]}"
        elif method != f"test_{setup.method}":
            # One class has a test for each start method instead.
            return None
    name = f"{kind}.{method}"
    return name if everything or wanted(name, SELECTED[setup.group]) else None


def wanted(name, patterns):
    """Tell whether a name matches one of the patterns; all match if there are none."""
    return not patterns or any(fnmatch.fnmatchcase(name, pattern) for pattern in patterns)


def reason_to_leave_out(setup, name):
    """Return why this test is not run, or an empty string."""
    for entry in LEFT_OUT:
        if entry.applies(setup, name):
            return entry.reason
    return ""
