"""Makes CPython's tests use our queues: in the worker, and again in every process it starts.

The tests reach queues in three ways: by the functions of ``multiprocessing``, by a context, and by
``queue.Queue``. Under the face "context" the test modules see a stand-in of ``multiprocessing``
that makes queues as our context does; under "install" our ``install`` has been called and they see
the real one; under "direct" our classes take the place of ``queue.Queue``.

Every queue of ours that is made is counted, so that a test that made none can't pass for one that
checked something.
"""

import dataclasses
import functools
import importlib
import json
import multiprocessing
import multiprocessing.queues
import os
import queue
import subprocess
import sys
import types
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
VARIABLE = "SHMQUEUE_COMPAT"
KINDS = ("Queue", "JoinableQueue", "SimpleQueue")
METHODS = ("fork", "spawn", "forkserver")
# Modules of the groups; a group may be several modules, or one package, depending on the Python.
MODULES = {
    "multiprocessing": "test._test_multiprocessing",
    "queue": "test.test_queue",
    "concurrent_futures": "test.test_concurrent_futures",
    "logging": "test.test_logging",
}


@dataclasses.dataclass(frozen=True)
class Setup:
    """What a worker runs, and how; it travels to all processes below it in the environment."""

    group: str
    face: str
    method: str
    subject: str = "shmqueue"
    # A fault to build into the queues: shows that the tests notice.
    sabotage: str = ""
    # A folder to look for the ``test`` package in, before this interpreter's own; see `lending`.
    overlay: str = ""
    # A file that grows by a byte for each queue that is made, in whatever process.
    notes: str = ""

    @classmethod
    def from_environment(cls):
        """Return the set-up of this process."""
        return cls(**json.loads(os.environ[VARIABLE]))

    def to_environment(self):
        """Return the entry for the environment of a worker."""
        return {VARIABLE: json.dumps(dataclasses.asdict(self))}


# ---- whose queues ----


def _subject(setup):
    """Return an object with the three classes, ``get_context`` and ``install``."""
    if setup.subject == "stdlib":
        classes = {kind: getattr(multiprocessing.queues, kind) for kind in KINDS}
        return types.SimpleNamespace(
            **classes, get_context=multiprocessing.get_context, install=lambda: None
        )
    return importlib.import_module("shmqueue")


_notes = ""


def made():
    """Return how many queues were made, by this process and by those that the tests started."""
    try:
        return os.path.getsize(_notes)
    except FileNotFoundError:
        return 0


def _count(cls):
    original = cls.__init__

    @functools.wraps(original)
    def __init__(self, *args, **kwargs):
        with open(_notes, "a") as notes:
            notes.write(".")
        original(self, *args, **kwargs)

    cls.__init__ = __init__


# ---- faults, to see that they are found ----


def _put_twice(subject):
    def twice(original):
        def put(self, *args, **kwargs):
            original(self, *args, **kwargs)
            original(self, *args, **kwargs)

        return put

    for name in ("put", "put_nowait"):
        setattr(subject.Queue, name, twice(getattr(subject.Queue, name)))


def _hang_in_get(subject):
    def get(self, block=True, timeout=None):
        multiprocessing.Event().wait()

    subject.Queue.get = get


def _leave_a_process(subject):
    original = subject.Queue.put

    def put(self, *args, **kwargs):
        original(self, *args, **kwargs)
        left.append(subprocess.Popen(["sleep", "600"], stdout=subprocess.DEVNULL))

    left = []
    subject.Queue.put = put


# "absent" builds nothing in: the tests stay with the queues of the standard library.
FAULTS = {
    "absent": lambda subject: None,
    "twice": _put_twice,
    "hang": _hang_in_get,
    "leave": _leave_a_process,
}


# ---- pointing ----


def _stand_in(subject):
    """Return a module like ``multiprocessing`` whose queues and pools are those of our context."""
    module = types.ModuleType("multiprocessing")
    module.__getattr__ = functools.partial(getattr, multiprocessing)
    standard = multiprocessing.get_context

    def get_context(method=None):
        # Ours asks for the standard one to learn the default, and this may stand in its place.
        return subject.get_context(method or standard().get_start_method())

    def maker(name):
        # The default start method may change between two calls.
        return lambda *args, **kwargs: getattr(get_context(), name)(*args, **kwargs)

    module.get_context = get_context
    for name in (*KINDS, "Pool"):
        setattr(module, name, maker(name))
    return module


