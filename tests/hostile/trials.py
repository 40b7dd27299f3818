"""One trial: a segment is damaged, before it is attached to or between calls, and used."""

import contextlib
import mmap
import pathlib
import random
import resource
import signal
import sys
import time
import unittest.mock

from shmqueue import memory
from tests import unnamed
from tests.hostile.calls import CLEAR, DAMAGE, ENDINGS, calls_of
from tests.hostile.encodings import safe_pickles
from tests.hostile.grounds import LARGE, SMALL, make_grounds
from tests.hostile.mutations import mutate_some
from tests.hostile.streams import StreamGround, calls_of_stream, make_streams
from tests.protocol.raw import ENDS

# All calls have timeouts of milliseconds, or none because only an owner word can be in the way. So
# what takes a second is looked at: it may wait for a living process, which a damaged owner word
# names. Otherwise it has until then.
LOOK_SECONDS = 1.0
PATIENCE_SECONDS = 25.0
# What a trial may add to the memory of this process, and to that of the segment.
PROCESS_BYTES = 192 << 20
SEGMENT_BYTES = 24 << 20
CALLS = 6
# What it may map: a few segments at a time.
ADDRESS_BYTES = 24 << 30


class Finding(AssertionError):
    """What a trial must not do."""


class Stuck(BaseException):
    """A call went on until the alarm rang; whether it waited for an owner that lives."""

    def __init__(self, waited):
        super().__init__(waited)
        self.waited = waited


