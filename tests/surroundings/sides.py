"""Two that put and one that gets, each killed again and again, with an account of every item.

How a process is started is the caller's: here they have namespaces of their own.
"""

import mmap
import os
import random
import signal
import struct
import time

from shmqueue import SharedMemoryQueue
from tests.support import LIMIT, wait_until

PUTTERS = 2
GETTER = PUTTERS
LARGE = bytes(range(256)) * 64
# Batches of so many, of items that fill a slot: so an end is held for a good part of the time.
BATCH = 200
SMALL = bytes(800)
GEOMETRY = {"capacity": 4 * BATCH, "item_size": 1000}
# More than one life of a process can write down before it is killed.
MOST = 300_000
ENTRY = struct.Struct("II")
LONGEST_LIFE_SECONDS = 0.01


class Life:
    """What one process has done so far, in memory that it shares with its parent."""

    def __init__(self):
        self._map = mmap.mmap(-1, 8 + ENTRY.size * MOST)
        self._count = memoryview(self._map).cast("Q")

    @property
    def count(self):
        return self._count[0]

    def add(self, *entry):
        ENTRY.pack_into(self._map, 8 + ENTRY.size * self.count, *entry)
        self._count[0] += 1  # one store, behind the entry

    def entries(self):
        return list(ENTRY.iter_unpack(self._map[8 : 8 + ENTRY.size * self.count]))


def _put(run_id, life, name, seed):
    """Put items until killed; write each down when the put has returned."""
    choose = random.Random(seed)
    queue = SharedMemoryQueue("q", run_id=run_id)
    number = 0
    while True:
        count = choose.choice((1, 3, BATCH, BATCH))
        items = [
            (name, number + at, LARGE if count < BATCH and choose.random() < 0.1 else SMALL)
            for at in range(count)
        ]
        queue.put(items[0]) if count == 1 else queue.put_batch(items)
        for _ in items:
            life.add(name, number)
            number += 1


def _get(run_id, life):
    queue = SharedMemoryQueue("q", run_id=run_id)
    while True:
        for name, number, content in queue.get_batch(BATCH):
            assert content in (SMALL, LARGE)
            life.add(name, number)


class Account:
    """Starts the processes, kills one after the other, and tells in the end what is wrong."""

    def __init__(self, start, forks, run_id, choose):
        self._start = start
        self._forks = forks
        self._run_id = run_id
        self._choose = choose
        self._put = {}  # by name: the life of a putter
        self._got = []  # lives of getters, in order
        self._running = {}
        self._kills_of_getter = 0
        for place in range(PUTTERS + 1):
            self._begin(place)

    def _begin(self, place):
        life = Life()
        if place == GETTER:
            self._got.append(life)
            pid = self._start(_get, self._run_id, life)
        else:
            name = len(self._put)
            self._put[name] = life
            pid = self._start(_put, self._run_id, life, name, self._choose.random())
        self._running[place] = (pid, life)

    def kill(self, count):
        """Kill one of them so many times, each time when all of them have got on since."""
        for _ in range(count):
            for place, (_, life) in self._running.items():
                before = life.count
                wait_until(
                    lambda life=life, before=before: life.count > before,
                    f"process {place} to get on",
                )
            time.sleep(self._choose.random() * LONGEST_LIFE_SECONDS)
            place = self._choose.randrange(PUTTERS + 1)
            pid, _ = self._running[place]
            os.kill(pid, signal.SIGKILL)
            assert self._forks.wait(pid) == -signal.SIGKILL
            self._kills_of_getter += place == GETTER
            self._begin(place)

    def close(self, queue):
        """End all, drain the queue, and return {"wrong": texts, "got": items, "stopped": count}."""
        for place in list(self._running):
            pid, _ = self._running.pop(place)
            self._forks.kill(pid)
            self._kills_of_getter += place == GETTER
        got = {name: [] for name in self._put}
        for life in self._got:
            for name, number in life.entries():
                got[name].append(number)
        while queue.qsize():
            name, number, content = queue.get(timeout=LIMIT)
            assert content in (SMALL, LARGE)
            got[name].append(number)
        wrong = []
        lost = 0
        for name, numbers in got.items():
            returned = self._put[name].count
            if numbers != sorted(set(numbers)):
                wrong.append(f"{name}: out of order, or twice: {numbers}")
            # A put was under way when the kill came, and was done or was not.
            last = max([*numbers, returned - 1])
            if last >= returned + BATCH:
                wrong.append(f"{name}: {last} came, and {returned} were put")
            missing = sorted(set(range(last + 1)) - set(numbers))
            lost += len(missing)
            runs = sum(number - 1 not in missing for number in missing)
            if runs > self._kills_of_getter:
                wrong.append(f"{name}: {runs} gaps for {self._kills_of_getter} kills of a getter")
        if lost > BATCH * self._kills_of_getter:
            wrong.append(f"{lost} items lost in {self._kills_of_getter} kills of a getter")
        return {"wrong": wrong, "got": sum(map(len, got.values())), "stopped": PUTTERS + 1}
