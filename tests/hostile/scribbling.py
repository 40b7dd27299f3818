"""Trials under a scribbler: another process writes into the segment while this one uses it.

The scribbler is a process of its own, so that it writes in the middle of whatever the calls do.
Half of what it writes it takes back at once: where most is sound, the calls get further.
"""

import gc
import mmap
import random
import signal
import time

from tests.faults.processes import Forks
from tests.hostile.calls import CLEAR
from tests.hostile.mutations import mutate_some
from tests.hostile.trials import (
    PATIENCE_SECONDS,
    Finding,
    Trials,
    owned_by_the_living,
    tags_of,
)
from tests.support import Thread, die_with_parent, wait_until

SLICE_SECONDS = 0.25
# How many writes the scribbler thinks out beforehand, for each segment and slice.
WRITES = 400
# Two threads put what they can for a quarter of a second.
SEGMENT_BYTES = 256 << 20

# Words of the memory that a worker shares with its scribbler.
WANTED, BUSY, WRITTEN, LEAVE = range(4)


class Slices(Trials):
    """Trials that are a slice of time each: two threads use a queue, and a process scribbles."""

    segment_bytes = SEGMENT_BYTES

    def __enter__(self):
        super().__enter__()
        self._forks = Forks()
        self._shared = mmap.mmap(-1, mmap.PAGESIZE)
        self._words = memoryview(self._shared).cast("q")
        self._scribbler = self._forks.start(_scribble, self._grounds, self._words)
        return self

    def __exit__(self, *exc_info):
        self._words[LEAVE] = 1
        self._forks.wait(self._scribbler)
        self._words.release()
        self._shared.close()
        super().__exit__(*exc_info)

    def _use(self, ground, rng):
        # A handle of an earlier slice, in a circle of references, would have its attachment shared,
        # and that knows itself by a tag of before the ground was put back.
        gc.collect()
        before = tags_of(ground)
        try:
            queue = ground.attach()
        except CLEAR as error:  # it is sound as yet
            raise Finding(f"a sound segment was refused: {error!r}") from error
        # What is taken back may be the tag of a word that was let go meanwhile.
        self._tags = tags_of(ground)
        if len(self._tags - before) != 1:
            raise Finding("no seat was taken: an attachment of an earlier slice is left")
        self._has_waited = False
        began = self._words[WRITTEN]
        self._words[WANTED] = self._grounds.index(ground) + 1 + rng.getrandbits(32) * 1000
        until = time.monotonic() + SLICE_SECONDS
        other = Thread(self._call, ground, queue, random.Random(rng.random()), until)
        self._watch(ground, SLICE_SECONDS)
        try:
            raised = self._call(ground, queue, rng, until)
        finally:
            self._words[WANTED] = 0
            queue.close()
        # For longer than the alarm does.
        wait_until(lambda: not other.is_alive(), "the other thread to end", 2 * PATIENCE_SECONDS)
        raised += other.result()
        wait_until(lambda: not self._words[BUSY], "the scribbler to rest")
        self.writes = self._words[WRITTEN] - began
        if self._has_waited:
            return "waited"
        return "noticed" if raised else "unnoticed"

    def _meet_a_waiter(self, ground):
        """Let it go on: in either thread, and also where it is a destructor that waits."""
        self._has_waited = True
        self._words[WANTED] = 0
        if not self._words[BUSY]:
            for end in owned_by_the_living(ground, self._tags):
                ground.raw.set_owner(end, 0)

    def _call(self, ground, queue, rng, until):
        """Make calls until the time is up; return how many of them raised."""
        calls, raised, held = self._calls[ground.label], 0, []
        while time.monotonic() < until:
            name = rng.choice(list(calls))
            try:
                held.append(self._clearly(name, calls[name], queue))
            except CLEAR:
                raised += 1
            del held[:-3]
        return raised


def _scribble(grounds, words):
    """Write into the segment that is wanted, as long as it is, until it is time to leave."""
    signal.signal(signal.SIGALRM, signal.SIG_IGN)
    die_with_parent()
    while not words[LEAVE]:
        wanted = words[WANTED]
        if not wanted:
            time.sleep(0.001)
            continue
        words[BUSY] = 1
        ground, rng = grounds[wanted % 1000 - 1], random.Random(wanted)
        pairs = [
            (write, rng.random() < 0.5) for _ in range(WRITES) for write in mutate_some(ground, rng)
        ]
        at = 0
        while words[WANTED] == wanted:
            (offset, data), is_taken_back = pairs[at % len(pairs)]
            before = ground.read(offset, len(data)) if is_taken_back else None
            ground.write(offset, data)
            if before is not None:
                ground.write(offset, before)
            words[WRITTEN] += 1
            at += 1
        words[BUSY] = 0
