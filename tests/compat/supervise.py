"""Starts workers, limits the time of each test, and takes note of what became of them.

A test that hangs, or takes its process with it, is a failed test: the worker is ended with all that
it started, and a new one runs the rest.
"""

import contextlib
import dataclasses
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.compat import lending, pointing

LIMIT_SECONDS = 120
# What the worker has for its traceback, after the limit and before it is ended.
BACKSTOP_SECONDS = 2
# Processes that were told to end get this long to do so.
GRACE_SECONDS = 5
WORKERS_BEFORE_GIVING_UP = 6
TAIL_CHARACTERS = 4000


@dataclasses.dataclass
class Run:
    """What became of the tests of one group under one face and start method."""

    group: str
    face: str
    method: str
    tests: dict = dataclasses.field(default_factory=dict)
    left_out: list = dataclasses.field(default_factory=list)
    missing: str = ""
    borrowed_from: str = ""
    seconds: float = 0.0

    def add(self, test, outcome, detail="", queues=0):
        """Note a test's outcome: passed, skipped or failed."""
        self.tests[test] = {"outcome": outcome, "detail": detail, "queues": queues}

    def names(self, outcome):
        """Return the tests with that outcome."""
        return [test for test, what in self.tests.items() if what["outcome"] == outcome]

    @property
    def label(self):
        """The run, in words."""
        return f"{self.group} ({self.face}, {self.method})"


def run(setup, *, lenders=(), only=(), limit=LIMIT_SECONDS, everything=False):
    """Run a group's tests to the end and return a `Run`; nothing of it is left behind."""
    source = lending.find(setup.group, lenders)
    result = Run(setup.group, setup.face, setup.method)
    result.missing, result.borrowed_from = source.missing, source.version
    if result.missing:
        return result
    started = time.monotonic()
    directory = Path(tempfile.mkdtemp(prefix="shmqueue-compat-"))
    try:
        setup = dataclasses.replace(setup, overlay=source.lay(directory / "overlay"))
        for number in range(WORKERS_BEFORE_GIVING_UP):
            folder = directory / str(number)
            folder.mkdir()
            with _Worker(setup, folder, only, limit, everything, list(result.tests)) as worker:
                finished = worker.follow(result)
            if finished:
                break
        else:
            result.add("(the rest)", "failed", "too many workers ended before their time")
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    result.seconds = time.monotonic() - started
    return result


class _Worker:
    """One worker with all that it starts."""

    def __init__(self, setup, folder, only, limit, everything, done):
        self._setup = dataclasses.replace(setup, notes=str(folder / "notes"))
        self._folder = folder
        self._limit = limit
        self._task = {"only": list(only), "limit": limit, "everything": everything, "done": done}

    def __enter__(self):
        self._pipe, write = os.pipe()
        self._log = self._folder / "log"
        home = self._folder / "home"
        home.mkdir()
        folders = filter(None, [str(pointing.ROOT), self._setup.overlay])
        environment = dict(os.environ, PYTHONPATH=os.pathsep.join(folders), TMPDIR=str(home))
        environment.pop("PYTHONSAFEPATH", None)
        environment.update(self._setup.to_environment())
        try:
            with self._log.open("wb") as log:
                self._process = subprocess.Popen(
                    [
                        sys.executable,
                        "-m",
                        "tests.compat.worker",
                        json.dumps(self._task | {"descriptor": write}),
                    ],
                    cwd=home,
                    env=environment,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    pass_fds=[write],
                    # A session of its own: whatever the tests start can be found, and ended.
                    start_new_session=True,
                )
        except BaseException:
            os.close(self._pipe)
            raise
        finally:
            os.close(write)
        return self

    def __exit__(self, *exc_info):
        os.close(self._pipe)
        _end(_session(self._process.pid))
        self._process.wait()

    def follow(self, result):
        """Take note of all that the worker says; return whether it did all that it was to do."""
        announced, current, done = None, None, False
        for message in self._messages():
            event = message["event"]
            if event == "tests":
                announced = message["tests"]
                result.left_out = message["left_out"]
            elif event == "start":
                current = message["test"]
            elif event == "end":
                current = None
                outcome, detail, queues = (message[k] for k in ("outcome", "detail", "queues"))
                if outcome == "altered":
                    outcome, detail = "failed", self._tail("left something running")
                elif outcome == "passed" and not queues:
                    outcome, detail = "failed", "passed, but made none of our queues"
                result.add(message["test"], outcome, detail, queues)
            elif event == "fixture":
                result.add(message["test"], message["outcome"], message["detail"])
            elif event == "done":
                done = True
                if message["altered"]:
                    result.add("(afterwards)", "failed", self._tail("left something running"))
        if current is not None:
            result.add(current, "failed", self._tail(self._how_it_ended(done)))
        elif announced is None:
            result.add("(start)", "failed", self._tail(self._how_it_ended(done)))
        elif not done:
            result.add("(between tests)", "failed", self._tail(self._how_it_ended(done)))
        else:
            for test in announced:
                if test not in result.tests:
                    # Its class or module could not be set up; that is said there.
                    result.add(test, "failed", "was not run")
            self._look_for_leftovers(result)
        return done or announced is None

    def _messages(self):
        """Yield what the worker says, until it ends or says nothing for too long."""
        self._overdue = False
        rest = b""
        patience = self._limit + BACKSTOP_SECONDS
        deadline = time.monotonic() + patience
        pidfd = os.pidfd_open(self._process.pid)
        try:
            while True:
                wait = deadline - time.monotonic()
                ready = select.select([self._pipe, pidfd], [], [], max(0, wait))[0]
                if not ready:
                    self._overdue = True
                    return
                if self._pipe not in ready:
                    return  # ended, and all it said has been read
                data = os.read(self._pipe, 1 << 16)
                if not data and pidfd not in ready:
                    ready = select.select([pidfd], [], [], max(0, wait))[0]
                    self._overdue = not ready
                    return
                if not data:
                    return
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    yield json.loads(line)
                    deadline = time.monotonic() + patience
        finally:
            os.close(pidfd)

    def _how_it_ended(self, done):
        if self._overdue:
            return f"took more than {self._limit:g} s"
        self._process.wait()
        return f"took its process with it (exit status {self._process.returncode})"

    def _look_for_leftovers(self, result):
        """After a run that went well, its processes go by themselves."""
        if self._overdue:
            result.add("(afterwards)", "failed", self._tail("the worker did not exit"))
            return
        self._process.wait()
        if self._process.returncode:
            result.add("(afterwards)", "failed", self._tail(self._how_it_ended(True)))
        left = _gone(_session(self._process.pid))
        if left:
            result.add("(afterwards)", "failed", f"left processes: {left}")

    def _tail(self, what):
        text = self._log.read_text(errors="replace")
        return f"{what}\n{text[-TAIL_CHARACTERS:]}".strip()


def _session(leader):
    """Return {pid: command line} of the living processes of a session."""
    found = {}
    for entry in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):
            fields = Path(f"/proc/{entry}/stat").read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] not in "ZX":
                command = Path(f"/proc/{entry}/cmdline").read_bytes().replace(b"\0", b" ")
                found[int(entry)] = command.decode(errors="replace").strip()
    return found


def _gone(processes):
    """Wait a while for processes to go; return those that stay."""
    deadline = time.monotonic() + GRACE_SECONDS
    for pid in list(processes):
        try:
            descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            del processes[pid]
            continue
        try:
            wait = max(0, deadline - time.monotonic())
            if select.select([descriptor], [], [], wait)[0]:
                del processes[pid]
        finally:
            os.close(descriptor)
    return processes


def _end(processes):
    for pid in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
