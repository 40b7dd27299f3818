"""SIGKILL to everybody at once: what is left is named queues, and they are as good as before."""

import json
import os
import signal

import numpy

from shmqueue import SharedMemoryQueue, doctor, segment
from tests.support import LIMIT, wait_until

# Large beside what else comes and goes in the machine's shared memory meanwhile.
ARRAY_BYTES = 96 << 20

# Processes with a named queue, unnamed ones, and arrays that lie in both.
FAMILY = """
    import json, multiprocessing, os, sys, time
    from queue import Empty
    import numpy
    import shmqueue
    from shmqueue import SharedMemoryQueue

    array = numpy.ones({size}, "uint8")

    def work(named, unnamed, results, traffic):
        kept = [named.get(), unnamed.get()]
        assert all(one[-1] == 1 and not one.flags.owndata for one in kept), named.get_metrics()
        named.put(("from a child", os.getpid()))
        results.put(os.getpid())
        while True:
            traffic.put("more")
            traffic.get()

    def next_of(results, workers):
        for _ in range(200):
            try:
                return results.get(timeout=0.2)
            except Empty:
                ended = [worker.exitcode for worker in workers if worker.exitcode is not None]
                assert not ended, f"workers ended with {{ended}}"
        raise AssertionError("nobody has ended, and nobody answers")

    if __name__ == "__main__":
        context = multiprocessing.get_context("fork")
        named = SharedMemoryQueue("q", create=True, run_id=sys.argv[1])
        unnamed, results, traffic = [shmqueue.Queue(ctx=context) for _ in range(3)]
        queues = (named, unnamed, results, traffic)
        workers = [context.Process(target=work, args=queues, daemon=True) for _ in range(3)]
        for _ in workers:
            named.put(array)
            unnamed.put(array)
        for worker in workers:
            worker.start()
        pids = [next_of(results, workers) for _ in workers]
        named.put(array)
        unnamed.put(array)
        named.put("the last one")
        print(json.dumps(pids), flush=True)
        time.sleep(600)
"""


def _shared_memory_bytes():
    with open("/proc/meminfo") as file:
        (line,) = [line for line in file if line.startswith("Shmem:")]
    return int(line.split()[1]) * 1024


def test_nothing_is_left_but_a_named_queue_with_all_that_was_put(programs, run_id):
    before = _shared_memory_bytes()
    family = programs.start(FAMILY.format(size=ARRAY_BYTES // 8), run_id)
    said = family.stdout.readline()
    assert said, family.communicate(timeout=LIMIT)[1]
    pids = [family.pid, *json.loads(said)]
    assert _shared_memory_bytes() - before > ARRAY_BYTES // 2
    # Nobody has the time to notice the death of another.
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    family.communicate(timeout=LIMIT)
    assert family.returncode == -signal.SIGKILL

    path = segment.path_of("q", run_id)
    wait_until(lambda: doctor.look(path)["state"] == doctor.UNATTENDED, "the last one to be gone")
    told = doctor.look(path)
    assert (told["items"], told["lost_blocks"]) == (5, 3)
    wait_until(
        lambda: _shared_memory_bytes() - before < told["memory_bytes"] + ARRAY_BYTES // 4,
        "the memory of the unnamed queues to be free",
    )

    with SharedMemoryQueue("q", run_id=run_id) as queue:
        items = [queue.get_nowait() for _ in range(5)]
        assert sorted(item[1] for item in items[:3]) == sorted(pids[1:])
        assert numpy.array_equal(items[3], numpy.ones(ARRAY_BYTES // 8, "uint8"))
        assert items[4] == "the last one"
        queue.put("and on")
        assert queue.get_nowait() == "and on"
        del items
        assert doctor.look(path)["lost_blocks"] == 0
        queue.unlink()
