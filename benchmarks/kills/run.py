"""One run for one queue: ``python -m benchmarks.kills.run REQUEST``, in namespaces of its own.

REQUEST is JSON: "rival", "kills", "seed", "name" (of the queue), "directory" (an empty one, for
sockets and temporary files), "result" (the file to write), "alone" (whether /dev/shm is this run's
own), "massacre" (end by SIGKILL for everybody, the creator included).

The creator of the queue is a process of its own, which may stand still when it closes the queue;
this one looks what is left once all are gone.
"""

import json
import os
import signal
import sys
import time

from benchmarks.kills import rivals
from benchmarks.kills.siege import Siege
from tests import support

# How long the creator may take to close the queue, once it has told how the run went.
CLOSING_SECONDS = 10.0
MASSACRE_SECONDS = 2.0


def main():
    request = json.loads(sys.argv[1])
    support.inherit_orphans()
    os.environ["TMPDIR"] = request["directory"]
    before = _files(request)
    outcome = os.path.join(request["directory"], "outcome.json")
    creator = os.fork()
    if creator == 0:
        code = 1
        try:
            _create_and_rage(request, outcome)
            code = 0
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)
    told = _await(creator, outcome, request["massacre"])
    _end_all()
    told["left_files"] = sorted(_files(request) - before - {outcome})
    with open(request["result"], "w") as file:
        json.dump(told, file)


def _create_and_rage(request, outcome):
    rival = rivals.find(request["rival"])
    channel = rival.create(request["name"], rivals.Case(), request["directory"])
    siege = Siege(channel, request["kills"], request["seed"])
    siege.begin()
    if request["massacre"]:
        siege.moves()
        _write(outcome, {"kills": 0})
        time.sleep(3600)  # until it is killed
    siege.rage()
    if not siege.told["stopped"]:
        siege.calm_down()
    siege.end()
    _write(outcome, siege.result())
    channel.close()


def _write(path, told):
    with open(path + ".new", "w") as file:
        json.dump(told, file)
    os.rename(path + ".new", path)


def _await(creator, outcome, is_massacre):
    """Wait until the creator has told how it went and is gone; end it if it isn't."""
    while not os.path.exists(outcome):
        done, status = os.waitpid(creator, os.WNOHANG)
        if done and not os.path.exists(outcome):
            return {"error": f"the creator ended with {os.waitstatus_to_exitcode(status)}"}
        if done:
            break
        time.sleep(0.05)
    with open(outcome) as file:
        told = json.load(file)
    deadline = time.monotonic() + (MASSACRE_SECONDS if is_massacre else CLOSING_SECONDS)
    while time.monotonic() < deadline:
        with_it = os.waitpid(creator, os.WNOHANG) if not told.get("creator") else (0, 0)
        if with_it[0]:
            told["creator"] = os.waitstatus_to_exitcode(with_it[1])
            break
        time.sleep(0.05)
    else:
        told["creator"] = "killed" if is_massacre else "stands still"
    return told


def _end_all():
    """Kill whatever descends from this process, until nothing does."""
    while left := support.descendants():
        for pid in left:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                continue
        for pid in left:
            try:
                os.waitpid(pid, 0)
            except ChildProcessError:
                continue  # another's child, which comes to us
        time.sleep(0.01)


def _files(request):
    """Return what is in shared memory and in the folder for temporary files."""
    found = set(os.listdir("/dev/shm")) if os.path.isdir("/dev/shm") else set()
    if not request["alone"]:
        # Others make files there, too; these can be nobody else's.
        found = {name for name in found if request["name"] in name}
    for folder, _, names in os.walk(request["directory"]):
        found |= {os.path.join(folder, name) for name in names}
    return found


if __name__ == "__main__":
    main()
