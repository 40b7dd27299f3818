"""Bare forks: children that only the kernel tells about."""

import contextlib
import os
import select
import signal
import sys
import time
import traceback

from tests.support import LIMIT


class Forks:
    """Children made by ``os.fork`` alone; each ends by ``os._exit`` or by a signal."""

    def __init__(self):
        self._living = set()

    def start(self, function, *args):
        """Run a function in a forked child; exit code 0, or 1 if it raised."""
        sys.stdout.flush()
        sys.stderr.flush()
        pid = os.fork()
        if pid:
            self._living.add(pid)
            return pid
        code = 1
        try:
            function(*args)
            code = 0
        except BaseException:
            traceback.print_exc()
        finally:
            with contextlib.suppress(BaseException):
                sys.stderr.flush()
            os._exit(code)

    def adopt(self, pid):
        """Look after a process that came to this one when its parent died."""
        self._living.add(pid)

    def poll(self, pid):
        """Return how a child ended (as ``os.waitstatus_to_exitcode``), None while it lives."""
        done, status = os.waitpid(pid, os.WNOHANG)
        if not done:
            return None
        self._living.discard(pid)
        return os.waitstatus_to_exitcode(status)

    def wait(self, pid, limit=LIMIT):
        """Return how a child ended; fail if it doesn't."""
        deadline = time.monotonic() + limit
        while (code := self.poll(pid)) is None:
            assert time.monotonic() < deadline, f"process {pid} did not end in {limit:g} s"
            time.sleep(0.001)
        return code

    def kill(self, pid):
        """End a child by SIGKILL, and wait for that."""
        os.kill(pid, signal.SIGKILL)
        return self.wait(pid)

    def end(self):
        for pid in list(self._living):
            with contextlib.suppress(ProcessLookupError, ChildProcessError):
                self.kill(pid)


class Turns:
    """Words of one letter between a process and those that it forks: who waits, and for whom."""

    def __init__(self):
        self._words = os.pipe()
        self._answers = os.pipe()
        self._parent = os.getpid()

    def _side(self):
        mine, theirs = self._answers, self._words
        return (mine, theirs) if os.getpid() == self._parent else (theirs, mine)

    def say(self):
        """Let the other side's `hear` return."""
        os.write(self._side()[1][1], b".")

    def hear(self):
        """Wait for the other side's `say`."""
        assert self._is_said(LIMIT), "the other process says nothing"
        os.read(self._side()[0][0], 1)

    def hear_from(self, forks, pid):
        """Wait for the `say` of a forked child; fail when it ends before."""
        while not self._is_said(0.01):
            assert forks.poll(pid) is None, f"process {pid} ended before it said anything"
        self.hear()

    def _is_said(self, limit):
        return bool(select.select([self._side()[0][0]], [], [], limit)[0])

    def swap(self):
        """Let the other side go on, and wait until it does the same."""
        self.say()
        self.hear()

    def close(self):
        for fd in (*self._words, *self._answers):
            os.close(fd)
