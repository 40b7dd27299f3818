"""Producers and consumers on a queue, SIGKILLs at random, and what comes of it.

Every queue goes through this same code: items of 64 bytes go in and out by the queue's own blocking
calls; one worker at a time is killed, and another starts in its place.
"""

import multiprocessing
import random
import signal
import time
from collections import Counter
from queue import Empty, Full

import numpy

from benchmarks.kills.rivals import ITEM_BYTES, Case
from tests.storm import items
from tests.storm.account import account
from tests.storm.ledger import NO_MORE_PUTS, RUN, Ledger

CASE = Case()
WORKERS = [
    *(("producer", place) for place in range(CASE.producers)),
    *(("consumer", place) for place in range(CASE.consumers)),
]
SHORTEST_CALM_SECONDS, LONGEST_CALM_SECONDS = 0.02, 0.06
# Nobody received anything for so long: it stands still.
STILL_SECONDS = 5.0
# What is still to come has come when nothing did for so long.
SETTLED_SECONDS = 0.5
# How long those who end in order may take.
ENDING_SECONDS = 10.0

# Tells a consumer that there is no more.
LAST = bytes(ITEM_BYTES)


class _Ledger(Ledger):
    # Only what is touched has memory.
    LOG_ENTRIES = 1 << 24


def produce(channel, ledger, place, incarnation):
    """Put until told not to: what a producer's process runs."""
    rng = random.Random(incarnation)
    end = channel.open("producer", place)
    number = 0
    while ledger.phase[0] == RUN:
        item = bytes(items.filled(ITEM_BYTES, incarnation, number + 1, rng))
        ledger.begun[incarnation] = number + 1
        try:
            end.put(item)
        except Full:  # of a call that can't wait for ever
            continue
        number += 1
        ledger.returned[incarnation] = number
    end.close()


def consume(channel, ledger, place):
    """Get until the last item: what a consumer's process runs."""
    end = channel.open("consumer", place)
    while True:
        ledger.in_hand[place] = 1
        try:
            item = end.get()
        except Empty:  # as above
            continue
        except (OSError, MemoryError):
            raise
        except Exception:
            # What came could not even be made an item.
            ledger.torn[place] += 1
            continue
        if item == LAST:
            break
        try:
            found = items.check(item)
        except items.TornError:
            ledger.torn[place] += 1
            continue
        ledger.note(place, *found)
    ledger.in_hand[place] = 0
    end.close()


def finish(channel):
    """Tell each consumer that there is no more."""
    end = channel.open("producer", CASE.producers)
    for _ in range(CASE.consumers):
        end.put(LAST)
    end.close()


class Siege:
    """The workers on a channel, and what became of them."""

    def __init__(self, channel, most_kills, seed):
        self._channel = channel
        self._rng = random.Random(seed)
        self._most_kills = most_kills
        self._context = multiprocessing.get_context("fork")
        self._processes = {}
        self._incarnations = 0
        # Besides the killed: all of them anew, for as often as nothing moves, and who crashed.
        room = 10 * (most_kills + len(WORKERS))
        self.ledger = _Ledger(room, CASE.consumers, torn=CASE.consumers)
        self.in_hands = 0
        self.crashes = Counter()
        self.told = {"kills": 0, "stopped": False, "first_still": None, "healed": 0}

    def begin(self):
        for worker in WORKERS:
            self._start(worker)

    def _start(self, worker):
        role, place = worker
        arguments = (self._channel, self.ledger, place)
        if role == "producer":
            self._incarnations += 1
            arguments += (self._incarnations,)
        target = produce if role == "producer" else consume
        process = self._context.Process(target=target, args=arguments, daemon=True)
        process.start()
        self._processes[worker] = process

    def _end(self, worker):
        process = self._processes.pop(worker)
        process.kill()
        process.join()
        code = process.exitcode
        process.close()
        role, place = worker
        if role == "consumer":
            self.in_hands += self.ledger.in_hand[place]
            self.ledger.in_hand[place] = 0
        return code

    def _replace_crashed(self):
        """Start others in place of those who ended by themselves."""
        for worker in WORKERS:
            process = self._processes[worker]
            if process.exitcode is not None:
                self.crashes[_ending(process.exitcode)] += 1
                self._end(worker)
                self._start(worker)

    def moves(self, seconds=STILL_SECONDS):
        """Wait until somebody receives something; False if nobody does for so long."""
        before, deadline = self.ledger.total_received(), time.monotonic() + seconds
        while self.ledger.total_received() == before:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.002)
        return True

    def rage(self, tell=lambda kills: None):
        """Kill until nothing moves any more, whoever is started anew; or often enough."""
        told = self.told
        while told["kills"] < self._most_kills:
            time.sleep(self._rng.uniform(SHORTEST_CALM_SECONDS, LONGEST_CALM_SECONDS))
            self._replace_crashed()
            victim = self._rng.choice(WORKERS)
            code = self._end(victim)
            if code != -signal.SIGKILL:
                self.crashes[_ending(code)] += 1  # it was quicker
            told["kills"] += 1
            self._start(victim)
            tell(told["kills"])
            if self.moves():
                continue
            if told["first_still"] is None:
                told["first_still"] = told["kills"]
            for worker in WORKERS:
                self._end(worker)
            for worker in WORKERS:
                self._start(worker)
            if not self.moves():
                told["stopped"] = True
                return
            told["healed"] += 1

    def calm_down(self):
        """Let everyone finish in order, as far as they do."""
        self.ledger.phase[0] = NO_MORE_PUTS
        producers = [self._processes[worker] for worker in WORKERS if worker[0] == "producer"]
        deadline = time.monotonic() + ENDING_SECONDS
        for process in producers:
            process.join(max(0.0, deadline - time.monotonic()))
        while self.moves(SETTLED_SECONDS):
            pass
        finisher = self._context.Process(target=finish, args=(self._channel,), daemon=True)
        finisher.start()
        deadline = time.monotonic() + ENDING_SECONDS
        for process in [finisher, *self._processes.values()]:
            process.join(max(0.0, deadline - time.monotonic()))
        unfinished = sum(process.exitcode is None for process in self._processes.values())
        self.told["unfinished"] = unfinished
        finisher.kill()
        finisher.join()

    def end(self):
        for worker in list(self._processes):
            self._end(worker)

    def result(self):
        """Return what was put, what came, and what became of those who were not killed."""
        ledger = self.ledger
        settled = account(ledger, self._incarnations)
        stopped = self.told["stopped"]
        missing = _overtaken(ledger) if stopped else settled.missing
        return self.told | {
            "put": sum(ledger.returned[1 : self._incarnations + 1]),
            "received": settled.received,
            "in_hands": self.in_hands,
            "missing": missing,
            "lost_beyond_hands": max(0, missing - self.in_hands),
            "duplicates": settled.duplicates,
            "torn": sum(ledger.torn) + settled.strangers,
            "crashes": dict(self.crashes),
        }


def _overtaken(ledger):
    """Return how many items are missing of which a later one of the same producer came.

    The others may still be in a queue that stands still.
    """
    keys = numpy.unique(numpy.concatenate(ledger.logs()))
    producers, counts = numpy.unique(keys >> 32, return_counts=True)
    last = numpy.searchsorted(keys, (producers + 1) << 32) - 1
    return int(((keys[last] & 0xFFFFFFFF).astype(numpy.int64) - counts).sum()) if len(keys) else 0


def _ending(code):
    return signal.Signals(-code).name if code < 0 else f"exit {code}"
