"""The workers of a storm: what they do stands in the ledger, and they die as they are told to."""

import gc
import random
import time
from queue import Empty, Full
from typing import ClassVar

from shmqueue import SharedMemoryQueue
from tests import unnamed
from tests.storm import items, workers
from tests.storm.deaths import Mortal
from tests.storm.ledger import DRAINED, RUN

SMALLEST, LARGEST = 64, 256 << 10
# Most items that lie in slots of their own are no larger.
SLOT_BYTES = 4096
# Who dies with an owner word in its hands shall not be rare.
LONGEST_BATCH = 40
BATCH_BYTES = 4000

# At high tide an unbounded queue has as many items; then producers rest until it was empty.
HIGH_TIDE = 3000
FLOOD, EBB = 0, 1
# A trickle in the flood, so that somebody receives something after each death.
TRICKLE_SECONDS = 0.001
# Low tide is told by the first who finds nothing.
LOW_TIDE_SECONDS = 0.01

ROLES = ("producer", "consumer")
WAYS = {"producer": list(workers.Producer.WAYS), "consumer": list(workers.Consumer.WAYS)}
MOST_WAYS = max(map(len, WAYS.values()))


def is_tidal(queue):
    return queue._attachment.capacity == unnamed.UNBOUNDED


class Producer(workers.Producer):
    WAYS: ClassVar[dict] = workers.Producer.WAYS | {"put_batch": 6}

    def __init__(self, queue, ledger, row, incarnation, seed):
        super().__init__(queue, incarnation, seed)
        self._ledger, self._row = ledger, row
        self._tidal = is_tidal(queue)

    def run(self, mortal):
        ledger = self._ledger
        while ledger.phase[0] == RUN:
            mortal.turn()
            if self._tidal and ledger.tide[0] == EBB:
                time.sleep(TRICKLE_SECONDS)
                continue
            if self._tidal and self._queue.qsize() > HIGH_TIDE:
                ledger.tide[0] = EBB
            try:
                way = self.turn()
            except Full:
                continue
            ledger.returned[self._number] = self._sequence
            ledger.calls[self._row * MOST_WAYS + way] += 1

    def _about_to_put(self):
        self._ledger.begun[self._number] = self._sequence

    def _batch(self):
        """Return a few items of any kind, or as many as are copied for long under an owner word."""
        if self._rng.random() < 0.2:
            return super()._batch()
        count = self._rng.randint(2, LONGEST_BATCH)
        return [bytes(items.filled(BATCH_BYTES, *self._next())) for _ in range(count)]

    def _size(self):
        if self._rng.random() < 0.7:
            return self._rng.randint(SMALLEST, SLOT_BYTES)
        return items.random_size(self._rng, SMALLEST, LARGEST)


class Consumer(workers.Consumer):
    WAYS: ClassVar[dict] = workers.Consumer.WAYS | {"get_batch": 4}
    MAX_BATCH = LONGEST_BATCH
    MOST_KEPT = 4

    def __init__(self, queue, ledger, row, place, seed):
        self._tidal = is_tidal(queue)
        patience = LOW_TIDE_SECONDS if self._tidal else workers.PATIENCE_SECONDS
        super().__init__(queue, seed, patience)
        self._ledger, self._row, self._place = ledger, row, place

    def run(self, mortal):
        ledger = self._ledger
        while True:
            mortal.turn()
            phase = ledger.phase[0]
            if self._tidal and phase == RUN and ledger.tide[0] == FLOOD:
                time.sleep(TRICKLE_SECONDS)
            try:
                way = self.turn()
            except Empty:
                ledger.tide[0] = FLOOD
                if phase == DRAINED:
                    break
            else:
                ledger.calls[self._row * MOST_WAYS + way] += 1
            ledger.in_hand[self._place] = 0
        self.drop_all()

    def _may_take(self, count):
        self._ledger.in_hand[self._place] = count

    def _has(self, producer, number, nbytes):
        self._ledger.note(self._place, producer, number)


def work(queue, anew, ledger, role, place, row, incarnation, seed):
    """Be a worker, from its first instruction to its last: what a process of the storm runs."""
    mortal = Mortal(ledger.orders, row, random.Random(f"{seed} hunger"))
    with mortal.until_death():
        # Who gets nothing from its parent's memory finds what is its own.
        gc.freeze()
        if anew:
            queue = join_anew(queue)
        if role == "producer":
            Producer(queue, ledger, row, incarnation, seed).run(mortal)
        else:
            Consumer(queue, ledger, row, place, seed).run(mortal)


def join_anew(queue):
    """Attach as a newcomer does, in a process that was forked with the queue."""
    if not isinstance(queue, SharedMemoryQueue):
        return unnamed.another(queue)
    name, run_id = queue.name, queue.run_id
    queue.close()
    return SharedMemoryQueue(name, run_id=run_id)
