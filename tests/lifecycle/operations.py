"""What is done to a queue while it is killed, and what must hold afterwards.

A parent arranges what there is before; a first child is killed in the operation; a second one comes
afterwards and checks. Of a named queue the parent has nothing any more when it forks them. An
unnamed one needs somebody who holds it: that is the parent.
"""

import contextlib
import os
from multiprocessing.reduction import ForkingPickler
from queue import Empty

from shmqueue import Queue, SharedMemoryQueue, ShutDown, unlink
from shmqueue._inspect import seat_rows, snapshot
from tests.support import LIMIT, drain, segment_files
from tests.unnamed import RawUnnamed, is_readable

LARGE = bytes(range(256)) * 400  # goes through a block
ITEMS = [b"small", LARGE, {"third": 3}]
GEOMETRY = {"capacity": 8, "item_size": 256, "max_processes": 1}


class Operation:
    """One that is killed at each of its system calls."""

    # Made of others that are killed too: at full size only.
    is_long = False

    def __init__(self, run_id):
        self.run_id = run_id

    def arrange(self):
        """Make what there is before, and let go of it."""

    def hold(self):
        """Make what the parent holds, before it forks the one that is killed."""

    def feed(self):
        """Hand things to the one that is killed, once it was forked."""

    def prepare(self):
        """Do what comes before, in the process that is killed; return what `operate` gets."""

    def operate(self, prepared):
        """Do it."""

    def check(self, done):
        """Assert what holds; in a fresh process. `done`: it was killed after its last call."""

    def let_go(self):
        """Let the parent let go of what it holds."""

    # ---- named queues ----

    def create(self, **arguments):
        return SharedMemoryQueue("q", create=True, run_id=self.run_id, **{**GEOMETRY, **arguments})

    def attach(self):
        return SharedMemoryQueue("q", run_id=self.run_id)

    def arrange_items(self):
        with self.create() as queue:
            queue.put_batch(ITEMS)

    def check_absent_or(self, items, done):
        """Assert that the name stands for a whole queue with these items, or is not there."""
        if not segment_files(self.run_id):
            assert not done, "it was created, and is not there"
            with self.create() as queue:
                assert_works(queue)
        else:
            self.check_there(items)

    def check_there(self, items):
        with self.attach() as queue:
            assert_all_here(queue, items)


class CreateNamed(Operation):
    def operate(self, prepared):
        self.create()

    def check(self, done):
        self.check_absent_or([], done)


class CreateNamedExistOkAlone(Operation):
    def operate(self, prepared):
        self.create(exist_ok=True)

    def check(self, done):
        self.check_absent_or([], done)


class CreateNamedAndPut(Operation):
    is_long = True

    def operate(self, prepared):
        self.create().put_batch(ITEMS)

    def check(self, done):
        files = segment_files(self.run_id)
        if files:
            with self.attach() as queue:
                size = queue.qsize()
            assert size in ([3] if done else [0, 3])
            self.check_there(ITEMS[:size])
        else:
            self.check_absent_or([], done)


class CreateWhatExists(Operation):
    arrange = Operation.arrange_items

    def operate(self, prepared):
        with contextlib.suppress(FileExistsError):
            self.create()

    def check(self, done):
        self.check_there(ITEMS)


class CreateExistOkOverItems(CreateWhatExists):
    def operate(self, prepared):
        self.create(exist_ok=True)


class Attach(CreateWhatExists):
    def operate(self, prepared):
        self.attach()


class Get(CreateWhatExists):
    """The item that a killed get was taking may be gone with it; the others are there."""

    def prepare(self):
        return self.attach()

    def operate(self, queue):
        queue.get()
        queue.get()

    def check(self, done):
        with self.attach() as queue:
            size = queue.qsize()
        assert size in ([1] if done else [1, 2, 3])
        self.check_there(ITEMS[3 - size :])


class Close(CreateWhatExists):
    def prepare(self):
        return self.attach()

    def operate(self, queue):
        queue.close()


class FirstLargeItem(Operation):
    def arrange(self):
        self.create().close()

    def prepare(self):
        return self.attach()

    def operate(self, queue):
        queue.put(LARGE)

    def check(self, done):
        with self.attach() as queue:
            size = queue.qsize()
        assert size in ([1] if done else [0, 1])
        self.check_there([LARGE] * size)


class Shutdown(CreateWhatExists):
    immediate = False

    def prepare(self):
        return self.attach()

    def operate(self, queue):
        queue.shutdown(immediate=self.immediate)

    def check(self, done):
        with self.attach() as queue:
            if not queue.is_shutdown:
                assert not done
                assert_all_here(queue, ITEMS)
                return
            self.check_rest(queue)
            for refused in (queue.get, lambda: queue.put(1)):
                with contextlib.suppress(ShutDown):
                    refused()
                    raise AssertionError("a queue that was shut down goes on")

    def check_rest(self, queue):
        assert drain(queue, 3) == ITEMS


class ShutdownAtOnce(Shutdown):
    immediate = True

    def check_rest(self, queue):
        # Killed between the bit and the discarding: whoever comes next finds the rest.
        left = []
        with contextlib.suppress(ShutDown):
            while True:
                left.append(queue.get(timeout=LIMIT))
        assert left == ITEMS[len(ITEMS) - len(left) :]


