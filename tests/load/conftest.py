import json
import os
import signal

import pytest

from tests import support

# For runs that somebody ends.
FOREVER = ("--duration-seconds", "600")
# Runs of many programs on a machine that has other things to do as well.
LIMIT = 120.0


class Load:
    """A load at work."""

    def __init__(self, command, run_id):
        self.command = command
        self.run_id = run_id

    def workers(self, role):
        """Return {number: pid} of its programs of one role."""
        found = {}
        for pid, line in support.descendants().items():
            words = line.split()
            if self.run_id in words and role in words:
                found[int(words[-1])] = pid
        return found

    def stream(self, put=6):
        """Attach to its stream, once so many items were put."""
        from shmqueue import Stream

        def name():
            files = support.segment_files(self.run_id)
            return next((f for f in files if f"-reports@{self.run_id}" not in f), None)

        file = support.wait_until(name, "the stream", LIMIT)
        stream = Stream(file[len(support.PREFIX) :].partition("@")[0], run_id=self.run_id)
        support.wait_until(lambda: stream.get_metrics()["items_put"] >= put, "items", LIMIT)
        return stream

    def interrupt(self):
        """Press Ctrl-C, which all programs of a terminal see."""
        os.killpg(self.command.pid, signal.SIGINT)

    def account(self):
        """Wait for the end, and return exit status and account."""
        output, errors = self.command.communicate(timeout=LIMIT)
        assert errors == ""
        (told,) = json.loads(output)["runs"]
        return self.command.returncode, told


@pytest.fixture
def start_load(start_command, run_id):
    """Start a load of small items in a session of its own, with its account as JSON."""
    pytest.importorskip("numpy")

    def start(*options):
        options = ("load", "--json", "--run-id", run_id, "--slot-bytes", "20000", *options)
        return Load(start_command(*options, start_new_session=True), run_id)

    return start