def _replace_global(module, old, new):
    for name in [name for name, value in vars(module).items() if value is old]:
        setattr(module, name, new)


def _point_programs(setup):
    """Make the programs that tests hand to a new interpreter start with a call to `in_program`."""
    helper = importlib.import_module("test.support.script_helper")
    original = helper.assert_python_ok
    # It is isolated from PYTHONPATH.
    folders = [str(ROOT), setup.overlay] if setup.overlay else [str(ROOT)]
    first = (
        f"import sys; sys.path[:0] = {folders!r}; "
        "from tests.compat import pointing; pointing.in_program(); sys.path.pop(0)\n"
    )

    @functools.wraps(original)
    def assert_python_ok(*args, **kwargs):
        if args[0] == "-c":
            args = ("-c", first + args[1], *args[2:])
        else:
            script = Path(args[0])
            script.write_text(first + script.read_text())
        return original(*args, **kwargs)

    helper.assert_python_ok = assert_python_ok


def in_program():
    """Point a program that a test runs in an interpreter of its own."""
    setup = Setup.from_environment()
    subject = _prepare(setup)
    if setup.face == "context" and setup.sabotage != "absent":
        # The program imports names from the real module.
        for name, value in vars(_stand_in(subject)).items():
            if not name.startswith("__"):
                setattr(multiprocessing, name, value)


def _prepare(setup):
    global _notes
    _notes = setup.notes
    subject = _subject(setup)
    for kind in KINDS:
        _count(getattr(subject, kind))
    FAULTS.get(setup.sabotage, FAULTS["absent"])(subject)
    if setup.face == "install" and setup.sabotage != "absent":
        subject.install()
    return subject


def _point_multiprocessing(setup, subject):
    tests = importlib.import_module(MODULES["multiprocessing"])
    functions = multiprocessing
    if setup.face == "context":
        functions = _stand_in(subject)
        _replace_global(tests, multiprocessing, functions)
    # It took these from multiprocessing when it was imported.
    for name in ("Pool", "Queue", "JoinableQueue"):
        setattr(tests.ProcessesMixin, name, staticmethod(getattr(functions, name)))
    # The cases as we build them; the interpreter's own may not be installed.
    tests.PRELOAD = ["__main__", "tests.compat.multiprocessing_cases"]


def _point_concurrent_futures(setup, subject):
    if setup.face == "context":
        stand_in = _stand_in(subject)
        for module in futures_modules():
            _replace_global(module, multiprocessing, stand_in)


def futures_modules():
    """Return the modules of test_concurrent_futures that are about process pools."""
    package = importlib.import_module(MODULES["concurrent_futures"])
    if not hasattr(package, "__path__"):
        return [package]
    names = ("util", "test_process_pool", "test_shutdown", "test_wait", "test_as_completed")
    names += ("test_deadlock", "test_init")
    return [importlib.import_module(f"{package.__name__}.{name}") for name in names]


def _point_logging(setup, subject):
    tests = importlib.import_module(MODULES["logging"])
    stand_in = types.ModuleType("queue")
    stand_in.__getattr__ = functools.partial(getattr, queue)
    # The tests call task_done and join.
    stand_in.Queue = lambda maxsize=0: subject.get_context().JoinableQueue(maxsize)
    _replace_global(tests, queue, stand_in)
    if sys.version_info >= (3, 13):
        # Before, dictConfig took no other instances than those of queue.Queue.
        class CustomQueue(subject.JoinableQueue):
            def __init__(self, maxsize=0):
                super().__init__(maxsize, ctx=multiprocessing.get_context())

        CustomQueue.__module__ = tests.__name__
        tests.CustomQueue = CustomQueue


_POINT = {
    "multiprocessing": _point_multiprocessing,
    "queue": lambda setup, subject: None,  # queue_cases takes the classes itself
    "concurrent_futures": _point_concurrent_futures,
    "logging": _point_logging,
}

_applied = None


def apply():
    """Point the tests of this process's set-up at its subject, once; return set-up and subject."""
    global _applied
    if _applied is None:
        setup = Setup.from_environment()
        subject = _prepare(setup)
        _point_programs(setup)
        if setup.sabotage != "absent":
            _POINT[setup.group](setup, subject)
        _applied = setup, subject
    return _applied