class Unlink(Operation):
    arrange = Operation.arrange_items

    def prepare(self):
        return self.attach()

    def operate(self, queue):
        queue.unlink()

    def check(self, done):
        assert not (done and segment_files(self.run_id)), "it was unlinked, and is there"
        self.check_absent_or(ITEMS, done=False)


class UnlinkByFunction(Unlink):
    def prepare(self):
        return None

    def operate(self, prepared):
        unlink("q", self.run_id)


class CloseAndUnlink(Unlink):
    def operate(self, queue):
        queue.close()
        queue.unlink()


# ---- unnamed queues ----


class CreateUnnamed(Operation):
    def operate(self, prepared):
        Queue(8)

    def check(self, done):
        queue = Queue(8)
        assert_works(queue)
        queue.close()


class OnUnnamed(Operation):
    """One whose queue the parent holds."""

    queue = None

    def hold(self):
        self.queue = Queue()
        self.fill(self.queue)

    def fill(self, queue):
        for item in ITEMS:
            queue.put(item)

    def check(self, done):
        assert_all_here(self.queue, ITEMS, others=[os.getppid()])

    def let_go(self):
        self.queue.close()
        self.queue = None


class FirstPutOfAChild(OnUnnamed):
    def operate(self, prepared):
        self.queue.put("fourth")

    def check(self, done):
        size = self.queue.qsize()
        assert size in ([4] if done else [3, 4])
        assert_all_here(self.queue, [*ITEMS, "fourth"][:size], others=[os.getppid()])


class ReceiveUnnamed(OnUnnamed):
    """By pickle, as it comes out of a pipe or another queue."""

    def hold(self):
        self._pipe = os.pipe()

    def feed(self):
        super().hold()
        os.write(self._pipe[1], ForkingPickler.dumps(self.queue))

    def prepare(self):
        return os.read(self._pipe[0], 1 << 16)

    def operate(self, pickled):
        ForkingPickler.loads(pickled)

    def let_go(self):
        super().let_go()
        for fd in self._pipe:
            os.close(fd)


class BeginToPoll(OnUnnamed):
    def operate(self, prepared):
        self.queue.fileno()

    def check(self, done):
        fd = self.queue.fileno()
        assert is_readable(fd)
        assert drain(self.queue, 3) == ITEMS
        with contextlib.suppress(Empty):
            self.queue.get_nowait()
        assert not is_readable(fd)
        self.queue.put(1)
        assert is_readable(fd)
        assert_all_here(self.queue, [1], others=[os.getppid()])


SMALL = bytes(1000)
BURST = 100


class Grow(OnUnnamed):
    """The burst needs memory that the ring does not have yet; the batch is whole or absent."""

    before = 0

    def fill(self, queue):
        queue.put_batch([SMALL] * self.before)

    def operate(self, prepared):
        self.queue.put_batch([SMALL] * BURST)

    def check(self, done):
        size = self.queue.qsize()
        assert size in ([self.before + BURST] if done else [self.before, self.before + BURST])
        self.queue.put_batch(["after"] * 200)
        assert_all_here(self.queue, [SMALL] * size + ["after"] * 200, others=[os.getppid()])


class GrowIntoTheNextRegion(Grow):
    """Fills all but a little of the first region."""

    before = 1000


class DrainRegions(Grow):
    """Whoever drains a ring that grew takes it back to the first region, and its memory away."""

    before = 3000

    def operate(self, prepared):
        for _ in range(3):
            self.queue.get_batch(1000)
        with contextlib.suppress(Empty):
            self.queue.get_nowait()

    def check(self, done):
        size = self.queue.qsize()
        assert size in ([0] if done else [0, 1000, 2000, 3000])
        assert_all_here(self.queue, [SMALL] * size, others=[os.getppid()])
        with contextlib.suppress(Empty):
            self.queue.get_nowait()
        raw = RawUnnamed(self.queue._attachment)
        assert raw.slots_memory_bytes() <= 1 << 20, "memory of regions that nobody uses"
        raw.close()


OPERATIONS = (
    CreateNamed,
    CreateNamedExistOkAlone,
    CreateNamedAndPut,
    CreateWhatExists,
    CreateExistOkOverItems,
    Attach,
    Get,
    Close,
    FirstLargeItem,
    Shutdown,
    ShutdownAtOnce,
    Unlink,
    UnlinkByFunction,
    CloseAndUnlink,
    CreateUnnamed,
    FirstPutOfAChild,
    ReceiveUnnamed,
    BeginToPoll,
    Grow,
    GrowIntoTheNextRegion,
    DrainRegions,
)


# ---- what must hold of a queue ----


def assert_all_here(queue, items, others=()):
    """Assert that a queue has just these items, that nobody else is attached, and that it works."""
    assert queue.qsize() == len(items)
    assert drain(queue, len(items)) == items
    assert_works(queue)
    alive = sorted(row["pid"] for row in seat_rows(queue._attachment) if row["alive"])
    assert alive == sorted([os.getpid(), *others]), "who has a seat"


def assert_works(queue):
    """Assert that an empty queue takes and gives, and has all blocks back."""
    for _ in range(2):
        queue.put_batch(ITEMS, timeout=LIMIT)
        assert drain(queue, 3) == ITEMS
    seen = snapshot(queue._attachment)
    assert seen["pool_free_bytes"] == seen["pool_bytes"] > 0
