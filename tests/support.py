"""Processes, threads and waiting for the tests.

Nothing here sleeps to synchronise: ``wait_until`` looks at a condition again and again, up to a
limit that only a hang reaches. Every process that is started here is ended by its own pid, at the
latest when the fixture that started it ends.
"""

import contextlib
import ctypes
import itertools
import multiprocessing
import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time
import traceback

SHM = pathlib.Path("/dev/shm")
PREFIX = "shmq."

# How long anything may take before it counts as hung. Never a measure of speed.
LIMIT = 30.0

# Clocks and kernel timers may round a wait down by this much.
CLOCK_SLACK = 0.01

_ROOT = pathlib.Path(__file__).resolve().parent.parent


def wait_until(condition, what, limit=LIMIT):
    """Return the first true value of ``condition()``; fail, naming ``what``, after the limit."""
    deadline = time.monotonic() + limit
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {limit:g} s in vain: {what}")
        time.sleep(0.002)


def drain(queue, count, limit=LIMIT):
    """Return the next ``count`` items, each waited for."""
    return [queue.get(timeout=limit) for _ in range(count)]


def segment_files(token):
    """Return the names of the segments in /dev/shm whose name holds ``token``."""
    with contextlib.suppress(FileNotFoundError):
        return sorted(f for f in os.listdir(SHM) if f.startswith(PREFIX) and token in f)
    return []


# Who sleeps


def _stat_fields(path):
    """Return state, parent and processor ticks of a process or thread, None when it is gone."""
    try:
        text = pathlib.Path(path, "stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = text.rpartition(")")[2].split()
    return fields[0], int(fields[1]), int(fields[11]) + int(fields[12])


def await_asleep(path):
    """Wait until the task under ``path`` (/proc/PID or /proc/PID/task/TID) sleeps in the kernel.

    A bounded sleep wakes now and then, so one look is no proof: most of a run of looks must find it
    asleep. That makes a test of waking sharper; no test is wrong when the task is not there yet.
    """

    def asleep():
        looks = []
        for _ in range(10):
            fields = _stat_fields(path)
            if fields is None or fields[0] in "ZX":
                raise AssertionError(f"{path} ended before it blocked")
            looks.append(fields[0] == "S")
            time.sleep(0.002)
        return sum(looks) >= 8

    wait_until(asleep, f"{path} to sleep")


def await_thread_asleep(thread):
    """Wait until a thread of this process has gone to sleep."""
    await_asleep(f"/proc/self/task/{thread.native_id}")


# Threads


class Thread(threading.Thread):
    """A thread that has a result: what its function returned or raised."""

    def __init__(self, function, *args, **kwargs):
        super().__init__(daemon=True)
        self._call = (function, args, kwargs)
        self._value = None
        self._error = None
        self.start()

    def run(self):
        function, args, kwargs = self._call
        try:
            self._value = function(*args, **kwargs)
        except BaseException as error:
            self._error = error

    def result(self, limit=LIMIT):
        """Return what the function returned, or raise what it raised."""
        self.join(limit)
        if self.is_alive():
            raise AssertionError(f"thread still in {self._call[0]} after {limit:g} s")
        if self._error is not None:
            raise self._error
        return self._value


# Processes of multiprocessing


class ChildError(AssertionError):
    """A child raised or died; the text is its traceback or its exit code."""


def _child_main(connection, function, args):
    try:
        outcome = ("returned", function(*args))
    except BaseException:
        outcome = ("raised", traceback.format_exc())
    connection.send(outcome)
    connection.close()


class Child:
    """A process of a ``multiprocessing`` context that runs an importable function to its result."""

    def __init__(self, ctx, function, *args):
        self._receiver, sender = ctx.Pipe(duplex=False)
        self.function = function
        self.process = ctx.Process(target=_child_main, args=(sender, function, args))
        self.process.start()
        sender.close()

    @property
    def pid(self):
        return self.process.pid

    def result(self, limit=LIMIT):
        """Return what the function returned; raise `ChildError` if it raised, died or hangs."""
        name = self.function.__name__
        try:
            if not self._receiver.poll(limit):
                raise ChildError(f"{name} in process {self.pid} gave no result in {limit:g} s")
            try:
                kind, value = self._receiver.recv()
            except EOFError:
                self.process.join(limit)
                raise ChildError(f"{name} died, exit code {self.process.exitcode}") from None
            self.process.join(limit)
        finally:
            self.end()
        if kind == "raised":
            raise ChildError(f"{name} in a child:\n{value}")
        return value

    def wait(self, limit=LIMIT):
        """Wait for the end of a child that leaves without a result; return its exit code."""
        self.process.join(limit)
        code = self.process.exitcode
        self.end()
        if code is None:
            raise ChildError(f"{self.function.__name__} did not end in {limit:g} s")
        return code

    def interrupt(self):
        """Do what Ctrl-C does."""
        os.kill(self.pid, signal.SIGINT)

    def kill(self):
        """End it by SIGKILL and wait for that."""
        self.process.kill()
        self.process.join(LIMIT)
        self.end()

    def end(self):
        """Leave no process and no descriptor of it; does nothing the second time."""
        if self._receiver.closed:
            return
        self._receiver.close()
        if self.process.is_alive():
            self.process.kill()
        self.process.join(LIMIT)
        self.exitcode = self.process.exitcode
        self.process.close()


