"""Kill an operation at its first stop, its second, and so on: a program of its own.

It may have a /dev/shm of its own, so that the memory that is in use there can be compared to the
byte; elsewhere only names are.
"""

import gc
import json
import os
import signal
import sys
import traceback

from tests.faults.processes import Forks
from tests.lifecycle import broken, operations, tracing
from tests.support import LIMIT, SHM, segment_files

# More system calls than this no operation has.
MOST_STOPS = 2000


class Trials:
    """All kills of one operation."""

    def __init__(self, forks, operation, memory_is_own):
        self._forks = forks
        self._operation = operation
        self._memory_is_own = memory_is_own

    def run(self):
        """Return how many stops the operation has; raises with the first that is survived badly."""
        for number in range(1, MOST_STOPS):
            if self._kill_at(number) is None:
                return number - 1
        raise AssertionError("the operation does not end")

    def _kill_at(self, number):
        """Kill it at one stop, and look; return where that was, None if it was done before."""
        operation = self._operation
        before = self._memory()
        operation.arrange()
        operation.hold()
        where = "its start"
        try:
            where = self._kill_there(number)
            self._assert_no_other_name()
            self._in_a_process(operation.check, where is None)
            self._assert_no_other_name()
            operation.let_go()
            for file in segment_files(operation.run_id):
                os.unlink(SHM / file)
            after = self._memory()
            assert after == before, f"(blocks, files) free in /dev/shm: {after}, before: {before}"
        except AssertionError as error:
            place = f"stop {number} ({where or 'behind the last'})"
            raise AssertionError(f"killed at {place}: {error}") from None
        return where

    def _kill_there(self, number):
        signal.alarm(int(LIMIT))
        pid = tracing.start(self._forks, self._operation.prepare, self._operation.operate)
        try:
            self._operation.feed()
            stops = tracing.Stops(pid)
            stops.begin()
            for _ in range(number):
                where = stops.go_on()
                if where is None:
                    return None
            return f"{where} of system call {stops.number}"
        finally:
            self._forks.kill(pid)
            signal.alarm(0)

    def _in_a_process(self, function, *args):
        reader, writer = os.pipe()

        def run():
            try:
                function(*args)
            except BaseException:
                os.write(writer, traceback.format_exc().encode())
                raise SystemExit(1) from None

        code = self._forks.wait(self._forks.start(run))
        os.close(writer)
        with open(reader) as pipe:
            said = pipe.read()
        assert code == 0, f"{function.__qualname__} ended with {code}: {said}"

    def _assert_no_other_name(self):
        """Assert that the operation, killed or not, left nothing in /dev/shm but the queue."""
        run_id = self._operation.run_id
        names = [file for file in os.listdir(SHM) if self._memory_is_own or run_id in file]
        assert names in ([], [f"shmq.q@{run_id}"]), f"names {names}"

    def _memory(self):
        if not self._memory_is_own:
            return None
        system = os.statvfs(SHM)
        return system.f_bfree, system.f_ffree


def main(run_id, memory_is_own, names, twin=None):
    """Run the trials of some operations, or of a broken twin; print what came out.

    That is {operation: stops, or the failure as text}, or {"": why nothing can be traced here}.
    """
    forks = Forks()
    # What a killed child had asked of this process's server for descriptors is not news.
    sys.excepthook = lambda *error: None
    if twin is not None:
        getattr(broken, twin)()
    # Or each of thousands of children would look through, and so copy, all of its parent's objects.
    gc.collect()
    gc.freeze()
    found = {}
    if reason := tracing.why_not(forks):
        found[""] = reason
    else:
        for name in names:
            operation = getattr(operations, name)(run_id)
            try:
                found[name] = Trials(forks, operation, memory_is_own).run()
            except AssertionError as error:
                found[name] = str(error)
    forks.end()
    print(json.dumps(found))
