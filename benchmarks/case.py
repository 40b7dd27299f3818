"""One case in a process of its own: ``python -m benchmarks.case REQUEST``.

REQUEST is JSON: "case", "peer", "amount" (items, or seconds for idle), "name" (a prefix for
everything that the case creates), "directory" (for sockets), "result" (the file to write) and
"parent" (the pid of who started it). The workers are forked from this process, meet at a barrier,
and send back their times through pipes.
`run` starts, watches and, if need be, kills this process with its whole process group.
"""

import ctypes
import json
import multiprocessing
import os
import signal
import sys
import traceback
from multiprocessing import connection

from benchmarks.groups import find
from benchmarks.peers.base import End
from benchmarks.work import Work

_PR_SET_PDEATHSIG = 1
_START_TIMEOUT_S = 30.0
_EXIT_TIMEOUT_S = 10.0


def main():
    request = json.loads(sys.argv[1])
    _die_with(request["parent"])
    try:
        result = run(request)
    except Exception as error:
        traceback.print_exc()
        result = {"status": "error", "error": _one_line(error)}
    with open(request["result"], "w") as file:
        json.dump(result, file)
    sys.stderr.flush()
    os._exit(0)  # what is left (library threads, sockets) has nothing more to say


def run(request):
    """Run the case and return its result."""
    case, peer = find(request["case"], request["peer"])
    amount, name = request["amount"], request["name"]
    if isinstance(case, Work) and case.queue_case is None:
        return {"status": "ok", **case.function(peer, amount, name)}
    case = case.queue_case if isinstance(case, Work) else case
    return {"status": "ok", **_run_queue(case, peer, amount, name, request["directory"])}


def _run_queue(case, peer, amount, name, directory):
    """Run one of the loops over queues and return what the case makes of it."""
    names = [name + letter for letter in "ab"[: case.queues]]
    channels = []
    try:
        channels.extend(peer.create(each, case, directory) for each in names)
        if case.is_local:
            results = [case.local(channels[0].open_local(), amount)]
        else:
            results = _run_workers(case.jobs(amount), channels)
    finally:
        for channel in channels:
            channel.close()
    return case.evaluate(amount, results)


def _run_workers(work, channels):
    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(len(work))
    workers, pipes = [], []
    try:
        for job in work:
            receiver, sender = context.Pipe(duplex=False)
            arguments = (job, channels, barrier, sender, os.getpid())
            worker = context.Process(target=_work, args=arguments)
            worker.start()
            workers.append(worker)
            sender.close()
            pipes.append(receiver)
        results = _gather(pipes)
        for worker in workers:
            worker.join(_EXIT_TIMEOUT_S)
            if worker.is_alive():
                raise RuntimeError("a worker has finished and does not exit")
        return results
    finally:
        for worker in workers:
            if worker.is_alive():
                worker.kill()
            worker.join()


def _gather(pipes):
    """Return what the workers send, and fail on the first failure instead of waiting for all."""
    results = []
    waiting = list(pipes)
    while waiting:
        for pipe in connection.wait(waiting):
            try:
                result = pipe.recv()
            except EOFError:
                raise RuntimeError("a worker died") from None
            if "error" in result:
                raise RuntimeError(result["error"])
            results.append(result)
            waiting.remove(pipe)
    return results


def _work(job, channels, barrier, sender, parent):
    """Body of a worker process."""
    _die_with(parent)
    try:
        # Consumers open first: a socket that connects before the other end is bound tries again
        # only after 100 ms, and that would be timed as if it were the library's speed.
        opened = {}
        for role in ("consumer", "producer"):
            for queue, _, index in (end for end in job.ends if end[1] == role):
                opened[role] = channels[queue].open(role, index)
            barrier.wait(_START_TIMEOUT_S)
        sender.send(job.function(_joined(opened), *job.arguments))
        # Nobody closes before all are done: PULL drops what it has not read from the kernel yet
        # when the pushing process goes away while its own buffer is full.
        barrier.wait()
        for end in opened.values():
            end.close()
    except Exception as error:
        traceback.print_exc()
        sender.send({"error": _one_line(error)})


def _joined(opened):
    """One end for the worker; if it has two, `put` is the producer's and `get` the consumer's."""
    if len(opened) == 1:
        return next(iter(opened.values()))
    return End(put=opened["producer"].put, get=opened["consumer"].get)


def _die_with(parent):
    """Have the kernel kill this process when its parent dies, so that nothing outlives `run`."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)
    if os.getppid() != parent:  # it died before the kernel was asked
        os._exit(1)


def _one_line(error):
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]


if __name__ == "__main__":
    main()