class Signs:
    """Words that children say and the test waits for, in order, whatever queue is under test."""

    def __init__(self, ctx):
        self._receiver, self._sender = ctx.Pipe(duplex=False)
        self.sender = self._sender

    def await_word(self, expected, limit=LIMIT):
        if not self._receiver.poll(limit):
            raise AssertionError(f"no child said {expected!r} in {limit:g} s")
        word = self._receiver.recv()
        if word != expected:
            raise AssertionError(f"a child said {word!r}, not {expected!r}")

    def close(self):
        self._receiver.close()
        self._sender.close()


def run_in_fork(function, *args, limit=LIMIT):
    """Run ``function`` in a forked child and return its result.

    For what would harm this process: another user id, another mount namespace, a death by a signal.
    """
    return Child(multiprocessing.get_context("fork"), function, *args).result(limit)


# Unrelated programs


def program_environment():
    """Return an environment in which a program from anywhere imports the package under test."""
    import shmqueue

    paths = [str(pathlib.Path(shmqueue.__file__).resolve().parent.parent)]
    paths += [p for p in [os.environ.get("PYTHONPATH")] if p]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


class Programs:
    """Programs started as ``python file.py``, which share nothing with this process but names."""

    def __init__(self, folder):
        self._folder = pathlib.Path(folder)
        self._numbers = itertools.count()
        self._started = []

    def start(self, source, *args, prefix=()):
        """Start a program; its ``source`` gets dedented. ``prefix`` is a command that runs it."""
        path = self._folder / f"program{next(self._numbers)}.py"
        path.write_text(textwrap.dedent(source))
        process = subprocess.Popen(
            [*prefix, sys.executable, str(path), *map(str, args)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=program_environment(),
            cwd=self._folder,
        )
        self._started.append(process)
        return process

    def finish(self, process, limit=LIMIT):
        """Wait for the end of a program; return its output, fail if it did not exit with 0."""
        try:
            output, errors = process.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            process.kill()
            output, errors = process.communicate()
            raise AssertionError(f"hung after {limit:g} s, said {output!r} {errors}") from None
        if process.returncode != 0:
            raise AssertionError(f"exit {process.returncode}, said {output!r}\n{errors}")
        return output

    def run(self, source, *args, prefix=(), limit=LIMIT):
        """Start and finish a program."""
        return self.finish(self.start(source, *args, prefix=prefix), limit)

    def end(self):
        for process in self._started:
            if process.poll() is None:
                process.kill()
            process.communicate()


# What this process has left behind


ZOMBIE = "(zombie)"

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36


def die_with_parent():
    """Have this process, which was forked, killed when the one that forked it is gone."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def inherit_orphans():
    """Make a process whose parent is gone a child of this one, so that it is seen."""
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants():
    """Return {pid: command line} of every process below this one."""
    below, parents = set(), [os.getpid()]
    while parents:
        for pid in _children(parents.pop()):
            if pid not in below:
                below.add(pid)
                parents.append(pid)
    return {pid: _command_line(pid) for pid in below}


def living():
    """Return the processes below this one; who ended as an orphan may wait to be reaped."""
    return {pid for pid, line in descendants().items() if line != ZOMBIE}


def _children(parent):
    """Return the processes that any thread of a process has started and not yet waited for."""
    found = []
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):
        for thread in os.listdir(f"/proc/{parent}/task"):
            with (
                contextlib.suppress(FileNotFoundError, ProcessLookupError),
                open(f"/proc/{parent}/task/{thread}/children") as file,
            ):
                found += map(int, file.read().split())
    return found


def _command_line(pid):
    try:
        text = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return "gone"
    return text.replace(b"\0", b" ").decode(errors="replace").strip() or ZOMBIE


def open_descriptors():
    """Return {descriptor: what it is} of this process."""
    found = {}
    for entry in os.listdir("/proc/self/fd"):
        with contextlib.suppress(FileNotFoundError):
            found[int(entry)] = os.readlink(f"/proc/self/fd/{entry}")
    return found
