"""Processes that create, open, fill, close and unlink one name at once, all killed at one moment.

A program of its own, for the same reason as the trials. What a put returned from is written down in
memory that the processes share with their parent, so that afterwards every item of the queue that
has the name is accounted for.
"""

import gc
import json
import mmap
import os
import random
import signal
import struct
import time
from queue import Empty

from shmqueue import SharedMemoryQueue, unlink
from tests.faults.processes import Forks, Turns
from tests.lifecycle.operations import LARGE, assert_works
from tests.support import LIMIT, SHM

GEOMETRY = {"capacity": 4096, "item_size": 64}
PROCESSES = 3
LONGEST_LIFE_SECONDS = 0.01
MOST_ENTRIES = 10_000
ENTRY = struct.Struct("QQ")


class Ledger:
    """What the puts of one process returned from: (queue, number), in order."""

    def __init__(self):
        self._map = mmap.mmap(-1, 8 + ENTRY.size * MOST_ENTRIES)
        self._count = memoryview(self._map).cast("Q")

    def clear(self):
        self._count[0] = 0

    @property
    def is_full(self):
        return self._count[0] == MOST_ENTRIES

    def add(self, queue, number):
        count = self._count[0]
        ENTRY.pack_into(self._map, 8 + ENTRY.size * count, identity(queue), number)
        self._count[0] = count + 1  # one store, behind the entry

    def of(self, queue):
        """Return the numbers that were put into a queue."""
        entries = ENTRY.iter_unpack(self._map[8 : 8 + ENTRY.size * self._count[0]])
        return [number for put_into, number in entries if put_into == identity(queue)]


def identity(queue):
    return int.from_bytes(queue._attachment.uuid[:8], "little")


def live(run_id, which, ledger, seed):
    """Do one thing after the other to the name, until somebody kills."""
    choose = random.Random(seed)
    number = 0
    while True:
        try:
            queue = SharedMemoryQueue(
                "q",
                create=choose.random() < 0.6,
                exist_ok=choose.random() < 0.7,
                run_id=run_id,
                max_processes=PROCESSES,
                **GEOMETRY,
            )
        except (FileExistsError, FileNotFoundError):
            continue
        for _ in range(choose.randrange(12)):
            if ledger.is_full or queue.full():
                break
            queue.put((which, number, LARGE if choose.random() < 0.1 else number))
            ledger.add(queue, number)
            number += 1
        how = choose.random()
        if how < 0.25:
            queue.unlink()
        elif how < 0.4:
            unlink("q", run_id)
        queue.close()


def check(run_id, ledgers, tally):
    """Assert that the name stands for a whole queue with all that was put, or for none."""
    files = [file for file in os.listdir(SHM) if run_id in file]
    assert files in ([], [f"shmq.q@{run_id}"]), f"names {files}"
    queue = SharedMemoryQueue(
        "q", create=True, exist_ok=True, run_id=run_id, max_processes=PROCESSES, **GEOMETRY
    )
    got = {which: [] for which in range(PROCESSES)}
    try:
        while True:
            which, number, content = queue.get_nowait()
            assert content in (number, LARGE)
            got[which].append(number)
    except Empty:
        pass
    for which, numbers in got.items():
        returned = ledgers[which].of(queue)
        assert numbers[: len(returned)] == returned, f"process {which} put {returned}: {numbers}"
        # The put that the kill hit may have been done, but for returning.
        assert len(numbers) <= len(returned) + 1
        assert numbers == sorted(set(numbers))
        tally[1] += len(returned)
    tally[0] += bool(files)
    assert_works(queue)
    queue.close()
    queue.unlink()


def main(run_id, rounds, seed, memory_is_own):
    """Run the rounds; print {"failures": texts, "whole": names that were there, "items": count}."""
    forks, turns = Forks(), Turns()
    choose = random.Random(seed)
    ledgers = [Ledger() for _ in range(PROCESSES)]
    tally = memoryview(mmap.mmap(-1, 16)).cast("Q")
    gc.collect()
    gc.freeze()

    def begin(which, its_seed):
        turns.say()
        live(run_id, which, ledgers[which], its_seed)

    def memory():
        system = os.statvfs(SHM)
        return (system.f_bfree, system.f_ffree) if memory_is_own else None

    before = memory()
    failures = []
    for number in range(rounds):
        signal.alarm(int(LIMIT))
        for ledger in ledgers:
            ledger.clear()
        pids = [forks.start(begin, which, choose.random()) for which in range(PROCESSES)]
        for pid in pids:
            turns.hear_from(forks, pid)
        time.sleep(choose.random() * LONGEST_LIFE_SECONDS)
        for pid in pids:
            os.kill(pid, signal.SIGKILL)
        codes = [forks.wait(pid) for pid in pids]
        if codes != [-signal.SIGKILL] * PROCESSES:
            failures.append(f"round {number}: a process ended by itself: {codes}")
        if code := forks.wait(forks.start(check, run_id, ledgers, tally)):
            failures.append(f"round {number}: what was left is not sound: {code}")
        if (after := memory()) != before:
            failures.append(f"round {number}: free in /dev/shm {after}, before {before}")
        if failures:
            break
    signal.alarm(0)
    forks.end()
    turns.close()
    print(json.dumps({"failures": failures, "whole": tally[0], "items": tally[1]}))