class Trials:
    """The trials of a seed; each of them by its number alone."""

    # Attaching was refused; a call told of damage; none did; one waited for an owner that lives.
    outcomes = ("refused", "noticed", "unnoticed", "waited")
    segment_bytes = SEGMENT_BYTES

    def __init__(self, token, seed):
        self.story = []
        self.writes = 0
        self.tell = lambda step: None
        self._seed = seed
        self._watched = None
        self._unclear = None
        self._grounds = [*make_grounds(token), *make_streams(token)]
        # Those of megabytes cost more than they tell.
        self._weights = [1 if ground.memory_bytes > 1 << 20 else 4 for ground in self._grounds]
        self._calls = {
            ground.label: (calls_of_stream if isinstance(ground, StreamGround) else calls_of)(
                ground
            )
            for ground in self._grounds
        }
        self._peak_bytes = peak_bytes()

    def __enter__(self):
        limit_address_range(ADDRESS_BYTES)
        signal.signal(signal.SIGALRM, self._ring)
        self._untouched = unnamed.make_queue()
        # How much the machine has left is not the question here, and asking takes longest.
        self._headroom = unittest.mock.patch.object(memory, "headroom_bytes", _plenty)
        self._headroom.start()
        # What is kept of an error of a destructor would keep the attachment: pytest does that.
        self._unraisable = unittest.mock.patch.object(sys, "unraisablehook", self._note_unraisable)
        self._unraisable.start()
        # Nor what a damaged pickle might run.
        self._pickles = safe_pickles()
        self._pickles.__enter__()
        for ground in self._grounds:
            ground.restore()
            ground.attach().close()  # sound, it works
        return self

    def __exit__(self, *exc_info):
        self._pickles.__exit__(*exc_info)
        self._unraisable.stop()
        self._headroom.stop()
        self._untouched.close()
        for ground in self._grounds:
            ground.close()

    def run(self, number):
        """Run a trial; return its outcome. Raises Finding."""
        rng = random.Random(f"{self._seed}:{number}")
        (ground,) = rng.choices(self._grounds, self._weights)
        ground.restore()
        self._tags = set()
        self.story, self.writes = [], 0
        self._add(ground.label)
        try:
            self._watch(ground)
            outcome = self._use(ground, rng)
        except Stuck as stuck:
            self._watched = None  # at once: it would ring again
            if not stuck.waited:
                raise Finding("a call did not end") from None
            outcome = "waited"
        finally:
            self._watched = None
        self._check_memory(ground)
        self._check_untouched()
        if self._unclear:
            raise Finding(self._unclear)
        return outcome

    def _note_unraisable(self, unraisable):
        """Of what a destructor raises, as of what a call does: it is clear, or a finding."""
        if not isinstance(unraisable.exc_value, (*CLEAR, Stuck)):
            self._unclear = f"{unraisable.object!r} raised {unraisable.exc_value!r}"

    def _watch(self, ground, seconds=0.0):
        """Interrupt what goes on for longer than it should; it may take so many seconds more."""
        self._watched = ground, time.monotonic() + seconds + PATIENCE_SECONDS
        signal.setitimer(signal.ITIMER_REAL, seconds + LOOK_SECONDS, LOOK_SECONDS)

    def _ring(self, signum, frame):
        if self._watched is None:
            signal.setitimer(signal.ITIMER_REAL, 0)  # one that came late
            return
        ground, deadline = self._watched
        # What is raised in a destructor ends nothing but that: then the next ring raises again.
        if time.monotonic() > deadline:
            raise Stuck(False)
        if owned_by_the_living(ground, self._tags):
            self._meet_a_waiter(ground)

    def _meet_a_waiter(self, ground):
        raise Stuck(True)

    def _use(self, ground, rng):
        is_live = rng.random() < 0.5
        if not is_live:
            self._damage(ground, rng)
        try:
            queue = self._clearly("attach", ground.attach)
        except CLEAR:
            return "refused"
        self._tags = tags_of(ground)
        noticed = False
        calls = self._calls[ground.label]
        held = []
        for at in range(CALLS):
            if is_live and at % 2 == 0:
                self._damage(ground, rng)
            name = rng.choice(list(calls))
            try:
                # What was got stays for a while, as in a program; some of it lies in blocks.
                held.append(self._clearly(name, calls[name], queue))
            except CLEAR as error:
                noticed |= isinstance(error, DAMAGE)
            del held[:-3]
        if rng.random() < 0.2:
            name = rng.choice(list(ENDINGS))
            with contextlib.suppress(CLEAR):
                self._clearly(name, ENDINGS[name], queue)
        held.clear()
        queue.close()
        return "noticed" if noticed else "unnoticed"

    def _damage(self, ground, rng):
        for at, data in mutate_some(ground, rng):
            self._add([at, data.hex()])
            self.writes += 1
            ground.write(at, data)

    def _add(self, step):
        self.story.append(step)
        self.tell(step)

    def _clearly(self, name, call, *args):
        """Return what a call returns; what it raises is clear, or a finding."""
        self._add(name)
        try:
            return call(*args)
        except CLEAR:
            raise
        except Exception as error:
            raise Finding(f"{name} raised {error!r}") from error

    def _check_memory(self, ground):
        grown = ground.memory_now() - ground.memory_bytes
        if grown > self.segment_bytes:
            raise Finding(f"the segment grew by {grown} bytes")
        peak = peak_bytes()
        grown, self._peak_bytes = peak - self._peak_bytes, peak
        if grown > PROCESS_BYTES:
            raise Finding(f"the process grew by {grown} bytes")

    def _check_untouched(self):
        for item in (SMALL, LARGE):
            self._untouched.put(item, timeout=1)
            if self._untouched.get(timeout=1) != item:
                raise Finding("a queue that nobody damaged lost an item")


def _plenty():
    return 4 << 30


def tags_of(ground):
    """Return what each seat would put into an owner word."""
    raw = ground.raw
    return {
        (seat + 1) << 8 | (raw.get("seat", seat, "generation") & (1 << 40) - 1) << 24
        for seat in range(ground.seats)
    }


def owned_by_the_living(ground, before):
    """Return the ends whose owner word names a seat as it is in use: who wants one waits for it.

    Or as it was, when the queue was attached to: its own seat it knows without looking.
    """
    tags = before | tags_of(ground)
    return [end for end in range(ENDS) if ground.raw.owner(end) & ~0xFF in tags]


def limit_address_range(more_bytes):
    """Let this process map so much more than it does now, and no more."""
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[0])
    limit = pages * mmap.PAGESIZE + more_bytes
    resource.setrlimit(resource.RLIMIT_AS, (limit, limit))


def peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10
